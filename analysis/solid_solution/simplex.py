"""Compositions of groups of sites as points of a product of simplices, and projections on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError
from ...lattice import Lattice
from ...sublattice import is_number, shown, suggestion

__all__ = ["GroupSpace", "group_space", "onto_simplex"]


@dataclass(frozen=True)
class GroupSpace:
    """Groups of sites that share their λ, and which fractions of theirs are free.

    ``members``: sites of every group; ``allowed`` and ``free`` bool [n_groups, n_species_max];
    ``held`` [n_groups, n_species_max] are the fixed fractions, zero elsewhere; ``rest`` is λ of
    all sites [n_sites, n_species_max], used where a site is in no group.
    """

    lattice: Lattice
    names: tuple[str, ...]
    members: tuple[np.ndarray, ...]
    allowed: np.ndarray
    free: np.ndarray
    held: np.ndarray
    rest: np.ndarray

    def lam(self, weights: np.ndarray) -> np.ndarray:
        """λ [n_sites, n_species_max] of the fractions of the groups."""
        found = self.rest.copy()
        for sites, row in zip(self.members, weights, strict=True):
            found[sites] = row
        return found

    def gathered(self, gradient: np.ndarray) -> np.ndarray:
        """Return the derivative by the fractions of the groups from that by λ of the sites."""
        return np.array([gradient[sites].sum(axis=0) for sites in self.members])

    def projected(self, weights: np.ndarray) -> np.ndarray:
        """Nearest fractions that are not negative, add up to one and keep what is held."""
        found = self.held.copy()
        for row, given, free in zip(found, weights, self.free, strict=True):
            row[free] = onto_simplex(given[free], 1.0 - row.sum())
        return found

    def tangent(self, gradient: np.ndarray) -> np.ndarray:
        """Part of a gradient along which the fractions of every group still add up to one."""
        found = np.where(self.free, gradient, 0.0)
        mean = found.sum(axis=1, keepdims=True) / np.maximum(self.free.sum(axis=1), 1)[:, None]
        return np.where(self.free, found - mean, 0.0)

    def named(self, weights: np.ndarray) -> dict[str, dict[str, float]]:
        """Fractions by the names of groups and species."""
        return {
            name: {
                symbol: float(value)
                for symbol, value in zip(self.lattice.species_of(int(sites[0])), row, strict=False)
            }
            for name, sites, row in zip(self.names, self.members, weights, strict=True)
        }


def onto_simplex(values: np.ndarray, total: float = 1.0) -> np.ndarray:
    """Nearest point of {w ≥ 0, Σ w = total}.

    By sorting: J. Duchi, S. Shalev-Shwartz, Y. Singer and T. Chandra, ICML 2008, 272,
    doi:10.1145/1390156.1390191.

    Examples
    --------
    >>> onto_simplex(np.array([0.9, 0.5, -0.2])).round(3).tolist()
    [0.7, 0.3, 0.0]
    """
    descending = np.sort(values)[::-1]
    excess = np.cumsum(descending) - total
    n = np.arange(1, len(values) + 1)
    last = np.flatnonzero(descending * n > excess)
    if len(last) == 0:  # nothing is left to share out
        return np.zeros_like(values)
    shift = excess[last[-1]] / n[last[-1]]
    return np.asarray(np.maximum(values - shift, 0.0))


def group_space(
    lattice: Lattice,
    groups: Mapping[str, Sequence[int]] | Any,
    start: Mapping[str, Mapping[str, float]] | None,
    fixed: Mapping[str, Mapping[str, float]] | None,
) -> tuple[GroupSpace, np.ndarray]:
    """Make the groups with their constraints, and the fractions to start from.

    Parameters
    ----------
    lattice
        Sites and species.
    groups
        Sites by name of a group, an object with ``names`` and ``members``, or None for one group
        per sublattice of several species.
    start
        Composition by sublattice, equal parts by default.
    fixed
        Fractions to be held, by group and species.

    Raises
    ------
    InputError
        If groups overlap or span sublattices, or fixed fractions cannot be met.
    """
    names, members = _members(lattice, groups)
    allowed = np.asarray(lattice.allowed)
    if start is None:
        rest = allowed / allowed.sum(axis=1, keepdims=True)
    else:
        rest = lattice.mean_weights(start)
    rows = np.array([sites[0] for sites in members])
    free, held = allowed[rows].copy(), np.zeros((len(names), allowed.shape[1]))
    for name, fractions in (fixed or {}).items():
        if name not in names:
            raise InputError(f"fixed names the group {name!r}; {suggestion(name, names)}")
        group = names.index(name)
        species = lattice.species_of(int(rows[group]))
        for symbol, value in fractions.items():
            if symbol not in species:
                raise InputError(
                    f"fixed holds {symbol!r} on {name!r}; {suggestion(symbol, species)}"
                )
            if not is_number(value) or not 0 <= value <= 1:
                raise InputError(
                    f"the fixed fraction of {symbol} on {name!r} is {shown(value)}; give a number "
                    "from 0 to 1"
                )
            free[group, species.index(symbol)] = False
            held[group, species.index(symbol)] = value
        total = float(held[group].sum())
        if total > 1 + 1e-9 or (total < 1 - 1e-9 and not free[group].any()):
            raise InputError(
                f"the fixed fractions on {name!r} add up to {total:g}; they must leave room for "
                "the others, or add up to 1 if there are none"
            )
    if (free.sum(axis=1) < 2).all():
        raise InputError("no fraction is free: leave some out of fixed, or give more species")
    space = GroupSpace(lattice, names, members, allowed[rows], free, held, rest)
    return space, space.projected(rest[rows])


def _members(lattice: Lattice, groups: Any) -> tuple[tuple[str, ...], tuple[np.ndarray, ...]]:
    if groups is None:
        mixed = [name for name, s in lattice.sublattices.items() if len(s.species) > 1]
        all_sites = np.arange(lattice.n_sites)
        return tuple(mixed), tuple(all_sites[lattice.site_slice(name)] for name in mixed)
    if isinstance(groups, Mapping):
        names, lists = tuple(groups), list(groups.values())
    elif hasattr(groups, "names") and hasattr(groups, "members"):
        names, lists = tuple(groups.names), list(groups.members)
    else:
        raise InputError(f"groups is {shown(groups)}; give sites by name, such as {{'B': [0, 1]}}")
    members = tuple(np.asarray(sites, dtype=np.int64) for sites in lists)
    joined = np.concatenate(members) if members else np.array([], dtype=np.int64)
    if not len(joined) or any(len(sites) == 0 for sites in members):
        raise InputError("a group has no sites; give every group one or more")
    if joined.min() < 0 or joined.max() >= lattice.n_sites or len(set(joined)) < len(joined):
        raise InputError(
            f"groups must hold sites from 0 to {lattice.n_sites - 1}, each in one group at most"
        )
    for name, sites in zip(names, members, strict=True):
        if len(np.unique(lattice.sublattice_of_site[sites])) > 1:
            raise InputError(f"group {name!r} spans sublattices; make a group for each")
    return names, members
