"""Cluster vectors of samples against icet's own, plain correlations and exact averages.

Statistical comparisons have fixed seeds; each z-score is refused beyond 4.5, a false alarm of
7·10⁻⁶ per number.
"""

import numpy as np
import pytest

from alchemc import builders
from alchemc.analysis import cluster_vectors
from alchemc.errors import InputError
from analysis_cases import (
    HALF,
    boltzmann,
    ordered,
    pair_energies,
    perovskite,
    sticky_chains,
)

Z_LIMIT = 4.5


def test_icet_gives_the_same_vectors_for_three_species_and_two_sublattices():
    from icet import ClusterSpace

    lattice = builders.perovskite(("Sr", "Ba"), ("Sc", "Ta", "Nb"), "O", a=4.0, size=(2, 2, 3))
    composition = {"A": {"Sr": 0.5, "Ba": 0.5}, "B": {"Sc": 0.5, "Ta": 0.25, "Nb": 0.25}}
    occupations = lattice.random(composition, np.random.default_rng(1), 5)
    symbols = [[s] for s in lattice.atoms.get_chemical_symbols()]
    for n, site in enumerate(lattice.sites):
        symbols[site] = list(lattice.species_of(n))
    space = ClusterSpace(lattice.atoms, [6.0, 4.5], symbols)
    theirs = [space.get_cluster_vector(lattice.to_atoms(o))[1:] for o in occupations]
    found = cluster_vectors(lattice, occupations, (6.0, 4.5))
    assert found["mean"].to_numpy() == pytest.approx(np.mean(theirs, axis=0), abs=1e-12)
    assert set(found["sublattices"].to_numpy()) >= {"A", "B", "A–A", "A–B", "B–B"}


def test_vacancies_are_a_species():
    from icet import ClusterSpace

    lattice = builders.fluorite("Zr", ("O", "X"), a=5.1, size=(2, 2, 1))
    occupation = lattice.random({"anion": {"O": 0.75, "X": 0.25}}, np.random.default_rng(2))
    symbols = [["Zr"] if s == "Zr" else ["O", "X"] for s in lattice.atoms.symbols]
    space = ClusterSpace(lattice.atoms, [5.2], symbols)
    atoms = lattice.atoms.copy()
    atoms.numbers[lattice.sites] = np.where(occupation == 0, 8, 0)
    theirs = space.get_cluster_vector(atoms)[1:]
    found = cluster_vectors(lattice, occupation, (5.2,))
    assert found["mean"].to_numpy() == pytest.approx(theirs, abs=1e-12)


def test_points_and_pairs_are_plain_correlations_of_spins():
    lattice = perovskite(4, 4, 4)
    occupation = lattice.random({"B": {"Sc": 0.375, "Ta": 0.625}}, np.random.default_rng(3))
    found = cluster_vectors(lattice, occupation, (8.1,))
    spins = np.where(occupation == 0, 1, -1)
    sign = np.sign(float(found["mean"][0])) * np.sign(spins.mean())
    assert float(found["mean"][0]) == pytest.approx(sign * spins.mean())
    pairs = found["mean"].where(found["order"] == 2, drop=True).to_numpy()
    expected = [
        (spins[shell.pairs[:, 0]] * spins[shell.pairs[:, 1]]).mean() for shell in lattice.shells(4)
    ]
    assert pairs == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["rock-salt", "layered", "columnar"])
def test_perfect_orders_have_their_pairs(name):
    lattice = perovskite(4, 4, 4)
    found = cluster_vectors(lattice, ordered(lattice, name), (8.1,))["mean"].to_numpy()
    shells = {
        "rock-salt": (-1.0, 1.0, -1.0, 1.0),
        "layered": (1 / 3, -1 / 3, -1.0, 1.0),
        "columnar": (-1 / 3, -1 / 3, 1.0, 1.0),
    }
    assert found == pytest.approx([0.0, *shells[name]], abs=1e-12)


def test_means_of_chains_agree_with_the_exact_average(record_property):
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate(HALF)
    weights = boltzmann(pair_energies(lattice, states), 1200.0)
    chosen = sticky_chains(weights, 1500, 4, 0.6, np.random.default_rng(5))
    found = cluster_vectors(lattice, states[chosen], (6.0,))
    each = np.array([cluster_vectors(lattice, s, (6.0,))["mean"].to_numpy() for s in states])
    pairs = (found["order"] == 2).to_numpy()
    z = (found["mean"].to_numpy() - weights @ each)[pairs] / found["error"].to_numpy()[pairs]
    record_property("z", float(np.abs(z).max()))
    assert np.abs(z).max() < Z_LIMIT
    assert bool(found["converged"][pairs].all())


def test_the_random_value_is_that_of_independent_sites(record_property):
    lattice = perovskite(4, 4, 4, species=("Sc", "Ta", "Nb"))
    composition = {"B": {"Sc": 0.5, "Ta": 0.25, "Nb": 0.25}}
    rng = np.random.default_rng(6)
    start = cluster_vectors(lattice, lattice.random(composition, rng), (4.1,))
    independent = rng.choice(3, size=(400, 2, 64), p=[0.5, 0.25, 0.25])
    found = cluster_vectors(lattice, independent, (4.1,))
    z = (found["mean"] - start["random"].to_numpy()) / found["error"]
    record_property("z", float(np.abs(z).max()))
    assert float(np.abs(z).max()) < Z_LIMIT


@pytest.mark.parametrize("cutoffs", [(), (-1.0,), (1.0,), "long"])
def test_cutoffs_that_hold_no_pair_are_refused(cutoffs):
    lattice = perovskite(2, 2, 2)
    with pytest.raises(InputError, match="cutoff"):
        cluster_vectors(lattice, np.zeros(8, int), cutoffs)
