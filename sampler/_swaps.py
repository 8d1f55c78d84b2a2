"""Weighted choice of one swap of unlike species within a sublattice, vectorised over replicas.

A swap {i, j} of a site i that holds a with a site j of the same sublattice that holds b ≠ a is
chosen with probability w_ij/Z, Z = Σ w over the unordered unlike pairs of all sublattices. The
weights are functions of d_ij = h[i, b] + h[j, a] + W_ij, the estimated change of the log density,
with the flip field h[i, k] = f[i, k] − f[i, σ_i] and, where there is one, the pair term W_ij of
near i and j (``NearTerms``).

Every reduction runs along the last, contiguous axis, so that a replica's numbers are the same
whichever others are beside it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from ..errors import InputError
from ..lattice import Lattice

if TYPE_CHECKING:
    from ._correction import NearTerms

__all__ = [
    "FactorisedSwaps",
    "PairwiseSwaps",
    "Swap",
    "apply_swap",
    "choose",
    "exp_scaled",
    "flip_field",
    "log_sigmoid",
    "log_sum_exp",
    "net_change",
    "swap_estimate",
]

_BLOCK_ELEMENTS = 1 << 20


class Swap(NamedTuple):
    """One proposed swap (m = 2) or flip (m = 1) per replica; −1 where a replica has no move.

    ``sites`` int64 and ``species`` int8 [n_replicas, m], ``species`` what the sites are to hold;
    ``log_probability`` float64 [n_replicas], of proposing this move.
    """

    sites: np.ndarray
    species: np.ndarray
    log_probability: np.ndarray


def flip_field(gradient: np.ndarray, occupations: np.ndarray) -> np.ndarray:
    """Flip field h[i, k] = f[i, k] − f[i, σ_i] of a gradient f [n_replicas, n_sites, n_species]."""
    own = np.take_along_axis(gradient, occupations[:, :, None].astype(np.int64), axis=2)
    return gradient - own


def swap_estimate(field: np.ndarray, sites: np.ndarray, species: np.ndarray) -> np.ndarray:
    """First-order change of the given moves, d_ij = h[i, b] + h[j, a] for swaps, [n_replicas]."""
    return np.asarray(field[np.arange(len(field))[:, None], sites, species].sum(axis=1))


def apply_swap(occupations: np.ndarray, swap: Swap) -> np.ndarray:
    """Occupations after the swaps; replicas without one are copied."""
    proposed = occupations.copy()
    rows = np.flatnonzero(swap.sites[:, 0] >= 0)
    proposed[rows[:, None], swap.sites[rows]] = swap.species[rows]
    return proposed


def net_change(
    before: np.ndarray, after: np.ndarray, log_probability: np.ndarray, width: int
) -> Swap:
    """Express all that differs after a move as one move of ``width`` sites, padded with −1."""
    changed = before != after
    order = np.argsort(~changed, axis=1, kind="stable")[:, :width]
    there = np.take_along_axis(changed, order, axis=1)
    sites = np.where(there, order, -1)
    species = np.where(there, np.take_along_axis(after, order, axis=1), -1)
    return Swap(sites, species.astype(np.int8), log_probability)


def species_pairs(lattice: Lattice) -> np.ndarray:
    """Unordered pairs of unlike species, (sublattice, a, b) with a < b, int64 [n_pairs, 3]."""
    n_species = [len(s.species) for s in lattice.sublattices.values()]
    pairs = [(s, a, b) for s, n in enumerate(n_species) for b in range(n) for a in range(b)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 3)


class _Swaps:
    """Field and pair terms make the estimate that the weights are functions of."""

    near: NearTerms | None = None

    def with_near(self, near: NearTerms | None) -> Self:
        """Return the choice with pair terms, which belong to the replicas it is then used for."""
        beside = copy.copy(self)
        beside.near = near
        return beside

    def estimate(self, field: np.ndarray, sites: np.ndarray, species: np.ndarray) -> np.ndarray:
        """Estimated change of the given swaps, [n_replicas]; any number where sites are −1."""
        estimate = swap_estimate(field, sites, species)
        return estimate if self.near is None else estimate + self.near.of_swaps(sites, species)


class FactorisedSwaps(_Swaps):
    """Weights w_ij = exp(d_ij/2): Zanella's √ balancing.

    Without pair terms they factorise for each pair of species, w_ij = u_i(b) u_j(a) with
    u_i(k) = exp(h[i, k]/2): the rows of a site i sum to R_i = u_i(b) U_ba, U_ba = Σ_{j: σ_j = b}
    u_j(a), at a cost of O(n_sites · n_species). Pair terms change the few near j in that sum. The
    pair of species is drawn first, then i ∝ R_i, then j from its row. With h = 0 and no pair terms
    the choice is uniform over all unlike pairs.
    """

    def __init__(self, lattice: Lattice) -> None:
        sublattice = np.asarray(lattice.sublattice_of_site)
        self._site_sublattice = sublattice
        self._members = [np.flatnonzero(sublattice == s) for s in range(len(lattice.names))]
        self._pairs = species_pairs(lattice)
        if not len(self._pairs):
            raise InputError(
                f"sublattices {lattice.names} allow one species each, so no swap is possible: "
                "allow two species on one of them"
            )

    def draw(self, field: np.ndarray, occupations: np.ndarray, uniforms: np.ndarray) -> Swap:
        """Draw one swap per replica from ``uniforms`` [n_replicas, 3]."""
        log_row_sums = self._log_row_sums(field, occupations)
        log_pairs = _log_totals(log_row_sums)
        log_total = log_sum_exp(log_pairs)
        movable = np.isfinite(log_total)
        pair = choose(exp_scaled(log_pairs), uniforms[:, 0])
        i = self._choose_row(pair, log_row_sums, uniforms[:, 1])
        j = self._choose_partner(field, occupations, pair, i, uniforms[:, 2])
        _, a, b = self._pairs[pair].T
        sites = np.where(movable[:, None], np.stack([i, j], axis=1), -1)
        species = np.where(movable[:, None], np.stack([b, a], axis=1), -1).astype(np.int8)
        log_weight = 0.5 * self.estimate(field, sites, species)
        return Swap(sites, species, np.where(movable, log_weight - log_total, 0.0))

    def log_probability(
        self, field: np.ndarray, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """Log probability of drawing the given swaps at ``occupations``, [n_replicas]."""
        log_total = log_sum_exp(_log_totals(self._log_row_sums(field, occupations)))
        return np.asarray(0.5 * self.estimate(field, sites, species) - log_total)

    def _log_row_sums(self, field: np.ndarray, occupations: np.ndarray) -> list[np.ndarray]:
        """Return log R_i of the sublattice's sites i for every pair of species, i holding a."""
        rows = []
        for index, (s, a, b) in enumerate(self._pairs):
            members = self._members[s]
            own = np.take(occupations, members, axis=1) == a
            log_u = np.where(own, 0.5 * np.take(field[:, :, b], members, axis=1), -np.inf)
            partner = (occupations == b) & (self._site_sublattice == s)
            log_partners = np.where(partner, 0.5 * field[:, :, a], -np.inf)
            if self.near is None:
                rows.append(log_u + log_sum_exp(log_partners)[:, None])
            else:
                rows.append(log_u + self.near.log_row_sums(index, members, log_partners))
        return rows

    def _choose_row(
        self, pair: np.ndarray, log_row_sums: list[np.ndarray], uniforms: np.ndarray
    ) -> np.ndarray:
        """Draw the site i that holds the first species of its replica's ``pair``, ∝ R_i."""
        log_weights = np.full((len(pair), len(self._site_sublattice)), -np.inf)
        for index in np.unique(pair):
            replicas = np.flatnonzero(pair == index)[:, None]
            members = self._members[self._pairs[index, 0]]
            log_weights[replicas, members] = log_row_sums[index][replicas[:, 0]]
        return choose(exp_scaled(log_weights), uniforms)

    def _choose_partner(
        self,
        field: np.ndarray,
        occupations: np.ndarray,
        pair: np.ndarray,
        i: np.ndarray,
        uniforms: np.ndarray,
    ) -> np.ndarray:
        """Draw the site j that holds the second species, ∝ w_ij."""
        sublattice, a, b = self._pairs[pair].T
        estimate = np.take_along_axis(field, a[:, None, None], axis=2)[:, :, 0]
        if self.near is not None:
            rows = self.near.added_to_rows(estimate[:, None], occupations, i[:, None])
            estimate = rows[:, 0]
        here = self._site_sublattice[None, :] == sublattice[:, None]
        partner = here & (occupations == b[:, None])
        return choose(exp_scaled(np.where(partner, 0.5 * estimate, -np.inf)), uniforms)


