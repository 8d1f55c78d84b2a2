"""Ordering temperatures against closed forms, and what cannot give one is refused.

z-scores are of the reported error and have to be below 4 (false alarms less often than once in
10⁴); seeds are fixed. Spreads of 40 z-scores of honest Gaussian errors leave 0.65 to 1.45 less
often than once in 10³. Mutants are off by more than 6 errors,
or scatter by more than 1.8, in tests that the real code passes.
"""

import dataclasses
import json

import numpy as np
import pytest
from ase.units import kB

from alchemc import Canonical, PairHamiltonian, RandomSwap, Tempering, builders, sample
from alchemc.analysis import TransitionSeries, ordering_temperature, plots, transition_series
from alchemc.analysis.stability import multi_histogram
from alchemc.analysis.stability.finite_size import extrapolated
from alchemc.analysis.stability.multi_histogram import Curves, MultiHistogram
from alchemc.analysis.stability.order_of_transition import Barrier, barrier, order_of_transition
from alchemc.analysis.wording import with_error
from alchemc.errors import ConvergenceError, InputError
from alchemc.records import Run, point_dataset
from analysis_cases import HALF, contents, perovskite
from exact_ising import ising_ln_g
from ordering_cases import (
    CHECKERBOARD,
    ISING,
    POTTS,
    J,
    drawn,
    ising_runs,
    ising_series,
    potts_series,
    two_phases,
)


@pytest.fixture(scope="module")
def ising():
    return ordering_temperature([ising_series(side) for side in (4, 8, 12, 16)])


@pytest.fixture(scope="module")
def potts():
    return ordering_temperature([potts_series(side) for side in (6, 9, 12)])


# ---- the temperature


def test_the_square_antiferromagnet_orders_at_the_temperature_of_onsager(ising, record_property):
    z = (ising.temperature - ISING) / ising.error
    record_property("z", z)
    assert ising.verdict == "continuous"
    assert abs(z) < 4.0
    assert ising.error < 0.01 * ISING
    assert not ising.apparent
    assert ising.probability > 1e-3


def test_exponents_that_are_known_agree_with_those_that_are_fitted(ising, record_property):
    series = [ising_series(side) for side in (4, 8, 12, 16)]
    known = ordering_temperature(series, universality="2D Ising")
    z = (known.temperature - ISING) / known.error
    record_property("z", z)
    assert abs(z) < 4.0
    nu, error = ising.exponents["nu"]
    assert abs(nu - 1.0) < 4.0 * np.hypot(error, 0.05)  # corrections at these sizes: 5 %


def test_ten_species_on_a_square_lattice_melt_by_a_first_order_transition(potts, record_property):
    z = (potts.temperature - POTTS) / potts.error
    record_property("z", z)
    assert potts.verdict == "first order"
    assert abs(z) < 4.0
    assert potts.error < 0.02 * POTTS
    heights = [row["barrier"] for row in potts.sizes]
    assert heights[-1] > heights[0] > 0
    assert "latent heat" in potts.statement


def test_a_first_order_by_two_sizes_or_low_barriers_is_tentative(potts):
    """That a barrier grew once does not show that it goes on growing."""
    found = ordering_temperature([potts_series(side) for side in (6, 12)], n_resamples=50)
    assert found.verdict == "first order"
    assert found.tentative
    assert "looks of first order, tentatively" in found.statement
    assert "order-tentative" in [caveat.code for caveat in found.caveats]
    assert found.to_dict()["tentative"] is True
    top = potts.sizes[-1]
    for barrier_, tentative in ((0.9, True), (1.7, False)):
        sizes = (*potts.sizes[:-1], top | {"barrier": barrier_})
        one = dataclasses.replace(potts, sizes=sizes)
        assert one.tentative == tentative
        assert ("It is of first order" in one.statement) != tentative
    heat = with_error(1e3 * top["latent_heat"], 1e3 * top["latent_heat_error"])
    assert f"a latent heat of {heat} meV/site" in potts.statement


def test_cells_that_grow_along_one_edge_are_named_by_it_and_warned_of():
    """They are rods, and "L = 60" would be the number of all their sites."""
    rods = [
        dataclasses.replace(one, cell=np.diag([4.0, 4.0, 0.1 * one.n_sites]))
        for one in first_order((60, 90, 135), np.random.default_rng(5))
    ]
    found = ordering_temperature(rods, order=None, n_resamples=50)
    assert [row["label"] for row in found.sizes] == ["c = 6 Å", "c = 9 Å", "c = 13.5 Å"]
    assert "one-edge" in [caveat.code for caveat in found.caveats]
    assert "L = " not in found.statement
    labels = plots.plot_finite_size(found).axes[0].get_legend_handles_labels()[1]
    assert labels


