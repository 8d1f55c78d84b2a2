"""Configurations a student visits by itself, labelled by the teacher.

Relaxing and heating with the student costs little; its own minima and its own thermal motion are
where a later run will be, so those are where the teacher's labels are worth most.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from . import structures as st
from .dataset import save_configurations
from .structures import Configuration
from .teacher import Teacher, langevin, relax

__all__ = ["explore"]

GROUP_BASE = 500_000_000
RELAXATION_STEPS = (5, 20, 60, 150)
DYNAMICS_STEPS = (60, 140)


def explore(
    student: Any, out: Path, *, index: int, n_groups: int, seed: int, seconds: float
) -> int:
    """Relax and heat ``n_groups`` groups of orderings; label the frames until time is up.

    Members of a group share the cell and the step at which a frame is taken, so that the loss on
    orderings sees relaxed energies too. Returns the number of labelled configurations.
    """
    begin = time.monotonic()
    rng = np.random.default_rng(np.random.SeedSequence([seed, 7, index]))
    teacher = Teacher()
    done: list[Configuration] = []
    number = GROUP_BASE + index * 1_000_000
    first = number
    for n in range(n_groups):
        members = st.sample_groups(1, seed, first + n)[:3]
        for c in members:
            volume = (np.linalg.det(c.atoms.cell.array) / len(c.atoms)) ** (1 / 3)
            c.atoms.set_cell(
                c.atoms.cell.array * (_usual_length(c) / volume) * rng.uniform(0.985, 1.015),
                scale_atoms=True,
            )
            c.atoms.positions += rng.normal(scale=0.05, size=c.atoms.positions.shape)
        for frames in _frames(student, members, heat=n % 3 == 2, cell=n % 3 == 1, rng=rng):
            number += 1
            for c, labels in zip(frames, teacher([c.atoms for c in frames]), strict=True):
                origin = "dynamics" if n % 3 == 2 else "relaxation"
                c.group, c.labels = number, {**labels, "origin": origin}
                done.append(c)
        if n % 10 == 9 or n == n_groups - 1:
            save_configurations(out / f"explored-{index:02d}.npz", done)
        if time.monotonic() - begin > seconds:
            break
    save_configurations(out / f"explored-{index:02d}.npz", done)
    return len(done)


def _usual_length(configuration: Configuration) -> float:
    """Cube root of the volume per atom (Å) at the expected lattice parameter."""
    symbols = configuration.atoms.get_chemical_symbols()
    if configuration.kind == "perovskite":
        cations = [s for s in symbols if s != "O"]
        a = st.perovskite_parameter(cations[0::2], cations[1::2])
        return a / 5 ** (1 / 3)
    if configuration.kind == "rocksalt":
        return st.rocksalt_parameter([s for s in symbols if s != "O"]) / 2
    return float((np.linalg.det(configuration.atoms.cell.array) / len(symbols)) ** (1 / 3))


def _frames(
    student: Any, members: list[Configuration], *, heat: bool, cell: bool, rng: np.random.Generator
) -> list[list[Configuration]]:
    """Frames of the members at the same steps, one list per step."""
    wanted = DYNAMICS_STEPS if heat else RELAXATION_STEPS
    taken: dict[int, list[Configuration]] = {step: [] for step in wanted}

    def record(step: int, index: int, atoms: Any, labels: dict[str, np.ndarray]) -> None:
        if step in taken and np.abs(labels["forces"]).max() < 30:
            taken[step].append(Configuration(atoms.copy(), 0, members[index].kind))

    starts = [c.atoms for c in members]
    if heat:
        temperature = np.full(len(starts), rng.uniform(600, 2000))
        langevin(student, starts, temperature, rng, steps=max(wanted) + 1, record=record)
    else:
        relax(student, starts, fmax=0.005, steps=max(wanted) + 1, cell=cell, record=record)
    return [frames for frames in taken.values() if frames]
