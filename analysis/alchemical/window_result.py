"""What equilibrium windows say: the free energy along the path, and how it was arrived at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ...alchemical_records import Windows
from ..caveats import Caveat
from ..point_results import finite
from ..wording import with_error
from .integration import Integral
from .switching_result import Measured

__all__ = ["InTime", "WindowFreeEnergy"]


class InTime(NamedTuple):
    """ΔF and its error in eV from parts of the draws: ``values`` [way, fraction, 2].

    The first way takes the first draws of every chain, the second the last; NaN where a part is too
    small.
    """

    fractions: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class WindowFreeEnergy:
    """Free energy along a path in eV, from windows; made by `window_free_energy`.

    ``profile`` [k] is MBAR's F(s) − F(s₀) with ``profile_error``; ``bar`` the sum of the ``pairs``
    of neighbours; ``integrals`` thermodynamic integration by rule, of the mean ``slopes``.
    ``boltzmann_slope`` is 1 where neighbours are weighed as Boltzmann says at this temperature.
    ``overlap`` [k, k] is pymbar's matrix, whose entries fall where windows are many;
    ``pair_overlaps`` [k − 1] are those of two neighbours by themselves, 0.5 at best.
    ``inefficiency`` [k] the draws per independent one, ``kept`` [k] the draws that MBAR and BAR
    were made of, ``rhat`` [k] that of each window's slowest series. ``in_time`` is None where it
    was not asked for or draws are too few.
    """

    windows: Windows = field(repr=False)
    profile: np.ndarray
    profile_error: np.ndarray
    bar: Measured
    pairs: tuple[Measured, ...]
    integrals: Mapping[str, Integral]
    slopes: tuple[Measured, ...] = field(repr=False)
    boltzmann_slope: Measured
    overlap: np.ndarray = field(repr=False)
    pair_overlaps: np.ndarray = field(repr=False)
    inefficiency: np.ndarray = field(repr=False)
    kept: np.ndarray = field(repr=False)
    rhat: np.ndarray = field(repr=False)
    in_time: InTime | None = field(repr=False)
    caveats: tuple[Caveat, ...]

    @property
    def free_energy(self) -> float:
        """MBAR's F at the last coupling less that at the first, in eV."""
        return float(self.profile[-1])

    @property
    def error(self) -> float:
        """Standard error of ``free_energy`` in eV."""
        return float(self.profile_error[-1])

    @property
    def least_overlap(self) -> float:
        """Least overlap of two neighbours, of ``pair_overlaps``."""
        return float(self.pair_overlaps.min())

    @property
    def least_overlap_at(self) -> int:
        """First window of the pair of neighbours that overlap least."""
        return int(self.pair_overlaps.argmin())

    @property
    def converged(self) -> bool:
        """Whether nothing speaks against the number and its error."""
        return not any(one.level in {"critical", "warning"} for one in self.caveats)

    @property
    def statement(self) -> str:
        """The result in sentences."""
        w, rule = self.windows, self.integrals["spline"]
        change = f" of {w.label}" if w.label else ""
        off = f", rule ± {rule.discretisation:.2g}" if rule.discretisation > 0 else ""
        first = (
            f"ΔF{change} at {w.temperature:g} K is {with_error(self.free_energy, self.error)} eV "
            f"by MBAR from {w.n_windows} windows of {w.n_chains} × {w.n_draws:,} draws, "
            f"{int(self.kept.sum()):,} of them independent."
        )
        second = (
            f"BAR of neighbours gives {with_error(*self.bar)} eV, integration by a spline "
            f"{with_error(rule.value, rule.error)} eV{off}."
        )
        parts = [
            first,
            second,
            f"Neighbours overlap by {self.least_overlap:.2f} or more (0.5 at best).",
        ]
        parts.append("" if self.converged else "The result is not converged.")
        parts += [caveat.text for caveat in self.caveats]
        return " ".join(filter(None, parts))

    def with_caveats(self, caveats: tuple[Caveat, ...]) -> WindowFreeEnergy:
        """Return the same result with these caveats."""
        return replace(self, caveats=caveats)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, None for what is not known; the draws themselves are left out."""
        w = self.windows
        return {
            "statement": self.statement,
            "label": w.label,
            "temperature": w.temperature,
            "method": "MBAR",
            "free_energy": finite(self.free_energy),
            "error": finite(self.error),
            "converged": self.converged,
            "bar": self.bar.to_dict(),
            "integration": {
                rule: {name: finite(value) for name, value in one._asdict().items()}
                for rule, one in self.integrals.items()
            },
            "boltzmann_slope": self.boltzmann_slope.to_dict(),
            "least_overlap": finite(self.least_overlap),
            "overlap": [[finite(x) for x in row] for row in self.overlap],
            "pair_overlaps": [finite(x) for x in self.pair_overlaps],
            "windows": [
                {
                    "coupling": float(s),
                    "free_energy": finite(self.profile[k]),
                    "error": finite(self.profile_error[k]),
                    "slope": self.slopes[k].to_dict(),
                    "to_next": self.pairs[k].to_dict() if k < len(self.pairs) else None,
                    "inefficiency": finite(self.inefficiency[k]),
                    "draws": w.n_chains * w.n_draws,
                    "independent_draws": int(self.kept[k]),
                    "rhat": finite(self.rhat[k]),
                }
                for k, s in enumerate(w.couplings)
            ],
            "in_time": self._course(),
            "calls": int(w.calls),
            "caveats": [one._asdict() for one in self.caveats],
        }

    def _course(self) -> dict[str, Any] | None:
        if self.in_time is None:
            return None
        ways = dict(zip(("first", "last"), self.in_time.values, strict=True))
        return {
            "fractions": [float(x) for x in self.in_time.fractions],
            **{
                name: [{"free_energy": finite(f), "error": finite(e)} for f, e in way]
                for name, way in ways.items()
            },
        }
