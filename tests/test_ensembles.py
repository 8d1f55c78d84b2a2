"""Ensembles: weights, their gradients, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units

from alchemc import Canonical
from alchemc.errors import InputError
from toys import RandomHamiltonian, chain_lattice


@pytest.fixture
def lattice():
    return chain_lattice((("Sc", "Ta"), 4))


def test_log_density_is_minus_beta_times_the_energy(lattice):
    ensemble = Canonical(lattice, 1000.0)
    energy = np.array([0.0, 0.25])
    expected = -energy / (units.kB * 1000.0)
    np.testing.assert_allclose(ensemble.log_density(energy, np.zeros((2, 4), np.int8)), expected)


def test_the_log_density_gradient_is_that_of_the_log_density(lattice):
    hamiltonian = RandomHamiltonian(lattice, seed=1, cubic=0.1)
    ensemble = Canonical(lattice, 700.0)
    weights = np.random.default_rng(2).random((1, 8))
    _, slope = hamiltonian._evaluate(weights[0])
    numeric = np.empty(8)
    for p in range(8):
        step = np.zeros(8)
        step[p] = 1e-5
        change = (
            hamiltonian._evaluate(weights[0] + step)[0]
            - hamiltonian._evaluate(weights[0] - step)[0]
        )
        numeric[p] = ensemble.log_density(np.array([change]), None)[0] / 2e-5
    gradient = ensemble.log_density_gradient(slope.reshape(1, 4, 2), None)
    np.testing.assert_allclose(gradient.ravel(), numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("temperature", [0, -5.0, float("nan"), float("inf"), True, "300", None])
def test_an_unusable_temperature_is_named_in_one_line(lattice, temperature):
    with pytest.raises(InputError, match="temperature") as error:
        Canonical(lattice, temperature)
    assert repr(temperature) in str(error.value)
    assert "\n" not in str(error.value)


def test_with_temperature_changes_the_temperature_alone(lattice):
    ensemble = Canonical(lattice, 300)
    hotter = ensemble.with_temperature(600.0)
    assert (ensemble.temperature, hotter.temperature) == (300.0, 600.0)
    assert hotter.lattice is lattice
    assert hotter.beta == pytest.approx(ensemble.beta / 2)
