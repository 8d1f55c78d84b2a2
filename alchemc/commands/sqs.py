"""``alchemc sqs``: special quasirandom structures, made and compared with what was sampled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .shared import (
    DONE,
    NOT_CONVERGED,
    AsJson,
    complain,
    one_format,
    print_json,
    print_text,
    terminal,
)

if TYPE_CHECKING:
    from ..analysis import SpecialQuasirandom

__all__ = ["sqs"]

_ONLY_RUN = "--{} belongs to a comparison: give a run directory"


def sqs(  # noqa: PLR0917
    target: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE",
            help="A run directory to compare with, or a campaign or structure file to make SQS of.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the SQS: .extxyz, .cif, .vasp or .traj."
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="How many SQS.")] = 8,
    seed: Annotated[int, typer.Option(help="Governs every draw.")] = 0,
    cutoffs: Annotated[
        str | None,
        typer.Option(help='Distances in Å of pairs, triplets …, such as "8.2,5.8".'),
    ] = None,
    supercell: Annotated[
        str | None, typer.Option(help='Of a structure file, such as "2,2,2".')
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Bias that would do, in meV per site (comparison).")
    ] = 5.0,
    draws: Annotated[
        int,
        typer.Option(help="Draws per temperature whose forces are computed, 0 for none."),
    ] = 32,
    relaxed: Annotated[
        bool, typer.Option("--relaxed", help="Relax the SQS and some draws, too.")
    ] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> int:
    """Make special quasirandom structures, or compare a run with them at every temperature."""
    one_format(as_json=as_json, as_csv=as_csv)
    reach = None if cutoffs is None else _numbers(cutoffs, float, "cutoffs")
    if target.is_dir():
        if supercell is not None:
            raise InputError("a run has its own supercell: leave --supercell out")
        return _compare(
            target, output, as_json=as_json, as_csv=as_csv, n=n, seed=seed, cutoffs=reach,
            tolerance=tolerance / 1e3, n_evaluated=draws, relaxed=relaxed,
        )  # fmt: skip
    if relaxed:
        raise InputError(_ONLY_RUN.format("relaxed"))
    from ..campaign import sqs_study as study

    size = None if supercell is None else _numbers(supercell, int, "supercell")
    found = study.make_structures(target, n=n, seed=seed, cutoffs=reach, supercell=size)
    _write(found, output)
    if as_json:
        print_json(found.to_dict())
    elif as_csv:
        typer.echo(study.rows_csv(found.rows()), nl=False)
    else:
        console = terminal()
        console.print(study.structure_table(found))
        print_text(console, found.statement)
    return DONE


def _compare(
    directory: Path, output: Path | None, *, as_json: bool, as_csv: bool, **options: Any
) -> int:
    from ..campaign import sqs_study as study
    from ..campaign.findings import store_finding
    from ..campaign.runs import open_run

    found = study.compare_run(open_run(directory), **options)
    _write(found.structures, output)
    stored = store_finding(directory, "sqs", study.finding_of(found))
    if as_json:
        print_json(found.to_dict())
    elif as_csv:
        typer.echo(study.rows_csv(found.rows()), nl=False)
    else:
        console = terminal()
        for table in study.comparison_tables(found):
            console.print(table)
        for line in found.sentences:
            print_text(console, line)
    typer.echo(f"stored for the report: {stored}", err=True)
    if found.converged:
        return DONE
    complain("not converged at some temperatures; take more draws (the table says where)")
    return NOT_CONVERGED


def _write(found: SpecialQuasirandom, output: Path | None) -> None:
    if output is not None:
        from ..campaign.sqs_study import write_structures

        for path in write_structures(found, output):
            typer.echo(f"wrote {path}", err=True)


def _numbers(text: str, kind: Callable[[str], Any], name: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--{name} is '{text}'; give numbers with commas between them") from None
