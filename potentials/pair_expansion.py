"""Energies to second order in the species: a term per site and a coupling per pair of sites.

In the coordinates x_i = (λ_i1 − λ̄_i1, …, λ_i,m−1 − λ̄_i,m−1), the weights of all species but the
first less their mean, E = E0 + Σ_i e_i[σ_i] + ½ Σ_{i≠j} x_iᵀ J_ij x_j.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.geometry import minkowski_reduce
from scipy import sparse

from ..errors import InputError
from ..lattice import Lattice
from ..tiling import Tiling, find_tiling, tiling_from_primitive
from .interactions import Interaction
from .lattice_hamiltonian import LatticeHamiltonian

__all__ = [
    "PairExpansion",
    "check_size",
    "coordinates",
    "coordinates_of_species",
    "coupling_matrix",
    "expansion_energies",
    "pair_distances",
]

MOST_COUPLINGS = 20_000_000
NEGLIGIBLE = 2e-4  # of the largest coupling
NEGLIGIBLE_APART = 1e-2  # the same where every pair needs a table of its own


class PairExpansion(LatticeHamiltonian):
    """E = E0 + Σ_i e_i[σ_i] + ½ Σ_{i≠j} x_iᵀ J_ij x_j, as a compiled lattice Hamiltonian.

    What `taylor_expansion` returns, and what `SurrogateChain` learns. Made of plain arrays, which
    ``to_arrays`` gives back.

    Parameters
    ----------
    lattice
        Sites and species.
    mean
        λ̄, the point about which x is measured, [n_sites, n_species_max].
    constant
        E0 of the cell in eV.
    onsite
        e_i in eV, [n_sites, n_species_max].
    couplings
        J in eV between one site of every kind and every site of the cell, all periodic images
        together, [n_kinds, n_sites, m − 1, m − 1] with m = n_species_max. A kind is a class of
        sites under the translations of the reference structure.
    pairs, deviations
        Sites [n_pairs, 2] whose J differs from that of their kind, and by how much,
        [n_pairs, m − 1, m − 1] in eV: where atoms are displaced.
    threads
        As for `LatticeHamiltonian`.

    Notes
    -----
    Couplings below 2·10⁻⁴ of the largest are left out, below 10⁻² where single pairs differ.

    Raises
    ------
    InputError
        If shapes disagree, numbers are not finite, or the sites repeat so little that the
        couplings are too many.
    """

    def __init__(
        self,
        lattice: Lattice,
        *,
        mean: np.ndarray,
        constant: float,
        onsite: np.ndarray,
        couplings: np.ndarray,
        pairs: np.ndarray | None = None,
        deviations: np.ndarray | None = None,
        threads: int | None = None,
    ) -> None:
        tiling = find_tiling(lattice)
        rank = lattice.n_species_max - 1
        self.mean = np.array(mean, dtype=float)
        self.onsite = np.array(onsite, dtype=float)
        self.couplings = np.array(couplings, dtype=float)
        self.pairs = np.zeros((0, 2), dtype=np.int64) if pairs is None else np.array(pairs)
        self.deviations = (
            np.zeros((0, rank, rank)) if deviations is None else np.array(deviations, dtype=float)
        )
        self.repeats, self.constant = tiling, float(constant)
        check_size(lattice, tiling)
        self._check(lattice, tiling, rank)
        if len(self.pairs):
            tiling, interactions = self._one_by_one(lattice)
        else:
            interactions = self._by_translation(lattice, tiling)
        super().__init__(
            lattice, tiling, interactions, constant=constant, field=self.onsite, threads=threads
        )

    def to_arrays(self) -> dict[str, Any]:
        """Return the arguments from which ``PairExpansion(lattice, **arrays)`` makes it again."""
        return {
            "mean": self.mean,
            "constant": self.constant,
            "onsite": self.onsite,
            "couplings": self.couplings,
            "pairs": self.pairs,
            "deviations": self.deviations,
        }

    def leading_waves(self) -> np.ndarray:
        """Patterns of species towards which the couplings drive hardest, [n_waves, n_sites · r].

        An orthonormal basis of the eigenvectors of J, as a matrix over sites and coordinates, with
        the lowest eigenvalue. (v·x)² summed over them is an order parameter: the amplitude of the
        ordering that mean-field theory foresees.
        """
        square = coupling_matrix(self.repeats, self.to_arrays(), NEGLIGIBLE).toarray()
        free = np.abs(square).sum(axis=1) > 0
        if not free.any():
            return np.zeros((0, len(square)))
        values, vectors = np.linalg.eigh(square[np.ix_(free, free)])
        lowest = values < values[0] + 1e-3 * max(abs(values[0]), 1e-12)
        waves = np.zeros((int(lowest.sum()), len(square)))
        waves[:, free] = vectors[:, lowest].T
        return waves

    def on(self, lattice: Lattice) -> PairExpansion:
        """Return the expansion on another supercell of the same crystal.

        Energies of single sites are those of the kind of site, averaged. A coupling between sites
        that meet as several images at the same distance is shared out among them; what couples a
        site to its own images in a smaller cell becomes an energy of that site.

        Raises
        ------
        InputError
            If the lattice is no supercell of the same primitive cell at the same origin, its
            species are others or in another order, or single pairs differ.
        """
        if len(self.pairs):
            raise InputError(
                "an expansion whose pairs differ one by one holds for its own positions only; "
                "make one for the other cell"
            )
        # The same sites, counted by the primitive cell of the expansion and by the lattice's own.
        known = tiling_from_primitive(lattice, self.repeats.primitive, self.repeats.basis, 5e-3)
        tiling = find_tiling(lattice)
        shape = (len(tiling.basis), lattice.n_sites, *self.couplings.shape[2:])
        couplings = np.zeros(shape)
        onsite = np.zeros((lattice.n_sites, lattice.n_species_max))
        mean = np.zeros_like(onsite)
        for kind in range(len(tiling.basis)):
            here, start = tiling.kinds == kind, int(tiling.first_sites[kind])
            old = int(known.kinds[start])
            self._check_species(lattice, start, old)
            members = self.repeats.kinds == old
            onsite[here] = self.onsite[members].mean(axis=0)
            mean[here] = self.mean[members].mean(axis=0)
            for site, images in _images(self.repeats, old):
                for step in images:
                    other = self.repeats.kinds[site]
                    there = int(known.sites_at(known.cells[start] + step, other))
                    couplings[kind, there] += self.couplings[old, site] / len(images)
            # In a smaller cell a site meets its own images, which hold what it holds.
            x = coordinates_of_species(mean[start])
            onsite[here] += 0.5 * ((x @ couplings[kind, start]) * x).sum(axis=1)
            couplings[kind, start] = 0.0
        constant = self.constant * lattice.n_sites / self.lattice.n_sites
        return PairExpansion(
            lattice, mean=mean, constant=constant, onsite=onsite, couplings=couplings
        )

    # ---- parts -----------------------------------------------------------------------------

    def _check(self, lattice: Lattice, tiling: Tiling, rank: int) -> None:
        shapes = {
            "mean": (self.mean, np.asarray(lattice.allowed).shape),
            "onsite": (self.onsite, np.asarray(lattice.allowed).shape),
            "couplings": (self.couplings, (len(tiling.basis), lattice.n_sites, rank, rank)),
            "pairs": (self.pairs, (len(self.pairs), 2)),
            "deviations": (self.deviations, (len(self.pairs), rank, rank)),
        }
        for name, (array, shape) in shapes.items():
            if array.shape != shape:
                raise InputError(f"{name} has shape {array.shape}; {shape} was expected")
            if not np.isfinite(array).all():
                raise InputError(f"{name} holds numbers that are not finite; check the energies")
        for kind in range(len(tiling.basis)):
            if np.ptp(self.mean[tiling.kinds == kind], axis=0).max() > 1e-9:
                raise InputError(
                    "mean differs between sites that are the same by translation: give every site "
                    "of a kind the same weights"
                )
        last = lattice.n_sites - 1
        for i, j in self.pairs.tolist():
            if not (0 <= i <= last and 0 <= j <= last and i != j):
                raise InputError(f"pairs hold ({i}, {j}); give two different sites, 0 to {last}")

    def _check_species(self, lattice: Lattice, site: int, kind: int) -> None:
        """Refuse other species, or the same in another order, on sites of a kind."""
        there, here = (
            of.sublattices[of.names[int(of.sublattice_of_site[i])]].species
            for of, i in ((lattice, site), (self.lattice, int(self.repeats.first_sites[kind])))
        )
        if there != here:
            raise InputError(
                f"site {site} may hold {', '.join(there)} where the expansion has "
                f"{', '.join(here)}: give the same species in the same order"
            )

    def _by_translation(self, lattice: Lattice, tiling: Tiling) -> list[Interaction]:
        """One interaction per kind of pair; pairs met from both their ends count once."""
        least = NEGLIGIBLE * np.abs(self.couplings).max(initial=0.0)
        quantum = 1e-3 * least if least > 0 else 1.0
        n_species = np.asarray(lattice.allowed).sum(axis=1)
        interactions = []
        for kind in range(len(tiling.basis)):
            start = int(tiling.first_sites[kind])
            x_start = coordinates_of_species(self.mean[start])
            for site, images in _images(tiling, kind):
                other = int(tiling.kinds[site])
                matrix = self.couplings[kind, site]
                if np.abs(matrix).max(initial=0.0) <= least:
                    continue
                # Equal up to rounding becomes equal, so that such pairs share a table.
                rounded = np.round(matrix / quantum) * quantum / len(images)
                table = x_start @ rounded @ coordinates_of_species(self.mean[site]).T
                table = table[: n_species[start], : n_species[site]]
                for step in images:
                    back = tuple((-step).tolist())
                    if (kind, other, tuple(step.tolist())) <= (other, kind, back):
                        cells = np.array([(0, 0, 0), step])
                        interactions.append(Interaction((kind, other), cells, table))
        return interactions

    def _one_by_one(self, lattice: Lattice) -> tuple[Tiling, list[Interaction]]:
        """Every pair by itself, in a cell that is its own primitive cell."""
        n_sites = lattice.n_sites
        n_species = np.asarray(lattice.allowed).sum(axis=1)
        x = [coordinates_of_species(row)[:n] for row, n in zip(self.mean, n_species, strict=True)]
        cells = np.zeros((2, 3), dtype=np.int64)
        rank = self.couplings.shape[2]
        matrix = coupling_matrix(self.repeats, self.to_arrays(), NEGLIGIBLE_APART)
        blocks = sparse.triu(matrix.tobsr((rank, rank)).tocoo()).tobsr((rank, rank))
        rows = np.repeat(np.arange(n_sites), np.diff(blocks.indptr))
        interactions = [
            Interaction((i, j), cells, x[i] @ block @ x[j].T)
            for i, j, block in zip(rows.tolist(), blocks.indices.tolist(), blocks.data, strict=True)
            if i < j
        ]
        positions = lattice.atoms.positions[lattice.sites]
        alone = Tiling(
            lattice.atoms.cell.array, positions, np.eye(3, dtype=np.int64),
            np.zeros((n_sites, 3), dtype=np.int64), np.arange(n_sites),
        )  # fmt: skip
        return alone, interactions

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.lattice, self.to_arrays())


def coupling_matrix(
    tiling: Tiling, arrays: Mapping[str, Any], negligible: float = 0.0
) -> sparse.csr_matrix:
    """J between all coordinates of all sites, [n_sites · r, n_sites · r], of an expansion's arrays.

    Pairs below ``negligible`` of the largest coupling are left out.
    """
    couplings = arrays["couplings"]
    n_sites, rank = couplings.shape[1:3]
    least = negligible * np.abs(couplings).max(initial=0.0)
    rows, columns, values = [], [], []
    for kind, matrices in enumerate(couplings):
        strong = np.flatnonzero(np.abs(matrices).max(axis=(1, 2), initial=0.0) > least)
        members = np.flatnonzero(tiling.kinds == kind)
        shift = tiling.cells[members] - tiling.cells[int(tiling.first_sites[kind])]
        there = tiling.sites_at(tiling.cells[strong] + shift[:, None], tiling.kinds[strong])
        rows.append(np.repeat(members, len(strong)))
        columns.append(there.ravel())
        values.append(np.tile(matrices[strong], (len(members), 1, 1)))
    i, j = np.asarray(arrays["pairs"]).reshape(-1, 2).T
    rows += [i, j]
    columns += [j, i]
    values += [arrays["deviations"], np.transpose(arrays["deviations"], (0, 2, 1))]
    row, column, value = (np.concatenate(part) for part in (rows, columns, values))
    p, q = np.indices((rank, rank))
    where = ((row[:, None, None] * rank + p).ravel(), (column[:, None, None] * rank + q).ravel())
    size = n_sites * rank
    return sparse.csr_matrix((value.ravel(), where), shape=(size, size))


def expansion_energies(
    lattice: Lattice, arrays: Mapping[str, Any], occupations: np.ndarray
) -> np.ndarray:
    """Energies in eV, [n_replicas], by an expansion's arrays, without compiling it."""
    x = coordinates(lattice, arrays["mean"], occupations).reshape(len(occupations), -1)
    single = np.take_along_axis(
        np.broadcast_to(arrays["onsite"], (len(x), *arrays["onsite"].shape)),
        np.asarray(occupations, dtype=np.int64)[:, :, None],
        axis=2,
    )
    pairs = 0.5 * (x * (coupling_matrix(find_tiling(lattice), arrays) @ x.T).T).sum(axis=1)
    return np.asarray(arrays["constant"] + single.sum(axis=(1, 2)) + pairs)


