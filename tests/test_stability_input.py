"""Ground states, vibrations and diagnostics with input that is wrong, cold, or without anything."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import kB

from alchemc import Lattice, PairHamiltonian, Sublattice, builders
from alchemc.analysis import ground_states, harmonic_free_energy
from alchemc.analysis.convergence import block_error, blocking, diagnose
from alchemc.analysis.stability.harmonic_modes import modes_of, thermodynamics
from alchemc.errors import InputError

PAIRS = [[[0.01, -0.01], [-0.01, 0.01]]]


def metal(*species: str) -> Lattice:
    return Lattice(bulk("Cu"), {"metal": Sublattice("Cu", species or ("Cu", "Au"))})


def pairs(lattice: Lattice) -> PairHamiltonian:
    return PairHamiltonian(lattice, PAIRS)


class Springs:
    """Every atom on a spring to its place, in the frame of the crystal: no free translation."""

    def __init__(self, lattice: Lattice, stiffness: float = 5.0) -> None:
        self.lattice, self.stiffness = lattice, stiffness
        self.positions = lattice.atoms.positions

    def forces_at(self, occupations, positions, cells):
        away = positions - self.positions
        away = away - away.mean(axis=1, keepdims=True)
        energies = 0.5 * self.stiffness * (away**2).sum(axis=(1, 2))
        return energies, -self.stiffness * away, None


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"sizes": None}, "sizes"),
        ({"sizes": 2.0}, "sizes"),
        ({"sizes": (1, 2), "tolerance": "small"}, "tolerance"),
        ({"sizes": (1, 2), "tolerance": float("inf")}, "tolerance"),
        ({"sizes": (1, 2), "multiple": 2.5}, "multiple"),
    ],
)
def test_settings_of_an_enumeration_that_cannot_be_used_are_refused(keywords, message):
    with pytest.raises(InputError, match=message):
        ground_states(metal(), pairs, **keywords)


def test_numpy_integers_are_whole_numbers():
    found = ground_states(metal(), pairs, np.arange(1, 3), multiple=np.int64(1))
    assert len(found) == 4


def test_a_crystal_of_one_species_has_nothing_to_enumerate():
    with pytest.raises(InputError, match="two or more species"):
        ground_states(metal("Cu"), pairs)


def test_energies_that_are_not_numbers_hide_no_state_below_the_hull():
    found = ground_states(metal(), pairs, (1, 2))
    cell = metal().repeat(2)
    energies = np.array([[-100.0], [np.nan]])
    with pytest.raises(InputError, match="NaN"):
        found.below_hull(cell, np.zeros((2, 1, 8), dtype=np.int8), energies)


def test_one_atom_has_no_vibrations():
    lattice = Lattice(Atoms("Cu", cell=[3, 3, 3], pbc=True), {"m": Sublattice("Cu", ("Cu",))})
    with pytest.raises(InputError, match="one atom"):
        harmonic_free_energy(Springs(lattice), np.array([0]), 300.0)


@pytest.mark.parametrize(
    "keywords",
    [{"temperatures": "hot"}, {"temperatures": []}, {"step": "small"}, {"fmax": float("nan")}],
)
def test_settings_of_vibrations_that_cannot_be_used_are_refused(keywords):
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    with pytest.raises(InputError, match=next(iter(keywords))):
        harmonic_free_energy(
            Springs(lattice), np.zeros(4, dtype=int), **({"temperatures": [300.0]} | keywords)
        )


def test_a_cold_crystal_has_its_zero_point_energy_without_a_warning():
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    found = harmonic_free_energy(Springs(lattice), np.zeros(4, dtype=int), 0.01)
    assert found.vibrational(0.01)[0] == pytest.approx(found.zero_point_energy[0], rel=1e-12)
    assert found.entropy(0.01)[0] == pytest.approx(0.0, abs=1e-15)
    with pytest.raises(InputError, match="temperatures"):
        found.average("hot")


def test_a_diatomic_has_the_frequency_of_its_reduced_mass_and_the_sum_over_its_levels():
    stiffness, masses = 10.0, np.array([24.3, 16.0])
    matrix = stiffness * np.kron([[1.0, -1.0], [-1.0, 1.0]], np.diag([1.0, 2.0, 3.0]))
    quanta = modes_of(matrix, masses)
    reduced = masses.prod() / masses.sum() * 1.66053906660e-27  # kg
    omega = np.sqrt(stiffness * np.array([1.0, 2.0, 3.0]) * 16.02176634 / reduced)
    np.testing.assert_allclose(quanta, omega * 1.054571817e-34 / 1.602176634e-19, rtol=1e-7)
    for temperature in (10.0, 300.0, 3000.0):
        levels = (np.arange(20_000)[:, None] + 0.5) * quanta
        weights = np.exp(-(levels - levels[0]) / (kB * temperature))
        partition = weights.sum(axis=0)
        free = (levels[0] - kB * temperature * np.log(partition)).sum()
        energy = ((levels * weights).sum(axis=0) / partition).sum()
        found, entropy = thermodynamics(quanta, temperature)
        assert found == pytest.approx(free, rel=1e-12)
        assert entropy == pytest.approx((energy - free) / temperature, abs=1e-15)


@pytest.mark.parametrize("series", ["abc", np.zeros((0, 2)), np.zeros((3, 3, 3)), 1.0])
def test_what_is_no_series_is_not_diagnosed(series):
    for function in (diagnose, blocking, block_error):
        with pytest.raises(InputError, match="series"):
            function(series)


def test_a_series_with_a_hole_has_no_blocks():
    series = np.zeros((50, 2))
    series[7, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        blocking(series)


def test_a_single_chain_may_be_one_dimensional():
    series = np.random.default_rng(0).normal(size=500)
    assert diagnose(series) == diagnose(series[:, None])
