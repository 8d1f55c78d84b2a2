"""What is measured at one point of a run: numbers with errors and verdicts."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from ase.units import GPa, kB

from ..errors import InputError
from ..lattice import Lattice
from ..statistics import MIN_ESS, Summary
from .biased import follows_a_bias
from .caveats import Caveat, shortcoming
from .changes import Tracked, count_meter, extremes_of, moving_fractions, open_sublattices
from .estimates import Meter, describe, measured, scaled, summarize_series
from .order.commensurate import NAMED_ORDERS, ordering_vector
from .order.long_range import OrderMeter, ordering_series
from .order.short_range import PairMeter
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
NO_ENERGY = "the samples hold no energies"
AT_AN_END = "the fraction never left 0 or 1, where no slope follows from it"


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
    canonical
        Whether fluctuations of the energy are those of the canonical ensemble.

    Notes
    -----
    The occupations are read once, block by block; what is kept of them are scalar series.
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
        *,
        canonical: bool = True,
    ):
        self.coordinates = dict(coordinates)
        self.temperature = self.coordinates["temperature"]
        self.n_draws, self.n_chains = (point.sizes[name] for name in ("draw", "chain"))
        self.closed = not free
        self._biased = follows_a_bias(point)
        # With a fluctuating composition Var(E) is no derivative of the energy.
        self._has_capacity = self.closed and canonical
        self._measure_energy(lattice, point)
        self.acceptance = _optional_mean(point, "acceptance")
        self.calls = {name: _total(point, name) for name in ("energy_calls", "gradient_calls")}
        self.settled: list[str] = []
        self.pure = ""
        self._measure_occupations(lattice, point["occupation"], orders, n_shells, free)
        self.narrow(free, tracked, orders)

    def _measure_energy(self, lattice: Lattice, point: xr.Dataset) -> None:
        """Energy and heat capacity; unknown where no draw has an energy."""
        self.energy = self.heat_capacity = UNKNOWN
        energy = _energies(point)
        self.has_energy = energy is not None
        if energy is not None:
            self.energy = scaled(mean_energy(energy), 1.0 / lattice.n_sites)
            if self._has_capacity and self.n_draws >= 4:
                enthalpy = energy + _pressure_work(point)
                capacity = heat_capacity(enthalpy, self.temperature)
                self.heat_capacity = scaled(capacity, 1.0 / (lattice.n_sites * kB))

    def _measure_occupations(
        self,
        lattice: Lattice,
        occupation: xr.DataArray,
        orders: Mapping[str, tuple[str, str]],
        n_shells: int,
        free: Sequence[str],
    ) -> None:
        waves = {label: ordering_vector(lattice, *order) for label, order in orders.items()}
        of_orders = {f"order {label}": OrderMeter(lattice, wave) for label, wave in waves.items()}
        pairs = PairMeter(lattice, n_shells) if n_shells else None
        meters: dict[str, Meter] = {"counts": count_meter(lattice), **of_orders}
        found = measured(lattice, occupation, meters | ({"pairs": pairs} if pairs else {}))
        counts = found.pop("counts")
        self.extremes = extremes_of(counts)
        self.charges = _charges(lattice, counts)
        self._single = bool((self.extremes[0] == self.extremes[1]).all()) and all(
            self.extremes[0, k].max() == len(s.sites)
            for k, s in enumerate(lattice.sublattices.values())
        )
        self.composition = {name: _fractions(lattice, counts, name) for name in free}
        del counts
        self.warren_cowley = (
            _warren_cowley_rows(describe(pairs.labelled(found.pop("pairs")))) if pairs else []
        )
        first = occupation.isel(draw=0, chain=0).to_numpy()
        self.orders: dict[str, Summary] = {}
        self.binder: dict[str, Summary] = {}
        self.random: dict[str, float] = {}
        for label in orders:
            series, meter = found.pop(f"order {label}"), of_orders[f"order {label}"]
            self.orders[label] = summarize_series(series)
            known = bool(np.isfinite(series).all())
            self.binder[label] = binder_cumulant(series) if known else UNKNOWN
            self.random[label] = meter.random(first)

    def narrow(
        self,
        free: Sequence[str],
        tracked: Sequence[Tracked],
        orders: Mapping[str, tuple[str, str]],
    ) -> None:
        """Keep what remains of interest once it is known which compositions do fluctuate."""
        self._tracked = tuple(tracked)
        self.composition = {name: self.composition[name] for name in free}
        for numbers in (self.orders, self.binder, self.random):
            for label in numbers.keys() - orders.keys():
                del numbers[label]
        # The value of a random arrangement depends on the composition, which here has no one value.
        self.random |= {label: math.nan for label, (_, name) in orders.items() if name in free}

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
        energy = {"energy": self.energy} if self.has_energy else {}
        return {**energy, **self.fractions, **(self.orders if self.closed else {})}

    @property
    def converged(self) -> bool:
        """Whether all of them have, and there are any."""
        decisive = self.decisive.values()
        return bool(decisive) and all(s.converged for s in decisive)

    @property
    def slopes(self) -> dict[str, dict[str, Summary]]:
        r"""Slopes of the free energy per site where the variance is constrained, in eV.

        :math:`∂f/∂c_k = −2κ k_BT (⟨c_k⟩ + φ_k/2)`, by parts from the mean of the derivative of the
        weight over c. By sublattice and species, for every φ; against the last species of a
        sublattice. None where the draws follow a bias.
        """
        found: dict[str, dict[str, Summary]] = {}
        if self._biased:
            return found
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
            "energy": number(self.energy) | ({} if self.has_energy else {"why": NO_ENERGY}),
            "heat_capacity": number(self.heat_capacity) if self._has_capacity else None,
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


def _energies(point: xr.Dataset) -> np.ndarray | None:
    """Energies [draw, chain], None where none are known."""
    if "energy" not in point:
        return None
    energy = point["energy"].transpose("draw", "chain").to_numpy()
    return None if np.isnan(energy).all() else energy


def _charges(lattice: Lattice, counts: np.ndarray) -> tuple[float, float] | None:
    """Least and largest charge of the sites in any draw, in e; None without charges."""
    if lattice.charges is None:
        return None
    table = np.stack([lattice.charges[lattice.site_slice(name).start] for name in lattice.names])
    totals = np.tensordot(counts, table, axes=2)
    return float(totals.min()), float(totals.max())


def _certain(mean: float) -> Summary:
    """Summary of what never varies and, for a reason that is known, could not."""
    return Summary(mean, math.nan, math.nan, math.nan, True)


def _order_number(result: Summary) -> dict[str, Any]:
    plain = number(result)
    return plain | {"why": ONE_SPECIES} if math.isnan(result.mean) else plain


def _fractions(lattice: Lattice, counts: np.ndarray, sublattice: str) -> dict[str, Summary]:
    species = lattice.sublattices[sublattice].species
    held = counts[:, :, lattice.names.index(sublattice)]
    n_sites = len(lattice.sublattices[sublattice].sites)
    return {s: summarize_series(held[..., k] / n_sites) for k, s in enumerate(species)}


def _optional_mean(point: xr.Dataset, name: str) -> Summary | None:
    if name not in point or not np.isfinite(point[name].to_numpy()).all():
        return None
    return summarize_series(point[name].transpose("draw", "chain").to_numpy())


def _total(point: xr.Dataset, name: str) -> int | None:
    return int(point[name].sum()) if name in point else None


def _warren_cowley_rows(table: xr.Dataset) -> list[dict[str, Any]]:
    """One row per pair and shell, but for pairs with a species that is absent from a sample."""
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
