"""Lengths of the conventional cell, whatever supercell a crystal is given in, and their strains."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...lattice import Lattice
from ..order.commensurate import conventional_cell

__all__ = ["CELL_QUANTITIES", "Conventional", "conventional"]

CELL_QUANTITIES = ("lattice_parameter", "c", "volume")
"""What depends on the cell alone: lengths of the conventional cell in Å, the volume in Å³."""


class Conventional(NamedTuple):
    """The conventional cell of a reference structure.

    ``transformation`` [3, 3]: its vectors as rows are this times those of the supercell, strained
    or not. ``alike``: axes equivalent to the first, all three in a cubic crystal, two in a
    tetragonal, trigonal or hexagonal one.
    """

    transformation: np.ndarray
    alike: tuple[int, ...]

    def lengths(self, cells: np.ndarray) -> np.ndarray:
        """Lengths a, b and c in Å, [..., 3], of cells [..., 3, 3]."""
        return np.asarray(np.linalg.norm(self.transformation @ cells, axis=-1))

    def lattice_parameter(self, cells: np.ndarray) -> np.ndarray:
        """Geometric mean in Å of the lengths that are equivalent to a, [...]."""
        lengths = self.lengths(cells)[..., list(self.alike)]
        return np.asarray(np.exp(np.log(lengths).mean(axis=-1)))

    def value(self, quantity: str, cell: np.ndarray) -> float:
        """Return one of ``CELL_QUANTITIES`` for a cell [3, 3]."""
        if quantity == "volume":
            return abs(float(np.linalg.det(cell)))
        if quantity == "c":
            return float(self.lengths(cell)[2])
        return float(self.lattice_parameter(cell))

    def by_strain(self, quantity: str, cell: np.ndarray) -> np.ndarray:
        """Return the derivative of a quantity by the strain of the cell, [3, 3].

        A length L along the unit vector n has ∂L/∂ε = L n nᵀ, the volume V·1.
        """
        if quantity == "volume":
            return self.value(quantity, cell) * np.eye(3)
        rows = self.transformation @ cell
        along = rows / np.linalg.norm(rows, axis=1)[:, None]
        axes = [2] if quantity == "c" else list(self.alike)
        projectors = along[axes, :, None] * along[axes, None, :]
        return np.asarray(self.value(quantity, cell) * projectors.mean(axis=0))


@lru_cache(maxsize=8)
def conventional(lattice: Lattice) -> Conventional:
    """Find the conventional cell of the lattice's reference, all sites of a sublattice alike.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.fluorite(("Ce", "Zr"), "O", a=5.4, size=(2, 1, 1))
    >>> found = conventional(lattice)
    >>> found.lengths(lattice.atoms.cell.array).round(6).tolist(), found.alike
    ([5.4, 5.4, 5.4], (0, 1, 2))
    """
    vectors, rotations = conventional_cell(lattice)
    transformation = vectors @ np.linalg.inv(lattice.atoms.cell.array)
    images = np.abs(rotations[:, :, 0])  # of the first axis, in units of the axes
    alike = [axis for axis in range(3) if (images == np.eye(3)[axis]).all(axis=1).any()]
    return Conventional(transformation, tuple(alike))
