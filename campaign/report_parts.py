"""What a section of a report is made of: sentences, caveats, figures and tables as plain objects.

A result that is to be shown becomes a `Section`; the report draws its figures in the page and
`report_figures` the same ones for a paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from ..errors import InputError
from .numbers import compact

__all__ = ["Figure", "Section", "Series", "Table", "section_html"]

Number = float | None
Cell = str | float | Mapping[str, Any] | None
WORDS = ' class="words"'
PARAGRAPH = 240
"""Characters after which a statement goes on in another paragraph."""
MOST_ROWS = 400
"""Numbers of a figure that stand in a table below it; of larger ones there is no table."""


@dataclass(frozen=True)
class Series:
    """Points of a figure that belong together.

    Parameters
    ----------
    name
        What the legend calls it.
    x, y
        Where the points are; None leaves a gap.
    error, x_error
        Standard errors of y and x, None where unknown.
    converged
        Verdicts, one per point; all good unless given. What did not converge is marked.
    line
        ``"solid"``, ``"dash"`` or ``"dot"``; None draws points alone.
    points
        Whether the points are marked.
    area
        Whether the line bounds a filled area, as a region of a phase diagram is.
    colour
        Which colour and marker of the theme; by the place in the figure unless given.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    error: Sequence[Number] | None = None
    x_error: Sequence[Number] | None = None
    converged: Sequence[bool] | None = None
    line: Literal["solid", "dash", "dot"] | None = "solid"
    points: bool = True
    area: bool = False
    colour: int | None = None

    def __post_init__(self) -> None:
        for name in ("y", "error", "x_error", "converged"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.x):
                raise InputError(
                    f"{name} of the series {self.name!r} has {len(values)} values for "
                    f"{len(self.x)} of x"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the page's script."""
        return {
            "name": self.name,
            "x": _finite(self.x),
            "y": _finite(self.y),
            "error": None if self.error is None else _finite(self.error),
            "x_error": None if self.x_error is None else _finite(self.x_error),
            "converged": None if self.converged is None else [bool(v) for v in self.converged],
            "line": self.line,
            "points": self.points,
            "area": self.area,
            "colour": self.colour,
        }


@dataclass(frozen=True)
class Figure:
    """A figure: series of numbers, or a map of one quantity over two.

    Parameters
    ----------
    title
        Heading; it names the file of the paper figure, too.
    x, y
        Axis labels with units: ``"Temperature (K)"``. In all texts k_B is written with its index.
    series
        What is drawn, in the order of the legend.
    caption
        Below the figure.
    ticks
        Positions and labels along x, for paths through a Brillouin zone or categories.
    bands
        Intervals of x that are shaded.
    x_range, y_range
        Ends of the axes where those of the data do not do; None leaves an end open.
    log
        ``"x"``, ``"y"`` or ``"xy"`` for logarithmic axes.
    values
        For a map: rows of numbers, one row per value of ``map_y``, one column per ``map_x``.
    map_x, map_y, map_label
        Coordinates of a map and the label of its colours.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series] = ()
    caption: str = ""
    ticks: Sequence[tuple[float, str]] = ()
    bands: Sequence[tuple[float, float]] = ()
    x_range: tuple[Number, Number] | None = None
    y_range: tuple[Number, Number] | None = None
    log: str = ""
    values: Sequence[Sequence[Number]] | None = None
    map_x: Sequence[float] = ()
    map_y: Sequence[float] = ()
    map_label: str = ""

    def __post_init__(self) -> None:
        rows = self.values or ()
        if self.values is not None and (
            len(rows) != len(self.map_y) or any(len(row) != len(self.map_x) for row in rows)
        ):
            raise InputError(f"the map {self.title!r} is not one row per y and one column per x")

    @property
    def alternative(self) -> str:
        """What the figure shows, for those who do not see it."""
        kind = "Map" if self.values is not None else "Plot"
        what = self.map_label or self.y
        names = ", ".join(dict.fromkeys(s.name for s in self.series if s.name))
        told = f": {names}" if names else ""
        return f"{kind} of {what} against {self.x}{told}."

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the page's script."""
        return {
            "title": self.title,
            "x": self.x,
            "y": self.y,
            "series": [series.to_dict() for series in self.series],
            "ticks": [[float(at), label] for at, label in self.ticks],
            "bands": [[float(low), float(high)] for low, high in self.bands],
            "x_range": list(self.x_range) if self.x_range else None,
            "y_range": list(self.y_range) if self.y_range else None,
            "log": self.log,
            "values": None if self.values is None else [_finite(row) for row in self.values],
            "map_x": _finite(self.map_x),
            "map_y": _finite(self.map_y),
            "map_label": self.map_label,
        }


@dataclass(frozen=True)
class Table:
    """A table: headings, and rows that begin with a name.

    A cell is text, a number, None for what is unknown, or a number with its error as
    ``analyze_run`` gives them (``{"mean": …, "error": …, "converged": …, "why": …}``): the error is
    written in units of the last digits, and what did not converge is red. A heading may hold a
    unit in parentheses, which stands in a line of its own.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(
                    f"a row of the table {self.title!r} has {len(row)} cells for "
                    f"{len(self.columns)} columns"
                )


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Parameters
    ----------
    title
        Heading.
    statement
        Sentences to quote, with numbers, errors and caveats; paragraphs where there are several.
    caveats
        Sentences that qualify them, as text or as mappings of ``level`` (``"warning"`` or
        ``"note"``) and ``text``.
    figures, tables
        What is shown.
    """

    title: str
    statement: str | Sequence[str] = ()
    caveats: Sequence[str | Mapping[str, str]] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    key: str = field(default="")

    @property
    def name(self) -> str:
        """Name in addresses and file names."""
        return self.key or slug(self.title)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Paragraphs of the statement."""
        parts = (self.statement,) if isinstance(self.statement, str) else self.statement
        return tuple(part for part in parts if part)


def slug(text: str) -> str:
    """Text as a part of an address or a file name.

    Examples
    --------
    >>> slug("Order–disorder: F(x, T)")
    'order-disorder-f-x-t'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def figure_key(section: Section, k: int) -> str:
    """Name under which the page's data holds a figure."""
    return f"{section.name}-{k}"


def section_html(section: Section) -> str:
    """Write a section as HTML; its figures are empty until the page's script has run."""
    name = escape(section.name, quote=True)
    figures = "".join(
        _figure_html(figure, figure_key(section, k)) for k, figure in enumerate(section.figures)
    )
    parts = [
        *(
            f'<p class="{"detail" if k else "statement"}">{escape(_signed(text))}</p>'
            for k, text in enumerate(_paragraphs(section.sentences))
        ),
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
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    label = escape(table.title or name, quote=True)
    return (
        f'{title}{note}<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


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


def _finite(values: Iterable[Any]) -> list[Number]:
    return [None if v is None or not math.isfinite(v) else float(v) for v in values]
