"""λ-dynamics and Gibbs λ within drivers of kernels: what would sample wrongly is refused."""

from dataclasses import replace

import numpy as np
import pytest

from alchemc import (
    Canonical,
    Mixture,
    PairHamiltonian,
    RandomSwap,
    Tempering,
    VarianceConstrained,
    analysis,
    builders,
)
from alchemc import sample as draw
from alchemc.ensembles import (
    HMC,
    GibbsLambda,
    Groups,
    HybridMD,
    LambdaDynamics,
    LambdaTrajectory,
)
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


def test_atoms_do_not_move_with_lambda_in_single_precision(mace):
    single = mace.at(mace.positions, mace.cell)
    single.dtype = "float32"
    assert LambdaDynamics(mace, ENSEMBLE, positions=True).atoms is not None
    for kind in (LambdaDynamics, LambdaTrajectory):
        with pytest.raises(InputError, match="need energies in double precision, not in float32"):
            kind(single, ENSEMBLE, positions=True)
    LambdaDynamics(single, ENSEMBLE)


def test_a_ladder_refuses_kernels_with_biases_of_their_own():
    with pytest.raises(InputError, match="biases of its own, which rungs would not share"):
        Tempering(hopping(), temperatures=[900.0, 1200.0])


def test_an_analysis_says_that_draws_follow_a_bias():
    run = draw(hopping(), np.zeros(2, int), n_steps=40, n_replicas=2, warmup=20, seed=1)
    told = analysis.analyze_run(run, orders=[], shells=0)["caveats"]
    biased = [c for c in told if c["code"] == "biased"]
    assert [c["level"] for c in biased] == ["critical"]
    assert "state_free_energies" in biased[0]["text"]


def swept(**how):
    return draw(hopping(**how), np.zeros(2, int), n_steps=40, n_replicas=2, warmup=20, seed=1)


@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("free energies", analysis.observations),
        ("free energies", lambda run: analysis.free_energy(run, anchor=PAIRS)),
        ("free energies", analysis.mbar_averages),
        ("transition temperatures", lambda run: analysis.transition_series(run, None)),
    ],
)
@pytest.mark.parametrize("how", [{}, {"flatten": False}])
def test_draws_under_a_bias_are_refused_by_what_would_take_them_for_the_ensembles(what, use, how):
    with pytest.raises(InputError, match=f"{what} would follow it too: .*state_free_energies"):
        use(swept(**how))


def test_a_sweep_both_ways_under_biases_has_no_hysteresis():
    points = [swept().samples.assign_coords(sweep=way) for way in (0.0, 1.0)]
    hot = [point.assign_coords(temperature=1200.0) for point in points]
    run = replace(swept(), points=(points[0], hot[0], hot[1], points[1]))
    with pytest.raises(InputError, match="loops would follow it too"):
        analysis.hysteresis(run)
    assert analysis.analyze_run(run, orders=[], shells=0)["hysteresis"] == []


def test_a_composition_that_hops_in_a_canonical_ensemble_is_not_told_as_fixed():
    found = analysis.analyze_run(swept(), orders=[], shells=0)
    assert found["formula"] == "Sr(Ti,Zr)O3"
    assert found["sublattices"]["B"]["varies"]
    (point,) = found["points"]
    assert 0.0 < point["fractions"]["fraction of Zr on B"]["mean"] < 1.0
    assert point["heat_capacity"] is None
    assert "composition" in next(c for c in found["caveats"] if c["code"] == "biased")["text"]


def test_free_energy_slopes_are_not_taken_from_biased_draws():
    target = VarianceConstrained(LATTICE, 900.0, phi={"B": {"Ti": -1.0}}, kappa=2.0)
    kernel = GibbsLambda(PAIRS, target, Groups.each_site(LATTICE))
    run = draw(kernel, np.zeros(2, int), n_steps=40, n_replicas=2, warmup=20, seed=1)
    (point,) = analysis.analyze_run(run, orders=[], shells=0)["points"]
    assert point["free_energy_slopes"] == {}
