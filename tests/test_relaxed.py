"""The relaxed landscape: a function of the occupation alone, its gradient, its failures.

False alarms: 13 exact distributions, each refused at p < 1e-4 with fixed seeds; a new set of seeds
would raise an alarm in one run out of 750. Power: relaxations that start where the last one ended
are refused at p < 1e-6.
"""

from __future__ import annotations

import json
import warnings
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

import mace_families
from alchemc import AlchemicalMACE, Canonical, Lattice, SemiGrandCanonical, builders, sample
from alchemc.errors import InputError, ModelError
from alchemc.potentials import Relaxed, load_mace
from alchemc.potentials._minimise import Coordinates, minimise
from alchemc.sampler import (
    DiscreteLangevin,
    GibbsWithGradients,
    Mixture,
    PathAuxiliary,
    RandomFlip,
    RandomSwap,
    SurrogateChain,
    TableExchange,
)
from exactness import compare, probabilities
from mutants import WarmStarted
from toy_wells import WellPotential
from toys import TabulatedHamiltonian, arrangements, chain_lattice

STORED = Path(__file__).parent / "data" / "relaxed_energies.json"
SIX = chain_lattice((("Sc", "Ta"), 6))
HALVES = arrangements((0, 0, 0, 1, 1, 1))

needs_bundled = pytest.mark.skipif(
    not (files("alchemc.potentials") / "models/bundled/model.safetensors").is_file(),
    reason="the bundled model has not been trained yet",
)


@cache
def stock_calculator():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load_mace("bundled").module
        return mace_families.stock_calculator(model)


@cache
def mace(size=(2, 1, 1)):
    lattice = builders.perovskite("Ba", ("Sc", "Ta"), "O", a=4.12, size=size)
    return AlchemicalMACE(lattice, "bundled", device="cpu")


def wells(**kwargs):
    return WellPotential(SIX, (0.15, 0.0), **kwargs)


# ---- the landscape -----------------------------------------------------------------------------


@needs_bundled
@pytest.mark.slow
def test_sampled_probabilities_are_boltzmann_weights_of_independently_relaxed_energies():
    """All 70 arrangements of Ba(Sc,Ta)O3 2×2×2 against ASE with mace-torch's calculator."""
    stored = json.loads(STORED.read_text())
    hamiltonian = mace((2, 2, 2))
    assert hamiltonian.model_info.sha256 == stored["model_sha256"], "run " + stored["made_by"]
    states, energies = np.array(stored["states"], dtype=np.int8), np.array(stored["energies"])
    assert len(states) == 70
    table = TabulatedHamiltonian(Relaxed(hamiltonian, fmax=0.01), states)
    independent = TabulatedHamiltonian(WellPotential(hamiltonian.lattice, (0, 0)), states)
    independent.energies = energies
    assert np.abs(table.energies - energies).max() < 5e-4
    assert np.ptp(energies) > 1.0
    ensemble = Canonical(hamiltonian.lattice, independent.temperature_of_perplexity(20.0))
    for kernel in (RandomSwap, GibbsWithGradients):
        walked = kernel(table, ensemble)
        assert compare(walked, independent, draws=20_000).p_value > 1e-4


@pytest.mark.parametrize("kernel", [RandomSwap, GibbsWithGradients])
def test_chains_on_the_relaxed_toy_are_exact(kernel):
    relaxed = Relaxed(wells(), fmax=1e-3)
    table = TabulatedHamiltonian(relaxed, HALVES)
    ensemble = Canonical(SIX, table.temperature_of_perplexity(8.0))
    assert compare(kernel(relaxed, ensemble), table, draws=20_000).p_value > 1e-4


def test_starting_from_the_last_minimum_breaks_detailed_balance():
    table = TabulatedHamiltonian(Relaxed(wells(), fmax=1e-2), HALVES)
    warm = WarmStarted(wells(), fmax=1e-2, memory=0)
    ensemble = Canonical(SIX, table.temperature_of_perplexity(8.0))
    assert compare(RandomSwap(warm, ensemble), table, draws=1500).p_value < 1e-6


