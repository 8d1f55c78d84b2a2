"""Draws of a trajectory by point and chain, in memory or, if they are many, in temporary files."""

from __future__ import annotations

import array
import tempfile
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..records import Run, point_dataset

__all__ = ["Collector", "Origin"]

SPOOL_BYTES = 1 << 25
"""Occupations of a chain beyond this go to a temporary file, which is mapped into memory."""

_ROWS_AT_ONCE = 4096


class Origin(NamedTuple):
    """Where a draw belongs: coordinates of its point, its source and the chain there."""

    coordinates: tuple[tuple[str, float], ...]
    source: int
    chain: int


class _Chain:
    """Draws of one chain: occupations in memory or, if they are many, in a temporary file."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
        self.energies = array.array("d")
        self.seen = 0

    def occupations(self, first: int, count: int, n_sites: int) -> np.ndarray:
        """Occupations [count, n_sites] from a draw on."""
        self.file.seek(first * n_sites)
        return np.frombuffer(self.file.read(count * n_sites), np.uint8).reshape(-1, n_sites)


class Collector:
    """Gathers draws by point and chain."""

    def __init__(self, lattice: Lattice, start: int, every: int) -> None:
        self._lattice, self._start, self._every = lattice, start, every
        self._chains: dict[Origin, _Chain] = {}
        self.ensembles: list[str | None] = []
        self.notes: list[str] = []
        self.seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for chain in self._chains.values():
            chain.file.close()

    def add(self, origin: Origin, occupation: np.ndarray, energy: float) -> None:
        """Take a draw."""
        self.seen += 1
        if origin not in self._chains:
            self._chains[origin] = _Chain()
        chain = self._chains[origin]
        at = chain.seen - self._start
        chain.seen += 1
        if at >= 0 and at % self._every == 0:
            chain.file.write(occupation.tobytes())
            chain.energies.append(energy)

    def run(self, names: tuple[str, ...], ensemble: str | None) -> Run:
        """Put the draws together as a run."""
        kept = {origin: chain for origin, chain in self._chains.items() if len(chain.energies)}
        if not kept:
            raise InputError(
                f"{', '.join(names)}: no draws are left of {self.seen} frames; take a smaller start"
            )
        kind = self._ensemble(ensemble)
        points: dict[tuple[tuple[str, float], ...], list[_Chain]] = {}
        for origin, chain in kept.items():
            points.setdefault(origin.coordinates, []).append(chain)
        datasets, moving = [], set()
        for coordinates, chains in points.items():
            arrays = self._arrays(chains)
            datasets.append(point_dataset(arrays, dict(coordinates)))
            moving |= self._changing(arrays["occupation"], kind)
        trajectory = {
            "sources": list(names),
            "ensemble": kind,
            "open": [name for name in self._lattice.names if name in moving],
            "notes": self.notes,
        }
        return Run(tuple(datasets), self._lattice, attrs={"trajectory": trajectory})

    def _ensemble(self, given: str | None) -> str:
        said = {kind for kind in self.ensembles if kind is not None}
        if given is not None:
            if said - {given}:
                raise InputError(
                    f"ensemble {given!r} was given, the trajectory says {', '.join(sorted(said))}"
                )
            return given
        if len(said) > 1:
            raise InputError(
                f"the sources are of different ensembles ({', '.join(sorted(said))}); read those "
                "of one at a time"
            )
        return said.pop() if said and None not in self.ensembles else "unknown"

    def _arrays(self, chains: Sequence[_Chain]) -> dict[str, np.ndarray]:
        """Arrays of a point, its chains cut to the shortest."""
        lengths = [len(chain.energies) for chain in chains]
        n_draws = min(lengths)
        if max(lengths) > n_draws:
            self.notes.append(
                f"Chains of {n_draws:,} to {max(lengths):,} draws were cut to the shortest."
            )
        energies = np.stack([np.asarray(c.energies)[:n_draws] for c in chains], axis=1)
        if np.isnan(energies).any() and not np.isnan(energies).all():
            draw, chain = np.argwhere(np.isnan(energies))[0]
            raise InputError(
                f"draw {draw} of chain {chain} has no energy while others have; give energies, or "
                "leave such frames out"
            )
        return {"occupation": self._together(chains, n_draws), "energy": energies}

    def _together(self, chains: Sequence[_Chain], n_draws: int) -> np.ndarray:
        """Occupations of chains as one array [draw, chain, site], mapped if it is large."""
        n_sites = self._lattice.n_sites
        shape = (n_draws, len(chains), n_sites)
        if np.prod(shape, dtype=np.int64) <= SPOOL_BYTES:
            held: np.ndarray = np.empty(shape, np.uint8)
        else:
            with tempfile.TemporaryFile() as file:  # the mapping outlives it
                held = np.memmap(file, np.uint8, "w+", shape=shape)
        for index, chain in enumerate(chains):
            for first in range(0, n_draws, _ROWS_AT_ONCE):
                count = min(_ROWS_AT_ONCE, n_draws - first)
                held[first : first + count, index] = chain.occupations(first, count, n_sites)
        return held

    def _changing(self, occupation: np.ndarray, kind: str) -> set[str]:
        """Sublattices whose composition changes from draw to draw; none may in a canonical run."""
        lattice, found = self._lattice, set()
        start = lattice.counts(occupation[0, 0].astype(np.int8))
        for first in range(0, len(occupation), _ROWS_AT_ONCE):
            block = np.asarray(occupation[first : first + _ROWS_AT_ONCE])
            for chain in range(block.shape[1]):
                counts = lattice.counts(block[:, chain])
                differs = (counts != start).any(axis=2)
                found |= {lattice.names[k] for k in np.flatnonzero(differs.any(axis=0))}
                if kind == "canonical" and differs.any():
                    row, part = np.argwhere(differs)[0]
                    here, there = (c[part].tolist() for c in (counts[row], start))
                    raise InputError(
                        f"draw {first + row} of chain {chain} has {here} sites per species on "
                        f"{lattice.names[part]!r}, the first {there}: a canonical trajectory keeps "
                        "its composition; give the ensemble it was sampled in, or one composition "
                        "at a time"
                    )
        return found
