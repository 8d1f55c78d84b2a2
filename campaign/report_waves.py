"""Sections on concentration waves: of one crystal, and of a screen of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .report_parts import Figure, Section, Series, Table

__all__ = ["screen_section", "waves_section"]

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
        [figure],
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
    texts = dict.fromkeys(caveat["text"] for row in good for caveat in _telling(row))
    caveats = [{"level": "warning", "text": f"Temperatures: {label}."} for label in labels]
    caveats += [{"level": "warning", "text": text} for text in texts]
    return Section(
        "Screen of orderings",
        data["statement"],
        caveats,
        [_strengths(good)] if 1 < len(good) <= MOST_NAMES else [],
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
    codes = [caveat["code"] for caveat in _telling(row)]
    return [
        row["name"],
        row["leading"],
        _vector(lead["q"]),
        round(1e3 * lead["energy_eV"], 1),
        others[0]["name"] if others else None,
        None if row["gap_eV"] is None else round(1e3 * row["gap_eV"], 1),
        slope or None,
        f"{scale['correlation']:.3f}" if scale else None,
        temperature or None,
        ", ".join(codes),
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


def _vector(q: Sequence[float]) -> str:
    return "(" + " ".join(f"{x:g}" for x in q) + ")"


def _changes(wave: Mapping[str, Any]) -> str:
    parts = [
        f"{part['species']} {part['amplitude']:+.2f}".replace("-", "−")
        for part in wave["polarisation"]
        if abs(part["amplitude"]) + abs(part["imaginary"]) > 0.05
    ]
    return ", ".join(parts)
