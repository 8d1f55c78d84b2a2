"""Labelling: static groups, relaxations and dynamics, over several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import structures as st
from .dataset import save_configurations
from .structures import Configuration
from .teacher import Teacher, relax
from .teacher import langevin as run_langevin

__all__ = ["label_all"]

# Groups of every origin, of every worker, have numbers of their own.
GROUP_STRIDE = 1_000_000


def _labelled(
    teacher: Teacher, configurations: list[Configuration], origin: str, deadline: float
) -> list[Configuration]:
    done = []
    for start in range(0, len(configurations), 16):
        if time.monotonic() > deadline:
            break
        chunk = configurations[start : start + 16]
        for c, labels in zip(chunk, teacher([c.atoms for c in chunk]), strict=True):
            c.labels = {**labels, "origin": origin}
            done.append(c)
    return done


def _moving_starts(
    n: int, seed: int, first_group: int, rng: np.random.Generator
) -> list[Configuration]:
    """Perovskite and rock-salt structures (two orderings of each) to relax or to heat."""
    starts: list[Configuration] = []
    group = first_group
    while len(starts) < n:
        pair = st.sample_groups(1, seed, group)[:2]
        group += 1
        if len(pair[0].atoms) > 60 or (pair[0].kind == "spinel" and rng.random() < 0.5):
            continue
        starts += pair
    return starts


def _unrattled(configuration: Configuration, rng: np.random.Generator, spread: float) -> None:
    """Put a start near its ideal positions: a small volume change and a 0.05 Å displacement."""
    atoms = configuration.atoms
    atoms.set_cell(atoms.cell.array * rng.uniform(1 - spread, 1 + spread), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)


def _keep(into: list[Configuration], starts: list[Configuration], origin: str, steps: Any) -> Any:
    def record(step: int, index: int, atoms: Any, labels: dict[str, np.ndarray]) -> None:
        if steps(step, index) and np.abs(labels["forces"]).max() < 30:
            start = starts[index]
            into.append(
                Configuration(atoms.copy(), start.group, start.kind, {**labels, "origin": origin})
            )

    return record


def _worker(task: dict[str, Any]) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    index, seed, out = task["index"], task["seed"], Path(task["out"])
    begin = time.monotonic()
    limit = task["seconds"]
    teacher = Teacher(task["device"], batch_size=16 if task["device"] != "cpu" else 1)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 99, index]))
    first = index * GROUP_STRIDE
    static = st.sample_groups(task["static_groups"], seed, first)
    done = _labelled(teacher, static, "static", begin + 0.25 * limit)
    save_configurations(out / f"static-{index:02d}.npz", done)
    times = {"static": time.monotonic() - begin, "n_static": len(done)}

    frames: list[Configuration] = []
    starts = _moving_starts(task["relaxations"], seed, first + GROUP_STRIDE // 3, rng)
    for start in starts:
        _unrattled(start, rng, 0.02)
    keep = {3, 8, 15, 25, 40, 60, 85, 119}
    half = len(starts) // 2
    for part, cell in ((starts[:half], False), (starts[half:], True)):
        relax(
            teacher, [c.atoms for c in part], fmax=0.01, steps=120, cell=cell,
            record=_keep(frames, part, "relaxation", lambda step, _: step in keep),
            deadline=begin + (0.6 if cell else 0.45) * limit,
        )  # fmt: skip
    save_configurations(out / f"relaxation-{index:02d}.npz", frames)
    times |= {"relaxation": time.monotonic() - begin, "n_relaxation": len(frames)}

    frames = []
    starts = _moving_starts(task["dynamics"], seed, first + 2 * GROUP_STRIDE // 3, rng)
    for start in starts:
        _unrattled(start, rng, 0.02)
    run_langevin(
        teacher, [c.atoms for c in starts], rng.uniform(600, 2000, size=len(starts)), rng,
        steps=task["dynamics_steps"],
        record=_keep(frames, starts, "dynamics", lambda step, i: (step + i) % 20 == 19),
        deadline=begin + limit,
    )  # fmt: skip
    if frames:
        save_configurations(out / f"dynamics-{index:02d}.npz", frames)
    times |= {"dynamics": time.monotonic() - begin, "n_dynamics": len(frames)}
    (out / f"times-{index:02d}.json").write_text(json.dumps(times))


def relaxed_orderings(
    label: Any, case: dict[str, Any], spec: dict[str, Any], deadline: float = np.inf
) -> dict[str, Any]:
    """Energies of the six 2×2×2 orderings, ideal and relaxed from displaced references (eV).

    The lattice parameter is the model's own minimum for the ideal rock-salt cell.
    """
    relaxed = spec["relaxed"]
    classes = st.ordering_classes(case["a_site"][0], case["b_site"])
    a, classes = equilibrium_parameter(label, classes)
    ideal = [float(r["energy"]) for r in label([atoms for atoms, _ in classes])]
    starts = []
    for reference in range(relaxed["references"]):
        rng = np.random.default_rng([spec["seeds"]["relaxed"], reference])
        displacement = rng.normal(scale=relaxed["displacement"], size=classes[0][0].positions.shape)
        for atoms, _ in classes:
            start = atoms.copy()
            start.positions += displacement
            starts.append(start)
    _, energy, force = relax(label, starts, fmax=relaxed["fmax"], steps=600, deadline=deadline)
    return {
        "a": a,
        "multiplicity": [n for _, n in classes],
        "ideal": ideal,
        "relaxed": energy.reshape(relaxed["references"], -1).tolist(),
        "fmax": force.reshape(relaxed["references"], -1).tolist(),
    }


def equilibrium_parameter(label: Any, classes: list[Any]) -> tuple[float, list[Any]]:
    """Cubic lattice parameter (Å) of the ideal rock-salt 2×2×2 cell, and the cells at it."""
    start = classes[0][0]
    scales = np.linspace(0.96, 1.05, 13)
    cells = []
    for s in scales:
        atoms = start.copy()
        atoms.set_cell(start.cell.array * s, scale_atoms=True)
        cells.append(atoms)
    energy = np.array([float(r["energy"]) for r in label(cells)])
    lowest = int(np.clip(np.argmin(energy), 2, len(scales) - 3))
    window = slice(lowest - 2, lowest + 3)
    c = np.polyfit(scales[window], energy[window], 2)
    best = -c[1] / (2 * c[0])
    moved = []
    for atoms, count in classes:
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array * best, scale_atoms=True)
        moved.append((copy, count))
    return float(best * start.cell.array[0, 0] / 2), moved


def label_all(
    out: Path,
    *,
    workers: int = 1,
    device: str = "cpu",
    seconds: float = 3600.0,
    static_groups: int = 400,
    relaxations: int = 24,
    dynamics: int = 24,
    dynamics_steps: int = 300,
    seed: int = 20261121,
) -> None:
    """Label everything the recipe needs into ``out``; the counts are per worker."""
    out.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    tasks = [
        {
            "index": i, "seed": seed, "out": str(out), "device": device, "seconds": seconds,
            "static_groups": static_groups, "relaxations": relaxations, "dynamics": dynamics,
            "dynamics_steps": dynamics_steps,
        }
        for i in range(workers)
    ]  # fmt: skip
    processes = [context.Process(target=_worker, args=(t,)) for t in tasks]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = [p.exitcode for p in processes if p.exitcode]
    if failed:
        raise RuntimeError(f"{len(failed)} labelling processes failed; see their output above")
