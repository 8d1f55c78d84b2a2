"""Non-equilibrium switching: works of protocols s(t) along a path, forward and in reverse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from ase import units
from scipy.special import expit

from ..._pymbar import quiet_pymbar
from ...alchemical_records import Works
from ...errors import ConvergenceError, InputError
from ...protocols import Generators, Kernel
from ...streams import restored_generators, spawn_generators, stored_generators
from ...sublattice import is_number, is_whole, shown
from ..dynamics.crystal import Dynamics, Report, Structures
from .moves import Moves, joined
from .paths import Path
from .schedules import Schedule, couplings_of, schedule_of

__all__ = ["Switching", "SwitchingState"]

WARM_UP, EQUILIBRATION, SWITCHING = range(3)
_LEAST_OVERLAP = 0.03  # of works both ways, as the estimator asks for
_ALIKE = 1e-6  # k_BT, spread of works below which they do not differ


class SwitchingState(NamedTuple):
    """Where the chains of a `Switching` stand.

    ``ends``: configurations that run the protocol forward and in reverse; ``stage``: 0 warm-up,
    1 equilibration, 2 switching, and its ``step``; ``work`` and ``heat`` [2, n_chains] in eV of the
    round that runs, forward and reverse: changes of U when s changes, and when configurations move;
    ``done`` [n_rounds, 2, n_chains]: works of whole rounds; ``drift`` [2, n_chains] in eV: what U
    at either end has changed by in the equilibration that runs, and ``drifts`` [n, 2, n_chains]
    that of whole rounds, as in ``Works``; ``dynamics`` as tuned; ``calls`` of the energy models.
    """

    ends: tuple[Structures, Structures]
    stage: int
    step: int
    work: np.ndarray
    heat: np.ndarray
    done: np.ndarray
    drift: np.ndarray
    drifts: np.ndarray
    dynamics: Dynamics | None
    calls: int

    @property
    def n_rounds(self) -> int:
        """Whole rounds so far."""
        return len(self.done)


@dataclass(frozen=True)
class Switching:
    r"""Drive a system along a path in finite time, forward and in reverse, and take the work.

    A protocol s_0 = 0, s_1, …, s_n = 1 changes s at a fixed configuration and lets configurations
    move between two changes. Forward, from a draw x_0 of the equilibrium at s = 0,

    .. math:: W = \sum_{i=1}^{n} \big[U_{s_i}(x_{i−1}) − U_{s_{i−1}}(x_{i−1})\big],

    and x_i comes from x_{i−1} by moves that leave exp(−βU_{s_i}) invariant; in reverse the same
    places and moves are gone through in the opposite order, from a draw at s = 1. Then

    .. math:: \langle e^{−βW} \rangle = e^{−βΔF}, \qquad
              \frac{P_F(W)}{P_R(−W)} = e^{β(W − ΔF)}

    (C. Jarzynski 1997, doi:10.1103/PhysRevLett.78.2690; G. E. Crooks 1999,
    doi:10.1103/PhysRevE.60.2721), from which ``alchemc.analysis`` estimates ΔF. Both are exact for
    `HMC` and for kernels of occupations, which refuse what does not fit. `Langevin` leaves U_s
    invariant up to the bias of its time step only, and W leaves out the work that its
    discretisation does (D. A. Sivak, J. D. Chodera and G. E. Crooks 2013,
    doi:10.1103/PhysRevX.3.011007): its ΔF carries a bias of second order in the time step. With a
    pressure (of HMC), ΔF is the difference of Gibbs energies.

    A *round* gives every chain one forward and one reverse work: equilibration at both ends, then
    the protocol both ways. What has run forward ends near equilibrium at s = 1, from where the next
    round goes in reverse after equilibration, and the other way round. Chain c draws from the
    streams 2c and 2c + 1 of the seed, so its works do not depend on how many chains there are.

    Parameters
    ----------
    path
        `AlchemicalPath`, `MixturePath` or another path.
    temperature
        Kelvin.
    n_steps
        Changes of s in a protocol; 1 is an instantaneous switch.
    schedule
        ``"linear"``, ``"smooth step"`` or an object of ``schedules``.
    dynamics
        `HMC` or `Langevin` for positions; one block follows every change of s but the last.
    kernel
        Kernel for occupations, made on ``path.model(0.0)`` and used as it is: tune it before, by
        ``warm_up``, where it can be tuned.
    kernel_steps
        Its steps after every change of s but the last.
    equilibration
        Moves at both ends before every protocol. How U changes from their second quarter to their
        last is kept with the works: where it does so on average, they are too few.
    warmup
        Moves at both ends before the first equilibration, in which the dynamics is tuned at both
        ends together; as many as ``equilibration`` by default.
    fix_centre
        Whether the mean displacement of the atoms that are never vacant is held at zero.

    Raises
    ------
    InputError
        If nothing moves, a part does not fit the path, or a number cannot be used.

    Examples
    --------
    The free energy of stronger bonds in a lattice whose sites exchange their species:

    >>> from alchemc import Canonical, PairHamiltonian, RandomSwap, builders
    >>> from alchemc.ensembles.alchemical import MixturePath, Switching
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> weak, strong = (
    ...     PairHamiltonian(lattice, [np.array([[0.0, -j], [-j, 0.0]])]) for j in (0.01, 0.02)
    ... )
    >>> path = MixturePath(weak, strong)
    >>> swaps = RandomSwap(path.model(0.0), Canonical(lattice, 1200.0))
    >>> switching = Switching(path, 1200.0, n_steps=10, kernel=swaps, equilibration=50)
    >>> works = switching.run(np.array([0, 0, 0, 0, 1, 1, 1, 1]), n_chains=8, seed=1)
    >>> works.forward.shape, works.label, works.calls > 0
    ((1, 8), 'PairHamiltonian → PairHamiltonian', True)
    """

    path: Path
    temperature: float
    n_steps: int
    schedule: Schedule | str = "linear"
    dynamics: Dynamics | None = None
    kernel: Kernel | None = None
    kernel_steps: int = 1
    equilibration: int = 100
    warmup: int | None = None
    fix_centre: bool = True
    moves: Moves = field(init=False, repr=False, compare=False)
    couplings: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        schedule = schedule_of(self.schedule)
        object.__setattr__(self, "schedule", schedule)
        object.__setattr__(self, "couplings", couplings_of(schedule, self.n_steps))
        if not is_whole(self.equilibration, least=1):
            raise InputError(
                f"equilibration is {shown(self.equilibration)}; give a whole number of moves, 1 or "
                "more: protocols start from equilibrium"
            )
        if self.warmup is not None and not is_whole(self.warmup, least=0):
            raise InputError(
                f"warmup is {shown(self.warmup)}; give a whole number of moves, 0 or more"
            )
        moves = Moves(
            self.path, self.temperature, self.dynamics, self.kernel, self.kernel_steps,
            self.fix_centre,
        )  # fmt: skip
        object.__setattr__(self, "moves", moves)

    # ---- whole runs ------------------------------------------------------------------------

    def run(
        self,
        starts: Any,
        *,
        n_chains: int = 32,
        n_rounds: int | None = None,
        error: float | None = None,
        max_calls: int | None = None,
        seed: int = 0,
    ) -> Works:
        """Run rounds: a number of them, until an error is reached, or while a budget lasts.

        Parameters
        ----------
        starts
            Occupations [n_sites] or [n_chains, n_sites], or `Structures` of one or ``n_chains``
            replicas.
        n_chains
            Chains, each with one forward and one reverse work a round.
        n_rounds
            Rounds at most; 1 where neither ``error`` nor ``max_calls`` is given.
        error
            Standard error of ΔF in eV at which to stop, as Bennett's estimator finds it of
            independent works that differ and overlap.
        max_calls
            Evaluations of the energy models: no round is begun after the first that would, at the
            cost of the last, exceed them.
        seed
            Seed of all chains.

        Returns
        -------
        Works, [n_rounds, n_chains] each way.

        Raises
        ------
        InputError
            If a number cannot be used, or an error is wanted at any cost.
        ConvergenceError
            If the budget ends before the first round.
        ModelError
            If a configuration has no finite energy.
        """
        most = _rounds(n_rounds, error, max_calls)
        state, rngs = self.start(starts, n_chains=n_chains, seed=seed)
        while state.n_rounds < most:
            before, rounds = state.calls, state.n_rounds
            while state.n_rounds == rounds:
                state = self.advance(state, rngs)
                if max_calls is not None and not rounds and state.calls > max_calls:
                    raise ConvergenceError(
                        f"max_calls = {max_calls} is spent before the first works are done: allow "
                        "more, or take fewer chains, steps or moves of equilibration"
                    )
            if error is not None and bennett_error(self.works(state)) <= error:
                break
            if max_calls is not None and 2 * state.calls - before > max_calls:
                break
        return self.works(state)

    # ---- in parts --------------------------------------------------------------------------

    def start(
        self, starts: Any, *, n_chains: int, seed: int = 0
    ) -> tuple[SwitchingState, list[np.random.Generator]]:
        """State before the first move, and the generators, forward and then reverse."""
        begun = self.path.calls
        structures = self.moves.starts(starts, n_chains)
        streams = spawn_generators(seed, 2 * n_chains)
        ends = self.moves.placed(0.0, structures), self.moves.placed(1.0, structures)
        dynamics = None if self.dynamics is None else self.dynamics.resumed()
        none = np.zeros((2, n_chains))
        state = SwitchingState(
            ends, WARM_UP, 0, none, none, np.empty((0, 2, n_chains)), none,
            np.empty((0, 2, n_chains)), dynamics, self.path.calls - begun,
        )  # fmt: skip
        return self._staged(state), streams[::2] + streams[1::2]

    def advance(self, state: SwitchingState, rngs: Generators, n: int = 1) -> SwitchingState:
        """Take ``n`` further moves or steps of the protocol, in all chains both ways."""
        for _ in range(n):
            begun = self.path.calls
            state = self._switched(state, rngs) if state.stage == SWITCHING else self._equilibrated(
                state, rngs
            )  # fmt: skip
            state = self._staged(state._replace(calls=state.calls + self.path.calls - begun))
        return state

    def works(self, state: SwitchingState) -> Works:
        """Works of the whole rounds so far.

        Raises
        ------
        InputError
            If there is none yet.
        """
        if not state.n_rounds:
            raise InputError("no round is complete yet: advance further")
        return Works(
            state.done[:, 0], state.done[:, 1], self.temperature, self.n_steps,
            schedule=schedule_of(self.schedule).name, calls=state.calls, label=self.path.label,
            drift=state.drifts[: state.n_rounds],
        )  # fmt: skip

    def _staged(self, state: SwitchingState) -> SwitchingState:
        """Go to the next stage where this one is at its end."""
        warmup = self.equilibration if self.warmup is None else self.warmup
        if state.stage == WARM_UP and state.step == warmup:
            dynamics = None if state.dynamics is None else state.dynamics.settled()
            none = np.zeros_like(state.drift)
            state = state._replace(stage=EQUILIBRATION, step=0, dynamics=dynamics, drift=none)
        if state.stage == EQUILIBRATION and state.step == self.equilibration:
            none = np.zeros_like(state.work)
            state = state._replace(stage=SWITCHING, step=0, work=none, heat=none)
            if self._quarters.any() and np.isfinite(state.drift).all():
                drifts = np.concatenate([state.drifts, state.drift[None]])
                state = state._replace(drifts=drifts)
        if state.stage == SWITCHING and state.step == self.n_steps:
            done = np.concatenate([state.done, state.work[None]])
            state = state._replace(
                stage=EQUILIBRATION,
                step=0,
                done=done,
                ends=state.ends[::-1],
                drift=np.zeros_like(state.drift),
            )
        return state

    def _equilibrated(self, state: SwitchingState, rngs: Generators) -> SwitchingState:
        """Move once at both ends; the dynamics learns from it in warm-up."""
        n = len(rngs) // 2
        pairs = [
            self.moves(s, structures, part, dynamics=state.dynamics)
            for s, structures, part in zip(
                (0.0, 1.0), state.ends, (rngs[:n], rngs[n:]), strict=True
            )
        ]
        ends, reports = zip(*pairs, strict=True)
        dynamics: Any = state.dynamics
        report: Report | None = joined(list(reports))
        if state.stage == WARM_UP and report is not None:
            dynamics = dynamics.tuned(report)
        drift = state.drift
        if state.stage == EQUILIBRATION:
            drift = drift + self._quarters[state.step] * np.stack([end.energy for end in ends])
        return state._replace(ends=ends, step=state.step + 1, dynamics=dynamics, drift=drift)

    def _switched(self, state: SwitchingState, rngs: Generators) -> SwitchingState:
        """Change s and move, forward and in reverse."""
        n, work, heat, ends = len(rngs) // 2, state.work.copy(), state.heat.copy(), []
        for way, part in enumerate((rngs[:n], rngs[n:])):
            ended, worked, heated = self._step(way, state, part)
            work[way] += worked
            heat[way] += heated
            ends.append(ended)
        return state._replace(ends=(ends[0], ends[1]), step=state.step + 1, work=work, heat=heat)

    def _step(
        self, way: int, state: SwitchingState, rngs: Generators
    ) -> tuple[Structures, np.ndarray, np.ndarray]:
        """One step of a protocol: where it ends, its work and its heat in eV."""
        here, there = self._protocols[way][state.step : state.step + 2]
        begun = state.ends[way]
        changed = self.moves.placed(there, begun) if there != here else begun
        ended = changed
        if state.step + 1 < self.n_steps:
            ended, _ = self.moves(
                there, changed, rngs, dynamics=state.dynamics, backwards=bool(way)
            )
        return ended, changed.energy - begun.energy, ended.energy - changed.energy

    @cached_property
    def _quarters(self) -> np.ndarray:
        """Weights of the moves of an equilibration: its last quarter less its second."""
        t = np.arange(1, self.equilibration + 1) / self.equilibration
        second, last = (t > 0.25) & (t <= 0.5), t > 0.75
        if not second.any():  # a single move
            return np.zeros(len(t))
        return np.asarray(last / last.sum() - second / second.sum())

    @cached_property
    def _protocols(self) -> tuple[np.ndarray, np.ndarray]:
        """Places gone through forward and in reverse."""
        return self.couplings, self.couplings[::-1]

    # ---- stores ----------------------------------------------------------------------------

    def to_arrays(self, state: SwitchingState, rngs: Generators) -> dict[str, np.ndarray]:
        """State and generators as plain arrays by name, for ``numpy.savez`` without pickling.

        `from_arrays` continues from there bit for bit, in the middle of a protocol too. (``calls``
        may come out higher by an evaluation that was remembered.)
        """
        tuned = {} if state.dynamics is None else state.dynamics.to_arrays()
        arrays = {
            f"{way}_{name}": getattr(end, name)
            for way, end in zip(("forward", "reverse"), state.ends, strict=True)
            for name in Structures._fields
        }
        return arrays | {
            "progress": np.array([state.stage, state.step, state.calls]),
            "work": state.work,
            "heat": state.heat,
            "done": state.done,
            "drift": state.drift,
            "drifts": state.drifts,
            "dynamics": np.array(json.dumps(tuned)),
            "generators": stored_generators(rngs),
        }

    def from_arrays(
        self, arrays: Mapping[str, np.ndarray]
    ) -> tuple[SwitchingState, list[np.random.Generator]]:
        """State and generators from what ``to_arrays`` gave."""
        ends = [
            Structures(*(np.array(arrays[f"{way}_{name}"]) for name in Structures._fields))
            for way in ("forward", "reverse")
        ]
        stage, step, calls = (int(number) for number in arrays["progress"])
        dynamics = self.dynamics
        if dynamics is not None:
            dynamics = dynamics.with_arrays(json.loads(str(arrays["dynamics"])))
        work, heat, done = (np.array(arrays[name]) for name in ("work", "heat", "done"))
        drift, drifts = np.full_like(work, np.nan), np.empty((0, *work.shape))
        if "drifts" in arrays:  # arrays made before it was measured have none
            drift, drifts = np.array(arrays["drift"]), np.array(arrays["drifts"])
        state = SwitchingState(
            (ends[0], ends[1]), stage, step, work, heat, done, drift, drifts, dynamics, calls
        )  # fmt: skip
        return state, restored_generators(arrays["generators"])


def bennett_error(works: Works) -> float:
    """Return the error of ΔF in eV by Bennett's estimator, works independent; or infinity.

    It is infinite, too, where the formula tells nothing: works without any spread, or such that
    both directions hardly share (``switching_free_energy`` refuses those).
    """
    kT = units.kB * works.temperature
    forward, reverse = works.forward.ravel() / kT, works.reverse.ravel() / kT
    pymbar = quiet_pymbar()
    try:
        with np.errstate(all="ignore"):
            found = pymbar.bar(forward, reverse, uncertainty_method="BAR")
    except (pymbar.utils.ConvergenceError, pymbar.utils.BoundsError, ValueError):
        return float("inf")
    f, n, m = float(found["Delta_f"]), len(forward), len(reverse)
    p = expit(np.concatenate([forward, -reverse]) - f + np.log(n / m))
    shared = float((p * (1.0 - p)).sum())
    overlap = 0.5 * shared * (1.0 / n + 1.0 / m)
    apart = shared < 1.0 and overlap < _LEAST_OVERLAP
    if apart or max(np.ptp(forward), np.ptp(reverse)) < _ALIKE:
        return float("inf")
    error = float(found["dDelta_f"]) * kT
    return error if np.isfinite(error) and error > 0 else float("inf")


def _rounds(n_rounds: int | None, error: float | None, max_calls: int | None) -> float:
    """Most rounds that are to be run."""
    for name, value in (("n_rounds", n_rounds), ("max_calls", max_calls)):
        if value is not None and not is_whole(value, least=1):
            raise InputError(f"{name} is {shown(value)}; give a whole number, 1 or more")
    if error is not None:
        if not is_number(error) or error <= 0:
            raise InputError(f"error is {shown(error)}; give eV above 0")
        if n_rounds is None and max_calls is None:
            raise InputError("an error may take any number of rounds: give max_calls or n_rounds")
    if n_rounds is not None:
        return n_rounds
    return 1 if max_calls is None else float("inf")
