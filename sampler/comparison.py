"""Kernels side by side on one system: evaluations, time and effective samples of each."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..protocols import Hamiltonian, Kernel
from ..records import Run
from ..sublattice import is_number, shown
from ._comparison_layout import draw, lay_out, short
from ._efficiency import Costs, KernelRow, Observable, row_from_dict, row_of_run, row_to_dict
from .chains import sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "compare", "relative_costs"]

_REPEATS = 5
_ON_WARM_UP = "Warm-up counts one evaluation per chain for the starts."
_ON_SAMPLES = (
    "samples: effective ones of the slowest observable over all chains, the smallest of four "
    "estimates; errors in brackets from leaving out one chain at a time."
)
_ON_SECONDS = (
    "Seconds are those of this run; a model that remembers evaluations spends less on kernels that "
    "run later. Counts do not depend on that."
)


class _Disagreement(NamedTuple):
    z: float
    observable: str
    kernels: tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """What several kernels cost on the same system, and what their samples are worth.

    Costs are in energies: a gradient counts ``gradient_cost`` energies and a Hessian product
    ``hessian_cost`` (None where neither occurred), ``measured`` names those that were timed on the
    spot. ``rows`` hold one entry per kernel; see ``to_dict`` for its fields.

    Effective samples are the smallest of four estimates (`alchemc.statistics.smallest_ess`), and
    those of a kernel are its slowest observable's. Their relative error is the spread that leaving
    out one chain at a time gives (jackknife of the logarithm); it is unknown for one chain.
    """

    rows: tuple[KernelRow, ...]
    gradient_cost: float | None = None
    hessian_cost: float | None = None
    measured: tuple[str, ...] = ()

    @classmethod
    def from_runs(
        cls,
        runs: Mapping[str, Run],
        *,
        observables: Mapping[str, Observable] | None = None,
        gradient_cost: float | None = None,
        hessian_cost: float | None = None,
        measured: tuple[str, ...] = (),
    ) -> Comparison:
        """Compare runs that are at hand, as `sample` returns them.

        Parameters
        ----------
        runs
            One run per name, all of the same system; each knows ``attrs["warm_up"]`` and
            ``attrs["seconds"]``.
        observables, gradient_cost, hessian_cost
            As for `compare`; a cost that is needed and not given makes the sums NaN.
        measured
            Names of the costs (``"gradient"``, ``"hessian"``) that were timed, for the table.

        Raises
        ------
        InputError
            If there is no run, a run lacks what is needed, or an observable or a cost is no
            finite number.
        """
        if not runs:
            raise InputError("no runs to compare: give at least one")
        observables = _checked_observables(observables)
        costs = Costs(
            _checked_cost("gradient", gradient_cost), _checked_cost("hessian", hessian_cost)
        )
        rows = tuple(row_of_run(name, run, observables, costs) for name, run in runs.items())
        return cls(rows, *costs, tuple(measured))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Comparison:
        """Comparison that ``to_dict`` gave."""
        rows = tuple(row_from_dict(row) for row in plain["rows"])
        return cls(rows, plain["gradient_cost"], plain["hessian_cost"], tuple(plain["measured"]))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers for JSON; None for what is unknown.

        ``rows`` is a list of: ``name``, ``kernel``, ``n_chains``, ``n_steps``, ``thin``,
        ``warm_up_steps``, ``acceptance``; ``sampling`` and ``warm_up``, each ``energy_calls``,
        ``gradient_calls``, ``hessian_products``, ``cost`` (energies) and ``seconds``;
        ``observables`` by name, each ``mean``, ``error``, ``ess``, ``tau`` (steps) and ``rhat``;
        ``ess`` of the slowest and its relative error ``ess_error``.
        """
        return {
            "gradient_cost": self.gradient_cost,
            "hessian_cost": self.hessian_cost,
            "measured": list(self.measured),
            "rows": [row_to_dict(row) for row in self.rows],
        }

    def largest_z(self) -> float:
        """Largest difference of two kernels' means in its standard errors, over all observables.

        Kernels are exact or they are wrong: means that differ by more than about four errors say
        that one of them is, or that a run is too short for its error. Pairs of which an error is
        unknown are left out; NaN if none is left.
        """
        return max((found.z for found in self._disagreements()), default=float("nan"))

    def table(self) -> str:
        """Plain text of at most 100 columns: costs, times, observables, and notes.

        Numbers in brackets are standard errors of the last digits.
        """
        return lay_out(self.rows, self._notes())

    def plot(self, path: str | Path | None = None) -> Figure:
        """Energies per effective sample of every kernel, on a logarithmic axis.

        Parameters
        ----------
        path
            Where to save the figure; the suffix sets the format.
        """
        figure = draw(self.rows)
        if path is not None:
            figure.savefig(path, dpi=200)
        return figure

    def _disagreements(self) -> list[_Disagreement]:
        found = []
        for one, other in itertools.combinations(self.rows, 2):
            for name in one.observables.keys() & other.observables.keys():
                a, b = one.observables[name], other.observables[name]
                error = float(np.hypot(a.error, b.error))
                if error > 0:
                    z = abs(a.mean - b.mean) / error
                    found.append(_Disagreement(z, name, (one.name, other.name)))
        return found

    def _notes(self) -> list[str]:
        notes = [
            f"Costs are in energies{''.join(self._weights())}. {_ON_WARM_UP}",
            _ON_SAMPLES,
            _ON_SECONDS,
        ]
        found = self._disagreements()
        if found:
            worst = max(found)
            number = f"{len(found)} comparisons" if len(found) > 1 else "one comparison"
            notes.append(
                f"Largest difference of means: |z| = {worst.z:.1f} ({worst.observable}, "
                f"{worst.kernels[0]} and {worst.kernels[1]}), of {number}."
            )
        if not all(row.converged for row in self.rows):
            notes.append(
                "* not converged: R-hat above 1.01 or fewer than 100 effective samples of an "
                "observable; do not trust its figures."
            )
        return notes

    def _weights(self) -> list[str]:
        costs = {"gradient": self.gradient_cost, "Hessian product": self.hessian_cost}
        return [
            f"; a {what} counts {short(cost)} "
            f"({'measured' if what.split()[0].lower() in self.measured else 'given'})"
            for what, cost in costs.items()
            if cost is not None
        ]


