"""Absolute free energies of crystals against closed forms, and what happens when a term is lost.

Statistical comparisons are z-scores of the reported error with fixed seeds, refused above 4: a
false alarm has a probability of 6·10⁻⁵ each, twelve of them.
"""

import numpy as np
import pytest
from ase import Atoms, units
from ase.data import atomic_masses

from alchemc import AlchemicalMACE, Lattice, Sublattice, analysis, builders
from alchemc.analysis.stability.harmonic_modes import modes_of, thermodynamics
from alchemc.ensembles import HMC, AlchemicalPath, Groups, Switching, WindowSampling
from alchemc.ensembles.alchemical.einstein import (
    EinsteinCrystal,
    HarmonicCrystal,
    spring_constants,
)
from alchemc.ensembles.alchemical.frenkel_ladd import (
    FrenkelLaddPath,
    mean_force_constants,
    reference_path,
    thermal_positions,
)
from alchemc.ensembles.dynamics.crystal import Structures
from alchemc.errors import InputError
from alchemc.solid_records import HeldReference
from alchemc.streams import spawn_generators
from alchemical_mutants import CentreForgotten, JacobianForgotten, MassesTwice
from solid_cases import (
    FULL,
    K_T,
    POROUS,
    TEMPERATURE,
    estimate,
    exact_draws,
    held_free_energy,
    simple_cubic,
    simple_cubic_limit,
)

MIXED = np.array([0, 1, 1, 0], dtype=np.int8)
EVERY = np.ones(6, dtype=bool)
FRAME = np.array([False, False, True, True, True, True])


def structures(toy, occupation, positions):
    n = len(positions)
    cells = np.repeat(toy.cell[None], n, axis=0)
    return Structures(np.repeat(occupation[None], n, axis=0), positions, cells, np.full(n, np.nan))


def einstein(toy=FULL, occupation=MIXED):
    springs = {"Sc": 4.0, "Ta": 9.0, "O": 6.0}
    return EinsteinCrystal(toy.lattice, occupation, springs)


def harmonic(toy=FULL, occupation=MIXED):
    """Force constants of other springs about other places: near the toy, and yet not it."""
    there = einstein(toy, occupation).there
    one, *_ = toy.quadratic(occupation)
    matrix = np.kron(0.8 * one[np.ix_(there, there)] + 1.0 * np.eye(there.sum()), np.eye(3))
    rng = np.random.default_rng(3)
    places = toy.lattice.atoms.positions + 0.03 * rng.standard_normal((len(there), 3))
    return HarmonicCrystal(toy.lattice, occupation, matrix, places)


# ---- references --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [einstein, harmonic])
def test_forces_of_a_reference_are_those_of_its_energy(make):
    crystal, rng = make(), np.random.default_rng(1)
    positions = FULL.positions + 0.1 * rng.standard_normal((6, 3))
    step = 1e-4 * rng.standard_normal((6, 3))
    both = np.stack([positions - step, positions + step, positions])
    cells = np.repeat(FULL.cell[None], 3, axis=0)
    energy, forces, _ = crystal.forces_at(np.repeat(MIXED[None], 3, axis=0), both, cells)
    if make is harmonic:  # it knows nothing of the centre
        step = step - step.mean(axis=0)
        both = np.stack([positions - step, positions + step])
        energy = crystal.forces_at(np.repeat(MIXED[None], 2, axis=0), both, cells[:2])[0]
    assert energy[1] - energy[0] == pytest.approx(-2.0 * (forces[2] * step).sum(), rel=1e-6)


@pytest.mark.parametrize(("toy", "occupation"), [(FULL, MIXED), (POROUS, np.array([2, 0]))])
@pytest.mark.parametrize("make", [einstein, harmonic])
def test_draws_of_a_reference_are_those_of_its_equilibrium(make, toy, occupation, record_property):
    crystal, n = make(toy, occupation), 4000
    positions = crystal.draw(TEMPERATURE, spawn_generators(5, n))
    away = positions - crystal.places
    assert np.abs(away[:, crystal.frame].mean(axis=1)).max() < 1e-12
    occupations = np.repeat(occupation[None], n, axis=0)
    cells = np.repeat(toy.cell[None], n, axis=0)
    energy = crystal.forces_at(occupations, positions, cells)[0]
    modes = 3 * int(crystal.there.sum()) - 3
    z = (energy.mean() / K_T - 0.5 * modes) / np.sqrt(0.5 * modes / n)
    record_property("z", z)
    assert abs(z) < 4


