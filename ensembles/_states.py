"""States of kernels that drive other kernels: those of the inner ones, and a few numbers more."""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from typing import Any

import numpy as np

from ..protocols import Kernel, State

__all__ = ["extended", "inner", "state_type_of"]


def state_type_of(kernel: Kernel) -> type[Any]:
    """NamedTuple that a kernel's states are: its ``state_type``, or State."""
    found: type[Any] = getattr(kernel, "state_type", State)
    return found


@cache
def extended(base: type[Any], *names: str) -> type[Any]:
    """NamedTuple with more fields, each of which leads with the replicas."""
    made: Any = namedtuple(base.__name__, (*base._fields, *names))  # type: ignore[misc]  # noqa: PYI024
    made.__doc__ = f"{base.__doc__}\n\nBesides, {', '.join(names)} [n_replicas]."
    made.inner = base
    return made


def inner(state: Any) -> Any:
    """Return the state of the inner kernel in an extended one."""
    base = type(state).inner
    return base(*state[: len(base._fields)])


def take(state: Any, rows: np.ndarray | slice) -> Any:
    """State of some of the replicas."""
    return type(state)(*(values[rows] for values in state))
