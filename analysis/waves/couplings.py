"""Pair interactions V between species at a mean composition, in real space and as V(q)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import sparse

from ...compositions import Composition
from ...errors import InputError
from ...lattice import Lattice
from ...sublattice import Sublattice
from ...tiling import Tiling, find_tiling

__all__ = ["Contrast", "Couplings", "Crystal", "alchemical_couplings", "crystal_of", "mean_weights"]

MOST_PRODUCTS = 256
UNIFORM = 1e-3
"""By which products of like sites may differ, in units of the largest: rounding of float32."""
LIKE_DISTANCES = 1e-3  # Å


class Contrast(NamedTuple):
    """An independent composition variable: what a kind of site gains of a species, the first loses.

    ``kind`` counts the mixed sites of the primitive cell; ``number`` is that of the species on its
    sublattice.
    """

    kind: int
    sublattice: str
    species: str
    number: int


class Crystal(NamedTuple):
    """Translations of the crystal, spectators included.

    ``tiling`` is of all atoms: those of the mixed sites first, in the lattice's order, then the
    spectators; ``atoms`` are their indices in ``lattice.atoms``; ``kinds`` [n_sites] counts the
    mixed sites of the primitive cell from 0; ``first`` [n_kinds] is one site of each.
    """

    tiling: Tiling
    atoms: np.ndarray
    kinds: np.ndarray
    first: np.ndarray


def crystal_of(lattice: Lattice) -> Crystal:
    """Find the translations that map sites on sites of their sublattice, and spectators on alike.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> crystal = crystal_of(lattice)
    >>> len(crystal.tiling.basis), crystal.kinds.tolist()
    (5, [0, 0, 0, 0, 0, 0, 0, 0])
    """
    symbols = np.array(lattice.atoms.get_chemical_symbols())[lattice.spectators]
    parts = {name: Sublattice(s.sites, s.species) for name, s in lattice.sublattices.items()}
    for symbol in dict.fromkeys(symbols.tolist()):
        members = lattice.spectators[symbols == symbol]
        parts[f"spectator {symbol}"] = Sublattice(tuple(members.tolist()), (symbol,))
    whole = Lattice(lattice.atoms, parts)
    tiling = find_tiling(whole)
    _, first, kinds = np.unique(
        tiling.kinds[: lattice.n_sites], return_index=True, return_inverse=True
    )
    return Crystal(tiling, np.asarray(whole.sites), kinds, first)


def mean_weights(
    lattice: Lattice, crystal: Crystal, composition: Composition | np.ndarray | None
) -> np.ndarray:
    """λ̄ [n_sites, n_species_max] of a composition, or checked as it is where an array is given.

    Raises
    ------
    InputError
        If the weights of a site are no fractions, or differ between sites of a kind.
    """
    if composition is None or isinstance(composition, Mapping):
        return lattice.mean_weights(composition)
    allowed = np.asarray(lattice.allowed)
    try:
        mean = np.array(composition, dtype=float)
    except (TypeError, ValueError):
        raise InputError("composition is neither a table of fractions nor an array") from None
    if mean.shape != allowed.shape:
        raise InputError(f"composition has shape {mean.shape}; {allowed.shape} was expected")
    good = np.isfinite(mean).all() and (mean >= 0).all() and (mean[~allowed] == 0).all()
    if not good or np.abs(mean.sum(axis=1) - 1).max() > 1e-9:
        raise InputError(
            "the weights of every site must be fractions of its own species that add up to 1"
        )
    for kind in range(len(crystal.first)):
        if np.ptp(mean[crystal.kinds == kind], axis=0).max() > 1e-9:
            raise InputError(
                "the mean composition differs between sites that are the same by translation: give "
                "every site of a kind the same weights"
            )
    return mean


@dataclass(frozen=True)
class Couplings:
    """V between one site of every kind and every site of the cell, all images together.

    ``values`` is [n_contrasts, n_sites, n_species_max − 1] in eV: the second derivative by the
    contrast of its row, on the first site of its kind, and by that of species 1, 2, … on every
    site. ``edge_share`` tells how far it has decayed where the cell ends.
    """

    lattice: Lattice
    crystal: Crystal
    mean: np.ndarray
    contrasts: tuple[Contrast, ...]
    values: np.ndarray

    def fourier(self, q: np.ndarray) -> np.ndarray:
        """V(q) = Σ_R V(R) exp(−2πi q·(R + r_b − r_a)), complex [n, n_contrasts, n_contrasts], eV.

        ``q`` is [n, 3] in 1/Å, without 2π. Hermitian. Interactions belong to the nearest images of
        a pair, shared out where several are equally near; that choice matters only for q that do
        not fit the cell.
        """
        matrix, steps = self._terms
        d = len(self.contrasts)
        phases = np.exp(-2j * np.pi * (steps @ np.atleast_2d(q).T))
        waves = (matrix @ phases).T.reshape(-1, d, d)
        return np.asarray((waves + waves.conj().transpose(0, 2, 1)) / 2)

    @cached_property
    def _terms(self) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Matrix [d², n_steps] by which phases of steps [n_steps, 3] (Å) become V(q)."""
        column = {(c.kind, c.number): n for n, c in enumerate(self.contrasts)}
        rows: list[int] = []
        values: list[float] = []
        where: list[int] = []
        steps, count = [], 0
        for kind, images in enumerate(self._images):
            own = [n for n, c in enumerate(self.contrasts) if c.kind == kind]
            for site, near in enumerate(images):
                steps.append(near)
                for p in range(1, self.lattice.n_species_max):
                    other = column.get((int(self.crystal.kinds[site]), p))
                    if other is None:
                        continue
                    for row in own:
                        rows += [row * len(self.contrasts) + other] * len(near)
                        values += [self.values[row, site, p - 1] / len(near)] * len(near)
                        where += range(count, count + len(near))
                count += len(near)
        shape = (len(self.contrasts) ** 2, count)
        return sparse.csr_matrix((values, (rows, where)), shape=shape), np.concatenate(steps)

    @cached_property
    def _images(self) -> list[list[np.ndarray]]:
        """Steps in Å [n, 3] from the first site of every kind to each site's nearest images."""
        from ase.geometry import minkowski_reduce  # noqa: PLC0415

        # The box may be long and narrow where the same cell has shorter vectors.
        tiling = self.crystal.tiling
        vectors, _ = minkowski_reduce(tiling.box @ tiling.primitive)
        turns = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ vectors
        positions = tiling.basis[tiling.kinds] + tiling.cells @ tiling.primitive
        found = []
        for site in self.crystal.first:
            apart = positions[: self.lattice.n_sites] - positions[site]
            apart -= np.round(apart @ np.linalg.inv(vectors)) @ vectors
            steps = apart[:, None] + turns
            length = np.linalg.norm(steps, axis=2)
            near = length < length.min(axis=1, keepdims=True) + LIKE_DISTANCES
            found.append([step[keep] for step, keep in zip(steps, near, strict=True)])
        return found

    @cached_property
    def by_distance(self) -> xr.Dataset:
        """How V decays: the largest |V| of a pair in eV against the distance in Å."""
        distance = np.array([np.linalg.norm(near[0]) for images in self._images for near in images])
        kinds = np.array([c.kind for c in self.contrasts])
        size = np.array(
            [
                np.abs(self.values[kinds == k]).max(axis=(0, 2), initial=0.0)
                for k in range(len(self._images))
            ]
        ).ravel()  # sites of one species have no contrast, and no interaction
        order = np.argsort(distance, kind="stable")
        steps = np.diff(distance[order], prepend=0.0) > LIKE_DISTANCES
        shell = np.cumsum(steps)
        largest = [size[order][shell == n].max() for n in range(1, shell[-1] + 1)]
        first = [distance[order][shell == n][0] for n in range(1, shell[-1] + 1)]
        return xr.Dataset(
            {"coupling": ("shell", np.array(largest), {"units": "eV"})},
            coords={"distance": ("shell", np.array(first), {"units": "Å"})},
        )

    @property
    def inner_radius(self) -> float:
        """Half the cell's shortest vector in Å: a pair this near has no second image as near."""
        from ase.geometry import minkowski_reduce  # noqa: PLC0415

        tiling = self.crystal.tiling
        vectors, _ = minkowski_reduce(tiling.box @ tiling.primitive)
        return float(np.linalg.norm(vectors, axis=1).min() / 2)

    @property
    def edge_share(self) -> float:
        """Largest |V| at or beyond ``inner_radius``, in units of the largest of all; 1 if unknown.

        0 where interactions end within half the cell. It says how well V(q) is known for q that do
        not fit the cell.
        """
        table = self.by_distance
        sizes = table.coupling.to_numpy()
        edge = sizes[table.distance.to_numpy() > self.inner_radius - LIKE_DISTANCES]
        if not sizes.size or not edge.size:
            return 1.0
        return float(edge.max() / sizes.max()) if sizes.max() > 0 else 0.0

    def energies(self, occupations: np.ndarray) -> np.ndarray:
        """½ Σ_{i≠j} x_i V_ij x_j in eV [n], x = σ − λ̄: what the arrangement alone decides."""
        states = np.atleast_2d(self.lattice.check(occupations))
        x = self.lattice.weights(states)[..., 1:] - self.mean[:, 1:]
        x = np.where(np.asarray(self.lattice.allowed)[:, 1:], x, 0.0)
        tiling, n = self.crystal.tiling, self.lattice.n_sites
        cells, kinds = tiling.cells[:n], tiling.kinds[:n]
        total = np.zeros(len(states))
        for site in range(n):
            kind = int(self.crystal.kinds[site])
            steps = cells - cells[site] + cells[self.crystal.first[kind]]
            alike = tiling.sites_at(steps, kinds)  # the pair (first of the kind, alike[j])
            for row, contrast in enumerate(self.contrasts):
                if contrast.kind == kind:
                    field = np.einsum("njq,jq->n", x, self.values[row, alike])
                    total += 0.5 * x[:, site, contrast.number - 1] * field
        return np.asarray(total.reshape(np.shape(occupations)[:-1]))

    def with_values(self, values: np.ndarray) -> Couplings:
        """Return the same contrasts with other interactions."""
        return replace(self, values=values)


