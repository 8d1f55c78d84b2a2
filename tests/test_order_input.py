"""Measures of order on unusual lattices and samples: strained, of one site, never changing.

Random numbers only fill lattices; nothing here is statistical.
"""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import (
    anion_environments,
    domain_map,
    domains,
    ordering_amplitude,
    site_order,
    structure_factor,
    structure_factor_map,
    warren_cowley,
)
from alchemc.analysis.plots import plot_structure_factor_map
from alchemc.errors import InputError
from analysis_cases import HALF, ordered, perovskite


def strained(lattice: Lattice, strain: np.ndarray) -> Lattice:
    atoms = lattice.atoms.copy()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    sites = tuple(lattice.sites.tolist())
    return Lattice(atoms, {"B": Sublattice(sites, ("Sc", "Ta"))})


STRAINS = {
    "tetragonal": np.diag([0.0, 0.0, 0.03]),
    "orthorhombic": np.diag([-0.01, 0.0, 0.015]),
    "sheared": np.array([[0.0, 0.02, 0.0], [0.02, 0.0, 0.01], [0.0, 0.01, 0.0]]),
}


@pytest.mark.parametrize("strain", STRAINS.values(), ids=STRAINS)
@pytest.mark.parametrize("size", [(4, 4, 4), (2, 4, 6)])
def test_domains_of_a_strained_net_are_those_of_the_cubic_one(strain, size):
    cubic = perovskite(*size)
    lattice = strained(cubic, strain)
    perfect = ordered(cubic, "rock-salt")
    assert domain_map(lattice, perfect).sizes.tolist() == [lattice.n_sites]
    occupation = cubic.random(HALF, np.random.default_rng(1))
    for smooth in (True, False):
        counted = slice(0, 5)  # all but the area
        there, here = (
            domains(one, occupation, smooth=smooth)["mean"].to_numpy()[counted]
            for one in (cubic, lattice)
        )
        np.testing.assert_array_equal(here, there)


def test_the_area_of_a_flat_wall_in_a_strained_net_is_near_the_true_one():
    lattice = strained(perovskite(4, 4, 4), STRAINS["tetragonal"])
    z = lattice.atoms.get_scaled_positions()[lattice.sites, 2]
    perfect = ordered(perovskite(4, 4, 4), "rock-salt")
    table = domains(lattice, np.where(z < 0.5, 1 - perfect, perfect), smooth=False)
    assert float(table["mean"].sel(measure="boundary area")) == pytest.approx(2 * 16**2, rel=0.03)


def test_sites_that_have_no_neighbours_make_no_domains():
    lattice = builders.spinel(("Mg", "Al"), "O", a=8.08)
    reference = np.zeros(24, dtype=int)
    reference[0] = 1
    with pytest.raises(InputError, match=r"8 sites .* no neighbour"):
        domains(lattice, reference, reference)


def test_a_sublattice_that_is_not_there_is_named():
    lattice = perovskite(2, 2, 2)
    perfect = ordered(lattice, "rock-salt")
    with pytest.raises(InputError, match="not one of"):
        domains(lattice, perfect, perfect, "C")


def test_what_never_varies_is_not_said_to_rest_on_unconverged_chains():
    lattice = perovskite(4, 4, 4)
    still = np.repeat(ordered(lattice, "rock-salt")[None, None], 200, axis=0).repeat(3, axis=1)
    for table in (
        domains(lattice, still),
        site_order(lattice, still, n_random=5),
        anion_environments(lattice, still),
        structure_factor(lattice, still),
    ):
        assert "never varied" in table.attrs["statement"]
        assert "did not converge" not in table.attrs["statement"]


def test_what_varies_and_what_has_no_verdict_are_told_apart():
    lattice = perovskite(4, 4, 4)
    draws = lattice.random(HALF, np.random.default_rng(0), 60)
    few = anion_environments(lattice, draws.reshape(30, 2, 64)).attrs["statement"]
    replicas = anion_environments(lattice, draws).attrs["statement"]
    assert few.endswith("did not converge.")
    assert "no verdict on convergence" in replicas


def test_order_of_a_single_species_has_no_value():
    lattice = perovskite(2, 2, 2)
    pure = np.zeros((20, 2, 8), dtype=np.int8)
    text = site_order(lattice, pure, np.zeros(8, dtype=int), n_random=2).attrs["statement"]
    assert "no value" in text
    assert "nan" not in text


