"""Labelled configurations as flat arrays: a few npz files without pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from .structures import Configuration

__all__ = ["load_configurations", "save_configurations"]

KINDS = ("perovskite", "rocksalt", "spinel")
ORIGINS = ("static", "relaxation", "dynamics", "held-out")


def save_configurations(path: Path, configurations: list[Configuration]) -> None:
    """Write configurations with ``labels`` energy, forces, stress and ``origin``."""
    atoms = [c.atoms for c in configurations]
    np.savez_compressed(
        path,
        n_atoms=np.array([len(a) for a in atoms], np.int32),
        numbers=np.concatenate([a.numbers for a in atoms]).astype(np.uint8),
        positions=np.concatenate([a.positions for a in atoms]).astype(np.float32),
        cells=np.stack([a.cell.array for a in atoms]).astype(np.float32),
        groups=np.array([c.group for c in configurations], np.int64),
        kinds=np.array([KINDS.index(c.kind) for c in configurations], np.uint8),
        origins=np.array([ORIGINS.index(c.labels["origin"]) for c in configurations], np.uint8),
        energies=np.array([c.labels["energy"] for c in configurations], np.float64),
        forces=np.concatenate([c.labels["forces"] for c in configurations]).astype(np.float32),
        stresses=np.stack([c.labels["stress"] for c in configurations]).astype(np.float32),
    )


def load_configurations(paths: list[Path]) -> list[Configuration]:
    """Read the files of :func:`save_configurations`."""
    configurations = []
    for path in paths:
        with np.load(path, allow_pickle=False) as stored:
            data: dict[str, Any] = dict(stored)
        ends = np.cumsum(data["n_atoms"])
        for n, (end, size) in enumerate(zip(ends, data["n_atoms"], strict=True)):
            part = slice(end - size, end)
            atoms = Atoms(
                data["numbers"][part], data["positions"][part], cell=data["cells"][n], pbc=True
            )
            labels = {
                "energy": float(data["energies"][n]),
                "forces": data["forces"][part].astype(float),
                "stress": data["stresses"][n].astype(float),
                "origin": ORIGINS[data["origins"][n]],
            }
            kind = KINDS[data["kinds"][n]]
            configurations.append(Configuration(atoms, int(data["groups"][n]), kind, labels))
    return configurations
