"""What commands share: exit codes, options, storing a result, printing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "BAD_INPUT",
    "DONE",
    "INTERNAL",
    "INTERRUPTED",
    "NOT_CONVERGED",
    "AsJson",
    "Quiet",
    "RunArgument",
    "StoreIn",
    "complain",
    "keep",
    "print_json",
    "print_text",
    "terminal",
]

DONE, INTERNAL, BAD_INPUT, NOT_CONVERGED, INTERRUPTED = 0, 1, 2, 3, 130

RunArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Plain lines, no progress bar.")]
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


def print_json(content: Any) -> None:
    """Print plain data as indented JSON."""
    import json

    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