def test_a_cell_that_no_wave_fits_says_so():
    atoms = Atoms("Cu", cell=[3, 3, 3], pbc=True)
    lattice = Lattice(atoms, {"m": Sublattice("Cu", ("Cu", "Au"))})
    with pytest.raises(InputError, match="none near it does"):
        ordering_amplitude(lattice, np.array([0]), "rock-salt")


def test_a_sublattice_that_is_named_twice_counts_once():
    lattice = perovskite(2, 2, 2)
    perfect = ordered(lattice, "rock-salt")
    once, twice = (structure_factor(lattice, perfect, sublattices=s) for s in ("B", ["B", "B"]))
    assert once.equals(twice)
    assert warren_cowley(lattice, perfect, 2, ["B", "B"]).sizes["pair"] == 3


PERFECT = ordered(perovskite(2, 2, 2), "rock-salt")


@pytest.mark.parametrize(
    ("function", "keywords"),
    [
        (structure_factor, {"weights": {"Sc": float("nan"), "Ta": 1.0}}),
        (structure_factor, {"sublattices": 3}),
        (structure_factor, {"positions": np.zeros((1, 1, 40, 3)), "cells": np.zeros((1, 1, 3, 3))}),
        (structure_factor_map, {"extent": "wide"}),
        (structure_factor_map, {"plane": "hk1e999"}),
        (warren_cowley, {"n_shells": "all"}),
        (domains, {"least": float("nan")}),
        (domains, {"threshold": "half"}),
        (site_order, {"n_random": -5}),
        (site_order, {"seed": -1}),
        (anion_environments, {"cutoff": "near"}),
    ],
)
def test_settings_that_cannot_be_used_are_refused(function, keywords):
    with pytest.raises(InputError):
        function(perovskite(2, 2, 2), PERFECT, **keywords)


def test_a_map_without_contrast_is_not_drawn():
    lattice = perovskite(2, 2, 2)
    table = structure_factor_map(lattice, np.zeros(8, dtype=int), "hk1/2", extent=(1, 1))
    with pytest.raises(InputError, match="no value"):
        plot_structure_factor_map(table, "diffuse_laue")


@pytest.mark.parametrize("weights", [["Sc"], None, 3.0])
def test_weights_of_a_wrong_kind_are_refused(weights):
    lattice = perovskite(2, 2, 2)
    with pytest.raises(InputError, match="unknown"):
        structure_factor(lattice, ordered(lattice, "rock-salt"), weights=weights)


def test_intensities_of_three_species_with_vacancies_are_sums_over_sites():
    """Off stoichiometry, in an oblong cell, composition varying from draw to draw."""
    lattice = perovskite(2, 3, 4, species=("Sc", "Ta", "X"))
    rng = np.random.default_rng(3)
    occupations = rng.choice(3, size=(7, 2, 24), p=[0.5, 0.3, 0.2]).astype(np.int8)
    q = np.array([(0.5, 1 / 3, 0.25), (0.5, 0.0, 0.75), (1.0, 0.0, 0.0), (0.0, 2 / 3, 0.0)])
    lengths = np.array([12.29, 6.91, 0.0])
    phases = np.exp(-2j * np.pi * lattice.atoms.positions[lattice.sites] @ q.T / 4.0)
    amplitude = lengths[occupations] @ phases
    bragg = np.abs(amplitude.mean(axis=(0, 1))) ** 2 / 24 * [0, 0, 1, 0]
    table = structure_factor(lattice, occupations, q, "neutron")
    mean = (np.abs(amplitude) ** 2 / 24).mean(axis=(0, 1))
    np.testing.assert_allclose(table["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(table["bragg"], bragg, rtol=1e-12)
    np.testing.assert_allclose(table["diffuse"], mean - bragg, rtol=1e-9)


@pytest.mark.parametrize("size", [(2, 2, 2), (2, 2, 3), (3, 1, 1), (1, 1, 1)])
def test_the_generators_of_a_lattice_make_all_its_permutations(size):
    lattice = perovskite(*size)
    rotated = group_of(lattice.symmetry_generators(), lattice.n_sites)
    assert rotated == {tuple(row) for row in lattice.symmetry_permutations().tolist()}
    shifted = group_of(lattice.symmetry_generators(translations_only=True), lattice.n_sites)
    assert len(shifted) == lattice.n_sites


def group_of(generators: np.ndarray, n_sites: int) -> set[tuple[int, ...]]:
    """All products of permutations, the identity among them."""
    found = {tuple(range(n_sites))}
    open_ones = list(found)
    while open_ones:
        one = np.array(open_ones.pop())
        products = {tuple(one[generator].tolist()) for generator in generators} - found
        found |= products
        open_ones += products
    return found
