"""``alchemc analyze``, and how results are printed and judged where other commands end in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .shared import (
    DONE,
    NOT_CONVERGED,
    AsJson,
    RunArgument,
    complain,
    load_run,
    print_json,
    print_text,
    terminal,
)

if TYPE_CHECKING:
    from ..records import Run

__all__ = ["analyze", "print_results", "results_of", "verdict"]


def analyze(
    directory: RunArgument,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> int:
    """Print compositions, energies, heat capacities and orders with their errors."""
    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other; give one of them")
    results = results_of(load_run(directory))
    if as_json:
        print_json(results)
    elif as_csv:
        from ..campaign.tables import results_csv

        typer.echo(results_csv(results), nl=False)
    else:
        print_results(results)
    return verdict(results)


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
        if caveat["level"] == "critical" or caveat["code"] == "unfinished":
            print_text(console, caveat["text"])


def verdict(results: dict[str, Any]) -> int:
    """Exit code by convergence; a line names what did not converge or is not precise enough."""
    code = DONE
    vague = [point["label"] for point in results["points"] if not point["converged"]]
    if vague:
        from ..analysis.layout import few

        scanned = results["layout"]["axis"] != "temperature"
        named = few(list(reversed(vague)), "; " if scanned else ", ")
        complain(f"not converged: {named}; take more draws (the report says what is missing)")
        code = NOT_CONVERGED
    for caveat in results["caveats"]:
        if caveat["code"] == "precision":
            complain(f"{caveat['text']} Take more draws")
            code = NOT_CONVERGED
    return code
