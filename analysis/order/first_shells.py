"""Nearest neighbours of atoms that are displaced: shells that end at the widest gap."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ...errors import InputError
from ...neighbours import PeriodicTree
from ...sublattice import is_number

__all__ = ["first_shells"]

REACH = 2.3
"""Distances are looked at up to so many times the nearest one."""


def first_shells(
    centres: np.ndarray, around: np.ndarray, cell: np.ndarray, cutoff: float | None = None
) -> tuple[list[np.ndarray], float]:
    """Neighbours of every centre, nearest first, and the longest distance among them.

    Up to the cutoff, or up to the widest gap (the largest ratio of successive distances) within
    2.3 times the nearest distance. A point on several images counts several times.

    Parameters
    ----------
    centres, around
        Positions in Å, [n, 3] and [m, 3]; no point of one is a point of the other.
    cell
        Cell vectors as rows in Å.
    cutoff
        In Å.

    Raises
    ------
    InputError
        If the cutoff is no distance, or a centre has no neighbour within it.

    Examples
    --------
    >>> lists, longest = first_shells(np.zeros((1, 3)), np.full((1, 3), 2.0), 4.0 * np.eye(3))
    >>> len(lists[0]), round(longest, 3)
    (8, 3.464)
    """
    if cutoff is not None and not (is_number(cutoff) and cutoff > 0):
        raise InputError(f"cutoff = {cutoff!r} is no distance; give one in Å above 0")
    reach = 4.0 if cutoff is None else float(cutoff)
    while True:
        i, j, distance = PeriodicTree(around, cell, reach).pairs(centres)
        nearest = np.full(len(centres), np.inf)
        np.minimum.at(nearest, i, distance)
        if cutoff is not None or reach >= REACH * nearest.max():
            break
        reach = 1.4 * reach if not np.isfinite(nearest).all() else REACH * nearest.max()
    if not np.isfinite(nearest).all():
        raise InputError(f"an atom has no neighbour within {cutoff} Å; give a larger cutoff")
    order = np.lexsort((distance, i))
    i, j, distance = i[order], j[order], distance[order]
    starts = np.searchsorted(i, np.arange(len(centres) + 1))
    shells, longest = [], 0.0
    for start, end in pairwise(starts.tolist()):
        near = distance[start:end]
        number = len(near) if cutoff is not None else _before_the_gap(near)
        shells.append(j[start : start + number])
        longest = max(longest, float(near[number - 1]))
    return shells, longest


def _before_the_gap(near: np.ndarray) -> int:
    inside = near[near <= REACH * near[0]]
    beyond = np.append(inside[1:], REACH * near[0])
    return int(np.argmax(beyond / inside)) + 1
