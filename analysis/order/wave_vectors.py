"""Wave vectors of scattering: points, paths and planes of those that fit the cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from ...lattice import Lattice
from ..estimates import species_labels
from .commensurate import (
    ParentCell,
    as_vector,
    conventional_cell,
    named_star,
    parent_cell,
    require_fit,
    shown_vector,
    supercell_matrix,
)

__all__ = ["SPECIAL_POINTS", "Plane", "WaveVectors", "path_points", "plane_points", "wave_vectors"]

SPECIAL_POINTS: dict[str, tuple[float, float, float]] = {
    "Γ": (0.0, 0.0, 0.0),
    "X": (0.5, 0.0, 0.0),
    "M": (0.5, 0.5, 0.0),
    "R": (0.5, 0.5, 0.5),
}
"""Points of the Brillouin zone of a simple cubic net, in units of its reciprocal cell."""

_PLANES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "hk": ((1, 0, 0), (0, 1, 0)),
    "hl": ((1, 0, 0), (0, 0, 1)),
    "kl": ((0, 1, 0), (0, 0, 1)),
    "hhl": ((1, 1, 0), (0, 0, 1)),
}
_MOST_STEPS = 1000


class WaveVectors(NamedTuple):
    """Vectors of one parent cell that fit the supercell.

    ``q`` is [n, 3] in units of the parent's reciprocal cell; ``indices``, int64 [n, 3], are the
    same vectors in units of the supercell's; ``lengths`` [n] are |q| in 1/Å, with 2π.
    """

    parent: ParentCell
    q: np.ndarray
    indices: np.ndarray
    lengths: np.ndarray

    @property
    def labels(self) -> list[str]:
        """Every vector as text, such as "(1/2 1/2 0)"."""
        return [shown_vector(row) for row in self.q]

    def parts(self, most: int) -> list[WaveVectors]:
        """Split the vectors into parts of at most so many."""
        return [
            self._replace(
                q=self.q[start : start + most],
                indices=self.indices[start : start + most],
                lengths=self.lengths[start : start + most],
            )
            for start in range(0, len(self.q), most)
        ]


class Plane(NamedTuple):
    """A grid of wave vectors: ``origin + x u + y v`` for every x and y."""

    u: np.ndarray
    v: np.ndarray
    origin: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def q(self) -> np.ndarray:
        """All vectors, [n_x · n_y, 3]; y runs faster."""
        grid = self.x[:, None, None] * self.u + self.y[None, :, None] * self.v + self.origin
        return np.asarray(grid.reshape(-1, 3))


def common_parent(lattice: Lattice, sublattices: Sequence[str]) -> ParentCell:
    """Parent cell of one sublattice, or the crystal's if those of several differ."""
    parents = [parent_cell(lattice, name) for name in sublattices]
    first = parents[0]
    if all(np.allclose(p.vectors, first.vectors, atol=1e-3) for p in parents[1:]):
        return first
    vectors, _ = conventional_cell(lattice)
    positions = lattice.atoms.positions[lattice.sites]
    return ParentCell(vectors, positions @ np.linalg.inv(vectors), simple_cubic=False)


def chosen_sublattices(lattice: Lattice, sublattices: str | Sequence[str] | None) -> list[str]:
    """Names as a list, each once, all if none is given; InputError if one is unknown."""
    given = [sublattices] if isinstance(sublattices, str) else sublattices or lattice.names
    if not isinstance(given, Iterable):
        raise InputError(f"sublattices is {given!r}; give a name or names")
    names = list(dict.fromkeys(given))
    for name in names:
        species_labels(lattice, name)
    return names


