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
from typing import Any

import numpy as np
import torch

from ..errors import InputError, ModelError
from ..lattice import Lattice
from ..sublattice import is_whole
from ._mace import fixed_execution
from .alchemical import MEMORY, AlchemicalPotential, MixedEnergy, finite
from .batches import BatchSizes, batches
from .bound_graph import BoundGraph
from .coverage import head_index
from .cuequivariance import accelerated
from .engine.engine import Engine
from .engine.parameters import Parameters, read_parameters
from .engine.states import States
from .graph import nodes_of
from .loading import ModelInfo, load_mace
from .network import Network
from .plain_graph import evaluate_plain

__all__ = ["AlchemicalMACE"]

_ENGINES = ("auto", "compiled", "torch")


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
    engine
        How occupations are evaluated: ``"compiled"``, node by node from tables, on the CPU;
        ``"torch"``, by the modules of mace-torch as they are; ``"auto"`` takes the former where it
        covers the model and the device, and on a GPU the latter with cuEquivariance's kernels where
        they are installed. Continuous λ, forces and stress are torch's either way.
    threads
        Threads that share the nodes of one evaluation in the compiled engine.

    Raises
    ------
    ModelError
        If the model cannot be loaded, is not covered, or does not know a species.
    InputError
        If the lattice is none, or positions, cell, dtype, device or memory make no sense.

    Notes
    -----
    The energy of an occupation does not depend on batch, threads or history, bit for bit, so
    remembering one changes no result. The compiled engine computes every node from its own inputs
    in a fixed order and adds node energies as whole numbers of 2⁻⁴² eV. In cells that are larger
    than a change's reach (twice ``r_max`` for two layers) it computes only what differs from an
    occupation whose features it has kept. A vacancy has no node: its energy is 0 and so is its
    entry of the gradient.

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
        engine: str = "auto",
        threads: int = 1,
    ) -> None:
        super().__init__(lattice, device=device, dtype=dtype, memory=memory)
        module, info = load_mace(model, trust=trust)
        chosen = head_index(module, head)
        nodes = nodes_of(lattice, module.atomic_numbers.cpu().numpy())
        frozen = _frozen_copy(module).to(device=self.device, dtype=getattr(torch, dtype))
        self.model_info: ModelInfo = dataclasses.replace(info, dtype=dtype)
        converted = accelerated(frozen, chosen) if engine == "auto" else None
        self._network = Network(frozen if converted is None else converted, chosen)
        self._nodes = nodes
        self._elements = np.unique(nodes.element)
        self._threads = _checked_threads(threads)
        self._parameters = self._read_parameters(engine)
        self.engine = "torch" if self._parameters is None else "compiled"
        if converted is not None:
            self.engine = "cuequivariance"
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
        self._states: States | None = None
        self._batch_sizes = BatchSizes(self.device)

    def _read_parameters(self, engine: str) -> Parameters | None:
        if engine not in _ENGINES:
            raise InputError(f"engine is {engine!r}; give one of {', '.join(_ENGINES)}")
        if engine == "torch" or (engine == "auto" and self.device != "cpu"):
            return None
        if self.device != "cpu":
            raise InputError(
                f'engine "compiled" runs on the CPU, not on {self.device}; set device to "cpu" or '
                'engine to "torch"'
            )
        network = self._network
        with self._execution():
            found = read_parameters(network.model, network.head, self._elements, self.dtype)
        if found is None and engine == "compiled":
            raise ModelError(
                f"the compiled engine does not cover {self.model_info.name}; "
                'set engine to "torch" or "auto"'
            )
        return found

    def _compiled(self) -> States | None:
        """Return the compiled engine at these positions, built when it is first needed."""
        if self._parameters is None or len(self._graph.edges.sender) == 0:
            return None
        if self._states is None:
            with self._execution():
                if self._states is None:  # else another thread has built it meanwhile
                    self._states = States(self._new_engine(), self.lattice, self._nodes)
        return self._states

    def _new_engine(self) -> Engine:
        assert self._parameters is not None  # noqa: S101
        return Engine(
            self._network,
            self._parameters,
            self._nodes,
            self._graph.edges,
            self.positions,
            self.cell,
            elements=self._elements,
            threads=self._threads,
        )

    def __getstate__(self) -> dict[str, Any]:
        # A copy, or a hamiltonian sent to another process, builds locks and threads of its own.
        return self.__dict__ | {"_states": None}

    # ---- occupations -----------------------------------------------------------------------

    def _energies(self, occupations: np.ndarray) -> np.ndarray:
        states = self._compiled()
        if states is not None:
            return np.array([finite(states.energy(one)) for one in occupations])
        weights = self._node_weights(occupations)
        with self._execution():
            evaluate = self._graph.energies
            size = self._batch_sizes.of("energy", lambda: evaluate(weights[:1]))
            found = [evaluate(part)[:n] for part, n in batches(weights, size)]
        return np.array([finite(float(energy)) for energy in np.concatenate(found)])

    def _gradients(self, occupations: np.ndarray) -> list[tuple[float, np.ndarray]]:
        states = self._compiled()
        if states is not None:
            results = [states.energy_and_gradient(one) for one in occupations]
            shape = self.lattice.allowed.shape
            return [(finite(e), self._nodes.spread(g, shape)) for e, g in results]
        weights, shape = self._node_weights(occupations), self.lattice.allowed.shape
        with self._execution():
            evaluate = self._graph.with_gradients
            size = self._batch_sizes.of("gradient", lambda: evaluate(weights[:1]))
            parts = [evaluate(part)[:n] for part, n in batches(weights, size)]
        found = [one for part in parts for one in part]
        return [(finite(one.energy), self._nodes.spread(one.gradient, shape)) for one in found]

    def _forces(self, occupations: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
        weights = self.lattice.weights(occupations)
        with self._execution():
            found = [self._graph.with_positions(self._nodes.weights(lam)) for lam in weights]
        return [(one.energy, one.forces, one.stress) for one in found]

    def _forces_at(
        self, occupation: np.ndarray, positions: np.ndarray, cell: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        weights = self._nodes.weights(self.lattice.weights(occupation))
        pbc, r_max = self.lattice.atoms.pbc, self.model_info.r_max
        with self._execution():
            return evaluate_plain(
                self._network, self._nodes, weights, positions, cell, pbc=pbc, r_max=r_max
            )

    def _node_weights(self, occupations: np.ndarray) -> np.ndarray:
        return np.array([self._nodes.weights(lam) for lam in self.lattice.weights(occupations)])

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


def _checked_threads(threads: int) -> int:
    if not is_whole(threads, least=1):
        raise InputError(f"threads is {threads!r}; give a whole number, 1 or more")
    return int(threads)
