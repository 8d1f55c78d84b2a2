"""MACE models as plain arrays and a JSON configuration, rebuilt in code: nothing is pickled.

A stored model is a directory with ``model.safetensors`` (every parameter and buffer) and
``model.json`` (constructor options, the few numbers that are neither, and a free-form card). The
configuration also stands in the header of the safetensors file, whose sha256 therefore names the
model completely.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, ModelError
from ._mace import default_dtype, import_mace
from ._model_config import build_model, constants_of, model_config

__all__ = ["CONFIG_FILE", "TENSOR_FILE", "content_sha256", "load_stored", "save_mace"]

FORMAT = "alchemc-mace"
FORMAT_VERSION = 1
TENSOR_FILE = "model.safetensors"
CONFIG_FILE = "model.json"
_HEADER = "alchemc"
_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


def save_mace(
    model: torch.nn.Module, directory: str | Path, card: Mapping[str, Any] | None = None
) -> str:
    """Write a MACE model as arrays and JSON, and check that it reads back bit for bit.

    Parameters
    ----------
    model
        A ``MACE`` or ``ScaleShiftMACE`` of mace-torch, on any device.
    directory
        Created if it does not exist; ``model.safetensors`` and ``model.json`` in it are replaced.
    card
        Facts about the model for its users, anything JSON can hold; ``name`` and ``licence`` are
        shown by ``alchemc models``.

    Returns
    -------
    str
        sha256 of ``model.safetensors``.

    Raises
    ------
    ModelError
        If the model has options that the stored form does not cover, or the directory cannot be
        written.
    InputError
        If JSON cannot hold the card.

    Examples
    --------
    >>> import tempfile
    >>> from alchemc.potentials import load_mace, save_mace
    >>> module, info = load_mace("bundled")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_mace(module, directory, {"name": "a copy"}) == info.sha256
    True
    """
    directory = Path(directory)
    facts = _card(card)
    description = _describe(model)
    data = _serialize(model, description)
    _check_round_trip(model, description)
    digest = hashlib.sha256(data).hexdigest()
    document = {**description, "sha256": digest, "card": facts}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _replace(directory / TENSOR_FILE, data)
        _replace(directory / CONFIG_FILE, (json.dumps(document, indent=1) + "\n").encode())
    except OSError as error:
        raise ModelError(
            f"cannot write the model to {directory} ({error.strerror}); give another directory"
        ) from error
    return digest


def _card(card: Mapping[str, Any] | None) -> dict[str, Any]:
    """Copy of the card, before anything is written, if JSON can hold it."""
    facts = {} if card is None else card
    if not isinstance(facts, Mapping):
        raise InputError(f"card is a {type(card).__name__}; give a mapping of facts")
    try:
        return dict(json.loads(json.dumps(dict(facts))))
    except (TypeError, ValueError) as error:
        raise InputError(f"JSON cannot hold the card ({error}); give plain values") from None


def load_stored(directory: str | Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Rebuild a model written by :func:`save_mace`.

    Returns
    -------
    model
        On the CPU, in the dtype it was stored in, in evaluation mode.
    document
        Content of ``model.json``.

    Raises
    ------
    ModelError
        If a file is missing, damaged, of another format, or does not fit the installed mace-torch.
    """
    directory = Path(directory)
    document = _read_document(directory / CONFIG_FILE)
    data = _read_bytes(directory / TENSOR_FILE)
    if hashlib.sha256(data).hexdigest() != document["sha256"]:
        raise ModelError(
            f"{directory / TENSOR_FILE} is damaged: its sha256 is not the one in {CONFIG_FILE};"
            " restore both files from their source"
        )
    tensors = _parse_tensors(data, document, directory)
    return _restore(document, tensors, str(directory)), document


