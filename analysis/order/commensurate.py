"""Which concentration waves fit a cell: the parent cell, allowed vectors, stars and phases."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import NamedTuple

import numpy as np
import spglib
from ase.neighborlist import neighbor_list

from ...errors import InputError
from ...lattice import Lattice
from ..estimates import sites_of, species_labels

__all__ = [
    "NAMED_ORDERS",
    "OrderingVector",
    "ParentCell",
    "as_vector",
    "conventional_cell",
    "named_star",
    "ordering_vector",
    "parent_cell",
    "require_fit",
    "shown_vector",
    "supercell_matrix",
]

NAMED_ORDERS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "rock-salt": ((0.5, 0.5, 0.5),),
    "layered": ((0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5)),
    "columnar": ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0)),
}
"""Arms of the stars of perovskite B-site orders, in units of the pseudo-cubic reciprocal cell."""

TOLERANCE = 1e-6
MAX_LISTED = 4


class ParentCell(NamedTuple):
    """The cell whose reciprocal vectors are the unit of q, in the orientation of the supercell.

    ``vectors`` are rows in Å; ``coordinates`` [n, 3] are those of the sublattice's sites in this
    cell; ``simple_cubic`` says that the sites form a (perhaps distorted) simple cubic net, whose
    coordinates are then whole numbers.
    """

    vectors: np.ndarray
    coordinates: np.ndarray
    simple_cubic: bool


class OrderingVector(NamedTuple):
    """The arms of a star that fit the cell, and their phases on the sublattice's sites.

    ``arms`` is [n_arms, 3] in units of the parent's reciprocal cell; ``phases`` is complex
    [n_arms, n_sublattice_sites], exp(−2πi q·r); real to the last digit where all are ±1.
    ``complete`` says that every arm of the star fits.
    """

    name: str
    sublattice: str
    arms: np.ndarray
    phases: np.ndarray
    complete: bool


def ordering_vector(
    lattice: Lattice, q: str | tuple[float, float, float], sublattice: str | None = None
) -> OrderingVector:
    """Star of ``q`` on a sublattice.

    Named orders are those of a simple cubic net of sites, such as the A or B sites of a perovskite
    (tilted and strained cells included): "rock-salt" ½½½, "layered" 00½ and "columnar" ½½0. A
    vector is given in units of the reciprocal vectors of the parent cell: the pseudo-cubic cell of
    a simple cubic net, else the conventional cell of the crystal with all species of a sublattice
    alike. Its star is taken under that crystal's point group, q and −q counted once.

    Parameters
    ----------
    lattice
        The lattice; its reference positions define the waves.
    q
        A name or a vector of three numbers.
    sublattice
        Its name; may be left out if the lattice has only one.

    Returns
    -------
    The arms that fit the cell and their phases.

    Raises
    ------
    InputError
        If q is unknown, zero, or does not fit the cell; the message lists the nearest that do.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> ordering_vector(lattice, "columnar").phases.shape
    (3, 8)
    """
    sublattice = _sublattice_name(lattice, sublattice)
    parent = parent_cell(lattice, sublattice)
    if isinstance(q, str):
        name, star = q, named_star(q, parent, sublattice)
    else:
        vector = as_vector(q)
        name, star = shown_vector(vector), _star(lattice, vector, parent)
        require_fit(lattice, parent, vector[None], name)
    fitting = star[[_fits(lattice, parent, arm) for arm in star]]
    if len(fitting) == 0:
        require_fit(lattice, parent, star, name)
    arms, phases = _distinct_waves(fitting, parent)
    if np.allclose(phases, phases[:, :1]):
        raise InputError(
            f"q = {name} has the same phase on every site of sublattice {sublattice!r}: "
            "it measures composition, not order; give another vector"
        )
    return OrderingVector(name, sublattice, arms, phases, len(star) == len(fitting))


def _sublattice_name(lattice: Lattice, sublattice: str | None) -> str:
    if sublattice is None:
        if len(lattice.names) > 1:
            raise InputError(
                f"the lattice has the sublattices {', '.join(lattice.names)}; "
                "say whose order is meant with sublattice=…"
            )
        return lattice.names[0]
    species_labels(lattice, sublattice)
    return sublattice


def as_vector(q: object) -> np.ndarray:
    """Wave vector [3] of what a caller gave; refused if it is none."""
    try:
        vector = np.asarray(q, dtype=float)
    except (TypeError, ValueError):
        vector = np.empty(0)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise InputError(f"q = {q!r} is not a vector of three numbers; give e.g. (0.5, 0.5, 0.5)")
    return vector


def named_star(name: str, parent: ParentCell, sublattice: str) -> np.ndarray:
    """Arms [n, 3] of a named order; refused where its sites are no simple cubic net."""
    if name not in NAMED_ORDERS:
        raise InputError(
            f"order {name!r} is unknown; the names are {', '.join(NAMED_ORDERS)}, "
            "or give a vector of three numbers"
        )
    if not parent.simple_cubic:
        raise InputError(
            f"order {name!r} is defined on a simple cubic net of sites, which sublattice "
            f"{sublattice!r} is not; give q as a vector of the conventional reciprocal cell"
        )
    return np.array(NAMED_ORDERS[name])


# ---- the parent cell


def parent_cell(lattice: Lattice, sublattice: str) -> ParentCell:
    """Cell whose reciprocal vectors are the unit of q: that of a simple cubic net, if it is one."""
    sites = lattice.sites[sites_of(lattice, sublattice)]
    cubic = _simple_cubic_net(lattice, sites)
    if cubic is not None:
        return cubic
    vectors, _ = conventional_cell(lattice)
    positions = lattice.atoms.get_positions()[sites]
    return ParentCell(vectors, positions @ np.linalg.inv(vectors), simple_cubic=False)


def _simple_cubic_net(lattice: Lattice, sites: np.ndarray) -> ParentCell | None:
    """Pseudo-cubic cell if every site has six neighbours along three nearly normal axes."""
    atoms = lattice.atoms[sites]
    spacing = (abs(lattice.atoms.get_volume()) / len(sites)) ** (1 / 3)
    first, vectors = neighbor_list("iD", atoms, 1.25 * spacing)
    if not np.array_equal(np.bincount(first, minlength=len(sites)), np.full(len(sites), 6)):
        return None
    axes = _three_axes(vectors)
    if axes is None:
        return None
    supercell = np.round(lattice.atoms.cell.array @ np.linalg.inv(axes))
    if round(abs(np.linalg.det(supercell))) != len(sites):
        return None
    axes = np.linalg.inv(supercell) @ lattice.atoms.cell.array
    relative = atoms.get_positions() - atoms.get_positions()[0]
    return ParentCell(axes, np.round(relative @ np.linalg.inv(axes)), simple_cubic=True)


def _three_axes(vectors: np.ndarray) -> np.ndarray | None:
    """Rows close to ±x, ±y, ±z of the net: one axis per bundle of nearly parallel vectors."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    axes: list[np.ndarray] = []
    left = np.ones(len(vectors), dtype=bool)
    while left.any() and len(axes) < 4:
        cosine = unit @ unit[np.argmax(left)]
        bundle = np.abs(cosine) > 0.9
        axes.append((vectors[bundle] * np.sign(cosine[bundle])[:, None]).mean(axis=0))
        left &= ~bundle
    if len(axes) != 3 or left.any():
        return None
    frame = np.array(axes)
    order = np.argmax(np.abs(frame), axis=1)
    if sorted(order) == [0, 1, 2]:
        frame = frame[np.argsort(order)]
    frame *= np.where(frame.sum(axis=1) < 0, -1.0, 1.0)[:, None]
    lengths = np.linalg.norm(frame, axis=1)
    normalised = np.abs(np.linalg.det(frame / lengths[:, None]))
    return frame if normalised > 0.9 and lengths.max() < 1.25 * lengths.min() else None


