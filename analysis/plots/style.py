"""What all figures share: colours, marks, sizes, and how axes are made, marked and finished."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "COLUMN", "MARKERS", "axes_of", "figure_of", "finished", "marks"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Those of Okabe and Ito that tell apart on white."""
MARKERS = ("o", "D", "s", "^", "v", "p")
COLUMN = (3.4, 2.6)
"""Width and height in inches of a figure for one column of a journal."""


def axes_of(axes: Axes | None, size: tuple[float, float] = COLUMN) -> Axes:
    """Axes that were given, or those of a new figure."""
    if axes is not None:
        return axes
    return Figure(figsize=size, layout="constrained").add_subplot()


def figure_of(axes: Axes) -> Figure:
    """Figure that holds the axes."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)  # noqa: S101  (a subfigure has no file of its own)
    return figure


def finished(axes: Axes, x_label: str, y_label: str) -> Figure:
    """Label the axes, open the frame, and explain what has a name."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize="small")
    return figure_of(axes)


def marks(  # noqa: PLR0917
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    converged: np.ndarray,
    marker: str,
    colour: object,
    size: float = 4.5,
) -> None:
    """Draw markers over the lines, open ones where chains did not converge."""
    for mask, face in ((converged, colour), (~converged, "white")):
        axes.plot(
            x[mask], y[mask], marker,
            color=colour, markerfacecolor=face, markersize=size, zorder=3,
        )  # fmt: skip
