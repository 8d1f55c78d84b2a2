"""Every kernel visits the states of enumerated toys as often as the exact distribution says.

False alarms: six systems × five kernels, each refused at p < 1e-4; the seeds are fixed, and a new
set of seeds would raise an alarm in one run out of 300. Power: the same test with 80,000 draws on
one of the systems refuses every mutant at p < 1e-6.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from alchemc import Canonical
from alchemc.sampler import GibbsWithGradients, Mixture, RandomSwap
from exactness import compare
from mutants import (
    AsymmetricSwap,
    ChoosesByEnergy,
    KeepsOldGradient,
    KeepsRefusedGradient,
    NoHastings,
    StaleReverse,
)
from toys import RandomHamiltonian, TabulatedHamiltonian, arrangements, chain_lattice


def barker(hamiltonian, ensemble):
    return GibbsWithGradients(hamiltonian, ensemble, balancing="barker")


def mix(*builders, kind=Mixture):
    """Builder of an even mixture of what other builders give."""
    return lambda hamiltonian, ensemble: kind([(b(hamiltonian, ensemble), 1) for b in builders])


KERNELS = {
    "random swaps": RandomSwap,
    "informed swaps, sqrt": GibbsWithGradients,
    "informed swaps, Barker": barker,
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
    verdict = compare(KERNELS[kernel](table, ensemble), table, draws=20_000, n_replicas=1_000)
    assert verdict.p_value > 1e-4, verdict
    assert verdict.effective_draws > 10_000, verdict


def chooses_by_energy(hamiltonian, ensemble):
    broken = mix(RandomSwap, GibbsWithGradients, kind=ChoosesByEnergy)(hamiltonian, ensemble)
    object.__setattr__(broken, "threshold", float(np.median(hamiltonian.energies)))
    return broken


def no_hastings_barker(hamiltonian, ensemble):
    return NoHastings(hamiltonian, ensemble, balancing="barker")


MUTANTS = {
    "an asymmetric random proposal": AsymmetricSwap,
    "no Hastings factor": NoHastings,
    "no Hastings factor, Barker": no_hastings_barker,
    "stale reverse gradient": StaleReverse,
    "gradient of a refused state kept": KeepsRefusedGradient,
    "gradient kept through another kernel's move": mix(KeepsOldGradient, GibbsWithGradients),
    "kernel chosen by the energy": chooses_by_energy,
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_kernel_is_rejected(mutant):
    table, ensemble = tabulated("three species")
    kernel = MUTANTS[mutant](table, ensemble)
    verdict = compare(kernel, table, draws=80_000, n_replicas=2_000, longest_thin=4)
    assert verdict.p_value < 1e-6, verdict
