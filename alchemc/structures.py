"""Structures from outside: checked copies, files with partial occupancies, matching of atoms."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from .errors import InputError
from .neighbours import PeriodicTree, find_overlap
from .sublattice import VACANCY, Sublattice, check_symbol

__all__ = ["Structure", "read_structure"]

_SHORTEST_DISTANCE = 0.5  # Å
_MAX_STRAIN = 0.2
_OCCUPANCY_TOLERANCE = 1e-3
_SAME_POSITION = 0.02  # Å


class Structure(NamedTuple):
    """Atoms and what each of their positions holds.

    ``occupancies`` has one mapping per atom, from species (``"X"`` for a vacancy) to its
    fraction, or None where the position is fully occupied by the atom.
    """

    atoms: Atoms
    occupancies: list[dict[str, float] | None]


def one_line(error: BaseException, limit: int = 200) -> str:
    """The message of an exception on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def as_matrix(values: Any, shape: tuple[int, int], what: str) -> np.ndarray:
    """Finite float64 array of a given shape."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what} is no array of numbers; give one of shape {shape}") from None
    if array.shape != shape:
        raise InputError(f"{what} has shape {array.shape}; expected {shape}")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise InputError(f"row {row} of {what} is {array[row].tolist()}; give finite numbers in Å")
    return array


def parse_size(size: Any) -> tuple[int, int, int]:
    """Three positive numbers of cells, from one or three."""
    values = [size] * 3 if isinstance(size, int | np.integer) else size
    good = isinstance(values, Sequence | np.ndarray) and len(values) == 3
    if not good or not all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in values
    ):
        raise InputError(
            f"the supercell is {size!r}; give three whole numbers of cells, at least 1"
        )
    return int(values[0]), int(values[1]), int(values[2])


def frozen_atoms(atoms: Any) -> Atoms:
    """Read-only copy of numbers, positions and cell, after checking that they make a crystal."""
    if not isinstance(atoms, Atoms):
        raise InputError(f"atoms is a {type(atoms).__name__}; give an ase.Atoms")
    if len(atoms) == 0:
        raise InputError("the structure has no atoms; give the supercell with every site filled")
    if not atoms.pbc.all():
        raise InputError(
            f"the structure has pbc {atoms.pbc.tolist()}; set atoms.pbc = True (a crystal is "
            "periodic in three directions)"
        )
    cell = as_matrix(atoms.cell.array, (3, 3), "the cell") + 0.0  # −0.0 becomes 0.0
    lengths = np.linalg.norm(cell, axis=1)
    if abs(np.linalg.det(cell)) < 1e-6 * max(lengths.prod(), 1e-6):
        raise InputError(
            f"the cell {cell.tolist()} has no volume; give three independent vectors in Å"
        )
    positions = np.array(atoms.positions, dtype=np.float64)
    if not np.isfinite(positions).all():
        bad = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise InputError(
            f"atom {bad} ({chemical_symbols[atoms.numbers[bad]]}) has position "
            f"{positions[bad].tolist()}; give finite coordinates in Å"
        )
    overlap = find_overlap(positions, cell, _SHORTEST_DISTANCE)
    if overlap:
        i, j, distance = overlap
        raise InputError(
            f"atoms {i} and {j} are {distance:.3f} Å apart, nearer than {_SHORTEST_DISTANCE} Å; "
            "remove one (atoms that share a position are one site with several species)"
        )
    numbers = np.array(atoms.numbers, dtype=np.int64)
    result = Atoms(numbers=numbers, positions=positions + 0.0, cell=cell, pbc=True)
    for array in (*result.arrays.values(), result.cell.array, result.pbc):
        array.setflags(write=False)
    return result


def match_elements(reference: Atoms, atoms: Any, tolerance: float) -> np.ndarray:
    """Atomic number that a structure has at each reference atom, int64 [n]; 0 where it has none."""
    if not isinstance(atoms, Atoms):
        raise InputError(f"atoms is a {type(atoms).__name__}; give an ase.Atoms")
    _check_cell(reference.cell.array, np.asarray(atoms.cell.array))
    atoms = atoms[atoms.numbers > 0]
    where = as_matrix(atoms.positions, (len(atoms), 3), "positions")
    scaled = where @ np.linalg.inv(atoms.cell.array)
    cell = reference.cell.array
    index, _ = PeriodicTree(reference.positions, cell, tolerance).nearest(scaled @ cell)
    if (index < 0).any():
        lost = int(np.argmin(index))
        raise InputError(
            f"atom {lost} ({atoms.symbols[lost]}) lies more than {tolerance} Å from every position "
            "of the lattice; give a structure of the same crystal with the same origin"
        )
    first, taken = np.unique(index, return_counts=True)
    if (taken > 1).any():
        shared = first[taken > 1][0]
        i, j = np.flatnonzero(index == shared)[:2].tolist()
        raise InputError(
            f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) are both nearest to "
            f"position {shared} of the lattice; give a structure with smaller displacements"
        )
    found = np.zeros(len(reference), dtype=np.int64)
    found[index] = atoms.numbers
    return found


def _check_cell(reference: np.ndarray, cell: np.ndarray) -> None:
    if abs(np.linalg.det(cell)) > 1e-12:
        strain = np.linalg.svd(np.linalg.inv(reference) @ cell, compute_uv=False) - 1
        if np.abs(strain).max() <= _MAX_STRAIN:
            return
    raise InputError(
        f"the structure's cell {np.round(cell, 3).tolist()} is not the lattice's "
        f"{np.round(reference, 3).tolist()} to within {_MAX_STRAIN:.0%}; give the same supercell"
    )


def read_structure(path: str | Path) -> Structure:
    """Read any file ASE reads, with the partial occupancies of a CIF.

    Raises
    ------
    InputError
        If the file is missing, unreadable, not periodic, or its occupancies make no sense.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"the structure file '{path}' {what}; give the path of a structure file")
    from ase.io import read

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # ASE on symmetry tags it does not use
            atoms = read(path)
    except Exception as error:  # ASE's readers raise whatever they meet
        raise InputError(
            f"'{path}' is not a structure file that ASE can read "
            f"({type(error).__name__}: {one_line(error)}); check its format and file name extension"
        ) from error
    if not isinstance(atoms, Atoms):
        raise InputError(f"'{path}' holds no structure; give a file with one")
    return Structure(atoms, _occupancies(atoms, path))


