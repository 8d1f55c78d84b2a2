"""One occupation as an ASE calculator, and the forces of structures each at its own positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from ..errors import AlchemcError, InputError, ModelError
from ..lattice import Lattice

__all__ = ["OccupationCalculator", "check_positional", "forces_at"]


class OccupationCalculator(Calculator):
    """Energy, forces and stress of one occupation, for anything in ASE that takes a calculator.

    The structure is that of ``lattice.to_atoms(occupation)``: the same elements in the same order,
    vacancies left out, at any positions and in any cell.

    Parameters
    ----------
    hamiltonian
        Energy model of positions, such as `AlchemicalMACE`: it has ``forces_at``, or ``at`` and
        ``energy_forces_stress``.
    occupation
        Integers [n_sites].

    Raises
    ------
    InputError
        If the model has no forces, or later if a structure holds other elements.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.optimize import BFGS
    >>> from alchemc import AlchemicalMACE, builders
    >>> from alchemc.potentials import OccupationCalculator
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 1, 1))
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> atoms = lattice.to_atoms(np.array([0, 1]))
    >>> atoms.calc = OccupationCalculator(mace, np.array([0, 1]))
    >>> before = atoms.get_potential_energy()
    >>> BFGS(atoms, logfile=None).run(fmax=0.1) and atoms.get_potential_energy() < before
    True
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, hamiltonian: Any, occupation: np.ndarray) -> None:
        super().__init__()
        check_positional(hamiltonian)
        self.hamiltonian = hamiltonian
        lattice: Lattice = hamiltonian.lattice
        self.occupation = np.array(lattice.check(occupation), dtype=np.int8)
        self._numbers = lattice.to_atoms(self.occupation).numbers
        there = np.ones(len(lattice.atoms), dtype=bool)
        held = lattice.atomic_numbers[np.arange(lattice.n_sites), self.occupation]
        there[lattice.sites[held == 0]] = False
        self._there = there
        self._fractional = lattice.atoms.cell.scaled_positions(lattice.atoms.positions)
        self.calls = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the model at the positions and cell of ``atoms``."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        held = self.atoms  # a copy
        assert held is not None  # noqa: S101  (calculate)
        if not np.array_equal(held.numbers, self._numbers):
            raise InputError(
                f"the structure is {held.symbols}, the calculator's occupation "
                f"{Atoms(self._numbers).symbols}: take lattice.to_atoms(occupation)"
            )
        cell = held.cell.array
        positions = self._fractional @ cell
        positions[self._there] = held.positions
        energy, forces, stress = forces_at(
            self.hamiltonian, self.occupation[None], positions[None], cell[None]
        )
        self.calls += 1
        if not np.isfinite(energy[0]):
            raise ModelError(
                "the energy model has no finite energy here: check the positions (overlapping "
                "atoms?), or take a shorter time step"
            )
        self.results = {
            "energy": float(energy[0]),
            "free_energy": float(energy[0]),
            "forces": forces[0, self._there],
            "stress": full_3x3_to_voigt_6_stress(stress[0]),
        }


def check_positional(hamiltonian: Any) -> None:
    """Refuse an energy model that has no forces at positions of one's choice.

    Raises
    ------
    InputError
        With the reason.
    """
    name = type(hamiltonian).__name__
    if hasattr(hamiltonian, "relaxed"):
        raise InputError(
            f"{name} relaxes the positions, which cannot be both relaxed and moved or sampled: "
            "give the energy model that it relaxes"
        )
    views = hasattr(hamiltonian, "at") and hasattr(hamiltonian, "energy_forces_stress")
    if not (hasattr(hamiltonian, "forces_at") or views):
        raise InputError(
            f"{name} has no forces (neither forces_at nor at and energy_forces_stress): positions "
            "cannot move on it; give an energy model of positions such as AlchemicalMACE"
        )


def forces_at(
    hamiltonian: Any, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies [n], forces [n, n_atoms, 3] and stress [n, 3, 3], each at its own positions.

    By the model's own ``forces_at`` where it has one, else by one view of it after the other. NaN
    where there is no energy.

    Parameters
    ----------
    hamiltonian
        Energy model of positions.
    occupations, positions, cells
        [n, n_sites], [n, n_atoms, 3] and [n, 3, 3], in Å.
    """
    if hasattr(hamiltonian, "forces_at"):
        return hamiltonian.forces_at(occupations, positions, cells)
    energies = np.full(len(occupations), np.nan)
    forces, stress = np.full(positions.shape, np.nan), np.full(cells.shape, np.nan)
    for row, occupation in enumerate(occupations):
        try:
            view = hamiltonian.at(positions[row], cells[row])
            found = view.energy_forces_stress(occupation[None])
        except AlchemcError:  # atoms on top of one another, no finite energy
            continue
        energies[row], forces[row], stress[row] = (values[0] for values in found)
    return energies, forces, stress
