"""What can be named: the catalogue of models, on the terminal and for machines."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from alchemc.campaign.tables import model_lines, model_table
from alchemc.cli import main
from alchemc.errors import ModelError
from alchemc.potentials import list_models, load_mace
from alchemc.potentials._mace import import_mace
from alchemc.potentials.catalogue import FOUNDATIONS, foundation_names


@pytest.fixture(scope="module")
def entries():
    return list_models()


def test_every_model_that_mace_fetches_has_data_elements_and_a_licence(entries):
    named = {entry.name: entry for entry in entries if entry.kind == "foundation"}
    assert tuple(named) == foundation_names()
    for entry in named.values():
        assert entry.trained_on != "not stated", entry
        assert entry.elements is not None
        assert len(entry.elements) == 89
        assert "Pu" in entry.elements
        assert "Ra" not in entry.elements
    academic = {name for name, entry in named.items() if entry.licence.startswith("ASL")}
    assert academic == {
        *("small-omat-0", "medium-omat-0", "mace-matpes-pbe-0", "mace-matpes-r2scan-0"),
        *("mh-0", "mh-1"),
    }


def test_a_model_of_a_later_mace_is_listed_without_claims(monkeypatch):
    urls = {"grand-9": "https://example.org/grand-9.model"}
    monkeypatch.setattr(import_mace(FOUNDATIONS), "mace_mp_urls", urls)
    (entry,) = [entry for entry in list_models() if entry.kind == "foundation"]
    assert entry.elements is None
    assert entry.licence.startswith("not stated")
    assert "?" in printed([entry], 120)


def test_chgnet_is_listed_by_its_folder_without_torch():
    code = (
        "import sys; from alchemc.potentials import catalogue; "
        "entry = catalogue._chgnet()[0]; print(entry.sha256); "
        "print(sorted({'torch', 'chgnet', 'mace'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    sha256, imported = done.stdout.split("\n")[:2]
    assert imported == "[]"
    chgnet = pytest.importorskip("chgnet")
    (weights,) = Path(chgnet.__file__).parent.glob("pretrained/0.3.0/*.pth.tar")
    assert sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_chgnet_is_not_at_hand_without_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    entries = [entry for entry in list_models() if entry.potential == "chgnet"]
    assert [entry.name for entry in entries] == ["0.3.0", "r2scan"]
    assert not any(entry.at_hand or entry.sha256 for entry in entries)
    assert sum("alchemc[chgnet]" in line for line in model_lines(entries)) == 1


def test_chgnet_knows_the_elements_its_training_saw(entries):
    elements = {e.name: set(e.elements) for e in entries if e.potential == "chgnet"}
    assert len(elements["0.3.0"]) == 89
    assert elements["0.3.0"] - elements["r2scan"] == {"Yb"}


def printed(models, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(model_table(models, console))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_models_is_never_folded(entries, width):
    rows = printed(entries, width).rstrip().splitlines()
    assert len(rows) == len(entries) + 2
    assert all(len(row) <= width for row in rows)
    assert ("trained on" in rows[0]) is (width == 120)


def test_what_is_at_hand_names_its_elements_and_checksum(entries):
    bundled = next(line for line in model_lines(entries) if line.startswith("mace bundled"))
    assert "Ca–Ti" in bundled
    assert bundled.endswith(entries[0].sha256[:12])


def test_models_are_printed_for_machines(capsys, entries):
    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps([dataclasses.asdict(entry) for entry in entries]))
    assert len(found[0]["sha256"]) == 64


def test_mace_looks_in_its_cache_folder_before_it_asks_the_network(monkeypatch, tmp_path):
    """The real lookup of mace-torch, with a file in the folder it names and no network."""
    foundations = import_mace(FOUNDATIONS)
    asked = []

    def no_network(url, *args, **kwargs):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr(foundations, "_urlretrieve_with_timeout", no_network)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="cannot be downloaded"):
        load_mace("small")
    assert len(asked) == 1
    folder = Path(foundations.get_cache_dir())
    assert folder.is_relative_to(tmp_path)
    (folder / "20231210mace128L0_energy_epoch249model").write_bytes(b"not a model")
    (entry,) = [entry for entry in list_models() if entry.name == "small"]
    assert entry.at_hand
    with pytest.raises(ModelError, match="cannot be read as a mace-torch model"):
        load_mace("small")
    assert len(asked) == 1
