"""Checkpoints: everything a run needs to go on to the same samples, two generations deep.

A generation is ``NNNNNNNN.npz`` (arrays) and ``NNNNNNNN.json`` (counts, generator states, digests);
the JSON file is renamed last and makes the generation valid. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoredRunError
from . import files

__all__ = ["Checkpoint", "load", "load_progress", "save"]

GENERATIONS = 2


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands.

    ``point`` is the index of the thermodynamic point being worked on and ``phase`` one of
    ``"warmup"``, ``"sampling"`` and ``"finished"``. ``committed`` holds the stored draws of every
    point begun so far and ``ended_by`` why each completed one ended (``"draws"`` or
    ``"precision"``). ``arrays`` holds the chains' state, the tuned kernel and the draws that do
    not fill a chunk yet.
    """

    point: int
    phase: str
    warmup_steps: int
    committed: tuple[int, ...]
    ended_by: tuple[str, ...]
    generators: tuple[Mapping[str, Any], ...]
    kernel: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    generation: int = 0


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, allow_nan=True).encode()


def _encode(checkpoint: Checkpoint) -> tuple[bytes, bytes]:
    """Content of the npz and of the JSON file."""
    stream = io.BytesIO()
    np.savez(stream, **checkpoint.arrays)  # type: ignore[arg-type]
    arrays = stream.getvalue()
    body = asdict(replace(checkpoint, arrays={}))
    del body["arrays"]
    body["arrays_sha256"] = _digest(arrays)
    text = json.dumps({"body": body, "sha256": _digest(_canonical(body))}, sort_keys=True, indent=1)
    return arrays, text.encode()


def save(directory: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Store the next generation, remove the one before the last, return what was stored."""
    checkpoint = replace(checkpoint, generation=checkpoint.generation + 1)
    arrays, text = _encode(checkpoint)
    stem = directory / f"{checkpoint.generation:08d}"
    files.replace_atomically(stem.with_suffix(".npz"), arrays)
    files.fsync(directory)
    files.replace_atomically(stem.with_suffix(".json"), text)
    files.fsync(directory)
    _remove_old(directory, checkpoint.generation - GENERATIONS)
    return checkpoint


def _remove_old(directory: Path, newest_to_remove: int) -> None:
    for path in sorted(directory.iterdir()):
        stem = path.name.split(".")[0]
        if stem.isdigit() and int(stem) <= newest_to_remove:
            files.remove(path)


def _read_body(path: Path) -> dict[str, Any] | None:
    """Body of an intact JSON file, or None."""
    try:
        content = json.loads(path.read_bytes())
        body = content["body"]
        intact = content["sha256"] == _digest(_canonical(body))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return body if intact else None


def _read_arrays(path: Path, sha256: str) -> dict[str, np.ndarray] | None:
    """Arrays of an intact npz file, or None."""
    try:
        data = path.read_bytes()
        if _digest(data) != sha256:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def _generations(directory: Path) -> list[Path]:
    """JSON files, newest first."""
    return sorted(
        (path for path in directory.glob("*.json") if path.stem.isdigit()),
        key=lambda path: int(path.stem),
        reverse=True,
    )


def _to_checkpoint(body: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Checkpoint:
    body = {key: value for key, value in body.items() if key != "arrays_sha256"}
    for key in ("committed", "ended_by", "generators"):
        body[key] = tuple(body[key])
    return Checkpoint(**body, arrays=arrays)


def load(directory: Path) -> Checkpoint:
    """Read the newest intact generation, with its arrays.

    Raises
    ------
    StoredRunError
        If no generation is intact.
    """
    for path in _generations(directory):
        body = _read_body(path)
        if body is None:
            continue
        arrays = _read_arrays(path.with_suffix(".npz"), body["arrays_sha256"])
        if arrays is not None:
            return _to_checkpoint(body, arrays)
    raise _damaged(directory)


def load_progress(directory: Path) -> Checkpoint:
    """Read the newest generation without its arrays: all that a reader needs.

    Raises
    ------
    StoredRunError
        If no generation is intact.
    """
    for _attempt in range(3):  # a writer may remove the generation that was just listed
        for path in _generations(directory):
            body = _read_body(path)
            if body is not None:
                return _to_checkpoint(body, {})
    raise _damaged(directory)


def _damaged(directory: Path) -> StoredRunError:
    return StoredRunError(
        f"{directory} holds no intact checkpoint; the run cannot be read or resumed: "
        "restore the directory from a copy, or start a new run in another directory"
    )
