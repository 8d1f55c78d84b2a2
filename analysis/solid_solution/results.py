"""What is known of a solid solution along x: series by rule, bowing, mixing, and words for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ...errors import InputError
from ...lattice import Lattice
from ...sublattice import suggestion
from ..caveats import MAGNETIC, Caveat
from ..wording import with_error

__all__ = ["Bowing", "Ends", "Series", "SolidSolution"]

RULES = {
    "sites": "mean crystal, messages weighted by their sender",
    "paper": "mean crystal, pure worlds that share the spectators",
    "arrangements": "average over relaxed arrangements",
}
SMALL = 1e-4  # Å; smaller differences are not worth a sentence
DIFFERENT = 1e-3  # Å, between relaxed pure crystals that ought to be the same


class Ends(NamedTuple):
    """The compositions at x = 0 and x = 1, by sublattice and species."""

    start: dict[str, dict[str, float]]
    end: dict[str, dict[str, float]]

    def at(self, x: float) -> dict[str, dict[str, float]]:
        """Return the composition at x."""
        return {
            name: {s: (1.0 - x) * c + x * self.end[name][s] for s, c in part.items()}
            for name, part in self.start.items()
        }

    def n_mixed(self, lattice: Lattice) -> int:
        """Count the sites whose species change along x."""
        changing = [name for name, part in self.start.items() if part != self.end[name]]
        return sum(len(lattice.sublattices[name].sites) for name in changing)

    def pure(self) -> tuple[bool, bool]:
        """Whether every sublattice that changes holds one species at x = 0, and at x = 1."""
        changing = [name for name, part in self.start.items() if part != self.end[name]]
        held = [[sum(c > 0 for c in side[name].values()) for name in changing] for side in self]
        return held[0] == [1] * len(changing), held[1] == [1] * len(changing)

    def text(self) -> str:
        """Say what x exchanges, such as "Ti to Zr on B"."""
        return ", ".join(
            f"{_side(part)} to {_side(self.end[name])} on {name}"
            for name, part in self.start.items()
            if part != self.end[name]
        )


def _nothing() -> np.ndarray:
    return np.array([])


@dataclass(frozen=True)
class Series:
    """One way to describe a solid solution; arrays lead with x.

    ``lengths`` [n, 3] a, b and c of the conventional cell and ``lattice_parameter`` [n] in Å, the
    geometric mean of those equivalent to a; ``volume_per_site`` in Å³ and ``energy_per_site`` in
    eV, for each site that changes along x; ``bulk_modulus`` in GPa, NaN where unknown; errors are
    standard errors, zero for a mean crystal; ``arrangements`` and ``failures`` int [n], how many
    were averaged and how many had no minimum.
    """

    rule: str
    x: np.ndarray
    lengths: np.ndarray
    lattice_parameter: np.ndarray
    volume_per_site: np.ndarray
    energy_per_site: np.ndarray
    bulk_modulus: np.ndarray
    lattice_parameter_error: np.ndarray = field(default_factory=_nothing)
    volume_error: np.ndarray = field(default_factory=_nothing)
    energy_error: np.ndarray = field(default_factory=_nothing)
    arrangements: np.ndarray = field(default_factory=_nothing)
    failures: np.ndarray = field(default_factory=_nothing)

    def __post_init__(self) -> None:
        n = len(self.x)
        for name in ("lattice_parameter_error", "volume_error", "energy_error"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(n))
        for name in ("arrangements", "failures"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(n, dtype=int))

    def excess(self, values: np.ndarray) -> np.ndarray:
        """How far values [n] lie above the line between the first and the last."""
        return values - (1.0 - self.x) * values[0] - self.x * values[-1]

    def excess_error(self, errors: np.ndarray) -> np.ndarray:
        """Return the standard errors of `excess`, zero at the ends."""
        found = np.sqrt(errors**2 + ((1 - self.x) * errors[0]) ** 2 + (self.x * errors[-1]) ** 2)
        return np.where((self.x == 0) | (self.x == 1), 0.0, found)


class Bowing(NamedTuple):
    """b of a(x) = (1 − x) a(0) + x a(1) + b x (1 − x), in Å; negative where a is below the line.

    ``error`` is the standard error from those of the averages, zero for a mean crystal;
    ``misfit`` the largest distance in Å of a point from the parabola.
    """

    value: float
    error: float
    misfit: float


@dataclass(frozen=True)
class SolidSolution:
    """A solid solution along x by one or several rules, from `lattice_parameters` and the like.

    ``cell_kind`` tells what was relaxed of the cell.
    """

    lattice: Lattice
    ends: Ends
    cell_kind: str
    series: tuple[Series, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the series."""
        return tuple(one.rule for one in self.series)

    def of(self, rule: str) -> Series:
        """Return the series of a rule."""
        for one in self.series:
            if one.rule == rule:
                return one
        raise InputError(f"no series is called {rule!r}; {suggestion(rule, self.rules)}")

    def beside(self, other: SolidSolution) -> SolidSolution:
        """Put the series of another result, of whatever supercell, beside these.

        Raises
        ------
        InputError
            If the other joins other compositions, or has a series of the same name.
        """
        if other.ends != self.ends:
            raise InputError(
                f"one result goes from {self.ends.text()}, the other from {other.ends.text()}; "
                "compare results with the same start and end"
            )
        if twice := sorted(set(self.rules) & set(other.rules)):
            raise InputError(f"both results have a series {twice[0]!r}; leave it out of one")
        return replace(self, series=self.series + other.series)

    def deviation(self, rule: str) -> tuple[np.ndarray, np.ndarray]:
        """Lattice parameter less that of Vegard's line (1 − x) a(0) + x a(1), and errors, in Å.

        L. Vegard, Z. Phys. 5, 17 (1921), doi:10.1007/BF01349680.
        """
        one = self.of(rule)
        return one.excess(one.lattice_parameter), one.excess_error(one.lattice_parameter_error)

    def mixing_energy(self, rule: str) -> tuple[np.ndarray, np.ndarray]:
        """Energy of mixing in eV per changing site, and its errors: the enthalpy, as P = 0."""
        one = self.of(rule)
        return one.excess(one.energy_per_site), one.excess_error(one.energy_error)

    def bowing(self, rule: str) -> Bowing:
        """Fit the bowing parameter to the deviations, all points alike.

        Points are not weighted by their errors: few deviations are a parabola exactly, and so that
        of a mean crystal is the same measure. Errors of the points, those of the ends included,
        are carried to that of the parameter.

        Raises
        ------
        InputError
            If the series has no point between 0 and 1.
        """
        one = self.of(rule)
        x, deviation = one.x, self.deviation(rule)[0]
        shape = x * (1 - x)
        if not shape.any():
            raise InputError("bowing needs a point between x = 0 and 1")
        onto = shape / (shape**2).sum()
        value = float(onto @ deviation)
        by_point = onto.copy()  # ∂b/∂a of every point
        by_point[0] -= onto @ (1 - x)
        by_point[-1] -= onto @ x
        error = float(np.sqrt((by_point**2 * one.lattice_parameter_error**2).sum()))
        return Bowing(value, error, float(np.abs(deviation - value * shape).max()))

    @property
    def dataset(self) -> xr.Dataset:
        """All series over (rule, x), NaN where one has no such x; units in the attributes."""
        parts = []
        for one in self.series:
            deviation, mixing = self.deviation(one.rule), self.mixing_energy(one.rule)
            columns = {
                "lattice_parameter": (one.lattice_parameter, "Å"),
                "lattice_parameter_error": (one.lattice_parameter_error, "Å"),
                "vegard_deviation": (deviation[0], "Å"),
                "vegard_deviation_error": (deviation[1], "Å"),
                "volume_per_site": (one.volume_per_site, "Å³"),
                "volume_error": (one.volume_error, "Å³"),
                "energy_per_site": (one.energy_per_site, "eV"),
                "mixing_energy_per_site": (mixing[0], "eV"),
                "mixing_energy_error": (mixing[1], "eV"),
                "bulk_modulus": (one.bulk_modulus, "GPa"),
                "arrangements": (one.arrangements.astype(float), ""),
                "failures": (one.failures.astype(float), ""),
            }
            variables: dict[str, Any] = {
                name: ("x", values, {"units": unit}) for name, (values, unit) in columns.items()
            }
            variables["length"] = (("x", "axis"), one.lengths, {"units": "Å"})
            coords = {"x": one.x, "axis": ["a", "b", "c"], "rule": one.rule}
            parts.append(xr.Dataset(variables, coords))
        return xr.concat(parts, dim="rule", join="outer", combine_attrs="override")

    @property
    def statement(self) -> str:
        """What was found, in sentences that can be quoted."""
        return _statement(self)

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """What a reader must know before using the numbers."""
        return _caveats(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; unknown numbers are None."""
        rows = []
        for one in self.series:
            deviation, mixing = self.deviation(one.rule), self.mixing_energy(one.rule)
            inside = ((one.x > 0) & (one.x < 1)).any()
            rows.append(
                {
                    "rule": one.rule,
                    "meaning": RULES[one.rule],
                    "x": one.x.tolist(),
                    "lattice_parameter_A": _known(one.lattice_parameter),
                    "lattice_parameter_error_A": _known(one.lattice_parameter_error),
                    "lengths_A": one.lengths.tolist(),
                    "vegard_deviation_A": _known(deviation[0]),
                    "vegard_deviation_error_A": _known(deviation[1]),
                    "bowing_A": _plain(self.bowing(one.rule)) if inside else None,
                    "volume_per_site_A3": _known(one.volume_per_site),
                    "energy_per_site_eV": _known(one.energy_per_site),
                    "mixing_energy_per_site_eV": _known(mixing[0]),
                    "mixing_energy_error_eV": _known(mixing[1]),
                    "bulk_modulus_GPa": _known(one.bulk_modulus),
                    "arrangements": one.arrangements.tolist(),
                    "failures": one.failures.tolist(),
                }
            )
        return {
            "statement": self.statement,
            "start": self.ends.start,
            "end": self.ends.end,
            "relaxed": self.cell_kind,
            "series": rows,
            "caveats": [caveat._asdict() for caveat in self.caveats],
        }


def _known(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _plain(bowing: Bowing) -> dict[str, float | None]:
    return dict(zip(bowing._fields, _known(np.array(bowing)), strict=True))


def _side(part: dict[str, float]) -> str:
    held = {s: c for s, c in part.items() if c > 0}
    return " ".join(s if c == 1 else f"{s}{c:.3g}" for s, c in held.items())


def _statement(found: SolidSolution) -> str:
    sentences = []
    for one in found.series:
        a = one.lattice_parameter
        text = (
            f"{RULES[one.rule].capitalize()}: from {found.ends.text()}, the lattice parameter goes "
            f"from {a[0]:.4f} Å to {a[-1]:.4f} Å"
        )
        deviation, errors = found.deviation(one.rule)
        if len(one.x) > 2:
            furthest = int(np.argmax(np.abs(deviation)))
            sampled = one.arrangements[furthest] > 0
            size = (
                _with_error(deviation[furthest], errors[furthest])
                if sampled
                else f"{deviation[furthest]:+.4f} Å"
            )
            bowing = found.bowing(one.rule)
            amount = (
                _with_error(bowing.value, bowing.error) if sampled else f"{bowing.value:+.4f} Å"
            )
            text += (
                f", {size} from Vegard's line at x = {one.x[furthest]:g} where it is farthest "
                f"(bowing parameter {amount})"
            )
        sentences.append(text + ".")
    if text := _compared(found):
        sentences.append(text)
    return " ".join(sentences)


def _with_error(value: float, error: float) -> str:
    """Write a length to no more digits than relaxed cells have: equivalent arrangements scatter."""
    if error < SMALL:
        return f"{value:.4f} Å (error below {SMALL:g} Å)"
    return with_error(value, error, " Å")


def _compared(found: SolidSolution) -> str:
    """Say how far the first series is from the others at the points that they share."""
    first, *others = found.series
    parts = []
    for other in others:
        shared, mine, its = np.intersect1d(first.x, other.x, return_indices=True)
        apart = first.lattice_parameter[mine] - other.lattice_parameter[its]
        at = int(np.argmax(np.abs(apart)))
        name = "the average over arrangements"
        name = name if other.rule == "arrangements" else f"rule {other.rule}"
        if abs(apart[at]) < SMALL:
            parts.append(f"agrees with {name} to {SMALL:g} Å")
            continue
        error = float(np.hypot(first.lattice_parameter_error[mine[at]],
                               other.lattice_parameter_error[its[at]]))  # fmt: skip
        far = abs(float(apart[at]))
        size = _with_error(far, error) if error else f"{far:.4f} Å"
        parts.append(f"differs from {name} by at most {size}, at x = {shared[at]:g}")
    words = "The average over arrangements" if first.rule == "arrangements" else None
    return f"{words or f'Rule {first.rule}'} {' and '.join(parts)}." if parts else ""


def _caveats(found: SolidSolution) -> tuple[Caveat, ...]:
    symbols = set(found.lattice.atoms[found.lattice.spectators].get_chemical_symbols())
    symbols |= {s for part in found.ends for row in part.values() for s, c in row.items() if c}
    kept = []
    if magnetic := sorted(symbols & MAGNETIC):
        text = (
            f"{', '.join(magnetic)} may carry a magnetic moment; the potential knows one "
            "implied magnetic state."
        )
        kept.append(Caveat("warning", "magnetic", text))
    if set(found.rules) & {"sites", "paper"}:
        text = (
            "A mean crystal is no average over arrangements: bonds of unlike lengths do not relax "
            "in it, and how E(λ) is continued between pure crystals is a choice."
        )
        level = "note" if "arrangements" in found.rules else "warning"
        kept.append(Caveat(level, "mean-crystal", text))
    if failed := sum(int(one.failures.sum()) for one in found.series):
        text = f"{failed} arrangements found no minimum and are left out of the averages."
        kept.append(Caveat("warning", "no-minimum", text))
    ends = np.array([one.lattice_parameter[[0, -1]] for one in found.series])
    # Between mixed ends the series differ for their own reasons.
    if (apart := float((np.ptp(ends, axis=0) * found.ends.pure()).max())) > DIFFERENT:
        text = (
            f"The pure crystals of the series differ by up to {apart:.3f} Å: relaxations keep the "
            "symmetry of their start and what fits the cell (tilts, polar displacements): compare "
            "mean crystals and arrangements in the same cell and from displaced positions."
        )
        kept.append(Caveat("warning", "other-phase", text))
    text = "Minima of the potential energy: no thermal expansion, no zero-point motion."
    kept.append(Caveat("note", "zero-temperature", text))
    return tuple(kept)
