"""The command line: ``alchemc init | run | resume | status | analyze | report | export | …``.

Exit codes: 0 done, 1 internal error, 2 bad input, 3 not converged, 130 stopped by Ctrl-C.
Everything slow is imported by the command that needs it.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from . import __version__
from .commands.shared import BAD_INPUT, DONE, INTERNAL, INTERRUPTED, complain
from .errors import AlchemcError

__all__ = ["main"]

_COMMANDS = {
    "init": "overview",
    "run": "sampling",
    "resume": "sampling",
    "status": "overview",
    "analyze": "analyze",
    "report": "report",
    "export": "export",
    "screen": "screen",
    "sqs": "sqs",
    "ground_states": "ground_states",
    "free_energy": "free_energy",
    "solid_solution": "solid_solution",
    "models": "overview",
    "doctor": "overview",
}
"""Functions in the order of ``--help``, and the module of ``alchemc.commands`` each stands in."""

_BROKEN_OFF = "interrupted; nothing that was committed is lost"
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
        complain(_BROKEN_OFF)
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return _explain(error)
    return int(code or DONE)


def _explain(error: Exception) -> int:
    """One line on stderr for whatever went wrong."""
    if isinstance(error, AlchemcError):
        complain(str(error))
        return BAD_INPUT
    if isinstance(error, _CLICK_ERROR):
        hint = ""
        if isinstance(error, _USAGE_ERROR):
            context: Any = getattr(error, "ctx", None)
            hint = f"; see `{context.command_path if context else 'alchemc'} --help`"
        complain(f"{error.format_message().rstrip('.')}{hint}")  # type: ignore[attr-defined]
        return BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:
        complain(f"{error.filename}: {error.strerror}; check the path, its rights and the disk")
        return BAD_INPUT
    complain(f"internal error, {type(error).__name__}: {error}; --debug shows the traceback")
    return INTERNAL


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


def _interruptible(command: Callable[..., int]) -> Callable[..., int]:
    """Tell of Ctrl-C in a line; typer ends a command on it without a word."""

    @functools.wraps(command)
    def told(*arguments: Any, **options: Any) -> int:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt:
            complain(_BROKEN_OFF)
            return INTERRUPTED

    return told


for _name, _module in _COMMANDS.items():
    _command = getattr(importlib.import_module(f".commands.{_module}", __package__), _name)
    app.command()(_interruptible(_command))


if __name__ == "__main__":
    sys.exit(main())
