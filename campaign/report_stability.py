"""Sections on phase stability: ordering temperatures, free energies, diagrams, ground states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from .report_parts import Figure, Section, Series, Table

__all__ = [
    "diagram_section",
    "free_energy_section",
    "ground_state_section",
    "ordering_section",
]

Data = Mapping[str, Any]
NAMES = {"binodal": "binodal", "spinodal": "spinodal", "consolute": "consolute point"}


# ---- ordering temperatures


def ordering_section(data: Data, curves: xr.Dataset | None = None) -> Section:
    """Show an order–disorder analysis, ``OrderingTemperature.to_dict()``, and its curves."""
    estimates = [
        [
            one["name"],
            _number(one["temperature"], one["error"]),
            None if one["chi2"] is None else f"{one['chi2']:.2g}",
            one["text"],
        ]
        for one in data["estimates"]
    ]
    sizes = [
        [
            row["label"],
            row["n_sites"],
            f"{len(row['temperatures'])} points",
            round(row["least_overlap"], 3),
            float(f"{row['least_ess']:.3g}"),
            _number(row["barrier"], row["barrier_error"]),
            _peak(row["peaks"], "heat_capacity"),
        ]
        for row in data["sizes"]
    ]
    tables = [
        Table(("Estimate", "T (K)", "χ²", "How"), estimates, "Estimates"),
        Table(
            (
                *("Size", "Sites", "Sampled", "Least overlap", "Least ESS"),
                *("Barrier (k_BT)", "Heat capacity peaks at (K)"),
            ),
            sizes,
            "Sizes",
        ),
    ]
    figures = [_finite_size(data), *(_curve_figures(curves) if curves is not None else ())]
    return Section(
        f"Ordering temperature: {data['order']}" if data["order"] != "None" else "Transition",
        data["statement"],
        figures=[figure for figure in figures if figure.series],
        tables=tables,
        key="ordering-temperature",
    )


def _peak(peaks: Data, name: str) -> Any:
    found = next((top for key, top in peaks.items() if name.replace("_", " ") in key), None)
    found = found or peaks.get(name)
    return None if not found else _number(found["temperature"], found["error"])


def _finite_size(data: Data) -> Figure:
    """Estimates of every size, and what they are extrapolated to."""
    sizes = {row["label"]: row["n_sites"] for row in data["sizes"]}
    series = []
    for one in data["estimates"]:
        placed = [(p, n) for p in one["points"] if (n := _sites(p["label"], sizes)) is not None]
        series.append(
            Series(
                one["name"],
                [1.0 / n for _, n in placed],
                [p["temperature"] for p, _ in placed],
                [p["error"] for p, _ in placed],
                line=None,
            )
        )
    known = data["temperature"] is not None and not data["apparent"]
    x = [value for one in series for value in one.x if value is not None]
    if known and x:
        ends, t = [min(x), max(x)], data["temperature"]
        bars = [data["error"]] * 2
        series.append(Series("infinite crystal", ends, [t, t], bars, line="dash", points=False))
    title = "Finite-size scaling"
    caption = "Crossings stand at the larger of their two sizes."
    return Figure(title, "1 / number of sites", "Temperature (K)", series, caption, log="x")


def _sites(label: str, sizes: Mapping[str, int]) -> int | None:
    """Sites of a size by its label, or of the larger of two that are joined by "and"."""
    last = label.rsplit(" and ", maxsplit=1)[-1]
    for name, n in sizes.items():
        if label == name or name.removeprefix("L = ") == last:
            return n
    return None


def _curve_figures(curves: xr.Dataset) -> Iterator[Figure]:
    labels = {
        "heat_capacity": ("Heat capacity by size", "Heat capacity (k_B per site)"),
        "cumulant": ("Cumulant by size", "U = 1 − ⟨m⁴⟩/3⟨m²⟩²"),
        "susceptibility": ("Susceptibility by size", "Susceptibility (1/eV)"),
    }
    for name, (title, label) in labels.items():
        if name not in curves:
            continue
        series = []
        for size in curves["size"].to_numpy():
            row = curves.sel(size=size)
            step = max(1, row.sizes["point"] // 40)
            thin = row.isel(point=slice(None, None, step))
            series.append(
                Series(
                    str(size),
                    thin["temperature"].to_numpy().tolist(),
                    thin[name].to_numpy().tolist(),
                    thin[f"{name}_error"].to_numpy().tolist(),
                    points=False,
                )
            )
        yield Figure(title, "Temperature (K)", label, series)


# ---- free energies and diagrams


def free_energy_section(data: Data) -> Section:
    """Show free energies of compositions, ``FreeEnergies.to_dict()``."""
    rows = [row for row in data["rows"] if row["free_energy"] is not None]
    columns = [name for name in rows[0] if name.startswith("x_")] if rows else []
    figures = [_free_energies(rows, columns[0], data)] if len(columns) == 1 else []
    caveats = list(data["notes"])
    if len(columns) > 1:
        caveats.append("Several fractions vary, so that no curve can be drawn.")
    return Section("Free energy", data["statement"], caveats, figures, key="free-energy")


def _free_energies(rows: Sequence[Data], column: str, data: Data) -> Figure:
    """Free energies from the straight line between the ends of every temperature's curve."""
    series, pure = [], True
    for kelvin in dict.fromkeys(row["temperature"] for row in rows):
        curve = sorted((r for r in rows if r["temperature"] == kelvin), key=lambda r: r[column])
        x = np.array([row[column] for row in curve])
        f = np.array([row["free_energy"] for row in curve])
        pure &= x[0] == 0.0 and x[-1] == 1.0
        line = f[0] + (x - x[0]) * (f[-1] - f[0]) / (x[-1] - x[0]) if len(x) > 1 else f
        series.append(
            Series(
                f"{kelvin:,.6g} K",
                x.tolist(),
                (1e3 * (f - line)).tolist(),
                [None if r["free_energy_error"] is None else 1e3 * r["free_energy_error"]
                 for r in curve],
                converged=[row["converged"] for row in curve],
            )
        )  # fmt: skip
    return Figure(
        "Free energy against composition",
        _capital(data["axis"] or "fraction"),
        f"{'ΔF_mix' if pure else 'F less the line between its ends'} (meV per site)",
        series,
        "Counted from the straight line between "
        f"{'the pure ends' if pure else 'the outermost compositions'} of each temperature; errors "
        "are those of F.",
        x_range=(0.0, 1.0),
    )


