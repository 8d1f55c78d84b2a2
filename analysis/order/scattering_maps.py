"""Scattering on planes and along paths of reciprocal space, at the points that fit the cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ...lattice import Lattice
from .amplitudes import Weights
from .structure_factor import structure_factor
from .wave_vectors import chosen_sublattices, common_parent, path_points, plane_points

__all__ = ["diffuse_path", "structure_factor_map"]


def structure_factor_map(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    plane: str | Mapping[str, Sequence[float]] = "hk0",
    weights: Weights = "x-ray",
    *,
    extent: tuple[float, float] = (2.0, 2.0),
    sublattices: str | Sequence[str] | None = None,
    spectators: bool = False,
    positions: xr.DataArray | np.ndarray | None = None,
    cells: xr.DataArray | np.ndarray | None = None,
) -> xr.Dataset:
    """Intensities on a plane of reciprocal space, at all points of a grid that fit the cell.

    Parameters
    ----------
    lattice, occupations, weights, sublattices, spectators, positions, cells
        As for `structure_factor`.
    plane
        "hk0", "h0l", "0kl" or "hhl", with another number for the 0 ("hk1/2"), or a mapping with
        the vectors ``u`` and ``v``, and ``origin``, in units of the parent's reciprocal cell.
    extent
        How far along u and v, in units of them.

    Returns
    -------
    Dataset over (x, y), the multiples of u and v, with the variables of `structure_factor`.

    Raises
    ------
    InputError
        As for `structure_factor`, and for a plane that is unknown or does not fit the cell.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> occupation = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(0))
    >>> table = structure_factor_map(lattice, occupation, "hk1/2", extent=(1, 1))
    >>> dict(table.sizes)
    {'x': 3, 'y': 3}
    """
    names = chosen_sublattices(lattice, sublattices)
    grid = plane_points(lattice, plane, names, extent)
    flat = structure_factor(
        lattice, occupations, grid.q, weights, sublattices=names,
        spectators=spectators, positions=positions, cells=cells,
    )  # fmt: skip
    shape = (len(grid.x), len(grid.y))
    result = xr.Dataset(coords={"x": grid.x, "y": grid.y}, attrs=dict(flat.attrs))
    for name, variable in {**flat.data_vars, **flat.reset_coords(drop=False)[list("hkl")]}.items():
        values = variable.to_numpy().reshape(shape)
        result[name] = (("x", "y"), values, variable.attrs)
    result["length"] = (("x", "y"), flat["length"].to_numpy().reshape(shape), {"units": "1/Å"})
    result.attrs |= {"u": grid.u.tolist(), "v": grid.v.tolist(), "origin": grid.origin.tolist()}
    metric = 2 * np.pi * np.linalg.inv(common_parent(lattice, names).vectors).T
    for name, vector in (("u_length", grid.u), ("v_length", grid.v)):
        result.attrs[name] = float(np.linalg.norm(vector @ metric))  # 1/Å
    return result.set_coords(["h", "k", "l", "length"])


def diffuse_path(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    path: str | Sequence[Any] = "ΓXMRΓ",
    weights: Weights = "x-ray",
    *,
    zone: Sequence[float] = (0.0, 0.0, 0.0),
    sublattices: str | Sequence[str] | None = None,
    positions: xr.DataArray | np.ndarray | None = None,
    cells: xr.DataArray | np.ndarray | None = None,
    spectators: bool = False,
) -> xr.Dataset:
    """Diffuse intensity along a path through the parent's Brillouin zone.

    Only points that fit the cell are given, so that a path through a small cell has few.

    Parameters
    ----------
    lattice, occupations, weights, sublattices, spectators, positions, cells
        As for `structure_factor`.
    path
        Corners: letters Γ, X, M, R of a simple cubic net of sites, or vectors.
    zone
        A vector added to the whole path, such as (1, 1, 0), to measure around a Bragg peak.

    Returns
    -------
    Dataset over ``q`` with the variables of `structure_factor` and the coordinate ``distance``
    along the path (1/Å); the attributes ``corners`` and ``corner_names`` say where its corners are.

    Raises
    ------
    InputError
        As for `structure_factor`, and if a corner is unknown or fewer than two points fit.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> occupation = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(0))
    >>> diffuse_path(lattice, occupation)["q"].values.tolist()
    ['(0 0 0)', '(1/2 0 0)', '(1/2 1/2 0)', '(1/2 1/2 1/2)', '(0 0 0)']
    """
    names = chosen_sublattices(lattice, sublattices)
    points, distance, ticks = path_points(lattice, path, names, zone)
    result = structure_factor(
        lattice, occupations, points, weights, sublattices=names,
        spectators=spectators, positions=positions, cells=cells,
    )  # fmt: skip
    result = result.assign_coords(distance=("q", distance, {"units": "1/Å"}))
    result.attrs |= {
        "corners": [float(where) for where, _ in ticks],
        "corner_names": [name for _, name in ticks],
    }
    return result
