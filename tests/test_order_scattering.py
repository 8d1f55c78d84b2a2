"""Structure factors against plain double sums, closed forms, mchammer and exact averages.

Statistical comparisons have fixed seeds; each z-score is refused beyond 4.5, a false alarm of
7·10⁻⁶ per number.
"""

import itertools

import numpy as np
import pytest
import xarray as xr

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import (
    diffuse_path,
    partial_structure_factors,
    structure_factor,
    structure_factor_map,
)
from alchemc.analysis.order import amplitudes
from alchemc.analysis.order.scattering_tables import FORM_FACTORS, NEUTRON_LENGTHS, form_factor
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
THREE = {"B": {"Sc": 0.5, "Ta": 0.25, "Nb": 0.25}}
F = {"Sc": 1.7, "Ta": -0.4, "Nb": 3.1, "Sr": 0.9, "O": 2.2}


def plain(lattice, occupation, q, values, *, spectators=False, positions=None):
    """Double sum over pairs of atoms, per site: ``q`` is in units of 1/4 Å."""
    where = lattice.atoms.positions if positions is None else positions
    atoms = list(range(len(lattice.atoms))) if spectators else lattice.sites.tolist()
    symbols = lattice.atoms.get_chemical_symbols()
    for i, k in enumerate(occupation):
        symbols[lattice.sites[i]] = lattice.species_of(i)[k]
    f = np.array([0.0 if symbols[a] == "X" else values[symbols[a]] for a in atoms])
    r = where[atoms]
    angle = 2 * np.pi * ((r[:, None] - r[None]) @ (np.array(q) / 4.0))
    return float((np.outer(f, f) * np.cos(angle)).sum()) / lattice.n_sites


@pytest.mark.parametrize("spectators", [False, True])
@pytest.mark.parametrize("moved", [False, True])
def test_intensities_equal_a_plain_double_sum(spectators, moved):
    lattice = perovskite(2, 3, 2, species=("Sc", "Ta", "Nb"))
    occupation = lattice.random(THREE, np.random.default_rng(1))
    q = [(0.5, 1 / 3, 0.5), (0, 0, 0), (1, 2 / 3, 0.5), (-0.5, 1, 2)]
    positions = lattice.displaced_positions(0.1, 3) if moved else None
    found = structure_factor(lattice, occupation, q, F, spectators=spectators, positions=positions)
    expected = [
        plain(lattice, occupation, v, F, spectators=spectators, positions=positions) for v in q
    ]
    assert found["mean"].to_numpy() == pytest.approx(expected, rel=1e-10, abs=1e-9)
    total = found["bragg"] + found["diffuse"]
    assert total.to_numpy() == pytest.approx(expected, rel=1e-10, abs=1e-9)


def test_stored_positions_and_cells_are_used_draw_by_draw():
    lattice = perovskite(2, 2, 2)
    rng = np.random.default_rng(5)
    occupations = lattice.random(HALF, rng, 6).reshape(3, 2, 8)
    strain = 1 + 0.03 * rng.normal(size=(3, 2, 3))
    boxes = lattice.atoms.cell.array * strain[..., None, :]
    displaced = lattice.atoms.positions + 0.1 * rng.normal(size=(3, 2, 40, 3))
    moved = displaced * strain[:, :, None, :]
    q = [(0.5, 0.5, 0.5), (1, 0, 0), (1.5, 0.5, 0)]
    found = structure_factor(
        lattice,
        occupations,
        q,
        F,
        spectators=True,
        positions=xr.DataArray(moved, dims=("draw", "chain", "atom", "axis")),
        cells=boxes,
    )
    expected = np.mean(
        [
            [
                plain(lattice, occupations[d, c], v, F, spectators=True, positions=displaced[d, c])
                for v in q
            ]
            for d, c in itertools.product(range(3), range(2))
        ],
        axis=0,
    )
    assert found["mean"].to_numpy() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "q"),
    [("rock-salt", (0.5, 0.5, 0.5)), ("layered", (0, 0, 0.5)), ("columnar", (0.5, 0.5, 0))],
)
def test_perfect_order_scatters_into_its_superlattice_points_alone(name, q):
    lattice = perovskite(4, 4, 4)
    f = {"Sc": 2.0, "Ta": 5.0}
    grid = list(itertools.product(np.arange(4) / 4, repeat=3))
    found = structure_factor(lattice, ordered(lattice, name), grid, f)
    peak = {q: 64 * (3.0 / 2) ** 2, (0, 0, 0): 64 * 3.5**2}
    expected = [peak.get(tuple(float(x) for x in row), 0.0) for row in grid]
    assert found["mean"].to_numpy() == pytest.approx(expected, abs=1e-9)
    assert float(found["bragg"][0]) == pytest.approx(peak[0, 0, 0])
    assert found["bragg"][1:].to_numpy() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("composition", [HALF, {"B": {"Sc": 0.25, "Ta": 0.75}}])
