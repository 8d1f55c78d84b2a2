"""Lattices: sites, occupations, symmetry, neighbours, storage."""

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemc import builders, neighbours
from alchemc.lattice import Lattice, Sublattice

HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}


def perovskite(size=(2, 2, 2), **options):
    return builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=size, **options)


def zirconia(size=1):
    charges = {"Zr": 4, "Y": 3, "O": -2, "X": 0}
    return builders.fluorite(("Zr", "Y"), ("O", "X"), a=5.15, size=size, charges=charges)


def cubic(symbol="Ti", n=4, structure="sc", a=4.0):
    atoms = bulk(symbol, structure, a=a, cubic=True).repeat(n)
    return Lattice(atoms, {"B": Sublattice(symbol, ("Sc", "Ta"))})


@st.composite
def lattices(draw):
    """Triclinic crystals with one or two sublattices, vacancies, charges and spectators."""
    lengths = [draw(st.floats(3.5, 6.0)) for _ in range(3)]
    angles = [draw(st.floats(75, 105)) for _ in range(3)]
    basis = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.01]]
    atoms = Atoms("SrTiO", scaled_positions=basis, cell=[*lengths, *angles], pbc=True)
    atoms = atoms.repeat(draw(st.tuples(*[st.integers(1, 2)] * 3)))
    charges = draw(st.sampled_from([None, (2, 3.5), {"La": 3, "Sr": 2}]))
    sublattices = {"A": Sublattice("Sr", ("Sr", "La"), charges)}
    if draw(st.booleans()):
        other = None if charges is None else {"O": -2, "X": 0, "F": -1}
        sublattices["anion"] = Sublattice("O", ("O", "X", "F"), other)
    return Lattice(atoms, sublattices)


class TestSites:
    def test_sites_are_sorted_by_sublattice_and_then_by_atom(self):
        atoms = perovskite((2, 1, 1)).atoms
        lattice = Lattice(
            atoms,
            {"B": Sublattice([6, 1], ("Sc", "Ta", "Nb")), "A": Sublattice("Pb", ("Pb", "X"))},
        )
        assert lattice.sites.tolist() == [1, 6, 0, 5]
        assert lattice.sublattice_of_site.tolist() == [0, 0, 1, 1]
        assert lattice.names == ("B", "A")
        assert lattice.site_slice("A") == slice(2, 4)
        assert lattice.spectators.tolist() == [2, 3, 4, 7, 8, 9]
        assert lattice.sublattices["B"].sites == (1, 6)

    def test_tables_mark_what_is_not_allowed_and_what_is_vacant(self):
        lattice = builders.perovskite(("Pb", "X"), ("Sc", "Ta", "Nb"), "O", a=4)
        assert lattice.n_species_max == 3
        assert lattice.atomic_numbers.tolist() == [[82, 0, -1], [21, 73, 41]]
        assert lattice.allowed.tolist() == [[True, True, False], [True, True, True]]
        assert lattice.species_of(0) == ("Pb", "X")
        assert lattice.species_of(1) == ("Sc", "Ta", "Nb")

    def test_charges_follow_species_and_spectators_add_up(self):
        lattice = perovskite(
            (2, 1, 1), charges={"Sc": 3, "Ta": 5}, spectator_charges={"Pb": 2, "O": -2}
        )
        assert lattice.charges.tolist() == [[3, 5], [3, 5]]
        assert lattice.spectator_charge == 2 * 2 - 6 * 2
        assert zirconia().charges.tolist() == [[4, 3]] * 4 + [[-2, 0]] * 8
        assert zirconia().spectator_charge == 0

    def test_charges_not_given_are_none(self):
        assert perovskite().charges is None
        assert perovskite().spectator_charge is None

    def test_several_symbols_select_together(self):
        atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
        lattice = Lattice(atoms, {"all": Sublattice(("Mg", "O"), ("Mg", "O"))})
        assert lattice.n_sites == 8

    def test_vacant_atoms_of_the_reference_can_be_sites(self):
        atoms = Atoms("X", cell=[3, 3, 3], pbc=True)
        lattice = Lattice(atoms, {"A": Sublattice("X", ("X", "Li"))})
        assert len(lattice.to_atoms(np.array([0]))) == 0
        assert str(lattice.to_atoms(np.array([1])).symbols) == "Li"

    def test_the_given_atoms_may_change_afterwards_but_the_lattice_does_not(self):
        atoms = bulk("Ti", "sc", a=3.0)
        lattice = Lattice(atoms, {"B": Sublattice("Ti", ("Ti", "Zr"))})
        atoms.positions += 1
        assert lattice.atoms.positions.tolist() == [[0, 0, 0]]
        for change in (
            lambda: lattice.atoms.positions.__iadd__(1),
            lambda: lattice.atoms.set_cell(np.eye(3)) or lattice.atoms.cell.__setitem__(0, 1),
            lambda: lattice.sites.__setitem__(0, 1),
            lambda: lattice.sublattices.__setitem__("C", None),
            lambda: setattr(lattice, "atoms", None),
        ):
            with pytest.raises((ValueError, TypeError, AttributeError)):
                change()

    def test_a_copy_of_the_atoms_can_be_changed(self):
        atoms = perovskite().atoms.copy()
        atoms.positions += 1
        atoms.cell[0, 0] = 9
        atoms.numbers[0] = 1
        assert perovskite().atoms.numbers[0] == 82


