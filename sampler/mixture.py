"""Mixtures: at every step each replica picks one of several kernels at random."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError
from ..protocols import Ensemble, Generators, Hamiltonian, Info, Kernel, State
from ..tuning import learn, summary_of
from ._metropolis import draw_uniforms

__all__ = ["Mixture"]

_Fields = TypeVar("_Fields", State, Info)


@dataclass(frozen=True, init=False)
class Mixture:
    """One of several kernels per replica and step, chosen with fixed probabilities.

    Each replica draws its choice from its own generator, whatever its state; a mixture of kernels
    that leave a density invariant, with weights that do not depend on the state, leaves it
    invariant. Replicas that chose the same kernel advance together in one batched call.

    The kernels share one energy model and one ensemble, and the state: a kernel without gradients
    that moves a replica leaves its gradient unknown, and the next kernel that needs it evaluates
    it, which is counted. Where a model's ``energy`` and ``energy_and_gradient`` differ
    by rounding (float32), a mixture of kernels that use one and the other is exact up to that
    difference only.

    Parameters
    ----------
    kernels
        Pairs (kernel, weight); positive weights, of which only the ratios matter.

    Raises
    ------
    InputError
        If there is no kernel, a weight is not a positive number, or the kernels do not share
        their energy model and ensemble.

    Examples
    --------
    >>> from alchemc import Canonical, builders, sampler
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> class Flat:
    ...     def __init__(self, lattice): self.lattice = lattice
    ...     def energy(self, occupations): return np.zeros(len(occupations))
    ...     def energy_and_gradient(self, occupations):
    ...         return np.zeros(len(occupations)), np.zeros((*occupations.shape, 2))
    >>> flat, ensemble = Flat(lattice), Canonical(lattice, 300.0)
    >>> plain = sampler.RandomSwap(flat, ensemble)
    >>> informed = sampler.GibbsWithGradients(flat, ensemble)
    >>> mixture = sampler.Mixture([(plain, 1), (informed, 3)])
    >>> mixture.weights
    (1.0, 3.0)
    """

    kernels: tuple[Kernel, ...]
    weights: tuple[float, ...]
    _turn: int = field(default=0, repr=False, compare=False)

    def __init__(self, kernels: Iterable[tuple[Kernel, float]]) -> None:
        pairs = list(kernels)
        if not pairs:
            raise InputError("a mixture of no kernels cannot step: give [(kernel, weight), …]")
        for _, weight in pairs:
            is_number = isinstance(weight, Real) and not isinstance(weight, bool)
            if not is_number or not math.isfinite(weight) or weight <= 0:
                raise InputError(f"mixture weight {weight!r} cannot be used: give a number above 0")
        first = pairs[0][0]
        for kernel, _ in pairs[1:]:
            if kernel.hamiltonian is not first.hamiltonian or kernel.ensemble != first.ensemble:
                raise InputError(
                    f"{type(kernel).__name__} in a mixture has another energy model or ensemble "
                    f"than {type(first).__name__}: build all its kernels from the same two objects"
                )
        for kernel, _ in pairs:
            if getattr(kernel, "state_type", State) is not State:
                raise InputError(
                    f"{type(kernel).__name__} in a mixture moves more than occupations: mix the "
                    "kernels that it is made of, or give it the mixture"
                )
        object.__setattr__(self, "kernels", tuple(kernel for kernel, _ in pairs))
        object.__setattr__(self, "weights", tuple(float(weight) for _, weight in pairs))
        object.__setattr__(self, "_turn", 0)

    @property
    def hamiltonian(self) -> Hamiltonian:
        """The energy model that the kernels share."""
        return self.kernels[0].hamiltonian

    @property
    def ensemble(self) -> Ensemble:
        """The target density that the kernels share."""
        return self.kernels[0].ensemble

    def init(self, occupations: np.ndarray, rngs: Generators) -> State:
        """State of chains at ``occupations`` [n_replicas, n_sites], from the first kernel."""
        return self.kernels[0].init(occupations, rngs)

    def step(self, state: State, rngs: Generators) -> tuple[State, Info]:
        """Advance every replica by one step of the kernel it draws."""
        choice = self._choose(draw_uniforms(rngs, 1)[:, 0])
        groups, states, infos = [], [], []
        for index, kernel in enumerate(self.kernels):
            members = np.flatnonzero(choice == index)
            if len(members):
                part = State(*(field[members] for field in state))
                part, info = kernel.step(part, [rngs[int(m)] for m in members])
                groups.append(members)
                states.append(part)
                infos.append(info)
        order = np.argsort(np.concatenate(groups))
        width = max(info.sites.shape[1] for info in infos)
        return _gather(states, order), _gather([_padded(info, width) for info in infos], order)

    def warm_up(self, state: State, rngs: Generators, n: int) -> tuple[Mixture, State, list[Info]]:
        """Run ``n`` steps that tune the kernels, one after another for an equal share of them.

        Steps that cannot be shared out equally go round from one warm-up to the next, so that
        warm-up in parts of single steps teaches all kernels too. Where kernels have nothing to
        tune, one more share goes to the mixture as a whole: only they may change the composition.
        """
        adaptive = [
            index
            for index, kernel in enumerate(self.kernels)
            if hasattr(kernel, "tuned") or hasattr(kernel, "warm_up")
        ]
        mixture, infos = self, []
        shares = len(adaptive) + (len(adaptive) < len(self.kernels))
        share, left = divmod(n, shares)
        for place, index in enumerate(adaptive):
            steps = share + ((place - self._turn) % shares < left)
            kernels = list(mixture.kernels)
            kernels[index], state, done = learn(kernels[index], state, rngs, steps)
            mixture = self.with_kernels(kernels)
            infos += done
        for _ in range(n - len(infos)):
            state, info = mixture.step(state, rngs)
            infos.append(info)
        return mixture.with_kernels(mixture.kernels, (self._turn + left) % shares), state, infos

    def summary(self) -> dict[str, Any]:
        """Tuned parameters in plain numbers, by the kernels' position in the mixture."""
        parts = [summary_of(kernel) for kernel in self.kernels]
        products = sum(int(part.get("hessian_products", 0)) for part in parts)
        named = {str(index): part for index, part in enumerate(parts)}
        return named | ({"hessian_products": products} if products else {})

    def rebind(
        self, *, hamiltonian: Hamiltonian | None = None, ensemble: Ensemble | None = None
    ) -> Mixture:
        """Return the mixture for another energy model or target."""
        return self.with_kernels(
            kernel.rebind(hamiltonian=hamiltonian, ensemble=ensemble) for kernel in self.kernels
        )

    def carried_over(self, ensemble: Ensemble) -> Mixture:
        """Return the mixture for another point of a campaign, with what its kernels learnt.

        Those that only tune start there from what they were tuned to.
        """
        return self.with_kernels(
            k.carried_over(ensemble) if hasattr(k, "carried_over") else k.rebind(ensemble=ensemble)
            for k in self.kernels
        )

    def refresh(self, state: State, hamiltonian: Hamiltonian) -> tuple[Mixture, State]:
        """Return the mixture bound to ``hamiltonian`` and its state, after the positions moved.

        Every kernel follows the positions by itself, which evaluates the replicas once for each.
        """
        refreshed = [kernel.refresh(state, hamiltonian) for kernel in self.kernels]
        return self.with_kernels([kernel for kernel, _ in refreshed]), refreshed[0][1]

    def _choose(self, uniforms: np.ndarray) -> np.ndarray:
        """Index of each replica's kernel, from a random number and not from its state."""
        edges = np.cumsum(self.weights)[:-1] / math.fsum(self.weights)
        return np.searchsorted(edges, uniforms, side="right")

    def with_kernels(self, kernels: Iterable[Kernel], turn: int | None = None) -> Mixture:
        """Return a mixture of other kernels with the same weights.

        ``turn`` says which of its kernels learns first in the next warm-up; by default the same.
        """
        mixture = Mixture(zip(kernels, self.weights, strict=True))
        object.__setattr__(mixture, "_turn", self._turn if turn is None else turn)
        return mixture

    def to_arrays(self) -> dict[str, Any]:
        """Return the kernels' tuned parameters, by their position in the mixture."""
        arrays = {str(index): kernel.to_arrays() for index, kernel in enumerate(self.kernels)}
        return arrays | ({"turn": self._turn} if self._turn else {})

    def with_arrays(self, arrays: Mapping[str, Any]) -> Mixture:
        """Return the mixture with the tuned parameters that ``to_arrays`` gave."""
        kernels = [k.with_arrays(arrays[str(index)]) for index, k in enumerate(self.kernels)]
        return self.with_kernels(kernels, int(arrays.get("turn", 0)))


def _gather(parts: list[_Fields], order: np.ndarray) -> _Fields:
    fields = (np.concatenate(field)[order] for field in zip(*parts, strict=True))
    return type(parts[0])(*fields)


def _padded(info: Info, width: int) -> Info:
    """Info with the proposed change padded to ``width`` columns of −1."""
    missing = ((0, 0), (0, width - info.sites.shape[1]))
    return info._replace(
        sites=np.pad(info.sites, missing, constant_values=-1),
        species=np.pad(info.species, missing, constant_values=-1),
        held=np.pad(info.held, missing, constant_values=-1),
    )