def test_starting_from_the_last_minimum_gives_energies_with_a_history():
    here, there = HALVES[:1], HALVES[-1:]
    fresh = Relaxed(wells(), fmax=1e-3).energy(there)
    for kind, differs in ((WarmStarted, True), (Relaxed, False)):
        relaxed = kind(wells(), fmax=1e-3, memory=0)
        relaxed.energy(here)
        assert (abs(relaxed.energy(there) - fresh) > 0.1).all() == differs


def test_an_energy_depends_on_nothing_but_the_occupation():
    relaxed = Relaxed(wells(), fmax=1e-3, memory=0)
    together = relaxed.relaxed(HALVES)
    alone = [relaxed.relaxed(state) for state in HALVES[::-1]][::-1]
    fresh = Relaxed(wells(), fmax=1e-3)
    for row, one in enumerate(alone):
        for found, expected in zip(one, together, strict=True):
            np.testing.assert_array_equal(found, expected[row])
        assert fresh.energy(HALVES[row]) == together.energies[row]


@needs_bundled
def test_batch_mates_do_not_change_a_minimum_of_the_potential():
    states = mace().lattice.enumerate()
    relaxed = Relaxed(mace(), fmax=0.01, cell="full", memory=0)
    together = relaxed.relaxed(states)
    assert together.converged.all()
    assert (together.residuals <= 0.01).all()
    for row in (3, 1):
        one = relaxed.relaxed(states[row])
        assert one.energies == together.energies[row]
        np.testing.assert_array_equal(one.positions, together.positions[row])
        np.testing.assert_array_equal(one.cells, together.cells[row])


def test_remembering_saves_relaxations_and_changes_nothing():
    toy = wells()
    relaxed, forgetful = Relaxed(toy, fmax=1e-3), Relaxed(wells(), fmax=1e-3, memory=0)
    energy, gradient = relaxed.energy_and_gradient(HALVES[:4])
    calls = toy.calls
    np.testing.assert_array_equal(relaxed.energy(HALVES[:4]), energy)
    assert relaxed.relaxed(HALVES[:4]).force_calls.sum() == calls
    assert toy.calls == calls
    again = forgetful.energy_and_gradient(HALVES[:4])
    np.testing.assert_array_equal(again[0], energy)
    np.testing.assert_array_equal(again[1], gradient)


def test_a_gradient_after_an_energy_costs_no_second_relaxation():
    toy = wells()
    relaxed = Relaxed(toy, fmax=1e-3)
    relaxed.energy(HALVES[:2])
    calls = toy.calls
    relaxed.energy_and_gradient(HALVES[:2])
    assert toy.calls == calls


def test_the_memory_keeps_to_its_bytes():
    relaxed = Relaxed(wells(), fmax=1e-2, memory=20_000)
    relaxed.energy_and_gradient(HALVES)
    assert 0 < relaxed._minima.used <= 15_000
    assert 0 < relaxed._energies.used + relaxed._minima.used <= 20_000


def test_an_energy_change_is_a_difference_of_relaxed_energies():
    relaxed = Relaxed(wells(), fmax=1e-3)
    sites, species = np.array([[0, 5], [1, -1]]), np.array([[1, 0], [1, 0]])
    before = HALVES[:2]
    after = before.copy()
    after[0, [0, 5]], after[1, 1] = [1, 0], 1
    change = relaxed.energy_change(before, sites, species)
    np.testing.assert_array_equal(change, relaxed.energy(after) - relaxed.energy(before))


@needs_bundled
def test_a_translation_of_everything_changes_no_energy():
    hamiltonian = mace()
    moved = hamiltonian.at(hamiltonian.positions + np.array([0.3, 1.0, -2.0]))
    one, other = (Relaxed(model, fmax=1e-3) for model in (hamiltonian, moved))
    states = hamiltonian.lattice.enumerate()[1:3]
    np.testing.assert_allclose(one.energy(states), other.energy(states), atol=1e-8)


# ---- gradients and errors ----------------------------------------------------------------------


