"""Section on special quasirandom structures beside the sampled ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .report_parts import Figure, Section, Series, Table

__all__ = ["sqs_section"]

NOTES = {
    "Bias by temperature": "SQS less ensemble; in parentheses: the error of the last digits.",
    "Values": "In parentheses: how far single structures scatter, in the last digits.",
}
KINDS = {"energy": "Energy", "warren-cowley": "Short-range order", "order": "Order"}
CAPTION = (
    "Bars of the ensemble: error of the mean. Bars of the SQS and of random arrangements: how far "
    "single ones scatter."
)


def sqs_section(data: Mapping[str, Any]) -> Section:
    """Show a comparison that ``alchemc sqs DIR`` has stored."""
    rows = {
        "Bias by temperature": data.get("bias"),
        "Values": data.get("values_with_their_scatter"),
    }
    tables = [
        Table(tuple(found[0]), [_row(row) for row in found], title, NOTES.get(title, ""))
        for title, found in rows.items()
        if found
    ]
    return Section(
        str(data.get("title", "Special quasirandom structures")),
        _without(data["statement"], data.get("caveats", ())),
        data.get("caveats", ()),
        list(_figures(data["quantities"])),
        tables,
        "sqs",
    )


def _row(row: Mapping[str, Any]) -> list[Any]:
    """Cells; a number without an error is one that has none, if it does not say otherwise."""
    return [{"converged": True, **v} if isinstance(v, Mapping) else v for v in row.values()]


def _without(
    statement: str | Sequence[str], caveats: Sequence[str | Mapping[str, str]]
) -> str | list[str]:
    """Leave out of a statement what stands below it as a caveat."""
    texts = [caveat if isinstance(caveat, str) else str(caveat["text"]) for caveat in caveats]

    def left(said: str) -> str:
        for text in texts:
            said = said.replace(text, "")
        return " ".join(said.split())

    return left(statement) if isinstance(statement, str) else [left(said) for said in statement]


def _figures(quantities: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Return one figure per kind of quantity but the cluster vector, which is of many numbers."""
    for kind in dict.fromkeys(row["kind"] for row in quantities if row["kind"] != "cluster"):
        row = next(row for row in quantities if row["kind"] == kind)
        per_site = row["unit"] == "eV per site"
        scale = 1e3 if per_site else 1.0
        zero = row["random"]["mean"] if per_site else 0.0
        unit = {"eV per site": " (meV per site)", "1": ""}.get(row["unit"], f" ({row['unit']})")
        name = KINDS.get(kind, _capital(kind))
        label = f"{name}, {row['name']}{unit}" if row["name"] else f"{name}{unit}"
        yield Figure(name, "Temperature (K)", label, _series(row, scale, zero or 0.0), CAPTION)


def _series(row: Mapping[str, Any], scale: float, zero: float) -> list[Series]:
    points = sorted(row["points"], key=lambda point: point["temperature"])
    kelvins = [point["temperature"] for point in points]

    def shown(value: float | None) -> float | None:
        return None if value is None else scale * (value - zero)

    def width(value: float | None) -> float | None:
        return None if value is None else scale * value

    ends = [kelvins[0], kelvins[-1]]
    sqs, random = row["sqs"], row["random"]
    return [
        Series(
            "ensemble",
            kelvins,
            [shown(point["mean"]) for point in points],
            [width(point["error"]) for point in points],
            converged=[point["converged"] for point in points],
        ),
        Series("SQS", ends, [shown(sqs["mean"])] * 2, [width(sqs["scatter"])] * 2, line="dash"),
        Series(
            "random", ends, [shown(random["mean"])] * 2, [width(random["spread"])] * 2, line="dot"
        ),
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
