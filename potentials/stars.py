"""The neighbourhood of a kind of site as bits: what makes an exact change of energy cheap.

Energies are rewritten as a lattice gas: a polynomial in which only clusters with no site on its
first species count. Around a site, the sites that hold species t are one word of bits per 64
neighbours; clusters that share all but one of their sites are one word as well, so that many are
counted by one population count.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from .interactions import Interaction, permuted

__all__ = ["Part", "Row", "Star", "lattice_gas", "star_of"]

Neighbour = tuple[int, tuple[int, int, int]]  # kind, cell


def lattice_gas(interactions: Iterable[Interaction]) -> dict[tuple[Neighbour, ...], np.ndarray]:
    """Rewrite cluster energies so that an entry with a first species in it is zero.

    Returns tables by cluster: sites (kind, cell) in increasing order, the first one's cell at the
    origin. The constant is left out; energies at vertices differ by it alone.
    """
    found: dict[tuple[Neighbour, ...], np.ndarray] = {}
    for interaction in interactions:
        n = len(interaction.kinds)
        for size in range(1, n + 1):
            for subset in itertools.combinations(range(n), size):
                part = _reduced_to(interaction, subset)
                if not np.any(part.table):
                    continue
                key, table = _canonical(part)
                if key in found:
                    found[key] = found[key] + table
                else:
                    found[key] = table
    return found


def _reduced_to(interaction: Interaction, subset: Sequence[int]) -> Interaction:
    """Part of a table that belongs to a subset of its sites: inclusion and exclusion."""
    table = np.asarray(interaction.table, dtype=np.float64)
    index = tuple(slice(None) if n in subset else 0 for n in range(table.ndim))
    table = table[index].copy()
    for axis in range(table.ndim):
        table = table - np.take(table, [0], axis=axis)
    cells = np.asarray(interaction.cells)[list(subset)]
    return Interaction(tuple(interaction.kinds[n] for n in subset), cells, table)


def _canonical(interaction: Interaction) -> tuple[tuple[Neighbour, ...], np.ndarray]:
    """Sites in an order, and at a place, that the same cluster always gets."""
    cells = [tuple(int(x) for x in c) for c in interaction.cells]
    order = sorted(range(len(cells)), key=lambda n: (interaction.kinds[n], cells[n]))
    ordered = permuted(interaction, order)
    # The first kind may occur again: a translation could put another of its sites first, but
    # the smallest cell among them stays the smallest.
    origin = np.asarray(ordered.cells)[0]
    key = tuple(
        (kind, (int(c[0]), int(c[1]), int(c[2])))
        for kind, c in zip(ordered.kinds, np.asarray(ordered.cells) - origin, strict=True)
    )
    return key, ordered.table


class Row(NamedTuple):
    """Clusters that share their ``explicit`` neighbours; ``last`` lists the others, by index."""

    explicit: tuple[int, ...]
    last: tuple[int, ...]


class Part(NamedTuple):
    """Clusters of one table [species of the centre, of the explicit sites …, of the last]."""

    table: np.ndarray
    rows: list[Row]


class Star(NamedTuple):
    """All neighbours of a kind of site and the clusters it makes with them."""

    neighbours: list[Neighbour]
    parts: list[Part]
    onsite: np.ndarray


def star_of(
    kind: int, clusters: dict[tuple[Neighbour, ...], np.ndarray], n_species: Sequence[int]
) -> Star:
    """Gather what a site of ``kind`` takes part in.

    Parameters
    ----------
    kind
        Basis index of the centre.
    clusters
        Tables by ``lattice_gas`` of the clusters with a site of this kind; others do no harm.
    n_species
        Species of every kind.
    """
    onsite = np.zeros(n_species[kind])
    around: list[tuple[tuple[Neighbour, ...], np.ndarray]] = []
    for sites, table in clusters.items():
        if not np.any(table):  # parts that cancel
            continue
        for centre, (of, origin) in enumerate(sites):
            if of != kind:
                continue
            if len(sites) == 1:
                onsite += table
                continue
            rest = [
                (k, (c[0] - origin[0], c[1] - origin[1], c[2] - origin[2]))
                for n, (k, c) in enumerate(sites)
                if n != centre
            ]
            around.append((tuple(rest), np.moveaxis(table, centre, 0)))
    # Neighbours of many-body clusters first: their words are the ones used most.
    use = Counter(neighbour for others, _ in around for neighbour in others if len(others) > 1)
    neighbours = sorted(
        {neighbour for others, _ in around for neighbour in others},
        key=lambda n: (-use[n], sum(x * x for x in n[1]), n),
    )
    index = {neighbour: n for n, neighbour in enumerate(neighbours)}
    grouped: dict[object, tuple[np.ndarray, list[tuple[int, ...]]]] = {}
    for others, table in around:
        numbers = [index[o] for o in others]
        order = sorted(range(len(numbers)), key=lambda n: numbers[n])
        ordered = np.transpose(table, [0, *(n + 1 for n in order)])
        scale = np.abs(ordered).max()
        rounded = np.round(ordered / scale, 12) + 0.0
        key = (ordered.shape, rounded.tobytes(), f"{scale:.12e}")
        grouped.setdefault(key, (ordered, []))[1].append(tuple(numbers[n] for n in order))
    parts = []
    for table, members in grouped.values():
        free = set(table.shape) == {2}  # one number: the order of the sites does not matter
        parts.append(Part(table, _rows(members, free)))
    return Star(neighbours, parts, onsite)


def _rows(members: list[tuple[int, ...]], free: bool) -> list[Row]:
    """Put clusters with all but one site in common into one row, few rows if ``free`` to choose."""
    if not free or len(members[0]) == 1:
        rows: dict[tuple[int, ...], list[int]] = {}
        for sites in members:
            rows.setdefault(sites[:-1], []).append(sites[-1])
        return [Row(explicit, tuple(last)) for explicit, last in rows.items()]
    left = {frozenset(sites) for sites in members}
    result = []
    while left:
        shared = Counter(
            subset
            for sites in left
            for subset in itertools.combinations(sorted(sites), len(sites) - 1)
        )
        explicit = min(shared, key=lambda s: (-shared[s], s))
        covered = {sites for sites in left if sites.issuperset(explicit)}
        result.append(
            Row(explicit, tuple(sorted(n for sites in covered for n in sites - set(explicit))))
        )
        left -= covered
    return result
