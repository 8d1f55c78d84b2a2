"""Energies of Ba(Sc,Ta)O3 2×2×2 relaxed by ASE with mace-torch's calculator, for the tests.

Run from anywhere: ``python benchmarks/relaxed_reference.py``; it writes
``tests/data/relaxed_energies.json``. Nothing of alchemc's own relaxation takes part: only the
lattice, its displaced reference positions and the weights are shared.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from ase.optimize import BFGS
from mace.calculators import MACECalculator

from alchemc import builders
from alchemc.potentials import load_mace

TARGET = Path(__file__).parents[1] / "tests" / "data" / "relaxed_energies.json"
LATTICE = {"a": 4.12, "size": (2, 2, 2)}
DISPLACEMENT, SEED, FMAX = 0.05, 0, 1e-4


def main():
    torch.set_num_threads(1)
    lattice = builders.perovskite("Ba", ("Sc", "Ta"), "O", **LATTICE)
    states = lattice.enumerate({"B": {"Sc": 0.5, "Ta": 0.5}})
    model, info = load_mace("bundled")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calculator = MACECalculator(models=[model], device="cpu", default_dtype="float64")
    start = lattice.displaced_positions(DISPLACEMENT, SEED)
    energies = []
    for state in states:
        atoms = lattice.to_atoms(state, positions=start)
        atoms.calc = calculator
        optimiser = BFGS(atoms, logfile=None)
        if not optimiser.run(fmax=FMAX, steps=1000):
            raise SystemExit(f"ASE did not relax {state.tolist()}")
        energies.append(atoms.get_potential_energy())
        print(len(energies), optimiser.nsteps, energies[-1], flush=True)
    document = {
        "made_by": "benchmarks/relaxed_reference.py",
        "optimiser": f"ase.optimize.BFGS, fmax {FMAX} eV/Å",
        "model_sha256": info.sha256,
        "lattice": {"A": "Ba", "B": ["Sc", "Ta"], "X": "O", "a": LATTICE["a"], "size": [2, 2, 2]},
        "displacement": DISPLACEMENT,
        "seed": SEED,
        "states": np.asarray(states).tolist(),
        "energies": energies,
    }
    TARGET.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
