"""State and diagnostics of chains whose positions move, and how a step's are put together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..protocols import Info
from .dynamics.crystal import Report

__all__ = ["HybridInfo", "HybridState", "step_info", "together"]


class HybridState(NamedTuple):
    """A `State` with positions; every field leads with the replicas.

    ``occupations``, ``energy`` (eV, at the positions) and ``gradient`` (NaN: it is of no use once
    positions moved) as in `State`; ``positions`` [n_replicas, n_atoms, 3] and ``cells``
    [n_replicas, 3, 3] in Å, vacant sites included with their ghosts.
    """

    occupations: np.ndarray
    energy: np.ndarray
    gradient: np.ndarray
    positions: np.ndarray
    cells: np.ndarray


class HybridInfo(NamedTuple):
    """An `Info` of both blocks of a step; every field leads with the replicas.

    ``accepted`` float64: the accepted fraction of the occupation block (of the trajectory, where
    there is no such block); ``acceptance_probability`` its mean; ``sites`` to ``estimated_change``:
    those of its last move; ``energy_calls``, ``gradient_calls`` int64: all evaluations, a force
    call counted as a gradient; ``force_calls`` int64 among these. Of the position block:
    ``position_accepted`` bool, ``position_acceptance_probability``, and the same of its volume move
    (false and NaN where there is none).
    """

    accepted: np.ndarray
    acceptance_probability: np.ndarray
    sites: np.ndarray
    species: np.ndarray
    held: np.ndarray
    log_density_change: np.ndarray
    estimated_change: np.ndarray
    energy_calls: np.ndarray
    gradient_calls: np.ndarray
    force_calls: np.ndarray
    position_accepted: np.ndarray
    position_acceptance_probability: np.ndarray
    volume_accepted: np.ndarray
    volume_acceptance_probability: np.ndarray


def together(infos: tuple[Info, ...]) -> Info:
    """One info of all replicas, changes padded to the widest with −1."""
    width = max(info.sites.shape[1] for info in infos)
    return Info(
        *(np.concatenate(part) for part in zip(*(_padded(i, width) for i in infos), strict=True))
    )


def _padded(info: Info, width: int) -> Info:
    missing = ((0, 0), (0, width - info.sites.shape[1]))
    if not missing[1][1]:
        return info
    return info._replace(
        sites=np.pad(info.sites, missing, constant_values=-1),
        species=np.pad(info.species, missing, constant_values=-1),
        held=np.pad(info.held, missing, constant_values=-1),
    )


def step_info(infos: list[Info], calls: np.ndarray, report: Report) -> HybridInfo:
    """Gather what a step did in both its blocks."""
    last = infos[-1] if infos else _no_move(report)
    fractions = [report.accepted] if not infos else [info.accepted for info in infos]
    chances = [report.acceptance_probability]
    if infos:
        chances = [info.acceptance_probability for info in infos]
    return HybridInfo(
        *last._replace(
            accepted=np.mean(fractions, axis=0),
            acceptance_probability=np.mean(chances, axis=0),
            energy_calls=calls[:, 0] + sum(info.energy_calls for info in infos),
            gradient_calls=calls[:, 1]
            + sum(info.gradient_calls for info in infos)
            + report.force_calls,
        ),
        force_calls=report.force_calls,
        position_accepted=report.accepted,
        position_acceptance_probability=report.acceptance_probability,
        volume_accepted=report.volume_accepted,
        volume_acceptance_probability=report.volume_acceptance_probability,
    )


def _no_move(report: Report) -> Info:
    """Info of a step without an occupation block."""
    n = len(report.accepted)
    unknown, none = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
    nowhere = np.full((n, 1), -1)
    return Info(
        report.accepted, report.acceptance_probability, nowhere, nowhere.astype(np.int8),
        nowhere.astype(np.int8), unknown, unknown, none, none,
    )  # fmt: skip
