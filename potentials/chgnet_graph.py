"""The alchemical graph of CHGNet: bonds and angles between atoms, and between their nodes.

Bonds are undirected and come in two lists, the *short* ones first: these alone form angles. An
end of a short bond is counted as ``bond`` where its centre is the bond's first atom and as
``n_short + bond`` where it is the second. Arrays only; no model enters here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .graph import find_edges

__all__ = ["Geometry", "NodeGraph", "expand", "find_geometry"]


@dataclass(frozen=True)
class Geometry:
    """Bonds and angles between atoms.

    ``first`` and ``second`` [n_bonds] are the atoms of a bond and ``unit_shift`` [n_bonds, 3] the
    cells from the second to the image that is meant: the vector is r_first − r_second + shift.
    ``pairs`` [2, n_pairs] are two short ends at one centre, each unordered pair once.
    """

    n_atoms: int
    first: np.ndarray
    second: np.ndarray
    unit_shift: np.ndarray
    n_short: int
    pairs: np.ndarray


@dataclass(frozen=True)
class NodeGraph:
    """Bonds and angles between nodes.

    ``centre``, ``neighbour`` and ``weight_row`` [n_edges] are the ends of a directed bond and its
    geometric bond; ``feature_row`` [n_edges] counts short bonds of nodes and then long geometric
    bonds. ``short`` [n_short] is the geometric bond of each short bond between nodes, ``ends``
    [2, n_short] its nodes. ``angle`` [n_angles] is the geometric pair, ``receiving`` the end of a
    short bond that is updated, ``sending`` the other bond and ``far`` the node at its far end.
    """

    centre: np.ndarray
    neighbour: np.ndarray
    weight_row: np.ndarray
    feature_row: np.ndarray
    short: np.ndarray
    ends: np.ndarray
    angle: np.ndarray
    receiving: np.ndarray
    sending: np.ndarray
    far: np.ndarray


# ---- between atoms ---------------------------------------------------------------------------


def find_geometry(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoffs: tuple[float, float]
) -> Geometry:
    """Bonds up to the first cutoff (Å), and angles between bonds shorter than the second."""
    edges = find_edges(positions, cell, pbc, cutoffs[0])
    # One direction of every bond; the other follows, even where rounding at the cutoff lost it.
    upward = _sign(edges.unit_shift) > 0
    keep = (edges.receiver < edges.sender) | ((edges.receiver == edges.sender) & upward)
    first, second, shift = edges.receiver[keep], edges.sender[keep], edges.unit_shift[keep]
    lengths = np.linalg.norm(positions[first] - positions[second] + shift @ cell, axis=1)
    short = lengths < cutoffs[1]
    order = np.argsort(~short, kind="stable")
    first, second, shift = first[order], second[order], shift[order]
    n_short = int(short.sum())
    centres = np.concatenate([first[:n_short], second[:n_short]])
    pairs = _pairs(centres, len(positions))
    return Geometry(len(positions), first, second, shift, n_short, pairs)


def _sign(shifts: np.ndarray) -> np.ndarray:
    """Sign of the first component that is not zero."""
    signs = np.sign(shifts)
    return np.where(signs[:, 0] != 0, signs[:, 0], np.where(signs[:, 1], signs[:, 1], signs[:, 2]))


def _pairs(centres: np.ndarray, n_atoms: int) -> np.ndarray:
    """Unordered pairs of ends that share a centre."""
    ends = np.argsort(centres, kind="stable")
    count = np.bincount(centres, minlength=n_atoms)
    last = np.cumsum(count)[centres[ends]]
    place = np.arange(len(ends))
    later = last - place - 1  # ends of the same centre that follow
    one = np.repeat(place, later)
    other = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(later) - later, later)
    return np.stack([ends[one], ends[other]])


# ---- between nodes ---------------------------------------------------------------------------


def expand(geometry: Geometry, atom: np.ndarray, absent: np.ndarray | None = None) -> NodeGraph:
    """Every bond and angle between the nodes that sit on the atoms ``atom``, in ascending order.

    Parameters
    ----------
    geometry
        Bonds and angles between the atoms.
    atom
        Atom of every node [n_nodes], ascending.
    absent
        Nodes of zero weight, bool [n_nodes]: bonds and angles with more than one of them, which
        change neither energy nor gradient, are left out. None keeps all.
    """
    nodes = _Nodes(geometry, atom, absent)
    bond, ends = nodes.bonds()
    n_short = int(np.searchsorted(bond, geometry.n_short))
    long_row = n_short + bond[n_short:] - geometry.n_short
    row = np.concatenate([np.arange(n_short), long_row])
    angle, receiving, sending, far = nodes.angles(n_short)
    return NodeGraph(
        centre=np.concatenate([ends[0], ends[1]]),
        neighbour=np.concatenate([ends[1], ends[0]]),
        weight_row=np.concatenate([bond, bond]),
        feature_row=np.concatenate([row, row]),
        short=bond[:n_short],
        ends=ends[:, :n_short],
        angle=angle,
        receiving=receiving,
        sending=sending,
        far=far,
    )


class _Nodes:
    """Choices of nodes for the atoms of bonds and angles; two species of one site never meet."""

    def __init__(self, geometry: Geometry, atom: np.ndarray, absent: np.ndarray | None) -> None:
        self.geometry = geometry
        self.count = np.bincount(atom, minlength=geometry.n_atoms)
        self.start = np.cumsum(self.count) - self.count
        self.absent = None if absent is None else absent.astype(np.int8)
        copies = self.count[geometry.first] * self.count[geometry.second]
        self.offset = np.cumsum(copies) - copies  # of a bond's first choice, before any is dropped
        self.new_row = np.empty(0, dtype=np.int64)

    def bonds(self) -> tuple[np.ndarray, np.ndarray]:
        """Geometric bond [n] and nodes [2, n] of every bond between nodes."""
        first, second = self.geometry.first, self.geometry.second
        bond, (one, other) = self._choices(first, second)
        ends = np.stack([one, other])
        keep = self._kept(*ends)
        self.new_row = np.cumsum(keep) - 1
        return bond[keep], ends[:, keep]

    def angles(self, n_short: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pair, receiving end, sending bond and far node of every angle between nodes."""
        geometry = self.geometry
        n_pairs = geometry.pairs.shape[1]
        receiving, sending = np.concatenate([geometry.pairs, geometry.pairs[::-1]], axis=1)
        short = slice(0, geometry.n_short)
        near = np.concatenate([geometry.first[short], geometry.second[short]])
        far = np.concatenate([geometry.second[short], geometry.first[short]])
        angle, (centre, one, other) = self._choices(near[receiving], far[receiving], far[sending])
        keep = np.flatnonzero(self._kept(centre, one, other))
        angle, centre, one, other = angle[keep], centre[keep], one[keep], other[keep]
        return (
            angle % max(n_pairs, 1),
            self._end(receiving[angle], centre, one, n_short),
            self._end(sending[angle], centre, other, n_short) % max(n_short, 1),
            other,
        )

    def _choices(self, *atoms: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Row of ``atoms`` and a node of each, for every way to choose them; the last runs fast."""
        copies = np.prod([self.count[of] for of in atoms], axis=0)
        row = np.repeat(np.arange(len(copies)), copies)
        within = np.arange(len(row)) - np.repeat(np.cumsum(copies) - copies, copies)
        chosen = []
        for of in reversed(atoms):
            within, place = np.divmod(within, self.count[of][row])
            chosen.append(self.start[of][row] + place)
        return row, chosen[::-1]

    def _kept(self, *nodes: np.ndarray) -> np.ndarray:
        if self.absent is None:
            return np.ones(len(nodes[0]), dtype=bool)
        return sum(self.absent[node] for node in nodes) <= 1

    def _end(
        self, end: np.ndarray, centre: np.ndarray, far: np.ndarray, n_short: int
    ) -> np.ndarray:
        """End of the short bond between nodes, from that between their atoms."""
        backward = end >= self.geometry.n_short
        bond = np.where(backward, end - self.geometry.n_short, end)
        second = self.geometry.second[bond]
        one, other = np.where(backward, far, centre), np.where(backward, centre, far)
        place = one - self.start[self.geometry.first[bond]]
        row = self.offset[bond] + place * self.count[second] + other - self.start[second]
        return self.new_row[row] + np.where(backward, n_short, 0)
