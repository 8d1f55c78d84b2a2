"""The report of a run: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from .. import __version__, analysis
from ..records import Run
from . import files
from . import report_points as by_point
from . import report_sections as sections
from .findings import committed_draws, readable_findings
from .labels import energy_model
from .report_data import embedded_json, page_data
from .report_diagnostics import diagnostics_sections, scattering_sections
from .report_findings import finding_section
from .report_html import section_html
from .report_parts import Section, figure_key
from .report_together import together_sections_of_one
from .report_worth import evaluation_tables

__all__ = ["fill_page", "report_page", "run_sections", "write_report"]

SHORT_LIST = re.compile(r"\[\n((?: +[^\[\]{}\n]+,\n){1,12})\]")
HEADING = re.compile(r'<h2 id="([\w-]+)-title">(.*?)</h2>')
SLOT = re.compile(r"\{\{(\w+)\}\}")
BACKGROUND = ("elements", "training", "validation")
"""Parts of a model card that tell how it was made, not what it is worth."""
ELSEWHERE = ("domain",)
"""Parts that the run records itself."""
BUNDLED = ("models", "bundled")


def write_report(
    run: Run,
    path: str | Path,
    results: Mapping[str, Any] | None = None,
    *,
    frames: int | None = None,
) -> Path:
    """Write the report of a run; an older one of that name is replaced in one step.

    What is stored beside the run (``DIR/analysis``) is shown, too.

    Parameters
    ----------
    run
        A run in memory or opened from disk.
    path
        The HTML file.
    results
        What ``analysis.analyze_run(run)`` gave, if it is at hand.
    frames
        Structures of every chain in the rotatable view; as many as fit into 600 kB unless given.

    Returns
    -------
    The path.
    """
    path = Path(path)
    files.replace_atomically(path, report_page(run, results, frames=frames).encode())
    return path


def report_page(
    run: Run,
    results: Mapping[str, Any] | None = None,
    extra: Sequence[Section] | None = None,
    *,
    frames: int | None = None,
) -> str:
    """Text of the report; see `write_report`. ``extra`` are sections to show beside its own."""
    results = analysis.analyze_run(run) if results is None else results
    stored = run_sections(run) if extra is None else extra
    extra = [
        *scattering_sections(run, results),
        *together_sections_of_one(run, results),
        *stored,
        *diagnostics_sections(run, results),
    ]
    data = page_data(run, results, frames) | {"figures": figure_data(extra)}
    title = results["title"] or results["formula"]
    word = by_point.point_word(results)
    return fill_page(
        "report.html",
        {
            "page_title": escape(f"{title} – alchemc report"),
            "banner": sections.banner(results),
            "title": escape(title),
            "subtitle": sections.subtitle(results),
            "headline": sections.headline(results),
            "caveats": sections.caveat_list(results["caveats"]),
            "point": word,
            "along": escape(by_point.along(results)),
            "band_note": _band_note(results),
            "sweep_plots": by_point.plots(results),
            "hysteresis": by_point.hysteresis_section(results),
            "structure": sections.structure_section(data["structure"], word),
            "short_range": sections.shells_section(results),
            "extra": "".join(map(section_html, extra)),
            "table": by_point.results_table(results),
            "learnt": _learnt(run, results),
            "model": _model(run),
            "provenance": _provenance(run),
            "toml": escape(_toml(run.config) or "This run was made in Python, without a file."),
            "data": embedded_json(data),
        },
        ("plots.js", "viewer.js", "structures.js", "report.js"),
    )


def run_sections(run: Run) -> list[Section]:
    """Sections of the results that are stored beside a run; none for a run in memory."""
    path = run.attrs.get("path")
    if path is None:
        return []
    draws = committed_draws(path)
    return [finding_section(finding, draws) for finding in readable_findings(path)]


def figure_data(shown: Sequence[Section]) -> dict[str, Any]:
    """Figures of sections by the names under which the page's script looks for them."""
    return {
        figure_key(section, k): figure.to_dict()
        for section in shown
        for k, figure in enumerate(section.figures)
    }


def fill_page(template: str, slots: Mapping[str, str], scripts: Sequence[str]) -> str:
    """Fill a body and the page around it: its slots, the style, plotting library and scripts."""
    page = _template("page.html").replace("{{body}}", _template(template))
    ours = {
        "version": escape(__version__),
        "css": _template("report.css"),
        "contents": "",
        "plotly": _plotly(),
        "scripts": "".join(f"<script>{_template(name)}</script>\n" for name in scripts),
    }
    headings = HEADING.findall(_fill(page, {**dict.fromkeys(ours, ""), **slots}))
    entries = "".join(f'<li><a href="#{key}-title">{text}</a></li>' for key, text in headings)
    ours["contents"] = f'<nav aria-label="On this page"><ul>{entries}</ul></nav>'
    return _fill(page, {**ours, **slots})


