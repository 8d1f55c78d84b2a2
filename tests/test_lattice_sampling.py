"""Compiled blocks and flips visit states as often as exact enumeration says.

False alarms: each χ² test refuses at p < 1e-4 and each z-score at 4 standard errors; the seeds are
fixed. Power: the same tests refuse every mutant at p < 1e-6, or beyond 4 standard errors.
"""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time
import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from ase import Atoms, units
from icet import ClusterExpansion as IcetExpansion
from icet import ClusterSpace
from scipy.optimize import brentq
from scipy.stats import chi2

from alchemc import (
    Canonical,
    ClusterExpansion,
    PairHamiltonian,
    RandomFlip,
    RandomSwap,
    SemiGrandCanonical,
    analysis,
    builders,
    sample,
    sampler,
    statistics,
)
from alchemc.errors import InputError
from alchemc.potentials import lattice_hamiltonian
from alchemc.protocols import Kernel
from exactness import _chi_square
from mutants import (
    ForgetsToSkipTheOldSpecies,
    PrefersHighSpecies,
    SwapOfStrangers,
    half_the_strength,
    wrong_pair_table,
    wrong_sign_of_mu,
)
from toys import (
    RandomHamiltonian,
    any_occupations,
    chain_lattice,
    couplings_between,
    square_lattice,
)

TEMPERATURE = 1000.0


def pairs(lattice, n_shells, *, field=False):
    names = lattice.names
    couplings = {
        (one, other): couplings_between(lattice, one, other, n_shells, seed=n + 1)
        for n, (one, other) in enumerate((a, b) for i, a in enumerate(names) for b in names[i:])
    }
    onsite = None
    if field:
        onsite = 0.05 * np.random.default_rng(3).normal(size=lattice.allowed.shape)
    return PairHamiltonian(lattice, couplings, onsite=onsite, threads=1)


def expansion(lattice, species, cutoffs):
    primitive = Atoms("Ti", positions=[[2.0] * 3], cell=[4.0] * 3, pbc=True)
    space = ClusterSpace(primitive, cutoffs, list(species))
    parameters = 0.1 * np.random.default_rng(5).normal(size=len(space))
    return ClusterExpansion.from_icet(IcetExpansion(space, parameters), lattice, threads=1)


def cubic(*size, species=("Sc", "Ta")):
    return builders.perovskite("Pb", species, "O", a=4.0, size=size)


def two_sublattices():
    return builders.perovskite(("Sr", "La"), ("Al", "Sc", "Ta"), "O", a=4.0, size=(2, 2, 1))


THREE = ("Al", "Sc", "Ta")
SYSTEMS = {
    "pairs of two species": lambda: pairs(cubic(2, 2, 2), 2),
    "pairs and a field of two species": lambda: pairs(cubic(2, 2, 2), 3, field=True),
    "pairs of three species": lambda: pairs(cubic(3, 2, 1, species=THREE), 3),
    "pairs and a field on two sublattices": lambda: pairs(two_sublattices(), 2, field=True),
    "pairs of two species, more than 64 neighbours": lambda: pairs(cubic(4, 2, 1), 7),
    "triplets of two species": lambda: expansion(cubic(2, 2, 2), ("Sc", "Ta"), [6.0, 6.0]),
    "triplets of three species": lambda: expansion(cubic(3, 2, 1, species=THREE), THREE, [6.0] * 2),
}


@cache
def system(name):
    hamiltonian = SYSTEMS[name]()
    return hamiltonian, hamiltonian.lattice.enumerate()


def potentials(lattice):
    rng = np.random.default_rng(11)
    return {
        name: {s: float(0.08 * rng.normal()) for s in sublattice.species}
        for name, sublattice in lattice.sublattices.items()
    }


def semi_grand(hamiltonian, temperature=TEMPERATURE):
    return SemiGrandCanonical(hamiltonian.lattice, temperature, potentials(hamiltonian.lattice))


def temperature_of(energies):
    """Temperature (K) at which the exact distribution spreads over a third of the states."""

    def excess(log_t):
        p = np.exp(-(energies - energies.min()) / (units.kB * np.exp(log_t)))
        p /= p.sum()
        return -(p * np.log(np.maximum(p, 1e-300))).sum() - np.log(len(p) / 3)

    return float(np.exp(brentq(excess, np.log(1.0), np.log(1e7), xtol=1e-6)))


