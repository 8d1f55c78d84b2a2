"""Streams, blocks of draws, warm-up and whole runs in memory."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alchemc import Canonical, Mixture, SemiGrandCanonical, sample, sampler, warm_up
from alchemc.errors import InputError
from alchemc.sampler import GibbsWithGradients, RandomFlip, RandomSwap
from toys import RandomHamiltonian, chain_lattice


@pytest.fixture
def kernel():
    lattice = chain_lattice((("Sc", "Ta"), 6))
    hamiltonian = RandomHamiltonian(lattice, seed=1, cubic=0.1)
    ensemble = Canonical(lattice, 2500.0)
    return Mixture(
        [(RandomSwap(hamiltonian, ensemble), 1), (GibbsWithGradients(hamiltonian, ensemble), 1)]
    )


@pytest.fixture
def starts():
    rng = np.random.default_rng(1)
    return np.array([rng.permutation([0, 0, 0, 1, 1, 1]) for _ in range(4)], dtype=np.int8)


@pytest.mark.parametrize("part", [1, 7, 300])
def test_kernels_with_nothing_to_tune_move_in_the_warm_up_too(part):
    """Swaps are tuned, flips are not: the composition must not wait for the first draw."""
    lattice = chain_lattice((("Sc", "Ta"), 6))
    hamiltonian = RandomHamiltonian(lattice, seed=1)
    ensemble = SemiGrandCanonical(lattice, 2500.0, {"Ta": 1.0})
    informed = GibbsWithGradients(hamiltonian, ensemble, move="swap")
    kernel = Mixture([(RandomFlip(hamiltonian, ensemble), 1), (informed, 1)])
    rngs = sampler.spawn_generators(1, 4)
    state = kernel.init(np.tile([1, 0, 0, 0, 0, 0], (4, 1)), rngs)
    seen = set()
    for _ in range(300 // part):
        kernel, state, report = warm_up(kernel, state, rngs, part)
        assert report.n_steps == part
        seen |= set(state.occupations.sum(axis=1).tolist())
    assert seen - {1}
    assert kernel.kernels[1].summary() != informed.summary()


def test_streams_are_the_children_of_the_seed_sequence_by_chain_index():
    children = np.random.SeedSequence(11).spawn(5)
    streams = sampler.spawn_generators(11, 5)
    for child, rng in zip(children, streams, strict=True):
        expected = np.random.Generator(np.random.PCG64(child)).random(3)
        np.testing.assert_array_equal(rng.random(3), expected)
    np.testing.assert_array_equal(
        sampler.spawn_generators(11, 2, first=3)[1].random(3),
        sampler.spawn_generators(11, 5)[4].random(3),
    )


def test_a_generator_survives_json_with_half_used_words():
    rng = sampler.spawn_generators(1, 1)[0]
    rng.integers(10, dtype=np.int32)
    again = sampler.restore_generator(json.loads(json.dumps(sampler.generator_state(rng))))
    assert [rng.integers(1000, dtype=np.int32) for _ in range(5)] == [
        again.integers(1000, dtype=np.int32) for _ in range(5)
    ]


def test_damaged_or_foreign_generator_states_are_refused():
    state = sampler.generator_state(sampler.spawn_generators(1, 1)[0])
    for broken in (
        {},
        state | {"bit_generator": "MT19937"},
        state | {"state": "x"},
        {k: v for k, v in state.items() if k != "inc"},
    ):
        with pytest.raises(InputError, match="generator state"):
            sampler.restore_generator(broken)
    with pytest.raises(InputError, match="MT19937"):
        sampler.generator_state(np.random.Generator(np.random.MT19937(1)))


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True])
def test_seeds_that_are_not_whole_numbers_are_refused(seed):
    with pytest.raises(InputError, match="seed"):
        sampler.spawn_generators(seed, 2)


def test_two_blocks_equal_one_of_twice_the_length(kernel, starts):
    rngs = sampler.spawn_generators(5, 4)
    state = kernel.init(starts, rngs)
    _, whole = sampler.draw_block(kernel, state, rngs, 10, thin=3)
    rngs = sampler.spawn_generators(5, 4)
    state, first = sampler.draw_block(kernel, state, rngs, 4, thin=3)
    rngs = [sampler.restore_generator(sampler.generator_state(rng)) for rng in rngs]
    _, second = sampler.draw_block(kernel, state, rngs, 6, thin=3)
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([first[name], second[name]]), whole[name])


def test_a_block_holds_every_thinth_state(kernel, starts):
    rngs = sampler.spawn_generators(5, 4)
    state = kernel.init(starts, rngs)
    _, every = sampler.draw_block(kernel, state, rngs, 12, thin=1)
    _, third = sampler.draw_block(kernel, state, sampler.spawn_generators(5, 4), 4, thin=3)
    np.testing.assert_array_equal(third["occupation"], every["occupation"][2::3])
    np.testing.assert_array_equal(third["energy"], every["energy"][2::3])
    for name in ("acceptance", "energy_calls", "gradient_calls"):
        grouped = every[name].reshape(4, 3, 4)
        expected = grouped.mean(axis=1) if name == "acceptance" else grouped.sum(axis=1)
        np.testing.assert_allclose(third[name], expected, rtol=1e-15)
    assert third["occupation"].dtype == np.uint8


def test_warm_up_reports_its_cost_and_the_quality_of_the_estimate(kernel, starts):
    rngs = sampler.spawn_generators(5, 4)
    frozen, state, report = warm_up(kernel, kernel.init(starts, rngs), rngs, 200)
    assert report.n_steps == 200
    assert 0.1 < report.acceptance < 1
    assert report.energy_calls + report.gradient_calls >= 800
    assert report.correlation > 0.3
    json.dumps(report._asdict())
    frozen.step(state, rngs)


def test_no_warm_up_is_a_warm_up_of_no_steps(kernel, starts):
    rngs = sampler.spawn_generators(5, 4)
    state = kernel.init(starts, rngs)
    same, after, report = warm_up(kernel, state, rngs, 0)
    assert same == kernel
    assert same.to_arrays() == kernel.to_arrays()
    assert after is state
    assert report.acceptance is None


class TunedSwap(RandomSwap):
    """Keeps what it was tuned by, to be seen by the test."""

    def tuned(self, infos):
        tuned = self.rebind()
        object.__setattr__(tuned, "seen", [*getattr(self, "seen", []), len(infos)])
        return tuned

    def to_arrays(self):
        return {"seen": getattr(self, "seen", [])}


def test_a_kernel_that_can_be_tuned_is_tuned_in_the_warm_up_by_every_step_and_then_frozen(
    kernel, starts
):
    tunable = TunedSwap(kernel.hamiltonian, kernel.ensemble)
    rngs = sampler.spawn_generators(5, 4)
    frozen, state, report = warm_up(tunable, tunable.init(starts, rngs), rngs, 30)
    assert frozen is not tunable
    assert report.parameters == {"seen": [25, 5]}
    sampler.draw_block(frozen, state, rngs, 5)
    assert frozen.to_arrays() == {"seen": [25, 5]}


def test_kernels_without_estimates_report_none(kernel, starts):
    plain = kernel.kernels[0]
    rngs = sampler.spawn_generators(5, 4)
    _, _, report = warm_up(plain, plain.init(starts, rngs), rngs, 20)
    assert report.slope is None
    assert report.correlation is None


def test_a_run_has_labelled_samples_after_the_warm_up(kernel, starts):
    run = sample(kernel, starts, n_steps=60, thin=3, warmup=15, seed=5)
    assert dict(run.samples.sizes) == {"draw": 20, "chain": 4, "site": 6}
    assert float(run.samples.temperature) == 2500.0
    assert run.hamiltonian() is kernel.hamiltonian
    assert run.config["seed"] == 5
    assert run.attrs["warm_up"]["n_steps"] == 15
    rngs = sampler.spawn_generators(5, 4)
    state = kernel.init(starts, rngs)
    kernel, state, _ = warm_up(kernel, state, rngs, 15)
    _, block = sampler.draw_block(kernel, state, rngs, 20, thin=3)
    np.testing.assert_array_equal(run.samples.occupation, block["occupation"])
    np.testing.assert_array_equal(run.samples.energy, block["energy"])


def test_a_single_start_serves_all_replicas(kernel, starts):
    run = sample(kernel, starts[0], n_steps=10, n_replicas=3, seed=1)
    assert run.samples.sizes["chain"] == 3
    assert sample(kernel, starts[0], n_steps=10).samples.sizes["chain"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_steps": 10, "thin": 3}, "multiple of thin"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_steps": 2.5}, "n_steps"),
        ({"n_steps": 10, "thin": 0}, "thin"),
        ({"n_steps": 10, "warmup": -1}, "warm-up"),
        ({"n_steps": 10, "n_replicas": 3}, "n_replicas"),
        ({"n_steps": 10, "seed": -1}, "seed"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(kernel, starts, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        sample(kernel, starts, **arguments)
    assert "\n" not in str(error.value)


def test_canonical_chains_of_different_composition_are_refused(kernel, starts):
    starts = starts.copy()
    starts[2] = [0, 1, 1, 1, 1, 1]
    with pytest.raises(InputError, match="start 2"):
        sample(kernel, starts, n_steps=10)
