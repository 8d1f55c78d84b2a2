"""Cluster expansions against icet itself: energies, cluster vectors, files and fits."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from icet import ClusterExpansion as IcetExpansion
from icet import ClusterSpace
from mchammer.calculators import ClusterExpansionCalculator

from alchemc import (
    Canonical,
    ClusterExpansion,
    Lattice,
    PairHamiltonian,
    RandomSwap,
    Sublattice,
    builders,
    sample,
)
from alchemc.campaign.export import export_run
from alchemc.errors import InputError
from toys import any_occupations

FCC = bulk("Au", "fcc", a=4.0)
ROCK_SALT = bulk("NaCl", "rocksalt", a=4.2)
PEROVSKITE = Atoms(
    "PbTiO3", cell=[4.0] * 3, pbc=True,
    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)  # fmt: skip
OXIDE = [["O"], ["O"], ["O"]]
SKEWED = [[3, 1, 0], [0, 2, 1], [-1, 0, 3]]


def spinel_primitive():
    from spglib import find_primitive

    atoms = builders.spinel(("Mg", "Al"), "O", a=8.08).atoms
    numbers = np.where(atoms.numbers == 8, 8, 12)
    found = find_primitive((atoms.cell.array, atoms.get_scaled_positions(), numbers))
    cell, positions, numbers = found
    return Atoms(numbers, cell=cell, scaled_positions=positions, pbc=True)


class Case(NamedTuple):
    primitive: Any
    cutoffs: list[float]
    symbols: Any
    supercell: Any


CASES = {
    "binary fcc in a skewed cell": Case(FCC, [6.1, 4.1, 3.0], ["Au", "Pd"], SKEWED),
    "ternary fcc in a skewed cell": Case(FCC, [5.0, 4.1], ["Pd", "Au", "Cu"], SKEWED),
    "fcc with vacancies": Case(FCC, [4.1, 3.0], ["Au", "Pd", "X"], SKEWED),
    "two sublattices of rock salt": Case(
        ROCK_SALT, [5.0, 3.5], [["Mg", "Ca", "Sr"], ["O", "S"]], SKEWED
    ),
    "perovskite, triplets and quadruplets": Case(
        PEROVSKITE, [9.0, 6.0, 5.7], [["Pb"], ["Sc", "Ta"], *OXIDE], np.diag([4, 3, 4])
    ),
    "perovskite, all three sublattices, vacant anions": Case(
        PEROVSKITE, [4.5, 4.1], [["Pb", "Sr"], ["Sc", "Ta", "W"], *[["O", "X"]] * 3],
        [[2, 0, 0], [0, 2, 1], [0, 0, 2]],
    ),
    "spinel": Case(spinel_primitive(), [5.8, 3.6], None, [[2, 0, 0], [0, 1, 0], [1, 0, 2]]),
    "a cell of two sites": Case(FCC, [8.0, 5.0, 4.1], ["Au", "Pd"], np.diag([2, 1, 1])),
    "a cell of one site": Case(FCC, [6.1, 4.1, 3.0], ["Au", "Cu", "Pd"], np.eye(3)),
    "a cell of two perovskite units": Case(
        PEROVSKITE, [9.0, 6.0], [["Pb"], ["Nb", "Sc", "Ta"], *OXIDE], np.diag([1, 2, 1])
    ),
    "more than 64 neighbours, two species": Case(FCC, [9.0, 4.1], ["Au", "Pd"], 4 * np.eye(3)),
    "more than 64 neighbours, three species": Case(FCC, [7.5, 4.1], ["Au", "Cu", "Pd"], SKEWED),
    "seven species, more codes than a byte holds": Case(
        FCC, [3.0, 3.0, 3.0], ["Ag", "Al", "Au", "Cu", "Ni", "Pd", "Pt"], 3 * np.eye(3)
    ),
}  # fmt: skip


@cache
def built(name):
    """Expansion with random parameters, its lattice, and the energy model."""
    case = CASES[name]
    symbols = case.symbols
    if symbols is None:
        symbols = [["Mg", "Al"] if z == 12 else ["O"] for z in case.primitive.numbers]
    space = ClusterSpace(case.primitive, case.cutoffs, symbols)
    ce = IcetExpansion(space, np.random.default_rng(7).normal(size=len(space)))
    lattice = lattice_of(ce, case.supercell)
    return ce, lattice, ClusterExpansion.from_icet(ce, lattice, threads=1)


def lattice_of(ce, supercell):
    space = ce.get_cluster_space_copy()
    atoms = make_supercell(space.primitive_structure, np.asarray(supercell, dtype=int))
    n = len(space.primitive_structure)
    allowed = [space.chemical_symbols[i % n] for i in range(len(atoms))]
    return Lattice.from_icet_species(atoms, allowed)


def icet_atoms(lattice, occupation):
    """The structure with vacancies as atoms X, which icet counts as a species."""
    atoms = lattice.atoms.copy()
    for site, index in enumerate(lattice.sites):
        atoms.symbols[index] = lattice.species_of(site)[occupation[site]]
    return atoms


@pytest.mark.parametrize("name", CASES)
def test_energies_are_those_of_icet(name):
    ce, lattice, expansion = built(name)
    occupations = any_occupations(lattice, 6, seed=3)
    structures = [icet_atoms(lattice, occupation) for occupation in occupations]
    energies = expansion.energy(occupations) / lattice.n_sites
    predicted = np.array([ce.predict(atoms) for atoms in structures])
    calculator = ClusterExpansionCalculator(lattice.atoms.copy(), ce, name="random parameters")
    calculated = np.array(
        [calculator.calculate_total(occupations=list(atoms.numbers)) for atoms in structures]
    )
    n_atoms = len(lattice.atoms)
    assert np.abs(energies - calculated / lattice.n_sites).max() < 1e-9
    assert np.abs(energies - predicted * n_atoms / lattice.n_sites).max() < 1e-9
    assert np.ptp(energies) > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_changes_and_gradients_are_those_of_the_energy(name):
    _, lattice, expansion = built(name)
    occupations = any_occupations(lattice, 12, seed=4)
    others = any_occupations(lattice, 12, seed=5)
    rng = np.random.default_rng(6)
    width = min(4, lattice.n_sites)
    sites = np.array([rng.permutation(lattice.n_sites)[:width] for _ in occupations])
    sites[1::2, 0] = -1
    species = np.where(sites < 0, -1, np.take_along_axis(others, sites, axis=1))
    after = occupations.copy()
    for row, (where, what) in enumerate(zip(sites, species, strict=True)):
        after[row, where[where >= 0]] = what[where >= 0]
    difference = expansion.energy(after) - expansion.energy(occupations)
    change = expansion.energy_change(occupations, sites, species)
    assert np.abs(change - difference).max() < 1e-11 * lattice.n_sites
    _, gradient = expansion.energy_and_gradient(occupations)
    held = np.take_along_axis(gradient, occupations[:, :, None].astype(int), axis=2)
    flips = np.take_along_axis(gradient - held, others[:, :, None].astype(int), axis=2)[:, :, 0]
    every = np.arange(lattice.n_sites)[:40]
    for row in range(2):
        single = expansion.energy_change(
            np.tile(occupations[row], (len(every), 1)), every[:, None], others[row, every, None]
        )
        assert np.abs(single - flips[row, every]).max() < 1e-11 * lattice.n_sites


@pytest.mark.parametrize("name", CASES)
def test_cluster_vectors_are_those_of_icet(name):
    ce, lattice, expansion = built(name)
    occupations = any_occupations(lattice, 2, seed=8)
    space = ce.get_cluster_space_copy()
    expected = [space.get_cluster_vector(icet_atoms(lattice, o)) for o in occupations]
    vectors = expansion.cluster_vectors(occupations)
    np.testing.assert_array_equal(vectors, expected)
    np.testing.assert_array_equal(expansion.cluster_vectors(occupations[0]), expected[0])
    energies = expansion.scaling * vectors @ expansion.parameters
    np.testing.assert_allclose(expansion.energy(occupations), energies, atol=1e-9)


def test_the_cases_reach_both_sides_of_a_word():
    words = {name: built(name)[2].tables.masks.shape[1] for name in CASES}
    assert words["binary fcc in a skewed cell"] == 1
    assert words["more than 64 neighbours, two species"] == 4
    assert words["more than 64 neighbours, three species"] == 2
    codes = built("seven species, more codes than a byte holds")[2].tables.groups[:, 3]
    assert codes.max() == 7**3


def test_species_may_come_in_another_order_than_in_icet():
    ce, lattice, expansion = built("ternary fcc in a skewed cell")
    name = lattice.names[0]
    order = ("Cu", "Pd", "Au")
    turned = Lattice(lattice.atoms, {name: Sublattice(lattice.sublattices[name].sites, order)})
    occupations = any_occupations(lattice, 5, seed=1)
    index = np.array([order.index(s) for s in lattice.sublattices[name].species])
    again = ClusterExpansion.from_icet(ce, turned)
    np.testing.assert_allclose(again.energy(index[occupations]), expansion.energy(occupations))


def test_an_expansion_of_the_sites_alone_counts_its_own_atoms():
    sites = Atoms("Ti", positions=[[2.0, 2.0, 2.0]], cell=[4.0] * 3, pbc=True)
    space = ClusterSpace(sites, [6.0], ["Sc", "Ta"])
    ce = IcetExpansion(space, np.random.default_rng(2).normal(size=len(space)))
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(3, 3, 3))
    expansion = ClusterExpansion.from_icet(ce, lattice)
    occupation = any_occupations(lattice, 1, seed=1)[0]
    alone = icet_atoms(lattice, occupation)[lattice.sites]
    assert expansion.energy(occupation) == pytest.approx(27 * ce.predict(alone), abs=1e-12)
    np.testing.assert_allclose(
        expansion.cluster_vectors(occupation), space.get_cluster_vector(alone)
    )


def with_single_species():
    """A perovskite whose A and X sites are sublattices of one species each, atoms shuffled."""
    atoms = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(3, 2, 2)).atoms
    atoms = atoms[np.random.default_rng(4).permutation(len(atoms))]
    where = [tuple(np.flatnonzero(atoms.numbers == z).tolist()) for z in (82, 21, 8)]
    assert all(where)
    names, species = ("A", "B", "X"), (("Pb",), ("Sc", "Ta"), ("O",))
    sublattices = [Sublattice(w, s) for w, s in zip(where, species, strict=True)]
    return Lattice(atoms, dict(zip(names, sublattices, strict=True)))


@pytest.mark.parametrize("alone", [False, True])
def test_sublattices_of_one_species_may_stand_beside_those_of_the_expansion(alone):
    if alone:
        sites = Atoms("Ti", positions=[[2.0, 2.0, 2.0]], cell=[4.0] * 3, pbc=True)
        space = ClusterSpace(sites, [6.0, 5.0], ["Sc", "Ta"])
    else:
        space = ClusterSpace(PEROVSKITE, [6.0, 5.0], [["Pb"], ["Sc", "Ta"], *OXIDE])
    ce = IcetExpansion(space, np.random.default_rng(2).normal(size=len(space)))
    lattice = with_single_species()
    expansion = ClusterExpansion.from_icet(ce, lattice)
    occupations = any_occupations(lattice, 5, seed=1)
    for occupation, energy in zip(occupations, expansion.energy(occupations), strict=True):
        atoms = icet_atoms(lattice, occupation)
        if alone:
            atoms = atoms[np.isin(atoms.numbers, (21, 73))]
        assert energy == pytest.approx(len(atoms) * ce.predict(atoms), abs=1e-10)
        np.testing.assert_allclose(
            expansion.cluster_vectors(occupation), space.get_cluster_vector(atoms)
        )
    _, gradients = expansion.energy_and_gradient(occupations)
    single = lattice.allowed.sum(axis=1) == 1
    assert (gradients[:, single] == 0).all()
    assert gradients[:, ~single].any()


def one_species_on_a_mixed_site():
    atoms = own_perovskite().atoms
    return Lattice(atoms, {"B": Sublattice("Sc", ("Sc",)), "X": Sublattice("O", ("O", "X"))})


def one_species_displaced():
    lattice = with_single_species()
    atoms = lattice.atoms.copy()
    atoms.positions[lattice.sublattices["X"].sites[5]] += 0.1
    return Lattice(atoms, dict(lattice.sublattices))


def test_a_scaling_may_be_given():
    ce, lattice, expansion = built("binary fcc in a skewed cell")
    occupations = any_occupations(lattice, 3, seed=1)
    per_cell = ClusterExpansion.from_icet(ce, lattice, scaling=2.0)
    expected = expansion.energy(occupations) * 2 / len(lattice.atoms)
    np.testing.assert_allclose(per_cell.energy(occupations), expected)


# ---- files -----------------------------------------------------------------------------------


def test_a_file_of_icet_is_read_if_it_is_trusted(tmp_path):
    ce, lattice, expansion = built("ternary fcc in a skewed cell")
    path = tmp_path / "alloy.ce"
    ce.write(str(path))
    with pytest.raises(InputError, match=r"alloy\.ce may hold pickled parts.*trust=True") as error:
        ClusterExpansion.read(path, lattice)
    assert "\n" not in str(error.value)
    again = ClusterExpansion.read(path, lattice, trust=True, threads=1)
    occupations = any_occupations(lattice, 5, seed=1)
    np.testing.assert_allclose(
        again.energy(occupations), expansion.energy(occupations), rtol=0, atol=1e-9
    )
    assert again.threads == 1


def test_an_expansion_goes_back_to_icet_and_through_a_file(tmp_path):
    ce, lattice, expansion = built("spinel")
    back = expansion.to_icet()
    np.testing.assert_array_equal(back.parameters, ce.parameters)
    path = tmp_path / "spinel.ce"
    back.write(str(path))
    occupations = any_occupations(lattice, 2, seed=1)
    stored = IcetExpansion.read(str(path))
    for occupation, energy in zip(occupations, expansion.energy(occupations), strict=True):
        predicted = stored.predict(icet_atoms(lattice, occupation)) * len(lattice.atoms)
        assert abs(predicted - energy) < 1e-9 * lattice.n_sites


def test_a_run_is_written_as_a_data_container_of_icet(tmp_path):
    from mchammer import DataContainer

    ce, lattice, expansion = built("perovskite, triplets and quadruplets")
    start = lattice.random({lattice.names[0]: {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    kernel = RandomSwap(expansion, Canonical(lattice, 1e5))
    run = sample(kernel, start, n_steps=600, n_replicas=2, thin=200, seed=1)
    path = tmp_path / "run.dc"
    assert export_run(run, path, chain=1) == 3
    container = DataContainer.read(str(path))
    assert list(container.get("mctrial")) == [200, 400, 600]
    structures = container.get("trajectory")
    for atoms, potential in zip(structures, container.get("potential"), strict=True):
        assert abs(ce.predict(atoms) * len(atoms) - potential) < 1e-9 * lattice.n_sites


# ---- fits ------------------------------------------------------------------------------------


@cache
def data(n=30):
    _, lattice, expansion = built("ternary fcc in a skewed cell")
    occupations = any_occupations(lattice, n, seed=20)
    return (expansion, lattice, occupations, *expansion.energy_and_gradient(occupations))


def test_a_fit_to_energies_finds_the_expansion_they_came_from():
    expansion, lattice, occupations, energies, _ = data(60)
    fit = ClusterExpansion.fit(
        expansion.cluster_space, lattice, occupations, energies, alphas=[1e-12]
    )
    fresh = any_occupations(lattice, 20, seed=21)
    assert np.abs(fit.energy(fresh) - expansion.energy(fresh)).max() < 1e-5 * lattice.n_sites
    assert fit.report.energy_rmse < 1e-6
    assert fit.report.n_data == 60
    assert np.isnan(fit.report.gradient_rmse)


def test_a_fit_to_gradients_needs_few_configurations():
    expansion, lattice, occupations, energies, gradients = data()
    fit = ClusterExpansion.fit(
        expansion.cluster_space, lattice, occupations[:4], energies[:4], gradients[:4],
        alphas=[1e-12],
    )  # fmt: skip
    fresh = any_occupations(lattice, 20, seed=21)
    assert np.abs(fit.energy(fresh) - expansion.energy(fresh)).max() < 1e-5 * lattice.n_sites
    assert fit.report.gradient_rmse < 1e-6


def test_a_fit_takes_up_energies_of_single_sites():
    expansion, lattice, occupations, energies, gradients = data()
    field = 0.1 * np.random.default_rng(3).normal(size=lattice.allowed.shape)
    shifted = energies + field[np.arange(lattice.n_sites), occupations].sum(axis=1)
    arguments = (expansion.cluster_space, lattice, occupations, shifted, gradients + field)
    fit = ClusterExpansion.fit(*arguments, site_field=True, alphas=[1e-12])
    fresh = any_occupations(lattice, 20, seed=21)
    expected = expansion.energy(fresh) + field[np.arange(lattice.n_sites), fresh].sum(axis=1)
    assert np.abs(fit.energy(fresh) - expected).max() < 1e-5 * lattice.n_sites
    without = ClusterExpansion.fit(*arguments, alphas=[1e-12])
    assert np.abs(without.energy(fresh) - expected).max() > 1e-2
    with pytest.raises(InputError, match="no form in icet; fit it without site_field"):
        fit.to_icet()


def test_cross_validation_holds_noise_back():
    expansion, lattice, occupations, energies, _ = data(60)
    noisy = energies + 0.3 * np.random.default_rng(1).normal(size=len(energies))
    fit = ClusterExpansion.fit(expansion.cluster_space, lattice, occupations, noisy)
    loose = ClusterExpansion.fit(
        expansion.cluster_space, lattice, occupations, noisy, alphas=[1e-12]
    )
    assert fit.report.energy_rmse >= loose.report.energy_rmse
    assert fit.report.validation_rmse <= loose.report.validation_rmse
    assert fit.report.alpha > 1e-12


def test_fewer_configurations_than_folds_are_left_out_one_by_one():
    expansion, lattice, occupations, energies, _ = data()
    fit = ClusterExpansion.fit(expansion.cluster_space, lattice, occupations[:4], energies[:4])
    assert np.isfinite(fit.report.validation_rmse)
    whole = ClusterExpansion.fit(
        expansion.cluster_space, lattice, occupations[:4], energies[:4], folds=4
    )
    assert fit.report == pytest.approx(whole.report, nan_ok=True)
    none = ClusterExpansion.fit(
        expansion.cluster_space, lattice, occupations[:4], energies[:4], folds=1
    )
    assert np.isnan(none.report.validation_rmse)


BAD_SETTINGS = {
    "weight of zero": ({"gradient_weight": 0.0}, "gradient_weight is 0.0; give a finite number"),
    "weight that is none": ({"gradient_weight": np.nan}, "gradient_weight is nan"),
    "weight below zero": ({"gradient_weight": -1.0}, "gradient_weight is -1.0"),
    "penalty that is none": ({"alphas": [1e-3, np.nan]}, "alphas are .*give penalties"),
    "no penalties": ({"alphas": []}, r"alphas are \[\]; give penalties"),
    "half a fold": ({"folds": 2.5}, "folds is 2.5; give a whole number"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_settings_of_a_fit_are_named_in_one_line(name):
    expansion, lattice, *arrays = data()
    options, message = BAD_SETTINGS[name]
    with pytest.raises(InputError, match=message) as error:
        ClusterExpansion.fit(expansion.cluster_space, lattice, *arrays, **options)
    assert "\n" not in str(error.value)


BAD_DATA = {
    "one configuration": (lambda o, e, g: (o[:1], e[:1], None), "at least 2 configurations"),
    "energies of another number": (lambda o, e, g: (o, e[:-1], None), r"shape \(29,\)"),
    "an energy missing": (lambda o, e, g: (o, np.append(e[:-1], np.nan), None), "not finite"),
    "gradients of another shape": (lambda o, e, g: (o, e, g[:, :, :2]), r"shape \(30, 17, 2\)"),
    "a gradient missing": (lambda o, e, g: (o, e, g * np.nan), "gradients are not finite"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_of_a_fit_are_named_in_one_line(name):
    expansion, lattice, *arrays = data()
    change, message = BAD_DATA[name]
    with pytest.raises(InputError, match=message) as error:
        ClusterExpansion.fit(expansion.cluster_space, lattice, *change(*arrays))
    assert "\n" not in str(error.value)


def test_a_penalty_below_zero_is_refused():
    expansion, lattice, occupations, energies, _ = data()
    with pytest.raises(InputError, match=r"alphas are \[-1.0\]; give penalties of at least 0"):
        ClusterExpansion.fit(expansion.cluster_space, lattice, occupations, energies, alphas=[-1.0])


# ---- bad input -------------------------------------------------------------------------------


def perovskite_expansion():
    return built("perovskite, triplets and quadruplets")[0]


def own_perovskite(species=("Sc", "Ta"), a=4.0, size=(2, 2, 2), shift=0.0, rattle=0.0):
    lattice = builders.perovskite("Pb", species, "O", a=a, size=size)
    atoms = lattice.atoms.copy()
    atoms.positions += shift
    if rattle:
        atoms.rattle(rattle, seed=1)
    return Lattice(atoms, dict(lattice.sublattices))


def half_a_cell():
    atoms = own_perovskite(size=(2, 2, 1)).atoms.copy()
    atoms.set_cell(atoms.cell.array * [[1], [1], [1.25]])
    return Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))})


def with_a_site_left_out():
    lattice = own_perovskite()
    return Lattice(lattice.atoms, {"B": Sublattice(tuple(lattice.sites[1:]), ("Sc", "Ta"))})


BAD_LATTICES = {
    "another lattice constant": (
        lambda: own_perovskite(a=4.1),
        r"no whole number of the primitive cell \(a cell vector is off by 0.2 Å\): build",
    ),
    "a cell and a quarter": (half_a_cell, r"no whole number of the primitive cell.*off by 1 Å"),
    "another origin": (
        lambda: own_perovskite(shift=0.3),
        r"site 0 at \[2\.3, 2\.3, 2\.3\] Å lies 0\.52 Å from the nearest site.*same origin",
    ),
    "displaced atoms": (lambda: own_perovskite(rattle=0.05), "undisplaced positions for both"),
    "other species": (
        lambda: own_perovskite(species=("Sc", "Nb")),
        "holds Sc, Nb on the lattice but Sc, Ta in the cluster expansion: give both the same",
    ),
    "a species more": (
        lambda: own_perovskite(species=("Sc", "Ta", "Nb")),
        "holds Sc, Ta, Nb on the lattice but Sc, Ta in the cluster expansion",
    ),
    "a site left out": (with_a_site_left_out, "leaves out sites that the primitive cell has: give"),
    "one species on a mixed site": (
        one_species_on_a_mixed_site,
        r"lies 2 Å from the nearest site of the primitive cell",
    ),
    "only one species on all mixed sites": (
        lambda: Lattice(
            own_perovskite().atoms, {"B": Sublattice("Sc", ("Sc",)), "A": Sublattice("Pb", ("Pb",))}
        ),
        "holds Sc on the lattice but Sc, Ta in the cluster expansion",
    ),
    "a site of one species displaced": (one_species_displaced, "undisplaced positions for both"),
    "a sublattice more": (
        lambda: builders.perovskite(("Pb", "Sr"), ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2)),
        r"lies 3\.46 Å from the nearest site of the primitive cell",
    ),
}


@pytest.mark.parametrize("name", BAD_LATTICES)
def test_a_lattice_that_does_not_fit_the_expansion_is_refused_in_one_line(name):
    lattice, message = BAD_LATTICES[name]
    with pytest.raises(InputError, match=message) as error:
        ClusterExpansion.from_icet(perovskite_expansion(), lattice())
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no cluster expansion .*none\.ce; give the path"):
        ClusterExpansion.read(tmp_path / "none.ce", own_perovskite(), trust=True)


def test_a_file_that_is_no_expansion_is_named_in_one_line(tmp_path):
    path = tmp_path / "text.ce"
    path.write_text("not a\ncluster expansion\n")
    with pytest.raises(InputError, match=r"text\.ce is no cluster expansion of icet") as error:
        ClusterExpansion.read(path, own_perovskite(), trust=True)
    assert "\n" not in str(error.value)


def test_what_is_no_expansion_is_refused():
    with pytest.raises(InputError, match=r"'alloy.ce' is no icet.ClusterExpansion; give one"):
        ClusterExpansion.from_icet("alloy.ce", own_perovskite())


@pytest.mark.parametrize("scaling", [float("nan"), "5"])
def test_a_scaling_that_is_no_number_is_named(scaling):
    with pytest.raises(InputError, match=f"scaling is {scaling!r}; give a finite number"):
        ClusterExpansion.from_icet(perovskite_expansion(), own_perovskite(), scaling=scaling)


def test_cluster_vectors_need_the_spectators_of_the_expansion():
    whole = own_perovskite()
    sites_and_lead = whole.atoms[[n for n, z in enumerate(whole.atoms.numbers) if z != 8]]
    lattice = Lattice(sites_and_lead, {"B": Sublattice("Sc", ("Sc", "Ta"))})
    expansion = ClusterExpansion.from_icet(perovskite_expansion(), lattice)
    reference = ClusterExpansion.from_icet(perovskite_expansion(), whole)
    occupation = any_occupations(whole, 1, seed=1)
    np.testing.assert_allclose(expansion.energy(occupation), reference.energy(occupation))
    with pytest.raises(InputError, match=r"has 16 atoms but the expansion's structure 40"):
        expansion.cluster_vectors(occupation)


def test_a_pair_model_equals_the_expansion_of_its_own_energies():
    lattice = own_perovskite(size=(3, 3, 3))
    table = np.array([[0.0, -0.1], [-0.1, 0.05]])
    model = PairHamiltonian(lattice, [table], onsite={"B": {"Ta": 0.2}})
    space = ClusterSpace(PEROVSKITE, [4.1], [["Pb"], ["Sc", "Ta"], *OXIDE])
    occupations = any_occupations(lattice, 12, seed=2)
    fit = ClusterExpansion.fit(
        space, lattice, occupations, model.energy(occupations), alphas=[1e-13]
    )
    fresh = any_occupations(lattice, 12, seed=3)
    np.testing.assert_allclose(fit.energy(fresh), model.energy(fresh), atol=1e-7)
