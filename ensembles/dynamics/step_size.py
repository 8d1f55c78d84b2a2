"""Step sizes that warm-up tunes towards an acceptance, and what it then freezes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["StepSize"]

_GAIN, _DELAY, _DECAY, _FORGETTING = 2.0, 3.0, 0.6, 0.75


@dataclass(frozen=True)
class StepSize:
    r"""A step size on its way to the one that is accepted as often as wanted.

    Robbins and Monro 1951 (doi:10.1214/aoms/1177729586) on the logarithm, with a mean of its
    iterates that forgets the early ones: for the k-th acceptance a_k and a target a,

    .. math:: \ln ε_{k+1} = \ln ε_k + \frac{2}{(k + 3)^{0.6}} (a_k − a), \qquad
              \bar{\ln ε}_{k+1} = \bar{\ln ε}_k + k^{-0.75} (\ln ε_{k+1} − \bar{\ln ε}_k).

    ``size`` is the one in use: ``value`` while tuning, ``mean`` once ``frozen``; ``acceptance`` is
    averaged likewise. ``value`` is kept, so that tuning goes on from there in the next part of a
    warm-up: parts do as one warm-up of their length does.
    """

    value: float
    mean: float
    count: int = 0
    acceptance: float = float("nan")
    frozen: bool = False

    @classmethod
    def at(cls, value: float) -> StepSize:
        """Return a step size that nothing is known of yet."""
        return cls(value, value)

    @property
    def size(self) -> float:
        """The step size in use."""
        return self.mean if self.frozen else self.value

    def after(self, acceptance: float, target: float) -> StepSize:
        """Return the step size after a step that was accepted with this probability."""
        k = self.count + 1
        value = self.value * float(np.exp(_GAIN / (k + _DELAY) ** _DECAY * (acceptance - target)))
        weight = k**-_FORGETTING
        mean = self.mean * (value / self.mean) ** weight
        known = acceptance if self.count == 0 else self.acceptance
        return StepSize(value, mean, k, known + weight * (acceptance - known))

    def settled(self) -> StepSize:
        """Return the step size with its mean in use."""
        return replace(self, frozen=True)

    def resumed(self) -> StepSize:
        """Return the step size with the one in use that tuning has come to."""
        return replace(self, frozen=False)

    def to_arrays(self) -> dict[str, Any]:
        """Plain numbers."""
        numbers = {
            "value": self.value, "mean": self.mean, "count": self.count, "frozen": self.frozen
        }  # fmt: skip
        return numbers | ({"acceptance": self.acceptance} if self.count else {})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> StepSize:
        """Make the step size that ``to_arrays`` took apart."""
        return cls(
            float(arrays["value"]), float(arrays["mean"]), int(arrays["count"]),
            float(arrays.get("acceptance", float("nan"))), bool(arrays["frozen"]),
        )  # fmt: skip
