"""Symmetry of a supercell whose sites are made equal: translations, orbits, permutations.

The primitive cell is found from the supercell's own translations, at a cost that grows with the
number of atoms and not with its square, so that spglib only ever sees a primitive cell.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import spglib
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .errors import InputError
from .neighbours import PeriodicTree

__all__ = ["Symmetry"]

SYMPREC = 1e-3  # Å; coordinates in files are rounded
_MATCH = 0.2  # Å; below half of the shortest distance a lattice accepts
_N_PROBES = 8
_MAX_PRIMITIVE = 20_000  # spglib takes a minute for these
_MAX_ENTRIES = 50_000_000


class Symmetry:
    """Space-group symmetry of typed points in a periodic cell.

    Parameters
    ----------
    positions
        Points in Å, [n_atoms, 3].
    cell
        Cell vectors as rows in Å, [3, 3].
    types
        Positive integers [n_atoms]; only points of one type are ever equivalent.

    Notes
    -----
    Operations come from spglib (Togo, Shinohara and Tanaka, Sci. Technol. Adv. Mater. Meth. 4,
    2384822, 2024, doi:10.1080/27660400.2024.2384822) with a tolerance of 10⁻³ Å.
    """

    def __init__(self, positions: np.ndarray, cell: np.ndarray, types: np.ndarray) -> None:
        self._positions, self._cell, self._types = positions, cell, types
        self._tree = PeriodicTree(positions, cell, _MATCH)

    @cached_property
    def _generators(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Primitive cell vectors [3, 3] and the atom permutations of generating translations."""
        basis, permutations = np.eye(3), []
        candidates = self._candidates()
        while len(candidates):
            permutation = self._permutation(candidates[0])
            if permutation is None:
                drop = _is_lattice_vector(candidates - candidates[0], basis, self._cell)
            else:
                basis = _refine(basis, candidates[0] @ np.linalg.inv(self._cell), self._cell)
                permutations.append(permutation)
                drop = _is_lattice_vector(candidates, basis, self._cell)
            drop[0] = True
            candidates = candidates[~drop]
        return basis @ self._cell, permutations

    def _candidates(self) -> np.ndarray:
        """Find translations in Å, [n, 3], that send a few probe atoms to atoms of their type."""
        kinds, counts = np.unique(self._types, return_counts=True)
        rarest = np.flatnonzero(self._types == kinds[np.argmin(counts)])
        candidates = self._positions[rarest[1:]] - self._positions[rarest[0]]
        firsts = [int(np.argmax(self._types == kind)) for kind in kinds]
        spread = np.linspace(0, len(self._types) - 1, _N_PROBES).astype(int).tolist()
        for probe in dict.fromkeys(firsts + spread):
            target, distance = self._tree.nearest(self._positions[probe] + candidates)
            fits = (distance < SYMPREC) & (self._types[target] == self._types[probe])
            candidates = candidates[fits]
        return candidates

    def _permutation(self, translation: np.ndarray) -> np.ndarray | None:
        """Where a translation in Å sends every atom, or None if it is no symmetry."""
        target, distance = self._tree.nearest(self._positions + translation)
        if (distance >= SYMPREC).any() or (self._types[target] != self._types).any():
            return None
        return target

    @cached_property
    def translation_classes(self) -> np.ndarray:
        """Label [n_atoms] shared by atoms that a pure translation maps onto one another."""
        _, permutations = self._generators
        n = len(self._types)
        if not permutations:
            return np.arange(n, dtype=np.int64)
        source = np.tile(np.arange(n), len(permutations))
        target = np.concatenate(permutations)
        graph = coo_array((np.ones(len(source), dtype=np.int8), (source, target)), shape=(n, n))
        return first_seen(connected_components(graph, directed=False)[1])

    @cached_property
    def _dataset(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotations [n, 3, 3] and translations [n, 3] in primitive axes, orbits [n_primitive]."""
        primitive, _ = self._generators
        first = np.unique(self.translation_classes, return_index=True)[1]
        if len(first) > _MAX_PRIMITIVE:
            raise InputError(
                f"the reference's primitive cell has {len(first)} atoms, too many for symmetry "
                f"(at most {_MAX_PRIMITIVE}); use a reference without displacements"
            )
        scaled = self._positions[first] @ np.linalg.inv(primitive)
        crystal = (primitive.tolist(), scaled.tolist(), self._types[first].tolist())
        try:
            found = spglib.get_symmetry_dataset(crystal, SYMPREC)
        except spglib.SpglibError:  # raised or returned as None, by spglib's setting
            found = None
        if found is None:
            raise InputError(
                f"spglib finds no symmetry for the {len(first)} atoms of the reference's primitive "
                "cell; check the reference for atoms that are too close"
            )
        return found.rotations, found.translations, found.crystallographic_orbits

    @cached_property
    def orbits(self) -> np.ndarray:
        """Label [n_atoms] shared by atoms equivalent under the space group of the crystal."""
        return first_seen(self._dataset[2][self.translation_classes])

    def permutations(self, points: np.ndarray) -> np.ndarray:
        """Distinct permutations of some atoms by the operations that keep the supercell.

        Parameters
        ----------
        points
            Indices [n] of atoms that the operations map among themselves.

        Returns
        -------
        numpy.ndarray
            int64 [n_permutations, n], positions within ``points``; the identity is first.
        """
        where = self._positions[points]
        tree = PeriodicTree(where, self._cell, _MATCH)
        first = self.translation_classes[points] == self.translation_classes[points[0]]
        shifts = where[first] - where[0]
        rotations = self._kept_operations()
        if len(shifts) * len(rotations) * len(points) > _MAX_ENTRIES:
            raise InputError(
                f"{len(shifts) * len(rotations)} symmetry operations on {len(points)} sites are "
                "too many to list; use a smaller supercell"
            )
        rotated = np.array([tree.nearest(where @ turn + shift)[0] for turn, shift in rotations])
        shifted = np.array([tree.nearest(where + shift)[0] for shift in shifts])
        return np.unique(shifted[:, rotated].reshape(-1, len(points)), axis=0)

    def generators(self, points: np.ndarray, *, translations_only: bool = False) -> np.ndarray:
        """Permutations of some atoms that generate the others, where all are too many to list.

        Parameters
        ----------
        points
            Indices [n] of atoms that the operations map among themselves.
        translations_only
            Whether to leave rotations out.

        Returns
        -------
        numpy.ndarray
            int64 [n_generators, n], positions within ``points``.
        """
        place = np.full(len(self._types), -1)
        place[points] = np.arange(len(points))
        found = [place[permutation[points]] for permutation in self._generators[1]]
        if not translations_only:
            where = self._positions[points]
            tree = PeriodicTree(where, self._cell, _MATCH)
            found += [
                tree.nearest(where @ turn + shift)[0] for turn, shift in self._kept_operations()
            ]
        return np.unique(np.array(found, dtype=np.int64).reshape(-1, len(points)), axis=0)

    def _kept_operations(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Operations r → r·turn + shift (Å, row vectors) that map the supercell onto itself."""
        primitive, _ = self._generators
        inverse = np.linalg.inv(primitive)
        multiples = np.rint(self._cell @ inverse)
        kept = []
        for rotation, translation in zip(*self._dataset[:2], strict=True):
            image = multiples @ rotation.T @ np.linalg.inv(multiples)
            if np.abs(image - np.rint(image)).max() < 1e-6:
                kept.append((inverse @ rotation.T @ primitive, translation @ primitive))
        return kept


def first_seen(labels: np.ndarray) -> np.ndarray:
    """Relabel with 0, 1, 2 … in the order of first appearance, int64."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _is_lattice_vector(vectors: np.ndarray, basis: np.ndarray, cell: np.ndarray) -> np.ndarray:
    coefficients = vectors @ np.linalg.inv(basis @ cell)
    error = (coefficients - np.rint(coefficients)) @ (basis @ cell)
    return np.linalg.norm(error, axis=1) < _MATCH


def _refine(basis: np.ndarray, vector: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Basis (rows, in units of the supercell) of the lattice that also holds ``vector``.

    The least k with k·vector in the old lattice gives whole coefficients m; the new lattice is
    spanned by the rows of k·1 and m over k.
    """
    coefficients = vector @ np.linalg.inv(basis)
    order = 1
    while True:
        off = order * coefficients - np.rint(order * coefficients)
        if np.linalg.norm(off @ basis @ cell) < min(_MATCH, 2 * order * SYMPREC):
            break
        order += 1
    rows = [[order if i == j else 0 for j in range(3)] for i in range(3)]
    rows.append([round(x) for x in (order * coefficients).tolist()])
    return np.array(_integer_row_basis(rows)) / order @ basis


def _integer_row_basis(rows: list[list[int]]) -> list[list[int]]:
    """Echelon basis of the lattice spanned by integer rows of rank 3 (Euclid's algorithm)."""
    basis = []
    for column in range(3):
        while sum(row[column] != 0 for row in rows) > 1:
            rows.sort(key=lambda row: abs(row[column]) or float("inf"))
            pivot = rows[0]
            for row in rows[1:]:
                factor = row[column] // pivot[column]
                row[:] = [x - factor * y for x, y in zip(row, pivot, strict=True)]
        pivot = next(row for row in rows if row[column] != 0)
        rows.remove(pivot)
        basis.append(pivot)
    return basis
