"""Harmonic vibrations against closed forms, ASE's own, and exact Gaussian integrals.

The z-scores have fixed seeds; their bounds (|z| < 4, and a spread of z within 4 of its standard
errors) raise a false alarm with probability 6e-5 each.
"""

import dataclasses
import json

import numpy as np
import pytest
from ase import units
from ase.data import atomic_masses, atomic_numbers
from ase.phonons import Phonons
from ase.vibrations import Vibrations

from alchemc import AlchemicalMACE, Lattice, Relaxed, Sublattice, builders
from alchemc.analysis import harmonic_free_energy, vibrational_shift
from alchemc.analysis.stability import vibrations
from alchemc.analysis.stability.harmonic_modes import HBAR, TERAHERTZ, modes_of, thermodynamics
from alchemc.errors import ConvergenceError, InputError
from alchemc.potentials import OccupationCalculator
from toy_crystal import Springs, ToyCrystal, ring

MASS = {s: atomic_masses[atomic_numbers[s]] for s in ("Mg", "Ca", "Sc", "Ta", "O")}


class Movable(ToyCrystal):
    """The toy crystal with what a relaxed landscape asks for."""

    def energy_forces_stress(self, occupations):
        n = len(occupations)
        places = np.repeat(self.positions[None], n, axis=0)
        return self.forces_at(occupations, places, np.repeat(self.cell[None], n, axis=0))


def chain(species, n, bond, *, misfit=None, tether=0.0):
    """A closed chain of springs alike in all directions; ``bond`` by kinds (alphabetical)."""
    lattice = ring((species, n))
    kinds = len(species) + ("X" not in species)
    zero = np.zeros(kinds)
    bond = np.broadcast_to(np.asarray(bond, dtype=float), (kinds, kinds))
    misfit = np.zeros((kinds, kinds)) if misfit is None else misfit
    springs = Springs(zero + tether, zero, bond, misfit, np.zeros((kinds, kinds)))
    return Movable(lattice, springs)


def quanta_of(squares):
    """ħω in eV, ascending, of squares in eV/(Å² u), once for each direction."""
    return np.sort(np.repeat(HBAR * np.sqrt(squares), 3))


# ---- frequencies


def test_a_chain_of_one_kind_has_the_waves_of_the_textbook():
    n, k = 7, 3.0
    model = chain(("Mg", "Ca"), n, k)
    found = harmonic_free_energy(model, np.zeros(n, int), 300.0)
    waves = 2.0 * np.pi * np.arange(1, n) / n
    expected = quanta_of(2.0 * k / MASS["Mg"] * (1.0 - np.cos(waves)))
    assert found.quanta[0] == pytest.approx(expected, rel=1e-9)
    assert found.asymmetry[0] < 1e-12


