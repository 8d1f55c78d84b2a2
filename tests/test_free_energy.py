"""Free energies against enumeration, by every route, in units of their reported errors.

Statistical checks compare χ² of z-scores, or single |z|, with a false-alarm probability of 1e-4
each at fixed seeds.
"""

import warnings

import numpy as np
import pytest
from ase.units import GPa, kB
from scipy.stats import chi2

from alchemc import Canonical, SemiGrandCanonical, VarianceConstrained, builders
from alchemc.analysis import (
    Observations,
    SampledPoint,
    free_energy,
    lower_hull,
    mbar_averages,
    mixing_free_energy,
    observations,
    plots,
    wang_landau_free_energy,
)
from alchemc.analysis.stability import pool as pool_module
from alchemc.analysis.stability.free_energies import error_of
from alchemc.density_of_states import DensityOfStates
from alchemc.errors import ConvergenceError, InputError
from free_energy_cases import drawn_run, exact_free_energies, regular_solution, toy_cell

ALARM = 1e-4


def semi_grand_run(name, temperatures, mus, sublattice="s0", **options):
    lattice, states, energies = toy_cell(name)
    species = lattice.sublattices[sublattice].species[-1]
    with warnings.catch_warnings(action="ignore"):  # the charge fluctuates
        ensembles = [
            SemiGrandCanonical(lattice, t, {sublattice: {species: mu}})
            for t in temperatures
            for mu in mus
        ]
    return drawn_run(lattice, states, energies, ensembles, **options)


def scores(free, exact):
    """z of everything that has an error and ten effective draws."""
    error = error_of(free.replicates["free_energy"])
    known = (error > 1e-12) & ~(free.effective < 10)
    return ((free.free_energy - exact) / np.where(known, error, np.nan))[known]


def calibrated(free_of, exact_of, repeats):
    """z of repeats [n, n_values], with errors that must be right on average."""
    return np.array([
        ((f.free_energy - exact_of(f)) / np.maximum(error_of(f.replicates["free_energy"]), 1e-12))
        for f in map(free_of, range(repeats))
    ]).reshape(repeats, -1)  # fmt: skip


def range_of_mu(name, temperature):
    """μ that take the toy through most of its compositions."""
    return np.linspace(-1.0, 1.0, 7) * kB * temperature * 4.0


def test_a_semi_grand_run_gives_every_composition_of_an_enumerated_cell(record_property):
    lattice, states, energies = toy_cell("binary")
    run = semi_grand_run("binary", (1500.0, 2500.0), range_of_mu("binary", 2000.0), n_draws=600)
    free = free_energy(run, [1500.0, 2000.0, 2500.0])
    assert np.isfinite(free.free_energy).all()
    assert free.absolute
    z = scores(free, exact_free_energies(free, lattice, states, energies))
    record_property("z", z.tolist())
    assert len(z) >= 20
    assert np.abs(z).max() < 4.5
    table = free.table.sel(temperature=2000.0)
    for c, n in enumerate(free.compositions[:, 1]):
        mine = energies[states.sum(axis=1) == n]
        p = np.exp(-mine / (kB * 2000.0) + mine.min() / (kB * 2000.0))
        p /= p.sum()
        mean = p @ mine / 8
        capacity = (p @ (mine / 8 - mean) ** 2) * 8 / (kB * (kB * 2000.0) ** 2) * kB
        for name, value in (("energy", mean), ("heat_capacity", capacity)):
            error = float(table[f"{name}_error"][c])
            assert abs(float(table[name][c]) - value) <= 4.5 * error + 1e-9, (name, n)


def test_errors_are_right_on_average_for_correlated_draws(record_property):
    lattice, states, energies = toy_cell("binary")

    def one(seed):
        mus = range_of_mu("binary", 2000.0)[::2]
        run = semi_grand_run("binary", (2000.0,), mus, n_draws=250, stay=0.6, seed=100 + seed)
        return free_energy(run, resamples=60, seed=seed)

    z = calibrated(one, lambda f: exact_free_energies(f, lattice, states, energies), 40)
    middle = z[:, 1:-1]  # the pure ends are exact
    record_property("z", middle.std(axis=0).tolist())
    # Compositions of one repeat go together: each alone is 40 independent z, wide for the noise of
    # an error made of 60 resamples.
    low, high = np.sqrt(chi2.ppf([ALARM / 14, 1 - ALARM / 14], 40) / 40)
    assert (middle.std(axis=0) > 0.9 * low).all()
    assert (middle.std(axis=0) < 1.12 * high).all()
    # Ignoring that draws are correlated makes errors half as large (τ = 4): seen by the same bound.
    assert (2.0 * middle.std(axis=0) > 1.12 * high).all()


