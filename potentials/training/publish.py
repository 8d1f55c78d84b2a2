"""From trained weights to a stored model with its card."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from .card import model_card
from .train import ELEMENTS, Hyperparameters, build_model

__all__ = ["publish"]

TEACHER_NOTICE = (
    "Distilled from CHGNet 0.3.0, Copyright (c) 2023, The Regents of the University of California, "
    "through Lawrence Berkeley National Laboratory; BSD licence with an enhancements clause."
)


def publish(weights: Path, directory: Path, hyper: Hyperparameters, results: dict[str, Any]) -> str:
    """Store the averaged weights of ``weights`` as a model; returns its sha256."""
    from safetensors.torch import load_file  # noqa: PLC0415

    from ..storage import save_mace  # noqa: PLC0415

    record = json.loads((weights / "training.json").read_text())
    model = build_model(hyper, **record["construction"])
    model.load_state_dict(load_file(weights / "weights.safetensors"))
    card = {
        "name": "alchemc-oxides-1",
        "licence": "MIT; teacher: BSD-3-Clause-LBNL",
        "teacher": "CHGNet 0.3.0",
        "notice": TEACHER_NOTICE,
        "elements": list(ELEMENTS),
        "covers": "charge-balanced perovskite and rock-salt oxides of the listed elements",
        "not_for": "vacancies, surfaces, molecules, charged cells, other structure types",
        "training": {k: record[k] for k in ("hyperparameters", "n_training", "steps")},
        "validation": record["log"][-1],
        "domain": record.get("domain", {}),
        "evaluation": results,
    }
    digest = save_mace(model, directory, card)
    notice = resources.files(__package__).joinpath("TEACHER_LICENSE.txt").read_text("utf-8")
    (directory / "MODEL_CARD.md").write_text(model_card(card, notice), encoding="utf-8")
    return digest
