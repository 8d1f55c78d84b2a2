"""pymbar, imported without the notices that it logs when imported."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType

__all__ = ["quiet_pymbar"]


def quiet_pymbar(part: str = "") -> ModuleType:
    """Import pymbar, or one of its modules such as "timeseries".

    Examples
    --------
    >>> quiet_pymbar("timeseries").__name__
    'pymbar.timeseries'
    """
    logger = logging.getLogger("pymbar")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return importlib.import_module(f"pymbar.{part}" if part else "pymbar")
    finally:
        logger.setLevel(level)