def test_the_bundled_potential_is_described_from_its_draws(record_property):
    lattice, states, energies = toy_cell("bundled")
    slope = float(np.polyfit(states.sum(axis=1), energies, 1)[0])
    with warnings.catch_warnings(action="ignore"):
        ensembles = [
            SemiGrandCanonical(lattice, t, {"B": {"Ta": slope + shift}})
            for t in (3000.0, 5000.0)
            for shift in (-4.0, -3.0, -2.0, -0.8, 0.8, 2.0, 3.0, 4.0)
        ]
    run = drawn_run(lattice, states, energies, ensembles, n_draws=500)
    free = free_energy(run)
    exact = exact_free_energies(free, lattice, states, energies)
    z = scores(free, exact)
    record_property("z", z.tolist())
    assert len(z) >= 10
    assert np.abs(z).max() < 4.5
    mixing = mixing_free_energy(free)
    ends = exact[:, [0]] + (exact[:, [-1]] - exact[:, [0]]) * free.axis.x
    np.testing.assert_array_less(
        np.abs(mixing.mixing - (exact - ends)), 5 * mixing.mixing_error + 1e-9
    )


def test_a_variance_constrained_run_gives_the_same(record_property):
    lattice, states, energies = toy_cell("binary")
    with warnings.catch_warnings(action="ignore"):
        ensembles = [
            VarianceConstrained(lattice, 1500.0, {"s0": {"Ti": phi}}, kappa=4.0)
            for phi in np.linspace(-2.2, 0.2, 6)
        ]
    free = free_energy(drawn_run(lattice, states, energies, ensembles, n_draws=500))
    z = scores(free, exact_free_energies(free, lattice, states, energies))
    record_property("z", z.tolist())
    assert len(z) >= 6
    assert np.abs(z).max() < 4.5
    curve = free.chemical_potential()
    exact = np.diff(
        exact_free_energies(free, lattice, states, energies)[0][np.argsort(free.axis.x)]
    )
    np.testing.assert_array_less(np.abs(curve["mean"][0] - 8 * exact), 4.5 * curve["error"][0])


def test_several_species_and_sublattices_are_free_energies_of_counts(record_property):
    for name, sublattice, mus in (
        ("ternary", "s0", (-0.4, 0.0, 0.4)),
        ("two sublattices", "s1", (-0.4, 0.0, 0.4)),
    ):
        lattice, states, energies = toy_cell(name)
        run = semi_grand_run(name, (3000.0,), mus, sublattice, n_draws=600)
        free = free_energy(run)
        assert free.axis is None
        z = scores(free, exact_free_energies(free, lattice, states, energies))
        record_property(f"z {name}", z.tolist())
        assert len(z) >= 8
        assert np.abs(z).max() < 4.7
        with pytest.raises(InputError, match="fractions vary"):
            free.chemical_potential()


def test_mixing_and_hull_of_three_species_are_those_of_enumeration(record_property):
    lattice, states, energies = toy_cell("ternary")
    corners = [(a, b) for a in (-0.9, 0.0, 0.9) for b in (-0.9, 0.0, 0.9)]
    with warnings.catch_warnings(action="ignore"):
        ensembles = [
            SemiGrandCanonical(lattice, 2500.0, {"s0": {"Zr": a, "Sn": b}}) for a, b in corners
        ]
    free = free_energy(drawn_run(lattice, states, energies, ensembles, n_draws=800))
    assert len(free.compositions) == 28
    found = mixing_free_energy(free).isel(temperature=0)
    exact = exact_free_energies(free, lattice, states, energies)[0]
    x = free.compositions[:, 1:] / 6
    pure = [int(np.flatnonzero(c == 6)[0]) for c in free.compositions.T]
    plane = np.column_stack([1 - x.sum(axis=1), x]) @ exact[pure]
    error = np.maximum(found.mixing_error.values, 1e-9)
    z = (found.mixing.values - (exact - plane)) / error
    record_property("z", z.tolist())
    assert np.abs(np.delete(z, pure)).max() < 4.7
    above = lower_hull(x, exact).above
    assert np.abs(found.above_hull.values - above).max() < 6 * error.max()


