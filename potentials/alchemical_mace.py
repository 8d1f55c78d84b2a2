"""MACE as a function of occupations and of continuous λ, with its alchemical gradient.

One graph node per (site, allowed species) and per spectator; the message from node (j, l) is
weighted by λ_jl, its sender's weight, and E(λ) = Σ_ik λ_ik [E0_k + ε_ik].
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch

from ..lattice import Lattice
from ._mace import fixed_execution
from .alchemical import MEMORY, AlchemicalPotential, MixedEnergy, finite
from .bound_graph import BoundGraph
from .coverage import head_index
from .graph import nodes_of
from .loading import ModelInfo, load_mace
from .network import Network

__all__ = ["AlchemicalMACE"]


class AlchemicalMACE(AlchemicalPotential):
    """A MACE potential over the occupations of a lattice, at fixed positions.

    At an occupation the energy is the stock model's to rounding. Between occupations it is
    E(λ) = Σ_ik λ_ik [E0_k + ε_ik], where every message carries the weight λ of its sender
    (Nam, Peng and Gómez-Bombarelli, Nat. Commun. 16, 4350 (2025), with all edges between sites
    kept). All geometry is computed once per set of positions.

    Parameters
    ----------
    lattice
        Sites, species and reference positions.
    model
        ``"bundled"``, a directory written by ``save_mace``, a ``.model`` file of mace-torch (needs
        ``trust``), the name of a MACE-MP foundation model, or a module of mace-torch.
    device
        ``"cpu"``, ``"cuda"``, …; ``"auto"`` takes a GPU where there is one.
    dtype
        ``"float64"`` or ``"float32"``; sums over atoms are in float64 either way.
    trust
        Allow a pickled file, whose content can run code.
    head
        Readout head of a multi-head model.
    positions, cell
        [n_atoms, 3] and [3, 3] in Å; those of ``lattice.atoms`` by default.
    memory
        Bytes kept of the energies and gradients of occupations seen before, the least recently
        used dropped first; 0 evaluates every time.

    Raises
    ------
    ModelError
        If the model cannot be loaded, is not covered, or does not know a species.
    InputError
        If the lattice is none, or positions, cell, dtype, device or memory make no sense.

    Notes
    -----
    Replicas are evaluated one after another on one thread, so the energy of an occupation does
    not depend on batch, threads or history, and remembering one changes no result. A vacancy has
    no node: its energy is 0 and so is its entry of the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.95, size=(2, 2, 2))
    >>> hamiltonian = AlchemicalMACE(lattice, model="bundled", device="cpu")
    >>> occupations = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1), 3)
    >>> energy, gradient = hamiltonian.energy_and_gradient(occupations)
    >>> energy.shape, gradient.shape
    ((3,), (3, 8, 2))
    >>> hamiltonian.mixed_energy(lattice.mean_weights({"B": {"Sc": 0.5, "Ta": 0.5}})).stress.shape
    (3, 3)
    """

    _MIXINGS = ("sites", "paper")

    def __init__(
        self,
        lattice: Lattice,
        model: str | Path | torch.nn.Module = "bundled",
        *,
        device: str = "auto",
        dtype: str = "float64",
        trust: bool = False,
        head: str | None = None,
        positions: np.ndarray | None = None,
        cell: np.ndarray | None = None,
        memory: int = MEMORY,
    ) -> None:
        super().__init__(lattice, device=device, dtype=dtype, memory=memory)
        module, info = load_mace(model, trust=trust)
        chosen = head_index(module, head)
        nodes = nodes_of(lattice, module.atomic_numbers.cpu().numpy())
        frozen = _frozen_copy(module).to(device=self.device, dtype=getattr(torch, dtype))
        self.model_info: ModelInfo = dataclasses.replace(info, dtype=dtype)
        self._network = Network(frozen, chosen)
        self._nodes = nodes
        self._bind(positions, cell)

    def _rebuild(self) -> None:
        self._graph = BoundGraph(
            self._network,
            self._nodes,
            self.positions,
            self.cell,
            pbc=self.lattice.atoms.pbc,
            r_max=self.model_info.r_max,
        )

    # ---- occupations -----------------------------------------------------------------------

    def _energies(self, occupations: np.ndarray) -> np.ndarray:
        weights = self.lattice.weights(occupations)
        with self._execution():
            found = [finite(self._graph.energy(self._nodes.weights(lam))) for lam in weights]
        return np.array(found)

    def _gradients(self, occupations: np.ndarray) -> list[tuple[float, np.ndarray]]:
        found = [
            self._mixed(lam, forces=False, stress=False, mixing="sites")
            for lam in self.lattice.weights(occupations)
        ]
        return [(one.energy, one.gradient) for one in found]

    def _forces(self, occupations: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
        weights = self.lattice.weights(occupations)
        with self._execution():
            found = [self._graph.with_positions(self._nodes.weights(lam)) for lam in weights]
        return [(one.energy, one.forces, one.stress) for one in found]

    # ---- continuous λ ----------------------------------------------------------------------

    def _mixed(self, lam: np.ndarray, *, forces: bool, stress: bool, mixing: str) -> MixedEnergy:
        weights = self._nodes.weights(lam)
        with self._execution():
            if forces or stress:
                found = self._graph.with_positions(weights, gradient=True, mixing=mixing)
            else:
                found = self._graph.with_gradient(weights, mixing=mixing)
        return MixedEnergy(
            energy=finite(found.energy),
            gradient=self._nodes.spread(found.gradient, lam.shape),
            forces=found.forces if forces else None,
            stress=found.stress if stress else None,
        )

    def _hessian_product(self, lam: np.ndarray, direction: np.ndarray) -> np.ndarray:
        along = np.where(self._nodes.alchemical, self._nodes.weights(direction), 0.0)
        with self._execution():
            product = self._graph.hessian_product(self._nodes.weights(lam), along)
        finite(float(product.sum()), "Hessian product")
        return self._nodes.spread(product, lam.shape)

    def _execution(self) -> AbstractContextManager[None]:
        return fixed_execution(on_gpu=self.device != "cpu")


def _frozen_copy(module: torch.nn.Module) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # e3nn's compiled parts go through deprecated calls
        return copy.deepcopy(module).requires_grad_(False).eval()
