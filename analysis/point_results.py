"""What is measured at one point of a run: numbers with errors and verdicts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from ase.units import GPa, kB

from ..errors import InputError
from ..lattice import Lattice
from ..records import Run
from ..statistics import MIN_ESS, Summary
from .caveats import Caveat, shortcoming
from .estimates import describe, scaled, sites_of, summarize_series
from .order.commensurate import NAMED_ORDERS
from .order.long_range import ordering_amplitude, ordering_series
from .order.short_range import warren_cowley
from .thermodynamics import binder_cumulant, heat_capacity, mean_energy

__all__ = [
    "PointResult",
    "Tracked",
    "finite",
    "fitting_orders",
    "fraction_name",
    "moving_fractions",
    "number",
    "open_sublattices",
    "tracked_fractions",
]

UNKNOWN = Summary(math.nan, math.nan, math.nan, math.nan, False)
ONE_SPECIES = "not defined in draws that hold one species"
AT_AN_END = "the fraction never left 0 or 1, where no slope follows from it"

Tracked = tuple[str, str]
"""Sublattice and species whose fraction is followed."""


def open_sublattices(run: Run) -> list[str]:
    """Sublattices whose composition is not fixed: those named by a chemical potential or φ.

    Where some of these change and others never do, the others are taken to be fixed.
    """
    lattice, found = run.lattice, []
    named = {str(name) for point in run.points for name, c in point.coords.items() if not c.ndim}
    for name, sublattice in lattice.sublattices.items():
        coordinates = {f"{p}_{name}_{s}" for p in ("mu", "phi") for s in sublattice.species}
        if coordinates & named and len(sublattice.species) > 1:
            found.append(name)
    return [name for name in found if _changes(run, name)] or found


def moving_fractions(run: Run, sublattices: Sequence[str]) -> set[Tracked]:
    """Fractions that are not the same in all draws of a run and at its start."""
    found: set[Tracked] = set()
    for name in sublattices:
        counts = np.array(list(set().union(*_counts_seen(run, name))))
        moves = (counts != counts[0]).any(axis=0)
        species = run.lattice.sublattices[name].species
        found |= {(name, symbol) for symbol, moved in zip(species, moves, strict=True) if moved}
    return found


def _changes(run: Run, sublattice: str) -> bool:
    """Whether a sublattice has had two compositions, at the start or in a draw of a run."""
    seen: set[tuple[int, ...]] = set()
    for counts in _counts_seen(run, sublattice):
        seen |= counts
        if len(seen) > 1:
            return True
    return False


def _counts_seen(run: Run, sublattice: str) -> Iterator[set[tuple[int, ...]]]:
    """Species counts of a sublattice at the start, where it is known, and then point by point."""
    species = run.lattice.sublattices[sublattice].species
    sites = sites_of(run.lattice, sublattice)
    start = run.config.get("sublattices", {}).get(sublattice, {}).get("composition") or {}
    if start:
        yield {tuple(round(start.get(s, 0.0) * len(sites)) for s in species)}
    for point in run.points:
        held = point["occupation"].transpose("draw", "chain", "site").to_numpy()[..., sites]
        counts = np.stack([(held == k).sum(axis=-1) for k in range(len(species))], axis=-1)
        rows = np.unique(counts.reshape(-1, len(species)), axis=0)
        yield {tuple(row) for row in rows.tolist()}


def tracked_fractions(lattice: Lattice, sublattices: Sequence[str], axis: str) -> list[Tracked]:
    """Fractions that describe the composition: the scanned one first, no redundant ones."""
    found: list[Tracked] = []
    for name in sublattices:
        species = lattice.sublattices[name].species
        scanned = [s for s in species if axis.endswith(f"_{name}_{s}")]
        first = scanned or [species[-1]]
        others = [s for s in species if s not in first]
        kept = [*first, *others[: len(species) - 2]]
        found = [(name, s) for s in kept] + found if scanned else found + [(name, s) for s in kept]
    return found


def fraction_name(tracked: Tracked) -> str:
    """Name of a fraction.

    Examples
    --------
    >>> fraction_name(("B", "Ta"))
    'fraction of Ta on B'
    """
    return f"fraction of {tracked[1]} on {tracked[0]}"


def fitting_orders(
    lattice: Lattice, names: Sequence[str], occupation: np.ndarray, free: Sequence[str] = ()
) -> tuple[dict[str, tuple[str, str]], list[Caveat]]:
    """Label -> (order, sublattice) of the orders that can be measured, and why others cannot.

    ``occupation`` [n_sites] is any sample: it tells which sublattices hold several species, but for
    the ``free`` ones, which do so in other samples.
    """
    measured: dict[str, tuple[str, str]] = {}
    left_out = []
    refused: dict[str, list[str]] = {}
    for name in names:
        if name not in NAMED_ORDERS:
            raise InputError(f"order {name!r} is unknown; the names are {', '.join(NAMED_ORDERS)}")
        for sublattice in lattice.names:
            label = name if len(lattice.names) == 1 else f"{sublattice} {name}"
            try:
                probe = ordering_series(lattice, occupation, name, sublattice)
            except InputError as error:
                refused.setdefault(str(error).replace(repr(name), "this"), []).append(label)
                continue
            if np.isnan(probe).any() and sublattice not in free:
                reason = f"sublattice {sublattice!r} holds one species, which has no order"
                refused.setdefault(reason, []).append(label)
                continue
            measured[label] = (name, sublattice)
            if not probe.attrs["complete_star"]:
                text = f"Some arms of the {label} star do not fit this cell and are not counted."
                left_out.append(Caveat("note", "incomplete-star", text))
    for reason, labels in refused.items():
        text = f"Not measured: {', '.join(labels)} ({reason})."
        left_out.append(Caveat("note", "order-left-out", text))
    return measured, left_out


class PointResult:
    """The results at one point.

    Parameters
    ----------
    lattice, point
        The lattice and the samples.
    coordinates
        Those of the point.
    orders
        What `fitting_orders` found.
    n_shells
        Shells of the Warren–Cowley table.
    free
        Sublattices whose composition fluctuates.
    tracked
        Their fractions that have to converge.
    """

    def __init__(  # noqa: PLR0917
        self,
        lattice: Lattice,
        point: xr.Dataset,
        coordinates: Mapping[str, float],
        orders: Mapping[str, tuple[str, str]],
        n_shells: int,
        free: Sequence[str] = (),
        tracked: Sequence[Tracked] = (),
    ):
        occupation = point["occupation"].transpose("draw", "chain", "site")
        energy = point["energy"].transpose("draw", "chain").to_numpy()
        self.coordinates = dict(coordinates)
        self.temperature = self.coordinates["temperature"]
        self.n_draws, self.n_chains = energy.shape
        self.energy = scaled(mean_energy(energy), 1.0 / lattice.n_sites)
        # With a fluctuating composition Var(E) is no derivative of the energy.
        enthalpy = energy + _pressure_work(point)
        self.heat_capacity = UNKNOWN if free else self._heat_capacity(enthalpy, lattice.n_sites)
        self.closed = not free
        self.acceptance = _optional_mean(point, "acceptance")
        self.calls = {name: _total(point, name) for name in ("energy_calls", "gradient_calls")}
        self.composition = {name: _fractions(lattice, occupation, name) for name in free}
        self._tracked = tuple(tracked)
        self.settled: list[str] = []
        self.pure = ""
        self._single = _one_species_each(lattice, occupation.to_numpy())
        self.orders: dict[str, Summary] = {}
        self.random: dict[str, float] = {}
        self.binder: dict[str, Summary] = {}
        for label, (name, sublattice) in orders.items():
            self._measure_order(lattice, occupation, label, name, sublattice, free)
        self.warren_cowley = _warren_cowley_rows(lattice, occupation, n_shells)

    def settle(self, moving: Collection[Tracked]) -> None:
        """Tell series that have nothing to vary from those that are stuck.

        A fraction among ``moving`` that stays at 0 or 1 in 100 draws or more is ``settled``: it has
        no error and does not count against convergence. Where such fractions leave a single
        arrangement, neither does its energy, and ``pure`` names the phase.
        """
        if self.n_draws * self.n_chains < MIN_ESS:
            return
        alone = 0
        for name, row in self.composition.items():
            ends = {s: n.mean for s, n in row.items() if n.mean in (0.0, 1.0)}
            ends = {s: mean for s, mean in ends.items() if (name, s) in moving}
            row |= {species: _certain(mean) for species, mean in ends.items()}
            whole = [f"{species} on {name}" for species, mean in ends.items() if mean == 1.0]
            self.settled += whole or [f"no {species} on {name}" for species in ends]
            alone += len(whole)
        if self._single and alone == len(self.composition) > 0:
            self.pure = ", ".join(self.settled)
            if not self.energy.ess > 0:  # positions that move have energies of their own
                self.energy = _certain(self.energy.mean)

    def _heat_capacity(self, enthalpy: np.ndarray, n_sites: int) -> Summary:
        if self.n_draws < 4:
            return UNKNOWN
        return scaled(heat_capacity(enthalpy, self.temperature), 1.0 / (n_sites * kB))

    def _measure_order(  # noqa: PLR0917
        self,
        lattice: Lattice,
        occupation: xr.DataArray,
        label: str,
        name: str,
        sublattice: str,
        free: Sequence[str],
    ) -> None:
        series = ordering_series(lattice, occupation, name, sublattice)
        self.orders[label] = _summary(describe(series))
        known = np.isfinite(series).all()
        self.binder[label] = binder_cumulant(series.to_numpy()) if known else UNKNOWN
        first = occupation.isel(draw=slice(0, 1), chain=slice(0, 1))
        random = ordering_amplitude(lattice, first, name, sublattice)["random"]
        # The value of a random arrangement depends on the composition, which here has no one value.
        self.random[label] = math.nan if sublattice in free else float(random)

    @property
    def fractions(self) -> dict[str, Summary]:
        """Fractions that are followed, by name."""
        return {
            fraction_name((name, species)): self.composition[name][species]
            for name, species in self._tracked
        }

    @property
    def decisive(self) -> dict[str, Summary]:
        """The series whose chains must have converged for the point to count.

        Orders do not count where the composition fluctuates: they are defined in some draws only.
        """
        return {"energy": self.energy, **self.fractions, **(self.orders if self.closed else {})}

    @property
    def converged(self) -> bool:
        """Whether all of them have."""
        return all(s.converged for s in self.decisive.values())

    @property
    def slopes(self) -> dict[str, dict[str, Summary]]:
        r"""Slopes of the free energy per site where the variance is constrained, in eV.

        :math:`∂f/∂c_k = −2κ k_BT (⟨c_k⟩ + φ_k/2)`, by parts from the mean of the derivative of the
        weight over c. By sublattice and species, for every φ; against the last species of a
        sublattice.
        """
        found: dict[str, dict[str, Summary]] = {}
        for name, fractions in self.composition.items():
            kappa = self.coordinates.get(f"kappa_{name}", self.coordinates.get("kappa", math.nan))
            for species, fraction in fractions.items():
                phi = self.coordinates.get(f"phi_{name}_{species}")
                if phi is not None:
                    moved = fraction._replace(mean=fraction.mean + phi / 2.0)
                    slope = scaled(moved, -2.0 * kappa * kB * self.temperature)
                    found.setdefault(name, {})[species] = slope
        return found

    def _slope_number(self, name: str, species: str, slope: Summary) -> dict[str, Any]:
        if 0.0 < self.composition[name][species].mean < 1.0:
            return number(slope)
        return number(slope._replace(converged=False)) | {"why": AT_AN_END}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "temperature": self.temperature,
            "coordinates": self.coordinates,
            "n_draws": self.n_draws,
            "n_chains": self.n_chains,
            "converged": self.converged,
            "pure": self.pure,
            "energy": number(self.energy),
            "heat_capacity": number(self.heat_capacity) if self.closed else None,
            "acceptance": number(self.acceptance) if self.acceptance else None,
            "composition": _plain(self.composition),
            "fractions": {name: number(s) for name, s in self.fractions.items()},
            "free_energy_slopes": {
                name: {
                    species: self._slope_number(name, species, slope)
                    for species, slope in row.items()
                }
                for name, row in self.slopes.items()
            },
            "orders": {
                label: _order_number(s) | {"random": finite(self.random[label])}
                for label, s in self.orders.items()
            },
            "binder": {label: number(s) for label, s in self.binder.items()},
            "warren_cowley": self.warren_cowley,
            **self.calls,
        }


def _plain(values: Mapping[str, Mapping[str, Summary]]) -> dict[str, dict[str, Any]]:
    return {name: {s: number(v) for s, v in row.items()} for name, row in values.items()}


def _pressure_work(point: xr.Dataset) -> np.ndarray | float:
    """PV in eV, [n_draws, n_chains]: what energies lack of enthalpies where the cell moves."""
    if "cell" not in point or "pressure" not in point.coords:
        return 0.0
    cells = point["cell"].transpose("draw", "chain", ...).to_numpy()
    return float(point["pressure"]) * GPa * np.abs(np.linalg.det(cells))


def _one_species_each(lattice: Lattice, occupation: np.ndarray) -> bool:
    """Whether every sublattice holds one species, the same in all draws and chains."""
    parts = [occupation[..., sites_of(lattice, name)] for name in lattice.names]
    return all((part == part.flat[0]).all() for part in parts)


def _certain(mean: float) -> Summary:
    """Summary of what never varies and, for a reason that is known, could not."""
    return Summary(mean, math.nan, math.nan, math.nan, True)


def _order_number(result: Summary) -> dict[str, Any]:
    plain = number(result)
    return plain | {"why": ONE_SPECIES} if math.isnan(result.mean) else plain


def _fractions(lattice: Lattice, occupation: xr.DataArray, sublattice: str) -> dict[str, Summary]:
    held = occupation.to_numpy()[..., sites_of(lattice, sublattice)]
    return {
        species: summarize_series((held == k).mean(axis=-1))
        for k, species in enumerate(lattice.sublattices[sublattice].species)
    }


def _optional_mean(point: xr.Dataset, name: str) -> Summary | None:
    if name not in point or not np.isfinite(point[name].to_numpy()).all():
        return None
    return summarize_series(point[name].transpose("draw", "chain").to_numpy())


def _total(point: xr.Dataset, name: str) -> int | None:
    return int(point[name].sum()) if name in point else None


def _warren_cowley_rows(
    lattice: Lattice, occupation: xr.DataArray, n_shells: int
) -> list[dict[str, Any]]:
    """One row per pair and shell, but for pairs with a species that is absent from a sample."""
    if n_shells == 0:
        return []
    table = warren_cowley(lattice, occupation, n_shells)
    rows = []
    for pair in table["pair"].to_numpy():
        for shell in table["shell"].to_numpy():
            cell = table.sel(pair=pair, shell=shell)
            if np.isnan(cell["mean"]):
                continue
            row = {
                "pair": str(pair),
                "shell": int(shell),
                "distance": round(float(cell["distance"]), 6),
                "unlike": str(cell["species_a"].item()) != str(cell["species_b"].item())
                or str(cell["sublattice_a"].item()) != str(cell["sublattice_b"].item()),
            }
            rows.append(row | number(_summary(cell)))
    return rows


def _summary(table: xr.Dataset) -> Summary:
    mean, error, ess, rhat = (float(table[name]) for name in Summary._fields[:-1])
    return Summary(mean, error, ess, rhat, bool(table["converged"]))


def number(result: Summary) -> dict[str, Any]:
    """Summary as plain data, None for unknown numbers, with the reason if it did not converge."""
    numbers = {name: finite(getattr(result, name)) for name in Summary._fields[:-1]}
    verdict = {"converged": bool(result.converged)}
    return numbers | verdict | ({} if result.converged else {"why": shortcoming(result)})


def finite(value: float) -> float | None:
    """Return the value, None where it is no finite number."""
    return float(value) if math.isfinite(value) else None
