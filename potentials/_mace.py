"""The one place that imports mace, and the settings under which torch is run.

Importing mace sets ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` for the whole process, which makes every
later ``torch.load`` run code from the file. :func:`import_mace` puts the variable back.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__all__ = ["MaceModule", "default_dtype", "fixed_execution", "import_mace"]

MaceModule = Any
"""A module of mace-torch: torch types its attributes as ``Tensor | Module``, which they are not."""

_UNSAFE_LOAD = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_TORCH_LOCK = threading.RLock()


def import_mace(name: str = "mace.modules") -> ModuleType:
    """Import a module of mace-torch and leave the environment as it was.

    Parameters
    ----------
    name
        Dotted name of the module. ``mace`` itself is always imported before ``e3nn``, which
        cannot be imported alone under current torch.
    """
    before = os.environ.get(_UNSAFE_LOAD)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            importlib.import_module("mace")
            return importlib.import_module(name)
    finally:
        if before is None:
            os.environ.pop(_UNSAFE_LOAD, None)
        else:
            os.environ[_UNSAFE_LOAD] = before


@contextlib.contextmanager
def default_dtype(dtype: str) -> Iterator[None]:
    """Make ``dtype`` ("float32" or "float64") torch's default inside the block only."""
    import torch  # noqa: PLC0415  (lazy: this module is imported without torch)

    with _TORCH_LOCK:
        before = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@contextlib.contextmanager
def fixed_execution(*, on_gpu: bool) -> Iterator[None]:
    """Run torch on one thread, with deterministic kernels and its usual default dtype.

    Rounding then depends on the input alone: not on ``OMP_NUM_THREADS``, on other threads of the
    process (evaluations take turns) or on what ran before. All settings are put back afterwards.
    On the CPU one thread makes every kernel deterministic; the switch is for the GPU. The default
    dtype is torch's own, float32, whatever the model's: mace-torch's calculator leaves it so, and
    the prefactors of its ZBL term are rounded to it.
    """
    import torch  # noqa: PLC0415

    with default_dtype("float32"):
        threads = torch.get_num_threads()
        strict = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(on_gpu or strict, warn_only=on_gpu or warn_only)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)
            torch.set_num_threads(threads)
