"""At occupations AlchemicalCHGNet is the stock model; between them its derivatives are right.

Stock means chgnet's own CHGNetCalculator in float32, and chgnet's own network evaluated in
float64. Between occupations an explicit graph, built by loops, is run through chgnet's layers.
"""

import dataclasses

import numpy as np
import pytest
import torch
from ase import Atoms

from alchemc import Lattice, Sublattice, builders
from alchemc.potentials import AlchemicalCHGNet, alchemical_chgnet
from alchemc.protocols import Hamiltonian
from chgnet_reference import (
    LATTICES,
    SMALL,
    atoms_of,
    double_precision,
    explicit_energy,
    hamiltonian_of,
    interior_point,
    lattice_of,
    some_occupations,
    stock_calculator,
)

pytest.importorskip("chgnet", reason="chgnet comes with the extras chgnet and train")


# ---- at occupations --------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["0.3.0", "r2scan"])
@pytest.mark.parametrize("name", LATTICES)
def test_at_an_occupation_everything_is_chgnets_calculator_to_its_rounding(name, model):
    hamiltonian = hamiltonian_of(name, "float32", model)
    occupations = some_occupations(hamiltonian.lattice, 2)
    energy = hamiltonian.energy(occupations)
    with_gradient, _ = hamiltonian.energy_and_gradient(occupations)
    with_forces, forces, stress = hamiltonian.energy_forces_stress(occupations)
    moments = hamiltonian.magnetic_moments(occupations)
    for r, occupation in enumerate(occupations):
        atoms, there = atoms_of(hamiltonian, occupation)
        atoms.calc = stock_calculator(model)
        for found in (energy[r], with_gradient[r], with_forces[r]):
            assert abs(found - atoms.get_potential_energy()) < 2e-6 * len(atoms)
        np.testing.assert_allclose(forces[r][there], atoms.get_forces(), atol=5e-4)
        np.testing.assert_allclose(stress[r], atoms.get_stress(voigt=False), atol=5e-6)
        np.testing.assert_allclose(moments[r][there], atoms.get_magnetic_moments(), atol=5e-5)
        assert not forces[r][~there].any()
        assert not moments[r][~there].any()


@pytest.mark.parametrize("name", LATTICES)
def test_in_float64_everything_is_the_stock_network_run_in_float64(name):
    hamiltonian = hamiltonian_of(name)
    occupation = some_occupations(hamiltonian.lattice, 1, seed=2)[0]
    atoms, there = atoms_of(hamiltonian, occupation)
    expected, expected_forces, expected_stress = double_precision(atoms)
    found, forces, stress = hamiltonian.energy_forces_stress(occupation)
    mixed = hamiltonian.mixed_energy(hamiltonian.lattice.weights(occupation))
    for value in (found, mixed.energy, hamiltonian.energy(occupation)):
        assert abs(value - expected) < 1e-10
    for values in (forces, mixed.forces):
        np.testing.assert_allclose(values[there], expected_forces, atol=1e-9)
    for values in (stress, mixed.stress):
        np.testing.assert_allclose(values, expected_stress, atol=1e-10)


def test_on_ideal_positions_with_straight_angles_all_is_finite_and_stock():
    lattice = lattice_of("rock salt")
    hamiltonian = AlchemicalCHGNet(lattice, device="cpu", dtype="float64")
    occupation = some_occupations(lattice, 1)[0]
    expected, expected_forces, _ = double_precision(lattice.to_atoms(occupation))
    found, forces, _ = hamiltonian.energy_forces_stress(occupation)
    assert abs(found - expected) < 1e-10
    np.testing.assert_allclose(forces, expected_forces, atol=1e-8)


def test_atoms_without_neighbours_and_bonds_without_angles_are_stock():
    sublattices = {"A": Sublattice("Mg", ("Mg", "Ca"))}
    for cell in ([20.0, 20.0, 20.0], [8.0, 5.0, 8.0]):  # no bond at all; bonds with images alone
        atoms = Atoms("MgO", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=cell, pbc=True)
        lattice = Lattice(atoms, sublattices)
        hamiltonian = AlchemicalCHGNet(lattice, device="cpu")
        for occupation in lattice.enumerate():
            atoms, calculator = lattice.to_atoms(occupation), stock_calculator()
            calculator.calculate(atoms, task="e")  # it has no forces where there is no bond
            assert abs(hamiltonian.energy(occupation) - calculator.results["energy"]) < 1e-5
            assert np.isfinite(hamiltonian.energy_and_gradient(occupation)[1]).all()
            assert np.abs(hamiltonian.energy_forces_stress(occupation)[1]).max() < 1e-3


def test_a_lattice_of_vacancies_alone_has_no_energy():
    lattice = builders.rocksalt(("Mg", "X"), ("O", "X"), a=4.2)
    hamiltonian = AlchemicalCHGNet(lattice, device="cpu")
    empty = np.ones(lattice.n_sites, dtype=np.int8)
    energy, gradient = hamiltonian.energy_and_gradient(empty)
    assert hamiltonian.energy(empty) == energy == 0.0
    assert np.isfinite(gradient).all()
    assert gradient[:, 0].all()  # what a lone atom would have
    assert not gradient[:, 1].any()
    energy, forces, stress = hamiltonian.energy_forces_stress(empty)
    assert energy == 0.0
    assert not forces.any()
    assert not stress.any()
    assert not hamiltonian.magnetic_moments(empty).any()


