"""What all figures share: colours, marks, sizes, and how axes are made, marked and finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import InputError

__all__ = [
    "COLOURS",
    "COLUMN",
    "MARKERS",
    "Result",
    "axes_of",
    "data_of",
    "figure_of",
    "finished",
    "marks",
    "require_result",
]


class Result(Protocol):
    """A result that has plain data."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it is stored."""


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Those of Okabe and Ito that tell apart on white."""
MARKERS = ("o", "D", "s", "^", "v", "p")
COLUMN = (3.4, 2.6)
"""Width and height in inches of a figure for one column of a journal."""


def data_of(found: Result | Mapping[str, Any]) -> Mapping[str, Any]:
    """Plain data of a result, or what was given if that is plain data already.

    So that a figure is drawn alike from a result and from what was stored of it.
    """
    return found if isinstance(found, Mapping) else found.to_dict()


def require_result(found: object, maker: str) -> None:
    """Refuse plain data where it does not hold all that is drawn."""
    if isinstance(found, Mapping):
        raise InputError(
            f"plain data of {maker}() do not hold all that this figure shows: give the result "
            "itself"
        )


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
