"""Discrete Langevin: exact for flips and for matched swaps, tuned in warm-up, then frozen.

False alarms: ten systems × two step sizes, each refused at p < 1e-4 with fixed seeds; a new set of
seeds would raise an alarm in one run out of 500. Power: the same test refuses every mutant at
p < 1e-6.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from alchemc import Canonical, PairHamiltonian, SemiGrandCanonical, sampler
from alchemc.errors import InputError
from alchemc.sampler import DiscreteLangevin
from exactness import compare
from mutants import (
    GoesOnAdapting,
    LangevinWithEagerMatching,
    LangevinWithOneGradient,
    LangevinWithoutHastings,
)
from toys import (
    RandomHamiltonian,
    TabulatedHamiltonian,
    any_occupations,
    arrangements,
    chain_lattice,
    spread_over_a_third,
)

FLIPS = {
    "binary": ([(("Ti", "Zr"), 7)], 0.0),
    "binary, not quadratic": ([(("Ti", "Zr"), 7)], 0.3),
    "three species with vacancies": ([(("Sr", "Ba", "X"), 4)], 0.1),
    "two coupled sublattices": ([(("Sr", "Ba"), 3), (("Ti", "Zr", "Mg"), 2)], 0.1),
    "a sublattice of one species": ([(("Sr",), 2), (("Ti", "Zr"), 6)], 0.1),
}
SWAPS = {
    "binary": ([(("Sc", "Ta"), 8)], [(0,) * 4 + (1,) * 4], 0.0),
    "binary, odd, not quadratic": ([(("Sc", "Ta"), 7)], [(0,) * 3 + (1,) * 4], 0.2),
    "three species with vacancies": ([(("Sr", "La", "X"), 6)], [(0, 0, 0, 1, 1, 2)], 0.1),
    "two coupled sublattices": (
        [(("Sr", "La"), 4), (("Al", "Sc", "Ta"), 4)],
        [(0, 0, 1, 1), (0, 1, 2, 2)],
        0.1,
    ),
    "a sublattice that cannot move": (
        [(("Sr", "La"), 3), (("Sc", "Ta"), 6)],
        [(1, 1, 1), (0, 0, 0, 1, 1, 1)],
        0.1,
    ),
}


@cache
def flips(name):
    groups, cubic = FLIPS[name]
    lattice = chain_lattice(*groups)
    model = RandomHamiltonian(lattice, seed=3, cubic=cubic)
    table = TabulatedHamiltonian(model, lattice.enumerate())
    mu = {n: {s.species[-1]: 0.1} for n, s in lattice.sublattices.items()}
    return table, spread_over_a_third(table, mu)[0]


@cache
def swaps(name):
    groups, composition, cubic = SWAPS[name]
    model = RandomHamiltonian(chain_lattice(*groups), seed=3, cubic=cubic)
    table = TabulatedHamiltonian(model, arrangements(*composition))
    return table, Canonical(table.lattice, table.temperature_of_perplexity(15.0))


SYSTEMS = [(flips, name) for name in FLIPS] + [(swaps, name) for name in SWAPS]
every_system = pytest.mark.parametrize(("kind", "name"), SYSTEMS)


@pytest.mark.parametrize("step_size", [0.25, 2.0])
@every_system
def test_states_are_visited_with_their_exact_probability(kind, name, step_size):
    table, ensemble = kind(name)
    verdict = compare(DiscreteLangevin(table, ensemble, step_size), table, draws=10_000, steps=10)
    assert verdict.p_value > 1e-4, verdict
    assert verdict.moved > 0.5, verdict


def test_swaps_are_exact_where_the_composition_could_fluctuate():
    table, ensemble = flips("three species with vacancies")
    kernel = DiscreteLangevin(table, ensemble, step_size=2.0, move="swap")
    verdict = compare(kernel, table, draws=10_000)
    assert verdict.p_value > 1e-4, verdict
    assert verdict.moved > 0.3, verdict


@every_system
def test_every_state_is_reached_from_a_single_one(kind, name):
    table, ensemble = kind(name)
    kernel = DiscreteLangevin(table, ensemble.with_temperature(1e5))
    rngs = sampler.spawn_generators(1, 200)
    state = kernel.init(np.tile(table.states[:1], (200, 1)), rngs)
    _, block = sampler.draw_block(kernel, state, rngs, 60)
    visited = {int(i) for occupations in block["occupation"] for i in table.index(occupations)}
    assert len(visited) == len(table.states)


MUTANTS = {
    "no Hastings factor": LangevinWithoutHastings,
    "the gradient at x for the way back": LangevinWithOneGradient,
    "a step size that goes on adapting": lambda h, e, _: GoesOnAdapting(
        [(DiscreteLangevin(h, e, step_size), 1) for step_size in (0.1, 0.3, 10.0)]
    ),
}


@pytest.mark.parametrize("system", [(flips, "binary, not quadratic"), (swaps, "binary")])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_kernel_is_rejected(mutant, system):
    table, ensemble = system[0](system[1])
    verdict = compare(MUTANTS[mutant](table, ensemble, 1.0), table, draws=20_000, steps=10)
    assert verdict.p_value < 1e-6, verdict


def test_a_matching_chosen_by_the_state_is_rejected():
    table, ensemble = swaps("binary")
    kernel = LangevinWithEagerMatching(table, ensemble, step_size=1.0)
    verdict = compare(kernel, table, draws=10_000, steps=10)
    assert verdict.p_value < 1e-6, verdict


def log_probability_of_flips(ensemble, slopes, before, after, step_size):
    """Return log Π_i q_i(k|x), site by site from its definition."""
    total = 0.0
    for i, (held, k) in enumerate(zip(before, after, strict=True)):
        species = np.flatnonzero(ensemble.lattice.allowed[i])
        weights = {
            s: np.exp((slopes[i, s] - slopes[i, held]) / 2 - (s != held) / (2 * step_size))
            for s in species
        }
        total += np.log(weights[k] / sum(weights.values()))
    return total


def test_the_acceptance_of_flips_is_the_one_that_detailed_balance_asks_for():
    table, ensemble = flips("two coupled sublattices")
    kernel = DiscreteLangevin(table, ensemble, step_size=0.7)
    slopes = ensemble.log_density_gradient(table.gradients, table.states)
    log_p = ensemble.log_density(table.energies, table.states)
    rngs = sampler.spawn_generators(1, len(table.states))
    state = kernel.init(table.states, rngs)
    _, info = kernel.step(state, rngs)
    proposed = with_changes(table.states, info)
    y = table.index(proposed)
    log_q = lambda a, b: log_probability_of_flips(  # noqa: E731
        ensemble, slopes[a], table.states[a], table.states[b], 0.7
    )
    moved = info.sites[:, 0] >= 0
    assert moved.sum() > 50
    for x in np.flatnonzero(moved):
        expected = min(0.0, log_p[y[x]] - log_p[x] + log_q(y[x], x) - log_q(x, y[x]))
        np.testing.assert_allclose(np.log(info.acceptance_probability[x]), expected, atol=1e-9)
    change = table.lattice.weights(proposed) - table.lattice.weights(table.states)
    estimate = (slopes * change).sum(axis=(1, 2))
    np.testing.assert_allclose(info.estimated_change[moved], estimate[moved], atol=1e-9)


def with_changes(occupations, info):
    changed = occupations.copy()
    replica, column = np.nonzero(info.sites >= 0)
    changed[replica, info.sites[replica, column]] = info.species[replica, column]
    return changed


def test_every_pair_of_the_matching_swaps_with_its_own_probability():
    table, ensemble = swaps("two coupled sublattices")
    kernel = DiscreteLangevin(table, ensemble, step_size=0.7)
    slopes = ensemble.log_density_gradient(table.gradients, table.states)
    own = np.take_along_axis(slopes, table.states[:, :, None].astype(int), axis=2)
    field = slopes - own
    rng = np.random.default_rng(1)
    uniforms = rng.random((len(table.states), kernel._proposals.n_uniforms))
    proposal = kernel._proposals.draw(field, table.states, uniforms, 0.5 / 0.7)
    sublattice = table.lattice.sublattice_of_site
    for x, pairs in enumerate(proposal.pairs):
        assert len(set(pairs.ravel())) == pairs.size == 8
        expected = 0.0
        for i, j in pairs:
            assert sublattice[i] == sublattice[j]
            a, b = table.states[x, [i, j]]
            after = tuple(proposal.occupations[x, [i, j]])
            if a == b:
                assert after == (a, b)
                continue
            p = 1 / (1 + np.exp(-(field[x, i, b] + field[x, j, a]) / 2 + 1 / 1.4))
            assert after in {(a, b), (b, a)}
            expected += np.log(p if after == (b, a) else 1 - p)
        assert proposal.log_probability[x] == pytest.approx(expected, abs=1e-9)


def test_matchings_pair_any_two_sites_equally_often():
    """60,000 matchings of 7 sites; six standard errors of 3/7·1/3 per pair."""
    kernel = DiscreteLangevin(*swaps("binary, odd, not quadratic"))
    uniforms = np.random.default_rng(2).random((60_000, 7))
    pairs = np.sort(kernel._proposals._match(uniforms), axis=2)
    counts = np.zeros((7, 7))
    np.add.at(counts, (pairs[:, :, 0].ravel(), pairs[:, :, 1].ravel()), 1)
    found = counts[np.triu_indices(7, 1)] / 60_000
    np.testing.assert_allclose(found, 1 / 7, atol=6 * np.sqrt(1 / 7 * 6 / 7 / 60_000))


def tunable(temperature, ensemble="semi-grand"):
    lattice = chain_lattice((("Ti", "Zr"), 60))
    model = PairHamiltonian(lattice, [{("Ti", "Zr"): -0.04}])
    if ensemble == "canonical":
        return model, Canonical(lattice, temperature)
    return model, SemiGrandCanonical(lattice, temperature, {"Zr": 0.0})


@pytest.mark.parametrize("ensemble", ["semi-grand", "canonical"])
@pytest.mark.parametrize("step_size", [0.05, 2.0])
def test_warm_up_tunes_the_step_size_to_an_acceptance_of_0_57(ensemble, step_size):
    model, target = tunable(500.0, ensemble)
    kernel = DiscreteLangevin(model, target, step_size=step_size)
    rngs = sampler.spawn_generators(1, 8)
    start = np.tile(np.arange(60) % 2, (8, 1))
    state = kernel.init(start, rngs)
    kernel, state, report = sampler.warm_up(kernel, state, rngs, 800)
    assert report.parameters["step_size"] == kernel.step_size != step_size
    _, block = sampler.draw_block(kernel, state, rngs, 1, 300)
    assert block["acceptance"].mean() == pytest.approx(0.574, abs=0.06)


def test_the_step_size_stays_within_bounds_and_shrinks_where_nothing_is_accepted():
    model, ensemble = tunable(1e6)  # everything is accepted
    rngs = sampler.spawn_generators(1, 4)
    kernel = DiscreteLangevin(model, ensemble)
    state = kernel.init(any_occupations(ensemble.lattice, 4, seed=1), rngs)
    kernel, state, _ = sampler.warm_up(kernel, state, rngs, 2_000)
    assert kernel.step_size == 10.0
    kernel = kernel.rebind(ensemble=ensemble.with_temperature(60.0))
    kernel, _, _ = sampler.warm_up(kernel, state, rngs, 500)
    assert 0.02 <= kernel.step_size < 10.0


def test_a_kernel_is_frozen_after_warm_up():
    table, ensemble = flips("binary")
    kernel = DiscreteLangevin(table, ensemble)
    rngs = sampler.spawn_generators(1, 4)
    kernel, state, _ = sampler.warm_up(kernel, kernel.init(table.states[:4], rngs), rngs, 100)
    before = kernel.to_arrays()
    sampler.draw_block(kernel, state, rngs, 50)
    assert kernel.to_arrays() == before
    with pytest.raises(AttributeError):
        kernel.step_size = 1.0


def test_a_warm_up_goes_on_from_stored_numbers_bit_for_bit():
    model, ensemble = tunable(500.0)

    def warmed(interrupted):
        kernel = DiscreteLangevin(model, ensemble)
        rngs = sampler.spawn_generators(1, 4)
        state = kernel.init(any_occupations(ensemble.lattice, 4, seed=1), rngs)
        kernel, state, _ = sampler.warm_up(kernel, state, rngs, 100)
        if interrupted:
            stored = json.loads(json.dumps(kernel.to_arrays()))
            kernel = DiscreteLangevin(model, ensemble).with_arrays(stored)
            rngs = [sampler.restore_generator(sampler.generator_state(rng)) for rng in rngs]
        kernel, state, _ = sampler.warm_up(kernel, state, rngs, 75)
        return kernel.to_arrays(), state

    (numbers, state), (again, state_again) = warmed(False), warmed(True)
    assert numbers == again
    np.testing.assert_array_equal(state.occupations, state_again.occupations)
    np.testing.assert_array_equal(state.energy, state_again.energy)


def test_a_proposal_to_stay_is_no_move_and_costs_nothing():
    table, ensemble = flips("binary")
    kernel = DiscreteLangevin(table, ensemble, step_size=0.2)
    rngs = sampler.spawn_generators(1, 100)
    state = kernel.init(table.states[:100], rngs)
    after, info = kernel.step(state, rngs)
    stayed = (info.sites < 0).all(axis=1)
    assert 10 < stayed.sum() < 90
    np.testing.assert_array_equal(info.gradient_calls, ~stayed)
    np.testing.assert_array_equal(info.energy_calls, 0)
    np.testing.assert_array_equal(after.occupations[stayed], state.occupations[stayed])
    assert not info.accepted[stayed].any()
    assert np.isnan(info.log_density_change[stayed]).all()


def test_a_chain_of_flips_does_not_depend_on_its_neighbours():
    table, ensemble = flips("two coupled sublattices")
    kernel = DiscreteLangevin(table, ensemble)

    def advance(first, last):
        rngs = sampler.spawn_generators(1, last - first, first)
        state = kernel.init(table.states[first:last], rngs)
        return sampler.draw_block(kernel, state, rngs, 40)[1]["occupation"]

    np.testing.assert_array_equal(advance(0, 6)[:, 2:4], advance(2, 4))


@pytest.mark.parametrize("step_size", [0.0, 0.01, 11, -1.0, float("nan"), True, "1"])
def test_a_step_size_that_cannot_be_used_is_refused(step_size):
    with pytest.raises(InputError, match=r"step_size is .*; give a number from 0.02 to 10"):
        DiscreteLangevin(*flips("binary"), step_size)


def test_the_move_follows_the_ensemble_and_must_be_possible():
    table, ensemble = flips("binary")
    assert DiscreteLangevin(table, ensemble)._proposals.most_changes == 7
    assert DiscreteLangevin(table, ensemble, move="swap")._proposals.most_changes == 6
    with pytest.raises(InputError, match="the canonical ensemble fixes"):
        DiscreteLangevin(table, Canonical(table.lattice, 300.0), move="flip")
    lattice = chain_lattice((("Ti",), 3), (("Sr", "La"), 1))
    model = RandomHamiltonian(lattice, seed=1)
    with pytest.raises(InputError, match="no two sites that could exchange"):
        DiscreteLangevin(model, Canonical(lattice, 300.0))
    single = chain_lattice((("Ti",), 3))
    with pytest.raises(InputError, match="nothing to flip"):
        DiscreteLangevin(RandomHamiltonian(single, seed=1), SemiGrandCanonical(single, 300.0, {}))
