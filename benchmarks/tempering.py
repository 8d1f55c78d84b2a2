"""Replica exchange beside independent chains: effective samples per MLIP call, and round trips.

Run as ``python benchmarks/tempering.py [PIECE …]``; the pieces are those of ``PIECES`` and
``overhead``.

Each piece runs a ladder of temperatures from below the ordering temperature of Pb(Sc,Ta)O3
(a = 4.09 Å, bundled MACE, ideal positions; about 4,800 K at 4×4×4) to above it, and then, at the
temperatures to which the ladder was tuned, as many independent chains of the same kernel from the
same random starts, with as many steps of warm-up and of sampling. What a mean is worth beyond its
own error bar is told by its distance from a run of surrogate chains (4×4×4) or from enumeration
(2×2×2). Calls are counted as if nothing were remembered; a gradient counts at its measured cost in
energies. Pieces named ``expansion`` have for their energy the pair expansion that a surrogate chain
learns of the potential, whose swaps take 100 ns, for runs longer than the potential allows; a step
counts as one call there, too. ``overhead`` is what a ladder costs beside its kernels.

float64, one thread. Results are merged into ``benchmarks/results/tempering.json``.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alchemc import (
    AlchemicalMACE,
    Canonical,
    GibbsWithGradients,
    Lattice,
    RandomSwap,
    Run,
    SurrogateChain,
    Tempering,
    analysis,
    builders,
    sample,
)
from alchemc.potentials import PairExpansion
from alchemc.sampler import spawn_generators, warm_up
from alchemc.sampler._efficiency import ess_with_error
from alchemc.sampler.comparison import relative_costs
from alchemc.statistics import rhat, standard_error

RESULT = Path(__file__).parent / "results" / "tempering.json"
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
CHAINS = 4  # of what is measured besides


class Piece(NamedTuple):
    """A ladder and how long it runs: ladder steps of ``steps`` kernel steps each."""

    size: int
    kernel: type
    coldest: float
    hottest: float
    n_rungs: int
    steps: int
    warm_up: int
    draws: int
    chains: int = 4
    expansion: bool = False


PIECES = {
    "8 sites, RandomSwap": Piece(2, RandomSwap, 2600.0, 9000.0, 5, 8, 500, 4000),
    "8 sites, GibbsWithGradients": Piece(2, GibbsWithGradients, 2600.0, 9000.0, 5, 2, 300, 2000),
    "64 sites, RandomSwap": Piece(4, RandomSwap, 3600.0, 8000.0, 6, 16, 50, 120),
    "64 sites, GibbsWithGradients": Piece(4, GibbsWithGradients, 3600.0, 8000.0, 6, 4, 40, 100),
    "64 sites, SurrogateChain": Piece(4, SurrogateChain, 3600.0, 8000.0, 6, 1, 60, 300),
    "64 sites, GibbsWithGradients, expansion": Piece(
        4, GibbsWithGradients, 3600.0, 8000.0, 6, 4, 1_000, 8_000, 8, True
    ),
    "64 sites, RandomSwap, expansion": Piece(
        4, RandomSwap, 3600.0, 8000.0, 6, 64, 4_000, 40_000, 8, True
    ),
    "64 sites, cold, RandomSwap, expansion": Piece(
        4, RandomSwap, 2000.0, 8000.0, 9, 64, 4_000, 40_000, 8, True
    ),
    "216 sites, RandomSwap, expansion": Piece(
        6, RandomSwap, 3600.0, 7000.0, 14, 216, 4_000, 8_000, 8, True
    ),
}


@cache
def crystal(size: int) -> tuple[Lattice, AlchemicalMACE]:
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(size, size, size))
    return lattice, AlchemicalMACE(lattice, "bundled", device="cpu")


@cache
def cost_of_gradient(size: int) -> float:
    lattice, mace = crystal(size)
    starts = lattice.random(HALF, np.random.default_rng(0), n_replicas=4)
    return float(relative_costs(mace, starts)[0])


@cache
def learnt() -> tuple[PairExpansion, float]:
    """Pair expansion of the potential, learnt at 64 sites and 5,000 K, and its error in k_BT."""
    lattice, mace = crystal(4)
    kernel = SurrogateChain(mace, Canonical(lattice, 5000.0))
    rngs = spawn_generators(3, CHAINS)
    state = kernel.init(np.stack([lattice.random(HALF, rng) for rng in rngs]), rngs)
    kernel, _, told = warm_up(kernel, state, rngs, 40)
    return kernel.surrogate, float(told.parameters["held_out_error_kT"])


def model_of(piece: Piece) -> Any:
    """Return the potential, or its expansion."""
    lattice, mace = crystal(piece.size)
    return learnt()[0].on(lattice) if piece.expansion else mace


@cache
def reference(size: int, temperature: float) -> tuple[float, float, float, float]:
    """Mean energy and |ψ|², each with its error."""
    lattice, mace = crystal(size)
    if size == 2:
        states = lattice.enumerate(HALF)
        energy = mace.energy(states)
        order = np.asarray(analysis.ordering_series(lattice, states, q="rock-salt")).ravel()
        weight = np.exp(-Canonical(lattice, temperature).beta * (energy - energy.min()))
        weight /= weight.sum()
        return float(weight @ energy), 0.0, float(weight @ order), 0.0
    kernel = SurrogateChain(mace, Canonical(lattice, temperature))
    starts = lattice.random(HALF, np.random.default_rng(5), n_replicas=CHAINS)
    run = sample(kernel, starts, n_steps=200, warmup=40, seed=11)
    energy, order = series_of(lattice, run.points[0])
    found = analysis.mean_energy(energy), analysis.summarize_series(order)
    return found[0].mean, found[0].error, found[1].mean, found[1].error


def series_of(lattice: Lattice, point: Any) -> tuple[np.ndarray, np.ndarray]:
    """Energy and rock-salt |ψ|², [n_draws, n_chains] each."""
    order = analysis.ordering_series(lattice, point.occupation.values, q="rock-salt")
    return point.energy.values, np.asarray(order)


def row_of(piece: Piece, point: Any, temperature: float) -> dict[str, float]:
    """Sum up what the samples of one temperature are worth."""
    lattice, _ = crystal(piece.size)
    energies, gradients = int(point.energy_calls.sum()), int(point.gradient_calls.sum())
    calls = energies + (cost_of_gradient(piece.size) * gradients if gradients else 0.0)
    row = {"temperature": temperature, "calls": calls, "acceptance": float(point.acceptance.mean())}
    for name, values in zip(("energy", "order"), series_of(lattice, point), strict=True):
        ess, uncertainty = ess_with_error([values])
        row |= {
            f"{name}_mean": float(values.mean()),
            f"{name}_error": standard_error(values),
            f"{name}_ess": ess,
            f"{name}_ess_relative_error": uncertainty,
            f"{name}_ess_per_1000_calls": 1000.0 * ess / calls,
            f"{name}_rhat": rhat(values),
        }
    if not piece.expansion:
        known = reference(piece.size, temperature)
        for name, exact, error in zip(("energy", "order"), known[::2], known[1::2], strict=True):
            row[f"{name}_off_by"] = row[f"{name}_mean"] - exact
            row[f"{name}_reference_error"] = error
    return row


def measure(piece: Piece, seed: int) -> dict[str, Any]:
    """Run a ladder, and independent chains at its temperatures."""
    lattice, _ = crystal(piece.size)
    starts = lattice.random(HALF, np.random.default_rng(seed), n_replicas=piece.chains)
    kernel = piece.kernel(model_of(piece), Canonical(lattice, piece.coldest))
    rungs = np.geomspace(piece.coldest, piece.hottest, piece.n_rungs)
    ladder = Tempering(kernel, temperatures=rungs, steps=piece.steps)
    run = sample(ladder, starts, n_steps=piece.draws, warmup=piece.warm_up, seed=seed)
    temperatures = [float(point.temperature) for point in run.points]
    tempered = [row_of(piece, p, t) for p, t in zip(run.points, temperatures, strict=True)]
    alone, seconds = [], 0.0
    for t in temperatures:
        one = sample(
            kernel.rebind(ensemble=Canonical(lattice, t)), starts, seed=seed + 100,
            n_steps=piece.draws * piece.steps, warmup=piece.warm_up * piece.steps,
            thin=piece.steps,
        )  # fmt: skip
        seconds += sum(one.attrs["seconds"].values())
        alone.append(row_of(piece, one.points[0], t))
    found = {
        "settings": piece._asdict() | {"kernel": piece.kernel.__name__},
        "seed": seed,
        "ladder": summary_of(run),
        "tempering": tempered,
        "independent": alone,
        "seconds": {"tempering": sum(run.attrs["seconds"].values()), "independent": seconds},
    }
    return found | ({"expansion_error_kT": learnt()[1]} if piece.expansion else {})


def summary_of(run: Run) -> dict[str, Any]:
    """Exchange rates and round trips."""
    found = analysis.round_trips(run)
    tuned = run.attrs["warm_up"]["parameters"]
    calls = sum(int(p.energy_calls.sum() + p.gradient_calls.sum()) for p in run.points)
    return {
        "exchange_rates": found.exchange_rates.tolist(),
        "barrier": tuned["barrier"],
        "round_trips": found.total,
        "round_trip_time_in_exchanges": found.mean_time,
        "round_trip_time_error": found.error,
        "calls_per_round_trip": calls / found.total if found.total else None,
        "last_at_hot_end": found.hot_last.tolist(),
    }


def show(name: str, found: dict[str, Any]) -> None:
    ladder = found["ladder"]
    rates = ", ".join(f"{rate:.2f}" for rate in ladder["exchange_rates"])
    print(f"{name}: {ladder['round_trips']} round trips, rates {rates}")
    for row, other in zip(found["tempering"], found["independent"], strict=True):
        line = f"{row['temperature']:7.0f} K"
        for what in ("energy", "order"):
            mean, error = f"{what}_mean", f"{what}_error"
            z = (row[mean] - other[mean]) / np.hypot(row[error], other[error])
            ess, r = f"{what}_ess_per_1000_calls", f"{what}_rhat"
            line += (
                f"  {what}: ESS/1000 calls {row[ess]:.3g} against {other[ess]:.3g}, R-hat "
                f"{row[r]:.2f}, {other[r]:.2f}, means differ by {z:+.1f} errors"
            )
            if f"{what}_off_by" in row:
                off = f"{what}_off_by"
                line += f", off by {row[off]:+.3f}, {other[off]:+.3f}"
        print(line, flush=True)


class Free:
    """Energies that cost nothing."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        return np.zeros(len(occupations))