def test_a_chain_of_two_kinds_has_the_branches_of_the_textbook():
    n, k = 6, 2.0
    model = chain(("Mg", "Ca"), n, k)
    found = harmonic_free_energy(model, np.arange(n) % 2, 300.0)
    both, product = 1 / MASS["Mg"] + 1 / MASS["Ca"], MASS["Mg"] * MASS["Ca"]
    waves = 2.0 * np.pi * np.arange(n // 2) / (n // 2)
    root = np.sqrt(both**2 - 4.0 * np.sin(waves / 2.0) ** 2 / product)
    squares = np.concatenate([k * (both + root), k * (both - root)[1:]])
    assert found.quanta[0] == pytest.approx(quanta_of(squares), rel=1e-9)


def test_a_vacancy_opens_the_chain_and_has_no_mass():
    n, k = 6, 2.0
    bond = np.array([[k, 0.0], [0.0, 0.0]])  # Mg, vacancy
    model = chain(("Mg", "X"), n, bond)
    with_one = np.array([0, 0, 0, 1, 0, 0])
    found = harmonic_free_energy(model, np.stack([np.zeros(n, int), with_one]), 300.0)
    waves = np.pi * np.arange(1, n - 1) / (n - 1)
    expected = quanta_of(2.0 * k / MASS["Mg"] * (1.0 - np.cos(waves)))
    assert found.quanta[1, : len(expected)] == pytest.approx(expected, rel=1e-9)
    assert np.isnan(found.quanta[1, len(expected) :]).all()
    assert np.isfinite(found.vibrational(300.0)).all()


class AboutTheCentre:
    """Atoms tied to the centre of all: an Einstein crystal that is free to move as a whole."""

    def __init__(self, lattice, stiffness):
        self.lattice, self.stiffness = lattice, stiffness

    def forces_at(self, occupations, positions, cells):
        u = positions - self.lattice.atoms.positions
        u = u - u.mean(axis=1, keepdims=True)
        energy = 0.5 * self.stiffness * (u**2).sum(axis=(1, 2))
        return energy, -self.stiffness * u, np.zeros((len(u), 3, 3))


def test_an_einstein_crystal_has_one_frequency():
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    # One mass only: all cations magnesium, and none of the lattice's oxygen.
    metal = Lattice(lattice.atoms[:4], {"metal": Sublattice((0, 1, 2, 3), ("Mg", "Ca"))})
    found = harmonic_free_energy(AboutTheCentre(metal, 5.0), np.zeros(4, int), [300.0])
    quantum = HBAR * np.sqrt(5.0 / MASS["Mg"])
    assert found.quanta[0] == pytest.approx(np.full(9, quantum), rel=1e-9)
    assert found.zero_point_energy[0] == pytest.approx(4.5 * quantum)
    assert found.vibrational(300.0, "classical")[0] == pytest.approx(
        9 * units.kB * 300 * np.log(quantum / (units.kB * 300))
    )


def weighed_twice(matrix, masses):
    return modes_of(matrix, masses**2)


def with_translations(matrix, masses):
    root = np.sqrt(np.repeat(masses, 3))
    squares = np.linalg.eigvalsh(matrix / np.outer(root, root))[: len(root) - 3]
    return np.sign(squares) * np.sqrt(np.abs(squares)) * HBAR


@pytest.mark.parametrize("mutant", [weighed_twice, with_translations])
def test_wrong_masses_and_translations_left_in_are_seen(mutant, monkeypatch):
    monkeypatch.setattr(vibrations, "modes_of", mutant)
    with pytest.raises((AssertionError, ConvergenceError)):
        test_a_chain_of_two_kinds_has_the_branches_of_the_textbook()


# ---- against ASE, and symmetry, with a real model


@pytest.fixture(scope="module")
def magnesia():
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    model = AlchemicalMACE(lattice, "bundled", device="cpu")
    return model, Relaxed(model, fmax=1e-4, cell="isotropic")


@pytest.fixture(scope="module")
def mixed(magnesia):
    occupation = np.array([0, 0, 0, 1])
    return harmonic_free_energy(magnesia[1], occupation, [300.0, 2000.0]), occupation


def test_frequencies_are_those_of_ase(magnesia, mixed, tmp_path):
    (found, occupation), (model, landscape) = mixed, magnesia
    minimum = landscape.relaxed(occupation)
    atoms = model.lattice.to_atoms(occupation, minimum.positions, minimum.cells)
    atoms.calc = OccupationCalculator(model, occupation)
    theirs = Vibrations(atoms, name=str(tmp_path / "vib"), delta=found.step)
    theirs.run()
    energies = np.sort(theirs.get_energies().real)[3:]  # the first three are the translations
    assert found.quanta[0] == pytest.approx(energies, abs=2e-6)
    phonons = Phonons(atoms, OccupationCalculator(model, occupation), supercell=(1, 1, 1),
                      delta=found.step, name=str(tmp_path / "phonon"))  # fmt: skip
    phonons.run()
    phonons.read(acoustic=True)
    energies = np.sort(phonons.band_structure([(0, 0, 0)], verbose=False)[0])[3:]
    assert found.quanta[0] == pytest.approx(energies, abs=2e-5)


def test_the_step_is_small_enough_and_force_constants_are_symmetric(mixed):
    found, _ = mixed
    assert np.abs(found.step_change).max() < 1e-3
    assert found.asymmetry[0] < 1e-3
    assert found.drift[0] < 1e-9
    assert 0 <= found.residual_energies[0] < 1e-6


def test_turned_and_shifted_crystals_vibrate_alike(magnesia, mixed):
    (found, occupation), (model, landscape) = mixed, magnesia
    minimum = landscape.relaxed(occupation)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    cell, places = minimum.cells @ turn, minimum.positions @ turn + np.array([0.3, -0.2, 0.9])
    straight = harmonic_free_energy(landscape, occupation, 300.0, step=0.001)
    again = harmonic_free_energy(model, occupation, 300.0, places, cell, step=0.001)
    assert again.quanta[0] == pytest.approx(straight.quanta[0], abs=1e-6)
    # Along other axes the default step errs otherwise, by far less than matters.
    assert found.quanta[0] == pytest.approx(straight.quanta[0], rel=1e-3)


# ---- free energies


def test_classical_and_quantum_free_energies_meet_when_it_is_hot():
    quanta = np.array([[0.01, 0.03, 0.08, np.nan]])
    for t in (1e4, 1e5):
        quantum, classical = (thermodynamics(quanta, t, s) for s in ("quantum", "classical"))
        # The next term of the expansion is (ħω)²/(24 k_BT) for each mode.
        correction = np.nansum(quanta**2) / (24 * units.kB * t)
        assert quantum[0] - classical[0] == pytest.approx(correction, rel=1e-3)
        assert quantum[1] == pytest.approx(classical[1], rel=1e-3)


@pytest.mark.parametrize("statistics", ["quantum", "classical"])
def test_the_entropy_is_the_slope_of_the_free_energy(statistics):
    quanta, t, d = np.array([0.005, 0.04, 0.1]), 400.0, 0.01
    slope = (
        thermodynamics(quanta, t + d, statistics)[0] - thermodynamics(quanta, t - d, statistics)[0]
    ) / (2 * d)
    assert thermodynamics(quanta, t, statistics)[1] == pytest.approx(-slope, rel=1e-7)


def test_a_cold_crystal_has_its_zero_point_energy():
    free, entropy = thermodynamics(np.array([0.02, 0.09]), 5.0)
    assert free == pytest.approx(0.055, rel=1e-12)
    assert entropy == pytest.approx(0.0, abs=1e-12)


def test_classical_free_energies_differ_as_exact_integrals_over_positions_do():
    """Same atoms in another order: ΔF = −k_BT Δ ln Z with the centre of mass held."""
    n, t = 6, 700.0
    rng = np.random.default_rng(2)
    bond = rng.uniform(1.0, 4.0, (3, 3))
    misfit = rng.uniform(-0.1, 0.1, (3, 3))
    model = chain(("Mg", "Ca"), n, bond + bond.T, misfit=misfit + misfit.T)
    states = np.array([[0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 0, 1]])
    found = harmonic_free_energy(Relaxed(model, fmax=1e-8), states, t)
    total = found.energies + found.vibrational(t, "classical")
    held = np.ones(n, bool)
    exact = np.array([-units.kB * t * model.gaussian(s, t, held)[0] for s in states])
    assert total - total[0] == pytest.approx(exact - exact[0], abs=1e-9)
    assert np.ptp(total) > 1e-3


def synthetic(quanta, draws, chains=1):
    """Vibrations of made-up quanta [n, n_modes], with all else in order."""
    n = chain(("Mg", "Ca"), 4, 1.0)
    found = harmonic_free_energy(n, np.array([0, 0, 1, 1]), 300.0)
    ones = np.ones(len(quanta))
    return dataclasses.replace(
        found, occupations=np.repeat(found.occupations, len(quanta), axis=0), quanta=quanta,
        draws=draws, chains=chains, energies=0 * ones, residual_forces=0 * ones,
        residual_energies=0 * ones, asymmetry=0 * ones, drift=0 * ones,
    )  # fmt: skip


def test_the_average_over_draws_is_exponential_and_its_error_is_right(record_property):
    """Draws of two kinds of quanta with known weights; 150 runs of 400 draws."""
    t, rng = 600.0, np.random.default_rng(5)
    kinds = np.array([[0.02, 0.03], [0.025, 0.06]])
    free = thermodynamics(kinds, t)[0]
    exact = -units.kB * t * np.log(np.mean(np.exp(-free / (units.kB * t)) * [0.8, 1.2]))
    base, z = synthetic(kinds, 1), []
    for _ in range(150):
        which = rng.choice(2, size=400, p=[0.4, 0.6])
        run = dataclasses.replace(base, quanta=kinds[which], draws=100, chains=4)
        got = run.average(t)
        z.append((got.mean - exact) / got.error)
    z = np.array(z)
    record_property("z", float(z.mean() * np.sqrt(len(z))))
    assert abs(z.mean()) * np.sqrt(len(z)) < 4
    assert abs(z.std() - 1.0) < 4 / np.sqrt(2 * len(z))
    plain = kinds[which]
    wrong = abs(thermodynamics(plain, t)[0].mean() - exact)
    assert wrong > 4 * got.error * 0.9  # the plain mean is no free energy


def test_an_average_that_rests_on_one_soft_draw_is_not_believed():
    """Draws of a law whose rarest kind has most of the weight: the error alone would not tell."""
    t, rng = 600.0, np.random.default_rng(4)
    kinds = np.array([[0.05] * 8, [0.025] * 8])  # the second weighs 2⁸ classically
    which = (np.arange(400) == 7).astype(int)
    run = dataclasses.replace(synthetic(kinds, 1), quanta=kinds[which], draws=100, chains=4)
    found = run.average(t, "classical")
    share = 256 / (256 + 399)
    assert run.largest_share(t, "classical") == pytest.approx(share, rel=1e-9)
    assert found.ess == pytest.approx((256 + 399) ** 2 / (256**2 + 399))
    assert not found.converged
    ordered = synthetic(np.array([[0.05] * 8]), 1)
    shift = vibrational_shift(ordered, run, t, 3.0, "classical")
    assert "One draw has" in shift.statement
    spread = kinds[:1] * np.exp(0.01 * rng.normal(size=(400, 8)))
    even = dataclasses.replace(run, quanta=spread)
    assert even.average(t, "classical").converged
    assert "One draw" not in vibrational_shift(ordered, even, t, 3.0, "classical").statement


def test_the_shift_of_a_transition_has_the_closed_form_of_classical_vibrations():
    ordered, disordered = (
        synthetic(np.array([[0.030, 0.050]]), 1),
        synthetic(np.array([[0.028, 0.045]]), 1),
    )
    t0, latent = 1200.0, 0.08
    entropy = units.kB * np.log(0.030 * 0.050 / (0.028 * 0.045))
    found = vibrational_shift(ordered, disordered, t0, latent, "classical")
    assert found.temperature == pytest.approx(t0 / (1 + entropy / (latent / t0)), rel=1e-6)
    assert found.temperature < t0
    assert found.difference == pytest.approx(-t0 * entropy)
    assert found.beyond_first_order
    assert "rely on its direction only" in found.statement
    small = vibrational_shift(ordered, disordered, t0, 10 * latent, "classical")
    assert not small.beyond_first_order
    assert "direction" not in small.statement
    back = vibrational_shift(disordered, ordered, t0, latent, "classical")
    assert back.temperature > t0
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_the_error_of_a_shift_is_that_of_the_free_energies_over_the_slope():
    rng = np.random.default_rng(8)
    spread = np.array([0.028, 0.045]) * np.exp(0.05 * rng.normal(size=(200, 2)))
    ordered, disordered = synthetic(np.array([[0.030, 0.050]]), 1), synthetic(spread, 50, 4)
    found = vibrational_shift(ordered, disordered, 1200.0, 0.08, "classical")
    average = disordered.average(found.temperature, "classical")
    slope = 0.08 / 1200.0 + (ordered.entropy(found.temperature, "classical")[0] * 0)
    change = average.mean - ordered.vibrational(found.temperature, "classical")[0]
    slope -= change / found.temperature  # ΔF is proportional to T, but for the weights' reweighting
    assert found.error == pytest.approx(average.error / slope, rel=0.02)
    assert found.converged


def test_an_occupation_drawn_twice_is_displaced_once():
    model = chain(("Mg", "Ca"), 4, 2.0)
    calls, plain = [], model.forces_at

    def counted(occupations, positions, cells):
        calls.append(len(occupations))
        return plain(occupations, positions, cells)

    model.forces_at = counted
    states = np.array([[0, 1, 0, 1], [0, 0, 1, 1]])[[0, 1, 0, 0, 1, 0]]
    found = harmonic_free_energy(model, states.reshape(3, 2, 4), 300.0)
    assert sum(calls) == 6 + 3 * 2 * 12  # two occupations, the first with two steps
    assert (found.quanta == found.quanta[[0, 1, 0, 0, 1, 0]]).all()
    assert (found.draws, found.chains) == (3, 2)
    with pytest.raises(InputError, match="every n-th draw"):
        harmonic_free_energy(model, np.zeros((1001, 4), int), 300.0)


# ---- refusals and plain data


def test_a_saddle_is_refused_or_shown_without_a_free_energy():
    bond = np.array([[2.0, -0.5], [-0.5, 2.0]])
    model = chain(("Mg", "Ca"), 5, np.pad(bond, (0, 1)))
    states = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
    with pytest.raises(ConvergenceError, match="occupation 0 has 3 imaginary"):
        harmonic_free_energy(model, states, 300.0)
    found = harmonic_free_energy(model, states, 300.0, imaginary="report")
    kinds = found.imaginary.tolist()
    assert kinds[0] == 3
    assert kinds[1] in {0, 3}
    assert np.isnan(found.vibrational(300.0)[0])
    assert found.frequencies[0, 0] < 0
    assert np.isnan(found.average(300.0).mean)
    assert "no harmonic free energy" in found.statement
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_molecule_free_to_turn_is_no_crystal():
    """Bonds of no stiffness across: modes that cost nothing beside the translations."""
    bond = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    with pytest.raises(ConvergenceError, match="imaginary"):
        harmonic_free_energy(chain(("Mg", "Ca"), 6, bond), np.array([0, 0, 0, 1, 1, 1]), 300.0)


def test_forces_that_are_left_are_refused(magnesia):
    model, _ = magnesia
    rattled = model.lattice.displaced_positions(0.05, 1)
    with pytest.raises(ConvergenceError, match="above fmax"):
        harmonic_free_energy(model, np.array([0, 0, 0, 1]), 300.0, rattled)


def test_atoms_tied_to_places_are_refused():
    model = chain(("Mg", "Ca"), 5, 2.0, tether=1.0)
    with pytest.raises(InputError, match="ties atoms to places"):
        harmonic_free_energy(model, np.zeros(5, int), 300.0)


def test_an_occupation_without_a_minimum_is_named():
    bond = np.array([[2.0, -0.5, 0], [-0.5, 2.0, 0], [0, 0, 0]])
    landscape = Relaxed(chain(("Mg", "Ca"), 5, bond), fmax=1e-6, max_steps=5)
    with pytest.raises(ConvergenceError, match="occupation 0 has no minimum"):
        harmonic_free_energy(landscape, np.array([[0, 0, 0, 0, 1]]), 300.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperatures": -1.0}, "temperatures"),
        ({"temperatures": []}, "temperatures"),
        ({"step": 0.0}, "step"),
        ({"fmax": np.nan}, "fmax"),
        ({"imaginary": "drop"}, "imaginary"),
        ({"positions": np.zeros((2, 3))}, "positions of shape"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(options, words):
    given = {"temperatures": 300.0} | options
    with pytest.raises(InputError, match=words):
        harmonic_free_energy(chain(("Mg", "Ca"), 4, 1.0), np.zeros(4, int), **given)


def test_a_model_without_forces_is_refused():
    class Energies:
        lattice = ring((("Mg", "Ca"), 4))

    with pytest.raises(InputError, match="has no forces"):
        harmonic_free_energy(Energies(), np.zeros(4, int), 300.0)


def test_what_cannot_be_compared_has_no_shift():
    one = synthetic(np.array([[0.03, 0.05]]), 1)
    other = dataclasses.replace(one, occupations=np.array([[0, 0, 0, 1]]))
    with pytest.raises(InputError, match="size or composition"):
        vibrational_shift(one, other, 1000.0, 0.1)
    with pytest.raises(InputError, match="latent_heat"):
        vibrational_shift(one, one, 1000.0, 0.0)
    soft = dataclasses.replace(one, quanta=np.array([[1e-5, 0.01]]))
    with pytest.raises(ConvergenceError, match="imaginary"):
        vibrational_shift(one, soft, 1000.0, 0.1)
    stiff = dataclasses.replace(one, quanta=np.array([[0.3, 0.5]]))
    with pytest.raises(ConvergenceError, match="outweigh"):
        vibrational_shift(stiff, one, 1000.0, 0.01)


def test_results_are_plain_data_and_a_table(mixed):
    found, _ = mixed
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["statement"] == found.statement
    assert len(said["rows"]) == 2
    table = found.table()
    assert table.free_energy.shape == (1, 2)
    assert float(table.free_energy[0, 0]) == pytest.approx(
        found.energies[0] + found.vibrational(300.0)[0]
    )
    assert found.frequencies[0, 0] == pytest.approx(found.quanta[0, 0] / TERAHERTZ)
    assert pytest.approx(0.0041357, rel=1e-4) == TERAHERTZ  # h × 1 THz in eV
