"""Free energies from works and windows against closed forms, in units of their reported errors.

Over 60 repeats the standard deviation of z has to lie within 0.75 and 1.3 and its mean within
3.9/√60 of zero: with honest errors a check of both fails by chance with a probability below 1 %;
seeds are fixed.
"""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from ase.units import kB
from scipy.integrate import trapezoid

from alchemc.alchemical_records import Windows, Works
from alchemc.analysis import (
    dHdl,
    switching_free_energy,
    u_nk,
    window_free_energy,
    work_table,
)
from alchemc.analysis.alchemical import bennett as bennett_module
from alchemc.analysis.alchemical import decorrelation, multistate, switching
from alchemc.analysis.alchemical.crooks import crossing, crossing_of_gaussians, one_way
from alchemc.analysis.alchemical.integration import integrals
from alchemc.analysis.alchemical.rounds import caveats_of_rounds
from alchemc.errors import ConvergenceError, InputError
from alchemical_mutants import (
    counted_as_independent,
    reverse_measured_forward,
    temperature_counted_twice,
)
from works_and_windows import gaussian_works, harmonic_windows, stiffness

REPEATS = 60


def codes(result):
    return {caveat.code for caveat in result.caveats}


def honest(z):
    """Whether z-scores look like draws of a unit normal."""
    z = np.asarray(z)
    return 0.75 <= z.std(ddof=1) <= 1.3 and abs(z.mean()) < 3.9 / np.sqrt(len(z))


def z_of_works(shapes, width, rho, repeats=REPEATS):
    rng = np.random.default_rng(11)
    z, alarms = [], set()
    for _ in range(repeats):
        works = gaussian_works(rng, shapes, width, rho=rho)
        found = switching_free_energy(works, resamples=20)
        alarms |= codes(found) - {"few-works", "jarzynski", "resampled-error"}
        z.append((found.free_energy - 0.3) / found.error)
    return np.array(z), alarms


def z_of_windows(shape, rho, repeats=REPEATS):
    rng = np.random.default_rng(12)
    z, alarms = [], set()
    for _ in range(repeats):
        windows, exact = harmonic_windows(rng, shape=shape, rho=rho)
        found = window_free_energy(windows, parts=0)
        alarms |= codes(found) - {"unconverged", "discretisation"}
        spline = found.integrals["spline"]
        off = np.hypot(spline.error, spline.discretisation)
        z.append([
            (found.free_energy - exact) / found.error,
            (found.bar.value - exact) / found.bar.error,
            (spline.value - exact) / off,
        ])  # fmt: skip
    return np.array(z).T, alarms


@pytest.mark.parametrize(
    ("shapes", "width", "rho"),
    [
        ((200, 120), 1.5, 0.0),
        ((25, 25), 1.0, 0.0),
        (((1, 40), (1, 40)), 1.0, 0.0),
        (((400, 2), (400, 2)), 1.5, 0.8),
    ],
    ids=["many", "few", "one of each chain", "correlated"],
)
def test_errors_from_works_are_honest(shapes, width, rho, record_property):
    z, alarms = z_of_works(shapes, width, rho)
    record_property("z", [round(float(x), 2) for x in z])
    assert honest(z)
    assert not alarms


@pytest.mark.parametrize(("shape", "rho"), [((200, 2), 0.0), ((700, 2), 0.8)])
def test_errors_from_windows_are_honest(shape, rho, record_property):
    (mbar, bar, spline), alarms = z_of_windows(shape, rho)
    record_property("z", [round(float(x), 2) for x in mbar])
    assert honest(mbar)
    assert honest(bar)
    assert not alarms
    # The quadrature's own uncertainty is no standard error: it may be too large, not too small.
    assert spline.std(ddof=1) < 1.3
    assert abs(spline.mean()) < 1.0


