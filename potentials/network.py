"""The forward pass of a MACE model in which every edge carries the weight of its sender.

The parts of the loaded model are called as they are. The weight enters through the ``cutoff``
argument of the interaction blocks, which multiplies their radial weights and edge densities.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from ._mace import MaceModule

__all__ = ["EdgeInputs", "Network"]


@dataclass(frozen=True)
class EdgeInputs:
    """What the interactions need to know of the edges; rows are edges.

    ``attributes`` and ``features`` hold one tensor per layer; ``cutoff`` [n_edges, 1] is the
    model's own or None; ``pair`` [n_edges] is the ZBL energy of an edge or None. ``stored`` says
    that the radial networks have been applied already.
    """

    attributes: tuple[torch.Tensor, ...]
    features: tuple[torch.Tensor, ...]
    cutoff: torch.Tensor | None
    pair: torch.Tensor | None
    stored: bool

    def rows(self, index: torch.Tensor) -> EdgeInputs:
        """Take the inputs of some edges; a tensor shared by layers is taken once."""
        taken = {
            id(value): value.index_select(0, index) for value in (*self.attributes, *self.features)
        }
        return EdgeInputs(
            attributes=tuple(taken[id(value)] for value in self.attributes),
            features=tuple(taken[id(value)] for value in self.features),
            cutoff=None if self.cutoff is None else self.cutoff[index],
            pair=None if self.pair is None else self.pair[index],
            stored=self.stored,
        )


class Network:
    """A MACE model as a function of one-hot elements, edges and edge weights.

    Parameters
    ----------
    model
        A covered model (:func:`~alchemc.potentials.coverage.check_covered`), frozen, in its
        final dtype and on its final device.
    head
        Index of the readout head.
    """

    def __init__(self, model: MaceModule, head: int) -> None:
        self.model = model
        self.head = head
        self.dtype = next(model.parameters()).dtype
        self.device = next(model.parameters()).device
        self.n_elements = len(model.atomic_numbers)
        self._stored = [_with_stored_radial(block) for block in model.interactions]
        self.can_store = not any(hasattr(block, "linear_down") for block in model.interactions)

    @property
    def species_dependent(self) -> bool:
        """Whether radial features depend on the species at either end of an edge."""
        return (
            hasattr(self.model.radial_embedding, "distance_transform")
            or hasattr(self.model, "pair_repulsion_fn")
            or any(hasattr(block, "source_embedding") for block in self.model.interactions)
        )

    def one_hot(self, elements: torch.Tensor) -> torch.Tensor:
        """One-hot elements [n, n_elements] of element indices [n]."""
        return torch.nn.functional.one_hot(elements, self.n_elements).to(self.dtype)

    def edge_inputs(
        self, vectors: torch.Tensor, attrs: torch.Tensor, edge_index: torch.Tensor
    ) -> EdgeInputs:
        """Edge inputs from vectors [n_edges, 3]; differentiable with respect to them."""
        model = self.model
        lengths = torch.linalg.norm(vectors, dim=-1, keepdim=True)
        features, cutoff = model.radial_embedding(lengths, attrs, edge_index, model.atomic_numbers)
        attributes = model.spherical_harmonics(vectors)
        pair = None
        if hasattr(model, "pair_repulsion_fn"):
            pair = self._pair_energy(lengths, attrs, edge_index)
        n_layers = len(model.interactions)
        return EdgeInputs((attributes,) * n_layers, (features,) * n_layers, cutoff, pair, False)

    def _pair_energy(
        self, lengths: torch.Tensor, attrs: torch.Tensor, edge_index: torch.Tensor
    ) -> torch.Tensor:
        """ZBL energy of every edge: the model sums over receivers, so give each edge its own."""
        n_edges = edge_index.shape[1]
        ends = torch.arange(2 * n_edges, device=self.device).view(2, n_edges)
        own = torch.cat([attrs[edge_index[0]], attrs[edge_index[1]]])
        energy = self.model.pair_repulsion_fn(lengths, own, ends, self.model.atomic_numbers)
        return energy[n_edges:]

    def store(
        self, inputs: EdgeInputs, attrs: torch.Tensor, edge_index: torch.Tensor
    ) -> EdgeInputs:
        """Apply the radial networks of all layers once and for all."""
        if not self.can_store:
            return inputs
        sender, receiver = edge_index
        features = []
        for block, values in zip(self.model.interactions, inputs.features, strict=True):
            given = values
            if hasattr(block, "source_embedding"):
                source, target = block.source_embedding(attrs), block.target_embedding(attrs)
                given = torch.cat([values, source[sender], target[receiver]], dim=-1)
            columns = [block.conv_tp_weights(given)]
            if hasattr(block, "density_fn"):
                columns.append(block.density_fn(given))
            features.append(torch.cat(columns, dim=-1))
        return EdgeInputs(inputs.attributes, tuple(features), inputs.cutoff, inputs.pair, True)

    def node_energies(
        self,
        attrs: torch.Tensor,
        edge_index: torch.Tensor,
        inputs: EdgeInputs,
        weights: torch.Tensor | None,
    ) -> torch.Tensor:
        """Energy E0 + ε of every node in eV, float64 [n_nodes].

        Parameters
        ----------
        attrs
            One-hot elements [n_nodes, n_elements].
        edge_index
            Sender and receiver [2, n_edges].
        inputs
            From :meth:`edge_inputs` or :meth:`store`.
        weights
            Weight of every edge [n_edges], or None if all are one.
        """
        model = self.model
        heads = torch.full((len(attrs),), self.head, dtype=torch.int64, device=self.device)
        cutoff = _product(inputs.cutoff, weights)
        blocks = self._stored if inputs.stored else model.interactions
        node_feats = model.node_embedding(attrs)
        layers = []
        for layer, (block, product) in enumerate(zip(blocks, model.products, strict=True)):
            node_feats, sc = block(
                node_attrs=attrs,
                node_feats=node_feats,
                edge_attrs=inputs.attributes[layer],
                edge_feats=inputs.features[layer],
                edge_index=edge_index,
                cutoff=cutoff,
                first_layer=layer == 0,
            )
            node_feats = product(node_feats=node_feats, sc=sc, node_attrs=attrs)
            layers.append(node_feats)
        terms = self._read_out(layers, heads)
        if inputs.pair is not None:
            pair = inputs.pair if weights is None else inputs.pair * weights
            terms.append(pair.new_zeros(len(attrs)).index_add(0, edge_index[1], pair))
        energies = torch.stack(terms).sum(dim=0)
        if hasattr(model, "scale_shift"):
            energies = model.scale_shift(energies, heads)
        isolated = model.atomic_energies_fn(attrs)[:, self.head]
        return isolated.double() + energies.double()

    def _read_out(self, layers: list[torch.Tensor], heads: torch.Tensor) -> list[torch.Tensor]:
        readouts = self.model.readouts
        shown = layers[-1:] if len(readouts) == 1 else layers
        pairs = zip(readouts, shown, strict=True)
        return [readout(node_feats, heads)[:, self.head] for readout, node_feats in pairs]


def _product(cutoff: torch.Tensor | None, weights: torch.Tensor | None) -> torch.Tensor | None:
    if weights is None:
        return cutoff
    return weights[:, None] if cutoff is None else cutoff * weights[:, None]


class _Columns(torch.nn.Module):
    """Stands in for a radial network whose output is a block of columns of the stored features."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, self.start : self.stop]


def _with_stored_radial(block: MaceModule) -> MaceModule:
    """Make a block of the same parameters that finds its radial weights in the edge features."""
    n_weights = block.conv_tp.weight_numel
    parts = {"conv_tp_weights": _Columns(0, n_weights)}
    if hasattr(block, "density_fn"):
        parts["density_fn"] = _Columns(n_weights, n_weights + 1)
    if hasattr(block, "source_embedding"):
        parts["source_embedding"] = parts["target_embedding"] = _Columns(0, 0)
    clone = copy.copy(block)
    clone.__dict__["_modules"] = dict(block.named_children()) | parts  # else shared with the block
    return clone
