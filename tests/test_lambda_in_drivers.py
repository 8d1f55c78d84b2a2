"""λ-dynamics and Gibbs λ within drivers of kernels: what would sample wrongly is refused."""

import numpy as np
import pytest

from alchemc import Canonical, Mixture, PairHamiltonian, RandomSwap, Tempering, analysis, builders
from alchemc import sample as draw
from alchemc.ensembles import HMC, GibbsLambda, Groups, HybridMD, LambdaDynamics
from alchemc.errors import InputError
from alchemc.potentials import AlchemicalMACE

LATTICE = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 1, 1))
ENSEMBLE = Canonical(LATTICE, 900.0)
PAIRS = PairHamiltonian(LATTICE, [np.array([[0.0, 0.01], [0.01, -0.02]])])


@pytest.fixture(scope="module")
def mace():
    return AlchemicalMACE(LATTICE, "bundled", device="cpu")


def hopping(model=PAIRS, **how):
    return GibbsLambda(model, ENSEMBLE, Groups.of(LATTICE, {"one": [0]}), **how)


def test_a_trajectory_of_lambda_does_not_carry_displacements(mace):
    kernel = LambdaDynamics(mace, ENSEMBLE)
    for given in (kernel, Mixture([(kernel, 1), (RandomSwap(mace, ENSEMBLE), 1)])):
        with pytest.raises(InputError, match="trajectory of λ belongs to one set of positions"):
            HybridMD(given, HMC(), swap_displacements=True)
    assert HybridMD(kernel, HMC()).kernel is kernel


def test_kernels_that_move_positions_themselves_are_not_driven_as_if_they_moved_none(mace):
    moving = LambdaDynamics(mace, ENSEMBLE, positions=True)
    for kernel in (hopping(mace, dynamics=HMC()), moving):
        with pytest.raises(InputError, match="moves more than occupations"):
            HybridMD(kernel, HMC())
        with pytest.raises(InputError, match="in a mixture moves more than occupations"):
            Mixture([(kernel, 1.0)])


def test_a_ladder_refuses_kernels_with_biases_of_their_own():
    with pytest.raises(InputError, match="biases of its own, which rungs would not share"):
        Tempering(hopping(), temperatures=[900.0, 1200.0])


def test_an_analysis_says_that_draws_follow_a_bias():
    run = draw(hopping(), np.zeros(2, int), n_steps=40, n_replicas=2, warmup=20, seed=1)
    told = analysis.analyze_run(run, orders=[], shells=0)["caveats"]
    biased = [c for c in told if c["code"] == "biased"]
    assert [c["level"] for c in biased] == ["critical"]
    assert "state_free_energies" in biased[0]["text"]
