"""Sections of a report as HTML. All text is escaped; the page's script draws the figures."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

from .numbers import compact
from .report_parts import Cell, Figure, Section, Table, figure_key

__all__ = ["section_html"]

PARAGRAPH = 240
"""Characters after which a statement goes on in another paragraph."""
MOST_PARAGRAPHS = 5
SHOWN_PARAGRAPHS = 3
"""Of a longer statement so many paragraphs stand there; the others are folded up."""
WORDS = ' class="words"'
MOST_ROWS = 400
"""Numbers of a figure that stand in a table below it; of larger ones there is no table."""


def section_html(section: Section) -> str:
    """Write a section as HTML; its figures are empty until the page's script has run."""
    name = escape(section.name, quote=True)
    figures = "".join(
        _figure_html(figure, figure_key(section, k)) for k, figure in enumerate(section.figures)
    )
    said = [
        f'<p class="{"detail" if k else "statement"}">{escape(_signed(text))}</p>'
        for k, text in enumerate(_paragraphs(section.sentences))
    ]
    shown = len(said) if len(said) <= MOST_PARAGRAPHS else SHOWN_PARAGRAPHS
    more = "".join(said[shown:])
    parts = [
        *said[:shown],
        f"<details><summary>More of it in words</summary>{more}</details>" if more else "",
        _caveats_html(section.caveats),
        f'<div class="grid">{figures}</div>' if figures else "",
        *(_table_html(table, section.title) for table in section.tables),
    ]
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{escape(section.title)}</h2>{"".join(parts)}</section>'
    )


def _paragraphs(texts: Sequence[str]) -> list[str]:
    """Break long texts between sentences, so that they can be read."""
    found = []
    for text in texts:
        part = ""
        for sentence in re.split(r"(?<=[.)]) (?=[A-Z])", text):
            part = f"{part} {sentence}" if part else sentence
            if len(part) >= PARAGRAPH:
                found.append(part)
                part = ""
        found += [part] if part else []
    return found


def _caveats_html(caveats: Sequence[str | Mapping[str, str]]) -> str:
    items = ""
    for caveat in caveats:
        level = "note" if isinstance(caveat, str) else caveat.get("level", "note")
        text = caveat if isinstance(caveat, str) else caveat["text"]
        items += f'<li class="caveat {escape(level, quote=True)}">{escape(_signed(text))}</li>'
    return f'<ul class="caveats">{items}</ul>' if items else ""


def _figure_html(figure: Figure, key: str) -> str:
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    numbers = _numbers_of(figure)
    below = (
        f"<details><summary>Numbers</summary>{_table_html(numbers, figure.title)}</details>"
        if numbers is not None
        else ""
    )
    label = escape(figure.alternative, quote=True)
    return (
        f'<figure class="card"><h3>{escape(figure.title)}</h3>'
        f'<div class="plot" data-figure="{escape(key, quote=True)}" role="img" '
        f'aria-label="{label}"></div>{caption}{below}</figure>'
    )


def _numbers_of(figure: Figure) -> Table | None:
    """Numbers behind a figure, for those who cannot use it; none where they are too many."""
    count = sum(len(series.x) for series in figure.series)
    if figure.values is not None or not 0 < count <= MOST_ROWS:
        return None
    labels = {float(at): label for at, label in figure.ticks}
    rows = []
    for series in figure.series:
        errors = series.error or [None] * len(series.x)
        good = series.converged or [True] * len(series.x)
        for x, y, error, fine in zip(series.x, series.y, errors, good, strict=True):
            if x is None or y is None:
                continue
            value: Cell = float(y)
            if series.error is not None:
                value = {"mean": y, "error": error, "converged": fine}
            rows.append([series.name, labels.get(float(x), float(x)), value])
    return Table(("series", figure.x, figure.y), rows)


def _table_html(table: Table, name: str) -> str:
    words = [_of_words(column) for column in zip(*table.rows, strict=True)] if table.rows else []
    words = words or [False] * len(table.columns)
    head = "".join(
        f'<th scope="col"{WORDS if left else ""}>{_heading(text)}</th>'
        for text, left in zip(table.columns, words, strict=True)
    )
    rows = "".join(_row_html(row, words) for row in table.rows)
    folded = table.folded and bool(table.title)
    title = f"<h3>{escape(table.title)}</h3>" if table.title and not folded else ""
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    label = escape(table.title or name, quote=True)
    text = (
        f'{title}{note}<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    return f"<details><summary>{label}</summary>{text}</details>" if folded else text


def _of_words(column: Sequence[Cell]) -> bool:
    """Whether a column holds text, which is read from the left."""
    return any(isinstance(cell, str) and cell[:1].isalpha() for cell in column)


def _heading(text: str) -> str:
    name, found, unit = text.partition(" (")
    unit = f"<small>{escape(unit[:-1])}</small>" if found else ""
    return f"{escape(name)}{unit}".replace("k_B", "k<sub>B</sub>")


def _row_html(row: Sequence[Cell], words: Sequence[bool]) -> str:
    cells = "".join(map(_cell_html, row[1:], words[1:]))
    return f'<tr><th scope="row">{_text(row[0])}</th>{cells}</tr>'


def _cell_html(cell: Cell, words: bool) -> str:
    if isinstance(cell, Mapping) and not cell.get("converged", True):
        why = escape(str(cell.get("why", "not converged")), quote=True)
        return f'<td class="bad" title="{why}">{_text(cell)}</td>'
    return f"<td{WORDS if words else ''}>{_text(cell)}</td>"


def _text(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if isinstance(cell, Mapping) and "text" in cell:
        return _signed(escape(str(cell["text"])))
    if isinstance(cell, Mapping):
        return _signed(escape(compact({"error": None, **cell})))
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return _signed(f"{cell:,}")
    return _signed(f"{cell:,.6g}" if isinstance(cell, float) else escape(str(cell)))


_HYPHEN_MINUS = re.compile(r"(?<![\w)])-(?=\d)")


def _signed(text: str) -> str:
    """Minus signs before numbers; hyphens within words and ranges stay.

    Examples
    --------
    >>> _signed("rock-salt at -0.5 eV")
    'rock-salt at −0.5 eV'
    """
    return _HYPHEN_MINUS.sub("−", text)
