"""An ensemble of occupations with the biases of groups of sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import units

from ...lattice import Lattice
from ...protocols import Ensemble
from ..with_positions import WithPositions
from .biases import Biases

__all__ = ["WithBiases", "unbiased"]


@dataclass(frozen=True, eq=False)
class WithBiases:
    r"""Weight of an ensemble times exp(−βB), with the bias B of the species that groups hold.

    Occupations in which the sites of a group hold different species have no weight.

    Parameters
    ----------
    ensemble
        What is sampled without the biases; it has a temperature.
    biases
        Their energies.

    Examples
    --------
    >>> from alchemc import SemiGrandCanonical, builders
    >>> from alchemc.ensembles.alchemical import Biases, Groups
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 1, 1))
    >>> biases = Biases(Groups.whole(lattice), linear=np.array([[0.0, 0.1]]))
    >>> ensemble = WithBiases(SemiGrandCanonical(lattice, 1000.0, {}), biases)
    >>> ensemble.log_density(np.zeros(2), np.array([[1, 1], [0, 1]])).round(2).tolist()
    [-1.16, -inf]
    """

    ensemble: Any
    biases: Biases

    def __getattr__(self, name: str) -> Any:
        """Pass on what the ensemble has besides, such as ``coordinates``."""
        if name.startswith("_") or name in {"ensemble", "biases"}:
            raise AttributeError(name)
        return getattr(self.ensemble, name)

    @property
    def lattice(self) -> Lattice:
        """Sites and species."""
        return self.ensemble.lattice

    @property
    def fixed(self) -> tuple[str, ...]:
        """Sublattices that keep their counts: those of the ensemble on which there is no group."""
        names = self.lattice.names
        changing = {names[index] for index in self.biases.groups.sublattice_of_group}
        kept = tuple(getattr(self.ensemble, "fixed", ()))
        return tuple(name for name in kept if name not in changing)

    @property
    def temperature(self) -> float:
        """Kelvin."""
        return float(self.ensemble.temperature)

    @property
    def beta(self) -> float:
        """1/(k_B T) in 1/eV."""
        return 1.0 / (units.kB * self.temperature)

    def log_density(
        self, energy: np.ndarray, occupations: np.ndarray, volume: np.ndarray | None = None
    ) -> np.ndarray:
        """Logarithm of the weight, [n_replicas]; −inf where a group is broken up.

        Parameters
        ----------
        energy
            [n_replicas], eV, without the bias.
        occupations
            [n_replicas, n_sites].
        volume
            Handed on to the ensemble.
        """
        groups, held = self.biases.groups, np.asarray(occupations, dtype=np.int64)
        first = np.stack([held[..., members[0]] for members in groups.members], axis=-1)
        whole = (groups.occupations(first, held) == held).all(axis=-1)
        found = self.ensemble.log_density(energy, occupations, volume)
        return np.where(whole, found - self.beta * self.biases.of_states(first), -np.inf)

    def log_density_gradient(self, gradient: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """∂ log density/∂λ, [n_replicas, n_sites, n_species_max], where groups are whole.

        A group's bias is shared out evenly among its sites.
        """
        groups, held = self.biases.groups, np.asarray(occupations, dtype=np.int64)
        first = np.stack([held[..., members[0]] for members in groups.members], axis=-1)
        slope = self.biases.gradient(groups.vertices(first)) / groups.sizes[:, None]
        shared = np.zeros(np.shape(gradient))
        shared[..., groups.sites, :] = np.repeat(slope, groups.sizes, axis=-2)
        return self.ensemble.log_density_gradient(gradient, occupations) - self.beta * shared

    def with_temperature(self, temperature: float) -> WithBiases:
        """Return the same ensemble and biases (in eV) at another temperature (K)."""
        return WithBiases(self.ensemble.with_temperature(temperature), self.biases)


def unbiased(ensemble: Ensemble) -> Ensemble:
    """Ensemble of occupations alone, without positions and biases."""
    found: Any = ensemble
    while isinstance(found, WithPositions | WithBiases):
        found = found.ensemble
    return found
