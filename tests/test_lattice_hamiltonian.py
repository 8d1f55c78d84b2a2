"""Lattice Hamiltonians: energies, gradients and changes against sums written out by hand."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle

import numpy as np
import pytest
from ase import Atoms

from alchemc import (
    Canonical,
    Lattice,
    PairHamiltonian,
    RandomSwap,
    SemiGrandCanonical,
    Sublattice,
    builders,
    sample,
    sampler,
)
from alchemc.errors import InputError, ModelError
from alchemc.potentials import LatticeHamiltonian
from alchemc.potentials.interactions import Interaction
from alchemc.tiling import find_tiling, hermite, reduce_cells
from toys import any_occupations, couplings_between, pair_energies


def perovskite(*size, species=("Sc", "Ta")):
    return builders.perovskite("Pb", species, "O", a=4.0, size=size)


def in_any_order(lattice, seed):
    """The same crystal with its atoms shuffled, and moved by whole cells."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lattice.atoms))
    atoms = lattice.atoms[order]
    atoms.positions += rng.integers(-2, 3, size=(len(atoms), 3)) @ atoms.cell.array
    place = np.argsort(order)
    sublattices = {
        name: Sublattice(tuple(place[list(s.sites)].tolist()), s.species)
        for name, s in lattice.sublattices.items()
    }
    return Lattice(atoms, sublattices)


def hexagonal():
    atoms = Atoms(
        "Mg2", scaled_positions=[[0, 0, 0], [1 / 3, 2 / 3, 0.5]],
        cell=[[3.2, 0, 0], [-1.6, 1.6 * np.sqrt(3), 0], [0, 0, 5.2]], pbc=True,
    ).repeat((3, 2, 2))  # fmt: skip
    return Lattice(atoms, {"m": Sublattice("Mg", ("Mg", "Al", "Zn"))})


def sheared_fcc():
    from ase.build import bulk, make_supercell

    cell = make_supercell(bulk("Au", "fcc", a=4.0), [[3, 1, 0], [0, 2, 1], [-1, 0, 3]])
    return Lattice(cell, {"m": Sublattice("Au", ("Au", "Pd"))})


LATTICES = {
    "simple cubic": (perovskite(4, 3, 5), 4),
    "a cell of one site, all neighbours its own images": (perovskite(1, 1, 1), 5),
    "a cell of two sites": (perovskite(2, 1, 1), 6),
    "three species on a hexagonal close packing": (hexagonal(), 5),
    "face-centred cubic in a skewed cell": (sheared_fcc(), 3),
    "spinel, tetrahedral and octahedral sites": (builders.spinel(("Mg", "Al"), "O", a=8.08), 4),
    "vacancies beside two cations": (
        builders.fluorite(("Zr", "Y"), ("O", "X"), a=5.1, size=(2, 1, 1)),
        3,
    ),
    "atoms in any order on two sublattices": (
        in_any_order(
            builders.perovskite(("Sr", "La"), ("Al", "Sc", "Ta"), "O", a=4.0, size=(4, 3, 2)), 1
        ),
        4,
    ),
    "more than 64 neighbours": (perovskite(3, 3, 4), 7),
    "more than 64 neighbours of three species": (
        perovskite(3, 3, 4, species=("Al", "Sc", "Ta")),
        7,
    ),
    "more than 256 neighbours": (perovskite(5, 4, 4), 17),
    "a reference of no symmetry": (
        Lattice(
            Atoms("Sc5", np.random.default_rng(4).random((5, 3)) * 9, cell=[9] * 3, pbc=True),
            {"s": Sublattice("Sc", ("Sc", "Ta"))},
        ),
        6,
    ),
}


def pair_model(name, *, field=False, threads=1):
    lattice, n_shells = LATTICES[name]
    pairs = itertools.combinations_with_replacement(lattice.names, 2)
    couplings = {
        pair: couplings_between(lattice, *pair, n_shells, seed) for seed, pair in enumerate(pairs)
    }
    onsite = None
    if field:
        onsite = 0.1 * np.random.default_rng(9).normal(size=lattice.allowed.shape)
    return PairHamiltonian(lattice, couplings, onsite=onsite, constant=0.3, threads=threads), (
        couplings, onsite,
    )  # fmt: skip


