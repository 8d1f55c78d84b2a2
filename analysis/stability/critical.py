"""Order–disorder temperatures from runs of several sizes, from the samples to one number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from ...errors import ConvergenceError, InputError
from ...records import Run
from ...statistics import Summary
from ...sublattice import is_whole, shown
from ..caveats import MELTING, Caveat, unconverged
from ..wording import with_error
from .finite_size import LEAST_FOUND, Estimate
from .multi_histogram import MultiHistogram
from .order_of_transition import CONTINUOUS, FIRST, LOW, UNDECIDED, Evidence, order_of_transition
from .ordering_result import LEAST_SIZES, Combined, OrderingTemperature, combined
from .size_estimates import APART, Size, cumulant_at, estimates_of, size_of, universality_of
from .transition_series import Order, TransitionSeries, merged, transition_series

__all__ = ["ordering_temperature"]

LEAST_RESAMPLES = 20


def ordering_temperature(
    runs: Run | TransitionSeries | Sequence[Run | TransitionSeries],
    order: Order = "rock-salt",
    sublattice: str | None = None,
    *,
    universality: str | tuple[float, float] | None = None,
    n_resamples: int = 200,
    seed: int = 0,
) -> OrderingTemperature:
    r"""Order–disorder temperature of the infinite crystal, after the order of the transition.

    1. *Each size* by MBAR over its temperatures (`MultiHistogram`): energy, heat capacity, ⟨m²⟩,
       susceptibility and the cumulant U = 1 − ⟨m⁴⟩/3⟨m²⟩² at every temperature between.
    2. *The order of the transition* from the barrier between two peaks of the energy and from how
       the heat capacity and the cumulant change with size (`order_of_transition`).
    3. *Continuous:* crossings of U of neighbouring sizes, with their leading correction, and the
       temperatures of the maxima of the heat capacity, the susceptibility and −∂ln⟨m²⟩/∂T, which
       approach T_c as L^(−1/ν). *First order:* temperatures of equal weight of the two phases and
       maxima of the heat capacity, which approach it as 1/volume. *Undecided:* all of these.
    4. Their mean, weighted by their errors. Everything from MBAR on is repeated with resamples of
       blocks of draws, so that errors are correlated as the estimates are; what leaving out the
       smallest size or other exponents change beyond noise is the systematic error.

    One size gives the temperature at which its heat capacity is largest, marked as apparent.

    Parameters
    ----------
    runs
        One or more per size, together of at least two temperatures each, on both sides of the
        transition and close enough for their energies to overlap; ladders as well. What is left of
        runs once their occupations are dropped (`transition_series`) will do, too.
    order
        As for `ordering_vector`; a function of the lattice and occupations [n, n_sites] that gives
        m² [n]; or None for the energy alone. Rock-salt order needs cells of even L.
    sublattice
        Which sublattice orders; may be left out if there is only one.
    universality
        "3D Ising", "2D Ising" or (ν, ω). Unless given, ν follows from the maxima of slopes of the
        two largest sizes, and ω, between ½ and 2, is fitted to the crossings where there are four
        or more (else it is taken to be 1); both ends are variants.
    n_resamples
        Number of resamples.
    seed
        Seeds them.

    Returns
    -------
    The temperature with its error, verdict, estimates, caveats and curves.

    Raises
    ------
    InputError
        If sizes differ in more than size (composition, chemical potentials, species, potential,
        shape of the cell), the order does not fit a cell, or a size has one temperature.
    ConvergenceError
        If temperatures do not overlap, independent draws are too few, or no size shows a transition
        within the temperatures sampled.

    Examples
    --------
    >>> from alchemc import PairHamiltonian, RandomFlip, SemiGrandCanonical, builders, sample
    >>> runs = []
    >>> for n in (2, 4):  # nearest neighbours that repel their like: the Ising model
    ...     lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(n, n, n))
    ...     model = PairHamiltonian(lattice, [0.02 * np.array([[1, -1], [-1, 1]])])
    ...     start = np.zeros(n**3, dtype=np.int8)
    ...     for t in (900.0, 1000.0, 1100.0, 1200.0):
    ...         kernel = RandomFlip(model, SemiGrandCanonical(lattice, t, {"Ta": 0.0}))
    ...         runs.append(sample(kernel, start, n_steps=200_000, n_replicas=2, thin=200))
    >>> found = ordering_temperature(runs, universality="3D Ising")
    >>> found.verdict, 950 < found.temperature < 1150  # exactly: 1047 K, of the infinite crystal
    ('continuous', True)
    """
    if not is_whole(n_resamples, least=LEAST_RESAMPLES):
        raise InputError(
            f"n_resamples is {shown(n_resamples)}; give a whole number of at least "
            f"{LEAST_RESAMPLES}, as errors are the scatter of resamples"
        )
    if not is_whole(seed, least=0):
        raise InputError(f"seed is {shown(seed)}; give a whole number of at least 0")
    given = [runs] if isinstance(runs, Run | TransitionSeries) else list(runs)
    for one in given:
        if not isinstance(one, Run | TransitionSeries):
            raise InputError(
                f"{shown(one)} is no run; give those of sample or open_run, or transition_series"
            )
    parts = [transition_series(r, order, sublattice) if isinstance(r, Run) else r for r in given]
    sizes = merged(parts)
    known = universality_of(universality)
    rng = np.random.default_rng(seed)
    lengths, dimension = _geometry(sizes)
    _require_one_model(sizes)
    labels = _labels(sizes, lengths)
    rows = [
        size_of(label, length, MultiHistogram.of(size, rng, n_resamples))
        for label, length, size in zip(labels, lengths, sizes, strict=True)
    ]
    verdict, evidence = _verdict(rows, dimension)
    estimates, exponents = estimates_of(rows, verdict, known)
    if not estimates:
        raise ConvergenceError(_not_bracketed(rows))
    result = combined(estimates)
    caveats = _caveats(sizes, rows, verdict, estimates, result)
    return OrderingTemperature(
        order=str(sizes[0].kind.get("order", order)),
        verdict=verdict,
        evidence=tuple(evidence),
        temperature=float(result.values[0]),
        error=result.error,
        error_statistical=result.statistical,
        error_systematic=result.systematic,
        apparent=len(rows) == 1,
        estimates=tuple(estimates),
        chi2=result.chi2,
        dof=result.dof,
        exponents=exponents,
        cumulant=cumulant_at(rows, result.values, exponents),
        sizes=tuple(_row(row) for row in rows),
        caveats=tuple(caveats),
        converged=all(s.converged for row in rows for point in row.histogram.summaries
                      for s in point.values()),
        landscape=str(sizes[0].kind.get("landscape", "")),
        curves=_curves(rows, sizes),
    )  # fmt: skip


# ---- sizes


def _geometry(sizes: Sequence[TransitionSeries]) -> tuple[list[float], int]:
    """L of every size, and the number of directions in which sizes differ."""
    if len(sizes) == 1:
        return [sizes[0].n_sites ** (1 / 3)], 3
    norms = np.array([np.linalg.norm(size.cell, axis=1) for size in sizes])
    angles = np.array([(u := s.cell / n[:, None]) @ u.T for s, n in zip(sizes, norms, strict=True)])
    growth, grown = norms / norms[0], _grown(sizes)
    dimension = int(grown.sum())
    if dimension == 0:
        raise InputError(
            f"two cells of {sizes[0].label} have the same edges but other vectors; give runs of "
            "one size the same cell"
        )
    for k, size in enumerate(sizes):
        along = growth[k, grown]
        alike = np.ptp(along) < 2e-3 * along.mean() and np.allclose(angles[k], angles[0], atol=1e-3)
        volume = along.mean() ** dimension
        if not alike or abs(size.n_sites / sizes[0].n_sites / volume - 1.0) > 5e-3:
            raise InputError(
                f"the cell of {size.label} has not the shape of that of {sizes[0].label}, or not "
                "its lattice constant; finite-size scaling needs cells that differ in size alone"
            )
    return [size.n_sites ** (1 / dimension) for size in sizes], dimension


def _grown(sizes: Sequence[TransitionSeries]) -> np.ndarray:
    """Edges of the cell, [3], that are not the same in all sizes."""
    norms = np.array([np.linalg.norm(size.cell, axis=1) for size in sizes])
    return np.asarray((np.abs(norms / norms[0] - 1.0) > 1e-3).any(axis=0))


def _require_one_model(sizes: Sequence[TransitionSeries]) -> None:
    """Refuse energies per site that differ more between sizes than along the temperatures."""
    for one, other in pairwise(sizes):
        shared = [
            (np.interp(t, one.temperatures, _energies(one)), np.interp(t, *_line(other)))
            for t in other.temperatures
            if one.temperatures[0] <= t <= one.temperatures[-1]
        ]
        reach = max(np.ptp(_energies(one)), np.ptp(_energies(other)))
        for first, second in shared:
            if abs(first - second) > reach:
                raise InputError(
                    f"{one.label} have {first:.6g} eV per site where {other.label} have "
                    f"{second:.6g}: these are not energies of one model; check the runs"
                )


def _energies(size: TransitionSeries) -> np.ndarray:
    return np.array([float(e.mean()) for e in size.energies]) / size.n_sites


def _line(size: TransitionSeries) -> tuple[np.ndarray, np.ndarray]:
    return np.array(size.temperatures), _energies(size)


def _labels(sizes: Sequence[TransitionSeries], lengths: Sequence[float]) -> list[str]:
    """L where it is a whole number, the edge that grows where only one does, else the sites."""
    grown = _grown(sizes)
    if grown.sum() == 1:
        edge = int(np.argmax(grown))
        return [f"{'abc'[edge]} = {np.linalg.norm(size.cell[edge]):,.6g} Å" for size in sizes]
    whole = len(sizes) > 1 and all(abs(x - round(x)) < 1e-6 for x in lengths)
    return [
        f"L = {round(x)}" if whole else size.label for x, size in zip(lengths, sizes, strict=True)
    ]


def _verdict(rows: Sequence[Size], dimension: int) -> tuple[str, list[Evidence]]:
    barriers = [row.barrier for row in rows]
    return order_of_transition(
        [row.length for row in rows], dimension, barriers, [row.curves for row in rows]
    )


def _not_bracketed(rows: Sequence[Size]) -> str:
    """Why there is no estimate: a size whose heat capacity is largest at an end, if there is."""
    outside = [row for row in rows if row.peaks["heat capacity"] is None]
    if not outside:
        return (
            "the sizes have too few maxima and crossings in common for a temperature of the "
            "infinite crystal; sample more temperatures around the maximum of the heat capacity"
        )
    row = outside[-1]
    low, high = row.histogram.range
    capacity = row.curves.heat_capacity[:, 0]
    side = "below" if capacity[0] > capacity[-1] else "above"
    remedy = "colder" if side == "below" else "hotter"
    return (
        f"no transition between {low:,.6g} and {high:,.6g} K: the heat capacity of {row.label} "
        f"rises to the end, so that it lies {side}; sample {remedy} points"
    )


# ---- what is told


def _caveats(
    sizes: Sequence[TransitionSeries],
    rows: Sequence[Size],
    verdict: str,
    estimates: Sequence[Estimate],
    result: Combined,
) -> list[Caveat]:
    found = []
    if len(rows) == 1:
        text = "Other sizes are needed for the order of the transition and for the infinite crystal"
        found.append(Caveat("warning", "one-size", f"{text}."))
    elif len(rows) == 2:
        text = "Two sizes leave the extrapolation untested; a third would test it."
        found.append(Caveat("warning", "two-sizes", text))
    if _grown(sizes).sum() == 1:
        text = (
            "The cells grow along one edge only: such a crystal becomes a rod, which orders at no "
            "temperature above zero by short-ranged interactions; give cells that grow along all."
        )
        found.append(Caveat("critical", "one-edge", text))
    if verdict == UNDECIDED and len(rows) > 1:
        text = "As the order of the transition is undecided, estimates of both kinds are combined."
        found.append(Caveat("warning", "order-undecided", text))
    walls = rows[-1].barrier
    if verdict == FIRST and (len(rows) < LEAST_SIZES or walls.height[0] < LOW):
        text = (
            "A first order by two sizes, or by barriers below 1 k_BT, is tentative: weakly "
            "first-order and continuous transitions look alike in small cells; add a larger one."
        )
        found.append(Caveat("warning", "order-tentative", text))
    if verdict == FIRST and walls.height[0] < APART:
        text = (
            f"The barrier at the largest size, {with_error(walls.height[0], walls.error)} k_BT, is "
            f"below {APART:g}: the phases are not apart yet, and half of the extrapolation is "
            "counted as an error."
        )
        found.append(Caveat("note", "phases-not-apart", text))
    if result.dof and result.chi2 / result.dof > 3.0:
        text = "The estimates contradict one another; larger cells or longer chains would tell why."
        found.append(Caveat("warning", "estimates-disagree", text))
    if verdict == CONTINUOUS and sizes[0].orders is not None and len(rows) > 1:
        names = {estimate.name for estimate in estimates}
        if "Binder crossings" not in names:
            text = "The cumulants do not cross between the temperatures sampled."
            found.append(Caveat("warning", "no-crossing", text))
    if result.values[0] > MELTING:
        text = f"{result.values[0]:,.0f} K is above melting: a real crystal would melt first."
        found.append(Caveat("critical", "above-melting", text))
    bad: dict[float | str, Mapping[str, Summary]] = {
        f"{row.label}, {t:,.6g} K": point
        for row in rows
        for t, point in zip(row.histogram.series.temperatures, row.histogram.summaries, strict=True)
    }
    return [*found, *unconverged(bad)]


def _row(row: Size) -> dict[str, Any]:
    """Plain data of one size."""
    histogram, walls = row.histogram, row.barrier
    overlap = histogram.overlap
    links = [float(overlap[k, k + 1]) for k in range(len(overlap) - 1)]
    tops = {
        name: None if top is None else {
            "temperature": float(top[0, 0]), "error": float(np.nanstd(top[0, 1:])),
            "height": float(top[1, 0]), "height_error": float(np.nanstd(top[1, 1:])),
        }
        for name, top in row.peaks.items()
    }  # fmt: skip
    latent = float(walls.latent_heat[0])
    again = walls.latent_heat[1:]
    known = np.isfinite(again).mean() >= LEAST_FOUND
    latent_error = float(np.nanstd(again)) if known else math.nan
    return {
        "label": row.label,
        "n_sites": histogram.series.n_sites,
        "length": float(row.length),
        "temperatures": list(histogram.series.temperatures),
        "blocks": list(histogram.n_blocks),
        "least_overlap": min(links),
        "least_ess": min(s.ess for point in histogram.summaries for s in point.values()),
        "barrier": float(walls.height[0]),
        "barrier_error": walls.error,
        "latent_heat": latent if math.isfinite(latent) else None,
        "latent_heat_error": latent_error if math.isfinite(latent_error) else None,
        "peaks": tops,
    }


def _curves(rows: Sequence[Size], sizes: Sequence[TransitionSeries]) -> xr.Dataset:
    """Curves of all sizes with errors, for figures and tables."""
    units = {"energy": "eV", "heat_capacity": "kB", "susceptibility": "1/eV"}
    variables: dict[str, Any] = {}
    for name in ("energy", "heat_capacity", "second", "susceptibility", "cumulant"):
        found = [getattr(row.curves, name) for row in rows]
        if found[0] is None:
            continue
        attrs = {"units": units.get(name, "1")}
        means = np.stack([one[:, 0] for one in found])
        errors = np.stack([one[:, 1:].std(axis=1) for one in found])
        variables[name] = (("size", "point"), means, attrs)
        variables[f"{name}_error"] = (("size", "point"), errors, attrs)
    walls = [row.barrier for row in rows]
    levels = max(len(wall.energy) for wall in walls)
    for name in ("energy", "distribution"):
        table = np.full((len(rows), levels), np.nan)
        for k, wall in enumerate(walls):
            table[k, : len(wall.energy)] = getattr(wall, name)
        key = "level_energy" if name == "energy" else name
        variables[key] = (("size", "level"), table)
    coords = {
        "size": [row.label for row in rows],
        "n_sites": ("size", [size.n_sites for size in sizes]),
        "length": ("size", [row.length for row in rows]),
        "temperature": (
            ("size", "point"),
            np.stack([row.curves.temperatures for row in rows]),
            {"units": "K"},
        ),
    }
    return xr.Dataset(variables, coords=coords)
