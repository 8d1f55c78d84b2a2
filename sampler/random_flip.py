"""Random flips: one site to another species, in ensembles whose composition fluctuates."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..protocols import Generators, Info, State
from ._compiled import block_of
from ._composition import flip_weight, flippable_sites, refuse_flips
from ._kernel import KernelBase
from ._metropolis import draw_uniforms, evaluate, settle
from ._swaps import Swap, apply_swap

__all__ = ["RandomFlip"]


@dataclass(frozen=True)
class RandomFlip(KernelBase):
    r"""Flip one site, drawn uniformly, to one of its other species, drawn uniformly.

    A site i that may hold m_i species is proposed with probability 1/n and each of its other
    species with 1/(m_i − 1), the same back, so

    .. math:: α = \min(1, e^{f(y) − f(x)}).

    Only the n sites that the ensemble leaves free are drawn. Where it keeps the counts of some
    sublattices, species on these are never rearranged: take a `Mixture` with `RandomSwap`.

    One energy per replica and step. Three random numbers per replica and step.

    On a lattice Hamiltonian and in `SemiGrandCanonical` or `VarianceConstrained`, blocks of steps
    run in compiled code.

    Parameters
    ----------
    hamiltonian
        Energy model.
    ensemble
        Target density; one that fixes the composition or the charge is refused.

    Raises
    ------
    InputError
        If the ensemble has no free sites, or none of these may hold two species.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import PairHamiltonian, SemiGrandCanonical, builders, sampler
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(4, 4, 4))
    >>> free = PairHamiltonian(lattice, [])  # an ideal mixture
    >>> kernel = sampler.RandomFlip(free, SemiGrandCanonical(lattice, 1000.0, {"Zr": 0.1}))
    >>> run = sampler.sample(kernel, np.zeros(64, int), n_steps=64_000, n_replicas=4, thin=64)
    >>> bool(abs(run.samples.occupation.mean() - 1 / (1 + np.exp(-0.1 / 8.617e-5 / 1000))) < 0.01)
    True
    """

    _sites: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lattice = self.hamiltonian.lattice
        refuse_flips(self.ensemble, lattice, instead="RandomSwap")
        sites = np.flatnonzero(flippable_sites(self.ensemble, lattice))
        object.__setattr__(self, "_sites", sites)

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Propose one flip per replica, and accept or refuse it."""
        uniforms = draw_uniforms(rngs, 3)
        flip = self._draw(state.occupations, uniforms[:, :2])
        occupations = apply_swap(state.occupations, flip)
        energy, unknown = evaluate(self.hamiltonian, occupations, gradient=False, proposed=True)
        settled, info = settle(
            state,
            State(occupations, energy, unknown),
            flip,
            log_density=self.ensemble.log_density,
            log_hastings=np.zeros(len(occupations)),
            uniforms=uniforms[:, 2],
        )
        return settled, info._replace(energy_calls=np.ones(len(occupations), dtype=np.int64))

    def compiled_block(
        self,
        state: State,
        rngs: Generators,
        n_draws: int,
        thin: int,
        sites: np.ndarray | None = None,
    ) -> tuple[State, dict[str, np.ndarray]] | None:
        """Block of steps in compiled code, as ``draw_block`` gives it; None where there is none."""
        # A subclass may draw or weigh otherwise than the compiled code.
        weight = flip_weight(self.ensemble)
        if type(self) is not RandomFlip or weight is None:
            return None
        if not hasattr(self.hamiltonian, "run_flips"):
            return None
        block = self.hamiltonian.run_flips(
            state.occupations, state.energy, rngs, **weight._asdict(),
            n_draws=n_draws, thin=thin, sites=sites,
        )  # fmt: skip
        return block_of(block, state, thin)

    def _draw(self, occupations: np.ndarray, uniforms: np.ndarray) -> Swap:
        """Draw one flip per replica; the probability is the same both ways and left at 0."""
        rows = np.arange(len(occupations))
        site = self._sites[(uniforms[:, 0] * len(self._sites)).astype(np.int64)]
        old = occupations[rows, site]
        others = np.asarray(self.hamiltonian.lattice.allowed).sum(axis=1)[site] - 1
        new = (uniforms[:, 1] * others).astype(np.int8)
        new += new >= old
        return Swap(site[:, None], new[:, None], np.zeros(len(rows)))
