"""What a trajectory of λ says of vertices: weights that carry its draws over to occupations."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units

from ...errors import InputError
from ...sublattice import is_number, shown
from .arrangements import Arrangements
from .groups import Groups
from .moving_atoms import MovingAtoms
from .surface import beta_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Corners", "vertex_log_weights", "vertex_states"]

MOST_VERTICES = 64
MOST_POWER = 1000.0
POWERS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


def vertex_log_weights(trajectory: xr.Dataset, power: float | None = None) -> np.ndarray:
    r"""Logarithm of the weight of every vertex in every draw of a trajectory.

    The mean of

    .. math:: w_x = \frac{m(θ)}{\tilde m(θ)} \prod_g λ_{g x_g}^p\;
              \exp\big(−β[U(x, R) − U(λ, R) − B(λ)]\big)

    over the trajectory is, up to one factor that all vertices share, the partition function of the
    vertex x with the atoms integrated over, exactly and for every p: m(θ) Π λ^p is a density of θ
    near the vertex whose norm does not depend on the species, and the rest carries the weight of
    (λ, R) over to (x, R). U is E − Σ μN + Σ qN², B the bias, m the measure of the map and m̃ that of
    the trajectory, the same unless species counts are kept. So no cut-off says which draws are at
    a vertex; p only decides how even the weights are. `alchemc.analysis.state_free_energies` makes
    free energies and errors of them.

    Parameters
    ----------
    trajectory
        Of `LambdaTrajectory.run` with ``vertices=True``.
    power
        p; if not given, the one of 1, 2, 4, … 64 by which the least of the vertices' numbers of
        effective weights, (Σw)²/Σw², is largest.

    Returns
    -------
    [draw, chain, vertex], in the order of ``trajectory.vertex_state``.

    Raises
    ------
    InputError
        If the trajectory has no energies of vertices, or the power is out of range.

    Examples
    --------
    >>> from alchemc import PairHamiltonian, SemiGrandCanonical, analysis, builders
    >>> from alchemc.ensembles import Groups, LambdaTrajectory, vertex_log_weights
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> unlike_bonds = PairHamiltonian(lattice, [np.array([[0.0, -0.01], [-0.01, 0.0]])])
    >>> ensemble = SemiGrandCanonical(lattice, 1000.0, {"Zr": 0.01})
    >>> one = LambdaTrajectory(unlike_bonds, ensemble, groups=Groups.whole(lattice))
    >>> found = one.run(
    ...     np.zeros(8, int), n_draws=200, n_replicas=8, warmup=30, seed=1, vertices=True
    ... )
    >>> free = analysis.state_free_energies(vertex_log_weights(found), 1000.0)
    >>> bool(abs(free.free_energies[1] - 8 * -0.01) < 4 * free.errors[1] < 0.1)  # of −μN
    True
    """
    if "vertex_potential" not in trajectory:
        raise InputError("the trajectory has no energies of vertices: run it with vertices=True")
    if power is not None and (not is_number(power) or not 1 <= power <= MOST_POWER):
        raise InputError(f"power is {shown(power)}; give a number from 1 to {MOST_POWER:g}")
    kT = units.kB * trajectory.attrs["temperature"]
    rest = (
        trajectory["potential"].values[:, :, None] - trajectory["vertex_potential"].values
    ) / kT + trajectory["log_measure_ratio"].values[:, :, None]
    log_lambda = _held(trajectory)
    tried = [
        rest + p * log_lambda.sum(axis=3) for p in (POWERS if power is None else (float(power),))
    ]
    return max(tried, key=_evenness)


class Corners:
    """Energies of the vertices of replicas, where their atoms are.

    Parameters
    ----------
    hamiltonian, ensemble
        As of the trajectory.
    atoms
        What moves beside λ; None at fixed positions, where every vertex has one energy.
    states
        [n_vertices, n_groups].
    groups
        Whose states they are.
    start
        [n_sites], what sites in no group hold.
    """

    def __init__(
        self,
        hamiltonian: Any,
        ensemble: Any,
        atoms: MovingAtoms | None,
        *,
        states: np.ndarray,
        groups: Groups,
        start: np.ndarray,
    ) -> None:
        self.states, self.calls = states, 0
        self._hamiltonian, self._ensemble, self._atoms = hamiltonian, ensemble, atoms
        self._occupations = groups.occupations(states, start)
        self._fixed: np.ndarray | None = None

    def potential(self, place: Any) -> np.ndarray:
        """U(x) of every vertex at the places of the replicas, [n, n_vertices] in eV."""
        n, vertices = len(place.theta), len(self.states)
        if self._atoms is None:
            if self._fixed is None:
                energies = self._hamiltonian.energy(self._occupations)
                self._fixed = self._weighed(energies, self._occupations)
                self.calls += vertices
            return np.tile(self._fixed, (n, 1))
        occupations = np.tile(self._occupations, (n, 1))
        energies = self._atoms.energies(
            occupations,
            np.repeat(place.positions, vertices, axis=0),
            np.repeat(place.cells, vertices, axis=0),
        )
        self.calls += n * vertices
        return self._weighed(energies, occupations).reshape(n, vertices)

    def _weighed(self, energies: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        log_density = self._ensemble.log_density(energies, occupations)
        return np.asarray(-log_density / beta_of(self._ensemble))


def vertex_states(groups: Groups, arrangements: Arrangements, start: np.ndarray) -> np.ndarray:
    """Joint states [n, n_groups] with the totals of the start [n_groups].

    Raises
    ------
    InputError
        If there are too many.
    """
    number = float(np.prod(groups.n_species.astype(float)))
    if number > MOST_VERTICES:
        raise InputError(
            f"{groups.n_groups} groups have {number:g} vertices, of which each would take an "
            f"energy per draw: vertices=True takes {MOST_VERTICES} at most, so give fewer groups, "
            "or sample occupations by LambdaDynamics"
        )
    states = np.array(list(product(*(range(n) for n in groups.n_species))), dtype=np.int64)
    wanted = arrangements.totals(start[None])
    kept = [
        (total == one).reshape(len(states), -1).all(axis=1)
        for total, one in zip(arrangements.totals(states), wanted, strict=True)
    ]
    return states[np.all(kept, axis=0)] if kept else states


def _held(trajectory: xr.Dataset) -> np.ndarray:
    """Return ln λ of the species that every group has at a vertex, [draw, chain, vertex, group]."""
    states = trajectory["vertex_state"].values
    groups = np.arange(states.shape[1])
    found = trajectory["lambda"].values[:, :, groups, states]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(found))


def _evenness(log_weights: np.ndarray) -> float:
    """Return the least number of effective weights of a vertex."""
    highest = log_weights.max(axis=(0, 1))
    weights = np.exp(log_weights - np.where(np.isfinite(highest), highest, 0.0))
    squares = (weights**2).sum(axis=(0, 1))
    each = np.divide(
        weights.sum(axis=(0, 1)) ** 2, squares, out=np.zeros_like(squares), where=squares > 0.0
    )
    return float(each.min())
