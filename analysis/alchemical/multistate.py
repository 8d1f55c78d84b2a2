"""MBAR and neighbouring BAR over windows; the estimators are pymbar's, in units of k_BT."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from ase.units import kB

from ..._pymbar import quiet_pymbar
from ...alchemical_records import Windows
from ...errors import ConvergenceError
from ..stability.mbar import LEAST_OVERLAP
from .bennett import Bennett, bennett, correlated_error, inefficiency, solve_bennett
from .crooks import logistic_fit
from .switching_result import Measured

__all__ = [
    "Multistate",
    "boltzmann_slope",
    "chained",
    "in_time",
    "multistate",
    "neighbours",
    "reduced_draws",
]


class Multistate(NamedTuple):
    """Free energies of all windows from the first, [k], and of what they were made.

    ``overlap`` [k, k] is pymbar's overlap matrix, whose rows add up to 1.
    """

    f: np.ndarray
    error: np.ndarray
    overlap: np.ndarray


def reduced_draws(windows: Windows, masks: list[np.ndarray]) -> list[np.ndarray]:
    """u_l − u_k of the draws of each window k that are kept, [n, l] each."""
    kt = kB * windows.temperature
    parts = []
    for k, mask in enumerate(masks):
        energies = windows.energies[k][mask]
        parts.append((energies - energies[:, [k]]) / kt)
    return parts


def neighbours(draws: list[np.ndarray], couplings: np.ndarray) -> list[Bennett]:
    """Bennett's acceptance ratio of every two neighbouring windows.

    Raises
    ------
    ConvergenceError
        If two neighbours have less than one draw in common and overlap too little.
    """
    found = []
    for k in range(len(draws) - 1):
        pair = bennett(draws[k][:, k + 1], draws[k + 1][:, k])
        if pair.overlap < LEAST_OVERLAP and pair.shared < 1.0:
            a, b = couplings[k], couplings[k + 1]
            raise ConvergenceError(
                f"the windows at s = {a:.4g} and {b:.4g} overlap by {pair.overlap:.2g} (at least "
                f"{LEAST_OVERLAP:g} is needed) and share {pair.shared:.2g} of their draws; add a "
                f"window at {0.5 * (a + b):.4g}"
            )
        found.append(pair)
    return found


def chained(pairs: list[Bennett], n_chains: int) -> tuple[float, float, float]:
    """Sum of the neighbours' Δf, its error, and how much correlations widened that.

    A window between two others adds to both with one influence, the sum of both. Draws that were
    thinned by g still have e^{−2} or so in common with the next, which the last number tells.
    """
    after = [pair.influence[0] for pair in pairs] + [np.zeros(1)]
    before = [np.zeros(1)] + [pair.influence[1] for pair in pairs]
    parts = [(a + b).reshape(n_chains, -1).T for a, b in zip(before, after, strict=True)]
    variance = sum(float((part**2).sum()) for part in parts)
    widened = correlated_error(parts, inefficiency)
    return sum(pair.f for pair in pairs), widened * float(np.sqrt(variance)), widened


def boltzmann_slope(draws: list[np.ndarray], widened: float) -> Measured:
    """Slope of ln(p_{k+1}/p_k) in u_k − u_{k+1}, over all neighbours: 1 for Boltzmann's weights.

    The windows obey Crooks' theorem with steps of no time, so any other slope tells of another
    temperature, or of chains that sample something else (M. R. Shirts, J. Chem. Theory Comput. 9,
    909 (2013), doi:10.1021/ct300688p). Pairs have draws in common, so the error of their weighted
    mean is taken √2 times as large.
    """
    fits = [logistic_fit(a[:, k + 1], b[:, k]) for k, (a, b) in enumerate(pairwise(draws))]
    slopes, errors = np.array(fits).T
    known = np.isfinite(errors)
    weights = 1.0 / errors[known] ** 2
    if not known.any():
        return Measured(np.nan, np.nan)
    mean = float(weights @ slopes[known] / weights.sum())
    return Measured(mean, widened * float(np.sqrt(2.0 / weights.sum())))


def multistate(draws: list[np.ndarray]) -> Multistate:
    """Solve MBAR (M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008)).

    doi:10.1063/1.2978177.

    Raises
    ------
    ConvergenceError
        If the solver finds no solution, or its weights do not add up to 1.
    """
    numbers = np.array([len(part) for part in draws])
    u_kn = np.concatenate(draws).T
    steps = [solve_bennett(draws[k][:, k + 1], draws[k + 1][:, k]) for k in range(len(draws) - 1)]
    start = np.nan_to_num(np.concatenate([[0.0], np.cumsum(steps)]))
    try:
        with np.errstate(all="ignore"):
            mbar = quiet_pymbar().MBAR(
                u_kn, numbers, initial_f_k=start, solver_protocol="robust", rseed=0
            )
            differences = mbar.compute_free_energy_differences()
            overlap = np.asarray(mbar.compute_overlap()["matrix"])
            weights = np.asarray(mbar.weights().sum(axis=0))
    except Exception as error:
        raise ConvergenceError(
            f"MBAR found no solution ({error}): add draws, or windows between those there are"
        ) from error
    if not np.abs(weights - 1.0).max() < 1e-5:
        worst = int(np.nan_to_num(np.abs(weights - 1.0), nan=np.inf).argmax())
        raise ConvergenceError(
            f"MBAR did not converge: the weights of window {worst} add up to "
            f"{weights[worst]:.6g}; add draws, or windows between those there are"
        )
    f, errors = differences["Delta_f"][0], differences["dDelta_f"][0]
    return Multistate(np.asarray(f), np.nan_to_num(np.asarray(errors)), overlap)


def in_time(windows: Windows, masks: list[np.ndarray], fractions: np.ndarray) -> np.ndarray:
    """Δf and its error from a part of the draws, [way, fraction, 2]: from the first, to the last.

    NaN where such a part has no solution.
    """
    found = np.full((2, len(fractions), 2), np.nan)
    n = windows.n_draws
    for i, fraction in enumerate(fractions):
        length = max(round(fraction * n), 1)
        for way, part in enumerate((slice(None, length), slice(n - length, None))):
            chosen = [np.zeros_like(mask) for mask in masks]
            for mask, mine in zip(masks, chosen, strict=True):
                mine[:, part] = mask[:, part]
            draws = reduced_draws(windows, chosen)
            if min(map(len, draws)) < 2:
                continue
            try:
                solution = multistate(draws)
            except ConvergenceError:
                continue
            found[way, i] = solution.f[-1], solution.error[-1]
    return found
