"""The recipe's stages that run in several processes.

Not in ``__main__``: a spawned process cannot import what is defined there.
"""

from __future__ import annotations

import multiprocessing
import socket
import warnings
from pathlib import Path
from typing import Any

__all__ = ["explore_parallel", "train_parallel"]


def _distributed(rank: int, world: int, port: int, keywords: dict[str, Any]) -> None:
    import torch  # noqa: PLC0415

    from .train import train  # noqa: PLC0415

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    train(**keywords)
    torch.distributed.destroy_process_group()


def train_parallel(workers: int, **keywords: Any) -> None:
    """Train with ``workers`` processes that average their gradients."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    arguments = [(rank, workers, port, keywords) for rank in range(workers)]
    processes = [context.Process(target=_distributed, args=a) for a in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(p.exitcode for p in processes):
        raise RuntimeError("a training process failed; see its output above")


def _explore(task: tuple[Path, Path, int, int, int]) -> None:
    import torch  # noqa: PLC0415

    from .evaluate import Student  # noqa: PLC0415
    from .explore import explore  # noqa: PLC0415

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model, out, index, groups, seed = task
    explore(Student(model), out, index=index, n_groups=groups, seed=seed, seconds=float("inf"))


def explore_parallel(workers: int, model: Path, out: Path, groups: int, seed: int) -> None:
    """Move ``groups`` groups with the student in ``model``; their labels go into ``out``."""
    tasks = [(model, out, index, groups // workers, seed) for index in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(_explore, tasks, chunksize=1)
