"""The semi-grand canonical ensemble: fixed temperature and differences of chemical potentials."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ._sublattices import (
    BySpecies,
    Words,
    as_array,
    checked_fixed,
    frozen,
    given_by_species,
    sites_off,
    warn_of_charges,
)
from .canonical import Canonical

__all__ = ["SemiGrandCanonical"]

_WORDS = Words("chemical_potentials", "chemical potential", "{'B': {'Sc': 0.0, 'Ta': 0.3}}", "eV")


@dataclass(frozen=True, eq=False)
class SemiGrandCanonical:
    """Weight exp(−β[E − Σ_k μ_k N_k]), β = 1/(k_B T), over all occupations of the lattice.

    N_k counts a species on its sublattice; each sublattice has chemical potentials of its own, of
    which only the differences matter: a species with a larger μ becomes more frequent. The number
    of sites is fixed, the composition is not. Sublattices named in ``fixed`` keep the counts that a
    chain starts with; kernels exchange species on them and flip the sites of the others.

    Parameters
    ----------
    lattice
        Sites and their allowed species.
    temperature
        Kelvin, above zero.
    chemical_potentials
        eV, by sublattice and species: ``{"B": {"Sc": 0.0, "Ta": 0.3}}``. With one sublattice its
        name may be left out. A species that is not named has μ = 0.
    fixed
        Names of sublattices that keep their counts; they have no chemical potentials.

    Raises
    ------
    InputError
        If the temperature is not a finite positive number, a chemical potential is not finite or
        names an unknown, a fixed sublattice or an unknown species, or ``fixed`` names what is not
        there or everything.

    Warns
    -----
    UserWarning
        If the species of a free sublattice have different charges: the cell's charge then
        fluctuates, and a learned potential was trained on neutral crystals.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import SemiGrandCanonical, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> ensemble = SemiGrandCanonical(lattice, 1000.0, {"B": {"Zr": 0.1}})
    >>> four_zr = np.array([[0, 1, 0, 1, 0, 1, 0, 1]])
    >>> ensemble.log_density(np.zeros(1), four_zr).round(3)  # 0.4 eV/k_BT
    array([4.642])

    The A sites keep their counts, the B sites do not:

    >>> lattice = builders.perovskite(("Sr", "Ba"), ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> ensemble = SemiGrandCanonical(lattice, 1000.0, {"B": {"Zr": 0.1}}, fixed=("A",))
    >>> int(ensemble.free_sites.sum()), ensemble.coordinates()
    (8, {'temperature': 1000.0, 'mu_B_Ti': 0.0, 'mu_B_Zr': 0.1})
    """

    lattice: Lattice
    temperature: float
    chemical_potentials: BySpecies
    fixed: Sequence[str] = ()
    _canonical: Canonical = field(init=False, repr=False)
    _mu: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        canonical = Canonical(self.lattice, self.temperature)
        object.__setattr__(self, "_canonical", canonical)
        object.__setattr__(self, "temperature", canonical.temperature)
        object.__setattr__(self, "fixed", checked_fixed(self.lattice, self.fixed))
        given = given_by_species(self.lattice, self.chemical_potentials, _WORDS)
        for name in self.fixed:
            if given.get(name):
                raise InputError(
                    f"chemical_potentials name the sublattice {name!r}, whose counts are fixed: "
                    "leave them out, or leave it out of fixed"
                )
        full = {
            name: {s: given.get(name, {}).get(s, 0.0) for s in sublattice.species}
            for name, sublattice in self.lattice.sublattices.items()
            if name not in self.fixed
        }
        object.__setattr__(self, "chemical_potentials", frozen(full))
        object.__setattr__(self, "_mu", as_array(self.lattice, full))
        warn_of_charges(self.lattice, self.fixed, stacklevel=3)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SemiGrandCanonical):
            return NotImplemented
        return (
            self.lattice == other.lattice
            and self.temperature == other.temperature
            and self.fixed == other.fixed
            and np.array_equal(self._mu, other._mu)
        )

    def __hash__(self) -> int:
        return hash((self.lattice, self.temperature, self.fixed, self._mu.tobytes()))

    def __reduce__(self) -> tuple[object, ...]:
        plain = {name: dict(values) for name, values in self.chemical_potentials.items()}
        return without_warning, (self.lattice, self.temperature, plain, self.fixed)

    @property
    def beta(self) -> float:
        """1/(k_B T) in 1/eV."""
        return self._canonical.beta

    @property
    def potentials(self) -> np.ndarray:
        """Chemical potentials in eV, [n_sublattices, n_species_max]; zero where there is none."""
        return self._mu

    @property
    def free_sites(self) -> np.ndarray:
        """Sites whose species may be flipped, bool [n_sites]."""
        return sites_off(self.lattice, self.fixed)

    def log_density(
        self,
        energy: np.ndarray,
        occupations: np.ndarray,
        volume: np.ndarray | None = None,  # noqa: ARG002  (Ensemble protocol)
    ) -> np.ndarray:
        """Logarithm of the weight, −β[E − Σ μN], up to a constant.

        Parameters
        ----------
        energy
            [n_replicas], eV.
        occupations
            [n_replicas, n_sites].
        volume
            Does not enter.

        Returns
        -------
        float64 [n_replicas].
        """
        mu = self._mu[self.lattice.sublattice_of_site, np.asarray(occupations, dtype=np.int64)]
        return self._canonical.log_density(np.asarray(energy) - mu.sum(axis=-1), occupations)

    def log_density_gradient(
        self,
        gradient: np.ndarray,
        occupations: np.ndarray,
    ) -> np.ndarray:
        """∂ log density/∂λ = −β(∂E/∂λ − μ), shape [n_replicas, n_sites, n_species_max].

        Parameters
        ----------
        gradient
            ∂E/∂λ in eV, [n_replicas, n_sites, n_species_max].
        occupations
            [n_replicas, n_sites]; does not enter.
        """
        mu = np.where(self.lattice.allowed, self._mu[self.lattice.sublattice_of_site], 0.0)
        return self._canonical.log_density_gradient(np.asarray(gradient) - mu, occupations)

    def coordinates(self) -> dict[str, float]:
        """Coordinates of a run's point: temperature (K), and μ (eV) of what fluctuates."""
        scalars = {"temperature": self.temperature}
        for name, values in self.chemical_potentials.items():
            if len(values) > 1:
                scalars |= {f"mu_{name}_{species}": mu for species, mu in values.items()}
        return scalars

    def with_temperature(self, temperature: float) -> SemiGrandCanonical:
        """Return the same ensemble at another temperature (K)."""
        return without_warning(self.lattice, temperature, self.chemical_potentials, self.fixed)


def without_warning(
    lattice: Lattice, temperature: float, chemical_potentials: BySpecies, fixed: Sequence[str] = ()
) -> SemiGrandCanonical:
    """Make an ensemble whose charges were warned of when it was first made, or are kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SemiGrandCanonical(lattice, temperature, chemical_potentials, fixed)
