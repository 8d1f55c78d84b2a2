"""Common tangents, spinodal points and the consolute point of a smooth free energy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase.units import kB
from numpy.polynomial import polynomial
from scipy.optimize import brentq, minimize_scalar, root
from scipy.special import expit, logit

from .free_energies import error_of
from .hull import lower_hull
from .mixing import ExcessModel, free_energy_of

__all__ = [
    "Consolute",
    "TieLine",
    "consolute_point",
    "matched_errors",
    "matching",
    "spinodal",
    "tie_lines",
]

_GRID = expit(np.linspace(-16.0, 16.0, 401))
_HOTTEST = 4.0
"""How many times the hottest temperature is searched for a consolute point."""


class TieLine(NamedTuple):
    """Two phases in equilibrium at a temperature (K).

    ``x`` are their fractions, ``mu`` the chemical potential that they share (eV, of the axis' last
    species less the other), ``errors`` of the three; ``certainty`` is the share of the resamples
    that have such a tie line, ``extrapolated`` tells that a phase or the temperature lies outside
    of what was sampled. ``method`` is "tangent", "equal weight" or "hull".
    """

    temperature: float
    x: tuple[float, float]
    mu: float
    errors: tuple[float, float, float]
    certainty: float
    extrapolated: bool
    method: str


class Consolute(NamedTuple):
    """Where a miscibility gap closes: temperature (K) and fraction, with errors.

    ``certainty`` is the share of the resamples in which the gap closes below four times the hottest
    temperature; ``extrapolated`` tells that it lies outside the temperatures that were sampled.
    """

    temperature: float
    temperature_error: float
    x: float
    x_error: float
    certainty: float
    extrapolated: bool


def tie_lines(model: ExcessModel, temperature: float) -> list[TieLine]:
    r"""Return all common tangents at a temperature, from the lowest fraction up.

    .. math:: f'(x_1) = f'(x_2) = \frac{f(x_2) − f(x_1)}{x_2 − x_1}

    Found as the edges of the convex hull of f on a grid, then solved for. Errors are those of the
    resamples, which are treated alike.

    Parameters
    ----------
    model
        A smooth free energy.
    temperature
        K; between the sampled ones the coefficients lie on a straight line.

    Returns
    -------
    Tie lines; none where one phase is stable at every fraction.
    """
    own, again = model.polynomials(temperature)
    lines = _tangents(own, temperature)
    others = [_tangents(powers, temperature) for powers in again]
    inside = model.temperatures.min() - 1e-6 <= temperature <= model.temperatures.max() + 1e-6
    nearest = int(np.abs(model.temperatures - temperature).argmin())
    low, high = model.reach[nearest]
    found: list[TieLine] = []
    for line in lines:
        matched = np.array([matching(line, one) for one in others])
        errors, certainty = matched_errors(matched)
        beyond = not (inside and low <= line[0] and line[1] <= high)
        x1, x2, mu = line.tolist()
        found.append(
            TieLine(float(temperature), (x1, x2), mu, errors, certainty, beyond, "tangent")
        )
    return found


def spinodal(model: ExcessModel, temperature: float) -> list[tuple[float, float]]:
    """Fractions at which ∂²f/∂x² = 0, from low to high, with errors.

    Between the first and the second of a pair no arrangement is even metastable.

    Parameters
    ----------
    model
        A smooth free energy.
    temperature
        K.
    """
    own, again = model.polynomials(temperature)
    points, others = _inflections(own, temperature), [_inflections(p, temperature) for p in again]
    same = [one for one in others if len(one) == len(points)]
    if not points or len(same) < 2:
        return [(x, float("nan")) for x in points]
    errors = np.std(same, axis=0, ddof=1) if len(same) > 0.9 * len(others) else [np.nan] * 99
    return [(x, float(e)) for x, e in zip(points, errors, strict=False)]


def consolute_point(model: ExcessModel) -> Consolute | None:
    """Find the highest temperature at which ∂²f/∂x² touches zero.

    The coefficients of the excess lie on a straight line in T, so that enthalpy and entropy of
    mixing do not depend on it. None where a single temperature was sampled, where there is no gap,
    or where it does not close.

    Parameters
    ----------
    model
        A smooth free energy at two temperatures at least.
    """
    if len(model.temperatures) < 2:
        return None
    parts = model.trend
    hottest = _HOTTEST * float(model.temperatures.max())
    own = _closing(model, parts @ model.coefficients, hottest)
    if own is None:
        return None
    found = [_closing(model, parts @ one, hottest) for one in model.replicates]
    closed = np.array([one if one is not None else (np.nan, np.nan) for one in found])
    errors = error_of(closed)
    return Consolute(
        own[0], float(errors[0]), own[1], float(errors[1]),
        float(np.isfinite(closed[:, 0]).mean()),
        not model.temperatures.min() <= own[0] <= model.temperatures.max(),
    )  # fmt: skip


def _tangents(powers: np.ndarray, temperature: float) -> list[np.ndarray]:
    """(x₁, x₂, μ) of all common tangents."""
    if not _inflections(powers, temperature):
        return []
    hull = lower_hull(_GRID, free_energy_of(powers, _GRID, temperature))
    steps = np.diff(hull.facets, axis=1)[:, 0]
    found: list[np.ndarray] = []
    for left, right in hull.facets[steps > 1]:
        line = _refined(powers, temperature, _GRID[left], _GRID[right])
        if line is not None and not any(abs(line[0] - other[0]) < 1e-6 for other in found):
            found.append(line)
    return found


def _refined(
    powers: np.ndarray, temperature: float, left: float, right: float
) -> np.ndarray | None:
    """Solve for the tangent near two fractions; None if it closes."""
    slope = polynomial.polyder(powers)

    def mu(y: np.ndarray) -> np.ndarray:  # y = ln[x/(1 − x)]
        return np.asarray(polynomial.polyval(expit(y), slope) + kB * temperature * y)

    def residual(y: np.ndarray) -> np.ndarray:
        x, m = expit(y), mu(y)
        f = free_energy_of(powers, x, temperature)
        return np.array([m[0] - m[1], f[1] - f[0] - m.mean() * (x[1] - x[0])]) / (kB * temperature)

    got = root(residual, logit([left, right]), tol=1e-12)
    x = expit(got.x)
    if np.abs(residual(got.x)).max() > 1e-8 or x[1] - x[0] < 1e-4:
        return None
    return np.array([*x, mu(got.x).mean()])


def matching(line: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """Tie line among others that shares most with one; NaN if none overlaps with it."""
    best, shared = np.full(3, np.nan), 0.0
    for other in others:
        common = min(line[1], other[1]) - max(line[0], other[0])
        if common > shared:
            best, shared = other, common
    return best


def matched_errors(matched: np.ndarray) -> tuple[tuple[float, float, float], float]:
    """Return errors of (x₁, x₂, μ), and the share of the resamples [n, 3] that have them.

    The errors are those of the resamples that have the tie line, if half of them do.
    """
    known = matched[np.isfinite(matched[:, 0])]
    certainty = len(known) / len(matched)
    errors = known.std(axis=0, ddof=1) if certainty > 0.5 and len(known) > 1 else np.full(3, np.nan)
    return (float(errors[0]), float(errors[1]), float(errors[2])), certainty


def _inflections(powers: np.ndarray, temperature: float) -> list[float]:
    """Fractions where P″(x) x (1 − x) + k_BT = 0."""
    second = polynomial.polymul(polynomial.polyder(powers, 2), [0.0, 1.0, -1.0])
    roots = polynomial.polyroots(polynomial.polyadd(second, [kB * temperature]))
    real = roots[np.abs(roots.imag) < 1e-9].real
    return sorted(float(x) for x in real if 0.0 < x < 1.0)


def _closing(model: ExcessModel, trend: np.ndarray, hottest: float) -> tuple[float, float] | None:
    """Highest T at which the least second derivative is zero, and the fraction there."""
    seconds = [polynomial.polyder(row @ model.powers, 2) for row in trend]

    def at(x: np.ndarray | float, t: float) -> np.ndarray:
        """x(1 − x) ∂²f/∂x²."""
        excess = polynomial.polyval(x, seconds[0]) + t * polynomial.polyval(x, seconds[1])
        return np.asarray(x * (1.0 - x) * excess + kB * t)

    x = np.linspace(0.002, 0.998, 250)

    def least(t: float) -> float:
        return float(at(x, t).min())

    grid = np.linspace(0.02 * hottest, hottest, 200)
    below = np.flatnonzero([least(t) < 0 for t in grid])
    if not len(below) or below[-1] == len(grid) - 1:
        return None
    t = float(brentq(least, grid[below[-1]], grid[below[-1] + 1], xtol=1e-6))
    near = float(x[at(x, t).argmin()])
    around = (near - 0.004, near + 0.004)
    return t, float(minimize_scalar(at, bounds=around, args=(t,), method="bounded").x)
