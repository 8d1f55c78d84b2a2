"""Free energies of compositions from draws of λ-dynamics, against enumeration, over fifty repeats.

All repeats of a case are chains of one run, four to a repeat. Each mean difference must lie within
3.5 of its errors, and the standard deviation of the repeats' z, the mean over the differences,
within 0.75 to 1.3, which honest errors miss with a probability below 1 %; seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest

from alchemc import Canonical, SemiGrandCanonical, sample
from alchemc.analysis import state_free_energies
from alchemc.ensembles import Groups, LambdaDynamics, LambdaIntegrator, SoftmaxMap
from lambda_cases import binary, law, two_sublattices

T = 6000.0
N_REPEATS, N_CHAINS = 50, 4


def composition_of_sites():
    """Ba atoms among two sites of three species, two sublattices flipping site by site."""
    model = two_sublattices(strength=0.015)
    ensemble = SemiGrandCanonical(model.lattice, T, {"A": {"Ba": 0.05}, "B": {"Zr": -0.1}})
    kernel = LambdaDynamics(model, ensemble, integrator=LambdaIntegrator("hmc", 4))
    return kernel, model.lattice.enumerate(), lambda x: (x[..., :2] == 1).sum(axis=-1)


def species_of_a_group():
    """One λ for a whole sublattice of three species, the sites of the other by themselves."""
    model = two_sublattices(strength=0.015)
    lattice = model.lattice
    groups = Groups.of(lattice, {"A": [0, 1], "first": [2], "second": [3]})
    ensemble = SemiGrandCanonical(lattice, T, {"A": {"Sr": 0.66}})
    kernel = LambdaDynamics(
        model, ensemble, groups=groups, simplex=SoftmaxMap(),
        integrator=LambdaIntegrator("underdamped", 5),
    )  # fmt: skip
    states = lattice.enumerate()
    return kernel, states[states[:, 0] == states[:, 1]], lambda x: x[..., 0]


def arrangements_of_a_composition():
    """Three Zr on six sites at a fixed composition, by how many lie in the first half."""
    model = binary((3, 2, 1))
    kernel = LambdaDynamics(
        model, Canonical(model.lattice, T), integrator=LambdaIntegrator("hmc", 4)
    )
    states = model.lattice.enumerate({"B": {"Ti": 0.5, "Zr": 0.5}})
    return kernel, states, lambda x: x[..., :3].sum(axis=-1) > 1


CASES = [composition_of_sites, species_of_a_group, arrangements_of_a_composition]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_free_energies_agree_with_enumeration_and_their_errors_are_honest(case, record_property):
    kernel, states, label = case()
    p = law(kernel, states)
    run = sample(
        kernel, np.tile(states[len(states) // 2], (N_REPEATS * N_CHAINS, 1)),
        n_steps=120, warmup=50, seed=11,
    )  # fmt: skip
    labels = label(run.samples.occupation.values).astype(int)
    names = np.unique(label(states)).astype(int)
    share = np.array([p[label(states) == n].sum() for n in names])
    exact = -np.log(share / share[0]) / kernel.ensemble.beta
    found = []
    with np.errstate(divide="ignore"):
        log_weights = np.log((labels[..., None] == names).astype(float))
    for repeat in range(N_REPEATS):
        here = slice(repeat * N_CHAINS, (repeat + 1) * N_CHAINS)
        one = state_free_energies(log_weights[:, here], T)
        found.append((one.free_energies[1:], one.errors[1:]))
    free, errors = (np.array(values) for values in zip(*found, strict=True))
    z = (free - exact[1:]) / errors
    together = (free.mean(axis=0) - exact[1:]) / (free.std(axis=0, ddof=1) / np.sqrt(N_REPEATS))
    record_property("z of the means", together.tolist())
    spread = float(z.std(axis=0, ddof=1).mean())
    record_property("standard deviation of z", spread)
    assert np.abs(together).max() < 3.5
    assert 0.75 < spread < 1.3