def test_one_size_gives_an_apparent_temperature_and_says_so():
    found = ordering_temperature(ising_series(8))
    assert found.apparent
    assert found.verdict == "undecided"
    assert "apparent temperature" in found.statement
    assert [caveat.code for caveat in found.caveats] == ["one-size"]
    top = found.sizes[0]["peaks"]["heat capacity"]
    assert found.temperature == top["temperature"]
    assert found.error == pytest.approx(top["error"])


def test_a_ladder_gives_what_chains_of_their_own_give(record_property):
    lattice = perovskite(4, 4, 4)
    model = PairHamiltonian(lattice, [J * np.array([[1.0, -1.0], [-1.0, 1.0]])], threads=1)
    temperatures = (900.0, 1000.0, 1100.0, 1250.0)
    starts = lattice.random(HALF, np.random.default_rng(1), 4)
    kernel = RandomSwap(model, Canonical(lattice, temperatures[0]))
    ladder = Tempering(kernel, temperatures=temperatures, steps=64)
    one = sample(ladder, starts, n_steps=800, warmup=100, seed=3)
    others = [
        sample(
            kernel.rebind(ensemble=Canonical(lattice, t)), starts, n_steps=800 * 256, thin=256,
            warmup=100 * 256, seed=4,
        )
        for t in temperatures
    ]  # fmt: skip
    found = [ordering_temperature(runs) for runs in (one, others)]
    assert transition_series(one).ladders == (0,) * 4
    error = np.hypot(found[0].error, found[1].error)
    z = (found[0].temperature - found[1].temperature) / error
    record_property("z", z)
    assert abs(z) < 4.0


# ---- multi-histogram and bootstrap


def exact_capacity(side, temperature):
    levels, ln_g = ising_ln_g(side)
    logs = ln_g - levels * J / (kB * temperature)
    p = np.exp(logs - logs.max())
    p /= p.sum()
    energies = levels * J / (kB * temperature)
    return (p @ energies**2 - (p @ energies) ** 2) / side**2


def capacity_score(series, temperature, side):
    found = MultiHistogram.of(series, np.random.default_rng(0)).curves([temperature])
    capacity = found.heat_capacity[0]
    return (capacity[0] - exact_capacity(side, temperature)) / capacity[1:].std()


def test_a_heat_capacity_between_the_temperatures_sampled_is_exact(record_property):
    score = capacity_score(ising_series(8), 0.98 * ISING, 8)
    record_property("z", score)
    assert abs(score) < 4.0


def test_weights_of_the_wrong_sign_are_seen_to_fail(monkeypatch):
    right = MultiHistogram.weights

    def wrong(self, temperatures):
        mean = np.mean(self.series.temperatures)
        return right(self, 2.0 * mean - np.asarray(temperatures))

    monkeypatch.setattr(MultiHistogram, "weights", wrong)
    assert abs(capacity_score(ising_series(8), 0.9 * ISING, 8)) > 6.0


def test_m_given_for_m_squared_is_seen_to_fail():
    good = [ising_series(side) for side in (4, 8, 12)]
    bad = [
        TransitionSeries(
            s.n_sites, s.cell, s.temperatures, s.energies, tuple(np.sqrt(m) for m in s.orders),
            kind=s.kind,
        )
        for s in good
    ]  # fmt: skip
    right, wrong = (ordering_temperature(s).cumulant for s in (good, bad))
    # At 2D criticality on the square torus U = 0.6107 (Kamieniarz and Blöte 1993).
    assert abs(right[0] - 0.6107) < 4.0 * np.hypot(right[1], 0.01)
    assert abs(wrong[0] - 0.6107) > 6.0 * wrong[1]


def test_free_energies_are_those_of_pymbar():
    pymbar = pytest.importorskip("pymbar")
    temperatures = (800.0, 900.0, 1000.0)
    levels, ln_g = two_phases(30)
    series = drawn(levels, ln_g, temperatures, np.random.default_rng(2), n_sites=30, n_draws=1000)
    beta = 1.0 / (kB * np.array(temperatures))
    energies = np.concatenate([e.ravel() for e in series.energies])
    exact = pymbar.MBAR(beta[:, None] * (energies - energies.mean()), np.full(3, 2000))
    bins, counts = np.unique(energies, return_counts=True)
    f = multi_histogram._free_energies(
        beta, bins - energies.mean(), counts[None].astype(float), np.full(3, 2000.0), np.zeros(3)
    )
    assert f[0] == pytest.approx(exact.f_k, abs=1e-6)


