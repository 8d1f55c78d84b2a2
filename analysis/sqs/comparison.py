"""Special quasirandom structures beside a sampled ensemble, at every temperature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from ...lattice import Lattice
from ...protocols import Hamiltonian
from ...records import Run
from ...sublattice import is_number, is_whole, shown
from ..caveats import Caveat, landscape_of
from ..estimates import as_chains
from ..order.commensurate import NAMED_ORDERS
from ..point_results import fitting_orders, open_sublattices
from .biases import Reference, compared
from .clusters import Clusters
from .generation import generate_sqs, n_arrangements
from .measures import (
    ENERGY,
    FORCE,
    RELAXED,
    Quantity,
    Series,
    Temperature,
    energies_of,
    evaluated,
    has_forces,
    rms_forces,
    sampled,
    structure_of,
    temperatures_of,
)
from .results import SQSComparison
from .structures import SpecialQuasirandom, measured_sqs

__all__ = ["compare_sqs", "require_one_composition"]

SAME_ENERGY = 1e-4  # eV per site: single precision on another machine stays below
TOLERANCES = {"1": 0.05, "eV/Å": 0.02}
"""Biases that are small, in the units of quantities other than energies."""


class _Settings(NamedTuple):
    n_shells: int
    orders: Mapping[str, tuple[str, str]]
    left_out: tuple[Caveat, ...]
    clusters: Clusters
    models: Mapping[Quantity, Callable[[np.ndarray], np.ndarray]]
    n_evaluated: int


def compare_sqs(
    run: Run,
    sqs: SpecialQuasirandom | np.ndarray | None = None,
    hamiltonian: Hamiltonian | None = None,
    *,
    relaxed: Hamiltonian | None = None,
    n_shells: int = 4,
    orders: Sequence[str] | None = None,
    cutoffs: Sequence[float] | None = None,
    n_random: int = 256,
    n_evaluated: int = 32,
    tolerance: float = 0.005,
    seed: int = 0,
) -> SQSComparison:
    r"""Compare special quasirandom structures with every temperature of a sampled run.

    The bias of an SQS is its value less the ensemble's mean; it stays however many SQS are
    averaged. It is zero where the ensemble is random, at β = 0, and grows as
    :math:`⟨E⟩(β) ≈ ⟨E⟩_0 − β\,\mathrm{Var}_0(E)`. The temperature at which an SQS is
    representative, where the mean has its value, is interpolated with the slopes
    :math:`d⟨A⟩/dβ = −\mathrm{Cov}(A, E)` of every temperature and of random arrangements at β = 0.

    Parameters
    ----------
    run
        A canonical run at one or several temperatures, in memory or stored. Points of one
        temperature are taken as chains of one ensemble.
    sqs
        Structures from `generate_sqs`, or occupations [n, n_sites] from elsewhere; eight are made
        unless given. Their composition is the run's.
    hamiltonian
        The energy model that was sampled; the run's own unless given. Without one energies are not
        compared.
    relaxed
        Another one, such as ``Relaxed(model)``, whose energies are compared for some draws.
    n_shells
        Shells of Warren–Cowley parameters; 0 for none.
    orders
        Names of perovskite orders; those of the run's configuration unless given, else all that
        fit.
    cutoffs
        Of the clusters, in Å; those of ``sqs`` if it has any, else as for `generate_sqs`.
    n_random
        Random arrangements to compare with, all there are if they are no more.
    n_evaluated
        Draws per temperature whose forces and relaxed energies are computed; 0 for none.
    tolerance
        Bias in eV per site that would do: the temperature above which it is not exceeded is given,
        and how many structures reach it.
    seed
        Of the random arrangements, and of the SQS if they are made here.

    Returns
    -------
    Values, biases with errors, representative temperatures and error budgets; ``statement`` says it
    in words.

    Raises
    ------
    InputError
        If the composition of the run fluctuates or is not the SQS's, a point has fewer than four
        draws per chain, ``hamiltonian`` does not give the energies that the run stored, all
        arrangements of the cell are alike, or an argument cannot be used.

    Examples
    --------
    >>> from alchemc import Canonical, RandomSwap, builders, sample
    >>> from alchemc.potentials import PairHamiltonian
    >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=(2, 2, 4))
    >>> half = {"B": {"Sc": 0.5, "Ta": 0.5}}
    >>> model = PairHamiltonian(lattice, [[[0.05, 0.0], [0.0, 0.05]]])
    >>> kernel = RandomSwap(model, Canonical(lattice, 1500.0))
    >>> start = lattice.random(half, np.random.default_rng(0))
    >>> run = sample(kernel, start, n_steps=20_000, n_replicas=4, thin=20, seed=1)
    >>> found = compare_sqs(run, generate_sqs(lattice, half, cutoffs=(5.8,), n=4), model)
    >>> energy = found.quantity("energy")
    >>> energy.points[0].bias > 10 * energy.points[0].bias_error
    True
    """
    _check_numbers(n_shells, n_random, n_evaluated, tolerance, seed)
    require_one_composition(run)
    lattice, here = run.lattice, temperatures_of(run)
    first = np.asarray(as_chains(lattice, here[0].occupations[0])[0, 0])
    structures = _structures(lattice, first, sqs, cutoffs, seed)
    model = _model(run, hamiltonian, here)
    for name, one in (("hamiltonian", model), ("relaxed", relaxed)):
        if one is not None and one.lattice != lattice:
            raise InputError(f"{name} is bound to another lattice: bind it to the run's")
    settings = _settings(run, here, structures, model, relaxed, n_shells, orders, n_evaluated)
    reference = _random(lattice, structures, model, settings, n_random, seed)
    made = _of_structures(lattice, structures, model, settings)
    by_temperature = [_of_ensemble(lattice, one, model is not None, settings) for one in here]
    quantities = [
        quantity
        for quantity in made
        if all(quantity in one for one in by_temperature)
        and not _held_fixed(made[quantity], quantity, by_temperature, reference)
    ]
    if not quantities:
        raise InputError(
            "all arrangements of this composition are alike in this cell, so that there is nothing "
            "to compare; give a larger supercell"
        )

    def limit(quantity: Quantity) -> float:
        return float(tolerance) if quantity.unit == "eV per site" else TOLERANCES[quantity.unit]

    rows = tuple(
        compared(q, made[q], [one[q] for one in by_temperature], here, reference, limit(q))
        for q in quantities
    )
    return SQSComparison(
        structures=structures,
        temperatures=np.array([one.kelvin for one in here]),
        quantities=rows,
        n_random=reference.n,
        random_exact=reference.exact,
        tolerance=float(tolerance),
        landscape=landscape_of(run),
        caveats=(*_caveats(run, here, structures, model), *settings.left_out),
    )


def require_one_composition(run: Run) -> None:
    """Refuse a run whose composition fluctuates."""
    free = open_sublattices(run)
    if free:
        raise InputError(
            f"the composition of sublattice {free[0]!r} fluctuates in this run, an SQS has one: "
            "compare with a canonical run of its composition"
        )


def _check_numbers(
    n_shells: int, n_random: int, n_evaluated: int, tolerance: float, seed: int
) -> None:
    for name, value, least in (
        ("n_shells", n_shells, 0),
        ("n_random", n_random, 16),
        ("n_evaluated", n_evaluated, 0),
        ("seed", seed, 0),
    ):
        if not is_whole(value, least=least):
            raise InputError(f"{name} is {shown(value)}; give a whole number of at least {least}")
    if not is_number(tolerance) or tolerance <= 0:
        raise InputError(f"tolerance is {shown(tolerance)}; give an energy in eV per site above 0")


def _structures(
    lattice: Lattice,
    first: np.ndarray,
    sqs: SpecialQuasirandom | np.ndarray | None,
    cutoffs: Sequence[float] | None,
    seed: int,
) -> SpecialQuasirandom:
    """Structures to compare, of the composition that was sampled."""
    counts = lattice.counts(first)
    if sqs is None:
        composition = {
            name: {s: k / row.sum() for s, k in zip(sublattice.species, row, strict=False)}
            for (name, sublattice), row in zip(lattice.sublattices.items(), counts, strict=True)
        }
        return generate_sqs(lattice, composition, cutoffs, n=8, seed=seed)
    if not isinstance(sqs, SpecialQuasirandom):
        sqs = measured_sqs(lattice, sqs, cutoffs)
    if sqs.lattice != lattice:
        raise InputError("the SQS are of another lattice: make them with generate_sqs(run.lattice)")
    theirs = lattice.counts(sqs.occupations[0])
    if (theirs != counts).any():
        raise InputError(
            f"the SQS hold {theirs.tolist()} sites of the species, the run {counts.tolist()}: "
            "compare those of the run's composition"
        )
    if cutoffs is not None and tuple(cutoffs) != sqs.cutoffs:
        raise InputError(
            f"cutoffs are {shown(cutoffs)}, those of the SQS {sqs.cutoffs}: leave them out"
        )
    return sqs


def _model(
    run: Run, hamiltonian: Hamiltonian | None, here: Sequence[Temperature]
) -> Hamiltonian | None:
    """Energy model that gives the stored energies; None where there is none, or positions move."""
    if not all(one.fixed for one in here):
        return None
    if hamiltonian is None:
        return None if run.build_hamiltonian is None else run.hamiltonian()
    return hamiltonian


def _check_energies(
    lattice: Lattice, hamiltonian: Hamiltonian, here: Sequence[Temperature]
) -> None:
    for one in here[:: max(1, len(here) - 1)]:  # the coldest and the hottest
        occupation = lattice.check(np.asarray(as_chains(lattice, one.occupations[0])[0, :1]))
        off = abs(float(hamiltonian.energy(occupation)[0]) - float(one.energy[0, 0]))
        if not off <= SAME_ENERGY * lattice.n_sites:
            raise InputError(
                f"hamiltonian gives the first draw at {one.kelvin:g} K an energy that is {off:.3g} "
                "eV from the stored one: give the model that the run was sampled with"
            )


def _settings(  # noqa: PLR0917
    run: Run,
    here: Sequence[Temperature],
    structures: SpecialQuasirandom,
    model: Hamiltonian | None,
    relaxed: Hamiltonian | None,
    n_shells: int,
    orders: Sequence[str] | None,
    n_evaluated: int,
) -> _Settings:
    lattice = run.lattice
    if model is not None:
        _check_energies(lattice, model, here)
    usual = run.config.get("analysis", {}).get("orders", tuple(NAMED_ORDERS))
    measured, left_out = fitting_orders(
        lattice, tuple(usual if orders is None else orders), structures.occupations[0]
    )
    models: dict[Quantity, Callable[[np.ndarray], np.ndarray]] = {}
    if n_evaluated and relaxed is not None:
        minima = relaxed
        models[RELAXED] = lambda rows: energies_of(minima, rows) / lattice.n_sites
    if n_evaluated and model is not None and has_forces(model):
        models[FORCE] = lambda rows: rms_forces(model, rows)
    clusters = Clusters(lattice, structures.cutoffs)
    notes = left_out if orders is not None else []
    return _Settings(n_shells, measured, tuple(notes), clusters, models, n_evaluated)


def _random(  # noqa: PLR0917
    lattice: Lattice,
    structures: SpecialQuasirandom,
    model: Hamiltonian | None,
    settings: _Settings,
    n_random: int,
    seed: int,
) -> Reference:
    """Random arrangements of the composition, all of them where they are few."""
    counts = lattice.counts(structures.occupations[0])
    composition = {
        name: {s: k / row.sum() for s, k in zip(sublattice.species, row, strict=False)}
        for (name, sublattice), row in zip(lattice.sublattices.items(), counts, strict=True)
    }
    exact = n_arrangements(lattice.composition_counts(composition)) <= n_random
    if exact:
        states = lattice.enumerate(composition)
    else:
        rng = np.random.Generator(np.random.PCG64([seed, 1]))
        states = lattice.random(composition, rng, n_random)
    unknown = np.full((1, len(states)), np.nan)
    energy = unknown if model is None else energies_of(model, states)[None]
    found = structure_of(lattice, states, settings.n_shells, settings.orders, settings.clusters)
    series = {quantity: Series(values, energy) for quantity, values in found.items()}
    if model is not None:
        series[ENERGY] = Series(energy / lattice.n_sites, energy)
    few = states[:: max(1, len(states) // max(1, settings.n_evaluated))]
    for quantity, function in settings.models.items():
        rows = energy[:, :: max(1, len(states) // max(1, settings.n_evaluated))]
        series[quantity] = Series(function(few)[None], rows)
    return Reference(series, exact, len(states))


def _of_structures(
    lattice: Lattice,
    structures: SpecialQuasirandom,
    model: Hamiltonian | None,
    settings: _Settings,
) -> dict[Quantity, np.ndarray]:
    """Value of every quantity in every SQS, [n] each."""
    rows = structures.occupations
    found: dict[Quantity, np.ndarray] = {}
    if model is not None:
        found[ENERGY] = energies_of(model, rows) / lattice.n_sites
    for quantity, function in settings.models.items():
        found[quantity] = function(rows)
    measured = structure_of(lattice, rows, settings.n_shells, settings.orders, settings.clusters)
    return found | {quantity: values[0] for quantity, values in measured.items()}


def _of_ensemble(
    lattice: Lattice, here: Temperature, with_energy: bool, settings: _Settings
) -> dict[Quantity, Series]:
    found: dict[Quantity, Series] = {}
    if with_energy:
        found[ENERGY] = Series(here.energy / lattice.n_sites, here.energy)
    found |= evaluated(lattice, here, settings.n_evaluated, settings.models)
    measured = sampled(lattice, here, settings.n_shells, settings.orders, settings.clusters)
    return found | measured


def _held_fixed(
    values: np.ndarray,
    quantity: Quantity,
    by_temperature: Sequence[Mapping[Quantity, Series]],
    reference: Reference,
) -> bool:
    """Whether the cell leaves a quantity one value, as for pairs of a site and its own image."""
    parts = [values, *(one[quantity].values for one in by_temperature)]
    if quantity in reference.series:
        parts.append(reference.series[quantity].values)
    return bool(np.ptp(np.concatenate([part.ravel() for part in parts])) < 1e-9)


def _caveats(
    run: Run,
    here: Sequence[Temperature],
    structures: SpecialQuasirandom,
    model: Hamiltonian | None,
) -> list[Caveat]:
    found = []
    if run.attrs.get("finished") is False:
        text = "The run is not finished; these are the draws so far."
        found.append(Caveat("warning", "unfinished", text))
    if not all(one.fixed for one in here):
        text = (
            "Positions move in this run: energies of an SQS at fixed positions are not compared "
            "with it, and no temperature is interpolated."
        )
        found.append(Caveat("warning", "positions-move", text))
    elif model is None:
        text = "No energy model is at hand: energies are not compared."
        found.append(Caveat("warning", "no-energy-model", text))
    if len(structures) == 1:
        text = "One SQS has no scatter: the error of its values is not known and counted as zero."
        found.append(Caveat("note", "one-sqs", text))
    return found
