"""Broken kernels that the exactness tests must reject; each breaks one rule.

They share everything else with the kernels they are made from, so a test that tells them apart
tells that rule kept from that rule broken.
"""

from __future__ import annotations

import copy
import dataclasses

import numpy as np

from alchemc.ensembles import HMC, HybridMD, Tempering
from alchemc.ensembles.dynamics.volume import VolumeMove
from alchemc.potentials import PairExpansion
from alchemc.potentials.relaxed import Relaxed
from alchemc.potentials.response import onsite_energies, reduced
from alchemc.protocols import State
from alchemc.sampler import (
    DiscreteLangevin,
    GibbsWithGradients,
    Mixture,
    PathAuxiliary,
    RandomFlip,
    RandomSwap,
    SurrogateChain,
    TableExchange,
)
from alchemc.sampler._inner_chain import InnerChain
from alchemc.sampler._langevin import MatchedSwaps
from alchemc.sampler._metropolis import draw_uniforms, settle
from alchemc.sampler._surrogate_fit import with_field
from alchemc.sampler._swaps import Swap, apply_swap, net_change


class AsymmetricSwap(RandomSwap):
    """Prefers late sites for the last species of a sublattice, and takes q(x|y) = q(y|x) for it."""

    def _draw(self, occupations, uniforms):
        lattice = self.hamiltonian.lattice
        preference = np.zeros((*occupations.shape, lattice.n_species_max))
        preference[:, :, 1:] = 2.0 * np.log1p(np.arange(lattice.n_sites))[:, None]
        return self._choice.draw(preference, occupations, uniforms)


class NoHastings(GibbsWithGradients):
    """Leaves the Hastings factor out: α = min(1, exp(Δf))."""

    def _log_reverse(self, proposed, swap):
        return swap.log_probability


class StaleReverse(GibbsWithGradients):
    """Weighs the reverse swap with the gradient at x instead of y."""

    def step(self, state, rngs):
        object.__setattr__(self, "_old", state)
        return super().step(state, rngs)

    def _log_reverse(self, proposed, swap):
        return super()._log_reverse(proposed._replace(gradient=self._old.gradient), swap)


class CorrectsForwardsOnly(GibbsWithGradients):
    """Weighs the reverse move without the pair correction that the move was drawn with."""

    def _log_reverse(self, proposed, back):
        plain = GibbsWithGradients(self.hamiltonian, self.ensemble, self.balancing, shells=None)
        return plain._log_reverse(proposed, back)


class TunesWhileSampling(GibbsWithGradients):
    """Goes on fitting: each replica's constants are what its own last moves have missed."""

    def init(self, occupations, rngs):
        n_species = self.hamiltonian.lattice.n_species_max
        object.__setattr__(self, "_missed", np.zeros((len(rngs), n_species, n_species)))
        return super().init(occupations, rngs)

    def step(self, state, rngs):
        after, info = super().step(state, rngs)
        rows, (a, b) = np.arange(len(rngs)), info.species.T
        missed = (info.log_density_change - info.estimated_change) / -self.ensemble.beta
        self._missed[rows, a, b] += 0.5 * missed
        self._missed[rows, b, a] = self._missed[rows, a, b]
        return after, info

    def _informed(self, state):
        choice, flips = super()._informed(state)
        rows = np.arange(len(flips))[:, None]
        return choice, flips - self.ensemble.beta * self._missed[rows, state.occupations]


class KeepsRefusedGradient(GibbsWithGradients):
    """Goes on with the gradient at a refused y as if it were that at x."""

    def step(self, state, rngs):
        after, info = super().step(state, rngs)
        refused = np.flatnonzero(~info.accepted)
        proposed = after.occupations.copy()
        proposed[refused[:, None], info.sites[refused]] = info.species[refused]
        return after._replace(gradient=self.hamiltonian.energy_and_gradient(proposed)[1]), info


