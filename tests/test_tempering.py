"""Replica exchange: every rung's law is exact, and all rungs cost one batched call.

False alarms: 34 ladders of three rungs, each rung refused at p < 1e-4 with fixed seeds: a new set
of seeds would raise an alarm in one run out of 100. Power: as many draws refuse every broken ladder
at p < 1e-6; the largest of their p is 1e-60. Round trips, rates and energies are compared with
theory at four standard errors as reported (seven comparisons: one run out of 2,000).
"""

from __future__ import annotations

import copy
import json
import runpy
import signal
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import chi2

from alchemc import (
    AlchemicalMACE,
    Canonical,
    GibbsWithGradients,
    Mixture,
    PairHamiltonian,
    PathAuxiliary,
    RandomFlip,
    RandomSwap,
    SemiGrandCanonical,
    SurrogateChain,
    Tempering,
    analysis,
    builders,
    sample,
    sampler,
)
from alchemc.campaign.engine import _joined, _split
from alchemc.ensembles import HMC, HybridMD, Langevin, VarianceConstrained, WithPositions
from alchemc.errors import InputError, ModelError
from alchemc.protocols import Info, Kernel, State
from alchemc.tuning import summary_of
from exactness import _chi_square, probabilities
from mutants import (
    ExchangesUpsideDown,
    ExchangesWhateverTheDensities,
    TunesItsTurns,
    TurnOfTheState,
)
from test_every_kernel import CASES, KERNELS, Counting, same, system
from test_hybrid import SPRINGS
from toy_crystal import ToyCrystal, ring
from toys import CANONICAL_TOYS, RandomHamiltonian, bundled_table, chain_lattice, toy

EXAMPLE = Path(__file__).parents[1] / "examples" / "tempering.py"

pytestmark = pytest.mark.filterwarnings("ignore:sublattice .* exchanges species of different")


def ladder_of(kernel, n_rungs=3):
    """Ladder over μ of a species in the semi-grand ensemble, over temperatures in others."""
    law = kernel.ensemble
    if not isinstance(law, SemiGrandCanonical):
        return Tempering(kernel, temperatures=law.temperature * np.geomspace(1.0, 3.0, n_rungs))
    name, values = next(iter(law.chemical_potentials.items()))
    species = list(values)[-1]
    mu = values[species] + np.linspace(-1.0, 1.0, n_rungs) / law.beta
    return Tempering(kernel, chemical_potentials={name: {species: mu}})


def p_values(ladder, table, *, chains=2_000, steps=4, seed=0):
    """Return p of χ² of every rung, and the share of replicas that ended at another rung.

    Every chain starts at an independent draw from the product of the rungs' exact laws and takes a
    few steps; an exact ladder leaves that product as it is.
    """
    laws = [probabilities(ensemble, table) for ensemble in ladder.ensembles]
    rng = np.random.default_rng([seed, 1])
    starts = np.stack([rng.choice(len(p), size=chains, p=p) for p in laws], axis=1)
    rngs = sampler.spawn_generators(seed, starts.size)
    state = ladder.init(table.states[starts.ravel()], rngs)
    for _ in range(steps):
        state, _ = ladder.step(state, rngs)
    ends = table.index(state.occupations).reshape(starts.shape)
    found = [
        _chi_square(np.bincount(e, minlength=len(p)), p) for e, p in zip(ends.T, laws, strict=True)
    ]
    moved = state.walker.reshape(starts.shape) != np.arange(ladder.n_rungs)
    return [float(chi2.sf(*one)) for one in found], float(moved.mean())


def report(record_property, name, values):
    print(f"{name}: {values}")
    record_property(name, values)


# ---- exactness -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "law"), [case for case in CASES if case[1] in ("canonical", "semi-grand")]
)
def test_every_kernel_samples_every_rungs_law_of_the_potential(kernel, law, record_property):
    built = KERNELS[kernel].build(system(law, "bundled MACE"))
    chains = 1_000 if "surrogate" in kernel else 2_000
    p, moved = p_values(ladder_of(built), built.hamiltonian, chains=chains)
    report(record_property, "p", p)
    assert min(p) > 1e-4
    assert moved > 0.3


@pytest.mark.parametrize("name", ["vacancies", "two sublattices"])
@pytest.mark.parametrize(
    ("kernel", "law"),
    [
        ("random swaps", "canonical"),
        ("informed, sqrt", "canonical"),
        ("paths", "canonical"),
        ("random flips", "semi-grand"),
        ("informed, sqrt", "semi-grand"),
        ("mixture of swaps and flips", "semi-grand"),
        ("informed, sqrt", "variance-constrained"),
        ("exchanges", "charge-neutral"),
        ("mixture of swaps and flips", "fixed–free"),
    ],
)
def test_every_rungs_law_is_exact_with_vacancies_and_sublattices(
    kernel, law, name, record_property
):
    built = KERNELS[kernel].build(system(law, name))
    p, moved = p_values(ladder_of(built), built.hamiltonian)
    report(record_property, "p", p)
    assert min(p) > 1e-4
    assert moved > 0.2


@pytest.mark.slow
def test_ladders_of_any_ensembles_are_exact(record_property):
    table = bundled_table(0.06)
    lattice, (_, law, _) = table.lattice, system("semi-grand", "bundled MACE")
    slope = law.chemical_potentials["B"]["Ta"]
    shifted = copy.copy(table)
    shifted.energies = table.energies - slope * table.states.sum(axis=1)
    with warnings.catch_warnings(action="ignore"):
        rungs = [
            VarianceConstrained(lattice, law.temperature, {"B": {"Sc": phi}}, kappa=1.0)
            for phi in (-0.4, -1.0, -1.6)
        ]
    p, moved = p_values(Tempering(RandomFlip(shifted, rungs[0]), rungs), shifted)
    report(record_property, "p", p)
    assert min(p) > 1e-4
    assert moved > 0.3


