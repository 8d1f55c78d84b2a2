"""Vacancies by a harmonic ghost, against the closed forms of crystals on springs.

Statistical comparisons are z-scores of the reported error with fixed seeds, refused above 4: a
false alarm has a probability of 6·10⁻⁵ each, four of them.
"""

import numpy as np
import pytest
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers

from alchemc import AlchemicalCHGNet, AlchemicalMACE, Lattice, Sublattice, analysis, builders
from alchemc.analysis.alchemical.solids import thermal_wavelength
from alchemc.ensembles import HMC, Switching, VacancyPath
from alchemc.ensembles.dynamics.crystal import Structures
from alchemc.errors import InputError
from alchemc.solid_records import RemovedAtom
from alchemical_mutants import GhostKept, GhostUnnormalised
from solid_cases import K_T, POROUS, TEMPERATURE, estimate, exact_draws, held_free_energy

BEFORE = np.array([0, 1], dtype=np.int8)
AFTER = np.array([2, 1], dtype=np.int8)
FRAME = np.array([False, False, True, True, True, True])
MU = -2.5


def vacancy(spring=5.0, place=None):
    return VacancyPath(POROUS, 0, "Sc", spring, place, mixing="energies")


def both_ends(path, n, rng):
    """Draws of the crystal with its atom, and of that without it beside the ghost."""
    cells = np.repeat(POROUS.cell[None], n, axis=0)
    occupations = np.repeat(BEFORE[None], n, axis=0)
    first = exact_draws(POROUS, BEFORE, FRAME, n, rng)
    last = exact_draws(POROUS, AFTER, FRAME, n, rng)
    last[:, 0] = path.place + np.sqrt(K_T / path.spring) * rng.standard_normal((n, 3))
    return tuple(Structures(occupations, p, cells, np.full(n, np.nan)) for p in (first, last))


def exact_formation(symbol="Sc"):
    """Of the held crystals, which the release of the centre leaves alone, and the momenta."""
    energies = [held_free_energy(POROUS, one, FRAME) for one in (AFTER, BEFORE)]
    wavelength = thermal_wavelength(atomic_masses[atomic_numbers[symbol]], TEMPERATURE)
    return energies[0] - energies[1] - 3.0 * K_T * float(np.log(wavelength)) + MU


@pytest.mark.parametrize("mutant", [None, GhostKept, GhostUnnormalised])
def test_formation_free_energy_is_that_of_the_closed_form(mutant, record_property):
    path = vacancy()
    found = estimate(path, *both_ends(path, 4000, np.random.default_rng(2)))
    made = mutant or analysis.VacancyFormation
    formation = made.of(path.record(TEMPERATURE), found, MU)
    z = (formation.value - exact_formation()) / formation.error
    record_property("z", z)
    assert (abs(z) < 4) == (mutant is None)
    assert formation.error < 0.02


@pytest.mark.parametrize(("spring", "place"), [(2.0, None), (9.0, [0.05, -0.05, 0.1])])
def test_the_ghosts_spring_and_place_do_not_matter(spring, place, record_property):
    """Its closed form takes away what they are."""
    at = None if place is None else POROUS.lattice.atoms.positions[0] + place
    path = vacancy(spring, at)
    found = estimate(path, *both_ends(path, 4000, np.random.default_rng(3)))
    formation = analysis.VacancyFormation.of(path.record(TEMPERATURE), found, MU)
    z = (formation.value - exact_formation()) / formation.error
    record_property("z", z)
    assert abs(z) < 4


def test_switching_in_steps_gives_the_closed_form(record_property):
    """HMC on U_s of the path between steps of s, forward and back, from where the driver brings."""
    path = vacancy()
    switching = Switching(
        path, TEMPERATURE, 8, dynamics=HMC(step=6.0, n_steps=5), equilibration=12, warmup=20
    )
    works = switching.run(BEFORE, n_chains=150, n_rounds=2, seed=4)
    found = analysis.switching_free_energy(works, resamples=40)
    formation = analysis.VacancyFormation.of(path.record(TEMPERATURE), found, MU)
    z = (formation.value - exact_formation()) / formation.error
    record_property("z", z)
    assert abs(z) < 4
    assert formation.error < 0.02


def iron():
    atoms = bulk("Fe", "bcc", a=2.85, cubic=True) * (2, 1, 1)
    return Lattice(atoms, {"site": Sublattice((0,), ("Fe", "X"))})


@pytest.fixture(scope="module")
def chgnet():
    return AlchemicalCHGNet(iron(), device="cpu")


