"""Thermodynamic integration over windows: quadratures with errors of draws and of the rule."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.integrate import simpson, trapezoid
from scipy.interpolate import CubicSpline

__all__ = ["RULES", "Integral", "integrals"]

RULES = ("trapezoid", "Simpson", "spline")


class Integral(NamedTuple):
    """∫⟨dU/ds⟩ ds by one rule, in the unit of the slopes.

    ``error`` follows from those of the means; ``discretisation`` is how far the rule itself may be
    off, NaN where two windows tell nothing of it.
    """

    value: float
    error: float
    discretisation: float


def integrals(couplings: np.ndarray, means: np.ndarray, errors: np.ndarray) -> dict[str, Integral]:
    """Integrals of slopes that are known at couplings [k], by rule.

    The trapezoid, Simpson's rule for irregular intervals, and a cubic spline through all points
    (not-a-knot) are all linear in the slopes, Σ_k w_k ⟨dU/ds⟩_k, so their errors are exact. How far
    a rule is off, to within a factor of about two, is the larger of half of what it changes by on
    every other window, and of what the spline gives beside it (Simpson's rule beside the spline);
    what the errors of the means alone make such a difference vary by is taken off first.
    """
    weights = {rule: _weights(rule, couplings) for rule in RULES}
    coarse = np.unique([*range(0, len(couplings), 2), len(couplings) - 1])
    found = {}
    for rule, own in weights.items():
        off = np.nan
        if len(coarse) < len(couplings):
            changes = [own - weights["Simpson" if rule == "spline" else "spline"], 0.5 * own]
            changes[1][coarse] -= 0.5 * _weights(rule, couplings[coarse])
            off = max(_beyond_noise(one, means, errors) for one in changes)
        error = float(np.sqrt(((own * errors) ** 2).sum()))
        found[rule] = Integral(float(own @ means), error, off)
    return found


def _beyond_noise(weights: np.ndarray, means: np.ndarray, errors: np.ndarray) -> float:
    """Return |Σ w m| less, in squares, what the errors of m make of it."""
    noise = float(((weights * errors) ** 2).sum())
    return float(np.sqrt(max(float(weights @ means) ** 2 - noise, 0.0)))


def _weights(rule: str, s: np.ndarray) -> np.ndarray:
    unit = np.eye(len(s))
    if rule == "trapezoid" or len(s) == 2:
        return np.asarray(trapezoid(unit, s, axis=1))
    if rule == "Simpson":
        return np.asarray(simpson(unit, x=s, axis=1))
    return np.asarray(CubicSpline(s, unit).integrate(s[0], s[-1]))
