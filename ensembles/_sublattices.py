"""What ensembles of fluctuating composition have in common: checked input by sublattice."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..sites import read_only
from ..sublattice import is_number, shown, suggestion

__all__ = [
    "BySpecies",
    "Words",
    "as_array",
    "checked_fixed",
    "frozen",
    "given_by_species",
    "sites_off",
    "warn_of_charges",
]

BySpecies = Mapping[str, Mapping[str, float]]
"""Numbers by sublattice and species."""


def checked_fixed(lattice: Lattice, fixed: object) -> tuple[str, ...]:
    """Names of the sublattices that keep their counts, in the lattice's order.

    Raises
    ------
    InputError
        If they are no names of the lattice's, or leave no sublattice free.
    """
    if isinstance(fixed, str) or not isinstance(fixed, Iterable):
        raise InputError(f"fixed is {shown(fixed)}; give names of sublattices, such as ('A',)")
    names = list(fixed)
    for name in names:
        if name not in lattice.names:
            raise InputError(
                f"fixed names the sublattice {shown(name)}; {suggestion(name, lattice.names)}"
            )
    exchanging = {name for name, s in lattice.sublattices.items() if len(s.species) > 1}
    if names and exchanging <= set(names):
        raise InputError(
            f"fixed names every sublattice of two species or more ({', '.join(names)}), so that "
            "nothing is free: use Canonical, or leave one out"
        )
    return tuple(name for name in lattice.names if name in names)


def sites_off(lattice: Lattice, fixed: Iterable[str]) -> np.ndarray:
    """Sites that are on none of the ``fixed`` sublattices, bool [n_sites], read-only."""
    free = np.array([name not in set(fixed) for name in lattice.names])
    return read_only(free[lattice.sublattice_of_site])


class Words(NamedTuple):
    """What messages call some numbers, one of them, an example of them, and their unit."""

    name: str
    each: str
    example: str
    unit: str = ""


def given_by_species(lattice: Lattice, given: object, words: Words) -> dict[str, dict[str, float]]:
    """Numbers by sublattice and species as they were given, checked.

    With one sublattice its name may be left out.

    Raises
    ------
    InputError
        If they are no finite numbers, or name what is not there.
    """
    name, each, example, unit = words
    numbers = unit or "numbers"
    if not isinstance(given, Mapping):
        raise InputError(
            f"{name} are {shown(given)}; give {numbers} by sublattice and species, such as "
            f"{example}"
        )
    flat = given and not any(isinstance(value, Mapping) for value in given.values())
    if flat and len(lattice.names) == 1:
        given = {lattice.names[0]: given}
    result: dict[str, dict[str, float]] = {}
    for sublattice, entries in given.items():
        if sublattice not in lattice.names:
            raise InputError(
                f"{name}: no sublattice {sublattice!r}; there are {', '.join(lattice.names)}"
            )
        species = lattice.sublattices[sublattice].species
        if not isinstance(entries, Mapping):
            raise InputError(
                f"{name} of {sublattice} are {shown(entries)}; give {numbers} by species"
            )
        result[sublattice] = {}
        for symbol, value in entries.items():
            if symbol not in species:
                raise InputError(f"{name}: {sublattice} holds {', '.join(species)}, not {symbol!r}")
            if not is_number(value):
                raise InputError(
                    f"the {each} of {symbol} on {sublattice} is {shown(value)}; give a finite "
                    f"number{' in ' + unit if unit else ''}"
                )
            result[sublattice][symbol] = float(value)
    return result


def frozen(values: Mapping[str, Mapping[str, float]]) -> BySpecies:
    """Return the numbers as mappings that cannot be changed."""
    return MappingProxyType({name: MappingProxyType(dict(v)) for name, v in values.items()})


def as_array(lattice: Lattice, values: BySpecies) -> np.ndarray:
    """Lay numbers out, [n_sublattices, n_species_max]; zero where none is given; read-only."""
    table = np.zeros((len(lattice.names), lattice.n_species_max))
    for row, (name, sublattice) in zip(table, lattice.sublattices.items(), strict=True):
        for k, symbol in enumerate(sublattice.species):
            row[k] = values.get(name, {}).get(symbol, 0.0)
    return read_only(table + 0.0)  # no negative zeros: equal ensembles have equal hashes


def warn_of_charges(lattice: Lattice, fixed: Iterable[str], stacklevel: int) -> None:
    """Warn of sublattices off ``fixed`` that exchange species of different charge."""
    for name, sublattice in lattice.sublattices.items():
        charges = sublattice.charges
        if charges is None or name in fixed or len(set(charges)) == 1:
            continue
        charged = ", ".join(f"{s} {q:+g}" for s, q in zip(sublattice.species, charges, strict=True))
        warnings.warn(
            f"sublattice {name} exchanges species of different charge ({charged}): the cell's "
            "charge fluctuates, which a potential trained on neutral crystals does not know "
            "(ChargeNeutral keeps it)",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
