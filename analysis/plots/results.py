"""Figures for papers, from the results of `analyze_run`: vector graphics, labelled with units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import InputError
from ..overview import relative_energies
from .style import COLOURS, MARKERS, axes_of, finished, marks

__all__ = [
    "plot_acceptance",
    "plot_binder",
    "plot_composition",
    "plot_energy",
    "plot_free_energy_slope",
    "plot_heat_capacity",
    "plot_order",
]


def plot_order(results: Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Squared ordering amplitudes along the run; dotted lines are a random arrangement.

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
    axes = axes_of(axes)
    lines = _lines(results)
    for line, (k, name) in product(lines, enumerate(names)):
        numbers = [points[i]["orders"][name] for i in line.points]
        colour = k if len(names) > 1 else line.curve
        _draw(axes, line.values, numbers, _joined(name, line.name), colour, line.back)
        random = [np.nan if n["random"] is None else n["random"] for n in numbers]
        axes.plot(line.values, random, ":", color=COLOURS[colour % 6], linewidth=0.9)
    axes.set_ylim(bottom=0)
    return _finish(axes, r"$\langle|\psi|^2\rangle$", results)


def plot_energy(results: Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Mean energy per mixed site along the run, from the lowest mean, in meV.

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

    Raises
    ------
    InputError
        If the composition fluctuates: there is no heat capacity then.
    """
    numbers = [point["heat_capacity"] for point in results["points"]]
    if None in numbers:
        raise InputError("a run of fluctuating composition has no heat capacity; plot_composition")
    return _single(results, numbers, r"Heat capacity ($k_\mathrm{B}$ per site)", axes)


