r"""At which temperature an ensemble's mean equals a value: interpolation in β with exact slopes.

In the canonical ensemble d⟨A⟩/dβ = −Cov(A, E), so that every temperature gives the mean and its
slope, and the random arrangements of the same cell give both at β = 0. Between two nodes the mean
is the cubic in β that has these values and slopes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase.units import kB

from ...statistics import effective_sample_size
from ..estimates import summarize_series
from .measures import Series

__all__ = ["Crossing", "Node", "crossings", "node", "within"]

MIDDLE = 0.5


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
    ``interpolation``, the change of the temperature when third moments are used, too. ``lower`` and
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
    for left, right in itertools.pairwise(nodes):
        if (left.value - value) * (right.value - value) >= 0 and left.value != value:
            continue
        beta = _root(left, right, value)
        if beta is not None and beta > 0:
            found.append(_crossing(left, right, beta, value, value_error))
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
    for left, right in itertools.pairwise(nodes):
        away = right.value - value
        if abs(away) > tolerance:
            limit = value + math.copysign(tolerance, away)
            beta = _root(left, right, limit)
            if beta is None or beta <= 0:
                return None
            return _crossing(left, right, beta, limit, value_error)
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


def _crossing(left: Node, right: Node, beta: float, value: float, value_error: float) -> Crossing:
    width = right.beta - left.beta
    t = (beta - left.beta) / width
    # The cubic Hermite basis at t, and its derivative.
    weights = (
        2 * t**3 - 3 * t**2 + 1, (t**3 - 2 * t**2 + t) * width,
        -2 * t**3 + 3 * t**2, (t**3 - t**2) * width,
    )  # fmt: skip
    slopes = (
        (6 * t**2 - 6 * t) / width, 3 * t**2 - 4 * t + 1,
        (6 * t - 6 * t**2) / width, 3 * t**2 - 2 * t,
    )  # fmt: skip
    given = (left.value, left.slope, right.value, right.slope)
    slope = sum(w * g for w, g in zip(slopes, given, strict=True))
    sampling = _sampling_error(left, right, weights)
    finer = _root(left, right, value, moments=2)
    shift = abs(finer - beta) if finer is not None else width * MIDDLE
    statistical = math.hypot(sampling, value_error) / abs(slope) if slope else math.inf
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


def _sampling_error(left: Node, right: Node, weights: tuple[float, float, float, float]) -> float:
    """Error of the interpolated mean, from how every draw moves it."""
    first = weights[0] * left.deviation + weights[1] * left.product
    second = weights[2] * right.deviation + weights[3] * right.product
    if first.shape == second.shape and len(first) > 1:
        # Rungs of a ladder are correlated draw by draw; of other runs this makes no difference.
        return _error(first + second)
    return math.hypot(_error(first), _error(second))


def _error(influence: np.ndarray) -> float:
    if not influence.any():
        return 0.0
    error = summarize_series(influence).error
    return error if math.isfinite(error) else math.inf
