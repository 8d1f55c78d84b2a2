"""What a terminal shows while a run goes on: a progress bar, or plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from .. import statistics
from .engine import Progress

__all__ = ["progress_bar", "progress_lines", "summary_line"]

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_ESTIMATES = 2.0
PHASES = {"warmup": "warm-up", "sampling": "sampling", "done": "done"}


def effective_samples(energies: np.ndarray) -> float:
    """Effective samples of the energy so far, over all chains; NaN where they are unknown."""
    if len(energies) < 4 or not np.isfinite(energies).all():
        return float("nan")
    return energies.size / statistics.autocorrelation_time(energies)


class _Rate:
    """Steps per second, each of all chains, since the display began."""

    def __init__(self) -> None:
        self._steps = 0
        self._start: float | None = None
        self._point = self._done = 0

    def __call__(self, progress: Progress) -> float:
        now = time.monotonic()
        if self._start is None:
            self._start = now
        elif progress.point == self._point:
            self._steps += progress.done - self._done
        else:
            self._steps += progress.done
        self._point, self._done = progress.point, progress.done
        elapsed = now - self._start
        return self._steps / elapsed if elapsed > 0 else float("nan")


def _overall(progress: Progress) -> tuple[int, int]:
    """Count the steps done and to do over the whole sweep."""
    return progress.point * progress.total + progress.done, progress.n_points * progress.total


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Show a bar over the whole sweep with rate, acceptance, ESS and time left."""
    rate = _Rate()
    ess, next_estimate = float("nan"), 0.0
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )
    task: TaskID | None = None

    def show(progress: Progress) -> None:
        nonlocal ess, next_estimate, task
        done, total = _overall(progress)
        if task is None:
            task = bar.add_task("", total=total, completed=done, detail="")
        if time.monotonic() >= next_estimate:
            ess = effective_samples(progress.energies)
            next_estimate = time.monotonic() + SECONDS_BETWEEN_ESTIMATES
        bar.update(
            task,
            completed=done,
            description=(
                f"{progress.label} ({progress.point + 1}/{progress.n_points}) "
                f"{PHASES[progress.phase]}"
            ),
            detail=(
                f"{_number(rate(progress))} steps/s  acceptance {_number(progress.acceptance)}  "
                f"ESS {_number(ess)}"
            ),
        )

    with bar:
        yield show


@contextmanager
def progress_lines(write: Callable[[str], None]) -> Iterator[Callable[[Progress], None]]:
    """Write a line when a point ends, and every half minute in between."""
    rate = _Rate()
    last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        steps_per_second = rate(progress)
        due = time.monotonic() - last >= SECONDS_BETWEEN_LINES
        if due or progress.phase == "done":
            last = time.monotonic()
            write(f"{summary_line(progress)}, {_number(steps_per_second)} steps/s")

    yield show


def summary_line(progress: Progress) -> str:
    """One point in one line.

    Examples
    --------
    >>> summary_line(Progress(0, 3, "900 K", "sampling", 50, 100, 5, 0.25, np.empty((0, 0))))
    '900 K (1/3) sampling, 50% of its steps, 5 draws, acceptance 0.25, ESS –'
    """
    return (
        f"{progress.label} ({progress.point + 1}/{progress.n_points}) "
        f"{PHASES[progress.phase]}, {100 * progress.done // progress.total}% of its steps, "
        f"{progress.draws} draws, acceptance {_number(progress.acceptance)}, "
        f"ESS {_number(effective_samples(progress.energies))}"
    )


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
