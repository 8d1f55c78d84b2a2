"""Clusters with tables of energies, and the flat arrays that the compiled kernels read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..tiling import Tiling

__all__ = ["Interaction", "Tables", "build_tables", "permuted"]


@dataclass(frozen=True)
class Interaction:
    """One cluster per primitive cell, with the energy of every way to occupy it.

    ``kinds`` (basis indices) and ``cells`` [n, 3] say where its sites are; ``table`` has one axis
    per site, over the species of that site in the lattice's order, in eV.
    """

    kinds: tuple[int, ...]
    cells: np.ndarray
    table: np.ndarray


class Tables(NamedTuple):
    """What the compiled kernels read; all of it is small but what is said of single sites.

    A group holds clusters around a site of one kind whose other sites enter the energy alike. Rows
    of ``groups`` uint32 [n_groups, 5 + most others]: number of other sites per cluster; first entry
    in ``offsets``; number of clusters; number of codes; first entry in ``values``; and one stride
    per other site. The species of the other sites are read as one number, the code
    Σ_t σ_t stride_t. ``group_of_kind`` uint32 [n_kinds + 1] bounds the groups of a kind.

    ``offsets`` uint32: steps in the padded array from a site's corner to the other sites, cluster
    by cluster. ``values`` float64: energies in eV by [species of the centre, code].
    ``onsite`` float64 [n_kinds, n_species_max], eV; ``species`` uint32 [n_kinds], how many a kind
    may hold.

    ``home`` uint32 [n_sites]: position of every site in the padded array, which is cell by cell and
    in it kind by kind; the corner lies ``shift`` before the first position of the site's cell.
    ``edge`` uint8 [padded_length]: whether a site there has images; then ``image_row`` uint32 says
    where its bounds in ``images`` are in ``image_bounds``. ``field`` float64
    [padded_length or 0, n_species_max], eV: what every site has of its own.

    The rest holds the same energies as a lattice gas, for changes of one site (see ``stars``).
    ``star`` uint32: steps from the corner to the neighbours, bounded by ``star_of_kind``. Rows of
    ``parts`` uint32 [n_parts, 6]: explicit sites, first row, number of rows, first entry in
    ``strengths``, codes of the explicit sites, species of the last; bounded by ``part_of_kind``.
    ``explicit`` uint32 [n_rows, 2 × most]: indices of neighbours, then their strides; ``masks``
    uint64 [n_rows, words]. ``strengths`` float64, eV: [species of the centre, code, species of the
    last]; ``single`` float64 [n_kinds, n_species_max], eV. ``levels`` uint32 [n_kinds]: most
    species of a site of the star or of its centre, less one.
    """

    groups: np.ndarray
    group_of_kind: np.ndarray
    offsets: np.ndarray
    values: np.ndarray
    onsite: np.ndarray
    species: np.ndarray
    home: np.ndarray
    shift: np.uint64
    n_kinds: np.uint64
    edge: np.ndarray
    image_row: np.ndarray
    image_bounds: np.ndarray
    images: np.ndarray
    field: np.ndarray
    padded_length: int
    star: np.ndarray
    star_of_kind: np.ndarray
    parts: np.ndarray
    part_of_kind: np.ndarray
    explicit: np.ndarray
    masks: np.ndarray
    strengths: np.ndarray
    single: np.ndarray
    levels: np.ndarray

    @property
    def frame(self) -> tuple[Any, ...]:
        """Arrays by which sites are found and set, in the order the kernels take them."""
        return self.home, self.edge, self.image_row, self.image_bounds, self.images

    @property
    def clusters(self) -> tuple[Any, ...]:
        """Arrays of the energy cluster by cluster, in the order the kernels take them."""
        return (
            self.groups, self.group_of_kind, self.offsets, self.values, self.onsite, self.shift,
            self.n_kinds, self.field,
        )  # fmt: skip

    @property
    def gas(self) -> tuple[Any, ...]:
        """Arrays of the lattice gas, in the order the kernels take them."""
        return (
            self.star, self.star_of_kind, self.parts, self.part_of_kind, self.explicit, self.masks,
            self.strengths, self.single, self.levels, self.shift, self.n_kinds, self.field,
        )  # fmt: skip

    def scratch(self) -> tuple[np.ndarray, np.ndarray]:
        """Fresh arrays for the neighbours of one site: species, and bits by species."""
        most = int(np.diff(self.star_of_kind.astype(np.int64)).max(initial=1))
        words = max(1, self.masks.shape[1])
        levels = max(1, int(self.levels.max(initial=1)))
        return np.zeros(most, dtype=np.uint8), np.zeros((levels, words), dtype=np.uint64)

    @property
    def bytes_per_site(self) -> float:
        """Memory of what grows with the cell, a replica's padded occupation included."""
        grown = sum(array.nbytes for array in (*self.frame, self.field)) + self.padded_length
        return grown / max(1, len(self.home))


