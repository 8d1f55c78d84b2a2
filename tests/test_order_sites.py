"""Registered site order and the inversion of spinels against built cases and enumeration.

Statistical comparisons have fixed seeds; each z-score is refused beyond 4.5, a false alarm of
7·10⁻⁶ per number.
"""

import itertools

import numpy as np
import pytest

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import inversion_degree, site_order
from alchemc.analysis.order import registered
from alchemc.analysis.order.inversion import tetrahedral_sites
from alchemc.analysis.order.registered import ordered_arrangement, variants_of
from alchemc.errors import InputError
from analysis_cases import (
    HALF,
    boltzmann,
    cells,
    ordered,
    pair_energies,
    perovskite,
    sticky_chains,
)

Z_LIMIT = 4.5


@pytest.mark.parametrize(("name", "number"), [("rock-salt", 2), ("layered", 6), ("columnar", 6)])
def test_every_variant_of_a_perfect_order_is_turned_into_the_same_sites(name, number):
    lattice = perovskite(4, 4, 4)
    variants = variants_of(lattice, ordered(lattice, name))
    assert len(variants.occupations) == number
    found = site_order(lattice, variants.occupations, ordered(lattice, name))
    assert found["mean"].to_numpy() == pytest.approx(1.0)
    assert float(found["overlap"]) == 1.0
    held = found["occupancy"].sel(species="Ta").to_numpy()
    assert held == pytest.approx(ordered(lattice, name))


def test_variants_of_a_cell_of_another_shape_keep_to_its_axes():
    lattice = perovskite(2, 2, 4)
    assert len(variants_of(lattice, ordered(lattice, "layered")).occupations) == 2
    assert len(variants_of(lattice, ordered(lattice, "columnar")).occupations) == 2


def test_a_variant_read_at_its_permutation_is_the_reference():
    lattice = perovskite(4, 4, 4, species=("Sc", "Ta", "Nb"))
    reference = lattice.random({"B": {"Sc": 0.5, "Ta": 0.25, "Nb": 0.25}}, np.random.default_rng(0))
    variants = variants_of(lattice, reference, symmetry="translations", exchange=True)
    assert len(variants.occupations) == 2 * 64
    turned = variants.registered(variants.occupations, np.arange(len(variants.occupations)))
    assert (turned == reference).all()


def test_translations_alone_do_not_turn_layers():
    lattice = perovskite(4, 4, 4)
    reference = ordered(lattice, "layered")
    assert len(variants_of(lattice, reference, symmetry="translations").occupations) == 2
    x_layers = (cells(lattice)[:, 0] % 2).astype(np.int8)
    found = site_order(lattice, x_layers, reference, symmetry="translations")
    assert found["mean"].to_numpy() == pytest.approx(0.0)
    assert site_order(lattice, x_layers, reference)["mean"].to_numpy() == pytest.approx(1.0)


def test_partial_order_has_the_value_of_bragg_and_williams():
    lattice = perovskite(4, 4, 4)
    occupation = ordered(lattice, "rock-salt").copy()
    a, b = np.flatnonzero(occupation == 0)[:4], np.flatnonzero(occupation == 1)[:4]
    occupation[a], occupation[b] = 1, 0  # 4 of 32 on each side are wrong: η = (28/32 − ½)/½
    found = site_order(lattice, occupation)
    assert found["mean"].to_numpy() == pytest.approx([0.75, 0.75])
    assert float(found["overlap"]) == pytest.approx(28 / 32)


def test_off_stoichiometry_has_a_class_each_with_its_own_largest_value():
    lattice = perovskite(4, 4, 4)
    occupation = ordered(lattice, "rock-salt").copy()
    occupation[np.flatnonzero(occupation == 0)[:8]] = 1  # c(Ta) = 40/64
    found = site_order(lattice, occupation)
    expected = {"Sc": (24 / 32 - 24 / 64) / (1 - 24 / 64), "Ta": 1.0}
    got = dict(zip(found["species_of_class"].to_numpy(), found["mean"].to_numpy(), strict=True))
    assert {k: float(v) for k, v in got.items()} == pytest.approx(expected)


def test_three_species_in_planes_are_found_in_any_phase_and_direction():
    lattice = perovskite(3, 3, 3, species=("Sc", "Ta", "Nb"))
    reference = cells(lattice)[:, 2]
    rng = np.random.default_rng(1)
    for axis, shift in itertools.product(range(3), range(3)):
        occupation = (cells(lattice)[:, axis] + shift) % 3
        wrong = rng.choice(27, 2, replace=False)
        occupation[wrong] = occupation[wrong[::-1]]
        found = site_order(lattice, occupation, reference)
        agree = 1 - (0 if occupation[wrong[0]] == occupation[wrong[1]] else 2) / 27
        assert float(found["overlap"]) == pytest.approx(agree)
        assert float((found["mean"] * found["n_sites"]).sum() / 27) == pytest.approx(
            (agree - 1 / 3) / (2 / 3)
        )