def test_what_both_directions_of_a_chain_share_widens_the_error(record_property):
    rng, kt = np.random.default_rng(13), kB * 500.0
    rows = []
    for _ in range(REPEATS):
        shared = np.sqrt(0.6) * rng.normal(size=(1, 24))
        forward, reverse = (
            sign * (0.3 + kt * shared) + kt * (0.5 + np.sqrt(0.4) * rng.normal(size=(5, 24)))
            for sign in (1.0, -1.0)
        )
        found = switching_free_energy(Works(forward, reverse, 500.0, n_steps=1), resamples=40)
        rows.append([(found.free_energy - 0.3) / e for e in (found.error, found.error_analytic)])
    z, formula = np.array(rows).T
    record_property("z", [round(float(x), 2) for x in z])
    assert honest(z)
    assert formula.std(ddof=1) > 1.25


def test_correlated_draws_counted_as_independent_are_seen(monkeypatch):
    monkeypatch.setattr(switching, "inefficiency", counted_as_independent)
    z, _ = z_of_works(((400, 2), (400, 2)), 1.5, 0.8, 25)
    assert z.std(ddof=1) > 1.5
    for module in (decorrelation, multistate):
        monkeypatch.setattr(module, "inefficiency", counted_as_independent)
    (mbar, bar, _), _ = z_of_windows((700, 2), 0.8, 25)
    assert mbar.std(ddof=1) > 1.5
    assert bar.std(ddof=1) > 1.5


def test_reverse_works_measured_forward_are_seen():
    rng = np.random.default_rng(1)
    with pytest.raises(ConvergenceError, match="own direction"):
        switching_free_energy(reverse_measured_forward(gaussian_works(rng, (99, 99), 1.0)))
    hidden = gaussian_works(rng, (400, 400), 1.0, difference=0.0)
    found = switching_free_energy(reverse_measured_forward(hidden))
    assert "crooks" in codes(found)
    assert not found.converged
    assert not codes(switching_free_energy(hidden))


def test_a_temperature_counted_twice_is_seen():
    rng = np.random.default_rng(2)
    works = gaussian_works(rng, (300, 300), 1.5)
    assert "crooks" not in codes(switching_free_energy(works))
    assert "crooks" in codes(switching_free_energy(temperature_counted_twice(works)))
    windows, _ = harmonic_windows(rng, 8, (400, 2))
    assert "boltzmann" not in codes(window_free_energy(windows, parts=0))
    wrong = window_free_energy(temperature_counted_twice(windows), parts=0)
    assert "boltzmann" in codes(wrong)
    assert wrong.boltzmann_slope.value > 1.5


def test_a_cycle_that_gains_work_is_seen():
    rng = np.random.default_rng(3)
    works = gaussian_works(rng, (200, 200), 0.8)
    less = replace(works, forward=works.forward - 0.06)
    assert {"second-law"} <= codes(switching_free_energy(less))


def test_works_that_do_not_overlap_are_refused_and_poor_overlap_is_told():
    rng = np.random.default_rng(4)
    with pytest.raises(ConvergenceError, match="switch in more steps"):
        switching_free_energy(gaussian_works(rng, (50, 50), 8.0))
    found = switching_free_energy(gaussian_works(rng, (4000, 4000), 4.6))
    assert "overlap" in codes(found)
    assert "not converged" in found.statement
    assert abs(found.free_energy - 0.3) < 4 * found.error
    good = switching_free_energy(gaussian_works(rng, (500, 500), 0.05))
    assert good.overlap == pytest.approx(0.5, abs=0.01)
    assert good.converged


def test_few_works_and_resampled_errors_are_told():
    found = switching_free_energy(gaussian_works(np.random.default_rng(5), (6, 6), 1.0))
    assert "few-works" in codes(found)
    assert found.error == max(found.error_analytic, found.error_resampled)
    with pytest.raises(InputError, match="3 or more"):
        switching_free_energy(Works(np.zeros(2), np.zeros(5), 300.0, n_steps=1))
    with pytest.raises(InputError, match="resamples"):
        switching_free_energy(gaussian_works(np.random.default_rng(5), (6, 6), 1.0), resamples=1)


