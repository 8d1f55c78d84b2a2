"""Reference crystals with closed-form free energies: independent springs, or force constants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import units
from ase.data import atomic_masses, chemical_symbols
from scipy.linalg import null_space

from ...errors import InputError
from ...lattice import Lattice
from ...protocols import Generators
from ...solid_records import HeldReference
from ...sublattice import is_number, shown
from ..dynamics.crystal import Crystal

__all__ = ["EinsteinCrystal", "HarmonicCrystal", "spring_constants"]


class _Reference(ABC):
    """What both crystals share: places, the atoms that are there, and draws of a held centre."""

    def __init__(self, lattice: Lattice, occupation: np.ndarray, places: np.ndarray | None) -> None:
        self.lattice = lattice
        self.occupation = np.array(lattice.check(occupation), dtype=np.int8)
        if self.occupation.ndim != 1:
            raise InputError(
                f"occupation has shape {self.occupation.shape}: give one of {lattice.n_sites} sites"
            )
        known = lattice.atoms.positions if places is None else places
        self.places = _numbers(known)
        if self.places.shape != lattice.atoms.positions.shape or not np.isfinite(self.places).all():
            raise InputError(
                f"places have shape {self.places.shape}: give a finite position in Å for each of "
                f"the {len(lattice.atoms)} atoms"
            )
        self.cell = lattice.atoms.cell.array
        crystal = Crystal(self, 1.0, fix_centre=False)
        self.numbers = crystal.numbers(self.occupation[None])[0]
        self.there = self.numbers > 0
        self.frame = crystal.frame
        if not self.frame.any():
            raise InputError(
                "every atom may be vacant, so that there is no centre to hold: keep one sublattice "
                "or spectator without vacancies"
            )

    def forces_at(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies [n] in eV, forces [n, n_atoms, 3] in eV/Å and stress, which is not known (NaN).

        Raises
        ------
        InputError
            If the cell is another than the lattice's: the reference is one of constant volume.
        """
        if not np.allclose(cells, self.cell, atol=1e-9):
            raise InputError(
                "a reference crystal keeps the lattice's cell: leave the pressure out, and make a "
                "lattice in the cell that is wanted"
            )
        energy, forces = self._pulled(positions - self.places)
        return energy, forces, np.full((len(occupations), 3, 3), np.nan)

    @abstractmethod
    def _pulled(self, away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] and forces of displacements [n, n_atoms, 3]."""

    @abstractmethod
    def _stiffness(self) -> np.ndarray:
        """Eigenvalues of the force constants where the centre is held, in eV/Å²."""

    def record(self, temperature: float, translations: int | None = None) -> HeldReference:
        """Return the numbers that its free energy follows from.

        Parameters
        ----------
        temperature
            In K.
        translations
            Primitive cells in the cell; by default those of the lattice, whose sites are alike
            whatever they hold, so that a sum over occupations counts nothing twice. The lattice
            knows the sites that are declared: with one declared site it has one, though the
            crystal may repeat. Give the number of the crystal's own then, where the absolute free
            energy is wanted; two crystals that are compared site by site need the same one.
        """
        check_temperature(temperature)
        if translations is None:
            classes = len(np.unique(self.lattice.translation_classes))
            translations = self.lattice.n_sites // classes
        elements = sorted({chemical_symbols[z] for z in self.numbers[self.there]})
        return HeldReference(
            self._stiffness(),
            atomic_masses[self.numbers[self.there]],
            int(self.frame.sum()),
            float(self.lattice.atoms.get_volume()),
            translations,
            float(temperature),
            f"{type(self).__name__} of {int(self.there.sum())} atoms ({', '.join(elements)})",
        )


class EinsteinCrystal(_Reference):
    r"""Every atom on a spring of its own: U = ½ Σ κ_i |r_i − r_i⁰|².

    An energy model of positions at a fixed cell, to be the reference of a path (Frenkel and Ladd
    1984, doi:10.1063/1.448024). It knows one occupation, and does not look at that of the
    structures it is asked about.

    Parameters
    ----------
    lattice
        Sites and reference positions.
    occupation
        Integers [n_sites]; vacant sites have no spring.
    springs
        κ in eV/Å²: a number, numbers by element, or [n_atoms].
    places
        r⁰ in Å, [n_atoms, 3]; the lattice's by default.

    Raises
    ------
    InputError
        If a shape is wrong, an element has no spring, or a spring is not above 0.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from alchemc import Lattice, Sublattice
    >>> atoms = bulk("Fe", "bcc", a=2.85, cubic=True) * (2, 2, 2)
    >>> lattice = Lattice(atoms, {"A": Sublattice("Fe", ("Fe", "Cr"))})
    >>> crystal = EinsteinCrystal(lattice, np.zeros(16, dtype=int), {"Fe": 5.0})
    >>> crystal.record(300.0).translations
    16
    """

    def __init__(
        self,
        lattice: Lattice,
        occupation: np.ndarray,
        springs: float | Mapping[str, float] | np.ndarray,
        places: np.ndarray | None = None,
    ) -> None:
        super().__init__(lattice, occupation, places)
        self.springs = self._each(springs)

    def _each(self, springs: Any) -> np.ndarray:
        """Spring constants [n_atoms], 0 where no atom is."""
        found = np.zeros(len(self.there))
        if isinstance(springs, Mapping):
            for atom in np.flatnonzero(self.there):
                symbol = chemical_symbols[self.numbers[atom]]
                if symbol not in springs:
                    raise InputError(
                        f"springs have none for {symbol}; they are for {', '.join(springs)}"
                    )
                found[atom] = springs[symbol]
        else:
            given = _numbers(springs)
            if given.shape not in {(), found.shape}:
                raise InputError(
                    f"springs are {shown(springs)}: give a number of eV/Å², numbers by element, or "
                    f"one for each of {len(found)} atoms"
                )
            found[:] = given
        if not (np.isfinite(found) & (found > 0))[self.there].all():
            raise InputError(f"springs are {shown(springs)}: give eV/Å² above 0")
        return np.where(self.there, found, 0.0)

    def _pulled(self, away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pull = -self.springs[:, None] * away
        return -0.5 * (pull * away).sum(axis=(1, 2)), pull

    def _stiffness(self) -> np.ndarray:
        """Eigenvalues where Σ u = 0 over the frame; each of the three directions has the same."""
        held = self.frame[self.there] / np.sqrt(self.frame.sum())
        basis = null_space(held[None])
        one = np.linalg.eigvalsh((basis.T * self.springs[self.there]) @ basis)
        return np.repeat(one, 3)

    def draw(self, temperature: float, rngs: Generators) -> np.ndarray:
        r"""Positions of its own equilibrium with the centre held, [n, n_atoms, 3].

        u' = u − C a (aᵀC a)⁻¹ aᵀu conditions Gaussians u of covariance C = k_BT/κ on Σ u = 0, where
        a sums over the frame. Vacant sites stand at their places.

        Parameters
        ----------
        temperature
            In K.
        rngs
            One generator for each set of positions.
        """
        check_temperature(temperature)
        variance = np.zeros(len(self.there))
        variance[self.there] = units.kB * temperature / self.springs[self.there]
        normals = np.array([rng.standard_normal(self.places.shape) for rng in rngs])
        away = np.sqrt(variance)[:, None] * normals
        share = np.where(self.frame, variance, 0.0)
        summed = np.where(self.frame[:, None], away, 0.0).sum(axis=1)
        return self.places + away - (share / share.sum())[:, None] * summed[:, None]


class HarmonicCrystal(_Reference):
    r"""A crystal of given force constants: U = ½ (r − r⁰)ᵀ K (r − r⁰).

    Nearer to a real crystal than independent springs, so that less is to be switched. Modes softer
    than ``softest`` (imaginary ones too) are stiffened to it: the reference has to hold every atom.

    Parameters
    ----------
    lattice
        Sites and reference positions.
    occupation
        Integers [n_sites].
    matrix
        K in eV/Å², [3 n, 3 n] over the n atoms that are there, symmetric; such as the mean over a
        few thermal draws, which is stable where that of a single structure is not.
    places
        r⁰ in Å, [n_atoms, 3]; the lattice's by default.
    softest
        eV/Å².

    Raises
    ------
    InputError
        If a shape is wrong, the matrix is not symmetric, or ``softest`` is not above 0.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from alchemc import Lattice, Sublattice
    >>> lattice = Lattice(bulk("Fe", "bcc", a=2.85, cubic=True),
    ...                   {"A": Sublattice("Fe", ("Fe", "Cr"))})
    >>> bond = np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> crystal = HarmonicCrystal(lattice, np.array([0, 0]), 4.0 * np.kron(bond, np.eye(3)))
    >>> crystal.record(300.0).stiffness.round(6)
    array([8., 8., 8.])
    """

    def __init__(
        self,
        lattice: Lattice,
        occupation: np.ndarray,
        matrix: np.ndarray,
        places: np.ndarray | None = None,
        *,
        softest: float = 0.5,
    ) -> None:
        super().__init__(lattice, occupation, places)
        size = 3 * int(self.there.sum())
        known = _numbers(matrix)
        if known.shape != (size, size) or not np.isfinite(known).all():
            raise InputError(
                f"matrix has shape {known.shape}: give finite force constants [{size}, {size}]"
            )
        if not np.allclose(known, known.T, atol=1e-6 * max(1.0, float(np.abs(known).max()))):
            raise InputError("matrix is not symmetric: give ½ (K + Kᵀ)")
        if not is_number(softest) or softest <= 0:
            raise InputError(f"softest is {shown(softest)}; give eV/Å² above 0")
        held = self.frame[self.there] / np.sqrt(self.frame.sum())
        basis = np.kron(null_space(held[None]), np.eye(3))
        values, vectors = np.linalg.eigh(basis.T @ known @ basis)
        self.values, self.modes = np.maximum(values, softest), basis @ vectors
        self.matrix = (self.modes * self.values) @ self.modes.T

    def _pulled(self, away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat = away[:, self.there].reshape(len(away), -1)
        pull = -flat @ self.matrix
        forces = np.zeros_like(away)
        forces[:, self.there] = pull.reshape(len(away), -1, 3)
        return -0.5 * (flat * pull).sum(axis=1), forces

    def _stiffness(self) -> np.ndarray:
        return self.values

    def draw(self, temperature: float, rngs: Generators) -> np.ndarray:
        """Positions of its own equilibrium with the centre held, [n, n_atoms, 3].

        Parameters
        ----------
        temperature
            In K.
        rngs
            One generator for each set of positions.
        """
        check_temperature(temperature)
        spread = np.sqrt(units.kB * temperature / self.values)
        away = np.array([self.modes @ (spread * r.standard_normal(len(spread))) for r in rngs])
        found = np.repeat(self.places[None], len(away), axis=0)
        found[:, self.there] += away.reshape(len(away), -1, 3)
        return found


def spring_constants(
    lattice: Lattice, occupation: np.ndarray, positions: np.ndarray, temperature: float
) -> tuple[dict[str, float], np.ndarray]:
    r"""Springs by element as soft as the crystal itself, and the mean places.

    .. math:: κ = 3 k_BT / \overline{⟨|u|²⟩}

    over the atoms of an element, u from the mean positions. With them the Einstein crystal reaches
    as far as the crystal does (D. Frenkel and B. Smit, Understanding Molecular Simulation, 2002,
    chapter 10).

    Parameters
    ----------
    lattice
        Sites and reference positions.
    occupation
        Integers [n_sites].
    positions
        Draws in Å with the centre held, [..., n_atoms, 3].
    temperature
        In K.

    Returns
    -------
    tuple
        κ in eV/Å² by element, and places [n_atoms, 3] in Å.

    Raises
    ------
    InputError
        If there are fewer than two draws, a shape is wrong, or an atom never moved.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from alchemc import Lattice, Sublattice
    >>> lattice = Lattice(bulk("Fe", "bcc", a=2.85, cubic=True),
    ...                   {"A": Sublattice("Fe", ("Fe", "Cr"))})
    >>> stiff = EinsteinCrystal(lattice, np.array([0, 0]), 6.0)
    >>> draws = stiff.draw(300.0, [np.random.default_rng(k) for k in range(4000)])
    >>> springs, _ = spring_constants(lattice, np.array([0, 0]), draws, 300.0)
    >>> round(springs["Fe"])  # two atoms of a held centre reach half as far each
    12
    """
    check_temperature(temperature)
    known = _numbers(positions)
    if known.shape[-2:] != (len(lattice.atoms), 3) or not np.isfinite(known).all():
        raise InputError(
            f"positions have shape {known.shape}: give finite draws [..., {len(lattice.atoms)}, 3] "
            "in Å"
        )
    draws = known.reshape(-1, len(lattice.atoms), 3)
    if len(draws) < 2:
        raise InputError(f"there are {len(draws)} draws of positions: give two or more")
    places = draws.mean(axis=0)
    squares = ((draws - places) ** 2).sum(axis=2).mean(axis=0) * len(draws) / (len(draws) - 1)
    numbers = EinsteinCrystal(lattice, occupation, 1.0).numbers
    springs = {}
    for number in sorted({int(z) for z in numbers if z > 0}):
        spread = float(squares[numbers == number].mean())
        if spread <= 0:
            raise InputError(f"no atom of {chemical_symbols[number]} ever moved: give draws")
        springs[chemical_symbols[number]] = 3.0 * units.kB * temperature / spread
    return springs, places


def check_temperature(temperature: Any) -> None:
    """Refuse what is no temperature."""
    if not is_number(temperature) or not 0 < temperature < np.inf:
        raise InputError(f"temperature is {shown(temperature)}; give kelvin above 0")


def _numbers(values: Any) -> np.ndarray:
    """Array of floats; of what is none, an empty one, which fits no shape."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty(0)
