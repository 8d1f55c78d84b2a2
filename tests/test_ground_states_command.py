"""``alchemc ground-states``: what it prints and writes, and one line for every bad input."""

import csv
import io
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest

import alchemc.potentials
from alchemc import PairHamiltonian
from alchemc.cli import main
from campaign_tools import TOY


class Neighbours(PairHamiltonian):
    """Unlike nearest neighbours attract; built as a campaign builds its potential."""

    def __init__(self, lattice, model, device, dtype, positions):
        assert np.allclose(positions, lattice.atoms.positions)
        super().__init__(lattice, [float(model) * np.array([[1.0, -1.0], [-1.0, 1.0]])])


@pytest.fixture(autouse=True)
def campaign(monkeypatch, tmp_path):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"neighbours": Neighbours}, raising=False)
    monkeypatch.chdir(tmp_path)
    text = TOY.replace('kind = "toy"\nmodel = "0.02"', 'kind = "neighbours"\nmodel = "0.01"')
    Path("c.toml").write_text(text)
    return text


def run(capsys, *arguments):
    capsys.readouterr()
    code = main(["ground-states", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_names_the_order_and_the_statement_follows(capsys):
    code, out, err = run(capsys, "c.toml", "--cells", "2", "--all")
    assert code == 0
    assert "rock-salt" in out
    assert "5 arrangements in cells of up to 2 primitive cells" in " ".join(out.split())
    assert err.count("cell ") == 4
    assert run(capsys, "c.toml", "--cells", "2", "-q")[2] == ""


def test_a_canonical_campaign_has_its_composition_unless_all_are_asked_for(capsys):
    one = json.loads(run(capsys, "c.toml", "--json", "-q")[1])
    every = json.loads(run(capsys, "c.toml", "--json", "-q", "--all")[1])
    assert (one["n_arrangements"], every["n_arrangements"]) == (9, 35)
    assert [row["order"] for row in one["ground_states"]] == ["rock-salt"]


def test_csv_has_one_row_for_each_arrangement(capsys):
    rows = list(csv.DictReader(io.StringIO(run(capsys, "c.toml", "--csv", "-q", "--all")[1])))
    assert len(rows) == 35
    lowest = min(rows, key=lambda row: float(row["formation_energy_per_site"]))
    assert lowest["order"] == "rock-salt"
    assert float(lowest["formation_energy_per_site"]) == pytest.approx(-0.06)
    assert lowest["Ta on B"] == "0.5"


def test_pictures_and_structures_are_written_once(capsys):
    options = ("c.toml", "--cells", "2", "--all", "-q", "--figure", "hull.svg",
               "--structures", "low.extxyz")  # fmt: skip
    assert run(capsys, *options)[0] == 0
    assert "<svg" in Path("hull.svg").read_text()
    structures = ase.io.read("low.extxyz", ":")
    assert [s.get_chemical_formula() for s in structures] == ["O3ScSr", "O6ScSr2Ta", "O3SrTa"]
    assert structures[1].info["order"] == "rock-salt"
    assert structures[1].get_potential_energy() == pytest.approx(-2 * 0.03)
    code, _, err = run(capsys, *options)
    assert code == 2
    assert "hull.svg exists" in err


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        (("--neutral",), None, "needs charges"),
        (("--cells", "30"), None, "too many to enumerate"),
        (("--json", "--csv"), None, "exclude each other"),
        (("--figure", "hull.odd"), None, "no suffix of a picture"),
        ((), ("supercell = [2, 2, 2]", "supercell = [2, 2, 2]\ndisplacement = 0.05"), "leave it"),
    ],
)
def test_bad_input_is_one_line_with_a_remedy(capsys, campaign, options, change, words):
    if change is not None:
        Path("c.toml").write_text(campaign.replace(*change))
    cells = () if "--cells" in options else ("--cells", "2")
    code, _, err = run(capsys, "c.toml", "-q", "--all", *cells, *options)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
