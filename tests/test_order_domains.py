"""Antiphase domains of built cases: slabs, spheres, perfect and random arrangements."""

import numpy as np
import pytest

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import domain_map, domains
from alchemc.errors import InputError
from analysis_cases import HALF, cells, ordered, perovskite


def values(lattice, occupations, order="rock-salt", **options):
    table = domains(lattice, occupations, order, **options)["mean"]
    return dict(zip(table["measure"].to_numpy().tolist(), table.to_numpy().tolist(), strict=True))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("name", ["rock-salt", "layered", "columnar"])
def test_a_perfect_crystal_is_one_domain_without_boundaries(name, smooth):
    lattice = perovskite(4, 4, 4)
    found = values(lattice, ordered(lattice, name), name, smooth=smooth or name != "rock-salt")
    assert found == {
        "ordered share": 1.0,
        "largest domain": 1.0,
        "domains": 1.0,
        "broken bonds": 0.0,
        "boundaries": 0.0,
        "boundary area": 0.0,
    }


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("thickness", [2, 3])
def test_a_flipped_slab_has_two_boundaries_of_known_area(smooth, thickness):
    lattice = perovskite(6, 4, 8)
    occupation = ordered(lattice, "rock-salt")
    z = cells(lattice)[:, 2]
    flipped = np.where((z >= 3) & (z < 3 + thickness), 1 - occupation, occupation)
    found = values(lattice, flipped, smooth=smooth)
    assert found["boundary area"] == pytest.approx(2 * 24 * 16.0)
    assert found["broken bonds"] == pytest.approx(2 * 24 / (3 * 192))
    assert found["boundaries"] == 2
    assert found["domains"] == 2
    assert found["largest domain"] == pytest.approx((8 - thickness) / 8)


def test_a_domain_may_reach_through_the_cell_s_boundary():
    lattice = perovskite(4, 4, 8)
    occupation = ordered(lattice, "rock-salt")
    z = cells(lattice)[:, 2]
    outer = np.where((z < 2) | (z >= 6), 1 - occupation, occupation)
    found = domain_map(lattice, outer, smooth=False)
    assert found.sizes.tolist() == [64, 64]
    assert len(set(found.domain[(z < 2) | (z >= 6)].tolist())) == 1
    assert np.bincount(found.boundary).tolist() == [16, 16]
    ends = cells(lattice)[found.broken][:, :, 2]
    assert {tuple(sorted(row)) for row in ends.tolist()} == {(1, 2), (5, 6)}


def test_a_sphere_has_its_sites_and_its_stepped_surface():
    lattice = perovskite(8, 8, 8)
    occupation = ordered(lattice, "rock-salt")
    offset = cells(lattice) - 3.5
    inside = (offset**2).sum(axis=1) < 2.6**2
    found = domain_map(lattice, np.where(inside, 1 - occupation, occupation), smooth=False)
    assert found.sizes.tolist() == [512 - inside.sum(), inside.sum()]
    assert (found.domain == inside).all()
    index = {tuple(row): i for i, row in enumerate(cells(lattice))}
    surface = sum(
        inside[i] != inside[index[tuple((np.array(row) + step) % 8)]]
        for row, i in index.items()
        for step in np.eye(3, dtype=int)
    )
    assert len(found.broken) == surface
    assert found.boundary.max() == 0
    area = values(lattice, np.where(inside, 1 - occupation, occupation), smooth=False)
    assert area["boundary area"] == pytest.approx(16.0 * surface)


def test_a_misplaced_pair_is_a_domain_only_without_the_neighbours_vote():
    lattice = perovskite(6, 6, 6)
    occupation = ordered(lattice, "rock-salt").copy()
    a, b = np.flatnonzero(occupation == 0)[0], np.flatnonzero(occupation == 1)[-1]
    occupation[a], occupation[b] = 1, 0
    assert values(lattice, occupation)["domains"] == 1
    assert values(lattice, occupation)["broken bonds"] == 0
    alone = values(lattice, occupation, smooth=False, least=1)
    assert alone["domains"] == 3
    assert alone["broken bonds"] == pytest.approx(12 / 648)
    assert alone["boundaries"] == 2


