"""Structures of one lattice as occupations, for many structures in a row."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..errors import InputError
from ..lattice import Lattice
from ..neighbours import PeriodicTree

__all__ = ["FrameReader", "half_the_shortest_distance"]


def half_the_shortest_distance(lattice: Lattice) -> float:
    """Half the distance of the nearest two atoms of the reference, in Å.

    An atom that moved by less is still nearest to where it belongs.

    Examples
    --------
    >>> from alchemc import builders
    >>> half_the_shortest_distance(builders.rocksalt(("Mg", "Ca"), "O", a=4.4))
    1.1
    """
    positions, cell = lattice.atoms.positions, lattice.atoms.cell.array
    reach = float(np.cbrt(lattice.atoms.get_volume() / len(positions)))
    while True:
        i, j, distance = PeriodicTree(positions, cell, reach).pairs(positions)
        apart = distance[(i != j) | (distance > 1e-8)]
        if apart.size:
            return round(float(apart.min()) / 2.0, 12)
        reach *= 1.5


class FrameReader:
    """Reads the occupation off structures, as `Lattice.from_atoms` does.

    Where a frame has the cell of the one before, its atoms are looked up in a tree made once, and
    where it has its positions, too, they are not looked up at all.

    Parameters
    ----------
    lattice
        The lattice of all frames.
    tolerance
        Largest distance in Å of an atom from its reference position; half the shortest distance
        between two of these unless given.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> atoms = lattice.to_atoms(np.array([0, 1, 1, 0, 1, 0, 0, 1]))
    >>> atoms.positions += 0.4
    >>> FrameReader(lattice)(atoms[::-1]).tolist()
    [0, 1, 1, 0, 1, 0, 0, 1]
    """

    def __init__(self, lattice: Lattice, tolerance: float | None = None) -> None:
        self._lattice = lattice
        self._tolerance = half_the_shortest_distance(lattice) if tolerance is None else tolerance
        self._tree: PeriodicTree | None = None
        self._cell = np.zeros((3, 3))
        self._positions = np.zeros((0, 3))
        self._where: np.ndarray | None = None

    def __call__(self, atoms: Atoms) -> np.ndarray:
        """Return the occupation of a frame, uint8 [n_sites].

        Raises
        ------
        InputError
            If the frame is none of the lattice.
        """
        full = self._numbers(atoms)
        found = None if full is None else self.species(full[None, :])
        if found is None:  # another cell, or something that does not fit: said there
            found = self._lattice.from_atoms(atoms, self._tolerance)[None, :]
            self._remember(atoms)
        return found[0].astype(np.uint8)

    def places(self, atoms: Atoms) -> np.ndarray:
        """Return the reference atom of every atom of a frame that was read, int64 [n_atoms].

        ``"X"`` included, so that these places hold for other species on the same positions.
        """
        where = self._look_up(atoms.positions)
        if where is None:
            raise InputError(
                "two atoms or vacancies lie at one position of the lattice, or one at none; give a "
                "structure of the same crystal with the same origin"
            )
        return where

    def positions(self, atoms: Atoms) -> np.ndarray:
        """Return where the atoms of the frame read last are, float64 [n_atoms, 3] in Å.

        In the reference's order and in the frame's cell, each in the image that is nearest to its
        reference position; vacancies are there.
        """
        real = atoms.numbers > 0
        where = self._look_up(atoms.positions[real])
        reference = self._lattice.atoms
        scaled = reference.positions @ np.linalg.inv(reference.cell.array)
        away = atoms.positions[real] @ np.linalg.inv(atoms.cell.array) - scaled[where]
        scaled[where] += away - np.round(away)
        return np.asarray(scaled @ atoms.cell.array)

    def species(self, numbers: np.ndarray) -> np.ndarray | None:
        """Occupations [n, n_sites] from atomic numbers in the reference's order, [n, n_atoms].

        None if some atom may not be where it is.
        """
        lattice = self._lattice
        spectators = lattice.spectators
        hits = numbers[:, lattice.sites, None] == lattice.atomic_numbers
        good = (numbers[:, spectators] == lattice.atoms.numbers[spectators]).all()
        return hits.argmax(axis=2) if good and hits.any(axis=2).all() else None

    def _remember(self, atoms: Atoms) -> None:
        """Take the cell of a frame that was found to fit."""
        if self._tree is None:
            reference = self._lattice.atoms
            self._tree = PeriodicTree(reference.positions, reference.cell.array, self._tolerance)
        self._cell, self._where = atoms.cell.array.copy(), None

    def _numbers(self, atoms: Atoms) -> np.ndarray | None:
        """Atomic numbers in the reference's order, 0 where there is no atom; None if unknown."""
        if self._tree is None or not np.array_equal(atoms.cell.array, self._cell):
            return None
        real = atoms.numbers > 0
        where = self._look_up(atoms.positions[real])
        if where is None:
            return None
        full = np.zeros(len(self._lattice.atoms), dtype=np.int64)
        full[where] = atoms.numbers[real]
        return full

    def _look_up(self, positions: np.ndarray) -> np.ndarray | None:
        """Find the reference atom of every position; None where one has none of its own."""
        if self._where is not None and np.array_equal(positions, self._positions):
            return self._where
        reference = self._lattice.atoms.cell.array
        scaled = positions @ np.linalg.inv(self._cell)
        where, _ = self._tree.nearest(scaled @ reference)  # type: ignore[union-attr]
        if (where < 0).any() or len(np.unique(where)) < len(where):
            return None
        self._positions, self._where = positions.copy(), where
        return where
