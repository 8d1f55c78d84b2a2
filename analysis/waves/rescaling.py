"""The size of the interactions, from exact energies of random arrangements."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import InputError
from .couplings import Couplings

__all__ = ["MeanFieldTemperature", "Rescaling", "arrangements", "regression"]


class Rescaling(NamedTuple):
    """How the energies of V compare with exact ones of random arrangements.

    ``slope`` of the exact energies on those of V, with its standard ``error``; ``correlation``;
    ``scatter`` of what is left in eV per cell; ``n`` arrangements.
    """

    slope: float
    error: float
    correlation: float
    scatter: float
    n: int


class MeanFieldTemperature(NamedTuple):
    """Temperature in K at which a random arrangement becomes unstable, by mean-field theory.

    ``error`` is that of the rescaling alone; ``label`` says which positions and which theory.
    """

    kelvin: float
    error: float
    label: str


def arrangements(couplings: Couplings, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random occupations [n, n_sites] with one count of every species per class of sites.

    Sites of a class feel the same field, so that energies differ by interactions alone.
    """
    lattice, mean = couplings.lattice, couplings.mean
    states = np.zeros((n, lattice.n_sites), dtype=np.int8)
    alike = np.column_stack([lattice.classes, mean.round(9)])
    _, group = np.unique(alike, axis=0, return_inverse=True)
    for label in range(group.max() + 1):
        sites = np.flatnonzero(group.ravel() == label)
        exact = mean[sites[0]] * len(sites)
        counts = np.floor(exact + 1e-9).astype(int)
        short = len(sites) - counts.sum()
        counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
        species = np.repeat(np.arange(len(counts), dtype=np.int8), counts)
        states[:, sites] = rng.permuted(np.tile(species, (n, 1)), axis=1)
    return states


def regression(x: np.ndarray, y: np.ndarray) -> Rescaling:
    """Slope of y on x by least squares, with its standard error."""
    n = len(x)
    dx, dy = x - x.mean(), y - y.mean()
    square = float(dx @ dx)
    if square < 1e-16 * n or float(dy @ dy) < 1e-24 * n:
        raise InputError(
            "all arrangements of this cell have one energy, so V cannot be compared with them; "
            "give a larger supercell"
        )
    slope = float(dx @ dy) / square
    left = float(((dy - slope * dx) ** 2).sum())
    error = float(np.sqrt(left / (n - 2) / square))
    correlation = float(dx @ dy / np.sqrt(square * (dy @ dy)))
    return Rescaling(slope, error, correlation, float(np.sqrt(left / (n - 2))), n)
