"""``alchemc report``: the report of a run, or of several together; figures for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .shared import DONE

__all__ = ["report"]


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Run directories, or directories that hold them or stored results.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="report.html of one run by default."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the figures for a paper there, too."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="Of figures: pdf, svg or png.")] = "pdf",
    frames: Annotated[
        int | None,
        typer.Option(help="Structures of every chain in the rotatable view.", min=1),
    ] = None,
) -> int:
    """Write the report of a run, or of several: one HTML file that opens anywhere."""
    from ..campaign.report import write_report
    from ..campaign.report_campaign import folder_sections, runs_below, write_campaign_report
    from ..campaign.report_figures import check_target, write_figures
    from ..campaign.runs import open_run

    runs = [place for given in directories for place in runs_below(given)]
    sections = [
        part for given in directories if given not in runs for part in folder_sections(given)
    ]
    alone = runs[0] if len(runs) == 1 and directories == runs else None
    target = _target(output, alone)
    if figures is not None:
        check_target(figures, form)
    stored = [open_run(place) for place in runs]
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is no directory; make it first")
    if alone is not None:
        written = write_report(stored[0], target, frames=frames)
    elif frames is not None:
        raise InputError("--frames is for one run: the report of several shows no structures")
    else:
        written = write_campaign_report(stored, target, sections)
    typer.echo(f"report: {written}")
    if figures is not None:
        names = write_figures(stored, figures, form, sections)
        typer.echo(f"{len(names)} figures in {figures}")
    return DONE


def _target(output: Path | None, alone: Path | None) -> Path:
    if output is None and alone is None:
        raise InputError("a report of several runs needs a name: give --output FILE")
    target = output if output is not None else Path(alone or "") / "report.html"
    if target.suffix not in {".html", ".htm"} or target.is_dir():
        raise InputError(f"{target} cannot be a report; give the name of a file that ends in .html")
    return target
