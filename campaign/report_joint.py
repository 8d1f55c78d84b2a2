"""What several runs say together: what tells them apart, a table of them, and joint figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..analysis.layout import TEMPERATURE
from ..analysis.transition import kelvin
from ..records import Run
from .labels import energy_model
from .numbers import worst
from .report_parts import Figure, Section, Series, Table
from .report_sections import bracket_text

__all__ = ["Member", "joint_section", "members_of", "overview_section", "shortened"]

Results = Mapping[str, Any]
ALWAYS = ("formula", "landscape", "model")
"""Facts that are named wherever runs differ in them, though others would tell the runs apart."""


class Member(NamedTuple):
    """A run of a campaign: its name among the others, itself and what was found."""

    name: str
    run: Run
    results: Results

    @property
    def material(self) -> tuple[str, str, str, str]:
        """What has to be the same for runs to differ in nothing but size and temperature."""
        return (
            str(self.results["formula"]),
            str(self.results["landscape"]),
            _model(self.run),
            _ensemble(self.run),
        )


def members_of(runs: Sequence[Run], results: Sequence[Results]) -> list[Member]:
    """Name runs by what they differ in: formula, size, landscape, model, ensemble, temperature ….

    Runs of other formulas, landscapes and models are never named alike; another fact is named only
    where it tells runs apart that would be.
    """
    facts = [
        {
            "formula": str(found["formula"]),
            "size": f"{found['n_sites']} sites",
            "landscape": str(found["landscape"]),
            "model": _model(run, precision=False),
            "volume": f"{run.lattice.atoms.get_volume() / run.lattice.n_sites:.4g} Å³ per site",
            "ensemble": _ensemble(run),
            "temperature": _one_temperature(found),
            "precision": str((run.attrs.get("model") or {}).get("dtype", "")),
        }
        for run, found in zip(runs, results, strict=True)
    ]
    telling = [key for key in ALWAYS if _distinct(facts, [key]) > 1]
    for key in facts[0]:
        if _distinct(facts, [*telling, key]) > _distinct(facts, telling):
            telling.append(key)
    ordered = [key for key in facts[0] if key in telling]
    names = [", ".join(fact[key] for key in ordered if fact[key]) for fact in facts]
    if len(set(names)) < len(names):
        places = _places(runs)
        names = [
            f"{name} ({place})" if name else place
            for name, place in zip(names, places, strict=True)
        ]
    return [Member(*entry) for entry in zip(names, runs, results, strict=True)]


def _distinct(facts: Sequence[Mapping[str, str]], keys: Sequence[str]) -> int:
    """Count the runs that these facts tell apart."""
    return len({tuple(fact[key] for key in keys) for fact in facts})


def _places(runs: Sequence[Run]) -> list[str]:
    """Directories as far as they differ; numbers for runs in memory."""
    paths = [str(run.attrs.get("path") or f"run {k + 1}") for k, run in enumerate(runs)]
    short = [path.rstrip("/").rpartition("/")[2] for path in paths]
    return short if len(set(short)) == len(short) else paths


def _model(run: Run, *, precision: bool = True) -> str:
    model = run.attrs.get("model")
    if not model:
        return "model not described"
    shown = model if precision else {key: v for key, v in model.items() if key != "dtype"}
    return energy_model(run.config, shown, {})


def _one_temperature(results: Results) -> str:
    """Temperature of a run that has a single one."""
    found = {point["temperature"] for point in results.get("points", ())}
    return kelvin(found.pop()) if len(found) == 1 else ""


def _ensemble(run: Run) -> str:
    section = run.config.get("ensemble")
    return str(section.get("kind", "")) if isinstance(section, Mapping) else ""


def overview_section(members: Sequence[Member]) -> Section:
    """Table of the runs: material, size, what was sampled, how well, and what order was seen."""
    rows = []
    for name, run, results in members:
        points = results["points"]
        good = sum(point["converged"] for point in points)
        ess = [worst(point)[0] for point in points]
        known = [int(number.replace(",", "")) for number in ess if number != "–"]
        rows.append(
            [
                name,
                results["formula"],
                results["n_sites"],
                _span(results),
                f"{good} of {len(points)}",
                min(known) if known else None,
                _transition(results),
                "yes" if run.attrs.get("finished", True) else "no",
            ]
        )
    columns = (
        *("Run", "Formula", "Mixed sites", "Sampled", "Converged points", "Least ESS"),
        *("Apparent ordering temperature", "Finished"),
    )
    alike = {
        "Formula": {str(members[0].results["formula"])},
        "Apparent ordering temperature": {"–"},
    }
    kept = [
        k for k, name in enumerate(columns) if {str(row[k]) for row in rows} != alike.get(name)
    ]  # what the title says, or no run has
    table = Table([columns[k] for k in kept], [[row[k] for k in kept] for row in rows])
    return Section("Runs", tables=[table], key="runs")


def _span(results: Results) -> str:
    temperatures = sorted({point["temperature"] for point in results["points"]})
    text = kelvin(temperatures[0])
    if len(temperatures) > 1:
        text = f"{temperatures[0]:,.6g}–{kelvin(temperatures[-1])}"
    if results["layout"]["axis"] != TEMPERATURE:
        values = [point["value"] for point in results["points"]]
        symbol, _, unit = results["layout"]["title"].partition(" (")
        text += f", {symbol} {min(values):g} to {max(values):g} {unit.rstrip(')')}".rstrip()
    return text


def _transition(results: Results) -> str:
    found = results["transition"]
    if found is None or found["status"] in {"none", "unknown"}:
        return "–"
    text = bracket_text(found)
    return text if found["converged"] else f"{text}, not converged"


# ---- joint figures


def joint_section(members: Sequence[Member]) -> Section | None:
    """Quantities of all runs in common figures; None where no two runs share one."""
    figures = [figure for figure in _figures(members) if _shared(figure)]
    if not figures:
        return None
    titles = [figure.title for figure in figures]
    figures = [
        replace(figure, title=f"{figure.title} against {figure.x.partition(' (')[0]}")
        if titles.count(figure.title) > 1
        else figure
        for figure in figures
    ]
    return Section("Side by side", figures=figures, key="side-by-side")


def _shared(figure: Figure) -> bool:
    return len({series.colour for series in figure.series}) > 1  # one for each run


def _figures(members: Sequence[Member]) -> Iterator[Figure]:
    titles = dict.fromkeys(str(member.results["layout"]["title"]) for member in members)
    for title in titles:
        group = [member for member in members if member.results["layout"]["title"] == title]
        points = [point for member in group for point in member.results["points"]]
        names = dict.fromkeys(name for point in points for name in point["orders"])
        seen = {(member.results["transition"] or {}).get("order") for member in group}
        for name in sorted(names, key=lambda name: name not in seen):
            label = f"⟨|ψ|²⟩, {name}"
            yield _figure(f"Order: {name}", title, label, group, _entry("orders", name))
            if name in seen:
                what = f"Binder cumulant: {name}"
                yield _figure(what, title, "Binder cumulant", group, _entry("binder", name))
        if any(point["heat_capacity"] for point in points):
            label = "Heat capacity (k_B per site)"
            yield _figure("Heat capacity", title, label, group, lambda p: p["heat_capacity"])
        for name in dict.fromkeys(name for point in points for name in point["fractions"]):
            heading = f"Composition: {name}"
            yield _figure(heading, title, _capital(name), group, _entry("fractions", name))
        if len({member.results["formula"] for member in group}) == 1:
            label = "Energy (eV per site)"
            yield _figure("Energy", title, label, group, lambda p: p["energy"])
    yield from _slopes(members)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _entry(key: str, name: str) -> Callable[[Results], Results | None]:
    return lambda point: point[key].get(name)


def _curves(results: Results) -> list[tuple[str, bool, list[Results]]]:
    """Points joined by a line: what tells their curve apart, whether it leads back, the points."""
    layout = results["layout"]
    found: dict[tuple[int, str | None], list[Results]] = {}
    for point in results["points"]:
        found.setdefault((point["curve"], point["direction"]), []).append(point)
    return [
        (
            ", ".join(part for part in (layout["curves"][curve], way or "") if part),
            bool(layout["returns"] and way == layout["directions"][1]),
            points,
        )
        for (curve, way), points in found.items()
    ]


def _figure(
    title: str,
    x: str,
    y: str,
    members: Sequence[Member],
    number_of: Callable[[Results], Results | None],
) -> Figure:
    series = []
    for k, member in enumerate(members):
        for curve, back, points in _curves(member.results):
            kept = [(p["value"], n) for p in points if (n := number_of(p)) is not None]
            if not any(number["mean"] is not None for _, number in kept):
                continue
            series.append(
                Series(
                    _label(member.name, curve),
                    [value for value, _ in kept],
                    [number["mean"] for _, number in kept],
                    [number["error"] for _, number in kept],
                    converged=[number["converged"] for _, number in kept],
                    line="dash" if back else "solid",
                    colour=k if len(members) > 1 else None,
                )
            )
    return Figure(title, x, y, shortened(series))


def shortened(series: Sequence[Series]) -> list[Series]:
    """Leave out of the names of series what all of them say, where something is left."""
    parts = [one.name.split(", ") for one in series]
    common = {part for part in parts[0] if all(part in other for other in parts)} if parts else {}
    left = [", ".join(part for part in some if part not in common) for some in parts]
    if not all(left):
        return list(series)
    return [replace(one, name=name) for one, name in zip(series, left, strict=True)]


def _label(name: str, curve: str) -> str:
    """Name of a run and of its curve, what both say once."""
    said = name.split(", ") if name else []
    return ", ".join([*said, *(part for part in curve.split(", ") if part and part not in said)])


def _slopes(members: Sequence[Member]) -> Iterator[Figure]:
    """Slopes of the free energy against composition, which chemical potentials also are."""
    pairs = dict.fromkeys(
        (site, species)
        for member in members
        for point in member.results["points"]
        for site, row in point["free_energy_slopes"].items()
        for species in row
    )
    for site, species in pairs:
        series = []
        shown = [m for m in members if any(p["free_energy_slopes"] for p in m.results["points"])]
        for k, member in enumerate(shown):  # in the colours that these runs have elsewhere
            for curve, back, points in _curves(member.results):
                kept = [p for p in points if species in p["free_energy_slopes"].get(site, {})]
                kept.sort(key=lambda p: p["composition"][site][species]["mean"])
                if not kept:
                    continue
                shares = [p["composition"][site][species] for p in kept]
                slopes = [p["free_energy_slopes"][site][species] for p in kept]
                series.append(
                    Series(
                        _label(member.name, curve),
                        [share["mean"] for share in shares],
                        [slope["mean"] for slope in slopes],
                        [slope["error"] for slope in slopes],
                        [share["error"] for share in shares],
                        [slope["converged"] for slope in slopes],
                        line="dash" if back else "solid",
                        colour=k,
                    )
                )
        yield Figure(
            f"Slope of the free energy: {species} on {site}",
            f"Fraction of {species} on {site}",
            "∂f/∂c (eV per site)",
            shortened(series),
            "Where it falls, one phase is unstable.",
            x_range=(0.0, 1.0),
        )
