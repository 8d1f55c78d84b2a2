"""What surrogate chains need to know of sites and of their own inner chains."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from ..lattice import Lattice
from ..potentials.lattice_hamiltonian import LatticeHamiltonian
from ..potentials.pair_expansion import PairExpansion, coordinates
from ..statistics import autocorrelation_time

__all__ = ["longest_memory", "nearest_sites", "two_patches"]

MOST_WAVES = 3000  # sites, for which the leading order is looked for


def longest_memory(surrogate: LatticeHamiltonian, draws: Mapping[str, np.ndarray]) -> float:
    """Autocorrelation time in draws of what an inner chain is slow to forget.

    Its energy, and the order that an expansion's couplings drive towards. ``draws`` as
    ``draw_block`` gives them.
    """
    series = [draws["energy"]]
    if isinstance(surrogate, PairExpansion) and surrogate.lattice.n_sites <= MOST_WAVES:
        occupations = draws["occupation"]
        every = occupations.reshape(-1, occupations.shape[2])
        x = coordinates(surrogate.lattice, surrogate.mean, every)
        amplitudes = x.reshape(len(every), -1) @ surrogate.leading_waves().T
        series.append((amplitudes**2).sum(axis=1).reshape(occupations.shape[:2]))
    return max(_memory(one) for one in series)


def _memory(series: np.ndarray) -> float:
    """Autocorrelation time in draws, of the later three quarters."""
    later = series[len(series) // 4 :]
    return 1.0 if np.ptp(later) == 0.0 else float(autocorrelation_time(later))


@lru_cache(maxsize=4)
def nearest_sites(lattice: Lattice, number: int) -> np.ndarray:
    """List the ``number`` sites nearest to each, itself first, int32 [n_sites, number]."""
    positions = lattice.atoms.positions[lattice.sites]
    inverse, cell = np.linalg.inv(lattice.atoms.cell.array), lattice.atoms.cell.array
    order = np.empty((len(positions), number), dtype=np.int32)
    for n, origin in enumerate(positions):
        apart = (positions - origin) @ inverse
        distance = np.linalg.norm((apart - np.round(apart)) @ cell, axis=1)
        order[n] = np.argsort(np.round(distance, 3), kind="stable")[:number]
    order.setflags(write=False)
    return order


def two_patches(near: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Sites of regions, [n_replicas, size], from random numbers [n_replicas, 2] alone.

    Half of a region lies around one site, half around another, without those of the first half.
    ``near`` as ``nearest_sites`` lists them, as many as a region holds.
    """
    n_sites, size = near.shape
    first = (size + 1) // 2
    one, other = (uniforms * n_sites).astype(np.int64).T
    patches = []
    for a, b in zip(near[one], near[other], strict=True):
        rest = b[~np.isin(b, a[:first])]
        patches.append(np.concatenate([a[:first], rest[: size - first]]))
    return np.sort(np.array(patches), axis=1)
