"""Screening: which orderings a list of disordered crystals is unstable to, without sampling.

A screen file names a crystal and what may mix on it; a campaign file is taken as one entry.
"""

from __future__ import annotations

import copy
import csv
import io
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError, field_validator
from rich.box import SIMPLE_HEAD
from rich.table import Table

from .. import potentials
from ..analysis.waves.mean_field import ConcentrationWaves, concentration_waves
from ..errors import AlchemcError, InputError
from ..lattice import Lattice
from ._config_errors import explain
from .build import Crystal, build_crystal, build_hamiltonian, composition, resolve
from .config import PROTOTYPE_KEYS, Config
from .section import Name, NotNegative, Section

__all__ = ["ScreenEntry", "ScreenFile", "load_screen", "run_screen", "screen_csv", "screen_table"]

Model = TypeVar("Model", bound=BaseModel)
SUBLATTICE = {"A": "A", "B": "B", "X": "X", "cations": "cation", "anion": "anion"}
"""Sublattices by the key of a prototype that lists their species."""
LEAST_ENERGIES = 8
PATH_POINTS = 80
STILL = 5e-4  # eV/Å³, 0.08 GPa
STEPS = 8
BULK_MODULUS = 1.0  # eV/Å³, where the search for the cell starts
LONGEST_STEP = 0.03


class Options(Section):
    """How entries are screened.

    ``energies`` of random arrangements rescale V and give a temperature; 0 leaves both out.
    ``positions`` are the ideal ones, or follow to second order. ``cell = "zero-pressure"`` scales
    the cell until the mean pressure of the arrangements is zero.
    """

    energies: Annotated[int, Field(ge=0)] = 16
    positions: Literal["ideal", "relaxed"] = "ideal"
    cell: Literal["given", "zero-pressure"] = "given"
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("energies")
    @classmethod
    def _enough_or_none(cls, energies: int) -> int:
        if 0 < energies < LEAST_ENERGIES:
            raise ValueError(
                f"{energies} energies are too few to rescale by: give {LEAST_ENERGIES} or more, or "
                "0 for no temperatures"
            )
        return energies


class Entry(Section):
    """One crystal: what differs from the tables that all entries share."""

    title: str = ""
    structure: dict[Name, Any] = Field(default={})
    sublattices: dict[Name, dict[Name, Any]] = Field(default={})
    potential: dict[Name, Any] = Field(default={})


class ScreenFile(Section):
    """A screen: tables shared by all entries, and lists that make the entries.

    ``mixtures`` lists what mixes, ``[["Mg", "W"], …]``, on the one mixed sublattice of a prototype;
    ``compositions`` the fractions by sublattice at which every entry is looked at; ``entries`` give
    anything of their own. Sublattices without a composition hold equal parts.
    """

    title: str = ""
    screen: Options = Options()
    structure: dict[Name, Any] = Field(default={})
    sublattices: dict[Name, dict[Name, Any]] = Field(default={})
    potential: dict[Name, Any] = Field(default={})
    mixtures: list[Annotated[list[Name], Field(min_length=2)]] = Field(default=[])
    mixed: Literal["A", "B", "X", "cations", "anion"] | None = None
    compositions: list[dict[Name, dict[Name, NotNegative]]] = Field(default=[])
    entries: list[Entry] = Field(default=[])


class ScreenEntry(NamedTuple):
    """A crystal to look at: its name (empty: its formula), configuration and options."""

    name: str
    config: Config
    folder: Path
    options: Options


