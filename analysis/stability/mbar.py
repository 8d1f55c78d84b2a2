"""MBAR over the points of runs: temperatures, chemical potentials and constraints at once.

The estimator is pymbar's. What is added: reduced potentials of all ensembles, a check that the
points hang together, phases that were sampled one at a time, and errors from blocks of draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logsumexp
from scipy.stats import t as student

from ..._pymbar import quiet_pymbar
from ...errors import ConvergenceError
from ..wording import with_error
from .pool import Pool

__all__ = ["LEAST_OVERLAP", "Solution", "resolved", "solved"]

LEAST_OVERLAP = 0.03
"""Two points that share less than this are not neighbours: the least off-diagonal element of the
overlap matrix of two states (0.5 where they are the same) that is advised by P. V. Klimovich,
M. R. Shirts and D. L. Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015),
doi:10.1007/s10822-015-9840-9."""

_PAIR_DRAWS = 300
_SAME_ENERGY = 1e-8  # eV
_CHANCE = 1e-5
"""Probability that points which agree are said to contradict one another."""


class Solution(NamedTuple):
    """Free energies of the states and what every draw weighs.

    ``f`` [n_states] are the states' dimensionless free energies but for a constant. By draw, or by
    kind of draw: ``enthalpy`` (eV) and ``composition``; ``log_mixture``, with which it stands for
    1/D of the measure, D = Σ_k N_k e^{f_k − u_k(x)}; ``multiplicity``, how often there is such a
    one. ``kind`` [n_draws] is the kind of every draw of the pool, ``number`` [n_draws] how often it
    was drawn.
    """

    f: np.ndarray
    enthalpy: np.ndarray
    composition: np.ndarray
    log_mixture: np.ndarray
    multiplicity: np.ndarray
    kind: np.ndarray
    number: np.ndarray


def solved(pool: Pool) -> Solution:
    """Solve the equations of MBAR by pymbar.

    M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), doi:10.1063/1.2978177.

    Raises
    ------
    ConvergenceError
        If points do not overlap, the solver does not converge, or a point contradicts the others:
        it was sampled in another phase than the one that is stable there.
    """
    start = _linked(pool)
    f, log_mixture = _mbar(pool, start)
    ones = np.ones(len(pool.state))
    solution = Solution(
        f, pool.enthalpy, pool.composition, log_mixture, ones, np.arange(len(ones)), ones
    )
    _agreement(pool, solution)
    return solution


def resolved(
    pool: Pool, solution: Solution, resamples: int, rng: np.random.Generator
) -> Iterator[Solution]:
    """Solutions of resampled draws, whose spread is the error of anything that is made of them.

    Blocks of every state are drawn with replacement, each time one fewer than there are, which
    makes the variance of a mean unbiased (J. N. K. Rao and C. F. J. Wu, J. Am. Stat. Assoc. 83,
    231 (1988), doi:10.1080/01621459.1988.10478591).
    """
    owned = [np.flatnonzero(pool.state_of_block == k) for k in range(len(pool.beta))]
    # Draws of one energy and composition weigh the same: there are few such kinds on a lattice.
    key = np.stack([np.round(pool.enthalpy / _SAME_ENERGY), pool.composition])
    _, first, kind = np.unique(key, axis=1, return_index=True, return_inverse=True)
    kind = kind.reshape(-1)
    ln_d = solution.log_mixture[first]
    with np.errstate(under="ignore"):
        weights = np.exp(solution.f[:, None] - pool.reduced(slice(None), first) - ln_d)
    for _ in range(resamples):
        times = np.zeros(len(pool.state_of_block), dtype=int)
        for mine in owned:
            np.add.at(times, rng.choice(mine, size=max(1, len(mine) - 1)), 1)
        number = times[pool.block].astype(float)
        multiplicity = np.bincount(kind, number, len(first))
        numbers = np.bincount(pool.state, number, len(pool.beta))
        shift, mixture = _newton(weights, multiplicity, numbers)
        yield Solution(
            solution.f + shift, pool.enthalpy[first], pool.composition[first],
            ln_d + np.log(mixture), multiplicity, kind, number,
        )  # fmt: skip


def _newton(
    weights: np.ndarray, multiplicity: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solve MBAR for draws that count several times, near a solution with these weights.

    With W_kn = e^{f_k − u_k(x_n)}/D_n of the solution nearby, the resampled D′_n/D_n is
    Σ_k N_k e^{δ_k} W_kn, and δ follows from Σ_n m_n N_k e^{δ_k} W_kn D_n/D′_n = N_k by Newton's
    method; δ of the first state is zero.
    """
    shift = np.zeros(len(numbers))
    for _ in range(60):
        parts = (numbers * np.exp(shift))[:, None] * weights
        mixture = parts.sum(axis=0)
        parts /= mixture
        sums = parts @ multiplicity
        if np.abs(sums / numbers - 1.0).max() < 1e-8:
            return shift, mixture
        hessian = np.diag(sums) - (parts * multiplicity) @ parts.T
        step = np.linalg.lstsq(hessian[1:, 1:], (numbers - sums)[1:], rcond=None)[0]
        shift[1:] += np.clip(step, -2.0, 2.0)
    raise ConvergenceError(
        "MBAR did not converge for a resample of the draws: points hang together by few of them; "
        "add draws, or points between those there are"
    )


