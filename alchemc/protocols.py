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

    Optional, found by ``hasattr``: ``hessian_product(lam, direction)``; ``at(positions, cell)``,
    the same model bound to other positions, and ``forces_at(occupations, positions, cells)``
    (energies [n], forces [n, n_atoms, 3] in eV/Å, stress [n, 3, 3] in eV/Å³), both for positions
    that are sampled.
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
    """A target density over occupations, up to its normalisation.

    Optional, found by ``hasattr``: ``coordinates() -> dict``, the scalars that name a point of a
    run (``temperature``, ``mu_B_Ta`` …); ``free_sites``, bool [n_sites], sites whose species may
    be flipped (all, where it is not given: swaps are always allowed); ``fixed``, names of the
    sublattices whose species counts it keeps; ``with_temperature(kelvin) -> Ensemble``, the same at
    another temperature, for ladders and annealing; ``why_impossible(occupation) -> str | None``,
    the reason and the remedy where a start has no weight.
    """

    @property
    def lattice(self) -> Lattice:
        """Sites and species."""
        ...

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

    ``occupations`` int8 [n_replicas, n_sites]; ``energy`` float64 [n_replicas], eV; ``gradient``
    float64 [n_replicas, n_sites, n_species_max], ∂E/∂λ at ``occupations`` in eV, NaN in replicas
    where it is not known (kernels without gradients never fill it). Temperature does not enter, so
    a state stays valid when the ensemble changes.
    """

    occupations: np.ndarray
    energy: np.ndarray
    gradient: np.ndarray


class Info(NamedTuple):
    """Diagnostics of one step; every field leads with the replicas.

    ``accepted`` bool and ``acceptance_probability`` float64 [n_replicas]; ``sites`` int64 and
    ``species`` int8 [n_replicas, m], the proposed change, padded with −1 (all −1: nothing was to
    change, which a surrogate chain counts as accepted and other kernels do not), and ``held`` int8,
    what the sites held before; ``log_density_change`` and ``estimated_change`` float64
    [n_replicas], exact and as the proposal estimated it, NaN where there is none;
    ``energy_calls`` and ``gradient_calls`` int64 [n_replicas], evaluations of the energy model
    without and with the gradient.
    """

    accepted: np.ndarray
    acceptance_probability: np.ndarray
    sites: np.ndarray
    species: np.ndarray
    held: np.ndarray
    log_density_change: np.ndarray
    estimated_change: np.ndarray
    energy_calls: np.ndarray
    gradient_calls: np.ndarray


@runtime_checkable
class Kernel(Protocol):
    """A Markov kernel that leaves an ensemble invariant. Kernels are immutable.

    A kernel draws for replica r from ``rngs[r]`` alone, and how often depends on that replica's own
    history alone, so that a chain does not depend on which others run beside it.
    Optional, found by ``hasattr``: ``tuned(infos) -> Kernel``, called in warm-up only;
    ``warm_up(state, rngs, n) -> Kernel, State, list of Info`` where that does not do;
    ``summary()``, what the warm-up found in plain numbers; ``carried_over(ensemble) -> Kernel``,
    the kernel for the next point of a campaign with what it learnt; ``observe(state) -> dict``,
    arrays [n_replicas, …] stored with every draw (``records.OPTIONAL_VARIABLES``).

    A ladder of exchanging replicas has ``n_rungs`` and ``ensembles``, one per rung: it needs that
    many replicas per chain, those of a chain next to one another in the order of the rungs.
    """

    @property
    def hamiltonian(self) -> Hamiltonian:
        """The energy model."""
        ...

    @property
    def ensemble(self) -> Ensemble:
        """The target density."""
        ...

    def init(self, occupations: np.ndarray, rngs: Generators) -> State:
        """State of chains that start at ``occupations`` [n_replicas, n_sites]."""
        ...

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Advance every replica by one step; ``state`` is left as it was."""
        ...

    def rebind(
        self, *, hamiltonian: Hamiltonian | None = None, ensemble: Ensemble | None = None
    ) -> Kernel:
        """Return the kernel, tuned parameters kept, for another energy model or target."""
        ...

    def refresh(self, state: State, hamiltonian: Hamiltonian) -> tuple[Kernel, State]:
        """Return the kernel bound to ``hamiltonian`` and its state, after the positions moved."""
        ...

    def to_arrays(self) -> dict[str, Any]:
        """Tuned parameters as plain arrays and numbers (JSON-able where they are numbers)."""
        ...

    def with_arrays(self, arrays: Mapping[str, Any]) -> Kernel:
        """Return the kernel with the tuned parameters that ``to_arrays`` gave."""
        ...
