"""Diagnostics of chains against the closed forms of autoregressive noise.

x_t = ρ x_{t−1} + ε has the autocorrelation time τ = (1 + ρ)/(1 − ρ) and an error of the mean of
√(τ/n). Blocks of b draws give a variance of the mean that is short of the exact one by
2ρ(1 − ρ^b)/(b(1 − ρ²)) of it. Bounds are four times the scatter that the estimates have by theory
or, where they cover errors themselves, as stated; seeds are fixed.
"""

import numpy as np
import pytest
import xarray as xr

from alchemc import PairHamiltonian, RandomFlip, SemiGrandCanonical, sample
from alchemc.analysis import convergence, diagnostics
from alchemc.analysis.convergence import block_error, blocking, diagnose
from alchemc.errors import InputError
from alchemc.records import Run, point_dataset
from analysis_cases import HALF, perovskite

N_DRAWS, N_CHAINS = 8192, 4
RHOS = (0.0, 0.5, 0.9, 0.97)


def noise(rho, n_draws=N_DRAWS, n_chains=N_CHAINS, seed=1):
    """Stationary autoregressive noise of unit variance, [n_draws, n_chains]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_draws, n_chains))
    for t in range(1, n_draws):
        x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * x[t]
    return x


def tau(rho):
    return (1 + rho) / (1 - rho)


@pytest.mark.parametrize("rho", RHOS)
def test_errors_times_and_effective_draws_are_those_of_theory(rho, record_property):
    found = diagnose(noise(rho))
    n = N_DRAWS * N_CHAINS
    exact = np.sqrt(tau(rho) / n)
    # Sokal's error of τ with a window of 5 τ: τ √(2·(2·5 + 1) τ/n), half of it for an error.
    share = max(np.sqrt(22 * tau(rho) / n) / 2, 0.01)
    record_property("z", (found["error"] / exact - 1) / share)
    assert found["error"] == pytest.approx(exact, rel=4 * share)
    assert found["autocorrelation_time"] == pytest.approx(tau(rho), rel=8 * share)
    assert found["ess"] == pytest.approx(n / tau(rho), rel=8 * share)
    score = (found["block_error"] - exact) / found["block_uncertainty"]
    record_property("z", score)
    assert abs(score) < 4.0
    assert found["plateau"]
    assert found["converged"]
    assert not found["why"]
    assert not found["remarks"]


@pytest.mark.parametrize("rho", RHOS)
def test_the_blocking_curve_rises_as_theory_says(rho):
    curve = blocking(noise(rho, seed=2))
    lengths = curve["length"].to_numpy()
    missing = 2 * rho * (1 - rho**lengths) / (lengths * (1 - rho) ** 2)
    exact = np.sqrt((tau(rho) - missing) / (N_DRAWS * N_CHAINS))
    many = curve["blocks"].to_numpy() >= 32
    # The uncertainty holds for independent blocks; short ones are not.
    slack = np.maximum(1.0, np.sqrt(tau(rho) / lengths))
    scores = (curve["error"] - exact) / (curve["uncertainty"] * slack)
    assert np.abs(scores.to_numpy()[many]).max() < 4.0


def test_blocks_of_single_draws_are_seen_to_fail():
    curve = blocking(noise(0.9)).isel(length=0)
    exact = np.sqrt(tau(0.9) / (N_DRAWS * N_CHAINS))
    assert (exact - curve["error"]) / curve["uncertainty"] > 100


def test_block_errors_cover_the_scatter_of_repeated_chains():
    x = noise(0.8, 1024, 400, seed=3)
    found = [block_error(chain[:, None]) for chain in x.T]
    scatter = x.mean(axis=0).std()
    errors = np.array([one.error for one in found])
    # 400 means: their scatter is known to 3.5 %; blocks longer than 24 draws miss 9 % at most.
    assert errors.mean() == pytest.approx(scatter, rel=0.15)
    uncertainties = np.array([one.uncertainty for one in found])
    assert errors.std() == pytest.approx(uncertainties.mean(), rel=0.6)


def test_effective_draws_never_exceed_the_draws():
    x = noise(-0.6)
    found = diagnose(x)
    assert found["ess"] == x.size
    assert found["ess_bulk"] == x.size
    assert found["ess_tail"] <= x.size
    independent = diagnose(noise(0.0, seed=4))
    assert max(independent[f"ess{part}"] for part in ("", "_bulk", "_tail")) <= x.size


def test_chains_in_different_places_have_not_converged():
    found = diagnose(noise(0.5, 1000) + np.array([0.0, 0.0, 4.0, 4.0]))
    assert not found["converged"]
    assert "R-hat" in found["why"]
    assert "not settled" in found["remarks"]


def test_chains_that_are_short_for_their_memory_are_told_of():
    found = diagnose(noise(0.995, 400))
    assert not found["plateau"]
    assert not found["converged"]
    assert "effective draws of at least 100" in found["why"]
    assert "not settled" in found["remarks"]


def test_a_slow_start_is_seen_in_the_draws_to_discard():
    x = noise(0.5, 1000)
    x[:300] += np.linspace(30.0, 0.0, 300)[:, None]
    found = diagnose(x)
    assert 200 < found["discard"] < 400
    assert "look unequilibrated" in found["remarks"]
    assert not diagnose(noise(0.5, 1000))["remarks"]


def test_rare_excursions_show_in_the_tails():
    x = noise(0.0, 500, seed=5)
    x[100:130, 0] += 40.0  # one visit of one chain
    found = diagnose(x)
    assert found["ess_tail"] < 0.6 * found["ess_bulk"]


@pytest.mark.parametrize("n_draws", [1, 3, 20])
def test_too_few_draws_say_so(n_draws):
    found = diagnose(noise(0.0, 64)[:n_draws])
    assert not found["converged"]
    assert found["why"] == f"{n_draws * N_CHAINS} draws of at least 100 effective ones"
    assert np.isnan(found["rhat"]) or n_draws > 3


def test_a_series_that_never_changes_is_no_evidence():
    found = diagnose(np.full((500, 4), -3.0))
    assert not found["converged"]
    assert found["ess"] == 0
    assert np.isnan(found["block_error"])
    assert not found["plateau"]


def test_series_without_draws_have_no_blocks():
    with pytest.raises(InputError, match="at least 4 draws"):
        blocking(np.zeros((3, 2)))


# ---- runs


def flips(temperature, seed, draws=400):
    lattice = perovskite(2, 2, 2)
    model = PairHamiltonian(lattice, [0.02 * np.array([[1.0, -1.0], [-1.0, 1.0]])], threads=1)
    kernel = RandomFlip(model, SemiGrandCanonical(lattice, temperature, {"Ta": 0.01}))
    start = lattice.random(HALF, np.random.default_rng(seed))
    return sample(kernel, start, n_steps=16 * draws, n_replicas=4, thin=16, seed=seed)


def test_an_open_run_is_judged_by_its_energy_and_fractions():
    runs = [flips(t, seed) for seed, t in enumerate((1200.0, 2000.0))]
    run = Run(tuple(r.points[0] for r in runs), runs[0].lattice)
    table = diagnostics(run)
    assert table["quantity"].to_numpy().tolist() == ["energy", "fraction of Ta on B"]
    assert table["temperature"].to_numpy().tolist() == [1200.0, 2000.0]
    assert table["converged"].all()
    cell = table.sel(quantity="fraction of Ta on B").isel(point=1)
    direct = diagnose((run.points[1]["occupation"] == 1).mean("site").to_numpy())
    assert float(cell["error"]) == direct["error"]
    assert str(cell["label"].item()).startswith("2,000 K")


def test_orders_that_fit_are_judged_and_others_left_out():
    lattice = perovskite(2, 2, 3)
    states = lattice.random(HALF, np.random.default_rng(0), 800).reshape(200, 4, 12)
    arrays = {"occupation": states, "energy": noise(0.0, 200)}
    run = Run((point_dataset(arrays, {"temperature": 900.0}),), lattice)
    table = diagnostics(run)
    assert table["quantity"].to_numpy().tolist() == ["energy", "layered", "columnar"]
    only = diagnostics(run, orders=["columnar"])
    assert only["quantity"].to_numpy().tolist() == ["energy", "columnar"]
    assert float(only["ess"].sel(quantity="columnar")[0]) <= 800
    with pytest.raises(InputError, match="unknown"):
        diagnostics(run, orders=["rocksalt"])


def test_the_sentence_names_what_has_not_converged_and_why():
    lattice = perovskite(2, 2, 2)
    states = lattice.random(HALF, np.random.default_rng(0), 800).reshape(200, 4, 8)
    points = []
    for t, energy in ((900.0, noise(0.0, 200)), (700.0, noise(0.0, 200) + 9.0 * np.arange(4))):
        points.append(point_dataset({"occupation": states, "energy": energy}, {"temperature": t}))
    table = diagnostics(Run(tuple(points), lattice))
    assert "Not converged: energy at 700 K (R-hat" in table.attrs["statement"]
    assert table["converged"].sel(quantity="energy").to_numpy().tolist() == [True, False]


def test_occupations_are_read_block_by_block(monkeypatch):
    lattice = perovskite(2, 2, 2)
    states = lattice.random(HALF, np.random.default_rng(0), 800).reshape(200, 4, 8)
    arrays = {"occupation": states, "energy": noise(0.0, 200)}
    run = Run((point_dataset(arrays, {"temperature": 900.0}),), lattice)
    whole = diagnostics(run)
    monkeypatch.setitem(convergence.measured.__globals__, "CONFIGURATIONS_PER_BLOCK", 12)
    xr.testing.assert_identical(diagnostics(run), whole)


def test_a_run_without_draws_is_refused():
    lattice = perovskite(2, 2, 2)
    arrays = {"occupation": np.zeros((0, 2, 8), int), "energy": np.zeros((0, 2))}
    with pytest.raises(InputError, match="no draws yet"):
        diagnostics(Run((point_dataset(arrays, {"temperature": 900.0}),), lattice))
