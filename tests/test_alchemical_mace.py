"""At occupations AlchemicalMACE is the stock model; between them its derivatives are right.

Every family of mace-torch takes part, with random weights, in float64. Stock means mace-torch's
own MACECalculator.
"""

import dataclasses
import functools

import numpy as np
import pytest

from alchemc import Lattice, builders
from alchemc.potentials import AlchemicalMACE
from alchemc.potentials.graph import Expansion
from mace_families import FAMILIES, random_model, stock_calculator

TOLERANCE = 1e-8  # eV per cell


@pytest.fixture(autouse=True)
def without_content_hash(monkeypatch):
    """Naming a module by its content rebuilds it, which takes longer than most tests here."""
    monkeypatch.setattr("alchemc.potentials.storage.content_sha256", lambda model: "0" * 64)


@functools.cache
def lattice_of(name):
    if name == "one cell, three species, vacancy":  # every site sees its own images
        return builders.perovskite("Sr", ("Sc", "Ta", "X"), "O", a=4.0)
    if name == "two sublattices, oxygen vacancies":
        return builders.perovskite(("Sr", "Ca"), "Nb", ("O", "X"), a=4.1, size=(2, 1, 1))
    assert name == "two species, eight cells"
    return builders.perovskite("Sr", ("Sc", "Nb"), "O", a=4.0, size=(2, 2, 2))


LATTICES = (
    "one cell, three species, vacancy",
    "two sublattices, oxygen vacancies",
    "two species, eight cells",
)


@functools.cache
def hamiltonian_of(lattice_name, family):
    lattice = lattice_of(lattice_name)
    model = random_model(family)
    head = (getattr(model, "heads", None) or ["Default"])[0]
    positions = lattice.displaced_positions(0.08, seed=4)
    return AlchemicalMACE(lattice, model, device="cpu", head=head, positions=positions)


def some_occupations(lattice, n, seed=11):
    rng = np.random.default_rng(seed)
    counts = lattice.allowed.sum(axis=1)
    return rng.integers(0, counts, size=(n, lattice.n_sites)).astype(np.int8)


def stock(hamiltonian, occupation, family, head=None):
    """Energy, forces on the atoms that are there, their indices, and stress [3, 3]."""
    lattice = hamiltonian.lattice
    atoms = lattice.to_atoms(occupation, positions=hamiltonian.positions, cell=hamiltonian.cell)
    atoms.calc = stock_calculator(random_model(family), head=head)
    there = np.ones(len(lattice.atoms), dtype=bool)
    numbers = lattice.atomic_numbers[np.arange(lattice.n_sites), occupation]
    there[lattice.sites[numbers == 0]] = False
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    return atoms.get_potential_energy(), forces, there, stress


def interior_point(lattice, seed=3):
    lam = np.random.default_rng(seed).dirichlet(np.ones(lattice.n_species_max), lattice.n_sites)
    lam = np.where(lattice.allowed, lam, 0.0)
    return lam / lam.sum(axis=1, keepdims=True)


def finite_difference(hamiltonian, lam, step=1e-4, mixing="sites"):
    def energy(i, h):
        moved = lam.copy()
        moved[i] += h
        return hamiltonian.mixed_energy(moved, forces=False, stress=False, mixing=mixing).energy

    gradient = np.zeros_like(lam)
    for i in map(tuple, np.argwhere(hamiltonian.lattice.allowed)):
        near = (energy(i, step) - energy(i, -step)) / (2 * step)
        far = (energy(i, 2 * step) - energy(i, -2 * step)) / (4 * step)
        gradient[i] = (4 * near - far) / 3
    return gradient