def test_springs_of_a_held_centre_are_those_of_the_closed_form():
    """Πκ (2πk_BT Σ 1/(n_f² κ))^{−3/2}, with some of the atoms outside the frame."""
    crystal = einstein(POROUS, np.array([0, 1]))
    held, springs = crystal.record(TEMPERATURE), crystal.springs
    assert crystal.frame.tolist() == FRAME.tolist()
    terms = analysis.SolidFreeEnergy(held, 0.0).terms
    n_f = FRAME.sum()
    free = -1.5 * K_T * np.log(2.0 * np.pi * K_T / springs).sum()
    variance = K_T * (1.0 / springs[FRAME]).sum() / n_f**2
    expected = free + 1.5 * K_T * np.log(2.0 * np.pi * variance)
    assert terms["springs"] + terms["centre held"] == pytest.approx(expected, rel=1e-12)


def test_springs_from_displacements_are_those_that_made_them():
    crystal = EinsteinCrystal(FULL.lattice, MIXED, {"Sc": 4.0, "Ta": 9.0, "O": 6.0})
    draws = crystal.draw(TEMPERATURE, spawn_generators(2, 3000))
    found, places = spring_constants(FULL.lattice, MIXED, draws, TEMPERATURE)
    weak, strong = 1.0 / crystal.springs, (1.0 / crystal.springs).sum()
    reach = weak - weak**2 / strong  # a held centre takes this from every atom
    for symbol, number in (("Sc", 21), ("Ta", 73), ("O", 8)):
        exact = 1.0 / reach[crystal.numbers == number].mean()
        assert found[symbol] == pytest.approx(exact, rel=4 * np.sqrt(2 / 9 / 3000))
    assert np.abs(places - crystal.places).max() < 5 * np.sqrt(K_T / 4.0 / 3000)


# ---- the path ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toy", "occupation", "frame"), [(FULL, MIXED, EVERY), (POROUS, np.array([0, 2]), FRAME)]
)
@pytest.mark.parametrize("make", [einstein, harmonic])
def test_switching_from_a_reference_gives_the_free_energy(
    make, toy, occupation, frame, record_property
):
    crystal = make(toy, occupation)
    path = FrenkelLaddPath(crystal, toy)
    draws = exact_draws(toy, occupation, frame, 3000, np.random.default_rng(7))
    found = estimate(path, path.starts(TEMPERATURE, 3000, 1), structures(toy, occupation, draws))
    solid = analysis.SolidFreeEnergy.of(crystal.record(TEMPERATURE), found)
    terms = solid.terms
    held = terms["springs"] + terms["centre held"] + terms["switching"]
    z = (held - held_free_energy(toy, occupation, frame)) / solid.error
    record_property("z", z)
    assert abs(z) < 4
    assert solid.error < 0.01
    assert path.calls == 6000  # of the toy: the reference costs nothing


