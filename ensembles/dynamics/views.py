"""The energy model at the positions of one replica, as its occupation block sees it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...lattice import Lattice
from .crystal import Crystal

__all__ = ["CarryingView", "PositionView"]


class PositionView:
    """E(σ, R) − k_BT Σ_vacant ln ρ(u_i) at fixed positions R, as a function of σ.

    The second sum, over ghosts, is linear in the occupation. Evaluations are counted.

    Parameters
    ----------
    crystal
        The model and its ghosts.
    positions, cell
        [n_atoms, 3] and [3, 3] in Å.
    """

    def __init__(self, crystal: Crystal, positions: np.ndarray, cell: np.ndarray) -> None:
        self.crystal, self.lattice = crystal, crystal.lattice
        self.positions, self.cell = positions, cell
        self.energy_calls = self.gradient_calls = 0
        self._model = crystal.hamiltonian.at(positions, cell)
        self._ghosts = crystal.ghost_energies(positions, cell) if crystal.has_vacancies else None

    def __getattr__(self, name: str) -> Any:
        """Pass on what else the model offers; energies at continuous λ gain the ghosts' part."""
        if name.startswith("_") or name == "at":
            raise AttributeError(name)
        found = getattr(self._model, name)
        return self._mixed if name == "mixed_energy" else found

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """Energies [n] in eV of occupations [n, n_sites]."""
        self.energy_calls += len(occupations)
        return self._model.energy(occupations) + self.ghost_energy(occupations)

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] and ∂E/∂λ [n, n_sites, n_species_max] in eV."""
        self.gradient_calls += len(occupations)
        energy, gradient = self._model.energy_and_gradient(occupations)
        if self._ghosts is not None:
            gradient = gradient + self._ghosts
        return energy + self.ghost_energy(occupations), gradient

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """ΔE [n] in eV of setting ``sites`` to ``species`` [n, m]; −1 pads."""
        return self.energy(changed(occupations, sites, species)) - self.energy(occupations)

    def ghost_energy(self, occupations: np.ndarray) -> np.ndarray:
        """Part of the energies that ghosts have, [n] in eV."""
        if self._ghosts is None:
            return np.zeros(len(occupations))
        sites = np.arange(self.lattice.n_sites)
        return self._ghosts[sites, np.asarray(occupations, dtype=np.int64)].sum(axis=1)

    def _mixed(self, lam: np.ndarray, **options: Any) -> Any:
        self.gradient_calls += 1
        found = self._model.mixed_energy(lam, **options)
        if self._ghosts is None:
            return found
        return found._replace(
            energy=found.energy + float((self._ghosts * lam).sum()),
            gradient=found.gradient + self._ghosts,
        )


class CarryingView(PositionView):
    """The same where atoms that are exchanged take their displacements with them.

    σ is compared with the occupation that the view was made at: where both hold a sublattice's
    species in equal numbers, the n-th site that lost a species hands its displacement to the n-th
    that gained it. So a swap exchanges two displacements, and the way back does so again: the map
    is its own inverse and keeps volumes. Other changes leave positions in place, both ways.

    Parameters
    ----------
    crystal, positions, cell
        As in `PositionView`.
    occupation
        [n_sites], what stands at ``positions``.
    """

    def __init__(
        self, crystal: Crystal, positions: np.ndarray, cell: np.ndarray, occupation: np.ndarray
    ) -> None:
        super().__init__(crystal, positions, cell)
        self.occupation = np.asarray(occupation)

    def positions_of(self, occupation: np.ndarray) -> np.ndarray:
        """Positions [n_atoms, 3] where the sites hold ``occupation``."""
        place = carried(self.lattice, self.occupation, occupation)
        moved = np.flatnonzero(place != np.arange(len(place)))
        sites, references = self.lattice.sites, self.crystal.fractional @ self.cell
        displaced = (self.positions - references)[sites[place[moved]]]
        positions = self.positions.copy()
        positions[sites[moved]] = references[sites[moved]] + displaced
        return positions

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """Energies [n] in eV, each at its own positions."""
        self.energy_calls += len(occupations)
        return np.array([self._there(one).energy(one[None])[0] for one in occupations])

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] and ∂E/∂λ at fixed positions, each at its own."""
        self.gradient_calls += len(occupations)
        found = [self._there(one).energy_and_gradient(one[None]) for one in occupations]
        return np.array([e[0] for e, _ in found]), np.array([g[0] for _, g in found])

    def _there(self, occupation: np.ndarray) -> PositionView:
        return PositionView(self.crystal, self.positions_of(occupation), self.cell)


def carried(lattice: Lattice, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Site whose atom came to each site, int64 [n_sites]; sites that none came to name themselves.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 1))
    >>> carried(lattice, np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])).tolist()
    [0, 3, 2, 1]
    """
    place = np.arange(lattice.n_sites)
    for name in lattice.names:
        sites = place[lattice.site_slice(name)]
        unlike = sites[before[sites] != after[sites]]
        lost = unlike[np.argsort(before[unlike], kind="stable")]
        gained = unlike[np.argsort(after[unlike], kind="stable")]
        if np.array_equal(before[lost], after[gained]):
            place[gained] = lost
    return place


def changed(occupations: np.ndarray, sites: np.ndarray, species: np.ndarray) -> np.ndarray:
    """Occupations [n, n_sites] with ``sites`` set to ``species`` [n, m], −1 skipped."""
    result = np.array(occupations)
    replica, column = np.nonzero(sites >= 0)
    result[replica, sites[replica, column]] = species[replica, column]
    return result
