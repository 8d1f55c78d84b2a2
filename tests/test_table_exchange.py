"""Exchanges that keep charges: the table against its definition, the chain against enumeration.

False alarms: seven exact distributions, each refused at p < 1e-4, and one test of a proposal at
p < 1e-4, all with fixed seeds; a new set of seeds would raise an alarm in one run out of 1,200.
Power: the same test refuses every mutant at p < 1e-6.
"""

from __future__ import annotations

import json
import warnings
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from alchemc import Canonical, SemiGrandCanonical, sampler
from alchemc.errors import InputError
from alchemc.sampler import GibbsWithGradients, Mixture, TableExchange
from alchemc.sampler._exchanges import constraint_matrix
from alchemc.sampler._moves import compositions, connects, graver_basis, kernel_basis
from exactness import compare
from mutants import ExchangeOfUnorderedSites, ExchangeWithoutWays
from toys import RandomHamiltonian, TabulatedHamiltonian, chain_lattice, spread_over_a_third

pytestmark = pytest.mark.filterwarnings("ignore:sublattice .* exchanges species of different")

# (species, sites[, charges]) by sublattice; the user's constraints; counts of the start.
SYSTEMS = {
    "A1+/A2+ and B3+/B5+": (
        [(("Na", "Sr"), 5, (1, 2)), (("Al", "Ta"), 4, (3, 5))], (), [(2, 3), (3, 1)],
    ),
    "charged vacancies": ([(("Sr", "La", "X"), 7, (2, 3, 0))], (), [(4, 2, 1)]),
    "three charges on one sublattice": ([(("Al", "Ti", "Nb"), 6, (3, 4, 5))], (), [(2, 2, 2)]),
    "three charges and two": (
        [(("Na", "Sr", "La"), 3, (1, 2, 3)), (("Al", "Ti"), 3, (3, 4))], (), [(1, 1, 1), (2, 1)],
    ),
    "a constraint of the user's": (
        [(("Sr", "La"), 4), (("Ti", "Al", "X"), 3)],
        [{"s0": {"La": 1}, "s1": {"Al": -1}}],
        [(2, 2), (1, 2, 0)],
    ),
    "charges and a constraint": (
        [(("Na", "Sr", "La"), 4, (1, 2, 3)), (("Al", "Ti"), 3, (3, 4))],
        [{"s0": {"La": 1}}],
        [(2, 1, 1), (1, 2)],
    ),
}  # fmt: skip


def filled(counts):
    """An occupation with these counts per sublattice."""
    return np.concatenate([np.repeat(np.arange(len(c)), c) for c in counts])


@cache
def toy(name):
    """Energies of all occupations with the start's constraint values, and their ensemble."""
    groups, constraints, counts = SYSTEMS[name]
    lattice = chain_lattice(*groups)
    rows = constraint_matrix(lattice, constraints)
    values = lambda states: lattice.counts(states).reshape(len(states), -1) @ rows.T  # noqa: E731
    states = lattice.enumerate()
    states = states[(values(states) == values(filled(counts)[None])).all(axis=1)]
    table = TabulatedHamiltonian(RandomHamiltonian(lattice, seed=3, cubic=0.1), states)
    mu = {n: {s.species[-1]: 0.1} for n, s in lattice.sublattices.items()}
    with warnings.catch_warnings(action="ignore"):
        return table, spread_over_a_third(table, mu)[0], constraints


def build(name, kind=TableExchange, **options):
    table, ensemble, constraints = toy(name)
    return kind(table, ensemble, constraints, **options), table


@pytest.mark.parametrize("name", SYSTEMS)
def test_states_are_visited_with_their_exact_probability_and_no_others_are(name):
    kernel, table = build(name)  # an occupation that breaks a constraint is a KeyError
    assert len({tuple(c.ravel()) for c in table.lattice.counts(table.states)}) > 1
    verdict = compare(kernel, table, draws=20_000)
    assert verdict.p_value > 1e-4, verdict
    assert verdict.moved > 0.5, verdict


