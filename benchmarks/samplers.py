"""Kernels on the bundled MACE: energies and seconds per effective sample, beside torch-sim.

Run as ``python benchmarks/samplers.py [PART ...] [options]``; parts in this order by default:

``trials``      processor seconds per trial of torch-sim's and our random swaps, 40 and 320 atoms
``agreement``   torch-sim and every kernel against the enumerated 2×2×2 cell at a hot temperature
``transition``  where the landscape orders (T_od): Binder cumulants of two sizes, on the surrogate
``points``      every kernel at every size and temperature asked for
``tables``      what the stored results say, and the figure of the docs

System: Pb(Sc,Ta)O3 perovskite, a = 4.08 Å, ideal positions, float64, one thread, four chains that
start in both rock-salt arrangements and in two random ones. A run ends when the energy and the
three orders have 500 effective samples each and R-hat below 1.01, or when its seconds are spent,
which is then said. Budgets are wall-clock seconds, reported seconds the processor's, so that a busy
machine changes them little. Results are merged into ``benchmarks/results/samplers.json`` part by
part, so that a long table can be made in pieces (all of it takes some four hours). torch-sim is
left out, and named so, where it is not installed::

    python benchmarks/samplers.py points --sizes 4 --kernels SurrogateChain --seconds 300
    python benchmarks/samplers.py points --sizes 6 --temperatures 1.1 --kernels PathAuxiliary
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import importlib.util
import json
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _samplers_runs import (
    HALF,
    NAMES,
    STAND_INS,
    TORCH_SIM,
    KernelChains,
    chains_of,
    frozen,
    lattice_of,
    measure,
    model_of,
    observables_of,
    starts_of,
    thin_of,
    warm_up_steps,
)

from alchemc import Canonical, RandomSwap, SurrogateChain, analysis
from alchemc.sampler import Comparison, sample
from alchemc.sampler.comparison import relative_costs

RESULT = Path(__file__).parent / "results" / "samplers.json"
FIGURE = Path(__file__).parent.parent / "docs" / "images" / "samplers.png"
FRACTIONS = (0.8, 0.95, 1.0, 1.1, 1.3, 2.0)
FEWEST_SHOWN = 10  # effective samples, below which a point says nothing
Document = dict[str, Any]


# ---- results ---------------------------------------------------------------------------------


def stored() -> Document:
    return json.loads(RESULT.read_text()) if RESULT.exists() else {}


def store(*path: str, value: Any) -> None:
    """Put a value into the results; read anew, so that parts may run one beside another."""
    document = stored()
    document["machine"] = platform.machine()
    inner = document
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    RESULT.parent.mkdir(exist_ok=True)
    partial = RESULT.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    partial.replace(RESULT)


def costs_of(size: int) -> dict[str, float]:
    """Cost of a gradient and of a Hessian product, measured once per size and then kept."""
    known = stored().get("costs", {}).get(str(size))
    if known is None:
        lattice = lattice_of(size)
        start = lattice.random(HALF, np.random.default_rng(1))
        gradient, hessian, seconds = relative_costs(model_of(lattice), start, hessian=True)
        known = {"gradient": gradient, "hessian": hessian, "seconds_per_energy": seconds}
        store("costs", str(size), value=known)
    return known


# ---- trials and agreement with torch-sim -------------------------------------------------------


def trials(arguments: argparse.Namespace) -> None:
    """Processor seconds per trial, alternating, medians; energies of both on the same cells."""
    if TORCH_SIM not in arguments.kernels:
        return
    from _samplers_torch_sim import TorchSimChains, one_thread, state_of, torch_sim_model

    one_thread()
    for size, n_steps, repeats in ((2, 10, 9), (4, 2, 7)):
        lattice = lattice_of(size)
        model = model_of(lattice)
        row: dict[str, Any] = {"atoms": len(lattice.atoms), "seconds_per_trial": {}}
        for n_chains in (1, 4):
            starts = lattice.random(HALF, np.random.default_rng(2), n_chains)
            theirs = TorchSimChains(lattice, 6000.0, starts, seed=1)
            ours = KernelChains(RandomSwap(model, Canonical(lattice, 6000.0)), starts, 1)
            run: dict[str, Callable[[], object]] = {
                "torch-sim": lambda: [theirs.step() for _ in range(n_steps)],
                "alchemc": lambda: ours.block(1, n_steps),
            }
            times: dict[str, list[float]] = {name: [] for name in run}
            for repeat in range(repeats + 1):
                for name, function in run.items():
                    begin = time.process_time()
                    function()
                    if repeat:  # the first one fills caches
                        times[name].append((time.process_time() - begin) / (n_steps * n_chains))
            median = {name: float(np.median(values)) for name, values in times.items()}
            row["seconds_per_trial"][f"{n_chains} chains"] = median
            print(
                f"{row['atoms']} atoms, {n_chains} chains: "
                + ", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in median.items())
                + f", ratio {median['torch-sim'] / median['alchemc']:.2f}",
                flush=True,
            )
        found = torch_sim_model()(state_of(lattice, starts))["energy"].numpy()
        row["largest_energy_difference_eV"] = float(np.abs(found - model.energy(starts)).max())
        print(f"largest difference of energies {row['largest_energy_difference_eV']:.1e} eV")
        store("trials", str(size), value=row)


def agreement(arguments: argparse.Namespace, temperature: float = 8000.0) -> None:
    """Mean energy and order of all 70 arrangements of the small cell, and of each program."""
    from itertools import combinations

    lattice = lattice_of(2)
    model = model_of(lattice)
    states = np.zeros((70, 8), dtype=np.int8)
    for state, chosen in zip(states, combinations(range(8), 4), strict=True):
        state[list(chosen)] = 1
    weight = -Canonical(lattice, temperature).beta * (energies := model.energy(states))
    weight = np.exp(weight - weight.max()) / np.exp(weight - weight.max()).sum()
    order = observables_of(lattice)["rock-salt"]
    exact = {"energy": float(weight @ energies), "rock-salt": float(weight @ order(states))}
    store("agreement", "temperature", value=temperature)
    store("agreement", "exact", value=exact)
    for name in arguments.kernels:
        if name in STAND_INS:
            continue
        chains = chains_of(name, 2, temperature, model)
        found = measure(
            chains, lattice, temperature,
            steps=warm_up_steps(name, 8), thin=1, seconds=arguments.seconds,
        )  # fmt: skip
        comparison = Comparison.from_runs(
            {name: found.run}, observables={"rock-salt": order}, gradient_cost=1.0
        )
        seen = comparison.rows[0].observables
        z = {key: (seen[key].mean - exact[key]) / seen[key].error for key in exact}
        row = {"z": z, "samples": comparison.rows[0].ess, "shortcoming": found.shortcoming}
        store("agreement", "rows", name, value=row)
        shown = ", ".join(f"{key} z = {value:+.2f}" for key, value in z.items())
        samples = f"{comparison.rows[0].ess:.0f} effective samples"
        print(f"{name}: {shown} ({samples}) {found.shortcoming}", flush=True)


# ---- the transition --------------------------------------------------------------------------


def transition(arguments: argparse.Namespace) -> None:
    """Binder cumulants and heat capacities of two sizes, on the frozen surrogate.

    Its error against the model is stored beside: some hundredths of k_BT per cell, which shifts the
    transition by far less than the statistical error.
    """
    small, large = min(arguments.sizes), max(arguments.sizes)
    if small == large:
        raise SystemExit("the transition needs two sizes: give --sizes 4 6")
    surrogate, learnt = frozen()
    print(f"surrogate: {learnt['held_out_error_kT']:.3f} kT off the model on energies left out")
    rows = []
    for temperature in np.arange(4500.0, 5101.0, 100.0):
        row: dict[str, Any] = {"temperature": float(temperature)}
        for size in (small, large):
            lattice = lattice_of(size)
            n_sites, ensemble = lattice.n_sites, Canonical(lattice, float(temperature))
            run = sample(
                RandomSwap(surrogate.on(lattice), ensemble), starts_of(lattice, 2)[2], seed=2,
                n_replicas=4, n_steps=n_sites * 40_000, thin=10 * n_sites, warmup=2_000 * n_sites,
            )  # fmt: skip
            occupations = run.samples.occupation.values
            squared = observables_of(lattice)["rock-salt"](occupations.reshape(-1, n_sites))
            squared = squared.reshape(occupations.shape[:2])
            binder = analysis.binder_cumulant(squared)
            capacity = run.samples.energy.values.var() * ensemble.beta**2 / n_sites
            row[str(size)] = {
                "binder": binder.mean, "error": binder.error, "order": float(squared.mean()),
                "heat_capacity": float(capacity),
            }  # fmt: skip
            print(
                f"{temperature:.0f} K, {size}³: U = {binder.mean:.4f} ± {binder.error:.4f}, "
                f"|ψ|² = {squared.mean():.3f}, C = {capacity:.2f} k_B/site",
                flush=True,
            )
        rows.append(row)
    t_od, error = crossing(rows, str(small), str(large))
    print(f"T_od = {t_od:.0f} ± {error:.0f} K, where U({small}³) = U({large}³)")
    found = {"t_od": t_od, "error": error, "sizes": [small, large], "rows": rows}
    store("transition", value=found | {"surrogate": learnt})


def crossing(rows: list[dict[str, Any]], small: str, large: str) -> tuple[float, float]:
    """Temperature at which a parabola through U_large − U_small meets zero; error by resampling."""
    t = np.array([row["temperature"] for row in rows])
    difference = np.array([row[large]["binder"] - row[small]["binder"] for row in rows])
    errors = np.array([[row[size]["error"] for size in (small, large)] for row in rows])
    error = np.hypot(errors[:, 0], errors[:, 1])
    rng = np.random.default_rng(1)
    drawn = difference + error * rng.normal(size=(500, len(t)))
    found = []
    for values in (difference, *drawn):
        roots = np.roots(np.polyfit(t - t.mean(), values, 2, w=1.0 / error))
        inside = roots[np.abs(roots.imag) < 1e-9].real
        found.append(t.mean() + (inside[np.abs(inside).argmin()] if len(inside) else np.nan))
    low, high = np.nanpercentile(found[1:], [16, 84])
    return float(found[0]), float(high - low) / 2


# ---- points ----------------------------------------------------------------------------------


def t_od_of(arguments: argparse.Namespace) -> float:
    known = arguments.t_od or stored().get("transition", {}).get("t_od")
    if known is None:
        raise SystemExit("T_od is not known: run the part transition first, or give --t-od")
    return float(known)


def points(arguments: argparse.Namespace) -> None:
    t_od = t_od_of(arguments)
    for size in arguments.sizes:
        lattice, costs = lattice_of(size), costs_of(size)
        for fraction in arguments.temperatures:
            for name in arguments.kernels:
                row = point(name, size, fraction * t_od, arguments.seconds, costs)
                store("points", str(size), f"{fraction:g}", name, value=row)
                shown = row["row"]
                cost = (shown["sampling"]["cost"] + shown["warm_up"]["cost"]) / (shown["ess"] or 1)
                print(
                    f"{size}³ ({len(lattice.atoms)} atoms), {fraction:g} T_od, {name}: "
                    f"{shown['ess'] or 0:.0f} effective samples, {cost:.3g} energies each with "
                    f"warm-up; {row['shortcoming'] or 'done'}",
                    flush=True,
                )


def point(
    name: str, size: int, temperature: float, seconds: float, costs: dict[str, float]
) -> dict[str, Any]:
    """One kernel at one size and temperature."""
    lattice = lattice_of(size)
    chains = chains_of(name, size, temperature, model_of(lattice))
    found = measure(
        chains, lattice, temperature, seconds=seconds,
        steps=warm_up_steps(name, lattice.n_sites), thin=thin_of(name, lattice.n_sites),
    )  # fmt: skip
    comparison = Comparison.from_runs(
        {name: found.run},
        observables=observables_of(lattice),
        gradient_cost=costs["gradient"],
        hessian_cost=costs["hessian"],
    )
    kernel = getattr(chains, "kernel", None)
    summary = kernel.summary() if isinstance(kernel, SurrogateChain) else {}
    return {
        "temperature": temperature,
        "row": comparison.to_dict()["rows"][0],
        "shortcoming": found.shortcoming,
        "surrogate": {
            key: None if isinstance(value, float) and np.isnan(value) else value
            for key, value in summary.items()
        },
    }


# ---- tables and the figure -------------------------------------------------------------------


def comparison_of(size: str, rows: dict[str, Any], *, exact: bool) -> Comparison:
    """Rows of one size and temperature; ``exact`` leaves out what did not run on the model."""
    costs = stored()["costs"][size]
    kept = [
        rows[name]["row"] for name in NAMES if name in rows and not (exact and name in STAND_INS)
    ]
    return Comparison.from_dict(
        {"rows": kept, "gradient_cost": costs["gradient"], "hessian_cost": costs["hessian"],
         "measured": ["gradient", "hessian"]}
    )  # fmt: skip


def tables(_: argparse.Namespace) -> None:
    document = stored()
    for size, of_size in sorted(document.get("points", {}).items()):
        for fraction, rows in sorted(of_size.items(), key=lambda item: float(item[0])):
            temperature = next(iter(rows.values()))["temperature"]
            print(f"\n==== {size}×{size}×{size}, {fraction} T_od = {temperature:.0f} K\n")
            print(comparison_of(size, rows, exact=True).table())
            for name, row in rows.items():
                if row["shortcoming"]:
                    print(f"{name}: {row['shortcoming']}.")
            for name in (name for name in STAND_INS if name in rows):
                row = comparison_of(size, {name: rows[name]}, exact=False).rows[0]
                print(
                    f"{name} (the frozen surrogate in place of the model): "
                    f"{row.cost_per_sample():.3g} energies per effective sample."
                )
        print(f"\n==== {size}×{size}×{size}: energies per effective sample, warm-up counted\n")
        print(matrix(of_size, str(size)))
    if document.get("points"):
        figure(document["points"])


def matrix(of_size: dict[str, Any], size: str) -> str:
    """Kernels by temperatures; ``>`` marks figures of runs that were cut short."""
    fractions = sorted(of_size, key=float)
    lines = [f"{'T / T_od':20}" + "".join(f"{fraction:>12}" for fraction in fractions)]
    for name in NAMES:
        cells = []
        for fraction in fractions:
            entry = of_size[fraction].get(name)
            if entry is None:
                cells.append("")
                continue
            row = comparison_of(size, {name: entry}, exact=False).rows[0]
            cost = row.cost_per_sample(warm_up=name not in STAND_INS)
            mark = "> " if entry["shortcoming"] else ""
            cells.append(f"{mark}{cost:.3g}" if np.isfinite(cost) else "–")
        if any(cells):
            lines.append(f"{name:20}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def figure(points: dict[str, Any]) -> None:
    """Energies per effective sample against temperature, a panel per size."""
    from matplotlib.figure import Figure

    palette = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#000000")
    own = dict(zip((name for name in NAMES if name not in STAND_INS), palette, strict=True))
    colours = [own[STAND_INS.get(name, name)] for name in NAMES]
    shown = Figure(figsize=(max(5.6, 3.4 * len(points)), 3.6), layout="constrained")
    panels = np.atleast_1d(shown.subplots(1, len(points), sharey=True))
    for axes, (size, of_size) in zip(panels, sorted(points.items()), strict=True):
        for name, colour in zip(NAMES, colours, strict=True):
            found = []
            for fraction in sorted(of_size, key=float):
                entry = of_size[fraction].get(name)
                if entry is None or (entry["row"]["ess"] or 0) < FEWEST_SHOWN:
                    continue
                row = comparison_of(size, {name: entry}, exact=False).rows[0]
                cost = row.cost_per_sample(warm_up=name not in STAND_INS)
                bar = cost * (0.0 if np.isnan(row.ess_error) else row.ess_error)
                found.append((float(fraction), cost, bar, not entry["shortcoming"]))
            if found:
                x, y, bars, whole = (np.array(column) for column in zip(*found, strict=True))
                style = ":" if name in STAND_INS else "-"
                axes.errorbar(
                    x, y, np.minimum(bars, 0.9 * y), color=colour, linestyle=style, linewidth=1.1,
                    capsize=2, label=name,
                )  # fmt: skip
                for mask, face in ((whole.astype(bool), colour), (~whole.astype(bool), "white")):
                    axes.plot(x[mask], y[mask], "o", color=colour, markerfacecolor=face, ms=4)
        axes.axvline(1.0, color="0.7", linewidth=0.8, linestyle=":")
        axes.set(yscale="log", xlabel="$T\\,/\\,T_\\mathrm{od}$", title=f"{size}×{size}×{size}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("Energies per effective sample,\nwarm-up included")
    panels[0].plot([], [], "o", color="0.4", markerfacecolor="white", ms=4, label="cut short")
    handles = {h.get_label(): h for axes in panels for h in axes.get_legend_handles_labels()[0]}
    shown.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=3,
        frameon=False, fontsize="small",
    )  # fmt: skip
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    shown.savefig(FIGURE, dpi=200)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "trials": trials,
    "agreement": agreement,
    "transition": transition,
    "points": points,
    "tables": tables,
}


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART")
    parser.add_argument("--sizes", nargs="+", type=int, default=[4, 6])
    parser.add_argument("--temperatures", nargs="+", type=float, default=FRACTIONS, help="in T_od")
    parser.add_argument("--kernels", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seconds", type=float, default=120.0, help="per kernel and point")
    parser.add_argument("--t-od", type=float, help="K; by default that of the part transition")
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch_sim") is None:
        print("torch-sim is not installed and left out; the extra bench has it")
        arguments.kernels = [name for name in arguments.kernels if name != TORCH_SIM]
    for part in arguments.parts or PARTS:
        PARTS[part](arguments)


if __name__ == "__main__":
    main()
