"""What a reader must know before using the numbers: caveats of a run, in order of weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ase.data import chemical_symbols

from ..lattice import Lattice
from ..records import Run
from ..statistics import MIN_ESS, RHAT_LIMIT, Summary
from .layout import few
from .transition import ApparentTransition, kelvin
from .wording import counted

__all__ = [
    "Caveat",
    "above_melting",
    "general_caveats",
    "landscape",
    "landscape_of",
    "missed_precision",
    "outside_domain",
    "shortcoming",
    "unconverged",
]

MELTING = 2500.0
"""K; a higher ordering temperature of an oxide on fixed ideal positions is called above melting."""

MAGNETIC = frozenset(
    [
        *("Cr", "Mn", "Fe", "Co", "Ni", "Cu"),
        *chemical_symbols[58:71],  # Ce … Yb
        *chemical_symbols[91:104],  # Pa … Lr
    ]
)
NEVER_CHANGED = "never changed, or has too few draws: its error is unknown"
RELAXED = {
    False: "relaxed positions, fixed cell",
    "isotropic": "relaxed positions and volume, zero pressure",
    "full": "relaxed positions and cell, zero pressure",
}
SAMPLED = "sampled positions"
LOCAL_POTENTIALS = frozenset({"mace", "chgnet"})


class Caveat(NamedTuple):
    """``level`` is "critical", "warning" or "note"; ``code`` names the kind for programs."""

    level: str
    code: str
    text: str


def landscape(config: Mapping[str, Any]) -> str:
    """Which positions and cell the energies belong to, from the configuration of a run.

    Examples
    --------
    >>> landscape({"structure": {"displacement": 0.0}})
    'ideal positions, fixed cell'
    >>> landscape({"potential": {"relax": {"cell": "isotropic"}}})
    'relaxed positions and volume, zero pressure'
    """
    structure = config.get("structure", {})
    relax = _relaxation(config)
    if relax is not None:
        return RELAXED[relax.get("cell") or False]
    if not structure:
        return "positions and cell as the energy model was given them"
    amplitude = float(structure.get("displacement") or 0.0)
    if amplitude > 0:
        return f"fixed positions displaced by {amplitude:g} Å (per Cartesian component), fixed cell"
    if structure.get("file"):
        return "positions of the structure file, fixed cell"
    return "ideal positions, fixed cell"


def landscape_of(run: Run) -> str:
    """Which positions and cell the energies of a run belong to.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.records import point_dataset
    >>> import numpy as np
    >>> lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.5)
    >>> arrays = {"occupation": np.zeros((1, 1, 4), int), "energy": np.zeros((1, 1))}
    >>> arrays |= {"positions": np.zeros((1, 1, 8, 3))}
    >>> point = point_dataset(arrays, {"temperature": 900.0, "pressure": 0.0})
    >>> landscape_of(Run((point,), lattice))
    'sampled positions and cell, 0 GPa'
    """
    moving = [point for point in run.points if "positions" in point]
    if not moving:
        return landscape(run.config)
    pressures = sorted({float(point["pressure"]) for point in moving if "pressure" in point.coords})
    if not pressures:
        return f"{SAMPLED}, fixed cell"
    ends = dict.fromkeys(f"{p:g}" for p in (pressures[0], pressures[-1]))
    return f"{SAMPLED} and cell, {' to '.join(ends)} GPa"


def _relaxation(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    relax = config.get("potential", {}).get("relax")
    if isinstance(relax, Mapping):
        return relax
    return {} if relax else None


def shortcoming(result: Summary) -> str:
    """Why a number did not converge; empty if it did.

    Examples
    --------
    >>> shortcoming(Summary(1.0, 0.1, 20.0, 1.2, False))
    'R-hat 1.200 above 1.01, 20 effective draws of at least 100'
    >>> shortcoming(Summary(1.0, 0.1, 200.0, 1.0102, False))
    'R-hat 1.0102 above 1.01'
    """
    if result.converged:
        return ""
    if not result.ess > 0:
        return NEVER_CHANGED
    reasons = []
    if math.isnan(result.rhat):
        reasons.append("R-hat unknown")
    elif result.rhat >= RHAT_LIMIT:
        digits = 3 if round(result.rhat, 3) > RHAT_LIMIT else 4
        reasons.append(f"R-hat {result.rhat:.{digits}f} above {RHAT_LIMIT}")
    if not result.ess >= MIN_ESS:
        reasons.append(f"{counted(math.floor(result.ess), 'effective draw')} of at least {MIN_ESS}")
    return ", ".join(reasons) or "its chains or those it derives from did not converge"


def above_melting(transition: ApparentTransition, where: str) -> list[Caveat]:
    """First line of a report when the ordering temperature is, or may be, above 2,500 K."""
    lower, upper = transition.bracket
    falling = transition.order_fall.upper if transition.order_fall else None
    hottest = upper or falling or lower or 0.0
    if transition.status not in {"bracketed", "above"} or hottest <= MELTING:
        return []
    value = f"{lower:,.6g}–{kelvin(upper)}" if upper else f"above {kelvin(lower or 0.0)}"
    reach = "is" if (lower or 0.0) >= MELTING else "reaches"
    return [
        Caveat(
            "critical",
            "above-melting",
            f"The apparent ordering temperature ({value}) {reach} above 2,500 K: above melting. "
            f"It is what this potential gives for {where}{_missing(where)}; a real crystal would "
            "melt first.",
        )
    ]


def _missing(where: str) -> str:
    if where.startswith(SAMPLED):
        return ""
    what = "Vibrations may" if where in RELAXED.values() else "Relaxation and vibrations"
    return f". {what} lower such a temperature, often several-fold"


def _named(point: float | str) -> str:
    """Point as people call it: a name, or a temperature in K."""
    return point if isinstance(point, str) else kelvin(point)


def unconverged(quantities_by_point: Mapping[float | str, Mapping[str, Summary]]) -> list[Caveat]:
    """One warning per point (K, or its name) whose chains did not converge, with the reasons."""
    found = []
    for point, quantities in quantities_by_point.items():
        bad = {name: s for name, s in quantities.items() if not s.converged}
        still = [name for name, s in bad.items() if not s.ess > 0]
        moving = {name: s for name, s in bad.items() if s.ess > 0}
        reasons = [f"{', '.join(still)} {NEVER_CHANGED}"] if still else []
        if moving:
            worst = shortcoming(Summary(0.0, 0.0, *_worst(moving), converged=False))
            reasons.append(f"{', '.join(moving)}: {worst}")
        if reasons:
            name = _named(point)
            pause = "," if ", " in name else ""
            text = f"At {name}{pause} the chains did not converge ({'; '.join(reasons)})."
            found.append(Caveat("warning", "unconverged", text))
    return found


def _worst(quantities: Mapping[str, Summary]) -> tuple[float, float]:
    """Least ESS and largest R-hat; NaN, for unknown, where one is and no other is above limit."""
    rhats = [s.rhat for s in quantities.values()]
    largest = max((r for r in rhats if not math.isnan(r)), default=math.nan)
    unknown = any(map(math.isnan, rhats)) and not largest >= RHAT_LIMIT
    return min(s.ess for s in quantities.values()), math.nan if unknown else largest


def missed_precision(
    asked: Mapping[str, float], ended_by: Sequence[str], points: Sequence[float | str]
) -> list[Caveat]:
    """Warn of the points (K, or names) that ended by the number of draws, not by the precision.

    Both sequences are in the order of the sweep; points that have not ended are not counted.
    """
    ended = zip(points, ended_by, strict=False)
    missed = [_named(point) for point, reason in ended if reason != "precision"]
    if not (asked and missed):
        return []
    goals = ", ".join(
        f"{name} {goal:g}{' eV per cell' if name == 'energy' else ''}"
        for name, goal in asked.items()
    )
    text = f"The precision asked for ({goals}) was not reached at {few(missed)}."
    return [Caveat("warning", "precision", text)]


def general_caveats(
    lattice: Lattice,
    config: Mapping[str, Any],
    temperatures: Sequence[float],
    n_chains: int,
    *,
    where: str,
    guarded: str = "",
) -> list[Caveat]:
    """Caveats that follow from the material, the potential and the kind of run alone.

    ``where`` is the landscape; ``guarded`` says what of the run was compared with the bounds of its
    potential.
    """
    found = []
    magnetic = sorted(_elements(lattice) & MAGNETIC)
    if magnetic:
        text = (
            f"{', '.join(magnetic)} may carry a magnetic moment; the potential knows one implied "
            "magnetic state, so magnetic contributions to the ordering are not described."
        )
        found.append(Caveat("warning", "magnetic", text))
    if n_chains < 2:
        text = "Only one chain: R-hat compares its halves and cannot see a state it never visited."
        found.append(Caveat("warning", "one-chain", text))
    if max(temperatures) > MELTING:
        text = (
            f"Temperatures up to {kelvin(max(temperatures))} were sampled; above about 2,500 K "
            f"oxides melt, and {_when_hot(where)}."
        )
        found.append(Caveat("note", "hot-points", text))
    text = f"Energies are for {where}."
    relax = _relaxation(config)
    if relax:
        text += (
            f" Each is that of the minimum reached from a start displaced by "
            f"{relax.get('displacement', 0.0):g} Å per Cartesian component"
            + (
                f", lowest of {relax['references']} starts"
                if relax.get("references", 1) > 1
                else ""
            )
            + f", relaxed to forces below {relax.get('fmax', 0.0):.2g} eV/Å; other starts may lead "
            "to other minima."
        )
    found.append(Caveat("note", "landscape", text))
    if len(temperatures) > 1:
        text = (
            f"One cell size ({lattice.n_sites} mixed sites, {len(lattice.atoms)} atoms): "
            "temperatures are apparent. Order and heat capacity shift with size."
        )
        found.append(Caveat("note", "one-size", text))
    if config.get("potential", {}).get("kind") in LOCAL_POTENTIALS:
        text = (
            "The potential is local: it has no long-range Coulomb interaction, which between "
            "species of different charge favours order beyond its cutoff."
        )
        found.append(Caveat("note", "coulomb", text))
        text = (
            "A learned potential is trustworthy near what it was trained on. "
            + (
                f"Its {guarded} were compared with what it knows; being inside is needed, not "
                "enough. "
                if guarded
                else "Nothing here measures how far these arrangements lie from that. "
            )
            + "Judge by its model card."
        )
        found.append(Caveat("note", "extrapolation", text))
    return found


def _when_hot(where: str) -> str:
    if where.startswith(SAMPLED):
        return "atoms may leave the sites they are counted on"
    return "those points describe the model on a fixed lattice only"


def outside_domain(
    bounds: Mapping[str, Any], findings: Sequence[Mapping[str, Any]], points: Sequence[float | str]
) -> list[Caveat]:
    """Caveats on energies and forces outside of what the energy model knows, and lost minima.

    Parameters
    ----------
    bounds
        What the run records as ``model.domain``.
    findings
        What its guard found, by the point's index.
    points
        Temperatures (K) or names of the points, in the order of the sweep.
    """
    rows = [row for row in findings if row["point"] < len(points)]
    found = []
    parts = [
        _outside(rows, kind, unit)
        for kind, unit in (("energies", "eV per atom"), ("forces", "eV/Å"))
    ]
    if any(parts):
        flagged = [row for row in rows if row.get("energies_outside") or row.get("forces_outside")]
        at = few([_named(points[row["point"]]) for row in flagged])
        text = (
            f"At {at} {' and '.join(filter(None, parts))} lie outside of what the potential knows "
            f"({_limits(bounds)}; {bounds.get('source', 'no source stated')}). It extrapolates "
            "there: do not trust what follows from it."
        )
        found.append(Caveat("critical", "domain", text))
    for row in rows:
        if row.get("not_relaxed"):
            at = _named(points[row["point"]])
            text = (
                f"At {at} {row['not_relaxed']} relaxations found no minimum; the moves that led "
                "there were refused, so those arrangements are missing "
                "from the samples."
            )
            found.append(Caveat("warning", "not-relaxed", text))
    return found


def _outside(rows: Sequence[Mapping[str, Any]], kind: str, unit: str) -> str:
    """How many energies, or configurations by their forces, and how far; empty for none."""
    bad = [row for row in rows if row.get(f"{kind}_outside")]
    if not bad:
        return ""
    count, worst = sum(row[f"{kind}_outside"] for row in bad), [row[f"{kind}_worst"] for row in bad]
    far = "no numbers" if None in worst else f"worst {max(worst, key=abs):.3g} {unit}"
    what = "stored energies" if kind == "energies" else "configurations by their forces"
    return f"{count} {what} ({far})"


def _limits(bounds: Mapping[str, Any]) -> str:
    parts = [f"force components up to {bounds.get('force', 0.0):g} eV/Å"]
    if "energy" in bounds:
        low, high = bounds["energy"]
        parts.insert(0, f"energies from {low:g} to {high:g} eV per atom above references")
    else:
        limit = (
            f"energies within {bounds.get('deviation', 0.0):g} eV per atom of random arrangements"
        )
        parts.insert(0, limit)
    return ", ".join(parts)


def _elements(lattice: Lattice) -> set[str]:
    mixed = {s for sub in lattice.sublattices.values() for s in sub.species}
    symbols = lattice.atoms.get_chemical_symbols()
    return mixed | {symbols[i] for i in lattice.spectators}
