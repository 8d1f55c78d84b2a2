"""Structures from outside: checked copies, files with partial occupancies, matching of atoms."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io.cif import parse_cif
from ase.io.formats import filetype
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .errors import InputError
from .neighbours import PeriodicTree, find_overlap
from .sublattice import (
    VACANCY,
    Sublattice,
    check_elements,
    check_symbol,
    is_number,
    is_whole,
    shown,
)
from .symmetry import first_seen

__all__ = ["Structure", "read_structure"]

_SHORTEST_DISTANCE = 0.5  # Å
_SHORTEST_VECTOR = 0.1  # Å
_MAX_STRAIN = 0.2
_OCCUPANCY_TOLERANCE = 1e-3
_SAME_POSITION = 0.1  # Å


class Structure(NamedTuple):
    """Atoms and what each of their positions holds.

    ``occupancies`` has one mapping per atom, from species (``"X"`` for a vacancy) to its
    fraction, or None where the position is fully occupied by the atom.
    """

    atoms: Atoms
    occupancies: list[dict[str, float] | None]

    @classmethod
    def ordered(cls, atoms: Any) -> Structure:
        """Wrap a structure without partial occupancies."""
        return cls(atoms, [None] * len(atoms))


def one_line(error: BaseException, limit: int = 200) -> str:
    """Put the message of an exception on one line."""
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


def parse_cell(values: Any, what: str = "cell") -> np.ndarray:
    """Cell vectors as rows, float64 [3, 3] in Å, after checking that they span a volume."""
    cell = as_matrix(values, (3, 3), what) + 0.0  # −0.0 becomes 0.0
    lengths = np.linalg.norm(cell, axis=1)
    if lengths.min() < _SHORTEST_VECTOR or abs(np.linalg.det(cell)) < 1e-6 * lengths.prod():
        raise InputError(
            f"{what} {cell.tolist()} has no volume; give three independent vectors in Å"
        )
    return cell


def parse_size(size: Any) -> tuple[int, int, int]:
    """Three positive numbers of cells, from one or three."""
    values = [size] * 3 if isinstance(size, int | np.integer) else size
    good = isinstance(values, Sequence) or (isinstance(values, np.ndarray) and values.ndim == 1)
    if not good or len(values) != 3 or not all(is_whole(n, least=1) for n in values):
        raise InputError(
            f"the supercell is {shown(size)}; give three whole numbers of cells, at least 1"
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
    check_elements(atoms.numbers)
    cell = parse_cell(atoms.cell.array, "the cell")
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
    if not is_number(tolerance) or tolerance <= 0:
        raise InputError(f"tolerance is {shown(tolerance)}; give a distance in Å above 0")
    _check_cell(reference.cell.array, np.asarray(atoms.cell.array))
    real = np.flatnonzero(atoms.numbers > 0)
    where = as_matrix(atoms.positions, (len(atoms), 3), "positions")[real]
    scaled = where @ np.linalg.inv(atoms.cell.array)
    cell = reference.cell.array
    index, _ = PeriodicTree(reference.positions, cell, tolerance).nearest(scaled @ cell)
    if (index < 0).any():
        lost = int(real[np.argmin(index)])
        raise InputError(
            f"atom {lost} ({atoms.symbols[lost]}) lies more than {tolerance} Å from every position "
            "of the lattice; give a structure of the same crystal with the same origin"
        )
    first, taken = np.unique(index, return_counts=True)
    if (taken > 1).any():
        shared = first[taken > 1][0]
        i, j = real[np.flatnonzero(index == shared)[:2]].tolist()
        raise InputError(
            f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) are both nearest to "
            f"position {shared} of the lattice; give a structure with smaller displacements"
        )
    found = np.zeros(len(reference), dtype=np.int64)
    found[index] = atoms.numbers[real]
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


def wrong_element(
    reference: Atoms, found: np.ndarray, index: int, species: tuple[str, ...] | None = None
) -> InputError:
    """Error for an element (or none) where the lattice has another, or allows only ``species``."""
    what = chemical_symbols[found[index]] if found[index] > 0 else "no atom"
    if species is None:
        expected = f"has a fixed {reference.symbols[index]}"
        remedy = "give a structure of the same crystal"
    else:
        expected = f"has a site for {', '.join(species)}"
        remedy = "give a structure of the same crystal or more species to the sublattice"
    return InputError(
        f"the structure has {what} where the lattice {expected} (atom {index} of the reference); "
        f"{remedy}"
    )


def read_structure(path: str | Path) -> Structure:
    """Read any file ASE reads, with the partial occupancies of a CIF.

    Raises
    ------
    InputError
        If the file is missing or unreadable, or its occupancies make no sense.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"the structure file '{path}' {what}; give the path of a structure file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE on symmetry tags that it does not use
            structure = _read_cif(path) if filetype(str(path)) == "cif" else None
            return structure or Structure.ordered(ase.io.read(path, index=-1))
    except InputError:
        raise
    except Exception as error:  # ASE's readers raise whatever they meet
        raise InputError(
            f"'{path}' is not a structure file that ASE can read ({type(error).__name__}: "
            f"{one_line(error)}); check its content and its file name extension"
        ) from error