class KeepsOldGradient(RandomSwap):
    """Leaves the gradient at x in the state after moving to y, for the next kernel to use."""

    def step(self, state, rngs):
        after, info = super().step(state, rngs)
        return after._replace(gradient=state.gradient), info


class ChoosesByEnergy(Mixture):
    """Takes the first kernel above an energy and the last below: chosen by the state."""

    threshold: float = 0.0

    def step(self, state, rngs):
        object.__setattr__(self, "_high", state.energy > self.threshold)
        return super().step(state, rngs)

    def _choose(self, uniforms):
        return np.where(self._high, 0, len(self.kernels) - 1)


class ForgetsToSkipTheOldSpecies(RandomFlip):
    """Draws the new species from one too few: never the last, at times the old one."""

    def _draw(self, occupations, uniforms):
        flip = super()._draw(occupations, uniforms)
        rows = np.arange(len(occupations))
        old = occupations[rows, flip.sites[:, 0]]
        return flip._replace(species=flip.species - (flip.species > old[:, None]))


class PrefersHighSpecies(RandomFlip):
    """Draws high species more often than low ones, and takes q(x|y) = q(y|x) for it."""

    def _draw(self, occupations, uniforms):
        return super()._draw(occupations, np.stack([uniforms[:, 0], np.sqrt(uniforms[:, 1])], 1))


class SwapOfStrangers(RandomSwap):
    """Adds the energies of two single flips, as if the two sites never met in a cluster."""

    def step(self, state, rngs):
        uniforms = draw_uniforms(rngs, 4)
        swap = self._draw(state.occupations, uniforms[:, :3])
        change = sum(
            self.hamiltonian.energy_change(
                state.occupations, swap.sites[:, [n]], swap.species[:, [n]]
            )
            for n in (0, 1)
        )
        proposed = State(apply_swap(state.occupations, swap), state.energy + change, state.gradient)
        return settle(
            state,
            proposed,
            swap,
            log_density=self.ensemble.log_density,
            log_hastings=np.zeros(len(uniforms)),
            uniforms=uniforms[:, 3],
        )


def wrong_sign_of_mu(ensemble):
    """Return the semi-grand ensemble with exp(−β[E + Σ μN]) for its weight."""
    broken = ensemble.with_temperature(ensemble.temperature)
    object.__setattr__(broken, "_mu", -ensemble.potentials)
    return broken


def with_strengths(hamiltonian, change):
    """Return the Hamiltonian with changed couplings in its changes, not in its energies."""
    broken = copy.copy(hamiltonian)
    tables = hamiltonian.tables
    broken.tables = tables._replace(strengths=np.array(change(tables.strengths)))
    return broken


def half_the_strength(hamiltonian):
    """Return the Hamiltonian with every pair in a change counted half: the factor 2 is missing."""
    return with_strengths(hamiltonian, lambda strengths: 0.5 * strengths)


def wrong_pair_table(hamiltonian):
    """Return the Hamiltonian with the couplings of its clusters in another order in changes."""
    return with_strengths(hamiltonian, lambda strengths: strengths[::-1])


def kappa_of_the_cell(ensemble):
    """Return the variance-constrained ensemble with κ Σ(c + φ/2)², its factor N_s left out."""
    return _changed(ensemble, _kappa=ensemble._kappa / ensemble._sizes)


def phi_not_halved(ensemble):
    """Return the variance-constrained ensemble with κN(c + φ)²."""
    return _changed(ensemble, _phi=2.0 * ensemble._phi)


def square_of_the_other_sign(ensemble):
    """Return the variance-constrained ensemble with exp(−βE + κN Σ(c + φ/2)²)."""
    return _changed(ensemble, _kappa=-ensemble._kappa)


def _changed(ensemble, **arrays):
    """Return a copy of the ensemble with other numbers inside."""
    broken = ensemble.with_temperature(ensemble.temperature)
    for name, value in arrays.items():
        object.__setattr__(broken, name, value)
    return broken


