"""Frames of trajectories of other programs, one by one: files that ASE reads, mchammer's, Atoms."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
from ase import Atoms

from ..errors import InputError
from ..structures import one_line

__all__ = ["Container", "frames_of", "is_container", "name_of", "read_container"]

_PLAIN = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
}
"""What the rows of a container may name in their pickle: containers and numbers."""


class Container(NamedTuple):
    """What an mchammer DataContainer holds.

    ``rows`` have ``mctrial``, and ``occupations`` (atomic numbers of all atoms) and ``potential``
    where these were recorded.
    """

    structure: Atoms
    parameters: Mapping[str, Any]
    metadata: Mapping[str, Any]
    rows: list[dict[str, Any]]


def name_of(source: Any, index: int) -> str:
    """Name of a source for messages."""
    if isinstance(source, str | Path):
        return Path(source).name
    return f"container {index}" if is_container(source) else f"trajectory {index}"


def is_container(source: Any) -> bool:
    """Whether a source is an mchammer DataContainer, as an object or in a file."""
    if isinstance(source, str | Path):
        return Path(source).is_file() and tarfile.is_tarfile(source)
    return hasattr(source, "ensemble_parameters") and hasattr(source, "structure")


def frames_of(source: Any, name: str) -> Iterator[Atoms]:
    """Frames of a file that ASE reads or of an iterable of Atoms, one at a time.

    Raises
    ------
    InputError
        If the file cannot be read, or something is no structure; the frame is named.
    """
    frames = _read(source, name) if isinstance(source, str | Path) else source
    for count, atoms in enumerate(frames):
        if not isinstance(atoms, Atoms):
            raise InputError(
                f"frame {count} of {name} is a {type(atoms).__name__}; give ase.Atoms, paths, or "
                "mchammer DataContainers"
            )
        yield atoms


def _read(path: str | Path, name: str) -> Iterator[Any]:
    if not Path(path).is_file():
        what = "is a directory" if Path(path).is_dir() else "does not exist"
        raise InputError(f"the trajectory '{path}' {what}; give the path of a file")
    count = 0
    try:
        for atoms in ase.io.iread(str(path), index=":"):
            yield atoms
            count += 1
    except InputError:
        raise
    except Exception as error:  # ASE's readers raise whatever they meet
        raise InputError(
            f"frame {count} of {name} cannot be read by ASE ({type(error).__name__}: "
            f"{one_line(error)}); check the file and its extension, or cut it before that frame"
        ) from error


def read_container(source: Any, name: str) -> Container:
    """Read an mchammer DataContainer; of what a file has pickled, only plain data is taken.

    Raises
    ------
    InputError
        If the file is no DataContainer.
    """
    if not isinstance(source, str | Path):
        # ``get`` makes an Atoms object of every row, and ``data`` leaves occupations out.
        rows = source._data_list  # noqa: SLF001
        return Container(source.structure, source.ensemble_parameters, source.metadata, rows)
    try:
        with tarfile.open(source, mode="r") as archive:
            parts = {
                part: archive.extractfile(part).read()  # type: ignore[union-attr]
                for part in ("atoms", "reference_data", "runtime_data")
            }
        (structure,) = ase.io.iread(io.StringIO(parts["atoms"].decode()), format="json")
        reference = json.loads(parts["reference_data"])
        rows = _rows(parts["runtime_data"])
        return Container(structure, reference["parameters"], reference["metadata"], rows)
    except Exception as error:  # archives, JSON and arrays fail in many ways
        raise InputError(
            f"{name} is no DataContainer of mchammer's ({type(error).__name__}: "
            f"{one_line(error)}); give a file that mchammer or `alchemc export` has written"
        ) from error


def _rows(data: bytes) -> list[dict[str, Any]]:
    """Rows that NumPy has pickled as an array of objects."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open("arr_0.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(stream)
        if dtype.kind != "O":
            return []
        return list(_PlainData(stream).load().reshape(shape))


class _PlainData(pickle.Unpickler):
    """Unpickles numbers, arrays and dictionaries; anything else is refused, not run."""

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up if it is one of plain data."""
        module = module.replace("numpy.core.", "numpy._core.")
        if (module, name) not in _PLAIN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain data")
        if not hasattr(np, "_core"):
            module = module.replace("numpy._core.", "numpy.core.")
        return super().find_class(module, name)
