"""CHGNet is loaded from a known file of its package, and the process stays as it was."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from alchemc import builders
from alchemc.errors import InputError, ModelError
from alchemc.potentials import AlchemicalCHGNet, _chgnet
from chgnet_reference import hamiltonian_of, interior_point, lattice_of

pytest.importorskip("chgnet", reason="chgnet comes with the extras chgnet and train")


def test_the_model_says_what_it_is():
    info = hamiltonian_of("rock salt", "float32").model_info
    assert (info.name, info.kind, info.dtype) == ("CHGNet 0.3.0", "chgnet", "float32")
    assert info.sha256.startswith("d14ab7c0")
    assert len(info.elements) == 89
    assert info.r_max == 6.0
    assert "BSD" in info.licence


def test_errors_name_the_value_and_the_remedy(monkeypatch):
    lattice = lattice_of("rock salt")
    with pytest.raises(ModelError, match=r"'0.2.0' is not covered; choose one of '0.3.0', 'r2s"):
        AlchemicalCHGNet(lattice, "0.2.0")
    with pytest.raises(ModelError, match="does not know the element Po"):
        AlchemicalCHGNet(builders.rocksalt(("Mg", "Po"), "O", a=4.2))
    hamiltonian = hamiltonian_of("rock salt", "float32")
    with pytest.raises(InputError, match="mixing is 'paper'; AlchemicalCHGNet knows 'sites'"):
        hamiltonian.mixed_energy(interior_point(lattice), mixing="paper")
    with pytest.raises(InputError, match="dtype is 'float16'"):
        AlchemicalCHGNet(lattice, dtype="float16")
    with pytest.raises(InputError, match="no two atoms overlap"):
        hamiltonian.at(np.zeros_like(hamiltonian.positions))
    changed = _chgnet.CHGNET_MODELS["0.3.0"]._replace(sha256="0" * 64)
    monkeypatch.setitem(_chgnet.CHGNET_MODELS, "0.3.0", changed)
    with pytest.raises(ModelError, match=r"is not the file of chgnet 0\.4\.2"):
        AlchemicalCHGNet(lattice)
    monkeypatch.setitem(_chgnet.CHGNET_MODELS, "0.3.0", changed._replace(file="none"))
    with pytest.raises(ModelError, match="cannot be read"):
        AlchemicalCHGNet(lattice)
    monkeypatch.setitem(sys.modules, "chgnet", None)
    with pytest.raises(ModelError, match=r'install it with pip install "alchemc\[chgnet\]"'):
        AlchemicalCHGNet(lattice)


SETTINGS = """
import os, warnings, numpy, torch
import alchemc.potentials.alchemical_mace
from alchemc import builders
def settings():  # torch may note where its compiler keeps files: that is its own affair
    own = {k: v for k, v in os.environ.items() if not k.startswith("TORCHINDUCTOR")}
    return (own, list(warnings.filters), torch.get_default_dtype(),
            torch.get_num_threads(), torch.get_rng_state().tolist(), numpy.geterr())
torch.set_default_dtype(torch.float64)
lattice, before = builders.rocksalt(("Mg", "Ni"), "O", a=4.2), settings()
from alchemc import AlchemicalCHGNet
AlchemicalCHGNet(lattice, device="cpu").energy(numpy.zeros(lattice.n_sites, dtype=int))
assert settings() == before, [a for a, b in zip(settings(), before) if a != b]
"""


def test_loading_leaves_the_process_as_it_was_and_prints_nothing():
    command = [sys.executable, "-c", SETTINGS]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_no_warning_is_raised():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AlchemicalCHGNet(lattice_of("rock salt"), device="cpu").energy(np.zeros(4, dtype=int))