@pytest.mark.parametrize("law", ["canonical", "semi-grand"])
@pytest.mark.parametrize(
    "mutant", [ExchangesWhateverTheDensities, ExchangesUpsideDown, TurnOfTheState, TunesItsTurns]
)
def test_a_broken_ladder_is_rejected(mutant, law, record_property):
    built = KERNELS["random swaps"].build(system(law, "vacancies"))
    ladder = ladder_of(built)
    object.__setattr__(ladder, "__class__", mutant)
    p, _ = p_values(ladder, built.hamiltonian)
    report(record_property, "p", p)
    assert min(p) < 1e-6


# ---- one batched call ----------------------------------------------------------------------


class Asked:
    """An energy model that notes how many occupations each call was for, and in which thread."""

    def __init__(self, model):
        self.model, self.lattice = model, model.lattice
        self.calls, self.threads = [], set()

    def _note(self, method, occupations):
        self.calls.append((method, len(occupations)))
        self.threads.add(threading.get_ident())

    def energy(self, occupations):
        self._note("energy", occupations)
        return self.model.energy(occupations)

    def energy_and_gradient(self, occupations):
        self._note("gradient", occupations)
        return self.model.energy_and_gradient(occupations)

    def energy_change(self, occupations, sites, species):
        self._note("change", occupations)
        return self.model.energy_change(occupations, sites, species)


def begun(ladder, n_chains=2, seed=1):
    """State and generators of chains at the first states of a toy."""
    n = n_chains * ladder.n_rungs
    states = toy("canonical", "binary").table.states
    rngs = sampler.spawn_generators(seed, n)
    starts = np.repeat(states[np.linspace(0, 69, n_chains).astype(int)], ladder.n_rungs, axis=0)
    return ladder.init(starts, rngs), rngs


@pytest.mark.parametrize(
    ("kind", "method"),
    [(RandomSwap, "energy"), (GibbsWithGradients, "gradient"), (PathAuxiliary, "gradient")],
)
def test_a_step_of_all_rungs_and_chains_is_one_call(kind, method):
    _, table, law = toy("canonical", "binary")
    asked = Asked(table)
    ladder = ladder_of(kind(asked, law), n_rungs=5)
    state, rngs = begun(ladder, n_chains=3)
    assert asked.calls == [(method, 15)]
    for _ in range(5):
        asked.calls.clear()
        state, info = ladder.step(state, rngs)
        assert len(asked.calls) == 1
        evaluated = info.energy_calls.sum() + info.gradient_calls.sum()
        assert asked.calls == [(method, evaluated)]
    assert asked.threads == {threading.get_ident()}


class ByChanges(RandomSwap):
    """Asks for changes of energy, of one site more in one rung than in the other."""

    def step(self, state, rngs):
        m = 1 + int(self.ensemble.temperature > toy("canonical", "binary").ensemble.temperature)
        sites = np.tile(np.arange(m), (len(rngs), 1))
        species = 1 - state.occupations[:, :m]
        change = self.hamiltonian.energy_change(state.occupations, sites, species)
        after, info = super().step(state, rngs)
        return after, info._replace(estimated_change=change)


def test_changes_of_different_width_are_one_call_too():
    _, table, law = toy("canonical", "binary")
    model = RandomHamiltonian(table.lattice, seed=3)
    asked = Asked(model)
    ladder = ladder_of(ByChanges(asked, law), n_rungs=2)
    state, rngs = begun(ladder)
    asked.calls.clear()
    _, info = ladder.step(state, rngs)
    assert asked.calls[0] == ("change", 4)
    flipped = [state.occupations.copy() for _ in range(2)]
    flipped[0][:, :1] ^= 1
    flipped[1][:, :2] ^= 1
    exact = [model.energy(f) - state.energy for f in flipped]
    np.testing.assert_allclose(info.estimated_change[::2], exact[0][::2], atol=1e-12)
    np.testing.assert_allclose(info.estimated_change[1::2], exact[1][1::2], atol=1e-12)


@pytest.mark.parametrize("kernel", ["random swaps", "informed, sqrt", "paths", "mixture of swaps"])
def test_numbers_are_those_of_rungs_run_one_by_one(kernel):
    here = system("canonical", "two sublattices")
    built = KERNELS[kernel].build(here)
    ladder = ladder_of(built, n_rungs=4)
    object.__setattr__(ladder, "_tried", lambda state: np.zeros((2, 3), dtype=bool))
    rngs = sampler.spawn_generators(5, 8)
    state = ladder.init(np.repeat(here.table.states[[0, -1]], 4, axis=0), rngs)
    alone = []
    for r, ensemble in enumerate(ladder.ensembles):
        kernel_r = built.rebind(ensemble=ensemble)
        rngs_r = [sampler.spawn_generators(5, 1, first)[0] for first in (r, 4 + r)]
        alone.append([kernel_r, kernel_r.init(here.table.states[[0, -1]], rngs_r), rngs_r])
    for _ in range(20):
        state, _ = ladder.step(state, rngs)
        for one in alone:
            one[1], _ = one[0].step(one[1], one[2])
    for name in State._fields:
        together = getattr(state, name)
        for r, one in enumerate(alone):
            np.testing.assert_array_equal(together[r::4], getattr(one[1], name))


