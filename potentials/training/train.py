"""Training: a small ScaleShiftMACE on the teacher's labels, with a loss on orderings.

Groups share cell, composition and displacement and differ in the ordering; the loss on energies
centred within a group is what makes swap energies right (plain energy and force errors do not
see them).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .dataset import load_configurations
from .structures import CHARGE, Configuration

__all__ = ["Hyperparameters", "Trainer", "build_model", "graph", "reference_energies", "train"]

Graph = dict[str, np.ndarray]
MOST_FORCE = 15.0  # eV/Å, per component
ELEMENTS = ("O", "Mg", "Al", "Ca", "Sc", "Ti", "Sr", "Zr", "Nb", "Ba", "La", "Ta", "W", "Pb")


@dataclass(frozen=True)
class Hyperparameters:
    """Everything that decides the trained model besides the data."""

    channels: int = 24
    max_ell: int = 2
    hidden: str = "{channels}x0e"
    correlation: int = 3
    r_max: float = 4.6
    num_bessel: int = 8
    polynomial_cutoff: int = 5
    radial_mlp: tuple[int, ...] = (32, 32)
    readout: str = "16x0e"
    atoms_per_batch: int = 160
    # How often a group from relaxations or dynamics comes up, relative to a static one.
    motion_frequency: int = 3
    learning_rate: float = 0.01
    final_learning_rate: float = 1e-4
    warm_up_steps: int = 100
    clip: float = 10.0
    ema: float = 0.998
    weights: dict[str, float] = field(
        default_factory=lambda: {"energy": 1.0, "forces": 4.0, "stress": 0.5, "ordering": 2.0}
    )
    # One unit of error of each kind: eV/atom, eV/Å, eV/Å^3, eV per 40 atoms.
    units: dict[str, float] = field(
        default_factory=lambda: {"energy": 0.004, "forces": 0.08, "stress": 0.003, "ordering": 0.06}
    )
    seed: int = 1


def graph(configuration: Configuration, r_max: float) -> Graph:
    """Neighbour list and labels of one configuration as numpy arrays."""
    from matscipy.neighbours import neighbour_list  # noqa: PLC0415

    atoms = configuration.atoms
    i, j, shift = neighbour_list("ijS", atoms, r_max)
    index = np.array([ELEMENTS.index(s) for s in atoms.get_chemical_symbols()])
    result = {
        "positions": atoms.positions.astype(np.float32),
        "cell": atoms.cell.array.astype(np.float32),
        "species": index,
        "edge_index": np.stack([i, j]).astype(np.int32),
        "unit_shifts": shift.astype(np.int8),
    }
    if configuration.labels:
        result |= {k: np.asarray(configuration.labels[k]) for k in ("energy", "forces", "stress")}
    return result


def collate(graphs: list[Graph], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Join graphs into the dictionary that the model's forward pass reads."""
    sizes = np.array([len(g["species"]) for g in graphs])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    species = torch.as_tensor(np.concatenate([g["species"] for g in graphs]))
    cells = np.stack([g["cell"] for g in graphs])
    unit = np.concatenate([g["unit_shifts"] for g in graphs]).astype(np.float32)
    shifts = np.concatenate([g["unit_shifts"].astype(np.float32) @ g["cell"] for g in graphs])
    edges = np.concatenate(
        [g["edge_index"] + s for g, s in zip(graphs, starts[:-1], strict=True)], axis=1
    )
    return {
        "positions": torch.as_tensor(np.concatenate([g["positions"] for g in graphs]), dtype=dtype),
        "node_attrs": torch.nn.functional.one_hot(species, len(ELEMENTS)).to(dtype),
        "edge_index": torch.as_tensor(edges, dtype=torch.int64),
        "shifts": torch.as_tensor(shifts, dtype=dtype),
        "unit_shifts": torch.as_tensor(unit, dtype=dtype),
        "cell": torch.as_tensor(cells.reshape(-1, 3), dtype=dtype),
        "batch": torch.as_tensor(np.repeat(np.arange(len(graphs)), sizes)),
        "ptr": torch.as_tensor(starts),
        "head": torch.zeros(len(graphs), dtype=torch.int64),
    }