class Target(NamedTuple):
    hamiltonian: Any
    ensemble: Any
    states: np.ndarray
    log_weights: np.ndarray


@cache
def fixed(name):
    """All states of one composition and their canonical weights."""
    hamiltonian, states = system(name)
    states = fixed_counts(hamiltonian.lattice, states)
    energies = hamiltonian.energy(states)
    ensemble = Canonical(hamiltonian.lattice, temperature_of(energies))
    return Target(hamiltonian, ensemble, states, ensemble.log_density(energies, states))


@cache
def opened(name):
    """All states and their semi-grand weights."""
    hamiltonian, states = system(name)
    energies = hamiltonian.energy(states)
    ensemble = semi_grand(hamiltonian, temperature_of(energies))
    return Target(hamiltonian, ensemble, states, ensemble.log_density(energies, states))


def fixed_counts(lattice, states):
    """States with the counts of a fixed one, near equal shares."""
    counts = lattice.counts(states).reshape(len(states), -1)
    sizes = np.asarray(lattice.allowed).sum(axis=1)
    share = lattice.counts((np.arange(lattice.n_sites) % sizes)[None].astype(np.int8)).ravel()
    return states[(counts == share).all(axis=1)]


class Verdict(NamedTuple):
    p_value: float
    moved: float
    compiled: bool


def verdict(kernel: Kernel, states, log_weights, *, draws=8000, steps=24, seed=0) -> Verdict:
    """Run one chain per draw from the exact distribution; χ² of the ends against it.

    An exact kernel leaves the distribution as it is, so the ends are independent draws from it.
    """
    p = np.exp(log_weights - log_weights.max())
    p /= p.sum()
    rng = np.random.default_rng([seed, 1])
    starts = rng.choice(len(p), size=draws, p=p)
    rngs = sampler.spawn_generators(seed, draws)
    state = kernel.init(states[starts], rngs)
    compiled = kernel.compiled_block(state, rngs, 1, 1) is not None
    _, block = sampler.draw_block(kernel, state, rngs, 1, steps)
    radix = 8 ** np.arange(states.shape[1])
    keys = states.astype(np.int64) @ radix
    order = np.argsort(keys)
    found = np.searchsorted(keys[order], block["occupation"][0].astype(np.int64) @ radix)
    ends = order[found]
    statistic, dof = _chi_square(np.bincount(ends, minlength=len(p)), p)
    return Verdict(float(chi2.sf(statistic, dof)), float((ends != starts).mean()), compiled)


@pytest.fixture
def no_steps(monkeypatch):
    """Steps outside compiled code fail."""
    for kernel in (RandomSwap, RandomFlip):
        monkeypatch.setattr(kernel, "step", None)


@pytest.mark.usefixtures("no_steps")
@pytest.mark.parametrize("name", SYSTEMS)
def test_compiled_swaps_visit_states_with_their_exact_probability(name):
    hamiltonian, ensemble, *exact = fixed(name)
    result = verdict(RandomSwap(hamiltonian, ensemble), *exact)
    assert result.compiled
    assert result.p_value > 1e-4, result
    assert result.moved > 0.5, result


@pytest.mark.usefixtures("no_steps")
@pytest.mark.parametrize("name", SYSTEMS)
def test_compiled_flips_visit_states_with_their_exact_probability(name):
    hamiltonian, ensemble, *exact = opened(name)
    result = verdict(RandomFlip(hamiltonian, ensemble), *exact)
    assert result.compiled
    assert result.p_value > 1e-4, result
    assert result.moved > 0.5, result


class StepsOnly:
    """The same energy model without compiled blocks."""

    def __init__(self, hamiltonian):
        self.lattice = hamiltonian.lattice
        self.energy = hamiltonian.energy


@pytest.mark.parametrize("name", ["pairs of three species", "pairs and a field on two sublattices"])
def test_single_flips_visit_states_with_their_exact_probability(name):
    hamiltonian, ensemble, *exact = opened(name)
    result = verdict(RandomFlip(StepsOnly(hamiltonian), ensemble), *exact, draws=3000)
    assert not result.compiled
    assert result.p_value > 1e-4, result
    assert result.moved > 0.5, result