def test_chains_do_not_depend_on_which_others_run_beside_them():
    built = KERNELS["informed, sqrt"].build(system("canonical", "two sublattices"))
    table, ladder = built.hamiltonian, ladder_of(built)

    def ends(chains):
        rngs = [r for c in chains for r in sampler.spawn_generators(7, 3, 3 * c)]
        starts = np.repeat(table.states[[10 * c for c in chains]], 3, axis=0)
        state = ladder.init(starts, rngs)
        for _ in range(15):
            state, _ = ladder.step(state, rngs)
        return state

    whole, part = ends([0, 1, 2]), ends([1])
    for values, expected in zip(part, whole, strict=True):
        np.testing.assert_array_equal(values, expected[3:6])


def test_steps_leave_state_and_ladder_as_they_were():
    ladder = ladder_of(GibbsWithGradients(*toy("canonical", "binary")[1:]))
    assert isinstance(ladder, Kernel)
    state, rngs = begun(ladder)
    copies, stored = copy.deepcopy(state), copy.deepcopy(ladder.to_arrays())
    for values in state:
        values.flags.writeable = False
    stand = [sampler.generator_state(rng) for rng in rngs]
    first, _ = ladder.step(state, rngs)
    again, _ = ladder.step(state, [sampler.restore_generator(s) for s in stand])
    assert same(tuple(first), tuple(again))
    assert same(tuple(state), tuple(copies))
    assert same(ladder.to_arrays(), stored)
    assert isinstance(again, type(first))
    assert ladder.state_type is type(first)


class OnlyBlocks(PairHamiltonian):
    """Refuses to evaluate what a block would not have to, once it is told to."""

    strict = False

    def energy(self, occupations):
        assert not self.strict, "a step was not compiled"
        return super().energy(occupations)


def test_blocks_of_a_lattice_hamiltonian_stay_compiled():
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    pairs = OnlyBlocks(lattice, [{("Sc", "Ta"): -0.1}])
    kernel = RandomSwap(pairs, Canonical(lattice, 4000.0))
    ladder = Tempering(kernel, temperatures=[4000.0, 8000.0], steps=50)
    rngs = sampler.spawn_generators(1, 2)
    starts = np.tile(lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, rngs[0]), (2, 1))
    state = ladder.init(starts, rngs)
    pairs.strict = True
    for _ in range(4):
        state, info = ladder.step(state, rngs)
    pairs.strict = False
    assert info.energy_calls.tolist() == [50, 50]
    assert ((info.accepted > 0) & (info.accepted < 1)).all()
    np.testing.assert_allclose(state.energy, pairs.energy(state.occupations))


# ---- errors --------------------------------------------------------------------------------


class Fails(Asked):
    """Raises for one occupation alone, and counts as usual otherwise."""

    def __init__(self, model, error, occupation=None):
        super().__init__(model)
        self.error, self.occupation = error, occupation

    def energy(self, occupations):
        if self.occupation is None or (occupations == self.occupation).all(axis=1).any():
            raise self.error
        return super().energy(occupations)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "error", [ModelError("no energy"), ZeroDivisionError(), KeyboardInterrupt()]
)
def test_errors_of_the_model_reach_the_caller(error):
    _, table, law = toy("canonical", "binary")
    ladder = ladder_of(RandomSwap(table, law), n_rungs=4)
    state, rngs = begun(ladder)
    broken = ladder.rebind(hamiltonian=Fails(table, error))
    for _ in range(3):
        with pytest.raises(type(error)):
            broken.step(state, rngs)
    ladder.step(state, rngs)  # and the threads are there for the next


class Raises(RandomSwap):
    """Raises at one temperature, before it has asked for anything."""

    def step(self, state, rngs):
        if self.ensemble.temperature > 2.0 * toy("canonical", "binary").ensemble.temperature:
            raise ZeroDivisionError
        return super().step(state, rngs)


@pytest.mark.timeout(60)
def test_errors_of_a_kernel_reach_the_caller_and_stop_the_others():
    _, table, law = toy("canonical", "binary")
    ladder = ladder_of(Raises(table, law), n_rungs=4)
    state, rngs = begun(ladder)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            ladder.step(state, rngs)


class Slow(RandomSwap):
    """Thinks for a while before it asks."""

    def step(self, state, rngs):
        time.sleep(0.2)
        return super().step(state, rngs)


@pytest.mark.timeout(60)
def test_an_interrupt_stops_all_rungs_and_the_next_step_is_whole():
    _, table, law = toy("canonical", "binary")
    ladder = ladder_of(Slow(table, law), n_rungs=3)
    state, rngs = begun(ladder)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            ladder.step(state, rngs)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    after, _ = ladder.step(state, rngs)
    np.testing.assert_array_equal(after.energy, table.energy(after.occupations))


class TakesNoForAnAnswer(RandomSwap):
    """Stays where it is where the model fails."""

    def step(self, state, rngs):
        try:
            return super().step(state, rngs)
        except ModelError:
            _, info = RandomSwap(self.hamiltonian.model.model, self.ensemble).step(state, rngs)
            return state, info._replace(energy_calls=info.energy_calls - 5)


