"""What a transition is told by: energy and order parameter of every draw, size by size."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from ase.units import GPa

from ...errors import InputError
from ...lattice import Lattice
from ...records import Run
from ...sublattice import is_number, shown
from ..biased import refuse_biased
from ..caveats import landscape_of
from ..changes import count_meter
from ..estimates import Meter, as_chains, measured, sites_of, species_labels
from ..order.commensurate import OrderingVector, ordering_vector
from ..wording import counted

__all__ = ["Order", "TransitionSeries", "merged", "transition_series"]

Order = str | tuple[float, float, float] | Callable[[Lattice, np.ndarray], np.ndarray] | None
"""An ordering vector, or a function of (lattice, occupations [n, n_sites]) that gives m² [n]."""


@dataclass(frozen=True)
class TransitionSeries:
    """Scalar series of one cell at several temperatures: all that is left of its occupations.

    Parameters
    ----------
    n_sites
        Sites that order.
    cell
        Vectors of the cell, rows in Å.
    temperatures
        K, one per point.
    energies
        Per point, [n_draws, n_chains] in eV per cell: E − Σμ N + PV, whatever stands in the
        Boltzmann factor.
    orders
        Per point, m² = |ψ|² [n_draws, n_chains]; None where only energies are asked for.
    ladders
        Per point, the number of the ladder that it is a rung of: rungs of one ladder exchange
        states and are drawn again together. −1 for chains of their own.
    kind
        What must be the same at every size: species, composition, chemical potentials, order.

    Raises
    ------
    InputError
        If the numbers of points or the shapes of the series differ, a value is not finite, a
        temperature not positive, or an order negative.
    """

    n_sites: int
    cell: np.ndarray
    temperatures: tuple[float, ...]
    energies: tuple[np.ndarray, ...]
    orders: tuple[np.ndarray, ...] | None = None
    ladders: tuple[int, ...] = ()
    kind: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.temperatures)
        for name in ("energies", "orders"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(np.asarray(x) for x in given))
        if not self.ladders:
            object.__setattr__(self, "ladders", (-1,) * n)
        lengths = {n, len(self.energies), len(self.ladders)}
        lengths |= set() if self.orders is None else {len(self.orders)}
        if lengths != {n} or n == 0:
            raise InputError(f"lists of lengths {sorted(lengths)}; give one entry per temperature")
        for k, t in enumerate(self.temperatures):
            if not is_number(t) or t <= 0:
                raise InputError(f"a temperature is {shown(t)}; give numbers above 0, in K")
            series = [self.energies[k], *([] if self.orders is None else [self.orders[k]])]
            if len({x.shape for x in series}) > 1 or series[0].ndim != 2 or not series[0].size:
                raise InputError(
                    f"series of shapes {', '.join(str(x.shape) for x in series)} at {t:g} K; "
                    "give the same [n_draws, n_chains] for every quantity"
                )
            if not all(np.isfinite(x).all() for x in series):
                raise InputError(f"a series at {t:g} K holds NaN or infinity; remove those draws")
            if self.orders is not None and (self.orders[k] < 0).any():
                raise InputError(
                    f"an order at {t:g} K is {self.orders[k].min():.3g}; give m² (never negative), "
                    "not m"
                )

    @property
    def label(self) -> str:
        """How the size is called."""
        return counted(self.n_sites, "site")


def transition_series(
    run: Run, order: Order = "rock-salt", sublattice: str | None = None
) -> TransitionSeries:
    r"""Energy and squared order parameter of every draw of a run; occupations may then be dropped.

    .. math:: m^2 = 2 \sum_{q} \sum_k |ψ_{qk}|^2, \qquad
              ψ_{qk} = \frac1N \sum_i (σ_{ik} - c_k) e^{-2πi q·r_i},

    summed over the arms of the star and the species: 1 for two species in equal parts in the
    perfect order, and the square of the staggered magnetisation of the equivalent Ising model. It
    is not divided by what a draw's own composition allows (as `ordering_series` is), so that
    moments stay those of one variable where the composition fluctuates; ratios of moments do not
    depend on the factor.

    Parameters
    ----------
    run
        Points of several temperatures, independent or rungs of ladders; the ensemble may be
        canonical, or open with the same μ (or φ and κ) at all points. Read block by block.
    order
        As for `ordering_vector`; a function of the lattice and occupations [n, n_sites] that
        returns m² [n]; or None, for energies alone.
    sublattice
        Which sublattice orders; may be left out if there is only one.

    Returns
    -------
    The series with the cell and what identifies the system.

    Raises
    ------
    InputError
        If the order does not fit the cell, a point has no temperature or no draws, points differ
        in more than their temperature, or draws follow a bias, as those of `GibbsLambda`.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.records import point_dataset
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> states = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(0), 12)
    >>> arrays = {"occupation": states.reshape(6, 2, 8), "energy": np.zeros((6, 2))}
    >>> series = transition_series(Run((point_dataset(arrays, {"temperature": 900.0}),), lattice))
    >>> series.temperatures, series.orders[0].shape, series.kind["composition of B"]
    ((900.0,), (6, 2), (0.5, 0.5))
    """
    lattice = run.lattice
    if order is None or callable(order):
        names = lattice.names if sublattice is None else [sublattice]
        for name in names:
            species_labels(lattice, name)
        n_sites = sum(len(sites_of(lattice, name)) for name in names)
        wave = None
    else:
        wave = ordering_vector(lattice, order, sublattice)
        n_sites = len(sites_of(lattice, wave.sublattice))
    points = [point for point in run.points if point.sizes.get("draw", 0)]
    if not points:
        raise InputError("the run holds no draws yet; let it sample before it is analysed")
    refuse_biased(points, "transition temperatures")
    kinds = [_kind(lattice, point, order) for point in points]
    for point, kind in zip(points, kinds, strict=True):
        _require_same(kind, kinds[0], f"the point at {float(point['temperature']):g} K")
    scalars = [_scalars(lattice, point, order, wave) for point in points]
    orders = None if order is None else tuple(m for _, m in scalars if m is not None)
    laddered = "walker" in points[0] and len(points) > 1
    return TransitionSeries(
        n_sites=n_sites,
        cell=np.asarray(lattice.atoms.cell.array),
        temperatures=tuple(float(point["temperature"]) for point in points),
        energies=tuple(energy for energy, _ in scalars),
        orders=orders,
        ladders=(0 if laddered else -1,) * len(points),
        kind=kinds[0] | _model(run),
    )


def merged(parts: Sequence[TransitionSeries]) -> list[TransitionSeries]:
    """Join series of the same cell, sorted by size; all must be of one kind.

    Raises
    ------
    InputError
        If kinds differ, or only some of the parts have an order parameter.
    """
    if not parts:
        raise InputError("no run was given; give one per size, each with several temperatures")
    if len({part.orders is None for part in parts}) > 1:
        raise InputError("some series have an order parameter and some do not; give it for all")
    groups: list[list[TransitionSeries]] = []
    for part in sorted(parts, key=lambda part: part.n_sites):
        _require_same(part.kind, parts[0].kind, f"the run of {part.label}")
        for group in groups:
            if group[0].n_sites == part.n_sites and np.allclose(group[0].cell, part.cell):
                group.append(part)
                break
        else:
            groups.append([part])
    return [_joined(group) for group in groups]


def _joined(group: Sequence[TransitionSeries]) -> TransitionSeries:
    """One series of several, their points from cold to hot."""
    rows = [
        (t, part.energies[k], None if part.orders is None else part.orders[k], ladder)
        for number, part in enumerate(group)
        for k, t in enumerate(part.temperatures)
        for ladder in [number if part.ladders[k] >= 0 else -1]
    ]
    rows.sort(key=lambda row: row[0])
    temperatures, energies, orders, ladders = zip(*rows, strict=True)
    return replace(
        group[0],
        temperatures=temperatures,
        energies=energies,
        orders=None if group[0].orders is None else orders,
        ladders=ladders,
    )


def _require_same(kind: Mapping[str, Any], first: Mapping[str, Any], where: str) -> None:
    for name in sorted({*kind, *first}):
        a, b = kind.get(name), first.get(name)
        if a != b:
            raise InputError(
                f"{where} has {name} = {_written(a)}, the first {_written(b)}: a transition "
                "temperature needs one system that differs in temperature and size alone"
            )


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(_written(v) for v in value) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(lattice: Lattice, point: xr.Dataset, order: Order) -> dict[str, Any]:
    """Return what has to be the same at all points and sizes."""
    if "temperature" not in point.coords:
        raise InputError("a point has no temperature; give each its coordinate, in K")
    scalars = {
        str(name): float(value)
        for name, value in point.coords.items()
        if not value.ndim and name not in {"temperature", "sweep"}
    }
    name = getattr(order, "__name__", "given") if callable(order) else str(order)
    name = "given" if name == "<lambda>" else name
    found: dict[str, Any] = {"order": name, **scalars}
    first = as_chains(lattice, point["occupation"].isel(draw=slice(0, 1), chain=slice(0, 1)))[0, 0]
    for sublattice, what in lattice.sublattices.items():
        found[f"species of {sublattice}"] = tuple(what.species)
        prefixes = tuple(f"{prefix}_{sublattice}_" for prefix in ("mu", "phi"))
        if not any(scalar.startswith(prefixes) for scalar in scalars):
            held = first[sites_of(lattice, sublattice)]
            counts = np.bincount(held, minlength=len(what.species))
            found[f"composition of {sublattice}"] = tuple((counts / len(held)).round(9).tolist())
    return found


def _model(run: Run) -> dict[str, Any]:
    """Energy model and landscape of a run, as far as it tells them."""
    potential = run.config.get("potential")
    if not isinstance(potential, Mapping):
        return {}
    told = json.dumps(dict(potential), sort_keys=True, default=str)
    model = run.attrs.get("model")
    digest = model.get("sha256") if isinstance(model, Mapping) else None
    found = {"potential": told, "landscape": landscape_of(run)}
    return found | ({"model": str(digest)} if digest else {})


def _enthalpy(lattice: Lattice, point: xr.Dataset, counts: np.ndarray | None) -> np.ndarray:
    """E − Σ μ N + PV [n_draws, n_chains]: what stands in the Boltzmann factor."""
    energy = point["energy"].transpose("draw", "chain").to_numpy().astype(float)
    if counts is not None:
        energy = energy - np.einsum("dcsk,sk->dc", counts, _potentials(lattice, point))
    if "cell" in point and "pressure" in point.coords:
        cells = point["cell"].transpose("draw", "chain", ...).to_numpy()
        energy = energy + float(point["pressure"]) * GPa * np.abs(np.linalg.det(cells))
    return energy


def _potentials(lattice: Lattice, point: xr.Dataset) -> np.ndarray:
    """Chemical potentials in eV, [n_sublattices, n_species_max]; 0 where there is none."""
    table = np.zeros((len(lattice.names), lattice.n_species_max))
    for row, (name, sublattice) in zip(table, lattice.sublattices.items(), strict=True):
        for k, species in enumerate(sublattice.species):
            row[k] = float(point.coords.get(f"mu_{name}_{species}", 0.0))
    return table


def _scalars(
    lattice: Lattice, point: xr.Dataset, order: Order, wave: OrderingVector | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Enthalpies and m² of a point; its occupations are read once, if at all."""
    meters: dict[str, Meter] = {}
    if _potentials(lattice, point).any():
        meters["counts"] = count_meter(lattice)
    if wave is not None:
        meters["order"] = _squared(lattice, wave)
    elif callable(order):
        meters["order"] = _called(lattice, order)
    found = measured(lattice, point["occupation"], meters) if meters else {}
    return _enthalpy(lattice, point, found.get("counts")), found.get("order")