def content_sha256(model: torch.nn.Module) -> str:
    """sha256 that names a model in memory: the one :func:`save_mace` would return.

    For a model outside the stored form it is taken over the names and bytes of its state.
    """
    try:
        return hashlib.sha256(_serialize(model, _describe(model))).hexdigest()
    except ModelError:
        digest = hashlib.sha256()
        for name, value in sorted(_tensors(model).items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.numpy().tobytes())
        return digest.hexdigest()


def _describe(model: torch.nn.Module) -> dict[str, Any]:
    dtype = next(model.parameters()).dtype
    if dtype not in _DTYPES:
        raise ModelError(f"model has parameters of {dtype}; float32 or float64 was expected")
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "mace_torch": import_mace("mace").__version__,
        "dtype": _DTYPES[dtype],
        "config": model_config(model),
        "constants": constants_of(model),
    }


def _header(description: Mapping[str, Any]) -> str:
    kept = ("format", "format_version", "dtype", "config", "constants")
    return json.dumps({key: description[key] for key in kept}, sort_keys=True)


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
    }


def _serialize(model: torch.nn.Module, description: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save  # noqa: PLC0415

    return save(_tensors(model), metadata={_HEADER: _header(description)})


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def _check_round_trip(model: torch.nn.Module, description: Mapping[str, Any]) -> None:
    restored = _restore(description, _tensors(model), "the model")
    before, after = _tensors(model), _tensors(restored)
    for name, value in before.items():
        same = value.dtype == after[name].dtype and torch.equal(value, after[name])
        if not same:
            raise ModelError(f"{name} of the model does not survive storage; report this model")


def _restore(
    description: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], origin: str
) -> torch.nn.Module:
    with (
        warnings.catch_warnings(),
        default_dtype(description["dtype"]),
        torch.random.fork_rng(devices=[]),
    ):
        warnings.simplefilter("ignore")
        model = build_model(description["config"])
    try:
        model.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"arrays of {origin} do not fit the model of mace-torch "
            f"{import_mace('mace').__version__}: {reason}"
        ) from error
    _set_constants(model, description["constants"], origin)
    return model.eval()


def _set_constants(model: torch.nn.Module, constants: Mapping[str, Any], origin: str) -> None:
    """Put back the numbers e3nn computes at construction, so that they never drift."""
    found = constants_of(model)
    if found.keys() != constants.keys():
        odd = sorted(found.keys() ^ constants.keys())[0]
        raise ModelError(f"{odd} of {origin} does not fit the installed mace-torch or e3nn")
    for path, value in constants.items():
        owner, _, name = path.rpartition(".")
        setattr(model.get_submodule(owner), name, value)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path} of the stored model: {error.strerror}") from error


def _read_document(path: Path) -> dict[str, Any]:
    needed = {"format", "format_version", "dtype", "config", "constants", "sha256", "card"}
    try:
        document = json.loads(_read_bytes(path))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON ({error}); restore it from its source") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelError(f"{path} does not describe a model stored by alchemc.potentials.save_mace")
    if document.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"{path} has format version {document.get('format_version')!r}; this alchemc reads "
            f"{FORMAT_VERSION}: update alchemc or save the model again"
        )
    if missing := sorted(needed - document.keys()):
        raise ModelError(f"{path} lacks {missing[0]!r}; restore it from its source")
    if not isinstance(document["card"], dict):
        raise ModelError(f"{path} has a card that holds no facts; restore it from its source")
    if document["dtype"] not in _DTYPES.values():
        raise ModelError(f"{path} has dtype {document['dtype']!r}; float32 or float64 was expected")
    return document


def _parse_tensors(
    data: bytes, document: Mapping[str, Any], directory: Path
) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length]).get("__metadata__", {}).get(_HEADER)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{directory / TENSOR_FILE} is not a safetensors file: {error}") from error
    if header != _header(document):
        raise ModelError(
            f"{CONFIG_FILE} and {TENSOR_FILE} in {directory} do not belong together;"
            " restore both from their source"
        )
    return tensors
