"""Which draws of a window count as independent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...alchemical_records import Windows
from .bennett import inefficiency

__all__ = ["Kept", "decorrelated"]


class Kept(NamedTuple):
    """Draws of a window that count, bool [chain, draw], and the draws per independent one.

    ``slowest`` is the series of the window that says so, [draw, chain].
    """

    mask: np.ndarray
    inefficiency: float
    slowest: np.ndarray


def _leading_series(windows: Windows, k: int) -> list[np.ndarray]:
    """Series of a window that free energies are made of, [draw, chain]: dU/ds, U_l − U_k nearby."""
    energies = windows.energies[k]
    near = [j for j in (k - 1, k + 1) if 0 <= j < windows.n_windows]
    series = [windows.slopes[k], *(energies[..., j] - energies[..., k] for j in near)]
    return [one.T for one in series]


def decorrelated(windows: Windows) -> list[Kept]:
    """Every g-th draw of each chain, g the largest statistical inefficiency of its series.

    J. D. Chodera, W. C. Swope, J. W. Pitera, C. Seok and K. A. Dill, J. Chem. Theory Comput. 3, 26
    (2007), doi:10.1021/ct0502864. A series that never changes has no say.
    """
    found = []
    for k in range(windows.n_windows):
        series = _leading_series(windows, k)
        each = [inefficiency(one) if np.ptp(one) > 0 else 0.0 for one in series]
        slowest = int(np.argmax(each))
        g = each[slowest] or float(windows.n_draws)
        stride = min(g, float(windows.n_draws))
        draws = np.unique(np.round(np.arange(0.0, windows.n_draws - 0.5, stride)).astype(int))
        mask = np.zeros((windows.n_chains, windows.n_draws), dtype=bool)
        mask[:, draws] = True
        found.append(Kept(mask, g, series[slowest]))
    return found
