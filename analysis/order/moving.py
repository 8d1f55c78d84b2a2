"""Positions and cells that go with occupations: the reference's, others, or one set per draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ...errors import InputError
from ...lattice import Lattice

__all__ = ["MovingAtoms"]


class MovingAtoms:
    """Where the atoms are, read from where they are stored when draws are asked for.

    Parameters
    ----------
    lattice
        The lattice.
    shape
        Draws and chains of the occupations.
    positions, cells
        Positions of all atoms in Å, [n_atoms, 3] once for all or [draw, chain, n_atoms, 3], and
        the cells [draw, chain, 3, 3] where those vary; the lattice's reference unless given.

    Raises
    ------
    InputError
        If the shapes do not fit, or cells are given without positions of every draw.
    """

    def __init__(
        self,
        lattice: Lattice,
        shape: tuple[int, int],
        positions: xr.DataArray | np.ndarray | None,
        cells: xr.DataArray | np.ndarray | None,
    ) -> None:
        n_atoms = len(lattice.atoms)
        where = lattice.atoms.positions if positions is None else positions
        self._positions, self._cells = _draws_first(where), _draws_first(cells)
        self.moving = len(self._positions.shape) == 4
        wanted = {(n_atoms, 3), (*shape, n_atoms, 3)}
        if tuple(self._positions.shape) not in wanted:
            raise InputError(
                f"positions of shape {self._positions.shape}; give {(n_atoms, 3)}, or "
                f"{(*shape, n_atoms, 3)} for every draw"
            )
        if cells is not None and not self.moving:
            raise InputError("cells are given without positions of every draw; give those too")
        if self._cells is not None and tuple(self._cells.shape) != (*shape, 3, 3):
            raise InputError(f"cells of shape {self._cells.shape}; give {(*shape, 3, 3)}")
        self._cell = lattice.atoms.cell.array

    def read(self, draws: slice) -> tuple[np.ndarray, np.ndarray]:
        """Positions and cells of some draws: [n, n_chains, n_atoms, 3] and [n, n_chains, 3, 3].

        Without the axes of draws and chains where they are the same for all.
        """
        where = np.asarray(self._positions[draws] if self.moving else self._positions, dtype=float)
        if not np.isfinite(where).all():
            raise InputError("positions hold values that are not finite; leave those draws out")
        if self._cells is None:
            return where, self._cell
        cells = np.asarray(self._cells[draws], dtype=float)
        if not (np.isfinite(cells).all() and (np.abs(np.linalg.det(cells)) > 1e-3).all()):
            raise InputError(
                "cells hold some that are not finite or have no volume; leave those out"
            )
        return where, cells


def _draws_first(values: Any) -> Any:
    """Labelled values with draws and chains in front; what is lazy stays lazy."""
    if isinstance(values, xr.DataArray):
        return values.transpose(*(d for d in ("draw", "chain") if d in values.dims), ...)
    return None if values is None else np.asarray(values)