def compare(
    kernels: Mapping[str, Kernel],
    occupations: np.ndarray,
    *,
    n_steps: int | Mapping[str, int],
    n_replicas: int | None = None,
    thin: int | Mapping[str, int] = 1,
    warmup: int | Mapping[str, int] = 0,
    seed: int = 0,
    observables: Mapping[str, Observable] | None = None,
    gradient_cost: float | None = None,
    hessian_cost: float | None = None,
) -> Comparison:
    """Run kernels one after another on the same system and compare what they cost.

    Every kernel runs as in `sample`, with a seed of its own (``seed``, ``seed`` + 1, …), so that
    their means are independent. The figure of merit is the number of energies per effective sample
    of the slowest observable, without and with the warm-up.

    Counts are those that the kernels report, whether or not the energy model remembered a result
    (`AlchemicalMACE` does). Seconds are those of this run and profit from what is remembered, most
    of all in small cells and in kernels that come later: compare counts, and read seconds with
    that in mind.

    Parameters
    ----------
    kernels
        By the name to show; all with the same lattice and ensemble. The energy models may be
        different objects, and are taken to be equal.
    occupations
        Starts, [n_replicas, n_sites], or [n_sites] for the same start in every chain. Starts far
        apart (ordered and random) make R-hat worth more.
    n_steps, thin, warmup
        As for `sample`, one number for all kernels or one per name.
    n_replicas
        Number of chains; needed for a single start.
    seed
        Seed of the first kernel's chains.
    observables
        Functions of occupations, uint8 [n, n_sites] to n real numbers, by name; the energy is
        always there.
    gradient_cost
        Cost of an energy with gradient in energies; by default timed after the runs, on
        arrangements that were not evaluated before.
    hessian_cost
        The same of a Hessian product, which a kernel may use in its warm-up.

    Raises
    ------
    InputError
        If the kernels do not share lattice and ensemble, or an argument cannot be used.

    Examples
    --------
    >>> from alchemc import Canonical, GibbsWithGradients, PairHamiltonian, RandomSwap
    >>> from alchemc import analysis, builders, sampler
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    >>> pairs = PairHamiltonian(lattice, [{("Sc", "Sc"): 0.05, ("Ta", "Ta"): 0.05}])
    >>> ensemble = Canonical(lattice, 3000.0)
    >>> kernels = {
    ...     "random swaps": RandomSwap(pairs, ensemble),
    ...     "informed swaps": GibbsWithGradients(pairs, ensemble),
    ... }
    >>> order = lambda occupations: analysis.ordering_series(lattice, occupations).values.ravel()
    >>> comparison = sampler.compare(
    ...     kernels, np.arange(8) % 2, n_steps=2000, n_replicas=4, warmup=100,
    ...     observables={"rock-salt": order}, gradient_cost=2.0)
    >>> [row.name for row in comparison.rows]
    ['random swaps', 'informed swaps']
    >>> comparison.largest_z() < 4
    True
    >>> print(comparison.table())  # doctest: +ELLIPSIS
    kernel          accepted  energies  gradients  warm-up ...
    """
    _check_kernels(kernels)
    observables = _checked_observables(observables)
    for what, cost in (("gradient", gradient_cost), ("hessian", hessian_cost)):
        _checked_cost(what, cost)
    settings = {
        key: _per_kernel(key, value, kernels)
        for key, value in (("n_steps", n_steps), ("thin", thin), ("warmup", warmup))
    }
    runs = {}
    for index, (name, kernel) in enumerate(kernels.items()):
        chosen = {key: values[name] for key, values in settings.items()}
        runs[name] = sample(kernel, occupations, n_replicas=n_replicas, seed=seed + index, **chosen)
    costs, measured = _costs(kernels, runs, occupations, Costs(gradient_cost, hessian_cost))
    return Comparison.from_runs(
        runs,
        observables=observables,
        gradient_cost=costs.gradient,
        hessian_cost=costs.hessian,
        measured=measured,
    )