def overhead() -> list[dict[str, float]]:
    """Time of a ladder's step per rung, beside that of its kernels one by one, in µs."""
    lattice, _ = crystal(4)
    rows = []
    for n_rungs in (4, 8, 16):
        kernel = RandomSwap(Free(lattice), Canonical(lattice, 1000.0))
        ladder = Tempering(kernel, temperatures=np.geomspace(1000.0, 4000.0, n_rungs))
        rngs = spawn_generators(1, CHAINS * n_rungs)
        starts = lattice.random(HALF, rngs[0], n_replicas=CHAINS)
        state = ladder.init(np.repeat(starts, n_rungs, axis=0), rngs)
        alone = kernel.init(starts, rngs[:CHAINS])
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(400):
            begin = time.perf_counter()
            ladder.step(state, rngs)
            between = time.perf_counter()
            for _ in range(n_rungs):
                kernel.step(alone, rngs[:CHAINS])
            times[0].append(between - begin)
            times[1].append(time.perf_counter() - between)
        together, one_by_one = (1e6 * float(np.median(t)) / n_rungs for t in times)
        rows.append(
            {
                "n_rungs": n_rungs,
                "chains": CHAINS,
                "step_per_rung_us": together,
                "kernel_per_rung_us": one_by_one,
                "overhead_per_rung_us": together - one_by_one,
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pieces", nargs="*", choices=[[], *PIECES, "overhead"], default=[])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in options.pieces or [*PIECES, "overhead"]:
        if name == "overhead":
            found: Any = overhead()
        else:
            found = measure(PIECES[name], options.seed)
            show(name, found)
        stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        stored[name] = found
        RESULT.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