@pytest.mark.parametrize("lattice_name", LATTICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_at_an_occupation_energy_forces_and_stress_are_the_stock_models(lattice_name, family):
    hamiltonian = hamiltonian_of(lattice_name, family)
    occupations = some_occupations(hamiltonian.lattice, 3)
    energy = hamiltonian.energy(occupations)
    with_gradient, _ = hamiltonian.energy_and_gradient(occupations)
    with_forces, forces, stress = hamiltonian.energy_forces_stress(occupations)
    for r, occupation in enumerate(occupations):
        mixed = hamiltonian.mixed_energy(hamiltonian.lattice.weights(occupation))
        expected, expected_forces, there, expected_stress = stock(hamiltonian, occupation, family)
        for found in (energy[r], with_gradient[r], with_forces[r], mixed.energy):
            assert abs(found - expected) < TOLERANCE
        for found in (forces[r], mixed.forces):
            np.testing.assert_allclose(found[there], expected_forces, atol=TOLERANCE)
        for found in (stress[r], mixed.stress):
            np.testing.assert_allclose(found, expected_stress, atol=TOLERANCE)
        assert not forces[r][~there].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_the_derivative_at_occupations_and_inside(family):
    hamiltonian = hamiltonian_of("two sublattices, oxygen vacancies", family)
    lattice = hamiltonian.lattice
    occupation = some_occupations(lattice, 1, seed=5)[0]
    _, gradient = hamiltonian.energy_and_gradient(occupation)
    expected = finite_difference(hamiltonian, lattice.weights(occupation))
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1
    inside = interior_point(lattice)
    fast = hamiltonian.mixed_energy(inside, forces=False, stress=False)
    full = hamiltonian.mixed_energy(inside)
    np.testing.assert_allclose(fast.gradient, finite_difference(hamiltonian, inside), atol=1e-5)
    np.testing.assert_allclose(full.gradient, fast.gradient, atol=1e-10)
    assert abs(full.energy - fast.energy) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_counts_a_sites_own_images(family):
    hamiltonian = hamiltonian_of("one cell, three species, vacancy", family)
    for occupation in hamiltonian.lattice.enumerate():
        _, gradient = hamiltonian.energy_and_gradient(occupation)
        expected = finite_difference(hamiltonian, hamiltonian.lattice.weights(occupation))
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_hessian_product_is_the_derivative_of_the_gradient(family):
    hamiltonian = hamiltonian_of("two sublattices, oxygen vacancies", family)
    lattice = hamiltonian.lattice
    occupation = some_occupations(lattice, 1)[0]
    direction = np.random.default_rng(0).normal(size=lattice.allowed.shape) * lattice.allowed

    def gradient(lam):
        return hamiltonian.mixed_energy(lam, forces=False, stress=False).gradient

    for lam in (lattice.weights(occupation), interior_point(lattice)):
        product = hamiltonian.hessian_product(lam, direction)
        step = 1e-4
        near = gradient(lam + step * direction) - gradient(lam - step * direction)
        far = gradient(lam + 2 * step * direction) - gradient(lam - 2 * step * direction)
        scale = max(1.0, np.abs(product).max())
        expected = (8 * near - far) / (12 * step)
        np.testing.assert_allclose(product, expected, atol=1e-5 * scale)


@pytest.mark.parametrize("family", ["plain", "density, Agnesi, vectors, ZBL"])
def test_forces_and_stress_inside_are_derivatives_of_the_energy(family):
    hamiltonian = hamiltonian_of("two sublattices, oxygen vacancies", family)
    lam = interior_point(hamiltonian.lattice)
    found = hamiltonian.mixed_energy(lam)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_an_energy_change_is_the_difference_of_stock_energies(family):
    hamiltonian = hamiltonian_of("two species, eight cells", family)
    lattice = hamiltonian.lattice
    occupations = some_occupations(lattice, 2)
    sites = np.array([[0, 5, -1], [3, -1, -1]])
    species = np.array([[1 - occupations[0, 0], 1 - occupations[0, 5], 0], [0, 0, 0]])
    species[1, 0] = 1 - occupations[1, 3]
    change = hamiltonian.energy_change(occupations, sites, species)
    again = hamiltonian.energy_change(occupations, sites, species)
    np.testing.assert_array_equal(change, again)
    for r in range(2):
        changed = occupations[r].copy()
        real = sites[r] >= 0
        changed[sites[r][real]] = species[r][real]
        before = stock(hamiltonian, occupations[r], family)[0]
        after = stock(hamiltonian, changed, family)[0]
        assert abs(change[r] - (after - before)) < TOLERANCE


@pytest.mark.parametrize(
    "family", ["non-linear, two heads, ZBL", "plain, two heads, ZBL, Gaussian"]
)
def test_every_head_is_the_stock_models(family):
    lattice = lattice_of("one cell, three species, vacancy")
    model = random_model(family)
    energies = []
    for head in model.heads:
        hamiltonian = AlchemicalMACE(lattice, model, head=head, device="cpu")
        occupation = np.array([1], dtype=np.int8)
        energies.append(hamiltonian.energy(occupation))
        expected = stock(hamiltonian, occupation, family, head)[0]
        assert abs(energies[-1] - expected) < TOLERANCE
    assert abs(energies[0] - energies[1]) > 1e-3


def without(expansion, dropped):
    return Expansion(*(values[~dropped] for values in dataclasses.astuple(expansion)))


def test_dropping_edges_between_unlike_species_is_noticed():
    """The rule of published code: it cannot describe ordering, and the exactness test sees it."""
    hamiltonian = hamiltonian_of("two species, eight cells", "plain")
    broken = hamiltonian.at(hamiltonian.positions)
    broken._parameters = None  # the compiled engine has edges of its own
    nodes, expansion = broken._nodes, broken._graph.expansion
    own = nodes.alchemical
    unlike = nodes.species[expansion.sender] != nodes.species[expansion.receiver]
    dropped = unlike & own[expansion.sender] & own[expansion.receiver]
    broken._graph.expansion = without(expansion, dropped)
    occupation = some_occupations(hamiltonian.lattice, 1)[0]
    expected = stock(hamiltonian, occupation, "plain")[0]
    assert abs(broken.energy(occupation) - expected) > 1e-3


def test_dropping_images_of_a_site_is_noticed():
    hamiltonian = hamiltonian_of("one cell, three species, vacancy", "plain")
    broken = hamiltonian.at(hamiltonian.positions)
    broken._parameters = None  # the compiled engine has edges of its own
    nodes, expansion = broken._nodes, broken._graph.expansion
    dropped = nodes.atom[expansion.sender] == nodes.atom[expansion.receiver]
    assert dropped.any()
    broken._graph.expansion = without(expansion, dropped)
    occupation = np.array([0], dtype=np.int8)
    expected = stock(hamiltonian, occupation, "plain")[0]
    assert abs(broken.energy(occupation) - expected) > 1e-3


def test_two_species_of_one_site_are_never_joined_in_place():
    graph = hamiltonian_of("one cell, three species, vacancy", "plain")._graph
    same = graph.nodes.atom[graph.expansion.sender] == graph.nodes.atom[graph.expansion.receiver]
    shifts = graph.edges.unit_shift[graph.expansion.edge]
    assert same.any()
    assert not (same & ~shifts.any(axis=1)).any()


@pytest.mark.parametrize("family", ["plain", "density, Agnesi, vectors, ZBL"])
def test_float32_agrees_to_single_precision(family):
    lattice = lattice_of("two species, eight cells")
    model = random_model(family)
    double = AlchemicalMACE(lattice, model, device="cpu")
    single = AlchemicalMACE(lattice, model, device="cpu", dtype="float32")
    occupations = some_occupations(lattice, 2)
    np.testing.assert_allclose(
        single.energy(occupations), double.energy(occupations), atol=1e-6 * 40 * 10
    )
    for fine, coarse in zip(
        double.energy_and_gradient(occupations),
        single.energy_and_gradient(occupations),
        strict=True,
    ):
        assert coarse.dtype == np.float64
        np.testing.assert_allclose(coarse, fine, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_mixings_are_the_stock_model_at_pure_end_members(family):
    hamiltonian = hamiltonian_of("two species, eight cells", family)
    lattice = hamiltonian.lattice
    for species in (0, 1):
        occupation = np.full(lattice.n_sites, species, dtype=np.int8)
        lam = lattice.weights(occupation)
        expected, forces, _, stress = stock(hamiltonian, occupation, family)
        paper = hamiltonian.mixed_energy(lam, mixing="paper")
        assert abs(paper.energy - expected) < TOLERANCE
        np.testing.assert_allclose(paper.forces, forces, atol=TOLERANCE)
        np.testing.assert_allclose(paper.stress, stress, atol=TOLERANCE)


def test_the_papers_mixing_differs_in_between_and_its_gradient_is_right():
    lattice: Lattice = lattice_of("two species, eight cells")
    hamiltonian = hamiltonian_of("two species, eight cells", "plain")
    lam = np.tile([0.3, 0.7], (lattice.n_sites, 1))
    paper = hamiltonian.mixed_energy(lam, forces=False, stress=False, mixing="paper")
    sites = hamiltonian.mixed_energy(lam, forces=False, stress=False)
    assert abs(paper.energy - sites.energy) > 1e-3

    def energy(h):
        moved = lam + np.array([h, -h])
        return hamiltonian.mixed_energy(moved, False, False, mixing="paper").energy

    slope = (energy(1e-4) - energy(-1e-4)) / 2e-4
    assert np.sum(paper.gradient @ [1.0, -1.0]) == pytest.approx(slope, abs=1e-5)
