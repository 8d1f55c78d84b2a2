"""Enumerated arrangements repeated until displacements of a longer period fit their cells."""

from __future__ import annotations

import numpy as np
from ase.build import make_supercell

from ...lattice import Lattice, Sublattice
from ...tiling import hermite
from .enumeration import Orderings

__all__ = ["in_common_cells"]


def in_common_cells(orderings: Orderings, parent: Lattice, multiple: int) -> Orderings:
    """Arrangements in the smallest cell that is also one of m × m × m parent cells.

    Parameters
    ----------
    orderings
        From `enumerate_orderings`.
    parent
        Its primitive cell.
    multiple
        m; the choice of the primitive vectors does not matter.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.analysis import enumerate_orderings
    >>> parent = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0)
    >>> found = enumerate_orderings(parent, [2])
    >>> [in_common_cells(one, parent, 2).n_cells for one in found]
    [8, 8, 8]
    """
    own = np.rint(orderings.lattice.atoms.cell.array @ np.linalg.inv(parent.atoms.cell.array))
    common = _intersection(own.astype(np.int64), multiple)
    times = np.rint(common @ np.linalg.inv(own)).astype(int)
    if abs(round(np.linalg.det(times))) == 1:
        return orderings
    small = orderings.lattice
    labelled = small.atoms.copy()
    labelled.set_tags(np.arange(len(labelled)))
    atoms = make_supercell(labelled, times)
    came_from = atoms.get_tags()
    sublattices = {
        name: Sublattice(
            tuple(np.flatnonzero(np.isin(came_from, row.sites)).tolist()), row.species, row.charges
        )
        for name, row in small.sublattices.items()
    }
    large = Lattice(atoms, sublattices, small.spectator_charges)
    site_of_atom = np.full(len(labelled), -1)
    site_of_atom[small.sites] = np.arange(small.n_sites)
    sites = site_of_atom[came_from[large.sites]]
    n_cells = orderings.n_cells * abs(round(np.linalg.det(times)))
    return Orderings(large, n_cells, orderings.occupations[:, sites])


def _intersection(rows: np.ndarray, multiple: int) -> np.ndarray:
    """Basis of the integer vectors that are in the lattice of some rows and multiples of a number.

    The lattice dual to it is spanned by both duals together: by the rows of M⁻ᵀ and of 1/m.
    """
    scale = abs(round(np.linalg.det(rows))) * multiple
    duals = np.vstack([scale * np.linalg.inv(rows).T, scale / multiple * np.eye(3)])
    basis = hermite(np.rint(duals).astype(np.int64))
    return np.asarray(np.rint(scale * np.linalg.inv(basis).T).astype(np.int64))
