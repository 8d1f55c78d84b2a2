"""Prototype builders: known space groups, bond lengths, names, and bad input."""

import math

import numpy as np
import pytest
import spglib

from alchemc import builders
from alchemc.errors import InputError

CASES = {
    "perovskite": (
        builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0),
        221,
        {("Sc", "O"): (2.0, 6), ("Pb", "O"): (math.sqrt(8), 12), ("Pb", "Sc"): (math.sqrt(12), 8)},
    ),
    "rocksalt": (
        builders.rocksalt(("Mg", "Ca"), "O", a=4.2),
        225,
        {("Mg", "O"): (2.1, 6), ("Mg", "Mg"): (4.2 / math.sqrt(2), 12)},
    ),
    "fluorite": (
        builders.fluorite(("Zr", "Y"), "O", a=5.0),
        225,
        {("Zr", "O"): (5 * math.sqrt(3) / 4, 8), ("O", "Zr"): (5 * math.sqrt(3) / 4, 4)},
    ),
}


def neighbours(atoms, centre, other):
    """Shortest distance from one element to another and how many lie there."""
    from ase.neighborlist import neighbor_list

    i, j, d = neighbor_list("ijd", atoms, 5.0)
    first = int(np.flatnonzero(atoms.symbols == centre)[0])
    distances = d[(i == first) & (atoms.symbols[j] == other)]
    return distances.min(), int((distances < distances.min() + 1e-6).sum())


def space_group(lattice):
    atoms = lattice.atoms
    return spglib.get_symmetry_dataset(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    ).number


@pytest.mark.parametrize("name", CASES)
def test_prototypes_have_their_space_group_and_ideal_bonds(name):
    lattice, number, bonds = CASES[name]
    assert space_group(lattice) == number
    for (centre, other), (length, count) in bonds.items():
        distance, found = neighbours(lattice.atoms, centre, other)
        assert distance == pytest.approx(length, abs=1e-9)
        assert found == count


def test_spinel_has_tetrahedra_and_octahedra():
    lattice = builders.spinel(("Mg", "Al"), "O", a=8.0, u=0.25)
    assert lattice.atoms.get_chemical_formula() == "Mg24O32"
    assert space_group(lattice) == 227
    first = [lattice.sites[lattice.classes == c][0] for c in (0, 1)]
    tetrahedral, octahedral = (
        lattice.atoms.get_distances(site, lattice.spectators, mic=True) for site in first
    )
    np.testing.assert_allclose(np.sort(tetrahedral)[:5], [math.sqrt(3)] * 4 + [math.sqrt(11)])
    np.testing.assert_allclose(np.sort(octahedral)[:6], 2.0)


@pytest.mark.parametrize("u", [0.25, 0.2625, 0.27])
def test_spinel_bonds_follow_the_anion_parameter(u):
    lattice = builders.spinel(("Mg", "Al"), "O", a=8.08, u=u)
    tetrahedral, octahedral = _bonds(lattice)
    assert tetrahedral.distance == pytest.approx(8.08 * math.sqrt(3) * (u - 1 / 8))
    assert octahedral.distance == pytest.approx(8.08 * math.hypot(0.5 - u, 0.25 - u, 0.25 - u))


def _bonds(lattice):
    from alchemc.lattice import Lattice, Sublattice

    tetrahedral = lattice.sites[lattice.classes == 0]
    octahedral = lattice.sites[lattice.classes == 1]
    parts = {"8a": Sublattice(tetrahedral, ("Mg",)), "16d": Sublattice(octahedral, ("Al",))}
    whole = Lattice(lattice.atoms, parts | {"32e": Sublattice("O", ("O",))})
    (a,), (d,) = whole.shells(1, "8a", "32e"), whole.shells(1, "16d", "32e")
    assert (a.multiplicity, d.multiplicity) == (4, 6)
    return a, d


