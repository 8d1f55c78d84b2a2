"""Composition optimisation: closed forms, explicit scans, constraints, and targets out of reach.

Nothing here is statistical.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from ase.units import GPa
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq, fsolve, minimize

from alchemc import AlchemicalMACE, builders
from alchemc.analysis import lattice_parameters, mean_crystal, optimise_composition
from alchemc.analysis.solid_solution.mean_crystal import Settings
from alchemc.analysis.solid_solution.optimisation import _Descent
from alchemc.analysis.solid_solution.simplex import group_space, onto_simplex
from alchemc.errors import ConvergenceError, InputError
from solution_toys import BowedCrystal


def fractions(found, name="B"):
    return np.array(list(found.composition[name].values()))


@pytest.mark.parametrize("mixing", ["sites", "paper"])
def test_the_composition_of_a_lattice_parameter_is_the_root_of_the_closed_form(mixing):
    model = BowedCrystal()
    found = optimise_composition(model, {"lattice_parameter": 4.05}, mixing=mixing)

    def excess(x):
        return np.cbrt(model.volume(np.array([1 - x, x]), mixing)) - 4.05

    assert found.reached
    assert fractions(found)[1] == pytest.approx(brentq(excess, 0, 1), abs=1e-3)
    assert found.crystal.lattice_parameter == pytest.approx(4.05, abs=1e-4)
    assert found.crystal.mixing == mixing
    assert len(found.path) <= 8


def test_two_targets_fix_a_composition_of_three_species():
    model = BowedCrystal(3)
    exact = np.array([0.25, 0.45, 0.3])
    targets = {n: model.closed(exact)[n][0] for n in ("lattice_parameter", "bulk_modulus")}
    found = optimise_composition(model, targets)

    def misses(y):
        of = model.closed(np.array([y[0], y[1], 1 - y.sum()]))
        return [(of[name][0] - target) for name, target in targets.items()]

    root = fsolve(misses, fractions(found)[:2])
    assert found.reached
    assert fractions(found)[:2] == pytest.approx(root, abs=3e-3)
    assert fractions(found) == pytest.approx(exact, abs=3e-3)


def test_targets_that_exclude_one_another_end_in_the_best_compromise():
    model = BowedCrystal(3)
    targets = {"lattice_parameter": 3.95, "bulk_modulus": 150.0}
    weights = {"lattice_parameter": 2.0, "bulk_modulus": 0.5}
    found = optimise_composition(model, targets, weights=weights)

    def objective(y):
        of = model.closed(np.array([y[0], y[1], 1 - y[0] - y[1]]))
        a, b = of["lattice_parameter"][0], of["bulk_modulus"][0]
        return ((a - 3.95) / 0.01) ** 2 + 0.25 * (b - 150.0) ** 2

    room = {"type": "ineq", "fun": lambda y: 1 - y.sum()}
    exact = min(
        (
            minimize(objective, y, bounds=[(0, 1)] * 2, constraints=room, method="SLSQP")
            for y in ([0.3, 0.3], [0.8, 0.1], [0.1, 0.8])
        ),
        key=lambda one: one.fun,
    )
    assert not found.reached
    assert "compromise" in found.statement
    assert found.path[-1]["objective"] == pytest.approx(exact.fun, rel=1e-4)
    assert fractions(found)[:2] == pytest.approx(exact.x, abs=5e-3)
    steps = [row["objective"] for row in found.path]
    assert steps == sorted(steps, reverse=True)


def test_the_gradient_of_the_objective_is_that_of_finite_differences():
    model = BowedCrystal(3, size=2)
    groups = {"left": [0], "right": [1]}
    targets = {"lattice_parameter": 4.0, "bulk_modulus": 170.0, "energy": -5.0}
    space, _ = group_space(model.lattice, groups, None, None)
    of = _Descent(model, space, Settings(fmax=1e-6), targets, np.array([1.0, 0.3, 2.0]))
    weights = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    gradient = of._evaluate(weights)[1]
    direction = np.array([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    step = 1e-3
    low, high = (of._evaluate(weights + sign * step * direction)[0] for sign in (-1, 1))
    assert (gradient * direction).sum() == pytest.approx((high - low) / (2 * step), rel=5e-3)


def test_a_gradient_of_the_wrong_sign_does_not_get_there(monkeypatch):
    right = _Descent._evaluate

    def wrong(self, weights):
        value, gradient, jacobian = right(self, weights)
        return value, -gradient, jacobian

    monkeypatch.setattr(_Descent, "_evaluate", wrong)
    with pytest.raises((InputError, ConvergenceError), match=r"out of reach|no composition"):
        optimise_composition(BowedCrystal(), {"lattice_parameter": 4.05})


def test_the_bundled_model_finds_what_an_explicit_scan_finds():
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0)
    model = AlchemicalMACE(lattice, "bundled", device="cpu")
    scan = lattice_parameters(model, np.linspace(0, 1, 6)).of("sites")
    exact = CubicSpline(scan.x, scan.lattice_parameter).solve(4.06, extrapolate=False)[0]
    found = optimise_composition(model, {"lattice_parameter": 4.06})
    assert fractions(found)[1] == pytest.approx(exact, abs=1e-3)
    text = r"a lattice parameter of 4\.6000 Å is out of reach: the nearest found is 4\.19\d+ Å, at "
    with pytest.raises(InputError, match=text + "Ti 0, Zr 1 on B") as caught:
        optimise_composition(model, {"lattice_parameter": 4.6}, start={"B": {"Ti": 0.1, "Zr": 0.9}})
    assert "\n" not in str(caught.value)


def test_a_volume_and_a_start_lead_to_the_same_composition():
    model = BowedCrystal(size=2)
    a = 4.05
    by_length = optimise_composition(model, {"lattice_parameter": a})
    start = {"B": {"Ti": 1.0}}  # a corner
    by_volume = optimise_composition(model, {"volume": 2 * a**3}, start=start)
    assert fractions(by_volume) == pytest.approx(fractions(by_length), abs=2e-3)
    assert by_volume.path[0]["composition"] == {"B": {"Ti": 1.0, "Zr": 0.0}}


def test_fixed_fractions_stay_and_the_others_move():
    model = BowedCrystal(3)
    found = optimise_composition(model, {"lattice_parameter": 4.05}, fixed={"B": {"Nb": 0.25}})
    ti, zr, nb = fractions(found)
    assert nb == 0.25
    assert ti + zr == pytest.approx(0.75)
    assert model.volume(np.array([ti, zr, nb])) == pytest.approx(4.05**3, rel=1e-4)
    for row in found.path:
        assert row["composition"]["B"]["Nb"] == 0.25


def test_species_that_are_not_wanted_vanish_altogether():
    with pytest.raises(InputError, match="at Ti 0, Zr 1, Nb 0 on B"):
        optimise_composition(BowedCrystal(3), {"lattice_parameter": 4.2})


def test_groups_move_apart_and_sites_in_none_stay():
    model = BowedCrystal(size=3)
    groups = SimpleNamespace(names=("moving",), members=((0, 2),))
    start = {"B": {"Ti": 0.5, "Zr": 0.5}}
    found = optimise_composition(model, {"lattice_parameter": 4.0}, groups=groups, start=start)
    assert set(found.composition) == {"moving"}
    lam = found.crystal.lam
    assert lam[1].tolist() == [0.5, 0.5]
    assert lam[0].tolist() == lam[2].tolist() == list(found.composition["moving"].values())
    assert model.volume(lam.mean(axis=0)) == pytest.approx(64.0, rel=1e-4)


def test_a_modulus_is_a_target():
    model = BowedCrystal()
    found = optimise_composition(model, {"bulk_modulus": 180.0}, mixing="paper")
    x = fractions(found)
    assert model.closed(x, "paper")["bulk_modulus"][0] == pytest.approx(180.0, abs=0.03)
    assert model.k @ x * model.volume(x, "paper") / GPa == pytest.approx(180.0, abs=0.03)


def test_results_are_plain_data_with_a_statement():
    found = optimise_composition(BowedCrystal(), {"lattice_parameter": 4.0})
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["statement"].startswith("The mean crystal of Ti")
    assert plain["units"] == {"lattice_parameter": "Å"}
    assert plain["values"]["lattice_parameter"] == pytest.approx(4.0, abs=1e-4)
    again = mean_crystal(BowedCrystal(), found.composition)
    assert again.lattice_parameter == pytest.approx(found.crystal.lattice_parameter, abs=1e-5)


def test_projections_are_the_nearest_points_of_the_simplex():
    rng = np.random.default_rng(7)
    for n, total in ((2, 1.0), (3, 0.6), (5, 1.0)):
        for _ in range(20):
            given = rng.normal(size=n)
            found = onto_simplex(given, total)
            assert found.sum() == pytest.approx(total)
            assert found.min() >= 0
            others = total * rng.dirichlet(np.ones(n), 200)
            assert (
                ((others - given) ** 2).sum(axis=1) >= ((found - given) ** 2).sum() - 1e-12
            ).all()
    assert onto_simplex(np.array([2.0, 1.0]), 0.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("targets", "options", "words"),
    [
        ({}, {}, "give values by property"),
        ({"lattice": 4.0}, {}, "no property is called 'lattice'"),
        ({"volume": -1.0}, {}, "target of volume is -1"),
        ({"volume": 64.0}, {"weights": {"energy": 1.0}}, "which is no target"),
        ({"volume": 64.0}, {"weights": {"volume": 0.0}}, "weight of volume is 0"),
        ({"volume": 64.0}, {"tolerance": 0}, "tolerance is 0"),
        ({"volume": 64.0}, {"max_steps": 0}, "max_steps is 0"),
        ({"volume": 64.0}, {"groups": [[0]]}, "sites by name"),
        ({"volume": 64.0}, {"groups": {"B": [0, 0]}}, "each in one group"),
        ({"volume": 64.0}, {"groups": {"B": [5]}}, "sites from 0 to 0"),
        ({"volume": 64.0}, {"groups": {"B": []}}, "has no sites"),
        ({"volume": 64.0}, {"fixed": {"A": {"Ti": 1}}}, "names the group 'A'"),
        ({"volume": 64.0}, {"fixed": {"B": {"Sc": 1}}}, "holds 'Sc'"),
        ({"volume": 64.0}, {"fixed": {"B": {"Ti": 1.5}}}, "fixed fraction of Ti"),
        ({"volume": 64.0}, {"fixed": {"B": {"Ti": 0.7, "Zr": 0.7}}}, "add up to 1.4"),
        ({"volume": 64.0}, {"fixed": {"B": {"Ti": 0.7}}}, "no fraction is free"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(targets, options, words):
    with pytest.raises(InputError, match=words) as caught:
        optimise_composition(BowedCrystal(), targets, **options)
    assert "\n" not in str(caught.value)


def test_a_search_cut_short_says_so():
    with pytest.raises(ConvergenceError, match="no composition was settled on after 1 steps"):
        optimise_composition(
            BowedCrystal(3), {"lattice_parameter": 4.05, "bulk_modulus": 170.0}, max_steps=1
        )
