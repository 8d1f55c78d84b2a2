"""How far averages of molecular dynamics are off because its time step is not zero."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..statistics import standard_error
from ..streams import spawn_generators
from ..sublattice import is_whole, shown
from .dynamics import NPT, Langevin
from .hybrid import HybridMD

__all__ = ["Halving", "TimeStepBias", "time_step_bias"]


class Halving(NamedTuple):
    """An average at a time step and at half of it.

    ``full`` and ``half``: means at both; ``bias``: that of ``full``, 4/3 of the difference, since
    the error of a second-order integrator falls to a quarter; ``error``: one standard error of the
    bias.
    """

    full: float
    half: float
    bias: float
    error: float


class TimeStepBias(NamedTuple):
    """``energy`` in eV per cell and ``volume`` in Å³ (None at a fixed cell)."""

    energy: Halving
    volume: Halving | None


def time_step_bias(
    kernel: HybridMD,
    occupations: np.ndarray,
    *,
    n_steps: int,
    warmup: int = 0,
    seed: int = 0,
) -> TimeStepBias:
    """Measure the time-step bias of molecular-dynamics blocks by halving the step.

    Two independent sets of chains, one with the time step of the kernel's dynamics and one with
    half of it and twice as many steps per block.

    Parameters
    ----------
    kernel
        `HybridMD` with `Langevin` or `NPT`, tuned where it needs to be.
    occupations
        Starts, [n_replicas, n_sites].
    n_steps
        Steps of the kernel per chain that count.
    warmup
        Steps before them.
    seed
        Seed of the chains.

    Raises
    ------
    InputError
        If the dynamics is exact or a number cannot be used.

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, Canonical, RandomSwap, builders, ensembles
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 1, 1))
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> swaps = RandomSwap(mace, Canonical(lattice, temperature=1500.0))
    >>> kernel = ensembles.HybridMD(swaps, ensembles.Langevin(time_step=2.0, n_steps=2))
    >>> found = ensembles.time_step_bias(kernel, np.array([[0, 1]]), n_steps=4)
    >>> found.volume is None, found.energy.full != found.energy.half
    (True, True)
    """
    dynamics = kernel.dynamics
    if not isinstance(dynamics, Langevin | NPT):
        raise InputError(
            f"{type(dynamics).__name__} has no time-step bias: it accepts or refuses its "
            "trajectories; give a kernel with Langevin or NPT"
        )
    for name, value, least in (("n_steps", n_steps, 4), ("warmup", warmup, 0)):
        if not is_whole(value, least=least):
            raise InputError(f"{name} is {shown(value)}; give a whole number, {least} or more")
    halved = replace(dynamics, time_step=dynamics.time_step / 2, n_steps=2 * dynamics.n_steps)
    n = len(np.atleast_2d(occupations))
    series = []
    for number, one in enumerate((dynamics, halved)):
        rngs = spawn_generators(seed, n, number * n)
        series.append(_series(replace(kernel, dynamics=one), occupations, rngs, n_steps, warmup))
    energy, volume = (_halving(*pair) for pair in zip(*series, strict=True))
    return TimeStepBias(energy, volume if isinstance(dynamics, NPT) else None)


def _series(
    kernel: HybridMD, occupations: np.ndarray, rngs: list, n_steps: int, warmup: int
) -> tuple[np.ndarray, np.ndarray]:
    """Energies and volumes, [n_steps, n_replicas]."""
    state = kernel.init(np.atleast_2d(occupations), rngs)
    energies, volumes = [], []
    for step in range(warmup + n_steps):
        state, _ = kernel.step(state, rngs)
        if step >= warmup:
            energies.append(state.energy)
            volumes.append(np.abs(np.linalg.det(state.cells)))
    return np.array(energies), np.array(volumes)


def _halving(full: np.ndarray, half: np.ndarray) -> Halving:
    error = float(np.hypot(standard_error(full), standard_error(half)))
    full_mean, half_mean = float(full.mean()), float(half.mean())
    return Halving(full_mean, half_mean, 4.0 / 3.0 * (full_mean - half_mean), 4.0 / 3.0 * error)
