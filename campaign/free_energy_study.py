"""Free-energy studies: substitutions, vacancies and absolute free energies from one file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis.caveats import MAGNETIC
from ..analysis.wording import counted, with_error
from ..errors import ConvergenceError
from .build import model_facts
from .free_energy_crystal import StudyCrystal, build_study_crystal
from .free_energy_file import FreeEnergyFile, LoadedStudy, load_free_energy
from .free_energy_parts import WORKS, Keeper
from .free_energy_routes import Outcome, Routes
from .labels import ROUTES, energy_model
from .lock import run_lock

__all__ = ["load_free_energy", "run_free_energy"]

ENOUGH_REPEATS = 4
"""Repeats from which on their scatter tells the error, however few works each has."""


def run_free_energy(
    loaded: LoadedStudy, folder: Path | None = None, tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Measure what a study asks for.

    A route that gives no number at a temperature keeps the reason in ``problem``; others go on.

    Parameters
    ----------
    loaded
        From `load_free_energy`.
    folder
        Where works are kept, so that a stopped study goes on; nowhere by default.
    tell
        Called with a line of progress.

    Returns
    -------
    Plain data: ``results`` by temperature and route, ``comparisons`` of routes, ``statement`` and
    ``caveats``.

    Raises
    ------
    InputError
        If the crystal cannot be made, or the folder holds works of another study.
    ModelError
        If the model cannot be had, with what to do.
    StoredRunError
        If works are damaged, or another process writes them.
    """
    file = loaded.file
    crystal = build_study_crystal(loaded)
    routes = Routes(file, crystal, Keeper(folder, tell or _silent))
    with _held(folder):
        rows = [
            _row(routes, route, temperature)
            for temperature in sorted(file.study.temperatures)
            for route in file.study.chosen
        ]
    comparisons = _comparisons(rows)
    data = {
        "title": file.title,
        "kind": file.study.kind,
        "label": _label(file, crystal, routes),
        "atoms": len(crystal.lattice.to_atoms(crystal.occupation)),
        "changed": crystal.n_changed,
        "model": model_facts(crystal.hamiltonian),
        "mixing": file.study.mixing if crystal.groups is not None else None,
        "dynamics": file.dynamics.model_dump(),
        "results": rows,
        "comparisons": comparisons,
        "converged": all(row["converged"] for row in rows),
    }
    caveats = _caveats(file, crystal, rows, comparisons)
    return {"statement": _statement(data), "caveats": caveats, **data}


def _held(folder: Path | None) -> AbstractContextManager[None]:
    """Hold the works of a folder for writing."""
    if folder is None:
        return nullcontext()
    works = folder / WORKS
    works.mkdir(parents=True, exist_ok=True)
    return run_lock(works)


def _silent(line: str) -> None:
    """Tell nobody."""


def _label(file: FreeEnergyFile, crystal: StudyCrystal, routes: Routes) -> str:
    formula = crystal.lattice.to_atoms(crystal.occupation).get_chemical_formula("metal")
    if file.study.kind == "absolute":
        return formula
    if file.vacancy is not None:
        return f"a vacancy of {file.vacancy.element} in {formula}"
    return f"{routes.crystal_label} on {counted(crystal.n_changed, 'site')} of {formula}"


# ---- rows ---------------------------------------------------------------------------------------


def _row(routes: Routes, route: str, temperature: float) -> dict[str, Any]:
    """One route at one temperature, over its repeats."""
    found: list[Outcome] = []
    row: dict[str, Any] = {"temperature_K": temperature, "route": route, "problem": ""}
    try:
        found += [routes.measure(route, temperature, k) for k in range(routes.study.repeats)]
    except ConvergenceError as error:
        row["problem"] = str(error)
    known = not row["problem"]
    values = np.array([one.value for one in found])
    row |= {
        "value_eV": float(values.mean()) if known else None,
        "error_eV": _error(found) if known else None,
        "spread_eV": float(values.std(ddof=1)) if known and len(values) > 1 else None,
        "repeats": [{"value_eV": one.value, "error_eV": one.error} for one in found],
        "terms": _terms(found) if known else [],
        "calls": sum(one.calls for one in found) if known else None,
        "parts": [part for one in found for part in one.parts],
        "reservoir": found[0].reservoir if found else "",
    }
    row |= _quality(row["parts"])
    serious = {"critical"} if len(found) >= ENOUGH_REPEATS else {"critical", "warning"}
    told = {caveat["text"]: caveat for one in found for caveat in one.caveats}
    row["caveats"] = [one for one in told.values() if one["level"] in serious]
    row["converged"] = known and not row["caveats"]
    return row