def wrong_sign_of_mu_at_fixed_charge(ensemble):
    """Return the charge-neutral ensemble with exp(−β[E + Σ μN]) for its weight."""
    return _changed(ensemble, _free=wrong_sign_of_mu(ensemble._free))


class PathWithoutHastings(PathAuxiliary):
    """Leaves the probabilities of the path and of its reverse out: α = min(1, exp(Δf))."""

    def _log_reverse(self, path, proposed):
        return path.log_probability


class PathWithOneGradient(PathAuxiliary):
    """Weighs the path back with the gradient at its start instead of its end."""

    def step(self, state, rngs):
        object.__setattr__(self, "_old", state)
        return super().step(state, rngs)

    def _log_reverse(self, path, proposed):
        stale = proposed._replace(gradient=self._old.gradient)
        return super()._log_reverse(path, stale)


class LangevinWithoutHastings(DiscreteLangevin):
    """Leaves the probabilities of the proposal both ways out: α = min(1, exp(Δf))."""

    def _log_reverse(self, state, proposed, proposal):
        return proposal.log_probability


class LangevinWithOneGradient(DiscreteLangevin):
    """Weighs the proposal back with the gradient at x instead of y."""

    def _log_reverse(self, state, proposed, proposal):
        return super()._log_reverse(state, proposed._replace(gradient=state.gradient), proposal)


class GoesOnAdapting(Mixture):
    """Tunes while it samples: a larger step after an accepted move, a smaller after a refused."""

    def init(self, occupations, rngs):
        middle = np.full(len(occupations), len(self.kernels) // 2)
        object.__setattr__(self, "_level", middle)
        return super().init(occupations, rngs)

    def step(self, state, rngs):
        after, info = super().step(state, rngs)
        refused = (info.sites[:, 0] >= 0) & ~info.accepted
        level = self._level + info.accepted - refused
        object.__setattr__(self, "_level", np.clip(level, 0, len(self.kernels) - 1))
        return after, info

    def _choose(self, uniforms):
        return self._level


class MatchesTheEager(MatchedSwaps):
    """Pairs the sites that gain most by a change with one another: a matching by the state."""

    def draw(self, field, occupations, uniforms, penalty):
        eager = 1.0 / (1.0 + np.exp(-field.max(axis=2)))[:, np.concatenate(self._groups)]
        shuffled = 0.3 * uniforms[:, : self._n_sites] + eager
        return self._swap(
            self._match(shuffled), field, occupations, uniforms[:, self._n_sites :], penalty
        )


class LangevinWithEagerMatching(DiscreteLangevin):
    """Draws its matching by the state, and takes it for one drawn whatever the state."""

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "_proposals", MatchesTheEager(self.hamiltonian.lattice))


class ExchangeWithoutWays(TableExchange):
    """Leaves the numbers of ways out: α = min(1, exp(Δf))."""

    def _log_hastings(self, occupations, vectors):
        return np.zeros(len(occupations))


class ExchangeOfUnorderedSites(TableExchange):
    """Counts the choices of sites, but not the arrangements of the species on them."""

    def _log_hastings(self, occupations, vectors):
        counts = self._table.counts(occupations)
        return self._log_choices(counts, -vectors) - self._log_choices(counts + vectors, vectors)

    def _log_choices(self, counts, vectors):
        log_f, lost = self._table._log_factorial, np.maximum(vectors, 0)
        return (log_f[counts] - log_f[lost] - log_f[counts - lost]).sum(axis=1)


class ChoosesByState(Mixture):
    """Has one kernel for every state of a table, and takes that of the state it is in."""

    def step(self, state, rngs):
        object.__setattr__(self, "_here", self.hamiltonian.index(state.occupations))
        return super().step(state, rngs)

    def _choose(self, uniforms):
        return self._here