def test_all_arrangements_together_scatter_as_the_random_alloy_of_the_cell(composition):
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate(composition)
    f = {"Sc": 2.0, "Ta": 5.0}
    found = structure_factor(lattice, states, [(0.5, 0.5, 0.5), (0.5, 0, 0), (1, 0, 0)], f)
    c = composition["B"]["Sc"]
    unit = c * (1 - c) * 9.0
    assert found["laue"].to_numpy() == pytest.approx(unit)
    assert found["diffuse"].to_numpy() == pytest.approx([unit * 8 / 7, unit * 8 / 7, 0.0])
    assert found["random"].to_numpy() == pytest.approx(found["diffuse"].to_numpy())
    assert found["fundamental"].to_numpy().tolist() == [False, False, True]


def test_a_random_alloy_of_three_species_and_vacancies_has_the_laue_unit(record_property):
    lattice = builders.fluorite(("Zr", "Y"), ("O", "X"), a=5.1, size=(2, 2, 2))
    rng = np.random.default_rng(2)
    composition = {"cation": {"Zr": 0.75, "Y": 0.25}, "anion": {"O": 0.875, "X": 0.125}}
    occupations = lattice.random(composition, rng, 3000).reshape(750, 4, -1)
    q = [(0.5, 0, 0), (1, 0.5, 0.5), (0.5, 0.5, 1)]
    found = structure_factor(lattice, occupations, q, "neutron")
    b = NEUTRON_LENGTHS
    unit = (32 * 0.75 * 0.25 * (b["Zr"] - b["Y"]) ** 2 + 64 * 0.875 * 0.125 * b["O"] ** 2) / 96
    assert found["laue"].to_numpy() == pytest.approx(unit, rel=1e-12)
    z = ((found["diffuse"] - found["random"]) / found["diffuse_error"]).to_numpy()
    record_property("z", float(np.abs(z).max()))
    assert np.abs(z).max() < Z_LIMIT
    assert abs(float(found["diffuse_laue"].mean()) - 1) < 0.06
    wrong = (found["diffuse"] - 0.9 * found["random"]) / found["diffuse_error"]
    assert np.abs(wrong).max() > Z_LIMIT  # a unit that is off by a tenth is seen


def test_means_of_correlated_chains_agree_with_the_exact_average(record_property):
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate(HALF)
    weights = boltzmann(pair_energies(lattice, states), 900.0)
    rng = np.random.default_rng(7)
    chosen = sticky_chains(weights, 2000, 4, 0.6, rng)
    q = [(0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0)]
    found = structure_factor(lattice, states[chosen], q, "x-ray")
    each = [structure_factor(lattice, s, q, "x-ray")["mean"].to_numpy() for s in states]
    z = (found["mean"].to_numpy() - weights @ np.array(each)) / found["error"].to_numpy()
    record_property("z", float(np.abs(z).max()))
    assert np.abs(z).max() < Z_LIMIT
    assert bool(found["converged"].all())


def test_a_composition_that_fluctuates_is_diffuse_at_reciprocal_vectors_too():
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate()  # all compositions: independent sites with c = 1/2
    found = structure_factor(lattice, states, [(1, 0, 0), (0.5, 0, 0)], {"Sc": 0.0, "Ta": 1.0})
    assert found["bragg"].to_numpy() == pytest.approx([8 * 0.25, 0.0])
    assert found["diffuse"].to_numpy() == pytest.approx([0.25, 0.25])


# ---- partials


