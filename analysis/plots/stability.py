"""Figures of phase stability: free energies of mixing, two-phase distributions, phase diagrams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import InputError
from ..stability.composition import Axis as Fraction
from ..stability.free_energies import FreeEnergies
from ..stability.hull import lower_hull
from ..stability.mixing import mixing_free_energy
from ..stability.phase_diagram import PhaseDiagram
from ..stability.two_phases import equal_weight, fraction_distribution
from .style import COLOURS, MARKERS, axes_of, data_of, finished, require_result

__all__ = ["plot_fraction_distribution", "plot_mixing", "plot_phase_diagram"]

_BINS = 200

_SPAN = 1e-4
"""Least probability that a distribution is drawn down to, of its largest."""


def plot_mixing(
    free: FreeEnergies, temperatures: Sequence[float] | None = None, axes: Axes | None = None
) -> Figure:
    """Mixing free energy ΔF_mix against the fraction, in meV per site, with its convex hull.

    Points with error bars are the cell's; open ones rest on too few draws. The dashed line is their
    hull, which mixtures of two phases reach.

    Parameters
    ----------
    free
        Free energies along one fraction, with both pure compositions; not their plain data.
    temperatures
        K, among those of ``free``; all by default.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If several fractions vary, a pure composition is missing or there are only these, or a
        temperature is unknown.
    """
    require_result(free, "free_energy")
    axis = free.one_axis()
    chosen = range(len(free.temperatures))
    if temperatures is not None:
        chosen = [free.at(t) for t in temperatures]  # type: ignore[assignment]
    table = mixing_free_energy(free)
    axes = axes_of(axes)
    for k, t in enumerate(chosen):
        values = 1e3 * table["mixing"].to_numpy()[t]
        errors = 1e3 * table["mixing_error"].to_numpy()[t]
        known = np.isfinite(values)
        colour, marker = COLOURS[k % 6], MARKERS[k % 6]
        for sure in (True, False):
            part = known & (free.converged[t] == sure)
            bars = np.nan_to_num(errors[part])
            axes.errorbar(
                axis.x[part], values[part], bars, fmt=marker, color=colour, markersize=3,
                markerfacecolor=colour if sure else "white", linewidth=0.8,
                label=f"{free.temperatures[t]:,.6g} K" if sure else None,
            )  # fmt: skip
        hull = lower_hull(axis.x[known], values[known])
        corners = hull.vertices
        axes.plot(axis.x[known][corners], values[known][corners], "--", color=colour, linewidth=0.8)
    axes.axhline(0.0, color="0.7", linewidth=0.6, zorder=0)
    return _labelled(axes, axis.name, r"$\Delta F_\mathrm{mix}$ (meV per site)")


def plot_fraction_distribution(
    free: FreeEnergies,
    temperatures: Sequence[float] | None = None,
    cut: float = 0.5,
    axes: Axes | None = None,
) -> Figure:
    """Distribution of the fraction where two phases weigh the same, on a logarithmic scale.

    In cells of more than 200 sites several compositions make a bin. Dashed lines are the means of
    the two peaks; where there is one peak, μ is that at which the mean lies at the cut.

    Parameters
    ----------
    free
        Free energies along one fraction; not their plain data.
    temperatures
        K, among those of ``free``; all by default.
    cut
        A fraction between the phases.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If several fractions vary or a temperature is unknown.
    """
    require_result(free, "free_energy")
    axis = free.one_axis()
    axes = axes_of(axes)
    lowest = np.inf
    for k, t in enumerate(free.temperatures if temperatures is None else temperatures):
        line = equal_weight(free, float(t), cut)
        mu = line.mu if line else _balancing(free, float(t), cut)
        x, p = _binned(axis, fraction_distribution(free, mu, float(t)))
        drawn = p > _SPAN * p.max()
        lowest = min(lowest, float(p[drawn].min()))
        colour = COLOURS[k % 6]
        label = f"{t:,.6g} K, μ = {mu:.4f} eV"
        axes.semilogy(x[drawn], p[drawn], ".", color=colour, markersize=2.5, label=label)
        for end in line.x if line else ():
            axes.axvline(end, color=colour, linestyle="--", linewidth=0.7)
    axes.set_ylim(bottom=0.5 * lowest)
    return _labelled(axes, axis.name, "Probability density")


def plot_phase_diagram(
    diagram: PhaseDiagram | Mapping[str, Any], axes: Axes | None = None
) -> Figure:
    """Binodal with error bars and tie lines, spinodal and consolute point, over T and the fraction.

    Open symbols are extrapolated, or rest on fewer than nine tenths of the resamples.

    Parameters
    ----------
    diagram
        From `phase_diagram`, or its ``to_dict()`` as it is stored.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If there is nothing to draw: one phase at every temperature.

    Examples
    --------
    >>> from alchemc.analysis import PhaseDiagram, TieLine
    >>> line = TieLine(900.0, (0.1, 0.9), 0.0, (0.01, 0.01, 0.001), 1.0, False, "tangent")
    >>> diagram = PhaseDiagram("fraction of Ca on cation", (900.0,), (900.0,), (line,), (), None,
    ...                        "tangent", free=None)
    >>> plot_phase_diagram(diagram).axes[0].get_ylabel()
    'Temperature (K)'
    """
    data = data_of(diagram)
    by_kind = {
        kind: [row for row in data["rows"] if row["kind"] == kind]
        for kind in ("binodal", "spinodal", "consolute")
    }
    binodal = by_kind["binodal"]
    if not binodal and not by_kind["consolute"]:
        raise InputError(
            "the diagram has one phase at every temperature: there is no boundary to draw; ask for "
            "lower temperatures"
        )
    axes = axes_of(axes)
    for sure in (True, False):
        kept = [r for r in binodal if (r["certainty"] >= 0.9 and not r["extrapolated"]) == sure]
        _points(axes, kept, "o", COLOURS[0], "binodal" if kept and sure else None, filled=sure)
    for one, other in zip(binodal[::2], binodal[1::2], strict=True):
        t = [one["temperature"]] * 2
        axes.plot([one["x"], other["x"]], t, color="0.75", linewidth=0.7, zorder=0)
    if by_kind["spinodal"]:
        _points(axes, by_kind["spinodal"], "x", COLOURS[1], "spinodal")
    for row in by_kind["consolute"]:
        filled = not row["extrapolated"]
        _points(axes, [row], "D", COLOURS[2], "consolute point", filled=filled)
    axes.set_xlim(0.0, 1.0)
    figure = _labelled(axes, data["axis"], "Temperature (K)")
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.0,
        frameon=False, fontsize="x-small", handletextpad=0.3,
    )  # fmt: skip
    return figure


def _points(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    marker: str,
    colour: str,
    label: str | None,
    *,
    filled: bool = True,
) -> None:
    """Boundary points with the error bars that are known."""
    axes.errorbar(
        [row["x"] for row in rows], [row["temperature"] for row in rows],
        xerr=[row["x_error"] or 0.0 for row in rows],
        yerr=[row["temperature_error"] or 0.0 for row in rows],
        fmt=marker, markersize=3.5, color=colour, linewidth=0.8, label=label,
        markerfacecolor=colour if filled else "white",
    )  # fmt: skip


def _binned(axis: Fraction, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles of bins of a few compositions, and the probability density there."""
    width = -(-axis.size // _BINS)
    bins = np.round(axis.x * axis.size).astype(int) // width
    x = ((np.arange(bins.max() + 1) + 0.5) * width - 0.5) / axis.size
    return x, np.bincount(bins, p) * axis.size / width


def _balancing(free: FreeEnergies, temperature: float, cut: float) -> float:
    """Return μ at which the mean fraction is the cut."""
    from scipy.optimize import brentq  # noqa: PLC0415  (slow to import)

    axis = free.one_axis()

    def excess(mu: float) -> float:
        return float(fraction_distribution(free, mu, temperature) @ axis.x) - cut

    slopes = free.chemical_potential()["mean"].to_numpy()[free.at(temperature)]
    slopes = slopes[np.isfinite(slopes)]
    reach = float(np.ptp(slopes)) + 0.1
    return float(brentq(excess, slopes.min() - reach, slopes.max() + reach))


def _labelled(axes: Axes, x: str, y: str) -> Figure:
    return finished(axes, x[:1].upper() + x[1:], y)
