"""The crystal of a free-energy study: its sites and what they hold, and the paths along them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_masses

from ..ensembles.alchemical import AlchemicalPath, Groups, VacancyPath
from ..errors import InputError
from ..lattice import Lattice, Sublattice
from ..sublattice import VACANCY, suggestion
from .build import Crystal, build_hamiltonian, build_lattice, composition, resolve_potential
from .config import Config
from .free_energy_file import Change, LoadedStudy

__all__ = ["StudyCrystal", "build_study_crystal"]

SYMMETRY = 1e-3  # Å


@dataclass(frozen=True)
class StudyCrystal:
    """What a study is made on.

    ``occupation`` is that of the start, ``final`` that of the end of a substitution or with the
    vacancy; ``groups`` None where nothing changes; ``translations`` of the start onto itself.
    """

    lattice: Lattice
    hamiltonian: Any
    positions: np.ndarray
    occupation: np.ndarray
    final: np.ndarray | None
    groups: Groups | None
    species: tuple[list[str], list[str]]
    translations: int | None

    @property
    def n_changed(self) -> int:
        """Sites that change along the path."""
        return 0 if self.final is None else int((self.occupation != self.final).sum())

    def path(self, mixing: str, spring: float = 0.0, place: np.ndarray | None = None) -> Any:
        """Make the alchemical path: of a vacancy with its ghost's spring (eV/Å²) and place (Å)."""
        assert self.groups is not None  # noqa: S101  (asked for by routes that have one)
        if self.translations is None:
            return AlchemicalPath(self.hamiltonian, self.groups, *self.species, mixing=mixing)
        symbol = self.species[0][0]
        return VacancyPath(self.hamiltonian, 0, symbol, spring, place, mixing=mixing)

    def masses(self) -> tuple[np.ndarray, np.ndarray]:
        """Masses in amu of the atoms that change, before and after."""
        assert self.final is not None  # noqa: S101  (a substitution has one)
        there = np.flatnonzero(self.occupation != self.final)
        numbers = self.lattice.atomic_numbers
        before, after = (numbers[there, one[there]] for one in (self.occupation, self.final))
        return atomic_masses[before], atomic_masses[after]


def build_study_crystal(loaded: LoadedStudy) -> StudyCrystal:
    """Build lattice, start and energy model of a study.

    Raises
    ------
    InputError
        If the structure, a sublattice, a species or a site does not exist.
    ModelError
        If the model cannot be had, with what to do.
    """
    file, folder = loaded
    config = _config(loaded)
    if file.vacancy is not None:
        return _with_vacancy(loaded, config)
    lattice = build_lattice(config, folder)
    groups, species = _groups(lattice, file.changes) if file.changes else (None, ([], []))
    occupation = _arrangement(lattice, config, groups, file.study.seed)
    final = None
    if groups is not None:
        first, last = (_states(groups, one) for one in species)
        occupation = groups.occupations(first, occupation[None])[0]
        final = groups.occupations(last, occupation[None])[0]
    positions = _positions(config, lattice)
    model = build_hamiltonian(config, Crystal(lattice, positions))
    return StudyCrystal(lattice, model, positions, occupation, final, groups, species, None)


def _config(loaded: LoadedStudy) -> Config:
    """Tables of the file as those of a campaign, whose builders make the crystal."""
    file, folder = loaded
    return Config.model_validate(
        {
            "title": file.title,
            "structure": file.structure,
            "sublattices": file.sublattices,
            "potential": resolve_potential(file.potential, folder),
            "ensemble": {"temperatures": file.study.temperatures},
        }
    )


def _positions(config: Config, lattice: Lattice) -> np.ndarray:
    structure = config.structure
    if structure.displacement > 0:
        return lattice.displaced_positions(structure.displacement, structure.displacement_seed)
    return lattice.atoms.get_positions()


# ---- vacancies -----------------------------------------------------------------------------------


def _with_vacancy(loaded: LoadedStudy, config: Config) -> StudyCrystal:
    """Crystal in which one atom's site, and no other, may be vacant."""
    vacancy, atoms = loaded.file.vacancy, _perfect(loaded, config)
    assert vacancy is not None  # noqa: S101  (checked by the caller)
    known = sorted(set(atoms.get_chemical_symbols()))
    if vacancy.element not in known:
        raise InputError(
            f"vacancy.element = '{vacancy.element}': the crystal has none; "
            f"{suggestion(vacancy.element, known)}"
        )
    if vacancy.reservoir == "crystal" and len(known) > 1:
        raise InputError(
            f"vacancy.reservoir = 'crystal' takes a crystal of one element, not of "
            f"{', '.join(known)}: give the chemical potential of {vacancy.element}"
        )
    there = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == vacancy.element)
    if vacancy.atom >= len(there):
        raise InputError(
            f"vacancy.atom = {vacancy.atom}: the crystal has {len(there)} atoms of "
            f"{vacancy.element}; give 0 to {len(there) - 1}"
        )
    site = int(there[vacancy.atom])
    lattice = Lattice(atoms, {"vacancy": Sublattice((site,), (vacancy.element, VACANCY))})
    positions = _positions(config, lattice)
    model = build_hamiltonian(config, Crystal(lattice, positions))
    groups = Groups.of(lattice, {f"site {site}": [0]})
    states = np.zeros(1, dtype=np.int8), np.ones(1, dtype=np.int8)
    cell = atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
    primitive = spglib.find_primitive(cell, symprec=SYMMETRY)
    translations = len(atoms) // len(primitive[2]) if primitive is not None else 1
    return StudyCrystal(
        lattice, model, positions, *states, groups, ([vacancy.element], [VACANCY]), translations
    )


