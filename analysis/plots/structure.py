"""A crystal as a still picture: its atoms in projection, sites coloured by species."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from ...errors import InputError
from ...lattice import VACANCY, Lattice
from .style import axes_of, figure_of

__all__ = ["Scene", "draw_scene", "plot_structure", "scene_of", "species_colours"]

SPECIES_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
SPECTATOR_COLOURS = ("#c3ccd5", "#e9cfcb", "#d5d9c4", "#d6cde0")
INNER_MARKS = (None, "dot", "ring", "open", "bar", "dots", None)
"""What is drawn in a site of each species, so that they differ without colour, too."""
ANIONS = frozenset({"O", "F", "N", "S"})
SITE_RADIUS, CATION_RADIUS, ANION_RADIUS = 0.72, 0.42, 0.27
"""Radii in Å at which atoms are drawn."""
PERSPECTIVE = 0.22
ON_FACE = 1e-4


class Scene(NamedTuple):
    """Atoms as they are drawn, farthest first.

    ``places`` [n, 2] and ``radii`` [n] in Å of the picture, ``names`` the species (a blank behind
    those of spectators); ``edges`` [12, 2, 2] of the cell and whether each lies ``behind``.
    """

    places: np.ndarray
    radii: np.ndarray
    names: list[str]
    edges: np.ndarray
    behind: np.ndarray


def plot_structure(
    lattice: Lattice,
    occupation: np.ndarray,
    axes: Axes | None = None,
    *,
    positions: np.ndarray | None = None,
    cell: np.ndarray | None = None,
    turn: float = 24.0,
    tilt: float = 18.0,
    hide: Collection[str] = (),
) -> Figure:
    """Draw one configuration.

    Parameters
    ----------
    lattice
        Sites and species.
    occupation
        [n_sites].
    axes
        Where to draw; a new figure unless given.
    positions, cell
        [n_atoms, 3] and [3, 3] in Å where they are not the lattice's.
    turn, tilt
        Angles in degrees by which the cell is turned about its third axis and tilted to the viewer.
    hide
        Species that are not drawn.

    Returns
    -------
    The figure: vector graphics, sites in colours and marks of their own, spectators pale.

    Raises
    ------
    InputError
        If the occupation is not that of one configuration.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> figure = plot_structure(lattice, [0, 1] * 4, hide=("O",))
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['Sc', 'Ta', 'Sr']
    """
    axes = axes_of(axes, (3.4, 3.1))
    scene = scene_of(lattice, occupation, positions, cell, turn=turn, tilt=tilt, hide=hide)
    draw_scene(axes, scene, species_colours(lattice))
    return figure_of(axes)


def species_colours(lattice: Lattice) -> dict[str, tuple[str, str | None]]:
    """Colour and inner mark of every species; those of the sites first.

    A species that stands on a site and as a spectator has an entry with a blank behind its symbol
    for the latter.
    """
    mixed = dict.fromkeys(s for n in lattice.names for s in lattice.sublattices[n].species)
    names = [name for name in mixed if name != VACANCY]
    symbols = lattice.atoms.get_chemical_symbols()
    others = sorted({symbols[k] for k in lattice.spectators})
    found: dict[str, tuple[str, str | None]] = {
        name: (SPECIES_COLOURS[k % 7], INNER_MARKS[k % 7]) for k, name in enumerate(names)
    }
    return found | {f"{s} ": (SPECTATOR_COLOURS[k % 4], None) for k, s in enumerate(others)}


def scene_of(
    lattice: Lattice,
    occupation: np.ndarray,
    positions: np.ndarray | None = None,
    cell: np.ndarray | None = None,
    *,
    turn: float = 24.0,
    tilt: float = 18.0,
    hide: Collection[str] = (),
) -> Scene:
    """Project a configuration; see `plot_structure`."""
    occupation = np.asarray(occupation)
    if occupation.shape != (lattice.n_sites,):
        raise InputError(
            f"occupation has shape {occupation.shape}: give one configuration, [{lattice.n_sites}]"
        )
    cell = lattice.atoms.cell.array if cell is None else np.asarray(cell, float)
    scaled, owners = _drawn_atoms(lattice, positions, cell)
    site_of = np.full(len(lattice.atoms), -1)
    site_of[lattice.sites] = np.arange(lattice.n_sites)
    symbols = lattice.atoms.get_chemical_symbols()
    names = [
        lattice.species_of(site_of[a])[int(occupation[site_of[a]])]
        if site_of[a] >= 0
        else f"{symbols[a]} "
        for a in owners
    ]
    kept = [k for k, name in enumerate(names) if name != VACANCY and name.strip() not in hide]
    places, depth, scale = _projected(scaled[kept] @ cell, cell, turn, tilt)
    sites = site_of[owners[kept]] >= 0
    names = [names[k] for k in kept]
    radii = scale * [
        SITE_RADIUS if site else ANION_RADIUS if name.strip() in ANIONS else CATION_RADIUS
        for site, name in zip(sites, names, strict=True)
    ]
    order = np.argsort(depth)
    edges, behind = _edges(cell, turn, tilt)
    return Scene(places[order], radii[order], [names[k] for k in order], edges, behind)


def draw_scene(
    axes: Axes,
    scene: Scene,
    colours: Mapping[str, tuple[str, str | None]],
    *,
    legend: bool = True,
) -> None:
    """Draw a projected configuration and its legend."""
    axes.add_collection(_lines(scene.edges[scene.behind], "0.75", 0))
    circles, faces, edges = [], [], []
    for place, radius, name in zip(scene.places, scene.radii, scene.names, strict=True):
        colour, mark = colours[name]
        for inner, face, edge in _circles(radius, colour, mark):
            circles.append(Circle(tuple(place), inner))
            faces.append(face)
            edges.append(edge)
    axes.add_collection(
        PatchCollection(circles, facecolors=faces, edgecolors=edges, linewidths=0.5, zorder=2)
    )
    axes.add_collection(_lines(scene.edges[~scene.behind], "0.45", 3))
    corners = scene.edges.reshape(-1, 2)
    margin = 0.9
    axes.set_xlim(corners[:, 0].min() - margin, corners[:, 0].max() + margin)
    axes.set_ylim(corners[:, 1].min() - margin, corners[:, 1].max() + margin)
    axes.set_aspect("equal")
    axes.axis("off")
    if legend:
        _legend(axes, scene, colours)


def _circles(radius: float, colour: str, mark: str | None) -> list[tuple[float, str, str]]:
    """Circles of an atom from the outside in: radius, face and edge."""
    rim = "0.25"
    disc = [(radius, colour, rim)]
    inner = {
        "dot": [(0.3 * radius, "white", "white")],
        "ring": [(0.6 * radius, "white", "white"), (0.38 * radius, colour, colour)],
        "open": [(0.72 * radius, "white", "white")],
        "bar": [(0.3 * radius, "black", "black")],
        "dots": [(0.6 * radius, "black", "black"), (0.38 * radius, colour, colour)],
    }
    return disc + (inner[mark] if mark else [])


def _legend(axes: Axes, scene: Scene, colours: Mapping[str, tuple[str, str | None]]) -> None:
    handles = []
    for name in (n for n in colours if n in set(scene.names)):
        colour, mark = colours[name]
        parts = [
            Line2D(
                [], [], marker="o", linestyle="", markersize=9 * r, color=face, markeredgecolor=e
            )
            for r, face, e in _circles(1.0, colour, mark)
        ]
        handles.append((tuple(parts), name.strip()))
    axes.legend(
        [parts for parts, _ in handles],
        [name for _, name in handles],
        handler_map={tuple: HandlerTuple(ndivide=1, pad=0.0)},
        frameon=False,
        fontsize="small",
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        handletextpad=0.3,
    )


def _lines(edges: np.ndarray, colour: str, order: int) -> LineCollection:
    return LineCollection(list(edges), colors=colour, linewidths=0.8, zorder=order)


def _drawn_atoms(
    lattice: Lattice, positions: np.ndarray | None, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scaled positions, those on a face on the opposite one, too, and their atoms."""
    reference = lattice.atoms.get_scaled_positions(wrap=True)
    reference[reference > 1 - ON_FACE] = 0.0
    moved = np.zeros_like(reference)
    if positions is not None:
        moved = np.asarray(positions, float) @ np.linalg.inv(cell) - reference
        moved -= moved.round()
        moved -= moved.mean(axis=0)
    scaled, owners = reference, np.arange(len(reference))
    for axis in range(3):
        on_face = np.flatnonzero(scaled[:, axis] < ON_FACE)
        copies = scaled[on_face].copy()
        copies[:, axis] += 1.0
        scaled, owners = np.vstack([scaled, copies]), np.append(owners, owners[on_face])
    return scaled + moved[owners], owners


