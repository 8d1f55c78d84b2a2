"""``alchemc screen``: which orderings a list of crystals is unstable to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shared import (
    BAD_INPUT,
    DONE,
    AsJson,
    Quiet,
    StoreIn,
    complain,
    keep,
    one_format,
    print_json,
    print_text,
    terminal,
)

__all__ = ["screen"]


def screen(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Screen or campaign files (TOML).")
    ],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    quiet: Quiet = False,
    store: StoreIn = None,
) -> int:
    """Rank the orderings of disordered crystals by concentration waves, without sampling."""
    one_format(as_json=as_json, as_csv=as_csv)
    from ..campaign.screening import load_screen, run_screen, screen_csv, screen_table

    entries = [entry for path in files for entry in load_screen(path)]
    tell = None if quiet else lambda line: typer.echo(line, err=True)
    results = run_screen(entries, tell)
    keep(store, "screen", results)
    if as_json:
        print_json(results)
    elif as_csv:
        typer.echo(screen_csv(results), nl=False)
    else:
        console = terminal()
        console.print(screen_table(results))
        print_text(console, results["statement"])
        labels = {
            row["temperature"]["label"] for row in results["entries"] if row.get("temperature")
        }
        for label in sorted(labels):
            print_text(console, f"Temperatures: {label}.")
        texts = {
            caveat["text"]: None
            for row in results["entries"]
            for caveat in row.get("caveats", [])
            if caveat["level"] != "note"
        }
        for text in texts:
            print_text(console, text)
    refused = [row for row in results["entries"] if row["error"]]
    for row in refused:
        complain(f"{row['name']}: {row['error']}")
    return BAD_INPUT if refused else DONE
