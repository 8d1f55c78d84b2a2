"""Groups of sites that share one λ: from a variable per site to one composition for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...errors import InputError
from ...lattice import Lattice
from ...sites import read_only
from ...sublattice import is_whole, shown

__all__ = ["Groups"]


@dataclass(frozen=True, eq=False)
class Groups:
    """Disjoint sets of sites, all sites of a set with the same species weights λ.

    A group's λ is a point on the simplex of the species that its sublattice allows; at a vertex,
    its *state* k, all its sites hold species k. Sites in no group keep what they hold.

    Parameters
    ----------
    lattice
        Sites and species.
    members
        Sites of every group; those of one group lie on one sublattice.
    names
        One per group.

    Raises
    ------
    InputError
        If a group is empty, a site is in two of them or does not exist, a group spans two
        sublattices or its sublattice has one species, or names are missing or alike.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 1))
    >>> pairs = Groups.of(lattice, {"left": [0, 1], "right": [2, 3]})
    >>> weights = np.array([[0.25, 0.75], [1.0, 0.0]])
    >>> pairs.lam(weights, np.zeros(4, int))[:, 1].tolist()
    [0.75, 0.75, 0.0, 0.0]
    >>> pairs.states(np.array([[1, 1, 0, 0]])).tolist()
    [[1, 0]]
    """

    lattice: Lattice
    members: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.lattice, Lattice):
            raise InputError(f"lattice is a {type(self.lattice).__name__}; give a Lattice")
        members = tuple(_members(self.lattice, group) for group in self.members)
        names = tuple(str(name) for name in self.names)
        if not members:
            raise InputError("there is no group of sites: give at least one")
        if len(names) != len(members) or len(set(names)) < len(names):
            raise InputError(
                f"{len(members)} groups have the names {shown(names)}: give one for each, all "
                "different"
            )
        seen: set[int] = set()
        for name, group in zip(names, members, strict=True):
            _check_group(self.lattice, name, group, seen)
            seen.update(group)
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "names", names)

    @classmethod
    def each_site(cls, lattice: Lattice, sublattice: str | None = None) -> Groups:
        """Make a group of every site that may hold two species, of one sublattice or of all."""
        several = np.asarray(lattice.allowed).sum(axis=1) > 1
        if sublattice is not None:
            here = np.zeros(lattice.n_sites, dtype=bool)
            here[lattice.site_slice(sublattice)] = True
            several = several & here
        sites = np.flatnonzero(several).tolist()
        return cls(lattice, tuple((s,) for s in sites), tuple(f"site {s}" for s in sites))

    @classmethod
    def whole(cls, lattice: Lattice, sublattice: str | None = None) -> Groups:
        """Make one group of a whole sublattice, which may be left out if there is only one."""
        if sublattice is None:
            if len(lattice.names) > 1:
                raise InputError(
                    f"one group of which sublattice? Give one of {', '.join(lattice.names)}"
                )
            sublattice = lattice.names[0]
        part = lattice.site_slice(sublattice)
        return cls(lattice, (tuple(range(part.start, part.stop)),), (sublattice,))

    @classmethod
    def of(cls, lattice: Lattice, groups: Mapping[str, Iterable[int]]) -> Groups:
        """Make groups by name, as lists of sites."""
        return cls(lattice, tuple(tuple(sites) for sites in groups.values()), tuple(groups))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Groups):
            return NotImplemented
        mine, theirs = (self.members, self.names), (other.members, other.names)
        return mine == theirs and self.lattice == other.lattice

    def __hash__(self) -> int:
        return hash((self.lattice, self.members, self.names))

    # ---- what they are ---------------------------------------------------------------------

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.members)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Sites per group, int64 [n_groups]."""
        return read_only(np.array([len(group) for group in self.members], dtype=np.int64))

    @cached_property
    def sites(self) -> np.ndarray:
        """Sites in groups, group by group, int64 [sum of sizes]."""
        return read_only(np.array([s for group in self.members for s in group], dtype=np.int64))

    @cached_property
    def group_of_site(self) -> np.ndarray:
        """Group of every site, int64 [n_sites]; −1 for a site in none."""
        found = np.full(self.lattice.n_sites, -1, dtype=np.int64)
        found[self.sites] = np.repeat(np.arange(self.n_groups), self.sizes)
        return read_only(found)

    @cached_property
    def sublattice_of_group(self) -> np.ndarray:
        """Index into ``lattice.names`` for every group, int64 [n_groups]."""
        return read_only(self.lattice.sublattice_of_site[self._first_sites])

    @cached_property
    def allowed(self) -> np.ndarray:
        """Whether a group may hold a species, bool [n_groups, n_species_max]."""
        return read_only(np.array(self.lattice.allowed[self._first_sites]))

    @cached_property
    def n_species(self) -> np.ndarray:
        """Species that each group may hold, int64 [n_groups]."""
        return read_only(self.allowed.sum(axis=1))

    @cached_property
    def _first_sites(self) -> np.ndarray:
        return np.array([group[0] for group in self.members])

    @cached_property
    def _starts(self) -> np.ndarray:
        """Place of every group's first member in ``sites``."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    # ---- between groups and sites ----------------------------------------------------------

    def lam(self, weights: np.ndarray, occupation: np.ndarray) -> np.ndarray:
        """λ of all sites, [..., n_sites, n_species_max].

        Parameters
        ----------
        weights
            λ of the groups, [..., n_groups, n_species_max].
        occupation
            [..., n_sites]: what the sites in no group hold.
        """
        lam = np.eye(self.lattice.n_species_max)[np.asarray(occupation, dtype=np.int64)]
        weights = np.asarray(weights, dtype=np.float64)
        if lam.ndim < weights.ndim:
            lam = np.broadcast_to(lam, (*weights.shape[:-2], *lam.shape[-2:])).copy()
        lam[..., self.sites, :] = np.repeat(weights, self.sizes, axis=-2)
        return lam

    def gather(self, gradient: np.ndarray) -> np.ndarray:
        """∂E/∂λ of groups, [..., n_groups, n_species_max], from [..., n_sites, n_species_max]."""
        members = np.asarray(gradient)[..., self.sites, :]
        return np.add.reduceat(members, self._starts, axis=-2)

    def vertices(self, states: np.ndarray) -> np.ndarray:
        """λ of states [..., n_groups]: one for the species held, [..., n_groups, n_species_max]."""
        return np.eye(self.lattice.n_species_max)[np.asarray(states, dtype=np.int64)]

    def states(self, occupations: np.ndarray) -> np.ndarray:
        """Species that every group holds, int64 [..., n_groups].

        Raises
        ------
        InputError
            If the sites of a group hold different species.
        """
        held = np.asarray(occupations, dtype=np.int64)
        found = held[..., self._first_sites]
        unlike = held[..., self.sites] != np.repeat(found, self.sizes, axis=-1)
        if unlike.any():
            site = int(self.sites[np.argwhere(unlike)[0][-1]])
            name = self.names[int(self.group_of_site[site])]
            raise InputError(
                f"the sites of group {name!r} hold different species (site {site}, for one): start "
                "from an occupation where they hold the same, or make smaller groups"
            )
        return found

    def occupations(self, states: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """Occupations int8 [..., n_sites] with every group in its state, other sites as given."""
        changed = np.array(occupations, dtype=np.int8)
        states = np.asarray(states)
        if changed.ndim < states.ndim:
            changed = np.broadcast_to(changed, (*states.shape[:-1], changed.shape[-1])).copy()
        changed[..., self.sites] = np.repeat(states, self.sizes, axis=-1)
        return changed


def _members(lattice: Lattice, group: Sequence[int]) -> tuple[int, ...]:
    for site in group:
        if not is_whole(site, least=0) or site >= lattice.n_sites:
            raise InputError(f"site {shown(site)} does not exist; give 0 to {lattice.n_sites - 1}")
    return tuple(int(site) for site in group)


def _check_group(lattice: Lattice, name: str, group: tuple[int, ...], seen: set[int]) -> None:
    if not group:
        raise InputError(f"group {name!r} has no sites: leave it out")
    twice = seen.intersection(group) or {s for s in group if group.count(s) > 1}
    if twice:
        raise InputError(f"site {min(twice)} is in group {name!r} and once more: groups share none")
    if len({int(lattice.sublattice_of_site[site]) for site in group}) > 1:
        raise InputError(f"group {name!r} spans several sublattices: make one group of each")
    if lattice.allowed[group[0]].sum() < 2:
        raise InputError(f"group {name!r} may hold one species only: leave it out")
