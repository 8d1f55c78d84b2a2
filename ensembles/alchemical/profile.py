"""Free energy along λ of a trajectory, the density of the map divided out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import units

from ...errors import InputError
from ...statistics import effective_sample_size
from ...sublattice import is_whole, shown
from .maps import CompactMap, SimplexMap, SoftmaxMap

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["lambda_profile"]

_MAPS = {"compact": CompactMap, "softmax": SoftmaxMap}


def lambda_profile(
    trajectory: xr.Dataset,
    group: int | str = 0,
    species: int = 1,
    n_bins: int = 20,
    simplex: SimplexMap | None = None,
) -> xr.Dataset:
    r"""Free energy of a group along the λ of a species, uniform on the simplex at zero potential.

    A point with density p₀(λ) at zero potential and bias B counts exp(βB)/p₀(λ), so that

    .. math:: F_b = −k_BT \ln \Big[ \frac{1}{V_b} \sum_{t:\, λ_t ∈ b}
              \frac{e^{βB(λ_t)}}{p_0(λ_t)} \Big],

    with V_b the share of the simplex whose λ lies in the bin b. For one group of two species F is
    E(λ) − Σμ N(λ) up to a constant; of several groups it is averaged over the others.

    Parameters
    ----------
    trajectory
        What `LambdaTrajectory.run` gave, of an ensemble that keeps nothing.
    group
        Index or name.
    species
        Index of the species whose λ is the abscissa.
    n_bins
        Bins of equal width from 0 to 1.
    simplex
        The map; by default the one the trajectory names.

    Returns
    -------
    Dataset over ``bin``: ``free_energy`` in eV, its weighted mean zero, NaN where no draw fell;
    ``error``, one standard error by the autocorrelation of the draws; coordinate ``lambda``, the
    middle of the bin.

    Raises
    ------
    InputError
        If the trajectory kept species counts, or a group, species or number of bins is none.
    """
    if trajectory.attrs["kept"]:
        raise InputError(
            "the trajectory kept species counts, so that its λ has another density: take profiles "
            "from one in SemiGrandCanonical"
        )
    if not is_whole(n_bins, least=2):
        raise InputError(f"n_bins is {shown(n_bins)}; give a whole number, 2 or more")
    if simplex is None:
        simplex = _MAPS[trajectory.attrs["map"]](trajectory.attrs["map_number"])
    weights = _weights_of(trajectory, group)
    if not is_whole(species, least=0) or species >= weights.shape[2]:
        raise InputError(f"species is {shown(species)}; give 0 to {weights.shape[2] - 1}")
    kT = units.kB * trajectory.attrs["temperature"]
    bias = trajectory["bias"].values
    counts = np.exp((bias - bias.max()) / kT)
    density = simplex.density(weights)
    counts = np.divide(counts, density, out=np.zeros_like(counts), where=density > 0.0)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    place = np.clip(np.digitize(weights[:, :, species], edges) - 1, 0, n_bins - 1)
    volume = -np.diff((1.0 - edges) ** (weights.shape[2] - 1))
    inside = [np.where(place == b, counts, 0.0) for b in range(n_bins)]
    shares = np.array([part.mean() for part in inside]) / counts.mean()
    with np.errstate(divide="ignore"):
        free = -kT * np.log(shares / volume)
    errors = [
        kT * _error(part - share * counts) / (share * counts.mean()) if share > 0.0 else np.nan
        for part, share in zip(inside, shares, strict=True)
    ]
    return _labelled(free, np.array(errors), edges)


def _weights_of(trajectory: xr.Dataset, group: int | str) -> np.ndarray:
    """λ of a group, [draw, chain, species that it may hold]."""
    names = trajectory["group"].values.tolist()
    known = names if isinstance(group, str) else list(range(len(names)))
    if isinstance(group, bool) or group not in known:
        raise InputError(f"group is {shown(group)}; give one of {', '.join(map(str, known))}")
    found = trajectory["lambda"].values[:, :, known.index(group)]
    return np.asarray(found[:, :, np.isfinite(found).all(axis=(0, 1))])


def _error(series: np.ndarray) -> float:
    """Return the standard error of a mean."""
    number = min(effective_sample_size(series), float(series.size))
    return float(series.std() / np.sqrt(max(1.0, number - 1.0)))


def _labelled(free: np.ndarray, errors: np.ndarray, edges: np.ndarray) -> xr.Dataset:
    import xarray as xr  # noqa: PLC0415  (slow to import)

    known = np.isfinite(free)
    weighted = np.zeros_like(free)
    weighted[known] = 1.0 / np.maximum(errors[known], 1e-12) ** 2
    mean = float((weighted[known] * free[known]).sum() / weighted[known].sum())
    return xr.Dataset(
        {
            "free_energy": ("bin", np.where(known, free - mean, np.nan), {"units": "eV"}),
            "error": ("bin", errors, {"units": "eV"}),
        },
        coords={"lambda": ("bin", 0.5 * (edges[1:] + edges[:-1]), {"units": "1"})},
    )
