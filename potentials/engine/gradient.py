"""∂E/∂λ at an occupation by the compiled kernels: forward over all nodes, backward over atoms.

A node of zero weight sends nothing and its energy does not count, so nothing flows back through
it. Its entry of the gradient is its own energy plus what its messages would do: one pass over the
edges that leave it, with the adjoints of their receivers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from . import kernels
from .engine import UNIT, Engine, Features, Rows
from .parameters import Layer, Mixing

__all__ = ["GradientEngine"]


@dataclass
class _Absent:
    """Nodes of zero weight: their rows and, layer by layer, their features and what they send."""

    rows: Rows
    hidden: list[np.ndarray]
    up: list[np.ndarray]
    energy: np.ndarray


class GradientEngine:
    """Adds the alchemical gradient to an engine.

    Parameters
    ----------
    engine
        Evaluates energies.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        layers = engine.parameters.layers
        widths = [1, *(layer.down.n_out for layer in layers)]
        self._up = [layer.up.transposed(n) for layer, n in zip(layers, widths, strict=False)]
        self._linear = [layer.linear.transposed(layer.n_mid) for layer in layers]
        self._down = [layer.down.transposed(layer.product.n_out) for layer in layers]
        self._skip: list[Mixing | None] = [
            None
            if layer.skip is None
            else layer.skip.transposed(layer.linear.n_out if layer.skip_message else width)
            for layer, width in zip(layers, widths, strict=False)
        ]

    def __call__(self, features: Features) -> np.ndarray:
        """∂E/∂λ in eV, float64 [n_nodes], of the nodes of sites; the spectators' are incomplete."""
        engine = self.engine
        absent = self._forward_absent(features)
        gradient = np.zeros(len(engine.geometry.element))
        atoms = np.flatnonzero(features.present >= 0).astype(np.int32)
        nodes = engine.geometry.first[atoms] + features.present[atoms]
        own = features.energy[atoms] * UNIT
        gradient[nodes] = own
        gradient[self._node(absent.rows)] = absent.energy
        gradient += engine.parameters.isolated[engine.geometry.element]
        self._backward(features, absent, gradient)
        return gradient

    def _node(self, rows: Rows) -> np.ndarray:
        found: np.ndarray = self.engine.geometry.first[rows.position] + rows.local
        return found

    # ---- forward over the nodes of zero weight ----------------------------------------------

    def _forward_absent(self, features: Features) -> _Absent:
        engine, geometry = self.engine, self.engine.geometry
        position = np.repeat(np.arange(geometry.n_positions), geometry.n_species)
        local = np.arange(len(position)) - geometry.first[position]
        keep = (local != features.present[position]) & geometry.variable[position]
        order = np.argsort(geometry.element[keep], kind="stable")
        rows = Rows(
            position[keep][order].astype(np.int32),
            local[keep][order].astype(np.int32),
            geometry.element[keep][order],
        )
        layers, channels = engine.parameters.layers, engine.channels
        found = _Absent(
            rows,
            [np.zeros((len(rows), layer.down.n_out, channels), engine.real) for layer in layers],
            [np.zeros((len(rows), layer.up.n_out, channels), engine.real) for layer in layers],
            np.zeros(len(rows)),
        )
        found.up[0][:] = engine.sent[rows.element]
        for t in range(len(layers)):
            work = functools.partial(self._absent_layer, features, found, t)
            engine.each(np.arange(len(rows)), work)
        return found

    def _absent_layer(self, features: Features, absent: _Absent, t: int, where: np.ndarray) -> None:
        engine = self.engine
        rows = absent.rows[int(where[0]) : int(where[-1]) + 1]
        if t == 0:
            before = engine.parameters.embedding[rows.element]
        else:
            before = absent.hidden[t - 1][where]
        message = engine.message(t, rows, features)
        found = engine.node_update(t, rows, message, before)
        if t + 1 < len(engine.parameters.layers):
            absent.hidden[t][where] = found
            up = engine.parameters.layers[t + 1].up
            absent.up[t + 1][where] = engine.mixed(up, found, None, len(rows))
        else:
            absent.energy[where] = engine.node_energies(
                absent.hidden, where, rows, found, features.present
            )

    # ---- backward over the atoms ------------------------------------------------------------

    def _backward(self, features: Features, absent: _Absent, gradient: np.ndarray) -> None:
        engine = self.engine
        layers, n = engine.parameters.layers, engine.geometry.n_positions
        rows = engine.rows(np.arange(n, dtype=np.int32), features.present)
        hidden_adjoint = np.zeros((n, layers[-1].down.n_out, engine.channels), engine.real)
        for t in range(len(layers) - 1, -1, -1):
            layer = layers[t]
            adjoint = np.zeros((n, layer.n_mid, engine.channels), engine.real)
            density = np.zeros(n if layer.density else 0)
            below = np.zeros(
                (n, layers[t - 1].down.n_out if t else 1, engine.channels), engine.real
            )
            engine.each(
                rows,
                functools.partial(
                    self._through_node, features, t, hidden_adjoint, adjoint, density, below
                ),
            )
            engine.each(
                rows if t else _sites(rows, engine.geometry.variable),
                functools.partial(
                    self._through_edges, features, t, adjoint, density, below, gradient
                ),
            )
            engine.each(
                np.arange(len(absent.rows)),
                functools.partial(
                    self._absent_edges, features, absent, t, adjoint, density, gradient
                ),
            )
            hidden_adjoint = below

    def _through_node(
        self,
        features: Features,
        t: int,
        hidden_adjoint: np.ndarray,
        adjoint: np.ndarray,
        density: np.ndarray,
        below: np.ndarray,
        rows: Rows,
    ) -> None:
        """From ∂E/∂features that leave layer ``t`` to ∂E/∂messages and ∂E/∂features of before."""
        engine, layer = self.engine, self.engine.parameters.layers[t]
        n = len(rows)
        before = engine.before(t, rows, features)
        message = engine.message(t, rows, features)
        given = engine.skipped(layer, message, rows)
        upper = hidden_adjoint[rows.position]
        if layer.read_out is not None:
            last = t + 1 == len(engine.parameters.layers)
            if last:
                reached = engine.outgoing(layer, given, before, rows)
            else:
                reached = features.hidden[t][rows.position]
            self._read_backward(layer, reached, upper, n)
        product = engine.mixed(self._down[t], upper, None, n, "product_adjoint")
        contracted = self._contract_backward(layer, given, product, rows)
        if layer.skip is not None:
            skip = self._skip[t]
            assert skip is not None  # noqa: S101
            if layer.skip_message:
                contracted = engine.mixed(skip, contracted, rows.element, n, "skip_adjoint")
            else:
                below[rows.position] += engine.mixed(skip, upper, rows.element, n, "own_adjoint")
        if layer.density:
            norm = engine.buffer("norm", (n,), np.float64)
            kernels.densities(
                *engine.around(rows, features.present), engine.radial.density[t], norm
            )
            norm += 1.0
            density[rows.position] = -(
                np.einsum("rmc,rmc->r", contracted, message, dtype=np.float64) / norm
            )
            contracted /= norm.astype(engine.real)[:, None, None]
        adjoint[rows.position] = engine.mixed(self._linear[t], contracted, None, n, "mid_adjoint")

    def _read_backward(
        self, layer: Layer, features: np.ndarray, adjoint: np.ndarray, n: int
    ) -> None:
        r = layer.read_out
        assert r is not None  # noqa: S101
        scale = self.engine.parameters.scale
        kernels.read_out_backward(features, n, r.into, r.gate, r.constant, r.hidden, scale, adjoint)

    def _contract_backward(
        self, layer: Layer, given: np.ndarray, adjoint: np.ndarray, rows: Rows
    ) -> np.ndarray:
        engine, p, n = self.engine, layer.product, len(rows)
        found = engine.buffer("given_adjoint", given.shape)
        kernels.contract_backward(
            given, rows.element, n, p.first, p.second, p.third, p.weights,
            engine.buffer("inner", (engine.channels,)), engine.buffer("outer", (engine.channels,)),
            engine.buffer("chain", (engine.channels,)), adjoint, found,
        )  # fmt: skip
        return found

    def _through_edges(
        self,
        features: Features,
        t: int,
        adjoint: np.ndarray,
        density: np.ndarray,
        below: np.ndarray,
        gradient: np.ndarray,
        rows: Rows,
    ) -> None:
        """Add what the messages of atoms do to the gradient and to the features they come from."""
        engine = self.engine
        found = self._gathered(features, t, adjoint, rows)
        self._add(gradient, features, t, density, rows, found, features.up[t][rows.position])
        if t:
            below[rows.position] += engine.mixed(self._up[t], found, None, len(rows), "up_adjoint")

    def _absent_edges(
        self,
        features: Features,
        absent: _Absent,
        t: int,
        adjoint: np.ndarray,
        density: np.ndarray,
        gradient: np.ndarray,
        where: np.ndarray,
    ) -> None:
        rows = absent.rows[int(where[0]) : int(where[-1]) + 1]
        found = self._gathered(features, t, adjoint, rows)
        self._add(gradient, features, t, density, rows, found, absent.up[t][where])

    def _gathered(self, features: Features, t: int, adjoint: np.ndarray, rows: Rows) -> np.ndarray:
        engine, layer = self.engine, self.engine.parameters.layers[t]
        found = engine.buffer("gathered", (len(rows), layer.up.n_out, engine.channels))
        far = engine.radial.leaving(t, rows.position, rows.local, features.present)
        kernels.gather_backward(
            *far.at, far.weights, far.angular, layer.paths, adjoint,
            engine.buffer("row", (engine.channels,)), found,
        )  # fmt: skip
        return found

    def _add(
        self,
        gradient: np.ndarray,
        features: Features,
        t: int,
        density: np.ndarray,
        rows: Rows,
        gathered: np.ndarray,
        sent: np.ndarray,
    ) -> None:
        total = np.einsum("rmc,rmc->r", gathered, sent, dtype=np.float64)
        leaving = self.engine.geometry.leaving(rows.position, rows.local, features.present)
        if len(density):
            kernels.add_pairs(*leaving, self.engine.radial.density[t], density, total)
        if t == 0 and len(self.engine.radial.pair):
            scale = np.full(self.engine.geometry.n_positions, self.engine.parameters.scale)
            kernels.add_pairs(*leaving, self.engine.radial.pair, scale, total)
        gradient[self._node(rows)] += total


def _sites(rows: Rows, variable: np.ndarray) -> Rows:
    keep = variable[rows.position]
    return Rows(rows.position[keep], rows.local[keep], rows.element[keep])
