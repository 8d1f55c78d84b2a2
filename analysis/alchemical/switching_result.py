"""What works of switching say: the free energy with its error, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ...alchemical_records import Works
from ..caveats import Caveat
from ..point_results import finite
from ..wording import with_error
from .crooks import OneWay

__all__ = ["Measured", "SwitchingFreeEnergy"]


class Measured(NamedTuple):
    """A number with its standard error; NaN where they are not known."""

    value: float
    error: float

    def times(self, factor: float) -> Measured:
        """Return the same in another unit."""
        return Measured(self.value * factor, self.error * factor)

    def to_dict(self) -> dict[str, float | None]:
        """Plain data, None for what is not known."""
        return {"value": finite(self.value), "error": finite(self.error)}


@dataclass(frozen=True, eq=False)
class SwitchingFreeEnergy:
    """Free energy of a change in eV, from works of switching it.

    Made by `switching_free_energy`. ``method`` is "BAR", or "Jarzynski" where one direction alone
    was switched; ``error`` is the larger of ``error_analytic``, pymbar's widened by what works are
    correlated, and ``error_resampled``. ``overlap`` and ``shared`` are those of `bennett`: the part
    and the number of works that both directions have in common. ``dissipated`` is ⟨W⟩ less the free
    energy of its direction, forward and reverse; ``hysteresis`` their sum, what a cycle dissipates.
    ``gaussian`` is the crossing of Gaussians with the moments of the works, ``crooks_slope`` the
    slope of ln(p_F(W)/p_R(−W)) in units of 1/k_BT, which should be 1, ``one_way`` Jarzynski's
    average by direction, ``effective`` the independent works of each.
    """

    works: Works = field(repr=False)
    method: str
    free_energy: float
    error: float
    error_analytic: float
    error_resampled: float
    overlap: float
    shared: float
    dissipated: tuple[Measured, Measured]
    hysteresis: Measured
    gaussian: Measured
    crooks_slope: Measured
    one_way: Mapping[str, OneWay]
    effective: tuple[float, float]
    caveats: tuple[Caveat, ...]

    @property
    def converged(self) -> bool:
        """Whether nothing speaks against the number and its error."""
        return not any(one.level in {"critical", "warning"} for one in self.caveats)

    @property
    def crossing(self) -> float:
        """Where the work distributions cross, in eV.

        Crooks' theorem makes it ΔF, and maximum likelihood without a histogram makes that Bennett's
        acceptance ratio: it is ``free_energy`` where both directions were switched.
        """
        return self.free_energy if self.method == "BAR" else float("nan")

    @property
    def statement(self) -> str:
        """The result in sentences."""
        kelvin, n = self.works.temperature, [self.works.forward.size, self.works.reverse.size]
        change = f" of {self.works.label}" if self.works.label else ""
        first = (
            f"ΔF{change} at {kelvin:g} K is {with_error(self.free_energy, self.error)} eV by "
            f"{self.method} from {n[0]:,} forward and {n[1]:,} reverse works of "
            f"{self.works.n_steps:,} steps ({self.works.schedule})."
        )
        parts = [first]
        if self.method == "BAR":
            lost = self.dissipated
            parts.append(
                f"They dissipate {with_error(1e3 * lost[0].value, 1e3 * lost[0].error)} and "
                f"{with_error(1e3 * lost[1].value, 1e3 * lost[1].error)} meV and overlap by "
                f"{self.overlap:.2f} (0.5 at best)."
            )
        parts.append("" if self.converged else "The result is not converged.")
        parts += [caveat.text for caveat in self.caveats]
        return " ".join(filter(None, parts))

    def with_caveats(self, caveats: tuple[Caveat, ...]) -> SwitchingFreeEnergy:
        """Return the same result with these caveats."""
        return replace(self, caveats=caveats)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, None for what is not known; the works themselves are left out."""
        names = ("forward", "reverse")
        return {
            "statement": self.statement,
            "label": self.works.label,
            "temperature": self.works.temperature,
            "method": self.method,
            "free_energy": finite(self.free_energy),
            "error": finite(self.error),
            "error_analytic": finite(self.error_analytic),
            "error_resampled": finite(self.error_resampled),
            "converged": self.converged,
            "overlap": finite(self.overlap),
            "shared_works": finite(self.shared),
            "dissipated": {
                name: one.to_dict() for name, one in zip(names, self.dissipated, strict=True)
            },
            "hysteresis": self.hysteresis.to_dict(),
            "gaussian_crossing": self.gaussian.to_dict(),
            "crooks_slope": self.crooks_slope.to_dict(),
            "jarzynski": {
                name: {
                    "free_energy": finite(one.f),
                    "error": finite(one.error),
                    "bias": finite(one.bias),
                    "effective_works": finite(one.effective),
                    "works_needed": finite(one.needed),
                }
                for name, one in self.one_way.items()
            },
            "works": {name: int(getattr(self.works, name).size) for name in names},
            "effective_works": dict(zip(names, map(float, self.effective), strict=True)),
            "n_steps": int(self.works.n_steps),
            "schedule": self.works.schedule,
            "calls": int(self.works.calls),
            "caveats": [one._asdict() for one in self.caveats],
        }
