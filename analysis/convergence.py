"""Whether chains have converged: every quantity of every point, and why not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ..errors import InputError
from ..lattice import Lattice
from ..records import Run
from ..statistics import MIN_ESS, autocorrelation_time, equilibration, summary
from .caveats import shortcoming
from .changes import count_meter, open_sublattices
from .estimates import Meter, measured, sites_of, summarize_series
from .layout import coordinates_of, few, layout
from .order.commensurate import NAMED_ORDERS, ordering_vector
from .order.long_range import OrderMeter
from .point_results import fitting_orders, fraction_name
from .wording import counted

__all__ = ["BlockError", "block_error", "blocking", "diagnose", "diagnostics"]

MOST_DISCARDED = 0.2
LARGER = 1.5
LEAST_BLOCKS = 8


class BlockError(NamedTuple):
    """Error of a mean from blocks of ``length`` draws, its own error, and whether it has settled.

    Without a ``plateau`` the chains are too short for their memory, and the error, that of the
    longest blocks, is a lower bound.
    """

    error: float
    uncertainty: float
    length: int
    plateau: bool


def blocking(series: np.ndarray) -> xr.Dataset:
    r"""Error of the mean against the length of blocks that successive draws are joined into.

    .. math:: σ^2(b) = \frac{1}{n_b (n_b − 1)} \sum_{j=1}^{n_b} (\bar x_j − \bar x)^2

    for n_b blocks of b = 1, 2, 4, … draws, about the mean of all chains, itself known to one part
    in √(2(n_b − 1)). It rises until blocks are longer than the memory of the chain and then stays
    (H. Flyvbjerg and H. G. Petersen, J. Chem. Phys. 91, 461 (1989), doi:10.1063/1.457480).

    Parameters
    ----------
    series
        [n_draws, n_chains] or [n_draws].

    Returns
    -------
    Dataset over ``length`` with ``error``, ``uncertainty`` (of the error) and ``blocks``.

    Raises
    ------
    InputError
        For fewer than four draws.

    Examples
    --------
    >>> x = np.repeat(np.random.default_rng(1).normal(size=(512, 2)), 4, axis=0)
    >>> curve = blocking(x)  # every value four times: the error of the mean is twice as large
    >>> round(float(curve.error.sel(length=4) / curve.error.sel(length=1)), 2)
    2.0
    """
    x = _as_series(series)
    if len(x) < 4:
        raise InputError(f"a series of shape {x.shape} has no blocks; give at least 4 draws")
    if not np.isfinite(x).all():
        raise InputError("a series holds NaN or infinity; remove those draws")
    rows = []
    length = 1
    while len(x) >= 1 and x.size >= 4:
        n = x.size
        error = math.sqrt(float(x.var()) / (n - 1))
        rows.append((length, error, error / math.sqrt(2.0 * (n - 1)), n))
        if len(x) < 2:
            break
        x = x[len(x) % 2 :].reshape(-1, 2, x.shape[1]).mean(axis=1)
        length *= 2
    lengths, errors, uncertainties, blocks = zip(*rows, strict=True)
    return xr.Dataset(
        {
            "error": ("length", np.array(errors)),
            "uncertainty": ("length", np.array(uncertainties)),
            "blocks": ("length", np.array(blocks)),
        },
        coords={"length": ("length", np.array(lengths), {"units": "draws"})},
    )


def block_error(series: np.ndarray) -> BlockError:
    r"""Error of a mean from the shortest blocks that are long enough.

    Those with :math:`b^3 > 2 n (σ(b)/σ(1))^4` for n draws, where the bias of short blocks and the
    noise of few are about as large (U. Wolff, Comput. Phys. Commun. 156, 143 (2004),
    doi:10.1016/S0010-4655(03)00467-3; R. M. Lee et al., Phys. Rev. E 83, 066706 (2011),
    doi:10.1103/PhysRevE.83.066706). It settles there if at least eight blocks are left.

    Parameters
    ----------
    series
        [n_draws, n_chains] or [n_draws].

    Examples
    --------
    >>> found = block_error(np.random.default_rng(1).normal(size=(1000, 4)))
    >>> found.plateau, bool(abs(found.error - 4000**-0.5) < 4 * found.uncertainty)
    (True, True)
    """
    curve = blocking(series)
    lengths = curve["length"].to_numpy().astype(float)
    errors, blocks = curve["error"].to_numpy(), curve["blocks"].to_numpy()
    if errors[0] == 0.0:
        return BlockError(math.nan, math.nan, 1, False)
    enough = lengths**3 > 2.0 * blocks[0] * (errors / errors[0]) ** 4
    settled = np.flatnonzero(enough & (blocks >= LEAST_BLOCKS))
    k = int(settled[0]) if len(settled) else int(np.flatnonzero(blocks >= 4)[-1])
    uncertainty = float(curve["uncertainty"][k])
    return BlockError(float(errors[k]), uncertainty, int(lengths[k]), bool(len(settled)))


def diagnose(series: np.ndarray) -> dict[str, Any]:
    """Tell of one quantity whether its chains have converged.

    Parameters
    ----------
    series
        [n_draws, n_chains] or [n_draws].

    Returns
    -------
    ``mean``; ``error`` from the autocorrelation and ``block_error`` from blocks, with its
    ``block_uncertainty``, ``block_length`` and ``plateau``; ``n_draws`` and ``n_chains``;
    ``discard``, draws at the start that look unequilibrated; ``autocorrelation_time`` in draws;
    ``ess`` of the mean, ``ess_bulk`` and ``ess_tail`` (ArviZ; Vehtari et al. 2021,
    doi:10.1214/20-BA1221), none above the number of draws; ``rhat``; ``converged`` (R-hat below
    1.01 and 100 effective draws), ``why`` it is not, and ``remarks`` that qualify even so.

    Examples
    --------
    >>> found = diagnose(np.random.default_rng(1).normal(size=(500, 4)))
    >>> found["converged"], found["remarks"], found["ess_tail"] <= 2000
    (True, '', True)
    >>> diagnose(np.random.default_rng(1).normal(size=(10, 2)))["why"]
    '20 draws of at least 100 effective ones'
    """
    x = _as_series(series)
    n_draws, n_chains = x.shape
    result = summary(x) if n_draws > 1 else summarize_series(x)
    moves = result.ess > 0 and n_draws >= 4
    blocks = block_error(x) if moves else BlockError(math.nan, math.nan, 0, False)
    bulk, tail = _bulk_and_tail(x) if moves else (result.ess, result.ess)
    found = {
        "mean": result.mean,
        "error": result.error,
        "block_error": blocks.error,
        "block_uncertainty": blocks.uncertainty,
        "block_length": blocks.length,
        "plateau": blocks.plateau,
        "n_draws": n_draws,
        "n_chains": n_chains,
        "discard": equilibration(x) if np.isfinite(x).all() else 0,
        "autocorrelation_time": autocorrelation_time(x) if moves else math.nan,
        "ess": result.ess,
        "ess_bulk": bulk,
        "ess_tail": tail,
        "rhat": result.rhat,
        "converged": result.converged,
        "why": shortcoming(result),
    }
    if x.size < MIN_ESS:
        found["why"] = f"{counted(x.size, 'draw')} of at least {MIN_ESS} effective ones"
    return found | {"remarks": "; ".join(_remarks(found)) if moves else ""}


def _as_series(series: np.ndarray) -> np.ndarray:
    """Numbers [n_draws, n_chains], at least one of them."""
    try:
        x = np.asarray(series, dtype=float)
    except (TypeError, ValueError):
        raise InputError("a series holds no real numbers; give one for each draw") from None
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not x.size:
        raise InputError(f"a series has shape {x.shape}; give [n_draws, n_chains], not empty")
    return x


def _remarks(found: Mapping[str, Any]) -> list[str]:
    remarks = []
    if found["discard"] > MOST_DISCARDED * found["n_draws"]:
        remarks.append(f"the first {found['discard']} draws look unequilibrated")
    if not found["plateau"]:
        remarks.append("errors of blocks have not settled: the chains are short for their memory")
    elif found["block_error"] - 2 * found["block_uncertainty"] > LARGER * found["error"]:
        remarks.append(f"blocks give {found['block_error'] / found['error']:.2g} times the error")
    if found["converged"] and min(found["ess_bulk"], found["ess_tail"]) < MIN_ESS:
        which = "tails" if found["ess_tail"] < found["ess_bulk"] else "ranks"
        fewest = min(found["ess_bulk"], found["ess_tail"])
        remarks.append(f"{counted(round(fewest), 'effective draw')} of the {which}")
    return remarks


def _bulk_and_tail(x: np.ndarray) -> tuple[float, float]:
    import arviz  # noqa: PLC0415  (slow to import)

    # Rounded: equal energies that differ by rounding would be ranked apart.
    centred = x - x.mean()
    rounded = np.round(centred / np.abs(centred).max(), 9).T.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [float(arviz.ess(rounded, method=method)) for method in ("bulk", "tail")]
    bulk, tail = (min(v, float(x.size)) if math.isfinite(v) else math.nan for v in values)
    return bulk, tail


def diagnostics(run: Run, orders: Sequence[str] | None = None) -> xr.Dataset:
    """Diagnose every point and quantity of a run.

    Energy, the squared amplitude of every named order that fits the cell, and the fractions of a
    composition that is open. Occupations are read once, in bounded memory; what is kept are scalar
    series.

    Parameters
    ----------
    run
        In memory or stored; still in progress, too.
    orders
        Names of perovskite orders; all three unless given, none where the composition is open.

    Returns
    -------
    Dataset over (point, quantity) with the variables of `diagnose`, coordinates ``label`` and
    ``temperature`` (K) of the points, and a sentence as ``attrs["statement"]``. Energies are in eV
    per site. Numbers are NaN where a quantity is not defined at a point.

    Raises
    ------
    InputError
        If the run holds no draws, or the name of an order is unknown.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.records import point_dataset
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> rng = np.random.default_rng(0)
    >>> states = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, rng, 600).reshape(300, 2, 8)
    >>> arrays = {"occupation": states, "energy": rng.normal(size=(300, 2))}
    >>> table = diagnostics(Run((point_dataset(arrays, {"temperature": 900.0}),), lattice))
    >>> table.quantity.values.tolist()
    ['energy', 'rock-salt', 'layered', 'columnar']
    >>> table.attrs["statement"]
    'All quantities have converged at the one point.'
    """
    points = [point for point in run.points if point.sizes.get("draw", 0)]
    if not points:
        raise InputError("the run holds no draws yet; let it sample before it is analysed")
    free = open_sublattices(run)
    names = tuple(orders) if orders is not None else (() if free else tuple(NAMED_ORDERS))
    first = points[0]["occupation"].isel(draw=0, chain=0).to_numpy()
    fitting, _ = fitting_orders(run.lattice, names, first, free)
    rows = [_of_point(run.lattice, point, fitting, free) for point in points]
    quantities = list(dict.fromkeys(name for row in rows for name in row))
    found = layout(coordinates_of(points), run.config)
    table = _table(rows, quantities)
    coords = {
        "point": np.arange(len(points)),
        "quantity": quantities,
        "label": ("point", list(found.written)),
        "temperature": ("point", [float(p["temperature"]) for p in points], {"units": "K"}),
    }
    statement = _statement(rows, found.written)
    return xr.Dataset(table, coords=coords, attrs={"statement": statement})


def _of_point(
    lattice: Lattice,
    point: xr.Dataset,
    orders: Mapping[str, tuple[str, str]],
    free: Sequence[str],
) -> dict[str, dict[str, Any]]:
    meters: dict[str, Meter] = {
        label: OrderMeter(lattice, ordering_vector(lattice, *order))
        for label, order in orders.items()
    }
    if free:
        meters["counts"] = count_meter(lattice)
    found = measured(lattice, point["occupation"], meters) if meters else {}
    series: dict[str, np.ndarray] = {}
    if "energy" in point:
        energy = point["energy"].transpose("draw", "chain").to_numpy()
        series["energy"] = energy / lattice.n_sites
    series |= {label: found[label] for label in orders}
    for name in free:
        counts = found["counts"][:, :, lattice.names.index(name)] / len(sites_of(lattice, name))
        species = lattice.sublattices[name].species
        series |= {fraction_name((name, s)): counts[..., k] for k, s in enumerate(species) if k}
    known = {name: x for name, x in series.items() if np.isfinite(x).all()}
    return {name: diagnose(x) for name, x in known.items()}


def _table(rows: Sequence[Mapping[str, Mapping[str, Any]]], quantities: Sequence[str]) -> Any:
    example = next(value for row in rows for value in row.values())
    variables = {}
    for name, value in example.items():
        empty: Any = "" if isinstance(value, str) else False if isinstance(value, bool) else None
        cells = [[row[q][name] if q in row else empty for q in quantities] for row in rows]
        array = np.array(cells) if empty is not None else np.array(cells, dtype=float)
        variables[name] = (("point", "quantity"), array)
    return variables


def _statement(rows: Sequence[Mapping[str, Mapping[str, Any]]], labels: Sequence[str]) -> str:
    bad = [
        f"{name} at {label} ({value['why']})"
        for row, label in zip(rows, labels, strict=True)
        for name, value in row.items()
        if not value["converged"]
    ]
    noted = [
        f"{name} at {label}: {value['remarks']}"
        for row, label in zip(rows, labels, strict=True)
        for name, value in row.items()
        if value["converged"] and value["remarks"]
    ]
    where = f"all of {len(rows)} points" if len(rows) > 1 else "the one point"
    text = f"All quantities have converged at {where}."
    if bad:
        text = f"Not converged: {few(bad, '; ')}."
    return text + (f" Converged, but: {few(noted, '; ')}." if noted else "")
