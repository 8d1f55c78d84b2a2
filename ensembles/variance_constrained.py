"""The variance-constrained semi-grand ensemble: the composition fluctuates about one that is set.

Unlike the semi-grand ensemble it visits compositions inside a miscibility gap too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..sublattice import is_number, shown, suggestion
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

__all__ = ["VarianceConstrained"]


@dataclass(frozen=True, eq=False)
class VarianceConstrained:
    r"""Weight exp(−βE − Σ_s κ_s N_s Σ_{k≠last} (c_k + φ_k/2)²), over all occupations.

    The sum runs over the free sublattices s of N_s sites and all their species but the last;
    c_k = N_k/N_s is the fraction of a species on its sublattice, β = 1/(k_B T). φ and κ > 0 have no
    unit. Where the free energy is flat, the fractions are normally distributed about −φ_k/2 with
    the variance 1/(2κN_s): φ_k from 0 to −2 takes c_k from 0 to 1, and a larger κ keeps it closer.
    Sublattices named in ``fixed`` keep the counts that a chain starts with.

    The slope of the free energy follows from the mean composition (`free_energy_derivative`), at
    every composition, so that it can be integrated through a miscibility gap, which a semi-grand
    chain jumps across.

    Parameters
    ----------
    lattice
        Sites and their allowed species.
    temperature
        Kelvin, above zero.
    phi
        φ by sublattice and species: ``{"B": {"Sc": -1.0}}``, for every species but the last of
        every free sublattice. With one sublattice its name may be left out.
    kappa
        κ, one number or one by sublattice, above zero; N_s/2 or so. Above 2N_s a chain stands on
        one or two compositions, whose mean tells little of the free energy.
    fixed
        Names of sublattices that keep their counts; they have neither φ nor κ.

    Raises
    ------
    InputError
        If the temperature or κ is not a finite positive number, a φ is missing, not finite, or of
        what has none, or ``fixed`` names what is not there or everything.

    Warns
    -----
    UserWarning
        If the species of a free sublattice have different charges, as in `SemiGrandCanonical`.

    Notes
    -----
    B. Sadigh and P. Erhart, Phys. Rev. B 86, 134204 (2012), doi:10.1103/PhysRevB.86.134204, with
    their bars left out. For two species the weight is that of mchammer's ``VCSGCEnsemble``, whose
    documentation prints the square with the other sign.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import VarianceConstrained, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> ensemble = VarianceConstrained(lattice, 1000.0, {"Ti": -1.0}, kappa=100.0)
    >>> half, all_ti = np.array([[0, 1, 0, 1, 0, 1, 0, 1]]), np.zeros((1, 8), int)
    >>> [float(ensemble.log_density(np.zeros(1), x)[0]) for x in (half, all_ti)]  # −100 · 8 · ½²
    [-0.0, -200.0]
    >>> slope = ensemble.free_energy_derivative(lattice.counts(half[0]) + [[0.1, -0.1]])
    >>> slope.round(3)  # more Ti than asked for: Ti lowers the free energy
    array([[-2.5,  0. ]])
    """

    lattice: Lattice
    temperature: float
    phi: BySpecies
    kappa: float | Mapping[str, float]
    fixed: Sequence[str] = ()
    _canonical: Canonical = field(init=False, repr=False)
    _phi: np.ndarray = field(init=False, repr=False)
    _kappa: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        canonical = Canonical(self.lattice, self.temperature)
        object.__setattr__(self, "_canonical", canonical)
        object.__setattr__(self, "temperature", canonical.temperature)
        object.__setattr__(self, "fixed", checked_fixed(self.lattice, self.fixed))
        phi = _checked_phi(self.lattice, self.phi, self._constrained)
        kappa = _checked_kappa(self.kappa, self._constrained)
        one = self.kappa if isinstance(self.kappa, Mapping) else float(self.kappa)
        object.__setattr__(
            self, "kappa", MappingProxyType(kappa) if isinstance(one, Mapping) else one
        )
        object.__setattr__(self, "phi", frozen(phi))
        object.__setattr__(self, "_phi", as_array(self.lattice, phi))
        spread = {name: dict.fromkeys(values, kappa[name]) for name, values in phi.items()}
        object.__setattr__(self, "_kappa", as_array(self.lattice, spread))
        warn_of_charges(self.lattice, self.fixed, stacklevel=3)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VarianceConstrained):
            return NotImplemented
        return (
            self.lattice == other.lattice
            and self.temperature == other.temperature
            and self.fixed == other.fixed
            and np.array_equal(self._phi, other._phi)
            and np.array_equal(self._kappa, other._kappa)
        )

    def __hash__(self) -> int:
        numbers = self._phi.tobytes(), self._kappa.tobytes()
        return hash((self.lattice, self.temperature, self.fixed, *numbers))

    def __reduce__(self) -> tuple[object, ...]:
        return _without_warning, (self.lattice, self.temperature, *self._arguments)

    @property
    def beta(self) -> float:
        """1/(k_B T) in 1/eV."""
        return self._canonical.beta

    @property
    def free_sites(self) -> np.ndarray:
        """Sites whose species may be flipped, bool [n_sites]."""
        return sites_off(self.lattice, self.fixed)

    @property
    def potentials(self) -> np.ndarray:
        """−κφ/β in eV, [n_sublattices, n_species_max], zero where there is no φ.

        With ``stiffness`` q, the weight is exp(−β[E − Σ_k potentials_k N_k + Σ_k q_k N_k²]) up to a
        constant.
        """
        return -self._kappa * self._phi / self.beta

    @property
    def stiffness(self) -> np.ndarray:
        """κ/(βN_s) in eV, [n_sublattices, n_species_max], zero where there is no φ."""
        return self._kappa / (self.beta * self._sizes)

    def log_density(
        self,
        energy: np.ndarray,
        occupations: np.ndarray,
        volume: np.ndarray | None = None,  # noqa: ARG002  (Ensemble protocol)
    ) -> np.ndarray:
        """Logarithm of the weight, −βE − Σ κN(c + φ/2)², up to a constant.

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
        apart = self._apart(self.lattice.counts(occupations))
        squares = (self._kappa * self._sizes * apart**2).reshape(*apart.shape[:-2], -1)
        return self._canonical.log_density(energy, occupations) - squares.sum(axis=-1)

    def log_density_gradient(
        self,
        gradient: np.ndarray,
        occupations: np.ndarray,
    ) -> np.ndarray:
        """∂ log density/∂λ, shape [n_replicas, n_sites, n_species_max].

        The weight is taken on to continuous λ with c_k = Σ_i λ_ik/N_s, so it is −β ∂E/∂λ_ik
        − 2κ(c_k + φ_k/2) for all species of free sublattices but the last.

        Parameters
        ----------
        gradient
            ∂E/∂λ in eV, [n_replicas, n_sites, n_species_max].
        occupations
            [n_replicas, n_sites].
        """
        slopes = 2.0 * self._kappa * self._apart(self.lattice.counts(occupations))
        by_site = slopes[:, np.asarray(self.lattice.sublattice_of_site)]
        return self._canonical.log_density_gradient(gradient, occupations) - by_site

    def free_energy_derivative(self, counts: np.ndarray) -> np.ndarray:
        r"""Slope of the free energy, ∂(βF/N_s)/∂c_k = −2κ(c_k + φ_k/2), of mean counts.

        F(c) is the free energy at fixed composition, and the derivative is taken as c_k grows at
        the cost of the last species. The weight of a composition is exp(−N_s[βF/N_s
        + κ Σ(c + φ/2)²]), so that the mean of its logarithm's derivative, which vanishes, gives

        .. math:: ⟨∂(βF/N_s)/∂c_k⟩ = −2κ(⟨c_k⟩ + φ_k/2)

        but for what the weight leaves at c = 0 and 1, and for the counts being whole. The slope of
        an ideal mixture (8 sites or more, c from 0.2 to 0.8) is off by 0.12 at most where κ ≤ N_s,
        but by 0.3 at κ = 2N_s and 1.4 at 4N_s. It is linear in the counts, so that those of single
        draws may be given and averaged afterwards. Multiply by k_BT for eV per site.

        Parameters
        ----------
        counts
            [..., n_sublattices, n_species_max], as ``lattice.counts`` gives them, or their means.

        Returns
        -------
        float64 of that shape: 0 for the last species, NaN on fixed sublattices and where a
        sublattice has no such species.

        Raises
        ------
        InputError
            If the counts have another shape or do not add up to the sites of each sublattice.
        """
        numbers = np.asarray(counts, dtype=np.float64)
        shape = (len(self.lattice.names), self.lattice.n_species_max)
        sizes = self._sizes[:, 0]
        fits = numbers.shape[-2:] == shape and np.allclose(numbers.sum(axis=-1), sizes, rtol=1e-6)
        if not fits:
            raise InputError(
                f"counts have shape {numbers.shape} or do not add up to {sizes.tolist()} sites: "
                f"give {shape[0]} × {shape[1]} numbers, as lattice.counts(occupations) does"
            )
        known = np.zeros(shape, dtype=bool)
        for s, (name, sublattice) in enumerate(self.lattice.sublattices.items()):
            known[s, : len(sublattice.species)] = name not in self.fixed
        return np.where(known, 0.0 - 2.0 * self._kappa * self._apart(numbers), np.nan)

    def coordinates(self) -> dict[str, float]:
        """Coordinates of a run's point: temperature (K), φ by sublattice and species, and κ."""
        scalars = {"temperature": self.temperature}
        for name, values in self.phi.items():
            scalars |= {f"phi_{name}_{species}": phi for species, phi in values.items()}
        if isinstance(self.kappa, Mapping):
            return scalars | {f"kappa_{name}": kappa for name, kappa in self.kappa.items()}
        return scalars | {"kappa": self.kappa}

    def with_temperature(self, temperature: float) -> VarianceConstrained:
        """Return the same ensemble, φ and κ included, at another temperature (K)."""
        return _without_warning(self.lattice, temperature, *self._arguments)

    @property
    def _arguments(self) -> tuple[BySpecies, float | dict[str, float], Sequence[str]]:
        """φ, κ and fixed sublattices as plain containers."""
        kappa = dict(self.kappa) if isinstance(self.kappa, Mapping) else self.kappa
        return {name: dict(values) for name, values in self.phi.items()}, kappa, self.fixed

    @property
    def _constrained(self) -> dict[str, tuple[str, ...]]:
        """Species that have a φ, by free sublattice of two species or more."""
        return {
            name: sublattice.species[:-1]
            for name, sublattice in self.lattice.sublattices.items()
            if name not in self.fixed and len(sublattice.species) > 1
        }

    @property
    def _sizes(self) -> np.ndarray:
        """Sites of every sublattice, float64 [n_sublattices, 1]."""
        return np.array([[len(s.sites)] for s in self.lattice.sublattices.values()], dtype=float)

    def _apart(self, counts: np.ndarray) -> np.ndarray:
        """c_k + φ_k/2 of counts [..., n_sublattices, n_species_max]."""
        return np.asarray(counts / self._sizes + 0.5 * self._phi)


