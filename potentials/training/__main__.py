"""Command line of the recipe: ``python -m alchemc.potentials.training all --work DIR``.

Every stage writes into the work directory and is skipped when its result is there, so that an
interrupted recipe goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from .evaluate import Student, evaluate, label_evaluation
from .explore import explore
from .label import label_all
from .publish import publish
from .train import Hyperparameters, train

STAGES = ("label", "first", "explore", "final", "reference", "publish")
SEED = 20261121


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="alchemc.potentials.training", description=__doc__)
    parser.add_argument("stage", choices=("all", *STAGES))
    parser.add_argument("--work", type=Path, required=True, help="directory of data and models")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--groups", type=int, default=1400, help="static groups in all")
    parser.add_argument("--moving", type=int, default=24, help="teacher relaxations; as many MD")
    parser.add_argument(
        "--explore-groups", type=int, default=500, help="groups moved by the student"
    )
    parser.add_argument("--first-steps", type=int, default=6000, help="updates before exploring")
    parser.add_argument("--final-steps", type=int, default=30000, help="updates of the final stage")
    parser.add_argument("--model", type=Path, default=None, help="publish: directory to write")
    return parser


def _distributed(rank: int, world: int, port: int, keywords: dict[str, Any]) -> None:
    import torch  # noqa: PLC0415

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    train(**keywords)
    torch.distributed.destroy_process_group()


def train_parallel(workers: int, **keywords: Any) -> None:
    """Train with ``workers`` processes that average their gradients."""
    import socket  # noqa: PLC0415

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


def _explore(task: tuple[str, str, int, int]) -> None:
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    model, out, index, groups = task
    explore(Student(Path(model)), Path(out), index=index, n_groups=groups, seed=SEED, seconds=1e9)


def main() -> None:
    """Run one stage, or all that are missing."""
    args = _parser().parse_args()
    warnings.simplefilter("ignore")
    work: Path = args.work
    data = work / "data"
    stages = STAGES if args.stage == "all" else (args.stage,)
    hyper = Hyperparameters()
    for stage in stages:
        marker = work / f"{stage}.done"
        if args.stage == "all" and marker.exists():
            continue
        if stage == "label":
            label_all(
                data, workers=args.workers, seconds=float("inf"),
                static_groups=args.groups // args.workers, relaxations=args.moving // args.workers,
                dynamics=args.moving // args.workers, dynamics_steps=120, seed=SEED,
            )  # fmt: skip
        elif stage == "first":
            train_parallel(args.workers, data=sorted(data.glob("*.npz")), out=work / "first",
                           hyper=hyper, steps=args.first_steps)  # fmt: skip
            publish(work / "first", work / "first-model", hyper, {})
        elif stage == "explore":
            tasks = [
                (str(work / "first-model"), str(data), i, args.explore_groups // args.workers)
                for i in range(args.workers)
            ]
            with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
                pool.map(_explore, tasks, chunksize=1)
        elif stage == "final":
            train_parallel(
                args.workers, data=sorted(data.glob("*.npz")), out=work / "final",
                hyper=replace(hyper, learning_rate=0.006), steps=args.final_steps,
                start=work / "first",
            )  # fmt: skip
        elif stage == "reference":
            label_evaluation(work / "reference", "development", args.workers)
            label_evaluation(work / "reference", "held-out", args.workers)
        else:
            publish(work / "final", work / "final-model", hyper, {})
            results = {
                which: evaluate(work / "final-model", work / "reference", which)
                for which in ("development", "held-out")
            }
            (work / "evaluation.json").write_text(json.dumps(results, indent=1))
            publish(work / "final", args.model or work / "bundled", hyper, results)
        marker.write_text("")


if __name__ == "__main__":
    main()
