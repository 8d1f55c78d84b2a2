"""How replicas travel along a ladder: round trips, and where they were last."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..records import Run

__all__ = ["RoundTrips", "round_trips"]


class RoundTrips(NamedTuple):
    """Travel of the replicas of a ladder from end to end.

    ``trips`` int64 [n_chains, n_rungs], completed round trips of every replica; ``total``, their
    sum; ``mean_time`` of a round trip with its standard error ``error``, in draws, NaN where too
    few were made; ``hot_last`` float64 [n_rungs], the fraction of replicas at a rung that were last
    at the hot end, of those that were at an end; ``exchange_rates`` float64 [n_rungs − 1], the
    fraction of attempts that exchanged neighbours, NaN where more than one was made per draw.
    """

    trips: np.ndarray
    total: int
    mean_time: float
    error: float
    hot_last: np.ndarray
    exchange_rates: np.ndarray


def round_trips(
    walkers: np.ndarray | Run, *, hot: str | None = None, steps: int | None = None
) -> RoundTrips:
    """Count the round trips of a ladder's replicas.

    A round trip goes from one end of the ladder to the other and back. Its mean time is the time
    that all replicas together were on their way, unfinished trips included, over the number that
    was finished: leaving out those that the end of the run cut off would keep the short ones. Its
    error comes from leaving out one replica at a time.

    A ladder without a bottleneck has a fraction ``hot_last`` that falls evenly from 1 to 0 on the
    way from the hot end to the cold one; where it falls steeply, replicas turn back (Katzgraber et
    al. 2006, doi:10.1088/1742-5468/2006/03/P03018).

    Parameters
    ----------
    walkers
        Which replica is where, whole numbers [n_draws, n_chains, n_rungs], or a run of `Tempering`,
        one point per rung.
    hot
        ``"first"`` or ``"last"`` rung. By default that of the higher temperature, where the points
        of a run have different ones, else the last.
    steps
        Steps of the ladder from draw to draw; by default those of the run, 1 for an array.

    Raises
    ------
    InputError
        If the run is none of a ladder, or in a draw the replicas of a chain are not each at one
        rung.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.arange(400)
    >>> circle = np.array([0, 1, 2, 2, 1, 0])  # the rung of a replica that is never refused
    >>> rung = np.stack([circle[(draws + start) % 6] for start in (0, 2, 4)], axis=-1)
    >>> walkers = np.argsort(rung, axis=-1)[:, None]
    >>> found = round_trips(walkers)
    >>> found.total > 190, abs(found.mean_time - 6.0) < 0.2
    (True, True)
    """
    if isinstance(walkers, Run):
        hot = hot or _hot_end(walkers)
        steps = steps or _steps_of(walkers)
        walkers = _walkers_of(walkers)
    hot, steps = hot or "last", steps or 1
    if hot not in ("first", "last"):
        raise InputError(f"hot is {hot!r}; give 'first' or 'last', the rung that is the hot end")
    rung = _rungs_of(np.asarray(walkers))
    n_rungs = rung.shape[-1]
    hot_rung, cold_rung = (0, n_rungs - 1) if hot == "first" else (n_rungs - 1, 0)
    at_hot, at_cold = rung == hot_rung, rung == cold_rung
    last = _last_end(at_hot, at_cold)
    halves, times = _crossings(at_hot, at_cold, last)
    trips = halves // 2
    mean, error = _ratio(2.0 * times.ravel(), halves.ravel())
    rates = _exchange_rates(rung) if steps == 1 else np.full(n_rungs - 1, np.nan)
    return RoundTrips(trips, int(trips.sum()), mean, error, _hot_last(rung, last), rates)


def _walkers_of(run: Run) -> np.ndarray:
    """[n_draws, n_chains, n_rungs] of a run."""
    if len(run.points) < 2 or any("walker" not in point for point in run.points):
        raise InputError("the run has no walkers: give one that was drawn with Tempering")
    return np.stack([point.walker.values for point in run.points], axis=-1)


def _steps_of(run: Run) -> int | None:
    """Return the steps per draw, as `sample` or a campaign stores them."""
    return run.config.get("thin") or run.config.get("run", {}).get("thin")


def _hot_end(run: Run) -> str | None:
    first, last = (point.coords.get("temperature") for point in (run.points[0], run.points[-1]))
    if first is None or last is None or float(first) == float(last):
        return None
    return "first" if float(first) > float(last) else "last"


def _rungs_of(walkers: np.ndarray) -> np.ndarray:
    """Rung of every replica, [n_draws, n_chains, n_rungs]: the inverse of the walkers."""
    if walkers.ndim != 3 or walkers.shape[-1] < 2 or not walkers.size:
        raise InputError(
            f"walkers have shape {walkers.shape}: expected [n_draws, n_chains, n_rungs], two rungs "
            "or more"
        )
    rung = np.argsort(walkers, axis=-1, kind="stable")
    found = np.take_along_axis(walkers, rung, axis=-1)
    if (found != np.arange(walkers.shape[-1])).any():
        raise InputError(
            f"a draw holds replicas {found[(found != np.arange(found.shape[-1])).any(-1)][0]}: "
            f"expected each of 0 to {walkers.shape[-1] - 1} once per chain"
        )
    return rung


def _last_end(at_hot: np.ndarray, at_cold: np.ndarray) -> np.ndarray:
    """Where each replica was last: 1 at the hot end, −1 at the cold one, 0 at neither so far."""
    end = at_hot.astype(np.int8) - at_cold.astype(np.int8)
    draws = np.arange(len(end))[:, None, None]
    latest = np.maximum.accumulate(np.where(end != 0, draws, 0), axis=0)
    return np.take_along_axis(end, latest, axis=0)


def _crossings(
    at_hot: np.ndarray, at_cold: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Half trips of every replica and the draws it was on its way, [n_chains, n_rungs] each.

    Half a trip ends where a replica that was last at one end comes to the other; the clock of a
    replica starts at its first visit to an end.
    """
    before = last[:-1]
    arrivals = (at_hot[1:] & (before == -1)) | (at_cold[1:] & (before == 1))
    return arrivals.sum(axis=0), (before != 0).sum(axis=0)


