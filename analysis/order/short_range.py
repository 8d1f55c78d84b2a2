"""Short-range order: Warren–Cowley parameters by shell and species pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement, product
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.sparse import csr_array

from ...errors import InputError
from ...lattice import Lattice
from ..estimates import as_chains, blocks_of_draws, describe, sites_of, species_labels

__all__ = ["warren_cowley", "warren_cowley_series"]


class _Channel(NamedTuple):
    """Two sublattices, their species pairs, and the neighbour counts of every shell.

    ``neighbours[s]`` is [n_sites_a, n_sites_b]: how many images of site j lie in shell s of site i.
    """

    names: tuple[str, str]
    sites: tuple[np.ndarray, np.ndarray]
    pairs: tuple[tuple[int, int], ...]
    distances: tuple[float, ...]
    neighbours: tuple[csr_array, ...]


def warren_cowley(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    n_shells: int = 4,
    sublattices: Sequence[str] | None = None,
) -> xr.Dataset:
    r"""Warren–Cowley short-range order, averaged over samples, with errors.

    ``α_ab(s) = 1 − P_ab(s) / (c_a c_b)``, where ``P_ab(s)`` is the fraction of the pairs of shell
    ``s`` that hold a on the first site and b on the second, and ``c`` are the concentrations on
    their sublattices (J. M. Cowley, Phys. Rev. 77, 669 (1950), doi:10.1103/PhysRev.77.669). For
    a ≠ b, α < 0 says that unlike neighbours are preferred, α > 0 that like ones are. Within a
    sublattice ``Σ_b c_b α_ab = 0``.

    Pairs are counted once per periodic image. A random arrangement at fixed composition has not
    quite α = 0 in a finite cell: unlike pairs of distinct sites have ``−1/(n_sites − 1)``.

    Parameters
    ----------
    lattice
        The lattice; shells are those of its reference positions.
    occupations
        Shape [draw, chain, n_sites] (errors from the chains' autocorrelation), [n_replicas,
        n_sites] (independent replicas) or [n_sites] (no error).
    n_shells
        How many shells of neighbours, from the nearest on.
    sublattices
        A name or names; all pairs within and between them are taken. All sublattices unless given.

    Returns
    -------
    Dataset over (pair, shell) with ``mean``, ``error``, ``ess``, ``rhat``, ``converged``, and the
    coordinates ``distance`` (Å), ``species_a``, ``species_b``, ``sublattice_a``, ``sublattice_b``.
    A species that is absent from a sample has α undefined: NaN.

    Raises
    ------
    InputError
        If a sublattice is unknown, ``n_shells`` is not positive or the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> cells = np.floor(lattice.atoms.get_scaled_positions()[lattice.sites] * 2).astype(int)
    >>> rock_salt = cells.sum(axis=1) % 2
    >>> alpha = warren_cowley(lattice, rock_salt, n_shells=2)
    >>> alpha["mean"].sel(pair="B: Sc–Ta").values.tolist()
    [-1.0, 1.0]
    """
    return describe(warren_cowley_series(lattice, occupations, n_shells, sublattices))


def warren_cowley_series(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    n_shells: int = 4,
    sublattices: Sequence[str] | None = None,
) -> xr.DataArray:
    """Warren–Cowley parameters of every sample; see `warren_cowley` for the definition.

    Parameters
    ----------
    lattice, occupations, n_shells, sublattices
        As for `warren_cowley`.

    Returns
    -------
    Array over (draw, chain, pair, shell).
    """
    if n_shells < 1:
        raise InputError(f"n_shells = {n_shells} has no shell; give 1 or more")
    chains = as_chains(lattice, occupations)
    names = (sublattices,) if isinstance(sublattices, str) else tuple(sublattices or lattice.names)
    channels = _channels(lattice, n_shells, names)
    columns = [
        _channel_series(lattice, channel, chains, pair)
        for channel in channels
        for pair in channel.pairs
    ]
    return xr.DataArray(
        np.stack(columns, axis=2),
        dims=("draw", "chain", "pair", "shell"),
        coords=_coordinates(lattice, channels, n_shells),
        attrs={"long_name": "Warren–Cowley parameter", "units": "1"},
    )


def _channels(lattice: Lattice, n_shells: int, names: tuple[str, ...]) -> list[_Channel]:
    for name in names:
        species_labels(lattice, name)
    within = [(name, name) for name in names]
    return [_channel(lattice, n_shells, pair) for pair in (*within, *combinations(names, 2))]


def _channel(lattice: Lattice, n_shells: int, names: tuple[str, str]) -> _Channel:
    first, second = (sites_of(lattice, name) for name in names)
    n_species = [len(lattice.sublattices[name].species) for name in names]
    if names[0] == names[1]:
        pairs = tuple(combinations_with_replacement(range(n_species[0]), 2))
    else:
        pairs = tuple(product(range(n_species[0]), range(n_species[1])))
    shells = lattice.shells(n_shells, *names)
    position = np.full(lattice.n_sites, -1)
    position[first] = np.arange(first.size)
    row = position.copy()
    position[second] = np.arange(second.size)
    neighbours = tuple(
        csr_array(
            (np.ones(len(shell.pairs)), (row[shell.pairs[:, 0]], position[shell.pairs[:, 1]])),
            shape=(first.size, second.size),
        )
        for shell in shells
    )
    distances = tuple(float(shell.distance) for shell in shells)
    return _Channel(names, (first, second), pairs, distances, neighbours)


def _channel_series(
    lattice: Lattice, channel: _Channel, chains: np.ndarray, pair: tuple[int, int]
) -> np.ndarray:
    """α of one species pair, [draw, chain, shell]."""
    result = np.full((*chains.shape[:2], len(channel.neighbours)), np.nan)
    for block, flat in blocks_of_draws(lattice, chains):
        first = (flat[:, channel.sites[0]] == pair[0]).astype(float)
        second = (flat[:, channel.sites[1]] == pair[1]).astype(float)
        expected = first.mean(axis=1) * second.mean(axis=1)
        for s, counts in enumerate(channel.neighbours):
            found = np.einsum("ni,ni->n", first, (counts @ second.T).T) / counts.sum()
            alpha = np.full(len(flat), np.nan)
            np.divide(found, expected, out=alpha, where=expected > 0)
            result[block, :, s] = (1.0 - alpha).reshape(-1, chains.shape[1])
    return result


def _coordinates(lattice: Lattice, channels: list[_Channel], n_shells: int) -> dict[str, object]:
    rows = [(channel, pair) for channel in channels for pair in channel.pairs]
    of = {name: lattice.sublattices[name].species for name in lattice.names}
    species = [(of[c.names[0]][p[0]], of[c.names[1]][p[1]]) for c, p in rows]
    labels = [_pair_label(c.names, s) for (c, _), s in zip(rows, species, strict=True)]
    return {
        "pair": labels,
        "shell": np.arange(1, n_shells + 1),
        "distance": (("pair", "shell"), np.array([c.distances for c, _ in rows])),
        "species_a": ("pair", [a for a, _ in species]),
        "species_b": ("pair", [b for _, b in species]),
        "sublattice_a": ("pair", [c.names[0] for c, _ in rows]),
        "sublattice_b": ("pair", [c.names[1] for c, _ in rows]),
    }


def _pair_label(names: tuple[str, str], species: tuple[str, str]) -> str:
    where = names[0] if names[0] == names[1] else f"{names[0]}, {names[1]}"
    return f"{where}: {species[0]}–{species[1]}"
