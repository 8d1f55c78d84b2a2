"""The engine: drives the chains from point to point, commits draws, keeps checkpoints.

What is sampled depends on the recorded input alone. Where the engine stops, for whatever reason,
it goes on from the last checkpoint to the same samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import sampler
from ..errors import StoredRunError
from ..protocols import Hamiltonian, Kernel, State
from . import checkpoint, events
from .build import build_kernel, composition
from .checkpoint import Checkpoint
from .directory import Record, RunDirectory
from .guard import DomainGuard
from .precision import PrecisionMonitor
from .samples import SampleWriter, open_point

__all__ = [
    "CHECKPOINT_SECONDS",
    "Engine",
    "Progress",
    "Watch",
    "commit_interval",
    "first_checkpoint",
    "writing",
]

CHECKPOINT_SECONDS = 20.0
COMMITS_PER_POINT = 10
MOST_DRAWS_PER_COMMIT = 250


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for a display.

    ``label`` names the point. ``phase`` is ``"warmup"``, ``"sampling"`` or, once for each point,
    ``"done"``. ``done`` of ``total`` counts steps of this point (warm-up included); ``draws`` are
    those sampled so far, committed or not. ``energies`` [n_draws, n_chains] (eV) and the mean
    ``acceptance`` are those since the engine started on this phase of this point.
    """

    point: int
    n_points: int
    label: str
    phase: str
    done: int
    total: int
    draws: int
    acceptance: float
    energies: np.ndarray


@dataclass(frozen=True)
class Watch:
    """Who looks on while the engine works.

    ``progress`` is called after every block of steps; ``should_stop`` is asked before every block,
    and true ends the run with a checkpoint; ``checkpoint_seconds`` is the time between checkpoints
    besides those of the commits; ``warn`` is called with a line where something calls for a look.
    """

    progress: Callable[[Progress], None] | None
    should_stop: Callable[[], bool]
    checkpoint_seconds: float
    warn: Callable[[str], None] | None = None


