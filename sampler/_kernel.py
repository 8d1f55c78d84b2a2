"""What the Metropolis–Hastings kernels have in common besides their moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from ..protocols import Ensemble, Generators, Hamiltonian, State
from ._metropolis import check_start, check_weight, evaluate

__all__ = ["KernelBase"]


@dataclass(frozen=True)
class KernelBase:
    """An energy model, a target, and what follows from them; nothing to tune.

    ``uses_gradient`` says whether a state starts with its gradient.
    """

    hamiltonian: Hamiltonian
    ensemble: Ensemble

    uses_gradient: ClassVar[bool] = False

    def init(self, occupations: np.ndarray, rngs: Generators) -> State:
        """State of chains at ``occupations`` [n_replicas, n_sites]; one evaluation per replica."""
        start = check_start(self.hamiltonian, self.ensemble, occupations, rngs)
        state = State(start, *evaluate(self.hamiltonian, start, gradient=self.uses_gradient))
        check_weight(self.ensemble, state.energy, start)
        return state

    def rebind(
        self, *, hamiltonian: Hamiltonian | None = None, ensemble: Ensemble | None = None
    ) -> Self:
        """Return the kernel, tuned parameters kept, for another energy model or target."""
        return replace(
            self,
            hamiltonian=self.hamiltonian if hamiltonian is None else hamiltonian,
            ensemble=self.ensemble if ensemble is None else ensemble,
        )

    def refresh(self, state: State, hamiltonian: Hamiltonian) -> tuple[Self, State]:
        """Return the kernel bound to ``hamiltonian`` and its state, after the positions moved."""
        fresh = evaluate(hamiltonian, state.occupations, gradient=self.uses_gradient)
        return self.rebind(hamiltonian=hamiltonian), State(state.occupations, *fresh)

    def to_arrays(self) -> dict[str, Any]:
        """Return the tuned parameters: none."""
        return {}

    def with_arrays(self, arrays: Mapping[str, Any]) -> Self:  # noqa: ARG002
        """Return the kernel itself: it has nothing to tune."""
        return self
