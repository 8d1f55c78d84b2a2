"""Figures of concentration waves: V(q) along a path and at the wave vectors that fit the cell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import COLOURS, axes_of, finished, require_result

if TYPE_CHECKING:
    from ..waves.mean_field import ConcentrationWaves

__all__ = ["plot_waves"]


def plot_waves(
    waves: ConcentrationWaves,
    axes: Axes | None = None,
    *,
    path: str | Sequence[Sequence[float]] | None = None,
    n_points: int = 240,
) -> Figure:
    """Eigenvalues of C^½ V(q) C^½ along a path; markers where q fits the cell.

    The lowest point, if it is below zero, is the ordering that the disordered crystal is unstable
    to. Lines are dashed where V has not decayed within half the cell, so that they only join the
    markers.

    Parameters
    ----------
    waves
        From `concentration_waves`; its plain data do not hold V(q).
    axes
        Where to draw; a new figure unless given.
    path, n_points
        As for `ConcentrationWaves.along`.

    Returns
    -------
    The figure.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import PairHamiltonian, analysis, builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
    >>> model = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    >>> waves = analysis.concentration_waves(model, {"B": {"Sc": 0.5, "Ta": 0.5}})
    >>> plot_waves(waves).axes[0].get_xlabel()
    'Wave vector q'
    """
    require_result(waves, "concentration_waves")
    axes = axes_of(axes)
    line = waves.along(path, n_points)
    distance, bands = line.distance.to_numpy(), line.energy.to_numpy()
    style = "-" if line.attrs["trusted"] else "--"
    pieces = line.piece.to_numpy()
    for k, piece in product(range(bands.shape[1]), np.unique(pieces)):
        here = pieces == piece
        axes.plot(distance[here], bands[here, k], style, color=COLOURS[k % 6], linewidth=1.2)
    corners = line.attrs["corners"]
    fits = line.fits.to_numpy()
    for k in range(bands.shape[1]):
        axes.plot(
            distance[fits], bands[fits, k], "o", color=COLOURS[k % 6], markersize=4, zorder=3,
            clip_on=False,
        )  # fmt: skip
    axes.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    for _, place in corners:
        axes.axvline(place, color="0.85", linewidth=0.8, zorder=0)
    places: dict[float, list[str]] = {}
    for name, place in corners:
        names = places.setdefault(round(min(place, distance[-1]), 9), [])
        if name not in names:
            names.append(name)
    axes.set_xticks(list(places), ["|".join(names) for names in places.values()])
    axes.set_xlim(distance[0], distance[-1] + 1e-8)  # ticks are rounded
    _mark_leading(axes, waves, distance, bands)
    return finished(axes, "Wave vector q", r"$C^{1/2}\,V(\mathbf{q})\,C^{1/2}$ (eV)")


def _mark_leading(
    axes: Axes, waves: ConcentrationWaves, distance: np.ndarray, bands: np.ndarray
) -> None:
    """Name the leading wave beside the lowest point, or at its energy where the path misses it."""
    lowest = int(np.argmin(bands[:, 0]))
    met = bands[lowest, 0] < waves.leading.energy + 1e-6 * abs(waves.leading.energy)
    place = distance[lowest] if met else distance[len(distance) // 2]
    axes.annotate(
        waves.leading.name, (place, waves.leading.energy), xytext=(0, -4),
        textcoords="offset points", ha="center", va="top", fontsize="small",
    )  # fmt: skip
    axes.margins(y=0.15)