def test_a_substitution_is_the_difference_of_two_absolute_free_energies(record_property):
    """Sc to Ta on one site: by λ, by two paths from reference crystals, and exactly."""
    after, rng = np.array([1, 1, 1, 0], dtype=np.int8), np.random.default_rng(8)
    draws = [structures(FULL, one, exact_draws(FULL, one, EVERY, 3000, rng))
             for one in (MIXED, after)]  # fmt: skip
    path = AlchemicalPath(FULL, Groups.of(FULL.lattice, {"one": [0]}), "Sc", "Ta", "energies")
    started = draws[1]._replace(occupations=draws[0].occupations)
    found = estimate(path, draws[0], started)
    masses = atomic_masses[[21]], atomic_masses[[73]]
    change = analysis.SubstitutionFreeEnergy(found.free_energy, found.error, *masses, TEMPERATURE)
    solids = []
    for occupation, ends in zip((MIXED, after), draws, strict=True):
        ladder = FrenkelLaddPath(harmonic(occupation=occupation), FULL)
        switched = estimate(ladder, ladder.starts(TEMPERATURE, 3000, 1), ends)
        solids.append(analysis.SolidFreeEnergy.of(ladder.reference.record(TEMPERATURE), switched))
    difference = solids[1].value - solids[0].value
    z = (change.value - difference) / np.linalg.norm([one.error for one in (change, *solids)])
    exact = np.diff([held_free_energy(FULL, one, EVERY) for one in (MIXED, after)])[0]
    exact += analysis.mass_contribution(*masses, TEMPERATURE)
    record_property("z", z)
    assert abs(z) < 4
    assert abs(change.value - exact) < 4 * change.error < 0.1


@pytest.mark.parametrize("windows", [False, True])
def test_drivers_of_paths_give_the_free_energy(windows, record_property):
    """Works of HMC on U_s, and equilibrium windows, from where the drivers bring themselves."""
    crystal = harmonic()
    path = FrenkelLaddPath(crystal, FULL)
    options = {"dynamics": HMC(step=5.0, n_steps=5), "equilibration": 20}
    if windows:
        sampling = WindowSampling(path, TEMPERATURE, couplings=4, **options)
        found = analysis.window_free_energy(sampling.run(MIXED, n_draws=60, n_chains=8, seed=5))
    else:
        switching = Switching(path, TEMPERATURE, 6, **options)
        works = switching.run(MIXED, n_chains=100, n_rounds=2, seed=5)
        found = analysis.switching_free_energy(works, resamples=40)
    terms = analysis.SolidFreeEnergy.of(crystal.record(TEMPERATURE), found).terms
    held = terms["springs"] + terms["centre held"] + terms["switching"]
    z = (held - held_free_energy(FULL, MIXED, EVERY)) / found.error
    record_property("z", z)
    assert abs(z) < 4
    assert found.error < 0.02


def test_errors_of_free_energies_are_honest(record_property):
    crystal = harmonic()
    exact, scores = held_free_energy(FULL, MIXED, EVERY), []
    for seed in range(50):
        path = FrenkelLaddPath(crystal, FULL)
        draws = exact_draws(FULL, MIXED, EVERY, 200, np.random.default_rng(seed))
        starts = path.starts(TEMPERATURE, 200, seed)
        found = estimate(path, starts, structures(FULL, MIXED, draws), resamples=20)
        terms = analysis.SolidFreeEnergy.of(crystal.record(TEMPERATURE), found).terms
        held = terms["springs"] + terms["centre held"] + terms["switching"]
        scores.append((held - exact) / found.error)
    spread = float(np.std(scores, ddof=1))
    record_property("sd_z", spread)
    assert 0.75 < spread < 1.3  # for honest errors: p = 0.005
    assert abs(np.mean(scores)) < 4 / np.sqrt(50)


def test_a_hmc_run_suggests_the_springs_and_force_constants():
    thermal = thermal_positions(
        FULL, MIXED, TEMPERATURE, dynamics=HMC(step=4.0), n_draws=60, warmup=30, seed=4
    )
    assert thermal.positions.shape == (60, 2, 6, 3)
    a, *_ = FULL.quadratic(MIXED)
    matrix = mean_force_constants(FULL, MIXED, thermal.positions[:2, 0])
    assert matrix == pytest.approx(np.kron(a, np.eye(3)), abs=1e-8)
    soft = reference_path(FULL, MIXED, thermal, TEMPERATURE)
    assert soft.preparation == 0
    assert soft.calls == 0
    found = reference_path(FULL, MIXED, thermal, TEMPERATURE, kind="harmonic", hessians=2)
    assert found.calls == 2 * 36
    spread = [
        path.slope(0.0, path.starts(TEMPERATURE, 200, seed=0)).std() for path in (found, soft)
    ]
    assert spread[0] < 0.8 * spread[1]
    assert (thermal.last().positions == thermal.positions[-1]).all()
    assert (thermal.last().occupations == MIXED).all()


