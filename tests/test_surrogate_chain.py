"""Surrogate chains are exact however poor the surrogate is, on enumerated systems.

The surrogates are the toys' quadratic parts times 0.6, so that 30 to 90 per cent of the moves are
accepted, and inner chains are one sweep long. False alarms: 24 kernels on toys, three at another
temperature and two on the bundled potential, each refused at p < 1e-4; the seeds are fixed, and a
new set of seeds would raise an alarm in one run out of 340. Power: the same test refuses every
mutant at p < 1e-6, and with ten other sets of seeds at p < 1e-10.
"""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace

import numpy as np
import pytest

from alchemc import AlchemicalMACE, Canonical, sampler
from alchemc.campaign.engine import _joined, _split
from alchemc.errors import InputError
from alchemc.sampler import (
    GibbsWithGradients,
    Mixture,
    RandomFlip,
    RandomSwap,
    SurrogateChain,
)
from exactness import compare
from mutants import (
    FlipsInOrder,
    RegionOfTheState,
    SwapsInOrder,
    WithoutSurrogateFactor,
    field_at_the_occupation,
    refits_while_sampling,
)
from toys import CANONICAL_TOYS, bundled_table, quadratic_part, toy


def swaps_and_flips(hamiltonian, ensemble):
    return Mixture([(RandomSwap(hamiltonian, ensemble), 1), (RandomFlip(hamiltonian, ensemble), 2)])


INNER = {"canonical": GibbsWithGradients, "semi-grand": swaps_and_flips}
MOVES = {
    "the whole cell": lambda ensemble: {},
    "a region": lambda ensemble: {"region": 3},
    "an inner kernel of one's own": lambda ensemble: {"inner": INNER[ensemble]},
}
every_toy = pytest.mark.parametrize("name", CANONICAL_TOYS)
every_ensemble = pytest.mark.parametrize("ensemble", ["canonical", "semi-grand"])
every_move = pytest.mark.parametrize("moves", MOVES)


def poor(system, kind=SurrogateChain, **options):
    """Chain of one sweep with the toy's quadratic part times 0.6 for its surrogate."""
    surrogate = quadratic_part(system.model, 0.6)
    return kind(system.table, system.ensemble, surrogate, sweeps=1, **options)


@every_move
@every_ensemble
@every_toy
def test_states_are_visited_with_their_exact_probability(name, ensemble, moves):
    system = toy(ensemble, name)
    kernel = poor(system, **MOVES[moves](ensemble))
    verdict = compare(kernel, system.table, draws=2_000, steps=4)
    assert verdict.p_value > 1e-4, verdict
    assert 0.2 < verdict.acceptance < 0.9, verdict
    assert verdict.moved > 0.4, verdict


def sequential(system):
    canonical = isinstance(system.ensemble, Canonical)
    return poor(system, inner=SwapsInOrder if canonical else FlipsInOrder)


# Each with its numbers of draws in the two ensembles.
MUTANTS = {
    "surrogate refitted while sampling": (lambda s: refits_while_sampling(poor(s)), 2_000, 3_000),
    "site field where the chain is": (lambda s: field_at_the_occupation(poor(s)), 1_500, 1_500),
    "region chosen by the state": (lambda s: poor(s, RegionOfTheState, region=3), 1_500, 5_000),
    "acceptance without the surrogate": (lambda s: poor(s, WithoutSurrogateFactor), 1_000, 1_000),
    "sequential inner sweep": (sequential, 1_500, 5_000),
}


def rejected(mutant, ensemble, seed=0):
    build, *draws = MUTANTS[mutant]
    canonical = ensemble == "canonical"
    system = toy(ensemble, "vacancies" if canonical else "two sublattices")
    return compare(build(system), system.table, draws=draws[not canonical], steps=4, seed=seed)


@every_ensemble
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_kernel_is_rejected(mutant, ensemble):
    verdict = rejected(mutant, ensemble)
    assert verdict.p_value < 1e-6, verdict


@pytest.mark.parametrize("moves", ["the whole cell", "a region of two", "an inner kernel"])
@every_ensemble
def test_every_state_is_reached_from_a_single_one(ensemble, moves):
    system = toy(ensemble, "two sublattices")
    hot = system._replace(ensemble=system.ensemble.with_temperature(1e5))
    options = {"the whole cell": {}, "a region of two": {"region": 2}}
    kernel = poor(hot, **options.get(moves, {"inner": INNER[ensemble]}))
    rngs = sampler.spawn_generators(1, 100)
    state = kernel.init(np.tile(system.table.states[:1], (100, 1)), rngs)
    _, block = sampler.draw_block(kernel, state, rngs, 60)
    visited = {int(i) for draw in block["occupation"] for i in system.table.index(draw)}
    assert len(visited) == len(system.table.states)


