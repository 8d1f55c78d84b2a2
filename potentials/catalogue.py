"""Which models can be named, without loading any: at hand or not, licence, elements, checksum."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from ..errors import ModelError
from ._mace import import_mace

__all__ = [
    "ModelEntry",
    "bundled_directory",
    "element_ranges",
    "file_sha256",
    "foundation_licence",
    "foundation_names",
    "list_models",
]

FOUNDATIONS = "mace.calculators.foundations_models"
_NUMBERS = (*range(1, 84), *range(89, 95))
"""The 89 elements of MPtrj, and so of CHGNet and of every MACE model here: all up to Pu but Po, At,
Rn, Fr and Ra (Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3;
Batatia et al., arXiv:2401.00096). The file itself decides when it is loaded."""
_CHGNET_DATA = {"0.3.0": "MPtrj (PBE+U)", "r2scan": "MPtrj, MP-r2SCAN (r2SCAN)"}
_LBNL = "BSD-3-Clause-LBNL"
_ASL = "ASL (academic use only)"
_FAMILIES = {  # name begins with: trained on, licence; github.com/ACEsuit/mace-foundations
    "medium-mpa-0": ("MPtrj, sAlex (PBE+U)", "MIT"),
    "small-omat-0": ("OMat24 (PBE+U)", _ASL),
    "medium-omat-0": ("OMat24 (PBE+U)", _ASL),
    "mace-matpes-pbe": ("OMat24, MatPES (PBE)", _ASL),
    "mace-matpes-r2scan": ("OMat24, MatPES (r2SCAN)", _ASL),
    "mh-": ("OMat24, OMol25, OC20, MatPES", _ASL),
    "small": ("MPtrj (PBE+U)", "MIT"),
    "medium": ("MPtrj (PBE+U)", "MIT"),
    "large": ("MPtrj (PBE+U)", "MIT"),
}
_UNKNOWN = ("not stated", "not stated; see github.com/ACEsuit/mace-foundations")


@dataclass(frozen=True)
class ModelEntry:
    """One line of ``alchemc models``.

    ``potential`` and ``name`` are what a campaign gives as ``potential.kind`` and
    ``potential.model``. ``kind`` is "bundled", "wheel" (comes with another package) or
    "foundation" (fetched by mace-torch); ``elements`` are symbols, None where they are not known
    without loading the model; ``sha256`` is that of the file, None where it is not at hand.
    """

    name: str
    potential: str
    kind: str
    at_hand: bool
    elements: tuple[str, ...] | None
    trained_on: str
    licence: str
    sha256: str | None


def list_models() -> list[ModelEntry]:
    """List the bundled model, CHGNet, and the foundation models that mace-torch can fetch.

    Examples
    --------
    >>> [(entry.potential, entry.name) for entry in list_models()][:3]
    [('mace', 'bundled'), ('chgnet', '0.3.0'), ('chgnet', 'r2scan')]
    """
    return [_bundled(), *_chgnet(), *(_foundation(name) for name in foundation_names())]


def element_ranges(symbols: Iterable[str]) -> str:
    """Symbols in the order of the periodic table, three or more in a row as a range.

    Examples
    --------
    >>> element_ranges(["O", "Ti", "Mg", "Sc", "V"])
    'O Mg Sc–V'
    """
    from ase.data import atomic_numbers, chemical_symbols  # noqa: PLC0415

    numbers = sorted(atomic_numbers[symbol] for symbol in symbols)
    parts: list[str] = []
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        names = [chemical_symbols[z] for _, z in run]
        parts += [f"{names[0]}–{names[-1]}"] if len(names) > 2 else names
    return " ".join(parts)


def file_sha256(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- the bundled model -----------------------------------------------------------------------


def bundled_directory() -> Path:
    """Folder of the bundled model.

    Raises
    ------
    ModelError
        If it is not there.
    """
    directory = Path(str(files(__package__))) / "models" / "bundled"
    if not (directory / "model.json").is_file():
        raise ModelError(
            f"the bundled model is missing from {directory}; reinstall alchemc or give a model"
        )
    return directory


def _bundled() -> ModelEntry:
    try:
        document = json.loads((bundled_directory() / "model.json").read_text())
        symbols = _symbols(document["config"]["atomic_numbers"])
        card, sha256 = document["card"], document["sha256"]
        licence, teacher = card.get("licence", "not stated"), card.get("teacher", "not stated")
    except (ModelError, OSError, ValueError, KeyError, TypeError, AttributeError):
        blank = ("not stated", "not stated")
        return ModelEntry("bundled", "mace", "bundled", False, None, *blank, None)
    return ModelEntry("bundled", "mace", "bundled", True, symbols, teacher, licence, sha256)


# ---- CHGNet ----------------------------------------------------------------------------------


def _chgnet() -> list[ModelEntry]:
    """CHGNet, by what lies in its package's folder: importing it would take torch and seconds."""
    from ._chgnet import CHGNET_MODELS  # noqa: PLC0415  (imports this module)

    found = importlib.util.find_spec("chgnet")
    places = (found.submodule_search_locations if found else None) or []
    entries = []
    for name, weights in CHGNET_MODELS.items():
        paths = [Path(place, "pretrained", weights.file) for place in places]
        files = [path for path in paths if path.is_file()]
        seen = (z for z in _NUMBERS if z not in weights.unseen)
        entries.append(
            ModelEntry(
                name=name,
                potential="chgnet",
                kind="wheel",
                at_hand=bool(files),
                elements=_symbols(seen),
                trained_on=_CHGNET_DATA.get(name, _UNKNOWN[0]),
                licence=_LBNL,
                sha256=file_sha256(files[0]) if files else None,
            )
        )
    return entries


# ---- foundation models of MACE ---------------------------------------------------------------


def foundation_names() -> tuple[str, ...]:
    """Names of the models that mace-torch fetches for crystals."""
    return tuple(import_mace(FOUNDATIONS).mace_mp_urls)


def foundation_licence(name: str) -> str:
    """Licence of a foundation model, as its authors state it."""
    return _family(name)[1]


def _family(name: str) -> tuple[str, str]:
    return next((facts for start, facts in _FAMILIES.items() if name.startswith(start)), _UNKNOWN)


def _foundation(name: str) -> ModelEntry:
    path = _foundation_path(name)
    at_hand = path.is_file()
    trained_on, licence = _family(name)
    return ModelEntry(
        name=name,
        potential="mace",
        kind="foundation",
        at_hand=at_hand,
        elements=None if (trained_on, licence) == _UNKNOWN else _symbols(_NUMBERS),
        trained_on=trained_on,
        licence=licence,
        sha256=file_sha256(path) if at_hand else None,
    )


def _foundation_path(name: str) -> Path:
    """Where mace-torch keeps the file once it has it."""
    foundations = import_mace(FOUNDATIONS)
    if name == "medium-mpa-0" and Path(foundations.local_model_path).is_file():
        return Path(foundations.local_model_path)
    base = foundations.mace_mp_urls[name].rpartition("/")[2]
    file = "".join(c for c in base if c.isalnum() or c == "_")
    return Path(foundations.get_cache_dir()) / file


def _symbols(numbers: Iterable[int]) -> tuple[str, ...]:
    from ase.data import chemical_symbols  # noqa: PLC0415

    return tuple(chemical_symbols[z] for z in numbers)
