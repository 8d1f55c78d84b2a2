"""NVIDIA's cuEquivariance kernels for a MACE model on a GPU, where they are installed.

The conversion is mace-torch's own, without fused convolutions: those add messages with atomic
operations, in an order that changes from one evaluation to the next, and so would the energy. λ
enters as before, through the ``cutoff`` argument that multiplies the radial weights, in which the
converted tensor product is linear too.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings

import numpy as np
import torch

from ..errors import ModelError
from ._mace import MaceModule, default_dtype, fixed_execution, import_mace

__all__ = ["accelerated", "available", "convert"]

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Of energies, gradients and Hessian products, relative where they are above 1 eV. Conversion
changes them by 1e-13 in float64, and by 1e-7 for models that were stored in float32."""
_REMEDY = (
    'give AlchemicalMACE engine="torch", or uninstall cuequivariance-ops-torch-cu12, to do without'
)
_SPACING = 4.0


def available() -> bool:
    """Whether the kernels and their binding to torch are installed."""
    packages = ("cuequivariance_torch", "cuequivariance_ops_torch")
    return all(importlib.util.find_spec(name) is not None for name in packages)


def accelerated(model: MaceModule, head: int) -> MaceModule | None:
    """Return a model on a GPU with cuEquivariance kernels; None where it stays as it is.

    It stays on other devices, where the kernels are not installed, and where mace-torch cannot
    convert it (orders of correlation that differ between layers, Gaussian radial functions).

    Raises
    ------
    ModelError
        If the converted model gives other energies or derivatives.
    """
    if next(model.parameters()).device.type != "cuda" or not available():
        return None
    converted = convert(model)
    if converted is not None:
        check_same(model, converted, head)
    return converted


def convert(model: MaceModule) -> MaceModule | None:
    """Frozen copy of a model with cuEquivariance's layers, on its device; None if there is none."""
    first = next(model.parameters())
    conversion = import_mace("mace.cli.convert_e3nn_cueq")
    try:
        with (
            warnings.catch_warnings(),
            default_dtype(str(first.dtype).removeprefix("torch.")),
            torch.random.fork_rng(devices=[]),
        ):
            warnings.simplefilter("ignore")
            # On "cuda" mace-torch would fuse the convolutions.
            found = conversion.run(copy.deepcopy(model).cpu(), device="cpu")
    except (AttributeError, KeyError, NotImplementedError, RuntimeError):
        return None
    if any(hasattr(block, "conv_fusion") for block in found.interactions):
        return None
    return found.requires_grad_(False).eval().to(first.device)


def check_same(model: MaceModule, converted: MaceModule, head: int) -> None:
    """Compare energy, gradient and a Hessian product on a few atoms of the model's elements.

    Raises
    ------
    ModelError
        If they differ by more than rounding, or the kernels fail.
    """
    before = _probe(model, head)
    try:
        after = _probe(converted, head)
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"cuEquivariance fails on this model ({reason}); {_REMEDY}") from error
    tolerance = _TOLERANCE[next(model.parameters()).dtype]
    change = float((np.abs(after - before) / np.maximum(1.0, np.abs(before))).max())
    if not change <= tolerance:
        raise ModelError(
            f"cuEquivariance changes this model's energies or derivatives by {change:.1e}; "
            f"{_REMEDY}"
        )


def _probe(model: MaceModule, head: int) -> np.ndarray:
    """Energy, ∂E/∂λ and a Hessian product at interior λ of two elements on a displaced lattice."""
    from .bound_graph import BoundGraph  # noqa: PLC0415
    from .graph import Nodes  # noqa: PLC0415
    from .network import Network  # noqa: PLC0415

    n_elements, n_atoms = len(model.atomic_numbers), 4
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]]) * _SPACING / 2
    atom = np.repeat(np.arange(n_atoms), 2)
    nodes = Nodes(
        n_atoms=n_atoms,
        atom=atom,
        element=np.arange(2 * n_atoms) % n_elements,
        site=atom,
        species=np.tile([0, 1], n_atoms),
    )
    graph = BoundGraph(
        Network(model, head),
        nodes,
        corners + rng.normal(scale=0.1, size=corners.shape),
        _SPACING * np.eye(3),
        pbc=np.ones(3, dtype=bool),
        r_max=float(model.r_max),
    )
    weights, direction = rng.uniform(0.2, 0.8, 2 * n_atoms), rng.normal(size=2 * n_atoms)
    on_gpu = next(model.parameters()).device.type != "cpu"
    with fixed_execution(on_gpu=on_gpu):
        found = graph.with_gradient(weights)
        product = graph.hessian_product(weights, direction)
    return np.concatenate([[found.energy], found.gradient, product])