def test_starts_out_of_equilibrium_are_told_by_rounds_and_by_the_energy_before_them():
    rng, kt = np.random.default_rng(22), kB * 500.0
    settled = gaussian_works(rng, ((10, 8), (10, 8)), 1.0)
    drift = 0.1 * rng.normal(size=(10, 2, 8))
    assert switching_free_energy(replace(settled, drift=drift)).converged
    assert "equilibration" in codes(switching_free_energy(replace(settled, drift=drift - 0.06)))
    remembered = settled.reverse.copy()
    remembered[1:] -= 0.5 * (settled.forward[:-1] - settled.forward.mean())
    first = settled.forward + 4.0 * kt * (np.arange(10) == 0)[:, None]
    for changed in ({"reverse": remembered}, {"forward": first}):
        found = switching_free_energy(replace(settled, **changed))
        assert "equilibration" in codes(found)
        assert not found.converged
        assert "raise the equilibration" in found.statement


def test_starts_in_equilibrium_rarely_raise_an_alarm():
    rng, alarms = np.random.default_rng(23), 0
    for _ in range(300):
        works = gaussian_works(rng, ((5, 4), (5, 4)), 1.0)
        works = replace(works, drift=0.1 * rng.standard_normal((5, 2, 4)))
        alarms += bool(caveats_of_rounds(works))
    assert alarms < 13  # 1.2 % are expected; more than 12 in less than one of 10,000 runs


def test_works_without_any_spread_do_not_count_as_known_exactly():
    """Chains that all stay in one configuration agree to the last digit, and may all be wrong."""
    found = switching_free_energy(Works(np.full((1, 30), 0.2), np.full((1, 30), -0.2), 300.0, 5))
    assert codes(found) >= {"no-spread"}
    assert not found.converged
    assert found.free_energy == pytest.approx(0.2)


