"""Figures of order–disorder transitions, from the results of `ordering_temperature`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import InputError
from ..stability.ordering_result import OrderingTemperature
from ..wording import with_error
from .style import COLOURS, MARKERS, axes_of, data_of, finished, require_result

__all__ = [
    "plot_barriers",
    "plot_cumulants",
    "plot_energy_distributions",
    "plot_finite_size",
    "plot_heat_capacities",
]


def plot_cumulants(result: OrderingTemperature, axes: Axes | None = None) -> Figure:
    """Cumulants U(T) of all sizes with their errors; they cross at a continuous transition.

    Parameters
    ----------
    result
        From `ordering_temperature`; its plain data do not hold curves.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If no order parameter was given.
    """
    require_result(result, "ordering_temperature")
    if "cumulant" not in result.curves:
        raise InputError("the analysis was of energies alone; name an order to have cumulants")
    return _curves(result, "cumulant", r"$U = 1 - \langle m^4\rangle/3\langle m^2\rangle^2$", axes)


def plot_heat_capacities(result: OrderingTemperature, axes: Axes | None = None) -> Figure:
    """Heat capacities per site of all sizes, in k_B, with their errors.

    Parameters
    ----------
    result, axes
        As for `plot_cumulants`.

    Returns
    -------
    The figure.
    """
    return _curves(result, "heat_capacity", r"Heat capacity ($k_\mathrm{B}$ per site)", axes)


def plot_energy_distributions(result: OrderingTemperature, axes: Axes | None = None) -> Figure:
    """Energy distributions of all sizes, where both peaks are equally high if there are two.

    Parameters
    ----------
    result, axes
        As for `plot_cumulants`.

    Returns
    -------
    The figure.
    """
    require_result(result, "ordering_temperature")
    axes = axes_of(axes)
    for k, label in enumerate(result.curves["size"].to_numpy()):
        row = result.curves.sel(size=label)
        axes.plot(row["level_energy"], row["distribution"], color=COLOURS[k % 6], label=str(label))
    axes.set_ylim(bottom=0)
    return finished(axes, "Energy (eV per site)", r"$P/P_\mathrm{max}$")


def plot_barriers(
    result: OrderingTemperature | Mapping[str, Any], axes: Axes | None = None
) -> Figure:
    """Free-energy barrier between two peaks of the energy against size; it grows at first order.

    Parameters
    ----------
    result
        From `ordering_temperature`, or its ``to_dict()`` as it is stored.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.
    """
    axes, sizes = axes_of(axes), data_of(result)["sizes"]
    lengths, heights, errors = (
        [row[name] for row in sizes] for name in ("length", "barrier", "barrier_error")
    )
    axes.errorbar(lengths, heights, errors, fmt=MARKERS[0], color=COLOURS[0], capsize=2)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=min(0.0, *heights))
    return finished(axes, "L", r"Barrier ($k_\mathrm{B}T$)")


def plot_finite_size(
    result: OrderingTemperature | Mapping[str, Any], axes: Axes | None = None
) -> Figure:
    """Temperatures of every estimate against 1/L, and the one of the infinite crystal.

    Crossings stand at the larger of their two sizes. The band is one standard error.

    Parameters
    ----------
    result
        From `ordering_temperature`, or its ``to_dict()`` as it is stored.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If there is one size only.
    """
    data = data_of(result)
    if data["apparent"]:
        raise InputError("one size has nothing to extrapolate; give runs of several sizes")
    axes = axes_of(axes)
    lengths = {row["label"]: row["length"] for row in data["sizes"]}
    for k, estimate in enumerate(data["estimates"]):
        inverse = [1.0 / _larger(point["label"], lengths) for point in estimate["points"]]
        t, errors = np.array([(p["temperature"], p["error"]) for p in estimate["points"]]).T
        axes.errorbar(
            inverse, t, errors,
            fmt=MARKERS[k % 6], color=COLOURS[k % 6], capsize=2, markersize=4.5,
            label=estimate["name"],
        )  # fmt: skip
    kelvin, error = data["temperature"], data["error"]
    axes.axhspan(kelvin - error, kelvin + error, color="#999999", alpha=0.4, linewidth=0)
    axes.axhline(kelvin, color="#444444", linewidth=0.8)
    axes.set_xlim(left=0)
    axes.set_title(f"{with_error(kelvin, error)} K", fontsize="small")
    return finished(axes, "1/L", "Temperature (K)")


def _larger(label: str, lengths: dict[str, float]) -> float:
    """L of a size by its label, or of the larger of two that are joined by "and"."""
    if label in lengths:
        return lengths[label]
    last = label.rsplit(" and ", maxsplit=1)[-1]
    return next(n for name, n in lengths.items() if name.removeprefix("L = ") == last)


def _curves(result: OrderingTemperature, quantity: str, label: str, axes: Axes | None) -> Figure:
    require_result(result, "ordering_temperature")
    axes = axes_of(axes)
    for k, size in enumerate(result.curves["size"].to_numpy()):
        row = result.curves.sel(size=size)
        t, y, error = (row[n].to_numpy() for n in ("temperature", quantity, f"{quantity}_error"))
        colour = COLOURS[k % 6]
        axes.plot(t, y, color=colour, linewidth=1.2, label=str(size))
        axes.fill_between(t, y - error, y + error, color=colour, alpha=0.3, linewidth=0)
    if np.isfinite(result.temperature):
        axes.axvline(result.temperature, color="#444444", linewidth=0.8, linestyle=":")
    return finished(axes, "Temperature (K)", label)