def relaxed_mixture(hamiltonian, lam, positions, fmax):
    """Minimum energy of a mixture λ, from given positions."""
    coordinates = Coordinates(hamiltonian.cell, len(positions), "fixed")

    def evaluate(numbers, points):
        found = [hamiltonian.at(x).mixed_energy(lam, stress=False) for x in points]
        return [(one.energy, -one.forces) for one in found]

    (minimum,) = minimise(
        evaluate, [positions], limits=coordinates.limits, fmax=fmax, max_steps=200
    )
    assert not minimum.problem
    return minimum.energy


@needs_bundled
def test_the_gradient_is_that_of_the_relaxed_energy():
    """Finite differences of energies relaxed at λ ± ε within one basin."""
    hamiltonian = mace()
    relaxed = Relaxed(hamiltonian, fmax=1e-3)
    state = np.array([0, 1], dtype=np.int8)
    _, gradient = relaxed.energy_and_gradient(state)
    minimum = relaxed.relaxed(state)
    at_rest = hamiltonian.at(minimum.positions)
    held = at_rest.energy_and_gradient(state)[1]
    np.testing.assert_array_equal(gradient, held)
    step, lam = 2e-3, hamiltonian.lattice.weights(state)
    for site, species in ((0, 0), (0, 1), (1, 0)):
        ends = []
        for sign in (1, -1):
            moved = lam.copy()
            moved[site, species] += sign * step
            ends.append(relaxed_mixture(hamiltonian, moved, minimum.positions, 1e-4))
        expected = (ends[0] - ends[1]) / (2 * step)
        assert gradient[site, species] == pytest.approx(expected, abs=3e-3)
    # The positions matter: it is not the gradient where the relaxation began.
    assert np.abs(gradient - hamiltonian.energy_and_gradient(state)[1]).max() > 0.05


@needs_bundled
def test_errors_are_of_second_order_in_the_energy_and_of_first_in_the_gradient():
    hamiltonian, state = mace(), np.array([0, 1], dtype=np.int8)
    minimum = Relaxed(hamiltonian, fmax=1e-5).relaxed(state)
    direction = np.random.default_rng(4).normal(size=minimum.positions.shape)
    exact = hamiltonian.at(minimum.positions).energy_and_gradient(state)[1]
    energies, gradients, forces = [], [], []
    for scale in (4e-3, 2e-3, 1e-3):
        view = hamiltonian.at(minimum.positions + scale * direction)
        energy, force, _ = view.energy_forces_stress(state)
        energies.append(energy - minimum.energies)
        forces.append(np.linalg.norm(force))
        gradients.append(np.abs(view.energy_and_gradient(state)[1] - exact).max())
    ratios = np.log2(
        np.array([energies, gradients, forces])[:, :-1]
        / np.array([energies, gradients, forces])[:, 1:]
    )
    np.testing.assert_allclose(ratios[0] / ratios[2], 2.0, atol=0.1)
    np.testing.assert_allclose(ratios[1] / ratios[2], 1.0, atol=0.1)


@needs_bundled
def test_the_default_force_leaves_less_than_a_tenth_of_kt():
    state = np.array([0, 1], dtype=np.int8)
    best = Relaxed(mace(), fmax=1e-5).energy(state)
    for temperature in (300.0, 1000.0, 3000.0):
        relaxed = Relaxed(mace(), temperature=temperature)
        error = relaxed.energy(state) - best
        assert 0 <= error < 0.1 * 8.617e-5 * min(temperature, 1000.0)
    assert Relaxed(mace()).fmax == Relaxed(mace(), temperature=300.0).fmax
    assert Relaxed(mace(), temperature=3000.0).fmax == Relaxed(mace(), temperature=1000.0).fmax
    larger = Relaxed(mace((2, 2, 2)))
    assert larger.fmax == pytest.approx(Relaxed(mace()).fmax / 2.0)


