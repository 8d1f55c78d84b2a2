"""Oxygen environments and bond valences against plain counting, closed forms and pymatgen's sums.

Statistical comparisons have fixed seeds; each z-score is refused beyond 4.5, a false alarm of
7·10⁻⁶ per number.
"""

from math import comb

import numpy as np
import pytest
import xarray as xr
from ase.neighborlist import neighbor_list

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import anion_environments, bond_valence_sums
from alchemc.analysis.order.bond_valence_table import OXYGEN_R0
from alchemc.errors import InputError
from analysis_cases import HALF, cells, ordered, perovskite

Z_LIMIT = 4.5


def shares(lattice, occupation, **options):
    table = anion_environments(lattice, occupation, **options)
    return dict(zip(table["environment"].to_numpy(), table["mean"].to_numpy(), strict=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rock-salt", (0.0, 1.0, 0.0)),
        ("layered", (1 / 3, 1 / 3, 1 / 3)),
        ("columnar", (1 / 6, 2 / 3, 1 / 6)),
    ],
)
def test_perfect_orders_have_their_bridges(name, expected):
    lattice = perovskite(4, 4, 4)
    found = shares(lattice, ordered(lattice, name))
    assert list(found) == ["Sc–O–Sc", "Sc–O–Ta", "Ta–O–Ta"]
    assert list(found.values()) == pytest.approx(expected)


def test_a_phase_separated_crystal_has_bridges_at_its_interfaces_alone():
    lattice = perovskite(4, 4, 4)
    found = shares(lattice, (cells(lattice)[:, 2] >= 2).astype(int))
    assert found["Sc–O–Ta"] == pytest.approx(2 * 16 / 192)


def test_octahedra_of_three_species_are_those_of_a_plain_count():
    lattice = builders.rocksalt(("Mg", "Ca", "Sr"), "O", a=4.6, size=(2, 2, 2))
    occupation = lattice.random(
        {"cation": {"Mg": 0.5, "Ca": 0.25, "Sr": 0.25}}, np.random.default_rng(1)
    )
    table = anion_environments(lattice, occupation)
    assert table.sizes["environment"] == comb(8, 2)
    atoms = lattice.to_atoms(occupation)
    i, j = neighbor_list("ij", atoms, 2.5)
    symbols = np.array(atoms.get_chemical_symbols())
    plain = {}
    for o in np.flatnonzero(symbols == "O"):
        around = symbols[j[i == o]]
        parts = [(s, int((around == s).sum())) for s in ("Mg", "Ca", "Sr")]
        label = "O: " + " ".join(f"{s}{n if n > 1 else ''}" for s, n in parts if n)
        plain[label] = plain.get(label, 0) + 1 / 32
    found = {k: v for k, v in shares(lattice, occupation).items() if v}
    assert found == pytest.approx(plain)


def test_the_random_value_is_the_mean_over_all_arrangements():
    lattice = perovskite(3, 3, 3)
    rng = np.random.default_rng(2)
    counts = {"B": {"Sc": 9 / 27, "Ta": 18 / 27}}
    occupations = lattice.random(counts, rng, 4000).reshape(1000, 4, 27)
    table = anion_environments(lattice, occupations)
    assert table["random"].to_numpy() == pytest.approx(
        [comb(9, 2) / comb(27, 2), 162 / comb(27, 2), comb(18, 2) / comb(27, 2)]
    )
    z = ((table["mean"] - table["random"]) / table["error"]).to_numpy()
    assert np.abs(z).max() < Z_LIMIT
    assert bool(table["converged"].all())
    small = anion_environments(perovskite(1, 2, 2), np.array([0, 1, 0, 1]))
    assert np.isnan(small["random"]).all()  # an O between a site and its own image


