"""Temperature–composition diagrams: tie lines, spinodals and the consolute point, with errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ...errors import InputError
from ...records import Run
from ..layout import few
from ..wording import counted, with_error
from .arguments import kelvins, numbers
from .facets import hull_lines
from .free_energies import DOUBTFUL_SHARE, FreeEnergies
from .free_energy import free_energy
from .mixing import ExcessModel, fit_excess
from .observations import Observations
from .tangents import Consolute, TieLine, consolute_point, spinodal, tie_lines
from .two_phases import equal_weight, fraction_distribution

__all__ = ["PhaseDiagram", "phase_diagram"]

_METHODS = ("tangent", "equal weight", "hull")

_ALONE = {
    "tangent": "One phase is stable at every {axis} at {kelvin} K.",
    "equal weight": "At {kelvin} K the {axis} has one peak: no two phases are told apart.",
    "hull": "At {kelvin} K no composition lies above the hull of the others by more than noise.",
}

SURE = 0.9
"""A boundary that fewer of the resamples have than this is not certain."""


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """Where phases coexist, over temperature and one fraction.

    ``axis`` names the fraction; ``lines`` are the tie lines, ``spinodals`` [(T, x, error)] the
    fractions of vanishing curvature, ``consolute`` the end of a gap where it is known.
    ``temperatures`` (K) are those that were looked at, ``single_phase`` the ones of them without
    any tie line. ``model`` is the smooth free energy, None where no curve was fitted.
    """

    axis: str
    temperatures: tuple[float, ...]
    sampled: tuple[float, ...]
    lines: tuple[TieLine, ...]
    spinodals: tuple[tuple[float, float, float], ...]
    consolute: Consolute | None
    method: str
    free: FreeEnergies
    model: ExcessModel | None = None
    notes: tuple[str, ...] = ()

    @property
    def single_phase(self) -> tuple[float, ...]:
        """Temperatures at which one phase is stable at every fraction."""
        split = {line.temperature for line in self.lines}
        return tuple(t for t in self.temperatures if t not in split)

    @property
    def boundaries(self) -> xr.Dataset:
        """Tie lines as a Dataset over ``line``: ``x`` and ``x_error`` [line, phase], ``mu`` …."""
        lines = self.lines
        ends = np.array([line.x for line in lines]).reshape(-1, 2)
        errors = np.array([line.errors for line in lines]).reshape(-1, 3)
        return xr.Dataset(
            {
                "x": (("line", "phase"), ends, {"units": "1", "long_name": self.axis}),
                "x_error": (("line", "phase"), errors[:, :2], {"units": "1"}),
                "mu": ("line", np.array([line.mu for line in lines]), {"units": "eV"}),
                "mu_error": ("line", errors[:, 2], {"units": "eV"}),
                "certainty": ("line", np.array([line.certainty for line in lines])),
                "extrapolated": ("line", np.array([x.extrapolated for x in lines], dtype=bool)),
            },
            {
                "temperature": (
                    "line",
                    np.array([line.temperature for line in lines]),
                    {"units": "K"},
                ),
                "phase": ["low", "high"],
            },
        )

    def field(self, temperature: float, x: float) -> str:
        """Return "two-phase" within a tie line, else "single-phase".

        Raises
        ------
        InputError
            If the temperature is none of ``temperatures``, or the fraction no number.
        """
        at, x = float(kelvins(temperature)[0]), float(numbers(x, "x")[0])
        if not any(np.isclose(at, t, rtol=1e-9) for t in self.temperatures):
            raise InputError(
                f"{at:g} K was not looked at: {few([f'{t:g}' for t in self.temperatures])} K were"
            )
        split = any(
            np.isclose(line.temperature, at, rtol=1e-9) and line.x[0] < x < line.x[1]
            for line in self.lines
        )
        return "two-phase" if split else "single-phase"

    def rows(self) -> list[dict[str, Any]]:
        """One row per tie line, spinodal point and consolute point, for CSV."""
        found: list[dict[str, Any]] = []
        for line in self.lines:
            common = {
                "temperature": line.temperature, "temperature_error": None, "mu": line.mu,
                "mu_error": _plain(line.errors[2]), "certainty": line.certainty,
                "extrapolated": line.extrapolated,
            }  # fmt: skip
            for x, error in zip(line.x, line.errors[:2], strict=True):
                found.append({"kind": "binodal", **common, "x": x, "x_error": _plain(error)})
        blank = {"mu": None, "mu_error": None, "certainty": None}
        low, high = min(self.sampled), max(self.sampled)
        for t, x, error in self.spinodals:
            found.append({
                "kind": "spinodal", "temperature": t, "temperature_error": None, "x": x,
                "x_error": _plain(error), **blank, "extrapolated": not low <= t <= high,
            })  # fmt: skip
        if self.consolute:
            c = self.consolute
            found.append({
                "kind": "consolute", "temperature": c.temperature,
                "temperature_error": _plain(c.temperature_error), "x": c.x,
                "x_error": _plain(c.x_error), **blank, "certainty": c.certainty,
                "extrapolated": c.extrapolated,
            })  # fmt: skip
        return found

    @property
    def statement(self) -> str:
        """What the diagram says, in words."""
        parts = [_line_text(line, self.axis) for line in self.lines]
        alone = [f"{t:,.6g}" for t in self.single_phase]
        if alone:
            parts.append(_ALONE[self.method].format(axis=self.axis, kelvin=few(alone)))
        if self.method != "tangent":
            parts.append(
                f"All this is of a cell of {counted(self.free.cell.n_sites, 'mixed site')}; a "
                "larger one shows what its size does."
            )
        if self.consolute:
            c = self.consolute
            where = ", outside of the temperatures sampled" if c.extrapolated else ""
            symmetric = c.x_error < 1e-6
            x = f"{c.x:.3f} (a symmetric curve)" if symmetric else with_error(c.x, c.x_error)
            parts.append(
                f"The gap closes at {with_error(c.temperature, c.temperature_error)} K and a "
                f"{self.axis} of {x}{where}, for an enthalpy and entropy "
                "of mixing that do not depend on temperature; fluctuations beyond the cell are "
                "left out, which makes such a point high."
            )
        elif self.model is not None and self.lines and len(self.sampled) < 2:
            parts.append("One temperature tells no consolute point.")
        return " ".join([*parts, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with a statement in words."""
        return {
            "statement": self.statement,
            "axis": self.axis,
            "method": self.method,
            "temperatures": list(self.temperatures),
            "sampled_temperatures": list(self.sampled),
            "single_phase_temperatures": list(self.single_phase),
            "order": None if self.model is None else self.model.order,
            "chi2": None if self.model is None else [_plain(c) for c in self.model.chi2],
            "rows": self.rows(),
        }


