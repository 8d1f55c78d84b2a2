"""What `ordering_temperature` does with input that is wrong, scarce or of unusual shape.

One test is statistical: z-scores of the reported errors, false alarm below 10⁻⁴.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest
from ase.units import kB

from alchemc._pymbar import quiet_pymbar
from alchemc.analysis import TransitionSeries, ordering_temperature, transition_series
from alchemc.analysis.stability.multi_histogram import MultiHistogram
from alchemc.errors import ConvergenceError, InputError
from analysis_cases import HALF, exact_run, perovskite

T = (900.0, 1000.0, 1100.0)
CAPACITY = 50.0


def oscillators(shape=(800, 2), temperatures=T, cell=None, seed=1):
    """Energies of 50 classical oscillators, each of heat capacity k_B, and idle orders."""
    rng = np.random.default_rng(seed)
    energies = tuple(rng.gamma(CAPACITY, kB * t, shape) for t in temperatures)
    orders = tuple(rng.random(shape) for _ in temperatures)
    cell = 3.0 * np.eye(3) if cell is None else cell
    return TransitionSeries(27, cell, temperatures, energies, orders)


@pytest.mark.parametrize("shape", [(50, 200), (1000, 70), (700, 121), (90, 7), (41, 30)])
def test_many_short_chains_are_cut_into_blocks_that_leave_few_draws_out(shape):
    histogram = MultiHistogram.of(oscillators(shape=shape), np.random.default_rng(0), 4)
    kept = histogram.sums[0][0].sum() / (len(T) * shape[0] * shape[1])
    assert kept > 0.8
    assert max(histogram.n_blocks) <= max(120, shape[1])


def test_errors_of_many_short_chains_are_right(record_property):
    rng = np.random.default_rng(3)
    z = []
    for seed in range(24):
        histogram = MultiHistogram.of(oscillators(shape=(20, 150), seed=seed), rng, 60)
        capacity = histogram.curves([950.0]).heat_capacity[0] * 27
        z.append((capacity[0] - CAPACITY) / capacity[1:].std())
    record_property("z", z)
    # Standard normal: χ² of 24 within its 10⁻⁴ quantiles, widened by a tenth for 60 resamples.
    assert 5.0 < np.square(z).sum() < 62.0


def test_too_short_chains_are_named_as_such():
    with pytest.raises(ConvergenceError, match="at least 4 draws"):
        MultiHistogram.of(oscillators(shape=(3, 500)), np.random.default_rng(0), 4)
    slow = oscillators(shape=(400, 2))
    still = tuple(np.repeat(e[:4], 100, axis=0) for e in slow.energies)
    with pytest.raises(ConvergenceError, match=r"sample at least [2-9]"):
        MultiHistogram.of(TransitionSeries(27, slow.cell, T, still), np.random.default_rng(0), 4)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"n_resamples": 0}, "n_resamples is 0"),
        ({"n_resamples": 2.5}, "n_resamples is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"universality": (1.0, 2.0, 3.0)}, "universality"),
        ({"universality": 5}, "universality"),
        ({"universality": (0.63, float("nan"))}, "universality"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(keywords, message):
    with pytest.raises(InputError, match=message):
        ordering_temperature(oscillators(), **keywords)


def test_what_is_no_run_is_refused():
    with pytest.raises(InputError, match="is no run"):
        ordering_temperature([oscillators(), "run"])


def test_series_that_have_no_meaning_are_refused():
    one = oscillators()
    with pytest.raises(InputError, match="temperature is 0"):
        oscillators(temperatures=(0.0, 900.0))
    with pytest.raises(InputError, match="never negative"):
        TransitionSeries(27, one.cell, T, one.energies, tuple(-m for m in one.orders))
    with pytest.raises(InputError, match="n_draws, n_chains"):
        TransitionSeries(27, one.cell, T, ([1.0, 2.0],) * 3)


def test_two_cells_of_the_same_edges_are_no_two_sizes():
    turned = 3.0 * np.eye(3)[[1, 2, 0]]
    with pytest.raises(InputError, match="same edges"):
        ordering_temperature([oscillators(), oscillators(cell=turned, seed=2)])


def test_the_size_that_shows_no_maximum_is_the_one_that_is_named():
    with pytest.raises(ConvergenceError, match="27 sites rises to the end"):
        ordering_temperature(oscillators(), "rock-salt")


@pytest.mark.parametrize("result", [1.0, np.zeros((3, 3)), np.array(["a"])])
def test_an_order_that_gives_no_number_for_each_configuration_is_refused(result):
    run, _, _ = exact_run((900.0,), n_draws=8)
    with pytest.raises(InputError, match="real m²"):
        transition_series(run, lambda lattice, flat: result)
    with pytest.raises(InputError, match="not one of"):
        transition_series(run, None, "C")


def test_the_squared_order_is_that_of_the_ising_model():
    run, _, _ = exact_run((900.0,), n_draws=20)
    lattice = perovskite(2, 2, 2)
    places = np.rint(lattice.atoms.positions[lattice.sites] / 4.0 - 0.5).astype(int)
    spins = (1 - 2 * run.points[0]["occupation"].to_numpy().astype(int)) * (
        1 - 2 * (places.sum(axis=1) % 2)
    )
    assert sum(HALF["B"].values()) == 1.0
    found = transition_series(run).orders[0]
    np.testing.assert_allclose(found, spins.mean(axis=2) ** 2, atol=1e-12)


def test_importing_pymbar_leaves_its_logger_as_it_was():
    before = logging.getLogger("pymbar").level
    assert hasattr(quiet_pymbar(), "MBAR")
    assert hasattr(quiet_pymbar("timeseries"), "detect_equilibration")
    assert logging.getLogger("pymbar").level == before