def test_a_random_crystal_percolates_in_both_phases():
    """Site percolation of the simple cubic net at one half, above its threshold of 0.3116."""
    lattice = perovskite(12, 12, 12)
    occupations = lattice.random(HALF, np.random.default_rng(1), 8)
    table = domains(lattice, occupations, smooth=False)
    found = dict(zip(table["measure"].to_numpy(), table["mean"].to_numpy(), strict=True))
    # At fixed counts a bond has ends of one species with (N/2 − 1)/(N − 1), which breaks it.
    expected = (864 - 1) / 1727
    spread = float(table["error"].sel(measure="broken bonds"))
    assert abs(found["broken bonds"] - expected) < 4.5 * spread
    assert 0.47 < found["largest domain"] < 0.53  # almost all sites of one phase
    random = table["random"].to_numpy()
    assert random[1] == pytest.approx(found["largest domain"], abs=0.01)


def test_layered_domains_of_different_directions_are_told_apart():
    lattice = perovskite(8, 8, 8)
    x, _, z = cells(lattice).T
    occupation = np.where(z < 4, x % 2, z % 2)
    found = domain_map(lattice, occupation, "layered")
    inner = [(found.phase[(z == level)]) for level in (1, 2, 5, 6)]
    assert all(len(set(layer.tolist())) == 1 for layer in inner)
    assert inner[0][0] == inner[1][0] != inner[2][0]
    assert found.sizes[0] >= 3 * 64


def test_chains_have_errors_and_blocks_give_the_same(monkeypatch):
    lattice = perovskite(4, 4, 4)
    occupations = lattice.random(HALF, np.random.default_rng(2), 240).reshape(120, 2, 64)
    table = domains(lattice, occupations)
    assert bool(table["converged"].sel(measure="largest domain"))
    monkeypatch.setattr("alchemc.analysis.estimates.CONFIGURATIONS_PER_BLOCK", 14)
    assert domains(lattice, occupations).equals(table)
    one_by_one = [values(lattice, o)["boundaries"] for o in occupations[:3, 0]]
    maps = [domain_map(lattice, o).boundary.max(initial=-1) + 1 for o in occupations[:3, 0]]
    assert one_by_one == maps


def test_the_area_of_a_bond_fits_face_centred_nets():
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.4, size=(2, 2, 4))
    planes = np.round(lattice.atoms.positions[lattice.sites] / 2.2).astype(int)
    reference = planes[:, 2] % 2
    flipped = np.where(planes[:, 2] < 4, 1 - reference, reference)
    table = domains(lattice, flipped, reference, symmetry="translations", smooth=False)
    assert table.attrs["area_per_bond"] == pytest.approx(4.4**2 * np.sqrt(2) / 8)
    # 4 bonds go up from each of the 8 sites of a plane: a {100} boundary of rhombic faces
    area = float(table["mean"].sel(measure="boundary area"))
    assert area == pytest.approx(2 * 8 * 4 * table.attrs["area_per_bond"])


def test_a_cell_so_small_that_a_bond_ends_on_its_image_is_counted_right():
    lattice = perovskite(2, 1, 4)
    occupation = (cells(lattice)[:, 2] % 2).astype(int)
    reference = occupation.copy()
    half = cells(lattice)[:, 2] < 2
    found = domains(lattice, np.where(half, 1 - occupation, occupation), reference, smooth=False)[
        "mean"
    ]
    assert float(found.sel(measure="broken bonds")) == pytest.approx(4 / 24)
    assert float(found.sel(measure="boundaries")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.0}, "no share"),
        ({"least": 0}, "give 1 or more"),
        ({"order": np.zeros(64, int)}, "single variant"),
        ({"order": "striped"}, "order 'striped' is unknown"),
    ],
)
def test_what_makes_no_domains_is_refused(options, message):
    lattice = perovskite(4, 4, 4)
    with pytest.raises(InputError, match=message):
        domains(lattice, np.zeros(64, int), **options)


def test_the_sublattice_must_be_named_if_there_are_several():
    lattice = builders.perovskite(("Sr", "Ba"), ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    with pytest.raises(InputError, match="sublattices A, B"):
        domains(lattice, np.zeros(16, int), np.arange(16) % 2)
    occupation = np.zeros(16, int)
    occupation[8:] = ordered(perovskite(2, 2, 2), "rock-salt")
    assert domain_map(lattice, occupation, "rock-salt", "B").sizes.tolist() == [8]
    with pytest.raises(InputError, match="one configuration"):
        domain_map(lattice, occupation[None], "rock-salt", "B")


def test_displaced_references_keep_their_neighbours():
    ideal = perovskite(4, 4, 4)
    atoms = ideal.atoms.copy()
    atoms.positions[:] = ideal.displaced_positions(0.05, 2)
    lattice = Lattice(atoms, {"B": Sublattice(tuple(ideal.sites.tolist()), ("Sc", "Ta"))})
    with pytest.raises(InputError, match="single variant"):
        domains(lattice, ordered(ideal, "rock-salt"))
