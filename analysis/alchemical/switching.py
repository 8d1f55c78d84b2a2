"""The free energy of a change from works of switching it, both ways or one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from ase.units import kB

from ...alchemical_records import Works
from ...errors import ConvergenceError, InputError
from ...sublattice import is_whole, shown
from ..caveats import Caveat
from ..stability.mbar import LEAST_OVERLAP
from ..wording import with_error
from .bennett import Bennett, bennett, correlated_error, inefficiency
from .crooks import OneWay, crossing, crossing_of_gaussians, logistic_slope, one_way
from .rounds import caveats_of_rounds
from .switching_result import Measured, SwitchingFreeEnergy

__all__ = ["switching_free_energy"]

_FEW = 20
"""Independent works of a direction below which an error of theirs is not trusted."""
_FEWEST = 3
_APART = 4.0
"""Standard errors that what a theorem forbids has to exceed to be told."""
_ALIKE = 1e-6
"""Spread in k_BT below which works do not differ."""
_RESAMPLES = 200
_CHAINS = 8
"""Chains from which on the scatter of whole chains tells an error."""


class _Way(NamedTuple):
    """Works of one direction in k_BT, [draw, chain], and how correlated they are.

    One draw of each of ``n_chains`` chains is held as so many draws of one.
    """

    works: np.ndarray
    g: float
    n_chains: int

    @property
    def flat(self) -> np.ndarray:
        return self.works.ravel()

    @property
    def mean(self) -> tuple[float, float]:
        n = self.works.size
        error = self.flat.std(ddof=1) * math.sqrt(self.g / n) if n > 1 else math.nan
        return float(self.flat.mean()), float(error)

    def of_chains(self, chains: np.ndarray) -> np.ndarray:
        """Works of these chains, one after another."""
        return self.works.reshape(-1, self.n_chains)[:, chains].ravel()

    def in_blocks(self, rng: np.random.Generator) -> np.ndarray:
        """Works drawn again in blocks of draws."""
        n_draws, n_chains = self.works.shape
        length = 1 if self.g < 1.2 else min(math.ceil(3.0 * self.g), max(n_draws // 4, 1))
        n_blocks = math.ceil(n_draws / length) * n_chains
        first = rng.integers(n_draws - length + 1, size=n_blocks)
        chain = rng.integers(n_chains, size=n_blocks)
        return self.works[first[:, None] + np.arange(length), chain[:, None]].ravel()


def switching_free_energy(
    works: Works, *, resamples: int = _RESAMPLES, seed: int = 0
) -> SwitchingFreeEnergy:
    """Free energy of the change that works were done in, with its error and what to think of it.

    With both directions ΔF is Bennett's acceptance ratio: of all that are asymptotically unbiased
    it has the least variance, and it is where the work distributions cross by Crooks' theorem,
    p_F(W)/p_R(−W) = exp β(W − ΔF), by maximum likelihood. Beside it stand Jarzynski's average of
    each direction with its bias, the crossing of two Gaussians, what each direction dissipated, and
    the slope of ln(p_F/p_R) in W, 1/k_BT where the theorem holds.

    Parameters
    ----------
    works
        Works of both directions; of one alone, ΔF is Jarzynski's average and is never called
        converged.
    resamples
        Resamples of whole chains, or of blocks of works where chains are fewer than eight, of which
        the errors that have no formula are made; the error of ΔF is the larger of theirs and of
        pymbar's, which is widened where works are correlated.
    seed
        Of the resamples.

    Raises
    ------
    InputError
        If a direction has fewer than three works but some, or there are no ``Works``.
    ConvergenceError
        If the directions have less than one work in common and overlap too little.

    Examples
    --------
    Gaussian works that obey Crooks' theorem: W = ΔF + σ²/2k_BT on average.

    >>> import numpy as np
    >>> from ase.units import kB
    >>> rng, kt = np.random.default_rng(1), 600.0 * kB
    >>> forward = rng.normal(0.2 + kt / 2, kt, 400)
    >>> reverse = rng.normal(-0.2 + kt / 2, kt, 400)
    >>> found = switching_free_energy(Works(forward, reverse, 600.0, n_steps=50))
    >>> found.converged, abs(found.free_energy - 0.2) < 3 * found.error < 0.02
    (True, True)
    """
    if not isinstance(works, Works):
        raise InputError(f"works are {shown(works)}; give Works, as Switching records them")
    if not is_whole(resamples, least=2):
        raise InputError(f"resamples is {shown(resamples)}: at least 2 are needed for an error")
    kt = kB * works.temperature
    ways = [_way(name, getattr(works, name), kt) for name in ("forward", "reverse")]
    forward, reverse = ways
    rng = np.random.default_rng(seed)
    if forward is None or reverse is None:
        return _from_one_direction(works, ways, kt)
    found = bennett(forward.flat, reverse.flat)
    if found.overlap < LEAST_OVERLAP and found.shared < 1.0:
        raise ConvergenceError(_apart(found.overlap, found.shared, forward, reverse, kt))
    widened = correlated_error(
        [i.reshape(w.works.shape) for i, w in zip(found.influence, ways, strict=True)],  # type: ignore[union-attr]
        inefficiency,
    )
    spread = _spread(forward, reverse, resamples, rng)
    analytic = found.error * widened
    error = max(analytic, spread[0]) if math.isfinite(spread[0]) else analytic
    (mean_f, error_f), (mean_r, error_r) = forward.mean, reverse.mean
    lost = _dissipated(forward, reverse, found)
    one_ways = {
        "forward": one_way(forward.flat, 1, _of_exponentials(forward), lost[1].value),
        "reverse": one_way(reverse.flat, -1, _of_exponentials(reverse), lost[0].value),
    }
    result = SwitchingFreeEnergy(
        works=works,
        method="BAR",
        free_energy=found.f * kt,
        error=error * kt,
        error_analytic=analytic * kt,
        error_resampled=spread[0] * kt,
        overlap=found.overlap,
        shared=found.shared,
        dissipated=(lost[0].times(kt), lost[1].times(kt)),
        hysteresis=Measured((mean_f + mean_r) * kt, math.hypot(error_f, error_r) * kt),
        gaussian=Measured(crossing_of_gaussians(forward.flat, reverse.flat) * kt, spread[1] * kt),
        crooks_slope=Measured(logistic_slope(forward.flat, reverse.flat), spread[2]),
        one_way={name: _in_ev(one, kt) for name, one in one_ways.items()},
        effective=(forward.works.size / forward.g, reverse.works.size / reverse.g),
        caveats=(),
    )
    return result.with_caveats(_caveats(result, kt))


def _way(name: str, values: np.ndarray, kt: float) -> _Way | None:
    if not values.size:
        return None
    if values.size < _FEWEST:
        raise InputError(
            f"there are {values.size} {name} works: give {_FEWEST} or more, or none of them"
        )
    reduced = values / kt
    # One draw of each chain is as good as independent draws of one chain.
    series = reduced.reshape(-1, 1) if reduced.ndim == 1 or len(reduced) == 1 else reduced
    n_chains = values.shape[1] if values.ndim == 2 else 1
    alone = values.ndim == 2 and len(values) == 1
    return _Way(series, 1.0 if alone else inefficiency(series), n_chains)


def _dissipated(forward: _Way, reverse: _Way, found: Bennett) -> tuple[Measured, Measured]:
    """⟨w_F⟩ − f and ⟨w_R⟩ + f, with the errors of both parts, which have works in common."""
    lost = []
    for k, sign in ((0, -1.0), (1, 1.0)):
        variance = 0.0
        for j, way in enumerate((forward, reverse)):
            influence = sign * found.influence[j]
            if j == k:
                influence = influence + (way.flat - way.flat.mean()) / way.works.size
            variance += way.g * float((influence**2).sum())
        value = (forward, reverse)[k].flat.mean() + sign * found.f
        lost.append(Measured(float(value), math.sqrt(variance)))
    return lost[0], lost[1]


def _of_exponentials(way: _Way) -> float:
    return max(way.g, inefficiency(np.exp(way.flat.min() - way.works))) if way.g > 1 else way.g


def _in_ev(one: OneWay, kt: float) -> OneWay:
    return one._replace(f=one.f * kt, error=one.error * kt, bias=one.bias * kt)


def _spread(
    forward: _Way, reverse: _Way, resamples: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Scatter of resamples: of ΔF, of the crossing of Gaussians, of the slope.

    The slope has none where a tenth of the resamples have no slope.
    """
    pairs = _resampled(forward, reverse, resamples, rng)
    rows = np.array(
        [(crossing(f, r), crossing_of_gaussians(f, r), logistic_slope(f, r)) for f, r in pairs]
    )
    known = np.isfinite(rows)
    errors = [
        float(column[has].std(ddof=1)) if has.mean() >= 0.9 and has.sum() > 1 else math.nan
        for column, has in zip(rows.T, known.T, strict=True)
    ]
    return errors[0], errors[1], errors[2]


