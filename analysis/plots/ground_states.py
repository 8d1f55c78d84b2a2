"""Formation energies of enumerated arrangements over composition, with their hull."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import InputError
from ..stability.ground_state_search import GroundStates
from .style import COLOURS, COLUMN, axes_of, figure_of, finished, require_result

__all__ = ["plot_ground_states"]

NAMED = 6
PLANE = (4.2, 3.2)
"""Width and height in inches of a figure with a scale of colours."""


def plot_ground_states(found: GroundStates, axes: Axes | None = None) -> Figure:
    """Draw formation energies over composition in meV per site, ground states filled.

    For two composition variables the arrangements are points of the composition plane, coloured by
    their height above the hull, and the tie lines are drawn.

    Parameters
    ----------
    found
        From `ground_states`; its plain data do not hold every arrangement.
    axes
        Where to draw; a new figure unless given.

    Returns
    -------
    The figure; save it with ``figure.savefig("hull.pdf")``.

    Raises
    ------
    InputError
        If the composition has more than two variables, or does not vary.

    Examples
    --------
    >>> from alchemc import PairHamiltonian, analysis, builders
    >>> parent = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0)
    >>> couplings = [[[0.01, -0.01], [-0.01, 0.01]]]
    >>> found = analysis.ground_states(
    ...     parent, lambda lattice: PairHamiltonian(lattice, couplings), (1, 2))
    >>> plot_ground_states(found).axes[0].get_xlabel()
    'Fraction of Ta on B'
    """
    require_result(found, "ground_states")
    varying = np.flatnonzero(np.ptp(found.composition, axis=0) > 1e-9)
    if not 1 <= len(varying) <= 2:
        raise InputError(
            f"{len(varying)} fractions vary ({', '.join(found.labels)}); a hull is drawn over one "
            "or two"
        )
    axes = axes_of(axes, COLUMN if len(varying) == 1 else PLANE)
    label = (_over_a_line if len(varying) == 1 else _over_a_plane)(found, varying, axes)
    return finished(axes, f"Fraction of {found.labels[varying[0]]}", label)


def _over_a_line(found: GroundStates, varying: np.ndarray, axes: Axes) -> str:
    """Draw formation energies, and return what the vertical axis is."""
    x = found.composition[:, varying[0]]
    energy = 1000.0 * found.formation_energy_per_site
    low = np.zeros(len(found), dtype=bool)
    low[found.indices] = True
    corners = found.hull.vertices
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    axes.plot(x[~low], energy[~low], "o", color="0.55", markersize=3.5, markerfacecolor="white")
    axes.plot(x[corners], energy[corners], "-", color=COLOURS[0], linewidth=1.2)
    axes.plot(x[low], energy[low], "o", color=COLOURS[0], markersize=5)
    for index in [i for i, d in found.depths.items() if d > found.tolerance][:NAMED]:
        side = int(np.sign(np.round(x[index] - x.mean(), 6)))  # away from the line to the next
        axes.annotate(
            _name(found, index), (x[index], energy[index]), xytext=(6 * side, -5 if side else -12),
            textcoords="offset points", ha=("right", "center", "left")[side + 1],
            fontsize="x-small",
        )  # fmt: skip
    axes.margins(y=0.14)
    return "Formation energy\n(meV per site)"


def _name(found: GroundStates, index: int) -> str:
    """Names of the orders that are as low at the composition of a corner, or its formula."""
    alike = np.abs(found.composition[found.indices] - found.composition[index]).max(axis=1) < 1e-9
    orders = [found.arrangement(int(i)).order for i in found.indices[alike]]
    return ", ".join(filter(None, orders)) or found.arrangement(index).formula


def _over_a_plane(found: GroundStates, varying: np.ndarray, axes: Axes) -> str:
    """Draw distances from the hull, and return what the vertical axis is."""
    x, y = found.composition[:, varying].T
    for facet in found.hull.facets:
        ring = np.append(facet, facet[0])
        axes.plot(x[ring], y[ring], "-", color=COLOURS[0], linewidth=0.9, zorder=1)
    order = np.argsort(-found.above_hull_per_site, kind="stable")  # the lowest on top
    points = axes.scatter(
        x[order], y[order], c=1000.0 * found.above_hull_per_site[order], cmap="cividis_r",
        s=18, zorder=2, edgecolors="0.3", linewidths=0.3,
    )  # fmt: skip
    figure_of(axes).colorbar(points, ax=axes, label="Above the hull (meV per site)")
    axes.set_aspect("equal")
    return f"Fraction of {found.labels[varying[1]]}"
