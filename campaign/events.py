"""``events.jsonl``: what happened to a run, one JSON object per line, only ever appended to."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from . import files

__all__ = ["log", "read"]


def log(path: Path, event: str, **details: Any) -> None:
    """Append an event with the time.

    A line that a killed process left unfinished is ended first, so that this one is readable.
    """
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "event": event, **details}, allow_nan=False, default=str)
    files.append(path, (b"" if _ends_with_newline(path) else b"\n") + line.encode() + b"\n")


def _ends_with_newline(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return True
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def read(path: Path) -> list[dict[str, Any]]:
    """All readable events, oldest first; unfinished lines are passed over."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found