def load_screen(path: Path) -> list[ScreenEntry]:
    """Read a screen file, or a campaign file as one entry.

    Raises
    ------
    InputError
        If the file cannot be read, is no TOML, has unknown keys, or names no crystal.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no screen file {path}; docs/concentration_waves.md shows one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
    if "ensemble" in content:
        return [_of_campaign(content, path)]
    screen = _checked(ScreenFile, content, str(path))
    found = [_entry(one, screen, path) for one in _parts(screen, path)]
    if not found:
        raise InputError(f"{path} names no crystal: give mixtures, entries, or a mixed [structure]")
    return found


def _checked(model: type[Model], content: Mapping[str, Any], source: str) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, model, content)}") from None


def _of_campaign(content: dict[str, Any], path: Path) -> ScreenEntry:
    """Return the crystal of a campaign, at ideal positions."""
    config = _checked(Config, content, str(path))
    structure = config.structure.model_copy(update={"displacement": 0.0})
    potential = config.potential.model_copy(update={"relax": None})
    config = config.model_copy(update={"structure": structure, "potential": potential})
    return ScreenEntry(config.title, config, path.parent, Options())


def _parts(screen: ScreenFile, path: Path) -> Iterator[dict[str, Any]]:
    """Tables of every entry, with what they share."""
    base: dict[str, Any] = {
        "title": "",
        "structure": screen.structure,
        "sublattices": screen.sublattices,
        "potential": screen.potential,
    }
    crystals = []
    for species in screen.mixtures:
        key = screen.mixed or _mixed_key(screen.structure, path)
        crystals.append(_merged(base, {"structure": {key: list(species)}}))
    crystals += [_merged(base, entry.model_dump(exclude_defaults=True)) for entry in screen.entries]
    if not crystals and screen.structure:
        crystals.append(base)
    for crystal in crystals:
        if not screen.compositions:
            yield crystal
        for fractions in screen.compositions:
            part = {name: {"composition": dict(row)} for name, row in fractions.items()}
            yield _merged(crystal, {"sublattices": part})


def _mixed_key(structure: Mapping[str, Any], path: Path) -> str:
    """Return the key of the prototype that has no species yet, for the mixtures."""
    known = PROTOTYPE_KEYS.get(str(structure.get("prototype")), ())
    free = [key for key in known if key in SUBLATTICE and key not in structure]
    if len(free) != 1:
        raise InputError(
            f"{path}: mixtures need the one key of [structure] that they fill: leave it out there, "
            "or name it by mixed = 'B' (prototypes only; give other crystals as entries)"
        )
    return free[0]


def _merged(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Tables with what the other has laid over them."""
    result = copy.deepcopy(dict(base))
    for key, value in other.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, Mapping) and key != "composition"
        result[key] = _merged(old, value) if both and old is not None else copy.deepcopy(value)
    return result


def _entry(tables: dict[str, Any], screen: ScreenFile, path: Path) -> ScreenEntry:
    structure = tables["structure"]
    for key in PROTOTYPE_KEYS.get(str(structure.get("prototype")), ()):
        species = structure.get(key)
        if key in SUBLATTICE and isinstance(species, list) and len(species) > 1:
            row = tables["sublattices"].setdefault(SUBLATTICE[key], {})
            row.setdefault("composition", {s: 1.0 / len(species) for s in species})
    # The thermodynamic part of a campaign, which a screen has none of.
    whole = tables | {"ensemble": {"temperatures": [1000.0]}}
    config = _checked(Config, whole, str(path))
    return ScreenEntry(config.title, config, path.parent, screen.screen)


# ---- looking ------------------------------------------------------------------------------------


