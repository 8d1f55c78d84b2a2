"""``alchemc solid-solution``: what a file may say, closed forms of its numbers, examples."""

import csv
import io
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest

import alchemc.potentials
from alchemc.campaign.findings import read_findings
from alchemc.campaign.report_figures import draw_figure
from alchemc.campaign.report_findings import finding_section
from alchemc.campaign.report_html import section_html
from alchemc.campaign.solid_solution_study import (
    _value,
    load_solid_solution,
    run_solid_solution,
)
from alchemc.cli import main
from solution_toys import BowedCrystal

EXAMPLES = Path(__file__).parents[1] / "examples"
STUDIES = sorted(EXAMPLES.glob("solid_solution_*.toml"))
CLOSED = BowedCrystal()
FILE = """
title = "Bowed"
[study]
x = [0, 0.5, 1]
rules = ["sites", "paper"]
fmax = 1e-5
[structure]
file = "bowed.extxyz"
[sublattices.B]
sites = "Ti"
species = ["Ti", "Zr"]
[potential]
kind = "bowed"
"""
TARGET = "[target]\nlattice_parameter = 4.05\n"


class Bowed(BowedCrystal):
    """The crystal of closed forms, built as a campaign builds its potential."""

    def __init__(self, lattice, model="", device="auto", dtype="float64", positions=None):
        super().__init__()
        assert lattice == self.lattice
        assert np.allclose(positions, self.positions)


@pytest.fixture(autouse=True)
def crystals(monkeypatch, tmp_path):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"bowed": Bowed}, raising=False)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.chdir(tmp_path)
    ase.io.write("bowed.extxyz", CLOSED.lattice.atoms)


