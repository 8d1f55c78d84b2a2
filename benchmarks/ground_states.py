"""Ground states by enumeration with the bundled potential: (Mg,Ca)O, and half-and-half Pb(Sc,Ta)O3.

``python benchmarks/ground_states.py [PART …]``, merged with all energies into
``benchmarks/results/ground_states.json``. One thread, some ten minutes in all.

- mgcao: all compositions in cells of up to 6 cations at one lattice constant, of up to 4 with
  positions and cell relaxed; and the lowest energy of a canonical run beside the hull.
- pst: Sc and Ta half and half in cells of up to 8 formula units, relaxed up to 6.
- tilted: a small cell holds fewer tilts of the octahedra, so the arrangements of up to 4 formula
  units are relaxed again in cells that 2×2×2 fits, from one start and from four.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
import time
from pathlib import Path

import numpy as np

from alchemc import AlchemicalMACE, Canonical, GibbsWithGradients, Relaxed, builders, sample
from alchemc.analysis import ground_states

RESULT = Path(__file__).parent / "results" / "ground_states.json"
FMAX = 0.005


def ideal(lattice):
    return AlchemicalMACE(lattice, "bundled", device="cpu")


def relaxed(lattice, references=1):
    return Relaxed(ideal(lattice), fmax=FMAX, cell="full", references=references)


def search(parent, build, sizes, composition=None, multiple=1):
    begin = time.perf_counter()
    found = ground_states(parent, build, sizes, composition, multiple=multiple)
    said = found.to_dict() | {"seconds": time.perf_counter() - begin, "rows": found.rows()}
    print(said["statement"], f"{said['seconds']:.0f} s", flush=True)
    return found, said


def mgcao():
    parent, sizes = builders.rocksalt(("Mg", "Ca"), "O", a=4.5), range(1, 7)
    at_rest, result = search(parent, ideal, sizes)
    stored = {"a_A": 4.5, "ideal": result}
    stored["relaxed"] = search(parent, relaxed, range(1, 5))[1]
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.5, size=(2, 2, 2))
    kernel = GibbsWithGradients(ideal(lattice), Canonical(lattice, 500.0))
    start = lattice.random({"cation": {"Mg": 0.5, "Ca": 0.5}}, np.random.default_rng(1))
    run = sample(kernel, start, n_steps=600, n_replicas=4, thin=2, warmup=100, seed=3).samples
    stored["run"] = {
        "temperature": 500.0,
        "cations": lattice.n_sites,
        "lowest_below_hull_meV_per_site": 1000
        * at_rest.below_hull(lattice, run.occupation, run.energy.values),
    }
    print(stored["run"], flush=True)
    return stored


PEROVSKITE = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09)
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}


def pst():
    stored = {"a_A": 4.09, "ideal": search(PEROVSKITE, ideal, range(1, 9), HALF)[1]}
    stored["relaxed"] = search(PEROVSKITE, relaxed, range(1, 7), HALF)[1]
    return stored


def tilted():
    return {
        f"{n} starts": search(
            PEROVSKITE, lambda lattice, n=n: relaxed(lattice, n), range(1, 5), HALF, multiple=2
        )[1]
        for n in (1, 4)
    }


PARTS = {"mgcao": mgcao, "pst": pst, "tilted": tilted}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    for part in parser.parse_args().parts or PARTS:
        found = PARTS[part]()
        stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        stored[part] = found
        RESULT.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
