"""Integer moves that keep linear constraints: kernels of integer matrices and Graver bases.

All vectors count species; a move v leads from counts n ≥ 0 to n + v ≥ 0 and keeps A n, so A v = 0.
"""

from __future__ import annotations

import heapq
import math
from functools import cache

import numpy as np

from ..errors import InputError

__all__ = ["compositions", "connects", "graver_basis", "kernel_basis"]

Rows = tuple[tuple[int, ...], ...]

MOST_MOVES = 1_000
MOST_COMPOSITIONS = 1_000_000


def kernel_basis(matrix: Rows) -> np.ndarray:
    """Lattice basis of the integer vectors v with ``matrix`` v = 0, int64 [n_basis, n_columns].

    Euclid's algorithm on whole columns, row by row, beside which the unit matrix takes part in
    every step; what it becomes under the columns that end as zero is the basis.
    """
    n_rows, n_columns = len(matrix), len(matrix[0])
    columns = [
        np.array([row[j] for row in matrix] + [int(i == j) for i in range(n_columns)], dtype=object)
        for j in range(n_columns)
    ]
    for row in range(n_rows):
        while len(left := [c for c in range(len(columns)) if columns[c][row]]) > 1:
            pivot = min(left, key=lambda c: abs(columns[c][row]))
            for c in set(left) - {pivot}:
                quotient = columns[c][row] // columns[pivot][row]
                columns[c] = columns[c] - quotient * columns[pivot]
        columns = [column for column in columns if not column[row]]
    basis = [column[n_rows:] for column in columns]
    return np.array(basis, dtype=np.int64).reshape(-1, n_columns)


@cache
def graver_basis(matrix: Rows) -> np.ndarray:
    """Graver basis of ``matrix``, both signs of every vector, int64 [n_moves, n_columns].

    These are the v ≠ 0 with ``matrix`` v = 0 that are no sum of two others of the same signs
    (v = v′ + v″ with v′_k v″_k ≥ 0 for all k). Between two non-negative n and m with equal
    ``matrix`` n the difference is a sum of such vectors with its own signs, and every partial sum
    stays between n and m: the moves connect all non-negative solutions (Diaconis and Sturmfels
    1998, Ann. Statist. 26, 363, doi:10.1214/aos/1030563990; Sturmfels 1996, Gröbner Bases and
    Convex Polytopes, ch. 4, doi:10.1090/ulect/008).

    Found by completion (Pottier 1996, ISSAC, doi:10.1145/236869.236894): sums of vectors found so
    far, less those found that fit into them, until nothing is left of any sum.

    Raises
    ------
    InputError
        If there are more than 1,000 moves.
    """
    basis = kernel_basis(matrix)
    found = np.zeros((0, basis.shape[1]), dtype=np.int64)
    waiting: list[tuple[int, tuple[int, ...]]] = []
    seen: set[tuple[int, ...]] = set()
    _queue(basis, waiting, seen)
    while waiting:
        rest = _reduced(np.array(heapq.heappop(waiting)[1]), found)
        if not rest.any():
            continue
        # Sums of vectors with the same signs leave nothing.
        opposed = (rest * found < 0).any(axis=1)
        _queue(rest + found[opposed], waiting, seen)
        found = np.concatenate([found, [rest, -rest]])
        if len(found) > MOST_MOVES:
            raise InputError(
                f"more than {MOST_MOVES} kinds of exchange keep these constraints: allow fewer "
                "species on the sublattices, or divide the sublattices"
            )
    least = [v for v in found.tolist() if _fitting(np.array(v), found).sum() == 1]
    least.sort(key=lambda v: (sum(map(abs, v)), _first_sign(v, -1), _first_sign(v, 1) == v))
    moves = np.array(least, dtype=np.int64).reshape(-1, found.shape[1])
    moves.flags.writeable = False  # it is kept for the next kernel with the same constraints
    return moves


def _queue(
    vectors: np.ndarray, waiting: list[tuple[int, tuple[int, ...]]], seen: set[tuple[int, ...]]
) -> None:
    """Add vectors that were not seen yet, of either sign, to the heap: small ones first."""
    for vector in vectors.tolist():
        key = tuple(_first_sign(vector, 1))
        if key not in seen:
            seen.add(key)
            heapq.heappush(waiting, (sum(map(abs, key)), key))


def _first_sign(vector: list[int], sign: int) -> list[int]:
    """Return the vector or its negative, whichever has this sign in its first entry but zeros."""
    first = next((x for x in vector if x), 0)
    return vector if first * sign > 0 else [-x for x in vector]


def _fitting(vector: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return which of ``found`` have the signs of ``vector`` and nowhere exceed it."""
    return ((found * vector >= 0) & (abs(found) <= abs(vector))).all(axis=1)


def _reduced(vector: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Subtract vectors of ``found`` from ``vector`` as long as one fits into it."""
    while vector.any() and (fitting := _fitting(vector, found)).any():
        vector = vector - found[fitting.argmax()]
    return vector


def compositions(matrix: np.ndarray, counts: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    """Enumerate all counts with the same constraint values as ``counts``, [n, n_columns].

    Parameters
    ----------
    matrix
        Constraints, [n_rows, n_columns].
    counts
        Species counts, [n_columns].
    parts
        Columns of each sublattice, which hold as many sites as ``counts`` puts there.

    Raises
    ------
    InputError
        If the sublattices' compositions, taken together, are more than 10⁶.
    """
    sizes = [int(counts[part].sum()) for part in parts]
    number = math.prod(
        math.comb(n + len(part) - 1, len(part) - 1) for n, part in zip(sizes, parts, strict=True)
    )
    if number > MOST_COMPOSITIONS:
        raise InputError(
            f"{number:,} compositions are too many to enumerate: check a smaller cell with the "
            "same species and charges, at most 1,000,000"
        )
    every = np.zeros((1, len(counts)), dtype=np.int64)
    for n, part in zip(sizes, parts, strict=True):
        split = _splits(n, len(part))
        every = np.repeat(every, len(split), axis=0)
        every[:, part] = np.tile(split, (len(every) // len(split), 1))
    return every[((every - counts) @ matrix.T == 0).all(axis=1)]


def _splits(n: int, k: int) -> np.ndarray:
    """All k non-negative numbers of sum n, [n_splits, k]."""
    if k == 1:
        return np.array([[n]])
    return np.concatenate(
        [np.insert(_splits(n - first, k - 1), 0, first, axis=1) for first in range(n + 1)]
    )


def connects(moves: np.ndarray, states: np.ndarray) -> bool:
    """Whether ``moves`` lead from one of ``states`` to all others, by breadth-first search.

    Parameters
    ----------
    moves
        Both signs of every move, [n_moves, n_columns].
    states
        Every non-negative vector with the same constraint values, [n_states, n_columns].
    """
    place = {tuple(state): index for index, state in enumerate(states.tolist())}
    reached = np.zeros(len(states), dtype=bool)
    reached[0] = True
    frontier = np.array([0])
    while len(frontier):
        neighbours: set[int] = set()
        for move in moves:
            there = states[frontier] + move
            there = there[(there >= 0).all(axis=1)]
            neighbours.update(place[tuple(state)] for state in there.tolist())
        frontier = np.array([index for index in neighbours if not reached[index]], dtype=np.int64)
        reached[frontier] = True
    return bool(reached.all())
