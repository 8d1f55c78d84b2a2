"""Energy models that count what they are asked and recall their last answer, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ...potentials.calculator import forces_at

__all__ = ["Calls", "Model", "Recall"]

Arrays = tuple[np.ndarray, ...]


class Calls:
    """A count of evaluations, shared by all views of a path."""

    def __init__(self) -> None:
        self.number = 0


class Recall:
    """The last evaluation of a function of replicas; rows that are asked again are not counted."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._key: Arrays = ()
        self._values: Arrays = ()

    def __call__(self, key: Arrays, evaluate: Callable[..., Arrays]) -> Arrays:
        """Return ``evaluate(*key)``, every argument and result led by [n]."""
        n = len(key[0])
        known = np.zeros(n, dtype=bool)
        if [part.shape for part in key] == [part.shape for part in self._key]:
            equal = [
                (part == last).reshape(n, -1).all(axis=1)
                for part, last in zip(key, self._key, strict=True)
            ]
            known = np.logical_and.reduce(equal)
        if not known.all():
            self._values = self._completed(known, evaluate(*(part[~known] for part in key)))
            self._calls.number += int((~known).sum())
            self._key = tuple(np.array(part) for part in key)
        return tuple(value.copy() for value in self._values)

    def _completed(self, known: np.ndarray, fresh: Arrays) -> Arrays:
        if not known.any():
            return fresh
        values = []
        for last, new in zip(self._values, fresh, strict=True):
            value = last.copy()
            value[~known] = new
            values.append(value)
        return tuple(values)


class Model:
    """An energy model of occupations, and of positions if it knows them.

    Parameters
    ----------
    hamiltonian
        The energy model.
    calls
        Where its evaluations are counted.
    """

    def __init__(self, hamiltonian: Any, calls: Calls) -> None:
        self.hamiltonian, self._calls = hamiltonian, calls
        self._energies, self._forces = Recall(calls), Recall(calls)

    def at(self, positions: np.ndarray, cell: np.ndarray) -> Model:
        """Bind the model to other positions; evaluations are counted in the same place."""
        if not hasattr(self.hamiltonian, "at"):
            raise InputError(
                f"{type(self.hamiltonian).__name__} has no at(positions, cell), which occupations "
                "at moving positions need: give an energy model such as AlchemicalMACE"
            )
        return Model(self.hamiltonian.at(positions, cell), self._calls)

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """Energies [n] in eV at the positions that the model is bound to."""
        (energy,) = self._energies(
            (occupations,), lambda rows: (np.asarray(self.hamiltonian.energy(rows), dtype=float),)
        )
        return energy

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] and ∂E/∂λ [n, n_sites, n_species_max] in eV."""
        self._calls.number += len(occupations)
        return self.hamiltonian.energy_and_gradient(occupations)

    def forces(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] in eV, +inf where there is none, and forces [n, n_atoms, 3] in eV/Å."""

        def evaluate(*rows: np.ndarray) -> Arrays:
            energy, forces, _ = forces_at(self.hamiltonian, *rows)
            known = np.isfinite(energy) & np.isfinite(forces).all(axis=(1, 2))
            return np.where(known, energy, np.inf), np.where(known[:, None, None], forces, 0.0)

        energy, forces = self._forces((occupations, positions, cells), evaluate)
        return energy, forces
