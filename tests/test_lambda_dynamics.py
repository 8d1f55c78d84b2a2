"""λ-dynamics as a kernel: detailed balance of the hand-over, dynamics, restarts, refusals.

Balance is tested on thousands of independent single steps from exact draws of an enumerated cell:
χ² of the flows x → y against y → x, with a bound of 1e-4 on each p-value and fixed seeds, so that a
right kernel raises a false alarm with a probability below 0.3 % over all of the file. Broken
variants must fall below 1e-6 by the same check.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from ase import units

import alchemical_mutants as mutants
from alchemc import (
    Canonical,
    ChargeNeutral,
    SemiGrandCanonical,
    VarianceConstrained,
    builders,
    sample,
)
from alchemc.campaign.checkpoint import Checkpoint
from alchemc.campaign.engine import _joined, _split
from alchemc.ensembles import WithPositions
from alchemc.ensembles.alchemical import (
    Biases,
    CompactMap,
    Groups,
    LambdaDynamics,
    LambdaIntegrator,
    SoftmaxMap,
)
from alchemc.ensembles.alchemical._trials import Setting, Trials
from alchemc.ensembles.alchemical.arrangements import Arrangements, kept_by, log_product
from alchemc.ensembles.alchemical.integrators import Phase, leapfrog
from alchemc.ensembles.dynamics.step_size import StepSize
from alchemc.errors import InputError
from alchemc.potentials.response import taylor_expansion
from alchemc.sampler import draw_block, warm_up
from alchemc.streams import generator_state, restore_generator, spawn_generators
from lambda_cases import WithTaylor, binary, flows, pair_model, two_sublattices
from toys import RandomHamiltonian, TabulatedHamiltonian, bundled_table

T = 2500.0
MAPS = {"compact": CompactMap(), "softmax": SoftmaxMap()}
UNLIKE = {"A": {"Sr": 0.5, "Ba": 3.0}, "B": {"Ti": 0.6}}


# ---- balance -----------------------------------------------------------------------------------


@pytest.mark.parametrize("simplex", ["compact", "softmax"])
@pytest.mark.parametrize("kind", ["hmc", "underdamped", "overdamped"])
def test_flows_between_vertices_are_alike_both_ways(simplex, kind, record_property):
    model = binary()
    ensemble = SemiGrandCanonical(model.lattice, T, {"Zr": 0.05})
    kernel = LambdaDynamics(
        model, ensemble, simplex=MAPS[simplex], integrator=LambdaIntegrator(kind, 4), at_once=4
    )
    found = flows(kernel, model.lattice.enumerate(), n_rounds=3)
    record_property("p", found._asdict())
    assert min(found.balance, found.stationarity) > 1e-4
    assert found.accepted > 0.2


def canonical_three_species():
    model = two_sublattices((3, 1, 1))
    third = 1 / 3
    composition = {
        "A": {"Sr": third, "Ba": third, "La": third}, "B": {"Ti": third, "Zr": 2 * third},
    }  # fmt: skip
    return model, Canonical(model.lattice, T), model.lattice.enumerate(composition)


def semi_grand_three_species():
    model = two_sublattices()
    ensemble = SemiGrandCanonical(model.lattice, T, {"A": {"Ba": 0.05}, "B": {"Zr": -0.1}})
    return model, ensemble, model.lattice.enumerate()


def one_sublattice_fixed():
    model = two_sublattices()
    ensemble = SemiGrandCanonical(model.lattice, T, {"A": {"Ba": 0.05}}, fixed=("B",))
    states = model.lattice.enumerate()
    return model, ensemble, states[states[:, 2:].sum(axis=1) == 1]


def variance_constrained():
    model = binary((3, 2, 1))
    ensemble = VarianceConstrained(model.lattice, T, {"Ti": -0.8}, kappa=4.0)
    return model, ensemble, model.lattice.enumerate()


def charge_neutral():
    lattice = builders.perovskite(
        ("K", "Sr"), ("Ti", "Nb"), "O", a=4.0, size=(3, 1, 1),
        charges={"K": 1, "Sr": 2, "Ti": 4, "Nb": 5}, spectator_charges={"O": -2},
    )  # fmt: skip
    ensemble = ChargeNeutral(lattice, T, {"A": {"Sr": 0.05}})
    states = lattice.enumerate()
    return pair_model(lattice, 0.02), ensemble, states[ensemble.total_charge(states) == 18]


CASES = {
    "canonical, three species, two sublattices": canonical_three_species,
    "semi-grand, three species, two sublattices": semi_grand_three_species,
    "semi-grand, one sublattice fixed": one_sublattice_fixed,
    "variance-constrained": variance_constrained,
    "charge-neutral": charge_neutral,
}


@pytest.mark.parametrize("case", list(CASES))
def test_flows_are_alike_in_every_ensemble(case, record_property):
    model, ensemble, states = CASES[case]()
    kernel = LambdaDynamics(model, ensemble, integrator=LambdaIntegrator("hmc", 4))
    found = flows(kernel, states, n_rounds=4, warmup=40)
    record_property("p", found._asdict())
    assert min(found.balance, found.stationarity) > 1e-4
    assert found.accepted > 0.1


@pytest.mark.parametrize("simplex", ["compact", "softmax"])
def test_flows_are_alike_where_species_differ_in_sharpness_and_few_sites_move(
    simplex, record_property
):
    model, ensemble, states = semi_grand_three_species()
    kernel = LambdaDynamics(
        model, ensemble, simplex=MAPS[simplex], integrator=LambdaIntegrator("hmc", 3),
        sharpness=UNLIKE, at_once=2,
    )  # fmt: skip
    found = flows(kernel, states, n_rounds=5)
    record_property("p", found._asdict())
    assert min(found.balance, found.stationarity) > 1e-4


def test_flows_are_alike_for_groups_with_biases(record_property):
    model = two_sublattices((2, 2, 1), 0.01)
    lattice = model.lattice
    groups = Groups.of(lattice, {"A1": [0, 1], "A2": [3], "B": [4, 5, 6, 7]})
    rng = np.random.default_rng(0)
    quadratic = 0.1 * rng.normal(size=(3, 3, 3))
    quadratic = np.where(
        groups.allowed[:, :, None] & groups.allowed[:, None] & ~np.eye(3, dtype=bool),
        quadratic + quadratic.transpose(0, 2, 1), 0.0,
    )  # fmt: skip
    ensemble = SemiGrandCanonical(lattice, T, {"A": {"Ba": 0.05}})
    kernel = LambdaDynamics(
        model, ensemble, groups=groups, biases=Biases(groups, quadratic=quadratic),
        integrator=LambdaIntegrator("hmc", 4),
    )  # fmt: skip
    grid = np.array(list(np.ndindex(3, 3, 2)))
    states = groups.occupations(grid, np.zeros(8, int))
    found = flows(kernel, states, n_rounds=4, warmup=40)
    record_property("p", found._asdict())
    assert min(found.balance, found.stationarity) > 1e-4


def test_flows_are_alike_with_the_bundled_mace(record_property):
    table = bundled_table(0.0)
    lattice = table.lattice
    half = taylor_expansion(table, lattice.mean_weights({"B": {"Sc": 0.5, "Ta": 0.5}}))
    groups = Groups.of(lattice, {"first": [0], "second": [3], "pair": [5, 6]})
    grid = np.array(list(np.ndindex(2, 2, 2)))
    states = groups.occupations(grid, np.array([0, 1, 0, 1, 1, 0, 0, 1]))
    number, energies = states.sum(axis=1), table.energy(states)
    mu, _ = np.polyfit(number, energies, 1)
    spread = (energies - mu * number).std() / units.kB
    with warnings.catch_warnings(action="ignore"):  # the charge fluctuates
        ensemble = SemiGrandCanonical(lattice, float(spread), {"Ta": float(mu)})
    kernel = LambdaDynamics(
        WithTaylor(table, half), ensemble, groups=groups, integrator=LambdaIntegrator("hmc", 4)
    )
    found = flows(kernel, states, n_rounds=5, warmup=40)
    record_property("p", found._asdict())
    assert min(found.balance, found.stationarity) > 1e-4
    assert found.accepted > 0.1


def broken(name):
    model, ensemble, states = semi_grand_three_species()
    settings = {"integrator": LambdaIntegrator("hmc", 3), "at_once": 4}
    if name == "unadjusted":
        settings["integrator"] = mutants.Unadjusted("hmc", 3)
        kernel = LambdaDynamics(model, ensemble.with_temperature(800.0), **settings)
        return with_step(kernel, 1.6), states
    settings |= {"simplex": SoftmaxMap(), "sharpness": UNLIKE}
    return mutants.UnnormalisedNear(model, ensemble, **settings), states


def with_step(kernel, size):
    arrays = kernel.to_arrays()
    return kernel.with_arrays(arrays | {"step": arrays["step"] | {"value": size, "mean": size}})


@pytest.mark.parametrize("name", ["unadjusted", "k not normalised"])
def test_a_broken_hand_over_is_rejected(name, record_property):
    kernel, states = broken(name)
    found = flows(kernel, states, n_replicas=2000, n_rounds=5)
    record_property("p", found._asdict())
    assert found.balance < 1e-6


# ---- parts of the hand-over --------------------------------------------------------------------


def test_sums_over_arrangements_are_those_of_an_enumeration():
    model = two_sublattices((2, 2, 1))
    groups = Groups.of(model.lattice, {"a": [0, 1], "b": [2], "c": [3], "d": [4], "e": [6]})
    arrangements = Arrangements(groups, kept_by(Canonical(model.lattice, T), groups))
    grid = np.array(list(np.ndindex(3, 3, 3, 2, 2)))
    rng = np.random.default_rng(0)
    factors = np.where(groups.allowed, rng.normal(size=(3, 5, 3)) * 3.0, -np.inf)
    start = grid[[5, 40, 77]]
    totals = arrangements.totals(start)
    log_z, shares = arrangements.summed(factors, totals)
    drawn = arrangements.draw(
        np.repeat(factors[:1], 4000, 0), [np.repeat(t[:1], 4000, 0) for t in totals],
        spawn_generators(0, 4000),
    )  # fmt: skip
    for row in range(3):
        same = np.all(
            [
                (g == t[row]).all(axis=1)
                for g, t in zip(arrangements.totals(grid), totals, strict=True)
            ],
            axis=0,
        )
        kept = grid[same]
        logs = log_product(np.repeat(factors[row : row + 1], len(kept), 0), kept)
        assert log_z[row] == pytest.approx(np.logaddexp.reduce(logs), abs=1e-10)
        p = np.exp(logs - log_z[row])
        expected = np.einsum("s,sgk->gk", p, np.eye(3)[kept])
        assert np.abs(shares[row] - expected).max() < 1e-10
        if row == 0:
            counts = np.array([(drawn == one).all(axis=1).sum() for one in kept])
            assert counts.sum() == 4000
            often = p > 2e-3
            z = (counts - 4000 * p)[often] / np.sqrt(4000 * p * (1 - p))[often]
            assert np.abs(z).max() < 4.4


def test_the_leapfrog_keeps_the_energy_to_second_order_and_turns_round():
    model, ensemble, states = semi_grand_three_species()
    kernel = LambdaDynamics(model, ensemble)
    rngs = spawn_generators(0, 6)
    state = kernel.init(states[:6], rngs)
    allowed = kernel.hand_over.moving(kernel.groups.states(state.occupations), 99, rngs)
    surface = kernel._surface(state, allowed, [])
    theta = kernel.hand_over.draw_theta(kernel.groups.states(states[:6]), allowed, rngs)
    place = surface.flat(theta)
    velocity = np.array([rng.standard_normal(place.shape[1]) for rng in rngs])
    masses = np.full(place.shape[1], 2.0)
    begin = Phase(place, velocity, *surface(place, np.arange(6)))
    total = lambda phase: phase.value + (phase.velocity**2).sum(axis=1)  # noqa: E731
    errors = []
    for n in (20, 40, 80):
        phase = begin
        for _ in range(n):
            phase = leapfrog(surface, phase, masses, np.full(6, 1.0 / n))
        errors.append(np.abs(total(phase) - total(begin)).max())
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.15)
    phase = phase._replace(velocity=-phase.velocity)
    for _ in range(80):
        phase = leapfrog(surface, phase, masses, np.full(6, 1.0 / 80))
    assert np.abs(phase.place - place).max() < 1e-12


def test_slopes_of_the_surface_are_those_of_finite_differences():
    for case in ("canonical, three species, two sublattices", "variance-constrained"):
        model, ensemble, states = CASES[case]()
        kernel = LambdaDynamics(model, ensemble, sharpness=1.7)
        rngs = spawn_generators(0, 2)
        state = kernel.init(states[:2], rngs)
        held = kernel.groups.states(state.occupations)
        allowed = kernel.hand_over.moving(held, 4, rngs)
        surface = kernel._surface(state, allowed, kernel.hand_over.arrangements.totals(held))
        place = surface.flat(kernel.hand_over.draw_theta(held, allowed, rngs))
        _, slopes = surface(place, np.arange(2))
        for d in range(place.shape[1]):
            step = np.zeros_like(place)
            step[:, d] = 1e-6
            up, down = (surface(place + s * step, np.arange(2))[0] for s in (1, -1))
            assert np.abs((up - down) / 2e-6 - slopes[:, d]).max() < 1e-6


# ---- chains ------------------------------------------------------------------------------------


def test_warm_up_tunes_and_freezes_and_says_what_it_found():
    model = binary()
    kernel = LambdaDynamics(model, SemiGrandCanonical(model.lattice, T, {"Zr": 0.0}))
    rngs = spawn_generators(0, 8)
    state = kernel.init(np.zeros((8, 4), int), rngs)
    tuned, state, report = warm_up(kernel, state, rngs, 120)
    assert abs(report.parameters["acceptance_of_moves"] - 0.9) < 0.06
    assert report.hessian_products == 2
    assert (np.array(report.parameters["masses"]) > 1.0).all()
    frozen = str(tuned.to_arrays())
    tuned.step(state, rngs)
    assert str(tuned.to_arrays()) == frozen
    assert report.gradient_calls >= 8 * 120 * 11


@pytest.mark.parametrize("parts", [(70,), (7,) * 10, (30, 1, 39)])
def test_a_warm_up_in_parts_tries_what_one_of_their_length_does(parts):
    model = binary((2, 2, 2))
    whole = LambdaDynamics(model, SemiGrandCanonical(model.lattice, T, {"Zr": 0.0}))
    rngs = spawn_generators(0, 4)
    state = whole.init(np.zeros((4, 8), int), rngs)
    tuned, there, _ = warm_up(whole, state, rngs, 70)
    assert tuned.to_arrays()["trials"]["groups_at_once"].tolist() == [8, 4, 2, 8, 8]
    streams, kernel, kept = spawn_generators(0, 4), whole, state
    for n in parts:
        kernel = whole.with_arrays(through_json(kernel.to_arrays()))
        kernel, kept, _ = warm_up(kernel, kept, streams, n)
    assert str(kernel.to_arrays()) == str(tuned.to_arrays())
    assert np.array_equal(kept.occupations, there.occupations)
    assert np.array_equal(kept.energy, there.energy)


def through_json(arrays):
    """What a checkpoint makes of parameters: JSON, with the arrays beside it."""
    parameters, kept = _split(arrays)
    return _joined(
        Checkpoint(
            point=0, phase="warmup", warmup_steps=0, committed=(0,), ended_by=("",),
            generators=(), kernel=json.loads(json.dumps(parameters)), arrays=kept, generation=0,
        )
    )  # fmt: skip


def test_trials_keep_the_setting_that_changes_most_sites():
    plan = ((1.0, 1), (1.0, 2), (1.0, 4), (2.0, 1))
    trials = Trials(plan, (Setting(np.ones((8, 2)), 8, StepSize.at(0.3)),))
    worth = {(8, 1.0): 1.0, (4, 1.0): 3.0, (2, 1.0): 2.0, (4, 2.0): 5.0}
    tried = []
    for _ in range(100):
        now = trials.present
        key = now.moving, float(now.kappa[0, 0])
        tried.append(key)
        trials = trials.after(0.9, worth[key], 0.9)
    assert trials.best.moving == 4
    assert trials.best.kappa[0, 0] == 2.0
    assert set(tried) == set(worth)
    assert tried[20:33] == [(4, 2.0)] * 13
    assert tried[33:43] == [(8, 1.0)] * 10


def test_a_chain_goes_on_from_stored_numbers_bit_for_bit():
    model, ensemble, states = canonical_three_species()
    kernel = LambdaDynamics(model, ensemble, integrator=LambdaIntegrator("underdamped", 3))
    rngs = spawn_generators(3, 4)
    state = kernel.init(np.tile(states[0], (4, 1)), rngs)
    tuned, state, _ = warm_up(kernel, state, rngs, 30)
    stored = [generator_state(rng) for rng in rngs]
    arrays = tuned.to_arrays()
    whole = draw_block(tuned, state, rngs, 6)[1]
    again = kernel.with_arrays(arrays)
    rngs = [restore_generator(one) for one in stored]
    state, first = draw_block(again, state, rngs, 2)
    _, second = draw_block(again, state, rngs, 4)
    for name, values in whole.items():
        assert np.array_equal(values, np.concatenate([first[name], second[name]])), name


def test_a_chain_does_not_depend_on_its_company():
    model, ensemble, states = canonical_three_species()
    kernel = LambdaDynamics(model, ensemble, integrator=LambdaIntegrator("underdamped", 3))
    streams = spawn_generators(5, 5)
    state = kernel.init(states[:5], streams)
    for _ in range(10):
        state, _ = kernel.step(state, streams)
    (alone,) = spawn_generators(5, 1, first=3)
    one = kernel.init(states[3:4], [alone])
    for _ in range(10):
        one, _ = kernel.step(one, [alone])
    assert np.array_equal(one.occupations[0], state.occupations[3])
    assert one.energy[0] == state.energy[3]


def test_calls_are_counted_and_vertices_that_stay_cost_no_energy():
    model = binary()
    kernel = LambdaDynamics(
        model,
        SemiGrandCanonical(model.lattice, T, {"Zr": 0.0}),
        integrator=LambdaIntegrator("hmc", 5),
    )
    rngs = spawn_generators(0, 50)
    state = kernel.init(np.zeros((50, 4), int), rngs)
    _, info = kernel.step(state, rngs)
    assert (info.gradient_calls == 6).all()
    moved = (info.sites >= 0).any(axis=1)
    assert np.array_equal(info.energy_calls, moved.astype(int))
    assert not info.accepted[~moved].any()


def test_the_bundled_mace_is_sampled_as_it_is():
    table = bundled_table(0.0)
    mace = table.source
    kernel = LambdaDynamics(
        mace, Canonical(mace.lattice, 4000.0), integrator=LambdaIntegrator("hmc", 3), at_once=4
    )
    run = sample(kernel, np.array([0, 0, 0, 0, 1, 1, 1, 1]), n_steps=6, n_replicas=2, seed=0)
    occupations = run.samples.occupation.values.reshape(-1, 8)
    assert (occupations.sum(axis=1) == 4).all()
    assert (
        np.abs(table.energy(occupations.astype(np.int8)) - run.samples.energy.values.ravel()).max()
        < 1e-9
    )
    assert (run.samples.gradient_calls == 4).all()


# ---- refusals ----------------------------------------------------------------------------------


def refused(name):
    model = binary()
    lattice = model.lattice
    ensemble = SemiGrandCanonical(lattice, T, {"Zr": 0.0})
    groups = Groups.whole(lattice)
    return {
        "map": lambda: LambdaDynamics(model, ensemble, simplex="compact"),
        "integrator": lambda: LambdaDynamics(model, ensemble, integrator="hmc"),
        "kind": lambda: LambdaIntegrator("verlet"),
        "n_steps": lambda: LambdaIntegrator(n_steps=0),
        "friction": lambda: LambdaIntegrator(friction=0.0),
        "biases": lambda: LambdaDynamics(model, ensemble, biases=Biases(groups)),
        "sharpness": lambda: LambdaDynamics(model, ensemble, sharpness={"B": {"Hf": 1.0}}),
        "negative": lambda: LambdaDynamics(model, ensemble, sharpness=-1.0),
        "sublattice": lambda: LambdaDynamics(model, ensemble, sharpness={"C": {"Ti": 1.0}}),
        "at_once": lambda: LambdaDynamics(model, ensemble, at_once=0),
        "no λ": lambda: LambdaDynamics(RandomHamiltonian(lattice, 1), ensemble),
        "positions": lambda: LambdaDynamics(model, ensemble, positions=True),
        "stand still": lambda: LambdaDynamics(model, WithPositions(ensemble)),
        "other lattice": lambda: LambdaDynamics(binary((3, 1, 1)), ensemble),
        "unlike members": lambda: LambdaDynamics(model, ensemble, groups).init(
            np.array([[0, 0, 1, 1]]), spawn_generators(0, 1)
        ),
        "one species": lambda: LambdaDynamics(model, Canonical(lattice, T)).init(
            np.zeros((1, 4), int), spawn_generators(0, 1)
        ),
        "shape": lambda: LambdaDynamics(model, ensemble).init(
            np.zeros(4, int), spawn_generators(0, 1)
        ),
    }[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("map", "give CompactMap"),
        ("integrator", "give a LambdaIntegrator"),
        ("kind", "give one of hmc, underdamped, overdamped"),
        ("n_steps", "n_steps is 0"),
        ("friction", "friction is 0.0"),
        ("biases", "biases are of other groups"),
        ("sharpness", "names 'Hf'"),
        ("negative", "sharpness is -1.0"),
        ("sublattice", "names 'C'"),
        ("at_once", "at_once is 0"),
        ("no λ", "has no mixed_energy"),
        ("positions", "has no forces"),
        ("stand still", "give positions=True"),
        ("other lattice", "lattice differs"),
        ("unlike members", "hold different species"),
        ("one species", "start from a mixed composition"),
        ("shape", "expected"),
    ],
)
def test_what_cannot_work_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        refused(name)()


def test_an_ensemble_that_keeps_something_unknown_is_refused():
    model = binary()

    class Parity:
        lattice, beta = model.lattice, 5.0
        free_sites = np.zeros(4, dtype=bool)

        def log_density(self, energy, occupations, volume=None):
            return np.where(occupations.sum(axis=1) % 2 == 0, -self.beta * energy, -np.inf)

    with pytest.raises(InputError, match="Parity keeps something"):
        LambdaDynamics(model, Parity())


def test_a_start_without_weight_is_refused():
    model, ensemble, _ = charge_neutral()
    kernel = LambdaDynamics(model, ensemble)
    with pytest.raises(InputError, match="no weight"):
        kernel.init(np.array([[0, 1, 0, 0, 0, 1]]), spawn_generators(0, 1))


def test_a_pure_start_moves_where_exchanges_on_two_sublattices_keep_the_charge():
    lattice = builders.perovskite(
        ("Sr", "K"), ("Ti", "Nb"), "O", a=4.0, size=(2, 1, 1),
        charges={"K": 1, "Sr": 2, "Ti": 4, "Nb": 5}, spectator_charges={"O": -2},
    )  # fmt: skip
    model = pair_model(lattice, 0.02)
    kernel = LambdaDynamics(model, ChargeNeutral(lattice, T, {"A": {"K": 0.0}}))
    run = sample(kernel, np.zeros(4, int), n_steps=20, n_replicas=4, seed=1)
    held = run.samples.occupation.values.reshape(-1, 4)
    assert held.any()
    assert np.array_equal(held[:, :2].sum(axis=1), held[:, 2:].sum(axis=1))


@pytest.mark.parametrize(
    ("groups", "start"),
    [
        ({"one": [0], "other": [1]}, [0, 0, 0, 1]),
        ({"pair": [0, 1], "other": [2]}, [0, 0, 1, 0]),  # of unlike sizes, they cannot exchange
        ({"one": [0]}, [1, 0, 1, 0]),
    ],
)
def test_a_start_that_has_no_other_arrangement_is_refused(groups, start):
    model = binary()
    kernel = LambdaDynamics(
        model, Canonical(model.lattice, T), groups=Groups.of(model.lattice, groups)
    )
    with pytest.raises(InputError, match="the only arrangement of what the ensemble keeps"):
        kernel.init(np.array([start]), spawn_generators(0, 1))


def test_a_table_of_a_model_can_be_sampled_through_its_own_mixed_energies():
    model = binary()
    table = TabulatedHamiltonian(model, model.lattice.enumerate())
    table.mixed_energies, table.mixed_energy = model.mixed_energies, model.mixed_energy
    ensemble = SemiGrandCanonical(model.lattice, T, {"Zr": 0.0})
    starts = np.zeros((4, 4), int)
    runs = [sample(LambdaDynamics(m, ensemble), starts, n_steps=5, seed=1) for m in (model, table)]
    assert np.array_equal(*(run.samples.occupation.values for run in runs))
