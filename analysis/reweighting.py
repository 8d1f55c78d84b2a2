"""Averages of one ensemble from samples of another, and whether the samples reach that far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import ConvergenceError, InputError
from .estimates import derived

__all__ = ["LEAST_FRACTION", "Reweighted", "effective_fraction", "reweighted"]

LEAST_FRACTION = 0.05
"""Reweighting is refused where fewer of the draws than this are effective."""


class Reweighted(NamedTuple):
    """A reweighted mean, its standard error, and the share of the draws that it rests on.

    ``ess``, ``rhat`` and ``converged`` are those of the mean's influence series; ``error`` covers
    weights and autocorrelation.
    """

    mean: float
    error: float
    ess: float
    rhat: float
    converged: bool
    effective_fraction: float


def effective_fraction(log_weights: np.ndarray) -> float:
    r"""Share of the draws that carries the weight.

    .. math:: \frac{(\sum_t w_t)^2}{n \sum_t w_t^2},

    1 for equal weights, 1/n where one draw has it all (Kish 1965, Survey Sampling). Draws of weight
    zero (−inf) count.

    Parameters
    ----------
    log_weights
        Logarithms of the weights up to a common constant, any shape.

    Raises
    ------
    InputError
        If a weight is NaN or infinite, all are zero, or there is none.

    Examples
    --------
    >>> effective_fraction(np.array([0.0, 0.0, -np.inf, -np.inf]))
    0.5
    """
    weights = _weights(log_weights)
    return float(weights.sum() ** 2 / (weights.size * (weights**2).sum()))


def reweighted(
    values: np.ndarray, log_weights: np.ndarray, least: float = LEAST_FRACTION
) -> Reweighted:
    r"""Mean of a quantity in another ensemble than the one that was sampled.

    .. math:: ⟨A⟩' = \frac{\sum_t w_t A_t}{\sum_t w_t}, \qquad
              \ln w_t = \ln p'(x_t) - \ln p(x_t) + \text{const}.

    For another potential at the same temperature ln w = −β(E′ − E); for another temperature
    −(β′ − β)E. The mean is biased by about its variance over the effective draws, so that few of
    them are refused rather than averaged.

    Parameters
    ----------
    values
        What is averaged, [draw, chain].
    log_weights
        ln w, [draw, chain].
    least
        The smallest effective fraction that is accepted.

    Raises
    ------
    ConvergenceError
        If the effective fraction is smaller: the two ensembles do not overlap.
    InputError
        If shapes differ, a value is not finite, or the weights cannot be used.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> energy = rng.normal(size=(2000, 4))  # eV, of a normal distribution ...
    >>> found = reweighted(energy, -0.5 * energy)  # ... which e^(-E/2) shifts by -1/2
    >>> abs(found.mean + 0.5) < 4 * found.error, round(found.effective_fraction, 1)
    (True, 0.8)
    """
    values, logs = np.asarray(values, dtype=float), np.asarray(log_weights, dtype=float)
    if values.shape != logs.shape or values.ndim != 2:
        raise InputError(
            f"values of shape {values.shape} and log_weights of shape {logs.shape} do not match: "
            "give both as [draw, chain]"
        )
    if not np.isfinite(values).all():
        raise InputError("values hold NaN or infinity: leave those draws out of both arrays")
    weights, fraction = _weights(logs), effective_fraction(logs)
    if fraction < least:
        raise ConvergenceError(
            f"{100.0 * fraction:.2g} % of the draws are effective, fewer than {100.0 * least:.3g} "
            "%: the ensembles do not overlap; sample nearer to the one that is asked for"
        )
    weights = weights / weights.mean()
    mean = float((weights * values).mean())
    return Reweighted(*derived(mean, weights * (values - mean)), fraction)


def _weights(log_weights: np.ndarray) -> np.ndarray:
    """Weights of which the largest is 1."""
    logs = np.asarray(log_weights, dtype=float)
    if logs.size == 0 or np.isnan(logs).any() or not np.isfinite(logs.max(initial=-np.inf)):
        raise InputError(
            "log_weights need at least one finite number, and no NaN or +infinity: check the "
            "energies that they come from"
        )
    return np.exp(logs - logs.max())
