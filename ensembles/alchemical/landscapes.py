"""Biases that flatten the landscape of continuous λ, from the draws or slopes of trajectories."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import units
from scipy.optimize import minimize

from ...errors import InputError
from ...sublattice import is_number, is_whole, shown
from ._terms import Spread, coupled, features, slopes_of_features, terms
from .biases import Biases
from .groups import Groups

__all__ = ["Flattened", "biases_from_slopes", "flatten_biases", "next_biases", "unevenness"]

_RIDGE = 0.02
_LEAST_SHARE = 0.1
_RANK = 1e-9


class Flattened(NamedTuple):
    """What rounds of flattening came to.

    ``biases`` to sample with; ``unevenness`` of the draws of every round, largest over the groups;
    ``flat``, whether the last was below the tolerance.
    """

    biases: Biases
    unevenness: tuple[float, ...]
    flat: bool


def flatten_biases(
    draw: Callable[[Biases], np.ndarray],
    biases: Biases,
    reference: np.ndarray,
    temperature: float,
    *,
    rounds: int = 10,
    tolerance: float = 0.1,
    couplings: bool = False,
    largest: float = 5.0,
) -> Flattened:
    """Sample and flatten by turns until λ is distributed as the reference.

    Parameters
    ----------
    draw
        Called with biases, returns λ [draw, group, species] that were sampled with them.
    biases
        To start from.
    reference, temperature, couplings, largest
        As in `next_biases`.
    rounds
        At most so many.
    tolerance
        `unevenness` at which it ends; the biases that reached it are returned.

    Raises
    ------
    InputError
        If an argument cannot be used.
    """
    if not is_whole(rounds, least=1):
        raise InputError(f"rounds is {shown(rounds)}; give a whole number, 1 or more")
    found: list[float] = []
    for _ in range(rounds):
        lam = draw(biases)
        found.append(float(unevenness(lam, reference, couplings=couplings).max()))
        if found[-1] <= tolerance:
            return Flattened(biases, tuple(found), True)
        biases = next_biases(
            biases, lam, reference, temperature, couplings=couplings, largest=largest
        )
    return Flattened(biases, tuple(found), False)


def next_biases(
    biases: Biases,
    lam: np.ndarray,
    reference: np.ndarray,
    temperature: float,
    *,
    couplings: bool = False,
    largest: float = 5.0,
) -> Biases:
    r"""Biases under which λ would be spread more like the reference, from draws with ``biases``.

    For every group, the change δ of the coefficients of the features f (linear, quadratic and
    end-point terms) is the minimum of the convex

    .. math:: Ω(δ) = \ln \big\langle e^{−βδ·(f(λ) − \bar f)} \big\rangle ,

    the average over the draws: there, the reweighted mean of every feature is that of the
    reference, :math:`\bar f` (Valsson and Parrinello 2014, doi:10.1103/PhysRevLett.113.090601). It
    is held back where the draws do not tell: a small quadratic term, at least a tenth of them
    effective after reweighting, and no more than ``largest`` k_BT over the reference at once, as in
    the rounds of adaptive landscape flattening (Hayes et al. 2017,
    doi:10.1021/acs.jpcb.6b09656).

    Parameters
    ----------
    biases
        That λ was sampled with.
    lam
        [draw, group, species], or [draw, chain, group, species].
    reference
        λ of the distribution that is wanted, [n, species] or [n, group, species]: draws at zero
        potential, of the density that the map of λ has by itself.
    temperature
        K.
    couplings
        Whether pairs of groups are flattened, too.
    largest
        Change of the bias of a group within its range, in k_BT.

    Raises
    ------
    InputError
        If a shape or a number cannot be used.
    """
    lam, reference = _checked(biases.groups, lam, reference)
    if not is_number(largest) or largest <= 0:
        raise InputError(f"largest is {shown(largest)}; give a number of k_BT above 0")
    kT = units.kB * temperature
    own = [
        kT * _change(features(lam[:, g]), features(reference[:, g]), float(largest))
        for g in range(lam.shape[1])
    ]
    added = terms(biases.groups, np.array(own))
    if couplings:
        spreads = [Spread.of(reference[:, g]) for g in range(lam.shape[1])]
        more = coupled(biases.groups, spreads, lam)
        share = min(1.0, largest / max(np.ptp(more["coupling"]), 1e-300))
        for name, values in more.items():
            added[name] = added.get(name, 0.0) + kT * share * values
    return biases.plus(**added)


def unevenness(lam: np.ndarray, reference: np.ndarray, *, couplings: bool = False) -> np.ndarray:
    r"""How far the features of λ are from those of the reference, [n_groups].

    .. math:: \sqrt{(\bar f_λ − \bar f)^T C^{-1} (\bar f_λ − \bar f)/r}

    with C the covariance of the features in the reference, of rank r: 0 where all means agree,
    about 1 where λ stays at one of its ends.

    Parameters
    ----------
    lam
        [draw, group, species], or [draw, chain, group, species].
    reference
        [n, species] or [n, group, species].
    couplings
        Whether the products of the λ of pairs of groups are looked at, too, where they are more
        uneven than the groups by themselves.
    """
    lam = np.nan_to_num(_by_draw(lam))
    reference = _of_groups(np.nan_to_num(np.asarray(reference, dtype=np.float64)), lam.shape[1])
    found = []
    for group in range(lam.shape[1]):
        mean, axes = _axes(features(reference[:, group]))
        found.append(_root(((features(lam[:, group]) - mean) @ axes).mean(axis=0)))
    if couplings:
        linear = [_axes(reference[:, g]) for g in range(lam.shape[1])]
        units_of = [(lam[:, g] - mean) @ axes for g, (mean, axes) in enumerate(linear)]
        for g, h in zip(*np.triu_indices(lam.shape[1], 1), strict=True):
            pair = _root(units_of[g].T @ units_of[h] / len(lam))
            found[g], found[h] = max(found[g], pair), max(found[h], pair)
    return np.array(found)


def _root(apart: np.ndarray) -> float:
    return float(np.sqrt((apart**2).mean()))


def biases_from_slopes(
    groups: Groups, lam: np.ndarray, slopes: np.ndarray, *, couplings: bool = False
) -> Biases:
    r"""Biases opposed to the mean slope ⟨∂E/∂λ⟩ along a trajectory.

    The average of ∂E/∂λ over positions at given λ is the slope of the free energy there, whatever
    biases the trajectory had. The coefficients a of the features f minimise

    .. math:: \sum_n \big| P\, \big[ ∂E/∂λ_n + \sum_p a_p\, ∂f_p/∂λ_n \big] \big|^2

    with P the projection on the simplex (whose weights sum to one). It needs no crossing of
    barriers, only λ along the way; λ that are not visited are extrapolated to.

    Parameters
    ----------
    groups
        Sites that share a λ.
    lam, slopes
        λ and ∂E/∂λ in eV without any bias, [draw, group, species] or [draw, chain, group, species];
        what a species has that a group may not hold does not matter. Chemical potentials belong
        to the landscape: take ∂E/∂λ − μ n of a group of n sites.
    couplings
        Whether the slopes' dependence on the λ of other groups becomes couplings.

    Raises
    ------
    InputError
        If shapes differ or numbers are not finite.
    """
    lam, _ = _checked(groups, lam, _by_draw(lam))
    slopes = _by_draw(slopes)
    if slopes.shape == lam.shape:
        slopes = np.where(groups.allowed, slopes, 0.0)
    if slopes.shape != lam.shape or not np.isfinite(slopes).all():
        raise InputError(f"slopes have shape {slopes.shape}: give finite ones, {lam.shape}")
    n_groups, n = groups.allowed.shape
    design = _slopes_of_terms(lam, couplings)
    share = groups.allowed / groups.allowed.sum(axis=1, keepdims=True)
    project = groups.allowed[:, :, None] * (np.eye(n) - share[:, None, :])
    design = np.einsum("gkm,ngmq->ngkq", project, design)
    wanted = -np.einsum("gkm,ngm->ngk", project, slopes)
    found = np.linalg.lstsq(design.reshape(-1, design.shape[-1]), wanted.ravel(), rcond=_RANK)[0]
    n_own = n_groups * features(lam[:1, 0]).shape[-1]
    made = terms(groups, found[:n_own].reshape(n_groups, -1))
    if couplings:
        made["coupling"] = _symmetric(found[n_own:].reshape(-1, n, n), groups)
    return Biases(groups).plus(**made)


def _slopes_of_terms(lam: np.ndarray, couplings: bool) -> np.ndarray:
    """∂/∂λ [draw, group, species] of every feature of every group, and of every coupling."""
    draws, n_groups, n = lam.shape
    own = np.swapaxes(slopes_of_features(lam), -1, -2)
    width = own.shape[-1]
    design = np.zeros((draws, n_groups, n, n_groups * width))
    for group in range(n_groups):
        design[:, group, :, group * width : (group + 1) * width] = own[:, group]
    if not couplings:
        return design
    first, second = np.triu_indices(n_groups, 1)
    pairs = np.zeros((draws, n_groups, n, len(first), n, n))
    for pair, (g, h) in enumerate(zip(first, second, strict=True)):
        for k in range(n):
            pairs[:, g, k, pair, k, :] = lam[:, h]
            pairs[:, h, k, pair, :, k] = lam[:, g]
    return np.concatenate([design, pairs.reshape(draws, n_groups, n, -1)], axis=-1)


def _symmetric(pairs: np.ndarray, groups: Groups) -> np.ndarray:
    """Array of couplings from those of every pair g < h, [n_pairs, K, K]."""
    n_groups, n = groups.allowed.shape
    coupling = np.zeros((n_groups, n, n_groups, n))
    for part, g, h in zip(pairs, *np.triu_indices(n_groups, 1), strict=True):
        there = np.where(groups.allowed[g][:, None] & groups.allowed[h], part, 0.0)
        coupling[g, :, h], coupling[h, :, g] = there, there.T
    return coupling


def _change(values: np.ndarray, wanted: np.ndarray, largest: float) -> np.ndarray:
    """Coefficients of features that make those of [n, P] as wanted, in k_BT."""
    mean, axes = _axes(wanted)
    here, range_of = (values - mean) @ axes, (wanted - mean) @ axes

    def functional(a: np.ndarray) -> tuple[float, np.ndarray]:
        log_weights = -here @ a
        top = log_weights.max()
        weights = np.exp(log_weights - top)
        slope = -(weights @ here) / weights.sum() + _RIDGE * a
        return float(top + np.log(weights.mean()) + 0.5 * _RIDGE * a @ a), slope

    found = minimize(functional, np.zeros(here.shape[1]), jac=True, method="BFGS").x
    found = found * min(1.0, largest / max(np.ptp(range_of @ found), 1e-300))
    while _effective_share(-here @ found) < _LEAST_SHARE:
        found = 0.7 * found
    return np.asarray(axes @ found)


def _effective_share(log_weights: np.ndarray) -> float:
    """Kish's effective share of weighted draws."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights))