def reference_energies(configurations: list[Configuration], ridge: float = 1.0) -> np.ndarray:
    """Energy per element (eV) by ridge regression; charge balance makes plain fits degenerate."""
    counts = np.zeros((len(configurations), len(ELEMENTS)))
    for row, c in zip(counts, configurations, strict=True):
        for symbol in c.atoms.get_chemical_symbols():
            row[ELEMENTS.index(symbol)] += 1
    energy = np.array([c.labels["energy"] for c in configurations])
    mean = energy.sum() / counts.sum()
    normal = counts.T @ counts + ridge * np.eye(len(ELEMENTS))
    return mean + np.linalg.solve(normal, counts.T @ (energy - counts.sum(1) * mean))


def build_model(
    hyper: Hyperparameters, e0: np.ndarray | list[float], scale: float, neighbours: float
) -> torch.nn.Module:
    """Return the untrained model, float32."""
    from .._mace import import_mace  # noqa: PLC0415

    import_mace()
    from e3nn import o3  # noqa: PLC0415
    from mace import modules  # noqa: PLC0415

    torch.manual_seed(hyper.seed)
    return modules.ScaleShiftMACE(
        atomic_inter_scale=scale,
        atomic_inter_shift=0.0,
        r_max=hyper.r_max,
        num_bessel=hyper.num_bessel,
        num_polynomial_cutoff=hyper.polynomial_cutoff,
        max_ell=hyper.max_ell,
        interaction_cls=modules.RealAgnosticResidualInteractionBlock,
        interaction_cls_first=modules.RealAgnosticInteractionBlock,
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(hyper.hidden.format(channels=hyper.channels)),
        MLP_irreps=o3.Irreps(hyper.readout),
        atomic_energies=np.asarray(e0),
        avg_num_neighbors=neighbours,
        atomic_numbers=[_number(s) for s in ELEMENTS],
        correlation=hyper.correlation,
        gate=torch.nn.functional.silu,
        radial_MLP=list(hyper.radial_mlp),
    )


def _number(symbol: str) -> int:
    from ase.data import atomic_numbers  # noqa: PLC0415

    return int(atomic_numbers[symbol])


