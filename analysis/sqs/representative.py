r"""At which temperature an ensemble's mean equals a value: interpolation in β with exact slopes.

In the canonical ensemble d⟨A⟩/dβ = −Cov(A, E), so that every temperature gives the mean and its
slope, and the random arrangements of the same cell give both at β = 0. Between two nodes the mean
is the cubic in β that has these values and slopes. Errors are those of the root itself: values and
slopes are varied together within theirs, with the tails of Student's t where samples are few.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase.units import kB

from ...statistics import Summary, effective_sample_size
from ..estimates import summarize_series
from .measures import Series

__all__ = ["Crossing", "Node", "crossings", "node", "within"]

MIDDLE = 0.5
RESAMPLES, GRID = 400, 65
LEAST_ESS = 5.0
"""Fewer effective samples than this leave even the error of a crossing unknown."""


class Node(NamedTuple):
    """Mean of a quantity at one β in 1/eV, its derivatives with respect to β, and their series.

    ``deviation`` and ``product`` are [draw, chain], the influence of every draw on the mean and on
    the slope; both are zero where all arrangements were counted.
    """

    beta: float
    value: float
    slope: float
    curvature: float
    deviation: np.ndarray
    product: np.ndarray
    converged: bool


class Crossing(NamedTuple):
    """Temperature in K at which a mean equals a value.

    ``error`` is one standard error from the sampling, from the value's own error, and from
    ``interpolation``, the change of the temperature when third moments are used, too; infinite
    where a temperature beside it has fewer than five effective samples. ``lower`` and
    ``upper`` are one standard error away in 1/T; ``upper`` is infinite where the value is not told
    from that of random arrangements. ``between`` are the temperatures interpolated between.
    ``converged`` says whether the chains there have.
    """

    temperature: float
    error: float
    interpolation: float
    lower: float
    upper: float
    between: tuple[float, float]
    converged: bool

    @property
    def resolved(self) -> bool:
        """Whether it is told from infinite temperature by two standard errors."""
        if not self.lower > 0:
            return False
        spread = 1.0 / self.lower - 1.0 / self.temperature
        return 1.0 / self.temperature > 2.0 * spread


def node(beta: float, series: Series, converged: bool, *, exact: bool = False) -> Node:
    """Return the node of a sampled series; ``exact`` says that all arrangements are in it once."""
    values, energy = series
    n = 1.0
    if not exact:
        ess = effective_sample_size(energy) if len(energy) > 1 else float(energy.size)
        n = ess if math.isfinite(ess) and ess > 1 else float(energy.size)
    unbiased = 1.0 if exact or n <= 1 else n / (n - 1.0)
    away, heat = values - values.mean(), energy - energy.mean()
    product = -unbiased * away * heat
    curvature = float((away * heat**2).mean())
    deviation, slope = away, float(product.mean())
    product = product - slope
    if exact:
        deviation, product = np.zeros((1, 1)), np.zeros((1, 1))
    return Node(beta, float(values.mean()), slope, curvature, deviation, product, converged)


def crossings(nodes: Sequence[Node], value: float, value_error: float = 0.0) -> list[Crossing]:
    """Temperatures at which the mean equals a value, from hot to cold.

    Parameters
    ----------
    nodes
        By rising β, two or more.
    value, value_error
        What is looked for, and its standard error.
    """
    found = []
    for k, (left, right) in enumerate(itertools.pairwise(nodes)):
        if (left.value - value) * (right.value - value) >= 0 and left.value != value:
            continue
        beta = _root(left, right, value)
        if beta is not None and beta > 0:
            found.append(_crossing(nodes, k, beta, value, value_error))
    return found


def within(
    nodes: Sequence[Node], value: float, tolerance: float, value_error: float = 0.0
) -> Crossing | None:
    """Temperature above which the mean stays within a tolerance of a value; None if it never does.

    Colder than the last node it is not known: where all nodes are within, that is the last one's.

    Parameters
    ----------
    nodes
        By rising β, the first at β = 0.
    value, value_error
        What is looked for, and its standard error.
    tolerance
        In the units of the value.
    """
    if not nodes or abs(nodes[0].value - value) > tolerance:
        return None
    for k, (left, right) in enumerate(itertools.pairwise(nodes)):
        away = right.value - value
        if abs(away) > tolerance:
            limit = value + math.copysign(tolerance, away)
            beta = _root(left, right, limit)
            if beta is None or beta <= 0:
                return None
            return _crossing(nodes, k, beta, limit, value_error)
    last = _kelvin(nodes[-1].beta)
    return Crossing(last, math.nan, 0.0, last, last, (last, last), nodes[-1].converged)


def _kelvin(beta: float) -> float:
    return 1.0 / (kB * beta) if beta > 0 else math.inf


def _root(left: Node, right: Node, value: float, *, moments: int = 1) -> float | None:
    """β between two nodes at which the interpolant has a value; None if there is none."""
    from scipy.interpolate import BPoly, PPoly  # noqa: PLC0415  (slow to import)

    rows = [[n.value - value, n.slope, n.curvature][: moments + 1] for n in (left, right)]
    curve = PPoly.from_bernstein_basis(BPoly.from_derivatives([left.beta, right.beta], rows))
    roots = curve.roots(extrapolate=False)
    roots = roots[np.isfinite(roots)]
    return float(roots[0]) if len(roots) else None


def _crossing(
    nodes: Sequence[Node], k: int, beta: float, value: float, value_error: float
) -> Crossing:
    """Crossing at β between the nodes k and k + 1."""
    left, right = nodes[k], nodes[k + 1]
    finer = _root(left, right, value, moments=2)
    shift = abs(finer - beta) if finer is not None else (right.beta - left.beta) * MIDDLE
    again = _resampled(nodes[max(0, k - 1) : k + 3], beta, value, value_error)
    statistical = math.inf if again is None else float(again.std())
    spread = math.hypot(statistical, shift)
    kelvin = _kelvin(beta)
    return Crossing(
        kelvin,
        spread * kelvin / beta,
        shift * kelvin / beta,
        _kelvin(beta + spread),
        _kelvin(beta - spread),
        (_kelvin(right.beta), _kelvin(left.beta)),
        left.converged and right.converged,
    )


def _resampled(
    nodes: Sequence[Node], beta: float, value: float, value_error: float
) -> np.ndarray | None:
    """β of the crossing for varied means, slopes and values, [RESAMPLES]; None if unknown.

    Roots may wander into the next intervals; the nearest to ``beta`` counts, or the node that comes
    nearest to the value where there is none. A linear error knows neither of these nor that slopes
    are uncertain, and is too small where effective samples are few.
    """
    rng = np.random.default_rng(0)
    noise = _noise(nodes, rng)
    if noise is None:
        return None
    means = np.array([one.value for one in nodes]) + noise[:, :, 0]
    slopes = np.array([one.slope for one in nodes]) + noise[:, :, 1]
    wanted = value + value_error * rng.normal(size=(RESAMPLES, 1, 1))
    edges = np.array([one.beta for one in nodes])
    width, t = np.diff(edges)[:, None], np.linspace(0.0, 1.0, GRID)
    # The cubic Hermite basis, [resample, interval, point].
    away = (
        (2 * t**3 - 3 * t**2 + 1) * means[:, :-1, None]
        + (t**3 - 2 * t**2 + t) * width * slopes[:, :-1, None]
        + (3 * t**2 - 2 * t**3) * means[:, 1:, None]
        + (t**3 - t**2) * width * slopes[:, 1:, None]
        - wanted
    )
    first, second = away[:, :, :-1], away[:, :, 1:]
    crossed = (first * second <= 0) & (first != second)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(crossed, first / (first - second), 0.0)
    roots = (edges[:-1, None] + width * (t[:-1] + share * t[1])).reshape(RESAMPLES, -1)
    distance = np.where(crossed.reshape(RESAMPLES, -1), np.abs(roots - beta), np.inf)
    nearest = np.take_along_axis(roots, distance.argmin(axis=1)[:, None], axis=1)[:, 0]
    ends = edges[np.abs(means - wanted[:, :, 0]).argmin(axis=1)]
    return np.where(np.isfinite(distance).any(axis=1), nearest, ends)


def _noise(nodes: Sequence[Node], rng: np.random.Generator) -> np.ndarray | None:
    """Errors of every mean and slope, [RESAMPLES, n_nodes, 2], correlated as the draws are.

    Multivariate t with as many degrees of freedom as a node has effective samples, less one; None
    if one has too few.
    """
    found = np.zeros((RESAMPLES, len(nodes), 2))
    sampled = [k for k, one in enumerate(nodes) if one.deviation.any()]
    while sampled:
        shape = nodes[sampled[0]].deviation.shape
        # Rungs of a ladder are correlated draw by draw; of other runs this makes no difference.
        alike = [k for k in sampled if nodes[k].deviation.shape == shape and shape[0] > 1]
        group = alike or sampled[:1]
        sampled = [k for k in sampled if k not in group]
        series = [x for k in group for x in (nodes[k].deviation, nodes[k].product)]
        known = [_summary(x) for x in series]
        errors = np.array([one.error for one in known])
        ess = np.array([one.ess for one in known]).reshape(-1, 2)
        ess = np.where(ess > 0, ess, np.inf).min(axis=1)
        if not np.isfinite(errors).all() or (ess < LEAST_ESS).any():
            return None
        root = _square_root(np.array([x.ravel() for x in series]))
        normal = rng.normal(size=(RESAMPLES, len(series))) @ root.T * errors
        tails = np.sqrt((ess - 1.0) / rng.chisquare(ess - 1.0, size=(RESAMPLES, len(group))))
        found[:, group] = normal.reshape(RESAMPLES, -1, 2) * tails[:, :, None]
    return found


def _square_root(rows: np.ndarray) -> np.ndarray:
    """Matrix R with R Rᵀ the correlations of some series, zero for one that never varies."""
    scale = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, scale, out=np.zeros_like(rows), where=scale > 0)
    values, vectors = np.linalg.eigh(unit @ unit.T)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _summary(influence: np.ndarray) -> Summary:
    if not influence.any():
        return Summary(0.0, 0.0, math.nan, math.nan, False)
    return summarize_series(influence)