def test_partials_add_up_to_every_intensity():
    lattice = perovskite(2, 2, 4, species=("Sc", "Ta", "Nb"))
    occupations = lattice.random(THREE, np.random.default_rng(3), 5)
    q = [(0.5, 0.5, 0.25), (0, 0, 0.5), (1, 0, 0)]
    whole = structure_factor(lattice, occupations, q, F, spectators=True)["mean"]
    parts = partial_structure_factors(lattice, occupations, q, spectators=True)["mean"]
    total = 0.0
    for part in parts:
        a, b = str(part["species_a"].item()), str(part["species_b"].item())
        total = total + F[a] * F[b] * part.to_numpy() * (1 if a == b else 2)
    assert total == pytest.approx(whole.to_numpy(), rel=1e-10)


def test_normalised_partials_have_their_closed_forms_in_a_random_alloy():
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate(HALF)
    q = (0.5, 0.5, 0.5)
    s = 8 / 7 * 0.25  # variance of a random arrangement at fixed counts

    def of(normalisation, pair):
        table = partial_structure_factors(lattice, states, q, normalisation)
        return float(table["mean"].sel(pair=pair)[0])

    for normalisation in ("number", "concentration"):
        assert of(normalisation, "Sc–Sc") == pytest.approx(s)
        assert of(normalisation, "Sc–Ta") == pytest.approx(-s)
    assert of("ashcroft-langreth", "Ta–Ta") == pytest.approx(s / 0.5)
    assert of("faber-ziman", "Sc–Ta") == pytest.approx(1 - s / 0.25)
    assert of("faber-ziman", "Sc–Sc") == pytest.approx(1 + (s - 0.5) / 0.25)
    fluctuations = partial_structure_factors(lattice, states, (1, 0, 0), "concentration")
    assert fluctuations["mean"].to_numpy() == pytest.approx(0.0, abs=1e-12)


def test_mchammer_gives_the_same_structure_factors():
    observers = pytest.importorskip("mchammer.observers")
    lattice = perovskite(4, 4, 4, species=("Sc", "Ta", "Nb"))
    occupation = lattice.random(THREE, np.random.default_rng(4))
    q = np.array([(0.5, 0.5, 0.5), (0.25, 0, 0), (1, 0.25, 0.5)])
    f = {"Sc": 1.7, "Ta": 0.4, "Nb": 3.1}
    atoms = lattice.to_atoms(occupation)
    pairs = list(itertools.combinations_with_replacement(f, 2))
    observer = observers.StructureFactorObserver(atoms, 2 * np.pi / 4.0 * q, pairs, f)
    theirs = observer.get_observable(atoms)
    counts = dict(zip(f, lattice.counts(occupation)[0].tolist(), strict=True))
    norm = sum(f[s] ** 2 * n for s, n in counts.items()) / 64
    ours = structure_factor(lattice, occupation, q, f)["mean"].to_numpy() / norm
    assert ours == pytest.approx([theirs[f"total_q{i}"] for i in range(3)], rel=1e-9, abs=1e-12)
    plain_observer = observers.StructureFactorObserver(atoms, 2 * np.pi / 4.0 * q, pairs)
    theirs = plain_observer.get_observable(atoms)
    for part in partial_structure_factors(lattice, occupation, q)["mean"]:
        a, b = sorted((str(part["species_a"].item()), str(part["species_b"].item())))
        expected = [theirs[f"sfo_{a}_{b}_q{i}"] for i in range(3)]
        assert (1 if a == b else 2) * part.to_numpy() == pytest.approx(expected, abs=1e-9)


# ---- weights


def test_form_factors_are_the_atomic_number_at_zero_and_those_of_ase_elsewhere():
    from ase.data import atomic_numbers
    from ase.utils.xrdebye import waasmaier

    for symbol in FORM_FACTORS:
        at_zero = float(form_factor(symbol, np.zeros(1))[0])
        assert at_zero == pytest.approx(atomic_numbers[symbol], abs=0.06), symbol
    s = np.linspace(0, 1.5, 7)
    for symbol in ("C", "O", "S", "Ni", "Ag", "Pt", "Au"):  # another parametrisation
        p = np.array(waasmaier[symbol])
        theirs = (p[0:10:2] * np.exp(-p[1:10:2] * s[:, None] ** 2)).sum(axis=1) + p[10]
        assert form_factor(symbol, 4 * np.pi * s) == pytest.approx(theirs, abs=0.04)


