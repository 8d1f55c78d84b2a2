"""Discrete Langevin proposals: all sites move at once, each by its own part of the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError
from ..protocols import Generators, Info, State
from ..sublattice import is_number
from ._composition import flippable_sites, move_of
from ._kernel import KernelBase
from ._langevin import AllFlips, MatchedSwaps, Proposal
from ._metropolis import draw_uniforms, evaluate_where, settle, with_gradient
from ._swaps import flip_field, net_change

__all__ = ["DiscreteLangevin"]

TARGET_ACCEPTANCE = 0.574
# From hardly any change at all (odds of e⁻²⁵ where the gradient is flat) to next to no penalty.
SMALLEST_STEP, LARGEST_STEP = 0.02, 10.0


@dataclass(frozen=True)
class DiscreteLangevin(KernelBase):
    r"""Move all sites at once, each by its own part of the gradient and at its own chance.

    With f the log density, g_ik = ∂f/∂λ_ik, the flip field h_ik = g_ik − g_i,σ(i) and a step size
    α, where the composition fluctuates every site i draws its species anew,

    .. math:: q_i(k|x) ∝ \exp\big(½ h_{ik} − [k ≠ σ_i]/(2α)\big),

    independently of the others (Zhang, Liu and Liu 2022, ICML, arXiv:2206.09914). Sites that may
    hold one species only stay, and so do those that the ensemble does not leave free.

    Where the composition is fixed, the sites of every sublattice are shuffled, whatever they hold,
    and paired one after the other (of an odd number one is left out). Each pair of sites i and j
    that hold a ≠ b swaps by itself, with

    .. math:: p_{ij} = σ\big(½ d_{ij} − 1/(2α)\big), \qquad d_{ij} = h_{ib} + h_{ja},

    σ(z) = 1/(1 + exp(−z)); like pairs stay.

    q(y|x) is the product over the sites or pairs, and

    .. math:: α_\text{MH} = \min(1, e^{f(y) − f(x)} q(x|y)/q(y|x)),

    where q(x|y) takes the same pairs and the gradient at y. So the chain is exact however poor the
    gradient is; what the proposal misses is that sites which move together meet each other.

    One energy with gradient per replica and step; none in a step that proposes to stay, which then
    counts as no move. One random number per replica, step and site, one more per pair, and one.

    In warm-up α is tuned towards a mean acceptance of 0.574 (Roberts and Rosenthal 1998,
    doi:10.1111/1467-9868.00123), with a proposal to stay taken as accepted; then it is frozen.

    Parameters
    ----------
    hamiltonian
        Energy model with ``energy_and_gradient``.
    ensemble
        Target density.
    step_size
        α, 0.02 to 10: a change costs a factor exp(−1/(2α)).
    move
        ``"swap"`` or ``"flip"``; by default a flip where the ensemble has free sites and a swap
        elsewhere.

    Raises
    ------
    InputError
        If ``step_size`` is out of range, ``move`` is not known or flips are asked for where the
        ensemble has no free sites, or no site (no pair of sites) could change.

    Examples
    --------
    >>> from alchemc import PairHamiltonian, SemiGrandCanonical, builders, sampler
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(4, 4, 4))
    >>> pairs = PairHamiltonian(lattice, [{("Ti", "Zr"): -0.02}])
    >>> ensemble = SemiGrandCanonical(lattice, 2000.0, {"Zr": 0.0})
    >>> kernel = sampler.DiscreteLangevin(pairs, ensemble)
    >>> start = np.zeros(lattice.n_sites, int)
    >>> run = sampler.sample(kernel, start, n_steps=100, n_replicas=2, warmup=400)
    >>> 0.3 < run.samples.acceptance.mean().item() < 0.9
    True
    """

    step_size: float = 0.25
    move: str | None = None
    _tunings: int = field(default=0, repr=False, compare=False)
    _proposals: AllFlips | MatchedSwaps = field(init=False, repr=False, compare=False)

    uses_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not is_number(self.step_size) or not SMALLEST_STEP <= self.step_size <= LARGEST_STEP:
            raise InputError(
                f"step_size is {self.step_size!r}; give a number from {SMALLEST_STEP} to "
                f"{LARGEST_STEP:g}"
            )
        object.__setattr__(self, "step_size", float(self.step_size))
        lattice = self.hamiltonian.lattice
        proposals: AllFlips | MatchedSwaps = (
            AllFlips(lattice, flippable_sites(self.ensemble, lattice))
            if move_of(self.ensemble, lattice, self.move) == "flip"
            else MatchedSwaps(lattice)
        )
        object.__setattr__(self, "_proposals", proposals)

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Propose a change of all sites of every replica, and accept or refuse it."""
        uniforms = draw_uniforms(rngs, 1 + self._proposals.n_uniforms)
        state, unknown = with_gradient(self.hamiltonian, state)
        flips = self._field(state)
        proposal = self._proposals.draw(flips, state.occupations, uniforms[:, 1:], self._penalty)
        end = proposal.occupations
        moved = (end != state.occupations).any(axis=1)
        proposed = State(
            end,
            *evaluate_where(moved, self.hamiltonian, end, True, (state.energy, state.gradient)),
        )
        width = self._proposals.most_changes
        net = net_change(state.occupations, end, proposal.log_probability, width)
        settled, info = settle(
            state, proposed, net,
            log_density=self.ensemble.log_density,
            log_hastings=self._log_reverse(state, proposed, proposal) - proposal.log_probability,
            uniforms=uniforms[:, 0],
        )  # fmt: skip
        estimate = np.take_along_axis(flips, end[:, :, None].astype(np.int64), axis=2)[:, :, 0]
        return settled, info._replace(
            # A proposal to stay is no move, and is neither accepted nor refused.
            estimated_change=np.where(moved, estimate.sum(axis=1), np.nan),
            gradient_calls=unknown.astype(np.int64) + moved,
        )

    def tuned(self, infos: Sequence[Info]) -> DiscreteLangevin:
        """Return the kernel with its step size moved towards an acceptance of 0.574.

        A step of Robbins and Monro (1951) on log α. A proposal to stay counts as accepted, or
        else small steps, which mostly stay, would look worse the smaller they are.
        """
        stayed = np.concatenate([info.sites[:, 0] < 0 for info in infos])
        probability = np.concatenate([info.acceptance_probability for info in infos])
        excess = np.where(stayed, 1.0, probability).mean() - TARGET_ACCEPTANCE
        gain = 2.0 / (1.0 + self._tunings) ** 0.6
        step_size = self.step_size * float(np.exp(gain * excess))
        step_size = min(max(step_size, SMALLEST_STEP), LARGEST_STEP)
        return replace(self, step_size=step_size, _tunings=self._tunings + 1)

    def to_arrays(self) -> dict[str, Any]:
        """Return the tuned parameters."""
        return {"step_size": self.step_size, "tunings": self._tunings}

    def with_arrays(self, arrays: Mapping[str, Any]) -> DiscreteLangevin:
        """Return the kernel with the tuned parameters that ``to_arrays`` gave."""
        return replace(self, step_size=float(arrays["step_size"]), _tunings=int(arrays["tunings"]))

    @property
    def _penalty(self) -> float:
        """Logarithm of the factor by which a change is held back, 1/(2α)."""
        return 0.5 / self.step_size

    def _field(self, state: State) -> np.ndarray:
        """Flip field of the log density, [n_replicas, n_sites, n_species_max]."""
        gradient = self.ensemble.log_density_gradient(state.gradient, state.occupations)
        return flip_field(gradient, state.occupations)

    def _log_reverse(self, state: State, proposed: State, proposal: Proposal) -> np.ndarray:
        """Return log q(x|y): the same pairs, weighed with the gradient at y."""
        back = proposal._replace(occupations=state.occupations)
        return self._proposals.log_probability(
            self._field(proposed), proposed.occupations, back, self._penalty
        )
