"""Reports on several runs: what tells them apart, joint figures, stored results, the command."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import alchemc.potentials
from alchemc import builders
from alchemc.analysis import analyze_run
from alchemc.campaign import start_run
from alchemc.campaign.findings import read_findings, store_finding
from alchemc.campaign.report_campaign import campaign_page, caveat_lines, runs_below
from alchemc.campaign.report_joint import (
    joint_section,
    members_of,
    overview_section,
    shortened,
)
from alchemc.campaign.report_parts import Section, Series
from alchemc.cli import main
from alchemc.commands.shared import keep
from alchemc.errors import InputError
from alchemc.records import Run, point_dataset
from analysis_cases import exact_run, perovskite
from campaign_tools import CHROMIUM, TOY, toy_campaign
from devtools import Browser
from test_report import embedded, visible
from toy_potential import ToyPotential


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """The same crystal twice at other temperatures, and a larger random one."""
    lattice = perovskite(4, 2, 2)
    rng = np.random.default_rng(3)
    half = {"B": {"Sc": 0.5, "Ta": 0.5}}
    points = []
    for t in (600.0, 900.0):
        arrays = {
            "occupation": lattice.random(half, rng, 400).reshape(200, 2, 16),
            "energy": rng.normal(scale=0.1, size=(200, 2)) - 600.0,
        }
        points.append(point_dataset(arrays, {"temperature": t}))
    return [
        exact_run((600.0, 900.0, 1500.0), n_draws=300)[0],
        exact_run((700.0, 1000.0), n_draws=300, seed=2)[0],
        Run(tuple(points), lattice, attrs={"finished": False}),
    ]


@pytest.fixture(scope="module")
def members(runs):
    return members_of(runs, [analyze_run(run) for run in runs])


def test_runs_are_named_by_what_they_differ_in(members, runs):
    assert [m.name for m in members] == [
        "8 sites (run 1)",
        "8 sites (run 2)",
        "16 sites (run 3)",
    ]
    two = members_of([runs[0], runs[2]], [analyze_run(run) for run in (runs[0], runs[2])])
    assert [m.name for m in two] == ["8 sites", "16 sites"]


def test_the_overview_tells_size_convergence_and_order_of_every_run(members):
    (table,) = overview_section(members).tables
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["8 sites (run 1)"]["Sampled"] == "600–1,500 K"
    assert rows["8 sites (run 1)"]["Converged points"] == "2 of 3"
    assert rows["16 sites (run 3)"]["Mixed sites"] == 16
    assert rows["16 sites (run 3)"]["Finished"] == "no"


def test_joint_figures_hold_the_numbers_of_every_run(members):
    section = joint_section(members)
    figures = {figure.title: figure for figure in section.figures}
    assert {"Order: rock-salt", "Heat capacity", "Energy"} <= figures.keys()
    for series, member in zip(figures["Order: rock-salt"].series, members, strict=True):
        points = member.results["points"]
        assert series.name == member.name
        assert list(series.x) == [point["temperature"] for point in points]
        assert list(series.y) == [point["orders"]["rock-salt"]["mean"] for point in points]
        assert list(series.error) == [point["orders"]["rock-salt"]["error"] for point in points]


def test_one_run_has_nothing_beside_it(members):
    assert joint_section(members[:1]) is None


def test_caveats_stand_once_with_the_runs_they_are_of(members, runs):
    text = visible(campaign_page(runs))
    unfinished = re.search(r"<b>Unfinished\.</b> (.*?)</li>", text).group(1)
    assert unfinished.startswith("16 sites (run 3): ")
    assert "<b>One size.</b>" not in text  # of 8 sites and of 16: there are two
    alone = visible(campaign_page(runs[:2]))
    assert alone.count("<b>One size.</b>") == 1


def test_a_page_of_several_runs_embeds_their_numbers(runs, members):
    page = campaign_page(runs, [Section("More", "Said.")])
    data = embedded(page)
    assert data["runs"]["8 sites (run 1)"] == members[0].results
    assert set(data["figures"]) == {
        f"side-by-side-{k}" for k in range(len(joint_section(members).figures))
    }
    assert '<a href="#more-title">More</a>' in page


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither"):
        campaign_page([])
    with pytest.raises(InputError, match="neither runs nor stored results"):
        runs_below(tmp_path)


# ---- the command


@pytest.fixture
def campaign(monkeypatch, tmp_path):
    """Two finished runs of a toy in one directory."""
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"toy": ToyPotential}, raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.chdir(tmp_path)
    for name, seed in (("one", 1), ("two", 2)):
        start_run(toy_campaign(TOY, seed=seed), tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_the_command_reports_on_a_run_on_several_and_on_a_folder_of_them(campaign, capsys):
    assert main(["report", "runs/one"]) == 0
    assert "Structures</h2>" in (campaign / "one" / "report.html").read_text()
    assert main(["report", "runs/one", "runs/two", "-o", "both.html"]) == 0
    assert main(["report", "runs", "-o", "folder.html"]) == 0
    both, folder = (embedded(Path(name).read_text()) for name in ("both.html", "folder.html"))
    assert both == folder
    assert set(both["runs"]) == {"one", "two"}


def test_the_command_shows_what_is_stored_beside_runs_and_in_folders(campaign, capsys):
    store_finding(campaign / "two", "sqs", {"statement": "The SQS is off."})
    store_finding(campaign, "screen", {"statement": "Rock salt leads."})
    assert main(["report", "runs/two"]) == 0
    assert "The SQS is off." in (campaign / "two" / "report.html").read_text()
    assert main(["report", "runs", "-o", "all.html"]) == 0
    text = visible(Path("all.html").read_text())
    assert "Rock salt leads." in text
    assert "The SQS is off." in text
    assert ">Special quasirandom structures: two</h2>" in text


def test_a_folder_of_stored_results_alone_is_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store_finding(tmp_path, "screen", {"statement": "Rock salt leads."})
    assert main(["report", ".", "-o", "screen.html"]) == 0
    assert "Rock salt leads." in visible(Path("screen.html").read_text())


def test_figures_go_along_with_a_report(campaign, capsys):
    assert main(["report", "runs/one", "--figures", "figures", "--format", "svg"]) == 0
    assert re.search(r"\d+ figures in figures", capsys.readouterr().out)
    assert (campaign.parent / "figures" / "order.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["runs"], "give --output FILE"),
        (["runs/one", "runs/two"], "give --output FILE"),
        (["runs", "-o", "x.html", "--frames", "3"], "--frames is for one run"),
        (["runs", "-o", "x.pdf"], "ends in .html"),
        (["runs/none", "-o", "x.html"], "no run directory runs/none"),
        (["runs/one", "--figures", "f", "--format", "bmp"], "use one of pdf, svg, png"),
    ],
)
def test_what_cannot_be_reported_is_refused_in_one_line(campaign, capsys, arguments, told):
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the report in")
def test_the_page_of_several_runs_works_in_a_browser(runs, tmp_path):
    path = tmp_path / "campaign.html"
    path.write_text(campaign_page(runs), encoding="utf-8")
    with Browser(tmp_path / "home") as browser:
        for screen in ({"width": 1600, "dark": True}, {"width": 390, "mobile": True}):
            page = browser.open(path, **screen)
            page.pause()
            assert page.complaints() == []
            assert page.requests() == []
            assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"]
            count = "(plot) => plot.querySelectorAll('.trace').length"
            drawn = page.evaluate(f"[...document.querySelectorAll('.plot')].map({count})")
            assert len(drawn) >= 3
            assert min(drawn) >= 2
            page.click("details summary")
            assert page.evaluate("document.querySelector('details').open")


def test_a_result_is_kept_in_a_folder_that_is_made_for_it(tmp_path, capsys):
    keep(None, "screen", {"statement": "So it is."})
    assert not list(tmp_path.iterdir())
    keep(tmp_path / "new" / "study", "screen", {"statement": "So it is."})
    (found,) = read_findings(tmp_path / "new" / "study")
    assert found.data["statement"] == "So it is."
    assert "screen.json" in capsys.readouterr().err


def test_names_say_no_more_than_tells_runs_apart():
    large, small = perovskite(4, 2, 2), perovskite(2, 2, 2)
    salt = builders.rocksalt(("Mg", "Ca"), "O", a=4.5, size=(2, 2, 2))
    runs = [SimpleNamespace(lattice=one, attrs={}, config={}) for one in (small, large, salt)]
    found = [
        {"formula": formula, "n_sites": run.lattice.n_sites, "landscape": "ideal"}
        for run, formula in zip(runs, ("SrScO3", "SrScO3", "MgO"), strict=True)
    ]
    names = [member.name for member in members_of(runs, found)]
    assert names == ["SrScO3, 8 sites", "SrScO3, 16 sites", "MgO, 32 sites"]  # and no volumes


def of_one_temperature(kind, kelvin, dtype="float64", name="bundled"):
    run = SimpleNamespace(
        lattice=perovskite(2, 2, 2),
        attrs={"model": {"name": name, "dtype": dtype}},
        config={"ensemble": {"kind": kind}},
    )
    points = [{"temperature": kelvin}] * 2
    found = {"formula": "SrScO3", "n_sites": 8, "landscape": "ideal", "points": points}
    return run, found


def test_runs_at_one_temperature_each_are_named_by_it():
    given = [of_one_temperature("semi-grand", 900.0), of_one_temperature("semi-grand", 1200.0)]
    given.append(of_one_temperature("canonical", 1200.0))
    names = [member.name for member in members_of(*zip(*given, strict=True))]
    assert names == ["semi-grand, 900 K", "semi-grand, 1,200 K", "canonical, 1,200 K"]


def test_models_are_named_though_temperatures_tell_runs_apart():
    given = [
        of_one_temperature("canonical", 900.0), of_one_temperature("canonical", 950.0, name="other")
    ]  # fmt: skip
    names = [member.name for member in members_of(*zip(*given, strict=True))]
    assert names == ["bundled", "other"]
    given = [
        of_one_temperature("canonical", 900.0), of_one_temperature("canonical", 900.0, "float32")
    ]  # fmt: skip
    names = [member.name for member in members_of(*zip(*given, strict=True))]
    assert names == ["float64", "float32"]


def test_what_all_series_of_a_figure_say_is_left_out_of_its_legend():
    series = [Series(f"semi-grand, 900 K, {way}", (1.0,), (2.0,)) for way in ("up", "down")]
    assert [one.name for one in shortened(series)] == ["up", "down"]
    assert [one.name for one in shortened(series[:1])] == [series[0].name]


def test_caveats_that_end_alike_are_said_together():
    members = [SimpleNamespace(name=name, results={}) for name in ("a", "b", "c")]
    tail = "above about 2,500 K oxides melt, and those points describe the model on a lattice only."
    texts = {f"Up to 900 K; {tail}": ["a"], f"Up to 800 K; {tail}": ["b", "c"]}
    assert caveat_lines("hot-points", texts, members) == [
        f"a: Up to 900 K; b; c: Up to 800 K; {tail}"
    ]
    apart = {"Up to 900 K.": ["a"], "Down to 800 K.": ["b"]}
    assert caveat_lines("hot-points", apart, members) == ["a: Up to 900 K.", "b: Down to 800 K."]


def test_many_points_that_did_not_converge_are_counted():
    points = [{"converged": False}] * 3 + [{"converged": True}]
    good = SimpleNamespace(name="b", results={"points": points[3:]})
    members = [SimpleNamespace(name="a", results={"points": points}), good]
    (line,) = caveat_lines("unconverged", {f"At {k} K.": ["a"] for k in range(4)}, members)
    assert line.startswith("At 3 of 5 points the chains did not converge (a: 3 of 4).")
    few = caveat_lines("unconverged", {f"At {k} K.": ["a"] for k in range(3)}, members)
    assert few == ["a: At 0 K.", "a: At 1 K.", "a: At 2 K."]
