"""Paths of several informed moves, proposed from one gradient and accepted as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import InputError
from ..protocols import Generators, Info, State
from ._kernel import KernelBase
from ._metropolis import draw_uniforms, evaluate_where, settle, with_gradient
from ._swaps import Swap, apply_swap, flip_field, net_change
from .gibbs import choice_of

__all__ = ["PathAuxiliary"]

TARGET_ACCEPTANCE = 0.57
MOST_MOVES = 64


class _Path(NamedTuple):
    """Occupations along the paths, the moves between them, and their log probability forwards."""

    states: list[np.ndarray]
    moves: list[Swap]
    log_probability: np.ndarray


@dataclass(frozen=True)
class PathAuxiliary(KernelBase):
    r"""Several informed swaps (or flips) in a row, with one gradient forwards and one backwards.

    The number of moves R is drawn first, uniformly from 1 … 2L − 1 whatever the state, so that
    moves of either parity occur. From x₀ = x, the moves x₀ → x₁ → … → x_R = y are drawn one by one
    like those of `GibbsWithGradients`, with flip fields from the gradient at x all along the path.
    With q_g(x_r → x_{r+1}) the probability of a move under the gradient g,

    .. math:: α = \min\Big(1, e^{f(y) − f(x)}
        \prod_{r=0}^{R−1} \frac{q_{g(y)}(x_{r+1} → x_r)}{q_{g(x)}(x_r → x_{r+1})}\Big).

    The path back visits the same states, so the pair (state, path) is exchanged with its reverse
    and the chain is exact, however poor the gradient is (Sun, Dai, Xia and Ramamurthy, ICLR 2022,
    path auxiliary proposals).

    One energy with gradient per replica and step, whatever the length. 2 + 3(2L − 1) random numbers
    per replica and step.

    In warm-up L is tuned towards a mean acceptance of 0.57; then it is frozen.

    Parameters
    ----------
    hamiltonian
        Energy model with ``energy_and_gradient``.
    ensemble
        Target density.
    length
        L, the mean number of moves; 1 or more.
    balancing, move
        As for `GibbsWithGradients`.

    Raises
    ------
    InputError
        If ``length`` is no whole number of 1 … 64, or ``balancing`` or ``move`` is not known or
        does not fit the ensemble.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import Canonical, PairHamiltonian, builders, sampler
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(4, 4, 4))
    >>> pairs = PairHamiltonian(lattice, [{("Sc", "Sc"): 0.05, ("Ta", "Ta"): 0.05}])
    >>> kernel = sampler.PathAuxiliary(pairs, Canonical(lattice, 2000.0), length=3)
    >>> start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    >>> run = sampler.sample(kernel, start, n_steps=100, n_replicas=2, warmup=200)
    >>> 0.2 < run.samples.acceptance.mean().item() < 0.9
    True
    """

    length: int = 2
    balancing: str = "sqrt"
    move: str | None = None
    _tunings: int = field(default=0, repr=False, compare=False)
    _goal: float | None = field(default=None, repr=False, compare=False)
    _choice: Any = field(init=False, repr=False, compare=False)

    uses_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole = isinstance(self.length, int | np.integer) and not isinstance(self.length, bool)
        if not whole or not 1 <= self.length <= MOST_MOVES:
            raise InputError(
                f"length is {self.length!r}; give a whole number of moves, 1 to {MOST_MOVES}"
            )
        object.__setattr__(
            self, "_choice", choice_of(self.hamiltonian, self.ensemble, self.balancing, self.move)
        )

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Propose one path per replica, and accept or refuse its end."""
        longest = 2 * self.length - 1
        uniforms = draw_uniforms(rngs, 2 + 3 * longest)
        number = 1 + (uniforms[:, 0] * longest).astype(np.int64)
        state, unknown = with_gradient(self.hamiltonian, state)
        path = self._walk(state, number, uniforms[:, 2:])
        end = path.states[-1]
        moved = (end != state.occupations).any(axis=1)
        proposed = State(
            end,
            *evaluate_where(moved, self.hamiltonian, end, True, (state.energy, state.gradient)),
        )
        width = min(longest * path.moves[0].sites.shape[1], end.shape[1])
        net = net_change(state.occupations, end, path.log_probability, width)
        settled, info = settle(
            state, proposed, net,
            log_density=self.ensemble.log_density,
            log_hastings=self._log_reverse(path, proposed) - path.log_probability,
            uniforms=uniforms[:, 1],
        )  # fmt: skip
        slopes = self.ensemble.log_density_gradient(state.gradient, state.occupations)
        lattice = self.hamiltonian.lattice
        steps = lattice.weights(end) - lattice.weights(state.occupations)
        return settled, info._replace(
            # A path that ends where it began is no move, and is neither accepted nor refused.
            estimated_change=np.where(moved, (slopes * steps).sum(axis=(1, 2)), np.nan),
            gradient_calls=unknown.astype(np.int64) + moved,
        )

    def tuned(self, infos: Sequence[Info]) -> PathAuxiliary:
        """Return the kernel with its length moved towards an acceptance of 0.57."""
        probability = np.concatenate([info.acceptance_probability for info in infos])
        gain = 4.0 / (1.0 + self._tunings) ** 0.6
        goal = self._aim * float(np.exp(gain * (probability.mean() - TARGET_ACCEPTANCE)))
        goal = min(max(goal, 1.0), float(min(MOST_MOVES, self.hamiltonian.lattice.n_sites)))
        return replace(self, length=round(goal), _tunings=self._tunings + 1, _goal=goal)

    def to_arrays(self) -> dict[str, Any]:
        """Return the tuned parameters."""
        return {"length": int(self.length), "goal": self._aim, "tunings": self._tunings}

    def with_arrays(self, arrays: Mapping[str, Any]) -> PathAuxiliary:
        """Return the kernel with the tuned parameters that ``to_arrays`` gave."""
        return replace(
            self, length=int(arrays["length"]), _goal=float(arrays["goal"]),
            _tunings=int(arrays["tunings"]),
        )  # fmt: skip

    @property
    def _aim(self) -> float:
        """Length that tuning has come to, before it is rounded."""
        return float(self.length) if self._goal is None else self._goal

    def _walk(self, state: State, number: np.ndarray, uniforms: np.ndarray) -> _Path:
        """Draw the paths; a replica stands still once its ``number`` of moves is made."""
        slopes = self.ensemble.log_density_gradient(state.gradient, state.occupations)
        states, moves = [state.occupations], []
        log_probability = np.zeros(len(number))
        for r in range(int(number.max())):
            here = states[-1]
            move = self._choice.draw(flip_field(slopes, here), here, uniforms[:, 3 * r : 3 * r + 3])
            active = (r < number) & (move.sites[:, 0] >= 0)
            move = Swap(
                np.where(active[:, None], move.sites, -1),
                np.where(active[:, None], move.species, -1).astype(np.int8),
                np.where(active, move.log_probability, 0.0),
            )
            moves.append(move)
            states.append(apply_swap(here, move))
            log_probability = log_probability + move.log_probability
        return _Path(states, moves, log_probability)

    def _log_reverse(self, path: _Path, proposed: State) -> np.ndarray:
        """Return log Π q of the path back, weighed with the gradient at its end."""
        slopes = self.ensemble.log_density_gradient(proposed.gradient, proposed.occupations)
        total = np.zeros_like(path.log_probability)
        for r in range(len(path.moves) - 1, -1, -1):
            before, after, move = path.states[r], path.states[r + 1], path.moves[r]
            active = move.sites[:, 0] >= 0
            sites = np.maximum(move.sites, 0)
            held = np.take_along_axis(before, sites, axis=1)
            back = self._choice.log_probability(flip_field(slopes, after), after, sites, held)
            total = total + np.where(active, back, 0.0)
        return total
