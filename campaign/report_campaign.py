"""The report of several runs: what they say together, in one HTML file."""

from __future__ import annotations

import re
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
    "caveat_lines",
    "folder_sections",
    "runs_below",
    "write_campaign_report",
]


MOST_UNCONVERGED = 3
"""Lines on points that did not converge; of more, only their number is told for each run."""
LEAST_TAIL = 40
"""Characters that caveats have to share at their end for them to be said together."""


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


def _said(members: Sequence[Member], critical: bool) -> list[dict[str, str]]:
    """Caveats of the runs, each once, with the names of the runs that carry it."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for member in members:
        others = [other for other in members if other.material == member.material]
        sizes = {other.results["n_sites"] for other in others}
        for caveat in member.results["caveats"]:
            if caveat["code"] == "one-size" and len(sizes) > 1:
                continue  # the others are here
            if (caveat["level"] == "critical") is critical:
                texts = found.setdefault((caveat["level"], caveat["code"]), {})
                texts.setdefault(caveat["text"], []).append(member.name)
    return [
        {"level": level, "code": code, "text": text}
        for (level, code), texts in found.items()
        for text in caveat_lines(code, texts, members)
    ]


def caveat_lines(
    code: str, texts: Mapping[str, Sequence[str]], members: Sequence[Member]
) -> Sequence[str]:
    """Write caveats of one kind with the runs that carry each, what they all say only once."""
    if code == "unconverged" and len(texts) > MOST_UNCONVERGED:
        return [_unconverged(members)]
    clauses = {text: re.split(r"(?<=[.;]) ", text) for text in texts}
    alike = _alike_at_the_end(list(clauses.values())) if len(texts) > 1 else 0
    tail = " ".join(next(iter(clauses.values()))[-alike:]) if alike else ""
    if len(tail) < LEAST_TAIL:
        return [f"{_of(names, members)}{text}" for text, names in texts.items()]
    heads = [
        _of(texts[text], members) + " ".join(parts[:-alike]) for text, parts in clauses.items()
    ]
    return [" ".join([*heads, tail])]


def _alike_at_the_end(texts: Sequence[Sequence[str]]) -> int:
    """Count the last clauses that all texts have, but for the first one of each.

    Examples
    --------
    >>> _alike_at_the_end([["Up to 900 K;", "it melts."], ["Up to 800 K;", "it melts."]])
    1
    """
    count = 0
    while count < min(map(len, texts)) - 1 and len({text[-1 - count] for text in texts}) == 1:
        count += 1
    return count


def _unconverged(members: Sequence[Member]) -> str:
    """Count the points that did not converge, run by run."""
    counts = [
        (member.name, sum(not point["converged"] for point in points), len(points))
        for member in members
        for points in [member.results["points"]]
    ]
    bad, total = sum(n for _, n, _ in counts), sum(n for _, _, n in counts)
    told = "; ".join(f"{name}: {n} of {of}" for name, n, of in counts if n)
    return (
        f"At {bad} of {total} points the chains did not converge ({told}). They are crossed out in "
        "the figures; the report of each run says why."
    )


def _of(names: Sequence[str], members: Sequence[Member]) -> str:
    return "" if len(names) == len(members) else f"{'; '.join(names)}: "


def _banner(members: Sequence[Member]) -> str:
    return pieces.banner({"caveats": _said(members, critical=True)})


def _caveats(members: Sequence[Member]) -> str:
    lines = _said(members, critical=False)
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
