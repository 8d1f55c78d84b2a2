"""(Mg,Ca)O through its miscibility gap by two ensembles, below and near the consolute point.

``python benchmarks/mgo_cao.py [RUNS] [--temperatures 2500 3750]``: campaigns in the folder ``RUNS``
(finished ones are kept), then the analysis, into ``benchmarks/results/mgo_cao.json``. Bundled
potential, 32 cations, positions and volume relaxed at zero pressure for every arrangement. One
thread.

Tie lines are common tangents of Redlich–Kister curves through the free energies of the
compositions, which follow from the draws by MBAR (`analysis.phase_diagram`); the consolute point
is from runs at two temperatures together. Errors: blocks of draws drawn again. A semi-grand run
whose chains stay in the phase where they started contradicts itself and is refused; told the
phases apart (``cut``), it is hung on its pure ends and gives the μ at which both weigh the same.
Variance-constrained runs at further temperatures make the phase diagram, drawn in docs/images.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
from itertools import pairwise
from pathlib import Path

from alchemc import analysis, campaign, open_run
from alchemc.analysis.plots import plot_mixing, plot_phase_diagram
from alchemc.errors import ConvergenceError

RESULT = Path(__file__).parent / "results" / "mgo_cao.json"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "mgo_cao_diagram.png"
SITES, KAPPA, ORDER = 32, 5.0, 2
SCAN = {
    "semi-grand": "chemical_potentials.cation.Ca = { from = -1.02, to = -0.72, steps = 7 }",
    "variance-constrained": f"kappa = {KAPPA:g}\n"
    "phi.cation.Mg = { from = -3.0, to = -0.4, steps = 14 }",
}
RUN = {
    "semi-grand": "chains = 4\ndraws = 60\nwarmup = 15",
    "variance-constrained": "chains = 3\ndraws = 80\nwarmup = 20",
}


def run(folder, kind, temperature):
    path = folder / f"{kind}-{temperature:.0f}"
    if not path.exists():
        text = f"""
[structure]
prototype = "rocksalt"
cations = ["Mg", "Ca"]
anion = "O"
a = 4.5
supercell = [2, 2, 2]
[potential]
kind = "mace"
model = "bundled"
relax = {{ cell = "isotropic", fmax = 0.1 }}
[ensemble]
kind = "{kind}"
temperatures = [{temperature}]
{SCAN[kind]}
sweep = "{"both" if kind == "semi-grand" else "up"}"
[sampler]
kind = "surrogate"
[run]
{RUN[kind]}
seed = 20240
"""
        campaign.start_run(campaign.parse_config(text), path)
    elif not open_run(path).attrs["finished"]:
        campaign.resume_run(path)
    return open_run(path)


def tie_line(line):
    return {
        "tie_line": [*line.x, line.mu], "tie_line_error": list(line.errors),
        "one_phase_share_of_resamples": 1.0 - line.certainty,
    }  # fmt: skip


def analyse(kind, opened):
    observed = analysis.observations(opened)
    counts = [point.counts[..., 1] for point in observed.points]  # of Ca, counted last
    visited = set().union(*(c.ravel().tolist() for c in counts))
    row = {
        "points": [
            {"at": point.coordinates["mu_cation_Ca" if kind == "semi-grand" else "phi_cation_Mg"],
             "sweep": ("up", "down")[int(point.coordinates.get("sweep", 0))],
             "fraction": float(c.mean() / SITES), "energy_calls": int(p.energy_calls.sum())}
            for point, p, c in zip(observed.points, opened.points, counts, strict=False)
        ],
        "compositions_visited": len(visited),
        "never_visited": sorted(set(range(SITES + 1)) - visited),
        "relaxations": int(sum(int(p.energy_calls.sum()) for p in opened.points)),
    }  # fmt: skip
    try:
        diagram = analysis.phase_diagram(observed, order=ORDER)
        for line in diagram.lines:
            row |= tie_line(line) | {"statement": diagram.statement}
    except ConvergenceError as error:
        diagram = analysis.phase_diagram(observed, method="equal weight", cut=0.5)
        row |= {"refused": str(error), "apart": [tie_line(x) for x in diagram.lines]}
        row |= {"statement": diagram.statement}
    if kind == "semi-grand":
        row["hysteresis"] = [loop.text for loop in analysis.hysteresis(opened)]
    return row


def consolute(opened):
    found = analysis.phase_diagram(opened, order=ORDER).consolute
    return {
        "temperature": found.temperature, "temperature_error": found.temperature_error,
        "fraction": found.x, "fraction_error": found.x_error, "certainty": found.certainty,
    }  # fmt: skip


def diagram_of(opened, picture):
    """Phase diagram of all variance-constrained runs, between their temperatures, too."""
    sampled = sorted({float(p.temperature) for one in opened for p in one.points})
    between = [0.5 * (a + b) for a, b in pairwise(sampled)]
    found = analysis.phase_diagram(opened, sorted(sampled + between), order=ORDER)
    plot_phase_diagram(found).savefig(picture, dpi=200)
    plot_mixing(found.free).savefig(picture.with_stem("mgo_cao_mixing"), dpi=200)
    return found.to_dict()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs/mgo_cao"))
    parser.add_argument("--temperatures", type=float, nargs=2, default=[2500.0, 3750.0])
    parser.add_argument("--further", type=float, nargs="*", default=[3000.0, 3400.0, 4300.0])
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    stored, runs = {"sites": SITES, "kappa": KAPPA}, {}
    for temperature in options.temperatures:
        for kind in SCAN:
            runs[kind, temperature] = run(options.runs, kind, temperature)
            row = analyse(kind, runs[kind, temperature])
            stored[f"{kind}, {temperature:.0f} K"] = row
            print(kind, temperature, json.dumps(row, indent=1, ensure_ascii=False), flush=True)
    cold, hot = options.temperatures
    for kind in SCAN:
        # A semi-grand run has no free energy between its phases; the other ensemble's stands in.
        both = [runs["variance-constrained", cold], runs[kind, hot]]
        stored[f"consolute point, {kind}"] = consolute(both)
        print(kind, stored[f"consolute point, {kind}"])
    held = [runs["variance-constrained", t] for t in options.temperatures]
    held += [run(options.runs, "variance-constrained", t) for t in options.further]
    stored["phase diagram"] = diagram_of(held, PICTURE)
    print(stored["phase diagram"]["statement"])
    RESULT.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
