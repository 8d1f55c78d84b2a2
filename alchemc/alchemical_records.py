"""Raw numbers of free-energy paths: works of switching, and energies in equilibrium windows.

The ensembles make them, the estimators of `alchemc.analysis` read them. All energies are in eV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

from .errors import InputError
from .sublattice import is_number, is_whole

__all__ = ["Windows", "Works"]

_MIN_DRAWS = 2


class _Arrays:
    """To and from plain arrays: every field is one of them."""

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return every field as an array by name, for ``numpy.savez`` without pickling."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Make the record that ``to_arrays`` took apart."""
        plain = {name: np.asarray(value) for name, value in arrays.items()}
        return cls(**{name: v if v.ndim else v.item() for name, v in plain.items()})


@dataclass(frozen=True, eq=False)
class Works(_Arrays):
    """Works done by non-equilibrium switching of a path s, U_s(x), both ways.

    The work of a protocol is what it does on the system, W = Σ [U_{s+δ}(x) − U_s(x)] over its steps
    in its own direction: that of the reversed protocol is positive where it drives uphill, and lies
    about −ΔF. Each starts from a draw of the equilibrium at its own end.

    Parameters
    ----------
    forward, reverse
        Works in eV, [n] and [m] in the order in which they were drawn, or [draw, chain] where
        several chains drew them (the two directions of one chain may depend on one another); none
        of a direction is an empty array.
    temperature
        In K, that of the equilibria and of the switching.
    n_steps
        Steps of the protocol; 1 is an instantaneous switch.
    schedule
        Name of s(t), such as "smooth step".
    calls
        Evaluations of the energy model that all works together took.
    label
        What was switched to what.
    drift
        How much U at s = 0 and at s = 1 rose during equilibrations before protocols, from the mean
        over their second quarter to that over their last, in eV, [round, end, chain]; empty where
        it was not measured. Its mean is zero where equilibration is long enough.

    Raises
    ------
    InputError
        If no direction has works, one of them is not finite, or a number is out of range.

    Examples
    --------
    >>> works = Works(np.array([0.31, 0.28]), np.array([-0.22, -0.27]), 300.0, n_steps=100)
    >>> again = Works.from_arrays(works.to_arrays())
    >>> again.temperature, again.forward.tolist()
    (300.0, [0.31, 0.28])
    """

    forward: np.ndarray
    reverse: np.ndarray
    temperature: float
    n_steps: int
    schedule: str = "linear"
    calls: int = 0
    label: str = ""
    drift: np.ndarray = field(default_factory=lambda: np.empty((0, 2, 0)))

    def __post_init__(self) -> None:
        drift = _finite("drift", self.drift)
        if drift.ndim != 3 or drift.shape[1] != 2:
            raise InputError(f"drift has shape {drift.shape}: give [round, end, chain], in eV")
        object.__setattr__(self, "drift", drift)
        for name in ("forward", "reverse"):
            values = _finite(name, getattr(self, name))
            if values.ndim not in {1, 2}:
                raise InputError(
                    f"{name} works have shape {values.shape}: give [n], or [draw, chain], in eV"
                )
            object.__setattr__(self, name, values)
        if not self.forward.size and not self.reverse.size:
            raise InputError("there are no works of either direction: give forward or reverse")
        _check_numbers(self.temperature, self.calls)
        if not is_whole(self.n_steps, 1):
            raise InputError(f"n_steps is {self.n_steps!r}: a protocol has one step or more")


@dataclass(frozen=True, eq=False)
class Windows(_Arrays):
    """Energies of configurations drawn in equilibrium at several places s of a path U_s(x).

    Parameters
    ----------
    couplings
        Places of the windows in [0, 1], rising, [k].
    energies
        U_l(x) in eV of every configuration x drawn in window k, at every window's coupling l,
        [k, chain, draw, l].
    slopes
        dU/ds in eV at the window's own s, [k, chain, draw].
    temperature
        In K.
    calls
        Evaluations of the energy model that all windows together took.
    label
        What leads to what.

    Raises
    ------
    InputError
        If shapes disagree, there are fewer than two windows or draws, couplings do not rise within
        [0, 1], or a number is not finite.

    Examples
    --------
    Two windows of one chain with three draws each:

    >>> windows = Windows(np.array([0.0, 1.0]), np.zeros((2, 1, 3, 2)), np.zeros((2, 1, 3)), 300.0)
    >>> windows.n_windows, windows.n_chains, windows.n_draws
    (2, 1, 3)
    """

    couplings: np.ndarray
    energies: np.ndarray
    slopes: np.ndarray
    temperature: float
    calls: int = 0
    label: str = ""

    def __post_init__(self) -> None:
        for name in ("couplings", "energies", "slopes"):
            object.__setattr__(self, name, _finite(name, getattr(self, name)))
        s = self.couplings
        if s.ndim != 1 or len(s) < 2 or (np.diff(s) <= 0).any() or s[0] < 0 or s[-1] > 1:
            raise InputError(
                f"couplings are {np.array2string(s, threshold=8)}: give two windows or more, "
                "rising within [0, 1]"
            )
        shape = self.slopes.shape
        if len(shape) != 3 or shape[0] != len(s) or not shape[1] or shape[2] < _MIN_DRAWS:
            raise InputError(
                f"slopes have shape {shape}: expected [{len(s)}, chain, draw], two draws or more"
            )
        if self.energies.shape != (*shape, len(s)):
            raise InputError(
                f"energies have shape {self.energies.shape}: expected {(*shape, len(s))}, those of "
                "every draw at every coupling"
            )
        _check_numbers(self.temperature, self.calls)

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        return len(self.couplings)

    @property
    def n_chains(self) -> int:
        """Chains of every window."""
        return int(self.slopes.shape[1])

    @property
    def n_draws(self) -> int:
        """Draws of every chain."""
        return int(self.slopes.shape[2])


def _finite(name: str, values: object) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} are no array of numbers: give floats in eV") from None
    if not np.isfinite(array).all():
        raise InputError(
            f"{name} hold {array[~np.isfinite(array)][0]}: every number has to be finite; look at "
            "the configuration it comes from"
        )
    return array


def _check_numbers(temperature: object, calls: object) -> None:
    if not is_number(temperature) or not 0 < float(temperature) < np.inf:  # type: ignore[arg-type]
        raise InputError(f"temperature is {temperature!r}: give a positive number of kelvin")
    if not is_whole(calls, 0):
        raise InputError(f"calls is {calls!r}: give the number of evaluations, 0 if unknown")
