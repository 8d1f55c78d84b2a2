"""What the constant of a free energy is hung on: pure compositions, or β = 0; Wang–Landau."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from ase.units import kB
from scipy.special import logsumexp

from ...density_of_states import DensityOfStates
from ...errors import InputError
from ...lattice import Lattice
from ...protocols import Hamiltonian
from ...sublattice import shown
from .arguments import check_resampling, kelvins
from .composition import ln_arrangements
from .free_energies import FreeEnergies
from .mbar import Solution
from .observations import Observations, SampledPoint
from .pool import Pool

__all__ = ["Anchor", "anchor_of", "random_point", "wang_landau_free_energy", "with_anchor"]

N_RANDOM = 200
"""Random arrangements of every composition that are evaluated for an anchor."""

LEAST_REACH = 0.3
"""Least share of a hot point's draws that has to be effective at β = 0."""


class Anchor(NamedTuple):
    """Where the constant of ln Z comes from: ``kind`` is "pure", "zero", "hot" or "none".

    ``composition`` is the row of the composition it belongs to, ``ln_ways`` the logarithm of its
    number of arrangements.
    """

    kind: str
    composition: int = 0
    ln_ways: float = 0.0

    def constant(self, pool: Pool, solution: Solution) -> float:
        """Return ln of the sum over states less that of the sum over draws."""
        if self.kind == "none":
            return 0.0
        if self.kind == "zero":
            here = (pool.beta == 0.0) & np.isfinite(pool.bias[:, self.composition])
            return self.ln_ways + float(solution.f[here][0])
        mine = solution.composition == self.composition
        with np.errstate(divide="ignore"):
            log = np.log(solution.multiplicity[mine]) - solution.log_mixture[mine]
        # Both sums at β = 0; a pure composition, which has one energy, obeys it at any β.
        return self.ln_ways - float(logsumexp(log))


def anchor_of(pool: Pool, solution: Solution, alone: bool) -> Anchor:
    """Choose what to hang the constant of a group of points on.

    Raises
    ------
    InputError
        If nothing is known, and it is needed: for one composition, or several groups.
    """
    visited = np.unique(pool.composition)
    ways = ln_arrangements(pool.observed, pool.compositions)
    zero = np.flatnonzero(pool.beta == 0.0)
    if len(zero):
        composition = int(np.flatnonzero(np.isfinite(pool.bias[zero[0]]))[0])
        return Anchor("zero", composition, float(ways[composition]))
    moving = any(p.moving for p in pool.observed.points)
    pure = [c for c in visited if ways[c] == 0.0]
    if pure and not moving:
        numbers = np.bincount(pool.composition, minlength=len(ways))
        best = int(pure[int(numbers[pure].argmax())])
        energies = pool.enthalpy[pool.composition == best]
        if np.ptp(energies) > 1e-6 * max(1.0, float(np.abs(energies).max())):
            raise InputError(
                f"the one arrangement of a pure composition has energies from {energies.min():.6g} "
                f"to {energies.max():.6g} eV: the runs are not of one energy model"
            )
        return Anchor("pure", best)
    if len(visited) == 1:
        only = int(visited[0])
        log = -solution.log_mixture
        reach = np.exp(2 * logsumexp(log) - logsumexp(2 * log))
        hottest = pool.state == pool.beta.argmin()
        if reach >= LEAST_REACH * hottest.sum():
            return Anchor("hot", only, float(ways[only]))
    if len(visited) == 1 or not alone:
        kelvin = 1.0 / (kB * pool.beta.min())
        counts = pool.compositions[visited[0]].tolist()
        raise InputError(
            f"points at the composition {counts} share no states with others, and the hottest, "
            f"{kelvin:,.6g} K, does not reach β = 0: give anchor=, the energy model, whose random "
            "arrangements do, or add hotter points"
        )
    return Anchor("none")


