"""The points of a campaign: their ensembles, their coordinates, and what is refused beforehand."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from .. import ensembles, sampler
from ..compositions import held_too_closely
from ..errors import InputError
from ..lattice import Lattice
from ..protocols import Ensemble
from .config import Config
from .ensemble_section import Visit
from .sampler_section import moves

__all__ = [
    "check_names",
    "check_start",
    "coordinates_of_points",
    "default_kappa",
    "ensemble_of_point",
    "equal_parts",
    "told_of_ensemble",
]

MOST_KAPPA = 200.0
"""In large cells: it leaves a fraction a standard deviation of 0.05/√N."""

_Ensemble = (
    ensembles.Canonical
    | ensembles.SemiGrandCanonical
    | ensembles.VarianceConstrained
    | ensembles.ChargeNeutral
)


def ensemble_of_point(config: Config, lattice: Lattice, index: int) -> Ensemble:
    """Ensemble of a point of a resolved campaign, by its index; what it warns of is left out."""
    visit = list(config.ensemble.visits())[index]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # told once, before the run
        return _ensemble(config, lattice, visit)


def coordinates_of_points(config: Config, lattice: Lattice) -> tuple[dict[str, float], ...]:
    """Scalar coordinates of every point in the order of the visits.

    Those of its ensemble, and ``sweep``, 0 on the way there and 1 on the way back, where there is a
    way back.
    """
    points = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for visit in config.ensemble.visits():
            point = dict(_ensemble(config, lattice, visit).coordinates())
            points.append(point | ({} if visit.way is None else {"sweep": float(visit.way)}))
    return tuple(points)


def told_of_ensemble(config: Config, lattice: Lattice) -> list[str]:
    """Lines that the ensemble warns with.

    Raises
    ------
    InputError
        If it cannot be made, or nothing changes the composition at the charge that is kept.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ensemble = _ensemble(config, lattice, next(config.ensemble.visits()))
    if config.ensemble.kind == "charge-neutral":
        try:
            sampler.TableExchange(_Sites(lattice), ensemble)  # type: ignore[arg-type]
        except InputError as error:
            raise InputError(f"kind = 'charge-neutral' cannot be sampled: {error}") from error
    found = [str(w.message) for w in caught if w.category is UserWarning]
    found.append(held_too_closely(lattice.sublattices, ensemble.coordinates()))
    return [line for line in dict.fromkeys(found) if line]


class _Sites(NamedTuple):
    """All that exchanges ask of an energy model before they run."""

    lattice: Lattice


def _ensemble(config: Config, lattice: Lattice, visit: Visit) -> _Ensemble:
    section = config.ensemble
    fixed = {"fixed": tuple(section.fixed)} if section.fixed else {}
    if section.kind == "canonical":
        return ensembles.Canonical(lattice, visit.temperature)
    if section.kind == "variance-constrained":
        phi, kappa = section.at("phi", visit), section.kappa or default_kappa(config, lattice)
        return ensembles.VarianceConstrained(lattice, visit.temperature, phi, kappa, **fixed)
    mu = section.at("chemical_potentials", visit)
    if section.kind == "charge-neutral":
        charge = section.charge
        return ensembles.ChargeNeutral(lattice, visit.temperature, mu, charge=charge, **fixed)
    return ensembles.SemiGrandCanonical(lattice, visit.temperature, mu, **fixed)


def default_kappa(config: Config, lattice: Lattice) -> float:
    """κ of a campaign that gives none: half the sites of the smallest free sublattice, 200 at most.

    The fractions then spread over a step between compositions or more (`held_too_closely`).
    """
    sizes = [
        len(sublattice.sites)
        for name, sublattice in lattice.sublattices.items()
        if name not in (config.ensemble.fixed or []) and len(sublattice.species) > 1
    ]
    return min(MOST_KAPPA, *(size / 2.0 for size in sizes))


def check_names(config: Config, lattice: Lattice) -> None:
    """Refuse sublattices and species that the structure has not, and fixed ones that are scanned.

    Raises
    ------
    InputError
        Which name is wrong, and the nearest that exists.
    """
    section = config.ensemble
    fixed = section.fixed or []
    for name in fixed:
        _known(f"ensemble.fixed: '{name}'", name, lattice.names, "sublattice")
    mixed = [name for name in lattice.names if len(lattice.sublattices[name].species) > 1]
    if section.kind != "canonical" and set(mixed) <= set(fixed):
        raise InputError(
            f"ensemble.fixed names every sublattice that mixes ({', '.join(mixed)}), so nothing "
            "fluctuates: leave one out, or use kind = 'canonical'"
        )
    for key in ("chemical_potentials", "phi"):
        for name, entries in (getattr(section, key) or {}).items():
            where = f"ensemble.{key}.{name}"
            _known(where, name, lattice.names, "sublattice")
            if name in fixed:
                raise InputError(
                    f"{where}: sublattice {name} is fixed, where it has no effect; leave out one "
                    "of the two"
                )
            for species in entries:
                known = lattice.sublattices[name].species
                _known(f"{where}.{species}", species, known, f"species on {name}")


def _known(where: str, name: str, known: Iterable[str], what: str) -> None:
    names = list(known)
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
    raise InputError(f"{where}: there is no such {what}; {hint}")


def check_start(config: Config, lattice: Lattice, counts: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a start that the ensemble does not hold or that its sampler cannot move.

    Parameters
    ----------
    config, lattice
        The campaign, with its composition written out, and its lattice.
    counts
        Sites per species on every sublattice at the start.

    Raises
    ------
    InputError
        If a fixed sublattice holds several species and nothing swaps them, or the charge of the
        start is not the one that a charge-neutral run keeps.
    """
    section = config.ensemble
    stuck = [n for n in section.fixed or [] if np.count_nonzero(counts[n]) > 1]
    kinds = frozenset().union(*(moves(part, section.kind) for part in config.sampler.parts))
    if stuck and "swap" not in kinds:
        raise InputError(
            f"sampler: nothing rearranges the species of the fixed sublattice {stuck[0]}; use "
            "surrogate, or a mixture with a kernel that swaps, such as random-swap"
        )
    if section.kind == "charge-neutral" and section.charge is not None:
        held = charge_of(lattice, counts)
        if held is not None and abs(held - section.charge) > 1e-6:
            raise InputError(
                f"the sites of the start carry {held:+g} e, and a charge-neutral run keeps "
                f"{section.charge:+g}: change the composition in [sublattices], or ensemble.charge"
            )


def charge_of(lattice: Lattice, counts: Mapping[str, tuple[int, ...]]) -> float | None:
    """Total charge of the sites at given counts; None where a sublattice has no charges."""
    total = 0.0
    for name, numbers in counts.items():
        charges = lattice.sublattices[name].charges
        if charges is None:
            return None
        total += float(np.dot(charges, numbers))
    return total


def equal_parts(lattice: Lattice, name: str) -> dict[str, float]:
    """Fractions of a sublattice in whole numbers of sites, as equal as can be.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.rocksalt(("Mg", "Ca", "Sr"), "O", a=4.6)
    >>> equal_parts(lattice, "cation")
    {'Mg': 0.5, 'Ca': 0.25, 'Sr': 0.25}
    """
    sublattice = lattice.sublattices[name]
    n_sites, n_species = len(sublattice.sites), len(sublattice.species)
    return {
        species: (n_sites // n_species + (k < n_sites % n_species)) / n_sites
        for k, species in enumerate(sublattice.species)
    }
