"""Looking at a run again and again while another process goes on with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .shared import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..campaign.runs import Status

__all__ = ["LEFT_ALONE", "WatchOption", "state_line", "watch"]

LEFT_ALONE = "stopped watching; the run goes on"
"""What is said on Ctrl-C, which ends the watching alone."""

WatchOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Show it every so often until the run ends."),
]


def state_line(found: Status) -> str:
    """Say in a line whether a run goes on, and what it did last."""
    return f"{found.state}; {found.chains} chains, seed {found.seed}; last: {found.last_event}"


def watch(
    directory: Path,
    seconds: float,
    show: Callable[[Status], RenderableType],
    tell: Callable[[Status], str],
) -> None:
    """Show how a run is until nothing goes on with it any more.

    A terminal shows the last state in place; anything else gets a line whenever draws were added.
    Reading is safe beside the writer: only committed draws are seen.

    Parameters
    ----------
    directory
        The run directory.
    seconds
        Time between looks.
    show, tell
        Make the table, or the line, of a state.
    """
    from rich.live import Live

    from ..campaign.runs import describe

    if not seconds > 0:
        raise InputError(f"--watch {seconds:g} is no time; give seconds above 0")
    console = terminal()
    found = describe(directory)
    if not console.is_terminal:
        told = -1
        while found.state == "running":
            drawn = sum(point.committed for point in found.points)
            if drawn != told:
                typer.echo(tell(found))
                told = drawn
            time.sleep(seconds)
            found = describe(directory)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while found.state == "running":
            live.update(show(found), refresh=True)
            time.sleep(seconds)
            found = describe(directory)