def test_a_mixture_with_informed_swaps_is_exact():
    kernel, table = build("three charges on one sublattice", swaps=0.0)
    informed = GibbsWithGradients(table, kernel.ensemble, move="swap")
    verdict = compare(Mixture([(kernel, 1), (informed, 1)]), table, draws=10_000)
    assert verdict.p_value > 1e-4, verdict


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_state_with_the_constraint_values_is_reached(name):
    kernel, table = build(name)
    kernel = kernel.rebind(ensemble=kernel.ensemble.with_temperature(1e6))
    rngs = sampler.spawn_generators(1, 300)
    state = kernel.init(np.tile(filled(SYSTEMS[name][2]), (300, 1)), rngs)
    _, block = sampler.draw_block(kernel, state, rngs, 150)
    visited = {int(i) for occupations in block["occupation"] for i in table.index(occupations)}
    assert len(visited) == len(table.states)


MUTANTS = [
    (ExchangeWithoutWays, "A1+/A2+ and B3+/B5+"),
    (ExchangeWithoutWays, "charged vacancies"),
    (ExchangeOfUnorderedSites, "charged vacancies"),
    (ExchangeOfUnorderedSites, "three charges on one sublattice"),
]


@pytest.mark.parametrize(("mutant", "name"), MUTANTS)
def test_a_broken_exchange_is_rejected(mutant, name):
    kernel, table = build(name, mutant)
    verdict = compare(kernel, table, draws=20_000)
    assert verdict.p_value < 1e-6, verdict


