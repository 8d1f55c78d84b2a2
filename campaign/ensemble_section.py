"""``[ensemble]``: what is sampled at which temperatures, and what is scanned in which direction."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .section import Finite, Name, Positive, Section, quoted

__all__ = ["OPEN", "Ensemble", "Scan", "Visit"]

OPEN = ("semi-grand", "variance-constrained")
"""Kinds in which every site may change its species by itself."""

_OPTIONS: dict[str, tuple[str, ...]] = {
    "canonical": (),
    "semi-grand": ("chemical_potentials", "fixed"),
    "variance-constrained": ("phi", "kappa", "fixed"),
    "charge-neutral": ("chemical_potentials", "charge", "fixed"),
}
_FIELDS = {"chemical_potentials": "mu", "phi": "phi"}
_UNITS = {"chemical_potentials": "a number of eV", "phi": "a number"}
_EXAMPLES = {
    "chemical_potentials": "chemical_potentials = { B = { Ta = [-0.2, 0.0, 0.2] } }",
    "phi": "phi = { B = { Sc = [-1.8, -1.0, -0.2] } }, for every species but the last",
}
_RANGE = ("from", "to", "steps")
_MOST_STEPS = 1000

Values = dict[str, dict[str, float | list[float]]]


class Scan(NamedTuple):
    """What is scanned: ``prefix`` of its coordinate, sublattice, species, and rising values."""

    prefix: str
    sublattice: str
    species: str
    values: tuple[float, ...]


class Visit(NamedTuple):
    """One point: its temperature (K), the scanned value if there is one, and the way it is on.

    ``way`` is 0, or 1 on the way back; None where there is no way back.
    """

    temperature: float
    value: float | None
    way: int | None


def _falling(temperatures: list[float]) -> list[float]:
    if len(set(temperatures)) != len(temperatures):
        raise ValueError("every temperature may be given once")
    return sorted((float(value) for value in temperatures), reverse=True)


def _scannable(field: str) -> BeforeValidator:
    """Make a validator of numbers by sublattice and species; one may be a list or a range."""

    def read(given: Any) -> Values | None:
        if given is None:
            return None
        example = _EXAMPLES[field]
        if not isinstance(given, Mapping) or not given:
            raise ValueError(
                f"{given!r}: give {_UNITS[field]} by sublattice and species, {example}"
            )
        found: Values = {}
        for sublattice, entries in given.items():
            if not isinstance(entries, Mapping) or not entries:
                raise ValueError(f"{sublattice} = {entries!r}: give species and numbers, {example}")
            found[str(sublattice)] = {
                str(species): _number_or_list(f"{sublattice}.{species}", value, _UNITS[field])
                for species, value in entries.items()
            }
        scanned = [
            f"{s}.{k}" for s, v in found.items() for k, x in v.items() if isinstance(x, list)
        ]
        if len(scanned) > 1:
            raise ValueError(f"{' and '.join(scanned)} are lists: one of them at most is scanned")
        return found

    return BeforeValidator(read)


def _number_or_list(where: str, value: Any, unit: str) -> float | list[float]:
    if isinstance(value, Mapping):
        value = _range(where, value)
    if isinstance(value, list | tuple):
        if len(value) < 2:
            raise ValueError(f"{where} = {list(value)}: a scan has two values or more")
        numbers = [_number(f"{where}[{k}]", entry, unit) for k, entry in enumerate(value)]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"{where}: every value may be given once")
        return sorted(numbers)
    return _number(where, value, f"{unit}, a list, or {{ from = -0.4, to = 0.4, steps = 21 }}")


def _number(where: str, value: Any, expected: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where} = {value!r}: give {expected}")
    return float(value)


def _range(where: str, given: Mapping[str, Any]) -> list[float]:
    """List ``steps`` values from one end to the other, as they would be typed."""
    for key in given:
        if key not in _RANGE:
            close = difflib.get_close_matches(str(key), _RANGE, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known here: {quoted(_RANGE)}"
            raise ValueError(f"unknown key '{where}.{key}'; {hint}")
    if missing := [key for key in _RANGE if key not in given]:
        raise ValueError(f"{where}: a range needs {quoted(missing)} as well")
    first, last = (_number(f"{where}.{key}", given[key], "a number") for key in _RANGE[:2])
    steps = given["steps"]
    if isinstance(steps, bool) or not isinstance(steps, int) or not 2 <= steps <= _MOST_STEPS:
        raise ValueError(f"{where}.steps = {steps!r}: give a whole number, 2 to {_MOST_STEPS}")
    if first == last:
        raise ValueError(f"{where}: 'from' and 'to' are the same; give a number instead")
    return [round(first + (last - first) * k / (steps - 1), 12) for k in range(steps)]


class Ensemble(Section):
    """What is sampled: the ensemble, its temperatures (K), and what is scanned.

    ``chemical_potentials`` (eV) and ``phi`` are given by sublattice and species; one of them may be
    a list or ``{ from, to, steps }``: it is scanned at every temperature. Without such a list the
    temperatures are swept. ``sweep`` is the direction, ``"both"`` goes there and back: by default
    temperatures fall once and scans go up and down. ``fixed`` sublattices keep their composition.
    ``kappa`` is by default half the sites of the smallest sublattice that fluctuates, 200 at most.
    ``charge`` is the sum over the sites of a charge-neutral run: by default minus the spectators'
    charge, or that of the start where they have none.
    """

    kind: Literal["canonical", "semi-grand", "variance-constrained", "charge-neutral"] = "canonical"
    temperatures: Annotated[list[Positive], Field(min_length=1), AfterValidator(_falling)]
    chemical_potentials: Annotated[Values | None, _scannable("chemical_potentials")] = None
    phi: Annotated[Values | None, _scannable("phi")] = None
    kappa: Positive | None = None
    charge: Finite | None = None
    fixed: Annotated[list[Name], Field(min_length=1)] | None = None
    sweep: Literal["down", "up", "both"] | None = None

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        own = _OPTIONS[self.kind]
        for key in {k for keys in _OPTIONS.values() for k in keys}:
            if getattr(self, key) is not None and key not in own:
                homes = " or ".join(f"'{kind}'" for kind, keys in _OPTIONS.items() if key in keys)
                raise ValueError(f"'{key}' belongs to kind = {homes}, not to '{self.kind}'")
        for key in _FIELDS:
            if key in own and getattr(self, key) is None:
                raise ValueError(f"kind = '{self.kind}' needs '{key}', such as {_EXAMPLES[key]}")
        return self

    @model_validator(mode="after")
    def _there_and_back_takes_two_points(self) -> Self:
        if self.sweep == "both" and self.scan is None and len(self.temperatures) < 2:
            raise ValueError("sweep = 'both' needs two temperatures or more, or something to scan")
        return self

    @property
    def scan(self) -> Scan | None:
        """What is scanned at every temperature; None where the temperatures are swept."""
        for key, prefix in _FIELDS.items():
            for sublattice, entries in (getattr(self, key) or {}).items():
                for species, value in entries.items():
                    if isinstance(value, list):
                        return Scan(prefix, sublattice, species, tuple(value))
        return None

    @property
    def direction(self) -> str:
        """The direction with its default: temperatures fall once, scans go up and down."""
        return self.sweep or ("down" if self.scan is None else "both")

    def at(self, key: str, visit: Visit) -> dict[str, dict[str, float]]:
        """Chemical potentials, or φ, at a point: numbers alone."""
        return {
            sublattice: {
                species: float(visit.value or 0.0) if isinstance(value, list) else value
                for species, value in entries.items()
            }
            for sublattice, entries in (getattr(self, key) or {}).items()
        }

    def visits(self) -> Iterator[Visit]:
        """Points in the order in which they are visited."""
        scan = self.scan
        if scan is None:
            for way, values in _ways(tuple(reversed(self.temperatures)), self.direction, "down"):
                yield from (Visit(t, None, way) for t in values)
            return
        for temperature in self.temperatures:
            for way, values in _ways(scan.values, self.direction, "up"):
                yield from (Visit(temperature, value, way) for value in values)


def _ways(
    rising: tuple[float, ...], direction: str, first: str
) -> Iterator[tuple[int | None, tuple[float, ...]]]:
    """Index and values of one way, or of the way there, ``first``, and of the way back."""
    orders = {"up": rising, "down": tuple(reversed(rising))}
    if direction != "both":
        yield None, orders[direction]
        return
    yield 0, orders[first]
    yield 1, orders["down" if first == "up" else "up"]