def conventional_cell(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Conventional cell (rows, in the supercell's orientation) and its rotations [n, 3, 3].

    The crystal is the reference with all sites of a sublattice alike. spglib relates the bases by
    ``(a b c) = (a_s b_s c_s) P`` (A. Togo et al., Sci. Technol. Adv. Mater. Meth. 4, 2384822
    (2024), doi:10.1080/27660400.2024.2384822).
    """
    atoms = lattice.atoms
    kinds = atoms.get_atomic_numbers().astype(int)
    kinds[lattice.sites] = -1 - lattice.sublattice_of_site
    kinds = np.unique(kinds, return_inverse=True)[1] + 1
    cell = (atoms.cell.array, atoms.get_scaled_positions(), kinds)
    try:
        symmetry = spglib.get_symmetry_dataset(cell, symprec=1e-3)  # type: ignore[arg-type]
    except getattr(spglib, "SpglibError", ()):  # set to raise, it says so in place of None
        symmetry = None
    operations = spglib.get_symmetry_from_database(symmetry.hall_number) if symmetry else None
    if symmetry is None or operations is None:
        return atoms.cell.array, np.eye(3)[None]
    vectors = np.linalg.inv(symmetry.transformation_matrix).T @ atoms.cell.array
    return vectors, np.unique(operations["rotations"], axis=0)


# ---- fitting waves into the cell


def supercell_matrix(lattice: Lattice, parent: ParentCell) -> np.ndarray:
    """Rows: the supercell's vectors in units of the parent's. Conventional cells may be centred."""
    return lattice.atoms.cell.array @ np.linalg.inv(parent.vectors)


def _fits(lattice: Lattice, parent: ParentCell, q: np.ndarray) -> bool:
    turns = supercell_matrix(lattice, parent) @ q
    return bool(np.abs(turns - np.round(turns)).max() < 1e-3)


def require_fit(
    lattice: Lattice, parent: ParentCell, star: np.ndarray, name: str, *, uniform: bool = False
) -> None:
    """Refuse a star [n, 3] none of whose arms fits the cell, and name the nearest that do."""
    if any(_fits(lattice, parent, arm) for arm in star):
        return
    allowed = _nearest_allowed(lattice, parent, star[0], uniform=uniform)
    nearest = ", ".join(shown_vector(q) for q in allowed)
    remedy = (
        f"the nearest vectors that do are {nearest}; choose one of them or another supercell"
        if nearest
        else "none near it does; choose a larger supercell"
    )
    raise InputError(f"q = {name} does not fit this cell (it would not be periodic); {remedy}")


def _nearest_allowed(
    lattice: Lattice, parent: ParentCell, q: np.ndarray, *, uniform: bool
) -> list[np.ndarray]:
    supercell = supercell_matrix(lattice, parent)
    centre = np.floor(supercell @ q)
    around = centre + np.array(list(product(range(-1, 3), repeat=3)))
    candidates = around @ np.linalg.inv(supercell).T
    if not uniform:
        waves = np.exp(-2j * np.pi * (parent.coordinates @ candidates.T))
        candidates = candidates[np.abs(waves - waves[0]).max(axis=0) > TOLERANCE]
    metric = np.linalg.inv(parent.vectors).T
    distance = np.linalg.norm((candidates - q) @ metric, axis=1).round(9)
    return list(candidates[np.lexsort((*candidates.T, distance))][:MAX_LISTED])


def _star(lattice: Lattice, q: np.ndarray, parent: ParentCell) -> np.ndarray:
    """All ±q W over the point group; a rotation W acts on columns of coordinates."""
    vectors, rotations = conventional_cell(lattice)
    images = (vectors @ np.linalg.inv(parent.vectors) @ q) @ rotations
    star = np.round(images @ np.linalg.inv(vectors).T @ parent.vectors.T, 9) + 0.0
    first = np.take_along_axis(star, np.argmax(star != 0, axis=1)[:, None], axis=1)
    return np.unique(np.where(first < 0, -star, star) + 0.0, axis=0)


def _distinct_waves(arms: np.ndarray, parent: ParentCell) -> tuple[np.ndarray, np.ndarray]:
    """One arm for each wave: q, −q and q plus a reciprocal lattice vector count once."""
    kept: list[int] = []
    phases = np.exp(-2j * np.pi * (parent.coordinates @ arms.T)).T
    if np.abs(phases.imag).max() < TOLERANCE:
        phases = phases.real.round(9) + 0j
    for k, wave in enumerate(phases):
        overlaps = [
            max(abs(np.vdot(phases[m], wave)), abs(np.vdot(phases[m].conj(), wave))) for m in kept
        ]
        if all(overlap < (1 - TOLERANCE) * len(wave) for overlap in overlaps):
            kept.append(k)
    return arms[kept], phases[kept]


def shown_vector(q: np.ndarray) -> str:
    """Vector as text, with fractions, such as "(1/2 1/2 0)"."""
    parts = (Fraction(float(x)).limit_denominator(64) for x in q)
    return (
        "("
        + " ".join(
            str(p) if abs(p - x) < 1e-6 else f"{x:.4g}" for p, x in zip(parts, q, strict=True)
        )
        + ")"
    )
