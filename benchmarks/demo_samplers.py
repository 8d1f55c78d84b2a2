"""Acceptance and effective samples per energy call of the swap kernels on the demo system.

Run as ``python benchmarks/demo_samplers.py [steps]``; writes
``benchmarks/results/demo_samplers.json``. A gradient is counted at its measured cost in energies;
calls are counted as if nothing were remembered, though the small cell's few orderings are.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from alchemc import AlchemicalMACE, Canonical, GibbsWithGradients, RandomSwap, analysis, builders
from alchemc.sampler import draw_block, spawn_generators, warm_up
from alchemc.statistics import effective_sample_size

RESULT = Path(__file__).parent / "results" / "demo_samplers.json"
TEMPERATURES = (20000.0, 8000.0, 5500.0, 3800.0)
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}


def cost_of_gradient(hamiltonian, occupations):
    """Time of a gradient in units of an energy, from alternating medians."""
    times = np.zeros((2, 9))
    for n in range(9):
        for row, function in enumerate((hamiltonian.energy, hamiltonian.energy_and_gradient)):
            begin = time.perf_counter()
            function(occupations)
            times[row, n] = time.perf_counter() - begin
    energy, gradient = np.median(times, axis=1)
    return float(gradient / energy), float(energy / len(occupations))


def measure(kernel, lattice, n_steps, seed):
    rngs = spawn_generators(seed, 4)
    starts = np.stack([lattice.random(HALF, rng) for rng in rngs])
    state = kernel.init(starts, rngs)
    kernel, state, _ = warm_up(kernel, state, rngs, n_steps // 4)
    state, block = draw_block(kernel, state, rngs, n_steps, 1)
    order = analysis.ordering_series(lattice, block["occupation"], q="rock-salt")
    values = np.asarray(order)
    return {
        "kernel": type(kernel).__name__,
        "temperature": kernel.ensemble.temperature,
        "steps": n_steps,
        "chains": 4,
        "acceptance": float(block["acceptance"].mean()),
        "energy_calls": int(block["energy_calls"].sum()),
        "gradient_calls": int(block["gradient_calls"].sum()),
        "ess_energy": float(effective_sample_size(block["energy"])),
        "ess_order": float(effective_sample_size(values)),
    }


def main():
    warnings.simplefilter("ignore")
    n_steps = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(2, 2, 2))
    hamiltonian = AlchemicalMACE(lattice, "bundled", dtype="float64")
    occupations = lattice.random(HALF, np.random.default_rng(0), n_replicas=2)
    forgetful = AlchemicalMACE(lattice, "bundled", dtype="float64", memory=0)
    gradient_cost, energy_seconds = cost_of_gradient(forgetful, occupations)
    rows = []
    for temperature in TEMPERATURES:
        ensemble = Canonical(lattice, temperature)
        for kernel_class in (RandomSwap, GibbsWithGradients):
            row = measure(kernel_class(hamiltonian, ensemble), lattice, n_steps, seed=7)
            calls = row["energy_calls"] + gradient_cost * row["gradient_calls"]
            row["energy_equivalents"] = calls
            for name in ("energy", "order"):
                row[f"calls_per_ess_{name}"] = calls / row[f"ess_{name}"]
            rows.append(row)
            print(
                f"{temperature:6.0f} K {row['kernel']:>20} acceptance {row['acceptance']:.3f}"
                f"  energies per effective sample: energy {row['calls_per_ess_energy']:.1f},"
                f" order {row['calls_per_ess_order']:.1f}",
                flush=True,
            )
    document = {
        "system": "Pb(Sc,Ta)O3, 2x2x2, ideal positions, float64",
        "gradient_cost_in_energies": gradient_cost,
        "seconds_per_energy": energy_seconds,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