class TestOccupations:
    @pytest.mark.parametrize("n_replicas", [None, 1, 5])
    def test_random_occupations_have_exact_counts(self, n_replicas):
        lattice = perovskite((4, 4, 4))
        rng = np.random.default_rng(0)
        drawn = lattice.random({"B": {"Sc": 0.25, "Ta": 0.75}}, rng=rng, n_replicas=n_replicas)
        assert drawn.dtype == np.int8
        assert drawn.shape == ((64,) if n_replicas is None else (n_replicas, 64))
        assert (lattice.counts(drawn) == [[16, 48]]).all()

    def test_random_draws_every_arrangement_equally_often(self):
        # χ² with 69 degrees of freedom over 14,000 draws; false-alarm probability 1e-4
        lattice = perovskite()
        drawn = lattice.random(HALF, rng=np.random.default_rng(5), n_replicas=14_000)
        _, seen = np.unique(drawn, axis=0, return_counts=True)
        assert len(seen) == 70
        assert ((seen - 200) ** 2 / 200).sum() < 119.9

    def test_random_replicas_do_not_depend_on_the_seed_of_numpy(self):
        first, second = (perovskite().random(HALF, rng=np.random.default_rng(3)) for _ in range(2))
        assert (first == second).all()

    def test_a_single_species_needs_no_composition(self):
        lattice = builders.perovskite(("Pb",), ("Sc", "Ta"), "O", a=4, size=2)
        assert lattice.composition_counts(HALF) == {"A": (8,), "B": (4, 4)}

    def test_fractions_with_three_digits_are_understood(self):
        lattice = builders.perovskite("Pb", ("Mg", "Nb"), "O", a=4, size=(3, 1, 1))
        assert lattice.composition_counts({"B": {"Mg": 0.333, "Nb": 0.667}}) == {"B": (1, 2)}

    def test_mean_weights_are_the_composition_on_every_site(self):
        lattice = zirconia()
        mean = lattice.mean_weights({"cation": {"Zr": 0.9, "Y": 0.1}, "anion": {"O": 1}})
        np.testing.assert_allclose(mean[:4], [[0.9, 0.1]] * 4)
        np.testing.assert_allclose(mean[4:], [[1, 0]] * 8)

    def test_weights_are_one_where_the_site_holds_the_species(self):
        lattice = perovskite((2, 1, 1))
        assert lattice.weights([[0, 1], [1, 1]]).tolist() == [[[1, 0], [0, 1]], [[0, 1], [0, 1]]]

    def test_counts_lead_with_the_replicas(self):
        lattice = builders.perovskite(("Pb", "Ba", "Sr"), ("Sc", "Ta"), "O", a=4, size=(2, 1, 1))
        counts = lattice.counts([[0, 2, 1, 1], [1, 1, 0, 1]])
        assert counts.tolist() == [[[1, 0, 1], [0, 2, 0]], [[0, 2, 0], [1, 1, 0]]]

    def test_enumeration_gives_each_arrangement_once_in_order(self):
        states = perovskite().enumerate(HALF)
        assert states.dtype == np.int8
        assert len(np.unique(states, axis=0)) == len(states) == math.comb(8, 4)
        assert (np.lexsort(states.T[::-1]) == np.arange(70)).all()
        assert (states.sum(axis=1) == 4).all()

    def test_enumeration_covers_all_sublattices_and_compositions(self):
        lattice = builders.perovskite(("Pb", "Ba", "Sr"), ("Sc", "Ta"), "O", a=4, size=(2, 1, 1))
        assert len(lattice.enumerate()) == 3**2 * 2**2
        composition = {"A": {"Pb": 0.5, "Ba": 0.5}, "B": {"Sc": 0.5, "Ta": 0.5}}
        expected = [[*a, *b] for a in ([0, 1], [1, 0]) for b in ([0, 1], [1, 0])]
        assert lattice.enumerate(composition).tolist() == expected

    def test_check_returns_int8_of_the_same_shape(self):
        checked = perovskite((2, 1, 1)).check([[0, 1], [1, 0]])
        assert checked.dtype == np.int8
        assert checked.shape == (2, 2)

    def test_a_nominal_composition_is_the_default(self):
        plain = perovskite()
        lattice = Lattice(plain.atoms, plain.sublattices, composition=HALF)
        assert lattice.composition_counts() == {"B": (4, 4)}
        assert lattice.counts(lattice.random(rng=np.random.default_rng(1))).tolist() == [[4, 4]]
        assert (lattice.mean_weights() == 0.5).all()


