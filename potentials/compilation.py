"""Compilation by numba with a cache outside the source tree.

numba's own cache does not notice a change of a function that is called from another file. Here
the folder of the cache is named by a hash of the source of all kernels, so a change of any of them
starts an empty one.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numba
from numba.extending import intrinsic

__all__ = ["cache_folder", "compiled", "compiled_fused", "inlined", "popcount"]

SOURCES = ("compilation.py", "compiled.py", "compiled_density.py", "engine/kernels.py")
_OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
_njit: Any = numba.njit  # its types leave out options that it takes


def source_hash() -> str:
    """First 16 digits of the SHA-256 of all kernel sources and of numba's version."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    folder = resources.files(__package__)
    for name in SOURCES:
        digest.update(folder.joinpath(name).read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Folder of the compiled kernels.

    ``ALCHEMC_CACHE`` if set, else ``alchemc`` in the user's cache folder (``XDG_CACHE_HOME``, or
    ``~/.cache``; ``LOCALAPPDATA`` on Windows); in it, one folder per version of the kernels.
    """
    chosen = os.environ.get("ALCHEMC_CACHE")
    if chosen:
        root = Path(chosen)
    else:
        user = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
        root = (Path(user) if user else Path.home() / ".cache") / "alchemc"
    return root / f"numba-{source_hash()}"


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on the first call, without the global interpreter lock, from the cache if there.

    Where the cache cannot be written the function is compiled anew in every process.
    """
    return _compiled(function, _OPTIONS)


def compiled_fused(function: Callable[..., Any]) -> Any:
    """Compile like :func:`compiled`, with multiplications and additions fused where they meet.

    That is the one liberty taken: sums keep the order in which they are written.
    """
    return _compiled(function, {**_OPTIONS, "fastmath": {"contract"}})


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    folder = _writable_cache()
    if folder is None:  # numba would write into the source tree instead
        return _njit(**options)(function)
    config: Any = numba.config
    before = config.CACHE_DIR
    try:
        config.CACHE_DIR = str(folder)
        return _njit(cache=True, **options)(function)
    finally:
        config.CACHE_DIR = before


def _writable_cache() -> Path | None:
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return folder


def inlined(function: Callable[..., Any]) -> Any:
    """Compile into every compiled function that calls it: tables are then not copied at calls."""
    return _njit(forceinline=True, **_OPTIONS)(function)


@intrinsic
def popcount(typing_context, word):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Count the ones of a 64-bit word, in one instruction."""
    signature = numba.types.uint64(numba.types.uint64)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ARG001
        return builder.ctpop(arguments[0])

    return signature, generate
