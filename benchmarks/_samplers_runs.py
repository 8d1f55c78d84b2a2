"""The system of the sampler benchmark, its kernels, and runs that end when they are long enough."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from alchemc import (
    AlchemicalMACE,
    Canonical,
    DiscreteLangevin,
    GibbsWithGradients,
    Lattice,
    PathAuxiliary,
    RandomSwap,
    Run,
    SurrogateChain,
    analysis,
    builders,
    warm_up,
)
from alchemc.potentials import PairExpansion
from alchemc.protocols import Kernel
from alchemc.records import point_dataset
from alchemc.sampler import draw_block, spawn_generators
from alchemc.statistics import RHAT_LIMIT, rhat, smallest_ess

HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
ORDERS = ("rock-salt", "layered", "columnar")
N_CHAINS = 4
ENOUGH = 500  # effective samples of the slowest observable
WARM_UP_SHARE = 1 / 3  # of a run's seconds, at most
MOST_DRAWS = 200_000

TORCH_SIM = "torch-sim"

KERNELS: dict[str, Callable[[Any, Canonical], Kernel]] = {
    "RandomSwap": RandomSwap,
    "GibbsWithGradients": GibbsWithGradients,
    "PathAuxiliary": PathAuxiliary,
    "DiscreteLangevin": DiscreteLangevin,
    "SurrogateChain": SurrogateChain,
}
# Kernels on the frozen surrogate in place of the model, which would take them days.
STAND_INS = {f"{name} on S": name for name in KERNELS if name != "SurrogateChain"}
NAMES = (*KERNELS, TORCH_SIM, *STAND_INS)


def lattice_of(size: int) -> Lattice:
    return builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=(size,) * 3)


def model_of(lattice: Lattice) -> AlchemicalMACE:
    """Return the bundled model, which remembers nothing, so that seconds mean something."""
    return AlchemicalMACE(lattice, "bundled", device="cpu", memory=0)


def observables_of(lattice: Lattice) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    def squared(name: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda o: analysis.ordering_series(lattice, o, q=name).values.ravel()

    return {name: squared(name) for name in ORDERS}


def starts_of(lattice: Lattice, seed: int) -> np.ndarray:
    """Both rock-salt arrangements and two random ones."""
    wave = analysis.ordering_vector(lattice, "rock-salt").phases[0].real
    ordered = np.stack([wave > 0, wave < 0]).astype(np.int8)
    mixed = lattice.random(HALF, np.random.default_rng(seed), N_CHAINS - 2)
    return np.concatenate([ordered, mixed])


def seed_of(*parts: object) -> int:
    return zlib.crc32(" ".join(map(str, parts)).encode())


def warm_up_steps(name: str, n_sites: int) -> int:
    """Return steps before the first draw: sweeps of single moves, or what tuning takes."""
    if name in STAND_INS:
        return 20 * warm_up_steps(STAND_INS[name], n_sites)
    sweeps = {"RandomSwap": 20, TORCH_SIM: 20, "GibbsWithGradients": 5}
    fixed = {"PathAuxiliary": 200, "DiscreteLangevin": 200, "SurrogateChain": 25}
    return fixed[name] if name in fixed else sweeps[name] * n_sites


def thin_of(name: str, n_sites: int) -> int:
    """Return steps per draw, far fewer than the kernel remembers."""
    name = STAND_INS.get(name, name)
    thin = {"RandomSwap": n_sites // 8, TORCH_SIM: n_sites // 8}
    return max(1, thin.get(name, n_sites // 64 if name == "GibbsWithGradients" else 1))


class Chains(Protocol):
    """What a run is made of: alchemc's kernels and torch-sim's swaps alike."""

    name: str

    def warm_up(self, n: int) -> dict[str, Any]: ...

    def block(self, n_draws: int, thin: int) -> dict[str, np.ndarray]: ...


class KernelChains:
    """Chains of an alchemc kernel."""

    def __init__(self, kernel: Kernel, starts: np.ndarray, seed: int) -> None:
        self.name = type(kernel).__name__
        self.kernel: Any = kernel
        self._rngs = spawn_generators(seed, len(starts))
        self._state = kernel.init(starts, self._rngs)

    def warm_up(self, n: int) -> dict[str, Any]:
        self.kernel, self._state, report = warm_up(self.kernel, self._state, self._rngs, n)
        return report._asdict()

    def block(self, n_draws: int, thin: int) -> dict[str, np.ndarray]:
        self._state, block = draw_block(self.kernel, self._state, self._rngs, n_draws, thin)
        return block


class Measured(NamedTuple):
    """A run, and what it lacks: nothing, or why it is shorter than it should be."""

    run: Run
    shortcoming: str


def measure(
    chains: Chains, lattice: Lattice, temperature: float, *, steps: int, thin: int, seconds: float
) -> Measured:
    """Warm up and sample until there are enough effective samples, or the seconds are spent.

    The warm-up ends after a third of the seconds at most. Whether the samples are enough is asked
    each time their number has grown by a third.
    """
    begin, used = time.perf_counter(), [time.process_time()]
    report = _warmed(chains, steps, begin + WARM_UP_SHARE * seconds)
    warm = time.perf_counter()
    used.append(time.process_time())
    end, blocks, n_draws, next_check, enough = begin + seconds, [], 0, 64, False
    while not enough and n_draws < MOST_DRAWS and (n_draws < 8 or time.perf_counter() < end):
        piece = 1 if n_draws < 4 else max(1, _affordable(warm, n_draws, end))
        piece = min(piece, max(1, next_check - n_draws))
        blocks.append(chains.block(piece, thin))
        n_draws += piece
        if n_draws >= next_check:
            enough, next_check = _is_enough(lattice, blocks), n_draws * 4 // 3 + 1
    used.append(time.process_time())
    block = _joined(blocks)
    lacks = []
    if report["n_steps"] < steps:
        lacks.append(f"warm-up cut short at {report['n_steps']} of {steps} steps")
    if not enough and not _is_enough(lattice, [block]):
        lacks.append(f"cut short after {time.perf_counter() - begin:.0f} s")
    run = Run(
        points=(point_dataset(block, {"temperature": temperature}),),
        lattice=lattice,
        config={"kernel": chains.name, "thin": thin},
        attrs={
            "warm_up": report,
            "seconds": {"warm_up": used[1] - used[0], "sampling": used[2] - used[1]},
        },
    )
    return Measured(run, "; ".join(lacks))


def _warmed(chains: Chains, steps: int, end: float) -> dict[str, Any]:
    """Warm up in parts that tune the kernel one after another, until ``end`` at the latest."""
    total: dict[str, Any] = {"n_steps": 0, "energy_calls": 0, "gradient_calls": 0}
    total["hessian_products"] = 0
    while total["n_steps"] < steps and (total["n_steps"] == 0 or time.perf_counter() < end):
        report = chains.warm_up(min(25, steps - total["n_steps"]))
        for key in total:
            total[key] += report.get(key, 0)
    return total


def _affordable(begin: float, n_draws: int, end: float) -> int:
    """Draws that a tenth of the time left pays for."""
    now = time.perf_counter()
    return int(0.1 * (end - now) / max((now - begin) / n_draws, 1e-9))


def _is_enough(lattice: Lattice, blocks: list[dict[str, np.ndarray]]) -> bool:
    block = _joined(blocks)
    shape = block["energy"].shape
    flat = block["occupation"].reshape(-1, lattice.n_sites)
    series = [block["energy"]] + [f(flat).reshape(shape) for f in observables_of(lattice).values()]
    return all(smallest_ess(x) >= ENOUGH and rhat(x) < RHAT_LIMIT for x in series)


def _joined(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}


def chains_of(name: str, size: int, temperature: float, model: AlchemicalMACE) -> Chains:
    """Chains of a kernel by its name in this benchmark, two ordered and two mixed."""
    lattice = model.lattice
    seed = seed_of(name, size, round(temperature, 3))
    starts, ensemble = starts_of(lattice, seed), Canonical(lattice, temperature)
    if name == TORCH_SIM:
        from _samplers_torch_sim import TorchSimChains

        return TorchSimChains(lattice, temperature, starts, seed)
    if name in STAND_INS:
        surrogate: Any = frozen()[0].on(lattice)
        chains = KernelChains(KERNELS[STAND_INS[name]](surrogate, ensemble), starts, seed)
        chains.name = name
        return chains
    return KernelChains(KERNELS[name](model, ensemble), starts, seed)


@cache
def frozen() -> tuple[PairExpansion, dict[str, Any]]:
    """Surrogate learnt at 6×6×6 near its transition, and what was learnt of it."""
    lattice = lattice_of(6)
    learner = KernelChains(
        SurrogateChain(model_of(lattice), Canonical(lattice, 4800.0)), starts_of(lattice, 1), 1
    )
    learner.warm_up(25)
    kernel = learner.kernel
    if not isinstance(kernel, SurrogateChain) or not isinstance(kernel.surrogate, PairExpansion):
        raise SystemExit("no surrogate was learnt at 6x6x6")
    return kernel.surrogate, kernel.summary()
