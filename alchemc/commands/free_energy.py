"""``alchemc free-energy``: substitutions, vacancies and absolute free energies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shared import (
    DONE,
    INTERRUPTED,
    NOT_CONVERGED,
    AsJson,
    NoProgress,
    complain,
    keep,
    one_format,
    print_json,
    print_study,
)

__all__ = ["free_energy"]


def free_energy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A study file (TOML).")],
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    quiet: NoProgress = False,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="DIR",
            help="Keep works there, to go on after a stop, and the result for the report.",
        ),
    ] = None,
) -> int:
    """Measure free energies of substitutions, vacancies or crystals, by one route or several."""
    one_format(as_json=as_json, as_csv=as_csv)
    from ..campaign.free_energy_study import load_free_energy, run_free_energy
    from ..campaign.free_energy_tables import free_energy_csv, free_energy_tables

    tell = None if quiet else lambda line: typer.echo(line, err=True)
    loaded = load_free_energy(file)
    try:
        found = run_free_energy(loaded, store, tell)
    except KeyboardInterrupt:
        complain(
            "interrupted; give --store DIR to keep works and go on after a stop"
            if store is None
            else f"interrupted; {store} keeps what there is: the same command goes on from there"
        )
        return INTERRUPTED
    keep(store, "alchemical-free-energy", found)
    if as_json:
        print_json(found)
    elif as_csv:
        typer.echo(free_energy_csv(found), nl=False)
    else:
        print_study(found, free_energy_tables(found))
    if found["converged"]:
        return DONE
    complain("not converged; take more works, more steps or more windows (the caveats say which)")
    return NOT_CONVERGED
