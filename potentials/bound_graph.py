"""The alchemical graph of a model at fixed positions, with everything that can be kept."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from .graph import Edges, Expansion, Nodes, Selection, expand, find_edges, join, select
from .network import EdgeInputs, Network

__all__ = ["BoundGraph", "Evaluation"]


_NOTHING = np.empty(0)


class Evaluation(NamedTuple):
    """Energy in eV, ∂E/∂λ [n_nodes], forces [n_atoms, 3] and stress [3, 3]; else empty."""

    energy: float
    gradient: np.ndarray = _NOTHING
    forces: np.ndarray = _NOTHING
    stress: np.ndarray = _NOTHING


class BoundGraph:
    """Evaluates E(λ) = Σ_n λ_n [E0_n + ε_n] over nodes n at fixed positions and cell.

    Parameters
    ----------
    network
        The model.
    nodes
        Nodes of the lattice.
    positions, cell, pbc
        [n_atoms, 3] and [3, 3] in Å, and periodicity [3].
    r_max
        Cutoff of the model in Å.

    Notes
    -----
    Node weights are float64 [n_nodes], one for spectators. An edge between two nodes of zero
    weight changes neither the energy nor its gradient and is left out, except for Hessian
    products; nodes of zero weight are left out where no gradient is asked for.
    """

    def __init__(
        self,
        network: Network,
        nodes: Nodes,
        positions: np.ndarray,
        cell: np.ndarray,
        *,
        pbc: np.ndarray,
        r_max: float,
    ) -> None:
        self.network = network
        self.nodes = nodes
        self.positions, self.cell = positions, cell
        self.edges: Edges = find_edges(positions, cell, pbc, r_max)

    @cached_property
    def expansion(self) -> Expansion:
        """Edges between the nodes."""
        return expand(self.nodes, self.edges)

    @cached_property
    def attrs(self) -> torch.Tensor:
        """One-hot elements of the nodes."""
        return self.network.one_hot(self._tensor(self.nodes.element))

    # ---- evaluations -----------------------------------------------------------------------

    def energies(self, weights: np.ndarray) -> np.ndarray:
        """E in eV at vertices [n, n_nodes], from the nodes that are there, as one graph."""
        selections = [self._present(one) for one in weights]
        selection = join(selections)
        if len(selection.nodes) == 0:
            return np.zeros(len(weights))
        with torch.no_grad():
            energies = self._node_energies(selection, self._kept(selection), None)
            parts = energies.split([len(one.nodes) for one in selections])
            return np.array([part.sum().item() for part in parts])

    def with_gradients(self, weights: np.ndarray) -> list[Evaluation]:
        """Energies and ∂E/∂λ at vertices [n, n_nodes], as one graph."""
        selections = [self._touched(one, "sites") for one in weights]
        selection = join(selections)
        lam = self._real(weights.reshape(-1)).requires_grad_(True)
        energies = lam * self._node_energies(
            selection, self._kept(selection), self._sender(selection, lam)
        )
        totals = energies.reshape(len(weights), -1).sum(dim=1)
        (gradient,) = torch.autograd.grad(totals.sum(), lam)
        slopes = gradient.cpu().numpy().reshape(weights.shape)
        return [Evaluation(e, g) for e, g in zip(totals.tolist(), slopes, strict=True)]

    def with_gradient(self, weights: np.ndarray, mixing: str = "sites") -> Evaluation:
        """Energy and ∂E/∂λ of every node."""
        selection = self._touched(weights, mixing)
        energy, lam = self._differentiable(selection, weights, mixing)
        (gradient,) = torch.autograd.grad(energy, lam)
        return Evaluation(energy.item(), gradient.cpu().numpy())

    def hessian_product(self, weights: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """∂²E/∂λ² · direction over nodes."""
        everything = np.ones(len(self.expansion.edge), dtype=bool)
        selection = select(self.expansion, np.ones(len(weights), dtype=bool), everything)
        energy, lam = self._differentiable(selection, weights, "sites")
        (gradient,) = torch.autograd.grad(energy, lam, create_graph=True)
        (product,) = torch.autograd.grad((gradient * self._real(direction)).sum(), lam)
        return product.cpu().numpy()

    def with_positions(
        self, weights: np.ndarray, gradient: bool = False, mixing: str = "sites"
    ) -> Evaluation:
        """Energy, forces and stress, and on request ∂E/∂λ; nothing stored is used."""
        selection = self._touched(weights, mixing) if gradient else self._present(weights)
        if len(selection.nodes) == 0:
            return Evaluation(0.0, forces=np.zeros_like(self.positions), stress=np.zeros((3, 3)))
        positions = self._real(self.positions).requires_grad_(True)
        strain = self._real(np.zeros((3, 3))).requires_grad_(True)
        lam = self._real(weights[selection.nodes]).requires_grad_(gradient)
        inputs = self._fresh(selection, positions, strain)
        energy = self._total(selection, lam, inputs, self._edge_weights(selection, lam, mixing))
        wanted = [positions, strain, lam] if gradient else [positions, strain]
        found = [value.cpu().numpy() for value in torch.autograd.grad(energy, wanted)]
        return Evaluation(
            energy=energy.item(),
            gradient=found[2] if gradient else _NOTHING,
            forces=-found[0],
            stress=found[1] / abs(np.linalg.det(self.cell)),
        )

    def _differentiable(
        self, selection: Selection, weights: np.ndarray, mixing: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        lam = self._real(weights[selection.nodes]).requires_grad_(True)
        edge_weights = self._edge_weights(selection, lam, mixing)
        return self._total(selection, lam, self._kept(selection), edge_weights), lam

    def _total(
        self,
        selection: Selection,
        lam: torch.Tensor,
        inputs: EdgeInputs,
        edge_weights: torch.Tensor | None,
    ) -> torch.Tensor:
        return (lam * self._node_energies(selection, inputs, edge_weights)).sum()

    def _node_energies(
        self, selection: Selection, inputs: EdgeInputs, edge_weights: torch.Tensor | None
    ) -> torch.Tensor:
        return self.network.node_energies(
            self.attrs[self._tensor(selection.nodes)],
            self._tensor(np.stack([selection.sender, selection.receiver])),
            inputs,
            edge_weights,
        )

    # ---- which nodes and edges, with which weights -----------------------------------------

    def _present(self, weights: np.ndarray) -> Selection:
        present = weights != 0.0
        between = present[self.expansion.sender] & present[self.expansion.receiver]
        return select(self.expansion, present, between)

    def _touched(self, weights: np.ndarray, mixing: str) -> Selection:
        """All nodes, and the edges on which the energy or its gradient depends."""
        sender, receiver = self.expansion.sender, self.expansion.receiver
        if mixing == "paper":
            own = self.nodes.alchemical
            keep = ~(own[sender] & own[receiver])
            keep |= self.nodes.species[sender] == self.nodes.species[receiver]
        else:
            present = weights != 0.0
            keep = present[sender] | present[receiver]
        return select(self.expansion, np.ones(len(weights), dtype=bool), keep)

    def _sender(self, selection: Selection, lam: torch.Tensor) -> torch.Tensor:
        return lam.to(self.network.dtype)[self._tensor(selection.sender)]

    def _edge_weights(self, selection: Selection, lam: torch.Tensor, mixing: str) -> torch.Tensor:
        weights = self._sender(selection, lam)
        if mixing != "paper":
            return weights
        to_site = self.nodes.alchemical[selection.nodes[selection.receiver]]
        return torch.where(self._tensor(to_site), torch.ones_like(weights), weights)

    # ---- edge inputs -----------------------------------------------------------------------

    @cached_property
    def _store(self) -> EdgeInputs:
        """Inputs of the expanded edges, or of the geometric ones where species do not matter."""
        with torch.no_grad():
            positions, strain = self._real(self.positions), self._real(np.zeros((3, 3)))
            if self.network.species_dependent:
                attrs, sender, receiver = self.attrs, self.expansion.sender, self.expansion.receiver
                vectors = self._vectors(self.expansion.edge, positions, strain)
            else:
                attrs, sender = self.attrs[:1], np.zeros_like(self.edges.sender)
                receiver = sender
                vectors = self._vectors(np.arange(len(sender)), positions, strain)
            edge_index = self._tensor(np.stack([sender, receiver]))
            inputs = self.network.edge_inputs(vectors, attrs, edge_index)
            return self.network.store(inputs, attrs, edge_index)

    def _kept(self, selection: Selection) -> EdgeInputs:
        rows = selection.rows
        if not self.network.species_dependent:
            rows = self.expansion.edge[rows]
        if len(rows) == len(self._store.attributes[0]) and (np.diff(rows) == 1).all():
            return self._store
        return self._store.rows(self._tensor(rows))

    def _fresh(
        self, selection: Selection, positions: torch.Tensor, strain: torch.Tensor
    ) -> EdgeInputs:
        vectors = self._vectors(self.expansion.edge[selection.rows], positions, strain)
        return self.network.edge_inputs(
            vectors,
            self.attrs[self._tensor(selection.nodes)],
            self._tensor(np.stack([selection.sender, selection.receiver])),
        )

    def _vectors(
        self, edge: np.ndarray, positions: torch.Tensor, strain: torch.Tensor
    ) -> torch.Tensor:
        """Vectors from sender to receiver under a symmetrised strain, in the model's dtype."""
        shifts = self._real(self.edges.unit_shift @ self.cell)[self._tensor(edge)]
        sender = self._tensor(self.edges.sender[edge])
        receiver = self._tensor(self.edges.receiver[edge])
        vectors = positions[receiver] - positions[sender] + shifts
        strained = vectors + vectors @ (0.5 * (strain + strain.T))
        return strained.to(self.network.dtype)

    # ---- tensors ---------------------------------------------------------------------------

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=self.network.device)

    def _real(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self.network.device)
