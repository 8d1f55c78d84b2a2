"""From a vertex to λ and from λ to a vertex: the densities k and s of the hand-over."""

from __future__ import annotations

import numpy as np

from ...protocols import Generators
from .arrangements import Arrangements, log_product
from .maps import SimplexMap

__all__ = ["HandOver"]


class HandOver:
    r"""k(θ|x), s(y|θ), and the measure of θ between them, for some of the groups.

    With k(θ|x) = Π_g k_g(θ_g|x_g), normalised over θ for every x, and C the states y of the same
    totals as x (all, where nothing is kept),

    .. math:: s(y|θ) = \frac{k(θ|y)}{Z(θ)}, \qquad Z(θ) = \sum_{y ∈ C} k(θ|y), \qquad
              ρ(θ) ∝ e^{−βE(λ(θ))} Z(θ),

    so that only energies differ between x and θ: in the canonical ensemble
    π(x) k(θ|x)/[ρ(θ) s(x|θ)] is e^{−β[E(x) − E(λ)]}. Z is a density of θ that keeps λ near the
    states that are allowed; without totals and with κ alike it is the measure of the map.

    Groups that do not move in a step have one allowed species, the one they hold.

    Parameters
    ----------
    simplex
        Map from θ to λ.
    arrangements
        The groups and what is kept.
    sharpness
        κ of every species of every group, [n_groups, K].
    """

    def __init__(
        self, simplex: SimplexMap, arrangements: Arrangements, sharpness: np.ndarray
    ) -> None:
        self.simplex, self.arrangements, self.sharpness = simplex, arrangements, sharpness
        self.log_z = simplex.log_normaliser(sharpness, arrangements.groups.allowed)

    def moving(self, states: np.ndarray, at_once: int, rngs: Generators) -> np.ndarray:
        """Draw ``at_once`` groups that move; what they may hold, bool [n, n_groups, K]."""
        groups = self.arrangements.groups
        if at_once >= groups.n_groups:
            return np.broadcast_to(groups.allowed, (len(states), *groups.allowed.shape))
        rests = np.ones(states.shape, dtype=bool)
        for row, rng in enumerate(rngs):
            rests[row, rng.permutation(groups.n_groups)[:at_once]] = False
        held = groups.vertices(states) > 0.0
        return np.where(rests[:, :, None], held, groups.allowed)

    def draw_theta(self, states: np.ndarray, allowed: np.ndarray, rngs: Generators) -> np.ndarray:
        """Draw θ [n, n_groups, K] of k(θ|x) for states x [n, n_groups]."""
        return np.array(
            [
                self.simplex.draw_near(states[row], self.sharpness, allowed[row], rng)
                for row, rng in enumerate(rngs)
            ]
        )

    def draw_states(
        self, theta: np.ndarray, allowed: np.ndarray, totals: list[np.ndarray], rngs: Generators
    ) -> np.ndarray:
        """Draw states [n, n_groups] of s(y|θ)."""
        return self.arrangements.draw(self.log_factors(theta, allowed), totals, rngs)

    def log_k(self, theta: np.ndarray, allowed: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return ln k(θ|x), [n]."""
        return log_product(self.log_factors(theta, allowed), states)

    def log_s(
        self,
        theta: np.ndarray,
        allowed: np.ndarray,
        states: np.ndarray,
        totals: list[np.ndarray],
    ) -> np.ndarray:
        """Return ln s(y|θ), [n]."""
        factors = self.log_factors(theta, allowed)
        return log_product(factors, states) - self.arrangements.summed(factors, totals)[0]

    def measure(
        self, theta: np.ndarray, allowed: np.ndarray, totals: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ln Z(θ) [n] and its slopes [n, n_groups, K]."""
        log_z, shares = self.arrangements.summed(self.log_factors(theta, allowed), totals)
        return log_z, self.simplex.log_near_slopes(theta, self.sharpness, shares, allowed)

    def log_factors(self, theta: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return ln k_g(θ_g|x) of every species x of every group, [n, n_groups, K]."""
        log_z = np.where(allowed.sum(axis=-1, keepdims=True) > 1, self.log_z, 0.0)
        return self.simplex.log_near(theta, self.sharpness, log_z, allowed)
