"""What a lattice Hamiltonian is given, checked: compiled code would read any index as it is."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..sublattice import shown
from ..tiling import Tiling

__all__ = ["checked_field", "checked_move", "checked_sites", "species_by_kind"]


def checked_sites(sites: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Sites that may change, [n_replicas, m]; each named once."""
    if sites is None:
        return np.broadcast_to(np.arange(shape[1]), shape)
    parts = np.asarray(sites)
    if parts.ndim != 2 or len(parts) != shape[0] or parts.dtype.kind not in "iu":
        raise InputError(
            f"sites have shape {parts.shape} and type {parts.dtype}; give whole numbers "
            f"[{shape[0]}, m]"
        )
    if parts.size == 0 or parts.min() < 0 or parts.max() >= shape[1]:
        raise InputError(f"sites must be at least one per replica and lie in 0…{shape[1] - 1}")
    if (np.diff(np.sort(parts, axis=1), axis=1) == 0).any():
        raise InputError("a site is named twice among the sites that may change; name it once")
    return parts.astype(np.int64)


def species_by_kind(lattice: Lattice, tiling: Tiling) -> list[int]:
    """Count the species of every kind of site; sites of one kind must allow the same ones."""
    numbers = np.asarray(lattice.atomic_numbers)
    _, first = np.unique(tiling.kinds, return_index=True)
    differing = np.flatnonzero((numbers != numbers[first[tiling.kinds]]).any(axis=1))
    if len(differing):
        site = int(differing[0])
        like = int(first[tiling.kinds[site]])
        raise InputError(
            f"sites {like} and {site} are the same site of the primitive cell but hold "
            f"{', '.join(lattice.species_of(like))} and {', '.join(lattice.species_of(site))}: "
            "give them the same species in the same order"
        )
    return np.asarray(lattice.allowed).sum(axis=1)[first].tolist()


def checked_field(field: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    try:
        field = np.asarray(field, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"energies of single sites are {shown(field)}; give numbers in eV"
        ) from None
    if field.shape != allowed.shape:
        raise InputError(
            f"energies of single sites have shape {field.shape}; give one number in eV per site "
            f"and species, {allowed.shape}"
        )
    if not np.isfinite(field).all():
        site, species = np.argwhere(~np.isfinite(field))[0]
        raise InputError(
            f"the energy of species {species} on site {site} is {field[site, species]}; give "
            "finite energies in eV"
        )
    return np.where(allowed, field, 0.0)


def checked_move(
    lattice: Lattice, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    sites, species = np.atleast_2d(sites), np.atleast_2d(species)
    if sites.shape != species.shape or len(sites) != len(occupations):
        raise InputError(
            f"sites has shape {sites.shape} and species {species.shape}; "
            f"both must be [{len(occupations)}, m]"
        )
    if sites.dtype.kind not in "iu" or species.dtype.kind not in "iu":
        raise InputError(f"sites are {sites.dtype} and species {species.dtype}; give whole numbers")
    if sites.size and (sites.min() < -1 or sites.max() >= lattice.n_sites):
        raise InputError(f"sites must lie in 0…{lattice.n_sites - 1}, or be −1 for padding")
    used = sites >= 0
    inside = used & (species >= 0) & (species < lattice.n_species_max)
    wrong = used & ~(
        inside & lattice.allowed[np.where(used, sites, 0), np.where(inside, species, 0)]
    )
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        site = int(sites[row, column])
        raise InputError(
            f"species {species[row, column]} is not allowed on site {site}; give the index of one "
            f"of {', '.join(lattice.species_of(site))}, from 0"
        )
    return sites, species.astype(np.int8)
