"""The relaxed landscape measured: errors, force calls, time beside ASE, spread, and history.

``python benchmarks/relaxed.py [errors] [optimisers] [time] [spread] [history]`` (all by default,
about an hour); each part is merged into ``benchmarks/results/relaxed.json`` and printed. One
process, one thread. Structures are A2ScTaO6 perovskites, every relaxation starts from the lattice
displaced by 0.05 Å (seed 0) unless stated, and the cell is fixed.

- errors: along one relaxation per structure, how far the energy is above the minimum where the
  largest force first falls below fmax, and after how many force calls.
- optimisers: force calls from the same starts with ``Relaxed`` and with those of ASE.
- time: seconds of ``Relaxed`` and of ASE on mace-torch's calculator, to 0.01 eV/Å.
- spread: energies over references and over equivalent occupations (``Relaxed.spread``).
- history: energies of the arrangements on a random walk of swaps, where every relaxation starts
  from where the last one ended, beside those from the reference.
"""

import functools
import json
import platform
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import FIRE, LBFGS

from alchemc import AlchemicalCHGNet, AlchemicalMACE, Relaxed, builders
from alchemc.potentials import load_mace

RESULT = Path(__file__).parent / "results" / "relaxed.json"
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
CONSTANTS = {"mace": {"Sr": 3.98, "Pb": 4.09}, "chgnet": {"Sr": 3.98, "Pb": 4.068}}
MODELS = {"mace": AlchemicalMACE, "chgnet": AlchemicalCHGNet}
FORCES = (0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
TIGHT = 2e-4
OPTIMISERS = {"ASE FIRE": FIRE, "ASE LBFGS": LBFGS}
ORDERS = {"rock salt": (1, 1, 1), "layered": (0, 0, 1)}


# ---- systems ---------------------------------------------------------------------------------


@functools.cache
def hamiltonian_of(model, cation, size):
    a = CONSTANTS[model][cation]
    lattice = builders.perovskite(cation, ("Sc", "Ta"), "O", a=a, size=(size,) * 3)
    return MODELS[model](lattice, device="cpu")


def random_states(lattice, n, seed=0):
    return lattice.random(HALF, np.random.default_rng(seed), n)


def ordered(lattice, wave):
    """Occupation that alternates along a wave vector, in units of π over the lattice constant."""
    a = np.cbrt(lattice.atoms.get_volume() / lattice.n_sites)
    cells = np.rint(lattice.atoms.positions[lattice.sites] / a - 0.25).astype(int)
    return (cells @ np.array(wave) % 2).astype(np.int8)


class Recorder:
    """A model that keeps the energies and largest forces that a minimiser has seen."""

    def __init__(self, hamiltonian):
        self.hamiltonian, self.lattice = hamiltonian, hamiltonian.lattice
        self.positions, self.cell = hamiltonian.positions, hamiltonian.cell
        self.at, self.energy_forces_stress = hamiltonian.at, hamiltonian.energy_forces_stress
        self.seen = []

    def forces_at(self, occupations, positions, cells):
        found = self.hamiltonian.forces_at(occupations, positions, cells)
        largest = np.linalg.norm(found[1], axis=2).max(axis=1)
        self.seen += list(zip(found[0].tolist(), largest.tolist(), strict=True))
        return found


class AseCalculator(Calculator):
    """One occupation of a model, for ASE's optimisers; keeps what they have seen."""

    implemented_properties = ("energy", "forces")

    def __init__(self, hamiltonian, occupation):
        super().__init__()
        self.recorder, self.occupation = Recorder(hamiltonian), occupation

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces, _ = self.recorder.forces_at(
            self.occupation[None], atoms.positions[None], atoms.cell.array[None]
        )
        self.results = {"energy": energy[0], "forces": forces[0]}


def first_below(seen, fmax):
    """Force calls until the largest force is below ``fmax``, and the energy there."""
    for call, (energy, largest) in enumerate(seen, start=1):
        if largest <= fmax:
            return call, energy
    return None, float("nan")


# ---- parts -----------------------------------------------------------------------------------


def errors():
    rows = []
    for cation, size, n in (("Sr", 2, 24), ("Pb", 2, 24), ("Sr", 4, 3), ("Pb", 4, 3)):
        hamiltonian = hamiltonian_of("mace", cation, size)
        n_atoms = len(hamiltonian.lattice.atoms)
        default = Relaxed(hamiltonian).fmax, Relaxed(hamiltonian, temperature=1000.0).fmax
        traces = []
        for state in random_states(hamiltonian.lattice, n):
            recorder = Recorder(hamiltonian)
            found = Relaxed(recorder, fmax=TIGHT).relaxed(state)
            traces.append((recorder.seen, float(found.energies)))
        for fmax in (*FORCES, *default):
            ends = [first_below(seen, fmax) for seen, _ in traces]
            missed = [1e3 * (e - best) for (_, e), (_, best) in zip(ends, traces, strict=True)]
            rows.append(
                {
                    "compound": f"{cation}2ScTaO6", "atoms": n_atoms, "structures": n,
                    "fmax": fmax, "default_at_K": {default[0]: 300, default[1]: 1000}.get(fmax),
                    "force_calls": statistics.mean(call for call, _ in ends),
                    "error_meV": {
                        "median": statistics.median(missed), "largest": max(missed),
                    },
                    "median_error_over_n_fmax2": statistics.median(missed)
                    / (1e3 * n_atoms * fmax**2),
                    "above_0.1kT_at_300K": sum(m > 2.585 for m in missed),
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def optimisers():
    rows = []
    systems = [("mace", "Sr", 2, 4), ("mace", "Pb", 2, 4), ("chgnet", "Pb", 2, 1)]
    for model, cation, size, n in [*systems, ("mace", "Sr", 4, 1)]:
        hamiltonian = hamiltonian_of(model, cation, size)
        states, counts, energies = random_states(hamiltonian.lattice, n), {}, {}
        for state in states:
            recorder = Recorder(hamiltonian)
            Relaxed(recorder, fmax=1e-3).relaxed(state)
            seen = {"Relaxed": recorder.seen}
            start = hamiltonian.lattice.displaced_positions(0.05, 0)
            for name, optimiser in OPTIMISERS.items():
                atoms = hamiltonian.lattice.to_atoms(state, start)
                atoms.calc = AseCalculator(hamiltonian, state)
                optimiser(atoms, logfile=None).run(fmax=1e-3, steps=1500)
                seen[name] = atoms.calc.recorder.seen
            for name, one in seen.items():
                counts.setdefault(name, []).append([first_below(one, f)[0] for f in (0.01, 1e-3)])
                energies.setdefault(name, []).append(one[-1][0])
        rows.append(
            {
                "model": model, "compound": f"{cation}2ScTaO6", "structures": n,
                "atoms": len(hamiltonian.lattice.atoms),
                "force_calls": {
                    name: dict(zip(("0.01", "0.001"), np.mean(c, axis=0).tolist(), strict=True))
                    for name, c in counts.items()
                },
                "same_minimum_as_Relaxed": {
                    name: int((np.abs(np.array(e) - energies["Relaxed"]) < 1e-3).sum())
                    for name, e in energies.items()
                },
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def time_beside_ase():
    from mace.calculators import MACECalculator

    model = load_mace("bundled").module
    calculator = MACECalculator(models=[model], device="cpu", default_dtype="float64")
    rows = []
    for size in (2, 4):
        hamiltonian = hamiltonian_of("mace", "Sr", size)
        state = random_states(hamiltonian.lattice, 1, seed=1)[0]
        relaxed = Relaxed(hamiltonian, fmax=0.01, memory=0)
        hamiltonian.energy_forces_stress(state)  # what torch compiles at first use
        begin = time.perf_counter()
        found = relaxed.relaxed(state)
        row = {"atoms": len(hamiltonian.lattice.atoms), "fmax": 0.01}
        seconds = time.perf_counter() - begin
        row["Relaxed"] = {"seconds": seconds, "calls": int(found.force_calls)}
        for name, optimiser in OPTIMISERS.items():
            atoms = hamiltonian.lattice.to_atoms(
                state, hamiltonian.lattice.displaced_positions(0.05, 0)
            )
            atoms.calc = calculator
            run = optimiser(atoms, logfile=None)
            begin = time.perf_counter()
            run.run(fmax=0.01, steps=2000)
            row[name] = {"seconds": time.perf_counter() - begin, "calls": run.nsteps + 1}
        rows.append(row)
        print(row, flush=True)
    return rows


def spread():
    rows = []
    for model, cation in (("mace", "Sr"), ("mace", "Pb"), ("chgnet", "Pb"), ("chgnet", "Sr")):
        hamiltonian = hamiltonian_of(model, cation, 2)
        lattice = hamiltonian.lattice
        relaxed = Relaxed(hamiltonian, temperature=1000.0)
        states = {name: ordered(lattice, wave) for name, wave in ORDERS.items()}
        states["random"] = random_states(lattice, 1)[0]
        lowest = None
        for name, state in states.items():
            found = relaxed.spread(state, references=4, equivalents=4)
            lowest = found.by_reference[0, 0] if lowest is None else lowest
            lowest_of_four = np.nanmin(found.by_reference)
            rows.append(
                {
                    "model": model, "compound": f"{cation}2ScTaO6", "order": name,
                    "atoms": len(lattice.atoms),
                    "above_rock_salt_eV": float(found.by_reference[0, 0] - lowest),
                    "ideal_minus_relaxed_eV": float(hamiltonian.energy(state))
                    - found.by_reference[0, 0],
                    "deviation_meV": {
                        "references": 1e3 * found.over_references[0],
                        "equivalents": None
                        if np.isnan(found.over_equivalents[0])
                        else 1e3 * found.over_equivalents[0],
                    },
                    "first_above_lowest_of_four_meV": 1e3
                    * (found.by_reference[0, 0] - lowest_of_four),
                    "by_reference_eV": (found.by_reference[0] - lowest).tolist(),
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


class WarmStarted(Relaxed):
    """Starts every relaxation where the last one ended: not a function of the occupation."""

    def _minimise(self, occupations, starts):
        minima = super()._minimise(occupations, getattr(self, "_last", starts))
        self._last = [minimum.coordinates for minimum in minima]
        return minima


def history():
    rows = []
    for cation in ("Sr", "Pb"):
        hamiltonian = hamiltonian_of("mace", cation, 2)
        rng = np.random.default_rng(5)
        state = random_states(hamiltonian.lattice, 1, seed=5)[0]
        options = {"temperature": 1000.0, "memory": 0}
        warm, cold = WarmStarted(hamiltonian, **options), Relaxed(hamiltonian, **options)
        apart = []
        for _ in range(16):
            i, j = (rng.choice(np.flatnonzero(state == k)) for k in (0, 1))
            state[[i, j]] = state[[j, i]]
            apart.append(1e3 * float(warm.energy(state) - cold.energy(state)))
        rows.append(
            {
                "compound": f"{cation}2ScTaO6", "walk": "random swaps",
                "warm_minus_reference_meV": apart,
                "root_mean_square_meV": float(np.sqrt(np.mean(np.square(apart)))),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


PARTS = {
    "errors": errors, "optimisers": optimisers, "time": time_beside_ase, "spread": spread,
    "history": history,
}  # fmt: skip


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chosen = sys.argv[1:] or list(PARTS)
    for name in chosen:
        found = PARTS[name]()
        document = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        document |= {"machine": platform.machine(), "torch": torch.__version__, name: found}
        RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