def write(text, name="study.toml"):
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def run(capsys, *arguments):
    capsys.readouterr()
    code = main(["solid-solution", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_lattice_parameters_of_both_rules_are_the_closed_forms():
    found = run_solid_solution(load_solid_solution(write(FILE)))
    for one in found["series"]:
        for x, a in zip(one["x"], one["lattice_parameter_A"], strict=True):
            closed = CLOSED.closed(np.array([1 - x, x]), one["rule"])
            assert a == pytest.approx(closed["lattice_parameter"][0], abs=1e-5)
    assert [one["rule"] for one in found["series"]] == ["sites", "paper"]
    assert found["converged"]


def test_the_command_prints_stores_and_shows_what_was_found(capsys):
    write(FILE + TARGET)
    code, out, err = run(capsys, "study.toml", "--store", "kept")
    assert code == 0
    assert "Mean crystal, rule paper" in out
    assert "has lattice parameter 4.0500 Å" in " ".join(out.split())
    assert "mean crystals, rule sites: 3 compositions" in err
    assert "The energy model is" in " ".join(out.split())
    rows = list(csv.DictReader(io.StringIO(run(capsys, "study.toml", "--csv", "-q")[1])))
    assert len(rows) == 6
    data = json.loads(run(capsys, "study.toml", "--json", "-q")[1])
    fraction = data["target"]["composition"]["B"]["Zr"]
    closed = CLOSED.closed(np.array([1 - fraction, fraction]))["lattice_parameter"][0]
    assert closed == pytest.approx(4.05, abs=1e-4)
    (finding,) = read_findings("kept")
    section = finding_section(finding)
    assert [figure.title for figure in section.figures] == [
        "Lattice parameter along x", "Deviation from Vegard's line", "Energy of mixing",
        "Search for lattice parameter",
    ]  # fmt: skip
    assert len(section.tables[0].rows) == 6
    assert "Bowed" in section_html(section)
    for figure in section.figures:
        draw_figure(figure)


def test_a_target_alone_is_searched_for_without_a_series(capsys):
    text = FILE.replace('["sites", "paper"]', "[]") + TARGET
    code, out, _ = run(capsys, str(write(text)), "-q", "--store", "kept")
    assert code == 0
    assert "Zr" in out
    section = finding_section(read_findings("kept")[0])
    assert len(section.figures) == 1
    assert section.caveats


def test_targets_that_exclude_one_another_end_in_exit_code_3(capsys):
    text = FILE.replace('["sites", "paper"]', "[]") + TARGET + "energy = -2.95\n"
    code, out, err = run(capsys, str(write(text)), "-q")
    assert (code, err.count("\n")) == (3, 1)
    assert "compromise" in out


def test_what_does_not_converge_ends_in_exit_code_3(capsys):
    text = FILE.replace("fmax = 1e-5", "fmax = 1e-7\nmax_steps = 1")
    code, _, err = run(capsys, str(write(text)), "-q")
    assert (code, err.count("\n")) == (3, 1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fmax", "fmx", "did you mean 'fmax'"),
        ('"paper"', '"papers"', "did you mean 'paper'"),
        ("[0, 0.5, 1]", "[0, 0.5]", "it needs 0 and 1"),
        ("[0, 0.5, 1]", "[0]", "2 or more"),
        ('["sites", "paper"]', "[]", "nothing to do"),
        ('["sites", "paper"]', '["sites", "sites"]', "sites"),
        ('kind = "bowed"', 'kind = "bowd"', "did you mean 'bowed'"),
        ('kind = "bowed"', 'kind = "bowed"\n[target]\n', "names no property"),
        ('kind = "bowed"', 'kind = "bowed"\n[target]\nvolum = 60.0', "did you mean 'volume'"),
        ('kind = "bowed"', 'kind = "bowed"\n[target]\nvolume = 900.0', "out of reach"),
        ('kind = "bowed"', 'kind = "bowed"\nrelax = true', "in its place"),
        ('kind = "bowed"', 'kind = "bowed"\n[arrangements]\ncount = 1\nsupercell = [1, 1, 1]',
         "at least 2"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_a_remedy(capsys, old, new, words):
    assert old in FILE
    code, _, err = run(capsys, str(write(FILE.replace(old, new))), "-q")
    assert (code, err.count("\n")) == (2, 1), err
    assert words in err


def test_ctrl_c_says_that_nothing_is_kept(monkeypatch, capsys):
    def broken_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("alchemc.analysis.lattice_parameters", broken_off)
    code, _, err = run(capsys, str(write(FILE)), "-q")
    assert (code, err.count("\n")) == (130, 1)
    assert "run the same command again" in err


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (5.385893, 0.000417, "5.3859 ± 0.0004"), (5.385893, None, "5.3859 ± ?"),
        (5.385893, 1e-9, "5.3859"), (0.0, 0.0, "0"), (None, None, "—"),
    ],
)  # fmt: skip
def test_lengths_have_four_digits_whatever_their_error(value, error, text):
    assert _value(value, error, ".4f") == text


def test_a_missing_file_is_refused_in_one_line(capsys):
    assert "docs/solid_solutions.md" in run(capsys, "none.toml")[2]
    assert "exclude each other" in run(capsys, "none.toml", "--json", "--csv")[2]


def test_a_model_that_cannot_be_had_is_told_with_what_to_do(monkeypatch, capsys):
    monkeypatch.undo()
    text = FILE.replace('kind = "bowed"', 'model = "medum"')
    ase.io.write("bowed.extxyz", CLOSED.lattice.atoms)
    code, _, err = run(capsys, str(write(text)), "-q")
    assert (code, err.count("\n")) == (2, 1)
    assert "alchemc models" in err


class Anything:
    """An energy model of any elements, for building crystals."""

    def __init__(self, lattice, **options):
        self.lattice = lattice


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.stem)
def test_examples_are_valid_and_their_crystals_can_be_built(file):
    from alchemc.campaign.solid_solution_study import _built

    kinds = {"mace": Anything, "chgnet": Anything}
    alchemc.potentials.POTENTIALS = kinds
    loaded = load_solid_solution(file)
    lattice, _ = _built(loaded, None)
    assert file.name in file.read_text("utf-8")  # the command that runs it
    if loaded.file.arrangements is not None:
        larger, _ = _built(loaded, loaded.file.arrangements.supercell)
        (name,) = larger.names
        first, second = larger.sublattices[name].species
        most = 1.0 if loaded.file.study.end is None else loaded.file.study.end[name][second]
        for x in loaded.file.study.x:
            larger.composition_counts({name: {first: 1 - most * x, second: most * x}})
        assert len(larger.atoms) >= len(lattice.atoms)


def test_the_bundled_example_runs_at_a_tiny_size(monkeypatch, capsys, tmp_path):
    monkeypatch.undo()
    text = (EXAMPLES / "solid_solution_sr_ti_zr_o3.toml").read_text("utf-8")
    for old, new in (
        ("x = [0, 0.25, 0.5, 0.75, 1]", "x = [0, 0.5, 1]"),
        ('["sites", "paper"]', '["sites"]'),
        ("count = 4", "count = 2"),
        ("supercell = [2, 2, 1]", "supercell = [2, 1, 1]"),
        ("[target]", "[unused]"),
    ):
        assert old in text
        text = text.replace(old, new)
    begin, end = text.index("[unused]"), text.index("[structure]")
    file = write(text[:begin] + text[end:], str(tmp_path / "example.toml"))
    code, out, err = run(capsys, str(file))
    assert code == 0
    assert "Average over arrangements" in out
    assert err.count("relaxed") == 3
