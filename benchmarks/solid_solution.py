"""Lattice parameters of solid solutions: mean crystals by both rules beside relaxed arrangements.

``python benchmarks/solid_solution.py PART…`` (all by default, about half an hour); each part is
merged into ``benchmarks/results/solid_solution.json`` and printed. One process, one thread.

- strontium, lead: Sr(Ti,Zr)O3 and Pb(Ti,Zr)O3 with the bundled model. Mean crystals of 5 atoms,
  which stay cubic, beside random arrangements of 40 atoms relaxed from ideal positions; then mean
  crystals of 40 atoms beside arrangements, all from positions displaced by 0.05 Å (seed 0), so that
  octahedra may tilt and cations leave their centres.
- sampled: arrangements of Sr(Ti,Zr)O3 drawn at 1000 K on ideal positions, in place of random ones.
- chgnet: Sr(Ti,Zr)O3 with CHGNet, which has the rule "sites" alone; 20 atoms.
- fluorite: Ce1-xZrxO2 and Ce1-xSnxO2 with CHGNet, over the whole range by arrangements of 24 atoms
  and by mean crystals, and over the half of it that the source paper shows.
- wurtzite: Al1-xScxN with CHGNet; the x at which it has the lattice parameter of GaN.
- targets: compositions found by descent beside a scan of 21 compositions, and what both cost.
"""

import json
import platform
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk

from alchemc import (
    AlchemicalCHGNet,
    AlchemicalMACE,
    Canonical,
    Lattice,
    RandomSwap,
    Relaxed,
    Sublattice,
    builders,
    sample,
)
from alchemc.analysis import (
    lattice_parameters,
    mean_crystal,
    optimise_composition,
    sampled_lattice_parameters,
)

RESULT = Path(__file__).parent / "results" / "solid_solution.json"
BOTH = ["sites", "paper"]
QUARTERS = np.linspace(0, 1, 5)
CONSTANTS = {"Sr": 4.04, "Pb": 4.06}


def perovskite(cation, size):
    a = CONSTANTS[cation]
    return builders.perovskite(cation, ("Ti", "Zr"), "O", a=a, size=size)


def bundled(lattice, displacement=0.0):
    positions = lattice.displaced_positions(displacement, 0) if displacement else None
    return AlchemicalMACE(lattice, "bundled", device="cpu", positions=positions)


def titanates(cation, n_ideal, n_displaced):
    large = perovskite(cation, 2)
    model, moved = bundled(large), bundled(large, 0.05)
    mean = lattice_parameters(bundled(perovskite(cation, 1)), mixings=BOTH)
    ideal = Relaxed(model, cell="full", fmax=0.005, displacement=0.0)
    averages = sampled_lattice_parameters(ideal, configurations=n_ideal)
    cubic = told("cubic", mean.beside(averages))
    mean = lattice_parameters(moved, mixings=BOTH, cell="full", fmax=2e-4, max_steps=2000)
    free = Relaxed(model, cell="full", fmax=0.005, displacement=0.05)
    averages = sampled_lattice_parameters(free, configurations=n_displaced)
    return {"cubic": cubic, "displaced": told("displaced", mean.beside(averages))}


def strontium():
    return titanates("Sr", 8, 16)


def lead():
    return titanates("Pb", 8, 16)


def sampled():
    large = perovskite("Sr", 2)
    model, occupations = bundled(large), {0.0: np.zeros((1, 8), int), 1.0: np.ones((1, 8), int)}
    kernel = RandomSwap(model, Canonical(large, temperature=1000.0))
    for x in (0.25, 0.5, 0.75):
        start = large.random({"B": {"Ti": 1 - x, "Zr": x}}, np.random.default_rng(1))
        run = sample(kernel, start, n_steps=400, n_replicas=12, thin=400, seed=2)
        occupations[x] = run.samples.occupation.to_numpy()[-1]  # one draw of every chain
    ideal = Relaxed(model, cell="full", fmax=0.005, displacement=0.0)
    return told("sampled", sampled_lattice_parameters(ideal, configurations=occupations))


def chgnet():
    small, large = perovskite("Sr", 1), perovskite("Sr", (2, 2, 1))
    mean = lattice_parameters(AlchemicalCHGNet(small, device="cpu"), fmax=1e-4)
    ideal = Relaxed(AlchemicalCHGNet(large, device="cpu"), cell="full", fmax=0.01, displacement=0.0)
    return told("CHGNet", mean.beside(sampled_lattice_parameters(ideal, configurations=6)))


