"""Ladders of ensembles: how they are made, what is refused, and how their rungs are moved."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Self

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..protocols import Ensemble
from ..sublattice import is_number, is_whole, shown

__all__ = [
    "Spacing",
    "at_potentials",
    "at_temperatures",
    "barriers",
    "can_move",
    "check_cells",
    "checked_ladder",
    "conserved",
    "hottest",
    "places",
    "rungs_between",
    "same_counts",
]

FIRST_ROUND = 32  # attempts per pair of neighbours before the rungs move for the first time
LEAST_REJECTION, MOST_REJECTION = 1e-3, 0.999


# ---- making ladders


def at_temperatures(ensemble: Ensemble, temperatures: Iterable[float]) -> list[Ensemble]:
    """Return the ensemble at each of the temperatures (K)."""
    if not hasattr(ensemble, "with_temperature"):
        raise InputError(
            f"{type(ensemble).__name__} has no with_temperature: give the ladder as ensembles=[…]"
        )
    if isinstance(temperatures, str) or not isinstance(temperatures, Iterable):
        raise InputError(
            f"temperatures are {shown(temperatures)}; give kelvin, one for each rung, such as "
            "[900, 1000, 1100]"
        )
    return [ensemble.with_temperature(temperature) for temperature in temperatures]


def at_potentials(ensemble: Any, chemical_potentials: Mapping[str, Any]) -> list[Ensemble]:
    """Return the ensemble at each set of chemical potentials, lists of which run along the ladder.

    Raises
    ------
    InputError
        If the ensemble has no chemical potentials, or the lists are none or of different length.
    """
    if not is_dataclass(ensemble) or not hasattr(ensemble, "chemical_potentials"):
        raise InputError(
            f"{type(ensemble).__name__} has no chemical potentials: use a kernel in "
            "SemiGrandCanonical"
        )
    law: Any = ensemble
    if "chemical_potentials" not in {part.name for part in fields(law)}:  # positions besides
        inner = at_potentials(law.ensemble, chemical_potentials)
        return [_changed(law, {"ensemble": one}) for one in inner]
    names, given = law.lattice.names, chemical_potentials
    if not isinstance(given, Mapping):
        raise InputError(
            f"chemical_potentials are {shown(given)}; give lists by sublattice and species, such "
            "as {'B': {'Ta': [0.0, 0.1, 0.2]}}"
        )
    if len(names) == 1 and not any(isinstance(value, Mapping) for value in given.values()):
        given = {names[0]: given}
    lengths = {
        len(value)
        for species in given.values()
        if isinstance(species, Mapping)
        for value in species.values()
        if _is_list(value)
    }
    if len(lengths) != 1:
        raise InputError(
            f"chemical_potentials hold lists of {sorted(lengths) or 'no'} lengths: give one value "
            "per rung, as many for every species that changes"
        )
    rungs = []
    for rung in range(lengths.pop()):
        merged = {k: dict(v) for k, v in law.chemical_potentials.items()}
        for name, species in given.items():
            merged[name] = merged.get(name, {}) | {
                symbol: value[rung] if _is_list(value) else value
                for symbol, value in species.items()
            }
        rungs.append(_changed(ensemble, {"chemical_potentials": merged}))
    return rungs


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)


def rungs_between(first: Ensemble, last: Ensemble, n_rungs: int) -> list[Ensemble]:
    """Return ``n_rungs`` ensembles from one to another of its kind.

    Temperatures are spaced geometrically, all other numbers linearly.

    Raises
    ------
    InputError
        If the number is below two, or the ensembles differ in more than numbers.
    """
    if not is_whole(n_rungs, least=2):
        raise InputError(f"n_rungs is {shown(n_rungs)}; give a whole number, 2 or more")
    shares = np.linspace(0.0, 1.0, int(n_rungs))
    try:
        inner = [_between(first, last, float(share)) for share in shares[1:-1]]
    except _ApartError as error:
        raise InputError(
            f"there is no way from {type(first).__name__} to {type(last).__name__} ({error}): "
            "give two ensembles that differ in numbers alone, or ensembles=[…]"
        ) from None
    return [first, *inner, last]


class _ApartError(Exception):
    """Two ensembles differ in more than numbers."""


def _between(first: Any, last: Any, share: float) -> Any:
    """Ensemble a share of the way from one to another."""
    if type(first) is not type(last) or not is_dataclass(first):
        raise _ApartError("they are of different kinds, or their numbers are not known")
    changes = {
        part.name: _mixed(part.name, getattr(first, part.name), getattr(last, part.name), share)
        for part in fields(first)
        if part.init
    }
    changes = {k: _without_fixed(first, v) for k, v in changes.items()}
    return _changed(first, changes)


def _mixed(name: str, one: Any, other: Any, share: float) -> Any:
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        return {key: _mixed(name, one[key], other[key], share) for key in one}
    if one is other or one == other:
        return one
    if is_dataclass(one) and not isinstance(one, Lattice):
        return _between(one, other, share)
    if not (is_number(one) and is_number(other)):
        raise _ApartError(f"their {name} differs")
    if name == "temperature":
        return float(one ** (1.0 - share) * other**share)
    return float((1.0 - share) * one + share * other)


def _without_fixed(ensemble: Any, values: Any) -> Any:
    """Numbers by sublattice without those of sublattices that keep their counts."""
    if not isinstance(values, Mapping):
        return values
    return {name: v for name, v in values.items() if name not in getattr(ensemble, "fixed", ())}


def _changed(ensemble: Any, changes: Mapping[str, Any]) -> Any:
    """Return the ensemble with other numbers, without the warnings of its first making."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return replace(ensemble, **changes)