def outcomes(table, x, vector):
    """All states that one exchange leads to from state x, by comparing it with every state."""
    lattice = table.lattice
    found = []
    for y, state in enumerate(table.states):
        changed = state != table.states[x]
        one_hot = lattice.weights(np.stack([table.states[x], state]))[:, changed]
        where = lattice.sublattice_of_site[changed]
        lost, gained = (
            np.array([h[where == s].sum(axis=0) for s in range(len(lattice.names))])
            for h in one_hot
        )
        wanted = vector.reshape(lost.shape)
        if (lost == np.maximum(-wanted, 0)).all() and (gained == np.maximum(wanted, 0)).all():
            found.append(y)
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_ways_of_every_exchange_are_counted_exactly(name):
    kernel, table = build(name)
    exchanges = kernel._table
    for x in (0, len(table.states) // 2, len(table.states) - 1):
        counts = exchanges.counts(table.states[x : x + 1])
        for vector in exchanges.vectors:
            found = outcomes(table, x, vector)
            possible = (counts + vector >= 0).all()
            assert bool(found) == possible
            if possible:
                log_ways = exchanges.log_ways(counts, vector[None])
                np.testing.assert_allclose(log_ways, np.log(len(found)), atol=1e-12)


def test_all_outcomes_of_all_exchanges_are_proposed_equally_often_within_an_exchange():
    kernel, table = build("three charges on one sublattice")
    exchanges = kernel._table
    x = int(table.index(filled([(2, 2, 2)])[None])[0])
    starts = np.tile(table.states[x], (60_000, 1))
    uniforms = np.random.default_rng(4).random((60_000, 1 + 2 * exchanges.width))
    exchange, vectors = exchanges.draw(starts, uniforms)
    assert len(exchanges.vectors) == 2
    for vector in exchanges.vectors:
        chosen = np.flatnonzero((vectors == vector).all(axis=1))
        assert len(chosen) == pytest.approx(30_000, abs=6 * np.sqrt(15_000))
        ends = starts[chosen]
        row, column = np.nonzero(exchange.sites[chosen] >= 0)
        ends[row, exchange.sites[chosen][row, column]] = exchange.species[chosen][row, column]
        expected = outcomes(table, x, vector)
        assert len(expected) == (4 if vector[1] > 0 else 2)
        times = np.bincount(table.index(ends), minlength=len(table.states))
        assert times.sum() == times[expected].sum()
        assert chisquare(times[expected]).pvalue > 1e-4


def test_an_impossible_exchange_is_no_move_and_costs_nothing():
    kernel, _ = build("charged vacancies", swaps=0.0)
    all_strontium = np.zeros((200, 7), dtype=np.int8)  # nothing to give strontium for
    rngs = sampler.spawn_generators(1, 200)
    state = kernel.init(all_strontium, rngs)
    after, info = kernel.step(state, rngs)
    refused = (info.sites < 0).all(axis=1)
    assert 60 < refused.sum() < 140
    np.testing.assert_array_equal(info.energy_calls, ~refused)
    assert (info.gradient_calls == 0).all()
    assert not info.accepted[refused].any()
    np.testing.assert_array_equal(after.occupations[refused], 0)


def test_the_reported_change_is_the_one_made():
    kernel, table = build("charges and a constraint")
    rngs = sampler.spawn_generators(1, len(table.states))
    state = kernel.init(table.states, rngs)
    for _ in range(10):
        after, info = kernel.step(state, rngs)
        proposed = state.occupations.copy()
        replica, column = np.nonzero(info.sites >= 0)
        sites, species = info.sites[replica, column], info.species[replica, column]
        assert (proposed[replica, sites] != species).all()
        proposed[replica, sites] = species
        expected = np.where(info.accepted[:, None], proposed, state.occupations)
        np.testing.assert_array_equal(after.occupations, expected)
        np.testing.assert_array_equal(after.energy, table.energy(after.occupations))
        state = after


@pytest.mark.parametrize("swaps", [0.0, 0.2, 0.9])
def test_swaps_are_as_frequent_as_asked_for(swaps):
    """8,000 steps and a bound of five standard errors: a false alarm in 10⁶ seeds."""
    kernel, _ = build("A1+/A2+ and B3+/B5+", swaps=swaps)
    start = np.tile(filled([(2, 3), (3, 1)]), (8_000, 1))
    rngs = sampler.spawn_generators(1, len(start))
    _, info = kernel.step(kernel.init(start, rngs), rngs)
    swapped = (info.sites >= 0).sum(axis=1) == 2
    assert swapped.mean() == pytest.approx(swaps, abs=5 * np.sqrt(swaps * (1 - swaps) / 8_000))


def test_a_chain_does_not_depend_on_its_neighbours_and_blocks_have_no_seam():
    kernel, table = build("three charges and two")

    def advance(first, last, blocks):
        rngs = sampler.spawn_generators(1, last - first, first)
        state = kernel.init(table.states[first:last], rngs)
        parts = []
        for n in blocks:
            stored = json.loads(json.dumps([sampler.generator_state(rng) for rng in rngs]))
            rngs = [sampler.restore_generator(one) for one in stored]
            state, block = sampler.draw_block(kernel, state, rngs, n)
            parts.append(block["occupation"])
        return np.concatenate(parts)

    together = advance(0, 6, [60])
    np.testing.assert_array_equal(together[:, 2:4], advance(2, 4, [25, 35]))


def test_there_is_nothing_to_tune_and_rebinding_keeps_the_constraints():
    kernel, table = build("charges and a constraint", swaps=0.3)
    rngs = sampler.spawn_generators(1, 4)
    warmed, _, _ = sampler.warm_up(kernel, kernel.init(table.states[:4], rngs), rngs, 30)
    assert warmed is kernel
    assert kernel.with_arrays(json.loads(json.dumps(kernel.to_arrays()))) is kernel
    cooler = kernel.rebind(ensemble=kernel.ensemble.with_temperature(10.0))
    assert (cooler.swaps, cooler.constraints) == (0.3, kernel.constraints)
    assert cooler.moves == kernel.moves


def test_the_moves_can_be_read():
    assert build("A1+/A2+ and B3+/B5+")[0].moves == [
        "s0: 2 Na -> 2 Sr, s1: Ta -> Al",
        "s0: 2 Sr -> 2 Na, s1: Al -> Ta",
    ]
    assert build("charged vacancies")[0].moves == ["s0: 3 Sr -> 2 La + X", "s0: 2 La + X -> 3 Sr"]
    assert "s1: Ti -> X" in build("a constraint of the user's")[0].moves
    assert "s0: Sr -> La, s1: Ti -> Al" in build("a constraint of the user's")[0].moves


# The table itself


def box(n_columns, size):
    return np.array(list(product(range(-size, size + 1), repeat=n_columns)))


def least_vectors(matrix, size):
    """Graver basis by its definition, of vectors with entries up to ``size``."""
    kernel = box(len(matrix[0]), size)
    kernel = kernel[(kernel @ np.array(matrix).T == 0).all(axis=1) & kernel.any(axis=1)]
    fits = lambda v: ((kernel * v >= 0) & (abs(kernel) <= abs(v))).all(axis=1).sum()  # noqa: E731
    return {tuple(v.tolist()) for v in kernel if fits(v) == 1}


MATRICES = [
    ((1, 1, 1, 1), (0, 1, 2, 3)),
    ((1, 1, 1, 0, 0), (0, 0, 0, 1, 1), (1, 2, 3, 3, 5)),
    ((1, 2, 3),),
    ((3, 5, 7, 2),),
    ((1, 0), (0, 1)),
]


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_graver_basis_is_the_one_of_its_definition(matrix):
    found = {tuple(v.tolist()) for v in graver_basis(matrix)}
    assert len(found) == len(graver_basis(matrix))
    size = max((max(map(abs, v)) for v in found), default=1)
    assert found == least_vectors(matrix, min(size + 1, 8))


small = st.integers(-3, 3)
matrices = st.integers(1, 2).flatmap(
    lambda n: st.lists(st.tuples(small, small, small, small), min_size=n, max_size=n)
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(matrices)
def test_graver_and_lattice_bases_of_any_small_matrix(rows):
    matrix = tuple(rows)
    basis, moves = kernel_basis(matrix), graver_basis(matrix)
    assert not (basis @ np.array(matrix).T).any()
    assert len(basis) == 4 - np.linalg.matrix_rank(np.array(matrix))
    kernel = box(4, 3)
    kernel = kernel[(kernel @ np.array(matrix).T == 0).all(axis=1)]
    if len(basis):
        coefficients = np.linalg.lstsq(basis.T.astype(float), kernel.T, rcond=None)[0]
        np.testing.assert_allclose(coefficients, np.round(coefficients), atol=1e-8)
    inside = {tuple(v.tolist()) for v in moves if abs(v).max() <= 3}
    assert inside == least_vectors(matrix, 3)


def test_a_lattice_basis_may_not_connect_what_the_graver_basis_does():
    """Charges 0 … 3: one atom each of 0 and 3 cannot become 1 and 2 by differences of rows."""
    matrix = ((1, 1, 1, 1), (0, 1, 2, 3))
    start = np.array([1, 0, 0, 1])
    states = compositions(np.array(matrix), start, [np.arange(4)])
    assert sorted(map(tuple, states.tolist())) == [(0, 1, 1, 0), (1, 0, 0, 1)]
    basis = np.array([[1, -2, 1, 0], [0, 1, -2, 1]])  # of the same lattice, on purpose short
    both_signs = np.concatenate([basis, -basis])
    assert not (basis @ np.array(matrix).T).any()
    assert not connects(both_signs, states)
    assert connects(graver_basis(matrix), states)


def reached_by_hand(kernel, start):
    """Compositions reached from a start, and all that share its constraint values."""
    lattice, table = kernel.hamiltonian.lattice, kernel._table
    rows = constraint_matrix(lattice, kernel.constraints)
    counts = table.counts(start[None])[0]
    every = {tuple(c) for c in table.counts(lattice.enumerate()).tolist()}
    alike = {c for c in every if (rows @ (np.array(c) - counts) == 0).all()}
    reached, waiting = set(), [tuple(counts.tolist())]
    while waiting:
        here = waiting.pop()
        if here in alike - reached:
            reached.add(here)
            waiting += [tuple((np.array(here) + v).tolist()) for v in table.vectors]
    return reached, alike


@pytest.mark.parametrize("name", SYSTEMS)
def test_connected_agrees_with_a_search_by_hand(name):
    kernel, table = build(name)
    for start in table.states[:: len(table.states) // 3]:
        reached, alike = reached_by_hand(kernel, start)
        assert kernel.connected(start) is (reached == alike) is True
        parts = kernel._table.parts
        found = compositions(kernel._matrix, kernel._table.counts(start[None])[0], parts)
        assert {tuple(c.tolist()) for c in found} == alike


def test_connected_says_no_where_moves_are_missing():
    kernel, table = build("three charges and two")
    start = table.states[0]
    kernel._table.vectors = kernel._table.vectors[:2]
    reached, alike = reached_by_hand(kernel, start)
    assert kernel.connected(start) is (reached == alike) is False


def test_exchanges_too_large_for_the_cell_are_left_out():
    lattice = chain_lattice((("Na", "Sr"), 3, (1, 2)), (("Al", "Ta"), 3, (3, 7)))
    with pytest.raises(InputError, match="only swaps are possible"):
        exchange(lattice)  # a Ta for an Al takes four of the three sites on s0
    larger = chain_lattice((("Na", "Sr"), 4, (1, 2)), (("Al", "Ta"), 3, (3, 7)))
    assert len(exchange(larger).moves) == 2


def exchange(lattice, constraints=(), **options):
    ensemble = SemiGrandCanonical(lattice, 1000.0, {})
    return TableExchange(RandomHamiltonian(lattice, seed=1), ensemble, constraints, **options)


def test_fractional_charges_are_scaled_and_odd_ones_refused():
    thirds = chain_lattice((("Mn", "Fe", "Ni"), 4, (8 / 3, 3, 7 / 3)))
    assert exchange(thirds).moves == ["s0: 2 Mn -> Fe + Ni", "s0: Fe + Ni -> 2 Mn"]
    odd = chain_lattice((("Mn", "Fe", "Ni"), 4, (2.667, 3, 2)))
    with pytest.raises(InputError, match=r"'Mn' and 'Fe' on 's0', 2.667 and 3.*8/3") as error:
        exchange(odd)
    assert "\n" not in str(error.value)
    fine = chain_lattice(
        (("Mn", "Fe", "Co"), 4, (0, 1 / 11, 1 / 12)), (("Ni", "Al", "Ti"), 4, (0, 1 / 7, 2.2))
    )
    with pytest.raises(InputError, match="give charges with a larger common unit"):
        exchange(fine)


CHARGED = chain_lattice((("Na", "Sr"), 5, (1, 2)), (("Al", "Ta"), 4, (3, 5)))
NEUTRAL = chain_lattice((("Na", "Sr"), 5), (("Al", "Ta"), 4))


@pytest.mark.parametrize(
    ("lattice", "constraints", "message"),
    [
        (NEUTRAL, (), "no charges and no constraints.*RandomFlip"),
        (NEUTRAL, {"s0": {"Na": 1}}, "give a list of mappings"),
        (NEUTRAL, ["s0"], "'s0' is no mapping"),
        (NEUTRAL, [{"s9": {"Na": 1}}], "the sublattice 's9'"),
        (NEUTRAL, [{"s0": {"Al": 1}}], "names 'Al' on 's0'"),
        (NEUTRAL, [{"s0": 1}], "constraint on 's0' is 1"),
        (NEUTRAL, [{"s0": {"Na": 0}}], "counts nothing"),
        (NEUTRAL, [{"s0": {"Na": 0.5}}], "'Na' on 's0' as 0.5; give a whole number"),
        (NEUTRAL, [{"s0": {"Na": 1001}}], "1001; give a whole number from −1000 to 1000"),
        (
            NEUTRAL,
            [{"s0": {"Na": 1}}, {"s1": {"Al": 1}}],
            "only swaps are possible: use RandomSwap",
        ),
        (CHARGED, [{"s0": {"Na": 1}}], "only swaps are possible"),
        (chain_lattice((("Al", "Ta"), 4, (3, 5))), (), "only swaps are possible"),
        (chain_lattice((("Al",), 4, (3,))), (), "only swaps are possible"),
    ],
)
def test_constraints_that_cannot_be_used_are_refused_in_one_line(lattice, constraints, message):
    with pytest.raises(InputError, match=message) as error:
        exchange(lattice, constraints)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("swaps", [1, 1.5, -0.1, float("nan"), "0.5", True])
def test_a_share_of_swaps_that_cannot_be_used_is_refused(swaps):
    with pytest.raises(InputError, match=r"swaps is .*from 0 to below 1"):
        exchange(CHARGED, swaps=swaps)


def test_fixed_compositions_and_tables_too_large_are_refused():
    with pytest.raises(InputError, match="canonical ensemble fixes: use RandomSwap"):
        TableExchange(RandomHamiltonian(CHARGED, seed=1), Canonical(CHARGED, 300.0))
    symbols = ("Li", "Na", "Mg", "Ca", "Al", "Sc", "Ti", "Zr", "Nb", "Ta")
    many = chain_lattice((symbols, 20, tuple(range(10))))
    with pytest.raises(InputError, match="more than 1000 kinds of exchange"):
        exchange(many)


def test_connected_refuses_what_it_cannot_enumerate():
    kernel = exchange(CHARGED)
    with pytest.raises(InputError, match="one start"):
        kernel.connected(np.zeros((1, 9), dtype=int))
    with pytest.raises(InputError):
        kernel.connected(np.zeros(8, dtype=int))
    large = chain_lattice(*[(("Na", "Sr", "La"), 60, (1, 2, 3))] * 3)
    with pytest.raises(InputError, match="compositions are too many to enumerate"):
        exchange(large).connected(np.zeros(180, dtype=int))
