"""Langevin dynamics of positions at a fixed cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from ase import units

from ...errors import InputError
from ...protocols import Generators
from ...sublattice import is_number, is_whole, shown
from .crystal import Crystal, Masses, Report, Structures, check_masses

__all__ = ["Langevin"]


@dataclass(frozen=True)
class Langevin:
    r"""Langevin dynamics in the splitting BAOAB; weight exp(−βE(σ, R)) up to a time-step bias.

    Half a kick, half a drift, the exact friction and noise, half a drift, half a kick (Leimkuhler
    and Matthews 2013, doi:10.1063/1.4802990, whose averages over positions of a harmonic crystal
    have no error at all). Velocities are drawn anew at the beginning of every block and once more
    in the middle of its first step. Drawn at the beginning alone, they would not be those of the
    splitting, and short blocks would spread a mode of frequency ω too far by a share (ωΔt)²/4;
    drawn twice, by a tenth of that or less in blocks of three steps or more (ωΔt ≤ 0.3). Blocks are
    inexact by their time step: `time_step_bias` measures by how much.

    All replicas advance together, each by random numbers of its own generator; ASE's
    ``LangevinBAOAB`` gives the same numbers for one of them.

    ``n_steps`` + 1 force calls per block.

    Parameters
    ----------
    time_step
        fs.
    friction
        1/fs; velocities are forgotten within its inverse.
    n_steps
        Time steps per block.
    masses
        ``"species"``: those of the elements (they follow the species when occupations change);
        ``"equal"``; or amu by element, the others ASE's. They change no average over positions but
        its bias.

    Raises
    ------
    InputError
        If a number cannot be used.

    Examples
    --------
    >>> Langevin(time_step=2.0, friction=0.02, n_steps=50).exact
    False
    """

    time_step: float = 1.0
    friction: float = 0.01
    n_steps: int = 50
    masses: Masses = "species"

    exact: ClassVar[bool] = False
    pressure: ClassVar[None] = None

    def __post_init__(self) -> None:
        for name in ("time_step", "friction"):
            value = getattr(self, name)
            if not is_number(value) or value <= 0:
                raise InputError(f"{name} is {shown(value)}; give a number above 0")
        if not is_whole(self.n_steps, least=1):
            raise InputError(f"n_steps is {shown(self.n_steps)}; give a whole number, 1 or more")
        object.__setattr__(self, "masses", check_masses(self.masses))

    def run(
        self, crystal: Crystal, structures: Structures, rngs: Generators
    ) -> tuple[Structures, Report]:
        """``n_steps`` time steps in every replica.

        Raises
        ------
        ModelError
            If a structure has no finite energy: the time step is too long.
        """
        occupations, positions, cells, _ = structures
        masses = crystal.masses(occupations, self.masses)
        dt = self.time_step * units.fs
        kept = float(np.exp(-self.friction * self.time_step))
        velocities = crystal.draw_velocities(masses, rngs)
        energy, forces = crystal.known(occupations, positions, cells)
        for step in range(self.n_steps):
            velocities = self._kicked(crystal, velocities, forces, masses, dt)
            positions = positions + 0.5 * dt * velocities
            noise = crystal.draw_velocities(masses, rngs)
            share = 0.0 if step == 0 else kept
            velocities = share * velocities + np.sqrt(1.0 - share**2) * noise
            positions = positions + 0.5 * dt * velocities
            energy, forces = crystal.known(occupations, positions, cells)
            velocities = self._kicked(crystal, velocities, forces, masses, dt)
        return structures._replace(positions=positions, energy=energy), dynamics_report(
            len(rngs), self.n_steps + 1
        )

    @staticmethod
    def _kicked(
        crystal: Crystal, velocities: np.ndarray, forces: np.ndarray, masses: np.ndarray, dt: float
    ) -> np.ndarray:
        return crystal.projected(velocities + 0.5 * dt * forces / masses[:, :, None], masses)

    def resumed(self) -> Langevin:
        """Return the dynamics: there is nothing to tune."""
        return self

    def tuned(self, report: Report) -> Langevin:  # noqa: ARG002
        """Return the dynamics: there is nothing to tune."""
        return self

    def settled(self) -> Langevin:
        """Return the dynamics."""
        return self

    def with_pressure(self, pressure: float | None) -> Langevin:
        """Return the dynamics at no pressure; another is refused."""
        if pressure is not None:
            raise InputError("Langevin keeps the cell: use NPT or HMC with a pressure")
        return self

    def summary(self) -> dict[str, Any]:
        """Say what it is, in plain numbers and words."""
        return {
            "dynamics": "Langevin, inexact by its time step",
            "time_step_fs": self.time_step,
            "friction_per_fs": self.friction,
            "n_steps": self.n_steps,
            "masses": self.masses if isinstance(self.masses, str) else dict(self.masses),
        }

    def to_arrays(self) -> dict[str, Any]:
        """Return the tuned numbers: none."""
        return {}

    def with_arrays(self, arrays: Mapping[str, Any]) -> Langevin:  # noqa: ARG002
        """Return the dynamics: there is nothing to tune."""
        return self


def dynamics_report(n_replicas: int, calls: int) -> Report:
    """Report of molecular dynamics, which refuses nothing."""
    return Report(
        accepted=np.ones(n_replicas, dtype=bool),
        acceptance_probability=np.ones(n_replicas),
        volume_accepted=np.zeros(n_replicas, dtype=bool),
        volume_acceptance_probability=np.full(n_replicas, np.nan),
        force_calls=np.full(n_replicas, calls, dtype=np.int64),
    )