def test_what_is_no_record_is_refused_in_one_line():
    with pytest.raises(InputError, match="give Works, as Switching records them"):
        switching_free_energy([0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="give Windows, as WindowSampling records them"):
        window_free_energy([0.1, 0.2, 0.3])
    works = gaussian_works(np.random.default_rng(5), (6, 6), 1.0)
    with pytest.raises(InputError, match=r"resamples is 2\.5"):
        switching_free_energy(works, resamples=2.5)


def test_dissipation_and_crossings_of_gaussian_works_are_those_of_the_closed_form():
    rng, kt, width = np.random.default_rng(6), kB * 500.0, 1.5
    found = switching_free_energy(gaussian_works(rng, (2000, 3000), width))
    lost = 0.5 * width**2 * kt
    for one in found.dissipated:
        assert abs(one.value - lost) < 4 * one.error
    assert abs(found.hysteresis.value - 2 * lost) < 4 * found.hysteresis.error
    assert abs(found.gaussian.value - 0.3) < 4 * found.gaussian.error
    assert abs(found.crooks_slope.value - 1.0) < 4 * found.crooks_slope.error
    assert found.crossing == found.free_energy


def test_the_likeliest_crossing_is_bennetts_acceptance_ratio():
    works = gaussian_works(np.random.default_rng(7), (80, 50), 1.2)
    f, r = (w / (kB * works.temperature) for w in (works.forward, works.reverse))
    assert crossing(f, r) == pytest.approx(bennett_module.solve_bennett(f, r), abs=1e-7)


def test_gaussians_cross_where_their_densities_are_equal():
    unit = np.random.default_rng(8).normal(size=100)
    unit = (unit - unit.mean()) / unit.std(ddof=1)

    def log_density(x, mean, width):
        return -0.5 * ((x - mean) / width) ** 2 - np.log(width)

    for a, b, s, t in ((2.0, -1.0, 1.0, 1.0), (2.0, -1.0, 1.3, 0.7), (1.9, 2.6, 0.5, 0.4)):
        x = crossing_of_gaussians(a + s * unit, -b + t * unit)
        assert min(a, b) < x < max(a, b)
        assert log_density(x, a, s) == pytest.approx(log_density(x, b, t))
    assert crossing_of_gaussians(2.0 + unit, -1.9 + 1.4 * unit) == pytest.approx(1.95)
    assert np.isnan(crossing_of_gaussians(np.ones(4), unit))


def test_the_bias_of_one_direction_is_what_is_told():
    rng, n, width = np.random.default_rng(9), 60, 0.8
    rows = [
        one_way(rng.normal(0.5 * width**2, width, n), 1, 1.0, 0.5 * width**2) for _ in range(3000)
    ]
    mean = np.mean([row.f for row in rows])
    told = np.mean([row.bias for row in rows])
    assert told > 0.005
    assert abs(mean - told) < 4 * np.std([row.f for row in rows]) / np.sqrt(len(rows))
    back = one_way(rng.normal(0.5 * width**2, width, n), -1, 1.0, 0.5)
    assert back.bias < 0


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_one_direction_alone_is_never_called_converged(direction):
    works = gaussian_works(np.random.default_rng(10), (500, 500), 0.5)
    other = "reverse" if direction == "forward" else "forward"
    found = switching_free_energy(replace(works, **{other: np.zeros(0)}))
    assert found.method == "Jarzynski"
    assert codes(found) == {"one-direction"}
    assert abs(found.free_energy - 0.3) < 4 * found.error
    assert np.isnan(found.crossing)
    json.dumps(found.to_dict(), allow_nan=False)


def test_works_without_scatter_give_their_mean():
    found = switching_free_energy(Works(np.full(9, 0.25), np.full(7, -0.25), 300.0, n_steps=5))
    assert found.free_energy == pytest.approx(0.25)
    assert found.error < 1e-9
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_work_that_is_far_off_changes_little():
    works = gaussian_works(np.random.default_rng(21), (60, 60), 1.0)
    plain = switching_free_energy(works)
    far = replace(works, forward=np.where(np.arange(60) == 3, 1e6, works.forward))
    found = switching_free_energy(far)
    assert found.free_energy == pytest.approx(plain.free_energy, abs=plain.error)
    assert found.error_analytic == pytest.approx(plain.error_analytic, rel=0.2)


def test_results_are_plain_data_with_a_statement():
    rng = np.random.default_rng(13)
    works = switching_free_energy(gaussian_works(rng, (200, 200), 1.0)).to_dict()
    windows, _ = harmonic_windows(rng, 4, (200, 3))
    path = window_free_energy(windows, parts=4).to_dict()
    for plain in (works, path):
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert plain["statement"].startswith("ΔF of ")
    assert len(path["in_time"]["first"]) == 4
    assert path["in_time"]["last"][-1]["free_energy"] == pytest.approx(path["free_energy"])


def test_tables_have_the_form_of_alchemlyb_and_give_pymbar_the_same_numbers():
    import pymbar

    windows, _ = harmonic_windows(np.random.default_rng(14), 4, (200, 2), rho=0.5)
    found = window_free_energy(windows, parts=0)
    u, slopes = u_nk(windows, decorrelate=True), dHdl(windows, decorrelate=True)
    assert u.index.names == slopes.index.names == ["time", "fep-lambda"]
    assert list(u.columns) == list(windows.couplings)
    assert list(slopes.columns) == ["fep"]
    assert u.attrs == slopes.attrs == {"temperature": 400.0, "energy_unit": "kT"}
    assert u.index.is_unique
    assert len(u_nk(windows)) == 4 * 2 * 200 > len(u) == len(slopes)
    kt = kB * 400.0
    groups = [u.xs(s, level="fep-lambda").to_numpy() for s in u.columns]
    mbar = pymbar.MBAR(u.to_numpy().T, [len(g) for g in groups], solver_protocol="robust")
    difference = mbar.compute_free_energy_differences()["Delta_f"][0, -1]
    assert found.free_energy == pytest.approx(difference * kt, abs=1e-8)
    pairs = [
        pymbar.bar(a[:, k + 1] - a[:, k], b[:, k] - b[:, k + 1])["Delta_f"]
        for k, (a, b) in enumerate(pairwise(groups))
    ]
    assert found.bar.value == pytest.approx(sum(pairs) * kt, abs=1e-8)
    means = dHdl(windows).groupby(level="fep-lambda").mean()["fep"]
    area = trapezoid(means.to_numpy(), means.index.to_numpy())
    assert found.integrals["trapezoid"].value == pytest.approx(area * kt)


def test_tables_of_another_record_are_refused_in_one_line():
    works = Works(np.array([0.3]), np.array([-0.2]), 300.0, 10)
    windows = Windows(np.array([0.0, 1.0]), np.ones((2, 1, 3, 2)), np.ones((2, 1, 3)), 300.0)
    for table in (u_nk, dHdl):
        with pytest.raises(InputError, match="windows are Works; give the Windows"):
            table(works)
    with pytest.raises(InputError, match="works are Windows; give the Works"):
        work_table(windows)


def test_alchemlyb_takes_the_tables():
    estimators = pytest.importorskip("alchemlyb.estimators")
    windows, _ = harmonic_windows(np.random.default_rng(14), 4, (200, 2))
    found = window_free_energy(windows, parts=0)
    kt = kB * 400.0
    u, slopes = u_nk(windows, decorrelate=True), dHdl(windows)
    for estimator, table, value in (
        (estimators.MBAR(), u, found.free_energy),
        (estimators.BAR(), u, found.bar.value),
        (estimators.TI(), slopes, found.integrals["trapezoid"].value),
    ):
        assert estimator.fit(table).delta_f_.iloc[0, -1] * kt == pytest.approx(value, abs=1e-6)


def test_works_are_a_tidy_table():
    works = gaussian_works(np.random.default_rng(15), ((5, 2), 7), 1.0)
    table = work_table(works)
    assert list(table.columns) == ["direction", "chain", "draw", "work", "reduced_work"]
    assert len(table) == 17
    row = table.query("direction == 'forward' and chain == 1 and draw == 3")
    assert row["work"].item() == works.forward[3, 1]
    assert table.attrs["temperature"] == 500.0
    assert len(work_table(replace(works, reverse=np.zeros(0)))) == 10


def test_windows_that_do_not_overlap_are_refused_and_poor_overlap_is_told():
    rng = np.random.default_rng(16)
    apart, _ = harmonic_windows(rng, 2, (200, 2), dimension=30, ends=(1.0, 40.0))
    with pytest.raises(ConvergenceError, match=r"s = 0 and 1 overlap .* add a window at 0\.5"):
        window_free_energy(apart)
    poor, exact = harmonic_windows(rng, 4, (400, 2), dimension=60)
    found = window_free_energy(poor, parts=0)
    assert "overlap" in codes(found)
    assert not found.converged
    assert found.least_overlap_at == 0
    many, _ = harmonic_windows(rng, 40, (50, 1), dimension=1)
    dense = window_free_energy(many, parts=0)
    assert np.diagonal(dense.overlap, 1).min() < 0.03  # rows that add up to 1 are long
    assert dense.least_overlap > 0.4
    assert "overlap" not in codes(dense)
    assert abs(found.free_energy - exact) < 4 * found.error


def test_chains_that_stay_apart_and_draws_that_drift_are_told():
    rng = np.random.default_rng(17)
    windows, _ = harmonic_windows(rng, 4, (300, 2))
    assert not codes(window_free_energy(windows)) - {"discretisation"}
    k = stiffness(windows.couplings)
    extra = np.zeros((4, 2, 300))
    extra[:, 1] = 0.05  # the second chain stays elsewhere
    apart = replace(
        windows,
        energies=windows.energies + 0.5 * k * extra[..., None],
        slopes=windows.slopes + 2.5 * extra,
    )
    found = window_free_energy(apart, parts=0)
    assert "unconverged" in codes(found)
    assert found.rhat.min() > 1.1
    extra = 0.08 * np.linspace(1.0, 0.0, 300) ** 2 * np.ones((4, 2, 1))
    drifting = replace(
        windows,
        energies=windows.energies + 0.5 * k * extra[..., None],
        slopes=windows.slopes + 2.5 * extra,
    )
    assert {"drift", "unconverged"} & codes(window_free_energy(drifting))


def test_slopes_of_another_path_are_told():
    windows, _ = harmonic_windows(np.random.default_rng(18), 6, (400, 2))
    wrong = replace(windows, slopes=-windows.slopes)
    assert "disagreement" in codes(window_free_energy(wrong, parts=0))


def test_a_path_that_only_shifts_the_energy_is_exact():
    s = np.linspace(0.1, 0.9, 3)
    x = np.random.default_rng(19).normal(size=(3, 2, 50))
    energies = 0.02 * x[..., None] ** 2 + 0.7 * s
    windows = Windows(s, energies, np.full((3, 2, 50), 0.7), 300.0)
    found = window_free_energy(windows)
    assert found.free_energy == pytest.approx(0.56)
    assert found.bar.value == pytest.approx(0.56)
    assert all(rule.value == pytest.approx(0.56) for rule in found.integrals.values())
    assert {"part-of-path", "unconverged"} <= codes(found)  # slopes that never change tell nothing
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("power", [1.0, 1.3])
@pytest.mark.parametrize("n", [4, 5, 8, 12])
def test_quadratures_are_off_by_twice_what_they_say_at_most(n, power):
    s = np.linspace(0.0, 1.0, n) ** power
    for means, exact in (
        (2.5 / stiffness(s), 0.5 * np.log(6.0)),
        (1.0 / (1.0 + 40.0 * s), np.log(41.0) / 40.0),
        (np.sqrt(s), 2.0 / 3.0),
    ):
        for rule in integrals(s, means, np.zeros(n)).values():
            assert abs(rule.value - exact) < 2.0 * rule.discretisation
    means = 2.5 / stiffness(s)
    noisy = integrals(s, means, np.ones(n))
    assert all(rule.discretisation == 0.0 for rule in noisy.values())
    alone = integrals(s[[0, -1]], means[[0, -1]], np.full(2, 0.1))["spline"]
    assert np.isnan(alone.discretisation)
    assert alone.value == pytest.approx(means[[0, -1]].mean())
    assert alone.error == pytest.approx(0.1 / np.sqrt(2.0))


def test_records_go_to_arrays_and_back(tmp_path):
    rng = np.random.default_rng(20)
    records = (gaussian_works(rng, ((4, 2), 3), 1.0), harmonic_windows(rng, 3, (5, 2))[0])
    for record in records:
        np.savez(tmp_path / "record.npz", **record.to_arrays())
        with np.load(tmp_path / "record.npz", allow_pickle=False) as arrays:
            again = type(record).from_arrays(arrays)
        for name, value in record.to_arrays().items():
            np.testing.assert_array_equal(again.to_arrays()[name], value)
        assert type(again.label) is str
        assert type(again.calls) is int


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forward": np.zeros(0), "reverse": np.zeros(0)}, "no works of either"),
        ({"forward": np.array([0.0, np.inf])}, "forward hold inf"),
        ({"reverse": np.zeros((2, 2, 2))}, "reverse works have shape"),
        ({"forward": ["a"]}, "no array of numbers"),
        ({"temperature": 0.0}, "positive number of kelvin"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"drift": np.zeros(3)}, "drift has shape"),
        ({"calls": -1}, "calls is -1"),
    ],
)
def test_works_that_cannot_be_are_refused(changes, message):
    works = gaussian_works(np.random.default_rng(0), (4, 4), 1.0)
    with pytest.raises(InputError, match=message):
        replace(works, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"couplings": np.array([0.0, 0.5, 0.5])}, "rising within"),
        ({"couplings": np.array([0.0, 0.5, 1.5])}, "rising within"),
        ({"slopes": np.zeros((3, 1, 1))}, "two draws or more"),
        ({"energies": np.zeros((3, 1, 4, 2))}, "those of every draw"),
        ({"energies": np.full((3, 1, 4, 3), np.nan)}, "energies hold nan"),
        ({"temperature": "hot"}, "positive number of kelvin"),
    ],
)
def test_windows_that_cannot_be_are_refused(changes, message):
    windows, _ = harmonic_windows(np.random.default_rng(0), 3, (4, 1))
    with pytest.raises(InputError, match=message):
        replace(windows, **changes)
    with pytest.raises(InputError, match="parts is -1"):
        window_free_energy(windows, parts=-1)