@every_move
@every_ensemble
def test_a_chain_does_not_depend_on_its_neighbours(ensemble, moves):
    system = toy(ensemble, "two sublattices")
    kernel = poor(system, **MOVES[moves](ensemble))

    def advance(first, last):
        rngs = sampler.spawn_generators(1, last - first, first)
        state = kernel.init(system.table.states[first:last], rngs)
        state, block = sampler.draw_block(kernel, state, rngs, 10)
        return block, [sampler.generator_state(rng) for rng in rngs]

    (many, all_drawn), (few, few_drawn) = advance(0, 7), advance(3, 5)
    assert all_drawn[3:5] == few_drawn
    for name, values in few.items():
        np.testing.assert_array_equal(many[name][:, 3:5], values)


def test_a_region_of_one_species_is_no_move_and_costs_nothing():
    system = toy("canonical", "binary")
    kernel = poor(system, region=2)
    rngs = sampler.spawn_generators(1, 200)
    state = kernel.init(system.table.states[np.arange(200) % 70], rngs)
    after, info = kernel.step(state, rngs)
    stayed = (info.sites < 0).all(axis=1)
    assert 50 < stayed.sum() < 195
    np.testing.assert_array_equal(info.energy_calls, ~stayed)
    assert info.accepted[stayed].all()  # coming back is no refusal
    assert np.isnan(info.estimated_change[stayed]).all()
    np.testing.assert_array_equal(after.occupations[stayed], state.occupations[stayed])


def through_a_checkpoint(kernel):
    """What ``to_arrays`` gave, as a campaign stores it: JSON, and arrays apart."""
    parameters, arrays = _split(kernel.to_arrays())
    return _joined(SimpleNamespace(kernel=json.loads(json.dumps(parameters)), arrays=arrays))


def hopeless_table():
    """Energies without rhyme or reason."""
    table = toy("canonical", "binary").table
    table = table.among(table.states)
    table.energies = np.random.default_rng(1).normal(size=len(table.states))
    table.gradients = np.random.default_rng(2).normal(size=table.gradients.shape)
    return table


def models(name):
    """Energy models from which a surrogate is learnt in its three ways, and ensembles."""
    if name == "fitted to gradients":
        return toy("semi-grand", "two sublattices")[1:]
    if name == "Taylor expansion":
        table = bundled_table(0.0, 4)
        return table, Canonical(table.lattice, 6000.0)
    table = hopeless_table()
    return table, Canonical(table.lattice, 4000.0)