def _read_cif(path: Path) -> Structure | None:
    """Read the last periodic structure of a CIF, or None if there is none.

    ASE's own reader silently keeps one row of several that symmetry puts on one position, and one
    of two with the same element, so the rows are expanded and collected here.
    """
    blocks = [block for block in parse_cif(str(path)) if block.has_structure()]
    if not blocks or blocks[-1].get_cell().rank < 3:
        return None
    rows = blocks[-1].get_unsymmetrized_structure()
    occupancies = _row_occupancies(blocks[-1].get("_atom_site_occupancy"), rows, path)
    used = np.flatnonzero(occupancies > 0)
    if len(used) == 0:
        raise InputError(f"'{path}' has no occupied position; check its occupancies")
    group = blocks[-1].get_spacegroup(subtrans_included=True)
    scaled = rows.get_scaled_positions(wrap=False)
    orbits = [group.equivalent_sites([scaled[row]], onduplicates="keep")[0] for row in used]
    row_of = np.repeat(used, [len(orbit) for orbit in orbits])
    points = np.concatenate(orbits) @ rows.cell.array
    label = _same_position(points, rows.cell.array)
    contents: list[dict[int, float]] = [{} for _ in range(label.max() + 1)]
    for position, row in zip(label.tolist(), row_of.tolist(), strict=True):
        contents[position][row] = occupancies[row]
    entries = [_occupants(content, rows, path) for content in contents]
    first = np.unique(label, return_index=True)[1]
    symbols = [_most_frequent(entry) for entry in entries]
    atoms = Atoms(symbols, positions=points[first], cell=rows.cell, pbc=True)
    return Structure(atoms, [None if len(entry) == 1 else entry for entry in entries])


def _most_frequent(entry: dict[str, float]) -> str:
    species = [symbol for symbol in entry if symbol != VACANCY]
    return max(species, key=entry.__getitem__)


def _row_occupancies(values: Any, rows: Atoms, path: Path) -> np.ndarray:
    if values is None:
        return np.ones(len(rows))
    if not isinstance(values, list) or len(values) != len(rows):
        raise InputError(f"'{path}' does not give one occupancy per atom; complete its atom loop")
    result = np.ones(len(rows))
    for row, value in enumerate(values):
        if value in (".", "?"):
            continue
        if not isinstance(value, int | float) or not 0 <= value <= 1 + _OCCUPANCY_TOLERANCE:
            raise InputError(
                f"'{path}' gives row {row} ({rows.symbols[row]}) the occupancy {shown(value)}; "
                "it must be a number from 0 to 1"
            )
        result[row] = value
    return result


