"""``alchemc solid-solution``: lattice parameters along x, and the composition for a target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConvergenceError, InputError
from .shared import (
    DONE,
    NOT_CONVERGED,
    AsJson,
    Quiet,
    StoreIn,
    complain,
    keep,
    print_json,
    print_text,
    terminal,
)

__all__ = ["solid_solution"]


def solid_solution(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A study file (TOML).")],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    quiet: Quiet = False,
    store: StoreIn = None,
) -> int:
    """Follow a solid solution along its composition, or find the composition for a target."""
    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other; give one of them")
    from ..campaign import solid_solution_study as study

    tell = None if quiet else lambda line: typer.echo(line, err=True)
    try:
        found = study.run_solid_solution(study.load_solid_solution(file), tell)
    except ConvergenceError as error:
        complain(str(error))
        return NOT_CONVERGED
    keep(store, "solid-solution", found)
    if as_json:
        print_json(found)
    elif as_csv:
        typer.echo(study.solid_solution_csv(found), nl=False)
    else:
        console = terminal()
        for table in study.solid_solution_tables(found):
            console.print(table)
            console.print()
        print_text(console, found["statement"])
        for caveat in found["caveats"]:
            print_text(console, caveat["text"])
    if found["converged"]:
        return DONE
    complain("the targets cannot be met together; drop one, or give weights or more species")
    return NOT_CONVERGED
