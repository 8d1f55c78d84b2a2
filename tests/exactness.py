"""Chains against enumeration: the χ² test that decides whether a kernel is exact."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from alchemc import sampler

_BATCH = 5_000


class Verdict(NamedTuple):
    """``p_value`` of χ² of ``draws`` independent states against the exact distribution.

    ``acceptance`` is the accepted fraction of all steps; ``moved`` the fraction of chains that
    ended elsewhere than they started.
    """

    p_value: float
    draws: int
    acceptance: float
    moved: float


def compare(kernel, table, *, draws: int = 100_000, steps: int = 15, seed: int = 0) -> Verdict:
    """Run one chain per draw on a TabulatedHamiltonian; compare the ends with the exact law.

    The law is the ensemble's own over the states of the table, whichever ensemble it is.
    Every chain starts at an independent draw from the exact distribution and takes ``steps`` steps.
    An exact kernel leaves the distribution as it is, whatever its relaxation time, so the ends are
    ``draws`` independent draws and χ² needs no correction; a wrong kernel drifts towards another.
    (Long chains from random starts are no better a test: with relaxation times of 300 steps, which
    occur here, they are refused for what they remember.) That a kernel reaches every state is
    tested apart.
    """
    p = probabilities(kernel.ensemble, table)
    starts = np.random.default_rng([seed, 1]).choice(len(p), size=draws, p=p)
    ends, accepted = np.empty(draws, dtype=np.int64), 0.0
    for first in range(0, draws, _BATCH):
        chains = slice(first, min(first + _BATCH, draws))
        rngs = sampler.spawn_generators(seed, chains.stop - first, first)
        state = kernel.init(table.states[starts[chains]], rngs)
        state, block = sampler.draw_block(kernel, state, rngs, 1, steps)
        ends[chains] = table.index(state.occupations)
        accepted += block["acceptance"].sum()
    statistic, dof = _chi_square(np.bincount(ends, minlength=len(p)), p)
    return Verdict(
        p_value=float(chi2.sf(statistic, dof)),
        draws=draws,
        acceptance=float(accepted / draws),
        moved=float((ends != starts).mean()),
    )


def probabilities(ensemble, table) -> np.ndarray:
    """Exact probabilities of the states of a TabulatedHamiltonian in an ensemble."""
    log_density = ensemble.log_density(table.energies, table.states)
    weights = np.exp(log_density - log_density.max())
    return weights / weights.sum()


def _chi_square(counts: np.ndarray, p: np.ndarray) -> tuple[float, int]:
    """χ² and its degrees of freedom; states expected fewer than ten times are taken together."""
    expected = p * counts.sum()
    rare = expected < 10
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0
    terms = (observed[kept] - expected[kept]) ** 2 / expected[kept]
    return float(terms.sum()), int(kept.sum()) - 1
