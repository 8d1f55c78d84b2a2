"""Simulated annealing: the temperature falls step by step, in search of low energies."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..protocols import Ensemble, Generators, Hamiltonian, Info, Kernel
from ..records import Run
from ..sublattice import is_number, is_whole, shown
from ..tuning import learn, summary_of
from ._states import check_single, extended, inner, state_type_of

__all__ = ["Annealing", "Lowest", "lowest"]

MOST_LEVELS = 200  # by default: to change the temperature costs as much as a plain step
SCHEDULES = ("geometric", "linear")


@dataclass(frozen=True)
class Cooling:
    """An ensemble while its temperature falls; weight and densities are those at the start.

    Parameters
    ----------
    start
        The ensemble at the first temperature.
    """

    start: Ensemble

    @property
    def lattice(self) -> Lattice:
        """Sites and species."""
        return self.start.lattice

    @property
    def fixed(self) -> tuple[str, ...]:
        """Names of the sublattices that keep their counts."""
        return tuple(getattr(self.start, "fixed", ()))

    def log_density(
        self, energy: np.ndarray, occupations: np.ndarray, volume: np.ndarray | None = None
    ) -> np.ndarray:
        """Logarithm of the weight at the first temperature, [n_replicas]."""
        return self.start.log_density(energy, occupations, volume)

    def log_density_gradient(self, gradient: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """∂ log density/∂λ at the first temperature, [n_replicas, n_sites, n_species_max]."""
        return self.start.log_density_gradient(gradient, occupations)

    def coordinates(self) -> dict[str, float]:
        """Coordinates of a run's point that hold throughout: all but the temperature."""
        if not hasattr(self.start, "coordinates"):
            return {}
        return {k: v for k, v in self.start.coordinates().items() if k != "temperature"}


