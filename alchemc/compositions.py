"""Compositions: fractions per sublattice, exact counts, and the arrangements they allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import InputError
from .sublattice import Sublattice, is_number, shown, suggestion

__all__ = ["Composition"]

Composition = Mapping[str, Mapping[str, float]]
"""Fractions of the species on each sublattice, such as ``{"B": {"Sc": 0.5, "Ta": 0.5}}``."""

_SUM_TOLERANCE = 1e-3  # fractions typed with three digits, such as 0.333 + 0.667
_COUNT_TOLERANCE = 1e-2
MAX_STATES = 10**6


def parse_fractions(
    sublattices: Mapping[str, Sublattice], composition: Composition, complete: bool = True
) -> dict[str, np.ndarray]:
    """Fractions as arrays [n_species] per sublattice, normalised to a sum of one.

    A species left out has fraction zero; a sublattice with one species needs no entry. With
    ``complete=False`` other sublattices may be left out too.

    Raises
    ------
    InputError
        For unknown names, negative or non-finite fractions, or a sum that is not one.
    """
    if not isinstance(composition, Mapping):
        raise InputError(
            f"composition is {shown(composition)}; give fractions per sublattice such as "
            "{'B': {'Sc': 0.5, 'Ta': 0.5}}"
        )
    for name in composition:
        if name not in sublattices:
            raise InputError(
                f"composition names the sublattice {name!r}, which does not exist; "
                f"{suggestion(name, sublattices)}"
            )
    fractions = {}
    for name, sublattice in sublattices.items():
        if name in composition:
            fractions[name] = _one(name, sublattice.species, composition[name])
        elif len(sublattice.species) == 1:
            fractions[name] = np.ones(1)
        elif complete:
            raise InputError(
                f"composition lacks the sublattice {name!r}; give a fraction for each of "
                f"{', '.join(sublattice.species)}"
            )
    return fractions


def _one(name: str, species: tuple[str, ...], entry: Any) -> np.ndarray:
    if not isinstance(entry, Mapping):
        raise InputError(
            f"the composition of {name!r} is {shown(entry)}; give fractions by "
            f"species such as {{{species[0]!r}: 1.0}}"
        )
    values = np.zeros(len(species))
    for symbol, value in entry.items():
        if symbol not in species:
            raise InputError(
                f"composition puts {symbol!r} on sublattice {name!r}; {suggestion(symbol, species)}"
            )
        if not is_number(value):
            raise InputError(
                f"the fraction of {symbol!r} on sublattice {name!r} is {shown(value)}; give a "
                "number from 0 to 1"
            )
        if not 0 <= value <= 1:
            raise InputError(
                f"the fraction of {symbol!r} on sublattice {name!r} is {value}; it must lie "
                "between 0 and 1 (fractions, not numbers of sites)"
            )
        values[species.index(symbol)] = value
    total = values.sum()
    if abs(total - 1) > _SUM_TOLERANCE:
        raise InputError(
            f"the fractions on sublattice {name!r} add up to {total:.6g}; they must add up to 1"
        )
    return values / total


def freeze(sublattices: Mapping[str, Sublattice], composition: Composition) -> Composition:
    """Validate a nominal composition, which may leave sublattices out, and make it read-only."""
    parse_fractions(sublattices, composition, complete=False)
    return MappingProxyType(
        {
            name: MappingProxyType({symbol: float(x) for symbol, x in entry.items()})
            for name, entry in composition.items()
        }
    )


def exact_counts(
    sublattices: Mapping[str, Sublattice], composition: Composition
) -> dict[str, tuple[int, ...]]:
    """Whole numbers of sites per species for each sublattice.

    Raises
    ------
    InputError
        If a fraction is not a whole number of sites; the message lists the nearest that is.
    """
    counts = {}
    for name, fractions in parse_fractions(sublattices, composition).items():
        n_sites = len(sublattices[name].sites)
        nearest = _nearest_counts(fractions, n_sites)
        if np.abs(fractions * n_sites - nearest).max() > _COUNT_TOLERANCE:
            species = sublattices[name].species
            asked = ", ".join(f"{s} {x:.6g}" for s, x in zip(species, fractions, strict=True))
            possible = ", ".join(
                f"{s} {c / n_sites:.6g} ({c} of {n_sites})"
                for s, c in zip(species, nearest, strict=True)
            )
            raise InputError(
                f"composition {asked} is no whole number of the {n_sites} sites of sublattice "
                f"{name!r}; the nearest possible is {possible}, or use another supercell"
            )
        counts[name] = tuple(nearest.tolist())
    return counts


def _nearest_counts(fractions: np.ndarray, n_sites: int) -> np.ndarray:
    """Find the counts of least deviation that add up to ``n_sites`` (largest remainders)."""
    exact = fractions * n_sites
    counts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: n_sites - counts.sum()]] += 1
    return counts


def site_slices(sublattices: Mapping[str, Sublattice]) -> dict[str, slice]:
    """Part of the site axis that belongs to each sublattice."""
    ends = np.cumsum([len(s.sites) for s in sublattices.values()]).tolist()
    return dict(zip(sublattices, map(slice, [0, *ends], ends), strict=False))


def check_occupations(occupations: Any, sublattices: Mapping[str, Sublattice]) -> np.ndarray:
    """Validate occupations [n_sites] or [n_replicas, n_sites]; an int8 copy of the same shape."""
    try:
        given = np.asarray(occupations)
    except ValueError:
        raise InputError("occupations differ in length; give an array of integers") from None
    slices = site_slices(sublattices)
    n_sites = list(slices.values())[-1].stop
    if given.dtype.kind not in "iu":
        raise InputError(f"an occupation holds {given.dtype} values; give integer species indices")
    if given.ndim not in (1, 2) or given.shape[-1] != n_sites:
        raise InputError(
            f"an occupation has shape {given.shape}; expected ({n_sites},) or "
            f"(n_replicas, {n_sites})"
        )
    for name, sublattice in sublattices.items():
        part = given[..., slices[name]]
        wrong = (part < 0) | (part >= len(sublattice.species))
        if wrong.any():
            at = np.argwhere(wrong)[0]
            replica = f" of replica {at[0]}" if given.ndim == 2 else ""
            raise InputError(
                f"site {slices[name].start + at[-1]}{replica} holds species index "
                f"{part[tuple(at)]}; on sublattice {name!r} it may be 0 to "
                f"{len(sublattice.species) - 1} ({', '.join(sublattice.species)})"
            )
    return given.astype(np.int8)


def count_species(occupations: np.ndarray, sublattices: Mapping[str, Sublattice]) -> np.ndarray:
    """Count the sites per species, int64 [..., n_sublattices, n_species_max]."""
    widest = max(len(s.species) for s in sublattices.values())
    counts = np.zeros((*occupations.shape[:-1], len(sublattices), widest), dtype=np.int64)
    for s, part in enumerate(site_slices(sublattices).values()):
        for k in range(widest):
            counts[..., s, k] = (occupations[..., part] == k).sum(axis=-1)
    return counts


def random_occupations(
    counts: Mapping[str, tuple[int, ...]], rng: np.random.Generator, n_replicas: int
) -> np.ndarray:
    """Independent, uniformly random arrangements with exact counts, int8 [n_replicas, n_sites]."""
    blocks = []
    for numbers in counts.values():
        ordered = np.repeat(np.arange(len(numbers), dtype=np.int8), numbers)
        blocks.append(rng.permuted(np.tile(ordered, (n_replicas, 1)), axis=1))
    return np.concatenate(blocks, axis=1)


def number_of_states(
    sublattices: Mapping[str, Sublattice], counts: Mapping[str, tuple[int, ...]] | None
) -> int:
    """How many arrangements there are, at fixed counts or (``None``) at any composition."""
    if counts is None:
        return math.prod(len(s.species) ** len(s.sites) for s in sublattices.values())
    return math.prod(_multinomial(numbers) for numbers in counts.values())


def _multinomial(counts: tuple[int, ...]) -> int:
    total, result = 0, 1
    for count in counts:
        total += count
        result *= math.comb(total, count)
    return result


def all_occupations(
    sublattices: Mapping[str, Sublattice], counts: Mapping[str, tuple[int, ...]] | None
) -> np.ndarray:
    """Every arrangement once, int8 [n_states, n_sites], in lexicographic order.

    Raises
    ------
    InputError
        If there are more than 10⁶.
    """
    n_states = number_of_states(sublattices, counts)
    if n_states > MAX_STATES:
        size = str(n_states) if n_states < 10**12 else f"about 10^{int(math.log10(n_states))}"
        raise InputError(
            f"{size} arrangements are too many to enumerate (at most {MAX_STATES}); use a smaller "
            "supercell or fix the composition"
        )
    states = np.zeros((1, 0), dtype=np.int8)
    for name, sublattice in sublattices.items():
        n_sites = len(sublattice.sites)
        left = counts[name] if counts is not None else (n_sites,) * len(sublattice.species)
        words = _words(left, n_sites)
        states = np.concatenate(
            [np.repeat(states, len(words), axis=0), np.tile(words, (len(states), 1))], axis=1
        )
    return states


def _words(available: tuple[int, ...], length: int) -> np.ndarray:
    """All words of ``length`` letters that use letter k at most ``available[k]`` times."""
    words = np.zeros((1, length), dtype=np.int8)
    left = np.array([available], dtype=np.int32)
    for position in range(length):
        rows, letters = np.nonzero(left > 0)
        words, left = words[rows], left[rows]
        words[:, position] = letters
        left[np.arange(len(rows)), letters] -= 1
    return words


def held_too_closely(
    sublattices: Mapping[str, Sublattice], coordinates: Mapping[str, float]
) -> str:
    """Say where κ leaves a fraction less than half a step between compositions; empty if nowhere.

    The slope of the free energy follows from where the mean settles, which then depends on where
    the compositions lie: in an ideal mixture of N sites (8 or more, c from 0.2 to 0.8) it is off by
    0.12 k_BT at most at κ = N, 0.3 at 2N, 1.4 at 4N.

    Parameters
    ----------
    sublattices
        By name.
    coordinates
        Of a point, with ``kappa`` and φ where its variance is constrained.
    """
    for name, sublattice in sublattices.items():
        kappa = coordinates.get(f"kappa_{name}", coordinates.get("kappa"))
        n = len(sublattice.sites)
        constrained = any(f"phi_{name}_{species}" in coordinates for species in sublattice.species)
        if kappa is not None and constrained and kappa > 2.0 * n:
            spread = 1.0 / math.sqrt(2.0 * kappa * n)
            return (
                f"κ = {kappa:g} holds fractions on {name} to {spread:.2g}, less than half the step "
                f"1/{n} between compositions: chains stand on one or two, and the "
                f"slopes of the free energy say little; take κ = {n / 2.0:g}."
            )
    return ""
