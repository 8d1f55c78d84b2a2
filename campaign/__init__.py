"""Campaigns: from one TOML file to a stored run that can be stopped, resumed, read and exported.

The only part of alchemc that writes to disk. Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Config": "config",
    "describe": "runs",
    "export_run": "export",
    "load_config": "config",
    "load_screen": "screening",
    "open_run": "runs",
    "parse_config": "config",
    "resume_run": "runs",
    "run_screen": "screening",
    "start_run": "runs",
    "write_report": "report",
}

__all__ = [*_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
