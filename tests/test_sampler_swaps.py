"""The choice of a swap: its probabilities against the full list of pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import chisquare

from alchemc.errors import InputError
from alchemc.sampler import _swaps
from alchemc.sampler._swaps import FactorisedSwaps, PairwiseSwaps, apply_swap, flip_field
from toys import chain_lattice, shuffled

OCCUPATION = np.array([0, 1, 2, 2, 0, 1, 0, 1, 1], dtype=np.int8)

WEIGHTS = {
    FactorisedSwaps: lambda d: np.exp(d / 2),
    PairwiseSwaps: lambda d: np.exp(d) / (1 + np.exp(d)),
}


@pytest.fixture
def lattice():
    return chain_lattice((("Al", "Sc", "Ta"), 5), (("Sr", "La"), 4))


def random_field(lattice, occupations, seed, size=1.0):
    gradient = size * np.random.default_rng(seed).normal(
        size=(*occupations.shape, lattice.n_species_max)
    )
    return flip_field(gradient, occupations)


def exact_probabilities(lattice, field, occupation, weight):
    """Probability of every swap of one replica, from the definition: {(i, j): p}."""
    weights = {}
    for i, j in combinations(range(lattice.n_sites), 2):
        same_sublattice = lattice.sublattice_of_site[i] == lattice.sublattice_of_site[j]
        if same_sublattice and occupation[i] != occupation[j]:
            weights[i, j] = weight(field[i, occupation[j]] + field[j, occupation[i]])
    total = sum(weights.values())
    return {pair: w / total for pair, w in weights.items()}


@pytest.mark.parametrize("choice", WEIGHTS)
def test_every_swap_is_drawn_with_the_probability_its_weight_gives(choice, lattice):
    """χ² of 40,000 swaps at p > 1e-4, fixed seed: a false alarm in 10⁴ seeds."""
    occupation = OCCUPATION
    occupations = np.tile(occupation, (40_000, 1))
    field = np.tile(random_field(lattice, occupation[None], 1), (len(occupations), 1, 1))
    uniforms = np.random.default_rng(2).random((len(occupations), 3))
    swap = choice(lattice).draw(field, occupations, uniforms)
    exact = exact_probabilities(lattice, field[0], occupation, WEIGHTS[choice])
    drawn = dict.fromkeys(exact, 0)
    for pair in np.sort(swap.sites, axis=1):
        drawn[tuple(pair.tolist())] += 1
    p_value = chisquare(list(drawn.values()), [p * len(occupations) for p in exact.values()]).pvalue
    assert p_value > 1e-4
    for sites, reported in zip(swap.sites[:50], swap.log_probability[:50], strict=True):
        assert np.exp(reported) == pytest.approx(exact[tuple(sorted(sites.tolist()))], rel=1e-12)


@pytest.mark.parametrize("choice", WEIGHTS)
def test_the_probability_of_a_given_swap_is_that_of_drawing_it(choice, lattice):
    occupations = shuffled(lattice, OCCUPATION, 30, seed=1)
    field = random_field(lattice, occupations, 3, size=20.0)
    swap = choice(lattice).draw(field, occupations, np.random.default_rng(4).random((30, 3)))
    reported = choice(lattice).log_probability(field, occupations, swap.sites, swap.species)
    np.testing.assert_allclose(reported, swap.log_probability, rtol=1e-12)
    swapped_order = choice(lattice).log_probability(
        field, occupations, swap.sites[:, ::-1], swap.species[:, ::-1]
    )
    np.testing.assert_allclose(swapped_order, swap.log_probability, rtol=1e-12)


@pytest.mark.parametrize("choice", WEIGHTS)
def test_extreme_gradients_neither_overflow_nor_draw_forbidden_swaps(choice, lattice):
    occupations = shuffled(lattice, OCCUPATION, 200, seed=1)
    field = random_field(lattice, occupations, 3, size=1e4)
    uniforms = np.random.default_rng(4).random((200, 3))
    uniforms[:50], uniforms[50:100] = 0.0, 1.0 - 2.0**-53
    with np.errstate(over="raise", invalid="raise"):
        swap = choice(lattice).draw(field, occupations, uniforms)
    assert np.isfinite(swap.log_probability).all()
    held = np.take_along_axis(occupations, swap.sites, axis=1)
    assert (held[:, 0] != held[:, 1]).all()
    np.testing.assert_array_equal(held[:, ::-1], swap.species)
    sublattice = lattice.sublattice_of_site[swap.sites]
    assert (sublattice[:, 0] == sublattice[:, 1]).all()


@pytest.mark.parametrize("choice", WEIGHTS)
def test_a_swap_conserves_the_counts_of_every_sublattice(choice, lattice):
    occupations = shuffled(lattice, OCCUPATION, 50, seed=1)
    uniforms = np.random.default_rng(4).random((50, 3))
    swap = choice(lattice).draw(random_field(lattice, occupations, 3), occupations, uniforms)
    proposed = apply_swap(occupations, swap)
    np.testing.assert_array_equal(lattice.counts(proposed), lattice.counts(occupations))
    assert ((proposed != occupations).sum(axis=1) == 2).all()


@pytest.mark.parametrize("choice", WEIGHTS)
def test_a_replica_without_unlike_pairs_stays_where_it_is(choice, lattice):
    occupations = np.zeros((2, lattice.n_sites), dtype=np.int8)
    occupations[1, 0] = 1
    field = random_field(lattice, occupations, 3)
    swap = choice(lattice).draw(field, occupations, np.full((2, 3), 0.5))
    assert swap.sites[0].tolist() == [-1, -1]
    assert (swap.sites[1] >= 0).all()
    np.testing.assert_array_equal(apply_swap(occupations, swap)[0], occupations[0])


def test_summing_rows_in_small_blocks_changes_nothing(lattice, monkeypatch):
    occupations = shuffled(lattice, OCCUPATION, 7, seed=1)
    field = random_field(lattice, occupations, 3)
    uniforms = np.random.default_rng(4).random((7, 3))
    whole = PairwiseSwaps(lattice).draw(field, occupations, uniforms)
    monkeypatch.setattr(_swaps, "_BLOCK_ELEMENTS", 1)
    rowwise = PairwiseSwaps(lattice).draw(field, occupations, uniforms)
    for a, b in zip(whole, rowwise, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_lattice_of_single_species_is_refused():
    with pytest.raises(InputError, match="one species"):
        FactorisedSwaps(chain_lattice((("Sr",), 3)))