def canonical_run(name, n_second, temperatures, **options):
    lattice, states, energies = toy_cell(name)
    mine = states.sum(axis=1) == n_second
    ensembles = [Canonical(lattice, t) for t in temperatures]
    return drawn_run(lattice, states[mine], energies[mine], ensembles, **options)


class Toy:
    """The energies of a toy cell, looked up."""

    def __init__(self, name):
        self.lattice, self._states, self._energies = toy_cell(name)
        self._where = {row.tobytes(): n for n, row in enumerate(self._states.astype(np.int8))}

    def energy(self, occupations):
        rows = np.asarray(occupations, dtype=np.int8)
        return self._energies[[self._where[row.tobytes()] for row in rows]]


def test_canonical_runs_are_hung_on_random_arrangements_and_brought_down(record_property):
    lattice, states, energies = toy_cell("binary")
    ladder = (1000.0, 1500.0, 2500.0, 6000.0)
    runs = [canonical_run("binary", n, ladder, seed=n) for n in (2, 4, 6)]
    free = free_energy(runs, anchor=Toy("binary"))
    assert free.compositions.tolist() == [[6, 2], [4, 4], [2, 6]]
    z = scores(free, exact_free_energies(free, lattice, states, energies))
    record_property("z", z.tolist())
    assert len(z) == 12
    assert np.abs(z).max() < 4.5
    assert "random arrangements" in free.statement


def test_a_point_hot_enough_is_its_own_anchor_and_without_one_runs_are_refused(record_property):
    lattice, states, energies = toy_cell("binary")
    hot = [canonical_run("binary", n, (1000.0, 2500.0, 8000.0, 60000.0), seed=n) for n in (2, 5)]
    free = free_energy(hot)
    z = scores(free, exact_free_energies(free, lattice, states, energies))
    record_property("z", z.tolist())
    assert len(z) == 8
    assert np.abs(z).max() < 4.5
    cold = [canonical_run("binary", n, (900.0, 1200.0), seed=n) for n in (2, 5)]
    for runs in (cold, cold[0]):
        with pytest.raises(InputError, match="does not reach β = 0: give anchor="):
            free_energy(runs)


def test_runs_without_a_pure_composition_are_hung_on_random_arrangements_too(record_property):
    lattice, states, energies = toy_cell("binary")
    inner = (states.sum(axis=1) > 1) & (states.sum(axis=1) < 7)
    with warnings.catch_warnings(action="ignore"):
        ensembles = [
            SemiGrandCanonical(lattice, t, {"s0": {"Zr": mu}})
            for t in (2000.0, 6000.0)
            for mu in (-0.3, 0.0, 0.3)
        ]
    run = drawn_run(lattice, states[inner], energies[inner], ensembles, n_draws=500)
    assert not free_energy(run).absolute
    free = free_energy(run, anchor=Toy("binary"))
    assert free.absolute
    z = scores(free, exact_free_energies(free, lattice, states, energies))
    record_property("z", z.tolist())
    assert np.abs(z).max() < 4.5


def test_densities_of_states_give_absolute_free_energies(record_property):
    lattice, states, energies = toy_cell("binary")
    rng, pairs = np.random.default_rng(2), []
    for n in range(9):
        mine = np.sort(energies[states.sum(axis=1) == n])
        noise = 0.05 * rng.normal(size=(12, len(mine)))
        repeats = noise - np.log(np.exp(noise).sum(axis=1, keepdims=True)) + np.log(len(mine))
        density = DensityOfStates(mine, repeats, n_sites=8, bin_width=0.01)
        pairs.append(({"s0": {"Ti": 1 - n / 8, "Zr": n / 8}}, density))
    free = wang_landau_free_energy(lattice, pairs, [1200.0, 2400.0])
    z = scores(free, exact_free_energies(free, lattice, states, energies))
    record_property("z", z.tolist())
    assert len(z) == 14
    assert np.abs(z).max() < 5.5  # eleven degrees of freedom
    single = DensityOfStates([0.0], [[0.0]], n_sites=8, bin_width=1.0)
    with pytest.raises(InputError, match="one repeat"):
        wang_landau_free_energy(lattice, [({"s0": {"Ti": 1.0}}, single)], 900.0)


