"""Every kernel visits the states of enumerated toys as often as the exact distribution says.

False alarms: six systems × seven kernels, each refused at p < 1e-4; the seeds are fixed, and a new
set of seeds would raise an alarm in one run out of 200. Power: the same test with 40,000 draws on
one of the systems refuses every mutant at p < 1e-6.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest

from alchemc import Canonical, sampler
from alchemc.sampler import GibbsWithGradients, Mixture, PathAuxiliary, RandomSwap
from exactness import compare
from mutants import (
    AsymmetricSwap,
    ChoosesByEnergy,
    KeepsOldGradient,
    KeepsRefusedGradient,
    NoHastings,
    PathWithOneGradient,
    PathWithoutHastings,
    StaleReverse,
)
from toys import RandomHamiltonian, TabulatedHamiltonian, arrangements, chain_lattice


def barker(hamiltonian, ensemble):
    return GibbsWithGradients(hamiltonian, ensemble, balancing="barker")


def paths(hamiltonian, ensemble):
    return PathAuxiliary(hamiltonian, ensemble, length=2)


def mix(*builders, kind=Mixture):
    """Builder of an even mixture of what other builders give."""
    return lambda hamiltonian, ensemble: kind([(b(hamiltonian, ensemble), 1) for b in builders])


KERNELS = {
    "random swaps": RandomSwap,
    "informed swaps, sqrt": GibbsWithGradients,
    "informed swaps, Barker": barker,
    "paths, sqrt": paths,
    "paths, Barker": lambda h, e: PathAuxiliary(h, e, length=3, balancing="barker"),
    "mixture of plain and informed": mix(RandomSwap, GibbsWithGradients),
    "mixture of balancings": mix(GibbsWithGradients, barker),
}

SYSTEMS = {
    "binary": ([(("Sc", "Ta"), 8)], [(0,) * 4 + (1,) * 4], 0.0),
    "binary, not quadratic": ([(("Sc", "Ta"), 8)], [(0,) * 3 + (1,) * 5], 0.2),
    "three species": ([(("Al", "Sc", "Ta"), 6)], [(0, 0, 1, 1, 2, 2)], 0.1),
    "vacancies": ([(("Sr", "La", "X"), 6)], [(0, 0, 0, 1, 1, 2)], 0.1),
    "two coupled sublattices": (
        [(("Sr", "La"), 4), (("Al", "Sc", "Ta"), 4)],
        [(0, 0, 1, 1), (0, 1, 2, 2)],
        0.1,
    ),
    "a sublattice that cannot move beside one that can": (
        [(("Sr", "La"), 3), (("Sc", "Ta"), 6)],
        [(1, 1, 1), (0, 0, 0, 1, 1, 1)],
        0.1,
    ),
}


@cache
def tabulated(system):
    groups, composition, cubic = SYSTEMS[system]
    hamiltonian = RandomHamiltonian(chain_lattice(*groups), seed=3, cubic=cubic)
    table = TabulatedHamiltonian(hamiltonian, arrangements(*composition))
    perplexity = min(15.0, 0.5 * len(table.states))
    return table, Canonical(table.lattice, table.temperature_of_perplexity(perplexity))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_visits_states_with_their_exact_probability(kernel, system):
    table, ensemble = tabulated(system)
    verdict = compare(KERNELS[kernel](table, ensemble), table, draws=10_000)
    assert verdict.p_value > 1e-4, verdict
    assert verdict.moved > 0.5, verdict


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_reaches_every_state_from_a_single_one(kernel, system):
    table, _ = tabulated(system)
    built = KERNELS[kernel](table, Canonical(table.lattice, 1e5))
    rngs = sampler.spawn_generators(1, 200)
    state = built.init(np.tile(table.states[:1], (200, 1)), rngs)
    _, block = sampler.draw_block(built, state, rngs, 60)
    visited = {int(i) for occupations in block["occupation"] for i in table.index(occupations)}
    assert len(visited) == len(table.states)


def swap_probabilities(table, ensemble, weight):
    """Log probability of every possible swap from its definition, {(from, to): log q}."""
    slopes = -ensemble.beta * table.gradients
    log_q = {}
    for x, occupation in enumerate(table.states):
        weights = {}
        for i, j in combinations(range(table.lattice.n_sites), 2):
            a, b = occupation[i], occupation[j]
            if a != b and len(set(table.lattice.sublattice_of_site[[i, j]])) == 1:
                swapped = occupation.copy()
                swapped[[i, j]] = b, a
                d = slopes[x, i, b] - slopes[x, i, a] + slopes[x, j, a] - slopes[x, j, b]
                weights[x, int(table.index(swapped[None])[0])] = weight(d)
        total = sum(weights.values())
        log_q |= {move: np.log(w / total) for move, w in weights.items()}
    return log_q


WEIGHTS = {
    "random swaps": lambda d: 1.0,
    "informed swaps, sqrt": lambda d: np.exp(d / 2),
    "informed swaps, Barker": lambda d: np.exp(d) / (1 + np.exp(d)),
}


@pytest.mark.parametrize("system", ["three species", "two coupled sublattices"])
@pytest.mark.parametrize("kernel", WEIGHTS)
def test_the_acceptance_is_the_one_that_detailed_balance_asks_for(kernel, system):
    table, ensemble = tabulated(system)
    log_q = swap_probabilities(table, ensemble, WEIGHTS[kernel])
    built = KERNELS[kernel](table, ensemble)
    rngs = sampler.spawn_generators(1, len(table.states))
    state = built.init(table.states, rngs)
    for _ in range(5):
        after, info = built.step(state, rngs)
        proposed = state.occupations.copy()
        np.put_along_axis(proposed, info.sites, info.species, axis=1)
        x, y = table.index(state.occupations), table.index(proposed)
        moves = list(zip(x.tolist(), y.tolist(), strict=True))
        hastings = np.array([log_q[b, a] - log_q[a, b] for a, b in moves])
        change = -ensemble.beta * (table.energies[y] - table.energies[x])
        expected = np.exp(np.minimum(0.0, change + hastings))
        np.testing.assert_allclose(info.acceptance_probability, expected, rtol=1e-9)
        state = after


def chooses_by_energy(hamiltonian, ensemble):
    broken = mix(RandomSwap, GibbsWithGradients, kind=ChoosesByEnergy)(hamiltonian, ensemble)
    object.__setattr__(broken, "threshold", float(np.median(hamiltonian.energies)))
    return broken


def no_hastings_barker(hamiltonian, ensemble):
    return NoHastings(hamiltonian, ensemble, balancing="barker")


MUTANTS = {
    "an asymmetric random proposal": (AsymmetricSwap, 15.0),
    "no Hastings factor": (NoHastings, 15.0),
    "no Hastings factor, Barker": (no_hastings_barker, 15.0),
    "stale reverse gradient": (StaleReverse, 15.0),
    "gradient of a refused state kept": (KeepsRefusedGradient, 15.0),
    "gradient kept through another kernel's move": (mix(KeepsOldGradient, GibbsWithGradients), 5.0),
    "kernel chosen by the energy": (chooses_by_energy, 25.0),
    "path without Hastings factor": (PathWithoutHastings, 15.0),
    "path with one gradient": (PathWithOneGradient, 15.0),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_kernel_is_rejected(mutant):
    table, _ = tabulated("three species")
    build, perplexity = MUTANTS[mutant]
    ensemble = Canonical(table.lattice, table.temperature_of_perplexity(perplexity))
    verdict = compare(build(table, ensemble), table, draws=40_000)
    assert verdict.p_value < 1e-6, verdict
