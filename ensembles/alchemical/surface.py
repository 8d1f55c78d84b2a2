"""The weight of λ as a function of free coordinates, for dynamics to follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import units

from ...errors import InputError
from ...protocols import Ensemble
from .biases import Biases
from .maps import SimplexMap
from .mixed import MixedModel

__all__ = ["Measure", "Mixed", "Potential", "Surface", "beta_of", "plain_measure"]

Measure = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Takes θ [n, n_groups, K] and the replicas [n] they are of; gives ln measure [n] and slopes."""


def beta_of(ensemble: Ensemble) -> float:
    """1/k_BT in 1/eV.

    Raises
    ------
    InputError
        If the ensemble has no temperature.
    """
    beta = getattr(ensemble, "beta", None)
    if beta is None and hasattr(ensemble, "temperature"):
        beta = 1.0 / (units.kB * ensemble.temperature)
    if beta is None:
        raise InputError(
            f"{type(ensemble).__name__} has no temperature at which λ could move: give an ensemble "
            "that has one, such as SemiGrandCanonical"
        )
    return float(beta)


class Mixed(NamedTuple):
    """What was found at λ of n replicas.

    ``energy`` [n] in eV, of the model alone; ``gradient`` [n, n_groups, K] in eV, ∂/∂λ of the
    model's energy; ``value`` [n] and ``slope`` [n, n_groups, K] in k_BT, of all; ``forces``
    [n, n_atoms, 3] in eV/Å or None.
    """

    energy: np.ndarray
    gradient: np.ndarray
    value: np.ndarray
    slope: np.ndarray
    forces: np.ndarray | None


