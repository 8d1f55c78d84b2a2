"""Finding MACE models: the bundled one, stored ones, pickled files and foundation models."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import warnings
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ModelError
from ._mace import import_mace

__all__ = ["LoadedModel", "ModelEntry", "ModelInfo", "list_models", "load_mace"]

_FOUNDATIONS = "mace.calculators.foundations_models"
_ACADEMIC = {"small-omat-0", "medium-omat-0", "mace-matpes-pbe-0", "mace-matpes-r2scan-0"}


@dataclass(frozen=True)
class ModelInfo:
    """What a run records about its model.

    ``sha256`` is that of ``model.safetensors`` or of the ``.model`` file; for a module in memory,
    of what ``save_mace`` would write. ``kind`` is "bundled", "stored", "file", "foundation" or
    "module"; ``elements`` are symbols, ``r_max`` is in Å.
    """

    name: str
    kind: str
    sha256: str
    elements: tuple[str, ...]
    r_max: float
    dtype: str
    licence: str
    heads: tuple[str, ...]


class LoadedModel(NamedTuple):
    """A module of mace-torch and what is known about it."""

    module: Any
    info: ModelInfo


@dataclass(frozen=True)
class ModelEntry:
    """One line of ``alchemc models``.

    ``elements`` are symbols, None where they are not known without loading the model;
    ``sha256`` is None where the model is not at hand.
    """

    name: str
    kind: str
    at_hand: bool
    elements: tuple[str, ...] | None
    licence: str
    sha256: str | None


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
        return _from_directory(_bundled_directory(), "bundled", "bundled")
    path = Path(model).expanduser()
    if path.is_file() and path.name in ("model.json", "model.safetensors"):
        path = path.parent
    if path.is_dir():
        return _from_directory(path, path.name or str(path), "stored")
    if path.is_file():
        return _from_pickle(path, trust)
    if str(model) in _foundation_names():
        return _from_foundation(str(model))
    raise ModelError(
        f"model {str(model)!r} is neither a file, a directory nor a known name; "
        "`alchemc models` lists the names"
    )


def list_models() -> list[ModelEntry]:
    """List the bundled model and the foundation models that mace-torch can fetch.

    Examples
    --------
    >>> [entry.name for entry in list_models()][:3]
    ['bundled', 'small', 'medium']
    """
    return [_bundled_entry(), *(_foundation_entry(name) for name in _foundation_names())]


# ---- ways to load ----------------------------------------------------------------------------


def _from_directory(directory: Path, name: str, kind: str) -> LoadedModel:
    from .storage import load_stored  # noqa: PLC0415

    module, document = load_stored(directory)
    card = document["card"]
    info = _describe(module, card.get("name", name), kind, document["sha256"])
    return LoadedModel(module, _with_licence(info, card.get("licence", "not stated")))


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
    return LoadedModel(module, _describe(module, path.name, "file", _file_sha256(path)))


def _from_foundation(name: str) -> LoadedModel:
    foundations = import_mace(_FOUNDATIONS)
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
    info = _describe(module, name, "foundation", _file_sha256(path))
    return LoadedModel(module, _with_licence(info, _foundation_licence(name)))


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


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bundled_directory() -> Path:
    directory = Path(str(files(__package__))) / "models" / "bundled"
    if not (directory / "model.json").is_file():
        raise ModelError(
            f"the bundled model is missing from {directory}; reinstall alchemc or give a model"
        )
    return directory


def _bundled_entry() -> ModelEntry:
    from ase.data import chemical_symbols  # noqa: PLC0415

    try:
        document = json.loads((_bundled_directory() / "model.json").read_text())
        numbers = document["config"]["atomic_numbers"]
        licence = document["card"].get("licence", "not stated")
    except (ModelError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return ModelEntry("bundled", "bundled", False, None, "not stated", None)
    symbols = tuple(chemical_symbols[z] for z in numbers)
    return ModelEntry("bundled", "bundled", True, symbols, licence, document["sha256"])


def _foundation_names() -> tuple[str, ...]:
    return tuple(import_mace(_FOUNDATIONS).mace_mp_urls)


def _foundation_licence(name: str) -> str:
    return "ASL (academic use)" if name in _ACADEMIC else "MIT, see ACEsuit/mace-foundations"


def _foundation_entry(name: str) -> ModelEntry:
    path = _foundation_path(name)
    at_hand = path.is_file()
    return ModelEntry(
        name=name,
        kind="foundation",
        at_hand=at_hand,
        elements=None,
        licence=_foundation_licence(name),
        sha256=_file_sha256(path) if at_hand else None,
    )


def _foundation_path(name: str) -> Path:
    """Where mace-torch keeps the file once it has it."""
    foundations = import_mace(_FOUNDATIONS)
    if name == "medium-mpa-0" and Path(foundations.local_model_path).is_file():
        return Path(foundations.local_model_path)
    base = foundations.mace_mp_urls[name].rpartition("/")[2]
    file = "".join(c for c in base if c.isalnum() or c == "_")
    return Path(foundations.get_cache_dir()) / file
