"""Pieces of a report as HTML: headline, caveats, tables, provenance. All text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..analysis.layout import TEMPERATURE
from ..analysis.transition import kelvin
from .numbers import measured

__all__ = [
    "banner",
    "bracket_text",
    "capital",
    "caveat_list",
    "fact_list",
    "fact_table",
    "headline",
    "listed",
    "shells_section",
    "signed",
    "structure_section",
    "subtitle",
]

TITLES = {
    "unconverged": "Not converged.",
    "unfinished": "Unfinished.",
    "magnetic": "Magnetic elements.",
    "one-chain": "One chain.",
    "hot-points": "Hot points.",
    "landscape": "Energy landscape.",
    "one-size": "One size.",
    "coulomb": "No long-range Coulomb.",
    "extrapolation": "Extrapolation.",
    "domain": "Outside of what the potential knows.",
    "not-relaxed": "Not relaxed.",
    "precision": "Precision not reached.",
    "hysteresis": "Hysteresis.",
    "charge": "Charged cells.",
    "one-way": "One way.",
    "stiff": "Composition held too closely.",
    "pure": "Pure phases.",
    "order-left-out": "Orders left out.",
    "incomplete-star": "Incomplete star.",
}


def signed(text: str) -> str:
    """Numbers with a minus sign instead of a hyphen."""
    return text.replace("-", "−")


def capital(text: str) -> str:
    """Text with a capital first letter and all others as they are: Å and Cartesian stay."""
    return text[:1].upper() + text[1:]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def banner(results: Mapping[str, Any]) -> str:
    """First line of the page: what is critical; empty if nothing is."""
    critical = [c for c in results["caveats"] if c["level"] == "critical"]
    if not critical:
        return ""
    lines = "".join(f"<p>{escape(c['text'])}</p>" for c in critical)
    return f'<div class="banner" role="alert">{lines}</div>'


def subtitle(results: Mapping[str, Any]) -> str:
    """One line on what was sampled."""
    points = results["points"]
    mixes = "; ".join(
        f"{name}: {'any mixture of ' + ', '.join(entry['counts'])}"
        if entry.get("varies")
        else f"{name}: " + ", ".join(f"{n} {species}" for species, n in entry["counts"].items())
        for name, entry in results["sublattices"].items()
    )
    temperatures = sorted({point["temperature"] for point in points})
    span = kelvin(temperatures[0])
    if len(temperatures) > 1:
        span = f"{len(temperatures)} temperatures, {span} to {kelvin(temperatures[-1])}"
    found = results["layout"]
    if found["axis"] != TEMPERATURE:
        values = sorted({point["value"] for point in points})
        symbol, _, unit = found["title"].partition(" (")
        ends = signed(f"{values[0]:g} to {values[-1]:g} {unit[:-1]}".rstrip())
        span += f", {symbol} from {ends} in {len(values)} values"
    if found["returns"]:
        span += f", {' and '.join(found['directions'])}"
    return escape(
        f"{results['formula']}, {results['n_atoms']} atoms, {results['n_sites']} of them on mixed "
        f"sites ({mixes}). {span}. {capital(results['landscape'])}."
    )


def headline(results: Mapping[str, Any]) -> str:
    """Cards with the four numbers people look for first."""
    cards = [
        _transition_card(results),
        _hysteresis_card(results),
        _order_card(results),
        _convergence_card(results["points"]),
        _samples_card(results["points"]),
    ]
    return f'<div class="cards">{"".join(card for card in cards if card)}</div>'


def _card(label: str, value: str, remark: str, kind: str = "") -> str:
    return (
        f'<div class="card"><p class="label">{escape(label)}</p>'
        f'<p class="value {kind}">{escape(value)}</p><p class="remark">{escape(remark)}</p></div>'
    )


def bracket_text(transition: Mapping[str, Any]) -> str:
    """Where the apparent ordering temperature of a run lies."""
    lower, upper = transition["bracket"]["lower"], transition["bracket"]["upper"]
    return {
        "bracketed": f"{lower or 0.0:,.6g}–{kelvin(upper or 0.0)}",
        "above": f"above {kelvin(lower or 0.0)}",
        "below": "not bracketed",
        "none": "no order seen",
        "unknown": "not known",
    }[transition["status"]]


def _transition_card(results: Mapping[str, Any]) -> str:
    transition = results["transition"]
    if transition is None:
        return ""
    value = bracket_text(transition)
    order = f"{transition['order']}; " if transition["order"] else ""
    order = "of those measured; " if transition["status"] == "none" else order
    doubt = "" if transition["converged"] else "; from chains that did not converge"
    remark = f"{order}one size, {results['landscape']}{doubt}"
    kind = "" if transition["converged"] else "bad"
    return _card("Apparent ordering temperature", value, remark, kind)


def _hysteresis_card(results: Mapping[str, Any]) -> str:
    """Range in which both ways differ, over all curves of the quantity that is compared first."""
    loops = results["hysteresis"]
    if not loops:
        return ""
    first = [loop for loop in loops if loop["quantity"] == loops[0]["quantity"]]
    apart = [loop for loop in first if any(loop["differs"])]
    where = f" at {apart[0]['curve']}" if apart and apart[0]["curve"] else ""
    more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
    remark = f"in the {loops[0]['quantity']}{where}{more}"
    if not apart:
        largest = max(z for loop in first for z in loop["z"])
        remark = f"{remark}: {largest:.1f}σ at most"
        return _card("Up and down", "agree", remark, "good")
    loop = apart[0]
    here = [v for v, differs in zip(loop["values"], loop["differs"], strict=True) if differs]
    span = f"at {here[0]:,.6g}" if len(here) == 1 else f"{here[0]:,.6g} to {here[-1]:,.6g}"
    unit = loop["title"].partition(" (")[2].rstrip(")")
    return _card("Up and down differ", signed(f"{span} {unit}".rstrip()), remark, "bad")


def _order_card(results: Mapping[str, Any]) -> str:
    coldest = results["points"][0]
    if not coldest["orders"] or coldest["fractions"]:
        return ""
    leading = (results["transition"] or {}).get("order")
    name = leading or max(coldest["orders"], key=lambda k: coldest["orders"][k]["mean"] or 0.0)
    number = coldest["orders"][name]
    random = "" if number["random"] is None else f"; random {number['random']:.2g}"
    flag = "" if number["converged"] else "; not converged"
    remark = f"|ψ|² at {kelvin(coldest['temperature'])}{random}{flag}"
    kind = "" if number["converged"] else "bad"
    return _card(f"{capital(name)} order", signed(measured(number)), remark, kind)


def _convergence_card(points: Sequence[Mapping[str, Any]]) -> str:
    good = sum(point["converged"] for point in points)
    kind = "good" if good == len(points) else "bad"
    what = "composition" if points[0]["fractions"] else "every order"
    remark = f"R-hat below 1.01 and 100 effective draws, for energy and {what}"
    pure = sum(bool(point["pure"]) for point in points)
    remark += f"; {pure} of them pure phases, where nothing varies" if pure else ""
    alone = len({point["temperature"] for point in points}) == len(points)
    where = "temperatures" if alone else "points"
    return _card(f"Converged {where}", f"{good} of {len(points)}", remark, kind)


def _samples_card(points: Sequence[Mapping[str, Any]]) -> str:
    total = sum(point["n_draws"] * point["n_chains"] for point in points)
    draws = sorted({point["n_draws"] for point in points})
    each = f"{draws[0]}" if len(draws) == 1 else f"{draws[0]}–{draws[-1]}"
    remark = f"{points[0]['n_chains']} chains × {each} draws at each of {len(points)} points"
    for kind in ("energy", "gradient"):
        calls = sum(point[f"{kind}_calls"] or 0 for point in points)
        remark += f"; {calls:,} {kind} calls" if calls else ""
    return _card("Configurations", f"{total:,}", remark)


def caveat_list(caveats: Sequence[Mapping[str, str]]) -> str:
    """Every caveat that is not in the banner, the gravest first."""
    items = "".join(
        f'<li class="caveat {c["level"]} {c["code"]}">'
        f"<b>{escape(TITLES.get(c['code'], 'Note.'))}</b> {escape(c['text'])}</li>"
        for c in caveats
        if c["level"] != "critical"
    )
    return f'<ul class="caveats">{items}</ul>'


def shells_section(results: Mapping[str, Any]) -> str:
    """Warren–Cowley plot with a choice of species pairs, unlike ones first; may be empty."""
    rows = [row for point in results["points"] for row in point["warren_cowley"]]
    if not rows:
        return ""
    pairs = {row["pair"]: row["unlike"] for row in rows}
    ordered = sorted(pairs, key=lambda pair: not pairs[pair])
    options = "".join(f"<option>{escape(pair)}</option>" for pair in ordered)
    return f"""<section id="shells" aria-labelledby="shells-title">