# ---- between occupations ---------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_energy_and_gradient_are_those_of_an_explicit_graph(name):
    hamiltonian = hamiltonian_of(name)
    lattice = hamiltonian.lattice
    for lam in (lattice.weights(some_occupations(lattice, 1)[0]), interior_point(lattice)):
        expected, gradient = explicit_energy(hamiltonian, lam)
        found = hamiltonian.mixed_energy(lam, forces=False, stress=False)
        assert abs(found.energy - expected) < 1e-9
        np.testing.assert_allclose(found.gradient, gradient, atol=1e-9)
    assert np.abs(gradient).max() > 0.1


@pytest.mark.parametrize("name", LATTICES)
def test_leaving_out_what_two_absent_nodes_share_changes_no_gradient(name):
    hamiltonian = hamiltonian_of(name)
    lattice, nodes = hamiltonian.lattice, hamiltonian._nodes
    occupation = some_occupations(lattice, 1, seed=5)[0]
    weights = nodes.weights(lattice.weights(occupation))
    energy, variable = hamiltonian._differentiable(weights, hamiltonian._basis())
    (slope,) = torch.autograd.grad(energy, variable)
    found, gradient = hamiltonian.energy_and_gradient(occupation)
    assert abs(found - energy.item()) < 1e-10
    full = nodes.spread(slope.numpy(), gradient.shape)
    np.testing.assert_allclose(gradient, full, atol=1e-10)
    sizes = [
        len(hamiltonian._graph(np.arange(len(weights)), absent).angle)
        for absent in (None, weights == 0.0)
    ]
    assert sizes[1] < sizes[0]


def finite_difference(hamiltonian, lam, entries, step=1e-4):
    def energy(entry, change):
        moved = lam.copy()
        moved[entry] += change
        return hamiltonian.mixed_energy(moved, forces=False, stress=False).energy

    found = []
    for entry in map(tuple, entries):
        near = (energy(entry, step) - energy(entry, -step)) / (2 * step)
        far = (energy(entry, 2 * step) - energy(entry, -2 * step)) / (4 * step)
        found.append((4 * near - far) / 3)
    return np.array(found)


