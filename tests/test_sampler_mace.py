"""Chains on the bundled MACE against enumeration: exact for the real potential.

Each system's arrangements are evaluated once and tabulated; the chains then walk the real model's
energies and gradients. Positions are displaced by 0.06 Å so that no two arrangements are alike,
and the temperature is the one at which the exact distribution spreads over 15 states.

False alarms: correct kernels are refused at p < 1e-3 with fixed seeds; a new set of seeds for the
eight of them would raise an alarm in one run out of 125. Power: with a fifth of the draws every
wrong variant must come out at p < 1e-6.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

from alchemc import AlchemicalMACE, Canonical, builders, sample
from alchemc.sampler import GibbsWithGradients, Mixture, RandomSwap
from exactness import compare
from mutants import AsymmetricSwap, ChoosesByEnergy, NoHastings, StaleReverse
from toys import TabulatedHamiltonian

SYSTEMS = {
    "Sr(Sc,Ta)O3": (("Sc", "Ta"), {"Sc": 0.5, "Ta": 0.5}, 70),
    "Sr(Al,Sc,Ta)O3": (("Al", "Sc", "Ta"), {"Al": 0.25, "Sc": 0.25, "Ta": 0.5}, 420),
}


pytestmark = pytest.mark.skipif(
    not (files("alchemc.potentials") / "models/bundled/model.safetensors").is_file(),
    reason="the bundled model has not been trained yet",
)


@pytest.fixture(scope="session", params=SYSTEMS)
def system(request):
    """Tabulated energies of all arrangements and the ensemble of perplexity 15."""
    species, composition, n_states = SYSTEMS[request.param]
    lattice = builders.perovskite("Sr", species, "O", a=3.98, size=(2, 2, 2))
    hamiltonian = AlchemicalMACE(lattice, "bundled", positions=lattice.displaced_positions(0.06, 1))
    states = lattice.enumerate({"B": composition})
    assert len(states) == n_states
    table = TabulatedHamiltonian(hamiltonian, states)
    assert np.diff(np.sort(table.energies)).min() > 1e-9
    return table, Canonical(lattice, table.temperature_of_perplexity(15.0))


def barker(hamiltonian, ensemble):
    return GibbsWithGradients(hamiltonian, ensemble, balancing="barker")


def mix(*builders, kind=Mixture):
    """Builder of an even mixture of what other builders give."""
    return lambda hamiltonian, ensemble: kind([(b(hamiltonian, ensemble), 1) for b in builders])


def chooses_by_energy(hamiltonian, ensemble):
    broken = mix(RandomSwap, GibbsWithGradients, kind=ChoosesByEnergy)(hamiltonian, ensemble)
    p = hamiltonian.probabilities(ensemble.temperature)
    object.__setattr__(broken, "threshold", float(p @ hamiltonian.energies))
    return broken


KERNELS = {
    "random swaps": RandomSwap,
    "informed swaps, sqrt": GibbsWithGradients,
    "informed swaps, Barker": barker,
    "mixture of plain and informed": mix(RandomSwap, GibbsWithGradients),
}

MUTANTS = {
    "an asymmetric random proposal": AsymmetricSwap,
    "no Hastings factor": NoHastings,
    "stale reverse gradient": StaleReverse,
    "kernel chosen by the energy": chooses_by_energy,
}


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_is_exact_for_the_bundled_mace(kernel, system):
    table, ensemble = system
    assert 5 < table.perplexity(ensemble.temperature) < 40
    verdict = compare(KERNELS[kernel](table, ensemble), table, draws=100_000)
    assert 0.01 < verdict.acceptance < 0.95, verdict
    assert verdict.moved > 0.3, verdict
    assert verdict.p_value > 1e-3, verdict


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_variant_is_rejected_on_the_bundled_mace(mutant, system):
    table, ensemble = system
    kernel = MUTANTS[mutant](table, ensemble)
    verdict = compare(kernel, table, draws=20_000)
    assert verdict.p_value < 1e-6, verdict


def test_a_chain_on_the_table_is_the_chain_on_the_model(system):
    table, ensemble = system
    for build in (RandomSwap, GibbsWithGradients):
        runs = [
            sample(build(model, ensemble), table.states[:2], n_steps=10, seed=4)
            for model in (table.source, table)
        ]
        np.testing.assert_array_equal(runs[0].samples.occupation, runs[1].samples.occupation)
        np.testing.assert_allclose(runs[0].samples.energy, runs[1].samples.energy, atol=1e-9)
