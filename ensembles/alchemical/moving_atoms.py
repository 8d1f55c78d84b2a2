"""Atoms that move together with λ."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import units
from ase.data import atomic_masses

from ...errors import InputError
from ..dynamics.crystal import Crystal
from ..with_positions import WithPositions

__all__ = ["TIME_UNIT", "MovingAtoms"]

TIME_UNIT = 10.0
"""Femtoseconds in which the masses of λ are of the order of one."""


class MovingAtoms:
    """Positions beside λ: their masses, the held centre, and energies at vertices.

    A site's mass is the mean over the species that it may hold, whatever its λ: masses change no
    average.

    Parameters
    ----------
    hamiltonian
        Energy model of positions that has ``at`` and ``mixed_energy``.
    temperature
        Kelvin.
    fix_centre
        Whether the mean displacement is held at zero.

    Raises
    ------
    InputError
        If the model has no forces or no double precision, or a site may be vacant.
    """

    def __init__(self, hamiltonian: Any, temperature: float, fix_centre: bool) -> None:
        self.crystal = Crystal(hamiltonian, temperature, fix_centre)
        if self.crystal.has_vacancies:
            raise InputError(
                "a site that may be vacant has no atom to move with λ: give positions=False, and "
                "move atoms in between with HybridMD"
            )
        precision = str(getattr(hamiltonian, "dtype", "float64"))
        if "float64" not in precision:
            raise InputError(
                f"atoms that move with λ need energies in double precision, not in {precision}: "
                'build the energy model with dtype="float64"'
            )
        lattice = hamiltonian.lattice
        self.n_atoms = len(lattice.atoms)
        amu = atomic_masses[lattice.atoms.numbers].astype(float)
        allowed = np.asarray(lattice.allowed)
        own = np.where(allowed, atomic_masses[np.maximum(lattice.atomic_numbers, 0)], 0.0)
        amu[lattice.sites] = own.sum(axis=1) / allowed.sum(axis=1)
        self._amu = amu
        unit = (TIME_UNIT * units.fs) ** 2
        self.masses = np.repeat(amu, 3) / (self.crystal.kT * unit)

    def check(self, ensemble: WithPositions) -> None:
        """Refuse a pressure: the cell stays.

        Raises
        ------
        InputError
            With the remedy.
        """
        if ensemble.pressure is not None:
            raise InputError(
                "λ and positions move in a fixed cell: leave out the pressure, or drive "
                "LambdaDynamics without positions by HybridMD"
            )

    def start(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions [n, n_atoms, 3] and cells [n, 3, 3] that the energy model is bound to."""
        model, atoms = self.crystal.hamiltonian, self.crystal.lattice.atoms
        cell = np.array(getattr(model, "cell", atoms.cell.array), dtype=float)
        where = np.array(getattr(model, "positions", atoms.positions), dtype=float)
        cells = np.tile(cell, (n, 1, 1))
        return self.crystal.recentred(np.tile(where, (n, 1, 1)), cells), cells

    def known(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> np.ndarray:
        """Energies [n] in eV where there must be some."""
        return self.crystal.known(occupations, positions, cells)[0]

    def energies(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> np.ndarray:
        """Energies [n] in eV, +∞ where there is none."""
        return self.crystal.evaluate(occupations, positions, cells)[0]

    def projected(self, velocity: np.ndarray) -> np.ndarray:
        """Flat velocities [n, d] with that of the centre taken out of the positions' part."""
        n_theta = velocity.shape[1] - 3 * self.n_atoms
        there = velocity[:, n_theta:].reshape(len(velocity), -1, 3)
        masses = np.broadcast_to(self._amu, there.shape[:2])
        held = self.crystal.projected(there, masses).reshape(len(velocity), -1)
        return np.concatenate([velocity[:, :n_theta], held], axis=1)
