"""What is compared: quantities of arrangements, as series over the draws of every temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ...errors import InputError
from ...lattice import Lattice
from ...protocols import Hamiltonian
from ...records import Run
from ...statistics import effective_sample_size
from ..estimates import as_chains, blocks_of_draws
from ..layout import coordinates_of
from ..order.long_range import ordering_series
from ..order.short_range import warren_cowley_series
from ..wording import counted
from .clusters import Clusters

__all__ = [
    "ENERGY",
    "FORCE",
    "RELAXED",
    "Quantity",
    "Series",
    "Temperature",
    "energies_of",
    "evaluated",
    "has_forces",
    "rms_forces",
    "sampled",
    "structure_of",
    "temperatures_of",
]

MOST_STRUCTURES, MOST_CLUSTERS = 20_000, 4000
BATCH = 64
LEAST_DRAWS = 4


class Quantity(NamedTuple):
    """What is compared: its kind, its name among those of the kind, and its unit.

    Kinds are "energy", "relaxed energy", "force", "warren-cowley", "order" and "cluster".
    """

    kind: str
    name: str
    unit: str

    @property
    def label(self) -> str:
        """Kind and name."""
        return f"{self.kind} {self.name}".strip()


ENERGY = Quantity("energy", "", "eV per site")
RELAXED = Quantity("relaxed energy", "", "eV per site")
FORCE = Quantity("force", "rms", "eV/Å")


class Series(NamedTuple):
    """Values [draw, chain] of a quantity, and the energies of the cell in eV at the same draws."""

    values: np.ndarray
    energy: np.ndarray


class Temperature(NamedTuple):
    """The samples at one temperature in K, those of several points as chains of one ensemble.

    ``energy`` is [draw, chain] in eV per cell; ``fixed`` says that positions did not move.
    """

    kelvin: float
    occupations: tuple[xr.DataArray, ...]
    energy: np.ndarray
    fixed: bool

    def structures(self, most: int) -> tuple[list[xr.DataArray], np.ndarray]:
        """At most so many evenly spaced occupations [draw, chain, site], and their energies."""
        stride = max(1, math.ceil(self.energy.size / most))
        n_draws = len(self.energy)
        parts = [part.isel(draw=slice(0, n_draws, stride)) for part in self.occupations]
        return parts, self.energy[::stride]


def temperatures_of(run: Run) -> list[Temperature]:
    """Sort samples by temperature, cold first; points of one temperature are taken together.

    Raises
    ------
    InputError
        If there are no draws, or a point has too few for an error.
    """
    points = [point for point in run.points if point.sizes.get("draw", 0)]
    if not points:
        raise InputError("the run holds no draws yet; let it sample before it is compared")
    kelvins = [row["temperature"] for row in coordinates_of(points)]
    found = []
    for kelvin in sorted(set(kelvins)):
        here = [point for point, k in zip(points, kelvins, strict=True) if k == kelvin]
        n_draws = min(point.sizes["draw"] for point in here)
        if n_draws < LEAST_DRAWS:
            raise InputError(
                f"{counted(n_draws, 'draw')} per chain at {kelvin:g} K "
                f"{'is' if n_draws == 1 else 'are'} too few for an error; take at least "
                f"{LEAST_DRAWS}, better hundreds"
            )
        energy = [
            point["energy"].transpose("draw", "chain").isel(draw=slice(0, n_draws)).to_numpy()
            for point in here
        ]
        held = tuple(point["occupation"].transpose("draw", "chain", "site") for point in here)
        fixed = not any({"positions", "cell"} & set(point.variables) for point in here)
        found.append(Temperature(kelvin, held, np.concatenate(energy, axis=1), fixed))
    return found


def structure_of(
    lattice: Lattice,
    occupations: Any,
    n_shells: int,
    orders: Mapping[str, tuple[str, str]],
    clusters: Clusters | None,
) -> dict[Quantity, np.ndarray]:
    """Quantities that need no energies, [draw, chain] each, of occupations of any accepted shape.

    Warren–Cowley parameters of unlike pairs, orders by label, and elements of the cluster vector.
    """
    found: dict[Quantity, np.ndarray] = {}
    if n_shells:
        found |= _warren_cowley(lattice, occupations, n_shells)
    for label, (name, sublattice) in orders.items():
        values = ordering_series(lattice, occupations, name, sublattice)
        found[Quantity("order", label, "1")] = values.to_numpy()
    if clusters is not None:
        found |= _cluster_vectors(lattice, occupations, clusters)
    return {quantity: values for quantity, values in found.items() if np.isfinite(values).all()}


def _warren_cowley(lattice: Lattice, occupations: Any, n_shells: int) -> dict[Quantity, np.ndarray]:
    table = warren_cowley_series(lattice, occupations, n_shells)
    found = {}
    for pair in table["pair"].to_numpy():
        row = table.sel(pair=pair)
        kinds = [str(row[name].item()) for name in ("species_a", "species_b")]
        places = [str(row[name].item()) for name in ("sublattice_a", "sublattice_b")]
        if kinds[0] == kinds[1] and places[0] == places[1]:
            continue  # follows from the unlike ones
        for shell in table["shell"].to_numpy():
            name = f"{pair} shell {shell}"
            values = row.sel(shell=shell).transpose("draw", "chain").to_numpy()
            found[Quantity("warren-cowley", name, "1")] = values
    return found


def _cluster_vectors(
    lattice: Lattice, occupations: Any, clusters: Clusters
) -> dict[Quantity, np.ndarray]:
    chains = as_chains(lattice, occupations)
    kept = [k for k, cluster in enumerate(clusters.clusters) if cluster.order > 1]
    values = np.empty((*chains.shape[:2], len(kept)))
    for block, flat in blocks_of_draws(lattice, chains):
        vectors = clusters.vectors(flat)[:, kept]
        values[block] = vectors.reshape(-1, chains.shape[1], len(kept))
    return {
        Quantity("cluster", clusters.clusters[k].label, "1"): values[:, :, column]
        for column, k in enumerate(kept)
    }


def energies_of(hamiltonian: Hamiltonian, occupations: np.ndarray) -> np.ndarray:
    """Energies in eV per cell, [n], of occupations [n, n_sites].

    Raises
    ------
    InputError
        If one is not finite.
    """
    parts = [
        hamiltonian.energy(occupations[start : start + BATCH])
        for start in range(0, len(occupations), BATCH)
    ]
    energies = np.concatenate(parts)
    if not np.isfinite(energies).all():
        raise InputError(
            f"{(~np.isfinite(energies)).sum()} of {len(energies)} arrangements have no finite "
            "energy; see whether the potential knows such structures, or relaxes them"
        )
    return np.asarray(energies, dtype=float)


def has_forces(hamiltonian: Any) -> bool:
    """Whether a model gives forces at the positions that it is bound to."""
    return hasattr(hamiltonian, "energy_forces_stress")


def rms_forces(hamiltonian: Any, occupations: np.ndarray) -> np.ndarray:
    """Root mean square of the force components at the model's positions, eV/Å, [n]."""
    found = []
    for start in range(0, len(occupations), BATCH):
        _, forces, _ = hamiltonian.energy_forces_stress(occupations[start : start + BATCH])
        found.append(np.sqrt((np.asarray(forces) ** 2).mean(axis=(1, 2))))
    return np.concatenate(found)


