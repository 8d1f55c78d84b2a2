"""Which moves an ensemble calls for: flips, swaps, or both, and on which sites.

The one place where kernels ask; an ensemble of the user's own needs none of these attributes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ensembles import Canonical, ChargeNeutral, SemiGrandCanonical, VarianceConstrained
from ..errors import InputError
from ..lattice import Lattice
from ..protocols import Ensemble

__all__ = [
    "FlipWeight",
    "at_fixed_counts",
    "fixed_sublattices",
    "flip_weight",
    "flippable_sites",
    "keeps_counts",
    "move_of",
    "natural_moves",
    "refuse_flips",
]


class FlipWeight(NamedTuple):
    """Weight exp(−β[E − Σ μ_k N_k + Σ q_k N_k²]) of flips on ``free`` sites, in compiled code.

    ``potentials`` μ and ``stiffness`` q in eV, [n_sublattices, n_species_max], the latter None for
    zero everywhere; ``beta`` in 1/eV; ``free`` bool [n_sites].
    """

    beta: float
    potentials: np.ndarray
    stiffness: np.ndarray | None
    free: np.ndarray


def fixed_sublattices(ensemble: Ensemble) -> tuple[str, ...]:
    """Names of the sublattices whose counts an ensemble keeps; none, if it does not say."""
    return tuple(getattr(ensemble, "fixed", ()))


def keeps_counts(ensemble: Ensemble) -> bool:
    """Whether no species count may change, as in the canonical ensemble."""
    return set(fixed_sublattices(ensemble)) >= set(ensemble.lattice.names)


def flippable_sites(ensemble: Ensemble, lattice: Lattice) -> np.ndarray:
    """Sites that a kernel may flip, bool [n_sites]: free ones that may hold two species.

    Raises
    ------
    InputError
        If the ensemble is one of another lattice.
    """
    if ensemble.lattice is not lattice and ensemble.lattice != lattice:
        raise InputError(
            "the ensemble's lattice differs from the energy model's: build both from one Lattice"
        )
    several = np.asarray(lattice.allowed).sum(axis=1) > 1
    free = getattr(ensemble, "free_sites", None)
    return several if free is None else several & np.asarray(free)


def refuse_flips(ensemble: Ensemble, lattice: Lattice, instead: str) -> None:
    """Refuse a kernel or move that flips sites where the ensemble has none to flip.

    ``instead`` names what serves where the composition is fixed.

    Raises
    ------
    InputError
        If the ensemble keeps all counts, keeps what a single flip changes, or no free site may
        hold two species.
    """
    if keeps_counts(ensemble):
        raise InputError(
            f"flips change the composition, which the canonical ensemble fixes: use {instead}, or "
            "SemiGrandCanonical"
        )
    free = getattr(ensemble, "free_sites", None)
    if free is not None and not np.any(free):
        raise InputError(
            f"a single flip changes what {type(ensemble).__name__} keeps: use TableExchange, or "
            "swaps beside it in a Mixture"
        )
    if not flippable_sites(ensemble, lattice).any():
        raise InputError("no site may hold two species, so there is nothing to flip")


def natural_moves(ensemble: Ensemble) -> tuple[str, ...]:
    """Kinds of move that lead to everything an ensemble gives weight.

    ``"flip"`` where sites are free, as all are unless it says otherwise, with ``"swap"`` beside it
    where it keeps the counts of other sublattices; ``"exchange"`` and ``"swap"`` at a fixed charge;
    ``"swap"`` elsewhere.
    """
    if isinstance(ensemble, ChargeNeutral):
        return ("exchange", "swap")
    if not np.any(getattr(ensemble, "free_sites", True)):
        return ("swap",)
    sublattices = ensemble.lattice.sublattices
    kept = [name for name in fixed_sublattices(ensemble) if len(sublattices[name].species) > 1]
    return ("flip", "swap") if kept else ("flip",)


def move_of(ensemble: Ensemble, lattice: Lattice, move: str | None) -> str:
    """Return ``"swap"`` or ``"flip"``, by default a flip where the ensemble says what is free.

    A swap elsewhere: it suits every ensemble.

    Raises
    ------
    InputError
        If the move is not known, or flips are asked for where there is nothing to flip.
    """
    if move is None:
        move = "flip" if np.any(getattr(ensemble, "free_sites", False)) else "swap"
    if move not in ("swap", "flip"):
        raise InputError(f"move {move!r} is not known: use 'swap' or 'flip'")
    if move == "flip":
        refuse_flips(ensemble, lattice, instead="swaps")
    return move


def flip_weight(ensemble: Ensemble) -> FlipWeight | None:
    """Weight of an ensemble that compiled flips know; None of any other.

    A subclass may weigh otherwise, so that it counts as another.
    """
    if type(ensemble) is SemiGrandCanonical:
        return FlipWeight(ensemble.beta, ensemble.potentials, None, ensemble.free_sites)
    if type(ensemble) is VarianceConstrained:
        return FlipWeight(
            ensemble.beta, ensemble.potentials, ensemble.stiffness, ensemble.free_sites
        )
    return None


def at_fixed_counts(ensemble: Ensemble) -> Ensemble:
    """Return an ensemble with the same weights among occupations of equal counts.

    The canonical one, whose swaps are compiled, where it is known to be that; else itself.
    """
    if type(ensemble) in (SemiGrandCanonical, VarianceConstrained, ChargeNeutral):
        return Canonical(ensemble.lattice, ensemble.temperature)  # type: ignore[attr-defined]
    return ensemble
