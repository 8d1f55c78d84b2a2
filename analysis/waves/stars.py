"""Wave vectors that fit a cell, their stars, and the names of the orders they stand for."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from ...lattice import Lattice
from ..estimates import sites_of
from ..order.commensurate import (
    NAMED_ORDERS,
    conventional_cell,
    ordering_vector,
    parent_cell,
    shown_vector,
)
from .couplings import Crystal

__all__ = ["UNMIXING", "Star", "fitting_stars", "order_name", "wave_cell"]

UNMIXING = "unmixing"
ACTIVE = 0.05
PURE = 0.999


class Star(NamedTuple):
    """Wave vectors that symmetry makes one, as far as they fit the cell.

    ``arms`` [n, 3] in units of the reciprocal wave cell, q and −q both counted unless they are the
    same; ``cartesian`` [n, 3] in 1/Å without 2π.
    """

    arms: np.ndarray
    cartesian: np.ndarray

    @property
    def uniform(self) -> bool:
        """Whether it is q = 0."""
        return bool(np.abs(self.cartesian[0]).max() < 1e-9)


def wave_cell(lattice: Lattice) -> np.ndarray:
    """Cell vectors as rows in Å whose reciprocal vectors are the unit of q.

    Those of `ordering_vector` where the sublattices agree on them: the pseudo-cubic cell of a
    simple cubic net, else the conventional cell of the crystal.
    """
    cells = [parent_cell(lattice, name).vectors for name in lattice.names]
    if all(np.allclose(cell, cells[0], atol=1e-3) for cell in cells):
        return cells[0]
    return conventional_cell(lattice)[0]


def fitting_stars(lattice: Lattice, crystal: Crystal) -> list[Star]:
    """All wave vectors that fit the cell, by star, under the point group of the crystal.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.analysis.waves.couplings import crystal_of
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> [len(star.arms) for star in fitting_stars(lattice, crystal_of(lattice))]
    [1, 3, 3, 1]
    """
    primitive = crystal.tiling.primitive
    box = crystal.tiling.box
    # q·(supercell vector) is a whole number; those of the first box of them are all different.
    whole = np.array(list(itertools.product(*(range(n) for n in np.diag(box)))))
    reduced = _first_zone(whole @ np.linalg.inv(box).T, primitive)
    vectors, rotations = conventional_cell(lattice)
    images = (reduced @ np.linalg.inv(primitive).T @ vectors.T) @ np.concatenate(
        [rotations, -rotations]
    )
    images = images @ np.linalg.inv(vectors).T @ primitive.T
    index = {_key(q): n for n, q in enumerate(reduced)}
    units, left, stars = wave_cell(lattice), set(range(len(reduced))), []
    for n in range(len(reduced)):
        if n not in left:
            continue
        found = {index.get(_key(image), n) for image in images[:, n]} | {n}
        left -= found
        cartesian = reduced[sorted(found)] @ np.linalg.inv(primitive).T
        arms = np.round(cartesian @ units.T, 9) + 0.0
        # First the arm that a reader would write: few minus signs, long components last.
        order = sorted(
            range(len(arms)), key=lambda k: (np.sum(arms[k] < 0), tuple(np.round(arms[k], 6)))
        )
        stars.append(Star(arms[order], cartesian[order]))
    return stars


def _first_zone(reduced: np.ndarray, primitive: np.ndarray) -> np.ndarray:
    """Equivalent vectors of least length, [n, 3] in units of the primitive reciprocal cell."""
    shifts = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))
    candidates = (reduced % 1.0)[:, None] + shifts
    cartesian = candidates @ np.linalg.inv(primitive).T
    length = np.linalg.norm(cartesian, axis=2).round(9)
    shortest = length <= length.min(axis=1, keepdims=True) + 1e-7
    # Of equally long ones that with the fewest minus signs in Cartesian axes.
    signs = (cartesian < -1e-9).sum(axis=2) - 1e-3 * cartesian @ np.array([1.0, 1.1, 1.2])
    best = np.argmin(np.where(shortest, signs, np.inf), axis=1)
    return np.asarray(candidates[np.arange(len(reduced)), best])


def _key(q: np.ndarray) -> tuple[int, ...]:
    """Name of a vector that is the same for equivalent ones, whatever their rounding errors."""
    # Fractions with denominators that do not divide 10,080 stay away from the steps of floor, too.
    return tuple((np.floor(q * 10080 + 0.2871).astype(np.int64) % 10080).tolist())


def order_name(lattice: Lattice, pattern: np.ndarray, star: Star) -> str:
    """Name of the order that a wave is, from its pattern on the sites.

    "rock-salt", "layered" or "columnar" on a simple cubic net of sites, with the sublattice where
    there are several; "unmixing" where every sublattice stays uniform; else the vector.

    Parameters
    ----------
    lattice
        Sites and species.
    pattern
        Change of every site's fractions, [n_sites, n_species_max].
    star
        Its wave vectors.
    """
    names = {}
    largest = np.abs(pattern).max()
    for name in lattice.names:
        part = pattern[sites_of(lattice, name)]
        if np.abs(part).max() < ACTIVE * largest:
            continue
        uniform = np.ptp(part, axis=0).max() < ACTIVE * np.abs(part).max()
        names[name] = UNMIXING if uniform else _named(lattice, name, part)
    if set(names.values()) == {UNMIXING}:
        return UNMIXING
    if None in names.values():
        between = star.uniform and any(name is None for name in names.values())
        return "order within the primitive cell" if between else f"q = {shown_vector(star.arms[0])}"
    if len(lattice.names) == 1:
        return str(next(iter(names.values())))
    groups: dict[str, list[str]] = {}
    for name, order in names.items():
        groups.setdefault(str(order), []).append(name)
    return ", ".join(f"{order} on {' and '.join(on)}" for order, on in groups.items())


def _named(lattice: Lattice, sublattice: str, part: np.ndarray) -> str | None:
    """Named order whose arms span a pattern [n, n_species_max] of one sublattice."""
    for name in NAMED_ORDERS:
        try:
            phases = ordering_vector(lattice, name, sublattice).phases
        except InputError:  # no simple cubic net, or the order does not fit
            continue
        waves, sizes, _ = np.linalg.svd(np.concatenate([phases.real, phases.imag]).T)
        basis = waves[:, : np.sum(sizes > 1e-6 * sizes[0])]
        left = part - basis @ (basis.T @ part)
        if (left**2).sum() < (1 - PURE) * (part**2).sum():
            return name
    return None
