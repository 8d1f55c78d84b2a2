"""``alchemc solid-solution``: lattice parameters along x, and the composition for a target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConvergenceError
from .shared import (
    DONE,
    INTERRUPTED,
    NOT_CONVERGED,
    AsJson,
    NoProgress,
    StoreIn,
    complain,
    keep,
    one_format,
    print_json,
    print_study,
)

__all__ = ["solid_solution"]


def solid_solution(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A study file (TOML).")],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    quiet: NoProgress = False,
    store: StoreIn = None,
) -> int:
    """Follow a solid solution along its composition, or find the composition for a target."""
    one_format(as_json=as_json, as_csv=as_csv)
    from ..campaign import solid_solution_study as study

    tell = None if quiet else lambda line: typer.echo(line, err=True)
    try:
        found = study.run_solid_solution(study.load_solid_solution(file), tell)
    except ConvergenceError as error:
        complain(str(error))
        return NOT_CONVERGED
    except KeyboardInterrupt:
        complain("interrupted; nothing is kept of a part of a study: run the same command again")
        return INTERRUPTED
    keep(store, "solid-solution", found)
    if as_json:
        print_json(found)
    elif as_csv:
        typer.echo(study.solid_solution_csv(found), nl=False)
    else:
        print_study(found, study.solid_solution_tables(found))
    if found["converged"]:
        return DONE
    complain("the targets cannot be met together; drop one, or give weights or more species")
    return NOT_CONVERGED
