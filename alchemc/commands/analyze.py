"""``alchemc analyze``, and how results are printed and judged where other commands end in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .shared import (
    DONE,
    INTERRUPTED,
    NOT_CONVERGED,
    AsJson,
    complain,
    print_text,
    terminal,
)
from .watching import LEFT_ALONE, WatchOption, state_line
from .watching import watch as look_again

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..campaign.runs import Status
    from ..lattice import Lattice
    from ..records import Run

__all__ = ["analyze", "print_results", "results_of", "verdict"]

_TOLD = ("unfinished", "ensemble-unknown", "burn-in", "trajectory", "order-left-out")
"""Codes of caveats that are printed though they are not critical."""


def analyze(  # noqa: PLR0917
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|FILE...",
            help="Run directories, or directories that hold them; with --lattice trajectories of "
            "other programs.",
        ),
    ],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    lattice: Annotated[
        Path | None,
        typer.Option(
            metavar="CAMPAIGN|DIR",
            help="What the files are trajectories of: the crystal of a campaign file or of a run.",
        ),
    ] = None,
    temperature: Annotated[
        list[float] | None,
        typer.Option(help="Of the files (K): one for all, or one each in their order."),
    ] = None,
    ensemble: Annotated[
        str | None, typer.Option(help="Of the files, such as canonical, if they do not say.")
    ] = None,
    start: Annotated[int, typer.Option(help="Draws of the files to leave out at first.")] = 0,
    every: Annotated[int, typer.Option(help="Every n-th draw of the files.")] = 1,
    watch: WatchOption = None,
) -> int:
    """Print compositions, energies, heat capacities and orders with their errors.

    Of several runs also what they say together: ordering temperature, free energies, phases.
    """
    if sum((as_json, as_csv, watch is not None)) > 1:
        raise InputError("--json, --csv and --watch exclude each other; give one of them")
    from ..campaign.runs import open_run
    from .several import directories_of, print_several

    if lattice is not None:
        if watch is not None:
            raise InputError("--watch looks at a run directory; leave --lattice out")
        runs = [_read_files(sources, lattice, temperature, ensemble, start, every)]
    else:
        _check_directories(sources, temperature or ensemble or start or every != 1)
        places = directories_of(sources)
        if watch is not None and not _watched(places, watch):
            return INTERRUPTED
        runs = [open_run(place) for place in places]
    return print_several(runs, "json" if as_json else "csv" if as_csv else "text")


def _check_directories(sources: Sequence[Path], of_files: object) -> None:
    """Refuse what only makes sense with --lattice."""
    file = next((path for path in sources if path.is_file()), None)
    if file is not None:
        raise InputError(
            f"{file} is no run directory; for trajectories of other programs give --lattice with "
            "a campaign file or a run of the same crystal"
        )
    if of_files:
        raise InputError(
            "--temperature, --ensemble, --start and --every are for trajectory files; a run "
            "directory says all that, leave them out"
        )


def _watched(places: Sequence[Path], seconds: float) -> bool:
    """Watch a run until nothing goes on with it; False if the reader stopped watching."""
    if len(places) > 1:
        raise InputError(f"--watch looks at one run, not at {len(places)}; name one of them")
    so_far = _SoFar(places[0])
    try:
        look_again(places[0], seconds, so_far.tables, so_far.line)
    except KeyboardInterrupt:
        complain(LEFT_ALONE)
        return False
    return True


def _read_files(  # noqa: PLR0917
    sources: Sequence[Path],
    lattice: Path,
    temperature: Sequence[float] | None,
    ensemble: str | None,
    start: int,
    every: int,
) -> Run:
    """Trajectories of the crystal that a campaign file or a run directory has."""
    from ..analysis import read_trajectory

    run = read_trajectory(
        list(sources),
        _lattice(lattice),
        temperature=temperature or None,
        ensemble=ensemble,
        start=start,
        every=every,
    )
    if any("temperature" not in point.coords for point in run.points):
        raise InputError("the files do not say their temperature; give --temperature in K")
    return run


def _lattice(path: Path) -> Lattice:
    if path.is_dir():
        from ..campaign.directory import RunDirectory

        return RunDirectory(path).read().crystal.lattice
    from ..campaign.build import build_crystal
    from ..campaign.config import load_config

    return build_crystal(load_config(path), path.parent).lattice


class _SoFar:
    """Results of the draws so far, for `look_again`; worked out anew when there are more."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._draws: tuple[int, ...] = ()
        self._results: dict[str, Any] | None = None

    def _of(self, found: Status) -> dict[str, Any] | None:
        from ..campaign.runs import open_run

        draws = tuple(point.committed for point in found.points)
        if any(draws) and draws != self._draws:
            self._draws, self._results = draws, results_of(open_run(self._directory))
        return self._results

    def tables(self, found: Status) -> RenderableType:
        """Tables for a terminal; how far the run is before the first draws."""
        from rich.console import Group
        from rich.text import Text

        from ..campaign.tables import result_tables, status_table

        results = self._of(found)
        tables = [status_table(found)] if results is None else result_tables(results, terminal())
        return Group(*tables, Text(state_line(found)))

    def line(self, found: Status) -> str:
        """Newest point with draws in a line."""
        from ..campaign.numbers import compact, worst

        results = self._of(found)
        if results is None:
            return state_line(found)
        point = max(results["points"], key=lambda p: int(p["index"]))
        asked = found.points[point["index"]].draws
        ess, rhat = worst(point)
        parts = [f"E = {compact(point['energy'])} eV/site"]
        parts += [f"{name} {compact(value)}" for name, value in point["fractions"].items()]
        parts += [f"{name} {compact(value)}" for name, value in point["orders"].items()]
        said = ", ".join([*parts, f"ESS {ess}", f"R-hat {rhat}"])
        return f"{point['label']}: {point['n_draws']}/{asked} draws, {said}"


def results_of(stored: Run) -> dict[str, Any]:
    """Analyse a run."""
    from ..analysis import analyze_run

    return analyze_run(stored)


def print_results(results: dict[str, Any]) -> None:
    """Print the tables of a run and what a reader has to know beside them."""
    from ..campaign.tables import result_tables

    console = terminal()
    print_text(console, results["title"] or results["formula"])
    print_text(console, f"landscape: {results['landscape']}")
    for table in result_tables(results, console):
        console.print(table)
    if results["transition"] and results["transition"]["order"]:
        print_text(console, results["transition"]["text"])
    for line in results["there_and_back"]:
        print_text(console, line)
    for caveat in results["caveats"]:
        if caveat["level"] == "critical" or caveat["code"] in _TOLD:
            print_text(console, caveat["text"])


def verdict(results: dict[str, Any], name: str = "") -> int:
    """Exit code by convergence; a line names what did not converge or is not precise enough.

    ``name`` is that of the run where there are several.
    """
    whose = f"{name}: " if name else ""
    code = DONE
    vague = [point["label"] for point in results["points"] if not point["converged"]]
    if vague:
        from ..analysis.layout import few

        scanned = results["layout"]["axis"] != "temperature"
        named = few(list(reversed(vague)), "; " if scanned else ", ")
        complain(
            f"{whose}not converged: {named}; take more draws (the report says what is missing)"
        )
        code = NOT_CONVERGED
    for caveat in results["caveats"]:
        if caveat["code"] == "precision":
            complain(f"{whose}{caveat['text']} Take more draws")
            code = NOT_CONVERGED
    return code
