"""Means of many quantities over stretches of draws, where a series of each would not fit."""

from __future__ import annotations

import numpy as np

__all__ = ["Stretches"]

MOST = 64
LEAST = 8


class Stretches:
    """Adds up values draw by draw into at most 64 stretches per chain.

    Parameters
    ----------
    n_draws, n_chains
        Of the sample.
    shape
        Of the values of one configuration.

    Examples
    --------
    >>> sums = Stretches(100, 2, (3,))
    >>> sums.add(slice(0, 100), np.ones((200, 3)))
    >>> mean, error = sums.estimates()
    >>> mean.tolist(), error.tolist()
    ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    """

    def __init__(self, n_draws: int, n_chains: int, shape: tuple[int, ...]) -> None:
        number = min(n_draws, MOST)
        self._of_draw = np.arange(n_draws, dtype=np.int64) * number // n_draws
        self._sizes = np.bincount(self._of_draw)
        self._sums = np.zeros((number, n_chains, *shape))

    def add(self, draws: slice, values: np.ndarray) -> None:
        """Add the values of all chains at some draws, [n · n_chains, ...]."""
        rows = values.reshape(-1, *self._sums.shape[1:])
        np.add.at(self._sums, self._of_draw[draws], rows)

    def estimates(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean over all draws, and its error from the scatter of the stretches.

        It takes them for independent, so that a stretch has to be longer than the memory of the
        chain; NaN where there are fewer than eight.
        """
        chains = self._sums.shape[1]
        mean = self._sums.sum(axis=(0, 1)) / (self._sizes.sum() * chains)
        means = self._sums / self._sizes.reshape(-1, *[1] * (self._sums.ndim - 1))
        number = len(self._sizes) * chains
        if number < LEAST:
            return mean, np.full(mean.shape, np.nan)
        flat = means.reshape(number, *mean.shape)
        return mean, flat.std(axis=0, ddof=1) / np.sqrt(number)
