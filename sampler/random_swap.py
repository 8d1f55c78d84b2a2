"""Random swaps: the plain Metropolis move of lattice Monte Carlo."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..ensembles import Canonical
from ..protocols import Generators, Info, State
from ._compiled import block_of
from ._composition import at_fixed_counts
from ._kernel import KernelBase
from ._metropolis import draw_uniforms, evaluate_where, settle
from ._swaps import FactorisedSwaps, Swap, apply_swap

__all__ = ["RandomSwap"]


@dataclass(frozen=True)
class RandomSwap(KernelBase):
    r"""Swap two sites drawn uniformly from all unlike pairs of all sublattices.

    An unlike pair is two sites of one sublattice that hold different species. A state has

    .. math:: M(σ) = \sum_s \sum_{a<b} n_{sa}(σ) n_{sb}(σ)

    of them (n_sa sites of sublattice s hold a), so q(y|x) = 1/M(x), q(x|y) = 1/M(y) and

    .. math:: α = \min(1, e^{f(y) − f(x)} M(x)/M(y)).

    A swap changes no n_sa, hence M(x) = M(y): the ratio is 1 in every ensemble.

    One energy per replica and step. Four random numbers per replica and step.

    On a lattice Hamiltonian, blocks of steps run in compiled code (``compiled_block``).

    Parameters
    ----------
    hamiltonian
        Energy model.
    ensemble
        Target density.

    Examples
    --------
    >>> from alchemc import Canonical, builders, sampler
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> class Flat:  # every arrangement has the same energy
    ...     def __init__(self, lattice): self.lattice = lattice
    ...     def energy(self, occupations): return np.zeros(len(occupations))
    >>> kernel = sampler.RandomSwap(Flat(lattice), Canonical(lattice, 300.0))
    >>> rngs = sampler.spawn_generators(seed=1, n_chains=1)
    >>> start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, rngs[0], n_replicas=1)
    >>> state, info = kernel.step(kernel.init(start, rngs), rngs)
    >>> info.accepted, int((state.occupations != start).sum())
    (array([ True]), 2)
    """

    _choice: FactorisedSwaps = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_choice", FactorisedSwaps(self.hamiltonian.lattice))

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Propose one swap per replica, and accept or refuse it."""
        uniforms = draw_uniforms(rngs, 4)
        swap = self._draw(state.occupations, uniforms[:, :3])
        occupations = apply_swap(state.occupations, swap)
        movable = swap.sites[:, 0] >= 0
        energy, _ = evaluate_where(
            movable, self.hamiltonian, occupations, False, (state.energy, state.gradient)
        )
        proposed = State(occupations, energy, np.full_like(state.gradient, np.nan))
        state, info = settle(
            state,
            proposed,
            swap,
            log_density=self.ensemble.log_density,
            log_hastings=np.zeros(len(movable)),
            uniforms=uniforms[:, 3],
        )
        return state, info._replace(energy_calls=movable.astype(np.int64))

    def compiled_block(
        self,
        state: State,
        rngs: Generators,
        n_draws: int,
        thin: int,
        sites: np.ndarray | None = None,
    ) -> tuple[State, dict[str, np.ndarray]] | None:
        """Block of steps in compiled code, as ``draw_block`` gives it; None where there is none.

        The counts stay as they are, so the weight of all known ensembles is exp(−βE).
        """
        # A subclass may draw or weigh otherwise than the compiled code.
        if type(self) is not RandomSwap or not hasattr(self.hamiltonian, "run_swaps"):
            return None
        ensemble = at_fixed_counts(self.ensemble)
        if type(ensemble) is not Canonical:
            return None
        block = self.hamiltonian.run_swaps(
            state.occupations, state.energy, rngs, beta=ensemble.beta,
            n_draws=n_draws, thin=thin, sites=sites,
        )  # fmt: skip
        return block_of(block, state, thin)

    def _draw(self, occupations: np.ndarray, uniforms: np.ndarray) -> Swap:
        shape = (*occupations.shape, self.hamiltonian.lattice.n_species_max)
        return self._choice.draw(np.zeros(shape), occupations, uniforms)
