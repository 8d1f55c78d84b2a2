"""``alchemc export``: samples for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shared import DONE, RunArgument, load_run

__all__ = ["export"]


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
    from ..campaign.export import export_run

    stored = load_run(directory)
    count = export_run(
        stored, file, form, temperature=temperature, point=point, chain=chain, every=every
    )
    typer.echo(f"wrote {count} structures to {file}")
    return DONE
