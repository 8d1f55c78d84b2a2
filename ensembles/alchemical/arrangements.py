"""Which states of groups an ensemble allows, and sums over all of them."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...protocols import Ensemble, Generators
from ..canonical import Canonical
from ..charge_neutral import ChargeNeutral
from ..semi_grand import SemiGrandCanonical
from ..variance_constrained import VarianceConstrained
from .groups import Groups

__all__ = ["Arrangements", "Block", "kept_by"]


class Block(NamedTuple):
    """Groups whose steps add up to a total that stays.

    ``groups`` int64 [b]; ``steps`` int64 [b, n_species_max, d], none negative: what a species of a
    group adds to each of d totals.
    """

    groups: np.ndarray
    steps: np.ndarray


def kept_by(ensemble: Ensemble, groups: Groups) -> tuple[Block, ...]:
    """Return what an ensemble keeps, as blocks of groups.

    Raises
    ------
    InputError
        If the ensemble is one of another lattice, or says that sites are not free without naming
        what it keeps.
    """
    if ensemble.lattice != groups.lattice:
        raise InputError(
            "the ensemble's lattice differs from the groups': build both from one Lattice"
        )
    fixed = set(getattr(ensemble, "fixed", ()))
    names = groups.lattice.names
    sublattice = groups.sublattice_of_group
    blocks = [
        _counts(groups, np.flatnonzero(sublattice == n))
        for n, name in enumerate(names)
        if name in fixed and (sublattice == n).any()
    ]
    rest = np.flatnonzero([names[n] not in fixed for n in sublattice])
    if isinstance(ensemble, ChargeNeutral):
        return (*blocks, _charge(groups, rest)) if len(rest) else tuple(blocks)
    free = getattr(ensemble, "free_sites", None)
    known = isinstance(ensemble, Canonical | SemiGrandCanonical | VarianceConstrained)
    if free is not None and not known and not np.asarray(free)[_first(groups)[rest]].all():
        raise InputError(
            f"{type(ensemble).__name__} keeps something that LambdaDynamics does not know: use "
            "Canonical, SemiGrandCanonical, VarianceConstrained or ChargeNeutral, or a kernel of "
            "exchanges"
        )
    return tuple(blocks)


def _first(groups: Groups) -> np.ndarray:
    return np.array([group[0] for group in groups.members])


def _counts(groups: Groups, here: np.ndarray) -> Block:
    """Every species but the last is counted; the last follows."""
    n_species = int(groups.n_species[here[0]])
    steps = np.zeros((len(here), groups.allowed.shape[1], n_species - 1), dtype=np.int64)
    for k in range(n_species - 1):
        steps[:, k, k] = groups.sizes[here]
    return Block(here, steps)


def _charge(groups: Groups, here: np.ndarray) -> Block:
    """Charges above the least of each group, in the largest unit of which all are multiples."""
    charges: Any = groups.lattice.charges
    table = charges[_first(groups)[here]]
    allowed = groups.allowed[here]
    above = table - np.where(allowed, table, np.inf).min(axis=1, keepdims=True)
    above = np.where(allowed, above * groups.sizes[here, None], 0.0)
    exact = [Fraction(float(value)).limit_denominator(60) for value in above.ravel()]
    unit = lcm(*(value.denominator for value in exact))
    whole = np.array([int(value * unit) for value in exact]).reshape(above.shape)
    divisor = max(1, int(np.gcd.reduce(whole.ravel())))
    return Block(here, (whole // divisor)[:, :, None])


class Arrangements:
    r"""Sums over the states y of groups that have the same totals as the present ones.

    For independent factors p_g(y_g), given as logarithms [n, n_groups, n_species_max],

    .. math:: Z = \sum_{y: \text{same totals}} \prod_g p_g(y_g)

    by one pass per block from group to group (dynamic programming over the totals); without totals
    it is a product of sums. With Z come the shares of species, ∂ ln Z/∂ ln p_gk, and exact draws of
    y with the probability Π_g p_g(y_g)/Z.

    Parameters
    ----------
    groups
        Groups whose states are drawn.
    blocks
        What is kept.
    """

    def __init__(self, groups: Groups, blocks: tuple[Block, ...]) -> None:
        self.groups, self.blocks = groups, blocks
        kept = [block.groups for block in blocks]
        bound = np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)
        self.free = np.setdiff1d(np.arange(groups.n_groups), bound)

    def totals(self, states: np.ndarray) -> list[np.ndarray]:
        """Totals [n, d] of every block at states [n, n_groups]."""
        return [
            block.steps[np.arange(len(block.groups)), states[:, block.groups]].sum(axis=1)
            for block in self.blocks
        ]

    def alone(self, states: np.ndarray) -> np.ndarray:
        """Whether no others have the same totals as states [n, n_groups], bool [n]."""
        n = len(states)
        if len(self.free):
            return np.zeros(n, dtype=bool)
        found = np.ones(n, dtype=bool)
        for block, total in zip(self.blocks, self.totals(states), strict=True):
            factors = self.groups.allowed[block.groups].astype(float)
            onward, scales = _backward(block, np.tile(factors, (n, 1, 1)), total)
            number = _log(onward[0][(slice(None), *(0,) * total.shape[1])]) + scales.sum(axis=1)
            found &= number < np.log(1.5)
        return found

    def summed(
        self, log_factors: np.ndarray, totals: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ln Z [n] and the shares of species [n, n_groups, n_species_max]."""
        factors, log_z = _scaled(log_factors)
        log_z = log_z.sum(axis=1)
        shares = factors / factors.sum(axis=2, keepdims=True)
        log_z += np.log(factors[:, self.free].sum(axis=2)).sum(axis=1)
        for block, total in zip(self.blocks, totals, strict=True):
            part = factors[:, block.groups]
            onward, scales = _backward(block, part, total)
            log_z += _log(onward[0][(slice(None), *(0,) * total.shape[1])]) + scales.sum(axis=1)
            shares[:, block.groups] = _shares(block, part, total, onward)
        return log_z, shares

    def draw(
        self, log_factors: np.ndarray, totals: list[np.ndarray], rngs: Generators
    ) -> np.ndarray:
        """Draw states int64 [n, n_groups]; one random number per group."""
        factors, _ = _scaled(log_factors)
        uniforms = np.array([rng.random(self.groups.n_groups) for rng in rngs])
        drawn = np.zeros(uniforms.shape, dtype=np.int64)
        drawn[:, self.free] = _pick(factors[:, self.free], uniforms[:, self.free])
        for block, total in zip(self.blocks, totals, strict=True):
            part = factors[:, block.groups]
            onward, _ = _backward(block, part, total)
            reached = np.zeros_like(total)
            for g, group in enumerate(block.groups):
                ahead = np.stack(
                    [_at(onward[g + 1], reached + step) for step in block.steps[g]], axis=1
                )
                weights = part[:, g] * ahead
                lost = ~(weights > 0.0).any(axis=1, keepdims=True)  # underflow: refused later
                weights = np.where(lost, part[:, g], weights)
                drawn[:, group] = _pick(weights, uniforms[:, group])
                reached = reached + block.steps[g][drawn[:, group]]
        return drawn