def _linked(pool: Pool) -> np.ndarray:
    """First free energies, from pairs of points that overlap; refused where they do not connect."""
    from scipy.sparse import csgraph, csr_array  # noqa: PLC0415  (slow to import)

    k = len(pool.beta)
    draws = [np.flatnonzero(pool.state == i) for i in range(k)]
    few = [d[np.linspace(0, len(d) - 1, min(len(d), _PAIR_DRAWS)).astype(int)] for d in draws]
    overlap, difference = np.zeros((k, k)), np.zeros((k, k))
    own = [pool.reduced(slice(None), d) for d in few]
    for i, j in combinations(range(k), 2):
        both = _bennett(own[i][j] - own[i][i], own[j][j] - own[j][i])
        overlap[i, j], difference[i, j] = both
    difference -= difference.T
    graph = csr_array(np.where(overlap >= LEAST_OVERLAP, 1.0 - overlap, 0.0))
    parts, part = csgraph.connected_components(graph, directed=False)
    if parts > 1:
        _refuse_gap(pool, overlap + overlap.T, part)
    tree = csgraph.minimum_spanning_tree(graph)
    order, before = csgraph.breadth_first_order(tree, 0, directed=False)
    f = np.zeros(k)
    for node in order[1:]:
        f[node] = f[before[node]] + difference[before[node], node]
    return f


def _bennett(forward: np.ndarray, backward: np.ndarray) -> tuple[float, float]:
    """Overlap of two states and their Δf by Bennett's acceptance ratio.

    Both arguments are u₂ − u₁, of the draws of state 1 and of state 2 (C. H. Bennett, J. Comput.
    Phys. 22, 245 (1976), doi:10.1016/0021-9991(76)90078-4). The overlap is Σ_n p₁(n) p₂(n) over the
    smaller number of draws, with p_i(n) the probability that the draw n came from i.
    """
    ratio = np.log(len(backward) / len(forward))
    apart = np.clip(np.concatenate([forward, backward]), -1e6, 1e6)

    def excess(f: float) -> float:
        return float(expit(f + ratio - apart).sum() - len(backward))

    low, high = float(apart.min()) - ratio - 40.0, float(apart.max()) - ratio + 40.0
    f = brentq(excess, low, high, xtol=1e-6)
    p = expit(f + ratio - apart)
    return float((p * (1.0 - p)).sum() / min(len(forward), len(backward))), f


def _refuse_gap(pool: Pool, overlap: np.ndarray, part: np.ndarray) -> None:
    """Name the two points that come nearest to closing the gap."""
    across = np.where(part[:, None] != part, overlap, -1.0)
    i, j = np.unravel_index(int(across.argmax()), across.shape)
    if across[i, j] < 1e-6:  # nothing to choose by: the nearest mean composition and temperature
        x = np.array([pool.compositions[pool.composition[pool.state == k]].mean(axis=0)
                      for k in range(len(part))]) / pool.compositions.sum(axis=1).max()  # fmt: skip
        far = np.abs(x[:, None] - x).max(axis=2) + np.abs(np.log(
            np.maximum(pool.beta[:, None], 1e-9) / np.maximum(pool.beta, 1e-9)))  # fmt: skip
        far[part[:, None] == part] = np.inf
        i, j = np.unravel_index(int(far.argmin()), far.shape)
    names = {n for p in pool.observed.points for n in p.coordinates}
    remedy = "add temperatures between them"
    if any(n.startswith("phi_") for n in names):
        remedy = _wider_constraint(pool)
    elif any(n.startswith("mu_") for n in names):
        remedy = (
            "add points between them; across a first-order jump give cut= between the phases, or "
            "sample VarianceConstrained, which goes through the gap"
        )
    raise ConvergenceError(
        f"the points fall into {part.max() + 1} groups that share too few states: the nearest are "
        f"{pool.labels[i]} and {pool.labels[j]}, which overlap by {max(overlap[i, j], 0.0):.2g} "
        f"(at least {LEAST_OVERLAP:g} is needed); {remedy}"
    )


