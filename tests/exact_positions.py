"""A toy of six atoms whose positions and cell have known integrals, and maps of oscillators."""

from __future__ import annotations

import numpy as np
from ase import units

from alchemc.ensembles.dynamics.crystal import Structures
from toy_crystal import Springs, ToyCrystal, ring

TEMPERATURE = 800.0
K_T = units.kB * TEMPERATURE
NONE = np.zeros((4, 4))
STIFF = Springs(
    tether=np.array([2.0, 3.0, 5.0, 0.0]),
    offset=np.array([0.0, 0.05, -0.1, 0.0]),
    bond=np.array([[1.0, 2, 3, 0], [2, 1, 4, 0], [3, 4, 6, 0], [0, 0, 0, 0]]),
    misfit=np.array([[0, 0.05, -0.1, 0], [0.05, 0, 0.1, 0], [-0.1, 0.1, 0.2, 0], [0] * 4]),
    pair=NONE,
)
LATTICE = ring((("Sc", "Ta"), 4), (("O",), 2))
VOLUME = LATTICE.atoms.get_volume()
OCCUPATION = np.array([[0, 1, 1, 0]], dtype=np.int8)
CRYSTAL = ToyCrystal(LATTICE, STIFF)
GAS = ToyCrystal(LATTICE, Springs(np.zeros(4), np.zeros(4), NONE, NONE, NONE))
ELASTIC = ToyCrystal(
    LATTICE,
    Springs(np.array([2.0, 3.0, 5.0, 0.0]), np.zeros(4), NONE, NONE, NONE, bulk=0.02, shear=0.02),
)


def structures(model, n, positions=None, cells=None):
    """``n`` replicas of the occupation, by default at the model's positions."""
    cells = np.repeat(model.cell[None], n, axis=0) if cells is None else cells
    positions = np.repeat(model.positions[None], n, axis=0) if positions is None else positions
    return Structures(np.repeat(OCCUPATION, n, axis=0), positions, cells, np.full(n, np.nan))


def stationary_variance(omega, kept, n_steps, redrawn_in_the_middle=True):
    """Variance of an oscillator's position under blocks of BAOAB, by its linear maps.

    In units of kT/k; ``omega`` is the frequency times the time step.
    """
    kick, drift = np.array([[1, 0], [-omega / 2, 1]]), np.array([[1, omega / 2], [0, 1]])

    def after(start):
        covariance = np.diag([start, 1.0])
        for step in range(n_steps):
            share = 0.0 if step == 0 and redrawn_in_the_middle else kept
            friction = np.diag([1.0, share])
            noise = np.diag([0.0, 1.0 - share**2])
            first, last = drift @ kick, kick @ drift
            covariance = friction @ first @ covariance @ first.T @ friction + noise
            covariance = last @ covariance @ last.T
        return covariance[0, 0]

    return after(0.0) / (1.0 - (after(1.0) - after(0.0)))


def volumes(cells):
    return np.abs(np.linalg.det(cells))


PRESSURE = 0.005 / units.GPa  # GPa


def shapes(cells):
    """Σ of the squares of the strain without its trace."""
    bend = np.linalg.solve(LATTICE.atoms.cell.array, cells)
    strain = 0.5 * (bend @ bend.transpose(0, 2, 1) - np.eye(3))
    strain -= np.trace(strain, axis1=1, axis2=2)[:, None, None] / 3.0 * np.eye(3)
    return (strain**2).sum(axis=(1, 2))


def exact_cells(kind, n, seed=0):
    """Exact averages of V, its variance and the shape, and ``n`` cells drawn from the exact law.

    Atoms on springs integrate to a constant, so that V^n cancels. Over C = DDᵀ, D the deformation,
    the measure V⁻² dh of a full cell is V⁻³ dC.
    """
    rng, springs = np.random.default_rng(seed), ELASTIC.springs
    if kind == "isotropic":
        volume = np.linspace(1.0, 3.0 * VOLUME, 100_001)
        bend = np.cbrt(volume / VOLUME)[:, None, None] * np.eye(3)
        log = -(0.5 * springs.bulk * VOLUME * (volume / VOLUME - 1) ** 2 + 0.005 * volume) / K_T
        shape = np.zeros_like(volume)
    else:
        wide = 1.2 * np.sqrt(K_T / (2.0 * springs.shear * VOLUME))
        normals = rng.standard_normal((200_000, 3, 3))
        shear = np.triu(normals, 1) / np.sqrt(2.0)
        strain = normals * np.eye(3) + shear + shear.transpose(0, 2, 1)
        log = 0.5 * (strain**2).sum(axis=(1, 2))
        strain = wide * strain - 0.09 * np.eye(3)
        values, axes = np.linalg.eigh(np.eye(3) + 2.0 * strain)
        keep = values[:, 0] > 0.0
        values, axes, strain, log = values[keep], axes[keep], strain[keep], log[keep]
        volume = VOLUME * np.sqrt(values.prod(axis=1))
        bend = (axes * np.sqrt(values)[:, None]) @ axes.transpose(0, 2, 1)
        shape = shapes(LATTICE.atoms.cell.array @ bend)
        log = log - 3.0 * np.log(volume) - 0.005 * volume / K_T
        log -= springs.bulk * VOLUME * (volume / VOLUME - 1.0) ** 2 / (2.0 * K_T)
        log -= springs.shear * VOLUME * shape / K_T
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = weight @ volume
    exact = np.array([mean, weight @ (volume - mean) ** 2, weight @ shape])
    chosen = rng.choice(len(weight), size=n, p=weight)
    return exact, LATTICE.atoms.cell.array @ bend[chosen]


def elastic_start(kind, n, seed=0):
    exact, cells = exact_cells(kind, n, seed)
    stiffness = ELASTIC.springs.tether[ELASTIC.kinds(OCCUPATION)[0]]
    normals = np.random.default_rng(seed + 1).standard_normal((n, 6, 3))
    displaced = np.sqrt(K_T / stiffness)[:, None] * normals
    return exact, structures(ELASTIC, n, ELASTIC._fractional @ cells + displaced, cells)