@pytest.mark.parametrize("name", LATTICES)
def test_the_energy_of_pairs_is_the_sum_over_all_neighbours_and_images(name):
    hamiltonian, (couplings, onsite) = pair_model(name, field=True)
    lattice = hamiltonian.lattice
    occupations = any_occupations(lattice, 20, seed=2)
    expected = 0.3 + pair_energies(lattice, couplings, occupations)
    expected += onsite[np.arange(lattice.n_sites), occupations].sum(axis=1)
    energies = hamiltonian.energy(occupations)
    assert np.abs(energies - expected).max() < 1e-12 * lattice.n_sites
    assert np.ptp(expected) > 1e-3


def test_stars_of_many_neighbours_take_several_words():
    words = {name: pair_model(name)[0].tables.masks.shape[1] for name in LATTICES}
    assert words["simple cubic"] == 1
    assert words["more than 64 neighbours"] == 2
    assert words["more than 64 neighbours of three species"] == 2
    assert words["more than 256 neighbours"] >= 5


def random_moves(lattice, n_replicas, seed):
    """Some different sites each, −1 elsewhere, and species that they may hold."""
    rng = np.random.default_rng(seed)
    width = min(5, lattice.n_sites)
    sites = np.array([rng.permutation(lattice.n_sites)[:width] for _ in range(n_replicas)])
    sites[rng.random(sites.shape) < 0.3] = -1
    sizes = np.asarray(lattice.allowed).sum(axis=1)
    species = (rng.random(sites.shape) * sizes[sites]).astype(np.int64)
    return sites, np.where(sites < 0, -1, species)


def changed(occupations, sites, species):
    after = occupations.copy()
    for row, (where, what) in enumerate(zip(sites, species, strict=True)):
        after[row, where[where >= 0]] = what[where >= 0]
    return after


@pytest.mark.parametrize("name", LATTICES)
def test_a_change_of_energy_is_the_difference_of_energies(name):
    hamiltonian, _ = pair_model(name, field=True)
    lattice = hamiltonian.lattice
    occupations = any_occupations(lattice, 40, seed=3)
    sites, species = random_moves(lattice, 40, seed=4)
    after = changed(occupations, sites, species)
    difference = hamiltonian.energy(after) - hamiltonian.energy(occupations)
    given = occupations.copy()
    change = hamiltonian.energy_change(given, sites, species)
    np.testing.assert_allclose(change, difference, rtol=0, atol=1e-12 * lattice.n_sites)
    assert (given == occupations).all()
    assert np.abs(difference).max() > 1e-3


def flip_energies(hamiltonian, occupation):
    """Energy after each single flip less the energy, zero where a species is not allowed."""
    result = np.zeros(hamiltonian.lattice.allowed.shape)
    energy = hamiltonian.energy(occupation)
    for site, species in np.argwhere(hamiltonian.lattice.allowed):
        flipped = occupation.copy()
        flipped[site] = species
        result[site, species] = hamiltonian.energy(flipped) - energy
    return result


@pytest.mark.parametrize("name", [n for n in LATTICES if "256" not in n])
def test_the_gradient_gives_the_energy_of_every_flip(name):
    hamiltonian, _ = pair_model(name, field=True)
    allowed = np.asarray(hamiltonian.lattice.allowed)
    occupation = any_occupations(hamiltonian.lattice, 1, seed=5)[0]
    energy, gradient = hamiltonian.energy_and_gradient(occupation)
    assert energy == hamiltonian.energy(occupation)
    own = gradient[np.arange(len(occupation)), occupation]
    difference = np.where(allowed, gradient - own[:, None], 0.0)
    np.testing.assert_allclose(difference, flip_energies(hamiltonian, occupation), atol=1e-11)
    assert (gradient[~allowed] == 0).all()


