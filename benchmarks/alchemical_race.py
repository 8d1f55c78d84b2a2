"""What a free-energy difference costs by five routes, on the same two systems, bundled potential.

``python benchmarks/alchemical_race.py [PART …]``, merged into
``benchmarks/results/alchemical_race.json``. One thread, some half an hour. The difference is that
of one B site that turns from one species into another:

- lattice: Pb(Sc,Ta)O3 on ideal positions, 2×2×2 cells at 5,000 K; the other seven sites, three Sc
  and four Ta, exchange their species. Exact by enumeration.
- positions: Ti by Zr in SrTiO3, 40 atoms that move by HMC in a fixed cell, 1,000 K.

Routes: λ-dynamics, Gibbs λ, switching, thermodynamic integration (MBAR over equilibrium windows)
and plain semi-grand sampling (random flips; on the lattice over all compositions, at chemical
potentials that make both of them likely). λ-dynamics is `LambdaDynamics` on the lattice, and with
moving atoms λ in time, whose draws weigh the two ends (`vertex_log_weights`). Every route has four
chains (switching: its pairs), a warm-up or pilot of its own, and about the same calls of the
potential. Calls for 5 meV are those that were made, warm-up included, times (error / 5 meV)²;
seconds likewise, of this process. A call is an energy, or energies with forces or slopes: their
costs differ, which the seconds show.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
import time
from pathlib import Path

import numpy as np
from ase import units
from scipy.special import logsumexp

from alchemc import (
    AlchemicalMACE,
    Canonical,
    HybridMD,
    Lattice,
    RandomFlip,
    RandomSwap,
    SemiGrandCanonical,
    Sublattice,
    analysis,
    builders,
    sample,
)
from alchemc.ensembles import (
    HMC,
    GibbsLambda,
    LambdaDynamics,
    LambdaIntegrator,
    LambdaTrajectory,
    vertex_log_weights,
)
from alchemc.ensembles.alchemical import (
    AlchemicalPath,
    Groups,
    Switching,
    WindowSampling,
    place_windows,
)
from alchemc.statistics import summary

RESULT = Path(__file__).parent / "results" / "alchemical_race.json"
TARGET = 0.005  # eV
CHAINS = 4


# ---- what all routes share -------------------------------------------------------------------


def timed(route):
    """Value, error and calls of a route, with its processor time."""
    start = time.process_time()
    value, error, calls = route()
    return value, error, calls, time.process_time() - start


def row(found, exact=None):
    value, error, calls, seconds = found
    scale = (error / TARGET) ** 2
    entry = {
        "free_energy_eV": value, "error_eV": error, "calls": int(calls), "seconds": seconds,
        "calls_for_5_meV": calls * scale, "seconds_for_5_meV": seconds * scale,
    }  # fmt: skip
    if exact is not None:
        entry["z"] = (value - exact) / error
    return {k: v if np.isfinite(v) else None for k, v in entry.items()}


def evaluations(run):
    """Count the evaluations of a run, its warm-up included."""
    warm = run.attrs.get("warm_up", {})
    drawn = sum(int(point[name].sum()) for point in run.points for name in CALLS)
    return drawn + sum(int(np.sum(warm.get(name, 0))) for name in CALLS)


CALLS = ("energy_calls", "gradient_calls")


def of_shares(before, after, kt):
    """−k_BT ln of the share of ``after`` over that of ``before``, bool [draw, chain]."""
    if not (before.any() and after.any()):
        return np.nan, np.nan  # one of the two was never reached
    ratio = after.mean() / before.mean()
    series = after / after.mean() - before / before.mean()
    return -kt * np.log(ratio), kt * summary(series).error


def switched(path, temperature, start, calls, **how):
    switching = Switching(path, temperature, **how)
    works = switching.run(start, n_chains=2 * CHAINS, max_calls=calls, seed=1)
    found = analysis.switching_free_energy(works)
    return found.free_energy, found.error, works.calls


def integrated(path, temperature, start, calls, windows=None, **how):
    """So many windows at equal distances, or as many as pilots say and where."""
    begun = path.calls
    sampling = WindowSampling(path, temperature, couplings=windows or 3, **how)
    if windows is None:
        sampling = place_windows(sampling, start, n_chains=CHAINS, seed=1)
    left = calls - (path.calls - begun)
    drawn = sampling.run(start, n_draws=100_000, n_chains=CHAINS, max_calls=left, seed=2)
    found = analysis.window_free_energy(drawn, parts=0)
    return found.free_energy, found.error, path.calls - begun


def hopped(run, kt):
    found = analysis.state_free_energies(run.samples.state_log_weight[:, :, 0], kt / units.kB)
    return found.free_energies[1], found.errors[1], evaluations(run)


# ---- ideal positions -------------------------------------------------------------------------


def lattice_part(calls=15_000):
    temperature = 5000.0
    kt = units.kB * temperature
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(2, 2, 2))
    groups = Groups.of(lattice, {"one": [0]})
    start = np.array([0, 0, 0, 0, 1, 1, 1, 1])

    def model():
        return AlchemicalMACE(lattice, "bundled", device="cpu")

    # Of 8 sites that are alike, 4 hold Sc before and 5 hold Ta after: F of the compositions
    # differs from that of the one site by k_BT ln of the counts.
    energies = {n: model().energy(states_of(lattice, n)) for n in (4, 5)}
    logs = {n: logsumexp(-e / kt) for n, e in energies.items()}
    counts = kt * np.log(4 / 5)
    exact = -kt * (logs[5] - logs[4]) + counts
    mean_step = float(energies[5].mean() - energies[4].mean())

    def gibbs():
        swaps = RandomSwap(given := model(), Canonical(lattice, temperature))
        kernel = GibbsLambda(given, swaps.ensemble, groups, kernel=swaps, occupation_steps=5)
        run = sample(kernel, start, n_steps=calls // 7 // CHAINS, n_replicas=CHAINS, warmup=100,
                     seed=1)  # fmt: skip
        return hopped(run, kt)

    def switching():
        path = AlchemicalPath(model(), groups, "Sc", "Ta", mixing="energies")
        swaps = RandomSwap(path.model(0.0), Canonical(path.movable, temperature))
        return switched(path, temperature, start, calls, n_steps=20, kernel=swaps,
                        equilibration=150)  # fmt: skip

    def windows():
        path = AlchemicalPath(model(), groups, "Sc", "Ta", mixing="energies")
        swaps = RandomSwap(path.model(0.0), Canonical(path.movable, temperature))
        return integrated(path, temperature, start, calls, kernel=swaps, thin=4,
                          equilibration=50)  # fmt: skip

    def flips(make, **how):
        ensemble = SemiGrandCanonical(lattice, temperature, {"Ta": mean_step})
        run = sample(make(model(), ensemble), start, n_replicas=CHAINS, seed=1, **how)
        n_ta = run.samples.occupation.values.sum(axis=2)
        value, error = of_shares(n_ta == 4, n_ta == 5, kt)
        return value + mean_step + counts, error, evaluations(run)

    def dynamics():
        n = calls // 12 // CHAINS
        return flips(LambdaDynamics, n_steps=n, warmup=n // 5)

    def plain():
        return flips(RandomFlip, n_steps=calls // (8 * CHAINS) * 8, thin=8, warmup=200)

    routes = {"Gibbs λ": gibbs, "switching": switching, "windows": windows,
              "semi-grand flips": plain, "λ-dynamics": dynamics}  # fmt: skip
    return {"exact_eV": exact, "temperature": temperature} | raced(routes, exact)


def states_of(lattice, n_ta):
    return lattice.enumerate({"B": {"Sc": (8 - n_ta) / 8, "Ta": n_ta / 8}})


# ---- moving positions ------------------------------------------------------------------------


def positions_part(calls=20_000):
    temperature = 1000.0
    kt = units.kB * temperature
    mixed = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.95, size=(2, 2, 2))
    atoms = mixed.to_atoms(np.zeros(8, int))
    one = int(np.flatnonzero(atoms.numbers == 22)[0])
    lattice = Lattice(atoms, {"B": Sublattice(sites=(one,), species=("Ti", "Zr"))})
    groups, start = Groups.whole(lattice), np.array([0])
    hmc = HMC(step=2.0, n_steps=8)

    def model():
        return AlchemicalMACE(lattice, "bundled", device="cpu", dtype="float64")

    guess = float(np.diff(model().energy(np.array([[0], [1]])))[0])

    def gibbs():
        kernel = GibbsLambda(
            model(), Canonical(lattice, temperature), groups, between=5, dynamics=hmc
        )
        n = calls // 15 // CHAINS
        run = sample(kernel, start, n_steps=n, n_replicas=CHAINS, warmup=n // 4, seed=1)
        return hopped(run, kt)

    def switching():
        path = AlchemicalPath(model(), groups, "Ti", "Zr")
        return switched(path, temperature, start, calls, n_steps=12, schedule="smooth step",
                        dynamics=hmc, equilibration=8)  # fmt: skip

    def windows():
        path = AlchemicalPath(model(), groups, "Ti", "Zr", mixing="energies")
        return integrated(path, temperature, start, calls, windows=6, dynamics=hmc, equilibration=6)

    def plain():
        # Relaxation shifts the difference that an ideal lattice suggests: a pilot finds μ.
        pilot = gibbs_guess(model(), lattice, groups, temperature, hmc, start)
        ensemble = SemiGrandCanonical(lattice, temperature, {"Zr": pilot[0]})
        kernel = HybridMD(RandomFlip(model(), ensemble), hmc, occupation_steps=1)
        n = calls // 12 // CHAINS
        run = sample(kernel, start, n_steps=n, n_replicas=CHAINS, warmup=n // 4, seed=1)
        held = run.samples.occupation.values[:, :, 0]
        value, error = of_shares(held == 0, held == 1, kt)
        return value + pilot[0], error, evaluations(run) + pilot[1]

    def dynamics():
        # λ in time with all atoms, at the same pilot's μ; vertices by the weights of the draws.
        pilot = gibbs_guess(model(), lattice, groups, temperature, hmc, start)
        ensemble = SemiGrandCanonical(lattice, temperature, {"Zr": pilot[0]})
        n_steps = 24
        trajectory = LambdaTrajectory(
            model(), ensemble, groups=groups, positions=True,
            integrator=LambdaIntegrator("underdamped", n_steps),
        )  # fmt: skip
        n = (calls - pilot[1]) // (n_steps + 4) // CHAINS
        found = trajectory.run(
            start, n_draws=n - n // 5, n_replicas=CHAINS, warmup=n // 5, seed=1, vertices=True
        )
        free = analysis.state_free_energies(vertex_log_weights(found), temperature)
        made = sum(int(found.attrs[name]) for name in ("warm_up_gradient_calls", *CALLS))
        return free.free_energies[1] + pilot[0], free.errors[1], made + pilot[1]

    routes = {"Gibbs λ": gibbs, "switching": switching, "windows": windows,
              "semi-grand flips": plain, "λ-dynamics": dynamics}  # fmt: skip
    found = {"ideal_lattice_eV": guess, "temperature": temperature} | raced(routes)
    rows = [entry for entry in found["routes"].values() if entry["error_eV"] is not None]
    weights = np.array([entry["error_eV"] ** -2 for entry in rows])
    values = np.array([entry["free_energy_eV"] for entry in rows])
    mean = float(weights @ values / weights.sum())
    found["mean_eV"], found["chi_squared"] = mean, float(weights @ (values - mean) ** 2)
    return found


def gibbs_guess(model, lattice, groups, temperature, hmc, start):
    """Difference of the two species' free energies from a short run, and its calls."""
    kernel = GibbsLambda(model, Canonical(lattice, temperature), groups, between=5, dynamics=hmc)
    run = sample(kernel, start, n_steps=10, n_replicas=CHAINS, warmup=20, seed=9)
    value, _, calls = hopped(run, units.kB * temperature)
    return float(value), calls


def raced(routes, exact=None):
    found = {}
    for name, route in routes.items():
        found[name] = row(timed(route), exact)
        print(name, json.dumps(found[name]), flush=True)
    return {"routes": found}


PARTS = {"lattice": lattice_part, "positions": positions_part}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--calls", type=int, help="calls of the potential per route")
    asked = parser.parse_args()
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in asked.parts or PARTS:
        result[name] = PARTS[name](*([asked.calls] if asked.calls else []))
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