@dataclass(frozen=True, init=False, eq=False)
class Annealing:
    r"""A kernel whose temperature falls from that of its ensemble to ``end`` in ``n_steps`` steps.

    It samples no ensemble: what a chain holds at a temperature depends on how fast it came there,
    and no average over the draws is one at any temperature. It looks for low energies (`lowest`),
    for starts of chains, and for what a crystal cooled at some rate would freeze in. For averages
    at each temperature use `Tempering`, or independent chains with a warm-up.

    The temperature is constant on levels of ``hold`` steps, T_0 = start, …, T_L = end, spaced

    .. math:: T_l = T_0 (T_L/T_0)^{l/L} \quad\text{or}\quad T_l = T_0 + (T_L − T_0)\, l/L,

    geometrically or linearly (Kirkpatrick, Gelatt and Vecchi 1983,
    doi:10.1126/science.220.4598.671).
    After the last step it stays at ``end``. The mean cooling rate is (start − end)/n_steps in K per
    step, and n_sites times that per sweep (``cooling_rate``, ``summary()``); geometric levels fall
    faster than that at first and slower at the end. A step of a `SurrogateChain` is many sweeps of
    its surrogate: its rate is one per evaluation, not per swap.

    The state carries how many steps were taken, so that blocks of draws follow one another. Draws
    hold ``bath_temperature``; the point of a run has no temperature of its own. In warm-up the
    kernel is tuned where it stands, at the start, and does not cool.

    Parameters
    ----------
    kernel
        Kernel to be cooled, in any ensemble with a temperature.
    end
        Last temperature in K, below that of the kernel's ensemble.
    n_steps
        Steps from start to end.
    schedule
        ``"geometric"`` or ``"linear"``.
    hold
        Steps per level; by default as few as make 200 levels.

    Raises
    ------
    InputError
        If the ensemble has no temperature, ``end`` is not above 0 and below it, a number cannot be
        used, there are fewer than two levels, or the kernel is a ladder.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import Annealing, Canonical, PairHamiltonian, RandomSwap, builders, sample
    >>> from alchemc.ensembles import lowest
    >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(2, 2, 2))
    >>> pairs = PairHamiltonian(lattice, [{("Sc", "Ta"): -0.1}])  # rock-salt order
    >>> cooled = Annealing(RandomSwap(pairs, Canonical(lattice, 4000.0)), end=200.0, n_steps=800)
    >>> cooled.cooling_rate  # K per step
    4.75
    >>> start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    >>> found = lowest(sample(cooled, start, n_replicas=4, n_steps=800, thin=8, seed=1))
    >>> round(found.energy, 3)  # all 24 neighbours unlike
    -2.4
    """

    kernel: Kernel
    end: float
    n_steps: int
    schedule: str
    hold: int
    _temperatures: np.ndarray = field(repr=False)
    _latest: dict[int, Kernel] = field(repr=False)

    def __init__(
        self,
        kernel: Kernel,
        end: float,
        n_steps: int,
        *,
        schedule: str = "geometric",
        hold: int | None = None,
    ) -> None:
        start = _checked_start(kernel)
        if not is_number(end) or not 0 < end < start:
            raise InputError(
                f"end is {shown(end)} K; give a temperature above 0 and below that of the kernel's "
                f"ensemble, {start:g} K"
            )
        for name, value in (("n_steps", n_steps), ("hold", hold)):
            if not (is_whole(value, least=1) or (name == "hold" and value is None)):
                raise InputError(f"{name} is {shown(value)}; give a whole number, 1 or more")
        if schedule not in SCHEDULES:
            raise InputError(f"schedule {schedule!r} is not known: use {' or '.join(SCHEDULES)}")
        hold = max(1, -(-n_steps // MOST_LEVELS)) if hold is None else int(hold)
        levels = n_steps // hold
        if levels < 2:
            raise InputError(
                f"{n_steps} steps are {levels} levels of {hold}: cooling needs two or more; give "
                "more steps, or a shorter hold"
            )
        spaced = np.geomspace if schedule == "geometric" else np.linspace
        temperatures = spaced(start, float(end), levels)
        settings: dict[str, Any] = {
            "kernel": kernel, "end": float(end), "n_steps": int(n_steps), "schedule": schedule,
            "hold": hold, "_temperatures": temperatures, "_latest": {0: kernel},
        }  # fmt: skip
        for name, setting in settings.items():
            object.__setattr__(self, name, setting)

    # ---- what it is ------------------------------------------------------------------------

    @property
    def hamiltonian(self) -> Hamiltonian:
        """The energy model."""
        return self.kernel.hamiltonian

    @property
    def ensemble(self) -> Cooling:
        """The kernel's ensemble without its temperature."""
        return Cooling(self.kernel.ensemble)

    @property
    def state_type(self) -> type[Any]:
        """NamedTuple of the states: the kernel's fields and ``cooled``."""
        return extended(state_type_of(self.kernel), "cooled")

    @property
    def cooling_rate(self) -> float:
        """Mean cooling rate in K per step; n_sites times as much per sweep."""
        return float((self._temperatures[0] - self.end) / self.n_steps)

    def temperature(self, step: int) -> float:
        """Temperature in K of a step, the first of which is 0.

        Parameters
        ----------
        step
            Whole number, 0 or more.
        """
        return float(self._temperatures[self._level(step)])

    def _level(self, step: int) -> int:
        return min(int(step) // self.hold, len(self._temperatures) - 1)

    def _kernel_of(self, level: int) -> Kernel:
        """Return the kernel at a level; the one used last is kept."""
        kernel = self._latest.get(level)
        if kernel is None:
            ensemble: Any = self.kernel.ensemble
            there = ensemble.with_temperature(float(self._temperatures[level]))
            kernel = self.kernel.rebind(ensemble=there)
            self._latest.clear()
            self._latest[level] = kernel
        return kernel

    # ---- steps -----------------------------------------------------------------------------

    def init(self, occupations: np.ndarray, rngs: Generators) -> Any:
        """State of chains at ``occupations`` [n_replicas, n_sites], not cooled yet.

        Besides the kernel's fields it has ``cooled`` int64 [n_replicas], how many steps were taken.
        """
        begun = self.kernel.init(occupations, rngs)
        return self._joined(begun, np.zeros(len(begun.energy), dtype=np.int64))

    def step(self, state: Any, rngs: Generators) -> tuple[Any, Info]:
        """Take one step of the kernel at the temperature that it is the turn of."""
        kernel = self._kernel_of(self._level(_steps_taken(state)))
        after, info = kernel.step(inner(state), rngs)
        return self._joined(after, state.cooled + 1), info

    def compiled_block(
        self, state: Any, rngs: Generators, n_draws: int, thin: int
    ) -> tuple[Any, dict[str, np.ndarray]] | None:
        """Block of steps in compiled code, level by level; None where the kernel has none."""
        if not hasattr(self.kernel, "compiled_block"):
            return None
        draws = []
        for _ in range(n_draws):
            found = self._compiled_draw(state, rngs, thin)
            if found is None:
                return None
            state, draw = found
            draws.append(draw | self.observe(state))
        return state, {name: np.stack([draw[name] for draw in draws]) for name in draws[0]}

    def _compiled_draw(
        self, state: Any, rngs: Generators, thin: int
    ) -> tuple[Any, dict[str, np.ndarray]] | None:
        """State after ``thin`` steps, and what is stored of it, [n_replicas, …]."""
        totals: dict[str, Any] = {"acceptance": 0.0, "energy_calls": 0, "gradient_calls": 0}
        draw: dict[str, np.ndarray] = {}
        left = thin
        while left:
            taken = _steps_taken(state)
            level = self._level(taken)
            here = left if level == len(self._temperatures) - 1 else self.hold - taken % self.hold
            steps = min(left, here)
            kernel: Any = self._kernel_of(level)
            found = kernel.compiled_block(inner(state), rngs, 1, steps)
            if found is None:
                return None
            after, block = found
            draw = {name: values[-1] for name, values in block.items()}
            draw["acceptance"] = draw["acceptance"] * steps
            totals = {name: total + draw[name] for name, total in totals.items()}
            state = self._joined(after, state.cooled + steps)
            left -= steps
        totals["acceptance"] = totals["acceptance"] / thin
        return state, draw | totals

    def _joined(self, part: Any, cooled: np.ndarray) -> Any:
        return extended(type(part), "cooled")(*part, cooled)

    def observe(self, state: Any) -> dict[str, np.ndarray]:
        """Return what is stored with a draw: ``bath_temperature`` (K) of the step that led there.

        And what the kernel observes.
        """
        last = self.temperature(max(_steps_taken(state) - 1, 0))
        seen = {"bath_temperature": np.full(len(state.energy), last)}
        kernel: Any = self.kernel
        return (kernel.observe(inner(state)) if hasattr(kernel, "observe") else {}) | seen

    def warm_up(self, state: Any, rngs: Generators, n: int) -> tuple[Annealing, Any, list[Info]]:
        """Run ``n`` steps that tune the kernel and do not cool."""
        kernel = self._kernel_of(self._level(_steps_taken(state)))
        kernel, after, infos = learn(kernel, inner(state), rngs, n)
        tuned = self._with(kernel.rebind(ensemble=self.kernel.ensemble))
        return tuned, self._joined(after, state.cooled), infos

    # ---- other models and stores -----------------------------------------------------------

    def rebind(
        self, *, hamiltonian: Hamiltonian | None = None, ensemble: Ensemble | None = None
    ) -> Annealing:
        """Return the same cooling, tuned parameters kept, for another energy model or ensemble.

        The temperature of the ensemble is where it starts.
        """
        return self._with(self.kernel.rebind(hamiltonian=hamiltonian, ensemble=ensemble))

    def refresh(self, state: Any, hamiltonian: Hamiltonian) -> tuple[Annealing, Any]:
        """Return the kernel bound to ``hamiltonian`` and its state, after the positions moved."""
        kernel, part = self.kernel.refresh(inner(state), hamiltonian)
        return self._with(kernel), self._joined(part, state.cooled)

    def summary(self) -> dict[str, Any]:
        """Return schedule, cooling rates and what the kernel says of itself, in plain numbers.

        Rates in K per step and per sweep of n_sites steps: the mean, and that at start and end.
        """
        falls = -np.diff(self._temperatures) / self.hold
        n_sites = self.hamiltonian.lattice.n_sites
        kernel = summary_of(self.kernel)
        found = {
            "start_K": float(self._temperatures[0]),
            "end_K": self.end,
            "steps": self.n_steps,
            "schedule": self.schedule,
            "hold": self.hold,
            "cooling_rate_K_per_step": self.cooling_rate,
            "cooling_rate_K_per_sweep": self.cooling_rate * n_sites,
            "cooling_rate_at_start_K_per_step": float(falls[0]),
            "cooling_rate_at_end_K_per_step": float(falls[-1]),
            "kernel": kernel,
        }
        products = int(kernel.get("hessian_products", 0))
        return found | ({"hessian_products": products} if products else {})

    def to_arrays(self) -> dict[str, Any]:
        """Return the kernel's tuned parameters."""
        return self.kernel.to_arrays()

    def with_arrays(self, arrays: Mapping[str, Any]) -> Annealing:
        """Return the cooling with the tuned parameters that ``to_arrays`` gave."""
        return self._with(self.kernel.with_arrays(arrays))

    def _with(self, kernel: Kernel) -> Annealing:
        if _checked_start(kernel) == self._temperatures[0]:
            same = copy.copy(self)
            object.__setattr__(same, "kernel", kernel)
            object.__setattr__(same, "_latest", {0: kernel})
            return same
        return Annealing(kernel, self.end, self.n_steps, schedule=self.schedule, hold=self.hold)


def _checked_start(kernel: Kernel) -> float:
    """Temperature that cooling starts from, in K."""
    check_single(kernel, "cool one rung's kernel instead")
    start = getattr(kernel.ensemble, "temperature", None)
    if not is_number(start) or not hasattr(kernel.ensemble, "with_temperature"):
        raise InputError(
            f"{type(kernel.ensemble).__name__} has no temperature that could fall: it needs "
            "temperature and with_temperature"
        )
    return float(start)  # type: ignore[arg-type]


def _steps_taken(state: Any) -> int:
    """Return how many steps the chains have taken, all of them as many."""
    first = int(state.cooled[0])
    if (state.cooled != first).any():
        raise InputError(
            f"the chains have cooled for {sorted(set(state.cooled.tolist()))} steps: chains that "
            "cool together start together"
        )
    return first


class Lowest(NamedTuple):
    """The lowest energy among stored draws.

    ``energy`` in eV; ``occupation`` uint8 [n_sites]; ``point``, ``draw`` and ``chain`` where it was
    found, and ``temperature`` in K there, NaN where not known.
    """

    energy: float
    occupation: np.ndarray
    temperature: float
    point: int
    draw: int
    chain: int


def lowest(run: Run) -> Lowest:
    """Find the lowest energy of a run, the first where several draws share it.

    Only stored draws are looked at: ``thin=1`` keeps every state. Where the composition fluctuates,
    energies of different compositions are not comparable by themselves.

    Parameters
    ----------
    run
        Any run, of `Annealing` or not.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import Run, builders
    >>> from alchemc.ensembles import lowest
    >>> from alchemc.records import point_dataset
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(1, 1, 1))
    >>> point = point_dataset(
    ...     {"energy": np.array([[-1.0], [-3.0]]), "occupation": np.array([[[0]], [[1]]])})
    >>> found = lowest(Run((point,), lattice))
    >>> found.energy, found.occupation, found.draw
    (-3.0, array([1], dtype=uint8), 1)
    """
    energies = [np.asarray(point.energy.values) for point in run.points]
    index = int(np.nanargmin([np.nanmin(values) for values in energies]))
    point = run.points[index]
    draw, chain = np.unravel_index(np.nanargmin(energies[index]), energies[index].shape)
    bath = point.get("bath_temperature", point.coords.get("temperature"))
    here = float("nan") if bath is None else bath.values if not bath.ndim else bath[draw, chain]
    return Lowest(
        energy=float(energies[index][draw, chain]),
        occupation=np.asarray(point.occupation.values[draw, chain]),
        temperature=float(here),
        point=index,
        draw=int(draw),
        chain=int(chain),
    )