@pytest.mark.timeout(60)
def test_an_error_is_raised_in_the_rung_whose_question_it_is():
    _, table, law = toy("canonical", "binary")
    forbidden = table.states[np.argmin(table.energies)]
    model = Fails(table, ModelError("no energy"), forbidden)
    ladder = ladder_of(TakesNoForAnAnswer(model, law), n_rungs=4)
    starts = table.states[np.argsort(table.energies)[20:24]]
    rngs = sampler.spawn_generators(3, 4)
    state, failed = ladder.init(starts, rngs), np.zeros(4, dtype=int)
    for _ in range(300):
        state, info = ladder.step(state, rngs)
        failed += info.energy_calls < 0
        assert (info.energy_calls < 0).sum() < 4
    assert (failed > 0).all()
    assert not (state.occupations == forbidden).all(axis=1).any()


# ---- warm-up -------------------------------------------------------------------------------


def ordering(size=4, strength=-0.03):
    """Rock-salt order on a simple cubic lattice, compiled, and a start."""
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(size, size, size))
    pairs = PairHamiltonian(lattice, [{("Sc", "Ta"): strength}], threads=1)
    start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    return lattice, pairs, start


def test_rungs_move_until_exchange_rates_are_even():
    lattice, pairs, start = ordering()
    kernel = RandomSwap(pairs, Canonical(lattice, 500.0))
    uneven = [500.0, 520.0, 540.0, 560.0, 2000.0]
    runs = [
        sample(
            Tempering(kernel, temperatures=uneven, steps=64, move_rungs=moves),
            start, n_replicas=4, n_steps=300, warmup=500, seed=3,
        )
        for moves in (False, True)
    ]  # fmt: skip
    before, after = (analysis.round_trips(run).exchange_rates for run in runs)
    print(before.round(3), after.round(3))
    assert np.ptp(before) > 0.6
    assert np.ptp(after) < 0.2
    temperatures = [float(point.temperature) for point in runs[1].points]
    assert [temperatures[0], temperatures[-1]] == [500.0, 2000.0]
    assert temperatures == sorted(temperatures)
    assert [float(point.temperature) for point in runs[0].points] == uneven
    found = runs[1].attrs["warm_up"]["parameters"]
    listed = [rung["coordinates"]["temperature"] for rung in found["rungs"]]
    assert listed == temperatures
    np.testing.assert_allclose(found["exchange_rates"], after, atol=0.2)
    assert sum(1 - after) < found["barrier"] < 1.5 * sum(1 - after)
    assert found["rounds"] >= 4


def test_rungs_move_along_chemical_potentials():
    lattice = chain_lattice((("Ti", "Zr"), 8))
    free = RandomHamiltonian(lattice, seed=1)
    law = SemiGrandCanonical(lattice, 1000.0, {"Zr": 0.0})
    ladder = Tempering(
        RandomFlip(free, law), chemical_potentials={"Zr": [-0.5, 0.45, 0.5]}, steps=4
    )
    rngs = sampler.spawn_generators(1, 3 * 4)
    state = ladder.init(np.zeros((12, 8), dtype=int), rngs)
    ladder, state, _ = sampler.warm_up(ladder, state, rngs, 600)
    mu = [rung["coordinates"]["mu_s0_Zr"] for rung in ladder.summary()["rungs"]]
    assert (mu[0], mu[2]) == (-0.5, 0.5)
    assert -0.3 < mu[1] < 0.3
    rates = ladder.summary()["exchange_rates"]
    assert abs(rates[0] - rates[1]) < 0.1
    # and each rung is the ensemble that it says it is
    assert ladder.kernels[1].ensemble == ladder.ensembles[1]


def test_a_path_through_other_ensembles_is_found_or_the_rungs_stay():
    lattice = chain_lattice((("Ti", "Zr"), 8))
    model = RandomHamiltonian(lattice, seed=1)
    first, last = (
        VarianceConstrained(lattice, t, {"s0": {"Ti": phi}}, kappa=k)
        for t, phi, k in ((500.0, -0.2, 50.0), (2000.0, -1.8, 10.0))
    )
    ladder = Tempering.between(RandomFlip(model, first), first, last, 3)
    middle = ladder.ensembles[1].coordinates()
    assert middle == pytest.approx({"temperature": 1000.0, "phi_s0_Ti": -1.0, "kappa": 30.0})

    class Tilted:  # an ensemble of the user's own, which has no numbers to go by
        def __init__(self, tilt):
            self.lattice, self.tilt = lattice, tilt

        def log_density(self, energy, occupations, volume=None):
            return -energy + self.tilt * occupations.sum(axis=-1)

        def log_density_gradient(self, gradient, occupations):
            return -gradient + self.tilt * np.arange(2)

    own = Tempering(RandomFlip(model, Tilted(0.0)), [Tilted(t) for t in (-1.0, 0.9, 1.0)])
    rngs = sampler.spawn_generators(1, 12)
    state = own.init(np.zeros((12, 8), dtype=int), rngs)
    tuned, _, _ = sampler.warm_up(own, state, rngs, 400)
    assert tuned.ensembles == own.ensembles
    assert tuned.summary()["rounds"] == 0
    assert tuned.summary()["exchange_rates"][0] < tuned.summary()["exchange_rates"][1]


def through_json(arrays):
    parameters, stored = _split(arrays)
    return _joined(SimpleNamespace(kernel=json.loads(json.dumps(parameters)), arrays=stored))


