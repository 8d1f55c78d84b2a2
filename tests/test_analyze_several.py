"""``alchemc analyze`` of several runs and of scans: what the points say together is told."""

import csv
import io
import json
import os
import re

import pytest

import alchemc.potentials
from alchemc import open_run
from alchemc.analysis import analyze_run
from alchemc.campaign import start_run
from alchemc.campaign.findings import store_finding
from alchemc.campaign.report import report_page
from alchemc.campaign.report_campaign import campaign_page
from alchemc.campaign.report_figures import write_figures
from alchemc.cli import main
from campaign_tools import SCAN, TOY, toy_campaign
from test_report import visible
from toy_potential import ToyPotential


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two sizes of a toy and a scan of its composition, each finished."""
    place = tmp_path_factory.mktemp("several")
    larger = TOY.replace("supercell = [2, 2, 2]", "supercell = [4, 2, 2]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alchemc.potentials, "POTENTIALS", {"toy": ToyPotential}, raising=False)
        patch.setattr(os, "fsync", lambda _: None)
        for name, text in (("large", larger), ("scan", SCAN), ("small", TOY)):
            start_run(toy_campaign(text), place / "runs" / name)
    return place


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_several_runs_are_told_one_by_one_and_then_together(capsys):
    main(["analyze", "runs/small", "runs/large"])
    told = capsys.readouterr().out
    assert (
        told.index("── 8 sites") < told.index("── 16 sites") < told.index("Ordering temperature:")
    )
    page = visible(campaign_page([open_run("runs/small"), open_run("runs/large")]))
    said = next(line for line in told.splitlines() if line.startswith("Ordering temperature:"))
    assert said.partition(": ")[2] in page  # the same sentence, in one line however long


def test_a_folder_of_runs_is_as_good_as_their_names(capsys):
    codes = [main(["analyze", "runs", "--json"])]
    folder = capsys.readouterr().out
    codes.append(main(["analyze", "runs/large", "runs/scan", "runs/small", "runs/scan", "--json"]))
    assert capsys.readouterr().out == folder
    assert codes == [3, 3]
    found = json.loads(folder)
    assert [run["path"].rpartition("/")[2] for run in found["runs"]] == ["large", "scan", "small"]
    assert found["runs"][0]["points"] == analyze_run(open_run("runs/large"))["points"]
    subjects = {one["subject"]: one for one in found["together"]}
    assert set(subjects) == {"ordering-temperature", "free-energy", "phase-diagram"}
    for one in subjects.values():
        assert (one["result"] is None) is (one["reason"] is not None)


def test_what_did_not_converge_is_told_with_the_name_of_its_run(capsys):
    assert main(["analyze", "runs/small", "runs/large"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("alchemc: 16 sites: not converged: ") for line in lines)


def test_one_table_holds_the_numbers_of_several_runs(capsys):
    main(["analyze", "runs", "--csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len({row["run"] for row in rows}) == 3
    scanned = {row["run"] for row in rows if row["mu_B_Zr_eV"]}
    assert len(scanned) == 1  # the others have no such coordinate
    main(["analyze", "runs/small", "--csv"])
    alone = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    small = [row for row in rows if row["run"].startswith("Sr2ScTaO6, 8 sites")]
    assert [{k: row[k] for k in alone[0]} for row in small] == alone


def test_a_scan_alone_gives_its_free_energies(capsys):
    main(["analyze", "runs/scan"])
    told = capsys.readouterr().out
    assert re.search(r"^Free energ(y: |ies of)", told, re.MULTILINE)
    assert "Phase diagram: " in told
    main(["analyze", "runs/scan", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [one["subject"] for one in found["together"]] == ["free-energy", "phase-diagram"]
    page = report_page(open_run("runs/scan"))
    assert 'id="free-energy"' in page
    assert 'id="phase-diagram"' in page


def test_figures_of_what_runs_say_together_are_written(tmp_path):
    scan, small = open_run("runs/scan"), open_run("runs/small")
    name = "free-energy-free-energy-against-composition.svg"
    assert name in write_figures([scan, small], tmp_path, "svg")
    assert {"composition.svg", name} <= {*write_figures([scan], tmp_path / "one", "svg")}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["runs", "--watch", "1"], "--watch looks at one run, not at 3; name one of them"),
        (["stored"], "stored holds no run, only stored results; `alchemc report` shows them"),
        (["runs/small", "runs/none"], "no run directory runs/none"),
        (["runs/small", "runs/small/run.toml"], "run.toml is no run directory; for trajectories"),
        (["runs", "--start", "5"], "are for trajectory files"),
    ],
)
def test_what_cannot_be_analysed_together_is_refused_in_one_line(folder, capsys, arguments, told):
    (folder / "stored").mkdir(exist_ok=True)
    store_finding(folder / "stored", "screen", {"statement": "Rock salt leads."})
    assert main(["analyze", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
