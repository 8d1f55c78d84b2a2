"""Means with errors, and the blocks in which samples are read so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..errors import InputError
from ..lattice import Lattice
from ..statistics import Summary, summary

__all__ = [
    "LazyChains",
    "Meter",
    "as_chains",
    "blocks_of_draws",
    "derived",
    "describe",
    "measured",
    "scaled",
    "sites_of",
    "summarize_series",
]

CONFIGURATIONS_PER_BLOCK = 4096
SITES_PER_BLOCK = 1 << 20
"""Sites of all configurations of a block together: what is made of a block fits into a cache."""
SAME = 1e-12
"""Values that differ by no more than this share of the largest differ by rounding."""

Meter = Callable[[np.ndarray], np.ndarray]
"""From checked occupations [n, n_sites] to what is measured of each, [n, ...]."""


class LazyChains:
    """Occupations as [draw, chain, site] that are read when draws are asked for.

    Indices are as for an array, with a number or a slice of draws first; an array comes back, read
    from disk where the labelled array lies there. ``draws_per_chunk`` is 1 where nothing is stored
    in chunks.

    Parameters
    ----------
    occupations
        With the dimensions ``draw`` and ``site``, and ``chain`` if there are several.

    Examples
    --------
    >>> labelled = xr.DataArray(np.zeros((2, 8, 5), int), dims=("chain", "site", "draw"))
    >>> chains = LazyChains(labelled)
    >>> chains.shape, chains[1:3].shape, chains[0, 0].shape
    ((5, 2, 8), (2, 2, 8), (8,))
    """

    def __init__(self, occupations: xr.DataArray) -> None:
        sizes = {str(name): size for name, size in occupations.sizes.items()}
        self._array = occupations
        self._order = [name for name in ("draw", "chain", "site") if name in sizes]
        self.shape = (sizes["draw"], sizes.get("chain", 1), sizes["site"])
        chunks = occupations.encoding.get("preferred_chunks") or {}
        self.draws_per_chunk = int(chunks.get("draw", 1))

    def __getitem__(self, key: Any) -> np.ndarray:
        draws, *others = key if isinstance(key, tuple) else (key,)
        if not isinstance(draws, slice):
            return self[slice(draws, draws + 1 or None)][(0, *others)]
        block = self._array.isel(draw=draws).transpose(*self._order).to_numpy()
        array = block.reshape(len(block), *self.shape[1:])
        return np.asarray(array[(slice(None), *others)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[:], dtype=dtype, copy=copy)


def as_chains(lattice: Lattice, occupations: xr.DataArray | np.ndarray) -> np.ndarray | LazyChains:
    """Occupations of any accepted shape as [draw, chain, site].

    [n_sites] is one configuration and [n_replicas, n_sites] are independent replicas: one draw
    each. A labelled array may have its dimensions in any order; without ``chain`` it is one chain.
    Its values are read when `blocks_of_draws` or an index asks for them, so that a stored run may
    be larger than memory.

    Parameters
    ----------
    lattice
        The lattice that the occupations belong to.
    occupations
        Integers of shape [n_sites], [n_replicas, n_sites] or [draw, chain, n_sites].

    Returns
    -------
    The occupations with the axes (draw, chain, site); nothing is copied.

    Raises
    ------
    InputError
        If the shape is none of these or the number of sites is not the lattice's.
    """
    array: np.ndarray | LazyChains
    if isinstance(occupations, xr.DataArray):
        unknown = set(occupations.dims) - {"draw", "chain", "site"}
        if unknown or "site" not in occupations.dims:
            raise InputError(
                f"occupations have the dimensions {', '.join(map(str, occupations.dims))}; give "
                "draw, chain and site, or site alone"
            )
        order = [name for name in ("chain", "site") if name in occupations.dims]
        lazy = "draw" in occupations.dims
        array = LazyChains(occupations) if lazy else occupations.transpose(*order).to_numpy()
    else:
        array = np.asarray(occupations)
    shape = array.shape
    if not 1 <= len(shape) <= 3 or shape[-1] != lattice.n_sites or not np.prod(shape):
        raise InputError(
            f"occupations of shape {shape} do not fit a lattice of {lattice.n_sites} sites; "
            "give [n_sites], [n_replicas, n_sites] or [draw, chain, n_sites]"
        )
    if isinstance(array, LazyChains):
        return array
    return array.reshape((1,) * (3 - array.ndim) + array.shape)


def blocks_of_draws(
    lattice: Lattice, chains: np.ndarray | LazyChains
) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of the draws with their checked occupations int8 [n, n_sites], in bounded memory.

    Stored samples are read in whole chunks, each of them once.
    """
    n_draws, n_chains, n_sites = chains.shape
    most = min(CONFIGURATIONS_PER_BLOCK, SITES_PER_BLOCK // n_sites)
    step = max(1, most // n_chains)
    chunk = chains.draws_per_chunk if isinstance(chains, LazyChains) else 1
    stride = max(step // chunk, 1) * chunk
    for start in range(0, n_draws, stride):
        read = np.asarray(chains[start : start + stride])
        for first in range(0, len(read), step):
            part = read[first : first + step]
            block = slice(start + first, start + first + len(part))
            yield block, lattice.check(part.reshape(-1, n_sites))


def measured(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    meters: Mapping[str, Meter],
) -> dict[str, np.ndarray]:
    """Measure several things of every sample in one pass over the occupations.

    Parameters
    ----------
    lattice, occupations
        As for `as_chains`.
    meters
        What to measure, by name.

    Returns
    -------
    Arrays [draw, chain, ...] by the same names.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> found = measured(lattice, np.eye(8, dtype=int), {"Ta": lambda x: (x == 1).sum(axis=1)})
    >>> found["Ta"].tolist()
    [[1, 1, 1, 1, 1, 1, 1, 1]]
    """
    chains = as_chains(lattice, occupations)
    n_draws, n_chains, _ = chains.shape
    found: dict[str, np.ndarray] = {}
    for block, flat in blocks_of_draws(lattice, chains):
        for name, meter in meters.items():
            values = meter(flat)
            if name not in found:
                found[name] = np.empty((n_draws, n_chains, *values.shape[1:]), values.dtype)
            found[name][block] = values.reshape(-1, n_chains, *values.shape[1:])
    return found


def summarize_series(values: np.ndarray) -> Summary:
    """Mean and error of one quantity sampled as [draw, chain].

    A single draw of several chains counts as independent replicas: their scatter gives the error,
    and as nothing is known of the chains, ``converged`` is False. One value has no error (NaN), nor
    have chains that all have the same.

    Parameters
    ----------
    values
        The series, shape [draw, chain].

    Returns
    -------
    Mean, standard error, effective sample size, R-hat and verdict.

    Examples
    --------
    >>> import numpy as np
    >>> result = summarize_series(np.array([[1.0, 3.0]]))
    >>> float(result.mean), float(result.error), result.converged
    (2.0, 1.0, False)
    """
    values = np.asarray(values, dtype=float)
    n_draws, n_chains = values.shape
    if not np.isfinite(values).all():
        return Summary(np.nan, np.nan, np.nan, np.nan, False)
    if n_draws > 1:
        return summary(values)
    if n_chains > 1 and np.ptp(values) <= SAME * np.abs(values).max():
        return Summary(float(values.mean()), np.nan, 0.0, np.nan, False)
    error = float(values.std(ddof=1) / np.sqrt(n_chains)) if n_chains > 1 else np.nan
    return Summary(float(values.mean()), error, float(n_chains), np.nan, False)


def describe(series: xr.DataArray) -> xr.Dataset:
    """Summarize a labelled series over its dimensions (draw, chain).

    Parameters
    ----------
    series
        Any quantity with the dimensions ``draw`` and ``chain`` and others that label it.

    Returns
    -------
    A dataset over the other dimensions with the variables ``mean``, ``error`` (standard error),
    ``ess``, ``rhat`` and ``converged``; the coordinates and attributes are those of the series.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> noise = np.random.default_rng(1).normal(size=(500, 4, 2))
    >>> table = describe(xr.DataArray(noise, dims=("draw", "chain", "axis")))
    >>> table.sizes["axis"], bool(table.converged.all()), float(table.error[0]) < 0.03
    (2, True, True)
    """
    labels = [name for name in series.dims if name not in {"draw", "chain"}]
    ordered = series.transpose("draw", "chain", *labels)
    shape = tuple(ordered.sizes[name] for name in labels)
    columns = ordered.to_numpy().reshape(ordered.sizes["draw"], ordered.sizes["chain"], -1)
    rows = [summarize_series(columns[:, :, k]) for k in range(columns.shape[2])]
    coords = {
        name: coord
        for name, coord in series.coords.items()
        if not {"draw", "chain"} & set(coord.dims)
    }
    variables = {
        name: (labels, np.array([getattr(row, name) for row in rows]).reshape(shape))
        for name in Summary._fields
    }
    return xr.Dataset(variables, coords=coords, attrs=series.attrs)


def derived(value: float, influence: np.ndarray) -> Summary:
    """Error of a smooth function of several means, by linearisation.

    A function ``f(⟨A⟩, ⟨B⟩, …)`` has to first order the error of the mean of the scalar series
    ``Σ_a ∂f/∂⟨a⟩ (a_t − ⟨a⟩)``, its *influence*, whose own autocorrelation is then the one that
    matters (U. Wolff, Comput. Phys. Commun. 156, 143 (2004), doi:10.1016/S0010-4655(03)00467-3).
    R-hat and ESS are those of the influence.

    Parameters
    ----------
    value
        The function at the sample means.
    influence
        Shape [draw, chain]; its mean is zero.

    Returns
    -------
    The value with the error and the verdict of the influence series.
    """
    linear = summarize_series(influence)
    return linear._replace(mean=float(value))


def scaled(result: Summary, factor: float) -> Summary:
    """Summary of ``factor`` times a quantity."""
    return result._replace(mean=result.mean * factor, error=result.error * abs(factor))


def sites_of(lattice: Lattice, sublattice: str) -> np.ndarray:
    """Return the indices [n] of a sublattice's sites among all sites of the lattice."""
    return np.flatnonzero(lattice.sublattice_of_site == lattice.names.index(sublattice))


def species_labels(lattice: Lattice, sublattice: str) -> Sequence[str]:
    """Species of a sublattice; InputError names the sublattices there are."""
    if sublattice not in lattice.names:
        raise InputError(
            f"sublattice {sublattice!r} is not one of {', '.join(lattice.names)}; "
            "use the name given when the lattice was made"
        )
    return lattice.sublattices[sublattice].species
