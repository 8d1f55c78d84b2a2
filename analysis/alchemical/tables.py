"""Windows and works as pandas tables: ``u_nk`` and ``dHdl`` as alchemlyb has them, tidy works."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from ase.units import kB

from ...alchemical_records import Windows, Works
from ...errors import InputError
from .decorrelation import decorrelated

__all__ = ["dHdl", "u_nk", "work_table"]


def u_nk(windows: Windows, *, decorrelate: bool = False) -> pd.DataFrame:
    """Reduced potentials u_l(x) = U_l(x)/k_BT in the standard form of alchemlyb.

    Parameters
    ----------
    windows
        Energies of configurations drawn at several couplings.
    decorrelate
        Whether to keep only every g-th draw of a window, g its statistical inefficiency, as
        `window_free_energy` does: alchemlyb's estimators take draws as independent.

    Returns
    -------
    A table with the index (``time``, ``fep-lambda``), the coupling that a draw comes from, and one
    column per coupling at which its energy is known. ``time`` counts draws, those of one chain
    after another. ``attrs`` hold "temperature" (K) and "energy_unit" ("kT").

    Raises
    ------
    InputError
        If they are no windows.

    Examples
    --------
    >>> import numpy as np
    >>> windows = Windows(np.array([0.0, 1.0]), np.ones((2, 1, 3, 2)), np.ones((2, 1, 3)), 300.0)
    >>> table = u_nk(windows)
    >>> table.shape, table.index.names, list(table.columns), table.attrs["energy_unit"]
    ((6, 2), FrozenList(['time', 'fep-lambda']), [0.0, 1.0], 'kT')
    """
    masks = _masks(windows, decorrelate)
    rows = [windows.energies[k][mask] for k, mask in enumerate(masks)]
    columns = [float(s) for s in windows.couplings]
    return _table(windows, masks, np.concatenate(rows), columns)


def dHdl(windows: Windows, *, decorrelate: bool = False) -> pd.DataFrame:  # noqa: N802
    """Slopes (dU/ds)/k_BT in the standard form of alchemlyb.

    Parameters
    ----------
    windows, decorrelate
        As for `u_nk`.

    Returns
    -------
    A table with the index of `u_nk` and the column ``fep``.

    Raises
    ------
    InputError
        If they are no windows.
    """
    masks = _masks(windows, decorrelate)
    rows = [windows.slopes[k][mask] for k, mask in enumerate(masks)]
    return _table(windows, masks, np.concatenate(rows)[:, None], ["fep"])


def work_table(works: Works) -> pd.DataFrame:
    """Works of both directions, one a row.

    Parameters
    ----------
    works
        Works of switching.

    Returns
    -------
    A table with the columns ``direction`` ("forward" or "reverse"), ``chain``, ``draw``, ``work``
    (eV, of the protocol in its own direction) and ``reduced_work`` (in k_BT); ``attrs`` hold
    "temperature" (K), "energy_unit" ("eV"), "n_steps", "schedule" and "label".

    Raises
    ------
    InputError
        If they are no works.

    Examples
    --------
    >>> import numpy as np
    >>> works = Works(np.array([0.3, 0.2]), np.array([-0.2]), 300.0, n_steps=10)
    >>> table = work_table(works)
    >>> table.groupby("direction")["work"].mean().round(2).to_dict()
    {'forward': 0.25, 'reverse': -0.2}
    """
    if not isinstance(works, Works):
        kind = type(works).__name__
        raise InputError(f"works are {kind}; give the Works that Switching.run returned")
    parts = []
    for direction in ("forward", "reverse"):
        values = getattr(works, direction)
        values = values[:, None] if values.ndim == 1 else values
        draw, chain = np.indices(values.shape).reshape(2, -1)
        parts.append(
            pd.DataFrame({
                "direction": direction,
                "chain": chain,
                "draw": draw,
                "work": values.ravel(),
                "reduced_work": values.ravel() / (kB * works.temperature),
            })
        )  # fmt: skip
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    table.attrs = {
        "temperature": works.temperature,
        "energy_unit": "eV",
        "n_steps": works.n_steps,
        "schedule": works.schedule,
        "label": works.label,
    }
    return table


def _masks(windows: Windows, decorrelate: bool) -> list[np.ndarray]:
    if not isinstance(windows, Windows):
        kind = type(windows).__name__
        raise InputError(f"windows are {kind}; give the Windows that WindowSampling.run returned")
    if decorrelate:
        return [one.mask for one in decorrelated(windows)]
    return [np.ones((windows.n_chains, windows.n_draws), dtype=bool)] * windows.n_windows


def _table(
    windows: Windows, masks: list[np.ndarray], energies: np.ndarray, columns: list[Any]
) -> pd.DataFrame:
    times = np.concatenate([np.flatnonzero(mask.ravel()) for mask in masks]).astype(float)
    numbers = [int(mask.sum()) for mask in masks]
    index = pd.MultiIndex.from_arrays(
        [times, np.repeat(windows.couplings, numbers)], names=["time", "fep-lambda"]
    )
    table = pd.DataFrame(energies / (kB * windows.temperature), index=index, columns=columns)
    table.attrs = {"temperature": windows.temperature, "energy_unit": "kT"}
    return table
