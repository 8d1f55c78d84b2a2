"""The free energy along a path from windows that were sampled in equilibrium."""

from __future__ import annotations

import math

import numpy as np
from ase.units import kB

from ...alchemical_records import Windows
from ...errors import InputError
from ...statistics import Summary, summary
from ...sublattice import shown
from ..caveats import Caveat, shortcoming
from ..layout import few
from ..stability.mbar import LEAST_OVERLAP
from ..wording import with_error
from .decorrelation import decorrelated
from .integration import integrals
from .multistate import boltzmann_slope, chained, in_time, multistate, neighbours, reduced_draws
from .switching_result import Measured
from .window_result import InTime, WindowFreeEnergy

__all__ = ["window_free_energy"]

_APART = 4.0
"""Standard errors that two ways to the same number may differ by."""
_FEWEST = 10
"""Draws of every chain that a course in time is made of at least."""


def window_free_energy(windows: Windows, *, parts: int = 10) -> WindowFreeEnergy:
    """Free energy along a path by MBAR, beside BAR and thermodynamic integration.

    Draws of every window are thinned to independent ones by the largest statistical inefficiency of
    dU/ds and of the energies that lead to its neighbours; MBAR, the overlap matrix and BAR of
    neighbours are made of those, with errors widened by what correlation is left; the integrals of
    all draws, with errors from the autocorrelation of the chains. What is given is MBAR's: it uses
    all draws for all windows and has no quadrature.

    Parameters
    ----------
    windows
        Energies of configurations drawn at several couplings. The free energy leads from the first
        coupling to the last.
    parts
        How many growing parts of the draws, from the first on and up to the last, are evaluated by
        themselves, which takes about that many times as long; 0 leaves out the course in time.

    Raises
    ------
    InputError
        If ``parts`` is negative, or there are no ``Windows``.
    ConvergenceError
        If two neighbouring windows have less than one draw in common, or MBAR has no solution.

    Examples
    --------
    A spring that stiffens four-fold in three dimensions: ΔF = 3/2 k_BT ln 4.

    >>> import numpy as np
    >>> from ase.units import kB
    >>> kt, s = 300.0 * kB, np.linspace(0, 1, 4)
    >>> stiffness = 1.0 + 3.0 * s
    >>> x = np.random.default_rng(1).normal(size=(4, 2, 500, 3))
    >>> square = kt * (x**2).sum(axis=-1) / stiffness[:, None, None]
    >>> windows = Windows(s, 0.5 * square[..., None] * stiffness, 1.5 * square, 300.0)
    >>> found = window_free_energy(windows, parts=0)
    >>> abs(found.free_energy - 1.5 * kt * np.log(4)) < 3 * found.error < 0.01
    True
    """
    if not isinstance(windows, Windows):
        raise InputError(
            f"windows are {shown(windows)}; give Windows, as WindowSampling records them"
        )
    if not isinstance(parts, int) or parts < 0:
        raise InputError(f"parts is {parts!r}: give 0 or a number of parts")
    kt = kB * windows.temperature
    kept = decorrelated(windows)
    masks = [one.mask for one in kept]
    draws = reduced_draws(windows, masks)
    pairs = neighbours(draws, windows.couplings)
    solution = multistate(draws)
    slopes = [summary(one.T) for one in windows.slopes]
    chains = [
        summary(one.slowest) if np.ptp(one.slowest) > 0 else slope
        for one, slope in zip(kept, slopes, strict=True)
    ]
    means = np.array([one.mean for one in slopes])
    errors = np.nan_to_num(np.array([one.error for one in slopes]))
    *bar, widened = chained(pairs, windows.n_chains)
    time = None
    if parts and windows.n_draws >= _FEWEST:
        fractions = np.linspace(1.0 / parts, 1.0, parts)
        time = InTime(fractions, in_time(windows, masks, fractions) * kt * [1.0, widened])
    result = WindowFreeEnergy(
        windows=windows,
        profile=solution.f * kt,
        profile_error=solution.error * kt * widened,
        bar=Measured(bar[0] * kt, bar[1] * kt),
        pairs=tuple(Measured(one.f * kt, one.error * kt * widened) for one in pairs),
        integrals=integrals(windows.couplings, means, errors),
        slopes=tuple(Measured(one.mean, one.error) for one in slopes),
        boltzmann_slope=boltzmann_slope(draws, widened),
        overlap=solution.overlap,
        pair_overlaps=np.array([one.overlap for one in pairs]),
        inefficiency=np.array([one.inefficiency for one in kept]),
        kept=np.array([len(part) for part in draws]),
        rhat=np.array([one.rhat for one in chains]),
        in_time=time,
        caveats=(),
    )
    return result.with_caveats(tuple(_caveats(result, chains)))