def with_anchor(
    observed: Observations, hamiltonian: Hamiltonian, rng: np.random.Generator
) -> Observations:
    """Add random arrangements of compositions that need them, as points at β = 0.

    These are the compositions of points that hold one, and, where the others visited no pure one,
    that which the hottest of them visited most.

    Raises
    ------
    InputError
        If the energy model is of another lattice, or refuses random arrangements.
    """
    lattice = getattr(hamiltonian, "lattice", None)
    if not isinstance(lattice, Lattice):
        raise InputError(f"anchor is {shown(hamiltonian)}: give the energy model of the runs")
    kinds = tuple((name, k) for name, s in lattice.sublattices.items() for k in s.species)
    if kinds != observed.kinds or lattice.n_sites != observed.n_sites:
        raise InputError("anchor is an energy model of another lattice than that of the runs")
    own = observed.points[0].coordinates
    pressure = {name: v for name, v in own.items() if name == "pressure"}
    points = []
    for counts in _in_need(observed):
        point = random_point(hamiltonian, counts, rng)
        points.append(point._replace(coordinates={**point.coordinates, **pressure}))
    if any(p.volume is not None or p.moving for p in observed.points):
        raise InputError(
            "anchor evaluates arrangements on fixed positions, but those of the runs move: hang "
            "the constant on points hot enough instead"
        )
    return replace(observed, points=observed.points + tuple(points))


def _in_need(observed: Observations) -> list[tuple[int, ...]]:
    """Choose the counts of which random arrangements are needed."""
    alone, others = set(), []
    for point in observed.points:
        rows, numbers = np.unique(
            point.counts.reshape(-1, len(observed.kinds)), axis=0, return_counts=True
        )
        ways = ln_arrangements(observed, rows)
        if len(rows) > 1:
            most = tuple(rows[numbers.argmax()].tolist())
            others.append((point.coordinates["temperature"], bool((ways == 0.0).any()), most))
        elif ways[0] > 0.0:
            alone.add(tuple(rows[0].tolist()))
    if others and not any(pure for _, pure, _ in others):
        alone.add(max(others)[2])
    return sorted(alone)


def random_point(
    hamiltonian: Hamiltonian, counts: Sequence[int], rng: np.random.Generator
) -> SampledPoint:
    """Energies of random arrangements of given counts: a point at β = 0.

    Parameters
    ----------
    hamiltonian
        The energy model.
    counts
        Sites of every species, sublattice by sublattice.
    rng
        The generator.
    """
    lattice, left = hamiltonian.lattice, list(counts)
    composition: dict[str, Mapping[str, float]] = {}
    for name, sublattice in lattice.sublattices.items():
        own = [left.pop(0) for _ in sublattice.species]
        size = len(sublattice.sites)
        composition[name] = {s: n / size for s, n in zip(sublattice.species, own, strict=True)}
    drawn = lattice.random(composition, rng, n_replicas=N_RANDOM)
    energy = np.asarray(hamiltonian.energy(drawn), dtype=float)
    if not np.isfinite(energy).all():
        raise InputError(
            "anchor gives random arrangements energies that are not finite: hang the constant on "
            "points hot enough instead"
        )
    table = np.broadcast_to(np.array(counts), (N_RANDOM, 1, len(counts)))
    return SampledPoint({"temperature": np.inf}, energy[:, None], table)