def random_clusters(tiling, n_species, seed):
    """Random tables on random clusters of one to five sites, near ones and far ones."""
    rng = np.random.default_rng(seed)
    interactions = []
    for order in (1, 2, 2, 3, 3, 4, 5):
        kinds = rng.integers(len(n_species), size=order)
        cells = rng.integers(-2, 3, size=(order, 3))
        if len({(k, *c) for k, c in zip(kinds.tolist(), cells.tolist(), strict=True)}) < order:
            continue
        table = 0.02 * rng.normal(size=[n_species[k] for k in kinds])
        interactions.append(Interaction(tuple(kinds.tolist()), cells, table))
    return interactions


def written_out(tiling, interactions):
    """Sites and table of every cluster of the supercell."""
    cells = np.array(list(np.ndindex(*tiling.shape)))
    for interaction in interactions:
        places = cells[:, None] + interaction.cells
        for sites in tiling.sites_at(places, np.array(interaction.kinds)):
            yield sites, interaction.table


def many_body(lattice, seed, field=None):
    tiling = find_tiling(lattice)
    _, first = np.unique(tiling.kinds, return_index=True)
    n_species = np.asarray(lattice.allowed).sum(axis=1)[first].tolist()
    interactions = random_clusters(tiling, n_species, seed)
    return LatticeHamiltonian(lattice, tiling, interactions, constant=-1.5, field=field, threads=1)


