"""Models converted to cuEquivariance are the models they were; what is not so is refused.

The conversion is tested on the CPU, where the package computes in plain torch, and on a GPU where
there is one.
"""

from __future__ import annotations

import copy
import importlib.util

import numpy as np
import pytest
import torch

from alchemc import AlchemicalMACE, builders
from alchemc.errors import ModelError
from alchemc.potentials import cuequivariance
from mace_families import FAMILIES, random_model

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("cuequivariance_torch") is None,
    reason="cuequivariance-torch is not installed (extra 'cuequivariance')",
)
needs_gpu = pytest.mark.skipif(
    not (torch.cuda.is_available() and cuequivariance.available()),
    reason="needs a GPU and the kernels of cuEquivariance",
)
NOT_CONVERTED = {
    "plain, vectors, three layers",
    "plain, two heads, ZBL, Gaussian",
    "without scale and shift",
}


@pytest.fixture(autouse=True)
def without_content_hash(monkeypatch):
    monkeypatch.setattr("alchemc.potentials.storage.content_sha256", lambda model: "0" * 64)


@needs_package
@pytest.mark.parametrize("family", FAMILIES)
def test_a_converted_model_is_the_model_it_was(family):
    model = random_model(family)
    before = torch.get_default_dtype()
    converted = cuequivariance.convert(model)
    assert torch.get_default_dtype() == before
    assert (converted is None) == (family in NOT_CONVERTED)
    if converted is not None:
        cuequivariance.check_same(model, converted, head=0)
        assert not any(p.requires_grad for p in converted.parameters())
        kinds = {type(block.conv_tp).__name__ for block in converted.interactions}
        assert kinds == {"ChannelWiseTensorProduct"}


def test_on_a_cpu_nothing_is_converted(monkeypatch):
    monkeypatch.setattr(cuequivariance, "available", lambda: True)
    assert cuequivariance.accelerated(random_model("plain"), head=0) is None


def test_without_the_packages_nothing_is_available(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not cuequivariance.available()


def test_kernels_that_give_something_else_are_refused():
    model = random_model("density, Agnesi")
    cuequivariance.check_same(model, copy.deepcopy(model), head=0)
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.interactions[1].linear.parameters()).mul_(1.001)
    with pytest.raises(ModelError, match=r'cuEquivariance changes .* engine="torch"'):
        cuequivariance.check_same(model, other, head=0)


def test_kernels_that_fail_are_one_clear_line():
    class Failing(torch.nn.Module):
        def forward(self, *args, **kwargs):
            raise RuntimeError("CUDA error: no kernel image\nmore lines")

    model = random_model("plain")
    other = copy.deepcopy(model)
    other.products[0].symmetric_contractions = Failing()
    with pytest.raises(ModelError, match=r"fails on this model \(CUDA error: no kernel image\)"):
        cuequivariance.check_same(model, other, head=0)


def test_a_model_that_mace_cannot_convert_stays_as_it_is(monkeypatch):
    from alchemc.potentials._mace import import_mace

    def fail(*args, **kwargs):
        raise KeyError("hidden_irreps")

    monkeypatch.setattr(import_mace("mace.cli.convert_e3nn_cueq"), "run", fail)
    assert cuequivariance.convert(random_model("plain")) is None


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_on_a_gpu_energies_and_gradients_are_those_of_the_cpu(dtype):
    lattice = builders.perovskite("Sr", ("Sc", "Nb"), "O", a=4.0, size=(2, 2, 2))
    positions = lattice.displaced_positions(0.05, seed=1)
    rng = np.random.default_rng(2)
    occupations = lattice.random({"B": {"Sc": 0.5, "Nb": 0.5}}, rng, 4)
    model = random_model("density, Agnesi, vectors, ZBL")
    cpu = AlchemicalMACE(lattice, model, device="cpu", positions=positions)
    gpu = AlchemicalMACE(lattice, model, device="cuda", dtype=dtype, positions=positions, memory=0)
    assert gpu.engine == "cuequivariance"
    tolerance = 1e-8 if dtype == "float64" else 1e-3
    for found, expected in zip(
        gpu.energy_and_gradient(occupations), cpu.energy_and_gradient(occupations), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    np.testing.assert_array_equal(gpu.energy(occupations), gpu.energy(occupations))
