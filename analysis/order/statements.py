"""Sentences about measures of order, which results carry as their attribute ``statement``."""

from __future__ import annotations

import math

__all__ = ["UNCONVERGED", "with_error"]

UNCONVERGED = " It rests on chains that did not converge."


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
