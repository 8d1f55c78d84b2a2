"""CHGNet as a function of occupations and of continuous λ, with its alchemical gradient.

One graph node per (site, allowed species) and per spectator; the message from node (j, l) is
weighted by λ_jl, its sender's weight, and E(λ) = Σ_ik λ_ik [E0_k + ε_ik].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from ase.data import atomic_numbers

from ..lattice import Lattice
from ._chgnet import load_chgnet
from ._mace import fixed_execution
from .alchemical import MEMORY, AlchemicalPotential, MixedEnergy, finite
from .chgnet_graph import expand, find_geometry
from .chgnet_network import Basis, ChgnetNetwork, Indices
from .graph import nodes_of
from .loading import ModelInfo

__all__ = ["AlchemicalCHGNet"]


class AlchemicalCHGNet(AlchemicalPotential):
    """CHGNet over the occupations of a lattice, at fixed positions.

    A universal potential for 89 elements (Deng et al., Nat. Mach. Intell. 5, 1031 (2023),
    doi:10.1038/s42256-023-00716-3), whose weights come with the extra ``alchemc[chgnet]``. At an
    occupation the energy is the stock model's to rounding. Between occupations it is
    E(λ) = Σ_ik λ_ik [E0_k + ε_ik]: messages between atoms carry the weight λ of their sender, and
    in the update of a bond an angle carries that of the far end of its *other* bond. All geometry
    is computed once per set of positions.

    Parameters
    ----------
    lattice
        Sites, species and reference positions.
    model
        ``"0.3.0"``, or ``"r2scan"``: the same network, tuned to r2SCAN energies.
    device
        ``"cpu"``, ``"cuda"``, …; ``"auto"`` takes a GPU where there is one.
    dtype
        ``"float32"``, in which the model was trained, or ``"float64"``, for differences of
        energies; sums over atoms are in float64 either way.
    positions, cell
        [n_atoms, 3] and [3, 3] in Å; those of ``lattice.atoms`` by default.
    memory
        Bytes kept of the energies and gradients of occupations seen before, the least recently
        used dropped first; 0 evaluates every time.

    Raises
    ------
    ModelError
        If chgnet is not installed, the model is not covered, or it does not know a species.
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
    >>> from alchemc import AlchemicalCHGNet, builders
    >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=(2, 1, 1))
    >>> hamiltonian = AlchemicalCHGNet(lattice, device="cpu")
    >>> energy, gradient = hamiltonian.energy_and_gradient(np.array([[0, 1], [1, 1]]))
    >>> energy.shape, gradient.shape
    ((2,), (2, 2, 2))
    >>> hamiltonian.magnetic_moments(np.array([[0, 1]])).shape
    (1, 10)
    """

    def __init__(
        self,
        lattice: Lattice,
        model: str = "0.3.0",
        *,
        device: str = "auto",
        dtype: str = "float32",
        positions: np.ndarray | None = None,
        cell: np.ndarray | None = None,
        memory: int = MEMORY,
    ) -> None:
        super().__init__(lattice, device=device, dtype=dtype, memory=memory)
        module, info = load_chgnet(model)
        known = np.array([atomic_numbers[symbol] for symbol in info.elements])
        self._nodes = nodes_of(lattice, known)
        self._numbers = known[self._nodes.element]
        self.model_info: ModelInfo = dataclasses.replace(info, dtype=dtype)
        self._network = ChgnetNetwork(module.to(device=self.device, dtype=getattr(torch, dtype)))
        self._bind(positions, cell)

    def _rebuild(self) -> None:
        pbc, cutoffs = self.lattice.atoms.pbc, self._network.cutoffs
        self._geometry = find_geometry(self.positions, self.cell, pbc, cutoffs)
        self._shifts = self._geometry.unit_shift @ self.cell
        self._stored_basis: Basis | None = None
        self._last_graph: tuple[bytes, Indices] | None = None

    # ---- occupations -----------------------------------------------------------------------

    def _energies(self, occupations: np.ndarray) -> np.ndarray:
        weights = self.lattice.weights(occupations)
        with self._execution(), torch.no_grad():
            found = [self._energy(self._nodes.weights(lam)) for lam in weights]
        return np.array(found)

    def _energy(self, weights: np.ndarray) -> float:
        nodes = np.flatnonzero(weights)
        if len(nodes) == 0:
            return 0.0
        energies = self._node_energies(nodes, self._graph(nodes), self._basis(), None)
        return finite(energies.sum().item())

    def _gradients(self, occupations: np.ndarray) -> list[tuple[float, np.ndarray]]:
        found = [
            self._mixed(lam, forces=False, stress=False, mixing="sites")
            for lam in self.lattice.weights(occupations)
        ]
        return [(one.energy, one.gradient) for one in found]

    def _forces(self, occupations: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
        weights = self.lattice.weights(occupations)
        with self._execution():
            return [self._energy_forces(self._nodes.weights(lam)) for lam in weights]

    def _energy_forces(self, weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        nodes = np.flatnonzero(weights)
        if len(nodes) == 0:
            return 0.0, np.zeros_like(self.positions), np.zeros((3, 3))
        basis, moved = self._moving_basis()
        energy = self._node_energies(nodes, self._graph(nodes), basis, None).sum()
        return energy.item(), *self._forces_and_stress(torch.autograd.grad(energy, moved))

    def magnetic_moments(self, occupations: np.ndarray) -> np.ndarray:
        """Magnetic moments in μ_B, [n_replicas, n_atoms], of occupations [n_replicas, n_sites].

        The model predicts their size alone, not their direction. Those of vacancies are zero.

        Examples
        --------
        >>> import numpy as np
        >>> from alchemc import AlchemicalCHGNet, builders
        >>> lattice = builders.rocksalt(("Mg", "Ni"), "O", a=4.2)
        >>> hamiltonian = AlchemicalCHGNet(lattice, device="cpu")
        >>> moments = hamiltonian.magnetic_moments(np.array([0, 0, 0, 1]))
        >>> moments[lattice.sites].round(1)
        array([0. , 0. , 0. , 1.6])
        """
        occupations = self.lattice.check(occupations)
        weights = self.lattice.weights(np.atleast_2d(occupations))
        found = np.zeros((len(weights), len(self.positions)))
        with self._execution(), torch.no_grad():
            for moments, lam in zip(found, weights, strict=True):
                nodes = np.flatnonzero(self._nodes.weights(lam))
                numbers, graph = self._tensor(self._numbers[nodes]), self._graph(nodes)
                values = self._network.magnetic_moments(numbers, graph, self._basis())
                moments[self._nodes.atom[nodes]] = values.cpu().numpy()
        return found.reshape((*occupations.shape[:-1], -1))

    # ---- continuous λ ----------------------------------------------------------------------

    def _mixed(self, lam: np.ndarray, *, forces: bool, stress: bool, mixing: str) -> MixedEnergy:
        assert mixing == "sites"  # noqa: S101  (checked by the caller)
        weights = self._nodes.weights(lam)
        with self._execution():
            basis, moved = self._moving_basis() if forces or stress else (self._basis(), [])
            energy, variable = self._differentiable(weights, basis, absent=weights == 0.0)
            slope, *slopes = torch.autograd.grad(energy, [variable, *moved])
        found = self._forces_and_stress(slopes) if slopes else (None, None)
        return MixedEnergy(
            energy=finite(energy.item()),
            gradient=self._nodes.spread(slope.cpu().numpy(), lam.shape),
            forces=found[0] if forces else None,
            stress=found[1] if stress else None,
        )

    def _hessian_product(self, lam: np.ndarray, direction: np.ndarray) -> np.ndarray:
        along = np.where(self._nodes.alchemical, self._nodes.weights(direction), 0.0)
        with self._execution():
            energy, variable = self._differentiable(self._nodes.weights(lam), self._basis())
            (slope,) = torch.autograd.grad(energy, variable, create_graph=True)
            (product,) = torch.autograd.grad((slope * self._real(along)).sum(), variable)
        finite(float(product.sum()), "Hessian product")
        return self._nodes.spread(product.cpu().numpy(), lam.shape)

    def _differentiable(
        self, weights: np.ndarray, basis: Basis, absent: np.ndarray | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """E(λ) over all nodes, and λ as its variable."""
        nodes = np.arange(len(weights))
        variable = self._real(weights).requires_grad_(True)
        energies = self._node_energies(nodes, self._graph(nodes, absent), basis, variable)
        return (variable * energies).sum(), variable

    def _node_energies(
        self, nodes: np.ndarray, graph: Indices, basis: Basis, weights: torch.Tensor | None
    ) -> torch.Tensor:
        numbers = self._tensor(self._numbers[nodes])
        return self._network.node_energies(numbers, graph, basis, weights)

    # ---- graph and geometry ----------------------------------------------------------------

    def _graph(self, nodes: np.ndarray, absent: np.ndarray | None = None) -> Indices:
        """Bonds and angles between ``nodes``; the last is kept, as neighbours in a run share it."""
        atom = self._nodes.atom[nodes]
        key = atom.tobytes() + (b"" if absent is None else b"|" + absent.tobytes())
        if self._last_graph is None or self._last_graph[0] != key:
            graph = expand(self._geometry, atom, absent)
            self._last_graph = key, self._network.indices(graph)
        return self._last_graph[1]

    def _basis(self) -> Basis:
        if self._stored_basis is None:
            with torch.no_grad():
                vectors = self._vectors(self._real(self.positions), self._real(np.zeros((3, 3))))
                self._stored_basis = self._network.basis(vectors, self._geometry)
        return self._stored_basis

    def _moving_basis(self) -> tuple[Basis, list[torch.Tensor]]:
        """Basis of the same geometry, and positions and strain as its variables."""
        positions = self._real(self.positions).requires_grad_(True)
        strain = self._real(np.zeros((3, 3))).requires_grad_(True)
        basis = self._network.basis(self._vectors(positions, strain), self._geometry)
        return basis, [positions, strain]

    def _vectors(self, positions: torch.Tensor, strain: torch.Tensor) -> torch.Tensor:
        """Bond vectors under a symmetrised strain, in the model's dtype."""
        first = self._tensor(self._geometry.first)
        second = self._tensor(self._geometry.second)
        vectors = positions[first] - positions[second] + self._real(self._shifts)
        strained = vectors + vectors @ (0.5 * (strain + strain.T))
        return strained.to(self._network.dtype)

    def _forces_and_stress(self, slopes: Sequence[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Turn slopes along positions and strain into forces and stress."""
        by_position, by_strain = (slope.cpu().numpy() for slope in slopes)
        return -by_position, by_strain / abs(np.linalg.det(self.cell))

    # ---- tensors ---------------------------------------------------------------------------

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=self._network.device)

    def _real(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self._network.device)

    def _execution(self) -> AbstractContextManager[None]:
        return fixed_execution(on_gpu=self.device != "cpu")
