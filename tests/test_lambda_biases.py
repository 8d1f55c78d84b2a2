"""Biases of λ: their energies, and that both ways to learn them end in a flat landscape.

The landscapes are known: sums of the biases' own terms, and tables of random energies. Draws come
straight from the biased law, so that nothing but the flattening is tested. False alarms: bounds on
what is left of a landscape lie at twice what the seeds leave; no test compares p-values.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import units

from alchemc.ensembles import Biases
from alchemc.ensembles.alchemical import CompactMap, Groups, LambdaTrajectory
from alchemc.ensembles.alchemical.discrete import DiscreteStates
from alchemc.ensembles.alchemical.flattening import Flattening
from alchemc.ensembles.alchemical.landscapes import (
    biases_from_slopes,
    flatten_biases,
    next_biases,
    unevenness,
)
from alchemc.errors import InputError
from alchemical_mutants import FlattensTheWrongWay
from gibbs_cases import MixedWithForces, free
from toys import RandomHamiltonian, chain_lattice

TEMPERATURE = 1000.0
KT = units.kB * TEMPERATURE
LATTICE = chain_lattice((("Sr", "La", "Ba"), 2), (("Ti", "Zr"), 2))
GROUPS = Groups.each_site(LATTICE)


def random_biases(groups, seed, size=1.0):
    """Biases of all terms that there may be, of normal energies."""
    rng = np.random.default_rng(seed)
    allowed = groups.allowed
    n_groups, n = allowed.shape
    both = allowed[:, :, None] & allowed[:, None, :] & ~np.eye(n, dtype=bool)
    quadratic = rng.normal(size=both.shape) * both
    apart = ~np.eye(n_groups, dtype=bool)[:, None, :, None]
    coupling = rng.normal(size=(n_groups, n, n_groups, n)) * allowed[:, :, None, None]
    coupling = coupling * (allowed & apart)
    return Biases(
        groups,
        linear=size * rng.normal(size=allowed.shape) * allowed,
        quadratic=size * (quadratic + quadratic.transpose(0, 2, 1)) / 2,
        end_point=0.2 * size * rng.normal(size=both.shape) * both,
        coupling=size * (coupling + coupling.transpose(2, 3, 0, 1)) / 2,
    )


def random_weights(groups, n, seed):
    """Points inside the simplex of every group, [n, n_groups, n_species_max]."""
    drawn = np.random.default_rng(seed).gamma(1.0, size=(n, *groups.allowed.shape))
    drawn *= groups.allowed
    return drawn / drawn.sum(axis=-1, keepdims=True)


def reshaped(model, lam):
    """Energy and slope of a random Hamiltonian at any λ."""
    energy, slope = model._evaluate(np.asarray(lam).ravel())
    return energy, slope.reshape(np.shape(lam)) * model.lattice.allowed


# ---- energies ------------------------------------------------------------------------------


def test_the_energy_is_the_sum_written_out():
    biases, (weights,) = random_biases(GROUPS, 1), random_weights(GROUPS, 1, 2)
    total = 0.0
    for g, lam in enumerate(weights):
        for k, one in enumerate(lam):
            total += biases.linear[g, k] * one
            for m, other in enumerate(lam):
                total += biases.quadratic[g, k, m] * one * other * (k < m)
                total += biases.end_point[g, k, m] * one * other / (one + 0.017)
                for h in range(g + 1, len(weights)):
                    total += biases.coupling[g, k, h, m] * one * weights[h, m]
    assert biases.energy(weights) == pytest.approx(total, abs=1e-12)


def test_slopes_are_derivatives_of_the_energy():
    biases, weights, step = random_biases(GROUPS, 1), random_weights(GROUPS, 5, 2), 1e-6
    slopes = biases.gradient(weights)
    for place in np.ndindex(GROUPS.allowed.shape):
        shift = np.zeros(GROUPS.allowed.shape)
        shift[place] = step
        rise = (biases.energy(weights + shift) - biases.energy(weights - shift)) / (2 * step)
        np.testing.assert_allclose(slopes[(slice(None), *place)], rise, rtol=0, atol=1e-7)


def test_linear_terms_and_couplings_alone_are_left_at_vertices():
    biases, states = random_biases(GROUPS, 1), np.array([[2, 0, 1, 1], [1, 1, 0, 1]])
    for row, energy in zip(states, biases.of_states(states), strict=True):
        own = sum(biases.linear[g, k] for g, k in enumerate(row))
        pairs = sum(
            biases.coupling[g, row[g], h, row[h]] for g in range(4) for h in range(g + 1, 4)
        )
        assert energy == pytest.approx(own + pairs, abs=1e-12)


def test_an_energy_does_not_depend_on_what_stands_beside_it():
    biases, weights = random_biases(GROUPS, 1), random_weights(GROUPS, 40, 2)
    together = biases.energy(weights), biases.gradient(weights)
    for n, one in enumerate(weights):
        assert biases.energy(one) == together[0][n]
        assert np.array_equal(biases.gradient(one[None])[0], together[1][n])


def test_biases_go_to_arrays_and_back():
    biases = random_biases(GROUPS, 1)
    back = Biases(GROUPS).with_arrays(biases.to_arrays())
    weights = random_weights(GROUPS, 3, 2)
    assert np.array_equal(back.energy(weights), biases.energy(weights))


def test_what_all_states_of_a_group_share_is_taken_off():
    more = Biases(GROUPS).plus(linear=np.where(GROUPS.allowed, 0.7, 0.0))
    assert np.array_equal(more.linear, np.zeros(GROUPS.allowed.shape))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"linear": np.zeros((4, 2))}, r"linear has shape \(4, 2\); expected \(4, 3\)"),
        ({"linear": np.full((4, 3), np.nan)}, "linear holds nan"),
        ({"linear": np.ones((4, 3))}, r"linear\[2, 2\] is 1.0, a term that does not exist"),
        ({"quadratic": np.ones((4, 3, 3))}, r"quadratic\[0, 0, 0\] is 1.0"),
        ({"quadratic": np.triu(np.ones((3, 3)), 1) * np.eye(4)[0][:, None, None]}, "not symmetric"),
    ],
)
def test_terms_that_are_none_are_refused(terms, message):
    with pytest.raises(InputError, match=message):
        Biases(GROUPS, **terms)


def test_biases_of_no_groups_are_refused():
    with pytest.raises(InputError, match="groups is a Lattice; give Groups"):
        Biases(LATTICE)


# ---- discrete states -----------------------------------------------------------------------


class Table:
    """Random energies of the joint states of groups, and draws of their biased law."""

    def __init__(self, groups, states, seed, size=10.0, pairs=0.0):
        rng = np.random.default_rng(seed)
        self.states, self.groups = states, groups
        grid = np.indices((len(states.table),) * groups.n_groups)
        self.joint = grid.reshape(groups.n_groups, -1).T
        usable = states.usable[np.arange(groups.n_groups), self.joint].all(axis=1)
        self.joint = self.joint[usable]
        own = size * KT * rng.normal(size=states.usable.shape)
        self.energies = own[np.arange(groups.n_groups), self.joint].sum(axis=1)
        coupling = pairs * random_biases(groups, seed).coupling
        self.energies += Biases(groups, coupling=coupling).energy(self.weights)

    @property
    def weights(self):
        return self.states.weights(self.joint)

    def law(self, biases):
        exponent = -(self.energies + biases.energy(self.weights)) / KT
        weights = np.exp(exponent - exponent.max())
        return weights / weights.sum()

    def flattened(self, flattening, n_steps, n_replicas, seed):
        """Flattening after draws from the law at every step, indicators for probabilities."""
        rng = np.random.default_rng(seed)
        for _ in range(n_steps):
            law = self.law(flattening.biases)
            drawn = self.joint[rng.choice(len(law), size=n_replicas, p=law)]
            shares = np.eye(len(self.states.table))[drawn]
            flattening = flattening.after(shares, self.states.weights(drawn))
        return flattening

    def shares(self, biases):
        """Exact shares of the states of every group."""
        law = self.law(biases)
        unit = np.eye(len(self.states.table))[self.joint]
        return np.einsum("n,ngs->gs", law, unit)


def start(states, couplings=False, kind=Flattening):
    return kind(Biases(states.groups), states.table, states.usable, TEMPERATURE, couplings)


def largest_deviation(table, biases):
    """Of S times the share of any state from 1."""
    usable = table.states.usable
    scaled = table.shares(biases) * usable.sum(axis=1, keepdims=True)
    return np.abs(scaled - 1.0)[usable].max()


@pytest.mark.parametrize("between", [0, 1, 3])
def test_states_whose_energies_differ_by_tens_of_kt_come_to_be_visited_alike(between):
    groups = Groups.of(LATTICE, {"a": [1], "b": [2]})
    states = DiscreteStates(groups, between)
    table = Table(groups, states, seed=1)
    assert largest_deviation(table, Biases(groups)) > 0.99
    flattening = table.flattened(start(states), 3000, 4, seed=2)
    assert largest_deviation(table, flattening.biases) < 0.25


def test_couplings_make_pairs_of_groups_uniform_too():
    groups = Groups.of(LATTICE, {"a": [0], "b": [2], "c": [3]})
    states = DiscreteStates(groups)
    table = Table(groups, states, seed=3, size=3.0, pairs=0.3)
    entropies = {}
    for couplings in (False, True):
        flattening = table.flattened(start(states, couplings), 3000, 4, seed=2)
        law = table.law(flattening.biases)
        entropies[couplings] = np.exp(-(law * np.log(law)).sum()) / len(law)
    assert entropies[False] < 0.8
    assert entropies[True] > 0.93


def test_updates_are_those_of_self_adjusted_mixture_sampling():
    """Every state with a term of its own: +γ k_BT S on the state that was visited."""
    groups = Groups.of(LATTICE, {"a": [0]})
    states = DiscreteStates(groups)
    shares = np.array([[[0.1, 0.7, 0.2]]])
    after = start(states).after(shares, states.weights(np.array([[1]])))
    expected = KT * (shares[0, 0] - shares[0, 0, 0])  # γ = 1/S
    np.testing.assert_allclose(after.biases.linear[0], expected, rtol=0, atol=1e-12)


def test_the_gain_falls_as_one_over_t_once_all_states_were_visited():
    states = DiscreteStates(Groups.of(LATTICE, {"a": [2]}))
    flattening, uniform = start(states), np.full((1, 1, 3), [0.5, 0.5, 0.0])
    for _ in range(20):
        flattening = flattening.after(uniform, states.weights(np.array([[0]])))
    assert flattening.gain < 1 / 20
    moved = flattening.after(np.array([[[1.0, 0.0, 0.0]]]), states.weights(np.array([[0]])))
    change = moved.biases.linear[0, 1] - flattening.biases.linear[0, 1]
    assert change == pytest.approx(-2 * KT / 21, rel=1e-9)


def test_a_long_way_to_a_flat_landscape_does_not_delay_what_follows():
    states = DiscreteStates(Groups.of(LATTICE, {"a": [2]}))
    flattening, here = start(states), states.weights(np.array([[0]]))
    for _ in range(300):
        flattening = flattening.after(np.array([[[1.0, 0.0, 0.0]]]), here)
    assert flattening.gain == 0.5
    for _ in range(30):
        flattening = flattening.after(np.full((1, 1, 3), [0.5, 0.5, 0.0]), here)
    assert flattening.gain < 0.5


def test_a_first_guess_opposes_the_energies():
    states = DiscreteStates(GROUPS, between=1)
    energies = np.random.default_rng(0).normal(size=states.usable.shape)
    guess = start(states).started(energies).biases
    total = energies + np.stack([guess.own(np.tile(row, (4, 1))) for row in states.table], axis=1)
    for row, usable in zip(total, states.usable, strict=True):
        np.testing.assert_allclose(row[usable], row[usable].mean(), rtol=0, atol=1e-9)


def test_a_flattening_goes_on_bit_for_bit_from_its_arrays():
    states = DiscreteStates(GROUPS)
    table = Table(GROUPS, states, seed=1)
    whole = table.flattened(start(states, True), 40, 2, seed=5)
    part = table.flattened(start(states, True), 20, 2, seed=5)
    arrays = part.to_arrays()
    numbers = json.dumps({k: v for k, v in arrays.items() if isinstance(v, int | float)})
    again = start(states, True).with_arrays(arrays | json.loads(numbers))
    rng = np.random.default_rng(5)
    for _ in range(20):  # the generator where the first part left it
        rng.choice(len(table.joint), size=2, p=table.law(Biases(GROUPS)))
    for _ in range(20):
        law = table.law(again.biases)
        drawn = table.joint[rng.choice(len(law), size=2, p=law)]
        again = again.after(np.eye(3)[drawn], states.weights(drawn))
    for name, values in whole.biases.to_arrays().items():
        assert np.array_equal(values, again.biases.to_arrays()[name])


def test_a_flattening_of_the_wrong_sign_is_seen():
    states = DiscreteStates(GROUPS)
    table = Table(GROUPS, states, seed=1, size=1.0)
    broken = table.flattened(start(states, kind=FlattensTheWrongWay), 300, 4, seed=2)
    assert largest_deviation(table, broken.biases) > 0.9


@pytest.mark.parametrize(
    ("between", "message"),
    [
        ((0.0, 0.5), "share 0.0; give numbers between 0 and 1"),
        ((0.5, 0.5), "hold one twice"),
        ("half", "states in between are 'half'"),
        (-1, "states in between are -1"),
    ],
)
def test_states_that_are_none_are_refused(between, message):
    with pytest.raises(InputError, match=message):
        DiscreteStates(GROUPS, between)


def test_groups_that_may_be_vacant_have_no_states_in_between():
    lattice = chain_lattice((("Sr", "La", "X"), 2))
    with pytest.raises(InputError, match="may be vacant has no states in between"):
        DiscreteStates(Groups.each_site(lattice), 1)


# ---- continuous λ --------------------------------------------------------------------------


class Landscape:
    """A free energy of λ made of the biases' own terms, over a pool of λ of the compact map."""

    def __init__(self, couplings):
        lattice = chain_lattice((("Sr", "La", "Ba"), 2))
        self.groups = Groups.each_site(lattice)
        self.rng = np.random.default_rng(7)
        height = np.exp(5.5 * np.sin(self.rng.uniform(0.0, 2 * np.pi, size=(100_000, 2, 3))))
        self.pool = height / height.sum(axis=-1, keepdims=True)
        self.energy = random_biases(self.groups, 8, 0.5)
        if not couplings:
            self.energy = Biases(
                self.groups, self.energy.linear, self.energy.quadratic, self.energy.end_point
            )

    def draw(self, biases):
        exponent = -self.total(biases) / KT
        weights = np.exp(exponent - exponent.max())
        return self.pool[self.rng.choice(len(self.pool), 1000, p=weights / weights.sum())]

    def total(self, biases):
        return self.energy.energy(self.pool) + biases.energy(self.pool)


