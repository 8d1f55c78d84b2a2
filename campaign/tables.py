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

from ..analysis.layout import TEMPERATURE, layout, unit_of
from ..potentials.catalogue import element_ranges
from .numbers import compact, decisive_numbers, verdict, worst

if TYPE_CHECKING:
    from ..potentials.catalogue import ModelEntry
    from .runs import Status

__all__ = [
    "joint_csv",
    "model_lines",
    "model_table",
    "result_tables",
    "results_csv",
    "status_table",
]

Results = Mapping[str, Any]


def _plain_table() -> Table:
    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)


def status_table(status: Status) -> Table:
    """Points of a run and how far they are, in the order in which they are visited."""
    found = layout([point.coordinates for point in status.points])
    scans = found.axis != TEMPERATURE
    table = _plain_table()
    table.add_column("point", justify="right")
    table.add_column("T (K)", justify="right")
    if scans:
        table.add_column(found.title, justify="right")
    if found.returns:
        table.add_column("way")
    table.add_column("draws", justify="right")
    table.add_column("state")
    for index, (point, place) in enumerate(zip(status.points, found.places, strict=True)):
        cells = [str(index), f"{point.temperature:g}"]
        cells += [f"{place.value:g}"] if scans else []
        cells += [place.direction or ""] if found.returns else []
        table.add_row(*cells, f"{point.committed}/{point.draws}", point.state)
    return table