# ---- cells and vacancies -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["isotropic", "full"])
def test_coordinates_and_their_gradient_are_those_of_the_strained_structure(kind):
    rng = np.random.default_rng(2)
    cell = 4.0 * np.eye(3) + 0.3 * rng.normal(size=(3, 3))
    coordinates = Coordinates(cell, 5, kind)
    x = coordinates.start(rng.normal(size=(5, 3)))
    x = x + 0.4 * rng.normal(size=x.shape)
    weights = rng.normal(size=(3, 3))

    def energy_of(positions, box):
        """Turns with the structure: of distances and of the cell's metric."""
        apart = ((positions[:, None] - positions[None]) ** 2).sum(axis=2)
        return 0.5 * (apart**2).sum() + (weights * (box @ box.T)).sum()

    def energy(point):
        return energy_of(*coordinates.structure(point))

    positions, box = coordinates.structure(x)
    vectors = positions[:, None] - positions[None]
    forces = -4.0 * (vectors * (vectors**2).sum(axis=2, keepdims=True)).sum(axis=1)
    virial = -positions.T @ forces + box.T @ (weights + weights.T) @ box
    stress = 0.5 * (virial + virial.T) / abs(np.linalg.det(box))
    found = coordinates.gradient(x, forces, stress)
    for row in range(len(x)):
        for axis in range(3 if kind == "full" or row < 5 else 1):
            step = np.zeros_like(x)
            step[row, axis] = 1e-5
            expected = (energy(x + step) - energy(x - step)) / 2e-5
            assert found[row, axis] == pytest.approx(expected, rel=1e-5, abs=1e-5)


@needs_bundled
@pytest.mark.parametrize("kind", ["isotropic", "full"])
def test_the_cell_relaxes_to_zero_pressure_as_with_ase(kind):
    hamiltonian = mace()
    state = np.array([0, 1], dtype=np.int8)
    relaxed = Relaxed(hamiltonian, fmax=1e-3, cell=kind)
    minimum = relaxed.relaxed(state)
    view = hamiltonian.at(minimum.positions, minimum.cells)
    energy, forces, stress = view.energy_forces_stress(state)
    assert energy == minimum.energies
    assert np.abs(forces).max() < 1e-3
    pressure = -np.trace(stress) / 3
    assert abs(pressure) < 2e-4  # eV/Å³
    assert (np.abs(stress).max() < 2e-4) == (kind == "full")
    strain = np.linalg.solve(hamiltonian.cell, minimum.cells)
    np.testing.assert_allclose(strain, strain.T, atol=1e-12)
    atoms = hamiltonian.lattice.to_atoms(state, hamiltonian.lattice.displaced_positions(0.05, 0))
    atoms.calc = stock_calculator()
    box = FrechetCellFilter(atoms, hydrostatic_strain=kind == "isotropic")
    BFGS(box, logfile=None).run(fmax=1e-4, steps=500)
    assert minimum.energies == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    assert abs(np.linalg.det(minimum.cells)) == pytest.approx(atoms.get_volume(), rel=1e-3)


@needs_bundled
def test_compositions_with_vacancies_relax_as_with_ase():
    lattice = builders.perovskite(("Ba", "X"), "Ti", "O", a=4.05, size=(2, 1, 1))
    hamiltonian = AlchemicalMACE(lattice, "bundled", device="cpu")
    relaxed = Relaxed(hamiltonian, fmax=1e-3)
    state = np.array([0, 1], dtype=np.int8)
    minimum = relaxed.relaxed(state)
    start = lattice.displaced_positions(0.05, 0)
    vacant = lattice.sites[1]
    np.testing.assert_array_equal(minimum.positions[vacant], start[vacant])
    atoms = lattice.to_atoms(state, start)
    atoms.calc = stock_calculator()
    BFGS(atoms, logfile=None).run(fmax=1e-4, steps=500)
    assert minimum.energies == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    gradient = relaxed.energy_and_gradient(state)[1]
    assert not gradient[:, 1].any()


