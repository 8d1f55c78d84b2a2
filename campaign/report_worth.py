"""What a model card says of a potential's accuracy, as tables with units."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["evaluation_tables"]

# Column of the card: heading, format, factor.
SWAPS = {
    "n_swaps": ("swaps", "{:.0f}", 1.0),
    "slope": ("slope", "{:.2f}", 1.0),
    "correlation": ("r", "{:.3f}", 1.0),
    "mae": ("error (eV)", "{:.3f}", 1.0),
    "mae_over_spread": ("error / spread (%)", "{:.1f}", 100.0),
    "ordering": ("ordering (meV/atom)", "{:.1f}", 1.0),
    "forces": ("forces (meV/Å)", "{:.0f}", 1.0),
    "stress": ("stress (GPa)", "{:.2f}", 1.0),
}
RELAXED = {
    "a_teacher": ("a, teacher (Å)", "{:.3f}", 1.0),
    "a_student": ("a (Å)", "{:.3f}", 1.0),
    "ideal_teacher": ("ideal, teacher (eV)", "{:.3f}", 1.0),
    "ideal_student": ("ideal (eV)", "{:.3f}", 1.0),
    "relaxed_teacher": ("relaxed, teacher (eV)", "{:.3f}", 1.0),
    "relaxed_student": ("relaxed (eV)", "{:.3f}", 1.0),
}
PARTS = {
    "swaps": (
        SWAPS,
        (
            "Swap energies beside the teacher’s: slope through the origin, correlation, mean "
            "absolute error, and that error over the spread of the teacher’s swap energies. "
            "Ordering: root mean square error between arrangements of one cell; forces and stress "
            "likewise."
        ),
    ),
    "relaxed": (
        RELAXED,
        (
            "Lattice parameter and ordering energy (mean of all arrangements minus rock salt, per "
            "formula unit of the ordered compound) beside the teacher’s, at ideal and at relaxed "
            "positions."
        ),
    ),
}


def evaluation_tables(evaluation: Any) -> str:
    """Return the tables of every set of systems a potential was compared with its teacher on.

    Empty if ``evaluation`` is not in the form of the bundled potential's card.
    """
    if not (isinstance(evaluation, Mapping) and all(map(_known, evaluation.values()))):
        return ""
    parts = []
    for which, results in evaluation.items():
        for part, (columns, legend) in PARTS.items():
            if results.get(part):
                parts.append(f"<h3>{escape(which.capitalize())} systems: {part}</h3>")
                parts.append(f'<p class="note">{legend}</p>{_table(results[part], columns)}')
    return "".join(parts)


def _known(results: Any) -> bool:
    return isinstance(results, Mapping) and not results.keys() - PARTS.keys() - {"frames"}


def _table(
    entries: Mapping[str, Mapping[str, float]], columns: Mapping[str, tuple[str, str, float]]
) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name, _, _ in columns.values())
    rows = "".join(
        f'<tr><th scope="row">{escape(system)}</th>'
        + "".join(
            f"<td>{form.format(values[key] * factor) if key in values else '–'}</td>"
            for key, (_, form, factor) in columns.items()
        )
        + "</tr>"
        for system, values in entries.items()
    )
    return (
        '<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">system</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
