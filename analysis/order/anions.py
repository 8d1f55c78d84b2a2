"""What surrounds the anions: environments counted by the species of their cation neighbours."""

from __future__ import annotations

from collections import Counter
from math import comb
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from ase.data import chemical_symbols
from ase.formula import non_metals

from ...errors import InputError
from ...lattice import Lattice
from ..estimates import as_chains, describe, measured, sites_of, species_labels
from ..wording import with_error
from .first_shells import first_shells
from .statements import doubt

__all__ = ["anion_environments"]

MOST_ENVIRONMENTS = 500


class _Shells(NamedTuple):
    """First shells: ``anions`` [n] are atoms, ``neighbours`` lists of positions on a sublattice."""

    anions: np.ndarray
    neighbours: list[np.ndarray]
    longest: float


def anion_environments(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    sublattice: str | None = None,
    anion: str | None = None,
    cutoff: float | None = None,
) -> xr.Dataset:
    r"""Environments of the anions: the fractions of those with each set of cation neighbours.

    In a perovskite A(B′B″)O₃ every O has two B neighbours, and the environments are B′–O–B′,
    B′–O–B″ and B″–O–B″; in perfect rock-salt order all are B′–O–B″. In rock salt they are
    octahedra such as OMg₄Ca₂, written "O: Mg4 Ca2". The shell around an anion holds the sites of
    the sublattice up to the cutoff, or up to the widest gap between successive distances, by the
    reference positions. Vacancies count as "X".

    Parameters
    ----------
    lattice
        The lattice.
    occupations
        Shape [draw, chain, n_sites], [n_replicas, n_sites] or [n_sites].
    sublattice
        The sublattice of the cations; may be left out if there is only one.
    anion
        Symbol of a spectator; the one non-metal (or negatively charged) spectator unless given.
    cutoff
        In Å.

    Returns
    -------
    Dataset over ``environment`` with ``mean``, ``error``, ``ess``, ``rhat``, ``converged`` of the
    fractions, and ``random``: the exact mean over arrangements of the counts of the first draw
    (hypergeometric; NaN in a cell so small that one site surrounds an anion twice). All
    environments that the shells allow are listed, found or not, with the coordinate ``neighbours``
    (their number).

    Raises
    ------
    InputError
        If there is no such anion, it has no neighbours, or too many environments are possible.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
    >>> cells = np.floor(lattice.atoms.get_scaled_positions()[lattice.sites] * 4).astype(int)
    >>> table = anion_environments(lattice, cells.sum(axis=1) % 2)
    >>> dict(zip(table["environment"].values.tolist(), table["mean"].values.tolist(), strict=True))
    {'Sc–O–Sc': 0.0, 'Sc–O–Ta': 1.0, 'Ta–O–Ta': 0.0}
    >>> table["random"].values.round(3).tolist()
    [0.246, 0.508, 0.246]
    """
    if sublattice is None and len(lattice.names) > 1:
        raise InputError(
            f"the lattice has the sublattices {', '.join(lattice.names)}; say which holds the "
            "cations with sublattice=…"
        )
    name = sublattice or lattice.names[0]
    species = list(species_labels(lattice, name))
    anion = _chosen_anion(lattice, anion)
    shells = _first_shells(lattice, name, anion, cutoff)
    kinds = _kinds(shells, len(species))
    counter = _Counter(shells, kinds, sites_of(lattice, name), len(species))

    series = measured(lattice, occupations, {"shares": counter.shares})["shares"]
    labels = [_label(anion, species, kind) for kind in kinds]
    coords = {
        "environment": labels,
        "neighbours": ("environment", [sum(kind) for kind in kinds]),
    }
    attrs: dict[str, Any] = {"long_name": f"fraction of the {anion} atoms", "units": "1"}
    attrs |= {"anion": anion, "sublattice": name, "shell_ends_at": shells.longest}
    result = describe(
        xr.DataArray(series, dims=("draw", "chain", "environment"), coords=coords, attrs=attrs)
    )
    first = np.asarray(as_chains(lattice, occupations)[0, 0])
    counts = np.bincount(first[counter.sites], minlength=len(species))
    result["random"] = ("environment", counter.random(counts))
    result.attrs["statement"] = _statement(result)
    return result


def _statement(table: xr.Dataset) -> str:
    """Tell the environment whose share differs most from that of random arrangements."""
    off = np.nan_to_num(np.abs((table["mean"] - table["random"]).to_numpy()), nan=0.0)
    row = table.isel(environment=int(np.argmax(off + 1e-9 * table["mean"].to_numpy())))
    random = float(row["random"])
    known = f" ({100 * random:.3g} % in random arrangements)" if np.isfinite(random) else ""
    share = with_error(100 * float(row["mean"]), 100 * float(row["error"]), " %")
    return (
        f"Of the {table.attrs['anion']} atoms, {share} are in the environment "
        f"{row['environment'].item()}{known}.{doubt(row)}"
    )


