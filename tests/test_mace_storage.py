"""MACE models stored as arrays and JSON come back bit for bit, and damage is noticed."""

import json
import os
import shutil

import numpy as np
import pytest
from ase.build import bulk

from alchemc.errors import InputError, ModelError
from alchemc.potentials import save_mace
from alchemc.potentials.storage import content_sha256, load_stored
from mace_families import FAMILIES, random_model, stock_calculator


def stock_results(model, dtype):
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    atoms.rattle(0.05, seed=3)
    atoms.calc = stock_calculator(model, dtype)
    return atoms.get_potential_energy(), atoms.get_forces()


@pytest.mark.parametrize(
    ("family", "dtype"),
    [*((family, "float64") for family in FAMILIES), ("plain", "float32")],
)
def test_a_stored_model_gives_the_same_bits(family, dtype, tmp_path):
    model = random_model(family, dtype)
    sha256 = save_mace(model, tmp_path / "m", {"name": family})
    restored, document = load_stored(tmp_path / "m")
    assert document["sha256"] == sha256
    assert document["card"]["name"] == family
    energy, forces = stock_results(model, dtype)
    stored_energy, stored_forces = stock_results(restored, dtype)
    assert stored_energy == energy
    np.testing.assert_array_equal(stored_forces, forces)


def test_the_sha256_names_the_model_in_memory_and_on_disk(tmp_path):
    model = random_model("density, Agnesi")
    sha256 = save_mace(model, tmp_path)
    assert content_sha256(model) == content_sha256(load_stored(tmp_path)[0]) == sha256
    assert content_sha256(random_model("plain")) != sha256


def test_a_model_converted_to_double_is_stored_exactly(tmp_path):
    import copy

    model = copy.deepcopy(random_model("density, Agnesi, vectors, ZBL", "float32")).double()
    save_mace(model, tmp_path)
    restored, _ = load_stored(tmp_path)
    for name, value in model.state_dict().items():
        assert (restored.state_dict()[name] == value).all(), name


def test_loading_uses_no_pickle_and_leaves_torch_as_it_was(tmp_path, monkeypatch):
    import pickle

    import torch

    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)
    save_mace(random_model("plain"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    load_stored(tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_default_dtype() == torch.float32
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    directory = tmp_path_factory.mktemp("intact")
    save_mace(random_model("plain"), directory)
    return directory


def damage_tensors(directory):
    data = bytearray((directory / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (directory / "model.safetensors").write_bytes(data)


def truncate_tensors(directory):
    data = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(data[: len(data) // 2])


def change_config(directory):
    document = json.loads((directory / "model.json").read_text())
    document["config"]["r_max"] = 9.0
    (directory / "model.json").write_text(json.dumps(document))


def drop_key(directory):
    document = json.loads((directory / "model.json").read_text())
    del document["constants"]
    (directory / "model.json").write_text(json.dumps(document))


def drop_card(directory):
    document = json.loads((directory / "model.json").read_text())
    del document["card"]
    (directory / "model.json").write_text(json.dumps(document))


def change_card(directory):
    document = json.loads((directory / "model.json").read_text())
    (directory / "model.json").write_text(json.dumps({**document, "card": "a note"}))


def future_version(directory):
    document = json.loads((directory / "model.json").read_text())
    (directory / "model.json").write_text(json.dumps({**document, "format_version": 99}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_tensors, "damaged"),
        (truncate_tensors, "damaged"),
        (change_config, "do not belong together"),
        (drop_key, "lacks 'constants'"),
        (drop_card, "lacks 'card'"),
        (change_card, "card that holds no facts"),
        (future_version, "format version 99"),
        (lambda directory: (directory / "model.json").unlink(), "cannot read"),
        (lambda directory: (directory / "model.safetensors").unlink(), "cannot read"),
        (lambda directory: (directory / "model.json").write_text("{"), "not JSON"),
        (lambda directory: (directory / "model.json").write_text("{}"), "does not describe"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(damage, message, intact, tmp_path):
    directory = shutil.copytree(intact, tmp_path / "m")
    damage(directory)
    with pytest.raises(ModelError, match=message) as caught:
        load_stored(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("card", ["a note", {"trained": {1, 2}}])
def test_a_card_that_json_cannot_hold_leaves_nothing_behind(card, tmp_path):
    with pytest.raises(InputError, match="card"):
        save_mace(random_model("plain"), tmp_path / "m", card)
    assert not (tmp_path / "m").exists()


def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("taken")
    with pytest.raises(ModelError, match=r"cannot write the model to .*file") as caught:
        save_mace(random_model("plain"), tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_models_outside_the_stored_form_are_refused():
    import copy

    import torch

    with pytest.raises(ModelError, match="Linear cannot be stored"):
        save_mace(torch.nn.Linear(2, 2), "unused")
    other = copy.deepcopy(random_model("plain"))
    other.interactions[1].reshape.muls = [1, 2, 3]
    with pytest.raises(ModelError, match=r"interactions.1.reshape.muls"):
        save_mace(other, "unused")
