"""The energy model of a campaign: where it runs, its landscape, and the out-of-domain guard."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import alchemc.potentials
from alchemc import campaign
from alchemc.analysis import analyze_run, landscape
from alchemc.campaign import build, events, labels
from alchemc.campaign.guard import summarize
from alchemc.cli import main
from alchemc.errors import InputError, ModelError, StoredRunError
from campaign_tools import TOY, assert_same_samples, samples_of
from toy_potential import ToyPotential

MACE = """
title = "guarded"
[structure]
prototype = "perovskite"
A = "Sr"
B = ["Sc", "Ta"]
X = "O"
a = 4.0
supercell = [2, 1, 1]
[sublattices.B]
composition = { Sc = 0.5, Ta = 0.5 }
[potential]
device = "cpu"
[ensemble]
temperatures = [20000, 10000]
[sampler]
kind = "random-swap"
[run]
chains = 2
draws = 3
thin = 1
warmup = 1
seed = 5
[analysis]
orders = []
shells = 0
"""
STORED = Path(__file__).parent / "data" / "run-0.1"


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.chdir(tmp_path)


def start(text: str, path: str = "run", **options: object) -> campaign.Config:
    config = campaign.parse_config(text)
    campaign.start_run(config, path, **options)
    return campaign.open_run(path)


def toy(text: str = TOY, **replaced: str) -> str:
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


# ---- where it runs ---------------------------------------------------------------------------


def test_model_device_precision_and_landscape_head_the_terminal_and_the_report(capsys):
    Path("c.toml").write_text(MACE)
    assert main(["run", "c.toml", "-o", "run"]) == 3
    line = "bundled MACE alchemc-oxides-1, cpu, float64, 1 thread"
    output = capsys.readouterr().out.splitlines()
    assert output[0] == f"energy model: {line}"
    assert output[1].startswith("landscape: ideal positions, fixed cell")
    report = Path("run/report.html").read_text(encoding="utf-8")
    assert f"Energy model: {line}." in report
    assert "Temperature<small>ideal positions, fixed cell</small>" in report
    run = campaign.open_run("run")
    assert run.config["potential"]["dtype"] == "float64"
    assert run.attrs["machine"]["device"] == "cpu"
    assert run.attrs["model"]["dtype"] == "float64"


def test_a_device_left_open_stays_open_and_a_precision_does_not():
    config = campaign.parse_config(MACE.replace('device = "cpu"', ""))
    crystal = build.build_crystal(config, Path())
    resolved = build.resolve(config, crystal.lattice, Path(), seed=1).potential
    assert resolved.device == "auto"
    assert resolved.dtype in {"float32", "float64"}


def test_precisions_that_are_chosen():
    choose = alchemc.potentials.choose_placement
    assert choose("mace", "cpu").dtype == "float64"
    assert choose("chgnet", "cpu").dtype == "float32"
    assert choose("chgnet", "cpu", "float64").dtype == "float64"
    assert choose("toy", "somewhere") == ("somewhere", "float64")
    with pytest.raises(InputError, match="'abacus' is not available"):
        choose("mace", "abacus")


def test_a_gpu_is_named():
    model = {"name": "CHGNet 0.3.0", "dtype": "float32"}
    machine = {"device": "cuda", "gpu": "H100"}
    line = labels.energy_model({"potential": {"kind": "chgnet"}}, model, machine)
    assert line == "CHGNet 0.3.0, cuda (H100), float32"


def test_an_old_run_is_reported_without_what_it_does_not_know():
    shutil.copytree(STORED, "run")
    run = campaign.open_run("run")
    line = labels.energy_model(run.config, run.attrs["model"], run.attrs["machine"])
    assert line.endswith("float64")
    results = analyze_run(run)
    (note,) = [c["text"] for c in results["caveats"] if c["code"] == "extrapolation"]
    assert "Nothing here measures" in note


def test_chgnet_needs_no_model_in_a_campaign():
    config = campaign.parse_config(MACE.replace("[potential]", '[potential]\nkind = "chgnet"'))
    assert config.potential.model == "0.3.0"
    assert campaign.parse_config(MACE).potential.model == "bundled"


def test_a_species_that_the_model_never_saw_is_refused_by_name():
    text = MACE.replace('"Ta"', '"Bi"').replace("Ta =", "Bi =")
    with pytest.raises(ModelError, match=r"does not know the element Bi; .*`alchemc models`"):
        campaign.start_run(campaign.parse_config(text), "run")
    assert not Path("run").exists()


@pytest.mark.slow
def test_chgnet_in_a_campaign_is_recorded_and_rebuilt():
    pytest.importorskip("chgnet")
    text = MACE.replace("[potential]", '[potential]\nkind = "chgnet"').replace('"Sr"', '"Pb"')
    run = start(text.replace("[20000, 10000]", "[5000]"))
    assert run.config["potential"]["dtype"] == "float32"
    assert "chgnet" in run.attrs["versions"]
    point = run.points[0]
    energies = run.hamiltonian().energy(point["occupation"].values[-1].astype(np.int8))
    np.testing.assert_array_equal(energies, point["energy"].values[-1])
    assert not [c for c in analyze_run(run)["caveats"] if c["code"] == "domain"]
    text = text.replace('"Ta"', '"Po"').replace("Ta =", "Po =")
    with pytest.raises(ModelError, match="does not know the element Po; it knows H–Bi Ac–Pu"):
        campaign.start_run(campaign.parse_config(text), "other")


# ---- the out-of-domain guard -----------------------------------------------------------------


def caveat(run) -> str:
    found = [c["text"] for c in analyze_run(run)["caveats"] if c["code"] == "domain"]
    return found[0] if found else ""


def test_a_dense_cell_is_flagged_in_the_run_the_terminal_and_the_report(capsys):
    Path("c.toml").write_text(MACE.replace("a = 4.0", "a = 3.2\ndisplacement = 0.05"))
    assert main(["run", "c.toml", "-o", "run"]) == 3
    captured = capsys.readouterr()
    for temperature in ("20000", "10000"):
        assert captured.err.count(f"at {temperature} K 2 of 2 energies lie outside") == 1
        assert captured.err.count(f"at {temperature} K 2 of 2 forces lie outside") == 1
    run = campaign.open_run("run")
    text = caveat(run)
    assert text.startswith("At 20,000 K, 10,000 K 12 stored energies (worst ")
    assert "8 configurations by their forces" in text
    assert "from -0.45 to 1.1 eV per atom above references" in text
    assert text[:60] in Path("run/report.html").read_text(encoding="utf-8")
    logged = {event["event"] for event in events.read(Path("run/events.jsonl"))}
    assert {"energies outside", "forces checked"} <= logged


def test_a_crystal_that_the_model_knows_is_not_flagged(capsys):
    warned = []
    run = start(MACE, warn=warned.append)
    assert warned == []
    assert caveat(run) == ""
    rows = run.attrs["domain"]
    assert [row["forces"] for row in rows] == [4, 4]  # first and last of both chains
    assert all(row["forces_outside"] == 0 and row["forces_worst"] < 15 for row in rows)
    (note,) = [c["text"] for c in analyze_run(run)["caveats"] if c["code"] == "extrapolation"]
    assert "energies and forces were compared with what it knows" in note


class Holey(ToyPotential):
    """A model without a card, with a hole at one arrangement in fourteen."""

    def energy_and_gradient(self, occupations):
        energy, gradient = super().energy_and_gradient(occupations)
        return energy - 60.0 * (occupations[:, :3] == 1).all(axis=1), gradient


def test_a_hole_in_a_model_without_a_card_is_flagged(monkeypatch):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"toy": Holey}, raising=False)
    run = start(toy(**{"[1000, 2000]": "[1000]"}))
    assert "within 0.5 eV per atom of random arrangements" in caveat(run)
    bounds = run.attrs["model"]["domain"]
    assert bounds["atoms"] == 40
    outside = np.abs(run.points[0]["energy"].values - bounds["random_energy"]) > 20
    assert run.attrs["domain"][0]["energies_outside"] == outside.sum() > 0


def test_what_the_guard_found_survives_a_stop(monkeypatch):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"toy": Holey}, raising=False)
    config = campaign.parse_config(TOY)
    campaign.start_run(config, "whole")
    asked = itertools.count()
    campaign.start_run(config, "run", should_stop=lambda: next(asked) % 11 == 10)
    while not campaign.resume_run("run", should_stop=lambda: next(asked) % 11 == 10):
        pass
    assert_same_samples(Path("run"), samples_of(Path("whole")))
    assert campaign.open_run("run").attrs["domain"] == campaign.open_run("whole").attrs["domain"]


def test_of_a_draw_that_was_looked_at_twice_the_last_counts():
    event = {"event": "energies outside", "point": 0, "first": 3, "of": 4, "worst": 2.0}
    rows = summarize([{**event, "count": 4}, {**event, "count": 1}, {"event": "resumed"}])
    assert rows == [{"point": 0, "energies": 4, "energies_outside": 1, "energies_worst": 2.0}]
    forces = {"event": "forces checked", "point": 1, "of": 1, "count": 1, "first": 0}
    (row,) = summarize([{**forces, "worst": 3.0}, {**forces, "first": 9, "worst": None}])
    assert row["forces_worst"] is None


# ---- the relaxed landscape -------------------------------------------------------------------


class Lowered:
    """Stands in for `Relaxed`: energies shifted by what it was made with."""

    def __init__(self, hamiltonian, fmax=None, cell=False, *, temperature=None, **options):
        self.hamiltonian, self.lattice = hamiltonian, hamiltonian.lattice
        self.fmax = 1e-5 * temperature if fmax is None else fmax
        self.given = {"cell": cell, "temperature": temperature, **options}
        self.model_info = hamiltonian.model_info
        self.asked = 0

    @property
    def failures(self):
        from types import SimpleNamespace

        return SimpleNamespace(number=self.asked // 10, problems=("no minimum",))

    def energy(self, occupations):
        return self.energy_and_gradient(occupations)[0]

    def energy_and_gradient(self, occupations):
        self.asked += len(occupations)
        energy, gradient = self.hamiltonian.energy_and_gradient(occupations)
        return energy - self.fmax, gradient

    def energy_change(self, occupations, sites, species):
        return self.hamiltonian.energy_change(occupations, sites, species)


@pytest.fixture
def _lowered(monkeypatch):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"toy": ToyPotential}, raising=False)
    monkeypatch.setattr(alchemc.potentials, "Relaxed", Lowered, raising=False)


@pytest.mark.usefixtures("_lowered")
def test_a_relaxed_landscape_is_built_recorded_and_rebuilt():
    run = start(toy(**{'kind = "toy"': 'kind = "toy"\nrelax = true'}))
    assert run.config["potential"]["relax"] == {
        "fmax": 0.01,  # of the lowest temperature
        "cell": False,
        "references": 1,
        "displacement": 0.05,
        "seed": 0,
    }
    again = run.hamiltonian()
    assert isinstance(again, Lowered)
    assert again.fmax == 0.01
    assert again.given["temperature"] is None
    point = run.points[0]
    energies = again.energy(point["occupation"].values[7].astype(np.int8))
    np.testing.assert_array_equal(energies, point["energy"].values[7])
    results = analyze_run(run)
    assert results["landscape"] == "relaxed positions, fixed cell"
    texts = " ".join(c["text"] for c in results["caveats"])
    assert "displaced by 0.05 Å" in texts
    assert "forces below 0.01 eV/Å" in texts
    assert "relaxations found no minimum" in texts


@pytest.mark.usefixtures("_lowered")
def test_a_table_says_how_to_relax():
    table = 'kind = "toy"\nrelax = { fmax = 0.2, cell = "full", references = 3, seed = 4 }'
    run = start(toy(**{'kind = "toy"': table}))
    assert run.hamiltonian().given == {
        "cell": "full",
        "temperature": None,
        "references": 3,
        "displacement": 0.05,
        "seed": 4,
    }
    text = next(c["text"] for c in analyze_run(run)["caveats"] if c["code"] == "landscape")
    assert "relaxed positions and cell, zero pressure" in text
    assert "lowest of 3 starts" in text


@pytest.mark.usefixtures("_lowered")
def test_another_model_under_a_relaxed_landscape_is_refused():
    run = start(toy(**{'kind = "toy"': 'kind = "toy"\nrelax = true'}))
    file = Path("run/run.toml")
    file.write_text(file.read_text().replace('model = "0.02"', 'model = "0.03"'))
    with pytest.raises(StoredRunError, match="is not the one run was started with"):
        campaign.open_run("run").hamiltonian()
    assert run.attrs["model"]["sha256"]


def test_displaced_positions_and_relaxation_exclude_each_other():
    text = MACE.replace("a = 4.0", "a = 4.0\ndisplacement = 0.1")
    with pytest.raises(InputError, match=r"displacement and potential.relax exclude each other"):
        campaign.parse_config(text.replace('device = "cpu"', "relax = true"))
    campaign.parse_config(text.replace('device = "cpu"', "relax = false"))


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ({}, "positions and cell as the energy model was given them"),
        ({"structure": {"file": "x.cif"}}, "positions of the structure file, fixed cell"),
        ({"potential": {"relax": {"cell": False}}}, "relaxed positions, fixed cell"),
        (
            {"potential": {"relax": {"cell": "isotropic"}}},
            "relaxed positions and volume, zero pressure",
        ),
        ({"potential": {"relax": {"cell": "full"}}}, "relaxed positions and cell, zero pressure"),
        ({"potential": {"relax": True}}, "relaxed positions, fixed cell"),
        (
            {"structure": {"displacement": 0.05}},
            "fixed positions displaced by 0.05 Å (per Cartesian component), fixed cell",
        ),
    ],
)
def test_every_temperature_is_labelled_by_its_landscape(config, label):
    assert landscape(config) == label


@pytest.mark.slow
def test_relaxed_mace_in_a_campaign(capsys):
    relaxed = 'device = "cpu"\nrelax = { cell = "isotropic" }'
    text = MACE.replace('device = "cpu"', relaxed).replace("[20000, 10000]", "[900]")
    Path("c.toml").write_text(text)
    assert main(["run", "c.toml", "-o", "run"]) == 3
    assert "relaxed positions and volume, zero pressure" in capsys.readouterr().out
    run = campaign.open_run("run")
    hamiltonian = run.hamiltonian()
    assert hamiltonian.fmax == run.config["potential"]["relax"]["fmax"]
    point = run.points[0]
    energies = hamiltonian.energy(point["occupation"].values[0].astype(np.int8))
    np.testing.assert_array_equal(energies, point["energy"].values[0])
    page = Path("run/report.html").read_text(encoding="utf-8")
    results = json.loads(page.split('id="data">')[1].split("</script>")[0])["results"]
    assert results["landscape"] == "relaxed positions and volume, zero pressure"
