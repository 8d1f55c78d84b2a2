"""What bias special quasirandom structures of Pb(Sc,Ta)O3 carry, for two potentials.

``python benchmarks/sqs.py [--only bundled-64 …] [--runs DIR]``: campaigns on ideal positions by
surrogate chains (finished ones are kept in DIR), then ``compare_sqs``, into
``benchmarks/results/sqs.json``. One thread. ``bundled-64`` is examples/pb_sc_ta_o3_64.toml;
``bundled-8`` is examples/demo.toml with energies of relaxed positions beside those of ideal ones;
``chgnet-16`` needs the extra ``chgnet``.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from alchemc import Relaxed, Run, campaign, open_run
from alchemc.analysis import compare_sqs, generate_sqs, measured_sqs

HERE = Path(__file__).parent
RESULT, EXAMPLES = HERE / "results" / "sqs.json", HERE.parent / "examples"
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
CHGNET = """
title = "Pb(Sc,Ta)O3, CHGNet, 80 atoms: ideal positions"
[structure]
prototype = "perovskite"
A = "Pb"
B = ["Sc", "Ta"]
X = "O"
a = 4.08
supercell = [2, 2, 4]
[sublattices.B]
composition = { Sc = 0.5, Ta = 0.5 }
[potential]
kind = "chgnet"
[ensemble]
kind = "canonical"
temperatures = [9000, 7000, 5800, 5000, 4400]
[sampler]
kind = "surrogate"
[run]
chains = 4
draws = 60
seed = 20240
"""
SYSTEMS = {
    "bundled-64": (lambda: campaign.load_config(EXAMPLES / "pb_sc_ta_o3_64.toml"), 1024, 8, False),
    "bundled-8": (lambda: campaign.load_config(EXAMPLES / "demo.toml"), 256, 12, True),
    "chgnet-16": (lambda: campaign.parse_config(CHGNET), 64, 8, False),
}
"""Campaign, random arrangements, draws whose forces are computed, and whether to relax, too."""


def measure(name: str, runs: Path) -> dict:
    config, n_random, n_evaluated, relax = SYSTEMS[name]
    folder = runs / name
    seconds = {}
    if not folder.exists():
        start = time.perf_counter()
        campaign.start_run(config(), folder)
        seconds["sampling"] = time.perf_counter() - start
    run = open_run(folder)
    model = run.hamiltonian()
    start = time.perf_counter()
    structures = generate_sqs(run.lattice, HALF, n=8)
    seconds["generation"] = time.perf_counter() - start
    start = time.perf_counter()
    found = compare_sqs(
        run, structures, model,
        relaxed=Relaxed(model, fmax=0.05) if relax else None,
        n_random=n_random, n_evaluated=n_evaluated,
    )  # fmt: skip
    seconds["comparison"] = time.perf_counter() - start
    ordered = quasi_ordered(run, model)
    return {
        "title": run.config["title"],
        "seconds": seconds,
        "quasi_ordered": ordered,
        **found.to_dict(),
    }


def quasi_ordered(run, model) -> dict:
    """Bias of structures that match the mean cluster vector of the lowest temperature instead."""
    coldest = min(run.points, key=lambda point: float(point.temperature))
    draws = coldest["occupation"].to_numpy().reshape(-1, run.lattice.n_sites).astype(np.int8)
    mean = measured_sqs(run.lattice, draws).vectors.mean(axis=0)
    made = generate_sqs(run.lattice, HALF, n=8, target=mean)
    alone = Run((coldest,), run.lattice)
    row = compare_sqs(alone, made, model, n_random=16, n_evaluated=0).quantity("energy")
    point = row.points[0]
    return {
        "temperature": point.temperature,
        "bias": point.bias,
        "bias_error": point.bias_error,
        "scatter": row.scatter if len(made) > 1 else None,
        "n": len(made),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--runs", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = options.runs or Path(scratch)
        runs.mkdir(parents=True, exist_ok=True)
        for name in options.only:
            results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
            results[name] = measure(name, runs)
            text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
            RESULT.write_text(text + "\n")
            print(f"{name}: {results[name]['statement']}\n")


if __name__ == "__main__":
    main()
