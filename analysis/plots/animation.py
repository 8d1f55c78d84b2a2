"""An ordering run as moving pictures: the crystal draw by draw, and a series beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...lattice import Lattice
from .structure import draw_scene, scene_of, species_colours
from .style import COLOURS

__all__ = ["Frame", "ordering_frames"]

SIZE = (6.4, 3.6)
DOTS_PER_INCH = 100


class Frame(NamedTuple):
    """One picture of an animation: a configuration, what is written above it.

    ``positions`` [n_atoms, 3] and ``cell`` [3, 3] in Å where they are not the lattice's.
    """

    occupation: np.ndarray
    caption: str
    positions: np.ndarray | None = None
    cell: np.ndarray | None = None


def ordering_frames(
    lattice: Lattice,
    frames: Iterable[Frame],
    values: Sequence[float],
    label: str,
    *,
    hide: Iterable[str] = (),
) -> Iterator[np.ndarray]:
    """Draw the frames of an animation one by one.

    Parameters
    ----------
    lattice
        Sites and species.
    frames
        What is seen, in order; they are taken one at a time.
    values
        A number for every frame, drawn as a line with a dot that moves along.
    label
        Of the numbers, with their unit.
    hide
        Species that are not drawn.

    Yields
    ------
    Pictures [360, 640, 3], uint8.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> frames = [Frame(np.roll([0, 1] * 4, k), f"draw {k}") for k in range(2)]
    >>> [f.shape for f in ordering_frames(lattice, frames, [0.0, 1.0], "Energy (eV)")]
    [(360, 640, 3), (360, 640, 3)]
    """
    figure = Figure(figsize=SIZE, dpi=DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    crystal = figure.add_axes((0.0, 0.0, 0.46, 0.92))
    dot = _draw_series(figure.add_axes((0.74, 0.16, 0.24, 0.7)), values, label)
    caption = figure.text(0.02, 0.945, "")
    colours, hidden = species_colours(lattice), tuple(hide)
    for k, frame in enumerate(frames):
        crystal.clear()
        scene = scene_of(lattice, frame.occupation, frame.positions, frame.cell, hide=hidden)
        draw_scene(crystal, scene, colours)
        caption.set_text(frame.caption)
        dot(k)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_series(axes: Axes, values: Sequence[float], label: str) -> Callable[[int], None]:
    """Draw the line, and return what moves the dot to a frame."""
    axes.plot(values, color="0.7", linewidth=0.9)
    (past,) = axes.plot([], [], color=COLOURS[0], linewidth=1.1)
    (dot,) = axes.plot([], [], "o", color=COLOURS[1], markersize=6)
    axes.set_xlabel("Frame")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)

    def move(k: int) -> None:
        past.set_data(range(k + 1), values[: k + 1])
        dot.set_data([k], [values[k]])

    return move
