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
from ..lattice import VACANCY, Lattice
from ..records import Run

__all__ = ["embedded_json", "page_data"]

MAX_TRACE = 400
MAX_SPECTATORS = 4000
ON_FACE = 1e-4
DIGITS = 6


def page_data(run: Run, results: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the plots draw.

    Parameters
    ----------
    run
        The run.
    results
        What `analysis.analyze_run` made of it.

    Returns
    -------
    Plain data: ``results``, ``relative_energy`` (meV per site above the lowest mean), ``traces``
    (at most 400 draws per chain, evenly spaced) and ``structure``, points in the order of the
    results.
    """
    points = [run.points[point["index"]] for point in results["points"]]
    fractions = list(results["points"][0]["fractions"])
    lowest = min(point["energy"]["mean"] for point in results["points"])
    return {
        "results": results,
        "relative_energy": relative_energies(results),
        "traces": [
            _traces(run.lattice, p, results["points"][0]["orders"], fractions, lowest)
            for p in points
        ],
        "structure": _structure(run.lattice, points),
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


def _structure(lattice: Lattice, points: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Sites and spectators (those on a face on the far one too) and the last draw of chain 1."""
    images, owners = _with_far_faces(lattice)
    site_of_atom = np.full(len(lattice.atoms), -1)
    site_of_atom[lattice.sites] = np.arange(lattice.n_sites)
    mixed = site_of_atom[owners] >= 0
    symbols = lattice.atoms.get_chemical_symbols()
    spectators = [
        [symbols[atom], position.round(3).tolist()]
        for atom, position in zip(owners[~mixed], images[~mixed], strict=True)
    ]
    if len(spectators) > MAX_SPECTATORS:
        spectators = []
    species = {s: None for name in lattice.names for s in lattice.sublattices[name].species}
    return {
        "cell": lattice.atoms.cell.array.round(4).tolist(),
        "sites": images[mixed].round(3).tolist(),
        "site_of": site_of_atom[owners[mixed]].tolist(),
        "species": [s for s in species if s != VACANCY],
        "spectators": spectators,
        "spectator_species": sorted({symbol for symbol, _ in spectators}),
        "occupations": [_last_species(lattice, point) for point in points],
    }


def _with_far_faces(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Positions in Å with an atom on a face shown on the opposite one too, and their atoms."""
    scaled = lattice.atoms.get_scaled_positions(wrap=True)
    scaled[scaled > 1 - ON_FACE] = 0.0
    owners = np.arange(len(scaled))
    for axis in range(3):
        on_face = np.flatnonzero(scaled[:, axis] < ON_FACE)
        copies = scaled[on_face].copy()
        copies[:, axis] += 1.0
        scaled, owners = np.vstack([scaled, copies]), np.append(owners, owners[on_face])
    return scaled @ lattice.atoms.cell.array, owners


def _last_species(lattice: Lattice, point: xr.Dataset) -> list[str]:
    last = point["occupation"].isel(draw=-1, chain=0).to_numpy()
    return [lattice.species_of(site)[k] for site, k in enumerate(last)]
