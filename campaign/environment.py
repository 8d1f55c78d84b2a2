"""What a run depends on besides its input: versions and machine, recorded and compared."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping

__all__ = ["differences", "machine", "versions"]

_PACKAGES = ("alchemc", "numpy", "scipy", "ase", "torch", "mace-torch", "e3nn", "zarr", "xarray")
_OF_KIND = {"chgnet": ("chgnet",)}
_OF_GPU = ("cuequivariance-torch", "cuequivariance-ops-torch-cu12")


def versions(kind: str = "", device: str = "") -> dict[str, str]:
    """Versions of Python and of the packages that samples depend on.

    Parameters
    ----------
    kind, device
        Those of the energy model, for the packages that matter to some alone.

    Examples
    --------
    >>> "numpy" in versions()
    True
    """
    found = {"python": platform.python_version()}
    on_gpu = _OF_GPU if device.startswith("cuda") else ()
    for name in (*_PACKAGES, *_OF_KIND.get(kind, ()), *on_gpu):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """Describe the kind of machine, as far as rounding may depend on it."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", ""),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:  # noqa: PTH123
            lines = [line for line in stream if line.startswith("model name")]
        return lines[0].split(":", 1)[1].strip()
    except (OSError, IndexError):
        return platform.processor()


def differences(recorded: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Entries that changed, as "name: before -> now".

    Examples
    --------
    >>> differences({"numpy": "2.0", "ase": "3.23"}, {"numpy": "2.1", "ase": "3.23"})
    ['numpy: 2.0 -> 2.1']
    """
    return [
        f"{name}: {recorded.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in sorted({*recorded, *now})
        if recorded.get(name) != now.get(name)
    ]
