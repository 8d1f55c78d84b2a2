"""``alchemc sqs``: structures made and written, runs compared, and one line for every bad input."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

import alchemc.potentials
from alchemc import builders, campaign
from alchemc.campaign.findings import read_findings
from alchemc.campaign.sqs_study import compare_run
from alchemc.cli import main
from alchemc.errors import AlchemcError, InputError
from campaign_tools import SCAN, TOY
from toy_potential import ToyPotential

LONG = (
    TOY.replace("draws = 25", "draws = 600")
    .replace("chains = 2", "chains = 4")
    .replace("thin = 2", "thin = 6")
    .replace(', { kind = "gibbs-with-gradients", weight = 2 }', "")
)
CIF = """data_x
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Sr1 Sr 0 0 0 1
Sc1 Sc 0.5 0.5 0.5 0.5
Ta1 Ta 0.5 0.5 0.5 0.5
O1 O 0.5 0.5 0 1
O2 O 0.5 0 0.5 1
O3 O 0 0.5 0.5 1
"""


@pytest.fixture(autouse=True)
def _toy(monkeypatch, tmp_path):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"toy": ToyPotential}, raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.chdir(tmp_path)


def run_of(text: str, name: str = "run") -> str:
    campaign.start_run(campaign.parse_config(text), name)
    return name


def toml(text: str = TOY) -> str:
    Path("campaign.toml").write_text(text, encoding="utf-8")
    return "campaign.toml"


def test_a_campaign_gives_structures_and_their_deviations(capsys):
    assert main(["sqs", toml(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "enumeration"
    assert len(found["occupations"]) == 1
    assert np.sum(found["occupations"]) == 4
    assert main(["sqs", toml()]) == 0
    text = capsys.readouterr().out
    assert "2 of 4" in text
    assert "special quasirandom structure of 8 mixed sites" in " ".join(text.split())
    assert main(["sqs", toml(), "--csv", "--cutoffs", "4.1"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["shells"] for row in rows} == {"1"}


@pytest.mark.parametrize("name", ["sqs.extxyz", "sqs.cif", "sqs.vasp", "sqs.traj"])
def test_written_structures_are_the_ones_that_were_made(name, capsys):
    text = TOY.replace("[2, 2, 2]", "[2, 2, 4]")
    arguments = ["sqs", toml(text), "--cutoffs", "5.7", "--n", "2", "-o", name, "--json"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    made = np.array(json.loads(captured.out)["occupations"])
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 4))
    stem, suffix = name.split(".")
    paths = [name] if suffix in {"extxyz", "traj"} else [f"{stem}-{k}.{suffix}" for k in (0, 1)]
    frames = [atoms for path in paths for atoms in read(path, index=":")]
    assert [line for line in captured.err.splitlines() if line.startswith("wrote")] == [
        f"wrote {path}" for path in paths
    ]
    assert len(frames) == len(made) == 2
    for atoms, row in zip(frames, made, strict=True):
        assert (lattice.from_atoms(atoms) == row).all()
    if suffix == "extxyz":
        assert frames[0].info["matched_shells"] == 2
    assert main(arguments) == 2  # nothing is overwritten


def test_partial_occupancies_of_a_cif_are_arranged(capsys):
    Path("x.cif").write_text(CIF, encoding="utf-8")
    assert main(["sqs", "x.cif", "--supercell", "2,2,4", "--cutoffs", "5.8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["structures"][0]["matched_shells"] == 2
    assert np.sum(found["occupations"][0]) == 8


def test_a_run_is_compared_and_the_result_stored_for_the_report(capsys):
    directory = run_of(LONG)
    assert main(["sqs", directory, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["temperatures"] == [1000.0, 2000.0]
    energy = found["quantities"][0]
    assert energy["kind"] == "energy"
    assert energy["points"][0]["bias"] > 0
    (stored,) = read_findings(directory)
    assert stored.subject == "sqs"
    assert stored.data["statement"] == found["statement"]
    assert stored.data["bias"][0]["T (K)"] == 1000.0
    assert main(["sqs", directory]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "bias of energy (meV/site)" in text
    assert "To first order in 1/T" in text
    assert main(["sqs", directory, "--csv", "--tolerance", "20"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(rows[0]["bias"]) == pytest.approx(energy["points"][0]["bias"])
    assert main(["report", directory]) == 0
    assert "special quasirandom structure" in (Path(directory) / "report.html").read_text("utf-8")


def test_unconverged_runs_have_their_exit_code(capsys):
    assert main(["sqs", run_of(TOY)]) == 3
    captured = capsys.readouterr()
    assert "not converged" in captured.err
    assert "did not converge at" in " ".join(captured.out.split())


def test_the_seed_governs_the_comparison():
    run = campaign.open_run(run_of(TOY))
    one, again = (compare_run(run, n=2, seed=3).to_dict() for _ in range(2))
    assert one == again


def test_only_ideal_positions_are_relaxed():
    run = campaign.open_run(run_of(TOY))
    with pytest.raises(AlchemcError, match="positions"):  # the toy has none
        compare_run(run, n=1, seed=0, relaxed=True)
    relaxed = dataclasses.replace(run, build_hamiltonian=lambda: object.__new__(alchemc.Relaxed))
    with pytest.raises(InputError, match="relaxed positions already"):
        compare_run(relaxed, n=1, seed=0, relaxed=True)


def test_a_run_that_has_not_drawn_yet_is_told():
    run = campaign.open_run(run_of(TOY))
    empty = [point.isel(draw=slice(0, 0)) for point in run.points]
    with pytest.raises(InputError, match="no draws yet"):
        compare_run(dataclasses.replace(run, points=tuple(empty)), n=1, seed=0)
    late = dataclasses.replace(run, points=(empty[0], *run.points[1:], run.points[0]))
    assert compare_run(late, n=1, seed=0).temperatures.size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["campaign.toml", "--relaxed"], "give a run directory"),
        (["campaign.toml", "--supercell", "2,2,2"], "its own supercell"),
        (["campaign.toml", "--cutoffs", "far"], "--cutoffs is 'far'"),
        (["campaign.toml", "--n", "0"], "n is 0"),
        (["campaign.toml", "--json", "--csv"], "exclude each other"),
        (["campaign.toml", "-o", "sqs.pdf"], "does not tell its format"),
        (["campaign.toml", "-o", "no/where.cif"], "is no directory"),
        (["nowhere.toml"], "nowhere.toml"),
        (["nowhere.cif"], "does not exist"),
        (["scan"], "fluctuates in this run"),
        (["run", "--supercell", "2,2,2"], "its own supercell"),
        (["run", "--tolerance", "0"], "tolerance is 0"),
        (["few"], "too few for an error"),
        (["quarter.toml"], "no whole number"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments, message, capsys):
    toml()
    Path("quarter.toml").write_text(TOY.replace("Sc = 0.5, Ta = 0.5", "Sc = 0.3, Ta = 0.7"))
    if arguments[0] == "scan":
        run_of(SCAN, "scan")
    if arguments[0] == "few":
        run_of(TOY.replace("draws = 25", "draws = 3"), "few")
    if arguments[0] == "run":
        run_of(TOY)
    capsys.readouterr()
    assert main(["sqs", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("alchemc: ")
    assert captured.err.count("\n") == 1
