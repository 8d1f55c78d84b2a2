"""Paths through reciprocal space that stop at every wave vector that fits the cell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from ...sublattice import is_whole, shown
from ..order.commensurate import shown_vector

__all__ = ["Path", "path_through"]


class Path(NamedTuple):
    """Points along a path.

    ``q`` [n, 3] in 1/Å without 2π; ``distance`` [n] along it in 1/Å; ``piece`` [n] counts pieces
    between jumps; ``fits`` [n], whether q fits the cell; ``corners``: names and distances.
    """

    q: np.ndarray
    distance: np.ndarray
    piece: np.ndarray
    fits: np.ndarray
    corners: list[tuple[str, float]]


def path_through(
    path: str | Sequence[Sequence[float]] | None,
    n_points: int,
    *,
    primitive: np.ndarray,
    wave_cell: np.ndarray,
    cell: np.ndarray,
) -> Path:
    """Make a path of special points, by name in ASE's form, or of corners in units of q.

    Parameters
    ----------
    path
        Names ("GXMR,GM"), corners [n, 3], or None for the standard path.
    n_points
        How many points at least; those that fit the cell come on top.
    primitive, wave_cell, cell
        Vectors as rows in Å: of the cell whose special points are named, of that whose reciprocal
        cell is the unit of q, and of the supercell.
    """
    if not is_whole(n_points, least=2):
        raise InputError(f"n_points is {shown(n_points)}; give a whole number, 2 or more")
    if path is None or isinstance(path, str):
        pieces = _special(path, primitive)
    else:
        pieces = [_corners(path, wave_cell)]
    total = sum(np.linalg.norm(b[1] - a[1]) for piece in pieces for a, b in pairwise(piece))
    if total < 1e-9:
        raise InputError(f"path is {shown(path)}, which leads nowhere; give two different points")
    q, distance, label = [], [], []
    corners: list[tuple[str, float]] = []
    way = 0.0
    for number, piece in enumerate(pieces):
        corners.append((piece[0][0], way))
        for (_, start), (name, end) in pairwise(piece):
            length = float(np.linalg.norm(end - start))
            n = max(2, round(n_points * length / total) + 1)
            shares = np.union1d(np.linspace(0.0, 1.0, n), _fitting(start, end, cell))
            shares = shares[np.diff(shares, prepend=-1.0) > 1e-9]
            q.append(start + shares[:, None] * (end - start))
            distance.append(way + shares * length)
            label.append(np.full(len(shares), number))
            way += length
            corners.append((name, way))
    points = np.concatenate(q)
    turns = points @ cell.T
    fits = np.abs(turns - np.round(turns)).max(axis=1) < 1e-6
    return Path(points, np.concatenate(distance), np.concatenate(label), fits, corners)


_Corner = tuple[str, np.ndarray]


def _special(path: str | None, primitive: np.ndarray) -> list[list[_Corner]]:
    """Pieces of a path of special points of a cell."""
    from ase.cell import Cell  # noqa: PLC0415
    from ase.dft.kpoints import parse_path_string  # noqa: PLC0415

    try:
        line = Cell(primitive).bandpath(path, npoints=2)
        pieces = parse_path_string(line.path)
        places = line.special_points
        inverse = np.linalg.inv(primitive).T
        return [
            [("Γ" if name == "G" else name, places[name] @ inverse) for name in piece]
            for piece in pieces
        ]
    except (KeyError, ValueError) as error:
        raise InputError(f"path {path!r} names no special points here: {error}") from None


def _corners(path: Sequence[Sequence[float]], wave_cell: np.ndarray) -> list[_Corner]:
    try:
        corners = np.asarray(path, dtype=float)
    except (TypeError, ValueError):
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1:] != (3,) or len(corners) < 2:
        raise InputError(f"path is {shown(path)}; give two or more vectors of three numbers")
    return [(shown_vector(q), q @ np.linalg.inv(wave_cell).T) for q in corners]


def _fitting(start: np.ndarray, end: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Shares of the way from one vector to another at which q fits the cell."""
    first, last = cell @ start, cell @ end
    axis = int(np.argmax(np.abs(last - first)))
    low, high = sorted((first[axis], last[axis]))
    if high - low < 1e-9:
        return np.zeros(0)
    whole = np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
    shares = np.clip((whole - first[axis]) / (last[axis] - first[axis]), 0.0, 1.0)
    turns = first + shares[:, None] * (last - first)
    return np.asarray(shares[np.abs(turns - np.round(turns)).max(axis=1) < 1e-6])
