"""The report of a run: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
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
from .labels import energy_model
from .report_data import embedded_json, page_data
from .report_worth import evaluation_tables

__all__ = ["report_page", "write_report"]

SHORT_LIST = re.compile(r"\[\n((?: +[^\[\]{}\n]+,\n){1,12})\]")
SLOT = re.compile(r"\{\{(\w+)\}\}")
BACKGROUND = ("elements", "training", "validation")
"""Parts of a model card that tell how it was made, not what it is worth."""
ELSEWHERE = ("domain",)
"""Parts that the run records itself."""
BUNDLED = ("models", "bundled")


def write_report(run: Run, path: str | Path, results: Mapping[str, Any] | None = None) -> Path:
    """Write the report of a run; an older one of that name is replaced in one step.

    Parameters
    ----------
    run
        A run in memory or opened from disk.
    path
        The HTML file.
    results
        What ``analysis.analyze_run(run)`` gave, if it is at hand.

    Returns
    -------
    The path.
    """
    path = Path(path)
    files.replace_atomically(path, report_page(run, results).encode())
    return path


def report_page(run: Run, results: Mapping[str, Any] | None = None) -> str:
    """Text of the report; see `write_report`."""
    results = analysis.analyze_run(run) if results is None else results
    data = page_data(run, results)
    title = results["title"] or results["formula"]
    word = by_point.point_word(results)
    return _fill(
        _template("report.html"),
        {
            "version": escape(__version__),
            "page_title": escape(f"{title} – alchemc report"),
            "css": _template("report.css"),
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
            "table": by_point.results_table(results),
            "learnt": _learnt(run, results),
            "model": _model(run),
            "provenance": _provenance(run),
            "toml": escape(_toml(run.config) or "This run was made in Python, without a file."),
            "data": embedded_json(data),
            "plotly": _plotly(),
            "viewer_js": _template("viewer.js"),
            "report_js": _template("report.js"),
        },
    )


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
