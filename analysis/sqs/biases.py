"""Biases of a quantity at every temperature, and where it has the value of the structures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase.units import kB

from ...statistics import Summary
from ..estimates import summarize_series
from .measures import FORCE, RELAXED, Quantity, Series, Temperature
from .representative import Node, crossings, node, within
from .results import AtTemperature, Compared

__all__ = ["Reference", "compared"]


class Reference(NamedTuple):
    """Random arrangements: series [1, n] of every quantity; ``exact`` if they are all there are."""

    series: Mapping[Quantity, Series]
    exact: bool
    n: int

    def is_exact(self, quantity: Quantity) -> bool:
        """Whether a mean over them has no error."""
        return (
            self.exact and quantity in self.series and self.series[quantity].values.size == self.n
        )


def compared(  # noqa: PLR0917
    quantity: Quantity,
    values: np.ndarray,
    sampled_series: Sequence[Series],
    here: Sequence[Temperature],
    reference: Reference,
    tolerance: float,
) -> Compared:
    """Bias at every temperature, and temperatures at which the SQS is representative."""
    n = len(values)
    scatter = _spread(values, exact=False) if n > 1 else math.nan
    error = scatter / math.sqrt(n) if n > 1 else 0.0
    random = reference.series.get(quantity)
    exact = reference.is_exact(quantity)
    points = [
        _at(quantity, values, error, series, one)
        for series, one in zip(sampled_series, here, strict=True)
    ]
    nodes = _nodes(sampled_series, points, here, random, exact=exact)
    from_random = bool(nodes) and nodes[0].beta == 0.0
    mean = float(values.mean())
    found = crossings(nodes, mean, error)
    return Compared(
        quantity=quantity,
        values=values,
        mean=mean,
        scatter=scatter,
        random_mean=float(random.values.mean()) if random else math.nan,
        random_error=_random_error(random, exact=exact),
        random_spread=_spread(random.values, exact=exact) if random else math.nan,
        points=tuple(points),
        representative=tuple(found),
        tolerance=tolerance,
        within=within(nodes, mean, tolerance, error) if from_random else None,
        reaches_random=from_random,
    )


def _at(
    quantity: Quantity, values: np.ndarray, error: float, series: Series, here: Temperature
) -> AtTemperature:
    mean = _summary(quantity, series, here)
    known = math.hypot(mean.error, error) if math.isfinite(mean.error) else math.nan
    return AtTemperature(
        temperature=here.kelvin,
        ensemble=mean,
        spread=_spread(series.values, exact=False),
        n_draws=series.values.size,
        bias=float(values.mean()) - mean.mean,
        bias_error=known,
    )


def _summary(quantity: Quantity, series: Series, here: Temperature) -> Summary:
    """Mean over the draws; a mean of few chosen ones has the verdict of all energies."""
    found = summarize_series(series.values)
    if quantity not in (FORCE, RELAXED):
        return found
    energy = summarize_series(here.energy)
    if _spread(series.values, exact=False) == 0.0:
        found = found._replace(error=math.nan, ess=0.0)
    return found._replace(rhat=energy.rhat, converged=energy.converged and found.ess > 0)


def _spread(values: np.ndarray, *, exact: bool) -> float:
    if np.ptp(values) <= 1e-9 * np.abs(values).max():  # rounding of equal ones
        return 0.0
    return float(values.std(ddof=0 if exact or values.size < 2 else 1))


def _random_error(random: Series | None, *, exact: bool) -> float:
    if random is None:
        return math.nan
    return 0.0 if exact else _spread(random.values, exact=False) / math.sqrt(random.values.size)


def _nodes(
    series: Sequence[Series],
    points: Sequence[AtTemperature],
    here: Sequence[Temperature],
    random: Series | None,
    *,
    exact: bool,
) -> list[Node]:
    """Nodes by rising β; none where positions move, since a slope then is no covariance with E."""
    if not all(one.fixed for one in here):
        return []
    nodes = []
    if random is not None and np.isfinite(random.energy).all():
        nodes.append(node(0.0, random, converged=True, exact=exact))
    rising = sorted(zip(here, series, points, strict=True), key=lambda row: -row[0].kelvin)
    for one, values, point in rising:
        nodes.append(node(1.0 / (kB * one.kelvin), values, point.ensemble.converged))
    return nodes
