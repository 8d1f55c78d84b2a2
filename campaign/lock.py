"""One writer per run directory."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import StoredRunError

__all__ = ["is_locked", "run_lock"]

LOCK_NAME = "lock"


def _try_lock(stream: IO[str]) -> bool:
    """Take the operating system's lock on an open file; it goes with the process that holds it."""
    try:
        if os.name == "nt":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lock_patiently(stream: IO[str]) -> bool:
    """Try for half a second: one who asks for the state of a run holds the lock an instant."""
    for _attempt in range(10):
        if _try_lock(stream):
            return True
        time.sleep(0.05)
    return False


@contextmanager
def run_lock(directory: Path) -> Iterator[None]:
    """Hold a run directory for writing.

    The lock belongs to the process and disappears with it, so a killed run leaves nothing to
    clean up.

    Raises
    ------
    StoredRunError
        If another process writes to the directory.
    """
    path = directory / LOCK_NAME
    with path.open("a+", encoding="utf-8") as stream:
        if not _lock_patiently(stream):
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise StoredRunError(
                f"{directory} is being written by {holder}; wait for it to end, or stop it first"
            )
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        yield


def is_locked(directory: Path) -> bool:
    """Whether a process is writing to the run directory now."""
    path = directory / LOCK_NAME
    try:
        with path.open("r+", encoding="utf-8") as stream:
            return not _try_lock(stream)
    except OSError:
        return False
