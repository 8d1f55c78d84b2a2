"""What free energies are made of: energies and species counts of the draws at every point of runs.

Kept apart from the occupations, which are read in blocks and let go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...lattice import Lattice
from ...records import Run
from ..biased import refuse_biased
from ..estimates import as_chains, blocks_of_draws
from ..layout import coordinates_of

__all__ = ["Observations", "SampledPoint", "gathered", "observations"]

_SCALARS = ("temperature", "pressure", "sweep")


class SampledPoint(NamedTuple):
    """Draws at one thermodynamic point, without their occupations.

    ``coordinates`` are its scalars (``temperature`` in K, ``mu_B_Ta`` in eV …), ``energy``
    [draw, chain] in eV per cell, ``counts`` [draw, chain, n_kinds] the sites of every kind,
    ``volume`` [draw, chain] in Å³ where the cell moves. ``moving`` tells that positions were
    sampled, so that an arrangement has no one energy.
    """

    coordinates: Mapping[str, float]
    energy: np.ndarray
    counts: np.ndarray
    volume: np.ndarray | None = None
    moving: bool = False


@dataclass(frozen=True, eq=False)
class Observations:
    """Energies and counts of all points of one or several runs on one lattice.

    ``kinds`` are the (sublattice, species) that counts are of, ``sizes`` the sites of every
    sublattice by name. Made by `observations`; several are put together with ``+``, whose points
    follow one another, and blocks of one run with ``followed_by``, whose draws do.
    """

    kinds: tuple[tuple[str, str], ...]
    sizes: Mapping[str, int]
    points: tuple[SampledPoint, ...]

    @property
    def n_sites(self) -> int:
        """Sites of the cell."""
        return sum(self.sizes.values())

    def __add__(self, other: Observations) -> Observations:
        self._same_lattice(other)
        return Observations(self.kinds, self.sizes, self.points + other.points)

    def followed_by(self, later: Observations) -> Observations:
        """Return the same points with the draws of later blocks of the same chains after these.

        Raises
        ------
        InputError
            If the points of the blocks are not the same.
        """
        self._same_lattice(later)
        same = len(self.points) == len(later.points) and all(
            dict(a.coordinates) == dict(b.coordinates) and a.energy.shape[1] == b.energy.shape[1]
            for a, b in zip(self.points, later.points, strict=True)
        )
        if not same:
            raise InputError(
                "the blocks have other points or numbers of chains: give blocks of one run, in "
                "the order in which they were drawn; different runs are added with +"
            )
        joined = []
        for a, b in zip(self.points, later.points, strict=True):
            volume = None
            if a.volume is not None and b.volume is not None:
                volume = np.concatenate([a.volume, b.volume])
            energy, counts = (
                np.concatenate([getattr(a, name), getattr(b, name)])
                for name in ("energy", "counts")
            )
            joined.append(a._replace(energy=energy, counts=counts, volume=volume))
        return Observations(self.kinds, self.sizes, tuple(joined))

    def _same_lattice(self, other: Observations) -> None:
        if self.kinds != other.kinds or dict(self.sizes) != dict(other.sizes):
            raise InputError(
                f"runs of different lattices ({dict(self.sizes)} and {dict(other.sizes)} sites) "
                "share no states: give runs of one cell"
            )


def observations(run: Run) -> Observations:
    """Read energies and species counts of every point of a run, in bounded memory.

    Parameters
    ----------
    run
        A run in memory or opened from disk. Points without draws are left out.

    Returns
    -------
    Observations, what `free_energy` takes beside runs: 8 bytes per draw and kind of site, where the
    occupations of a large cell would not fit.

    Raises
    ------
    InputError
        If the run has no draws, no energies, or a point no temperature or coordinates of species
        that the lattice does not hold; or if draws follow a bias, as those of `GibbsLambda`.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.records import point_dataset
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> draws = {"occupation": np.zeros((5, 2, 8), int), "energy": np.zeros((5, 2))}
    >>> run = Run((point_dataset(draws, {"temperature": 900.0}),), lattice)
    >>> found = observations(run)
    >>> found.kinds, found.points[0].counts[0, 0].tolist()
    ((('B', 'Ti'), ('B', 'Zr')), [8, 0])
    """
    lattice = run.lattice
    drawn = [p for p in run.points if p.sizes.get("draw", 0) and p.sizes.get("chain", 0)]
    if not drawn:
        raise InputError("the run holds no draws yet: wait for the first, or give another run")
    refuse_biased(drawn, "free energies")
    kinds = _kinds(lattice)
    points = [
        _point(lattice, point, scalars, kinds)
        for point, scalars in zip(drawn, coordinates_of(drawn), strict=True)
    ]
    sizes = {name: len(sublattice.sites) for name, sublattice in lattice.sublattices.items()}
    return Observations(kinds, sizes, tuple(points))


def gathered(runs: Run | Observations | Iterable[Run | Observations]) -> Observations:
    """Put runs and observations together.

    Raises
    ------
    InputError
        If there is none, they are of different lattices, or one is neither.
    """
    if isinstance(runs, (Run, Observations)):
        runs = [runs]
    found: Observations | None = None
    for run in runs if isinstance(runs, Iterable) else [runs]:
        if not isinstance(run, (Run, Observations)):
            raise InputError(
                f"{type(run).__name__} is no run: give Run, what open_run returns, or observations"
            )
        part = observations(run) if isinstance(run, Run) else run
        found = part if found is None else found + part
    if found is None:
        raise InputError("no runs are given: give at least one")
    return found


def _kinds(lattice: Lattice) -> tuple[tuple[str, str], ...]:
    return tuple((name, k) for name, s in lattice.sublattices.items() for k in s.species)


def _point(
    lattice: Lattice,
    point: Any,
    scalars: Mapping[str, float],
    kinds: Sequence[tuple[str, str]],
) -> SampledPoint:
    known = {f"{of}_{name}_{species}" for name, species in kinds for of in ("mu", "phi")}
    known |= {"kappa", *(f"kappa_{name}" for name in lattice.names), *_SCALARS}
    for name in scalars:
        if name not in known:
            raise InputError(
                f"coordinate {name!r} of a point belongs to nothing on this lattice: expected mu_… "
                f"or phi_… of {', '.join('_'.join(kind) for kind in kinds)}"
            )
    if "energy" not in point:
        raise InputError("a point holds no energies, which free energies need: sample it again")
    energy = point["energy"].transpose("draw", "chain").to_numpy().astype(float)
    if not np.isfinite(energy).all():
        raise InputError("a point holds energies that are not finite: drop those draws first")
    chains = as_chains(lattice, point["occupation"])
    columns = [
        (row, k)
        for row, sublattice in enumerate(lattice.sublattices.values())
        for k in range(len(sublattice.species))
    ]
    counts = np.empty((*energy.shape, len(kinds)), dtype=np.int64)
    for block, rows in blocks_of_draws(lattice, chains):
        table = lattice.counts(rows)[:, *np.array(columns).T]
        counts[block] = table.reshape(-1, energy.shape[1], len(kinds))
    return SampledPoint(dict(scalars), energy, counts, _volume(point), "positions" in point)


def _volume(point: Any) -> np.ndarray | None:
    if "cell" not in point:
        return None
    cells = point["cell"].transpose("draw", "chain", ...).to_numpy()
    return np.asarray(np.abs(np.linalg.det(cells)))
