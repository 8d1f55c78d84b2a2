"""Error bars of correlated samples: autocorrelation, effective sample size, convergence.

Every function takes one scalar series per chain, [n_draws, n_chains] or [n_draws].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._pymbar import quiet_pymbar
from .errors import InputError

__all__ = [
    "MIN_ESS",
    "RHAT_LIMIT",
    "Summary",
    "autocorrelation_time",
    "batch_means_ess",
    "effective_sample_size",
    "equilibration",
    "rhat",
    "smallest_ess",
    "standard_error",
    "summary",
]

RHAT_LIMIT = 1.01
"""Chains whose rank-normalised R-hat is above this have not converged (Vehtari et al. 2021)."""

MIN_ESS = 100
"""Fewer effective samples than this are too few for an error bar to be trusted."""

_MIN_DRAWS = 4


class Summary(NamedTuple):
    """Mean of a sampled quantity, how well it is known, and whether its chains converged.

    ``error`` is one standard error; ``ess`` and ``rhat`` are NaN where they cannot be estimated,
    and ``converged`` is then false.
    """

    mean: float
    error: float
    ess: float
    rhat: float
    converged: bool


def autocorrelation_time(x: np.ndarray) -> float:
    r"""Integrated autocorrelation time in draws.

    .. math:: τ = 1 + 2 \sum_{t ≥ 1} ρ(t)

    cut by Geyer's initial monotone sequence: the sums ρ(2m) + ρ(2m + 1) of a reversible chain are
    positive and fall, so the series ends where they do not (Geyer 1992, doi:10.1214/ss/1177011137).
    ρ is measured about the mean of all chains together, so chains that sit in different places
    count as strongly correlated.

    Parameters
    ----------
    x
        [n_draws, n_chains] or [n_draws].

    Returns
    -------
    τ, at least 1; NaN for fewer than four draws; infinite for a series that never changes, which
    tells nothing about how it would.

    Raises
    ------
    InputError
        If the shape is wrong or a value is not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = np.zeros((20_000, 2))
    >>> for t in range(1, len(x)):  # AR(1) with coefficient 0.8: τ = 1.8/0.2 = 9
    ...     x[t] = 0.8 * x[t - 1] + rng.normal(size=2)
    >>> 7.5 < autocorrelation_time(x) < 10.5
    True
    """
    x = _series(x)
    n_draws = len(x)
    if n_draws < _MIN_DRAWS:
        return float("nan")
    if _constant(x):
        return float("inf")
    covariance = _autocovariance(_standardized(x))
    rho = covariance / covariance[0]
    pairs = rho[: 2 * (n_draws // 2)].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    pairs = pairs[: negative[0]] if len(negative) else pairs
    return float(max(1.0, 2.0 * np.minimum.accumulate(pairs).sum() - 1.0))


def effective_sample_size(x: np.ndarray) -> float:
    """Independent samples that would give the same error of the mean, over all chains.

    The smaller of n/τ (``autocorrelation_time``) and ArviZ's estimate for the mean, and never
    above the number of draws n.

    Parameters
    ----------
    x
        [n_draws, n_chains] or [n_draws].

    Returns
    -------
    NaN for fewer than four draws, 0 for a series that never changes.

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(size=(1000, 4))
    >>> 3000 < effective_sample_size(x) <= 4000
    True
    """
    x = _series(x)
    if len(x) < _MIN_DRAWS:
        return float("nan")
    if _constant(x):
        return 0.0
    import arviz  # noqa: PLC0415  (slow to import)

    own = x.size / autocorrelation_time(x)
    theirs = float(arviz.ess(_standardized(x).T.copy(), method="mean"))
    return float(min(x.size, own, theirs if np.isfinite(theirs) else own))


def batch_means_ess(x: np.ndarray) -> float:
    r"""Effective samples from the spread of batch means, over all chains.

    .. math:: n s^2 / σ^2, \qquad σ^2 = \frac{b}{B − 1} \sum_{j=1}^{B} (\bar x_j − \bar x)^2

    with s² the variance of all n draws and :math:`\bar x_j` the means of the B batches of b = ⌊√m⌋
    successive draws that the chains of m draws hold, about the mean of all chains together (Flegal
    and Jones 2010, doi:10.1214/09-AOS735). It needs no autocorrelations, so it errs in other ways
    than ``effective_sample_size``: too high where b is shorter than the memory of the chain. Never
    above n.

    Parameters
    ----------
    x
        [n_draws, n_chains] or [n_draws].

    Returns
    -------
    NaN for fewer than four draws, 0 for a series that never changes.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> slow = np.repeat(rng.normal(size=(500, 4)), 10, axis=0)  # every value ten times
    >>> 1500 < batch_means_ess(slow) < 2600
    True
    """
    x = _series(x)
    n_draws = len(x)
    if n_draws < _MIN_DRAWS:
        return float("nan")
    if _constant(x):
        return 0.0
    x = _standardized(x)
    length = int(np.sqrt(n_draws))
    kept = x[n_draws % length :]
    means = kept.reshape(-1, length, x.shape[1]).mean(axis=1)
    spread = length * float(means.var(ddof=1))
    return float(x.size * min(1.0, x.var(ddof=1) / spread)) if spread > 0 else float(x.size)


def smallest_ess(x: np.ndarray) -> float:
    """Return the smallest of four estimates of the effective sample size, over all chains.

    ``effective_sample_size`` (n/τ and ArviZ's for the mean), ArviZ's for the bulk (of ranks,
    Vehtari et al. 2021, doi:10.1214/20-BA1221) and ``batch_means_ess``. For claims of efficiency:
    each estimate can be too high by itself.

    Parameters
    ----------
    x
        [n_draws, n_chains] or [n_draws].

    Returns
    -------
    NaN for fewer than four draws, 0 for a series that never changes.

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(size=(1000, 4))
    >>> 3000 < smallest_ess(x) <= effective_sample_size(x)
    True
    """
    ess = effective_sample_size(x)
    if not ess > 0:
        return ess
    import arviz  # noqa: PLC0415  (slow to import)

    bulk = float(arviz.ess(_standardized(_series(x)).T.copy(), method="bulk"))
    return min(ess, batch_means_ess(x), bulk if np.isfinite(bulk) else ess)


def rhat(x: np.ndarray) -> float:
    """Rank-normalised split R-hat: 1 where all chains sample the same distribution.

    ArviZ's, the larger of the bulk and the folded one (Vehtari et al. 2021,
    doi:10.1214/20-BA1221). The halves of a single chain count as two chains.

    Parameters
    ----------
    x
        [n_draws, n_chains] or [n_draws].

    Returns
    -------
    NaN for fewer than four draws per chain, or per half of a single one, and for a series that
    never changes; infinite where nothing changes but from one half of a chain to another.

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(size=(1000, 4))
    >>> rhat(x) < 1.01, rhat(x + np.arange(4)) > 1.5
    (True, True)
    """
    x = _series(x)
    if x.shape[1] == 1:
        half = len(x) // 2
        x = np.concatenate([x[:half], x[len(x) - half :]], axis=1)
    if len(x) < _MIN_DRAWS or _constant(x):
        return float("nan")
    half = len(x) // 2
    if all(_constant(part) for chain in x.T for part in (chain[:half], chain[-half:])):
        return float("inf")
    import arviz  # noqa: PLC0415  (slow to import)

    with np.errstate(divide="ignore", invalid="ignore"):
        return float(arviz.rhat(_standardized(x).T.copy(), method="rank"))


def standard_error(x: np.ndarray) -> float:
    """Return the standard error of the mean of all draws, from the series' own autocorrelation.

    s/√(ESS − 1), with s the standard deviation of all draws about their mean: the spread of few
    effective samples about their own mean is too small by √(1 − 1/ESS). NaN for fewer than four
    draws, fewer than two effective samples, or a series that never changes: its error is unknown,
    not zero.

    Parameters
    ----------
    x
        [n_draws, n_chains] or [n_draws].
    """
    x = _series(x)
    return _error(x, effective_sample_size(x))


def equilibration(x: np.ndarray) -> int:
    """Draw from which on every chain looks equilibrated.

    The latest over the chains of pymbar's choice, which keeps as many uncorrelated samples as
    possible (Chodera 2016, doi:10.1021/acs.jctc.5b00784). It is a heuristic: a chain caught in one
    place looks equilibrated.

    Parameters
    ----------
    x
        [n_draws, n_chains] or [n_draws].

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(size=(400, 2))
    >>> x[:100] += np.linspace(20, 0, 100)[:, None]
    >>> 60 < equilibration(x) < 120
    True
    """
    x = _series(x)
    if len(x) < _MIN_DRAWS or _constant(x):
        return 0
    timeseries = quiet_pymbar("timeseries")
    skip = max(1, len(x) // 100)
    return max(int(timeseries.detect_equilibration(chain, nskip=skip)[0]) for chain in x.T)


def summary(x: np.ndarray) -> Summary:
    """Mean, standard error, ESS and R-hat of a series, with a verdict.

    Converged means R-hat below 1.01 and at least 100 effective samples. A series that never changes
    is not called converged: it holds no evidence.

    Parameters
    ----------
    x
        [n_draws, n_chains] or [n_draws].

    Examples
    --------
    >>> result = summary(np.random.default_rng(1).normal(5.0, 1.0, size=(1000, 4)))
    >>> result.converged, abs(result.mean - 5.0) < 4 * result.error
    (True, True)
    """
    x = _series(x)
    ess, r = effective_sample_size(x), rhat(x)
    return Summary(
        mean=float(x.mean()) if x.size else float("nan"),
        error=_error(x, ess),
        ess=ess,
        rhat=r,
        converged=bool(r < RHAT_LIMIT and ess >= MIN_ESS),
    )


def _error(x: np.ndarray, ess: float) -> float:
    return float(x.std() / np.sqrt(ess - 1.0)) if ess >= 2.0 else float("nan")


def _series(x: np.ndarray) -> np.ndarray:
    try:
        series = np.asarray(x).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError):
        raise InputError("series holds no real numbers: give one real scalar per draw") from None
    series = series[:, None] if series.ndim == 1 else series
    if series.ndim != 2 or series.shape[1] == 0:
        raise InputError(
            f"series of shape {series.shape}: expected [n_draws, n_chains], one scalar per draw"
        )
    if not np.isfinite(series).all():
        value = series[~np.isfinite(series)][0]
        raise InputError(f"series holds {value}: give finite values (drop missing draws first)")
    return series


def _standardized(x: np.ndarray) -> np.ndarray:
    """Deviations from the mean in units of the largest: no offset is left to round them away.

    Rounded to 1e-9 of it: arrangements that symmetry makes equal have energies that differ by
    rounding, and ranks would take that for a difference between chains.
    """
    centred = x - x.mean()
    return np.asarray(np.round(centred / np.abs(centred).max(), 9) + 0.0)


def _constant(x: np.ndarray) -> bool:
    """Whether the series varies by no more than rounding."""
    return bool(np.ptp(x) <= 1e-12 * np.abs(x).max())


def _autocovariance(centred: np.ndarray) -> np.ndarray:
    """Autocovariance at every lag, averaged over chains, [n_draws], by FFT."""
    n_draws = len(centred)
    transform = np.fft.rfft(centred, n=2 * n_draws, axis=0)
    products = np.fft.irfft(np.abs(transform) ** 2, axis=0)[:n_draws]
    return np.asarray(products.mean(axis=1) / n_draws)
