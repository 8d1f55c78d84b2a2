"""The path on which groups of sites turn from one species into another."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from ...errors import InputError
from ...lattice import Lattice
from ...potentials.calculator import check_positional, forces_at
from ...sublattice import Sublattice, shown, suggestion
from ..dynamics.crystal import Structures
from ._ends import Ends, Found, Places
from ._recall import Model, Recall
from .groups import Groups
from .mixed import MixedModel
from .paths import PathBase, check_coupling, places_of

__all__ = ["AlchemicalPath"]

MIXINGS = ("sites", "paper", "energies")
Assignment = str | Sequence[str] | Mapping[str, str]


class AlchemicalPath(PathBase):
    r"""Groups of sites turn from one species into another, all other sites keep theirs.

    With ``mixing="sites"`` or ``"paper"`` the weights λ of the groups go along a straight line and
    the energy model's own energy between species is taken (`MixedModel`),

    .. math:: U_s(x) = E\big(λ(s), x\big), \quad λ(s) = (1 − s) λ_\text{initial}
              + s λ_\text{final}, \qquad
              \frac{∂U_s}{∂s} = \sum_{gk} \frac{∂E}{∂λ_{gk}} (λ_\text{final} −
              λ_\text{initial})_{gk}

    With ``mixing="energies"`` the energies of the two ends are interpolated, as in `MixturePath`:
    two plain evaluations per configuration, of any energy model, and U_s follows at every s. Where
    positions stand still, they cost less than one energy between species of the alchemical MACE;
    where forces are needed, more. All three begin and end in the same energies, so that the
    free-energy difference is the same:

    .. math:: ΔF = −k_BT \ln \frac{\sum_x e^{−βE(\text{final}, x)}}
              {\sum_x e^{−βE(\text{initial}, x)}}

    over what moves: the occupation of sites in no group, by a kernel made on ``model(s)``, whose
    lattice is ``movable``; positions, by a dynamics. The sites of the groups are given: where one
    of N sites that symmetry makes alike turns from A into B, F of the composition changes by
    ΔF − k_BT ln(n_A/n_B), with n_A atoms of A before and n_B atoms of B after it. Momenta are left
    out, masses are those of the initial species throughout.

    Parameters
    ----------
    hamiltonian
        Energy model; with ``mixed_energy`` unless ``mixing="energies"``.
    groups
        Sites that change together.
    initial, final
        Species of every group: one for all, in the order of the groups, or by name of the group.
    mixing
        ``"sites"``, ``"paper"`` (MACE, one whole sublattice only) or ``"energies"``.

    Raises
    ------
    InputError
        If a species is none of a group's, nothing changes, or the energy model knows no λ between
        species.

    Examples
    --------
    >>> from alchemc import Canonical, PairHamiltonian, RandomSwap, builders
    >>> from alchemc.ensembles.alchemical import Groups
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> unlike = PairHamiltonian(lattice, [np.array([[0.0, -0.01], [-0.01, 0.0]])])
    >>> path = AlchemicalPath(unlike, Groups.of(lattice, {"one": [0]}), "Ti", "Zr")
    >>> swaps = RandomSwap(path.model(0.0), Canonical(path.movable, 900.0))
    >>> path.label, path.movable
    ('one: Ti → Zr', Lattice(40 atoms, B: 7 × (Ti, Zr)))
    """

    def __init__(
        self,
        hamiltonian: Any,
        groups: Groups,
        initial: Assignment,
        final: Assignment,
        mixing: str = "sites",
    ) -> None:
        if mixing not in MIXINGS:
            raise InputError(f"mixing is {shown(mixing)}; give one of {', '.join(MIXINGS)}")
        if not isinstance(groups, Groups):
            raise InputError(
                f"groups are {shown(groups)}; give Groups, such as "
                'Groups.of(lattice, {"one": [0]})'
            )
        if hamiltonian.lattice != groups.lattice:
            raise InputError(
                "the groups' lattice differs from the energy model's: build both from one Lattice"
            )
        self.groups, self.mixing = groups, mixing
        self._states = tuple(
            states_of(groups, given, name)
            for given, name in ((initial, "initial"), (final, "final"))
        )
        super().__init__(_label(groups, *self._states))
        self.linear = mixing == "energies"
        self._hamiltonian = hamiltonian
        self._weights = tuple(groups.vertices(states) for states in self._states)
        self._kept = np.flatnonzero(groups.group_of_site < 0)
        self._movable = _movable(groups, self._states)
        self._bind(hamiltonian)

    def __repr__(self) -> str:
        return f"AlchemicalPath({self.label}, mixing={self.mixing!r})"

    def _bind(self, hamiltonian: Any) -> None:
        self._hamiltonian = hamiltonian
        ends = [_Assigned(hamiltonian, self.groups, states) for states in self._states]
        self._ends = Ends(*(Model(end, self._calls) for end in ends))
        if not self.linear:
            self._model = MixedModel(hamiltonian, self.groups, self.mixing)
            self._recall = {forces: Recall(self._calls) for forces in (False, True)}

    # ---- what it is ------------------------------------------------------------------------

    @property
    def hamiltonian(self) -> Any:
        """The energy model."""
        return self._hamiltonian

    @property
    def movable_sites(self) -> np.ndarray:
        """Sites in no group, int64."""
        return self._kept

    @property
    def movable(self) -> Lattice:
        """Lattice of the sites in no group; those in groups are spectators of it.

        Raises
        ------
        InputError
            If there is none.
        """
        if self._movable is None:
            raise InputError(
                "the groups hold every site, so that no occupation is left to move: leave the "
                "kernel out"
            )
        return self._movable

    def prepared(self, occupations: np.ndarray) -> np.ndarray:
        """Check occupations; int8 [n, n_sites] with the groups' initial species."""
        return self.groups.occupations(self._states[0], super().prepared(occupations))

    def extended(self, occupations: np.ndarray) -> np.ndarray:
        """Occupations of all sites from those of the movable ones."""
        full = np.zeros((len(occupations), self.lattice.n_sites), dtype=np.int8)
        full[:, self._kept] = occupations
        return self.groups.occupations(self._states[0], full)

    def at(self, positions: np.ndarray, cell: np.ndarray) -> Self:
        """Bind the same path to other positions (Å); evaluations are counted in one place."""
        if not hasattr(self._hamiltonian, "at"):
            raise InputError(
                f"{type(self._hamiltonian).__name__} has no at(positions, cell), which occupations "
                "at moving positions need: give an energy model such as AlchemicalMACE"
            )
        view = copy.copy(self)
        view._bind(self._hamiltonian.at(positions, cell))  # noqa: SLF001
        return view

    def check_moving(self) -> None:
        """Refuse models without forces, and vacancies that would have to move."""
        check_positional(self._hamiltonian)
        numbers = self.lattice.atomic_numbers[self.groups.sites]
        sizes = self.groups.sizes
        for states in self._states:
            held = numbers[np.arange(len(numbers)), np.repeat(states, sizes)]
            if (held == 0).any():
                raise InputError(
                    "a vacancy has no position that could move: take positions out of the path "
                    "(no dynamics), or a path to a harmonic ghost"
                )

    # ---- energies --------------------------------------------------------------------------

    def found(
        self,
        s: float,
        occupations: np.ndarray,
        places: Places,
        *,
        forces: bool = False,
        slope: bool = False,
    ) -> Found:
        """U_s of replicas, and what else is wanted."""
        if self.linear or (s in {0.0, 1.0} and not slope):
            return self._ends.found(s, occupations, places, forces=forces, slope=slope)
        key = (np.full(len(occupations), s), occupations, *(places or ()))
        values = self._recall[forces](
            key, lambda couplings, *rows: self._between(couplings, rows, forces=forces)
        )
        return Found(values[0], values[1], values[2] if forces else None)

    def _between(
        self, couplings: np.ndarray, rows: tuple[np.ndarray, ...], *, forces: bool
    ) -> tuple[np.ndarray, ...]:
        """Energies, slopes and forces where species mix, all led by [n]."""
        s = couplings[:, None, None]
        weights = (1.0 - s) * self._weights[0] + s * self._weights[1]
        occupations, *places = rows
        positions, cells = places or (None, None)
        energy, gradient, pushes = self._model.evaluate_all(
            weights, occupations, positions, cells, forces=forces
        )
        slope = (gradient * (self._weights[1] - self._weights[0])).sum(axis=(1, 2))
        slope = np.where(np.isfinite(energy), slope, np.nan)
        return (energy, slope) if pushes is None else (energy, slope, pushes)

    def energies(self, couplings: np.ndarray, structures: Structures) -> np.ndarray:
        """U of every configuration at every coupling [l], [n, l] in eV."""
        if not self.linear:
            return super().energies(couplings, structures)
        couplings = np.array([check_coupling(s) for s in couplings])
        return self._ends.energies(couplings, structures.occupations, places_of(structures))

    def energy_and_gradient(
        self, s: float, occupations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """U_s [n] and ∂U_s/∂λ [n, n_sites, n_species_max] in eV at the bound positions."""
        if self.linear or s in {0.0, 1.0}:
            return self._ends.energy_and_gradient(s, occupations)
        weights = (1.0 - s) * self._weights[0] + s * self._weights[1]
        options = {} if self.mixing == "sites" else {"mixing": self.mixing}
        self._calls.number += len(occupations)
        results = [
            self._hamiltonian.mixed_energy(lam, forces=False, stress=False, **options)
            for lam in (self.groups.lam(weights, one) for one in occupations)
        ]
        return np.array([r.energy for r in results]), np.array([r.gradient for r in results])


class _Assigned:
    """An energy model in which groups hold given species, whatever the occupation says."""

    def __init__(self, hamiltonian: Any, groups: Groups, states: np.ndarray) -> None:
        self.hamiltonian, self.groups, self.states = hamiltonian, groups, states

    @property
    def lattice(self) -> Lattice:
        return self.groups.lattice

    def at(self, positions: np.ndarray, cell: np.ndarray) -> _Assigned:
        return _Assigned(self.hamiltonian.at(positions, cell), self.groups, self.states)

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        return self.hamiltonian.energy(self._assigned(occupations))

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.hamiltonian.energy_and_gradient(self._assigned(occupations))

    def forces_at(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return forces_at(self.hamiltonian, self._assigned(occupations), positions, cells)

    def _assigned(self, occupations: np.ndarray) -> np.ndarray:
        return self.groups.occupations(self.states, occupations)


def states_of(groups: Groups, given: Any, name: str) -> np.ndarray:
    """Species index of every group, int64 [n_groups], from names."""
    if isinstance(given, str):
        given = [given] * groups.n_groups
    elif isinstance(given, Mapping):
        for key in given:
            if key not in groups.names:
                raise InputError(
                    f"{name} names the group {shown(key)}; {suggestion(key, groups.names)}"
                )
        missing = [key for key in groups.names if key not in given]
        if missing:
            raise InputError(
                f"{name} lacks the group {missing[0]!r}; give the species of every one"
            )
        given = [given[key] for key in groups.names]
    if not isinstance(given, Sequence) or len(given) != groups.n_groups:
        raise InputError(
            f"{name} is {shown(given)}; give one species for each of {groups.n_groups} groups, or "
            "one for all"
        )
    return np.array([_state(groups, g, symbol, name) for g, symbol in enumerate(given)])


def _state(groups: Groups, group: int, symbol: Any, name: str) -> int:
    species = groups.lattice.species_of(groups.members[group][0])
    if symbol not in species:
        raise InputError(
            f"{name} gives group {groups.names[group]!r} the species {shown(symbol)}; "
            f"{suggestion(symbol, species)}"
        )
    return species.index(symbol)


def _label(groups: Groups, initial: np.ndarray, final: np.ndarray) -> str:
    if (initial == final).all():
        raise InputError("initial and final are the same species: give others for one group")
    parts = []
    for group, name in enumerate(groups.names):
        species = groups.lattice.species_of(groups.members[group][0])
        if initial[group] != final[group]:
            parts.append(f"{name}: {species[initial[group]]} → {species[final[group]]}")
    return ", ".join(parts)


def _movable(groups: Groups, states: tuple[np.ndarray, ...]) -> Lattice | None:
    """Lattice in which the groups' sites are spectators, of a species that they hold at an end."""
    lattice, atoms = groups.lattice, groups.lattice.atoms.copy()
    first, last = (
        lattice.atomic_numbers[groups.sites, np.repeat(one, groups.sizes)] for one in states
    )
    held = np.where(first > 0, first, last)
    if (held == 0).any():
        site = int(groups.sites[np.argmin(held)])
        name = groups.names[int(groups.group_of_site[site])]
        raise InputError(f"group {name!r} is vacant at both ends: leave it out")
    taken = lattice.sites[groups.sites]
    atoms.numbers[taken] = held
    free = groups.group_of_site < 0
    left = {}
    for name, sublattice in lattice.sublattices.items():
        part = lattice.site_slice(name)
        sites = lattice.sites[part][free[part]].tolist()
        if sites:
            left[name] = Sublattice(sites, sublattice.species, sublattice.charges)
    return Lattice(atoms, left) if left else None
