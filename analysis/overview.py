"""One table of everything: the analysis of a run as plain data, for screens, files and reports."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from ase.formula import non_metals
from ase.units import kB

from ..errors import InputError
from ..lattice import Lattice
from ..records import Run
from ..statistics import Summary
from .caveats import (
    Caveat,
    above_melting,
    general_caveats,
    landscape,
    missed_precision,
    outside_domain,
    shortcoming,
    unconverged,
)
from .commensurate import NAMED_ORDERS
from .estimates import describe, scaled, summarize_series
from .long_range import ordering_amplitude, ordering_series
from .short_range import warren_cowley
from .thermodynamics import binder_cumulant, heat_capacity, mean_energy
from .transition import ApparentTransition, apparent_transition

__all__ = ["analyze_run", "relative_energies"]


def analyze_run(
    run: Run, orders: Sequence[str] | None = None, shells: int | None = None
) -> dict[str, Any]:
    """Analyse a run: every number with its error and its verdict, and every caveat.

    Parameters
    ----------
    run
        A run in memory or opened from disk; points of any number and length.
    orders
        Names of perovskite orders, applied to every sublattice on which they are defined. Those
        of the run's configuration unless given, else all three. One that does not fit the cell is
        left out with a caveat.
    shells
        Number of Warren–Cowley shells; the configuration's unless given, else 4. 0 for none.

    Returns
    -------
    A dictionary that JSON can hold (None for unknown numbers). ``points`` lists the temperatures
    from low to high, each with ``energy`` (eV per site), ``heat_capacity`` (k_B per site),
    ``acceptance``, ``orders``, ``binder`` and ``warren_cowley``; a number is a dictionary
    of ``mean``, ``error``, ``ess``, ``rhat``, ``converged`` and, if not converged, ``why``. Pairs
    with a species that is absent are left out of ``warren_cowley``.
    ``transition`` holds the apparent ordering temperature, ``caveats`` what qualifies all this.

    Raises
    ------
    InputError
        If an order's name is unknown, or the run holds no draws.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import builders
    >>> from alchemc.records import Run, point_dataset
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> rng = np.random.default_rng(0)
    >>> occupation = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, rng, 600).reshape(300, 2, 8)
    >>> arrays = {"occupation": occupation, "energy": rng.normal(size=(300, 2))}
    >>> result = analyze_run(Run((point_dataset(arrays, {"temperature": 900.0}),), lattice))
    >>> sorted(result["points"][0]["orders"])
    ['columnar', 'layered', 'rock-salt']
    >>> result["points"][0]["converged"]
    True
    """
    settings = run.config.get("analysis", {})
    names = tuple(settings.get("orders", NAMED_ORDERS) if orders is None else orders)
    n_shells = int(settings.get("shells", 4) if shells is None else shells)
    sampled = sorted((p for p in run.points if p.sizes.get("draw", 0)), key=_temperature)
    if not sampled:
        raise InputError("the run holds no draws yet; let it sample before it is analysed")
    first = sampled[0]["occupation"].isel(draw=0, chain=0).to_numpy()
    measured, left_out = _fitting_orders(run.lattice, names, first)
    results = [_Point(run.lattice, point, measured, n_shells) for point in sampled]
    transition = _transition(results, measured)
    return {
        "title": str(run.config.get("title") or ""),
        "n_sites": run.lattice.n_sites,
        "n_atoms": len(run.lattice.atoms),
        "formula": _formula(run.lattice, sampled[0]),
        "sublattices": _compositions(run.lattice, sampled[0]),
        "landscape": landscape(run.config),
        "points": [point.to_dict() for point in results],
        "transition": _transition_dict(transition, results, landscape(run.config)),
        "caveats": [c._asdict() for c in _caveats(run, results, transition, left_out)],
    }


def relative_energies(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Energies of `analyze_run` counted from the lowest mean, in meV per site with their errors.

    Examples
    --------
    >>> points = [{"energy": {"mean": e, "error": 0.002}} for e in (-1.5, -1.25)]
    >>> relative_energies({"points": points})[1]
    {'mean': 250.0, 'error': 2.0}
    """
    energies = [point["energy"] for point in results["points"]]
    lowest = min(energy["mean"] for energy in energies)
    return [
        {
            **energy,
            "mean": 1e3 * (energy["mean"] - lowest),
            "error": None if energy["error"] is None else 1e3 * energy["error"],
        }
        for energy in energies
    ]


