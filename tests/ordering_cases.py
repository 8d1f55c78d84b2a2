"""Transitions with known temperatures: sampled Ising and Potts models, and drawn energies."""

from __future__ import annotations

from functools import cache

import numpy as np
from ase import Atoms
from ase.units import kB

from alchemc import (
    Lattice,
    PairHamiltonian,
    RandomFlip,
    SemiGrandCanonical,
    Sublattice,
    sample,
)
from alchemc.analysis import TransitionSeries, transition_series
from alchemc.analysis.stability.transition_series import merged
from toys import square_lattice

J = 0.02
SPIN = np.array([[1.0, -1.0], [-1.0, 1.0]])
ISING = 2.0 * J / (kB * np.log(1.0 + np.sqrt(2.0)))
TEN = ("Al", "Sc", "Ta", "Nb", "Ti", "Zr", "Mg", "Ca", "Sr", "Ba")
POTTS = J / (kB * np.log(1.0 + np.sqrt(10.0)))
CHECKERBOARD = (0.5, 0.5, 0.0)


def antiferromagnet(side: int, temperature: float) -> RandomFlip:
    """Square lattice whose neighbours repel their like, at equal chemical potentials."""
    lattice = square_lattice(side)
    model = PairHamiltonian(lattice, [J * SPIN], threads=1)
    return RandomFlip(model, SemiGrandCanonical(lattice, temperature, {"Ta": 0.0}))


@cache
def ising_runs(side: int, temperatures: tuple[float, ...], draws: int, thin: int, seed: int = 0):
    """Runs of the antiferromagnet, one per temperature; half of the chains start ordered."""
    ordered = np.indices((side, side)).sum(axis=0).ravel() % 2
    runs = []
    for n, temperature in enumerate(temperatures):
        rng = np.random.default_rng([seed, side, n])
        starts = np.array([ordered, 1 - ordered, *rng.integers(2, size=(2, side**2))])
        sweep = thin * side**2
        run = sample(
            antiferromagnet(side, temperature), starts.astype(np.int8), thin=sweep,
            n_steps=draws * sweep, warmup=draws * sweep // 8, seed=1000 * seed + n,
        )  # fmt: skip
        runs.append(run)
    return tuple(runs)


@cache
def ising_series(side: int, draws: int = 800, seed: int = 0) -> TransitionSeries:
    """Six temperatures around the transition, as far apart as the size rounds it."""
    x = np.array([-1.5, -0.8, -0.2, 0.5, 1.3, 2.2])
    temperatures = tuple((ISING * (1.0 + x / side)).tolist())
    thin = max(2, side**2 // 16)
    runs = ising_runs(side, temperatures, draws, thin, seed)
    return merged([transition_series(run, CHECKERBOARD) for run in runs])[0]


def magnetisation(lattice: Lattice, occupations: np.ndarray) -> np.ndarray:
    """Squared order parameter of a Potts model."""
    q = lattice.n_species_max
    shares = np.stack([(occupations == k).mean(axis=1) for k in range(q)])
    return (q * (shares**2).sum(axis=0) - 1.0) / (q - 1.0)


@cache
def potts_series(side: int, draws: int = 1200, thin: int = 30) -> TransitionSeries:
    """Ten species on a square lattice that prefer their like."""
    atoms = Atoms(TEN[0], cell=[3.0, 3.0, 30.0], pbc=True).repeat((side, side, 1))
    lattice = Lattice(atoms, {"s": Sublattice(TEN[0], TEN)})
    model = PairHamiltonian(lattice, [-J * np.eye(10)], threads=1)
    parts = []
    for n, s in enumerate((-1.0, 1.0, 3.0, 5.0)):
        temperature = POTTS * (1.0 + s / side**2)
        ensemble = SemiGrandCanonical(lattice, temperature, dict.fromkeys(TEN, 0.0))
        rng = np.random.default_rng([side, n])
        pure = np.repeat(rng.integers(10, size=(2, 1)), side**2, axis=1)
        starts = np.concatenate([pure, rng.integers(10, size=pure.shape)]).astype(np.int8)
        sweep = thin * side**2
        run = sample(
            RandomFlip(model, ensemble), starts, thin=sweep, n_steps=draws * sweep,
            warmup=draws * sweep // 8, seed=n,
        )  # fmt: skip
        parts.append(transition_series(run, magnetisation))
    return merged(parts)[0]


def drawn(
    levels: np.ndarray,
    ln_g: np.ndarray,
    temperatures: tuple[float, ...],
    rng: np.random.Generator,
    *,
    n_sites: int,
    n_draws: int = 2000,
    side: float = 1.0,
    stay: float = 0.0,
) -> TransitionSeries:
    """Energies drawn from a density of states; with ``stay``, chains that remember."""
    energies = []
    for t in temperatures:
        logs = ln_g - levels / (kB * t)
        p = np.exp(logs - logs.max())
        place = rng.choice(len(levels), size=(n_draws, 2), p=p / p.sum())
        fresh = rng.random((n_draws, 2)) >= stay
        fresh[0] = True
        last = np.maximum.accumulate(np.where(fresh, np.arange(n_draws)[:, None], 0), axis=0)
        energies.append(levels[np.take_along_axis(place, last, axis=0)])
    return TransitionSeries(n_sites, side * np.eye(3), temperatures, tuple(energies))


def two_phases(n_sites: int, energy: float = 0.02, width: float = 0.03) -> tuple:
    """Levels and ln g of a transition of first order at 1000 K + O(1/n_sites).

    Two Gaussians in the energy per site with heat capacities of their own; the disordered one is
    twice as wide. Their weights are the same at exactly 1000 K where the entropies per site differ
    by ΔE/1000 K, but for ln 3 of as many ordered variants: T = 1000 K (1 − …/N).
    """
    beta = 1.0 / (kB * 1000.0)
    levels = np.linspace(-4.0 * energy, 5.0 * energy, 3001) * n_sites
    narrow, wide = (w**2 * n_sites for w in (width, 1.5 * width))
    low = -(levels**2) / (2 * narrow) - 0.5 * np.log(narrow) + np.log(3.0)
    high = -((levels - energy * n_sites) ** 2) / (2 * wide) - 0.5 * np.log(wide)
    return levels, np.logaddexp(low, high) + beta * levels