def phase_diagram(
    runs: FreeEnergies | Run | Observations | Iterable[Run | Observations],
    temperatures: Sequence[float] | float | None = None,
    *,
    method: str = "tangent",
    order: int | None = None,
    cut: float | None = None,
    resamples: int = 100,
    seed: int = 0,
) -> PhaseDiagram:
    """Temperature–composition diagram along one fraction, from runs or their free energies.

    Parameters
    ----------
    runs
        Runs, as for `free_energy`, or what that returned.
    temperatures
        K to draw; those that were sampled by default. By ``tangent`` also others, between them on a
        straight line through the coefficients, beyond them marked as extrapolated.
    method
        "tangent": common tangents of a smooth curve through F (`fit_excess`), for cells of any
        size and runs that visit the compositions between the phases. "equal weight": the two peaks
        of the distribution of the fraction (`equal_weight`), without a curve, for large cells.
        "hull": facets of the convex hull of F itself (`hull_lines`), for ordered compounds.
    order
        That of the curve, chosen from the draws by default.
    cut
        A fraction between two phases that keep to themselves, as for `free_energy`.
    resamples, seed
        As for `free_energy`.

    Returns
    -------
    PhaseDiagram, with ``boundaries``, ``rows()``, ``to_dict()`` and a ``statement``.

    Raises
    ------
    ConvergenceError
        As `free_energy` and `fit_excess` do.
    InputError
        If an argument cannot be used, or no or several fractions vary.

    Examples
    --------
    A regular solution, whose energy is ω x(1 − x) per site, along φ:

    >>> from ase.units import kB
    >>> from scipy.special import gammaln
    >>> from alchemc.analysis.stability.observations import Observations, SampledPoint
    >>> n, t, omega = 50, 1000.0, 2.5 * kB * 1000.0
    >>> k, rng, points = np.arange(n + 1), np.random.default_rng(1), []
    >>> energy, ways = omega * k * (n - k) / n, -gammaln(k + 1) - gammaln(n - k + 1)
    >>> for phi in np.arange(-2.4, 0.5, 0.2):
    ...     log = ways - energy / (kB * t) - 8.0 * n * (k / n + phi / 2) ** 2
    ...     p = np.exp(log - log.max())
    ...     drawn = rng.choice(n + 1, size=(400, 4), p=p / p.sum())
    ...     points.append(SampledPoint({"temperature": t, "phi_B_Ta": phi, "kappa": 8.0},
    ...                                energy[drawn], np.stack([n - drawn, drawn], axis=-1)))
    >>> cell = Observations((("B", "Sc"), ("B", "Ta")), {"B": n}, tuple(points))
    >>> line = phase_diagram(cell, resamples=20).lines[0]
    >>> bool(abs(line.x[0] - 0.1448) < 4 * line.errors[0])  # ln[x/(1 − x)] = 2.5 (2x − 1)
    True
    """
    if method not in _METHODS:
        raise InputError(f"method {method!r} is unknown: give one of {', '.join(_METHODS)}")
    free = runs
    if not isinstance(free, FreeEnergies):
        kelvin = None if method == "tangent" else temperatures
        free = free_energy(runs, kelvin, cut=cut, resamples=resamples, seed=seed)  # type: ignore[arg-type]
    name = free.one_axis().name
    asked = tuple(kelvins(free.temperatures if temperatures is None else temperatures).tolist())
    sampled = tuple(free.temperatures.tolist())
    if method == "equal weight":
        middle = 0.5 if cut is None else cut
        both = [equal_weight(free, t, middle) for t in asked]
        lines = tuple(line for line in both if line is not None)
        notes = tuple(filter(None, (_doubt_at(free, line) for line in lines)))
        return PhaseDiagram(name, asked, sampled, lines, (), None, method, free, None, notes)
    if method == "hull":
        lines = tuple(line for t in asked for line in hull_lines(free, t))
        notes = _doubts(free)
        return PhaseDiagram(name, asked, sampled, lines, (), None, method, free, None, notes)
    model = fit_excess(free, order)
    return PhaseDiagram(
        axis=name,
        temperatures=asked,
        sampled=sampled,
        lines=tuple(line for t in asked for line in tie_lines(model, t)),
        spinodals=tuple((t, x, e) for t in asked for x, e in spinodal(model, t)),
        consolute=consolute_point(model),
        method=method,
        free=free,
        model=model,
        notes=_doubts(free) + model.notes,
    )


