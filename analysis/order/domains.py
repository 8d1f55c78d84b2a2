"""Antiphase domains: which variant every site belongs to, and where variants meet."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from ...errors import InputError
from ...lattice import Lattice
from ...neighbours import PeriodicTree
from ...sublattice import is_number, is_whole
from ..estimates import as_chains, describe, measured, sites_of, species_labels
from ..wording import with_error
from .registered import ordered_arrangement, variants_of
from .statements import doubt

__all__ = ["DomainMap", "domain_map", "domains"]

MEASURES = (
    "ordered share",
    "largest domain",
    "domains",
    "broken bonds",
    "boundaries",
    "boundary area",
)
NEAREST = 1.1
"""Sites up to so many times the shortest distance apart are nearest neighbours: strained nets."""

NEAR = 1.05
"""Broken bonds whose midpoints are nearer than so many bond lengths belong to one boundary."""


class DomainMap(NamedTuple):
    """Domains of one configuration.

    ``phase`` int64 [n_own]: the variant each site of the sublattice is in, −1 where no variant
    fits. ``domain`` int64 [n_own]: the connected domain, 0 the largest, −1 outside all.
    ``sizes`` int64 [n_domains], falling. ``broken`` int64 [n, 2]: sites (of the lattice) on either
    side of a boundary, once per bond. ``boundary`` int64 [n]: which boundary a broken bond is in.
    """

    phase: np.ndarray
    domain: np.ndarray
    sizes: np.ndarray
    broken: np.ndarray
    boundary: np.ndarray


def domains(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    order: str | np.ndarray = "rock-salt",
    sublattice: str | None = None,
    *,
    smooth: bool = True,
    threshold: float = 0.5,
    least: int = 2,
    symmetry: str = "full",
) -> xr.Dataset:
    r"""Domains of an ordered arrangement and the boundaries between them, with errors.

    The phase of a site is the variant of the order with which the site and its nearest neighbours
    agree best (of several, one that the site itself agrees with). With ``smooth=False`` it is the
    first variant that has the site's own species there: for rock-salt order the sign of the
    staggered occupation, for orders of more than two variants no meaningful choice. Nearest
    neighbours of one phase are connected (periodic images included) and make a domain; a bond
    between sites of different phases is broken, and broken bonds that lie side by side make one
    boundary.

    A random arrangement is not without domains: with two variants each phase takes half of the
    sites, above the percolation threshold of the simple cubic net (0.3116), and half of the bonds
    are broken for ``smooth=False``. Compare with ``random``.

    Parameters
    ----------
    lattice
        The lattice.
    occupations
        Shape [draw, chain, n_sites], [n_replicas, n_sites] or [n_sites].
    order
        The name of an order of a simple cubic net, or an ordered occupation [n_sites].
    sublattice
        Its name; may be left out if there is only one.
    smooth
        Whether the neighbours vote on a site's phase: single misplaced atoms then make no domain.
    threshold
        A site of which no more than this share of the voters agrees with any variant has no phase.
    least
        Domains of fewer sites are not counted (they still break bonds).
    symmetry
        As for `variants_of`.

    Returns
    -------
    Dataset over ``measure`` with ``mean``, ``error``, ``ess``, ``rhat``, ``converged`` and
    ``random`` (of 20 random arrangements with the first sample's counts):

    - "ordered share": fraction of sites with a phase,
    - "largest domain": its share of the sublattice's sites,
    - "domains": their number, of at least ``least`` sites,
    - "broken bonds": fraction of nearest-neighbour bonds,
    - "boundaries": number of connected pieces of boundary,
    - "boundary area" in Å²: broken bonds times the area that a bond pierces, 6V/(zd) with V the
      volume per site, z neighbours at the mean distance d: exact for simple cubic and face-centred
      cubic nets, whose Wigner–Seitz cells have one face per neighbour. A flat boundary of a simple
      cubic net on {100} has its true area; a tilted or curved one that of its steps.

    Nearest neighbours are those up to 1.1 times the shortest distance, so that strained and
    slightly distorted nets keep theirs.

    Raises
    ------
    InputError
        If the order is unknown or has a single variant, a parameter is out of its range, or a site
        has no nearest neighbour (the sublattice of a spinel that spans 8a and 16d).

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
    >>> occupation = ordered_arrangement(lattice, "rock-salt")
    >>> slab = lattice.atoms.positions[lattice.sites, 2] < 8.0
    >>> found = domains(lattice, np.where(slab, 1 - occupation, occupation), smooth=False)
    >>> chosen = ["largest domain", "boundaries", "boundary area"]
    >>> found["mean"].sel(measure=chosen).values.round(6).tolist()
    [0.5, 2.0, 512.0]
    """
    finder = _Finder(lattice, order, sublattice, smooth, threshold, symmetry)
    if not is_whole(least, least=1):
        raise InputError(f"least = {least!r} counts domains without sites; give 1 or more")

    def meter(flat: np.ndarray) -> np.ndarray:
        return finder.measures(flat, least)

    series = measured(lattice, occupations, {"domains": meter})["domains"]
    attrs: dict[str, Any] = {"long_name": "antiphase domains", "sublattice": finder.name}
    attrs["bond_length"], attrs["area_per_bond"] = finder.length, finder.area
    coords = {"measure": list(MEASURES), "units": ("measure", ["1", "1", "1", "1", "1", "Å²"])}
    result = describe(
        xr.DataArray(series, dims=("draw", "chain", "measure"), coords=coords, attrs=attrs)
    )
    first = np.asarray(as_chains(lattice, occupations)[0, 0])
    result["random"] = ("measure", finder.random(first, least))
    result.attrs["statement"] = _statement(result)
    return result


def domain_map(
    lattice: Lattice,
    occupation: np.ndarray,
    order: str | np.ndarray = "rock-salt",
    sublattice: str | None = None,
    *,
    smooth: bool = True,
    threshold: float = 0.5,
    symmetry: str = "full",
) -> DomainMap:
    """Domains and boundaries of one configuration, site by site; see `domains`.

    Parameters
    ----------
    lattice, order, sublattice, smooth, threshold, symmetry
        As for `domains`.
    occupation
        One configuration [n_sites].

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
    >>> found = domain_map(lattice, ordered_arrangement(lattice, "rock-salt"))
    >>> found.sizes.tolist(), len(found.broken)
    ([64], 0)
    """
    occupation = lattice.check(np.asarray(occupation))
    if occupation.ndim != 1:
        raise InputError(f"occupation has shape {occupation.shape}; give one configuration")
    finder = _Finder(lattice, order, sublattice, smooth, threshold, symmetry)
    phase = finder.phases(occupation[None])
    label, _ = finder.components(phase)
    label = label[0]
    names, counts = np.unique(label[label >= 0], return_counts=True)
    falling = np.argsort(-counts, kind="stable")
    rank = np.full(label.max(initial=-1) + 1, -1)
    rank[names[falling]] = np.arange(len(names))
    broken = finder.broken(phase)[0]
    _, boundary = np.unique(finder.pieces(broken[None])[0][broken], return_inverse=True)
    return DomainMap(
        phase[0],
        np.where(label >= 0, rank[label], -1),
        counts[falling],
        finder.sites[finder.bonds[broken]],
        boundary,
    )


def _statement(table: xr.Dataset) -> str:
    def of(measure: str, factor: float, unit: str) -> str:
        row = table.sel(measure=measure)
        return with_error(factor * float(row["mean"]), factor * float(row["error"]), unit)

    random = 100 * float(table["random"].sel(measure="broken bonds"))
    telling = table.sel(measure=["largest domain", "broken bonds"])
    return (
        f"The largest domain holds {of('largest domain', 100, ' %')} of the sites and "
        f"{of('broken bonds', 100, ' %')} of the nearest-neighbour bonds are broken "
        f"({random:.3g} % in random arrangements).{doubt(telling)}"
    )


class _Finder:
    """Variants, bonds and neighbouring bonds of a sublattice."""

    def __init__(  # noqa: PLR0917
        self,
        lattice: Lattice,
        order: str | np.ndarray,
        sublattice: str | None,
        smooth: bool,
        threshold: float,
        symmetry: str,
    ) -> None:
        if not is_number(threshold) or not 0 <= threshold < 1:
            raise InputError(f"threshold = {threshold!r} is no share; give 0 to below 1")
        reference = (
            ordered_arrangement(lattice, order, sublattice) if isinstance(order, str) else order
        )
        if sublattice is None and len(lattice.names) > 1:
            raise InputError(
                f"the lattice has the sublattices {', '.join(lattice.names)}; say which has the "
                "domains with sublattice=…"
            )
        self.name = sublattice or lattice.names[0]
        species_labels(lattice, self.name)
        self.sites = sites_of(lattice, self.name)
        copies = variants_of(lattice, np.asarray(reference), symmetry=symmetry).occupations
        self.patterns = np.unique(copies[:, self.sites], axis=0)
        if len(self.patterns) < 2:
            raise InputError("the order has a single variant in this cell: it has no domains")
        self.smooth, self.threshold = smooth, threshold
        self._set_bonds(lattice)
        self._adjacent = self._adjacent_bonds(lattice)

    def _set_bonds(self, lattice: Lattice) -> None:
        n = len(self.sites)
        where, cell = lattice.atoms.positions[lattice.sites[self.sites]], lattice.atoms.cell.array
        self._reach = NEAREST * lattice.shells(1, self.name)[0].distance
        first, second, distance = PeriodicTree(where, cell, self._reach).pairs(where)
        apart = distance > 1e-6
        pairs = np.stack([first, second], axis=1)[apart]
        alone = np.bincount(pairs[:, 0], minlength=n) == 0
        if alone.any():
            raise InputError(
                f"{int(alone.sum())} sites of sublattice {self.name!r} have no neighbour on it up "
                f"to {self._reach:.3g} Å, where others have: domains need a net of like sites"
            )
        self.length, self._longest = float(distance[apart].mean()), float(distance.max())
        self.area = 6.0 * abs(np.linalg.det(cell)) / (len(pairs) * self.length)
        self.neighbours = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        # Every bond stands twice among the ordered pairs, one that ends on its own image too.
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs = pairs[order]
        own = pairs[pairs[:, 0] == pairs[:, 1]][::2]
        self.bonds = np.concatenate([pairs[pairs[:, 0] < pairs[:, 1]], own])

    def _adjacent_bonds(self, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of bonds with midpoints nearer than `NEAR` bond lengths, each pair once."""
        positions, cell = lattice.atoms.positions[lattice.sites[self.sites]], lattice.atoms.cell
        midpoints = _midpoints(positions, cell.array, self.bonds, self._reach)
        i, j, _ = PeriodicTree(midpoints, cell.array, NEAR * self._longest).pairs(midpoints)
        once = np.unique(np.stack([i, j])[:, i < j], axis=1)
        return once[0], once[1]

    def phases(self, flat: np.ndarray) -> np.ndarray:
        """Variant of every site, int64 [n, n_own]; −1 where none fits."""
        own = flat[:, self.sites]
        agree = (own[:, None, :] == self.patterns).astype(float)
        n, n_variants, n_own = agree.shape
        if self.smooth:
            rows = agree.reshape(-1, n_own)
            voters = np.asarray(self.neighbours.sum(axis=1)) + 1.0
            share = ((self.neighbours @ rows.T).T + rows) / voters
            share = share.reshape(n, n_variants, n_own)
            best = (share + 1e-6 * agree).argmax(axis=1)
        else:
            share, best = agree, agree.argmax(axis=1)
        value = np.take_along_axis(share, best[:, None], axis=1)[:, 0]
        return np.where(value > self.threshold, best, -1)

    def broken(self, phase: np.ndarray) -> np.ndarray:
        """Whether the phases at the ends of a bond differ, bool [n, n_bonds]."""
        return np.asarray(phase[:, self.bonds[:, 0]] != phase[:, self.bonds[:, 1]])

    def components(self, phase: np.ndarray) -> tuple[np.ndarray, int]:
        """Label of every site's domain over all configurations, [n, n_own]; −1 without phase."""
        n, n_own = phase.shape
        whole = ~self.broken(phase) & (phase[:, self.bonds[:, 0]] >= 0)
        which, bond = np.nonzero(whole)
        rows, columns = self.bonds[bond].T + which * n_own
        graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), (n * n_own,) * 2)
        number, label = connected_components(graph, directed=False)
        return np.where(phase >= 0, label.reshape(n, n_own), -1), int(number)

    def pieces(self, broken: np.ndarray) -> np.ndarray:
        """Which boundary every broken bond is in, numbered over all configurations, [n, n_bonds].

        −1 where the bond is whole.
        """
        n, n_bonds = broken.shape
        first, second = self._adjacent
        which, edge = np.nonzero(broken[:, first] & broken[:, second])
        rows, columns = which * n_bonds + first[edge], which * n_bonds + second[edge]
        graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), (n * n_bonds,) * 2)
        _, label = connected_components(graph, directed=False)
        return np.where(broken, label.reshape(n, n_bonds), -1)

    def measures(self, flat: np.ndarray, least: int) -> np.ndarray:
        """Every quantity of `MEASURES`, [n, 6]."""
        phase = self.phases(flat)
        broken = self.broken(phase)
        label, number = self.components(phase)
        sizes = np.bincount(label[label >= 0], minlength=number)
        owner = np.full(number, -1)
        index, column = np.nonzero(label >= 0)
        owner[label[index, column]] = index
        counted = sizes >= least
        largest = np.zeros(len(flat))
        np.maximum.at(largest, owner[owner >= 0], sizes[owner >= 0])
        domains_ = np.bincount(owner[counted & (owner >= 0)], minlength=len(flat))
        columns = [
            (phase >= 0).mean(axis=1),
            largest / phase.shape[1],
            domains_,
            broken.mean(axis=1),
            _distinct(self.pieces(broken)),
            broken.sum(axis=1) * self.area,
        ]
        return np.stack(columns, axis=1).astype(float)

    def random(self, first: np.ndarray, least: int, number: int = 20) -> np.ndarray:
        """Mean measures of random arrangements with the counts of one configuration."""
        rng = np.random.Generator(np.random.PCG64(0))
        drawn = np.repeat(first[None], number, axis=0)
        drawn[:, self.sites] = rng.permuted(drawn[:, self.sites], axis=1)
        return np.asarray(self.measures(drawn, least).mean(axis=0))


