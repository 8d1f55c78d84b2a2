"""Sections from the draws of one run: convergence by quantity, diffuse scattering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from .. import analysis
from ..errors import AlchemcError
from ..records import Run
from .report_parts import Figure, Section, Table

__all__ = ["diagnostics_sections", "scattering_sections"]

Results = Mapping[str, Any]
MOST_DRAWS = 200
"""Draws of every chain that a map is taken from, evenly spread."""
EXTENT = (2.0, 2.0)
CAPTION = (
    "Intensity in Laue units at the wave vectors that fit the cell, weighted for X-rays: 1 "
    "everywhere for independent sites. Bragg peaks of the parent crystal are left out."
)


def diagnostics_sections(run: Run, results: Results) -> list[Section]:
    """Tell equilibration, autocorrelation, effective draws and R-hat by point and quantity."""
    names = dict.fromkeys(name.rpartition(" ")[2] for name in results["points"][0]["orders"])
    orders = None if results["layout"]["free"] else list(names)
    try:
        found = analysis.diagnostics(run, orders)
    except AlchemcError:
        return []
    rows = [
        _row(found.isel(point=p, quantity=q))
        for p in range(found.sizes["point"])
        for q in range(found.sizes["quantity"])
        if int(found["n_draws"][p, q].fillna(0)) > 0
    ]
    if not rows:
        return []
    columns = (
        *("Point", "Quantity", "R-hat", "ESS", "ESS (bulk)", "ESS (tail)", "τ (draws)"),
        *("Unequilibrated (draws)", "Error of blocks (of the error)", "Remarks"),
    )
    note = (
        "ESS: effective draws of the mean, of ranks and of the tails. τ: integrated "
        "autocorrelation time. Unequilibrated: draws at the start that look so. Blocks: where far "
        "above 1, the error is too small."
    )
    table = Table(columns, rows, "Every point and quantity", note, folded=True)
    return [Section("Diagnostics", _diagnosis(found), tables=[table], key="diagnostics")]


def _row(one: xr.Dataset) -> list[Any]:
    rhat, error, tau = (float(one[name]) for name in ("rhat", "error", "autocorrelation_time"))
    ratio = float(one["block_error"]) / error if error else np.nan
    return [
        str(one["label"].item()),
        str(one["quantity"].item()),
        _judged(f"{rhat:.3f}" if np.isfinite(rhat) else "–", one),
        *(_whole(float(one[name])) for name in ("ess", "ess_bulk", "ess_tail")),
        f"{tau:.1f}" if np.isfinite(tau) else None,
        _whole(float(one["discard"])),
        f"{ratio:.2f}" if np.isfinite(ratio) else None,
        "; ".join(part for part in (one["why"].item(), one["remarks"].item()) if part),
    ]


def _judged(text: str, one: xr.Dataset) -> dict[str, Any]:
    """Return a cell that is red where a quantity did not converge."""
    return {"text": text, "converged": bool(one["converged"]), "why": str(one["why"].item())}


def _whole(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None


def _diagnosis(found: xr.Dataset) -> str:
    """Say in sentences how long the chains remember, and what is known least."""
    known = found["n_draws"].fillna(0.0) > 0
    good, total = int((found["converged"] & known).sum()), int(known.sum())
    parts = [f"{good} of {total} quantities have converged."]
    slow = found["autocorrelation_time"].where(known)
    if slow.notnull().any():
        at = _place(slow, slow.argmax(...))
        parts.append(f"The longest memory is that of {at}: τ = {float(slow.max()):.2g} draws.")
    few = found["ess"].where(known & (found["ess"] > 0))
    if few.notnull().any():
        at = _place(few, few.argmin(...))
        parts.append(f"The fewest effective draws are those of {at}: {int(few.min()):,}.")
    late = (found["discard"] / found["n_draws"]).where(known)
    if late.notnull().any() and float(late.max()) > 0.1:
        at = _place(late, late.argmax(...))
        parts.append(f"Up to {float(late.max()):.0%} of the draws look unequilibrated ({at}).")
    return " ".join(parts)


def _place(values: xr.DataArray, at: Any) -> str:
    one = values.isel(at)
    return f"{one['quantity'].item()} at {one['label'].item()}"


def scattering_sections(run: Run, results: Results) -> list[Section]:
    """Map the diffuse scattering at the first and the last point, where a plane fits."""
    ends = results["points"][:1] + results["points"][1:][-1:]
    maps = [(point, found) for point in ends if (found := _map(run, point["index"])) is not None]
    if not maps:
        return []
    point, first = maps[0]
    statement = f"At {point['written']}: {_lower(str(first.attrs['statement']))}"
    figures = [_figure(f"X-rays, {point['written']}", found) for point, found in maps]
    return [Section("Diffuse scattering", statement, figures=figures, key="scattering")]


def _map(run: Run, index: int) -> xr.Dataset | None:
    occupations = run.points[index]["occupation"]
    step = -(-occupations.sizes["draw"] // MOST_DRAWS)
    thinned = occupations.isel(draw=slice(None, None, step))
    try:
        found = analysis.structure_factor_map(run.lattice, thinned, "hhl", "x-ray", extent=EXTENT)
    except AlchemcError:  # no such plane fits, or nothing scatters apart
        return None
    return found if np.isfinite(_values(found)).any() else None


def _values(found: xr.Dataset) -> np.ndarray:
    """Diffuse intensity [y, x] in Laue units; NaN at the parent's Bragg peaks."""
    values: np.ndarray = found["diffuse_laue"].where(~found["fundamental"]).to_numpy().T
    return values


def _figure(title: str, found: xr.Dataset) -> Figure:
    rows: Sequence[Sequence[float | None]] = [
        [float(f"{v:.4g}") if np.isfinite(v) else None for v in row] for row in _values(found)
    ]
    return Figure(
        title,
        "h of (h h l)",
        "l of (h h l)",
        caption=CAPTION,
        values=rows,
        map_x=found["x"].to_numpy().tolist(),
        map_y=found["y"].to_numpy().tolist(),
        map_label="Intensity (Laue units)",
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
