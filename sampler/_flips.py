"""Weighted choice of one flip of a site to another species, vectorised over replicas."""

from __future__ import annotations

import numpy as np

from ..lattice import Lattice
from ._swaps import Swap, choose, exp_scaled, log_sigmoid, log_sum_exp, swap_estimate

__all__ = ["GradientFlips"]


class GradientFlips:
    """A flip of site i to species k, weighed by its estimated change d = h[i, k].

    Weights are w(d) = exp(d/2) (``"sqrt"``) or exp(d)/(1 + exp(d)) (``"barker"``), over the
    ``free`` sites (bool [n_sites]) and allowed species but the one held: O(n_sites · n_species).
    """

    def __init__(self, lattice: Lattice, balancing: str, free: np.ndarray) -> None:
        self._allowed = np.asarray(lattice.allowed) & free[:, None]
        self._barker = balancing == "barker"

    def draw(self, field: np.ndarray, occupations: np.ndarray, uniforms: np.ndarray) -> Swap:
        """Draw one flip per replica from ``uniforms`` [n_replicas, 3], of which it uses one."""
        log_weights = self._log_weights(field, occupations)
        index = choose(exp_scaled(log_weights), uniforms[:, 0])
        site, species = np.divmod(index, field.shape[2])
        rows = np.arange(len(field))
        log_probability = log_weights[rows, index] - log_sum_exp(log_weights)
        return Swap(site[:, None], species[:, None].astype(np.int8), log_probability)

    def log_probability(
        self, field: np.ndarray, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """Log probability of drawing the given flips at ``occupations``, [n_replicas]."""
        log_weights = self._log_weights(field, occupations)
        index = sites[:, 0] * field.shape[2] + species[:, 0]
        chosen = log_weights[np.arange(len(field)), index]
        return np.asarray(chosen - log_sum_exp(log_weights))

    def estimate(self, field: np.ndarray, sites: np.ndarray, species: np.ndarray) -> np.ndarray:
        """Estimated change of the given flips, [n_replicas]."""
        return swap_estimate(field, sites, species)

    def _log_weights(self, field: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """Return log w of every site and species, [n_replicas, n_sites · n_species_max]."""
        held = occupations[:, :, None] == np.arange(field.shape[2])
        log_weights = log_sigmoid(field) if self._barker else 0.5 * field
        weights = np.where(self._allowed & ~held, log_weights, -np.inf)
        return weights.reshape(len(field), -1)