class TestStructures:
    def test_vacancies_are_left_out_of_the_structure(self):
        lattice = zirconia()
        occupation = np.zeros(12, dtype=np.int8)
        occupation[[0, 4, 7]] = 1
        atoms = lattice.to_atoms(occupation)
        assert atoms.get_chemical_formula() == "O6YZr3"
        assert atoms.pbc.all()
        assert (lattice.from_atoms(atoms) == occupation).all()

    def test_positions_and_cell_can_be_replaced(self):
        lattice = perovskite((1, 1, 1))
        moved = lattice.atoms.positions + 0.1
        assert (lattice.to_atoms([0], positions=moved).positions == moved).all()
        wide = lattice.to_atoms([0], cell=np.eye(3) * 4.4)
        np.testing.assert_allclose(wide.positions, lattice.atoms.positions * 1.1)
        both = lattice.to_atoms([0], positions=moved, cell=np.eye(3) * 4.4)
        assert (both.positions == moved).all()
        assert both.cell[0, 0] == 4.4

    @given(lattices(), st.integers(0, 2**32 - 1))
    @settings(max_examples=60, deadline=None)
    def test_displaced_permuted_wrapped_and_strained_atoms_give_the_occupation_back(
        self, lattice, seed
    ):
        rng = np.random.default_rng(seed)
        limits = lattice.allowed.sum(axis=1)
        occupation = rng.integers(0, limits).astype(np.int8)
        strain = np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        positions = lattice.displaced_positions(0.06, seed)
        atoms = lattice.to_atoms(occupation, positions)
        atoms.set_cell(atoms.cell.array @ strain @ turn, scale_atoms=True)
        whole_cells = rng.integers(-2, 3, (len(atoms), 3))
        atoms.positions += whole_cells @ atoms.cell.array
        atoms = atoms[rng.permutation(len(atoms))]
        assert (lattice.from_atoms(atoms) == occupation).all()

    def test_ghost_atoms_count_as_vacancies(self):
        lattice = zirconia()
        atoms = lattice.to_atoms(np.zeros(12, dtype=int))
        atoms.symbols[4] = "X"
        assert lattice.from_atoms(atoms).tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]

    def test_displacements_are_reproducible_and_gaussian(self):
        lattice = perovskite((6, 6, 6))
        displaced = lattice.displaced_positions(0.05, seed=7)
        assert (displaced == lattice.displaced_positions(0.05, seed=7)).all()
        assert (displaced != lattice.displaced_positions(0.05, seed=8)).any()
        assert (lattice.displaced_positions(0, seed=7) == lattice.atoms.positions).all()
        # standard deviation over 3,240 numbers: 0.05 ± 0.0006; false alarm below 1e-6
        assert np.std(displaced - lattice.atoms.positions) == pytest.approx(0.05, abs=0.0032)
        first = np.random.Generator(np.random.PCG64(7)).standard_normal(3) * 0.05
        np.testing.assert_array_equal(displaced[0] - lattice.atoms.positions[0], first)

    def test_repeat_carries_everything_over(self):
        unit = builders.perovskite(
            "Pb", ("Sc", "Ta"), "O", a=4, charges={"Sc": 3, "Ta": 5},
            spectator_charges={"Pb": 2, "O": -2},
        )  # fmt: skip
        unit = Lattice(unit.atoms, unit.sublattices, unit.spectator_charges, composition=HALF)
        large = unit.repeat((2, 1, 2))
        assert large.n_sites == 4
        assert (large.atoms.numbers[large.sites] == 21).all()
        assert large.spectator_charge == 4 * unit.spectator_charge
        assert large.composition == HALF
        assert unit.repeat(2).n_sites == 8


