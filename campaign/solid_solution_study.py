"""Solid solutions along x from one file: mean crystals, averages over arrangements, a target."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator
from rich.box import SIMPLE_HEAD
from rich.table import Table

from .. import analysis
from ..lattice import Lattice
from ..potentials import Relaxed
from .build import Crystal, build_hamiltonian, build_lattice, model_facts, resolve_potential
from .config import Config, Potential, Structure, SublatticeSection
from .free_energy_file import read_checked
from .labels import RULES, energy_model
from .section import Count, Finite, Name, NotNegative, Positive, Section

__all__ = [
    "load_solid_solution",
    "run_solid_solution",
    "solid_solution_csv",
    "solid_solution_tables",
]

Fractions = dict[Name, dict[Name, NotNegative]]
Tell = Callable[[str], None]


class Study(Section):
    """What is looked at: fractions x of the way, and how.

    ``start`` and ``end`` are compositions by sublattice, by default from the first to the second
    species of the one that mixes; ``rules`` of the mean crystal; ``cell`` is ``"isotropic"`` or
    ``"full"``, ``fmax`` in eV/Å the force at which a mean crystal is relaxed.
    """

    x: Annotated[list[Finite], Field(min_length=2)] = Field(default=[0.0, 0.25, 0.5, 0.75, 1.0])
    start: Fractions | None = None
    end: Fractions | None = None
    rules: list[Literal["sites", "paper"]] = Field(default=["sites"])
    cell: Literal["isotropic", "full"] = "isotropic"
    fmax: Positive = 1e-3
    max_steps: Count = 500


class Arrangements(Section):
    """Averages over ``count`` random arrangements at every x, each relaxed with its cell.

    In a ``supercell`` of the structure that every x fits; starts are displaced by ``displacement``
    (Å per component), and relaxed to ``fmax`` (eV/Å).
    """

    count: Annotated[int, Field(ge=2)]
    supercell: Annotated[list[Count], Field(min_length=3, max_length=3)]
    fmax: Positive = 0.005
    displacement: NotNegative = 0.0
    seed: Annotated[int, Field(ge=0)] = 0


class Target(Section):
    """Properties that a composition is searched for: lengths in Å, eV per cell, GPa."""

    lattice_parameter: Positive | None = None
    c: Positive | None = None
    volume: Positive | None = None
    energy: Finite | None = None
    bulk_modulus: Positive | None = None
    rule: Literal["sites", "paper"] = "sites"
    weights: dict[Name, Positive] = Field(default={})
    start: Fractions | None = None
    fixed: Fractions = Field(default={})
    tolerance: Positive = 0.01
    max_steps: Count = 50

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.wanted:
            raise ValueError("names no property: give lattice_parameter, c, volume, energy or "
                             "bulk_modulus")  # fmt: skip
        return self

    @property
    def wanted(self) -> dict[str, float]:
        """Values by property."""
        names = "lattice_parameter", "c", "volume", "energy", "bulk_modulus"
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


class SolidSolutionFile(Section):
    """A solid solution: a crystal and a potential as in a campaign, and what is looked at."""

    title: str = ""
    study: Study = Study()
    arrangements: Arrangements | None = None
    target: Target | None = None
    structure: Structure
    sublattices: dict[Name, SublatticeSection] = Field(default={})
    potential: Potential = Potential()

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if not self.study.rules and self.arrangements is None and self.target is None:
            raise ValueError("nothing to do: give study.rules, [arrangements] or [target]")
        if self.potential.relax is not None:
            raise ValueError("potential.relax: give study.cell and study.fmax in its place")
        return self


class LoadedSolution(NamedTuple):
    """A checked file, and where its relative paths start."""

    file: SolidSolutionFile
    folder: Path


def load_solid_solution(path: Path) -> LoadedSolution:
    """Read and check the file of a solid solution.

    Raises
    ------
    InputError
        If it cannot be read, is no TOML, or holds what cannot be used.
    """
    page = "docs/solid_solutions.md"
    return LoadedSolution(read_checked(SolidSolutionFile, path, page), path.parent)


_MEAN_CRYSTAL = {
    "level": "warning",
    "code": "mean-crystal",
    "text": "A mean crystal is no average over arrangements: compare with [arrangements].",
}


# ---- running ------------------------------------------------------------------------------------


def run_solid_solution(loaded: LoadedSolution, tell: Tell | None = None) -> dict[str, Any]:
    """Compute what a file asks for.

    Parameters
    ----------
    loaded
        From `load_solid_solution`.
    tell
        Called with a line of progress.

    Returns
    -------
    Plain data: ``series`` by rule, ``target``, ``statement`` and ``caveats``.

    Raises
    ------
    InputError
        If the crystal cannot be made, or a target is out of reach.
    ModelError
        If the model cannot be had, with what to do.
    ConvergenceError
        If a relaxation does not converge.
    """
    file, study = loaded.file, loaded.file.study
    tell = tell or _silent
    lattice, model = _built(loaded, None)
    found: analysis.SolidSolution | None = None
    for rule in study.rules:
        tell(f"mean crystals, rule {rule}: {len(study.x)} compositions")
        one = analysis.lattice_parameters(
            model, study.x, start=study.start, end=study.end, mixings=[rule], cell=study.cell,
            fmax=study.fmax, max_steps=study.max_steps,
        )  # fmt: skip
        found = one if found is None else found.beside(one)
    if file.arrangements is not None:
        one = _averages(loaded, tell)
        found = one if found is None else found.beside(one)
    target = _searched(file, model, tell)
    data: dict[str, Any] = {} if found is None else _known(found.to_dict())
    parts = [data.get("statement", ""), "" if target is None else target["statement"]]
    parts.append(f"The energy model is {energy_model({}, model_facts(model), {})}.")
    data["statement"] = " ".join(filter(None, parts))
    caveats = data.get("caveats") or [_MEAN_CRYSTAL]
    return data | {
        "title": file.title,
        "atoms": len(lattice.atoms),
        "model": model_facts(model),
        "target": target,
        "caveats": caveats,
        "converged": target is None or bool(target["reached"]),
    }


def _known(value: Any) -> Any:
    """Plain data, None for numbers that are not known."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _known(one) for name, one in value.items()}
    return [_known(one) for one in value] if isinstance(value, list | tuple) else value


