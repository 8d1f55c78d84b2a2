"""All public kernels in one table: exact wherever they serve, and true to the protocol.

Every kernel runs on the bundled potential (2×2×2 Sr(Sc,Ta)O3, displaced by 0.06 Å) and on random
toys with three species and vacancies, with two coupled sublattices, and far from quadratic; in the
canonical, the semi-grand, the variance-constrained and the charge-neutral ensemble and with one
sublattice fixed and one free, as far as its moves serve them. A kernel that joins
``sampler.__all__`` must join the table.

False alarms: 196 exact distributions, each refused at p < 1e-4 with fixed seeds; a new set of seeds
would raise an alarm in one run out of 50. Power: mutants of every kernel are refused on the toy
with vacancies at p < 1e-6. These and more, one rule broken in each, stand in

- RandomSwap: AsymmetricSwap, test_sampler_exactness; SwapOfStrangers, test_lattice_sampling
- RandomFlip: PrefersHighSpecies, ForgetsToSkipTheOldSpecies, test_lattice_sampling
- GibbsWithGradients: NoHastings, StaleReverse, KeepsRefusedGradient, test_sampler_exactness and
  test_informed_flips; CorrectsForwardsOnly, TunesWhileSampling, test_pair_correction
- PathAuxiliary: PathWithoutHastings, PathWithOneGradient, test_sampler_exactness
- DiscreteLangevin: LangevinWithoutHastings, LangevinWithOneGradient, GoesOnAdapting,
  LangevinWithEagerMatching, test_discrete_langevin
- TableExchange: ExchangeWithoutWays, ExchangeOfUnorderedSites, test_table_exchange
- Mixture: ChoosesByEnergy, KeepsOldGradient, test_sampler_exactness
- SurrogateChain: refits_while_sampling, field_at_the_occupation, RegionOfTheState,
  WithoutSurrogateFactor, SwapsInOrder, FlipsInOrder, test_surrogate_chain; WalksOneWay,
  test_composition_ensembles, which has the wrong weights too
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from alchemc import Canonical, ChargeNeutral, sampler
from alchemc.campaign.engine import _joined, _split
from alchemc.potentials import PairExpansion, taylor_expansion
from alchemc.protocols import Ensemble, Info, Kernel, State
from alchemc.sampler import (
    DiscreteLangevin,
    GibbsWithGradients,
    Mixture,
    PathAuxiliary,
    RandomFlip,
    RandomSwap,
    SurrogateChain,
    TableExchange,
)
from composition_toys import LAWS, constrained, halves, surrogate_for
from exactness import compare, probabilities
from mutants import (
    AsymmetricSwap,
    ChoosesByEnergy,
    CorrectsForwardsOnly,
    ExchangeWithoutWays,
    LangevinWithoutHastings,
    NoHastings,
    PathWithOneGradient,
    PathWithoutHastings,
    PrefersHighSpecies,
    RegionOfTheState,
    StaleReverse,
    WithoutSurrogateFactor,
)
from toys import (
    TabulatedHamiltonian,
    bundled_table,
    quadratic_part,
    scaled,
    spread_over_a_third,
    toy,
)

pytestmark = pytest.mark.filterwarnings("ignore:sublattice .* exchanges species of different")


class System(NamedTuple):
    """All states of an energy model, an ensemble, and a surrogate with 0.6 of the size it needs."""

    table: TabulatedHamiltonian
    ensemble: Ensemble
    surrogate: PairExpansion


@cache
def system(ensemble, name):
    if ensemble in LAWS:
        here = constrained(ensemble, name)
        return System(here.table, here.ensemble, surrogate_for(ensemble, name))
    if name != "bundled MACE":
        model, table, law = toy(ensemble, name)
        return System(table, law, quadratic_part(model, 0.6))
    table = bundled_table(0.06, 4 if ensemble == "canonical" else None)
    lattice = table.lattice
    if ensemble == "canonical":
        assert len(table.states) == 70
        law = Canonical(lattice, table.temperature_of_perplexity(15.0))
    else:
        assert len(table.states) == 256
        # Chemical potentials that take the mean slope off, so that all compositions occur.
        slope = float(np.polyfit(table.states.sum(axis=1), table.energies, 1)[0])
        law, _ = spread_over_a_third(table, {"B": {"Ta": slope}})
    return System(table, law, surrogate_of_the_potential())


@cache
def surrogate_of_the_potential():
    table = bundled_table(0.06)
    halfway = np.full((table.lattice.n_sites, 2), 0.5)
    return scaled(taylor_expansion(table, halfway), 0.6)


# ---- the table -----------------------------------------------------------------------------


def alone(kind, **options):
    """Builder of one kernel for a system."""
    return lambda s: kind(s.table, s.ensemble, **options)


def mixed(*builders):
    """Builder of an even mixture."""
    return lambda s: Mixture([(build(s), 1) for build in builders])


def corrected(**options):
    """Builder of informed moves whose pair correction is random, three times k_BT."""

    def build(s):
        kernel = GibbsWithGradients(s.table, s.ensemble, **options)
        arrays = kernel.to_arrays()
        drawn = np.random.default_rng(0).normal(size=len(arrays["correction"]))
        drawn *= 3.0 / s.ensemble.beta
        return kernel.with_arrays(arrays | {"correction": drawn.tolist()})

    return build


def by_surrogate(**options):
    """Builder of surrogate chains with the system's poor surrogate."""
    return lambda s: SurrogateChain(s.table, s.ensemble, s.surrogate, **options)


