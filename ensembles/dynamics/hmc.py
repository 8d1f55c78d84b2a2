"""Hybrid Monte Carlo: trajectories of Hamiltonian dynamics that are accepted or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from ase import units

from ...errors import InputError
from ...protocols import Generators
from ...sublattice import is_number, is_whole, shown
from .crystal import Crystal, Masses, Report, Structures, check_masses
from .step_size import StepSize
from .volume import CELLS, VARIABLES, VolumeMove, check_pressure

__all__ = ["HMC"]

TARGET, VOLUME_TARGET = 0.7, 0.4
JITTER = 0.2


@dataclass(frozen=True)
class HMC:
    r"""Exact sampling of positions, and of the cell where a pressure is given.

    Weight of the positions R at an occupation σ: exp(−βE(σ, R)), with a pressure
    exp(−β[E + PV]) over R and the cell. Momenta p are drawn from their Maxwell–Boltzmann
    distribution, ``n_steps`` leapfrog steps follow, and the end is accepted with

    .. math:: α = \min\big(1, e^{−β[H(R′, p′) − H(R, p)]}\big), \quad H = E + Σ_i |p_i|²/2m_i

    (Duane, Kennedy, Pendleton and Roweth 1987, doi:10.1016/0370-2693(87)91197-X). A trajectory that
    meets no finite energy is refused. The step size of every trajectory is drawn within ±20 % of
    ``step``, whatever the state, so that no mode is caught in resonance. Volume moves follow
    (`VolumeMove`), one per trajectory. Step sizes are tuned in warm-up, ``step`` towards an
    acceptance of 0.7, ``volume_step`` towards 0.4, and then frozen.

    ``n_steps`` + 1 force calls per trajectory, and one per volume move.

    Parameters
    ----------
    step
        Time step in fs to start from.
    n_steps
        Leapfrog steps per trajectory.
    masses
        ``"species"``: those of the elements (they follow the species when occupations change);
        ``"equal"``; or amu by element, the others ASE's. No choice changes what is sampled.
    pressure
        GPa; None for a fixed cell.
    cell
        ``"isotropic"`` or ``"full"``: what of the cell moves where there is a pressure.
    volume_step
        To start from: the largest change of ln V in a volume move (for a full cell √3 times its
        standard deviation), or of V as a share of the reference's volume.
    uniform_in
        ``"ln V"`` or ``"V"``: what isotropic volume moves draw about its present value.

    Raises
    ------
    InputError
        If a number or a name cannot be used.

    Examples
    --------
    >>> HMC(step=2.0, n_steps=15, pressure=0.0).pressure
    0.0
    """

    step: float = 1.0
    n_steps: int = 10
    masses: Masses = "species"
    pressure: float | None = None
    cell: str = "isotropic"
    volume_step: float = 0.01
    uniform_in: str = "ln V"
    _tuning: tuple[StepSize, StepSize] | None = field(default=None, repr=False, compare=False)

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("step", "volume_step"):
            value = getattr(self, name)
            if not is_number(value) or value <= 0:
                raise InputError(f"{name} is {shown(value)}; give a number above 0")
        if not is_whole(self.n_steps, least=1):
            raise InputError(f"n_steps is {shown(self.n_steps)}; give a whole number, 1 or more")
        object.__setattr__(self, "masses", check_masses(self.masses))
        check_pressure(self.pressure)
        for name, value, known in (
            ("cell", self.cell, CELLS),
            ("uniform_in", self.uniform_in, VARIABLES),
        ):
            if value not in known:
                raise InputError(f"{name} is {shown(value)}; give one of {', '.join(known)}")
        if self.cell == "full" and self.uniform_in != "ln V":
            raise InputError("a full cell moves by strains, uniform in ln V: leave out uniform_in")

    # ---- steps -----------------------------------------------------------------------------

    def run(
        self, crystal: Crystal, structures: Structures, rngs: Generators
    ) -> tuple[Structures, Report]:
        """One trajectory, and one volume move where there is a pressure."""
        structures, accepted, probability, calls = self._trajectory(crystal, structures, rngs)
        n = len(rngs)
        volume_accepted, volume_probability = np.zeros(n, dtype=bool), np.full(n, np.nan)
        if self.pressure is not None:
            move = VolumeMove(self.pressure, self.cell, self.uniform_in)
            structures, volume_accepted, volume_probability = move(
                crystal, structures, self._sizes[1].size, rngs
            )
            calls = calls + 1
        report = Report(accepted, probability, volume_accepted, volume_probability, calls)
        return structures, report

    def _trajectory(
        self, crystal: Crystal, structures: Structures, rngs: Generators
    ) -> tuple[Structures, np.ndarray, np.ndarray, np.ndarray]:
        """Leapfrog in all replicas at once; one without an energy stands still and is refused."""
        occupations, cells = structures.occupations, structures.cells
        masses = crystal.masses(occupations, self.masses)
        velocities = crystal.draw_velocities(masses, rngs)
        factor = 1.0 + JITTER * (2.0 * np.array([rng.random() for rng in rngs]) - 1.0)
        uniforms = np.array([rng.random() for rng in rngs])
        dt = (self._sizes[0].size * units.fs * factor)[:, None, None]
        begin, forces = crystal.known(occupations, structures.positions, cells)
        start = begin + kinetic_energy(velocities, masses)
        positions, energy = structures.positions, begin.copy()
        calls = np.ones(len(rngs), dtype=np.int64)
        for _ in range(self.n_steps):
            alive = np.isfinite(energy)
            velocities = crystal.projected(velocities + 0.5 * dt * forces / _column(masses), masses)
            moved = positions + dt * velocities
            alive &= np.isfinite(moved).all(axis=(1, 2))
            positions = np.where(alive[:, None, None], moved, positions)
            energy = np.where(alive, energy, np.inf)
            if alive.any():
                found = crystal.evaluate(occupations[alive], positions[alive], cells[alive])
                energy[alive], forces[alive] = found
            calls += alive
            velocities = crystal.projected(velocities + 0.5 * dt * forces / _column(masses), masses)
        change = energy + kinetic_energy(velocities, masses) - start
        probability = np.exp(np.minimum(0.0, -change / crystal.kT))
        accepted = self._accepted(probability, uniforms)
        rows = accepted[:, None, None]
        ended = structures._replace(
            positions=np.where(rows, positions, structures.positions),
            energy=np.where(accepted, energy, begin),
        )
        return ended, accepted, probability, calls

    def _accepted(self, probability: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        return uniforms < probability

    # ---- tuning and stores -----------------------------------------------------------------

    @property
    def _sizes(self) -> tuple[StepSize, StepSize]:
        return self._tuning or (StepSize.at(float(self.step)), StepSize.at(float(self.volume_step)))

    def resumed(self) -> HMC:
        """Return the dynamics with the step sizes that tuning has come to, to be tuned further."""
        step, volume = self._sizes
        return replace(self, _tuning=(step.resumed(), volume.resumed()))

    def tuned(self, report: Report) -> HMC:
        """Return the dynamics with step sizes nearer to those that are accepted as wanted."""
        step, volume = self._sizes
        step = step.after(float(report.acceptance_probability.mean()), TARGET)
        if self.pressure is not None:
            volume = volume.after(float(report.volume_acceptance_probability.mean()), VOLUME_TARGET)
        return replace(self, _tuning=(step, volume))

    def settled(self) -> HMC:
        """Return the dynamics with the mean of the step sizes that tuning went through."""
        step, volume = self._sizes
        return replace(self, _tuning=(step.settled(), volume.settled()))

    def with_pressure(self, pressure: float | None) -> HMC:
        """Return the dynamics, step sizes kept, at another pressure in GPa."""
        return replace(self, pressure=pressure)

    def summary(self) -> dict[str, Any]:
        """Step sizes in use and how often they were accepted in warm-up."""
        step, volume = self._sizes
        found = {
            "dynamics": "HMC, exact",
            "time_step_fs": step.size,
            "n_steps": self.n_steps,
            "masses": self.masses if isinstance(self.masses, str) else dict(self.masses),
            "acceptance": step.acceptance if step.count else None,
        }
        if self.pressure is None:
            return found
        return found | {
            "pressure_GPa": self.pressure,
            "cell": self.cell,
            "volume_step": volume.size,
            "volume_acceptance": volume.acceptance if volume.count else None,
        }

    def to_arrays(self) -> dict[str, Any]:
        """Return the step sizes and how they came about."""
        return {n: s.to_arrays() for n, s in zip(("step", "volume"), self._sizes, strict=True)}

    def with_arrays(self, arrays: Mapping[str, Any]) -> HMC:
        """Return the dynamics with the step sizes that ``to_arrays`` gave."""
        step, volume = (StepSize.from_arrays(arrays[name]) for name in ("step", "volume"))
        return replace(self, _tuning=(step, volume))


def kinetic_energy(velocities: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Kinetic energies [n] in eV; ghosts, of infinite mass, have none."""
    there = np.where(np.isfinite(masses), masses, 0.0)
    return (0.5 * there * (velocities**2).sum(axis=2)).sum(axis=1)


def _column(masses: np.ndarray) -> np.ndarray:
    return masses[:, :, None]