def plot_binder(results: Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Binder cumulants of the orders along the run, U = 1 − ⟨|ψ|⁴⟩/3⟨|ψ|²⟩².

    Parameters
    ----------
    results, axes
        As for `plot_order`.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If no order was measured.
    """
    names = list(results["points"][0]["binder"])
    if not names:
        raise InputError("the results hold no order; name one that fits the cell in orders=…")
    axes = axes_of(axes)
    for line, (k, name) in product(_lines(results), enumerate(names)):
        numbers = [results["points"][i]["binder"][name] for i in line.points]
        colour = k if len(names) > 1 else line.curve
        _draw(axes, line.values, numbers, _joined(name, line.name), colour, line.back)
    return _finish(axes, "Binder cumulant", results)


def plot_acceptance(results: Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Draw the accepted fraction of the steps along the run.

    Parameters
    ----------
    results, axes
        As for `plot_order`.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If it is not known.
    """
    numbers = [point["acceptance"] for point in results["points"]]
    if None in numbers:
        raise InputError("the run does not know how many of its steps were accepted")
    figure = _single(results, numbers, "Accepted fraction", axes)
    highest = max(one["mean"] for one in numbers)
    figure.axes[0].set_ylim(0, max(1.04 * highest, 1e-3))
    return figure


def plot_composition(results: Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Fractions of the species that fluctuate along the scan, both ways, one curve per temperature.

    Parameters
    ----------
    results, axes
        As for `plot_order`.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If the composition of the run is fixed.

    Examples
    --------
    >>> number = {"mean": 0.5, "error": 0.01, "converged": True}
    >>> place = {"curve": 0, "direction": None, "fractions": {"fraction of Ca on cation": number}}
    >>> points = [{"temperature": 900.0, "value": mu, **place} for mu in (-0.1, 0.1)]
    >>> layout = {"title": "μ(Ca) on cation (eV)", "curves": ["900 K"], "directions": ["up"]}
    >>> figure = plot_composition({"points": points, "layout": layout | {"returns": False}})
    >>> figure.axes[0].get_xlabel()
    'μ(Ca) on cation (eV)'
    """
    points = results["points"]
    names = list(points[0]["fractions"])
    if not names:
        raise InputError("the run keeps its composition, so there is nothing to draw; plot_order")
    axes = axes_of(axes)
    for line, (k, name) in product(_lines(results), enumerate(names)):
        label = _joined(name if len(names) > 1 else "", line.name)
        numbers = [points[i]["fractions"][name] for i in line.points]
        _draw(axes, line.values, numbers, label, line.curve + k, line.back)
    axes.set_ylim(-0.03, 1.03)
    return _finish(axes, _capital(names[0]) if len(names) == 1 else "Fraction", results)


def plot_free_energy_slope(results: Mapping[str, Any], axes: Axes | None = None) -> Figure:
    """Slope of the free energy per site, ∂f/∂c in eV, against the composition, by temperature.

    Two phases coexist where a horizontal line cuts off equal areas above and below itself.

    Parameters
    ----------
    results, axes
        As for `plot_order`.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If the run is not variance-constrained.
    """
    points = results["points"]
    slopes = points[0]["free_energy_slopes"]
    pairs = [(name, species) for name, row in slopes.items() for species in row]
    if not pairs:
        raise InputError("slopes of the free energy come from variance-constrained runs only")
    axes = axes_of(axes)
    for line, (k, (name, species)) in product(_lines(results), enumerate(pairs)):
        label = _joined(f"{species} on {name}" if len(pairs) > 1 else "", line.name)
        fractions = [points[i]["composition"][name][species] for i in line.points]
        numbers = [points[i]["free_energy_slopes"][name][species] for i in line.points]
        rising = np.argsort([n["mean"] for n in fractions])
        values = [fractions[i]["mean"] for i in rising]
        errors = [fractions[i]["error"] or 0.0 for i in rising]
        _draw(axes, values, [numbers[i] for i in rising], label, line.curve + k, line.back, errors)
    figure = _finish(axes, r"$\partial f/\partial c$ (eV per site)", results)
    axes.set_xlabel(
        f"Fraction of {pairs[0][1]} on {pairs[0][0]}" if len(pairs) == 1 else "Fraction"
    )
    return figure


class _Line(NamedTuple):
    """Points joined by a line: their indices and values, its curve, and whether it leads back."""

    name: str
    points: list[int]
    values: list[float]
    curve: int
    back: bool


def _lines(results: Mapping[str, Any]) -> list[_Line]:
    layout = results.get("layout") or {"curves": [""], "directions": [], "returns": False}
    found: dict[tuple[int, str | None], _Line] = {}
    for i, point in enumerate(results["points"]):
        key = (point.get("curve", 0), point.get("direction"))
        if key not in found:
            name = _joined(layout["curves"][key[0]], key[1] or "")
            back = layout["returns"] and key[1] == layout["directions"][1]
            found[key] = _Line(name, [], [], key[0], back)
        found[key].points.append(i)
        found[key].values.append(point.get("value", point["temperature"]))
    return list(found.values())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _single(
    results: Mapping[str, Any],
    numbers: Sequence[Mapping[str, Any]],
    label: str,
    axes: Axes | None,
) -> Figure:
    axes = axes_of(axes)
    for line in _lines(results):
        here = [numbers[i] for i in line.points]
        _draw(axes, line.values, here, line.name, line.curve, line.back)
    return _finish(axes, label, results)


def _draw(  # noqa: PLR0917
    axes: Axes,
    values: Sequence[float],
    numbers: Sequence[Mapping[str, Any]],
    name: str,
    k: int,
    back: bool,
    x_errors: Sequence[float] | None = None,
) -> None:
    """Draw markers with error bars; open ones did not converge, dashed lines lead back."""
    means = np.array([np.nan if n["mean"] is None else n["mean"] for n in numbers])
    errors = np.array([0.0 if n["error"] is None else n["error"] for n in numbers])
    open_ones = np.array([not n["converged"] for n in numbers])
    colour = COLOURS[k % 6]
    style = "--" if back else ("-", "-.")[k // 6 % 2]
    axes.errorbar(
        values, means, errors, x_errors, color=colour, linewidth=1.2, linestyle=style, capsize=2
    )
    axes.plot(
        [], [], style, marker=MARKERS[k % 6], color=colour, linewidth=1.2, markersize=4.5,
        markerfacecolor="white" if back else colour, label=name or None,
    )  # fmt: skip
    marks(axes, np.asarray(values), means, ~open_ones, MARKERS[k % 6], colour)


def _finish(axes: Axes, label: str, results: Mapping[str, Any]) -> Figure:
    return finished(axes, along(results), label)


def along(results: Mapping[str, Any]) -> str:
    """Title of what the points of a run lie along."""
    return str((results.get("layout") or {}).get("title", "Temperature (K)"))