def _silent(line: str) -> None:
    """Tell nobody."""


def _built(loaded: LoadedSolution, supercell: list[int] | None) -> tuple[Lattice, Any]:
    """Lattice and energy model, in another supercell where one is given."""
    file, folder = loaded
    structure = file.structure
    if supercell is not None:
        structure = structure.model_copy(update={"supercell": supercell})
    config = Config.model_validate(
        {
            "structure": structure,
            "sublattices": file.sublattices,
            "potential": resolve_potential(file.potential, folder),
            "ensemble": {"temperatures": [1.0]},  # which a campaign has to have
        }
    )
    lattice = build_lattice(config, folder)
    positions = lattice.atoms.get_positions()
    if structure.displacement > 0:
        amplitude, seed = structure.displacement, structure.displacement_seed
        positions = lattice.displaced_positions(amplitude, seed)
    return lattice, build_hamiltonian(config, Crystal(lattice, positions))


class _Told:
    """A relaxed landscape that says which arrangements it has relaxed."""

    def __init__(self, landscape: Relaxed, tell: Tell, of: int) -> None:
        self._landscape, self._tell, self._number, self._of = landscape, tell, 0, of
        self.lattice, self.cell = landscape.lattice, landscape.cell

    def relaxed(self, occupations: Any) -> Any:
        found = self._landscape.relaxed(occupations)
        self._number += 1
        n = len(occupations)
        self._tell(f"arrangements, composition {self._number} of {self._of}: {n} relaxed")
        return found


def _averages(loaded: LoadedSolution, tell: Tell) -> analysis.SolidSolution:
    file, study = loaded.file, loaded.file.study
    part = file.arrangements
    assert part is not None  # noqa: S101  (checked by the caller)
    _, model = _built(loaded, part.supercell)
    relaxed = Relaxed(model, cell=study.cell, fmax=part.fmax, displacement=part.displacement)
    told: Any = _Told(relaxed, tell, len(set(study.x)))
    return analysis.sampled_lattice_parameters(
        told, study.x, start=study.start, end=study.end, configurations=part.count, seed=part.seed
    )


def _searched(file: SolidSolutionFile, model: Any, tell: Tell) -> dict[str, Any] | None:
    """Composition of the target, as plain data."""
    target = file.target
    if target is None:
        return None
    tell("composition of the target")
    found = analysis.optimise_composition(
        model, target.wanted, weights=target.weights or None, start=target.start,
        fixed=target.fixed or None, mixing=target.rule, cell=file.study.cell,
        tolerance=target.tolerance, max_steps=target.max_steps, fmax=file.study.fmax,
    )  # fmt: skip
    return found.to_dict()


# ---- showing ------------------------------------------------------------------------------------

COLUMNS = (
    "rule", "x", "lattice_parameter_A", "lattice_parameter_error_A", "vegard_deviation_A",
    "vegard_deviation_error_A", "volume_per_site_A3", "mixing_energy_per_site_eV",
    "mixing_energy_error_eV", "bulk_modulus_GPa", "arrangements",
)  # fmt: skip


def _rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One flat row per rule and x."""
    return [
        {name: one["rule"] if name == "rule" else one[name][k] for name in COLUMNS}
        for one in data.get("series", [])
        for k in range(len(one["x"]))
    ]


def solid_solution_csv(data: Mapping[str, Any]) -> str:
    """One row per rule and x; empty where unknown."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _rows(data):
        writer.writerow(["" if value is None else value for value in row.values()])
    return stream.getvalue()


def solid_solution_tables(data: Mapping[str, Any]) -> list[Table]:
    """One table per rule."""
    tables = []
    for one in data.get("series", []):
        table = Table(
            title=RULES[one["rule"]], title_justify="left", title_style="bold", box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
        )  # fmt: skip
        for name in ("x", "a (Å)", "from Vegard's\nline (Å)", "mixing energy\n(meV/site)"):
            table.add_column(name, justify="right")
        sampled = one["rule"] == "arrangements"
        table.add_column("arrange-\nments" if sampled else "B (GPa)", justify="right")
        for row in _rows({"series": [one]}):
            last = row["arrangements"] if sampled else row["bulk_modulus_GPa"]
            table.add_row(
                f"{row['x']:g}",
                _value(row["lattice_parameter_A"], row["lattice_parameter_error_A"], ".4f"),
                _value(row["vegard_deviation_A"], row["vegard_deviation_error_A"], "+.4f"),
                _value(
                    1e3 * row["mixing_energy_per_site_eV"],
                    _milli(row["mixing_energy_error_eV"]),
                    "+.1f",
                ),
                "—" if last is None else f"{last:.0f}",
            )
        tables.append(table)
    return tables


def _milli(value: float | None) -> float | None:
    return None if value is None else 1e3 * value


def _value(value: float | None, error: float | None, form: str) -> str:
    """Write a number to fixed digits, with its error where that shows in them."""
    if value is None:
        return "—"
    if not value and not error:
        return "0"
    if error is None:
        return f"{value:{form}} ± ?"
    size = format(error, form.lstrip("+"))
    return format(value, form) + (f" ± {size}" if float(size) > 0 else "")