def _wider_constraint(pool: Pool) -> str:
    """Say which steps in φ overlap: 5/√(κN_s), 3.5 times the σ = 2/√(2κN_s) of φ = −2c."""
    held = [
        (scalars.get(f"kappa_{name}", scalars.get("kappa", 0.0)), size)
        for scalars in (p.coordinates for p in pool.observed.points)
        for name, size in pool.observed.sizes.items()
        if any(n.startswith(f"phi_{name}_") for n in scalars)
    ]
    kappa, size = max(held, key=lambda row: row[0] * row[1])
    if kappa > 2 * size:  # σ is below a step between compositions
        return f"lower κ: {kappa:g} holds single compositions of {size} sites, {size} would do"
    step = 5.0 / np.sqrt(kappa * size)
    return f"add values of φ between them, or lower κ (they overlap at {step:.2g} apart)"


def _mbar(pool: Pool, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve for f of the states, and give ln D of the draws."""
    numbers = np.bincount(pool.state, minlength=len(pool.beta))
    u_kn = pool.reduced(slice(None), slice(None))
    # States of other phases have no weight; the solver wants a number.
    finite = np.where(np.isfinite(u_kn), u_kn, u_kn[np.isfinite(u_kn)].max() + 1e4)
    try:
        with np.errstate(all="ignore"):
            f = quiet_pymbar().MBAR(
                finite, numbers, initial_f_k=start.copy(), solver_protocol="robust", rseed=0
            ).f_k  # fmt: skip
    except Exception as error:
        raise ConvergenceError(
            f"MBAR found no solution ({error}): add draws, or points between those there are"
        ) from error
    log_mixture = logsumexp((f + np.log(numbers))[:, None] - u_kn, axis=0)
    missing = np.exp(logsumexp(f[:, None] - u_kn - log_mixture, axis=1)) - 1.0
    if not np.abs(missing).max() < 1e-5:
        worst = int(np.nan_to_num(np.abs(missing), nan=np.inf).argmax())
        raise ConvergenceError(
            f"MBAR did not converge: the weights of {pool.labels[worst]} add up to "
            f"{1 + missing[worst]:.6g}; add draws, or points between those there are"
        )
    return f, log_mixture


def _agreement(pool: Pool, solution: Solution) -> None:
    """Refuse a point whose own means differ from those that all points give for it."""
    held = pool.compositions[pool.composition].astype(float).T
    series = [("energy", pool.enthalpy, " eV per cell")]
    series += [
        (f"number of {k}", held[n], " per cell") for n, (_, k) in enumerate(pool.observed.kinds)
    ]
    for k, label in enumerate(pool.labels):
        mine = np.flatnonzero(pool.state == k)
        u = pool.reduced(np.array([k]), slice(None))[0]
        weights = np.exp(solution.f[k] - u - solution.log_mixture)
        weights /= weights.sum()
        block = np.unique(pool.block[mine], return_inverse=True)[1]
        limit = student.isf(_CHANCE / len(pool.labels), max(int(block.max()), 1))
        for what, values, unit in series:
            expected = float(weights @ values)
            variance = float(weights @ (values - expected) ** 2)
            mean, error = _block_mean(values[mine], block, variance)
            if abs(mean - expected) > limit * error + 1e-6 * max(1.0, abs(mean)):
                raise ConvergenceError(
                    f"{label} has a mean {what} of {mean:,.6g}, where all points together give "
                    f"{with_error(expected, error)}{unit}: it was sampled in another phase than "
                    "the stable one, or not long enough; give cut= between the phases, or more "
                    "draws"
                )


def _block_mean(series: np.ndarray, block: np.ndarray, variance: float) -> tuple[float, float]:
    """Mean of a point's draws and its standard error, from blocks and from what was expected.

    The larger of the scatter of the blocks, and of the error of draws of the expected variance
    that are as correlated as these: where few draws differ at all, blocks scatter too little.
    """
    sizes, n = np.bincount(block).astype(float), len(series)
    mean = float(series.mean())
    means = np.bincount(block, series) / sizes
    scatter = float((sizes * (means - mean) ** 2).sum()) / n / max(len(sizes) - 1.0, 1.0)
    own, longest = float(series.var()), float(n / len(sizes))
    inefficiency = min(max(scatter * n / own, 1.0), longest) if own > 0 else longest
    return mean, float(np.sqrt(max(scatter, inefficiency * variance / n)))
