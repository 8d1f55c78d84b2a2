"""Replica exchange: a ladder of ensembles whose neighbours exchange their replicas."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..errors import InputError
from ..protocols import Ensemble, Generators, Hamiltonian, Info, Kernel
from ..sublattice import is_whole, shown
from ..tuning import STEPS_PER_TUNING, summary_of
from ._ladder import (
    Spacing,
    at_potentials,
    at_temperatures,
    barriers,
    can_move,
    check_cells,
    checked_ladder,
    hottest,
    rungs_between,
    same_counts,
)
from ._rungs import (
    interleaved,
    joined_info,
    learning_steps,
    log_ratios,
    nothing_done,
    rows_of,
    run_steps,
    summed,
)
from ._states import check_single, extended, inner, state_type_of, take
from ._together import Gathered, gathered, together

__all__ = ["Tempering"]

TEACHING_STEPS = 16  # of the hottest rung alone, where it learns for the others
# Compiled steps of a rung, some milliseconds, beside which waking a thread costs nothing.
STEPS_WORTH_A_THREAD = 20_000


@dataclass(frozen=True, init=False, eq=False)
class Tempering:
    r"""Replicas at every rung of a ladder of ensembles, exchanged between neighbours.

    The weight is the product of the rungs' own, :math:`\prod_i e^{f_i(x_i)}` with f_i the log
    density of rung i, so that each rung's series is one of that ensemble. What a cold or otherwise
    sluggish rung cannot do by itself, its replicas do on their way through the others.

    A step takes ``steps`` steps of every rung's own kernel and then tries to exchange the replicas
    of neighbours i, j = i + 1, even and odd pairs in turn, accepted with

    .. math:: α = \min\big(1, e^{f_i(x_j) + f_j(x_i) − f_i(x_i) − f_j(x_j)}\big).

    Turns that do not depend on chance carry replicas from end to end faster than random ones, and
    leave the product invariant all the same (Okabe et al. 2001, doi:10.1016/S0009-2614(01)00055-0;
    Syed et al. 2022, doi:10.1111/rssb.12464). The exchange of a pair draws one random number from
    the lower rung's generator and evaluates no energy.

    All rungs advance together: their kernels' questions to the energy model are answered in one
    batched call. On lattice Hamiltonians they run in compiled blocks instead; moving positions are
    evaluated one rung after the other.

    The rows of a chain stand next to one another: row = chain · n_rungs + rung, one generator per
    row. `sample` starts all rungs of a chain from the same occupation and gives one point per rung,
    with ``walker``, which of the chain's replicas is there (`analysis.round_trips`).

    In warm-up every rung's kernel is tuned in its own way; kernels that learn and carry over what
    they learnt learn at the hottest rung first and once for all. The inner rungs move so that
    exchange rates become even, the ends stay; after the warm-up they are frozen, and ``ensembles``,
    ``summary()`` and the points of the run say where.

    Parameters
    ----------
    kernel
        Kernel that samples one rung; its ensemble is what the ladder is made from.
    ensembles
        The ladder, from end to end, all on the lattice of the energy model.
    temperatures
        Instead: kelvin, rising or falling; the kernel's ensemble at each of them.
    chemical_potentials
        Instead: lists in eV by sublattice and species, ``{"B": {"Ta": [0.0, 0.1, 0.2]}}``; the
        kernel's ensemble with these in place of its own. With one sublattice its name may be left
        out.
    steps
        Steps of the kernels between two attempts to exchange.
    move_rungs
        Whether the inner rungs move in warm-up. Where ensembles differ in more than numbers, they
        never do.

    Raises
    ------
    InputError
        If not exactly one ladder is given, it has fewer than two rungs, another lattice or
        temperatures that are not monotonic, some rungs keep counts or a cell that others do not,
        ``steps`` is no whole number above 0, or the kernel is a ladder itself.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import Canonical, PairHamiltonian, RandomSwap, Tempering, builders, sample
    >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(2, 2, 2))
    >>> pairs = PairHamiltonian(lattice, [{("Sc", "Ta"): -0.1}])  # rock-salt order
    >>> kernel = RandomSwap(pairs, Canonical(lattice, 1000.0))
    >>> ladder = Tempering(kernel, temperatures=[1000.0, 2000.0, 4000.0], steps=8)
    >>> start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    >>> run = sample(ladder, start, n_replicas=4, n_steps=200, warmup=200, seed=1)
    >>> [int(point.sizes["draw"]) for point in run.points]
    [200, 200, 200]
    >>> means = [float(point.energy.mean()) for point in run.points]
    >>> means == sorted(means)  # the higher, the hotter
    True
    """

    kernels: tuple[Kernel, ...]
    ensembles: tuple[Ensemble, ...]
    steps: int
    _given: tuple[Ensemble, ...] = field(repr=False)
    _spacing: Spacing = field(repr=False)
    _moves: bool = field(repr=False)
    _taught: int = field(repr=False)

    def __init__(
        self,
        kernel: Kernel,
        ensembles: Iterable[Ensemble] | None = None,
        *,
        temperatures: Iterable[float] | None = None,
        chemical_potentials: Mapping[str, Any] | None = None,
        steps: int = 1,
        move_rungs: bool = True,
    ) -> None:
        check_single(kernel, "give one rung's kernel")
        if getattr(kernel, "own_biases", False):
            raise InputError(
                f"{type(kernel).__name__} learns biases of its own, which rungs would not share: "
                "sample every temperature by itself, with more states between the species"
            )
        if not is_whole(steps, least=1):
            raise InputError(f"steps is {shown(steps)}; give a whole number, 1 or more")
        named = {
            "ensembles": ensembles, "temperatures": temperatures,
            "chemical_potentials": chemical_potentials,
        }  # fmt: skip
        if sum(ladder is not None for ladder in named.values()) != 1:
            raise InputError(f"give one of {', '.join(named)}: it says what the rungs are")
        if temperatures is not None:
            ensembles = at_temperatures(kernel.ensemble, temperatures)
        elif chemical_potentials is not None:
            ensembles = at_potentials(kernel.ensemble, chemical_potentials)
        assert ensembles is not None  # noqa: S101  (one of the three)
        rungs = checked_ladder(ensembles, kernel.hamiltonian.lattice)
        model = gathered(kernel.hamiltonian)
        kernels = tuple(kernel.rebind(hamiltonian=model, ensemble=ensemble) for ensemble in rungs)
        # What a kernel samples may be more than it was given: positions at a pressure, say.
        rungs = tuple(one.ensemble for one in kernels)
        check_cells(rungs)
        self._set(
            kernels=kernels, ensembles=rungs, steps=int(steps), _given=rungs, _taught=0,
            _spacing=Spacing.of(rungs), _moves=bool(move_rungs) and can_move(rungs),
        )  # fmt: skip

    @classmethod
    def between(
        cls,
        kernel: Kernel,
        first: Ensemble,
        last: Ensemble,
        n_rungs: int,
        *,
        steps: int = 1,
        move_rungs: bool = True,
    ) -> Tempering:
        """Ladder from one ensemble to another: temperatures geometric, other numbers linear.

        Parameters
        ----------
        kernel, steps, move_rungs
            As for the class.
        first, last
            Ensembles of one kind that differ in numbers alone.
        n_rungs
            How many rungs, the two included.

        Raises
        ------
        InputError
            As for the class, or if the ensembles differ in more than numbers.
        """
        rungs = rungs_between(first, last, n_rungs)
        return cls(kernel, rungs, steps=steps, move_rungs=move_rungs)

    # ---- what it is ------------------------------------------------------------------------

    @property
    def n_rungs(self) -> int:
        """Number of ensembles, and so of replicas per chain."""
        return len(self.ensembles)

    @property
    def hamiltonian(self) -> Hamiltonian:
        """The energy model that the rungs share."""
        model = self.kernels[0].hamiltonian
        return model.model if isinstance(model, Gathered) else model

    @property
    def ensemble(self) -> Ensemble:
        """The ensemble of the first rung; ``ensembles`` has them all."""
        return self.ensembles[0]

    @property
    def state_type(self) -> type[Any]:
        """NamedTuple of the states: the kernel's fields, ``walker`` and ``turn``."""
        return extended(state_type_of(self.kernels[0]), "walker", "turn")

    # ---- steps -----------------------------------------------------------------------------

    def init(self, occupations: np.ndarray, rngs: Generators) -> Any:
        """State of chains at ``occupations`` [n_chains · n_rungs, n_sites].

        Besides the kernel's fields it has ``walker``, which of a chain's replicas is in a row, and
        ``turn``, how many exchanges were tried, both int64 [n_chains · n_rungs].

        Raises
        ------
        InputError
            If the rows are no multiple of the rungs, or the rungs of a chain start with different
            counts where the ensembles keep them.
        """
        rows = np.atleast_2d(np.asarray(occupations))
        if not len(rows) or len(rows) % self.n_rungs or len(rngs) != len(rows):
            raise InputError(
                f"{len(rows)} occupations and {len(rngs)} generators for {self.n_rungs} rungs: "
                f"give {self.n_rungs} of each per chain, those of a chain next to one another"
            )
        self.hamiltonian.lattice.check(rows)
        for chain, first in enumerate(range(0, len(rows), self.n_rungs)):
            if not same_counts(self.ensemble, rows[first : first + self.n_rungs]):
                raise InputError(
                    f"the rungs of chain {chain} start with different species counts, which the "
                    "ensembles keep: replicas are exchanged at one composition; start all rungs "
                    "of a chain from the same"
                )
        jobs = [
            partial(kernel.init, rows[r :: self.n_rungs], rngs[r :: self.n_rungs])
            for r, kernel in enumerate(self.kernels)
        ]
        begun = interleaved(self._run(jobs))
        walker = np.tile(np.arange(self.n_rungs, dtype=np.int64), len(rows) // self.n_rungs)
        return self._joined(begun, walker, np.zeros_like(walker))

    def step(self, state: Any, rngs: Generators) -> tuple[Any, Info]:
        """Advance every rung by its kernel, then try to exchange every second pair of neighbours.

        The Info is that of the kernels' last step, with the calls of all; ``accepted`` is the share
        of accepted steps where there are several.
        """
        state, infos = self._advanced(state, rngs)
        state, _ = self._exchanged(state, rngs)
        return state, joined_info([summed(info) for info in infos])

    def _advanced(self, state: Any, rngs: Generators) -> tuple[Any, list[list[Info]]]:
        """State after ``steps`` steps of every kernel, and the rungs' infos."""
        jobs = self._jobs(run_steps, state, rngs)
        done = self._run(jobs, self.steps * len(rngs) // self.n_rungs)
        moved = interleaved([after for after, _ in done])
        return self._joined(moved, state.walker, state.turn), [infos for _, infos in done]

    def _jobs(self, work: Any, state: Any, rngs: Generators) -> list[Any]:
        """Work for every rung: with the kernel, its rows, their generators, and steps."""
        parts = inner(state)
        return [
            partial(
                work, kernel, take(parts, slice(r, None, self.n_rungs)),
                rngs[r :: self.n_rungs], self.steps,
            )
            for r, kernel in enumerate(self.kernels)
        ]  # fmt: skip

    def _run(self, jobs: list[Any], steps_of_all: int = 0) -> list[Any]:
        """Return what the jobs do: together, or one by one where nothing is to be gathered."""
        gathers = isinstance(self.kernels[0].hamiltonian, Gathered)
        if gathers or steps_of_all >= STEPS_WORTH_A_THREAD:
            return together(jobs)
        return [job() for job in jobs]

    def _exchanged(self, state: Any, rngs: Generators) -> tuple[Any, np.ndarray]:
        """State after an exchange, and its probabilities [n_chains, n_rungs − 1], NaN if not tried.

        The lower rung's generator decides.
        """
        n_chains = len(state.walker) // self.n_rungs
        tried = self._tried(state)
        probability = np.where(tried, np.exp(np.minimum(self._log_ratios(state), 0.0)), np.nan)
        source = np.arange(len(state.walker)).reshape(n_chains, self.n_rungs)
        for chain, pair in zip(*np.nonzero(tried), strict=True):
            lower = int(chain * self.n_rungs + pair)
            if rngs[lower].random() < probability[chain, pair]:
                source[chain, [pair, pair + 1]] = lower + 1, lower
        after = take(state, source.ravel())
        return after._replace(turn=state.turn + 1), probability

    def _tried(self, state: Any) -> np.ndarray:
        """Which pairs' turn it is, bool [n_chains, n_rungs − 1]: even ones, then odd ones."""
        turn = state.turn[:: self.n_rungs]
        return np.asarray((turn[:, None] + np.arange(self.n_rungs - 1)) % 2 == 0)

    def _log_ratios(self, state: Any) -> np.ndarray:
        """Return f_i(x_j) + f_j(x_i) − f_i(x_i) − f_j(x_j) of all neighbours, [n_chains, pairs]."""
        return log_ratios(self.ensembles, state)

    def _joined(self, parts: Any, walker: np.ndarray, turn: np.ndarray) -> Any:
        return extended(type(parts), "walker", "turn")(*parts, walker, turn)

    def observe(self, state: Any) -> dict[str, np.ndarray]:
        """Return what is stored with a draw: ``walker``, and what the kernels observe."""
        seen = {"walker": state.walker}
        if not hasattr(self.kernels[0], "observe"):
            return seen
        parts = inner(state)
        by_rung: list[dict[str, np.ndarray]] = [
            kernel.observe(take(parts, slice(r, None, self.n_rungs)))  # type: ignore[attr-defined]
            for r, kernel in enumerate(self.kernels)
        ]
        return {n: rows_of([seen[n] for seen in by_rung]) for n in by_rung[0]} | seen

    # ---- warm-up ---------------------------------------------------------------------------

    def warm_up(self, state: Any, rngs: Generators, n: int) -> tuple[Tempering, Any, list[Info]]:
        """Run ``n`` steps that tune the kernels and move the rungs."""
        ladder, state, infos = self._taught_first(state, rngs, n)
        since: list[list[list[Info]]] = []
        for step in range(len(infos) + 1, n + 1):
            ladder, state, seen = ladder._learning_step(state, rngs)  # noqa: SLF001
            since.append(seen)
            infos.append(joined_info([summed(rung) for rung in seen]))
            if len(since) == STEPS_PER_TUNING or step == n:
                ladder, since = ladder._tuned(since), []  # noqa: SLF001
        return ladder, state, infos

    def _taught_first(
        self, state: Any, rngs: Generators, n: int
    ) -> tuple[Tempering, Any, list[Info]]:
        """Let the hottest rung learn for all, as far as it has not: the others stay where they are.

        No more than ``n`` steps, so that it may go on in the next part of a warm-up.
        """
        kernel = self.kernels[0]
        learns = hasattr(kernel, "warm_up") and hasattr(kernel, "carried_over")
        left = min(n, TEACHING_STEPS - self._taught) if learns else 0
        if left <= 0:
            return self, state, []
        hot, parts = hottest(self.ensembles), inner(state)
        rows = slice(hot, None, self.n_rungs)
        teacher: Any = self.kernels[hot]
        teacher, after, seen = teacher.warm_up(
            take(parts, rows), rngs[hot :: self.n_rungs], left * self.steps
        )
        kernels = tuple(
            teacher if r == hot else teacher.carried_over(ensemble)
            for r, ensemble in enumerate(self.ensembles)
        )
        moved = [
            after if r == hot else take(parts, slice(r, None, self.n_rungs))
            for r in range(self.n_rungs)
        ]
        still = nothing_done(len(after.energy))
        infos = [
            joined_info([summed(step) if r == hot else still for r in range(self.n_rungs)])
            for step in (seen[k : k + self.steps] for k in range(0, len(seen), self.steps))
        ]
        ladder = self._with(kernels=kernels, _taught=self._taught + left)
        return ladder, self._joined(interleaved(moved), state.walker, state.turn), infos

    def _learning_step(
        self, state: Any, rngs: Generators
    ) -> tuple[Tempering, Any, list[list[Info]]]:
        """Step in which kernels that warm up in their own way do so, and rungs may move."""
        jobs = self._jobs(learning_steps, state, rngs)
        done = self._run(jobs, self.steps * len(rngs) // self.n_rungs)
        ladder = self._with(kernels=tuple(kernel for kernel, _, _ in done))
        moved = interleaved([after for _, after, _ in done])
        after, probabilities = ladder._exchanged(  # noqa: SLF001
            self._joined(moved, state.walker, state.turn), rngs
        )
        spacing = self._spacing.seen(probabilities)
        ladder = ladder._with(_spacing=spacing)  # noqa: SLF001
        if self._moves and spacing.is_due:
            ladder = ladder._at(spacing.moved())  # noqa: SLF001
        return ladder, after, [seen for _, _, seen in done]

    def _tuned(self, since: Sequence[Sequence[list[Info]]]) -> Tempering:
        """Ladder whose kernels are tuned by what they did, those that are tuned by infos."""
        kernels = []
        for r, kernel in enumerate(self.kernels):
            if hasattr(kernel, "warm_up") or not hasattr(kernel, "tuned"):
                kernels.append(kernel)
            else:
                kernels.append(kernel.tuned([info for step in since for info in step[r]]))
        return self._with(kernels=tuple(kernels))

    def _at(self, spacing: Spacing) -> Tempering:
        """Ladder with its rungs elsewhere, kernels tuned as they are."""
        ensembles = tuple(spacing.ensembles(self._given))
        kernels = [
            kernel if ensemble is kernel.ensemble else kernel.rebind(ensemble=ensemble)
            for kernel, ensemble in zip(self.kernels, ensembles, strict=True)
        ]
        return self._with(kernels=tuple(kernels), ensembles=ensembles, _spacing=spacing)

    # ---- other models and stores -----------------------------------------------------------

    def rebind(
        self, *, hamiltonian: Hamiltonian | None = None, ensemble: Ensemble | None = None
    ) -> Tempering:
        """Return the ladder, what was tuned kept, for another energy model.

        Raises
        ------
        InputError
            If an ensemble is given: a ladder has one per rung.
        """
        if ensemble is not None:
            raise InputError("a ladder has one ensemble per rung: make a new Tempering of them")
        if hamiltonian is None:
            return self
        model = gathered(hamiltonian)
        return self._with(
            kernels=tuple(kernel.rebind(hamiltonian=model) for kernel in self.kernels)
        )

    def refresh(self, state: Any, hamiltonian: Hamiltonian) -> tuple[Tempering, Any]:
        """Return the ladder bound to ``hamiltonian`` and its state, after the positions moved."""
        parts, model = inner(state), gathered(hamiltonian)
        jobs = [
            partial(kernel.refresh, take(parts, slice(r, None, self.n_rungs)), model)
            for r, kernel in enumerate(self.kernels)
        ]
        done = self._run(jobs)
        moved = interleaved([part for _, part in done])
        ladder = self._with(kernels=tuple(kernel for kernel, _ in done))
        return ladder, self._joined(moved, state.walker, state.turn)

    def summary(self) -> dict[str, Any]:
        """Return what the warm-up found, in plain numbers.

        ``rungs``: coordinates of every rung and what its kernel says of itself; ``exchange_rates``
        between neighbours, None where not known; ``barrier`` Λ from end to end, of which an
        efficient ladder has about twice as many rungs (Syed et al. 2022); ``rounds`` in which rungs
        moved.
        """
        rates = self._spacing.present_rates
        barrier = float(barriers(rates).sum()) if np.isfinite(rates).all() else None
        rungs = [
            {"coordinates": _coordinates(ensemble), "kernel": summary_of(kernel)}
            for ensemble, kernel in zip(self.ensembles, self.kernels, strict=True)
        ]
        found: dict[str, Any] = {
            "rungs": rungs,
            "exchange_rates": [float(r) if np.isfinite(r) else None for r in rates],
            "barrier": barrier,
            "rounds": self._spacing.rounds,
        }
        # What was carried over was learnt once.
        products = [int(rung["kernel"].get("hessian_products", 0)) for rung in rungs]
        if any(products):
            found["hessian_products"] = max(products) if self._taught else sum(products)
        return found

    def to_arrays(self) -> dict[str, Any]:
        """Return where the rungs are, and what their kernels were tuned to, by rung."""
        return {
            "spacing": self._spacing.to_arrays(),
            "taught": self._taught,
            "kernels": {str(rung): k.to_arrays() for rung, k in enumerate(self.kernels)},
        }

    def with_arrays(self, arrays: Mapping[str, Any]) -> Tempering:
        """Return the ladder with what ``to_arrays`` gave."""
        ladder = self._at(Spacing(**arrays["spacing"]))
        kernels = [
            kernel.with_arrays(arrays["kernels"][str(rung)])
            for rung, kernel in enumerate(ladder.kernels)
        ]
        return ladder._with(kernels=tuple(kernels), _taught=int(arrays["taught"]))  # noqa: SLF001

    def _with(self, **changes: Any) -> Tempering:
        ladder = copy.copy(self)
        ladder._set(**changes)  # noqa: SLF001
        return ladder

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _coordinates(ensemble: Any) -> dict[str, float]:
    return dict(ensemble.coordinates()) if hasattr(ensemble, "coordinates") else {}