def _called(lattice: Lattice, order: Callable[[Lattice, np.ndarray], np.ndarray]) -> Meter:
    """Measure m² by a function that was given, one real number for each configuration."""

    def power(flat: np.ndarray) -> np.ndarray:
        found = np.asarray(order(lattice, flat))
        if found.shape != (len(flat),) or found.dtype.kind not in "iuf":
            raise InputError(
                f"the order gave {found.dtype} values of shape {found.shape} for {len(flat)} "
                f"occupations; give real m² of shape ({len(flat)},)"
            )
        return found.astype(float)

    return power


def _squared(lattice: Lattice, wave: OrderingVector) -> Meter:
    """Measure m² of occupations [n, n_sites]."""
    sites = sites_of(lattice, wave.sublattice)
    n_species = len(lattice.sublattices[wave.sublattice].species)
    phases = wave.phases.real if np.abs(wave.phases.imag).max() == 0 else wave.phases
    phases = (phases - phases.mean(axis=1, keepdims=True)).T / len(sites)  # takes c_k out

    def power(flat: np.ndarray) -> np.ndarray:
        held = flat[:, sites]
        waves = [(held == k).astype(float) @ phases for k in range(1, n_species)]
        waves.append(-np.sum(waves, axis=0))  # a site holds one species
        return np.asarray(2.0 * sum((np.abs(psi) ** 2).sum(axis=1) for psi in waves))

    return power