def _again(lattice: Lattice, arrays: Mapping[str, Any]) -> PairExpansion:
    return PairExpansion(lattice, **arrays)


def check_size(lattice: Lattice, tiling: Tiling) -> None:
    """Refuse a lattice whose sites repeat so little that couplings by kind are too many."""
    number = len(tiling.basis) * lattice.n_sites * (lattice.n_species_max - 1) ** 2
    if number > MOST_COUPLINGS:
        raise InputError(
            f"the {lattice.n_sites} sites are of {len(tiling.basis)} kinds under translation, with "
            f"{number} couplings: build the lattice from undisplaced atoms, and give the "
            "energy model its displaced positions"
        )


def coordinates_of_species(mean: np.ndarray) -> np.ndarray:
    """X of a site that holds each species, [n_species, n_species − 1], less the mean weights."""
    return np.eye(len(mean))[:, 1:] - mean[1:]


def coordinates(lattice: Lattice, mean: np.ndarray, occupations: np.ndarray) -> np.ndarray:
    """X of every site, [n_replicas, n_sites, n_species_max − 1]; zero where nothing can change."""
    x = lattice.weights(occupations)[..., 1:] - mean[:, 1:]
    return np.asarray(np.where(np.asarray(lattice.allowed)[:, 1:], x, 0.0))


