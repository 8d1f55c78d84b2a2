"""``samples.zarr``: the stored draws, one group per thermodynamic point.

Arrays have room for all draws asked for; what is not written yet reads as fill values. A commit is
gathered in memory and then written chunks first, metadata after, everything synced. It counts only
once the checkpoint that names it is in place, so readers never see half of it.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
import zarr.core.sync
from zarr.abc.store import ByteRequest
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from ..errors import StoredRunError
from ..records import OPTIONAL_VARIABLES, UNWRITTEN, VARIABLES, coordinate_attributes
from . import files

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["SampleWriter", "group_name", "open_point"]

_METADATA = "zarr.json"


def group_name(point: int) -> str:
    """Group of a thermodynamic point.

    Examples
    --------
    >>> group_name(3)
    'point-003'
    """
    return f"point-{point:03d}"


def _end_zarr_thread() -> None:
    """Let zarr's thread end before zarr closes its loop: on a busy machine its own wait is short.

    Without this the interpreter's exit may print a traceback of zarr's.
    """
    thread, loop = zarr.core.sync.iothread[0], zarr.core.sync.loop[0]
    if thread is not None and loop is not None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=60)


atexit.register(_end_zarr_thread)


class CommitStore(LocalStore):
    """A directory store that holds back what is set until ``flush``.

    The order of writing is then ours, and every write is one operation of ``campaign.files``.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.pending: dict[str, Buffer] = {}

    async def _open(self, **_: Any) -> None:
        """Open without creating the directory: ``flush`` does that."""
        self._is_open = True

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Value of a key, the pending one first (whole: chunks are not sharded)."""
        if key in self.pending and byte_range is None:
            return self.pending[key]
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Buffer) -> None:
        """Hold a value for the next ``flush``."""
        self.pending[key] = value

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Hold a value unless the key has one."""
        if not await self.exists(key):
            self.pending[key] = value

    async def exists(self, key: str) -> bool:
        """Whether a key has a value, pending or on disk."""
        return key in self.pending or await super().exists(key)

    async def delete(self, key: str) -> None:
        """Refuse: nothing that was committed is removed."""
        raise PermissionError(f"{key} is committed and stays")

    async def delete_dir(self, prefix: str) -> None:
        """Refuse: nothing that was committed is removed."""
        raise PermissionError(f"{prefix} is committed and stays")

    def flush(self) -> None:
        """Write and sync all pending values: chunks, then metadata, the outermost last."""
        by_depth = sorted(self.pending, key=lambda key: (key.endswith(_METADATA), -len(key), key))
        directories: dict[Path, None] = {}
        beside = files.temporary_name(self.root)  # outside: readers list what is inside
        for key in by_depth:
            path = self.root / key
            self._make_parents(path.parent, directories)
            files.replace_atomically(path, self.pending[key].to_bytes(), beside)
            directories[path.parent] = None
        for directory in directories:
            files.fsync(directory)
        self.pending.clear()

    def _make_parents(self, directory: Path, changed: dict[Path, None]) -> None:
        if directory.exists():
            return
        self._make_parents(directory.parent, changed)
        files.make_directory(directory)
        changed[directory.parent] = None