def result_tables(results: Results, console: Console) -> list[Table]:
    """Composition, energy, heat capacity, orders and verdict at every point, unconverged in red.

    Errors are in units of the last digits: 0.737(17) is 0.737 ± 0.017. One table if the terminal is
    wide enough for it, else the orders stand in a second one, and where that does not do the
    composition in one before. ESS and R-hat are the worst of energy and orders, or of energy and
    fractions where the composition fluctuates.
    """
    rows = [_cells(results, point) for point in results["points"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    orders = list(results["points"][0]["orders"])
    seen = [name for name in orders if any(row[name] != "–" for row in rows)]
    place = [name for name in names if name in _place(results, results["points"][0])]
    others = [name for name in names if name not in {*place, *orders}]
    mixed = [name for name in others if name.startswith(("c(", "∂f/∂c("))]
    at = others.index("ESS")
    good = [point["converged"] for point in results["points"]]

    def tables(*groups: Sequence[str]) -> list[Table]:
        return [_result_table(rows, [*place, *group], good) for group in groups if group]

    unlimited = console.options.update(max_width=10_000)
    whole = tables([*others[:at], *seen, *others[at:]])
    apart = tables(others, seen)
    for choice in (whole, apart):
        if all(Measurement.get(console, unlimited, t).maximum <= console.width for t in choice):
            return choice
    return tables(mixed, [name for name in others if name not in mixed], seen)


def _result_table(
    rows: Sequence[Mapping[str, str]], headings: Sequence[str], good: Sequence[bool]
) -> Table:
    table = _plain_table()
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    for row, fine in zip(rows, good, strict=True):
        table.add_row(*(row[heading] for heading in headings), style=None if fine else "red")
    return table


def _place(results: Results, point: Results) -> dict[str, str]:
    """Where a point stands: its temperature, and what is scanned in which direction."""
    cells = {"T\n(K)": f"{point['temperature']:g}"}
    found = results.get("layout") or {}
    if found.get("axis", TEMPERATURE) != TEMPERATURE:
        cells[_folded(found["title"])] = f"{point['value']:g}"
    if found.get("returns"):
        cells["way"] = point["direction"] or "–"
    return cells


def _cells(results: Results, point: Results) -> dict[str, str]:
    """Everything that the table says of a point, by heading."""
    ess, rhat = worst(point)
    cells = _place(results, point)
    for name, number in point.get("fractions", {}).items():  # "fraction of Ta on B"
        _, _, symbol, _, sublattice = name.split(" ", 4)
        cells[f"c({symbol})\non {sublattice}"] = compact(number)
    for sublattice, species in point.get("free_energy_slopes", {}).items():
        for symbol, number in species.items():
            cells[f"∂f/∂c({symbol})\n{sublattice} (eV)"] = compact(number)
    cells["E\n(eV/site)"] = compact(point["energy"])
    if point["heat_capacity"] is not None:
        cells["C\n(k_B/site)"] = compact(point["heat_capacity"])
    cells["acc."] = f"{point['acceptance']['mean']:.2f}" if point["acceptance"] else "–"
    cells |= {name: compact(number) for name, number in point["orders"].items()}
    cells |= {"ESS": ess, "R-hat": rhat, "ok": verdict(point)}
    return cells


def _folded(title: str) -> str:
    """Title in two lines: symbol above, the rest below."""
    symbol, _, rest = title.partition(" ")
    return f"{symbol}\n{rest}" if rest else symbol


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
    """One row per point and quantity: mean, standard error, ESS, R-hat, verdict.

    Coordinates besides the temperature stand in columns of their own, after the others; before them
    the way, where a scan goes there and back. A row ``decisive`` has no mean: its ESS is the least
    and its R-hat the largest of what the verdict on the point rests on.
    """
    return _csv(_rows(results))


def joint_csv(runs: Mapping[str, Results]) -> str:
    """Results of several runs by name as one table: that of `results_csv` after the name.

    A coordinate that a run does not have is left empty.
    """
    return _csv([{"run": name, **row} for name, found in runs.items() for row in _rows(found)])


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    return stream.getvalue()


def _rows(results: Results) -> list[dict[str, Any]]:
    names = dict.fromkeys(n for point in results["points"] for n in point["coordinates"])
    names.pop("temperature", None)
    units = {n: f"{n}_{unit_of(n)}" if unit_of(n) else n for n in names}
    returns = bool((results.get("layout") or {}).get("returns"))
    rows = []
    for point in results["points"]:
        place = {"way": point["direction"]} if returns else {}
        place |= {units[name]: point["coordinates"].get(name) for name in names}
        for name, number in [*_quantities(point), ("decisive", _decisive(point))]:
            fields = {key: number[key] for key in ("mean", "error", "ess", "rhat", "converged")}
            rows.append(
                {"temperature_K": point["temperature"], "quantity": name, **fields, **place}
            )
    return rows


def _decisive(point: Results) -> dict[str, Any]:
    """Least ESS and largest R-hat of a point, and its verdict, as a number without a mean."""
    numbers = decisive_numbers(point).values()
    sizes, rhats = ([number[name] for number in numbers] for name in ("ess", "rhat"))
    return {
        "mean": None,
        "error": None,
        "ess": None if not sizes or None in sizes else min(sizes),
        "rhat": None if not rhats or None in rhats else max(rhats),
        "converged": point["converged"],
    }


def _quantities(point: Results) -> list[tuple[str, Mapping[str, Any]]]:
    """Every number of a point with its name, units in it."""
    found = [
        ("energy_eV_per_site", point["energy"]),
        ("heat_capacity_kB_per_site", point["heat_capacity"]),
        ("acceptance", point["acceptance"]),
        *(
            (f"fraction {species} on {sublattice}", number)
            for sublattice, row in point["composition"].items()
            for species, number in row.items()
        ),
        *(
            (f"free_energy_slope_eV_per_site {species} on {sublattice}", number)
            for sublattice, row in point["free_energy_slopes"].items()
            for species, number in row.items()
        ),
        *((f"order {name}", number) for name, number in point["orders"].items()),
        *((f"binder {name}", number) for name, number in point["binder"].items()),
        *(
            (f"warren_cowley {row['pair']} shell {row['shell']}", row)
            for row in point["warren_cowley"]
        ),
    ]
    return [(name, number) for name, number in found if number is not None]
