"""Absolute free energies of crystals, vacancies and masses: closed forms beside what was switched.

Every result is a table of terms in eV per cell. Vibrations are classical throughout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from ase import units
from numpy.typing import ArrayLike

from ...errors import InputError
from ...solid_records import HeldReference, RemovedAtom
from ...sublattice import is_number, shown

__all__ = [
    "SizeLimit",
    "SolidFreeEnergy",
    "SubstitutionFreeEnergy",
    "VacancyFormation",
    "infinite_size",
    "mass_contribution",
    "thermal_wavelength",
]

PLANCK = units._hplanck * units.J * units.second  # noqa: SLF001  (eV times ASE's unit of time)


def thermal_wavelength(masses: ArrayLike, temperature: float) -> np.ndarray:
    r"""De Broglie wavelength in Å, Λ = h/√(2π m k_BT), of masses in amu.

    Examples
    --------
    >>> round(float(thermal_wavelength(1.008, 300.0)), 3)
    1.004
    """
    amu = np.asarray(masses, dtype=np.float64)
    return np.asarray(PLANCK / np.sqrt(2.0 * np.pi * amu * units.kB * temperature))


def mass_contribution(before: ArrayLike, after: ArrayLike, temperature: float) -> float:
    r"""Change of the classical free energy in eV with the masses, at the same potential energy.

    .. math:: ΔF = 3 k_BT \sum_i \ln \frac{Λ_i'}{Λ_i} = −\frac{3}{2} k_BT \sum_i
        \ln\frac{m_i'}{m_i}

    Momenta and positions are independent in classical mechanics, so that no path has to know it.

    Parameters
    ----------
    before, after
        Masses in amu, of the same atoms.
    temperature
        In K.

    Raises
    ------
    InputError
        If shapes disagree or a number is not above 0.

    Examples
    --------
    >>> round(mass_contribution([207.2], [87.62], 1000.0), 4)  # Pb to Sr
    0.1113
    """
    if not is_number(temperature) or not 0 < temperature < np.inf:
        raise InputError(f"temperature is {shown(temperature)}; give kelvin above 0")
    try:
        old, new = (np.atleast_1d(np.asarray(m, dtype=np.float64)) for m in (before, after))
    except (TypeError, ValueError):
        raise InputError(
            f"masses are {shown(before)} and {shown(after)}; give numbers in amu"
        ) from None
    each = np.concatenate([old.ravel(), new.ravel()])
    if old.shape != new.shape or not (np.isfinite(each) & (each > 0)).all():
        raise InputError(
            f"masses of shape {old.shape} and {new.shape}: give amu above 0 of the same atoms, "
            "before and after"
        )
    return float(-1.5 * units.kB * temperature * np.log(new / old).sum())


class Estimate(Protocol):
    """A free-energy difference with its error in eV, as the estimators of paths give it."""

    @property
    def free_energy(self) -> float:
        """Of the end of the path less that of its beginning."""
        ...

    @property
    def error(self) -> float:
        """One standard error."""
        ...


class _Terms(ABC):
    """A free energy made of terms in eV, one of which was switched and has an error."""

    @property
    @abstractmethod
    def terms(self) -> dict[str, float]:
        """Contributions in eV by name; they add up to ``value``."""

    @property
    @abstractmethod
    def error(self) -> float:
        """One standard error in eV."""

    @property
    @abstractmethod
    def statement(self) -> str:
        """What it is, in sentences with numbers."""

    @property
    def value(self) -> float:
        """Free energy in eV."""
        return float(sum(self.terms.values()))

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per term, and their sum with its error."""
        found: list[dict[str, Any]] = [
            {"term": name, "value_eV": value, "error_eV": 0.0} for name, value in self.terms.items()
        ]
        for row in found:
            row["error_eV"] = self._errors().get(row["term"], 0.0)
        return [*found, {"term": "sum", "value_eV": self.value, "error_eV": self.error}]

    def _errors(self) -> dict[str, float]:
        return {"switching": self.error}

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the statement, the value with its error, and the terms."""
        return {
            "statement": self.statement,
            "value_eV": self.value,
            "error_eV": self.error,
            "terms": self.rows(),
        }


@dataclass(frozen=True, eq=False)
class SolidFreeEnergy(_Terms):
    r"""Absolute Helmholtz free energy of a crystal, from a harmonic reference of a held centre.

    .. math::

        F = \underbrace{3 k_BT \sum_i \ln Λ_i}_\text{momenta}
        \underbrace{- \frac{k_BT}{2} \sum_{j=1}^{3n-3} \ln\frac{2π k_BT}{k_j}}_\text{springs}
        \underbrace{- \frac{3}{2} k_BT \ln n_f}_\text{centre held}
        + ΔF_\text{switching}
        \underbrace{- k_BT \ln\frac{V}{n_t}}_\text{centre released}

    The k_j are the reference's force constants where the mean displacement of n_f atoms is zero;
    n_f^{3/2} is the Jacobian of that condition, δ(Σu/n_f) instead of a unit normal's. For equal
    springs κ the second and third term together are −(k_BT/2)(3n ln(2πk_BT/κ) −
    3 ln(2πk_BT/nκ)), those of Polson, Trizac, Pronk and Frenkel (2000), doi:10.1063/1.481102. The
    integral over a free centre is V times that over a held one, and each of n_t translations of the
    crystal onto itself is a relabelling of identical atoms (last term). Lengths are in Å; the
    constants of the first, second and last term cancel.

    Parameters
    ----------
    reference
        What the closed forms need.
    switching
        Free energy of the crystal less that of the reference, both of a held centre, in eV.
    switching_error
        Its standard error.

    Raises
    ------
    InputError
        If a number is not finite.

    Examples
    --------
    >>> held = HeldReference(np.full(9, 5.0), np.full(4, 55.845), 4, 48.0, 4, 300.0)
    >>> solid = SolidFreeEnergy(held, -32.0, 0.01)
    >>> [row["term"] for row in solid.rows()]
    ['momenta', 'springs', 'centre held', 'switching', 'centre released', 'sum']
    """

    reference: HeldReference
    switching: float
    switching_error: float = 0.0

    def __post_init__(self) -> None:
        _check_kind("reference", self.reference, HeldReference)
        _check_finite(switching=self.switching, switching_error=self.switching_error)

    @classmethod
    def of(cls, reference: HeldReference, path: Estimate) -> Self:
        """Make it from the estimate of a `FrenkelLaddPath`, such as `switching_free_energy`'s."""
        _check_estimate(path)
        return cls(reference, path.free_energy, path.error)

    @property
    def terms(self) -> dict[str, float]:
        """Contributions in eV by name; they add up to ``value``."""
        held = self.reference
        thermal = units.kB * held.temperature
        reach = 2.0 * np.pi * thermal / held.stiffness
        return {
            "momenta": float(
                3.0 * thermal * np.log(thermal_wavelength(held.masses, held.temperature)).sum()
            ),
            "springs": float(-0.5 * thermal * np.log(reach).sum()),
            "centre held": -1.5 * thermal * float(np.log(held.n_frame)),
            "switching": float(self.switching),
            "centre released": -thermal * float(np.log(held.volume / held.translations)),
        }

    @property
    def error(self) -> float:
        """One standard error in eV."""
        return float(self.switching_error)

    @property
    def per_atom(self) -> float:
        """Free energy in eV per atom of this cell."""
        return self.value / self.reference.n_atoms

    @property
    def statement(self) -> str:
        """What it is, in sentences with numbers."""
        held = self.reference
        return (
            f"Helmholtz free energy {self.value:.4f} ± {self.error:.4f} eV of {held.n_atoms} atoms "
            f"at {held.temperature:g} K and constant volume ({self.per_atom:.4f} eV per atom), "
            f"from a reference ({held.label or 'harmonic crystal'}) with the mean displacement of "
            f"{held.n_frame} atoms held at zero. Its centre is released within "
            f"{held.volume / held.translations:.1f} Å³ ({held.translations} translations of the "
            "cell lead to the same crystal). Vibrations are classical; waves longer than the cell "
            "are left out, and other arrangements of the species are not counted."
        )


@dataclass(frozen=True, eq=False)
class SubstitutionFreeEnergy(_Terms):
    """Free energy of a crystal whose atoms became others: what was switched, and the masses.

    Parameters
    ----------
    switching
        Free energy after less before, of positions, in eV.
    switching_error
        Its standard error.
    masses_before, masses_after
        Of the atoms that changed, in amu.
    temperature
        In K.
    label
        What became what.

    Raises
    ------
    InputError
        If a number is not finite, or masses or the temperature are out of range.

    Examples
    --------
    >>> change = SubstitutionFreeEnergy(1.2, 0.01, [207.2], [87.62], 1000.0, "Pb to Sr")
    >>> round(change.terms["masses"], 4)
    0.1113
    """

    switching: float
    switching_error: float
    masses_before: ArrayLike
    masses_after: ArrayLike
    temperature: float
    label: str = ""

    def __post_init__(self) -> None:
        _check_finite(switching=self.switching, switching_error=self.switching_error)
        mass_contribution(self.masses_before, self.masses_after, self.temperature)

    @property
    def terms(self) -> dict[str, float]:
        """Contributions in eV by name; they add up to ``value``."""
        masses = mass_contribution(self.masses_before, self.masses_after, self.temperature)
        return {"switching": float(self.switching), "masses": masses}

    @property
    def error(self) -> float:
        """One standard error in eV."""
        return float(self.switching_error)

    @property
    def statement(self) -> str:
        """What it is, in sentences with numbers."""
        n = np.atleast_1d(np.asarray(self.masses_before)).size
        masses = round(self.terms["masses"], 4) + 0.0  # of an exchange: no −0
        return (
            f"Free energy of {self.label or 'the substitution'} of {n} "
            f"atom{'s' * (n != 1)} at {self.temperature:g} K and constant volume: "
            f"{self.value:.4f} ± {self.error:.4f} eV per cell, "
            f"{masses:.4f} of it from the masses. Vibrations are classical."
        )


@dataclass(frozen=True, eq=False)
class VacancyFormation(_Terms):
    r"""Free energy of taking an atom from one given site into a reservoir.

    .. math::

        F_f = ΔF_\text{switching} + \underbrace{\frac{3}{2} k_BT \ln\frac{2π k_BT}{κ}}_\text{ghost
        taken away} \underbrace{- 3 k_BT \ln Λ}_\text{momenta} + μ

    The path ends at the crystal without the atom and, independent of it, a ghost on a spring κ,
    whose closed form is taken away. The centre of the other atoms is held at both ends, so that
    what its release adds cancels. Mixing entropy is not in it: a share exp(−F_f/k_BT) of the sites
    is vacant where vacancies are few.

    Parameters
    ----------
    ghost
        The atom and its spring.
    switching
        Free energy with the ghost less that with the atom, of positions, in eV.
    switching_error
        Its standard error.
    chemical_potential
        μ of the removed atom in eV, momenta included.
    chemical_potential_error
        Its standard error.
    reservoir
        What μ is of.
    charge_state
        Of the vacancy. Energy models without electrons know none but the neutral one: the atom
        leaves with all its electrons.

    Raises
    ------
    InputError
        If a number is not finite.

    Examples
    --------
    >>> ghost = RemovedAtom("O", 15.999, 5.0, 600.0)
    >>> found = VacancyFormation(ghost, 9.0, 0.02, -5.4, reservoir="½ O2 at 1 bar")
    >>> list(found.terms)
    ['switching', 'ghost taken away', 'momenta', 'chemical potential']
    """

    ghost: RemovedAtom
    switching: float
    switching_error: float
    chemical_potential: float
    chemical_potential_error: float = 0.0
    reservoir: str = ""
    charge_state: str = "neutral"

    def __post_init__(self) -> None:
        _check_kind("ghost", self.ghost, RemovedAtom)
        for name in ("switching", "chemical_potential"):
            error = f"{name}_error"
            _check_finite(**{name: getattr(self, name), error: getattr(self, error)})

    @classmethod
    def of(
        cls,
        ghost: RemovedAtom,
        path: Estimate,
        chemical_potential: float,
        chemical_potential_error: float = 0.0,
        *,
        reservoir: str = "",
    ) -> Self:
        """Make it from the estimate of a `VacancyPath`, such as `switching_free_energy`'s."""
        _check_estimate(path)
        both = chemical_potential, chemical_potential_error
        return cls(ghost, path.free_energy, path.error, *both, reservoir=reservoir)

    @property
    def terms(self) -> dict[str, float]:
        """Contributions in eV by name; they add up to ``value``."""
        ghost = self.ghost
        thermal = units.kB * ghost.temperature
        wavelength = float(thermal_wavelength(ghost.mass, ghost.temperature))
        reach = 2.0 * np.pi * thermal / ghost.stiffness
        return {
            "switching": float(self.switching),
            "ghost taken away": 1.5 * thermal * float(np.log(reach)),
            "momenta": -3.0 * thermal * float(np.log(wavelength)),
            "chemical potential": float(self.chemical_potential),
        }

    @property
    def error(self) -> float:
        """One standard error in eV."""
        return float(np.hypot(self.switching_error, self.chemical_potential_error))

    def _errors(self) -> dict[str, float]:
        return {
            "switching": float(self.switching_error),
            "chemical potential": float(self.chemical_potential_error),
        }

    @property
    def statement(self) -> str:
        """What it is, in sentences with numbers."""
        ghost = self.ghost
        return (
            f"A vacancy in place of {ghost.symbol} at one given site costs {self.value:.4f} ± "
            f"{self.error:.4f} eV of free energy at {ghost.temperature:g} K and constant volume, "
            f"{ghost.symbol} going to {self.reservoir or 'its reservoir'} "
            f"(μ = {self.chemical_potential:.4f} eV). The vacancy is {self.charge_state}. "
            "Vibrations of the crystal are classical, and the mixing entropy of vacancies is left "
            "out."
        )


class SizeLimit(NamedTuple):
    """Free energy per atom of an infinite crystal in eV, its error, and the slope in 1/n."""

    per_atom: float
    error: float
    slope: float


def infinite_size(solids: Sequence[SolidFreeEnergy]) -> SizeLimit:
    r"""Free energy per atom of the infinite crystal, from cells of two sizes or more.

    .. math:: \frac{F}{n} + \frac{k_BT \ln n}{2 n} = f + \frac{a}{n} + …

    which is what Polson et al. (2000, doi:10.1063/1.481102) found for the excess free energy, the
    ideal gas of n particles written out: sound waves longer than the cell are missing, and the
    centre is released. A weighted line through the left-hand sides.

    Raises
    ------
    InputError
        If there are fewer than two sizes, or temperatures or primitive cells differ.

    Examples
    --------
    A simple cubic crystal with springs between neighbours, whose waves are known, all switched:

    >>> def crystal(side):
    ...     q = 2.0 * np.pi * np.indices((side,) * 3).reshape(3, -1)[:, 1:] / side
    ...     k = np.repeat(10.0 * (1.0 - np.cos(q)).sum(axis=0), 3)
    ...     held = HeldReference(k, np.full(side**3, 55.8), side**3, 12.0 * side**3, side**3, 300.0)
    ...     return SolidFreeEnergy(held, 0.0)
    >>> limit = infinite_size([crystal(side) for side in (4, 5, 6)])
    >>> round(limit.per_atom, 4), round(crystal(20).per_atom, 4), round(crystal(4).per_atom, 4)
    (0.0425, 0.0424, 0.0376)
    """
    for solid in solids:
        _check_kind("one of solids", solid, SolidFreeEnergy)
    held = [solid.reference for solid in solids]
    n = np.array([one.n_atoms for one in held], dtype=np.float64)
    if len(set(n.tolist())) < 2:
        raise InputError(f"cells have {n.tolist()} atoms: give two sizes or more")
    each = np.array([[one.temperature, one.volume / one.translations] for one in held])
    if not np.allclose(each, each[0], rtol=1e-6):
        raise InputError(
            "temperatures or primitive cells differ between the sizes: give cells of one crystal"
        )
    values = np.array([solid.value for solid in solids]) / n
    values = values + 0.5 * units.kB * held[0].temperature * np.log(n) / n
    errors = np.array([solid.error for solid in solids]) / n
    weights = 1.0 / errors if (errors > 0).all() else np.ones(len(n))
    design = np.stack([np.ones(len(n)), 1.0 / n], axis=1) * weights[:, None]
    inverse = np.linalg.pinv(design)
    found = inverse @ (weights * values)
    error = float(np.sqrt(((inverse[0] * weights) ** 2 * errors**2).sum()))
    return SizeLimit(float(found[0]), error, float(found[1]))


def _check_kind(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise InputError(f"{name} is {shown(value)}; give a {kind.__name__}")


def _check_estimate(path: object) -> None:
    if not all(hasattr(path, name) for name in ("free_energy", "error")):
        raise InputError(
            f"path is {shown(path)}; give an estimate, such as switching_free_energy(works)"
        )


def _check_finite(**numbers: float) -> None:
    for name, value in numbers.items():
        if not is_number(value) or not np.isfinite(value):
            raise InputError(f"{name} is {shown(value)}; give a finite number in eV")
        if name.endswith("_error") and value < 0:
            raise InputError(f"{name} is {shown(value)}; give a standard error in eV, 0 or more")
