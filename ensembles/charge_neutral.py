"""The charge-neutral semi-grand ensemble: species of different charge at a fixed total charge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..sites import read_only
from ..sublattice import is_number, shown
from ._sublattices import BySpecies
from .semi_grand import SemiGrandCanonical, without_warning

__all__ = ["ChargeNeutral"]

TOLERANCE = 1e-6  # e: charges such as 8/3 do not add up exactly


@dataclass(frozen=True, eq=False)
class ChargeNeutral:
    """Weight exp(−β[E − Σ_k μ_k N_k]) where Σ_sites q = Q₀, and zero elsewhere.

    N_k counts a species on its sublattice and μ_k is its chemical potential there, as in
    `SemiGrandCanonical`; q is the charge of what a site holds and β = 1/(k_B T). Q₀ is minus the
    spectators' charge, so that the cell is neutral, unless it is given. Of the μ, only the part
    that differs between occupations of the same charge matters.

    A single flip breaks the constraint unless it exchanges species of the same charge, so no site
    counts as free: kernels swap, and `TableExchange` changes the composition, several sites at a
    time. Sublattices named in ``fixed`` keep the counts that a chain starts with.

    Parameters
    ----------
    lattice
        Sites, their allowed species, and the charges of these.
    temperature
        Kelvin, above zero.
    chemical_potentials
        eV, by sublattice and species, as for `SemiGrandCanonical`.
    charge
        Q₀, the charge of all sites together, in e; by default minus that of the spectators.
    fixed
        Names of sublattices that keep their counts; they have no chemical potentials.

    Raises
    ------
    InputError
        As for `SemiGrandCanonical`; if the lattice has no charges, or its free sublattices none
        that differ; if neither a charge nor the spectators' are given; or if the charge is beyond
        what the sites can carry.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import ChargeNeutral, builders
    >>> lattice = builders.perovskite(
    ...     ("K", "Sr"), ("Sc", "Nb"), "O", a=4.0, size=(2, 2, 2),
    ...     charges={"K": 1, "Sr": 2, "Sc": 3, "Nb": 5}, spectator_charges={"O": -2})
    >>> ensemble = ChargeNeutral(lattice, 1000.0, {"A": {"Sr": 0.1}})
    >>> ensemble.charge
    48.0
    >>> knbo3, srscnbo3 = np.repeat([0, 1], 8), np.array([1] * 8 + [0, 1] * 4)
    >>> all_k_and_half_sc = np.array([0] * 8 + [0, 1] * 4)
    >>> three = np.stack([knbo3, srscnbo3, all_k_and_half_sc])
    >>> ensemble.log_density(np.zeros(3), three).round(2)  # 0.8 eV/k_BT; not neutral
    array([-0.  ,  9.28,  -inf])
    """

    lattice: Lattice
    temperature: float
    chemical_potentials: BySpecies
    charge: float | None = None
    fixed: Sequence[str] = ()
    _free: SemiGrandCanonical = field(init=False, repr=False)

    def __post_init__(self) -> None:
        free = without_warning(self.lattice, self.temperature, self.chemical_potentials, self.fixed)
        object.__setattr__(self, "_free", free)
        for name in ("temperature", "chemical_potentials", "fixed"):
            object.__setattr__(self, name, getattr(free, name))
        object.__setattr__(self, "charge", _checked_charge(self.lattice, self.charge, free.fixed))

    @classmethod
    def like(
        cls,
        lattice: Lattice,
        temperature: float,
        chemical_potentials: BySpecies,
        occupation: np.ndarray,
        fixed: Sequence[str] = (),
    ) -> ChargeNeutral:
        """Return the ensemble with the charge of an occupation [n_sites] for Q₀.

        Raises
        ------
        InputError
            As for the class, or if the occupation is not one of the lattice's.
        """
        occupation = lattice.check(occupation)
        if occupation.ndim != 1:
            raise InputError(
                f"the occupation has shape {occupation.shape}: give one, [n_sites], at a time"
            )
        charge = None if lattice.charges is None else float(_charges(lattice, occupation[None])[0])
        return cls(lattice, temperature, chemical_potentials, charge, fixed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChargeNeutral):
            return NotImplemented
        return self._free == other._free and self.charge == other.charge

    def __hash__(self) -> int:
        return hash((self._free, self.charge))

    def __reduce__(self) -> tuple[object, ...]:
        plain = {name: dict(values) for name, values in self.chemical_potentials.items()}
        return ChargeNeutral, (self.lattice, self.temperature, plain, self.charge, self.fixed)

    @property
    def beta(self) -> float:
        """1/(k_B T) in 1/eV."""
        return self._free.beta

    @property
    def potentials(self) -> np.ndarray:
        """Chemical potentials in eV, [n_sublattices, n_species_max]; zero where there is none."""
        return self._free.potentials

    @property
    def free_sites(self) -> np.ndarray:
        """Sites whose species may be flipped alone, bool [n_sites]: none."""
        return read_only(np.zeros(self.lattice.n_sites, dtype=bool))

    def total_charge(self, occupations: np.ndarray) -> np.ndarray:
        """Σ_sites q in e, [n_replicas], of occupations [n_replicas, n_sites]."""
        return _charges(self.lattice, np.asarray(occupations))

    def why_impossible(self, occupation: np.ndarray) -> str | None:
        """Say why an occupation [n_sites] has no weight and what to do; None if it has one."""
        charge = float(self.total_charge(occupation[None])[0])
        if self._is_kept(np.array([charge]))[0]:
            return None
        return (
            f"its sites have the charge {charge:+g}, and {self.charge:+g} is kept: start from such "
            "an occupation, or make the ensemble by ChargeNeutral.like(…, occupation)"
        )

    def log_density(
        self,
        energy: np.ndarray,
        occupations: np.ndarray,
        volume: np.ndarray | None = None,
    ) -> np.ndarray:
        """Logarithm of the weight, −β[E − Σ μN] up to a constant; −inf for another charge.

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
        kept = self._is_kept(self.total_charge(occupations))
        return np.where(kept, self._free.log_density(energy, occupations, volume), -np.inf)

    def log_density_gradient(
        self,
        gradient: np.ndarray,
        occupations: np.ndarray,
    ) -> np.ndarray:
        """∂ log density/∂λ = −β(∂E/∂λ − μ), along moves that keep the charge.

        Parameters
        ----------
        gradient
            ∂E/∂λ in eV, [n_replicas, n_sites, n_species_max].
        occupations
            [n_replicas, n_sites]; does not enter.
        """
        return self._free.log_density_gradient(gradient, occupations)

    def coordinates(self) -> dict[str, float]:
        """Coordinates of a run's point: temperature (K), and μ (eV) of what fluctuates."""
        return self._free.coordinates()

    def with_temperature(self, temperature: float) -> ChargeNeutral:
        """Return the same ensemble at another temperature (K)."""
        mu, charge, fixed = self.chemical_potentials, self.charge, self.fixed
        return ChargeNeutral(self.lattice, temperature, mu, charge, fixed)

    def _is_kept(self, charges: np.ndarray) -> np.ndarray:
        assert self.charge is not None  # noqa: S101  (__post_init__)
        return np.abs(charges - self.charge) < TOLERANCE