def exchanges(s):
    """Exchanges among the states that share the commonest charge; others are a KeyError.

    The potential has one sublattice of two species, and nothing to exchange at a fixed charge: its
    sites are taken for two sublattices.
    """
    table, ensemble = s.table, s.ensemble
    if isinstance(ensemble, ChargeNeutral):
        return TableExchange(table, ensemble)
    if table.lattice.charges is None and ensemble.fixed:
        (kept,) = ensemble.fixed  # a constraint that it obeys in any case
        return TableExchange(table, ensemble, [{kept: {"Ta": 1}}])
    if table.lattice.charges is None:
        table, ensemble = halves(table), None
    charges = np.take_along_axis(
        np.asarray(table.lattice.charges)[None], table.states[:, :, None].astype(int), axis=2
    ).sum(axis=(1, 2))
    values, times = np.unique(charges, return_counts=True)
    table = table.among(table.states[charges == values[times.argmax()]])
    if ensemble is None:
        ensemble, _ = spread_over_a_third(table, {"near": {"Ta": 0.1}})
    return TableExchange(table, ensemble)


class Entry(NamedTuple):
    """A way to build a public kernel for a system, its mutants, and the ensembles it serves."""

    kind: type
    build: Callable[[System], Kernel]
    mutants: tuple[type, ...]
    ensembles: tuple[str, ...] = ("canonical", "semi-grand", *LAWS)


FREE = ("semi-grand", "variance-constrained", "fixed–free")
KERNELS = {
    "random swaps": Entry(RandomSwap, alone(RandomSwap), (AsymmetricSwap,)),
    "random flips": Entry(RandomFlip, alone(RandomFlip), (PrefersHighSpecies,), FREE),
    "informed, sqrt": Entry(
        GibbsWithGradients, corrected(), (NoHastings, StaleReverse, CorrectsForwardsOnly)
    ),
    "informed, Barker": Entry(GibbsWithGradients, corrected(balancing="barker"), (NoHastings,)),
    "paths": Entry(
        PathAuxiliary,
        alone(PathAuxiliary, length=2),
        (PathWithoutHastings, PathWithOneGradient),
    ),
    "Langevin": Entry(
        DiscreteLangevin, alone(DiscreteLangevin, step_size=1.0), (LangevinWithoutHastings,)
    ),
    "exchanges": Entry(
        TableExchange,
        exchanges,
        (ExchangeWithoutWays,),
        ("semi-grand", "charge-neutral", "fixed–free"),
    ),
    "mixture of swaps": Entry(
        Mixture,
        mixed(alone(RandomSwap), corrected(move="swap"), alone(PathAuxiliary, move="swap")),
        (ChoosesByEnergy,),
    ),
    "mixture of swaps and flips": Entry(
        Mixture,
        mixed(alone(RandomSwap), alone(RandomFlip), corrected()),
        (ChoosesByEnergy,),
        FREE,
    ),
    "mixture of swaps and exchanges": Entry(
        Mixture, mixed(exchanges, corrected()), (ChoosesByEnergy,), ("charge-neutral",)
    ),
    "surrogate, whole cell": Entry(
        SurrogateChain, by_surrogate(sweeps=1), (WithoutSurrogateFactor,)
    ),
    "surrogate, region": Entry(
        SurrogateChain,
        by_surrogate(sweeps=2, region=3),
        (WithoutSurrogateFactor, RegionOfTheState),
        ("canonical", *FREE),
    ),
}

