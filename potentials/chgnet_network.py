"""The forward pass of CHGNet in which every message carries the weight of the node it comes from.

The layers of the loaded model are called as they are, but for the first linear map of each gated
network: its input is a concatenation, so it is a sum of maps of the parts, each of which is
applied once per atom, bond or angle instead of once per message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import linear

from ._chgnet import ChgnetModule
from .chgnet_graph import Geometry, NodeGraph

__all__ = ["Basis", "ChgnetNetwork", "Indices"]

_PIECE = 4096  # two thirds of the time of all rows at once, at 40,000 angles


@dataclass(frozen=True)
class Basis:
    """What the network needs to know of the geometry.

    ``bond_weight`` [n_bonds, 64] and ``angle_weight`` [n_pairs, 64] smooth messages out;
    ``short`` [n_short, 64] and ``angle`` [n_pairs, 64] are initial features of short bonds and
    angles; ``long`` holds, for every atom layer, the part of its first map that comes from a long
    bond [n_bonds − n_short, 128], whose features never change.
    """

    bond_weight: torch.Tensor
    angle_weight: torch.Tensor
    short: torch.Tensor
    angle: torch.Tensor
    long: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Indices:
    """A :class:`~alchemc.potentials.chgnet_graph.NodeGraph` as tensors on the model's device."""

    centre: torch.Tensor
    neighbour: torch.Tensor
    weight_row: torch.Tensor
    feature_row: torch.Tensor
    short: torch.Tensor
    ends: torch.Tensor
    angle: torch.Tensor
    receiving: torch.Tensor
    sending: torch.Tensor
    far: torch.Tensor


