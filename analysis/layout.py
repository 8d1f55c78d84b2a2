"""What the points of a run differ in: the coordinate along which they lie, directions, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError

__all__ = [
    "TEMPERATURE",
    "Layout",
    "Place",
    "coordinates_of",
    "few",
    "layout",
    "symbol_of",
    "unit_of",
]

_SYMBOLS = {"mu": "μ", "phi": "φ"}
_SCANNED_IN = {"chemical_potentials": "mu", "phi": "phi"}
"""Keys of a campaign's ensemble that may hold a list, and the prefix of the coordinate."""
SWEEP, TEMPERATURE = "sweep", "temperature"


class Place(NamedTuple):
    """Where a point stands: its value along the axis, its curve, and the direction of travel.

    ``curve`` counts the sets of other coordinates; ``direction`` is "up" or "down", None where it
    cannot be told.
    """

    value: float
    curve: int
    direction: str | None


class Layout(NamedTuple):
    """How the points of a run lie.

    ``axis`` is the coordinate that runs along each curve, ``title`` its name with the unit;
    ``curves`` name what tells the curves apart ("" if there is one); ``places`` are the points'.
    ``labels`` name the points in plain text, ``written`` as people write. ``returns`` says
    whether any curve was travelled both ways.
    """

    axis: str
    title: str
    curves: tuple[str, ...]
    places: tuple[Place, ...]
    labels: tuple[str, ...]
    written: tuple[str, ...]
    returns: bool


def coordinates_of(points: Sequence[Any]) -> list[dict[str, float]]:
    """Scalar coordinates of Datasets.

    Raises
    ------
    InputError
        If a point has no temperature, or one that fell along the way.
    """
    found = []
    for point in points:
        if "bath_temperature" in point:
            raise InputError(
                "the temperature of the run fell along the way, so that no average belongs to any: "
                "take ensembles.lowest of it, or Tempering for averages at each temperature"
            )
        if TEMPERATURE not in point.coords:
            raise InputError("a point of the run has no temperature; set the coordinate in K")
        scalars = {str(name): float(v) for name, v in point.coords.items() if not v.ndim}
        found.append(dict(sorted(scalars.items(), key=lambda e: (e[0] != TEMPERATURE, e[0]))))
    return found


def layout(
    coordinates: Sequence[Mapping[str, float]], config: Mapping[str, Any] | None = None
) -> Layout:
    """Find what a run scans, and name its points.

    The axis is the chemical potential or φ that takes several values (or is a list in ``config``),
    else the temperature.

    Parameters
    ----------
    coordinates
        Scalar coordinates of the points, in the order in which they were sampled.
    config
        Settings of the run, as far as they are known.

    Examples
    --------
    >>> there = [{"temperature": 900.0, "mu_B_Ta": mu, "sweep": 0.0} for mu in (-0.1, 0.1)]
    >>> back = [{"temperature": 900.0, "mu_B_Ta": mu, "sweep": 1.0} for mu in (0.1, -0.1)]
    >>> found = layout([*there, *back])
    >>> found.title, found.labels[2]
    ('μ(Ta) on B (eV)', '900 K, μ(Ta) on B = 0.1 eV, down')
    >>> zero = [{"temperature": 900.0, "phi_B_Ta": phi} for phi in (-0.5, 2.2e-16, 0.5)]
    >>> layout(zero).labels[1]
    '900 K, φ(Ta) on B = 0'
    """
    # Values that differ by rounding, as those of a range counted from either end may, are one.
    coordinates = _rounded(coordinates)
    axis = _axis(coordinates, config or {})
    others = sorted(name for name in _varying(coordinates) if name not in {axis, SWEEP})
    keys = [tuple(sorted((n, c[n]) for n in c if n not in {axis, SWEEP})) for c in coordinates]
    curves = list(dict.fromkeys(keys))
    directions = _directions(coordinates, axis, keys)
    ways = {c.get(SWEEP) for c in coordinates}
    returns = len(ways - {None}) > 1
    places = tuple(
        Place(float(c.get(axis, np.nan)), curves.index(key), direction)
        for c, key, direction in zip(coordinates, keys, directions, strict=True)
    )

    def label(point: Mapping[str, float], direction: str | None, form: str = "g") -> str:
        parts = [f"{point[TEMPERATURE]:{form}} K"]
        shown = [n for n in [axis, *others] if n != TEMPERATURE and n in point]
        parts += [f"{symbol_of(n)} = {point[n]:g}{_spaced(unit_of(n))}" for n in shown]
        return ", ".join([*parts, direction] if returns and direction else parts)

    def curve(key: tuple[tuple[str, float], ...]) -> str:
        shown = {TEMPERATURE, *others} if axis != TEMPERATURE else set(others)
        parts = [
            f"{v:,.6g} K" if n == TEMPERATURE else f"{symbol_of(n)} = {v:g}{_spaced(unit_of(n))}"
            for n, v in sorted(key, key=lambda entry: entry[0] != TEMPERATURE)
            if n in shown
        ]
        return ", ".join(parts)

    title = "Temperature (K)" if axis == TEMPERATURE else symbol_of(axis)
    if axis != TEMPERATURE and unit_of(axis):
        title += f" ({unit_of(axis)})"
    named = list(zip(coordinates, directions, strict=True))
    return Layout(
        axis=axis,
        title=title,
        curves=tuple(map(curve, curves)),
        places=places,
        labels=tuple(label(point, direction) for point, direction in named),
        written=tuple(label(*each, ",.6g").replace("= -", "= −") for each in named),
        returns=returns,
    )


