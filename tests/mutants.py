"""Broken kernels that the exactness tests must reject; each breaks one rule.

They share everything else with the kernels they are made from, so a test that tells them apart
tells that rule kept from that rule broken.
"""

from __future__ import annotations

import numpy as np

from alchemc.sampler import GibbsWithGradients, Mixture, RandomSwap


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
