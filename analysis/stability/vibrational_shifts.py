"""How far vibrations move the temperature of an order–disorder transition."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from ...errors import ConvergenceError, InputError
from ...sublattice import is_number
from ..wording import with_error
from .vibrations import HarmonicFreeEnergy

__all__ = ["VibrationalShift", "vibrational_shift"]

LARGE = 0.15
"""Part of the temperature beyond which a shift is more than the first order can say."""

MOST_SHARE = 0.1
"""Part of the weight that one draw may have before the error of their average is doubted."""

WIDEST = 4.0
"""Shifts by more than this factor are refused: nothing is linear that far."""


class VibrationalShift(NamedTuple):
    """A transition temperature with and without vibrations, from `vibrational_shift`.

    Temperatures and ``error`` (one standard error, from the scatter of the free energies alone; NaN
    where it is not known) in K; ``difference`` and ``difference_error``: vibrational free energy of
    the disordered less that of the ordered crystal at ``without``, in eV per cell;
    ``largest_share``: part of the weight in the disordered average that one draw has;
    ``converged``: whether both free energies are.
    """

    without: float
    temperature: float
    error: float
    difference: float
    difference_error: float
    largest_share: float
    converged: bool

    @property
    def beyond_first_order(self) -> bool:
        """Whether the shift is so large (15 %) that only its direction is to be relied on."""
        return abs(self.temperature / self.without - 1.0) > LARGE

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the statement; None where a number is not known."""
        found = {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in self._asdict().items()
        }
        said = {"statement": self.statement, "beyond_first_order": self.beyond_first_order}
        return said | found

    @property
    def statement(self) -> str:
        """What was found, in sentences with numbers and caveats."""
        said = (
            f"Harmonic vibrations move the transition from {self.without:.0f} K to "
            f"{with_error(self.temperature, self.error)} K: the disordered crystal's "
            f"vibrational free energy differs by {1000 * self.difference:.1f} meV per cell."
        )
        if self.largest_share > MOST_SHARE:
            said += (
                f" One draw has {100 * self.largest_share:.0f} % of the weight, so the error is "
                "too small: take more draws."
            )
        elif not self.converged:
            said += " There is no verdict on convergence: draws are few, or one of each chain."
        if self.beyond_first_order:
            said += (
                " So large a shift is beyond the first order in which it was computed: rely on its "
                "direction only, and weigh arrangements by their own free energies or sample with "
                "positions for more."
            )
        return said + " The cell's size is not extrapolated."


def vibrational_shift(
    ordered: HarmonicFreeEnergy,
    disordered: HarmonicFreeEnergy,
    temperature: float,
    latent_heat: float,
    statistics: str = "quantum",
) -> VibrationalShift:
    r"""Transition temperature with vibrations, from the one without.

    Near a first-order transition at T₀ the configurational free energies differ by
    :math:`L (1 - T/T_0)`, L the latent heat; with vibrations both phases are equally stable at T
    with

    .. math:: L \left(1 - \frac{T}{T_0}\right) + ΔF_\text{vib}(T) = 0,

    where Δ is disordered less ordered. For classical vibrations, with :math:`ΔS_\text{vib}`
    constant, it is :math:`T = T_0/(1 + ΔS_\text{vib}/ΔS_\text{conf})` (V. Ozoliņš, C. Wolverton and
    A. Zunger, Phys. Rev. B 58, R5897 (1998), doi:10.1103/PhysRevB.58.R5897). That L and what is
    drawn at T₀ also hold at T is first order in the shift; shifts beyond 15 % are marked.

    Parameters
    ----------
    ordered, disordered
        Vibrations in the same cell at the same composition: of ordered arrangements or draws below
        the transition, and of draws above it.
    temperature
        T₀ in K.
    latent_heat
        Energy of the disordered less that of the ordered crystal at T₀ in eV per cell.
    statistics
        ``"quantum"`` or ``"classical"``.

    Raises
    ------
    InputError
        If cells or compositions differ, or a number cannot be used.
    ConvergenceError
        If a structure has imaginary modes, or no temperature within a factor of four solves it.
    """
    _check(ordered, disordered, temperature, latent_heat)

    def difference(t: float) -> float:
        above = disordered.average(t, statistics).mean
        return float(above - ordered.average(t, statistics).mean)

    def balance(t: float) -> float:
        return latent_heat * (1.0 - t / temperature) + difference(t)

    low, high = temperature / WIDEST, temperature * WIDEST
    if not balance(low) > 0 > balance(high):
        raise ConvergenceError(
            f"no temperature from {low:.0f} to {high:.0f} K makes both equally stable: vibrations "
            f"({1000 * difference(temperature):.1f} meV per cell) outweigh the latent heat "
            f"({1000 * latent_heat:.1f} meV); sample with positions (HybridMD) instead"
        )
    found = float(brentq(balance, low, high, xtol=1e-6))
    both = [one.average(found, statistics) for one in (ordered, disordered)]
    # Ordered arrangements that are alike by symmetry have one free energy and no error.
    errors = [
        0.0 if len(one.energies) == 1 else summary.error
        for one, summary in zip((ordered, disordered), both, strict=True)
    ]
    slope = (balance(1.001 * found) - balance(0.999 * found)) / (0.002 * found)
    spread = float(np.hypot(errors[0], errors[1]))
    return VibrationalShift(
        float(temperature), found, spread / abs(slope), difference(temperature), spread,
        disordered.largest_share(found, statistics),
        all(s.converged or len(o.energies) == 1
            for s, o in zip(both, (ordered, disordered), strict=True)),
    )  # fmt: skip


def _check(
    ordered: HarmonicFreeEnergy,
    disordered: HarmonicFreeEnergy,
    temperature: float,
    latent_heat: float,
) -> None:
    for name, value in (("temperature", temperature), ("latent_heat", latent_heat)):
        if not is_number(value) or value <= 0:
            raise InputError(f"{name} is {value!r}; give a number above 0")
    counts = [one.lattice.counts(one.occupations) for one in (ordered, disordered)]
    alike = counts[0].shape[1:] == counts[1].shape[1:]
    if not alike or (np.concatenate(counts) != counts[0][0]).any():
        raise InputError(
            "the structures differ in size or composition, so their free energies cannot be "
            "compared: give ordered and disordered arrangements of one cell and composition"
        )
    for name, one in (("ordered", ordered), ("disordered", disordered)):
        if one.imaginary.any():
            raise ConvergenceError(
                f"{int((one.imaginary > 0).sum())} of the {name} structures have imaginary modes: "
                "relax them further or leave them out"
            )