CASES = [(kernel, law) for kernel, entry in KERNELS.items() for law in entry.ensembles]
MUTANTS = [(kernel, law, m) for kernel, law in CASES for m in KERNELS[kernel].mutants]
SYSTEMS = (
    pytest.param("bundled MACE", marks=pytest.mark.slow),
    "vacancies",
    "two sublattices",
    "not quadratic",
)
every_case = pytest.mark.parametrize(("kernel", "ensemble"), CASES)


def test_no_public_kernel_is_missing_from_the_table():
    public = [getattr(sampler, name) for name in sampler.__all__]
    kernels = {part for part in public if inspect.isclass(part) and hasattr(part, "step")}
    assert kernels == {entry.kind for entry in KERNELS.values()}
    assert kernels >= set(sampler.KERNELS.values())
    for entry in KERNELS.values():
        assert all(issubclass(mutant, entry.kind) for mutant in entry.mutants)
        assert entry.mutants


# ---- exactness -----------------------------------------------------------------------------


def verdict_on(kernel, draws):
    return compare(kernel, kernel.hamiltonian, draws=draws, steps=4)


def draws_for(kernel, ensemble, cheap=2_000, dear=1_000):
    """Draws in the table's first two ensembles, and in those that came later."""
    if ensemble not in LAWS:
        return 5_000
    return dear if isinstance(kernel, SurrogateChain) else cheap


@pytest.mark.parametrize("name", SYSTEMS)
@every_case
def test_states_are_visited_with_their_exact_probability(kernel, ensemble, name, record_property):
    built = KERNELS[kernel].build(system(ensemble, name))
    assert type(built) is KERNELS[kernel].kind
    verdict = verdict_on(built, draws_for(built, ensemble))
    record_property("p", verdict.p_value)
    print(f"{kernel}, {ensemble}, {name}: p = {verdict.p_value:.2g}")
    assert verdict.p_value > 1e-4, verdict
    assert 0.1 < verdict.acceptance < 0.95, verdict
    assert verdict.moved > 0.3, verdict


def broken(kernel, mutant):
    """Return the mutant of a kernel, everything else as it was."""
    if mutant is not ChoosesByEnergy:
        return mutant(**{f.name: getattr(kernel, f.name) for f in fields(kernel) if f.init})
    mixture, table = mutant(zip(kernel.kernels, kernel.weights, strict=True)), kernel.hamiltonian
    mean = float(probabilities(kernel.ensemble, table) @ table.energies)
    object.__setattr__(mixture, "threshold", mean)
    return mixture


@pytest.mark.parametrize(("kernel", "ensemble", "mutant"), MUTANTS)
def test_a_broken_kernel_is_rejected(kernel, ensemble, mutant):
    built = KERNELS[kernel].build(system(ensemble, "vacancies"))
    verdict = verdict_on(broken(built, mutant), draws_for(built, ensemble, 7_000, 1_500))
    print(f"{mutant.__name__}, {ensemble}: p = {verdict.p_value:.2g}")
    assert verdict.p_value < 1e-6, verdict


# ---- the protocol --------------------------------------------------------------------------