def scores_of_repeats(stay, repeats=40):
    """z-scores of the temperature at which a heat capacity is largest, over repetitions."""
    levels, ln_g = two_phases(30)
    grid = np.linspace(950.0, 1350.0, 4001)
    logs = ln_g - levels / (kB * grid)[:, None]
    p = np.exp(logs - logs.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    capacity = (p @ levels**2 - (p @ levels) ** 2) / grid**2
    exact = grid[np.argmax(capacity)]
    found = []
    for k in range(repeats):
        rng = np.random.default_rng([7, k])
        series = drawn(
            levels, ln_g, (900.0, 1000.0, 1100.0, 1250.0, 1400.0), rng, n_sites=30, n_draws=500,
            stay=stay,
        )  # fmt: skip
        result = ordering_temperature(series, n_resamples=50)
        found.append((result.temperature - exact) / result.error)
    return np.array(found)


def test_errors_of_the_bootstrap_cover_the_scatter_of_repeated_runs(record_property):
    scores = scores_of_repeats(stay=0.6)
    record_property("z", scores.mean() * np.sqrt(len(scores)))
    assert abs(scores.mean()) < 4.0 / np.sqrt(len(scores))
    assert 0.65 < scores.std() < 1.45


def test_blocks_of_single_draws_are_seen_to_fail(monkeypatch):
    monkeypatch.setattr(multi_histogram, "autocorrelation_time", lambda x: 1.0)
    monkeypatch.setattr(multi_histogram, "BLOCK_IN_TIMES", 1.0)
    monkeypatch.setattr(multi_histogram, "MOST_BLOCKS", 10**6)
    assert scores_of_repeats(stay=0.9, repeats=30).std() > 1.8


# ---- the order of the transition


def test_the_barrier_and_equal_weight_of_two_gaussians_have_their_closed_form(record_property):
    n_sites = 60
    levels, ln_g = two_phases(n_sites)
    temperatures = (933.0, 1000.0, 1067.0, 1133.0, 1217.0)
    series = drawn(levels, ln_g, temperatures, np.random.default_rng(3), n_sites=n_sites)
    histogram = MultiHistogram.of(series, np.random.default_rng(0))
    found = barrier(histogram, histogram.curves(np.linspace(*histogram.range, 201)))
    depth, equal = exact_dent(levels, ln_g)
    score = (found.height[0] - depth) / np.hypot(found.error, 0.03 * depth)  # smoothing: 3 %
    record_property("z", score)
    assert abs(score) < 4.0
    error = found.equal_height[1:].std()
    assert abs(found.equal_height[0] - equal) < 4.0 * np.hypot(error, 0.5)
    assert found.latent_heat[0] == pytest.approx(0.02, rel=0.15)


def exact_dent(levels, ln_g):
    """Depth of the dent of ln g below its hull, and the temperature of equal heights."""
    best = (0.0, 0.0)
    for t in np.linspace(1000.0, 1200.0, 2001):
        logs = ln_g - levels / (kB * t)
        inner = np.flatnonzero((logs[1:-1] > logs[:-2]) & (logs[1:-1] > logs[2:])) + 1
        if len(inner) == 2:
            low = min(logs[inner])
            depth = low - logs[inner[0] : inner[1]].min()
            best = max(best, (depth, t))
    return best


def first_order(sizes, rng):
    spread = np.array([-4.0, 0.0, 4.0, 8.0, 13.0])
    temperatures = [tuple((1000.0 * (1.0 + spread / n)).tolist()) for n in sizes]
    return [
        drawn(*two_phases(n), t, rng, n_sites=n, n_draws=3000, side=n ** (1 / 3), stay=0.5)
        for n, t in zip(sizes, temperatures, strict=True)
    ]


def test_a_shift_as_one_over_volume_is_taken_out(record_property):
    found = ordering_temperature(first_order((60, 90, 135), np.random.default_rng(5)), order=None)
    z = (found.temperature - 1000.0) / found.error
    record_property("z", z)
    assert found.verdict == "first order"
    assert abs(z) < 4.0
    assert found.cumulant is None


def test_a_smooth_heat_capacity_is_no_transition_of_first_order():
    levels = np.linspace(-3.0, 3.0, 1201)
    sizes = []
    for n in (60, 120, 240):
        ln_g = -n * (levels / 0.05 / n) ** 2 / 2.0 + levels / (kB * 1000.0)
        rng = np.random.default_rng(n)
        sizes.append(
            drawn(levels, ln_g, (700.0, 850.0, 1000.0, 1200.0, 1500.0), rng, n_sites=n,
                  side=n ** (1 / 3))
        )  # fmt: skip
    with pytest.raises(ConvergenceError, match="no transition between"):
        ordering_temperature(sizes, order=None)


def told(heights, error, capacities, lengths=(8.0, 12.0, 16.0)):
    """Verdict on barriers and maxima of the heat capacity with Gaussian resamples."""
    rng = np.random.default_rng(0)
    nothing = np.full(101, np.nan)
    barriers, curves = [], []
    for height, capacity in zip(heights, capacities, strict=True):
        again = np.concatenate([[height], height + error * rng.normal(size=100)])
        barriers.append(Barrier(again, nothing, nothing, nothing, np.zeros(1), np.ones(1)))
        top = capacity * np.concatenate([[1.0], 1.0 + 0.01 * rng.normal(size=100)])
        curves.append(Curves(np.array([900.0]), top[None], top[None]))
    return order_of_transition(lengths, 3, barriers, curves)


@pytest.mark.parametrize(
    ("heights", "error", "capacities", "verdict"),
    [
        ((0.5, 1.2, 2.0), 0.1, (1.0, 3.4, 8.0), "first order"),
        ((0.0, 0.05, 0.02), 0.05, (1.0, 1.1, 1.2), "continuous"),
        ((0.8, 0.6, 0.4), 0.05, (1.0, 1.1, 1.2), "continuous"),  # there, but it does not grow
        ((0.5, 1.2, 2.0), 1.0, (1.0, 3.4, 8.0), "undecided"),  # errors as large as the barriers
        ((0.5, 1.2, 2.0), 0.1, (1.0, 1.1, 1.2), "undecided"),  # contradicted by the heat capacity
        ((0.0, 0.0, 0.0), 0.05, (1.0, 3.4, 8.0), "undecided"),
    ],
)
def test_the_verdict_follows_the_barriers_unless_the_heat_capacity_contradicts(
    heights, error, capacities, verdict
):
    found, evidence = told(heights, error, capacities)
    assert found == verdict
    assert [one.name for one in evidence] == ["barrier", "heat capacity"]
    assert all(one.text.endswith(".") for one in evidence)


def test_extrapolation_leaves_small_sizes_out_until_the_line_fits():
    rng = np.random.default_rng(1)
    shift = np.array([[0.5], [0.2], [0.1], [0.05], [0.02]])
    bent = 900.0 + 40.0 * shift + np.array([[30.0], [0.0], [0.0], [0.0], [0.0]])
    values = bent + np.concatenate([np.zeros((5, 1)), 0.3 * rng.normal(size=(5, 200))], axis=1)
    found = extrapolated("x", "line", list("abcde"), values, [shift])
    assert found.text == "line, without a"
    assert abs(found.temperature - 900.0) < 1e-6
    assert found.error < 1.0


# ---- what is refused, and what is told


def points(lattice, temperatures, **scalars):
    rng = np.random.default_rng(0)
    arrays = {
        "occupation": lattice.random(HALF, rng, 200).reshape(100, 2, lattice.n_sites),
        "energy": rng.normal(size=(100, 2)),
    }
    return tuple(point_dataset(arrays, {"temperature": t} | scalars) for t in temperatures)


def of_potential(model):
    lattice = perovskite(2, 2, 2)
    config = {"potential": {"kind": "mace", "model": model}}
    return Run(points(lattice, (900.0, 1000.0)), lattice, config=config)


def test_cells_of_odd_size_are_refused():
    lattice = perovskite(3, 3, 3)
    arrays = {"occupation": np.zeros((5, 2, 27), int), "energy": np.zeros((5, 2))}
    run = Run((point_dataset(arrays, {"temperature": 900.0}),), lattice)
    with pytest.raises(InputError, match="rock-salt does not fit"):
        ordering_temperature(run)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (list, "no run was given"),
        (lambda: ising_runs(8, (ISING,), 200, 4), "one temperature only"),
        (
            lambda: [
                Run(points(perovskite(2, 2, 2), (900.0, 1000.0), mu_B_Ta=mu), perovskite(2, 2, 2))
                for mu in (0.0, 0.1)
            ],
            "mu_B_Ta = 0.1, the first 0: .* one system",
        ),
        (lambda: [of_potential(m) for m in ("bundled", "other")], "potential = .*other"),
        (
            lambda: [
                Run(points(perovskite(*size), (900.0, 1000.0)), perovskite(*size))
                for size in ((2, 2, 2), (2, 2, 4), (4, 4, 4))
            ],
            "not the shape",
        ),
    ],
)
def test_runs_that_are_not_one_system_are_refused(runs, message):
    q = CHECKERBOARD if "one temperature" in message else "rock-salt"
    with pytest.raises(InputError, match=message):
        ordering_temperature(runs(), q)