def _distinct(labels: np.ndarray) -> np.ndarray:
    """Count the labels of each row, [n]: none is in two rows, and those below zero are left out."""
    which, column = np.nonzero(labels >= 0)
    row_of = np.full(labels.max(initial=-1) + 1, -1)
    row_of[labels[which, column]] = which
    return np.bincount(row_of[row_of >= 0], minlength=len(labels))


def _midpoints(
    positions: np.ndarray, cell: np.ndarray, bonds: np.ndarray, reach: float
) -> np.ndarray:
    """Middle of every bond; a pair that is bonded through several images has one for each."""
    inverse = np.linalg.inv(cell)
    images: dict[tuple[int, int], list[np.ndarray]] = {}
    shifts = np.array(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij")).reshape(3, -1).T
    result = np.empty((len(bonds), 3))
    for row, (i, j) in zip(result, bonds.tolist(), strict=True):
        if (i, j) not in images:
            step = (positions[j] - positions[i]) @ inverse
            steps = (step - np.rint(step) + shifts) @ cell
            lengths = np.linalg.norm(steps, axis=1)
            near = (lengths > 1e-6) & (lengths < reach)
            near &= (i != j) | (_first_half(shifts))
            images[i, j] = list(steps[near])
        step = images[i, j].pop() if images[i, j] else np.zeros(3)
        row[:] = positions[i] + 0.5 * step
    return result


def _first_half(shifts: np.ndarray) -> np.ndarray:
    """One of every vector and its opposite."""
    rank = shifts @ np.array([9, 3, 1])
    return np.asarray(rank > 0)