@pytest.mark.parametrize("couplings", [False, True])
def test_rounds_of_reweighting_flatten_a_known_landscape(couplings, record_property):
    landscape = Landscape(couplings)
    none = Biases(landscape.groups)
    before = landscape.total(none).std() / KT
    found = flatten_biases(
        landscape.draw, none, landscape.pool[:5000], TEMPERATURE,
        rounds=25, tolerance=0.07, couplings=couplings,
    )  # fmt: skip
    left = landscape.total(found.biases).std() / KT
    record_property("left_kT", left)
    assert found.flat
    assert found.unevenness[0] > 0.4
    assert before > 2.5
    assert left < 0.4


def test_draws_that_are_flat_leave_the_biases_alone():
    landscape = Landscape(couplings=False)
    opposed = Biases(landscape.groups).with_arrays(
        {name: -values for name, values in landscape.energy.to_arrays().items()}
    )
    lam = landscape.draw(opposed)
    assert unevenness(lam, landscape.pool[:5000]).max() < 0.1
    after = next_biases(opposed, lam, landscape.pool[:5000], TEMPERATURE)
    assert (after.energy(landscape.pool) - opposed.energy(landscape.pool)).std() < 0.3 * KT


def test_draws_at_one_end_drive_the_bias_against_it_by_what_is_allowed():
    landscape = Landscape(couplings=False)
    stuck = np.tile([0.98, 0.01, 0.01], (200, 2, 1))
    after = next_biases(Biases(landscape.groups), stuck, landscape.pool[:5000], TEMPERATURE)
    ends = after.of_states(np.array([[0, 0], [1, 1], [2, 2]]))
    assert ends[0] > ends[1] + KT
    assert ends[0] > ends[2] + KT
    assert np.ptp(after.own(landscape.pool[:5000]), axis=0).max() < 5.1 * KT


