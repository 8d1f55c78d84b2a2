"""Sentences about measures of order, which results carry as their attribute ``statement``."""

from __future__ import annotations

import numpy as np
import xarray as xr

__all__ = ["doubt"]

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
