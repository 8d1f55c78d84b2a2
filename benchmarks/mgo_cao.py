"""(Mg,Ca)O through its miscibility gap by two ensembles, below and near the consolute point.

``python benchmarks/mgo_cao.py [RUNS] [--temperatures 2500 3750]``: campaigns in the folder ``RUNS``
(finished ones are kept), then the analysis, into ``benchmarks/results/mgo_cao.json``. Bundled
potential, 32 cations, positions and volume relaxed at zero pressure for every arrangement. One
thread.

The composition's free energy F(N) follows from the counts N of each ensemble by MBAR, its excess
over the number of arrangements is fitted by a polynomial in the fraction, and the tie line is the
common tangent of that plus the ideal entropy of a large crystal. Errors: chains drawn again.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
from pathlib import Path

import numpy as np
from ase import units
from pymbar import MBAR
from scipy.optimize import least_squares
from scipy.special import gammaln, xlogy

from alchemc import analysis, campaign, open_run

RESULT = Path(__file__).parent / "results" / "mgo_cao.json"
SITES, KAPPA, DEGREE, RESAMPLES = 32, 5.0, 4, 100
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


def counts_of(points):
    """Return counts of Ca, [draw, chain] of every point, and the points' φ or μ."""
    calcium = 1  # the order of the species in the campaign
    counts = [(point.occupation.values == calcium).sum(axis=-1) for point in points]
    along = [
        float(point[name]) for point in points for name in point.coords
        if name in ("mu_cation_Ca", "phi_cation_Mg")
    ]  # fmt: skip
    return counts, np.array(along)


def free_energy(kind, counts, along, beta):
    """F(N) in eV up to a constant, NaN where no draw was, [SITES + 1]."""
    sizes = np.array([c.size for c in counts])
    n = np.concatenate([c.ravel() for c in counts]).astype(float)
    if kind == "semi-grand":
        bias = -beta * along[:, None] * n
    else:
        bias = KAPPA * SITES * (1 - n / SITES + along[:, None] / 2) ** 2  # of Mg
    mbar = MBAR(bias, sizes)
    log = -mbar._computeUnnormalizedLogWeights(np.zeros(len(n)))
    found = np.full(SITES + 1, np.nan)
    for k in np.unique(n.astype(int)):
        found[k] = -np.logaddexp.reduce(-log[n == k]) / beta
    return found


def excess(free, beta):
    """Over the number of arrangements, per site, [SITES + 1]."""
    n = np.arange(SITES + 1)
    ways = gammaln(SITES + 1) - gammaln(n + 1) - gammaln(SITES - n + 1)
    return (free + ways / beta) / SITES


def polynomial(found, weight):
    """Coefficients of the excess in c, highest first."""
    c, known = np.arange(SITES + 1) / SITES, np.isfinite(found) & (weight > 0)
    return np.polyfit(c[known], found[known], DEGREE, w=np.sqrt(weight[known]))


def tie_line(coefficients, beta):
    """(c₁, c₂, μ) of the common tangent, NaN where there is one phase."""
    slope = np.polyder(coefficients)

    def f(c):
        return np.polyval(coefficients, c) + (xlogy(c, c) + xlogy(1 - c, 1 - c)) / beta

    def mu(c):
        return np.polyval(slope, c) + np.log(c / (1 - c)) / beta

    def residual(x):
        c1, c2 = 1 / (1 + np.exp(-x))
        return [mu(c1) - mu(c2), (f(c2) - f(c1)) - mu(c1) * (c2 - c1)]

    grid = np.linspace(0.002, 0.998, 499)
    if np.all(np.diff(mu(grid)) > 0):
        return np.full(3, np.nan)
    best = None
    for low, high in ((0.03, 0.95), (0.1, 0.9), (0.2, 0.8), (0.3, 0.7)):
        start = np.log([low / (1 - low), high / (1 - high)])
        got = least_squares(residual, start, xtol=1e-12, ftol=1e-14)
        c1, c2 = 1 / (1 + np.exp(-got.x))
        if c2 - c1 > 0.02 and (best is None or got.cost < best[0]):
            best = got.cost, c1, c2, mu(c1)
    return np.full(3, np.nan) if best is None or best[0] > 1e-12 else np.array(best[1:])