@pytest.mark.parametrize("killed_after", [1, 5, 11])
@pytest.mark.parametrize("kind", ["informed", "paths", "mixture", "surrogate", "given surrogate"])
def test_a_warm_up_that_was_killed_goes_on_bit_for_bit(kind, killed_after):
    here = system("canonical", "not quadratic")
    table, law = here.table, here.ensemble
    kernel = {
        "informed": lambda: GibbsWithGradients(table, law),
        "paths": lambda: PathAuxiliary(table, law),
        "mixture": lambda: Mixture([(RandomSwap(table, law), 1), (PathAuxiliary(table, law), 2)]),
        "surrogate": lambda: SurrogateChain(table, law),
        "given surrogate": lambda: SurrogateChain(table, law, here.surrogate),
    }[kind]()
    fresh = Tempering(kernel, temperatures=law.temperature * np.array([1.0, 1.1, 4.0]))

    def parts(n, ladder, state, rngs):
        for _ in range(n):
            ladder, state, _ = sampler.warm_up(ladder, state, rngs, 5)
        return ladder, state

    rngs = sampler.spawn_generators(2, 6)
    state = fresh.init(np.repeat(table.states[[0, -1]], 3, axis=0), rngs)
    ladder, state = parts(killed_after, fresh, state, rngs)
    again = fresh.with_arrays(through_json(ladder.to_arrays()))
    assert again.ensembles == ladder.ensembles
    rngs_again = [sampler.restore_generator(sampler.generator_state(rng)) for rng in rngs]
    state_again = again.state_type(**state._asdict())
    ladder, state = parts(5, ladder, state, rngs)
    again, state_again = parts(5, again, state_again, rngs_again)
    assert same(tuple(state), tuple(state_again))
    assert same(ladder.to_arrays(), again.to_arrays())
    assert same(ladder.summary(), again.summary())
    blocks = [
        sampler.draw_block(k, s, r, 5)[1]
        for k, s, r in ((ladder, state, rngs), (again, state_again, rngs_again))
    ]
    assert same(*blocks)


@pytest.mark.slow
def test_a_surrogate_is_learnt_once_for_all_rungs():
    table = bundled_table(0.0, 4)
    asked = Counting(table)
    for name in ("mixed_energy", "hessian_product"):
        setattr(asked, name, getattr(table, name))
    law = Canonical(table.lattice, table.temperature_of_perplexity(15.0))
    ladder = Tempering(SurrogateChain(asked, law), temperatures=law.temperature * np.arange(1, 5))
    rngs = sampler.spawn_generators(1, 8)
    state = ladder.init(np.repeat(table.states[[0, 30]], 4, axis=0), rngs)
    tuned, state, told = sampler.warm_up(ladder, state, rngs, 20)
    assert told.hessian_products == 1
    assert told.gradient_calls == 1
    assert asked.calls[1] == 0
    summaries = [summary_of(kernel) for kernel in tuned.kernels]
    assert {one["surrogate"] for one in summaries} == {"Taylor expansion"}
    # Each rung has gone on from what the hottest had seen: 16 steps of it alone, 4 of all.
    assert told.energy_calls <= 2 * 16 + 8 * 4
    alone = SurrogateChain(asked, law)
    _, _, once = sampler.warm_up(alone, alone.init(table.states[[0, 30]], rngs[:2]), rngs[:2], 20)
    assert once.hessian_products == 1


# ---- series, walkers and round trips -------------------------------------------------------


def test_every_rungs_series_reads_back_as_such(record_property):
    lattice, pairs, start = ordering(size=2, strength=-0.1)
    states = lattice.enumerate({"B": {"Sc": 0.5, "Ta": 0.5}})
    energies = pairs.energy(states)
    kernel = RandomSwap(pairs, Canonical(lattice, 1000.0))
    ladder = Tempering(kernel, temperatures=[2000.0, 2500.0, 6000.0], steps=4)
    run = sample(ladder, start, n_replicas=4, n_steps=1_200, warmup=300, seed=2)
    assert len(run.points) == 3
    scores = []
    for point in run.points:
        beta = Canonical(lattice, float(point.temperature)).beta
        weights = np.exp(-beta * (energies - energies.min()))
        exact = float(weights @ energies / weights.sum())
        assert dict(point.sizes) == {"draw": 1200, "chain": 4, "site": 8}
        found = analysis.mean_energy(point.energy.values)
        scores.append((found.mean - exact) / found.error)
        np.testing.assert_allclose(
            pairs.energy(point.occupation.values[-1].astype(np.int8)), point.energy.values[-1]
        )
    report(record_property, "z", scores)
    assert max(map(abs, scores)) < 4
    walkers = np.stack([point.walker.values for point in run.points], axis=-1)
    assert (np.sort(walkers, axis=-1) == np.arange(3)).all()


def test_walkers_follow_the_replicas():
    frozen = Still(*toy("canonical", "binary")[1:])
    ladder = ladder_of(frozen, n_rungs=4)
    rngs = sampler.spawn_generators(1, 8)
    table = toy("canonical", "binary").table
    starts = table.states[:8]
    state = ladder.init(starts, rngs)
    for _ in range(9):
        state, _ = ladder.step(state, rngs)
    for chain in range(2):
        rows = slice(4 * chain, 4 * chain + 4)
        expected = starts[rows][state.walker[rows]]
        np.testing.assert_array_equal(state.occupations[rows], expected)
        np.testing.assert_array_equal(state.energy[rows], table.energy(expected))
    assert (state.walker != np.tile(np.arange(4), 2)).any()


class Still(RandomSwap):
    """A kernel that proposes nothing."""

    def step(self, state, rngs):
        n = len(rngs)
        none = np.full((n, 2), -1)
        unknown = np.full(n, np.nan)
        zeros = np.zeros(n, dtype=np.int64)
        columns = (none, none.astype(np.int8), none.astype(np.int8))
        return state, Info(zeros > 0, np.zeros(n), *columns, unknown, unknown, zeros, zeros)


