"""Tie lines, spinodals and consolute points against the closed forms of the regular solution.

Single z-scores have a bound of 4.5 (a false alarm in 1e-5), spreads of repeated ones 1e-4.
"""

import json

import numpy as np
import pytest
from ase.units import kB
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp
from scipy.stats import chi2

from alchemc import builders
from alchemc.analysis import (
    Observations,
    SampledPoint,
    consolute_point,
    equal_weight,
    fit_excess,
    fraction_distribution,
    free_energy,
    mixing_free_energy,
    phase_diagram,
    plots,
    tie_lines,
    wang_landau_free_energy,
)
from alchemc.analysis.stability import mixing
from alchemc.density_of_states import DensityOfStates
from alchemc.errors import ConvergenceError, InputError
from analysis_cases import contents
from free_energy_cases import regular_solution

OMEGA = 2.5 * kB * 1000.0
CRITICAL = OMEGA / (2 * kB)  # 1,250 K
PHIS = [{"phi_B_Ta": phi, "kappa": 8.0} for phi in np.arange(-2.2, 0.3, 0.2)]


def constrained(temperatures=(900.0, 1100.0), n_sites=64, **options):
    return regular_solution(n_sites, OMEGA, temperatures, PHIS, **options)


def binodal(temperature):
    """x₁ of ln[x/(1 − x)] = ω (2x − 1)/k_BT."""
    a = OMEGA / (kB * temperature)
    return brentq(lambda x: np.log(x / (1 - x)) - a * (2 * x - 1), 1e-12, 0.5 - 1e-4)


def test_the_regular_solution_has_its_binodal_spinodal_and_consolute_point(record_property):
    diagram = phase_diagram(constrained(), [900.0, 1000.0, 1100.0, 1400.0], resamples=60, seed=1)
    assert [line.temperature for line in diagram.lines] == [900.0, 1000.0, 1100.0]
    assert diagram.single_phase == (1400.0,)
    z = []
    for line in diagram.lines:
        x = binodal(line.temperature)
        z += [(line.x[0] - x) / line.errors[0], (line.x[1] - 1 + x) / line.errors[1]]
        z.append(line.mu / line.errors[2])
        assert line.errors[0] < 0.01
        assert line.certainty == 1.0
        assert not line.extrapolated
    for temperature, x, error in diagram.spinodals:
        exact = 0.5 - 0.5 * np.sqrt(1 - 2 * kB * temperature / OMEGA)
        z.append((min(x, 1 - x) - exact) / error)
    z.append((diagram.consolute.temperature - CRITICAL) / diagram.consolute.temperature_error)
    record_property("z", [float(v) for v in z])
    assert np.abs(z).max() < 4.5
    assert diagram.consolute.extrapolated
    assert diagram.consolute.x == pytest.approx(0.5, abs=0.01)
    assert diagram.field(1000.0, 0.5) == "two-phase"
    assert diagram.field(1000.0, 0.05) == diagram.field(1400.0, 0.5) == "single-phase"


def test_errors_of_boundaries_are_right_on_average(record_property):
    z = []
    for seed in range(24):
        observed = constrained((1100.0,), n_draws=120, seed=50 + seed)
        model = fit_excess(free_energy(observed, resamples=60, seed=seed))
        (line,) = tie_lines(model, 1100.0)
        z.append((line.x[0] - binodal(1100.0)) / line.errors[0])
    record_property("z", z)
    low, high = np.sqrt(chi2.ppf([5e-5, 1 - 5e-5], 24) / 24)
    assert 0.85 * low < np.sqrt(np.mean(np.square(z))) < 1.15 * high


def test_two_gaps_have_two_tie_lines(record_property):
    # −x(1 − x)[1 − 3(1 − 2x)²] has minima of mixing at both ends and in the middle.
    n, strength, t = 96, -0.5 * kB * 1000.0, 450.0
    points = [{"phi_B_Ta": phi, "kappa": 12.0} for phi in np.arange(-2.2, 0.3, 0.1)]
    observed = regular_solution(n, strength, (t,), points, quartic=-3.0, n_draws=150)
    diagram = phase_diagram(observed, resamples=60, seed=2)

    def f(x):
        energy = strength * x * (1 - x) * (1 - 3 * (1 - 2 * x) ** 2)
        return energy + kB * t * (x * np.log(x) + (1 - x) * np.log(1 - x))

    x = np.linspace(1e-4, 1 - 1e-4, 20001)
    hull = mixing.lower_hull(x, f(x))
    wide = np.diff(hull.facets, axis=1)[:, 0] > 20
    expected = x[hull.facets[wide]]
    assert len(diagram.lines) == len(expected) == 2
    z = [
        (a - b) / e
        for line, pair in zip(diagram.lines, expected, strict=True)
        for a, b, e in zip(line.x, pair, line.errors, strict=False)
    ]
    record_property("z", [float(v) for v in z])
    assert np.abs(z).max() < 4.5


