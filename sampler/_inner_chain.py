"""The chains that a surrogate chain runs on its surrogate, and the sites that they move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..ensembles import Canonical, SemiGrandCanonical
from ..errors import InputError
from ..lattice import Lattice
from ..potentials.lattice_hamiltonian import LatticeHamiltonian
from ..potentials.pair_expansion import PairExpansion, coordinates
from ..protocols import Ensemble, Generators, Hamiltonian, Kernel, State
from ..statistics import autocorrelation_time
from ._composition import at_fixed_counts, flip_weight, natural_moves
from ._metropolis import draw_uniforms
from .random_flip import RandomFlip
from .random_swap import RandomSwap
from .table_exchange import TableExchange

__all__ = ["FEWEST_SWEEPS", "InnerChain", "InnerKernel", "nearest_sites", "two_patches"]

MOST_WAVES = 3000  # sites, for which the leading order is looked for
FEWEST_SWEEPS, MOST_SWEEPS = 50, 4000
SWEEPS_PER_TIME = 4.0  # of the inner chain, in autocorrelation times of its energy and order
MEASURED_DRAWS = 240

InnerKernel = Callable[[Hamiltonian, Ensemble], Kernel]


@dataclass(frozen=True)
class InnerChain:
    r"""Reversible chain on a surrogate: one kernel many times, or two in a palindrome.

    With one kernel K it is Kⁿ or, where a coin says so, Kⁿ⁺¹. With two, A and B, it is

    .. math:: A^q B^q X B^q A^q,

    X drawn to be nothing, A or B. The same words read backwards are the same words, so the chain is
    reversible wherever A and B are, and what is drawn does not depend on the state. The odd step is
    there because flips that are all accepted would keep the parity of the composition for ever, and
    two swaps of two sites lead nowhere.
    """

    kernels: tuple[Kernel, ...]

    @classmethod
    def of(
        cls,
        surrogate: LatticeHamiltonian,
        ensemble: Ensemble,
        move: str | None,
        own: InnerKernel | None,
    ) -> InnerChain:
        """Chain of the moves that the ensemble calls for, of one kind, or of one's own kernel."""
        if own is not None:
            return cls((own(surrogate, ensemble),))
        makers: dict[str, Callable[[], Kernel]] = {
            "flip": lambda: RandomFlip(surrogate, ensemble),
            "swap": lambda: RandomSwap(surrogate, at_fixed_counts(ensemble)),
            "exchange": lambda: TableExchange(surrogate, ensemble),
        }
        moves = natural_moves(ensemble) if move is None else (move,)
        return cls(tuple(makers[one]() for one in moves))

    @property
    def is_compiled(self) -> bool:
        """Whether all its steps run in compiled code, on chosen sites if need be."""
        return all(_is_compiled(kernel) for kernel in self.kernels)

    def run(
        self, state: State, rngs: Generators, steps: int, sites: np.ndarray | None
    ) -> np.ndarray:
        """Occupations after about so many steps, moving ``sites`` [n_replicas, m] or all (None)."""
        first, last = self.kernels[0], self.kernels[-1]
        if len(self.kernels) == 1:
            end = self._repeat(first, state, rngs, steps, sites)
            words: list[tuple[Kernel, float]] = [(first, 0.5)]
        else:
            share = -(-steps // 4)
            ends = share if _is_compiled(first) else min(share, state.occupations.shape[1])
            end = self._repeat(first, state, rngs, ends, sites)
            end = self._repeat(last, end, rngs, share, sites)
            words = [(first, 1 / 3), (last, 2 / 3)]
        drawn, below = draw_uniforms(rngs, 1)[:, 0], 0.0
        for kernel, edge in words:
            end = self._once(kernel, end, rngs, (drawn >= below) & (drawn < edge), sites)
            below = edge
        if len(self.kernels) == 2:
            end = self._repeat(last, end, rngs, share, sites)
            end = self._repeat(first, end, rngs, ends, sites)
        return end.occupations

    def measured_sweeps(self, state: State, rngs: Generators) -> int:
        """Sweeps to make: four times as many as the chain on the whole cell remembers.

        Of its energy, and of the order that the surrogate's couplings drive towards.
        """
        sweep, thin = state.occupations.shape[1], 1
        surrogate = self.kernels[0].hamiltonian
        state = state._replace(energy=surrogate.energy(state.occupations))
        while self.is_compiled:
            state, draws = self._draws(state, rngs, thin * sweep)
            memory = longest_memory(surrogate, draws)
            if memory <= MEASURED_DRAWS / 30 or thin >= MOST_SWEEPS // 30:
                # A series that never changes remembers for ever.
                sweeps = min(max(SWEEPS_PER_TIME * thin * memory, FEWEST_SWEEPS), MOST_SWEEPS)
                return int(np.ceil(sweeps))
            thin *= 4
        return FEWEST_SWEEPS

    def _draws(
        self, state: State, rngs: Generators, thin: int
    ) -> tuple[State, dict[str, np.ndarray]]:
        """Occupations and energies of draws of the chain on the whole cell."""
        if len(self.kernels) == 1:
            (kernel,) = self.kernels
            block = _block(kernel, state, rngs, (MEASURED_DRAWS, thin))
            assert block is not None  # noqa: S101  (is_compiled)
            return block
        occupations, energies = [], []
        for _ in range(MEASURED_DRAWS):
            after = self.run(state, rngs, thin, None)
            energy = self.kernels[0].hamiltonian.energy(after)
            state = state._replace(occupations=after, energy=energy)
            occupations.append(after)
            energies.append(energy)
        return state, {"occupation": np.array(occupations), "energy": np.array(energies)}

    def _once(
        self,
        kernel: Kernel,
        state: State,
        rngs: Generators,
        which: np.ndarray,
        sites: np.ndarray | None,
    ) -> State:
        """One step of the replicas in ``which``."""
        some = np.flatnonzero(which)
        if not len(some):
            return state
        part = State(*(values[some] for values in state))
        chosen = None if sites is None else sites[some]
        moved = self._repeat(kernel, part, [rngs[r] for r in some.tolist()], 1, chosen)
        occupations, energy = state.occupations.copy(), state.energy.copy()
        occupations[some], energy[some] = moved.occupations, moved.energy
        return state._replace(occupations=occupations, energy=energy)

    def _repeat(
        self, kernel: Kernel, state: State, rngs: Generators, steps: int, sites: np.ndarray | None
    ) -> State:
        """State after so many steps of one kernel."""
        block = _block(kernel, state, rngs, (1, steps), sites)
        if block is not None:
            return block[0]
        if sites is not None:
            raise InputError(
                f"regions need compiled moves, which {type(kernel.ensemble).__name__} has not: "
                "leave out region"
            )
        for _ in range(steps):
            state, _ = kernel.step(state, rngs)
        return state


def _is_compiled(kernel: Kernel) -> bool:
    if type(kernel) is RandomFlip:
        return flip_weight(kernel.ensemble) is not None
    known = (Canonical, SemiGrandCanonical)
    return type(kernel) is RandomSwap and type(kernel.ensemble) in known


def _block(
    kernel: Kernel,
    state: State,
    rngs: Generators,
    draws: tuple[int, int],
    sites: np.ndarray | None = None,
) -> tuple[State, dict[str, np.ndarray]] | None:
    """Compiled block of so many draws and steps per draw; None of a kernel that has none."""
    if not isinstance(kernel, RandomSwap | RandomFlip):
        return None
    if sites is None and isinstance(kernel, RandomSwap):
        # All sites by name: a replica without unlike species then stands still in a swap.
        n_replicas, n_sites = state.occupations.shape
        sites = np.tile(np.arange(n_sites), (n_replicas, 1))
    return kernel.compiled_block(state, rngs, *draws, sites=sites)


def longest_memory(surrogate: Hamiltonian, draws: Mapping[str, np.ndarray]) -> float:
    """Autocorrelation time in draws of what an inner chain is slow to forget.

    Its energy, and the order that an expansion's couplings drive towards. ``draws`` as
    ``draw_block`` gives them.
    """
    series = [draws["energy"]]
    if isinstance(surrogate, PairExpansion) and surrogate.lattice.n_sites <= MOST_WAVES:
        occupations = draws["occupation"]
        every = occupations.reshape(-1, occupations.shape[2])
        x = coordinates(surrogate.lattice, surrogate.mean, every)
        amplitudes = x.reshape(len(every), -1) @ surrogate.leading_waves().T
        series.append((amplitudes**2).sum(axis=1).reshape(occupations.shape[:2]))
    return max(_memory(one) for one in series)


def _memory(series: np.ndarray) -> float:
    """Autocorrelation time in draws, of the later three quarters."""
    later = series[len(series) // 4 :]
    return 1.0 if np.ptp(later) == 0.0 else float(autocorrelation_time(later))


@lru_cache(maxsize=4)
def nearest_sites(lattice: Lattice, number: int) -> np.ndarray:
    """List the ``number`` sites nearest to each, itself first, int32 [n_sites, number]."""
    positions = lattice.atoms.positions[lattice.sites]
    inverse, cell = np.linalg.inv(lattice.atoms.cell.array), lattice.atoms.cell.array
    order = np.empty((len(positions), number), dtype=np.int32)
    for n, origin in enumerate(positions):
        apart = (positions - origin) @ inverse
        distance = np.linalg.norm((apart - np.round(apart)) @ cell, axis=1)
        order[n] = np.argsort(np.round(distance, 3), kind="stable")[:number]
    order.setflags(write=False)
    return order


def two_patches(near: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Sites of regions, [n_replicas, size], from random numbers [n_replicas, 2] alone.

    Half of a region lies around one site, half around another, without those of the first half.
    ``near`` as ``nearest_sites`` lists them, as many as a region holds.
    """
    n_sites, size = near.shape
    first = (size + 1) // 2
    one, other = (uniforms * n_sites).astype(np.int64).T
    patches = []
    for a, b in zip(near[one], near[other], strict=True):
        rest = b[~np.isin(b, a[:first])]
        patches.append(np.concatenate([a[:first], rest[: size - first]]))
    return np.sort(np.array(patches), axis=1)
