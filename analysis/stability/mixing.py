"""Free energies of mixing, their hull, and a smooth curve through them for one fraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr
from ase.units import kB
from numpy.polynomial import polynomial
from scipy.special import gammaln

from ...errors import ConvergenceError, InputError
from ...sublattice import is_whole, shown
from .arguments import kelvins
from .composition import Axis, fractions_of, ideal
from .free_energies import FreeEnergies, error_of
from .hull import lower_hull

__all__ = ["ExcessModel", "fit_excess", "mixing_free_energy"]

_HIGHEST_ORDER = 6
_POOR_FIT = 3.0
"""χ² over that of the resamples above which a curve is said not to describe its points."""


def mixing_free_energy(free: FreeEnergies) -> xr.Dataset:
    """Free energy of mixing, F(x) less that of the pure compositions in the same amounts.

    Parameters
    ----------
    free
        Free energies in which every pure composition was visited at every temperature.

    Returns
    -------
    Dataset over ``temperature`` and ``composition`` (as ``free.table``): ``mixing``, ``excess``
    (over −k_BT ln of the number of arrangements) and ``above_hull`` in eV per site, each with an
    ``…_error``. Above the hull of a cell there is the free energy of interfaces, too, so that small
    cells lie above it where large ones would separate into phases.

    Raises
    ------
    InputError
        If a pure composition is missing: no composition refers to anything then; or there are
        only these.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.density_of_states import DensityOfStates
    >>> from alchemc.analysis.stability.anchored import wang_landau_free_energy
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 1, 1))
    >>> pairs = [({"B": {"Sc": 1 - x, "Ta": x}},
    ...           DensityOfStates([e], np.full((2, 1), n), n_sites=2, bin_width=1.0))
    ...          for x, e, n in ((0.0, 0.0, 0.0), (0.5, 0.3, np.log(2)), (1.0, 0.4, 0.0))]
    >>> mixing_free_energy(wang_landau_free_energy(lattice, pairs, 1000.0)).excess.values.round(3)
    array([[0.  , 0.05, 0.  ]])
    """
    _, x = fractions_of(free.cell, free.compositions)
    weights = _end_weights(free, x)
    reference = _combined(free.free_energy, weights)
    again = free.replicates["free_energy"]
    mixing, replicates = free.free_energy - reference, again - _combined(again, weights)
    ways = free.ln_arrangements / free.beta[:, None] / free.cell.n_sites
    above = np.array([_above(x, row) for row in mixing])
    heights = np.array([[_above(x, row) for row in one] for one in replicates])
    dims, attrs = ("temperature", "composition"), {"units": "eV per site"}
    found = free.table[[]].assign_coords(free.table.coords)
    for name, value, parts in (
        ("mixing", mixing, replicates),
        ("excess", mixing + ways, replicates + ways),
        ("above_hull", above, heights),
    ):
        found[name] = (dims, value, attrs)
        found[f"{name}_error"] = (dims, error_of(parts), attrs)
    return found


def _end_weights(free: FreeEnergies, x: np.ndarray) -> np.ndarray:
    """Shares of the pure compositions in every composition, [n_compositions, n_compositions]."""
    known = np.isfinite(free.free_energy).all(axis=0)
    pure = np.flatnonzero((free.ln_arrangements == 0.0) & known)
    columns = np.hstack([x, np.ones((len(x), 1))])
    if np.linalg.matrix_rank(columns[pure]) < x.shape[1] + 1:
        names = ", ".join("/".join(kind) for kind in free.cell.kinds)
        raise InputError(
            f"pure compositions of {names} are missing at some temperature: sample towards larger "
            "chemical potentials, or fit_excess, which needs none"
        )
    if not (free.ln_arrangements[np.isfinite(free.free_energy).any(axis=0)] > 0).any():
        raise InputError(
            "only pure compositions were sampled, which tell nothing of mixing: sample chemical "
            "potentials, or compositions, between them"
        )
    weights = np.zeros((len(x), len(x)))
    weights[:, pure] = np.linalg.lstsq(columns[pure].T, columns.T, rcond=None)[0].T
    return weights


def _combined(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ_c w_xc F_c over the pure compositions alone, [..., n_compositions]."""
    used = np.flatnonzero(np.abs(weights).max(axis=0) > 0)
    return np.asarray(values[..., used] @ weights[:, used].T)


