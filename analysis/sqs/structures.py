"""Special quasirandom structures and how far their correlations are from those of a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from ...errors import InputError
from ...lattice import Lattice
from ..wording import counted
from .clusters import Cluster, Clusters

__all__ = [
    "MATCHED",
    "SpecialQuasirandom",
    "described",
    "fractions_of",
    "measured_sqs",
    "objectives",
]

MATCHED = 1e-5
"""Elements of two cluster vectors that differ by less match; icet's tolerance."""


@dataclass(frozen=True)
class SpecialQuasirandom:
    """Arrangements of one composition whose cluster vectors are near a target.

    Attributes
    ----------
    lattice
        Whose sites the occupations are of.
    occupations
        int8 [n, n_sites], in the order of the lattice's sites.
    vectors
        Their cluster vectors, [n, n_clusters].
    target
        The cluster vector that was to be matched, [n_clusters]: that of the infinite random alloy
        unless another was given.
    clusters
        What the elements of the vectors are.
    objective
        icet's measure Q = Σ|Γ − Γ_target| − L, [n], with L in Å the radius up to which all pairs
        match (A. van de Walle et al., Calphad 42, 13 (2013), doi:10.1016/j.calphad.2013.06.006).
    matched_shells
        Pair distances that match without a gap from the nearest on, int64 [n].
    cutoffs
        Largest distance of two sites in Å, for pairs, triplets and so on.
    method
        "enumeration" (the best there are), "annealing" or "given".
    seed
        What governs the draw; None for arrangements that were given.
    """

    lattice: Lattice
    occupations: np.ndarray
    vectors: np.ndarray
    target: np.ndarray
    clusters: tuple[Cluster, ...]
    objective: np.ndarray
    matched_shells: np.ndarray
    cutoffs: tuple[float, ...]
    method: str
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.occupations)

    @property
    def mismatch(self) -> np.ndarray:
        """Σ|Γ − Γ_target| over the clusters, [n]: 0 where the target is met."""
        return np.asarray(np.abs(self.vectors - self.target).sum(axis=1))

    @property
    def n_shells(self) -> int:
        """How many pair distances lie within the cutoff."""
        return len(_pair_radii(self.clusters))

    def atoms(self) -> list[Atoms]:
        """Structures at the lattice's reference positions."""
        return [self.lattice.to_atoms(row) for row in self.occupations]

    @property
    def statement(self) -> str:
        """What was made, in words."""
        n = len(self)
        how = {
            "enumeration": "the best of all arrangements",
            "annealing": "by simulated annealing",
            "given": "as given",
        }[self.method]
        reach = ", ".join(f"{cutoff:.3g} Å" for cutoff in self.cutoffs)
        best, worst = self.matched_shells.max(), self.matched_shells.min()
        matched = f"{best}" if best == worst else f"{worst} to {best}"
        low, high = self.mismatch.min(), self.mismatch.max()
        off = f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}"
        return (
            f"{counted(n, 'special quasirandom structure')} of {self.lattice.n_sites} mixed sites "
            f"({how}; clusters to {reach}): "
            f"{matched} of {self.n_shells} pair shells match from the nearest on, and the cluster "
            f"vectors are off by {off} in sum over {counted(len(self.clusters), 'cluster')}."
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row per structure: objective, mismatch, matched shells and the largest deviation."""
        deviation = self.vectors - self.target
        worst = np.argmax(np.abs(deviation), axis=1)
        off = np.abs(deviation).max(axis=1)
        return [
            {
                "structure": k,
                "objective": float(self.objective[k]),
                "mismatch": float(self.mismatch[k]),
                "matched_shells": int(self.matched_shells[k]),
                "shells": self.n_shells,
                "worst_cluster": self.clusters[worst[k]].label if off[k] > MATCHED else None,
                "worst_deviation": float(deviation[k, worst[k]]),
            }
            for k in range(len(self))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "statement": self.statement,
            "method": self.method,
            "seed": self.seed,
            "cutoffs": list(self.cutoffs),
            "clusters": [cluster.label for cluster in self.clusters],
            "target": self.target.tolist(),
            "vectors": self.vectors.tolist(),
            "occupations": self.occupations.tolist(),
            "structures": self.rows(),
        }


def measured_sqs(
    lattice: Lattice, occupations: np.ndarray, cutoffs: Sequence[float] | None = None
) -> SpecialQuasirandom:
    """Say how far arrangements from elsewhere are from the random alloy of their composition.

    Parameters
    ----------
    lattice
        The supercell.
    occupations
        [n, n_sites] or [n_sites], all of one composition.
    cutoffs
        As for `generate_sqs`.

    Raises
    ------
    InputError
        If they do not fit the lattice or differ in composition.
    """
    rows = np.atleast_2d(lattice.check(occupations))
    if rows.ndim != 2 or not len(rows):
        raise InputError(
            f"occupations of shape {rows.shape} cannot be used; give [n_sites] or [n, n_sites]"
        )
    counts = lattice.counts(rows)
    if (counts != counts[0]).any():
        raise InputError(
            "the arrangements differ in composition: compare those of one composition at a time"
        )
    clusters = Clusters(lattice, cutoffs)
    by_name = {
        name: tuple(row[: len(lattice.sublattices[name].species)].tolist())
        for name, row in zip(lattice.names, counts[0], strict=True)
    }
    aim = clusters.random_vector(fractions_of(lattice, by_name))
    return described(clusters, rows, aim, "given", None)


def fractions_of(
    lattice: Lattice, counts: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, float]]:
    """Fractions by sublattice and species, from the counts of the species by sublattice."""
    return {
        name: {
            symbol: count / sum(row)
            for symbol, count in zip(lattice.sublattices[name].species, row, strict=True)
        }
        for name, row in counts.items()
    }


def described(
    clusters: Clusters, occupations: np.ndarray, target: np.ndarray, method: str, seed: int | None
) -> SpecialQuasirandom:
    """Arrangements [n, n_sites] with all that is said of them."""
    vectors = clusters.vectors(occupations)
    return SpecialQuasirandom(
        clusters.lattice,
        occupations,
        vectors,
        target,
        clusters.clusters,
        objectives(clusters, vectors, target),
        np.array([_matched(clusters.clusters, row - target) for row in vectors], dtype=np.int64),
        clusters.cutoffs,
        method,
        seed,
    )


def objectives(clusters: Clusters, vectors: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return icet's measure of every cluster vector [n, n_clusters], [n]."""
    from mchammer.calculators import compare_cluster_vectors  # noqa: PLC0415  (slow to import)

    entries, aim = clusters.space.as_list, np.concatenate([[1.0], target])
    full = np.concatenate([np.ones((len(vectors), 1)), vectors], axis=1)
    return np.array([compare_cluster_vectors(row, aim, entries) for row in full])


def _pair_radii(clusters: Sequence[Cluster]) -> list[float]:
    return sorted({round(c.radius, 4) for c in clusters if c.order == 2})


def _matched(clusters: Sequence[Cluster], deviation: np.ndarray) -> int:
    """Pair distances whose every element matches, from the nearest to the first that does not."""
    radii = np.array([round(c.radius, 4) if c.order == 2 else -1.0 for c in clusters])
    count = 0
    for radius in _pair_radii(clusters):
        if (np.abs(deviation[radii == radius]) > MATCHED).any():
            break
        count += 1
    return count
