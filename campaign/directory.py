"""The run directory: where its parts lie, how it comes into being, what ``run.toml`` records."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from pydantic import ValidationError

from ..analysis.layout import layout
from ..errors import AlchemcError, StoredRunError
from ..lattice import Lattice
from ..protocols import Ensemble
from . import checkpoint, files
from .build import Crystal
from .checkpoint import Checkpoint
from .config import Config
from .lock import run_lock
from .points import coordinates_of_points, ensemble_of_point

__all__ = ["FORMAT", "Record", "RunDirectory"]

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """What a run was started with.

    ``config`` has every default and the seed written out; ``model`` describes the energy model
    (with its sha256), ``commit_draws`` is the number of draws per commit and chunk.
    """

    config: Config
    crystal: Crystal
    commit_draws: int
    model: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""

    @cached_property
    def points(self) -> tuple[dict[str, float], ...]:
        """Scalar coordinates of every thermodynamic point, in the order of the visits."""
        return coordinates_of_points(self.config, self.crystal.lattice)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the points for people, in the same order."""
        return layout(self.points).labels

    def ensemble(self, point: int) -> Ensemble:
        """Ensemble of a point."""
        return ensemble_of_point(self.config, self.crystal.lattice, point)


class RunDirectory:
    """Names and files of one stored run.

    Parameters
    ----------
    path
        The directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.run_file = self.path / "run.toml"
        self.structure_file = self.path / "structure.json"
        self.samples = self.path / "samples.zarr"
        self.checkpoints = self.path / "checkpoint"
        self.events = self.path / "events.jsonl"

    @contextmanager
    def create(self, record: Record, first: Checkpoint) -> Iterator[None]:
        """Bring the directory into being, complete, and hold it for writing.

        It is prepared under a hidden name beside its own and renamed, so that it either does not
        exist or can be resumed.

        Raises
        ------
        StoredRunError
            If something is there already.
        """
        self.check_free()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = RunDirectory(self.path.with_name(f".{self.path.name}.creating"))
        files.make_directory(draft.path)
        with run_lock(draft.path):
            draft.write(record, first)
            self.check_free()
            files.rename(draft.path, self.path)
            files.fsync(self.path.parent)
            yield

    def check_free(self) -> None:
        """Refuse a place where something is already.

        Raises
        ------
        StoredRunError
            If the path is a file or a directory that is not empty.
        """
        if self.path.name in {"", ".."}:
            raise StoredRunError(
                f"'{self.path}' cannot become a run directory; name a directory to be made"
            )
        if self.path.is_dir() and not any(self.path.iterdir()):
            return
        if self.run_file.exists():
            raise StoredRunError(
                f"{self.path} holds a run already and is not overwritten; continue it with "
                f"`alchemc resume {self.path}`, or choose another --output"
            )
        if self.path.exists() or self.path.is_symlink():
            raise StoredRunError(
                f"{self.path} exists already and is not overwritten; choose another --output"
            )

    def write(self, record: Record, first: Checkpoint) -> None:
        """Write the files that never change, and the first checkpoint."""
        structure = json.dumps(
            {
                "lattice": record.crystal.lattice.to_dict(),
                "positions": record.crystal.positions.tolist(),
            }
        ).encode()
        files.make_directory(self.checkpoints)
        files.replace_atomically(self.structure_file, structure)
        checkpoint.save(self.checkpoints, first)
        files.replace_atomically(self.run_file, _run_toml(record, structure))
        files.fsync(self.path)

    def read(self) -> Record:
        """Read what the run was started with.

        Raises
        ------
        StoredRunError
            If there is no run, or it is damaged or of another format.
        """
        content = self._read_run_file()
        try:
            return Record(
                config=Config.model_validate(content["campaign"]),
                crystal=_read_crystal(self.structure_file, content["structure_sha256"]),
                commit_draws=content["layout"]["commit_draws"],
                model=content["model"],
                versions=content["versions"],
                machine=content["machine"],
                created=content["created"],
            )
        except (OSError, KeyError, TypeError, ValueError, ValidationError, AlchemcError) as error:
            raise self.damaged(_first_line(error)) from error

    def _read_run_file(self) -> dict[str, Any]:
        if not self.path.is_dir():
            raise StoredRunError(
                f"no run directory {self.path}; start one with `alchemc run CAMPAIGN.toml "
                f"--output {self.path}`"
            )
        try:
            content = tomllib.loads(self.run_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoredRunError(
                f"{self.path} is no run directory: it has no run.toml; give a directory that "
                "`alchemc run` has made"
            ) from None
        except (OSError, ValueError) as error:
            raise self.damaged(f"run.toml cannot be read ({_first_line(error)})") from error
        if content.get("format") != FORMAT:
            raise StoredRunError(
                f"{self.run_file} has format {content.get('format')!r}, this version reads "
                f"{FORMAT}: use the version of alchemc that wrote it"
            )
        return content

    def damaged(self, what: str) -> StoredRunError:
        """Error for a directory that does not hold what it should."""
        return StoredRunError(
            f"run directory {self.path} is damaged: {what}; restore it from a copy, "
            "or start a new run in another directory"
        )


def _read_crystal(path: Path, sha256: str) -> Crystal:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path.name} was changed or cut")
    parts = json.loads(data)
    return Crystal(Lattice.from_dict(parts["lattice"]), np.array(parts["positions"]))


def _run_toml(record: Record, structure: bytes) -> bytes:
    """``run.toml``: the resolved campaign and all that its samples depend on."""
    content = {
        "format": FORMAT,
        "created": record.created,
        "structure_sha256": hashlib.sha256(structure).hexdigest(),
        "campaign": record.config.model_dump(exclude_none=True),
        "layout": {
            "commit_draws": record.commit_draws,
            "chains_per_batch": record.config.run.chains,
            "sites": record.crystal.lattice.n_sites,
        },
        "model": dict(record.model),
        "versions": dict(record.versions),
        "machine": dict(record.machine),
    }
    header = "# Written by alchemc. Change nothing here: a resumed run relies on it.\n"
    return (header + tomli_w.dumps(content)).encode()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
