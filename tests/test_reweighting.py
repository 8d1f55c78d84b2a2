"""Reweighted means against enumeration and closed forms; too little overlap is refused.

One check of z-scores: |z| < 4.5 for 6 numbers, a false alarm in 25,000 runs or fewer.
"""

import numpy as np
import pytest
from ase import units

from alchemc import Canonical, PairHamiltonian, RandomSwap, analysis, builders, sample
from alchemc.errors import ConvergenceError, InputError


def test_means_at_other_temperatures_and_of_another_potential_are_those_of_enumeration(
    record_property,
):
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(2, 2, 2))
    pairs = PairHamiltonian(lattice, [{("Sc", "Ta"): -0.05}])
    other = PairHamiltonian(lattice, [{("Sc", "Ta"): -0.06}, {("Sc", "Ta"): 0.01}])
    half = {"B": {"Sc": 0.5, "Ta": 0.5}}
    ensemble = Canonical(lattice, 1500.0)
    start = lattice.random(half, np.random.default_rng(1), n_replicas=8)
    run = sample(RandomSwap(pairs, ensemble), start, n_steps=4000, warmup=200, thin=4, seed=1)
    occupations, energy = run.samples.occupation.values, run.samples.energy.values
    states = lattice.enumerate(half)
    of_other = other.energy(occupations.reshape(-1, lattice.n_sites)).reshape(energy.shape)
    scores = {}
    for name, values, log_weights, exact in (
        ("1,300 K", energy, -(1 / (units.kB * 1300) - ensemble.beta) * energy, (pairs, 1300.0)),
        ("2,000 K", energy, -(1 / (units.kB * 2000) - ensemble.beta) * energy, (pairs, 2000.0)),
        ("other potential", of_other, -ensemble.beta * (of_other - energy), (other, 1500.0)),
    ):
        model, temperature = exact
        levels = model.energy(states)
        weight = np.exp(-(levels - levels.min()) / (units.kB * temperature))
        found = analysis.reweighted(values, log_weights)
        scores[name] = (found.mean - weight @ levels / weight.sum()) / found.error
        assert found.converged
        assert 0.05 < found.effective_fraction < 1.0
        # Unweighted, the same draws are many errors away.
        assert abs(values.mean() - weight @ levels / weight.sum()) > 8 * found.error
    print(scores)
    record_property("z", scores)
    assert max(map(abs, scores.values())) < 4.5


def test_normal_weights_have_the_fraction_of_the_closed_form():
    z = np.random.default_rng(2).normal(size=200_000)
    for spread in (0.3, 1.0):
        assert analysis.effective_fraction(spread * z) == pytest.approx(
            np.exp(-(spread**2)), rel=0.05
        )


def test_a_constant_in_the_weights_changes_nothing():
    rng = np.random.default_rng(3)
    values, logs = rng.normal(size=(2, 50, 2))
    assert analysis.reweighted(values, logs + 2000.0) == pytest.approx(
        analysis.reweighted(values, logs)
    )


def test_too_little_overlap_is_refused():
    values = np.random.default_rng(4).normal(size=(100, 2))
    with pytest.raises(ConvergenceError, match=r"% of the draws are effective, fewer than 5 %"):
        analysis.reweighted(values, 40.0 * values)
    assert analysis.reweighted(values, 40.0 * values, least=0.0).effective_fraction < 0.05


@pytest.mark.parametrize(
    ("values", "logs", "message"),
    [
        (np.zeros((3, 2)), np.zeros((2, 2)), "do not match"),
        (np.zeros(3), np.zeros(3), "do not match"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), "values hold NaN"),
        (np.zeros((3, 2)), np.full((3, 2), np.nan), "at least one finite number"),
        (np.zeros((3, 2)), np.full((3, 2), -np.inf), "at least one finite number"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "at least one finite number"),
    ],
)
def test_what_cannot_be_reweighted_is_refused(values, logs, message):
    with pytest.raises(InputError, match=message):
        analysis.reweighted(values, logs)
