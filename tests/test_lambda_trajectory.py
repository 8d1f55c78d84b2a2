"""Continuous λ: what a trajectory is distributed as, profiles, flattening, and atoms that move.

Statistical tests have fixed seeds and compare in units of the reported error; each would raise a
false alarm with a probability below 1e-3.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import alchemical_mutants as mutants
from alchemc import Canonical, PairHamiltonian, SemiGrandCanonical, builders, sample
from alchemc.ensembles import (
    HMC,
    Biases,
    CompactMap,
    Groups,
    HybridMD,
    LambdaDynamics,
    LambdaIntegrator,
    LambdaTrajectory,
    SoftmaxMap,
    Tempering,
    lambda_profile,
)
from alchemc.errors import InputError
from alchemc.statistics import standard_error
from lambda_cases import binary, two_sublattices
from toy_crystal import ToyCrystal, ring

T = 2500.0


def one_group(strength=-0.02, mu=0.1):
    """E(λ) of one group of eight sites is quadratic."""
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 2))
    model = PairHamiltonian(lattice, [np.array([[0.0, strength], [strength, 0.0]])])
    return model, SemiGrandCanonical(lattice, T, {"Zr": mu}), Groups.whole(lattice)


def free(n_species=3):
    """No energies at all."""
    lattice = builders.perovskite(("Sr", "Ba", "La")[:n_species], "Ti", "O", a=4.0, size=(1, 1, 1))
    return PairHamiltonian(lattice, []), SemiGrandCanonical(lattice, T, {})


@pytest.mark.parametrize("simplex", [CompactMap(), SoftmaxMap(a=1.5)], ids=["compact", "softmax"])
@pytest.mark.parametrize("kind", ["underdamped", "overdamped"])
def test_lambda_at_zero_potential_is_distributed_as_the_map_says(simplex, kind, record_property):
    model, ensemble = free()
    found = LambdaTrajectory(
        model, ensemble, simplex=simplex, integrator=LambdaIntegrator(kind, 5)
    ).run(np.zeros(1, int), n_draws=80, n_replicas=100, warmup=30, seed=1)
    squares = (found["lambda"].values ** 2).sum(axis=3)[:, :, 0]
    rng = np.random.default_rng(0)
    theta = simplex.draw_measure((400_000, 3), rng)
    exact = (simplex.weights(theta, np.ones(3, bool)) ** 2).sum(axis=1)
    z = (squares.mean() - exact.mean()) / np.hypot(
        standard_error(squares), exact.std() / np.sqrt(len(exact))
    )
    record_property("z", z)
    assert abs(z) < 4.0


def test_without_the_jacobian_lambda_is_distributed_otherwise():
    model, ensemble = free()
    found = LambdaTrajectory(
        model, ensemble, simplex=mutants.MeasureWithoutJacobian(a=1.5),
        integrator=LambdaIntegrator("underdamped", 5),
    ).run(np.zeros(1, int), n_draws=150, n_replicas=40, warmup=30, seed=1)  # fmt: skip
    squares = (found["lambda"].values ** 2).sum(axis=3)[:, :, 0]
    exact = 3 * 1.5 * 2.5 / (4.5 * 5.5)
    assert abs(squares.mean() - exact) / standard_error(squares) > 10.0


def test_the_simplex_is_kept_to_rounding_and_slopes_are_those_of_the_model():
    model, ensemble, groups = one_group()
    found = LambdaTrajectory(model, ensemble, groups=groups).run(
        np.zeros(8, int), n_draws=30, n_replicas=3, seed=0
    )
    weights = found["lambda"].values
    assert np.abs(weights.sum(axis=3) - 1.0).max() < 1e-15 * 4
    first = groups.lam(weights[7, 1], np.zeros(8, int))
    point = model.mixed_energy(first)
    assert found["energy"].values[7, 1] == pytest.approx(point.energy)
    assert np.allclose(found["slope"].values[7, 1], groups.gather(point.gradient))
    assert {name: found[name].attrs["units"] for name in ("energy", "slope")} == {
        "energy": "eV", "slope": "eV",
    }  # fmt: skip


def profile_excess(found, model, ensemble, groups, simplex=None):
    """z of the profile against E(λ) − μN, with the best constant."""
    profile = lambda_profile(found, group=0, species=1, n_bins=12, simplex=simplex)
    x = np.linspace(0.0, 1.0, 241)
    middles = 0.5 * (x[1:] + x[:-1])
    lam = np.stack([1 - middles, middles], axis=1)[:, None]
    energy, _ = model.mixed_energies(groups.lam(lam, np.zeros((240, 8), int)))
    u = energy - ensemble.potentials[0, 1] * 8 * middles
    weights = np.exp(-ensemble.beta * u).reshape(12, 20).mean(axis=1)
    exact = -np.log(weights) / ensemble.beta
    inner = slice(1, 11)  # the outermost bins hold what the map does not reach
    apart, error = (profile.free_energy.values - exact)[inner], profile.error.values[inner]
    constant = (apart / error**2).sum() / (1 / error**2).sum()
    return (apart - constant) / error


@pytest.mark.parametrize("simplex", [CompactMap(), SoftmaxMap(a=0.8)], ids=["compact", "softmax"])
def test_a_profile_is_the_energy_along_lambda(simplex, record_property):
    model, ensemble, groups = one_group()
    found = LambdaTrajectory(model, ensemble, groups=groups, simplex=simplex).run(
        np.zeros(8, int), n_draws=150, n_replicas=60, warmup=60, seed=3
    )
    z = profile_excess(found, model, ensemble, groups)
    record_property("z", z.tolist())
    assert (z**2).sum() < 32.0  # χ² of nine: below with a probability of 99.98 %


@pytest.mark.parametrize("broken", [mutants.DensityWithoutJacobian(), mutants.UniformDensity()])
def test_a_profile_by_a_wrong_density_of_the_map_is_rejected(broken):
    model, ensemble, groups = one_group()
    found = LambdaTrajectory(model, ensemble, groups=groups).run(
        np.zeros(8, int), n_draws=150, n_replicas=60, warmup=60, seed=3
    )
    assert (profile_excess(found, model, ensemble, groups, broken) ** 2).sum() > 60.0


def test_biases_are_taken_off_a_profile_and_flattening_finds_them(record_property):
    model, ensemble, groups = one_group(strength=-0.04, mu=0.25)
    plain = LambdaTrajectory(model, ensemble, groups=groups)
    flat = plain.flattened(np.zeros(8, int), n_updates=300, n_replicas=12, seed=2)
    assert isinstance(flat.biases, Biases)
    runs = [
        one.run(np.zeros(8, int), n_draws=150, n_replicas=60, warmup=60, seed=4)
        for one in (plain, flat)
    ]
    shares = [float((run["lambda"].values[..., 1] > 0.5).mean()) for run in runs]
    assert abs(shares[1] - 0.5) < 0.1 < abs(shares[0] - 0.5)
    z = profile_excess(runs[1], model, ensemble, groups)
    record_property("z", z.tolist())
    assert (z**2).sum() < 32.0


def test_unadjusted_dynamics_are_biased_by_a_long_step_and_adjusted_ones_are_not(record_property):
    model, ensemble = free(2)
    simplex = SoftmaxMap(a=1.5)
    z = {}
    for adjusted in (True, False):
        found = LambdaTrajectory(
            model, ensemble, simplex=simplex, adjusted=adjusted, step=1.2,
            integrator=LambdaIntegrator("overdamped", 5),
        ).run(np.zeros(1, int), n_draws=200, n_replicas=100, warmup=20, seed=5)  # fmt: skip
        squares = (found["lambda"].values ** 2).sum(axis=3)[:, :, 0]
        z[adjusted] = (squares.mean() - 2 * 2.5 / (2 * 4.0)) / standard_error(squares)
    record_property("z", z[True])
    assert abs(z[True]) < 4.0
    assert abs(z[False]) > 8.0


def test_a_kept_composition_holds_lambda_near():
    model = binary((2, 2, 1))
    found = LambdaTrajectory(model, Canonical(model.lattice, T)).run(
        np.array([0, 0, 1, 1]), n_draws=60, n_replicas=20, warmup=30, seed=0
    )
    counts = found["lambda"].values[..., 1].sum(axis=2)
    assert abs(counts.mean() - 2.0) < 0.3
    assert counts.std() < 0.8
    with pytest.raises(InputError, match="kept species counts"):
        lambda_profile(found)


def test_a_trajectory_depends_on_its_seed_alone():
    model = two_sublattices()
    ensemble = SemiGrandCanonical(model.lattice, T, {})
    one = LambdaTrajectory(model, ensemble, step=0.3)
    settings = {"n_draws": 5, "warmup": 3, "seed": 7}
    few = one.run(np.zeros(4, int), n_replicas=2, **settings)["lambda"].values
    many = one.run(np.zeros(4, int), n_replicas=3, **settings)["lambda"].values
    assert np.array_equal(few, many[:, :2], equal_nan=True)
    assert np.isnan(few[:, :, 2:, 2]).all()


# ---- atoms that move ---------------------------------------------------------------------------


class MixedSprings(ToyCrystal):
    """Tethered atoms; between species the tethers and offsets are mixed by λ."""

    dtype = "float64"

    def energy(self, occupations):
        cells = np.repeat(self.cell[None], len(occupations), axis=0)
        places = np.repeat(self.positions[None], len(occupations), axis=0)
        return self._evaluate(occupations, places, cells)[0]

    def mixed_energy(self, lam, forces=True, stress=False):
        from alchemc.potentials.mixed_energy import MixedEnergy

        s, sites = self.springs, self.lattice.sites
        share = np.zeros((len(self.lattice.atoms), len(s.tether)))
        share[np.arange(len(share)), self._kinds] = 1.0
        share[sites] = 0.0
        for i, site in enumerate(sites):
            np.add.at(share[site], self._kind_of[i], lam[i])
        u = self.positions - self._fractional @ self.cell
        away = u[:, None, :] - s.offset[None, :, None]
        each = 0.5 * s.tether * (away**2).sum(axis=2)
        push = -(share * s.tether)[:, :, None] * away
        gradient = np.stack([each[site][self._kind_of[i]] for i, site in enumerate(sites)])
        gradient = gradient * np.asarray(self.lattice.allowed)
        return MixedEnergy(float((share * each).sum()), gradient, push.sum(axis=1), None)


def springs():
    from toy_crystal import Springs

    none = np.zeros((4, 4))
    # alphabetical: O, Sc, Ta
    return Springs(
        tether=np.array([2.0, 2.0, 5.0, 0.0]), offset=np.array([0.0, 0.05, -0.08, 0.0]),
        bond=none, misfit=none, pair=none,
    )  # fmt: skip


def test_atoms_that_move_with_lambda_have_their_integrals(record_property):
    lattice = ring((("Sc", "Ta"), 2), (("O",), 1))
    model = MixedSprings(lattice, springs())
    # ∫ exp(−βE) dR of a site is (2π/βt)^(3/2): Ta is the stiffer one.
    ensemble = SemiGrandCanonical(lattice, 800.0, {"Ta": 0.05})
    kernel = LambdaDynamics(
        model, ensemble, positions=True, fix_centre=False, integrator=LambdaIntegrator("hmc", 8)
    )
    run = sample(kernel, np.array([0, 1]), n_steps=60, n_replicas=60, warmup=50, seed=6)
    ta = run.samples.occupation.values == 1
    exact = expit(ensemble.beta * 0.05 + 1.5 * np.log(2.0 / 5.0))
    series = ta.mean(axis=2)
    z = (series.mean() - exact) / standard_error(series)
    record_property("z", z)
    assert abs(z) < 4.0
    u = run.samples.positions.values - lattice.atoms.positions
    for held, tether, offset in ((False, 2.0, 0.05), (True, 5.0, -0.08)):
        chosen = np.where(ta == held, 1.0, 0.0)
        away = ((u[:, :, :2] - offset) ** 2).sum(axis=3) - 3.0 / (ensemble.beta * tether)
        values = (chosen * away).mean(axis=2)
        z = values.mean() / standard_error(values)
        record_property("z", z)
        assert abs(z) < 4.0


def test_lambda_in_time_with_moving_atoms_has_the_integrals_over_both(record_property):
    lattice = ring((("Sc", "Ta"), 1), (("O",), 1))
    s = springs()
    ensemble = SemiGrandCanonical(lattice, 800.0, {"Ta": 0.1})
    found = LambdaTrajectory(
        MixedSprings(lattice, s), ensemble, positions=True, fix_centre=False,
        integrator=LambdaIntegrator("hmc", 8),
    ).run(np.array([0]), n_draws=120, n_replicas=40, warmup=60, seed=2)  # fmt: skip
    theta = CompactMap().draw_measure((200_000, 2), np.random.default_rng(0))
    x = CompactMap().weights(theta, np.ones(2, bool))
    tether, offset = s.tether[1:3], s.offset[1:3]
    stiff, pulled = x @ tether, x @ (tether * offset)
    left = 1.5 * (x @ (tether * offset**2) - pulled**2 / stiff)  # of all three components
    weights = stiff**-1.5 * np.exp(-ensemble.beta * (left - 0.1 * x[:, 1]))
    exact = (weights * x[:, 1]).sum() / weights.sum()
    series = found["lambda"].values[:, :, 0, 1]
    z = [(series.mean() - exact) / standard_error(series)]
    oxygen = found["positions"].values[:, :, 1] - lattice.atoms.positions[1]
    squares = (oxygen**2).sum(axis=2)
    z.append((squares.mean() - 3.0 / (ensemble.beta * 2.0)) / standard_error(squares))
    record_property("z", z)
    assert np.abs(z).max() < 4.0


def test_hybrid_blocks_of_lambda_dynamics_and_positions_have_the_same_integrals(record_property):
    lattice = ring((("Sc", "Ta"), 2), (("O",), 1))
    ensemble = SemiGrandCanonical(lattice, 800.0, {"Ta": 0.05})
    kernel = LambdaDynamics(
        MixedSprings(lattice, springs()), ensemble, integrator=LambdaIntegrator("hmc", 2)
    )
    hybrid = HybridMD(kernel, HMC(step=5.0, n_steps=4), occupation_steps=2, fix_centre=False)
    run = sample(hybrid, np.array([0, 1]), n_steps=30, n_replicas=24, warmup=20, seed=3)
    series = (run.samples.occupation.values == 1).mean(axis=2)
    exact = expit(ensemble.beta * 0.05 + 1.5 * np.log(2.0 / 5.0))
    z = (series.mean() - exact) / standard_error(series)
    record_property("z", z)
    assert abs(z) < 4.0


def test_a_ladder_of_temperatures_takes_lambda_dynamics():
    model = binary((2, 2, 1))
    kernel = LambdaDynamics(model, SemiGrandCanonical(model.lattice, T, {"Zr": 0.0}))
    ladder = Tempering(kernel, temperatures=[T, 2.0 * T])
    run = sample(ladder, np.array([0, 1, 1, 0]), n_steps=10, n_replicas=3, warmup=10, seed=0)
    assert [float(point.temperature) for point in run.points] == [T, 2.0 * T]
    energies = run.points[1].energy.values
    occupations = run.points[1].occupation.values.reshape(-1, 4).astype(np.int8)
    assert np.allclose(model.energy(occupations), energies.ravel())


def test_the_centre_is_held_and_positions_are_stored():
    lattice = ring((("Sc", "Ta"), 2), (("O",), 1))
    kernel = LambdaDynamics(
        MixedSprings(lattice, springs()), SemiGrandCanonical(lattice, 800.0, {}), positions=True
    )
    run = sample(kernel, np.array([0, 1]), n_steps=5, n_replicas=2, seed=0)
    away = run.samples.positions.values - lattice.atoms.positions
    assert np.abs(away).max() > 1e-3
    assert np.abs(away.mean(axis=2)).max() < 1e-12


# ---- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"simplex": "compact"}, "give CompactMap"),
        ({"integrator": "hmc"}, "give a LambdaIntegrator"),
        ({"integrator": LambdaIntegrator("hmc"), "adjusted": False}, "Langevin dynamics"),
        ({"step": 0.0}, "step is 0.0"),
    ],
)
def test_trajectories_of_no_sense_are_refused(settings, message):
    model, ensemble, groups = one_group()
    with pytest.raises(InputError, match=message):
        LambdaTrajectory(model, ensemble, groups=groups, **settings)


def test_biases_of_other_groups_and_odd_runs_are_refused():
    model, ensemble, groups = one_group()
    with pytest.raises(InputError, match="other groups"):
        LambdaTrajectory(model, ensemble, biases=Biases(groups))
    one = LambdaTrajectory(model, ensemble, groups=groups)
    with pytest.raises(InputError, match="n_draws is 0"):
        one.run(np.zeros(8, int), n_draws=0)
    with pytest.raises(InputError, match="give one"):
        one.run(np.zeros((2, 8), int), n_draws=1)
    found = one.run(np.zeros(8, int), n_draws=4, seed=0)
    for settings, message in (
        ({"group": 5}, "group is 5"), ({"group": "A"}, "group is 'A'"),
        ({"species": 2}, "species is 2"), ({"n_bins": 1}, "n_bins is 1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            lambda_profile(found, **settings)
