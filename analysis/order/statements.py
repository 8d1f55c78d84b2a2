"""Sentences about measures of order, which results carry as their attribute ``statement``."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

__all__ = ["doubt", "with_error"]

UNCONVERGED = " It rests on chains that did not converge."
UNVARIED = " What has no error never varied in these draws."
NO_VERDICT = " There is no verdict on convergence: draws are few, or one of each chain."


def doubt(table: xr.Dataset) -> str:
    """Say why numbers are not to be trusted as they stand; empty if all of them have converged.

    Parameters
    ----------
    table
        With ``ess``, ``rhat`` and ``converged``, of whatever shape.

    Examples
    --------
    >>> from alchemc.analysis.estimates import describe
    >>> doubt(describe(xr.DataArray(np.ones((50, 2)), dims=("draw", "chain"))))
    ' What has no error never varied in these draws.'
    """
    bad = ~table["converged"].to_numpy()
    ess, rhat = (table[name].to_numpy()[bad] for name in ("ess", "rhat"))
    moved = ess != 0
    if not bad.any():
        return ""
    if not moved.any():
        return UNVARIED
    return NO_VERDICT if np.isnan(rhat[moved]).all() else UNCONVERGED


def with_error(value: float, error: float, unit: str = "") -> str:
    """Write a number with its error to two digits of the latter.

    Parameters
    ----------
    value, error
        The number and its standard error; NaN if that is unknown.
    unit
        Written behind both.

    Examples
    --------
    >>> with_error(0.61273, 0.0104), with_error(61.273, 1.04, " %"), with_error(2 / 3, math.nan)
    ('0.613 ± 0.010', '61.3 ± 1.0 %', '0.667 (error unknown)')
    """
    if not error > 0 or not math.isfinite(error):
        return f"{value:.3g}{unit} (error unknown)"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{digits}f} ± {error:,.{digits}f}{unit}"
