"""Mean crystals in closed form: an energy of composition, volume and one coordinate of an atom."""

from __future__ import annotations

import copy
import itertools
from types import SimpleNamespace

import numpy as np
from ase import Atoms
from ase.units import GPa

from alchemc import Lattice, Sublattice

SPECIES = ("Ti", "Zr", "Nb")


class BowedCrystal:
    """E = n [e·x + ½ x·W·x + ½ k (v − v₀)² + ½ K (s − s₀ − c (v − v₀))²] of the mean composition x.

    v is the volume per site, s the first fractional coordinate of the last atom, n the number of
    sites; k and s₀ are linear in x and v₀(x) = v·x + Σ_kl b_kl x_k x_l / 2 with a bowing b of its
    own for every rule. At pressure P the volume is v₀ − P/k, so that B = v₀ k.
    """

    def __init__(self, n_species=2, size=1):
        atoms = Atoms("TiO", [[0, 0, 0], [2.2, 2, 2]], cell=[4, 4, 4], pbc=True).repeat(
            (size, 1, 1)
        )
        sublattice = Sublattice("Ti", SPECIES[:n_species])
        self.lattice = Lattice(atoms, {"B": sublattice})
        self.positions, self.cell = np.array(atoms.positions), np.array(atoms.cell.array)
        self.n_species, self.size = n_species, size
        self.bowing = {"sites": 3.0, "paper": -2.0}
        self.e = np.array([-3.0, -2.2, -2.9])[:n_species]
        self.v = np.array([60.0, 70.0, 64.0])[:n_species]
        self.k = np.array([0.02, 0.014, 0.03])[:n_species]
        self.s = np.array([0.50, 0.53, 0.47])[:n_species]
        self.W = 0.1 * (np.ones((n_species, n_species)) - np.eye(n_species))
        self.K, self.c = 60.0, 0.004

    def at(self, positions, cell=None):
        view = copy.copy(self)
        view.positions = np.array(positions)
        view.cell = np.array(self.cell if cell is None else cell)
        return view

    def bend(self, mixing):
        """b_kl, zero between like species; pairs of species differ."""
        table = np.zeros((self.n_species,) * 2)
        for i, j in itertools.combinations(range(self.n_species), 2):
            table[i, j] = table[j, i] = self.bowing[mixing] * (1.0 + 0.4 * (i + j - 1))
        return table

    def mixed_energy(self, lam, forces=True, stress=True, mixing="sites"):
        n, x, b = len(lam), lam.mean(axis=0), self.bend(mixing)
        v = abs(np.linalg.det(self.cell)) / n
        inverse = np.linalg.inv(self.cell)
        s = float((self.positions @ inverse)[-1, 0])
        d = v - self.volume(x, mixing)
        slope = self.v + b @ x
        k, off = float(self.k @ x), s - float(self.s @ x) - self.c * d
        energy = self.e @ x + 0.5 * x @ self.W @ x + 0.5 * k * d**2 + 0.5 * self.K * off**2
        by_x = self.e + self.W @ x + 0.5 * self.k * d**2 - k * d * slope
        by_x = by_x + self.K * off * (self.c * slope - self.s)
        by_v = k * d - self.K * off * self.c
        force = np.zeros_like(self.positions)
        force[-1] = -n * self.K * off * inverse[:, 0]
        return SimpleNamespace(
            energy=float(n * energy),
            gradient=np.tile(by_x, (n, 1)),
            forces=force,
            stress=by_v * np.eye(3),
        )

    # ---- closed forms ----------------------------------------------------------------------

    def volume(self, x, mixing="sites"):
        """v₀ per site in Å³."""
        return float(self.v @ x + 0.5 * x @ self.bend(mixing) @ x)

    def closed(self, x, mixing="sites"):
        """Properties of the supercell at its minimum, and their derivatives by x."""
        v, slope = self.volume(x, mixing), self.v + self.bend(mixing) @ x
        k = float(self.k @ x)
        a = v ** (1 / 3)  # of the conventional cell, which holds one site
        return {
            "volume": (self.size * v, self.size * slope),
            "lattice_parameter": (a, a * slope / (3 * v)),
            "energy": (
                self.size * (self.e @ x + 0.5 * x @ self.W @ x),
                self.size * (self.e + self.W @ x),
            ),
            "bulk_modulus": (v * k / GPa, (slope * k + v * self.k) / GPa),
        }


class Cubes:
    """A landscape whose relaxed cell follows from the occupation: a cube of 4 Å + shifts.

    Occupations in ``failing`` have no minimum.
    """

    cell = "isotropic"

    def __init__(self, n_sites=6, failing=()):
        atoms = Atoms("Ti", cell=[4, 4, 4], pbc=True).repeat((n_sites, 1, 1))
        self.lattice = Lattice(atoms, {"B": Sublattice("Ti", ("Ti", "Zr"))})
        self.failing = {tuple(one) for one in failing}

    def length(self, occupations):
        """Lattice parameter: linear in the composition, and in the pairs of unlike neighbours."""
        o = np.atleast_2d(occupations)
        unlike = (o != np.roll(o, 1, axis=1)).mean(axis=1)
        return 4.0 + 0.2 * o.mean(axis=1) + 0.03 * unlike

    def relaxed(self, occupations):
        scale = self.length(occupations) / 4.0
        cells = scale[:, None, None] * self.lattice.atoms.cell.array
        converged = np.array([tuple(one) not in self.failing for one in occupations])
        energies = np.where(converged, -scale, np.inf)
        return SimpleNamespace(
            energies=energies,
            cells=cells,
            converged=converged,
            problems=np.where(converged, "", "no step lowers the energy any further"),
        )
