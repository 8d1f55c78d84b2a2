"""icet's cluster vectors of samples, with errors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ...lattice import Lattice
from ..estimates import as_chains, describe, measured
from ..sqs.clusters import Clusters

__all__ = ["cluster_vectors"]


def cluster_vectors(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    cutoffs: Sequence[float] | None = None,
) -> xr.Dataset:
    r"""Cluster vectors in icet's basis, averaged over samples, with errors.

    An element is the mean over all clusters of one orbit of the product of point functions on its
    sites (J. M. Sanchez, F. Ducastelle and D. Gratias, Physica A 128, 334 (1984),
    doi:10.1016/0378-4371(84)90096-7; M. Ångqvist et al., Adv. Theory Simul. 2, 1900015 (2019),
    doi:10.1002/adts.201900015). For two species the point function is ±1, so that a pair element is
    ⟨σ_i σ_j⟩, which a random alloy with fractions c and 1 − c has at (2c − 1)². Sublattices are
    kept apart even if they share species; spectators only lower the symmetry.

    Parameters
    ----------
    lattice
        The lattice; its reference positions define the orbits.
    occupations
        Shape [draw, chain, n_sites], [n_replicas, n_sites] or [n_sites].
    cutoffs
        Largest distance in Å of two sites in a pair, a triplet, …; four shells of pairs and two of
        triplets unless given.

    Returns
    -------
    Dataset over ``orbit`` (names; icet's leading 1 is left out) with ``mean``, ``error``, ``ess``,
    ``rhat``, ``converged`` and ``random``, the element of the infinite random alloy with the
    composition of the first sample; coordinates ``order`` (number of sites), ``radius`` (Å,
    icet's: half the distance of a pair) and ``sublattices``.

    Raises
    ------
    InputError
        If the cutoffs are no distances or hold no pair, or icet refuses the crystal.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> cells = np.floor(lattice.atoms.get_scaled_positions()[lattice.sites] * 2).astype(int)
    >>> table = cluster_vectors(lattice, cells.sum(axis=1) % 2, (4.1,))  # rock salt
    >>> dict(zip(table["orbit"].values.tolist(), table["mean"].values.tolist(), strict=True))
    {'site B': 0.0, 'pair B–B 4.000 Å': -1.0}
    """
    clusters = Clusters(lattice, cutoffs)
    first = np.asarray(as_chains(lattice, occupations)[0, 0])
    evaluate = _calculator(clusters, first)

    def vectors(flat: np.ndarray) -> np.ndarray:
        rows = [evaluate(clusters.atoms(row).numbers.tolist())[1:] for row in flat]
        return np.array(rows).reshape(len(flat), len(clusters.clusters))

    series = measured(lattice, occupations, {"vectors": vectors})["vectors"]
    found = clusters.clusters
    coords = {
        "orbit": [cluster.label for cluster in found],
        "order": ("orbit", [cluster.order for cluster in found]),
        "radius": ("orbit", [cluster.radius for cluster in found], {"units": "Å"}),
        "sublattices": ("orbit", ["–".join(cluster.sublattices) for cluster in found]),
    }
    attrs = {"long_name": "cluster vector (icet)", "units": "1", "cutoffs": list(clusters.cutoffs)}
    result = describe(
        xr.DataArray(series, dims=("draw", "chain", "orbit"), coords=coords, attrs=attrs)
    )
    result["random"] = ("orbit", clusters.random_vector(_composition(lattice, first)))
    return result


def _calculator(clusters: Clusters, occupation: np.ndarray) -> Any:
    """Icet's compiled evaluation for this cell, built once: six to ten times as fast."""
    from icet import ClusterExpansion  # noqa: PLC0415  (slow to import)
    from mchammer.calculators import ClusterExpansionCalculator  # noqa: PLC0415

    expansion = ClusterExpansion(clusters.space, np.ones(len(clusters.space)))
    # It warns of clusters that meet their image: only its local energy changes mind them.
    logger = logging.getLogger("icet")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        calculator = ClusterExpansionCalculator(clusters.atoms(occupation), expansion)
    finally:
        logger.setLevel(level)
    return calculator.cpp_calc.get_cluster_vector


def _composition(lattice: Lattice, occupation: np.ndarray) -> dict[str, dict[str, float]]:
    counts = lattice.counts(occupation)
    return {
        name: {
            symbol: counts[s, k] / counts[s].sum()
            for k, symbol in enumerate(lattice.sublattices[name].species)
        }
        for s, name in enumerate(lattice.names)
    }