def permuted(interaction: Interaction, order: Sequence[int]) -> Interaction:
    """Return the same cluster with its sites listed in another order."""
    return Interaction(
        tuple(interaction.kinds[n] for n in order),
        np.asarray(interaction.cells)[list(order)],
        np.transpose(interaction.table, order),
    )


def folded(interaction: Interaction, tiling: Tiling) -> Interaction:
    """Let sites of the cluster that are one site of the supercell count once.

    In a cell smaller than a cluster a site meets its own image; the energy of the periodic
    crystal is then a function of fewer sites.
    """
    sites = tiling.sites_at(np.asarray(interaction.cells), np.asarray(interaction.kinds))
    _, first, inverse = np.unique(sites, return_index=True, return_inverse=True)
    if len(first) == len(sites):
        return interaction
    rank = np.argsort(np.argsort(first))  # keep the order of the first occurrences
    first, inverse = np.sort(first), rank[inverse]
    shape = [interaction.table.shape[n] for n in first]
    index = np.indices(shape)
    return Interaction(
        tuple(interaction.kinds[n] for n in first),
        np.asarray(interaction.cells)[first],
        interaction.table[tuple(index[n] for n in inverse)],
    )


class _Group(NamedTuple):
    table: np.ndarray
    strides: tuple[int, ...]
    clusters: list[tuple[tuple[int, ...], np.ndarray]]


def build_tables(
    interactions: Iterable[Interaction],
    tiling: Tiling,
    n_species: Sequence[int],
    field: np.ndarray | None = None,
) -> Tables:
    """Arrange clusters around every kind of site.

    Parameters
    ----------
    interactions
        Clusters of one primitive cell.
    tiling
        The supercell.
    n_species
        Species that each kind of site may hold.
    field
        Energies of every single site and species in eV, [n_sites, n_species_max].
    """
    n_kinds, most = len(n_species), max(n_species)
    onsite = np.zeros((n_kinds, most))
    groups: list[dict[object, _Group]] = [{} for _ in range(n_kinds)]
    every = [folded(interaction, tiling) for interaction in interactions]
    for small in every:
        if len(small.kinds) == 1:
            onsite[small.kinds[0], : small.table.shape[0]] += small.table
            continue
        if not np.any(small.table):
            continue
        for centre in range(len(small.kinds)):
            _add(groups, permuted(small, [centre, *_without(len(small.kinds), centre)]))
    return _flat(groups, onsite, tiling, n_species, field=field, small=every)


def _without(n: int, one: int) -> list[int]:
    return [k for k in range(n) if k != one]


def _add(groups: list[dict[object, _Group]], around: Interaction) -> None:
    """Put a cluster, its centre first, into the group with the same table."""
    sizes = around.table.shape[1:]
    strides = tuple(int(np.prod(sizes[t + 1 :])) for t in range(len(sizes)))
    scale = np.abs(around.table).max()
    shape = np.round(around.table / scale, 12) + 0.0  # +0.0: no negative zeros
    key = (strides, shape.shape, shape.tobytes(), f"{scale:.12e}")
    where = np.asarray(around.cells)[1:] - np.asarray(around.cells)[0]
    group = groups[around.kinds[0]].setdefault(key, _Group(around.table, strides, []))
    group.clusters.append((around.kinds[1:], where))


