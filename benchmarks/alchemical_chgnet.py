"""AlchemicalCHGNet beside chgnet's own calculator: agreement, cost, and energies of orderings.

Run as ``python benchmarks/alchemical_chgnet.py [agreement] [gradient] [cost] [ideal] [relaxed]``
(all by default, some half an hour); each part is merged into ``benchmarks/results/chgnet.json`` and
printed. One process, one thread; costs are taken alternately, so that their ratios hold on a noisy
machine. The calculator's forces always come with stress and magnetic moments.

Ordering energies are those of layered (001) and columnar (110) order minus that of rock-salt
order, in eV per A2BB'O6, in a 2×2×2 cell (40 atoms) at the lattice constants below: on ideal
positions, and relaxed at fixed cell from one start displaced by 0.05 Å: by ASE's FIRE to 0.01 eV/Å
on ours and directly on the calculator, and by ``Relaxed`` to its own, smaller force.
"""

import contextlib
import functools
import io
import json
import platform
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import FIRE

from alchemc import AlchemicalCHGNet, builders

RESULT = Path(__file__).parent / "results" / "chgnet.json"
REPEATS, SEED, FMAX = 5, 0, 0.01
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
POWDER = "Caranoni, Lampin and Boulesteix, Powder Diffr. 8 (1993)"
SURVEY = "rounded; compound in Vasala and Karppinen, doi:10.1016/j.progsolidstchem.2014.08.001"
COMPOUNDS = {  # A, B, B', experimental pseudo-cubic lattice constant in Å, source
    "Pb2ScTaO6": ("Pb", "Sc", "Ta", 4.068, f"a/2 of 8.136 Å, {POWDER}"),
    "Pb2ScNbO6": ("Pb", "Sc", "Nb", 4.080, POWDER),
    "Sr2MgWO6": ("Sr", "Mg", "W", 3.95, SURVEY),
    "Ba2ScTaO6": ("Ba", "Sc", "Ta", 4.12, SURVEY),
    "Sr2AlTaO6": ("Sr", "Al", "Ta", 3.895, SURVEY),
    "La2MgTiO6": (
        "La", "Mg", "Ti", 3.925,
        "cube root of abc/4 with 5.5467, 5.5616, 7.8426 Å, Lee et al., ceramics of LaMg1/2Ti1/2O3",
    ),
}  # fmt: skip
ORDERS = {"rock salt": (1, 1, 1), "layered": (0, 0, 1), "columnar": (1, 1, 0)}


@functools.cache
def calculator():
    """Return chgnet's own calculator."""
    from chgnet.model import CHGNetCalculator

    with contextlib.redirect_stdout(io.StringIO()):
        return CHGNetCalculator(use_device="cpu")


def perovskite(size):
    return builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=(size,) * 3)


def agreement():
    rows = []
    for size in (2, 4):
        lattice = perovskite(size)
        occupations = lattice.random(HALF, np.random.default_rng(1), 3)
        positions = lattice.displaced_positions(0.05, SEED)
        for dtype in ("float32", "float64"):
            ours = AlchemicalCHGNet(lattice, device="cpu", dtype=dtype, positions=positions)
            energies, forces, stresses = ours.energy_forces_stress(occupations)
            moments = ours.magnetic_moments(occupations)
            found = dict.fromkeys(("energy", "forces", "stress", "magnetic_moments"), 0.0)
            for r, occupation in enumerate(occupations):
                atoms = lattice.to_atoms(occupation, positions=positions)
                atoms.calc = calculator()
                for key, one, other in (
                    ("energy", energies[r], atoms.get_potential_energy()),
                    ("forces", forces[r], atoms.get_forces()),
                    ("stress", stresses[r], atoms.get_stress(voigt=False)),
                    ("magnetic_moments", moments[r], atoms.get_magnetic_moments()),
                ):
                    found[key] = max(found[key], float(np.abs(one - other).max()))
            rows.append({"atoms": len(positions), "dtype": dtype, "largest_deviation": found})
            print(f"{len(positions):4d} atoms, {dtype}, from the calculator:", found)
    return rows


def gradient():
    lattice = perovskite(2)
    positions = lattice.displaced_positions(0.05, SEED)
    ours = AlchemicalCHGNet(lattice, device="cpu", dtype="float64", positions=positions)
    single = AlchemicalCHGNet(lattice, device="cpu", positions=positions)
    occupation = lattice.random(HALF, np.random.default_rng(1))
    _, slope = ours.energy_and_gradient(occupation)
    inside = np.full(slope.shape, 0.5)
    found = {"float32": float(np.abs(single.energy_and_gradient(occupation)[1] - slope).max())}
    for name, lam in (("occupation", lattice.weights(occupation)), ("mean composition", inside)):
        slopes = ours.mixed_energy(lam, forces=False, stress=False).gradient
        worst = 0.0
        for i, k in np.ndindex(slope.shape):
            energies = []
            for step in (-2, -1, 1, 2):
                moved = lam.copy()
                moved[i, k] += step * 1e-4
                energies.append(ours.mixed_energy(moved, forces=False, stress=False).energy)
            difference = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / 12e-4
            worst = max(worst, abs(difference - slopes[i, k]))
        found[f"finite differences, {name}"] = float(worst)
    found["largest entry"] = float(np.abs(slope).max())
    print("largest deviation of ∂E/∂λ from that of float64 in eV, 40 atoms:", found)
    return found