def _charges(lattice: Lattice, occupations: np.ndarray) -> np.ndarray:
    """Charge of all sites in e, [n_replicas]."""
    assert lattice.charges is not None  # noqa: S101  (_checked_charge)
    held = occupations[:, :, None].astype(np.int64)
    return np.asarray(np.take_along_axis(lattice.charges[None], held, axis=2)[:, :, 0].sum(axis=1))


def _checked_charge(lattice: Lattice, charge: object, fixed: Sequence[str]) -> float:
    """Charge of all sites that is kept, in e."""
    parts = list(lattice.sublattices.items())
    if lattice.charges is None:
        raise InputError(
            "the lattice has no charges to keep: give charges to its sublattices, or use "
            "SemiGrandCanonical"
        )
    if all(len(set(s.charges or ())) == 1 for name, s in parts if name not in fixed):
        raise InputError(
            "no free sublattice holds species of different charge, so the charge is kept in any "
            "case: use SemiGrandCanonical"
        )
    if charge is None:
        if lattice.spectator_charge is None:
            raise InputError(
                "the charge to keep is not known: give the lattice spectator_charges, give charge, "
                "or use ChargeNeutral.like(…, occupation)"
            )
        charge = -lattice.spectator_charge
    if not is_number(charge):
        raise InputError(f"charge is {shown(charge)}; give a finite number in e")
    least, most = (
        sum(len(s.sites) * pick(s.charges or (0.0,)) for _, s in parts) for pick in (min, max)
    )
    value = float(charge) + 0.0  # type: ignore[arg-type]
    if not least - TOLERANCE <= value <= most + TOLERANCE:
        raise InputError(
            f"no occupation has the charge {value:+g}: the sites carry {least:+g} to {most:+g}; "
            "check the charges of species and spectators"
        )
    return value