class Counting(TabulatedHamiltonian):
    """A table that counts the occupations it was asked for, without and with gradients."""

    def __init__(self, table):
        vars(self).update(vars(table))
        self.calls = np.zeros(2, dtype=int)

    def energy(self, occupations):
        self.calls[0] += len(occupations)
        return super().energy(occupations)

    def energy_and_gradient(self, occupations):
        self.calls[1] += len(occupations)
        return super().energy_and_gradient(occupations)


def small(kernel, ensemble, chains=slice(0, 6)):
    """A kernel on two sublattices, counted, with the state and generators of some chains."""
    here = system(ensemble, "two sublattices")
    built = KERNELS[kernel].build(here._replace(table=Counting(here.table)))
    states = built.hamiltonian.states
    starts = states[np.linspace(0, len(states) - 1, 6).astype(int)][chains]
    rngs = sampler.spawn_generators(1, len(starts), chains.start)
    return built, built.init(starts, rngs), rngs


def proposed_by(state, info):
    """Occupations that a step proposed."""
    proposed = state.occupations.copy()
    replica, column = np.nonzero(info.sites >= 0)
    proposed[replica, info.sites[replica, column]] = info.species[replica, column]
    return proposed


def assert_fields(fields_of, shapes):
    assert fields_of._fields == tuple(shapes)
    for name, (dtype, shape) in shapes.items():
        values = getattr(fields_of, name)
        assert (name, values.dtype, values.shape) == (name, np.dtype(dtype), shape)


@every_case
def test_states_and_infos_have_the_fields_of_the_protocol(kernel, ensemble):
    built, state, rngs = small(kernel, ensemble)
    assert isinstance(built, Kernel)
    lattice, n = built.hamiltonian.lattice, len(rngs)
    for _ in range(10):
        before, (state, info) = state, built.step(state, rngs)
        m = info.sites.shape[1]
        for one in (before, state):
            assert isinstance(one, State)
            assert_fields(
                one,
                {
                    "occupations": (np.int8, (n, lattice.n_sites)),
                    "energy": (np.float64, (n,)),
                    "gradient": (np.float64, (n, lattice.n_sites, lattice.n_species_max)),
                },
            )
        assert isinstance(info, Info)
        assert_fields(
            info,
            {
                "accepted": (np.bool_, (n,)),
                "acceptance_probability": (np.float64, (n,)),
                "sites": (np.int64, (n, m)),
                "species": (np.int8, (n, m)),
                "held": (np.int8, (n, m)),
                "log_density_change": (np.float64, (n,)),
                "estimated_change": (np.float64, (n,)),
                "energy_calls": (np.int64, (n,)),
                "gradient_calls": (np.int64, (n,)),
            },
        )


@every_case
def test_a_step_did_what_it_reports(kernel, ensemble):
    built, state, rngs = small(kernel, ensemble)
    table, law = built.hamiltonian, built.ensemble
    for _ in range(30):
        table.calls[:] = 0
        after, info = built.step(state, rngs)
        assert table.calls.tolist() == [info.energy_calls.sum(), info.gradient_calls.sum()]
        changed, moves = info.sites >= 0, info.sites[:, 0] >= 0
        np.testing.assert_array_equal(changed.any(axis=1), moves)
        held = np.take_along_axis(state.occupations, np.maximum(info.sites, 0), axis=1)
        np.testing.assert_array_equal(info.held, np.where(changed, held, -1))
        assert (info.species[changed] != info.held[changed]).all()
        assert (info.species[~changed] == -1).all()
        proposed = proposed_by(state, info)
        change = law.log_density(table.energy(proposed), proposed)
        change -= law.log_density(state.energy, state.occupations)
        np.testing.assert_allclose(
            info.log_density_change, np.where(moves, change, np.nan), atol=1e-9
        )
        assert np.isnan(info.estimated_change[~moves]).all()
        assert ((info.acceptance_probability >= 0) & (info.acceptance_probability <= 1)).all()
        assert (info.acceptance_probability[info.accepted] > 0).all()
        expected = np.where(info.accepted[:, None], proposed, state.occupations)
        np.testing.assert_array_equal(after.occupations, expected)
        energy, gradient = table.energy_and_gradient(after.occupations)
        np.testing.assert_array_equal(after.energy, energy)
        known = ~np.isnan(after.gradient).any(axis=(1, 2))
        np.testing.assert_array_equal(after.gradient[known], gradient[known])
        state = after