def contrasts_of(lattice: Lattice, crystal: Crystal) -> tuple[Contrast, ...]:
    """List the independent composition variables of the primitive cell's mixed sites."""
    found = []
    for kind, site in enumerate(crystal.first):
        name = lattice.names[int(lattice.sublattice_of_site[site])]
        species = lattice.sublattices[name].species
        found += [Contrast(kind, name, species[p], p) for p in range(1, len(species))]
    if not found:
        raise InputError("every sublattice has one species, so nothing can order; add another")
    return tuple(found)


def alchemical_couplings(
    hamiltonian: Any, composition: Composition | np.ndarray | None
) -> Couplings:
    """V_ij = D_i D_j E at the mean composition for i ≠ j, from Hessian–vector products.

    D_i is ∂/∂λ_ik − ∂/∂λ_i0. One product per kind of site and species but the first gives all of
    V by translation; one more checks that translation is a symmetry.

    Raises
    ------
    InputError
        If the model has no Hessian products, atoms are displaced, or the sites are too many kinds.
    """
    if not hasattr(hamiltonian, "hessian_product"):
        raise InputError(
            f"{type(hamiltonian).__name__} has no hessian_product: concentration waves need second "
            "derivatives by composition, as AlchemicalMACE, AlchemicalCHGNet and lattice "
            "Hamiltonians have them (for Relaxed, take the model inside and relaxed=True)"
        )
    lattice: Lattice = hamiltonian.lattice
    crystal = crystal_of(lattice)
    contrasts = contrasts_of(lattice, crystal)
    if len(contrasts) > MOST_PRODUCTS:
        raise InputError(
            f"the mixed sites are of {len(crystal.first)} kinds under translation, which takes "
            f"{len(contrasts)} Hessian products: build the lattice from undisplaced atoms"
        )
    mean = mean_weights(lattice, crystal, composition)
    values = np.zeros((len(contrasts), lattice.n_sites, lattice.n_species_max - 1))
    for row, contrast in enumerate(contrasts):
        site = int(crystal.first[contrast.kind])
        values[row] = _product(hamiltonian, mean, [(site, contrast.number, 1.0)])
        values[row, site] = 0.0  # at a vertex λ² = λ, so this is no interaction
    result = Couplings(lattice, crystal, mean, contrasts, values)
    _check_translation(hamiltonian, result)
    return result