def test_every_element_of_the_bundled_potential_has_both_weights():
    lattice_elements = {"Mg", "Al", "Ca", "Sc", "Ti", "Sr", "Zr", "Nb", "Ba", "La", "Ta", "W"}
    assert {*lattice_elements, "Pb", "O"} <= set(FORM_FACTORS) & set(NEUTRON_LENGTHS)
    assert NEUTRON_LENGTHS["Ti"] < 0
    assert NEUTRON_LENGTHS["Mn"] < 0


@pytest.mark.parametrize(
    ("q", "weights", "message"),
    [
        ((1 / 3, 0, 0), "x-ray", r"does not fit this cell .* \(0 0 0\)"),
        ((0.5, 0, 0), "xray", "unknown; give 'x-ray', 'neutron'"),
        ((0.5, 0, 0), {"Sc": 1.0}, "None for Ta"),
        ((30.0, 0, 0), "x-ray", "beyond the form factors"),
        ("checkerboard", "x-ray", "unknown; the names are"),
        ((0.5, 0), "x-ray", "not a vector"),
    ],
)
def test_what_cannot_be_measured_is_refused(q, weights, message):
    lattice = perovskite(2, 2, 2)
    with pytest.raises(InputError, match=message):
        structure_factor(lattice, np.zeros(8, int), q, weights)


def test_an_element_without_a_length_is_refused_with_the_remedy():
    lattice = builders.rocksalt(("Po", "Mg"), "O", a=4.5)
    with pytest.raises(InputError, match="lacks Po; give a mapping"):
        structure_factor(lattice, np.zeros(4, int), (1, 1, 1), "neutron")


def test_positions_of_another_shape_are_refused():
    lattice = perovskite(2, 2, 2)
    with pytest.raises(InputError, match=r"shape \(8, 3\)"):
        structure_factor(lattice, np.zeros(8, int), (1, 0, 0), positions=np.zeros((8, 3)))
    with pytest.raises(InputError, match="without positions"):
        structure_factor(lattice, np.zeros(8, int), (1, 0, 0), cells=np.zeros((1, 1, 3, 3)))


# ---- maps and paths


def test_a_map_holds_the_numbers_of_single_vectors():
    lattice = perovskite(2, 2, 4)
    occupations = lattice.random(HALF, np.random.default_rng(6), 4)
    table = structure_factor_map(lattice, occupations, "h0l", "neutron", extent=(1, 0.5))
    assert table["mean"].shape == (3, 3)
    assert table["x"].to_numpy() == pytest.approx([0, 0.5, 1])
    assert table["y"].to_numpy() == pytest.approx([0, 0.25, 0.5])
    one = structure_factor(lattice, occupations, (0.5, 0, 0.25), "neutron")
    assert float(table["diffuse"].sel(x=0.5, y=0.25)) == pytest.approx(float(one["diffuse"][0]))
    assert float(table["l"].sel(x=0.5, y=0.25)) == 0.25
    shifted = structure_factor_map(lattice, occupations, "hk1/4", "neutron", extent=(1, 1))
    assert float(shifted["l"][0, 0]) == 0.25
    diagonal = structure_factor_map(lattice, occupations, "hhl", "neutron", extent=(1, 1))
    assert diagonal["mean"].shape == (3, 5)


@pytest.mark.parametrize(
    ("plane", "extent", "message"),
    [
        ("xy", (1, 1), "plane 'xy' is unknown"),
        ("hk1/3", (1, 1), "does not fit"),
        ({"u": (1, 0, 0), "v": (2, 0, 0)}, (1, 1), "span no plane"),
        ("hk0", (1, -1), "two positive numbers"),
    ],
)
def test_a_plane_that_is_none_is_refused(plane, extent, message):
    with pytest.raises(InputError, match=message):
        structure_factor_map(perovskite(2, 2, 2), np.zeros(8, int), plane, extent=extent)


