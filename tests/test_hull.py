"""Lower convex hulls against linear programming, and in cases that have degenerate geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from alchemc.analysis.stability.hull import lower_hull
from alchemc.errors import InputError


def best_mixture(x, energy, at):
    """Energy of the best mixture of points, by linear programming."""
    system = np.vstack([x.T, np.ones(len(x))])
    found = linprog(energy, A_eq=system, b_eq=np.append(at, 1.0), bounds=(0, None))
    return found.fun if found.status == 0 else np.nan


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(5, 40), st.integers(0, 10**6))
def test_the_height_above_the_hull_is_that_of_linear_programming(d, n, seed):
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.ones(d + 1), size=n)[:, :d]
    x[: d + 1] = np.vstack([np.zeros(d), np.eye(d)])
    energy = rng.normal(size=n)
    hull = lower_hull(x, energy)
    expected = [energy[i] - best_mixture(x, energy, x[i]) for i in range(n)]
    np.testing.assert_allclose(hull.above, expected, atol=1e-7)
    assert set(np.flatnonzero(hull.above < 1e-9)) == set(hull.vertices)
    at = rng.dirichlet(np.ones(d + 1), size=5)[:, :d]
    np.testing.assert_allclose(
        hull.energy_at(at), [best_mixture(x, energy, a) for a in at], atol=1e-7
    )
    parts = hull.mixture(at[0])
    assert sum(parts.values()) == pytest.approx(1.0)
    np.testing.assert_allclose(sum(w * x[i] for i, w in parts.items()), at[0], atol=1e-9)


def test_fractions_that_add_up_to_one_may_be_given_whole():
    rng = np.random.default_rng(1)
    x = np.vstack([np.eye(3), rng.dirichlet(np.ones(3), size=30)])
    energy = rng.normal(size=33)
    whole, two = lower_hull(x, energy), lower_hull(x[:, :2], energy)
    np.testing.assert_allclose(whole.above, two.above, atol=1e-10)
    # A tie triangle has the same differences of slopes in either description.
    np.testing.assert_allclose(whole.energy_at(x), two.energy_at(x[:, :2]), atol=1e-9)


def test_compositions_on_a_line_in_a_plane_make_a_chain():
    t = np.linspace(0, 1, 9)
    energy = np.array([0.0, 0.3, -0.1, 0.2, -0.5, 0.0, 0.1, -0.3, 0.2])
    line = np.column_stack([t, 0.5 - 0.5 * t])
    hull, one = lower_hull(line, energy), lower_hull(t, energy)
    assert hull.vertices.tolist() == one.vertices.tolist()
    np.testing.assert_allclose(hull.above, one.above, atol=1e-12)
    assert np.isnan(hull.energy_at([[0.5, 0.9]]))[0]


def test_energies_in_one_plane_lie_on_the_hull():
    x = np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.5], [0.2, 0.3]], dtype=float)
    energy = 1.0 + x @ [0.3, -0.2]
    hull = lower_hull(x, energy)
    np.testing.assert_allclose(hull.above, 0.0, atol=1e-12)
    np.testing.assert_allclose(hull.energy_at([[0.3, 0.3]]), 1.03)


def test_one_composition_and_several_energies_at_one_composition():
    hull = lower_hull([0.5, 0.5, 0.5], [0.2, -0.1, 0.4])
    assert hull.vertices.tolist() == [1]
    np.testing.assert_allclose(hull.above, [0.3, 0.0, 0.5])
    hull = lower_hull([0.0, 0.0, 1.0, 0.4, 0.4], [0.5, 0.0, 0.0, -0.1, -0.3])
    assert hull.vertices.tolist() == [1, 4, 2]
    np.testing.assert_allclose(hull.above, [0.5, 0, 0, 0.2, 0])


def test_a_lone_compound_and_its_slopes():
    hull = lower_hull([[0.0], [0.5], [1.0]], [0.0, -0.2, 0.1])
    np.testing.assert_allclose(hull.slopes[:, 0], [-0.4, 0.6])
    assert hull.mixture([0.5]) == {1: 1.0}
    with pytest.raises(InputError, match="give one of these"):
        hull.mixture(1.3)


@pytest.mark.parametrize(
    ("x", "energy", "message"),
    [
        ([], [], "at least one point"),
        ([0.0, 1.0], [0.0], "expected"),
        ([0.0, 1.0], [0.0, np.nan], "leave out what is not known"),
        (["a"], [1.0], "arrays of numbers"),
    ],
)
def test_what_is_no_set_of_points_is_refused(x, energy, message):
    with pytest.raises(InputError, match=message):
        lower_hull(x, energy)
