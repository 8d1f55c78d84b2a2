"""What a kernel never changes although its ensemble lets it vary: known before the first step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ensembles import ChargeNeutral
from ._composition import fixed_sublattices, move_of, natural_moves
from .discrete_langevin import DiscreteLangevin
from .gibbs import GibbsWithGradients
from .path_auxiliary import PathAuxiliary
from .random_flip import RandomFlip
from .random_swap import RandomSwap
from .surrogate_chain import SurrogateChain
from .table_exchange import TableExchange

__all__ = ["kinds_of_move", "standing_still"]


def kinds_of_move(kernel: Any) -> frozenset[str] | None:
    """Return what a kernel's moves are: ``"swap"``, ``"flip"``, ``"exchange"``; None if not known.

    Those of all its parts where it is made of others.
    """
    if isinstance(kernel, RandomSwap):
        return frozenset({"swap"})
    if isinstance(kernel, RandomFlip):
        return frozenset({"flip"})
    if isinstance(kernel, TableExchange):
        return frozenset({"exchange", "swap"} if kernel.swaps > 0 else {"exchange"})
    if isinstance(kernel, SurrogateChain):
        moves = natural_moves(kernel.ensemble) if kernel.move is None else (kernel.move,)
        return None if kernel.inner is not None else frozenset(moves)
    if isinstance(kernel, GibbsWithGradients | PathAuxiliary | DiscreteLangevin):
        return frozenset({move_of(kernel.ensemble, kernel.hamiltonian.lattice, kernel.move)})
    parts = [kinds_of_move(part) for part in _parts(kernel)]
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if known and len(known) == len(parts) else None


def standing_still(kernel: Any, counts: np.ndarray) -> str:
    """Say what stands still for ever in chains of a kernel, and the remedy; empty for nothing.

    Parameters
    ----------
    kernel
        Any kernel.
    counts
        Species counts at the start, [n_sublattices, n_species_max].
    """
    kinds, first = kinds_of_move(kernel), kernel
    while parts := _parts(first):
        first = parts[0]
    ensemble = first.ensemble
    if kinds is None or not hasattr(ensemble, "free_sites"):
        return ""
    name = " and ".join(dict.fromkeys(_names(kernel)))
    varies = set(natural_moves(ensemble)) & {"flip", "exchange"}
    if varies and not kinds & {"flip", "exchange"}:
        other = "TableExchange" if isinstance(ensemble, ChargeNeutral) else "RandomFlip"
        return (
            f"{name} never changes the composition, which {type(ensemble).__name__} lets vary: "
            f"take SurrogateChain, or a Mixture with {other}"
        )
    lattice = ensemble.lattice
    stuck = [
        sublattice
        for sublattice in fixed_sublattices(ensemble)
        if np.count_nonzero(counts[lattice.names.index(sublattice)]) > 1
    ]
    if stuck and "swap" not in kinds:
        return (
            f"{name} never rearranges the species of sublattice {stuck[0]}, whose counts are "
            "fixed: take SurrogateChain, or a Mixture with RandomSwap"
        )
    return ""


def _parts(kernel: Any) -> tuple[Any, ...]:
    """Kernels that a kernel is made of: those of a mixture or a ladder, or the one it drives."""
    if not getattr(kernel, "occupation_steps", 1):  # positions alone are to move
        return ()
    own = getattr(kernel, "kernel", None)
    return tuple(getattr(kernel, "kernels", ())) if own is None else (own,)


def _names(kernel: Any) -> list[str]:
    parts = _parts(kernel)
    return [name for part in parts for name in _names(part)] or [type(kernel).__name__]
