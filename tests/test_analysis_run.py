"""The analysis of whole runs: numbers, verdicts, caveats and the apparent temperature."""

import json

import numpy as np
import pytest
from ase.units import GPa, kB

from alchemc import builders
from alchemc.analysis import (
    analyze_run,
    apparent_transition,
    ordering_series,
    plots,
    shortcoming,
)
from alchemc.analysis.caveats import above_melting, unconverged
from alchemc.analysis.transition import ApparentTransition, Bracket
from alchemc.errors import InputError
from alchemc.records import Run, point_dataset
from alchemc.statistics import Summary
from analysis_cases import boltzmann, exact_run, perovskite

TEMPERATURES = (3000.0, 1500.0, 600.0)


def codes(results):
    return [caveat["code"] for caveat in results["caveats"]]


@pytest.fixture(scope="module")
def sweep():
    run, states, energies = exact_run(TEMPERATURES, n_draws=1500)
    return run, states, energies, analyze_run(run)


def test_every_mean_agrees_with_enumeration_within_its_error(sweep):
    run, states, energies, results = sweep
    assert [p["temperature"] for p in results["points"]] == sorted(TEMPERATURES)
    for point in results["points"]:
        p = boltzmann(energies, point["temperature"])
        exact = {
            "energy": p @ energies / 8,
            "heat_capacity": (p @ energies**2 - (p @ energies) ** 2)
            / (8 * (kB * point["temperature"]) ** 2),
        }
        found = {name: point[name] for name in exact}
        for name, number in point["orders"].items():
            exact[name] = p @ ordering_series(run.lattice, states, name).to_numpy()[0]
            found[name] = number
        for name, value in exact.items():
            assert abs(found[name]["mean"] - value) < 5 * found[name]["error"], name


def test_the_result_is_plain_data_without_nan(sweep):
    text = json.dumps(sweep[3], allow_nan=False)
    assert json.loads(text) == sweep[3]


def test_every_number_has_an_error_and_a_verdict(sweep):
    point = sweep[3]["points"][0]
    numbers = [point["energy"], point["heat_capacity"], point["acceptance"]]
    numbers += [*point["orders"].values(), *point["binder"].values(), *point["warren_cowley"]]
    for number in numbers:
        assert {"mean", "error", "ess", "rhat", "converged"} <= set(number)
        assert number["ess"] <= 1500 * 4
        assert number["converged"] or number["why"]


def test_the_formula_reads_as_chemists_write_it(sweep):
    assert sweep[3]["formula"] == "Sr2ScTaO6"
    assert sweep[3]["sublattices"] == {"B": {"n_sites": 8, "counts": {"Sc": 4, "Ta": 4}}}


def test_chains_that_disagree_are_reported_with_their_temperature():
    run, states, energies = exact_run((1500.0,), n_draws=300)
    point = run.points[0].copy(deep=True)
    point["occupation"][:, 0] = states[energies.argmin()]
    point["energy"][:, 0] = energies.min()
    results = analyze_run(Run((point,), run.lattice))
    assert not results["points"][0]["converged"]
    text = next(c["text"] for c in results["caveats"] if c["code"] == "unconverged")
    assert "1,500 K" in text
    assert "R-hat" in text


@pytest.mark.parametrize(
    ("pressures", "label"),
    [
        ((None, None), "sampled positions, fixed cell"),
        ((0.0, 0.0), "sampled positions and cell, 0 GPa"),
        ((0.0, 5.0), "sampled positions and cell, 0 to 5 GPa"),
    ],
)
def test_runs_whose_positions_move_are_not_labelled_by_fixed_ones(pressures, label):
    run, _, _ = exact_run((3000.0, 4000.0), n_draws=4)
    points = []
    for point, pressure in zip(run.points, pressures, strict=True):
        shape = (4, point.sizes["chain"], len(run.lattice.atoms), 3)
        moved = point.assign(positions=(("draw", "chain", "atom", "xyz"), np.zeros(shape)))
        points.append(moved if pressure is None else moved.assign_coords(pressure=pressure))
    results = analyze_run(Run(tuple(points), run.lattice, {"structure": {"displacement": 0.0}}))
    assert results["landscape"] == label
    texts = {c["code"]: c["text"] for c in results["caveats"]}
    assert texts["landscape"] == f"Energies are for {label}."
    assert "atoms may leave the sites" in texts["hot-points"]
    hot = ApparentTransition("above", "rock-salt", Bracket(3000.0, None), None, None, "")
    (caveat,) = above_melting(hot, label)
    assert caveat.text.endswith(f"for {label}; a real crystal would melt first.")


