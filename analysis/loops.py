"""Whether the way there and the way back give the same: hysteresis, point by point."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from ..records import Run
from ..statistics import Summary
from .biased import refuse_biased
from .layout import TEMPERATURE, Layout, coordinates_of, layout
from .order.commensurate import NAMED_ORDERS
from .point_results import (
    PointResult,
    Tracked,
    finite,
    fitting_orders,
    moving_fractions,
    number,
    open_sublattices,
    tracked_fractions,
)
from .wording import counted

__all__ = ["Loop", "hysteresis", "loop_dict", "loops_of", "settled_loops", "telling"]

CHANCE = 0.05
"""Probability that a run without hysteresis is said to have any, over all that is compared."""

LEAST_DRAWS = 4  # below which a series tells no error


class Loop(NamedTuple):
    """One quantity on the way up and on the way down, at the points that both ways visited.

    ``curve`` names the curve ("" if there is one), ``title`` what runs along it; ``values`` [n]
    rise. ``up`` and ``down`` are the means with their errors; ``difference`` = up − down with its
    ``error``, ``z`` in units of it. Where ``z`` is above ``threshold`` the two differ:
    ``differs``. ``lower`` and ``upper`` are the next values on both sides of all that differ (None
    beyond the scan; both None where nothing does). ``area`` is ∮ c dμ with its error, eV per site,
    for fractions along a chemical potential: the work lost in a cycle. ``text`` says it in words.
    """

    curve: str
    title: str
    quantity: str
    values: tuple[float, ...]
    up: tuple[Summary, ...]
    down: tuple[Summary, ...]
    difference: tuple[float, ...]
    error: tuple[float, ...]
    z: tuple[float, ...]
    threshold: float
    differs: tuple[bool, ...]
    lower: float | None
    upper: float | None
    area: tuple[float, float] | None
    text: str


def hysteresis(run: Run, orders: Sequence[str] | None = None) -> tuple[Loop, ...]:
    r"""Compare the two ways of a run that goes there and back, point by point.

    The two ways start from different states, so that they agree only where the chains forget where
    they came from. A difference counts where it exceeds ``threshold`` standard errors, chosen such
    that n comparisons without hysteresis show any with a probability of 5 % at most,
    :math:`Φ^{-1}(1 − 0.05/2n)`, n over all points and quantities of the run. Points of fewer than
    four draws are left out: they have no error.

    Parameters
    ----------
    run
        Points with the coordinate ``sweep``, 0 on the way there and 1 on the way back.
    orders
        Orders to compare in sweeps of the temperature; the configuration's unless given.

    Returns
    -------
    Per curve (temperature of a scan), the fractions and the energy, or the energy and the orders of
    a sweep of the temperature. Empty for runs that go one way.

    Raises
    ------
    InputError
        If a point has no temperature, an order is unknown, or draws follow a bias.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.records import point_dataset
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 2))
    >>> rng, points = np.random.default_rng(1), []
    >>> for sweep, mus in enumerate([(-0.1, 0.0, 0.1), (0.1, 0.0, -0.1)]):
    ...     for mu in mus:  # at μ = 0 each way keeps what it comes from
    ...         share = {-0.1: 0.1, 0.0: 0.1 + 0.8 * sweep, 0.1: 0.9}[mu]
    ...         occupation = (rng.random((400, 2, 8)) < share).astype(np.uint8)
    ...         arrays = {"occupation": occupation, "energy": rng.normal(size=(400, 2))}
    ...         where = {"temperature": 900.0, "mu_B_Zr": mu, "sweep": sweep}
    ...         points.append(point_dataset(arrays, where))
    >>> loop, _ = hysteresis(Run(tuple(points), lattice))
    >>> loop.quantity, loop.differs, (loop.lower, loop.upper)
    ('fraction of Zr on B', (False, True, False), (-0.1, 0.1))
    """
    points = [point for point in run.points if point.sizes.get("draw", 0)]
    refuse_biased(points, "loops")
    coordinates = coordinates_of(points)
    found = layout(coordinates, run.config)
    if not found.returns:
        return ()
    free = open_sublattices(run)
    tracked = tracked_fractions(run.lattice, free, found.axis)
    measured: dict[str, tuple[str, str]] = {}
    if found.axis == TEMPERATURE:
        usual = run.config.get("analysis", {}).get("orders", () if free else NAMED_ORDERS)
        names = usual if orders is None else orders
        first = points[0]["occupation"].isel(draw=0, chain=0).to_numpy()
        measured, _ = fitting_orders(run.lattice, tuple(names), first, free)
    results = [
        PointResult(run.lattice, point, where, measured, 0, free, tracked)
        for point, where in zip(points, coordinates, strict=True)
    ]
    return settled_loops(found, results, moving_fractions(run, free))


def settled_loops(
    found: Layout, results: Sequence[PointResult], moving: Collection[Tracked]
) -> tuple[Loop, ...]:
    """Loops of a run, after its points were settled where both ways agree.

    Where they differ, a series that never changes is stuck, be its phase pure or not.

    Parameters
    ----------
    found, results
        How the points lie and what was measured at them; `PointResult.settle` is called.
    moving
        Fractions that are others elsewhere in the run.
    """
    loops = loops_of(found, [_quantities(result, found.axis) for result in results])
    apart = {
        (loop.curve, value)
        for loop in loops
        for value, differs in zip(loop.values, loop.differs, strict=True)
        if differs
    }
    for result, place in zip(results, found.places, strict=True):
        if (found.curves[place.curve], place.value) not in apart:
            result.settle(moving)
    return loops_of(found, [_quantities(result, found.axis) for result in results])


def _quantities(result: PointResult, axis: str) -> dict[str, Summary]:
    """Return what is compared of a point, the most telling first: nothing of a few draws."""
    if result.n_draws < LEAST_DRAWS:
        return {}
    if axis == TEMPERATURE and not result.fractions:
        return {"energy": result.energy, **result.orders}
    return {**result.fractions, "energy": result.energy}


def loops_of(found: Layout, quantities: Sequence[Mapping[str, Summary]]) -> tuple[Loop, ...]:
    """Loops of every curve and quantity.

    Parameters
    ----------
    found
        How the points lie.
    quantities
        Summaries by name, one mapping per point.
    """
    rows: list[tuple[str, str, list[tuple[float, Summary, Summary]]]] = []
    for index, curve in enumerate(found.curves):
        ways: dict[str, dict[float, int]] = {"up": {}, "down": {}}
        for k, place in enumerate(found.places):
            if place.curve == index and place.direction is not None:
                ways[place.direction].setdefault(place.value, k)
        shared = sorted(set(ways["up"]) & set(ways["down"]))
        if not (found.returns and shared):
            continue
        for name in dict.fromkeys(name for v in shared for name in quantities[ways["up"][v]]):
            pairs = [
                (quantities[ways["up"][v]].get(name), quantities[ways["down"][v]].get(name))
                for v in shared
            ]
            known = [
                (value, up, down)
                for value, (up, down) in zip(shared, pairs, strict=True)
                if up is not None and down is not None and math.isfinite(up.mean + down.mean)
            ]
            if known:
                rows.append((curve, name, known))
    compared = sum(len(known) for _, _, known in rows)
    threshold = NormalDist().inv_cdf(1.0 - CHANCE / (2 * compared)) if compared else math.inf
    return tuple(_loop(found, threshold, *row) for row in rows)


def _loop(
    found: Layout,
    threshold: float,
    curve: str,
    quantity: str,
    rows: Sequence[tuple[float, Summary, Summary]],
) -> Loop:
    values, up, down = (tuple(column) for column in zip(*rows, strict=True))
    difference = np.array([a.mean - b.mean for a, b in zip(up, down, strict=True)])
    # A series that never changed has no error of its own; that of the other way is then the least.
    errors = np.array([[a.error, b.error] for a, b in zip(up, down, strict=True)])
    error = np.hypot(*np.nan_to_num(errors, nan=0.0).T)
    scale = np.abs([s.mean for s in (*up, *down)]).max()
    difference = np.where(np.abs(difference) <= 1e-12 * scale, 0.0, difference)
    z = np.zeros(len(difference))
    np.divide(np.abs(difference), error, out=z, where=error > 0)
    z[(error == 0) & (difference != 0)] = np.inf
    differs = z > threshold
    lower, upper = _neighbours(values, differs)
    area = None
    if found.axis.startswith("mu_") and quantity.startswith("fraction") and len(values) > 1:
        area = _area(np.array(values), difference, error)
    loop = Loop(
        curve=curve,
        title=found.title,
        quantity=quantity,
        values=values,
        up=up,
        down=down,
        difference=tuple(difference.tolist()),
        error=tuple(error.tolist()),
        z=tuple(z.tolist()),
        threshold=threshold,
        differs=tuple(differs.tolist()),
        lower=lower,
        upper=upper,
        area=area,
        text="",
    )
    return loop._replace(text=_text(loop, found.axis))


def _neighbours(values: Sequence[float], differs: np.ndarray) -> tuple[float | None, float | None]:
    """Values next to the range that differs, on both sides."""
    where = np.flatnonzero(differs)
    if not len(where):
        return None, None
    first, last = int(where[0]), int(where[-1])
    return (
        values[first - 1] if first > 0 else None,
        values[last + 1] if last + 1 < len(values) else None,
    )


def _area(values: np.ndarray, difference: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Area between the two ways by the trapezoidal rule, with its error: positive where c lags."""
    steps = np.diff(values)
    weights = np.zeros(len(values))
    weights[:-1] += steps / 2.0
    weights[1:] += steps / 2.0
    return float(-(weights @ difference)), float(np.sqrt(weights**2 @ error**2))


