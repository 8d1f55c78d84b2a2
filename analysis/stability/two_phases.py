"""Two phases by their weights: the chemical potential at which both are as likely, and where."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from ...errors import InputError
from ...sublattice import is_number, shown
from .arguments import numbers
from .composition import Axis
from .free_energies import FreeEnergies
from .tangents import TieLine, matched_errors

__all__ = ["equal_weight", "fraction_distribution"]

_DENT = np.log(2.0)
"""ln of peak over dent, from which on a distribution is said to have two peaks."""


def fraction_distribution(free: FreeEnergies, mu: float, temperature: float) -> np.ndarray:
    """Probability of every composition in a semi-grand ensemble, p(N) ∝ e^{−β[F(N) − μN]}.

    Parameters
    ----------
    free
        Free energies along one fraction.
    mu
        Of the axis' last species less the other, eV.
    temperature
        K, one of ``free.temperatures``.

    Returns
    -------
    float64 [n_compositions], which adds up to one; zero where nothing was sampled.
    """
    t = free.at(temperature)
    axis = free.one_axis()
    at = float(numbers(mu, "mu")[0])
    return _probabilities(free, free.free_energy[t], axis, float(free.beta[t]), at)


def equal_weight(free: FreeEnergies, temperature: float, cut: float = 0.5) -> TieLine | None:
    r"""Two phases in equilibrium, from the two peaks of the distribution of the fraction.

    μ is where both peaks hold half of the probability,

    .. math:: \sum_{x < x_c} e^{−β[F(N) − μN]} = \sum_{x > x_c} e^{−β[F(N) − μN]},

    and the fractions are the means of the two peaks; x_c halfway between these. In a periodic cell
    both are those of a large crystal but for terms that fall exponentially with its size (C. Borgs
    and R. Kotecký, J. Stat. Phys. 61, 79 (1990), doi:10.1007/BF01013955), as long as the cell is
    much larger than the correlation length: no curve is fitted, and compositions between the phases
    need no samples. For small cells, whose peaks run into one another, take `fit_excess`.

    Where interactions do not decay within the cell (every site with every other, as in mean field;
    elastic or Coulomb energies that nothing screens) the terms fall as 1/N only, and the errors,
    which are those of the sampling, do not hold them. In a mean-field regular solution of N sites
    at 0.9 T_c the fractions are off by some 7/N: 0.009 for 800 sites. Compare cells of two sizes.

    Parameters
    ----------
    free
        Free energies along one fraction.
    temperature
        K, one of ``free.temperatures``.
    cut
        A fraction between the phases to start from.

    Returns
    -------
    The tie line, or None where the distribution has one peak.

    Raises
    ------
    InputError
        If no or several fractions vary, the temperature is none of those, or ``cut`` does not lie
        between the fractions that are known.
    """
    t, axis = free.at(temperature), free.one_axis()
    beta = float(free.beta[t])
    known = axis.x[np.isfinite(free.free_energy[t])]
    if not is_number(cut) or not known.min() < cut < known.max():
        raise InputError(
            f"cut = {shown(cut)} has no fractions on both sides: they were sampled from "
            f"{known.min():g} to {known.max():g}"
        )
    own = _balanced(free, free.free_energy[t], axis, beta, cut)
    if own is None:
        return None
    middle = 0.5 * (own[0] + own[1])
    again = [_balanced(free, one[t], axis, beta, middle) for one in free.replicates["free_energy"]]
    errors, certainty = matched_errors(
        np.array([np.full(3, np.nan) if one is None else one for one in again])
    )
    return TieLine(
        float(temperature),
        (float(own[0]), float(own[1])),
        float(own[2]),
        errors,
        certainty,
        False,
        "equal weight",
    )


def _probabilities(
    free: FreeEnergies, f: np.ndarray, axis: Axis, beta: float, mu: float
) -> np.ndarray:
    log = _log_weights(free, f, beta) + beta * mu * axis.x * axis.size
    return np.asarray(np.exp(log - logsumexp(log)))


def _log_weights(free: FreeEnergies, f: np.ndarray, beta: float) -> np.ndarray:
    return np.where(np.isfinite(f), -beta * f * free.cell.n_sites, -np.inf)


def _balanced(
    free: FreeEnergies, f: np.ndarray, axis: Axis, beta: float, cut: float
) -> np.ndarray | None:
    """(x₁, x₂, μ) of equal weight, None if there is one peak."""
    log, x, n = _log_weights(free, f, beta), axis.x, axis.size
    found = np.full(3, np.nan)
    for _ in range(50):
        low = x < cut
        if not np.isfinite(log[low]).any() or not np.isfinite(log[~low]).any():
            return None

        def excess(mu: float, low: np.ndarray = low) -> float:
            tilted = log + beta * mu * n * x
            return float(logsumexp(tilted[~low]) - logsumexp(tilted[low]))

        start = excess(0.0) / (-beta * n * max(float(np.ptp(x)), 1e-9))
        reach = 1.0 / beta
        while excess(start - reach) > 0:
            reach *= 2.0
        while excess(start + reach) < 0:
            reach *= 2.0
        mu = float(brentq(excess, start - reach, start + reach, xtol=1e-13))
        p = np.exp(log + beta * mu * n * x - logsumexp(log + beta * mu * n * x))
        ends = [float(p[side] @ x[side] / p[side].sum()) for side in (low, ~low)]
        before, cut = cut, 0.5 * (ends[0] + ends[1])
        found = np.array([*ends, mu])
        if abs(cut - before) < 0.5 / n:
            break
    return found if _two_peaks(x, p, found[0], found[1]) else None


def _two_peaks(x: np.ndarray, p: np.ndarray, left: float, right: float) -> bool:
    """Whether the distribution dips between its two halves' means."""
    width = 0.1 * (right - left)

    def density(at: float) -> float:
        near = np.abs(x - at) <= max(width, 0.5 * float(np.diff(x).min()))
        return float(p[near].sum() / near.sum()) if near.any() else 0.0

    dent = density(0.5 * (left + right))
    if dent == 0.0:
        return True
    return bool(np.log(min(density(left), density(right)) / dent) > _DENT)
