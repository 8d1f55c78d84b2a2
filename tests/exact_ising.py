"""Exact number of states of every energy of the square Ising model, as whole numbers.

Z = e^{2NK} Σ_k g_k y^k with y = e^{−4K} and N = side² for an even side: g_k states have the energy
4k − 2N in J. Kaufman's closed form of Z (Phys. Rev. 76, 1232 (1949), doi:10.1103/PhysRev.76.1232)
is evaluated in many digits on a circle |y| = r, and a Fourier transform gives the g_k, as in Beale
(Phys. Rev. Lett. 76, 78 (1996), doi:10.1103/PhysRevLett.76.78), who expands it in whole numbers.
"""

from __future__ import annotations

import math
from functools import cache

import mpmath as mp
import numpy as np


@cache
def ising_counts(side: int) -> tuple[int, ...]:
    """g_k for k = 0 … side², of the periodic square of an even side."""
    n_sites = side**2
    n_points = n_sites + 1
    with mp.workdps(int(0.6 * n_sites) + 60):
        radius = mp.mpf(1) / 2
        roots = [mp.expjpi(mp.mpf(2 * j) / n_points) for j in range(n_points)]
        values = [_polynomial(side, radius * root) for root in roots]
        counts = []
        for k in range(n_points):
            terms = (values[j] * roots[-j * k % n_points] for j in range(n_points))
            g = mp.fsum(terms) / n_points / radius**k
            whole = int(mp.nint(g.real))
            if abs(g - whole) > 1e-6:
                raise ArithmeticError(f"g_{k} = {g} is no whole number")
            counts.append(whole)
    return tuple(counts)


def _polynomial(side, y):
    """Σ_k g_k y^k at a complex y, by Kaufman's four products.

    Factors r and 2n − r of a product are equal, so each pair is a polynomial in cosh γ_r and no
    branch of γ has to be chosen: (2 cosh mγ/2)² = 2 T_m(cosh γ) + 2.
    """
    n = side
    u = mp.sqrt(y)  # e^{−2K}; either root will do
    c = (1 + y) ** 2 / (2 * u * (1 - y))  # cosh 2K coth 2K
    pairs = {r: 2 * _chebyshev(n, c - mp.cospi(mp.mpf(r) / n)) for r in range(1, n)}
    odd_plus = mp.fprod(pairs[r] + 2 for r in range(1, n, 2))
    odd_minus = mp.fprod(pairs[r] - 2 for r in range(1, n, 2))
    even_plus = mp.fprod(pairs[r] + 2 for r in range(2, n, 2))
    even_minus = mp.fprod(pairs[r] - 2 for r in range(2, n, 2))
    # The two that stand alone: e^{γ_0} = e^{2K} tanh K and e^{γ_n} = e^{2K} coth K.
    tanh = (1 - u) / (1 + u)
    first, last = (tanh / u) ** (n // 2), (1 / (tanh * u)) ** (n // 2)
    even_plus *= (first + 1 / first) * (last + 1 / last)
    even_minus *= (first - 1 / first) * (last - 1 / last)
    total = odd_plus + odd_minus + even_plus + even_minus
    # Z = ½ (2 sinh 2K)^{N/2} total and 2 sinh 2K = (1 − y)/u; e^{−2NK} = u^N.
    return u ** (n * n) * ((1 - y) / u) ** (n * n // 2) * total / 2


def _chebyshev(n, x):
    before, here = mp.mpf(1), x
    for _ in range(n - 1):
        before, here = here, 2 * x * here - before
    return here


def ising_ln_g(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Energies in J of the levels that exist, and the logarithms of their numbers of states."""
    counts = ising_counts(side)
    kept = [k for k, g in enumerate(counts) if g]
    energies = np.array([4.0 * k - 2.0 * side**2 for k in kept])
    return energies, np.array([math.log(counts[k]) for k in kept])