def test_compositions_that_differ_are_refused():
    lattice = perovskite(2, 2, 2)
    runs = []
    for share in (0.5, 0.25):
        states = lattice.random({"B": {"Sc": share, "Ta": 1 - share}}, np.random.default_rng(0), 20)
        arrays = {"occupation": states.reshape(10, 2, 8), "energy": np.zeros((10, 2))}
        runs.append(Run((point_dataset(arrays, {"temperature": 900.0}),), lattice))
    with pytest.raises(InputError, match=r"composition of B = \(0.25, 0.75\)"):
        ordering_temperature(runs)


def test_energies_of_another_model_are_refused():
    one, other = ising_series(8), ising_series(12)
    foreign = TransitionSeries(
        other.n_sites, other.cell, other.temperatures, tuple(e + 20.0 for e in other.energies),
        other.orders, kind=other.kind,
    )  # fmt: skip
    with pytest.raises(InputError, match="not energies of one model"):
        ordering_temperature([one, foreign])


def test_temperatures_that_do_not_overlap_are_refused():
    levels, ln_g = two_phases(400)
    series = drawn(levels, ln_g, (900.0, 1100.0), np.random.default_rng(0), n_sites=400)
    with pytest.raises(ConvergenceError, match=r"below 900 K and above 1,100 K share .* between"):
        ordering_temperature(series, order=None)


