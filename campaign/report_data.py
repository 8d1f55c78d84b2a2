"""The numbers behind the plots of a report: traces, structure and energies as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from .. import analysis
from ..analysis.overview import relative_energies
from ..analysis.point_results import fraction_name
from ..lattice import Lattice
from ..records import Run
from .report_structures import structure_data

__all__ = ["embedded_json", "page_data"]

MAX_TRACE = 400
DIGITS = 6


def page_data(run: Run, results: Mapping[str, Any], frames: int | None = None) -> dict[str, Any]:
    """Everything that the plots draw.

    Parameters
    ----------
    run
        The run.
    results
        What `analysis.analyze_run` made of it.
    frames
        Structures of every chain; see `structure_data`.

    Returns
    -------
    Plain data: ``results``, ``relative_energy`` (meV per site above the lowest mean), ``traces``
    (at most 400 draws per chain, evenly spaced) and ``structure`` (`structure_data`), points in
    the order of the results.
    """
    points = [run.points[point["index"]] for point in results["points"]]
    fractions = list(results["points"][0]["fractions"])
    means = [point["energy"]["mean"] for point in results["points"]]
    lowest = min((mean for mean in means if mean is not None), default=0.0)
    return {
        "results": results,
        "relative_energy": relative_energies(results),
        "traces": [
            _traces(run.lattice, p, results["points"][0]["orders"], fractions, lowest)
            for p in points
        ],
        "structure": structure_data(run, points, frames),
    }


def embedded_json(data: Mapping[str, Any]) -> str:
    r"""JSON that may stand inside a script element of a page.

    Examples
    --------
    >>> embedded_json({"title": "</script>"})
    '{"title":"\\u003c/script>"}'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _traces(
    lattice: Lattice,
    point: xr.Dataset,
    labels: Sequence[str],
    fractions: Sequence[str],
    lowest: float,
) -> dict[str, Any]:
    stride = -(-point.sizes["draw"] // MAX_TRACE)
    thinned = point.isel(draw=slice(None, None, stride))
    energy = thinned["energy"].transpose("chain", "draw").to_numpy() / lattice.n_sites - lowest
    series = {"energy": _rounded(1e3 * energy)}
    followed = {fraction_name((n, s)): (n, s) for n in lattice.names for s in _species(lattice, n)}
    for name in fractions:
        sublattice, species = followed[name]
        sites = lattice.sublattice_of_site == lattice.names.index(sublattice)
        held = thinned["occupation"].transpose("chain", "draw", "site").to_numpy()[..., sites]
        series[name] = _rounded((held == _species(lattice, sublattice).index(species)).mean(axis=2))
    for label in labels:
        sublattice, _, name = label.rpartition(" ")
        order = analysis.ordering_series(
            lattice, thinned["occupation"], name, sublattice or lattice.names[0]
        )
        series[label] = _rounded(order.transpose("chain", "draw").to_numpy())
    return {"stride": stride, "series": series}


def _rounded(values: np.ndarray) -> list[list[float | None]]:
    """Chains as lists, six digits each; None where there is no value."""
    return [
        [float(f"{x:.{DIGITS - 1}g}") if np.isfinite(x) else None for x in row] for row in values
    ]


def _species(lattice: Lattice, sublattice: str) -> tuple[str, ...]:
    return tuple(lattice.sublattices[sublattice].species)
