"""Order parameters against closed forms, enumeration and brute force."""

import itertools

import numpy as np
import pytest
import xarray as xr
from ase.build import bulk, make_supercell
from ase.neighborlist import neighbor_list

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import (
    NAMED_ORDERS,
    ordering_amplitude,
    ordering_series,
    ordering_vector,
    warren_cowley,
    warren_cowley_series,
)
from alchemc.errors import InputError
from analysis_cases import HALF, cells, ordered, perovskite

SHELLS = {  # unlike pairs of a simple cubic net in the perfect orders, shells 1 to 4
    "rock-salt": (-1.0, 1.0, -1.0, 1.0),
    "layered": (1 / 3, -1 / 3, -1.0, 1.0),
    "columnar": (-1 / 3, -1 / 3, 1.0, 1.0),
}


def amplitude(lattice, occupation, q, sublattice=None):
    return float(ordering_amplitude(lattice, occupation, q, sublattice)["mean"])


def alpha(lattice, occupation, pair="B: Sc–Ta", n_shells=4):
    return warren_cowley(lattice, occupation, n_shells)["mean"].sel(pair=pair).to_numpy()


@pytest.mark.parametrize("size", [(2, 2, 2), (4, 4, 4), (4, 2, 6)])
@pytest.mark.parametrize("name", NAMED_ORDERS)
def test_perfect_order_is_one_in_its_star_and_zero_in_the_others(name, size):
    lattice = perovskite(*size)
    found = {q: amplitude(lattice, ordered(lattice, name), q) for q in NAMED_ORDERS}
    assert found == pytest.approx({q: float(q == name) for q in NAMED_ORDERS}, abs=1e-12)


@pytest.mark.parametrize("name", NAMED_ORDERS)
def test_perfect_order_has_the_closed_form_of_warren_and_cowley(name):
    lattice = perovskite(4, 4, 4)
    assert alpha(lattice, ordered(lattice, name)) == pytest.approx(SHELLS[name], abs=1e-12)


def test_a_phase_separated_crystal_prefers_like_neighbours():
    lattice = perovskite(4, 4, 4)
    halves = (cells(lattice)[:, 2] >= 2).astype(int)
    # 2 interfaces of 16 pairs among 384 ordered ones: P = 1/12
    assert alpha(lattice, halves)[0] == pytest.approx(2 / 3, abs=1e-12)
    assert amplitude(lattice, halves, "rock-salt") == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", NAMED_ORDERS)
def test_the_amplitude_equals_a_plain_sum_over_sites_for_every_arrangement(name):
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate(HALF)
    found = ordering_series(lattice, states, name).to_numpy()[0]
    plain = np.zeros(len(states))
    for arm in NAMED_ORDERS[name]:
        signs = np.cos(2 * np.pi * cells(lattice) @ np.array(arm))
        plain += (2 * (states * signs).sum(axis=1) / 8) ** 2  # 50:50: ψ = ±1/2 when perfect
    assert found == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.25, 0.75), (0.5, 0.25, 0.25)])
@pytest.mark.parametrize("name", NAMED_ORDERS)
def test_the_random_value_is_the_mean_over_all_arrangements(name, fractions):
    species = ("Sc", "Ta", "Nb")[: len(fractions)]
    lattice = perovskite(2, 2, 2, species=species)
    states = lattice.enumerate({"B": dict(zip(species, fractions, strict=True))})
    result = ordering_amplitude(lattice, states, name)
    assert float(result["mean"]) == pytest.approx(float(result["random"]), rel=1e-9)


@pytest.mark.parametrize(
    "counts", [(4, 4), (2, 6), (1, 7), (4, 2, 2), (3, 3, 2), (5, 2, 1), (2, 2, 2, 2)]
)
def test_the_most_ordered_arrangement_of_any_composition_is_one(counts):
    species = ("Sc", "Ta", "Nb", "Zr")[: len(counts)]
    lattice = perovskite(2, 2, 2, species=species)
    fractions = {s: n / 8 for s, n in zip(species, counts, strict=True)}
    series = ordering_series(lattice, lattice.enumerate({"B": fractions}), "rock-salt")
    assert float(series.max()) == pytest.approx(1.0, abs=1e-12)


def test_a_wave_of_three_planes_and_three_species_is_one_when_perfect():
    lattice = perovskite(3, 1, 1, species=("Sc", "Ta", "Nb"))
    assert amplitude(lattice, np.array([0, 1, 2]), (1 / 3, 0, 0)) == pytest.approx(1.0)
    two = perovskite(3, 3, 3)
    stripes = (cells(two)[:, 0] == 0).astype(int)
    assert amplitude(two, stripes, (1 / 3, 0, 0)) == pytest.approx(1.0)