def surrogate_by_state(kernel, fields):
    """Return the chain with the onsite energies of its surrogate changed by what state it is in.

    ``fields`` [n_states, n_sites, n_species_max]; one surrogate serves both ways in the acceptance.
    """
    arrays = kernel.surrogate.to_arrays()
    kernels = []
    for change in fields:
        here = arrays | {"onsite": arrays["onsite"] + change}
        surrogate = PairExpansion(kernel.surrogate.lattice, **here, threads=1)
        kernels.append(dataclasses.replace(kernel, surrogate=surrogate))
    return ChoosesByState([(k, 1) for k in kernels])


def refits_while_sampling(kernel):
    """Return the chain that goes on fitting: the surrogate always meets the present energy."""
    table, lattice = kernel.hamiltonian, kernel.hamiltonian.lattice
    missed = table.energies - kernel.surrogate.energy(table.states)
    missed -= missed.mean()
    share = missed[:, None, None] / lattice.n_sites
    return surrogate_by_state(kernel, share * lattice.weights(table.states))


def field_at_the_occupation(kernel):
    """Return the chain that takes the site field from the gradient where it stands, not at λ̄."""
    table, lattice, surrogate = kernel.hamiltonian, kernel.hamiltonian.lattice, kernel.surrogate
    _, slopes = surrogate.energy_and_gradient(table.states)
    change = [reduced(lattice, g) for g in table.gradients - slopes]
    none = np.zeros((*change[0].shape, change[0].shape[1]))
    fields = [onsite_energies(lattice, surrogate.mean, one, none) for one in change]
    return surrogate_by_state(kernel, fields)


class WithoutSurrogateFactor(SurrogateChain):
    """Leaves the surrogate's part out of the acceptance: α = min(1, exp(Δf))."""

    def step(self, state, rngs):
        uniforms = draw_uniforms(rngs, 3)
        after = self._walk(state.occupations, self._regions(uniforms[:, 1:]), rngs)
        none = np.zeros(len(after))
        return settle(
            state,
            State(after, self.hamiltonian.energy(after), np.full_like(state.gradient, np.nan)),
            net_change(state.occupations, after, none, after.shape[1]),
            log_density=self.ensemble.log_density,
            log_hastings=none,
            uniforms=uniforms[:, 0],
        )


class RegionOfTheState(SurrogateChain):
    """Moves the surroundings of a site that holds the last species there is."""

    def _walk(self, occupations, sites, rngs):
        last = occupations == occupations.max(axis=1, keepdims=True)
        drawn = draw_uniforms(rngs, 1)[:, 0]
        centre = [
            np.flatnonzero(row)[int(u * row.sum())] for row, u in zip(last, drawn, strict=True)
        ]
        around = np.sort(self._near[centre][:, : self.region], axis=1)
        return super()._walk(occupations, around, rngs)