<h2 id="shells-title">Short-range order by shell</h2>
<div class="controls"><label>Species pair <select id="shell-pair">{options}</select></label></div>
<figure class="card"><div id="plot-shells" class="plot" style="height:400px" role="img"
aria-label="Warren–Cowley parameter of the chosen pair against distance, point by point"></div>
<figcaption>Warren–Cowley α: 0 for a random crystal, 1 if the pair never occurs at this distance;
negative where it is preferred.</figcaption></figure>
</section>"""


def structure_section(structure: Mapping[str, Any], point: str) -> str:
    """Canvas with a stored structure, switches for the species, and a slider over the draws."""
    mixed = "".join(_switch(name, name) for name in structure["species"])
    names = structure["spectator_species"]
    others = "".join(_switch(f"{name} ", name) for name in names)
    spectators = f"<fieldset><legend>Spectators</legend>{others}</fieldset>" if others else ""
    moved = any("moved" in one for one in structure["points"])
    where = "at the positions of the draw" if moved else "at the reference positions"
    kept = "Every stored draw" if structure["every_draw"] else "Draws spread evenly over the run"
    return f"""<section id="structure-section" aria-labelledby="structure-title">
<h2 id="structure-title">Structures</h2>
<div class="controls"><label>{point} <select id="structure-point"></select></label>
<label>Chain <select id="structure-chain"></select></label></div>
<figure class="card"><div class="viewer">
<canvas id="structure" tabindex="0" role="application" aria-roledescription="rotatable picture"
aria-label="The cell with its atoms coloured by species" aria-describedby="structure-keys
structure-told"></canvas>
<div><fieldset><legend>Mixed sites</legend>{mixed}</fieldset>{spectators}
<div class="buttons">
<button type="button" id="zoom-in" aria-label="Magnify">+</button>
<button type="button" id="zoom-out" aria-label="Shrink">−</button>
<button type="button" id="reset-view">Reset view</button>
</div></div>
</div>
<div class="player"><button type="button" id="structure-play" class="motion">▶ Play</button>
<input type="range" id="structure-draw" min="0" max="0" step="1" aria-label="Draw">
<output id="structure-told" for="structure-draw"></output></div>
<figcaption>{kept}, {where}. <span id="structure-keys">Drag to turn; with the keyboard: arrows turn,
+ and − magnify and shrink, 0 resets.</span></figcaption></figure>
</section>"""


def _switch(key: str, name: str) -> str:
    key, name = escape(key, quote=True), escape(name)
    return (
        f'<label><input type="checkbox" checked data-species="{key}">'
        f'<span class="swatch" data-swatch="{key}"></span>{name}</label>'
    )


def fact_list(facts: Mapping[str, Any], kind: str = "facts") -> str:
    """Names and values; mappings are nested, and those of like entries become tables."""
    rows = "".join(
        f"<dt>{escape(str(name).replace('_', ' '))}</dt><dd>{_fact(name, value)}</dd>"
        for name, value in facts.items()
        if value not in (None, "", [], {})
    )
    return f'<dl class="{kind}">{rows}</dl>'


def _fact(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return fact_table(value) if _alike(value) else fact_list(value, "facts nested")
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping) for item in value):
            return "".join(_fact(name, item) for item in value)
        value = ", ".join(str(item) for item in value)
    if "sha256" in str(name):
        return f'<span class="hash">{escape(str(value))}</span>'
    return _plain(value)


def _plain(value: Any) -> str:
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def _alike(value: Mapping[str, Any]) -> bool:
    """Whether all values are mappings with the same keys and plain values."""
    entries = list(value.values())
    return (
        len(entries) > 1
        and all(isinstance(entry, Mapping) for entry in entries)
        and all(entry.keys() == entries[0].keys() for entry in entries)
        and not any(isinstance(v, Mapping | list) for entry in entries for v in entry.values())
    )


def fact_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Table of entries that have the same keys, one row each."""
    columns = list(next(iter(entries.values())))
    head = "".join(f'<th scope="col">{escape(c.replace("_", " "))}</th>' for c in columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{_plain(entry[c])}</td>" for c in columns)
        + "</tr>"
        for name, entry in entries.items()
    )
    return (
        '<div class="scroll" tabindex="0"><table><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