def test_a_path_has_every_vector_that_fits_and_its_corners():
    lattice = perovskite(4, 4, 4)
    occupation = lattice.random(HALF, np.random.default_rng(1))
    table = diffuse_path(lattice, occupation, "ΓXMRΓ")
    assert table["q"].to_numpy().tolist()[:4] == [
        "(0 0 0)",
        "(1/4 0 0)",
        "(1/2 0 0)",
        "(1/2 1/4 0)",
    ]
    assert table.sizes["q"] == 9
    unit = 2 * np.pi / 4.0
    assert table.attrs["corners"] == pytest.approx(
        [0, unit / 2, unit, 1.5 * unit, (1.5 + 0.75**0.5) * unit]
    )
    assert table.attrs["corner_names"] == ["Γ", "X", "M", "R", "Γ"]
    around = diffuse_path(lattice, occupation, "ΓX", zone=(1, 1, 0))
    assert around["h"].to_numpy() == pytest.approx([1, 1.25, 1.5])
    with pytest.raises(InputError, match="'W' of the path is unknown"):
        diffuse_path(lattice, occupation, "ΓW")
    with pytest.raises(InputError, match="fewer than two"):
        diffuse_path(perovskite(1, 1, 1), np.zeros(1, int), [(0.5, 0, 0), (0.5, 0.5, 0)])


def test_a_long_series_is_kept_in_stretches_with_the_same_means(monkeypatch):
    lattice = perovskite(2, 2, 2)
    occupations = lattice.random(HALF, np.random.default_rng(8), 1600).reshape(800, 2, 8)
    q = [(0.5, 0.5, 0.5), (1, 0, 0)]
    whole = structure_factor(lattice, occupations, q)
    monkeypatch.setattr(amplitudes, "MOST_NUMBERS", 100)
    monkeypatch.setattr(amplitudes, "NUMBERS_AT_ONCE", 40)
    short = structure_factor(lattice, occupations, q)
    assert short["mean"].to_numpy() == pytest.approx(whole["mean"].to_numpy(), rel=0.02)
    assert float(short["ess"][0]) <= 2 * amplitudes.LEAST_BINS
    assert float(short["error"][0]) == pytest.approx(float(whole["error"][0]), rel=0.3)


def test_many_vectors_of_a_large_cell_are_taken_in_parts(monkeypatch):
    lattice = perovskite(4, 4, 4)
    occupations = lattice.random(HALF, np.random.default_rng(9), 6)
    whole = structure_factor_map(lattice, occupations, "hk1/2", extent=(1, 1))
    monkeypatch.setattr("alchemc.analysis.order.structure_factor.MOST_PHASES", 64 * 4)
    parts = structure_factor_map(lattice, occupations, "hk1/2", extent=(1, 1))
    xr.testing.assert_allclose(parts, whole)
    assert parts.attrs == whole.attrs


def test_several_sublattices_share_one_reciprocal_cell():
    lattice = builders.fluorite(("Zr", "Y"), ("O", "X"), a=5.1, size=(1, 1, 1))
    occupation = np.array([0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1])
    found = structure_factor(lattice, occupation, (1, 0, 0), {"Zr": 2.0, "Y": 3.0, "O": 1.0})
    f = np.array([2.0, 2.0, 3.0, 3.0] + [1.0] * 6 + [0.0] * 2)
    phase = np.exp(-2j * np.pi * lattice.atoms.positions[lattice.sites, 0] / 5.1)
    assert float(found["mean"][0]) == pytest.approx(abs((f * phase).sum()) ** 2 / 12)
    alone = structure_factor(
        lattice, occupation, (1, 0, 0), {"Zr": 2.0, "Y": 3.0}, sublattices="cation"
    )
    assert float(alone["mean"][0]) == pytest.approx(abs((f * phase)[:4].sum()) ** 2 / 4)


def test_the_phases_are_those_of_the_cell_itself_when_it_is_skewed():
    cubic = perovskite(1, 1, 1).atoms
    from ase.build import make_supercell

    atoms = make_supercell(cubic, [[1, 1, 0], [-1, 1, 0], [0, 0, 2]])
    lattice = Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))})
    parity = np.round(atoms.positions[lattice.sites] / 4.0 - 0.5).astype(int).sum(axis=1) % 2
    found = structure_factor(lattice, parity, "rock-salt", {"Sc": 1.0, "Ta": -1.0})
    assert float(found["mean"][0]) == pytest.approx(4.0)