def _fitting_orders(
    lattice: Lattice, names: Sequence[str], occupation: np.ndarray
) -> tuple[dict[str, tuple[str, str]], list[Caveat]]:
    """Label -> (order, sublattice) of the orders that can be measured, and why others cannot.

    ``occupation`` [n_sites] is any sample: it tells which sublattices hold several species.
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
            if np.isnan(probe).any():
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


class _Point:
    """The results at one temperature."""

    def __init__(
        self,
        lattice: Lattice,
        point: xr.Dataset,
        orders: Mapping[str, tuple[str, str]],
        n_shells: int,
    ):
        occupation = point["occupation"]
        energy = point["energy"].transpose("draw", "chain").to_numpy()
        self.temperature = _temperature(point)
        self.n_draws, self.n_chains = energy.shape
        self.energy = scaled(mean_energy(energy), 1.0 / lattice.n_sites)
        self.heat_capacity = self._heat_capacity(energy, lattice.n_sites)
        self.acceptance = _optional_mean(point, "acceptance")
        self.calls = {name: _total(point, name) for name in ("energy_calls", "gradient_calls")}
        self.orders: dict[str, Summary] = {}
        self.random: dict[str, float] = {}
        self.binder: dict[str, Summary] = {}
        for label, (name, sublattice) in orders.items():
            self._measure_order(lattice, occupation, label, name, sublattice)
        self.warren_cowley = _warren_cowley_rows(lattice, occupation, n_shells)

    def _heat_capacity(self, energy: np.ndarray, n_sites: int) -> Summary:
        if self.n_draws < 4:
            return Summary(math.nan, math.nan, math.nan, math.nan, False)
        return scaled(heat_capacity(energy, self.temperature), 1.0 / (n_sites * kB))

    def _measure_order(
        self, lattice: Lattice, occupation: xr.DataArray, label: str, name: str, sublattice: str
    ) -> None:
        series = ordering_series(lattice, occupation, name, sublattice)
        self.orders[label] = _summary(describe(series))
        self.binder[label] = binder_cumulant(series.to_numpy())
        first = occupation.isel(draw=slice(0, 1), chain=slice(0, 1))
        self.random[label] = float(ordering_amplitude(lattice, first, name, sublattice)["random"])

    @property
    def decisive(self) -> dict[str, Summary]:
        """The series whose chains must have converged for the point to count."""
        return {"energy": self.energy, **self.orders}

    @property
    def converged(self) -> bool:
        """Whether all of them have."""
        return all(s.converged for s in self.decisive.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "temperature": self.temperature,
            "n_draws": self.n_draws,
            "n_chains": self.n_chains,
            "converged": self.converged,
            "energy": _number(self.energy),
            "heat_capacity": _number(self.heat_capacity),
            "acceptance": _number(self.acceptance) if self.acceptance else None,
            "orders": {
                label: _number(s) | {"random": _finite(self.random[label])}
                for label, s in self.orders.items()
            },
            "binder": {label: _number(s) for label, s in self.binder.items()},
            "warren_cowley": self.warren_cowley,
            **self.calls,
        }


def _temperature(point: xr.Dataset) -> float:
    if "temperature" not in point.coords:
        raise InputError("a point of the run has no temperature; set the coordinate in K")
    return float(point["temperature"])


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
            rows.append(row | _number(_summary(cell)))
    return rows


def _summary(table: xr.Dataset) -> Summary:
    mean, error, ess, rhat = (float(table[name]) for name in Summary._fields[:-1])
    return Summary(mean, error, ess, rhat, bool(table["converged"]))


def _number(result: Summary) -> dict[str, Any]:
    numbers = {name: _finite(getattr(result, name)) for name in Summary._fields[:-1]}
    verdict = {"converged": bool(result.converged)}
    return numbers | verdict | ({} if result.converged else {"why": shortcoming(result)})


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _transition(
    results: Sequence[_Point], orders: Mapping[str, tuple[str, str]]
) -> ApparentTransition | None:
    if len(results) < 2:
        return None
    return apparent_transition(
        [p.temperature for p in results],
        [p.heat_capacity for p in results],
        {label: [p.orders[label] for p in results] for label in orders},
        {label: results[0].random[label] for label in orders},
    )


def _transition_dict(
    transition: ApparentTransition | None, results: Sequence[_Point], where: str
) -> dict[str, Any] | None:
    """Plain data; ``converged`` says whether every temperature of the bracket has converged.

    A temperature in the text is followed by ``where`` it is one, the landscape.
    """
    if transition is None:
        return None
    result = transition._asdict()
    for name in ("bracket", "order_fall", "heat_capacity_peak"):
        result[name] = None if result[name] is None else result[name]._asdict()
    lower, upper = transition.bracket
    within = [p for p in results if (lower or 0.0) <= p.temperature <= (upper or math.inf)]
    result["converged"] = all(p.converged for p in within)
    if transition.status in {"bracketed", "above", "below"}:
        result["text"] += f" Landscape: {where}."
    if not result["converged"]:
        result["text"] += " It rests on chains that did not converge."
    return result


def _bounds(run: Run) -> Mapping[str, Any]:
    """Bounds of the energy model that the run's guard compared with; empty without a guard."""
    model = run.attrs.get("model") or {}
    return model.get("domain") or {}


