"""The energy between species, as a function of the λ of groups."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from ...errors import InputError, ModelError
from .groups import Groups

__all__ = ["MixedModel"]


class MixedModel:
    """E(λ) of groups of sites, with ∂E/∂λ and forces; evaluations are counted in ``calls``.

    At a vertex, where every group holds one species, it is the energy of that occupation.

    Parameters
    ----------
    hamiltonian
        Energy model with ``mixed_energy``: `AlchemicalMACE`, `AlchemicalCHGNet`, or a sum over
        clusters of sites such as `PairHamiltonian`.
    groups
        Sites that share a λ.
    mixing
        Rule by which species mix on a site, handed on to the model: ``"sites"`` or ``"paper"``.

    Raises
    ------
    InputError
        If the model knows no λ between species, or is one of another lattice.

    Examples
    --------
    >>> from alchemc import PairHamiltonian, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> unlike_bonds = PairHamiltonian(lattice, [np.array([[0.0, -0.01], [-0.01, 0.0]])])
    >>> model = MixedModel(unlike_bonds, Groups.whole(lattice))
    >>> energy, slope, _ = model.evaluate(np.array([[0.5, 0.5]]), np.zeros(8, int))
    >>> round(energy, 6), slope.round(6).tolist(), model.calls
    (-0.12, [[-0.24, -0.24]], 1)
    """

    def __init__(self, hamiltonian: Any, groups: Groups, mixing: str = "sites") -> None:
        if not hasattr(hamiltonian, "mixed_energy"):
            raise InputError(
                f"{type(hamiltonian).__name__} has no mixed_energy, the energy between species: "
                "give AlchemicalMACE, AlchemicalCHGNet or PairHamiltonian"
            )
        if hamiltonian.lattice != groups.lattice:
            raise InputError(
                "the groups' lattice differs from the energy model's: build both from one Lattice"
            )
        if mixing not in ("sites", "paper"):
            raise InputError(f'mixing is {mixing!r}; give "sites" or "paper"')
        self.hamiltonian, self.groups, self.mixing = hamiltonian, groups, mixing
        self.calls = 0

    def evaluate(
        self,
        weights: np.ndarray,
        occupation: np.ndarray,
        positions: np.ndarray | None = None,
        cell: np.ndarray | None = None,
        forces: bool = False,
    ) -> tuple[float, np.ndarray, np.ndarray | None]:
        """Energy at one λ.

        Parameters
        ----------
        weights
            λ of the groups, [n_groups, n_species_max].
        occupation
            [n_sites]: what the sites in no group hold.
        positions, cell
            [n_atoms, 3] and [3, 3] in Å; those the model is bound to by default.
        forces
            Whether forces are wanted.

        Returns
        -------
        energy, gradient, forces
            eV; ∂E/∂λ in eV, [n_groups, n_species_max]; eV/Å, [n_atoms, 3] or None.
        """
        self.calls += 1
        options = {} if self.mixing == "sites" else {"mixing": self.mixing}
        found = self._bound(positions, cell).mixed_energy(
            self.groups.lam(weights, occupation), forces=forces, stress=False, **options
        )
        return float(found.energy), self.groups.gather(found.gradient), found.forces

    def evaluate_all(
        self,
        weights: np.ndarray,
        occupations: np.ndarray,
        positions: np.ndarray | None = None,
        cells: np.ndarray | None = None,
        forces: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Energies of replicas: as ``evaluate``, every argument and result led by [n].

        A replica without a finite energy (atoms on top of one another) has +inf, and no slopes.
        """
        n = len(weights)
        if positions is None and self.mixing == "sites" and hasattr(
            self.hamiltonian, "mixed_energies"
        ):  # fmt: skip
            self.calls += n
            energies, slopes = self.hamiltonian.mixed_energies(
                self.groups.lam(weights, occupations)
            )
            return energies, self.groups.gather(slopes), None
        energies, gradient = np.full(n, np.inf), np.zeros(np.shape(weights))
        n_atoms = len(self.groups.lattice.atoms)
        pushes = np.zeros((n, n_atoms, 3)) if forces else None
        for row in range(n):
            where = None if positions is None else positions[row]
            cell = None if cells is None else cells[row]
            with contextlib.suppress(ModelError):
                energy, slope, force = self.evaluate(
                    weights[row], occupations[row], where, cell, forces
                )
                energies[row], gradient[row] = energy, slope
                if pushes is not None:
                    pushes[row] = force
        return energies, gradient, pushes

    def vertex_energy(
        self,
        states: np.ndarray,
        occupations: np.ndarray,
        positions: np.ndarray | None = None,
        cell: np.ndarray | None = None,
    ) -> np.ndarray:
        """Energies [n] in eV of states [n, n_groups], by the model's own ``energy``."""
        self.calls += len(states)
        model = self._bound(positions, cell)
        return np.asarray(model.energy(self.groups.occupations(states, occupations)))

    def _bound(self, positions: np.ndarray | None, cell: np.ndarray | None) -> Any:
        if positions is None and cell is None:
            return self.hamiltonian
        if positions is None or not hasattr(self.hamiltonian, "at"):
            raise InputError(
                "positions move on an energy model that has at(positions, cell), such as "
                "AlchemicalMACE: give one, and positions with a cell"
            )
        return (
            self.hamiltonian.at(positions) if cell is None else self.hamiltonian.at(positions, cell)
        )
