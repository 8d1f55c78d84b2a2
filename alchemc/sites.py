"""Sites: what each may hold, and the occupations and compositions that follow from that."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from ase.data import atomic_numbers

from . import compositions
from .compositions import Composition
from .errors import InputError
from .sublattice import Sublattice, is_whole, shown, suggestion

__all__ = ["Sites"]


class Sites:
    """The part of a lattice that needs no geometry: sites, their species, occupations.

    It only asks for ``sublattices`` with resolved atom indices and a nominal ``composition``;
    ``Lattice`` adds positions to it. Arrays are read-only; copy them before changing them.
    """

    sublattices: Mapping[str, Sublattice]
    composition: Composition | None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the sublattices, in order."""
        return tuple(self.sublattices)

    @cached_property
    def sites(self) -> np.ndarray:
        """Atom index of every site, int64 [n_sites], by sublattice and then by atom index."""
        return read_only(
            np.concatenate([s.sites for s in self.sublattices.values()], dtype=np.int64)
        )

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.sites)

    @cached_property
    def n_species_max(self) -> int:
        """Largest number of species on any sublattice."""
        return max(len(s.species) for s in self.sublattices.values())

    @cached_property
    def sublattice_of_site(self) -> np.ndarray:
        """Index into ``names`` for every site, int64 [n_sites]."""
        sizes = [len(s.sites) for s in self.sublattices.values()]
        return read_only(np.repeat(np.arange(len(sizes), dtype=np.int64), sizes))

    def site_slice(self, name: str) -> slice:
        """Return the part of the site axis that belongs to one sublattice."""
        if name not in self.sublattices:
            raise InputError(f"no sublattice is called {name!r}; {suggestion(name, self.names)}")
        return compositions.site_slices(self.sublattices)[name]

    def species_of(self, site: int) -> tuple[str, ...]:
        """Return the species a site may hold."""
        if not is_whole(site, least=0) or site >= self.n_sites:
            raise InputError(
                f"site {shown(site)} does not exist; sites run from 0 to {self.n_sites - 1}"
            )
        return self.sublattices[self.names[self.sublattice_of_site[site]]].species

    @cached_property
    def allowed(self) -> np.ndarray:
        """Whether a site may hold a species, bool [n_sites, n_species_max]."""
        return read_only(self.atomic_numbers >= 0)

    @cached_property
    def atomic_numbers(self) -> np.ndarray:
        """Atomic numbers, int64 [n_sites, n_species_max]; 0 for a vacancy, −1 where not allowed."""
        table = np.full((len(self.names), self.n_species_max), -1, dtype=np.int64)
        for row, sublattice in zip(table, self.sublattices.values(), strict=True):
            row[: len(sublattice.species)] = [atomic_numbers[s] for s in sublattice.species]
        return read_only(table[self.sublattice_of_site])

    @cached_property
    def charges(self) -> np.ndarray | None:
        """Charges in e, float64 [n_sites, n_species_max], 0 where not allowed, or None."""
        table = np.zeros((len(self.names), self.n_species_max))
        for row, sublattice in zip(table, self.sublattices.values(), strict=True):
            if sublattice.charges is None:
                return None
            row[: len(sublattice.charges)] = sublattice.charges
        return read_only(table[self.sublattice_of_site])

    def composition_counts(
        self, composition: Composition | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Exact number of sites of each species, by sublattice.

        Raises
        ------
        InputError
            If a fraction is no whole number of sites; the message gives the nearest that is.

        Examples
        --------
        >>> from alchemc import builders
        >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(4, 4, 4))
        >>> lattice.composition_counts({"B": {"Sc": 0.25, "Ta": 0.75}})
        {'B': (16, 48)}
        """
        return compositions.exact_counts(self.sublattices, self._nominal(composition))

    def random(
        self,
        composition: Composition | None = None,
        rng: np.random.Generator | None = None,
        n_replicas: int | None = None,
    ) -> np.ndarray:
        """Uniformly random occupation with exact counts, int8.

        Parameters
        ----------
        composition
            Fractions by sublattice and species; the nominal composition by default.
        rng
            The generator to draw from. It must be given: nothing is seeded in secret.
        n_replicas
            Number of independent occupations; without it a single one is returned.

        Returns
        -------
        numpy.ndarray
            [n_sites], or [n_replicas, n_sites].
        """
        if not isinstance(rng, np.random.Generator):
            raise InputError(f"rng is {shown(rng)}; give a numpy.random.Generator")
        if n_replicas is not None and not is_whole(n_replicas, least=1):
            raise InputError(
                f"n_replicas is {shown(n_replicas)}; give a whole number of at least 1"
            )
        counts = self.composition_counts(composition)
        drawn = compositions.random_occupations(counts, rng, n_replicas or 1)
        return drawn[0] if n_replicas is None else drawn

    def mean_weights(self, composition: Composition | None = None) -> np.ndarray:
        """λ̄: every site at its sublattice's composition, float64 [n_sites, n_species_max]."""
        fractions = compositions.parse_fractions(self.sublattices, self._nominal(composition))
        table = np.zeros((len(self.names), self.n_species_max))
        for row, values in zip(table, fractions.values(), strict=True):
            row[: len(values)] = values
        return table[self.sublattice_of_site]

    def weights(self, occupations: np.ndarray) -> np.ndarray:
        """λ of occupations, one where a site holds a species, [..., n_sites, n_species_max]."""
        return np.eye(self.n_species_max)[self.check(occupations)]

    def counts(self, occupations: np.ndarray) -> np.ndarray:
        """Count the sites per species, int64 [..., n_sublattices, n_species_max]."""
        return compositions.count_species(self.check(occupations), self.sublattices)

    def enumerate(self, composition: Composition | None = None) -> np.ndarray:
        """Every arrangement once, int8 [n_states, n_sites], in lexicographic order.

        Without a composition, arrangements of every composition. More than 10⁶ are refused.

        Examples
        --------
        >>> from alchemc import builders
        >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(2, 2, 2))
        >>> lattice.enumerate({"B": {"Sc": 0.5, "Ta": 0.5}}).shape
        (70, 8)
        """
        counts = None if composition is None else self.composition_counts(composition)
        return compositions.all_occupations(self.sublattices, counts)

    def check(self, occupations: np.ndarray) -> np.ndarray:
        """Validate occupations and return them as int8 of the same shape.

        Raises
        ------
        InputError
            For a wrong shape, a type that is not an integer, or a species a site may not hold.
        """
        return compositions.check_occupations(occupations, self.sublattices)

    def _nominal(self, composition: Composition | None) -> Composition:
        chosen = composition if composition is not None else self.composition
        if chosen is None:
            raise InputError(
                "no composition is given and the lattice has none; give fractions per sublattice "
                "such as {'B': {'Sc': 0.5, 'Ta': 0.5}}"
            )
        return chosen


def read_only(array: np.ndarray) -> np.ndarray:
    """Protect an array that is handed out more than once."""
    array.setflags(write=False)
    return array
