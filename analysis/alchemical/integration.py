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
    a rule is off follows from d, what it changes by on every other window: a rule whose error falls
    with the square of the interval keeps d/3 of it, and what the errors of the means alone make d
    vary by is taken off. Simpson's rule and the spline converge faster where the slope is smooth.
    """
    found = {}
    coarse = np.unique([*range(0, len(couplings), 2), len(couplings) - 1])
    for rule in RULES:
        weights = _weights(rule, couplings)
        off = np.nan
        if len(coarse) < len(couplings):
            difference = weights.copy()
            difference[coarse] -= _weights(rule, couplings[coarse])
            noise = float(((difference * errors) ** 2).sum())
            off = float(np.sqrt(max(float(difference @ means) ** 2 - noise, 0.0))) / 3.0
        error = float(np.sqrt(((weights * errors) ** 2).sum()))
        found[rule] = Integral(float(weights @ means), error, off)
    return found


def _weights(rule: str, s: np.ndarray) -> np.ndarray:
    unit = np.eye(len(s))
    if rule == "trapezoid" or len(s) == 2:
        return np.asarray(trapezoid(unit, s, axis=1))
    if rule == "Simpson":
        return np.asarray(simpson(unit, x=s, axis=1))
    return np.asarray(CubicSpline(s, unit).integrate(s[0], s[-1]))