def diagram_section(data: Data) -> Section:
    """Show a phase diagram, ``PhaseDiagram.to_dict()``."""
    rows = data["rows"]
    series = []
    binodal = [row for row in rows if row["kind"] == "binodal"]
    lines = [binodal[k : k + 2] for k in range(0, len(binodal), 2)]
    lines.sort(key=lambda line: line[0]["temperature"])
    ends = [row for row in rows if row["kind"] == "consolute"]
    if _one_gap(lines):
        outline = [line[0] for line in lines] + ends + [line[1] for line in reversed(lines)]
        x, t = [row["x"] for row in outline], [row["temperature"] for row in outline]
        series.append(Series("two phases", [*x, x[0]], [*t, t[0]], area=True, colour=0))
    for colour, kind in enumerate(("binodal", "spinodal", "consolute")):
        for beyond in (False, True):
            found = [r for r in rows if r["kind"] == kind and r["extrapolated"] is beyond]
            name = f"{NAMES[kind]}, extrapolated" if beyond else NAMES[kind]
            series.append(_boundary(name, found, colour + 3 * beyond))
    columns = ("Boundary", "T (K)", "x", "μ (eV)", "Share of resamples", "Extrapolated")
    cells = [
        [
            row["kind"],
            _number(row["temperature"], row["temperature_error"])
            if row["temperature_error"] is not None
            else row["temperature"],
            _number(row["x"], row["x_error"]),
            None if row["mu"] is None else _number(row["mu"], row["mu_error"]),
            row["certainty"],
            "yes" if row["extrapolated"] else "no",
        ]
        for row in rows
    ]
    figure = Figure(
        "Temperature–composition diagram",
        _capital(data["axis"]),
        "Temperature (K)",
        [one for one in series if one.x],
        "Extrapolated: outside of the temperatures sampled.",
        x_range=(0.0, 1.0),
    )
    shown = [figure] if rows else []
    tables = [Table(columns, cells)] if rows else []
    return Section("Phase diagram", data["statement"], (), shown, tables, "phase-diagram")


def _one_gap(lines: Sequence[Sequence[Data]]) -> bool:
    """Whether every temperature has one tie line, so that they bound one region."""
    return len(lines) > 1 and len({line[0]["temperature"] for line in lines}) == len(lines)


def _boundary(name: str, rows: Sequence[Data], colour: int) -> Series:
    return Series(
        name,
        [row["x"] for row in rows],
        [row["temperature"] for row in rows],
        [row["temperature_error"] for row in rows],
        [row["x_error"] for row in rows],
        line=None,
        colour=colour,
    )


# ---- ground states


def ground_state_section(data: Data) -> Section:
    """Show enumerated ground states, ``GroundStates.to_dict()``."""
    states = data["ground_states"]
    others = data["next"]
    columns = (
        *("Arrangement", "Order", "Space group", "Cells", "Formation energy (meV per site)"),
        *("Above the hull (meV per site)", "Depth (meV per site)"),
    )
    rows = [
        [
            row["formula"],
            row["order"] or None,
            row["space_group"],
            row["n_cells"],
            f"{1e3 * row['formation_energy_per_site']:.1f}",
            f"{1e3 * row['above_hull_per_site']:.1f}",
            None if row["depth_per_site"] is None else f"{1e3 * row['depth_per_site']:.1f}",
        ]
        for row in [*sorted(states, key=_composition), *others]
    ]
    note = "Ground states first, then the lowest of those above the hull."
    figures = []
    if len(data["variables"]) == 1:
        figures = [_hull(states, others, str(data["variables"][0]))]
    return Section(
        "Ground states",
        data["statement"],
        figures=figures,
        tables=[Table(columns, rows, note=note)],
        key="ground-states",
    )


def _composition(row: Data) -> list[float]:
    return list(row["composition"].values())


def _hull(states: Sequence[Data], others: Sequence[Data], variable: str) -> Figure:
    def placed(rows: Sequence[Data]) -> tuple[list[float], list[float]]:
        pairs = sorted(
            (float(next(iter(row["composition"].values()))), 1e3 * row["formation_energy_per_site"])
            for row in rows
        )
        return [x for x, _ in pairs], [e for _, e in pairs]

    series = [
        Series("ground states", *placed(states)),
        Series("lowest above the hull", *placed(others), line=None),
    ]
    return Figure(
        "Hull of formation energies",
        f"Fraction of {variable}",
        "Formation energy (meV per site)",
        [one for one in series if one.x],
        x_range=(0.0, 1.0),
    )


def _number(value: float | None, error: float | None) -> Any:
    return None if value is None else {"mean": value, "error": error, "converged": True}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
