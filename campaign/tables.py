"""Results of an analysis as a table for the terminal and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from ..potentials.loading import ModelEntry
    from .runs import Status

__all__ = ["model_table", "result_table", "results_csv", "status_table"]

Results = Mapping[str, Any]


def _compact(title: str | None = None) -> Table:
    return Table(
        title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False
    )


def status_table(status: Status) -> Table:
    """Temperatures of a run and how far they are."""
    table = _compact(status.title or None)
    table.add_column("T (K)", justify="right")
    table.add_column("draws", justify="right")
    table.add_column("state")
    for point in status.points:
        draws = f"{point.committed}/{point.draws}"
        table.add_row(f"{point.temperature:g}", draws, point.state)
    return table


def result_table(results: Results) -> Table:
    """Energy, heat capacity, acceptance and orders at every temperature, unconverged in red.

    Errors are in units of the last digits: 0.737(17) is 0.737 ± 0.017. The usual three orders fit
    a terminal of 80 columns.
    """
    orders = list(results["points"][0]["orders"])
    table = _compact(results["title"] or results["formula"])
    headings = ["T\n(K)", "E\n(eV/site)", "C\n(k_B/site)", "acc.", *orders, "ESS", "R-hat", "ok"]
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    for point in results["points"]:
        energy = point["energy"]
        acceptance = point["acceptance"] or {"mean": None}
        table.add_row(
            f"{point['temperature']:g}",
            _with_error(energy),
            _with_error(point["heat_capacity"]),
            _number(acceptance["mean"], ".2f"),
            *(_with_error(point["orders"][name]) for name in orders),
            _number(energy["ess"], ".0f"),
            _number(energy["rhat"], ".3f"),
            "yes" if point["converged"] else "no",
            style=None if point["converged"] else "red",
        )
    return table


def model_table(models: Iterable[ModelEntry]) -> Table:
    """Potentials by name; a dash where something is not known before the model is loaded."""
    table = _compact()
    for heading in ("model", "kind", "at hand", "sha256", "licence", "elements"):
        table.add_column(heading, overflow="fold")
    for entry in models:
        table.add_row(
            entry.name,
            entry.kind,
            "yes" if entry.at_hand else "no",
            (entry.sha256 or "–")[:12],
            entry.licence,
            " ".join(entry.elements) if entry.elements else "–",
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or math.isnan(value) else format(value, form)


def _with_error(number: Mapping[str, Any] | None) -> str:
    """Write a mean with its standard error, two digits of it, in parentheses."""
    if number is None or number["mean"] is None:
        return "–"
    if not number["error"]:
        return f"{number['mean']:.4g}"
    digits = max(0, 1 - math.floor(math.log10(number["error"])))
    error = f"{number['error']:.{digits}f}"
    if number["error"] < 1:
        error = error.replace(".", "").lstrip("0")
    return f"{number['mean']:.{digits}f}({error})"


def results_csv(results: Results) -> str:
    """One row per temperature and quantity: mean, standard error, ESS, R-hat, verdict."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["temperature_K", "quantity", "mean", "error", "ess", "rhat", "converged"])
    for point in results["points"]:
        for name, number in _quantities(point):
            fields = [number[key] for key in ("mean", "error", "ess", "rhat", "converged")]
            shown = ["" if value is None else value for value in fields]
            writer.writerow([point["temperature"], name, *shown])
    return stream.getvalue()


def _quantities(point: Results) -> list[tuple[str, Mapping[str, Any]]]:
    """Every number of a temperature with its name, units in it."""
    found = [
        ("energy_eV_per_site", point["energy"]),
        ("heat_capacity_kB_per_site", point["heat_capacity"]),
        ("acceptance", point["acceptance"]),
        *((f"order {name}", number) for name, number in point["orders"].items()),
        *((f"binder {name}", number) for name, number in point["binder"].items()),
        *(
            (f"warren_cowley {row['pair']} shell {row['shell']}", row)
            for row in point["warren_cowley"]
        ),
    ]
    return [(name, number) for name, number in found if number is not None]