def test_flips_work_with_any_energy_model():
    hamiltonian = RandomHamiltonian(chain_lattice((THREE, 3), (("Sr", "La"), 2)), 1, cubic=0.1)
    states = hamiltonian.lattice.enumerate()
    ensemble = semi_grand(hamiltonian)
    log_weights = ensemble.log_density(hamiltonian.energy(states), states)
    result = verdict(RandomFlip(hamiltonian, ensemble), states, log_weights, draws=3000)
    assert not result.compiled
    assert result.p_value > 1e-4, result


@pytest.mark.parametrize("name", ["pairs of two species", "pairs of three species"])
def test_swaps_in_the_semi_grand_ensemble_keep_the_composition(name):
    hamiltonian, canonical, *exact = fixed(name)
    ensemble = semi_grand(hamiltonian, canonical.temperature)
    result = verdict(RandomSwap(hamiltonian, ensemble), *exact)
    assert result.compiled
    assert result.p_value > 1e-4, result


# ---- mutants ---------------------------------------------------------------------------------

BROKEN_FLIPS = {
    "wrong sign of mu": lambda h, e: RandomFlip(h, wrong_sign_of_mu(e)),
    "the old species drawn as a new one": ForgetsToSkipTheOldSpecies,
    "high species preferred": PrefersHighSpecies,
    "pairs count half": lambda h, e: RandomFlip(half_the_strength(h), e),
    "couplings in another order": lambda h, e: RandomFlip(wrong_pair_table(h), e),
}

BROKEN_SWAPS = {
    "neighbours swapped as strangers": SwapOfStrangers,
    "pairs count half": lambda h, e: RandomSwap(half_the_strength(h), e),
    "couplings in another order": lambda h, e: RandomSwap(wrong_pair_table(h), e),
}


@pytest.mark.parametrize("mutant", BROKEN_FLIPS)
def test_a_broken_flip_is_rejected(mutant):
    hamiltonian, ensemble, *exact = opened("pairs of three species")
    kernel = BROKEN_FLIPS[mutant](hamiltonian, ensemble)
    result = verdict(kernel, *exact)
    assert result.compiled is (type(kernel) is RandomFlip)
    assert result.p_value < 1e-6, result


@pytest.mark.parametrize("mutant", BROKEN_SWAPS)
def test_a_broken_swap_is_rejected(mutant):
    hamiltonian, ensemble, *exact = fixed("pairs of three species")
    kernel = BROKEN_SWAPS[mutant](hamiltonian, ensemble)
    result = verdict(kernel, *exact, draws=4000)
    assert result.compiled is (type(kernel) is RandomSwap)
    assert result.p_value < 1e-6, result


class OtherWeight(SemiGrandCanonical):
    """A user's ensemble with a weight of its own."""

    def log_density(self, energy, occupations, volume=None):
        return np.zeros(len(occupations))


def test_kernels_and_ensembles_of_the_users_own_do_not_take_the_compiled_path():
    hamiltonian, states = system("pairs of two species")
    rngs = sampler.spawn_generators(1, 1)
    own = OtherWeight(hamiltonian.lattice, TEMPERATURE, {})
    for kernel in (
        ForgetsToSkipTheOldSpecies(hamiltonian, semi_grand(hamiltonian)),
        RandomFlip(hamiltonian, own),
        RandomSwap(hamiltonian, own),
        SwapOfStrangers(hamiltonian, Canonical(hamiltonian.lattice, TEMPERATURE)),
    ):
        state = kernel.init(states[100:101], rngs)
        assert kernel.compiled_block(state, rngs, 1, 1) is None


# ---- the two-dimensional Ising model -----------------------------------------------------------

J = 0.05
CRITICAL = 2 * J / np.log(1 + np.sqrt(2)) / units.kB  # L. Onsager, Phys. Rev. 65, 117 (1944)
REDUCED = (0.8, 0.95, 1.0, 1.05, 1.3)


