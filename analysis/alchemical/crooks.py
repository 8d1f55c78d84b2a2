"""Where work distributions cross, whether they obey Crooks' theorem, and averages of one of them.

Works and free energies of this file are in units of k_BT.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

__all__ = [
    "OneWay",
    "crossing",
    "crossing_of_gaussians",
    "logistic_fit",
    "logistic_slope",
    "one_way",
]

_STEPS = 50


class OneWay(NamedTuple):
    """Jarzynski's average of one direction.

    ``f`` is the free energy in the direction forward whichever way the works went, ``error`` to
    first order, ``bias`` how far ⟨f⟩ lies above f to second order: works that dissipate more than a
    few k_BT have more of it than this tells. ``effective`` is the number of works it rests on,
    (Σx)²/Σx² of x = e^{−w}. ``needed`` is the number that would do, e to the dissipation of the
    other direction; NaN where that was not measured.
    """

    f: float
    error: float
    bias: float
    effective: float
    needed: float


def one_way(works: np.ndarray, sign: int, inefficiency: float, lost_back: float) -> OneWay:
    """Average the exponentials: f = ∓ ln⟨e^{−w}⟩.

    C. Jarzynski, Phys. Rev. Lett. 78, 2690 (1997), doi:10.1103/PhysRevLett.78.2690. With x = e^{−w}
    over g-fold correlated works its variance is g Var(x)/(n⟨x⟩²), and half of that its bias (J.
    Gore, F. Ritort and C. Bustamante, PNAS 100, 12564 (2003), doi:10.1073/pnas.1635159100). The
    works that count are as rare as those that the reversed protocol does on its way, so about
    e^{lost back} are needed (C. Jarzynski, Phys. Rev. E 73, 046105 (2006),
    doi:10.1103/PhysRevE.73.046105).
    """
    n = len(works)
    log_x = -works
    f = -(float(logsumexp(log_x)) - math.log(n))
    effective = float(np.exp(2.0 * logsumexp(log_x) - logsumexp(2.0 * log_x)))
    # Var(x)/⟨x⟩² = n Σx²/(Σx)² − 1
    variance = inefficiency * max(n / effective - 1.0, 0.0) / max(n - 1, 1)
    error = math.sqrt(variance) if n > 1 else math.nan
    needed = math.exp(min(lost_back, 700.0)) if math.isfinite(lost_back) else math.nan
    return OneWay(sign * f, error, sign * 0.5 * variance, effective, needed)


def crossing(forward: np.ndarray, reverse: np.ndarray) -> float:
    """Where ln(p_F(w)/p_R(−w)) = w − f is zero, by the likelihood of w − f: Bennett's equation.

    M. R. Shirts, E. Bair, G. Hooker and V. S. Pande, Phys. Rev. Lett. 91, 140601 (2003),
    doi:10.1103/PhysRevLett.91.140601. No histogram is made of the works.
    """
    n, m = len(forward), len(reverse)
    works = np.concatenate([forward, -reverse]) + math.log(n / m)

    def excess(f: float) -> float:
        return float(expit(works - f).sum() - n)

    return float(brentq(excess, works.min() - 40.0, works.max() + 40.0, xtol=1e-9))


def crossing_of_gaussians(forward: np.ndarray, reverse: np.ndarray) -> float:
    """Where the Gaussians with the moments of w and of −w reversed cross, between their means.

    M. Goette and H. Grubmüller, J. Comput. Chem. 30, 447 (2009), doi:10.1002/jcc.21073. Exact as
    far as the works are Gaussian. Of two crossings it is the one nearer to the middle of the means;
    NaN where one of the directions has no width.
    """
    a, b = float(forward.mean()), float(-reverse.mean())
    s, t = float(forward.var(ddof=1)), float(reverse.var(ddof=1))
    if not (s > 0 and t > 0):
        return math.nan
    # (w − a)²/s − (w − b)²/t = ln(t/s), written for x = w − (a + b)/2
    h, middle = 0.5 * (a - b), 0.5 * (a + b)
    q2, q1 = 1.0 / s - 1.0 / t, -2.0 * h * (1.0 / s + 1.0 / t)
    q0 = h * h * q2 - math.log(t / s)
    if abs(q2) < 1e-9 * (1.0 / s + 1.0 / t):
        return middle - q0 / q1 if q1 else middle
    root = math.sqrt(max(q1 * q1 - 4.0 * q2 * q0, 0.0))
    nearer = min(((-q1 + root) / (2 * q2), (-q1 - root) / (2 * q2)), key=abs)
    return middle + (nearer if abs(nearer) <= abs(h) else 0.0)


def logistic_slope(forward: np.ndarray, reverse: np.ndarray) -> float:
    """Slope of ln(p_F(w)/p_R(−w)) along w, as `logistic_fit` finds it."""
    return logistic_fit(forward, reverse)[0]


def logistic_fit(forward: np.ndarray, reverse: np.ndarray) -> tuple[float, float]:
    """Slope of ln(p_F(w)/p_R(−w)) along w, which Crooks' theorem says is 1, and its error.

    By logistic regression of the direction on the work, with the error of independent works; NaN
    where the directions can be told apart without error, or do not differ at all. G. E. Crooks,
    Phys. Rev. E 60, 2721 (1999), doi:10.1103/PhysRevE.60.2721.
    """
    n, m = len(forward), len(reverse)
    w = np.concatenate([forward, -reverse])
    scale = float(w.std())
    if not scale > 0:
        return math.nan, math.nan
    x = np.stack([np.ones(n + m), (w - w.mean()) / scale])
    target = np.repeat([1.0, 0.0], [n, m])
    beta = np.array([math.log(n / m), 0.0])
    for _ in range(_STEPS):
        p = expit(beta @ x)
        hessian = (x * (p * (1.0 - p))) @ x.T
        if np.linalg.cond(hessian) > 1e12:
            return math.nan, math.nan
        step = np.linalg.solve(hessian, x @ (target - p))
        beta = beta + step * min(1.0, 3.0 / float(np.abs(step).max() + 1e-30))
        if np.abs(step).max() < 1e-8:
            error = math.sqrt(float(np.linalg.inv(hessian)[1, 1]))
            return float(beta[1]) / scale, error / scale
    return math.nan, math.nan
