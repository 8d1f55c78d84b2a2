"""Informed flips visit the states of enumerated cells as the semi-grand weight says.

False alarms: four toys × two balancings and one potential, each refused at p < 1e-4; the seeds are
fixed. Power: the same test refuses every mutant at p < 1e-6.
"""

from functools import cache

import numpy as np
import pytest
from scipy.stats import chi2

from alchemc import AlchemicalMACE, Canonical, SemiGrandCanonical, builders, sampler
from alchemc.errors import InputError
from alchemc.sampler import GibbsWithGradients, Mixture, PathAuxiliary, RandomFlip
from exactness import _chi_square
from mutants import NoHastings, StaleReverse
from toys import RandomHamiltonian, TabulatedHamiltonian, chain_lattice, spread_over_a_third

SYSTEMS = {
    "binary": ([(("Ti", "Zr"), 7)], 0.0),
    "binary, not quadratic": ([(("Ti", "Zr"), 7)], 0.3),
    "three species with vacancies": ([(("Sr", "Ba", "X"), 4)], 0.1),
    "two coupled sublattices": ([(("Sr", "Ba"), 3), (("Ti", "Zr", "Mg"), 2)], 0.1),
}


@cache
def toy(name):
    groups, cubic = SYSTEMS[name]
    lattice = chain_lattice(*groups)
    table = TabulatedHamiltonian(
        RandomHamiltonian(lattice, seed=3, cubic=cubic), lattice.enumerate()
    )
    mu = {n: {s.species[-1]: 0.1} for n, s in lattice.sublattices.items()}
    return table, *spread_over_a_third(table, mu)


def p_value(kernel, table, p, *, draws=20_000, steps=8, seed=0):
    """χ² of the ends of independent chains that start from the exact distribution."""
    starts = np.random.default_rng([seed, 1]).choice(len(p), size=draws, p=p)
    rngs = sampler.spawn_generators(seed, draws)
    state = kernel.init(table.states[starts], rngs)
    state, block = sampler.draw_block(kernel, state, rngs, 1, steps)
    ends = table.index(state.occupations)
    assert (ends != starts).mean() > 0.3
    statistic, dof = _chi_square(np.bincount(ends, minlength=len(p)), p)
    return float(chi2.sf(statistic, dof)), float(block["acceptance"].mean())


@pytest.mark.parametrize("balancing", ["sqrt", "barker"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_informed_flips_visit_states_with_their_exact_probability(system, balancing):
    table, ensemble, p = toy(system)
    found, _ = p_value(GibbsWithGradients(table, ensemble, balancing=balancing), table, p)
    assert found > 1e-4


@pytest.mark.parametrize("system", SYSTEMS)
def test_paths_of_flips_visit_states_with_their_exact_probability(system):
    table, ensemble, p = toy(system)
    found, _ = p_value(PathAuxiliary(table, ensemble, length=2), table, p)
    assert found > 1e-4


def test_the_length_of_paths_is_tuned_and_then_frozen():
    table, ensemble, _ = toy("binary")
    hot = ensemble.with_temperature(1e6)  # every path is accepted
    kernel = PathAuxiliary(table, hot, length=1)
    rngs = sampler.spawn_generators(1, 8)
    state = kernel.init(table.states[:8], rngs)
    kernel, state, report = sampler.warm_up(kernel, state, rngs, 200)
    assert kernel.length > 3
    assert report.parameters["length"] == kernel.length
    again = PathAuxiliary(table, hot).with_arrays(kernel.to_arrays())
    assert again.to_arrays() == kernel.to_arrays()
    cold, _, _ = sampler.warm_up(
        PathAuxiliary(table, ensemble.with_temperature(30.0), length=6), state, rngs, 200
    )
    assert cold.length < 3


@pytest.mark.parametrize("length", [0, 65, 1.5, True])
def test_a_length_that_is_no_number_of_moves_is_refused(length):
    table, ensemble, _ = toy("binary")
    with pytest.raises(InputError, match="whole number of moves"):
        PathAuxiliary(table, ensemble, length=length)


def test_a_mixture_of_plain_and_informed_flips_is_exact():
    table, ensemble, p = toy("three species with vacancies")
    kernels = [(RandomFlip(table, ensemble), 1), (GibbsWithGradients(table, ensemble), 2)]
    assert p_value(Mixture(kernels), table, p)[0] > 1e-4


@pytest.mark.slow
def test_informed_flips_are_exact_on_the_bundled_potential():
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 2))
    positions = lattice.displaced_positions(0.06, seed=5)
    model = AlchemicalMACE(lattice, "bundled", device="cpu", positions=positions)
    table = TabulatedHamiltonian(model, lattice.enumerate())
    # Chemical potentials that take the mean slope off, so that all compositions occur.
    n = table.lattice.counts(table.states)[:, 0, 1]
    slope = float(np.polyfit(n, table.energies, 1)[0])
    ensemble, p = spread_over_a_third(table, {"B": {"Zr": slope}})
    found, acceptance = p_value(GibbsWithGradients(table, ensemble), table, p)
    assert acceptance < 0.95
    assert found > 1e-4


@pytest.mark.parametrize("mutant", [NoHastings, StaleReverse])
def test_a_broken_informed_flip_is_rejected(mutant):
    table, ensemble, p = toy("binary, not quadratic")
    assert p_value(mutant(table, ensemble), table, p)[0] < 1e-6


class WrongSign(SemiGrandCanonical):
    """Puts the chemical potentials in with the wrong sign."""

    def log_density(self, energy, occupations, volume=None):
        right = super().log_density(energy, occupations, volume)
        return -2.0 * self.beta * np.asarray(energy) - right


def test_a_wrong_sign_of_mu_is_rejected():
    table, ensemble, p = toy("binary")
    wrong = WrongSign(table.lattice, ensemble.temperature, ensemble.chemical_potentials)
    assert p_value(GibbsWithGradients(table, wrong), table, p)[0] < 1e-6


def test_the_move_follows_the_ensemble_and_flips_are_refused_where_composition_is_fixed():
    table, ensemble, _ = toy("binary")
    start = table.states[40:41]
    rngs = sampler.spawn_generators(1, 1)
    for move, width in ((None, 1), ("flip", 1), ("swap", 2)):
        kernel = GibbsWithGradients(table, ensemble, move=move)
        _, info = kernel.step(kernel.init(start, rngs), rngs)
        assert info.sites.shape == (1, width)
    with pytest.raises(InputError, match="the canonical ensemble fixes"):
        GibbsWithGradients(table, Canonical(table.lattice, 300.0), move="flip")
    with pytest.raises(InputError, match="move 'hop' is not known"):
        GibbsWithGradients(table, ensemble, move="hop")
