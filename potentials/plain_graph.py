"""A model on the atoms that are there, at any positions: no alchemical expansion, nothing kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from .graph import Edges, Nodes, find_edges
from .network import Network

__all__ = ["PlainEvaluation", "evaluate_plain"]


class PlainEvaluation(NamedTuple):
    """Energy in eV, forces [n_atoms, 3] in eV/Å (0 on vacancies), stress [3, 3] in eV/Å³."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray


def evaluate_plain(
    network: Network,
    nodes: Nodes,
    weights: np.ndarray,
    positions: np.ndarray,
    cell: np.ndarray,
    *,
    pbc: np.ndarray,
    r_max: float,
) -> PlainEvaluation:
    """Evaluate one occupation at one set of positions, its neighbours searched for anew.

    Parameters
    ----------
    network, nodes
        The model and the nodes of the lattice.
    weights
        One for the nodes that are there and zero for the others, [n_nodes].
    positions, cell, pbc
        [n_atoms, 3] and [3, 3] in Å, and periodicity [3].
    r_max
        Cutoff of the model in Å.

    Raises
    ------
    InputError
        If two atoms lie on top of one another.
    """
    there = np.flatnonzero(weights)
    atoms = nodes.atom[there]
    forces = np.zeros_like(positions)
    if len(there) == 0:
        return PlainEvaluation(0.0, forces, np.zeros((3, 3)))
    places = positions[atoms]
    edges = find_edges(places, cell, pbc, r_max)
    energy, force, virial = _differentiate(network, nodes.element[there], places, edges, cell)
    forces[atoms] = force
    return PlainEvaluation(energy, forces, virial / abs(np.linalg.det(cell)))


def _differentiate(
    network: Network, elements: np.ndarray, places: np.ndarray, edges: Edges, cell: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and ∂E/∂strain."""

    def real(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=network.device)

    index = torch.as_tensor(np.stack([edges.sender, edges.receiver]), device=network.device)
    attrs = network.one_hot(torch.as_tensor(elements, device=network.device))
    positions = real(places).requires_grad_(True)
    strain = real(np.zeros((3, 3))).requires_grad_(True)
    vectors = positions[index[1]] - positions[index[0]] + real(edges.unit_shift @ cell)
    strained = vectors + vectors @ (0.5 * (strain + strain.T))
    inputs = network.edge_inputs(strained.to(network.dtype), attrs, index)
    energy = network.node_energies(attrs, index, inputs, None).sum()
    slope, virial = torch.autograd.grad(energy, [positions, strain])
    return energy.item(), -slope.cpu().numpy(), virial.cpu().numpy()
