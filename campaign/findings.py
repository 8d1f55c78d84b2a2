"""Results of an analysis kept beside the run: ``DIR/analysis/SUBJECT.json``, read by the report.

What costs energy evaluations or minutes (`alchemc sqs`, `alchemc screen`, …) is computed when it is
asked for, stored here, and shown by every later report; a report never computes it itself.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__
from ..errors import InputError, StoredRunError
from . import checkpoint, files
from .directory import RunDirectory

__all__ = [
    "FINDINGS_FORMAT",
    "Damaged",
    "Finding",
    "committed_draws",
    "read_findings",
    "readable_findings",
    "store_finding",
]

FINDINGS_FORMAT = 1
_FOLDER = "analysis"
_OURS = ("subject", "format", "stored")
_SUBJECT = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Finding(NamedTuple):
    """A stored result.

    ``data`` is what was stored; ``created`` a time in UTC; ``draws`` the committed draws of every
    point of the run when it was stored, None where there was no run to count them in.
    """

    subject: str
    data: dict[str, Any]
    created: str
    draws: tuple[int, ...] | None

    def outdated(self, draws: tuple[int, ...] | None) -> bool:
        """Whether the run has other draws by now.

        Examples
        --------
        >>> Finding("sqs", {}, "", (100, 50)).outdated((100, 100))
        True
        """
        return self.draws is not None and draws is not None and self.draws != draws


class Damaged(NamedTuple):
    """A stored result that cannot be read: its subject, and what is wrong, with the remedy."""

    subject: str
    reason: str


def store_finding(directory: str | Path, subject: str, data: Mapping[str, Any]) -> Path:
    """Store a result beside a run, in one step; an older one of the subject is replaced.

    Parameters
    ----------
    directory
        A run directory, or any other for results that belong to no run.
    subject
        What it is about, the name of the file: lower case, words joined by hyphens.
    data
        Plain data, such as ``to_dict()`` gives; ``"statement"`` holds a sentence or several to
        quote, ``"caveats"`` what qualifies them.

    Returns
    -------
    The file, ``DIR/analysis/SUBJECT.json``.

    Raises
    ------
    InputError
        If the directory does not exist, the subject is no such name, or JSON cannot hold the data
        (a NaN, an array).

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = store_finding(folder, "sqs", {"statement": "The SQS is 12(3) meV too high."})
    ...     path.name, read_findings(folder)[0].data["statement"]
    ('sqs.json', 'The SQS is 12(3) meV too high.')
    """
    directory = Path(directory)
    if not _SUBJECT.fullmatch(subject):
        raise InputError(f"subject {subject!r} names no file: use lower case, digits and hyphens")
    if not directory.is_dir():
        raise InputError(f"{directory} is no directory, so that nothing can be stored there")
    content = {
        "subject": subject,
        "format": FINDINGS_FORMAT,
        "stored": {
            "alchemc": __version__,
            "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "draws": committed_draws(directory),
        },
        **{name: value for name, value in data.items() if name not in _OURS},
    }
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the result on {subject} cannot be stored as JSON ({error}): give plain numbers and "
            "text, None for what is unknown"
        ) from None
    path = directory / _FOLDER / f"{subject}.json"
    files.make_directory(path.parent)
    files.replace_atomically(path, text.encode())
    return path


def read_findings(directory: str | Path) -> list[Finding]:
    """Read what is stored in a directory, by subject.

    Raises
    ------
    StoredRunError
        If a file is no result, or one of a later format.
    """
    return [_read(path) for path in _stored(directory)]


def readable_findings(directory: str | Path) -> list[Finding | Damaged]:
    """Read what can be read of what is stored in a directory, by subject.

    A file that cannot be read, which `read_findings` refuses, is told beside the others.
    """
    found: list[Finding | Damaged] = []
    for path in _stored(directory):
        try:
            found.append(_read(path))
        except StoredRunError as error:
            found.append(Damaged(path.stem, str(error)))
    return found


def committed_draws(directory: str | Path) -> tuple[int, ...] | None:
    """Count the committed draws of every point; None where there is no run."""
    place = RunDirectory(directory)
    if not place.run_file.is_file():
        return None
    return tuple(checkpoint.load_progress(place.checkpoints).committed)


def _stored(directory: str | Path) -> list[Path]:
    return sorted((Path(directory) / _FOLDER).glob("*.json"))


def _read(path: Path) -> Finding:
    remedy = "store it again with the command that made it, or remove the file"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        subject, form, stored = (data.pop(name) for name in _OURS)
        created, draws = str(stored["created"]), stored["draws"]
        draws = None if draws is None else tuple(map(int, draws))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise StoredRunError(f"{path} is damaged, or no stored result: {remedy}") from None
    if form != FINDINGS_FORMAT:
        raise StoredRunError(
            f"{path} has format {form!r}, this version reads {FINDINGS_FORMAT}: {remedy}"
        )
    return Finding(str(subject), data, created, draws)