@cache
def ising():
    lattice = square_lattice(4)
    hamiltonian = PairHamiltonian(lattice, [J * np.array([[-1, 1], [1, -1]])], threads=1)
    energies = hamiltonian.energy(lattice.enumerate())
    return hamiltonian, np.unique(np.round(energies / J).astype(int), return_counts=True)


def test_the_levels_of_the_ising_model_are_the_known_ones():
    """E/J of the periodic 4 × 4 lattice: 2 ground states at −32, 32 with one spin turned …"""
    _, (levels, counts) = ising()
    assert levels.tolist() == [-32, *range(-24, 25, 4), 32]
    assert counts.tolist() == [
        2, 32, 64, 424, 1728, 6688, 13568, 20524, 13568, 6688, 1728, 424, 64, 32, 2,
    ]  # fmt: skip


def z_scores(hamiltonian, reduced, seed):
    """Deviation of the mean energy and of the heat capacity, in units of their errors."""
    temperature = reduced * CRITICAL
    _, (levels, counts) = ising()
    weights = counts * np.exp(-J * (levels - levels.min()) / (units.kB * temperature))
    weights = weights / weights.sum()
    mean = J * (weights * levels).sum()
    variance = (weights * (J * levels - mean) ** 2).sum()
    ensemble = SemiGrandCanonical(hamiltonian.lattice, temperature, {})
    rngs = sampler.spawn_generators(seed, 8)
    kernel = RandomFlip(hamiltonian, ensemble)
    state = kernel.init(any_occupations(hamiltonian.lattice, 8, seed=4), rngs)
    kernel, state, _ = sampler.warm_up(kernel, state, rngs, 2000)
    _, block = sampler.draw_block(kernel, state, rngs, 5000, 16)
    occupations = block["occupation"].reshape(-1, 16).astype(np.int8)
    energies = hamiltonian.energy(occupations).reshape(5000, 8)
    energy = statistics.summary(energies)
    capacity = analysis.heat_capacity(energies, temperature)
    exact = variance / (units.kB * temperature**2)
    return (energy.mean - mean) / energy.error, (capacity.mean - exact) / capacity.error


@pytest.mark.parametrize(("seed", "reduced"), enumerate(REDUCED))
def test_energy_and_heat_capacity_of_the_ising_model_are_those_of_the_enumeration(seed, reduced):
    hamiltonian, _ = ising()
    energy, capacity = z_scores(hamiltonian, reduced, seed)
    assert abs(energy) < 4, (energy, capacity)
    assert abs(capacity) < 4, (energy, capacity)


@pytest.mark.parametrize("reduced", [0.95, 1.3])
def test_an_ising_model_with_a_factor_missing_is_rejected(reduced):
    hamiltonian, _ = ising()
    energy, capacity = z_scores(half_the_strength(hamiltonian), reduced, seed=1)
    assert abs(energy) > 6, (energy, capacity)
    assert abs(capacity) > 6, (energy, capacity)


# ---- reproducibility ---------------------------------------------------------------------------


def kernels(hamiltonian):
    lattice = hamiltonian.lattice
    return {
        "swaps": RandomSwap(hamiltonian, Canonical(lattice, TEMPERATURE)),
        "flips": RandomFlip(hamiltonian, semi_grand(hamiltonian)),
    }


REPRODUCED = [
    "pairs and a field of two species",
    "pairs of three species",
    "pairs and a field on two sublattices",
]
KINDS = ["swaps", "flips"]


def mixed_starts(lattice, n_chains, seed=0):
    starts = fixed_counts(lattice, lattice.enumerate())
    return starts[np.random.default_rng(seed).integers(len(starts), size=n_chains)]


def assert_equal(one, other):
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REPRODUCED)
def test_a_block_does_not_depend_on_the_number_of_threads(name, kind):
    hamiltonian, _ = system(name)
    starts = mixed_starts(hamiltonian.lattice, 6)
    blocks = []
    for threads in (1, 2):
        again = copy.copy(hamiltonian)
        again.threads = threads
        kernel, rngs = kernels(again)[kind], sampler.spawn_generators(5, 6)
        blocks.append(sampler.draw_block(kernel, kernel.init(starts, rngs), rngs, 50, 20)[1])
    assert_equal(*blocks)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REPRODUCED)
