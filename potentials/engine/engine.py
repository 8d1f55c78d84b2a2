"""Energies of occupations by the compiled kernels: whole, local, in chunks of nodes."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ...errors import ModelError
from ..graph import Edges, Nodes
from ..network import Network
from . import kernels
from .geometry import Geometry, build_geometry
from .parameters import Layer, Mixing, Parameters
from .radial import TABLES, Radial

Chunked = TypeVar("Chunked", "Rows", np.ndarray)

__all__ = ["Engine", "Features", "Rows", "Undo"]

UNIT = 2.0**-42
"""Step of node energies in eV: sums of whole numbers do not depend on their order."""

_MOST = 2.0**20  # eV of one node, half of what 64 bits hold

CHUNK = 64
_LOOK_UP = 2**28  # bytes that a table of first-layer messages may take


@dataclass(frozen=True)
class Rows:
    """Receivers to be computed: positions, species within the position, elements; sorted."""

    position: np.ndarray
    local: np.ndarray
    element: np.ndarray

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(self.position[part], self.local[part], self.element[part])


class Features:
    """What is known of one occupation, by position.

    ``present`` int32 [n_positions], the species within the position or −1; ``up`` one
    [n_positions, n, C] per layer, what is sent; ``hidden`` one per layer but the last, features
    before they are sent on; ``energy`` int64 [n_positions] in units of ``UNIT``, ``total`` their
    sum; ``counts`` atoms of every element; ``nbytes`` memory taken.
    """

    def __init__(
        self, n: int, n_elements: int, shapes: list[tuple[int, int]], real: np.dtype
    ) -> None:
        self.present = np.full(n, -1, dtype=np.int32)
        self.counts = np.zeros(n_elements, dtype=np.int64)
        self.up = [np.zeros((n, *shape), dtype=real) for shape in shapes]
        self.hidden = [np.zeros((n, *shape), dtype=real) for shape in shapes[1:]]
        self.energy = np.zeros(n, dtype=np.int64)
        self.total = 0
        self.nbytes = _bytes_of(self.present, self.energy, *self.up, *self.hidden)


class Engine:
    """A MACE model at fixed positions, evaluated node by node at occupations.

    Parameters
    ----------
    network, parameters
        The model and what was read off it for ``elements``.
    nodes, edges, positions, cell, elements
        The structure; ``elements`` are indices of the model's, sorted.
    threads
        How many threads share the nodes; no number depends on it.
    tables
        Bytes that tables of edges may take; beyond, their rows are made when they are needed.
    """

    def __init__(
        self,
        network: Network,
        parameters: Parameters,
        nodes: Nodes,
        edges: Edges,
        positions: np.ndarray,
        cell: np.ndarray,
        *,
        elements: np.ndarray,
        threads: int = 1,
        tables: int = TABLES,
    ) -> None:
        self.parameters = parameters
        self.geometry: Geometry = build_geometry(
            nodes, edges, positions, cell, elements=elements, dependent=network.species_dependent
        )
        couplings = tuple(layer.couplings for layer in parameters.layers)
        self.radial = Radial(network, self.geometry, elements, couplings, tables)
        self.real = parameters.embedding.dtype
        self.channels = int(parameters.embedding.shape[-1])
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._pool_of = 0
        self._scratch = threading.local()
        self.sent = self._sent_by_elements()
        self._first = self._first_table()
        self._stamp = np.zeros(self.geometry.n_positions, dtype=np.int64)
        self._mark = 0

    # ---- whole and local -------------------------------------------------------------------

    def features(self, present: np.ndarray) -> Features:
        """Evaluate an occupation from nothing."""
        shapes = [(layer.up.n_out, self.channels) for layer in self.parameters.layers]
        n = self.geometry.n_positions
        found = Features(n, len(self.parameters.isolated), shapes, self.real)
        everywhere = np.arange(n, dtype=np.int32)
        self._refresh(found, present.astype(np.int32), [everywhere] * (len(shapes) + 1))
        return found

    def reach(self, changed: np.ndarray) -> list[np.ndarray]:
        """Positions whose features a change of species reaches, layer by layer.

        The first array is ``changed`` itself, the last holds all whose energies change.
        """
        geometry = self.geometry
        reached = [changed.astype(np.int32)]
        out = np.empty(geometry.n_positions, dtype=np.int32)
        for _ in self.parameters.layers:
            self._mark += 1
            n = kernels.receivers_of(
                reached[-1], len(reached[-1]), geometry.sender_bounds, geometry.by_sender,
                geometry.receiver, self._stamp, self._mark, out,
            )  # fmt: skip
            reached.append(np.sort(out[:n]))
        return reached

    def update(self, features: Features, held: np.ndarray, reached: list[np.ndarray]) -> Undo:
        """Set the species at the changed positions; what was there before is returned.

        If it is interrupted, or finds no energy, the features are of no use any more.
        """
        undo = Undo(features, reached)
        self._refresh(features, held, reached)
        return undo

    def _refresh(self, features: Features, held: np.ndarray, reached: list[np.ndarray]) -> None:
        changed, last = reached[0], reached[-1]
        for sign, species in ((-1, features.present[changed]), (1, held)):
            element = self.elements(changed[species >= 0], species[species >= 0])
            features.counts += sign * np.bincount(element, minlength=len(features.counts))
        features.present[changed] = held
        there = changed[held >= 0]
        features.up[0][there] = self.sent[self.elements(there, held[held >= 0])]
        features.total -= _total(features.energy[last])
        features.energy[last] = 0
        for t, where in enumerate(reached[1:]):
            rows = self.rows(where, features.present)
            self.each(rows, functools.partial(self._advance, features, t))
        features.total += _total(features.energy[last])

    def energy(self, features: Features) -> float:
        """Total energy in eV."""
        return float(features.counts @ self.parameters.isolated) + features.total * UNIT

    # ---- one layer -------------------------------------------------------------------------

    def _advance(self, features: Features, t: int, rows: Rows) -> None:
        """Compute what leaves layer ``t`` at some positions: features, or at the end energies."""
        found = self.node_update(
            t, rows, self.message(t, rows, features), self.before(t, rows, features)
        )
        if t + 1 < len(self.parameters.layers):
            features.hidden[t][rows.position] = found
            up = self.parameters.layers[t + 1].up
            features.up[t + 1][rows.position] = self.mixed(up, found, None, len(rows))
        else:
            total = self.node_energies(
                features.hidden, rows.position, rows, found, features.present
            )
            features.energy[rows.position] = _in_units(total)

    def node_energies(
        self,
        hidden: list[np.ndarray],
        where: np.ndarray,
        rows: Rows,
        last: np.ndarray,
        present: np.ndarray,
    ) -> np.ndarray:
        """Energies of nodes less those of isolated atoms, float64 [n_rows] in eV.

        ``hidden`` at ``where`` are the features of all layers but the last, which are ``last``.
        """
        total = np.zeros(len(rows))
        *early, final = self.parameters.layers
        for t, layer in enumerate(early):
            if layer.read_out is not None:
                self._read(layer, hidden[t][where], len(rows), total)
        if final.read_out is not None:
            self._read(final, last, len(rows), total)
        if len(self.radial.pair):
            pair = np.empty(len(rows))
            kernels.densities(*self.around(rows, present), self.radial.pair, pair)
            total += pair
        found: np.ndarray = self.parameters.scale * total + self.parameters.shift
        return found

    def message(self, t: int, rows: Rows, features: Features) -> np.ndarray:
        """Messages of layer ``t``, mixed and normalised, [n_rows, n, C]; in a buffer."""
        layer = self.parameters.layers[t]
        if t == 0 and self._first is not None:
            environment, base, bounds, sender, place, first_row, table = self._first
            found = self.buffer("linear", (len(rows), layer.linear.n_out, self.channels))
            kernels.add_table(
                rows.position, rows.local, len(rows), bounds, sender, place, first_row,
                self.geometry.n_species, self.geometry.dependent, features.present,
                environment, base, table, found.reshape(len(rows), -1),
            )  # fmt: skip
        else:
            mid = self.buffer("mid", (len(rows), layer.n_mid, self.channels))
            near = self.radial.towards(t, rows.position, rows.local, features.present)
            kernels.message(
                *near.at, near.weights, near.angular, layer.paths, features.up[t],
                self.buffer("row", (self.channels,)), mid,
            )  # fmt: skip
            found = self.mixed(layer.linear, mid, None, len(rows), "linear")
        if layer.density:
            density = self.buffer("density", (len(rows),), np.float64)
            kernels.densities(*self.around(rows, features.present), self.radial.density[t], density)
            found /= (density + 1.0).astype(self.real)[:, None, None]
        return found

    def node_update(
        self, t: int, rows: Rows, message: np.ndarray, before: np.ndarray
    ) -> np.ndarray:
        """Features that leave layer ``t``, from the messages and those of before; in a buffer."""
        layer = self.parameters.layers[t]
        return self.outgoing(layer, self.skipped(layer, message, rows), before, rows)

    def skipped(self, layer: Layer, message: np.ndarray, rows: Rows) -> np.ndarray:
        """Mix messages per element where a layer does so: what the contraction takes."""
        if layer.skip is None or not layer.skip_message:
            return message
        return self.mixed(layer.skip, message, rows.element, len(rows), "skip")

    def outgoing(
        self, layer: Layer, given: np.ndarray, before: np.ndarray, rows: Rows
    ) -> np.ndarray:
        """Features from what the contraction takes and those of before; in a buffer."""
        product = self._contracted(layer, given, rows)
        found = self.mixed(layer.down, product, None, len(rows), "down")
        if layer.skip is not None and not layer.skip_message:
            found += self.mixed(layer.skip, before, rows.element, len(rows), "own")
        return found

    def _contracted(self, layer: Layer, given: np.ndarray, rows: Rows) -> np.ndarray:
        p = layer.product
        found = self.buffer("product", (len(rows), p.n_out, self.channels))
        kernels.contract(
            given, rows.element, len(rows), p.first, p.second, p.third, p.weights,
            self.buffer("inner", (self.channels,)), self.buffer("outer", (self.channels,)),
            found,
        )  # fmt: skip
        return found

    def before(self, t: int, rows: Rows, features: Features) -> np.ndarray:
        """Features of the rows themselves that enter layer ``t``."""
        if t == 0:
            return self.parameters.embedding[rows.element]
        return features.hidden[t - 1][rows.position]

    def _read(self, layer: Layer, features: np.ndarray, n: int, out: np.ndarray) -> None:
        r = layer.read_out
        assert r is not None  # noqa: S101
        kernels.read_out(features, n, r.into, r.gate, r.constant, r.hidden, out)

    # ---- first layer -----------------------------------------------------------------------

    def _first_table(self) -> tuple[np.ndarray, ...] | None:
        """First-layer messages by kind of edge and species, where there are few enough.

        The messages of a position's spectators are summed once for every kind of environment.
        """
        geometry, layer = self.geometry, self.parameters.layers[0]
        width = layer.linear.n_out * self.channels
        if not geometry.compact:
            return None
        copies = np.bincount(geometry.row_place, minlength=len(geometry.first_row))
        example = np.zeros(len(geometry.first_row), dtype=np.int64)
        example[geometry.place] = np.arange(len(geometry.place))
        sender = geometry.sender[example]
        if not geometry.dependent:
            copies = geometry.n_species[sender].astype(np.int64)
        first_row = np.concatenate([[0], np.cumsum(copies)])
        if first_row[-1] * width * self.real.itemsize > _LOOK_UP:
            return None
        place = np.repeat(np.arange(len(copies)), copies)
        within = np.arange(len(place)) - first_row[place]
        if geometry.dependent:
            radial_row = np.arange(len(place))
            element = geometry.row_sender
        else:
            radial_row = geometry.first_row[place]
            element = geometry.element[geometry.first[sender][place] + within]
        table = self._table_rows(layer, place, radial_row, element).reshape(len(place), width)
        return self._with_environments(table, first_row[:-1].astype(np.int32))

    def _table_rows(
        self, layer: Layer, place: np.ndarray, radial_row: np.ndarray, element: np.ndarray
    ) -> np.ndarray:
        """Message of every row of the table, mixed: each is a receiver with a single edge."""
        n = len(place)
        found = np.empty((n, layer.linear.n_out, self.channels), dtype=self.real)
        for begin in range(0, n, CHUNK):
            part = np.arange(begin, min(begin + CHUNK, n), dtype=np.int32)
            mid = self.buffer("mid", (len(part), layer.n_mid, self.channels))
            rows = np.arange(len(part), dtype=np.int32)
            weights, angular = self.radial.rows_of(0, radial_row[part], place[part])
            kernels.message(
                rows, np.zeros_like(rows), len(rows), np.arange(len(rows) + 1, dtype=np.int32),
                np.ascontiguousarray(element[part], dtype=np.int32), rows, rows,
                np.ones_like(rows), False, np.zeros(len(self.sent), dtype=np.int32),
                weights, angular, layer.paths, self.sent, self.buffer("row", (self.channels,)), mid,
            )  # fmt: skip
            found[part] = self.mixed(layer.linear, mid, None, len(part), "linear")
        return found

    def _with_environments(
        self, table: np.ndarray, first_row: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Split edges into those from spectators, summed per environment, and those from sites."""
        geometry = self.geometry
        site = geometry.variable[geometry.sender]
        counts = np.bincount(geometry.receiver, minlength=geometry.n_positions)
        fixed = ~site
        receiver = geometry.receiver[fixed]
        n_fixed = np.bincount(receiver, minlength=geometry.n_positions)
        padded = np.full((geometry.n_positions, int(n_fixed.max(initial=0)) + 1), -1, np.int32)
        start = np.concatenate([[0], np.cumsum(n_fixed)])[:-1]
        padded[receiver, np.arange(len(receiver)) - start[receiver]] = geometry.place[fixed]
        padded[:, -1] = geometry.n_species if geometry.dependent else 1
        kinds, example, environment = np.unique(
            padded, axis=0, return_index=True, return_inverse=True
        )
        copies = kinds[:, -1].astype(np.int64)
        begin = np.concatenate([[0], np.cumsum(copies)])
        bounds = np.concatenate([[0], np.cumsum(n_fixed)]).astype(np.int32)
        position = np.repeat(example, copies).astype(np.int32)
        local = (np.arange(len(position)) - np.repeat(begin[:-1], copies)).astype(np.int32)
        base = np.zeros((len(position), table.shape[1]), dtype=self.real)
        nothing = np.zeros((1, table.shape[1]), dtype=self.real)
        kernels.add_table(
            position, local, len(position), bounds, geometry.sender[fixed], geometry.place[fixed],
            first_row, geometry.n_species, geometry.dependent,
            np.zeros(geometry.n_positions, dtype=np.int32),
            np.zeros(geometry.n_positions, dtype=np.int32),
            np.repeat(nothing, max(1, int(geometry.n_species.max())), axis=0), table, base,
        )  # fmt: skip
        site_bounds = np.concatenate([[0], np.cumsum(counts - n_fixed)]).astype(np.int32)
        return (
            begin[:-1][environment.reshape(-1)].astype(np.int32), base, site_bounds,
            np.ascontiguousarray(geometry.sender[site]),
            np.ascontiguousarray(geometry.place[site]), first_row, table,
        )  # fmt: skip

    def _sent_by_elements(self) -> np.ndarray:
        embedding = self.parameters.embedding
        up = self.parameters.layers[0].up
        return self.mixed(up, embedding, None, len(embedding)).copy()

    # ---- rows and buffers ------------------------------------------------------------------

    def elements(self, position: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Elements of nodes."""
        found: np.ndarray = self.geometry.element[self.geometry.first[position] + local]
        return found

    def rows(self, positions: np.ndarray, present: np.ndarray) -> Rows:
        """Rows of the atoms that are there, those of one element together."""
        held = present[positions]
        positions, held = positions[held >= 0], held[held >= 0]
        element = self.elements(positions, held)
        order = np.argsort(element, kind="stable")
        return Rows(positions[order].astype(np.int32), held[order].astype(np.int32), element[order])

    def each(self, rows: Chunked, work: Callable[[Chunked], None]) -> None:
        """Do the work chunk by chunk, by as many threads as there are."""
        parts = (rows[begin : begin + CHUNK] for begin in range(0, len(rows), CHUNK))
        if self._threads == 1:
            for part in parts:
                work(part)
        else:
            list(self._workers().map(work, parts))

    def _workers(self) -> ThreadPoolExecutor:
        # A forked process inherits the pool without its threads, and would wait for ever.
        if self._pool is None or self._pool_of != os.getpid():
            self._pool, self._pool_of = ThreadPoolExecutor(self._threads), os.getpid()
        return self._pool

    def around(self, rows: Rows, present: np.ndarray) -> tuple[object, ...]:
        """Arguments by which a kernel finds the edges that reach some rows."""
        return self.geometry.towards(rows.position, rows.local, present)

    def mixed(
        self,
        mixing: Mixing,
        given: np.ndarray,
        element: np.ndarray | None,
        n: int,
        name: str = "up",
    ) -> np.ndarray:
        """Apply a linear map of channels; the result is in a buffer of that name."""
        if element is None:
            element = self.buffer("zeros", (n,), np.int32)
            element[:] = 0
        out = self.buffer(name, (n, mixing.n_out, mixing.matrices.shape[-1]))
        kernels.mix(given, element, n, mixing.matrices, mixing.entries, out)
        return out

    def buffer(
        self, name: str, shape: tuple[int, ...], dtype: type | np.dtype | None = None
    ) -> np.ndarray:
        """Array of this thread, reused by the next chunk."""
        store = self._scratch.__dict__
        size = int(np.prod(shape))
        found = store.get(name)
        if found is None or len(found) < size:
            found = store[name] = np.empty(size, dtype=self.real if dtype is None else dtype)
        return found[:size].reshape(shape)


class Undo:
    """Rows of features as they were before an update."""

    def __init__(self, features: Features, reached: list[np.ndarray]) -> None:
        self._features, self.reached = features, reached
        self._present = features.present[reached[0]]
        self._up = [u[where] for u, where in zip(features.up, reached, strict=False)]
        self._hidden = [h[where] for h, where in zip(features.hidden, reached[1:], strict=False)]
        self._energy, self._total = features.energy[reached[-1]], features.total
        self._counts = features.counts.copy()
        self.nbytes = _bytes_of(self._present, self._energy, *self._up, *self._hidden, *reached)

    def put_back(self) -> None:
        """Return the features to what they were."""
        f, reached = self._features, self.reached
        f.present[reached[0]] = self._present
        for array, old, where in zip(f.up, self._up, reached, strict=False):
            array[where] = old
        for array, old, where in zip(f.hidden, self._hidden, reached[1:], strict=False):
            array[where] = old
        f.energy[reached[-1]] = self._energy
        f.total, f.counts = self._total, self._counts


def _bytes_of(*arrays: np.ndarray) -> int:
    return sum(int(array.nbytes) for array in arrays)


def _in_units(energies: np.ndarray) -> np.ndarray:
    """Node energies as whole numbers of ``UNIT``, refused where 64 bits do not hold them."""
    bad = ~(np.abs(energies) < _MOST)  # NaN too
    if bad.any():
        raise ModelError(
            f"the model's energy is {energies[bad][0]} eV at one atom; check the positions and "
            "the cell"
        )
    return np.round(energies / UNIT).astype(np.int64)


def _total(units: np.ndarray) -> int:
    """Sum of any size: 64 bits hold two million eV, which a few 100,000 atoms reach."""
    return (int((units >> 32).sum()) << 32) + int((units & 0xFFFFFFFF).sum())