def test_order_does_not_depend_on_the_origin_or_on_which_species_is_which():
    lattice = perovskite(4, 4, 4)
    rng = np.random.default_rng(0)
    occupation = lattice.random(HALF, rng)
    index = cells(lattice)
    place = {tuple(row): i for i, row in enumerate(index)}
    step = np.array([1, 2, 3])
    shifted = occupation[[place[tuple((row + step) % 4)] for row in index]]
    for q in (*NAMED_ORDERS, (0.25, 0.5, 0.0)):
        value = amplitude(lattice, occupation, q)
        assert amplitude(lattice, shifted, q) == pytest.approx(value, abs=1e-12)
        assert amplitude(lattice, 1 - occupation, q) == pytest.approx(value, abs=1e-12)


def test_face_centred_orders_have_their_stars():
    atoms = bulk("Cu", cubic=True, a=4.0).repeat(2)
    lattice = Lattice(atoms, {"metal": Sublattice("Cu", ("Au", "Cu"))})
    planes = np.round(atoms.positions / 2.0).astype(int)
    l1_0, l1_1 = planes[:, 2] % 2, planes.sum(axis=1) // 2 % 2
    assert amplitude(lattice, l1_0, (0, 0, 1)) == pytest.approx(1.0)
    assert amplitude(lattice, l1_0, (0.5, 0.5, 0.5)) == pytest.approx(0.0, abs=1e-12)
    assert amplitude(lattice, l1_1, (0.5, 0.5, 0.5)) == pytest.approx(1.0)
    assert len(ordering_vector(lattice, (0, 0, 1)).arms) == 3
    assert len(ordering_vector(lattice, (0.5, 0.5, 0.5)).arms) == 4


def test_named_orders_follow_the_pseudocubic_axes_of_a_rotated_and_strained_cell():
    cubic = perovskite(1, 1, 1).atoms
    atoms = make_supercell(cubic, [[1, 1, 0], [-1, 1, 0], [0, 0, 2]])
    atoms.positions += 0.1 * np.random.default_rng(0).normal(size=atoms.positions.shape)
    atoms.set_cell(atoms.cell.array @ np.diag([1.02, 0.98, 1.05]), scale_atoms=True)
    lattice = Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))})
    reference = make_supercell(cubic, [[1, 1, 0], [-1, 1, 0], [0, 0, 2]]).positions
    parity = np.round(reference[lattice.sites] / 4.0 - 0.5).astype(int).sum(axis=1) % 2
    assert amplitude(lattice, parity, "rock-salt") == pytest.approx(1.0, abs=1e-12)


def test_arms_that_do_not_fit_are_left_out_and_said_so():
    wave = ordering_vector(perovskite(2, 2, 3), "layered")
    assert len(wave.arms) == 2
    assert not wave.complete
    assert ordering_vector(perovskite(2, 2, 2), "layered").complete


@pytest.mark.parametrize(
    ("size", "q", "message"),
    [
        ((4, 4, 4), (1 / 3, 0, 0), r"does not fit this cell .* \(1/4 0 0\), \(1/2 0 0\)"),
        ((3, 3, 3), "rock-salt", r"rock-salt does not fit .* \(1/3 1/3 1/3\)"),
        ((2, 2, 2), "rocksalt", "order 'rocksalt' is unknown; the names are rock-salt, layered"),
        ((2, 2, 2), (1, 0, 0), "same phase on every site"),
        ((2, 2, 2), (0, 0), "not a vector of three numbers"),
        ((2, 2, 2), (np.nan, 0, 0), "not a vector of three numbers"),
    ],
)
def test_a_wave_that_cannot_be_measured_is_refused_with_a_remedy(size, q, message):
    lattice = perovskite(*size)
    with pytest.raises(InputError, match=message):
        ordering_amplitude(lattice, np.zeros(lattice.n_sites, int), q)


def test_named_orders_are_refused_off_a_simple_cubic_net():
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.5, size=(1, 1, 1))
    with pytest.raises(InputError, match="simple cubic net"):
        ordering_amplitude(lattice, np.zeros(lattice.n_sites, int), "rock-salt")


