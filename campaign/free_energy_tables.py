"""Free-energy studies in a terminal, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..analysis.wording import with_error
from .labels import ROUTES

__all__ = ["free_energy_csv", "free_energy_tables"]

COLUMNS = (
    "temperature_K", "route", "value_eV", "error_eV", "spread_eV", "overlap", "dissipated_eV",
    "works", "draws", "calls", "converged", "problem",
)  # fmt: skip

NUMBERS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "value_eV": ("free energy\n(eV)", lambda row: with_error(row["value_eV"], row["error_eV"])),
    "spread_eV": ("spread\n(meV)", lambda row: f"{1e3 * row['spread_eV']:,.3g}"),
    "overlap": ("least\noverlap", lambda row: f"{row['overlap']:.2f}"),
    "dissipated_eV": ("lost\n(meV)", lambda row: f"{1e3 * row['dissipated_eV']:,.3g}"),
    "works": ("works\na way", lambda row: f"{row['works']:,}"),
    "draws": ("draws", lambda row: f"{row['draws']:,}"),
    "calls": ("force\ncalls", lambda row: f"{row['calls']:,}"),
}
"""Headings of columns, and how a row is written in them."""


def free_energy_tables(data: Mapping[str, Any]) -> list[Table]:
    """Per temperature, the routes beside one another and the terms of their sums."""
    tables = []
    for temperature in dict.fromkeys(row["temperature_K"] for row in data["results"]):
        rows = [row for row in data["results"] if row["temperature_K"] == temperature]
        tables.append(_routes(f"{temperature:g} K", rows))
        tables += [_terms(row) for row in rows if len(row["terms"]) > 1]
    return tables


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
    )  # fmt: skip


def _routes(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(title)
    table.add_column("route")
    shown = {
        name: column
        for name, column in NUMBERS.items()
        if name == "value_eV" or any(row[name] is not None for row in rows)
    }
    for heading, _ in shown.values():
        table.add_column(heading, justify="right")
    table.add_column("converged")
    for row in rows:
        cells = ["—" if row[name] is None else form(row) for name, (_, form) in shown.items()]
        good = row["converged"]
        table.add_row(
            ROUTES[row["route"]], *cells, "yes" if good else "no", style=None if good else "yellow"
        )
    return table


def _terms(row: Mapping[str, Any]) -> Table:
    table = _table(f"Terms by {ROUTES[row['route']]}")
    table.title_style = "dim"
    table.add_column("term")
    table.add_column("eV", justify="right")
    for term in row["terms"]:
        error = term["error_eV"]
        value = with_error(term["value_eV"], error) if error > 0 else f"{term['value_eV']:,.4f}"
        table.add_row(term["term"], value)
    return table


def free_energy_csv(data: Mapping[str, Any]) -> str:
    """One row per temperature and route; empty where there is no number."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in data["results"]:
        why = row["problem"] or " ".join(caveat["text"] for caveat in row["caveats"])
        cells = {**row, "problem": why}
        writer.writerow(["" if cells[key] is None else cells[key] for key in COLUMNS])
    return stream.getvalue()