def _flat(
    groups: list[dict[object, _Group]],
    onsite: np.ndarray,
    tiling: Tiling,
    n_species: Sequence[int],
    *,
    field: np.ndarray | None,
    small: list[Interaction],
) -> Tables:
    padding = _Padding(tiling, [c for kind in groups for g in kind.values() for _, c in g.clusters])
    longest = max((len(g.strides) for kind in groups for g in kind.values()), default=1)
    bounds, rows, offsets, values = [0], [], [], []
    n_offsets = n_values = 0
    for named in groups:
        for group in named.values():
            codes = int(np.prod(group.table.shape[1:]))
            strides = group.strides + (0,) * (longest - len(group.strides))
            row = (len(group.strides), n_offsets, len(group.clusters), codes, n_values)
            rows.append(row + strides)
            offsets += [padding.offsets(kinds, cells) for kinds, cells in group.clusters]
            n_offsets += len(group.clusters) * len(group.strides)
            values.append(group.table.ravel())
            n_values += group.table.size
        bounds.append(len(rows))
    return Tables(
        groups=np.array(rows, dtype=np.uint32).reshape(-1, 5 + longest),
        group_of_kind=np.array(bounds, dtype=np.uint32),
        offsets=np.concatenate(offsets or [np.zeros(0)]).astype(np.uint32),
        values=np.concatenate(values or [np.zeros(0)]),
        onsite=onsite,
        species=np.array(n_species, dtype=np.uint32),
        home=padding.home,
        shift=np.uint64(padding.corner),
        n_kinds=np.uint64(len(n_species)),
        edge=padding.edge,
        image_row=padding.image_row,
        image_bounds=padding.image_bounds,
        images=padding.images,
        field=padding.spread(field, onsite.shape[1]),
        padded_length=padding.length,
        **_stars(small, padding, n_species),
    )


