"""The parts of a report that go point by point: figures, the comparison of both ways, the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .numbers import compact, decisive_numbers, verdict, worst
from .report_sections import capital, signed

__all__ = ["along", "hysteresis_section", "plots", "point_word", "results_table"]


CAPTIONS = {
    "plot-slope": "<figcaption>Where it falls, one phase is unstable. It follows from the mean "
    "composition, to one part in the number of sites; where that touches 0 or 1, it is worse."
    "</figcaption>"
}


def along(results: Mapping[str, Any]) -> str:
    """Name what the figures run along, in words."""
    title = str(results["layout"]["title"])
    return "temperature" if title == "Temperature (K)" else title.partition(" (")[0]


def point_word(results: Mapping[str, Any]) -> str:
    """Name a point in a menu."""
    return "Temperature" if along(results) == "temperature" else "Point"


def plots(results: Mapping[str, Any]) -> str:
    """Empty figures that the page's script fills."""
    points = results["points"]
    found = []
    if _any(points, "free_energy_slopes"):
        found.append(("plot-slope", "Slope of the free energy"))
    names = list(points[0]["fractions"])
    several = len(names) > 1
    for k, name in enumerate(names):
        title = f"Composition: {escape(name)}" if several else "Composition"
        found.append((f"plot-composition-{k}" if k else "plot-composition", title))
    if any(n["mean"] is not None for p in points for n in p["orders"].values()):
        found.append(("plot-order", "Order"))
    found.append(("plot-energy", "Energy"))
    if all(point["heat_capacity"] for point in points):
        found.append(("plot-capacity", "Heat capacity"))
    if all(point["acceptance"] for point in points):
        found.append(("plot-acceptance", "Acceptance"))
    return "".join(
        f'<figure class="card"><h3>{title}</h3><div id="{name}" class="plot" role="img" '
        f'aria-label="{title} against {escape(along(results))}; the numbers stand in the table '
        f'of results"></div>'
        f"{CAPTIONS.get(name, '')}</figure>"
        for name, title in found
    )