def _occupancies(atoms: Atoms, path: Path) -> list[dict[str, float] | None]:
    return [None] * len(atoms)


def partial_sublattices(structure: Structure, path: str | Path) -> dict[str, Sublattice]:
    """Sublattices of the partially occupied positions, one per species and occupancies."""
    pools: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for index, entry in enumerate(structure.occupancies):
        if entry is not None:
            key = tuple((symbol, round(x / _OCCUPANCY_TOLERANCE)) for symbol, x in entry.items())
            pools.setdefault(key, []).append(index)
    if not pools:
        raise InputError(
            f"'{path}' has no partially occupied site; name the sites and their species in "
            "sublattices"
        )
    stems = ["-".join(symbol for symbol, _ in key) for key in pools]
    names = [
        stem if stems.count(stem) == 1 else f"{stem}-{stems[: n + 1].count(stem)}"
        for n, stem in enumerate(stems)
    ]
    return {
        name: Sublattice(tuple(indices), tuple(symbol for symbol, _ in key))
        for name, (key, indices) in zip(names, pools.items(), strict=True)
    }


def check_all_covered(structure: Structure, spectators: np.ndarray) -> None:
    """Refuse partially occupied positions that no sublattice holds."""
    for index in spectators.tolist():
        entry = structure.occupancies[index]
        if entry is not None:
            shares = ", ".join(f"{symbol} {x:g}" for symbol, x in entry.items())
            raise InputError(
                f"atom {index} of the file is partially occupied ({shares}) but belongs to no "
                "sublattice; add it to one"
            )


def file_composition(
    structure: Structure, sublattices: Mapping[str, Sublattice]
) -> dict[str, dict[str, float]]:
    """Mean occupancies of the sublattices on which every species occurs and no other does."""
    result = {}
    for name, sublattice in sublattices.items():
        total: dict[str, float] = {}
        for index in sublattice.sites:
            own = {structure.atoms.symbols[index]: 1.0}
            for symbol, x in (structure.occupancies[int(index)] or own).items():
                total[symbol] = total.get(symbol, 0.0) + x / len(sublattice.sites)
        if set(total) == set(sublattice.species):
            result[name] = {symbol: total[symbol] for symbol in sublattice.species}
    return result


def icet_sublattices(
    atoms: Atoms, chemical_symbols: Sequence[Sequence[str]]
) -> tuple[Atoms, dict[str, Sublattice]]:
    """Structure and sublattices of icet's form, the allowed species of every atom."""
    if not isinstance(atoms, Atoms):
        raise InputError(f"atoms is a {type(atoms).__name__}; give an ase.Atoms")
    if len(chemical_symbols) != len(atoms):
        raise InputError(
            f"chemical_symbols has {len(chemical_symbols)} entries for {len(atoms)} atoms; give "
            "the allowed species of every atom"
        )
    numbers = atoms.numbers.copy()
    pools: dict[tuple[str, ...], list[int]] = {}
    for index, entry in enumerate(chemical_symbols):
        if isinstance(entry, str) or not isinstance(entry, Sequence) or not entry:
            raise InputError(
                f"chemical_symbols[{index}] is {entry!r}; give a list of symbols such as ['Sc', 'Ta']"
            )
        if len(entry) == 1:
            numbers[index] = atomic_numbers[check_symbol(entry[0], f"chemical_symbols[{index}]")]
        else:
            pools.setdefault(tuple(sorted(entry)), []).append(index)
    if not pools:
        raise InputError(
            "chemical_symbols allows one species on every atom; give a site at least two"
        )
    result = atoms.copy()
    result.numbers = numbers
    return result, {
        _letters(n): Sublattice(tuple(pools[key]), tuple(chemical_symbols[pools[key][0]]))
        for n, key in enumerate(sorted(pools))
    }


def _letters(number: int) -> str:
    """A, B, …, Z, AA, AB, …, as icet names sublattices."""
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
