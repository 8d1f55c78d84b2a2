"""All arrangements of a small net with energies of like pairs, and runs of their distribution.

Shared by the tests of the comparison with quasirandom structures.
"""

from functools import cache

import numpy as np

from alchemc import Lattice
from alchemc.analysis import compare_sqs, generate_sqs
from alchemc.records import Run, point_dataset
from analysis_cases import HALF, boltzmann, pair_energies, perovskite, sticky_chains

LIKE, UNLIKE = -0.05, 0.05
"""Couplings in eV that let like, and unlike, neighbours attract one another."""
CUTOFFS = (5.7,)


class Table:
    """A Hamiltonian of the toy's pairs; forces, where asked for, grow with the species index."""

    def __init__(self, lattice: Lattice, coupling: float) -> None:
        self.lattice, self.coupling = lattice, coupling

    def energy(self, occupations):
        return pair_energies(self.lattice, np.atleast_2d(occupations), self.coupling)


class WithForces(Table):
    def energy_forces_stress(self, occupations):
        n_atoms = len(self.lattice.atoms)
        size = 1.0 + occupations @ np.arange(self.lattice.n_sites)
        forces = np.ones((len(occupations), n_atoms, 3)) * size[:, None, None]
        return self.energy(occupations), forces, np.zeros((len(occupations), 3, 3))


class Toy:
    """All arrangements, their energies, and runs of their exact distribution."""

    def __init__(self, coupling: float, *size: int) -> None:
        self.lattice = perovskite(*(size or (2, 2, 3)))
        self.model = Table(self.lattice, coupling)
        self.states = self.lattice.enumerate(HALF)
        self.energies = self.model.energy(self.states)

    def mean(self, temperature: float, values=None) -> float:
        values = self.energies / self.lattice.n_sites if values is None else values
        return float(boltzmann(self.energies, temperature) @ values)

    def run(self, temperatures, *, n_draws=600, n_chains=4, stay=0.5, seed=1, **options) -> Run:
        rng, points = np.random.default_rng(seed), []
        for temperature in temperatures:
            weights = boltzmann(self.energies, temperature)
            chosen = sticky_chains(weights, n_draws, n_chains, stay, rng)
            arrays = {"occupation": self.states[chosen], "energy": self.energies[chosen]}
            points.append(point_dataset(arrays, {"temperature": temperature}))
        return Run(tuple(points), self.lattice, **options)


@cache
def toy(coupling: float, *size: int) -> Toy:
    return Toy(coupling, *size)


@cache
def structures(coupling: float):
    return generate_sqs(toy(coupling).lattice, HALF, CUTOFFS, n=4)


def compared(exact: Toy, run: Run, sqs=None, model=None, **options):
    sqs = generate_sqs(exact.lattice, HALF, CUTOFFS, n=4) if sqs is None else sqs
    usual = {"n_shells": 2, "orders": (), "n_random": 1000, "n_evaluated": 0}
    return compare_sqs(run, sqs, model or exact.model, **(usual | options))
