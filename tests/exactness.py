"""Chains against enumeration: the χ² test that decides whether a kernel is exact."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from alchemc import sampler


class Verdict(NamedTuple):
    """``p_value`` of χ² of ``draws`` against the exact distribution.

    ``tau`` is 1 + 2Σρ of the draws in the metric of χ² (below), so ``effective_draws`` is draws/τ;
    ``p_value`` is that of χ²/τ.
    """

    p_value: float
    draws: int
    effective_draws: float
    tau: float
    acceptance: float


def compare(
    kernel,
    table,
    *,
    draws: int = 100_000,
    thin: int = 8,
    n_replicas: int = 2_500,
    burn_in: int = 100,
    seed: int = 0,
) -> Verdict:
    """Run ``kernel`` on a TabulatedHamiltonian and compare the visited states with the exact law.

    Many short chains start at random states, forget them over ``burn_in`` steps and then give a
    draw every ``thin`` steps. The autocorrelation that is left is measured where it matters for χ²:

        ρ(t) = (⟨1[x_s = x_(s+t)]/p(x_s)⟩ − Σ q²/p)/(n_states − 1),

    with q the visited frequencies: the mean autocorrelation of all functions of the state that are
    orthonormal under p. χ² of a correlated series is τ = 1 + 2Σρ(t) times too large on average.
    """
    rngs = sampler.spawn_generators(seed, n_replicas)
    starts = np.random.default_rng([seed, 1]).integers(len(table.states), size=n_replicas)
    state = kernel.init(table.states[starts], rngs)
    state, _ = sampler.draw_block(kernel, state, rngs, 1, burn_in)
    _, block = sampler.draw_block(kernel, state, rngs, draws // n_replicas, thin)
    visited = np.stack([table.index(occupations) for occupations in block["occupation"]])
    p = table.probabilities(kernel.ensemble.temperature)
    tau = _chi_square_tau(visited, p)
    statistic, dof = _chi_square(np.bincount(visited.ravel(), minlength=len(p)), p)
    return Verdict(
        p_value=float(chi2.sf(statistic / tau, dof)),
        draws=visited.size,
        effective_draws=visited.size / tau,
        tau=tau,
        acceptance=float(block["acceptance"].mean()),
    )


def _chi_square(counts: np.ndarray, p: np.ndarray) -> tuple[float, int]:
    """χ² and its degrees of freedom; states expected fewer than ten times are taken together."""
    expected = p * counts.sum()
    rare = expected < 10
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0
    terms = (observed[kept] - expected[kept]) ** 2 / expected[kept]
    return float(terms.sum()), int(kept.sum()) - 1


def _chi_square_tau(visited: np.ndarray, p: np.ndarray) -> float:
    """1 + 2Σρ(t) over the lags at which ρ stands out of its noise."""
    tau, n_draws = 1.0, len(visited)
    q = np.bincount(visited.ravel(), minlength=len(p)) / visited.size
    frequent = p * visited.size >= 10
    baseline = float((q[frequent] ** 2 / p[frequent]).sum())
    dof = int(frequent.sum()) - 1
    for lag in range(1, n_draws // 2):
        before, after = visited[:-lag].ravel(), visited[lag:].ravel()
        use = (before == after) & frequent[before]
        rho = (np.sum(1.0 / p[before[use]]) / before.size - baseline) / dof
        noise = 1.0 / np.sqrt(dof * before.size)
        if rho < 2 * noise:
            break
        tau += 2 * float(rho)
    return tau
