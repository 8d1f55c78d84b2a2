"""Means with errors: labelled summaries of sampled series, and errors of derived quantities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from ..errors import InputError
from ..lattice import Lattice
from ..statistics import Summary, summary

__all__ = [
    "as_chains",
    "blocks_of_draws",
    "derived",
    "describe",
    "scaled",
    "sites_of",
    "summarize_series",
]

CONFIGURATIONS_PER_BLOCK = 4096


def as_chains(lattice: Lattice, occupations: xr.DataArray | np.ndarray) -> np.ndarray:
    """Occupations of any accepted shape as [draw, chain, site].

    [n_sites] is one configuration and [n_replicas, n_sites] are independent replicas: one draw
    each. A labelled array may have its dimensions in any order.

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
    if isinstance(occupations, xr.DataArray):
        order = [name for name in ("draw", "chain", "site") if name in occupations.dims]
        occupations = occupations.transpose(*order).data
    array = np.asarray(occupations)
    if not 1 <= array.ndim <= 3 or array.shape[-1] != lattice.n_sites or array.size == 0:
        raise InputError(
            f"occupations of shape {array.shape} do not fit a lattice of {lattice.n_sites} sites; "
            "give [n_sites], [n_replicas, n_sites] or [draw, chain, n_sites]"
        )
    return array.reshape((1,) * (3 - array.ndim) + array.shape)


def blocks_of_draws(lattice: Lattice, chains: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of the draws with their checked occupations [n, n_sites], in bounded memory."""
    n_draws, n_chains, n_sites = chains.shape
    step = max(1, CONFIGURATIONS_PER_BLOCK // n_chains)
    for start in range(0, n_draws, step):
        block = slice(start, min(start + step, n_draws))
        yield block, lattice.check(np.asarray(chains[block]).reshape(-1, n_sites))


def summarize_series(values: np.ndarray) -> Summary:
    """Mean and error of one quantity sampled as [draw, chain].

    A single draw of several chains counts as independent replicas: their scatter gives the error,
    and as nothing is known of the chains, ``converged`` is False. One value has no error (NaN).

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
