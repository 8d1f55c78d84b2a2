"""Sections of a report from results that are stored beside the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from .findings import Finding
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
    "concentration-waves": waves_section,
    "free-energy": free_energy_section,
    "ground-states": ground_state_section,
    "ordering-temperature": ordering_section,
    "phase-diagram": diagram_section,
    "screen": screen_section,
    "sqs": sqs_section,
}
"""How the results on a subject are shown; others are shown as their statement and tables."""

MOST_ROWS = 60


def finding_section(finding: Finding, draws: tuple[int, ...] | None = None) -> Section:
    """Section of a stored result.

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
    try:
        if show is not None:
            return show(finding.data)
        if {"figures", "tables"} <= finding.data.keys():
            return Section.from_dict(finding.data, finding.subject)
    except (KeyError, TypeError, IndexError, AttributeError, InputError):
        pass  # of another version, or made by hand: its statement and tables are shown all the same
    return plain_section(finding.subject, finding.data)


def plain_section(subject: str, data: Mapping[str, Any]) -> Section:
    """Statement and caveats of a result, and a table of every list of like entries in it."""
    words = subject.replace("-", " ")
    tables = [
        Table(tuple(map(str, rows[0])), [list(row.values()) for row in rows], _title(name))
        for name, rows in data.items()
        if _tabular(rows)
    ]
    return Section(
        str(data.get("title") or words[:1].upper() + words[1:]),
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
        and all(isinstance(row, Mapping) for row in rows)
        and all(row.keys() == rows[0].keys() for row in rows)
        and all(_plain(value) for row in rows for value in row.values())
    )


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float) or _measured(value)


def _measured(value: Any) -> bool:
    return isinstance(value, Mapping) and "mean" in value
