"""What a trained model is worth: swap energies, orderings, lattice parameters, stresses."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from . import structures as st
from .dataset import load_configurations, save_configurations
from .label import relaxed_orderings
from .structures import Configuration

__all__ = ["Student", "evaluate", "label_evaluation", "swap_metrics"]

# Structures of each swap set whose forces and stress are compared too.
WITH_FORCES = 20


class Student:
    """A stored model as a labeller, float64, one structure at a time."""

    def __init__(self, directory: Path) -> None:
        import torch  # noqa: PLC0415

        from ..storage import load_stored  # noqa: PLC0415

        self._torch = torch
        model, document = load_stored(directory)
        self._model = model.double()
        self._r_max = float(document["config"]["r_max"])

    def __call__(self, structures: list[Atoms]) -> list[dict[str, np.ndarray]]:
        """Return energy (eV), forces (eV/Å) and stress (eV/Å^3, 3×3) of each structure."""
        from .train import collate, graph  # noqa: PLC0415

        results = []
        for atoms in structures:
            batch = collate([graph(Configuration(atoms, 0, ""), self._r_max)], self._torch.float64)
            out = self._model(batch, compute_force=True, compute_stress=True)
            results.append(
                {
                    "energy": np.asarray(out["energy"].item()),
                    "forces": out["forces"].detach().numpy(),
                    "stress": out["stress"].detach().numpy()[0],
                }
            )
        return results


def swap_metrics(teacher: np.ndarray, student: np.ndarray, n_atoms: int) -> dict[str, float]:
    """Compare energies (eV) of swap pairs ``[before, after, before, after, …]``.

    The slope is that of the student's swap energies on the teacher's through the origin; MAE and
    spread (standard deviation of the teacher's) are in eV; the ordering error is the root mean
    square of energies centred over the orderings of one cell at one set of positions, meV/atom.
    """
    d_t, d_s = teacher[1::2] - teacher[::2], student[1::2] - student[::2]
    residual = (student - teacher).reshape(-1, 2)
    centred = [half - half.mean() for half in (residual[::2], residual[1::2])]
    ordering = np.sqrt(np.mean(np.concatenate([c.ravel() ** 2 for c in centred])))
    return {
        "n_swaps": len(d_t),
        "slope": float(d_t @ d_s / (d_t @ d_t)),
        "correlation": float(np.corrcoef(d_t, d_s)[0, 1]),
        "mae": float(np.abs(d_s - d_t).mean()),
        "spread": float(d_t.std()),
        "mae_over_spread": float(np.abs(d_s - d_t).mean() / d_t.std()),
        "ordering": float(ordering / n_atoms * 1e3),
    }


def _label_case(task: tuple[str, str, str, list[Atoms], str]) -> None:
    from .teacher import Teacher  # noqa: PLC0415

    which, name, kind, structures, out = task
    path = Path(out) / f"{which}-swaps-{name}.npz"
    if path.exists():
        return
    teacher = Teacher()
    labelled = []
    for n, atoms in enumerate(structures):
        (labels,) = teacher([atoms], energy_only=n >= WITH_FORCES)
        labelled.append(Configuration(atoms, n // 2, kind, {**labels, "origin": "held-out"}))
    save_configurations(path, labelled)


def _relax_case(task: tuple[str, str, dict[str, Any], str]) -> None:
    from .teacher import Teacher  # noqa: PLC0415

    which, name, case, out = task
    path = Path(out) / f"{which}-relaxed-{name}.json"
    if not path.exists():
        path.write_text(json.dumps(relaxed_orderings(Teacher(), case, st.held_out())))


def label_evaluation(out: Path, which: str, workers: int = 1, relaxed: bool = True) -> None:
    """Let the teacher label the swap sets and relax the orderings of one list."""
    out.mkdir(parents=True, exist_ok=True)
    swaps = [(which, n, k, s, str(out)) for n, k, s in st.development_cases(which)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        pool.map(_label_case, swaps, chunksize=1)
        if relaxed:
            compounds = _compounds(which)
            cases = [(which, n, case, str(out)) for n, case in compounds.items()]
            pool.map(_relax_case, cases, chunksize=1)


def _compounds(which: str) -> dict[str, Any]:
    spec = st.held_out()
    return spec["perovskites"] if which == "held-out" else spec["development"]["perovskites"]


def _relaxed_row(teacher: dict[str, Any], student: dict[str, Any]) -> dict[str, Any]:
    """Ordering energies (mean over all arrangements minus rock salt, eV per A2BB'O6)."""
    row: dict[str, Any] = {"a_teacher": teacher["a"], "a_student": student["a"]}
    weight = np.array(teacher["multiplicity"], float)
    for who, rows in (("teacher", teacher), ("student", student)):
        for where in ("ideal", "relaxed"):
            energy = np.atleast_2d(rows[where]).min(axis=0)
            row[f"{where}_{who}"] = float((weight @ energy / weight.sum() - energy[0]) / 4)
            row[f"{where}_{who}_lowest"] = int(np.argmin(energy))
            row[f"{where}_{who}_gap"] = float(np.sort(energy)[1] - energy[0])
    return row


def evaluate(model: Path, labels: Path, which: str, relaxed: bool = True) -> dict[str, Any]:
    """Compare the model in ``model`` with the teacher's labels in ``labels``.

    ``which`` is ``"development"`` (to choose models by) or ``"held-out"`` (once per release).
    """
    student = Student(model)
    result: dict[str, Any] = {"swaps": {}, "relaxed": {}, "frames": {}}
    for path in sorted(labels.glob(f"{which}-swaps-*.npz")):
        configurations = load_configurations([path])
        teacher = np.array([c.labels["energy"] for c in configurations])
        predicted = student([c.atoms for c in configurations])
        energy = np.array([p["energy"] for p in predicted])
        n_atoms = len(configurations[0].atoms)
        metrics = swap_metrics(teacher, energy, n_atoms)
        for key, unit in (("forces", 1e3), ("stress", 160.21766208)):
            squares = [
                np.mean((c.labels[key] - p[key]) ** 2)
                for c, p in zip(configurations, predicted, strict=True)
            ]
            metrics[key] = float(np.sqrt(np.nanmean(squares)) * unit)
        result["swaps"][path.stem.removeprefix(f"{which}-swaps-")] = metrics
    for path in sorted(labels.glob(f"{which}-relaxed-*.json")) if relaxed else []:
        name = path.stem.removeprefix(f"{which}-relaxed-")
        rows = relaxed_orderings(student, _compounds(which)[name], st.held_out())
        result["relaxed"][name] = _relaxed_row(json.loads(path.read_text()), rows)
    return result
