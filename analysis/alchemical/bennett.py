"""Bennett's acceptance ratio of two states, how much they overlap, and what every draw adds.

The estimator is pymbar's; all works and free energies of this file are in units of k_BT.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from ..._pymbar import quiet_pymbar
from ...errors import ConvergenceError
from ...statistics import effective_sample_size

__all__ = ["Bennett", "bennett", "correlated_error", "inefficiency", "solve_bennett"]

_FEWEST = 4  # draws from which on correlations can be told
_FAR = 300.0


class Bennett(NamedTuple):
    """Δf of two states from the works of a change between them, both ways.

    ``error`` is that of independent works. ``shared`` is Σ_n p₁(n) p₂(n) over all works, with p_i
    the probability that a work came from side i: in the number of draws that both sides have in
    common, and nearly 1/(error² + 1/n₁ + 1/n₂). ``overlap`` is shared (1/n₁ + 1/n₂)/2: 0.5 where
    the states are the same, never more. ``influence`` are two arrays, what every
    forward and every reverse work adds to Δf to first order; each adds up to zero.
    """

    f: float
    error: float
    overlap: float
    shared: float
    influence: tuple[np.ndarray, np.ndarray]


def solve_bennett(forward: np.ndarray, reverse: np.ndarray) -> float:
    """Solve Bennett's equation by pymbar; NaN if it finds no solution.

    C. H. Bennett, J. Comput. Phys. 22, 245 (1976), doi:10.1016/0021-9991(76)90078-4.
    """
    # Near zero for pymbar, whose relative tolerance would otherwise measure the offset.
    shift = 0.5 * float(np.median(forward) - np.median(reverse))
    with np.errstate(all="ignore"):
        try:
            found = quiet_pymbar("other_estimators").bar(
                forward - shift, reverse + shift, compute_uncertainty=False
            )
        except Exception:  # bounds, overflow: pymbar has several
            return float("nan")
    return float(found["Delta_f"] + shift)


def bennett(forward: np.ndarray, reverse: np.ndarray) -> Bennett:
    """Δf = f₂ − f₁ from works of the change 1 → 2 [n] and of 2 → 1 [m], in k_BT.

    Raises
    ------
    ConvergenceError
        If there is no solution.
    """
    f = solve_bennett(forward, reverse)
    if not np.isfinite(f):
        raise ConvergenceError(
            f"Bennett's acceptance ratio found no solution from {len(forward)} and {len(reverse)} "
            "draws: the two sides do not overlap; go from one to the other in smaller or more steps"
        )
    n, m = len(forward), len(reverse)
    p = [expit(np.log(n / m) + w - f) for w in (forward, -reverse)]  # that it was driven forward
    shared = float(sum((q * (1.0 - q)).sum() for q in p))
    # pymbar's own error at its own solution, moved to zero; it has no number for works so far off
    # that e^w is none, which weigh nothing or all just as well at a distance of 300.
    with np.errstate(all="ignore"):
        error = quiet_pymbar("other_estimators").bar(
            np.clip(forward - f, -_FAR, _FAR), np.clip(reverse + f, -_FAR, _FAR)
        )["dDelta_f"]
    influence = tuple((q - q.mean()) / shared if shared > 0 else q * 0.0 for q in p)
    return Bennett(
        f,
        float(np.nan_to_num(error)),
        0.5 * shared * (1.0 / n + 1.0 / m),
        shared,
        (influence[0], influence[1]),
    )


def inefficiency(series: np.ndarray) -> float:
    """Draws [draw, chain] per independent one, at least 1.

    One draw of each chain, or fewer than four draws, count as independent: nothing is known. A
    series that never changes counts as one draw.
    """
    if len(series) < _FEWEST:
        return 1.0
    ess = effective_sample_size(series)
    return float(series.size / ess) if ess > 0 else float(series.size)


def correlated_error(parts: list[np.ndarray], factor: Callable[[np.ndarray], float]) -> float:
    """How much correlations widen an error: of influences [draw, chain] that are summed.

    √(Σ g n var / Σ n var), with n draws of each part and g by ``factor``; 1 if nothing varies.
    """
    plain = np.array([part.size * part.var() for part in parts])
    if not plain.sum() > 0:
        return 1.0
    g = np.array([factor(part) if v > 0 else 1.0 for part, v in zip(parts, plain, strict=True)])
    return float(np.sqrt((g * plain).sum() / plain.sum()))