def test_displaced_oxygen_keeps_its_two_neighbours_and_another_sublattice_has_its_own():
    ideal = builders.perovskite(("Sr", "Ba"), ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    atoms = ideal.atoms.copy()
    atoms.positions[:] = ideal.displaced_positions(0.08, 3)
    lattice = Lattice(
        atoms, {n: Sublattice(s.sites, s.species) for n, s in ideal.sublattices.items()}
    )
    occupation = np.concatenate([np.arange(8) % 2, ordered(perovskite(2, 2, 2), "rock-salt")])
    found = shares(lattice, occupation, sublattice="B")
    assert found["Sc–O–Ta"] == 1.0
    around_a = anion_environments(ideal, occupation, "A")
    assert set(around_a["neighbours"].to_numpy()) == {4}
    wide = anion_environments(ideal, occupation, "B", cutoff=4.6)
    assert set(wide["neighbours"].to_numpy()) == {10}


def test_vacancies_and_chains_are_counted(record_property):
    lattice = builders.fluorite(("Zr", "Y", "X"), "O", a=5.1, size=(2, 2, 2))
    rng = np.random.default_rng(4)
    fractions = {"cation": {"Zr": 0.75, "Y": 0.125, "X": 0.125}}
    table = anion_environments(lattice, lattice.random(fractions, rng, 400).reshape(100, 4, 32))
    assert "O: Zr3 X" in table["environment"].to_numpy()
    known = (table["mean"] > 0.02).to_numpy()
    z = ((table["mean"] - table["random"]) / table["error"]).to_numpy()[known]
    record_property("z", float(np.abs(z).max()))
    assert np.abs(z).max() < Z_LIMIT


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anion": "F"}, "'F' is no spectator"),
        ({"cutoff": 0.5}, "no neighbour within 0.5"),
        ({"cutoff": -1.0}, "no distance"),
        ({"cutoff": 200.0, "anion": "O"}, "give a smaller cutoff"),
        ({"sublattice": "C"}, "'C'"),
    ],
)
def test_environments_that_are_none_are_refused(options, message):
    lattice = perovskite(1, 1, 2)
    if options.get("cutoff") == 200.0:
        options = options | {"cutoff": 60.0}
    with pytest.raises(InputError, match=message):
        anion_environments(lattice, np.array([0, 1]), **options)


def test_the_anion_must_be_named_if_there_are_two():
    atoms = builders.rocksalt(("Mg", "Ca"), "O", a=4.4).atoms.copy()
    atoms.symbols[-1] = "F"
    lattice = Lattice(atoms, {"cation": Sublattice("Mg", ("Mg", "Ca"))})
    with pytest.raises(InputError, match="hold O, F; name one"):
        anion_environments(lattice, np.zeros(4, int))
    assert float(anion_environments(lattice, np.zeros(4, int), anion="F")["mean"].max()) == 1.0


# ---- bond valences


def charged(size=(2, 2, 2), a=3.905, species=("Ti", "Zr"), charges=(4, 4)):
    return builders.perovskite(
        "Sr",
        species,
        "O",
        a=a,
        size=size,
        charges=dict(zip(species, charges, strict=True)),
        spectator_charges={"Sr": 2, "O": -2},
    )


def plain_sums(atoms, r0, cutoff=3.5):
    symbols = np.array(atoms.get_chemical_symbols())
    total = np.zeros(len(atoms))
    for i, j, d in zip(*neighbor_list("ijd", atoms, cutoff), strict=True):
        pair = {symbols[i], symbols[j]}
        if "O" in pair and len(pair) == 2:
            total[i] += np.exp((r0[(pair - {"O"}).pop()] - d) / 0.37)
    return total


