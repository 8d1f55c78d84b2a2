"""Sections of a report from results that are stored beside the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from .findings import Damaged, Finding
from .report_free_energy import alchemical_section, solid_solution_section
from .report_html import section_html
from .report_parts import Section, Table
from .report_sqs import sqs_section
from .report_stability import (
    diagram_section,
    free_energy_section,
    ground_state_section,
    ordering_section,
)
from .report_waves import screen_section, waves_section

__all__ = ["finding_section"]

ADAPTERS: dict[str, Callable[[Mapping[str, Any]], Section]] = {
    "alchemical-free-energy": alchemical_section,
    "concentration-waves": waves_section,
    "free-energy": free_energy_section,
    "ground-states": ground_state_section,
    "ordering-temperature": ordering_section,
    "phase-diagram": diagram_section,
    "screen": screen_section,
    "solid-solution": solid_solution_section,
    "sqs": sqs_section,
}
"""How the results on a subject are shown; others are shown as their statement and tables."""

MOST_ROWS = 60


def finding_section(finding: Finding | Damaged, draws: tuple[int, ...] | None = None) -> Section:
    """Section of a stored result; of one that cannot be read, what is wrong and the remedy.

    Parameters
    ----------
    finding
        The result.
    draws
        Committed draws of the run by now; where there are others than the result was made from,
        the section says so.

    Examples
    --------
    >>> rows = [{"T (K)": 900, "bias (meV)": {"mean": 12.3, "error": 3.4}}]
    >>> found = Finding("own-study", {"statement": "It is too high.", "bias": rows}, "", None)
    >>> finding_section(found).tables[0].columns
    ('T (K)', 'bias (meV)')
    """
    if isinstance(finding, Damaged):
        return _damaged(finding)
    section = _shown(finding)
    if not finding.outdated(draws):
        return section
    text = (
        f"The run has gone on since this was computed ({finding.created[:16].replace('T', ' ')} "
        "UTC): it does not know the later draws."
    )
    caveats = [{"level": "warning", "text": text}, *section.caveats]
    return Section(
        section.title, section.statement, caveats, section.figures, section.tables, section.key
    )


def _shown(finding: Finding) -> Section:
    show = ADAPTERS.get(finding.subject)
    ways: list[Callable[[], Section]] = []
    if show is not None:
        ways.append(lambda: show(finding.data))
    elif {"figures", "tables"} <= finding.data.keys():
        ways.append(lambda: Section.from_dict(finding.data, finding.subject))
    # Of another version, or made by hand: its statement and tables are shown all the same.
    ways.append(lambda: plain_section(finding.subject, finding.data))
    for way in ways:
        try:
            return _checked(way())
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, InputError):
            continue
    reason = (
        f"analysis/{finding.subject}.json holds what no section can show: store it again with the "
        "command that made it, or remove the file"
    )
    return _damaged(Damaged(finding.subject, reason))


def _checked(section: Section) -> Section:
    """Return a section that can be written; errors of what is in it come here."""
    section_html(section)
    json.dumps([figure.to_dict() for figure in section.figures], allow_nan=False)
    return section


def _damaged(found: Damaged) -> Section:
    caveat = {"level": "warning", "text": f"Not shown. {found.reason}."}
    return Section(_heading(found.subject), caveats=[caveat], key=found.subject)


def _heading(subject: str) -> str:
    known = {"sqs": "Special quasirandom structures", "screen": "Screen of orderings"}
    return known.get(subject) or _title(subject.replace("-", " "))


def plain_section(subject: str, data: Mapping[str, Any]) -> Section:
    """Statement and caveats of a result, and a table of every list of like entries in it."""
    tables = [
        Table(tuple(map(str, rows[0])), [list(row.values()) for row in rows], _title(name))
        for name, rows in data.items()
        if _tabular(rows)
    ]
    return Section(
        str(data.get("title") or _heading(subject)),
        data.get("statement") or (),
        data.get("caveats") or (),
        tables=tables,
        key=subject,
    )


def _title(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _tabular(rows: Any) -> bool:
    """Whether it is a list of mappings with the same keys and values that fit into cells."""
    return (
        isinstance(rows, Sequence)
        and not isinstance(rows, str)
        and 0 < len(rows) <= MOST_ROWS
        and all(isinstance(row, Mapping) and row for row in rows)
        and all(row.keys() == rows[0].keys() for row in rows)
        and all(_plain(value) for row in rows for value in row.values())
    )


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float) or _measured(value)


def _measured(value: Any) -> bool:
    return isinstance(value, Mapping) and "mean" in value