def _product(
    hamiltonian: Any, mean: np.ndarray, changes: Sequence[tuple[int, int, float]]
) -> np.ndarray:
    """Slopes ∂E/∂x [n_sites, n_species_max − 1] along (site, species, amount)."""
    direction = np.zeros_like(mean)
    for site, species, amount in changes:
        direction[site, species] += amount
        direction[site, 0] -= amount
    product = hamiltonian.hessian_product(mean, direction)
    slopes = product[:, 1:] - product[:, :1]
    return np.where(np.asarray(hamiltonian.lattice.allowed)[:, 1:], slopes, 0.0)


def _check_translation(hamiltonian: Any, couplings: Couplings) -> None:
    """Refuse positions by which sites of one kind differ: a uniform change shows them."""
    crystal = couplings.crystal
    changes = [
        (site, contrast.number, 1.0 + 0.3 * row)  # no combination that could cancel
        for row, contrast in enumerate(couplings.contrasts)
        for site in np.flatnonzero(crystal.kinds == contrast.kind).tolist()
    ]
    response = _product(hamiltonian, couplings.mean, changes)
    scale = max(float(np.abs(response).max()), float(np.abs(couplings.values).max()), 1e-9)
    for kind in range(len(crystal.first)):
        spread = float(np.ptp(response[crystal.kinds == kind], axis=0).max())
        if spread > UNIFORM * scale:
            raise InputError(
                f"sites that are the same by translation respond differently (by {spread:.2g} eV): "
                "bind the energy model to the lattice's own positions, "
                "hamiltonian.at(lattice.atoms.positions)"
            )
