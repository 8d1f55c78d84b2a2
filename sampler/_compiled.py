"""Blocks of steps that an energy model runs by itself, in the form in which chains keep them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..protocols import State

__all__ = ["block_of"]


def block_of(block: Any, state: State, thin: int) -> tuple[State, dict[str, np.ndarray]]:
    """State after a block of a lattice Hamiltonian, and its draws as ``draw_block`` gives them.

    A step counts as one energy, though it costs that of the changed sites alone.
    """
    steps = np.full(block.energy.shape, thin, dtype=np.int64)
    after = State(
        block.occupation[-1].astype(np.int8), block.energy[-1].copy(),
        np.full_like(state.gradient, np.nan),
    )  # fmt: skip
    return after, {
        "occupation": np.ascontiguousarray(block.occupation),
        "energy": np.ascontiguousarray(block.energy),
        "acceptance": block.accepted / thin,
        "energy_calls": steps,
        "gradient_calls": np.zeros_like(steps),
    }