class TestSymmetry:
    def test_simple_cubic_sites_are_one_class(self):
        lattice = perovskite((3, 3, 3))
        assert set(lattice.classes) == set(lattice.translation_classes) == {0}

    @pytest.mark.parametrize("size", [(1, 1, 1), (2, 1, 1)])
    def test_spinel_has_two_orbits_and_six_translation_classes(self, size):
        lattice = builders.spinel(("Mg", "Al"), "O", a=8.08, size=size)
        tetrahedral, octahedral = lattice.classes == 0, lattice.classes == 1
        assert octahedral.sum() == 2 * tetrahedral.sum() == 16 * math.prod(size)
        assert len(set(lattice.translation_classes[tetrahedral])) == 2
        assert len(set(lattice.translation_classes[octahedral])) == 4
        assert set(np.bincount(lattice.translation_classes)) == {4 * math.prod(size)}

    def test_sublattices_are_never_one_class(self):
        atoms = bulk("CsCl", "cesiumchloride", a=4.1)
        species = ("Cs", "Cl")
        lattice = Lattice(atoms, {"a": Sublattice([0], species), "b": Sublattice([1], species)})
        assert lattice.classes.tolist() == [0, 1]
        together = Lattice(atoms, {"a": Sublattice([0, 1], species)})
        assert together.classes.tolist() == together.translation_classes.tolist() == [0, 0]

    def test_what_the_reference_holds_on_sites_does_not_matter(self):
        atoms = perovskite().atoms.copy()
        sites = np.flatnonzero(atoms.symbols == "Sc")
        atoms.symbols[sites[:3]] = "Ta"
        lattice = Lattice(atoms, {"B": Sublattice(sites, ("Sc", "Ta"))})
        assert set(lattice.translation_classes) == {0}

    def test_spectators_break_the_symmetry(self):
        atoms = perovskite((2, 1, 1)).atoms.copy()
        atoms.symbols[0] = "Ba"
        lattice = Lattice(atoms, {"X": Sublattice("O", ("O", "F"))})
        assert len(set(lattice.classes)) == 3  # beside Ba, beside Pb, and between
        assert len(set(lattice.translation_classes)) == 6

    @given(st.integers(0, 2**32 - 1))
    @settings(max_examples=40, deadline=None)
    def test_translation_classes_are_found_in_any_supercell(self, seed):
        rng = np.random.default_rng(seed)
        scaled = np.array([[0, 0, 0], [0.45, 0.5, 0.55], [0.5, 0.05, 0.4]]) + rng.uniform(
            -0.04, 0.04, (3, 3)
        )
        cell = 4 * np.eye(3) + rng.uniform(-0.5, 0.5, (3, 3))
        unit = Atoms("TiTiO", scaled_positions=scaled, cell=cell, pbc=True)
        matrix = rng.integers(-2, 3, (3, 3))
        if round(np.linalg.det(matrix)) == 0:
            matrix = np.diag([3, 2, 1])
        unit.set_tags([0, 1, 2])
        large = make_supercell(unit, matrix)
        large = large[rng.permutation(len(large))]
        large.wrap()
        lattice = Lattice(large, {"B": Sublattice("Ti", ("Ti", "Zr"))})
        tags = large.get_tags()[lattice.sites]
        same = lattice.translation_classes[:, None] == lattice.translation_classes
        assert (same == (tags[:, None] == tags)).all()

    def test_rounded_and_wrapped_coordinates_keep_their_symmetry(self):
        atoms = perovskite((3, 3, 3)).atoms.copy()
        atoms.positions = np.round(atoms.positions - 1e-5, 4)
        atoms.wrap()
        lattice = Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))})
        assert set(lattice.translation_classes) == {0}

    def test_displaced_references_have_no_symmetry(self):
        atoms = perovskite().atoms.copy()
        atoms.positions = perovskite().displaced_positions(0.1, seed=1)
        lattice = Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))})
        assert lattice.classes.tolist() == lattice.translation_classes.tolist() == list(range(8))
        assert lattice.symmetry_permutations().tolist() == [list(range(8))]

    @pytest.mark.parametrize(
        ("lattice", "n_distinct"),
        [
            (perovskite(), 48),  # the symmetries of a cube's corners
            (perovskite((4, 1, 1)), 8),  # the dihedral group of a ring of four
            (cubic(n=1), 1),
        ],
    )
    def test_site_permutations_form_the_known_group(self, lattice, n_distinct):
        permutations = lattice.symmetry_permutations()
        assert permutations.shape == (n_distinct, lattice.n_sites)
        assert permutations.dtype == np.int64
        assert (permutations[0] == np.arange(lattice.n_sites)).all()
        group = {tuple(p) for p in permutations.tolist()}
        products = permutations[:, permutations].reshape(-1, lattice.n_sites)
        assert {tuple(p) for p in products.tolist()} == group

    @pytest.mark.parametrize(
        "lattice",
        [
            builders.spinel(("Mg", "Al"), "O", a=8.08),
            builders.rocksalt(("Mg", "Ca"), "O", a=4.2, size=(2, 1, 1)),
            Lattice(
                bulk("Mg", "hcp", a=3.2, c=5.2).repeat((2, 2, 1)),
                {"metal": Sublattice("Mg", ("Mg", "Al"))},
            ),
        ],
        ids=["spinel", "rocksalt", "hcp"],
    )
    def test_permutations_keep_every_pair_correlation(self, lattice):
        spins = lattice.random(
            {lattice.names[0]: dict.fromkeys(lattice.species_of(0), 0.5)},
            rng=np.random.default_rng(2),
        )
        images = spins[lattice.symmetry_permutations()]
        for shell in lattice.shells(4):
            i, j = shell.pairs.T
            assert len(set((images[:, i] == images[:, j]).sum(axis=1))) == 1
        assert len(np.unique(images, axis=0)) > 1


