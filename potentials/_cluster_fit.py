"""Ridge regression of cluster expansions on energies and alchemical gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..sublattice import is_number, is_whole, shown
from .lattice_hamiltonian import LatticeHamiltonian

__all__ = ["fit_parameters"]


class _Rows(NamedTuple):
    """Rows of the regression that belong to one configuration, already weighted."""

    matrix: np.ndarray
    target: np.ndarray


def fit_parameters(
    basis: Any,
    lattice: Lattice,
    occupations: np.ndarray,
    energies: np.ndarray,
    gradients: np.ndarray | None,
    *,
    site_field: bool,
    gradient_weight: float,
    alphas: Sequence[float],
    folds: int,
) -> tuple[np.ndarray, np.ndarray | None, Any]:
    """Parameters of the cell's energy in the basis, field of every site, and a ``FitReport``.

    Columns: the basis functions of ``basis``; with ``site_field`` one per site and species but
    the first; with gradients one per flip (sublattice, species held, species to become), which is
    no part of the energy. An energy's row is divided by √n_sites, so that it weighs as much as the
    flip energies of a site that add up to it.
    """
    from .cluster_expansion import FitReport, pair_types  # noqa: PLC0415

    occupations, energies, gradients = _checked(lattice, occupations, energies, gradients)
    alphas = _checked_settings(gradient_weight, alphas, folds)
    flips = pair_types(lattice) if gradients is not None else []
    units = _unit_models(basis, lattice)
    rows = []
    for n, occupation in enumerate(occupations):
        slopes = None if gradients is None else gradients[n]
        rows.append(
            _rows(
                units, lattice, occupation, float(energies[n]), slopes,
                site_field=site_field, flips=flips, weight=gradient_weight,
            )
        )  # fmt: skip
    n_field = int((np.asarray(lattice.allowed).sum(axis=1) - 1).sum()) if site_field else 0
    free = np.zeros(len(units) + n_field + len(flips), dtype=bool)
    free[0] = True  # the constant is not held back
    alpha, validation = _choose_alpha(rows, free, alphas, folds, lattice.n_sites)
    solution = _ridge(rows, free, alpha)
    parameters = solution[: len(units)]
    field = _field(lattice, solution[len(units) : len(units) + n_field]) if site_field else None
    energy_errors, slope_errors = [], []
    for part in rows:
        residual = part.matrix @ solution - part.target
        energy_errors.append(residual[0] * np.sqrt(lattice.n_sites))
        slope_errors.append(residual[1:] / gradient_weight)
    slopes = np.concatenate(slope_errors)
    report = FitReport(
        alpha=alpha,
        energy_rmse=float(np.sqrt(np.mean(np.square(energy_errors))) / lattice.n_sites),
        gradient_rmse=float(np.sqrt(np.mean(slopes**2))) if slopes.size else float("nan"),
        validation_rmse=validation,
        n_data=sum(len(part.target) for part in rows),
        n_parameters=len(solution),
    )
    return parameters, field, report


def _checked(
    lattice: Lattice,
    occupations: np.ndarray,
    energies: np.ndarray,
    gradients: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    occupations = np.atleast_2d(lattice.check(occupations))
    energies = np.asarray(energies, dtype=float)
    if energies.shape != occupations.shape[:1]:
        raise InputError(
            f"energies have shape {energies.shape}; one per configuration, "
            f"{occupations.shape[:1]}, was expected"
        )
    if len(occupations) < 2:
        raise InputError("a fit needs at least 2 configurations")
    if gradients is not None:
        gradients = np.asarray(gradients, dtype=float)
        expected = (*occupations.shape, lattice.n_species_max)
        if gradients.shape != expected:
            raise InputError(f"gradients have shape {gradients.shape}; {expected} was expected")
        if not np.isfinite(gradients).all():
            raise InputError("gradients are not finite; leave out the configurations concerned")
    if not np.isfinite(energies).all():
        raise InputError("energies are not finite; leave out the configurations concerned")
    return occupations, energies, gradients


def _checked_settings(
    gradient_weight: float, alphas: Sequence[float], folds: int
) -> Sequence[float]:
    """Return the penalties as a list."""
    if not is_number(gradient_weight) or gradient_weight <= 0:
        raise InputError(
            f"gradient_weight is {shown(gradient_weight)}; give a finite number above 0, or leave "
            "the gradients out"
        )
    given = list(alphas) if isinstance(alphas, Sequence | np.ndarray) else [alphas]
    if not given or not all(is_number(alpha) and alpha >= 0 for alpha in given):
        raise InputError(f"alphas are {given}; give penalties of at least 0")
    if not is_whole(folds, least=1):
        raise InputError(f"folds is {shown(folds)}; give a whole number, 1 for no validation")
    return [float(alpha) for alpha in given]


def _unit_models(basis: Any, lattice: Lattice) -> list[LatticeHamiltonian]:
    """One energy model per basis function, with its parameter at one."""
    models = []
    for n in range(basis.n_parameters):
        parameters = np.zeros(basis.n_parameters)
        parameters[n] = 1.0
        constant, interactions = basis.interactions(parameters)
        models.append(
            LatticeHamiltonian(lattice, basis.tiling, interactions, constant=constant, threads=1)
        )
    return models


def _rows(
    units: list[LatticeHamiltonian],
    lattice: Lattice,
    occupation: np.ndarray,
    energy: float,
    slopes: np.ndarray | None,
    *,
    site_field: bool,
    flips: list[tuple[int, int, int]],
    weight: float,
) -> _Rows:
    allowed = np.asarray(lattice.allowed)
    results = [model.energy_and_gradient(occupation) for model in units]
    shared = 1.0 / np.sqrt(lattice.n_sites)
    weights = lattice.weights(occupation)
    columns = np.array([float(e) for e, _ in results])
    own = weights[:, 1:][allowed[:, 1:]] if site_field else np.zeros(0)
    top = shared * np.concatenate([columns, own, np.zeros(len(flips))])[None]
    if slopes is None:
        return _Rows(top, np.array([shared * energy]))
    sites = np.arange(lattice.n_sites)
    held = np.asarray(occupation, dtype=np.int64)
    site, species = np.nonzero(allowed & (np.arange(allowed.shape[1]) != held[:, None]))
    step = lambda g: g[site, species] - g[sites, held][site]  # noqa: E731
    parts = [np.stack([step(g) for _, g in results], axis=1)]
    if site_field:
        names = np.full(allowed.shape, -1)
        names[:, 1:][allowed[:, 1:]] = np.arange(int(allowed[:, 1:].sum()))
        block = np.zeros((len(site), int(allowed[:, 1:].sum())))
        for column, sign in ((names[site, species], 1.0), (names[site, held[site]], -1.0)):
            rows = np.flatnonzero(column >= 0)
            block[rows, column[rows]] += sign
        parts.append(block)
    kinds = np.zeros((len(site), len(flips)))
    sublattice = np.asarray(lattice.sublattice_of_site)[site]
    for n, (s, a, b) in enumerate(flips):
        kinds[(sublattice == s) & (held[site] == a) & (species == b), n] = 1.0
    parts.append(kinds)
    matrix = np.vstack([top, weight * np.concatenate(parts, axis=1)])
    return _Rows(matrix, np.concatenate([[shared * energy], weight * step(slopes)]))


def _field(lattice: Lattice, values: np.ndarray) -> np.ndarray:
    allowed = np.asarray(lattice.allowed)
    field = np.zeros(allowed.shape)
    inner = field[:, 1:]
    inner[allowed[:, 1:]] = values
    return field


def _ridge(rows: list[_Rows], free: np.ndarray, alpha: float) -> np.ndarray:
    """Least squares with a penalty on all but the ``free`` columns, each in units of its size."""
    matrix = np.vstack([part.matrix for part in rows])
    target = np.concatenate([part.target for part in rows])
    size = np.sqrt((matrix**2).sum(axis=0))
    size[size == 0.0] = 1.0
    scaled = matrix / size
    penalty = np.where(free, 1e-14, max(alpha, 1e-14))
    normal = scaled.T @ scaled + np.diag(penalty)
    # A second pass takes up what the normal equations lose to rounding.
    right = scaled.T @ target
    solution = np.linalg.solve(normal, right)
    residual = scaled.T @ (target - scaled @ solution) - penalty * solution
    solution = solution + np.linalg.solve(normal, residual)
    return np.asarray(solution / size)


def _choose_alpha(
    rows: list[_Rows], free: np.ndarray, alphas: Sequence[float], folds: int, n_sites: int
) -> tuple[float, float]:
    """Penalty with the least error of left-out energies, and that error in eV per site."""
    folds = min(folds, len(rows))
    if folds < 2:
        return float(alphas[0]), float("nan")
    best = (np.inf, float(alphas[0]))
    for alpha in alphas:
        squares = []
        for fold in range(folds):
            kept = [part for n, part in enumerate(rows) if n % folds != fold]
            solution = _ridge(kept, free, float(alpha))
            squares += [
                float(part.matrix[0] @ solution - part.target[0]) ** 2
                for n, part in enumerate(rows)
                if n % folds == fold
            ]
        best = min(best, (float(np.mean(squares)), float(alpha)))
    return best[1], float(np.sqrt(best[0] * n_sites) / n_sites)
