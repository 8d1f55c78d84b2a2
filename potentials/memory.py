"""What an energy model remembers of the occupations it has evaluated, within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

__all__ = ["Memory"]

# What an entry costs besides its arrays: the key, the tuple and the dictionary's own record.
OVERHEAD = 300

T = TypeVar("T")


class Memory:
    """A least-recently-used store of energies and gradients by occupation.

    Worth its while only where an evaluation is a function of the occupation alone, bit for bit:
    then remembering changes no result.

    Parameters
    ----------
    size
        Bytes to keep at most; with 0 nothing is kept.

    Examples
    --------
    >>> import numpy as np
    >>> memory, calls = Memory(2**20), []
    >>> def evaluate(occupation):
    ...     calls.append(occupation)
    ...     return float(occupation.sum())
    >>> occupation = np.array([0, 1], dtype=np.int8)
    >>> memory.recall("energy", occupation, evaluate), memory.recall("energy", occupation, evaluate)
    (1.0, 1.0)
    >>> len(calls)
    1
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._entries: OrderedDict[tuple[str, bytes], tuple[Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def recall(self, kind: str, occupation: np.ndarray, evaluate: Callable[[np.ndarray], T]) -> T:
        """Return ``evaluate(occupation)``, from before if ``kind`` of it is still there."""
        key = (kind, occupation.tobytes())
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
            value: T = found[0]
            return value
        value = evaluate(occupation)
        self._keep(key, value)
        return value

    def _keep(self, key: tuple[str, bytes], value: object) -> None:
        parts = value if isinstance(value, tuple) else (value,)
        size = OVERHEAD + len(key[1]) + sum(int(np.asarray(part).nbytes) for part in parts)
        if size > self.size:
            return
        self._entries[key] = (value, size)
        self.used += size
        while self.used > self.size:
            _, (_, freed) = self._entries.popitem(last=False)
            self.used -= freed
