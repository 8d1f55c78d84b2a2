"""Figures of special quasirandom structures beside a sampled ensemble, from `compare_sqs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ...errors import InputError
from .style import COLOURS, MARKERS, axes_of, data_of, finished, marks

if TYPE_CHECKING:
    from ..sqs.results import SQSComparison

__all__ = ["plot_sqs_clusters", "plot_sqs_energy", "plot_sqs_short_range"]

ENSEMBLE, SQS, RANDOM = COLOURS[0], COLOURS[1], COLOURS[2]
KELVIN = "Temperature (K)"


def plot_sqs_energy(found: SQSComparison | Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Mean energy of the ensemble, with bands for the SQS and for random arrangements.

    Energies are counted from the mean of random arrangements. The bar at a temperature is the
    error of the mean, the shade the spread between configurations; the bands are as wide as the SQS
    and random arrangements scatter. A vertical line is the temperature at which the SQS is
    representative. Open markers did not converge.

    Parameters
    ----------
    found
        From `compare_sqs`, or its ``to_dict()`` as it is stored.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If energies were not compared.

    Examples
    --------
    >>> point = {"temperature": 900.0, "mean": -0.1, "error": 0.01, "spread": 0.05}
    >>> point |= {"converged": True, "bias": 0.1, "bias_error": 0.01}
    >>> energy = {"kind": "energy", "name": "", "unit": "eV per site", "representative": []}
    >>> energy |= {"sqs": {"mean": 0.0, "scatter": None}, "points": [point]}
    >>> energy |= {"random": {"mean": 0.02, "spread": 0.03}}
    >>> figure = plot_sqs_energy({"quantities": [energy]})
    >>> figure.axes[0].get_ylabel()
    'Energy (meV per site)'
    """
    row = _of_kind(data_of(found), "energy")[0]
    zero = row["random"]["mean"]
    axes = axes_of(axes)
    points = row["points"]
    kelvins = np.array([point["temperature"] for point in points])
    means = np.array([1e3 * (point["mean"] - zero) for point in points])
    spreads = np.array([1e3 * point["spread"] for point in points])
    axes.fill_between(
        kelvins, means - spreads, means + spreads, color=ENSEMBLE, alpha=0.15, linewidth=0
    )
    _markers(axes, points, means, 1e3, ENSEMBLE, "ensemble")
    _band(axes, 1e3 * (row["sqs"]["mean"] - zero), row["sqs"]["scatter"], SQS, "SQS", "-")
    _band(axes, 0.0, row["random"]["spread"], RANDOM, "random", ":")
    for crossing in row["representative"]:
        if crossing["resolved"] and crossing["temperature"] <= 1.2 * kelvins.max():
            axes.axvline(crossing["temperature"], color=SQS, linewidth=0.9, linestyle="--")
    return finished(axes, KELVIN, "Energy (meV per site)")


def plot_sqs_short_range(
    found: SQSComparison | Mapping[str, Any], pair: str | None = None, axes: Axes | None = None
) -> Figure:
    """Warren–Cowley parameters by shell: SQS, random arrangements, and every temperature.

    Parameters
    ----------
    found
        From `compare_sqs`, or its ``to_dict()`` as it is stored.
    pair
        Such as "B: Sc–Ta"; the first unless given.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If there is no such pair.
    """
    rows = _of_kind(data_of(found), "warren-cowley")
    names = [row["name"].rsplit(" shell ", 1) for row in rows]
    pairs = list(dict.fromkeys(name for name, _ in names))
    chosen = pairs[0] if pair is None else pair
    if chosen not in pairs:
        raise InputError(f"pair {chosen!r} was not compared; there are {', '.join(pairs)}")
    kept = [
        (int(shell), row) for (name, shell), row in zip(names, rows, strict=True) if name == chosen
    ]
    shells = [shell for shell, _ in kept]
    axes = axes_of(axes)
    kelvins = [point["temperature"] for point in kept[0][1]["points"]]
    for k, kelvin in enumerate(kelvins):
        share = k / max(1, len(kelvins) - 1)
        colour = _between(COLOURS[0], COLOURS[4], share)
        label = f"{kelvin:,.6g} K" if k in {0, len(kelvins) - 1} else None
        points = [row["points"][k] for _, row in kept]
        means = np.array([point["mean"] for point in points])
        errors = np.array([point["error"] or 0.0 for point in points])
        axes.errorbar(
            shells, means, errors,
            color=colour, marker=MARKERS[0], markersize=3, linewidth=1.0, capsize=2, label=label,
        )  # fmt: skip
    random = [np.nan if r["random"]["mean"] is None else r["random"]["mean"] for _, r in kept]
    axes.plot(shells, random, ":", color=RANDOM, marker="_", label="random")
    axes.errorbar(
        shells, [row["sqs"]["mean"] for _, row in kept],
        [row["sqs"]["scatter"] or 0.0 for _, row in kept],
        color=SQS, marker=MARKERS[1], markersize=4.5, linewidth=0, elinewidth=1.2, label="SQS",
        zorder=3,
    )  # fmt: skip
    axes.set_xticks(shells)
    return finished(axes, "Shell", f"Warren–Cowley α, {chosen}")


def plot_sqs_clusters(found: SQSComparison | Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Root mean square difference of the cluster vectors of SQS and ensemble, by temperature.

    Parameters
    ----------
    found, axes
        As for `plot_sqs_energy`.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If cluster vectors were not compared.
    """
    data = data_of(found)
    rows = data.get("cluster_deviation")
    if not rows:
        raise InputError("cluster vectors were not compared: there is nothing to draw")
    points = _of_kind(data, "cluster")[0]["points"]
    axes = axes_of(axes)
    marks = [dict(point, error=row["error"]) for point, row in zip(points, rows, strict=True)]
    means = np.array([row["mean"] for row in rows])
    _markers(axes, marks, means, 1.0, ENSEMBLE, "")
    axes.set_ylim(bottom=0)
    return finished(axes, KELVIN, "Difference of cluster vectors (rms)")


def _of_kind(found: Mapping[str, Any], kind: str) -> list[Any]:
    rows = [row for row in found["quantities"] if row["kind"] == kind]
    if not rows:
        raise InputError(f"no quantity of kind {kind!r} was compared: there is nothing to draw")
    return rows


def _markers(  # noqa: PLR0917
    axes: Axes,
    points: Sequence[Mapping[str, Any]],
    means: np.ndarray,
    scale: float,
    colour: str,
    label: str,
) -> None:
    """Means with error bars; open markers did not converge."""
    kelvins = np.array([point["temperature"] for point in points])
    errors = np.array([scale * (point["error"] or 0.0) for point in points])
    axes.errorbar(
        kelvins, means, errors, color=colour, linewidth=1.2, capsize=2, label=label or None
    )
    good = np.array([bool(point["converged"]) for point in points])
    marks(axes, kelvins, means, good, MARKERS[0], colour)


def _band(  # noqa: PLR0917
    axes: Axes, level: float, spread: float | None, colour: str, label: str, style: str
) -> None:
    axes.axhline(level, color=colour, linewidth=1.2, linestyle=style, label=label)
    if spread:
        low, high = level - 1e3 * spread, level + 1e3 * spread
        axes.axhspan(low, high, color=colour, alpha=0.12, linewidth=0)


def _between(first: str, second: str, share: float) -> tuple[float, ...]:
    rows = zip(to_rgb(first), to_rgb(second), strict=True)
    return tuple((1 - share) * a + share * b for a, b in rows)
