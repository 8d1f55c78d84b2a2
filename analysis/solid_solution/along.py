"""Properties of a solid solution along a line of compositions, by mean crystals and by averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...compositions import Composition, parse_fractions
from ...errors import ConvergenceError, InputError
from ...lattice import Lattice
from ...sublattice import is_number, is_whole, shown
from ..estimates import as_chains, summarize_series
from .geometry import conventional
from .mean_crystal import Settings, evaluate
from .results import Ends, Series, SolidSolution

__all__ = ["lattice_parameters", "sampled_lattice_parameters"]

QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
ARRANGEMENTS = 16


def lattice_parameters(
    hamiltonian: Any,
    x: Sequence[float] = QUARTERS,
    *,
    start: Composition | None = None,
    end: Composition | None = None,
    mixings: Sequence[str] = ("sites",),
    cell: str = "isotropic",
    fmax: float = 1e-5,
    pressure_step: float = 1.0,
    max_steps: int = 500,
) -> SolidSolution:
    r"""Lattice parameter, volume, energy and bulk modulus of the mean crystal along x.

    Every site has λ = (1 − x) ``start`` + x ``end``, and cell and positions minimise E(λ): one
    relaxation of one cell per composition, without any arrangement. What E(λ) is between pure
    crystals is a rule, ``"sites"`` or ``"paper"``; ask for both to see how much hangs on it, and
    for averages over arrangements (`sampled_lattice_parameters`) to see whether either is right.

    Parameters
    ----------
    hamiltonian
        Energy model with ``mixed_energy`` and ``at``. A primitive cell will do, for all cells of a
        mean crystal are alike; its positions and cell are the first start.
    x
        Fractions of the way, 0 and 1 among them.
    start, end
        Compositions at x = 0 and 1; the first and the second species by default, where there is
        one sublattice of two species.
    mixings
        Rules of ``mixed_energy``.
    cell, fmax, pressure_step, max_steps
        As for `mean_crystal`.

    Returns
    -------
    The series by rule, with bowing, deviations from Vegard's line and energies of mixing.

    Raises
    ------
    InputError
        If the model, x or a composition cannot be used.
    ConvergenceError
        If a relaxation does not converge.

    Notes
    -----
    The rule ``"paper"`` and solid solutions by a mean crystal are those of Nam, Peng and
    Gómez-Bombarelli, Nat. Commun. 16, 4350 (2025).

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0)
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> found = lattice_parameters(mace, [0, 0.5, 1], mixings=["sites", "paper"])
    >>> found.rules, found.of("sites").lattice_parameter.shape
    (('sites', 'paper'), (3,))
    >>> abs(found.bowing("sites").value) < 0.1
    True
    """
    ends = _ends(hamiltonian.lattice, start, end)
    fractions = _checked_x(x)
    mixings = [mixings] if isinstance(mixings, str) else list(mixings)
    if not mixings or len(set(mixings)) < len(mixings):
        raise InputError(f"mixings is {shown(mixings)}; name each rule once")
    series = []
    for mixing in mixings:
        settings = Settings(mixing, cell, fmax, pressure_step, max_steps).checked(hamiltonian)
        weights = [hamiltonian.lattice.mean_weights(ends.at(fraction)) for fraction in fractions]
        # All from one start, so that no composition depends on the path to it.
        found = [evaluate(hamiltonian, lam, settings, ["bulk_modulus"]) for lam in weights]
        n = ends.n_mixed(hamiltonian.lattice)
        series.append(
            Series(
                rule=mixing,
                x=fractions,
                lengths=np.array([one.lengths for one in found]),
                lattice_parameter=np.array([one.lattice_parameter for one in found]),
                volume_per_site=np.array([one.volume / n for one in found]),
                energy_per_site=np.array([one.energy / n for one in found]),
                bulk_modulus=np.array([one.bulk_modulus for one in found]),
            )
        )
    return SolidSolution(hamiltonian.lattice, ends, cell, tuple(series))


def sampled_lattice_parameters(
    landscape: Any,
    x: Sequence[float] = QUARTERS,
    *,
    start: Composition | None = None,
    end: Composition | None = None,
    configurations: int | Mapping[float, Any] = ARRANGEMENTS,
    seed: int = 0,
) -> SolidSolution:
    """Lattice parameters along x averaged over arrangements, each relaxed with its cell.

    Parameters
    ----------
    landscape
        A ``Relaxed`` energy model with ``cell="isotropic"`` or ``"full"``.
    x, start, end
        As for `lattice_parameters`; compositions must be whole numbers of sites.
    configurations
        Random arrangements per composition; or occupations of a run by x, [n, n_sites] taken as
        independent, or [draw, chain, n_sites] and labelled arrays, whose autocorrelation makes the
        error.
    seed
        Of the random arrangements.

    Returns
    -------
    One series, "arrangements", with standard errors.

    Raises
    ------
    InputError
        If the cell of the landscape is fixed, or occupations do not have their composition.
    ConvergenceError
        If no arrangement of a composition could be relaxed.

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, Relaxed, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.05, size=(2, 1, 1))
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> relaxed = Relaxed(mace, cell="isotropic", fmax=0.01)
    >>> found = sampled_lattice_parameters(relaxed, [0, 0.5, 1], configurations=2)
    >>> found.of("arrangements").arrangements.tolist()
    [1, 2, 1]
    """
    lattice: Lattice = landscape.lattice
    if not hasattr(landscape, "relaxed"):
        raise InputError(
            f"{type(landscape).__name__} does not relax: give Relaxed(hamiltonian, cell=True)"
        )
    if landscape.cell == "fixed":
        raise InputError('the landscape has a fixed cell: give Relaxed(…, cell="full")')
    ends, fractions = _ends(lattice, start, end), _checked_x(x)
    if not isinstance(configurations, Mapping) and not is_whole(configurations, least=2):
        raise InputError(
            f"configurations is {shown(configurations)}; give a number of 2 or more, or "
            "occupations by x"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    points = []
    for fraction in fractions:
        composition = ends.at(fraction)
        if isinstance(configurations, Mapping):
            states = _given(configurations, float(fraction))
        else:
            states = lattice.random(composition, rng, configurations)
        points.append(_averaged(landscape, ends, composition, states, float(fraction)))
    columns = [np.array(column) for column in zip(*points, strict=True)]
    series = Series("arrangements", fractions, *columns)
    return SolidSolution(lattice, ends, landscape.cell, (series,))


class _Point(NamedTuple):
    """Averages at one composition, in the order of `Series`."""

    lengths: np.ndarray
    lattice_parameter: float
    volume_per_site: float
    energy_per_site: float
    bulk_modulus: float
    lattice_parameter_error: float
    volume_error: float
    energy_error: float
    arrangements: int
    failures: int


def _averaged(
    landscape: Any, ends: Ends, composition: Composition, states: Any, x: float
) -> _Point:
    lattice: Lattice = landscape.lattice
    chains = as_chains(lattice, states)
    n_draws, n_chains, n_sites = chains.shape
    occupations = lattice.check(np.asarray(chains[:]).reshape(-1, n_sites))
    counts = lattice.counts(occupations)
    expected = np.zeros(counts.shape[1:])
    for row, part in zip(expected, lattice.composition_counts(composition).values(), strict=True):
        row[: len(part)] = part
    if (counts != expected).any():
        raise InputError(f"an occupation for x = {x:g} has another composition; sort them by x")
    distinct, back = np.unique(occupations, axis=0, return_inverse=True)
    minima = landscape.relaxed(distinct)
    good = np.asarray(minima.converged)[back]
    if not good.any():
        raise ConvergenceError(
            f"none of {len(distinct)} arrangements at x = {x:g} relaxed ({minima.problems[0]}): "
            "raise max_steps or fmax, or start from another cell"
        )
    shape, n = conventional(lattice), ends.n_mixed(lattice)
    cells = np.asarray(minima.cells)[back]
    values = {
        "a": shape.lattice_parameter(cells),
        "volume": np.abs(np.linalg.det(cells)) / n,
        "energy": np.asarray(minima.energies)[back] / n,
    }
    of = {name: _mean(one, good, (n_draws, n_chains)) for name, one in values.items()}
    if len(distinct) == 1:  # without another arrangement nothing scatters, else it is not known
        alone = ((expected > 0).sum(axis=1) <= 1).all()
        of = {name: (mean, 0.0 if alone else np.nan) for name, (mean, _) in of.items()}
    return _Point(
        lengths=shape.lengths(cells[good]).mean(axis=0),
        lattice_parameter=of["a"][0],
        volume_per_site=of["volume"][0],
        energy_per_site=of["energy"][0],
        bulk_modulus=np.nan,
        lattice_parameter_error=of["a"][1],
        volume_error=of["volume"][1],
        energy_error=of["energy"][1],
        arrangements=int(good.sum()) if len(distinct) > 1 else 1,
        failures=int((~good).sum()),
    )


def _mean(values: np.ndarray, good: np.ndarray, shape: tuple[int, int]) -> tuple[float, float]:
    """Mean and standard error; unknown where a chain has gaps."""
    if good.all():
        found = summarize_series(values.reshape(shape))
    elif shape[0] == 1:
        found = summarize_series(values[good][None])
    else:
        return float(values[good].mean()), np.nan
    return found.mean, found.error


def _given(configurations: Mapping[float, Any], x: float) -> Any:
    for key, states in configurations.items():
        if abs(float(key) - x) < 1e-9:
            return states
    raise InputError(f"configurations has no entry for x = {x:g}; give occupations for every x")


def _checked_x(x: Sequence[float]) -> np.ndarray:
    values = list(x)
    if not all(is_number(one) and 0 <= one <= 1 for one in values):
        raise InputError(f"x is {shown(values)}; give numbers from 0 to 1")
    found = np.unique(np.array(values, dtype=float))
    if len(found) < 2 or found[0] != 0 or found[-1] != 1:
        raise InputError(f"x is {shown(values)}; it needs 0 and 1, which Vegard's line joins")
    return found


def _ends(lattice: Lattice, start: Composition | None, end: Composition | None) -> Ends:
    if (start is None) != (end is None):
        raise InputError("give both start and end, the compositions at x = 0 and 1, or neither")
    if start is None or end is None:
        mixed = [name for name, s in lattice.sublattices.items() if len(s.species) > 1]
        if len(mixed) != 1 or len(lattice.sublattices[mixed[0]].species) != 2:
            raise InputError(
                "start and end, the compositions at x = 0 and 1, are needed where there is more "
                "than one sublattice of two species"
            )
        first, second = lattice.sublattices[mixed[0]].species
        start, end = {mixed[0]: {first: 1.0}}, {mixed[0]: {second: 1.0}}
    parts = [parse_fractions(lattice.sublattices, one) for one in (start, end)]
    if all(np.array_equal(parts[0][name], parts[1][name]) for name in parts[0]):
        raise InputError("start and end are the same composition; nothing changes along x")
    return Ends(*(_plain(lattice, part) for part in parts))


def _plain(lattice: Lattice, fractions: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {
        name: dict(zip(lattice.sublattices[name].species, values.tolist(), strict=True))
        for name, values in fractions.items()
    }