class TaggedState(NamedTuple):
    occupations: np.ndarray
    energy: np.ndarray
    gradient: np.ndarray
    positions: np.ndarray
    cells: np.ndarray


class Tagged(Still):
    """A kernel whose states carry positions, as those of kernels that move atoms do."""

    def init(self, occupations, rngs):
        begun = super().init(occupations, rngs)
        cells = np.eye(3) * (1.0 + begun.energy[:, None, None] ** 2)
        positions = begun.energy[:, None, None] * np.ones((1, 2, 3))
        return TaggedState(*begun, positions=positions, cells=cells)

    def observe(self, state):
        return {"positions": state.positions, "cell": state.cells}


class AtPressure(Canonical):
    """Weight exp(−β(E + PV))."""

    def log_density(self, energy, occupations, volume=None):
        return super().log_density(energy + 0.01 * (0.0 if volume is None else volume), occupations)


def test_everything_a_replica_carries_is_exchanged_and_volumes_count():
    _, table, law = toy("canonical", "binary")
    rungs = [AtPressure(table.lattice, law.temperature * t) for t in (1.0, 1.5, 3.0)]
    ladder = Tempering(Tagged(table, rungs[0]), rungs)
    rngs = sampler.spawn_generators(1, 6)
    state = ladder.init(table.states[:6], rngs)
    expected = np.linalg.det(state.cells) * 0.01 + state.energy
    beta = np.array([rung.beta for rung in rungs])
    ratios = (beta[:-1] - beta[1:]) * (
        expected.reshape(2, 3)[:, :-1] - expected.reshape(2, 3)[:, 1:]
    )
    np.testing.assert_allclose(ladder._log_ratios(state), ratios, atol=1e-9)
    for _ in range(12):
        state, _ = ladder.step(state, rngs)
        np.testing.assert_array_equal(state.positions[:, 0, 0], state.energy)
        np.testing.assert_array_equal(state.cells[:, 0, 0], 1.0 + state.energy**2)
    seen = ladder.observe(state)
    assert set(seen) == {"walker", "positions", "cell"}
    np.testing.assert_array_equal(seen["positions"], state.positions)


@pytest.mark.slow
def test_positions_are_exchanged_with_their_replicas():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 1, 1))
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    swaps = RandomSwap(mace, Canonical(lattice, 1000.0))
    moving = HybridMD(swaps, HMC(step=2.0, n_steps=2, pressure=0.0), occupation_steps=1)
    ladder = Tempering(moving, temperatures=[1000.0, 1100.0, 1400.0])
    # its path leads through the ensemble of the occupations, at the same pressure
    between = Tempering.between(moving, ladder.ensembles[0], ladder.ensembles[2], 3)
    expected = {"temperature": np.sqrt(1.4) * 1000.0, "pressure": 0.0}
    assert between.ensembles[1].coordinates() == pytest.approx(expected)
    # and rungs that are given without it are at that pressure too
    given = Tempering(moving, [Canonical(lattice, t) for t in (1000.0, 1100.0, 1400.0)])
    assert given.ensembles == ladder.ensembles
    run = sample(ladder, np.array([0, 1]), n_steps=6, warmup=1, seed=1)
    for point in run.points:
        for draw in range(6):
            positions, cell = point.positions.values[draw, 0], point.cell.values[draw, 0]
            energy = mace.at(positions, cell).energy(point.occupation.values[draw].astype(np.int8))
            np.testing.assert_allclose(energy, point.energy.values[draw], atol=1e-9)
    assert (run.points[0].walker.values != 0).any()


def test_replicas_that_are_never_refused_go_round_in_twice_the_rungs(record_property):
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    kernel = RandomSwap(PairHamiltonian(lattice, []), Canonical(lattice, 1000.0))
    ladder = Tempering(kernel, temperatures=[1000.0, 2000.0, 3000.0, 4000.0, 5000.0])
    run = sample(ladder, start, n_replicas=2, n_steps=500)
    found = analysis.round_trips(run)
    assert found.mean_time == pytest.approx(10.0, abs=0.2)
    assert (found.trips >= 48).all()
    assert found.total == found.trips.sum()
    np.testing.assert_array_equal(found.exchange_rates, 1.0)
    walkers = np.stack([point.walker.values for point in run.points], axis=-1)
    for few in (3, 4, 5, 6):  # draws, from either kind of turn on
        for first in (0, 1):
            rates = analysis.round_trips(walkers[first : first + few]).exchange_rates
            np.testing.assert_array_equal(rates, 1.0)
    assert np.isnan(analysis.round_trips(walkers[:2]).exchange_rates).all()
    # the fraction of replicas that come from the hot end falls evenly on the way
    np.testing.assert_allclose(found.hot_last, [0.0, 0.5, 0.5, 0.5, 1.0], atol=0.02)
    reverse = analysis.round_trips(run, hot="first")
    np.testing.assert_allclose(reverse.hot_last, 1.0 - found.hot_last, atol=0.01)
    assert reverse.total == found.total


