"""Free energies of substitution and of vacancies with machine-learning potentials, and their costs.

``python benchmarks/alchemical_free_energies.py [PART …] [--keep FOLDER]``; merged into
``benchmarks/results/alchemical_free_energies.json``. One thread; fixed cells; works are stored in
the folder before anything is made of them.

- lead-800, lead-1200: PbTiO3 to SrTiO3 at 800 and 1,200 K, all eight sites of a 2×2×2 cell of 40
  atoms at once (bundled model), by switching λ forward and in reverse; beside it the difference of
  two absolute free energies by Frenkel–Ladd paths from Einstein crystals, and what each cost.
- exchange-1200: a Sc and a Ta of rock-salt Pb2ScTaO6 become each other, likewise, four times as
  slowly.
- oxygen: an oxygen vacancy in SrTiO3, 40 atoms, by CHGNet at 1,000 K, with the schedule of least
  dissipation that a pilot in seven windows suggests; neutral, against half of O2 at 1 bar, its
  energy by CHGNet and, apart from it, from MgO's measured enthalpy of formation.
- iron: a vacancy in bcc iron, 54 atoms, by CHGNet at 600 K, four repeats: the alchemical path
  beside two Frenkel–Ladd paths from start to end, both with the same steps of switching.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from alchemc import (
    AlchemicalCHGNet,
    AlchemicalMACE,
    Lattice,
    Relaxed,
    Sublattice,
    analysis,
    builders,
)
from alchemc.alchemical_records import Windows, Works
from alchemc.ensembles import HMC, EinsteinCrystal, FrenkelLaddPath, Langevin, VacancyPath
from alchemc.ensembles.alchemical import (
    AlchemicalPath,
    Groups,
    OptimisedSchedule,
    Switching,
    WindowSampling,
    spring_constants,
)
from alchemc.ensembles.alchemical.frenkel_ladd import reference_path, thermal_positions
from alchemc.solid_records import HeldReference, RemovedAtom

RESULT = Path(__file__).parent / "results" / "alchemical_free_energies.json"
STEPS = 24  # changes of s in a protocol, each followed by a trajectory
SLOWER = {"exchange": 4}  # times as many: Einstein crystals overlap too little with this one
HEAVY = {"masses": "equal"}  # of trajectories only: no average over positions knows masses
CRYSTALS = ("perfect", "vacancy")
MGO_ENTHALPY = -6.235  # eV per formula unit, 298 K: −601.6 kJ/mol (NIST–JANAF)


def kept(keep, name, kind, make):
    """Return a record from the folder, or make it and store it there first."""
    if not (keep / f"{name}.npz").exists():
        np.savez(keep / f"{name}.npz", **make().to_arrays())
    return stored(keep, name, kind)


def stored(keep, name, kind):
    with np.load(keep / f"{name}.npz") as arrays:
        return kind.from_arrays(dict(arrays))


def told(found, works, **more):
    """Say what a result is made of, for the file."""
    return found.to_dict() | {"calls": int(works.calls)} | more


# ---- substitution ----------------------------------------------------------------------------


def lead(size=(2, 2, 2)):
    lattice = builders.perovskite(("Pb", "Sr"), "Ti", "O", a=3.95, size=size)
    groups, n = Groups.whole(lattice), lattice.n_sites
    ends = np.zeros(n, dtype=np.int8), np.ones(n, dtype=np.int8)
    return lattice, groups, "Pb", "Sr", ends, "PbTiO3 to SrTiO3"


def exchange():
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(2, 2, 2))
    half = lattice.atoms.positions[lattice.sites] / 4.09
    rock_salt = np.rint((half - half[0]).sum(axis=1)).astype(int) % 2
    first, second = 0, int(np.flatnonzero(rock_salt == 1)[0])
    swapped = rock_salt.copy()
    swapped[[first, second]] = [1, 0]
    groups = Groups.of(lattice, {"one": [first], "other": [second]})
    ends = rock_salt.astype(np.int8), swapped.astype(np.int8)
    return lattice, groups, ["Sc", "Ta"], ["Ta", "Sc"], ends, "Sc and Ta exchanged"


def substitution(case, temperature, keep):
    lattice, groups, initial, final, ends, label = case()
    name = f"{case.__name__}-{temperature:g}"
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    found = {"temperature": temperature, "atoms": len(lattice.atoms)}
    found["alchemical"] = alchemical(name, keep, mace, groups, (initial, final), ends, temperature)
    print(found["alchemical"]["statement"], flush=True)
    solids = [absolute(f"{name}-{k}", keep, mace, end, temperature) for k, end in enumerate(ends)]
    found["frenkel_ladd"] = solids
    before, after = solids
    difference = after["value_eV"] - before["value_eV"]
    error = float(np.hypot(before["error_eV"], after["error_eV"]))
    path = found["alchemical"]
    calls = [path["calls"], before["calls"] + after["calls"]]
    found["difference_of_frenkel_ladd_eV"], found["its_error_eV"] = difference, error
    apart = path["value_eV"] - difference
    found["z"] = apart / float(np.hypot(path["error_eV"], error))
    found["calls"] = dict(zip(("alchemical", "frenkel_ladd"), calls, strict=True))
    # To one error, calls go as its square.
    found["times_cheaper"] = calls[1] * error**2 / (calls[0] * path["error_eV"] ** 2)
    found["label"] = label
    print(name, path["value_eV"], difference, found["z"], found["times_cheaper"], flush=True)
    return found


def steps_of(name):
    return STEPS * SLOWER.get(name.split("-")[0], 1)


def alchemical(name, keep, mace, groups, species, ends, temperature):
    path = AlchemicalPath(mace, groups, *species)
    switching = Switching(
        path, temperature, steps_of(name), "smooth step", HMC(step=5.0, n_steps=4, **HEAVY),
        equilibration=15, warmup=20,
    )  # fmt: skip
    works = kept(
        keep, f"{name}-alchemical", Works,
        lambda: switching.run(ends[0], n_chains=8, n_rounds=3, seed=1),
    )  # fmt: skip
    estimate = analysis.switching_free_energy(works)
    masses = [mace.lattice.to_atoms(end).get_masses() for end in ends]
    changed = masses[0] != masses[1]
    found = analysis.SubstitutionFreeEnergy(
        estimate.free_energy, estimate.error, masses[0][changed], masses[1][changed], temperature,
        path.label,
    )  # fmt: skip
    return told(found, works, switching=estimate.to_dict())


def absolute(name, keep, mace, occupation, temperature):
    dynamics = HMC(step=5.0, n_steps=4, **HEAVY)

    def switched():
        thermal = thermal_positions(
            mace, occupation, temperature, dynamics=dynamics, n_draws=20, warmup=25, n_replicas=8,
            seed=2,
        )  # fmt: skip
        path = reference_path(mace, occupation, thermal, temperature)
        kept(keep, f"{name}-reference", HeldReference, lambda: path.reference.record(temperature))
        switching = Switching(
            path, temperature, steps_of(name), "smooth step", thermal.dynamics, equilibration=15,
            warmup=5,
        )  # fmt: skip
        works = switching.run(thermal.last(), n_chains=8, n_rounds=3, seed=3)
        return dataclasses.replace(works, calls=works.calls + thermal.calls)

    works = kept(keep, f"{name}-frenkel-ladd", Works, switched)
    held = stored(keep, f"{name}-reference", HeldReference)
    estimate = analysis.switching_free_energy(works)
    solid = analysis.SolidFreeEnergy.of(held, estimate)
    print(solid.statement, flush=True)
    return told(solid, works, switching=estimate.to_dict())


# ---- an oxygen vacancy -----------------------------------------------------------------------


def oxygen(keep, temperature=1000.0, size=(2, 2, 2)):
    cubic = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.94, size=size).atoms
    atom = int(np.flatnonzero(cubic.numbers == 8)[0])
    lattice = Lattice(cubic, {"vacancy": Sublattice((atom,), ("O", "X"))})
    model = AlchemicalCHGNet(lattice, dtype="float32", device="cpu")
    full = np.zeros(1, dtype=np.int8)
    dynamics = Langevin(time_step=2.5, friction=0.02, n_steps=4, **HEAVY)
    thermal = thermal_positions(
        model, full, temperature, dynamics=dynamics, n_draws=10, warmup=20, seed=1, n_replicas=4
    )
    springs, places = spring_constants(lattice, full, thermal.positions, temperature)
    path = VacancyPath(model, 0, "O", springs["O"], places[atom])
    pilot = WindowSampling(path, temperature, 7, dynamics, equilibration=10)
    windows = kept(
        keep, "oxygen-pilot", Windows,
        lambda: pilot.run(thermal.last(), n_draws=10, n_chains=4, seed=3),
    )  # fmt: skip
    schedule = OptimisedSchedule.from_windows(windows)
    switching = Switching(path, temperature, 48, schedule, dynamics, equilibration=15, warmup=0)
    works = kept(
        keep, "oxygen", Works,
        lambda: switching.run(thermal.last(), n_chains=4, n_rounds=6, seed=2),
    )  # fmt: skip
    estimate = analysis.switching_free_energy(works)
    references = oxygen_references()
    found = {"temperature": temperature, "atoms": len(lattice.atoms), "references": references}
    for name, energy in references.items():
        gas = analysis.gas_potential("O", 2.0 * energy, temperature, pressure=1.0)
        vacancy = analysis.VacancyFormation.of(
            path.record(temperature), estimate, gas.value, reservoir=gas.name
        )
        found[name] = vacancy.to_dict()
        print(vacancy.statement, flush=True)
    found["relaxed_at_0_K_eV"] = relaxed_vacancy(lattice, references)
    return found | {
        "spring_eV_per_A2": springs["O"], "switching": estimate.to_dict(),
        "schedule": schedule.name, "rates_eV": schedule.rates.tolist(),
        "calls": thermal.calls + int(windows.calls) + int(works.calls),
    }  # fmt: skip


def oxygen_references():
    """Energy of an oxygen atom in O2, eV: of CHGNet's molecule, and so that MgO forms as measured.

    CHGNet is fitted to corrected energies of solids; its molecule is an extrapolation.
    """
    bonds = np.arange(1.16, 1.30, 0.01)
    molecule = Atoms("O2", [[0.0, 0.0, 0.0], [0.0, 0.0, 1.2]], cell=[9.0, 9.0, 9.0], pbc=True)
    gas = AlchemicalCHGNet(Lattice(molecule, {"O": Sublattice((0,), ("O", "N"))}), device="cpu")
    places = np.repeat(molecule.positions[None], len(bonds), axis=0)
    places[:, 1, 2] = bonds
    cells = np.repeat(molecule.cell.array[None], len(bonds), axis=0)
    none = np.zeros((len(bonds), 1), dtype=np.int8)
    by_molecule = 0.5 * float(gas.forces_at(none, places, cells)[0].min())
    solids = []
    for atoms in (bulk("MgO", "rocksalt", a=4.24, cubic=True), bulk("Mg", "hcp", a=3.18, c=5.17)):
        lattice = Lattice(atoms, {"Mg": Sublattice((0,), ("Mg", "Ca"))})
        model = Relaxed(AlchemicalCHGNet(lattice, device="cpu"), fmax=0.02, cell="full")
        relaxed = model.relaxed(np.zeros((1, 1), dtype=np.int8))
        solids.append(float(relaxed.energies[0]) / (atoms.numbers == 12).sum())
    return {"molecule": by_molecule, "oxide": solids[0] - solids[1] - MGO_ENTHALPY}


def relaxed_vacancy(lattice, references):
    """Energy of formation at the minima, by reference."""
    model = Relaxed(AlchemicalCHGNet(lattice, device="cpu"), fmax=0.05)
    minima = model.relaxed(np.array([[0], [1]], dtype=np.int8))
    change = float(minima.energies[1] - minima.energies[0])
    return {name: change + energy for name, energy in references.items()}


# ---- a vacancy in iron -----------------------------------------------------------------------


def iron(keep, temperature=600.0, size=3, repeats=4):
    atoms = bulk("Fe", "bcc", a=2.84, cubic=True) * (size, size, size)
    n = len(atoms)
    lattice = Lattice(atoms, {"vacancy": Sublattice((0,), ("Fe", "X"))})
    if not (keep / "iron-vacancy.npz").exists():
        switch_iron(keep, lattice, temperature, repeats)
    works = {name: stored(keep, f"iron-{name}", Works) for name in (*CRYSTALS, "alchemical")}
    solids = {name: stored(keep, f"iron-{name}-reference", HeldReference) for name in CRYSTALS}
    ghost = stored(keep, "iron-ghost", RemovedAtom)
    each = {name: middle(work) for name, work in works.items()}
    absolute = {
        name: np.array([analysis.SolidFreeEnergy(held, one).value for one in each[name]])
        for name, held in solids.items()
    }
    per_atom = absolute["perfect"] / n
    bulk_iron = f"bulk iron of {n} atoms at constant volume"
    by_path = np.array([
        analysis.VacancyFormation(ghost, one, 0.0, mu, reservoir=bulk_iron).value
        for one, mu in zip(each["alchemical"], per_atom, strict=True)
    ])  # fmt: skip
    by_two = absolute["vacancy"] - (n - 1) * per_atom
    spread = {"alchemical": by_path.std(ddof=1), "frenkel_ladd": by_two.std(ddof=1)}
    vacancy = analysis.VacancyFormation.of(
        ghost, analysis.switching_free_energy(works["alchemical"]), float(per_atom.mean()),
        float(per_atom.std(ddof=1) / np.sqrt(repeats)), reservoir=bulk_iron,
    )  # fmt: skip
    print(vacancy.statement, spread, flush=True)
    return {
        "temperature": temperature, "atoms": n, "repeats": repeats,
        "alchemical_eV": by_path.tolist(), "frenkel_ladd_eV": by_two.tolist(),
        "spread_alchemical_eV": float(spread["alchemical"]),
        "spread_frenkel_ladd_eV": float(spread["frenkel_ladd"]),
        "times_smaller": float(spread["frenkel_ladd"] / spread["alchemical"]),
        "bulk_eV_per_atom": per_atom.tolist(), "vacancy": vacancy.to_dict(),
        "relaxed_at_0_K_eV": relaxed_iron(lattice, n),
        "calls": {name: int(work.calls) for name, work in works.items()},
        "dissipated_eV": {name: dissipated(work) for name, work in works.items()},
    }  # fmt: skip


def switch_iron(keep, lattice, temperature, repeats):
    """Works of the three paths; calls of absolute ones count the draws their springs come from."""
    model = AlchemicalCHGNet(lattice, dtype="float32", device="cpu")
    dynamics = Langevin(time_step=4.0, friction=0.02, n_steps=3)
    n = len(lattice.atoms)

    def driven(path, thermal, seed):
        switching = Switching(
            path, temperature, STEPS, "smooth step", dynamics, equilibration=10, warmup=0
        )
        return switching.run(thermal.last(), n_chains=repeats, seed=seed)

    for held, name in enumerate(CRYSTALS):
        occupation = np.array([held], dtype=np.int8)
        thermal = thermal_positions(
            model, occupation, temperature, dynamics=dynamics, n_draws=15, warmup=12, seed=held,
            n_replicas=repeats,
        )  # fmt: skip
        path = reference_path(model, occupation, thermal, temperature)
        if name == "perfect":
            # Mean places are known here: they are the sites.
            springs = path.reference.springs[0]
            path = FrenkelLaddPath(EinsteinCrystal(lattice, occupation, springs), model)
            alchemical = VacancyPath(model, 0, "Fe", springs)
            kept(keep, "iron-ghost", RemovedAtom, partial(alchemical.record, temperature))
            kept(keep, "iron-alchemical", Works, partial(driven, alchemical, thermal, 11))
        record = partial(path.reference.record, temperature, n)
        kept(keep, f"iron-{name}-reference", HeldReference, record)
        works = driven(path, thermal, 20 + held)
        works = dataclasses.replace(works, calls=works.calls + thermal.calls)
        kept(keep, f"iron-{name}", Works, lambda works=works: works)


def middle(works):
    """Free energy of every repeat: half of its forward less its reverse work."""
    return 0.5 * (works.forward - works.reverse).ravel()


def dissipated(works):
    return float(0.5 * (works.forward + works.reverse).mean())


def relaxed_iron(lattice, n):
    model = Relaxed(AlchemicalCHGNet(lattice, device="cpu"), fmax=0.05)
    energies = model.relaxed(np.array([[0], [1]], dtype=np.int8)).energies
    return float(energies[1] - (n - 1) / n * energies[0])


PARTS = {
    "iron": iron,
    "oxygen": oxygen,
    "lead-1200": lambda keep: substitution(lead, 1200.0, keep),
    "lead-800": lambda keep: substitution(lead, 800.0, keep),
    "exchange-1200": lambda keep: substitution(exchange, 1200.0, keep),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=[[], *PARTS], default=[], help="all, some hours"
    )
    parser.add_argument("--keep", type=Path, default=Path("runs/alchemical_free_energies"))
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    for part in options.parts or PARTS:
        found = PARTS[part](options.keep)
        stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        stored[part] = found
        RESULT.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
