"""How a comparison of kernels is shown: a plain table of at most 100 columns, and a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._efficiency import KernelRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "lay_out", "with_error"]

WIDTH = 100
GAP = 2
COLOURS = ("#0072B2", "#D55E00")


def with_error(value: float, error: float) -> str:
    """Write a number with the error of its last digits in brackets: one, or two from 10 to 19.

    Examples
    --------
    >>> with_error(1.93, 0.21), with_error(543.2, 31.0), with_error(-0.01234, 0.0012)
    ('1.9(2)', '540(30)', '-0.0123(12)')
    >>> with_error(2.5e7, 3e5), with_error(3.14159, float("nan"))
    ('2.50(3)e7', '3.14(?)')
    """
    if not math.isfinite(value):
        return "–"
    known = math.isfinite(error) and error > 0
    size = max(abs(value), error if known else 0.0)
    power = math.floor(math.log10(size)) if size > 0 else 0
    if not -4 <= power < 6:
        scaled = with_error(value / 10.0**power, error / 10.0**power)
        return f"{scaled}e{power}"
    if not known:
        places = max(0, 2 - power)
        return f"{round(value, 2 - power):.{places}f}" + ("" if error == 0 else "(?)")
    exponent = math.floor(math.log10(error))
    places = (1 if error / 10.0**exponent < 1.95 else 0) - exponent
    digits = round(round(error, places) * 10.0 ** max(places, 0))
    return f"{round(value, places):.{max(places, 0)}f}({digits})"


def short(value: float) -> str:
    """Write three significant digits, without an exponent up to a million."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1e6:
        return f"{value:.2e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:#.3g}".rstrip(".") if abs(value) < 1000 else f"{value:.0f}"


def lay_out(rows: Sequence[KernelRow], notes: Sequence[str]) -> str:
    """Three tables (cost, time, observables) and notes below them."""
    names = {row.name: row.name + ("" if row.converged else " *") for row in rows}
    parts = [
        _table(_cost_head(), [_cost_cells(names[row.name], row) for row in rows]),
        _table(_time_head(), [_time_cells(names[row.name], row) for row in rows]),
        _table(_observed_head(), [c for row in rows for c in _observed_cells(row)], left=2),
        "\n".join(line for note in notes for line in _wrapped(note)),
    ]
    return "\n\n".join(parts)


def _cost_head() -> list[str]:
    return [
        "kernel", "accepted", "energies", "gradients", "warm-up",
        "samples", "per sample", "with warm-up",
    ]  # fmt: skip


def _cost_cells(name: str, row: KernelRow) -> list[str]:
    per, in_all = row.cost_per_sample(), row.cost_per_sample(warm_up=True)
    return [
        name,
        f"{row.acceptance:.3f}",
        str(row.sampling.energy_calls),
        str(row.sampling.gradient_calls),
        short(row.warm_up.cost),
        with_error(row.ess, row.ess * row.ess_error),
        with_error(per, per * row.ess_error),
        with_error(in_all, in_all * row.ess_error),
    ]


def _time_head() -> list[str]:
    return ["kernel", "seconds", "warm-up", "samples per second", "with warm-up"]


def _time_cells(name: str, row: KernelRow) -> list[str]:
    rate, in_all = row.samples_per_second(), row.samples_per_second(warm_up=True)
    return [
        name,
        short(row.sampling.seconds),
        short(row.warm_up.seconds),
        with_error(rate, rate * row.ess_error),
        with_error(in_all, in_all * row.ess_error),
    ]


def _observed_head() -> list[str]:
    return ["kernel", "observable", "mean", "samples", "τ / steps", "R-hat"]


def _observed_cells(row: KernelRow) -> list[list[str]]:
    return [
        [
            row.name if position == 0 else "",
            key,
            with_error(seen.mean, seen.error),
            short(seen.ess),
            short(seen.tau),
            f"{seen.rhat:.3f}" if math.isfinite(seen.rhat) else "–",
        ]
        for position, (key, seen) in enumerate(row.observables.items())
    ]


def _table(head: list[str], body: list[list[str]], left: int = 1) -> str:
    """Aligned columns, the first ``left`` flush left; long names are cut to fit the page."""
    lines = [head, *body]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    over = sum(widths) + GAP * (len(head) - 1) - WIDTH
    for k in range(left - 1, -1, -1):
        cut = max(0, min(over, widths[k] - 10))
        widths[k] -= cut
        over -= cut
    shown = []
    for line in lines:
        cells = [
            _cut(cell, width).ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        shown.append((" " * GAP).join(cells).rstrip())
    rule = "-" * max(len(line) for line in shown)
    return "\n".join([shown[0], rule, *shown[1:]])


def _cut(text: str, width: int) -> str:
    """Text of at most ``width`` characters; a mark at its end survives."""
    if len(text) <= width:
        return text
    mark = " *" if text.endswith(" *") else ""
    return text[: width - len(mark) - 1] + "…" + mark


def _wrapped(note: str) -> list[str]:
    lines, line = [], ""
    for word in note.split():
        if line and len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return [*lines, line]


def draw(rows: Sequence[KernelRow]) -> Figure:
    """Points of energies per effective sample, one line per kernel, with warm-up as open ones."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (slow to import)

    figure = Figure(figsize=(4.8, 1.4 + 0.34 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    height = np.arange(len(rows))[::-1]
    for warm_up, offset, marker, face, label in (
        (False, 0.12, "o", COLOURS[0], "sampling alone"),
        (True, -0.12, "D", "white", "with warm-up"),
    ):
        cost = np.array([row.cost_per_sample(warm_up=warm_up) for row in rows])
        known = np.nan_to_num([row.ess_error for row in rows])
        shown = np.isfinite(cost)
        # The error is one of the logarithm: symmetric on a logarithmic axis.
        bars = np.stack([-np.expm1(-known), np.expm1(known)])[:, shown] * cost[shown]
        axes.errorbar(
            cost[shown], height[shown] + offset, xerr=bars, fmt=marker, label=label,
            color=COLOURS[int(warm_up)], markerfacecolor=face, markersize=5, linewidth=1.2,
            capsize=2.5,
        )  # fmt: skip
    for row, y in zip(rows, height, strict=True):
        if not math.isfinite(row.cost_per_sample()):
            axes.text(
                0.02, y, "cost unknown" if row.ess > 0 else "no effective sample",
                transform=axes.get_yaxis_transform(), va="center", fontsize="small", color="0.4",
            )  # fmt: skip
    _label(axes, rows, height)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")
    return figure


def _label(axes: Axes, rows: Sequence[KernelRow], height: np.ndarray) -> None:
    """Name the lines, and give the logarithmic axis whole decades."""
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415

    axes.set_xscale("log")
    costs = [row.cost_per_sample(warm_up=warm_up) for row in rows for warm_up in (False, True)]
    costs = [cost for cost in costs if math.isfinite(cost) and cost > 0] or [1.0]
    low, high = math.log10(min(costs) / 1.1), math.log10(max(costs) * 1.1)
    axes.set_xlim(10.0 ** math.floor(low), 10.0 ** math.ceil(high))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    marks = ["" if row.converged else " *" for row in rows]
    names = [_cut(row.name + mark, 28) for row, mark in zip(rows, marks, strict=True)]
    axes.set_yticks(height, names)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    label = "Energies per effective sample"
    axes.set_xlabel(label + ("\n* not converged" if any(marks) else ""))
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
