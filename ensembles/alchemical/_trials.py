"""Settings of λ-dynamics that a warm-up tries by turns: κ, groups at once, and their time steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..dynamics.step_size import StepSize

__all__ = ["Setting", "Trials"]

FIRST_STRETCH = 5
SHARE = 0.6  # of a warm-up
UNKNOWN = -1.0


class Setting(NamedTuple):
    """κ [n_groups, n_species_max], groups at once, time step, and sites changed per step by it."""

    kappa: np.ndarray
    moving: int
    step: StepSize
    score: float = UNKNOWN


@dataclass(frozen=True, eq=False)
class Trials:
    """Settings tried one after the other, in rounds twice as long each time.

    In round r every setting has a stretch of 5·2^r steps, then the best one goes on for two thirds
    as long as all of them took. What is tried next follows from the number of steps that were
    made, not from how many there will be: a warm-up in parts does as one of their length.

    Parameters
    ----------
    plan
        Per trial a factor of κ and a divisor of the groups at once; the first is (1, 1). Those with
        another κ have as many groups at once as the best of the others.
    settings
        Of the trials that were begun, in their order.
    steps
        Steps made.
    changed
        Sites changed in the stretch that is on.

    Examples
    --------
    >>> start = Setting(np.ones((4, 2)), 4, StepSize.at(0.3))
    >>> trials = Trials(((1.0, 1), (1.0, 2)), (start,))
    >>> for _ in range(10):  # two groups at once change more sites per step
    ...     trials = trials.after(0.9, 4.0 / trials.present.moving, target=0.9)
    >>> trials.best.moving, trials.best.score
    (2, 2.0)
    """

    plan: tuple[tuple[float, int], ...]
    settings: tuple[Setting, ...]
    steps: int = 0
    changed: float = 0.0

    @property
    def best(self) -> Setting:
        """Setting that changed most sites per step when it was tried last."""
        return self.settings[self._best()]

    @property
    def present(self) -> Setting:
        """Setting of the next step."""
        place, since, _ = self._turn()
        if place == len(self.plan):
            return self.best
        known = place < len(self.settings)
        return self.settings[place] if known and since else self._begun(place)

    def after(self, chance: float, changed: float, target: float) -> Trials:
        """Return the trials after one more step.

        Parameters
        ----------
        chance
            Mean acceptance probability of its moves.
        changed
            Sites that it changed, mean over the replicas.
        target
            Acceptance that time steps are tuned to.
        """
        place, since, length = self._turn()
        setting = self.present
        setting = setting._replace(step=setting.step.after(chance, target))
        total = changed + (self.changed if since else 0.0)
        if place == len(self.plan):
            place = self._best()
        elif since + 1 == length:
            setting = setting._replace(score=total / length)
        settings = (*self.settings[:place], setting, *self.settings[place + 1 :])
        return replace(self, settings=settings, steps=self.steps + 1, changed=total)

    def _turn(self) -> tuple[int, int, int]:
        """Whose turn it is (after all trials the best one's), steps since, and steps in all."""
        number, left, length = len(self.plan), self.steps, FIRST_STRETCH
        while True:
            rest = round(number * length * (1.0 / SHARE - 1.0))
            if left < number * length:
                return left // length, left % length, length
            if left < number * length + rest:
                return number, left - number * length, rest
            left, length = left - number * length - rest, 2 * length

    def _best(self, *, plain: bool = False) -> int:
        """Index of the best setting, on request among those whose κ is that of the start."""
        scores = [
            UNKNOWN if plain and factor != 1.0 else setting.score
            for setting, (factor, _) in zip(self.settings, self.plan, strict=False)
        ]
        return int(np.argmax(scores))

    def _begun(self, place: int) -> Setting:
        """Return the setting with which a trial's next stretch begins."""
        (factor, divisor), start = self.plan[place], self.settings[0]
        plain = self.settings[self._best(plain=True)]
        moving = -(-start.moving // divisor) if factor == 1.0 else plain.moving
        if place == len(self.settings):
            return Setting(factor * start.kappa, moving, self.best.step)
        known = self.settings[place]
        return known if known.moving == moving else Setting(known.kappa, moving, plain.step)

    # ---- stores ----------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, Any]:
        """Return settings and how far the trials have come, as plain arrays and numbers."""
        return {
            "sharpness": np.array([setting.kappa for setting in self.settings]),
            "groups_at_once": np.array([setting.moving for setting in self.settings]),
            "scores": np.array([setting.score for setting in self.settings]),
            "steps_of": {str(k): one.step.to_arrays() for k, one in enumerate(self.settings)},
            "steps": self.steps,
            "changed": self.changed,
        }

    @classmethod
    def from_arrays(cls, plan: tuple[tuple[float, int], ...], arrays: Mapping[str, Any]) -> Trials:
        """Make the trials that ``to_arrays`` took apart."""
        settings = tuple(
            Setting(
                np.array(kappa, dtype=float), int(arrays["groups_at_once"][k]),
                StepSize.from_arrays(arrays["steps_of"][str(k)]), float(arrays["scores"][k]),
            )
            for k, kappa in enumerate(arrays["sharpness"])
        )  # fmt: skip
        return cls(plan, settings, int(arrays["steps"]), float(arrays["changed"]))
