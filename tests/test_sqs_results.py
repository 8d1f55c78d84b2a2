"""What a comparison with quasirandom structures says, draws, leaves out and refuses."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from alchemc.analysis import compare_sqs, generate_sqs
from alchemc.analysis.plots import plot_sqs_clusters, plot_sqs_energy, plot_sqs_short_range
from alchemc.errors import InputError
from alchemc.records import Run
from analysis_cases import HALF, contents, perovskite
from sqs_toys import UNLIKE, Table, Toy, compared, structures, toy

EXAMPLE = Path(__file__).parents[1] / "examples" / "sqs.py"


def test_without_an_energy_model_the_structure_alone_is_compared():
    exact = toy(UNLIKE)
    found = compare_sqs(exact.run((1500.0,)), structures(UNLIKE), n_shells=1, orders=())
    assert not found.has("energy")
    assert found.has("warren-cowley")
    assert found.random_limit is None
    assert "No energy model is at hand" in found.statement
    json.dumps(found.to_dict(), allow_nan=False)


def test_energies_are_not_compared_where_positions_move():
    exact = toy(UNLIKE)
    point = exact.run((1500.0,), n_draws=50).points[0]
    shape = (50, 4, len(exact.lattice.atoms), 3)
    point["positions"] = (("draw", "chain", "atom", "xyz"), np.zeros(shape))
    found = compared(exact, Run((point,), exact.lattice), structures(UNLIKE))
    assert not found.has("energy")
    assert found.has("warren-cowley")
    assert not found.quantity("warren-cowley").representative
    assert "Positions move" in found.statement
    plain = found.to_dict()  # beside the statement of plain data, and not in it
    assert plain["caveats"]
    for caveat in plain["caveats"]:
        assert caveat["text"] not in plain["statement"]
        assert found.statement.count(caveat["text"]) == 1


def test_plain_data_and_tables_hold_the_same_numbers():
    exact = toy(UNLIKE)
    found = compared(exact, exact.run((1500.0, 3000.0)), structures(UNLIKE))
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    table, rows = found.table(), found.rows()
    assert isinstance(table, xr.Dataset)
    assert len(rows) == len(found.quantities) * 2
    energy = plain["quantities"][0]
    assert energy["kind"] == "energy"
    assert energy["points"][1]["bias"] == pytest.approx(
        float(table["bias"].sel(quantity="energy", temperature=3000.0))
    )
    assert rows[1]["bias"] == pytest.approx(energy["points"][1]["bias"])
    assert found.statement == " ".join(found.sentences)
    assert plain["statement"] == " ".join(found.findings)
    assert table["quantity"].size == len(set(table["quantity"].values.tolist()))


def test_every_figure_is_labelled_and_opens_marks_that_did_not_converge():
    exact = toy(UNLIKE)
    result = compared(exact, exact.run((1500.0, 3000.0), n_draws=20), structures(UNLIKE))
    found = result.to_dict()
    for draw in (plot_sqs_energy, plot_sqs_short_range, plot_sqs_clusters):
        assert contents(draw(result)) == contents(draw(found))
    energy = plot_sqs_energy(found)
    assert energy.axes[0].get_ylabel() == "Energy (meV per site)"
    faces = [line.get_markerfacecolor() for line in energy.axes[0].lines]
    assert "white" in faces
    assert plot_sqs_short_range(found).axes[0].get_xlabel() == "Shell"
    assert plot_sqs_clusters(found).axes[0].get_xlabel() == "Temperature (K)"
    with pytest.raises(InputError, match="was not compared"):
        plot_sqs_short_range(found, "B: Sc–Pb")
    with pytest.raises(InputError, match="nothing to draw"):
        plot_sqs_energy({"quantities": []})


def semi_grand(exact: Toy) -> Run:
    point = exact.run((1500.0,)).points[0]
    mu = {"mu_B_Ta": ((), 0.1)}
    return Run((point.assign_coords(mu), point.assign_coords(mu)), exact.lattice)


def test_what_cannot_be_compared_is_refused():
    exact = toy(UNLIKE)
    run, sqs = exact.run((1500.0,)), structures(UNLIKE)
    other = perovskite(2, 2, 2)
    quarter = generate_sqs(exact.lattice, {"B": {"Sc": 0.25, "Ta": 0.75}}, (4.1,))
    cases = [
        ({"run": exact.run((1500.0,), n_draws=3)}, "3 draws per chain at 1500 K are too few"),
        ({"run": semi_grand(exact)}, "fluctuates in this run"),
        ({"sqs": quarter}, "compare those of the run's composition"),
        ({"sqs": generate_sqs(other, HALF)}, "another lattice"),
        ({"model": Table(exact.lattice, 0.06)}, "the model that the run was sampled with"),
        ({"model": Table(other, UNLIKE)}, "bound to another lattice"),
        ({"cutoffs": (4.1,)}, "leave them out"),
        ({"tolerance": 0.0}, "tolerance is 0"),
        ({"n_random": 2}, "n_random is 2"),
        ({"n_shells": -1}, "n_shells is -1"),
    ]
    for changes, message in cases:
        arguments = {"run": run, "sqs": sqs} | changes
        with pytest.raises(InputError, match=message):
            compared(exact, **arguments)


def test_a_run_without_draws_is_refused():
    exact = toy(UNLIKE)
    empty = exact.run((1500.0,)).points[0].isel(draw=slice(0, 0))
    with pytest.raises(InputError, match="no draws yet"):
        compared(exact, Run((empty,), exact.lattice), structures(UNLIKE))


def test_a_cell_whose_arrangements_are_all_alike_is_refused():
    one = Toy(UNLIKE, 2, 1, 1)
    with pytest.raises(InputError, match="nothing to compare; give a larger supercell"):
        compare_sqs(one.run((1500.0,)), one.states[:1], one.model)


@pytest.mark.slow
def test_the_example_finds_structures_that_stand_for_the_lowest_temperature(capsys):
    arguments = ["--draws", "60", "--temperatures", "5500", "9000", "--structures", "2"]
    runpy.run_path(str(EXAMPLE))["main"](arguments)
    text = capsys.readouterr().out
    assert "By its energy the SQS is representative of no temperature" in text
    cold, hot = (line.split() for line in text.strip().splitlines()[-2:])
    assert abs(float(cold[3])) < 5 * float(cold[5]) < 60
    assert float(hot[3]) < -50