def relative_costs(
    hamiltonian: Hamiltonian, occupations: np.ndarray, *, hessian: bool = False
) -> tuple[float, float | None, float]:
    """Time a gradient and, on request, a Hessian product in units of an energy.

    Medians of five alternating evaluations of rearranged occupations, by a view of the model that
    remembers nothing where it has ``at``.

    Parameters
    ----------
    hamiltonian
        Energy model with ``energy_and_gradient`` (and ``hessian_product``).
    occupations
        [n_sites], or starts of which the first is rearranged.

    Returns
    -------
    gradient, hessian
        In energies; ``hessian`` None unless asked for.
    seconds
        Of one energy.
    """
    lattice = hamiltonian.lattice
    fresh = _forgetful(hamiltonian)
    states = _rearranged(lattice.sublattice_of_site, occupations, _REPEATS + 1)
    functions = [fresh.energy, fresh.energy_and_gradient]
    if hessian:
        mean = lattice.weights(_rearranged(lattice.sublattice_of_site, occupations, 64)).mean(
            axis=0
        )
        functions.append(lambda one: fresh.hessian_product(mean, lattice.weights(one)[0] - mean))
    seconds = np.empty((len(states), len(functions)))
    for row, state in enumerate(states):
        for column, function in enumerate(functions):
            begin = time.perf_counter()
            function(state[None])
            seconds[row, column] = time.perf_counter() - begin
    median = np.median(seconds[1:], axis=0)  # the first call may compile or cache
    ratios = median / median[0]
    return float(ratios[1]), float(ratios[2]) if hessian else None, float(median[0])