def equal(one, other):
    """Whether nested mappings of arrays and numbers agree bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")


@pytest.mark.filterwarnings("ignore:the surrogate misses")
@pytest.mark.parametrize("learnt", ["fitted to gradients", "Taylor expansion", "hopeless"])
def test_a_chain_goes_on_from_stored_numbers_bit_for_bit(learnt):
    table, ensemble = models(learnt)
    parts = (1, 4, 30, 5, 0)

    def run(interrupted):
        kernel = SurrogateChain(table, ensemble)
        rngs = sampler.spawn_generators(1, 4)
        state = kernel.init(table.states[::15][:4], rngs)
        for n in parts:
            kernel, state, report = sampler.warm_up(kernel, state, rngs, n)
            if interrupted:
                kernel = SurrogateChain(table, ensemble).with_arrays(through_a_checkpoint(kernel))
                rngs = [sampler.restore_generator(sampler.generator_state(rng)) for rng in rngs]
        _, block = sampler.draw_block(kernel, state, rngs, 20)
        return block, kernel, report

    (block, kernel, report), (again, other, other_report) = run(False), run(True)
    assert report.parameters["surrogate"] != "given"
    assert (kernel.fallback is not None) == (learnt == "hopeless")
    assert equal(block, again)
    assert equal(kernel.to_arrays(), other.to_arrays())
    assert equal(report.parameters, other_report.parameters)


def test_a_given_surrogate_stays_given_when_numbers_are_restored():
    system = toy("canonical", "binary")
    kernel = poor(system, region=3)
    again = poor(system).with_arrays(through_a_checkpoint(kernel))
    assert (again.surrogate is not None, again.region, again.sweeps) == (True, 3, 1)
    assert again.summary() == kernel.summary()


@every_move
def test_another_temperature_keeps_the_surrogate_and_is_exact(moves):
    system = toy("canonical", "two sublattices")
    cold = poor(system, **MOVES[moves]("canonical"))
    kernel = cold.rebind(ensemble=system.ensemble.with_temperature(6000.0))
    assert kernel.surrogate is cold.surrogate
    assert (kernel.sweeps, kernel.region, kernel.inner) == (cold.sweeps, cold.region, cold.inner)
    verdict = compare(kernel, system.table, draws=1_000, steps=3)
    assert verdict.p_value > 1e-4, verdict


def test_a_kernel_cannot_be_changed_and_steps_do_not_change_it():
    system = toy("semi-grand", "vacancies")
    kernel = poor(system, region=2)
    before = kernel.to_arrays()
    rngs = sampler.spawn_generators(1, 3)
    state = kernel.init(system.table.states[:3], rngs)
    sampler.draw_block(kernel, state, rngs, 5)
    assert equal(kernel.to_arrays(), before)
    np.testing.assert_array_equal(state.occupations, system.table.states[:3])
    with pytest.raises(FrozenInstanceError):
        kernel.sweeps = 2


@pytest.fixture(scope="module")
def learnt_at_rest():
    """Chain that learnt on undisplaced positions, its state and its generators."""
    table = bundled_table(0.0, 4)
    kernel = SurrogateChain(table, Canonical(table.lattice, 5000.0))
    rngs = sampler.spawn_generators(1, 4)
    kernel, state, _ = sampler.warm_up(kernel, kernel.init(table.states[:4], rngs), rngs, 20)
    return kernel, state, rngs


def test_a_chain_is_exact_where_the_positions_moved(learnt_at_rest):
    kernel, state, _ = learnt_at_rest
    table = bundled_table(0.06, 4)
    cold = kernel.rebind(ensemble=Canonical(table.lattice, table.temperature_of_perplexity(15.0)))
    moved, there = cold.refresh(state, table)
    np.testing.assert_array_equal(there.energy, table.energy(state.occupations))
    stale = replace(kernel, hamiltonian=table).rebind(ensemble=cold.ensemble)
    verdicts = [compare(k, table, draws=1_000, steps=3) for k in (moved, stale)]
    for verdict in verdicts:
        assert verdict.p_value > 1e-4, verdict
    # The site field at the mean composition carries the displacements.
    assert verdicts[0].acceptance > 1.2 * verdicts[1].acceptance


def test_the_surrogate_depends_on_the_positions_and_not_on_the_way_there(learnt_at_rest):
    kernel, state, rngs = learnt_at_rest
    here, there = bundled_table(0.06, 4), bundled_table(0.0, 4)
    elsewhere = AlchemicalMACE(
        here.lattice, "bundled", device="cpu", positions=here.lattice.displaced_positions(0.1, 7)
    )
    straight, _ = kernel.refresh(state, here)
    other_state = sampler.draw_block(kernel, state, rngs, 3)[0]
    stops = [elsewhere, there, here]
    around, stored = kernel, kernel
    for stop in stops:
        around, other_state = around.refresh(other_state, stop)
        stored = SurrogateChain(stop, kernel.ensemble).with_arrays(through_a_checkpoint(stored))
        stored, _ = stored.refresh(other_state, stop)
    for one in (around, stored):
        assert equal(one.surrogate.to_arrays(), straight.surrogate.to_arrays())
    back, _ = around.refresh(state, there)
    np.testing.assert_allclose(back.surrogate.onsite, kernel.surrogate.onsite, atol=1e-12)


BAD = {
    "sweeps": ({"sweeps": 0}, r"sweeps is 0; give a whole number, 1 or more"),
    "half a sweep": ({"sweeps": 0.5}, r"sweeps is 0.5; give a whole number, 1 or more"),
    "region": ({"region": -1}, r"region is -1; give a whole number, 1 or more"),
    "too large": ({"region": 9}, r"region is 9 sites of 8; give fewer, or None for all"),
    "one site": ({"region": 1}, r"a region of 1 site has nothing to swap: give 2 or more"),
    "move": ({"move": "hop"}, r"move 'hop' is not known: use 'swap' or 'flip'"),
    "flips": ({"move": "flip"}, r"the canonical ensemble fixes: use swaps"),
    "both": ({"region": 3, "inner": RandomSwap}, r"a region needs .*: leave out inner"),
}


@pytest.mark.parametrize("given", BAD)
def test_what_cannot_be_used_is_refused_in_one_line(given):
    system = toy("canonical", "binary")
    options, message = BAD[given]
    with pytest.raises(InputError, match=message) as refusal:
        SurrogateChain(system.table, system.ensemble, quadratic_part(system.model), **options)
    assert "\n" not in str(refusal.value)


def test_a_surrogate_of_another_lattice_is_refused():
    system, other = toy("canonical", "binary"), toy("canonical", "vacancies")
    with pytest.raises(InputError, match=r"lattice differs .*PairExpansion\.on moves"):
        SurrogateChain(system.table, system.ensemble, quadratic_part(other.model))


def test_a_surrogate_must_be_given_or_learnt():
    system = toy("canonical", "binary")
    kernel = SurrogateChain(system.table, system.ensemble)
    rngs = sampler.spawn_generators(1, 1)
    with pytest.raises(InputError, match=r"not learnt yet: give sample\(\.\.\., warmup=25\)"):
        kernel.step(kernel.init(system.table.states[:1], rngs), rngs)
