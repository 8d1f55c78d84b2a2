"""What an order–disorder analysis found: the temperature, its error, its reasons and caveats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import chi2 as chi_square

from ..caveats import Caveat
from ..wording import decimals, with_error
from .finite_size import Estimate
from .order_of_transition import CONTINUOUS, FIRST, LOW, Evidence

__all__ = ["LEAST_SIZES", "Combined", "OrderingTemperature", "combined"]

LEAST_SIZES = 3
"""Fewer do not show that a barrier goes on growing."""


class Combined(NamedTuple):
    """Mean of several estimates; ``values`` [1 + n_resamples]; ``chi2`` of their agreement."""

    values: np.ndarray
    statistical: float
    systematic: float
    error: float
    chi2: float
    dof: int


def combined(estimates: Sequence[Estimate]) -> Combined:
    """Weighted mean of estimates from the same samples.

    Weights are those of their total errors. The statistical error is the scatter of the mean over
    resamples, so that it knows how estimates vary together; systematic errors add up, as they may
    have one cause. Where estimates contradict one another (χ² per degree of freedom above one) the
    error is larger by the root of that.
    """
    weights = np.array([1.0 / max(e.error, 1e-12) ** 2 for e in estimates])
    weights /= weights.sum()
    table = np.stack([e.values for e in estimates])
    values = weights @ table
    statistical = float(np.nanstd(values[1:]))
    systematic = float(weights @ np.array([e.systematic for e in estimates]))
    deviation = (table[:, 0] - values[0]) / np.array([e.error for e in estimates])
    chi2, dof = float((deviation**2).sum()), len(estimates) - 1
    scale = math.sqrt(max(chi2 / dof, 1.0)) if dof else 1.0
    error = scale * math.hypot(statistical, systematic)
    return Combined(values, statistical, systematic, error, chi2, dof)


@dataclass(frozen=True)
class OrderingTemperature:
    """Temperature of an order–disorder transition; made by `ordering_temperature`.

    Parameters
    ----------
    order
        Name of the order.
    verdict
        "continuous", "first order" or "undecided".
    evidence
        What the verdict rests on.
    temperature, error
        K; NaN where no size gives one. ``error`` is one standard error, of which
        ``error_statistical`` is what resamples scatter by and ``error_systematic`` how far variants
        of the fits lie apart.
    apparent
        Whether it is that of one cell: sizes were not extrapolated.
    estimates
        What was combined.
    chi2, dof
        Of the agreement of the estimates, from their errors as if these were independent.
    exponents
        ν and ω with errors (0 where given), where the transition is not of first order.
    cumulant
        U at the transition with its error, extrapolated to an infinite cell; None without an order.
    sizes
        One row per size.
    caveats
        What a reader must know.
    converged
        Whether every point has converged.
    landscape
        Which positions and cell the energies belong to; empty where that is not known.
    curves
        Quantities at all sizes on grids of temperatures, for figures: dims (size, point), and
        (size, level) for the distribution of the energy.
    """

    order: str
    verdict: str
    evidence: tuple[Evidence, ...]
    temperature: float
    error: float
    error_statistical: float
    error_systematic: float
    apparent: bool
    estimates: tuple[Estimate, ...]
    chi2: float
    dof: int
    exponents: dict[str, tuple[float, float]]
    cumulant: tuple[float, float] | None
    sizes: tuple[dict[str, Any], ...]
    caveats: tuple[Caveat, ...]
    converged: bool
    landscape: str
    curves: xr.Dataset

    @property
    def probability(self) -> float:
        """Chance of estimates that agree as badly as these or worse; NaN for fewer than two."""
        return float(chi_square.sf(self.chi2, self.dof)) if self.dof else math.nan

    @property
    def tentative(self) -> bool:
        """Whether a first order rests on two sizes, or on barriers below 1 k_BT."""
        few = len(self.sizes) < LEAST_SIZES or self.sizes[-1]["barrier"] < LOW
        return self.verdict == FIRST and few

    @property
    def statement(self) -> str:
        """The result in sentences, caveats included."""
        return " ".join([self.findings, *(caveat.text for caveat in self.caveats)])

    @property
    def findings(self) -> str:
        """The result in sentences without the caveats, to be shown beside these."""
        parts = [self._of_temperature(), self._of_verdict()]
        if len(self.estimates) > 1:
            listed = "; ".join(
                f"{e.name} {with_error(e.temperature, e.error)} K" for e in self.estimates
            )
            parts.append(f"Estimates: {listed} (χ² = {self.chi2:.2g} for {self.dof}).")
        if self.cumulant is not None and not self.apparent:
            parts.append(f"The cumulant there is U = {with_error(*self.cumulant)}.")
        if self.landscape:
            parts.append(f"Landscape: {self.landscape}.")
        return " ".join(parts)

    def _of_temperature(self) -> str:
        what = "The transition" if self.order == "None" else f"The {self.order} order–disorder"
        what += "" if self.order == "None" else " transition"
        if not math.isfinite(self.temperature):
            return f"{what} was not located."
        value = f"{with_error(self.temperature, self.error)} K"
        if self.apparent:
            return (
                f"{what} appears at {value} in the one cell of {self.sizes[0]['n_sites']:,} sites: "
                "an apparent temperature, without finite-size scaling."
            )
        n = [row["n_sites"] for row in self.sizes]
        return (
            f"{what} of the infinite crystal is at {value} ({self._parts_of_error()}), from "
            f"{len(n)} sizes of {n[0]:,} to {n[-1]:,} sites."
        )

    def _parts_of_error(self) -> str:
        """Say what the error consists of, to its digits, and by how much it was widened."""
        parts = (self.error_statistical, self.error_systematic)
        digits = decimals(self.error) if self.error > 0 else 2
        text = f"statistical {parts[0]:,.{digits}f}, systematic {parts[1]:,.{digits}f}"
        widened = self.error / math.hypot(*parts) if any(parts) else 1.0
        if widened > 1.05:
            text += f", widened {widened:.1f} times because the estimates disagree"
        return text

    def _of_verdict(self) -> str:
        reasons = " ".join(one.text for one in self.evidence)
        if self.verdict == CONTINUOUS:
            largest = self.sizes[-1]["n_sites"]
            return (
                f"It is continuous as far as cells of up to {largest:,} sites can tell. {reasons}"
            )
        if self.verdict == FIRST:
            row = self.sizes[-1]
            latent, error = row["latent_heat"], row["latent_heat_error"]
            said = "It is of first order"
            if self.tentative:
                said = "It looks of first order, tentatively"
            if latent is not None:
                error = math.nan if error is None else error
                said += f", with a latent heat of {with_error(1e3 * latent, 1e3 * error)} meV/site"
            return f"{said}. {reasons}"
        return f"Its order is undecided. {reasons}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, None for unknown. Caveats stand beside the statement, not in it."""
        return {
            "statement": self.findings,
            "order": self.order,
            "verdict": self.verdict,
            "tentative": self.tentative,
            "evidence": [one._asdict() for one in self.evidence],
            "temperature": _finite(self.temperature),
            "error": _finite(self.error),
            "error_statistical": _finite(self.error_statistical),
            "error_systematic": _finite(self.error_systematic),
            "apparent": self.apparent,
            "converged": self.converged,
            "estimates": [one.to_dict() for one in self.estimates],
            "chi2": _finite(self.chi2),
            "degrees_of_freedom": self.dof,
            "probability": _finite(self.probability),
            "exponents": {
                name: {"value": value, "error": error}
                for name, (value, error) in self.exponents.items()
            },
            "cumulant": None
            if self.cumulant is None
            else {"value": self.cumulant[0], "error": self.cumulant[1]},
            "sizes": [dict(row) for row in self.sizes],
            "landscape": self.landscape,
            "caveats": [one._asdict() for one in self.caveats],
        }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
