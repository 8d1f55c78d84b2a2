"""One size at any temperature between those sampled: MBAR over temperatures, and its bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase.units import kB
from scipy.sparse import csr_array
from scipy.special import logsumexp

from ..._pymbar import quiet_pymbar
from ...errors import ConvergenceError, InputError
from ...statistics import Summary, autocorrelation_time, summary
from .transition_series import TransitionSeries

__all__ = ["LEAST_BLOCKS", "LEAST_OVERLAP", "Curves", "MultiHistogram"]

LEAST_OVERLAP = 0.03
"""Neighbouring temperatures that share less of their samples than this are refused."""

LEAST_BLOCKS = 12
"""Fewer blocks at a temperature than this give no error that could be trusted."""

GOOD_BLOCKS, MOST_BLOCKS = 20, 120
BLOCK_IN_TIMES, LEAST_IN_TIMES = 8.0, 3.0  # length of a block in autocorrelation times
BIN_TIMES_BETA = 0.02  # width of a bin of the energy times the range of β
GUESS_SAMPLES = 1000
MOST_NEWTON_STEPS = 50
NUMBERS_AT_ONCE = 10_000_000


class Curves(NamedTuple):
    """Quantities on a grid of temperatures, each [n_temperatures, 1 + n_resamples].

    Column 0 is of all samples, the others are of resamples. ``energy`` in eV per site,
    ``heat_capacity`` in k_B per site; ``second`` is ⟨m²⟩, ``susceptibility`` N β (⟨m²⟩ − ⟨|m|⟩²) in
    1/eV, ``cumulant`` U = 1 − ⟨m⁴⟩/3⟨m²⟩², ``cumulant_slope`` −∂U/∂ln T and ``log_slope``
    −∂ln⟨m²⟩/∂ln T; those of the order are None without one.
    """

    temperatures: np.ndarray
    energy: np.ndarray
    heat_capacity: np.ndarray
    second: np.ndarray | None = None
    susceptibility: np.ndarray | None = None
    cumulant: np.ndarray | None = None
    cumulant_slope: np.ndarray | None = None
    log_slope: np.ndarray | None = None


class _Unit(NamedTuple):
    """Points whose blocks are drawn again together, the length and the number of the blocks."""

    points: list[int]
    length: int
    n_blocks: int


@dataclass(frozen=True)
class MultiHistogram:
    r"""Averages at every temperature of a range, from samples at several, and their resamples.

    Samples x of all K temperatures together carry the weight

    .. math:: w(x; β) ∝ \frac{e^{−βE(x)}}{\sum_k N_k e^{f_k − β_k E(x)}},

    with f_k the free energies for which the weights add up to one at each sampled temperature
    (A. M. Ferrenberg and R. H. Swendsen, Phys. Rev. Lett. 63, 1195 (1989),
    doi:10.1103/PhysRevLett.63.1195; M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105
    (2008), doi:10.1063/1.2978177). pymbar finds f_k and the overlap of the temperatures from
    decorrelated samples; Newton steps with multiplicities, which pymbar does not know, lead on to
    all samples and to every resample. As weights depend on the energy alone, samples are summed in
    bins of it that are narrower than the weights can tell apart.

    A resample draws blocks of successive draws again, each several autocorrelation times long
    (H. R. Künsch, Ann. Stat. 17, 1217 (1989), doi:10.1214/aos/1176347265); rungs of one ladder
    together. Made by `MultiHistogram.of`.

    Parameters
    ----------
    series
        What it was made from.
    energies
        Mean energy of every bin, eV per cell, [n_bins].
    sums
        Sums over the samples of a bin of 1, |m|, m² and m⁴ (the first alone without an order), each
        [1 + n_resamples, n_bins].
    log_denominator
        Logarithm of the denominator of w, [1 + n_resamples, n_bins].
    overlap
        Matrix [n_points, n_points] of pymbar.
    summaries
        Per point, mean, error, ESS and R-hat of ``energy`` (eV per site) and ``order``.
    n_blocks
        Per point, how many blocks its samples were cut into.
    """

    series: TransitionSeries
    energies: np.ndarray
    sums: tuple[np.ndarray, ...]
    log_denominator: np.ndarray
    overlap: np.ndarray
    summaries: tuple[dict[str, Summary], ...]
    n_blocks: tuple[int, ...]

    @classmethod
    def of(
        cls, series: TransitionSeries, rng: np.random.Generator, n_resamples: int = 200
    ) -> MultiHistogram:
        """Histograms of one size.

        Parameters
        ----------
        series
            At least two temperatures, from cold to hot.
        rng
            Draws the resamples.
        n_resamples
            How many.

        Raises
        ------
        InputError
            For fewer than two temperatures.
        ConvergenceError
            If a series never changes, blocks are too few, or temperatures do not overlap.

        Examples
        --------
        >>> rng = np.random.default_rng(1)  # energies of a heat capacity of 50 k_B
        >>> t = (900.0, 1000.0, 1100.0)
        >>> energies = [50 * kB * x + 7.07 * kB * x * rng.normal(size=(800, 2)) for x in t]
        >>> found = MultiHistogram.of(TransitionSeries(25, np.eye(3), t, tuple(energies)), rng)
        >>> capacity = found.curves([950.0]).heat_capacity[0]
        >>> bool(abs(capacity[0] - 2.0) < 4 * capacity[1:].std())
        True
        """
        if len(set(series.temperatures)) < 2:
            raise InputError(
                f"{series.label} were sampled at one temperature only; give at least two, on both "
                "sides of the transition"
            )
        times = [_slowest(series, k) for k in range(len(series.temperatures))]
        units = _units(series, times)
        beta = 1.0 / (kB * np.array(series.temperatures))
        guess, overlap = _first_guess(series, beta, times)
        _require_overlap(series, overlap)
        energies, sums, totals = _binned(series, units, float(np.ptp(beta)), rng, n_resamples)
        shifted = energies - energies.mean()
        f = _free_energies(beta, shifted, sums[0], totals, guess)
        n_blocks = {k: unit.n_blocks for unit in units for k in unit.points}
        return cls(
            series=series,
            energies=energies,
            sums=sums,
            log_denominator=_log_denominator(beta, shifted, totals, f),
            overlap=overlap,
            summaries=tuple(_summaries(series, k) for k in range(len(beta))),
            n_blocks=tuple(n_blocks[k] for k in range(len(beta))),
        )

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest temperature in K; beyond them nothing is reweighted."""
        return self.series.temperatures[0], self.series.temperatures[-1]

    def weights(self, temperatures: Sequence[float] | np.ndarray) -> np.ndarray:
        """Weight of one sample of a bin, [n_temperatures, n_bins], largest P(bin) = 1."""
        beta = 1.0 / (kB * np.asarray(temperatures, dtype=float))
        logs = -beta[:, None] * (self.energies - self.energies.mean()) - self.log_denominator[0]
        with np.errstate(divide="ignore"):
            return np.asarray(np.exp(logs - (logs + np.log(self.sums[0][0])).max(axis=1)[:, None]))

    def curves(self, temperatures: Sequence[float] | np.ndarray) -> Curves:
        """Averages at temperatures (K) within `range`; see `Curves`."""
        t = np.asarray(temperatures, dtype=float)
        weights = self.weights(t)
        change = np.exp(self.log_denominator[0] - self.log_denominator)
        n_sites = self.series.n_sites
        x = self.energies - self.energies.mean()
        norm = weights @ (change * self.sums[0]).T

        def mean(values: np.ndarray) -> np.ndarray:
            return np.asarray(weights @ (change * values).T / norm)

        first, second = mean(x * self.sums[0]), mean(x**2 * self.sums[0])
        beta = 1.0 / (kB * t)[:, None]
        energy = (first + self.energies.mean()) / n_sites
        capacity = beta**2 * (second - first**2) / n_sites
        if len(self.sums) == 1:
            return Curves(t, energy, capacity)
        m1, m2, m4 = (mean(one) for one in self.sums[1:])
        # ∂⟨m⟩/∂ln T = β (⟨mE⟩ − ⟨m⟩⟨E⟩)
        slope2, slope4 = (
            beta * (m * first - mean(x * s)) for m, s in ((m2, self.sums[2]), (m4, self.sums[3]))
        )
        return Curves(
            temperatures=t,
            energy=energy,
            heat_capacity=capacity,
            second=m2,
            susceptibility=n_sites * beta * (m2 - m1**2),
            cumulant=1.0 - m4 / (3.0 * m2**2),
            cumulant_slope=-slope4 / (3.0 * m2**2) + 2.0 * m4 * slope2 / (3.0 * m2**3),
            log_slope=slope2 / m2,
        )