class ChgnetNetwork:
    """A CHGNet model as a function of species, geometry and node weights.

    Parameters
    ----------
    model
        From :func:`~alchemc.potentials._chgnet.load_chgnet`, in its final dtype and on its final
        device.
    """

    def __init__(self, model: ChgnetModule) -> None:
        self.model = model
        parameter = next(model.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device
        converter = model.graph_converter
        self.cutoffs = (float(converter.atom_graph_cutoff), float(converter.bond_graph_cutoff))
        self._atom = [_Gated(layer.twoBody_atom, 3) for layer in model.atom_conv_layers]
        self._bond = [_Gated(layer.twoBody_bond, 4) for layer in model.bond_conv_layers]
        # The last update of the angles reaches nothing.
        self._angle = [_Gated(layer.twoBody_bond, 4) for layer in model.angle_layers][:-1]

    def indices(self, graph: NodeGraph) -> Indices:
        """Move the graph to the device."""
        return Indices(
            **{
                name: torch.as_tensor(np.ascontiguousarray(values), device=self.device)
                for name, values in vars(graph).items()
            }
        )

    # ---- geometry --------------------------------------------------------------------------

    def basis(self, vectors: torch.Tensor, geometry: Geometry) -> Basis:
        """Expand bond vectors [n_bonds, 3]; differentiable with respect to them."""
        model, n_short = self.model, geometry.n_short
        lengths = torch.linalg.norm(vectors, dim=1)
        encoder = model.bond_basis_expansion
        bases = encoder.rbf_expansion_ag(lengths)
        features = model.bond_embedding(bases)
        units = vectors[:n_short] / lengths[:n_short, None]
        ends = torch.cat([units, -units])
        pairs = torch.as_tensor(geometry.pairs, device=self.device)
        bends = model.angle_basis_expansion(ends[pairs[0]], ends[pairs[1]])
        smooth = model.bond_weights_bg(encoder.rbf_expansion_bg(lengths[:n_short]))
        bond_of = pairs % max(n_short, 1)
        return Basis(
            bond_weight=model.bond_weights_ag(bases),
            angle_weight=smooth[bond_of[0]] * smooth[bond_of[1]],
            short=features[:n_short],
            angle=model.angle_embedding(bends),
            long=tuple(gated.part(1, features[n_short:]) for gated in self._atom),
        )

    # ---- network ---------------------------------------------------------------------------

    def node_energies(
        self,
        numbers: torch.Tensor,
        index: Indices,
        basis: Basis,
        weights: torch.Tensor | None,
    ) -> torch.Tensor:
        """Energy E0 + ε of every node in eV, float64 [n_nodes].

        Parameters
        ----------
        numbers
            Atomic numbers [n_nodes].
        index, basis
            From :meth:`indices` and :meth:`basis`.
        weights
            λ of every node [n_nodes], or None if all are one.
        """
        model = self.model
        atoms = self._convolved(numbers, index, basis, weights, last=True)
        found = model.mlp(model.readout_norm(atoms)).view(-1)
        isolated = model.composition_model.fc.weight[0, numbers - 1]
        return found.double() + isolated.double()

    def magnetic_moments(self, numbers: torch.Tensor, index: Indices, basis: Basis) -> torch.Tensor:
        """Magnetic moment of every node in μ_B, without sign, [n_nodes]; all weights are one."""
        atoms = self._convolved(numbers, index, basis, None, last=False)
        return self.model.site_wise(atoms).view(-1).abs()

    def _convolved(
        self,
        numbers: torch.Tensor,
        index: Indices,
        basis: Basis,
        weights: torch.Tensor | None,
        *,
        last: bool,
    ) -> torch.Tensor:
        """Atom features [n_nodes, 64] after all layers, or before the last atom layer."""
        atoms = self.model.atom_embedding(numbers - 1)
        bonds, angles = basis.short[index.short], basis.angle[index.angle]
        edge_weight = _times(basis.bond_weight[index.weight_row], weights, index.neighbour)
        angle_weight = _times(basis.angle_weight[index.angle], weights, index.far)
        for layer, bond_layer in enumerate(self._bond):
            atoms = atoms + self._atom_update(layer, (atoms, bonds, basis), index, edge_weight)
            if len(index.angle) == 0:
                continue
            messages = self._corner(bond_layer, atoms, bonds, angles, index)
            module = self.model.bond_conv_layers[layer]
            receiver = index.receiving % len(bonds)
            bonds = bonds + _summed(module, messages, angle_weight, receiver, len(bonds))
            if layer < len(self._angle):
                update = self._corner(self._angle[layer], atoms, bonds, angles, index)
                angles = angles + torch.cat([update(rows) for rows in _pieces(len(angles))])
        if last:
            layer = len(self._bond)
            atoms = atoms + self._atom_update(layer, (atoms, bonds, basis), index, edge_weight)
        return atoms

    def _atom_update(
        self,
        layer: int,
        features: tuple[torch.Tensor, torch.Tensor, Basis],
        index: Indices,
        edge_weight: torch.Tensor,
    ) -> torch.Tensor:
        """Change of the atoms by a layer; features are of atoms, short bonds and long bonds."""
        atoms, bonds, basis = features
        gated = self._atom[layer]
        centre, neighbour = gated.part(0, atoms), gated.part(2, atoms)
        along = torch.cat([gated.part(1, bonds), basis.long[layer]])

        def messages(rows: slice) -> torch.Tensor:
            total = centre[index.centre[rows]]
            total += neighbour[index.neighbour[rows]]
            total += along[index.feature_row[rows]]
            return gated(total)

        module = self.model.atom_conv_layers[layer]
        return _summed(module, messages, edge_weight, index.centre, len(atoms))

    def _corner(
        self,
        gated: _Gated,
        atoms: torch.Tensor,
        bonds: torch.Tensor,
        angles: torch.Tensor,
        index: Indices,
    ) -> Callable[[slice], torch.Tensor]:
        """Output of a gated network for some angles."""
        receiving, sending = gated.part(0, bonds), gated.part(1, bonds)
        centre = gated.part(3, atoms)
        # The part of the centre comes with that of the bond that receives.
        at_ends = torch.cat([receiving + centre[index.ends[0]], receiving + centre[index.ends[1]]])

        def output(rows: slice) -> torch.Tensor:
            total = at_ends[index.receiving[rows]]
            total += sending[index.sending[rows]]
            return gated(total.addmm(angles[rows], gated.maps[2].T))

        return output


class _Gated:
    """A gated network of chgnet whose first linear maps, core's and gate's, are taken apart."""

    def __init__(self, network: ChgnetModule, n_parts: int) -> None:
        self.network = network
        branches = [network.mlp_core.layers, network.mlp_gate.layers]
        at = next(i for i, layer in enumerate(branches[0]) if hasattr(layer, "weight"))
        firsts = [layers[at] for layers in branches]
        self.rest = [layers[at + 1 :] for layers in branches]
        self.width = firsts[0].out_features
        self.maps = torch.cat([first.weight for first in firsts]).chunk(n_parts, dim=1)
        self.bias = torch.cat([first.bias for first in firsts])

    def part(self, position: int, values: torch.Tensor) -> torch.Tensor:
        """Both first maps of one part of the input, [n, 128]; the first part brings the bias."""
        return linear(values, self.maps[position], self.bias if position == 0 else None)

    def __call__(self, total: torch.Tensor) -> torch.Tensor:
        """Output [n, 64] of the network for the sum [n, 128] of the parts."""
        network = self.network
        core, gate = total.split(self.width, dim=1)
        core = network.activation(network.bn1(self.rest[0](core)))
        return core * network.sigmoid(network.bn2(self.rest[1](gate)))


def _summed(
    module: ChgnetModule,
    messages: Callable[[slice], torch.Tensor],
    weights: torch.Tensor,
    receiver: torch.Tensor,
    n_receivers: int,
) -> torch.Tensor:
    """Weighted messages [n_receivers, 64] of a layer, summed by receiver and mapped."""
    sums = weights.new_zeros(n_receivers, weights.shape[1])
    for rows in _pieces(len(receiver)):
        sums = sums.index_add_(0, receiver[rows], messages(rows) * weights[rows])
    return module.mlp_out(sums)


def _pieces(n: int) -> list[slice]:
    """Rows in pieces that stay in the processor's cache; all at once where they are recorded."""
    size = max(n, 1) if torch.is_grad_enabled() else _PIECE
    return [slice(start, start + size) for start in range(0, max(n, 1), size)]


def _times(values: torch.Tensor, weights: torch.Tensor | None, nodes: torch.Tensor) -> torch.Tensor:
    return values if weights is None else values * weights[nodes, None].to(values.dtype)
