"""The alchemical graph: one node per (site, allowed species) and per spectator, edges by sender.

Nodes of one site share its position. Every geometric edge, from atom a to atom b or to an image
of a itself, becomes one edge for each pair of their nodes; two species of one site in the same
cell are never joined. Arrays only; no model enters here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import InputError, ModelError
from ..lattice import Lattice
from ._mace import import_mace
from .catalogue import element_ranges

__all__ = [
    "Edges",
    "Expansion",
    "Nodes",
    "Selection",
    "expand",
    "find_edges",
    "join",
    "nodes_of",
    "select",
]

_SHORTEST = 1e-3  # Å; closer atoms are an input error, not a structure


@dataclass(frozen=True)
class Nodes:
    """Nodes in the order of the atoms, then of the species. Axes: n = n_nodes.

    ``atom`` and ``element`` (index into the model's elements) are int64 [n]; ``site`` and
    ``species`` are −1 for spectators. A vacancy has no node.
    """

    n_atoms: int
    atom: np.ndarray
    element: np.ndarray
    site: np.ndarray
    species: np.ndarray

    @cached_property
    def alchemical(self) -> np.ndarray:
        """Whether a node belongs to a site, bool [n_nodes]."""
        return self.site >= 0

    def weights(self, lam: np.ndarray) -> np.ndarray:
        """λ of every node, float64 [n_nodes]; one for spectators."""
        found = np.ones(len(self.atom))
        found[self.alchemical] = lam[self.site[self.alchemical], self.species[self.alchemical]]
        return found

    def spread(self, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Node values as an array over sites and species; zero where there is no node."""
        found = np.zeros(shape)
        own = self.alchemical
        found[self.site[own], self.species[own]] = values[own]
        return found


@dataclass(frozen=True)
class Edges:
    """Geometric edges between atoms, sorted by receiver: int64 [n_edges] and [n_edges, 3]."""

    sender: np.ndarray
    receiver: np.ndarray
    unit_shift: np.ndarray


@dataclass(frozen=True)
class Expansion:
    """All edges between nodes, sorted by receiver node; ``edge`` is the geometric one."""

    edge: np.ndarray
    sender: np.ndarray
    receiver: np.ndarray


@dataclass(frozen=True)
class Selection:
    """The part of the graph that one evaluation needs.

    ``nodes`` are node indices and ``rows`` edges of the expansion; ``sender`` and ``receiver``
    count within ``nodes``.
    """

    nodes: np.ndarray
    rows: np.ndarray
    sender: np.ndarray
    receiver: np.ndarray


def nodes_of(lattice: Lattice, elements: np.ndarray) -> Nodes:
    """Nodes of a lattice for a model that knows the atomic numbers ``elements``.

    Raises
    ------
    InputError
        If the lattice can hold no atom.
    ModelError
        If the model does not know an element of the lattice.
    """
    site, species = np.nonzero(lattice.atomic_numbers > 0)
    spectators = lattice.spectators
    if len(site) + len(spectators) == 0:
        raise InputError("the lattice allows vacancies alone; give a site another species")
    atom = np.concatenate([lattice.sites[site], spectators])
    numbers = np.concatenate(
        [lattice.atomic_numbers[site, species], lattice.atoms.numbers[spectators]]
    )
    blank = np.full(len(spectators), -1)
    site, species = np.concatenate([site, blank]), np.concatenate([species, blank])
    order = np.lexsort((species, atom))
    return Nodes(
        n_atoms=len(lattice.atoms),
        atom=atom[order],
        element=_element_index(numbers[order], elements),
        site=site[order],
        species=species[order],
    )


def _element_index(numbers: np.ndarray, elements: np.ndarray) -> np.ndarray:
    from ase.data import chemical_symbols  # noqa: PLC0415

    unknown = np.setdiff1d(numbers, elements)
    if len(unknown):
        absent = " ".join(chemical_symbols[z] for z in unknown)
        known = element_ranges(chemical_symbols[z] for z in elements)
        raise ModelError(
            f"the model does not know the element{'s' if len(unknown) > 1 else ''} {absent}; it "
            f"knows {known}: choose other species, or another model (`alchemc models` lists them)"
        )
    order = np.argsort(elements)
    return order[np.searchsorted(elements, numbers, sorter=order)]


def find_edges(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> Edges:
    """Neighbours within ``cutoff``, by mace-torch's own search, in an order fixed by the result.

    Raises
    ------
    InputError
        If two atoms lie on top of one another.
    """
    neighborhood = import_mace("mace.data.neighborhood")
    index, shifts, unit_shifts, _ = neighborhood.get_neighborhood(
        positions=positions.copy(),
        cutoff=cutoff,
        pbc=tuple(bool(p) for p in pbc),
        cell=cell.copy(),
    )
    sender, receiver = index.astype(np.int64)
    lengths = np.linalg.norm(positions[receiver] - positions[sender] + shifts, axis=1)
    if len(lengths) and lengths.min() < _SHORTEST:
        pair = np.argmin(lengths)
        raise InputError(
            f"atoms {sender[pair]} and {receiver[pair]} are {lengths[pair]:.1e} Å apart; "
            "give positions in which no two atoms overlap"
        )
    order = np.lexsort((*unit_shifts.T, sender, receiver))
    return Edges(sender[order], receiver[order], unit_shifts[order].astype(np.int64))


def expand(nodes: Nodes, edges: Edges) -> Expansion:
    """Every edge between the nodes of the atoms that a geometric edge joins."""
    count = np.bincount(nodes.atom, minlength=nodes.n_atoms)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    n_senders, n_receivers = count[edges.sender], count[edges.receiver]
    copies = n_senders * n_receivers
    edge = np.repeat(np.arange(len(edges.sender)), copies)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(copies) - copies, copies)
    sender = first[edges.sender[edge]] + within // n_receivers[edge]
    receiver = first[edges.receiver[edge]] + within % n_receivers[edge]
    order = np.lexsort((sender, edge, receiver))
    return Expansion(edge[order], sender[order], receiver[order])


def select(expansion: Expansion, nodes: np.ndarray, keep: np.ndarray) -> Selection:
    """Take the nodes for which the mask ``nodes`` holds and the edges for which ``keep`` does."""
    rows = np.flatnonzero(keep)
    position = np.cumsum(nodes) - 1
    return Selection(
        nodes=np.flatnonzero(nodes),
        rows=rows,
        sender=position[expansion.sender[rows]],
        receiver=position[expansion.receiver[rows]],
    )


def join(selections: Sequence[Selection]) -> Selection:
    """Put the graphs of several replicas side by side, as one graph without edges between them."""
    sizes = [len(selection.nodes) for selection in selections]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    pairs = list(zip(selections, offsets, strict=True))
    return Selection(
        nodes=np.concatenate([selection.nodes for selection in selections]),
        rows=np.concatenate([selection.rows for selection in selections]),
        sender=np.concatenate([selection.sender + offset for selection, offset in pairs]),
        receiver=np.concatenate([selection.receiver + offset for selection, offset in pairs]),
    )
