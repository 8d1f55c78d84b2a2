"""The terms of a group's bias as linear features of its λ, and how they spread when it is flat."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .biases import END
from .groups import Groups

__all__ = ["Spread", "coupled", "features", "slopes_of_features", "terms"]

_RANK = 1e-9


def features(weights: np.ndarray) -> np.ndarray:
    """λ_k, λ_kλ_m (k < m) and λ_kλ_m/(λ_k + α) (k ≠ m) of λ [..., K], along the last axis."""
    k, m = np.triu_indices(weights.shape[-1], 1)
    products = weights[..., k] * weights[..., m]
    ends = [products / (weights[..., k] + END), products / (weights[..., m] + END)]
    return np.concatenate([weights, products, *ends], axis=-1)


def slopes_of_features(weights: np.ndarray) -> np.ndarray:
    """∂ of every feature by λ, [..., P, K], of λ [..., K]."""
    n = weights.shape[-1]
    k, m = np.triu_indices(n, 1)
    unit = np.eye(n)
    wk, wm = weights[..., k, None], weights[..., m, None]
    products = wm * unit[k] + wk * unit[m]
    at_k = END / (wk + END) ** 2 * wm * unit[k] + wk / (wk + END) * unit[m]
    at_l = END / (wm + END) ** 2 * wk * unit[m] + wm / (wm + END) * unit[k]
    own = np.broadcast_to(unit, (*weights.shape[:-1], n, n))
    return np.concatenate([own, products, at_k, at_l], axis=-2)


def terms(groups: Groups, coefficients: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of `Biases` from coefficients of the features, [n_groups, P]."""
    n_groups, n = groups.allowed.shape
    k, m = np.triu_indices(n, 1)
    pairs, first, second = np.split(coefficients[:, n:], 3, axis=1)
    quadratic, end_point = np.zeros((2, n_groups, n, n))
    quadratic[:, k, m] = quadratic[:, m, k] = pairs
    end_point[:, k, m], end_point[:, m, k] = first, second
    both = groups.allowed[:, :, None] & groups.allowed[:, None, :]
    return {
        "linear": np.where(groups.allowed, coefficients[:, :n], 0.0),
        "quadratic": np.where(both, quadratic, 0.0),
        "end_point": np.where(both, end_point, 0.0),
    }


class Spread(NamedTuple):
    """Mean of features and the inverse of their covariance in a flat distribution of one λ."""

    mean: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        """Make it from equally likely values [n, P]; what does not vary has no inverse."""
        covariance = np.atleast_2d(np.cov(values, rowvar=False, bias=True))
        return cls(values.mean(axis=0), np.linalg.pinv(covariance, rcond=_RANK, hermitian=True))

    def excess(self, values: np.ndarray) -> np.ndarray:
        """C⁻¹(f − f̄) of features [..., P]: zero on average where they are flat."""
        return np.asarray((values - self.mean) @ self.inverse)


def coupled(groups: Groups, spreads: list[Spread], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Couplings C_g⁻¹ ⟨(λ_g − m_g)(λ_h − m_h)⟩ C_h⁻¹ of λ [n, g, K], and what centres them.

    With the linear terms they are c (λ_g − m_g)(λ_h − m_h), which no group by itself feels.
    """
    excess = np.stack([spread.excess(weights[:, g]) for g, spread in enumerate(spreads)], axis=1)
    means = np.array([spread.mean for spread in spreads])
    found = np.einsum("ngk,nhl->gkhl", excess, excess) / len(weights)
    apart = ~np.eye(len(means), dtype=bool)[:, None, :, None]
    found = np.where(groups.allowed[:, :, None, None] & groups.allowed & apart, found, 0.0)
    found = 0.5 * (found + found.transpose(2, 3, 0, 1))
    return {"coupling": found, "linear": -(found * means).sum(axis=(2, 3))}
