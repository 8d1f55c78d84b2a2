"""Chains against enumeration: the χ² test that decides whether a kernel is exact."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from alchemc import sampler


class Verdict(NamedTuple):
    """``p_value`` of χ² of ``draws`` against the exact distribution.

    ``tau`` is 1 + 2Σρ of the draws in the metric of χ² (below), so ``effective_draws`` is draws/τ;
    ``p_value`` is that of χ²/τ. There are ``thin`` steps between draws.
    """

    p_value: float
    draws: int
    effective_draws: float
    tau: float
    thin: int
    acceptance: float


def compare(
    kernel,
    table,
    *,
    draws: int = 100_000,
    n_replicas: int = 2_500,
    longest_thin: int = 40,
    seed: int = 0,
) -> Verdict:
    """Run ``kernel`` on a TabulatedHamiltonian and compare the visited states with the exact law.

    Many chains start at random states. A pilot measures how long they remember (below); they then
    forget their start over some more times as long and give a draw every second of these times.
    The autocorrelation that is left is measured where it matters for χ²:

        ρ(t) = (⟨1[x_s = x_(s+t)]/p(x_s)⟩ − Σ q²/p)/(n_states − 1),

    with q the visited frequencies: the mean autocorrelation of all functions of the state that are
    orthonormal under p. χ² of a correlated series is τ = 1 + 2Σρ(t) times too large on average.
    """
    p = table.probabilities(kernel.ensemble.temperature)
    rngs = sampler.spawn_generators(seed, n_replicas)
    starts = np.random.default_rng([seed, 1]).integers(len(table.states), size=n_replicas)
    state = kernel.init(table.states[starts], rngs)
    state, _ = sampler.draw_block(kernel, state, rngs, 1, 40)
    state, pilot = sampler.draw_block(kernel, state, rngs, 50)
    memory = _chi_square_tau(_visited(table, pilot), p)
    thin = int(np.clip(np.ceil(2 * memory), 2, longest_thin))
    state, _ = sampler.draw_block(kernel, state, rngs, 1, 5 * thin)
    _, block = sampler.draw_block(kernel, state, rngs, draws // n_replicas, thin)
    visited = _visited(table, block)
    tau = _chi_square_tau(visited, p)
    statistic, dof = _chi_square(np.bincount(visited.ravel(), minlength=len(p)), p)
    return Verdict(
        p_value=float(chi2.sf(statistic / tau, dof)),
        draws=visited.size,
        effective_draws=visited.size / tau,
        tau=tau,
        thin=thin,
        acceptance=float(block["acceptance"].mean()),
    )


def _visited(table, block) -> np.ndarray:
    """Index of every drawn state, [n_draws, n_chains]."""
    return np.stack([table.index(occupations) for occupations in block["occupation"]])


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