@pytest.mark.parametrize("couplings", [False, True])
def test_slopes_along_a_trajectory_give_the_landscape_at_once(couplings):
    landscape = Landscape(couplings)
    lam = landscape.draw(Biases(landscape.groups))
    found = biases_from_slopes(
        landscape.groups, lam, landscape.energy.gradient(lam), couplings=couplings
    )
    assert landscape.total(found).std() < 1e-6 * KT


def test_a_trajectory_with_biases_from_its_slopes_is_flat(record_property):
    """λ of one group of three species and one of two, on a lattice where they attract."""
    lattice = chain_lattice((("Sr", "La", "Ba"), 2), (("Ti", "Zr"), 2))
    model, groups = RandomHamiltonian(lattice, 3), Groups.of(lattice, {"a": [0, 1], "b": [2, 3]})
    model.mixed_energy = lambda lam, **_: MixedWithForces(*reshaped(model, lam), None)
    ensemble = free(lattice, {}, 1000.0)
    plain = LambdaTrajectory(model, ensemble, groups=groups)
    found = plain.run(np.zeros(4, int), n_draws=150, n_replicas=4, warmup=50, seed=1)
    rng = np.random.default_rng(3)
    theta = CompactMap().draw_measure((20_000, *groups.allowed.shape), rng)
    reference = CompactMap().weights(theta, groups.allowed)
    before = unevenness(found["lambda"], reference, couplings=True)
    biases = biases_from_slopes(groups, found["lambda"], found["slope"], couplings=True)
    flat = replace(plain, biases=biases)
    found = flat.run(np.zeros(4, int), n_draws=300, n_replicas=4, warmup=50, seed=2)
    after = unevenness(found["lambda"], reference, couplings=True)
    record_property("unevenness", [before.round(3).tolist(), after.round(3).tolist()])
    assert before.max() > 0.4
    assert after.max() < 0.15


def test_shapes_that_do_not_fit_are_refused():
    landscape = Landscape(couplings=False)
    none, lam = Biases(landscape.groups), landscape.pool[:10]
    with pytest.raises(InputError, match=r"λ has shape \(10, 3\)"):
        next_biases(none, lam[:, 0], lam, TEMPERATURE)
    with pytest.raises(InputError, match="the reference has shape"):
        next_biases(none, lam, lam[:, :, :2], TEMPERATURE)
    with pytest.raises(InputError, match="slopes have shape"):
        biases_from_slopes(landscape.groups, lam, lam[:5])
    with pytest.raises(InputError, match="rounds is 0"):
        flatten_biases(landscape.draw, none, lam, TEMPERATURE, rounds=0)
    with pytest.raises(InputError, match="largest is 0"):
        next_biases(none, lam, lam, TEMPERATURE, largest=0)