# ---- what is refused


def checked_ladder(ensembles: Iterable[Ensemble], lattice: Lattice) -> tuple[Ensemble, ...]:
    """Return the ensembles if replicas can be exchanged among them.

    Raises
    ------
    InputError
        If there are fewer than two, they are not all on the lattice, some keep the composition of
        what others let fluctuate, or their temperatures neither rise nor fall throughout.
    """
    if not isinstance(ensembles, Iterable):
        raise InputError(f"ensembles are {shown(ensembles)}; give a list, one for each rung")
    rungs = tuple(ensembles)
    if len(rungs) < 2:
        raise InputError(
            f"a ladder of {len(rungs)} rungs exchanges nothing: give two ensembles or more"
        )
    for rung, ensemble in enumerate(rungs):
        if not hasattr(ensemble, "lattice"):
            raise InputError(f"rung {rung} is {shown(ensemble)}; give ensembles such as Canonical")
        if ensemble.lattice != lattice:
            raise InputError(
                f"the ensemble of rung {rung} is on another lattice than the energy model: "
                "replicas can be exchanged on one lattice alone"
            )
        if conserved(ensemble) != conserved(rungs[0]):
            raise InputError(
                f"rung {rung} keeps the counts of {conserved(ensemble) or 'no sublattice'}, rung 0 "
                f"those of {conserved(rungs[0]) or 'none'}: a replica that comes from one may be "
                "impossible in the other; let all rungs keep the same"
            )
    temperatures = [getattr(ensemble, "temperature", None) for ensemble in rungs]
    if all(is_number(t) for t in temperatures):
        steps = np.diff(np.array(temperatures, dtype=float))
        if (steps != 0).any() and not ((steps > 0).all() or (steps < 0).all()):
            listed = ", ".join(f"{t:g}" for t in temperatures)
            raise InputError(
                f"temperatures {listed} K neither rise nor fall throughout: neighbours exchange, "
                "so sort them"
            )
    return rungs


def check_cells(ensembles: Sequence[Ensemble]) -> None:
    """Refuse a ladder on which the cell moves at some rungs alone.

    A replica would bring its cell to rungs that keep theirs, which nothing there weighs.
    """
    pressures = [getattr(ensemble, "pressure", None) for ensemble in ensembles]
    keeping = [rung for rung, pressure in enumerate(pressures) if pressure is None]
    if 0 < len(keeping) < len(pressures):
        raise InputError(
            f"rung {keeping[0]} keeps its cell while others have a pressure: replicas exchange "
            "their cells, too; give all rungs a pressure, or none"
        )


def conserved(ensemble: Ensemble) -> tuple[str, ...]:
    """Names of the sublattices whose counts an ensemble keeps."""
    return tuple(getattr(ensemble, "fixed", ()))


def same_counts(ensemble: Ensemble, occupations: np.ndarray) -> bool:
    """Whether occupations [n, n_sites] agree in the counts that an ensemble keeps."""
    lattice = ensemble.lattice
    kept = [s for s, name in enumerate(lattice.names) if name in conserved(ensemble)]
    counts = lattice.counts(occupations)[:, kept]
    return bool((counts == counts[:1]).all())


def hottest(ensembles: Sequence[Ensemble]) -> int:
    """Index of the ensemble with the highest temperature, the first where none has one."""
    return int(np.argmax([float(getattr(e, "temperature", 0.0)) for e in ensembles]))


# ---- moving the rungs