def _fill(template: str, slots: Mapping[str, str]) -> str:
    """Replace every {{slot}} once, so that braces inside the values stay."""
    return SLOT.sub(lambda match: slots[match.group(1)], template)


def _template(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _plotly() -> str:
    source = resources.files("plotly").joinpath("package_data", "plotly.min.js")
    return source.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _band_note(results: Mapping[str, Any]) -> str:
    transition = results["transition"]
    random = any(n["random"] is not None for n in results["points"][0]["orders"].values())
    note = "Dotted lines: a random arrangement." if random else ""
    if results["layout"]["returns"]:
        first, second = results["layout"]["directions"]
        note += f" Full lines and filled marks: on the way {first}; dashed and open: {second}."
    if transition and transition["status"] == "bracketed":
        note += " Shaded: where this cell’s apparent ordering temperature lies."
    return note


# ---- what the run was made with


def _model(run: Run) -> str:
    facts = _without(run.attrs.get("model", {}), ("card",))
    if not facts:
        return "<p>The energy model of this run was built in Python and left no description.</p>"
    card = run.attrs["model"].get("card") or _bundled_card(facts.get("sha256")) or {}
    if card:
        tables = evaluation_tables(card.get("evaluation"))
        shown = (*BACKGROUND, *ELSEWHERE, *(("evaluation",) if tables else ()))
        worth = sections.fact_list(_without(card, shown)) + tables
    else:
        worth = _no_card(facts)
    background = sections.fact_list({**facts, **{k: card[k] for k in BACKGROUND if k in card}})
    line = energy_model(run.config, run.attrs["model"], run.attrs.get("machine") or {})
    worth = f"<p>Energy model: {escape(line)}.</p>{worth}"
    return f"{worth}<details><summary>The model itself</summary>{background}</details>"


def _learnt(run: Run, results: Mapping[str, Any]) -> str:
    """Table of what surrogates were found to be worth in warm-up; nothing without any."""
    rows = {}
    names = {point["index"]: point["written"] for point in results["points"]}
    for index, found in sorted(run.attrs.get("learnt", {}).items()):
        if "held_out_error_kT" in found and index in names:
            rows[names[index]] = {
                "surrogate": found["fallback"] or found["surrogate"],
                "error on energies left out (kT per cell)": found["held_out_error_kT"],
                "expected acceptance": found["expected_acceptance"],
                "sites moved at once": found["region"] or "all",
                "sweeps per step": found["sweeps"],
                "energies, gradients, Hessian products": " + ".join(
                    str(found[key]) for key in ("energies", "gradients", "hessian_products")
                ),
            }
    if not rows:
        return ""
    return f"<h3>What the sampler learnt in warm-up</h3>{sections.fact_table(rows)}"


def _without(card: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in card.items() if name not in names}


def _no_card(facts: Mapping[str, Any]) -> str:
    name = escape(str(facts.get("name", "This model")))
    return (
        f'<p class="caveat warning">{name} comes without a model card: its accuracy for these '
        "species and arrangements is not stated here. Compare its swap energies with reference "
        "calculations before trusting an ordering temperature.</p>"
    )


def _bundled_card(sha256: str | None) -> dict[str, Any] | None:
    """Card of the bundled potential if it is the one that made the run."""
    spec = importlib.util.find_spec(f"{__package__.rpartition('.')[0]}.potentials")
    for place in (spec.submodule_search_locations if spec else None) or []:
        folder = Path(place, *BUNDLED)
        tensors, description = folder / "model.safetensors", folder / "model.json"
        if not (tensors.is_file() and description.is_file()):
            continue
        if hashlib.sha256(tensors.read_bytes()).hexdigest() == sha256:
            return dict(json.loads(description.read_text(encoding="utf-8")).get("card") or {})
    return None


def _provenance(run: Run) -> str:
    model = run.attrs.get("model", {})
    return sections.fact_list(
        {
            "created": run.attrs.get("created"),
            "seed": run.config.get("run", {}).get("seed", run.attrs.get("seed")),
            "model": model.get("name"),
            "model sha256": model.get("sha256"),
            "lattice sha256": run.lattice.fingerprint(),
            "versions": run.attrs.get("versions") or {"alchemc (this report)": __version__},
            "machine": run.attrs.get("machine"),
        }
    )


def _toml(config: Mapping[str, Any]) -> str:
    """TOML of the resolved input, short lists on one line."""
    text = tomli_w.dumps(_without_none(config))
    return SHORT_LIST.sub(lambda match: f"[{' '.join(match.group(1).split())[:-1]}]", text)


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(v) for key, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value if item is not None]
    return value