# ---- series and blocks


def _slowest(series: TransitionSeries, k: int) -> float:
    """Longest autocorrelation time of a point's quantities, in draws."""
    named = {"energy": series.energies[k]}
    if series.orders is not None:
        named["order parameter"] = series.orders[k]
    times = {name: autocorrelation_time(x) for name, x in named.items()}
    for name, time in times.items():
        if np.isnan(time):
            raise ConvergenceError(
                f"chains of {len(series.energies[k])} draws at {series.temperatures[k]:,.6g} K "
                f"({series.label}) are too short to tell their memory; give at least 4 draws each"
            )
        if not np.isfinite(time):
            raise ConvergenceError(
                f"the {name} of {series.label} never changes at {series.temperatures[k]:,.6g} K; "
                "sample longer, or leave this temperature out"
            )
    return max(times.values())


def _summaries(series: TransitionSeries, k: int) -> dict[str, Summary]:
    found = {"energy": summary(series.energies[k] / series.n_sites)}
    if series.orders is not None:
        found["order"] = summary(series.orders[k])
    return found


def _units(series: TransitionSeries, times: Sequence[float]) -> list[_Unit]:
    """Cut the chains of every point into blocks; rungs of a ladder are cut alike."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for k, ladder in enumerate(series.ladders):
        shape = series.energies[k].shape
        groups.setdefault((ladder, *shape) if ladder >= 0 else (-1, k, 0), []).append(k)
    return [_unit(series, points, max(times[k] for k in points)) for points in groups.values()]


def _unit(series: TransitionSeries, points: list[int], time: float) -> _Unit:
    n_draws, n_chains = series.energies[points[0]].shape

    def number(length: int) -> int:
        return n_chains * (n_draws // length)

    length = int(np.ceil(BLOCK_IN_TIMES * time))
    if number(length) < GOOD_BLOCKS:
        shorter = max(1, n_draws // -(-GOOD_BLOCKS // n_chains))
        length = max(shorter, int(np.ceil(LEAST_IN_TIMES * time)))
    length = max(length, n_draws // max(1, MOST_BLOCKS // n_chains))
    length = max(length, n_draws // max(1, n_draws // length))  # so that few draws are left over
    if number(length) < LEAST_BLOCKS:
        blocks = n_draws / (LEAST_IN_TIMES * time)  # of one chain, which has to hold one at least
        more = max(LEAST_BLOCKS / (blocks * n_chains), 1.0 / blocks)
        raise ConvergenceError(
            f"{series.label} at {series.temperatures[points[0]]:,.6g} K have too few independent "
            f"draws: {n_draws} × {n_chains} with an autocorrelation time of {time:.3g}; sample at "
            f"least {max(more, 1.0):.2g} times as long"
        )
    return _Unit(points, length, number(length))


def _binned(
    series: TransitionSeries,
    units: Sequence[_Unit],
    range_of_beta: float,
    rng: np.random.Generator,
    n_resamples: int,
) -> tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray]:
    """Energies of the bins, sums [1 + n_resamples, n_bins], and N_k [n_points]."""
    low = min(float(e.min()) for e in series.energies)
    width = BIN_TIMES_BETA / range_of_beta
    bins, blocks, values, picks = [], [], [], []
    totals, first = np.zeros(len(series.temperatures)), 0
    for unit in units:
        drawn = rng.multinomial(
            unit.n_blocks, np.full(unit.n_blocks, 1 / unit.n_blocks), n_resamples
        )
        multiplicity = np.concatenate([np.ones((1, unit.n_blocks)), drawn])
        for k in unit.points:
            energy = _kept(series.energies[k], unit)
            bins.append(np.floor((energy - low) / width + 0.5).astype(np.int64))
            blocks.append(first + np.repeat(np.arange(unit.n_blocks), unit.length))
            square = None if series.orders is None else _kept(series.orders[k], unit)
            values.append(_powers(energy, square))
            picks.append(multiplicity)
            totals[k] = len(energy)
            first += unit.n_blocks
    all_values = np.concatenate(values, axis=1)
    _, place = np.unique(np.concatenate(bins), return_inverse=True)
    weight = np.bincount(place)
    energies = low + np.bincount(place, all_values[0] - low) / weight
    index, multiplicities = (np.concatenate(blocks), place), np.concatenate(picks, axis=1)
    columns = [np.ones(len(place)), *all_values[1:]]
    sums = tuple(
        np.asarray(multiplicities @ csr_array((one, index), shape=(first, len(weight))))
        for one in columns
    )
    return energies, sums, totals


def _kept(x: np.ndarray, unit: _Unit) -> np.ndarray:
    """Draws of whole blocks, block by block; those that are left over are the first."""
    return np.asarray(x[len(x) % unit.length :].T.ravel(), dtype=float)


def _powers(energy: np.ndarray, square: np.ndarray | None) -> np.ndarray:
    """Rows E and, with an order, |m|, m², m⁴."""
    rows = [energy] if square is None else [energy, np.sqrt(square), square, square**2]
    return np.stack(rows)


# ---- free energies of the temperatures


def _first_guess(
    series: TransitionSeries, beta: np.ndarray, times: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """f_k and overlap by pymbar, from draws that are far enough apart to count as independent."""
    parts = []
    for energy, time in zip(series.energies, times, strict=True):
        step = max(int(np.ceil(time)), energy.size // GUESS_SAMPLES, 1)
        parts.append(energy.T.ravel()[::step])
    n_k = np.array([len(part) for part in parts])
    mean = np.concatenate([e.ravel() for e in series.energies]).mean()
    u_kn = beta[:, None] * (np.concatenate(parts) - mean)
    try:
        mbar = quiet_pymbar().MBAR(u_kn, n_k, solver_protocol="robust")
        overlap = np.asarray(mbar.compute_overlap()["matrix"])
    except Exception as error:
        raise ConvergenceError(
            f"MBAR found no free energies for {series.label} ({error}); sample temperatures that "
            "lie closer"
        ) from error
    return np.asarray(mbar.f_k), overlap


def _require_overlap(series: TransitionSeries, overlap: np.ndarray) -> None:
    """Refuse a gap between temperatures that samples do not bridge."""
    t = series.temperatures
    for k in range(len(t) - 1):
        shared = float(overlap[: k + 1, k + 1 :].sum(axis=1).max())
        if shared < LEAST_OVERLAP:
            raise ConvergenceError(
                f"{series.label}: the samples below {t[k]:,.6g} K and above {t[k + 1]:,.6g} K "
                f"share {100 * shared:.2g} %, fewer than {100 * LEAST_OVERLAP:g} %; sample a "
                "temperature between them"
            )


def _free_energies(
    beta: np.ndarray, energies: np.ndarray, counts: np.ndarray, totals: np.ndarray, f: np.ndarray
) -> np.ndarray:
    """f_k of every row of ``counts`` [n_rows, n_bins] by Newton's method, [n_rows, n_points].

    f maximises the concave Σ_k N_k f_k − Σ_b H_b ln Σ_k N_k exp(f_k − β_k E_b); f_0 stays.
    """
    log_n, u = np.log(totals)[:, None], beta[:, None] * energies
    found = np.tile(f, (len(counts), 1))
    rows_at_once = max(1, NUMBERS_AT_ONCE // (len(beta) * len(energies)))
    for start in range(0, len(counts), rows_at_once):
        rows = slice(start, start + rows_at_once)
        for _ in range(MOST_NEWTON_STEPS):
            logs = log_n + found[rows][:, :, None] - u
            share = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
            held = share * counts[rows][:, None, :]
            expected = held.sum(axis=2)
            slope = (totals - expected)[:, 1:, None]
            bend = -(held @ share.transpose(0, 2, 1))[:, 1:, 1:]
            diagonal = np.arange(len(beta) - 1)
            bend[:, diagonal, diagonal] += expected[:, 1:]
            step = np.linalg.solve(bend, slope)[:, :, 0]
            found[rows, 1:] += np.clip(step, -2.0, 2.0)
            if np.abs(step).max() < 1e-9:
                break
        else:
            raise ConvergenceError(
                "the free energies of the temperatures did not converge; sample longer or at "
                "temperatures that lie closer"
            )
    return found


def _log_denominator(
    beta: np.ndarray, energies: np.ndarray, totals: np.ndarray, f: np.ndarray
) -> np.ndarray:
    """Logarithm of Σ_k N_k exp(f_k − β_k E), [n_rows, n_bins]."""
    u = beta[:, None] * energies
    return np.stack([logsumexp(np.log(totals)[:, None] + row[:, None] - u, axis=0) for row in f])