class PairwiseSwaps(_Swaps):
    """Weights w_ij = exp(d_ij)/(1 + exp(d_ij)): Barker's balancing function.

    They do not factorise, so every pair of sites of a sublattice is visited: O(n_sites²) for each
    normalisation, which the Hastings factor needs in any case. The rows are summed in blocks of
    bounded memory, and a swap is drawn row first, so no cell is too large for the exact choice.
    """

    def __init__(self, lattice: Lattice) -> None:
        self._sublattice = np.asarray(lattice.sublattice_of_site)

    def draw(self, field: np.ndarray, occupations: np.ndarray, uniforms: np.ndarray) -> Swap:
        """Draw one swap per replica from ``uniforms`` [n_replicas, 3], of which it uses two."""
        held = occupations.astype(np.int64)
        log_row_sums = self._log_row_sums(field, held)
        log_total = log_sum_exp(log_row_sums) - np.log(2.0)
        movable = np.isfinite(log_total)
        i = choose(exp_scaled(log_row_sums), uniforms[:, 0])
        log_row = self._log_rows(field, held, i[:, None])[:, 0]
        j = choose(exp_scaled(log_row), uniforms[:, 1])
        rows = np.arange(len(held))
        species = np.stack([held[rows, j], held[rows, i]], axis=1)
        sites = np.where(movable[:, None], np.stack([i, j], axis=1), -1)
        species = np.where(movable[:, None], species, -1).astype(np.int8)
        log_weight = log_sigmoid(self.estimate(field, sites, species))
        return Swap(sites, species, np.where(movable, log_weight - log_total, 0.0))

    def log_probability(
        self, field: np.ndarray, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """Log probability of drawing the given swaps at ``occupations``, [n_replicas]."""
        log_row_sums = self._log_row_sums(field, occupations.astype(np.int64))
        log_total = log_sum_exp(log_row_sums) - np.log(2.0)
        return np.asarray(log_sigmoid(self.estimate(field, sites, species)) - log_total)

    def _log_row_sums(self, field: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Return log Σ_j w_ij for every site, [n_replicas, n_sites]; in all, pairs count twice."""
        n_replicas, n_sites = held.shape
        sums = np.empty((n_replicas, n_sites))
        block = max(1, _BLOCK_ELEMENTS // (n_replicas * n_sites))
        for start in range(0, n_sites, block):
            sites = np.arange(start, min(start + block, n_sites))
            every = np.broadcast_to(sites, (n_replicas, len(sites)))
            sums[:, sites] = log_sum_exp(self._log_rows(field, held, every))
        return sums

    def _log_rows(self, field: np.ndarray, held: np.ndarray, sites: np.ndarray) -> np.ndarray:
        """Return log w_ij of the sites i [n_replicas, m] with all j, [n_replicas, m, n_sites]."""
        replicas = np.arange(len(held))[:, None, None]
        i = sites[:, :, None]
        j = np.arange(held.shape[1])[None, None, :]
        own = held[replicas, i]
        other = held[:, None, :]
        unlike = (own != other) & (self._sublattice[i] == self._sublattice[j])
        species_of_other = np.where(unlike, other, 0)
        species_of_own = np.where(unlike, own, 0)
        estimate = field[replicas, i, species_of_other] + field[replicas, j, species_of_own]
        if self.near is not None:
            estimate = self.near.added_to_rows(estimate, held, sites)
        return np.where(unlike, log_sigmoid(estimate), -np.inf)


def _log_totals(log_row_sums: list[np.ndarray]) -> np.ndarray:
    """Return log Σ_i R_i of every pair of species, [n_replicas, n_pairs]."""
    return np.stack([log_sum_exp(rows) for rows in log_row_sums], axis=1)


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """Return log(exp(x)/(1 + exp(x))) without overflow."""
    return np.asarray(np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x))))


def exp_scaled(log_weights: np.ndarray) -> np.ndarray:
    """exp(log_weights − their largest) along the last axis; rows of −inf become zeros."""
    peak = log_weights.max(axis=-1, keepdims=True)
    return np.exp(log_weights - np.where(np.isfinite(peak), peak, 0.0))


def log_sum_exp(log_weights: np.ndarray) -> np.ndarray:
    """Return log Σ exp along the last axis; −inf for rows of −inf."""
    peak = log_weights.max(axis=-1, initial=-np.inf)
    with np.errstate(divide="ignore"):
        total = np.log(exp_scaled(log_weights).sum(axis=-1))
    return np.asarray(total + np.where(np.isfinite(peak), peak, 0.0))


def choose(weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Index drawn with probability ∝ ``weights`` [n_replicas, n], one per row; 0 for zero rows.

    The threshold stays below the last partial sum, so an entry of weight 0 is never drawn.
    """
    partial = np.cumsum(weights, axis=1)
    total = partial[:, -1]
    threshold = np.minimum(uniforms * total, np.nextafter(total, 0.0))
    chosen = np.asarray((partial <= threshold[:, None]).sum(axis=1), dtype=np.int64)
    return np.where(total > 0, chosen, 0)