def _view(turn: float, tilt: float) -> np.ndarray:
    """Rotation whose rows are the picture's right, up and towards the viewer."""
    a, b = math.radians(turn), math.radians(90.0 - tilt)
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), math.sin(b)], [0, -math.sin(b), math.cos(b)]])
    return about_x @ about_z


def _projected(
    points: np.ndarray, cell: np.ndarray, turn: float, tilt: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places in the picture, depth towards the viewer, and magnification."""
    centre = cell.sum(axis=0) / 2
    seen = (points - centre) @ _view(turn, tilt).T
    extent = np.linalg.norm(_corners(cell) - centre, axis=1).max()
    scale = 1 / (1 - PERSPECTIVE * seen[:, 2] / extent)
    return seen[:, :2] * scale[:, None], seen[:, 2], scale


def _corners(cell: np.ndarray) -> np.ndarray:
    return np.array([[n & 1, n >> 1 & 1, n >> 2 & 1] for n in range(8)]) @ cell


def _edges(cell: np.ndarray, turn: float, tilt: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the cell in the picture; those that meet in the farthest corner lie behind."""
    places, depth, _ = _projected(_corners(cell), cell, turn, tilt)
    pairs = np.array([(n, n | 1 << k) for n in range(8) for k in range(3) if not n >> k & 1])
    return places[pairs], (pairs == depth.argmin()).any(axis=1)
