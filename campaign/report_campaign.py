"""The report of several runs: what they say together, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .. import __version__, analysis
from ..errors import InputError
from ..records import Run
from . import files
from . import report_sections as pieces
from .directory import RunDirectory
from .findings import readable_findings
from .report import figure_data, fill_page, run_sections
from .report_data import embedded_json
from .report_findings import finding_section
from .report_html import section_html
from .report_joint import Member, joint_section, members_of, overview_section
from .report_parts import Section
from .report_together import together_sections

__all__ = [
    "campaign_page",
    "campaign_sections",
    "folder_sections",
    "runs_below",
    "write_campaign_report",
]


def runs_below(path: Path) -> list[Path]:
    """Run directories that a path names: itself, or those in it.

    Raises
    ------
    InputError
        If it is neither a run nor a directory with runs or stored results in it.
    """
    if not path.is_dir() or RunDirectory(path).run_file.is_file():
        return [path]  # opening it tells what is wrong
    found = sorted(entry for entry in path.iterdir() if RunDirectory(entry).run_file.is_file())
    if not found and not readable_findings(path):
        raise InputError(f"{path} is no run directory, and holds neither runs nor stored results")
    return found


def folder_sections(path: Path) -> list[Section]:
    """Sections of the results stored in a directory that is no run."""
    return [finding_section(finding) for finding in readable_findings(path)]


def write_campaign_report(
    runs: Sequence[Run], path: str | Path, sections: Sequence[Section] = ()
) -> Path:
    """Write one report on several runs: sizes, compositions, temperatures, models.

    Parameters
    ----------
    runs
        Runs in memory or opened from disk; what is stored beside them is shown, too.
    path
        The HTML file; an older one is replaced in one step.
    sections
        More to show, before what is stored beside the runs.

    Returns
    -------
    The path.

    Raises
    ------
    InputError
        If there is neither a run nor a section.
    """
    path = Path(path)
    files.replace_atomically(path, campaign_page(runs, sections).encode())
    return path


def campaign_page(runs: Sequence[Run], sections: Sequence[Section] = ()) -> str:
    """Text of the report; see `write_campaign_report`."""
    if not runs and not sections:
        raise InputError("a report needs a run or a stored result: there is neither")
    members = members_of(runs, [analysis.analyze_run(run) for run in runs]) if runs else []
    shown = [*campaign_sections(members), *sections, *_stored(members)]
    titles = list(dict.fromkeys(str(member.results["title"]) for member in members))
    title = titles[0] if len(titles) == 1 and titles[0] else _title(members, shown)
    data = {
        "figures": figure_data(shown),
        "runs": {member.name or title: dict(member.results) for member in members},
    }
    return fill_page(
        "campaign.html",
        {
            "page_title": escape(f"{title} – alchemc report"),
            "banner": _banner(members),
            "title": escape(title),
            "subtitle": _subtitle(members),
            "caveats": _caveats(members),
            "sections": "".join(map(section_html, shown)),
            "provenance": _provenance(members),
            "data": embedded_json(data),
        },
        ("plots.js", "campaign.js"),
    )


def campaign_sections(members: Sequence[Member]) -> list[Section]:
    """Sections on all runs together."""
    if not members:
        return []
    joint = joint_section(members)
    return [overview_section(members), *([joint] if joint else []), *together_sections(members)]


def _stored(members: Sequence[Member]) -> list[Section]:
    """Results stored beside the runs, each named after its run."""
    return [
        Section(
            f"{section.title}: {member.name}" if member.name else section.title,
            section.statement,
            section.caveats,
            section.figures,
            section.tables,
            f"{section.name}-{k}",
        )
        for k, member in enumerate(members)
        for section in run_sections(member.run)
    ]


def _title(members: Sequence[Member], shown: Sequence[Section]) -> str:
    if not members:
        return shown[0].title if len(shown) == 1 else "Stored results"
    formulas = list(dict.fromkeys(str(member.results["formula"]) for member in members))
    return f"{len(members)} runs of {pieces.listed(formulas)}"


def _subtitle(members: Sequence[Member]) -> str:
    if not members:
        return ""
    landscapes = dict.fromkeys(str(member.results["landscape"]) for member in members)
    return f"{len(members)} runs. {escape(pieces.capital('; '.join(landscapes)))}."


def _said(members: Sequence[Member], critical: bool) -> dict[tuple[str, str, str], list[str]]:
    """Caveats of the runs, each once, with the names of the runs that carry it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for member in members:
        others = [other for other in members if other.material == member.material]
        sizes = {other.results["n_sites"] for other in others}
        for caveat in member.results["caveats"]:
            if caveat["code"] == "one-size" and len(sizes) > 1:
                continue  # the others are here
            if (caveat["level"] == "critical") is critical:
                key = (caveat["level"], caveat["code"], caveat["text"])
                found.setdefault(key, []).append(member.name)
    return found


def _of(names: Sequence[str], members: Sequence[Member]) -> str:
    return "" if len(names) == len(members) else f"{'; '.join(names)}: "


def _banner(members: Sequence[Member]) -> str:
    lines = [
        {"level": "critical", "text": f"{_of(names, members)}{text}"}
        for (_, _, text), names in _said(members, critical=True).items()
    ]
    return pieces.banner({"caveats": lines})


def _caveats(members: Sequence[Member]) -> str:
    lines = [
        {"level": level, "code": code, "text": f"{_of(names, members)}{text}"}
        for (level, code, text), names in _said(members, critical=False).items()
    ]
    if not lines:
        return ""
    lines.sort(key=lambda line: line["level"] != "warning")
    return (
        '<section aria-labelledby="caveats-title"><h2 id="caveats-title">Read this first</h2>'
        f"{pieces.caveat_list(lines)}</section>"
    )


def _provenance(members: Sequence[Member]) -> str:
    facts: dict[str, Mapping[str, Any]] = {
        member.name: {
            "directory": member.run.attrs.get("path"),
            "created": member.run.attrs.get("created"),
            "seed": member.run.config.get("run", {}).get("seed", member.run.attrs.get("seed")),
            "model": member.run.attrs.get("model", {}).get("name"),
            "model sha256": member.run.attrs.get("model", {}).get("sha256"),
            "lattice sha256": member.run.lattice.fingerprint(),
            "alchemc": member.run.attrs.get("versions", {}).get("alchemc", __version__),
        }
        for member in members
    }
    parts = [
        f"<details><summary>{escape(name or 'The run')}</summary>{pieces.fact_list(fact)}</details>"
        for name, fact in facts.items()
    ]
    return "".join(parts) or f"<p>alchemc {escape(__version__)}.</p>"