def test_the_ideal_solution_is_the_number_of_arrangements(record_property):
    observed = regular_solution(
        40, 0.0, (800.0,), [{"mu_B_Ta": mu} for mu in np.linspace(-0.35, 0.35, 9)], n_draws=400
    )
    free = free_energy(observed)
    exact = -free.ln_arrangements / free.beta[:, None] / 40
    z = scores(free, exact)
    record_property("z", z.tolist())
    assert len(z) > 30
    assert np.abs(z).max() < 4.7
    row = free.semi_grand(0.05).isel(temperature=0, mu=0)
    x = 1 / (1 + np.exp(-0.05 * free.beta[0]))
    assert abs(float(row.fraction) - x) < 4.5 * float(row.fraction_error)
    chi = free.beta[0] * x * (1 - x)
    assert abs(float(row.susceptibility) - chi) < 4.5 * float(row.susceptibility_error)
    flat = free.curvature()
    inner = (flat.x > 0.2) & (flat.x < 0.8)
    expected = 1 / free.beta[0] / (flat.x * (1 - flat.x))
    z = ((flat["mean"] - expected) / flat["error"])[0, inner.values]
    assert np.abs(z).max() < 5


# ---- refusals -------------------------------------------------------------------------------


def test_points_that_do_not_overlap_are_refused_by_name():
    run = semi_grand_run("binary", (600.0,), (-3.0, 0.0))
    with pytest.raises(
        ConvergenceError, match=r"share too few states: the nearest are 600 K, .* add points"
    ):
        free_energy(run)


@pytest.mark.parametrize(("kappa", "n_sites"), [(8.0, 108), (40.0, 50), (20.0, 32)])
def test_steps_of_a_constraint_that_is_too_tight_are_refused_with_ones_that_do(kappa, n_sites):
    def sampled(step):
        phis = [{"phi_B_Ta": phi, "kappa": kappa} for phi in np.arange(-1.4, -0.5, step)]
        return regular_solution(n_sites, 0.1, (1000.0,), phis)

    with pytest.raises(ConvergenceError, match="lower κ") as refused:
        free_energy(sampled(0.25), resamples=2)
    step = float(str(refused.value).split("overlap at ")[1].split(" apart")[0])
    assert step == pytest.approx(5 / np.sqrt(kappa * n_sites), rel=0.06)
    assert np.isfinite(free_energy(sampled(step), resamples=2).free_energy).all()


def test_a_constraint_that_holds_single_compositions_is_told():
    phis = [{"phi_B_Ta": phi, "kappa": 100.0} for phi in np.arange(-1.4, -0.5, 0.12)]
    with pytest.raises(ConvergenceError, match="lower κ: 100 holds single compositions of 16"):
        free_energy(regular_solution(16, 0.1, (1000.0,), phis))


def test_a_temperature_out_of_reach_is_refused():
    rng = np.random.default_rng(3)
    ta = rng.binomial(100, 0.5, size=(300, 4))
    energy = rng.normal(scale=3.0, size=ta.shape)
    point = SampledPoint({"temperature": 9000.0}, energy, np.stack([100 - ta, ta], axis=-1))
    run = Observations((("B", "Sc"), ("B", "Ta")), {"B": 100}, (point,))
    assert np.isfinite(free_energy(run, [8000.0]).free_energy).all()
    with pytest.raises(ConvergenceError, match="effective draws speak of 2000 K"):
        free_energy(run, [2000.0])
    with pytest.raises(ConvergenceError, match="effective draws speak of 2000 K"):
        mbar_averages(run, None, 2000.0, chemical_potentials={})


def test_a_chain_in_the_wrong_phase_contradicts_the_others():
    run = observations(semi_grand_run("binary", (1500.0, 2500.0), range_of_mu("binary", 2000.0)))
    first = run.points[0]
    wrong = first._replace(coordinates=dict(first.coordinates) | {"mu_s0_Zr": 0.02})
    broken = type(run)(run.kinds, run.sizes, (wrong, *run.points[1:]))
    with pytest.raises(ConvergenceError, match=r"where all points together give .* cut="):
        free_energy(broken)