def test_round_trips_take_as_long_as_the_refusals_say(record_property):
    """Where rungs forget between exchanges, one of n takes n(2 + 2Σ r/(1 − r)) steps (Syed)."""
    lattice, pairs, start = ordering(size=2, strength=-0.1)
    kernel = RandomSwap(pairs, Canonical(lattice, 1500.0))
    temperatures = [1500.0, 2000.0, 3000.0, 6000.0]
    ladder = Tempering(kernel, temperatures=temperatures, steps=100, move_rungs=False)
    run = sample(ladder, start, n_replicas=8, n_steps=1_000, warmup=50, seed=3)
    found = analysis.round_trips(run)
    states = lattice.enumerate({"B": {"Sc": 0.5, "Ta": 0.5}})
    energies = pairs.energy(states)
    laws = [
        probabilities(Canonical(lattice, t), SimpleNamespace(energies=energies, states=states))
        for t in temperatures
    ]
    betas = [Canonical(lattice, t).beta for t in temperatures]
    exact = np.array([
        (np.exp(np.minimum(0.0, (b - c) * (energies[:, None] - energies))) * p[:, None] * q).sum()
        for b, c, p, q in zip(betas[:-1], betas[1:], laws[:-1], laws[1:], strict=True)
    ])  # fmt: skip
    rate_error = np.sqrt(exact * (1 - exact) / (1_000 * 8 / 2))
    rates = (found.exchange_rates - exact) / rate_error
    expected = 4 * (2 + 2 * ((1 - exact) / exact).sum())
    z = (found.mean_time - expected) / found.error
    report(record_property, "z", [*rates.round(2).tolist(), round(z, 2)])
    assert np.abs(rates).max() < 4
    assert abs(z) < 4
    assert found.error < 0.06 * expected
    assert found.hot_last[0] == 0.0
    assert found.hot_last[-1] == 1.0
    assert (np.diff(found.hot_last) > 0).all()


def test_rates_are_not_told_where_draws_skip_exchanges():
    lattice, pairs, start = ordering(size=2)
    kernel = RandomSwap(pairs, Canonical(lattice, 1500.0))
    ladder = Tempering(kernel, temperatures=[1500.0, 3000.0])
    run = sample(ladder, start, n_replicas=2, n_steps=40, thin=4)
    found = analysis.round_trips(run)
    assert np.isnan(found.exchange_rates).all()
    assert run.points[0].walker.shape == (10, 2)


def test_walkers_that_make_no_sense_are_refused():
    good = np.tile(np.arange(3), (5, 2, 1))
    assert analysis.round_trips(good).total == 0
    assert np.isnan(analysis.round_trips(good).mean_time)
    with pytest.raises(InputError, match="each of 0 to 2 once"):
        analysis.round_trips(np.where(good == 2, 1, good))
    with pytest.raises(InputError, match=r"\[n_draws, n_chains, n_rungs\]"):
        analysis.round_trips(good[:, 0])
    with pytest.raises(InputError, match="'first' or 'last'"):
        analysis.round_trips(good, hot="top")
    lattice, pairs, start = ordering(size=2)
    run = sample(RandomSwap(pairs, Canonical(lattice, 900.0)), start, n_steps=4)
    with pytest.raises(InputError, match="no walkers"):
        analysis.round_trips(run)


def test_potentials_run_along_a_ladder_of_moving_positions():
    lattice = ring((("Sc", "Ta"), 2), (("O",), 2))
    model = ToyCrystal(lattice, SPRINGS)
    law = SemiGrandCanonical(lattice, 1000.0, {"Sc": 0.0, "Ta": 0.3})
    flips = RandomFlip(model, law)
    for pressure in (None, 0.5):
        hybrid = HybridMD(flips, HMC(step=5.0, n_steps=2, pressure=pressure), 1)
        ladder = Tempering(hybrid, chemical_potentials={"Ta": [0.1, 0.2, 0.4]})
        points = [ensemble.coordinates() for ensemble in ladder.ensembles]
        assert [point["mu_s0_Ta"] for point in points] == [0.1, 0.2, 0.4]
        assert {point.get("pressure") for point in points} == {pressure}
    closed = HybridMD(RandomSwap(model, Canonical(lattice, 1000.0)), Langevin())
    with pytest.raises(InputError, match="WithPositions has no chemical potentials"):
        Tempering(closed, chemical_potentials={"Ta": [0.1, 0.2]})


def test_a_cell_that_moves_at_some_rungs_alone_is_refused():
    lattice = ring((("Sc", "Ta"), 2), (("O",), 2))
    law = Canonical(lattice, 1000.0)
    hybrid = HybridMD(RandomSwap(ToyCrystal(lattice, SPRINGS), law), HMC(pressure=0.0), 1)
    hot = law.with_temperature(1200.0)
    with pytest.raises(InputError, match="rung 0 keeps its cell while others have a pressure"):
        Tempering(hybrid, [WithPositions(law), hot])  # the kernel has a pressure for the other
    Tempering(hybrid, [WithPositions(law), WithPositions(hot)])
    Tempering(hybrid, [law, WithPositions(hot, 1.0)])


# ---- what is refused -----------------------------------------------------------------------


