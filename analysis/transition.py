"""The apparent ordering temperature of one cell: where a sweep puts it, and how widely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..statistics import Summary

__all__ = ["ApparentTransition", "Bracket", "apparent_transition", "kelvin"]

ORDERED = 0.5
DISORDERED = 0.25
SIGMAS = 2.0


def kelvin(temperature: float) -> str:
    """Temperature for people.

    Examples
    --------
    >>> kelvin(20000.0), kelvin(416.6666667)
    ('20,000 K', '416.667 K')
    """
    return f"{temperature:,.6g} K"


class Bracket(NamedTuple):
    """Temperatures in K between which a feature lies; None where the sweep does not reach."""

    lower: float | None
    upper: float | None

    @property
    def closed(self) -> bool:
        """Whether the sweep bounds the feature on both sides."""
        return self.lower is not None and self.upper is not None


NOWHERE = Bracket(None, None)


class ApparentTransition(NamedTuple):
    """What a sweep at one size says of an ordering temperature.

    ``status`` is "bracketed", "above" (still ordered at the highest temperature, or still falling
    steepest there), "below" (the order has not set in fully at the lowest), "none" (none of the
    measured orders is seen) or "unknown" (too little data, or an order that vanishes on cooling).
    ``bracket`` covers the features found: the steepest fall of the order parameter and the maximum
    of the heat capacity, where the sweep reaches beyond it on both sides.
    """

    status: str
    order: str | None
    bracket: Bracket
    order_fall: Bracket | None
    heat_capacity_peak: Bracket | None
    text: str


def apparent_transition(
    temperatures: Sequence[float],
    heat_capacities: Sequence[Summary],
    orders: Mapping[str, Sequence[Summary]],
    random: Mapping[str, float],
) -> ApparentTransition:
    """Bracket the ordering temperature of one cell from a sweep of temperatures.

    The order that rises most decides. Its squared amplitude is measured from the value of a random
    arrangement; it counts as ordered above one half and as disordered below one quarter of the way
    to 1. The bracket covers every interval whose slope is within two standard errors of the
    steepest, and the maximum of the heat capacity with every temperature within two standard errors
    of it and one more on each side, unless that leads beyond the sweep. One size cannot give a
    transition temperature: the result is an apparent one.

    Parameters
    ----------
    temperatures
        In K, in any order.
    heat_capacities
        One per temperature, in any one unit.
    orders
        Squared amplitudes by name, one per temperature.
    random
        The value of a random arrangement for every order.

    Returns
    -------
    The verdict with its brackets and one sentence.

    Raises
    ------
    InputError
        If the lengths differ.

    Examples
    --------
    >>> fine = dict(ess=1e3, rhat=1.0, converged=True)
    >>> order = [Summary(x, 0.01, **fine) for x in (0.95, 0.9, 0.3, 0.1)]
    >>> capacity = [Summary(x, 0.05, **fine) for x in (0.5, 1.0, 2.0, 0.6)]
    >>> result = apparent_transition(
    ...     [800, 1000, 1200, 1400], capacity, {"rock-salt": order}, {"rock-salt": 0.03})
    >>> result.status, result.bracket
    ('bracketed', Bracket(lower=1000.0, upper=1400.0))
    """
    lengths = {len(temperatures), len(heat_capacities), *(len(v) for v in orders.values())}
    if len(lengths) > 1 or max(lengths) < 2:
        raise InputError(
            f"lists of lengths {sorted(lengths)}; give one value per temperature, at least two"
        )
    rank = np.argsort(temperatures)
    t = np.asarray(temperatures, dtype=float)[rank]
    peak = _peak(t, [heat_capacities[i] for i in rank])
    name, values = _leading(orders, random, rank)
    if name is None:
        text = "No ordering vector was measured, so no ordering temperature is given."
        return ApparentTransition("unknown", None, NOWHERE, None, peak, text)
    relative = (np.array([v.mean for v in values]) - random[name]) / (1.0 - random[name])
    low, high = kelvin(t[0]), kelvin(t[-1])
    if relative.max() < DISORDERED:
        text = f"None of the orders measured is seen from {low} to {high}."
        return ApparentTransition("none", name, NOWHERE, None, peak, text)
    if relative[0] < ORDERED < relative.max():
        text = (
            f"The {name} order is strongest at {kelvin(t[np.argmax(relative)])} and weaker below: "
            "it does not set in on cooling, so no ordering temperature is given."
        )
        return ApparentTransition("unknown", name, NOWHERE, None, peak, text)
    if relative[-1] > ORDERED:
        text = (
            f"Still {name}-ordered at the highest temperature sampled: the apparent ordering "
            f"temperature at this size is above {high}."
        )
        return ApparentTransition("above", name, Bracket(float(t[-1]), None), None, peak, text)
    fall = _steepest_fall(t, values)
    if relative[0] < ORDERED:
        text = (
            f"The {name} order is only setting in at the lowest temperature sampled ({low}): "
            "its ordering temperature is not bracketed."
        )
        return ApparentTransition("below", name, Bracket(None, float(t[-1])), fall, peak, text)
    if relative[-1] > DISORDERED and fall.upper == t[-1]:
        text = (
            f"The {name} order is still falling at the highest temperature sampled ({high}): the "
            f"apparent ordering temperature at this size is above {kelvin(fall.lower or 0.0)}."
        )
        return ApparentTransition("above", name, Bracket(fall.lower, None), fall, peak, text)
    bracket = _hull(fall, peak)
    text = f"Apparent {name} ordering temperature at this size: {_range(bracket)}."
    return ApparentTransition("bracketed", name, bracket, fall, peak, text)


def _leading(
    orders: Mapping[str, Sequence[Summary]], random: Mapping[str, float], rank: np.ndarray
) -> tuple[str | None, list[Summary]]:
    """Order with the largest amplitude above random anywhere in the sweep."""
    best, leader = -np.inf, None
    for name, values in orders.items():
        means = np.array([v.mean for v in values])
        if not (np.isfinite(means).all() and random[name] < 1.0 and len(means)):
            continue
        largest = float(((means - random[name]) / (1.0 - random[name])).max())
        if largest > best:
            best, leader = largest, name
    return leader, [orders[leader][i] for i in rank] if leader else []


def _peak(t: np.ndarray, capacities: Sequence[Summary]) -> Bracket | None:
    means = np.array([c.mean for c in capacities])
    errors = np.nan_to_num([c.error for c in capacities], nan=0.0)
    if len(t) < 3 or not np.isfinite(means).any():
        return None
    top = int(np.nanargmax(means))
    reach = SIGMAS * np.hypot(errors, errors[top])
    close = np.flatnonzero(np.nan_to_num(means + reach, nan=-np.inf) >= means[top])
    lower = float(t[close[0] - 1]) if close[0] > 0 else None
    upper = float(t[close[-1] + 1]) if close[-1] < len(t) - 1 else None
    return Bracket(lower, upper)


def _steepest_fall(t: np.ndarray, values: Sequence[Summary]) -> Bracket:
    """Hull of the intervals that may be the steepest: all of them if none stands out."""
    means = np.array([v.mean for v in values])
    errors = np.nan_to_num([v.error for v in values], nan=0.0)
    slopes = -np.diff(means) / np.diff(t)
    slope_errors = np.hypot(errors[1:], errors[:-1]) / np.diff(t)
    top = int(np.argmax(slopes))
    close = np.flatnonzero(
        slopes + SIGMAS * np.hypot(slope_errors, slope_errors[top]) >= slopes[top]
    )
    return Bracket(float(t[close[0]]), float(t[close[-1] + 1]))


def _hull(fall: Bracket, peak: Bracket | None) -> Bracket:
    if peak is None or not peak.closed:
        return fall
    return Bracket(min(fall.lower, peak.lower), max(fall.upper, peak.upper))  # type: ignore[type-var]


def _range(bracket: Bracket) -> str:
    return f"between {bracket.lower or 0.0:,.6g} and {kelvin(bracket.upper or 0.0)}"