class Potential:
    r"""β[E(λ) − Σ_k μ_k N_k(λ) + Σ_k q_k N_k(λ)² + B(λ)], what an ensemble's weight becomes at λ.

    N_k(λ) = Σ_i λ_ik counts the species of a sublattice; μ and q are the ensemble's ``potentials``
    and ``stiffness`` where it has any; B is the bias.

    Parameters
    ----------
    model
        Energies between species.
    ensemble
        Has a temperature.
    biases
        Of the same groups.
    """

    def __init__(self, model: MixedModel, ensemble: Ensemble, biases: Biases | None = None) -> None:
        self.model, self.biases, self.beta = model, biases, beta_of(ensemble)
        groups = model.groups
        shape = (len(groups.lattice.names), groups.lattice.n_species_max)
        mu, stiff = (getattr(ensemble, name, None) for name in ("potentials", "stiffness"))
        self._mu = np.zeros(shape) if mu is None else np.asarray(mu)
        self._stiff = None if stiff is None else np.asarray(stiff)

    def evaluate(
        self,
        weights: np.ndarray,
        occupations: np.ndarray,
        positions: np.ndarray | None = None,
        cells: np.ndarray | None = None,
    ) -> Mixed:
        """Evaluate at λ of groups [n, n_groups, K]; forces where positions are given."""
        energy, gradient, forces = self.model.evaluate_all(
            weights, occupations, positions, cells, forces=positions is not None
        )
        value, slope = energy.copy(), gradient.copy()
        self._add_composition(weights, occupations, value, slope)
        if self.biases is not None:
            value += self.biases.energy(weights)
            slope += self.biases.gradient(weights)
        return Mixed(energy, gradient, self.beta * value, self.beta * slope, forces)

    def composition(self, weights: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """−Σ_k μ_k N_k(λ) + Σ_k q_k N_k(λ)² of λ of groups [n, n_groups, K], in eV, [n]."""
        value, slope = np.zeros(len(weights)), np.zeros_like(weights)
        self._add_composition(weights, occupations, value, slope)
        return value

    def _add_composition(
        self, weights: np.ndarray, occupations: np.ndarray, value: np.ndarray, slope: np.ndarray
    ) -> None:
        groups = self.model.groups
        where = groups.sublattice_of_group
        sized = groups.sizes[:, None] * self._mu[where]
        value -= (sized * weights).reshape(len(weights), -1).sum(axis=1)
        slope -= sized
        if self._stiff is None:
            return
        counts = self._counts(weights, occupations)
        value += (self._stiff * counts**2).reshape(len(weights), -1).sum(axis=1)
        slope += 2.0 * groups.sizes[:, None] * (self._stiff * counts)[:, where]

    def _counts(self, weights: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """N_k(λ), [n, n_sublattices, K], sites in no group included."""
        lattice = self.model.groups.lattice
        lam = self.model.groups.lam(weights, occupations)
        parts = [lam[:, lattice.site_slice(name)].sum(axis=1) for name in lattice.names]
        return np.stack(parts, axis=1)


class Surface:
    """U(θ) = β[…](λ(θ)) − ln measure(θ) in k_BT over flat coordinates, and positions beside them.

    Flat coordinates are the θ of the species that there are, group by group, and then, where they
    move, the positions in Å.

    Parameters
    ----------
    potential
        Of λ.
    simplex
        Map from θ to λ.
    measure
        Of θ.
    occupations
        [n, n_sites] of all replicas: what sites in no group hold.
    allowed
        Species that groups may have a weight of, bool [n, n_groups, K].
    cells
        [n, 3, 3] where positions move.
    """

    def __init__(
        self,
        potential: Potential,
        simplex: SimplexMap,
        measure: Measure,
        occupations: np.ndarray,
        allowed: np.ndarray,
        *,
        cells: np.ndarray | None = None,
    ) -> None:
        self.potential, self.simplex, self.measure = potential, simplex, measure
        self.occupations, self.cells = occupations, cells
        self.allowed = allowed
        self._there = potential.model.groups.allowed
        self.n_theta = int(self._there.sum())
        self.calls = np.zeros(len(occupations), dtype=np.int64)

    def flat(self, theta: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
        """Flat coordinates [n, d]."""
        found = theta[:, self._there]
        if positions is None:
            return found
        return np.concatenate([found, positions.reshape(len(found), -1)], axis=1)

    def theta(self, place: np.ndarray) -> np.ndarray:
        """θ [n, n_groups, K] of flat coordinates."""
        found = np.zeros((len(place), *self._there.shape))
        found[:, self._there] = place[:, : self.n_theta]
        return found

    def positions(self, place: np.ndarray) -> np.ndarray | None:
        """Positions [n, n_atoms, 3] of flat coordinates; None where they do not move."""
        if self.cells is None:
            return None
        return place[:, self.n_theta :].reshape(len(place), -1, 3)

    def weights(self, place: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """λ [n, n_groups, K] of flat coordinates of replicas ``rows``."""
        return self.simplex.weights(self.theta(place), self.allowed[rows])

    def mixed(self, place: np.ndarray, rows: np.ndarray) -> Mixed:
        """Evaluate the potential at flat coordinates of replicas ``rows``."""
        self.calls[rows] += 1
        cells = None if self.cells is None else self.cells[rows]
        return self.potential.evaluate(
            self.weights(place, rows), self.occupations[rows], self.positions(place), cells
        )

    def __call__(self, place: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """U [n] and its slopes [n, d]."""
        return self.total(place, rows, self.mixed(place, rows))

    def total(
        self, place: np.ndarray, rows: np.ndarray, found: Mixed
    ) -> tuple[np.ndarray, np.ndarray]:
        """U and its slopes where the potential is known."""
        theta = self.theta(place)
        log_measure, log_slopes = self.measure(theta, rows)
        weights = self.weights(place, rows)
        slopes = self.simplex.pulled_back(theta, weights, found.slope) - log_slopes
        pushes = None if found.forces is None else -self.potential.beta * found.forces
        return found.value - log_measure, self.flat(slopes, pushes)


def plain_measure(simplex: SimplexMap, allowed: np.ndarray) -> Measure:
    """Measure of a map at zero potential, for groups that may hold ``allowed`` [n_groups, K]."""

    def measure(theta: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
        each = np.where(allowed, simplex.log_measure(theta), 0.0)
        slopes = np.where(allowed, simplex.log_measure_slopes(theta), 0.0)
        return each.sum(axis=(1, 2)), slopes

    return measure
