"""``alchemc analyze DIR DIR …``: results run by run, then what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import ConvergenceError, InputError
from .analyze import print_results, verdict
from .shared import DONE, NOT_CONVERGED, complain, print_json, print_text, terminal

if TYPE_CHECKING:
    from ..campaign.report_joint import Member
    from ..campaign.report_together import Together
    from ..records import Run

__all__ = ["directories_of", "print_several"]


def directories_of(sources: Sequence[Path]) -> list[Path]:
    """Run directories that are named, or that lie in directories that are named; each once."""
    from ..campaign.report_campaign import runs_below

    found = list(dict.fromkeys(place for given in sources for place in runs_below(given)))
    if not found:
        raise InputError(
            f"{sources[0]} holds no run, only stored results; `alchemc report` shows them"
        )
    return found


def print_several(runs: Sequence[Run], form: str) -> int:
    """Print results of runs as ``"text"``, ``"json"`` or ``"csv"``; return the exit code."""
    from ..analysis import analyze_run
    from ..campaign.report_joint import members_of
    from ..campaign.report_together import together

    members = members_of(runs, [analyze_run(run) for run in runs])
    found = together(members) if form != "csv" else []
    if form == "csv":
        _print_csv(members)
    elif form == "json":
        _print_json(members, found)
    else:
        _print_text(members, found)
    codes = [verdict(dict(one.results), one.name) for one in members]
    codes += [_worth(one) for one in found]
    return max(codes)


def _print_csv(members: Sequence[Member]) -> None:
    from ..campaign.tables import joint_csv, results_csv

    alone = len(members) == 1
    runs = {one.name: one.results for one in members}
    typer.echo(results_csv(members[0].results) if alone else joint_csv(runs), nl=False)


def _print_json(members: Sequence[Member], found: Sequence[Together]) -> None:
    """One run as `analyze_run` has it, several in a list; ``together`` beside them."""
    said = [one.to_dict() for one in found]
    if len(members) == 1:
        print_json({**members[0].results, "together": said})
        return
    listed = [
        {"name": one.name, "path": one.run.attrs.get("path"), **one.results} for one in members
    ]
    print_json({"runs": listed, "together": said})


def _print_text(members: Sequence[Member], found: Sequence[Together]) -> None:
    console = terminal()
    for one in members:
        if len(members) > 1:
            print_text(console, f"── {one.name}")
        print_results(dict(one.results))
        if len(members) > 1:
            console.print()
    for said in found:
        title = said.section.title.partition(":")[0]
        caveats = [c if isinstance(c, str) else c["text"] for c in said.section.caveats]
        for k, line in enumerate((*said.section.sentences, *caveats)):
            named = k > 0 or line.startswith(
                title.partition(" ")[0]
            )  # the first line tells of what
            print_text(console, line if named else f"{title}: {line}")


def _worth(one: Together) -> int:
    """Exit code of a result: whether the samples bear it."""
    borne = (one.result or {}).get("converged", True) and not isinstance(
        one.error, ConvergenceError
    )
    if not borne:
        complain(f"not converged: {one.section.title}; the statement says what is missing")
    return DONE if borne else NOT_CONVERGED