def test_slope_and_forces_of_a_potential_are_those_of_its_energy(chgnet):
    path, rng = VacancyPath(chgnet, 0, "Fe", 5.0), np.random.default_rng(6)
    lattice = chgnet.lattice
    positions = lattice.atoms.positions + 0.05 * rng.standard_normal((4, 3))
    step = 1e-3 * rng.standard_normal((4, 3))
    many = np.stack([positions, positions + step, positions - step])
    cells = np.repeat(lattice.atoms.cell.array[None], 3, axis=0)
    at = Structures(np.zeros((3, 1), dtype=np.int8), many, cells, np.full(3, np.nan))
    one = Structures(*(part[:1] for part in at))
    energy, slope = path.energy(0.4, at), path.slope(0.4, one)
    ahead, behind = path.energy(0.401, one), path.energy(0.399, one)
    assert slope[0] == pytest.approx((ahead - behind)[0] / 0.002, rel=1e-4)
    forces = path.crystal(0.4, 300.0).evaluate(at.occupations, many, cells)[1][0]
    assert (forces * step).sum() == pytest.approx(0.5 * (energy[2] - energy[1]), rel=1e-3)
    assert path.energies(np.array([0.4]), at)[:, 0] == pytest.approx(energy)


def test_a_ghost_at_the_end_of_its_path_knows_nothing_of_the_crystal(chgnet):
    path, lattice = VacancyPath(chgnet, 0, "Fe", 5.0), chgnet.lattice
    moved = np.repeat(lattice.atoms.positions[None], 2, axis=0)
    moved[1, 0] += [0.3, -0.2, 0.1]
    cells = np.repeat(lattice.atoms.cell.array[None], 2, axis=0)
    at = Structures(np.zeros((2, 1), dtype=np.int8), moved, cells, np.full(2, np.nan))
    energy = path.energy(1.0, at)
    assert energy[0] == pytest.approx(chgnet.energy(np.array([[1]]))[0], abs=1e-5)
    assert energy[1] - energy[0] == pytest.approx(0.5 * 5.0 * 0.14, abs=1e-5)
    crystal = path.crystal(1.0, 300.0)
    assert crystal.masses(at.occupations, "species")[0, 0] == pytest.approx(55.845)
    forces = crystal.evaluate(at.occupations, moved, cells)[1]
    assert forces[1, 0] == pytest.approx([-1.5, 1.0, -0.5], abs=1e-6)


def test_formation_says_its_reservoir_and_charge():
    ghost = RemovedAtom("O", 15.999, 5.0, 600.0)
    gas = analysis.gas_potential("O", -9.86, 600.0)
    found = analysis.VacancyFormation(ghost, 9.0, 0.03, gas.value, 0.04, reservoir=gas.name)
    told = found.to_dict()
    assert "neutral" in told["statement"]
    assert "half of O2 at 600 K and 1 bar (μ = " in told["statement"]
    assert gas.statement.startswith(f"{gas.name}: {gas.value:.4f} eV")
    assert told["error_eV"] == pytest.approx(0.05)
    assert {row["term"]: row["error_eV"] for row in told["terms"]}["chemical potential"] == 0.04
    again = RemovedAtom.from_arrays(ghost.to_arrays())
    assert again == ghost


def test_what_cannot_be_vacant_is_refused_in_one_line(chgnet):
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    with pytest.raises(InputError, match='the species "X" as well'):
        VacancyPath(mace, 0, "Mg", 5.0)
    with pytest.raises(InputError, match="site is 9"):
        VacancyPath(chgnet, 9, "Fe", 5.0)
    with pytest.raises(InputError, match="spring is 0"):
        VacancyPath(chgnet, 0, "Fe", 0)
    with pytest.raises(InputError, match="give the path a dynamics"):
        vacancy().found(0.5, BEFORE[None], None)
    with pytest.raises(InputError, match="chemical_potential is nan"):
        analysis.VacancyFormation(RemovedAtom("O", 16.0, 5.0, 600.0), 9.0, 0.0, np.nan)


def test_records_and_estimates_of_another_kind_are_refused_in_one_line():
    ghost = RemovedAtom("O", 16.0, 5.0, 600.0)
    with pytest.raises(InputError, match="reference is 'x'; give a HeldReference"):
        analysis.SolidFreeEnergy("x", -3.0)
    with pytest.raises(InputError, match="ghost is 'O'; give a RemovedAtom"):
        analysis.VacancyFormation("O", 9.0, 0.0, -5.0)
    with pytest.raises(InputError, match=r"path is 9\.0; give an estimate"):
        analysis.VacancyFormation.of(ghost, 9.0, -5.0)
    with pytest.raises(InputError, match="one of solids is 1; give a SolidFreeEnergy"):
        analysis.infinite_size([1, 2])
    with pytest.raises(InputError, match="temperature is 'hot'"):
        analysis.SubstitutionFreeEnergy(1.0, 0.1, [1.0], [2.0], "hot")
    with pytest.raises(InputError, match="masses are 'x'"):
        analysis.SubstitutionFreeEnergy(1.0, 0.1, "x", [2.0], 300.0)