def _without_warning(
    lattice: Lattice,
    temperature: float,
    phi: BySpecies,
    kappa: float | Mapping[str, float],
    fixed: Sequence[str],
) -> VarianceConstrained:
    """Make an ensemble anew whose charges were warned of when it was first made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VarianceConstrained(lattice, temperature, phi, kappa, fixed)


def _checked_phi(
    lattice: Lattice, phi: object, constrained: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, float]]:
    """φ of every species that has one, in the lattice's order."""
    given = given_by_species(lattice, phi, Words("phi", "φ", "{'B': {'Sc': -1.0}}"))
    for name, values in given.items():
        wanted = constrained.get(name, ())
        for symbol in values:
            if symbol in wanted:
                continue
            last = lattice.sublattices[name].species[-1]
            why = (
                f"the last species of {name} has none: its fraction follows from the others'"
                if name in constrained
                else f"{name} is fixed or holds one species ({last}), so that it has none"
            )
            raise InputError(f"phi names {symbol} on {name}, but {why}; leave it out")
    for name, wanted in constrained.items():
        missing = [symbol for symbol in wanted if symbol not in given.get(name, {})]
        if missing:
            raise InputError(
                f"phi lacks {missing[0]} on {name}; give φ for every species but the last "
                f"({', '.join(wanted)}), −2 times the fraction that is wanted"
            )
    return {name: {symbol: given[name][symbol] for symbol in w} for name, w in constrained.items()}


def _checked_kappa(kappa: object, constrained: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """κ of every constrained sublattice."""
    if not constrained:
        raise InputError(
            "no sublattice holds two species, so there is no composition to constrain: use "
            "Canonical"
        )
    values: Mapping[str, Any] = (
        kappa if isinstance(kappa, Mapping) else dict.fromkeys(constrained, kappa)
    )
    for name in values:
        if name not in constrained:
            raise InputError(
                f"kappa names {shown(name)}, which is no sublattice with a φ; "
                f"{suggestion(name, constrained)}"
            )
    for name in constrained:
        value = values.get(name)
        if value is None or not is_number(value) or value <= 0:
            raise InputError(
                f"kappa of {name} is {shown(value)}; give a finite number above 0 (such as 200), "
                "for all sublattices or for each"
            )
    return {name: float(values[name]) for name in constrained}
