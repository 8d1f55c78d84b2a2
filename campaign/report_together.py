"""What runs say only together: ordering temperatures by size, free energies and phase diagrams.

All of it follows from stored samples; no energy is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from .. import analysis
from ..analysis.layout import TEMPERATURE
from ..errors import AlchemcError
from .report_joint import Member
from .report_parts import Section
from .report_stability import diagram_section, free_energy_section, ordering_section

__all__ = ["together_sections"]


def together_sections(members: Sequence[Member]) -> list[Section]:
    """Sections on groups of runs of one material; where one cannot be had, they say why."""
    found = [*_of_sizes(members), *_of_compositions(members)]
    keys = [section.name for section in found]
    return [
        _renamed(section, f"{section.name}-{k}") if keys.count(section.name) > 1 else section
        for k, section in enumerate(found)
    ]


def _renamed(section: Section, key: str) -> Section:
    return Section(
        section.title, section.statement, section.caveats, section.figures, section.tables, key
    )


def _groups(members: Sequence[Member], key: Callable[[Member], Any]) -> list[list[Member]]:
    found: dict[Any, list[Member]] = {}
    for member in members:
        found.setdefault(key(member), []).append(member)
    return list(found.values())


def _of_sizes(members: Sequence[Member]) -> Iterator[Section]:
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
        yield _tried("Ordering temperature", group, make)


def _ordering(runs: Sequence[Any], order: str, sublattice: str) -> Section:
    found = analysis.ordering_temperature(runs, order or None, sublattice or None)
    return ordering_section(found.to_dict(), found.curves)


def _leading_order(group: Sequence[Member]) -> str:
    """Order that most of the runs see; of the largest cell where they differ, empty for none."""
    sizes = sorted(group, key=lambda m: -m.results["n_sites"])
    seen = [str((m.results["transition"] or {}).get("order") or "") for m in sizes]
    named = [name for name in seen if name]
    return max(named, key=named.count) if named else ""


def _of_compositions(members: Sequence[Member]) -> Iterator[Section]:
    """Free energies and diagrams of lattices whose composition fluctuated."""
    free = [m for m in members if m.results["layout"]["free"]]
    for group in _groups(free, lambda m: (m.material[1:3], m.run.lattice.fingerprint())):
        yield _tried("Free energy", group, _free_energy)
        yield _tried("Phase diagram", group, _diagram)


def _free_energy(runs: Sequence[Any]) -> Section:
    return free_energy_section(analysis.free_energy(runs).to_dict())


def _diagram(runs: Sequence[Any]) -> Section:
    return diagram_section(analysis.phase_diagram(runs).to_dict())


def _tried(
    title: str, group: Sequence[Member], make: Callable[[Sequence[Any]], Section]
) -> Section:
    """Section on a group of runs, or the reason why there is none."""
    try:
        return make([member.run for member in group])
    except AlchemcError as error:
        text = str(error)
        reason = f"{text[:1].upper()}{text[1:].rstrip('.')}."
        names = "; ".join(member.name for member in group)
        caveat = {"level": "warning", "text": f"Not determined from {names}. {reason}"}
        return Section(title, (), [caveat])
