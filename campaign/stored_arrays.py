"""Stored samples as xarray variables that are read when they are used, damage told in one line.

Imported where a point is opened: xarray is slow to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing

from ..errors import StoredRunError

__all__ = ["StoredArray", "lazy_variable"]


class StoredArray(BackendArray):
    """An array on disk, as xarray asks for it.

    Parameters
    ----------
    array
        The Zarr array.
    where
        What to call it when it cannot be read.
    """

    def __init__(self, array: zarr.Array, where: Path) -> None:
        self._array, self._where = array, where
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        try:
            return self._array.oindex[key]
        except Exception as error:  # the codecs raise whatever they meet
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise StoredRunError(
                f"stored samples are damaged: {self._where} cannot be read ({reason}); restore the "
                "directory from a copy, or start a new run in another directory"
            ) from error


def lazy_variable(array: zarr.Array, where: Path, like: xr.Variable) -> xr.Variable:
    """Variable with the dimensions and attributes of another, read from an array on disk.

    A scalar series [draw, chain] is kept once it was read. Occupations, positions and cells are
    not: they may be larger than memory.
    """
    lazy: Any = indexing.LazilyIndexedArray(StoredArray(array, where))
    lazy = indexing.CopyOnWriteArray(lazy)
    data = indexing.MemoryCachedArray(lazy) if like.ndim < 3 else lazy
    return xr.Variable(like.dims, data, like.attrs, like.encoding)