def test_registered_order_of_chains_agrees_with_the_exact_mean(record_property):
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate(HALF)
    weights = boltzmann(pair_energies(lattice, states), 1500.0)
    chosen = sticky_chains(weights, 3000, 4, 0.5, np.random.default_rng(3))
    found = site_order(lattice, states[chosen])
    staggered = np.abs((2 * states - 1) @ (2 * ordered(lattice, "rock-salt") - 1)) / 8
    z = (found["mean"].to_numpy() - weights @ staggered) / found["error"].to_numpy()
    record_property("z", float(np.abs(z).max()))
    assert np.abs(z).max() < Z_LIMIT
    assert bool(found["converged"].all())
    held = found["occupancy"].sel(species="Ta").to_numpy()
    expected = np.where(ordered(lattice, "rock-salt"), 1, -1) * (weights @ staggered) / 2 + 0.5
    site_z = (held - expected) / found["occupancy_error"].sel(species="Ta").to_numpy()
    record_property("site_z", float(np.abs(site_z).max()))
    assert np.abs(site_z).max() < Z_LIMIT


def test_without_registration_the_same_chains_show_no_order():
    """What registration is for: the plain mean over variants that chains hop between is zero."""
    lattice = perovskite(2, 2, 2)
    perfect = ordered(lattice, "rock-salt")
    hopping = np.array([perfect, 1 - perfect] * 20)[:, None]
    assert np.abs(hopping.mean(axis=(0, 1)) - 0.5).max() == 0
    assert site_order(lattice, hopping)["mean"].to_numpy() == pytest.approx(1.0)


def test_the_random_value_is_that_of_the_best_of_all_variants(record_property):
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate(HALF)
    staggered = np.abs((2 * states - 1) @ (2 * ordered(lattice, "rock-salt") - 1)) / 8
    found = site_order(lattice, states, n_random=4000)
    assert found["mean"].to_numpy() == pytest.approx(staggered.mean())
    error = staggered.std() / np.sqrt(4000)
    z = float(np.abs(found["random"] - staggered.mean()).max()) / error
    record_property("z", z)
    assert z < Z_LIMIT
    assert staggered.mean() / error > 20  # zero, the value without the maximum, is far off


def test_species_are_exchanged_only_on_request():
    lattice = builders.spinel(("Mg", "Al"), "O", a=8.08)
    inside = tetrahedral_sites(lattice)
    reference = np.where(inside, 0, 1)
    reference[np.flatnonzero(~inside)[:4]] = 0  # 12 Mg, 12 Al
    other = 1 - reference
    plain = site_order(lattice, other, reference)
    exchanged = site_order(lattice, other, reference, exchange=True)
    assert float(plain["overlap"]) < 1.0
    assert float(exchanged["overlap"]) == 1.0
    assert exchanged["mean"].to_numpy() == pytest.approx(1.0)


def test_one_sublattice_of_several_is_registered():
    lattice = builders.perovskite(("Sr", "Ba"), ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    occupation = np.zeros(16, int)
    occupation[8:] = 1 - ordered(perovskite(2, 2, 2), "rock-salt")
    occupation[:3] = 1
    found = site_order(lattice, occupation, "rock-salt", "B")
    assert found["mean"].to_numpy() == pytest.approx(1.0)
    assert found.sizes["site"] == 8
    with pytest.raises(InputError, match="A, B"):
        site_order(lattice, occupation, occupation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "checkers"}, "order 'checkers' is unknown"),
        ({"reference": np.zeros((2, 27), int)}, "give one occupation"),
        ({"reference": np.zeros(5, int)}, "27"),
        ({"reference": "rock-salt"}, "does not fit"),
        ({"reference": np.zeros(27, int), "symmetry": "none"}, "'full' or 'translations'"),
    ],
)
def test_a_reference_that_is_none_is_refused(arguments, message):
    lattice = perovskite(3, 3, 3)
    with pytest.raises(InputError, match=message):
        site_order(lattice, np.zeros(27, int), **arguments)


def test_too_many_copies_are_refused(monkeypatch):
    lattice = perovskite(3, 3, 3)
    monkeypatch.setattr(registered, "MOST_VARIANTS", 20)
    reference = np.zeros(27, int)
    reference[0] = 1
    with pytest.raises(InputError, match="more than 20 equivalent copies"):
        site_order(lattice, reference, reference)