def test_at_a_pressure_the_heat_capacity_is_that_of_the_enthalpy():
    run, _, _ = exact_run((3000.0,), n_draws=400)
    (point,) = run.points
    volumes = np.random.default_rng(3).normal(500.0, 5.0, size=(400, point.sizes["chain"]))
    cells = np.cbrt(volumes)[..., None, None] * np.eye(3)
    moving = point.assign(cell=(("draw", "chain", "xyz", "vector"), cells))
    rigid = analyze_run(run)["points"][0]["heat_capacity"]["mean"]
    for pressure in (0.0, 5.0):
        at = Run((moving.assign_coords(pressure=pressure),), run.lattice)
        found = analyze_run(at)["points"][0]["heat_capacity"]["mean"]
        enthalpy = point["energy"].values + pressure * GPa * volumes
        exact = enthalpy.var() / (kB * 3000.0) ** 2 / run.lattice.n_sites
        assert found == pytest.approx(exact, rel=0.02)
        assert (found == pytest.approx(rigid)) == (pressure == 0.0)


def test_a_frozen_point_is_not_called_converged():
    run, _, _ = exact_run((1500.0, 5.0), n_draws=200)
    frozen = analyze_run(run)["points"][0]
    assert frozen["temperature"] == 5.0
    assert not frozen["converged"]
    assert "never changed" in frozen["energy"]["why"]


def test_short_runs_are_analysed_and_marked():
    run, _, _ = exact_run((1500.0,), n_draws=2)
    point = analyze_run(run)["points"][0]
    assert point["heat_capacity"]["mean"] is None
    assert not point["converged"]


def test_what_is_unknown_is_not_given_as_a_reason():
    run, _, _ = exact_run((1500.0,), n_draws=1)
    point = analyze_run(run)["points"][0]
    assert point["energy"]["why"] == "R-hat unknown, 4 effective draws of at least 100"
    nearly = Summary(1.0, 0.1, 99.7, 1.0, False)
    assert "99 effective draws of at least 100" in shortcoming(nearly)
    mixed = {"energy": nearly, "q": nearly._replace(rhat=np.nan)}
    (caveat,) = unconverged({416.6666: mixed})
    assert "At 416.667 K" in caveat.text
    assert "R-hat unknown" in caveat.text


