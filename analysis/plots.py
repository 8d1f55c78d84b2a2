"""Figures for papers, from the results of `analyze_run`: vector graphics, labelled with units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import InputError
from .overview import relative_energies

__all__ = ["plot_energy", "plot_heat_capacity", "plot_order"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "D", "s", "^", "v", "p")
COLUMN = (3.4, 2.6)
"""Width and height in inches of a figure for one column of a journal."""


def plot_order(results: Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Squared ordering amplitudes against temperature; dotted lines are a random arrangement.

    Parameters
    ----------
    results
        From `analyze_run`.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure; save it with ``figure.savefig("order.pdf")``.

    Raises
    ------
    InputError
        If no order was measured.

    Examples
    --------
    >>> number = {"mean": 0.9, "error": 0.01, "converged": True, "random": 0.02}
    >>> points = [{"temperature": t, "orders": {"rock-salt": number}} for t in (500.0, 900.0)]
    >>> figure = plot_order({"points": points})
    >>> figure.axes[0].get_xlabel()
    'Temperature (K)'
    """
    points = results["points"]
    names = list(points[0]["orders"])
    if not names:
        raise InputError("the results hold no order; name one that fits the cell in orders=…")
    axes = axes if axes is not None else _new_axes()
    temperatures = [point["temperature"] for point in points]
    for k, name in enumerate(names):
        numbers = [point["orders"][name] for point in points]
        _draw(axes, temperatures, numbers, name, k)
        random = [np.nan if n["random"] is None else n["random"] for n in numbers]
        axes.plot(temperatures, random, ":", color=COLOURS[k % 6], linewidth=0.9)
    axes.set_ylim(bottom=0)
    return _finish(axes, r"$\langle|\psi|^2\rangle$")


def plot_energy(results: Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Mean energy per mixed site against temperature, from the lowest mean, in meV.

    Parameters
    ----------
    results, axes
        As for `plot_order`.

    Returns
    -------
    The figure.
    """
    return _single(results, relative_energies(results), "Energy (meV per site)", axes)


def plot_heat_capacity(results: Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Heat capacity per mixed site against temperature, in units of k_B.

    Parameters
    ----------
    results, axes
        As for `plot_order`.

    Returns
    -------
    The figure.
    """
    numbers = [point["heat_capacity"] for point in results["points"]]
    return _single(results, numbers, r"Heat capacity ($k_\mathrm{B}$ per site)", axes)


def _single(
    results: Mapping[str, Any],
    numbers: Sequence[Mapping[str, Any]],
    label: str,
    axes: Axes | None,
) -> Figure:
    axes = axes if axes is not None else _new_axes()
    _draw(axes, [point["temperature"] for point in results["points"]], numbers, "", 0)
    return _finish(axes, label)


def _new_axes() -> Axes:
    return Figure(figsize=COLUMN, layout="constrained").add_subplot()


def _draw(
    axes: Axes,
    temperatures: Sequence[float],
    numbers: Sequence[Mapping[str, Any]],
    name: str,
    k: int,
) -> None:
    """Draw markers with error bars; open ones did not converge."""
    means = np.array([np.nan if n["mean"] is None else n["mean"] for n in numbers])
    errors = np.array([0.0 if n["error"] is None else n["error"] for n in numbers])
    open_ones = np.array([not n["converged"] for n in numbers])
    colour = COLOURS[k % 6]
    axes.errorbar(temperatures, means, errors, label=name, color=colour, linewidth=1.2, capsize=2)
    for mask, face in ((~open_ones, colour), (open_ones, "white")):
        axes.plot(
            np.asarray(temperatures)[mask],
            means[mask],
            MARKERS[k % 6],
            color=colour,
            markerfacecolor=face,
            markersize=4.5,
            zorder=3,
        )


def _finish(axes: Axes, label: str) -> Figure:
    axes.set_xlabel("Temperature (K)")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize="small")
    figure = axes.get_figure()
    assert isinstance(figure, Figure)  # noqa: S101  (a subfigure has no file of its own)
    return figure