def _resampled(
    forward: _Way, reverse: _Way, resamples: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Works drawn again, forward and reverse.

    Whole chains where there are enough: what the two directions of a chain have in common, such as
    the end of one protocol as the start of the other, is then kept. Else blocks of each direction
    that are longer than its memory. One chain fewer is drawn than there are, which makes the
    variance of a mean unbiased (J. N. K. Rao and C. F. J. Wu, J. Am. Stat. Assoc. 83, 231 (1988),
    doi:10.1080/01621459.1988.10478591).
    """
    n = forward.n_chains
    for _ in range(resamples):
        if n == reverse.n_chains and n >= _CHAINS:
            chain = rng.integers(n, size=n - 1)
            yield forward.of_chains(chain), reverse.of_chains(chain)
        else:
            yield forward.in_blocks(rng), reverse.in_blocks(rng)


def _from_one_direction(works: Works, ways: list[_Way | None], kt: float) -> SwitchingFreeEnergy:
    k = 0 if ways[0] is not None else 1
    name, way = ("forward", "reverse")[k], ways[k]
    assert way is not None  # noqa: S101  (a record has works of one direction or both)
    one = one_way(way.flat, 1 - 2 * k, _of_exponentials(way), math.nan)
    mean, error = way.mean
    unknown = Measured(math.nan, math.nan)
    lost = Measured((mean - (1 - 2 * k) * one.f) * kt, math.hypot(error, one.error) * kt)
    other = ("reverse", "forward")[k]
    text = (
        f"There are no {other} works: ΔF is Jarzynski's average, whose bias "
        f"({1e3 * one.bias * kt:+.2g} meV to second order) is larger than it can tell where works "
        f"dissipate more than k_BT, here {lost.value / kt:.2g}; it rests on {one.effective:.3g} of "
        f"{way.works.size} works. Switch back as well."
    )
    return SwitchingFreeEnergy(
        works=works,
        method="Jarzynski",
        free_energy=one.f * kt,
        error=one.error * kt,
        error_analytic=one.error * kt,
        error_resampled=math.nan,
        overlap=math.nan,
        shared=math.nan,
        dissipated=(lost, unknown) if k == 0 else (unknown, lost),
        hysteresis=unknown,
        gaussian=unknown,
        crooks_slope=unknown,
        one_way={name: _in_ev(one, kt)},
        effective=(way.works.size / way.g, 0.0) if k == 0 else (0.0, way.works.size / way.g),
        caveats=(Caveat("critical", "one-direction", text),),
    )


def _apart(overlap: float, shared: float, forward: _Way, reverse: _Way, kt: float) -> str:
    loop = (forward.flat.mean() + reverse.flat.mean()) * kt
    remedy = "switch in more steps, along a better schedule, or by way of a state between"
    if 0.5 < logistic_slope(forward.flat, -reverse.flat) < 2.0:  # as if by Crooks' theorem
        remedy = (
            "with the opposite sign of the reverse works they would obey Crooks' theorem: give the "
            "work of the reversed protocol in its own direction"
        )
    return (
        f"the work distributions overlap by {overlap:.2g} (at least {LEAST_OVERLAP:g} is needed) "
        f"and share {shared:.2g} works of {forward.works.size} and {reverse.works.size}; a cycle "
        f"dissipates {loop:.3g} eV: {remedy}"
    )


def _caveats(result: SwitchingFreeEnergy, kt: float) -> tuple[Caveat, ...]:
    found = []
    if result.overlap < LEAST_OVERLAP:
        text = (
            f"The work distributions overlap by {result.overlap:.2g}, less than {LEAST_OVERLAP:g}: "
            f"ΔF hangs on the {result.shared:.2g} works that they share; switch more slowly."
        )
        found.append(Caveat("critical", "overlap", text))
    slope, loop = result.crooks_slope, result.hysteresis
    if slope.error > 0 and abs(slope.value - 1.0) > max(_APART * slope.error, 0.1):
        text = (
            f"ln(p_F/p_R) rises by {with_error(slope.value, slope.error)} per k_BT of work, where "
            "Crooks' theorem says 1: the starts were not in equilibrium, or a temperature, a sign "
            "or the reversed protocol is wrong."
        )
        found.append(Caveat("critical", "crooks", text))
    if loop.value < -_APART * loop.error:
        text = (
            f"A cycle gains {with_error(-loop.value, loop.error)} eV of work, which the second law "
            "forbids: the starts were not in equilibrium, or a sign is wrong."
        )
        found.append(Caveat("critical", "second-law", text))
    if max(np.ptp(result.works.forward), np.ptp(result.works.reverse)) < _ALIKE * kt:
        text = (
            "Forward works are all the same, and so are reverse ones, so that nothing tells an "
            "error: rare configurations with other works, if there are any, were not met."
        )
        found.append(Caveat("warning", "no-spread", text))
    if min(result.effective) < _FEW:
        text = (
            f"There are {result.effective[0]:.3g} independent works forward and "
            f"{result.effective[1]:.3g} back, fewer than {_FEW}: the error is a rough one."
        )
        found.append(Caveat("warning", "few-works", text))
    if result.error_resampled > 1.3 * result.error_analytic:
        text = (
            f"Resamples of the works scatter by {1e3 * result.error_resampled:.2g} meV where the "
            f"formula gives {1e3 * result.error_analytic:.2g} meV; the larger is given."
        )
        found.append(Caveat("note", "resampled-error", text))
    found += [*caveats_of_rounds(result.works), *_of_one_ways(result, kt)]
    return tuple(found)


def _of_one_ways(result: SwitchingFreeEnergy, kt: float) -> list[Caveat]:
    """Say which of Jarzynski's averages rests on works that are rare."""
    biased = [
        name
        for name, one in result.one_way.items()
        if one.needed > 0.1 * getattr(result.works, name).size or one.effective < _FEW
    ]
    if not biased:
        return []
    off = ", ".join(
        f"{name} {(result.one_way[name].f - result.free_energy) / kt:+.2g} k_BT" for name in biased
    )
    text = (
        f"Jarzynski's average of one direction hangs on rare works here and may be biased ({off} "
        "from BAR)."
    )
    return [Caveat("note", "jarzynski", text)]
