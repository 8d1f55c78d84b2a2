"""Free energies of discrete λ states, by Gibbs λ: right, with honest errors, biases taken off.

References are enumerated lattice systems and a harmonic crystal. Free energies are compared in
units of their reported errors, with fixed seeds. False alarms: 14 refused beyond 3 errors (one in
25 sets of seeds), and three spreads of 50 z-scores outside 0.75–1.3 (one set in 40). Broken
variants are refused by the same checks.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from ase import units
from pymbar import MBAR

from alchemc import Canonical, analysis, sample
from alchemc.ensembles import HMC, Biases, GibbsLambda, Langevin
from alchemc.ensembles.alchemical import Groups
from alchemc.errors import InputError
from alchemc.sampler import RandomFlip, RandomSwap, draw_block, spawn_generators
from alchemical_mutants import TakesTheBiasOffTheWrongWay, counted_as_vertices
from gibbs_cases import MixedCrystal, between_case, case, random_state_biases, soft_crystal

pytestmark = pytest.mark.filterwarnings("ignore:sublattice .* exchanges species of different")

WIDEST_Z = 3.0


# ---- free energies -------------------------------------------------------------------------


@cache
def flattened_run(name):
    """Run of four chains with learnt biases, sites beside the groups moved by swaps or flips."""
    system = case(name)
    moves = RandomSwap if isinstance(system.ensemble, Canonical) else RandomFlip
    kernel = GibbsLambda(
        system.model, system.ensemble, system.groups, occupation_steps=2, couplings=True,
        kernel=moves(system.model, system.ensemble),
    )  # fmt: skip
    return sample(kernel, system.occupations[0], n_steps=500, n_replicas=4, warmup=100, seed=1)


def estimated(samples, temperature, **options):
    return analysis.state_free_energies(
        samples.state_log_weight.values, temperature,
        lambda_state=samples.lambda_state.values, **options,
    )  # fmt: skip


def z_scores(found, exact):
    """Of all states but the reference that are possible."""
    exact = exact - exact[found.reference]
    known = np.isfinite(exact) & (np.arange(len(exact)) != found.reference)
    return (found.free_energies - exact)[known] / found.errors[known]


@pytest.mark.parametrize("name", ["composition", "three species", "two sublattices"])
def test_free_energies_of_enumerated_systems_are_right(name, record_property):
    system = case(name)
    run = flattened_run(name)
    found = estimated(run.samples, system.ensemble.temperature)
    exact = system.exact(found.states)
    z = z_scores(found, exact)
    record_property("z", z.round(2).tolist())
    assert np.ptp(exact) > 0.1
    assert np.abs(z).max() < WIDEST_Z
    assert found.errors.max() < 0.02
    assert np.delete(found.ess, 0).min() > 50


def test_flattened_biases_give_uniform_visits():
    run = flattened_run("two sublattices")
    states = run.samples.lambda_state.values.reshape(-1, 2)
    _, counts = np.unique(states, axis=0, return_counts=True)
    assert len(counts) == 6
    np.testing.assert_allclose(counts / counts.sum(), 1 / 6, atol=0.05)


def repeats(system, kind=GibbsLambda, n_repeats=50, n_draws=250):
    """z of the joint states of the last two of all groups, over independent pairs of chains.

    Every site beside the groups is a group of its own without a bias, so that all repeats run as
    one batch.
    """
    lattice, groups = system.model.lattice, system.groups
    rest = [s for s in range(lattice.n_sites) if groups.group_of_site[s] < 0]
    all_groups = Groups(
        lattice,
        (*((s,) for s in rest), *groups.members),
        (*(f"site {s}" for s in rest), *groups.names),
    )
    biases = random_state_biases(groups, 5)
    n = len(rest)
    linear = np.zeros(all_groups.allowed.shape)
    linear[n:] = biases.linear
    coupling = np.zeros((*linear.shape, *linear.shape))
    coupling[n:, :, n:] = biases.coupling
    kernel = kind(
        system.model, system.ensemble, all_groups,
        biases=Biases(all_groups, linear=linear, coupling=coupling), flatten=False,
    )  # fmt: skip
    rngs = spawn_generators(6, 2 * n_repeats)
    state = kernel.init(np.zeros((2 * n_repeats, lattice.n_sites), dtype=int), rngs)
    state, _ = draw_block(kernel, state, rngs, 1, 20)
    _, block = draw_block(kernel, state, rngs, n_draws)
    log_weights, held = block["state_log_weight"][:, :, n:], block["lambda_state"][:, :, n:]
    z = []
    for repeat in range(n_repeats):
        pair = slice(2 * repeat, 2 * repeat + 2)
        found = analysis.state_free_energies(
            log_weights[:, pair], system.ensemble.temperature, lambda_state=held[:, pair]
        )
        z.append(z_scores(found, system.exact(found.states)))
    return np.array(z)


@pytest.mark.parametrize("name", ["two species", "three species", "two sublattices"])
def test_errors_are_honest_over_fifty_repeats(name, record_property):
    z = repeats(case(name))
    spread = z.std(axis=0)
    record_property("z", spread.round(2).tolist())
    assert 0.75 < z.std() < 1.3
    assert (np.abs(z.mean(axis=0)) < WIDEST_Z / np.sqrt(len(z))).all()


def test_a_bias_that_is_taken_off_the_wrong_way_is_seen():
    z = repeats(case("three species"), TakesTheBiasOffTheWrongWay, n_repeats=5)
    assert np.abs(z.mean(axis=0)).max() > 10


def test_states_in_between_counted_as_species_are_seen(record_property):
    exact = between_case()
    kernel = GibbsLambda(
        exact.model, exact.ensemble, exact.groups, between=exact.states.between,
        kernel=RandomFlip(exact.model, exact.ensemble), occupation_steps=2, couplings=True,
    )  # fmt: skip
    run = sample(kernel, np.zeros(4, int), n_steps=600, n_replicas=4, warmup=150, seed=3)
    kT = units.kB * exact.ensemble.temperature
    joint = [(a, b) for a in (0, 1) for b in (0, 1)]
    known = np.array(
        [
            -kT * np.logaddexp.reduce(exact.log_weights[(exact.joint == row).all(axis=1)])
            for row in joint
        ]
    )
    found = estimated(run.samples, exact.ensemble.temperature, n_species=2)
    assert found.states.tolist() == [list(row) for row in joint]
    z = z_scores(found, known)
    record_property("z", z.round(2).tolist())
    assert np.abs(z).max() < WIDEST_Z
    broken = analysis.state_free_energies(
        counted_as_vertices(run.samples.state_log_weight.values, exact.states),
        exact.ensemble.temperature,
        lambda_state=exact.states.nearest[run.samples.lambda_state.values],
    )
    assert np.abs(z_scores(broken, known)).max() > 10


def test_mbar_finds_the_same_from_the_same_draws():
    system = case("three species")
    run = flattened_run("three species")
    log_weights = run.samples.state_log_weight.values[:, :, 0].reshape(-1, 3)
    held = run.samples.lambda_state.values.ravel()
    order = np.argsort(held, kind="stable")
    mbar = MBAR(-log_weights[order].T, np.bincount(held, minlength=3))
    kT = units.kB * system.ensemble.temperature
    theirs = kT * mbar.compute_free_energy_differences()["Delta_f"][0]
    ours = estimated(run.samples, system.ensemble.temperature)
    assert (np.abs(theirs - ours.free_energies) < 3 * ours.errors + 1e-12).all()


# ---- positions -----------------------------------------------------------------------------


def crystal_run(model, n_steps, seed=1, temperature=600.0, **options):
    groups = Groups.whole(model.lattice)
    kernel = GibbsLambda(model, Canonical(model.lattice, temperature), groups, **options)
    return sample(kernel, np.zeros(1, int), n_steps=n_steps, n_replicas=4, warmup=100, seed=seed)


def exact_crystal(model, temperature, held):
    kT = units.kB * temperature
    log_z = [model.gaussian(np.array([k]), temperature, held)[0] for k in (0, 1)]
    return -kT * np.array(log_z)


@pytest.mark.parametrize("between", [0, 2])
def test_a_change_of_stiffness_has_its_closed_form(between, record_property):
    model = soft_crystal()
    run = crystal_run(model, 300, between=between, dynamics=HMC(step=3.0, n_steps=6))
    found = estimated(run.samples, 600.0, n_species=2)
    z = z_scores(found, exact_crystal(model, 600.0, np.ones(4, dtype=bool)))
    record_property("z", z.round(2).tolist())
    assert np.abs(z).max() < WIDEST_Z
    assert found.errors[1] < 0.004
    held = run.samples.lambda_state.values
    assert (np.bincount(held.ravel()) > 0.7 * held.size / (2 + between)).all()


def test_an_atom_turns_into_a_vacancy_with_a_ghost(record_property):
    model = soft_crystal(vacancies=True)
    run = crystal_run(model, 300, dynamics=HMC(step=3.0, n_steps=6))
    found = estimated(run.samples, 600.0)
    exact = exact_crystal(model, 600.0, np.array([False, True, True, True]))
    z = z_scores(found, exact)
    record_property("z", z.round(2).tolist())
    assert np.abs(z).max() < WIDEST_Z


def test_mixed_forces_of_the_toy_are_slopes_of_its_energy():
    model, lam, step = soft_crystal(), np.array([[0.3, 0.7]]), 1e-5
    rng = np.random.default_rng(1)
    positions = model.positions + 0.1 * rng.normal(size=model.positions.shape)
    forces = model.at(positions).mixed_energy(lam, forces=True).forces
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        shift = np.zeros_like(positions)
        shift[atom, axis] = step
        up, down = (model.at(positions + s * shift).mixed_energy(lam).energy for s in (1, -1))
        assert forces[atom, axis] == pytest.approx(-(up - down) / (2 * step), abs=1e-7)


def test_langevin_dynamics_moves_positions_too():
    model = soft_crystal()
    run = crystal_run(model, 4, dynamics=Langevin(time_step=1.0, n_steps=3), between=1)
    assert run.samples.positions.shape == (4, 4, 4, 3)
    assert np.isfinite(run.samples.energy.values).all()


# ---- the estimator ---


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (np.zeros((5, 2)), {}, "log_weights have shape"),
        (np.zeros((5, 2, 2, 3)), {}, "need lambda_state"),
        (np.full((5, 2, 3), np.nan), {}, "hold NaN"),
        (np.zeros((5, 2, 3)), {"reference": 3}, "reference is 3; give 0 to 2"),
        (np.zeros((5, 2, 3)), {"reference": True}, "reference is True; give a whole number"),
        (np.zeros((5, 2, 3)), {"reference": 1.0}, "reference is 1.0; give a whole number"),
        (np.zeros((5, 2, 3)), {"reference": 2, "n_species": 2}, "reference is 2; give 0 to 1"),
        (np.array([[[0.0, 0.0, -np.inf]]]), {"reference": 2}, "state 2 has no weight"),
        (np.zeros((5, 2, 3)), {"n_species": 4}, "n_species is 4; give 1 to 3"),
        (np.zeros((5, 2, 3)), {"n_species": 2.0}, "n_species is 2.0; give a whole number"),
        (np.zeros((5, 2, 3)), {"lambda_state": np.zeros((5, 2))}, "leave it out for one group"),
        (np.zeros((0, 2, 3)), {}, "log_weights have shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, options, message):
    with pytest.raises(InputError, match=message):
        analysis.state_free_energies(weights, 300.0, **options)


def test_states_in_between_are_left_out_of_one_group_too():
    weights = np.log(np.random.default_rng(1).dirichlet([2.0, 1.0, 5.0], size=(300, 4)))
    found = analysis.state_free_energies(weights, 300.0, n_species=2)
    assert found.states.tolist() == [[0], [1]]
    assert found.shares.sum() == pytest.approx(1.0)
    whole = analysis.state_free_energies(weights[:, :, None], 300.0, n_species=2)
    assert np.array_equal(found.free_energies, whole.free_energies)


@pytest.mark.parametrize(("n_draws", "known"), [(60, True), (20, False)])
def test_a_difference_that_is_the_same_in_all_draws_has_nothing_to_converge(n_draws, known):
    weights = np.random.default_rng(1).dirichlet([20.0, 10.0], size=(n_draws, 2))
    weights = np.log(np.stack([weights[..., 0], 2.0 * weights[..., 0], weights[..., 1]], axis=-1))
    found = analysis.state_free_energies(weights, 300.0)
    assert found.free_energies[1] == pytest.approx(-units.kB * 300.0 * np.log(2.0))
    assert np.isnan(found.errors[1])
    assert found.constant.tolist() == [False, known, False]
    assert found.converged[1] == known
    assert ("1 the same in all draws, without an error" in found.to_dict()["statement"]) == known
    still = analysis.state_free_energies(weights[:, :, :2], 300.0).to_dict()["statement"]
    assert ("did not converge" in still) != known
    assert f"largest error {'none' if known else 'unknown'}" in still


def test_free_energies_say_what_they_are():
    system = case("three species")
    run = flattened_run("three species")
    found = estimated(run.samples, system.ensemble.temperature, reference=1).to_dict()
    assert found["statement"].startswith("Free energies of 3 states of λ at 1500 K, relative to")
    assert found["free_energies_eV"][1] == 0.0
    assert json.loads(json.dumps(found)) == found


def test_the_toy_with_forces_is_the_toy():
    model = soft_crystal()
    assert isinstance(model, MixedCrystal)
    for k in (0, 1):
        occupation = np.array([k])
        assert model.mixed_energy(np.eye(2)[occupation]).energy == pytest.approx(
            model.energy(occupation[None])[0], abs=1e-12
        )