def pair_distances(tiling: Tiling, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance in Å of every site's nearest images from one site of a kind, and their number.

    Both [n_sites], 0 for the site itself, whose own images do not count.
    """
    distance, number = np.zeros(len(tiling.kinds)), np.zeros(len(tiling.kinds), dtype=np.int64)
    for site, images in _images(tiling, kind):
        apart = tiling.basis[tiling.kinds[site]] - tiling.basis[kind]
        distance[site] = np.linalg.norm(apart + images[0] @ tiling.primitive)
        number[site] = len(images)
    return distance, number


def _images(tiling: Tiling, kind: int) -> list[tuple[int, np.ndarray]]:
    """Every other site with its nearest images: steps in cells from one site of a kind, [n, 3]."""
    start = int(tiling.first_sites[kind])
    # The box may be long and narrow where the same cell has shorter vectors.
    _, shorter = minkowski_reduce(tiling.box @ tiling.primitive)
    vectors = shorter @ tiling.box
    steps = tiling.cells - tiling.cells[start]
    steps = steps - np.round(steps @ np.linalg.inv(vectors)).astype(np.int64) @ vectors
    turns = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ vectors
    steps = steps[:, None] + turns
    apart = (tiling.basis[tiling.kinds] - tiling.basis[kind])[:, None]
    distance = np.linalg.norm(apart + steps @ tiling.primitive, axis=2)
    nearest = distance < distance.min(axis=1, keepdims=True) + 1e-3
    return [
        (site, steps[site, nearest[site]]) for site in range(len(tiling.kinds)) if site != start
    ]
