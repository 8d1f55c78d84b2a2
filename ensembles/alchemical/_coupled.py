"""A path at one s, as kernels of occupations and dynamics of positions see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...lattice import Lattice
from ..dynamics.crystal import Crystal
from ..dynamics.views import changed

if TYPE_CHECKING:
    from .paths import PathBase

__all__ = ["CoupledModel", "PathCrystal"]


class CoupledModel:
    """U_s as an energy model of the occupations that may move along a path.

    Its lattice is the path's ``movable`` one: sites whose species the path itself changes are
    spectators there.

    Parameters
    ----------
    path
        Bound to the positions at which occupations move.
    s
        Place on the path.
    """

    def __init__(self, path: PathBase, s: float) -> None:
        self.path, self.s = path, float(s)

    @property
    def lattice(self) -> Lattice:
        """Sites whose occupation may move."""
        return self.path.movable

    def __repr__(self) -> str:
        return f"CoupledModel({self.path.label}, s={self.s:g})"

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """U_s [n] in eV of occupations [n, n_sites] of the movable sites."""
        return self.path.found(self.s, self.path.extended(occupations), None).energy

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """U_s [n] and its ∂/∂λ [n, n_sites, n_species_max] in eV."""
        full = self.path.extended(occupations)
        energy, gradient = self.path.energy_and_gradient(self.s, full)
        kept = gradient[:, self.path.movable_sites, : self.lattice.n_species_max]
        return energy, kept

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """ΔU_s [n] in eV of setting ``sites`` to ``species`` [n, m]; −1 pads."""
        return self.energy(changed(occupations, sites, species)) - self.energy(occupations)

    def at(self, positions: np.ndarray, cell: np.ndarray) -> CoupledModel:
        """Bind the same model to other positions and another cell."""
        return CoupledModel(self.path.at(positions, cell), self.s)


@dataclass(frozen=True)
class PathCrystal(Crystal):
    """A crystal whose atoms move on U_s of a path.

    Parameters
    ----------
    hamiltonian, temperature, fix_centre, ghost_width
        As in `Crystal`; the energy model is one that the path is made of.
    path, s
        The path, and the place on it.
    """

    path: Any = field(default=None, kw_only=True)
    s: float = field(default=0.0, kw_only=True)

    def evaluate(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """U_s [n] in eV, +inf where there is none, and forces [n, n_atoms, 3] in eV/Å."""
        found = self.path.found(self.s, occupations, (positions, cells), forces=True)
        acting = self.numbers(occupations) > 0
        return found.energy, np.where(acting[:, :, None], found.forces, 0.0)
