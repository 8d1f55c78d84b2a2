"""``alchemc ground-states``: the ordered arrangements of lowest energy, by enumeration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .shared import DONE, AsJson, Quiet, StoreIn, keep, one_format, print_json, print_text, terminal

__all__ = ["ground_states"]


def ground_states(  # noqa: PLR0917  (options of a command)
    campaign: Annotated[Path, typer.Argument(metavar="FILE", help="A campaign file (TOML).")],
    cells: Annotated[
        int, typer.Option("--cells", min=1, help="Most primitive cells of an enumerated cell.")
    ] = 4,
    every: Annotated[
        bool, typer.Option("--all", help="All compositions, also where the campaign fixes one.")
    ] = False,
    neutral: Annotated[bool, typer.Option("--neutral", help="Neutral arrangements only.")] = False,
    multiple: Annotated[
        int,
        typer.Option(
            "--multiple",
            min=1,
            metavar="M",
            help="Evaluate in cells that M × M × M primitive cells fit (for tilts: 2).",
        ),
    ] = 1,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Save a picture of the hull.")
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option("--structures", metavar="FILE", help="Save ground states (extended XYZ)."),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all arrangements as CSV.")] = False,
    quiet: Quiet = False,
    store: StoreIn = None,
) -> int:
    """Find ordered ground states and their hull by enumeration of small cells."""
    one_format(as_json=as_json, as_csv=as_csv)
    for path in (figure, structures):
        if path is not None and path.exists():
            raise InputError(f"{path} exists and is not overwritten; choose another name")
    from ..campaign import ground_state_study as study

    tell = None if quiet else lambda line: typer.echo(line, err=True)
    found = study.ground_states_of_campaign(
        campaign, cells, every_composition=every, neutral=neutral, multiple=multiple, tell=tell
    )
    keep(store, "ground-states", found.to_dict())
    if figure is not None:
        study.write_figure(found, figure)
    if structures is not None:
        study.write_structures(found, structures)
    if as_json:
        print_json(found.to_dict())
    elif as_csv:
        typer.echo(study.ground_states_csv(found), nl=False)
    else:
        console = terminal()
        console.print(study.ground_states_table(found))
        print_text(console, found.statement)
    return DONE
