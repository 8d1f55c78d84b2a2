"""State of chains in discrete states of λ, and what a step of theirs did."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...protocols import Info

__all__ = ["GibbsState", "Hop", "gibbs_info"]


class GibbsState(NamedTuple):
    """A `State` with the groups' states of λ; every field leads with the replicas.

    ``occupations``: of a group between two species that of the larger share; ``energy`` (eV) at the
    groups' λ; ``gradient`` NaN; ``positions`` [n_replicas, n_atoms, 3] and ``cells``
    [n_replicas, 3, 3] in Å, empty where none move; ``states`` int64 [n_replicas, n_groups];
    ``log_weights`` [n_replicas, n_groups, n_states]: of every state of a group, the logarithm of
    its conditional probability when it was last drawn, with the bias taken off (NaN before).
    """

    occupations: np.ndarray
    energy: np.ndarray
    gradient: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    states: np.ndarray
    log_weights: np.ndarray


class Hop(NamedTuple):
    """What the groups of all replicas did: [n_replicas, n_groups] and, at last, [..., n_states]."""

    moved: np.ndarray
    chance: np.ndarray
    probabilities: np.ndarray
    energy_calls: np.ndarray
    gradient_calls: np.ndarray


def gibbs_info(before: GibbsState, after: GibbsState, hop: Hop, calls: np.ndarray) -> Info:
    """Diagnostics of a step: how many groups moved, and which sites changed at all."""
    changed = before.occupations != after.occupations
    width = max(1, int(changed.sum(axis=1).max()))
    order = np.argsort(~changed, axis=1, kind="stable")[:, :width]
    there = np.take_along_axis(changed, order, axis=1)

    def shown_of(occupations: np.ndarray) -> np.ndarray:
        held = np.take_along_axis(occupations, order, axis=1)
        return np.where(there, held, -1).astype(np.int8)

    unknown = np.full(len(calls), np.nan)
    return Info(
        accepted=hop.moved.mean(axis=1),
        acceptance_probability=hop.chance.mean(axis=1),
        sites=np.where(there, order, -1),
        species=shown_of(after.occupations),
        held=shown_of(before.occupations),
        log_density_change=unknown,
        estimated_change=unknown,
        energy_calls=calls[:, 0],
        gradient_calls=calls[:, 1],
    )
