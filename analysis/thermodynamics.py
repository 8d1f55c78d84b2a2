"""Quantities from the fluctuations of sampled series: heat capacity and Binder cumulant."""

from __future__ import annotations

import numpy as np
from ase.units import kB

from ..errors import InputError
from ..statistics import Summary
from .estimates import derived, summarize_series

__all__ = ["binder_cumulant", "heat_capacity", "mean_energy"]


def mean_energy(energy: np.ndarray) -> Summary:
    """Mean energy of the cell in eV, with its error.

    Parameters
    ----------
    energy
        Total energies in eV, shape [draw, chain].

    Returns
    -------
    Mean, standard error, effective sample size, R-hat and verdict.

    Examples
    --------
    >>> import numpy as np
    >>> energy = np.random.default_rng(0).normal(-5.0, 0.1, size=(400, 4))
    >>> result = mean_energy(energy)
    >>> abs(result.mean + 5.0) < 4 * result.error
    True
    """
    return summarize_series(_series(energy))


def heat_capacity(energy: np.ndarray, temperature: float) -> Summary:
    """Heat capacity of the cell from its configurations, ``C = (⟨E²⟩ − ⟨E⟩²) / (k_B T²)``, in eV/K.

    The mean is taken over all chains. The variance of correlated samples is low by its share of
    the error of the mean; it and its error are scaled by ``n/(n − 1)`` with n the effective sample
    size. The error comes from the autocorrelation of ``(E − ⟨E⟩)²`` (see `estimates.derived`), and
    the verdict requires both E and its square to have converged. Divide by ``ase.units.kB`` and the
    number of sites for k_B per site.

    Parameters
    ----------
    energy
        Total energies in eV, shape [draw, chain], at one temperature.
    temperature
        In K.

    Returns
    -------
    Heat capacity with error, effective sample size, R-hat and verdict.

    Raises
    ------
    InputError
        If the temperature is not positive or there are fewer than four draws.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.units import kB
    >>> energy = np.random.default_rng(3).normal(0.0, 0.2, size=(2000, 4))
    >>> result = heat_capacity(energy, 1000.0)
    >>> abs(result.mean - 0.2**2 / (kB * 1000.0**2)) < 4 * result.error
    True
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature = {temperature} K is not positive; give it in K")
    energy = _series(energy)
    if energy.shape[0] < 4:
        raise InputError(
            f"a heat capacity needs at least 4 draws per chain, not {energy.shape[0]}; "
            "sample longer"
        )
    deviation = energy - energy.mean()
    variance = np.mean(deviation**2)
    mean = summarize_series(energy)
    n = mean.ess if np.isfinite(mean.ess) else energy.size
    factor = (n / (n - 1.0) if n > 1 else 1.0) / (kB * temperature**2)
    result = derived(variance * factor, (deviation**2 - variance) * factor)
    return _with_verdict_of(result, mean)


def binder_cumulant(order_squared: np.ndarray) -> Summary:
    """Fourth-order cumulant ``U = 1 − ⟨m⁴⟩ / (3 ⟨m²⟩²)`` of an order parameter m.

    2/3 in a perfectly ordered state; 0 for an order parameter of one real component that
    fluctuates about zero as a Gaussian (K. Binder, Z. Phys. B 43, 119 (1981),
    doi:10.1007/BF01293604).

    Parameters
    ----------
    order_squared
        m² = |ψ|², shape [draw, chain], as from `ordering_series`.

    Returns
    -------
    U with error, effective sample size, R-hat and verdict.

    Raises
    ------
    InputError
        If a value is negative: m² is wanted, not m.

    Examples
    --------
    >>> import numpy as np
    >>> m = np.random.default_rng(0).normal(size=(5000, 4))
    >>> result = binder_cumulant(m**2)
    >>> abs(result.mean) < 4 * result.error
    True
    """
    m2 = _series(order_squared)
    if (m2 < 0).any():
        raise InputError(f"order_squared holds {m2.min():.3g}; give m² (never negative), not m")
    second, fourth = np.mean(m2), np.mean(m2**2)
    if second == 0:
        return Summary(np.nan, np.nan, np.nan, np.nan, False)
    value = 1.0 - fourth / (3.0 * second**2)
    influence = -(m2**2 - fourth) / (3 * second**2) + 2 * fourth * (m2 - second) / (3 * second**3)
    return _with_verdict_of(derived(value, influence), summarize_series(m2))


def _series(values: np.ndarray) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"a series of shape {array.shape} was given; it must be [draw, chain]")
    if not np.isfinite(array).all():
        raise InputError(
            "the series holds NaN or infinity; remove those samples or find their cause"
        )
    return array


def _with_verdict_of(result: Summary, *others: Summary) -> Summary:
    return result._replace(converged=bool(result.converged and all(o.converged for o in others)))