@dataclass(frozen=True)
class Spacing:
    r"""Where the rungs of a ladder stand, and how often neighbours were exchanged there.

    A path of ensembles has a barrier per length λ, the rejection rate of neighbours very close to
    one another over their distance; rungs at equal steps of its integral Λ have even exchange rates
    (Syed et al. 2022, doi:10.1111/rssb.12464). For normal energies whose width does not change in
    between, neighbours Λ apart refuse r = erf(√π Λ/2), which is taken to hold of all, so that a
    step too wide for any exchange is cut up at once. Each round of moving the rungs is as long as
    all before.

    ``positions`` float64 [n_rungs] from 0 to 1 along the path through the ladder as it was given;
    ``sums`` of acceptance probabilities and ``attempts`` [n_rungs − 1] since the rungs last moved;
    ``rates`` [n_rungs − 1] in the round before.
    """

    positions: np.ndarray
    sums: np.ndarray
    attempts: np.ndarray
    rates: np.ndarray
    rounds: int = 0

    @classmethod
    def of(cls, given: Sequence[Ensemble]) -> Self:
        """Rungs where they were given, nothing attempted."""
        none = np.zeros(len(given) - 1)
        return cls(places(given), none, none.astype(np.int64), none * np.nan)

    def seen(self, probabilities: np.ndarray) -> Self:
        """Take in acceptance probabilities [n_chains, n_rungs − 1], NaN where not attempted."""
        attempted = ~np.isnan(probabilities)
        return replace(
            self,
            sums=self.sums + np.where(attempted, probabilities, 0.0).sum(axis=0),
            attempts=self.attempts + attempted.sum(axis=0),
        )

    @property
    def is_due(self) -> bool:
        """Whether enough was attempted for the rungs to move."""
        return bool(self.attempts.min() >= FIRST_ROUND * 2**self.rounds)

    def moved(self) -> Self:
        """Return the rungs at equal steps of the barrier, the ends where they are."""
        rates = self.sums / self.attempts
        barrier = np.append(0.0, np.cumsum(barriers(rates)))
        wanted = np.linspace(0.0, barrier[-1], len(barrier))
        positions = np.interp(wanted, barrier, self.positions)
        positions[[0, -1]] = self.positions[[0, -1]]
        none = np.zeros_like(self.sums)
        return type(self)(positions, none, np.zeros_like(self.attempts), rates, self.rounds + 1)

    @property
    def present_rates(self) -> np.ndarray:
        """Exchange rates where the rungs are now, or before they last moved; NaN where unknown."""
        enough = self.attempts.min() >= FIRST_ROUND // 2 or self.rounds == 0
        known = np.maximum(self.attempts, 1)
        here = np.where(self.attempts > 0, self.sums / known, np.nan)
        return here if enough else self.rates

    def ensembles(self, given: Sequence[Ensemble]) -> list[Ensemble]:
        """Return the ensembles at the positions, along the path through the given ones."""
        known, rungs = places(given), []
        for position in self.positions:
            below = min(int(np.searchsorted(known, position, side="right")) - 1, len(given) - 2)
            width = known[below + 1] - known[below]
            share = float((position - known[below]) / width) if width else 1.0
            if share in (0.0, 1.0):
                rungs.append(given[below + int(share)])
            else:
                rungs.append(_between(given[below], given[below + 1], share))
        return rungs

    def to_arrays(self) -> dict[str, Any]:
        """Plain arrays and numbers of everything."""
        return dict(vars(self))


def places(given: Sequence[Ensemble]) -> np.ndarray:
    """Where rungs are along the path through them, from 0 to 1, [n_rungs].

    Every number that changes counts by its share of its range, temperatures by their logarithm.
    """
    numbers = [_numbers(ensemble) for ensemble in given]
    names = sorted(set.intersection(*(set(one) for one in numbers)))
    table = np.array([[one[name] for name in names] for one in numbers])
    changing = table[:, np.ptp(table, axis=0) > 0]
    if not changing.size:
        return np.linspace(0.0, 1.0, len(given))
    steps = np.abs(np.diff(changing, axis=0)) / np.ptp(changing, axis=0)
    path = np.append(0.0, np.cumsum(steps.sum(axis=1)))
    return path / path[-1]


def _numbers(value: Any, name: str = "") -> dict[str, float]:
    """Numbers that an ensemble was made with, by name; the logarithm of temperatures."""
    if is_number(value):
        return {name: float(np.log(value)) if name.endswith("temperature") else float(value)}
    parts: dict[str, Any] = {}
    if isinstance(value, Mapping):
        parts = {str(key): one for key, one in value.items()}
    elif is_dataclass(value) and not isinstance(value, Lattice | type):
        parts = {part.name: getattr(value, part.name) for part in fields(value) if part.init}
    found: dict[str, float] = {}
    for key, one in parts.items():
        found |= _numbers(one, f"{name}.{key}")
    return found


def barriers(rates: np.ndarray) -> np.ndarray:
    """Barrier Λ between neighbours that exchange at these rates, [n_rungs − 1]."""
    refused = np.clip(1.0 - rates, LEAST_REJECTION, MOST_REJECTION)
    normal = NormalDist()
    return np.array([np.sqrt(2.0 / np.pi) * normal.inv_cdf((1.0 + r) / 2.0) for r in refused])


def can_move(given: Sequence[Ensemble]) -> bool:
    """Whether there is a path through a ladder, along which its rungs can move."""
    try:
        for first, last in pairwise(given):
            _between(first, last, 0.5)
    except _ApartError:
        return False
    return True