def test_strontium_titanate_has_the_sums_of_its_closed_form():
    lattice = charged()
    found = bond_valence_sums(lattice, np.zeros(8, int))
    a = 3.905
    titanium = 6 * np.exp((1.815 - a / 2) / 0.37)
    strontium = 12 * np.exp((2.118 - a / np.sqrt(2)) / 0.37)
    oxygen = titanium / 3 + strontium / 3
    mean = found["mean"].sel(kind=["B: Ti", "Sr", "O"]).to_numpy()
    assert mean == pytest.approx([titanium, strontium, oxygen])
    assert np.isnan(found["mean"].sel(kind="B: Zr"))
    squares = (titanium - 4) ** 2 + (strontium - 2) ** 2 + 3 * (oxygen - 2) ** 2
    assert float(found["instability"]) == pytest.approx(np.sqrt(squares / 5))
    assert found["spread"].sel(kind=["Sr", "O"]).to_numpy() == pytest.approx([0, 0], abs=1e-12)


def test_sums_of_moving_atoms_and_cells_equal_a_plain_sum():
    lattice = charged(size=(2, 2, 1), species=("Sc", "Ta"), charges=(3, 5), a=4.0)
    rng = np.random.default_rng(3)
    occupations = lattice.random(HALF, rng, 4).reshape(2, 2, 4)
    strain = 1 + 0.02 * rng.normal(size=(2, 2, 3))
    boxes = lattice.atoms.cell.array * strain[..., None, :]
    moved = (lattice.atoms.positions + 0.05 * rng.normal(size=(2, 2, 20, 3))) * strain[:, :, None]
    r0 = {"Sc": 1.849, "Ta": 1.920, "Sr": 2.118}
    found = bond_valence_sums(
        lattice,
        occupations,
        xr.DataArray(moved, dims=("draw", "chain", "atom", "axis")).transpose("atom", ...),
        boxes,
        cutoff=4.5,
    )
    totals, instability, every = {}, [], []
    for d in range(2):
        for c in range(2):
            atoms = lattice.to_atoms(occupations[d, c], moved[d, c], boxes[d, c])
            reference = lattice.to_atoms(occupations[d, c])
            inside = set()
            for i, j, s in zip(*neighbor_list("ijS", reference, 4.5), strict=True):
                inside.add((i, j, *s))
            symbols = np.array(atoms.get_chemical_symbols())
            total = np.zeros(len(atoms))
            for i, j, shift in ((k[0], k[1], np.array(k[2:])) for k in inside):
                if (symbols[i] == "O") == (symbols[j] == "O"):
                    continue
                step = atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array
                cation = symbols[j] if symbols[i] == "O" else symbols[i]
                total[i] += np.exp((r0[cation] - np.linalg.norm(step)) / 0.37)
            size = np.array([{"O": 2, "Sr": 2, "Sc": 3, "Ta": 5}[s] for s in symbols])
            instability.append(np.sqrt(((total - size) ** 2).mean()))
            every.append(total)
            for s in ("Sc", "Ta", "Sr", "O"):
                totals.setdefault(s, []).append(total[symbols == s].mean())
    kinds = ["B: Sc", "B: Ta", "Sr", "O"]
    expected = [np.mean(totals[k.removeprefix("B: ")]) for k in kinds]
    assert found["mean"].sel(kind=kinds).to_numpy() == pytest.approx(expected, rel=1e-10)
    assert float(found["instability"]) == pytest.approx(np.mean(instability), rel=1e-10)
    assert found["of_atom"].to_numpy() == pytest.approx(np.mean(every, axis=0), rel=1e-10)
    assert np.isnan(found["of_atom_error"]).all()  # four configurations tell no error


def test_valences_are_shared_equally_by_both_ends():
    lattice = charged(size=(2, 2, 2), species=("Sc", "Ta"), charges=(3, 5), a=4.0)
    occupation = lattice.random(HALF, np.random.default_rng(0))
    found = bond_valence_sums(lattice, occupation)["mean"]
    cations = 4 * found.sel(kind="B: Sc") + 4 * found.sel(kind="B: Ta") + 8 * found.sel(kind="Sr")
    assert float(cations) == pytest.approx(24 * float(found.sel(kind="O")))
    atoms = lattice.to_atoms(occupation)
    sums = plain_sums(atoms, {"Sc": 1.849, "Ta": 1.920, "Sr": 2.118})
    symbols = np.array(atoms.get_chemical_symbols())
    assert float(found.sel(kind="B: Sc")) == pytest.approx(sums[symbols == "Sc"].mean())