def wide_run(temperatures, n_sites=400, **options):
    """Semi-grand points that take both phases from pure to coexistence."""
    mus = np.concatenate([-np.geomspace(0.004, 0.6, 14), [0.0], np.geomspace(0.004, 0.6, 14)])
    return regular_solution(
        n_sites, OMEGA, temperatures, [{"mu_B_Ta": mu} for mu in mus], **options
    )


def split(observed):
    """Draws as of chains that stay in the phase in which they started, both at every μ near 0."""
    points = []
    for point in observed.points:
        below = point.counts[..., 1] < observed.n_sites / 2
        near = abs(point.coordinates["mu_B_Ta"]) < 0.01
        for side in (below, ~below):
            number = side.sum() // 4
            if number >= 25 and (near or number == side.size // 4):
                points.append(point._replace(
                    energy=point.energy[side][: 4 * number].reshape(number, 4),
                    counts=point.counts[side][: 4 * number].reshape(number, 4, 2),
                ))  # fmt: skip
    return Observations(observed.kinds, observed.sizes, tuple(points))


def exact_peaks(n_sites, temperature):
    """Mean fraction of the lower peak at equal weight, from the sum over compositions."""
    k = np.arange(n_sites + 1)
    x = k / n_sites
    log = -gammaln(k + 1.0) - gammaln(n_sites - k + 1.0)
    log -= OMEGA * n_sites * x * (1 - x) / (kB * temperature)
    p = np.exp(log - log.max())
    low = x < 0.5
    return p[low] @ x[low] / p[low].sum()


def test_both_phases_hung_on_their_pure_ends_weigh_the_same_at_coexistence(record_property):
    observed = split(wide_run((900.0,), n_draws=150))
    diagram = phase_diagram(observed, method="equal weight", cut=0.5, resamples=60)
    (line,) = diagram.lines
    x = exact_peaks(400, 900.0)
    z = [(line.x[0] - x) / line.errors[0], (line.x[1] - 1 + x) / line.errors[1]]
    z.append(line.mu / line.errors[2])
    record_property("z", [float(v) for v in z])
    assert np.abs(z).max() < 4.5
    assert line.errors[2] < 1e-4
    # A wrong sign of μ, or phases that are not told apart, is refused and not drawn.
    with pytest.raises(ConvergenceError, match="cut"):
        phase_diagram(observed, method="equal weight")


def test_phases_are_linked_around_the_critical_point_where_pure_ends_are_missing(record_property):
    temperatures = (1000.0, 1060.0, 1120.0, 1180.0, 1250.0, 1320.0)
    mus = [{"mu_B_Ta": mu} for mu in (-0.012, -0.006, 0.0, 0.006, 0.012)]
    hot = regular_solution(60, OMEGA, temperatures, mus, n_draws=150)
    free = free_energy(hot, [1000.0], cut=0.5, resamples=60)
    line = equal_weight(free, 1000.0)
    x = exact_peaks(60, 1000.0)
    z = [(line.x[0] - x) / line.errors[0], (line.x[1] - 1 + x) / line.errors[1]]
    record_property("z", [float(v) for v in z])
    assert np.abs(z).max() < 4.5


def test_one_phase_above_the_consolute_point_has_no_equal_weights():
    mus = [{"mu_B_Ta": mu} for mu in (-0.02, 0.0, 0.02)]
    free = free_energy(regular_solution(100, OMEGA, (1800.0,), mus), resamples=20)
    assert equal_weight(free, 1800.0) is None
    assert phase_diagram(free, method="equal weight").single_phase == (1800.0,)


def test_mixing_and_hull_of_the_regular_solution():
    free = free_energy(constrained((900.0, 1600.0)))
    found = mixing_free_energy(free)
    exact = OMEGA * free.axis.x * (1 - free.axis.x)
    np.testing.assert_array_less(np.abs(found.excess - exact), 4.7 * found.excess_error + 1e-12)
    hot = found.sel(temperature=1600.0)
    cold = found.sel(temperature=900.0)
    middle = int(np.argmin(np.abs(free.axis.x - 0.5)))
    assert float(cold.above_hull[middle]) > 5 * float(cold.above_hull_error[middle])
    assert float(hot.above_hull.max()) < 5 * float(hot.above_hull_error.max())


def test_equal_weight_without_a_finite_range_is_off_by_one_over_the_size():
    """As its documentation says: a mean-field regular solution at 0.9 T_c, summed exactly."""
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(10, 5, 4))
    n, t = lattice.n_sites, 0.9 * CRITICAL
    pairs = []
    for k in range(n + 1):
        x = k / n
        ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
        density = DensityOfStates([n * OMEGA * x * (1 - x)], np.full((2, 1), ways), n, 1.0)
        pairs.append(({"B": {"Sc": 1 - x, "Ta": x}}, density))
    line = equal_weight(wang_landau_free_energy(lattice, pairs, t), t)
    exact = brentq(lambda x: np.log(x / (1 - x)) + OMEGA / (kB * t) * (1 - 2 * x), 1e-6, 0.45)
    assert n * (line.x[0] - exact) == pytest.approx(7.2, abs=0.5)
    assert line.mu == pytest.approx(0.0, abs=1e-4)


