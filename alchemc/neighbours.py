"""Periodic geometry: nearest atoms, overlaps and neighbour shells, images counted one by one."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from .errors import InputError

__all__ = ["PeriodicTree", "Shell", "find_overlap", "find_shells"]

_MAX_PAIRS = 50_000_000
_MAX_NEIGHBOURS = 50_000  # of one site: far more than 100 shells hold
_SAMPLE = 1000
_N_PROBES = 64


class Shell(NamedTuple):
    """Neighbours at one distance.

    ``distance`` is in Å. ``pairs`` is int64 [n_pairs, 2], sites i and j of each ordered pair,
    once per periodic image: in a small cell a pair stands there several times, and a site may be
    its own neighbour. ``multiplicity`` is the mean number of neighbours of a site.
    """

    distance: float
    pairs: np.ndarray
    multiplicity: float


class PeriodicTree:
    """A k-d tree over points and those of their images that lie within ``margin`` of the cell.

    Parameters
    ----------
    positions
        Points in Å, [n, 3]; they need not lie inside the cell.
    cell
        Cell vectors as rows in Å, [3, 3].
    margin
        Largest distance in Å that a query can find.
    """

    def __init__(self, positions: np.ndarray, cell: np.ndarray, margin: float) -> None:
        self._cell, self._inverse = cell, np.linalg.inv(cell)
        self._margin = margin
        points, self._owner = self._with_images(self._wrapped(positions))
        self._n = len(positions)
        self._tree = cKDTree(points @ cell)

    def _wrapped(self, positions: np.ndarray) -> np.ndarray:
        scaled = positions @ self._inverse
        scaled -= np.floor(scaled)
        scaled[scaled >= 1.0] = 0.0  # −1e-17 becomes 1.0 above
        return scaled

    def _with_images(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reach = self._margin * np.linalg.norm(self._inverse, axis=0) + 1e-9
        points, owners = [scaled], [np.arange(len(scaled))]
        ranges = [range(-n, n + 1) for n in np.ceil(reach).astype(int).tolist()]
        for shift in itertools.product(*ranges):
            if shift == (0, 0, 0):
                continue
            image = scaled + shift
            inside = np.flatnonzero(((image >= -reach) & (image <= 1 + reach)).all(axis=1))
            points.append(image[inside])
            owners.append(inside)
        return np.concatenate(points), np.concatenate(owners)

    def nearest(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Index of the nearest point and its distance in Å; −1 and inf beyond the margin."""
        where = self._wrapped(positions) @ self._cell
        distance, index = self._tree.query(where, distance_upper_bound=self._margin)
        found = np.isfinite(distance)
        owner = np.full(len(where), -1, dtype=np.int64)
        owner[found] = self._owner[index[found]]
        return owner, distance

    def pairs(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All (i, j, distance) with point j or an image of it within the margin of position i.

        ``positions`` equal to a point find that point itself at distance zero.
        """
        home = cKDTree(self._wrapped(positions) @ self._cell)
        found = home.sparse_distance_matrix(self._tree, self._margin, output_type="ndarray")
        return found["i"], self._owner[found["j"]], found["v"]


def find_overlap(
    positions: np.ndarray, cell: np.ndarray, shortest: float
) -> tuple[int, int, float] | None:
    """Find two atoms (or an atom and its image) nearer than ``shortest`` Å, the closest of them.

    Where so many overlap that a sample of the atoms shows it, they are the closest of the sample:
    all pairs of atoms on one spot would not fit into memory.
    """
    some = np.arange(0, len(positions), 1 + (len(positions) - 1) // _SAMPLE)
    found = _closest(positions[some], cell, shortest)
    if found is None:
        return _closest(positions, cell, shortest) if len(some) < len(positions) else None
    i, j, distance = found
    return int(some[i]), int(some[j]), distance


def _closest(
    positions: np.ndarray, cell: np.ndarray, shortest: float
) -> tuple[int, int, float] | None:
    tree = PeriodicTree(positions, cell, shortest)
    i, j, distance = tree.pairs(positions)
    once = (i != j) | (distance > 1e-8)
    if not once.any():
        return None
    at = np.flatnonzero(once)[np.argmin(distance[once])]
    return int(min(i[at], j[at])), int(max(i[at], j[at])), float(distance[at])


def find_shells(
    positions: np.ndarray,
    cell: np.ndarray,
    *,
    centres: np.ndarray,
    others: np.ndarray,
    n_shells: int,
    tolerance: float,
) -> list[Shell]:
    """Shells of ``others`` around ``centres`` (site indices into ``positions``), nearest first.

    Distances that follow one another by less than ``tolerance`` Å form one shell.
    """
    spacing = float(np.cbrt(abs(np.linalg.det(cell)) / len(others)))
    cutoff = 1.1 * spacing
    # A few centres tell how far to look, so that all pairs are searched for once.
    for some in (centres[:: 1 + (len(centres) - 1) // _N_PROBES], centres):
        while True:
            neighbours = 4.2 * (cutoff / spacing) ** 3
            if neighbours > min(_MAX_NEIGHBOURS, _MAX_PAIRS / len(centres)):
                raise InputError(
                    f"{n_shells} shells at a tolerance of {tolerance:g} Å hold over "
                    f"{neighbours:.0f} neighbours of each of {len(centres)} sites; ask for fewer "
                    "shells or a smaller tolerance"
                )
            i, j, distance = _pairs_within(cutoff, positions, cell, some, others)
            order, starts = _group(distance, tolerance)
            if len(starts) > n_shells:  # one more than asked: the last is complete
                break
            cutoff *= 1.3
        cutoff = float(distance[order[starts[n_shells]]]) + 1e-6
    return [
        _shell(i[own], j[own], distance[own], len(centres))
        for own in (np.sort(order[starts[n] : starts[n + 1]]) for n in range(n_shells))
    ]


def _pairs_within(
    cutoff: float, positions: np.ndarray, cell: np.ndarray, centres: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    i, j, distance = PeriodicTree(positions[others], cell, cutoff).pairs(positions[centres])
    i, j = centres[i], others[j]
    keep = (i != j) | (distance > 1e-6)  # a site is its neighbour's image, but not its own
    return i[keep], j[keep], distance[keep]


def _group(distance: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Order by distance, and where in that order each shell starts."""
    order = np.argsort(distance, kind="stable")
    steps = np.diff(distance[order], prepend=-np.inf)
    return order, np.flatnonzero(steps > tolerance)


def _shell(i: np.ndarray, j: np.ndarray, distance: np.ndarray, n_centres: int) -> Shell:
    order = np.lexsort((j, i))
    pairs = np.stack([i[order], j[order]], axis=1).astype(np.int64)
    pairs.setflags(write=False)
    return Shell(float(distance.mean()), pairs, len(pairs) / n_centres)
