"""Every effect of a run on the file system: the only place that writes, syncs or renames.

Each function is one operation, so that tests can stop the process before and after any of them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = [
    "append",
    "fsync",
    "make_directory",
    "remove",
    "rename",
    "replace_atomically",
    "temporary_name",
    "write",
]


def write(path: Path, data: bytes) -> None:
    """Create or truncate ``path`` and write ``data``; what could not be filled is removed."""
    try:
        with path.open("wb") as stream:
            stream.write(data)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def append(path: Path, data: bytes) -> None:
    """Add ``data`` at the end of ``path``."""
    with path.open("ab") as stream:
        stream.write(data)


def fsync(path: Path) -> None:
    """Force a file's content, or a directory's entries, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open directories; its renames are journalled
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Rename atomically; an existing file of that name is replaced."""
    source.replace(target)


def make_directory(path: Path) -> None:
    """Create one directory; its parent exists."""
    path.mkdir(exist_ok=True)


def remove(path: Path) -> None:
    """Delete a file if it is there."""
    path.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Name under which ``path`` is written before it is renamed."""
    return path.with_name(f".{path.name}.tmp")


def replace_atomically(path: Path, data: bytes, temporary: Path | None = None) -> None:
    """Write ``path`` so that it holds either the old or the new content, whatever happens.

    The directory entry is not synced: callers sync the directory once for several files.
    ``temporary`` is where it is written first, a hidden file beside it by default.
    """
    temporary = temporary or temporary_name(path)
    write(temporary, data)
    fsync(temporary)
    rename(temporary, path)
