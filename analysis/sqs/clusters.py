"""icet's clusters on the sites of a lattice, with every sublattice kept apart from the others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from ...errors import InputError
from ...lattice import Lattice
from ...sublattice import is_number, shown

__all__ = ["Cluster", "Clusters", "default_cutoffs"]

TOLERANCE = 1e-3  # Å, that of the lattice's shells
PAIR_SHELLS, TRIPLET_SHELLS = 4, 2
ORDERS = {1: "site", 2: "pair", 3: "triplet", 4: "quadruplet"}


class Cluster(NamedTuple):
    """One element of a cluster vector.

    ``order`` is the number of sites, ``radius`` icet's in Å (half the distance of a pair);
    ``sublattices`` name those of the sites, ``functions`` count the point functions on them.
    """

    order: int
    radius: float
    sublattices: tuple[str, ...]
    functions: tuple[int, ...]

    @property
    def label(self) -> str:
        """Name of the element.

        Examples
        --------
        >>> Cluster(2, 2.04, ("B", "B"), (0, 0)).label
        'pair B–B 4.080 Å'
        """
        kind = ORDERS.get(self.order, f"{self.order} sites")
        size = f" {2 * self.radius:.3f} Å" if self.order == 2 else f" of radius {self.radius:.3f} Å"
        numbers = f" ({','.join(map(str, self.functions))})" if any(self.functions) else ""
        return f"{kind} {'–'.join(self.sublattices)}{size if self.order > 1 else ''}{numbers}"


def default_cutoffs(lattice: Lattice) -> tuple[float, float]:
    """Cutoffs in Å that hold four shells of pairs and two of triplets on every sublattice.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
    >>> [round(cutoff, 2) for cutoff in default_cutoffs(lattice)]
    [8.01, 5.67]
    """
    distances = [
        [shell.distance for shell in lattice.shells(PAIR_SHELLS, name)]
        for name in lattice.names
        if len(lattice.sublattices[name].species) > 1
    ]
    if not distances:
        raise InputError("no sublattice holds two species: there is nothing to arrange")
    reach = [max(row[n - 1] for row in distances) + 0.01 for n in (PAIR_SHELLS, TRIPLET_SHELLS)]
    return reach[0], reach[1]


class Clusters:
    """Cluster vectors of occupations, and what they are in a random alloy.

    Sublattices that share a species, or all of theirs, stay apart: icet is given an element of
    their own for every one of them, in the order of the real ones, so that the vectors are those of
    icet's basis.

    Parameters
    ----------
    lattice
        Sites and species; the symmetry is that of its reference positions, spectators included.
    cutoffs
        Largest distance in Å of two sites of a pair, of a triplet, …; `default_cutoffs` if None.

    Raises
    ------
    InputError
        If the cutoffs are no positive distances, hold no pair, or icet refuses the crystal.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> clusters = Clusters(lattice, (4.1,))
    >>> [cluster.label for cluster in clusters.clusters]
    ['site B', 'pair B–B 4.000 Å']
    >>> clusters.random_vector({"B": {"Sc": 0.25, "Ta": 0.75}}).tolist()
    [0.5, 0.25]
    """

    def __init__(self, lattice: Lattice, cutoffs: Sequence[float] | None = None) -> None:
        self.lattice = lattice
        self.cutoffs = default_cutoffs(lattice) if cutoffs is None else _checked(cutoffs)
        self._numbers = _label_numbers(lattice)
        self.space = _cluster_space(lattice, self.cutoffs)
        self._template = lattice.atoms.copy()
        self._name_of = self._names_by_letter()
        self.clusters = tuple(
            Cluster(
                int(entry["order"]),
                float(entry["radius"]),
                tuple(self._name_of[letter] for letter in entry["sublattices"]),
                tuple(int(n) for n in entry["multicomponent_vector"]),
            )
            for entry in self.space.as_list
            if entry["order"] > 0
        )
        if not any(cluster.order == 2 for cluster in self.clusters):
            raise InputError(
                f"no two sites are within the cutoff of {self.cutoffs[0]:g} Å: give a larger one"
            )

    def atoms(self, occupation: np.ndarray) -> Any:
        """Return the structure that icet knows an occupation [n_sites] by."""
        numbers = self.lattice.atoms.numbers.copy()
        numbers[self.lattice.sites] = self._numbers[np.arange(self.lattice.n_sites), occupation]
        self._template.numbers = numbers
        return self._template

    def occupation(self, atoms: Any) -> np.ndarray:
        """Occupation, int8 [n_sites], of one of icet's structures: the inverse of ``atoms``."""
        held = atoms.numbers[self.lattice.sites]
        found = np.argmax(self._numbers == held[:, None], axis=1)
        return self.lattice.check(found)

    def vectors(self, occupations: np.ndarray) -> np.ndarray:
        """Cluster vectors without icet's leading 1, float64 [n, n_clusters], of [n, n_sites]."""
        rows = [self.space.get_cluster_vector(self.atoms(row))[1:] for row in occupations]
        return np.array(rows).reshape(len(occupations), len(self.clusters))

    def random_vector(self, composition: Mapping[str, Mapping[str, float]]) -> np.ndarray:
        """Cluster vector of the infinite random alloy, float64 [n_clusters].

        Sites are independent there, so that an element is the product of the means of its point
        functions.
        """
        means = {
            name: self._mean_functions(name, composition[name])
            for name in self.lattice.names
            if len(self.lattice.sublattices[name].species) > 1
        }
        factors = [
            [means[name][f] for name, f in zip(c.sublattices, c.functions, strict=True)]
            for c in self.clusters
        ]
        return np.array([np.prod(row) for row in factors])

    def icet_concentrations(
        self, composition: Mapping[str, Mapping[str, float]]
    ) -> dict[str, dict[str, float]]:
        """Return the composition in icet's letters and labels."""
        result = {}
        for letter, name in self._name_of.items():
            numbers = self._numbers[self.lattice.site_slice(name)][0]
            species = self.lattice.sublattices[name].species
            result[letter] = {
                chemical_symbols[number]: float(composition[name].get(symbol, 0.0))
                for number, symbol in zip(numbers, species, strict=False)
            }
        return result

    def _names_by_letter(self) -> dict[str, str]:
        names, owner = {}, dict(zip(self.lattice.sites.tolist(), self._owners(), strict=True))
        for sublattice in self.space.get_sublattices(self.lattice.atoms).active_sublattices:
            names[str(sublattice.symbol)] = owner[int(sublattice.indices[0])]
        return names

    def _owners(self) -> list[str]:
        return [self.lattice.names[k] for k in self.lattice.sublattice_of_site]

    def _mean_functions(self, name: str, fractions: Mapping[str, float]) -> list[float]:
        """Mean of every point function on a sublattice."""
        species = self.lattice.sublattices[name].species
        rank = np.argsort(np.argsort([atomic_numbers[symbol] for symbol in species]))
        m = len(species)
        return [
            sum(
                fractions.get(symbol, 0.0) * self.space.evaluate_cluster_function(m, f, int(k))
                for symbol, k in zip(species, rank, strict=True)
            )
            for f in range(m - 1)
        ]


