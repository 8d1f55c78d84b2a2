"""One table of everything: the analysis of a run as plain data, for screens, files and reports."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from ase.formula import non_metals

from ..compositions import held_too_closely
from ..errors import InputError
from ..lattice import Lattice
from ..records import Run
from .biased import follows_a_bias
from .caveats import (
    Caveat,
    above_melting,
    general_caveats,
    landscape_of,
    missed_precision,
    outside_domain,
    unconverged,
)
from .changes import moving_among, named_sublattices, open_among
from .layout import TEMPERATURE, Layout, coordinates_of, few, layout
from .loops import Loop, loop_dict, settled_loops, telling
from .order.commensurate import NAMED_ORDERS
from .point_results import (
    PointResult,
    fitting_orders,
    tracked_fractions,
)
from .trajectory_caveats import trajectory_caveats
from .transition import ApparentTransition, Bracket, apparent_transition
from .wording import counted

__all__ = ["analyze_run", "mixed_formula", "relative_energies"]

MOST_LINES = 4
"""Points that did not converge have a caveat each up to so many, and one together beyond."""


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
        of the run's configuration unless given, else all three, or none where the composition
        fluctuates. One that does not fit the cell is left out with a caveat.
    shells
        Number of Warren–Cowley shells; the configuration's unless given, else 4, or 0, for none,
        where the composition fluctuates.

    Returns
    -------
    A dictionary that JSON can hold (None for unknown numbers). ``points`` lists the points from low
    to high, each with ``energy`` (eV per site), ``heat_capacity`` (k_B per site, of the enthalpy at
    a pressure; None where the composition fluctuates, or the ensemble is not known to be
    canonical), ``acceptance``, ``orders``, ``binder`` and ``warren_cowley``; a number is a
    dictionary of ``mean``, ``error``, ``ess``, ``rhat``,
    ``converged`` and, if not converged, ``why``. Pairs with a species that is absent are left out
    of ``warren_cowley``. Where the composition fluctuates, ``composition`` holds the fractions by
    sublattice and species, ``fractions`` those that describe it, and ``free_energy_slopes`` ∂f/∂c
    in eV per site where its variance is constrained; ``pure`` names the phase where all draws of a
    point hold one species per sublattice, so that nothing can vary. ``index`` is the point's among
    ``run.points``; ``label``, ``value``, ``curve`` and ``direction`` say where it stands in
    ``layout``, which names what is scanned. ``hysteresis`` compares the two ways of runs that go
    there and back, ``there_and_back`` says in a sentence per curve what it found. ``transition``
    holds the apparent ordering temperature, ``caveats`` what qualifies all this.

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
    named = named_sublattices(run)
    usual = () if named else NAMED_ORDERS  # order is measured against what a composition allows
    n_shells = int(settings.get("shells", 0 if named else 4) if shells is None else shells)
    names = tuple(settings.get("orders", usual) if orders is None else orders)
    numbers = [k for k, point in enumerate(run.points) if point.sizes.get("draw", 0)]
    sampled = [run.points[k] for k in numbers]
    if not sampled:
        raise InputError("the run holds no draws yet; let it sample before it is analysed")
    coordinates = coordinates_of(sampled)
    found = layout(coordinates, run.config)
    rising = _rising(found, coordinates)
    first = sampled[rising[0]]["occupation"].isel(draw=0, chain=0).to_numpy()
    measured, _ = fitting_orders(run.lattice, names, first, named)
    canonical = run.attrs.get("trajectory", {}).get("ensemble", "canonical") == "canonical"
    results = [
        PointResult(run.lattice, point, where, measured, n_shells, named, canonical=canonical)
        for point, where in zip(sampled, coordinates, strict=True)
    ]
    moving = moving_among(run, (result.extremes for result in results), named)
    free = open_among(named, moving)
    tracked = tracked_fractions(run.lattice, free, found.axis)
    measured, left_out = fitting_orders(run.lattice, names, first, free)
    for result in results:
        result.narrow(free, tracked, measured)
    curves = _curves(found, rising)
    visited = settled_loops(found, results, moving)
    loops = sorted(visited, key=lambda loop: curves.index(loop.curve))
    if any(map(follows_a_bias, sampled)):
        loops = []  # every point has a bias of its own, by which the two ways differ
    transition = _transition(results, found, list(measured))
    caveats = _caveats(run, results, found, loops, transition, left_out)
    return {
        "title": str(run.config.get("title") or ""),
        "n_sites": run.lattice.n_sites,
        "n_atoms": len(run.lattice.atoms),
        "formula": mixed_formula(run.lattice)
        if free
        else _formula(run.lattice, sampled[rising[0]]),
        "sublattices": _compositions(run.lattice, sampled[rising[0]], free),
        "landscape": landscape_of(run),
        "layout": _layout_dict(found, free),
        "points": [{"index": numbers[k]} | _where(found, k) | results[k].to_dict() for k in rising],
        "hysteresis": [loop_dict(loop) for loop in loops],
        "there_and_back": [loop.text for loop in telling(loops)],
        "transition": _transition_dict(transition, results, landscape_of(run)),
        "caveats": [c._asdict() for c in caveats],
    }


def _rising(found: Layout, coordinates: Sequence[Mapping[str, float]]) -> list[int]:
    """Points curve by curve from cold to hot, each from low to high, the way there first."""

    def rank(k: int) -> tuple[float, int, float, float]:
        place, point = found.places[k], coordinates[k]
        curve = point["temperature"] if found.axis != TEMPERATURE else 0.0
        return curve, place.curve, place.value, point.get("sweep", 0.0)

    return sorted(range(len(coordinates)), key=rank)


def _curves(found: Layout, rising: Sequence[int]) -> list[str]:
    """Names of the curves in the order in which their points are listed."""
    return list(dict.fromkeys(found.curves[found.places[k].curve] for k in rising))


def _layout_dict(found: Layout, free: Sequence[str]) -> dict[str, Any]:
    directions = dict.fromkeys(p.direction for p in found.places if p.direction)
    return {
        "axis": found.axis,
        "title": found.title,
        "curves": list(found.curves),
        "directions": list(directions),
        "returns": found.returns,
        "free": list(free),
    }


def _where(found: Layout, k: int) -> dict[str, Any]:
    place = found.places[k]
    return {
        "label": found.labels[k],
        "written": found.written[k],
        "value": place.value,
        "curve": place.curve,
        "direction": place.direction if found.returns else None,
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
    lowest = min((e["mean"] for e in energies if e["mean"] is not None), default=0.0)
    return [
        {
            **energy,
            "mean": None if energy["mean"] is None else 1e3 * (energy["mean"] - lowest),
            "error": None if energy["error"] is None else 1e3 * energy["error"],
        }
        for energy in energies
    ]


def _transition(
    results: Sequence[PointResult], found: Layout, orders: Sequence[str]
) -> ApparentTransition | None:
    """Bracket an ordering temperature by a sweep of the temperature, both ways taken together."""
    if found.axis != TEMPERATURE or len(found.curves) > 1 or not all(r.closed for r in results):
        return None
    ways: dict[str | None, list[PointResult]] = {}
    for result, place in zip(results, found.places, strict=True):
        ways.setdefault(place.direction if found.returns else None, []).append(result)
    single = {way: _one_way(part, orders) for way, part in ways.items() if len(part) > 1}
    if len(single) < 2:
        return next(iter(single.values()), None)
    there, back = single.values()
    bracketed = [way for way in (there, back) if way.status == "bracketed"]
    merged = (bracketed or [there])[0]
    if len(bracketed) == 2 and there.order == back.order:
        ends = [end for way in bracketed for end in way.bracket if end is not None]
        merged = merged._replace(bracket=Bracket(min(ends), max(ends)))
    return merged._replace(text=" ".join(f"On the way {w}: {s.text}" for w, s in single.items()))


def _one_way(results: Sequence[PointResult], orders: Sequence[str]) -> ApparentTransition:
    coldest = min(results, key=lambda result: result.temperature)
    return apparent_transition(
        [p.temperature for p in results],
        [p.heat_capacity for p in results],
        {label: [p.orders[label] for p in results] for label in orders},
        {label: coldest.random[label] for label in orders},
    )


def _transition_dict(
    transition: ApparentTransition | None, results: Sequence[PointResult], where: str
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


def _guarded(run: Run, closed: bool) -> str:
    """Name what of the run was compared with the bounds of its potential."""
    bounds = _bounds(run)
    if not bounds:
        return ""
    parts = ["energies"] if closed or "energy" in bounds else []
    parts += ["forces"] if any(f.get("forces") for f in run.attrs.get("domain", ())) else []
    return " and ".join(parts)


def _caveats(  # noqa: PLR0917
    run: Run,
    results: Sequence[PointResult],
    found: Layout,
    loops: Sequence[Loop],
    transition: ApparentTransition | None,
    left_out: list[Caveat],
) -> list[Caveat]:
    temperatures = sorted({p.temperature for p in results})
    swept = temperatures if found.axis == TEMPERATURE else temperatures[-1:]
    n_chains = min(p.n_chains for p in results)
    closed = all(p.closed for p in results)
    where = landscape_of(run)
    hot = above_melting(transition, where) if transition else []
    unfinished = "The run is not finished; these are the results of the draws so far."
    in_order = layout(coordinates_of(run.points), run.config).written
    guarded = _guarded(run, closed)
    return [
        *outside_domain(_bounds(run), run.attrs.get("domain", ()), in_order),
        *hot,
        *(
            [Caveat("warning", "unfinished", unfinished)]
            if run.attrs.get("finished") is False
            else []
        ),
        *trajectory_caveats(run, [p for p in run.points if p.sizes.get("draw", 0)], found.written),
        *_unconverged(results, found),
        *_missed_precision(run, results, in_order),
        *_biased(run),
        *_of_charges(results),
        *_held_too_closely(run, results),
        *_of_scans(run, found, loops),
        *_settled(results, found),
        *general_caveats(run.lattice, run.config, swept, n_chains, where=where, guarded=guarded),
        *left_out,
    ]


def _unconverged(results: Sequence[PointResult], found: Layout) -> list[Caveat]:
    """Points that did not converge, one by one if they are few."""
    rising = _rising(found, [p.coordinates for p in results])
    lines = unconverged({found.written[k]: results[k].decisive for k in rising})
    if len(lines) <= MOST_LINES:
        return lines
    bad = [found.written[k] for k in rising if not results[k].converged]
    text = (
        f"At {len(bad)} of {len(results)} points the chains did not converge; the table says why: "
        f"{few(bad, '; ')}."
    )
    return [Caveat("warning", "unconverged", text)]


def _missed_precision(
    run: Run, results: Sequence[PointResult], points: Sequence[str]
) -> list[Caveat]:
    """Points that did not reach the precision asked for, but for pure phases: they have none."""
    asked = run.config.get("run", {}).get("precision", {})
    sampled = [k for k, point in enumerate(run.points) if point.sizes.get("draw", 0)]
    pure = {k for k, result in zip(sampled, results, strict=True) if result.pure}
    ended = zip(points, run.attrs.get("ended_by", ()), strict=False)
    kept = [pair for k, pair in enumerate(ended) if k not in pure]
    return missed_precision(asked, [reason for _, reason in kept], [name for name, _ in kept])


def _settled(results: Sequence[PointResult], found: Layout) -> list[Caveat]:
    """Tell where a species is alone or absent in all draws, which has no error."""
    at: dict[str, list[str]] = {}
    for k in _rising(found, [result.coordinates for result in results]):
        for what in results[k].settled:
            at.setdefault(what, []).append(found.written[k])
    if not at:
        return []
    n_draws = min(result.n_draws * result.n_chains for result in results if result.settled)
    where = ", ".join(f"{what} ({few(names, '; ', 3)})" for what, names in at.items())
    text = (
        f"In every draw of every chain a species is alone on its sublattice, or absent: {where}. "
        f"There is no error where nothing varies: of {counted(n_draws, 'draw')}, were they "
        f"independent, all else has a share below some {300 / n_draws:.2g} %. That chains do not "
        "leave a phase does not show that it is the stable one."
    )
    return [Caveat("note", "pure", text)]


def _of_charges(results: Sequence[PointResult]) -> list[Caveat]:
    """Warn where the charge of the cell is not the same in all draws."""
    ranges = [result.charges for result in results if result.charges is not None]
    if not ranges:
        return []
    ends = min(low for low, _ in ranges), max(high for _, high in ranges)
    if ends[1] - ends[0] < 1e-6:
        return []
    least, most = (f"{total:+g}".replace("-", "−") for total in ends)
    text = (
        f"The charge of the cell fluctuates: its sites carry {least} to {most} e. A potential that "
        "was trained on neutral crystals knows no charge; kind = 'charge-neutral' keeps it."
    )
    return [Caveat("warning", "charge", text)]


def _biased(run: Run) -> list[Caveat]:
    """Draws of a density with a bias of its own, or of states between species."""
    if not any(map(follows_a_bias, run.points)):
        return []
    text = (
        "The draws follow the ensemble with a bias that was learnt, some may lie between species: "
        "these averages are not the ensemble's, and the composition is none that it prescribes. "
        "Free energies of the states, with the bias taken off, are those of state_free_energies."
    )
    return [Caveat("critical", "biased", text)]


def _held_too_closely(run: Run, results: Sequence[PointResult]) -> list[Caveat]:
    texts = [held_too_closely(run.lattice.sublattices, result.coordinates) for result in results]
    return [Caveat("warning", "stiff", text) for text in dict.fromkeys(texts) if text]


def _of_scans(run: Run, found: Layout, loops: Sequence[Loop]) -> list[Caveat]:
    """Tell what the directions of a scan, or of a sweep both ways, have to say."""
    apart = [loop for loop in telling(loops) if any(loop.differs)]
    caveats = [Caveat("warning", "hysteresis", loop.text) for loop in apart]
    if found.axis == TEMPERATURE:
        return caveats
    exchanged = any("walker" in point for point in run.points)  # a ladder, not a scan
    if not found.returns and not exchanged:
        text = (
            "The scan went one way only, so that hysteresis would not be seen: sweep = 'both' goes "
            "there and back."
        )
        caveats.append(Caveat("note", "one-way", text))
    text = (
        f"One cell size ({run.lattice.n_sites} mixed sites, {len(run.lattice.atoms)} atoms): in so "
        "small a cell phases do not coexist side by side without a boundary that costs energy; "
        "jumps, loops and their widths shift with size."
    )
    caveats.append(Caveat("note", "one-size", text))
    return caveats


def _compositions(lattice: Lattice, point: xr.Dataset, free: Sequence[str]) -> dict[str, Any]:
    """Sites and species of every sublattice; ``varies`` where the counts are those of one draw."""
    first = point["occupation"].isel(draw=0, chain=0).to_numpy().astype(np.int8)
    counts = lattice.counts(first)
    return {
        name: {
            "n_sites": int(counts[index].sum()),
            "counts": {s: int(counts[index, k]) for k, s in enumerate(sublattice.species)},
            **({"varies": True} if name in free else {}),
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


def mixed_formula(lattice: Lattice) -> str:
    """Write the species of every mixed sublattice in parentheses, anions last."""
    symbols = lattice.atoms.get_chemical_symbols()
    parts = dict(Counter(symbols[i] for i in lattice.spectators))
    mixed = {
        f"({','.join(sublattice.species)})": len(sublattice.sites)
        for sublattice in lattice.sublattices.values()
    }
    unit = math.gcd(*parts.values(), *mixed.values())
    cations = [s for s in parts if s not in non_metals]
    order = [*cations, *mixed, *(s for s in parts if s in non_metals)]
    counts = {name: number // unit for name, number in (parts | mixed).items()}
    return "".join(name + (str(counts[name]) if counts[name] > 1 else "") for name in order)
