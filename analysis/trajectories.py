"""Trajectories of other programs as runs: any file that ASE reads, structures, mchammer's data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..errors import InputError
from ..lattice import Lattice
from ..records import Run, coordinate_attributes
from .frames import FrameReader
from .trajectory_draws import Collector, Origin
from .trajectory_files import frames_of, is_container, name_of, read_container

__all__ = ["ENSEMBLES", "read_trajectory"]

ENSEMBLES = ("canonical", "semi-grand", "variance-constrained", "charge-neutral", "unknown")

_ROWS_AT_ONCE = 4096
_MCHAMMER = {
    "CanonicalEnsemble": "canonical",
    "SemiGrandCanonicalEnsemble": "semi-grand",
    "VCSGCEnsemble": "variance-constrained",
}
_OURS = ("chain", "draw")
"""Entries of ``Atoms.info`` by which frames that `alchemc export` wrote are known."""


def read_trajectory(
    source: Any,
    lattice: Lattice,
    *,
    temperature: float | Sequence[float] | None = None,
    ensemble: str | None = None,
    energies: str | Sequence[float] | np.ndarray | None = None,
    start: int = 0,
    every: int = 1,
    tolerance: float | None = None,
    positions: bool = False,
) -> Run:
    """Read a trajectory of another program as a run, ready for every function of the analysis.

    Atoms may stand in any order, be wrapped or not and displaced, the cell may be strained or
    turned, and a vacancy be a missing atom or ``"X"``, as in `Lattice.from_atoms`. Frames are read
    one by one; occupations take a byte per site, and chains of more than 32 MB go to a temporary
    file that is mapped into memory and vanishes with the run.

    Several sources of one temperature (and other coordinates) are chains of one point, and are cut
    to the shortest; those of different ones are points. Coordinates are taken from the parameters
    of a DataContainer, and from ``Atoms.info``: ``temperature`` if it is the same in all frames,
    and everything that `alchemc export` has written.

    Parameters
    ----------
    source
        A path to a file that ASE reads (extended XYZ, .traj, XDATCAR, …) or of an mchammer
        DataContainer, an iterable of Atoms, a DataContainer, or a list of these.
    lattice
        The lattice of all frames.
    temperature
        In K, of all sources or one each; takes the place of what the sources say.
    ensemble
        One of ``ENSEMBLES``, if the sources do not say. Where it is unknown, there is no heat
        capacity: the energy fluctuates otherwise at constant energy, or in a search.
    energies
        Total energies in eV, one per frame, sources one after another; or the name of the entry
        of ``Atoms.info`` that holds them. Those of the frames' calculators, or ``energy`` or
        ``potential`` in ``Atoms.info`` or in a DataContainer, unless given; NaN if there are none.
    start, every
        Draws to leave out at the start of each chain, and the step from one to the next that is
        taken.
    tolerance
        Largest distance in Å of an atom from its reference position; half the shortest distance
        of two of these unless given.
    positions
        Keep ``positions`` and ``cell`` of every draw, in the order of the reference's atoms, for
        measures that follow them. Of a DataContainer there are none.

    Returns
    -------
    A run whose ``attrs["trajectory"]`` says what is known of it: ``sources``, ``ensemble``,
    ``open`` (sublattices whose composition changes) and ``notes``.

    Raises
    ------
    InputError
        If a frame does not belong to the lattice (the frame is named, and what differs), or what
        is said of the frames contradicts them.

    Notes
    -----
    An mchammer DataContainer stores the potential of the whole supercell, in units of its cluster
    expansion: eV are expected. Draws are the rows with an occupation and, if any has one, a
    potential. A file of one is read without running anything that is pickled in it.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> rng = np.random.default_rng(0)
    >>> draws = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, rng, 50)
    >>> frames = [lattice.to_atoms(draw)[rng.permutation(40)] for draw in draws]
    >>> run = read_trajectory(frames, lattice, temperature=900.0)
    >>> (run.points[0].occupation.values[:, 0] == draws).all().item()
    True
    """
    sources = _sources(source)
    if ensemble is not None and ensemble not in ENSEMBLES:
        raise InputError(f"ensemble {ensemble!r} is not known; give one of {', '.join(ENSEMBLES)}")
    if start < 0 or every < 1:
        raise InputError(f"start = {start}, every = {every}: give at least 0 and at least 1")
    key = energies if isinstance(energies, str) else None
    given = None if energies is None or key else np.asarray(energies, dtype=float).ravel()
    numbers = iter(() if given is None else given.tolist())
    with Collector(lattice, start, every) as collector:
        for index, one in enumerate(sources):
            kelvin = _temperature(temperature, index, len(sources))
            reader = _Source(lattice, index, name_of(one, index), kelvin, tolerance)
            draws = reader.rows(one) if is_container(one) else reader.frames(one, key, positions)
            for origin, draw, energy in draws:
                value = energy if given is None else next(numbers, math.nan)
                collector.add(origin, draw, value)
            collector.ensembles.append(reader.ensemble)
            collector.notes += reader.notes
        if given is not None and given.size != collector.seen:
            raise InputError(
                f"{given.size} energies were given for {collector.seen} frames; give one each"
            )
        return collector.run(tuple(name_of(s, k) for k, s in enumerate(sources)), ensemble)


def _sources(source: Any) -> list[Any]:
    """List of sources; a list of Atoms is one."""
    if isinstance(source, str | Path | Atoms) or is_container(source):
        return [[source] if isinstance(source, Atoms) else source]
    if isinstance(source, Sequence):
        if not source:
            raise InputError("no trajectory is given; give a path, structures or a DataContainer")
        return [source] if isinstance(source[0], Atoms) else list(source)
    if isinstance(source, Iterable):
        return [source]
    raise InputError(
        f"a {type(source).__name__} is no trajectory; give a path, an iterable of ase.Atoms, an "
        "mchammer DataContainer, or a list of these"
    )


def _temperature(given: float | Sequence[float] | None, index: int, count: int) -> float | None:
    if given is None:
        return None
    values = np.atleast_1d(np.asarray(given, dtype=float))
    if values.ndim > 1 or len(values) not in {1, count}:
        raise InputError(
            f"{values.size} temperatures were given for {count} sources; give one, or one each"
        )
    value = float(values[index if len(values) > 1 else 0])
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"temperature = {value} K is not positive; give it in K")
    return value


class _Source:
    """Draws of one source, and what it says of itself."""

    def __init__(
        self,
        lattice: Lattice,
        index: int,
        name: str,
        temperature: float | None,
        tolerance: float | None,
    ) -> None:
        self._lattice, self._index, self._name = lattice, index, name
        self._temperature = temperature
        self._own: float | None = None
        self._reader = FrameReader(lattice, tolerance)
        self.ensemble: str | None = None
        self.notes: list[str] = []

    def frames(
        self, source: Any, key: str | None, positions: bool
    ) -> Iterator[tuple[Origin, dict[str, np.ndarray], float]]:
        """Draws of a file or of Atoms."""
        first: dict[str, float] | None = None
        for number, atoms in enumerate(frames_of(source, self._name)):
            draw = {"occupation": self._occupation(atoms, number)}
            if positions:
                draw |= {"positions": self._reader.positions(atoms), "cell": atoms.cell.array}
            ours = all(name in atoms.info for name in _OURS)
            if ours:
                self._require_one_temperature(atoms.info.get("temperature"), number)
            where = self._coordinates(atoms.info, ours)
            first = where if first is None else first
            if not ours and where != first:
                raise InputError(
                    f"frame {number} of {self._name} is at {where.get('temperature', 'no')} K, the "
                    f"first at {first.get('temperature', 'no')} K: a temperature that fluctuates "
                    "names no ensemble; give temperature"
                )
            kind = atoms.info.get("ensemble")
            self.ensemble = kind if kind in ENSEMBLES else self.ensemble
            chain = int(atoms.info["chain"]) if ours else 0
            origin = Origin(tuple(sorted(where.items())), self._index, chain)
            yield origin, draw, _energy(atoms, key, f"frame {number} of {self._name}")

    def rows(self, source: Any) -> Iterator[tuple[Origin, dict[str, np.ndarray], float]]:
        """Draws of a DataContainer."""
        container = read_container(source, self._name)
        name = str(container.metadata.get("ensemble_name", ""))
        self.ensemble = container.metadata.get("ensemble", _MCHAMMER.get(name))
        where = self._coordinates(container.parameters, ours=True)
        origin = Origin(tuple(sorted(where.items())), self._index, 0)
        rows = [row for row in container.rows if row.get("occupations") is not None]
        if any("potential" in row for row in rows):
            rows = [row for row in rows if row.get("potential") is not None]
        if not rows:
            raise InputError(
                f"{self._name} holds no occupations; let mchammer record them "
                "(trajectory_write_interval)"
            )
        steps = np.diff([row["mctrial"] for row in rows])
        if steps.size and steps.min() != steps.max():
            self.notes.append(
                f"The draws of {self._name} are {steps.min()} to {steps.max()} trial steps apart; "
                "errors are those of evenly spaced ones."
            )
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            block = rows[first : first + _ROWS_AT_ONCE]
            held = self._occupations(container.structure, block, first)
            for occupation, row in zip(held, block, strict=True):
                yield origin, {"occupation": occupation}, float(row.get("potential", np.nan))

    def _occupations(
        self, structure: Atoms, rows: Sequence[Mapping[str, Any]], first: int
    ) -> np.ndarray:
        """Occupations of rows, whose atoms stand where those of the structure do."""
        numbers = np.array([row["occupations"] for row in rows])
        atoms = structure.copy()
        if numbers.shape[1:] != (len(atoms),):
            raise InputError(
                f"row {first} of {self._name} has {numbers.shape[1:]} atoms, its structure "
                f"{len(atoms)}; the container is damaged"
            )
        atoms.numbers = numbers[0]
        self._occupation(atoms, first)
        full = np.zeros((len(rows), len(self._lattice.atoms)), dtype=np.int64)
        full[:, self._reader.places(atoms)] = numbers
        held = self._reader.species(full)
        if held is not None:
            return held.astype(np.uint8)
        one_by_one = []
        for row, of_row in enumerate(numbers):  # the first that does not fit is named
            atoms.numbers = of_row
            one_by_one.append(self._occupation(atoms, first + row))
        return np.array(one_by_one)

    def _occupation(self, atoms: Atoms, number: int) -> np.ndarray:
        try:
            return self._reader(atoms)
        except InputError as error:
            raise InputError(f"frame {number} of {self._name}: {error}") from error

    def _require_one_temperature(self, own: float | None, number: int) -> None:
        """Refuse to give one temperature to draws that say they are from several."""
        self._own = own if number == 0 else self._own
        if self._temperature is not None and own != self._own:
            raise InputError(
                f"frame {number} of {self._name} is at {own} K, the first at {self._own} K: one "
                "temperature for all of them would merge points; leave it out"
            )

    def _coordinates(self, info: Mapping[str, Any], ours: bool) -> dict[str, float]:
        """Coordinates that parameters name; mchammer's chemical potentials name no sublattice."""
        found: dict[str, float] = {}
        for name, value in info.items():
            if not isinstance(value, int | float | np.number) or isinstance(value, bool):
                continue
            if name == "temperature" or (ours and coordinate_attributes(name) is not None):
                found |= dict.fromkeys(self._names(name), float(value))
        if self._temperature is not None:
            found["temperature"] = self._temperature
        return found

    def _names(self, name: str) -> list[str]:
        prefix, _, of = name.partition("_")
        if prefix not in {"mu", "phi"}:
            return [name]
        holders = {
            f"{n}_{s}": (n, s)
            for n, part in self._lattice.sublattices.items()
            for s in part.species
        }
        if of in holders:
            return [name]
        return [f"{prefix}_{n}_{s}" for n, s in holders.values() if s == of]


def _energy(atoms: Atoms, key: str | None, name: str) -> float:
    """Energy that a frame carries, NaN if none; nothing is computed."""
    if key is not None:
        if key not in atoms.info:
            held = ", ".join(map(str, atoms.info)) or "nothing"
            raise InputError(f"{name} has no entry {key!r} in its info, which holds {held}")
        return float(atoms.info[key])
    stored = getattr(atoms.calc, "results", {}).get("energy")
    for value in (stored, atoms.info.get("energy"), atoms.info.get("potential")):
        if value is not None:
            return float(value)
    return float("nan")