def sampled(
    lattice: Lattice,
    here: Temperature,
    n_shells: int,
    orders: Mapping[str, tuple[str, str]],
    clusters: Clusters,
) -> dict[Quantity, Series]:
    """Series of every structural quantity at one temperature; long runs are thinned evenly."""
    found: dict[Quantity, Series] = {}
    for most, shells, names, space in (
        (MOST_STRUCTURES, n_shells, orders, None),
        (MOST_CLUSTERS, 0, {}, clusters),
    ):
        parts, energy = here.structures(most)
        measured = [structure_of(lattice, part, shells, names, space) for part in parts]
        for quantity in measured[0]:
            if all(quantity in one for one in measured):
                joined = np.concatenate([one[quantity] for one in measured], axis=1)
                found[quantity] = Series(joined, energy)
    return found


def evaluated(
    lattice: Lattice, here: Temperature, n: int, models: Mapping[Quantity, Any]
) -> dict[Quantity, Series]:
    """Series [1, n] of what costs evaluations of a model, at about ``n`` evenly spaced draws.

    They are so few, and no more than effective samples, that they count as independent.
    """
    if not models:
        return {}
    ess = effective_sample_size(here.energy)
    most = n if not ess > 0 else min(n, max(LEAST_DRAWS, int(ess)))
    parts, energy = here.structures(most)
    rows = np.concatenate([np.asarray(as_chains(lattice, part)) for part in parts], axis=1)
    flat = lattice.check(rows.reshape(-1, lattice.n_sites))
    return {
        quantity: Series(function(flat)[None], energy.reshape(1, -1))
        for quantity, function in models.items()
    }
