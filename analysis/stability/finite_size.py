"""From temperatures of finite cells to that of the infinite crystal: crossings, peaks, shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import chi2 as chi_square

from .multi_histogram import Curves, MultiHistogram

__all__ = [
    "LEAST_FOUND",
    "Estimate",
    "Universality",
    "correction_exponent",
    "crossing",
    "crossing_shift",
    "extrapolated",
    "peak",
    "scaling_exponent",
]

GRID = 401
LEAST_FOUND = 0.9  # of the resamples
LEAST_PROBABILITY = 0.01
UNTESTED = 0.5
OMEGAS = np.geomspace(0.5, 2.0, 25)


@dataclass(frozen=True)
class Universality:
    """Exponents of a universality class: ν, and ω of the leading correction to scaling."""

    name: str
    nu: float
    omega: float
    cumulant: float | None = None


@dataclass(frozen=True)
class Estimate:
    """One way to the temperature of the infinite crystal.

    Parameters
    ----------
    name, text
        What it is, and how it was made.
    values
        Temperature in K, of all samples and of each resample; NaN where a resample has none.
    systematic
        How far its variants differ, in K, beyond what their own errors explain.
    points
        Temperatures that it is made of, with errors, by label.
    chi2, dof
        Of the fit; NaN and 0 without one.
    variants
        Temperatures of the variants.
    """

    name: str
    text: str
    values: np.ndarray
    systematic: float
    points: dict[str, tuple[float, float]]
    chi2: float = np.nan
    dof: int = 0
    variants: dict[str, float] = field(default_factory=dict)

    @property
    def temperature(self) -> float:
        """Of all samples, K."""
        return float(self.values[0])

    @property
    def statistical(self) -> float:
        """Standard error from the resamples, K."""
        return float(np.nanstd(self.values[1:]))

    @property
    def error(self) -> float:
        """Both together, K."""
        return float(np.hypot(self.statistical, self.systematic))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        probability = float(chi_square.sf(self.chi2, self.dof)) if self.dof else None
        return {
            "name": self.name,
            "text": self.text,
            "temperature": self.temperature,
            "error": self.error,
            "error_statistical": self.statistical,
            "error_systematic": self.systematic,
            "chi2": self.chi2 if self.dof else None,
            "degrees_of_freedom": self.dof,
            "probability": probability,
            "variants": dict(self.variants),
            "points": [
                {"label": label, "temperature": t, "error": e}
                for label, (t, e) in self.points.items()
            ],
        }


def crossing(small: MultiHistogram, large: MultiHistogram) -> np.ndarray | None:
    """Temperature at which the cumulants of two sizes cross, [1 + n_resamples].

    Above it the larger size has the smaller cumulant (K. Binder, Z. Phys. B 43, 119 (1981),
    doi:10.1007/BF01293604). The crossing of resamples is the one nearest to that of all samples,
    which is the one where the difference is steepest; None if there is none.
    """
    low = max(small.range[0], large.range[0])
    high = min(small.range[1], large.range[1])
    if low >= high:
        return None
    t = np.linspace(low, high, GRID)
    first, second = small.curves(t).cumulant, large.curves(t).cumulant
    assert first is not None  # noqa: S101
    assert second is not None  # noqa: S101
    return _roots(t, second - first)


def _roots(t: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Where every column falls through zero, nearest to the steepest fall of column 0."""

    def falls(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = np.flatnonzero((column[:-1] > 0) & (column[1:] <= 0))
        drop = column[k] - column[k + 1]
        return t[k] + column[k] / drop * (t[k + 1] - t[k]), drop

    places, drops = falls(values[:, 0])
    if not len(places):
        return None
    found = np.full(values.shape[1], np.nan)
    found[0] = places[np.argmax(drops)]
    for r in range(1, len(found)):
        places, _ = falls(values[:, r])
        if len(places):
            found[r] = places[np.argmin(np.abs(places - found[0]))]
    return found if np.isfinite(found).mean() >= LEAST_FOUND else None


def peak(
    histogram: MultiHistogram, quantity: Callable[[Curves], np.ndarray | None]
) -> np.ndarray | None:
    """Temperature and height of a maximum, [2, 1 + n_resamples]; None if it is at an end.

    Grids narrow down on it; a parabola through three points of the finest leads to the top.
    """
    low, high = histogram.range
    t = np.linspace(low, high, GRID)
    values = quantity(histogram.curves(t))
    assert values is not None  # noqa: S101
    top = np.argmax(values, axis=0)
    if top[0] in (0, GRID - 1):
        return None
    inside = (top > 0) & (top < GRID - 1)
    if inside.mean() < LEAST_FOUND:
        return None
    column = np.arange(values.shape[1])
    k = np.clip(top, 1, GRID - 2)
    left, here, right = (values[k + shift, column] for shift in (-1, 0, 1))
    bend = left - 2.0 * here + right
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(bend < 0, 0.5 * (left - right) / bend, 0.0)
    place = t[k] + shift * (t[1] - t[0])
    height = here - 0.25 * (left - right) * shift
    return np.where(inside, np.stack([place, height]), np.nan)


def scaling_exponent(lengths: Sequence[float], heights: np.ndarray) -> np.ndarray:
    """Exponent p of heights ∝ L^p, [1 + n_resamples], of heights [n_sizes, 1 + n_resamples]."""
    logs = np.log(heights)
    x = np.log(np.asarray(lengths, dtype=float))
    fit = _line(logs, [x[:, None]], 0, 1)
    return fit.parameters[1] / np.abs(x).max()


def crossing_shift(
    pairs: Sequence[tuple[float, float]], nu: np.ndarray | float, omega: np.ndarray | float
) -> np.ndarray:
    r"""Shift of the crossings of pairs of sizes, up to a factor, [n_pairs, 1 + n_resamples].

    .. math:: \frac{T_× − T_c}{T_c} ∝ \frac{L_1^{−ω} − L_2^{−ω}}{L_2^{1/ν} − L_1^{1/ν}},

    from U = U* + a t L^{1/ν} + c L^{−ω} (Binder 1981; A. M. Ferrenberg and D. P. Landau, Phys. Rev.
    B 44, 5081 (1991), doi:10.1103/PhysRevB.44.5081).
    """
    small, large = (np.array(side, dtype=float)[:, None] for side in zip(*pairs, strict=True))
    nu, omega = np.atleast_1d(nu), np.atleast_1d(omega)
    above = small**-omega - large**-omega
    return np.asarray(above / (large ** (1.0 / nu) - small ** (1.0 / nu)))


def correction_exponent(
    values: np.ndarray, pairs: Sequence[tuple[float, float]], nu: np.ndarray
) -> np.ndarray:
    """ω between ½ and 2 that fits crossings [n_pairs, 1 + n_resamples] best, per resample."""
    residuals = []
    for omega in OMEGAS:
        shift = crossing_shift(pairs, nu, omega)
        residuals.append(_line(values, [shift], 0, 1).residual)
    return np.asarray(OMEGAS[np.argmin(residuals, axis=0)])


def extrapolated(  # noqa: PLR0917
    name: str,
    text: str,
    labels: Sequence[str],
    values: np.ndarray,
    columns: Sequence[np.ndarray],
    others: Mapping[str, Sequence[np.ndarray]] | None = None,
    doubt: float = 0.0,
) -> Estimate:
    """Fit of T_c + Σ a_j · column_j to temperatures of finite cells, and how far to trust it.

    As many columns are used, from the first, as leave a degree of freedom, and at least one. While
    the fit is improbable (below 1 %) the smallest size is left out. Variants: one more left out;
    one column fewer, or more; and the ``others``. The systematic error is the largest difference
    to a variant as far as it exceeds the error of that difference, or half of the extrapolation
    where two temperatures leave the line untested.

    Parameters
    ----------
    name, text
        Of the estimate.
    labels
        Of the temperatures, from the smallest size to the largest.
    values
        Temperatures in K, [n, 1 + n_resamples].
    columns
        Shifts from the infinite cell, each up to a factor, [n, 1 + n_resamples] or [n, 1].
    others
        Other columns that might be right as well.
    doubt
        Least systematic error as a share of the extrapolation from the largest size.
    """
    errors = np.nanstd(values[:, 1:], axis=1)
    points = {
        label: (float(row[0]), float(error))
        for label, row, error in zip(labels, values, errors, strict=True)
    }
    if len(values) == 1:
        text = f"{text}, of one pair or size: not extrapolated"
        return Estimate(name, text, values[0], 0.0, points)
    first, used = 0, min(len(columns), max(1, len(values) - 2))
    line = _line(values, columns, first, used)
    while len(values) - first > 3 and chi_square.sf(line.residual[0], line.dof) < LEAST_PROBABILITY:
        first += 1
        used = min(used, len(values) - first - 2)
        line = _line(values, columns, first, used)
    if first:
        text = f"{text}, without {', '.join(labels[:first])}"
    if used > 1:
        text = f"{text}, with a correction"
    left = len(values) - first
    variants: dict[str, np.ndarray] = {}
    if left > 2:
        fewer = min(used, max(1, left - 3))
        label = f"without {labels[first]}, too"
        variants[label] = _line(values, columns, first + 1, fewer).parameters[0]
    if len(columns) > used and left > used + 1:
        variants["with a correction"] = _line(values, columns, first, used + 1).parameters[0]
    for label, other in (others or {}).items():
        variants[label] = _line(values, other, first, used).parameters[0]
    found = line.parameters[0]
    systematic = max((_beyond_noise(found, one) for one in variants.values()), default=0.0)
    doubt = max(doubt, UNTESTED) if line.dof == 0 else doubt
    systematic = max(systematic, doubt * abs(float(found[0] - values[-1, 0])))
    if line.dof:
        # A line that does not fit is not known as well as it would be if it did.
        worse = np.sqrt(max(float(line.residual[0]) / line.dof, 1.0) - 1.0)
        systematic = float(np.hypot(systematic, worse * np.nanstd(found[1:])))
    return Estimate(
        name, text, found, systematic, points, float(line.residual[0]), line.dof,
        {label: float(one[0]) for label, one in variants.items()},
    )  # fmt: skip


def _beyond_noise(one: np.ndarray, other: np.ndarray) -> float:
    difference = one - other
    return float(np.sqrt(max(difference[0] ** 2 - np.nanvar(difference[1:]), 0.0)))


@dataclass(frozen=True)
class _Line:
    parameters: np.ndarray  # [n_parameters, 1 + n_resamples]
    residual: np.ndarray  # χ², [1 + n_resamples]
    dof: int


def _line(values: np.ndarray, columns: Sequence[np.ndarray], first: int, used: int) -> _Line:
    """Fit of the first columns to the temperatures from number ``first`` on."""
    part = values[first:]
    full = [np.broadcast_to(column, values.shape)[first:] for column in columns[:used]]
    scaled = [column / np.abs(column[:, 0]).max() for column in full]
    design = np.stack([np.ones(part.shape), *scaled], axis=2).transpose(1, 0, 2)
    return _least_squares(part, design)


def _least_squares(values: np.ndarray, design: np.ndarray) -> _Line:
    """Generalised least squares with the covariance of the resamples; design [r, n, p]."""
    kept = np.isfinite(values).all(axis=0)
    again = values[:, 1:][:, kept[1:]]
    covariance = np.atleast_2d(np.cov(again))
    covariance += 1e-9 * np.diag(covariance).mean() * np.eye(len(covariance))
    inverse = np.linalg.inv(covariance)
    normal = np.einsum("rnp,nm,rmq->rpq", design, inverse, design)
    right = np.einsum("rnp,nm,mr->rp", design, inverse, np.nan_to_num(values))
    parameters = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    off = np.nan_to_num(values) - np.einsum("rnp,rp->nr", design, parameters)
    residual = np.einsum("nr,nm,mr->r", off, inverse, off)
    parameters[~kept] = np.nan
    return _Line(parameters.T, residual, len(values) - design.shape[2])
