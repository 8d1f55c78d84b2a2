"""Moving positions measured: drift, time-step bias, NPT against integrals, and what a step costs.

``python benchmarks/hybrid.py [nve] [bias] [npt] [barostat] [hmc] [cost] [pressure]`` (all by
default, about an hour); each part is merged into ``benchmarks/results/hybrid.json`` and printed.
One process, one thread. The crystal is Sr2ScTaO6, 40 atoms, at 4.03 Å with the bundled potential,
unless stated.

- nve: total energy over 10 ps of ASE's velocity Verlet with `OccupationCalculator`, started at the
  lattice's positions with velocities of 2,000 K, so that it goes on at about 1,000 K.
- bias: mean energies of Langevin blocks by halving the step (`time_step_bias`), at 1,000 K; and the
  spread of oscillators, whose bias is known, with velocities drawn once or twice per block.
- npt: ⟨V⟩, ⟨ΔV²⟩ and the shape's fluctuation of an elastic toy of six atoms by `NPT` at three time
  steps, beside exact integrals.
- barostat: the temperature that ASE's own barostats take in a long run of the same toy.
- hmc: effective samples of the energy per force call with masses of the elements and equal ones.
- cost: milliseconds of the parts of a step, and how often kernels' moves are accepted at thermal
  positions of a fixed cell, in place and with exchanged displacements.
- pressure: mean volume at 1,000 K and 0 GPa by `HMC` with volume moves and by `NPT`, and where the
  crystal gives way to a melt that fills any volume.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
from ase import units
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT
from ase.md.verlet import VelocityVerlet

from alchemc import (
    AlchemicalMACE,
    Canonical,
    GibbsWithGradients,
    RandomSwap,
    SurrogateChain,
    builders,
)
from alchemc.ensembles import HMC, NPT, HybridMD, Langevin, time_step_bias
from alchemc.ensembles.dynamics.crystal import Crystal, Structures
from alchemc.potentials import OccupationCalculator
from alchemc.sampler import spawn_generators
from alchemc.statistics import effective_sample_size, standard_error

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import exact_positions as toys  # a toy with exact integrals, and maps of oscillators

RESULT = Path(__file__).parent / "results" / "hybrid.json"
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}


def mace_and_start(cation="Sr", a=4.03, n=1):
    lattice = builders.perovskite(cation, ("Sc", "Ta"), "O", a=a, size=(2, 2, 2))
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    return mace, lattice.random(HALF, np.random.default_rng(1), n)


# ---- parts -----------------------------------------------------------------------------------


def nve(picoseconds=10.0):
    found = {}
    for step in (1.0, 2.0):
        mace, (occupation,) = mace_and_start()
        atoms = mace.lattice.to_atoms(occupation)
        normals = np.random.default_rng(0).standard_normal((len(atoms), 3))
        atoms.set_velocities(np.sqrt(units.kB * 2000.0 / atoms.get_masses())[:, None] * normals)
        atoms.calc = OccupationCalculator(mace, occupation)
        dynamics, totals, kinetic = VelocityVerlet(atoms, step * units.fs), [], []
        begin = time.perf_counter()
        for _ in range(round(100.0 * picoseconds)):
            dynamics.run(round(10.0 / step))
            totals.append(atoms.get_total_energy())
            kinetic.append(atoms.get_temperature())
        seconds = time.perf_counter() - begin
        times = 0.01 * np.arange(1, len(totals) + 1)
        per_atom = 1000.0 * np.array(totals) / len(atoms)
        fit = np.polyfit(times, per_atom, 1)
        found[f"{step:g} fs"] = {
            "drift_meV_per_atom_per_ps": float(fit[0]),
            "largest_deviation_meV_per_atom": float(np.abs(per_atom - per_atom[0]).max()),
            "rms_about_the_line_meV_per_atom": float((per_atom - np.polyval(fit, times)).std()),
            "mean_temperature_K": float(np.mean(kinetic[len(kinetic) // 10 :])),
            "force_calls": atoms.calc.calls,
            "ms_per_force_call": 1000.0 * seconds / atoms.calc.calls,
        }
        print(step, found[f"{step:g} fs"], flush=True)
    return found


def bias():
    found = {"oscillators": {}}
    for n_steps in (3, 10, 50):
        for omega in (0.1, 0.3, 0.5):
            twice, once = (
                toys.stationary_variance(omega, 0.9, n_steps, drawn) - 1.0
                for drawn in (True, False)
            )
            key = f"ωΔt = {omega}, {n_steps} steps"
            found["oscillators"][key] = {"drawn_twice": float(twice), "drawn_once": float(once)}
    mace, start = mace_and_start(n=8)
    swaps = RandomSwap(mace, Canonical(mace.lattice, 1000.0))
    for step in (4.0,):
        kernel = HybridMD(swaps, Langevin(step, 0.02, round(40.0 / step)), occupation_steps=0)
        energy = time_step_bias(kernel, start, n_steps=60, warmup=10, seed=1).energy
        per_atom = 1000.0 / len(mace.lattice.atoms)
        found[f"Langevin, {step:g} fs"] = {
            "bias_meV_per_atom": energy.bias * per_atom,
            "error_meV_per_atom": energy.error * per_atom,
        }
        print(step, found[f"Langevin, {step:g} fs"], flush=True)
    return found


def npt():
    found = {}
    for cell in ("isotropic", "full"):
        exact, start = toys.elastic_start(cell, 8)
        crystal = Crystal(toys.ELASTIC, toys.TEMPERATURE, False)
        for step in (8.0, 4.0, 2.0):
            dynamics = NPT(
                step, toys.PRESSURE, round(40.0 / step), cell,
                thermostat_time=100.0, barostat_time=80.0,
            )  # fmt: skip
            structures, rngs, cells = start, spawn_generators(2, 8), []
            for _ in range(300):
                structures, _ = dynamics.run(crystal, structures, rngs)
                cells.append(structures.cells)
            series = np.array(cells)
            volume = toys.volumes(series.reshape(-1, 3, 3)).reshape(series.shape[:2])
            shape = toys.shapes(series.reshape(-1, 3, 3)).reshape(series.shape[:2])
            rows = {}
            names = ("volume", "volume_fluctuation", "shape")
            of = (volume, (volume - exact[0]) ** 2, shape)
            for name, values, value in zip(names, of, exact, strict=True):
                if value > 0.0:
                    mean, error = float(values.mean()), standard_error(values)
                    rows[name] = {"mean": mean, "error": error, "exact": float(value)}
                    rows[name]["z"] = (mean - value) / error
            found[f"{cell}, {step:g} fs"] = rows
            print(cell, step, rows, flush=True)
    return found


def barostat():
    """Kinetic temperature of the cell in long runs of ASE's integrators, over that asked for."""
    found = {}
    for cell, kind, freedoms in (("isotropic", IsotropicMTKNPT, 1), ("full", MTKNPT, 6)):
        _, start = toys.elastic_start(cell, 1)
        atoms = toys.LATTICE.to_atoms(toys.OCCUPATION[0], start.positions[0], start.cells[0])
        normals = np.random.default_rng(0).standard_normal((6, 3))
        atoms.set_velocities(np.sqrt(toys.K_T / atoms.get_masses())[:, None] * normals)
        atoms.calc = OccupationCalculator(toys.ELASTIC, toys.OCCUPATION[0])
        dynamics = kind(
            atoms, 2.0 * units.fs, temperature_K=toys.TEMPERATURE,
            pressure_au=toys.PRESSURE * units.GPa, tdamp=100.0 * units.fs, pdamp=80.0 * units.fs,
        )  # fmt: skip
        twice, shape = [], []
        for _ in range(6000):
            dynamics.run(5)
            momenta = dynamics._p_g if cell == "full" else np.array([dynamics._p_eps])
            twice.append((momenta**2).sum() / dynamics._barostat.W / toys.K_T / freedoms)
            shape.append(toys.shapes(atoms.cell.array[None])[0])
        exact = toys.exact_cells(cell, 1)[0]
        found[cell] = {
            "temperature_over_that_asked_for": float(np.mean(twice)),
            "error": standard_error(np.array(twice)),
        }
        if cell == "full":
            found[cell]["shape_over_exact"] = float(np.mean(shape) / exact[2])
            found[cell]["shape_error"] = standard_error(np.array(shape)) / float(exact[2])
        print(cell, found[cell], flush=True)
    return found


