"""Force constants by finite differences, and what follows from them: quanta and free energies."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ase import units

from ...errors import AlchemcError, InputError

__all__ = [
    "ForceConstants",
    "force_constants",
    "forces",
    "modes_of",
    "thermodynamics",
]

HBAR = units._hbar * units.J * units.second  # noqa: SLF001  (eV times ASE's unit of time)
TERAHERTZ = 2.0 * np.pi * HBAR * 1e12 / units.second
"""h × 1 THz in eV."""
BATCH = 32  # structures evaluated together


class ForceConstants(NamedTuple):
    """∂²E/∂R² of one structure, and how good it is.

    ``matrix`` [3n, 3n] in eV/Å², symmetrised, over the n atoms that are there; ``asymmetry``:
    largest difference of an element and its transpose, and ``drift``: largest force on the crystal
    as a whole per displacement of one atom, both as parts of the largest element.
    """

    matrix: np.ndarray
    asymmetry: float
    drift: float


def forces(
    model: Any, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Energies [n] and forces [n, n_atoms, 3] of structures; NaN where the model has none.

    By the model's ``forces_at``, else by ``at`` and ``energy_forces_stress`` one after the other.

    Raises
    ------
    InputError
        If the model has neither.
    """
    if hasattr(model, "forces_at"):
        energies, found, _ = model.forces_at(occupations, positions, cells)
        return energies, found
    if not (hasattr(model, "at") and hasattr(model, "energy_forces_stress")):
        raise InputError(
            f"{type(model).__name__} has no forces; give an energy model of positions such as "
            "AlchemicalMACE, or Relaxed of one"
        )
    energies, found = np.full(len(occupations), np.nan), np.full(positions.shape, np.nan)
    for row, occupation in enumerate(occupations):
        try:
            view = model.at(positions[row], cells[row])
            energy, force, _ = view.energy_forces_stress(occupation[None])
        except AlchemcError:  # atoms on top of one another, no finite energy
            continue
        energies[row], found[row] = energy[0], force[0]
    return energies, found


def force_constants(  # noqa: PLR0917
    model: Any,
    occupation: np.ndarray,
    positions: np.ndarray,
    cell: np.ndarray,
    atoms: np.ndarray,
    step: float,
) -> ForceConstants:
    r"""Force constants by central differences of forces.

    .. math:: K_{ij} = -\frac{F_j(R + h e_i) - F_j(R - h e_i)}{2h}

    Parameters
    ----------
    model, occupation, positions, cell
        Structure [n_sites], [n_atoms, 3] and [3, 3] in Å.
    atoms
        Indices of the atoms that are there.
    step
        h in Å.

    Raises
    ------
    InputError
        If the model has no forces near the positions.
    """
    size = 3 * len(atoms)
    differences = np.zeros((size, size))
    for start in range(0, size, BATCH):
        rows = np.arange(start, min(start + BATCH, size))
        moved = np.repeat(positions[None], 2 * len(rows), axis=0)
        which = np.arange(len(rows))
        moved[which, atoms[rows // 3], rows % 3] += step
        moved[len(rows) + which, atoms[rows // 3], rows % 3] -= step
        n = len(moved)
        _, found = forces(
            model, np.repeat(occupation[None], n, axis=0), moved, np.repeat(cell[None], n, axis=0)
        )
        found = found[:, atoms].reshape(2, len(rows), size)
        differences[rows] = (found[1] - found[0]) / (2.0 * step)
    if not np.isfinite(differences).all():
        raise InputError(
            f"the model has no finite forces {step} Å from the positions; give a smaller step, or "
            "other positions"
        )
    largest = float(np.abs(differences).max(initial=0.0)) or 1.0
    apart = float(np.abs(differences - differences.T).max(initial=0.0))
    pushed = differences.reshape(size, -1, 3).sum(axis=1)
    matrix = 0.5 * (differences + differences.T)
    return ForceConstants(matrix, apart / largest, float(np.abs(pushed).max()) / largest)


def modes_of(matrix: np.ndarray, masses: np.ndarray) -> np.ndarray:
    r"""Quanta ħω in eV of a crystal's vibrations, [3n − 3], ascending; negative ones are imaginary.

    .. math:: D_{ij} = K_{ij}/\sqrt{m_i m_j}, \qquad D e = ω² e,

    in the space orthogonal to the three translations, which have :math:`e_{iα} ∝ \sqrt{m_i}`.

    Parameters
    ----------
    matrix
        Force constants [3n, 3n] in eV/Å².
    masses
        [n] in u.
    """
    root = np.sqrt(np.repeat(masses, 3))
    dynamical = matrix / np.outer(root, root)
    shifts = np.tile(np.eye(3), (len(masses), 1)) * root[:, None]
    basis = np.linalg.qr(shifts, mode="complete")[0][:, 3:]
    squares = np.linalg.eigvalsh(basis.T @ dynamical @ basis)
    return np.asarray(np.sign(squares) * np.sqrt(np.abs(squares)) * HBAR)


def thermodynamics(
    quanta: np.ndarray, temperature: float, statistics: str = "quantum"
) -> tuple[np.ndarray, np.ndarray]:
    r"""Free energy in eV and entropy in eV/K of harmonic oscillators.

    .. math::

        F = \sum ½ħω + k_BT \ln(1 - e^{-ħω/k_BT}), \qquad F_\text{classical} = \sum k_BT
        \ln\frac{ħω}{k_BT}

    Parameters
    ----------
    quanta
        ħω in eV, [..., n_modes]; NaN pads. Positive.
    temperature
        In K, above 0.
    statistics
        ``"quantum"`` or ``"classical"``.

    Returns
    -------
    tuple of numpy.ndarray
        Both [...].

    Examples
    --------
    >>> free, entropy = thermodynamics(np.array([0.05]), 1000.0)
    >>> classical, _ = thermodynamics(np.array([0.05]), 1000.0, "classical")
    >>> round(float(free), 4), round(float(classical), 4)
    (-0.0457, -0.0469)
    """
    thermal = units.kB * temperature
    x = quanta / thermal
    if statistics == "classical":
        free, energy = np.log(x), np.where(np.isnan(x), np.nan, 1.0)
    else:
        with np.errstate(over="ignore"):  # no quanta where it is cold
            occupied = 1.0 / np.expm1(x)
        free, energy = 0.5 * x + np.log(-np.expm1(-x)), x * (0.5 + occupied)
    entropy = units.kB * np.nansum(energy - free, axis=-1)
    return thermal * np.nansum(free, axis=-1), entropy
