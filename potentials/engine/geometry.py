"""Edges of a structure by receiver and by sender, and one table row for edges that are alike.

Two edges are alike where their vectors agree to 1e-10 Å and their ends may hold the same
elements. On ideal positions a crystal has a few hundred kinds of edges however many atoms it has.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ..graph import Edges, Nodes

__all__ = ["Geometry", "build_geometry"]

_ALIKE = 1e-10  # Å


@dataclass(frozen=True)
class Geometry:
    """Positions, their species and the edges between them.

    ``first`` int32 [n_positions + 1]: nodes of every position; ``n_species`` how many;
    ``variable`` whether it is a site.
    ``element`` [n_nodes]: element of a node, counted within the lattice. Edges are sorted by
    receiver, ``bounds`` [n_positions + 1]; ``by_sender`` lists them by sender within
    ``sender_bounds``. ``place`` [n_edges] is an edge's kind; a kind has ``first_row[kind]`` as
    its first row of tables over pairs of species.

    Rows of those tables: ``row_place`` [n_rows], the kind; ``row_sender`` and ``row_receiver``,
    elements, zero unless ``dependent``. ``place_vector`` [n_places, 3] in Å. A position that is
    always vacant has no species; its edges have places but, where ``dependent``, no rows.
    """

    first: np.ndarray
    n_species: np.ndarray
    variable: np.ndarray
    element: np.ndarray
    bounds: np.ndarray
    sender: np.ndarray
    receiver: np.ndarray
    place: np.ndarray
    sender_bounds: np.ndarray
    by_sender: np.ndarray
    first_row: np.ndarray
    place_vector: np.ndarray
    row_place: np.ndarray
    row_sender: np.ndarray
    row_receiver: np.ndarray
    dependent: bool

    @property
    def n_positions(self) -> int:
        """Number of positions, spectators included."""
        return len(self.n_species)

    @property
    def compact(self) -> bool:
        """Whether there are far fewer kinds of edges than edges."""
        return 8 * len(self.first_row) < len(self.sender)

    def towards(
        self, position: np.ndarray, local: np.ndarray, present: np.ndarray
    ) -> tuple[object, ...]:
        """Arguments by which a kernel finds the edges that reach some rows."""
        return (
            position, local, len(position), self.bounds, self.sender, self.place, self.first_row,
            self.n_species, self.dependent, present,
        )  # fmt: skip

    def leaving(
        self, position: np.ndarray, local: np.ndarray, present: np.ndarray
    ) -> tuple[object, ...]:
        """Arguments by which a kernel finds the edges that leave some rows."""
        return (
            position, local, len(position), self.sender_bounds, self.by_sender, self.receiver,
            self.place, self.first_row, self.n_species, self.dependent, present,
        )  # fmt: skip


def build_geometry(
    nodes: Nodes,
    edges: Edges,
    positions: np.ndarray,
    cell: np.ndarray,
    *,
    elements: np.ndarray,
    dependent: bool,
) -> Geometry:
    """Geometry of a structure.

    Parameters
    ----------
    nodes, edges
        Nodes of the lattice and edges between its atoms.
    positions, cell
        In Å.
    elements
        The model's elements that occur, sorted; elements are counted within it.
    dependent
        Whether what is stored of an edge depends on the species at its ends.
    """
    n_species = np.bincount(nodes.atom, minlength=nodes.n_atoms).astype(np.int32)
    first = np.concatenate([[0], np.cumsum(n_species)]).astype(np.int32)
    element = np.searchsorted(elements, nodes.element).astype(np.int32)
    vectors = positions[edges.receiver] - positions[edges.sender] + edges.unit_shift @ cell
    kinds = _kinds_of_positions(first, element)
    place, example = _kinds_of_edges(vectors, kinds[edges.sender], kinds[edges.receiver])
    order = np.lexsort((edges.sender, place, edges.receiver))
    sender, receiver = edges.sender[order], edges.receiver[order]
    place = place[order]
    n_senders, n_receivers = n_species[edges.sender[example]], n_species[edges.receiver[example]]
    copies = n_senders * n_receivers if dependent else np.ones(len(example), dtype=np.int64)
    first_row = np.concatenate([[0], np.cumsum(copies)]).astype(np.int32)
    row_place = np.repeat(np.arange(len(example)), copies)
    within = np.arange(len(row_place)) - first_row[row_place]
    spread = n_receivers[row_place]
    start_sender = first[edges.sender[example]][row_place]
    start_receiver = first[edges.receiver[example]][row_place]
    any_element = np.zeros(len(row_place), dtype=np.int32)
    by_sender = np.argsort(sender, kind="stable")
    variable = np.ones(nodes.n_atoms, dtype=bool)  # sites that are always vacant have no node
    variable[nodes.atom[~nodes.alchemical]] = False
    return Geometry(
        first=first,
        n_species=n_species,
        variable=variable,
        element=element,
        bounds=_bounds(receiver, nodes.n_atoms),
        sender=sender.astype(np.int32),
        receiver=receiver.astype(np.int32),
        place=place.astype(np.int32),
        sender_bounds=_bounds(sender, nodes.n_atoms),
        by_sender=by_sender.astype(np.int32),
        first_row=first_row[:-1],
        place_vector=vectors[example],
        row_place=row_place,
        row_sender=element[start_sender + within // spread] if dependent else any_element,
        row_receiver=element[start_receiver + within % spread] if dependent else any_element,
        dependent=dependent,
    )


def _bounds(values: np.ndarray, n: int) -> np.ndarray:
    counts = np.bincount(values, minlength=n)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _kinds_of_positions(first: np.ndarray, element: np.ndarray) -> np.ndarray:
    """Give positions that may hold the same elements the same number."""
    kinds: dict[tuple[int, ...], int] = {}
    return np.array(
        [
            kinds.setdefault(tuple(element[a:b].tolist()), len(kinds))
            for a, b in itertools.pairwise(first)
        ],
        dtype=np.int64,
    )


def _kinds_of_edges(
    vectors: np.ndarray, sender: np.ndarray, receiver: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kind of every edge and one edge of every kind."""
    rounded = np.round(vectors / _ALIKE).astype(np.int64)
    keys = np.column_stack([rounded, sender, receiver])
    # One odd multiplier per column makes a 64-bit key, which sorts much faster than five columns.
    odd = np.random.default_rng(5).integers(1, 2**62, size=5) * 2 + 1
    with np.errstate(over="ignore"):
        key = (keys * odd).sum(axis=1)
    _, example, kind = np.unique(key, return_index=True, return_inverse=True)
    if not np.array_equal(keys, keys[example][kind]):  # two kinds met in one key
        _, example, kind = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return kind.reshape(-1), example
