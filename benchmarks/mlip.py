"""Cost of one energy and one gradient of the bundled potential beside stock MACE's energy+forces.

Run as ``python benchmarks/mlip.py [sizes …]``; writes ``benchmarks/results/mlip.json``. Everything
runs in one process and one thread, alternately, so that the ratios hold on a noisy machine.
"""

import json
import platform
import statistics
import sys
import time
import warnings
from importlib import resources
from pathlib import Path

import numpy as np

from alchemc import AlchemicalMACE, builders

RESULT = Path(__file__).parent / "results" / "mlip.json"
REPEATS = 7


def stock_calculator(dtype):
    """Return the stock calculator on the very same bundled model."""
    from alchemc.potentials.storage import load_stored

    with resources.as_file(resources.files("alchemc.potentials") / "models" / "bundled") as path:
        model, _ = load_stored(path)
    from mace.calculators import MACECalculator

    return MACECalculator(models=[model], device="cpu", default_dtype=dtype)


def timed(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure(size, dtype):
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.99, size=(size,) * 3)
    rng = np.random.default_rng(1)
    half = {"B": {"Sc": 0.5, "Ta": 0.5}}
    occupations = lattice.random(half, rng, n_replicas=REPEATS + 1)
    hamiltonian = AlchemicalMACE(lattice, "bundled", dtype=dtype, memory=0)
    calculator = stock_calculator(dtype)
    frames = [lattice.to_atoms(o) for o in occupations]

    def stock(atoms):
        atoms.calc = calculator
        calculator.results = {}
        atoms.get_potential_energy()
        atoms.get_forces()

    times = {"stock_energy_forces": [], "energy": [], "energy_and_gradient": []}
    for n, (occupation, atoms) in enumerate(zip(occupations, frames, strict=True)):
        batch = occupation[None]
        row = {
            "stock_energy_forces": timed(lambda a=atoms: stock(a)),
            "energy": timed(lambda b=batch: hamiltonian.energy(b)),
            "energy_and_gradient": timed(lambda b=batch: hamiltonian.energy_and_gradient(b)),
        }
        if n:  # the first round builds caches
            for key, value in row.items():
                times[key].append(value)
    median = {key: statistics.median(value) for key, value in times.items()}
    reference = median["stock_energy_forces"]
    return {
        "atoms": 5 * size**3,
        "dtype": dtype,
        "median_seconds": median,
        "ratio_energy": median["energy"] / reference,
        "ratio_gradient": median["energy_and_gradient"] / reference,
    }


def main():
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sizes = [int(s) for s in sys.argv[1:]] or [2, 4]
    rows = [measure(size, dtype) for size in sizes for dtype in ("float64", "float32")]
    print(f"{'atoms':>6} {'dtype':>8} {'stock E+F':>10} {'energy':>9} {'gradient':>9}   ratios")
    for r in rows:
        m = r["median_seconds"]
        print(
            f"{r['atoms']:6d} {r['dtype']:>8} {m['stock_energy_forces'] * 1e3:8.1f}ms"
            f" {m['energy'] * 1e3:7.1f}ms {m['energy_and_gradient'] * 1e3:7.1f}ms"
            f"   {r['ratio_energy']:.2f} {r['ratio_gradient']:.2f}"
        )
    RESULT.parent.mkdir(exist_ok=True)
    document = {"machine": platform.machine(), "torch": torch.__version__, "rows": rows}
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
