"""Checks of an installation, for ``alchemc doctor``."""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
import time
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
    """Check versions, device, threads, the models and writing to ``folder``, one by one."""
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


def _chgnet() -> str:
    """Look for CHGNet's weights; it is optional, so its absence is no problem."""
    from ..potentials import list_models  # noqa: PLC0415  (imports mace)

    entries = [entry for entry in list_models() if entry.potential == "chgnet"]
    at_hand = [entry for entry in entries if entry.at_hand and entry.sha256]
    if not at_hand:
        return 'not installed (optional: pip install "alchemc[chgnet]")'
    version = importlib.metadata.version("chgnet")
    weights = ", ".join(f"{e.name} sha256 {(e.sha256 or '')[:12]}" for e in at_hand)
    return f"chgnet {version}, weights {weights}"


def _unpickling() -> str:
    """Check that importing mace does not leave torch.load running code from files."""
    from ..potentials._mace import import_mace  # noqa: PLC0415  (torch)

    import_mace()
    if os.environ.get(UNSAFE_LOAD):
        raise RuntimeError(f"{UNSAFE_LOAD} is set: torch.load would run code from files; unset it")
    return f"{UNSAFE_LOAD} is not set: torch.load runs no code from files"


def _kernels() -> str:
    """Compile the kernels of lattice Hamiltonians, or load them, by a step of a tiny model."""
    import numpy as np  # noqa: PLC0415

    from .. import builders, ensembles, potentials, sampler  # noqa: PLC0415  (numba)
    from ..potentials.compilation import cache_folder  # noqa: PLC0415

    begin = time.perf_counter()
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 2))
    hamiltonian = potentials.PairHamiltonian(lattice, [{("Ti", "Zr"): -0.01}])
    start = np.arange(lattice.n_sites) % 2
    sampler.sample(
        sampler.RandomSwap(hamiltonian, ensembles.Canonical(lattice, 1000.0)), start, n_steps=8
    )
    grand = ensembles.SemiGrandCanonical(lattice, 1000.0, {})
    sampler.sample(sampler.RandomFlip(hamiltonian, grand), start, n_steps=8)
    return f"compiled or loaded in {time.perf_counter() - begin:.1f} s, cache {cache_folder()}"


def _write_access(folder: Path) -> str:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".alchemc-doctor-") as name:
        files.replace_atomically(Path(name) / "probe", b"probe")
    return f"{folder.resolve()} takes files"


_CHECKS: dict[str, Callable[[], str]] = {
    "device": _device,
    "unpickling": _unpickling,
    "bundled model": _bundled_model,
    "CHGNet (optional)": _chgnet,
    "lattice kernels": _kernels,
}
