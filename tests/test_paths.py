"""Paths: ends, slopes and forces against differences, what moves along them, and what is counted.

No statistics: every comparison is to rounding or to the error of a finite difference.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import units

from alchemc import (
    AlchemicalMACE,
    Canonical,
    GibbsWithGradients,
    Lattice,
    PairHamiltonian,
    RandomSwap,
    Sublattice,
    builders,
    sampler,
)
from alchemc.ensembles import AlchemicalPath, Groups, MixturePath
from alchemc.ensembles.alchemical.paths import unmoved
from alchemc.ensembles.dynamics.crystal import Structures
from alchemc.ensembles.dynamics.hmc import kinetic_energy
from alchemc.errors import InputError
from exact_positions import CRYSTAL, LATTICE, OCCUPATION, STIFF, TEMPERATURE
from path_cases import DenseHamiltonian, MixingCrystal, free_energy, lattice_case, stiffening
from toy_crystal import ToyCrystal
from toys import chain_lattice


def displaced(model, n, seed=0, width=0.05):
    shape = (n, *model.positions.shape)
    positions = model.positions + width * np.random.default_rng(seed).normal(size=shape)
    return positions, np.repeat(model.cell[None], n, axis=0)


def at_places(occupations, places):
    return Structures(occupations, *places, np.full(len(occupations), np.nan))


@pytest.fixture(scope="module")
def mace():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 1, 1))
    return AlchemicalMACE(lattice, "bundled", device="cpu")


# ---- energies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mixing", ["sites", "energies"])
def test_a_path_begins_and_ends_in_the_energies_of_its_species(mixing):
    case = lattice_case("two sublattices", mixing)
    path, model = case.path, case.path.hamiltonian
    structures = unmoved(case.states)
    for s, states in zip((0.0, 1.0), ([0, 2], [1, 0]), strict=True):
        held = path.groups.occupations(np.array(states), case.states)
        np.testing.assert_allclose(path.energy(s, structures), model.energy(held), atol=1e-12)


@pytest.mark.parametrize("mixing", ["sites", "energies"])
def test_slopes_are_derivatives_and_energies_at_all_couplings_those_at_each(mixing):
    case, s, h = lattice_case("three species", mixing), 0.3, 1e-5
    structures = unmoved(case.states)
    low, high = case.path.energies(np.array([s - h, s + h]), structures).T
    np.testing.assert_allclose(case.path.slope(s, structures), (high - low) / (2 * h), rtol=1e-7)
    np.testing.assert_array_equal(low, case.path.energy(s - h, structures))
    for end, sign in ((0.0, 1.0), (1.0, -1.0)):
        near = case.path.energy(end + sign * h, structures)
        slope = sign * (near - case.path.energy(end, structures)) / h
        np.testing.assert_allclose(case.path.slope(end, structures), slope, rtol=1e-3)


def test_a_mixture_is_a_straight_line_and_has_no_use_for_what_has_no_weight():
    path, _ = stiffening(True)
    structures = at_places(np.repeat(OCCUPATION, 3, axis=0), displaced(CRYSTAL, 3))
    first, last = (model.forces_at(*structures[:3])[0] for model in (path.initial, path.final))
    found = path.energies(np.array([0.0, 0.25, 1.0]), structures)
    np.testing.assert_allclose(found, np.stack([first, 0.75 * first + 0.25 * last, last], axis=1))

    class Nothing:
        lattice = LATTICE

        def energy(self, occupations):
            return np.full(len(occupations), np.inf)

    wall, states = MixturePath(CRYSTAL, Nothing()), np.repeat(OCCUPATION, 2, axis=0)
    np.testing.assert_array_equal(wall.energy(0.0, unmoved(states)), CRYSTAL.energy(states))
    assert np.isposinf(wall.energy(0.5, unmoved(states))).all()
    assert np.isposinf(wall.slope(0.0, unmoved(states))).all()


def test_forces_along_a_path_are_derivatives_and_keep_the_energy_to_second_order():
    path, _ = stiffening(False)
    mixing = MixingCrystal(LATTICE, STIFF)
    between = AlchemicalPath(mixing, Groups.of(LATTICE, {"a": [1, 3]}), "Sc", "Ta")
    check_forces(path, OCCUPATION, CRYSTAL, 0.4, 1e-7)
    check_forces(between, between.prepared(OCCUPATION), mixing, 0.4, 1e-7)
    crystal = path.crystal(0.6, TEMPERATURE, fix_centre=False)
    masses = crystal.masses(OCCUPATION, "equal")
    rng = np.random.default_rng(3)
    begun = crystal.draw_velocities(masses, [rng])

    def drift(step, n):
        positions, cells = displaced(CRYSTAL, 1, seed=1)
        velocities, dt = begun.copy(), step * units.fs
        energy, forces = crystal.evaluate(OCCUPATION, positions, cells)
        start = energy + kinetic_energy(velocities, masses)
        for _ in range(n):
            velocities = velocities + 0.5 * dt * forces / masses[:, :, None]
            positions = positions + dt * velocities
            energy, forces = crystal.evaluate(OCCUPATION, positions, cells)
            velocities = velocities + 0.5 * dt * forces / masses[:, :, None]
        return float((energy + kinetic_energy(velocities, masses) - start)[0])

    coarse, fine = drift(4.0, 50), drift(2.0, 100)
    assert abs(fine) < 2e-3
    assert coarse / fine == pytest.approx(4.0, rel=0.15)


def check_forces(path, occupation, model, s, tolerance):
    places = displaced(model, 1)
    crystal = path.crystal(s, TEMPERATURE, fix_centre=False)
    _, forces = crystal.evaluate(occupation, *places)
    step = 1e-4 * np.random.default_rng(2).normal(size=places[0].shape)
    ends = [
        path.energy(s, at_places(occupation, (places[0] + sign * step, places[1])))
        for sign in (1.0, -1.0)
    ]
    slope = -2.0 * (forces * step).sum()
    np.testing.assert_allclose(ends[0] - ends[1], slope, atol=tolerance)


def test_the_bundled_model_mixes_species_along_a_path_with_forces_and_slopes(mace):
    path = AlchemicalPath(mace, Groups.of(mace.lattice, {"one": [0]}), "Sc", "Ta")
    occupation, h = path.prepared(np.array([[1, 0]])), 1e-4
    places = displaced(mace, 1)
    check_forces(path, occupation, mace, 0.4, 1e-7)
    structures = at_places(occupation, places)
    low, high = path.energies(np.array([0.4 - h, 0.4 + h]), structures)[0]
    assert path.slope(0.4, structures)[0] == pytest.approx((high - low) / (2 * h), rel=1e-5)
    for s, held in ((0.0, [0, 0]), (1.0, [1, 0])):
        energy, forces, _ = mace.forces_at(np.array([held]), *places)
        near = path.crystal(abs(s - 1e-9), TEMPERATURE).evaluate(occupation, *places)
        assert path.energy(s, structures)[0] == pytest.approx(energy[0], abs=1e-9)
        assert near[0][0] == pytest.approx(energy[0], abs=1e-7)
        np.testing.assert_allclose(near[1], forces, atol=1e-6)


def test_both_rules_of_mixing_join_the_same_pure_crystals_by_different_ways(mace):
    groups = Groups.whole(mace.lattice)
    own, paper = (AlchemicalPath(mace, groups, "Sc", "Ta", rule) for rule in ("sites", "paper"))
    structures = unmoved(own.prepared(np.array([[0, 1]])))
    pure = mace.energy(np.array([[0, 0], [1, 1]]))
    for path in (own, paper):
        np.testing.assert_allclose(path.energies(np.array([0.0, 1.0]), structures)[0], pure)
        beside = path.energies(np.array([1e-9, 1.0 - 1e-9]), structures)[0]
        np.testing.assert_allclose(beside, pure, atol=1e-6)
    assert abs(own.energy(0.5, structures) - paper.energy(0.5, structures))[0] > 1e-3


# ---- what moves along a path -------------------------------------------------------------------


def test_sites_in_groups_are_spectators_of_what_moves():
    lattice = chain_lattice((("Sr", "La"), 4), (("Al", "Sc", "X"), 4))
    model = DenseHamiltonian(lattice, seed=2)
    groups = Groups.of(lattice, {"a": [1], "b": [4, 6]})
    path = AlchemicalPath(model, groups, {"b": "Sc", "a": "Sr"}, ["La", "X"], "energies")
    assert path.label == "a: Sr → La, b: Sc → X"
    assert [len(s.sites) for s in path.movable.sublattices.values()] == [3, 2]
    assert path.movable_sites.tolist() == [0, 2, 3, 5, 7]
    moving = np.array([[1, 0, 1, 2, 0]], dtype=np.int8)
    full = path.extended(moving)
    assert full.tolist() == [[1, 0, 0, 1, 1, 2, 1, 0]]
    there = path.movable.to_atoms(moving[0])
    np.testing.assert_array_equal(there.numbers, lattice.to_atoms(full[0]).numbers)
    assert path.model(0.3).energy(moving) == pytest.approx(path.energy(0.3, unmoved(full)))
    assert path.prepared(np.zeros(8, dtype=int)).tolist() == [[0, 0, 0, 0, 1, 0, 1, 0]]


def test_whole_sublattices_leave_the_others_to_move_and_all_of_them_nothing():
    lattice = chain_lattice((("Sr", "La"), 3), (("Al", "Sc"), 3))
    model = DenseHamiltonian(lattice, seed=2)
    path = AlchemicalPath(model, Groups.whole(lattice, "s0"), "Sr", "La")
    assert path.movable.names == ("s1",)
    both = Groups.of(lattice, {"a": range(3), "b": range(3, 6)})
    with pytest.raises(InputError, match="leave the kernel out"):
        AlchemicalPath(model, both, ["Sr", "Al"], ["La", "Sc"]).movable  # noqa: B018


@pytest.mark.parametrize("mixing", ["sites", "energies"])
@pytest.mark.parametrize("s", [0.0, 0.35, 1.0])
def test_gradients_of_what_moves_are_derivatives_and_kernels_run_on_them(mixing, s):
    case = lattice_case("two sublattices", mixing)
    model = case.path.model(s)
    moving = case.states[:4, case.path.movable_sites]
    energy, gradient = model.energy_and_gradient(moving)
    np.testing.assert_allclose(energy, model.energy(moving), atol=1e-12)
    lattice = case.path.movable
    assert gradient.shape == (4, lattice.n_sites, lattice.n_species_max)
    swapped = moving.copy()
    swapped[:, [0, 2]] = moving[:, [2, 0]]
    changes = model.energy_change(moving, np.array([[0, 2]] * 4), moving[:, [2, 0]])
    np.testing.assert_allclose(changes, model.energy(swapped) - energy, atol=1e-12)
    kernel = GibbsWithGradients(model, Canonical(lattice, case.temperature))
    state = kernel.init(moving, sampler.spawn_generators(1, 4))
    np.testing.assert_array_equal(state.gradient, gradient)
    np.testing.assert_allclose(
        (gradient[0] * (way := direction(case, 0))[case.path.movable_sites]).sum(),
        slope_along(case, s, mixing, way),
        rtol=1e-6,
    )


def direction(case, seed):
    """Change of λ of the sites that move."""
    way = np.zeros(case.path.lattice.allowed.shape)
    sites = case.path.movable_sites
    way[sites] = np.random.default_rng(seed).normal(size=(len(sites), way.shape[1]))
    return way * case.path.lattice.allowed


def slope_along(case, s, mixing, way, h=1e-5):
    """The same derivative by differences of energies between species, of the first state."""
    groups, model = case.path.groups, case.path.hamiltonian
    first, last = (groups.vertices(one) for one in case.path._states)

    def energy(change):
        if mixing == "sites":
            lam = groups.lam((1.0 - s) * first + s * last, case.states[0]) + change
            return model.mixed_energy(lam).energy
        ends = [
            model.mixed_energy(groups.lam(one, case.states[0]) + change).energy
            for one in (first, last)
        ]
        return (1.0 - s) * ends[0] + s * ends[1]

    return (energy(h * way) - energy(-h * way)) / (2.0 * h)


def test_the_gradient_between_species_is_that_of_the_bundled_model(mace):
    path = AlchemicalPath(mace, Groups.of(mace.lattice, {"one": [0]}), "Sc", "Ta")
    energy, gradient = path.model(0.5).energy_and_gradient(np.array([[1]]))
    mixed = mace.mixed_energy(np.array([[0.5, 0.5], [0.0, 1.0]]), forces=False, stress=False)
    assert energy[0] == pytest.approx(mixed.energy, abs=1e-9)
    np.testing.assert_allclose(gradient[0], mixed.gradient[1:], atol=1e-9)


def test_one_site_among_equals_gives_the_change_of_composition():
    """F(n_A − 1, n_B + 1) − F(n_A, n_B) = ΔF − k_BT ln(n_A/(n_B + 1)) where sites are alike."""
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    model = PairHamiltonian(lattice, [np.array([[0.0, -0.02], [-0.02, 0.01]])])
    kT = units.kB * TEMPERATURE
    states = np.array(list(itertools.product((0, 1), repeat=8)), dtype=np.int8)
    before, after = (
        free_energy(model.energy(states[states.sum(axis=1) == n]), TEMPERATURE) for n in (3, 4)
    )
    path = AlchemicalPath(model, Groups.of(lattice, {"one": [5]}), "Ti", "Zr", "energies")
    others = states[(states[:, 5] == 0) & (states.sum(axis=1) == 3)]
    ends = path.energies(np.array([0.0, 1.0]), unmoved(others)).T
    change = free_energy(ends[1], TEMPERATURE) - free_energy(ends[0], TEMPERATURE)
    assert after - before == pytest.approx(change - kT * np.log(5 / 4), abs=1e-12)


# ---- calls and views ---------------------------------------------------------------------------


def test_evaluations_are_counted_once_each_and_in_one_place_for_all_views():
    path, _ = stiffening(True)
    places = displaced(CRYSTAL, 3)
    structures = at_places(np.repeat(OCCUPATION, 3, axis=0), places)
    crystal = path.crystal(0.5, TEMPERATURE)
    crystal.evaluate(*structures[:3])
    assert path.calls == 6
    path.energies(np.linspace(0.0, 1.0, 11), structures)  # of the same two energies
    path.slope(0.2, structures)
    assert path.calls == 6
    moved = structures._replace(positions=places[0] + np.array([0.0, 1e-3, 0.0])[:, None, None])
    found = path.energy(0.5, moved)
    assert path.calls == 8  # one of three replicas has moved
    fresh = MixturePath(path.initial, path.final).energy(0.5, moved)
    np.testing.assert_array_equal(found, fresh)
    view = path.at(places[0][0], places[1][0])
    view.energy(0.0, unmoved(OCCUPATION))
    assert path.calls == 9
    assert view.energy(0.5, unmoved(OCCUPATION))[0] == pytest.approx(
        path.energy(0.5, structures)[0], abs=1e-12
    )


def test_mixed_species_cost_one_evaluation_and_ends_are_plain_ones(mace):
    path = AlchemicalPath(mace, Groups.of(mace.lattice, {"one": [0]}), "Sc", "Ta")
    structures = at_places(path.prepared(np.array([[1, 0]])), displaced(mace, 1))
    path.crystal(0.5, 900.0).evaluate(*structures[:3])
    path.crystal(0.5, 900.0).evaluate(*structures[:3])
    assert path.calls == 1
    path.energies(np.array([0.0, 0.5, 1.0]), structures)
    assert path.calls == 4
    bound = path.at(structures.positions[0], structures.cells[0])
    assert bound.energy(0.5, unmoved(structures.occupations))[0] == pytest.approx(
        path.energy(0.5, structures)[0], abs=1e-9
    )
    assert path.calls == 5  # the last was known


# ---- input -------------------------------------------------------------------------------------

LINE = chain_lattice((("Sr", "La", "X"), 4))
DENSE = DenseHamiltonian(LINE, seed=1)
ONE = Groups.of(LINE, {"one": [0]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((DENSE, ONE, "Sr", "Sr"), "the same species"),
        ((DENSE, ONE, "Sr", "Ba"), "'Ba'; did you mean 'La'|'Ba'; use one of"),
        ((DENSE, ONE, {"two": "Sr"}, "La"), "did you mean 'one'"),
        ((DENSE, ONE, {}, "La"), "initial lacks the group 'one'"),
        ((DENSE, ONE, ["Sr", "Sr"], "La"), "one species for each of 1 groups"),
        ((DENSE, ONE, 3, "La"), "initial is 3"),
        ((DENSE, ONE, "Sr", "La", "sum"), "mixing is 'sum'"),
        ((DENSE, Groups.of(chain_lattice((("Sr", "La"), 4)), {"a": [0]}), "Sr", "La"), "lattice"),
    ],
)
def test_bad_assignments_are_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        AlchemicalPath(*arguments)
    assert "\n" not in str(error.value)


def test_groups_that_stay_vacant_and_models_without_mixed_energies_are_refused():
    two = Groups.of(LINE, {"one": [0], "two": [1]})
    with pytest.raises(InputError, match="'two' is vacant at both ends"):
        AlchemicalPath(DENSE, two, ["Sr", "X"], ["La", "X"])

    class Plain:
        lattice = LINE

    with pytest.raises(InputError, match="no mixed_energy"):
        AlchemicalPath(Plain(), ONE, "Sr", "La")
    AlchemicalPath(Plain(), ONE, "Sr", "La", "energies")


def test_places_off_the_path_and_positions_that_cannot_move_are_refused():
    path = AlchemicalPath(DENSE, ONE, "Sr", "La")
    with pytest.raises(InputError, match="give a place on the path"):
        path.energy(1.5, unmoved(np.zeros((1, 4), dtype=np.int8)))
    with pytest.raises(InputError, match="has no forces"):
        path.crystal(0.0, 900.0)
    with pytest.raises(InputError, match="no at"):
        path.at(np.zeros((4, 3)), np.eye(3))
    with pytest.raises(InputError, match="no at"):
        MixturePath(DENSE, DENSE).at(np.zeros((4, 3)), np.eye(3))
    with pytest.raises(InputError, match="different lattices"):
        MixturePath(DENSE, CRYSTAL)
    vacant = Lattice(LATTICE.atoms, {"s": Sublattice((0, 1, 2), ("Sc", "X"))})
    empties = AlchemicalPath(
        ToyCrystal(vacant, STIFF), Groups.of(vacant, {"a": [0]}), "Sc", "X", "energies"
    )
    with pytest.raises(InputError, match="a path to a harmonic ghost"):
        empties.crystal(0.0, 900.0)


def test_models_without_positions_do_not_follow_them():
    path = AlchemicalPath(DENSE, ONE, "Sr", "La", "energies")
    swaps = RandomSwap(path.model(0.0), Canonical(path.movable, 900.0))
    with pytest.raises(InputError, match=r"no at\(positions, cell\)"):
        swaps.hamiltonian.at(np.zeros((4, 3)), np.eye(3))
