"""``alchemc run`` and ``alchemc resume``: sample with a display, stop on request, then analyse."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from .analyze import print_results, results_of, verdict
from .shared import INTERRUPTED, Quiet, RunArgument, complain, terminal

if TYPE_CHECKING:
    from ..campaign.engine import Progress

__all__ = ["resume", "run"]


def run(
    campaign: Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="A campaign file (TOML).")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Run directory; runs/NAME by default."),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Run a campaign into a new directory, analyse it and write its report."""
    from ..campaign.config import load_config

    directory = output if output is not None else Path("runs") / campaign.stem
    config = load_config(campaign)

    def start(progress: Callable[[Progress], None], stop: _StopRequest) -> bool:
        from ..campaign.runs import start_run

        return start_run(
            config,
            directory,
            campaign.parent,
            progress=progress,
            should_stop=stop,
            tell=typer.echo,
            warn=complain,
        )

    return _sample(start, directory, quiet)


def resume(directory: RunArgument, quiet: Quiet = False) -> int:
    """Continue a stopped run to the samples it would have had without the stop."""

    def go_on(progress: Callable[[Progress], None], stop: _StopRequest) -> bool:
        from ..campaign.runs import resume_run

        return resume_run(
            directory, progress=progress, should_stop=stop, tell=typer.echo, warn=complain
        )

    return _sample(go_on, directory, quiet)


class _StopRequest:
    """Ctrl-C or SIGTERM as a question the engine can ask; a second one breaks off at once.

    Until the engine first asks, Ctrl-C interrupts as usual: there is nothing to save.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        if not self._before:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self.received is not None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        typer.echo("stopping after this draw; again to break off at once", err=True)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()


def _sample(
    drive: Callable[[Callable[[Progress], None], _StopRequest], bool], directory: Path, quiet: bool
) -> int:
    """Run or resume with a display, then analyse; say how to go on where it was stopped."""
    kept = "stopped, all draws so far are safe"
    try:
        with _StopRequest() as stop, _display(quiet) as progress:
            finished = drive(progress, stop)
    except KeyboardInterrupt:
        if not (directory / "run.toml").exists():
            complain("interrupted before the run was started; nothing was written")
            return INTERRUPTED
        kept, finished = "broken off; what the last checkpoint holds is safe", False
    if not finished:
        complain(f"{kept}; continue with `alchemc resume {directory}`")
        return 128 + stop.received if stop.received else INTERRUPTED
    return _conclude(directory)


def _display(quiet: bool) -> AbstractContextManager[Callable[[Progress], None]]:
    from ..campaign.display import progress_bar, progress_lines

    console = terminal()
    if quiet or not console.is_terminal:
        return progress_lines(typer.echo)
    return progress_bar(console)


def _conclude(directory: Path) -> int:
    """Table, report and verdict of a finished run."""
    from ..campaign.report import write_report
    from ..campaign.runs import open_run

    stored = open_run(directory)
    results = results_of(stored)
    print_results(results)
    path = write_report(stored, directory / "report.html", results)
    typer.echo(f"report: {path}")
    return verdict(results)