def log_product(log_factors: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Σ_g ln p_g(y_g), [n]."""
    return np.take_along_axis(log_factors, states[:, :, None], axis=2)[:, :, 0].sum(axis=1)


def _scaled(log_factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors with a largest one of 1 in every group, and the logarithms taken off."""
    largest = log_factors.max(axis=2)
    return np.exp(log_factors - largest[:, :, None]), largest


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(values)


def _pick(weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Index of the last axis drawn by weights, one uniform number each."""
    reached = np.cumsum(weights, axis=-1)
    drawn = (reached <= uniforms[..., None] * reached[..., -1:]).sum(axis=-1)
    last = weights.shape[-1] - 1 - (weights[..., ::-1] > 0.0).argmax(axis=-1)
    return np.minimum(drawn, last)


def _moved(table: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Table [n, …] at every total plus a step; zero beyond its end."""
    found = np.zeros_like(table)
    if all(s < size for s, size in zip(step, table.shape[1:], strict=True)):
        source = (slice(None), *(slice(int(s), None) for s in step))
        target = (
            slice(None),
            *(slice(0, size - int(s)) for s, size in zip(step, table.shape[1:], strict=True)),
        )
        found[target] = table[source]
    return found


def _at(table: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Entries of a table [n, …] at places [n, d]; zero beyond its end."""
    sizes = np.array(table.shape[1:])
    inside = (places < sizes).all(axis=1)
    index = np.minimum(places, sizes - 1)
    return np.where(inside, table[(np.arange(len(table)), *index.T)], 0.0)


def _backward(
    block: Block, factors: np.ndarray, total: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Sum over the groups from g on that lead from every total to the one that is kept.

    Tables [n, …totals] for g = 0 … b, each divided by its largest entry, and the logarithms of
    those, [n, b].
    """
    n, b = factors.shape[:2]
    table = np.zeros((n, *(total.max(axis=0) + 1)))
    table[(np.arange(n), *total.T)] = 1.0
    tables, scales = [table], np.zeros((n, b))
    axes = tuple(range(1, table.ndim))
    shape = (n, *(1,) * len(axes))
    for g in reversed(range(b)):
        summed = np.zeros_like(table)
        for k, step in enumerate(block.steps[g]):
            summed += factors[:, g, k].reshape(shape) * _moved(tables[0], step)
        largest = summed.max(axis=axes)
        largest = np.where(largest > 0.0, largest, 1.0)
        scales[:, g] = np.log(largest)
        tables.insert(0, summed / largest.reshape(shape))
    return tables, scales


def _shares(
    block: Block, factors: np.ndarray, total: np.ndarray, onward: list[np.ndarray]
) -> np.ndarray:
    """Probability of every species of every group among the states with the same totals."""
    n, b, n_species = factors.shape
    found = np.zeros(factors.shape)
    forward = np.zeros_like(onward[0])
    forward[(slice(None), *(0,) * total.shape[1])] = 1.0
    shape = (n, *(1,) * total.shape[1])
    for g in range(b):
        after = np.zeros_like(forward)
        for k in range(n_species):
            step = block.steps[g, k]
            weight = factors[:, g, k].reshape(shape)
            ways = forward * _moved(onward[g + 1], step)
            found[:, g, k] = factors[:, g, k] * ways.reshape(n, -1).sum(axis=1)
            after += weight * _moved_on(forward, step)
        largest = after.reshape(n, -1).max(axis=1)
        forward = after / np.where(largest > 0.0, largest, 1.0).reshape(shape)
    whole = found.sum(axis=2, keepdims=True)
    return np.divide(found, whole, out=np.zeros_like(found), where=whole > 0.0)


def _moved_on(table: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Table [n, …] carried to every total plus a step; what goes beyond its end is dropped."""
    found = np.zeros_like(table)
    if all(s < size for s, size in zip(step, table.shape[1:], strict=True)):
        target = (slice(None), *(slice(int(s), None) for s in step))
        source = (
            slice(None),
            *(slice(0, size - int(s)) for s, size in zip(step, table.shape[1:], strict=True)),
        )
        found[target] = table[source]
    return found
