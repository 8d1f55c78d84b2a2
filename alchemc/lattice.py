"""Lattices: which sites of a crystal may hold which species.

An occupation is an integer array: for each site, the index of its species in the tuple of its
sublattice. Everything here is built from a reference structure and never changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from . import compositions
from .compositions import Composition
from .errors import InputError
from .neighbours import Shell, find_shells
from .sites import Sites, read_only
from .structures import (
    as_matrix,
    check_all_covered,
    file_composition,
    frozen_atoms,
    icet_sublattices,
    match_elements,
    one_line,
    parse_cell,
    parse_size,
    partial_sublattices,
    read_structure,
    wrong_element,
)
from .sublattice import (
    VACANCY,
    Sublattice,
    check_spectators,
    is_number,
    is_whole,
    parse_spectator_charges,
    resolve_all,
    shown,
)
from .symmetry import Symmetry, first_seen

__all__ = ["VACANCY", "Composition", "Lattice", "Shell", "Sublattice"]

_FORMAT = "alchemc-lattice-1"
_MAX_SHELLS = 100
_SITE_TYPE = 1000  # types of sites start above every atomic number


@dataclass(frozen=True, eq=False, repr=False)
class Lattice(Sites):
    """The sites of a supercell, the species each may hold, and the spectators around them.

    Parameters
    ----------
    atoms
        The supercell with its reference positions, periodic in three directions. A site may be
        filled with any element, or with ASE's ``"X"``. Numbers, positions and cell are kept.
    sublattices
        Sublattices by name, in the order in which sites are counted.
    spectator_charges
        Charge of every spectator element in units of e.
    composition
        Nominal composition, used where a method is given none. It may leave sublattices out.

    Raises
    ------
    InputError
        For a cell that is not periodic or has no volume, positions that are not finite, atoms
        nearer than 0.5 Å or of no element, sublattices that overlap or select nothing, vacancies
        outside every sublattice, or charges that are incomplete.

    Notes
    -----
    Sites are sorted by sublattice and then by atom index, so each sublattice is one slice of
    every site axis (``site_slice``). Arrays are read-only; copy them before changing them.

    Examples
    --------
    >>> from ase.spacegroup import crystal
    >>> atoms = crystal(["Pb", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
    ...                 spacegroup=221, cellpar=[4.09, 4.09, 4.09, 90, 90, 90], size=(2, 2, 2))
    >>> lattice = Lattice(atoms, {"B": Sublattice("Ti", ("Sc", "Ta"), (3, 5))},
    ...                   spectator_charges={"Pb": 2, "O": -2})
    >>> lattice
    Lattice(40 atoms, B: 8 × (Sc, Ta))
    >>> occupation = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, rng=np.random.default_rng(1))
    >>> lattice.to_atoms(occupation).get_chemical_formula()
    'O24Pb8Sc4Ta4'
    """

    atoms: Atoms
    sublattices: Mapping[str, Sublattice]
    spectator_charges: Mapping[str, float] | None = None
    composition: Composition | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        atoms = frozen_atoms(self.atoms)
        sublattices = resolve_all(self.sublattices, atoms.numbers)
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "sublattices", MappingProxyType(sublattices))
        numbers = atoms.numbers[self.spectators]
        check_spectators(numbers, self.spectators)
        if self.spectator_charges is not None:
            charges = parse_spectator_charges(self.spectator_charges, numbers)
            object.__setattr__(self, "spectator_charges", MappingProxyType(charges))
        if self.composition is not None:
            nominal = compositions.freeze(sublattices, self.composition)
            object.__setattr__(self, "composition", nominal)

    @cached_property
    def spectators(self) -> np.ndarray:
        """Indices of the atoms that are no sites, int64."""
        spectator = np.ones(len(self.atoms), dtype=bool)
        spectator[self.sites] = False
        return read_only(np.flatnonzero(spectator).astype(np.int64))

    @cached_property
    def spectator_charge(self) -> float | None:
        """Sum of the spectators' charges in e; None if they were not given."""
        if len(self.spectators) == 0:
            return 0.0
        if self.spectator_charges is None:
            return None
        numbers, counts = np.unique(self.atoms.numbers[self.spectators], return_counts=True)
        pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
        return float(sum(self.spectator_charges[chemical_symbols[z]] * n for z, n in pairs))

    @cached_property
    def _symmetry(self) -> Symmetry:
        types = self.atoms.numbers.astype(np.int64)
        types[self.sites] = _SITE_TYPE + self.sublattice_of_site
        return Symmetry(self.atoms.positions, self.atoms.cell.array, types)

    @cached_property
    def classes(self) -> np.ndarray:
        """Orbit of every site under the reference's space group, int64 [n_sites].

        All sites of a sublattice count as alike, whatever the reference holds there. Labels run
        from 0 in the order of the sites.
        """
        return read_only(first_seen(self._symmetry.orbits[self.sites]))

    @cached_property
    def translation_classes(self) -> np.ndarray:
        """Class of every site under pure translations, int64 [n_sites]; finer than ``classes``."""
        return read_only(first_seen(self._symmetry.translation_classes[self.sites]))

    def symmetry_permutations(self) -> np.ndarray:
        """Distinct site permutations by the supercell's symmetry, int64 [n_ops, n_sites].

        For each row ``p``, ``occupation[p]`` is an arrangement equivalent to ``occupation``. The
        identity is first.

        Raises
        ------
        InputError
            If they are too many to list.
        """
        return self._symmetry.permutations(self.sites)

    def symmetry_generators(self, *, translations_only: bool = False) -> np.ndarray:
        """Site permutations, int64 [n, n_sites], of which all others are products.

        They are few in a supercell whose ``symmetry_permutations`` are too many to list; with
        ``translations_only`` they make the pure translations.

        Examples
        --------
        >>> from alchemc import builders
        >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(8, 8, 8))
        >>> lattice.symmetry_generators(translations_only=True).shape
        (3, 512)
        """
        return self._symmetry.generators(self.sites, translations_only=translations_only)

    def shells(
        self,
        n_shells: int,
        sublattice: str | None = None,
        other: str | None = None,
        tolerance: float = 1e-3,
    ) -> list[Shell]:
        """Neighbour shells at the reference positions, nearest first.

        Parameters
        ----------
        n_shells
            How many shells.
        sublattice
            Sublattice of the central sites; may be left out if there is only one.
        other
            Sublattice of the neighbours; ``sublattice`` by default.
        tolerance
            Distances that follow one another by less, in Å, form one shell.

        Returns
        -------
        list of Shell
            Each with ``distance`` (Å), ``pairs`` (int64 [n_pairs, 2], sites i and j, once per
            ordered pair and periodic image) and ``multiplicity`` (mean neighbours per site).

        Examples
        --------
        >>> from alchemc import builders
        >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
        >>> [(shell.distance, shell.multiplicity) for shell in lattice.shells(2)]
        [(4.0, 6.0), (5.656854249492382, 12.0)]
        """
        if not is_whole(n_shells, least=1) or n_shells > _MAX_SHELLS:
            raise InputError(
                f"n_shells is {shown(n_shells)}; give a whole number, 1 to {_MAX_SHELLS}"
            )
        if not is_number(tolerance) or tolerance < 0:
            raise InputError(f"tolerance is {shown(tolerance)}; give a distance in Å of at least 0")
        if sublattice is None:
            if len(self.names) > 1:
                raise InputError(
                    f"shells needs a sublattice here; give one of {', '.join(self.names)}"
                )
            sublattice = self.names[0]
        centres = np.arange(self.n_sites)[self.site_slice(sublattice)]
        others = np.arange(self.n_sites)[self.site_slice(other or sublattice)]
        return find_shells(
            self.atoms.positions[self.sites],
            self.atoms.cell.array,
            centres=centres,
            others=others,
            n_shells=int(n_shells),
            tolerance=tolerance,
        )

    def to_atoms(
        self,
        occupation: np.ndarray,
        positions: np.ndarray | None = None,
        cell: np.ndarray | None = None,
    ) -> Atoms:
        """Build the structure of one occupation; vacancies are left out.

        Parameters
        ----------
        occupation
            Integers [n_sites].
        positions
            Positions of all atoms in Å, [n_atoms, 3], vacant sites included; the reference's by
            default (scaled with ``cell`` if that is given).
        cell
            Cell vectors as rows in Å, [3, 3]; the reference's by default.

        Returns
        -------
        ase.Atoms
            In the order of the reference's atoms.

        Raises
        ------
        InputError
            If the occupation is none of this lattice, positions are not finite numbers for every
            atom, or the cell has no volume.
        """
        occupation = self.check(occupation)
        if occupation.ndim != 1:
            raise InputError(
                f"to_atoms takes one occupation of shape ({self.n_sites},), not "
                f"{occupation.shape}; call it for each replica"
            )
        numbers = self.atoms.numbers.copy()
        numbers[self.sites] = self.atomic_numbers[np.arange(self.n_sites), occupation]
        box = self.atoms.cell.array if cell is None else parse_cell(cell)
        if positions is not None:
            where = as_matrix(positions, (len(self.atoms), 3), "positions")
        elif cell is None:
            where = self.atoms.positions
        else:
            where = self.atoms.cell.scaled_positions(self.atoms.positions) @ box
        kept = numbers > 0
        return Atoms(numbers=numbers[kept], positions=where[kept], cell=box, pbc=True)

    def from_atoms(self, atoms: Atoms, tolerance: float = 1.0) -> np.ndarray:
        """Read the occupation off a structure, int8 [n_sites].

        Atoms may be displaced, in any order, and wrapped or not; the cell may be strained by up
        to 20 % and turned. A site without an atom is a vacancy where that is allowed.

        Parameters
        ----------
        atoms
            A structure in the same supercell.
        tolerance
            Largest distance in Å of an atom from its reference position, in the lattice's cell.

        Raises
        ------
        InputError
            If the tolerance is no distance, the cell differs, an atom is near no position, two
            share one, a position is left empty, or an element stands where it may not.
        """
        found = match_elements(self.atoms, atoms, tolerance)
        spectators = found[self.spectators] == self.atoms.numbers[self.spectators]
        if not spectators.all():
            raise wrong_element(self.atoms, found, int(self.spectators[np.argmin(spectators)]))
        hits = self.atomic_numbers == found[self.sites][:, None]
        if not hits.any(axis=1).all():
            site = int(np.argmin(hits.any(axis=1)))
            species = self.species_of(site)
            raise wrong_element(self.atoms, found, int(self.sites[site]), species)
        return hits.argmax(axis=1).astype(np.int8)

    def repeat(self, size: int | Sequence[int]) -> Lattice:
        """Repeat the cell ``size`` times (three numbers of cells, or one for all).

        Sublattices, charges and the nominal composition carry over.
        """
        counts = parse_size(size)
        n = len(self.atoms)
        shifts = n * np.arange(np.prod(counts))[:, None]
        sublattices = {
            name: Sublattice(
                tuple((shifts + np.array(s.sites)).ravel().tolist()), s.species, s.charges
            )
            for name, s in self.sublattices.items()
        }
        return Lattice(
            self.atoms.repeat(counts),
            sublattices,
            self.spectator_charges,
            composition=self.composition,
        )

    def displaced_positions(self, amplitude: float, seed: int) -> np.ndarray:
        """Add Gaussian displacements to the reference positions, float64 [n_atoms, 3] in Å.

        ``amplitude`` is the standard deviation of each Cartesian component in Å; the numbers
        come from PCG64(``seed``), so they depend on nothing else.
        """
        if not is_number(amplitude) or amplitude < 0:
            raise InputError(
                f"amplitude is {shown(amplitude)}; give a displacement in Å of at least 0"
            )
        if not is_whole(seed, least=0):
            raise InputError(f"seed is {shown(seed)}; give a whole number of at least 0")
        rng = np.random.Generator(np.random.PCG64(seed))
        return self.atoms.positions + amplitude * rng.standard_normal((len(self.atoms), 3))

    def fingerprint(self) -> str:
        """SHA-256 of ``to_dict`` in hexadecimal: equal for equal lattices."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lattice):
            return NotImplemented
        return self is other or self._fingerprint == other._fingerprint

    def __hash__(self) -> int:
        return hash(self._fingerprint)

    def __repr__(self) -> str:
        parts = [
            f"{n}: {len(s.sites)} × ({', '.join(s.species)})" for n, s in self.sublattices.items()
        ]
        return f"Lattice({len(self.atoms)} atoms, {'; '.join(parts)})"

    def to_dict(self) -> dict[str, Any]:
        """Everything that defines the lattice, as plain lists, numbers and strings."""
        charges, nominal = self.spectator_charges, self.composition
        return {
            "format": _FORMAT,
            "cell": self.atoms.cell.array.tolist(),
            "numbers": self.atoms.numbers.tolist(),
            "positions": self.atoms.positions.tolist(),
            "sublattices": [
                {
                    "name": name,
                    "sites": list(s.sites),
                    "species": list(s.species),
                    "charges": None if s.charges is None else list(s.charges),
                }
                for name, s in self.sublattices.items()
            ],
            "spectator_charges": None if charges is None else dict(charges),
            "composition": None if nominal is None else {n: dict(x) for n, x in nominal.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Lattice:
        """Rebuild a lattice from ``to_dict``, exactly.

        Raises
        ------
        InputError
            If the form is unknown or incomplete, or what it holds is not a valid lattice.
        """
        form = stored.get("format") if isinstance(stored, Mapping) else None
        if form != _FORMAT:
            raise InputError(f"a stored lattice has format {shown(form)}; expected {_FORMAT!r}")
        try:
            atoms, sublattices = _stored_parts(stored)
            optional = stored["spectator_charges"], stored["composition"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"a stored lattice is damaged ({type(error).__name__}: {one_line(error)}); "
                "build it again from its structure"
            ) from None
        return cls(atoms, sublattices, optional[0], composition=optional[1])

    def __reduce__(self) -> tuple[Any, ...]:
        return Lattice.from_dict, (self.to_dict(),)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        sublattices: Mapping[str, Sublattice] | None = None,
        supercell: int | Sequence[int] = (1, 1, 1),
        spectator_charges: Mapping[str, float] | None = None,
    ) -> Lattice:
        """Read a lattice from any structure file that ASE reads.

        Parameters
        ----------
        path
            The file; of several frames the last is taken.
        sublattices
            Sublattices by name; indices count the atoms of the file, before it is repeated. On a
            partially occupied site a symbol selects by the most frequent species. Without
            sublattices, the partial occupancies of a CIF define them: sites with the same
            species and the same occupancies form one, named after its species ("Sc-Ta"; with
            "-1", "-2" … appended where the same species occur with different occupancies). Where
            occupancies add up to less than one, the rest is vacant.
        supercell
            Repetitions of the file's cell along its three vectors.
        spectator_charges
            Charge of every spectator element in e.

        Returns
        -------
        Lattice
            With the file's composition as its nominal ``composition``: occupancies averaged over
            each sublattice, recorded where every species of the sublattice occurs.

        Raises
        ------
        InputError
            If the file is missing or unreadable, defines no sublattice, or has a partially
            occupied site that the given sublattices leave out.
        """
        structure = read_structure(path)
        if sublattices is None:
            sublattices = partial_sublattices(structure, path)
        unit = cls(structure.atoms, sublattices, spectator_charges)
        check_all_covered(structure, unit.spectators)
        composition = file_composition(structure, unit.sublattices)
        unit = cls(structure.atoms, sublattices, spectator_charges, composition=composition or None)
        return unit.repeat(supercell)

    @classmethod
    def from_icet_species(
        cls,
        atoms: Atoms,
        chemical_symbols: Sequence[Sequence[str]],
        spectator_charges: Mapping[str, float] | None = None,
    ) -> Lattice:
        """Build a lattice from icet's form: the allowed species of every atom.

        Atoms with one species are spectators. The others form one sublattice per set of
        species, named "A", "B", … in icet's order (sorted by species); the order of species on a
        sublattice is that of its first atom.

        Examples
        --------
        >>> from ase.build import bulk
        >>> Lattice.from_icet_species(bulk("MgO", "rocksalt", a=4.3), [["Mg", "Ca"], ["O"]])
        Lattice(2 atoms, A: 1 × (Mg, Ca))
        """
        return cls(*icet_sublattices(atoms, chemical_symbols), spectator_charges)


def _stored_parts(stored: Mapping[str, Any]) -> tuple[Atoms, dict[str, Sublattice]]:
    numbers = np.asarray(stored["numbers"])
    if numbers.dtype.kind not in "iu":
        raise TypeError(f"atomic numbers of type {numbers.dtype}")
    sublattices = {
        s["name"]: Sublattice(s["sites"], s["species"], s["charges"]) for s in stored["sublattices"]
    }
    if len(sublattices) < len(stored["sublattices"]):
        raise ValueError("two sublattices of one name")
    return Atoms(numbers, stored["positions"], cell=stored["cell"], pbc=True), sublattices
