"""What moves: atoms of given masses about their sites, a held centre, and ghosts of vacancies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from ase import units
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from ...errors import InputError, ModelError
from ...lattice import Lattice
from ...potentials.calculator import check_positional, forces_at
from ...protocols import Generators
from ...sublattice import is_number, shown, suggestion

__all__ = ["Crystal", "Dynamics", "Masses", "Report", "Structures", "check_masses"]

Masses = str | Mapping[str, float]
"""``"species"`` (ASE's), ``"equal"``, or amu by species."""


class Structures(NamedTuple):
    """Replicas as a position block sees them; every field leads with n_replicas.

    ``occupations`` int8 [n, n_sites]; ``positions`` [n, n_atoms, 3] and ``cells`` [n, 3, 3] in Å;
    ``energy`` [n] in eV.
    """

    occupations: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    energy: np.ndarray


class Report(NamedTuple):
    """What a position block did, [n_replicas] each.

    ``accepted`` and ``acceptance_probability`` of a trajectory (true and 1 for molecular dynamics),
    ``volume_accepted`` and ``volume_acceptance_probability`` of the volume move (false and NaN
    where there is none), ``force_calls``: evaluations of energy and forces.
    """

    accepted: np.ndarray
    acceptance_probability: np.ndarray
    volume_accepted: np.ndarray
    volume_acceptance_probability: np.ndarray
    force_calls: np.ndarray


class Dynamics(Protocol):
    """A way to move positions at a fixed occupation. Objects are immutable."""

    pressure: float | None
    exact: bool
    masses: Masses

    def run(
        self, crystal: Crystal, structures: Structures, rngs: Generators
    ) -> tuple[Structures, Report]:
        """Move every replica by one block; its draws come from its own generator alone."""
        ...

    def resumed(self) -> Self:
        """Return the dynamics as tuning has left it, for another part of the warm-up."""
        ...

    def tuned(self, report: Report) -> Self:
        """Return the dynamics after a block of the warm-up, still to be tuned further."""
        ...

    def settled(self) -> Self:
        """Return the dynamics with what tuning found, to be used as it is."""
        ...

    def with_pressure(self, pressure: float | None) -> Self:
        """Return the dynamics at another pressure in GPa."""
        ...

    def summary(self) -> dict[str, Any]:
        """Say what it is, in plain numbers and words."""
        ...

    def to_arrays(self) -> dict[str, Any]:
        """Tuned numbers."""
        ...

    def with_arrays(self, arrays: Mapping[str, Any]) -> Self:
        """Return the dynamics with the numbers that ``to_arrays`` gave."""
        ...


def check_masses(masses: Masses) -> Masses:
    """Refuse masses that are none."""
    if isinstance(masses, str) and masses in ("species", "equal"):
        return masses
    if not isinstance(masses, Mapping):
        raise InputError(
            f'masses are {shown(masses)}; give "species", "equal" or amu by species, such as '
            "{'O': 16.0}"
        )
    for name, value in masses.items():
        if name not in atomic_numbers:
            raise InputError(f"masses name {name!r}, which is no element; give symbols such as 'O'")
        if not is_number(value) or value <= 0:
            raise InputError(f"the mass of {name} is {shown(value)}; give amu above 0")
    return dict(masses)


@dataclass(frozen=True)
class Crystal:
    r"""Positions R of all atoms of a lattice, in a cell h, at a temperature.

    A site's reference is where the lattice has it, at the same fractional place in every cell:
    r_i = s_i h. A vacant site keeps a *ghost*, whose displacement u from the reference has the
    normalised density

    .. math:: ρ(u) = (2πw²)^{-3/2} \exp(−|u|²/2w²)

    of its own and no energy. With ``fix_centre`` the mean displacement of the atoms that are never
    vacant is held at zero: all velocities are taken from, and all forces act in, the hyperplane on
    which their mean velocity is zero.

    Parameters
    ----------
    hamiltonian
        Energy model of positions.
    temperature
        Kelvin.
    fix_centre
        Whether the centre is held.
    ghost_width
        w in Å.

    Raises
    ------
    InputError
        If the model has no forces, the width is none, or a centre is to be held of atoms every one
        of which may be vacant.
    """

    hamiltonian: Any
    temperature: float
    fix_centre: bool = True
    ghost_width: float = 0.1

    def __post_init__(self) -> None:
        check_positional(self.hamiltonian)
        if not is_number(self.ghost_width) or self.ghost_width <= 0:
            raise InputError(f"ghost_width is {shown(self.ghost_width)}; give Å above 0")
        if self.fix_centre and not self.frame.any():
            raise InputError(
                "every atom may be vacant, so that there is no centre to hold: give "
                "fix_centre=False"
            )

    @property
    def lattice(self) -> Lattice:
        """Sites and references."""
        return self.hamiltonian.lattice

    @property
    def kT(self) -> float:  # noqa: N802  (the field's name)
        """Thermal energy in eV."""
        return units.kB * self.temperature

    @cached_property
    def fractional(self) -> np.ndarray:
        """Fractional places of the references, [n_atoms, 3]."""
        atoms = self.lattice.atoms
        return np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T

    @cached_property
    def has_vacancies(self) -> bool:
        """Whether any site may be vacant."""
        return bool((self.lattice.atomic_numbers == 0).any())

    @cached_property
    def frame(self) -> np.ndarray:
        """Atoms that are never vacant, bool [n_atoms]."""
        frame = np.ones(len(self.lattice.atoms), dtype=bool)
        frame[self.lattice.sites[(self.lattice.atomic_numbers == 0).any(axis=1)]] = False
        return frame

    # ---- occupations -----------------------------------------------------------------------

    def numbers(self, occupations: np.ndarray) -> np.ndarray:
        """Atomic numbers, 0 for vacancies, int64 [n, n_atoms]."""
        lattice = self.lattice
        numbers = np.tile(lattice.atoms.numbers.astype(np.int64), (len(occupations), 1))
        sites = np.arange(lattice.n_sites)
        numbers[:, lattice.sites] = lattice.atomic_numbers[sites, occupations.astype(np.int64)]
        return numbers

    def masses(self, occupations: np.ndarray, masses: Masses) -> np.ndarray:
        """Masses in amu, [n, n_atoms]; infinite for vacancies, whose ghosts do not move."""
        numbers = self.numbers(occupations)
        table = atomic_masses.copy()
        if masses == "equal":
            table[:] = atomic_masses[self.lattice.atoms.numbers].mean()
        elif not isinstance(masses, str):
            for symbol, mass in masses.items():
                table[atomic_numbers[symbol]] = mass
        return np.where(numbers > 0, table[numbers], np.inf)

    def check_masses(self, masses: Masses) -> None:
        """Refuse masses of elements that are not in the lattice.

        Raises
        ------
        InputError
            With the elements that are.
        """
        if isinstance(masses, str):
            return
        lattice = self.lattice
        numbers = [*lattice.atomic_numbers.ravel(), *lattice.atoms.numbers[lattice.spectators]]
        known = {chemical_symbols[z] for z in numbers if z > 0}
        for symbol in masses:
            if symbol not in known:
                raise InputError(
                    f"masses name {symbol!r}, which is not in the lattice; "
                    f"{suggestion(symbol, known)}"
                )

    # ---- energies and forces ---------------------------------------------------------------

    def evaluate(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] in eV, +inf where there is none, and forces [n, n_atoms, 3] in eV/Å."""
        energy, forces, _ = forces_at(self.hamiltonian, occupations, positions, cells)
        known = np.isfinite(energy) & np.isfinite(forces).all(axis=(1, 2))
        acting = known[:, None] & (self.numbers(occupations) > 0)
        return np.where(known, energy, np.inf), np.where(acting[:, :, None], forces, 0.0)

    def known(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies and forces where there must be some.

        Raises
        ------
        ModelError
            If a structure has no finite energy.
        """
        if not np.isfinite(positions).all():
            energy = np.full(len(occupations), np.inf)
        else:
            energy, forces = self.evaluate(occupations, positions, cells)
        if not np.isfinite(energy).all():
            raise ModelError(
                f"replica {np.argmax(~np.isfinite(energy))} has no finite energy where it stands "
                "(overlapping atoms?): take a shorter time step, or start from other positions"
            )
        return energy, forces

    # ---- places ----------------------------------------------------------------------------

    def references(self, cells: np.ndarray) -> np.ndarray:
        """Places of the references in cells [n, 3, 3], [n, n_atoms, 3] in Å."""
        return self.fractional @ cells

    def recentred(self, positions: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Positions moved as a whole so that the mean displacement of the frame is zero."""
        if not self.fix_centre:
            return positions
        displaced = self._summed(positions - self.references(cells)) / self.frame.sum()
        return positions - displaced[:, None]

    def n_free(self, occupations: np.ndarray) -> np.ndarray:
        """Atoms that a volume move carries with it, one fewer if the centre is held, [n]."""
        there = (self.numbers(occupations) > 0).sum(axis=1)
        return there - int(self.fix_centre)

    # ---- velocities ------------------------------------------------------------------------

    def draw_velocities(self, masses: np.ndarray, rngs: Generators) -> np.ndarray:
        """Velocities of the Maxwell–Boltzmann distribution in ASE's unit, [n, n_atoms, 3]."""
        shape = (masses.shape[1], 3)
        normals = np.array([rng.standard_normal(shape) for rng in rngs])
        return self.projected(np.sqrt(self.kT / masses)[:, :, None] * normals, masses)

    def projected(self, velocities: np.ndarray, masses: np.ndarray) -> np.ndarray:
        """Velocities with that of the centre taken out, as a rigid constraint does it.

        v − M⁻¹cᵀ (cM⁻¹cᵀ)⁻¹ c·v, where c sums over the frame.
        """
        if not self.fix_centre:
            return velocities
        share = np.where(self.frame, 1.0 / masses, 0.0)
        share = share / share.sum(axis=1, keepdims=True)
        return velocities - share[:, :, None] * self._summed(velocities)[:, None]

    def _summed(self, vectors: np.ndarray) -> np.ndarray:
        """Sum over the frame, [n, 3], in one order whichever replicas there are."""
        return np.where(self.frame[:, None], vectors, 0.0).sum(axis=1)

    # ---- ghosts ----------------------------------------------------------------------------

    def with_new_ghosts(self, structures: Structures, rngs: Generators) -> Structures:
        """Structures whose ghosts are drawn anew; what they were does not matter."""
        if not self.has_vacancies:
            return structures
        vacant = self.numbers(structures.occupations) == 0
        positions, references = structures.positions.copy(), self.references(structures.cells)
        for row, rng in enumerate(rngs):
            drawn = self.ghost_width * rng.standard_normal((int(vacant[row].sum()), 3))
            positions[row, vacant[row]] = references[row, vacant[row]] + drawn
        return structures._replace(positions=positions)

    def ghost_energies(self, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """−k_BT ln ρ of a ghost at every site, where it may be vacant; [n_sites, n_species_max].

        In eV, ρ in 1/Å³, for one set of positions [n_atoms, 3] in a cell [3, 3].
        """
        sites, width = self.lattice.sites, self.ghost_width
        displaced = positions[sites] - (self.fractional @ cell)[sites]
        minus_log = 0.5 * (displaced**2).sum(axis=1) / width**2
        minus_log += 1.5 * np.log(2.0 * np.pi * width**2)
        return self.kT * np.where(self.lattice.atomic_numbers == 0, minus_log[:, None], 0.0)
