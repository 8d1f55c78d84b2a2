"""From a checked campaign file to the objects it names: lattice, energy model, kernel, chains."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import potentials, sampler
from ..errors import InputError
from ..lattice import Lattice, Sublattice
from ..protocols import Ensemble, Hamiltonian, Kernel
from .config import (
    BUNDLED,
    DEFAULT_MODELS,
    PROTOTYPE_KEYS,
    SCALARS,
    Config,
    Potential,
    SublatticeSection,
)
from .ensemble_section import OPEN
from .points import charge_of, check_names, check_start, default_kappa, equal_parts
from .precision import order_series
from .sampler_section import MixturePart, Sampler

__all__ = [
    "Crystal",
    "build_crystal",
    "build_hamiltonian",
    "build_kernel",
    "build_lattice",
    "check_precision",
    "composition",
    "model_facts",
    "resolve",
    "resolve_potential",
    "with_depth",
]


@dataclass(frozen=True)
class Crystal:
    """Lattice and the positions [n_atoms, 3] (Å) that the energy model is bound to."""

    lattice: Lattice
    positions: np.ndarray


def build_crystal(config: Config, folder: Path) -> Crystal:
    """Lattice and positions of a campaign.

    Parameters
    ----------
    config
        The campaign.
    folder
        Where relative paths of structure files start.

    Raises
    ------
    InputError
        If the structure cannot be read or its atoms overlap, or a sublattice or its composition
        cannot be made.
    """
    structure, lattice = config.structure, build_lattice(config, folder)
    check_names(config, lattice)
    full = _full_composition(config, lattice)
    check_start(_with_ensemble(config, lattice), lattice, lattice.composition_counts(full))
    if structure.displacement > 0:
        seed = structure.displacement_seed
        positions = lattice.displaced_positions(structure.displacement, seed)
    else:
        positions = lattice.atoms.get_positions()
    return Crystal(lattice, positions)


def build_lattice(config: Config, folder: Path) -> Lattice:
    """Lattice of a campaign, whatever its composition; relative paths start at the folder.

    Raises
    ------
    InputError
        If the structure cannot be read, or a sublattice cannot be made.
    """
    if config.structure.prototype is not None:
        return _from_prototype(config)
    return _from_file(config, folder)


def _from_prototype(config: Config) -> Lattice:
    from .. import builders  # noqa: PLC0415  (imports ASE's builders)

    structure = config.structure
    assert structure.prototype is not None  # noqa: S101  (checked by the caller)
    for name, section in config.sublattices.items():
        if section.sites is not None or section.species is not None:
            raise InputError(
                f"sublattices.{name}: the prototype {structure.prototype} brings its own sites and "
                "species; list the species in [structure] and leave both keys out here"
            )
    values: dict[str, Any] = {}
    for key in PROTOTYPE_KEYS[structure.prototype]:
        value = getattr(structure, key)
        if value is not None:
            values[key] = tuple(value) if isinstance(value, list) else value
    charges: dict[str, float] = {}
    for name, section in config.sublattices.items():
        for species, charge in (section.charges or {}).items():
            if charges.setdefault(species, charge) != charge:
                raise InputError(
                    f"sublattices.{name}.charges.{species} = {charge:g} is {charges[species]:g} "
                    "elsewhere: a prototype has one charge per species; give the structure as a "
                    "file, whose sublattices have charges of their own"
                )
    return builders.PROTOTYPES[structure.prototype](
        **values,
        size=tuple(structure.supercell),
        charges=charges or None,
        spectator_charges=structure.spectator_charges,
    )


def _from_file(config: Config, folder: Path) -> Lattice:
    structure = config.structure
    assert structure.file is not None  # noqa: S101  (checked by the caller)
    sections = config.sublattices
    explicit = {name: s for name, s in sections.items() if s.sites is not None}
    for name, section in sections.items():
        if section.sites is None and (explicit or section.species or section.charges):
            raise InputError(
                f"sublattices.{name} has no 'sites': give a symbol, symbols or atom indices (only "
                "the partial occupancies of a CIF make sublattices by themselves)"
            )
    return Lattice.from_file(
        folder / structure.file,
        {name: _sublattice(name, section) for name, section in explicit.items()} or None,
        supercell=tuple(structure.supercell),
        spectator_charges=structure.spectator_charges,
    )


def _sublattice(name: str, section: SublatticeSection) -> Sublattice:
    if section.species is None:
        raise InputError(f"sublattices.{name}.species is missing: list the species its sites hold")
    sites = section.sites
    charges = section.charges
    try:
        return Sublattice(
            sites=tuple(sites) if isinstance(sites, list) else sites,  # type: ignore[arg-type]
            species=tuple(section.species),
            charges=charges,  # type: ignore[arg-type]
        )
    except InputError as error:
        raise InputError(f"sublattices.{name}: {error}") from error


def composition(config: Config) -> dict[str, dict[str, float]]:
    """Fractions of the species on every sublattice, as far as the campaign gives them."""
    return {
        name: dict(section.composition)
        for name, section in config.sublattices.items()
        if section.composition is not None
    }


def _full_composition(config: Config, lattice: Lattice) -> dict[str, dict[str, float]]:
    """Return the campaign's composition, completed by that of the structure file.

    Sublattices whose composition fluctuates start from equal parts where neither gives one.

    Raises
    ------
    InputError
        If a sublattice does not exist or its composition is no whole number of sites.
    """
    for name in config.sublattices:
        if name not in lattice.names:
            close = difflib.get_close_matches(name, lattice.names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(lattice.names)}"
            raise InputError(f"sublattices.{name}: the structure has no such sublattice; {hint}")
    nominal = {name: dict(entry) for name, entry in (lattice.composition or {}).items()}
    full = nominal | composition(config)
    if config.ensemble.kind in OPEN:
        for name in lattice.names:
            if name not in full and name not in (config.ensemble.fixed or []):
                full[name] = equal_parts(lattice, name)
    lattice.composition_counts(full)
    return full


def _with_ensemble(config: Config, lattice: Lattice) -> Config:
    """Write out κ, the charge that is kept, the direction of a scan, and the orders to measure."""
    section, analysis = config.ensemble, config.analysis
    if section.kind != "canonical":  # both are measured against what a composition allows
        none: dict[str, Any] = {"orders": [], "shells": 0}
        open_ones = {k: v for k, v in none.items() if k not in analysis.model_fields_set}
        analysis = analysis.model_copy(update=open_ones)
    changes: dict[str, Any] = {}
    if section.scan is not None:
        changes["sweep"] = section.direction
    if section.kind == "variance-constrained" and section.kappa is None:
        changes["kappa"] = default_kappa(config, lattice)
    if section.kind == "charge-neutral" and section.charge is None:
        counts = lattice.composition_counts(_full_composition(config, lattice))
        held = charge_of(lattice, counts)
        spectators = lattice.spectator_charge
        changes["charge"] = held if spectators is None else -spectators
    ensemble = section.model_copy(update=changes)
    return config.model_copy(update={"ensemble": ensemble, "analysis": analysis})


STEPS_TO_LEARN = 25


def resolve(config: Config, lattice: Lattice, folder: Path, seed: int) -> Config:
    """Write every default out: steps, seed, composition, ensemble, path and precision of the model.

    Parameters
    ----------
    config
        The campaign as given.
    lattice
        Its lattice.
    folder
        Where a relative path of a model starts.
    seed
        Used if the campaign has none.
    """
    run = config.run
    one_step = config.sampler.kind == "surrogate"
    thin = run.thin if run.thin is not None else 1 if one_step else lattice.n_sites
    least = STEPS_TO_LEARN if config.learns_surrogate else 0
    warmup = run.warmup if run.warmup is not None else max(-(-run.draws * thin // 5), least)
    given = run.seed if run.seed is not None else seed
    run = run.model_copy(update={"thin": thin, "warmup": warmup, "seed": given})
    potential = resolve_potential(config.potential, folder)
    sublattices = {
        name: config.sublattices.get(name, SublatticeSection()).model_copy(
            update={"composition": fractions}
        )
        for name, fractions in _full_composition(config, lattice).items()
    }
    resolved = config.model_copy(
        update={"run": run, "potential": potential, "sublattices": sublattices}
    )
    return _with_ensemble(resolved, lattice)


def resolve_potential(potential: Potential, folder: Path) -> Potential:
    """Write out the path of a model, which may be relative to the folder, and its precision."""
    kind, model, device = potential.kind, potential.model, potential.device
    path = folder / Path(model).expanduser()
    if model != BUNDLED and kind not in DEFAULT_MODELS and path.exists():
        model = str(path.resolve())
    placed = potentials.choose_placement(kind, device, potential.dtype)
    # The device stays as it was asked for: a run may be opened where there is no such GPU.
    return potential.model_copy(update={"model": model, "dtype": placed.dtype})


def build_hamiltonian(config: Config, crystal: Crystal) -> Hamiltonian:
    """Energy model of a campaign, bound to its positions.

    Raises
    ------
    InputError
        If there is no such kind of potential.
    ModelError
        If the model cannot be loaded or does not know a species.
    """
    potential = config.potential
    kinds = potentials.POTENTIALS
    if potential.kind not in kinds:
        close = difflib.get_close_matches(potential.kind, kinds, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(kinds)}"
        raise InputError(f"potential.kind = '{potential.kind}' is not known; {hint}")
    options: dict[str, Any] = {"head": potential.head} if potential.head is not None else {}
    if potential.trust:
        options["trust"] = True
    model = kinds[potential.kind](
        crystal.lattice,
        model=potential.model,
        device=potential.device,
        dtype=potential.dtype,
        positions=crystal.positions,
        **options,
    )
    return _relaxed(model, config) if potential.relax is not None else model


def _relaxed(model: Hamiltonian, config: Config) -> Hamiltonian:
    """Landscape of minima of a model; as far as temperatures go, the lowest decides how deep."""
    relax = config.potential.relax
    assert relax is not None  # noqa: S101  (checked by the caller)
    lowest = None if relax.fmax is not None else min(config.ensemble.temperatures)
    options = relax.model_dump()
    return potentials.Relaxed(model, **options, temperature=lowest)


def build_kernel(config: Config, hamiltonian: Hamiltonian, ensemble: Ensemble) -> Kernel:
    """Kernel of a campaign in the ensemble of one of its points."""
    section = config.sampler
    if section.kernels is None:
        return _simple_kernel(section, hamiltonian, ensemble)
    return sampler.Mixture(
        (_simple_kernel(part, hamiltonian, ensemble), part.weight) for part in section.kernels
    )


def _simple_kernel(
    part: MixturePart | Sampler, hamiltonian: Hamiltonian, ensemble: Ensemble
) -> Kernel:
    given = {"balancing": part.balancing, "move": part.move}
    options = {name: value for name, value in given.items() if value is not None}
    return sampler.KERNELS[part.kind](hamiltonian, ensemble, **options)


def check_precision(config: Config, lattice: Lattice) -> None:
    """Refuse a precision that names an order which does not exist or fit, before anything runs.

    Raises
    ------
    InputError
        If a name is neither ``energy``, ``composition`` nor an order that this lattice can have.
    """
    mixture = _full_composition(config, lattice)
    occupation = lattice.random(composition=mixture, rng=np.random.default_rng(0))[None, None]
    for name in config.run.precision:
        if name not in SCALARS:
            try:
                series = order_series(lattice, occupation, name)
            except InputError as error:
                raise InputError(f"run.precision: {error}") from error
            if not np.isfinite(series).all():
                raise InputError(
                    f"run.precision: '{name}' cannot be measured, its sublattice holds one "
                    "species only; leave it out"
                )


def with_depth(config: Config, hamiltonian: Hamiltonian) -> Config:
    """Write out the force at which a relaxed landscape counts as relaxed."""
    relax = config.potential.relax
    if relax is None or relax.fmax is not None:
        return config
    chosen = relax.model_copy(update={"fmax": float(hamiltonian.fmax)})  # type: ignore[attr-defined]
    potential = config.potential.model_copy(update={"relax": chosen})
    return config.model_copy(update={"potential": potential})


def model_facts(hamiltonian: Hamiltonian) -> dict[str, Any]:
    """Return what the energy model says of itself (name, sha256 …), as plain values for TOML."""
    info = getattr(hamiltonian, "model_info", None)
    if info is None:
        return {"name": type(hamiltonian).__name__}
    facts = info._asdict() if hasattr(info, "_asdict") else dict(vars(info))
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in facts.items()
        if isinstance(value, str | int | float | tuple)
    }
