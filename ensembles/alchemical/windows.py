"""Equilibrium windows along a path: draws at fixed places, and where the places should lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...alchemical_records import Windows
from ...errors import ConvergenceError, InputError
from ...protocols import Generators, Kernel
from ...streams import restored_generators, spawn_generators, stored_generators
from ...sublattice import is_whole, shown
from ..dynamics.crystal import Dynamics, Report, Structures
from .moves import Moves
from .paths import Path

__all__ = ["WindowSampling", "WindowState"]

_MIN_DRAWS = 2  # of a record
_MIN_COUPLING = 1e-6  # between neighbours


class WindowState(NamedTuple):
    """Where the chains of a `WindowSampling` stand.

    ``structures`` and ``dynamics`` (as tuned) of every window begun; ``window`` and ``step``: what
    was moved last, in equilibration or, if ``drawing``, for the next draw. Of every whole draw,
    ``energies`` [window, chain, l] and ``slopes`` [window, chain] in eV; ``part`` is the same of
    the draw that is not whole yet. ``calls`` of the energy models.
    """

    structures: tuple[Structures, ...]
    dynamics: tuple[Dynamics | None, ...]
    drawing: bool
    window: int
    step: int
    part: tuple[np.ndarray, np.ndarray]
    energies: tuple[np.ndarray, ...]
    slopes: tuple[np.ndarray, ...]
    calls: int

    @property
    def n_draws(self) -> int:
        """Draws that every window has."""
        return len(self.slopes)


@dataclass(frozen=True)
class WindowSampling:
    r"""Draw configurations in equilibrium at several places s of a path.

    In the window at s_k configurations have the weight exp(−βU_{s_k}); of every draw are stored
    U_{s_l} at all windows' places and ∂U/∂s at its own, from which ``alchemc.analysis`` estimates
    free energies:

    .. math:: ΔF = \int_0^1 \Big\langle \frac{∂U_s}{∂s} \Big\rangle_s ds

    (J. G. Kirkwood 1935, doi:10.1063/1.1749657), or by MBAR from the energies. On a linear path
    they follow from two evaluations per draw, on others one is needed per window. Windows are
    equilibrated one after the other, each from where the one before has come to; then they are
    drawn from in turn, so that a run stopped by its budget has equally many draws of all. Draws of
    `Langevin` carry the bias of its time step.

    Chain c of window k draws from stream k n_chains + c of the seed.

    Parameters
    ----------
    path, temperature, dynamics, kernel, kernel_steps, fix_centre
        As in `Switching`.
    couplings
        Places of the windows, rising in [0, 1], or how many at equal distances.
    equilibration
        Moves in every window before its first draw; the dynamics is tuned in their first half.
    thin
        Moves per draw.

    Raises
    ------
    InputError
        If nothing moves, a part does not fit the path, or a number cannot be used.

    Examples
    --------
    >>> from alchemc import Canonical, PairHamiltonian, RandomSwap, builders
    >>> from alchemc.ensembles.alchemical import MixturePath, WindowSampling
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> weak, strong = (
    ...     PairHamiltonian(lattice, [np.array([[0.0, -j], [-j, 0.0]])]) for j in (0.01, 0.02)
    ... )
    >>> path = MixturePath(weak, strong)
    >>> swaps = RandomSwap(path.model(0.0), Canonical(lattice, 1200.0))
    >>> sampling = WindowSampling(path, 1200.0, couplings=3, kernel=swaps, equilibration=10)
    >>> windows = sampling.run(np.array([0, 0, 0, 0, 1, 1, 1, 1]), n_draws=20, n_chains=2, seed=1)
    >>> windows.energies.shape, windows.couplings.tolist()
    ((3, 2, 20, 3), [0.0, 0.5, 1.0])
    """

    path: Path
    temperature: float
    couplings: Sequence[float] | np.ndarray | int = 11
    dynamics: Dynamics | None = None
    kernel: Kernel | None = None
    kernel_steps: int = 1
    equilibration: int = 100
    thin: int = 1
    fix_centre: bool = True
    moves: Moves = field(init=False, repr=False, compare=False)
    places: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", _places(self.couplings))
        for name, value, least in (
            ("equilibration", self.equilibration, 1),
            ("thin", self.thin, 1),
        ):
            if not is_whole(value, least=least):
                raise InputError(
                    f"{name} is {shown(value)}; give a whole number of moves, {least} or more"
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
        n_draws: int,
        n_chains: int = 4,
        max_calls: int | None = None,
        seed: int = 0,
    ) -> Windows:
        """Equilibrate every window and draw from it.

        Parameters
        ----------
        starts
            Occupations [n_sites] or [n_chains, n_sites], or `Structures` of one or ``n_chains``
            replicas.
        n_draws
            Draws per chain and window, at most.
        n_chains
            Chains in every window.
        max_calls
            Evaluations of the energy models: no draw is begun after the first that would, at the
            cost of the last, exceed them.
        seed
            Seed of all chains.

        Raises
        ------
        InputError
            If a number cannot be used.
        ConvergenceError
            If the budget ends before two draws of every window.
        ModelError
            If a configuration has no finite energy.
        """
        if not is_whole(n_draws, least=_MIN_DRAWS):
            raise InputError(f"n_draws is {shown(n_draws)}; give a whole number, 2 or more")
        if max_calls is not None and not is_whole(max_calls, least=1):
            raise InputError(f"max_calls is {shown(max_calls)}; give a whole number, 1 or more")
        state, rngs = self.start(starts, n_chains=n_chains, seed=seed)
        while state.n_draws < n_draws:
            before, draws = state.calls, state.n_draws
            while state.n_draws == draws and (max_calls is None or state.calls <= max_calls):
                state = self.advance(state, rngs)
            last = state.calls - before if draws else 0  # the first equilibrates, too
            if max_calls is not None and state.calls + last > max_calls:
                break
        if state.n_draws < _MIN_DRAWS:
            raise ConvergenceError(
                f"max_calls = {max_calls} is spent after {state.n_draws} draws of "
                f"{len(self.places)} windows: allow more, or take fewer windows, chains or moves "
                "of equilibration"
            )
        return self.windows(state)

    # ---- in parts --------------------------------------------------------------------------

    def start(
        self, starts: Any, *, n_chains: int, seed: int = 0
    ) -> tuple[WindowState, list[np.random.Generator]]:
        """State before the first move, and the generators, window by window."""
        begun, k = self.path.calls, len(self.places)
        structures = self.moves.placed(float(self.places[0]), self.moves.starts(starts, n_chains))
        part = np.zeros((k, n_chains, k)), np.zeros((k, n_chains))
        state = WindowState(
            (structures,), (self._untuned,), False, 0, 0, part, (), (), self.path.calls - begun
        )
        return state, spawn_generators(seed, k * n_chains)

    @property
    def _untuned(self) -> Dynamics | None:
        return None if self.dynamics is None else self.dynamics.resumed()

    def advance(self, state: WindowState, rngs: Generators, n: int = 1) -> WindowState:
        """Take ``n`` further moves, in all chains of the window whose turn it is."""
        for _ in range(n):
            begun = self.path.calls
            if state.drawing:
                state = self._drawn(state, rngs)
            else:
                state = self._equilibrated(state, rngs)
            state = state._replace(calls=state.calls + self.path.calls - begun)
        return state

    def windows(self, state: WindowState) -> Windows:
        """Record of the draws that every window has.

        Raises
        ------
        InputError
            If they are fewer than two.
        """
        if state.n_draws < _MIN_DRAWS:
            raise InputError(
                f"every window has {state.n_draws} draws, two are needed: advance further"
            )
        energies, slopes = np.stack(state.energies, axis=2), np.stack(state.slopes, axis=2)
        return Windows(
            self.places, energies, slopes, self.temperature,
            calls=state.calls, label=self.path.label,
        )  # fmt: skip

    def _equilibrated(self, state: WindowState, rngs: Generators) -> WindowState:
        """Move the chains of one window, tune in the first half, and go on to the next at last."""
        state, report = self._moved(state, rngs)
        tuned, half = state.dynamics[-1], (self.equilibration + 1) // 2
        if tuned is not None and report is not None and state.step <= half:
            tuned = tuned.tuned(report)
            tuned = tuned.settled() if state.step == half else tuned
            state = state._replace(dynamics=_with(state.dynamics, state.window, tuned))
        if state.step < self.equilibration:
            return state
        if state.window + 1 == len(self.places):
            return state._replace(drawing=True, window=0, step=0)
        following = self.moves.placed(
            float(self.places[state.window + 1]), state.structures[state.window]
        )
        return state._replace(
            structures=(*state.structures, following),
            dynamics=(*state.dynamics, self._untuned),
            window=state.window + 1,
            step=0,
        )

    def _drawn(self, state: WindowState, rngs: Generators) -> WindowState:
        """Move the chains of one window, and measure where a draw is due."""
        state, _ = self._moved(state, rngs)
        if state.step < self.thin:
            return state
        energies, slopes = self._measured(state)
        if state.window + 1 < len(self.places):
            return state._replace(part=(energies, slopes), window=state.window + 1, step=0)
        return state._replace(
            energies=(*state.energies, energies), slopes=(*state.slopes, slopes), window=0, step=0
        )

    def _moved(self, state: WindowState, rngs: Generators) -> tuple[WindowState, Report | None]:
        k, n = state.window, len(rngs) // len(self.places)
        moved, report = self.moves(
            float(self.places[k]), state.structures[k], rngs[k * n : (k + 1) * n],
            dynamics=state.dynamics[k],
        )  # fmt: skip
        structures = _with(state.structures, k, moved)
        return state._replace(structures=structures, step=state.step + 1), report

    def _measured(self, state: WindowState) -> tuple[np.ndarray, np.ndarray]:
        """Energies at every window's place and the slope at its own, beside those before it."""
        k, structures = state.window, state.structures[state.window]
        energies, slopes = (values.copy() for values in state.part)
        order = np.roll(np.arange(len(self.places)), -k - 1)  # its own last: the slope's next
        energies[k][:, order] = self.path.energies(self.places[order], structures)
        slopes[k] = self.path.slope(float(self.places[k]), structures)
        return energies, slopes

    # ---- stores ----------------------------------------------------------------------------

    def to_arrays(self, state: WindowState, rngs: Generators) -> dict[str, np.ndarray]:
        """State and generators as plain arrays by name, for ``numpy.savez`` without pickling.

        `from_arrays` continues from there bit for bit.
        """
        tuned = [None if one is None else one.to_arrays() for one in state.dynamics]
        stacked = {
            name: np.stack([getattr(one, name) for one in state.structures])
            for name in Structures._fields
        }
        return stacked | {
            "progress": np.array([state.drawing, state.window, state.step, state.calls]),
            "draw_energies": np.array([*state.energies, state.part[0]]),
            "draw_slopes": np.array([*state.slopes, state.part[1]]),
            "dynamics": np.array(json.dumps(tuned)),
            "generators": stored_generators(rngs),
        }

    def from_arrays(
        self, arrays: Mapping[str, np.ndarray]
    ) -> tuple[WindowState, list[np.random.Generator]]:
        """State and generators from what ``to_arrays`` gave."""
        parts = [np.array(arrays[name]) for name in Structures._fields]
        structures = tuple(Structures(*rows) for rows in zip(*parts, strict=True))
        drawing, window, step, calls = (int(number) for number in arrays["progress"])
        tuned = json.loads(str(arrays["dynamics"]))
        dynamics = tuple(self.dynamics and self.dynamics.with_arrays(one) for one in tuned)
        energies, slopes = (tuple(np.array(arrays[f"draw_{n}"])) for n in ("energies", "slopes"))
        state = WindowState(
            structures, dynamics, bool(drawing), window, step, (energies[-1], slopes[-1]),
            energies[:-1], slopes[:-1], calls,
        )  # fmt: skip
        return state, restored_generators(arrays["generators"])


def _with(values: tuple[Any, ...], k: int, value: Any) -> tuple[Any, ...]:
    return (*values[:k], value, *values[k + 1 :])


def _places(couplings: Any) -> np.ndarray:
    if is_whole(couplings, least=2):
        return np.linspace(0.0, 1.0, int(couplings))
    try:
        s = np.array(couplings, dtype=np.float64)
    except (TypeError, ValueError):
        s = np.empty(0)
    inside = s.ndim == 1 and len(s) > 1 and bool((s >= 0).all() and (s <= 1).all())
    if not inside or (np.diff(s) < _MIN_COUPLING).any():
        raise InputError(
            f"couplings are {shown(couplings)}; give two places or more, rising within [0, 1], or "
            "how many"
        )
    return s
