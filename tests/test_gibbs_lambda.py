"""Gibbs λ: its chains are exact, go on bit for bit, and learn in warm-up alone.

Laws are compared by χ² with independent ends of chains that start from them (`exactness`), with
fixed seeds. False alarms: 13 laws refused at p < 1e-4, one in 770 sets of seeds. Broken variants
are refused by the same check at p < 1e-6.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import chi2

from alchemc import AlchemicalMACE, Canonical, ChargeNeutral, PairHamiltonian, builders, sample
from alchemc.campaign.checkpoint import Checkpoint
from alchemc.campaign.engine import _joined, _split
from alchemc.ensembles import HMC, NPT, Biases, GibbsLambda
from alchemc.ensembles.alchemical import Groups
from alchemc.ensembles.alchemical.with_biases import WithBiases
from alchemc.errors import InputError
from alchemc.sampler import (
    GibbsWithGradients,
    RandomFlip,
    RandomSwap,
    SurrogateChain,
    draw_block,
    rederive,
    spawn_generators,
    warm_up,
)
from alchemical_mutants import (
    AcceptsEveryOtherState,
    DrawsWithoutTheBias,
    LearnsInProduction,
)
from composition_toys import constrained
from exactness import _chi_square, compare
from gibbs_cases import (
    between_case,
    case,
    free,
    random_state_biases,
    soft_crystal,
)
from toys import RandomHamiltonian, chain_lattice, quadratic_part, toy

pytestmark = pytest.mark.filterwarnings("ignore:sublattice .* exchanges species of different")

LOWEST_P = 1e-4


def gibbs(model, ensemble, groups, kind=GibbsLambda, **options):
    """Kernel with random biases that stay."""
    biases = random_state_biases(groups, 11)
    return kind(model, ensemble, groups, biases=biases, flatten=False, **options)


# ---- the law -------------------------------------------------------------------------------


@pytest.mark.parametrize("metropolised", [False, True])
@pytest.mark.parametrize("name", ["binary", "vacancies", "two sublattices"])
def test_hops_keep_the_biased_law(name, metropolised, record_property):
    _, table, ensemble = toy("semi-grand", name)
    groups = Groups.each_site(table.lattice)
    kernel = gibbs(table, ensemble, groups, metropolised=metropolised)
    verdict = compare(kernel, table, draws=8_000, steps=2)
    record_property("p", verdict.p_value)
    assert verdict.p_value > LOWEST_P
    assert verdict.moved > 0.5


def pair_and_rest(lattice):
    """Two sites as one group, the last site as another, and sites in none."""
    return Groups.of(lattice, {"pair": [0, 1], "last": [lattice.n_sites - 1]})


@pytest.mark.parametrize("name", ["binary", "two sublattices"])
def test_hops_and_flips_of_the_sites_beside_them_keep_the_law(name, record_property):
    _, table, ensemble = toy("semi-grand", name)
    flips = RandomFlip(table, ensemble)
    kernel = gibbs(table, ensemble, pair_and_rest(table.lattice), kernel=flips, occupation_steps=3)
    verdict = compare(kernel, table, draws=1_500, steps=2)
    record_property("p", verdict.p_value)
    assert verdict.p_value > LOWEST_P


def test_groups_hop_in_an_ensemble_that_is_not_linear_in_the_counts(record_property):
    system = constrained("variance-constrained", "two sublattices")
    kernel = gibbs(system.table, system.ensemble, Groups.each_site(system.table.lattice))
    verdict = compare(kernel, system.table, draws=8_000, steps=2)
    record_property("p", verdict.p_value)
    assert verdict.p_value > LOWEST_P


def test_informed_flips_of_the_sites_beside_groups_keep_the_law(record_property):
    _, table, ensemble = toy("semi-grand", "binary")
    flips = GibbsWithGradients(table, ensemble)
    kernel = gibbs(table, ensemble, pair_and_rest(table.lattice), kernel=flips, occupation_steps=2)
    verdict = compare(kernel, table, draws=1_200, steps=2)
    record_property("p", verdict.p_value)
    assert verdict.p_value > LOWEST_P


def between_p_value(kind=GibbsLambda, draws=4_000, **options):
    """χ² of ends of chains that start from the exact law over states between species."""
    exact = between_case()
    biases = random_state_biases(exact.groups, 11)
    kernel = kind(
        exact.model, exact.ensemble, exact.groups, between=exact.states.between, biases=biases,
        flatten=False, **options,
    )  # fmt: skip
    log = exact.log_weights
    log = log - exact.ensemble.beta * biases.energy(exact.states.weights(exact.joint))
    law = np.exp(log - log.max())
    law /= law.sum()
    drawn = np.random.default_rng(1).choice(len(law), size=draws, p=law)
    occupations = np.zeros((draws, 4), dtype=np.int8)
    occupations[:, 2] = exact.others[drawn]
    occupations = exact.states.occupations(exact.joint[drawn], occupations)
    rngs = spawn_generators(2, draws)
    lam = exact.groups.lam(exact.states.weights(exact.joint[drawn]), occupations)
    state = kernel.init(occupations, rngs)._replace(
        states=exact.joint[drawn], energy=exact.model.mixed_energies(lam)[0]
    )
    for _ in range(2):
        state, _ = kernel.step(state, rngs)
    index = (state.states[:, 0] * 4 + state.states[:, 1]) * 2 + state.occupations[:, 2]
    statistic, dof = _chi_square(np.bincount(index, minlength=len(law)), law)
    return float(chi2.sf(statistic, dof)), state


@pytest.mark.parametrize("metropolised", [False, True])
def test_states_between_species_have_their_weights(metropolised, record_property):
    p_value, state = between_p_value(metropolised=metropolised)
    record_property("p", p_value)
    assert p_value > LOWEST_P
    lam = between_case().groups.lam(
        between_case().states.weights(state.states[:50]), state.occupations[:50]
    )
    np.testing.assert_array_equal(
        state.energy[:50], between_case().model.mixed_energies(lam)[0]
    )  # the energy kept is that of λ


def test_running_energies_between_species_are_derived_from_scratch_at_their_lambda():
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    model = PairHamiltonian(lattice, [np.array([[0.0, 0.02], [0.02, -0.03]])])
    ensemble = Canonical(lattice, 2000.0)
    groups = Groups.of(lattice, {"one": [0], "pair": [1, 2]})
    kernel = GibbsLambda(model, ensemble, groups, between=2, kernel=RandomSwap(model, ensemble))
    assert kernel.hamiltonian is model
    rngs = spawn_generators(1, 8)
    state = kernel.init(np.tile([0, 0, 0, 1, 1, 1, 0, 0], (8, 1)), rngs)
    kernel, state, _ = warm_up(kernel, state, rngs, 10)
    while not (kernel.states.interior(state.states).any() and (state.states < 2).all(axis=1).any()):
        state, _ = kernel.step(state, rngs)
    lam = groups.lam(kernel.states.weights(state.states), state.occupations)
    expected = model.mixed_energies(lam)[0]
    off = state._replace(energy=state.energy + 1e-10)
    fresh, drift = rederive(kernel, off)
    np.testing.assert_allclose(fresh.energy, expected, atol=1e-13)
    assert drift == pytest.approx(1e-10 / 8, rel=1e-2)


def test_flips_beside_groups_between_species_keep_the_law(record_property):
    exact = between_case()
    flips = RandomFlip(exact.model, exact.ensemble)
    p_value, _ = between_p_value(draws=1_200, kernel=flips, occupation_steps=2)
    record_property("p", p_value)
    assert p_value > LOWEST_P


@pytest.mark.parametrize("kind", [DrawsWithoutTheBias, AcceptsEveryOtherState, LearnsInProduction])
def test_broken_hops_are_refused(kind):
    _, table, ensemble = toy("semi-grand", "vacancies")
    options = {"metropolised": True} if kind is AcceptsEveryOtherState else {}
    kernel = gibbs(table, ensemble, Groups.each_site(table.lattice), kind, **options)
    assert compare(kernel, table, draws=8_000, steps=2).p_value < 1e-6


# ---- the protocol --------------------------------------------------------------------------


def some_kernel(name):
    if name == "crystal":
        model = soft_crystal()
        kernel = GibbsLambda(
            model, Canonical(model.lattice, 600.0), Groups.whole(model.lattice), between=1,
            dynamics=HMC(step=3.0, n_steps=3),
        )  # fmt: skip
        return kernel, np.zeros((3, 1), dtype=int)
    system = case(name)
    flips = GibbsWithGradients(system.model, system.ensemble)
    kernel = GibbsLambda(
        system.model, system.ensemble, system.groups, kernel=flips, occupation_steps=2,
        couplings=True,
    )  # fmt: skip
    return kernel, system.occupations[[0, 0, 0]]


def same(one, other):
    return all(
        np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")
        for a, b in zip(one, other, strict=True)
    )


def through_a_checkpoint(kernel, tuned):
    """Kernel as it comes back from what a checkpoint keeps."""
    parameters, arrays = _split(tuned.to_arrays())
    stored = Checkpoint(
        point=0, phase="warmup", warmup_steps=0, committed=(0,), ended_by=("",), generators=(),
        kernel=json.loads(json.dumps(parameters)), arrays=arrays, generation=0,
    )  # fmt: skip
    return kernel.with_arrays(_joined(stored))


@pytest.mark.parametrize("name", ["two sublattices", "crystal"])
def test_a_chain_goes_on_bit_for_bit_from_a_checkpoint(name):
    kernel, starts = some_kernel(name)
    rngs = spawn_generators(4, len(starts))
    state = kernel.init(starts, rngs)
    tuned, state, _ = warm_up(kernel, state, rngs, 6)
    kept = [rng.bit_generator.state for rng in rngs], state
    tuned, state, _ = warm_up(tuned, state, rngs, 5)
    state, block = draw_block(tuned, state, rngs, 4)
    again = spawn_generators(4, len(starts))
    for rng, where in zip(again, kept[0], strict=True):
        rng.bit_generator.state = where
    # The kernel of the checkpoint: of the first part of the warm-up.
    first = kernel.init(starts, spawn_generators(4, len(starts)))
    early, _, _ = warm_up(kernel, first, spawn_generators(4, len(starts)), 6)
    back, there, _ = warm_up(through_a_checkpoint(kernel, early), kept[1], again, 5)
    there, second = draw_block(through_a_checkpoint(kernel, back), there, again, 4)
    assert same(state, there)
    assert block.keys() == second.keys()
    assert all(same([block[key]], [second[key]]) for key in block)


@pytest.mark.parametrize("name", ["two sublattices", "crystal"])
def test_a_kernel_stored_before_its_warm_up_learns_the_same(name):
    kernel, starts = some_kernel(name)
    found = []
    for one in (kernel, through_a_checkpoint(kernel, kernel)):
        rngs = spawn_generators(4, len(starts))
        tuned, state, _ = warm_up(one, one.init(starts, rngs), rngs, 3)
        found.append((state, json.dumps(tuned.summary())))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("name", ["two sublattices", "crystal"])
def test_a_chain_does_not_depend_on_those_beside_it(name):
    kernel, starts = some_kernel(name)
    kernel = kernel.with_arrays(
        kernel.to_arrays() | {"biases": random_state_biases(kernel.groups, 2).to_arrays()}
    )

    def block(chains):
        rngs = spawn_generators(4, 3)[chains]
        state = kernel.init(starts[chains], rngs)
        return draw_block(kernel, state, rngs, 4)[1]

    together, alone = block(slice(0, 3)), block(slice(1, 2))
    for key, values in together.items():
        assert same([values[:, 1:2]], [alone[key]]), key


def test_the_energy_of_a_state_is_that_of_its_positions_and_its_states():
    kernel, starts = some_kernel("crystal")
    rngs = spawn_generators(4, len(starts))
    kernel, state, _ = warm_up(kernel, kernel.init(starts, rngs), rngs, 30)
    met = set()
    for _ in range(20):
        state, _ = kernel.step(state, rngs)
        for row, (k,) in enumerate(state.states):
            model = kernel.hamiltonian.at(state.positions[row], state.cells[row])
            lam = kernel.states.table[[k]]
            assert state.energy[row] == pytest.approx(model.mixed_energy(lam).energy, abs=1e-12)
            assert state.occupations[row] == lam.argmax()
            met.add(int(k))
    assert met == {0, 1, 2}


@pytest.mark.slow
def test_states_between_species_of_a_learned_potential_have_its_mixed_energies():
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(1, 1, 1))
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    kernel = GibbsLambda(
        mace, Canonical(lattice, 2000.0), Groups.whole(lattice), between=3,
        dynamics=HMC(step=2.0, n_steps=2, pressure=0.0),
    )  # fmt: skip
    rngs = spawn_generators(4, 2)
    kernel, state, _ = warm_up(kernel, kernel.init(np.array([[0], [1]]), rngs), rngs, 3)
    state, info = kernel.step(state, rngs)
    for row, (k,) in enumerate(state.states):
        there = mace.at(state.positions[row], state.cells[row])
        expected = there.mixed_energy(kernel.states.table[[k]], forces=False, stress=False).energy
        assert state.energy[row] == pytest.approx(expected, abs=1e-8)
    assert np.ptp(np.linalg.det(state.cells)) > 0
    # Force calls of the trajectory and the volume move; energies of the species, and of λ.
    assert (info.energy_calls + info.gradient_calls == 3 + 1 + 4).all()


def test_biases_are_frozen_after_the_warm_up():
    kernel, starts = some_kernel("two sublattices")
    rngs = spawn_generators(4, len(starts))
    tuned, state, report = warm_up(kernel, kernel.init(starts, rngs), rngs, 20)
    before = json.dumps(tuned.summary())
    _, block = draw_block(tuned, state, rngs, 30)
    assert json.dumps(tuned.summary()) == before
    assert report.parameters["flattening_steps"] == 20
    pairs, energies = block["lambda_state"].reshape(-1, 2), block["bias_energy"].ravel()
    for pair in np.unique(pairs, axis=0):
        assert len(set(energies[(pairs == pair).all(axis=1)])) == 1


def test_calls_are_those_of_the_model():
    system = case("two sublattices")
    calls = []

    class Counted:
        lattice = system.model.lattice

        def energy(self, occupations):
            calls.append(len(occupations))
            return system.model.energy(occupations)

        def energy_and_gradient(self, occupations):
            raise AssertionError

        energy_change = energy_and_gradient

    flips = RandomFlip(system.model, system.ensemble)
    kernel = GibbsLambda(Counted(), system.ensemble, system.groups, kernel=flips)
    rngs = spawn_generators(1, 2)
    state = kernel.init(system.occupations[[0, 0]], rngs)
    calls.clear()
    _, info = kernel.step(state, rngs)
    assert info.energy_calls.sum() == sum(calls)
    assert info.energy_calls.min() >= 3  # the other states of both groups
    assert (info.gradient_calls == 0).all()


def test_a_run_stores_states_and_weights_by_group():
    system = case("two sublattices")
    kernel = GibbsLambda(system.model, system.ensemble, system.groups)
    run = sample(kernel, system.occupations[0], n_steps=4, n_replicas=4, warmup=2)
    assert run.samples.lambda_state.dims == ("draw", "chain", "group")
    assert run.samples.state_log_weight.shape == (4, 4, 2, 3)
    assert np.isneginf(run.samples.state_log_weight.values[:, :, 0, 2]).all()
    assert run.samples.bias_energy.dims == ("draw", "chain")
    assert run.attrs["warm_up"]["parameters"]["groups"] == ["a", "b"]


def test_another_temperature_flattens_on_from_the_biases_there_are():
    kernel, starts = some_kernel("two sublattices")
    rngs = spawn_generators(4, len(starts))
    tuned, state, _ = warm_up(kernel, kernel.init(starts, rngs), rngs, 10)
    there = tuned.carried_over(tuned.ensemble.with_temperature(1200.0))
    assert there.ensemble.temperature == there.kernel.ensemble.temperature == 1200.0
    assert np.array_equal(there.biases.linear, tuned.biases.linear)
    _, _, report = warm_up(there, state, rngs, 7)
    assert report.parameters["flattening_steps"] == 7


def test_slopes_of_the_biased_weight_are_its_changes_when_a_group_turns():
    system = case("two sublattices")
    target = WithBiases(system.ensemble, random_state_biases(system.groups, 3))
    before = np.array([[0, 0, 1, 2, 1, 0]])
    none = np.zeros((1, 6, 3))
    slopes = target.log_density_gradient(none, before)[0]
    for sites, new in (([0, 1], 1), ([4], 2)):
        after = before.copy()
        after[0, sites] = new
        change = target.log_density(np.zeros(1), after) - target.log_density(np.zeros(1), before)
        found = slopes[sites, new] - slopes[sites, before[0, sites]]
        assert found.sum() == pytest.approx(change[0], abs=1e-12)
    broken = before.copy()
    broken[0, 0] = 1
    assert target.log_density(np.zeros(1), broken)[0] == -np.inf
    assert target.fixed == ()
    assert WithBiases(Canonical(system.model.lattice, 300.0), target.biases).fixed == ()


# ---- refusals ------------------------------------------------------------------------------


def refusals():
    system = case("two sublattices")
    lattice, model, ensemble = system.model.lattice, system.model, system.ensemble
    other = chain_lattice((("Sr", "La"), 3))
    crystal = soft_crystal()
    cold = free(lattice, {}, 300.0)
    swaps = RandomFlip(model, ensemble)
    neutral = chain_lattice((("Sr", "La"), 2, (1, -1)))
    surrogate = toy("semi-grand", "binary")
    yield "groups is a Lattice", lambda: GibbsLambda(model, ensemble, lattice)
    yield "different lattices", lambda: GibbsLambda(model, ensemble, Groups.each_site(other))
    yield (
        "those of other groups",
        lambda: GibbsLambda(
            model, ensemble, system.groups, biases=Biases(Groups.each_site(lattice))
        ),
    )
    yield "has no mixed_energy", lambda: GibbsLambda(model, ensemble, system.groups, between=1)
    yield (
        "samples another ensemble",
        lambda: GibbsLambda(model, ensemble, system.groups, kernel=RandomFlip(model, cold)),
    )
    yield (
        "every site is in a group",
        lambda: GibbsLambda(model, ensemble, Groups.each_site(lattice), kernel=swaps),
    )
    yield (
        "occupation_steps is 0",
        lambda: GibbsLambda(model, ensemble, system.groups, kernel=swaps, occupation_steps=0),
    )
    yield "dynamics is NPT", lambda: GibbsLambda(
        crystal, Canonical(crystal.lattice, 300.0), Groups.whole(crystal.lattice),
        dynamics=NPT(pressure=0.0),
    )  # fmt: skip
    yield "has no at", lambda: GibbsLambda(model, ensemble, system.groups, dynamics=HMC())
    yield "keeps the charge", lambda: GibbsLambda(
        RandomHamiltonian(neutral, 1), ChargeNeutral(neutral, 300.0, {}),
        Groups.each_site(neutral),
    )  # fmt: skip
    yield "learns in a warm-up of its own", lambda: GibbsLambda(
        surrogate.table, surrogate.ensemble, Groups.of(surrogate.table.lattice, {"a": [0]}),
        kernel=SurrogateChain(surrogate.table, surrogate.ensemble, quadratic_part(surrogate.model)),
    )  # fmt: skip


def test_starts_may_be_in_different_states_but_share_what_is_kept():
    system = case("composition")
    swaps = RandomSwap(system.model, system.ensemble)
    kernel = GibbsLambda(system.model, system.ensemble, system.groups, kernel=swaps)
    starts = system.occupations[[0, -1]]
    assert starts[:, 0].tolist() == [0, 1]
    run = sample(kernel, starts, n_steps=3, seed=1)
    assert (run.samples.occupation.values[:, :, 2:].sum(axis=2) == 3).all()
    starts[1, 2] = 1 - starts[1, 2]
    with pytest.raises(InputError, match="start 1 holds other species than start 0"):
        kernel.init(starts, spawn_generators(1, 2))


@pytest.mark.parametrize("index", range(11))
def test_what_does_not_fit_is_refused(index):
    message, build = list(refusals())[index]
    with pytest.raises(InputError, match=message):
        build()


def test_starts_in_which_a_group_is_broken_up_are_refused():
    kernel, starts = some_kernel("two sublattices")
    broken = starts.copy()
    broken[1, 0] = 1
    with pytest.raises(InputError, match="sites of group 'a' hold different species"):
        kernel.init(broken, spawn_generators(1, 3))
