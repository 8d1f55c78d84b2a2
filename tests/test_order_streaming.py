"""Measures of order read stored samples block by block and say in a sentence what they found."""

import numpy as np
import pytest
import xarray as xr

from alchemc import builders
from alchemc.analysis import (
    anion_environments,
    bond_valence_sums,
    cluster_vectors,
    domains,
    inversion_degree,
    partial_structure_factors,
    site_order,
    structure_factor,
)
from alchemc.analysis.estimates import LazyChains
from analysis_cases import HALF, ordered, perovskite

CHARGES = {"charges": {"Sc": 3, "Ta": 5}, "spectator_charges": {"Sr": 2, "O": -2}}
LATTICE = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2), **CHARGES)
MEASURES = {
    "structure factor": lambda x: structure_factor(LATTICE, x),
    "partials": lambda x: partial_structure_factors(LATTICE, x),
    "site order": lambda x: site_order(LATTICE, x, n_random=20),
    "domains": lambda x: domains(LATTICE, x),
    "environments": lambda x: anion_environments(LATTICE, x),
    "bond valences": lambda x: bond_valence_sums(LATTICE, x),
    "cluster vectors": lambda x: cluster_vectors(LATTICE, x, (4.1,)),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    occupations = LATTICE.random(HALF, np.random.default_rng(1), 240).reshape(120, 2, 8)
    path = tmp_path_factory.mktemp("run") / "samples.zarr"
    array = xr.DataArray(occupations.astype(np.uint8), dims=("draw", "chain", "site"))
    array.to_dataset(name="occupation").to_zarr(
        path, encoding={"occupation": {"chunks": (16, 2, 8)}}, consolidated=False
    )
    lazy = xr.open_zarr(path, chunks=None, consolidated=False)["occupation"]
    return occupations, lazy


@pytest.mark.parametrize("name", MEASURES)
def test_stored_samples_give_the_numbers_of_those_in_memory(name, stored, monkeypatch):
    occupations, lazy = stored
    expected = MEASURES[name](occupations)
    monkeypatch.setattr("alchemc.analysis.estimates.CONFIGURATIONS_PER_BLOCK", 10)
    longest = []
    plain = LazyChains.__getitem__

    def watched(self, key):
        block = plain(self, key)
        longest.append(len(block) if block.ndim == 3 else 1)
        return block

    monkeypatch.setattr(LazyChains, "__getitem__", watched)
    xr.testing.assert_allclose(MEASURES[name](lazy), expected, rtol=1e-10)
    assert max(longest) <= 16  # a chunk at a time, never the whole
    xr.testing.assert_allclose(
        MEASURES[name](lazy.transpose("site", "draw", "chain")), expected, rtol=1e-10
    )


def test_positions_are_read_with_their_draws(stored, tmp_path, monkeypatch):
    occupations, lazy = stored
    rng = np.random.default_rng(2)
    moved = LATTICE.atoms.positions + 0.05 * rng.normal(size=(120, 2, 40, 3))
    array = xr.DataArray(moved, dims=("draw", "chain", "atom", "axis"))
    array.to_dataset(name="positions").to_zarr(
        tmp_path / "p.zarr", encoding={"positions": {"chunks": (16, 2, 40, 3)}}, consolidated=False
    )
    far = xr.open_zarr(tmp_path / "p.zarr", chunks=None, consolidated=False)["positions"]
    expected = structure_factor(LATTICE, occupations, positions=moved, spectators=True)
    sums = bond_valence_sums(LATTICE, occupations, moved)
    monkeypatch.setattr("alchemc.analysis.estimates.CONFIGURATIONS_PER_BLOCK", 10)
    xr.testing.assert_allclose(
        structure_factor(LATTICE, lazy, positions=far, spectators=True), expected, rtol=1e-10
    )
    xr.testing.assert_allclose(bond_valence_sums(LATTICE, lazy, far), sums, rtol=1e-10)
    assert "same positions" not in sums.attrs["statement"]


def test_every_statement_names_its_number_and_its_doubt():
    rng = np.random.default_rng(3)
    lattice = perovskite(4, 4, 4)
    chains = lattice.random(HALF, rng, 800).reshape(200, 4, 64)
    table = site_order(lattice, chains, n_random=50)
    text = table.attrs["statement"]
    assert f"{float(table['mean'][0]):.3f}"[:4] in text
    assert "random arrangements" in text
    assert "did not converge" not in text
    one = site_order(lattice, ordered(lattice, "rock-salt"))
    assert "1 (error unknown)" in one.attrs["statement"]
    assert "no verdict on convergence" in one.attrs["statement"]
    text = domains(lattice, chains).attrs["statement"]
    assert "largest domain holds" in text
    text = anion_environments(lattice, ordered(lattice, "rock-salt")).attrs["statement"]
    assert text.startswith("Of the O atoms, 100 % (error unknown) are in the environment Sc–O–Ta")
    assert "(50.8 % in random arrangements)" in text
    text = structure_factor(lattice, chains, [(0.5, 0.5, 0.5), (1, 0, 0)]).attrs["statement"]
    assert "(1/2 1/2 1/2) scatters most" in text
    text = structure_factor(lattice, chains, (1, 0, 0)).attrs["statement"]
    assert "All of these are reciprocal vectors" in text
    spinel = builders.spinel(("Mg", "Al"), "O", a=8.08)
    cations = spinel.random({"cation": {"Mg": 1 / 3, "Al": 2 / 3}}, rng, 400).reshape(100, 4, 24)
    text = inversion_degree(spinel, cations).attrs["statement"]
    assert "without Mg (0 normal, 1 inverse, 0.667 at random)" in text
    text = bond_valence_sums(LATTICE, LATTICE.random(HALF, rng)).attrs["statement"]
    assert "All configurations have the same positions" in text