def _text(loop: Loop, axis: str) -> str:
    at = f"At {loop.curve}: " if loop.curve else ""
    n, unit = len(loop.values), "K" if axis == TEMPERATURE else loop.title.partition(" (")[2][:-1]
    many = f"all {n} points" if n > 1 else "the one point"
    doubt = _doubt(loop)
    if not any(loop.differs):
        largest = f"{max(loop.z):.1f}σ at most"
        return (
            f"{at}up and down agree in the {loop.quantity} at {many} ({largest}; chance allows "
            f"{loop.threshold:.1f}σ).{doubt}"
        )
    here = [v for v, differs in zip(loop.values, loop.differs, strict=True) if differs]
    biggest = int(np.argmax(np.abs(loop.difference) * np.array(loop.differs)))
    span = f"from {_value(here[0])} to {_value(here[-1])}"
    span = span if len(here) > 1 else f"at {_value(here[0])}"
    size = (
        f"{abs(loop.difference[biggest]):.2g}{_unit('eV per site' * (loop.quantity == 'energy'))}"
    )
    far = loop.z[biggest]
    sigma = f", {far:.{1 if far < 10 else 0}f}σ" if math.isfinite(far) else ""
    return (
        f"{at}up and down differ in the {loop.quantity} {span}{_unit(unit)} (by up to "
        f"{size}{sigma}): the chains remember where they came from, so these are metastable "
        f"branches or too few draws. {_where_it_lies(loop, unit)}{doubt}"
    )


