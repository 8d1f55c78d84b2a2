"""How many replicas are evaluated as one graph: one on a CPU, as many as fit on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

__all__ = ["BatchSizes", "batches"]

_SHARE = 0.5  # of the memory that is free: allocators leave gaps
_MOST = 512


class BatchSizes:
    """Replicas per evaluation, by kind of evaluation.

    On a CPU it is one, so that no number depends on the batch. On a GPU it is what fits into half
    of the free memory, by the memory that one replica was seen to take, and stays as it is for one
    set of positions. There the same bits come out for the same layout of the batch.

    Parameters
    ----------
    device
        Name of the device.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._sizes: dict[str, int] = {}

    def of(self, kind: str, evaluate_one: Callable[[], object]) -> int:
        """Replicas at once, found on the first call by evaluating one."""
        if self._device.type != "cuda":
            return 1
        if kind not in self._sizes:
            self._sizes[kind] = self._fitting(evaluate_one)
        return self._sizes[kind]

    def _fitting(self, evaluate_one: Callable[[], object]) -> int:
        evaluate_one()  # what is kept of the geometry is not part of a replica
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        evaluate_one()
        taken = max(1, torch.cuda.max_memory_allocated(self._device) - before)
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        return int(np.clip(_SHARE * free // taken, 1, _MOST))


def batches(rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Parts of up to ``size`` rows and how many of them count.

    A part is padded with its last row to a power of two, or to ``size``: few layouts, none of which
    costs more than twice what was asked for.
    """
    for begin in range(0, len(rows), size):
        part = rows[begin : begin + size]
        n = len(part)
        width = min(size, 1 << (n - 1).bit_length())
        yield np.concatenate([part, np.repeat(part[-1:], width - n, axis=0)]), n