def test_a_transition_outside_of_the_temperatures_is_not_located():
    runs = ising_runs(8, (1.3 * ISING, 1.4 * ISING, 1.5 * ISING), 400, 4)
    with pytest.raises(ConvergenceError, match="lies below; sample colder"):
        ordering_temperature(runs, CHECKERBOARD)


def test_too_few_independent_draws_are_refused():
    series = ising_series(8)
    short = TransitionSeries(
        64, series.cell, series.temperatures, tuple(np.repeat(e[:9], 60, axis=0)[:, :1]
                                                    for e in series.energies),
    )  # fmt: skip
    with pytest.raises(ConvergenceError, match=r"too few independent draws.*times as long"):
        ordering_temperature(short, order=None)


def test_chains_that_did_not_mix_are_told_of():
    series = ising_series(8)
    shift = np.array([0.0, 0.0, 0.0, 0.12])
    energies = (series.energies[0] + shift, *series.energies[1:])
    unmixed = TransitionSeries(64, series.cell, series.temperatures, energies, series.orders)
    found = ordering_temperature(unmixed)
    assert not found.converged
    assert "the chains did not converge" in found.statement


def test_results_are_plain_data_and_can_be_drawn(ising, potts):
    for result in (ising, potts):
        told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert result.statement.startswith(told["statement"])
        for caveat in told["caveats"]:  # beside the statement of plain data, and not in it
            assert caveat["text"] not in told["statement"]
            assert result.statement.count(caveat["text"]) == 1
        assert [row["n_sites"] for row in told["sizes"]] == [r["n_sites"] for r in result.sizes]
        for draw in (
            plots.plot_cumulants, plots.plot_heat_capacities, plots.plot_finite_size,
            plots.plot_barriers, plots.plot_energy_distributions,
        ):  # fmt: skip
            assert draw(result).axes[0].get_xlabel()
            if draw in {plots.plot_finite_size, plots.plot_barriers}:
                assert contents(draw(result)) == contents(draw(told))
            else:
                with pytest.raises(InputError, match="give the result itself"):
                    draw(told)
    one = ordering_temperature(ising_series(8))
    json.dumps(one.to_dict(), allow_nan=False)
    with pytest.raises(InputError, match="nothing to extrapolate"):
        plots.plot_finite_size(one)


def test_chemical_potentials_enter_as_they_do_in_the_weight():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    rng = np.random.default_rng(0)
    states = rng.integers(2, size=(5, 2, 8))
    arrays = {"occupation": states, "energy": rng.normal(size=(5, 2))}
    point = point_dataset(arrays, {"temperature": 900.0, "mu_B_Sc": 0.0, "mu_B_Ta": 0.3})
    series = transition_series(Run((point,), lattice))
    expected = arrays["energy"] - 0.3 * states.sum(axis=2)
    assert series.energies[0] == pytest.approx(expected)
    signs = 1 - 2 * (np.indices((2, 2, 2)).sum(axis=0).ravel() % 2)
    staggered = ((2 * states - 1) * signs).mean(axis=2) ** 2
    assert series.orders[0] == pytest.approx(staggered)
