"""The command line: ``alchemc init | run | resume | status | analyze | report | export | …``.

Exit codes: 0 done, 1 internal error, 2 bad input, 3 not converged, 130 stopped by Ctrl-C.
Everything slow is imported by the command that needs it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from . import __version__
from .errors import AlchemcError, InputError, StoredRunError

if TYPE_CHECKING:
    from rich.console import Console

    from .campaign.engine import Progress
    from .records import Run

__all__ = ["main"]

DONE, INTERNAL, BAD_INPUT, NOT_CONVERGED, INTERRUPTED = 0, 1, 2, 3, 130

_USAGE_ERROR, _CLICK_ERROR = (
    next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == name)
    for name in ("UsageError", "ClickException")
)  # typer has moved click's classes about; these are the ones it raises

app = typer.Typer(
    name="alchemc",
    help="Statistical sampling of order and disorder in crystals.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

RunArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Plain lines, no progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments
        Those of the process unless given.

    Examples
    --------
    >>> main(["status", "no/such/run"])
    2
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    try:
        code = app(given, prog_name="alchemc", standalone_mode=False)
    except KeyboardInterrupt:
        _complain("interrupted; nothing that was committed is lost")
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return _explain(error)
    return int(code or DONE)


def _explain(error: Exception) -> int:
    """One line on stderr for whatever went wrong."""
    if isinstance(error, AlchemcError):
        _complain(str(error))
        return BAD_INPUT
    if isinstance(error, _CLICK_ERROR):
        hint = ""
        if isinstance(error, _USAGE_ERROR):
            context: Any = getattr(error, "ctx", None)
            hint = f"; see `{context.command_path if context else 'alchemc'} --help`"
        _complain(f"{error.format_message().rstrip('.')}{hint}")  # type: ignore[attr-defined]
        return BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:
        _complain(f"{error.filename}: {error.strerror}; check the path, its rights and the disk")
        return BAD_INPUT
    _complain(f"internal error, {type(error).__name__}: {error}; --debug shows the traceback")
    return INTERNAL


def _complain(message: str) -> None:
    typer.echo(f"alchemc: {' '.join(message.split())}", err=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alchemc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors (anywhere on the line).")
    ] = False,
) -> None:
    """Statistical sampling of order and disorder in crystals."""


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The campaign file to write.")] = Path(
        "campaign.toml"
    ),
) -> int:
    """Write a commented campaign file to start from."""
    from .campaign.starter import write_starter

    write_starter(file)
    typer.echo(f"wrote {file}; run it with `alchemc run {file}`")
    return DONE


@app.command()
def run(
    campaign: Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="A campaign file (TOML).")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Run directory; runs/NAME by default."),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Run a campaign into a new directory, analyse it and write its report."""
    from .campaign.config import load_config

    directory = output if output is not None else Path("runs") / campaign.stem
    config = load_config(campaign)

    def start(progress: Callable[[Progress], None], stop: _StopRequest) -> bool:
        from .campaign.runs import start_run

        return start_run(
            config,
            directory,
            campaign.parent,
            progress=progress,
            should_stop=stop,
            tell=typer.echo,
            warn=_complain,
        )

    return _sample(start, directory, quiet)


