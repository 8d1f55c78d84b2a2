"""What commands share: exit codes, options, storing a result, printing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "BAD_INPUT",
    "DONE",
    "INTERNAL",
    "INTERRUPTED",
    "NOT_CONVERGED",
    "AsJson",
    "NoProgress",
    "Quiet",
    "RunArgument",
    "StoreIn",
    "complain",
    "keep",
    "one_format",
    "print_json",
    "print_study",
    "print_text",
    "terminal",
]

DONE, INTERNAL, BAD_INPUT, NOT_CONVERGED, INTERRUPTED = 0, 1, 2, 3, 130

RunArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Plain lines, no progress bar.")]
NoProgress = Annotated[bool, typer.Option("--quiet", "-q", help="No lines of progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StoreIn = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Keep the result there, for `alchemc report DIR`.",
    ),
]


def complain(message: str) -> None:
    """Print one line on stderr."""
    typer.echo(f"alchemc: {' '.join(message.split())}", err=True)


def keep(directory: Path | None, subject: str, data: Any) -> None:
    """Store a result for later reports, if there is a directory for it; it is made if need be."""
    if directory is not None:
        from ..campaign.findings import store_finding

        directory.mkdir(parents=True, exist_ok=True)
        typer.echo(f"stored for the report: {store_finding(directory, subject, data)}", err=True)


def terminal() -> Console:
    """Terminal output; what is piped or written to a file is not folded to 80 columns."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


def print_text(console: Console, text: str) -> None:
    """Print text as it is: brackets are no markup, numbers get no colour.

    It is folded to the width of a terminal only.
    """
    console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def one_format(*, as_json: bool, as_csv: bool) -> None:
    """Refuse two formats for machines at once."""
    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other; give one of them")


def print_study(found: Mapping[str, Any], tables: Iterable[Table]) -> None:
    """Print what a study found: its tables, its statement and its caveats."""
    console = terminal()
    for table in tables:
        console.print(table)
        console.print()
    print_text(console, found["statement"])
    for caveat in found["caveats"]:
        print_text(console, caveat["text"])


def print_json(content: Any) -> None:
    """Print plain data as indented JSON."""
    import json

    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
