"""Small cells for λ-dynamics, and what one step from exact draws says of a kernel."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from alchemc import PairHamiltonian, builders
from alchemc.streams import spawn_generators
from toys import couplings_between


def binary(size=(2, 2, 1), strength=0.03):
    """Ti and Zr, and pair energies of some tens of meV."""
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=size)
    return pair_model(lattice, strength)


def two_sublattices(size=(2, 1, 1), strength=0.02):
    """Three species on one sublattice and two on the other."""
    lattice = builders.perovskite(("Sr", "Ba", "La"), ("Ti", "Zr"), "O", a=4.0, size=size)
    return pair_model(lattice, strength)


def pair_model(lattice, strength):
    couplings = {
        (a, b): [strength / 0.05 * table for table in couplings_between(lattice, a, b, 2, seed=3)]
        for a, b in itertools.combinations_with_replacement(lattice.names, 2)
    }
    field = 0.05 * np.random.default_rng(4).normal(size=np.asarray(lattice.allowed).shape)
    return PairHamiltonian(lattice, couplings, onsite=field)


def law(kernel, states):
    """Exact probabilities of the states."""
    log = kernel.ensemble.log_density(kernel.hamiltonian.energy(states), states)
    weights = np.exp(log - log.max())
    return weights / weights.sum()


class Flows(NamedTuple):
    """p-values that flows are alike both ways and that the law stays; and the accepted share."""

    balance: float
    stationarity: float
    accepted: float


def flows(kernel, states, *, n_replicas=1000, n_rounds=5, warmup=0, seed=0) -> Flows:
    """Independent single steps from exact draws: as many x → y as y → x, and as many y as expected.

    Pairs that were joined ten times or more and states that are expected as often enter.
    """
    p = law(kernel, states)
    rng = np.random.default_rng(seed)
    if warmup:
        streams = spawn_generators(seed + 1000, 16)
        start = kernel.init(states[rng.choice(len(p), 16, p=p)], streams)
        kernel, _, _ = kernel.warm_up(start, streams, warmup)
    streams = spawn_generators(seed, n_replicas)
    n = len(p)
    counts, accepted = np.zeros((n, n)), []
    for _ in range(n_rounds):
        before = rng.choice(n, n_replicas, p=p)
        state, info = kernel.step(kernel.init(states[before], streams), streams)
        after = index_of(states, state.occupations)
        np.add.at(counts, (before, after), 1)
        accepted.append(info.accepted.mean())
    there, back = counts[np.triu_indices(n, 1)], counts.T[np.triu_indices(n, 1)]
    joined = there + back >= 10
    square = ((there - back)[joined] ** 2 / (there + back)[joined]).sum()
    total = n_replicas * n_rounds
    often = p * total >= 10
    # Those that stayed are counted on both sides: compare with what the starts were.
    gained = counts.sum(axis=0) - counts.sum(axis=1)
    moved = counts.sum(axis=0) + counts.sum(axis=1) - 2.0 * np.diag(counts)
    often &= moved > 10
    change = (gained[often] ** 2 / moved[often]).sum()
    return Flows(
        float(chi2.sf(square, joined.sum())),
        float(chi2.sf(change, max(1, often.sum()))),
        float(np.mean(accepted)),
    )


def index_of(states, occupations):
    """Row of every occupation among the states."""
    radix = (int(states.max()) + 1) ** np.arange(states.shape[1], dtype=np.int64)
    keys = (states.astype(np.int64) * radix).sum(axis=1)
    order = np.argsort(keys)
    found = order[np.searchsorted(keys[order], (occupations.astype(np.int64) * radix).sum(axis=1))]
    assert np.array_equal(states[found], occupations)
    return found


class WithTaylor:
    """Another model's energies at vertices, and the mixed energies of its Taylor expansion.

    Energies between species only carry the proposal; the weight is that of the vertices.
    """

    def __init__(self, table, expansion):
        self.lattice, self._table, self._expansion = table.lattice, table, expansion

    def energy(self, occupations):
        return self._table.energy(occupations)

    def energy_and_gradient(self, occupations):
        return self._table.energy_and_gradient(occupations)

    def energy_change(self, occupations, sites, species):
        return self._table.energy_change(occupations, sites, species)

    def mixed_energy(self, lam, **options):
        return self._expansion.mixed_energy(lam, **options)

    def mixed_energies(self, lam):
        return self._expansion.mixed_energies(lam)