@needs_bundled
def test_forces_at_positions_of_their_own_are_those_of_bound_views():
    hamiltonian = mace()
    lattice = hamiltonian.lattice
    states = lattice.enumerate()
    places = np.stack([lattice.displaced_positions(0.1, seed) for seed in range(len(states))])
    cells = np.stack([hamiltonian.cell * (1 + 0.01 * k) for k in range(len(states))])
    energies, forces, stress = hamiltonian.forces_at(states, places, cells)
    for row, state in enumerate(states):
        bound = hamiltonian.at(places[row], cells[row]).energy_forces_stress(state)
        assert energies[row] == pytest.approx(bound[0], abs=1e-9)
        np.testing.assert_allclose(forces[row], bound[1], atol=1e-9)
        np.testing.assert_allclose(stress[row], bound[2], atol=1e-10)
    places[1, 0] = places[1, 1]
    again = hamiltonian.forces_at(states, places, cells)
    assert np.isnan(again[0][1])
    assert np.isnan(again[1][1]).all()
    np.testing.assert_array_equal(again[0][[0, 2, 3]], energies[[0, 2, 3]])
    with pytest.raises(InputError, match=r"^positions has shape"):
        hamiltonian.forces_at(states, places[:2], cells)


# ---- references and spread ---------------------------------------------------------------------


def test_of_several_references_the_lowest_minimum_is_taken():
    toy = WellPotential(SIX, (0.05, 0.0))  # weak fields: the displacement chooses the well
    single = [Relaxed(toy, fmax=1e-3, displacement=0.1, seed=s) for s in (3, 4, 5)]
    several = Relaxed(toy, fmax=1e-3, displacement=0.1, seed=3, references=3)
    energies = np.array([one.energy(HALVES) for one in single])
    assert np.ptp(energies, axis=0).max() > 0.05
    np.testing.assert_array_equal(several.energy(HALVES), energies.min(axis=0))
    found = several.relaxed(HALVES)
    np.testing.assert_array_equal(found.references, energies.argmin(axis=0))
    calls = sum(one.relaxed(HALVES).force_calls for one in single)
    np.testing.assert_array_equal(found.force_calls, calls)


def test_the_spread_compares_references_and_equivalent_occupations():
    toy = WellPotential(SIX, (0.05, 0.0))
    relaxed = Relaxed(toy, fmax=1e-3, displacement=0.1, seed=3)
    spread = relaxed.spread(HALVES[:2], references=3, equivalents=5)
    others = [Relaxed(toy, fmax=1e-3, displacement=0.1, seed=s) for s in (3, 4, 5)]
    for k, other in enumerate(others):
        np.testing.assert_array_equal(spread.by_reference[:, k], other.energy(HALVES[:2]))
    known = set(relaxed.energy(HALVES).tolist())
    assert set(spread.by_equivalent[np.isfinite(spread.by_equivalent)].tolist()) <= known
    expected = spread.by_reference.std(axis=1, ddof=1)
    np.testing.assert_allclose(spread.over_references, expected)
    assert (spread.over_equivalents >= 0).all()
    assert relaxed.failures.number == 0


def test_a_symmetric_arrangement_has_nothing_to_compare():
    relaxed = Relaxed(wells(), fmax=1e-3)
    spread = relaxed.spread(np.zeros(6, dtype=int))
    assert np.isnan(spread.over_equivalents).all()
    assert np.isfinite(spread.over_references).all()


# ---- failures ----------------------------------------------------------------------------------


def test_a_failed_relaxation_is_counted_and_never_a_number():
    toy = wells(broken=HALVES[3:5])
    relaxed = Relaxed(toy, fmax=1e-3)
    energy, gradient = relaxed.energy_and_gradient(HALVES[2:6])
    np.testing.assert_array_equal(np.isinf(energy), [False, True, True, False])
    assert not gradient[1:3].any()
    assert gradient[0].any()
    assert relaxed.energy(HALVES[3]) == np.inf
    failures = relaxed.failures
    assert failures.number == 3
    np.testing.assert_array_equal(failures.occupations, HALVES[3:5])
    assert all("no finite energy" in problem for problem in failures.problems)
    found = relaxed.relaxed(HALVES[2:4])
    assert found.converged.tolist() == [True, False]
    assert found.problems[0] == ""
    with pytest.raises(ModelError, match="no energy to change from"):
        relaxed.energy_change(HALVES[3:4], np.array([[0]]), np.array([[1]]))


