"""Stored structures for the view in the report: as many draws of every chain as a budget allows."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..lattice import VACANCY, Lattice
from ..records import Run

__all__ = ["structure_data"]

BUDGET = 600_000
"""Bytes of structures in a page, unless another number of them is asked for."""
MOST_FRAMES = 200
"""Draws of a chain in a page, unless another number is asked for."""
MAX_SPECTATORS = 4000
ON_FACE = 1e-4
STEPS = 20_000
"""Steps per lattice vector in which positions are stored."""


def structure_data(run: Run, points: Sequence[xr.Dataset], frames: int | None = None) -> Any:
    """Describe the cell, and the occupations of draws evenly spread over each chain.

    Parameters
    ----------
    run
        The run.
    points
        Its points, in the order in which they are listed.
    frames
        Draws of every chain; as many as fit into `BUDGET`, 200 at most, unless given. The last
        draw is always one of them.

    Returns
    -------
    Plain data. ``fractional`` [n_atoms] are scaled positions, ``images`` [atom, i, j, k] what is
    drawn (an atom on a face stands on the far one, too), ``sites`` the atom of every site,
    ``tables`` and ``table_of_site`` its species. ``points`` hold ``draws``, ``energies``
    [chain][draw] (eV per site, None where unknown), ``occupations``: the species of every site as
    bits, chain by chain and draw by draw, in base64; and ``moved`` where positions were sampled:
    differences from ``fractional`` in steps of 1/20000, and ``cells``.
    """
    lattice = run.lattice
    atoms = lattice.atoms
    scaled = atoms.get_scaled_positions(wrap=True)
    scaled[scaled > 1 - ON_FACE] = 0.0
    tables = [list(lattice.sublattices[name].species) for name in lattice.names]
    bits = max(1, int(np.ceil(np.log2(max(len(table) for table in tables)))))
    spectators = np.setdiff1d(np.arange(len(atoms)), lattice.sites)
    shown = lattice.sites if len(spectators) > MAX_SPECTATORS else np.arange(len(atoms))
    symbols = atoms.get_chemical_symbols()
    n_chains, n_frames = _affordable(points, _bytes(lattice, points, bits), frames)
    return {
        "cell": atoms.cell.array.round(5).tolist(),
        "fractional": scaled.round(5).tolist(),
        "images": _images(scaled, shown),
        "sites": np.asarray(lattice.sites).tolist(),
        "tables": tables,
        "table_of_site": np.asarray(lattice.sublattice_of_site).tolist(),
        "symbols": [symbols[k] for k in spectators],
        "spectators": spectators.tolist(),
        "species": list(dict.fromkeys(s for table in tables for s in table if s != VACANCY)),
        "spectator_species": sorted({symbols[k] for k in spectators if k in set(shown.tolist())}),
        "steps": STEPS,
        "bits": bits,
        "every_draw": all(p.sizes["draw"] <= n_frames for p in points),
        "points": [_frames(lattice, p, scaled, n_chains, n_frames, bits) for p in points],
        "order": np.argsort([_number_of(run, point) for point in points]).tolist(),
    }


def _number_of(run: Run, point: xr.Dataset) -> int:
    return next(k for k, other in enumerate(run.points) if other is point)


def _bytes(lattice: Lattice, points: Sequence[xr.Dataset], bits: int) -> int:
    """Size of one structure as text: four characters for three bytes."""
    size = -(-lattice.n_sites * bits // 8)
    if any("positions" in point for point in points):
        size += 6 * len(lattice.atoms) + 40
    return 4 * -(-size // 3)


def _affordable(points: Sequence[xr.Dataset], size: int, frames: int | None) -> tuple[int, int]:
    """Chains and draws of each that fit: fewer chains only where one draw of each is too much."""
    most = max(point.sizes["chain"] for point in points)
    each = max(1, BUDGET // (size * len(points)))
    chains = most if frames else min(most, each)
    return chains, frames or max(1, min(MOST_FRAMES, each // chains))


def _frames(  # noqa: PLR0917
    lattice: Lattice, point: xr.Dataset, scaled: np.ndarray, n_chains: int, n_frames: int, bits: int
) -> dict[str, Any]:
    n_draws = point.sizes["draw"]
    kept = np.unique(np.linspace(n_draws - 1, 0, min(n_frames, n_draws)).round().astype(int))
    part = point.isel(draw=kept, chain=slice(0, n_chains)).transpose("chain", "draw", ...)
    occupation = part["occupation"].to_numpy()
    energies = part["energy"].to_numpy() / lattice.n_sites
    found: dict[str, Any] = {
        "draws": kept.tolist(),
        "energies": [
            [float(f"{e:.8g}") if np.isfinite(e) else None for e in row] for row in energies
        ],
        "occupations": _packed(occupation, bits),
    }
    if "positions" in part:
        cells = part["cell"].to_numpy() if "cell" in part else lattice.atoms.cell.array
        cells = np.broadcast_to(cells, (*occupation.shape[:2], 3, 3))
        moved = part["positions"].to_numpy() @ np.linalg.inv(cells) - scaled
        moved -= moved.round()
        moved -= moved.mean(axis=-2, keepdims=True)  # a crystal may drift as a whole
        steps = np.clip(np.rint(moved * STEPS), -32768, 32767).astype("<i2")
        found["moved"] = base64.b64encode(steps.tobytes()).decode()
        found["cells"] = cells.round(4).reshape(-1, 9).tolist() if "cell" in part else None
    return found


def _packed(occupation: np.ndarray, bits: int) -> str:
    """Occupations as base64, each structure from a byte of its own on, the lowest bit first."""
    flags = (occupation[..., None] >> np.arange(bits, dtype=np.uint8)) & 1
    flat = flags.reshape(*occupation.shape[:-1], -1)
    return base64.b64encode(np.packbits(flat, axis=-1, bitorder="little").tobytes()).decode()


def _images(scaled: np.ndarray, shown: np.ndarray) -> list[list[int]]:
    """Atoms with the cell they are drawn in: those on a face stand on the opposite one, too."""
    found: list[tuple[int, ...]] = [(int(atom), 0, 0, 0) for atom in shown]
    for axis in range(3):
        found += [
            (atom, *(int(k == axis) or shift[k] for k in range(3)))
            for atom, *shift in list(found)
            if scaled[atom, axis] < ON_FACE
        ]
    return [list(image) for image in found]
