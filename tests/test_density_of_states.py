"""The density of states as a result: averages, errors, storage, and what analysis reads from it.

False alarms: the test of errors refuses a ratio that 20 degrees of freedom would give once in 10⁵;
its seed is fixed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.units import kB
from scipy.stats import chi2

from alchemc import DensityOfStates
from alchemc.analysis import coexistence, energy_distribution
from alchemc.errors import InputError, StoredRunError

SPINS = np.array([1.0, 4.0, 6.0, 4.0, 1.0])  # four spins in a field
LEVELS = 0.1 * np.arange(5)


def four_spins(noise=0.0, n_repeats=4, **fields):
    rng = np.random.default_rng(1)
    repeats = np.log(SPINS) + noise * rng.normal(size=(n_repeats, 5))
    return DensityOfStates(LEVELS, repeats, n_sites=4, bin_width=0.1, **fields)


def test_averages_are_those_of_the_closed_form():
    kelvin = np.array([300.0, 1000.0, 1e6])
    up = 1 / (1 + np.exp(0.1 / (kB * kelvin)))
    found = four_spins().averages(kelvin)
    np.testing.assert_allclose(found.energy, 0.4 * up)
    np.testing.assert_allclose(found.heat_capacity, up * (1 - up) * (0.1 / (kB * kelvin)) ** 2)
    np.testing.assert_allclose(found.free_energy, 4 * kB * kelvin * np.log1p(-up))
    np.testing.assert_allclose(found.entropy, -up * np.log(up) - (1 - up) * np.log1p(-up))
    assert (found.energy_error < 1e-12).all()
    assert found.energy.attrs["units"] == "eV"
    assert four_spins().averages(300.0).energy.dims == ()


def test_errors_are_the_scatter_of_what_repeats_would_give():
    """The variance of ⟨E⟩ over densities of four repeats, against the errors they report."""
    rng = np.random.default_rng(2)
    values, errors = [], []
    for _ in range(21):
        repeats = np.log(SPINS) + 0.02 * rng.normal(size=(4, 5))
        found = DensityOfStates(LEVELS, repeats, n_sites=4, bin_width=0.1).averages(800.0)
        values.append(float(found.energy))
        errors.append(float(found.energy_error))
    ratio = 20 * np.var(values, ddof=1) / np.mean(np.square(errors))
    assert chi2.ppf(1e-5, 20) < ratio < chi2.isf(1e-5, 20)


def test_one_repeat_has_no_error():
    dos = four_spins(n_repeats=1)
    assert np.isnan(dos.ln_g_error).all()
    assert np.isnan(dos.averages(800.0).energy_error)


def test_a_level_that_one_repeat_missed_has_an_infinite_error():
    repeats = np.log(np.tile(SPINS, (3, 1)))
    repeats[1, 0] = np.nan
    dos = DensityOfStates(LEVELS, repeats, n_sites=4, bin_width=0.1)
    np.testing.assert_allclose(dos.ln_g, np.log(SPINS))
    assert np.isinf(dos.ln_g_error).tolist() == [True, False, False, False, False]
    np.testing.assert_allclose(dos.averages(500.0).energy, four_spins().averages(500.0).energy)


def test_observables_are_averaged_where_they_were_sampled():
    number = np.tile(np.arange(5.0), (4, 1))
    kelvin = [300.0, 1e6]
    up = 1 / (1 + np.exp(0.1 / (kB * np.array(kelvin))))
    found = four_spins(means={"up": number}).averages(kelvin)
    np.testing.assert_allclose(found.up, 4 * up)
    number[:, 4] = np.nan  # hardly any weight at 300 K, a sixteenth at a million
    found = four_spins(means={"up": number}).averages(kelvin)
    np.testing.assert_allclose(found.up[0], 4 * up[0], rtol=1e-3)
    assert np.isnan(found.up[1])


def test_a_cut_range_refuses_temperatures_that_need_more():
    dos = four_spins(cut=(False, True))
    assert float(dos.averages(200.0).energy) > 0
    with pytest.raises(InputError, match=r"at 1000 K .* highest level"):
        dos.averages([200.0, 1000.0])


def test_it_survives_a_file(tmp_path):
    dos = four_spins(
        0.01,
        means={"order": np.ones((4, 5))},
        unvisited=np.array([0.05]),
        cut=(True, False),
        converged=False,
        exact_levels=False,
        attrs={"final_ln_f": [1e-6, 2e-6], "move": "swap"},
    )
    path = tmp_path / "dos.zarr"
    dos.to_dataset().to_zarr(path, consolidated=False)
    import xarray as xr

    again = DensityOfStates.from_dataset(xr.open_zarr(path, consolidated=False))
    for name in ("energies", "repeats", "unvisited"):
        np.testing.assert_array_equal(getattr(again, name), getattr(dos, name))
    np.testing.assert_array_equal(again.means["order"], dos.means["order"])
    for name in ("n_sites", "bin_width", "exact_levels", "cut", "converged", "attrs"):
        assert getattr(again, name) == getattr(dos, name), name


def test_another_dataset_is_refused():
    with pytest.raises(StoredRunError, match="no ln_g"):
        DensityOfStates.from_dataset(four_spins().to_dataset().drop_vars("ln_g"))


@pytest.mark.parametrize(
    ("energies", "repeats", "message"),
    [
        ([0.0, 1.0], [[0.0]], r"repeats has shape \(1, 1\)"),
        ([1.0, 0.0], [[0.0, 0.0]], "do not rise"),
        ([], np.zeros((1, 0)), "energies have shape"),
        ([0.0, np.inf], [[0.0, 0.0]], "do not rise"),
    ],
)
def test_shapes_that_disagree_are_refused(energies, repeats, message):
    with pytest.raises(InputError, match=message):
        DensityOfStates(energies, repeats, n_sites=1, bin_width=1.0)


@pytest.mark.parametrize("kelvin", [0.0, -1.0, np.nan, [300.0, 0.0], "hot", None])
def test_temperatures_that_are_none_are_refused(kelvin):
    with pytest.raises(InputError, match="temperature"):
        four_spins().averages(kelvin)


# ---- transitions -----------------------------------------------------------------------------


def two_phases(weight=20.0, noise=0.0, n_repeats=5):
    """Gaussian phases about −1.2 and −0.2 eV, equally likely at β = weight/eV; the upper one wide.

    ln g of either is a parabola, so that height, weight and mean of every peak are known.
    """
    energies = np.linspace(-2.5, 2.0, 901)
    low = -((energies + 1.0) ** 2) / (2 * 0.1**2)
    high = weight - energies**2 / (2 * 0.1**2)
    rng = np.random.default_rng(1)
    ln_g = np.logaddexp(low, high) + noise * rng.normal(size=(n_repeats, len(energies)))
    return DensityOfStates(energies, ln_g, n_sites=10, bin_width=0.005)


def test_two_phases_have_their_barrier_and_temperature():
    found = coexistence(two_phases())
    assert found.temperature == pytest.approx(1 / (kB * 20), rel=1e-6)
    assert found.equal_height == pytest.approx(1 / (kB * 20), rel=1e-6)
    # Peaks of ln P at 22, and 10.19 half way between them.
    assert found.barrier == pytest.approx(22 - 9.5 - np.log(2), abs=1e-3)
    assert found.ordered == pytest.approx(-1.2, abs=1e-4)
    assert found.disordered == pytest.approx(-0.2, abs=1e-4)
    assert found.latent_heat == pytest.approx(1.0, abs=1e-4)


def test_peaks_of_equal_weight_and_of_equal_height_differ():
    """The upper phase half again as wide: at equal height it weighs half again as much."""
    energies = np.linspace(-3.0, 4.0, 1401)
    low = -((energies + 1.0) ** 2) / (2 * 0.1**2)
    high = 10.0 - energies**2 / (2 * 0.15**2)
    dos = DensityOfStates(energies, [np.logaddexp(low, high)], n_sites=10, bin_width=0.005)
    found = coexistence(dos)

    def height(beta):  # ln of the lower peak over the upper one
        return beta - 10.0 + beta**2 * (0.1**2 - 0.15**2) / 2

    assert abs(height(1 / (kB * found.equal_height))) < 1e-3
    assert abs(height(1 / (kB * found.temperature)) - np.log(1.5)) < 1e-2
    assert found.temperature < found.equal_height


def test_noise_of_the_repeats_shows_in_the_errors():
    exact, found = coexistence(two_phases()), coexistence(two_phases(noise=0.02))
    for name in ("temperature", "latent_heat"):
        off = abs(getattr(found, name) - getattr(exact, name))
        assert off < 6 * found.errors[name], name
    assert abs(found.barrier - exact.barrier) < 0.2  # the deepest of many noisy levels
    assert 0 < found.errors["barrier"] < 0.1


def test_one_phase_has_no_barrier():
    energies = np.linspace(-1, 1, 101)
    dos = DensityOfStates(energies, [-(energies**2)], n_sites=4, bin_width=0.02)
    assert coexistence(dos) is None


def test_a_dent_at_negative_temperatures_alone_is_none():
    dos = two_phases()
    mirrored = DensityOfStates(-dos.energies[::-1], dos.repeats[:, ::-1], 10, 0.005)
    assert coexistence(mirrored) is None


def test_the_distribution_of_the_energy_adds_up_to_one():
    p = energy_distribution(two_phases(), 600.0)
    assert float(p.sum()) == pytest.approx(1.0)
    assert p.energy.attrs["units"] == "eV"
    mean = float((p * p.energy).sum())
    assert mean == pytest.approx(float(two_phases().averages(600.0).energy))
    for temperature in (0.0, np.nan, "600", None):
        with pytest.raises(InputError, match=r"temperature = .* give it in K"):
            energy_distribution(two_phases(), temperature)


def test_a_distribution_is_refused_where_its_states_were_left_out():
    dos = DensityOfStates([0.0, 0.1, 0.2], [[0.0, 2.0, 3.0]], 4, 0.1, cut=(True, False))
    for ask in (dos.averages, lambda temperature: energy_distribution(dos, temperature)):
        with pytest.raises(InputError, match=r"at 300 K 0\.86 of the weight lies on the lowest"):
            ask(300.0)
    whole = replace(dos, cut=(False, True))
    assert float(energy_distribution(whole, 100.0)[0]) > 0.99


def test_uneven_levels_hide_the_dent_and_smoothing_finds_it():
    """One level of a twentieth of the states its neighbours have, as near a ground state."""
    smooth = two_phases(n_repeats=1)
    ln_g = smooth.repeats.copy()
    ln_g[:, np.searchsorted(smooth.energies, -1.25)] -= 15.0
    dos = DensityOfStates(smooth.energies, ln_g, n_sites=10, bin_width=0.005)
    assert coexistence(dos).disordered < -0.5  # the dent is that level
    found = coexistence(dos, smoothing=0.05)
    assert found.temperature == pytest.approx(1 / (kB * 20), rel=1e-3)
    assert found.latent_heat == pytest.approx(1.0, abs=0.02)
    assert abs(found.barrier - coexistence(smooth).barrier) < 1.0
    for smoothing in (-1.0, "wide"):
        with pytest.raises(InputError, match=r"smoothing = .* give eV, 0 or more"):
            coexistence(dos, smoothing=smoothing)