@pytest.mark.parametrize("name", LATTICES)
def test_the_gradient_is_the_derivative_at_occupations_and_inside(name):
    hamiltonian = hamiltonian_of(name)
    lattice = hamiltonian.lattice
    entries = np.argwhere(lattice.allowed)[-3:]
    occupation = some_occupations(lattice, 1, seed=5)[0]
    _, gradient = hamiltonian.energy_and_gradient(occupation)
    expected = finite_difference(hamiltonian, lattice.weights(occupation), entries)
    np.testing.assert_allclose(gradient[tuple(entries.T)], expected, atol=1e-6)
    inside = interior_point(lattice)
    gradient = hamiltonian.mixed_energy(inside, forces=False, stress=False).gradient
    expected = finite_difference(hamiltonian, inside, entries)
    np.testing.assert_allclose(gradient[tuple(entries.T)], expected, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_the_hessian_product_is_the_derivative_of_the_gradient(name):
    hamiltonian = hamiltonian_of(name)
    lattice = hamiltonian.lattice
    occupation = some_occupations(lattice, 1)[0]
    direction = np.random.default_rng(0).normal(size=lattice.allowed.shape) * lattice.allowed

    def gradient(lam):
        return hamiltonian.mixed_energy(lam, forces=False, stress=False).gradient

    for lam in (lattice.weights(occupation), interior_point(lattice)):
        product = hamiltonian.hessian_product(lam, direction)
        step = 1e-5  # normalised features make E(λ) steep: its fourth derivatives are huge
        near = gradient(lam + step * direction) - gradient(lam - step * direction)
        far = gradient(lam + 2 * step * direction) - gradient(lam - 2 * step * direction)
        expected = (8 * near - far) / (12 * step)
        np.testing.assert_allclose(product, expected, atol=1e-6 * np.abs(product).max())


def test_forces_and_stress_inside_are_derivatives_of_the_energy():
    hamiltonian = hamiltonian_of("two sublattices")
    lam = interior_point(hamiltonian.lattice)
    found = hamiltonian.mixed_energy(lam)
    fast = hamiltonian.mixed_energy(lam, forces=False, stress=False)
    assert abs(found.energy - fast.energy) < 1e-10
    np.testing.assert_allclose(found.gradient, fast.gradient, atol=1e-10)
    positions, cell = hamiltonian.positions, hamiltonian.cell

    def energy(moved, strained=cell):
        view = hamiltonian.at(moved, strained)
        return view.mixed_energy(lam, forces=False, stress=False).energy

    step = 1e-4
    for atom, axis in [(0, 0), (4, 1), (7, 2)]:
        shift = np.zeros_like(positions)
        shift[atom, axis] = step
        expected = -(energy(positions + shift) - energy(positions - shift)) / (2 * step)
        assert found.forces[atom, axis] == pytest.approx(expected, abs=1e-5)
    for i, j in [(0, 0), (1, 2)]:
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = step if i == j else step / 2
        both = [
            energy(positions @ (np.eye(3) + s * strain), cell @ (np.eye(3) + s * strain))
            for s in (1, -1)
        ]
        expected = (both[0] - both[1]) / (2 * step) / abs(np.linalg.det(cell))
        assert found.stress[i, j] == pytest.approx(expected, abs=1e-6)


def test_an_energy_change_is_the_difference_of_stock_energies():
    hamiltonian = hamiltonian_of("perovskite")
    occupation = some_occupations(hamiltonian.lattice, 1)
    changed = occupation.copy()
    changed[0, 2] = 1 - changed[0, 2]
    change = hamiltonian.energy_change(occupation, np.array([[2, -1]]), changed[:, [2, 0]])
    energies = [double_precision(atoms_of(hamiltonian, o[0])[0])[0] for o in (occupation, changed)]
    assert abs(change[0] - (energies[1] - energies[0])) < 1e-9


# ---- what the tests above would notice -------------------------------------------------------


def test_weighing_a_bond_update_by_its_own_far_end_is_noticed(monkeypatch):
    hamiltonian = hamiltonian_of("two sublattices")
    lattice = hamiltonian.lattice
    expand = alchemical_chgnet.expand

    def wrong(geometry, atom, absent=None):
        graph = expand(geometry, atom, absent)
        ends = np.concatenate([graph.ends[1], graph.ends[0]])
        return dataclasses.replace(graph, far=ends[graph.receiving])

    monkeypatch.setattr(alchemical_chgnet, "expand", wrong)
    broken = hamiltonian.at(hamiltonian.positions)
    occupation = some_occupations(lattice, 1)[0]
    lam = lattice.weights(occupation)
    expected, _, _ = double_precision(atoms_of(hamiltonian, occupation)[0])
    everything, _ = broken._differentiable(broken._nodes.weights(lam), broken._basis())
    assert abs(everything.item() - expected) > 1e-3
    _, gradient = explicit_energy(hamiltonian, lam)
    assert np.abs(broken.energy_and_gradient(occupation)[1] - gradient).max() > 1e-3
    inside = interior_point(lattice)
    found = broken.mixed_energy(inside, forces=False, stress=False).energy
    assert abs(found - explicit_energy(hamiltonian, inside)[0]) > 1e-3
    assert abs(found - explicit_energy(hamiltonian, inside, far_end="own")[0]) < 1e-9


def test_two_species_of_one_site_are_never_joined_in_place():
    hamiltonian = hamiltonian_of("one cell, three species, vacancies")
    nodes, geometry = hamiltonian._nodes, hamiltonian._geometry
    graph = hamiltonian._graph(np.arange(len(nodes.atom)))
    same = nodes.atom[graph.centre] == nodes.atom[graph.neighbour]
    assert same.any()
    assert geometry.unit_shift[graph.weight_row[same]].any(axis=1).all()
    ends = np.concatenate([graph.ends[1], graph.ends[0]])
    angle = geometry.pairs[:, graph.angle]
    assert (angle[0] != angle[1]).all()
    assert (nodes.atom[ends[graph.receiving]] == nodes.atom[graph.far]).any()  # only images


# ---- a function of the occupation alone ------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_number_depends_on_batch_threads_or_history(dtype):
    lattice = lattice_of("perovskite")
    positions = lattice.displaced_positions(0.1, seed=4)
    hamiltonian = AlchemicalCHGNet(
        lattice, device="cpu", dtype=dtype, positions=positions, memory=0
    )
    occupations = some_occupations(lattice, 3)

    def numbers(model, given):
        energy, gradient = model.energy_and_gradient(given)
        return [model.energy(given), energy, gradient, *model.energy_forces_stress(given)]

    together = numbers(hamiltonian, occupations)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for r in (2, 0, 1):
                moved = hamiltonian.at(lattice.atoms.positions).at(positions)
                for model in (hamiltonian, moved):
                    alone = numbers(model, occupations[r : r + 1])
                    for one, all_of_them in zip(alone, together, strict=True):
                        np.testing.assert_array_equal(one[0], all_of_them[r])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_view_at_other_positions_leaves_the_model_as_it_was():
    hamiltonian = hamiltonian_of("rock salt", "float32")
    occupation = some_occupations(hamiltonian.lattice, 1)
    before = hamiltonian.energy(occupation)
    view = hamiltonian.at(hamiltonian.positions + 0.05, hamiltonian.cell * 1.01)
    assert abs(view.energy(occupation) - before) > 1e-3
    assert hamiltonian.energy(occupation) == before
    assert isinstance(hamiltonian, Hamiltonian)
    assert isinstance(view, Hamiltonian)
