"""Windows of the energy: how each refines its ln g, how walkers change places, how pieces join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import ConvergenceError
from ..potentials._wang_landau import Bins
from ._energy_grid import Grid

__all__ = ["Repeat", "Window", "joined", "split"]

FIRST_LN_F = 1.0


def split(n_bins: int, n_windows: int, overlap: float) -> list[slice]:
    """Bins of windows of one size, each sharing the fraction ``overlap`` with the next.

    Examples
    --------
    >>> split(100, 3, 0.5)
    [slice(0, 50, None), slice(25, 75, None), slice(50, 100, None)]
    """
    size = n_bins / (1 + (n_windows - 1) * (1 - overlap))
    starts = [round(w * (1 - overlap) * size) for w in range(n_windows)]
    ends = [min(n_bins, round(s + size)) for s in starts]
    return [slice(s, e) for s, e in zip(starts, [*ends[:-1], n_bins], strict=True)]


@dataclass
class Window:
    """ln g in one window, and the schedule by which it is refined.

    Every step adds ln f to ln g where it ends. ln f is halved whenever all bins seen have been
    visited at least ``flatness`` times as often as they are on average, until it falls below 1/t,
    t the steps of a walker per bin seen; from then on ln f = 1/t (R. E. Belardinelli and
    V. D. Pereyra, Phys. Rev. E 75, 046701 (2007), doi:10.1103/PhysRevE.75.046701), whose error
    falls as t^−½ where halving alone comes to a standstill.
    """

    bins: slice
    flatness: float
    ln_g: np.ndarray
    ln_f: float = FIRST_LN_F
    steps: int = 0
    refining: bool = False
    visits: np.ndarray = field(init=False)
    sums: np.ndarray = field(init=False)
    outside: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.outside = np.zeros(2, dtype=np.int64)
        self._count_anew()

    def _count_anew(self) -> None:
        self.visits = np.zeros(len(self.ln_g), dtype=np.int64)
        self.sums = np.zeros(len(self.ln_g))

    @property
    def seen(self) -> np.ndarray:
        """Bins that a walker has been in, bool [n_bins]."""
        return np.isfinite(self.ln_g)

    def walker_bins(self, grid: Grid, *, frozen: bool) -> Bins:
        """Bins for one walker: a copy of ln g of its own, raised by every step unless frozen."""
        lower = grid.lower + self.bins.start * grid.width
        return Bins.of(lower, grid.width, self.ln_g, 0.0 if frozen else self.ln_f)

    def merge(self, walkers: Sequence[Bins], steps: int) -> None:
        """Take over what the window's walkers did in ``steps`` steps each, then refine.

        ln g becomes the mean of theirs, so that M walkers refine with the noise of M times the
        steps.
        """
        before = self.seen
        values = np.array([walker.ln_g for walker in walkers])
        known = np.isfinite(values)
        total = np.where(known, values, 0.0).sum(axis=0)
        number = known.sum(axis=0)
        self.ln_g = np.where(number > 0, total / np.maximum(number, 1), -np.inf)
        for walker in walkers:
            self.visits += walker.visits
            self.sums += walker.sums
            self.outside += walker.outside
        self.steps += steps
        if self.refining and (self.seen & ~before).any():
            # What 1/t has left cannot raise a new bin to its place: begin again from this ln g.
            self.refining, self.ln_f, self.steps = False, FIRST_LN_F, 0
            self._count_anew()
        self.refine()

    def refine(self) -> None:
        """Choose the next ln f."""
        inverse_time = self.seen.sum() / max(self.steps, 1)
        if not self.refining:
            visits = self.visits[self.seen]
            if visits.min() < self.flatness * visits.mean() or not self.steps:
                return
            self.ln_f /= 2
            self._count_anew()
            self.refining = bool(self.ln_f <= inverse_time)
        if self.refining:
            self.ln_f = float(inverse_time)


@dataclass
class Repeat:
    """One independent estimate: its windows, walkers and generators.

    Walker m of window w stands in row w · n_walkers + m of ``occupations`` and ``energies`` (eV),
    and has the generator of that row; ``rng`` decides on exchanges.
    """

    grid: Grid
    windows: list[Window]
    occupations: np.ndarray
    energies: np.ndarray
    rngs: Sequence[np.random.Generator]
    rng: np.random.Generator
    rounds: int = 0

    def __post_init__(self) -> None:
        self.tried = np.zeros(len(self.windows) - 1, dtype=np.int64)
        self.exchanged = np.zeros(len(self.windows) - 1, dtype=np.int64)

    @property
    def n_walkers(self) -> int:
        """Walkers per window."""
        return len(self.energies) // len(self.windows)

    def walker_bins(self, *, frozen: bool = False) -> list[Bins]:
        """Bins for every walker, in the order of the rows."""
        return [
            window.walker_bins(self.grid, frozen=frozen)
            for window in self.windows
            for _ in range(self.n_walkers)
        ]

    def finished(self, final: float) -> bool:
        """Whether every window has come to ``final``."""
        return all(w.refining and w.ln_f <= final for w in self.windows)

    def merge(self, bins: Sequence[Bins], steps: int) -> None:
        """Give every window what its walkers wrote down."""
        n = self.n_walkers
        for index, window in enumerate(self.windows):
            window.merge(bins[index * n : (index + 1) * n], steps)

    def exchange(self) -> None:
        """Let walkers of neighbouring windows change places, even and odd pairs in turn.

        Walkers at x in window i and y in window j do so with probability
        min(1, g_i(x) g_j(y)/[g_i(y) g_j(x)]) if each lies in the other's window (T. Vogel, Y. W.
        Li, T. Wüst and D. P. Landau, Phys. Rev. Lett. 110, 210603 (2013),
        doi:10.1103/PhysRevLett.110.210603). Partners are drawn at random.
        """
        n = self.n_walkers
        for w in range(self.rounds % 2, len(self.windows) - 1, 2):
            partners = self.rng.permutation(n)
            uniforms = self.rng.random(n)
            for m in range(n):
                here, there = w * n + m, (w + 1) * n + int(partners[m])
                self.tried[w] += 1
                if uniforms[m] < np.exp(min(0.0, self.log_ratio(w, here, there))):
                    rows, swapped = [here, there], [there, here]
                    self.occupations[rows] = self.occupations[swapped]
                    self.energies[rows] = self.energies[swapped]
                    self.exchanged[w] += 1
        self.rounds += 1

    def log_ratio(self, w: int, here: int, there: int) -> float:
        """Logarithm of the acceptance ratio; −inf where a walker would leave its window."""
        low, high = self.windows[w], self.windows[w + 1]
        x, y = self.grid.bins_of(self.energies[[here, there]])
        inside = x >= high.bins.start and y < low.bins.stop
        if not inside:
            return -np.inf
        x_low, y_low = x - low.bins.start, y - low.bins.start
        x_high, y_high = x - high.bins.start, y - high.bins.start
        # A bin new to the other window has ln g = −∞ there: the way in is always open.
        return float(low.ln_g[x_low] - low.ln_g[y_low] + high.ln_g[y_high] - high.ln_g[x_high])

    def ln_g(self) -> np.ndarray:
        """Ln g of the whole range up to a constant, −inf where there was no visit, [n_bins]."""
        pieces = [(window.bins.start, window.ln_g) for window in self.windows]
        return joined(pieces, self.grid.n_bins)


def joined(pieces: Sequence[tuple[int, np.ndarray]], n_bins: int) -> np.ndarray:
    """Shift pieces of ln g so that they agree best where they overlap, and take their mean.

    Parameters
    ----------
    pieces
        First bin and ln g of every piece; −inf where it is not known.
    n_bins
        Bins of the whole.

    Raises
    ------
    ConvergenceError
        If neighbouring pieces share no bin that both have seen.

    Examples
    --------
    >>> joined([(0, np.array([0.0, 1.0, 3.0])), (1, np.array([5.0, 7.0, 7.5]))], 4).round(6)
    array([0. , 1. , 3. , 3.5])
    """
    table = np.full((len(pieces), n_bins), -np.inf)
    for row, (first, ln_g) in zip(table, pieces, strict=True):
        row[first : first + len(ln_g)] = ln_g
    seen = np.isfinite(table)
    values = np.where(seen, table, 0.0)
    number = np.maximum(seen.sum(axis=0), 1)
    # Least squares of the deviations from the mean of every bin, in the shifts of the pieces.
    matrix = np.diag(seen.sum(axis=1).astype(float)) - (seen / number) @ seen.T.astype(float)
    apart = np.where(seen, values - values.sum(axis=0) / number, 0.0)
    if np.linalg.matrix_rank(matrix, tol=1e-9) < len(pieces) - 1:
        raise ConvergenceError(
            "two windows share no energy that walkers of both have visited: take fewer windows, a "
            "larger overlap, or sample longer"
        )
    shifts = np.linalg.lstsq(matrix, -apart.sum(axis=1), rcond=None)[0]
    shifts -= shifts[0]
    total = np.where(seen, values + shifts[:, None], 0.0).sum(axis=0)
    return np.where(seen.any(axis=0), total / number, -np.inf)
