"""Structures from files: partial occupancies, supercells, icet's species lists, bad files."""

import ase.data
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from alchemc import builders
from alchemc.errors import InputError
from alchemc.lattice import Lattice, Sublattice

CUBIC = (4.0, 4.0, 4.0, 90, 90, 90)


@pytest.fixture
def cif(tmp_path):
    """Write a CIF from a space-group number and rows of (label, x, y, z, occupancy)."""

    def write_cif(rows, number=221, cell=CUBIC, occupancy=True):
        names = ["length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"]
        lines = ["data_test"]
        lines += [f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)]
        lines += [f"_space_group_IT_number {number}", "loop_"]
        tags = ["label", "fract_x", "fract_y", "fract_z"] + ["occupancy"] * occupancy
        lines += [f"_atom_site_{tag}" for tag in tags]
        lines += [" ".join(str(value) for value in row) for row in rows]
        path = tmp_path / "test.cif"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write_cif


MIXED_B = [
    ("Sr1", 0, 0, 0, 1),
    ("Sc1", 0.5, 0.5, 0.5, 0.5),
    ("Ta1", 0.5, 0.5, 0.5, 0.5),
    ("O1", 0.5, 0.5, 0, 1),
]

SPINEL = [  # origin at -43m
    ("Mg1", 0, 0, 0, 0.8),
    ("Al1", 0, 0, 0, 0.2),
    ("Mg2", 0.625, 0.625, 0.625, 0.1),
    ("Al2", 0.625, 0.625, 0.625, 0.9),
    ("O1", 0.3875, 0.3875, 0.3875, 1),
]


