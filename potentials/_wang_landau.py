"""Blocks of compiled walks with weights 1/g(E) on a lattice Hamiltonian, one thread per walker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .lattice_hamiltonian import LatticeHamiltonian

__all__ = ["Bins", "run_flat_histogram"]


@dataclass
class Bins:
    """Bins of the energy that one walker keeps to, and what it writes down there.

    ``lower`` (eV) is the edge of the first one, ``width`` (eV) that of each. ``ln_g`` float64
    [n_bins], −inf where the walker has not been; ``visits`` int64 and ``sums`` float64 (eV)
    [n_bins]: how often a step ended there, and with which energies. Every step raises ``ln_g`` by
    ``increment``. ``outside`` int64 [2]: moves refused because they led below or above.
    """

    lower: float
    width: float
    ln_g: np.ndarray
    increment: float
    visits: np.ndarray
    sums: np.ndarray
    outside: np.ndarray

    @classmethod
    def of(cls, lower: float, width: float, ln_g: np.ndarray, increment: float) -> Bins:
        """Make bins with nothing counted; ``ln_g`` is copied."""
        n = len(ln_g)
        counts, outside = np.zeros(n, dtype=np.int64), np.zeros(2, dtype=np.int64)
        return cls(lower, width, np.array(ln_g, float), increment, counts, np.zeros(n), outside)


def run_flat_histogram(
    hamiltonian: LatticeHamiltonian,
    occupations: np.ndarray,
    energies: np.ndarray,
    rngs: Sequence[np.random.Generator],
    bins: Sequence[Bins],
    *,
    move: str,
    n_draws: int,
    thin: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Walk with the weight 1/g(E), each walker within its bins, which are written to.

    Parameters
    ----------
    hamiltonian
        Energy model.
    occupations
        int8 [n_walkers, n_sites]; left as they are.
    energies
        Their energies in eV, [n_walkers].
    rngs
        One generator per walker; advanced.
    bins
        One per walker. Walkers that share a window each have bins of their own.
    move
        ``"swap"``: two unlike species within a sublattice, every pair equally likely; ``"flip"``:
        one site to any of its other species.
    n_draws, thin
        States to keep, and steps from one to the next.

    Returns
    -------
    occupations
        int8 [n_draws, n_walkers, n_sites].
    energies
        float64 [n_draws, n_walkers], eV.

    Raises
    ------
    InputError
        If an occupation is none of the lattice's, a walker has no generator, energy or bins of its
        own, stands outside its bins, or has nothing to move.
    """
    occupations = hamiltonian._checked_block(  # noqa: SLF001
        occupations, energies, rngs, beta=0.0, n_draws=n_draws, thin=thin
    ).astype(np.int8)
    if len({id(b.ln_g) for b in bins}) != len(occupations):
        raise InputError("walkers share bins, which threads would write to at once: give each one")
    kept = np.empty((len(occupations), n_draws, hamiltonian.lattice.n_sites), dtype=np.int8)
    after = np.empty((len(occupations), n_draws))
    walk = {"swap": _swaps, "flip": _flips}[move]

    def run(walker: int) -> None:
        energy = float(energies[walker])
        _enter(bins[walker], energy)
        given = _arguments(energy, rngs[walker], bins[walker])
        walk(hamiltonian, occupations[walker], given, (kept[walker], after[walker], thin))

    hamiltonian._spread(run, range(len(occupations)))  # noqa: SLF001
    return kept.transpose(1, 0, 2), after.T


def _enter(bins: Bins, energy: float) -> None:
    """Make the bin of the first state known; compiled code checks no index."""
    position = (energy - bins.lower) / bins.width
    n = len(bins.ln_g)
    if not -1e-9 < position < n + 1e-9:
        upper = bins.lower + n * bins.width
        raise InputError(
            f"a walker starts at {energy:.8g} eV, outside its window from {bins.lower:.8g} to "
            f"{upper:.8g} eV: start it inside"
        )
    here = min(max(int(position), 0), n - 1)
    if bins.ln_g[here] == -np.inf:
        bins.ln_g[here] = max(0.0, bins.ln_g.max())


def _flips(
    hamiltonian: LatticeHamiltonian,
    occupation: np.ndarray,
    given: tuple[Any, ...],
    out: tuple[Any, ...],
) -> None:
    from .compiled_density import flat_flip_block  # noqa: PLC0415

    t = hamiltonian.tables
    free = np.asarray(hamiltonian.lattice.allowed).sum(axis=1) > 1
    if not free.any():
        raise InputError("no site may hold two species, so there is nothing to flip")
    flat_flip_block(
        *t.gas, *t.frame, hamiltonian._padded(occupation), *t.scratch(),  # noqa: SLF001
        *given, t.home[free], t.species, *out,
    )  # fmt: skip


def _swaps(
    hamiltonian: LatticeHamiltonian,
    occupation: np.ndarray,
    given: tuple[Any, ...],
    out: tuple[Any, ...],
) -> None:
    from .compiled_density import flat_swap_block  # noqa: PLC0415

    t, lattice = hamiltonian.tables, hamiltonian.lattice
    pairs, bounds = hamiltonian._groups(occupation, np.arange(lattice.n_sites))  # noqa: SLF001
    if not len(pairs):
        raise InputError(
            "there is one species per sublattice, so there is nothing to exchange: give a mixed "
            "composition"
        )
    group = np.asarray(lattice.sublattice_of_site).astype(np.uint64)
    group *= np.uint64(lattice.n_species_max)
    flat_swap_block(
        *t.gas, *t.frame, hamiltonian._padded(occupation), *t.scratch(),  # noqa: SLF001
        *given, pairs, bounds, group, np.empty_like(t.home),
        np.empty_like(bounds[:-1]), *out,
    )  # fmt: skip


def _arguments(energy: float, rng: np.random.Generator, bins: Bins) -> tuple[Any, ...]:
    return (
        energy, rng, bins.lower, 1.0 / bins.width, bins.ln_g, bins.visits, bins.sums,
        bins.increment, bins.outside,
    )  # fmt: skip