def test_the_sublattice_must_be_named_if_there_are_several():
    lattice = builders.perovskite(("Sr", "Ba"), ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    occupation = np.zeros(lattice.n_sites, int)
    occupation[8:] = ordered(perovskite(2, 2, 2), "rock-salt")
    with pytest.raises(InputError, match="sublattices A, B"):
        ordering_amplitude(lattice, occupation, "rock-salt")
    with pytest.raises(InputError, match="'C'"):
        ordering_amplitude(lattice, occupation, "rock-salt", "C")
    assert amplitude(lattice, occupation, "rock-salt", "B") == pytest.approx(1.0)
    assert np.isnan(amplitude(lattice, occupation, "rock-salt", "A"))  # one species: no order


# ---- Warren–Cowley


def brute_force_alpha(held, pairs, first, second):
    """α of two (sublattice, species) from what every site holds and the pairs of a shell."""
    both = [(held[i], held[j]) for i, j in pairs]
    both = [p for p in both if (p[0][0], p[1][0]) == (first[0], second[0])]
    found = sum(p == (first, second) for p in both) / len(both)
    share = [np.mean([h == x for h in held if h[0] == x[0]]) for x in (first, second)]
    return 1 - found / (share[0] * share[1])


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 2, 2)])
def test_every_pair_of_several_sublattices_and_species_agrees_with_brute_force(size):
    lattice = builders.perovskite(("Sr", "Ba"), ("Sc", "Ta", "Nb"), "O", a=4.0, size=size)
    rng = np.random.default_rng(2)
    limit = lattice.allowed.sum(axis=1)
    occupation = np.array([rng.integers(n) for n in limit])
    where = [lattice.names[s] for s in lattice.sublattice_of_site]
    held = [(where[i], lattice.species_of(i)[k]) for i, k in enumerate(occupation)]
    i, j, d = neighbor_list("ijd", lattice.atoms[lattice.sites], 9.0)
    table = warren_cowley(lattice, occupation, n_shells=3)
    assert table.sizes == {"pair": 3 + 6 + 6, "shell": 3}
    for pair, shell in itertools.product(table["pair"].to_numpy(), (1, 2, 3)):
        cell = table.sel(pair=pair, shell=shell)
        names = [
            (str(cell[f"sublattice_{x}"].item()), str(cell[f"species_{x}"].item())) for x in "ab"
        ]
        near = np.abs(d - float(cell["distance"])) < 1e-3
        expected = brute_force_alpha(held, zip(i[near], j[near], strict=True), *names)
        assert float(cell["mean"]) == pytest.approx(expected, abs=1e-12), (pair, shell)


def test_the_parameters_of_one_species_add_up_to_zero():
    species, fractions = ("Sc", "Ta", "Nb"), {"Sc": 0.5, "Ta": 0.25, "Nb": 0.25}
    lattice = perovskite(4, 4, 4, species=species)
    occupations = lattice.random({"B": fractions}, np.random.default_rng(3), 5)
    series = warren_cowley_series(lattice, occupations, n_shells=5)
    for a in species:
        total = 0.0
        for b in species:
            pair = "–".join(sorted((a, b), key=species.index))
            total = total + fractions[b] * series.sel(pair=f"B: {pair}")
        assert np.abs(total).max() < 1e-12


def test_random_crystals_have_the_value_of_a_finite_cell():
    lattice = perovskite(2, 2, 2)
    table = warren_cowley(lattice, lattice.enumerate(HALF), n_shells=3)
    assert table["mean"].sel(pair="B: Sc–Ta").to_numpy() == pytest.approx(-1 / 7)
    assert table["mean"].sel(pair="B: Sc–Sc").to_numpy() == pytest.approx(1 / 7)


def test_an_absent_species_leaves_the_parameter_undefined():
    lattice = perovskite(2, 2, 2)
    table = warren_cowley(lattice, np.zeros(8, int), n_shells=1)
    assert np.isnan(table["mean"].sel(pair="B: Sc–Ta")).all()
    assert table["mean"].sel(pair="B: Sc–Sc").item() == pytest.approx(0.0)


def test_labelled_samples_may_come_in_any_order_and_in_blocks(monkeypatch):
    lattice = perovskite(2, 2, 2)
    occupations = lattice.random(HALF, np.random.default_rng(0), 60).reshape(20, 3, 8)
    plain = warren_cowley_series(lattice, occupations)
    labelled = xr.DataArray(occupations, dims=("draw", "chain", "site")).transpose("site", ...)
    monkeypatch.setattr("alchemc.analysis.estimates.CONFIGURATIONS_PER_BLOCK", 7)
    xr.testing.assert_identical(warren_cowley_series(lattice, labelled), plain)


@pytest.mark.parametrize(
    ("occupations", "message"),
    [
        (np.zeros(7, int), "do not fit a lattice of 8 sites"),
        (np.zeros((2, 3, 4, 8), int), "do not fit"),
        (np.zeros((0, 8), int), "do not fit"),
        (np.full(8, 255), "255"),
        (np.zeros(8), "integer"),
    ],
)
def test_occupations_that_do_not_fit_are_refused(occupations, message):
    lattice = perovskite(2, 2, 2)
    with pytest.raises(InputError, match=message):
        ordering_amplitude(lattice, occupations)
    with pytest.raises(InputError, match=message):
        warren_cowley(lattice, occupations)


def test_shells_must_be_positive_and_sublattices_known():
    lattice = perovskite(2, 2, 2)
    with pytest.raises(InputError, match="n_shells = 0"):
        warren_cowley(lattice, np.zeros(8, int), n_shells=0)
    with pytest.raises(InputError, match="'A'"):
        warren_cowley(lattice, np.zeros(8, int), sublattices=["A"])


def test_one_sublattice_may_be_named_alone():
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.4, size=(1, 1, 1))
    occupation = np.arange(lattice.n_sites) % 2
    named = warren_cowley(lattice, occupation, 1, sublattices="cation")
    assert named.identical(warren_cowley(lattice, occupation, 1, sublattices=["cation"]))
