"""The teacher: energies, forces and stresses of CHGNet, and its relaxations and dynamics.

Many structures advance together; every structure has its own optimiser or thermostat, so that
the batch does not change a trajectory beyond rounding.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms, units

__all__ = ["Teacher", "langevin", "relax"]

EV_PER_A3 = 1.0 / 160.21766208  # one GPa


class Teacher:
    """CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 5, 1031, 2023) as a batch labeller."""

    def __init__(self, device: str = "cpu", batch_size: int = 1) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from chgnet.model import CHGNet  # noqa: PLC0415
            from pymatgen.core import Lattice, Structure  # noqa: PLC0415
        self._structure, self._lattice = Structure, Lattice
        self._model = CHGNet.load(use_device=device, verbose=False)
        self._batch_size = batch_size

    def __call__(
        self, structures: list[Atoms], *, energy_only: bool = False
    ) -> list[dict[str, np.ndarray]]:
        """Return for each structure its energy (eV), forces (eV/Å) and stress (eV/Å^3, 3×3).

        With ``energy_only`` forces and stress are NaN, for a third of the time.
        """
        graphs = [
            self._model.graph_converter(
                self._structure(
                    self._lattice(atoms.cell.array),
                    atoms.get_chemical_symbols(),
                    atoms.get_scaled_positions(),
                )
            )
            for atoms in structures
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            task: Any = "e" if energy_only else "efs"
            out: Any = self._model.predict_graph(graphs, task=task, batch_size=self._batch_size)
        out = [out] if isinstance(out, dict) else out
        return [
            {
                "energy": np.asarray(o["e"], np.float64) * len(atoms),
                "forces": np.asarray(o.get("f", np.full((len(atoms), 3), np.nan)), np.float64),
                "stress": np.asarray(o.get("s", np.full((3, 3), np.nan)), np.float64) * EV_PER_A3,
            }
            for o, atoms in zip(out, structures, strict=True)
        ]


Labeller = Callable[[list[Atoms]], list[dict[str, np.ndarray]]]


def relax(
    label: Labeller,
    structures: list[Atoms],
    *,
    fmax: float,
    steps: int,
    cell: bool = False,
    record: Callable[[int, int, Atoms, dict[str, np.ndarray]], None] | None = None,
    deadline: float = np.inf,
) -> tuple[list[Atoms], np.ndarray, np.ndarray]:
    """Minimise energies over positions by FIRE (Bitzek et al., PRL 97, 170201, 2006).

    With ``cell``, every tenth step scales the volume towards zero pressure with an assumed bulk
    modulus of 150 GPa. ``record(step, index, atoms, labels)`` sees every evaluation. Returns the
    structures, their energies (eV) and their largest force components' norms (eV/Å).
    """
    structures = [atoms.copy() for atoms in structures]
    n = len(structures)
    velocity = [np.zeros_like(a.positions) for a in structures]
    dt, alpha, uphill = np.full(n, 0.1), np.full(n, 0.1), np.zeros(n, int)
    energy, force = np.full(n, np.nan), np.full(n, np.inf)
    active = list(range(n))
    for step in range(steps):
        labels = label([structures[i] for i in active])
        remaining = []
        for i, result in zip(active, labels, strict=True):
            f = result["forces"]
            energy[i], force[i] = result["energy"], np.linalg.norm(f, axis=1).max()
            if record is not None:
                record(step, i, structures[i], result)
            if cell and step % 10 == 9:
                pressure = -np.trace(result["stress"]) / 3
                scale = 1 + np.clip(pressure / (3 * 150 * EV_PER_A3), -0.01, 0.01)
                structures[i].set_cell(structures[i].cell.array * scale, scale_atoms=True)
                velocity[i][:] = 0
            elif force[i] < fmax:
                continue
            remaining.append(i)
            v = velocity[i]
            power = float(np.vdot(f, v))
            if power > 0:
                v = (1 - alpha[i]) * v + alpha[i] * f * np.linalg.norm(v) / np.linalg.norm(f)
                uphill[i] += 1
                if uphill[i] > 5:
                    dt[i], alpha[i] = min(dt[i] * 1.1, 0.6), alpha[i] * 0.99
            else:
                v, uphill[i] = np.zeros_like(v), 0
                dt[i], alpha[i] = dt[i] * 0.5, 0.1
            v = v + dt[i] * f
            move = dt[i] * v
            longest = np.linalg.norm(move)
            structures[i].positions += move * min(
                1.0, 0.2 * np.sqrt(len(v) / 40) / (longest + 1e-12)
            )
            velocity[i] = v
        active = remaining
        if not active or time.monotonic() > deadline:
            break
    return structures, energy, force


def langevin(
    label: Labeller,
    structures: list[Atoms],
    temperatures: np.ndarray,
    rng: np.random.Generator,
    *,
    steps: int,
    timestep: float = 2.0,
    friction: float = 0.02,
    record: Callable[[int, int, Atoms, dict[str, np.ndarray]], None],
    deadline: float = np.inf,
) -> None:
    """Run BAOAB Langevin dynamics (Leimkuhler and Matthews 2013) at fixed cells.

    ``timestep`` in fs, ``friction`` in 1/fs, ``temperatures`` in K, one per structure.
    """
    structures = [atoms.copy() for atoms in structures]
    dt = timestep * units.fs
    decay = np.exp(-friction * timestep)
    mass = [a.get_masses()[:, None] for a in structures]
    thermal = [np.sqrt(units.kB * t / m) for t, m in zip(temperatures, mass, strict=True)]
    velocity = [s * rng.normal(size=(len(s), 3)) for s in thermal]
    labels = label(structures)
    for step in range(steps):
        for i, atoms in enumerate(structures):
            v = velocity[i] + 0.5 * dt * labels[i]["forces"] / mass[i]
            atoms.positions += 0.5 * dt * v
            v = decay * v + np.sqrt(1 - decay**2) * thermal[i] * rng.normal(size=v.shape)
            atoms.positions += 0.5 * dt * v
            velocity[i] = v
        labels = label(structures)
        for i, atoms in enumerate(structures):
            velocity[i] = velocity[i] + 0.5 * dt * labels[i]["forces"] / mass[i]
            record(step, i, atoms, labels[i])
        if time.monotonic() > deadline:
            break
