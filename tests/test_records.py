"""Runs: labelled samples, in memory or rebuilt from stored points."""

from __future__ import annotations

import numpy as np
import pytest

from alchemc import Run
from alchemc.errors import InputError, StoredRunError
from alchemc.records import point_arrays, point_dataset
from toys import RandomHamiltonian, chain_lattice


def block(n_draws=4, n_chains=2, n_sites=5, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "occupation": rng.integers(0, 2, size=(n_draws, n_chains, n_sites), dtype=np.uint8),
        "energy": rng.normal(size=(n_draws, n_chains)),
        "acceptance": rng.random((n_draws, n_chains)),
        "energy_calls": np.full((n_draws, n_chains), 3),
        "gradient_calls": np.zeros((n_draws, n_chains), dtype=int),
    }


@pytest.fixture
def lattice():
    return chain_lattice((("Sc", "Ta"), 5))


def test_a_point_has_named_dims_types_and_units():
    point = point_dataset(block(), {"temperature": 900.0})
    assert dict(point.sizes) == {"draw": 4, "chain": 2, "site": 5}
    assert point.occupation.dtype == np.uint8
    assert point.energy_calls.dtype == np.int64
    assert point.energy.attrs["units"] == "eV"
    assert point.temperature.attrs["units"] == "K"
    assert float(point.temperature) == 900.0


def test_arrays_survive_a_round_trip_bit_for_bit():
    arrays = block()
    again, coordinates = point_arrays(point_dataset(arrays, {"temperature": 900.0}))
    assert coordinates == {"temperature": 900.0}
    assert set(again) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


@pytest.mark.parametrize(
    ("arrays", "coordinates", "message"),
    [
        ({"energies": np.zeros((2, 2))}, {}, "energies"),
        ({"energy": np.zeros((2, 2))}, {"temprature": 3.0}, "temprature"),
        ({"energy": np.zeros(2)}, {}, r"\(2,\)"),
        ({"energy": np.zeros((2, 2)), "acceptance": np.zeros((3, 2))}, {}, "acceptance"),
        ({"temperature": np.zeros((2, 2))}, {}, "variable 'temperature'"),
        ({"energy": np.zeros((2, 2))}, {"energy": 1.0}, "scalar 'energy'"),
        ({"energy": np.zeros((2, 2))}, {"temperature": np.nan}, "temperature is nan"),
        ({"energy": np.zeros((2, 2))}, {"temperature": "hot"}, "temperature is 'hot'"),
        ({"energy": [[1.0], [1.0, 2.0]]}, {}, "energy is ragged"),
        ({"energy": [["low"]]}, {}, "energy holds"),
        ({"energy": np.ones((2, 2)) * 1j}, {}, "energy holds complex128"),
        ({"occupation": np.full((1, 1, 8), 256)}, {}, "occupation holds 256: expected 0 to 255"),
        ({"occupation": np.full((1, 1, 8), -1)}, {}, "occupation holds -1"),
        ({"occupation": np.full((1, 1, 8), 0.7)}, {}, "occupation holds float64"),
        ({"energy_calls": np.full((1, 1), 0.5)}, {}, "energy_calls holds float64"),
    ],
)
def test_names_shapes_and_values_that_do_not_fit_are_refused(arrays, coordinates, message):
    with pytest.raises(InputError, match=message):
        point_dataset(arrays, coordinates)


def test_one_point_is_the_samples(lattice):
    point = point_dataset(block(), {"temperature": 900.0})
    assert Run((point,), lattice).samples is point


def test_points_join_along_a_dim_point_and_shorter_ones_are_padded(lattice):
    points = [
        point_dataset(block(n_draws=4), {"temperature": 900.0}),
        point_dataset(block(n_draws=2, seed=1), {"temperature": 600.0}),
    ]
    samples = Run(points, lattice).samples
    assert samples.temperature.values.tolist() == [900.0, 600.0]
    assert samples.occupation.dtype == np.uint8
    assert (samples.occupation.sel(point=1, draw=[2, 3]) == 255).all()
    assert samples.energy.sel(point=1, draw=[2, 3]).isnull().all()
    assert (samples.energy_calls.sel(point=1, draw=[2, 3]) == -1).all()
    np.testing.assert_array_equal(samples.energy.sel(point=0), points[0].energy)


def test_a_run_builds_the_hamiltonian_it_was_sampled_with(lattice):
    hamiltonian = RandomHamiltonian(lattice, seed=1)
    point = point_dataset(block())
    assert (
        Run((point,), lattice, build_hamiltonian=lambda: hamiltonian).hamiltonian() is hamiltonian
    )
    with pytest.raises(StoredRunError, match="energy model"):
        Run((point,), lattice).hamiltonian()


def test_a_run_without_points_or_with_another_lattice_is_refused(lattice):
    with pytest.raises(InputError, match="no points"):
        Run((), lattice)
    with pytest.raises(InputError, match="points is one Dataset: give a tuple"):
        Run(point_dataset(block()), lattice)
    with pytest.raises(InputError, match="point 1 is a dict"):
        Run((point_dataset(block()), block()), lattice)
    with pytest.raises(InputError, match="6 sites"):
        Run((point_dataset(block(n_sites=6)),), lattice)
