"""Temperatures of each size, and the estimates for the infinite crystal that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...sublattice import is_number
from .finite_size import (
    Estimate,
    Universality,
    correction_exponent,
    crossing,
    crossing_shift,
    extrapolated,
    peak,
    scaling_exponent,
)
from .multi_histogram import Curves, MultiHistogram
from .order_of_transition import CONTINUOUS, FIRST, UNDECIDED, Barrier, barrier

__all__ = [
    "APART",
    "UNIVERSALITY",
    "Size",
    "cumulant_at",
    "estimates_of",
    "size_of",
    "universality_of",
]

UNIVERSALITY = {
    "3D Ising": Universality("3D Ising", nu=0.629971, omega=0.82966),
    "2D Ising": Universality("2D Ising", nu=1.0, omega=2.0),
}
"""Exponents that may be asked for. In three dimensions those of the conformal bootstrap (F. Kos, D.
Poland, D. Simmons-Duffin and A. Vichi, J. High Energy Phys. 2016, 36, doi:10.1007/JHEP08(2016)036;
D. Simmons-Duffin, J. High Energy Phys. 2017, 86, doi:10.1007/JHEP03(2017)086)."""

ASSUMED_OMEGA = 1.0
PEAKS = {
    "heat capacity": "heat_capacity",
    "susceptibility": "susceptibility",
    "slope of ln⟨m²⟩": "log_slope",
}
CURVE_POINTS = 201
UNCORRECTED = 0.5
"""Share of an extrapolation that is in doubt where sizes are too few to fit a correction."""

APART = 4.0
"""Barrier in k_BT above which two phases are apart: a cell then holds one or the other."""


class Size(NamedTuple):
    """All there is of one size."""

    label: str
    length: float
    histogram: MultiHistogram
    curves: Curves
    barrier: Barrier
    peaks: dict[str, np.ndarray | None]


def size_of(label: str, length: float, histogram: MultiHistogram) -> Size:
    """Curves, maxima and barrier of one size of linear dimension ``length``."""
    curves = histogram.curves(np.linspace(*histogram.range, CURVE_POINTS))
    fields = PEAKS | {"slope of U": "cumulant_slope"}
    peaks = {
        name: peak(histogram, attrgetter(field))
        for name, field in fields.items()
        if getattr(curves, field) is not None
    }
    return Size(label, length, histogram, curves, barrier(histogram, curves), peaks)


def universality_of(given: str | tuple[float, float] | None) -> Universality | None:
    """Exponents by name or as (ν, ω); None where they are to be fitted."""
    if given is None:
        return None
    if isinstance(given, str):
        if given not in UNIVERSALITY:
            raise InputError(
                f"universality {given!r} is unknown; the names are {', '.join(UNIVERSALITY)}, or "
                "give (ν, ω)"
            )
        return UNIVERSALITY[given]
    pair: tuple[Any, ...] = tuple(given) if isinstance(given, Sequence) else ()
    if len(pair) != 2 or not all(is_number(x) and x > 0 for x in pair):
        raise InputError(
            f"universality = {given!r} cannot be used; give a name, or (ν, ω), two positive numbers"
        )
    return Universality("given", float(pair[0]), float(pair[1]))


def estimates_of(
    rows: Sequence[Size], verdict: str, known: Universality | None
) -> tuple[list[Estimate], dict[str, tuple[float, float]]]:
    """Temperatures of the infinite crystal by all ways that suit the verdict, and exponents."""
    if len(rows) == 1:
        return _apparent(rows[0]), {}
    found: list[Estimate] = []
    exponents: dict[str, tuple[float, float]] = {}
    if verdict in {CONTINUOUS, UNDECIDED}:
        continuous, exponents = _continuous(rows, known)
        found += continuous
    if verdict in {FIRST, UNDECIDED}:
        found += _first_order(rows)
    return found, exponents


def _apparent(row: Size) -> list[Estimate]:
    top = row.peaks["heat capacity"]
    if top is None:
        return []
    points = {row.label: (float(top[0, 0]), float(np.nanstd(top[0, 1:])))}
    text = "maximum of the heat capacity of one cell"
    return [Estimate("heat capacity", text, top[0], 0.0, points)]


def _continuous(
    rows: Sequence[Size], known: Universality | None
) -> tuple[list[Estimate], dict[str, tuple[float, float]]]:
    lengths = np.array([row.length for row in rows])
    nus, alternatives = _nu(rows, known)
    if nus is None:
        return [], {}
    found: list[Estimate] = []
    exponents = {"nu": (float(nus[0]), float(np.nanstd(nus[1:])))}
    if rows[0].curves.cumulant is not None:
        crossings, exponents["omega"] = _crossings(rows, nus, known)
        found += crossings
    omega = exponents.get("omega", (ASSUMED_OMEGA, 0.0))[0]
    for name in PEAKS:
        tops = [row.peaks.get(name) for row in rows]
        kept = [k for k, top in enumerate(tops) if top is not None]
        if len(kept) < 2:
            continue
        values = np.stack([top[0] for top in tops if top is not None])
        columns = _shifts(lengths[kept], nus, omega)
        others = {
            label: _shifts(lengths[kept], other, omega) for label, other in alternatives.items()
        }
        text = f"maxima of the {name}, T_c + a L^(−1/ν)"
        labels = [rows[k].label for k in kept]
        doubt = UNCORRECTED if len(kept) < 4 else 0.0
        found.append(extrapolated(name, text, labels, values, columns, others, doubt))
    return found, exponents


def _shifts(lengths: np.ndarray, nu: np.ndarray, omega: float) -> list[np.ndarray]:
    """Leading shift of a maximum and its correction, L^(−1/ν) and L^(−1/ν − ω)."""
    leading = lengths[:, None] ** (-1.0 / nu)
    return [leading, leading * lengths[:, None] ** -omega]


def _nu(
    rows: Sequence[Size], known: Universality | None
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """ν per resample, and other values that it might have."""
    n = rows[0].curves.energy.shape[1]
    if known is not None:
        return np.full(n, known.nu), {}
    found = {}
    for name in ("slope of ln⟨m²⟩", "slope of U"):
        tops = [(row.length, row.peaks.get(name)) for row in rows]
        kept = [(length, top[1]) for length, top in tops if top is not None]
        if len(kept) >= 2:
            heights = np.stack([height for _, height in kept[-2:]])  # corrections are smallest
            exponent = scaling_exponent([length for length, _ in kept[-2:]], heights)
            found[f"ν from the {name}"] = 1.0 / np.clip(exponent, 0.2, 10.0)
    if not found:
        return None, {}
    return np.mean(list(found.values()), axis=0), found


def _crossings(
    rows: Sequence[Size], nus: np.ndarray, known: Universality | None
) -> tuple[list[Estimate], tuple[float, float]]:
    """Estimate from the crossings of neighbouring sizes, and ω with its error."""
    given = (known.omega if known else ASSUMED_OMEGA, 0.0)
    found = [(a, b, crossing(a.histogram, b.histogram)) for a, b in pairwise(rows)]
    kept = [(a, b, values) for a, b, values in found if values is not None]
    if not kept:
        return [], given
    values = np.stack([v for _, _, v in kept])
    pairs = [(a.length, b.length) for a, b, _ in kept]
    omega: np.ndarray | float = given[0]
    others = {}
    if known is None:
        others = {f"ω = {w:g}": [crossing_shift(pairs, nus, w)] for w in (0.5, 2.0)}
    if known is None and len(kept) >= 4:
        omega = correction_exponent(values, pairs, nus)
        given = (float(omega[0]), float(np.std(omega[1:])))
    labels = [f"{a.label} and {b.label.removeprefix('L = ')}" for a, b, _ in kept]
    text = "crossings of the cumulant, with c L^(−ω)"
    shift = crossing_shift(pairs, nus, omega)
    return [extrapolated("Binder crossings", text, labels, values, [shift], others)], given


def _first_order(rows: Sequence[Size]) -> list[Estimate]:
    """Shifts as 1/volume; in doubt by half of them as long as the two phases are not apart."""
    found = []
    doubt = 0.5 if rows[-1].barrier.height[0] < APART else 0.0
    balanced = [
        (row, row.barrier.equal_weight)
        for row in rows
        if np.isfinite(row.barrier.equal_weight).mean() > 0.9
    ]
    tops = [(row, top[0]) for row in rows if (top := row.peaks["heat capacity"]) is not None]
    for name, text, points in (
        ("equal weight", "temperatures of equal weight, T_0 + a/N", balanced),
        ("heat capacity", "maxima of the heat capacity, T_0 + a/N", tops),
    ):
        if len(points) < 2:
            continue
        values = np.stack([v for _, v in points])
        labels = [row.label for row, _ in points]
        shift = np.array([[1.0 / row.histogram.series.n_sites] for row, _ in points])
        columns = [shift, shift**2]
        found.append(extrapolated(name, text, labels, values, columns, doubt=doubt))
    return found


def cumulant_at(
    rows: Sequence[Size], values: np.ndarray, exponents: dict[str, tuple[float, float]]
) -> tuple[float, float] | None:
    """U at the transition of every resample, extrapolated in L^(−ω); of one size as it is."""
    at: list[np.ndarray] = []
    lengths = []
    for row in rows:
        low, high = row.histogram.range
        if row.curves.cumulant is None or not low < values[0] < high:
            continue
        spread = max(6.0 * float(np.nanstd(values[1:])), 1e-6 * values[0])
        t = np.linspace(max(low, values[0] - spread), min(high, values[0] + spread), 41)
        u = row.histogram.curves(t).cumulant
        assert u is not None  # noqa: S101
        at.append(np.array([np.interp(x, t, u[:, r]) for r, x in enumerate(values)]))
        lengths.append(row.length)
    if not at:
        return None
    if len(at) < 3:
        return float(at[-1][0]), float(np.nanstd(at[-1][1:]))
    shift = np.array(lengths)[:, None] ** (-exponents.get("omega", (ASSUMED_OMEGA, 0.0))[0])
    labels = [f"{length:g}" for length in lengths]
    found = extrapolated("U", "", labels, np.stack(at), [shift])
    return found.temperature, found.error