def test_a_vacancy_bonds_with_nothing():
    lattice = builders.fluorite(
        ("Zr", "Y"),
        ("O", "X"),
        a=5.15,
        size=(1, 1, 1),
        charges={"Zr": 4, "Y": 3, "O": -2, "X": 0},
    )
    occupation = np.zeros(12, int)
    full = bond_valence_sums(lattice, occupation)
    one = 8 * np.exp((1.928 - 5.15 * np.sqrt(3) / 4) / 0.37)
    assert float(full["mean"].sel(kind="cation: Zr")) == pytest.approx(one, rel=1e-9)
    occupation[4] = 1
    part = bond_valence_sums(lattice, occupation)
    assert float(part["mean"].sel(kind="cation: Zr")) == pytest.approx(one * 7 / 8, rel=1e-9)
    assert "anion: X" not in part["kind"].to_numpy()


def test_parameters_of_one_s_own_come_first():
    lattice = charged()
    mine = {("Ti", "O"): (1.9, 0.4)}
    found = bond_valence_sums(lattice, np.zeros(8, int), parameters=mine)
    expected = 6 * np.exp((1.9 - 3.905 / 2) / 0.4)
    assert float(found["mean"].sel(kind="B: Ti")) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("lattice", "options", "message"),
    [
        (perovskite(2, 2, 2), {}, "charges of O, Sr; give the lattice spectator_charges"),
        (charged(charges=(2, 4)), {}, r"no bond-valence parameters for Ti \(\+2\) with O"),
        (charged(), {"cutoff": 0.0}, "no distance"),
        (charged(), {"parameters": {("Ti", "O"): (1.8, -1.0)}}, "a positive b"),
        (charged(), {"positions": np.zeros((3, 3))}, r"shape \(3, 3\)"),
        (charged(), {"cells": np.zeros((1, 1, 3, 3))}, "without positions of every draw"),
        (charged(), {"positions": np.full((40, 3), np.nan)}, "not finite"),
    ],
)
def test_what_has_no_valence_is_refused(lattice, options, message):
    with pytest.raises(InputError, match=message):
        bond_valence_sums(lattice, np.zeros(8, int), **options)


def test_a_sublattice_without_charges_is_refused():
    atoms = perovskite(2, 2, 2).atoms
    lattice = Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))}, {"Sr": 2, "O": -2})
    with pytest.raises(InputError, match="charges of Sc, Ta on 'B'"):
        bond_valence_sums(lattice, np.zeros(8, int))


def test_the_table_has_the_usual_cations_and_sane_lengths():
    """A sixfold bond of valence q/6 is within 0.1 Å of the sum of Shannon's radii."""
    radii = {  # R. D. Shannon, Acta Cryst. A 32, 751 (1976), sixfold, high spin; O²⁻ 1.40
        ("Mg", 2): 0.72, ("Al", 3): 0.535, ("Ca", 2): 1.0, ("Sc", 3): 0.745, ("Ti", 4): 0.605,
        ("Sr", 2): 1.18, ("Zr", 4): 0.72, ("Nb", 5): 0.64, ("Ba", 2): 1.35, ("La", 3): 1.032,
        ("Ta", 5): 0.64, ("W", 6): 0.60, ("Pb", 2): 1.19, ("Fe", 3): 0.645, ("Zn", 2): 0.74,
        ("Ni", 2): 0.69, ("In", 3): 0.8, ("Y", 3): 0.9, ("Sn", 4): 0.69, ("Hf", 4): 0.71,
    }  # fmt: skip
    for (symbol, charge), radius in radii.items():
        length = OXYGEN_R0[symbol, charge] - 0.37 * np.log(charge / 6)
        assert length == pytest.approx(radius + 1.40, abs=0.1), symbol