def _rounded(coordinates: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Twelve digits, and zero for what is nothing beside the largest value of the coordinate."""
    largest: dict[str, float] = {}
    for name, value in (entry for point in coordinates for entry in point.items()):
        largest[name] = max(largest.get(name, 1.0), abs(value))
    return [
        {n: float(f"{v:.12g}") if abs(v) > 1e-12 * largest[n] else 0.0 for n, v in point.items()}
        for point in coordinates
    ]


def few(names: Sequence[str], separator: str = ", ", most: int = 6) -> str:
    """Names in a row, the first few where they are many.

    Examples
    --------
    >>> few(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return separator.join(names[:most]) + (f" and {more} more" if more > 0 else "")


def symbol_of(name: str) -> str:
    """Coordinate as it is written.

    Examples
    --------
    >>> symbol_of("mu_B_Ta"), symbol_of("phi_cation_Mg"), symbol_of("kappa"), symbol_of("pressure")
    ('μ(Ta) on B', 'φ(Mg) on cation', 'κ', 'pressure')
    """
    prefix, _, of = name.partition("_")
    if prefix not in _SYMBOLS or not of:
        return "κ" if name == "kappa" else name
    sublattice, _, species = of.rpartition("_")
    return f"{_SYMBOLS[prefix]}({species})" + (f" on {sublattice}" if sublattice else "")


def unit_of(name: str) -> str:
    """Return the unit of a coordinate; empty for plain numbers."""
    return {"temperature": "K", "pressure": "GPa", "mu": "eV"}.get(name.partition("_")[0], "")


def _spaced(unit: str) -> str:
    return f" {unit}" if unit else ""


def _varying(coordinates: Sequence[Mapping[str, float]]) -> list[str]:
    names = dict.fromkeys(name for point in coordinates for name in point)
    return [n for n in names if len({point.get(n) for point in coordinates}) > 1]


def _axis(coordinates: Sequence[Mapping[str, float]], config: Mapping[str, Any]) -> str:
    section = config.get("ensemble")
    for key, prefix in _SCANNED_IN.items():
        given = (section.get(key) if isinstance(section, Mapping) else None) or {}
        for sublattice, entries in given.items():
            for species, value in entries.items():
                if isinstance(value, list):
                    return f"{prefix}_{sublattice}_{species}"
    varying = [n for n in _varying(coordinates) if n.startswith(("mu_", "phi_"))]
    return varying[0] if varying else TEMPERATURE


def _directions(
    coordinates: Sequence[Mapping[str, float]], axis: str, keys: Sequence[Any]
) -> list[str | None]:
    """Direction of every point: that in which its curve's values go in its way.

    A way of one point goes as a campaign would: scans up first, temperatures down.
    """
    ways: dict[Any, list[float]] = {}
    for point, key in zip(coordinates, keys, strict=True):
        ways.setdefault((key, point.get(SWEEP)), []).append(point.get(axis, np.nan))
    found: list[str | None] = []
    for point, key in zip(coordinates, keys, strict=True):
        values = ways[key, point.get(SWEEP)]
        change = values[-1] - values[0]
        if change:
            found.append("up" if change > 0 else "down")
        elif point.get(SWEEP) is None:
            found.append(None)
        else:
            found.append("up" if (point[SWEEP] > 0) == (axis == TEMPERATURE) else "down")
    return found
