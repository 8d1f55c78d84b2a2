"""The campaign file: what every TOML key means, and what is refused.

Nothing is guessed: an unknown key, a wrong type or an impossible combination is an error.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from ..errors import InputError
from ._config_errors import explain
from .ensemble_section import Ensemble
from .sampler_section import Sampler, refusal
from .section import Count, Finite, Name, NotNegative, Positive, Section, quoted

__all__ = ["Config", "load_config", "parse_config"]

Order = Literal["rock-salt", "layered", "columnar"]
Symbols = Annotated[list[Name], Field(min_length=1)]
SymbolOrSymbols = Annotated[
    Name | Symbols | None, Field(description="a symbol, or a list of the species that mix")
]
Sites = Annotated[
    Name | Symbols | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None,
    Field(description="a symbol, a list of symbols, or a list of atom indices (0 or above)"),
]

PROTOTYPE_KEYS: dict[str, tuple[str, ...]] = {
    "perovskite": ("A", "B", "X", "a"),
    "rocksalt": ("cations", "anion", "a"),
    "spinel": ("cations", "anion", "a", "u"),
    "fluorite": ("cations", "anion", "a"),
}
OPTIONAL_PROTOTYPE_KEYS = frozenset({"u"})
_ALL_PROTOTYPE_KEYS = frozenset(key for keys in PROTOTYPE_KEYS.values() for key in keys)


class Structure(Section):
    """The crystal: a file, or a prototype with its species and lattice constant (Å)."""

    file: Name | None = None
    prototype: Literal["perovskite", "rocksalt", "spinel", "fluorite"] | None = None
    A: SymbolOrSymbols = None
    B: SymbolOrSymbols = None
    X: SymbolOrSymbols = None
    cations: SymbolOrSymbols = None
    anion: SymbolOrSymbols = None
    a: Positive | None = None
    u: Positive | None = None
    supercell: list[Count] = Field(default=[1, 1, 1], min_length=3, max_length=3)
    displacement: NotNegative = 0.0
    displacement_seed: Annotated[int, Field(ge=0)] = 0
    spectator_charges: dict[Name, Finite] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = self.model_fields_set & _ALL_PROTOTYPE_KEYS
        if (self.file is None) == (self.prototype is None):
            raise ValueError("give either 'file' or 'prototype', one of the two")
        if self.prototype is None:
            if given:
                raise ValueError(f"{quoted(given)} belong to a prototype, not to a file")
            return self
        wanted = PROTOTYPE_KEYS[self.prototype]
        if foreign := given - set(wanted):
            raise ValueError(
                f"a {self.prototype} has no {quoted(foreign)}; its keys are {quoted(wanted)}"
            )
        if missing := set(wanted) - given - OPTIONAL_PROTOTYPE_KEYS:
            raise ValueError(f"a {self.prototype} needs {quoted(missing)} as well")
        return self


class SublatticeSection(Section):
    """Sites that exchange species, and how many of each there are.

    ``sites`` (symbols or atom indices) and ``species`` are for structures from a file; a prototype
    brings its own, and so does a CIF with partial occupancies, whose composition is the default.
    """

    sites: Sites = None
    species: Annotated[list[Name], Field(min_length=2)] | None = None
    composition: Annotated[dict[Name, NotNegative], Field(min_length=1)] | None = None
    charges: dict[Name, Finite] | None = None


class Relaxation(Section):
    """How every occupation is relaxed before its energy counts; see `potentials.Relaxed`.

    ``fmax`` (eV/Å) is chosen for the lowest temperature if left out; ``cell`` says what of the
    cell is relaxed, at zero pressure; ``references`` starts are each displaced by ``displacement``
    (Å per Cartesian component) with the seeds ``seed``, ``seed`` + 1, …, and the lowest is taken.
    """

    fmax: Positive | None = None
    cell: Literal[False, "isotropic", "full"] = False
    references: Count = 1
    displacement: NotNegative = 0.05
    seed: Annotated[int, Field(ge=0)] = 0


def _relaxation(value: Any) -> Any:
    """Read ``true`` as a table of defaults and ``false`` as none."""
    if isinstance(value, bool):
        return {} if value else None
    if value is None or isinstance(value, dict | Relaxation):
        return value
    raise ValueError(
        f"{value!r} is no way to relax; give true, false, or a table such as "
        "{ cell = 'isotropic', references = 2 }"
    )


DEFAULT_MODELS = {"chgnet": "0.3.0"}
BUNDLED = "bundled"


class Potential(Section):
    """The energy model.

    ``model`` is by default the bundled MACE, or CHGNet 0.3.0 with ``kind = "chgnet"``; ``dtype``
    and ``device`` are chosen by `potentials.choose_placement` where they are ``"auto"``.
    """

    kind: Name = "mace"
    model: Name = BUNDLED
    trust: bool = False
    relax: Annotated[Relaxation | None, BeforeValidator(_relaxation)] = None
    dtype: Literal["auto", "float32", "float64"] = "auto"
    device: Name = "auto"
    head: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _model_of_the_kind(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("kind") in DEFAULT_MODELS:
            return {"model": DEFAULT_MODELS[given["kind"]], **given}
        return given

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        if self.kind == "chgnet" and (self.trust or self.head is not None):
            key = "trust" if self.trust else "head"
            raise ValueError(f"'{key}' belongs to kind = 'mace'; CHGNet has none, leave it out")
        return self


SCALARS = ("energy", "composition")
"""Quantities besides orders that a precision may be asked for."""


def _measured(precision: dict[str, float]) -> dict[str, float]:
    known_names = [*SCALARS, *get_args(Order)]
    for name in precision:
        if name not in SCALARS and name.rpartition(" ")[2] not in get_args(Order):
            close = difflib.get_close_matches(name, known_names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "an order takes its sublattice first"
            known = ", ".join(f"'{known}'" for known in known_names)
            raise ValueError(f"'{name}' is not measured; expected {known}; {hint}")
    return precision


class RunSection(Section):
    """How long, with how many chains, from which seed.

    ``draws`` are stored configurations per chain and point, ``thin`` steps apart (default: one step
    per site; one step with the surrogate, whose step is a whole inner chain); ``warmup`` steps come
    before, at every point (default: a fifth of the steps that are sampled, and no fewer than 25
    where a surrogate is learnt in them). With ``precision`` a point ends early once the standard
    error of each named quantity is reached: ``energy`` (eV per cell), ``composition`` (fraction of
    every species that fluctuates) or an order such as ``rock-salt`` (``B rock-salt`` if there are
    several sublattices).
    """

    chains: Count = 4
    draws: Count = 200
    thin: Count | None = None
    warmup: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    precision: Annotated[dict[Name, Positive], AfterValidator(_measured)] = Field(default={})


class Analysis(Section):
    """What is computed from the samples: ordering vectors by name, and shells of neighbours.

    By default all three orders and four shells, or none where the composition fluctuates.
    """

    orders: list[Order] = Field(default=["rock-salt", "layered", "columnar"])
    shells: Annotated[int, Field(ge=0)] = 4


class Config(Section):
    """A campaign."""

    title: str = ""
    structure: Structure
    sublattices: dict[Name, SublatticeSection] = Field(default={})
    potential: Potential = Potential()
    ensemble: Ensemble
    sampler: Sampler = Sampler()
    run: RunSection = RunSection()

    @property
    def learns_surrogate(self) -> bool:
        """Whether the warm-up teaches a surrogate."""
        return any(part.kind == "surrogate" for part in self.sampler.parts)

    @model_validator(mode="after")
    def _displaced_or_relaxed(self) -> Self:
        if self.potential.relax is not None and self.structure.displacement > 0:
            raise ValueError(
                "structure.displacement and potential.relax exclude each other: the start of a "
                "relaxation is displaced by potential.relax.displacement"
            )
        return self

    @model_validator(mode="after")
    def _the_sampler_serves_the_ensemble(self) -> Self:
        if problem := refusal(self.sampler, self.ensemble.kind):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _a_kept_composition_is_known(self) -> Self:
        if self.ensemble.kind == "canonical" and "composition" in self.run.precision:
            raise ValueError(
                "run.precision: 'composition' is fixed in a canonical run; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _a_surrogate_is_learnt_somewhere(self) -> Self:
        if self.learns_surrogate and self.run.warmup == 0:
            raise ValueError(
                "run.warmup = 0 leaves no step to learn the surrogate in: give 25 or more, or "
                "another sampler"
            )
        return self

    analysis: Analysis = Analysis()


def parse_config(text: str, source: str = "campaign") -> Config:
    """Check the text of a campaign file.

    Parameters
    ----------
    text
        TOML.
    source
        What the text is called in messages.

    Raises
    ------
    InputError
        If the text is not TOML, or a key or value cannot be used.

    Examples
    --------
    >>> config = parse_config('''
    ... [structure]
    ... prototype = "perovskite"
    ... A = "Sr"
    ... B = ["Sc", "Ta"]
    ... X = "O"
    ... a = 3.98
    ... [sublattices.B]
    ... composition = {Sc = 0.5, Ta = 0.5}
    ... [ensemble]
    ... temperatures = [1000, 2000]
    ... ''')
    >>> config.ensemble.temperatures
    [2000.0, 1000.0]
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is not valid TOML: {error}") from error
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, Config, content)}") from None


def load_config(path: Path) -> Config:
    """Read and check a campaign file.

    Raises
    ------
    InputError
        If the file cannot be read or its content cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"no campaign file {path}; `alchemc init {path}` writes one to start from"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return parse_config(text, str(path))
