"""Chains that can never sample their ensemble say so before they run, or are refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from alchemc import (
    Annealing,
    Canonical,
    ChargeNeutral,
    PairHamiltonian,
    SemiGrandCanonical,
    SurrogateChain,
    Tempering,
    VarianceConstrained,
    WangLandau,
    builders,
    sample,
)
from alchemc.errors import InputError
from alchemc.sampler import (
    DiscreteLangevin,
    GibbsWithGradients,
    Mixture,
    PathAuxiliary,
    RandomFlip,
    RandomSwap,
    TableExchange,
)
from alchemc.sampler._standstill import standing_still

LATTICE = builders.perovskite(
    ("La", "Sr"), ("Al", "Ti"), "O", a=3.85, size=(2, 1, 1),
    charges={"La": 3, "Sr": 2, "Al": 3, "Ti": 4}, spectator_charges={"O": -2},
)  # fmt: skip
PAIRS = PairHamiltonian(LATTICE, {("A", "B"): [{("La", "Ti"): 0.02}]})
MIXED = np.array([0, 1, 0, 1])
NEUTRAL = ChargeNeutral(LATTICE, 1000.0, {"A": {"Sr": 0.0}})
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    FIXED = SemiGrandCanonical(LATTICE, 1000.0, {"B": {"Ti": 0.0}}, fixed=("A",))


def run(kernel, start=MIXED):
    return sample(kernel, start, n_steps=2, n_replicas=2)


@pytest.mark.parametrize("kind", [RandomFlip, GibbsWithGradients, PathAuxiliary, DiscreteLangevin])
def test_flips_alone_warn_of_a_fixed_sublattice_that_they_never_rearrange(kind):
    with pytest.warns(UserWarning, match="never rearranges the species of sublattice A, .*Mixture"):
        run(kind(PAIRS, FIXED))


@pytest.mark.parametrize("ensemble", [NEUTRAL, FIXED])
def test_swaps_alone_warn_of_a_composition_that_they_never_change(ensemble):
    with pytest.warns(UserWarning, match="RandomSwap never changes the composition, which"):
        run(RandomSwap(PAIRS, ensemble))


def test_drivers_warn_as_the_kernels_they_drive():
    flips = RandomFlip(PAIRS, FIXED)
    for driver in (
        Annealing(flips, end=500.0, n_steps=4),
        Tempering(flips, temperatures=[500.0, 1000.0]),
        Mixture([(flips, 1), (GibbsWithGradients(PAIRS, FIXED), 1)]),
    ):
        with pytest.warns(UserWarning, match="never rearranges the species of sublattice A"):
            run(driver)


def test_what_reaches_everything_is_quiet():
    flips, swaps = RandomFlip(PAIRS, FIXED), RandomSwap(PAIRS, FIXED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Mixture([(flips, 1), (swaps, 1)]))
        run(flips, np.array([0, 0, 0, 1]))  # one species on A: there is nothing to rearrange
        run(TableExchange(PAIRS, NEUTRAL))
        run(RandomSwap(PAIRS, Canonical(LATTICE, 1000.0)))
    for ensemble in (NEUTRAL, FIXED):
        assert not standing_still(SurrogateChain(PAIRS, ensemble), LATTICE.counts(MIXED))


class Own:
    """A kernel that says nothing of its moves."""

    def __init__(self, kernel):
        self._kernel = kernel

    def __getattr__(self, name):
        return getattr(self._kernel, name)


def test_nothing_is_said_of_kernels_that_are_not_known():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Own(RandomFlip(PAIRS, FIXED)))


def test_a_variance_constraint_that_leaves_one_composition_is_told():
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 2))
    ideal = PairHamiltonian(lattice, [])
    with pytest.warns(UserWarning, match=r"κ = 200 holds fractions on B to 0.018, .* take κ = 4"):
        run(RandomFlip(ideal, VarianceConstrained(lattice, 900.0, {"Ti": -1.0}, 200.0)), [0, 1] * 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(RandomFlip(ideal, VarianceConstrained(lattice, 900.0, {"Ti": -1.0}, 16.0)), [0, 1] * 4)


def test_what_takes_no_steps_and_an_ensemble_of_another_crystal_are_refused():
    with pytest.raises(InputError, match="WangLandau is no kernel that takes steps: call its run"):
        run(WangLandau(PAIRS, "flip"))
    with pytest.raises(InputError, match="ChargeNeutral is no kernel that takes steps: give one"):
        run(NEUTRAL)
    other = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0)
    for kind in (RandomFlip, GibbsWithGradients):
        with pytest.raises(InputError, match="lattice differs from the energy model's"):
            kind(PAIRS, SemiGrandCanonical(other, 1000.0, {"Zr": 0.1}))