def _guarded(run: Run) -> str:
    if not _bounds(run):
        return ""
    forces = any(found.get("forces") for found in run.attrs.get("domain", ()))
    return "energies and forces" if forces else "energies"


def _caveats(
    run: Run,
    results: Sequence[_Point],
    transition: ApparentTransition | None,
    left_out: list[Caveat],
) -> list[Caveat]:
    temperatures = [p.temperature for p in results]
    n_chains = min(p.n_chains for p in results)
    hot = above_melting(transition, landscape(run.config)) if transition else []
    unfinished = "The run is not finished; these are the results of the draws so far."
    in_order = [_temperature(point) for point in run.points]
    return [
        *outside_domain(_bounds(run), run.attrs.get("domain", ()), in_order),
        *hot,
        *(
            [Caveat("warning", "unfinished", unfinished)]
            if run.attrs.get("finished") is False
            else []
        ),
        *unconverged({p.temperature: p.decisive for p in results}),
        *missed_precision(
            run.config.get("run", {}).get("precision", {}),
            run.attrs.get("ended_by", ()),
            in_order,
        ),
        *general_caveats(run.lattice, run.config, temperatures, n_chains, guarded=_guarded(run)),
        *left_out,
    ]


def _compositions(lattice: Lattice, point: xr.Dataset) -> dict[str, Any]:
    first = point["occupation"].isel(draw=0, chain=0).to_numpy().astype(np.int8)
    counts = lattice.counts(first)
    return {
        name: {
            "n_sites": int(counts[index].sum()),
            "counts": {s: int(counts[index, k]) for k, s in enumerate(sublattice.species)},
        }
        for index, (name, sublattice) in enumerate(lattice.sublattices.items())
    }


def _formula(lattice: Lattice, point: xr.Dataset) -> str:
    """Reduced formula, elements in the order of the structure and its sublattices, anions last."""
    first = point["occupation"].isel(draw=0, chain=0).to_numpy().astype(np.int8)
    present = Counter(lattice.to_atoms(first).get_chemical_symbols())
    symbols = lattice.atoms.get_chemical_symbols()
    site_of_atom = dict(zip(lattice.sites.tolist(), range(lattice.n_sites), strict=True))
    seen: dict[str, None] = {}
    for atom, symbol in enumerate(symbols):
        site = site_of_atom.get(atom)
        seen.update(dict.fromkeys((symbol,) if site is None else lattice.species_of(site)))
    order = sorted((s for s in seen if s in present), key=lambda s: s in non_metals)
    unit = math.gcd(*present.values())
    return "".join(s + (str(present[s] // unit) if present[s] > unit else "") for s in order)
