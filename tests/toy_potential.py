"""A pair energy that costs nothing, registered as the potential kind "toy", for campaign tests."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from typing import NamedTuple

import numpy as np


class ToyInfo(NamedTuple):
    name: str
    sha256: str
    dtype: str


class ToyPotential:
    """E = Σ_pairs J q_i q_j on nearest neighbours, q = −1, +1 … by species; gradient exact."""

    def __init__(  # noqa: PLR0917
        self, lattice, model="0.05", device="auto", dtype="float64", trust=False, positions=None
    ):
        self.lattice = lattice
        self.coupling = float(model)
        digest = hashlib.sha256(f"toy {self.coupling}".encode()).hexdigest()
        self.model_info = ToyInfo("toy", digest, dtype)
        self._charges = np.linspace(-1, 1, lattice.n_species_max)
        self._neighbours = np.zeros((lattice.n_sites, lattice.n_sites))
        for name in lattice.names:
            for i, j in lattice.shells(1, name)[0].pairs:
                self._neighbours[i, j] += 0.5
                self._neighbours[j, i] += 0.5
        field = np.random.default_rng(5).normal(size=lattice.n_sites)
        self._field = 0.02 * (field if positions is None else field + positions.sum() * 1e-3)
        self._delay = float(os.environ.get("TOY_DELAY", "0"))

    def energy(self, occupations):
        return self.energy_and_gradient(occupations)[0]

    def energy_and_gradient(self, occupations):
        if self._delay:
            time.sleep(self._delay)
        charge = self._charges[occupations]
        potential = self.coupling * charge @ self._neighbours + self._field
        energy = (charge * (potential + self._field)).sum(axis=1) / 2
        return energy, potential[:, :, None] * self._charges * self.lattice.allowed

    def energy_change(self, occupations, sites, species):
        changed = occupations.copy()
        rows, columns = np.nonzero(sites >= 0)
        changed[rows, sites[rows, columns]] = species[rows, columns]
        return self.energy(changed) - self.energy(occupations)


def register() -> None:
    import alchemc.potentials

    alchemc.potentials.POTENTIALS = {"toy": ToyPotential}


if __name__ == "__main__":
    register()
    from alchemc.cli import main

    sys.exit(main(sys.argv[1:]))