def test_two_blocks_equal_one_of_twice_the_length(name, kind):
    hamiltonian, _ = system(name)
    kernel = kernels(hamiltonian)[kind]
    starts = mixed_starts(hamiltonian.lattice, 3)
    rngs = sampler.spawn_generators(6, 3)
    _, whole = sampler.draw_block(kernel, kernel.init(starts, rngs), rngs, 40, 7)
    rngs = sampler.spawn_generators(6, 3)
    state, first = sampler.draw_block(kernel, kernel.init(starts, rngs), rngs, 20, 7)
    stored = [sampler.generator_state(rng) for rng in rngs]
    rngs = [sampler.restore_generator(s) for s in stored]
    _, second = sampler.draw_block(kernel, state, rngs, 20, 7)
    assert_equal(whole, {k: np.concatenate([first[k], second[k]]) for k in first})


@pytest.mark.parametrize("steps", [3, 20, 150])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REPRODUCED)
def test_looks_at_the_interpreter_change_nothing(monkeypatch, name, kind, steps):
    hamiltonian, _ = system(name)
    kernel, starts = kernels(hamiltonian)[kind], mixed_starts(hamiltonian.lattice, 2)
    blocks, ends = [], []
    for looks in (lattice_hamiltonian.STEPS_BETWEEN_LOOKS, steps):
        monkeypatch.setattr(lattice_hamiltonian, "STEPS_BETWEEN_LOOKS", looks)
        rngs = sampler.spawn_generators(9, 2)
        blocks.append(sampler.draw_block(kernel, kernel.init(starts, rngs), rngs, 12, 20)[1])
        ends.append([rng.random() for rng in rngs])
    assert_equal(*blocks)
    assert ends[0] == ends[1]


