"""Chains: blocks of stored draws, warm-up, and a whole run in memory."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..compositions import held_too_closely
from ..errors import InputError
from ..protocols import Ensemble, Generators, Info, Kernel, State
from ..records import Run, point_dataset
from ..streams import spawn_generators
from ..tuning import learn, summary_of
from ._composition import fixed_sublattices
from ._standstill import standing_still

__all__ = ["WarmUpReport", "draw_block", "rederive", "sample", "warm_up"]

# Steps per site between two energies from scratch, where energies are carried on by changes.
SWEEPS_BETWEEN_ENERGIES = 1000


class WarmUpReport(NamedTuple):
    """What the warm-up did; plain numbers, so ``_asdict()`` can be stored as JSON.

    ``acceptance`` is the accepted fraction over all replicas, ``energy_calls`` and
    ``gradient_calls`` are totals. ``slope`` and ``correlation`` compare the exact change of the log
    density of proposed moves with the proposal's estimate; None where there is no estimate (or the
    moves were too few or too alike). ``parameters`` are the kernel's, as they were frozen, or what
    its ``summary`` says of them. ``hessian_products`` were evaluated besides.
    """

    n_steps: int
    acceptance: float | None
    energy_calls: int
    gradient_calls: int
    slope: float | None
    correlation: float | None
    parameters: dict[str, Any]
    hessian_products: int = 0


def draw_block(
    kernel: Kernel, state: State, rngs: Generators, n_draws: int, thin: int = 1
) -> tuple[State, dict[str, np.ndarray]]:
    """Advance all chains by ``n_draws · thin`` steps and keep every ``thin``-th state.

    Blocks follow one another without a seam: two blocks of n draws equal one of 2n, bit for bit.

    Parameters
    ----------
    kernel
        A frozen kernel.
    state
        Where the chains stand; left as it is.
    rngs
        One generator per chain; advanced.
    n_draws
        States to keep per chain.
    thin
        Steps per draw.

    Returns
    -------
    state
        Where the chains stand after the block.
    block
        ``occupation`` uint8 [n_draws, n_chains, n_sites], ``energy`` float64 (eV), ``acceptance``
        float64 (accepted fraction of the steps since the last draw), ``energy_calls`` and
        ``gradient_calls`` int64 (since the last draw), all [n_draws, n_chains]; and what the
        kernel's ``observe(state)`` gives of the states kept, [n_draws, n_chains, …].

    Raises
    ------
    InputError
        If ``n_draws`` or ``thin`` is not a whole number above 0.
    """
    _check_whole("n_draws", n_draws, least=1)
    _check_whole("thin", thin, least=1)
    compiled = _compiled_block(kernel, state, rngs, n_draws, thin)
    if compiled is not None:
        return compiled
    n_chains, n_sites = state.occupations.shape
    block: dict[str, np.ndarray] = {
        "occupation": np.empty((n_draws, n_chains, n_sites), dtype=np.uint8),
        "energy": np.empty((n_draws, n_chains)),
        "acceptance": np.zeros((n_draws, n_chains)),
        "energy_calls": np.zeros((n_draws, n_chains), dtype=np.int64),
        "gradient_calls": np.zeros((n_draws, n_chains), dtype=np.int64),
    }
    for draw in range(n_draws):
        for _ in range(thin):
            state, info = kernel.step(state, rngs)
            block["acceptance"][draw] += info.accepted
            block["energy_calls"][draw] += info.energy_calls
            block["gradient_calls"][draw] += info.gradient_calls
        block["occupation"][draw] = state.occupations
        block["energy"][draw] = state.energy
        for name, values in observed(kernel, state).items():
            if name not in block:
                block[name] = np.empty((n_draws, *values.shape), dtype=values.dtype)
            block[name][draw] = values
    block["acceptance"] /= thin
    return state, block


def observed(kernel: Kernel, state: State) -> dict[str, np.ndarray]:
    """Return what a kernel stores of a state besides its energy, [n_replicas, …] by name."""
    return kernel.observe(state) if hasattr(kernel, "observe") else {}


def _compiled_block(
    kernel: Kernel, state: State, rngs: Generators, n_draws: int, thin: int
) -> tuple[State, dict[str, np.ndarray]] | None:
    """Block of a kernel that can run it in compiled code; None from any other."""
    method = getattr(kernel, "compiled_block", None)
    return None if method is None else method(state, rngs, int(n_draws), int(thin))


def rederive(kernel: Kernel, state: State) -> tuple[State, float]:
    """Replace running energies by energies from scratch, where the energy model runs them on.

    A kernel whose states are no occupations does it itself: ``rederived(state) -> state, drift``.

    Returns
    -------
    state
        With fresh energies; the same state for other energy models.
    drift
        Largest difference that had gathered, eV per site; 0 for other energy models.

    Raises
    ------
    ModelError
        If it exceeds 1e-8 eV per site.
    """
    own = getattr(kernel, "rederived", None)
    if own is not None:
        fresh: tuple[State, float] = own(state)
        return fresh
    method = getattr(kernel.hamiltonian, "rederived", None)
    if method is None:
        return state, 0.0
    energy, drift = method(state.occupations, state.energy)
    return state._replace(energy=energy), float(np.max(drift))


def warm_up(
    kernel: Kernel, state: State, rngs: Generators, n: int
) -> tuple[Kernel, State, WarmUpReport]:
    """Run ``n`` steps whose states are dropped, tune the kernel by them and freeze it.

    A kernel that has ``tuned(infos) -> kernel`` is tuned every 25 steps by what it did in them; one
    that has ``warm_up(state, rngs, n) -> kernel, state, infos`` does it in its own way. The kernel
    returned adapts no further, so that what follows is an exact chain. A warm-up may be run
    in parts (n = n₁ + n₂ …), each of which tunes the kernel anew; the state, the generators and
    ``kernel.to_arrays()`` between two parts are all that a checkpoint needs.

    Parameters
    ----------
    kernel
        Kernel to tune.
    state
        Where the chains stand; left as it is.
    rngs
        One generator per chain; advanced.
    n
        Steps; 0 is allowed.

    Raises
    ------
    InputError
        If ``n`` is not a whole number, 0 or above.
    """
    _check_whole("warm-up steps", n, least=0)
    if n > 0 and not hasattr(kernel, "tuned") and not hasattr(kernel, "warm_up"):
        compiled = _compiled_block(kernel, state, rngs, 1, n)
        if compiled is not None:
            state, block = compiled
            report = _report([], kernel)._replace(
                n_steps=n,
                acceptance=float(block["acceptance"].mean()),
                energy_calls=int(block["energy_calls"].sum()),
            )
            return kernel, state, report
    known = _products(kernel)
    kernel, state, infos = learn(kernel, state, rngs, n)
    report = _report(infos, kernel)
    return kernel, state, report._replace(hessian_products=_products(kernel) - known)


def _products(kernel: Kernel) -> int:
    """Hessian products that a kernel has learnt from so far."""
    return int(summary_of(kernel).get("hessian_products", 0))


def sample(
    kernel: Kernel,
    occupations: np.ndarray,
    *,
    n_steps: int,
    n_replicas: int | None = None,
    thin: int = 1,
    warmup: int = 0,
    seed: int = 0,
) -> Run:
    """Warm chains up, run them and return the run, in memory.

    Parameters
    ----------
    kernel
        Kernel, bound to an energy model and an ensemble.
    occupations
        Starts, [n_replicas, n_sites], or [n_sites] for the same start in every chain.
    n_steps
        Steps per chain after warm-up, a multiple of ``thin``.
    n_replicas
        Number of chains; needed for a single start, else that of ``occupations``.
    thin
        Steps per stored draw.
    warmup
        Steps per chain before the first draw; the kernel is tuned in them and then frozen.
    seed
        Seed of all chains; chain c draws from child c of its SeedSequence.

    Returns
    -------
    Run with one point, dims (draw, chain, site), or one per rung where the kernel is a ladder.
    ``run.attrs["warm_up"]`` holds the warm-up's report, ``run.attrs["drift"]`` the largest drift of
    running energies (eV per site, 0 where every energy is evaluated), ``run.attrs["seconds"]`` the
    time spent (``warm_up``, the starts' energies included, and ``sampling``),
    ``run.attrs["failures"]`` how many proposals were refused because the energy model found no
    energy for them, ``run.config`` the arguments.

    Raises
    ------
    InputError
        If a number cannot be used, the kernel is none, or the starts do not share the species
        counts that the ensemble fixes.

    Warns
    -----
    UserWarning
        If the kernel makes no move that changes something the ensemble lets vary: the composition,
        or the arrangement on a sublattice of fixed counts; or if a variance constraint leaves one
        composition (`VarianceConstrained`).

    Examples
    --------
    >>> from alchemc import Canonical, RandomSwap, builders, sample
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> class Flat:  # every arrangement has the same energy
    ...     def __init__(self, lattice): self.lattice = lattice
    ...     def energy(self, occupations): return np.zeros(len(occupations))
    >>> kernel = RandomSwap(Flat(lattice), Canonical(lattice, 300.0))
    >>> start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    >>> run = sample(kernel, start, n_steps=20, n_replicas=4, thin=2, seed=1)
    >>> dict(run.samples.sizes)
    {'draw': 10, 'chain': 4, 'site': 8}
    """
    _check_whole("thin", thin, least=1)
    _check_whole("n_steps", n_steps, least=1)
    if n_steps % thin:
        raise InputError(
            f"n_steps = {n_steps} is not a multiple of thin = {thin}: "
            f"use {n_steps // thin * thin or thin}"
        )
    if not hasattr(kernel, "step"):
        remedy = "call its run" if hasattr(kernel, "run") else "give one, such as RandomSwap"
        raise InputError(f"{type(kernel).__name__} is no kernel that takes steps: {remedy}")
    starts = _starts(kernel, occupations, n_replicas)
    lattice = kernel.hamiltonian.lattice
    doubts = [standing_still(kernel, lattice.counts(starts[0]))]
    doubts += [held_too_closely(lattice.sublattices, where(target)) for target in _targets(kernel)]
    for doubt in filter(None, dict.fromkeys(doubts)):
        warnings.warn(doubt, UserWarning, stacklevel=2)
    n_chains, rungs = len(starts), int(getattr(kernel, "n_rungs", 1))
    starts = np.repeat(starts, rungs, axis=0)
    rngs = spawn_generators(seed, len(starts))
    failed = count_failures(kernel)
    begin = time.perf_counter()
    state = kernel.init(starts, rngs)
    kernel, state, report = warm_up(kernel, state, rngs, warmup)
    state, drift = rederive(kernel, state)
    warm = time.perf_counter()
    n_draws = n_steps // thin
    every = max(1, SWEEPS_BETWEEN_ENERGIES * starts.shape[1] // thin)
    blocks = []
    for first in range(0, n_draws, every):
        state, part = draw_block(kernel, state, rngs, min(every, n_draws - first), thin)
        state, gathered = rederive(kernel, state)
        drift = max(drift, gathered)
        blocks.append(part)
    seconds = {"warm_up": warm - begin, "sampling": time.perf_counter() - warm}
    block = {name: np.concatenate([part[name] for part in blocks]) for name in blocks[0]}
    config = {
        "kernel": type(kernel).__name__,
        "ensemble": type(kernel.ensemble).__name__,
        "n_steps": int(n_steps),
        "n_replicas": n_chains,
        "thin": int(thin),
        "warmup": int(warmup),
        "seed": int(seed),
    }
    return Run(
        points=tuple(point_dataset(*part) for part in _points(kernel, block)),
        lattice=lattice,
        config=config,
        attrs={
            "warm_up": report._asdict(),
            "drift": drift,
            "seconds": seconds,
            "failures": count_failures(kernel) - failed,
        },
        build_hamiltonian=lambda: kernel.hamiltonian,
    )


def _points(
    kernel: Kernel, block: dict[str, np.ndarray]
) -> list[tuple[dict[str, np.ndarray], dict[str, float]]]:
    """Return samples and coordinates of each point in a block: one, or one per rung of a ladder."""
    targets = _targets(kernel)
    return [
        ({name: values[:, rung :: len(targets)] for name, values in block.items()}, where(target))
        for rung, target in enumerate(targets)
    ]


def _targets(kernel: Kernel) -> list[Ensemble]:
    """Ensembles that a kernel samples: one, or one per rung of a ladder."""
    return list(getattr(kernel, "ensembles", [kernel.ensemble]))


def where(ensemble: Ensemble) -> dict[str, float]:
    """Coordinates of an ensemble, as far as it names any: temperature, chemical potentials …."""
    if hasattr(ensemble, "coordinates"):
        return dict(ensemble.coordinates())
    temperature = getattr(ensemble, "temperature", None)
    return {} if temperature is None else {"temperature": float(temperature)}


def count_failures(kernel: Kernel) -> int:
    """Energies that the model of a kernel has failed to find so far; 0 where it cannot fail."""
    failures = getattr(kernel.hamiltonian, "failures", None)
    return 0 if failures is None else int(failures.number)


def _starts(kernel: Kernel, occupations: np.ndarray, n_replicas: int | None) -> np.ndarray:
    """Return starting occupations [n_replicas, n_sites] of one composition."""
    occupations = np.asarray(occupations)
    if occupations.ndim == 1:
        n_replicas = 1 if n_replicas is None else n_replicas
        _check_whole("n_replicas", n_replicas, least=1)
        occupations = np.tile(occupations, (n_replicas, 1))
    if n_replicas is not None and n_replicas != len(occupations):
        raise InputError(
            f"n_replicas = {n_replicas}, but occupations hold {len(occupations)} starts: "
            "leave n_replicas out, or give one start [n_sites]"
        )
    lattice = kernel.hamiltonian.lattice
    kept = np.isin(lattice.names, fixed_sublattices(kernel.ensemble))
    counts = lattice.counts(lattice.check(occupations))[:, kept]
    differing = np.flatnonzero((counts != counts[:1]).any(axis=(1, 2)))
    if len(differing):
        raise InputError(
            f"start {differing[0]} has other species counts than start 0: chains of one run share "
            "the composition that the ensemble fixes"
        )
    return occupations


def _report(infos: list[Info], kernel: Kernel) -> WarmUpReport:
    """Summary of the steps of a warm-up."""
    slope, correlation = _estimate_quality(infos)
    return WarmUpReport(
        n_steps=len(infos),
        acceptance=float(np.mean([info.accepted for info in infos])) if infos else None,
        energy_calls=int(sum(info.energy_calls.sum() for info in infos)),
        gradient_calls=int(sum(info.gradient_calls.sum() for info in infos)),
        slope=slope,
        correlation=correlation,
        parameters=summary_of(kernel),
    )


def _estimate_quality(infos: list[Info]) -> tuple[float | None, float | None]:
    """Slope and correlation of exact on estimated change of the proposed moves."""
    pairs = list(_changes(infos))
    if not pairs:
        return None, None
    estimated, exact = np.concatenate(pairs, axis=1)
    if len(exact) < 3 or min(np.ptp(estimated), np.ptp(exact)) <= 1e-9:
        return None, None
    covariance = np.cov(estimated, exact)
    slope = covariance[0, 1] / covariance[0, 0]
    return float(slope), float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def _changes(infos: list[Info]) -> Iterator[np.ndarray]:
    for info in infos:
        known = np.isfinite(info.estimated_change) & np.isfinite(info.log_density_change)
        if known.any():
            yield np.stack([info.estimated_change[known], info.log_density_change[known]])


def _check_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name} = {value!r} cannot be used: give a whole number, {least} or more")