def test_a_named_order_needs_two_species():
    lattice = builders.perovskite(("Sr",), ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    with pytest.raises(InputError, match="holds one species"):
        ordered_arrangement(lattice, "rock-salt", "A")


# ---- spinels


def spinel(n=1):
    lattice = builders.spinel(("Mg", "Al"), "O", a=8.08, size=n)
    return lattice, tetrahedral_sites(lattice)


@pytest.mark.parametrize("inverted", [0, 1, 3, 8])
def test_inversion_counts_the_cations_that_changed_places(inverted):
    lattice, inside = spinel()
    occupation = np.where(inside, 0, 1)
    occupation[np.flatnonzero(inside)[:inverted]] = 1
    occupation[np.flatnonzero(~inside)[:inverted]] = 0
    found = inversion_degree(lattice, occupation)
    assert float(found["mean"]) == pytest.approx(inverted / 8)
    assert float(found["random"]) == pytest.approx(2 / 3)
    assert float(found["occupancy"].sel(kind="octahedral", species="Mg")) == inverted / 16


def test_random_cations_are_inverted_by_two_thirds(record_property):
    lattice, _ = spinel(2)
    rng = np.random.default_rng(4)
    drawn = lattice.random({"cation": {"Mg": 1 / 3, "Al": 2 / 3}}, rng, 4000).reshape(1000, 4, -1)
    found = inversion_degree(lattice, drawn)
    z = (float(found["mean"]) - 2 / 3) / float(found["error"])
    record_property("z", z)
    assert abs(z) < Z_LIMIT
    assert bool(found["converged"])
    # hypergeometric: variance of the share of 64 sites drawn from 192
    spread = np.sqrt(2 / 9 / 64 * 128 / 191)
    assert float(found["error"]) == pytest.approx(spread / np.sqrt(4000), rel=0.1)


def test_mchammer_counts_the_same_occupancies():
    pytest.importorskip("icet")
    from icet import ClusterSpace
    from mchammer.observers import SiteOccupancyObserver

    lattice, inside = spinel()
    symbols = [["O"]] * 56
    for site in lattice.sites:
        symbols[site] = ["Mg", "Al"]
    space = ClusterSpace(lattice.atoms, [3.0], symbols)
    occupation = lattice.random({"cation": {"Mg": 1 / 3, "Al": 2 / 3}}, np.random.default_rng(5))
    sites = {
        "tetrahedral": lattice.sites[inside].tolist(),
        "octahedral": lattice.sites[~inside].tolist(),
    }
    observer = SiteOccupancyObserver(space, lattice.atoms, sites)
    theirs = observer.get_observable(lattice.to_atoms(occupation))
    found = inversion_degree(lattice, occupation)
    for kind, species in itertools.product(sites, ("Mg", "Al")):
        ours = float(found["occupancy"].sel(kind=kind, species=species))
        assert ours == pytest.approx(theirs[f"sof_{kind}_{species}"])
    assert float(found["mean"]) == pytest.approx(theirs["sof_tetrahedral_Al"])


def test_displaced_positions_and_a_third_cation_do_not_hide_the_tetrahedra():
    ideal = builders.spinel(("Mg", "Al", "Ti"), "O", a=8.08)
    atoms = ideal.atoms.copy()
    atoms.positions[:] = ideal.displaced_positions(0.05, 1)
    cations = Sublattice(tuple(ideal.sites.tolist()), ("Mg", "Al", "Ti"))
    lattice = Lattice(atoms, {"cation": cations})
    inside = tetrahedral_sites(lattice)
    assert (inside == tetrahedral_sites(ideal)).all()
    occupation = np.where(inside, 0, 1)
    occupation[~inside] = np.repeat([1, 2], [10, 6])
    assert float(inversion_degree(lattice, occupation)["mean"]) == 0.0
    assert float(inversion_degree(lattice, occupation, "Ti")["mean"]) == 1.0


def test_what_is_no_spinel_is_refused_with_the_remedy():
    with pytest.raises(InputError, match="have 6 neighbours, not 4 and 6"):
        tetrahedral_sites(builders.rocksalt(("Mg", "Al"), "O", a=4.3, size=(2, 2, 2)))
    lattice, inside = spinel()
    with pytest.raises(InputError, match="which cation is tetrahedral"):
        inversion_degree(lattice, np.arange(24) % 2)
    with pytest.raises(InputError, match="'Ti' is not on"):
        inversion_degree(lattice, np.arange(24) % 2, "Ti")
    with pytest.raises(InputError, match="give a bool for each of the 24"):
        inversion_degree(lattice, np.arange(24) % 2, "Mg", tetrahedral=np.arange(8))
    assert float(inversion_degree(lattice, inside * 1, "Mg", tetrahedral=inside)["mean"]) == 1.0