@pytest.fixture
def interruptible():
    """Ctrl-C raises, even where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_a_long_draw_and_all_its_threads(kind, threads):
    hamiltonian = copy.copy(system("pairs of two species")[0])
    hamiltonian.threads = threads
    kernel, rngs = kernels(hamiltonian)[kind], sampler.spawn_generators(10, 2)
    state = kernel.init(mixed_starts(hamiltonian.lattice, 2), rngs)
    state, _ = sampler.draw_block(kernel, state, rngs, 1)  # compiled
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sampler.draw_block(kernel, state, rngs, 2, 400_000_000)  # half a minute
    sampler.draw_block(kernel, state, rngs, 1)  # waits for threads that are still busy
    assert time.monotonic() - begin < 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_does_not_depend_on_those_beside_it(kind):
    hamiltonian, _ = system("pairs and a field on two sublattices")
    kernel = kernels(hamiltonian)[kind]
    starts = mixed_starts(hamiltonian.lattice, 5)
    rngs = sampler.spawn_generators(7, 5)
    _, together = sampler.draw_block(kernel, kernel.init(starts, rngs), rngs, 30, 5)
    rngs = sampler.spawn_generators(7, 1, first=3)
    _, alone = sampler.draw_block(kernel, kernel.init(starts[3:4], rngs), rngs, 30, 5)
    assert_equal({name: values[:, 3:4] for name, values in together.items()}, alone)
    assert (together["occupation"][-1] != together["occupation"][0]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_leaves_its_start_alone_and_reports_what_it_did(kind):
    hamiltonian, _ = system("pairs of three species")
    kernel = kernels(hamiltonian)[kind]
    rngs = sampler.spawn_generators(8, 4)
    state = kernel.init(mixed_starts(hamiltonian.lattice, 4), rngs)
    before = copy.deepcopy(state)
    after, block = sampler.draw_block(kernel, state, rngs, 25, 10)
    np.testing.assert_array_equal(state.occupations, before.occupations)
    np.testing.assert_array_equal(state.energy, before.energy)
    assert block["occupation"].dtype == np.uint8
    assert block["occupation"].shape == (25, 4, hamiltonian.lattice.n_sites)
    np.testing.assert_array_equal(after.occupations, block["occupation"][-1])
    np.testing.assert_array_equal(after.energy, block["energy"][-1])
    fresh = [hamiltonian.energy(o.astype(np.int8)) for o in block["occupation"]]
    np.testing.assert_allclose(block["energy"], fresh, rtol=0, atol=1e-12)
    assert ((block["acceptance"] > 0) & (block["acceptance"] <= 1)).any()
    assert (block["energy_calls"] == 10).all()
    assert (block["gradient_calls"] == 0).all()
    counts = hamiltonian.lattice.counts(block["occupation"].reshape(100, -1).astype(np.int8))
    assert (counts == counts[0]).all() == (kind == "swaps")


def test_a_run_records_the_drift_and_the_warm_up():
    hamiltonian, _ = system("pairs of two species")
    kernel = kernels(hamiltonian)["swaps"]
    start = mixed_starts(hamiltonian.lattice, 1)[0]
    run = sample(kernel, start, n_steps=40_000, n_replicas=2, thin=100, warmup=500, seed=3)
    assert 0 <= run.attrs["drift"] < 1e-12
    assert run.attrs["warm_up"]["n_steps"] == 500
    assert run.attrs["warm_up"]["energy_calls"] == 1000
    assert 0 < run.attrs["warm_up"]["acceptance"] < 1
    fresh = hamiltonian.energy(run.samples["occupation"].values[:, 0].astype(np.int8))
    np.testing.assert_allclose(run.samples["energy"].values[:, 0], fresh, atol=1e-10)


BAD_BLOCKS = {
    "a species too many": (lambda a: a | {"occupations": a["occupations"] + 5}, "species"),
    "a site too few": (lambda a: a | {"occupations": a["occupations"][:, 1:]}, r"shape \(2, 7\)"),
    "an energy too few": (lambda a: a | {"energies": a["energies"][:1]}, r"of shape \(1,\)"),
    "a generator too few": (lambda a: a | {"rngs": a["rngs"][:1]}, "1 generators; give one"),
    "a generator twice": (lambda a: a | {"rngs": a["rngs"][:1] * 2}, "share a generator"),
    "no temperature": (lambda a: a | {"beta": np.nan}, "beta is nan; give a finite number"),
    "no draws": (lambda a: a | {"n_draws": 0}, "n_draws is 0; give a whole number"),
    "half a step": (lambda a: a | {"thin": 0.5}, "thin is 0.5; give a whole number"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_bad_input_does_not_reach_compiled_code(name, kind):
    hamiltonian, _ = system("pairs of two species")
    starts = mixed_starts(hamiltonian.lattice, 2)
    arguments = {
        "occupations": starts,
        "energies": hamiltonian.energy(starts),
        "rngs": sampler.spawn_generators(1, 2),
        "beta": 1.0,
        "n_draws": 2,
        "thin": 3,
    }
    change, message = BAD_BLOCKS[name]
    run = hamiltonian.run_swaps
    if kind == "flips":
        run, arguments["potentials"] = hamiltonian.run_flips, np.zeros((1, 2))
    with pytest.raises(InputError, match=message) as error:
        run(**change(arguments))
    assert "\n" not in str(error.value)


def test_swaps_of_one_species_are_refused():
    hamiltonian, _ = system("pairs of two species")
    kernel = RandomSwap(hamiltonian, semi_grand(hamiltonian))
    with pytest.raises(InputError, match="one species per sublattice, so there is nothing to"):
        sample(kernel, np.zeros(8, int), n_steps=10, n_replicas=1)


# ---- flips and the semi-grand ensemble -----------------------------------------------------------


def test_flips_in_the_canonical_ensemble_are_refused():
    hamiltonian, _ = system("pairs of two species")
    with pytest.raises(InputError, match="use RandomSwap, or SemiGrandCanonical") as error:
        RandomFlip(hamiltonian, Canonical(hamiltonian.lattice, 300.0))
    assert "\n" not in str(error.value)


def test_flips_need_a_site_of_two_species():
    hamiltonian = RandomHamiltonian(chain_lattice((("Sc",), 3)), seed=1)
    with pytest.raises(InputError, match="no site may hold two species"):
        RandomFlip(hamiltonian, SemiGrandCanonical(hamiltonian.lattice, 300.0, {}))


def test_a_flip_kernel_obeys_the_protocol():
    hamiltonian, states = system("pairs of two species")
    kernel = kernels(hamiltonian)["flips"]
    assert isinstance(kernel, Kernel)
    assert kernel.with_arrays(kernel.to_arrays()) is kernel
    colder = kernel.rebind(ensemble=kernel.ensemble.with_temperature(500.0))
    assert colder.ensemble.temperature == 500.0
    assert colder.hamiltonian is hamiltonian
    rngs = sampler.spawn_generators(1, 1)
    state = kernel.init(states[:1], rngs)
    stronger = PairHamiltonian(hamiltonian.lattice, [np.eye(2)])
    rebound, fresh = kernel.refresh(state, stronger)
    assert rebound.hamiltonian is stronger
    np.testing.assert_array_equal(fresh.energy, stronger.energy(states[:1]))
    after, info = kernel.step(state, rngs)
    assert info.energy_calls.tolist() == [1]
    assert (after.occupations != state.occupations).sum() == info.accepted.sum()


def test_the_semi_grand_weight_is_the_formula():
    lattice = two_sublattices()
    mu = {"A": {"Sr": 0.1, "La": -0.2}, "B": {"Sc": 0.3}}
    ensemble = SemiGrandCanonical(lattice, 800.0, mu)
    occupations = any_occupations(lattice, 10, seed=1)
    energy = np.random.default_rng(2).normal(size=10)
    beta = 1 / (units.kB * 800.0)
    by_hand = [
        -beta * (e - sum(mu[lattice.names[s]].get(species, 0.0)
            for s, species in zip(lattice.sublattice_of_site, names, strict=True)))
        for e, names in zip(energy, ([lattice.species_of(i)[k] for i, k in enumerate(o)]
            for o in occupations), strict=True)
    ]  # fmt: skip
    assert ensemble.beta == pytest.approx(beta)
    np.testing.assert_allclose(ensemble.log_density(energy, occupations), by_hand)


def test_the_semi_grand_gradient_is_that_of_its_weight():
    hamiltonian, _ = system("pairs and a field on two sublattices")
    ensemble = semi_grand(hamiltonian)
    occupations = any_occupations(hamiltonian.lattice, 2, seed=1)
    energy, gradient = hamiltonian.energy_and_gradient(occupations)
    slopes = ensemble.log_density_gradient(gradient, occupations)
    before = ensemble.log_density(energy, occupations)
    for site, species in np.argwhere(hamiltonian.lattice.allowed):
        flipped = occupations.copy()
        flipped[:, site] = species
        change = ensemble.log_density(hamiltonian.energy(flipped), flipped) - before
        step = slopes[[0, 1], site, species] - slopes[[0, 1], site, occupations[:, site]]
        np.testing.assert_allclose(step, change, atol=1e-9)
    assert (slopes[:, ~np.asarray(hamiltonian.lattice.allowed)] == 0).all()


def test_only_differences_of_chemical_potentials_matter():
    lattice = cubic(2, 2, 2)
    one = SemiGrandCanonical(lattice, 800.0, {"Sc": 0.1, "Ta": 0.4})
    other = SemiGrandCanonical(lattice, 800.0, {"B": {"Ta": 0.3}})
    occupations = any_occupations(lattice, 10, seed=1)
    difference = np.subtract(*(e.log_density(np.zeros(10), occupations) for e in (one, other)))
    np.testing.assert_allclose(difference, difference[0])
    assert one != other


def test_a_semi_grand_ensemble_can_be_compared_hashed_and_pickled():
    lattice = cubic(2, 2, 2)
    ensemble = SemiGrandCanonical(lattice, 800.0, {"Ta": 0.3})
    same = SemiGrandCanonical(lattice, 800, {"B": {"Sc": -0.0, "Ta": 0.3}})
    assert ensemble == same
    assert hash(ensemble) == hash(same)
    for again in (pickle.loads(pickle.dumps(ensemble)), copy.deepcopy(ensemble)):  # noqa: S301
        assert again == ensemble
        assert hash(again) == hash(ensemble)
        assert again.chemical_potentials["B"]["Ta"] == 0.3
    assert ensemble != SemiGrandCanonical(lattice, 800.0, {"Ta": 0.2})
    assert ensemble != ensemble.with_temperature(900.0)
    assert ensemble != Canonical(lattice, 800.0)
    with pytest.raises(ValueError, match="read-only"):
        ensemble.potentials[0, 0] = 1.0
    with pytest.raises(TypeError):
        ensemble.chemical_potentials["B"]["Ta"] = 1.0


def test_another_temperature_keeps_the_chemical_potentials():
    lattice = cubic(2, 2, 2)
    ensemble = SemiGrandCanonical(lattice, 800.0, {"Ta": 0.3})
    hotter = ensemble.with_temperature(1600.0)
    assert hotter.temperature == 1600.0
    assert hotter.lattice is lattice
    np.testing.assert_array_equal(hotter.potentials, ensemble.potentials)


def test_species_of_different_charge_are_warned_of_once():
    lattice = builders.perovskite(
        "Pb", ("Sc", "Ta"), "O", a=4.0, charges={"Sc": 3, "Ta": 5},
        spectator_charges={"Pb": 2, "O": -2},
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"sublattice B .* charge \(Sc \+3, Ta \+5\)") as caught:
        ensemble = SemiGrandCanonical(lattice, 800.0, {})
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ensemble.with_temperature(900.0)
        pickle.loads(pickle.dumps(ensemble))  # noqa: S301
        SemiGrandCanonical(cubic(1, 1, 1), 800.0, {})


def test_an_ideal_mixture_has_the_composition_of_its_closed_form():
    lattice = builders.perovskite(("Sr", "La"), THREE, "O", a=4.0, size=(6, 6, 6))
    free = PairHamiltonian(lattice, {}, threads=1)
    mu = {"A": {"La": 0.1}, "B": {"Al": -0.05, "Ta": 0.12}}
    ensemble = SemiGrandCanonical(lattice, 900.0, mu)
    starts = np.zeros((4, lattice.n_sites), int)
    run = sample(
        RandomFlip(free, ensemble), starts, n_steps=2_000_000, thin=4000, warmup=20_000, seed=2
    )
    occupations = run.samples["occupation"].values
    counts = lattice.counts(occupations.reshape(-1, lattice.n_sites).astype(np.int8))
    counts = counts.reshape(*occupations.shape[:2], 2, 3)
    for s, name in enumerate(lattice.names):
        species = lattice.sublattices[name].species
        weights = np.exp([ensemble.beta * mu[name].get(k, 0.0) for k in species])
        for k, share in enumerate(weights / weights.sum()):
            result = statistics.summary(counts[:, :, s, k] / 216)
            assert abs(result.mean - share) < 4 * result.error
            assert result.error < 1e-3


BAD_ENSEMBLES = {
    "no mapping": (3.0, "chemical_potentials are 3.0; give eV by sublattice and species"),
    "unknown sublattice": ({"C": {"Sc": 0.1}}, "no sublattice 'C'; there are A, B"),
    "unknown species": ({"B": {"Nb": 0.1}}, "B holds Al, Sc, Ta, not 'Nb'"),
    "sublattice left out": ({"Sc": 0.1}, "no sublattice 'Sc'; there are A, B"),
    "a number for a sublattice": ({"B": 0.1}, "of B are 0.1; give eV by species"),
    "nan": ({"B": {"Sc": float("nan")}}, "of Sc on B is nan; give a finite number in eV"),
    "infinite": ({"B": {"Sc": float("-inf")}}, "of Sc on B is -inf; give a finite number"),
    "a word": ({"B": {"Sc": "0.1"}}, "of Sc on B is '0.1'; give a finite number in eV"),
    "a bool": ({"B": {"Sc": True}}, "of Sc on B is True; give a finite number in eV"),
}


@pytest.mark.parametrize("name", BAD_ENSEMBLES)
def test_bad_chemical_potentials_are_named_in_one_line(name):
    given, message = BAD_ENSEMBLES[name]
    with pytest.raises(InputError, match=message) as error:
        SemiGrandCanonical(two_sublattices(), 300.0, given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("temperature", [0.0, float("nan"), "300"])
def test_a_bad_temperature_of_the_semi_grand_ensemble_is_named(temperature):
    with pytest.raises(InputError, match=f"temperature.*{temperature!r}"):
        SemiGrandCanonical(cubic(1, 1, 1), temperature, {})
