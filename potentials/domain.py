"""Where an energy model is at home: bounds on energies and forces, and what lies outside them.

Within the bounds a model may still be wrong; outside them nobody has seen it right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from ..errors import InputError, ModelError
from ..lattice import Lattice
from ..protocols import Hamiltonian

__all__ = [
    "DEVIATION",
    "FORCE",
    "Domain",
    "DomainCheck",
    "atom_counts",
    "check_domain",
    "domain_of",
    "energies_outside",
    "reference_energies",
]

DEVIATION = 0.5
"""eV per atom. Arrangements of the same atoms differ by far less: the largest ordering energy of
the oxides that alchemc was tried on, Sr2MgWO6 at ideal positions, is 0.17 eV per atom. An energy
farther away than this is a hole or a wall of the model, not an arrangement."""
FORCE = 30.0
"""eV/Å, per component. Only atoms pushed into one another feel it: over 0.1 Å it is worth 3 eV.
Universal models are trained on relaxations, where such forces hardly occur."""
_GENERAL = "general bounds, as it states none of its own"


@dataclass(frozen=True)
class Domain:
    """Bounds of an energy model.

    ``energy`` is the range of energies in eV per atom, counted from the sum of ``references``
    (eV per atom of each species); None where the model states none. ``deviation`` is the largest
    distance in eV per atom from other arrangements of the same atoms; ``force`` the largest
    component in eV/Å. ``source`` says where the bounds come from.
    """

    energy: tuple[float, float] | None = None
    references: Mapping[str, float] = field(default_factory=dict)
    deviation: float = DEVIATION
    force: float = FORCE
    source: str = _GENERAL


class DomainCheck(NamedTuple):
    """What `check_domain` found, one entry per occupation.

    ``energy`` in eV per atom, counted from the references of ``domain`` or, where it has none, from
    the median of the occupations of the same composition; ``force`` the largest component in eV/Å,
    NaN where forces were not asked for or the model has none; ``energy_outside`` and
    ``force_outside`` bool.
    """

    domain: Domain
    energy: np.ndarray
    force: np.ndarray
    energy_outside: np.ndarray
    force_outside: np.ndarray

    @property
    def inside(self) -> bool:
        """Whether nothing lies outside."""
        return not (self.energy_outside.any() or self.force_outside.any())


def domain_of(hamiltonian: Any) -> Domain:
    """Bounds of an energy model: those of its card, else general ones.

    A card states them as ``domain``: ``energy`` [low, high], ``references``, ``force`` and
    ``source``, as for `Domain`; the bundled model's does.

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0)
    >>> domain = domain_of(AlchemicalMACE(lattice, "bundled", device="cpu"))
    >>> domain.energy, domain.force
    ((-0.45, 1.1), 15.0)
    """
    model = getattr(hamiltonian, "hamiltonian", hamiltonian)  # the one inside a wrapper
    stated = getattr(getattr(model, "model_info", None), "domain", None)
    if not stated:
        return Domain()
    energy = stated.get("energy")
    return Domain(
        energy=None if energy is None else (float(energy[0]), float(energy[1])),
        references={str(k): float(v) for k, v in stated.get("references", {}).items()},
        deviation=float(stated.get("deviation", DEVIATION)),
        force=float(stated.get("force", FORCE)),
        source=str(stated.get("source", "the model's card")),
    )


def check_domain(
    hamiltonian: Hamiltonian, occupations: np.ndarray, *, forces: bool = True
) -> DomainCheck:
    """Compare energies and forces of occupations with the bounds of the energy model.

    Parameters
    ----------
    hamiltonian
        An energy model; forces are checked if it has ``energy_forces_stress``.
    occupations
        [n_replicas, n_sites], or a single one [n_sites].
    forces
        False checks energies alone.

    Raises
    ------
    InputError
        If the occupations do not fit the lattice.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 1, 1))
    >>> check_domain(AlchemicalMACE(lattice, "bundled", device="cpu"), np.array([[0, 1]])).inside
    True
    >>> dense = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.0, size=(2, 1, 1))
    >>> check = check_domain(AlchemicalMACE(dense, "bundled", device="cpu"), np.array([[0, 1]]))
    >>> check.inside, check.energy_outside
    (False, array([ True]))
    """
    lattice, domain = hamiltonian.lattice, domain_of(hamiltonian)
    occupations = np.atleast_2d(lattice.check(occupations))
    if not len(occupations):
        raise InputError("there is no occupation to check; give one or more")
    energies = hamiltonian.energy(occupations)
    n_atoms = np.maximum(atom_counts(lattice, occupations), 1)
    counts = lattice.counts(occupations).reshape(len(occupations), -1)
    _, group = np.unique(counts, axis=0, return_inverse=True)
    medians = np.array([np.median(energies[group == k]) for k in range(group.max() + 1)])
    bounded = domain.energy is not None
    references = reference_energies(domain, lattice, occupations) if bounded else None
    relative, outside = energies_outside(
        domain, energies, n_atoms, typical=medians[group.ravel()], references=references
    )
    largest = np.full(len(occupations), np.nan)
    if forces and hasattr(hamiltonian, "energy_forces_stress"):
        found = hamiltonian.energy_forces_stress(occupations)[1]
        largest = np.abs(found).max(axis=(1, 2))
        force_outside = ~(largest <= domain.force)
    else:
        force_outside = np.zeros(len(occupations), dtype=bool)
    return DomainCheck(domain, relative, largest, outside, force_outside)


def energies_outside(
    domain: Domain,
    energies: np.ndarray,
    n_atoms: np.ndarray | int,
    *,
    typical: np.ndarray | float | None,
    references: np.ndarray | float | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Energies in eV per atom as they are compared with a domain, and which lie outside.

    ``typical`` energies are those of other arrangements of the same atoms, ``references`` the sums
    of the domain's references, in eV; a bound without its energies is not applied.
    """
    relative = np.zeros(np.shape(energies))
    outside = np.zeros(np.shape(energies), dtype=bool)
    if typical is not None:
        relative = (energies - typical) / n_atoms
        outside |= ~(np.abs(relative) <= domain.deviation)
    if domain.energy is not None and references is not None:
        relative = (energies - references) / n_atoms
        low, high = domain.energy
        outside |= ~((low <= relative) & (relative <= high))
    return relative, outside


def atom_counts(lattice: Lattice, occupations: np.ndarray) -> np.ndarray:
    """Atoms that are there in every occupation: all but the vacancies."""
    numbers = lattice.atomic_numbers[np.arange(lattice.n_sites), occupations]
    return len(lattice.atoms) - (numbers == 0).sum(axis=-1)


def reference_energies(domain: Domain, lattice: Lattice, occupations: np.ndarray) -> np.ndarray:
    """Sum of a domain's references in eV over the atoms of every occupation [n_replicas].

    Raises
    ------
    ModelError
        If the domain has no reference for a species that is there.
    """
    numbers = lattice.atomic_numbers[np.arange(lattice.n_sites), occupations]
    spectators = lattice.atoms.numbers[lattice.spectators]
    table = np.full(len(chemical_symbols), np.nan)
    table[0] = 0.0  # a vacancy
    for symbol, energy in domain.references.items():
        table[atomic_numbers[symbol]] = energy
    missing = np.isnan(table[np.append(numbers, spectators)])
    if missing.any():
        symbol = chemical_symbols[np.append(numbers, spectators)[missing][0]]
        raise ModelError(
            f"the model's card bounds its energies but has no reference for {symbol}; give one for "
            "every species in 'domain.references', or leave 'domain.energy' out"
        )
    return table[numbers].sum(axis=-1) + table[spectators].sum()
