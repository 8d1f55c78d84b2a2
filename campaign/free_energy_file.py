"""The file of a free-energy study: what every TOML key means, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from ..ensembles.dynamics import HMC, Langevin
from ..errors import InputError
from ._config_errors import explain
from .config import Potential, Structure, SublatticeSection
from .section import Count, Finite, Name, NotNegative, Positive, Section

__all__ = ["FreeEnergyFile", "LoadedStudy", "load_free_energy", "read_checked"]

Model = TypeVar("Model", bound=BaseModel)
Route = Literal["switching", "windows", "frenkel-ladd"]
Whole = Annotated[int, Field(ge=0)]
Places = Annotated[
    Annotated[int, Field(ge=2)] | Annotated[list[Finite], Field(min_length=2)],
    Field(description="how many (2 or more), or their places from 0 to 1"),
]
LEAST_WORKS = 3
"""Works of a direction that an estimate needs."""


class Study(Section):
    """What is measured, by which routes and how long.

    ``routes``: ``"switching"`` and ``"windows"`` go along the alchemical path, ``"frenkel-ladd"``
    to absolute free energies by switching from a reference crystal. Each of ``chains`` gives one
    work each way in each of ``rounds``, in protocols of ``steps``; ``repeats`` are independent of
    one another. A part ends early at a standard error of ``error`` (eV), or where another round or
    draw would take it past ``max_calls`` of the energy model.
    """

    kind: Literal["substitution", "vacancy", "absolute"]
    routes: Annotated[list[Route], Field(min_length=1)] = Field(default=[])
    temperatures: Annotated[list[Positive], Field(min_length=1)]
    repeats: Count = 1
    chains: Count = 4
    rounds: Count = 2
    steps: Count = 100
    schedule: Literal["smooth step", "linear"] = "smooth step"
    equilibration: Count = 20
    warmup: Whole = 20
    windows: Places = 9
    draws: Annotated[int, Field(ge=2)] = 50
    thin: Count = 1
    mixing: Literal["sites", "paper", "energies"] = "sites"
    error: Positive | None = None
    max_calls: Count | None = None
    seed: Whole = 0

    @model_validator(mode="after")
    def _routes_of_the_kind(self) -> Self:
        if self.kind == "absolute" and set(self.routes) - {"frenkel-ladd"}:
            raise ValueError(
                "an absolute free energy has one route, 'frenkel-ladd': leave 'routes' out"
            )
        if len(set(self.routes)) < len(self.routes):
            raise ValueError("'routes' names one twice: leave it out once")
        if len(set(self.temperatures)) < len(self.temperatures):
            raise ValueError("'temperatures' has one twice: leave it out once")
        return self

    @model_validator(mode="after")
    def _enough_works(self) -> Self:
        n = self.chains * self.rounds
        if n < LEAST_WORKS:
            raise ValueError(
                f"chains = {self.chains} and rounds = {self.rounds} give {n} works each way: an "
                f"estimate needs {LEAST_WORKS}"
            )
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """Routes, with the default written out."""
        return tuple(self.routes) or (
            ("frenkel-ladd",) if self.kind == "absolute" else ("switching",)
        )


class Change(Section):
    """Sites of a sublattice that turn from one species into another together.

    ``sites`` counts the sublattice's own sites from 0; all of them if left out.
    """

    sublattice: Name | None = None
    initial: Name
    final: Name
    sites: Annotated[list[Whole], Field(min_length=1)] | None = None


class Vacancy(Section):
    """Which atom is taken away, and where it goes.

    ``atom`` counts the atoms of the element from 0. The ``reservoir`` is the ``"crystal"`` itself
    (elements only), a diatomic ``"gas"`` with the energy of its molecule (eV) and its pressure
    (bar), or ``"given"`` by a chemical potential (eV). ``spring`` (eV/Å²) holds the ghost; by
    default as the crystal held the atom.
    """

    element: Name
    atom: Whole = 0
    reservoir: Literal["crystal", "gas", "given"]
    molecule_energy: Finite | None = None
    pressure: Positive = 1.0
    chemical_potential: Finite | None = None
    chemical_potential_error: NotNegative = 0.0
    spring: Positive | None = None

    @model_validator(mode="after")
    def _what_the_reservoir_needs(self) -> Self:
        given = {"gas": "molecule_energy", "given": "chemical_potential"}
        for reservoir, key in given.items():
            if (getattr(self, key) is not None) != (self.reservoir == reservoir):
                need = "needs" if self.reservoir == reservoir else "alone takes"
                raise ValueError(f"reservoir = '{reservoir}' {need} '{key}'")
        foreign = {"gas": {"pressure"}, "given": {"chemical_potential_error"}}
        for reservoir, keys in foreign.items():
            if self.reservoir != reservoir and (wrong := keys & self.model_fields_set):
                raise ValueError(f"'{wrong.pop()}' belongs to reservoir = '{reservoir}'")
        return self


class DynamicsSection(Section):
    """What moves the atoms, at a fixed cell: exact ``"hmc"``, or ``"langevin"``.

    Blocks of ``n_steps`` of ``time_step`` (fs; with HMC what tuning starts from); ``friction`` in
    1/fs; ``masses`` are ``"species"``, ``"equal"`` or amu by element.
    """

    kind: Literal["hmc", "langevin"] = "hmc"
    time_step: Positive = 1.0
    n_steps: Count = 10
    friction: Positive = 0.02
    masses: Annotated[
        Literal["species", "equal"] | dict[Name, Positive],
        Field(description="'species', 'equal', or amu by element"),
    ] = "species"

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Self:
        if self.kind == "hmc" and "friction" in self.model_fields_set:
            raise ValueError("'friction' belongs to kind = 'langevin'; leave it out")
        return self

    def build(self) -> HMC | Langevin:
        """Make the dynamics."""
        if self.kind == "hmc":
            return HMC(step=self.time_step, n_steps=self.n_steps, masses=self.masses)
        return Langevin(self.time_step, self.friction, self.n_steps, self.masses)


class Reference(Section):
    """The crystal that Frenkel–Ladd paths start from, made of ``draws`` of thermal positions.

    ``"einstein"``: a spring for each element; ``"harmonic"``: force constants, the mean over
    ``hessians`` of the draws, modes softer than ``softest`` (eV/Å²) stiffened.
    """

    kind: Literal["einstein", "harmonic"] = "einstein"
    draws: Annotated[int, Field(ge=2)] = 40
    warmup: Whole = 25
    hessians: Count = 4
    softest: Positive = 0.5

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Self:
        if self.kind == "einstein" and (wrong := {"hessians", "softest"} & self.model_fields_set):
            raise ValueError(f"'{wrong.pop()}' belongs to kind = 'harmonic'; leave it out")
        return self


class FreeEnergyFile(Section):
    """A free-energy study: a crystal and a potential as in a campaign, and what is changed."""

    title: str = ""
    study: Study
    changes: list[Change] = Field(default=[])
    vacancy: Vacancy | None = None
    dynamics: DynamicsSection = DynamicsSection()
    reference: Reference = Reference()
    structure: Structure
    sublattices: dict[Name, SublatticeSection] = Field(default={})
    potential: Potential = Potential()

    @model_validator(mode="after")
    def _what_the_kind_needs(self) -> Self:
        kind = self.study.kind
        if kind == "substitution" and not self.changes:
            raise ValueError(
                "a substitution needs [[changes]], such as initial = 'Pb' and final = 'Sr'"
            )
        if kind == "vacancy" and self.vacancy is None:
            raise ValueError("a vacancy needs [vacancy]: element and reservoir")
        if kind != "substitution" and self.changes:
            raise ValueError(f"[[changes]] belong to kind = 'substitution', not to '{kind}'")
        if kind != "vacancy" and self.vacancy is not None:
            raise ValueError(f"[vacancy] belongs to kind = 'vacancy', not to '{kind}'")
        if self.potential.relax is not None:
            raise ValueError("potential.relax: positions move in a free-energy study; leave it out")
        return self


class LoadedStudy(NamedTuple):
    """A checked file, and where its relative paths start."""

    file: FreeEnergyFile
    folder: Path


def load_free_energy(path: Path) -> LoadedStudy:
    """Read and check the file of a free-energy study.

    Raises
    ------
    InputError
        If it cannot be read, is no TOML, or holds what cannot be used.
    """
    return LoadedStudy(read_checked(FreeEnergyFile, path, "docs/free_energies.md"), path.parent)


def read_checked(model: type[Model], path: Path, page: str) -> Model:
    """Read a TOML file and check it against a model; ``page`` of the docs shows one.

    Raises
    ------
    InputError
        In one line.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no study file {path}; {page} shows one") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, model, content)}") from None