def fluorite():
    found = {}
    for other in ("Zr", "Sn"):
        pure = {"cation": {"Ce": 1.0}}
        primitive = bulk("CeO2", "fluorite", a=5.4)
        lattice = Lattice(primitive, {"cation": Sublattice("Ce", ("Ce", other))})
        model = AlchemicalCHGNet(lattice, device="cpu")
        mean = lattice_parameters(model, fmax=1e-4)
        large = builders.fluorite(("Ce", other), "O", a=5.35, size=(2, 1, 1))
        ideal = Relaxed(
            AlchemicalCHGNet(large, device="cpu"), cell="full", fmax=0.01, displacement=0.0
        )
        averages = sampled_lattice_parameters(ideal, configurations=6)
        half = {"cation": {"Ce": 0.5, other: 0.5}}
        found[f"Ce1-x{other}xO2"] = {
            "whole": told(other, mean.beside(averages)),
            "half": told(other, lattice_parameters(model, start=pure, end=half, fmax=1e-4)),
        }
    return found


def wurtzite():
    def crystal(cations, a, c):
        atoms = bulk(f"{cations[0]}N", "wurtzite", a=a, c=c)
        lattice = Lattice(atoms, {"cation": Sublattice(cations[0], cations)})
        return AlchemicalCHGNet(lattice, device="cpu", dtype="float64")

    options = {"cell": "full", "fmax": 1e-4}
    nitride, gallium = crystal(("Al", "Sc"), 3.15, 5.05), crystal(("Ga", "Al"), 3.22, 5.24)
    target = mean_crystal(gallium, {"cation": {"Ga": 1.0}}, **options)
    rows = []
    for x in (0.0, 0.1, 0.2, 0.3):
        one = mean_crystal(nitride, {"cation": {"Al": 1 - x, "Sc": x}}, **options)
        rows.append({"x": x, "a_A": one.lattice_parameter, "c_A": one.c})
    start = {"cation": {"Al": 0.9, "Sc": 0.1}}
    match = optimise_composition(
        nitride, {"lattice_parameter": target.lattice_parameter}, start=start, **options
    )
    result = {
        "GaN": {"a_A": target.lattice_parameter, "c_A": target.c},
        "Al1-xScxN": rows,
        "match": match.to_dict(),
    }
    print(json.dumps(result), flush=True)
    return result


def targets():
    rows = []
    for mixing in BOTH:
        model = bundled(perovskite("Sr", 1))
        begin = time.perf_counter()
        scan = lattice_parameters(model, np.linspace(0, 1, 21), mixings=[mixing]).of(mixing)
        seconds = time.perf_counter() - begin
        for target in (4.0, 4.05, 4.15):
            by_scan = float(np.interp(target, scan.lattice_parameter, scan.x))
            begin = time.perf_counter()
            found = optimise_composition(model, {"lattice_parameter": target}, mixing=mixing)
            rows.append(
                {
                    "mixing": mixing, "target_A": target, "x_by_scan": by_scan,
                    "x": found.composition["B"]["Zr"], "steps": len(found.path) - 1,
                    "calls": found.calls, "seconds": time.perf_counter() - begin,
                    "seconds_of_scan": seconds,
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    model = bundled(builders.perovskite("Sr", ("Ti", "Zr", "Nb"), "O", a=4.04))
    both = {"lattice_parameter": 4.05, "bulk_modulus": 170.0}
    found = optimise_composition(model, both)
    print(found.statement, flush=True)
    return {"one": rows, "two": found.to_dict()}


def told(name, solution):
    print(name, solution.statement, flush=True)
    return solution.to_dict()


PARTS = {
    "strontium": strontium, "lead": lead, "sampled": sampled, "chgnet": chgnet,
    "fluorite": fluorite, "wurtzite": wurtzite, "targets": targets,
}  # fmt: skip


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or list(PARTS):
        begin = time.perf_counter()
        found = PARTS[name]()
        document = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        document |= {"machine": platform.machine(), "torch": torch.__version__}
        document[name] = found | {"seconds": time.perf_counter() - begin}
        RESULT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