def hmc():
    found = {}
    mace, start = mace_and_start(n=3)
    crystal = Crystal(mace, 1000.0)
    for masses in ("species", "equal"):
        for n_steps in (8, 16):
            dynamics, rngs = HMC(3.0, n_steps, masses), spawn_generators(1, 3)
            cells = np.repeat(mace.cell[None], 3, axis=0)
            structures = Structures(
                start, np.repeat(mace.positions[None], 3, axis=0), cells, np.zeros(3)
            )
            for _ in range(25):
                structures, report = dynamics.run(crystal, structures, rngs)
                dynamics = dynamics.tuned(report)
            dynamics, energies, calls, accepted = dynamics.settled(), [], 0, []
            for _ in range(75):
                structures, report = dynamics.run(crystal, structures, rngs)
                energies.append(structures.energy)
                calls += int(report.force_calls.sum())
                accepted.append(report.acceptance_probability.mean())
            ess = effective_sample_size(np.array(energies))
            found[f"{masses}, {n_steps} steps"] = {
                "step_fs": dynamics.summary()["time_step_fs"],
                "acceptance": float(np.mean(accepted)),
                "effective_samples_per_1000_force_calls": 1000.0 * ess / calls,
            }
            print(masses, n_steps, found[f"{masses}, {n_steps} steps"], flush=True)
    return found