MANY_BODY = {
    "two species": perovskite(3, 4, 3),
    "two species in a cell where clusters meet their images": perovskite(2, 2, 1),
    "three species in a cell where clusters meet their images": perovskite(
        2, 1, 2, species=("Al", "Sc", "Ta")
    ),
    "five species, more codes than a byte holds": perovskite(
        3, 3, 3, species=("Al", "Ga", "In", "Sc", "Ta")
    ),
    "two sublattices": builders.rocksalt(("Mg", "Ca", "Sr"), ("O", "S"), a=4.4, size=(2, 1, 1)),
    "spinel": builders.spinel(("Mg", "Al"), "O", a=8.08, size=(2, 1, 1)),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", MANY_BODY)
def test_clusters_of_any_order_count_as_written_out(name, seed):
    lattice = MANY_BODY[name]
    field = 0.02 * np.random.default_rng(seed).normal(size=lattice.allowed.shape)
    hamiltonian = many_body(lattice, seed, field)
    occupation = any_occupations(lattice, 1, seed)[0]
    energy = -1.5 + field[np.arange(len(occupation)), occupation].sum()
    gradient = np.where(lattice.allowed, field, 0.0)
    for sites, table in written_out(hamiltonian.tiling, hamiltonian.interactions):
        energy += table[tuple(occupation[sites])]
        for site in set(sites.tolist()):
            for species in range(len(lattice.species_of(site))):
                held = np.where(sites == site, species, occupation[sites])
                gradient[site, species] += table[tuple(held)]
    found, slopes = hamiltonian.energy_and_gradient(occupation)
    assert abs(found - energy) < 1e-12 * lattice.n_sites
    np.testing.assert_allclose(slopes, gradient, atol=1e-12)
    occupations = any_occupations(lattice, 20, seed + 50)
    sites, species = random_moves(lattice, 20, seed)
    difference = np.subtract(
        hamiltonian.energy(changed(occupations, sites, species)), hamiltonian.energy(occupations)
    )
    change = hamiltonian.energy_change(occupations, sites, species)
    np.testing.assert_allclose(change, difference, rtol=0, atol=1e-12 * lattice.n_sites)


def test_couplings_may_be_given_by_name():
    lattice, _ = LATTICES["atoms in any order on two sublattices"]
    by_name = PairHamiltonian(
        lattice,
        {("B", "B"): [{("Al", "Ta"): 0.2}], ("B", "A"): [{("Sc", "La"): -0.1}]},
        onsite={"A": {"La": 0.3}},
    )
    within, between = np.zeros((3, 3)), np.zeros((2, 3))
    within[0, 2] = within[2, 0] = 0.2
    between[1, 1] = -0.1
    by_array = PairHamiltonian(
        lattice,
        {("B", "B"): [within], ("A", "B"): [between]},
        onsite=np.where((lattice.sublattice_of_site == 0)[:, None], [0.0, 0.3, 0.0], 0.0),
    )
    occupations = any_occupations(lattice, 10, seed=1)
    np.testing.assert_allclose(by_name.energy(occupations), by_array.energy(occupations))


def test_no_couplings_give_no_energy():
    lattice = perovskite(2, 2, 2)
    free = PairHamiltonian(lattice, [])
    occupations = any_occupations(lattice, 3, seed=1)
    energy, gradient = free.energy_and_gradient(occupations)
    assert (energy == 0).all()
    assert (gradient == 0).all()


def test_couplings_that_cancel_are_no_defect():
    lattice = perovskite(3, 3, 3)
    tiling = find_tiling(lattice)
    table = np.random.default_rng(1).normal(size=(2, 2))
    pair = Interaction((0, 0), np.array([[0, 0, 0], [1, 0, 0]]), table)
    none = LatticeHamiltonian(lattice, tiling, [pair, Interaction((0, 0), pair.cells, -table)])
    sites, species = random_moves(lattice, 4, seed=1)
    assert (none.energy_change(any_occupations(lattice, 4, 1), sites, species) == 0).all()


def test_a_single_occupation_gives_a_single_energy():
    hamiltonian, _ = pair_model("simple cubic")
    occupations = any_occupations(hamiltonian.lattice, 3, seed=1)
    energy, gradient = hamiltonian.energy_and_gradient(occupations)
    assert hamiltonian.energy(occupations[1]) == energy[1]
    assert np.shape(hamiltonian.energy(occupations[1])) == ()
    assert gradient.shape == (3, hamiltonian.lattice.n_sites, 2)


def test_energies_do_not_depend_on_threads_or_on_the_batch():
    one, _ = pair_model("spinel, tetrahedral and octahedral sites", threads=1)
    three, _ = pair_model("spinel, tetrahedral and octahedral sites", threads=3)
    occupations = any_occupations(one.lattice, 11, seed=6)
    np.testing.assert_array_equal(one.energy(occupations), three.energy(occupations))
    single = np.concatenate([one.energy(o[None]) for o in occupations])
    np.testing.assert_array_equal(single, one.energy(occupations))
    for a, b in zip(
        one.energy_and_gradient(occupations), three.energy_and_gradient(occupations), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_hamiltonian_can_be_pickled_after_its_threads_started():
    hamiltonian, _ = pair_model("simple cubic", threads=2)
    occupations = any_occupations(hamiltonian.lattice, 3, seed=1)
    energies = hamiltonian.energy(occupations)
    again = pickle.loads(pickle.dumps(hamiltonian))  # noqa: S301
    np.testing.assert_array_equal(again.energy(occupations), energies)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own():
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=2)
    hamiltonian = PairHamiltonian(lattice, [np.array([[0.0, 1.0], [1.0, 0.0]])], threads=2)
    occupations = np.zeros((4, 8), dtype=np.int8)
    hamiltonian.energy(occupations)
    child = multiprocessing.get_context("fork").Process(
        target=hamiltonian.energy, args=(occupations,)
    )
    child.start()
    child.join(20)
    if child.is_alive():
        child.kill()
    assert child.exitcode == 0


def test_memory_per_site_does_not_grow_with_the_cell():
    small, large = (
        PairHamiltonian(perovskite(n, n, n), [np.eye(2), np.eye(2)]).bytes_per_site for n in (8, 16)
    )
    assert large < small < 40


# ---- how sites repeat ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n_kinds"),
    [
        ("simple cubic", 1),
        ("three species on a hexagonal close packing", 2),
        ("face-centred cubic in a skewed cell", 1),
        ("spinel, tetrahedral and octahedral sites", 6),
        ("vacancies beside two cations", 3),
        ("atoms in any order on two sublattices", 2),
        ("a reference of no symmetry", 5),
    ],
)
def test_the_smallest_cell_by_which_sites_repeat_is_found(name, n_kinds):
    lattice, _ = LATTICES[name]
    tiling = find_tiling(lattice)
    assert len(tiling.basis) == n_kinds
    assert np.prod(tiling.shape) * n_kinds == lattice.n_sites
    places = tiling.basis[tiling.kinds] + tiling.cells @ tiling.primitive
    apart = (lattice.atoms.positions[lattice.sites] - places) @ np.linalg.inv(lattice.atoms.cell)
    assert np.abs((apart - np.round(apart)) @ lattice.atoms.cell.array).max() < 1e-6
    np.testing.assert_array_equal(tiling.sites_at(tiling.cells, tiling.kinds), range(len(places)))