class TestShells:
    @pytest.mark.parametrize(
        ("structure", "distances", "numbers"),
        [
            ("sc", [1, math.sqrt(2), math.sqrt(3), 2], [6, 12, 8, 6]),
            ("fcc", [math.sqrt(0.5), 1, math.sqrt(1.5), math.sqrt(2)], [12, 6, 24, 12]),
            ("bcc", [math.sqrt(0.75), 1, math.sqrt(2), math.sqrt(2.75)], [8, 6, 12, 24]),
        ],
    )
    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_cubic_lattices_have_the_known_shells(self, structure, distances, numbers, n):
        shells = cubic(structure=structure, n=n).shells(4)
        np.testing.assert_allclose([s.distance for s in shells], 4 * np.array(distances))
        assert [s.multiplicity for s in shells] == numbers

    def test_all_pairs_are_searched_for_once(self, monkeypatch):
        """Everything before is done with a few sites, so that large lattices stay cheap."""
        searched = []
        pairs = neighbours.PeriodicTree.pairs

        def count(tree, positions):
            found = pairs(tree, positions)
            searched.append(len(found[0]))
            return found

        monkeypatch.setattr(neighbours.PeriodicTree, "pairs", count)
        lattice = perovskite((10, 10, 10))
        searched.clear()
        shells = lattice.shells(4)
        wanted = sum(len(shell.pairs) for shell in shells)
        assert sum(searched) < 2.5 * wanted  # with the shell after the last, and the sites

    def test_images_are_counted_one_by_one(self):
        first, _, third, fourth = perovskite().shells(4)
        pairs, times = np.unique(first.pairs, axis=0, return_counts=True)
        assert len(first.pairs) == 8 * 6
        assert set(times) == {2}  # +x and −x lead to the same site
        assert len(pairs) == 8 * 3
        assert set(np.unique(third.pairs, axis=0, return_counts=True)[1]) == {8}
        assert (fourth.pairs[:, 0] == fourth.pairs[:, 1]).all()  # a site's own image

    def test_pairs_are_ordered_and_stand_both_ways(self):
        for shell in builders.spinel(("Mg", "Al"), "O", a=8.0).shells(3):
            forward = sorted(map(tuple, shell.pairs.tolist()))
            assert forward == sorted((j, i) for i, j in forward)
            assert shell.pairs.dtype == np.int64

    def test_spinel_cations_have_the_known_neighbours(self):
        lattice = builders.spinel(("Mg", "Al"), "O", a=8.0)
        octahedral, mixed, tetrahedral = lattice.shells(3)
        assert octahedral.distance == pytest.approx(8 / math.sqrt(8))
        assert mixed.distance == pytest.approx(8 * math.sqrt(11) / 8)
        assert tetrahedral.distance == pytest.approx(8 * math.sqrt(3) / 4)
        kinds = [lattice.classes[s.pairs].tolist() for s in (octahedral, mixed, tetrahedral)]
        assert len(kinds[0]) == 16 * 6
        assert all(pair == [1, 1] for pair in kinds[0])
        assert len(kinds[1]) == 8 * 12 + 16 * 6
        assert all(sum(pair) == 1 for pair in kinds[1])
        assert len(kinds[2]) == 8 * 4
        assert all(pair == [0, 0] for pair in kinds[2])

    def test_two_sublattices_are_joined_from_the_first_to_the_second(self):
        lattice = zirconia()
        (bond,) = lattice.shells(1, "cation", "anion")
        assert bond.distance == pytest.approx(5.15 * math.sqrt(3) / 4)
        assert bond.multiplicity == 8
        assert (bond.pairs[:, 0] < 4).all()
        assert (bond.pairs[:, 1] >= 4).all()
        assert lattice.shells(1, "anion", "cation")[0].multiplicity == 4

    @given(lattices(), st.integers(1, 5))
    @settings(max_examples=30, deadline=None)
    def test_shells_agree_with_a_neighbour_list_in_skewed_cells(self, lattice, n_shells):
        shells = lattice.shells(n_shells, "A")
        atoms = lattice.atoms[list(lattice.sublattices["A"].sites)]
        reach = shells[-1].distance + 1e-3
        i, j = neighbor_list("ij", atoms, reach)
        found = np.concatenate([shell.pairs for shell in shells])
        assert sorted(map(tuple, found.tolist())) == sorted(
            zip(i.tolist(), j.tolist(), strict=True)
        )
        assert [s.distance for s in shells] == sorted(s.distance for s in shells)


