"""Minimisers of single structures that are advanced together, and the coordinates they move in.

Each structure has its own L-BFGS, whose numbers depend on its own energies and forces alone, so
that a minimum is the same whichever structures are relaxed beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["CELLS", "Coordinates", "Minimum", "minimise"]

CELLS = {"fixed": 0, "isotropic": 1, "full": 2}
"""Rows of coordinates beside those of the atoms, by what of the cell is relaxed."""

LONGEST_STEP = 0.2  # Å, of one atom (or row of the strain)
FARTHEST = 3.0  # Å
LARGEST_STRAIN = 0.3
PAIRS = 50
FIRST_CURVATURE = 30.0  # eV/Å², of bonds between ions
LEAST_CURVATURE = 0.05
NOISE = 1e-3  # eV; rises below it are believed if the forces say the same
REFUSALS_TO_FORGET, MOST_REFUSALS = 3, 25

Evaluate = Callable[[list[int], list[np.ndarray]], list[tuple[float, np.ndarray]]]
"""From the numbers of structures and their coordinates to energies (eV) and gradients."""


class Coordinates:
    """Rows of three numbers in Å for a structure: its atoms' positions, then its cell's strain.

    With the symmetric logarithmic strain S, a position r of the start's cell h is moved to
    r exp(S), and h to h exp(S), as in ASE's ``FrechetCellFilter`` (but S can hold no rotation). A
    row of the strain is scaled by √n_atoms times the spacing of the atoms, so that its curvature is
    about that of an atom whatever the size of the cell.

    Parameters
    ----------
    cell
        Cell at zero strain [3, 3] in Å.
    n_atoms
        Number of atoms.
    kind
        A key of ``CELLS``.

    Notes
    -----
    ``limits`` [n_rows] in Å: how far a row may come from the start. An atom that moves 3 Å has left
    its place, a strain beyond 0.3 is no relaxation.
    """

    def __init__(self, cell: np.ndarray, n_atoms: int, kind: str) -> None:
        self.cell, self.n_atoms, self.kind = cell, n_atoms, kind
        volume = abs(float(np.linalg.det(cell)))
        self._scale = float(np.sqrt(n_atoms) * np.cbrt(volume / n_atoms))
        self.limits = np.full(n_atoms + CELLS[kind], FARTHEST)
        self.limits[n_atoms:] = LARGEST_STRAIN * self._scale

    def start(self, positions: np.ndarray) -> np.ndarray:
        """Coordinates [n_rows, 3] of positions in the unstrained cell."""
        return np.concatenate([positions, np.zeros((CELLS[self.kind], 3))])

    def structure(self, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions [n_atoms, 3] and cell [3, 3]."""
        if self.kind == "fixed":
            return coordinates, self.cell
        deformation = self._deformation(coordinates)
        return _times(coordinates[: self.n_atoms], deformation), _times(self.cell, deformation)

    def strain(self, coordinates: np.ndarray) -> np.ndarray:
        """Logarithmic strain S [3, 3]."""
        rows = coordinates[self.n_atoms :] / self._scale
        if self.kind == "isotropic":
            return np.eye(3) * (rows[0, 0] / np.sqrt(3.0))
        found = np.diag(rows[0])
        shear = rows[1] / np.sqrt(2.0)
        found[[1, 2, 0, 2, 0, 1], [2, 1, 2, 0, 1, 0]] = shear[[0, 0, 1, 1, 2, 2]]
        return found

    def gradient(
        self, coordinates: np.ndarray, forces: np.ndarray, stress: np.ndarray
    ) -> np.ndarray:
        """∂E/∂coordinates [n_rows, 3] from forces (eV/Å) and stress (eV/Å³, ASE's sign).

        With F = exp(S) and the virial W = V · stress, ∂E/∂F = F⁻¹ W; the derivative of exp in the
        axes of S is that of Daleckii and Krein: each entry (i, j) times the divided difference
        (e^{s_i} − e^{s_j})/(s_i − s_j).
        """
        if self.kind == "fixed":
            return -forces
        deformation = self._deformation(coordinates)
        volume = abs(float(np.linalg.det(self.cell)) * float(np.linalg.det(deformation)))
        virial = volume * 0.5 * (stress + stress.T)
        rows = np.zeros((CELLS[self.kind], 3))
        if self.kind == "isotropic":
            rows[0, 0] = np.trace(virial) / np.sqrt(3.0)
        else:
            along = self._along_strain(coordinates, np.linalg.solve(deformation, virial))
            rows[0] = np.diag(along)
            rows[1] = np.sqrt(2.0) * along[[1, 0, 0], [2, 2, 1]]
        return np.concatenate([-_times(forces, deformation), rows / self._scale])

    def _deformation(self, coordinates: np.ndarray) -> np.ndarray:
        values, axes = np.linalg.eigh(self.strain(coordinates))
        return (axes * np.exp(values)) @ axes.T

    def _along_strain(self, coordinates: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """∂E/∂S from ∂E/∂F."""
        values, axes = np.linalg.eigh(self.strain(coordinates))
        apart = values[:, None] - values[None, :]
        mean = np.exp(0.5 * (values[:, None] + values[None, :]))
        half = 0.5 * apart
        close = np.abs(half) < 1e-6
        ratio = np.where(close, 1.0, np.sinh(half) / np.where(close, 1.0, half))
        inside = axes.T @ (0.5 * (slope + slope.T)) @ axes
        return axes @ (inside * mean * ratio) @ axes.T


class Minimum(NamedTuple):
    """Where a minimisation ended.

    ``coordinates`` [n_rows, 3]; ``energy`` in eV and ``residual``, the longest row of the gradient,
    in eV/Å; ``calls``, evaluations; ``problem``: why it did not converge, empty where it did.
    """

    coordinates: np.ndarray
    energy: float
    residual: float
    calls: int
    problem: str


def minimise(
    evaluate: Evaluate,
    starts: Sequence[np.ndarray],
    *,
    limits: np.ndarray,
    fmax: float,
    max_steps: int,
) -> list[Minimum]:
    """Minimise the energy of each structure from its start.

    Parameters
    ----------
    evaluate
        Energies and gradients; not finite where there are none.
    starts
        Coordinates [n_rows, 3].
    limits
        How far each row may come from its start in Å, [n_rows].
    fmax
        Longest row of the gradient in eV/Å at which a structure is relaxed.
    max_steps
        Evaluations of a structure after which it is given up.
    """
    runs = [_LBFGS(start, limits, fmax, max_steps) for start in starts]
    while active := [number for number, run in enumerate(runs) if not run.finished]:
        found = evaluate(active, [runs[number].trial for number in active])
        for number, (energy, gradient) in zip(active, found, strict=True):
            runs[number].take(energy, gradient)
    return [run.minimum() for run in runs]


class _LBFGS:
    """L-BFGS of one structure (Nocedal 1980, doi:10.1090/S0025-5718-1980-0572855-7).

    No atom moves farther than 0.2 Å in a step. A step that raises the energy is taken back and
    shortened to the minimum of the parabola through what is known (a tenth to a half of the step);
    the third time in a row all pairs are forgotten. Pairs of next to no or of negative curvature
    are left out, so that every step leads downhill.
    """

    def __init__(self, start: np.ndarray, limits: np.ndarray, fmax: float, most: int) -> None:
        self.trial = start
        self.finished = False
        self._start, self._limits, self._fmax, self._most = start, limits, fmax, most
        self._point, self._energy = start, np.inf
        self._gradient = np.full_like(start, np.nan)
        self._pairs: list[tuple[np.ndarray, np.ndarray, float]] = []
        self._calls, self._refusals, self._problem = 0, 0, ""

    def take(self, energy: float, gradient: np.ndarray) -> None:
        """Take in what was found at ``trial``, and choose the next trial or finish."""
        self._calls += 1
        known = bool(np.isfinite(energy)) and bool(np.isfinite(gradient).all())
        if self._calls == 1 and not known:
            self._finish("the model gives no finite energy and forces at the reference")
            return
        step = self.trial - self._point
        if known and self._calls > 1:
            self._remember(step, gradient - self._gradient)
        if self._calls > 1 and not (known and self._falls(energy, gradient, step)):
            self._refuse(energy if known else np.inf, step)
            return
        self._point, self._energy, self._gradient = self.trial, energy, gradient
        self._refusals = 0
        if self._residual() <= self._fmax:
            self._finish("")
        elif not self._gave_up():
            self.trial = self._point + _bounded(self._direction())
            self._check_bounds()

    def minimum(self) -> Minimum:
        """Return the point of lowest energy and why it is none, if so."""
        return Minimum(
            self._point, float(self._energy), self._residual(), self._calls, self._problem
        )

    def _residual(self) -> float:
        return float(np.sqrt((self._gradient**2).sum(axis=1)).max(initial=0.0))

    def _falls(self, energy: float, gradient: np.ndarray, step: np.ndarray) -> bool:
        """Whether a step leads downhill; where rounding could decide, the forces decide."""
        rise = energy - self._energy
        return rise <= 0.0 or (rise < NOISE and 0.5 * _dot(self._gradient + gradient, step) <= 0.0)

    def _refuse(self, energy: float, step: np.ndarray) -> None:
        self._refusals += 1
        if self._refusals > MOST_REFUSALS:
            self._finish("no step lowers the energy any further")
            return
        if self._gave_up():
            return
        if self._refusals == REFUSALS_TO_FORGET:
            self._pairs = []
            self.trial = self._point + _bounded(self._direction())
            return
        slope = _dot(self._gradient, step)
        bend = energy - self._energy - slope
        part = -0.5 * slope / bend if np.isfinite(bend) and bend > 0.0 else 0.1
        self.trial = self._point + min(max(part, 0.1), 0.5) * step

    def _remember(self, step: np.ndarray, change: np.ndarray) -> None:
        curvature, square = _dot(step, change), _dot(step, step)
        if curvature > LEAST_CURVATURE * square > 0.0:
            self._pairs = [*self._pairs[1 - PAIRS :], (step, change, 1.0 / curvature)]

    def _direction(self) -> np.ndarray:
        """Two loops over the pairs; the curvature of the latest stands for all others."""
        ahead = -self._gradient
        parts = []
        for step, change, inverse in reversed(self._pairs):
            parts.append(inverse * _dot(step, ahead))
            ahead = ahead - parts[-1] * change
        if self._pairs:
            _, change, inverse = self._pairs[-1]
            ahead = ahead / (inverse * _dot(change, change))
        else:
            ahead = ahead / FIRST_CURVATURE
        for (step, change, inverse), part in zip(self._pairs, reversed(parts), strict=True):
            ahead = ahead + (part - inverse * _dot(change, ahead)) * step
        return ahead

    def _gave_up(self) -> bool:
        if self._calls < self._most:
            return False
        self._finish(f"forces are {self._residual():.3g} eV/Å after {self._calls} evaluations")
        return True

    def _check_bounds(self) -> None:
        moved = np.sqrt(((self.trial - self._start) ** 2).sum(axis=1))
        if not (moved <= self._limits).all():
            self._finish("an atom moved 3 Å from its reference, or the cell changed by 30 %")

    def _finish(self, problem: str) -> None:
        self.finished, self._problem = True, problem


def _bounded(step: np.ndarray) -> np.ndarray:
    longest = float(np.sqrt((step**2).sum(axis=1)).max(initial=0.0))
    return step * min(1.0, LONGEST_STEP / longest) if longest > 0.0 else step


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Σ ab, summed in one order whatever the number of threads."""
    return float((a * b).sum())


def _times(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Rows times a 3 × 3 matrix, every row by itself."""
    return np.asarray((rows[:, :, None] * matrix[None]).sum(axis=1))