def _above(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    found = np.full(len(values), np.nan)
    found[known] = lower_hull(x[known], values[known]).above
    return found


@dataclass(frozen=True, eq=False)
class ExcessModel:
    """Smooth free energy per site of the mixing sublattice, of a large crystal.

    f(x, T) = a + bx + x(1 − x) Σ_k L_k (2x − 1)^k + k_BT [x ln x + (1 − x) ln(1 − x)], with the
    ``order`` + 1 coefficients L of Redlich and Kister (O. Redlich and A. T. Kister, Ind. Eng. Chem.
    40, 345 (1948), doi:10.1021/ie50458a036). ``coefficients`` [n_temperatures, order + 3] are
    (a, b, L₀ …) in eV, ``replicates`` the same of the resamples; ``chi2`` [n_temperatures] in units
    of what noise makes it (about 1 where the curve fits); ``reach`` [n_temperatures, 2] the
    fractions that were sampled.
    """

    axis: Axis
    temperatures: np.ndarray
    coefficients: np.ndarray
    replicates: np.ndarray = field(repr=False)
    chi2: np.ndarray
    reach: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def order(self) -> int:
        """Highest power of 2x − 1."""
        return self.coefficients.shape[1] - 3

    @cached_property
    def powers(self) -> np.ndarray:
        """Terms of the excess in powers of x, [order + 3, order + 3]."""
        return _powers(self.order)

    @cached_property
    def trend(self) -> np.ndarray:
        """Map from the temperatures' coefficients to (value at T = 0, slope), [2, n_t]."""
        errors = error_of(self.replicates)[:, 2]
        weights = 1.0 / np.where(np.isfinite(errors) & (errors > 0), errors, np.inf)
        if not (weights > 0).all():
            weights = np.ones(len(weights))
        design = np.stack([np.ones(len(weights)), self.temperatures], axis=1)
        return np.asarray(np.linalg.pinv(design * weights[:, None]) * weights)

    def polynomials(self, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Excess in powers of x at a temperature, and of every resample.

        At a temperature that was sampled its own; at others on a straight line through them.

        Returns
        -------
        [n_powers] and [n_resamples, n_powers], eV.

        Raises
        ------
        InputError
            If it is no temperature, or one was sampled and another is asked for.
        """
        near = np.flatnonzero(np.isclose(self.temperatures, kelvins(temperature)[0], rtol=1e-9))
        if len(near):
            own, again = self.coefficients[near[0]], self.replicates[:, near[0]]
        elif len(self.temperatures) < 2:
            raise InputError(
                f"one temperature was sampled, {self.temperatures[0]:g} K: nothing is known of "
                f"{temperature:g} K; sample another"
            )
        else:
            along = np.array([1.0, temperature]) @ self.trend
            own, again = along @ self.coefficients, along @ self.replicates
        return own @ self.powers, again @ self.powers


def fit_excess(free: FreeEnergies, order: int | None = None) -> ExcessModel:
    """Fit a Redlich–Kister excess to free energies along one fraction.

    What is fitted is F over −k_BT ln of the exact number of arrangements; the ideal mixture of a
    large crystal is added again, so that the entropy of a small cell leaves no trace. Weights are
    the effective draws of every composition. The order is, unless given, the one of the lowest
    Bayesian information criterion (G. Schwarz, Ann. Stat. 6, 461 (1978),
    doi:10.1214/aos/1176344136) over all temperatures, a coefficient costing ln n times the χ² that
    it takes up of the noise among resamples. A smooth excess describes one phase, mixing or not;
    ordered phases have kinks, which show as a large ``chi2``.

    Parameters
    ----------
    free
        Free energies along one fraction.
    order
        Highest power k of (2x − 1)^k.

    Raises
    ------
    ConvergenceError
        If fewer compositions are known at a temperature than the curve has coefficients, or they
        cover less than a third of the fractions.
    InputError
        If several fractions vary, or a third species is held on the sublattice.
    """
    if order is not None and not is_whole(order, least=0):
        raise InputError(f"order = {shown(order)}: give a whole number, 0 or more")
    axis = free.one_axis()
    own = [n for n, kind in enumerate(free.cell.kinds) if kind[0] == axis.sublattice]
    mixing = [n for n in own if free.cell.kinds[n][1] in axis.species]
    if (free.compositions[:, mixing].sum(axis=1) < axis.size).any():
        raise InputError(
            f"a third species is held on {axis.sublattice}: a curve is fitted to two that mix alone"
        )
    y, again = (_excess(free, axis, f) for f in (free.free_energy, free.replicates["free_energy"]))
    sigma = np.sqrt(1.0 / np.maximum(free.effective, 1e-3)) / (free.beta[:, None] * axis.size)
    if not np.isfinite(free.effective).any():  # densities of states have repeats, not draws
        sigma = np.maximum(error_of(again), 1e-7)
    known = np.isfinite(y) & np.isfinite(sigma)
    _enough(free, axis, known, 3 if order is None else order + 3)
    again = np.where(np.isfinite(again), again, y)
    most = min(_HIGHEST_ORDER, int(known.sum(axis=1).min()) - 4)
    fits = [
        _Fit.of(axis.x, y, again, sigma, known, k)
        for k in (range(max(most, 0) + 1) if order is None else [order])
    ]
    best = _chosen(fits, known)
    per_noise = best.chi2 / np.maximum(best.noise, 1e-12)
    notes = tuple(
        f"At {t:,.6g} K the curve misses its points ({c:.2g} times the noise): a phase that it "
        "does not describe, or chains that did not converge."
        for t, c in zip(free.temperatures, per_noise, strict=True)
        if c > _POOR_FIT
    )
    reach = np.array([[axis.x[k].min(), axis.x[k].max()] for k in known])
    return ExcessModel(
        axis, free.temperatures, best.coefficients, best.replicates, per_noise, reach, notes
    )


def _excess(free: FreeEnergies, axis: Axis, values: np.ndarray) -> np.ndarray:
    """F + k_BT ln(arrangements) per site of the sublattice, [..., n_t, n_compositions]."""
    n = axis.x * axis.size
    ways = gammaln(axis.size + 1.0) - gammaln(n + 1.0) - gammaln(axis.size - n + 1.0)
    return np.asarray(
        (values * free.cell.n_sites + ways / free.beta[:, None]) / axis.size, dtype=float
    )


def _enough(free: FreeEnergies, axis: Axis, known: np.ndarray, least: int) -> None:
    for t, here in zip(free.temperatures, known, strict=True):
        covered = np.ptp(axis.x[here]) if here.any() else 0.0
        if here.sum() <= least or covered < 1 / 3:
            raise ConvergenceError(
                f"at {t:g} K {here.sum()} compositions are known, over {covered:.2g} of the "
                f"{axis.name}: too few for a curve; sample more chemical potentials, or φ"
            )


def _basis(x: np.ndarray, order: int) -> np.ndarray:
    z = 2.0 * x - 1.0
    terms = [np.ones_like(x), x, *(x * (1.0 - x) * z**k for k in range(order + 1))]
    return np.stack(terms, axis=1)


def _powers(order: int) -> np.ndarray:
    """Terms of the excess in powers of x, [order + 3, order + 3]."""
    rows = np.zeros((order + 3, order + 3))
    rows[0, 0] = rows[1, 1] = 1.0
    term = np.array([0.0, 1.0, -1.0])
    for k in range(order + 1):
        rows[k + 2, : len(term)] = term
        term = polynomial.polymul(term, [-1.0, 2.0])
    return rows


class _Fit(NamedTuple):
    """Coefficients [n_t, m], those of the resamples [n_resamples, n_t, m], and χ² [n_t].

    ``noise`` [n_t] is the mean χ² of the resamples about the sample: errors of neighbouring
    compositions go together, so that χ² is not the number of degrees of freedom.
    """

    coefficients: np.ndarray
    replicates: np.ndarray
    chi2: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(  # noqa: PLR0917
        cls,
        x: np.ndarray,
        y: np.ndarray,
        again: np.ndarray,
        sigma: np.ndarray,
        known: np.ndarray,
        order: int,
    ) -> _Fit:
        """Fit by least squares."""
        basis, rows = _basis(x, order), []
        for t, here in enumerate(known):
            w = 1.0 / sigma[t, here]
            design = basis[here] * w[:, None]
            solve = np.linalg.pinv(design)
            own, parts = y[t, here] * w, again[:, t, here] * w
            left = np.eye(len(w)) - design @ solve
            apart = (parts - own) @ left
            noise = (apart**2).sum(axis=1).mean()
            rows.append((own @ solve.T, parts @ solve.T, ((left @ own) ** 2).sum(), noise))
        one, many, chi2, noises = zip(*rows, strict=True)
        return cls(np.array(one), np.stack(many, axis=1), np.array(chi2), np.array(noises))


def _chosen(fits: Sequence[_Fit], known: np.ndarray) -> _Fit:
    """Fit of the least χ² + Σ ln(n) × (noise that its coefficients take up)."""
    price = np.log(known.sum(axis=1))
    taken = [((fits[0].noise - fit.noise) * price).sum() for fit in fits]
    scores = [fit.chi2.sum() + cost for fit, cost in zip(fits, taken, strict=True)]
    return fits[int(np.argmin(scores))]


def free_energy_of(powers: np.ndarray, x: np.ndarray, temperature: float) -> np.ndarray:
    """f(x) of an excess in powers of x, eV per site of the sublattice, [n]."""
    return np.asarray(polynomial.polyval(x, powers) + kB * temperature * ideal(x))