def _chosen_anion(lattice: Lattice, anion: str | None) -> str:
    there = [
        chemical_symbols[z] for z in np.unique(lattice.atoms.numbers[lattice.spectators]).tolist()
    ]
    if anion is not None:
        if anion not in there:
            raise InputError(
                f"{anion!r} is no spectator of this lattice, which has "
                f"{', '.join(there) or 'none'}; name one of them"
            )
        return anion
    charges = lattice.spectator_charges
    if charges is not None:
        negative = [symbol for symbol in there if charges[symbol] < 0]
    else:
        negative = [symbol for symbol in there if symbol in non_metals]
    if len(negative) != 1:
        raise InputError(
            f"the spectators {', '.join(there) or '(none)'} hold "
            f"{', '.join(negative) or 'no anion'}; name one with anion=…"
        )
    return negative[0]


def _first_shells(lattice: Lattice, name: str, anion: str, cutoff: float | None) -> _Shells:
    spectators = lattice.spectators
    anions = spectators[lattice.atoms.symbols[spectators] == anion]
    positions, cell = lattice.atoms.positions, lattice.atoms.cell.array
    around = positions[lattice.sites[sites_of(lattice, name)]]
    return _Shells(anions, *first_shells(positions[anions], around, cell, cutoff))


def _kinds(shells: _Shells, n_species: int) -> list[tuple[int, ...]]:
    """Every number of neighbours by species that a shell may hold."""
    sizes = sorted({len(row) for row in shells.neighbours})
    number = sum(comb(size + n_species - 1, n_species - 1) for size in sizes)
    if number > MOST_ENVIRONMENTS:
        raise InputError(
            f"shells of {sizes} neighbours of {n_species} species make {number} environments; "
            "give a smaller cutoff"
        )
    return [kind for size in sizes for kind in _partitions(size, n_species)]


def _partitions(total: int, parts: int) -> list[tuple[int, ...]]:
    if parts == 1:
        return [(total,)]
    return [
        (first, *rest)
        for first in range(total, -1, -1)
        for rest in _partitions(total - first, parts - 1)
    ]


def _label(anion: str, species: list[str], kind: tuple[int, ...]) -> str:
    held = Counter(dict(zip(species, kind, strict=True)))
    if sum(kind) == 2:
        first, second = held.elements()
        return f"{first}–{anion}–{second}"
    parts = [f"{s}{n if n > 1 else ''}" for s, n in held.items() if n]
    return f"{anion}: {' '.join(parts)}"


class _Counter:
    """Counts environments: each is a number in base (largest shell + 1)."""

    def __init__(
        self, shells: _Shells, kinds: list[tuple[int, ...]], sites: np.ndarray, n_species: int
    ) -> None:
        self.sites, self._shells, self._kinds, self._n_species = sites, shells, kinds, n_species
        base = max(sum(kind) for kind in kinds) + 1
        self._powers = base ** np.arange(n_species, dtype=np.int64)
        codes = np.array(kinds) @ self._powers
        self._order = np.argsort(codes)
        self._codes = codes[self._order]
        width = max(len(row) for row in shells.neighbours)
        # Shells of fewer neighbours are filled up with a site that holds nothing.
        self._table = np.full((len(shells.neighbours), width), len(sites))
        for row, own in zip(self._table, shells.neighbours, strict=True):
            row[: len(own)] = own

    def shares(self, flat: np.ndarray) -> np.ndarray:
        """Fraction of the anions with every environment, [n, n_environments]."""
        value = np.append(self._powers, 0)
        held = np.full((len(flat), len(self.sites) + 1), self._n_species)
        held[:, :-1] = flat[:, self.sites]
        code = sum(value[held[:, column]] for column in self._table.T)
        place = self._order[np.searchsorted(self._codes, code)]
        n_kinds = len(self._kinds)
        flat_place = place + n_kinds * np.arange(len(flat))[:, None]
        found = np.bincount(flat_place.ravel(), minlength=n_kinds * len(flat))
        return found.reshape(len(flat), n_kinds) / place.shape[1]

    def random(self, counts: np.ndarray) -> np.ndarray:
        """Mean over all arrangements with these counts, [n_environments]."""
        if any(len(set(row.tolist())) < len(row) for row in self._shells.neighbours):
            return np.full(len(self._kinds), np.nan)
        sizes = Counter(len(row) for row in self._shells.neighbours)
        total = int(counts.sum())
        result = np.empty(len(self._kinds))
        for k, kind in enumerate(self._kinds):
            ways = 1
            for have, take in zip(counts.tolist(), kind, strict=True):
                ways *= comb(have, take)
            share = sizes[sum(kind)] / len(self._shells.neighbours)
            result[k] = share * ways / comb(total, sum(kind))
        return result