@pytest.mark.parametrize("seed", range(20))
def test_a_triangular_basis_spans_the_same_lattice(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-5, 6, size=(3, 3))
    while round(np.linalg.det(matrix)) == 0:
        matrix = rng.integers(-5, 6, size=(3, 3))
    box = hermite(matrix)
    assert (np.diag(box) > 0).all()
    assert (np.triu(box, 1) == 0).all()
    there = matrix @ np.linalg.inv(box)
    assert np.abs(there - np.round(there)).max() < 1e-9
    assert abs(abs(np.linalg.det(there)) - 1) < 1e-9
    cells = rng.integers(-30, 31, size=(50, 3))
    home = reduce_cells(cells, box)
    assert ((home >= 0) & (home < np.diag(box))).all()
    turns = (cells - home) @ np.linalg.inv(box)
    assert np.abs(turns - np.round(turns)).max() < 1e-9


# ---- running energies ------------------------------------------------------------------------


def swaps(hamiltonian, temperature=2000.0):
    return RandomSwap(hamiltonian, Canonical(hamiltonian.lattice, temperature))


def half_half(lattice, seed=1):
    return lattice.random({lattice.names[0]: {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(seed))


def test_the_running_energy_does_not_drift_in_a_million_steps():
    lattice = perovskite(4, 4, 4)
    hamiltonian = PairHamiltonian(
        lattice, couplings_between(lattice, "B", "B", 3, 5), constant=-1e4, threads=1
    )
    kernel = swaps(hamiltonian, 20_000.0)
    rngs = sampler.spawn_generators(1, 1)
    state = kernel.init(half_half(lattice)[None], rngs)
    state, block = sampler.draw_block(kernel, state, rngs, 2, 500_000)
    assert block["acceptance"].min() > 0.1
    assert state.energy != hamiltonian.energy(state.occupations)  # there is something to measure
    fresh, drift = sampler.rederive(kernel, state)
    assert 0 < drift < 1e-8
    np.testing.assert_array_equal(fresh.energy, hamiltonian.energy(state.occupations))


def test_a_running_energy_that_has_drifted_is_an_error():
    lattice = perovskite(4, 4, 4)
    hamiltonian = PairHamiltonian(lattice, couplings_between(lattice, "B", "B", 1, 5))
    start = half_half(lattice)[None]
    energy = hamiltonian.energy(start)
    _, drift = hamiltonian.rederived(start, energy + 0.9e-8 * 64)
    assert drift == pytest.approx(0.9e-8, rel=1e-3)
    for off in (1.1e-8 * 64, float("nan")):
        with pytest.raises(ModelError, match=r"drifted by .* eV per site.*unit") as error:
            hamiltonian.rederived(start, energy + off)
        assert "\n" not in str(error.value)


def test_sampling_stops_where_changes_and_energies_disagree():
    lattice = perovskite(4, 4, 4)
    hamiltonian = PairHamiltonian(lattice, couplings_between(lattice, "B", "B", 1, 5), threads=1)
    run = sample(swaps(hamiltonian), half_half(lattice), n_steps=6400, thin=64, warmup=64)
    assert 0 <= run.attrs["drift"] < 1e-12
    tables = hamiltonian.tables
    hamiltonian.tables = tables._replace(strengths=tables.strengths * (1 + 1e-5))
    with pytest.raises(ModelError, match="drifted"):
        sample(swaps(hamiltonian), half_half(lattice), n_steps=6400, thin=64)


# ---- bad input -------------------------------------------------------------------------------


def symmetric(value):
    return [np.array([[0.0, value], [value, 0.0]])]


BAD_COUPLINGS = {
    "shape": ([np.zeros((3, 3))], r"shell 0 .* have shape \(3, 3\); .*\(2, 2\)"),
    "one table in place of a list": (np.eye(2), r"shape \(2,\); give one row per species"),
    "asymmetric": ([np.array([[0, 1.0], [2.0, 0]])], r"not symmetric: Sc–Ta is 1.0 but Ta–Sc is 2"),
    "not a number": (symmetric(float("nan")), r"Sc–Ta is nan; give a finite number"),
    "infinite": (symmetric(float("inf")), r"Sc–Ta is inf; give a finite number"),
    "words": ([[["a", "b"], ["c", "d"]]], "give numbers in eV"),
    "none at all": (None, "couplings are None; give a list"),
    "unknown species": ([{("Sc", "Nb"): 0.1}], "no pair Sc–Nb; species are Sc, Ta"),
    "no pair": ([{"Sc": 0.1}], "'Sc' is no pair of species; give"),
    "a pair twice": (
        [{("Sc", "Ta"): 0.1, ("Ta", "Sc"): 0.2}],
        "Sc–Ta is 0.1 but Ta–Sc is 0.2; give the pair once",
    ),
    "a name for a number": ([{("Sc", "Ta"): "0.1"}], "Sc–Ta is '0.1'; give a finite number"),
    "unknown sublattice": ({("B", "C"): []}, r"\('B', 'C'\): give pairs of sublattices out of B"),
    "no pair of sublattices": ({"B": []}, "'B': give pairs of sublattices out of B"),
}


@pytest.mark.parametrize("name", BAD_COUPLINGS)
def test_bad_couplings_are_named_in_one_line(name):
    couplings, message = BAD_COUPLINGS[name]
    with pytest.raises(InputError, match=message) as error:
        PairHamiltonian(perovskite(2, 2, 2), couplings)
    assert "\n" not in str(error.value)


BAD_SITES = {
    "unknown sublattice": ({"onsite": {"A": {"Sc": 1.0}}}, "no sublattice 'A'; there are B"),
    "unknown species": ({"onsite": {"B": {"Nb": 1.0}}}, "no species 'Nb' on B; it holds Sc, Ta"),
    "not finite": ({"onsite": {"B": {"Sc": float("nan")}}}, "Sc on B is nan; give a finite"),
    "no species named": ({"onsite": {"B": 0.1}}, "energies of B are 0.1; give eV by species"),
    "shape": ({"onsite": np.zeros((3, 2))}, r"shape \(3, 2\); give .* \(8, 2\)"),
    "a site not finite": (
        {"onsite": np.where(np.arange(16).reshape(8, 2) == 5, np.inf, 0.0)},
        "species 1 on site 2 is inf; give finite energies",
    ),
    "words": ({"onsite": "much"}, "'much'; give numbers in eV"),
    "constant": ({"constant": float("nan")}, "constant is nan; give a finite energy"),
    "no threads": ({"threads": 0}, "threads is 0; give a whole number, 1 or more"),
    "half a thread": ({"threads": 1.5}, "threads is 1.5; give a whole number"),
}


@pytest.mark.parametrize("name", BAD_SITES)
def test_bad_energies_of_sites_and_settings_are_named_in_one_line(name):
    options, message = BAD_SITES[name]
    with pytest.raises(InputError, match=message) as error:
        PairHamiltonian(perovskite(2, 2, 2), [], **options)
    assert "\n" not in str(error.value)


def test_couplings_of_several_sublattices_need_their_names():
    lattice, _ = LATTICES["atoms in any order on two sublattices"]
    with pytest.raises(InputError, match=r"need the names of two sublattices.*give \{\('A', 'B'\)"):
        PairHamiltonian(lattice, [np.eye(2)])
    with pytest.raises(InputError, match=r"given twice; leave out \('B', 'A'\)"):
        PairHamiltonian(lattice, {("A", "B"): [], ("B", "A"): []})


BAD_MOVES = {
    "shapes differ": ([[0, 1]], [[0]], r"shape \(1, 2\) and species \(1, 1\); both must be"),
    "another number of replicas": ([[0], [1]], [[0], [1]], r"both must be \[1, m\]"),
    "site beyond the lattice": ([[8]], [[0]], "0…7, or be −1 for padding"),
    "site before the lattice": ([[-2]], [[0]], "0…7, or be −1 for padding"),
    "no species": ([[3]], [[-1]], "species -1 is not allowed on site 3; give .* Sc, Ta"),
    "species too high": ([[3]], [[2]], "species 2 is not allowed on site 3; give"),
    "species that would wrap around": ([[3]], [[257]], "species 257 is not allowed on site 3"),
    "fractions": ([[0.5]], [[1]], "sites are float64 .* give whole numbers"),
}


@pytest.mark.parametrize("name", BAD_MOVES)
def test_bad_moves_are_named_in_one_line(name):
    sites, species, message = BAD_MOVES[name]
    hamiltonian = PairHamiltonian(perovskite(2, 2, 2), [np.eye(2)])
    with pytest.raises(InputError, match=message) as error:
        hamiltonian.energy_change(np.zeros((1, 8), np.int8), np.array(sites), np.array(species))
    assert "\n" not in str(error.value)


def split(atoms, species_of_odd):
    """Two sublattices that are one site of the primitive cell, even and odd."""
    parity = np.round(atoms.get_scaled_positions() * 2).astype(int).sum(axis=1) % 2
    sites = [tuple(np.flatnonzero(parity == p).tolist()) for p in (0, 1)]
    return Lattice(
        atoms,
        {"even": Sublattice(sites[0], ("Sc", "Ta")), "odd": Sublattice(sites[1], species_of_odd)},
    )


def one_kind(lattice):
    """A pair model in a primitive cell that does not tell the two sublattices apart."""
    tiling = find_tiling(Lattice(lattice.atoms, {"s": Sublattice("Sc", ("Sc", "Ta"))}))
    table = np.array([[1.0, -1.0], [-1.0, 1.0]])
    pair = Interaction((0, 0), np.array([[0, 0, 0], [1, 0, 0]]), table)
    return LatticeHamiltonian(lattice, tiling, [pair])


@pytest.mark.parametrize("species", [("Ta", "Sc"), ("Sc", "Nb")])
def test_sites_of_one_kind_must_hold_the_same_species_in_the_same_order(species):
    atoms = Atoms("Sc", positions=[[0, 0, 0]], cell=[4] * 3, pbc=True).repeat(2)
    with pytest.raises(InputError, match=f"but hold Sc, Ta and {', '.join(species)}: give them"):
        one_kind(split(atoms, species))


def test_sites_of_one_kind_cannot_have_two_chemical_potentials():
    atoms = Atoms("Sc", positions=[[0, 0, 0]], cell=[4] * 3, pbc=True).repeat(2)
    hamiltonian = one_kind(split(atoms, ("Sc", "Ta")))
    lattice = hamiltonian.lattice
    ensemble = SemiGrandCanonical(lattice, 900.0, {"odd": {"Ta": 0.1}})
    kernel = sampler.RandomFlip(hamiltonian, ensemble)
    with pytest.raises(InputError, match="even and odd differ in their chemical potentials"):
        sample(kernel, np.zeros(8, int), n_steps=4, n_replicas=1)
