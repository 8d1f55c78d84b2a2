"""Finding MACE models: the bundled one, stored ones, pickled files and foundation models."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ModelError
from ._mace import import_mace
from .catalogue import (
    FOUNDATIONS,
    bundled_directory,
    file_sha256,
    foundation_licence,
    foundation_names,
)

__all__ = ["LoadedModel", "ModelInfo", "load_mace"]


@dataclass(frozen=True)
class ModelInfo:
    """What a run records about its model.

    ``sha256`` is that of ``model.safetensors`` or of the ``.model`` file; for a module in memory,
    of what ``save_mace`` would write. ``kind`` is "bundled", "stored", "file", "foundation" or
    "module"; ``elements`` are symbols, ``r_max`` is in Å. ``domain`` is what the model's card says
    of the energies and forces it was trained on, see `check_domain`.
    """

    name: str
    kind: str
    sha256: str
    elements: tuple[str, ...]
    r_max: float
    dtype: str
    licence: str
    heads: tuple[str, ...]
    domain: Mapping[str, Any] | None = dataclasses.field(default=None, compare=False, repr=False)


class LoadedModel(NamedTuple):
    """A module of mace-torch and what is known about it."""

    module: Any
    info: ModelInfo


def load_mace(model: Any = "bundled", trust: bool = False) -> LoadedModel:
    """Load a MACE model by name, from a path, or take a module as it is.

    Parameters
    ----------
    model
        ``"bundled"``; a directory written by ``save_mace`` (or a file in it); a pickled ``.model``
        file; the name of a MACE-MP foundation model, which mace-torch downloads; or a module.
    trust
        Allow a pickled file of the user's own, whose content can run code.

    Raises
    ------
    ModelError
        In one line with a remedy, whatever the reason.

    Examples
    --------
    >>> load_mace("no-such-model")
    Traceback (most recent call last):
    alchemc.errors.ModelError: model 'no-such-model' is neither a file, a directory nor a known \
name; `alchemc models` lists the names
    """
    import torch  # noqa: PLC0415  (listing models needs no torch)

    if isinstance(model, torch.nn.Module):
        return _from_module(model)
    if not isinstance(model, str | Path):
        raise ModelError(f"model is {model!r}; give a name, a path or a module of mace-torch")
    if model == "bundled":
        return _from_directory(bundled_directory(), "bundled", "bundled")
    path = Path(model).expanduser()
    if path.is_file() and path.name in ("model.json", "model.safetensors"):
        path = path.parent
    if path.is_dir():
        return _from_directory(path, path.name or str(path), "stored")
    if path.is_file():
        return _from_pickle(path, trust)
    if str(model) in foundation_names():
        return _from_foundation(str(model))
    raise ModelError(
        f"model {str(model)!r} is neither a file, a directory nor a known name; "
        "`alchemc models` lists the names"
    )


# ---- ways to load ----------------------------------------------------------------------------


def _from_directory(directory: Path, name: str, kind: str) -> LoadedModel:
    from .storage import load_stored  # noqa: PLC0415

    module, document = load_stored(directory)
    card = document["card"]
    info = _describe(module, card.get("name", name), kind, document["sha256"])
    info = _with_licence(info, card.get("licence", "not stated"))
    return LoadedModel(module, dataclasses.replace(info, domain=card.get("domain")))


def _from_module(module: Any) -> LoadedModel:
    from .coverage import check_covered  # noqa: PLC0415
    from .storage import content_sha256  # noqa: PLC0415

    check_covered(module)
    return LoadedModel(
        module, _describe(module, type(module).__name__, "module", content_sha256(module))
    )


def _from_pickle(path: Path, trust: bool) -> LoadedModel:
    if not trust:
        raise ModelError(
            f"{path} is a pickled file and loading it can run any code; "
            "if you trust its source, set trust = true"
        )
    module = _unpickle(path)
    return LoadedModel(module, _describe(module, path.name, "file", file_sha256(path)))


def _from_foundation(name: str) -> LoadedModel:
    foundations = import_mace(FOUNDATIONS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            path = Path(foundations.download_mace_mp_checkpoint(name))
    except (OSError, RuntimeError, ValueError) as error:
        url = foundations.mace_mp_urls[name]
        raise ModelError(
            f"foundation model {name!r} cannot be downloaded ({error}); fetch {url} elsewhere and "
            'give its path with trust = true, or use model = "bundled"'
        ) from error
    module = _unpickle(path)
    info = _describe(module, name, "foundation", file_sha256(path))
    return LoadedModel(module, _with_licence(info, foundation_licence(name)))


def _unpickle(path: Path) -> Any:
    import torch  # noqa: PLC0415

    import_mace()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A pickled module is code; the caller has said that it is trusted.
            module = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path} cannot be read as a mace-torch model ({type(error).__name__}: {reason}); "
            "give a .model file written by mace-torch"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"{path} holds a {type(module).__name__}, not a model; "
            "give a .model file written by mace-torch"
        )
    return module


# ---- descriptions ----------------------------------------------------------------------------


def _describe(module: Any, name: str, kind: str, sha256: str) -> ModelInfo:
    from ase.data import chemical_symbols  # noqa: PLC0415

    from .coverage import check_covered  # noqa: PLC0415

    check_covered(module)
    return ModelInfo(
        name=name,
        kind=kind,
        sha256=sha256,
        elements=tuple(chemical_symbols[int(z)] for z in module.atomic_numbers),
        r_max=float(module.r_max),
        dtype=str(next(module.parameters()).dtype).removeprefix("torch."),
        licence="not stated",
        heads=tuple(getattr(module, "heads", None) or ["Default"]),
    )


def _with_licence(info: ModelInfo, licence: str) -> ModelInfo:
    return dataclasses.replace(info, licence=licence)