class TestPartialOccupancies:
    def test_a_mixed_position_becomes_a_sublattice_with_its_composition(self, cif):
        lattice = Lattice.from_file(cif(MIXED_B), supercell=(2, 2, 2))
        assert lattice.names == ("Sc-Ta",)
        assert lattice.species_of(0) == ("Sc", "Ta")
        assert lattice.composition == {"Sc-Ta": {"Sc": 0.5, "Ta": 0.5}}
        reference = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=2)
        occupation = lattice.random(rng=np.random.default_rng(0))
        assert lattice.counts(occupation).tolist() == [[4, 4]]
        same = reference.from_atoms(lattice.to_atoms(occupation))
        assert reference.counts(same).tolist() == [[4, 4]]

    def test_what_is_missing_to_one_is_vacant(self, cif):
        rows = [("Zr1", 0, 0, 0, 0.9), ("Y1", 0, 0, 0, "0.1(1)"), ("O1", 0.25, 0.25, 0.25, 0.975)]
        lattice = Lattice.from_file(cif(rows, number=225, cell=(5.1, 5.1, 5.1, 90, 90, 90)))
        assert lattice.names == ("Zr-Y", "O-X")
        assert lattice.n_sites == 12
        assert lattice.composition["O-X"] == pytest.approx({"O": 0.975, "X": 0.025})

    def test_different_occupancies_make_different_sublattices(self, cif):
        lattice = Lattice.from_file(cif(SPINEL, number=227, cell=(8.1,) * 3 + (90,) * 3))
        assert lattice.names == ("Mg-Al-1", "Mg-Al-2")
        assert lattice.composition["Mg-Al-1"] == pytest.approx({"Mg": 0.8, "Al": 0.2})
        assert lattice.composition["Mg-Al-2"] == pytest.approx({"Mg": 0.1, "Al": 0.9})

    def test_equal_occupancies_make_one_sublattice(self, cif):
        rows = [
            ("Cs1", 0, 0, 0, 0.5), ("Rb1", 0, 0, 0, 0.5),
            ("Cs2", 0.5, 0.5, 0.5, 0.5), ("Rb2", 0.5, 0.5, 0.5, 0.5),
        ]  # fmt: skip
        lattice = Lattice.from_file(cif(rows))
        assert lattice.names == ("Cs-Rb",)
        assert lattice.n_sites == 2

    def test_the_order_of_rows_does_not_split_a_sublattice(self, cif):
        rows = [
            ("Cs1", 0, 0, 0, 0.75), ("Rb1", 0, 0, 0, 0.25),
            ("Rb2", 0.5, 0.5, 0.5, 0.25), ("Cs2", 0.5, 0.5, 0.5, 0.75),
        ]  # fmt: skip
        lattice = Lattice.from_file(cif(rows))
        assert lattice.names == ("Cs-Rb",)
        assert lattice.species_of(1) == ("Cs", "Rb")
        assert lattice.composition == {"Cs-Rb": {"Cs": 0.75, "Rb": 0.25}}

    def test_given_sublattices_pool_sites_and_average_their_occupancies(self, cif):
        rows = [
            ("Cs1", 0, 0, 0, 0.75), ("Rb1", 0, 0, 0, 0.25),
            ("Rb2", 0.5, 0.5, 0.5, 0.75), ("Cs2", 0.5, 0.5, 0.5, 0.25), ("F1", 0.5, 0.5, 0, 1),
        ]  # fmt: skip
        pool = {"A": Sublattice(("Cs", "Rb"), ("Cs", "Rb"))}
        lattice = Lattice.from_file(cif(rows), pool, supercell=2)
        assert lattice.n_sites == 16
        assert lattice.composition == {"A": {"Cs": 0.5, "Rb": 0.5}}
        assert lattice.composition_counts() == {"A": (8, 8)}

    def test_rows_that_symmetry_puts_on_one_position_are_collected(self, cif):
        rows = [
            ("Mg1", 0, 0, 0, 0.5),
            ("Ca1", 0.5, 0.5, 1, 0.5),  # the same position by face centring
            ("O1", 0.5, 0.5, 0.5, 1),
        ]
        lattice = Lattice.from_file(cif(rows, number=225, cell=(4.5, 4.5, 4.5, 90, 90, 90)))
        assert lattice.n_sites == 4
        assert lattice.species_of(0) == ("Mg", "Ca")
        assert lattice.atoms.get_chemical_formula() == "Mg4O4"

    def test_rounded_coordinates_of_special_positions_are_one_atom(self, cif):
        rows = [("Mg1", 0.3333, 0.6667, 0.25, 0.5), ("Al1", 0.333, 0.667, 0.25, 0.5)]
        lattice = Lattice.from_file(cif(rows, number=194, cell=(3.2, 3.2, 5.2, 90, 90, 120)))
        assert lattice.n_sites == len(lattice.atoms) == 2
        assert lattice.composition == {"Mg-Al": {"Mg": 0.5, "Al": 0.5}}

    def test_the_commonest_species_stands_on_the_site(self, cif):
        lattice = Lattice.from_file(cif([("Sr1", 0, 0, 0, 1), ("Na1", 0.5, 0.5, 0.5, 0.2)]))
        assert lattice.atoms.get_chemical_formula() == "NaSr"
        assert lattice.species_of(0) == ("Na", "X")
        assert lattice.composition["Na-X"]["X"] == pytest.approx(0.8)

    def test_unknown_and_absent_occupancies_are_full(self, cif):
        rows = [(*row[:4], "." if row[4] == 1 else row[4]) for row in MIXED_B]
        assert Lattice.from_file(cif(rows)).names == ("Sc-Ta",)

    def test_rows_with_no_occupancy_are_left_out(self, cif):
        rows = [*MIXED_B, ("Nb1", 0.5, 0.5, 0.5, 0)]
        assert Lattice.from_file(cif(rows)).species_of(0) == ("Sc", "Ta")

    def test_charges_can_be_given_with_a_file(self, cif):
        parts = {"B": Sublattice("Sc", ("Sc", "Ta"), (3, 5))}
        lattice = Lattice.from_file(cif(MIXED_B), parts, 2, {"Sr": 2, "O": -2})
        assert lattice.spectator_charge == 8 * (2 - 6)
        assert lattice.charges[0].tolist() == [3, 5]
        assert lattice.composition == {"B": {"Sc": 0.5, "Ta": 0.5}}

    def test_species_that_the_file_does_not_have_leave_the_composition_open(self, cif):
        lattice = Lattice.from_file(cif(MIXED_B), {"B": Sublattice("Sc", ("Sc", "Nb"))})
        assert lattice.composition is None


