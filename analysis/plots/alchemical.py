"""Figures of free energies along paths: overlap, works, course in time, slopes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...alchemical_records import Windows, Works
from ...errors import InputError
from ...statistics import summary
from ..alchemical.integration import integrals
from ..alchemical.switching_result import SwitchingFreeEnergy
from ..alchemical.window_result import WindowFreeEnergy
from ..stability.mbar import LEAST_OVERLAP
from ..wording import with_error
from .style import COLOURS, MARKERS, axes_of, figure_of, finished

__all__ = ["plot_convergence", "plot_overlap", "plot_slopes", "plot_work"]

_COUPLING = "Coupling $s$"
_MOST_NUMBERS = 12
"""Windows up to which the overlaps are written into the matrix."""
_FEW_WORKS = 15
"""Fewer works than this have no histogram."""
_MOST_STROKES = 100
"""Works up to which each is drawn by itself."""


def plot_overlap(result: WindowFreeEnergy, axes: Axes | None = None) -> Figure:
    """Overlap matrix of the windows; neighbours that overlap too little are framed.

    Parameters
    ----------
    result
        From `window_free_energy`.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure; save it with ``figure.savefig("overlap.pdf")``.
    """
    _check(result, "window_free_energy", WindowFreeEnergy)
    matrix, s = result.overlap, result.windows.couplings
    k = len(s)
    side = min(max(0.42 * k + 1.2, 3.0), 6.5)
    axes = axes_of(axes, (side + 0.6, side))
    largest = max(0.25, float(matrix.max()))
    image = axes.imshow(matrix, cmap="Blues", vmin=0.0, vmax=largest)
    if k <= _MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(matrix):
            if value >= 0.005:
                colour = "white" if value > 0.6 * largest else "black"
                text = f"{value:.2f}".replace("0.", ".", 1)
                axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    for i in range(k - 1):
        if result.pair_overlaps[i] < LEAST_OVERLAP:
            for row, column in ((i, i + 1), (i + 1, i)):
                frame = [column - 0.5, column + 0.5, column + 0.5, column - 0.5, column - 0.5]
                axes.plot(frame, [row - 0.5] * 2 + [row + 0.5] * 2 + [row - 0.5], color=COLOURS[1])
    shown = np.arange(0, k, -(-k // _MOST_NUMBERS))
    labels = [f"{x:.3g}" for x in s[shown]]
    axes.set_xticks(shown, labels, rotation=90 if sum(map(len, labels)) > 20 else 0)
    axes.set_yticks(shown, labels)
    axes.tick_params(length=0)
    figure = figure_of(axes)
    figure.colorbar(image, ax=axes, label="Overlap", shrink=0.85)
    axes.set_xlabel(f"{_COUPLING}, weighed in")
    axes.set_ylabel(f"{_COUPLING}, drawn in")
    return figure


def plot_work(source: SwitchingFreeEnergy | Works, axes: Axes | None = None) -> Figure:
    """Distributions of the work forward and of minus the work back, with ΔF where they cross.

    Dashed lines are Gaussians with the same moments, the diamond is where those cross; the line is
    ΔF by BAR, where the distributions themselves cross by Crooks' theorem, the band its standard
    error. Short strokes are single works, where there are few.

    Parameters
    ----------
    source
        From `switching_free_energy`, or works, which are then drawn alone.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.
    """
    _check(source, "switching_free_energy", SwitchingFreeEnergy, Works)
    result = source if isinstance(source, SwitchingFreeEnergy) else None
    works = source.works if isinstance(source, SwitchingFreeEnergy) else source
    axes = axes_of(axes)
    ways = {"$W$ forward": works.forward.ravel(), "$-W$ reverse": -works.reverse.ravel()}
    drawn = [(k, name, w) for k, (name, w) in enumerate(ways.items()) if w.size]
    edges = _edges([w for _, _, w in drawn])
    top = 0.0
    for k, name, w in drawn:
        many = w.size >= _FEW_WORKS
        if many:
            heights = axes.hist(
                w, edges.tolist(), density=True, histtype="stepfilled", alpha=0.3, color=COLOURS[k],
                hatch=("//", "\\\\")[k], edgecolor=COLOURS[k], linewidth=0.0, label=name,
            )[0]  # fmt: skip
            top = max(top, float(np.max(heights)))
        top = max(top, _gaussian(axes, w, edges, COLOURS[k], None if many else name))
    top = top or 1.0
    few = drawn if max(w.size for _, _, w in drawn) <= _MOST_STROKES else []
    for k, _, w in few:
        height = np.full(w.size, -0.05 * (1 + k) * top)
        axes.plot(w, height, "|", color=COLOURS[k], markersize=5, markeredgewidth=0.7)
    if result is not None:
        _crossing(axes, result, top)
    axes.set_ylim(-0.14 * top if few else 0.0, (1.8 if result else 1.4) * top)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0.0 <= tick <= 1.1 * top])
    figure = finished(axes, "Work (eV)", "Probability density (1/eV)")
    axes.legend(frameon=False, fontsize="small", loc="upper center")
    return figure


def plot_convergence(result: WindowFreeEnergy, axes: Axes | None = None) -> Figure:
    """ΔF from growing parts of the draws: the first ones (forward) and the last ones (backward).

    Error bars are standard errors, the band is that of all draws. Where the two ways meet only at
    the end, the first draws were not in equilibrium.

    Parameters
    ----------
    result
        From `window_free_energy`.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If the result has no course in time.
    """
    _check(result, "window_free_energy", WindowFreeEnergy)
    if result.in_time is None:
        raise InputError("the result has no course in time; call window_free_energy(parts=10)")
    axes = axes_of(axes)
    f, e = result.free_energy, result.error
    axes.axhspan(f - e, f + e, color="0.6", alpha=0.35, linewidth=0, label="all draws")
    axes.axhline(f, color="0.35", linewidth=0.8)
    x = 100.0 * result.in_time.fractions
    for k, (name, way) in enumerate(
        zip(("forward", "backward"), result.in_time.values, strict=True)
    ):
        shift = (k - 0.5) * 0.012 * 100.0
        axes.errorbar(
            x + shift, way[:, 0], way[:, 1], color=COLOURS[k], marker=MARKERS[k], markersize=4,
            linestyle=("-", "--")[k], linewidth=1.0, capsize=2, label=name,
            markerfacecolor=(COLOURS[k], "white")[k],
        )  # fmt: skip
    axes.set_xlim(0, 104)
    return finished(axes, "Part of the draws (%)", r"$\Delta F$ (eV)")


def plot_slopes(source: Windows | WindowFreeEnergy, axes: Axes | None = None) -> Figure:
    """Mean dU/ds along the path, and the area under it that integration by a spline takes.

    Parameters
    ----------
    source
        Windows, or what `window_free_energy` made of them.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure.
    """
    _check(source, "window_free_energy", WindowFreeEnergy, Windows)
    windows = source.windows if isinstance(source, WindowFreeEnergy) else source
    s = windows.couplings
    rows = [summary(one.T) for one in windows.slopes]
    means, errors = np.array([(one.mean, np.nan_to_num(one.error)) for one in rows]).T
    axes = axes_of(axes)
    fine = np.linspace(s[0], s[-1], 201)
    curve = _curve(s, means, fine)
    area = integrals(s, means, errors)["spline"]
    axes.fill_between(
        fine, curve, alpha=0.2, color=COLOURS[0], linewidth=0,
        label=f"area {with_error(area.value, area.error)} eV",
    )  # fmt: skip
    axes.plot(fine, curve, color=COLOURS[0], linewidth=1.0, label="spline" if len(s) > 2 else None)
    axes.errorbar(
        s, means, errors, fmt=MARKERS[0], color=COLOURS[1], markersize=4, capsize=2,
        label=f"windows at {windows.temperature:g} K",
    )  # fmt: skip
    axes.axhline(0.0, color="0.7", linewidth=0.6, zorder=0)
    return finished(axes, _COUPLING, r"$\langle \mathrm{d}U/\mathrm{d}s \rangle$ (eV)")


def _check(given: object, maker: str, *kinds: type) -> None:
    if not isinstance(given, kinds):
        known = " or ".join(kind.__name__ for kind in kinds)
        raise InputError(f"{type(given).__name__} cannot be drawn here; give {known} ({maker})")


def _curve(s: np.ndarray, means: np.ndarray, fine: np.ndarray) -> np.ndarray:
    from scipy.interpolate import CubicSpline  # noqa: PLC0415  (slow to import)

    return np.interp(fine, s, means) if len(s) == 2 else np.asarray(CubicSpline(s, means)(fine))


def _crossing(axes: Axes, result: SwitchingFreeEnergy, top: float) -> None:
    """Mark ΔF with its error, and where the Gaussians cross."""
    f, e = result.free_energy, float(np.nan_to_num(result.error))
    axes.fill_between([f - e, f + e], 0.0, 1.1 * top, color="0.6", alpha=0.4, linewidth=0)
    label = rf"$\Delta F$ = {with_error(f, result.error)} eV"
    axes.plot([f, f], [0.0, 1.1 * top], color="black", linewidth=1.0, label=label)
    x, works = result.gaussian.value, result.works
    if np.isfinite(x):
        y = [_density(w, np.array([x])) for w in (works.forward, -works.reverse)]
        axes.plot(
            x, np.mean(y), "D", color="black", markerfacecolor="white", markersize=4.5, zorder=4,
            label="Gaussians cross",
        )  # fmt: skip


def _edges(ways: list[np.ndarray]) -> np.ndarray:
    """Edges of bins for all, as fine as the narrower distribution asks for."""
    every = np.concatenate(ways)
    span = float(np.ptp(every))
    if not span > 0:
        return np.array([every[0] - 5e-4, every[0] + 5e-4])
    widths = [np.diff(np.histogram_bin_edges(w, "fd"))[0] for w in ways if np.ptp(w) > 0]
    n = int(np.clip(np.ceil(span / max(min(widths), span / 120)), 5, 120))
    return np.linspace(every.min(), every.max(), n + 1)


def _gaussian(axes: Axes, w: np.ndarray, edges: np.ndarray, colour: str, name: str | None) -> float:
    """Draw the Gaussian with the moments of the works; its height."""
    width = float(w.std(ddof=1)) if w.size > 1 else 0.0
    if not width > 0:
        return 0.0
    margin = 0.15 * (edges[-1] - edges[0])
    x = np.linspace(edges[0] - margin, edges[-1] + margin, 300)
    y = _density(w, x)
    axes.plot(x, y, "--", color=colour, linewidth=1.0, label=name)
    return float(y.max())


def _density(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Gaussian with the moments of the works, at x."""
    width = float(w.std(ddof=1))
    return np.exp(-0.5 * ((x - w.mean()) / width) ** 2) / (width * np.sqrt(2.0 * np.pi))
