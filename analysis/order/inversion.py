"""Inversion of spinels: how the cations share tetrahedral and octahedral sites."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ...errors import InputError
from ...lattice import Lattice
from ..estimates import describe, measured, species_labels
from ..wording import with_error
from .first_shells import first_shells
from .statements import doubt

__all__ = ["inversion_degree", "tetrahedral_sites"]

TETRAHEDRAL, OCTAHEDRAL = 4, 6


def coordination_numbers(lattice: Lattice, sublattice: str) -> np.ndarray:
    """Atoms of other kinds in the first shell of every site of a sublattice, int64 [n_own].

    The shell ends at the widest gap between successive distances of the reference positions.
    """
    own = lattice.sites[lattice.site_slice(sublattice)]
    others = np.setdiff1d(np.arange(len(lattice.atoms)), own)
    if len(others) == 0:
        raise InputError(f"all atoms belong to sublattice {sublattice!r}: nothing coordinates them")
    positions = lattice.atoms.positions
    shells, _ = first_shells(positions[own], positions[others], lattice.atoms.cell.array)
    return np.array([len(shell) for shell in shells])


def tetrahedral_sites(lattice: Lattice, sublattice: str | None = None) -> np.ndarray:
    """Find the sites of a spinel's cation sublattice that four anions surround, bool [n_own].

    Parameters
    ----------
    lattice
        A spinel whose tetrahedral and octahedral cations are one sublattice.
    sublattice
        Its name; may be left out if only one spans both kinds of site.

    Returns
    -------
    True for a tetrahedral site (8a in Fd-3m), in the order of the sublattice's sites.

    Raises
    ------
    InputError
        If the sites are not fourfold and sixfold coordinated.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.spinel(("Mg", "Al"), "O", a=8.08)
    >>> int(tetrahedral_sites(lattice).sum()), len(tetrahedral_sites(lattice))
    (8, 24)
    """
    name = _spinel_sublattice(lattice, sublattice)
    numbers = coordination_numbers(lattice, name)
    kinds = set(numbers.tolist())
    if kinds != {TETRAHEDRAL, OCTAHEDRAL}:
        found = ", ".join(str(n) for n in sorted(kinds))
        raise InputError(
            f"the sites of sublattice {name!r} have {found} neighbours, not 4 and 6 as in a "
            "spinel; name the tetrahedral sites with tetrahedral=…"
        )
    return np.asarray(numbers == TETRAHEDRAL)


def inversion_degree(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    species: str | None = None,
    sublattice: str | None = None,
    *,
    tetrahedral: np.ndarray | None = None,
) -> xr.Dataset:
    r"""Inversion of a spinel: the fraction of tetrahedral sites without their own cation.

    With A the cation that sits on tetrahedral sites in the normal spinel A[B₂]O₄, the inversion is
    ``i = 1 − N_A(tetrahedral)/N_tetrahedral``: 0 in the normal spinel, 1 in the inverse one
    B[AB]O₄, 2/3 where the cations of AB₂O₄ are spread at random (T. F. W. Barth and E. Posnjak, Z.
    Kristallogr. 82, 325 (1932)).

    Parameters
    ----------
    lattice
        A spinel whose tetrahedral and octahedral cations are one sublattice, as `builders.spinel`
        makes it.
    occupations
        Shape [draw, chain, n_sites], [n_replicas, n_sites] or [n_sites].
    species
        A; may be left out if exactly one species has as many atoms as there are tetrahedral sites
        in the first draw.
    sublattice
        Its name; may be left out if only one spans both kinds of site.
    tetrahedral
        Which sites of the sublattice are tetrahedral, bool [n_own]; by coordination unless given.

    Returns
    -------
    Dataset with the scalars ``mean``, ``error``, ``ess``, ``rhat``, ``converged`` and ``random``
    (the value of random arrangements with the sampled composition), and ``occupancy`` with
    ``occupancy_error`` over (kind, species), the fractions on tetrahedral and octahedral sites.

    Raises
    ------
    InputError
        If the sublattice is no spinel's, or the species is unknown or must be named.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.spinel(("Mg", "Al"), "O", a=8.08)
    >>> normal = 1 - tetrahedral_sites(lattice).astype(int)
    >>> result = inversion_degree(lattice, normal)
    >>> float(result["mean"]), round(float(result["random"]), 3)
    (0.0, 0.667)
    """
    name = _spinel_sublattice(lattice, sublattice)
    part = lattice.site_slice(name)
    if tetrahedral is None:
        tetrahedral = tetrahedral_sites(lattice, name)
    inside = np.asarray(tetrahedral)
    n_own = part.stop - part.start
    if inside.shape != (n_own,) or inside.dtype != bool or len(set(inside.tolist())) < 2:
        raise InputError(
            f"tetrahedral has shape {inside.shape}; give a bool for each of the "
            f"{n_own} sites of sublattice {name!r}, not all alike"
        )
    labels = list(species_labels(lattice, name))

    def shares(flat: np.ndarray) -> np.ndarray:
        own = flat[:, part]
        kinds = (own[:, inside], own[:, ~inside], own)
        rows = [[(x == k).mean(axis=1) for k in range(len(labels))] for x in kinds]
        return np.moveaxis(np.array(rows), 2, 0)

    series = measured(lattice, occupations, {"shares": shares})["shares"]
    chosen = _own_cation(labels, species, series[0, 0, 2] * inside.size, int(inside.sum()), name)
    attrs = {"long_name": f"inversion ({labels[chosen]} on tetrahedral sites when normal)"}
    attrs |= {"units": "1", "species": labels[chosen], "sublattice": name}
    result = describe(
        xr.DataArray(1.0 - series[:, :, 0, chosen], dims=("draw", "chain"), attrs=attrs)
    )
    result["random"] = 1.0 - float(series[:, :, 2, chosen].mean())
    coords: dict[str, Any] = {"kind": ["tetrahedral", "octahedral"], "species": labels}
    occupancy = describe(
        xr.DataArray(series[:, :, :2], dims=("draw", "chain", "kind", "species"), coords=coords)
    )
    result["occupancy"], result["occupancy_error"] = occupancy["mean"], occupancy["error"]
    found = with_error(float(result["mean"]), float(result["error"]))
    result.attrs["statement"] = (
        f"The inversion is {found}: that share of the tetrahedral sites is without "
        f"{labels[chosen]} (0 normal, 1 inverse, {float(result['random']):.3f} at random)."
        f"{doubt(result)}"
    )
    return result


def _spinel_sublattice(lattice: Lattice, sublattice: str | None) -> str:
    if sublattice is not None:
        species_labels(lattice, sublattice)
        return sublattice
    several = [name for name in lattice.names if len(lattice.sublattices[name].species) > 1]
    if len(several) != 1:
        raise InputError(
            f"the lattice has the sublattices {', '.join(lattice.names)}; say which holds the "
            "cations of the spinel with sublattice=…"
        )
    return several[0]


def _own_cation(
    labels: list[str], species: str | None, counts: np.ndarray, n_tetrahedral: int, name: str
) -> int:
    if species is not None:
        if species not in labels:
            raise InputError(f"{species!r} is not on sublattice {name!r}: {', '.join(labels)}")
        return labels.index(species)
    fitting = np.flatnonzero(np.rint(counts).astype(int) == n_tetrahedral)
    if len(fitting) != 1:
        raise InputError(
            "it does not follow from the composition which cation is tetrahedral in the normal "
            f"spinel; name one of {', '.join(labels)} with species=…"
        )
    return int(fitting[0])