def _where_it_lies(loop: Loop, unit: str) -> str:
    ends = [None if v is None else f"{_value(v)}{_unit(unit)}" for v in (loop.lower, loop.upper)]
    match ends:
        case [None, None]:
            return "The ways do not meet within the scan."
        case [None, high]:
            return f"A transition that this hides lies below {high}; they do not meet lower down."
        case [low, None]:
            return f"A transition that this hides lies above {low}; they do not meet higher up."
    low, high = ends
    return f"A transition that this hides lies between {low} and {high}."


def _doubt(loop: Loop) -> str:
    """Say that some of the chains behind a comparison did not converge."""
    bad = sum(not (a.converged and b.converged) for a, b in zip(loop.up, loop.down, strict=True))
    if not bad:
        return ""
    return f" At {bad} of {counted(len(loop.values), 'point')} the chains did not converge."


def _value(value: float) -> str:
    return f"{value:,.6g}".replace("-", "−")


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def telling(loops: Sequence[Loop]) -> list[Loop]:
    """Of every curve the first loop whose ways differ, or the first if none does."""
    by_curve: dict[str, list[Loop]] = {}
    for loop in loops:
        by_curve.setdefault(loop.curve, []).append(loop)
    return [
        next((loop for loop in of_curve if any(loop.differs)), of_curve[0])
        for of_curve in by_curve.values()
    ]


def loop_dict(loop: Loop) -> dict[str, Any]:
    """Plain data of a loop; None for numbers that are not finite."""
    plain = loop._asdict()
    plain["up"], plain["down"] = ([number(s) for s in way] for way in (loop.up, loop.down))
    for name in ("values", "difference", "error", "z", "differs"):
        plain[name] = [v if isinstance(v, bool) else finite(v) for v in plain[name]]
    plain["area"] = None if loop.area is None else list(loop.area)
    return plain
