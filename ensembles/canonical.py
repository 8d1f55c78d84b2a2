"""The canonical ensemble: fixed temperature, fixed species counts on every sublattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units

from ..errors import InputError
from ..lattice import Lattice
from ..sublattice import is_number
from ._sublattices import sites_off

__all__ = ["Canonical"]


@dataclass(frozen=True)
class Canonical:
    """Weight exp(−βE), β = 1/(k_B T), at fixed species counts per sublattice.

    The counts are those of the occupations a chain starts from; kernels for this ensemble exchange
    species within a sublattice and so conserve them.

    Parameters
    ----------
    lattice
        Sites and their allowed species.
    temperature
        Kelvin, above zero.

    Raises
    ------
    InputError
        If the temperature is not a finite positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import Canonical, builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> ensemble = Canonical(lattice, temperature=1000.0)
    >>> round(ensemble.beta, 3)
    11.605
    >>> ensemble.log_density(np.array([0.1]), lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}},
    ...     np.random.default_rng(1), n_replicas=1)).round(4)
    array([-1.1605])
    """

    lattice: Lattice
    temperature: float

    def __post_init__(self) -> None:
        if not isinstance(self.lattice, Lattice):
            raise InputError(f"lattice is a {type(self.lattice).__name__}; give a Lattice")
        value = self.temperature
        if not is_number(value) or units.kB * value < np.finfo(np.float64).tiny:
            raise InputError(
                f"temperature {value!r} cannot be used: give a finite number of kelvin above 0"
            )
        object.__setattr__(self, "temperature", float(value))

    @property
    def beta(self) -> float:
        """1/(k_B T) in 1/eV."""
        return 1.0 / (units.kB * self.temperature)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Names of the sublattices that keep their counts: all."""
        return self.lattice.names

    @property
    def free_sites(self) -> np.ndarray:
        """Sites whose species may be flipped, bool [n_sites]: none."""
        return sites_off(self.lattice, self.fixed)

    def log_density(
        self,
        energy: np.ndarray,
        occupations: np.ndarray,  # noqa: ARG002  (Ensemble protocol)
        volume: np.ndarray | None = None,  # noqa: ARG002
    ) -> np.ndarray:
        """Logarithm of the weight, −βE, up to a constant.

        Parameters
        ----------
        energy
            [n_replicas], eV.
        occupations
            [n_replicas, n_sites]; does not enter.
        volume
            Does not enter.

        Returns
        -------
        float64 [n_replicas].
        """
        return -self.beta * np.asarray(energy, dtype=np.float64)

    def log_density_gradient(
        self,
        gradient: np.ndarray,
        occupations: np.ndarray,  # noqa: ARG002
    ) -> np.ndarray:
        """∂ log density/∂λ = −β ∂E/∂λ, shape [n_replicas, n_sites, n_species_max].

        Parameters
        ----------
        gradient
            ∂E/∂λ in eV, [n_replicas, n_sites, n_species_max].
        occupations
            [n_replicas, n_sites]; does not enter.
        """
        return -self.beta * np.asarray(gradient, dtype=np.float64)

    def coordinates(self) -> dict[str, float]:
        """Coordinates of a run's point: the temperature in K."""
        return {"temperature": self.temperature}

    def with_temperature(self, temperature: float) -> Canonical:
        """Return the same ensemble at another temperature (K)."""
        return Canonical(self.lattice, temperature)