def wang_landau_free_energy(
    lattice: Lattice,
    densities: Sequence[tuple[Mapping[str, Mapping[str, float]], DensityOfStates]],
    temperatures: Sequence[float] | float,
    *,
    resamples: int = 100,
    seed: int = 0,
) -> FreeEnergies:
    """Free energies from densities of states, one per composition: F = −k_BT ln Σ g e^{−βE}.

    ln g counts arrangements, so that F is absolute. Errors are those of resampled repeats.

    Parameters
    ----------
    lattice
        The cell that the densities of states are of.
    densities
        Pairs of a composition, ``{"B": {"Sc": 0.5, "Ta": 0.5}}``, and its `DensityOfStates`.
        A pure composition needs one, too: a single level.
    temperatures
        K.
    resamples, seed
        How many resamples of the repeats give the errors, and their seed.

    Raises
    ------
    InputError
        If a composition does not fit the lattice or comes twice, a density is of another number of
        sites, there are fewer than two repeats, or the range of energies was cut where the weight
        lies.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 1, 1))
    >>> ends = [DensityOfStates([0.0], [[0.0], [0.0]], n_sites=2, bin_width=1.0)] * 2
    >>> half = DensityOfStates([-0.1], [[0.69], [0.70]], n_sites=2, bin_width=1.0)
    >>> fractions = [{"B": {"Sc": 1 - x, "Ta": x}} for x in (0.0, 1.0, 0.5)]
    >>> pairs = list(zip(fractions, [*ends, half]))
    >>> found = wang_landau_free_energy(lattice, pairs, [1000.0], resamples=20)
    >>> found.free_energy.round(4)
    array([[ 0.    , -0.0799,  0.    ]])
    """
    check_resampling(resamples, seed)
    kelvin = np.unique(kelvins(temperatures))
    rng = np.random.default_rng(seed)
    rows, one, again, fine = [], [], [], []
    for composition, density in densities:
        counts = lattice.composition_counts(composition)
        rows.append([n for name in lattice.sublattices for n in counts[name]])
        if density.n_sites != lattice.n_sites:
            raise InputError(
                f"the density of states at {dict(composition)} is of {density.n_sites} sites, the "
                f"lattice has {lattice.n_sites}: give those of this cell"
            )
        n = len(density.repeats)
        if n < 2:
            raise InputError(
                f"the density of states at {dict(composition)} is of one repeat, whose error is "
                "not known: run WangLandau with several"
            )
        one.append(_of_density(density, kelvin))
        picks = rng.integers(n, size=(resamples, n - 1))
        again.append([_of_density(_with_repeats(density, chosen), kelvin) for chosen in picks])
        fine.append(density.converged)
    compositions = np.array(rows)
    if not rows or len(np.unique(compositions, axis=0)) < len(rows):
        raise InputError("densities of states are needed, one per composition, each once")
    order = np.lexsort(compositions.T)
    values = np.array(one)[order].transpose(1, 2, 0)
    replicates = np.array(again)[order].transpose(2, 1, 3, 0)
    names = ("free_energy", "energy", "heat_capacity")
    kinds = tuple((name, k) for name, s in lattice.sublattices.items() for k in s.species)
    sizes = {name: len(s.sites) for name, s in lattice.sublattices.items()}
    return FreeEnergies(
        Observations(kinds, sizes, ()),
        kelvin,
        compositions[order],
        **dict(zip(names, values, strict=True)),
        replicates=dict(zip(names, replicates, strict=True)),
        effective=np.full(values[0].shape, np.nan),
        doubtful=np.broadcast_to(~np.array(fine)[order], values[0].shape).astype(float),
        converged=np.broadcast_to(np.array(fine)[order], values[0].shape),
        route="from densities of states, absolute",
    )


def _with_repeats(density: DensityOfStates, rows: np.ndarray) -> DensityOfStates:
    """Return the density of states of chosen repeats."""
    means = {name: values[rows] for name, values in density.means.items()}
    return replace(density, repeats=density.repeats[rows], means=means)


def _of_density(density: DensityOfStates, kelvin: np.ndarray) -> np.ndarray:
    """F and U in eV per site and the heat capacity in k_B per site, [3, n_temperatures]."""
    density.refuse_beyond_the_cut(kelvin)
    beta = 1.0 / (kB * kelvin)
    log = np.nan_to_num(density.ln_g, nan=-np.inf) - beta[:, None] * density.energies
    ln_z = logsumexp(log, axis=1)
    p = np.exp(log - ln_z[:, None])
    mean = p @ density.energies
    variance = (p * (density.energies - mean[:, None]) ** 2).sum(axis=1)
    return np.array([0.0 - ln_z / beta, mean, beta**2 * variance]) / density.n_sites
