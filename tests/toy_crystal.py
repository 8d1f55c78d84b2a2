"""A harmonic crystal whose springs know the species: every integral over its positions is known.

Sums run along fixed axes, replica by replica, so that no number depends on the batch.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
from ase import Atoms, units

from alchemc import Lattice, Sublattice


class Springs(NamedTuple):
    """Constants by kind of atom (the lattice's elements in alphabetical order, vacancies last).

    ``tether`` [k] and ``offset`` [k]: ½ t |u − d (1, 1, 1)|² of an atom that is displaced by u;
    ``bond`` and ``misfit`` [k, k], symmetric: ½ b |u_j − u_i − m n|² along a bond of direction n;
    ``pair`` [k, k]: energy of a bond in eV; ``bulk`` and ``shear`` in eV/Å³: elastic constants of
    the cell, the first in V, the second in its shape.
    """

    tether: np.ndarray
    offset: np.ndarray
    bond: np.ndarray
    misfit: np.ndarray
    pair: np.ndarray
    bulk: float = 0.0
    shear: float = 0.0


def ring(*groups: tuple, spacing: float = 3.0) -> Lattice:
    """Lattice of atoms in a row that closes on itself; groups of (species, number of sites).

    A group of one species is made of spectators.
    """
    symbols, sublattices, first = [], {}, 0
    for species, n in groups:
        symbols += [species[0]] * n
        if len(species) > 1:
            sublattices[f"s{len(sublattices)}"] = Sublattice(
                tuple(range(first, first + n)), species
            )
        first += n
    positions = np.zeros((first, 3))
    positions[:, 0] = spacing * np.arange(first)
    atoms = Atoms(symbols, positions=positions, cell=[spacing * first, 6.0, 6.0], pbc=True)
    return Lattice(atoms, sublattices)


class Mixed(NamedTuple):
    """Energy at continuous λ, as far as kernels ask for it."""

    energy: float
    gradient: np.ndarray


class ToyCrystal:
    """Atoms on springs to their places in the lattice and to the next in the row.

    A vacancy has no springs and no forces. ``lattice`` positions are the references, at the same
    fractional place in every cell.
    """

    def __init__(self, lattice, springs: Springs):
        self.lattice, self.springs = lattice, springs
        self.positions = lattice.atoms.positions.copy()
        self.cell = lattice.atoms.cell.array.copy()
        self._fractional = lattice.atoms.get_scaled_positions(wrap=False)
        numbers = set(lattice.atoms.numbers[lattice.spectators].tolist())
        numbers |= set(lattice.atomic_numbers[lattice.atomic_numbers > 0].tolist())
        self.symbols = sorted(Atoms([n]).get_chemical_symbols()[0] for n in numbers)
        order = [Atoms(s).numbers[0] for s in self.symbols] + [0]
        kind = {number: index for index, number in enumerate(order)}
        self._kinds = np.array([kind[n] for n in lattice.atoms.numbers])
        self._kind_of = np.vectorize(lambda n: kind.get(n, 0))(lattice.atomic_numbers)
        n = len(lattice.atoms)
        self.bonds = np.array([(i, (i + 1) % n) for i in range(n)])
        self.direction = np.array([1.0, 0.5, 0.0])

    # ---- the energy at positions of one's own ---------------------------------------------

    def at(self, positions, cell=None):
        view = copy.copy(self)
        view.positions = np.array(positions)
        view.cell = self.cell if cell is None else np.array(cell)
        return view

    def kinds(self, occupations):
        kinds = np.tile(self._kinds, (len(occupations), 1))
        sites = np.arange(self.lattice.n_sites)
        kinds[:, self.lattice.sites] = self._kind_of[sites, np.asarray(occupations, dtype=int)]
        return kinds

    def forces_at(self, occupations, positions, cells):
        return self._evaluate(occupations, positions, cells)

    def _evaluate(self, occupations, positions, cells):
        s, kinds = self.springs, self.kinds(occupations)
        u = positions - self._fractional @ cells
        own = np.ascontiguousarray(s.tether[kinds])[:, :, None]
        pulled = own * (u - s.offset[kinds][:, :, None])
        energy = 0.5 * (pulled * (u - s.offset[kinds][:, :, None])).sum(axis=(1, 2))
        i, j = self.bonds.T
        ki, kj = kinds[:, i], kinds[:, j]
        stretch = u[:, j] - u[:, i] - s.misfit[ki, kj][:, :, None] * self.direction
        stretch = np.ascontiguousarray(stretch)
        tension = np.ascontiguousarray(s.bond[ki, kj][:, :, None] * stretch)
        energy = (
            energy
            + 0.5 * (tension * stretch).sum(axis=(1, 2))
            + np.ascontiguousarray(s.pair[ki, kj]).sum(axis=1)
        )
        forces = -pulled
        forces[:, i] += tension
        forces[:, j] -= tension
        virial = -(forces[:, :, :, None] * u[:, :, None, :]).sum(axis=1)
        strain_energy, along = self._elastic(cells)
        volume = np.abs(np.linalg.det(cells))
        stress = (0.5 * (virial + virial.transpose(0, 2, 1)) + along) / volume[:, None, None]
        return energy + strain_energy, forces, stress

    def _elastic(self, cells):
        """Energy of the cell, and its derivative by strain."""
        reference = self.lattice.atoms.cell.array
        v0 = abs(np.linalg.det(reference))
        ratio = np.abs(np.linalg.det(cells)) / v0
        bend = np.linalg.solve(reference, cells)
        strain = 0.5 * (bend @ bend.transpose(0, 2, 1) - np.eye(3))
        trace = np.trace(strain, axis1=1, axis2=2)[:, None, None] / 3.0
        shape = strain - trace * np.eye(3)
        energy = 0.5 * self.springs.bulk * v0 * (ratio - 1.0) ** 2
        energy = energy + self.springs.shear * v0 * (shape**2).sum(axis=(1, 2))
        along = self.springs.bulk * v0 * ((ratio - 1.0) * ratio)[:, None, None] * np.eye(3)
        slope = 2.0 * self.springs.shear * v0 * shape
        return energy, along + bend.transpose(0, 2, 1) @ slope @ bend

    # ---- the energy of occupations ---------------------------------------------------------

    def energy(self, occupations):
        n = len(occupations)
        places = np.repeat(self.positions[None], n, axis=0)
        return self._evaluate(occupations, places, np.repeat(self.cell[None], n, axis=0))[0]

    def energy_and_gradient(self, occupations):
        found = [self._mixed(lam) for lam in self.lattice.weights(occupations)]
        return np.array([one.energy for one in found]), np.array([one.gradient for one in found])

    def energy_change(self, occupations, sites, species):
        changed = np.array(occupations)
        row, column = np.nonzero(sites >= 0)
        changed[row, sites[row, column]] = species[row, column]
        return self.energy(changed) - self.energy(occupations)

    def mixed_energy(self, lam, forces=False, stress=False):
        return self._mixed(lam)

    def _mixed(self, lam):
        s, lattice = self.springs, self.lattice
        n_kinds = len(self.symbols) + 1
        weights = np.eye(n_kinds)[self._kinds]
        weights[lattice.sites] = 0.0
        for k in range(lattice.n_species_max):
            np.add.at(weights, (lattice.sites, self._kind_of[:, k]), lam[:, k])
        u = self.positions - self._fractional @ self.cell
        own = 0.5 * s.tether * ((u[:, None] - s.offset[None, :, None]) ** 2).sum(axis=2)
        i, j = self.bonds.T
        stretch = (u[j] - u[i])[:, None, None] - s.misfit[None, :, :, None] * self.direction
        both = 0.5 * s.bond * (stretch**2).sum(axis=3) + s.pair
        energy = (weights * own).sum() + (weights[i, :, None] * weights[j, None, :] * both).sum()
        slope = own.copy()
        np.add.at(slope, i, (both * weights[j][:, None, :]).sum(axis=2))
        np.add.at(slope, j, (both * weights[i][:, :, None]).sum(axis=1))
        sites = np.arange(lattice.n_sites)[:, None]
        gradient = slope[lattice.sites][sites, self._kind_of] * lattice.allowed
        elastic = self._elastic(self.cell[None])[0][0]
        return Mixed(float(energy + elastic), gradient)

    # ---- what is known of it ---------------------------------------------------------------

    def quadratic(self, occupation):
        """E = ½ uᵀAu − bᵀu + c: A [n, n] for each direction, b [n, 3] and c."""
        s, kinds = self.springs, self.kinds(occupation[None])[0]
        n = len(kinds)
        a, b, c = np.diag(s.tether[kinds]), np.zeros((n, 3)), 0.0
        b += (s.tether[kinds] * s.offset[kinds])[:, None]
        c += 1.5 * (s.tether[kinds] * s.offset[kinds] ** 2).sum()
        for i, j in self.bonds:
            stiff, misfit = s.bond[kinds[i], kinds[j]], s.misfit[kinds[i], kinds[j]]
            a[[i, j], [i, j]] += stiff
            a[i, j] -= stiff
            a[j, i] -= stiff
            b[j] += stiff * misfit * self.direction
            b[i] -= stiff * misfit * self.direction
            c += s.pair[kinds[i], kinds[j]] + 0.5 * stiff * (misfit * self.direction) @ (
                misfit * self.direction
            )
        return a, b, c

    def gaussian(self, occupation, temperature, held=None):
        """ln Z, mean [n, 3] and a matrix [n, m] whose product with normals [m, 3] gives the spread.

        Over atoms that are there; with ``held``, bool [n], where their mean displacement is zero.
        """
        a, b, c = self.quadratic(occupation)
        there = self.kinds(occupation[None])[0] < len(self.symbols)
        basis = np.eye(len(there))[:, there]
        if held is not None:
            row = held[there] / np.sqrt(held.sum())
            basis = basis @ np.linalg.svd(row[None])[2][1:].T
        beta = 1.0 / (units.kB * temperature)
        inner, pull = beta * basis.T @ a @ basis, beta * basis.T @ b
        mean = np.linalg.solve(inner, pull)
        log_z = -beta * c + 0.5 * (pull * mean).sum()
        log_z -= 1.5 * np.linalg.slogdet(inner / (2.0 * np.pi))[1]
        return log_z, basis @ mean, basis @ np.linalg.inv(np.linalg.cholesky(inner)).T
