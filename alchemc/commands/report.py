"""``alchemc report``: the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .shared import DONE, RunArgument, load_run

__all__ = ["report"]


def report(
    directory: RunArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="report.html of the run by default."),
    ] = None,
) -> int:
    """Write the report of a run: one HTML file that opens anywhere."""
    from ..campaign.report import write_report

    target = output if output is not None else directory / "report.html"
    if target.suffix not in {".html", ".htm"} or target.is_dir():
        raise InputError(f"{target} cannot be a report; give the name of a file that ends in .html")
    stored = load_run(directory)
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is no directory; make it first")
    typer.echo(f"report: {write_report(stored, target)}")
    return DONE
