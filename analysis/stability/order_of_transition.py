"""Whether a transition is continuous or of first order: barriers, heat capacities and cumulants."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from ase.units import kB

from ..wording import with_error
from .multi_histogram import Curves, MultiHistogram

__all__ = ["LOW", "Barrier", "Evidence", "barrier", "order_of_transition"]

CONTINUOUS, FIRST, UNDECIDED = "continuous", "first order", "undecided"
SIGMAS = 3.0
HALF = 0.5
SMOOTHING = 0.1  # standard deviation of the kernel over that of the energy
GRID, MOST_GRID = 160, 1000
LEAST_COUNT = 30.0  # samples within the kernel, for the distribution to be looked at
CLEAR, LOW = 0.5, 1.0  # barriers in k_BT
STEEP, FLAT = 0.75, 0.5  # exponents of the heat capacity over the dimension


class Barrier(NamedTuple):
    """Two peaks of one size's energy distribution, each array [1 + n_resamples].

    ``height`` is ln(P_max/P_min) at equal heights, 0 where there is one peak; ``equal_height`` and
    ``equal_weight`` are the temperatures of equal peaks, ``latent_heat`` the distance in eV per
    site of the two sides' mean energies at equal weight; NaN where there is one peak. ``energy``
    (eV per site) and ``distribution`` are P(E) at equal height, or at the maximum of the heat
    capacity where there is one peak, of all samples and with P_max = 1.
    """

    height: np.ndarray
    equal_height: np.ndarray
    equal_weight: np.ndarray
    latent_heat: np.ndarray
    energy: np.ndarray
    distribution: np.ndarray

    @property
    def error(self) -> float:
        """Standard error of ``height``, in which what resamples have more of counts as well."""
        again = self.height[1:]
        return float(np.hypot(again.std(), again.mean() - self.height[0]))


class Evidence(NamedTuple):
    """One test of the order of a transition: which verdict it ``favours``, or None, and why."""

    name: str
    favours: str | None
    text: str


def barrier(histogram: MultiHistogram, curves: Curves) -> Barrier:
    r"""Free-energy barrier between two peaks of the energy distribution, and where they balance.

    P(E) is smoothed by a Gaussian of a tenth of its standard deviation, or a fifth of that of the
    narrower of two clear peaks; a level that stands alone, by its distance to the next. The line
    that touches ln P from above on both sides of a dent changes β until the peaks are as high as
    one another, and the largest depth of the dent below it is

    .. math:: ΔF = \ln(P_\text{max}/P_\text{min})

    (J. Lee and J. M. Kosterlitz, Phys. Rev. Lett. 65, 137 (1990), doi:10.1103/PhysRevLett.65.137).

    Parameters
    ----------
    histogram
        Of one size.
    curves
        Its curves. Dents count where the heat capacity is at least half of the largest: cold
        cells have few and uneven levels, which are no phases.

    Returns
    -------
    The deepest dent for all samples and for each resample.
    """
    bins = histogram.energies
    temperature, around = _peak_of(curves)
    weight = histogram.weights([temperature])[0]
    change = np.exp(histogram.log_denominator[0] - histogram.log_denominator)
    p = weight * change * histogram.sums[0]
    width = _width(bins, p[0])
    grid, logs = _smoothed(histogram, weight, p, SMOOTHING * width)
    beta = 1.0 / (kB * temperature)
    limits = tuple(1.0 / (kB * t) - beta for t in reversed(around))
    _, bottom, _, depth, _ = _deepest(grid, logs[0], limits)
    if depth > CLEAR:  # peaks that stand apart are narrower than both together
        low = bins < grid[bottom]
        narrower = min(_width(bins[side], p[0][side]) for side in (low, ~low))
        grid, logs = _smoothed(histogram, weight, p, SMOOTHING * min(width, 2.0 * narrower))
    dents = [_deepest(grid, row, limits) for row in logs]
    height = np.array([dent[3] for dent in dents])
    slope = np.array([dent[4] if dent[3] > 0 else np.nan for dent in dents])
    equal_height = 1.0 / (kB * (beta + slope))
    shape = logs[0] - (slope[0] if height[0] > 0 else 0.0) * grid
    weigh, latent = _equal_weight(histogram, grid, dents[0], equal_height[0])
    return Barrier(
        height=height,
        equal_height=equal_height,
        equal_weight=weigh,
        latent_heat=latent,
        energy=grid / histogram.series.n_sites,
        distribution=np.exp(shape - shape.max()),
    )


def order_of_transition(
    lengths: Sequence[float],
    dimension: int,
    barriers: Sequence[Barrier],
    curves: Sequence[Curves],
) -> tuple[str, list[Evidence]]:
    """Decide whether a transition is continuous or of first order, from several sizes.

    1. The barrier of a first-order transition is an interface and grows as L^(d−1); at a continuous
       one it stays as it is, or there is none (Lee and Kosterlitz 1990). It counts as growing if
       it is above zero at the largest size, and above that of the smallest, by three errors each.
    2. The maximum of the heat capacity per site grows as L^d at a first-order transition (M. S. S.
       Challa, D. P. Landau and K. Binder, Phys. Rev. B 34, 1841 (1986),
       doi:10.1103/PhysRevB.34.1841), as L^(α/ν) at a continuous one.
    3. The cumulant has a minimum above a first-order transition that falls with size (K. Vollmayr,
       J. D. Reger, M. Scheucher and K. Binder, Z. Phys. B 91, 113 (1993),
       doi:10.1007/BF01316713).

    The barrier decides, unless the heat capacity contradicts it. A transition that is weakly of
    first order looks continuous in cells smaller than its correlation length.

    Parameters
    ----------
    lengths
        L of every size, rising.
    dimension
        d.
    barriers, curves
        Of every size.

    Returns
    -------
    "continuous", "first order" or "undecided", and the evidence in words.
    """
    if len(lengths) < 2:
        text = "One size cannot tell the order of a transition."
        return UNDECIDED, [Evidence("sizes", None, text)]
    evidence = [_of_barriers(barriers), _of_heat_capacity(lengths, dimension, curves)]
    if curves[0].cumulant is not None:
        evidence.append(_of_cumulant(curves))
    first, second = evidence[0].favours, evidence[1].favours
    agree = first is not None and second in (first, None)
    return (first or UNDECIDED) if agree else UNDECIDED, evidence


def _of_barriers(barriers: Sequence[Barrier]) -> Evidence:
    heights = np.array([one.height[0] for one in barriers])
    errors = np.array([one.error for one in barriers])
    listed = ", ".join(with_error(h, e) for h, e in zip(heights, errors, strict=True))
    growth, error = heights[-1] - heights[0], float(np.hypot(errors[0], errors[-1]))
    seen = heights[-1] > SIGMAS * errors[-1]
    if seen and growth > SIGMAS * error and heights[-1] > heights[-2]:
        text = f"The barrier between two peaks of the energy grows with size: {listed} k_BT."
        return Evidence("barrier", FIRST, text)
    if not seen and growth < SIGMAS * error and heights[-1] + 2.0 * errors[-1] < LOW:
        text = (
            f"At the largest size the energy has one peak within errors (barriers {listed} k_BT)."
        )
        return Evidence("barrier", CONTINUOUS, text)
    if seen and growth < 0 and -growth > error:
        text = f"The barrier between two peaks of the energy does not grow: {listed} k_BT."
        return Evidence("barrier", CONTINUOUS, text)
    text = f"Barriers of {listed} k_BT neither vanish nor grow beyond their errors."
    return Evidence("barrier", None, text)


def _of_heat_capacity(
    lengths: Sequence[float], dimension: int, curves: Sequence[Curves]
) -> Evidence:
    peaks = np.log([curve.heat_capacity.max(axis=0) for curve in curves])  # [size, resample]
    x = np.log(np.asarray(lengths))[-3:]
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    exponents = weights @ peaks[-3:]
    value, error = float(exponents[0]), float(exponents[1:].std())
    text = f"The maximum of the heat capacity per site grows as L^({with_error(value, error)})"
    if value - 2 * error > STEEP * dimension:
        return Evidence("heat capacity", FIRST, f"{text}, nearly as the volume, L^{dimension}.")
    if value + 2 * error < FLAT * dimension:
        return Evidence("heat capacity", CONTINUOUS, f"{text}, far from the volume, L^{dimension}.")
    return Evidence("heat capacity", None, f"{text}, which decides nothing.")


def _of_cumulant(curves: Sequence[Curves]) -> Evidence:
    depths, errors = [], []
    for curve in curves:
        assert curve.cumulant is not None  # noqa: S101  (all sizes have one, or none)
        u = curve.cumulant
        depth = np.minimum(u[0], u[-1]) - u.min(axis=0)
        depths.append(float(depth[0]))
        errors.append(float(np.hypot(depth[1:].std(), depth[1:].mean() - depth[0])))
    if not any(depths):
        return Evidence("cumulant", None, "The cumulant has no minimum at any size.")
    listed = ", ".join(
        with_error(d, e) if e > 0 else f"{d:.2g}" for d, e in zip(depths, errors, strict=True)
    )
    deepens = depths[-1] - depths[0] > SIGMAS * np.hypot(errors[0], errors[-1])
    if depths[-1] > SIGMAS * errors[-1] and deepens:
        text = f"The cumulant has a minimum that deepens with size: {listed}."
        return Evidence("cumulant", FIRST, text)
    return Evidence("cumulant", None, f"The cumulant has no minimum that deepens ({listed}).")


# ---- the two peaks of one size


def _peak_of(curves: Curves) -> tuple[float, tuple[float, float]]:
    """Temperature of the largest heat capacity, and the range where it is at least half of it."""
    capacity, t = curves.heat_capacity[:, 0], curves.temperatures
    top = int(np.argmax(capacity))
    low = capacity < HALF * capacity[top]
    below, above = np.flatnonzero(low[:top]), np.flatnonzero(low[top:])
    first = int(below[-1]) if len(below) else 0
    last = top + int(above[0]) if len(above) else len(t) - 1
    return float(t[top]), (float(t[first]), float(t[last]))


def _width(energies: np.ndarray, weights: np.ndarray) -> float:
    """Return the standard deviation of the energy."""
    shares = weights / weights.sum()
    return float(np.sqrt(shares @ (energies - shares @ energies) ** 2))


def _smoothed(
    histogram: MultiHistogram, weight: np.ndarray, p: np.ndarray, narrow: float
) -> tuple[np.ndarray, np.ndarray]:
    """Grid of energies and ln P there, [n_rows, n_grid], up to a constant.

    Nowhere less than a single sample would give, so that a dent that was never visited is as deep
    as is known; the ends, where few samples lie, are cut off.
    """
    bins = histogram.energies
    mean, width = float(p[0] @ bins / p[0].sum()), _width(bins, p[0])
    low, high = max(bins[0], mean - 4 * width), min(bins[-1], mean + 4 * width)
    grid = np.linspace(low, high, int(np.clip(4 * (high - low) / narrow, GRID, MOST_GRID)))
    widths = np.maximum(narrow, np.gradient(bins))  # levels that stand alone are no phases
    kernel = np.exp(-0.5 * ((grid[:, None] - bins) / widths) ** 2) * (narrow / widths)
    seen = np.flatnonzero(kernel @ histogram.sums[0][0] >= LEAST_COUNT)
    kept = slice(int(seen[0]), int(seen[-1]) + 1)
    with np.errstate(divide="ignore"):
        single = np.interp(grid[kept], bins, np.log(weight))
        return grid[kept], np.maximum(np.log(p @ kernel[kept].T), single)


def _deepest(
    x: np.ndarray, y: np.ndarray, limits: tuple[float, ...]
) -> tuple[int, int, int, float, float]:
    """Deepest dent of y below its concave hull: its left end, bottom, right end, depth, slope.

    Slopes outside of the ``limits`` belong to temperatures that were not sampled.
    """
    hull = [0]
    for n in range(1, len(x)):
        while len(hull) > 1 and (
            (y[hull[-1]] - y[hull[-2]]) * (x[n] - x[hull[-2]])
            <= (y[n] - y[hull[-2]]) * (x[hull[-1]] - x[hull[-2]])
        ):
            hull.pop()
        hull.append(n)
    best = (0, 0, 0, 0.0, 0.0)
    for left, right in pairwise(hull):
        if right - left < 2:
            continue
        slope = (y[right] - y[left]) / (x[right] - x[left])
        if not limits[0] <= slope <= limits[1]:
            continue
        depths = y[left] + slope * (x[left : right + 1] - x[left]) - y[left : right + 1]
        bottom = int(depths.argmax())
        if depths[bottom] > best[3]:
            best = (left, left + bottom, right, float(depths[bottom]), float(slope))
    return best


def _equal_weight(
    histogram: MultiHistogram,
    grid: np.ndarray,
    dent: tuple[int, int, int, float, float],
    guess: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Temperatures at which both sides of the dent weigh the same, and their latent heats.

    C. Borgs and R. Kotecký, J. Stat. Phys. 61, 79 (1990), doi:10.1007/BF01013955.
    """
    nothing = np.full(len(histogram.sums[0]), np.nan)
    left, bottom, right, height, _ = dent
    if height <= 0 or not np.isfinite(guess):
        return nothing, nothing
    low = histogram.energies < grid[bottom]
    reach = 8.0 * kB * guess / (grid[right] - grid[left])
    t = np.linspace(guess * (1 - min(reach, 0.5)), guess * (1 + reach), 201)
    t = t[(t >= histogram.range[0]) & (t <= histogram.range[1])]
    if len(t) < 3:
        return nothing, nothing
    weights = histogram.weights(t)
    held = np.exp(histogram.log_denominator[0] - histogram.log_denominator) * histogram.sums[0]
    x = histogram.energies - histogram.energies.mean()
    cold, hot = (weights[:, side] @ held[:, side].T for side in (low, ~low))
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.log(cold) - np.log(hot)  # falls as T rises
        distance = (weights[:, ~low] @ (held * x)[:, ~low].T) / hot
        distance -= (weights[:, low] @ (held * x)[:, low].T) / cold
    found, latent = nothing.copy(), nothing.copy()
    for r in range(len(found)):
        place = np.flatnonzero((excess[:-1, r] > 0) & (excess[1:, r] <= 0))
        if len(place):
            k = int(place[0])
            share = excess[k, r] / (excess[k, r] - excess[k + 1, r])
            found[r] = t[k] + share * (t[k + 1] - t[k])
            latent[r] = distance[k, r] + share * (distance[k + 1, r] - distance[k, r])
    return found, latent / histogram.series.n_sites