def _doubts(free: FreeEnergies) -> tuple[str, ...]:
    known = np.isfinite(free.free_energy)
    share = 1.0 - float((known & free.converged).sum() / known.sum())
    if share == 0.0:
        return free.notes
    doubtful = f"{100 * share:.0f} % of the free energies"
    text = f"{doubtful} rest on too few draws or on chains that did not converge."
    return (*free.notes, text)


def _doubt_at(free: FreeEnergies, line: TieLine) -> str:
    """Say how much of two phases comes from chains that did not converge, where it is much."""
    p = fraction_distribution(free, line.mu, line.temperature)
    share = float(p @ free.doubtful[free.at(line.temperature)])
    if share <= DOUBTFUL_SHARE:
        return ""
    return (
        f"At {line.temperature:,.6g} K {100 * share:.0f} % of the weight of both phases comes from "
        "chains that did not converge."
    )


def _line_text(line: TieLine, axis: str) -> str:
    one, other, mu = map(with_error, (*line.x, line.mu), line.errors)
    text = (
        f"At {line.temperature:,.6g} K phases with a {axis} of {one} and {other} coexist "
        f"(μ = {mu} eV"
    )
    if line.certainty < SURE:
        text += f"; only {100 * line.certainty:.0f} % of the resamples have this gap"
    return text + ("; extrapolated)." if line.extrapolated else ").")


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
