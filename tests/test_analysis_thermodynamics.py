"""Energies, heat capacities and cumulants: values against enumeration, errors against scatter.

z-scores are of the reported error. With 120 repetitions, the spread of honest z-scores leaves
0.75–1.35 less often than once in 10⁴ for Gaussian scores; seeds are fixed.
"""

import numpy as np
import pytest
import xarray as xr
from ase.units import kB

from alchemc.analysis import (
    binder_cumulant,
    describe,
    heat_capacity,
    mean_energy,
    ordering_amplitude,
    ordering_series,
    summarize_series,
)
from alchemc.errors import InputError
from analysis_cases import HALF, boltzmann, pair_energies, perovskite, sticky_chains

REPETITIONS = 120
TEMPERATURE = 1500.0


@pytest.fixture(scope="module")
def system():
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate(HALF)
    energies = pair_energies(lattice, states)
    return lattice, states, energies, boltzmann(energies, TEMPERATURE)


def z_scores(system, exact, measure, stay=0.6, n_draws=800):
    """Scores of ``measure(state indices)`` over independent sets of chains."""
    rng = np.random.default_rng(7)
    scores = []
    for _ in range(REPETITIONS):
        result = measure(sticky_chains(system[3], n_draws, 4, stay, rng))
        scores.append((result.mean - exact) / result.error)
    return np.array(scores)


def assert_honest(scores):
    assert abs(scores.mean()) < 4.5 / np.sqrt(len(scores))
    assert 0.75 < scores.std() < 1.35


def test_the_error_of_a_mean_energy_covers_its_scatter(system):
    _, _, energies, p = system
    assert_honest(z_scores(system, p @ energies, lambda k: mean_energy(energies[k])))


def test_the_heat_capacity_agrees_with_enumeration_within_its_error(system):
    _, _, energies, p = system
    exact = (p @ energies**2 - (p @ energies) ** 2) / (kB * TEMPERATURE**2)
    scores = z_scores(system, exact, lambda k: heat_capacity(energies[k], TEMPERATURE))
    assert_honest(scores)


def test_errors_that_ignore_autocorrelation_are_seen_to_fail(system):
    _, _, energies, p = system
    exact = p @ energies

    def naive(k):
        result = mean_energy(energies[k])
        return result._replace(error=energies[k].std() / np.sqrt(k.size))

    with pytest.raises(AssertionError):
        assert_honest(z_scores(system, exact, naive))


def test_the_binder_cumulant_agrees_with_enumeration_within_its_error(system):
    lattice, states, _, p = system
    m2 = ordering_series(lattice, states, "rock-salt").to_numpy()[0]
    exact = 1 - (p @ m2**2) / (3 * (p @ m2) ** 2)
    assert_honest(z_scores(system, exact, lambda k: binder_cumulant(m2[k])))


def test_the_order_parameter_agrees_with_enumeration_within_its_error(system):
    lattice, states, _, p = system
    m2 = ordering_series(lattice, states, "rock-salt").to_numpy()[0]
    chosen = sticky_chains(p, 4000, 4, 0.6, np.random.default_rng(5))
    result = ordering_amplitude(lattice, states[chosen], "rock-salt")
    assert abs(float(result["mean"]) - p @ m2) < 4.5 * float(result["error"])
    assert bool(result["converged"])


def test_the_error_of_autoregressive_noise_is_that_of_theory():
    rho, n_draws, n_chains = 0.9, 20_000, 4
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n_draws, n_chains))
    for t in range(1, n_draws):
        x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * x[t]
    mean = summarize_series(x)
    assert mean.error == pytest.approx(np.sqrt(19 / x.size), rel=0.15)  # τ = (1 + ρ)/(1 − ρ)
    capacity = heat_capacity(x, 1000.0)
    tau = (1 + rho**2) / (1 - rho**2)  # of x², whose variance is 2
    expected = np.sqrt(2 * tau / x.size) / (kB * 1000.0**2)
    assert capacity.error == pytest.approx(expected, rel=0.15)


def test_chains_in_different_places_do_not_converge_in_anything():
    x = np.random.default_rng(0).normal(size=(1000, 4)) + np.array([0.0, 0.0, 3.0, 3.0])
    assert not mean_energy(x).converged
    assert not heat_capacity(x, 900.0).converged
    assert not binder_cumulant(np.abs(x)).converged


def test_a_frozen_chain_has_no_heat_capacity_error_and_no_verdict():
    result = heat_capacity(np.full((100, 4), -1.5), 300.0)
    assert result.mean == 0.0
    assert np.isnan(result.error)
    assert not result.converged


@pytest.mark.parametrize("value", [0.0, -3.7, 0.1])
def test_one_draw_of_chains_that_are_alike_has_no_error_and_no_verdict(value):
    """An error of zero would make it the best known of all numbers."""
    result = summarize_series(np.full((1, 7), value))
    assert result.mean == pytest.approx(value)
    assert np.isnan(result.error)
    assert result.ess == 0.0
    assert not result.converged
    table = describe(xr.DataArray(np.full((1, 4, 1), value), dims=("draw", "chain", "axis")))
    assert np.isnan(table.error.to_numpy()).all()
    assert not table.converged.to_numpy().any()


def test_the_error_of_a_heat_capacity_is_scaled_like_its_value():
    x = np.repeat(np.random.default_rng(4).normal(size=(12, 2)), 50, axis=0)
    n, result = mean_energy(x).ess, heat_capacity(x, 900.0)
    plain = summarize_series((x - x.mean()) ** 2)
    factor = n / (n - 1) / (kB * 900.0**2)
    assert n < 60
    assert result.mean == pytest.approx(plain.mean * factor)
    assert result.error == pytest.approx(plain.error * factor)


def test_the_binder_cumulant_of_perfect_order_is_two_thirds():
    assert binder_cumulant(np.ones((10, 2))).mean == pytest.approx(2 / 3)
    assert np.isnan(binder_cumulant(np.zeros((10, 2))).mean)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heat_capacity(np.zeros((10, 2)), 0.0), "temperature = 0"),
        (lambda: heat_capacity(np.zeros((10, 2)), np.nan), "temperature = nan"),
        (lambda: heat_capacity(np.zeros((3, 2)), 300.0), "at least 4 draws"),
        (lambda: heat_capacity(np.zeros((2, 3, 4)), 300.0), r"\(2, 3, 4\)"),
        (lambda: mean_energy(np.array([[np.nan]])), "NaN"),
        (lambda: binder_cumulant(np.array([[-0.5]])), "m²"),
    ],
)
def test_series_that_cannot_be_used_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_replicas_without_chains_give_an_error_from_their_scatter():
    rng = np.random.default_rng(2)
    lattice = perovskite(4, 4, 4)
    result = ordering_amplitude(lattice, lattice.random(HALF, rng, 400), "rock-salt")
    assert abs(float(result["mean"] - result["random"])) < 4.5 * float(result["error"])
    assert not bool(result["converged"])
    single = ordering_amplitude(lattice, lattice.random(HALF, rng), "rock-salt")
    assert np.isnan(single["error"])


def test_labels_and_attributes_survive_a_summary():
    series = xr.DataArray(
        np.random.default_rng(0).normal(size=(50, 2, 3)),
        dims=("draw", "chain", "axis"),
        coords={"axis": [1, 2, 3], "draw": np.arange(50)},
        attrs={"units": "1"},
    )
    table = describe(series)
    assert table["mean"].dims == ("axis",)
    assert set(table.coords) == {"axis"}
    assert table.attrs == {"units": "1"}
    assert float(table["mean"].sel(axis=2)) == pytest.approx(float(series.sel(axis=2).mean()))
