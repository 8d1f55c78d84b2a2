"""What ln g(E) says of a transition: the free-energy barrier between two phases and where it is."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xarray as xr
from ase.units import kB
from scipy.optimize import brentq

from ..density_of_states import DensityOfStates
from ..errors import InputError
from ..sublattice import is_number, shown

__all__ = ["Coexistence", "coexistence", "energy_distribution"]


class Coexistence(NamedTuple):
    """Two phases of one cell, told apart by their energies.

    ``barrier`` in k_BT, of the energy least likely between two peaks of equal height; ``errors``
    are those of the other fields, as far as they have one. ``temperature`` (K) is where both peaks
    weigh the same, ``equal_height`` (K) where they are as high as one another. ``ordered`` and
    ``disordered`` are the mean energies (eV per cell) of the two sides at ``temperature``, and
    ``latent_heat`` is their difference.
    """

    barrier: float
    temperature: float
    equal_height: float
    ordered: float
    disordered: float
    latent_heat: float
    errors: dict[str, float]


def energy_distribution(density: DensityOfStates, temperature: float) -> xr.DataArray:
    """Probability of every level of the energy at a temperature, P = g e^{−βE}/Z.

    Parameters
    ----------
    density
        Density of states, as `WangLandau` gives it.
    temperature
        K, above zero.

    Returns
    -------
    Array over ``level`` with the coordinate ``energy`` (eV per cell); it adds up to one.

    Raises
    ------
    InputError
        If the temperature is not positive, or more than 0.1 % of the weight lies on the last level
        of a range that was cut there, as for ``density.averages``.

    Examples
    --------
    >>> import numpy as np
    >>> two = DensityOfStates([0.0, 0.1], [[0.0, np.log(2)]], n_sites=1, bin_width=0.1)
    >>> energy_distribution(two, 1e9).values.round(3)
    array([0.333, 0.667])
    """
    if not is_number(temperature) or temperature <= 0:
        raise InputError(f"temperature = {shown(temperature)} is not positive; give it in K")
    density.refuse_beyond_the_cut(np.array([float(temperature)]))
    return xr.DataArray(
        density.probabilities(temperature),
        {"energy": ("level", density.energies, {"units": "eV"})},
        dims="level",
        attrs={"long_name": "probability", "units": "1"},
    )


def coexistence(density: DensityOfStates, smoothing: float = 0.0) -> Coexistence | None:
    """Free-energy barrier between two phases in one cell, and the temperature of their balance.

    Where ln g(E) is not concave, P(E; T) has two peaks. The straight line that touches ln g on both
    sides of the dent has the slope β at which the peaks are equally high, and the barrier
    ln(P_max/P_min) is the depth of the dent below it, the largest there is (J. Lee and
    J. M. Kosterlitz, Phys. Rev. Lett. 65, 137 (1990), doi:10.1103/PhysRevLett.65.137). At the
    temperature of equal weight the energies below and above the bottom of the dent are as likely
    (C. Borgs and R. Kotecký, J. Stat. Phys. 61, 79 (1990), doi:10.1007/BF01013955).

    A first-order transition has a barrier that grows with the cell; one cell cannot tell. The noise
    of ln g makes small dents everywhere, so a barrier must be several times its error. So do levels
    near the ground state, which are few and uneven: with ``smoothing`` the dent is looked for in a
    straight line through the levels around each one. Errors are those of the repeats.

    Parameters
    ----------
    density
        Density of states, as `WangLandau` gives it.
    smoothing
        How far the levels around one reach to either side, in eV: a few steps between levels, and
        less than the width of a peak.

    Returns
    -------
    The deepest dent at a positive temperature, or None if ln g is concave there.

    Raises
    ------
    InputError
        If ``smoothing`` is negative.

    Examples
    --------
    Two phases with energies of −1 and 0 eV, the upper with e²⁰ times as many states:

    >>> import numpy as np
    >>> energies = np.linspace(-2.0, 1.0, 301)
    >>> low, high = -((energies + 1) ** 2) / 0.02, 20 - energies**2 / 0.02
    >>> ln_g = np.logaddexp(low, high)
    >>> found = coexistence(DensityOfStates(energies, [ln_g], n_sites=10, bin_width=0.01))
    >>> round(found.temperature), round(found.barrier, 2), round(found.latent_heat, 2)
    (580, 11.81, 1.0)
    """
    if not is_number(smoothing) or smoothing < 0:
        raise InputError(f"smoothing = {shown(smoothing)} cannot be used; give eV, 0 or more")
    here = _dent(density, smoothing)
    if here is None:
        return None
    names = Coexistence._fields[:-1]
    value = _balance(density, here)

    def again(part: DensityOfStates) -> np.ndarray:
        dent = _dent(part, smoothing)
        return np.full(len(names), np.nan) if dent is None else _balance(part, dent)

    _, errors = density.jackknife(again)
    fields = dict(zip(names, value.tolist(), strict=True))
    return Coexistence(**fields, errors=dict(zip(names, errors.tolist(), strict=True)))


class _Dent(NamedTuple):
    """Levels that the common tangent touches, the deepest one between, its slope and depth."""

    left: int
    bottom: int
    right: int
    beta: float
    depth: float


def _dent(density: DensityOfStates, smoothing: float) -> _Dent | None:
    """Deepest dent of ln g below its concave hull, where the hull rises; None if there is none."""
    x, y = density.energies, _smoothed(density.energies, density.ln_g, smoothing)
    known = np.flatnonzero(np.isfinite(y))
    hull: list[int] = []
    for n in known.tolist():
        while len(hull) > 1 and _turns_up(x, y, hull[-2], hull[-1], n):
            hull.pop()
        hull.append(n)
    best = None
    for left, right in pairwise(hull):
        slope = (y[right] - y[left]) / (x[right] - x[left])
        between = known[(known > left) & (known < right)]
        if slope <= 0 or not len(between):
            continue
        depths = y[left] + slope * (x[between] - x[left]) - y[between]
        bottom = int(depths.argmax())
        if best is None or depths[bottom] > best.depth:
            best = _Dent(left, int(between[bottom]), right, float(slope), float(depths[bottom]))
    return best


def _smoothed(x: np.ndarray, y: np.ndarray, reach: float) -> np.ndarray:
    """Value at every level of the line that fits the levels within reach best."""
    smooth = y.copy()
    for n in np.flatnonzero(np.isfinite(y)) if reach > 0 else ():
        near = np.isfinite(y) & (np.abs(x - x[n]) <= reach)
        dx, dy = x[near] - x[near].mean(), y[near] - y[near].mean()
        slope = (dx @ dy) / (dx @ dx) if near.sum() > 1 else 0.0
        smooth[n] = y[near].mean() + slope * (x[n] - x[near].mean())
    return smooth


def _turns_up(x: np.ndarray, y: np.ndarray, a: int, b: int, c: int) -> bool:
    """Whether level b lies on or below the line from a to c."""
    return bool((y[b] - y[a]) * (x[c] - x[a]) <= (y[c] - y[a]) * (x[b] - x[a]))


def _balance(density: DensityOfStates, dent: _Dent) -> np.ndarray:
    """Numbers of ``Coexistence`` in its order."""
    x = density.energies
    low = np.arange(len(x)) <= dent.bottom

    def excess(beta: float) -> float:
        """Logarithm of the weight of the lower side over that of the upper one."""
        log = np.nan_to_num(density.ln_g, nan=-np.inf) - beta * x
        return float(np.logaddexp.reduce(log[low]) - np.logaddexp.reduce(log[~low]))

    # The weight of the lower side grows with β.
    span = 1.0 / (x[dent.right] - x[dent.left])
    below, above = dent.beta - span, dent.beta + span
    while excess(below) > 0:
        below -= span
        span *= 2
    while excess(above) < 0:
        above += span
        span *= 2
    beta = brentq(excess, below, above, xtol=1e-12 * dent.beta)
    kelvin = 1.0 / (kB * beta) if beta > 0 else np.inf
    p = density.probabilities(kelvin)
    ordered, disordered = (float(p[side] @ x[side] / p[side].sum()) for side in (low, ~low))
    return np.array(
        [dent.depth, kelvin, 1.0 / (kB * dent.beta), ordered, disordered, disordered - ordered]
    )