def _ratio(times: np.ndarray, numbers: np.ndarray) -> tuple[float, float]:
    """Total time over total number, and its error by leaving out one replica at a time."""
    total = numbers.sum()
    left = total - numbers
    mean = float(times.sum() / total) if total else float("nan")
    if (left == 0).any():
        return mean, float("nan")
    without = (times.sum() - times) / left
    spread = ((without - without.mean()) ** 2).mean() * (len(numbers) - 1)
    return mean, float(np.sqrt(spread))


def _hot_last(rung: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Fraction of the replicas at each rung that were last at the hot end."""
    n_rungs = rung.shape[-1]
    hot, known = (np.bincount(rung[chosen], minlength=n_rungs) for chosen in (last == 1, last != 0))
    return np.where(known > 0, hot / np.maximum(known, 1), np.nan)


def _exchange_rates(rung: np.ndarray) -> np.ndarray:
    """Fraction of the attempts that exchanged neighbours; every pair tries in every second draw.

    Of an even number of steps, in which all pairs have tried equally often.
    """
    walkers = np.argsort(rung, axis=-1, kind="stable")[(len(rung) - 1) % 2 :]
    pairs = walkers[:-1, :, :-1], walkers[:-1, :, 1:], walkers[1:, :, :-1], walkers[1:, :, 1:]
    exchanged = (pairs[0] == pairs[3]) & (pairs[1] == pairs[2])
    attempts = exchanged.shape[1] * len(exchanged) / 2
    return (
        exchanged.sum(axis=(0, 1)) / attempts if attempts else np.full(rung.shape[-1] - 1, np.nan)
    )
