"""Checks of an installation, for ``alchemc doctor``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import AlchemcError
from . import environment, files

__all__ = ["Check", "examine"]

UNSAFE_LOAD = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@dataclass(frozen=True)
class Check:
    """One finding; ``good`` is false where something has to be done."""

    subject: str
    good: bool
    finding: str


def examine(folder: Path) -> Iterator[Check]:
    """Check versions, device, threads, the bundled model and writing to ``folder``, one by one."""
    yield Check("versions", True, ", ".join(f"{k} {v}" for k, v in environment.versions().items()))
    yield Check("machine", True, _machine())
    for subject, check in _CHECKS.items():
        yield _guarded(subject, check)
    yield _guarded("writing", lambda: _write_access(folder))


def _guarded(subject: str, check: Callable[[], str]) -> Check:
    try:
        return Check(subject, True, check())
    except (AlchemcError, ImportError, OSError, RuntimeError) as error:
        return Check(subject, False, (str(error).splitlines() or [type(error).__name__])[0])


def _machine() -> str:
    facts = environment.machine()
    threads = facts["omp_num_threads"] or "not set"
    return f"{facts['processor']}, {facts['cores']} cores, OMP_NUM_THREADS {threads}"


def _device() -> str:
    import torch  # noqa: PLC0415  (asks for the device only)

    if torch.cuda.is_available():
        return f"GPU: {torch.cuda.get_device_name()}"
    return "CPU (no GPU that torch can use)"


def _bundled_model() -> str:
    from .. import potentials  # noqa: PLC0415  (torch)

    model = potentials.load_mace("bundled")
    info = model.info
    return f"{info.name}, {len(info.elements)} elements, sha256 {info.sha256[:12]}"


def _unpickling() -> str:
    """Check that importing mace does not leave torch.load running code from files."""
    from ..potentials._mace import import_mace  # noqa: PLC0415  (torch)

    import_mace()
    if os.environ.get(UNSAFE_LOAD):
        raise RuntimeError(f"{UNSAFE_LOAD} is set: torch.load would run code from files; unset it")
    return f"{UNSAFE_LOAD} is not set: torch.load runs no code from files"


def _write_access(folder: Path) -> str:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".alchemc-doctor-") as name:
        files.replace_atomically(Path(name) / "probe", b"probe")
    return f"{folder.resolve()} takes files"


_CHECKS: dict[str, Callable[[], str]] = {
    "device": _device,
    "unpickling": _unpickling,
    "bundled model": _bundled_model,
}
