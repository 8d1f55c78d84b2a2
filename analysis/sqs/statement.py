"""The comparison with special quasirandom structures in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..caveats import MELTING
from ..layout import few
from ..wording import counted, decimals
from .representative import Crossing
from .results import AtTemperature, Budget, Compared, SQSComparison

__all__ = ["sentences"]

MILLI = 1e3
CERTAIN = 2.0
"""Standard errors from which on a bias is called one."""


def sentences(found: SQSComparison) -> Iterator[str]:
    """Sentences of a comparison: what was compared, biases, temperatures, numbers."""
    yield found.structures.statement
    yield _scope(found)
    if found.has("energy"):
        energy = found.quantity("energy")
        yield _energy(energy)
        yield _representative(energy, "energy")
        yield _within(energy)
        yield _random_limit(found)
        yield from _numbers(energy)
    for kind, what in (("relaxed energy", "relaxed energy"), ("force", "rms force")):
        if found.has(kind):
            yield _plain_bias(found.quantity(kind), what)
    if found.has("warren-cowley"):
        nearest = found.quantity("warren-cowley")
        yield _plain_bias(nearest, f"Warren–Cowley α of {nearest.quantity.name}")
        yield _representative(nearest, f"α of {nearest.quantity.name}")
    yield from _orders(found)
    yield from _clusters(found)
    yield from _unconverged(found)


def _scope(found: SQSComparison) -> str:
    low, high = found.temperatures[0], found.temperatures[-1]
    n = len(found.temperatures)
    where = f"{_kelvin(low)}" if n == 1 else f"{n} temperatures from {low:,.6g} to {_kelvin(high)}"
    random = "all" if found.random_exact else f"{found.n_random}"
    return (
        f"They are compared with the ensemble sampled at {where} and with {random} random "
        f"arrangements of the cell; {found.landscape}."
    )


def _energy(row: Compared) -> str:
    away = row.mean - row.random_mean
    error = math.hypot(row.error, _known(row.random_error))
    side = "above" if away > 0 else "below"
    text = (
        f"The energy of the SQS lies {_number(MILLI * abs(away), MILLI * error)} meV per site "
        f"{side} that of random arrangements"
    )
    if row.scatter > 0:
        text += f" and scatters by {MILLI * row.scatter:.2g} meV per site from one to another"
    ends = row.points[:1] if len(row.points) == 1 else (row.points[0], row.points[-1])
    biases = " and of ".join(_bias(point, MILLI, "meV per site") for point in ends)
    return f"{text}; against the ensemble it carries a bias of {biases}."


def _bias(point: AtTemperature, scale: float, unit: str) -> str:
    value = _number(scale * point.bias, scale * _known(point.bias_error), sign=True)
    detail = []
    if math.isfinite(point.standard_errors):
        detail.append(f"{abs(point.standard_errors):.3g} standard errors")
    if math.isfinite(point.spreads):
        detail.append(f"{abs(point.spreads):.2g} times the spread between configurations")
    extra = f" ({', '.join(detail)})" if detail else ""
    unit = f" {unit}" if unit else ""
    return f"{value}{unit} at {_kelvin(point.temperature)}{extra}"


def _representative(row: Compared, what: str) -> str:
    """At which temperature, if any, the ensemble has the value of the SQS."""
    found = [one for one in row.representative if one.resolved]
    if found:
        texts = [_temperature(one) for one in found]
        return f"By its {what} the SQS is representative at {few(texts, ' and ', 3)}."
    unsure = [f"{_number(c.temperature, 0.0)} K" for c in row.representative if math.isinf(c.error)]
    if unsure:
        return (
            f"By its {what} the SQS may be representative near {few(unsure, ' and ', 3)}, but the "
            "effective draws beside are too few for an error."
        )
    coldest, hottest = row.points[0].temperature, row.points[-1].temperature
    none = (
        f"By its {what} the SQS is representative of no temperature in the range sampled, from "
        f"{coldest:,.6g} to {_kelvin(hottest)}"
    )
    if coldest == hottest:
        none = f"By its {what} the SQS is not representative of {_kelvin(coldest)}"
    if not row.reaches_random:
        return f"{none}."
    away = row.mean - row.random_mean
    error = math.hypot(row.error, _known(row.random_error))
    if abs(away) <= CERTAIN * error or row.representative:
        least = max((one.lower for one in row.representative), default=0.0)
        above = f" (above {_kelvin(least)} at one standard error)" if least else ""
        return f"{none}, nor of any that is told from infinite temperature{above}."
    if row.quantity.kind != "energy":
        return f"{none}, nor of any above."
    return (
        f"{none}, nor of any above: it stands for the infinite random alloy, from which random "
        "arrangements of this cell, its limit at infinite temperature, differ themselves."
    )


def _temperature(one: Crossing) -> str:
    text = f"{_number(one.temperature, one.error)} K"
    low, high = one.between
    between = f"between {low:,.6g} K and " + ("random order" if math.isinf(high) else _kelvin(high))
    marks = [f"interpolated {between}"]
    if one.temperature > MELTING:
        marks.append("above melting")
    if math.isinf(one.error):
        marks.append("from too few effective draws for an error")
    if not one.converged:
        marks.append("from chains that did not converge")
    return f"{text} ({', '.join(marks)})"


def _within(row: Compared) -> str:
    limit = f"{MILLI * row.tolerance:.3g} meV per site"
    if row.within is None:
        if not row.reaches_random:
            return f"Whether its bias falls below {limit} at some temperature is not known."
        return f"Its bias exceeds {limit} at every temperature, random order included."
    coldest = row.points[0].temperature
    if row.within.temperature <= coldest:
        return f"Its bias stays below {limit} at all temperatures sampled."
    return f"Its bias falls below {limit} only above {_temperature(row.within)}."


def _random_limit(found: SQSComparison) -> str:
    kelvin, error = found.random_limit or (math.nan, math.nan)
    limit = f"{MILLI * found.tolerance:.3g} meV per site"
    return (
        "To first order in 1/T the ensemble itself is random to within "
        f"{limit} only above {_number(kelvin, error)} K."
    )


def _numbers(row: Compared) -> Iterator[str]:
    """How many SQS, or draws, the same error takes, at the coldest and the hottest temperature."""
    limit = f"{MILLI * row.tolerance:.3g} meV per site"
    ends = row.points[:1] if len(row.points) == 1 else (row.points[0], row.points[-1])
    for point in ends:
        budget = row.budget(point)
        one = f"{MILLI * budget.error_of_one:.3g} meV per site"
        draws = f"{counted(budget.draws, 'independent draw')} of the ensemble"
        if math.isfinite(budget.stored_draws):
            draws += f" (about {max(1, math.ceil(budget.stored_draws)):,} stored ones of this run)"
        do = "does" if budget.draws == 1 else "do"
        at = _kelvin(point.temperature)
        yield (
            f"At {at} a single SQS is off by {one}, {_worth(point, budget)}; to reach {limit} "
            f"{_needed(budget.sqs)}, while {draws} {do}."
        )
        if math.isfinite(point.ensemble.error):
            own = f"{MILLI * point.ensemble.error:.2g} meV per site"
            yield f"To be as good as this run there ({own}) {_needed(budget.sqs_for_run)}."


def _worth(point: AtTemperature, budget: Budget) -> str:
    """One SQS against draws of the ensemble."""
    if budget.draws_for_one < 1:
        spread = f"{MILLI * point.spread:.3g} meV per site"
        return f"more than a single draw of the ensemble, whose spread is {spread}"
    if math.isinf(budget.draws_for_one):
        return "less than any number of draws of the ensemble"
    return f"as much as the mean of {budget.draws_for_one:,.2g} independent draws of the ensemble"


def _needed(n: int | None) -> str:
    return "no number of SQS is enough" if n is None else f"it takes {n:,} SQS"


def _plain_bias(row: Compared, what: str) -> str:
    unit = "" if row.quantity.unit == "1" else row.quantity.unit
    ends = row.points[:1] if len(row.points) == 1 else (row.points[0], row.points[-1])
    biases = " and of ".join(_bias(point, 1.0, unit) for point in ends)
    value = _number(row.mean, row.error)
    if row.quantity.kind == "relaxed energy":  # from an arbitrary zero
        return f"The bias of its {what} is {biases}."
    return f"Its {what} is {value}{f' {unit}' if unit else ''}, with a bias of {biases}."


def _orders(found: SQSComparison) -> Iterator[str]:
    """Compare the order that the ensemble has most of at the coldest temperature."""
    rows = [one for one in found.quantities if one.quantity.kind == "order"]
    if rows:
        most = max(rows, key=lambda row: row.points[0].ensemble.mean)
        cold = most.points[0]
        yield (
            f"The {most.quantity.name} order |ψ|² is {_number(most.mean, most.error)} in the SQS "
            f"and {_number(cold.ensemble.mean, _known(cold.ensemble.error))} in the ensemble at "
            f"{_kelvin(cold.temperature)}."
        )


def _clusters(found: SQSComparison) -> Iterator[str]:
    deviation = found.cluster_deviation()
    if deviation:
        ends = {found.temperatures[0]: deviation[0], found.temperatures[-1]: deviation[-1]}
        texts = [f"{_number(d, e)} at {_kelvin(kelvin)}" for kelvin, (d, e) in ends.items()]
        yield f"The elements of the cluster vector differ by {' and '.join(texts)} (rms)."


def _unconverged(found: SQSComparison) -> Iterator[str]:
    points = found.quantities[0].points
    bad = [_kelvin(point.temperature) for point in points if not point.ensemble.converged]
    if bad:
        yield f"The chains did not converge at {few(bad)}: biases there have no sure error."


def _known(error: float) -> float:
    return error if math.isfinite(error) else 0.0


def _kelvin(value: float) -> str:
    return f"{value:,.6g} K"


def _number(value: float, error: float, *, sign: bool = False) -> str:
    """Value and error, both to two digits of the error."""
    plus = "+" if sign and value > 0 else ""
    if not (error > 0 and math.isfinite(error)):
        return f"{plus}{value:,.4g}" if abs(value) < 1e4 else f"{plus}{float(f'{value:.4g}'):,.0f}"
    digits = decimals(error)
    return f"{plus}{value:,.{digits}f} ± {error:,.{digits}f}"