class TestOrderedFiles:
    def test_atoms_of_a_cif_are_those_that_ase_reads(self, cif):
        rows = [("Mg1", 0.3333, 0.6667, 0.25, 1), ("O1", 0, 0, 0, 1), ("O2", 0.1, 0.2, 0.3, 1)]
        path = cif(rows, number=194, cell=(9.2, 9.2, 9.2, 90, 90, 120))
        lattice = Lattice.from_file(path, {"A": Sublattice("Mg", ("Mg", "Al"))})
        expected = ase.io.read(path)
        assert (lattice.atoms.numbers == expected.numbers).all()
        np.testing.assert_allclose(lattice.atoms.positions, expected.positions, atol=1e-9)

    def test_an_atom_listed_twice_is_read_once(self, cif):
        rows = [("Mg1", 0, 0, 0), ("O1", 0.5, 0.5, 0.5), ("Mg2", 0, 1, 0.5), ("O2", 0.5, 0, 0)]
        path = cif(rows, number=225, cell=(4.2, 4.2, 4.2, 90, 90, 90), occupancy=False)
        with pytest.raises(InputError, match=r"fills one position to 2 \(O 1, Mg 1\)"):
            Lattice.from_file(path, {"A": Sublattice("Mg", ("Mg", "Ca"))})
        path = cif([*rows[:2], rows[3]], number=225, cell=(4.2,) * 3 + (90,) * 3, occupancy=False)
        lattice = Lattice.from_file(path, {"A": Sublattice("Mg", ("Mg", "Ca"))})
        assert lattice.atoms.get_chemical_formula() == "Mg4O4"

    @pytest.mark.parametrize("name", ["POSCAR", "a.cif", "a.extxyz", "a.json", "a.traj"])
    def test_any_format_of_ase_is_read(self, tmp_path, name):
        reference = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 1, 1))
        write(tmp_path / name, reference.to_atoms([0, 1]))
        part = {"B": Sublattice(("Sc", "Ta"), ("Sc", "Ta"))}
        lattice = Lattice.from_file(tmp_path / name, part, supercell=(1, 2, 1))
        assert lattice.n_sites == 4
        assert lattice.composition == {"B": {"Sc": 0.5, "Ta": 0.5}}
        assert sorted(lattice.from_atoms(lattice.atoms)) == [0, 0, 1, 1]

    def test_the_last_of_several_frames_is_taken(self, tmp_path):
        write(tmp_path / "a.extxyz", [bulk("Mg", "sc", a=3), bulk("Ca", "sc", a=4)])
        lattice = Lattice.from_file(tmp_path / "a.extxyz", {"A": Sublattice("Ca", ("Mg", "Ca"))})
        assert lattice.atoms.cell[0, 0] == 4
        assert lattice.composition is None

    def test_indices_count_the_atoms_of_the_file(self, tmp_path):
        write(tmp_path / "POSCAR", bulk("MgO", "rocksalt", a=4.2), sort=False)
        part = {"A": Sublattice([0], ("Mg", "Ca"))}
        lattice = Lattice.from_file(tmp_path / "POSCAR", part, supercell=(3, 1, 1))
        assert lattice.sites.tolist() == [0, 2, 4]
        assert set(lattice.atoms.symbols[lattice.sites]) == {"Mg"}