@every_case
def test_steps_leave_kernel_and_state_as_they_were(kernel, ensemble):
    built, state, rngs = small(kernel, ensemble)
    copies, stored = copy.deepcopy(state), copy.deepcopy(built.to_arrays())
    for values in state:
        values.flags.writeable = False
    begun = [sampler.generator_state(rng) for rng in rngs]
    first = built.step(state, rngs)
    later = first[0]
    for _ in range(10):
        later, _ = built.step(later, rngs)
    again = built.step(state, [sampler.restore_generator(one) for one in begun])
    assert same(first, again)
    assert same(state, copies)
    assert same(built.to_arrays(), stored)
    with pytest.raises(FrozenInstanceError):
        built.ensemble = None


def same(one, other):
    """Whether nested mappings and tuples of arrays and numbers agree bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")


@every_case
def test_a_tuned_kernel_comes_back_from_stored_numbers(kernel, ensemble):
    fresh, state, rngs = small(kernel, ensemble)
    tuned, state, report = sampler.warm_up(fresh, state, rngs, 60)
    assert type(tuned) is type(fresh)
    assert report.n_steps == 60
    learns = hasattr(fresh, "tuned") or isinstance(fresh, Mixture)
    assert same(tuned.to_arrays(), fresh.to_arrays()) is not learns
    parameters, arrays = _split(tuned.to_arrays())
    stored = SimpleNamespace(kernel=json.loads(json.dumps(parameters)), arrays=arrays)
    again = fresh.with_arrays(_joined(stored))
    assert type(again) is type(fresh)
    assert same(again.to_arrays(), tuned.to_arrays())
    begun = [sampler.generator_state(rng) for rng in rngs]
    blocks = [
        sampler.draw_block(k, state, [sampler.restore_generator(one) for one in begun], 10)
        for k in (tuned, again)
    ]
    assert same(*blocks)


@every_case
def test_a_replica_does_not_depend_on_which_others_run_beside_it(kernel, ensemble):
    def history(chains):
        built, state, rngs = small(kernel, ensemble, chains)
        for _ in range(15):
            state, info = built.step(state, rngs)
            room = ((0, 0), (0, 20 - info.sites.shape[1]))  # a mixture pads to its widest move
            padded = (np.pad(part, room, constant_values=-1) for part in info[2:5])
            yield *state, *info[:2], *padded, *info[5:]
        yield (np.array([rng.random() for rng in rngs]),)

    together = list(history(slice(0, 6)))
    for chains in (slice(0, 1), slice(2, 3), slice(1, 4)):
        for whole, part in zip(together, history(chains), strict=True):
            assert same(tuple(values[chains] for values in whole), part)


@every_case
def test_another_ensemble_or_energy_model_keeps_what_was_tuned(kernel, ensemble):
    built, state, rngs = small(kernel, ensemble)
    hotter = built.ensemble.with_temperature(2.0 * built.ensemble.temperature)
    hot = built.rebind(ensemble=hotter)
    assert (type(hot), hot.ensemble) == (type(built), hotter)
    assert same(hot.to_arrays(), built.to_arrays())
    other = Counting(built.hamiltonian)
    other.energies, other.gradients = 1.5 * other.energies, 1.5 * other.gradients
    moved, there = built.refresh(state, other)
    assert moved.hamiltonian is other
    assert moved.ensemble == built.ensemble
    assert same(moved.to_arrays(), built.to_arrays())
    np.testing.assert_array_equal(there.occupations, state.occupations)
    np.testing.assert_array_equal(there.energy, other.energy(state.occupations))
    after, _ = moved.step(there, rngs)
    np.testing.assert_array_equal(after.energy, other.energy(after.occupations))
