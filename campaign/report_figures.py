"""The figures of a report as files for a paper: vector graphics, labelled with units."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import analysis
from ..errors import InputError
from ..records import Run
from . import files
from .pictures import save_figure
from .report import run_sections
from .report_diagnostics import scattering_sections
from .report_joint import joint_section, members_of
from .report_parts import Figure, Section, Series, slug
from .report_together import together_sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Drawing

__all__ = ["check_target", "draw_figure", "write_figures"]

FORMATS = ("pdf", "svg", "png")
MARGIN = 0.015  # of an axis, so that marks at its ends are not cut off
MOST_LETTERS = 30  # of labels along x; of more they are slanted
LONGEST_LABEL = 28
"""Letters of a y axis's label in a line."""
LONGEST_NAME = 18
"""Letters of a name in a legend that stands among the data; longer ones stand above."""
STYLES = {"solid": "-", "dash": "--", "dot": ":"}


def write_figures(
    runs: Sequence[Run], folder: Path, form: str = "pdf", sections: Sequence[Section] = ()
) -> list[str]:
    """Write every figure of a report as a file of its own; older ones are replaced.

    Parameters
    ----------
    runs
        Of one run its order, energy, heat capacity and so on, and its last structure; of several
        the figures that they share and those of what they say together.
    folder
        Where to; made if it does not exist.
    form
        ``"pdf"``, ``"svg"`` or ``"png"``.
    sections
        Sections whose figures are written, too, as those of results stored beside the runs are.

    Returns
    -------
    Names of the files.

    Raises
    ------
    InputError
        If the format is not known or the folder is a file.
    """
    check_target(folder, form)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, drawing in _drawings(runs, sections):
        path = folder / f"{name}.{form}"
        stream = io.BytesIO()
        save_figure(drawing, stream, form)
        files.replace_atomically(path, stream.getvalue())
        written.append(path.name)
    return written


def check_target(folder: Path, form: str) -> None:
    """Refuse a format that is not known, and a folder that is a file."""
    if form not in FORMATS:
        raise InputError(f"figures are not written as '{form}'; use one of {', '.join(FORMATS)}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the figures")


def _drawings(runs: Sequence[Run], sections: Sequence[Section]) -> Iterator[tuple[str, Drawing]]:
    results = [analysis.analyze_run(run) for run in runs]
    members = members_of(runs, results) if runs else []
    if len(runs) == 1:
        yield from _of_one(runs[0], results[0])
        for section in scattering_sections(runs[0], results[0]):
            yield from _of_section(section.name, section)
    joint = joint_section(members) if members else None
    sections = [*([joint] if joint else []), *together_sections(members), *sections]
    stored = [(k, section) for k, run in enumerate(runs) for section in run_sections(run)]
    for section in sections:
        yield from _of_section(section.name, section)
    for k, section in stored:
        yield from _of_section(f"{section.name}-{k}" if len(runs) > 1 else section.name, section)


def _of_section(name: str, section: Section) -> Iterator[tuple[str, Drawing]]:
    for figure in section.figures:
        yield f"{name}-{slug(figure.title)}", draw_figure(figure)


def _of_one(run: Run, results: Mapping[str, Any]) -> Iterator[tuple[str, Drawing]]:
    """Figures of a run, but for those of which it has nothing to show."""
    from ..analysis import plots  # noqa: PLC0415
    from ..analysis.plots.structure import plot_structure  # noqa: PLC0415

    kinds: dict[str, Callable[[Mapping[str, Any]], Drawing]] = {
        "order": plots.plot_order,
        "energy": plots.plot_energy,
        "heat-capacity": plots.plot_heat_capacity,
        "binder-cumulant": plots.plot_binder,
        "composition": plots.plot_composition,
        "free-energy-slope": plots.plot_free_energy_slope,
        "acceptance": plots.plot_acceptance,
    }
    pairs = {row["pair"] for point in results["points"] for row in point["warren_cowley"]}
    for pair in sorted(pairs):
        kinds[f"warren-cowley-{slug(pair)}"] = partial(plots.plot_warren_cowley, pair=pair)
    for name, draw in kinds.items():
        try:
            drawing = draw(results)
        except InputError:  # this run has none
            continue
        yield name, drawing
    coldest = run.points[results["points"][0]["index"]]
    last = coldest.isel(draw=-1, chain=0)
    moved: dict[str, Any] = {
        key: last[key].to_numpy() for key in ("positions", "cell") if key in last
    }
    yield "structure", plot_structure(run.lattice, last["occupation"].to_numpy(), **moved)


