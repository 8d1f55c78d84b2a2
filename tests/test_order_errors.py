"""Reported errors of the order measures have the size of the scatter that they claim.

Sixty independent sets of correlated chains of a known distribution: the root mean square of the
z-scores of the reported errors lies between 0.75 and 1.3, which a true value of 1 leaves with a
probability below 10⁻³ per measure.
"""

import numpy as np
import pytest

from alchemc.analysis import (
    anion_environments,
    cluster_vectors,
    domains,
    site_order,
    structure_factor,
)
from analysis_cases import HALF, boltzmann, pair_energies, perovskite, sticky_chains

N_SETS, N_DRAWS, STAY = 60, 500, 0.7
LATTICE = perovskite(2, 2, 2)
MEASURES = {
    "diffuse intensity": lambda x: _two(structure_factor(LATTICE, x), "diffuse", "diffuse_error"),
    "site order": lambda x: _two(site_order(LATTICE, x, n_random=1)),
    "environments": lambda x: _two(anion_environments(LATTICE, x)),
    "broken bonds": lambda x: _two(domains(LATTICE, x, smooth=False).sel(measure=["broken bonds"])),
    "cluster vectors": lambda x: _two(cluster_vectors(LATTICE, x, (4.1,)).isel(orbit=[1])),
}


def _two(table, mean="mean", error="error"):
    return table[mean].to_numpy()[0], table[error].to_numpy()[0]


@pytest.mark.parametrize("name", MEASURES)
def test_errors_are_those_of_the_scatter(name, record_property):
    states = LATTICE.enumerate(HALF)
    weights = boltzmann(pair_energies(LATTICE, states), 1500.0)
    measure = MEASURES[name]
    each = np.array([measure(state)[0] for state in states])
    rng = np.random.default_rng(11)
    scores = []
    for _ in range(N_SETS):
        chosen = sticky_chains(weights, N_DRAWS, 2, STAY, rng)
        mean, error = measure(states[chosen])
        scores.append((mean - weights @ each) / error)
    size = float(np.sqrt(np.mean(np.square(scores))))
    record_property("z", size)
    assert 0.75 < size < 1.3
    # Errors that take draws for independent are too small by √((1 + s)/(1 − s)) = 2.4.
    assert size * np.sqrt((1 + STAY) / (1 - STAY)) > 1.3
