"""Hops of groups between discrete states of λ: conditional probabilities, and draws from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import units
from scipy.special import logsumexp

from ...protocols import Generators
from ._gibbs_records import GibbsState, Hop
from ._state_energies import Here
from .biases import Biases
from .discrete import DiscreteStates

__all__ = ["Hops"]


@dataclass(frozen=True)
class Hops:
    """Draws of the states of all groups, one group after the other.

    Parameters
    ----------
    states
        The discrete states.
    ensemble
        Target density without biases.
    biases
        What is added to the energies.
    metropolised
        Whether draws avoid the present state.
    """

    states: DiscreteStates
    ensemble: Any
    biases: Biases
    metropolised: bool

    @property
    def beta(self) -> float:
        """1/(k_B T) in 1/eV."""
        return 1.0 / (units.kB * float(self.ensemble.temperature))

    def __call__(self, here: Here, state: GibbsState, rngs: Generators) -> tuple[GibbsState, Hop]:
        """Hop in all replicas; two random numbers per replica and group."""
        rows, beta = np.arange(len(rngs)), self.beta
        states, occupations, energy = state.states.copy(), state.occupations, state.energy
        shape = state.log_weights.shape
        probabilities, log_weights = np.zeros(shape), np.zeros(shape)
        moved, chance = np.zeros(shape[:2], dtype=bool), np.zeros(shape[:2])
        for group in range(shape[1]):
            energies, plain = self.plain_weights(here, group, states, occupations, energy)
            bias = self._bias_of_states(group, states)
            weighed = plain - beta * bias
            weighed -= logsumexp(weighed, axis=1, keepdims=True)
            probabilities[:, group] = np.exp(weighed)
            log_weights[:, group] = weighed + beta * bias
            uniforms = np.array([rng.random(2) for rng in rngs])
            new, chance[:, group] = drawn(
                probabilities[:, group], states[:, group], uniforms, metropolised=self.metropolised
            )
            moved[:, group] = new != states[:, group]
            states[:, group], energy = new, energies[rows, new]
            occupations = self.states.occupations(states, occupations)
        after = state._replace(
            occupations=occupations, energy=energy, states=states, log_weights=log_weights
        )
        return after, Hop(moved, chance, probabilities, *here.calls.T)

    def plain_weights(
        self,
        here: Here,
        group: int,
        states: np.ndarray,
        occupations: np.ndarray,
        energy: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies, and log densities without bias, of a group's states: both [n, n_states].

        All states but the present one are evaluated, in all replicas at once.

        Parameters
        ----------
        here
            Where the energies come from.
        group
            Which group.
        states, occupations, energy
            Where the replicas are, [n, n_groups], [n, n_sites] and [n] in eV.
        """
        usable = np.flatnonzero(self.states.usable[group])
        rows = np.repeat(np.arange(len(states)), len(usable))
        trial, held, energies = states[rows], occupations[rows], energy[rows]
        trial[:, group] = np.tile(usable, len(states))
        other = trial[:, group] != states[rows, group]
        energies[other] = here.energies(rows[other], trial[other], held[other])
        shows = self.states.occupations(trial, held)
        density = self.ensemble.log_density(energies + here.ghost_energies(rows, shows), shows)
        density = density + self._beyond_vertices(shows, group, trial[:, group])
        found, weights = np.full((2, len(states), len(self.states.table)), np.nan)
        weights[:] = -np.inf
        found[:, usable] = energies.reshape(len(states), -1)
        weights[:, usable] = np.where(np.isnan(density), -np.inf, density).reshape(len(states), -1)
        return found, weights

    def energies_of_states(self, here: Here, state: GibbsState) -> np.ndarray:
        """−k_BT times the log densities without bias, [n_groups, n_states], mean of all replicas.

        Where there is no weight, the least that any state of the group has there.
        """
        found = []
        for group, usable in enumerate(self.states.usable):
            _, plain = self.plain_weights(
                here, group, state.states, state.occupations, state.energy
            )
            possible = plain[:, usable][np.isfinite(plain[:, usable])]
            plain = np.where(np.isfinite(plain), plain, possible.min())
            found.append(-plain.mean(axis=0) / self.beta)
        return np.array(found)

    def _beyond_vertices(
        self, occupations: np.ndarray, group: int, states: np.ndarray
    ) -> np.ndarray:
        """Part of the log density that ``occupations`` do not show of states between species.

        Chemical potentials: linear in λ, as in every ensemble that allows such states.
        """
        if len(self.states.table) == self.states.n_vertices:
            return np.zeros(len(states))
        none = np.zeros((*occupations.shape, self.states.n_vertices))
        slopes = self.ensemble.log_density_gradient(none, occupations)
        slope = self.states.groups.gather(slopes)[:, group]
        vertices = np.eye(self.states.n_vertices)[self.states.nearest[states]]
        return np.asarray(((self.states.table[states] - vertices) * slope).sum(axis=1))

    def _bias_of_states(self, group: int, states: np.ndarray) -> np.ndarray:
        """Bias energies [n, n_states] in eV of a group's states, the others where they are."""
        trial = np.repeat(self.states.weights(states)[:, None], len(self.states.table), axis=1)
        trial[:, :, group] = self.states.table
        return self.biases.energy(trial)


def drawn(
    probabilities: np.ndarray, current: np.ndarray, uniforms: np.ndarray, *, metropolised: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw new states [n], and the probability [n] with which each left or would have left.

    Plainly from the conditional p; or metropolised: another state k with p_k/(1 − p_i), accepted
    with min(1, (1 − p_i)/(1 − p_k)), which leaves a state at least as often (Liu 1996,
    doi:10.1093/biomet/83.3.681).

    Parameters
    ----------
    probabilities
        [n, n_states].
    current
        States held, [n].
    uniforms
        [n, 2].
    """
    rows = np.arange(len(current))
    others = probabilities.copy()
    others[rows, current] = 0.0
    leaving = others.sum(axis=1)
    if not metropolised:
        return _picked(probabilities, uniforms[:, 0]), leaving
    stuck = leaving <= 0.0
    others[stuck, current[stuck]] = 1.0
    proposed = _picked(others, uniforms[:, 0])
    without = probabilities.copy()
    without[rows, proposed] = 0.0
    with np.errstate(divide="ignore"):
        chance = np.where(stuck, 0.0, np.minimum(1.0, leaving / without.sum(axis=1)))
    return np.where(uniforms[:, 1] < chance, proposed, current), chance


def _picked(weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Index drawn with probabilities that are proportional to ``weights`` [n, m]."""
    sums = np.cumsum(weights, axis=1)
    return np.asarray((sums > (uniforms * sums[:, -1])[:, None]).argmax(axis=1))