def wave_vectors(lattice: Lattice, q: object, sublattices: Sequence[str]) -> WaveVectors:
    """Check vectors, or the arms of a named order, against the cell.

    Parameters
    ----------
    lattice
        The lattice.
    q
        A vector, several [n, 3], or the name of an order of a simple cubic net, whose arms that
        fit are taken; in units of the parent's reciprocal cell.
    sublattices
        Sublattices whose parent cell is meant; where theirs differ, the conventional cell.

    Raises
    ------
    InputError
        If a vector does not fit the cell; the message lists the nearest that do.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 4))
    >>> wave_vectors(lattice, [(0, 0, 0.25), (1, 0, 0)], ["B"]).indices.tolist()
    [[0, 0, 1], [2, 0, 0]]
    """
    parent = common_parent(lattice, sublattices)
    if isinstance(q, str):
        star = named_star(q, parent, sublattices[0])
        require_fit(lattice, parent, star, q)
        vectors = star
    else:
        vectors = _as_vectors(q)
        for row in vectors:
            require_fit(lattice, parent, row[None], shown_vector(row), uniform=True)
    supercell = supercell_matrix(lattice, parent)
    turns = vectors @ supercell.T
    indices = np.rint(turns).astype(np.int64)
    fits = np.abs(turns - indices).max(axis=1) < 1e-3
    lengths = (
        2 * np.pi * np.linalg.norm(indices @ np.linalg.inv(lattice.atoms.cell.array).T, axis=1)
    )
    return WaveVectors(parent, vectors[fits], indices[fits], lengths[fits])


def _as_vectors(q: object) -> np.ndarray:
    try:
        array = np.asarray(q, dtype=float)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim == 2 and array.shape[1:] == (3,) and len(array) and np.isfinite(array).all():
        return array
    return as_vector(q)[None]


# ---- paths


def path_points(
    lattice: Lattice,
    path: str | Sequence[str | Sequence[float]],
    sublattices: Sequence[str],
    zone: Sequence[float] = (0.0, 0.0, 0.0),
) -> tuple[np.ndarray, np.ndarray, list[tuple[float, str]]]:
    """Vectors on a path that fit the cell, and how far along the path they lie.

    Parameters
    ----------
    lattice, sublattices
        As for `wave_vectors`.
    path
        Corners: letters of `SPECIAL_POINTS` on a simple cubic net ("ΓXMRΓ"; "G" is "Γ"), or
        vectors.
    zone
        A vector that is added to all of them, such as a reciprocal lattice vector.

    Returns
    -------
    Vectors [n, 3] in units of the parent's reciprocal cell, distances [n] along the path in 1/Å,
    and the distances and names of the corners.

    Raises
    ------
    InputError
        If a corner is unknown or no vector between two corners fits.
    """
    parent = common_parent(lattice, sublattices)
    names, corners = _corners(path, parent)
    corners = corners + as_vector(zone)
    supercell = supercell_matrix(lattice, parent)
    metric = 2 * np.pi * np.linalg.inv(parent.vectors).T
    found: list[np.ndarray] = []
    along: list[float] = []
    ticks = [(0.0, names[0])]
    for (start, end), name in zip(pairwise(corners), names[1:], strict=True):
        length = float(np.linalg.norm((end - start) @ metric))
        for share in _fitting_shares(supercell @ start, supercell @ (end - start)):
            here = ticks[-1][0] + share * length
            if not along or here - along[-1] > 1e-9:
                found.append(start + share * (end - start))
                along.append(here)
        ticks.append((ticks[-1][0] + length, name))
    if len(found) < 2:
        raise InputError(
            f"fewer than two wave vectors of the path {'–'.join(names)} fit this cell; take a "
            "larger supercell or another path"
        )
    return np.array(found), np.array(along), ticks


def _corners(path: object, parent: ParentCell) -> tuple[list[str], np.ndarray]:
    parts = list(path) if isinstance(path, str | Sequence) else []
    names, points = [], []
    for part in parts:
        if isinstance(part, str):
            name = "Γ" if part == "G" else part
            if name not in SPECIAL_POINTS or not parent.simple_cubic:
                raise InputError(
                    f"the point {part!r} of the path is unknown here; the letters "
                    f"{', '.join(SPECIAL_POINTS)} are those of a simple cubic net, give others as "
                    "vectors"
                )
            names.append(name)
            points.append(np.array(SPECIAL_POINTS[name]))
        else:
            points.append(as_vector(part))
            names.append(shown_vector(points[-1]))
    if len(points) < 2:
        raise InputError(f"path {path!r} has fewer than two corners; give e.g. 'ΓXMRΓ'")
    return names, np.array(points)