class TestBadFiles:
    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([("Fe1", 0, 0, 0, 0.7), ("Co1", 0, 0, 0, 0.7)], r"to 1\.4 \(Fe 0\.7, Co 0\.7\)"),
            ([("Fe2+", 0, 0, 0, 0.5), ("Fe3+", 0, 0, 0, 0.5)], "puts Fe twice"),
            ([("Fe1", 0, 0, 0, -0.5)], r"row 0 \(Fe\) the occupancy -0.5"),
            ([("Fe1", 0, 0, 0, 50)], "occupancy 50"),
            ([("Fe1", 0, 0, 0, "half")], "occupancy 'half'"),
            ([("Qq1", 0, 0, 0, 0.5)], "not a structure file"),
            ([("Fe1", 0, 0, "zero", 0.5)], "not a structure file"),
            ([("Fe1", 0, 0, 0, 0)], "not a structure file|no occupied position"),
            ([("Fe1", 0, 0, 0, 0.5), ("Co1", 0, 0, 0.1, 0.5)], "0.400 Å apart"),
            ([("Fe1", 0, 0, 0, 1)], "no partially occupied site; name the sites"),
        ],
    )
    def test_a_cif_that_makes_no_sense_is_refused_in_one_line(self, cif, rows, message):
        with pytest.raises(InputError, match=message) as error:
            Lattice.from_file(cif(rows))
        assert "\n" not in str(error.value)

    def test_a_partially_occupied_position_may_not_be_forgotten(self, cif):
        with pytest.raises(InputError, match=r"atom 1 of the file .*Sc 0.5, Ta 0.5.*add it"):
            Lattice.from_file(cif(MIXED_B), {"X": Sublattice("O", ("O", "F"))})

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.cif", "data_x\n", "not a structure file"),
            ("a.cif", "", "not a structure file"),
            ("a.cif", "\x00\xff binary", "not a structure file"),
            ("POSCAR", "this is\nnot a POSCAR\n", "not a structure file"),
            ("a.unknown", "1 2 3\n", "not a structure file"),
            ("a.json", "{", "not a structure file"),
            ("a.xyz", "1\n\nFe 0 0 0\n", "set atoms.pbc = True"),
        ],
    )
    def test_an_unreadable_file_is_refused_in_one_line(self, tmp_path, name, content, message):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(InputError, match=message) as error:
            Lattice.from_file(path, {"A": Sublattice("Fe", ("Fe", "Co"))})
        assert "\n" not in str(error.value)

    def test_a_missing_file_and_a_directory_are_named(self, tmp_path):
        with pytest.raises(InputError, match=r"nowhere\.cif' does not exist"):
            Lattice.from_file(tmp_path / "nowhere.cif")
        with pytest.raises(InputError, match="is a directory"):
            Lattice.from_file(str(tmp_path))

    def test_an_ordered_file_needs_sublattices(self, tmp_path):
        write(tmp_path / "POSCAR", bulk("MgO", "rocksalt", a=4.2))
        with pytest.raises(InputError, match=r"name the sites and their species in sublattices"):
            Lattice.from_file(tmp_path / "POSCAR")


class TestIcetSpecies:
    def test_species_lists_give_the_sublattices_that_icet_finds(self):
        from icet import ClusterSpace

        unit = builders.perovskite("Ba", ("Ti", "Zr"), "O", a=4.1).atoms
        symbols = [["Sr", "Ba"], ["Zr", "Ti"]] + [["O"]] * 3
        expected = ClusterSpace(unit, [4.5], symbols).get_sublattices(unit)
        lattice = Lattice.from_icet_species(unit, symbols)
        assert lattice.names == tuple(s.symbol for s in expected.active_sublattices)
        for name, theirs in zip(lattice.names, expected.active_sublattices, strict=True):
            assert list(lattice.sublattices[name].sites) == theirs.indices
            assert set(lattice.sublattices[name].species) == set(theirs.chemical_symbols)
        assert lattice.sublattices["A"].species == ("Sr", "Ba")  # the order given, not sorted

    def test_one_species_fixes_the_element(self):
        atoms = bulk("NaCl", "rocksalt", a=5.6)
        lattice = Lattice.from_icet_species(atoms, [["Li", "X"], ["F"]], {"F": -1})
        assert lattice.spectator_charge == -1
        assert lattice.to_atoms([0]).get_chemical_formula() == "FLi"
        assert str(atoms.symbols) == "NaCl"

    def test_names_run_past_z(self):
        atoms = bulk("H", "sc", a=2.0).repeat((28, 1, 1))
        symbols = [["H", symbol] for symbol in ase.data.chemical_symbols[2:30]]
        names = Lattice.from_icet_species(atoms, symbols).names
        assert (names[0], names[25], names[26], names[27]) == ("A", "Z", "AA", "AB")

    @pytest.mark.parametrize(
        ("symbols", "message"),
        [
            ([["Mg", "Ca"]], "1 entries for 2 atoms"),
            ([["Mg"], ["O"]], "give a site at least two"),
            ([["Mg", "Ca"], "O"], r"chemical_symbols\[1\] is 'O'; give a list"),
            ([["Mg", "Ca"], []], r"chemical_symbols\[1\] is \[\]"),
            ([["Mg", "Ca"], ["Oo"]], r"chemical_symbols\[1\] 'Oo' is not"),
            ([["Mg", "Mg"], ["O"]], "stands twice"),
            ([["Mg", 20], ["O"]], "species 20|symbols"),
            (None, "chemical_symbols is None"),
        ],
    )
    def test_bad_lists_are_refused_in_one_line(self, symbols, message):
        with pytest.raises(InputError, match=message) as error:
            Lattice.from_icet_species(bulk("MgO", "rocksalt", a=4.2), symbols)
        assert "\n" not in str(error.value)
