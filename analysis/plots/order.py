"""Figures of scattering and environments: maps, diffuse intensity on paths, oxygen bridges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from ...errors import InputError
from .results import along
from .short_range import chosen_pair
from .style import COLOURS, MARKERS, axes_of, figure_of, finished, marks

__all__ = [
    "plot_diffuse_path",
    "plot_environments",
    "plot_structure_factor_map",
    "plot_warren_cowley_shells",
]

MAP_COLOURS = "viridis"
STYLES = ("-", "--", "-.")
"""Lines that lie upon one another stay visible, as do their markers, of falling size."""


def plot_structure_factor_map(
    table: xr.Dataset,
    quantity: str = "mean",
    axes: Axes | None = None,
    *,
    logarithmic: bool = True,
) -> Figure:
    """Intensity on a plane of reciprocal space.

    Parameters
    ----------
    table
        From `structure_factor_map`.
    quantity
        "mean" (all of it), "diffuse", "diffuse_laue" (in Laue units) or "bragg".
    axes
        Where to draw; a new figure unless given.
    logarithmic
        Whether colours follow the logarithm, over six decades at most.

    Returns
    -------
    The figure; save it with ``figure.savefig("map.pdf")``.

    Raises
    ------
    InputError
        If the table is no map, lacks the quantity, or that has no value.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.analysis import structure_factor_map
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
    >>> occupation = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(0))
    >>> figure = plot_structure_factor_map(structure_factor_map(lattice, occupation, "hk1/2"))
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_title()
    ('h', 'l = 1/2')
    """
    if quantity not in table or table[quantity].dims != ("x", "y"):
        raise InputError(
            f"the table holds no map of {quantity!r}; give one from structure_factor_map and mean, "
            "diffuse, diffuse_laue or bragg"
        )
    axes = axes_of(axes, (3.6, 2.9))
    values = table[quantity].to_numpy().T
    largest = np.nanmax(values, initial=0.0)
    if not np.isfinite(values).any():
        raise InputError(
            f"{quantity!r} has no value anywhere: nothing contrasts at this composition"
        )
    norm: Normalize | None = None
    if logarithmic and largest > 0:
        lowest = max(np.nanmin(values, initial=largest, where=values > 0), 1e-6 * largest)
        norm = LogNorm(lowest, largest if largest > lowest else 10 * lowest)
        values = np.maximum(values, lowest)
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    image = axes.pcolormesh(x, y, values, norm=norm, cmap=MAP_COLOURS, shading="nearest")
    image.set_rasterized(len(x) * len(y) > 10_000)
    if min(len(x), len(y)) > 1:
        axes.set_aspect(table.attrs["v_length"] / table.attrs["u_length"])
    axes.set_xlabel(_axis_name(table.attrs["u"]))
    axes.set_ylabel(_axis_name(table.attrs["v"]))
    axes.set_title(_plane_name(table), fontsize="small")
    figure = figure_of(axes)
    units = "Laue units" if quantity == "diffuse_laue" else table.attrs["units"]
    kind = {"mean": "Intensity", "bragg": "Bragg intensity"}.get(quantity, "Diffuse intensity")
    figure.colorbar(image, ax=axes, label=f"{kind} per site ({units})")
    return figure


def plot_diffuse_path(
    tables: xr.Dataset | Mapping[str, xr.Dataset],
    axes: Axes | None = None,
    *,
    logarithmic: bool = True,
) -> Figure:
    """Diffuse intensity in Laue units along a path; dotted lines are random arrangements.

    Parameters
    ----------
    tables
        From `diffuse_path`, or several by name, such as a temperature each, on one path.
    axes
        Where to draw; a new figure unless given.
    logarithmic
        Whether the intensity is drawn on a logarithmic axis: peaks are often far above the rest.

    Returns
    -------
    The figure; open markers did not converge. Reciprocal vectors of the parent, where the diffuse
    part of a crystal of fixed composition is zero by definition, are left out.

    Raises
    ------
    InputError
        If a table is no path.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.analysis import diffuse_path
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
    >>> occupations = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(0), 8)
    >>> figure = plot_diffuse_path(diffuse_path(lattice, occupations))
    >>> [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    ['Γ', 'X', 'M', 'R', 'Γ']
    """
    named = {"": tables} if isinstance(tables, xr.Dataset) else dict(tables)
    if not named or any("distance" not in table.coords for table in named.values()):
        raise InputError("the tables hold no path; give those of diffuse_path")
    axes = axes_of(axes)
    for k, (name, table) in enumerate(named.items()):
        kept = ~table["fundamental"].to_numpy()
        colour = COLOURS[k % len(COLOURS)]
        where = table["distance"].to_numpy()[kept]
        _marked(
            axes,
            where,
            table["diffuse_laue"].to_numpy()[kept],
            table["diffuse_laue_error"].to_numpy()[kept],
            table["diffuse_converged"].to_numpy()[kept],
            name,
            k,
        )
        random = (table["random"] / table["laue"]).to_numpy()[kept]
        axes.plot(where, random, ":", color=colour, linewidth=0.9)
    first = next(iter(named.values()))
    axes.set_xticks(first.attrs["corners"], first.attrs["corner_names"])
    for corner in first.attrs["corners"][1:-1]:
        axes.axvline(corner, color="0.85", linewidth=0.6, zorder=0)
    axes.set_xlim(first.attrs["corners"][0], first.attrs["corners"][-1])
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    return finished(axes, "", "Diffuse intensity (Laue units)")


def plot_environments(
    tables: Mapping[float, xr.Dataset], axes: Axes | None = None, *, title: str = "Temperature (K)"
) -> Figure:
    """Fractions of anion environments along a series; dotted lines are random arrangements.

    Parameters
    ----------
    tables
        From `anion_environments`, by temperature or whatever the series is along.
    axes
        Where to draw; a new figure unless given.
    title
        Of the horizontal axis.

    Returns
    -------
    The figure; open markers did not converge. Environments that never occur and are not expected
    at random either (both below one in a thousand) are left out.

    Raises
    ------
    InputError
        If there is no table, or they are of different anions.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.analysis import anion_environments
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
    >>> occupations = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(0), 8)
    >>> figure = plot_environments({900.0: anion_environments(lattice, occupations)})
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['Sc–O–Sc', 'Sc–O–Ta', 'Ta–O–Ta']
    """
    along = sorted(tables)
    if not along or len({tuple(t["environment"].to_numpy()) for t in tables.values()}) != 1:
        raise InputError("give tables of anion_environments of one lattice and anion, one or more")
    axes = axes_of(axes)
    kinds = tables[along[0]]["environment"].to_numpy().tolist()
    shown = 0
    for kind in kinds:
        rows = [tables[x].sel(environment=kind) for x in along]
        means, errors = (np.array([float(row[name]) for row in rows]) for name in ("mean", "error"))
        random = np.array([float(row["random"]) for row in rows])
        if max(means.max(), np.nan_to_num(random).max()) < 1e-3:
            continue
        converged = np.array([bool(row["converged"]) for row in rows])
        _marked(axes, np.array(along), means, errors, converged, kind, shown)
        colour = COLOURS[shown % len(COLOURS)]
        axes.plot(along, random, ":", color=colour, linewidth=0.9)
        shown += 1
    axes.set_ylim(bottom=0)
    return finished(axes, title, f"Fraction of {tables[along[0]].attrs['anion']}")


def plot_warren_cowley_shells(
    results: Mapping[str, Any], pair: str | None = None, axes: Axes | None = None
) -> Figure:
    """Warren–Cowley parameters of one pair of species against temperature, one line per shell.

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
    >>> number = {"mean": -0.3, "error": 0.01, "converged": True}
    >>> row = {"pair": "B: Sc–Ta", "shell": 1, "distance": 4.0, "unlike": True} | number
    >>> points = [{"temperature": t, "warren_cowley": [row]} for t in (900.0, 1200.0)]
    >>> figure = plot_warren_cowley_shells({"points": points})
    >>> figure.axes[0].get_ylabel()
    'Warren–Cowley α, B: Sc–Ta'
    """
    points = results["points"]
    chosen = chosen_pair(results, pair)
    rows = [
        (point.get("value", point["temperature"]), row)
        for point in points
        for row in point["warren_cowley"]
        if row["pair"] == chosen
    ]
    axes = axes_of(axes)
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    for k, shell in enumerate(sorted({row["shell"] for _, row in rows})):
        found = sorted(((x, row) for x, row in rows if row["shell"] == shell), key=lambda f: f[0])
        columns = [[row[name] for _, row in found] for name in ("mean", "error", "converged")]
        means, errors, converged = (np.array(c) for c in columns)
        name = f"{shell}: {found[0][1]['distance']:.2f} Å"
        x = np.array([value for value, _ in found], dtype=float)
        _marked(axes, x, means.astype(float), errors.astype(float), converged, name, k)
    return finished(axes, along(results), f"Warren–Cowley α, {chosen}")


def _marked(  # noqa: PLR0917
    axes: Axes,
    x: np.ndarray,
    means: np.ndarray,
    errors: np.ndarray,
    converged: np.ndarray,
    name: str,
    k: int,
) -> None:
    """Markers with error bars, joined by a line; open ones did not converge."""
    colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
    bars = np.where(np.isfinite(errors), errors, 0.0)
    style = STYLES[k % len(STYLES)]
    axes.errorbar(x, means, bars, label=name, color=colour, linewidth=1.2, ls=style, capsize=2)
    marks(axes, x, means, converged, marker, colour)


def _axis_name(vector: list[float]) -> str:
    """Name an axis of reciprocal space: h, k, l, or such as (h h 0)."""
    letters = "hkl"
    used = [n for n in range(3) if vector[n]]
    if len(used) == 1 and vector[used[0]] == 1:
        return letters[used[0]]
    first = letters[used[0]]
    parts = ["0" if x == 0 else first if x == 1 else f"{x:g}{first}" for x in vector]
    return f"({' '.join(parts)})"


def _plane_name(table: xr.Dataset) -> str:
    u, v, origin = (np.array(table.attrs[name]) for name in ("u", "v", "origin"))
    fixed = [n for n in range(3) if u[n] == v[n] == 0]
    if len(fixed) != 1:
        return ""
    value = origin[fixed[0]]
    halves = {0.5: "1/2", 0.25: "1/4", 0.75: "3/4", 1.5: "3/2"}
    return f"{'hkl'[fixed[0]]} = {halves.get(float(value), f'{value:g}')}"
