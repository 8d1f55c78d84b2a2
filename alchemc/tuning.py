"""How a kernel is tuned in warm-up, and what it says of what it found."""

from __future__ import annotations

from typing import Any

from .protocols import Generators, Info, Kernel, State

__all__ = ["STEPS_PER_TUNING", "learn", "summary_of"]

STEPS_PER_TUNING = 25


def learn(
    kernel: Kernel, state: State, rngs: Generators, n: int
) -> tuple[Kernel, State, list[Info]]:
    """Run ``n`` steps in which the kernel is tuned in its own way."""
    if hasattr(kernel, "warm_up"):
        return kernel.warm_up(state, rngs, n)
    infos: list[Info] = []
    tuned_by = 0
    for step in range(1, n + 1):
        state, info = kernel.step(state, rngs)
        infos.append(info)
        if hasattr(kernel, "tuned") and (step % STEPS_PER_TUNING == 0 or step == n):
            kernel = kernel.tuned(infos[tuned_by:])
            tuned_by = len(infos)
    return kernel, state, infos


def summary_of(kernel: Kernel) -> dict[str, Any]:
    """Tuned parameters in plain numbers."""
    return kernel.summary() if hasattr(kernel, "summary") else kernel.to_arrays()
