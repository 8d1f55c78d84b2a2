"""``alchemc init | status | models | doctor``: what there is to start from and to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .shared import (
    BAD_INPUT,
    DONE,
    INTERRUPTED,
    AsJson,
    RunArgument,
    complain,
    print_json,
    print_text,
    terminal,
)
from .watching import LEFT_ALONE, WatchOption, state_line
from .watching import watch as look_again

if TYPE_CHECKING:
    from ..campaign.runs import Status

__all__ = ["doctor", "init", "models", "status"]


def init(
    file: Annotated[Path, typer.Argument(help="The campaign file to write.")] = Path(
        "campaign.toml"
    ),
) -> int:
    """Write a commented campaign file to start from."""
    from ..campaign.starter import write_starter

    write_starter(file)
    typer.echo(f"wrote {file}; run it with `alchemc run {file}`")
    return DONE


def status(directory: RunArgument, as_json: AsJson = False, watch: WatchOption = None) -> int:
    """Show how far a run is; it may be running."""
    from dataclasses import asdict

    from rich.console import Group
    from rich.text import Text

    from ..campaign.runs import describe
    from ..campaign.tables import status_table

    if watch is not None:
        if as_json:
            raise InputError("--json and --watch exclude each other; give one of them")
        try:
            look_again(
                directory,
                watch,
                lambda s: Group(status_table(s), Text(state_line(s))),
                _progress,
            )
        except KeyboardInterrupt:
            complain(LEFT_ALONE)
            return INTERRUPTED
    found = describe(directory)
    if as_json:
        print_json(asdict(found))
        return DONE
    console = terminal()
    if found.title:
        print_text(console, found.title)
    console.print(status_table(found))
    typer.echo(state_line(found))
    return DONE


def _progress(found: Status) -> str:
    """Say in a line how many draws there are."""
    done, asked = (sum(getattr(p, n) for p in found.points) for n in ("committed", "draws"))
    return f"{done}/{asked} draws; {state_line(found)}"


def models(as_json: AsJson = False) -> int:
    """List the potentials that can be named in a campaign."""
    from dataclasses import asdict

    from ..potentials import list_models

    known = list_models()
    if as_json:
        print_json([asdict(entry) for entry in known])
        return DONE
    from ..campaign.tables import model_lines, model_table

    console = terminal()
    console.print(model_table(known, console))
    console.print()
    for line in model_lines(known):
        print_text(console, line)
    return DONE


def doctor() -> int:
    """Check the installation: versions, device, model, write access."""
    from ..campaign.doctor import examine

    good = True
    for check in examine(Path()):
        typer.echo(f"{'ok     ' if check.good else 'PROBLEM'} {check.subject}: {check.finding}")
        good = good and check.good
    return DONE if good else BAD_INPUT
