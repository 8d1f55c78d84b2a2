"""Parts of a free-energy study: switching and windows that are kept as they go, and go on.

A part is one NumPy archive (no pickle) in ``DIR/works``: what defines it, and raw works or energies
with the state of its chains. A stopped part goes on bit for bit, a finished one is not repeated.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..alchemical_records import Windows, Works
from ..analysis.wording import counted
from ..ensembles.alchemical.frenkel_ladd import ThermalPositions
from ..ensembles.alchemical.switching import EQUILIBRATION, bennett_error
from ..errors import ConvergenceError, InputError, StoredRunError
from . import files

__all__ = ["WORKS", "Keeper", "Limits", "Part", "kept_thermal", "sampled", "switched"]

WORKS = "works"
"""Folder of the parts of a study."""
SAVE_EVERY, TELL_EVERY, TELL_AMID = 20.0, 2.0, 20.0  # seconds; the last amid a round
Tell = Callable[[str], None]


class Limits(NamedTuple):
    """When a part ends: rounds or draws at most, a standard error in eV, calls at most."""

    most: int
    error: float | None = None
    max_calls: int | None = None


@dataclass(frozen=True)
class Keeper:
    """Where parts are kept; nowhere if there is no folder."""

    folder: Path | None
    tell: Tell

    def load(self, key: str, settings: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Arrays of a part; None if there are none yet.

        Raises
        ------
        InputError
            If they were made with other settings.
        StoredRunError
            If the file is damaged.
        """
        if self.folder is None or not (path := self._path(key)).exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            stored = json.loads(str(arrays.pop("settings")))
        except Exception as error:  # zipfile and NumPy raise what they meet
            raise StoredRunError(
                f"{path} is damaged ({type(error).__name__}): remove it, and the part is repeated"
            ) from None
        wanted = json.loads(_text(settings))
        differing = sorted(
            name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name)
        )
        if differing:
            name = differing[0]
            raise InputError(
                f"{path} was made with another {name} ({_short(stored.get(name))}, now "
                f"{_short(wanted.get(name))}): give another folder to --store, or remove it"
            )
        return arrays

    def save(self, key: str, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Store a part in one step."""
        if self.folder is None:
            return
        path = self._path(key)
        files.make_directory(path.parent)
        stream = io.BytesIO()
        np.savez(stream, settings=np.array(_text(settings)), **arrays)  # type: ignore[arg-type]
        files.replace_atomically(path, stream.getvalue())

    def _path(self, key: str) -> Path:
        assert self.folder is not None  # noqa: S101  (checked by the callers)
        return self.folder / WORKS / f"{key}.npz"


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, ensure_ascii=False)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


class Part(NamedTuple):
    """One part: the file's name, what it is called, what defines it, and where it starts.

    ``make`` gives the sampling, its starts and arrays to keep beside the works; it is not called
    for a part that is finished.
    """

    key: str
    title: str
    settings: dict[str, Any]
    make: Callable[[], tuple[Any, Any, dict[str, np.ndarray]]]
    n_chains: int
    seed: int


def switched(
    keeper: Keeper, part: Part, limits: Limits, like: Mapping[str, Any]
) -> tuple[Works, dict[str, np.ndarray]]:
    """Works of switching, gone on with from where they stand, and what is kept beside them.

    Parameters
    ----------
    keeper
        Where works are kept.
    part
        What is switched.
    limits
        When it ends.
    like
        Temperature, steps, schedule and label of the works.
    """

    def works_of(arrays: Mapping[str, np.ndarray]) -> Works:
        done = arrays["done"]
        drift = arrays.get("drifts", np.empty((0, 2, 0)))[: len(done)]
        return Works(done[:, 0], done[:, 1], calls=int(arrays["progress"][2]), drift=drift, **like)

    def n_rounds(arrays: Mapping[str, np.ndarray]) -> int:
        return len(arrays["done"])

    def finished(arrays: Mapping[str, np.ndarray]) -> bool:
        n, (stage, step, calls) = n_rounds(arrays), map(int, arrays["progress"])
        if n == 0 or stage != EQUILIBRATION or step > 0:  # amid a round
            return False
        if n >= limits.most or _spent(n, calls, limits):
            return True
        return limits.error is not None and bennett_error(works_of(arrays)) <= limits.error

    def standing(arrays: Mapping[str, np.ndarray]) -> str:
        return _standing(n_rounds(arrays), limits, "round", int(arrays["progress"][2]))

    course = _Course(limits, n_rounds, finished, standing)
    arrays = _advanced(keeper, part, course)
    return works_of(arrays), _beside(arrays)


def sampled(
    keeper: Keeper, part: Part, limits: Limits, like: Mapping[str, Any]
) -> tuple[Windows, dict[str, np.ndarray]]:
    """Energies in windows, gone on with from where they stand, and what is kept beside them.

    Raises
    ------
    ConvergenceError
        If ``max_calls`` are spent before two draws of every window.
    """

    def n_draws(arrays: Mapping[str, np.ndarray]) -> int:
        return len(arrays["draw_slopes"]) - 1

    def finished(arrays: Mapping[str, np.ndarray]) -> bool:
        n, progress = n_draws(arrays), arrays["progress"]
        if n == 0 or not progress[0] or progress[1] > 0 or progress[2] > 0:  # amid a draw
            return False
        return n >= limits.most or _spent(n, int(progress[3]), limits)

    def standing(arrays: Mapping[str, np.ndarray]) -> str:
        return _standing(n_draws(arrays), limits, "draw", int(arrays["progress"][3]))

    arrays = _advanced(keeper, part, _Course(limits, n_draws, finished, standing))
    calls = int(arrays["progress"][3])
    if n_draws(arrays) < 2:
        raise ConvergenceError(
            f"max_calls = {limits.max_calls} is spent after {n_draws(arrays)} draws ({calls} "
            "evaluations): allow more, or take fewer windows or chains"
        )
    energies, slopes = (
        np.moveaxis(arrays[name][:-1], 0, 2) for name in ("draw_energies", "draw_slopes")
    )
    return Windows(like["couplings"], energies, slopes, like["temperature"], calls,
                   like["label"]), _beside(arrays)  # fmt: skip


def _standing(n: int, limits: Limits, noun: str, calls: int) -> str:
    return f"{n} of {counted(limits.most, noun)}, {counted(calls, 'force call')}"


def _spent(n: int, calls: int, limits: Limits) -> bool:
    """Whether another round, at the mean cost of those before, would cost too much."""
    return limits.max_calls is not None and calls + calls // n > limits.max_calls


BESIDE = "beside_"


def _beside(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n.removeprefix(BESIDE): a for n, a in arrays.items() if n.startswith(BESIDE)}


class _Course(NamedTuple):
    """How far the arrays of a part are: rounds or draws that are over, whether all, in words."""

    limits: Limits
    n_done: Callable[[Mapping[str, np.ndarray]], int]
    finished: Callable[[Mapping[str, np.ndarray]], bool]
    standing: Callable[[Mapping[str, np.ndarray]], str]


def _advanced(keeper: Keeper, part: Part, course: _Course) -> dict[str, np.ndarray]:
    """Arrays of a finished part: stored ones, or after going on with it."""
    n_done, finished, standing, most = course.n_done, *course[2:], course.limits.most
    stored = keeper.load(part.key, part.settings)
    if stored is not None and finished(stored):
        keeper.tell(f"{part.title}: kept, {standing(stored)}")
        return stored
    sampling, starts, extra = part.make()
    extra = {f"{BESIDE}{name}": value for name, value in extra.items()}
    if stored is not None:
        keeper.tell(f"{part.title}: goes on after {standing(stored)}")
        state, rngs = sampling.from_arrays(stored)
    else:
        state, rngs = sampling.start(starts, n_chains=part.n_chains, seed=part.seed)
    begin = told = saved = last = time.monotonic()
    arrays = sampling.to_arrays(state, rngs) | extra
    first = n_done(arrays)
    try:
        while not finished(arrays):
            before = n_done(arrays)
            state = sampling.advance(state, rngs)
            now = time.monotonic()
            arrays = sampling.to_arrays(state, rngs) | extra
            n = n_done(arrays)
            last = now if (over := n > before) else last
            if over and finished(arrays):
                keeper.tell(f"{part.title}: {standing(arrays)} in {_clock(now - begin)}")
            elif now - told >= (TELL_EVERY if over else TELL_AMID):
                left = (last - begin) * (most - n) / max(n - first, 1) - (now - last)
                ahead = f", {_clock(left)} left at most" if n > first and left > 0.0 else ""
                keeper.tell(f"{part.title}: {standing(arrays)} in {_clock(now - begin)}{ahead}")
                told = now
            if over or now - saved > SAVE_EVERY:
                keeper.save(part.key, part.settings, arrays)
                saved = now
    finally:  # stopped by Ctrl-C, too
        keeper.save(part.key, part.settings, arrays)
    return arrays


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def kept_thermal(
    keeper: Keeper,
    key: str,
    settings: Mapping[str, Any],
    dynamics: Any,
    draw: Callable[[], ThermalPositions],
) -> ThermalPositions:
    """Thermal positions of a crystal: stored ones, or drawn now and stored."""
    stored = keeper.load(key, settings)
    if stored is None:
        found = draw()
        arrays = {
            name: np.asarray(getattr(found, name))
            for name in ("occupation", "cell", "positions", "energy", "calls")
        }
        tuned = np.array(json.dumps(found.dynamics.to_arrays()))
        keeper.save(key, settings, arrays | {"dynamics": tuned})
        return found
    tuned = dynamics.with_arrays(json.loads(str(stored["dynamics"])))
    return ThermalPositions(
        stored["occupation"], stored["cell"], stored["positions"], stored["energy"], tuned,
        int(stored["calls"]),
    )  # fmt: skip