def _stars(
    interactions: list[Interaction], padding: _Padding, n_species: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return the arrays of ``Tables`` that describe the lattice gas."""
    from .stars import lattice_gas, star_of  # noqa: PLC0415

    around: list[dict[Any, np.ndarray]] = [{} for _ in n_species]
    for sites, table in lattice_gas(interactions).items():
        for kind, _ in sites:
            around[kind][sites] = table
    stars = [star_of(kind, clusters, n_species) for kind, clusters in enumerate(around)]
    words = max(1, *(-(-len(s.neighbours) // 64) for s in stars))
    longest = max((len(r.explicit) for s in stars for p in s.parts for r in p.rows), default=0)
    star, star_bounds, parts, part_bounds = [], [0], [], [0]
    explicit, strengths = [], []
    masks: list[np.ndarray] = []
    n_strengths = 0
    single = np.zeros((len(n_species), max(n_species)))
    for kind, s in enumerate(stars):
        single[kind, : len(s.onsite)] = s.onsite
        star += [int(padding.offsets([k], np.array([c]))[0]) for k, c in s.neighbours]
        star_bounds.append(len(star))
        for part in s.parts:
            sizes = part.table.shape[1:-1]
            strides = [int(np.prod(sizes[n + 1 :])) for n in range(len(sizes))]
            codes, last = int(np.prod(sizes)), part.table.shape[-1]
            parts.append((len(sizes), len(masks), len(part.rows), n_strengths, codes, last))
            for row in part.rows:
                fill = [0] * (longest - len(sizes))
                explicit.append([*row.explicit, *fill, *strides, *fill])
                mask = np.zeros(words, dtype=np.uint64)
                for n in row.last:
                    mask[n // 64] |= np.uint64(1) << np.uint64(n % 64)
                masks.append(mask)
            strengths.append(np.ascontiguousarray(part.table).ravel())
            n_strengths += part.table.size
        part_bounds.append(len(parts))
    return {
        "star": np.array(star, dtype=np.uint32),
        "star_of_kind": np.array(star_bounds, dtype=np.uint32),
        "parts": np.array(parts, dtype=np.uint32).reshape(-1, 6),
        "part_of_kind": np.array(part_bounds, dtype=np.uint32),
        "explicit": np.array(explicit, dtype=np.uint32).reshape(len(masks), 2 * longest),
        "masks": np.array(masks, dtype=np.uint64).reshape(len(masks), words),
        "strengths": np.concatenate(strengths or [np.zeros(0)]),
        "single": single,
        "levels": np.array(
            [
                max([n_species[k] for k, _ in s.neighbours] + [own]) - 1
                for s, own in zip(stars, n_species, strict=True)
            ],
            dtype=np.uint32,
        ),
    }


class _Padding:
    """The box with a margin of images, so that a neighbour is a constant step away.

    A site's species stands in the padded array once in the box and once for every image in the
    margin, whose width is the reach of the interactions.
    """

    def __init__(self, tiling: Tiling, cells: Sequence[np.ndarray]) -> None:
        reach = np.zeros(3, dtype=np.int64)
        for part in cells:
            reach = np.maximum(reach, np.abs(part).max(axis=0))
        self._tiling, self._reach = tiling, reach
        self._n_kinds = len(tiling.basis)
        self._shape = np.array(tiling.shape) + 2 * reach
        self.length = int(np.prod(self._shape)) * self._n_kinds
        if self.length >= 2**32:
            raise InputError(
                f"the cell needs {self.length} places in memory, margin included, more than "
                "32-bit steps reach: take a smaller cell or shorter cutoffs"
            )
        # From here to the centre's cell, so that every step from the corner is positive.
        self.corner = int(self._index(np.zeros(3, dtype=np.int64))) * self._n_kinds
        home = self._index(tiling.cells) * self._n_kinds + tiling.kinds
        self.home = home.astype(np.uint32)
        self._find_images()

    def _index(self, cells: np.ndarray) -> np.ndarray:
        """Position of a cell in the padded array, in cells."""
        x, y, z = np.moveaxis(np.asarray(cells) + self._reach, -1, 0)
        return np.asarray((x * self._shape[1] + y) * self._shape[2] + z)

    def offsets(self, kinds: Sequence[int], cells: np.ndarray) -> np.ndarray:
        """Count steps in the padded array from the corner of a centre's cell to other sites."""
        return np.asarray(self._index(cells) * self._n_kinds + np.asarray(kinds))

    def spread(self, field: np.ndarray | None, n_species: int) -> np.ndarray:
        """Values by site [n_sites, n_species] at the sites' positions in the padded array."""
        if field is None:
            return np.zeros((0, n_species))
        spread = np.zeros((self.length, n_species))
        spread[self.home] = field
        return spread

    def _find_images(self) -> None:
        """List every site's images in the margin."""
        tiling = self._tiling
        margins = [range(-r, n + r) for r, n in zip(self._reach, tiling.shape, strict=True)]
        grid = np.stack(np.meshgrid(*margins, indexing="ij"), axis=-1).reshape(-1, 3)
        grid = grid[~((grid >= 0) & (grid < tiling.shape)).all(axis=1)]
        cells = tiling.home(grid)
        position = self._index(grid)[:, None] * self._n_kinds + np.arange(self._n_kinds)
        site = tiling.site_table[cells[:, 0], cells[:, 1], cells[:, 2]].ravel()
        with_images, counts = np.unique(site, return_counts=True)
        self.images = position.ravel()[np.argsort(site, kind="stable")].astype(np.uint32)
        self.image_bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
        self.edge = np.zeros(self.length, dtype=np.uint8)
        self.edge[self.home[with_images]] = 1
        self.image_row = np.zeros(self.length, dtype=np.uint32)
        self.image_row[self.home[with_images]] = np.arange(len(with_images))