def _any(points: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(point[key] for point in points)


# ---- there and back


def hysteresis_section(results: Mapping[str, Any]) -> str:
    """Tell what both ways say, in sentences and point by point; empty for runs of one way."""
    loops = results["hysteresis"]
    if not loops:
        return ""
    apart = {loop["text"] for loop in loops if any(loop["differs"])}
    lines = "".join(
        f'<p class="caveat {"warning" if text in apart else "note"}">{escape(text)}</p>'
        for text in results["there_and_back"]
    )
    bound = f"{loops[0]['threshold']:.1f}σ"
    return (
        '<section aria-labelledby="hysteresis-title"><h2 id="hysteresis-title">There and back</h2>'
        '<p class="hint">Both ways agree where the chains forget where they came from. Differences '
        f"count in units of the errors of both, σ; without hysteresis the largest of them stays "
        f"below {bound} in 19 runs of 20.</p>"
        f'<div class="caveats">{lines}</div>'
        "<details><summary>Point by point</summary>"
        f"{''.join(map(_loop_table, loops))}</details></section>"
    )


def _loop_table(loop: Mapping[str, Any]) -> str:
    heads = (loop["title"], "up", "down", "difference", "σ")
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    rows = "".join(_loop_row(loop, k) for k in range(len(loop["values"])))
    name = ", ".join(part for part in (loop["curve"], loop["quantity"]) if part)
    note = ""
    if loop["area"] is not None:
        area = compact({"mean": loop["area"][0], "error": loop["area"][1]})
        note = f'<p class="note">Area of the loop: {signed(area)} eV per site, lost in a cycle.</p>'
    return (
        f"<h3>{escape(capital(name))}</h3>{note}"
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _loop_row(loop: Mapping[str, Any], k: int) -> str:
    difference = {"mean": loop["difference"][k], "error": loop["error"][k]}
    z = "–" if loop["z"][k] is None else f"{loop['z'][k]:.1f}"
    kind = ' class="bad"' if loop["differs"][k] else ""
    cells = [compact(loop["up"][k]), compact(loop["down"][k]), compact(difference)]
    return (
        f'<tr><th scope="row">{_value(loop["values"][k])}</th>'
        + "".join(f"<td>{signed(text)}</td>" for text in cells)
        + f"<td{kind}>{z}</td></tr>"
    )


def _value(value: float) -> str:
    return signed(f"{value:,.6g}")


# ---- the table of everything


def results_table(results: Mapping[str, Any]) -> str:
    """One row per point; what did not converge is red and says why."""
    points = results["points"]
    scanned = point_word(results) == "Point"
    capacity = all(point["heat_capacity"] for point in points)
    fractions = list(points[0]["fractions"])
    slopes = list(
        dict.fromkeys(
            (name, species)
            for point in points
            for name, row in point["free_energy_slopes"].items()
            for species in row
        )
    )
    orders = [
        name
        for name in points[0]["orders"]
        if not fractions or any(p["orders"][name]["mean"] is not None for p in points)
    ]
    place = [f"Temperature<small>{escape(results['landscape'])}</small>"]
    place += [escape(results["layout"]["title"])] if scanned else []
    place += ["Way"] if results["layout"]["returns"] else []
    heads = [*place, "Converged"]
    heads += [escape(capital(name)) for name in fractions]
    heads += [f"∂f/∂c, {escape(s)} on {escape(n)}<small>eV per site</small>" for n, s in slopes]
    heads.append("Energy<small>eV per site</small>")
    heads += ["Heat capacity<small>k<sub>B</sub> per site</small>"] if capacity else []
    heads += [f"{escape(capital(name))}<small>⟨|ψ|²⟩</small>" for name in orders]
    heads += ["Accepted", "R-hat<small>worst</small>", "ESS<small>least</small>"]
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    rows = "".join(
        _row(point, len(place), fractions, slopes, orders, capacity, scanned) for point in points
    )
    note = "A heat capacity can be red on its own: fluctuations converge later than means."
    what = "energy and fractions" if fractions else "energy and orders"
    pure = "Pure: one phase in every draw, where nothing varies. "
    return (
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="table-title">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="hint below">In parentheses: the error of the last digits. Red: not converged, '
        f"for the reasons listed at the top. R-hat and ESS are the worst of {what}. "
        f"{pure if any(point['pure'] for point in points) else ''}"
        f"{note if capacity else ''}</p>"
    )


def _row(  # noqa: PLR0917
    point: Mapping[str, Any],
    n_place: int,
    fractions: Sequence[str],
    slopes: Sequence[tuple[str, str]],
    orders: Sequence[str],
    capacity: bool,
    scanned: bool,
) -> str:
    ess, rhat = worst(point)
    place = [f'<th scope="row">{point["temperature"]:,.6g} K</th>']
    place += [f"<td>{_value(point['value'])}</td>"] if scanned else []
    place += [f"<td>{point['direction'] or '–'}</td>"] if len(place) < n_place else []
    cells = [_cell(point["fractions"][name]) for name in fractions]
    cells += [_cell(point["free_energy_slopes"].get(n, {}).get(s)) for n, s in slopes]
    cells.append(_cell(point["energy"]))
    cells += [_cell(point["heat_capacity"])] if capacity else []
    cells += [_cell(point["orders"][name]) for name in orders]
    accepted = point["acceptance"]
    cells.append(f"<td>{'–' if accepted is None else format(accepted['mean'], '.3f')}</td>")
    cells += [_limit(rhat, point["converged"]), _limit(ess, point["converged"])]
    return f"<tr>{''.join(place)}{_verdict(point)}{''.join(cells)}</tr>"


def _limit(text: str, good: bool) -> str:
    return f"<td>{text}</td>" if good else f'<td class="bad">{text}</td>'


def _cell(number: Mapping[str, Any] | None) -> str:
    text = signed(compact(number))
    if number is None or number["converged"]:
        return f"<td>{text}</td>"
    return f'<td class="bad" title="{escape(number["why"], quote=True)}">{text}</td>'


def _verdict(point: Mapping[str, Any]) -> str:
    if point["converged"]:
        title = f' title="{escape(point["pure"], quote=True)} alone"' if point["pure"] else ""
        return f'<td class="good"{title}>✓ {verdict(point)}</td>'
    decisive = decisive_numbers(point)
    why = "; ".join(f"{name}: {n['why']}" for name, n in decisive.items() if not n["converged"])
    return f'<td class="bad" title="{escape(why, quote=True)}">✗ no</td>'
