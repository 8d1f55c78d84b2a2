"""Draws of a trajectory by point and chain, in memory or, if they are many, in temporary files."""

from __future__ import annotations

import array
import tempfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..records import Run, point_dataset
from .wording import counted

__all__ = ["Collector", "Origin"]

SPOOL_BYTES = 1 << 25
"""What is kept of a chain beyond this goes to a temporary file, which is mapped into memory."""

_ROWS_AT_ONCE = 4096


class Origin(NamedTuple):
    """Where a draw belongs: coordinates of its point, its source and the chain there."""

    coordinates: tuple[tuple[str, float], ...]
    source: int
    chain: int


class _Rows:
    """Arrays of one shape in a row, in memory or, if they are many, in a temporary file."""

    def __init__(self, like: np.ndarray) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
        self.shape, self.dtype, self.bytes = like.shape, like.dtype, like.nbytes

    def append(self, row: np.ndarray) -> None:
        self._file.write(row.tobytes())

    def read(self, first: int, count: int) -> np.ndarray:
        """Return ``count`` rows from a number on."""
        self._file.seek(first * self.bytes)
        data = self._file.read(count * self.bytes)
        return np.frombuffer(data, self.dtype).reshape(-1, *self.shape)

    def close(self) -> None:
        self._file.close()


class _Chain:
    """Draws of one chain."""

    def __init__(self) -> None:
        self.rows: dict[str, _Rows] = {}
        self.energies = array.array("d")
        self.seen = 0


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
            for rows in chain.rows.values():
                rows.close()

    def add(self, origin: Origin, draw: Mapping[str, np.ndarray], energy: float) -> None:
        """Take a draw: its ``occupation``, and ``positions`` and ``cell`` where they are kept."""
        self.seen += 1
        if origin not in self._chains:
            self._chains[origin] = _Chain()
        chain = self._chains[origin]
        at = chain.seen - self._start
        chain.seen += 1
        if at >= 0 and at % self._every == 0:
            for name, values in draw.items():
                if name not in chain.rows:
                    chain.rows[name] = _Rows(values)
                chain.rows[name].append(values)
            chain.energies.append(energy)

    def run(self, names: tuple[str, ...], ensemble: str | None) -> Run:
        """Put the draws together as a run."""
        kept = {origin: chain for origin, chain in self._chains.items() if len(chain.energies)}
        if not kept:
            raise InputError(
                f"{', '.join(names)}: no draws are left of {counted(self.seen, 'frame')}; take a "
                "smaller start"
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
        names = set.intersection(*(set(chain.rows) for chain in chains))
        kept = {name: _together([c.rows[name] for c in chains], n_draws) for name in sorted(names)}
        return {**kept, "energy": energies}

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


def _together(chains: Sequence[_Rows], n_draws: int) -> np.ndarray:
    """Rows of several chains as one array [draw, chain, ...], mapped if it is large."""
    one = chains[0]
    shape = (n_draws, len(chains), *one.shape)
    if n_draws * len(chains) * one.bytes <= SPOOL_BYTES:
        held: np.ndarray = np.empty(shape, one.dtype)
    else:
        with tempfile.TemporaryFile() as file:  # the mapping outlives it
            held = np.memmap(file, one.dtype, "w+", shape=shape)
    step = max(1, min(_ROWS_AT_ONCE, SPOOL_BYTES // one.bytes))
    for index, rows in enumerate(chains):
        for first in range(0, n_draws, step):
            count = min(step, n_draws - first)
            held[first : first + count, index] = rows.read(first, count)
    return held