def test_a_path_on_mace_counts_the_model_alone():
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    mace, mgo = AlchemicalMACE(lattice, "bundled", device="cpu"), np.zeros(4, dtype=np.int8)
    path = FrenkelLaddPath(EinsteinCrystal(lattice, mgo, 6.0), mace)
    starts = path.starts(300.0, 2, seed=1)
    energies = path.energies(np.array([0.0, 0.5, 1.0]), starts)
    assert path.calls == 2
    assert energies[:, 1] == pytest.approx(energies[:, [0, 2]].mean(axis=1))


def test_a_centre_wanders_in_one_primitive_cell():
    for lattice, cells in (
        (builders.perovskite(("Pb", "Sr"), "Ti", "O", a=3.95, size=(2, 2, 1)), 4),
        (builders.perovskite(("Pb", "Sr"), ("Ti", "Zr"), "O", a=3.95, size=(2, 1, 1)), 2),
    ):
        crystal = EinsteinCrystal(lattice, np.zeros(lattice.n_sites, dtype=int), 5.0)
        assert crystal.record(300.0).translations == cells
        assert crystal.record(300.0, translations=1).translations == 1


# ---- closed forms ------------------------------------------------------------------------------


def lattice_dynamics(solid, matrix, frame_masses):
    """Free energy by quanta of vibration and one particle of the crystal's mass."""
    held = solid.reference
    quanta = modes_of(matrix, frame_masses)
    vibrations = thermodynamics(quanta, held.temperature, "classical")[0]
    wavelength = 6.62607015e-34 / np.sqrt(
        2 * np.pi * frame_masses.sum() * 1.66053906660e-27 * 1.380649e-23 * held.temperature
    )  # fmt: skip
    whole = np.log(held.volume / held.translations / (wavelength * 1e10) ** 3)
    return float(vibrations - units.kB * held.temperature * whole)


def free_crystal():
    """Four atoms of two masses on springs between them, none to places."""
    atoms = Atoms("Sc2O2", positions=3.0 * np.eye(4)[:, :3], cell=[9.0, 9.0, 9.0], pbc=True)
    lattice = Lattice(atoms, {"A": Sublattice("Sc", ("Sc", "Ta"))})
    laplace = np.array([[5.0, -2, -3, 0], [-2, 6, -1, -3], [-3, -1, 8, -4], [0, -3, -4, 7]])
    shape = np.array([[1.0, 0.1, 0], [0.1, 0.8, 0], [0, 0, 1.2]])
    return lattice, np.kron(laplace, shape)


@pytest.mark.parametrize("mutant", [None, CentreForgotten, JacobianForgotten])
def test_free_energy_is_that_of_lattice_dynamics(mutant):
    """Mass-weighted modes and the crystal as a particle know nothing of a held centre of places."""
    lattice, matrix = free_crystal()
    crystal = HarmonicCrystal(lattice, np.array([0, 1]), matrix, softest=0.01)
    held = crystal.record(500.0)
    masses = atomic_masses[crystal.numbers]
    solid = (mutant or analysis.SolidFreeEnergy)(held, 0.0)
    agrees = solid.value == pytest.approx(lattice_dynamics(solid, matrix, masses), abs=1e-6)
    assert agrees == (mutant is None)


@pytest.mark.parametrize("mutant", [None, JacobianForgotten])
def test_sizes_extrapolate_to_the_infinite_crystal(mutant):
    made = mutant or analysis.SolidFreeEnergy
    limit = analysis.infinite_size([made(simple_cubic(side), 0.0) for side in (5, 6, 7, 8)])
    agrees = limit.per_atom == pytest.approx(simple_cubic_limit(), abs=1e-4)
    assert agrees == (mutant is None)


def test_an_uncorrected_size_is_far_from_the_infinite_crystal():
    small = analysis.SolidFreeEnergy(simple_cubic(4), 0.0, 0.001)
    assert abs(small.per_atom - simple_cubic_limit()) > 0.003


