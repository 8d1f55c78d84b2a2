"""Compositions as counts: what varies among them, and in how many ways each can be arranged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, xlogy

from .observations import Observations

__all__ = ["Axis", "axis_of", "fractions_of", "ideal", "ln_arrangements"]


class Axis(NamedTuple):
    """The one fraction along which compositions lie.

    ``name`` is as in "fraction of Ta on B", ``x`` [n_compositions] the fraction, ``size`` the sites
    of its sublattice, ``species`` the two that are exchanged, the one that is counted last.
    """

    name: str
    x: np.ndarray
    size: int
    sublattice: str
    species: tuple[str, str]


def ln_arrangements(observed: Observations, compositions: np.ndarray) -> np.ndarray:
    """Logarithm of the number of arrangements of counts, float64 [n_compositions].

    The product over the sublattices of N_s!/Π_k N_k!.

    Examples
    --------
    >>> cell = Observations((("B", "Sc"), ("B", "Ta")), {"B": 8}, ())
    >>> np.exp(ln_arrangements(cell, np.array([[8, 0], [4, 4]]))).round(6)
    array([ 1., 70.])
    """
    found = sum(float(gammaln(size + 1.0)) for size in observed.sizes.values())
    logs = found - gammaln(np.asarray(compositions, dtype=float) + 1.0).sum(axis=1)
    return np.where(np.abs(logs) < 1e-9, 0.0, logs)


def fractions_of(observed: Observations, compositions: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Columns that tell the compositions apart, and the fractions [n_compositions, n_columns].

    Of every sublattice whose counts vary all kinds but the first that does, whose fraction follows.
    """
    columns: list[int] = []
    for name in observed.sizes:
        own = [n for n, kind in enumerate(observed.kinds) if kind[0] == name]
        varying = [n for n in own if np.ptp(compositions[:, n]) > 0]
        columns += varying[1:]
    sizes = np.array([observed.sizes[observed.kinds[n][0]] for n in columns], dtype=float)
    return columns, compositions[:, columns] / sizes if columns else np.zeros(
        (len(compositions), 0)
    )


def axis_of(observed: Observations, compositions: np.ndarray) -> Axis | None:
    """Return the fraction along which compositions lie, None where there is no or more than one."""
    columns, x = fractions_of(observed, compositions)
    if len(columns) != 1:
        return None
    name, species = observed.kinds[columns[0]]
    other = next(
        k
        for n, (s, k) in enumerate(observed.kinds)
        if s == name and n != columns[0] and np.ptp(compositions[:, n])
    )
    label = f"fraction of {species} on {name}"
    return Axis(label, x[:, 0], observed.sizes[name], name, (other, species))


def ideal(x: np.ndarray) -> np.ndarray:
    """Σ x ln x of two species: −S/k_B of an ideal mixture per site, [n].

    Examples
    --------
    >>> ideal(np.array([0.0, 0.5])).round(4)
    array([ 0.    , -0.6931])
    """
    return np.asarray(xlogy(x, x) + xlogy(1.0 - x, 1.0 - x))
