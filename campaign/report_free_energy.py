"""Sections on free energies of paths, and on solid solutions along their composition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .labels import ROUTES, RULES
from .report_parts import Figure, Section, Series, Table

__all__ = ["alchemical_section", "solid_solution_section"]

MOST_SHOWN = 4
"""Parts of each route and temperature whose works or windows find room in figures."""
LEAST_BINS, MOST_BINS = 5, 30


def alchemical_section(data: Mapping[str, Any]) -> Section:
    """Show what ``alchemc free-energy --store DIR`` has stored."""
    rows = data["results"]
    figures = [*_along_temperature(data)]
    for row in rows:
        for part in row["parts"][:MOST_SHOWN]:
            figures += _of_part(part)
    tables = [_results(rows), *_terms(rows)]
    if any(len(row["repeats"]) > 1 for row in rows):
        tables.append(_repeats(rows))
    return Section(
        data["title"] or "Free energy along a path",
        data["statement"],
        data["caveats"],
        figures,
        tables,
        "alchemical-free-energy",
    )


def _results(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        *("T (K)", "Route", "Free energy (eV)", "Spread (meV)", "Overlap", "Dissipated (meV)"),
        *("Works", "Draws", "Force calls", "Verdict"),
    )
    note = (
        "Overlap is 0.5 at best, the least of all parts; dissipated is the most of them; works are "
        "those of each direction, draws those of all windows. Force calls are all that a route "
        "took, its preparation included."
    )
    return Table(
        columns,
        [
            [
                row["temperature_K"],
                ROUTES[row["route"]],
                _measured(row["value_eV"], row["error_eV"], converged=row["converged"]),
                _milli(row["spread_eV"]),
                None if row["overlap"] is None else round(row["overlap"], 2),
                _milli(row["dissipated_eV"]),
                row["works"],
                row["draws"],
                row["calls"],
                "converged" if row["converged"] else "not converged",
            ]
            for row in rows
        ],
        note=note,
    )


def _terms(rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """One table per route, terms along temperature."""
    for route in dict.fromkeys(row["route"] for row in rows):
        known = [row for row in rows if row["route"] == route and len(row["terms"]) > 1]
        if not known:
            continue
        names = [term["term"] for term in known[0]["terms"]]
        lines = [
            [
                row["temperature_K"],
                *(
                    _measured(term["value_eV"], term["error_eV"]) if term["error_eV"] else
                    f"{term['value_eV']:.4f}".replace("-", "−")
                    for term in row["terms"]
                ),
                _measured(row["value_eV"], row["error_eV"], converged=row["converged"]),
            ]
            for row in known
        ]  # fmt: skip
        yield Table(
            ("T (K)", *(f"{name.capitalize()} (eV)" for name in names), "Sum (eV)"), lines,
            title=f"Terms, {ROUTES[route]}",
        )  # fmt: skip


def _repeats(rows: Sequence[Mapping[str, Any]]) -> Table:
    lines = [
        [row["temperature_K"], ROUTES[row["route"]], k + 1,
         _measured(one["value_eV"], one["error_eV"])]
        for row in rows
        for k, one in enumerate(row["repeats"])
    ]  # fmt: skip
    columns = ("T (K)", "Route", "Repeat", "Free energy (eV)")
    return Table(columns, lines, title="Repeats", folded=True)


def _along_temperature(data: Mapping[str, Any]) -> Iterator[Figure]:
    rows = [row for row in data["results"] if row["value_eV"] is not None]
    if len({row["temperature_K"] for row in rows}) < 2:
        return
    series = []
    for route in dict.fromkeys(row["route"] for row in rows):
        mine = [row for row in rows if row["route"] == route]
        series.append(
            Series(
                ROUTES[route],
                [row["temperature_K"] for row in mine],
                [row["value_eV"] for row in mine],
                [row["error_eV"] for row in mine],
                converged=[row["converged"] for row in mine],
            )
        )
    yield Figure("Free energy by temperature", "Temperature (K)", "Free energy (eV)", series)


# ---- parts --------------------------------------------------------------------------------------


def _of_part(part: Mapping[str, Any]) -> list[Figure]:
    if "works" in part:
        return [_works(part), *_course(part["name"], part["course"])]
    estimate = part["estimate"]
    figures = [_slopes(part), _overlap(part)]
    if estimate["in_time"] is not None:
        figures += _course(part["name"], estimate["in_time"])
    return figures


def _works(part: Mapping[str, Any]) -> Figure:
    """Distributions of works forward, and of reverse works with their sign turned."""
    middle = part["estimate"]["free_energy"]
    ways = {
        "forward": 1e3 * (np.array(part["works"]["forward"]) - middle),
        "reverse, −W": 1e3 * (-np.array(part["works"]["reverse"]) - middle),
    }
    both = np.concatenate(list(ways.values()))
    least, most = float(both.min()), float(both.max())
    room = 0.05 * (most - least) or 1.0
    n = int(np.clip(np.sqrt(2 * both.size), LEAST_BINS, MOST_BINS))
    edges = np.linspace(least - room, most + room, n + 1)
    series = []
    for name, values in ways.items():
        counts, _ = np.histogram(values, edges, density=True)
        x = np.repeat(edges, 2)[1:-1].tolist()
        series.append(Series(name, x, np.repeat(counts, 2).tolist(), points=False))
    return Figure(
        f"Works, {part['name']}",
        "W − ΔF (meV)",
        "Density (1/meV)",
        series,
        "By Crooks' theorem the distributions cross at ΔF.",
        y_range=(0.0, None),
    )


def _course(name: str, course: Mapping[str, Any]) -> list[Figure]:
    if len(course["fractions"]) < 2:
        return []
    labels = {"first": "from the first on", "last": "up to the last"}
    series = [
        Series(
            label,
            course["fractions"],
            [one["free_energy"] for one in course[way]],
            [one["error"] for one in course[way]],
        )
        for way, label in labels.items()
    ]
    return [
        Figure(
            f"Convergence, {name}",
            "Share of the data",
            "ΔF along the path (eV)",
            series,
            "Both ways have to lead to the same number; errors are those of independent data.",
        )
    ]


def _slopes(part: Mapping[str, Any]) -> Figure:
    windows = part["estimate"]["windows"]
    slopes = [one["slope"] for one in windows]
    series = Series(
        "",
        [one["coupling"] for one in windows],
        [one["value"] for one in slopes],
        [one["error"] for one in slopes],
    )
    return Figure(f"Slopes, {part['name']}", "s", "⟨∂U/∂s⟩ (eV)", [series])


def _overlap(part: Mapping[str, Any]) -> Figure:
    estimate = part["estimate"]
    places = list(range(1, len(estimate["windows"]) + 1))
    return Figure(
        f"Overlap, {part['name']}",
        "Window",
        "Window",
        caption="Probability that a draw of the row's window belongs to the column's.",
        values=estimate["overlap"],
        map_x=places,
        map_y=places,
        map_label="Overlap",
    )


# ---- solid solutions -----------------------------------------------------------------------------


def solid_solution_section(data: Mapping[str, Any]) -> Section:
    """Show what ``alchemc solid-solution --store DIR`` has stored."""
    series = data.get("series", [])
    figures = []
    if series:
        figures = [
            _along(series, "Lattice parameter along x", "a (Å)", "lattice_parameter_A",
                   "lattice_parameter_error_A"),
            _along(series, "Deviation from Vegard's line", "Deviation (Å)", "vegard_deviation_A",
                   "vegard_deviation_error_A"),
            _along(series, "Energy of mixing", "Energy of mixing (eV per site)",
                   "mixing_energy_per_site_eV", "mixing_energy_error_eV"),
        ]  # fmt: skip
    tables = [_solution_table(series)] if series else []
    target = data.get("target")
    if target is not None and len(target["path"]) > 1:
        figures += _descent(target)
    title = data["title"] or "Solid solution along x"
    return Section(title, data["statement"], data["caveats"], figures, tables, "solid-solution")


def _along(series: Sequence[Mapping[str, Any]], title: str, y: str, key: str, error: str) -> Figure:
    lines = [
        Series(RULES[one["rule"]], one["x"], one[key], one[error], line=_line(one["rule"]))
        for one in series
    ]
    return Figure(title, "x", y, lines)


def _line(rule: str) -> Any:
    return {"sites": "solid", "paper": "dash"}.get(rule, "dot")


def _solution_table(series: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        *("Rule", "x", "a (Å)", "From Vegard's line (Å)", "Energy of mixing (meV/site)"),
        *("B (GPa)", "Arrangements"),
    )
    lines = []
    for one in series:
        for k, x in enumerate(one["x"]):
            modulus = one["bulk_modulus_GPa"][k]
            mixing, error = one["mixing_energy_per_site_eV"][k], one["mixing_energy_error_eV"][k]
            lines.append(
                [
                    RULES[one["rule"]],
                    x,
                    _length(one["lattice_parameter_A"][k], one["lattice_parameter_error_A"][k]),
                    _length(one["vegard_deviation_A"][k], one["vegard_deviation_error_A"][k]),
                    _measured(1e3 * mixing, 1e3 * error) if error else f"{1e3 * mixing:.1f}",
                    None if modulus is None else f"{modulus:.0f}",
                    one["arrangements"][k] or None,
                ]
            )
    return Table(columns, lines)


def _length(value: float, error: float | None) -> Any:
    return _measured(value, error) if error else f"{value:.4f}".replace("-", "−")


def _descent(target: Mapping[str, Any]) -> list[Figure]:
    steps = list(range(len(target["path"])))
    return [
        Figure(
            f"Search for {name.replace('_', ' ')}",
            "Step",
            f"{name.replace('_', ' ').capitalize()} ({target['units'][name]})",
            [
                Series("mean crystal", steps, [one["values"][name] for one in target["path"]]),
                Series("target", [steps[0], steps[-1]], [wanted, wanted], line="dash",
                       points=False),
            ],
        )
        for name, wanted in target["targets"].items()
    ]  # fmt: skip


def _measured(value: float | None, error: float | None, *, converged: bool = True) -> Any:
    return None if value is None else {"mean": value, "error": error, "converged": converged}


def _milli(value: float | None) -> float | None:
    return None if value is None else float(f"{1e3 * value:.3g}")
