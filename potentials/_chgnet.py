"""The one place that imports chgnet, and the loading of the weights inside its wheel.

Importing chgnet changes the environment and the warnings of the process, and building its model
prints and draws from torch's generator: all of that is put back.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ModelError
from ._mace import default_dtype
from .loading import LoadedModel, ModelInfo

__all__ = ["CHGNET_MODELS", "ChgnetModule", "import_chgnet", "load_chgnet"]

ChgnetModule = Any
"""A module of chgnet: torch types its attributes as ``Tensor | Module``, which they are not."""


class _Weights(NamedTuple):
    """A file of the wheel, its SHA-256, and the atomic numbers that its training never saw."""

    file: str
    sha256: str
    unseen: frozenset[int]


# MPtrj has 89 elements: none from polonium to radium; the r2SCAN set lacks ytterbium too.
CHGNET_MODELS = {
    "0.3.0": _Weights(
        "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
        "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
        frozenset(range(84, 89)),
    ),
    "r2scan": _Weights(
        "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
        "8eba3db0f35a2788bb3ae22885ad340591e27996f213c6643af522a633b50dad",
        frozenset([70, *range(84, 89)]),
    ),
}
_N_ELEMENTS = 94
_INSTALL = 'pip install "alchemc[chgnet]"'


def import_chgnet(name: str = "chgnet") -> Any:
    """Import a module of chgnet and leave environment and warnings as they were.

    Raises
    ------
    ModelError
        If the package is not installed.
    """
    try:
        with _undisturbed():
            return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(
            f"CHGNet needs the package chgnet, which cannot be imported ({error}); "
            f"install it with {_INSTALL}"
        ) from error


def load_chgnet(model: str = "0.3.0") -> LoadedModel:
    """Load the weights that come inside the chgnet package.

    Parameters
    ----------
    model
        ``"0.3.0"`` (PBE(+U), Materials Project trajectories) or ``"r2scan"``.

    Raises
    ------
    ModelError
        If the name is another, chgnet is not installed, or its file is not the known one.

    Notes
    -----
    Only a file whose SHA-256 is the known one is read, and as tensors and plain numbers alone:
    nothing in it can run code.
    """
    if model not in CHGNET_MODELS:
        known = ", ".join(repr(name) for name in CHGNET_MODELS)
        raise ModelError(f"CHGNet model {model!r} is not covered; choose one of {known}")
    import_chgnet()
    module = _build(model, _read(CHGNET_MODELS[model]))
    return LoadedModel(module, _describe(model, module))


def _read(weights: _Weights) -> bytes:
    path = Path(import_chgnet().__file__).parent / "pretrained" / weights.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); run {_INSTALL}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != weights.sha256:
        raise ModelError(
            f"{path} is not the file of chgnet 0.4.2 (SHA-256 {found[:12]}… for "
            f"{weights.sha256[:12]}…); run {_INSTALL} --force-reinstall"
        )
    return content


def _build(model: str, content: bytes) -> ChgnetModule:
    import torch  # noqa: PLC0415  (names and checksums are known without torch)

    chgnet = import_chgnet("chgnet.model.model")
    stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["model"]
    # The layers are made of random numbers before they are given their own; as in CHGNet.load,
    # newer versions have no bias in the output layers, which leaves atoms without bonds alone.
    with _undisturbed(), default_dtype("float32"), torch.random.fork_rng(devices=[]):
        module = chgnet.CHGNet.from_dict(stored, mlp_out_bias=False, version=model)
    return module.requires_grad_(False).eval()


def _describe(model: str, module: ChgnetModule) -> ModelInfo:
    from ase.data import chemical_symbols  # noqa: PLC0415

    weights = CHGNET_MODELS[model]
    numbers = [z for z in range(1, _N_ELEMENTS + 1) if z not in weights.unseen]
    return ModelInfo(
        name=f"CHGNet {model}",
        kind="chgnet",
        sha256=weights.sha256,
        elements=tuple(chemical_symbols[z] for z in numbers),
        r_max=float(module.graph_converter.atom_graph_cutoff),
        dtype=str(next(module.parameters()).dtype).removeprefix("torch."),
        licence="BSD-3-Clause-LBNL, with the chgnet package",
        heads=("Default",),
    )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Put back the environment and the warning filters, and print nothing."""
    before = dict(os.environ)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