def test_a_diagram_is_plain_data_with_a_statement():
    diagram = phase_diagram(constrained(), [800.0, 1000.0], resamples=30)
    plain = json.loads(json.dumps(diagram.to_dict(), allow_nan=False))
    assert "coexist" in plain["statement"]
    assert "extrapolated" in plain["statement"]
    kinds = {row["kind"] for row in plain["rows"]}
    assert kinds == {"binodal", "spinodal", "consolute"}
    assert {row["extrapolated"] for row in plain["rows"] if row["temperature"] == 800.0} == {True}
    assert contents(plots.plot_phase_diagram(diagram)) == contents(plots.plot_phase_diagram(plain))
    table = diagram.boundaries
    assert table.x.shape == (2, 2)
    assert table.x.attrs["long_name"] == "fraction of Ta on B"


def test_what_no_curve_describes_says_so():
    # A sharp ordered compound at one half, on an ideal background.
    n, t = 64, 900.0
    k = np.arange(n + 1)
    x = k / n
    rng, points = np.random.default_rng(4), []
    energy = -0.02 * n * np.maximum(0.0, 1 - np.abs(x - 0.5) / 0.05)
    for scalars in PHIS:
        log = -gammaln(k + 1.0) - gammaln(n - k + 1.0) - energy / (kB * t)
        log -= scalars["kappa"] * n * (x + scalars["phi_B_Ta"] / 2) ** 2
        drawn = rng.choice(n + 1, size=(300, 4), p=np.exp(log - logsumexp(log)))
        counts = np.stack([n - drawn, drawn], axis=-1)
        points.append(SampledPoint({"temperature": t, **scalars}, energy[drawn], counts))
    cell = Observations((("B", "Sc"), ("B", "Ta")), {"B": n}, tuple(points))
    model = fit_excess(free_energy(cell))
    assert model.chi2[0] > 3
    assert "misses its points" in model.notes[0]
    lines = phase_diagram(cell, method="hull").lines
    assert len(lines) == 2  # the compound coexists with a solution on either side
    ways = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    f = (energy - kB * t * ways) / n
    exact = mixing.lower_hull(x, f)
    wide = exact.facets[np.diff(exact.facets, axis=1)[:, 0] > 1]
    for line, (left, right) in zip(lines, wide, strict=True):
        assert abs(line.x[0] - x[left]) < 4.5 * line.errors[0]
        assert abs(line.x[1] - x[right]) < 4.5 * line.errors[1]
        assert line.method == "hull"


def test_too_little_is_refused():
    few = regular_solution(64, OMEGA, (900.0,), PHIS[:2])
    with pytest.raises(ConvergenceError, match="too few for a curve"):
        phase_diagram(few)
    model = fit_excess(free_energy(constrained((900.0,)), resamples=20))
    with pytest.raises(InputError, match="nothing is known of 1000 K"):
        tie_lines(model, 1000.0)
    assert consolute_point(model) is None
    free = free_energy(constrained((900.0,)), resamples=20)
    with pytest.raises(InputError, match="no fractions on both sides"):
        equal_weight(free, 900.0, cut=1.5)
    with pytest.raises(InputError, match="none of the temperatures"):
        equal_weight(free, 901.0)
    with pytest.raises(InputError, match="is unknown"):
        phase_diagram(free, method="magic")
    for wrong in ("warm", [-1.0], []):
        with pytest.raises(InputError, match="give numbers above 0, in K"):
            phase_diagram(free, wrong)
        with pytest.raises(InputError, match="give numbers above 0, in K"):
            tie_lines(model, wrong)
    with pytest.raises(InputError, match="mu is"):
        fraction_distribution(free, np.nan, 900.0)
    diagram = phase_diagram(free, 900.0)
    assert diagram.temperatures == (900.0,)
    with pytest.raises(InputError, match="x is"):
        diagram.field(900.0, "half")


def test_one_peak_of_a_small_cell_is_not_said_to_be_one_phase():
    """At 1,100 K the solution has a gap from 0.21 to 0.79, which 32 sites are too few to show."""
    free = free_energy(constrained((1100.0,), n_sites=32), resamples=20)
    assert phase_diagram(free).lines
    small = phase_diagram(free, method="equal weight")
    assert not small.lines
    assert "one peak" in small.statement
    assert "a cell of 32 mixed sites" in small.statement
    assert "stable" not in small.statement


def test_dropping_the_arrangements_from_the_excess_is_seen(monkeypatch):
    right = mixing._excess
    monkeypatch.setattr(
        mixing,
        "_excess",
        lambda free, axis, f: right(free, axis, f) - mixing.ideal(axis.x) * -kB * 900.0,
    )
    model = fit_excess(free_energy(constrained((900.0,)), resamples=40))
    lines = tie_lines(model, 900.0)
    x = binodal(900.0)
    assert not lines or abs(lines[0].x[0] - x) > 10 * lines[0].errors[0]
