"""Short-range order by shell, and series draw by draw: figures for papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ...errors import InputError
from .style import COLOURS, MARKERS, axes_of, finished, marks

__all__ = ["plot_series", "plot_warren_cowley"]

SEQUENCE = LinearSegmentedColormap.from_list(
    "cold to hot", ["#0b5fa5", "#6b3fa0", "#c43c5b", "#d98e04"]
)
STYLES = ("-", "--", "-.", ":")


def plot_warren_cowley(
    results: Mapping[str, Any], pair: str | None = None, axes: Axes | None = None
) -> Figure:
    """Warren–Cowley parameters of a pair of species against distance, one line per point.

    Parameters
    ----------
    results
        From `analyze_run`.
    pair
        ``"B: Sc–Ta"``; the first pair of unlike species unless given.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure; open markers did not converge.

    Raises
    ------
    InputError
        If the results hold no such pair.

    Examples
    --------
    >>> number = {"mean": -1.0, "error": 0.1, "converged": True}
    >>> row = {"pair": "B: Sc–Ta", "shell": 1, "distance": 4.0, "unlike": True} | number
    >>> figure = plot_warren_cowley({"points": [{"written": "900 K", "warren_cowley": [row]}]})
    >>> figure.axes[0].get_ylabel()
    'Warren–Cowley α, B: Sc–Ta'
    """
    points = results["points"]
    chosen = chosen_pair(results, pair)
    axes = axes_of(axes)
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    for k, point in enumerate(points):
        rows = [row for row in point["warren_cowley"] if row["pair"] == chosen]
        colour = SEQUENCE(k / max(len(points) - 1, 1))
        _shells(axes, rows, point["written"], colour, MARKERS[k % 6])
    figure = finished(axes, "Distance (Å)", f"Warren–Cowley α, {chosen}")
    if len(points) > 1:
        axes.legend(frameon=False, fontsize="x-small", ncols=1 + (len(points) > 6))
    return figure


def chosen_pair(results: Mapping[str, Any], pair: str | None) -> str:
    """Pair of species to draw: the one asked for, else the first of unlike ones."""
    points = results["points"]
    pairs = {row["pair"]: row["unlike"] for point in points for row in point["warren_cowley"]}
    if not pairs or pair not in {None, *pairs}:
        known = ", ".join(pairs) or "none; take shells=4"
        raise InputError(
            f"no Warren–Cowley parameters of the pair {pair!r}; the results hold {known}"
        )
    return pair or max(pairs, key=lambda name: pairs[name])


def _shells(axes: Axes, rows: list[Mapping[str, Any]], name: str, colour: Any, mark: str) -> None:
    distances = np.array([row["distance"] for row in rows])
    means = np.array([row["mean"] for row in rows])
    errors = [row["error"] or 0.0 for row in rows]
    axes.errorbar(distances, means, errors, color=colour, linewidth=1.0, capsize=2)
    axes.plot([], [], "-", marker=mark, color=colour, markersize=4, label=name)
    good = np.array([row["converged"] for row in rows], bool)
    marks(axes, distances, means, good, mark, colour, size=4)


def plot_series(values: np.ndarray, label: str, axes: Axes | None = None) -> Figure:
    """Draw a series of every chain, draw by draw.

    Parameters
    ----------
    values
        [n_draws, n_chains].
    label
        Of the axis, with its unit.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure. Chains that have converged wander over the same range.

    Raises
    ------
    InputError
        If the values are not [n_draws, n_chains].

    Examples
    --------
    >>> figure = plot_series(np.random.default_rng(0).normal(size=(100, 2)), "Energy (eV)")
    >>> figure.axes[0].get_xlabel()
    'Draw'
    """
    values = np.asarray(values, float)
    if values.ndim != 2:
        raise InputError(f"a series has shape {values.shape}: give [n_draws, n_chains]")
    axes = axes_of(axes)
    for k, chain in enumerate(values.T):
        axes.plot(
            chain,
            STYLES[(k // 6) % 4],
            color=COLOURS[k % 6],
            linewidth=0.7,
            label=f"chain {k + 1}" if 1 < values.shape[1] <= 6 else None,
        )
    return finished(axes, "Draw", label)
