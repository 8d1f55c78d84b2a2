"""``alchemc screen``: what a file may say, and what comes out of it. Nothing is statistical."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from alchemc import AlchemicalMACE, analysis, builders
from alchemc.campaign.screening import load_screen, run_screen, screen_csv
from alchemc.cli import main
from alchemc.errors import InputError

EXAMPLES = Path(__file__).parents[1] / "examples"
SHARED = """
[structure]
prototype = "perovskite"
A = "Sr"
X = "O"
a = 3.98
supercell = [2, 2, 2]
"""


def write(tmp_path, text, name="screen.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.slow
def test_mixtures_and_entries_are_screened_and_the_strongest_comes_first(tmp_path, capsys):
    text = f"""
mixtures = [["Ti", "Zr"], ["Sc", "Ta"]]
{SHARED}
[[entries]]
title = "A quarter of Ta"
structure = {{ B = ["Sc", "Ta"] }}
sublattices = {{ B = {{ composition = {{ Sc = 0.75, Ta = 0.25 }} }} }}
"""
    path = write(tmp_path, text)
    entries = load_screen(path)
    assert [entry.name for entry in entries] == ["", "", "A quarter of Ta"]
    assert main(["screen", str(path), "--json"]) == 0
    printed = capsys.readouterr()
    results = json.loads(printed.out)
    assert printed.err.splitlines()[0].startswith("1/3 Sr(Ti,Zr)O3: rock-salt")
    assert [row["name"] for row in results["entries"]] == [
        "Sr(Sc,Ta)O3",
        "A quarter of Ta",
        "Sr(Ti,Zr)O3",
    ]
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    waves = analysis.concentration_waves(mace, {"B": {"Sc": 0.5, "Ta": 0.5}})
    first = results["entries"][0]
    assert first["waves"][0]["energy_eV"] == pytest.approx(waves.leading.energy)
    assert first["rescaling"]["n"] == 16
    assert first["temperature"] is None
    assert "larger supercell" in first["no_temperature"]
    rows = list(csv.DictReader(io.StringIO(screen_csv(results))))
    assert rows[0]["leading"] == "rock-salt"
    assert float(rows[0]["slope"]) == pytest.approx(first["rescaling"]["slope"])


@pytest.mark.slow
def test_a_cell_twice_the_range_of_v_gives_a_temperature(tmp_path, capsys):
    large = SHARED.replace("[2, 2, 2]", "[4, 4, 4]")
    path = write(tmp_path, f'mixtures = [["Sc", "Ta"]]\n[screen]\nenergies = 8\n{large}')
    assert main(["screen", str(path), "--csv", "-q"]) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert 9000 < float(row["temperature_K"]) < 11000
    assert row["label"] == "ideal positions, mean field, above melting"


def test_without_energies_there_is_no_temperature(tmp_path, capsys):
    path = write(tmp_path, f'mixtures = [["Sc", "Ta"]]\n[screen]\nenergies = 0\n{SHARED}')
    assert main(["screen", str(path), "--csv", "-q"]) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert not row["temperature_K"]
    assert "rescaled" in row["label"]


def test_compositions_are_an_axis_of_their_own(tmp_path):
    text = f"""
mixtures = [["Sc", "Ta"], ["Al", "Nb"]]
compositions = [{{ B = {{ Sc = 0.5, Ta = 0.5 }} }}]
{SHARED}"""
    first, second = run_screen(load_screen(write(tmp_path, text)))["entries"]
    assert not first["error"]
    assert "puts 'Sc' on sublattice 'B'" in second["error"]  # of the second mixture
    text = f"""
compositions = [{{ B = {{ Sc = 0.5, Ta = 0.5 }} }}, {{ B = {{ Sc = 0.25, Ta = 0.75 }} }}]
{SHARED.replace('X = "O"', 'B = ["Sc", "Ta"]' + chr(10) + 'X = "O"')}"""
    entries = load_screen(write(tmp_path, text))
    assert [e.config.sublattices["B"].composition["Ta"] for e in entries] == [0.5, 0.75]


def test_a_campaign_is_an_entry(capsys):
    assert main(["screen", str(EXAMPLES / "demo.toml"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "rock-salt" in out
    assert "Mean-field theory ranks" in out


@pytest.mark.slow
def test_the_cell_of_zero_pressure_is_found(tmp_path):
    text = f'mixtures = [["Sc", "Ta"]]\n[screen]\ncell = "zero-pressure"\nenergies = 8\n{SHARED}'
    found = run_screen(load_screen(write(tmp_path, text)))["entries"][0]
    lattice = builders.perovskite(
        "Sr", ("Sc", "Ta"), "O", a=3.98 * found["cell_scale"], size=(2, 2, 2)
    )
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    rng = np.random.Generator(np.random.PCG64(0))
    states = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, rng, 8)
    stress = mace.energy_forces_stress(states)[2]
    assert abs(np.trace(stress, axis1=1, axis2=2).mean() / 3) < 1e-3
    assert 1.01 < found["cell_scale"] < 1.04


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('mixture = [["Sc", "Ta"]]\n' + SHARED, "unknown key 'mixture'; did you mean 'mixtures'"),
        ('mixtures = [["Sc", "Ta"]]\n[screen]\nenergy = 8\n' + SHARED, "did you mean 'energies'"),
        ('mixtures = [["Sc", "Ta"]]\n[screen]\nenergies = 5\n' + SHARED, "too few to rescale"),
        ('mixtures = [["Sc"]]\n' + SHARED, "2 or more entries"),
        ('mixtures = [["Sc", "Ta"]]\n' + SHARED + "supercel = 2\n", "did you mean 'supercell'"),
        ('mixtures = [["Sc", "Ta"]]\n[structure]\nprototype = "rocksalt"\n', "mixed = 'B'"),
        ("title = 'nothing'\n", "names no crystal"),
        ("title = [\n", "not valid TOML"),
        ("[[entries]]\nstructur = {}\n", "did you mean 'structure'"),
    ],
)
def test_what_a_screen_file_may_not_say_is_refused(tmp_path, text, match):
    with pytest.raises(InputError, match=match):
        load_screen(write(tmp_path, text))


def test_an_entry_that_fails_is_told_and_the_others_go_on(tmp_path, capsys):
    path = write(tmp_path, f'mixtures = [["Sc", "Xe"], ["Sc", "Ta"]]\n{SHARED}')
    assert main(["screen", str(path), "-q"]) == 2
    printed = capsys.readouterr()
    assert "refused" in printed.out
    assert "rock-salt" in printed.out
    assert "Sr(Sc,Xe)O3" in printed.err
    assert "1 disordered crystal was screened" in " ".join(printed.out.split())


def test_a_crystal_that_cannot_be_built_is_called_by_its_number(tmp_path):
    path = write(tmp_path, f'mixtures = [["Sc", "Sc"], ["Qq", "Ta"]]\n{SHARED}')
    rows = run_screen(load_screen(path))["entries"]
    assert [row["name"] for row in rows] == ["entry 1", "entry 2"]


def test_missing_files_and_two_formats_are_refused(tmp_path, capsys):
    assert main(["screen", str(tmp_path / "none.toml")]) == 2
    assert "no screen file" in capsys.readouterr().err
    assert main(["screen", str(EXAMPLES / "screen.toml"), "--json", "--csv"]) == 2


def test_the_example_is_valid():
    entries = load_screen(EXAMPLES / "screen.toml")
    assert len(entries) == 5
    assert entries[-1].name == "La2MgTiO6"
    assert {entry.options.cell for entry in entries} == {"zero-pressure"}