def run_screen(
    entries: Sequence[ScreenEntry], tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Find the leading concentration waves of every entry.

    An entry that cannot be looked at keeps its reason in ``error``, and the others go on.

    Parameters
    ----------
    entries
        From `load_screen`.
    tell
        Called with a line after every entry.

    Returns
    -------
    Plain data: ``entries``, the strongest tendency to order first, and ``statement``.
    """
    rows = []
    for number, entry in enumerate(entries, 1):
        row = _look(entry, number)
        rows.append(row)
        if tell is not None:
            found = (
                row["error"]
                or f"{row['leading']}, λ = {1000 * row['waves'][0]['energy_eV']:.0f} meV"
            )
            tell(f"{number}/{len(entries)} {row['name']}: {found}")
    rows.sort(key=lambda row: np.inf if row["error"] else -row["strength_eV"])
    return {"entries": rows, "statement": _statement(rows)}


def _look(entry: ScreenEntry, number: int) -> dict[str, Any]:
    name = entry.name
    try:
        crystal = build_crystal(entry.config, entry.folder)
        name = name or _formula(crystal.lattice)
        waves, extra = _waves(entry, crystal.lattice)
    except AlchemcError as error:
        return {"name": name or f"entry {number}", "error": str(error), "strength_eV": None}
    lead = waves.leading
    slope = waves.rescaling.slope if waves.rescaling is not None else 1.0
    return {
        "name": name,
        "error": "",
        "leading": lead.name,
        "q": list(lead.q),
        "strength_eV": -lead.energy * slope,
        **waves.to_dict(),
        "path": _path(waves),
        **extra,
    }


def _path(waves: ConcentrationWaves) -> dict[str, Any]:
    """Lowest eigenvalue along the standard path of the primitive cell, as plain data."""
    line = waves.along(n_points=PATH_POINTS)
    lowest = line["energy"].min("band").to_numpy()
    return {
        "corners": [[str(name), round(float(at), 6)] for name, at in line.attrs["corners"]],
        "distance_per_A": np.round(line["distance"].to_numpy(), 6).tolist(),
        "lowest_eV": [float(f"{value:.6g}") for value in lowest],
        "piece": line["piece"].to_numpy().tolist(),
        "fits": line["fits"].to_numpy().tolist(),
        "trusted": bool(line.attrs["trusted"]),
    }


def _waves(entry: ScreenEntry, lattice: Lattice) -> tuple[ConcentrationWaves, dict[str, Any]]:
    options = entry.options
    config = resolve(entry.config, lattice, entry.folder, options.seed)
    mean = composition(config)
    rng = np.random.Generator(np.random.PCG64(options.seed))
    n = max(options.energies, LEAST_ENERGIES)
    states = lattice.random(mean, rng, n)
    model = _bound(config, lattice)
    scale = 1.0
    if options.cell == "zero-pressure":
        lattice, scale = _at_zero_pressure(model, states)
        model = _bound(config, lattice)
    relaxed = options.positions == "relaxed"
    waves = concentration_waves(model, mean, relaxed=relaxed)
    if options.energies:
        energies = potentials.Relaxed(model) if relaxed else model
        waves = waves.rescaled(energies, options.energies, rng)
    domain = potentials.check_domain(model, states)
    extra: dict[str, Any] = {
        "cell_scale": scale,
        "inside_domain": domain.inside,
        "mixed_sites": lattice.n_sites,
        "atoms": len(lattice.atoms),
    }
    if not domain.inside:
        text = "Energies or forces of random arrangements lie outside of what the potential knows."
        caveats = [c._asdict() for c in waves.caveats]
        extra["caveats"] = [{"level": "critical", "code": "domain", "text": text}, *caveats]
    return waves, extra


def _bound(config: Config, lattice: Lattice) -> Any:
    return build_hamiltonian(config, Crystal(lattice, lattice.atoms.get_positions()))


def _at_zero_pressure(model: Any, states: np.ndarray) -> tuple[Lattice, float]:
    """Lattice in the cell where the mean pressure of arrangements is zero, and its scale."""
    if not hasattr(model, "energy_forces_stress"):
        raise InputError(f'{type(model).__name__} has no stress; leave out cell = "zero-pressure"')
    lattice: Lattice = model.lattice
    atoms, scale = lattice.atoms, 1.0
    before: tuple[float, float] | None = None
    for _ in range(STEPS):
        bound = model.at(scale * atoms.positions, scale * atoms.cell.array)
        stress = bound.energy_forces_stress(states)[2]
        pull = float(np.trace(stress, axis1=1, axis2=2).mean() / 3)
        if abs(pull) < STILL:
            return _scaled(lattice, scale), scale
        slope = 3 * BULK_MODULUS
        if before is not None and pull != before[1]:
            slope = (pull - before[1]) / (scale - before[0])
        before = (scale, pull)
        scale += float(np.clip(-pull / slope, -LONGEST_STEP, LONGEST_STEP))
    raise InputError(
        f"no cell of zero pressure was found (last: {scale:.3f} of the given lengths, stress "
        f"{pull:.2g} eV/Å³): give a lattice constant nearer to it"
    )


def _scaled(lattice: Lattice, scale: float) -> Lattice:
    content = lattice.to_dict()
    content["cell"] = (scale * np.array(content["cell"])).tolist()
    content["positions"] = (scale * np.array(content["positions"])).tolist()
    return Lattice.from_dict(content)


def _formula(lattice: Lattice) -> str:
    """Elements with the mixed ones in brackets, such as Sr(Sc,Ta)O3."""
    from ..analysis.overview import mixed_formula  # noqa: PLC0415

    return mixed_formula(lattice)


def _statement(rows: Sequence[Mapping[str, Any]]) -> str:
    good = [row for row in rows if not row["error"]]
    if not good:
        return "Nothing could be screened."
    first = good[0]
    orders: dict[str, int] = {}
    for row in good:
        orders[row["leading"]] = orders.get(row["leading"], 0) + 1
    counts = ", ".join(f"{name} {n}" for name, n in orders.items())
    crystals = f"{len(good)} disordered crystals were" if good[1:] else "1 disordered crystal was"
    return (
        f"{crystals} screened without sampling; leading waves: {counts}. "
        f"The strongest tendency is that of {first['name']} to {first['leading']}. "
        "Mean-field theory ranks orderings; its temperatures are upper bounds at best."
    )


# ---- showing ------------------------------------------------------------------------------------

COLUMNS = (
    "name", "leading", "q", "lambda_eV", "next", "gap_eV", "polarisation", "slope", "slope_error",
    "correlation", "temperature_K", "temperature_error_K", "label", "caveats", "error",
)  # fmt: skip


def screen_csv(results: Mapping[str, Any]) -> str:
    """One row per entry; empty where unknown."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in results["entries"]:
        cells = _cells(row)
        writer.writerow(["" if cells[key] is None else cells[key] for key in COLUMNS])
    return stream.getvalue()


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["error"]:
        return dict.fromkeys(COLUMNS) | {"name": row["name"], "error": row["error"]}
    lead, others = row["waves"][0], row["waves"][1:]
    scale, temperature = row["rescaling"] or {}, row["temperature"] or {}
    changes = [
        f"{part['species']} {part['amplitude']:+.2f}"
        for part in lead["polarisation"]
        if abs(part["amplitude"]) + abs(part["imaginary"]) > 0.05
    ]
    return {
        "name": row["name"],
        "leading": lead["name"],
        "q": " ".join(f"{x:g}" for x in lead["q"]),
        "lambda_eV": lead["energy_eV"],
        "next": others[0]["name"] if others else None,
        "gap_eV": row["gap_eV"],
        "polarisation": ", ".join(changes),
        "slope": scale.get("slope"),
        "slope_error": scale.get("error"),
        "correlation": scale.get("correlation"),
        "temperature_K": temperature.get("kelvin"),
        "temperature_error_K": temperature.get("error"),
        "label": temperature.get("label") or row["no_temperature"],
        "caveats": " ".join(
            c["code"] for c in row["caveats"] if c["level"] != "note" or c["code"] == "range"
        ),
        "error": "",
    }


def screen_table(results: Mapping[str, Any]) -> Table:
    """Entries with the strongest tendency to order first; energies as V gives them."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("crystal")
    table.add_column("leading wave")
    for title in ("λ\n(meV)", "gap\n(meV)"):
        table.add_column(title, justify="right")
    table.add_column("next")
    table.add_column("changes")
    for title in ("slope", "r", "T, mean\nfield (K)"):
        table.add_column(title, justify="right")
    table.add_column("caveats")
    for row in results["entries"]:
        if row["error"]:
            table.add_row(row["name"], "—", *[""] * 7, "refused", style="red")
            continue
        c = _cells(row)
        table.add_row(
            c["name"], c["leading"], f"{1000 * c['lambda_eV']:.0f}",
            "" if c["gap_eV"] is None else f"{1000 * c['gap_eV']:.0f}", c["next"] or "",
            c["polarisation"], _number(c["slope"], ".2f"), _number(c["correlation"], ".3f"),
            _number(c["temperature_K"], ",.0f"), c["caveats"],
        )  # fmt: skip
    return table


def _number(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)
