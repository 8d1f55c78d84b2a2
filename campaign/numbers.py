"""Numbers with their errors as text, for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["compact", "decisive_numbers", "measured", "verdict", "worst"]

DECIMALS_WITHOUT_ERROR = 4


def measured(number: Mapping[str, Any] | None) -> str:
    """Mean and error, the error to two digits.

    Examples
    --------
    >>> measured({"mean": -38.123456, "error": 0.00123})
    '-38.1235 ± 0.0012'
    >>> measured({"mean": 0.5, "error": None})
    '0.5000 ± ?'
    >>> measured(None)
    '–'
    """
    if number is None or number["mean"] is None:
        return "–"
    mean, error = _to_two_digits(number)
    return mean if _certain(number) else f"{mean} ± {error}"


def compact(number: Mapping[str, Any] | None) -> str:
    """Mean with its error in parentheses: two digits, in units of the last ones if below 1.

    Examples
    --------
    >>> compact({"mean": -38.123456, "error": 0.00123}), compact({"mean": 3.4444, "error": 1.24})
    ('-38.1235(12)', '3.4(1.2)')
    >>> compact({"mean": 22622.4, "error": 282.0})
    '22,622(282)'
    >>> compact({"mean": 0.75, "error": 0.0996}), compact({"mean": 0.0, "error": None})
    ('0.75(10)', '0.0000(?)')
    >>> compact({"mean": 0.0, "error": None, "converged": True})  # a pure phase
    '0'
    """
    if number is None or number["mean"] is None:
        return "–"
    mean, error = _to_two_digits(number)
    if _certain(number):
        return mean
    return f"{mean}({error.replace('.', '').lstrip('0') if error.startswith('0.') else error})"


def worst(point: Mapping[str, Any]) -> tuple[str, str]:
    """Least ESS and largest R-hat of what a point's verdict rests on.

    Energy and orders, or energy and fractions where the composition fluctuates.

    Examples
    --------
    >>> energy, order = {"ess": 1704.6, "rhat": 1.0}, {"ess": 99.8, "rhat": None}
    >>> worst({"energy": energy, "orders": {"rock-salt": order}})
    ('99', '–')
    """
    decisive = list(decisive_numbers(point).values())
    sizes, rhats = ([number[name] for number in decisive] for name in ("ess", "rhat"))
    return (
        "–" if None in sizes or not sizes else f"{math.floor(min(sizes)):,}",
        "–" if None in rhats or not rhats else f"{max(rhats):.3f}",
    )


def verdict(point: Mapping[str, Any]) -> str:
    """Say whether a point converged, in a word.

    Examples
    --------
    >>> verdict({"converged": True, "pure": "Zr on B"}), verdict({"converged": False})
    ('pure', 'no')
    """
    if not point["converged"]:
        return "no"
    return "pure" if point.get("pure") else "yes"


def decisive_numbers(point: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Numbers that have to converge for a point to count, by name; the energy if it is known."""
    others = point.get("fractions") or point["orders"]
    known = others and "mean" in point["energy"] and point["energy"]["mean"] is None
    return dict(others) if known else {"energy": point["energy"], **others}


def _certain(number: Mapping[str, Any]) -> bool:
    """Whether a number has no error because nothing varies in a pure phase."""
    return number["error"] is None and bool(number.get("converged"))


def _to_two_digits(number: Mapping[str, Any]) -> tuple[str, str]:
    """Mean and error with as many decimals as two digits of the error have."""
    mean, error = number["mean"], number["error"]
    if _certain(number) and mean == round(mean):
        return f"{mean:.0f}", "?"
    if not error:
        return f"{mean:.{DECIMALS_WITHOUT_ERROR}f}", "?"
    exponent = math.floor(math.log10(float(f"{error:.1e}")))  # of the rounded error: 0.0996 is 0.10
    decimals = max(0, 1 - exponent)
    return f"{mean:,.{decimals}f}", f"{error:.{decimals}f}"
