"""Free energy along λ of a trajectory, the density of the map divided out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units

from ...errors import InputError
from ...statistics import effective_sample_size
from ...sublattice import is_whole, shown
from .maps import CompactMap, SimplexMap, SoftmaxMap

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["lambda_profile", "map_of"]

_MAPS = {"compact": CompactMap, "softmax": SoftmaxMap}
_SLICE = 20_000  # points by which the share of a bin that λ reaches is measured


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

    with V_b the share of the simplex whose λ lies in the bin b and is one that the map reaches: a
    compact map leaves out a margin of about exp(−2c). For one group of two species F is
    E(λ) − Σμ N(λ) up to a constant, plus that of the atoms where they move. Of several groups the
    others are integrated over, each with its own measure m(θ), not a uniform one.

    Parameters
    ----------
    trajectory
        What `LambdaTrajectory.run` gave, of an ensemble that keeps nothing.
    group
        Index or name.
    species
        Index of the species whose λ is the abscissa.
    n_bins
        Bins of equal width from 0 to 1; one that the map does not reach stays NaN.
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
        If the trajectory kept species counts, a group, species or number of bins is none, or the
        map is one of the user's own and not given.
    """
    if trajectory.attrs["kept"]:
        raise InputError(
            "the trajectory kept species counts, so that its λ has another density: take profiles "
            "from one in SemiGrandCanonical"
        )
    if not is_whole(n_bins, least=2):
        raise InputError(f"n_bins is {shown(n_bins)}; give a whole number, 2 or more")
    simplex = map_of(trajectory.attrs, simplex)
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
    volume = _reached(simplex, edges, weights.shape[2])
    inside = [np.where(place == b, counts, 0.0) for b in range(n_bins)]
    shares = np.array([part.mean() for part in inside]) / counts.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        free = -kT * np.log(shares / volume)
    errors = [
        kT * _error(part - share * counts) / (share * counts.mean()) if share > 0.0 else np.nan
        for part, share in zip(inside, shares, strict=True)
    ]
    return _labelled(free, np.array(errors), edges)


def map_of(attributes: dict[str, Any], given: SimplexMap | None) -> SimplexMap:
    """Return the map of a trajectory: the one given, or the one that its attributes name.

    Raises
    ------
    InputError
        If neither is known.
    """
    if given is not None:
        if not isinstance(given, SimplexMap):
            raise InputError(f"simplex is {shown(given)}; give the map of the trajectory")
        return given
    name = attributes["map"]
    if name not in _MAPS:
        raise InputError(
            f"the trajectory's map is {shown(name)}, which is not one of {', '.join(_MAPS)}: give "
            "it as simplex="
        )
    return _MAPS[name](attributes["map_number"])


def _reached(simplex: SimplexMap, edges: np.ndarray, n_species: int) -> np.ndarray:
    """Share of the simplex in every bin of the λ of one species, where the map's density is."""
    left, right = edges[:-1], edges[1:]
    whole = (1.0 - left) ** (n_species - 1) - (1.0 - right) ** (n_species - 1)
    # Strata of the bin's own volume, and the rest of the weight at random: the same every time.
    u = (np.arange(_SLICE) + 0.5) / _SLICE
    rest = np.random.Generator(np.random.PCG64(0)).dirichlet(np.ones(n_species - 1), size=_SLICE)
    found = np.empty(len(whole))
    for b, share in enumerate(whole):
        own = 1.0 - ((1.0 - left[b]) ** (n_species - 1) - u * share) ** (1.0 / (n_species - 1))
        weights = np.concatenate([own[:, None], (1.0 - own[:, None]) * rest], axis=1)
        found[b] = share * (simplex.density(weights) > 0.0).mean()
    return found


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
