"""Positions that move while groups of sites are in discrete states of λ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dynamics.crystal import Crystal
from .discrete import DiscreteStates
from .mixed import MixedModel

__all__ = ["LambdaCrystal"]


@dataclass(frozen=True)
class LambdaCrystal(Crystal):
    """A crystal whose *occupations* carry the groups' states behind the sites.

    So every row says what it holds, whichever rows a dynamics asks for. Energies and forces are
    those of the occupation where every group is at a vertex, else those between the species.

    Parameters
    ----------
    states
        The discrete states.
    mixing
        Rule by which species mix on a site.
    """

    states: DiscreteStates | None = None
    mixing: str = "sites"

    def joined(self, occupations: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Occupations with the states of the groups behind them, [n, n_sites + n_groups]."""
        return np.concatenate([occupations, states], axis=1).astype(np.int64)

    def numbers(self, occupations: np.ndarray) -> np.ndarray:
        """Atomic numbers of the species nearest to every state, int64 [n, n_atoms]."""
        return super().numbers(occupations[:, : self.lattice.n_sites])

    def evaluate(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] in eV, +inf where there is none, and forces [n, n_atoms, 3] in eV/Å."""
        assert self.states is not None  # noqa: S101  (fields after defaults need one)
        held, states = np.split(occupations, [self.lattice.n_sites], axis=1)
        between = self.states.interior(states)
        energy, forces = np.full(len(held), np.inf), np.zeros(positions.shape)
        if not between.all():
            at = ~between
            energy[at], forces[at] = super().evaluate(held[at], positions[at], cells[at])
        if between.any():
            model = MixedModel(self.hamiltonian, self.states.groups, self.mixing)
            weights = self.states.weights(states[between])
            found, _, pushes = model.evaluate_all(
                weights, held[between], positions[between], cells[between], forces=True
            )
            pushes = np.zeros_like(positions[between]) if pushes is None else pushes
            known = np.isfinite(found) & np.isfinite(pushes).all(axis=(1, 2))
            energy[between] = np.where(known, found, np.inf)
            forces[between] = np.where(known[:, None, None], pushes, 0.0)
        return energy, forces
