"""Proposals that move all sites at once: every site flips, or every pair of a matching swaps.

Each site or pair decides by itself, from one flip field h[i, k] = f[i, k] − f[i, σ_i] of the log
density, so a proposal's probability is a product. ``penalty`` is what a change costs beside h.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ._swaps import choose, exp_scaled, log_sigmoid, log_sum_exp

__all__ = ["AllFlips", "MatchedSwaps", "Proposal"]


class Proposal(NamedTuple):
    """Proposed ``occupations`` [n_replicas, n_sites] and how they were drawn.

    ``pairs`` int64 [n_replicas, n_pairs, 2] are the sites that might have swapped (none for flips);
    ``log_probability`` [n_replicas] that of the proposal, given the pairs.
    """

    occupations: np.ndarray
    pairs: np.ndarray
    log_probability: np.ndarray


class AllFlips:
    """Every free site draws its species anew: q_i(k) ∝ exp(h_ik/2 − [k ≠ σ_i] · penalty)."""

    def __init__(self, lattice: Lattice, free: np.ndarray) -> None:
        self._sites = np.flatnonzero(free)
        self._allowed = np.asarray(lattice.allowed)[self._sites]
        self.n_uniforms = len(self._sites)
        self.most_changes = len(self._sites)

    def draw(
        self, field: np.ndarray, occupations: np.ndarray, uniforms: np.ndarray, penalty: float
    ) -> Proposal:
        """Draw the species of all sites from ``uniforms`` [n_replicas, n_uniforms]."""
        log_weights = self._log_weights(field, occupations, penalty)
        weights = exp_scaled(log_weights).reshape(-1, log_weights.shape[2])
        drawn = choose(weights, uniforms.ravel()).reshape(uniforms.shape)
        proposed = occupations.copy()
        proposed[:, self._sites] = drawn
        pairs = np.empty((len(occupations), 0, 2), dtype=np.int64)
        return Proposal(proposed, pairs, self._log_product(log_weights, drawn))

    def log_probability(
        self,
        field: np.ndarray,
        occupations: np.ndarray,
        proposal: Proposal,
        penalty: float,
    ) -> np.ndarray:
        """Log probability of drawing ``proposal.occupations`` at ``occupations``, [n_replicas]."""
        log_weights = self._log_weights(field, occupations, penalty)
        species = proposal.occupations[:, self._sites].astype(np.int64)
        return self._log_product(log_weights, species)

    def _log_weights(
        self, field: np.ndarray, occupations: np.ndarray, penalty: float
    ) -> np.ndarray:
        """Log weights of all species of the sites that can change, [n_replicas, n, n_species]."""
        held = occupations[:, self._sites, None] == np.arange(field.shape[2])
        weights = 0.5 * field[:, self._sites] - np.where(held, 0.0, penalty)
        return np.where(self._allowed, weights, -np.inf)

    @staticmethod
    def _log_product(log_weights: np.ndarray, species: np.ndarray) -> np.ndarray:
        """Return log Π_i of the normalised weights of the given species, [n_replicas]."""
        chosen = np.take_along_axis(log_weights, species[:, :, None], axis=2)[:, :, 0]
        return np.asarray((chosen - log_sum_exp(log_weights)).sum(axis=1))


class MatchedSwaps:
    """Pairs of a random matching swap: p = exp(d/2 − penalty)/(1 + exp(d/2 − penalty)).

    The sites of each sublattice are shuffled and paired one after the other, an odd one left over,
    whatever the state; d = h_ib + h_ja for sites i and j that hold a ≠ b. Like pairs stay.
    """

    def __init__(self, lattice: Lattice) -> None:
        sublattice = np.asarray(lattice.sublattice_of_site)
        self._groups = [
            np.flatnonzero(sublattice == index)
            for index, s in enumerate(lattice.sublattices.values())
            if len(s.species) > 1
        ]
        n_pairs = sum(len(group) // 2 for group in self._groups)
        if not n_pairs:
            raise InputError(
                f"sublattices {lattice.names} hold no two sites that could exchange species: "
                "allow two species on one of two sites or more"
            )
        self._n_sites = sum(len(group) for group in self._groups)
        self.n_uniforms = self._n_sites + n_pairs
        self.most_changes = 2 * n_pairs

    def draw(
        self, field: np.ndarray, occupations: np.ndarray, uniforms: np.ndarray, penalty: float
    ) -> Proposal:
        """Draw a matching and its swaps from ``uniforms`` [n_replicas, n_uniforms]."""
        pairs = self._match(uniforms[:, : self._n_sites])
        return self._swap(pairs, field, occupations, uniforms[:, self._n_sites :], penalty)

    def log_probability(
        self,
        field: np.ndarray,
        occupations: np.ndarray,
        proposal: Proposal,
        penalty: float,
    ) -> np.ndarray:
        """Log probability of ``proposal``'s swaps at ``occupations``, with its own matching."""
        log_odds, unlike, rows = self._log_odds(proposal.pairs, field, occupations, penalty)
        first = proposal.pairs[:, :, 0]
        swapped = proposal.occupations[rows, first] != occupations[rows, first]
        return self._log_product(log_odds, unlike, swapped)

    def _match(self, uniforms: np.ndarray) -> np.ndarray:
        """Pair the sites of each sublattice in random order, [n_replicas, n_pairs, 2]."""
        parts, first = [], 0
        for group in self._groups:
            order = np.argsort(uniforms[:, first : first + len(group)], axis=1, kind="stable")
            first += len(group)
            paired = group[order[:, : len(group) // 2 * 2]]
            parts.append(paired.reshape(len(uniforms), -1, 2))
        return np.concatenate(parts, axis=1)

    def _swap(
        self,
        pairs: np.ndarray,
        field: np.ndarray,
        occupations: np.ndarray,
        uniforms: np.ndarray,
        penalty: float,
    ) -> Proposal:
        """Swap each unlike pair with its probability."""
        log_odds, unlike, rows = self._log_odds(pairs, field, occupations, penalty)
        swapped = unlike & (uniforms < np.exp(log_sigmoid(log_odds)))
        held = occupations[rows[:, :, None], pairs]
        proposed = occupations.copy()
        proposed[rows[:, :, None], pairs] = np.where(swapped[:, :, None], held[:, :, ::-1], held)
        return Proposal(proposed, pairs, self._log_product(log_odds, unlike, swapped))

    @staticmethod
    def _log_odds(
        pairs: np.ndarray, field: np.ndarray, occupations: np.ndarray, penalty: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log odds of swapping each pair, which pairs are unlike, and their replicas."""
        rows = np.arange(len(occupations))[:, None]
        i, j = pairs[:, :, 0], pairs[:, :, 1]
        a, b = occupations[rows, i], occupations[rows, j]
        estimate = field[rows, i, b] + field[rows, j, a]
        return 0.5 * estimate - penalty, a != b, rows

    @staticmethod
    def _log_product(log_odds: np.ndarray, unlike: np.ndarray, swapped: np.ndarray) -> np.ndarray:
        """Return log Π of what each unlike pair did, [n_replicas]."""
        each = log_sigmoid(np.where(swapped, log_odds, -log_odds))
        return np.asarray(np.where(unlike, each, 0.0).sum(axis=1))
