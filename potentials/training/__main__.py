"""Command line of the recipe: ``python -m alchemc.potentials.training all --work DIR``.

Every stage writes into the work directory and is skipped when its result is there, so that an
interrupted recipe goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path

from .evaluate import evaluate, label_evaluation
from .label import label_all
from .parallel import explore_parallel, train_parallel
from .publish import publish
from .train import Hyperparameters

STAGES = ("label", "first", "explore", "final", "reference", "publish")
SEED = 20261121


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="alchemc.potentials.training", description=__doc__)
    parser.add_argument("stage", choices=("all", *STAGES))
    parser.add_argument("--work", type=Path, required=True, help="directory of data and models")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--groups", type=int, default=3000, help="static groups in all")
    parser.add_argument("--moving", type=int, default=24, help="teacher relaxations; as many MD")
    parser.add_argument(
        "--explore-groups", type=int, default=200, help="groups moved by the student"
    )
    parser.add_argument("--first-steps", type=int, default=5000, help="updates before exploring")
    parser.add_argument("--final-steps", type=int, default=16000, help="updates of the final stage")
    parser.add_argument("--model", type=Path, default=None, help="publish: directory to write")
    return parser


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
            explore_parallel(args.workers, work / "first-model", data, args.explore_groups, SEED)
        elif stage == "final":
            train_parallel(
                args.workers, data=sorted(data.glob("*.npz")), out=work / "final",
                hyper=replace(hyper, learning_rate=0.006), steps=args.final_steps,
                start=work / "first",
            )  # fmt: skip
        elif stage == "reference":
            label_evaluation(work / "reference", "development", args.workers, relaxed=False)
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
