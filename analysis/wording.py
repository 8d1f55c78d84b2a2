"""Numbers in sentences: to the digits of their errors, and with the noun in its number."""

from __future__ import annotations

import math

__all__ = ["counted", "decimals", "with_error"]


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun.

    Parameters
    ----------
    number
        How many.
    one, many
        The noun for one, and for several; an "s" more unless given.

    Examples
    --------
    >>> counted(1, "draw"), counted(12_000, "draw"), counted(2, "energy", "energies")
    ('1 draw', '12,000 draws', '2 energies')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def decimals(error: float) -> int:
    """Digits behind the point up to the second one of an error; 0 for one of ten or more.

    Examples
    --------
    >>> decimals(0.0312), decimals(4.2), decimals(120.0)
    (3, 1, 0)
    """
    return max(0, 1 - math.floor(math.log10(error)))


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
    >>> with_error(1047.0815, 0.314), with_error(1047.0815, math.nan, " K")
    ('1,047.08 ± 0.31', '1,047 K (error unknown)')
    """
    if not error > 0 or not math.isfinite(error):
        known = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        return f"{known}{unit} (error unknown)"
    digits = decimals(error)
    return f"{value:,.{digits}f} ± {error:,.{digits}f}{unit}"