def test_spinel_cations_are_one_sublattice_of_two_orbits():
    lattice = builders.spinel(("Mg", "Al"), "O", a=8.08, size=(1, 1, 2))
    assert lattice.names == ("cation",)
    assert np.bincount(lattice.classes).tolist() == [16, 32]
    assert np.bincount(lattice.translation_classes).tolist() == [8] * 6


def test_symbols_are_spectators_and_tuples_are_sublattices():
    lattice = builders.perovskite(("Ba", "Sr"), "Ti", ("O", "X"), a=4.0)
    assert lattice.names == ("A", "X")
    assert set(lattice.atoms.numbers[lattice.spectators]) == {22}
    assert lattice.species_of(1) == ("O", "X")


def test_size_counts_cells():
    assert len(builders.perovskite("Pb", ("Sc", "Ta"), "O", 4.0, (2, 3, 1)).atoms) == 30
    assert len(builders.rocksalt(("Mg", "Ca"), "O", 4.2, 2).atoms) == 64
    cell = builders.fluorite(("Zr", "Y"), "O", 5.0, [1, 2, 3]).atoms.cell
    assert cell.cellpar().tolist() == [5, 10, 15, 90, 90, 90]


def test_charges_are_given_by_species():
    lattice = builders.rocksalt(
        ("Li", "X", "Mg"), "O", 4.2, charges={"Li": 1, "X": 0, "Mg": 2}, spectator_charges={"O": -2}
    )
    assert lattice.charges[0].tolist() == [1, 0, 2]
    assert lattice.spectator_charge == -8


def test_every_prototype_is_listed_by_name():
    names = ("perovskite", "rocksalt", "spinel", "fluorite")
    assert {name: getattr(builders, name) for name in names} == builders.PROTOTYPES


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: builders.perovskite("Pb", ("Sc", "Ta"), "O", a=0), "a is 0; give a positive"),
        (lambda: builders.perovskite("Pb", ("Sc", "Ta"), "O", a=np.nan), "a is nan"),
        (lambda: builders.perovskite("Pb", ("Sc", "Ta"), "O", a="4"), "a is '4'"),
        (lambda: builders.perovskite("Pb", ("Sc", "Ta"), "O", a=0.5), "Å apart"),
        (lambda: builders.perovskite("Pb", "Ti", "O", a=4), "no position holds several species"),
        (lambda: builders.perovskite("Pq", ("Sc", "Ta"), "O", a=4), "A 'Pq' is not a chemical"),
        (lambda: builders.perovskite("X", ("Sc", "Ta"), "O", a=4), "'X'.*no sublattice"),
        (lambda: builders.perovskite(82, ("Sc", "Ta"), "O", a=4), "A is 82; give a symbol"),
        (lambda: builders.perovskite("Pb", ("Sc", "T"), "O", a=4), "'T' is not a chemical"),
        (lambda: builders.rocksalt(("Mg", "Mg"), "O", a=4), "stands twice"),
        (lambda: builders.rocksalt(("Mg", "Ca"), "O", a=4, size=0), "supercell is 0"),
        (
            lambda: builders.rocksalt(("Mg", "X"), "O", a=4, charges={"Mg": 2}),
            "lacks the vacancy 'X'",
        ),
        (
            lambda: builders.rocksalt(("Mg", "Ca"), "O", a=4, charges={"Mg": 2, "Ca": 2, "O": -2}),
            "charges names 'O'.*spectator_charges",
        ),
        (lambda: builders.rocksalt(("Mg", "Ca"), "O", a=4, charges=(2, 2)), "charges is"),
        (lambda: builders.spinel(("Mg", "Al"), "O", a=8, u=0.3875), "subtract 0.125"),
        (lambda: builders.spinel(("Mg", "Al"), "O", a=8, u=None), "u is None"),
    ],
)
def test_bad_input_is_refused_in_one_line(build, message):
    with pytest.raises(InputError, match=message) as error:
        build()
    assert "\n" not in str(error.value)
