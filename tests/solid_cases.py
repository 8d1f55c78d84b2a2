"""Crystals on springs whose free energies are known, for the tests of solids and vacancies."""

from __future__ import annotations

import numpy as np
from ase import units
from scipy.integrate import quad
from scipy.special import ive

from alchemc import analysis
from alchemc.alchemical_records import Works
from alchemc.analysis.alchemical.solids import thermal_wavelength
from alchemc.solid_records import HeldReference
from toy_crystal import Springs, ToyCrystal, ring

TEMPERATURE = 800.0
K_T = units.kB * TEMPERATURE
NONE = np.zeros((4, 4))
# O, Sc, Ta and vacancies: springs to places, springs between neighbours, misfits.
SPRINGS = Springs(
    tether=np.array([2.0, 3.0, 5.0, 0.0]),
    offset=np.array([0.0, 0.05, -0.1, 0.0]),
    bond=np.array([[1.0, 2, 3, 0], [2, 1, 4, 0], [3, 4, 6, 0], [0, 0, 0, 0]]),
    misfit=np.array([[0, 0.05, -0.1, 0], [0.05, 0, 0.1, 0], [-0.1, 0.1, 0.2, 0], [0] * 4]),
    pair=0.1 * np.array([[0.0, 1, -2, 0], [1, 2, 1, 0], [-2, 1, 3, 0], [0] * 4]),
)
FULL = ToyCrystal(ring((("Sc", "Ta"), 4), (("O",), 2)), SPRINGS)
POROUS = ToyCrystal(ring((("Sc", "Ta", "X"), 2), (("O",), 4)), SPRINGS)


def held_free_energy(toy, occupation, frame):
    """−k_BT ln of the integral over positions whose mean over the frame is zero, in eV."""
    log_z, *_ = toy.gaussian(occupation, TEMPERATURE, frame)
    return -K_T * (log_z + 1.5 * np.log(frame.sum()))


def exact_draws(toy, occupation, frame, n, rng):
    """Positions [n, n_atoms, 3] of the toy's own equilibrium with the centre held."""
    _, mean, spread = toy.gaussian(occupation, TEMPERATURE, frame)
    normals = rng.standard_normal((n, spread.shape[1], 3))
    return toy.lattice.atoms.positions + mean + spread @ normals


def at_once(path, starts, ends):
    """Works of switching in a single step, from exact draws of both ends."""
    forward = path.energy(1.0, starts) - path.energy(0.0, starts)
    reverse = path.energy(0.0, ends) - path.energy(1.0, ends)
    return Works(forward, reverse, TEMPERATURE, 1, calls=path.calls, label=path.label)


def estimate(path, starts, ends, **options):
    return analysis.switching_free_energy(at_once(path, starts, ends), **options)


def simple_cubic(side, spring=5.0, volume=12.0, temperature=300.0, mass=55.8):
    """All of a simple cubic crystal with springs between neighbours, a cell of side³ atoms."""
    q = 2.0 * np.pi * np.indices((side,) * 3).reshape(3, -1)[:, 1:] / side
    k = np.repeat(2.0 * spring * (1.0 - np.cos(q)).sum(axis=0), 3)
    n = side**3
    return HeldReference(k, np.full(n, mass), n, volume * n, n, temperature)


def simple_cubic_limit(spring=5.0, temperature=300.0, mass=55.8):
    """Free energy per atom of the infinite crystal in eV.

    With ⟨ln(3 − cos a − cos b − cos c)⟩ = ∫ dt/t [e^{−t} − e^{−3t} I_0(t)³] over all waves.
    """
    thermal = units.kB * temperature
    mean = quad(lambda t: (np.exp(-t) - ive(0, t) ** 3) / t, 0.0, np.inf, limit=500)[0]
    wavelength = thermal_wavelength(mass, temperature)
    logs = np.log(2.0 * np.pi * thermal / (2.0 * spring)) - mean
    return float(3.0 * thermal * np.log(wavelength) - 1.5 * thermal * logs)
