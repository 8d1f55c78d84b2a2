"""Draws of all points in one row, and the reduced potentials of the points for MBAR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.units import GPa, kB

from ...errors import InputError
from ...statistics import (
    MIN_ESS,
    RHAT_LIMIT,
    autocorrelation_time,
    effective_sample_size,
    rhat,
)
from ..layout import layout
from .arguments import check_cut
from .composition import axis_of, ln_arrangements
from .observations import Observations, SampledPoint

__all__ = ["LEAST_CROSSINGS", "Pool", "pooled"]

LEAST_CROSSINGS = 20
"""A point that went between two phases has sampled both where their share has this ESS."""

LARGEST = 20_000_000
"""Draws times points above which draws are thinned, so that the equations fit into memory."""

_BLOCK_TIMES, _FEW_BLOCKS = 5, 8


@dataclass(frozen=True, eq=False)
class Pool:
    """All draws, one after the other, and the states that they were drawn from.

    ``enthalpy`` [n] in eV, ``composition`` [n] the row of ``compositions`` [n_compositions,
    n_kinds], ``state`` [n], ``block`` [n]; blocks are longer than the memory of the chains, and
    ``state_of_block`` tells whose they are. By state: ``beta`` in 1/eV, ``bias``
    [n_states, n_compositions] what the reduced potential holds beside βH (infinite where a state
    is another phase's), ``labels``, ``converged``. ``origin`` [n] counts the draws of all points in
    their order, before any were left out.
    """

    observed: Observations
    enthalpy: np.ndarray
    composition: np.ndarray
    compositions: np.ndarray
    state: np.ndarray
    block: np.ndarray
    state_of_block: np.ndarray
    beta: np.ndarray
    bias: np.ndarray
    labels: tuple[str, ...]
    converged: np.ndarray
    origin: np.ndarray

    def reduced(self, states: np.ndarray | slice, draws: np.ndarray | slice) -> np.ndarray:
        """Reduced potentials u_k(x_n) = β_k H_n + bias, [n_states, n_draws]."""
        bias = self.bias[states][:, self.composition[draws]]
        return np.asarray(self.beta[states][:, None] * self.enthalpy[draws] + bias)

    def among(self, draws: np.ndarray, states: np.ndarray) -> Pool:
        """Part of the pool with states, and blocks, numbered anew."""
        _, block = np.unique(self.block[draws], return_inverse=True)
        number = np.full(len(self.beta), -1)
        number[states] = np.arange(len(states))
        state = number[self.state[draws]]
        owner = np.zeros(block.max() + 1, dtype=int)
        owner[block] = state
        return Pool(
            self.observed, self.enthalpy[draws], self.composition[draws], self.compositions,
            state, block, owner, self.beta[states], self.bias[states],
            tuple(self.labels[k] for k in states), self.converged[states], self.origin[draws],
        )  # fmt: skip


def pooled(observed: Observations, cut: float | None = None) -> Pool:
    """Write the draws of all points in one row, with the reduced potentials of the points.

    Where these would be more than `LARGEST` numbers every s-th draw of all points is taken.

    Parameters
    ----------
    observed
        Energies and counts.
    cut
        Fraction between two phases. A point that stayed on one side, or that went across too
        seldom to have sampled both, then stands for the ensemble of that phase alone: a draw on
        the other side has no weight in it.

    Raises
    ------
    InputError
        If points are at different pressures, a constraint has no κ, or ``cut`` is no fraction, or
        given where more than one varies.
    """
    check_cut(cut)
    compositions, index = _compositions(observed)
    ln_ways = ln_arrangements(observed, compositions)
    side = None
    if cut is not None:
        axis = axis_of(observed, compositions)
        if axis is None:
            raise InputError("cut separates phases along one fraction, and here several vary")
        side = axis.x > cut
    pressure = _one_pressure(observed)
    n_draws = sum(p.energy.size for p in observed.points)
    every = -(-n_draws * len(observed.points) // LARGEST)
    names = _names(observed)
    rows: list[dict[str, Any]] = []
    first = blocks = before = 0
    for point, name, where in zip(observed.points, names, index, strict=True):
        enthalpy = _enthalpy(point, pressure)
        tau, converged = _memory(enthalpy, where, compositions, bool(ln_ways[where].max() == 0.0))
        block = _blocks(enthalpy.shape, tau)
        origin = before + np.arange(enthalpy.size).reshape(enthalpy.shape)
        before += enthalpy.size
        thinned = (np.arange(len(enthalpy)) % every == 0)[:, None]
        parts: list[tuple[str, np.ndarray, np.ndarray | None]] = [
            (name, np.ones(where.shape, dtype=bool), None)
        ]
        if side is not None:
            parts = _sides(name, side[where], side)
        for label, sampled, allowed in parts:
            kept = sampled & thinned
            if not kept.any():
                continue
            bias = _bias(observed, point, compositions)
            if allowed is not None:
                bias = np.where(allowed, bias, np.inf)
            here = np.unique(block[kept], return_inverse=True)[1]
            rows.append({
                "enthalpy": enthalpy[kept], "composition": where[kept], "label": label,
                "state": np.full(kept.sum(), first), "block": here + blocks, "bias": bias,
                "beta": 1.0 / (kB * point.coordinates["temperature"]), "converged": converged,
                "owners": np.full(here.max() + 1, first), "origin": origin[kept],
            })  # fmt: skip
            first, blocks = first + 1, blocks + int(here.max()) + 1
    flat = {
        name: np.concatenate([row[name] for row in rows])
        for name in ("enthalpy", "composition", "state", "block", "owners", "origin")
    }
    return Pool(
        observed, flat["enthalpy"], flat["composition"], compositions, flat["state"],
        flat["block"], flat["owners"], np.array([row["beta"] for row in rows]),
        np.array([row["bias"] for row in rows]), tuple(row["label"] for row in rows),
        np.array([row["converged"] for row in rows]), flat["origin"],
    )  # fmt: skip


def _compositions(observed: Observations) -> tuple[np.ndarray, list[np.ndarray]]:
    """Distinct counts [n_compositions, n_kinds], and which one every draw of every point has."""
    rows = np.concatenate([p.counts.reshape(-1, len(observed.kinds)) for p in observed.points])
    # Sorted by the kind that is counted last, so that fractions rise.
    distinct, inverse = np.unique(rows[:, ::-1], axis=0, return_inverse=True)
    distinct = distinct[:, ::-1]
    ends = np.cumsum([p.energy.size for p in observed.points])[:-1]
    split = np.split(inverse.reshape(-1), ends)
    return distinct, [
        part.reshape(p.energy.shape) for part, p in zip(split, observed.points, strict=True)
    ]


def _names(observed: Observations) -> list[str]:
    """Names of the points as people write them; random arrangements are at β = 0."""
    scalars = [p.coordinates for p in observed.points if np.isfinite(p.coordinates["temperature"])]
    written = iter(layout(scalars).written if scalars else ())
    hot = "random arrangements"
    return [
        next(written) if np.isfinite(p.coordinates["temperature"]) else hot for p in observed.points
    ]


def _one_pressure(observed: Observations) -> float:
    pressures = {p.coordinates.get("pressure", 0.0) for p in observed.points}
    if len(pressures) > 1:
        raise InputError(
            f"points are at different pressures ({', '.join(f'{p:g}' for p in sorted(pressures))} "
            "GPa): give those of one"
        )
    return float(pressures.pop())


def _enthalpy(point: SampledPoint, pressure: float) -> np.ndarray:
    work = 0.0 if point.volume is None else pressure * GPa * point.volume
    return np.asarray(point.energy + work)


def _bias(observed: Observations, point: SampledPoint, compositions: np.ndarray) -> np.ndarray:
    """Part of the reduced potential that depends on the counts alone, [n_compositions].

    −β Σ μN, or κ N_s Σ_k (c_k + φ_k/2)² of the variance constraint. At β = 0 draws are random
    arrangements of one composition, and the other compositions no part of that state.
    """
    scalars = point.coordinates
    if np.isinf(scalars["temperature"]):
        return np.where((compositions == point.counts[0, 0]).all(axis=1), 0.0, np.inf)
    beta = 1.0 / (kB * scalars["temperature"])
    bias = np.zeros(len(compositions))
    for column, (name, species) in zip(compositions.T, observed.kinds, strict=True):
        bias -= beta * scalars.get(f"mu_{name}_{species}", 0.0) * column
        phi = scalars.get(f"phi_{name}_{species}")
        if phi is not None:
            kappa = scalars.get(f"kappa_{name}", scalars.get("kappa"))
            if kappa is None:
                raise InputError(f"a point has φ of {species} on {name} but no κ; set it, too")
            size = observed.sizes[name]
            bias += kappa * size * (column / size + phi / 2.0) ** 2
    return bias


def _memory(
    enthalpy: np.ndarray, where: np.ndarray, compositions: np.ndarray, pure: bool
) -> tuple[float, bool]:
    """Autocorrelation time in draws of the slowest series, and whether all converged."""
    if len(enthalpy) < 4 and enthalpy.shape[1] * len(enthalpy) < MIN_ESS:
        return float(len(enthalpy)), False
    series = [enthalpy, *np.moveaxis(compositions[where].astype(float), -1, 0)]
    varying = [s for s in series if np.ptp(s) > 1e-12 * np.abs(s).max()]
    if not varying:
        return 1.0, pure and enthalpy.size >= MIN_ESS
    if len(enthalpy) < 4:  # replicas that are independent, such as random occupations
        return 1.0, True
    times = [autocorrelation_time(s) for s in varying]
    sizes = [effective_sample_size(s) for s in varying]
    return max(times), min(sizes) >= MIN_ESS and max(map(rhat, varying)) < RHAT_LIMIT


def _blocks(shape: tuple[int, ...], tau: float) -> np.ndarray:
    """Give every draw the number of its block, [draw, chain]."""
    n_draws, n_chains = shape
    length = 1 if tau < 1.2 else int(np.ceil(_BLOCK_TIMES * tau))
    per_chain = max(n_draws // length, -(-_FEW_BLOCKS // n_chains))
    per_chain = min(per_chain, n_draws)
    rows = np.arange(n_draws) * per_chain // n_draws
    return np.asarray(rows[:, None] + per_chain * np.arange(n_chains))


def _sides(
    name: str, beyond: np.ndarray, side: np.ndarray
) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
    """Label, draws and allowed compositions of the states that a point is with two phases."""
    share = beyond.mean()
    if 0.0 < share < 1.0 and effective_sample_size(beyond.astype(float)) >= LEAST_CROSSINGS:
        return [(name, np.ones(beyond.shape, dtype=bool), None)]
    both = ((False, "below the cut"), (True, "above the cut"))
    found = [(f"{name} ({word})", beyond == way, side == way) for way, word in both]
    return [part for part in found if part[1].sum() >= 4]
