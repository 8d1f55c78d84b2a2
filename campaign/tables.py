"""Results of an analysis as a table for the terminal and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ..potentials.catalogue import element_ranges
from .numbers import compact, worst

if TYPE_CHECKING:
    from ..potentials.catalogue import ModelEntry
    from .runs import Status

__all__ = ["model_lines", "model_table", "result_tables", "results_csv", "status_table"]

Results = Mapping[str, Any]


def _plain_table() -> Table:
    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)


def status_table(status: Status) -> Table:
    """Temperatures of a run and how far they are."""
    table = _plain_table()
    table.add_column("T (K)", justify="right")
    table.add_column("draws", justify="right")
    table.add_column("state")
    for point in status.points:
        draws = f"{point.committed}/{point.draws}"
        table.add_row(f"{point.temperature:g}", draws, point.state)
    return table


def result_tables(results: Results, console: Console) -> list[Table]:
    """Energy, heat capacity, orders and verdict at every temperature, unconverged in red.

    Errors are in units of the last digits: 0.737(17) is 0.737 ± 0.017. One table if the terminal is
    wide enough for it, else the orders stand in a second one. ESS and R-hat are the worst of energy
    and orders.
    """
    first = ["E\n(eV/site)", "C\n(k_B/site)", "acc."]
    last = ["ESS", "R-hat", "ok"]
    orders = list(results["points"][0]["orders"])
    whole = _result_table(results, [*first, *orders, *last])
    unlimited = console.options.update(max_width=10_000)
    if Measurement.get(console, unlimited, whole).maximum <= console.width or not orders:
        return [whole]
    return [_result_table(results, [*first, *last]), _result_table(results, orders)]


def _result_table(results: Results, headings: Sequence[str]) -> Table:
    table = _plain_table()
    for heading in ("T\n(K)", *headings):
        table.add_column(heading, justify="right", overflow="fold")
    for point in results["points"]:
        ess, rhat = worst(point)
        cells = {
            "E\n(eV/site)": compact(point["energy"]),
            "C\n(k_B/site)": compact(point["heat_capacity"]),
            "acc.": f"{point['acceptance']['mean']:.2f}" if point["acceptance"] else "–",
            "ESS": ess,
            "R-hat": rhat,
            "ok": "yes" if point["converged"] else "no",
        } | {name: compact(number) for name, number in point["orders"].items()}
        table.add_row(
            f"{point['temperature']:g}",
            *(cells[heading] for heading in headings),
            style=None if point["converged"] else "red",
        )
    return table


def model_table(models: Iterable[ModelEntry], console: Console) -> Table:
    """Potentials by the kind and name a campaign gives them, with data and licence.

    What they were trained on is left out where the terminal is too narrow for it.
    """
    entries = list(models)
    whole = _model_table(entries, wide=True)
    unlimited = console.options.update(max_width=10_000)
    if Measurement.get(console, unlimited, whole).maximum <= console.width:
        return whole
    return _model_table(entries, wide=False)


def _model_table(entries: Sequence[ModelEntry], *, wide: bool) -> Table:
    table = _plain_table()
    table.add_column("kind")
    table.add_column("model")
    table.add_column("at hand")
    table.add_column("elements", justify="right")
    if wide:
        table.add_column("trained on")
    table.add_column("licence", overflow="fold")
    for entry in entries:
        count = "?" if entry.elements is None else str(len(entry.elements))
        at_hand = "yes" if entry.at_hand else "no"
        data = (entry.trained_on,) if wide else ()
        table.add_row(entry.potential, entry.name, at_hand, count, *data, entry.licence)
    return table


def model_lines(models: Iterable[ModelEntry]) -> list[str]:
    """Elements of every set that occurs, checksums of what is at hand, how to get the rest."""
    entries = list(models)
    lines = []
    for entry in entries:
        if entry.at_hand:
            checksum = f"sha256 {(entry.sha256 or 'unknown')[:12]}"
            elements = element_ranges(entry.elements) if entry.elements else "not known"
            lines.append(f"{entry.potential} {entry.name}: {elements}; {checksum}")
    absent = [entry for entry in entries if not entry.at_hand]
    if any(entry.potential == "chgnet" for entry in absent):
        lines.append('chgnet comes with its weights: pip install "alchemc[chgnet]"')
    if any(entry.kind == "foundation" for entry in absent):
        known = next((e.elements for e in absent if e.kind == "foundation" and e.elements), ())
        lines.append(
            f"mace-torch downloads the others once, when they are first named; their "
            f"{len(known)} elements are {element_ranges(known)}."
        )
    return lines


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
