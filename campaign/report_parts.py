"""What a section of a report is made of: sentences, caveats, figures and tables as plain objects.

A result that is to be shown becomes a `Section`; the report draws its figures in the page and
`report_figures` the same ones for a paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import InputError

__all__ = ["Cell", "Figure", "Section", "Series", "Table", "figure_key", "slug"]

Number = float | None
Cell = str | float | Mapping[str, Any] | None


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
            "caption": self.caption,
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
    written in units of the last digits, and what did not converge is red; ``"text"`` in place of
    mean and error is written as it is. A heading may hold a
    unit in parentheses, which stands in a line of its own. A folded table is opened by its title.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    folded: bool = False

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

    def to_dict(self) -> dict[str, Any]:
        """Plain data that ``store_finding`` takes, so that later reports show the section."""
        return {
            "title": self.title,
            "statement": list(self.sentences),
            "caveats": list(self.caveats),
            "figures": [figure.to_dict() for figure in self.figures],
            "tables": [
                {
                    "title": table.title,
                    "note": table.note,
                    "columns": list(table.columns),
                    "rows": [list(row) for row in table.rows],
                    "folded": table.folded,
                }
                for table in self.tables
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], key: str = "") -> Section:
        """Make a section of plain data: the inverse of ``to_dict``.

        Examples
        --------
        >>> section = Section("A", "It is.", tables=[Table(["T (K)"], [[900.0]])])
        >>> Section.from_dict(section.to_dict()).tables[0].columns
        ['T (K)']
        """
        figures = [
            Figure(**{**entry, "series": [Series(**series) for series in entry["series"]]})
            for entry in data["figures"]
        ]
        tables = [Table(**entry) for entry in data["tables"]]
        said = data["statement"]
        return cls(data["title"], said, data["caveats"], figures, tables, key)

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
    >>> slug("2,500 K, μ = −0.4 eV")
    '2-500-k-minus-0-4-ev'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("−", " minus ")).strip("-")


def figure_key(section: Section, k: int) -> str:
    """Name under which the page's data holds a figure."""
    return f"{section.name}-{k}"


def _finite(values: Iterable[Any]) -> list[Number]:
    return [None if v is None or not math.isfinite(v) else float(v) for v in values]