class OneWay(InnerChain):
    """Flips first and swaps afterwards: each is reversible, one after the other is not."""

    def run(self, state, rngs, steps, sites):
        for kernel in self.kernels:
            state = self._repeat(kernel, state, rngs, -(-steps // 2), sites)
        return state.occupations


class WalksOneWay(SurrogateChain):
    """Runs its two kinds of inner move one after the other instead of there and back."""

    def _inner_chain(self):
        return OneWay(super()._inner_chain().kernels)


class WarmStarted(Relaxed):
    """Relaxes each replica from where its last relaxation ended: E depends on the history.

    To be built with ``memory=0``.
    """

    def _minimise(self, occupations, starts):
        last = getattr(self, "_last", starts)
        minima = super()._minimise(occupations, last if len(last) == len(starts) else starts)
        self._last = [minimum.coordinates for minimum in minima]
        return minima


class FlipsInOrder(RandomFlip):
    """Flips one site after the other instead of random ones; each is reversible, a sweep is not."""

    _turn = -1

    def step(self, state, rngs):
        object.__setattr__(self, "_turn", self._turn + 1)
        return super().step(state, rngs)

    def _draw(self, occupations, uniforms):
        ordered = uniforms.copy()
        ordered[:, 0] = (self._turn % len(self._sites) + 0.5) / len(self._sites)
        return super()._draw(occupations, ordered)


class SwapsInOrder(RandomSwap):
    """Swaps one pair of neighbours after the other instead of random pairs."""

    _turn = -1

    def step(self, state, rngs):
        object.__setattr__(self, "_turn", self._turn + 1)
        return super().step(state, rngs)

    def _draw(self, occupations, uniforms):
        sublattice = np.asarray(self.hamiltonian.lattice.sublattice_of_site)
        pairs = np.flatnonzero(sublattice[1:] == sublattice[:-1])
        i = pairs[self._turn % len(pairs)]
        held = occupations[:, [i + 1, i]]
        unlike = held[:, :1] != held[:, 1:]
        sites = np.where(unlike, [i, i + 1], -1)
        return Swap(sites, np.where(unlike, held, -1).astype(np.int8), np.zeros(len(sites)))


class ExchangesWhateverTheDensities(Tempering):
    """Exchanges neighbours at every attempt: the ratio of the densities is left out."""

    def _log_ratios(self, state):
        return np.zeros_like(super()._log_ratios(state))


class ExchangesUpsideDown(Tempering):
    """Has the wrong sign in the exponent: what should be refused is accepted."""

    def _log_ratios(self, state):
        return -super()._log_ratios(state)


class TurnOfTheState(Tempering):
    """Lets the first two rungs' energies say whether even or odd pairs try."""

    def _tried(self, state):
        energy = state.energy.reshape(-1, self.n_rungs)
        odd = energy[:, :1] <= energy[:, 1:2]
        return (odd + np.arange(self.n_rungs - 1)) % 2 == 0


class TunesItsTurns(Tempering):
    """Goes on tuning while it samples: the same pairs try again until one is exchanged."""

    def init(self, occupations, rngs):
        state = super().init(occupations, rngs)
        object.__setattr__(self, "_next", super()._tried(state))
        return state

    def _tried(self, state):
        return self._next

    def _exchanged(self, state, rngs):
        after, probabilities = super()._exchanged(state, rngs)
        exchanged = (after.walker != state.walker).reshape(-1, self.n_rungs).any(axis=1)
        object.__setattr__(self, "_next", self._next ^ exchanged[:, None])
        return after, probabilities


class StaysAtTheReference(HybridMD):
    """Goes on with the energies of the positions that chains started from: no refresh."""

    def _followed(self, one, view):
        return self.kernel, State(*(part[None] for part in one[:3]))


class AcceptsEveryTrajectory(HMC):
    """Leaves the Metropolis step of trajectories out."""

    def _accepted(self, probability, uniforms):
        return np.ones(len(uniforms), dtype=bool)


class CountsOneAtomMore(VolumeMove):
    """Takes V′/V to a power one too high: n + 1 in V, n + 2 in ln V."""

    def _power(self, crystal, structures):
        return super()._power(crystal, structures) + 1


class ForgetsGhosts(HybridMD):
    """Leaves the density of ghosts out of the acceptance."""

    def _view(self, crystal, positions, cell, occupation):
        view = super()._view(crystal, positions, cell, occupation)
        view._ghosts = None
        return view


class FieldOfTheOccupation(SurrogateChain):
    """Takes the site field from the gradient at the present occupation instead of λ̄."""

    def refresh(self, state, hamiltonian):
        kernel, state = super().refresh(state, hamiltonian)
        if kernel.surrogate is None:  # not learnt yet
            return kernel, state
        here, there = (
            reduced(hamiltonian.lattice, model.energy_and_gradient(state.occupations)[1][0])
            for model in (hamiltonian, kernel.surrogate)
        )
        surrogate = with_field(kernel.surrogate, here - there)
        return dataclasses.replace(kernel, surrogate=surrogate), state
