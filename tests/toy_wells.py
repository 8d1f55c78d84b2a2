"""A cheap energy model of positions: every site sits in a double well that its species tilts."""

from __future__ import annotations

import copy

import numpy as np

WIDTH = 0.3  # Å, half the distance of the wells
STIFFNESS = 20.0  # eV/Å², across the wells


class WellPotential:
    """E = Σ_i [h ((u_i/b)² − 1)² − f_i u_i/b + ½ k (v_i² + w_i²)] + J Σ_{i,i+1} q_i q_{i+1}.

    (u, v, w) is a site's displacement from its place in the lattice, b = 0.3 Å; f_i = Σ_k λ_ik f_k
    and q_i = Σ_k λ_ik q_k with q = −1 … 1 by species. Both wells are minima for |f| < 1.54 h, so a
    relaxation that starts where the last one ended may stay in the wrong one. Occupations in
    ``broken`` have no finite energy.
    """

    def __init__(self, lattice, fields, *, barrier=0.2, coupling=0.05, broken=()):
        self.lattice = lattice
        self.fields = np.array(fields, dtype=float)
        self.barrier, self.coupling = barrier, coupling
        self.broken = {np.asarray(o, dtype=np.int8).tobytes() for o in broken}
        self.positions = lattice.atoms.positions
        self.cell = lattice.atoms.cell.array
        self.calls = 0
        self._charges = np.linspace(-1.0, 1.0, lattice.n_species_max)

    def at(self, positions, cell=None):
        view = copy.copy(self)
        view.positions = np.array(positions)
        view.cell = self.cell if cell is None else np.array(cell)
        return view

    def forces_at(self, occupations, positions, cells):
        self.calls += len(occupations)
        moved = positions[:, self.lattice.sites] - self.lattice.atoms.positions[self.lattice.sites]
        u, across = moved[:, :, 0] / WIDTH, moved[:, :, 1:]
        field, charge = self.fields[occupations], self._charges[occupations]
        wells = self.barrier * (u**2 - 1.0) ** 2 - field * u
        energy = (wells + 0.5 * STIFFNESS * (across**2).sum(axis=2)).sum(axis=1)
        energy = energy + self.coupling * (charge * np.roll(charge, 1, axis=1)).sum(axis=1)
        for row, occupation in enumerate(occupations):
            if occupation.astype(np.int8).tobytes() in self.broken:
                energy[row] = np.nan
        forces = np.zeros_like(positions)
        along = -(4.0 * self.barrier * u * (u**2 - 1.0) - field) / WIDTH
        forces[:, self.lattice.sites, 0] = along
        forces[:, self.lattice.sites, 1:] = -STIFFNESS * across
        return energy, forces, np.zeros((len(occupations), 3, 3))

    def energy_forces_stress(self, occupations):
        n = len(occupations)
        places = np.repeat(self.positions[None], n, axis=0)
        return self.forces_at(occupations, places, np.repeat(self.cell[None], n, axis=0))

    def energy(self, occupations):
        return self.energy_forces_stress(occupations)[0]

    def energy_and_gradient(self, occupations):
        sites = self.lattice.sites
        u = (self.positions[sites, 0] - self.lattice.atoms.positions[sites, 0]) / WIDTH
        charge = self._charges[occupations]
        near = np.roll(charge, 1, axis=1) + np.roll(charge, -1, axis=1)
        gradient = -u[None, :, None] * self.fields
        gradient = gradient + self.coupling * near[:, :, None] * self._charges
        return self.energy(occupations), gradient * self.lattice.allowed
