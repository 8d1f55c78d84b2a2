"""Sections on concentration waves: of one crystal, and of a screen of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

from .report_parts import Figure, Section, Series, Table
from .report_sections import listed

__all__ = ["screen_section", "waves_section"]

MOST_LINES = 6
"""Crystals whose paths find room in a figure."""
Dash = Literal["solid", "dash", "dot"]
DASHES: tuple[Dash, ...] = ("solid", "dash", "dot")
REMARKS = {
    "coulomb": "no long-range Coulomb",
    "domain": "outside of what the potential knows",
    "range": "interactions reach across the cell",
}
"""Codes of caveats in words short enough for a table."""
MOST_NAMES = 24
"""Crystals whose names find room below a figure."""


def waves_section(data: Mapping[str, Any]) -> Section:
    """Show the waves of one crystal, ``ConcentrationWaves.to_dict()``."""
    waves = data["waves"]
    rows = [
        [wave["name"], _vector(wave["q"]), 1e3 * wave["energy_eV"], _changes(wave)]
        for wave in waves
    ]
    table = Table(
        ("Wave", "q", "λ (meV)", "Changes"),
        rows,
        note="The lowest λ below zero is the ordering that the disordered crystal is unstable to.",
    )
    found = data["interactions"]
    distances = Series("", found["distance_A"], [1e3 * v for v in found["largest_eV"]], line=None)
    figure = Figure(
        "Interactions by distance",
        "Distance (Å)",
        "Largest |V| (meV)",
        [distances],
        "Between sites; where they have not decayed within half of the cell, V(q) is that of this "
        "cell.",
    )
    return Section(
        "Concentration waves",
        data["statement"],
        data["caveats"],
        [figure, *_paths([data])],
        [table],
        "concentration-waves",
    )


def screen_section(data: Mapping[str, Any]) -> Section:
    """Show a screen, what ``alchemc screen --store DIR`` has stored."""
    entries = data["entries"]
    good = [row for row in entries if not row["error"]]
    columns = (
        *("Crystal", "Leading wave", "q", "λ (meV)", "Next", "Gap (meV)"),
        *("Slope", "r", "T, mean field (K)", "Remarks"),
    )
    rows = [_row(row) for row in entries]
    note = (
        "Slope and r: energies of random arrangements against those of V. No temperature is given "
        "where they do not agree."
    )
    labels = dict.fromkeys(row["temperature"]["label"] for row in good if row["temperature"])
    texts: dict[str, list[str]] = {}
    for row in good:
        for caveat in _telling(row):
            texts.setdefault(caveat["text"], []).append(str(row["name"]))
    caveats = [{"level": "warning", "text": f"Temperatures: {label}."} for label in labels]
    caveats += [
        {
            "level": "warning",
            "text": text if len(names) == len(good) else f"{listed(names)}: {text}",
        }
        for text, names in texts.items()
    ]
    return Section(
        "Screen of orderings",
        data["statement"],
        caveats,
        [*([_strengths(good)] if 1 < len(good) <= MOST_NAMES else []), *_paths(good)],
        [Table(columns, rows, note=note)],
        "screen",
    )


def _row(row: Mapping[str, Any]) -> list[Any]:
    if row["error"]:
        return [row["name"], "refused", *[None] * 7, row["error"]]
    lead, others = row["waves"][0], row["waves"][1:]
    scale, kelvin = row["rescaling"] or {}, row["temperature"]
    temperature = kelvin and {"mean": kelvin["kelvin"], "error": kelvin["error"], "converged": True}
    slope = scale and {"mean": scale["slope"], "error": scale["error"], "converged": True}
    remarks = [REMARKS.get(caveat["code"], caveat["code"]) for caveat in _telling(row)]
    return [
        row["name"],
        row["leading"],
        _vector(lead["q"]),
        round(1e3 * lead["energy_eV"], 1),
        others[0]["name"].replace(" ", "\u00a0") if others else None,  # in one line
        None if row["gap_eV"] is None else round(1e3 * row["gap_eV"], 1),
        slope or None,
        f"{scale['correlation']:.3f}" if scale else None,
        temperature or None,
        ", ".join(remarks),
    ]


def _telling(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Caveats that differ from crystal to crystal."""
    caveats = row.get("caveats", ())
    return [c for c in caveats if c["level"] != "note" or c["code"] == "range"]


def _strengths(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """Lowest and next waves of every crystal side by side."""
    places = list(range(len(entries)))
    lowest = [1e3 * row["waves"][0]["energy_eV"] for row in entries]
    after = [1e3 * row["waves"][1]["energy_eV"] if row["waves"][1:] else None for row in entries]
    return Figure(
        "Leading waves",
        "Crystal",
        "λ (meV)",
        [Series("lowest", places, lowest, line=None), Series("next", places, after, line=None)],
        ticks=[(place, row["name"]) for place, row in enumerate(entries)],
    )


def _paths(entries: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Lowest eigenvalue along a path, of crystals whose paths have the same corners."""
    kept = [row for row in entries if row.get("path")]
    kept = [row for row in kept if _corners(row["path"]) == _corners(kept[0]["path"])][:MOST_LINES]
    if not kept:
        return []
    ticks: dict[float, str] = {}
    for name, at in _corners(kept[0]["path"]):
        ticks[at] = f"{ticks[at]}|{name}" if ticks.get(at, name) != name else name
    several = len(kept) > 1
    return [
        Figure(
            "Lowest λ along a path",
            "Wave vector",
            "λ (meV)",
            [
                _line(row["path"], str(row["name"]) if several else "", DASHES[k % 3])
                for k, row in enumerate(kept)
            ],
            "Marks without a line: interactions reach across the cell, and only wave vectors that "
            "fit it are known."
            + (f" {len(kept)} of {len(entries)} crystals." if len(entries) > len(kept) else ""),
            ticks=list(ticks.items()),
        )
    ]


def _corners(path: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Corners and where they are, in parts of the whole way."""
    whole = path["corners"][-1][1]
    return [(name, round(at / whole, 3)) for name, at in path["corners"]]


def _line(path: Mapping[str, Any], name: str, dash: Dash) -> Series:
    """Line with gaps where the path jumps; where V(q) is not known between them, marks alone."""
    whole = path["corners"][-1][1]
    x: list[float] = []
    y: list[float | None] = []
    pieces = path["piece"]
    for k, (at, energy) in enumerate(zip(path["distance_per_A"], path["lowest_eV"], strict=True)):
        if path["trusted"] and k and pieces[k] != pieces[k - 1]:
            x.append(at / whole)
            y.append(None)
        if path["trusted"] or path["fits"][k]:
            x.append(at / whole)
            y.append(1e3 * energy)
    if path["trusted"]:
        return Series(name, x, y, line=dash, points=False)
    return Series(name, x, y, line=None)


def _vector(q: Sequence[float]) -> str:
    return "(" + " ".join(str(Fraction(x).limit_denominator(48)) for x in q) + ")"


def _changes(wave: Mapping[str, Any]) -> str:
    parts = [
        f"{part['species']} {part['amplitude']:+.2f}".replace("-", "−")
        for part in wave["polarisation"]
        if abs(part["amplitude"]) + abs(part["imaginary"]) > 0.05
    ]
    return ", ".join(parts)