def commit_interval(draws: int) -> int:
    """Draws per commit: about ten commits per point, and no more than 250 draws each.

    Examples
    --------
    >>> commit_interval(200), commit_interval(7), commit_interval(100_000)
    (20, 1, 250)
    """
    return max(1, min(MOST_DRAWS_PER_COMMIT, -(-draws // COMMITS_PER_POINT)))


def first_checkpoint(record: Record, hamiltonian: Hamiltonian) -> Checkpoint:
    """Random chains of the composition to start from, at the beginning of the first point."""
    run, lattice = record.config.run, record.crystal.lattice
    assert run.seed is not None  # noqa: S101  (resolved before)
    rngs = sampler.spawn_generators(run.seed, run.chains)
    mixture = composition(record.config)
    occupations = np.stack([lattice.random(composition=mixture, rng=rng) for rng in rngs])
    kernel = build_kernel(record.config, hamiltonian, record.ensemble(0))
    state = kernel.init(occupations, rngs)
    return Checkpoint(
        point=0,
        phase="warmup",
        warmup_steps=0,
        committed=(0,),
        ended_by=(),
        generators=tuple(sampler.generator_state(rng) for rng in rngs),
        arrays=_state_arrays(state),
    )


class Engine:
    """Continues a run from a checkpoint to its end.

    Parameters
    ----------
    directory
        The run directory, held for writing by the caller.
    record
        What the run was started with.
    hamiltonian
        Its energy model.
    start
        The checkpoint to go on from.
    watch
        Who looks on and may stop it.
    """

    def __init__(
        self,
        directory: RunDirectory,
        record: Record,
        hamiltonian: Hamiltonian,
        start: Checkpoint,
        watch: Watch,
    ) -> None:
        self._directory = directory
        self._record = record
        self._watch = watch
        self._last = start
        self._last_time = time.monotonic()
        self._committed = list(start.committed)
        self._ended_by = list(start.ended_by)
        self._point = start.point
        self._warmup_steps = start.warmup_steps
        self._phase = start.phase
        self._rngs = [sampler.restore_generator(dict(state)) for state in start.generators]
        self._state = State(**{name: start.arrays[f"state.{name}"] for name in State._fields})
        self._pending = _pending_blocks(start.arrays)
        kernel = build_kernel(record.config, hamiltonian, record.ensemble(self._point))
        self._kernel = kernel.with_arrays(_joined(start)) if start.kernel else kernel
        self._hamiltonian = hamiltonian
        self._writer = SampleWriter(
            directory.samples,
            record.points,
            {
                "draw": record.config.run.draws,
                "chain": record.config.run.chains,
                "site": record.crystal.lattice.n_sites,
            },
            record.commit_draws,
        )
        self._guard = DomainGuard(record, hamiltonian, self._log, watch.warn)
        self._monitor = self._restored_monitor()
        self._energies: list[np.ndarray] = []
        self._acceptance = float("nan")
        self._drift = float(start.arrays.get("drift", 0.0))

    def run(self) -> bool:
        """Sample until the end, or until told to stop; True at the end.

        Raises
        ------
        StoredRunError
            If the disk does not take what is written; all that was committed stays.
        """
        while self._phase != "finished":
            if self._watch.should_stop():
                self._save()
                self._log("stopped", point=self._point, draws=self._committed[self._point])
                return False
            if self._phase == "warmup":
                self._warm_up()
            else:
                self._sample()
        return True

    def _warm_up(self) -> None:
        """One block of warm-up steps, no longer than a draw."""
        run = self._record.config.run
        assert run.warmup is not None  # noqa: S101  (resolved)
        assert run.thin is not None  # noqa: S101
        steps = min(run.thin, run.warmup - self._warmup_steps)
        if steps > 0:
            self._kernel, self._state, report = sampler.warm_up(
                self._kernel, self._state, self._rngs, steps
            )
            self._warmup_steps += steps
            if report.acceptance is not None:
                self._acceptance = report.acceptance
        if self._warmup_steps >= run.warmup:
            self._phase = "sampling"
            self._log(
                "warmed up",
                point=self._point,
                acceptance=_finite(self._acceptance),
                **_learnt(self._kernel),
            )
            self._save()
        else:
            self._save_if_due()
        self._show()

    def _sample(self) -> None:
        """One draw; a commit where it fills a chunk or is the last."""
        run = self._record.config.run
        assert run.thin is not None  # noqa: S101  (resolved)
        self._state, block = sampler.draw_block(self._kernel, self._state, self._rngs, 1, run.thin)
        self._pending.append(block)
        self._energies.append(block["energy"])
        accepted, count = float(block["acceptance"].mean()), len(self._energies)
        mean = self._acceptance if count > 1 else accepted
        self._acceptance = mean + (accepted - mean) / count
        draws = self._committed[self._point] + len(self._pending)
        self._show()
        if len(self._pending) == self._record.commit_draws or draws == run.draws:
            self._commit()
        else:
            self._save_if_due()

    def _commit(self) -> None:
        """Store the pending draws and move on to the next point where this one is done.

        Here alone energies that are carried on by changes are derived from scratch: a run that is
        interrupted elsewhere then goes on bit for bit.
        """
        self._state, drift = sampler.rederive(self._kernel, self._state)
        self._drift = max(self._drift, drift)
        block = _concatenate(self._pending)
        first = self._committed[self._point]
        with writing(self._directory):
            self._writer.append(self._point, first, block)
        self._pending = []
        self._committed[self._point] = first + len(block["energy"])
        self._guard.committed(self._point, first, block)
        self._monitor.add(block)
        draws = self._committed[self._point]
        reason = "precision" if self._monitor.reached() else "draws"
        if reason == "precision" or draws >= self._record.config.run.draws:
            self._guard.finished(self._point, draws - 1, block["occupation"][-1])
            self._finish_point(reason)
        self._save()

    def _finish_point(self, reason: str) -> None:
        """End this point; the next starts from its last state, with what the kernel learnt."""
        self._show("done")
        self._ended_by.append(reason)
        draws = self._committed[self._point]
        self._log("point done", point=self._point, draws=draws, ended_by=reason, drift=self._drift)
        self._drift = 0.0
        if self._point + 1 == len(self._record.points):
            self._phase = "finished"
            return
        self._point += 1
        self._phase, self._warmup_steps = "warmup", 0
        self._committed.append(0)
        self._energies, self._acceptance = [], float("nan")
        self._monitor = self._new_monitor()
        ensemble = self._record.ensemble(self._point)
        carried = getattr(self._kernel, "carried_over", None)
        if carried is not None:
            self._kernel = carried(ensemble)
        else:
            self._kernel = build_kernel(self._record.config, self._hamiltonian, ensemble)

    def _save_if_due(self) -> None:
        if time.monotonic() - self._last_time >= self._watch.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint of everything."""
        parameters, tuned_arrays = _split(self._kernel.to_arrays())
        arrays = _state_arrays(self._state) | tuned_arrays | {"drift": np.array(self._drift)}
        if self._pending:
            pending = _concatenate(self._pending)
            arrays |= {f"pending.{name}": values for name, values in pending.items()}
        now = Checkpoint(
            point=self._point,
            phase=self._phase,
            warmup_steps=self._warmup_steps,
            committed=tuple(self._committed),
            ended_by=tuple(self._ended_by),
            generators=tuple(sampler.generator_state(rng) for rng in self._rngs),
            kernel=parameters,
            arrays=arrays,
            generation=self._last.generation,
        )
        with writing(self._directory):
            self._last = checkpoint.save(self._directory.checkpoints, now)
        self._last_time = time.monotonic()

    def _log(self, event: str, **details: Any) -> None:
        with writing(self._directory):
            events.log(self._directory.events, event, **details)

    def _new_monitor(self) -> PrecisionMonitor:
        config = self._record.config
        return PrecisionMonitor(
            self._record.crystal.lattice, config.run.precision, config.ensemble.fixed or ()
        )

    def _restored_monitor(self) -> PrecisionMonitor:
        """Monitor of the present point with what is committed, block by block."""
        monitor, draws = self._new_monitor(), self._committed[self._point]
        if not self._record.config.run.precision or draws == 0 or self._phase == "finished":
            return monitor
        stored = open_point(self._directory.samples, self._point, draws)
        for first in range(0, draws, self._record.commit_draws):
            part = stored.isel(draw=slice(first, first + self._record.commit_draws))
            monitor.add({name: part[name].values for name in ("energy", "occupation")})
        return monitor

    def _show(self, phase: str | None = None) -> None:
        if self._watch.progress is None:
            return
        run = self._record.config.run
        draws = self._committed[self._point] + len(self._pending)
        thin, warmup = run.thin or 1, run.warmup or 0
        done_warmup = self._warmup_steps if self._phase == "warmup" else warmup
        self._watch.progress(
            Progress(
                point=self._point,
                n_points=len(self._record.points),
                label=self._record.labels[self._point],
                phase=phase or self._phase,
                done=done_warmup + draws * thin,
                total=warmup + run.draws * thin,
                draws=draws,
                acceptance=self._acceptance,
                energies=np.concatenate(self._energies) if self._energies else np.empty((0, 0)),
            )
        )


@contextmanager
def writing(directory: RunDirectory) -> Iterator[None]:
    """Turn a refusal of the file system into one line that says what to do."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        reason = f"cannot write to {directory.path}: {error.strerror or error}{where}"
        if not directory.run_file.exists():
            raise StoredRunError(
                f"{reason}; nothing was started: choose another --output"
            ) from error
        raise StoredRunError(
            f"{reason}; all that was committed is safe: make room and continue with "
            f"`alchemc resume {directory.path}`"
        ) from error


def _state_arrays(state: State) -> dict[str, np.ndarray]:
    return {f"state.{name}": np.asarray(value) for name, value in state._asdict().items()}


def _concatenate(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _pending_blocks(arrays: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Return the draws that a checkpoint holds, one block each."""
    names = [name for name in arrays if name.startswith("pending.")]
    count = len(arrays[names[0]]) if names else 0
    return [
        {name.removeprefix("pending."): arrays[name][k : k + 1] for name in names}
        for k in range(count)
    ]


def _split(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Tuned parameters as JSON with the arrays taken out: each leaves the name it is stored by."""
    arrays: dict[str, np.ndarray] = {}

    def walk(value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {key: walk(inner, f"{name}.{key}") for key, inner in value.items()}
        if isinstance(value, np.ndarray):
            arrays[name] = value
            return {"array": name}
        return value.item() if isinstance(value, np.generic) else value

    return walk(parameters, "kernel"), arrays


def _joined(start: Checkpoint) -> dict[str, Any]:
    """Tuned parameters with their arrays: the inverse of ``_split``."""

    def walk(value: Any) -> Any:
        if isinstance(value, Mapping):
            if set(value) == {"array"}:
                return start.arrays[value["array"]]
            return {key: walk(inner) for key, inner in value.items()}
        return value

    return walk(start.kernel)


def _learnt(kernel: Kernel) -> dict[str, Any]:
    """Gather what a kernel that learns in warm-up says of it, for the log."""
    if not hasattr(kernel, "summary"):
        return {}

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(inner) for key, inner in value.items()}
        return _finite(value) if isinstance(value, float) else value

    return {"sampler": plain(kernel.summary())}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
