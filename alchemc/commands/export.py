"""``alchemc export``: samples for other programs, as pictures or as an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shared import DONE, RunArgument

__all__ = ["export"]


def export(  # noqa: PLR0917
    directory: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="extxyz, traj, icet; pdf, svg, png (one draw); gif (one chain). By the suffix if "
            "left out.",
        ),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Only this temperature (K).")] = None,
    point: Annotated[
        int | None, typer.Option(help="Only this point, by its number in `alchemc status`.")
    ] = None,
    chain: Annotated[int | None, typer.Option(help="Only this chain, counted from 0.")] = None,
    every: Annotated[
        int | None, typer.Option(help="Every n-th draw; all, or 200 frames in all of a gif.")
    ] = None,
    draw: Annotated[
        int | None, typer.Option(help="Which draw a picture shows, from 0; the last by default.")
    ] = None,
) -> int:
    """Write samples as structures for other programs, as a picture or as an animation."""
    from ..campaign.export import export_run
    from ..campaign.runs import open_run

    count = export_run(
        open_run(directory),
        file,
        form,
        temperature=temperature,
        point=point,
        chain=chain,
        every=every,
        draw=draw,
    )
    typer.echo(f"wrote {count} structure{'' if count == 1 else 's'} to {file}")
    return DONE
