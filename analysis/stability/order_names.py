"""What an ordered arrangement is called: space group, number of variants, names in use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import spglib

from ...errors import InputError
from ...lattice import Lattice
from ..order.commensurate import NAMED_ORDERS
from ..order.long_range import ordering_amplitude
from .enumeration import SYMPREC

__all__ = ["ArrangementSymmetry", "order_name", "symmetry_of"]

_FACE_CENTRED = {
    (2, 1, 123): "L1_0",
    (2, 1, 166): "L1_1",
    (4, 1, 221): "L1_2",
    (4, 1, 139): "D0_22",
}
"""Strukturbericht symbols by number of sites, of the rarer species, and space group of the net."""


class ArrangementSymmetry(NamedTuple):
    """Space group of an arrangement at the positions of its lattice, and its operations per cell.

    ``symbol`` is the international (Hermann–Mauguin) one, ``number`` 1 to 230.
    """

    symbol: str
    number: int
    operations: int


def symmetry_of(lattice: Lattice, occupation: np.ndarray | None = None) -> ArrangementSymmetry:
    """Space group of an occupation, or of the lattice with all species of a sublattice alike.

    Species count as different even where they are the same element on two sublattices, and a
    vacancy is a species. The reference positions are taken, not relaxed ones.

    Parameters
    ----------
    lattice
        The lattice.
    occupation
        Integers [n_sites].

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> cells = np.floor(lattice.atoms.get_scaled_positions()[lattice.sites] * 2).astype(int)
    >>> symmetry_of(lattice, cells.sum(axis=1) % 2).symbol
    'Fm-3m'
    """
    kinds = lattice.atoms.numbers.astype(int)
    own = np.zeros(lattice.n_sites, dtype=int) if occupation is None else lattice.check(occupation)
    kinds[lattice.sites] = 1000 * (1 + lattice.sublattice_of_site) + own
    return _space_group(lattice, np.arange(len(kinds)), kinds)


def order_name(lattice: Lattice, occupation: np.ndarray) -> str:
    """Names in use for the order of two species, by sublattice; empty where there is none.

    A half-and-half sublattice on a simple cubic net (B sites of a perovskite) that is perfectly
    ordered by one star of waves is "rock-salt", "layered" or "columnar". On a face-centred cubic
    net (cations of rock salt and fluorite) in its smallest cell: L1_0, L1_1, L1_2 and D0_22.

    Parameters
    ----------
    lattice, occupation
        As for `symmetry_of`.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.build import bulk
    >>> from alchemc import Lattice, Sublattice
    >>> lattice = Lattice(bulk("Cu", cubic=True), {"metal": Sublattice("Cu", ("Cu", "Au"))})
    >>> order_name(lattice, np.array([1, 0, 0, 0]))
    'L1_2'
    """
    occupation = lattice.check(occupation)
    found = []
    for name in lattice.names:
        own = occupation[lattice.site_slice(name)]
        term = _cubic_name(lattice, occupation, name) or _face_centred_name(lattice, own, name)
        if term:
            found.append(term if len(lattice.names) == 1 else f"{term} on {name}")
    return ", ".join(found)


def _cubic_name(lattice: Lattice, occupation: np.ndarray, name: str) -> str:
    _, counts = np.unique(occupation[lattice.site_slice(name)], return_counts=True)
    if len(counts) != 2 or counts[0] != counts[1]:
        return ""
    for order in NAMED_ORDERS:
        try:
            amplitude = ordering_amplitude(lattice, occupation, order, name)
        except InputError:  # no simple cubic net, or the wave does not fit the cell
            continue
        if abs(float(amplitude["mean"]) - 1.0) < 1e-6:
            return order
    return ""


def _face_centred_name(lattice: Lattice, own: np.ndarray, name: str) -> str:
    species, counts = np.unique(own, return_counts=True)
    sites = lattice.sites[lattice.site_slice(name)]
    if len(species) != 2 or len(sites) > 4:
        return ""
    if _space_group(lattice, sites, np.ones(len(sites), dtype=int)).number != 225:
        return ""
    net = _space_group(lattice, sites, own.astype(int) + 1)
    return _FACE_CENTRED.get((len(sites), int(counts.min()), net.number), "")


def _space_group(lattice: Lattice, atoms: np.ndarray, kinds: np.ndarray) -> ArrangementSymmetry:
    scaled = lattice.atoms.get_scaled_positions()[atoms]
    labels = np.unique(kinds, return_inverse=True)[1] + 1
    crystal = (lattice.atoms.cell.array.tolist(), scaled.tolist(), labels.tolist())
    try:
        found = spglib.get_symmetry_dataset(crystal, SYMPREC)
    except spglib.SpglibError:  # raised or returned as None, by spglib's setting
        found = None
    if found is None:
        raise InputError("spglib finds no symmetry; check the lattice for atoms that are too close")
    return ArrangementSymmetry(found.international, int(found.number), len(found.rotations))
