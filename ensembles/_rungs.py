"""Work of single rungs of a ladder, and the rows of all rungs from those of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..protocols import Ensemble, Generators, Info, Kernel

__all__ = [
    "interleaved",
    "joined_info",
    "learning_steps",
    "log_ratios",
    "nothing_done",
    "rows_of",
    "run_steps",
    "summed",
]


# ---- work of one rung


def run_steps(kernel: Kernel, state: Any, rngs: Generators, steps: int) -> tuple[Any, list[Info]]:
    """State after so many steps, and their infos: one for all of them from compiled code."""
    block = getattr(kernel, "compiled_block", None)
    compiled = None if block is None else block(state, rngs, 1, steps)
    if compiled is not None:
        after, draws = compiled
        still = nothing_done(len(after.energy))
        share = draws["acceptance"][0]
        return after, [
            still._replace(
                accepted=share >= 1.0 if steps == 1 else share,
                acceptance_probability=share,
                energy_calls=draws["energy_calls"][0],
                gradient_calls=draws["gradient_calls"][0],
            )
        ]
    infos = []
    for _ in range(steps):
        state, info = kernel.step(state, rngs)
        infos.append(info)
    return state, infos


def learning_steps(
    kernel: Any, state: Any, rngs: Generators, steps: int
) -> tuple[Kernel, Any, list[Info]]:
    """Kernel and state after steps that teach it, where it learns in its own way, and infos."""
    if hasattr(kernel, "warm_up"):
        learnt: tuple[Kernel, Any, list[Info]] = kernel.warm_up(state, rngs, steps)
        return learnt
    return (kernel, *run_steps(kernel, state, rngs, steps))


# ---- rows of all rungs from those of each


def rows_of(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows [n_chains · n_rungs, …] of those of every rung [n_chains, …]."""
    return np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


def interleaved(states: Sequence[Any]) -> Any:
    return type(states[0])(*(rows_of(values) for values in zip(*states, strict=True)))


def nothing_done(n: int) -> Info:
    """Info of replicas that proposed nothing."""
    none, unknown = np.full((n, 1), -1), np.full(n, np.nan)
    return Info(
        accepted=np.zeros(n, dtype=bool),
        acceptance_probability=np.zeros(n),
        sites=none,
        species=none.astype(np.int8),
        held=none.astype(np.int8),
        log_density_change=unknown,
        estimated_change=unknown,
        energy_calls=np.zeros(n, dtype=np.int64),
        gradient_calls=np.zeros(n, dtype=np.int64),
    )


def summed(infos: Sequence[Info]) -> Info:
    """Info of the last of several steps, with the calls of all and the share accepted."""
    if len(infos) == 1:
        return infos[0]
    return infos[-1]._replace(
        accepted=np.mean([info.accepted for info in infos], axis=0),
        energy_calls=np.sum([info.energy_calls for info in infos], axis=0),
        gradient_calls=np.sum([info.gradient_calls for info in infos], axis=0),
    )


def joined_info(infos: Sequence[Info]) -> Info:
    """Info of all rows; proposals are padded by −1 to the widest. What is more than Info is not."""
    width = max(info.sites.shape[1] for info in infos)

    def wide(columns: np.ndarray) -> np.ndarray:
        missing = width - columns.shape[1]
        return np.pad(columns, ((0, 0), (0, missing)), constant_values=-1) if missing else columns

    plain = [Info(*(getattr(info, name) for name in Info._fields)) for info in infos]
    padded = [
        info._replace(sites=wide(info.sites), species=wide(info.species), held=wide(info.held))
        for info in plain
    ]
    return Info(*(rows_of(values) for values in zip(*padded, strict=True)))


# ---- exchanges


def log_ratios(ensembles: Sequence[Ensemble], state: Any) -> np.ndarray:
    """Return f_i(x_j) + f_j(x_i) − f_i(x_i) − f_j(x_j) of all neighbours, [n_chains, pairs]."""
    n, volume = len(ensembles), _volumes(state)
    rows = np.arange(len(state.energy)).reshape(-1, n)
    # Rung i's density of what is at i − 1, i and i + 1; at the ends, of itself once more.
    density = np.empty((3, len(rows), n))
    for i, ensemble in enumerate(ensembles):
        near = rows[:, [max(i - 1, 0), i, min(i + 1, n - 1)]].T.ravel()
        found = ensemble.log_density(
            state.energy[near], state.occupations[near], None if volume is None else volume[near]
        )
        density[:, :, i] = np.reshape(found, (3, -1))
    below, own, above = density
    return np.asarray((above[:, :-1] + below[:, 1:]) - (own[:, :-1] + own[:, 1:]))


def _volumes(state: Any) -> np.ndarray | None:
    """Volumes of cells that the state carries, Å³ [n_replicas]; None where it has none."""
    cells = getattr(state, "cells", None)
    return None if cells is None else np.abs(np.linalg.det(cells))