def test_masses_change_a_crystals_free_energy_by_their_closed_form():
    before, after = simple_cubic(4, mass=207.2), simple_cubic(4, mass=87.62)
    change = (
        analysis.SolidFreeEnergy(after, 0.0).value - analysis.SolidFreeEnergy(before, 0.0).value
    )
    found = analysis.SubstitutionFreeEnergy(0.0, 0.0, before.masses, after.masses, 300.0)
    wrong = MassesTwice(0.0, 0.0, before.masses, after.masses, 300.0)
    assert found.value == pytest.approx(change, rel=1e-12)
    assert wrong.value != pytest.approx(change, rel=0.1)


def test_masses_that_are_exchanged_leave_no_signed_zero():
    exchanged = analysis.SubstitutionFreeEnergy(
        0.5, 0.01, np.array([44.956, 180.948]), np.array([180.948, 44.956]), 1200.0, "an exchange"
    )
    assert ", 0.0000 of it from the masses" in exchanged.statement


def test_stiffness_and_mass_together_are_those_of_the_quanta():
    """½ k_BT ln(k'/k) per mode from the path, the rest from the masses: k_BT ln(ω'/ω)."""
    lattice, matrix = free_crystal()
    numbers = HarmonicCrystal(lattice, np.array([0, 0]), matrix, softest=0.01).numbers
    before = modes_of(matrix, atomic_masses[numbers])
    after = modes_of(1.7 * matrix, 2.0 * atomic_masses[numbers])
    thermal = units.kB * 500.0
    switching = 0.5 * thermal * 9 * np.log(1.7)
    masses = atomic_masses[numbers]
    found = analysis.SubstitutionFreeEnergy(switching, 0.0, masses, 2.0 * masses, 500.0)
    quanta = thermal * np.log(after / before).sum()
    centre = -1.5 * thermal * np.log(2.0)  # the crystal as a whole is heavier, too
    assert found.value == pytest.approx(quanta + centre, rel=1e-9)


def test_a_table_of_terms_adds_up_and_says_what_it_is():
    solid = analysis.SolidFreeEnergy(simple_cubic(3), -27 * 8.0, 0.05)
    told = solid.to_dict()
    rows = {row["term"]: row for row in told["terms"]}
    assert sum(row["value_eV"] for name, row in rows.items() if name != "sum") == pytest.approx(
        told["value_eV"]
    )
    assert rows["switching"]["error_eV"] == rows["sum"]["error_eV"] == 0.05
    assert "27 atoms at 300 K" in told["statement"]
    assert "classical" in told["statement"]


@pytest.mark.parametrize(("kelvin", "tabulated"), [(100, -0.08), (300, -0.27), (500, -0.50),
                                                   (700, -0.73), (1000, -1.10)])  # fmt: skip
def test_oxygens_chemical_potential_is_that_of_the_tables(kelvin, tabulated):
    """Table I of Reuter and Scheffler (2001), doi:10.1103/PhysRevB.65.035406, two decimals."""
    found = analysis.gas_potential("O", 0.0, float(kelvin))
    assert found.thermal == pytest.approx(tabulated, abs=0.0101)
    halved = analysis.gas_potential("O", 0.0, float(kelvin), pressure=0.5)
    assert halved.value - found.value == pytest.approx(0.5 * units.kB * kelvin * np.log(0.5))


# ---- refusals ----------------------------------------------------------------------------------


def test_what_cannot_be_is_refused_in_one_line():
    lattice = FULL.lattice
    with pytest.raises(InputError, match="have none for O"):
        EinsteinCrystal(lattice, MIXED, {"Sc": 1.0, "Ta": 1.0})
    with pytest.raises(InputError, match="above 0"):
        EinsteinCrystal(lattice, MIXED, -1.0)
    with pytest.raises(InputError, match="not symmetric"):
        HarmonicCrystal(lattice, MIXED, np.triu(np.ones((18, 18))))
    with pytest.raises(InputError, match="keeps the lattice's cell"):
        einstein().forces_at(MIXED[None], FULL.positions[None], 1.01 * FULL.cell[None])
    with pytest.raises(InputError, match="give an EinsteinCrystal"):
        FrenkelLaddPath(FULL, FULL)
    with pytest.raises(InputError, match="two sizes"):
        analysis.infinite_size([analysis.SolidFreeEnergy(simple_cubic(3), 0.0)])
    with pytest.raises(InputError, match="3 n − 3"):
        HeldReference(np.ones(4), np.ones(2), 2, 1.0, 1, 300.0)
    with pytest.raises(InputError, match="no diatomic gas"):
        analysis.gas_potential("Xe", 0.0, 300.0)


