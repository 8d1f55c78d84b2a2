"""Sites of a supercell as translations of a few: what makes couplings storable once per kind.

Site (c, b) is basis site b of the primitive cell at the integer vector c. The supercell's vectors
are H times the primitive ones; c counts modulo the rows of H.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from .errors import InputError
from .lattice import Lattice

__all__ = ["Tiling", "find_tiling", "tiling_from_primitive"]

_TOLERANCE = 1e-3  # Å
_CANDIDATES = 400


@dataclass(frozen=True)
class Tiling:
    """How the sites of a lattice repeat.

    ``primitive`` float64 [3, 3], cell vectors as rows in Å; ``basis`` float64 [n_basis, 3], Å;
    ``box`` int64 [3, 3], lower triangular: the supercell is ``box @ primitive`` up to a unimodular
    change of its vectors; ``cells`` int64 [n_sites, 3], each site's cell with
    0 ≤ cells < diagonal of ``box``; ``kinds`` int64 [n_sites], each site's basis index.
    """

    primitive: np.ndarray
    basis: np.ndarray
    box: np.ndarray
    cells: np.ndarray
    kinds: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along the three axes of the box."""
        a, b, c = np.diag(self.box).tolist()
        return a, b, c

    def home(self, cells: np.ndarray) -> np.ndarray:
        """Cells [..., 3] moved into the box by whole supercells."""
        return reduce_cells(cells, self.box)

    @cached_property
    def site_table(self) -> np.ndarray:
        """Site at (cell, kind), int64 [*shape, n_basis]."""
        table = np.full((*self.shape, len(self.basis)), -1, dtype=np.int64)
        table[(*self.cells.T, self.kinds)] = np.arange(len(self.cells))
        return table

    @cached_property
    def first_sites(self) -> np.ndarray:
        """Lowest site of every kind, int64 [n_basis]."""
        _, first = np.unique(self.kinds, return_index=True)
        return np.asarray(first, dtype=np.int64)

    def sites_at(self, cells: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Sites at cells [..., 3] and basis indices [...], whatever supercell they lie in."""
        home = self.home(cells)
        return self.site_table[home[..., 0], home[..., 1], home[..., 2], kinds]


def reduce_cells(cells: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Integer vectors [..., 3] modulo the rows of a lower triangular ``box``."""
    reduced = np.array(cells, dtype=np.int64)
    for axis in (2, 1, 0):
        turns = np.floor_divide(reduced[..., axis], box[axis, axis])
        reduced -= turns[..., None] * box[axis]
    return reduced


def hermite(matrix: np.ndarray) -> np.ndarray:
    """Lower triangular basis of the lattice spanned by the rows of an integer matrix [n, 3].

    The diagonal is positive, and every entry left of it lies between 0 and the diagonal above it.
    """
    rows = [[int(x) for x in row] for row in matrix]
    result = []
    for axis in (2, 1, 0):
        while True:
            rows.sort(key=lambda row: (row[axis] == 0, abs(row[axis])))
            pivot = rows[0]
            if len(rows) == 1 or rows[1][axis] == 0:
                break
            for other in rows[1:]:
                turns = other[axis] // pivot[axis]
                other[:] = [x - turns * p for x, p in zip(other, pivot, strict=True)]
        rows.pop(0)
        result.append([-x for x in pivot] if pivot[axis] < 0 else pivot)
    box = np.array(result[::-1], dtype=np.int64)
    for row in (1, 2):
        for axis in range(row - 1, -1, -1):
            box[row] -= (box[row, axis] // box[axis, axis]) * box[axis]
    return box


def tiling_from_primitive(
    lattice: Lattice, primitive: np.ndarray, basis: np.ndarray, tolerance: float = _TOLERANCE
) -> Tiling:
    """Express the sites of ``lattice`` in a given primitive cell.

    Parameters
    ----------
    lattice
        The supercell.
    primitive
        Cell vectors as rows in Å.
    basis
        Positions in Å of the primitive cell's sites, [n_basis, 3].
    tolerance
        Largest mismatch in Å.

    Raises
    ------
    InputError
        If the supercell is no whole number of primitive cells, or a site is not where the
        primitive cell has one.
    """
    inverse = np.linalg.inv(primitive)
    multiple = lattice.atoms.cell.array @ inverse
    whole = np.round(multiple)
    mismatch = np.abs((multiple - whole) @ primitive).max()
    if mismatch > 10 * tolerance or abs(np.linalg.det(whole)) < 0.5:
        raise InputError(
            "the lattice's cell is no whole number of the primitive cell (a cell vector is off by "
            f"{mismatch:.3g} Å): build the lattice by repeating the primitive structure"
        )
    box = hermite(whole.astype(np.int64))
    positions = lattice.atoms.positions[lattice.sites]
    cells = np.zeros((len(positions), 3), dtype=np.int64)
    kinds = np.full(len(positions), -1, dtype=np.int64)
    left = np.arange(len(positions))
    for kind, origin in enumerate(basis):
        scaled = (positions[left] - origin) @ inverse
        near = np.round(scaled)
        away = np.linalg.norm((scaled - near) @ primitive, axis=1)
        fits = away < tolerance
        cells[left[fits]], kinds[left[fits]] = near[fits].astype(np.int64), kind
        left = left[~fits]
    if len(left):
        scaled = (positions[left[0]] - basis) @ inverse
        off = np.linalg.norm((scaled - np.round(scaled)) @ primitive, axis=1).min()
        raise InputError(
            f"site {left[0]} at {np.round(positions[left[0]], 3).tolist()} Å lies {off:.3g} Å "
            "from the nearest site of the primitive cell: use the same origin, cell and "
            "undisplaced positions for both"
        )
    tiling = Tiling(primitive, basis, box, reduce_cells(cells, box), kinds)
    if (tiling.site_table < 0).any():
        raise InputError(
            "the lattice leaves out sites that the primitive cell has: give every mixed site of "
            "the primitive cell a place on a sublattice"
        )
    return tiling


@lru_cache(maxsize=8)
def find_tiling(lattice: Lattice, tolerance: float = _TOLERANCE) -> Tiling:
    """Find the smallest cell by which the sites repeat, sublattice by sublattice.

    Only sites count, not spectators. The search tries the displacements from one site to its
    nearest like ones; a crystal without translations is its own primitive cell. Cost and memory
    are linear in the number of sites.
    """
    positions = lattice.atoms.positions[lattice.sites]
    cell = lattice.atoms.cell.array
    labels = np.asarray(lattice.sublattice_of_site)
    rarest = int(np.argmin(np.bincount(labels)))
    members = np.flatnonzero(labels == rarest)
    finder = _Finder(positions, labels, cell, tolerance)
    vectors = _translations(finder, positions[members], cell)
    for primitive in (_oriented(_reduced(vectors)), cell):
        try:
            basis = _basis(positions, labels, primitive, tolerance)
            return tiling_from_primitive(lattice, primitive, basis, 5 * tolerance)
        except InputError:
            continue
    raise InputError("two sites of the lattice coincide: give every site a place of its own")


def _basis(
    positions: np.ndarray, labels: np.ndarray, primitive: np.ndarray, tolerance: float
) -> np.ndarray:
    """Return one site of every kind, in the order of the sites."""
    inverse, basis = np.linalg.inv(primitive), []
    left = np.arange(len(positions))
    while len(left):
        basis.append(positions[left[0]])
        # Next to the first one: neighbours then lie in neighbouring cells.
        if len(basis) > 1:
            basis[-1] = basis[-1] - np.round((basis[-1] - basis[0]) @ inverse) @ primitive
        scaled = (positions[left] - basis[-1]) @ inverse
        away = np.linalg.norm((scaled - np.round(scaled)) @ primitive, axis=1)
        left = left[(away > 4 * tolerance) | (labels[left] != labels[left[0]])]
    return np.array(basis)


class _Finder:
    """Tells whether a translation maps every site on one of the same sublattice."""

    def __init__(
        self, positions: np.ndarray, labels: np.ndarray, cell: np.ndarray, tolerance: float
    ) -> None:
        from scipy.spatial import cKDTree  # noqa: PLC0415

        self._scaled = _wrapped(positions @ np.linalg.inv(cell))
        self._cell, self._labels, self._tolerance = cell, labels, tolerance
        self._tree = cKDTree(self._scaled, boxsize=1.0)
        self._reach = 3 * tolerance / np.linalg.svd(cell, compute_uv=False).min()

    def holds(self, translation: np.ndarray) -> bool:
        """Whether it is a symmetry; a few sites are tried before all of them."""
        shift = translation @ np.linalg.inv(self._cell)
        for part in (slice(0, 16), slice(None)):
            moved = _wrapped(self._scaled[part] + shift)
            _, index = self._tree.query(moved, distance_upper_bound=self._reach)
            if (index == len(self._scaled)).any():
                return False
            difference = self._scaled[index] - moved
            away = np.linalg.norm((difference - np.round(difference)) @ self._cell, axis=1)
            if (away > self._tolerance).any():
                return False
            if (self._labels[index] != self._labels[part]).any():
                return False
        return True


def _wrapped(scaled: np.ndarray) -> np.ndarray:
    wrapped = scaled - np.floor(scaled)
    wrapped[wrapped >= 1.0] = 0.0
    return wrapped


def _translations(finder: _Finder, members: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Shortest translations that span the lattice of translations, [3, 3] in Å."""
    difference = (members[1:] - members[0]) @ np.linalg.inv(cell)
    difference -= np.round(difference)
    images = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    if len(difference) < _CANDIDATES:  # in a large cell the nearest image alone is short enough
        difference = (difference[None] + images[:, None]).reshape(-1, 3)
    shifts = np.concatenate([difference, images]) @ cell
    lengths = np.linalg.norm(shifts, axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 1e-6]
    found = [np.zeros((0, 3))]
    for shift in shifts[order[:_CANDIDATES]]:
        basis = found[-1]
        if _spans(basis, shift) or not finder.holds(shift):
            continue
        found.append(np.vstack([basis, shift]))
        if len(found[-1]) == 3:
            return found[-1]
    # What is missing is filled up with the supercell's own vectors.
    basis = found[-1]
    for vector in cell:
        if len(basis) < 3 and not _spans(basis, vector):
            basis = np.vstack([basis, vector])
    return basis


def _spans(basis: np.ndarray, vector: np.ndarray) -> bool:
    """Whether ``vector`` is a linear combination of the rows of ``basis``."""
    if not len(basis):
        return False
    coefficients, *_ = np.linalg.lstsq(basis.T, vector, rcond=None)
    return bool(np.linalg.norm(basis.T @ coefficients - vector) < 1e-4 * np.linalg.norm(vector))


def _reduced(vectors: np.ndarray) -> np.ndarray:
    from ase.geometry import minkowski_reduce  # noqa: PLC0415

    reduced, _ = minkowski_reduce(vectors)
    return np.asarray(reduced)


def _oriented(vectors: np.ndarray) -> np.ndarray:
    """Right-handed, with the vectors in the order and sign of the axes they follow best."""
    order = []
    for axis in range(3):
        free = [n for n in range(3) if n not in order]
        order.append(max(free, key=lambda n: round(abs(vectors[n, axis]), 6)))
    vectors = vectors[order]
    for n in range(3):
        if vectors[n, np.argmax(np.abs(vectors[n]))] < 0:
            vectors[n] *= -1
    return vectors
