"""What points and runs say only together: ordering temperatures, free energies, phase diagrams.

All of it follows from stored samples; no energy is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from .. import analysis
from ..analysis.layout import TEMPERATURE
from ..errors import AlchemcError
from ..records import Run
from .report_joint import Member, members_of
from .report_parts import Section
from .report_stability import diagram_section, free_energy_section, ordering_section

__all__ = ["Together", "together", "together_sections", "together_sections_of_one"]


TITLES = {
    "free-energy": "Free energy",
    "ordering-temperature": "Ordering temperature",
    "phase-diagram": "Phase diagram",
}


MOST_NAMES = 3
"""Runs that are named where nothing could be determined from them; more are counted."""
_SAME_REASON = Section(
    TITLES["phase-diagram"],
    caveats=[{"level": "warning", "text": "Not determined, for the same reason."}],
)


class Together(NamedTuple):
    """What a group of runs says together: plain data and a section, or the reason for neither.

    ``subject`` is what results of its kind are stored as; ``names`` are those of the runs.
    """

    subject: str
    names: tuple[str, ...]
    result: dict[str, Any] | None
    error: AlchemcError | None
    section: Section

    def to_dict(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "subject": self.subject,
            "title": self.section.title,
            "runs": list(self.names),
            "result": self.result,
            "reason": None if self.error is None else str(self.error),
        }


def together(members: Sequence[Member]) -> list[Together]:
    """Results of groups of runs of one material; where one cannot be had, they say why."""
    return [*_of_sizes(members), *_of_compositions(members)]


def together_sections(members: Sequence[Member]) -> list[Section]:
    """Sections of what runs say `together`."""
    found = together(members)
    keys = [one.section.name for one in found]
    return [
        _renamed(one, f"{one.section.name}-{k}")
        if keys.count(one.section.name) > 1
        else one.section
        for k, one in enumerate(found)
    ]


def together_sections_of_one(run: Run, results: Mapping[str, Any]) -> list[Section]:
    """Sections of what the points of one run say together: free energies of a scan."""
    return together_sections(members_of([run], [results]))


def _renamed(one: Together, key: str) -> Section:
    """Section of one group of several, with what all names of the group say in its title."""
    section = one.section
    parts = [name.split(", ") for name in one.names]
    common = ", ".join(part for part in parts[0] if all(part in other for other in parts))
    title = f"{section.title}: {common}" if common else section.title
    return Section(title, section.statement, section.caveats, section.figures, section.tables, key)


def _groups(members: Sequence[Member], key: Callable[[Member], Any]) -> list[list[Member]]:
    found: dict[Any, list[Member]] = {}
    for member in members:
        found.setdefault(key(member), []).append(member)
    return list(found.values())


def _of_sizes(members: Sequence[Member]) -> Iterator[Together]:
    """Finite-size analysis of materials that were sampled at a fixed composition in many sizes."""
    closed = [
        m
        for m in members
        if m.results["layout"]["axis"] == TEMPERATURE and not m.results["layout"]["free"]
    ]
    for group in _groups(closed, lambda m: m.material):
        if len({m.results["n_sites"] for m in group}) < 2:
            continue
        label = _leading_order(group)
        sublattice, _, order = label.rpartition(" ")
        make = partial(_ordering, order=order, sublattice=sublattice)
        yield _tried("ordering-temperature", group, make)


def _ordering(runs: Sequence[Any], order: str, sublattice: str) -> tuple[dict[str, Any], Section]:
    found = analysis.ordering_temperature(runs, order or None, sublattice or None)
    result = found.to_dict()
    return result, ordering_section(result, found.curves)


def _leading_order(group: Sequence[Member]) -> str:
    """Order that most of the runs see; of the largest cell where they differ, empty for none."""
    sizes = sorted(group, key=lambda m: -m.results["n_sites"])
    seen = [str((m.results["transition"] or {}).get("order") or "") for m in sizes]
    named = [name for name in seen if name]
    return max(named, key=named.count) if named else ""


def _of_compositions(members: Sequence[Member]) -> Iterator[Together]:
    """Free energies and diagrams of lattices whose composition fluctuated."""
    free = [m for m in members if m.results["layout"]["free"]]
    for group in _groups(free, lambda m: (m.material[1:3], m.run.lattice.fingerprint())):
        energies = _tried("free-energy", group, _free_energy)
        diagram = _tried("phase-diagram", group, _diagram)
        yield energies
        alike = energies.error and diagram.error and str(energies.error) == str(diagram.error)
        yield diagram._replace(section=_SAME_REASON) if alike else diagram


def _free_energy(runs: Sequence[Any]) -> tuple[dict[str, Any], Section]:
    result = analysis.free_energy(runs).to_dict()
    return result, free_energy_section(result)


def _diagram(runs: Sequence[Any]) -> tuple[dict[str, Any], Section]:
    result = analysis.phase_diagram(runs).to_dict()
    return result, diagram_section(result)


def _tried(
    subject: str,
    group: Sequence[Member],
    make: Callable[[Sequence[Any]], tuple[dict[str, Any], Section]],
) -> Together:
    """Work out what a group of runs says, or the reason why it says nothing."""
    names = tuple(member.name for member in group)
    try:
        result, section = make([member.run for member in group])
    except AlchemcError as error:
        text = str(error)
        reason = f"{text[:1].upper()}{text[1:].rstrip('.')}."
        of = "; ".join(name for name in names if name)
        of = f"these {len(names)} runs" if len(names) > MOST_NAMES else of
        said = f"Not determined from {of}. {reason}" if of else f"Not determined. {reason}"
        section = Section(TITLES[subject], (), [{"level": "warning", "text": said}])
        return Together(subject, names, None, error, section)
    return Together(subject, names, result, None, section)
