"""What a reader must know of numbers from a trajectory that another program has made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ..records import Run
from ..statistics import equilibration
from .caveats import Caveat
from .layout import few

__all__ = ["trajectory_caveats"]

LONGEST_SEARCHED = 2000
"""Draws at which equilibration is looked for; longer series are thinned to so many."""

BURN_IN = 0.1
"""Share of the draws up to which a beginning that looks unequilibrated is no matter."""


def trajectory_caveats(
    run: Run, points: Sequence[xr.Dataset], names: Sequence[str]
) -> list[Caveat]:
    """Caveats of a run that `read_trajectory` has made; none for other runs.

    Parameters
    ----------
    run
        The run.
    points, names
        Those that hold draws, and what to call them.
    """
    known = run.attrs.get("trajectory")
    if not known:
        return []
    caveats = []
    if known["ensemble"] == "unknown":
        text = (
            "The trajectory does not say in which ensemble it was sampled: means are over its "
            "draws as they are, and no heat capacity follows from them. Give the ensemble if it "
            "is known."
        )
        caveats.append(Caveat("warning", "ensemble-unknown", text))
    if all(_no_energy(point) for point in points):
        text = "The trajectory holds no energies: verdicts rest on order and composition alone."
        caveats.append(Caveat("note", "no-energies", text))
    caveats += [Caveat("warning", "trajectory", text) for text in known["notes"]]
    late = {name: _unequilibrated(p) for p, name in zip(points, names, strict=True)}
    found = [
        f"{name}: {draws:,} of {points[0].sizes['draw']:,}" for name, draws in late.items() if draws
    ]
    if found:
        text = (
            "The beginning of the trajectory looks unequilibrated by its energies (draws, at "
            f"{few(found, '; ')}): leave it out with start = {max(late.values())}."
        )
        caveats.append(Caveat("warning", "burn-in", text))
    return caveats


def _no_energy(point: xr.Dataset) -> bool:
    return "energy" not in point or bool(np.isnan(point["energy"].to_numpy()).all())


def _unequilibrated(point: xr.Dataset) -> int:
    """Draws at the beginning that look unequilibrated, 0 if they are few."""
    if _no_energy(point):
        return 0
    energy = point["energy"].transpose("draw", "chain").to_numpy()
    stride = -(-len(energy) // LONGEST_SEARCHED)
    draws = equilibration(energy[::stride]) * stride
    return draws if draws > BURN_IN * len(energy) else 0
