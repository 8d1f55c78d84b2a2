"""Where equilibrium windows should lie: pilots, and equal shares of the thermodynamic length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from ase import units

from ...alchemical_records import Windows
from ...errors import ConvergenceError, InputError
from ...sublattice import is_number, is_whole, shown
from .schedules import OptimisedSchedule, couplings_of
from .windows import WindowSampling

__all__ = ["distances", "place_windows"]

_MIN_DRAWS = 4  # that a variance needs at least
_MAX_PILOTS = 8


def distances(windows: Windows) -> np.ndarray:
    """Larger standard deviation of β(U_l − U_k) in neighbouring windows k and l, [k − 1]."""
    beta = 1.0 / (units.kB * windows.temperature)
    found = []
    for k in range(windows.n_windows - 1):
        pair = windows.energies[k : k + 2, :, :, k + 1] - windows.energies[k : k + 2, :, :, k]
        found.append(beta * float(pair.std(axis=(1, 2)).max()))
    return np.array(found)


def place_windows(
    sampling: WindowSampling,
    starts: Any,
    *,
    distance: float = 1.0,
    n_draws: int = 50,
    n_chains: int = 4,
    max_windows: int = 64,
    max_calls: int | None = None,
    seed: int = 0,
) -> WindowSampling:
    r"""Place windows by pilot runs so that neighbours overlap as wanted.

    The distance of neighbours k and l is the larger standard deviation of β(U_l − U_k) in the two
    windows. A pilot in the windows given shows how ∂U/∂s spreads, hence a thermodynamic length
    (G. E. Crooks 2007, doi:10.1103/PhysRevLett.99.100602), of which new windows have equal shares;
    they are measured in turn and refined by all that is known, until no two neighbours are further
    apart than ``distance``, as far as the pilot can tell. Where U_l − U_k is normally distributed,
    the densities of two neighbours have 0.62 of their area in common at a distance of 1 and 0.32 at
    2, and their ``pair_overlaps`` of ``analysis.window_free_energy`` are 0.40 and 0.22 (0.5 at
    best).

    Parameters
    ----------
    sampling
        Its windows are the first pilot's; new ones span the path from 0 to 1.
    starts, n_chains, seed
        As in ``WindowSampling.run``.
    distance
        Largest distance of neighbours.
    n_draws
        Draws per chain and window of every pilot.
    max_windows
        Windows at most.
    max_calls
        Evaluations of the energy models that pilots may take together.

    Returns
    -------
    The same sampling with other windows.

    Raises
    ------
    InputError
        If a number cannot be used.
    ConvergenceError
        If the distance is not reached within the limits.

    Examples
    --------
    >>> from alchemc import Canonical, PairHamiltonian, RandomSwap, builders
    >>> from alchemc.ensembles.alchemical import MixturePath
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> weak, strong = (
    ...     PairHamiltonian(lattice, [np.array([[0.0, -j], [-j, 0.0]])]) for j in (0.0, 0.05)
    ... )
    >>> path = MixturePath(weak, strong)
    >>> swaps = RandomSwap(path.model(0.0), Canonical(lattice, 1200.0))
    >>> coarse = WindowSampling(path, 1200.0, couplings=3, kernel=swaps, equilibration=20)
    >>> placed = place_windows(coarse, np.array([0, 0, 0, 0, 1, 1, 1, 1]), seed=1)
    >>> bool(3 < len(placed.places) < 9)
    True
    """
    _check(distance, n_draws, max_windows)
    known: dict[float, float] = {}
    begun, least = sampling.path.calls, 2
    for number in range(_MAX_PILOTS):
        left = None if max_calls is None else max_calls - (sampling.path.calls - begun)
        if left is not None and left < 1:
            break
        try:
            pilot = sampling.run(
                starts, n_draws=n_draws, n_chains=n_chains, max_calls=left, seed=seed + number
            )
        except ConvergenceError:  # the budget
            break
        if distances(pilot).max() <= distance:
            return sampling
        known |= dict(zip(pilot.couplings.tolist(), pilot.slopes.std(axis=(1, 2)), strict=True))
        places = sorted(known)
        rates = OptimisedSchedule(
            np.array(places), np.array([known[s] for s in places]), sampling.temperature
        )
        least = max(int(np.ceil(rates.length() / distance)) + 1, least)
        if least > max_windows:
            raise ConvergenceError(
                f"neighbours {distance:g} apart take {least} windows, max_windows is "
                f"{max_windows}: allow more, or a larger distance"
            )
        sampling, least = replace(sampling, couplings=couplings_of(rates, least - 1)), least + 1
    raise ConvergenceError(
        f"windows are still more than {distance:g} apart after {sampling.path.calls - begun} "
        "evaluations: allow more calls or draws, or a larger distance"
    )


def _check(distance: Any, n_draws: Any, max_windows: Any) -> None:
    if not is_number(distance) or distance <= 0:
        raise InputError(f"distance is {shown(distance)}; give a number above 0, such as 1.0")
    if not is_whole(n_draws, least=_MIN_DRAWS):
        raise InputError(f"n_draws is {shown(n_draws)}; give a whole number, {_MIN_DRAWS} or more")
    if not is_whole(max_windows, least=2):
        raise InputError(f"max_windows is {shown(max_windows)}; give a whole number, 2 or more")
