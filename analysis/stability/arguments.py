"""Checks of the arguments that free energies, averages and diagrams have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InputError
from ...sublattice import is_number, is_whole, shown

__all__ = ["check_cut", "check_resampling", "kelvins", "numbers"]


def numbers(given: Any, what: str) -> np.ndarray:
    """Finite numbers [n] of a number or a sequence of them.

    Raises
    ------
    InputError
        If it is none; ``what`` says what they are and in which unit.
    """
    try:
        values = np.atleast_1d(np.asarray(given, dtype=float))
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InputError(f"{what} is {shown(given)}: give a finite number, or a list of them")
    return values


def kelvins(given: Any) -> np.ndarray:
    """Temperatures [n] in K, in the order in which they are given.

    Raises
    ------
    InputError
        If they are no numbers above 0.

    Examples
    --------
    >>> kelvins(900), kelvins([1200.0, 900.0])
    (array([900.]), array([1200.,  900.]))
    """
    try:
        values = numbers(given, "temperatures")
    except InputError:
        values = np.zeros(1)
    if not (values > 0).all():
        raise InputError(f"temperatures are {shown(given)}: give numbers above 0, in K")
    return values


def check_resampling(resamples: object, seed: object) -> None:
    """Refuse numbers of resamples below 2 and seeds that are none.

    Raises
    ------
    InputError
        If one of them cannot be used.
    """
    if not is_whole(resamples, least=2):
        raise InputError(f"resamples = {shown(resamples)}: give a whole number of 2 or more")
    if not is_whole(seed, least=0):
        raise InputError(f"seed = {shown(seed)}: give a whole number, 0 or more")


def check_cut(cut: object) -> None:
    """Refuse a fraction between two phases that is none.

    Raises
    ------
    InputError
        If it is neither None nor between 0 and 1.
    """
    if cut is not None and not (is_number(cut) and 0 < cut < 1):  # type: ignore[operator]
        raise InputError(f"cut = {shown(cut)}: give a fraction between 0 and 1")