def _caveats(result: WindowFreeEnergy, chains: list[Summary]) -> list[Caveat]:
    found = []
    s = result.windows.couplings
    if result.least_overlap < LEAST_OVERLAP:
        k = result.least_overlap_at
        text = (
            f"The windows at s = {s[k]:.4g} and {s[k + 1]:.4g} overlap by "
            f"{result.least_overlap:.2g}, less than {LEAST_OVERLAP:g}: ΔF hangs on few of their "
            f"draws; add a window at {0.5 * (s[k] + s[k + 1]):.4g}."
        )
        found.append(Caveat("critical", "overlap", text))
    found += _of_chains(s, chains)
    slope = result.boltzmann_slope
    if abs(slope.value - 1.0) > max(_APART * slope.error, 0.1):
        text = (
            f"ln(p_k+1/p_k) of neighbours rises by {with_error(slope.value, slope.error)} per "
            "k_BT of energy between them, where Boltzmann's weights give 1: the windows were not "
            "sampled at the temperature that is given, or not in equilibrium."
        )
        found.append(Caveat("critical", "boltzmann", text))
    found += _of_agreement(result)
    drift = _drift(result)
    if drift is not None and abs(drift.value) > _APART * drift.error:
        text = (
            f"The second half of the draws gives {with_error(drift.value, drift.error)} eV more "
            "than the first: the windows were not in equilibrium, or are sampled too briefly."
        )
        found.append(Caveat("critical", "drift", text))
    if s[0] > 0 or s[-1] < 1:
        text = f"The path is covered from s = {s[0]:.4g} to {s[-1]:.4g} only, not from 0 to 1."
        found.append(Caveat("note", "part-of-path", text))
    return found


def _of_chains(s: np.ndarray, chains: list[Summary]) -> list[Caveat]:
    bad = {k: shortcoming(one) for k, one in enumerate(chains) if not one.converged}
    if not bad:
        return []
    listed = few([f"s = {s[k]:.4g} ({why})" for k, why in bad.items()])
    text = f"Chains did not converge in {len(bad)} of {len(s)} windows: {listed}."
    return [Caveat("warning", "unconverged", text)]


def _of_agreement(result: WindowFreeEnergy) -> list[Caveat]:
    """Say where BAR and integration differ from MBAR by more than their errors."""
    rule = result.integrals["spline"]
    beside = {
        "BAR of neighbours": (result.bar.value, result.bar.error, 0.0),
        "integration by a spline": (rule.value, rule.error, np.nan_to_num(rule.discretisation)),
    }
    found = []
    for name, (value, error, off) in beside.items():
        apart, known = value - result.free_energy, math.hypot(error, result.error)
        if abs(apart) > _APART * known + 2.0 * off + 1e-9 * max(1.0, abs(value)):
            text = (
                f"MBAR and {name} differ by {1e3 * apart:.3g} meV, where their errors are "
                f"{1e3 * known:.2g} meV: slopes and energies do not belong to the same path, or "
                "windows are too few."
            )
            found.append(Caveat("critical", "disagreement", text))
    if math.isnan(rule.discretisation):
        text = "Two windows cannot tell how far a quadrature of the slopes is off."
        found.append(Caveat("note", "two-windows", text))
    elif rule.discretisation > max(rule.error, result.error):
        text = (
            f"Integration may be off by {1e3 * rule.discretisation:.2g} meV for want of windows; "
            "MBAR does not depend on it."
        )
        found.append(Caveat("note", "discretisation", text))
    return found


def _drift(result: WindowFreeEnergy) -> Measured | None:
    """How much more the second half of the draws gives than the first."""
    if result.in_time is None:
        return None
    half = int(np.argmin(np.abs(result.in_time.fractions - 0.5)))
    if result.in_time.fractions[half] > 0.5 + 1e-9:  # halves that share draws
        return None
    (first, e_first), (second, e_second) = result.in_time.values[:, half]
    if not np.isfinite([first, second]).all():
        return None
    return Measured(float(second - first), math.hypot(e_first, e_second))
