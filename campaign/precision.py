"""Ending a temperature early, once every named quantity is known well enough."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import statistics
from ..lattice import Lattice

__all__ = ["PrecisionMonitor", "order_series"]


def order_series(lattice: Lattice, occupation: np.ndarray, name: str) -> np.ndarray:
    """Squared ordering amplitude of every draw and chain, [n_draws, n_chains].

    Parameters
    ----------
    lattice
        The lattice.
    occupation
        [n_draws, n_chains, n_sites].
    name
        An order, such as ``"rock-salt"``; with the name of the sublattice before it if there are
        several: ``"B rock-salt"``.
    """
    from .. import analysis  # noqa: PLC0415  (slow to import)

    sublattice, _, order = name.rpartition(" ")
    series = analysis.ordering_series(lattice, occupation, order, sublattice or None)
    return np.asarray(series)


class PrecisionMonitor:
    """Series of the named quantities at one thermodynamic point, and whether they are known.

    Blocks are evaluated one by one as they are committed, whether in one go or after a resume, so
    that the decision is the same to the last bit.

    Parameters
    ----------
    lattice
        The lattice.
    targets
        Standard error asked for, by quantity: ``"energy"`` (eV per cell) or an order.
    """

    def __init__(self, lattice: Lattice, targets: Mapping[str, float]) -> None:
        self._lattice = lattice
        self._targets = dict(targets)
        self._series: dict[str, list[np.ndarray]] = {name: [] for name in targets}

    def add(self, block: Mapping[str, np.ndarray]) -> None:
        """Take in a committed block."""
        for name, parts in self._series.items():
            if name == "energy":
                parts.append(np.asarray(block["energy"]))
            else:
                parts.append(order_series(self._lattice, block["occupation"], name))

    def reached(self) -> bool:
        """Whether all quantities have converged chains and the error asked for."""
        return bool(self._targets) and all(self._known(name) for name in self._targets)

    def _known(self, name: str) -> bool:
        result = statistics.summary(np.concatenate(self._series[name]))
        return result.converged and result.error <= self._targets[name]
