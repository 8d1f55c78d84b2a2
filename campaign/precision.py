"""Ending a point early, once every named quantity is known well enough."""

from __future__ import annotations

from collections.abc import Collection, Mapping

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
        Standard error asked for, by quantity: ``"energy"`` (eV per cell), ``"composition"`` (the
        fraction of every species) or an order.
    fixed
        Sublattices whose composition cannot change.
    """

    def __init__(
        self, lattice: Lattice, targets: Mapping[str, float], fixed: Collection[str] = ()
    ) -> None:
        self._lattice, self._fixed = lattice, fixed
        self._targets = dict(targets)
        self._series: dict[str, list[np.ndarray]] = {name: [] for name in targets}

    def add(self, block: Mapping[str, np.ndarray]) -> None:
        """Take in a committed block."""
        for name, parts in self._series.items():
            if name == "energy":
                parts.append(np.asarray(block["energy"])[..., None])
            elif name == "composition":
                parts.append(self._fractions(block["occupation"]))
            else:
                parts.append(order_series(self._lattice, block["occupation"], name)[..., None])

    def _fractions(self, occupation: np.ndarray) -> np.ndarray:
        """Fractions of the species that fluctuate, [n_draws, n_chains, n_series].

        Those of all species but the first of a sublattice: they add up to one.
        """
        columns = [np.empty((*occupation.shape[:2], 0))]
        for index, (name, sublattice) in enumerate(self._lattice.sublattices.items()):
            if name not in self._fixed:
                here = occupation[..., self._lattice.sublattice_of_site == index]
                held = [(here == k).mean(axis=-1) for k in range(1, len(sublattice.species))]
                columns += [series[..., None] for series in held]
        return np.concatenate(columns, axis=-1)

    def reached(self) -> bool:
        """Whether all quantities have converged chains and the error asked for."""
        return bool(self._targets) and all(self._known(name) for name in self._targets)

    def _known(self, name: str) -> bool:
        series = np.moveaxis(np.concatenate(self._series[name]), -1, 0)
        if not np.isfinite(series).all():  # an order of a sublattice that holds one species
            return False
        results = [statistics.summary(one) for one in series]
        return all(r.converged and r.error <= self._targets[name] for r in results)
