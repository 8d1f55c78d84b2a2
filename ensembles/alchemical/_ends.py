"""Two energy models of the same configurations, and what lies on the line between them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._recall import Model

__all__ = ["Ends", "Found", "Places"]

Places = tuple[np.ndarray, np.ndarray] | None
"""Positions [n, n_atoms, 3] and cells [n, 3, 3] in Å; None: where the energy models are bound."""


class Found(NamedTuple):
    """What was asked of replicas; None where it was not.

    ``energy`` [n] eV, +inf where there is none; ``slope`` [n] eV, NaN there; ``forces``
    [n, n_atoms, 3] eV/Å.
    """

    energy: np.ndarray
    slope: np.ndarray | None = None
    forces: np.ndarray | None = None


class Ends(NamedTuple):
    """U_s = (1 − s) U_0 + s U_1; a model without weight is evaluated for slopes alone."""

    initial: Model
    final: Model

    def at(self, positions: np.ndarray, cell: np.ndarray) -> Ends:
        """Bind both to other positions."""
        return Ends(self.initial.at(positions, cell), self.final.at(positions, cell))

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
        weights = (1.0 - s, s)
        results = [
            _evaluated(model, occupations, places) if weight or slope else None
            for model, weight in zip(self, weights, strict=True)
        ]
        energy = _between(weights, [r and r[0] for r in results])
        pushes = _between(weights, [r and r[1] for r in results]) if forces else None
        if not slope:
            return Found(energy, None, pushes)
        ends = [result[0] for result in results if result is not None]
        with np.errstate(invalid="ignore"):  # ∞ − ∞ where neither has an energy
            return Found(energy, ends[1] - ends[0], pushes)

    def energies(
        self, couplings: np.ndarray, occupations: np.ndarray, places: Places
    ) -> np.ndarray:
        """U of every configuration at every coupling [l], [n, l] in eV."""
        ends = [_evaluated(model, occupations, places)[0] for model in self]
        return np.stack([_between((1.0 - s, s), ends) for s in couplings], axis=1)

    def energy_and_gradient(
        self, s: float, occupations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """U_s [n] and ∂U_s/∂λ [n, n_sites, n_species_max] in eV at the bound positions."""
        weights = (1.0 - s, s)
        results = [
            model.energy_and_gradient(occupations) if weight else None
            for model, weight in zip(self, weights, strict=True)
        ]
        energies, gradients = ([r and r[part] for r in results] for part in (0, 1))
        return _between(weights, energies), _between(weights, gradients)


def _evaluated(
    model: Model, occupations: np.ndarray, places: Places
) -> tuple[np.ndarray, np.ndarray | None]:
    if places is None:
        return model.energy(occupations), None
    return model.forces(occupations, *places)


def _between(weights: tuple[float, float], values: list[Any]) -> np.ndarray:
    """(1 − s) a + s b; what has no weight does not enter, infinite or not."""
    parts = [w * v for w, v in zip(weights, values, strict=True) if w]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
