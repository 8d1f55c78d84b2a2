"""torch-sim's swap Monte Carlo on the bundled model, restricted to the sites of a lattice.

`torch_sim.monte_carlo.swap_monte_carlo` (0.3.0) draws one atom of the cell uniformly and a second
one uniformly among the atoms of other elements, exchanges their positions, evaluates the whole cell
and accepts by Metropolis. It has no mask: of a perovskite's trials one in 45 would exchange the two
B cations, all others Pb, O or both. Here its state holds the atoms of the mixed sites only, and the
model adds the others before it evaluates; its functions are used as they are.
"""

from __future__ import annotations

import copy
import os
import warnings
from typing import Any

import numpy as np
import torch
from ase import units
from ase.data import atomic_numbers

from alchemc import Lattice
from alchemc.potentials import load_mace


def torch_sim_model(forces: bool = False) -> Any:
    """Return the bundled model as torch-sim's `MaceModel`, float64 on the processor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch_sim.models.mace import MaceModel

        module = copy.deepcopy(load_mace("bundled").module)
        return MaceModel(
            module, device=torch.device("cpu"), dtype=torch.float64,
            compute_forces=forces, compute_stress=forces,
        )  # fmt: skip


def state_of(lattice: Lattice, occupations: np.ndarray) -> Any:
    """Batched state of whole cells, one system per occupation."""
    import torch_sim

    atoms = [lattice.to_atoms(occupation) for occupation in occupations]
    return torch_sim.io.atoms_to_state(atoms, torch.device("cpu"), torch.float64)


class OnSublattice:
    """Energy of states that hold the atoms of the mixed sites only."""

    def __init__(self, model: Any, whole: Any, sites: np.ndarray) -> None:
        self.device, self._model, self._whole = model.device, model, whole
        self._positions = whole.positions.clone()
        n_systems = int(whole.system_idx.max()) + 1
        per_system = len(whole.positions) // n_systems
        first = per_system * np.arange(n_systems)
        self.atoms = torch.as_tensor((first[:, None] + sites).ravel())

    def __call__(self, state: Any) -> dict[str, torch.Tensor]:
        """Energies of the cells with their sites' atoms where ``state`` has them."""
        # MACE asks for the gradient of the tensor it is given, so it gets a new one every time.
        positions = self._positions.clone()
        positions[self.atoms] = state.positions
        self._whole.positions = positions
        return self._model(self._whole)


class TorchSimChains:
    """Chains of torch-sim's swaps that give the same blocks as `alchemc.sampler.draw_block`."""

    name = "torch-sim swap_monte_carlo"

    def __init__(self, lattice: Lattice, temperature: float, starts: np.ndarray, seed: int) -> None:
        import torch_sim

        species = lattice.sublattices["B"].species
        self._species = np.asarray(starts, dtype=np.int64)
        self._site = np.tile(np.arange(lattice.n_sites), len(starts))
        whole = state_of(lattice, starts)
        model = OnSublattice(torch_sim_model(), whole, np.asarray(lattice.sites))
        numbers = np.array([atomic_numbers[s] for s in species])
        begin, self._step = torch_sim.swap_monte_carlo(
            model=model, kT=units.kB * temperature, seed=seed
        )
        self._state = begin(
            torch_sim.SimState(
                positions=whole.positions[model.atoms].clone(),
                masses=whole.masses[model.atoms],
                cell=whole.cell,
                pbc=whole.pbc,
                atomic_numbers=torch.as_tensor(numbers[self._species].ravel()),
                system_idx=whole.system_idx[model.atoms],
            )
        )
        self._identity = np.arange(self._site.size)

    def step(self) -> np.ndarray:
        """One trial in every chain; which of them were accepted."""
        self._state = self._step(self._state)
        moved = self._state.last_permutation.numpy()
        self._site = self._site[moved]
        return (moved != self._identity).reshape(self._species.shape).any(axis=1)

    @property
    def occupations(self) -> np.ndarray:
        """Where the chains stand, uint8 [n_chains, n_sites]."""
        found = np.empty(self._species.shape, dtype=np.uint8)
        np.put_along_axis(found, self._site.reshape(found.shape), self._species, axis=1)
        return found

    @property
    def energy(self) -> np.ndarray:
        """Energies that torch-sim holds, [n_chains]."""
        return self._state.energy.numpy().copy()

    def warm_up(self, n: int) -> dict[str, Any]:
        """Run ``n`` trials and report them like `alchemc.warm_up`."""
        for _ in range(n):
            self.step()
        calls = n * len(self._species)
        return {"n_steps": n, "energy_calls": calls, "gradient_calls": 0}

    def block(self, n_draws: int, thin: int) -> dict[str, np.ndarray]:
        """Draw a block of draws, one energy per trial."""
        drawn: dict[str, list[np.ndarray]] = {"occupation": [], "energy": [], "acceptance": []}
        for _ in range(n_draws):
            accepted = np.mean([self.step() for _ in range(thin)], axis=0)
            drawn["occupation"].append(self.occupations)
            drawn["energy"].append(self.energy)
            drawn["acceptance"].append(accepted)
        shape = (n_draws, len(self._species))
        return {key: np.array(values) for key, values in drawn.items()} | {
            "energy_calls": np.full(shape, thin, dtype=np.int64),
            "gradient_calls": np.zeros(shape, dtype=np.int64),
        }


def one_thread() -> None:
    """Let torch use one thread; torch-sim does not ask for it itself."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