def _same_position(points: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Label shared by points that are nearer than 0.1 Å to one another."""
    i, j, _ = PeriodicTree(points, cell, _SAME_POSITION).pairs(points)
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(len(points), len(points)))
    return first_seen(connected_components(graph, directed=False)[1])


def _occupants(content: dict[int, float], rows: Atoms, path: Path) -> dict[str, float]:
    """Fractions by species on one position, a vacancy for what is missing."""
    entry: dict[str, float] = {}
    for row, occupancy in content.items():
        symbol = rows.symbols[row]
        if symbol in entry and entry[symbol] == occupancy == 1:
            continue  # one atom listed twice
        if symbol in entry:
            raise InputError(
                f"'{path}' puts {symbol} twice on the position of row {row}; merge the two rows "
                "(the potential cannot tell charge states of one element apart)"
            )
        entry[symbol] = float(occupancy)
    total = sum(entry.values())
    if total > 1 + _OCCUPANCY_TOLERANCE * len(entry):
        shares = ", ".join(f"{symbol} {x:g}" for symbol, x in entry.items())
        raise InputError(
            f"'{path}' fills one position to {total:.4g} ({shares}); occupancies must add up to at "
            "most 1"
        )
    if total < 1 - _OCCUPANCY_TOLERANCE * len(entry):
        entry[VACANCY] = 1 - total
        return entry
    return {symbol: x / total for symbol, x in entry.items()}


def partial_sublattices(structure: Structure, path: str | Path) -> dict[str, Sublattice]:
    """Sublattices of the partially occupied positions, one per species and occupancies."""
    pools: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for index, entry in enumerate(structure.occupancies):
        if entry is not None:
            shares = ((symbol, round(x / _OCCUPANCY_TOLERANCE)) for symbol, x in entry.items())
            pools.setdefault(tuple(sorted(shares)), []).append(index)
    if not pools:
        raise InputError(
            f"'{path}' has no partially occupied site; name the sites and their species in "
            "sublattices"
        )
    orders = [tuple(structure.occupancies[indices[0]] or ()) for indices in pools.values()]
    stems = ["-".join(order) for order in orders]
    names = [
        stem if stems.count(stem) == 1 else f"{stem}-{stems[: n + 1].count(stem)}"
        for n, stem in enumerate(stems)
    ]
    return {
        name: Sublattice(tuple(indices), order)
        for name, order, indices in zip(names, orders, pools.values(), strict=True)
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
        shares: dict[str, list[float]] = {}
        for index in sublattice.sites:
            own = {structure.atoms.symbols[index]: 1.0}
            for symbol, x in (structure.occupancies[int(index)] or own).items():
                shares.setdefault(symbol, []).append(x)
        if set(shares) == set(sublattice.species):
            result[name] = {
                symbol: math.fsum(shares[symbol]) / len(sublattice.sites)
                for symbol in sublattice.species
            }
    return result


def icet_sublattices(
    atoms: Atoms, chemical_symbols: Sequence[Sequence[str]]
) -> tuple[Atoms, dict[str, Sublattice]]:
    """Structure and sublattices of icet's form, the allowed species of every atom."""
    if not isinstance(atoms, Atoms):
        raise InputError(f"atoms is a {type(atoms).__name__}; give an ase.Atoms")
    if isinstance(chemical_symbols, str) or not isinstance(chemical_symbols, Sequence):
        raise InputError(
            f"chemical_symbols is {shown(chemical_symbols)}; give the allowed species of every atom"
        )
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
                f"chemical_symbols[{index}] is {shown(entry)}; give a list such as ['Sc', 'Ta']"
            )
        if len(entry) == 1:
            numbers[index] = atomic_numbers[check_symbol(entry[0], f"chemical_symbols[{index}]")]
        else:
            pools.setdefault(tuple(sorted(map(str, entry))), []).append(index)
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
    """Name sublattices A, B, …, Z, AA, AB, … as icet does."""
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
