"""Small energy models with exact gradients, and exact distributions, for sampler tests.

Every energy is a pure function of one replica: sums run along fixed, contiguous axes (no matrix
products, whose rounding may depend on the number of replicas).
"""

from __future__ import annotations

import copy
import warnings
from functools import cache
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
from ase import Atoms
from scipy.optimize import brentq

from alchemc import Canonical, Lattice, SemiGrandCanonical, Sublattice, builders
from alchemc.potentials import PairExpansion
from alchemc.protocols import Ensemble
from alchemc.tiling import find_tiling


def chain_lattice(*groups: tuple) -> Lattice:
    """Lattice of well separated sites; each group is (species, number of sites[, charges])."""
    symbols, sublattices, first = [], {}, 0
    for index, (species, n_sites, *charges) in enumerate(groups):
        sites = tuple(range(first, first + n_sites))
        symbols += [species[0]] * n_sites
        sublattices[f"s{index}"] = Sublattice(sites, species, *charges)
        first += n_sites
    positions = np.zeros((first, 3))
    positions[:, 0] = 3.0 * np.arange(first)
    atoms = Atoms(symbols, positions=positions, cell=[3.0 * first, 9.0, 9.0], pbc=True)
    return Lattice(atoms, sublattices)


class RandomHamiltonian:
    """E(λ) = Σ a_p λ_p + ½ Σ b_pq λ_p λ_q + c (Σ_p w_p λ_p)³, p = (site, species), random numbers.

    Dense, no symmetry, and with ``cubic`` ≠ 0 not quadratic: the first-order swap estimate is off.
    """

    def __init__(self, lattice: Lattice, seed: int, cubic: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        n = lattice.n_sites * lattice.n_species_max
        mask = np.asarray(lattice.allowed, dtype=float).ravel()
        self.lattice = lattice
        self.linear = 0.1 * rng.normal(size=n) * mask
        pair = 0.1 * rng.normal(size=(n, n)) * mask * mask[:, None]
        self.pair = 0.5 * (pair + pair.T)
        self.wave = rng.normal(size=n) * mask / np.sqrt(lattice.n_sites)
        self.cubic = cubic

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        return self.energy_and_gradient(occupations)[0]

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = self.lattice.weights(occupations).reshape(len(occupations), -1)
        both = [self._evaluate(w) for w in weights]
        gradient = np.array([g for _, g in both]).reshape(
            len(occupations), self.lattice.n_sites, self.lattice.n_species_max
        )
        return np.array([e for e, _ in both]), gradient * np.asarray(self.lattice.allowed)

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        changed = occupations.copy()
        for row, (where, what) in enumerate(zip(sites, species, strict=True)):
            changed[row, where[where >= 0]] = what[where >= 0]
        return self.energy(changed) - self.energy(occupations)

    def _evaluate(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        coupled = (self.pair * weights).sum(axis=1)
        wave = float((self.wave * weights).sum())
        energy = float((weights * (self.linear + 0.5 * coupled)).sum()) + self.cubic * wave**3
        return energy, self.linear + coupled + 3.0 * self.cubic * wave**2 * self.wave


class TabulatedHamiltonian:
    """Another model's energies and gradients over all arrangements of a composition.

    An expensive model is evaluated once per arrangement and then sampled for next to nothing; the
    chain is the very chain of the model itself. ``temperature_of_perplexity`` chooses where the
    exact distribution spreads over about so many states.
    """

    def __init__(self, hamiltonian, states: np.ndarray, batch: int = 64) -> None:
        self.source = hamiltonian
        self.lattice = hamiltonian.lattice
        self.states = np.asarray(states, dtype=np.int8)
        starts = range(0, len(states), batch)
        parts = [hamiltonian.energy_and_gradient(self.states[s : s + batch]) for s in starts]
        self.energies = np.concatenate([e for e, _ in parts])
        self.gradients = np.concatenate([g for _, g in parts])
        self._radix = self.lattice.n_species_max ** np.arange(self.lattice.n_sites, dtype=np.int64)
        keys = self._keys(self.states)
        self._order = np.argsort(keys)
        self._sorted = keys[self._order]

    def among(self, states: np.ndarray) -> TabulatedHamiltonian:
        """Table of some of the states alone; nothing is evaluated again."""
        part, rows = copy.copy(self), self.index(np.asarray(states, dtype=np.int8))
        part.states, part.energies = self.states[rows], self.energies[rows]
        part.gradients = self.gradients[rows]
        keys = self._keys(part.states)
        part._order = np.argsort(keys)
        part._sorted = keys[part._order]
        return part

    def index(self, occupations: np.ndarray) -> np.ndarray:
        """Position of each occupation among ``states``; KeyError for one that is not there."""
        keys = self._keys(occupations)
        place = np.searchsorted(self._sorted, keys)
        if (place == len(self._sorted)).any() or (self._sorted[place] != keys).any():
            raise KeyError("an occupation left the enumerated composition")
        return self._order[place]

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        return self.energies[self.index(occupations)]

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index = self.index(occupations)
        return self.energies[index], self.gradients[index]

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        return RandomHamiltonian.energy_change(self, occupations, sites, species)

    def probabilities(self, temperature: float) -> np.ndarray:
        """Exact canonical probabilities of ``states``."""
        exponent = -Canonical(self.lattice, temperature).beta * self.energies
        weights = np.exp(exponent - exponent.max())
        return weights / weights.sum()

    def perplexity(self, temperature: float) -> float:
        """exp(entropy) of the exact distribution: over how many states it spreads."""
        p = self.probabilities(temperature)
        return float(np.exp(-(p[p > 0] * np.log(p[p > 0])).sum()))

    def temperature_of_perplexity(self, perplexity: float) -> float:
        """Temperature (K) at which the distribution spreads over that many states."""
        gap = lambda log_t: self.perplexity(np.exp(log_t)) - perplexity  # noqa: E731
        return float(np.exp(brentq(gap, np.log(1.0), np.log(1e7), xtol=1e-6)))

    def _keys(self, occupations: np.ndarray) -> np.ndarray:
        return (np.asarray(occupations, dtype=np.int64) * self._radix).sum(axis=1)


class TabulatedPotential(TabulatedHamiltonian):
    """A table whose source also has energies and second derivatives between the species."""

    def mixed_energy(self, lam, **options):
        return self.source.mixed_energy(lam, **options)

    def hessian_product(self, lam, direction):
        return self.source.hessian_product(lam, direction)


def bundled_table(displacement: float, n_second: int | None = None) -> TabulatedPotential:
    """Return all states of 2×2×2 Sr(Sc,Ta)O3 with the bundled MACE, or those of a composition."""
    return _bundled_table(displacement, n_second)


@cache
def _bundled_table(displacement: float, n_second: int | None) -> TabulatedPotential:
    from alchemc import AlchemicalMACE  # loads torch

    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    positions = lattice.displaced_positions(displacement, 1) if displacement else None
    model = AlchemicalMACE(lattice, "bundled", device="cpu", positions=positions)
    states = lattice.enumerate()
    if n_second is not None:
        states = states[states.sum(axis=1) == n_second]
    return TabulatedPotential(model, states)


def spread_over_a_third(table: TabulatedHamiltonian, mu):
    """Semi-grand ensemble whose law spreads over a third of the table's states, and this law."""
    ensemble = SemiGrandCanonical(table.lattice, 1.0, mu)

    def law(log_t):
        there = ensemble.with_temperature(float(np.exp(log_t)))
        log = there.log_density(table.energies, table.states)
        p = np.exp(log - log.max())
        return there, p / p.sum()

    def excess(log_t):
        _, p = law(log_t)
        return -(p * np.log(np.maximum(p, 1e-300))).sum() - np.log(len(p) / 3)

    return law(brentq(excess, np.log(10.0), np.log(1e7), xtol=1e-6))


def arrangements(*groups: tuple[int, ...]) -> np.ndarray:
    """All distinct arrangements of given species indices per sublattice, by brute force."""
    states = [()]
    for group in groups:
        states = [s + p for s in states for p in sorted(set(permutations(group)))]
    return np.array(states, dtype=np.int8)


def shuffled(lattice: Lattice, occupation, n_replicas: int, seed: int) -> np.ndarray:
    """Random rearrangements of an occupation within its sublattices, int8 [n_replicas, n_sites]."""
    rng = np.random.default_rng(seed)
    states = np.tile(np.asarray(occupation, dtype=np.int8), (n_replicas, 1))
    for sublattice in np.unique(lattice.sublattice_of_site):
        sites = np.flatnonzero(lattice.sublattice_of_site == sublattice)
        states[:, sites] = rng.permuted(states[:, sites], axis=1)
    return states


def square_lattice(side: int) -> Lattice:
    """Square lattice of Sc and Ta whose first neighbours all lie in the plane."""
    atoms = Atoms("Sc", positions=[[0, 0, 0]], cell=[3.0, 3.0, 30.0], pbc=True)
    atoms = atoms.repeat((side, side, 1))
    return Lattice(atoms, {"s": Sublattice("Sc", ("Sc", "Ta"))})


def any_occupations(lattice: Lattice, n_replicas: int, seed: int) -> np.ndarray:
    """Independent uniform species on every site, int8 [n_replicas, n_sites]."""
    sizes = np.asarray(lattice.allowed).sum(axis=1)
    rng = np.random.default_rng(seed)
    return (rng.random((n_replicas, lattice.n_sites)) * sizes).astype(np.int8)


def couplings_between(lattice: Lattice, one: str, other: str, n_shells: int, seed: int) -> list:
    """Random energies of pairs, one array per shell, symmetric within a sublattice."""
    rng = np.random.default_rng(seed)
    shape = [len(lattice.sublattices[name].species) for name in (one, other)]
    tables = [0.05 * rng.normal(size=shape) for _ in range(n_shells)]
    return [t + t.T for t in tables] if one == other else tables


def pair_energies(lattice: Lattice, couplings: dict, occupations: np.ndarray) -> np.ndarray:
    """Energies of pairs from the lattice's own neighbour shells, without any tables."""
    total = np.zeros(len(occupations))
    for (one, other), tables in couplings.items():
        shells = lattice.shells(len(tables), one, other)
        for shell, table in zip(shells, tables, strict=True):
            i, j = shell.pairs.T
            energies = table[occupations[:, i], occupations[:, j]].sum(axis=1)
            total += energies / 2 if one == other else energies
    return total


class Toy(NamedTuple):
    """An enumerated system: the model, its table, and the ensemble in which it is sampled."""

    model: RandomHamiltonian
    table: TabulatedHamiltonian
    ensemble: Ensemble


# Sites by sublattice, what they hold in the canonical ensemble, and how far from quadratic.
CANONICAL_TOYS = {
    "binary": ([(("Sc", "Ta"), 8)], [(0,) * 4 + (1,) * 4], 0.0),
    "not quadratic": ([(("Sc", "Ta"), 8)], [(0,) * 3 + (1,) * 5], 0.3),
    "vacancies": ([(("Sr", "La", "X"), 6)], [(0, 0, 0, 1, 1, 2)], 0.1),
    "two sublattices": (
        [(("Sr", "La"), 4), (("Al", "Sc", "Ta"), 4)],
        [(0, 0, 1, 1), (0, 1, 2, 2)],
        0.1,
    ),
}
SEMI_GRAND_TOYS = {
    "binary": ([(("Ti", "Zr"), 7, (4, 4))], 0.0),
    "not quadratic": ([(("Ti", "Zr"), 7, (4, 4))], 0.3),
    "vacancies": ([(("Sr", "Ba", "X"), 4, (2, 2, 0))], 0.1),
    "two sublattices": ([(("Sr", "La"), 3, (2, 3)), (("Ti", "Al", "Mg"), 2, (4, 3, 2))], 0.1),
}


@cache
def toy(ensemble: str, name: str) -> Toy:
    """One of the toys in the ``"canonical"`` or the ``"semi-grand"`` ensemble.

    The law spreads over 15 states, or over a third of them where the composition fluctuates.
    """
    if ensemble == "canonical":
        groups, composition, cubic = CANONICAL_TOYS[name]
        model = RandomHamiltonian(chain_lattice(*groups), seed=3, cubic=cubic)
        table = TabulatedHamiltonian(model, arrangements(*composition))
        temperature = table.temperature_of_perplexity(15.0)
        return Toy(model, table, Canonical(table.lattice, temperature))
    groups, cubic = SEMI_GRAND_TOYS[name]
    model = RandomHamiltonian(chain_lattice(*groups), seed=3, cubic=cubic)
    table = TabulatedHamiltonian(model, model.lattice.enumerate())
    mu = {n: {s.species[-1]: 0.1} for n, s in table.lattice.sublattices.items()}
    with warnings.catch_warnings(action="ignore"):  # the charge fluctuates
        return Toy(model, table, spread_over_a_third(table, mu)[0])


def quadratic_part(model: RandomHamiltonian, scale: float = 1.0) -> PairExpansion:
    """Linear and quadratic terms of a random Hamiltonian times ``scale``, as a surrogate."""
    lattice = model.lattice
    n, m = lattice.n_sites, lattice.n_species_max
    allowed = np.asarray(lattice.allowed)
    linear, pair = model.linear.reshape(n, m), model.pair.reshape(n, m, n, m)
    mean = allowed / allowed.sum(axis=1, keepdims=True)
    apart = np.eye(m) - mean[:, None]  # λ of every species less the mean
    slopes = linear + np.einsum("ikjl,jl->ik", pair, mean)
    own = pair[np.arange(n), :, np.arange(n)]
    onsite = np.einsum("ikp,ip->ik", apart, slopes)
    onsite += 0.5 * np.einsum("ikp,ipq,ikq->ik", apart, own, apart)
    contrast = pair[:, 1:] - pair[:, :1]
    contrast = contrast[..., 1:] - contrast[..., :1]
    contrast *= allowed[:, 1:, None, None] * allowed[:, 1:]
    pairs = np.array(list(combinations(range(n), 2)))
    return PairExpansion(
        lattice,
        mean=mean,
        constant=scale * float((mean * (linear + slopes)).sum() / 2),
        onsite=scale * np.where(allowed, onsite, 0.0),
        couplings=np.zeros((len(find_tiling(lattice).basis), n, m - 1, m - 1)),
        pairs=pairs,
        deviations=scale * np.array([contrast[i, :, j] for i, j in pairs]),
        threads=1,
    )


def scaled(expansion: PairExpansion, scale: float) -> PairExpansion:
    """Return the expansion with all its terms but the constant multiplied."""
    arrays = expansion.to_arrays()
    for name in ("onsite", "couplings", "deviations"):
        arrays[name] = scale * arrays[name]
    return PairExpansion(expansion.lattice, **arrays, threads=1)
