"""The ensemble of occupations and positions together, at a fixed cell or a pressure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import units

from ..errors import InputError
from ..lattice import Lattice
from ..protocols import Ensemble
from .dynamics.volume import check_pressure

__all__ = ["WithPositions"]


@dataclass(frozen=True)
class WithPositions:
    r"""Weight of an ensemble of occupations σ with exp(−βE(σ, R)) over positions R.

    What an ensemble says of the composition is kept; E is that of the positions R, which all have
    the same measure dR, and with a pressure also the volume V has: of a canonical ensemble

    .. math:: \exp(−β[E(σ, R) + PV]) \prod_{i\ \text{vacant}} ρ(u_i) \; dR \, dV,

    where ρ is the normalised density of a vacant site's ghost. Momenta are left out, with them the
    terms ³⁄₂ k_BT ln m: chemical potentials are configurational. A flip between an atom and a
    vacancy meets ρ in 1/Å³, so that its μ is that of a gas with a thermal wavelength of 1 Å.

    Parameters
    ----------
    ensemble
        What is sampled of the occupations; it has a temperature.
    pressure
        GPa; None for a fixed cell.

    Raises
    ------
    InputError
        If the pressure is no number, or the ensemble has no temperature.

    Examples
    --------
    >>> from alchemc import Canonical, builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> ensemble = WithPositions(Canonical(lattice, 1000.0), pressure=0.5)
    >>> ensemble.coordinates()
    {'temperature': 1000.0, 'pressure': 0.5}
    """

    ensemble: Any
    pressure: float | None = None

    def __post_init__(self) -> None:
        check_pressure(self.pressure)
        if not hasattr(self.ensemble, "temperature"):
            raise InputError(
                f"{type(self.ensemble).__name__} has no temperature, at which positions could "
                "move: give an ensemble that has one (annealing is made from a HybridMD, not the "
                "other way)"
            )

    def __getattr__(self, name: str) -> Any:
        """Pass on what the ensemble of occupations has besides, such as ``free_sites``."""
        if name.startswith("_") or name == "ensemble":
            raise AttributeError(name)
        return getattr(self.ensemble, name)

    @property
    def lattice(self) -> Lattice:
        """Sites and species."""
        return self.ensemble.lattice

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
        """Logarithm of the weight, ghosts aside, up to a constant, [n_replicas].

        Parameters
        ----------
        energy
            [n_replicas], eV.
        occupations
            [n_replicas, n_sites].
        volume
            [n_replicas], Å³; where it is not given, −βPV is left out.
        """
        found = self.ensemble.log_density(energy, occupations)
        if volume is None or self.pressure is None:
            return found
        return found - self.beta * self.pressure * units.GPa * np.asarray(volume)

    def log_density_gradient(self, gradient: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """∂ log density/∂λ, shape [n_replicas, n_sites, n_species_max]."""
        return self.ensemble.log_density_gradient(gradient, occupations)

    def coordinates(self) -> dict[str, float]:
        """Coordinates of a run's point: those of the ensemble, and the pressure in GPa."""
        found = {"temperature": self.temperature}
        if hasattr(self.ensemble, "coordinates"):
            found = dict(self.ensemble.coordinates())
        return found if self.pressure is None else found | {"pressure": float(self.pressure)}

    def with_temperature(self, temperature: float) -> WithPositions:
        """Return the same ensemble at another temperature (K)."""
        return WithPositions(self.ensemble.with_temperature(temperature), self.pressure)


def occupations_of(ensemble: Ensemble) -> Ensemble:
    """Ensemble of the occupations alone."""
    return ensemble.ensemble if isinstance(ensemble, WithPositions) else ensemble