def cost():
    rows = []
    for size in (2, 4):
        lattice = perovskite(size)
        positions = lattice.displaced_positions(0.05, SEED)
        ours = AlchemicalCHGNet(lattice, device="cpu", positions=positions, memory=0)
        occupations = lattice.random(HALF, np.random.default_rng(1), REPEATS + 1)
        times = {key: [] for key in ("calculator", "energy", "energy_and_gradient", "at + forces")}
        for turn, occupation in enumerate(occupations):
            atoms = lattice.to_atoms(occupation, positions=positions)
            atoms.calc = calculator()
            jobs = (
                atoms.get_forces,
                lambda: ours.energy(occupation),
                lambda: ours.energy_and_gradient(occupation),
                lambda: ours.at(positions).energy_forces_stress(occupation),
            )
            for key, job in zip(times, jobs, strict=True):
                begin = time.perf_counter()
                job()
                if turn:  # the first round builds what is kept
                    times[key].append(time.perf_counter() - begin)
        median = {key: statistics.median(values) for key, values in times.items()}
        ratio = {key: value / median["calculator"] for key, value in median.items()}
        rows.append({"atoms": len(positions), "median_seconds": median, "ratio": ratio})
        shown = ", ".join(f"{k} {median[k] * 1e3:.0f} ms ({ratio[k]:.2f})" for k in median)
        print(f"{len(positions):4d} atoms: {shown}")
    return rows


def orderings(compound):
    """Lattice of a compound and its occupations [3, n_sites] in the order of ``ORDERS``."""
    a_site, one, other, a, _ = COMPOUNDS[compound]
    lattice = builders.perovskite(a_site, (one, other), "O", a=a, size=(2, 2, 2))
    cells = np.round(lattice.atoms.positions[lattice.sites] / a - 0.5).astype(int)
    return lattice, np.array([(cells @ vector) % 2 for vector in ORDERS.values()], dtype=np.int8)


def per_formula_unit(energies):
    """Energies of layered and columnar order minus that of rock salt, in eV per A2BB'O6."""
    return {
        name: float(energy - energies[0]) / 4
        for name, energy in zip(list(ORDERS)[1:], energies[1:], strict=True)
    }


def compared(routes):
    """Ordering energies of every compound by several routes; each gives energies and remarks."""
    table = {}
    for compound, (*_, a, source) in COMPOUNDS.items():
        lattice, occupations = orderings(compound)
        row = table[compound] = {"a": a, "source": source}
        found = {}
        for name, route in routes.items():
            begin = time.perf_counter()
            found[name], remarks = route(lattice, occupations)
            seconds = time.perf_counter() - begin
            row[name] = per_formula_unit(found[name]) | remarks | {"seconds": seconds}
        difference = found["ours"] - found["calculator"]
        row["largest_difference_per_cell"] = float(np.abs(difference).max())
        print(f"{compound:10s} a = {a:.3f} Å", end="")
        for order in list(ORDERS)[1:]:
            print(f"; {order}", *(f"{row[name][order]:.4f}" for name in routes), end="")
        print(f"; cells within {row['largest_difference_per_cell']:.1e} eV", flush=True)
    return table


def ideal():
    def ours(lattice, occupations):
        return AlchemicalCHGNet(lattice, device="cpu").energy(occupations), {}

    def direct(lattice, occupations):
        energies = []
        for occupation in occupations:
            atoms = lattice.to_atoms(occupation)
            atoms.calc = calculator()
            energies.append(atoms.get_potential_energy())
        return np.array(energies), {}

    print("eV per formula unit on ideal positions: ours, calculator")
    return compared({"ours": ours, "calculator": direct})


class Ours(Calculator):
    """AlchemicalCHGNet of one occupation as a calculator."""

    implemented_properties = ("energy", "forces")

    def __init__(self, lattice, occupation):
        super().__init__()
        self.hamiltonian = AlchemicalCHGNet(lattice, device="cpu")
        self.occupation = occupation

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        view = self.hamiltonian.at(atoms.positions, atoms.cell.array)
        energy, forces, _ = view.energy_forces_stress(self.occupation)
        self.results = {"energy": float(energy), "forces": forces}


def by_fire(lattice, occupations, make_calculator):
    energies, steps = [], []
    for occupation in occupations:
        atoms = lattice.to_atoms(occupation, positions=lattice.displaced_positions(0.05, SEED))
        atoms.calc = make_calculator(lattice, occupation)
        with FIRE(atoms, logfile=None) as optimiser:
            done = optimiser.run(fmax=FMAX, steps=2000)
            steps.append(optimiser.get_number_of_steps() if done else None)
        energies.append(atoms.get_potential_energy())
    return np.array(energies), {"steps": steps}


def relaxed():
    from alchemc.potentials import Relaxed

    def by_relaxed(lattice, occupations):
        landscape = Relaxed(AlchemicalCHGNet(lattice, device="cpu"), seed=SEED)
        found = landscape.relaxed(occupations)
        remarks = {
            "fmax": landscape.fmax,
            "force_calls": found.force_calls.tolist(),
            "problems": found.problems.tolist(),
        }
        return found.energies, remarks

    print("eV per formula unit, relaxed: ours and the calculator by FIRE, ours by Relaxed")
    return compared(
        {
            "ours": lambda lattice, occupations: by_fire(lattice, occupations, Ours),
            "calculator": lambda lattice, occupations: by_fire(
                lattice, occupations, lambda *_: calculator()
            ),
            "Relaxed": by_relaxed,
        }
    )


PARTS = {part.__name__: part for part in (agreement, gradient, cost, ideal, relaxed)}


def main():
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    document = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    document |= {"machine": platform.machine(), "torch": torch.__version__}
    for name in sys.argv[1:] or PARTS:
        document[name] = PARTS[name]()
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
