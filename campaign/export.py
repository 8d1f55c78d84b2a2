"""Stored samples as files: extended XYZ, ASE trajectories, icet; pictures and animations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..analysis.layout import coordinates_of
from ..errors import InputError
from ..records import Run
from . import files
from .pictures import PICTURES, write_animation, write_picture

if TYPE_CHECKING:
    import xarray as xr
    from ase import Atoms

__all__ = ["FORMATS", "export_run"]

DRAWS_AT_ONCE = 250
"""Draws read from disk together: a chunk of a stored run holds as many or fewer."""

FORMATS = {"extxyz": (".extxyz", ".xyz"), "traj": (".traj",), "icet": (".dc",), **PICTURES}


def export_run(
    run: Run,
    path: str | Path,
    format: str | None = None,  # noqa: A002  (ASE's word)
    *,
    temperature: float | None = None,
    point: int | None = None,
    chain: int | None = None,
    every: int | None = None,
    draw: int | None = None,
) -> int:
    """Write samples as structures, or show them.

    Parameters
    ----------
    run
        A run, in memory or opened from disk.
    path
        The file to make; an existing one is not overwritten.
    format
        ``"extxyz"``, ``"traj"`` (ASE) or ``"icet"`` (an mchammer DataContainer of one chain at one
        point), with energies (eV), all coordinates of the point, chain and draw; ``"gif"``, an
        animation of one chain through its points in the order of the visits; ``"pdf"``, ``"svg"``
        or ``"png"``, a picture of one configuration. By the file's suffix unless given.
    temperature
        Only points at this one (K).
    point
        Only this one, counted from 0 in the order in which the points were visited.
    chain
        Only this one, counted from 0.
    every
        Every n-th draw; all unless given, or in an animation as many as make 200 frames.
    draw
        Which one a picture shows, counted from 0; the last unless given.

    Returns
    -------
    Number of structures written or shown.

    Raises
    ------
    InputError
        If the file exists, or the selection or the format makes no sense.

    Examples
    --------
    >>> import tempfile
    >>> from alchemc import builders
    >>> from alchemc.records import point_dataset
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> arrays = {"occupation": np.zeros((3, 2, 8), np.uint8), "energy": np.zeros((3, 2))}
    >>> run = Run((point_dataset(arrays, {"temperature": 900.0}),), lattice)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_run(run, folder + "/run.extxyz", chain=1)
    3
    """
    path = Path(path)
    kind = _format_of(path, format)
    if path.exists():
        raise InputError(f"{path} exists and is not overwritten; choose another name or remove it")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no directory; make it first")
    if every is not None and every < 1:
        raise InputError(f"every = {every} cannot be used: give a whole number, 1 or more")
    _check_choice(kind, every, draw)
    points = _selected(run, temperature, point, chain)
    draft = files.temporary_name(path)
    try:
        if kind == "icet":
            count = _write_icet(run, points, draft, every or 1)
        elif kind == "gif":
            count = write_animation(run, points, draft, every)
        elif kind in PICTURES:
            count = write_picture(run, points, draft, kind, draw)
        else:
            count = _write_frames(run, points, draft, kind, every or 1)
        files.fsync(draft)
        files.rename(draft, path)
    finally:
        files.remove(draft)
    return count


def _check_choice(kind: str, every: int | None, draw: int | None) -> None:
    still = kind in PICTURES and kind != "gif"
    if draw is not None and not still:
        raise InputError(f"draw is for pictures of one configuration, not for {kind}")
    if every is not None and still:
        raise InputError("every is for series of draws; a picture shows one: give draw")


def _format_of(path: Path, given: str | None) -> str:
    if given is not None:
        if given not in FORMATS:
            raise InputError(f"format '{given}' is not known; use one of {', '.join(FORMATS)}")
        return given
    for name, suffixes in FORMATS.items():
        if path.suffix in suffixes:
            return name
    known = ", ".join(suffix for suffixes in FORMATS.values() for suffix in suffixes)
    raise InputError(f"{path.name} does not tell its format; end it with {known} or give --format")


def _selected(
    run: Run, temperature: float | None, index: int | None, chain: int | None
) -> list[xr.Dataset]:
    if index is not None and not 0 <= index < len(run.points):
        raise InputError(f"no point {index}; the run has points 0 to {len(run.points) - 1}")
    points = [
        point
        for k, point in enumerate(run.points)
        if (index is None or k == index)
        and (temperature is None or np.isclose(float(point["temperature"]), temperature))
    ]
    if not points:
        known = ", ".join(dict.fromkeys(f"{float(p['temperature']):g}" for p in run.points))
        raise InputError(f"no samples at {temperature:g} K; the run has {known} K")
    n_chains = points[0].sizes["chain"]
    if chain is not None and not 0 <= chain < n_chains:
        raise InputError(f"no chain {chain}; the run has chains 0 to {n_chains - 1}")
    return points if chain is None else [point.isel(chain=[chain]) for point in points]


def _samples(series: xr.Dataset, every: int) -> Iterator[tuple[int, np.ndarray, float]]:
    """Every n-th draw of one chain with its occupation and energy, read a few at a time."""
    energies, draws = series["energy"].to_numpy(), series["draw"].to_numpy()
    for start in range(0, len(draws), DRAWS_AT_ONCE):
        block = slice(start, start + DRAWS_AT_ONCE)
        held = series["occupation"].isel(draw=block).transpose("draw", "site").to_numpy()
        for row in range(-start % every, len(held), every):
            at = start + row
            yield int(draws[at]), held[row].astype(np.int8), float(energies[at])


def _frames(run: Run, points: list[xr.Dataset], every: int) -> Iterator[Atoms]:
    """Structures with their energies, chain by chain within each point."""
    from ase.calculators.singlepoint import SinglePointCalculator  # noqa: PLC0415

    ensemble = _ensemble(run)
    for point, coordinates in zip(points, coordinates_of(points), strict=True):
        for k in range(point.sizes["chain"]):
            series = point.isel(chain=k)
            for draw, occupation, energy in _samples(series, every):
                atoms = run.lattice.to_atoms(occupation)
                atoms.info |= {**coordinates, **ensemble}
                atoms.info |= {"chain": int(series["chain"]), "draw": draw}
                atoms.calc = SinglePointCalculator(atoms, energy=energy)
                yield atoms


def _ensemble(run: Run) -> dict[str, str]:
    """Name the ensemble, where the run knows it: others cannot tell it from samples."""
    section = run.config.get("ensemble")
    kind = section.get("kind") if isinstance(section, Mapping) else None
    return {"ensemble": str(kind)} if kind else {}


def _write_frames(run: Run, points: list[xr.Dataset], path: Path, kind: str, every: int) -> int:
    count = 0
    if kind == "traj":
        from ase.io.trajectory import TrajectoryWriter  # noqa: PLC0415

        with TrajectoryWriter(str(path), "w") as writer:
            for atoms in _frames(run, points, every):
                writer.write(atoms)
                count += 1
        return count
    from ase.io.extxyz import write_extxyz  # noqa: PLC0415

    with path.open("w", encoding="utf-8") as stream:
        for atoms in _frames(run, points, every):
            write_extxyz(stream, [atoms])
            count += 1
    return count


def _write_icet(run: Run, points: list[xr.Dataset], path: Path, every: int) -> int:
    """Write an mchammer DataContainer: a reference structure and its atomic numbers per draw."""
    from mchammer import DataContainer  # noqa: PLC0415

    if len(points) > 1:
        raise InputError("an icet DataContainer holds one temperature: give --point")
    point = points[0]
    if point.sizes["chain"] > 1:
        raise InputError("an icet DataContainer holds one chain: give --chain")
    lattice = run.lattice
    container = DataContainer(
        structure=lattice.atoms.copy(),
        ensemble_parameters=coordinates_of([point])[0],
        metadata={"written_by": f"alchemc {__version__}", **_ensemble(run)},
    )
    # A stored run keeps its campaign, one in memory the arguments of ``sample``.
    thin = int(run.config.get("run", run.config).get("thin", 1))
    count = 0
    for draw, occupation, energy in _samples(point.isel(chain=0), every):
        record: dict[str, Any] = {
            "potential": energy,
            "occupations": _atomic_numbers(run, occupation),
        }
        container.append(mctrial=(draw + 1) * thin, record=record)
        count += 1
    container.write(str(path))
    path.chmod(0o666 & ~_umask())  # icet makes files that only their owner can read
    return count


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _atomic_numbers(run: Run, occupation: np.ndarray) -> list[int]:
    """Atomic numbers of all atoms of the supercell, 0 for a vacancy."""
    lattice = run.lattice
    numbers = lattice.atoms.numbers.copy()
    numbers[lattice.sites] = lattice.atomic_numbers[np.arange(lattice.n_sites), occupation]
    return [int(number) for number in numbers]
