"""Starting, resuming, opening and describing stored runs."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import StoredRunError
from ..potentials.placement import placement_facts
from ..protocols import Hamiltonian
from ..records import Run
from . import build, checkpoint, environment, events
from .config import Config
from .directory import Record, RunDirectory
from .engine import (
    CHECKPOINT_SECONDS,
    Engine,
    Progress,
    Watch,
    commit_interval,
    first_checkpoint,
    writing,
)
from .guard import domain_facts, summarize
from .labels import header
from .lock import is_locked, run_lock
from .points import told_of_ensemble
from .samples import open_point

__all__ = ["PointStatus", "Status", "describe", "open_run", "resume_run", "start_run"]


def start_run(
    config: Config,
    output: str | Path,
    folder: str | Path = ".",
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> bool:
    """Run a campaign into a new directory.

    Parameters
    ----------
    config
        The campaign.
    output
        The run directory to make; nothing may be there yet.
    folder
        Where relative paths in the campaign start.
    progress
        Called with a ``Progress`` after every block of steps.
    should_stop
        Asked before every block of steps; true ends the run with a checkpoint.
    tell
        Called with a few lines before the first step: energy model and landscape.
    warn
        Called with a line where energies or forces lie outside of what the energy model knows, or
        where the cell's charge fluctuates.
    checkpoint_seconds
        Time between checkpoints, besides those at commits.

    Returns
    -------
    True if the run came to its end, False if it was told to stop.

    Raises
    ------
    InputError, ModelError
        If the campaign cannot be run; nothing is written then.
    StoredRunError
        If something is at ``output``, or the disk does not take what is written.
    """
    directory = RunDirectory(output)
    directory.check_free()
    record, hamiltonian, told = _prepare(config, Path(folder))
    first = first_checkpoint(record, hamiltonian)
    starts, energies = (first.arrays[f"state.{name}"] for name in ("occupations", "energy"))
    bounds = domain_facts(hamiltonian, starts, energies)
    record = replace(record, model={**record.model, "domain": bounds})
    _announce(record, tell)
    for line in told if warn is not None else ():
        warn(line)  # type: ignore[misc]
    with ExitStack() as held:
        with writing(directory):
            held.enter_context(directory.create(record, first))
            events.log(directory.events, "started", seed=record.config.run.seed)
            start = checkpoint.load(directory.checkpoints)
        watch = Watch(progress, should_stop, checkpoint_seconds, warn)
        return _drive(directory, Engine(directory, record, hamiltonian, start, watch))


def resume_run(
    path: str | Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> bool:
    """Continue a stopped run to the samples it would have had without the stop.

    Parameters
    ----------
    path
        The run directory.
    progress, should_stop, tell, checkpoint_seconds
        As for ``start_run``.
    warn
        As for ``start_run``, and called with a line if versions or the machine changed, so that the
        samples to come may differ from those of an uninterrupted run by rounding.

    Returns
    -------
    True if the run came (or had come) to its end, False if it was told to stop.

    Raises
    ------
    StoredRunError
        If the directory is missing, damaged or in use, or its potential is not the one it was
        started with.
    """
    directory = RunDirectory(path)
    record = directory.read()
    with run_lock(directory.path):
        start = checkpoint.load(directory.checkpoints)
        if start.phase != "finished":
            _check_stored(directory, record, start)
            hamiltonian = _same_hamiltonian(directory, record)
            changes = _changes(record, hamiltonian)
            _announce(record, tell)
            if changes and warn is not None:
                warn(
                    f"changed since the run was started: {', '.join(changes)}; the chains stay "
                    "exact, but draws may differ by rounding from those of an uninterrupted run"
                )
            with writing(directory):
                events.log(directory.events, "resumed", point=start.point, changes=changes)
            watch = Watch(progress, should_stop, checkpoint_seconds, warn)
            return _drive(directory, Engine(directory, record, hamiltonian, start, watch))
    return True


def open_run(path: str | Path) -> Run:
    """Open a stored run, finished or in progress, and show its committed draws.

    Parameters
    ----------
    path
        The run directory.

    Returns
    -------
    Run whose points read their values from disk when they are used. ``run.config`` is the
    resolved campaign, ``run.attrs`` holds ``path``, ``finished``, ``model``, ``versions``,
    ``machine``, ``ended_by``, ``learnt`` (what the sampler found in warm-up, by point; empty where
    it learns nothing) and ``domain`` (what the out-of-domain guard found, by point);
    ``run.hamiltonian()`` builds the energy model.

    Raises
    ------
    StoredRunError
        If the directory is missing or damaged, or no draw is committed yet.

    Examples
    --------
    >>> from alchemc import open_run
    >>> open_run("runs/none")
    Traceback (most recent call last):
        ...
    alchemc.errors.StoredRunError: no run directory runs/none; start one with `alchemc run ...
    """
    directory = RunDirectory(path)
    record = directory.read()
    last = checkpoint.load_progress(directory.checkpoints)
    points = tuple(
        open_point(directory.samples, point, draws)
        for point, draws in enumerate(last.committed)
        if draws > 0
    )
    if not points:
        raise StoredRunError(
            f"{directory.path} has no committed draws yet; see how far it is with "
            f"`alchemc status {directory.path}`"
        )
    return Run(
        points=points,
        lattice=record.crystal.lattice,
        config=record.config.model_dump(exclude_none=True),
        attrs={
            "path": str(directory.path),
            "created": record.created,
            "finished": last.phase == "finished",
            "ended_by": list(last.ended_by),
            "model": dict(record.model),
            "versions": dict(record.versions),
            "machine": dict(record.machine),
            "learnt": _learnt(directory),
            "domain": summarize(events.read(directory.events)),
        },
        build_hamiltonian=lambda: _same_hamiltonian(directory, record),
    )


def _learnt(directory: RunDirectory) -> dict[int, dict[str, Any]]:
    """Read what kernels found in warm-up, by the point's index; the last word counts."""
    return {
        int(event["point"]): dict(event["sampler"])
        for event in events.read(directory.events)
        if event.get("event") == "warmed up" and event.get("sampler")
    }


@dataclass(frozen=True)
class PointStatus:
    """How far one point is: committed draws of those asked for, and why it ended.

    ``temperature`` in K; ``coordinates`` are all that name the point.
    """

    temperature: float
    coordinates: Mapping[str, float]
    committed: int
    draws: int
    state: str


@dataclass(frozen=True)
class Status:
    """How far a run is. ``state`` is ``"running"``, ``"stopped"`` or ``"finished"``."""

    title: str
    state: str
    seed: int
    chains: int
    points: tuple[PointStatus, ...]
    last_event: str


def describe(path: str | Path) -> Status:
    """How far a run is, from its checkpoint; cheap, and safe while it runs.

    Raises
    ------
    StoredRunError
        If the directory is missing or damaged.
    """
    directory = RunDirectory(path)
    record = directory.read()
    running = is_locked(directory.path)  # asked first: what ends in between is seen as ended
    last = checkpoint.load_progress(directory.checkpoints)
    logged = events.read(directory.events)
    run = record.config.run
    return Status(
        title=record.config.title,
        state="running" if running else "finished" if last.phase == "finished" else "stopped",
        seed=run.seed or 0,
        chains=run.chains,
        points=tuple(
            PointStatus(
                temperature=coordinates["temperature"],
                coordinates=coordinates,
                committed=last.committed[k] if k < len(last.committed) else 0,
                draws=run.draws,
                state=_point_state(last, k),
            )
            for k, coordinates in enumerate(record.points)
        ),
        last_event=_in_words(logged[-1]) if logged else "none",
    )


def _in_words(event: Mapping[str, Any]) -> str:
    time = str(event.get("time", "")).replace("T", " ").partition(".")[0]
    return f"{event.get('event')}, {time} UTC"


def _point_state(last: checkpoint.Checkpoint, point: int) -> str:
    if point < len(last.ended_by):
        return "done" if last.ended_by[point] == "draws" else "done (precision reached)"
    if point > last.point:
        return "waiting"
    return last.phase if last.phase == "sampling" else f"warm-up, step {last.warmup_steps}"


def _prepare(config: Config, folder: Path) -> tuple[Record, Hamiltonian, list[str]]:
    """Everything that may refuse the input, before anything is written; and what to warn of."""
    crystal = build.build_crystal(config, folder)
    build.check_precision(config, crystal.lattice)
    resolved = build.resolve(config, crystal.lattice, folder, seed=secrets.randbits(32))
    told = told_of_ensemble(resolved, crystal.lattice)
    hamiltonian = build.build_hamiltonian(resolved, crystal)
    machine = _machine(hamiltonian)
    record = Record(
        config=build.with_depth(resolved, hamiltonian),
        crystal=crystal,
        commit_draws=commit_interval(resolved.run.draws),
        model=build.model_facts(hamiltonian),
        versions=environment.versions(resolved.potential.kind, str(machine.get("device", ""))),
        machine=machine,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )
    return record, hamiltonian, told


def _drive(directory: RunDirectory, engine: Engine) -> bool:
    done = engine.run()
    if done:
        with writing(directory):
            events.log(directory.events, "finished")
    return done


def _same_hamiltonian(directory: RunDirectory, record: Record) -> Hamiltonian:
    """Build the run's energy model, refused if it is another one than the run was started with."""
    hamiltonian = build.build_hamiltonian(record.config, record.crystal)
    facts = build.model_facts(hamiltonian)
    if facts.get("sha256") != record.model.get("sha256"):
        raise StoredRunError(
            f"the potential '{record.config.potential.model}' is not the one {directory.path} was "
            f"started with (sha256 {_short(facts)}, recorded {_short(record.model)}): put the "
            "original file back, or start a new run"
        )
    return hamiltonian


def _short(facts: Any) -> str:
    return str(facts.get("sha256", "none"))[:12]


def _machine(hamiltonian: Hamiltonian) -> dict[str, str | int]:
    model = getattr(hamiltonian, "hamiltonian", hamiltonian)  # the one inside a wrapper
    return environment.machine() | placement_facts(model)


def _announce(record: Record, tell: Callable[[str], None] | None) -> None:
    if tell is not None:
        config = record.config.model_dump(exclude_none=True)
        for line in header(config, record.model, record.machine):
            tell(line)


def _changes(record: Record, hamiltonian: Hamiltonian) -> list[str]:
    now = _machine(hamiltonian)
    kinds = {"architecture", "processor", "device", "gpu", "engine"} & record.machine.keys()
    device = str(record.machine.get("device", ""))
    versions = environment.versions(record.config.potential.kind, device)
    return environment.differences(record.versions, versions) + (
        environment.differences(
            {kind: record.machine[kind] for kind in kinds}, {kind: now.get(kind) for kind in kinds}
        )
    )


def _check_stored(directory: RunDirectory, record: Record, start: checkpoint.Checkpoint) -> None:
    """Refuse to go on from samples that are not all there."""
    if len(start.committed) > len(record.points) or start.point >= len(record.points):
        raise directory.damaged("the checkpoint names more points than run.toml")
    for point, draws in enumerate(start.committed):
        if draws > 0:
            open_point(directory.samples, point, draws)
