"""Figures of solid solutions: the lattice parameter along x, and its way from Vegard's line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import InputError
from ...sublattice import suggestion
from .style import COLOURS, MARKERS, axes_of, finished

if TYPE_CHECKING:
    from ..solid_solution.results import SolidSolution

__all__ = ["plot_solid_solution"]

LABELS = {
    "sites": "mean crystal, sites",
    "paper": "mean crystal, paper",
    "arrangements": "arrangements",
}
DRAWN = {
    "lattice_parameter": "Lattice parameter (Å)",
    "deviation": "a less Vegard's line (Å)",
    "mixing_energy": "Energy of mixing (eV per site)",
}


def plot_solid_solution(
    solution: SolidSolution, axes: Axes | None = None, *, quantity: str = "lattice_parameter"
) -> Figure:
    """Draw a solid solution along x: lines for mean crystals, bars of one error for averages.

    Parameters
    ----------
    solution
        From `lattice_parameters`, with averages beside it or not.
    axes
        Where to draw; a new figure unless given.
    quantity
        ``"lattice_parameter"``, with Vegard's line of the first series dotted;
        ``"deviation"`` from that line, each series from its own; or ``"mixing_energy"``.

    Returns
    -------
    The figure.

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, analysis, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0)
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> found = analysis.lattice_parameters(mace, [0, 0.5, 1])
    >>> plot_solid_solution(found).axes[0].get_ylabel()
    'Lattice parameter (Å)'
    """
    if quantity not in DRAWN:
        raise InputError(f"no quantity is called {quantity!r}; {suggestion(quantity, DRAWN)}")
    axes = axes_of(axes)
    for k, one in enumerate(solution.series):
        if quantity == "lattice_parameter":
            values, errors = one.lattice_parameter, one.lattice_parameter_error
        else:
            values, errors = getattr(solution, quantity)(one.rule)
        sampled = (one.arrangements > 0).any()
        axes.errorbar(
            one.x, values, yerr=np.where(np.isfinite(errors), errors, 0.0) if sampled else None,
            fmt=MARKERS[k] if sampled else MARKERS[k] + "-", color=COLOURS[k % 6], markersize=4,
            linewidth=1.2, elinewidth=1.0, capsize=2.5, label=LABELS[one.rule], zorder=3 + sampled,
            clip_on=False,
        )  # fmt: skip
    first = solution.series[0]
    if quantity == "lattice_parameter":
        axes.plot([0, 1], first.lattice_parameter[[0, -1]], ":", color="0.5", label="Vegard")
    else:
        axes.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_xlim(0.0, 1.0)
    return finished(axes, f"x ({solution.ends.text()})", DRAWN[quantity])
