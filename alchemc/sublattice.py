"""Sublattices: named sets of sites, the species they may hold, and the charges of these."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from .errors import InputError

__all__ = ["VACANCY", "Sublattice"]

VACANCY = "X"
"""The species symbol of an empty site, with atomic number 0 as in ASE."""


@dataclass(frozen=True)
class Sublattice:
    """A set of sites among which species may be exchanged.

    Parameters
    ----------
    sites
        A chemical symbol (every atom of that element in the reference structure), several
        symbols, or the indices of the atoms.
    species
        Allowed species, in the order that occupations count them. ``"X"`` is a vacancy.
    charges
        Charge of each species in units of e, in the order of ``species`` or as a mapping from
        species to charge. A vacancy has no default charge.

    Raises
    ------
    InputError
        For an unknown or repeated species, a charge state in place of an element, species or
        charges without an order, a missing charge, no sites, or repeated or negative indices.

    Examples
    --------
    >>> Sublattice(sites="Ti", species=("Sc", "Ta"), charges=(3, 5))
    Sublattice(sites='Ti', species=('Sc', 'Ta'), charges=(3.0, 5.0))
    """

    sites: str | Sequence[str] | Sequence[int]
    species: tuple[str, ...]
    charges: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", _parse_sites(self.sites))
        object.__setattr__(self, "species", _parse_species(self.species))
        if self.charges is not None:
            object.__setattr__(self, "charges", _parse_charges(self.charges, self.species))

    def resolve(self, numbers: np.ndarray, name: str) -> Sublattice:
        """Replace symbols by the sorted indices of the atoms they select.

        Parameters
        ----------
        numbers
            Atomic numbers of the reference structure, [n_atoms].
        name
            The sublattice's name, for messages.
        """
        if isinstance(self.sites, str) or isinstance(self.sites[0], str):
            indices = _select(self.sites, numbers, name)
        else:
            indices = np.sort(np.asarray(self.sites, dtype=np.int64))
            if indices[-1] >= len(numbers):
                raise InputError(
                    f"sublattice {name!r}: atom index {indices[-1]} is out of range; "
                    f"the structure has {len(numbers)} atoms, counted from 0"
                )
        return Sublattice(tuple(indices.tolist()), self.species, self.charges)


def shown(value: object, limit: int = 80) -> str:
    """Write a value for a message: its repr on one line, cut if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def suggestion(name: object, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, or all of them."""
    options = sorted(set(known))
    close = difflib.get_close_matches(str(name), options, n=1)
    if len(options) == 1:
        close = options
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(options)}"


def check_symbol(symbol: object, role: str) -> str:
    """Validate one chemical symbol ("X" included) and return it."""
    if isinstance(symbol, str) and symbol in atomic_numbers:
        return str(symbol)
    stem = re.fullmatch(r"([A-Z][a-z]?)\d*[.,]?\d*[+-]+\d*", str(symbol))
    if stem and stem[1] in atomic_numbers:
        raise InputError(
            f"{role} {symbol!r} is a charge state, not an element; write {stem[1]!r} and give its "
            "charge in charges (two charge states of one element cannot share a sublattice)"
        )
    likely = _likely(str(symbol))
    hint = suggestion(symbol, likely) if likely else "write one such as 'Ti' ('X' is a vacancy)"
    raise InputError(f"{role} {shown(symbol)} is not a chemical symbol; {hint}")


def _likely(symbol: str) -> list[str]:
    wanted = symbol.strip().capitalize()
    return (
        [wanted] if wanted in atomic_numbers else [s for s in atomic_numbers if s[0] == wanted[:1]]
    )


def _parse_sites(sites: Any) -> str | tuple[str, ...] | tuple[int, ...]:
    if isinstance(sites, str):
        return check_symbol(sites, "sites")
    try:
        values = sites.tolist() if isinstance(sites, np.ndarray) else list(sites)
    except TypeError:
        raise InputError(
            f"sites is {shown(sites)}; give a chemical symbol, several symbols, or atom indices"
        ) from None
    if not values:
        raise InputError("sites is empty; a sublattice needs at least one site")
    if all(isinstance(value, str) for value in values):
        return tuple(check_symbol(value, "sites") for value in values)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(
                f"sites holds {shown(value)}; give either symbols or whole atom indices, not both"
            )
    if min(values) < 0:
        raise InputError(f"sites holds atom index {min(values)}; indices count from 0")
    if max(values) > np.iinfo(np.int64).max:
        raise InputError(f"sites holds atom index {max(values)}; no structure has so many atoms")
    indices = np.array(values, dtype=np.int64)
    ordered, count = np.unique(indices, return_counts=True)
    if len(ordered) < len(indices):
        raise InputError(
            f"sites holds atom index {ordered[count > 1][0]} twice; give each atom once"
        )
    return tuple(indices.tolist())


def _parse_species(species: Any) -> tuple[str, ...]:
    if isinstance(species, str | AbstractSet) or not isinstance(species, Iterable):
        raise InputError(
            f"species is {shown(species)}; give a sequence of symbols such as ('Sc', 'Ta')"
        )
    symbols = tuple(check_symbol(symbol, "species") for symbol in species)
    if not symbols:
        raise InputError("species is empty; a sublattice needs at least one allowed species")
    for symbol in symbols:
        if symbols.count(symbol) > 1:
            raise InputError(
                f"species {symbol!r} stands twice in {symbols}; the potential cannot tell two "
                "charge states of one element apart, so give each element once"
            )
    return symbols


def _parse_charges(charges: Any, species: tuple[str, ...]) -> tuple[float, ...]:
    if isinstance(charges, Mapping):
        unknown = [symbol for symbol in charges if symbol not in species]
        if unknown:
            raise InputError(
                f"charges names {unknown[0]!r}, which is no species here; "
                f"{suggestion(unknown[0], species)}"
            )
        missing = [symbol for symbol in species if symbol not in charges]
        if missing:
            what = "the vacancy 'X' (often 0)" if missing[0] == VACANCY else repr(missing[0])
            raise InputError(f"charges lacks {what}; give the charge of every species explicitly")
        values = [charges[symbol] for symbol in species]
    elif isinstance(charges, Iterable) and not isinstance(charges, str | AbstractSet):
        values = list(charges)
    else:
        raise InputError(f"charges is {shown(charges)}; give one number per species of {species}")
    if len(values) != len(species):
        raise InputError(
            f"charges holds {len(values)} values for the {len(species)} species {species}; "
            "give one per species, a vacancy 'X' included"
        )
    return tuple(check_charge(value, symbol) for value, symbol in zip(values, species, strict=True))


def is_number(value: object) -> bool:
    """Whether a value is a real number that a float can hold (a bool is none)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_whole(value: object, least: int) -> bool:
    """Whether a value is a whole number of at least ``least`` (a bool is none)."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False
    return bool(value >= least)


def check_charge(value: Any, symbol: str) -> float:
    """Validate one charge in units of e."""
    if not is_number(value):
        raise InputError(
            f"the charge of {symbol!r} is {shown(value)}; give a finite number in units of e"
        )
    return float(value) + 0.0  # −0.0 becomes 0.0


def resolve_all(sublattices: Any, numbers: np.ndarray) -> dict[str, Sublattice]:
    """Sublattices with atom indices in place of symbols, disjoint and all or none charged."""
    if not isinstance(sublattices, Mapping) or not sublattices:
        raise InputError(
            f"sublattices is {shown(sublattices)}; give at least one, such as "
            "{'B': Sublattice('Ti', ('Sc', 'Ta'))}"
        )
    owner = np.full(len(numbers), -1, dtype=np.int64)
    resolved: dict[str, Sublattice] = {}
    for number, (name, sublattice) in enumerate(sublattices.items()):
        if not isinstance(name, str) or not name or not name.isprintable():
            raise InputError(f"a sublattice is called {shown(name)}; give a name such as 'B'")
        if not isinstance(sublattice, Sublattice):
            raise InputError(
                f"sublattice {name!r} is a {type(sublattice).__name__}; give a Sublattice"
            )
        resolved[name] = sublattice.resolve(numbers, name)
        sites = np.array(resolved[name].sites)
        taken = sites[owner[sites] >= 0]
        if len(taken):
            first = list(resolved)[owner[taken[0]]]
            raise InputError(
                f"atom {taken[0]} belongs to the sublattices {first!r} and {name!r}; "
                "give each site to one sublattice"
            )
        owner[sites] = number
    charged = [name for name, s in resolved.items() if s.charges is not None]
    if charged and len(charged) < len(resolved):
        without = next(name for name in resolved if name not in charged)
        raise InputError(
            f"sublattice {without!r} has no charges but {charged[0]!r} has; "
            "give charges for every sublattice or for none"
        )
    return resolved


def check_elements(numbers: np.ndarray) -> None:
    """Refuse atomic numbers that no element has."""
    wrong = (numbers < 0) | (numbers >= len(chemical_symbols))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InputError(
            f"atom {index} has atomic number {numbers[index]}; give 1 to "
            f"{len(chemical_symbols) - 1}, or 0 for a vacancy"
        )


def check_spectators(numbers: np.ndarray, indices: np.ndarray) -> None:
    """Refuse vacancies among the atoms that belong to no sublattice."""
    if (numbers == 0).any():
        raise InputError(
            f"atom {indices[np.argmin(numbers)]} is 'X' but belongs to no sublattice; "
            "remove it or make it a site"
        )


def parse_spectator_charges(charges: Any, numbers: np.ndarray) -> dict[str, float]:
    """Charges in e of exactly the elements that the spectators have."""
    present = _present(numbers)
    if not isinstance(charges, Mapping):
        raise InputError(f"spectator_charges is {shown(charges)}; give charges such as {{'O': -2}}")
    for symbol in charges:
        if symbol not in present:
            hint = suggestion(symbol, present) if present else "the lattice has no spectators"
            raise InputError(f"spectator_charges names {symbol!r}, which is no spectator; {hint}")
    for symbol in present:
        if symbol not in charges:
            raise InputError(
                f"spectator_charges lacks {symbol!r}; give the charge of every spectator"
            )
    return {symbol: check_charge(value, symbol) for symbol, value in charges.items()}


def _select(symbols: Any, numbers: np.ndarray, name: str) -> np.ndarray:
    wanted = (symbols,) if isinstance(symbols, str) else symbols
    chosen = np.zeros(len(numbers), dtype=bool)
    for symbol in wanted:
        matches = numbers == atomic_numbers[symbol]
        if not matches.any():
            raise InputError(
                f"sublattice {name!r}: the structure has no {symbol!r} atom; "
                f"it holds {', '.join(_present(numbers))}"
            )
        chosen |= matches
    return np.flatnonzero(chosen)


def _present(numbers: np.ndarray) -> list[str]:
    present = set(np.unique(numbers).tolist())
    return [symbol for symbol, number in atomic_numbers.items() if number in present]