@app.command()
def resume(directory: RunArgument, quiet: Quiet = False) -> int:
    """Continue a stopped run to the samples it would have had without the stop."""

    def go_on(progress: Callable[[Progress], None], stop: _StopRequest) -> bool:
        from .campaign.runs import resume_run

        return resume_run(
            directory, progress=progress, should_stop=stop, tell=typer.echo, warn=_complain
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
            _complain("interrupted before the run was started; nothing was written")
            return INTERRUPTED
        kept, finished = "broken off; what the last checkpoint holds is safe", False
    if not finished:
        _complain(f"{kept}; continue with `alchemc resume {directory}`")
        return 128 + stop.received if stop.received else INTERRUPTED
    return _conclude(directory)


def _display(quiet: bool) -> AbstractContextManager[Callable[[Progress], None]]:
    from .campaign.display import progress_bar, progress_lines

    console = _console()
    if quiet or not console.is_terminal:
        return progress_lines(typer.echo)
    return progress_bar(console)


def _conclude(directory: Path) -> int:
    """Table, report and verdict of a finished run."""
    from .campaign.report import write_report

    stored = _load(directory)
    results = _analysis(stored)
    _print_results(results)
    path = write_report(stored, directory / "report.html", results)
    typer.echo(f"report: {path}")
    return _verdict(results)


def _load(directory: Path) -> Run:
    """Read a run with its samples into memory, so that damage shows here and in one line."""
    from .campaign.runs import open_run

    stored = open_run(directory)
    for index, point in enumerate(stored.points):
        try:
            point.load()
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise StoredRunError(
                f"stored samples of {directory} at point {index} are damaged "
                f"({reason}); restore the directory from a copy, or start a new run"
            ) from error
    return stored


def _analysis(stored: Run) -> dict[str, Any]:
    from .analysis import analyze_run

    return analyze_run(stored)


def _print_results(results: dict[str, Any]) -> None:
    from .campaign.tables import result_tables

    console = _console()
    _print_text(console, results["title"] or results["formula"])
    _print_text(console, f"landscape: {results['landscape']}")
    for table in result_tables(results, console):
        console.print(table)
    if results["transition"] and results["transition"]["order"]:
        _print_text(console, results["transition"]["text"])
    for line in results["there_and_back"]:
        _print_text(console, line)
    for caveat in results["caveats"]:
        if caveat["level"] == "critical" or caveat["code"] == "unfinished":
            _print_text(console, caveat["text"])


def _print_text(console: Console, text: str) -> None:
    """Print text as it is: brackets in it are no markup and its numbers get no colour."""
    console.print(text, markup=False, highlight=False)


def _verdict(results: dict[str, Any]) -> int:
    """Exit code by convergence; a line names what did not converge or is not precise enough."""
    code = DONE
    vague = [point["label"] for point in results["points"] if not point["converged"]]
    if vague:
        from .analysis.layout import few

        scanned = results["layout"]["axis"] != "temperature"
        named = few(list(reversed(vague)), "; " if scanned else ", ")
        _complain(f"not converged: {named}; take more draws (the report says what is missing)")
        code = NOT_CONVERGED
    for caveat in results["caveats"]:
        if caveat["code"] == "precision":
            _complain(f"{caveat['text']} Take more draws")
            code = NOT_CONVERGED
    return code


@app.command()
def status(directory: RunArgument, as_json: AsJson = False) -> int:
    """Show how far a run is; it may be running."""
    from dataclasses import asdict

    from .campaign.runs import describe

    found = describe(directory)
    if as_json:
        _print_json(asdict(found))
        return DONE
    from .campaign.tables import status_table

    console = _console()
    if found.title:
        _print_text(console, found.title)
    console.print(status_table(found))
    typer.echo(f"{found.state}; {found.chains} chains, seed {found.seed}; last: {found.last_event}")
    return DONE


@app.command()
def analyze(
    directory: RunArgument,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> int:
    """Print compositions, energies, heat capacities and orders with their errors."""
    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other; give one of them")
    results = _analysis(_load(directory))
    if as_json:
        _print_json(results)
    elif as_csv:
        from .campaign.tables import results_csv

        typer.echo(results_csv(results), nl=False)
    else:
        _print_results(results)
    return _verdict(results)


@app.command()
def report(
    directory: RunArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="report.html of the run by default."),
    ] = None,
) -> int:
    """Write the report of a run: one HTML file that opens anywhere."""
    from .campaign.report import write_report

    target = output if output is not None else directory / "report.html"
    if target.suffix not in {".html", ".htm"} or target.is_dir():
        raise InputError(f"{target} cannot be a report; give the name of a file that ends in .html")
    stored = _load(directory)
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is no directory; make it first")
    typer.echo(f"report: {write_report(stored, target)}")
    return DONE


@app.command()
def export(  # noqa: PLR0917
    directory: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make.")],
    form: Annotated[
        str | None,
        typer.Option("--format", help="extxyz, traj or icet; by the file's suffix if left out."),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Only this temperature (K).")] = None,
    point: Annotated[
        int | None, typer.Option(help="Only this point, by its number in `alchemc status`.")
    ] = None,
    chain: Annotated[int | None, typer.Option(help="Only this chain, counted from 0.")] = None,
    every: Annotated[int, typer.Option(help="Every n-th draw.")] = 1,
) -> int:
    """Write samples as structures for other programs."""
    from .campaign.export import export_run

    stored = _load(directory)
    count = export_run(
        stored, file, form, temperature=temperature, point=point, chain=chain, every=every
    )
    typer.echo(f"wrote {count} structures to {file}")
    return DONE


@app.command()
def models(as_json: AsJson = False) -> int:
    """List the potentials that can be named in a campaign."""
    from dataclasses import asdict

    from .potentials import list_models

    known = list_models()
    if as_json:
        _print_json([asdict(entry) for entry in known])
        return DONE
    from .campaign.tables import model_lines, model_table

    console = _console()
    console.print(model_table(known, console))
    console.print()
    for line in model_lines(known):
        _print_text(console, line)
    return DONE


@app.command()
def doctor() -> int:
    """Check the installation: versions, device, model, write access."""
    from .campaign.doctor import examine

    good = True
    for check in examine(Path()):
        typer.echo(f"{'ok     ' if check.good else 'PROBLEM'} {check.subject}: {check.finding}")
        good = good and check.good
    return DONE if good else BAD_INPUT


def _console() -> Console:
    """Terminal output; what is piped or written to a file is not folded to 80 columns."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


def _print_json(content: Any) -> None:
    import json

    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