class SampleWriter:
    """Appends draws to ``samples.zarr``.

    Parameters
    ----------
    path
        The ``samples.zarr`` directory.
    points
        Scalar coordinates of every thermodynamic point.
    sizes
        ``draw`` (the most there can be), ``chain`` and ``site``; other dims are those of the first
        block.
    commit_draws
        Draws per commit, and so per chunk.
    """

    def __init__(
        self,
        path: Path,
        points: tuple[Mapping[str, float], ...],
        sizes: Mapping[str, int],
        commit_draws: int,
    ) -> None:
        self._store = CommitStore(path)
        self._points = points
        self._sizes = dict(sizes)
        self._commit_draws = commit_draws
        self._groups: dict[int, zarr.Group] = {}

    def append(self, point: int, first: int, block: Mapping[str, np.ndarray]) -> None:
        """Write the draws ``first`` … of a point, as whole chunks.

        Draws beyond ``first`` that a killed process left behind are the same draws: they are
        written again. The group's attribute ``committed_draws`` tells other programs how many
        there are; readers of ours go by the checkpoint.
        """
        end = first + len(block["energy"])
        with zarr.config.set({"array.write_empty_chunks": True}):
            group = self._group(point, block)
            for name, values in block.items():
                _array(group, name)[first:end] = values
            group.attrs["committed_draws"] = end
        self._store.flush()

    def _group(self, point: int, block: Mapping[str, np.ndarray]) -> zarr.Group:
        """Group of a point, made for the variables of a block if it is not there."""
        if point not in self._groups:
            root = zarr.open_group(self._store, mode="a", zarr_format=3)
            group = root.require_group(group_name(point))
            for name, value in self._points[point].items():
                if name not in group:
                    attributes = coordinate_attributes(name) or {}
                    _create(group, name, (), "float64", attributes=attributes)
                    _array(group, name)[...] = value
            for name in [*VARIABLES, *(name for name in block if name not in VARIABLES)]:
                if name not in group:
                    self._create_variable(group, point, name, block[name].shape)
            group.attrs["variables"] = list(block)
            self._groups[point] = group
        return self._groups[point]

    def _create_variable(
        self, group: zarr.Group, point: int, name: str, shape_of_block: tuple[int, ...]
    ) -> None:
        dims, dtype, attributes = (VARIABLES | OPTIONAL_VARIABLES)[name]
        sizes = dict(zip(dims, shape_of_block, strict=True)) | self._sizes
        shape = tuple(sizes[dim] for dim in dims)
        _create(
            group,
            name,
            shape,
            dtype,
            chunks=(self._commit_draws, *shape[1:]),
            attributes=attributes | {"coordinates": " ".join(self._points[point])},
            dimension_names=dims,
        )


def _array(group: zarr.Group, name: str) -> zarr.Array:
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise StoredRunError(f"stored samples are damaged: {group.path}/{name} is no array")
    return found


def _create(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: str, **options: Any
) -> None:
    """Create an array that xarray reads; fill values mark draws that were never written."""
    kind = np.dtype(dtype)
    group.create_array(
        name,
        shape=shape,
        dtype=kind,
        fill_value={"u": UNWRITTEN, "f": np.nan, "i": -1}[kind.kind],
        compressors=ZstdCodec(level=3, checksum=True),
        chunk_key_encoding={"name": "default", "separator": "."},
        **options,
    )


def open_point(path: Path, point: int, draws: int) -> xr.Dataset:
    """Open the committed draws of a point; values are read from disk when they are used.

    Scalar series are kept once they were read; of occupations and positions only what is asked for
    is read, each time anew, so that a point may be larger than memory.

    Raises
    ------
    StoredRunError
        If metadata or a chunk of the committed draws is missing or empty; later, where values are
        read, if a chunk cannot be.
    """
    import xarray as xr  # noqa: PLC0415  (slow to import)

    from .stored_arrays import lazy_variable  # noqa: PLC0415

    name = group_name(point)
    try:
        store = LocalStore(path, read_only=True)
        dataset = xr.open_zarr(store, group=name, consolidated=False, chunks=None)
        group = zarr.open_group(store, path=name, mode="r")
        dataset = dataset.assign(
            {
                key: lazy_variable(_array(group, str(key)), path / name / str(key), held.variable)
                for key, held in dataset.data_vars.items()
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path / name, f"cannot be opened ({_first_line(error)})") from error
    stored = dataset.attrs.get("variables", list(VARIABLES))
    missing = [variable for variable in stored if variable not in dataset]
    if missing or dataset.sizes.get("draw", 0) < draws:
        held = missing[0] + " is missing" if missing else f"{dataset.sizes.get('draw', 0)} draws"
        raise _damaged(path / name, f"the checkpoint names {draws} draws, found: {held}")
    _check_chunks(path / name, dataset, draws)
    dataset = dataset.isel(draw=slice(0, draws))
    return dataset.assign_coords({dim: np.arange(size) for dim, size in dataset.sizes.items()})


def _check_chunks(group: Path, dataset: xr.Dataset, draws: int) -> None:
    """Zarr reads a missing chunk as fill values: find it before anyone averages over it."""
    for variable, (dims, _, _) in (VARIABLES | OPTIONAL_VARIABLES).items():
        if variable not in dataset:
            continue
        chunk = dataset[variable].encoding["chunks"][0]
        for index in range(-(-draws // chunk)):
            path = group / variable / ".".join(["c", str(index), *["0"] * (len(dims) - 1)])
            if not path.is_file() or path.stat().st_size == 0:
                raise _damaged(path, "is missing or empty")


def _damaged(path: Path, what: str) -> StoredRunError:
    return StoredRunError(
        f"stored samples are damaged: {path} {what}; restore the directory from a copy, "
        "or start a new run in another directory"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