def test_too_few_steps_and_runaway_atoms_are_failures_that_say_so():
    short = Relaxed(wells(), fmax=1e-4, max_steps=3)
    assert np.isinf(short.energy(HALVES)).all()
    assert "after 3 evaluations" in short.failures.problems[0]
    assert short.failures.number == len(HALVES)
    assert len(short.failures.occupations) == 8

    class Slope(WellPotential):
        """Falls for ever along x."""

        def forces_at(self, occupations, positions, cells):
            _, forces, stress = super().forces_at(occupations, positions, cells)
            return -positions[:, :, 0].sum(axis=1), forces * 0 + [1.0, 0, 0], stress

    gone = Relaxed(Slope(SIX, (0.0, 0.0)), fmax=1e-2)
    assert gone.energy(HALVES[0]) == np.inf
    assert "3 Å from its reference" in gone.failures.problems[0]


def test_a_step_into_nowhere_is_taken_back():
    class Cliff(WellPotential):
        """Has no energy beyond the wells."""

        def forces_at(self, occupations, positions, cells):
            energy, forces, stress = super().forces_at(occupations, positions, cells)
            moved = positions - self.lattice.atoms.positions
            beyond = (moved[:, :, 0] > 0.32).any(axis=1)
            return np.where(beyond, np.nan, energy), forces, stress

    steep = {"barrier": 1.0, "coupling": 0.05}
    edge = Relaxed(Cliff(SIX, (0.15, 0.0), **steep), fmax=1e-3)
    free = Relaxed(WellPotential(SIX, (0.15, 0.0), **steep), fmax=1e-3)
    np.testing.assert_allclose(edge.energy(HALVES), free.energy(HALVES), atol=1e-5)


def charged():
    """Two sublattices whose charges the ensemble keeps, a few arrangements without a minimum."""
    lattice = chain_lattice((("Sr", "La"), 3, (2, 3)), (("Ti", "Al"), 3, (4, 3)))
    states = lattice.enumerate()
    toy = WellPotential(lattice, (0.15, 0.0), coupling=0.05, broken=states[[5, 9, 20, 33, 40]])
    return toy, states


FLIPPING = {
    "flips": RandomFlip,
    "informed flips": GibbsWithGradients,
    "exchanges": TableExchange,
}
SWAPPING = {
    "swaps": RandomSwap,
    "informed swaps": GibbsWithGradients,
    "Barker": lambda h, e: GibbsWithGradients(h, e, balancing="barker"),
    "paths": PathAuxiliary,
    "Langevin": DiscreteLangevin,
    "mixture": lambda h, e: Mixture([(RandomSwap(h, e), 1), (GibbsWithGradients(h, e), 1)]),
}


@pytest.mark.parametrize("name", SWAPPING)
@pytest.mark.filterwarnings("error")
def test_every_kernel_refuses_failures_and_is_exact_among_the_rest(name):
    relaxed = Relaxed(wells(broken=HALVES[[2, 7, 11, 15]]), fmax=1e-3)
    table = TabulatedHamiltonian(relaxed, HALVES)
    assert np.isinf(table.energies).sum() == 4
    table.gradients[np.isinf(table.energies)] = np.nan  # whatever a model returns there
    ensemble = Canonical(SIX, 2000.0)
    kernel = SWAPPING[name](table, ensemble)
    check_exact(kernel, table)


@pytest.mark.parametrize("name", FLIPPING)
@pytest.mark.filterwarnings("ignore:.*neutral")
def test_every_flip_refuses_failures_and_is_exact_among_the_rest(name):
    toy, states = charged()
    everything = TabulatedHamiltonian(Relaxed(toy, fmax=1e-3), states)
    ensemble = SemiGrandCanonical(toy.lattice, 2000.0, {"s0": {"La": 0.0}, "s1": {"Al": 0.0}})
    if name == "exchanges":  # what has the charge of the first state
        neutral = states[:, :3].sum(axis=1) == states[:, 3:].sum(axis=1)
        table = everything.among(states[neutral])
    else:
        table = everything
    assert np.isinf(table.energies).any()
    check_exact(FLIPPING[name](table, ensemble), table)