def test_too_few_draws_and_stuck_chains_carry_a_verdict():
    run = semi_grand_run("binary", (2000.0,), (-0.2, 0.0, 0.2), n_draws=20)
    free = free_energy(run)
    assert not free.converged.any()
    assert "chains did not converge" in free.statement
    assert free.to_dict()["rows"][0]["converged"] is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperatures": [-3.0]}, "above 0"),
        ({"temperatures": "cold"}, "above 0"),
        ({"temperatures": [[900.0]]}, "above 0"),
        ({"resamples": 1}, "2 or more"),
        ({"seed": -1}, "0 or more"),
        ({"cut": 5.0}, "between 0 and 1"),
        ({"cut": "half"}, "between 0 and 1"),
        ({"anchor": "model"}, "give the energy model"),
        ({"runs": []}, "at least one"),
        ({"runs": None}, "is no run"),
        ({"runs": ["run"]}, "is no run"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(change, message):
    run = semi_grand_run("binary", (2000.0,), (0.0,), n_draws=50)
    with pytest.raises(InputError, match=message):
        free_energy(**({"runs": run} | change))


def test_arguments_of_averages_and_reweighting_are_checked():
    run = semi_grand_run("binary", (2000.0,), (0.0,), n_draws=300)
    for change, message in [
        ({"chemical_potentials": "none"}, "by sublattice and species"),
        ({"chemical_potentials": {"s0": 0.1}}, "by sublattice and species"),
        ({"series": {"one": 3}}, r"give one array \[draw, chain\]"),
        ({"temperatures": np.nan}, "above 0"),
        ({"seed": 0.5}, "0 or more"),
    ]:
        with pytest.raises(InputError, match=message):
            mbar_averages(run, **({"chemical_potentials": {}} | change))
    free = free_energy(run, resamples=5)
    for wrong in (np.inf, "low", [[0.0]]):
        with pytest.raises(InputError, match="mu is"):
            free.semi_grand(wrong)


def test_runs_that_would_not_fit_into_memory_are_thinned(monkeypatch, record_property):
    lattice, states, energies = toy_cell("binary")
    run = semi_grand_run("binary", (2000.0,), range_of_mu("binary", 2000.0), n_draws=600)
    monkeypatch.setattr(pool_module, "LARGEST", 20000)  # of 117,600
    free = free_energy(run)
    assert free.effective.sum() <= 600 * 4 * 7 / 6
    z = scores(free, exact_free_energies(free, lattice, states, energies))
    record_property("z", z.tolist())
    assert np.abs(z).max() < 4.5


def test_pure_compositions_that_contradict_each_other_are_told():
    # A field that the energies of one end lack: MBAR knows of neither.
    mus = [{"mu_B_Ta": mu} for mu in np.linspace(-0.3, 0.3, 9)]
    observed = regular_solution(30, 0.0, (900.0,), mus)
    free = free_energy(observed)
    assert "off its energy" not in free.statement
    points = []
    for point in observed.points:
        pure = point.counts[..., 1] == 30
        points.append(point._replace(energy=point.energy - 0.4 * pure))
    broken = Observations(observed.kinds, observed.sizes, tuple(points))
    assert "off its energy" in free_energy(broken).statement


# ---- deliberately broken --------------------------------------------------------------------


def broken_bias(flaw):
    right = pool_module._bias

    def wrong(observed, point, compositions):
        scalars = dict(point.coordinates)
        if flaw == "sign of μ":
            scalars = {k: -v if k.startswith("mu_") else v for k, v in scalars.items()}
        if flaw == "sign of φ":
            scalars = {k: -v if k.startswith("phi_") else v for k, v in scalars.items()}
        if flaw == "κ dropped":
            scalars = {k: 0.0 if k.startswith("kappa") else v for k, v in scalars.items()}
        return right(observed, point._replace(coordinates=scalars), compositions)

    return wrong


@pytest.mark.parametrize("flaw", ["sign of μ", "sign of φ", "κ dropped"])
def test_a_wrong_reduced_potential_is_noticed(flaw, monkeypatch):
    lattice, states, energies = toy_cell("binary")
    with warnings.catch_warnings(action="ignore"):
        if flaw == "sign of μ":
            run = semi_grand_run("binary", (1500.0, 2500.0), range_of_mu("binary", 2000.0))
        else:
            ensembles = [
                VarianceConstrained(lattice, 1500.0, {"s0": {"Ti": phi}}, kappa=4.0)
                for phi in np.linspace(-2.2, 0.2, 6)
            ]
            run = drawn_run(lattice, states, energies, ensembles)
    monkeypatch.setattr(pool_module, "_bias", broken_bias(flaw))
    with pytest.raises(
        ConvergenceError, match=r"where all points together give|share too few states"
    ):
        free_energy(run)


def test_without_the_number_of_arrangements_the_anchor_is_off(monkeypatch):
    from alchemc.analysis.stability import anchored

    lattice, states, energies = toy_cell("binary")
    monkeypatch.setattr(anchored, "ln_arrangements", lambda cell, rows: 0.0 * rows[:, 0] + 1e-3)
    run = canonical_run("binary", 4, (1000.0, 1500.0, 2500.0, 6000.0))
    free = free_energy(run, anchor=Toy("binary"))
    z = scores(free, exact_free_energies(free, lattice, states, energies))
    assert np.abs(z).min() > 10


# ---- averages -------------------------------------------------------------------------------


def test_averages_and_slopes_between_the_points_are_those_of_enumeration(record_property):
    _, states, energies = toy_cell("binary")
    mus = (-0.15, 0.05, 0.25)
    run = semi_grand_run("binary", (1500.0, 2200.0), mus, n_draws=600)
    alike = (states == np.roll(states, 1, axis=1)).sum(axis=1).astype(float)
    series = [
        (p.occupation.values == np.roll(p.occupation.values, 1, axis=-1)).sum(axis=-1)
        for p in run.points
    ]
    found = mbar_averages(
        run, {"alike": series}, [1500.0, 1800.0], chemical_potentials={"s0": {"Zr": 0.1}}
    )
    z = []
    for t in (1500.0, 1800.0):
        row, h = found.sel(temperature=t), energies - 0.1 * states.sum(axis=1)
        p = np.exp(-(h - h.min()) / (kB * t))
        p /= p.sum()
        for name, values in (("energy", energies / 8), ("alike", alike)):
            slope = (p @ (values * h) - (p @ values) * (p @ h)) / (kB * t**2)
            z.append(float((row[name] - p @ values) / row[f"{name}_error"]))
            z.append(float((row[f"{name}_slope"] - slope) / row[f"{name}_slope_error"]))
    record_property("z", z)
    assert np.abs(z).max() < 4.5
    with pytest.raises(InputError, match="the composition varies: say at which"):
        mbar_averages(run)
    with pytest.raises(InputError, match="one array"):
        mbar_averages(run, {"alike": series[:1]}, chemical_potentials={"s0": {"Zr": 0.1}})


def test_a_cell_that_moves_is_weighed_by_its_enthalpy():
    # Two levels of 0 and 0.1 eV, whose volumes of 10 and 12 Å³ cost PV at 5 GPa.
    rng, pressure = np.random.default_rng(5), 5.0
    h = np.array([10.0, 12.0]) * pressure * GPa + np.array([0.0, 0.1])
    points = []
    for t in (900.0, 1300.0):
        p = np.exp(-h / (kB * t))
        drawn = rng.choice(2, size=(800, 4), p=p / p.sum())
        scalars = {"temperature": t, "pressure": pressure}
        volume = np.array([10.0, 12.0])[drawn]
        points.append(SampledPoint(scalars, 0.1 * drawn, np.ones((800, 4, 1), int), volume))
    cell = Observations((("B", "Ta"),), {"B": 1}, tuple(points))
    row = mbar_averages(cell, None, 1100.0).isel(temperature=0)
    p = np.exp(-h / (kB * 1100.0))
    assert abs(float(row.energy) - p @ h / p.sum()) < 4.5 * float(row.energy_error)
    other = points[1]._replace(coordinates={"temperature": 1300.0, "pressure": 0.0})
    with pytest.raises(InputError, match="different pressures"):
        mbar_averages(Observations(cell.kinds, cell.sizes, (points[0], other)))


def test_pure_compositions_alone_tell_nothing_of_mixing():
    """Two ends make a curve of free energies that looks ideal: it is told, and not drawn."""
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 1, 1))

    def found(*shares):
        pairs = [
            (
                {"B": {"Sc": 1 - x, "Ta": x}},
                DensityOfStates([0.4 * x], np.full((2, 1), np.log(1 + (x == 0.5))), 2, 1.0),
            )
            for x in shares
        ]
        return wang_landau_free_energy(lattice, pairs, 1000.0)

    ends, all_three = found(0.0, 1.0), found(0.0, 0.5, 1.0)
    said = "Only pure compositions were sampled"
    assert said in ends.statement
    assert ends.to_dict()["notes"][-1].startswith(said)
    assert said not in ends.to_dict()["statement"]
    assert "2 compositions" in ends.statement
    assert said not in all_three.statement
    assert said not in found(1.0).statement
    assert "of 1 composition at" in found(1.0).statement
    for draw in (mixing_free_energy, plots.plot_mixing):
        with pytest.raises(InputError, match="only pure compositions"):
            draw(ends)
    assert "F_\\mathrm{mix}" in plots.plot_mixing(all_three).axes[0].get_ylabel()
