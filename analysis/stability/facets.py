"""Tie lines as facets of the convex hull of the free energies themselves, without a curve."""

from __future__ import annotations

import numpy as np

from .composition import Axis
from .free_energies import FreeEnergies, error_of
from .hull import lower_hull
from .tangents import TieLine, matched_errors, matching

__all__ = ["hull_lines"]

LEAST_DEPTH = 4.0
"""Standard errors by which the compositions on a facet lie above it, else it is noise."""


def hull_lines(free: FreeEnergies, temperature: float) -> list[TieLine]:
    """Two-phase fields between the corners of the hull of F(x), from the lowest fraction up.

    For what no smooth curve describes: ordered compounds and the phases beside them. A facet
    counts where some composition between its corners lies above it by four standard errors of
    their difference. Corners are compositions of the cell: half the step between compositions, as
    the spread of a uniform distribution, is part of their error.

    Parameters
    ----------
    free
        Free energies along one fraction.
    temperature
        K, one of ``free.temperatures``.

    Returns
    -------
    Tie lines of the method "hull"; none where one phase is stable at every fraction.

    Raises
    ------
    InputError
        If no or several fractions vary, or the temperature is none of those.
    """
    t, axis = free.at(temperature), free.one_axis()
    known = np.flatnonzero(np.isfinite(free.free_energy[t]))
    known = known[np.argsort(axis.x[known])]
    x, f = axis.x[known], free.free_energy[t, known]
    again = free.replicates["free_energy"][:, t, known]
    again = np.where(np.isfinite(again), again, f)
    others = [_facets(x, one) for one in again]
    step = float(np.diff(x).min(initial=1.0)) / np.sqrt(12.0)
    found = []
    for left, right in _facets(x, f):
        if _depth(x, f, again, left, right) < LEAST_DEPTH:
            continue
        line = _line(free, axis, x, f, (left, right))
        rows = [
            [_line(free, axis, x, one, pair) for pair in pairs]
            for one, pairs in zip(again, others, strict=True)
        ]
        (a, b, mu), certainty = matched_errors(np.array([matching(line, row) for row in rows]))
        errors = (float(np.hypot(a, step)), float(np.hypot(b, step)), mu)
        ends = (float(line[0]), float(line[1]))
        found.append(
            TieLine(float(temperature), ends, float(line[2]), errors, certainty, False, "hull")
        )
    return found


def _facets(x: np.ndarray, f: np.ndarray) -> list[tuple[int, int]]:
    """Corners of the facets that pass over a composition."""
    pairs = lower_hull(x, f).facets
    return [(int(a), int(b)) for a, b in pairs if b - a > 1]


def _depth(x: np.ndarray, f: np.ndarray, again: np.ndarray, left: int, right: int) -> float:
    """Height over a facet of what lies highest above it, in standard errors."""
    inner = np.arange(left + 1, right)
    share = (x[inner] - x[left]) / (x[right] - x[left])
    above = f[inner] - (1 - share) * f[left] - share * f[right]
    parts = again[:, inner] - (1 - share) * again[:, [left]] - share * again[:, [right]]
    error = np.maximum(error_of(parts), 1e-12)
    return float(np.nanmax(above / error))


def _line(
    free: FreeEnergies, axis: Axis, x: np.ndarray, f: np.ndarray, pair: tuple[int, int]
) -> np.ndarray:
    left, right = pair
    slope = (f[right] - f[left]) / (x[right] - x[left])
    return np.array([x[left], x[right], slope * free.cell.n_sites / axis.size])
