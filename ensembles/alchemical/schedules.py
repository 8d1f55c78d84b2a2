"""How s goes from 0 to 1 along a path: schedules of switching, and where windows lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ase import units

from ... import statistics
from ...alchemical_records import Windows
from ...errors import InputError
from ...sublattice import is_number, is_whole, shown, suggestion

__all__ = [
    "GeometricSchedule",
    "LinearSchedule",
    "OptimisedSchedule",
    "Schedule",
    "SmoothStepSchedule",
    "couplings_of",
    "schedule_of",
]

_FINE = 4001  # places at which a length is integrated
_FLOOR = 1e-2  # share of the largest rate below which none is believed


class Schedule(Protocol):
    """s as a function of the share t of a protocol that has passed, rising from 0 to 1."""

    @property
    def name(self) -> str:
        """What it is called in records."""
        ...

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return s [n] at t [n], both in [0, 1]."""
        ...


@dataclass(frozen=True)
class LinearSchedule:
    """Constant speed, s = t.

    Examples
    --------
    >>> couplings_of(LinearSchedule(), 4).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """

    @property
    def name(self) -> str:
        """What it is called in records."""
        return "linear"

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return s [n] at t [n]."""
        return np.asarray(t, dtype=np.float64)


@dataclass(frozen=True)
class SmoothStepSchedule:
    r"""The step of ninth degree whose first four derivatives vanish at both ends.

    .. math:: s(t) = t^5 (70 t^4 − 315 t^3 + 540 t^2 − 420 t + 126)

    Slow at both ends (M. de Koning and A. Antonelli 1996, doi:10.1103/PhysRevE.53.465), where it
    lets the system follow from rest, and 2.46 times as fast as a linear one in the middle.

    Examples
    --------
    >>> couplings_of(SmoothStepSchedule(), 4).round(4).tolist()
    [0.0, 0.0489, 0.5, 0.9511, 1.0]
    """

    @property
    def name(self) -> str:
        """What it is called in records."""
        return "smooth step"

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return s [n] at t [n]."""
        t = np.asarray(t, dtype=np.float64)
        return t**5 * ((((70.0 * t - 315.0) * t + 540.0) * t - 420.0) * t + 126.0)