def test_a_sublattice_of_one_species_has_no_order_and_no_pairs_of_the_absent_one():
    lattice = builders.perovskite(("Sr", "Ba"), ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    mixture = {"A": {"Sr": 1.0, "Ba": 0.0}, "B": {"Sc": 0.5, "Ta": 0.5}}
    rng = np.random.default_rng(0)
    occupation = lattice.random(mixture, rng, 60).reshape(30, 2, 16)
    arrays = {"occupation": occupation, "energy": rng.normal(size=(30, 2))}
    results = analyze_run(Run((point_dataset(arrays, {"temperature": 900.0}),), lattice))
    point = results["points"][0]
    assert set(point["orders"]) == {"B rock-salt", "B layered", "B columnar"}
    (text,) = [c["text"] for c in results["caveats"] if c["code"] == "order-left-out"]
    assert "A rock-salt, A layered, A columnar" in text
    assert "holds one species" in text
    pairs = {row["pair"] for row in point["warren_cowley"]}
    assert {"A: Sr–Sr", "A, B: Sr–Ta"} <= pairs
    assert not any("Ba" in pair for pair in pairs)
    json.dumps(results, allow_nan=False)


def test_a_precision_that_was_not_reached_is_a_caveat():
    config = {"run": {"precision": {"energy": 0.001, "rock-salt": 0.05}}}
    attrs = {"finished": True, "ended_by": ["precision", "draws", "draws"]}
    run, _, _ = exact_run((3000.0, 1500.0, 1200.0), n_draws=200, config=config, attrs=attrs)
    (caveat,) = [c for c in analyze_run(run)["caveats"] if c["code"] == "precision"]
    assert caveat["level"] == "warning"
    assert "energy 0.001 eV per cell, rock-salt 0.05" in caveat["text"]
    assert "1,500 K, 1,200 K" in caveat["text"]
    assert "3,000" not in caveat["text"]
    attrs = {"ended_by": ["precision"] * 3}
    reached = Run(run.points, run.lattice, config, attrs)
    assert "precision" not in codes(analyze_run(reached))


def test_a_run_without_draws_or_temperature_is_refused():
    run, _, _ = exact_run((1500.0,), n_draws=2)
    with pytest.raises(InputError, match="no draws"):
        analyze_run(Run((run.points[0].isel(draw=slice(0, 0)),), run.lattice))
    with pytest.raises(InputError, match="no temperature"):
        analyze_run(Run((run.points[0].drop_vars("temperature"),), run.lattice))


def test_an_unknown_order_is_refused_and_a_misfit_becomes_a_caveat():
    run, _, _ = exact_run((1500.0,), n_draws=10)
    with pytest.raises(InputError, match="'layerd'"):
        analyze_run(run, orders=["layerd"])
    lattice = perovskite(3, 3, 2)
    occupation = np.tile(np.arange(18, dtype=np.uint8) % 2, (10, 1, 1))
    arrays = {"occupation": occupation, "energy": np.zeros((10, 1))}
    odd = Run((point_dataset(arrays, {"temperature": 900.0}),), lattice)
    results = analyze_run(odd)
    assert set(results["points"][0]["orders"]) == {"layered"}
    assert codes(results).count("order-left-out") == 2
    assert "incomplete-star" in codes(results)
    assert "one-chain" in codes(results)


def test_orders_and_shells_follow_the_configuration():
    config = {"analysis": {"orders": ["columnar"], "shells": 0}}
    run, _, _ = exact_run((1500.0,), n_draws=10, config=config)
    point = analyze_run(run)["points"][0]
    assert set(point["orders"]) == {"columnar"}
    assert point["warren_cowley"] == []
    assert analyze_run(run, shells=2)["points"][0]["warren_cowley"]


def test_several_sublattices_are_told_apart():
    lattice = builders.perovskite(("Sr", "Ba"), ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    half = {"A": {"Sr": 0.5, "Ba": 0.5}, "B": {"Sc": 0.5, "Ta": 0.5}}
    occupation = lattice.random(half, np.random.default_rng(0), 60).reshape(30, 2, 16)
    arrays = {"occupation": occupation, "energy": np.random.default_rng(1).normal(size=(30, 2))}
    results = analyze_run(Run((point_dataset(arrays, {"temperature": 900.0}),), lattice), shells=1)
    assert {"A rock-salt", "B columnar"} <= set(results["points"][0]["orders"])
    pairs = {row["pair"] for row in results["points"][0]["warren_cowley"]}
    assert {"A: Sr–Ba", "B: Sc–Ta", "A, B: Ba–Ta"} <= pairs


def test_caveats_name_what_limits_the_numbers():
    config = {"potential": {"kind": "mace"}, "structure": {"displacement": 0.05}}
    run, _, _ = exact_run((3000.0, 1500.0), n_draws=50, config=config, attrs={"finished": False})
    lattice = builders.perovskite("Sr", ("Fe", "Ta"), "O", a=4.0, size=(2, 2, 2))
    results = analyze_run(Run(run.points, lattice, run.config, run.attrs))
    assert {"magnetic", "coulomb", "one-size", "landscape", "hot-points", "unfinished"} <= set(
        codes(results)
    )
    texts = " ".join(caveat["text"] for caveat in results["caveats"])
    assert "Fe may carry a magnetic moment" in texts
    assert "displaced by 0.05 Å" in texts


def test_harmless_runs_carry_no_warnings(sweep):
    assert [c["level"] for c in sweep[3]["caveats"] if c["level"] == "warning"] == []
    assert "magnetic" not in codes(sweep[3])
    assert "coulomb" not in codes(sweep[3])


# ---- the apparent temperature


def numbers(means, error=0.01):
    return [Summary(m, error, 1e3, 1.0, True) for m in means]


def transition(order, capacity, temperatures=None, error=0.01):
    temperatures = temperatures or list(np.arange(len(order)) * 200.0 + 800.0)
    return apparent_transition(
        temperatures, numbers(capacity, error), {"q": numbers(order, error)}, {"q": 0.02}
    )


def test_a_clear_transition_is_bracketed_by_its_two_features():
    result = transition([0.99, 0.95, 0.85, 0.3, 0.1, 0.05], [0.1, 0.3, 0.9, 2.0, 0.7, 0.4])
    assert result.status == "bracketed"
    assert result.order_fall == (1200.0, 1400.0)
    assert result.heat_capacity_peak == (1200.0, 1600.0)
    assert result.bracket == (1200.0, 1600.0)
    assert "apparent" in result.text.lower()


def test_larger_errors_widen_the_bracket():
    order, capacity = [0.99, 0.95, 0.75, 0.4, 0.1, 0.05], [0.1, 0.3, 1.4, 1.6, 0.7, 0.4]
    narrow, wide = (transition(order, capacity, error=e).bracket for e in (0.01, 0.12))
    assert wide.lower < narrow.lower
    assert wide.upper >= narrow.upper


@pytest.mark.parametrize(
    ("order", "status"),
    [
        ([0.99, 0.98, 0.97], "above"),
        ([0.35, 0.2, 0.1], "below"),
        ([0.05, 0.03, 0.02], "none"),
    ],
)
def test_a_transition_outside_the_sweep_is_not_given_a_value(order, status):
    result = transition(order, [0.1, 0.2, 0.3])
    assert result.status == status
    assert not result.bracket.closed


def test_an_order_that_still_falls_at_the_end_of_the_sweep_has_no_upper_bound():
    result = transition([0.99, 0.95, 0.8, 0.4], [0.1, 0.2, 0.3, 0.9])
    assert result.status == "above"
    assert result.bracket == (1200.0, None)
    assert "still falling at the highest temperature sampled (1,400 K)" in result.text
    (caveat,) = above_melting(
        transition([0.99, 0.95, 0.8, 0.4], [0.1] * 4, [800, 1200, 2000, 4000]), "x"
    )
    assert "(above 1,200 K) reaches above 2,500 K" in caveat.text
    tail = transition([0.99, 0.9, 0.4, 0.35], [0.1, 0.9, 0.8, 0.1])  # a small cell's long tail
    assert tail.status == "bracketed"


def test_an_order_that_vanishes_on_cooling_is_not_called_absent():
    result = transition([0.1, 0.2, 0.9, 0.3, 0.1], [0.1, 0.2, 0.9, 0.3, 0.1])
    assert result.status == "unknown"
    assert not result.bracket.closed
    assert "strongest at 1,200 K" in result.text


def test_no_order_seen_is_said_of_the_measured_orders_alone():
    assert "None of the orders measured" in transition([0.05, 0.03], [0.1, 0.1]).text


def test_noise_that_hides_the_fall_widens_the_bracket_to_the_sweep():
    result = transition([0.99, 0.6, 0.5, 0.1], [0.2, 0.8, 0.9, 0.6], error=0.4)
    assert result.status == "bracketed"
    assert result.order_fall == (800.0, 1400.0)


def test_the_order_of_the_temperatures_does_not_matter():
    order, capacity = [0.99, 0.9, 0.3, 0.1], [0.2, 0.8, 1.5, 0.6]
    forward = transition(order, capacity, [800.0, 1000.0, 1200.0, 1400.0])
    backward = transition(order[::-1], capacity[::-1], [1400.0, 1200.0, 1000.0, 800.0])
    assert forward == backward


def test_lists_of_different_length_are_refused():
    with pytest.raises(InputError, match="one value per temperature"):
        apparent_transition([800.0, 900.0], numbers([1.0]), {}, {})


@pytest.mark.parametrize(("factor", "expected"), [(1.0, False), (4.0, True)])
def test_an_ordering_temperature_above_2500_kelvin_is_called_above_melting(factor, expected):
    temperatures = (200.0, 400.0, 600.0, 800.0, 1200.0, 2000.0)
    run, _, _ = exact_run(temperatures, n_draws=600)
    hotter = [p.assign_coords(temperature=float(p["temperature"]) * factor) for p in run.points]
    results = analyze_run(Run(tuple(hotter), run.lattice))
    assert ("above-melting" in codes(results)) is expected
    if expected:
        assert results["caveats"][0]["level"] == "critical"
        assert "above melting" in results["caveats"][0]["text"]


# ---- figures


@pytest.mark.parametrize("name", ["plot_order", "plot_energy", "plot_heat_capacity"])
def test_figures_are_vector_graphics_with_units(sweep, name, tmp_path):
    figure = getattr(plots, name)(sweep[3])
    axes = figure.axes[0]
    assert axes.get_xlabel() == "Temperature (K)"
    assert axes.get_ylabel()
    path = tmp_path / "figure.svg"
    figure.savefig(path)
    assert "<image" not in path.read_text()


def test_a_figure_of_no_order_is_refused():
    run, _, _ = exact_run((1500.0,), n_draws=10)
    with pytest.raises(InputError, match="no order"):
        plots.plot_order(analyze_run(run, orders=[]))