def check_exact(kernel, table):
    verdict = compare(kernel, table, draws=6_000)
    assert verdict.p_value > 1e-4
    p = probabilities(kernel.ensemble, table)
    assert not p[np.isinf(table.energies)].any()
    start = np.repeat(table.states[[int(p.argmax())]], 4, axis=0)
    rngs = [np.random.default_rng(seed) for seed in range(4)]
    state = kernel.init(start, rngs)
    refused = 0
    for _ in range(100):
        state, info = kernel.step(state, rngs)
        assert np.isfinite(state.energy).all()
        assert np.isfinite(info.acceptance_probability).all()
        refused += int(np.isneginf(info.log_density_change).sum())
    assert refused > 0


def test_a_surrogate_learns_from_what_has_an_energy():
    relaxed = Relaxed(wells(broken=HALVES[[2, 7, 11, 15]]), fmax=1e-3)
    table = TabulatedHamiltonian(relaxed, HALVES)
    ensemble = Canonical(SIX, 2000.0)
    kernel = SurrogateChain(relaxed, ensemble)
    before = relaxed.failures.number
    run = sample(kernel, np.repeat(HALVES[:1], 4, axis=0), n_steps=400, warmup=40, seed=3)
    assert np.isfinite(run.samples.energy.values).all()
    assert run.attrs["failures"] == relaxed.failures.number - before > 0
    visited = table.index(run.samples.occupation.values.reshape(-1, 6))
    frequency = np.bincount(visited, minlength=len(HALVES)) / len(visited)
    np.testing.assert_allclose(frequency, probabilities(ensemble, table), atol=0.05)


def test_a_start_without_an_energy_is_refused_with_a_remedy():
    relaxed = Relaxed(wells(broken=HALVES[:1]), fmax=1e-3)
    for kernel in (RandomSwap, GibbsWithGradients):
        with pytest.raises(ModelError, match=r"no energy .* replica 1 .* start from another"):
            sample(kernel(relaxed, Canonical(SIX, 900.0)), HALVES[[1, 0]], n_steps=2)


def test_minus_infinity_and_nan_are_no_refusals():
    for value in (np.nan, -np.inf):
        table = TabulatedHamiltonian(Relaxed(wells(), fmax=1e-2), HALVES)
        table.energies[1:] = value
        kernel = RandomSwap(table, Canonical(SIX, 900.0))
        with pytest.raises(ModelError, match="the energy model gave"):
            sample(kernel, HALVES[0], n_steps=5)


# ---- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fmax": -1.0}, "fmax is -1.0; give a number above 0"),
        ({"fmax": "tight"}, "fmax is 'tight'; give a number above 0"),
        ({"temperature": 0}, "temperature is 0; give a number above 0"),
        ({"fmax": 0.1, "temperature": 300}, "leave one of the two out"),
        ({"cell": "volume"}, 'cell is \'volume\'; give False, "isotropic" or "full"'),
        ({"cell": 1}, "cell is 1; give False"),
        ({"references": 0}, "references is 0; give a whole number of 1 or more"),
        ({"max_steps": 2.5}, "max_steps is 2.5; give a whole number"),
        ({"memory": -1}, "memory is -1; give a whole number of 0 or more"),
        ({"displacement": -0.1}, "amplitude is -0.1; give a displacement"),
        ({"seed": -1}, "seed is -1; give a whole number"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(arguments, message):
    with pytest.raises(InputError) as caught:
        Relaxed(wells(), **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_without_positions_is_refused():
    with pytest.raises(InputError, match="has no at, so it cannot be relaxed"):
        Relaxed(TabulatedHamiltonian(wells(), HALVES))


def test_spread_needs_two_of_each():
    with pytest.raises(InputError, match="references is 1"):
        Relaxed(wells()).spread(HALVES[0], references=1)


def test_it_names_itself_and_its_model():
    relaxed = Relaxed(wells(), fmax=0.01, cell="isotropic")
    assert repr(relaxed).endswith("fmax=0.01, cell='isotropic')")
    assert relaxed.model_info is None
    assert isinstance(relaxed.lattice, Lattice)
