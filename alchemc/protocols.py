"""What the parts of alchemc expect of one another: energy models, ensembles and kernels.

A class of the user's own that has these methods works everywhere; nothing needs to be inherited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .lattice import Lattice

__all__ = ["Ensemble", "Generators", "Hamiltonian", "Info", "Kernel", "State"]

Generators = Sequence[np.random.Generator]
"""One generator per replica, in the order of the chains."""


@runtime_checkable
class Hamiltonian(Protocol):
    """An energy model over occupations of a lattice.

    ``at(positions, cell)`` (the same model bound to other positions) and
    ``hessian_product(lam, direction)`` are optional and found by ``hasattr``.
    """

    lattice: Lattice

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """Total energies in eV, shape [n_replicas], of occupations [n_replicas, n_sites]."""
        ...

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n_replicas] and gradient ∂E/∂λ [n_replicas, n_sites, n_species_max] in eV."""
        ...

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """Exact ΔE in eV, shape [n_replicas], of setting ``sites`` to ``species``.

        Both are [n_replicas, m] integer arrays; −1 in ``sites`` pads.
        """
        ...


@runtime_checkable
class Ensemble(Protocol):
    """A target density over occupations, up to its normalisation."""

    lattice: Lattice

    def log_density(
        self, energy: np.ndarray, occupations: np.ndarray, volume: np.ndarray | None = None
    ) -> np.ndarray:
        """Logarithm of the weight, shape [n_replicas]; −inf where a constraint is broken."""
        ...

    def log_density_gradient(self, gradient: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """∂ log density/∂λ, shape [n_replicas, n_sites, n_species_max]."""
        ...


class State(NamedTuple):
    """What the next step of a kernel needs; every field leads with the replicas.

    ``gradient`` is ``∂E/∂λ`` at ``occupations``, or an array of shape [n_replicas, 0, 0] for
    kernels that do not use it.
    """

    occupations: np.ndarray
    energy: np.ndarray
    gradient: np.ndarray


class Info(NamedTuple):
    """Diagnostics of one step; every field leads with the replicas.

    ``sites`` and ``species`` [n_replicas, m] are the proposed change, padded with −1;
    ``energy_calls`` and ``gradient_calls`` count evaluations of the energy model.
    """

    accepted: np.ndarray
    acceptance_probability: np.ndarray
    sites: np.ndarray
    species: np.ndarray
    energy_calls: np.ndarray
    gradient_calls: np.ndarray


@runtime_checkable
class Kernel(Protocol):
    """A Markov kernel that leaves an ensemble invariant. Kernels are immutable."""

    hamiltonian: Hamiltonian
    ensemble: Ensemble

    def init(self, occupations: np.ndarray, rngs: Generators) -> State:
        """State of chains that start at ``occupations`` [n_replicas, n_sites]."""
        ...

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Advance every replica by one step."""
        ...

    def refresh(self, state: State, hamiltonian: Hamiltonian) -> tuple[Kernel, State]:
        """The kernel bound to ``hamiltonian`` and its state, after the positions moved."""
        ...

    def to_arrays(self) -> Mapping[str, Any]:
        """Tuned parameters as plain arrays and numbers."""
        ...