class TestStorage:
    @given(lattices())
    @settings(max_examples=30, deadline=None)
    def test_a_stored_lattice_comes_back_exactly(self, lattice):
        back = Lattice.from_dict(json.loads(json.dumps(lattice.to_dict())))
        assert back == lattice
        assert hash(back) == hash(lattice)
        assert back.fingerprint() == lattice.fingerprint()
        assert (back.atoms.positions == lattice.atoms.positions).all()
        assert (back.atoms.cell.array == lattice.atoms.cell.array).all()
        assert back.sublattices == lattice.sublattices

    def test_everything_optional_is_stored_too(self):
        lattice = Lattice(
            perovskite((2, 1, 1)).atoms,
            {"B": Sublattice("Sc", ("Sc", "Ta"), (3, 5))},
            {"Pb": 2, "O": -2},
            composition={"B": {"Sc": 1 / 3, "Ta": 2 / 3}},
        )
        for back in (
            Lattice.from_dict(lattice.to_dict()),
            pickle.loads(pickle.dumps(lattice)),  # noqa: S301
            copy.deepcopy(lattice),
        ):
            assert back == lattice
            assert back.composition == {"B": {"Sc": 1 / 3, "Ta": 2 / 3}}
            assert back.spectator_charge == -8

    def test_different_lattices_differ(self):
        reference = perovskite()
        others = [
            builders.perovskite("Pb", ("Ta", "Sc"), "O", a=4.0, size=2),
            builders.perovskite("Pb", ("Sc", "Ta"), "O", a=np.nextafter(4.0, 5), size=2),
            perovskite(charges={"Sc": 3, "Ta": 5}),
            Lattice(reference.atoms, {"b": reference.sublattices["B"]}),
            Lattice(reference.atoms, reference.sublattices, composition=HALF),
        ]
        assert len({lattice.fingerprint() for lattice in [reference, *others]}) == 6
        assert reference == perovskite()
        assert reference != "a lattice"

    def test_symbols_and_indices_for_the_same_sites_are_equal(self):
        atoms = perovskite().atoms
        indices = np.flatnonzero(atoms.symbols == "Sc")[::-1]
        one = Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))})
        assert one == Lattice(atoms, {"B": Sublattice(indices, ["Sc", "Ta"])})

    def test_the_order_of_sublattices_survives_sorted_keys(self):
        lattice = builders.perovskite(("Pb", "Ba"), ("Sc", "Ta"), "O", a=4)
        swapped = Lattice(
            lattice.atoms, {name: lattice.sublattices[name] for name in reversed(lattice.names)}
        )
        text = json.dumps(swapped.to_dict(), sort_keys=True)
        assert Lattice.from_dict(json.loads(text)).names == ("B", "A")
        assert swapped != lattice


def test_atoms_across_a_boundary_do_not_overlap_by_mistake():
    for shift in itertools.product([-1e-12, 0, 1e-12], repeat=3):
        atoms = perovskite().atoms.copy()
        atoms.positions += shift
        lattice = Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))})
        assert [s.multiplicity for s in lattice.shells(3)] == [6, 12, 8]
        assert lattice.from_atoms(perovskite().to_atoms([0] * 8)).tolist() == [0] * 8