def test_ladders_that_cannot_exchange_are_refused():
    lattice, pairs, _ = ordering(size=2)
    elsewhere = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.2, size=(2, 2, 2))
    law = Canonical(lattice, 1000.0)
    kernel = RandomSwap(pairs, law)
    with warnings.catch_warnings(action="ignore"):
        open_law = SemiGrandCanonical(lattice, 1000.0, {"Ta": 0.1})
    for options, message in (
        ({}, "give one of"),
        ({"temperatures": [1.0], "ensembles": [law]}, "give one of"),
        ({"temperatures": [1000.0]}, "ladder of 1 rungs"),
        ({"temperatures": []}, "ladder of 0 rungs"),
        ({"temperatures": [1000.0, 3000.0, 2000.0]}, "neither rise nor fall"),
        ({"temperatures": [1000.0, 1000.0, 2000.0]}, "neither rise nor fall"),
        ({"temperatures": [1000.0, -5.0]}, "temperature"),
        ({"ensembles": [law, Canonical(elsewhere, 2000.0)]}, "another lattice"),
        ({"ensembles": [law, open_law]}, "keeps the counts of no sublattice"),
        ({"temperatures": [1000.0, 2000.0], "steps": 0}, "steps is 0"),
        ({"chemical_potentials": {"Ta": [0.0, 0.1]}}, "no chemical potentials"),
        ({"temperatures": 1000.0}, r"temperatures are 1000\.0; give kelvin, one for each rung"),
        ({"temperatures": "1000"}, "temperatures are '1000'"),
        ({"ensembles": law}, "ensembles are Canonical"),
        ({"ensembles": [law, 2000.0]}, r"rung 1 is 2000\.0; give ensembles"),
    ):
        with pytest.raises(InputError, match=message):
            Tempering(kernel, **options)
    ladder = Tempering(kernel, temperatures=[1000.0, 2000.0])
    with pytest.raises(InputError, match="is a ladder"):
        Tempering(ladder, temperatures=[1000.0, 2000.0])
    with pytest.raises(InputError, match="one ensemble per rung"):
        ladder.rebind(ensemble=law)
    with pytest.raises(InputError, match="no way from Canonical to SemiGrandCanonical"):
        Tempering.between(kernel, law, open_law, 3)
    with pytest.raises(InputError, match="n_rungs is 1"):
        Tempering.between(kernel, law, law.with_temperature(2000.0), 1)
    flips = RandomFlip(pairs, open_law)
    for given, message in (
        ({"Ta": 0.1}, "lists of no lengths"),
        ({"Ta": [0.1, 0.2], "Sc": [0.1]}, r"lists of \[1, 2\] lengths"),
        ({"W": [0.1, 0.2]}, "not 'W'"),
        ([0.1, 0.2], "give lists by sublattice"),
        ({"Ta": ["low", "high"]}, "chemical potential of Ta on B is 'low'; give a finite number"),
        ({"Ta": [0.1, None]}, "chemical potential of Ta on B is None"),
        ({"Ta": "12"}, "lists of no lengths"),
    ):
        with pytest.raises(InputError, match=message):
            Tempering(flips, chemical_potentials=given)


def test_potentials_of_a_sublattice_that_keeps_its_counts_are_refused():
    lattice = builders.perovskite(("Sr", "Ba"), ("Ti", "Zr"), "O", a=3.98, size=(2, 1, 1))
    pairs = PairHamiltonian(lattice, {("A", "B"): [{("Sr", "Ti"): 0.02}]})
    law = SemiGrandCanonical(lattice, 1000.0, {"B": {"Zr": 0.1}}, fixed=("A",))
    flips = RandomFlip(pairs, law)
    with pytest.raises(InputError, match="name the sublattice 'A', whose counts are fixed"):
        Tempering(flips, chemical_potentials={"A": {"Ba": [0.0, 0.1]}})
    ladder = Tempering(flips, chemical_potentials={"B": {"Zr": [0.0, 0.1]}})
    assert [e.chemical_potentials["B"]["Zr"] for e in ladder.ensembles] == [0.0, 0.1]


def test_replicas_of_different_composition_are_refused_where_it_is_kept():
    lattice, pairs, start = ordering(size=2)
    other = start.copy()
    other[np.flatnonzero(start == 0)[0]] = 1
    kernel = RandomSwap(pairs, Canonical(lattice, 1000.0))
    ladder = Tempering(kernel, temperatures=[1000.0, 2000.0])
    rngs = sampler.spawn_generators(1, 4)
    with pytest.raises(InputError, match="rungs of chain 1 start with different species counts"):
        ladder.init(np.array([start, start, start, other]), rngs)
    with pytest.raises(InputError, match="chains of one run"):
        sample(ladder, np.array([start, other]), n_steps=2)
    with pytest.raises(InputError, match="3 occupations and 3 generators for 2 rungs"):
        ladder.init(np.array([start] * 3), rngs[:3])
    with warnings.catch_warnings(action="ignore"):
        law = SemiGrandCanonical(lattice, 1000.0, {"Ta": 0.1})
    free = Tempering(RandomFlip(pairs, law), chemical_potentials={"Ta": [0.1, 0.2]})
    free.init(np.array([start, start, start, other]), rngs)


def test_refreshed_ladders_follow_another_model():
    _, table, law = toy("canonical", "binary")
    ladder = ladder_of(GibbsWithGradients(table, law))
    state, rngs = begun(ladder)
    other = RandomHamiltonian(CANONICAL_LATTICE, seed=9)
    moved, there = ladder.refresh(state, other)
    assert moved.hamiltonian is other
    np.testing.assert_array_equal(there.energy, other.energy(state.occupations))
    np.testing.assert_array_equal(there.walker, state.walker)
    after, _ = moved.step(there, rngs)
    np.testing.assert_allclose(after.energy, other.energy(after.occupations), atol=1e-12)


CANONICAL_LATTICE = chain_lattice(*CANONICAL_TOYS["binary"][0])


@pytest.mark.slow
def test_the_example_prints_every_rung(capsys):
    runpy.run_path(str(EXAMPLE))["main"](["--draws", "24", "--chains", "2"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 8
    assert "round trips" in lines[-1]
