"""Raw numbers of reference crystals and of removed atoms, whose free energies are closed forms.

The ensembles make them, `alchemc.analysis` turns them into free energies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from .errors import InputError
from .sublattice import is_number, is_whole, shown

__all__ = ["HeldReference", "RemovedAtom"]


@dataclass(frozen=True, eq=False)
class HeldReference:
    """A harmonic crystal whose centre is held, as far as its free energy asks.

    The centre is the mean displacement of the *frame*, the atoms that are never vacant. Where it
    is free, it wanders in the crystal's primitive cell: translations by more lead to what a
    relabelling of atoms leads to as well.

    Parameters
    ----------
    stiffness
        Eigenvalues of the force constants where the centre is held, [3 n − 3] in eV/Å².
    masses
        [n] in amu.
    n_frame
        Atoms of the frame.
    volume
        Of the cell, in Å³.
    translations
        Primitive cells in the cell: pure translations that lead to a crystal counted already.
    temperature
        In K.
    label
        What crystal it is.

    Raises
    ------
    InputError
        If shapes disagree or a number is out of range.

    Examples
    --------
    >>> held = HeldReference(np.full(9, 5.0), np.full(4, 55.8), 4, 48.0, 4, 300.0)
    >>> held.n_atoms, HeldReference.from_arrays(held.to_arrays()).volume
    (4, 48.0)
    """

    stiffness: np.ndarray
    masses: np.ndarray
    n_frame: int
    volume: float
    translations: int
    temperature: float
    label: str = ""

    def __post_init__(self) -> None:
        for name, unit in (("stiffness", "eV/Å²"), ("masses", "amu")):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or not (np.isfinite(values) & (values > 0)).all():
                raise InputError(
                    f"{name} of shape {values.shape} are not all above 0: give finite numbers in "
                    f"{unit}; a crystal with a soft mode is no reference"
                )
            object.__setattr__(self, name, values)
        n = len(self.masses)
        if n < 2 or len(self.stiffness) != 3 * n - 3:
            raise InputError(
                f"there are {len(self.stiffness)} force constants for {n} atoms: give 3 n − 3, for "
                "two atoms or more"
            )
        if not is_whole(self.n_frame, 1) or self.n_frame > n:
            raise InputError(f"n_frame is {shown(self.n_frame)}: give 1 to {n} atoms")
        if not is_whole(self.translations, 1):
            raise InputError(f"translations is {shown(self.translations)}: give 1 or more")
        for name in ("volume", "temperature"):
            _check_positive(name, getattr(self, name))

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.masses)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return every field as an array by name, for ``numpy.savez`` without pickling."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Make the record that ``to_arrays`` took apart."""
        return cls(**_plain(arrays))


@dataclass(frozen=True)
class RemovedAtom:
    """An atom that a path has turned into a harmonic ghost.

    Parameters
    ----------
    symbol
        Its element.
    mass
        In amu.
    stiffness
        Spring constant of the ghost in eV/Å².
    temperature
        In K.

    Raises
    ------
    InputError
        If a number is not above 0.

    Examples
    --------
    >>> RemovedAtom("O", 15.999, 5.0, 600.0).symbol
    'O'
    """

    symbol: str
    mass: float
    stiffness: float
    temperature: float

    def __post_init__(self) -> None:
        for name in ("mass", "stiffness", "temperature"):
            _check_positive(name, getattr(self, name))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return every field as an array by name, for ``numpy.savez`` without pickling."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Make the record that ``to_arrays`` took apart."""
        return cls(**_plain(arrays))


def _plain(arrays: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: np.asarray(value) for name, value in arrays.items()}
    return {name: value if value.ndim else value.item() for name, value in found.items()}


def _check_positive(name: str, value: object) -> None:
    if not is_number(value) or not 0 < float(value) < np.inf:  # type: ignore[arg-type]
        raise InputError(f"{name} is {shown(value)}: give a finite number above 0")
