"""Energies of occupations from those nearby: only what a change can reach is computed anew."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from ...lattice import Lattice
from ..graph import Nodes
from .engine import Engine, Features, Undo
from .gradient import GradientEngine

__all__ = ["States"]

_KEPT = 2**30  # bytes of features
_MOST = 256  # occupations: searching among more costs as much as a small cell's energy
_LOCAL = 0.6  # of all rows of all layers: above, starting afresh is as fast


@dataclass(eq=False)
class _Kept:
    """Features, the occupation they belong to, and the way back to the one before."""

    features: Features
    occupation: np.ndarray
    undo: Undo | None = None
    before: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + (0 if self.undo is None else self.undo.nbytes)

    def go_back(self) -> None:
        assert self.undo is not None  # noqa: S101
        assert self.before is not None  # noqa: S101
        self.undo.put_back()
        self.occupation, self.undo, self.before = self.before, None, None


class States:
    """Evaluates occupations and keeps the features of some, to start from.

    Where a few sites differ from an occupation whose features are kept, those of the positions
    that a change reaches are computed again; a proposal that was refused is put back. Either way
    every number is the one that a fresh evaluation gives, bit for bit.

    Parameters
    ----------
    engine
        The model at fixed positions.
    lattice, nodes
        What the occupations mean.
    memory
        Bytes of features to keep, the ways back included; those of one occupation in any case.
    """

    def __init__(self, engine: Engine, lattice: Lattice, nodes: Nodes, memory: int = _KEPT) -> None:
        self.engine = engine
        self._gradient = GradientEngine(engine)
        self._positions = lattice.sites
        self._local = _local_species(lattice, nodes)
        self._memory = memory
        self._kept: list[_Kept] = []
        self._lock = threading.Lock()
        self._pays = self._local_pays()

    def energy(self, occupation: np.ndarray) -> float:
        """Total energy in eV of one occupation [n_sites]."""
        with self._lock:
            return self.engine.energy(self._features(occupation))

    def energy_and_gradient(self, occupation: np.ndarray) -> tuple[float, np.ndarray]:
        """Total energy and ∂E/∂λ of the nodes [n_nodes] of sites, in eV."""
        with self._lock:
            features = self._features(occupation)
            return self.engine.energy(features), self._gradient(features)

    # ---- parts -----------------------------------------------------------------------------

    def _features(self, occupation: np.ndarray) -> Features:
        if not self._pays:
            return self.engine.features(self._present(occupation))
        # Taken out while they change: what an exception leaves half done is not kept.
        kept = self._taken(occupation)
        if kept is None or not self._moved(kept, occupation):
            if kept is not None:
                self._kept.append(kept)
            kept = _Kept(self.engine.features(self._present(occupation)), occupation.copy())
        self._kept.append(kept)
        self._make_room()
        return kept.features

    def _make_room(self) -> None:
        """Drop what was not used for longest, but not the last."""
        used = sum(kept.nbytes for kept in self._kept)
        while len(self._kept) > 1 and (used > self._memory or len(self._kept) > _MOST):
            used -= self._kept.pop(0).nbytes

    def _taken(self, occupation: np.ndarray) -> _Kept | None:
        """Take the kept features that differ at the fewest sites out of the list."""
        best, fewest, back = None, len(occupation) + 1, False
        for kept in self._kept:
            for which, other in enumerate((kept.occupation, kept.before)):
                if other is None:
                    continue
                n = int(np.count_nonzero(other != occupation))
                if n < fewest:
                    best, fewest, back = kept, n, which == 1
        if best is None:
            return None
        self._kept.remove(best)
        if back:
            best.go_back()
        return best

    def _moved(self, kept: _Kept, occupation: np.ndarray) -> bool:
        """Bring features to an occupation, unless too many sites differ."""
        sites = np.flatnonzero(kept.occupation != occupation)
        if len(sites) == 0:
            return True
        engine = self.engine
        reached = engine.reach(self._positions[sites])
        work = sum(len(some) for some in reached[1:])
        if work > _LOCAL * engine.geometry.n_positions * (len(reached) - 1):
            return False
        held = self._local[sites, occupation[sites]]
        kept.undo = engine.update(kept.features, held, reached)
        kept.before, kept.occupation = kept.occupation, occupation.copy()
        return True

    def _present(self, occupation: np.ndarray) -> np.ndarray:
        present = np.zeros(self.engine.geometry.n_positions, dtype=np.int32)
        present[self._positions] = self._local[np.arange(len(occupation)), occupation]
        return present

    def _local_pays(self) -> bool:
        """Whether a change of one site leaves most of the cell as it was."""
        reached = self.engine.reach(self._positions[:1])
        return len(reached[-1]) < _LOCAL * self.engine.geometry.n_positions


def _local_species(lattice: Lattice, nodes: Nodes) -> np.ndarray:
    """Find the number of a site's species among its position's nodes; −1 for a vacancy."""
    first = np.searchsorted(nodes.atom, np.arange(nodes.n_atoms))
    own = np.flatnonzero(nodes.alchemical)
    found = np.full(lattice.allowed.shape, -1, dtype=np.int32)
    found[nodes.site[own], nodes.species[own]] = own - first[nodes.atom[own]]
    return found
