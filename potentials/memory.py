"""What an energy model remembers of the occupations it has evaluated, within a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

__all__ = ["Memory"]

# What an entry costs besides its arrays: the key, the tuple and the dictionary's own record.
OVERHEAD = 300

T = TypeVar("T")


class Memory:
    """A least-recently-used store of energies and gradients by occupation.

    Worth its while only where an evaluation is a function of the occupation alone, bit for bit:
    then remembering changes no result. Threads may share it; a copy starts empty.

    Parameters
    ----------
    size
        Bytes to keep at most; with 0 nothing is kept.

    Examples
    --------
    >>> import numpy as np
    >>> memory, calls = Memory(2**20), []
    >>> def evaluate(occupations):
    ...     calls.append(len(occupations))
    ...     return occupations.sum(axis=1).tolist()
    >>> occupations = np.array([[0, 1], [1, 1], [0, 1]], dtype=np.int8)
    >>> memory.recall("energy", occupations, evaluate)
    [1, 2, 1]
    >>> memory.recall("energy", occupations[:1], evaluate), calls
    ([1], [2])
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._entries: OrderedDict[tuple[str, bytes], tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Memory], tuple[int]]:
        return type(self), (self.size,)

    def __len__(self) -> int:
        return len(self._entries)

    def recall(
        self,
        kind: str,
        occupations: np.ndarray,
        evaluate: Callable[[np.ndarray], Sequence[T] | np.ndarray],
    ) -> list[T]:
        """Results of every row of ``occupations``; those not known are evaluated together."""
        if self.size == 0:
            return list(evaluate(occupations)) if len(occupations) else []
        keys = [(kind, occupation.tobytes()) for occupation in occupations]
        found: dict[tuple[str, bytes], T] = {}
        missing: dict[tuple[str, bytes], int] = {}
        with self._lock:
            for row, key in enumerate(keys):
                if key in self._entries:
                    self._entries.move_to_end(key)
                    found[key] = self._entries[key][0]
                else:
                    missing.setdefault(key, row)
        if missing:
            results = evaluate(occupations[list(missing.values())])
            with self._lock:
                for key, value in zip(missing, results, strict=True):
                    found[key] = value
                    self._keep(key, value)
        return [found[key] for key in keys]

    def _keep(self, key: tuple[str, bytes], value: object) -> None:
        parts = value if isinstance(value, tuple) else (value,)
        size = OVERHEAD + len(key[1]) + sum(int(np.asarray(part).nbytes) for part in parts)
        if size > self.size or key in self._entries:  # by another thread, meanwhile
            return
        self._entries[key] = (value, size)
        self.used += size
        while self.used > self.size:
            _, (_, freed) = self._entries.popitem(last=False)
            self.used -= freed
