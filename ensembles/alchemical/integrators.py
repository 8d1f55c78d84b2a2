"""Dynamics of free coordinates that leave exp(−U) invariant: every move accepted or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from ...protocols import Generators
from ...sublattice import is_number, is_whole, shown

__all__ = ["KINDS", "LambdaIntegrator", "Phase", "leapfrog"]

KINDS = ("hmc", "underdamped", "overdamped")
TARGETS = {"hmc": 0.7, "underdamped": 0.9, "overdamped": 0.574}
JITTER = 0.2

Surface = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Takes places [n, d] and the replicas [n] they are of; gives U [n] in k_BT and its slopes."""
Projection = Callable[[np.ndarray], np.ndarray]


class Phase(NamedTuple):
    """Where replicas stand and how they move, all [n, d] but ``value`` U [n] in k_BT."""

    place: np.ndarray
    velocity: np.ndarray
    value: np.ndarray
    slope: np.ndarray


@dataclass(frozen=True)
class LambdaIntegrator:
    r"""Moves that leave exp(−U(q)) invariant and that are as likely both ways.

    A move draws velocities v of the density exp(−m v²/2), U and kinetic energy in units of k_BT,
    follows the leapfrog for some steps, and is accepted with min(1, exp(−ΔH)); where it is refused,
    q stays and v turns round.

    * ``"hmc"``: one move of ``n_steps`` leapfrog steps (Duane, Kennedy, Pendleton and Roweth 1987,
      doi:10.1016/0370-2693(87)91197-X).
    * ``"underdamped"``: ``n_steps`` moves of one step; between them v becomes
      e^{−γ} v + √(1 − e^{−2γ}) ξ/√m, which is Langevin dynamics (Horowitz 1991,
      doi:10.1016/0370-2693(91)90812-5).
    * ``"overdamped"``: ``n_steps`` moves of one step with new velocities, which is the Metropolis
      adjusted Langevin algorithm (Rossky, Doll and Friedman 1978, doi:10.1063/1.436415).

    All three cost ``n_steps`` slopes, beside that at the start. The sequence reads the same in
    either direction, so that from q to q′ it is reversible for exp(−U) as a whole. Every move's
    time step is drawn within ±20 % of ``step``.

    Parameters
    ----------
    kind
        One of the three.
    n_steps
        Leapfrog steps.
    friction
        γ per step, for ``"underdamped"``.

    Raises
    ------
    InputError
        If one of them cannot be used.
    """

    kind: str = "underdamped"
    n_steps: int = 10
    friction: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"integrator is {shown(self.kind)}; give one of {', '.join(KINDS)}")
        if not is_whole(self.n_steps, least=1):
            raise InputError(f"n_steps is {shown(self.n_steps)}; give a whole number, 1 or more")
        if not is_number(self.friction) or self.friction <= 0:
            raise InputError(f"friction is {shown(self.friction)}; give a number above 0")

    @property
    def target(self) -> float:
        """Acceptance of moves that the step is tuned to."""
        return TARGETS[self.kind]

    def run(
        self,
        surface: Surface,
        start: np.ndarray,
        masses: np.ndarray,
        step: float,
        rngs: Generators,
        *,
        project: Projection = lambda velocity: velocity,
        adjusted: bool = True,
    ) -> tuple[Phase, Phase, np.ndarray]:
        """Move every replica; draws of a replica come from its own generator alone.

        Parameters
        ----------
        surface
            U and its slopes.
        start
            [n, d].
        masses
            [d].
        step
            Time step.
        project
            Takes velocities out of directions that are held.
        adjusted
            Whether moves may be refused; else only those that lead to no energy are, and exp(−U)
            is sampled with a bias of the time step.

        Returns
        -------
        begin, end, acceptance
            The phases, and the mean acceptance probability of the moves, [n].
        """
        everyone = np.arange(len(rngs))
        n_moves, length = (1, self.n_steps) if self.kind == "hmc" else (self.n_steps, 1)
        kept = np.exp(-self.friction) if self.kind == "underdamped" else 0.0
        value, slope = surface(start, everyone)
        phase = begin = Phase(start, np.zeros_like(start), value, slope)
        chances = []
        for move in range(n_moves):
            drawn = project(_normals(rngs, start.shape[1]) / np.sqrt(masses))
            kept_now = kept if move else 0.0
            velocity = kept_now * phase.velocity + np.sqrt(1.0 - kept_now**2) * drawn
            uniforms = np.array([rng.random(2) for rng in rngs])
            here = phase._replace(velocity=velocity)
            times = step * (1.0 + JITTER * (2.0 * uniforms[:, 0] - 1.0))
            there = here
            for _ in range(length):
                there = leapfrog(surface, there, masses, times, project)
            with np.errstate(invalid="ignore"):
                change = _total(there, masses) - _total(here, masses)
            chance = np.where(np.isnan(change), 0.0, np.exp(np.minimum(0.0, -change)))
            taken = chance if adjusted else np.isfinite(there.value).astype(float)
            phase = self._settled(here, there, taken, uniforms[:, 1])
            chances.append(chance)
        return begin, phase, np.mean(chances, axis=0)

    def _settled(
        self, here: Phase, there: Phase, chance: np.ndarray, uniforms: np.ndarray
    ) -> Phase:
        """Accept where it may be; turn the velocity round elsewhere."""
        turned = here._replace(velocity=-here.velocity)
        accepted = uniforms < chance
        return _chosen(accepted, there, turned)


def leapfrog(
    surface: Surface,
    phase: Phase,
    masses: np.ndarray,
    times: np.ndarray,
    project: Projection = lambda velocity: velocity,
) -> Phase:
    """Half a kick, a drift, half a kick, for ``times`` [n]; it keeps volumes and turns round.

    A replica that has lost its energy (U = +∞) stands still, to be refused.
    """
    dt = times[:, None]
    velocity = project(phase.velocity - 0.5 * dt * phase.slope / masses)
    place = phase.place + dt * velocity
    alive = np.isfinite(phase.value) & np.isfinite(place).all(axis=1)
    value, slope = np.full(len(place), np.inf), np.zeros_like(place)
    if alive.any():
        rows = np.flatnonzero(alive)
        value[rows], slope[rows] = surface(place[rows], rows)
    place = np.where(alive[:, None], place, phase.place)
    velocity = project(velocity - 0.5 * dt * slope / masses)
    return Phase(place, velocity, value, slope)


def _chosen(rows: np.ndarray, one: Phase, other: Phase) -> Phase:
    """Phase of one in the rows named, of the other elsewhere."""
    return Phase(
        *(
            np.where(rows.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
            for a, b in zip(one, other, strict=True)
        )
    )


def _total(phase: Phase, masses: np.ndarray) -> np.ndarray:
    """H = U + Σ m v²/2 in k_BT."""
    return phase.value + 0.5 * (masses * phase.velocity**2).sum(axis=1)


def _normals(rngs: Generators, n: int) -> np.ndarray:
    return np.array([rng.standard_normal(n) for rng in rngs])