def resampled(counts, rng):
    """Draw chains again, each in two halves so that there are enough."""
    found = []
    for c in counts:
        halves = [h for chain in c.T for h in np.array_split(chain, 2)]
        found.append(
            np.concatenate([halves[i] for i in rng.integers(len(halves), size=len(halves))])
        )
    return found


def analyse(kind, opened, temperature):
    beta = 1 / (units.kB * temperature)
    points = [point for point in opened.points if point.sizes["draw"]]
    counts, along = counts_of(points)
    n = np.concatenate([c.ravel() for c in counts])
    visits = np.bincount(n, minlength=SITES + 1)
    rng, lines, curves = np.random.default_rng(3), [], []
    for k in range(RESAMPLES + 1):
        chosen = resampled(counts, rng) if k else counts
        weight = np.bincount(np.concatenate([c.ravel() for c in chosen]), minlength=SITES + 1)
        found = excess(free_energy(kind, chosen, along, beta), beta)
        fit = polynomial(found, weight)
        lines.append(tie_line(fit, beta))
        curves.append((fit, found))
    lines = np.array(lines)
    row = {
        "points": [
            {"at": float(a), "sweep": ("up", "down")[int(p.coords.get("sweep", 0))],
             "fraction": float(c.mean() / SITES), "energy_calls": int(p.energy_calls.sum())}
            for a, p, c in zip(along, points, counts, strict=True)
        ],
        "compositions_visited": int((visits > 0).sum()),
        "never_visited": np.flatnonzero(visits == 0).tolist(),
        "relaxations": int(sum(int(p.energy_calls.sum()) for p in points)),
    }  # fmt: skip
    seen = np.flatnonzero(visits)
    if len(seen) == seen[-1] - seen[0] + 1:  # else nothing says how the branches weigh
        row |= {
            "tie_line": lines[0].tolist(), "tie_line_error": np.nanstd(lines[1:], axis=0).tolist(),
            "one_phase_share_of_resamples": float(np.isnan(lines[1:, 0]).mean()),
            "excess_polynomial_eV": curves[0][0].tolist(),
        }  # fmt: skip
    if kind == "semi-grand":
        row["hysteresis"] = [loop.text for loop in analysis.hysteresis(opened)]
    return row, [fit for fit, _ in curves]


def consolute(cold, hot, temperatures):
    """T above which the excess, linear in T between and beyond two temperatures, has no gap."""
    t1, t2 = temperatures

    def gap(t):
        fit = cold + (hot - cold) * (t - t1) / (t2 - t1)
        c = np.linspace(0.02, 0.98, 193)
        second = np.polyval(np.polyder(fit, 2), c) + units.kB * t / (c * (1 - c))
        return second.min(), c[second.argmin()]

    low, high = t1, 9000.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if gap(middle)[0] < 0 else (low, middle)
    return low, gap(low)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs/mgo_cao"))
    parser.add_argument("--temperatures", type=float, nargs=2, default=[2500.0, 3750.0])
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    stored, fits = {"sites": SITES, "kappa": KAPPA}, {}
    for temperature in options.temperatures:
        for kind in SCAN:
            row, fits[kind, temperature] = analyse(
                kind, run(options.runs, kind, temperature), temperature
            )
            stored[f"{kind}, {temperature:.0f} K"] = row
            print(kind, temperature, json.dumps(row, indent=1, ensure_ascii=False), flush=True)
    for kind in SCAN:
        # A semi-grand run has no free energy across its jump; the other ensemble's stands in.
        cold, hot = options.temperatures
        pairs = zip(fits["variance-constrained", cold], fits[kind, hot], strict=True)
        found = np.array([consolute(a, b, options.temperatures) for a, b in pairs])
        stored[f"consolute point, {kind}"] = {
            "temperature": found[0, 0], "temperature_error": found[1:, 0].std(),
            "fraction": found[0, 1], "fraction_error": found[1:, 1].std(),
        }  # fmt: skip
        print(kind, stored[f"consolute point, {kind}"])
    RESULT.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
