"""Monte Carlo moves of the cell's volume and shape at scaled positions."""

from __future__ import annotations

import numpy as np
from ase import units

from ...errors import InputError
from ...protocols import Generators
from ...sublattice import is_number, shown
from .crystal import Crystal, Structures

__all__ = ["CELLS", "VARIABLES", "VolumeMove", "check_pressure", "symmetric", "symmetric_normals"]

CELLS = ("isotropic", "full")
VARIABLES = ("ln V", "V")


def check_pressure(pressure: float | None) -> None:
    """Refuse a pressure that is none."""
    if pressure is not None and not is_number(pressure):
        raise InputError(f"pressure is {shown(pressure)}; give GPa, or None for a fixed cell")


class VolumeMove:
    r"""One attempt to change the cell, atoms keeping their fractional positions.

    The target is exp(−β[U + PV]) over positions and, for an isotropic cell, over the volume V. With
    n atoms that move along (one fewer if the centre is held), proposals V′ uniform about V, or
    ln V′ about ln V, are accepted with

    .. math:: α = \min\big(1, e^{−β[ΔU + PΔV]} (V′/V)^m\big), \quad m = n \text{ or } n + 1

    (Frenkel and Smit, Understanding Molecular Simulation, ch. 5). A *full* cell h (rows are its
    vectors) has the density V⁻² dh over its nine entries, so that V alone is distributed as above
    (Martyna, Tobias and Klein 1994, doi:10.1063/1.467468). The measure that h → hF leaves alone is
    V⁻³ dh, in which the density gains a factor V. A step is h′ = h exp(S) with S symmetric and
    Gaussian, as likely as −S: F and F⁻¹ are equally likely, so that the step is reversible in that
    measure, and m = n + 1. Cells that differ by a rotation count as one: of them the cell is taken
    that is the reference's times a symmetric matrix, which is allowed because the law of S knows no
    axes. U must not change when the crystal is turned.

    Parameters
    ----------
    pressure
        GPa.
    cell
        ``"isotropic"`` or ``"full"``.
    variable
        ``"ln V"`` or ``"V"``, what is drawn about its present value.
    """

    def __init__(self, pressure: float, cell: str, variable: str) -> None:
        self.pressure, self.cell, self.variable = pressure * units.GPa, cell, variable

    def __call__(
        self, crystal: Crystal, structures: Structures, step: float, rngs: Generators
    ) -> tuple[Structures, np.ndarray, np.ndarray]:
        """Attempt the move in every replica.

        Returns
        -------
        structures, accepted, acceptance_probability
            The last two [n_replicas]. One energy per replica.
        """
        old = structures.cells
        cells, log_ratio = self._proposed(crystal, old, step, rngs)
        uniforms = np.array([rng.random() for rng in rngs])
        possible = np.isfinite(log_ratio)
        cells = np.where(possible[:, None, None], cells, old)
        positions = np.linalg.solve(
            old.transpose(0, 2, 1), structures.positions.transpose(0, 2, 1)
        ).transpose(0, 2, 1)
        positions = positions @ cells
        energy, _ = crystal.evaluate(structures.occupations, positions, cells)
        volume = np.abs(np.linalg.det(old))
        change = energy - structures.energy
        change += self.pressure * volume * np.expm1(np.where(possible, log_ratio, 0.0))
        with np.errstate(invalid="ignore"):
            log_alpha = -change / crystal.kT + self._power(crystal, structures) * log_ratio
        probability = np.where(possible, np.exp(np.minimum(0.0, log_alpha)), 0.0)
        accepted = uniforms < probability
        rows = accepted[:, None, None]
        moved = structures._replace(
            positions=np.where(rows, positions, structures.positions),
            cells=np.where(rows, cells, old),
            energy=np.where(accepted, energy, structures.energy),
        )
        return moved, accepted, probability

    def _power(self, crystal: Crystal, structures: Structures) -> np.ndarray:
        """Return the power of V′/V in the acceptance."""
        return crystal.n_free(structures.occupations) + (self.variable == "ln V")

    def _proposed(
        self, crystal: Crystal, cells: np.ndarray, step: float, rngs: Generators
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cells and ln(V′/V); −inf where there is no such cell."""
        if self.cell == "full":
            strain = np.array([symmetric_normals(rng) for rng in rngs]) * step / np.sqrt(3.0)
            values, axes = np.linalg.eigh(strain)
            exponential = (axes * np.exp(values)[:, None, :]) @ axes.transpose(0, 2, 1)
            log_ratio = np.trace(strain, axis1=1, axis2=2)
            return symmetric(crystal.lattice.atoms.cell.array, cells @ exponential), log_ratio
        drawn = step * (2.0 * np.array([rng.random() for rng in rngs]) - 1.0)
        if self.variable == "V":
            reference = crystal.lattice.atoms.get_volume()
            ratio = 1.0 + drawn * reference / np.abs(np.linalg.det(cells))
            with np.errstate(divide="ignore", invalid="ignore"):
                drawn = np.where(ratio > 0.0, np.log(ratio), -np.inf)
        return cells * np.exp(drawn / 3.0)[:, None, None], drawn


def symmetric(reference: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Turn cells [n, 3, 3] so that each is the reference's times a symmetric matrix."""
    deformation = np.linalg.solve(reference, cells)
    u, stretch, _ = np.linalg.svd(deformation)
    return reference @ ((u * stretch[:, None, :]) @ u.transpose(0, 2, 1))


def symmetric_normals(rng: np.random.Generator) -> np.ndarray:
    """Draw a symmetric matrix of density exp(−tr S²/2), which no rotation changes."""
    normals = rng.standard_normal((3, 3))
    shear = np.triu(normals, 1) / np.sqrt(2.0)
    return np.asarray(np.diag(np.diag(normals)) + shear + shear.T)
