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
from ...sublattice import is_whole
from ..estimates import describe, measured, sites_of
from .wave_vectors import chosen_sublattices

__all__ = ["PairMeter", "warren_cowley", "warren_cowley_series"]


class _Channel(NamedTuple):
    """Two sublattices, their species pairs, and the neighbour counts of every shell.

    ``neighbours[s]`` is [n_sites_a, n_sites_b]: how many images of site j lie in shell s of site i.
    """

    names: tuple[str, str]
    sites: tuple[np.ndarray, np.ndarray]
    n_species: tuple[int, int]
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
    meter = PairMeter(lattice, n_shells, sublattices)
    return meter.labelled(measured(lattice, occupations, {"pairs": meter})["pairs"])


class PairMeter:
    """Measures the Warren–Cowley parameters of occupations [n, n_sites], as [n, pair, shell].

    Parameters
    ----------
    lattice, n_shells, sublattices
        As for `warren_cowley`.
    """

    def __init__(
        self, lattice: Lattice, n_shells: int, sublattices: Sequence[str] | None = None
    ) -> None:
        if not is_whole(n_shells, least=1):
            raise InputError(f"n_shells = {n_shells!r} has no shell; give a whole number from 1 on")
        self._channels = _channels(lattice, n_shells, chosen_sublattices(lattice, sublattices))
        self._coordinates = _coordinates(lattice, self._channels, n_shells)

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        """Return α of every configuration; NaN for a species that is absent."""
        return np.concatenate([_alpha(channel, flat) for channel in self._channels], axis=1)

    def labelled(self, values: np.ndarray) -> xr.DataArray:
        """Label what was measured, [draw, chain, pair, shell]."""
        return xr.DataArray(
            values,
            dims=("draw", "chain", "pair", "shell"),
            coords=self._coordinates,
            attrs={"long_name": "Warren–Cowley parameter", "units": "1"},
        )


def _channels(lattice: Lattice, n_shells: int, names: Sequence[str]) -> list[_Channel]:
    within = [(name, name) for name in names]
    return [_channel(lattice, n_shells, pair) for pair in (*within, *combinations(names, 2))]


def _channel(lattice: Lattice, n_shells: int, names: tuple[str, str]) -> _Channel:
    first, second = (sites_of(lattice, name) for name in names)
    n_species = (_n_species(lattice, names[0]), _n_species(lattice, names[1]))
    if names[0] == names[1]:
        pairs = tuple(combinations_with_replacement(range(n_species[0]), 2))
    else:
        pairs = tuple(product(range(n_species[0]), range(n_species[1])))
    shells = lattice.shells(n_shells, *names)
    position = np.full(lattice.n_sites, -1)
    position[first] = np.arange(first.size)
    row = position.copy()
    position[second] = np.arange(second.size)
    size = (first.size, second.size)
    neighbours = tuple(
        _counted(row[shell.pairs[:, 0]], position[shell.pairs[:, 1]], size) for shell in shells
    )
    distances = tuple(float(shell.distance) for shell in shells)
    return _Channel(names, (first, second), n_species, pairs, distances, neighbours)


def _n_species(lattice: Lattice, name: str) -> int:
    return len(lattice.sublattices[name].species)


def _counted(i: np.ndarray, j: np.ndarray, size: tuple[int, int]) -> csr_array:
    """How often each pair of sites occurs, in the smallest type that holds a site's neighbours.

    Sums over neighbours are then exact, and many of them fit into one register.
    """
    most = int(np.bincount(i).max())
    kind = np.int8 if most < 128 else np.int16 if most < 32_768 else np.int32
    counts = csr_array((np.ones(len(i), kind), (i, j)), shape=size)
    counts.sum_duplicates()
    return counts


def _alpha(channel: _Channel, flat: np.ndarray) -> np.ndarray:
    """α of every species pair and shell, [n, pair, shell]."""
    held = [_one_hot(flat, *part) for part in zip(channel.sites, channel.n_species, strict=True)]
    amounts = [[x.sum(axis=0, dtype=np.int32) for x in rows] for rows in held]
    share = [[n / s.size for n in part] for part, s in zip(amounts, channel.sites, strict=True)]
    result = np.full((len(flat), len(channel.pairs), len(channel.neighbours)), np.nan)
    for s, neighbours in enumerate(channel.neighbours):
        found = _pair_counts(held, amounts, neighbours)
        for p, (a, b) in enumerate(channel.pairs):
            expected = share[0][a] * share[1][b]
            known = expected > 0
            fraction = found[a][b][known] / int(neighbours.sum(dtype=np.int64))
            result[known, p, s] = 1.0 - fraction / expected[known]
    return result


def _one_hot(flat: np.ndarray, sites: np.ndarray, n_species: int) -> list[np.ndarray]:
    """Whether sites hold each species, int8 [site, n]."""
    columns = np.ascontiguousarray(flat[:, sites].T)
    return [(columns == k).view(np.int8) for k in range(n_species)]


def _pair_counts(
    held: list[list[np.ndarray]], amounts: list[list[np.ndarray]], neighbours: csr_array
) -> list[list[np.ndarray]]:
    """Ordered pairs of one shell by species on the first and the second site, each [n].

    All but the last species are counted; with it, a species has as many pairs as its sites have
    neighbours.
    """
    first, second = held
    last = len(first) - 1, len(second) - 1
    around = [neighbours @ x.astype(neighbours.dtype, copy=False) for x in second[:-1]]
    found = [[_sum_where(x, y) for y in around] for x in first[:-1]]
    ends = [_ends(neighbours, axis, held[axis], amounts[axis]) for axis in (0, 1)]
    for a in range(last[0]):
        found[a].append(ends[0][a] - sum(found[a]))
    found.append([ends[1][b] - sum(row[b] for row in found) for b in range(last[1] + 1)])
    return found


def _sum_where(held: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum over the sites that hold a species, [n]: −1 has all bits set and 0 has none."""
    mask = np.negative(held, dtype=values.dtype)
    mask &= values
    return np.asarray(mask.sum(axis=0, dtype=np.int32))


def _ends(
    neighbours: csr_array, axis: int, held: list[np.ndarray], amounts: list[np.ndarray]
) -> list[np.ndarray]:
    """Pairs of the shell that have each species on their first (axis 0) or second site, [n]."""
    per_site = np.asarray(neighbours.sum(axis=1 - axis, dtype=np.int64)).ravel()
    if (per_site == per_site[0]).all():
        return [per_site[0] * n for n in amounts]
    return [np.rint(per_site.astype(float) @ x).astype(np.int32) for x in held]


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
