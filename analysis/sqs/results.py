"""The result of a comparison with special quasirandom structures: numbers, tables and sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase.units import kB

from ...errors import InputError
from ...statistics import Summary
from ..caveats import Caveat, shortcoming
from .measures import Quantity
from .representative import Crossing
from .structures import SpecialQuasirandom

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["AtTemperature", "Budget", "Compared", "SQSComparison"]


class Budget(NamedTuple):
    """What the value of structures is worth against draws of the ensemble, at one temperature.

    ``error_of_one`` is the root mean square error of a single SQS, bias and scatter;
    ``draws_for_one`` how many independent draws have that standard error. ``sqs``, ``random`` and
    ``draws`` are the numbers of SQS, of random arrangements and of independent draws whose mean is
    off by no more than the tolerance (root mean square), None where the bias alone exceeds it;
    ``stored_draws`` is ``draws`` times the autocorrelation time in stored draws of the run.
    ``sqs_for_run`` is the number of SQS that would be as good as the whole run.
    """

    error_of_one: float
    draws_for_one: float
    sqs: int | None
    random: int | None
    draws: int
    stored_draws: float
    sqs_for_run: int | None


@dataclass(frozen=True)
class AtTemperature:
    """Mean of the ensemble at one temperature (K), and the bias of the SQS against it.

    ``spread`` is the standard deviation between configurations; ``bias`` the mean of the SQS less
    that of the ensemble, ``bias_error`` one standard error of both together; ``n_draws`` all draws
    of all chains that were used.
    """

    temperature: float
    ensemble: Summary
    spread: float
    n_draws: int
    bias: float
    bias_error: float

    @property
    def standard_errors(self) -> float:
        """Bias in units of its error."""
        return self.bias / self.bias_error if self.bias_error > 0 else math.nan

    @property
    def spreads(self) -> float:
        """Bias in units of the spread between configurations."""
        return self.bias / self.spread if self.spread > 0 else math.nan

    @property
    def autocorrelation(self) -> float:
        """Stored draws per independent one, over all chains."""
        return self.n_draws / self.ensemble.ess if self.ensemble.ess > 0 else math.nan


@dataclass(frozen=True)
class Compared:
    """One quantity of the SQS, of random arrangements, and of the ensemble at every temperature.

    Attributes
    ----------
    quantity
        Kind, name and unit.
    values, mean, scatter
        Of the SQS: one by one, [n], their mean and their standard deviation (NaN for one).
    random_mean, random_error, random_spread
        Of random arrangements; NaN where they were not measured.
    points
        From cold to hot.
    representative
        Temperatures at which the ensemble has the mean of the SQS, from hot to cold.
    tolerance, within
        A bias that is small, and the temperature above which it is not exceeded; None if it is
        exceeded by random arrangements already, or these were not measured.
    reaches_random
        Whether interpolation reached from the hottest sampled temperature to random arrangements.
    """

    quantity: Quantity
    values: np.ndarray
    mean: float
    scatter: float
    random_mean: float
    random_error: float
    random_spread: float
    points: tuple[AtTemperature, ...]
    representative: tuple[Crossing, ...]
    tolerance: float
    within: Crossing | None
    reaches_random: bool

    @property
    def error(self) -> float:
        """Standard error of the mean of the SQS; zero for a single one, whose error is unknown."""
        return self.scatter / math.sqrt(len(self.values)) if len(self.values) > 1 else 0.0

    def budget(self, point: AtTemperature) -> Budget:
        """How many structures or draws an error takes at one temperature."""
        scatter = self.scatter if math.isfinite(self.scatter) else 0.0
        # The square of a bias that is known to an error is too large by the square of the error.
        uncertain = point.bias_error if math.isfinite(point.bias_error) else 0.0
        squared = max(0.0, point.bias**2 - uncertain**2)
        one = math.sqrt(squared + scatter**2)
        draws = max(1, math.ceil(_ratio(point.spread, self.tolerance)))
        tau = point.autocorrelation
        bias, random_bias = math.sqrt(squared), self.random_mean - point.ensemble.mean
        return Budget(
            error_of_one=one,
            draws_for_one=_ratio(point.spread, one),
            sqs=_number(scatter, bias, self.tolerance),
            random=_number(self.random_spread, random_bias, self.tolerance),
            draws=draws,
            stored_draws=draws * tau,
            sqs_for_run=_number(scatter, bias, point.ensemble.error),
        )


def _ratio(spread: float, error: float) -> float:
    """Independent values of that spread whose mean has that error."""
    return (spread / error) ** 2 if error > 0 else math.inf


def _number(scatter: float, bias: float, tolerance: float) -> int | None:
    """Biased values of that scatter whose mean has a root mean square error of the tolerance."""
    left = tolerance**2 - bias**2
    if not (left > 0 and math.isfinite(scatter)):
        return None
    return max(1, math.ceil(scatter**2 / left))


@dataclass(frozen=True)
class SQSComparison:
    """Structures, ensemble and random arrangements side by side.

    Attributes
    ----------
    structures
        The SQS.
    temperatures
        In K, from cold to hot.
    quantities
        What was compared; those that the cell leaves no freedom are left out.
    n_random, random_exact
        How many random arrangements, and whether these are all there are.
    tolerance
        Energy in eV per site that the error budget is for.
    landscape
        Which positions and cell the energies belong to.
    caveats
        What qualifies all this.
    """

    structures: SpecialQuasirandom
    temperatures: np.ndarray
    quantities: tuple[Compared, ...]
    n_random: int
    random_exact: bool
    tolerance: float
    landscape: str
    caveats: tuple[Caveat, ...]

    def quantity(self, kind: str, name: str | None = None) -> Compared:
        """Return the first quantity of a kind, or the one of that name.

        Raises
        ------
        InputError
            If there is none; the message lists the labels.
        """
        for one in self.quantities:
            if one.quantity.kind == kind and name in (None, one.quantity.name):
                return one
        labels = ", ".join(one.quantity.label for one in self.quantities)
        raise InputError(f"no quantity {kind!r} {name or ''} was compared; there are {labels}")

    def has(self, kind: str) -> bool:
        """Whether a kind of quantity was compared."""
        return any(one.quantity.kind == kind for one in self.quantities)

    @property
    def converged(self) -> bool:
        """Whether the chains have converged at every temperature, by the first quantity."""
        return all(point.ensemble.converged for point in self.quantities[0].points)

    def cluster_deviation(self) -> list[tuple[float, float]]:
        """Root mean square difference between the cluster vectors, and its error, by temperature.

        Of the mean over the SQS and the mean over the ensemble, over all clusters of two sites and
        more; the squared errors of the means, which add to it, are taken off.
        """
        rows = [one for one in self.quantities if one.quantity.kind == "cluster"]
        if not rows:
            return []
        found = []
        for k in range(len(self.temperatures)):
            biases = np.array([one.points[k].bias for one in rows])
            errors = np.nan_to_num(np.array([one.points[k].bias_error for one in rows]))
            square = float((biases**2 - errors**2).mean())
            root = math.sqrt(max(0.0, square))
            # Errors of the elements are correlated: taken as fully so, the error is an upper bound.
            error = float((np.abs(biases) * errors).mean()) / root if root else float(errors.max())
            found.append((root, error))
        return found

    @property
    def random_limit(self) -> tuple[float, float] | None:
        r"""Temperature (K), and its error, above which the ensemble is random to the tolerance.

        To first order in β, :math:`⟨E⟩ ≈ ⟨E⟩_0 − β\,\mathrm{Var}_0(E)`. None without energies.
        """
        if not self.has("energy"):
            return None
        spread = self.quantity("energy").random_spread
        kelvin = self.structures.lattice.n_sites * spread**2 / (kB * self.tolerance)
        share = 0.0 if self.random_exact else math.sqrt(2.0 / (self.n_random - 1))
        return kelvin, kelvin * share

    @property
    def statement(self) -> str:
        """The comparison in words, with numbers and errors, to be quoted."""
        return " ".join(self.sentences)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What ``statement`` is made of: the findings, and the caveats."""
        return (*self.findings, *(caveat.text for caveat in self.caveats))

    @property
    def findings(self) -> tuple[str, ...]:
        """Sentences without the caveats, to be shown beside these."""
        from .statement import sentences  # noqa: PLC0415  (it imports this module)

        return tuple(sentences(self))

    def table(self) -> xr.Dataset:
        """Numbers by quantity and temperature.

        Variables over (quantity, temperature): ``mean``, ``error``, ``spread``, ``ess``, ``rhat``,
        ``converged``, ``bias``, ``bias_error``; over quantity: ``sqs``, ``sqs_error``,
        ``sqs_scatter``, ``random``, ``random_error``, ``random_spread``,
        ``representative_temperature``, ``representative_error``.
        """
        import xarray as xr  # noqa: PLC0415  (slow to import)

        rows = self.quantities
        both, along = ("quantity", "temperature"), ("quantity",)

        def grid(get: Any) -> tuple[tuple[str, str], np.ndarray]:
            return both, np.array([[get(point) for point in row.points] for row in rows])

        def column(get: Any) -> tuple[tuple[str], np.ndarray]:
            return along, np.array([get(row) for row in rows])

        return xr.Dataset(
            {
                **{
                    name: grid(lambda p, name=name: getattr(p.ensemble, name))
                    for name in Summary._fields
                },
                "spread": grid(lambda p: p.spread),
                "bias": grid(lambda p: p.bias),
                "bias_error": grid(lambda p: p.bias_error),
                "sqs": column(lambda row: row.mean),
                "sqs_error": column(lambda row: row.error),
                "sqs_scatter": column(lambda row: row.scatter),
                "random": column(lambda row: row.random_mean),
                "random_error": column(lambda row: row.random_error),
                "random_spread": column(lambda row: row.random_spread),
                "representative_temperature": column(lambda row: _first(row, "temperature")),
                "representative_error": column(lambda row: _first(row, "error")),
            },
            coords={
                "quantity": [row.quantity.label for row in rows],
                "unit": ("quantity", [row.quantity.unit for row in rows]),
                "temperature": ("temperature", self.temperatures, {"units": "K"}),
            },
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row per quantity and temperature, as for CSV; None for unknown numbers."""
        return [
            {
                "quantity": row.quantity.label,
                "unit": row.quantity.unit,
                "temperature": point.temperature,
                "mean": _plain(point.ensemble.mean),
                "error": _plain(point.ensemble.error),
                "spread": _plain(point.spread),
                "sqs": row.mean,
                "sqs_error": _plain(row.error) if len(row.values) > 1 else None,
                "sqs_scatter": _plain(row.scatter),
                "random": _plain(row.random_mean),
                "bias": _plain(point.bias),
                "bias_error": _plain(point.bias_error),
                "bias_in_errors": _plain(point.standard_errors),
                "bias_in_spreads": _plain(point.spreads),
                "ess": _plain(point.ensemble.ess),
                "rhat": _plain(point.ensemble.rhat),
                "converged": bool(point.ensemble.converged),
            }
            for row in self.quantities
            for point in row.points
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: None for unknown, no NaN. Caveats stand beside the statement, not in it."""
        deviation, limit = self.cluster_deviation(), self.random_limit
        return {
            "statement": " ".join(self.findings),
            "caveats": [caveat._asdict() for caveat in self.caveats],
            "converged": self.converged,
            "landscape": self.landscape,
            "temperatures": self.temperatures.tolist(),
            "tolerance": self.tolerance,
            "structures": self.structures.to_dict(),
            "random": {"n": self.n_random, "exact": self.random_exact},
            "random_limit": None if limit is None else {"temperature": limit[0], "error": limit[1]},
            "cluster_deviation": [
                {"temperature": kelvin, "mean": mean, "error": error}
                for kelvin, (mean, error) in zip(
                    self.temperatures.tolist(), deviation, strict=False
                )
            ],
            "quantities": [_quantity_dict(row) for row in self.quantities],
        }


def _quantity_dict(row: Compared) -> dict[str, Any]:
    return {
        "kind": row.quantity.kind,
        "name": row.quantity.name,
        "unit": row.quantity.unit,
        "sqs": {
            "values": row.values.tolist(),
            "mean": row.mean,
            "error": row.error if len(row.values) > 1 else None,
            "scatter": _plain(row.scatter),
        },
        "random": {
            "mean": _plain(row.random_mean),
            "error": _plain(row.random_error),
            "spread": _plain(row.random_spread),
        },
        "points": [_point_dict(row, point) for point in row.points],
        "representative": [_crossing_dict(one) for one in row.representative],
        "tolerance": row.tolerance,
        "within": None if row.within is None else _crossing_dict(row.within),
    }


def _point_dict(row: Compared, point: AtTemperature) -> dict[str, Any]:
    summary = point.ensemble
    budget = row.budget(point)._asdict()
    return {
        "temperature": point.temperature,
        "mean": _plain(summary.mean),
        "error": _plain(summary.error),
        "spread": _plain(point.spread),
        "n_draws": point.n_draws,
        "ess": _plain(summary.ess),
        "rhat": _plain(summary.rhat),
        "converged": bool(summary.converged),
        **({} if summary.converged else {"why": shortcoming(summary)}),
        "bias": _plain(point.bias),
        "bias_error": _plain(point.bias_error),
        "bias_in_errors": _plain(point.standard_errors),
        "bias_in_spreads": _plain(point.spreads),
        "budget": {name: _plain(v) if isinstance(v, float) else v for name, v in budget.items()},
    }


def _crossing_dict(crossing: Crossing) -> dict[str, Any]:
    plain = {
        name: _plain(getattr(crossing, name))
        for name in ("temperature", "error", "interpolation", "lower", "upper")
    }
    between = [_plain(kelvin) for kelvin in crossing.between]
    return plain | {
        "between": between,
        "resolved": bool(crossing.resolved),
        "converged": bool(crossing.converged),
    }


def _first(row: Compared, name: str) -> float:
    return getattr(row.representative[0], name) if row.representative else math.nan


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