def _thermal():
    options = {"dynamics": HMC(step=5.0, n_steps=2), "n_draws": 3, "warmup": 1}
    return thermal_positions(FULL, MIXED, TEMPERATURE, **options)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: einstein(POROUS, np.array([0, 2])).draw(-5.0, []), "temperature is -5"),
        (lambda: harmonic().draw(0.0, []), "temperature is 0"),
        (lambda: harmonic().record("hot"), "temperature is 'hot'"),
        (lambda: EinsteinCrystal(FULL.lattice, MIXED, np.ones(5)), "one for each of 6 atoms"),
        (lambda: EinsteinCrystal(FULL.lattice, MIXED, "stiff"), "springs are 'stiff'"),
        (lambda: EinsteinCrystal(FULL.lattice, MIXED, 1.0, "home"), "places have shape"),
        (lambda: HarmonicCrystal(FULL.lattice, MIXED, "K"), "matrix has shape"),
        (
            lambda: spring_constants(FULL.lattice, MIXED, np.zeros((6, 2, 3)), TEMPERATURE),
            r"positions have shape \(6, 2, 3\)",
        ),
        (
            lambda: spring_constants(FULL.lattice, MIXED, FULL.positions[None], -1.0),
            "temperature is -1",
        ),
        (lambda: thermal_positions(FULL, MIXED, -1.0), "temperature is -1"),
        (lambda: thermal_positions(FULL, np.stack([MIXED] * 2), 800.0), "occupation has shape"),
        (
            lambda: thermal_positions(FULL, MIXED, 800.0, positions=np.zeros((2, 3))),
            r"positions have shape \(2, 3\)",
        ),
        (
            lambda: reference_path(FULL, np.zeros(4, dtype=int), _thermal(), 800.0),
            "another occupation",
        ),
        (lambda: analysis.mass_contribution([1.0], [2.0], -300.0), "temperature is -300"),
        (lambda: analysis.mass_contribution(["heavy"], [2.0], 300.0), "give numbers in amu"),
        (lambda: analysis.mass_contribution([1.0], [np.inf], 300.0), "amu above 0"),
        (
            lambda: analysis.SubstitutionFreeEnergy(1.0, 0.1, [1.0], [2.0, 3.0], 300.0),
            "of the same atoms",
        ),
        (
            lambda: analysis.SolidFreeEnergy(simple_cubic(3), 0.0, -0.1),
            "switching_error is -0.1",
        ),
        (lambda: analysis.gas_potential(["O"], 0.0, 300.0), "no diatomic gas"),
    ],
)
def test_what_is_no_temperature_spring_or_mass_is_refused_in_one_line(wrong, message):
    with pytest.raises(InputError, match=message) as error:
        wrong()
    assert "\n" not in str(error.value)


def test_a_path_from_a_reference_refuses_what_would_be_another_free_energy():
    """A centre that drifts, an occupation that the reference does not have, and a kernel."""
    path = FrenkelLaddPath(einstein(), FULL)
    driven = {"dynamics": HMC(step=5.0, n_steps=2), "equilibration": 1}
    with pytest.raises(InputError, match="leave the centre held"):
        Switching(path, TEMPERATURE, 2, fix_centre=False, **driven)
    with pytest.raises(InputError, match="site 0 holds Ta in place of Sc"):
        Switching(path, TEMPERATURE, 2, **driven).run(np.array([1, 0, 1, 0]), n_chains=1)
    with pytest.raises(InputError, match="leave the kernel out"):
        path.model(0.0)