def draw_figure(figure: Figure, axes: Axes | None = None) -> Drawing:
    """Draw a figure of a section for a paper.

    Parameters
    ----------
    figure
        What the report shows.
    axes
        Where to draw; a new figure of a column's width unless given.

    Returns
    -------
    The figure; open markers did not converge.

    Examples
    --------
    >>> series = Series("", (900.0, 1200.0), (0.5, 0.1), (0.01, 0.02))
    >>> draw_figure(Figure("Order", "Temperature (K)", "|ψ|²", [series])).axes[0].get_ylabel()
    '|ψ|²'
    """
    from ..analysis.plots.style import axes_of, figure_of  # noqa: PLC0415

    axes = axes_of(axes)
    for low, high in figure.bands:
        axes.axvspan(low, high, color="#0072B2", alpha=0.1, linewidth=0)
    if figure.values is not None:
        _draw_map(axes, figure)
    for k, series in enumerate(figure.series):
        _draw_series(axes, series, series.colour if series.colour is not None else k)
    _set_axes(axes, figure)
    return figure_of(axes)


def _set_axes(axes: Axes, figure: Figure) -> None:
    if "x" in figure.log:
        axes.set_xscale("log")
    if "y" in figure.log:
        axes.set_yscale("log")
    if figure.ticks:
        crowded = sum(len(label) for _, label in figure.ticks) > MOST_LETTERS
        slant: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        labels = [label for _, label in figure.ticks]
        axes.set_xticks([at for at, _ in figure.ticks], labels, **(slant if crowded else {}))
    if figure.x_range:
        low, high = figure.x_range
        if low is not None and high is not None and "x" not in figure.log:
            more = MARGIN * (high - low)
            low, high = low - more, high + more
        axes.set_xlim(low, high)
    if figure.y_range:
        axes.set_ylim(*figure.y_range)
    axes.set_xlabel(_mathtext(figure.x))
    axes.set_ylabel(_mathtext(_folded(figure.y)))
    axes.spines[["top", "right"]].set_visible(False)
    for scale, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if scale in figure.log:
            _number_short_scale(axis)
    names = [series.name for series in figure.series if series.name]
    if names:
        above = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
        place: dict[str, Any] = above if max(map(len, names)) > LONGEST_NAME else {}
        size = "small" if len(figure.series) < 6 else "x-small"
        axes.legend(frameon=False, fontsize=size, **place)


def _folded(label: str) -> str:
    """Label in lines that fit beside an axis, its unit in one of them.

    Examples
    --------
    >>> _folded("Formation energy (meV per site)").splitlines()
    ['Formation energy', '(meV per site)']
    """
    name, found, unit = label.rpartition(" (")
    if len(label) <= LONGEST_LABEL or not found:
        return fill(label, LONGEST_LABEL)
    return f"{fill(name, LONGEST_LABEL)}\n({unit}"


def _number_short_scale(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis of less than a decade, where powers would collide."""
    from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter  # noqa: PLC0415

    low, high = axis.get_view_interval()
    if high < 10.0 * low:
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_locator(NullLocator())


def _mathtext(text: str) -> str:
    """Text as matplotlib writes it: dollars are dollars, k_B has an index."""
    return text.replace("$", r"\$").replace("k_B", r"$k_\mathrm{B}$")


def _draw_map(axes: Axes, figure: Figure) -> None:
    values = np.array([[np.nan if v is None else v for v in row] for row in figure.values or ()])
    mesh = axes.pcolormesh(
        np.asarray(figure.map_x), np.asarray(figure.map_y), values, cmap="cividis", rasterized=True
    )
    axes.figure.colorbar(mesh, ax=axes, label=_mathtext(figure.map_label))


def _draw_series(axes: Axes, series: Series, k: int) -> None:
    """Draw a line, its error bars, and marks; open ones did not converge."""
    from ..analysis.plots.style import COLOURS, MARKERS, marks  # noqa: PLC0415

    colour = COLOURS[k % 6]
    x, y = (np.array([np.nan if v is None else v for v in part]) for part in (series.x, series.y))
    label = _mathtext(series.name) or None
    if series.area:
        axes.fill(x, y, facecolor=colour, alpha=0.25, edgecolor=colour, label=label)
        return
    y_bars, x_bars = (
        None if e is None else [v or 0.0 for v in e] for e in (series.error, series.x_error)
    )
    marked = series.points or series.line is None
    style = STYLES[series.line] if series.line else "none"
    axes.errorbar(x, y, y_bars, x_bars, color=colour, linewidth=1.2, linestyle=style, capsize=2)
    axes.plot(
        [], [], color=colour, label=label, linewidth=1.2, linestyle=style,
        marker=MARKERS[k % 6] if marked else None, markersize=4.5,
    )  # fmt: skip
    if not marked:
        return
    good = np.array(series.converged if series.converged is not None else [True] * len(x), bool)
    marks(axes, x, y, good, MARKERS[k % 6], colour)
