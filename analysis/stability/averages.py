"""Averages and their slopes in temperature between and beyond the points of runs, by MBAR."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr
from ase.units import kB

from ...errors import ConvergenceError, InputError
from ...records import Run
from ...sublattice import is_number, shown
from .arguments import check_resampling, kelvins
from .free_energies import DOUBTFUL_SHARE, error_of
from .mbar import Solution, resolved, solved
from .observations import Observations, gathered
from .pool import Pool, pooled

__all__ = ["mbar_averages"]

LEAST_EFFECTIVE = 50
"""An average over fewer effective draws than this is refused."""

Series = Mapping[str, Sequence[np.ndarray]]
ByKind = Mapping[str, Mapping[str, float]]


def mbar_averages(
    runs: Run | Observations | Iterable[Run | Observations],
    series: Series | None = None,
    temperatures: Sequence[float] | float | None = None,
    *,
    chemical_potentials: ByKind | None = None,
    cut: float | None = None,
    resamples: int = 100,
    seed: int = 0,
) -> xr.Dataset:
    r"""Averages in one ensemble from the draws of all points, with slopes and errors.

    .. math:: ⟨A⟩ = \frac{\sum_n w_n A_n}{\sum_n w_n}, \qquad
        w_n = \frac{e^{−β(E_n − \sum μN_n)}}{\sum_k N_k e^{f_k − u_k(x_n)}}, \qquad
        \frac{d⟨A⟩}{dT} = \frac{⟨A(E − μN)⟩ − ⟨A⟩⟨E − μN⟩}{k_BT^2},

    the slope at constant μ, or at constant composition where the runs have one. E is the enthalpy
    where the cell moves.

    Parameters
    ----------
    runs
        Runs on one lattice, or their `observations`, as for `free_energy`.
    series
        Quantities by name: one array [draw, chain] for every point that has draws, in order. The
        energy per site is always there.
    temperatures
        K; those of the points by default.
    chemical_potentials
        eV, by sublattice and species, of the semi-grand ensemble that is averaged over. Needed
        where the composition varies.
    cut
        Fraction between two phases, as for `free_energy`.
    resamples, seed
        As for `free_energy`.

    Returns
    -------
    Dataset over ``temperature``: every quantity, its ``…_error``, ``…_slope`` (per K) and
    ``…_slope_error``; ``effective_draws``; ``converged``.

    Raises
    ------
    ConvergenceError
        If points do not overlap or contradict one another, or fewer than 50 effective draws speak
        of a temperature.
    InputError
        If series do not fit the points, μ is missing where the composition varies, or names what
        is not there.

    Examples
    --------
    Two levels, 0 and 0.1 eV, drawn at 1,000 K and asked for at 1,100 K:

    >>> from alchemc.analysis.stability.observations import SampledPoint
    >>> upper = np.random.default_rng(1).random((1000, 4)) < 1 / (1 + np.exp(0.1 / (kB * 1000.0)))
    >>> point = SampledPoint({"temperature": 1000.0}, 0.1 * upper, np.full((1000, 4, 1), 1))
    >>> cell = Observations((("B", "Ta"),), {"B": 1}, (point,))
    >>> found = mbar_averages(cell, {"upper": [upper]}, 1100.0, resamples=40).isel(temperature=0)
    >>> exact = 1 / (1 + np.exp(0.1 / (kB * 1100.0)))
    >>> bool(abs(found.upper - exact) < 4 * found.upper_error)
    True
    """
    check_resampling(resamples, seed)
    observed, rng = gathered(runs), np.random.default_rng(seed)
    own = sorted({p.coordinates["temperature"] for p in observed.points})
    kelvin = kelvins(own if temperatures is None else temperatures)
    pool = pooled(observed, cut)
    work = _work(pool, chemical_potentials)
    names, values = _values(pool, series or {})
    solution = solved(pool)
    found = _means(solution, values, work, kelvin)
    again = np.array([
        _means(one, values, work, kelvin) for one in resolved(pool, solution, resamples, rng)
    ])  # fmt: skip
    effective, doubtful = _support(pool, solution, work, kelvin)
    errors = error_of(again)
    data: dict[str, tuple[str, np.ndarray]] = {}
    for k, name in enumerate(names):
        for part, suffix in enumerate(("", "_slope")):
            data[f"{name}{suffix}"] = ("temperature", found[part, k])
            data[f"{name}{suffix}_error"] = ("temperature", errors[part, k])
    data["effective_draws"] = ("temperature", effective)
    data["converged"] = ("temperature", doubtful < DOUBTFUL_SHARE)
    return xr.Dataset(data, {"temperature": ("temperature", kelvin, {"units": "K"})})


def _work(pool: Pool, given: ByKind | None) -> np.ndarray:
    """Σ μN of every composition in eV, [n_compositions]."""
    kinds = list(pool.observed.kinds)
    work = np.zeros(len(pool.compositions))
    table = {} if given is None else given
    if not isinstance(table, Mapping) or not all(isinstance(r, Mapping) for r in table.values()):
        raise InputError(
            f"chemical_potentials are {shown(given)}: give eV by sublattice and species"
        )
    for name, row in table.items():
        for species, mu in row.items():
            if (name, species) not in kinds or not is_number(mu):
                raise InputError(
                    f"chemical_potentials hold {shown(mu)} for {species} on {name}: give eV for "
                    f"any of {', '.join('/'.join(kind) for kind in kinds)}"
                )
            work += mu * pool.compositions[:, kinds.index((name, species))]
    if given is None and len(pool.compositions) > 1:
        raise InputError(
            "the composition varies: say at which chemical_potentials, such as "
            f"{{{kinds[-1][0]!r}: {{{kinds[-1][1]!r}: 0.0}}}}"
        )
    return work


def _values(pool: Pool, series: Series) -> tuple[list[str], np.ndarray]:
    """Names, and values [n_series, n] of every draw of the pool."""
    points = pool.observed.points
    rows = [pool.enthalpy / pool.observed.n_sites]
    for name, arrays in series.items():
        shapes = [np.shape(a) for a in arrays] if isinstance(arrays, Sequence) else []
        if shapes != [p.energy.shape for p in points]:
            raise InputError(
                f"series {name!r} has shapes {shapes[:3]}: give one array [draw, chain] for each "
                f"of the {len(points)} points, {points[0].energy.shape} first"
            )
        flat = np.concatenate([np.asarray(a, dtype=float).reshape(-1) for a in arrays])
        if not np.isfinite(flat).all():
            raise InputError(f"series {name!r} holds values that are not finite")
        rows.append(flat[pool.origin])
    return ["energy", *series], np.array(rows)


def _log_weights(solution: Solution, work: np.ndarray, beta: float) -> np.ndarray:
    apart = solution.enthalpy - work[solution.composition]
    return -beta * apart - solution.log_mixture


def _means(
    solution: Solution, values: np.ndarray, work: np.ndarray, kelvin: np.ndarray
) -> np.ndarray:
    """Averages and slopes, [2, n_series, n_temperatures]."""
    found = np.empty((2, len(values), len(kelvin)))
    apart = solution.enthalpy - work[solution.composition]
    for t, temperature in enumerate(kelvin):
        log = _log_weights(solution, work, 1.0 / (kB * temperature))
        weights = np.exp(log - log.max())
        draws = weights[solution.kind] * solution.number
        draws /= draws.sum()
        mean = values @ draws
        h = apart[solution.kind]
        slope = (values * (h - h @ draws)) @ draws / (kB * temperature**2)
        found[:, :, t] = mean, slope
    return found


def _support(
    pool: Pool, solution: Solution, work: np.ndarray, kelvin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Effective draws and the share of doubtful chains at every temperature."""
    effective, doubtful = np.empty((2, len(kelvin)))
    for t, temperature in enumerate(kelvin):
        log = _log_weights(solution, work, 1.0 / (kB * temperature))
        weights = np.exp(log - log.max())
        effective[t] = weights.sum() ** 2 / (weights**2).sum()
        doubtful[t] = weights @ ~pool.converged[pool.state] / weights.sum()
    worst = int(effective.argmin())
    if effective[worst] < LEAST_EFFECTIVE:
        raise ConvergenceError(
            f"only {effective[worst]:.2g} effective draws speak of {kelvin[worst]:g} K (at least "
            f"{LEAST_EFFECTIVE} are needed): sample nearer to it, or ask for another temperature"
        )
    return effective, doubtful