def _fitting_shares(start: np.ndarray, step: np.ndarray) -> list[float]:
    """Every t from 0 to 1 for which all components of ``start + t step`` are whole numbers."""
    axis = int(np.argmax(np.abs(step)))
    if abs(step[axis]) < 1e-9:
        raise InputError("two corners of the path are the same point; leave one out")
    ends = sorted((start[axis], start[axis] + step[axis]))
    whole = np.arange(np.ceil(ends[0] - 1e-6), np.floor(ends[1] + 1e-6) + 1)
    shares = np.sort((whole - start[axis]) / step[axis])
    turns = start + shares[:, None] * step
    return shares[np.abs(turns - np.rint(turns)).max(axis=1) < 1e-3].tolist()


# ---- planes


def plane_points(
    lattice: Lattice,
    plane: str | Mapping[str, Sequence[float]],
    sublattices: Sequence[str],
    extent: tuple[float, float],
) -> Plane:
    """Rectangular grid of the wave vectors in a plane that fit the cell.

    Parameters
    ----------
    lattice, sublattices
        As for `wave_vectors`.
    plane
        "hk0", "h0l", "0kl" or "hhl", with a number in place of the 0 for a plane beside the
        origin ("hk0.5"), or a mapping with the vectors ``u``, ``v`` and, if not zero, ``origin``.
    extent
        How far the plane reaches along u and v, in units of them.

    Raises
    ------
    InputError
        If the plane is unknown, u and v are parallel, or its origin does not fit the cell.
    """
    parent = common_parent(lattice, sublattices)
    u, v, origin = _axes(plane)
    if np.linalg.norm(np.cross(u, v)) < 1e-9:
        raise InputError(f"the vectors {u.tolist()} and {v.tolist()} span no plane; give two")
    require_fit(lattice, parent, origin[None], shown_vector(origin), uniform=True)
    supercell = supercell_matrix(lattice, parent)
    try:
        reach = np.asarray(extent, dtype=float)
    except (TypeError, ValueError):
        reach = np.empty(0)
    if reach.shape != (2,) or not (reach > 0).all() or not np.isfinite(reach).all():
        raise InputError(f"extent is {extent!r}; give two positive numbers, such as (2, 2)")
    steps = [_smallest_step(supercell @ axis) for axis in (u, v)]
    counts = [int(np.floor(far / step + 1e-6)) for far, step in zip(reach, steps, strict=True)]
    if max(counts) > _MOST_STEPS:
        raise InputError(f"the plane has {max(counts)} steps along an axis; give a smaller extent")
    x, y = (step * np.arange(n + 1) for step, n in zip(steps, counts, strict=True))
    return Plane(u, v, origin, x, y)


def _axes(plane: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if isinstance(plane, Mapping) and {"u", "v"} <= set(plane) <= {"u", "v", "origin"}:
        u, v = as_vector(plane["u"]), as_vector(plane["v"])
        return u, v, as_vector(plane.get("origin", (0.0, 0.0, 0.0)))
    if isinstance(plane, str):
        if plane == "hhl":
            return *_plane_axes("hhl"), np.zeros(3)
        for letters, axis in (("hk", 2), ("hl", 1), ("kl", 0)):
            before, after = ("hkl"[:axis], "hkl"[axis + 1 :])
            middle = plane.removeprefix(before).removesuffix(after)
            if plane.startswith(before) and plane.endswith(after) and _is_number(middle):
                origin = np.zeros(3)
                origin[axis] = float(Fraction(middle))
                return *_plane_axes(letters), origin
    raise InputError(
        f"plane {plane!r} is unknown; give hk0, h0l, 0kl or hhl (with another number for the 0), "
        "or a mapping with the vectors u and v"
    )


def _plane_axes(letters: str) -> tuple[np.ndarray, np.ndarray]:
    u, v = _PLANES[letters]
    return np.array(u, dtype=float), np.array(v, dtype=float)


def _is_number(text: str) -> bool:
    try:
        float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        return False
    return True


def _smallest_step(turns: np.ndarray) -> float:
    """Smallest t > 0 for which ``t turns`` are whole numbers."""
    parts = [Fraction(float(x)).limit_denominator(_MOST_STEPS) for x in turns if abs(x) > 1e-6]
    return lcm(*(p.denominator for p in parts)) / gcd(*(p.numerator for p in parts))