def cost():
    found = {}
    mace, start = mace_and_start()
    cell, count = mace.cell, iter(range(10_000))

    def milliseconds(call, n=10):
        call()
        begin = time.process_time()
        for _ in range(n):
            call()
        return 1000.0 * (time.process_time() - begin) / n

    def elsewhere():
        return mace.lattice.displaced_positions(0.1, next(count))

    lam = np.full(mace.lattice.allowed.shape, 0.5)
    there = mace.at(elsewhere(), cell)
    rng = np.random.default_rng(0)
    found["milliseconds"] = {
        "positions bound, first energy": milliseconds(
            lambda: mace.at(elsewhere(), cell).energy(start)
        ),
        "positions bound, first gradient": milliseconds(
            lambda: mace.at(elsewhere(), cell).energy_and_gradient(start)
        ),
        "positions bound, gradient at the mean composition": milliseconds(
            lambda: mace.at(elsewhere(), cell).mixed_energy(lam, forces=False, stress=False)
        ),
        "energy of another occupation": milliseconds(
            lambda: there.energy(rng.permutation(start[0])[None]), 40
        ),
        "forces": milliseconds(lambda: mace.forces_at(start, elsewhere()[None], cell[None])),
    }
    print(found, flush=True)
    for cation, a in (("Sr", 4.03), ("Pb", 4.13)):
        mace, start = mace_and_start(cation, a, 4)
        ensemble = Canonical(mace.lattice, 2500.0)
        for name, kernel, options in (
            ("swaps in place", RandomSwap(mace, ensemble), {}),
            ("swaps with displacements", RandomSwap(mace, ensemble), {"swap_displacements": True}),
            ("informed swaps in place", GibbsWithGradients(mace, ensemble), {}),
            ("surrogate", SurrogateChain(mace, ensemble), {}),
        ):
            hybrid = HybridMD(kernel, HMC(3.0, 8), occupation_steps=4, **options)
            rngs = spawn_generators(1, 4)
            hybrid, state, _ = hybrid.warm_up(hybrid.init(start, rngs), rngs, 20)
            accepted, moved, trajectories = [], [], []
            for _ in range(20):
                before = state.occupations
                state, info = hybrid.step(state, rngs)
                accepted.append(info.accepted.mean())
                moved.append((state.occupations != before).any(axis=1).mean())
                trajectories.append(info.position_acceptance_probability.mean())
            found[f"{cation}2ScTaO6 at 2,500 K, {name}"] = {
                "accepted": float(np.mean(accepted)),
                "blocks_that_moved": float(np.mean(moved)),
                "trajectories_accepted": float(np.mean(trajectories)),
            }
            print(cation, name, list(found.values())[-1], flush=True)
    return found


def pressure():
    """Volumes at zero pressure from the rock-salt order; each chain's last third."""
    found = {}
    mace, _ = mace_and_start()
    cells = np.rint(mace.lattice.atoms.positions[mace.lattice.sites] / 4.03 - 0.25).astype(int)
    ordered = (cells.sum(axis=1) % 2).astype(np.int8)
    for name, temperature, dynamics in (
        ("HMC, 1000 K", 1000.0, HMC(3.0, 8, pressure=0.0)),
        ("NPT, 1000 K", 1000.0, NPT(2.0, 0.0, 20)),
        ("HMC, 1500 K", 1500.0, HMC(3.0, 8, pressure=0.0)),
        ("HMC, 2500 K", 2500.0, HMC(3.0, 8, pressure=0.0)),
    ):
        swaps = RandomSwap(mace, Canonical(mace.lattice, temperature))
        hybrid = HybridMD(swaps, dynamics, occupation_steps=0)
        rngs = spawn_generators(1, 2)
        hybrid, state, _ = hybrid.warm_up(hybrid.init(np.stack([ordered] * 2), rngs), rngs, 25)
        volumes = []
        for _ in range(90):
            state, _ = hybrid.step(state, rngs)
            volumes.append(np.abs(np.linalg.det(state.cells)) / len(mace.lattice.atoms))
        series = np.array(volumes)
        found[name] = {
            "A3_per_atom": float(series[30:].mean()),
            "error": standard_error(series[30:]),
            "last": [round(float(v), 2) for v in series[-1]],
        }
        print(name, found[name], flush=True)
    return found


PARTS = {f.__name__: f for f in (nve, bias, npt, barostat, hmc, cost, pressure)}


def main(names):
    stored = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    stored["machine"] = {"processor": platform.processor() or platform.machine(), "threads": 1}
    for name in names or PARTS:
        stored[name] = PARTS[name]()
        RESULT.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(stored, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1:])