def _checked(cutoffs: Sequence[float]) -> tuple[float, ...]:
    values = tuple(cutoffs) if isinstance(cutoffs, Sequence | np.ndarray) else ()
    if not values or not all(is_number(c) and c > 0 for c in values):
        raise InputError(
            f"cutoffs are {shown(cutoffs)}; give distances in Å above 0 for pairs, triplets …, "
            "such as (8.2, 5.8)"
        )
    return tuple(float(c) for c in values)


def _label_numbers(lattice: Lattice) -> np.ndarray:
    """Atomic numbers that icet is given, int64 [n_sites, n_species_max]; −1 where not allowed.

    The real ones where no two sublattices share a species, else unused ones in the same order.
    """
    sets = [set(lattice.sublattices[name].species) for name in lattice.names]
    if all(one.isdisjoint(other) for one, other in itertools.combinations(sets, 2)):
        return np.asarray(lattice.atomic_numbers)
    taken = set(lattice.atoms.numbers[lattice.spectators].tolist())
    free = iter(number for number in range(1, len(chemical_symbols)) if number not in taken)
    labels = np.full((lattice.n_sites, lattice.n_species_max), -1, dtype=np.int64)
    for name in lattice.names:
        part = lattice.site_slice(name)
        real = lattice.atomic_numbers[part][0]
        order = np.argsort(real[real >= 0])
        for k in order.tolist():
            labels[part, k] = next(free)
    return labels


@lru_cache(maxsize=8)
def _cluster_space(lattice: Lattice, cutoffs: tuple[float, ...]) -> Any:
    from icet import ClusterSpace  # noqa: PLC0415  (slow to import)

    labels = _label_numbers(lattice)
    symbols = [[chemical_symbols[number]] for number in lattice.atoms.numbers]
    for site, atom in enumerate(lattice.sites.tolist()):
        symbols[atom] = [chemical_symbols[number] for number in labels[site] if number >= 0]
    try:
        return ClusterSpace(lattice.atoms.copy(), list(cutoffs), symbols, symprec=TOLERANCE)
    except Exception as error:  # icet raises whatever its parts do
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"icet makes no clusters of this crystal ({reason}); try other cutoffs than {cutoffs}"
        ) from error