def _huber(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.huber_loss(x, torch.zeros_like(x), delta=1.0)


class Trainer:
    """Optimiser, schedule and running average of the parameters."""

    def __init__(self, model: torch.nn.Module, hyper: Hyperparameters, steps: int) -> None:
        self.model, self.hyper, self.steps = model, hyper, steps
        self.optimizer = torch.optim.Adam(model.parameters(), lr=hyper.learning_rate, amsgrad=True)
        self.average = {k: p.detach().clone() for k, p in model.named_parameters()}
        self.step_number = 0

    def _learning_rate(self) -> float:
        h = self.hyper
        if self.step_number < h.warm_up_steps:
            return h.learning_rate * (self.step_number + 1) / h.warm_up_steps
        x = (self.step_number - h.warm_up_steps) / max(1, self.steps - h.warm_up_steps)
        low = h.final_learning_rate
        return low + 0.5 * (h.learning_rate - low) * (1 + math.cos(math.pi * min(1.0, x)))

    def loss(self, graphs: list[Graph], group: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the four parts of the loss of one batch of whole groups."""
        batch = collate(graphs, torch.float32)
        out = self.model(batch, training=True, compute_force=True, compute_stress=True)
        unit = self.hyper.units
        sizes = torch.as_tensor([len(g["species"]) for g in graphs], dtype=torch.float32)
        energy = torch.as_tensor(np.array([float(g["energy"]) for g in graphs]))
        error = (out["energy"].double() - energy).float()
        forces = torch.as_tensor(np.concatenate([g["forces"] for g in graphs]), dtype=torch.float32)
        stress = torch.as_tensor(np.stack([g["stress"] for g in graphs]), dtype=torch.float32)
        members = torch.as_tensor(group)
        n = torch.zeros(int(members.max()) + 1).index_add(0, members, torch.ones_like(error))
        mean = torch.zeros_like(n).index_add(0, members, error) / n
        # With n members the centred error is too small by (1 - 1/n)^(1/2).
        centred = (error - mean[members]) * torch.sqrt(n / (n - 1).clamp(min=1))[members]
        centred = centred[(n > 1)[members]] * torch.sqrt(40 / sizes[(n > 1)[members]])
        return {
            "energy": _huber(error / sizes / unit["energy"]),
            "forces": _huber((out["forces"] - forces) / unit["forces"]),
            "stress": _huber((out["stress"] - stress) / unit["stress"]),
            "ordering": _huber(centred / unit["ordering"]) if len(centred) else error.sum() * 0,
        }

    def step(self, graphs: list[Graph], group: np.ndarray) -> dict[str, float]:
        """One update; returns the parts of the loss."""
        for g in self.optimizer.param_groups:
            g["lr"] = self._learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.loss(graphs, group)
        total = torch.stack([self.hyper.weights[k] * v for k, v in parts.items()]).sum()
        total.backward()
        if torch.distributed.is_initialized():
            self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.hyper.clip)
        self.optimizer.step()
        self.step_number += 1
        # Buffers stay as they are: averaging them would move r_max.
        keep = min(self.hyper.ema, self.step_number / (self.step_number + 10))
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                self.average[name].mul_(keep).add_(p, alpha=1 - keep)
        return {k: v.item() for k, v in parts.items()}

    def _average_gradients(self) -> None:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            g.copy_(part.view_as(g))

    def averaged_state(self) -> dict[str, torch.Tensor]:
        """State dictionary with the averaged parameters."""
        state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        return state | {k: v.clone() for k, v in self.average.items()}


def batches(
    groups: list[np.ndarray], sizes: np.ndarray, atoms: int, rng: np.random.Generator
) -> Iterator[list[np.ndarray]]:
    """Endless batches of whole groups of about ``atoms`` atoms."""
    while True:
        current: list[np.ndarray] = []
        filled = 0
        for g in rng.permutation(len(groups)):
            members = rng.permutation(groups[g])[: max(2, atoms // (2 * sizes[groups[g][0]]))]
            current.append(members)
            filled += int(sizes[members].sum())
            if filled >= atoms:
                yield current
                current, filled = [], 0


def split(configurations: list[Configuration], seed: int, fraction: float = 0.04) -> np.ndarray:
    """Mask of validation configurations: whole groups, chosen by their number alone."""
    held = {
        n: np.random.default_rng([seed, n]).random() < fraction
        for n in {c.group for c in configurations}
    }
    if not any(held.values()):
        held[min(held)] = True
    return np.array([held[c.group] for c in configurations])


def errors(model: torch.nn.Module, graphs: list[Graph], group: np.ndarray) -> dict[str, float]:
    """Root mean square errors: meV/atom, meV/Å, GPa, and ordering in meV/atom."""
    residual, forces, stress = [], [], []
    for g in graphs:
        out = model(collate([g], torch.float32), compute_force=True, compute_stress=True)
        residual.append((out["energy"].item() - float(g["energy"])) / len(g["species"]))
        forces.append((out["forces"].detach().numpy() - g["forces"]).ravel())
        stress.append((out["stress"].detach().numpy() - g["stress"]).ravel())
    e = np.array(residual)
    centred = np.concatenate(
        [
            (e[group == n] - e[group == n].mean()) * np.sqrt(k / (k - 1))
            for n in np.unique(group)
            if (k := int((group == n).sum())) > 1
        ]
    )
    return {
        "energy": float(np.sqrt(np.mean(e**2)) * 1e3),
        "forces": float(np.sqrt(np.mean(np.concatenate(forces) ** 2)) * 1e3),
        "stress": float(np.sqrt(np.mean(np.concatenate(stress) ** 2)) * 160.21766208),
        "ordering": float(np.sqrt(np.mean(centred**2)) * 1e3),
    }


def train(
    data: list[Path],
    out: Path,
    hyper: Hyperparameters,
    *,
    steps: int,
    start: Path | None = None,
    report_every: int = 500,
) -> None:
    """Train for ``steps`` updates and store averaged weights and a log in ``out``.

    With ``start``, weights of an earlier stage are the starting point. Under
    ``torch.distributed`` every process takes batches of its own and gradients are averaged.
    """
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    out.mkdir(parents=True, exist_ok=True)
    configurations = [c for c in load_configurations(data) if _usable(c)]
    mask = split(configurations, 20261121)
    training = [c for c, v in zip(configurations, mask, strict=True) if not v]
    graphs = [graph(c, hyper.r_max) for c in training]
    numbers = np.array([c.group for c in training])
    groups = []
    for n in np.unique(numbers):
        members = np.flatnonzero(numbers == n)
        static = training[members[0]].labels["origin"] == "static"
        groups += [members] * (1 if static else hyper.motion_frequency)
    sizes = np.array([len(g["species"]) for g in graphs])
    if start is None:
        force_rms = np.sqrt(np.mean(np.concatenate([g["forces"] for g in graphs]) ** 2))
        construction = {
            "e0": reference_energies(training).tolist(),
            "scale": float(force_rms),
            "neighbours": float(sum(g["edge_index"].shape[1] for g in graphs) / sizes.sum()),
        }
    else:
        construction = json.loads((start / "training.json").read_text())["construction"]
    model = build_model(hyper, **construction)
    if start is not None:
        model.load_state_dict(load_file(start / "weights.safetensors"))
    trainer = Trainer(model, hyper, steps)
    validation = [c for c, v in zip(configurations, mask, strict=True) if v][:250]
    held = [graph(c, hyper.r_max) for c in validation]
    held_groups = np.array([c.group for c in validation])
    source = batches(
        groups, sizes, hyper.atoms_per_batch, np.random.default_rng([hyper.seed, rank])
    )
    begin = time.monotonic()
    sums: dict[str, float] = {}
    log: list[dict[str, Any]] = []
    for step, chosen in zip(range(1, steps + 1), source, strict=False):
        members = np.concatenate(chosen)
        local = np.repeat(np.arange(len(chosen)), [len(c) for c in chosen])
        parts = trainer.step([graphs[m] for m in members], local)
        sums = {k: sums.get(k, 0.0) + v for k, v in parts.items()}
        if step % report_every == 0 or step == steps:
            entry: dict[str, Any] = {"step": step, "seconds": time.monotonic() - begin}
            entry |= {f"loss_{k}": v / report_every for k, v in sums.items()}
            sums = {}
            if rank == 0:
                entry |= _averaged_errors(trainer, held, held_groups)
                log.append(entry)
                print(json.dumps({k: round(v, 3) for k, v in entry.items()}), flush=True)
                weights = {k: v.contiguous() for k, v in trainer.averaged_state().items()}
                save_file(weights, out / "weights.safetensors")
                record = {
                    "hyperparameters": asdict(hyper),
                    "construction": construction,
                    "elements": ELEMENTS,
                    "n_training": len(training),
                    "n_validation": int(mask.sum()),
                    "domain": domain(training, construction["e0"]),
                    "steps": step,
                    "log": log,
                }
                (out / "training.json").write_text(json.dumps(record, indent=1))


def domain(configurations: list[Configuration], e0: list[float]) -> dict[str, Any]:
    """Energies and forces that were trained on, as the card states them for `check_domain`."""
    references = dict(zip(ELEMENTS, e0, strict=True))
    energies = np.array(
        [
            (c.labels["energy"] - sum(references[s] for s in c.atoms.get_chemical_symbols()))
            / len(c.atoms)
            for c in configurations
        ]
    )
    low, high = float(energies.min()), float(energies.max())
    return {
        "energy": [math.floor(100 * low) / 100, math.ceil(100 * high) / 100],
        "references": {symbol: round(value, 3) for symbol, value in references.items()},
        "force": MOST_FORCE,
        "source": "its training set",
        "meaning": (
            f"energy: eV per atom above the references, {low:.3f} to {high:.3f} over the training "
            "set; force: largest component in eV/Å, configurations beyond it were left out"
        ),
    }


def _averaged_errors(
    trainer: Trainer, held: list[Graph], held_groups: np.ndarray
) -> dict[str, float]:
    current = {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}
    trainer.model.load_state_dict(trainer.averaged_state())
    result = errors(trainer.model, held, held_groups)
    trainer.model.load_state_dict(current)
    return result


def _usable(configuration: Configuration) -> bool:
    """Leave out what no simulation visits: too large forces, unknown elements."""
    known = set(configuration.atoms.get_chemical_symbols()) <= set(CHARGE)
    return known and float(np.abs(configuration.labels["forces"]).max()) < MOST_FORCE
