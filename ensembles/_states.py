"""States of kernels that drive other kernels: those of the inner ones, and a few numbers more."""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from typing import Any

import numpy as np

from ..errors import InputError
from ..protocols import Kernel, State

__all__ = ["check_plain", "check_single", "extended", "inner", "state_type_of", "take"]


def check_single(kernel: Any, remedy: str) -> None:
    """Refuse what cannot be driven: no kernel at all, or a whole ladder of them.

    Raises
    ------
    InputError
        With ``remedy`` where it is a ladder.
    """
    name = type(kernel).__name__
    if hasattr(kernel, "n_rungs"):
        raise InputError(f"{name} is a ladder: {remedy}")
    if not (hasattr(kernel, "step") and hasattr(kernel, "ensemble")):
        raise InputError(f"{name} is no kernel that takes steps: give one, such as RandomSwap")


def check_plain(kernel: Any, remedy: str) -> None:
    """Refuse a kernel whose states hold more than occupations.

    Raises
    ------
    InputError
        With ``remedy``.
    """
    if state_type_of(kernel) is not State:
        raise InputError(f"{type(kernel).__name__} moves more than occupations: {remedy}")


def state_type_of(kernel: Kernel) -> type[Any]:
    """NamedTuple that a kernel's states are: its ``state_type``, or State."""
    found: type[Any] = getattr(kernel, "state_type", State)
    return found


def extended(base: Any, *names: str) -> type[Any]:
    """NamedTuple with more fields, each of which leads with the replicas."""
    made: type[Any] = _extended(base, names)
    return made


@cache
def _extended(base: Any, names: tuple[str, ...]) -> Any:
    fields = namedtuple(base.__name__, (*base._fields, *names))  # type: ignore[misc]  # noqa: PYI024
    more = f"{base.__doc__}\n\nBesides, {', '.join(names)} [n_replicas]."
    return type(base.__name__, (fields,), {"__slots__": (), "__doc__": more, "inner": base})


def inner(state: Any) -> Any:
    """Return the state of the inner kernel in an extended one."""
    base = type(state).inner
    return base(*state[: len(base._fields)])


def take(state: Any, rows: np.ndarray | slice) -> Any:
    """State of some of the replicas."""
    return type(state)(*(values[rows] for values in state))
