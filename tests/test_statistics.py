"""Error bars against series whose autocorrelation is known."""

from __future__ import annotations

import numpy as np
import pytest

from alchemc import statistics
from alchemc.errors import InputError


def autoregressive(n_draws, n_chains, coefficient, seed):
    """Stationary AR(1) of unit variance; τ = (1 + coefficient)/(1 − coefficient)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_draws, n_chains)) * np.sqrt(1 - coefficient**2)
    x = np.empty((n_draws, n_chains))
    x[0] = rng.normal(size=n_chains)
    for t in range(1, n_draws):
        x[t] = coefficient * x[t - 1] + noise[t]
    return x


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9, 0.97])
def test_autocorrelation_time_of_an_autoregression_is_the_known_one(coefficient):
    exact = (1 + coefficient) / (1 - coefficient)
    x = autoregressive(50_000, 4, coefficient, seed=1)
    assert statistics.autocorrelation_time(x) == pytest.approx(exact, rel=0.1)
    assert statistics.effective_sample_size(x) == pytest.approx(x.size / exact, rel=0.1)


def test_reported_errors_cover_the_true_mean_as_often_as_they_claim():
    """400 experiments; z has unit variance to ±0.25: a false alarm once in 10⁵ (χ² of 400), while
    an error that ignored τ = 3 would give a variance of 3."""
    z = []
    for seed in range(400):
        x = autoregressive(400, 2, 0.5, seed=seed)
        z.append(x.mean() / statistics.standard_error(x))
    assert 0.75 < np.var(z) < 1.35


def test_effective_samples_never_exceed_the_draws():
    rng = np.random.default_rng(1)
    white = rng.normal(size=(500, 3))
    alternating = white * 0.1 + np.where(np.arange(500) % 2, 1, -1)[:, None]
    for x in (white, alternating):
        assert statistics.effective_sample_size(x) <= x.size
        assert statistics.autocorrelation_time(x) >= 1


def test_the_spread_is_that_of_the_effective_samples(monkeypatch):
    """Eight values, each drawn a hundred times in a row, are known as well as eight values."""
    values = np.random.default_rng(3).normal(size=8)
    monkeypatch.setattr(statistics, "effective_sample_size", lambda x: 8.0)
    error = statistics.standard_error(np.repeat(values, 100))
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(8))


def test_fewer_than_two_effective_samples_give_no_error():
    jump = np.repeat([0.0, 1.0], 500)
    assert 1 <= statistics.effective_sample_size(jump) < 2
    assert np.isnan(statistics.standard_error(jump))


@pytest.mark.parametrize("offset", [-1e4, -1e6, 1e8])
def test_a_large_offset_changes_nothing(offset):
    """A supercell of a million atoms has 10⁷ eV."""
    x = 1e-3 * autoregressive(1_000, 4, 0.5, seed=3)
    here, there = statistics.summary(x), statistics.summary(x + offset)
    assert there.ess == pytest.approx(here.ess, rel=1e-3)
    assert there.rhat == pytest.approx(here.rhat, rel=1e-3)
    assert there.error == pytest.approx(here.error, rel=1e-3)


@pytest.mark.parametrize(
    "x",
    [
        np.tile([0.0, 1.0], (100, 1)),
        np.repeat([0.0, 1.0], 50),
        np.stack([np.repeat([0.0, 1.0], 50), np.repeat([1.0, 0.0], 50)], axis=1),
    ],
    ids=["two constant chains", "one jump", "two jumps"],
)
def test_rhat_of_chains_that_stand_still_in_different_places_is_infinite(x):
    result = statistics.summary(x)
    assert result.rhat == np.inf
    assert not result.converged


def test_chains_that_sit_apart_count_as_few_samples_and_do_not_converge():
    x = autoregressive(2_000, 4, 0.2, seed=3) + 3.0 * np.arange(4)
    result = statistics.summary(x)
    assert result.rhat > 1.5
    assert result.ess < 40
    assert not result.converged


def test_agreeing_chains_converge():
    result = statistics.summary(5.0 + autoregressive(2_000, 4, 0.5, seed=3))
    assert result.converged
    assert abs(result.mean - 5.0) < 4 * result.error


def test_rhat_and_the_cap_on_ess_are_arvizs():
    import arviz

    x = autoregressive(1_000, 3, 0.7, seed=5)
    assert statistics.rhat(x) == pytest.approx(arviz.rhat(x.T.copy(), method="rank"))
    assert statistics.effective_sample_size(x) <= arviz.ess(x.T.copy(), method="mean")


def test_a_single_chain_is_compared_half_with_half():
    drifting = np.linspace(0, 5, 1_000) + np.random.default_rng(1).normal(size=1_000)
    assert statistics.rhat(drifting) > 1.1
    assert statistics.rhat(np.random.default_rng(1).normal(size=8_000)) < 1.01


def test_a_series_that_never_changes_has_no_error_and_is_not_converged():
    result = statistics.summary(np.full((100, 4), -812.25))
    assert result.mean == -812.25
    assert np.isnan(result.error)
    assert np.isnan(result.rhat)
    assert result.ess == 0
    assert not result.converged
    assert statistics.autocorrelation_time(np.ones(50)) == np.inf


@pytest.mark.parametrize("n_draws", [0, 1, 3])
def test_too_few_draws_give_nan_rather_than_a_guess(n_draws):
    x = np.random.default_rng(1).normal(size=(n_draws, 2))
    result = statistics.summary(x)
    assert np.isnan(result.ess)
    assert np.isnan(result.error)
    assert not result.converged
    assert statistics.equilibration(x) == 0


def test_equilibration_finds_the_end_of_a_transient():
    x = autoregressive(1_000, 3, 0.5, seed=2)
    x[:200] += np.linspace(15, 0, 200)[:, None]
    assert 100 < statistics.equilibration(x) < 300


def test_values_that_are_not_finite_and_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="nan"):
        statistics.summary(np.array([1.0, np.nan, 2.0, 3.0]))
    for shape in ((4, 4, 4), (), (100, 0)):
        for use in (statistics.summary, statistics.autocorrelation_time, statistics.equilibration):
            with pytest.raises(InputError, match=r"\[n_draws, n_chains\]"):
                use(np.zeros(shape))


@pytest.mark.parametrize("x", [["a"], np.ones(9) * 1j, [[1.0], [1.0, 2.0]]])
def test_what_is_no_real_number_is_refused(x):
    with pytest.raises(InputError, match="no real numbers"):
        statistics.summary(x)


def test_rounding_of_equal_energies_is_no_difference_between_chains():
    """Two equivalent ground states, one in each half of the chains, and rare excitations."""
    rng = np.random.default_rng(4)
    x = np.where(rng.random((1000, 4)) < 0.08, 0.4, 0.0) - 330.0
    noisy = x + 1e-13 * np.array([0.0, 0.0, 1.0, 1.0])
    assert statistics.rhat(noisy) == pytest.approx(statistics.rhat(x))
    assert statistics.rhat(x) < 1.01


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9])
def test_batch_means_find_the_known_number_of_effective_samples(coefficient):
    """Batches of 447 draws; σ² has a relative error of 3.4 % (1,788 batches), the bound is 4.4 of
    them: a false alarm once in 10⁵ per case."""
    exact = (1 + coefficient) / (1 - coefficient)
    x = autoregressive(200_000, 4, coefficient, seed=11)
    assert statistics.batch_means_ess(x) == pytest.approx(x.size / exact, rel=0.15)


def test_batch_means_count_chains_that_sit_apart_as_few_samples():
    x = autoregressive(2_000, 4, 0.2, seed=3) + 3.0 * np.arange(4)
    assert statistics.batch_means_ess(x) < 300
    assert statistics.smallest_ess(x) < 40


def test_the_smallest_ess_is_never_above_any_estimate():
    import arviz

    rng = np.random.default_rng(5)
    slow = np.repeat(rng.normal(size=(60, 3)), 50, axis=0)
    for x in (autoregressive(900, 3, 0.8, seed=2), slow, rng.normal(size=(500, 1))):
        ess = statistics.smallest_ess(x)
        assert 0 < ess <= x.size
        assert ess <= statistics.batch_means_ess(x) <= x.size
        assert ess <= statistics.effective_sample_size(x)
        assert ess <= arviz.ess(x.T.copy(), method="bulk") * (1 + 1e-6)


def test_heavy_tails_are_left_to_the_ranks():
    """A signal hidden under rare spikes: the mean's ESS is the spikes', the bulk's the signal's."""
    signal = autoregressive(5_000, 4, 0.98, seed=8)
    spikes = 300.0 * (np.random.default_rng(9).random(signal.shape) < 0.01)
    assert statistics.effective_sample_size(signal + spikes) > 2_000
    assert statistics.smallest_ess(signal + spikes) < 1_000


@pytest.mark.parametrize("estimate", [statistics.batch_means_ess, statistics.smallest_ess])
def test_ess_of_short_and_of_constant_series(estimate):
    assert np.isnan(estimate(np.ones((3, 2)) + np.arange(3)[:, None]))
    assert estimate(np.full((50, 4), -3.0)) == 0.0
    alternating = np.tile([[1.0], [-1.0]], (50, 2))
    assert estimate(alternating) <= alternating.size
    assert statistics.batch_means_ess(alternating) == alternating.size