def _axes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of features [n, P], and axes [P, r] along which they have unit variance."""
    mean = values.mean(axis=0)
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(values, rowvar=False, bias=True)))
    kept = variances > _RANK * variances.max()
    return mean, directions[:, kept] / np.sqrt(variances[kept])


def _checked(
    groups: Groups, lam: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    lam = _by_draw(lam)
    if lam.ndim != 3 or lam.shape[1:] != groups.allowed.shape or len(lam) < 2:
        raise InputError(
            f"λ has shape {lam.shape}: give [draw, group, species] of {groups.allowed.shape}"
        )
    found = _of_groups(np.asarray(reference, dtype=np.float64), lam.shape[1])
    if found.shape[1:] != lam.shape[1:] or len(found) < 2:
        raise InputError(
            f"the reference has shape {np.shape(reference)}: give λ [n, species] or "
            "[n, group, species]"
        )
    lam, found = (np.where(groups.allowed, values, 0.0) for values in (lam, found))
    if not (np.isfinite(lam).all() and np.isfinite(found).all()):
        raise InputError("λ holds what is not finite: leave such draws out")
    return lam, found


def _by_draw(values: np.ndarray) -> np.ndarray:
    """Draws of all chains one after the other, where there are chains."""
    values = np.asarray(values, dtype=np.float64)
    return values.reshape(-1, *values.shape[2:]) if values.ndim == 4 else values


def _of_groups(reference: np.ndarray, n_groups: int) -> np.ndarray:
    """Give every group its reference, [n, group, species]."""
    if reference.ndim == 2:
        return np.repeat(reference[:, None], n_groups, axis=1)
    return reference