def _error(found: Sequence[Outcome]) -> float:
    """Larger of the repeats' own errors and of what their scatter says, of their mean."""
    n = len(found)
    inner = math.sqrt(sum(one.error**2 for one in found)) / n
    if n == 1:
        return inner
    return max(inner, float(np.std([one.value for one in found], ddof=1)) / math.sqrt(n))


def _terms(found: Sequence[Outcome]) -> list[dict[str, Any]]:
    n = len(found)
    rows = []
    for name in found[0].terms:
        value, error = zip(*(one.terms[name] for one in found), strict=True)
        spread = float(np.std(value, ddof=1)) / math.sqrt(n) if n > 1 else 0.0
        inner = math.sqrt(sum(e**2 for e in error)) / n
        rows.append(
            {"term": name, "value_eV": float(np.mean(value)), "error_eV": max(inner, spread)}
        )
    return rows


def _quality(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Least overlap, most dissipation, and how much there is of every part."""
    estimates = [part["estimate"] for part in parts]
    overlaps = [one.get("overlap") if "works" in one else one["least_overlap"] for one in estimates]
    lost = [
        way["value"]
        for one in estimates
        if "works" in one
        for way in one["dissipated"].values()
        if way["value"] is not None
    ]
    works = [min(one["works"].values()) for one in estimates if "works" in one]
    draws = [sum(w["draws"] for w in one["windows"]) for one in estimates if "windows" in one]
    return {
        "overlap": min((o for o in overlaps if o is not None), default=None),
        "dissipated_eV": max(lost, default=None),
        "works": min(works, default=None),
        "draws": min(draws, default=None),
    }


def _comparisons(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every other route against the first of its temperature."""
    found = []
    for temperature in dict.fromkeys(row["temperature_K"] for row in rows):
        first, *others = (row for row in rows if row["temperature_K"] == temperature)
        for other in others:
            if first["value_eV"] is None or other["value_eV"] is None:
                continue
            error = math.hypot(first["error_eV"], other["error_eV"])
            apart = other["value_eV"] - first["value_eV"]
            cost = [row["calls"] * row["error_eV"] ** 2 for row in (first, other)]
            spreads = first["spread_eV"], other["spread_eV"]
            found.append(
                {
                    "temperature_K": temperature,
                    "routes": [first["route"], other["route"]],
                    "difference_eV": apart,
                    "error_eV": error,
                    "z": apart / error if error > 0 else None,
                    "times_cheaper": cost[1] / cost[0] if cost[0] > 0 else None,
                    "times_wider": (spreads[1] / spreads[0] if spreads[0] and spreads[1] else None),
                }
            )
    return found


# ---- words --------------------------------------------------------------------------------------

WHAT = {
    "substitution": "The free energy of {label}",
    "vacancy": "The free energy of formation of {label}",
    "absolute": "The free energy of {label}",
}


def _statement(data: Mapping[str, Any]) -> str:
    what = WHAT[data["kind"]].format(label=data["label"])
    sentences: list[str] = []
    for temperature in dict.fromkeys(row["temperature_K"] for row in data["results"]):
        rows = [row for row in data["results"] if row["temperature_K"] == temperature]
        parts = [_measured(row, data) for row in rows if row["value_eV"] is not None]
        missing = [ROUTES[row["route"]] for row in rows if row["value_eV"] is None]
        subject = what if not sentences else "That"
        if parts:
            fixed = " and constant volume" if not sentences else ""
            sentences.append(f"{subject} at {temperature:g} K{fixed} is {' and '.join(parts)}.")
        if missing:
            sentences.append(f"At {temperature:g} K {' and '.join(missing)} gave no number.")
    good = {(row["temperature_K"], row["route"]) for row in data["results"] if row["converged"]}
    for one in data["comparisons"]:
        both = {(one["temperature_K"], route) for route in one["routes"]}
        sentences.append(_compared(one, known_errors=both <= good))
    reservoirs = dict.fromkeys(row["reservoir"] for row in data["results"] if row["reservoir"])
    sentences += [f"The atom goes to {words}." for words in reservoirs]
    sentences.append(f"The energy model is {energy_model({}, data['model'], {})}.")
    return " ".join(sentences)


def _measured(row: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    text = with_error(row["value_eV"], row["error_eV"], " eV")
    n = {"substitution": data["changed"], "absolute": data["atoms"]}.get(data["kind"], 1)
    if n > 1:
        each = with_error(row["value_eV"] / n, row["error_eV"] / n, " eV")
        text += f" ({each} per {'site' if data['kind'] == 'substitution' else 'atom'})"
    return f"{text} by {ROUTES[row['route']]}"


def _compared(one: Mapping[str, Any], *, known_errors: bool) -> str:
    first, other = (ROUTES[name] for name in one["routes"])
    apart = f"{abs(one['z']):.1f} errors apart" if one["z"] is not None else "apart"
    text = f"At {one['temperature_K']:g} K {other} and {first} are {apart}"
    if one["times_wider"] is not None:
        text += f"; repeats by {other} spread {_times(one['times_wider'])} as widely"
    if known_errors and one["times_cheaper"] is not None:
        text += f"; to one error {other} takes {_times(one['times_cheaper'])} the force calls"
    return text + "."


def _times(factor: float) -> str:
    return f"{factor:.2g} times" if factor < 100 else f"{factor:,.0f} times"


def _caveats(
    file: FreeEnergyFile,
    crystal: StudyCrystal,
    rows: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
) -> list[dict[str, str]]:
    found = []
    for row in rows:
        if row["problem"]:
            found.append(_caveat("critical", "no-overlap", f"{row['problem']}."))
        found += row["caveats"]
    for one in comparisons:
        if one["z"] is not None and abs(one["z"]) > 4.0:
            names = " and ".join(ROUTES[name] for name in one["routes"])
            text = f"At {one['temperature_K']:g} K {names} are {abs(one['z']):.1f} errors apart."
            found.append(_caveat("critical", "routes-differ", text))
    symbols = set(crystal.lattice.to_atoms(crystal.occupation).get_chemical_symbols())
    symbols |= {one for pair in crystal.species for one in pair}
    if magnetic := sorted(symbols & MAGNETIC):
        text = f"{', '.join(magnetic)} may carry a magnetic moment; the potential knows one state."
        found.append(_caveat("warning", "magnetic", text))
    if file.dynamics.kind == "langevin":
        text = (
            f"Langevin dynamics of {file.dynamics.time_step:g} fs has a bias of second order in "
            "the time step: halve it to see how large."
        )
        found.append(_caveat("note", "time-step", text))
    if file.vacancy is not None:
        text = (
            "The vacancy is neutral, at one given site: its mixing entropy is left out, and energy "
            "models without electrons know no other charge state."
        )
        found.append(_caveat("note", "neutral", text))
        if model_facts(crystal.hamiltonian).get("kind") == "bundled":
            text = (
                "The bundled model was trained on no vacancies, and what it says of one means "
                "little: take kind = 'chgnet' or a foundation model."
            )
            found.append(_caveat("critical", "untrained", text))
    text = (
        "Vibrations are classical, at the given cell: no thermal expansion, no waves longer than "
        "the cell. Other arrangements of the species are not counted."
    )
    found.append(_caveat("note", "classical", text))
    return found


def _caveat(level: str, code: str, text: str) -> dict[str, str]:
    return {"level": level, "code": code, "text": text}
