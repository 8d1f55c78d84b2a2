"""The binodal of the square Ising lattice from semi-grand runs, against its closed form.

``python benchmarks/binodal.py [RUNS] [--side 64]``: energies and counts are kept in the folder
``RUNS`` as they come, the result goes to ``benchmarks/results/binodal.json``. One thread, about
ten minutes.

A and B attract their like on a 64 × 64 square lattice, with energies −J + d for AA, −J − d for BB
and J for AB, so that the phases coexist at μ = −4d, which the analysis is not told. At every
temperature each phase is sampled from its pure state's chemical potential to the middle of the gap,
in steps chosen from its own fluctuations; MBAR hangs each branch on its pure composition, whose
energy is known, and the tie line is where both peaks of the fraction weigh the same
(`analysis.phase_diagram`, method "equal weight"). The points nearest to coexistence are off it on
purpose, so that no symmetry helps. The closed form is the spontaneous magnetisation,
m = (1 − sinh(2K)^{−4})^{1/8} (C. N. Yang, Phys. Rev. 85, 808 (1952), doi:10.1103/PhysRev.85.808),
of fractions (1 ± m)/2.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.units import kB

from alchemc import Lattice, PairHamiltonian, RandomFlip, SemiGrandCanonical, Sublattice, analysis
from alchemc.analysis.stability.observations import Observations, SampledPoint
from alchemc.records import Run, point_dataset
from alchemc.sampler import draw_block
from alchemc.streams import spawn_generators

RESULT = Path(__file__).parent / "results" / "binodal.json"
J, D = 0.02, 0.0037  # eV
CRITICAL = 2.0 * J / (kB * np.log(1.0 + np.sqrt(2.0)))
SHARES = (0.6, 0.8, 0.9, 0.95)
OFF = 0.003  # of k_BT, by which the middle of the scans misses coexistence
CHAINS, BLOCK = 4, 50
# Draws and sweeps per draw of the points next to coexistence, and of the others.
NEAR, FAR = {0.6: (800, 5), 0.8: (800, 10), 0.9: (1000, 20), 0.95: (1500, 50)}, (250, 8)


def square(side):
    atoms = Atoms("Sc", positions=[[0, 0, 0]], cell=[3.0, 3.0, 30.0], pbc=True)
    return Lattice(atoms.repeat((side, side, 1)), {"s": Sublattice("Sc", ("Sc", "Ta"))})


def sampled(hamiltonian, temperature, mu, species, draws, sweeps, seed):
    """Energies and counts of a phase, from its pure state, without keeping the occupations."""
    lattice = hamiltonian.lattice
    kernel = RandomFlip(hamiltonian, SemiGrandCanonical(lattice, temperature, {"s": {"Ta": mu}}))
    starts = np.full((CHAINS, lattice.n_sites), species, dtype=np.int8)
    rngs = spawn_generators(seed, CHAINS)
    state = kernel.init(starts, rngs)
    thin, found = sweeps * lattice.n_sites, None
    state, _ = draw_block(kernel, state, rngs, max(20, draws // 10), thin)
    for _ in range(draws // BLOCK):
        state, block = draw_block(kernel, state, rngs, BLOCK, thin)
        point = point_dataset(block, kernel.ensemble.coordinates())
        part = analysis.observations(Run((point,), lattice))
        found = part if found is None else found.followed_by(part)
    return found


def branch(hamiltonian, share, species, seed):
    """Points of one phase, from coexistence to where it is pure."""
    temperature, points, tilt = share * CRITICAL, [], 0.0
    while True:
        mu = -4.0 * D + kB * temperature * (OFF + tilt * (1 if species else -1))
        draws, sweeps = FAR if tilt else NEAR[share]
        found = sampled(hamiltonian, temperature, mu, species, draws, sweeps, seed + len(points))
        points.append(found)
        other = found.points[0].counts[..., 1 - species].astype(float)
        if other.mean() < 0.7:
            return points
        tilt += 2.0 / max(other.std(), 1.0)


def stored(folder, side, share, hamiltonian):
    """Observations of both branches, sampled unless they are there."""
    path = folder / f"{side}-{share:g}.npz"
    if not path.exists():
        begin = time.perf_counter()
        both = [branch(hamiltonian, share, k, 1000 * k + int(1e4 * share)) for k in (0, 1)]
        arrays = {"seconds": np.array(time.perf_counter() - begin)}
        for n, part in enumerate(p for half in both for p in half):
            point = part.points[0]
            arrays |= {
                f"mu_{n}": np.array(point.coordinates["mu_s_Ta"]), f"energy_{n}": point.energy,
                f"counts_{n}": point.counts,
            }  # fmt: skip
        np.savez_compressed(path, **arrays)
    with np.load(path) as arrays:
        points = tuple(
            SampledPoint(
                {"temperature": share * CRITICAL, "mu_s_Ta": float(arrays[f"mu_{n}"])},
                arrays[f"energy_{n}"], arrays[f"counts_{n}"],
            )
            for n in range((len(arrays.files) - 1) // 3)
        )  # fmt: skip
        seconds = float(arrays["seconds"])
    return Observations((("s", "Sc"), ("s", "Ta")), {"s": side**2}, points), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs/binodal"))
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    lattice = square(options.side)
    hamiltonian = PairHamiltonian(lattice, {("s", "s"): [np.array([[-J + D, J], [J, -J - D]])]})
    rows = []
    for share in SHARES:
        observed, sampling = stored(options.runs, options.side, share, hamiltonian)
        begin = time.perf_counter()
        diagram = analysis.phase_diagram(observed, method="equal weight", cut=0.5)
        seconds = time.perf_counter() - begin
        (line,) = diagram.lines
        k = J / (kB * share * CRITICAL)
        m = (1.0 - np.sinh(2.0 * k) ** -4) ** 0.125
        exact = ((1.0 - m) / 2.0, (1.0 + m) / 2.0)
        rows.append({
            "T/T_c": share, "temperature": line.temperature, "x": list(line.x),
            "x_error": list(line.errors[:2]), "x_exact": list(exact),
            "z": [(a - b) / e for a, b, e in zip(line.x, exact, line.errors, strict=False)],
            "mu": line.mu, "mu_error": line.errors[2], "mu_exact": -4.0 * D,
            "mu_z": (line.mu + 4.0 * D) / line.errors[2], "points": len(observed.points),
            "draws": int(sum(p.energy.size for p in observed.points)),
            "sampling_seconds": sampling, "analysis_seconds": seconds,
            "statement": diagram.statement,
        })  # fmt: skip
        print(json.dumps(rows[-1], indent=1, ensure_ascii=False), flush=True)
    result = {
        "side": options.side, "J": J, "d": D, "critical_temperature": CRITICAL, "rows": rows,
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
