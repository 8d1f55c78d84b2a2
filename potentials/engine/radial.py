"""Radial weights and angular factors of edges: kept in tables, or made again chunk by chunk.

Tables are small where edges are alike, as on ideal positions. Where atoms are displaced every edge
has rows of its own; in cells where those would fill the memory they are computed when a chunk of
nodes needs them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from .._mace import fixed_execution
from ..network import EdgeInputs, Network
from .geometry import Geometry

__all__ = ["Around", "Radial"]

TABLES = 2**32  # bytes
_ROWS = 16_384  # edges whose radial networks are applied at once
_BLOCK = 256  # rows are padded to blocks, in which a row's rounding does not depend on the others


class Around(NamedTuple):
    """Edges around a chunk of rows, as the kernels take them, with their tables.

    ``at``: position (a number within ``bounds``), local species and number of rows, ``bounds``.
    """

    at: tuple[object, ...]
    weights: np.ndarray
    angular: np.ndarray


class Radial:
    """What the layers need to know of the edges of a structure.

    ``density`` [n_rows] float64 per layer (empty where a layer has none) and ``pair`` [n_rows] in
    eV (empty without ZBL term) are kept in any case.

    Parameters
    ----------
    network
        The model.
    geometry
        The edges.
    elements
        The model's elements that occur.
    couplings
        Per layer, from spherical harmonics to angular factors.
    tables
        Bytes that tables may take.
    """

    def __init__(
        self,
        network: Network,
        geometry: Geometry,
        elements: np.ndarray,
        couplings: tuple[np.ndarray, ...],
        tables: int,
    ) -> None:
        self._network, self._geometry, self._couplings = network, geometry, couplings
        self._attrs = network.one_hot(torch.as_tensor(elements, device=network.device))
        blocks = network.model.interactions
        self._n_weights = [block.conv_tp.weight_numel for block in blocks]
        self._row_bounds = np.append(geometry.first_row, len(geometry.row_place))
        size = torch.finfo(network.dtype).bits // 8
        needed = len(geometry.row_place) * sum(self._n_weights)
        needed += len(geometry.place_vector) * sum(len(coupling) for coupling in couplings)
        self.stored = needed * size <= tables
        self.weights: list[np.ndarray] = []
        self.angular: list[np.ndarray] = []
        self.density: list[np.ndarray] = []
        self.pair = np.zeros(0)
        self._fill()

    # ---- tables ----------------------------------------------------------------------------

    def _fill(self) -> None:
        geometry, n_layers = self._geometry, len(self._n_weights)
        weights: list[list[np.ndarray]] = [[] for _ in range(n_layers)]
        density: list[list[np.ndarray]] = [[] for _ in range(n_layers)]
        angular: list[list[np.ndarray]] = [[] for _ in range(n_layers)]
        pair: list[np.ndarray] = []
        of_rows = self.stored or any(
            hasattr(block, "density_fn") for block in self._network.model.interactions
        )
        of_rows = of_rows or hasattr(self._network.model, "pair_repulsion_fn")
        with torch.no_grad():
            for begin in range(0, max(1, len(geometry.row_place)) if of_rows else 0, _ROWS):
                rows = np.arange(begin, min(begin + _ROWS, len(geometry.row_place)))
                inputs = self._inputs(rows)
                if inputs.pair is not None:
                    pair.append(inputs.pair.cpu().double().numpy())
                for t in range(n_layers):
                    if self.stored:
                        weights[t].append(self._weights_of(inputs, t))
                    density[t].append(self._density_of(inputs, t))
            for begin in range(0, len(geometry.place_vector) if self.stored else 0, _ROWS):
                places = np.arange(begin, min(begin + _ROWS, len(geometry.place_vector)))
                for t in range(n_layers):
                    angular[t].append(self._angular_of(places, t))
        if self.stored:
            self.weights = [np.concatenate(parts) for parts in weights]
            self.angular = [np.concatenate(parts) for parts in angular]
        self.density = [np.concatenate(parts) if parts else np.zeros(0) for parts in density]
        self.pair = np.concatenate(pair) if pair else np.zeros(0)

    def _inputs(self, rows: np.ndarray) -> EdgeInputs:
        network, geometry = self._network, self._geometry
        vectors = geometry.place_vector[geometry.row_place[rows]]
        ends = np.stack([geometry.row_sender[rows], geometry.row_receiver[rows]])
        edge_index = torch.as_tensor(ends.astype(np.int64), device=network.device)
        real = torch.as_tensor(vectors, device=network.device).to(network.dtype)
        return network.store(
            network.edge_inputs(real, self._attrs, edge_index), self._attrs, edge_index
        )

    def _weights_of(self, inputs: EdgeInputs, t: int) -> np.ndarray:
        values = inputs.features[t][:, : self._n_weights[t]]
        if inputs.cutoff is not None:
            values = values * inputs.cutoff
        return np.ascontiguousarray(values.cpu().numpy())

    def _density_of(self, inputs: EdgeInputs, t: int) -> np.ndarray:
        if not hasattr(self._network.model.interactions[t], "density_fn"):
            return np.zeros(0)
        dense = torch.tanh(inputs.features[t][:, self._n_weights[t]] ** 2)
        if inputs.cutoff is not None:
            dense = dense * inputs.cutoff[:, 0]
        return np.asarray(dense.cpu().double().numpy())

    def _angular_of(self, places: np.ndarray, t: int) -> np.ndarray:
        network = self._network
        vectors = torch.as_tensor(self._geometry.place_vector[places], device=network.device)
        harmonics = network.model.spherical_harmonics(vectors.to(network.dtype))
        turned = torch.as_tensor(self._couplings[t].T, device=network.device).to(network.dtype)
        return np.ascontiguousarray((harmonics @ turned).cpu().numpy())

    # ---- what a chunk of rows needs --------------------------------------------------------

    def rows_of(self, t: int, rows: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, ...]:
        """Weights and angular factors of layer ``t`` for some rows and kinds of edges."""
        if self.stored:
            return self.weights[t][rows], self.angular[t][places]
        with fixed_execution(on_gpu=False), torch.no_grad():
            weights = self._weights_of(self._inputs(_padded(rows)), t)[: len(rows)]
            angular = self._angular_of(_padded(places), t)[: len(places)]
        return weights, angular

    def towards(
        self, t: int, position: np.ndarray, local: np.ndarray, present: np.ndarray
    ) -> Around:
        """Edges that reach some rows; arguments of ``message``."""
        g, n = self._geometry, len(position)
        if self.stored:
            at = g.towards(position, local, present)
            return Around(at, self.weights[t], self.angular[t])
        edges, bounds = _slices(g.bounds, position)
        first_row, weights, angular = self._made(t, edges)
        numbers = np.arange(n, dtype=np.int32)
        return Around(
            (numbers, local, n, bounds, g.sender[edges], np.arange(len(edges), dtype=np.int32),
             first_row, g.n_species[position], g.dependent, present), weights, angular,
        )  # fmt: skip

    def leaving(
        self, t: int, position: np.ndarray, local: np.ndarray, present: np.ndarray
    ) -> Around:
        """Edges that leave some rows; arguments of ``gather_backward``."""
        g, n = self._geometry, len(position)
        if self.stored:
            at = g.leaving(position, local, present)
            return Around(at, self.weights[t], self.angular[t])
        listed, bounds = _slices(g.sender_bounds, position)
        edges = g.by_sender[listed]
        first_row, weights, angular = self._made(t, edges)
        numbers = np.arange(len(edges), dtype=np.int32)
        return Around(
            (np.arange(n, dtype=np.int32), local, n, bounds, numbers, g.receiver[edges], numbers,
             first_row, g.n_species, g.dependent, present), weights, angular,
        )  # fmt: skip

    def _made(self, t: int, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First rows, weights and angular factors of some edges, each with rows of its own."""
        g = self._geometry
        places = g.place[edges]
        copies = self._row_bounds[places + 1] - self._row_bounds[places]
        first_row = np.concatenate([[0], np.cumsum(copies)])
        within = np.arange(first_row[-1]) - np.repeat(first_row[:-1], copies)
        rows = np.repeat(g.first_row[places], copies) + within
        weights, angular = self.rows_of(t, rows, places)
        return first_row[:-1].astype(np.int32), weights, angular


def _slices(bounds: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate ranges bounds[k] … bounds[k + 1], and say where each begins."""
    counts = bounds[which + 1] - bounds[which]
    found = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    listed = np.arange(found[-1]) - np.repeat(found[:-1], counts) + np.repeat(bounds[which], counts)
    return listed, found


def _padded(rows: np.ndarray) -> np.ndarray:
    """Repeat the last row up to a whole number of blocks."""
    return np.pad(rows, (0, -len(rows) % _BLOCK), mode="edge") if len(rows) else rows
