"""Interactions with atoms that follow, to second order: force constants and Kanzaki forces.

With E = ½ x V x + x B u + ½ u K u in species x and displacements u, the minimum over u is
½ x (V − B†K⁻¹B) x (H. Kanzaki, J. Phys. Chem. Solids 2, 24 (1957),
doi:10.1016/0022-3697(57)90003-3).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_masses
from ase.units import _amu, _e

from ...errors import InputError
from ...lattice import Lattice
from ...sublattice import is_number, shown
from ..order.commensurate import shown_vector
from .couplings import Couplings, Crystal
from .stars import fitting_stars

__all__ = ["Response", "displacement_response", "relaxed_couplings"]

SOFT = 1e-3
"""eV/Å². Force constants below it are not positive within the error of finite differences."""
_THZ = np.sqrt(_e / _amu) * 1e10 / (2 * np.pi) * 1e-12  # of sqrt(eV/Å²/u)


class Response(NamedTuple):
    """Second derivatives by the displacement of one atom of every kind.

    ``force_constants`` [n_atom_kinds, 3, n_atoms, 3] in eV/Å²; ``kanzaki`` [n_atom_kinds, 3,
    n_sites, n_species_max − 1] in eV/Å, ∂²E/∂R∂x. Atoms are in the order of ``crystal.tiling``.
    """

    force_constants: np.ndarray
    kanzaki: np.ndarray


def relaxed_couplings(hamiltonian: Any, couplings: Couplings, step: float) -> Couplings:
    """V − B†K⁻¹B at every wave vector that fits the cell, back in real space without self terms.

    Parameters
    ----------
    hamiltonian
        Energy model with ``mixed_energy`` and ``at``.
    couplings
        V at fixed positions.
    step
        Displacement in Å of the finite differences.

    Raises
    ------
    InputError
        If the model cannot be bound to other positions, the step is no distance, or a force
        constant is not positive: the message names the wave vector and the frequency.
    """
    if not (hasattr(hamiltonian, "mixed_energy") and hasattr(hamiltonian, "at")):
        raise InputError(
            f"{type(hamiltonian).__name__} has no mixed_energy and at: it has no positions that "
            "could relax; leave relaxed=True out"
        )
    if not is_number(step) or not 0 < step < 0.2:
        raise InputError(f"step is {shown(step)}; give a distance in Å above 0 and below 0.2")
    response = displacement_response(hamiltonian, couplings.mean, couplings.crystal, step)
    waves = _Waves(couplings, response)
    stars = fitting_stars(couplings.lattice, couplings.crystal)
    sites = couplings.lattice.n_sites
    softening = np.zeros_like(couplings.values)
    count = 0
    for star in stars:
        for arm, q in zip(star.arms, star.cartesian, strict=True):
            label = shown_vector(arm)
            followed = waves.gain(q, uniform=star.uniform, label=label)
            origins = waves.positions[couplings.crystal.first][:, None]
            phases = np.exp(2j * np.pi * ((waves.positions[None, :sites] - origins) @ q))
            for row, one in enumerate(couplings.contrasts):
                for column, other in enumerate(couplings.contrasts):
                    here = couplings.crystal.kinds == other.kind
                    part = (followed[row, column] * phases[one.kind, here]).real
                    softening[row, here, other.number - 1] += part
            count += 1
    values = couplings.values - softening / count
    for row, contrast in enumerate(couplings.contrasts):
        values[row, couplings.crystal.first[contrast.kind]] = 0.0  # a site with itself
    return couplings.with_values(values)


def displacement_response(
    hamiltonian: Any, mean: np.ndarray, crystal: Crystal, step: float
) -> Response:
    """K and B at a mean composition, by central differences of forces and of ∂E/∂λ.

    One atom of every kind under translation is displaced along three axes both ways.
    """
    lattice: Lattice = hamiltonian.lattice
    reference = np.array(getattr(hamiltonian, "positions", lattice.atoms.positions))
    tiling = crystal.tiling
    n_kinds, n_atoms = len(tiling.basis), len(lattice.atoms)
    stiff = np.zeros((n_kinds, 3, n_atoms, 3))
    mixed = np.zeros((n_kinds, 3, lattice.n_sites, lattice.n_species_max - 1))
    for kind, first in enumerate(tiling.first_sites):
        for axis in range(3):
            ends = []
            for sign in (1.0, -1.0):
                moved = reference.copy()
                moved[crystal.atoms[first], axis] += sign * step
                point = hamiltonian.at(moved).mixed_energy(mean, forces=True, stress=False)
                ends.append(point)
            stiff[kind, axis] = -(ends[0].forces - ends[1].forces)[crystal.atoms] / (2 * step)
            slopes = (ends[0].gradient - ends[1].gradient) / (2 * step)
            contrast = slopes[:, 1:] - slopes[:, :1]
            mixed[kind, axis] = np.where(np.asarray(lattice.allowed)[:, 1:], contrast, 0.0)
    return Response(stiff, mixed)


class _Waves:
    """K(q) and B(q) at wave vectors that fit the cell, with phases of the atoms' positions."""

    def __init__(self, couplings: Couplings, response: Response) -> None:
        tiling = couplings.crystal.tiling
        self.couplings, self.response = couplings, response
        self.positions = tiling.basis[tiling.kinds] + tiling.cells @ tiling.primitive
        self.masses = _masses(couplings)

    def gain(self, q: np.ndarray, *, uniform: bool, label: str) -> np.ndarray:
        """B†K⁻¹B, [n_contrasts, n_contrasts] in eV, for q in 1/Å without 2π."""
        stiff, mixed = self._stiffness(q), self._kanzaki(q)
        n = len(stiff)
        if uniform:  # translations cost nothing, and no composition drives them
            shifts = np.tile(np.eye(3), (n // 3, 1)) / np.sqrt(n // 3)
            rest = np.linalg.svd(shifts)[0][:, 3:]
            if not rest.shape[1]:
                return np.zeros((mixed.shape[1],) * 2)
        else:
            rest = np.eye(n)
        self._check(rest.conj().T @ stiff @ rest, rest, label)
        inner = rest.conj().T @ mixed
        gain = inner.conj().T @ np.linalg.solve(rest.conj().T @ stiff @ rest, inner)
        return np.asarray((gain + gain.conj().T) / 2)

    def _stiffness(self, q: np.ndarray) -> np.ndarray:
        """K(q) [3n, 3n], Hermitian, with the acoustic sum rule imposed on K at R = 0."""
        tiling = self.couplings.crystal.tiling
        n = len(tiling.basis)
        found = np.zeros((n, 3, n, 3), complex)
        for kind, first in enumerate(tiling.first_sites):
            rows = np.array(self.response.force_constants[kind])
            rows[:, first] -= rows.sum(axis=1)
            phases = np.exp(-2j * np.pi * ((self.positions - self.positions[first]) @ q))
            for axis in range(3):
                np.add.at(found[kind, axis], tiling.kinds, rows[axis] * phases[:, None])
        square = found.reshape(3 * n, 3 * n)
        return np.asarray((square + square.conj().T) / 2)

    def _kanzaki(self, q: np.ndarray) -> np.ndarray:
        """B(q) [3n, n_contrasts]; uniform shifts of all atoms do no work."""
        c = self.couplings
        tiling, sites = c.crystal.tiling, c.lattice.n_sites
        found = np.zeros((len(tiling.basis), 3, len(c.contrasts)), complex)
        for kind, first in enumerate(tiling.first_sites):
            phases = np.exp(-2j * np.pi * ((self.positions[:sites] - self.positions[first]) @ q))
            for column, contrast in enumerate(c.contrasts):
                here = c.crystal.kinds == contrast.kind
                part = self.response.kanzaki[kind][:, here, contrast.number - 1]
                found[kind, :, column] = part @ phases[here]
        return found.reshape(-1, len(c.contrasts))

    def _check(self, stiff: np.ndarray, rest: np.ndarray, label: str) -> None:
        if np.linalg.eigvalsh(stiff)[0] > SOFT:
            return
        weights = np.repeat(1.0 / np.sqrt(self.masses), 3)
        heavy = weights[:, None] * (rest @ stiff @ rest.conj().T) * weights
        lowest = float(np.linalg.eigvalsh(heavy)[0])
        frequency = np.sign(lowest) * np.sqrt(abs(lowest)) * _THZ
        raise InputError(
            f"force constants are not positive at q = {label}: the softest mode has "
            f"{abs(frequency):.3g}{'i' if frequency < 0 else ''} THz, so the crystal at the mean "
            "composition distorts by itself and has no harmonic relaxation; use fixed positions "
            "(relaxed=False), or sample a Relaxed landscape"
        )


def _masses(couplings: Couplings) -> np.ndarray:
    """Mean mass in u of every kind of atom; that of one proton where all is vacant."""
    lattice, crystal = couplings.lattice, couplings.crystal
    numbers = lattice.atoms.numbers[crystal.atoms[crystal.tiling.first_sites]]
    masses = np.array(atomic_masses[numbers])
    for site in crystal.first:
        kind = crystal.tiling.kinds[site]
        weights, elements = couplings.mean[site], lattice.atomic_numbers[site]
        held = np.where(elements > 0, atomic_masses[np.maximum(elements, 0)], 0.0)
        masses[kind] = float(weights @ held)
    return np.maximum(masses, 1.0)
