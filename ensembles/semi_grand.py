"""The semi-grand canonical ensemble: fixed temperature and differences of chemical potentials."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..sublattice import is_number
from .canonical import Canonical

__all__ = ["SemiGrandCanonical"]

Potentials = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class SemiGrandCanonical:
    """Weight exp(−β[E − Σ_k μ_k N_k]), β = 1/(k_B T), over all occupations of the lattice.

    N_k counts a species on its sublattice; each sublattice has chemical potentials of its own, of
    which only the differences matter. The number of sites is fixed, the composition is not.

    Parameters
    ----------
    lattice
        Sites and their allowed species.
    temperature
        Kelvin, above zero.
    chemical_potentials
        eV, by sublattice and species: ``{"B": {"Sc": 0.0, "Ta": 0.3}}``. With one sublattice its
        name may be left out. A species that is not named has μ = 0.

    Raises
    ------
    InputError
        If the temperature is not a finite positive number, or a chemical potential is not finite
        or names an unknown sublattice or species.

    Warns
    -----
    UserWarning
        If the species of a sublattice have different charges: the cell's charge then fluctuates,
        and a learned potential was trained on neutral crystals.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import SemiGrandCanonical, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> ensemble = SemiGrandCanonical(lattice, 1000.0, {"B": {"Zr": 0.1}})
    >>> four_zr = np.array([[0, 1, 0, 1, 0, 1, 0, 1]])
    >>> ensemble.log_density(np.zeros(1), four_zr).round(3)  # 0.4 eV/k_BT
    array([4.642])
    """

    lattice: Lattice
    temperature: float
    chemical_potentials: Potentials
    _canonical: Canonical = field(init=False, repr=False)
    _mu: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        canonical = Canonical(self.lattice, self.temperature)
        object.__setattr__(self, "_canonical", canonical)
        object.__setattr__(self, "temperature", canonical.temperature)
        given = _by_sublattice(self.lattice, self.chemical_potentials)
        full = {
            name: MappingProxyType({s: given.get(name, {}).get(s, 0.0) for s in sublattice.species})
            for name, sublattice in self.lattice.sublattices.items()
        }
        object.__setattr__(self, "chemical_potentials", MappingProxyType(full))
        mu = np.zeros((len(full), self.lattice.n_species_max))
        for row, values in zip(mu, full.values(), strict=True):
            row[: len(values)] = list(values.values())
        mu += 0.0  # no negative zeros: equal ensembles have equal hashes
        mu.flags.writeable = False
        object.__setattr__(self, "_mu", mu)
        for name, sublattice in self.lattice.sublattices.items():
            if sublattice.charges is not None and len(set(sublattice.charges)) > 1:
                charged = ", ".join(
                    f"{s} {q:+g}"
                    for s, q in zip(sublattice.species, sublattice.charges, strict=True)
                )
                warnings.warn(
                    f"sublattice {name} exchanges species of different charge ({charged}): the "
                    "cell's charge fluctuates, which a potential trained on neutral crystals does "
                    "not know",
                    UserWarning,
                    stacklevel=3,
                )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SemiGrandCanonical):
            return NotImplemented
        return (
            self.lattice == other.lattice
            and self.temperature == other.temperature
            and np.array_equal(self._mu, other._mu)
        )

    def __hash__(self) -> int:
        return hash((self.lattice, self.temperature, self._mu.tobytes()))

    def __reduce__(self) -> tuple[object, ...]:
        potentials = {name: dict(values) for name, values in self.chemical_potentials.items()}
        return _without_warning, (self.lattice, self.temperature, potentials)

    @property
    def beta(self) -> float:
        """1/(k_B T) in 1/eV."""
        return self._canonical.beta

    @property
    def potentials(self) -> np.ndarray:
        """Chemical potentials in eV, [n_sublattices, n_species_max]; zero where there is none."""
        return self._mu

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
        """Coordinates of a run's point: temperature (K), and μ (eV) by sublattice and species."""
        scalars = {"temperature": self.temperature}
        for name, values in self.chemical_potentials.items():
            if len(values) > 1:
                scalars |= {f"mu_{name}_{species}": mu for species, mu in values.items()}
        return scalars

    def with_temperature(self, temperature: float) -> SemiGrandCanonical:
        """Return the same ensemble at another temperature (K)."""
        return _without_warning(self.lattice, temperature, self.chemical_potentials)


def _without_warning(
    lattice: Lattice, temperature: float, chemical_potentials: Potentials
) -> SemiGrandCanonical:
    """Make an ensemble anew whose charges were warned of when it was first made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SemiGrandCanonical(lattice, temperature, chemical_potentials)


def _by_sublattice(lattice: Lattice, given: object) -> dict[str, dict[str, float]]:
    if not isinstance(given, Mapping):
        raise InputError(
            f"chemical_potentials are {given!r}; give eV by sublattice and species, such as "
            "{'B': {'Sc': 0.0, 'Ta': 0.3}}"
        )
    if (
        given
        and len(lattice.names) == 1
        and not any(isinstance(v, Mapping) for v in given.values())
    ):
        given = {lattice.names[0]: given}
    result: dict[str, dict[str, float]] = {}
    for name, entries in given.items():
        if name not in lattice.names:
            raise InputError(
                f"chemical_potentials: no sublattice {name!r}; there are {', '.join(lattice.names)}"
            )
        species = lattice.sublattices[name].species
        if not isinstance(entries, Mapping):
            raise InputError(f"chemical_potentials of {name} are {entries!r}; give eV by species")
        result[name] = {}
        for symbol, value in entries.items():
            if symbol not in species:
                raise InputError(
                    f"chemical_potentials: {name} holds {', '.join(species)}, not {symbol!r}"
                )
            if not is_number(value):
                raise InputError(
                    f"the chemical potential of {symbol} on {name} is {value!r}; give a finite "
                    "number in eV"
                )
            result[name][symbol] = float(value)
    return result