def _perfect(loaded: LoadedStudy, config: Config) -> Atoms:
    """Atoms of the crystal without a vacancy; a file needs no sublattices for them."""
    structure = config.structure
    if structure.file is None or config.sublattices:
        lattice = build_lattice(config, loaded.folder)
        occupation = _arrangement(lattice, config, None, loaded.file.study.seed)
        return lattice.to_atoms(occupation)
    path = Path(loaded.folder / structure.file)
    try:
        atoms = ase.io.read(path)
    except FileNotFoundError:
        raise InputError(f"no structure file {path}") from None
    except Exception as error:  # ASE's readers raise what they meet
        raise InputError(f"cannot read the structure {path}: {error}") from None
    assert isinstance(atoms, Atoms)  # noqa: S101  (the last frame)
    repeated: Atoms = atoms * tuple(structure.supercell)
    repeated.pbc = True
    return repeated


# ---- what sites hold -----------------------------------------------------------------------------


def _groups(lattice: Lattice, changes: list[Change]) -> tuple[Groups, tuple[list[str], list[str]]]:
    """One group for each change, and the species it goes from and to."""
    members: dict[str, list[int]] = {}
    for number, change in enumerate(changes):
        name = _sublattice(lattice, change, number)
        part = lattice.site_slice(name)
        sites = np.arange(lattice.n_sites)[part]
        chosen = sites.tolist()
        if change.sites is not None:
            if max(change.sites) >= len(sites):
                raise InputError(
                    f"changes[{number}].sites has {max(change.sites)}: sublattice {name} has the "
                    f"sites 0 to {len(sites) - 1}"
                )
            chosen = sites[change.sites].tolist()
        species = lattice.sublattices[name].species
        for key in ("initial", "final"):
            if (symbol := getattr(change, key)) not in species:
                raise InputError(
                    f"changes[{number}].{key} = '{symbol}': sublattice {name} holds "
                    f"{', '.join(species)}; {suggestion(symbol, species)}"
                )
        label = name if change.sites is None else f"{name} {number + 1}"
        if label in members:
            raise InputError(f"changes[{number}] takes all of sublattice {name} once more")
        members[label] = chosen
    first, last = [c.initial for c in changes], [c.final for c in changes]
    return Groups.of(lattice, members), (first, last)


def _sublattice(lattice: Lattice, change: Change, number: int) -> str:
    if change.sublattice is None:
        if len(lattice.names) == 1:
            return lattice.names[0]
        raise InputError(
            f"changes[{number}].sublattice is missing: the structure has {', '.join(lattice.names)}"
        )
    if change.sublattice not in lattice.names:
        raise InputError(
            f"changes[{number}].sublattice = '{change.sublattice}': "
            f"{suggestion(change.sublattice, lattice.names)}"
        )
    return change.sublattice


def _states(groups: Groups, symbols: list[str]) -> np.ndarray:
    rows = zip(groups.members, symbols, strict=True)
    return np.array([groups.lattice.species_of(sites[0]).index(s) for sites, s in rows])


def _arrangement(lattice: Lattice, config: Config, groups: Groups | None, seed: int) -> np.ndarray:
    """Occupation of the start: by composition at random, else as the structure file has it.

    Sublattices that change as a whole need neither.
    """
    given = composition(config)
    for name in given:
        if name not in lattice.names:
            raise InputError(f"sublattices.{name}: {suggestion(name, lattice.names)}")
    listed = {name for name, section in config.sublattices.items() if section.sites is not None}
    nominal = {n: dict(row) for n, row in (lattice.composition or {}).items() if n not in listed}
    full, fixed = nominal | given, np.zeros(lattice.n_sites, dtype=bool)
    for name in lattice.names:
        if name not in full:
            fixed[lattice.site_slice(name)] = True
            full[name] = {lattice.sublattices[name].species[0]: 1.0}
    rng = np.random.Generator(np.random.PCG64(seed))
    occupation = np.array(lattice.random(full, rng), dtype=np.int8)
    numbers = lattice.atoms.numbers[lattice.sites]
    hits = (lattice.atomic_numbers == numbers[:, None]) & (config.structure.file is not None)
    read = fixed & hits.any(axis=1)
    occupation[read] = hits[read].argmax(axis=1)
    if groups is not None:
        fixed[groups.sites] = False
    if (fixed & ~read).any():
        site = int(np.argmax(fixed & ~read))
        name = lattice.names[lattice.sublattice_of_site[site]]
        raise InputError(
            f"sublattices.{name}.composition is missing: say what the sites hold that do not change"
        )
    return occupation
