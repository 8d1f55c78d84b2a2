"""Energies of discrete states of λ where replicas stand, and of the sites beside held groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...protocols import Generators, Info, Kernel, State
from .._hybrid_records import together
from ..dynamics.crystal import Crystal
from ._gibbs_records import GibbsState
from .discrete import DiscreteStates
from .mixed import MixedModel

__all__ = ["HeldGroups", "Here", "beside_groups"]


class Here:
    """Energies of discrete states of λ where replicas stand, evaluations counted by replica.

    Parameters
    ----------
    hamiltonian
        Energy model.
    states
        The discrete states.
    mixing
        Rule by which species mix on a site.
    moving
        What moves, and where it is: crystal, positions [n, n_atoms, 3] and cells [n, 3, 3]; None
        where positions are the model's own.
    n_replicas
        n.
    """

    def __init__(
        self,
        hamiltonian: Any,
        states: DiscreteStates,
        mixing: str,
        moving: tuple[Crystal, np.ndarray, np.ndarray] | None,
        n_replicas: int,
    ) -> None:
        self.states, self.mixing = states, mixing
        self.calls = np.zeros((n_replicas, 2), dtype=np.int64)
        self.models, self.ghosts = [hamiltonian], None
        if moving is not None:
            crystal, positions, cells = moving
            places = list(zip(positions, cells, strict=True))
            self.models = [hamiltonian.at(*place) for place in places]
            if crystal.has_vacancies:
                self.ghosts = np.array([crystal.ghost_energies(*place) for place in places])
        self.moving = moving is not None

    def energies(self, rows: np.ndarray, states: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """Energies [m] in eV of states [m, n_groups] in replicas ``rows`` [m], ghosts left out.

        Parameters
        ----------
        rows
            Replicas, each in one run of rows.
        states
            [m, n_groups].
        occupations
            [m, n_sites]: what the sites in no group hold.
        """
        found = np.empty(len(rows))
        between = self.states.interior(states)
        np.add.at(self.calls, (rows, between.astype(np.int64)), 1)
        for model, here in self._parts(rows):
            at, off = here & ~between, here & between
            if at.any():
                found[at] = model.energy(self.states.occupations(states[at], occupations[at]))
            if off.any():
                mixed = MixedModel(model, self.states.groups, self.mixing)
                weights = self.states.weights(states[off])
                found[off] = mixed.evaluate_all(weights, occupations[off])[0]
        return found

    def ghost_energies(self, rows: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """−k_BT ln ρ of the ghosts of vacant sites, [m] in eV."""
        if self.ghosts is None:
            return np.zeros(len(rows))
        sites = np.arange(occupations.shape[1])
        return self.ghosts[rows[:, None], sites, occupations.astype(np.int64)].sum(axis=1)

    def _parts(self, rows: np.ndarray) -> list[tuple[Any, np.ndarray]]:
        """Energy models, and which rows are theirs."""
        if not self.moving:
            return [(self.models[0], np.ones(len(rows), dtype=bool))]
        return [(self.models[row], rows == row) for row in np.unique(rows)]


class HeldGroups:
    """The energy of one replica as a function of the sites in no group, while its groups stay.

    An occupation that changes a group has the energy +inf, so that no kernel goes there.
    """

    def __init__(self, here: Here, row: int, states: np.ndarray, occupation: np.ndarray) -> None:
        self.lattice = here.states.groups.lattice
        self.here, self.row, self.group_states = here, row, states
        self._sites = here.states.groups.sites
        self._held = np.array(occupation[self._sites])

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """Energies [n] in eV, ghosts included."""
        held = np.asarray(occupations)
        whole = (held[:, self._sites] == self._held).all(axis=1)
        found = np.full(len(held), np.inf)
        if whole.any():
            rows = np.full(int(whole.sum()), self.row)
            states = np.repeat(self.group_states[None], len(rows), axis=0)
            found[whole] = self.here.energies(rows, states, held[whole])
            found[whole] += self.here.ghost_energies(rows, held[whole])
        return found

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] and ∂E/∂λ [n, n_sites, n_species_max] in eV; no slope where a group moved.

        At a λ between two species, too: there it costs the evaluation of that λ.
        """
        held = np.asarray(occupations)
        energy = np.full(len(held), np.inf)
        gradient = np.zeros((*held.shape, self.lattice.n_species_max))
        for n in np.flatnonzero((held[:, self._sites] == self._held).all(axis=1)):
            energy[n], gradient[n] = self._slopes(held[n])
        return energy, gradient

    def _slopes(self, occupation: np.ndarray) -> tuple[float, np.ndarray]:
        here = self.here
        here.calls[self.row, 1] += 1
        model = here.models[self.row if here.moving else 0]
        ghosts = 0.0 if here.ghosts is None else here.ghosts[self.row]
        extra = float(here.ghost_energies(np.array([self.row]), occupation[None])[0])
        if here.states.interior(self.group_states):
            lam = here.states.groups.lam(here.states.weights(self.group_states), occupation)
            options = {} if here.mixing == "sites" else {"mixing": here.mixing}
            found = model.mixed_energy(lam, forces=False, stress=False, **options)
            return float(found.energy) + extra, found.gradient + ghosts
        energy, gradient = model.energy_and_gradient(occupation[None])
        return float(energy[0]) + extra, gradient[0] + ghosts

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """ΔE [n] in eV of setting ``sites`` to ``species`` [n, m]; −1 pads."""
        changed = np.array(occupations)
        row, column = np.nonzero(sites >= 0)
        changed[row, sites[row, column]] = species[row, column]
        return self.energy(changed) - self.energy(occupations)


def beside_groups(
    kernel: Kernel, here: Here, state: GibbsState, n_steps: int, rngs: Generators
) -> tuple[GibbsState, list[Info]]:
    """Take steps of a kernel on the sites in no group, in one replica after the other.

    Returns
    -------
    state, infos
        Where the replicas came to, and what every step did in all of them.
    """
    rows = np.arange(len(rngs))
    occupations, energy = state.occupations.copy(), state.energy.copy()
    energy += here.ghost_energies(rows, occupations)
    infos: list[list[Info]] = []
    for row, rng in enumerate(rngs):
        view = HeldGroups(here, row, state.states[row], occupations[row])
        bound, one = kernel.rebind(hamiltonian=view), slice(row, row + 1)
        inner = State(occupations[one], energy[one], state.gradient[one])
        infos.append([])
        for _ in range(n_steps):
            inner, info = bound.step(inner, [rng])
            infos[-1].append(info)
        occupations[row], energy[row] = inner.occupations[0], inner.energy[0]
    energy -= here.ghost_energies(rows, occupations)
    after = state._replace(occupations=occupations, energy=energy)
    return after, [together(one) for one in zip(*infos, strict=True)]