@dataclass(frozen=True)
class GeometricSchedule:
    r"""Steps that grow geometrically away from one end.

    .. math:: s(t) = \frac{r^t − 1}{r − 1}

    near s = 0, mirrored near s = 1: for energies that change fastest where a coupling has almost
    vanished.

    Parameters
    ----------
    ratio
        r above 1, of the last step to the first.
    near
        The end with the small steps, 0 or 1.

    Raises
    ------
    InputError
        If a number cannot be used.

    Examples
    --------
    >>> couplings_of(GeometricSchedule(ratio=81.0), 4).round(3).tolist()
    [0.0, 0.025, 0.1, 0.325, 1.0]
    """

    ratio: float = 100.0
    near: int = 0

    def __post_init__(self) -> None:
        if not is_number(self.ratio) or self.ratio <= 1.0:
            raise InputError(f"ratio is {shown(self.ratio)}; give a number above 1")
        if self.near not in (0, 1):
            raise InputError(f"near is {shown(self.near)}; give the end with small steps, 0 or 1")

    @property
    def name(self) -> str:
        """What it is called in records."""
        return f"geometric, ratio {self.ratio:g} near {self.near}"

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return s [n] at t [n]."""
        t = np.asarray(t, dtype=np.float64)
        t = 1.0 - t if self.near else t
        s = np.expm1(t * np.log(self.ratio)) / (self.ratio - 1.0)
        return 1.0 - s if self.near else s


@dataclass(frozen=True, eq=False)
class OptimisedSchedule:
    r"""The schedule of least dissipation in linear response, from a pilot's fluctuations.

    A protocol of n steps whose system relaxes within an integrated autocorrelation time τ(s), in
    steps, dissipates

    .. math:: W_\text{diss} ≈ \frac{β}{2} \sum_{i=1}^{n} τ\,
              \mathrm{var}\!\Big(\frac{∂U}{∂s}\Big) (Δs_i)^2 ≥ \frac{ℒ^2}{2 β n}, \qquad
              ℒ = β ∫_0^1 \sqrt{τ(s)\,\mathrm{var}(∂U/∂s)}\, ds

    with equality where every step has the same share of the thermodynamic length ℒ (G. E. Crooks
    2007, doi:10.1103/PhysRevLett.99.100602; with relaxation D. A. Sivak and G. E. Crooks 2012,
    doi:10.1103/PhysRevLett.108.190602). Between the pilot's places the logarithm of the rate
    √(τ var) is interpolated; a rate below a hundredth of the largest counts as that.

    Parameters
    ----------
    couplings
        Places of the pilot, rising, [k]; beyond the first and the last the rate is theirs.
    rates
        √(τ var(∂U/∂s)) there in eV, [k].
    temperature
        Kelvin.

    Raises
    ------
    InputError
        If couplings do not rise within [0, 1], or rates are not finite or all zero.

    Examples
    --------
    Fluctuations grow towards s = 1, so the steps shrink:

    >>> schedule = OptimisedSchedule(np.array([0.0, 1.0]), np.array([0.1, 1.0]), 300.0)
    >>> couplings_of(schedule, 4).round(3).tolist()
    [0.0, 0.512, 0.74, 0.889, 1.0]
    """

    couplings: np.ndarray
    rates: np.ndarray
    temperature: float

    def __post_init__(self) -> None:
        try:
            s = np.array(self.couplings, dtype=np.float64)
            rates = np.array(self.rates, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"couplings are {shown(self.couplings)} and rates {shown(self.rates)}; give numbers"
            ) from None
        if s.ndim != 1 or len(s) < 1 or (np.diff(s) <= 0).any() or s[0] < 0 or s[-1] > 1:
            raise InputError(f"couplings are {shown(s.tolist())}; give them rising within [0, 1]")
        if rates.shape != s.shape or not np.isfinite(rates).all() or (rates < 0).any():
            raise InputError(
                f"rates are {shown(rates.tolist())}; give one for each of {len(s)} couplings, 0 or "
                "more"
            )
        if not rates.any():
            raise InputError(
                "∂U/∂s does not fluctuate at all: every schedule is as good, take a linear one"
            )
        if not is_number(self.temperature) or self.temperature <= 0:
            raise InputError(f"temperature is {shown(self.temperature)}; give kelvin above 0")
        object.__setattr__(self, "couplings", s)
        object.__setattr__(self, "rates", rates)

    @classmethod
    def from_windows(cls, windows: Windows) -> OptimisedSchedule:
        """Make the schedule from a pilot whose draws are one step of a protocol apart.

        Parameters
        ----------
        windows
            Equilibrium windows, drawn by the moves that a step of the protocol will make. (`HMC`
            finds a step size for every window, but one for a whole protocol: τ is then that of
            the windows.)
        """
        times = np.array([statistics.autocorrelation_time(one.T) for one in windows.slopes])
        memory = np.where(np.isfinite(times), times, 1.0)
        spread = windows.slopes.std(axis=(1, 2))
        return cls(windows.couplings, spread * np.sqrt(memory), windows.temperature)

    @property
    def name(self) -> str:
        """What it is called in records."""
        return f"optimised, {len(self.couplings)} pilot windows"

    def rate(self, s: np.ndarray) -> np.ndarray:
        """√(τ var(∂U/∂s)) in eV at s [n]."""
        rates = np.log(np.maximum(self.rates, _FLOOR * self.rates.max()))
        return np.exp(np.interp(s, self.couplings, rates))

    def length(self) -> float:
        """Thermodynamic length ℒ of the whole path, a number without unit."""
        return float(self._lengths()[1][-1])

    def dissipation(self, n_steps: int) -> float:
        """Mean dissipated work in eV that a protocol of ``n_steps`` should have, ℒ²/(2βn)."""
        return 0.5 * self.length() ** 2 * (units.kB * self.temperature) / n_steps

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return s [n] at t [n]."""
        s, lengths = self._lengths()
        return np.interp(np.asarray(t, dtype=np.float64) * lengths[-1], lengths, s)

    def _lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Fine places and the length up to each."""
        s = np.linspace(0.0, 1.0, _FINE)
        rate = self.rate(s)
        steps = 0.5 * (rate[1:] + rate[:-1]) * np.diff(s) / (units.kB * self.temperature)
        return s, np.concatenate([[0.0], np.cumsum(steps)])


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "linear": LinearSchedule,
    "smooth step": SmoothStepSchedule,
}


def schedule_of(given: Any) -> Schedule:
    """Return the schedule, or the one of that name.

    Raises
    ------
    InputError
        If it is none.
    """
    if isinstance(given, str):
        if given not in SCHEDULES:
            raise InputError(f"schedule is {given!r}; {suggestion(given, SCHEDULES)}")
        return SCHEDULES[given]()
    if not callable(given) or isinstance(given, type) or not hasattr(given, "name"):
        raise InputError(
            f'schedule is {shown(given)}; give "linear", "smooth step", GeometricSchedule(…) or '
            "OptimisedSchedule.from_windows(…)"
        )
    return given


def couplings_of(schedule: Schedule, n_steps: int) -> np.ndarray:
    """Return s after each of ``n_steps`` steps, [n_steps + 1] from 0 to 1.

    Raises
    ------
    InputError
        If there is no step, or the schedule does not rise from 0 to 1.
    """
    if not is_whole(n_steps, least=1):
        raise InputError(f"n_steps is {shown(n_steps)}; give a whole number, 1 or more")
    s = np.asarray(schedule(np.linspace(0.0, 1.0, n_steps + 1)), dtype=np.float64)
    ends = abs(s[0]) < 1e-9 and abs(s[-1] - 1.0) < 1e-9 if s.shape == (n_steps + 1,) else False
    if not ends or (np.diff(s) < 0).any():
        raise InputError(
            f"the schedule {schedule.name!r} gives {shown(s.tolist())}; it has to rise from 0 to 1"
        )
    s[0], s[-1] = 0.0, 1.0
    return s
