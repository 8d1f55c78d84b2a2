"""Maps from free coordinates to λ: densities, normalisers, Jacobians, gradients.

Statistical tests have fixed seeds; each compares in units of its own standard error and would
raise a false alarm with a probability below 1e-4.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln

import alchemical_mutants as mutants
from alchemc import builders
from alchemc.ensembles.alchemical import CompactMap, Groups, SoftmaxMap
from alchemc.ensembles.alchemical.maps import _log_normaliser
from alchemc.errors import InputError

MAPS = {
    "compact": CompactMap(),
    "wide": CompactMap(c=2.0),
    "softmax": SoftmaxMap(),
    "flat softmax": SoftmaxMap(a=1.5),
}
N = 200_000


def drawn(simplex, n_species, n=N, seed=0):
    rng = np.random.default_rng(seed)
    theta = simplex.draw_measure((n, n_species), rng)
    return theta, simplex.weights(theta, np.ones(n_species, dtype=bool))


def logits(values):
    """λ of ln(λ_k/λ_m) [..., m − 1]."""
    full = np.concatenate([values, np.zeros((*values.shape[:-1], 1))], axis=-1)
    risen = np.exp(full - full.max(axis=-1, keepdims=True))
    return risen / risen.sum(axis=-1, keepdims=True)


def box_excess(density, weights, low, high, n_points=12_000):
    """z of the samples in a box of ln(λ_k/λ_m) against the density, by random points in the box."""
    apart = np.log(weights[:, :-1] / weights[:, -1:])
    share = ((apart > low) & (apart < high)).all(axis=1).mean()
    points = low + (high - low) * np.random.default_rng(1).random((n_points, len(low)))
    there = logits(points)
    # dλ = Π λ_k d ln(λ_k/λ_m)
    values = density(there) * there.prod(axis=1) * np.prod(high - low)
    error = np.hypot(np.sqrt(share / len(weights)), values.std() / np.sqrt(n_points))
    return (share - values.mean()) / error


# ---- densities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["compact", "wide", "softmax", "flat softmax"])
def test_the_density_of_two_species_integrates_to_one(name):
    simplex = MAPS[name]
    end = 2.0 * simplex.c if name in ("compact", "wide") else 80.0

    def integrand(x):
        weights = logits(np.array([x]))
        return float(simplex.density(weights) * weights.prod())

    found = sum(quad(integrand, low, high, limit=200)[0] for low, high in ((-end, 0.0), (0.0, end)))
    assert found == pytest.approx(1.0, abs=1e-6)


def test_the_quadrature_and_the_elliptic_integral_agree():
    simplex = CompactMap()
    for apart in (0.05, 0.5, 3.0, 8.0, 10.9):
        weights = logits(np.array([apart]))
        by_quadrature = np.exp(simplex._quadrature(np.array([apart, 0.0]))) / weights.prod()
        assert by_quadrature == pytest.approx(float(simplex.density(weights)), rel=1e-6)


@pytest.mark.parametrize("name", ["compact", "wide", "softmax", "flat softmax"])
@pytest.mark.parametrize("n_species", [2, 3, 4])
def test_samples_are_distributed_as_the_density_says(name, n_species, record_property):
    simplex = MAPS[name]
    _, weights = drawn(simplex, n_species)
    low = {2: [-0.9], 3: [0.3, -1.2], 4: [0.2, -1.0, 0.1]}[n_species]
    for shift in (0.0, 1.1):
        low_corner = np.array(low) + shift
        z = box_excess(simplex.density, weights, low_corner, low_corner + 0.8)
        record_property("z", z)
        assert abs(z) < 4.4


@pytest.mark.parametrize("broken", [mutants.DensityWithoutJacobian(), mutants.UniformDensity()])
def test_a_wrong_density_of_the_map_is_rejected(broken):
    _, weights = drawn(CompactMap(), 3)
    z = [
        box_excess(broken.density, weights, low, low + 0.8)
        for low in np.array([[0.3, -1.2], [1.4, -0.1]])
    ]
    assert np.abs(z).max() > 10.0


def test_the_density_is_zero_beyond_what_the_map_reaches():
    simplex = CompactMap(c=1.0)
    assert simplex.density(np.array([[0.99, 0.01], [0.0, 1.0], [0.5, 0.4]])).tolist()[:2] == [0, 0]
    assert simplex.density(np.array([[0.98, 0.01, 0.01]])) == 0.0
    assert SoftmaxMap().density(np.array([[0.0, 1.0]])) == 0.0


def test_a_softmax_measure_has_the_moments_of_a_dirichlet(record_property):
    simplex = SoftmaxMap(a=0.7)
    _, weights = drawn(simplex, 3)
    mean, second = 1 / 3, 0.7 * 1.7 / (2.1 * 3.1)
    for values, expected in ((weights, mean), (weights**2, second)):
        z = (values.mean(axis=0) - expected) / (values.std(axis=0) / np.sqrt(N))
        record_property("z", z.tolist())
        assert np.abs(z).max() < 4.4


@pytest.mark.parametrize("name", list(MAPS))
def test_a_measure_is_normalised(name):
    simplex = MAPS[name]
    low, high = (-np.pi, np.pi) if "soft" not in name else (-38.0 / simplex.a, 6.0)
    found = quad(lambda x: np.exp(simplex.log_measure(np.array(x))), low, high, limit=400)[0]
    assert found == pytest.approx(1.0, abs=1e-8)


def test_without_the_jacobian_the_measure_is_another():
    broken = mutants.MeasureWithoutJacobian(a=0.7)
    found = quad(lambda x: np.exp(broken.log_measure(np.array(x))), -60.0, 6.0, limit=400)[0]
    assert abs(found - 1.0) > 0.5


# ---- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(MAPS))
def test_lambda_stays_on_the_simplex_to_rounding(name):
    _, weights = drawn(MAPS[name], 4, n=20_000)
    assert np.abs(weights.sum(axis=1) - 1.0).max() < 1e-15 * 4
    assert weights.min() >= 0.0


@pytest.mark.parametrize("name", list(MAPS))
def test_gradients_are_pulled_back_as_finite_differences_say(name):
    simplex, allowed = MAPS[name], np.array([[True, True, False], [True, True, True]])
    rng = np.random.default_rng(3)
    theta, field = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    energy = lambda t: (field * simplex.weights(t, allowed) ** 2).sum()  # noqa: E731
    weights = simplex.weights(theta, allowed)
    found = simplex.pulled_back(theta, weights, 2.0 * field * weights)
    assert np.abs(found - differences(energy, theta)).max() < 1e-8


@pytest.mark.parametrize("name", list(MAPS))
def test_slopes_of_the_densities_near_vertices_are_those_of_their_logarithms(name):
    simplex, allowed = MAPS[name], np.array([[True, True, False], [True, True, True]])
    rng = np.random.default_rng(4)
    theta = rng.normal(size=(2, 3))
    kappa = np.array([[0.5, 2.0, 0.0], [1.0, 0.3, 3.0]])
    log_z = simplex.log_normaliser(kappa, allowed)

    def log_sum(t):
        factors = simplex.log_near(t, kappa, log_z, allowed)
        return np.logaddexp.reduce(factors, axis=1).sum()

    factors = simplex.log_near(theta, kappa, log_z, allowed)
    shares = np.exp(factors - np.logaddexp.reduce(factors, axis=1)[:, None])
    found = simplex.log_near_slopes(theta, kappa, shares, allowed)
    assert np.abs(found - differences(log_sum, theta)).max() < 1e-7


def differences(function, theta, h=1e-6):
    found = np.zeros_like(theta)
    for index in np.ndindex(theta.shape):
        step = np.zeros_like(theta)
        step[index] = h
        found[index] = (function(theta + step) - function(theta - step)) / (2 * h)
    return found


# ---- densities near vertices -------------------------------------------------------------------


@pytest.mark.parametrize("name", list(MAPS))
@pytest.mark.parametrize("kappa", [(1.0, 1.0), (0.5, 2.0), (0.5, 1.0, 3.0)])
def test_the_normaliser_is_the_mean_over_the_measure(name, kappa, record_property):
    simplex, allowed = MAPS[name], np.ones((1, len(kappa)), dtype=bool)
    theta, _ = drawn(simplex, len(kappa))
    near = simplex.near(theta, np.array(kappa), allowed)
    found = np.exp(simplex.log_normaliser(np.array([kappa]), allowed))[0]
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    z = (near.mean(axis=0) - found) / (near.std(axis=0) / np.sqrt(N))
    record_property("z", z.tolist())
    assert np.abs(z).max() < 4.4


def test_normalisers_that_are_nearly_alike_join_those_that_are():
    for simplex in MAPS.values():
        z = np.exp(_log_normaliser(simplex, (1.0, 1.0 + 1e-9, 1.0)))
        assert np.abs(z - 1 / 3).max() < 1e-7


@pytest.mark.parametrize("name", list(MAPS))
def test_coordinates_near_a_vertex_have_their_density(name, record_property):
    simplex, allowed = MAPS[name], np.ones((1, 3), dtype=bool)
    kappa = np.array([[0.5, 1.0, 3.0]])
    rng = np.random.default_rng(5)
    states = np.full(40_000, 2)
    theta = simplex.draw_near(
        states, np.repeat(kappa, len(states), 0), np.ones((len(states), 3), bool), rng
    )
    weights = simplex.weights(theta, allowed[0])[:, 2]
    everywhere, _ = drawn(simplex, 3)
    log_z = simplex.log_normaliser(kappa, allowed)
    importance = np.exp(
        simplex.log_near(everywhere, kappa[0], log_z[0], allowed[0])[:, 2]
        - simplex.log_measure(everywhere).sum(axis=1)
    )
    values = importance * simplex.weights(everywhere, allowed[0])[:, 2]
    error = np.hypot(weights.std() / np.sqrt(len(weights)), values.std() / np.sqrt(N))
    z = (weights.mean() - values.mean()) / error
    record_property("z", z)
    assert abs(z) < 4.4


def test_groups_of_unlike_numbers_of_species_share_a_map():
    lattice = builders.perovskite(("Sr", "Ba", "La"), ("Ti", "Zr"), "O", a=4.0, size=(1, 1, 1))
    groups = Groups.each_site(lattice)
    theta = np.random.default_rng(0).normal(size=(7, 2, 3))
    for simplex in MAPS.values():
        weights = simplex.weights(theta, groups.allowed)
        assert (weights[:, 1, 2] == 0.0).all()
        assert np.allclose(weights.sum(axis=2), 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [(CompactMap, "give a number above 0"), (SoftmaxMap, r"give a number from 0\.05 to 100,")],
)
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, "c"])
def test_a_map_of_no_sense_is_refused(make, message, value):
    with pytest.raises(InputError, match=message):
        make(value)


@pytest.mark.parametrize("value", [1e-4, 1e9])
def test_a_softmax_that_spreads_or_holds_lambda_too_far_is_refused(value):
    with pytest.raises(InputError, match=r"0\.05 to 100, such as"):
        SoftmaxMap(a=value)


@pytest.mark.parametrize("a", [0.05, 0.2])
def test_a_normaliser_of_spread_coordinates_takes_little_memory(a):
    tracemalloc.start()
    z = np.exp(_log_normaliser(SoftmaxMap(a=a), (1.0, 3.0)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e8
    theta = SoftmaxMap(a=a).draw_measure((400_000, 2), np.random.default_rng(1))
    near = SoftmaxMap(a=a).near(theta, np.array([1.0, 3.0]), np.ones(2, bool))
    assert np.abs(near.mean(axis=0) - z).max() < 5 * near[:, 0].std() / np.sqrt(len(near))


def test_the_dirichlet_density_is_that_of_the_textbook():
    weights = np.array([0.2, 0.3, 0.5])
    expected = gammaln(1.5) - 3 * gammaln(0.5) - 0.5 * np.log(weights).sum()
    assert np.log(SoftmaxMap(a=0.5).density(weights)) == pytest.approx(float(expected))
