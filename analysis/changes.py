"""Which compositions of a run change: from the counts of species in its draws and at its start."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from ..compositions import count_species
from ..lattice import Lattice
from ..records import Run
from .biased import follows_a_bias
from .estimates import Meter, measured

__all__ = [
    "Tracked",
    "count_meter",
    "extremes_of",
    "moving_among",
    "moving_fractions",
    "named_sublattices",
    "open_among",
    "open_sublattices",
]

Tracked = tuple[str, str]
"""Sublattice and species whose fraction is followed."""


def named_sublattices(run: Run) -> list[str]:
    """Sublattices whose composition may change: those named by a chemical potential or φ.

    Those of a trajectory from elsewhere whose composition was seen to change, too; and all where
    groups of sites hop, whatever the ensemble keeps.
    """
    lattice = run.lattice
    hopping = any(follows_a_bias(point) for point in run.points)
    named = {str(name) for point in run.points for name, c in point.coords.items() if not c.ndim}
    seen = run.attrs.get("trajectory", {}).get("open", ())
    found = []
    for name, sublattice in lattice.sublattices.items():
        coordinates = {f"{p}_{name}_{s}" for p in ("mu", "phi") for s in sublattice.species}
        if (hopping or coordinates & named or name in seen) and len(sublattice.species) > 1:
            found.append(name)
    return found


def moving_among(run: Run, extremes: Iterable[np.ndarray], names: Sequence[str]) -> set[Tracked]:
    """Fractions of the named sublattices that are not the same in all draws and at the start.

    ``extremes`` holds the least and the most sites of every species at each point, int
    [2, n_sublattices, n_species_max].
    """
    bounds = np.stack([*extremes, *_at_the_start(run)])
    differs = bounds[:, 0].min(axis=0) < bounds[:, 1].max(axis=0)
    of = {name: run.lattice.sublattices[name].species for name in names}
    rows = {name: differs[run.lattice.names.index(name)] for name in names}
    return {
        (name, symbol)
        for name in names
        for symbol, moved in zip(of[name], rows[name], strict=False)
        if moved
    }


def open_among(names: Sequence[str], moving: Collection[Tracked]) -> list[str]:
    """Sublattices whose composition is not fixed.

    Where some change and others never do, the others are taken to be fixed.
    """
    return [name for name in names if name in {moved for moved, _ in moving}] or list(names)


def open_sublattices(run: Run) -> list[str]:
    """Sublattices whose composition is not fixed, from one pass over the run's occupations."""
    names = named_sublattices(run)
    if not names:
        return []
    return open_among(names, moving_among(run, _extremes_of(run), names))


def moving_fractions(run: Run, sublattices: Sequence[str]) -> set[Tracked]:
    """Fractions that are not the same in all draws of a run and at its start."""
    return moving_among(run, _extremes_of(run), sublattices) if sublattices else set()


def _extremes_of(run: Run) -> list[np.ndarray]:
    meters: dict[str, Meter] = {"counts": count_meter(run.lattice)}
    drawn = [point["occupation"] for point in run.points if point.sizes.get("draw", 0)]
    return [extremes_of(measured(run.lattice, held, meters)["counts"]) for held in drawn]


def count_meter(lattice: Lattice) -> Meter:
    """Count the sites per species, int32 [n, n_sublattices, n_species_max]."""
    return lambda flat: count_species(flat, lattice.sublattices).astype(np.int32)


def extremes_of(counts: np.ndarray) -> np.ndarray:
    """Least and most of counts [draw, chain, ...], as [2, ...]."""
    return np.stack([counts.min(axis=(0, 1)), counts.max(axis=(0, 1))])


def _at_the_start(run: Run) -> list[np.ndarray]:
    """Least and most counts at the start of the run, where it knows them."""
    bounds = []
    for index, (name, sublattice) in enumerate(run.lattice.sublattices.items()):
        start = run.config.get("sublattices", {}).get(name, {}).get("composition") or {}
        if start:
            n_sites, species = len(sublattice.sites), sublattice.species
            most = np.iinfo(np.int32).max
            bound = np.tile(np.array([[[most]], [[0]]]), (1, len(run.lattice.names), 1))
            bound = np.repeat(bound, run.lattice.n_species_max, axis=2)
            bound[:, index, : len(species)] = [round(start.get(s, 0.0) * n_sites) for s in species]
            bounds.append(bound)
    return bounds