def _costs(
    kernels: Mapping[str, Kernel], runs: Mapping[str, Run], occupations: np.ndarray, given: Costs
) -> tuple[Costs, tuple[str, ...]]:
    """Costs that the runs need, timed where they were not given, and which those are."""
    with_hessian = [n for n, r in runs.items() if r.attrs["warm_up"].get("hessian_products", 0)]
    with_gradient = [
        name
        for name, run in runs.items()
        if run.attrs["warm_up"]["gradient_calls"] or run.samples.gradient_calls.sum()
    ]
    hessian = bool(with_hessian) and given.hessian is None
    gradient = bool(with_gradient) and given.gradient is None
    if not hessian and not gradient:
        return given, ()
    model = kernels[(with_hessian if hessian else with_gradient)[0]].hamiltonian
    timed_gradient, timed_hessian, _ = relative_costs(model, occupations, hessian=hessian)
    costs = Costs(
        timed_gradient if gradient else given.gradient, timed_hessian if hessian else given.hessian
    )
    return costs, ("gradient",) * gradient + ("hessian",) * hessian


def _forgetful(hamiltonian: Hamiltonian) -> Any:
    """Return the model bound anew to its positions, which drops what it remembers."""
    positions, cell = (getattr(hamiltonian, name, None) for name in ("positions", "cell"))
    if positions is None or cell is None or not hasattr(hamiltonian, "at"):
        return hamiltonian
    return hamiltonian.at(positions, cell)


def _rearranged(sublattice: np.ndarray, occupations: np.ndarray, n: int) -> np.ndarray:
    """``n`` random rearrangements of the first start within its sublattices."""
    rng = np.random.default_rng(12345)
    states = np.tile(np.atleast_2d(np.asarray(occupations, dtype=np.int8))[0], (n, 1))
    for index in np.unique(sublattice):
        sites = np.flatnonzero(sublattice == index)
        states[:, sites] = rng.permuted(states[:, sites], axis=1)
    return states


def _check_kernels(kernels: Mapping[str, Kernel]) -> None:
    if not isinstance(kernels, Mapping) or not kernels:
        raise InputError("kernels to compare are none: give a mapping of names to kernels")
    (first_name, first), *others = kernels.items()
    for name, kernel in others:
        if kernel.hamiltonian.lattice != first.hamiltonian.lattice:
            raise InputError(
                f"kernel {name!r} has another lattice than {first_name!r}: compare kernels on "
                "one system"
            )
        if kernel.ensemble is not first.ensemble and kernel.ensemble != first.ensemble:
            raise InputError(
                f"kernel {name!r} has another ensemble than {first_name!r}: compare kernels that "
                "sample the same density"
            )


def _per_kernel(
    what: str, value: int | Mapping[str, int], kernels: Mapping[str, Kernel]
) -> dict[str, int]:
    """Return a setting for every kernel; ``sample`` checks the numbers."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(kernels, value)
    for name in value:
        if name not in kernels:
            raise InputError(f"{what} names {name!r}: the kernels are {', '.join(kernels)}")
    for name in kernels:
        if name not in value:
            raise InputError(f"{what} has no entry for {name!r}: give one per kernel, or a number")
    return dict(value)


def _checked_observables(
    observables: Mapping[str, Observable] | None,
) -> Mapping[str, Observable]:
    for name, observable in (observables or {}).items():
        if name == "energy":
            raise InputError("observable 'energy' is always there: give yours another name")
        if not callable(observable):
            raise InputError(
                f"observable {name!r} is {shown(observable)}: give a function of occupations"
            )
    return observables or {}


def _checked_cost(what: str, cost: float | None) -> float | None:
    if cost is None:
        return None
    if not is_number(cost) or cost <= 0:
        raise InputError(f"{what}_cost is {shown(cost)}: give a number of energies above 0")
    return float(cost)
