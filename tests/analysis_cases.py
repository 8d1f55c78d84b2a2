"""Cases with known answers for the analysis: ordered cells, and chains of a known distribution."""

from __future__ import annotations

import numpy as np
from ase.units import kB

from alchemc import Lattice, builders
from alchemc.records import Run, point_dataset

HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}


def perovskite(*size: int, species: tuple[str, ...] = ("Sc", "Ta")) -> Lattice:
    return builders.perovskite("Sr", species, "O", a=4.0, size=size)


def cells(lattice: Lattice, a: float = 4.0) -> np.ndarray:
    """Integer cell index [n_sites, 3] of every B site."""
    return np.floor(lattice.atoms.positions[lattice.sites] / a + 1e-6).astype(int)


def ordered(lattice: Lattice, name: str) -> np.ndarray:
    """The perfect order of that name, 50:50."""
    x, y, z = cells(lattice).T
    return {
        "rock-salt": (x + y + z) % 2,
        "layered": z % 2,
        "columnar": (x + y) % 2,
    }[name].astype(np.int8)


def pair_energies(lattice: Lattice, states: np.ndarray, coupling: float = 0.05) -> np.ndarray:
    """Nearest-neighbour energies in eV [n]: ``coupling`` for every like pair."""
    pairs = lattice.shells(1)[0].pairs
    return 0.5 * coupling * (states[:, pairs[:, 0]] == states[:, pairs[:, 1]]).sum(axis=1)


def boltzmann(energies: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp(-(energies - energies.min()) / (kB * temperature))
    return weights / weights.sum()


def sticky_chains(
    probabilities: np.ndarray,
    n_draws: int,
    n_chains: int,
    stay: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """State indices [n_draws, n_chains] of stationary chains that stay put with that probability.

    Every function of the state has the autocorrelation ``stay**t``.
    """
    chosen = rng.choice(len(probabilities), size=(n_draws, n_chains), p=probabilities)
    fresh = rng.random((n_draws, n_chains)) >= stay
    fresh[0] = True
    last = np.maximum.accumulate(np.where(fresh, np.arange(n_draws)[:, None], 0), axis=0)
    return np.take_along_axis(chosen, last, axis=0)


def exact_run(
    temperatures: tuple[float, ...],
    n_draws: int = 600,
    n_chains: int = 4,
    *,
    stay: float = 0.5,
    seed: int = 1,
    config: dict | None = None,
    attrs: dict | None = None,
) -> tuple[Run, np.ndarray, np.ndarray]:
    """A run on the 2×2×2 cell from its exact distribution, with all states and their energies."""
    lattice = perovskite(2, 2, 2)
    states = lattice.enumerate(HALF)
    energies = pair_energies(lattice, states)
    rng = np.random.default_rng(seed)
    points = []
    for temperature in temperatures:
        chosen = sticky_chains(boltzmann(energies, temperature), n_draws, n_chains, stay, rng)
        arrays = {
            "occupation": states[chosen],
            "energy": energies[chosen],
            "acceptance": rng.random(chosen.shape),
            "energy_calls": np.ones(chosen.shape, int),
            "gradient_calls": np.zeros(chosen.shape, int),
        }
        points.append(point_dataset(arrays, {"temperature": temperature}))
    return Run(tuple(points), lattice, config or {}, attrs or {}), states, energies


def contents(figure) -> tuple:
    """All that is drawn in the axes of a figure: lines, bars, areas, labels."""
    (axes,) = figure.axes
    return (
        [(line.get_xydata().tolist(), line.get_marker(), line.get_label()) for line in axes.lines],
        [[part.tolist() for part in bars.get_segments()] for bars in axes.collections
         if hasattr(bars, "get_segments")],
        [patch.get_extents().bounds for patch in axes.patches],
        (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()),
    )  # fmt: skip
