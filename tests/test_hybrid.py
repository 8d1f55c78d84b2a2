"""Occupations and positions together, against the exact marginal over occupations.

The crystal is harmonic at every occupation, so that its integral over positions is a determinant.
Chains start at independent draws of occupation and positions from the exact law, which an exact
kernel leaves as it is; a χ² test decides.

False alarms: 13 exact distributions, each refused at p < 1e-4 with fixed seeds; a new set of seeds
would raise an alarm in one run out of 770. Power: mutants that keep stale energies, accept every
trajectory, forget the ghosts' density or let the surrogate's field follow the occupation are
refused at p < 1e-6.
"""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ase import units
from ase.md.nptberendsen import NPTBerendsen
from scipy.stats import chi2

from alchemc import (
    AlchemicalMACE,
    Annealing,
    Canonical,
    DiscreteLangevin,
    GibbsWithGradients,
    Mixture,
    PairHamiltonian,
    PathAuxiliary,
    RandomFlip,
    RandomSwap,
    Relaxed,
    SemiGrandCanonical,
    SurrogateChain,
    Tempering,
    builders,
    sample,
    sampler,
)
from alchemc.campaign.engine import _joined, _split
from alchemc.ensembles import HMC, NPT, HybridMD, Langevin, VarianceConstrained, WithPositions
from alchemc.ensembles.dynamics.crystal import Crystal
from alchemc.ensembles.dynamics.views import CarryingView, PositionView
from alchemc.ensembles.hybrid import HybridInfo, HybridState
from alchemc.errors import InputError
from alchemc.potentials import PairExpansion
from alchemc.protocols import Kernel, State
from mutants import (
    AcceptsEveryTrajectory,
    FieldOfTheOccupation,
    ForgetsGhosts,
    StaysAtTheReference,
)
from toy_crystal import Springs, ToyCrystal, ring
from toys import arrangements

EXAMPLE = Path(__file__).parents[1] / "examples" / "hybrid.py"

TEMPERATURE = 1000.0
BETA = 1.0 / (units.kB * TEMPERATURE)
# Rows and columns: O, Sc, Ta, vacancy. Ta is large and stiff.
SPRINGS = Springs(
    tether=np.array([1.0, 2.0, 4.0, 0.0]),
    offset=np.array([0.0, 0.0, 0.05, 0.0]),
    bond=np.array([[1.0, 2, 3, 0], [2, 1, 6, 0], [3, 6, 6, 0], [0, 0, 0, 0]]),
    misfit=np.array([[0, 0.15, -0.2, 0], [0.15, 0, 0.1, 0], [-0.2, 0.1, 0.3, 0], [0] * 4]),
    pair=np.array([[0, 0, 0.02, 0], [0, 0.05, 0, 0.05], [0.02, 0, 0.04, 0.1], [0, 0.05, 0.1, 0.1]]),
)
MOVES = HMC(step=15.0, n_steps=4)


# ---- systems and their exact laws --------------------------------------------------------------


class System(NamedTuple):
    """A toy, all its states, its ensemble, their exact probabilities, and whose centre is held."""

    model: ToyCrystal
    states: np.ndarray
    ensemble: object
    law: np.ndarray
    held: np.ndarray | None


@cache
def system(name: str) -> System:
    fix_centre = name != "tethered"
    if name == "ghosts":
        lattice = ring((("Sc", "Ta", "X"), 3), (("O",), 3))
        potentials = {"Sc": 0.0, "Ta": 0.15, "X": -0.3}
    else:
        lattice, potentials = ring((("Sc", "Ta"), 4), (("O",), 2)), {"Sc": 0.0, "Ta": 0.35}
    model = ToyCrystal(lattice, SPRINGS)
    if name in ("swaps", "tethered"):
        states, ensemble = arrangements((0, 0, 1, 1)), Canonical(lattice, TEMPERATURE)
    elif name == "ghost swaps":
        lattice = ring((("Sc", "Ta", "X"), 4), (("O",), 2))
        model = ToyCrystal(lattice, SPRINGS)
        states, ensemble = arrangements((0, 1, 1, 2)), Canonical(lattice, TEMPERATURE)
    else:
        states = lattice.enumerate()
        ensemble = SemiGrandCanonical(lattice, TEMPERATURE, potentials)
    held = Crystal(model, TEMPERATURE).frame if fix_centre else None
    log_z = [model.gaussian(state, TEMPERATURE, held)[0] for state in states]
    log = np.array(log_z) + ensemble.log_density(np.zeros(len(states)), states)
    law = np.exp(log - log.max())
    return System(model, states, ensemble, law / law.sum(), held)


def exact_start(
    system: System, n: int, seed: int, ghost_width: float = 0.1, temperature: float = TEMPERATURE
):
    """Which states, and replicas drawn from the exact law of occupation and positions."""
    model, rng, law = system.model, np.random.default_rng([seed, 3]), system.law
    if temperature != TEMPERATURE:
        log = np.array([model.gaussian(s, temperature, system.held)[0] for s in system.states])
        law = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
    chosen = rng.choice(len(law), size=n, p=law)
    positions = np.empty((n, *model.positions.shape))
    for index, state in enumerate(system.states):
        rows = np.flatnonzero(chosen == index)
        _, mean, spread = model.gaussian(state, temperature, system.held)
        normals = rng.standard_normal((len(rows), spread.shape[1], 3))
        drawn = model.positions + mean + np.einsum("mk,rkd->rmd", spread, normals)
        ghosts = model.kinds(state[None])[0] == len(model.symbols)
        width = ghost_width * rng.standard_normal((len(rows), int(ghosts.sum()), 3))
        drawn[:, ghosts] = model.positions[ghosts] + width
        positions[rows] = drawn
    cells, occupations = np.repeat(model.cell[None], n, axis=0), system.states[chosen]
    energy = model.forces_at(occupations, positions, cells)[0]
    unknown = np.full((*occupations.shape, model.lattice.n_species_max), np.nan)
    return chosen, HybridState(occupations.astype(np.int8), energy, unknown, positions, cells)


def verdict(hybrid: HybridMD, system: System, n: int, steps: int, seed: int = 0):
    """p-value of the occupations after ``steps`` steps, and how many moved."""
    chosen, state = exact_start(system, n, seed, hybrid.ghost_width)
    rngs = sampler.spawn_generators(seed, n)
    for _ in range(steps):
        state, info = hybrid.step(state, rngs)
    p = law_of_ends(system, state.occupations)
    moved = float((state.occupations != system.states[chosen]).any(axis=1).mean())
    print(f"p {p:.3g}, moved {moved:.2f}, accepted {info.accepted.mean():.2f}, "
          f"trajectories {info.position_acceptance_probability.mean():.2f}")  # fmt: skip
    return p, moved


def law_of_ends(system: System, occupations: np.ndarray) -> float:
    """p-value of independent occupations, states expected fewer than eight times together."""
    n, radix = len(occupations), 3 ** np.arange(occupations.shape[1])
    keys = (system.states.astype(int) * radix).sum(axis=1)
    order = np.argsort(keys)
    ends = order[np.searchsorted(keys[order], (occupations.astype(int) * radix).sum(axis=1))]
    expected, counts = n * system.law, np.bincount(ends, minlength=len(keys))
    rare = expected < 8.0
    seen = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0
    statistic = ((seen - expected)[kept] ** 2 / expected[kept]).sum()
    return float(chi2.sf(statistic, kept.sum() - 1))


def taught(kernel, system: System, **options) -> HybridMD:
    """Hybrid whose kernel was taught in warm-up, its step sizes as they were."""
    hybrid = HybridMD(kernel, MOVES, **options)
    starts = system.states[np.linspace(0, len(system.states) - 1, 4).astype(int)]
    rngs = sampler.spawn_generators(9, 4)
    hybrid, _, _ = hybrid.warm_up(hybrid.init(starts, rngs), rngs, 4)
    return replace(hybrid, dynamics=MOVES)


CASES = {
    "swaps": ("swaps", lambda m, e: HybridMD(RandomSwap(m, e), MOVES, 2)),
    "swaps with displacements": (
        "swaps",
        lambda m, e: HybridMD(RandomSwap(m, e), MOVES, 2, swap_displacements=True),
    ),
    "informed swaps with displacements": (
        "swaps",
        lambda m, e: HybridMD(GibbsWithGradients(m, e), MOVES, 1, swap_displacements=True),
    ),
    "tethered, paths": (
        "tethered",
        lambda m, e: HybridMD(PathAuxiliary(m, e, length=2), MOVES, 1, fix_centre=False),
    ),
    "informed swaps": ("swaps", lambda m, e: HybridMD(GibbsWithGradients(m, e), MOVES, 1)),
    "flips": ("flips", lambda m, e: HybridMD(RandomFlip(m, e), MOVES, 2)),
    "ghosts": ("ghosts", lambda m, e: HybridMD(RandomFlip(m, e), MOVES, 2, ghost_width=0.2)),
    "ghosts, informed": (
        "ghosts",
        lambda m, e: HybridMD(GibbsWithGradients(m, e), MOVES, 1, ghost_width=0.15),
    ),
    "ghosts swap displacements": (
        "ghost swaps",
        lambda m, e: HybridMD(RandomSwap(m, e), MOVES, 2, swap_displacements=True),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_occupations_have_their_exact_marginal(name, record_property):
    where, build = CASES[name]
    here = system(where)
    p, moved = verdict(build(here.model, here.ensemble), here, 400, 2)
    record_property("p", p)
    assert p > 1e-4
    assert moved > 0.15


def with_couplings_times(hybrid: HybridMD, factor: float) -> HybridMD:
    """Return the hybrid with a poor surrogate, which takes more to be exact with."""
    arrays = hybrid.kernel.surrogate.to_arrays()
    for name in ("couplings", "deviations"):
        arrays[name] = factor * np.asarray(arrays[name])
    surrogate = PairExpansion(hybrid.hamiltonian.lattice, **arrays)
    return replace(hybrid, kernel=replace(hybrid.kernel, surrogate=surrogate))


@pytest.mark.parametrize(
    ("where", "factor", "least"), [("swaps", 1.0, 0.15), ("flips", 1.0, 0.3), ("flips", -1.0, 0.03)]
)
def test_a_surrogate_that_follows_the_positions_is_exact(where, factor, least, record_property):
    here = system(where)
    hybrid = taught(SurrogateChain(here.model, here.ensemble, sweeps=40), here, occupation_steps=1)
    p, moved = verdict(with_couplings_times(hybrid, factor), here, 200, 1 + (factor < 0))
    record_property("p", p)
    assert p > 1e-4
    assert moved > least


# ---- broken ones are rejected ------------------------------------------------------------------


def test_stale_energies_are_rejected():
    here = system("swaps")
    kernel = StaysAtTheReference(RandomSwap(here.model, here.ensemble), MOVES, 2)
    assert verdict(kernel, here, 400, 3)[0] < 1e-6


def test_trajectories_that_are_all_accepted_are_rejected():
    here = system("swaps")
    moves = AcceptsEveryTrajectory(step=40.0, n_steps=4)
    kernel = HybridMD(RandomSwap(here.model, here.ensemble), moves, 2)
    assert verdict(kernel, here, 400, 4)[0] < 1e-6


def test_forgotten_ghosts_are_rejected():
    here = system("ghosts")
    kernel = ForgetsGhosts(RandomFlip(here.model, here.ensemble), MOVES, 2, ghost_width=0.2)
    assert verdict(kernel, here, 400, 2)[0] < 1e-6


def test_a_field_that_follows_the_occupation_is_rejected():
    here = system("flips")
    kernel = FieldOfTheOccupation(here.model, here.ensemble, sweeps=40)
    hybrid = with_couplings_times(taught(kernel, here, occupation_steps=1), -2.0)
    assert verdict(hybrid, here, 320, 2)[0] < 1e-6


# ---- what blocks see ---------------------------------------------------------------------------


def test_an_exchange_of_displacements_is_its_own_inverse():
    lattice = ring((("Sc", "Ta", "X"), 5), (("Sr", "La"), 3), (("O",), 2))
    kinds = 4 + 3
    springs = Springs(*np.zeros((2, kinds)), *np.zeros((3, kinds, kinds)))
    crystal = Crystal(ToyCrystal(lattice, springs), TEMPERATURE)
    rng = np.random.default_rng(0)
    cell = lattice.atoms.cell.array @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3)))
    positions = crystal.fractional @ cell + 0.1 * rng.normal(size=(10, 3))
    for _ in range(20):
        before = np.concatenate([rng.permutation([0, 0, 1, 1, 2]), rng.permutation([0, 1, 1])])
        after = before.copy()
        after[:5], after[5:] = rng.permutation(before[:5]), rng.permutation(before[5:])
        there = CarryingView(crystal, positions, cell, before).positions_of(after)
        back = CarryingView(crystal, there, cell, after).positions_of(before)
        np.testing.assert_allclose(back, positions, atol=1e-12)
        displaced = [one - crystal.fractional @ cell for one in (positions, there)]
        sites = [np.sort(d[lattice.sites], axis=0) for d in displaced]
        np.testing.assert_allclose(*sites, atol=1e-12)  # a permutation: volumes are kept
        unchanged = lattice.sites[before == after]
        np.testing.assert_array_equal(there[unchanged], positions[unchanged])
        np.testing.assert_array_equal(there[lattice.spectators], positions[lattice.spectators])
    flipped = before.copy()
    flipped[0] = (flipped[0] + 1) % 3
    view = CarryingView(crystal, positions, cell, before)
    np.testing.assert_array_equal(view.positions_of(flipped), positions)


def test_ghosts_enter_energies_and_gradients_alike():
    here = system("ghosts")
    crystal = Crystal(here.model, TEMPERATURE, ghost_width=0.15)
    rng = np.random.default_rng(0)
    positions = here.model.positions + 0.1 * rng.normal(size=here.model.positions.shape)
    view, model = PositionView(crystal, positions, here.model.cell), here.model.at(positions)
    vacant = here.states == 2
    squares = ((positions - here.model.positions)[:3] ** 2).sum(axis=1) / 0.15**2
    density = np.exp(-0.5 * squares) / (2.0 * np.pi * 0.15**2) ** 1.5
    extra = -np.where(vacant, np.log(density), 0.0).sum(axis=1) / BETA
    np.testing.assert_allclose(view.energy(here.states), model.energy(here.states) + extra)
    np.testing.assert_allclose(view.ghost_energy(here.states), extra)
    lam = here.model.lattice.weights(here.states[:1])[0]
    mixed = view.mixed_energy(lam)
    assert mixed.energy == pytest.approx(view.energy(here.states[:1])[0])
    gradient = view.energy_and_gradient(here.states[:1])[1][0]
    np.testing.assert_allclose(mixed.gradient, gradient)
    assert not hasattr(view, "hessian_product")
    assert (view.energy_calls, view.gradient_calls) == (len(here.states) + 1, 2)


def test_the_field_of_a_surrogate_is_a_function_of_the_positions_alone():
    here = system("flips")
    hybrid = taught(SurrogateChain(here.model, here.ensemble, sweeps=3), here, occupation_steps=1)
    rng = np.random.default_rng(0)
    views = [
        PositionView(hybrid.crystal, here.model.positions + 0.1 * rng.normal(size=(6, 3)), cell)
        for cell in (here.model.cell, 1.02 * here.model.cell)
    ]
    state = State(here.states[:1], np.zeros(1), np.full((1, 4, 2), np.nan))
    other = state._replace(occupations=here.states[-1:])
    fields = []
    for view in views:
        first, _ = hybrid.kernel.refresh(state, view)
        second, _ = hybrid.kernel.refresh(other, view)
        again, _ = second.refresh(other, views[0])
        again, _ = again.refresh(other, view)  # wherever it was before
        for kernel in (second, again):
            np.testing.assert_allclose(first.surrogate.onsite, kernel.surrogate.onsite, atol=1e-12)
        fields.append(first.surrogate.onsite)
    assert np.abs(fields[0] - fields[1]).max() > 1e-3


class Counting(ToyCrystal):
    """Counts energies, gradients and forces; views of other positions count in the same place."""

    def __init__(self, lattice, springs):
        super().__init__(lattice, springs)
        self.counts = np.zeros(3, dtype=int)

    def energy(self, occupations):
        self.counts[0] += len(occupations)
        return super().energy(occupations)

    def energy_and_gradient(self, occupations):
        self.counts[1] += len(occupations)
        return super().energy_and_gradient(occupations)

    def mixed_energy(self, lam, **options):
        self.counts[1] += 1
        return super().mixed_energy(lam, **options)

    def forces_at(self, occupations, positions, cells):
        self.counts[2] += len(occupations)
        return super().forces_at(occupations, positions, cells)


DYNAMICS = {
    "HMC": HMC(step=10.0, n_steps=3, pressure=0.5, volume_step=0.02),
    "Langevin": Langevin(5.0, 0.02, 3),
    "NPT": NPT(2.0, 0.5, 3),
}
MAKES = {
    "swaps": RandomSwap,
    "informed": GibbsWithGradients,
    "paths": PathAuxiliary,
    "Langevin": DiscreteLangevin,
    "mixture": lambda m, e: Mixture([(RandomSwap(m, e), 1), (GibbsWithGradients(m, e), 1)]),
    "surrogate": lambda m, e: SurrogateChain(m, e, sweeps=3),
}


def hybrids(kernel, dynamics, n=4, **options):
    """A warmed-up hybrid that counts, with the state and generators of its chains."""
    here = system("swaps")
    springs = SPRINGS._replace(tether=np.zeros(4), bulk=0.5)  # moved as a whole, it is the same
    model = Counting(here.model.lattice, springs)
    hybrid = HybridMD(MAKES[kernel](model, here.ensemble), DYNAMICS[dynamics], 2, **options)
    rngs = sampler.spawn_generators(4, n)
    return hybrid, hybrid.init(here.states[:n], rngs), rngs


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("kernel", MAKES)
def test_every_call_of_the_model_is_counted(kernel, dynamics):
    hybrid, state, rngs = hybrids(kernel, dynamics)
    counts = hybrid.hamiltonian.counts
    counts[:] = 0
    hybrid, state, infos = hybrid.warm_up(state, rngs, 4)
    told = sum(info.energy_calls.sum() + info.gradient_calls.sum() for info in infos)
    assert counts.sum() == told
    for _ in range(3):
        counts[:] = 0
        state, info = hybrid.step(state, rngs)
        energies, forces = info.energy_calls.sum(), info.force_calls.sum()
        assert [energies, info.gradient_calls.sum() - forces, forces] == counts.tolist()
        assert isinstance(state, HybridState)
        assert isinstance(info, HybridInfo)
        fresh = hybrid.hamiltonian.forces_at(state.occupations, state.positions, state.cells)[0]
        np.testing.assert_allclose(state.energy, fresh, atol=1e-10)
        assert np.isnan(state.gradient).all()
        moved = state.positions - hybrid.crystal.references(state.cells)
        np.testing.assert_allclose(moved.mean(axis=1), 0.0, atol=1e-10)


@pytest.mark.parametrize("kernel", ["mixture", "surrogate"])
def test_a_warm_up_goes_on_from_what_was_stored(kernel):
    def stored(hybrid):
        parameters, arrays = _split(hybrid.to_arrays())

        class Start:
            pass

        start = Start()
        start.kernel, start.arrays = json.loads(json.dumps(parameters)), arrays
        return hybrids(kernel, "HMC")[0].with_arrays(_joined(start))

    ends = []
    for interrupted in (False, True):
        hybrid, state, rngs = hybrids(kernel, "HMC")
        assert isinstance(hybrid, Kernel)
        for _ in range(3):
            hybrid, state, _ = hybrid.warm_up(state, rngs, 3)
            if interrupted:
                hybrid = stored(hybrid)
                rngs = [sampler.restore_generator(sampler.generator_state(r)) for r in rngs]
        for _ in range(2):
            state, _ = hybrid.step(state, rngs)
        ends.append(state)
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("part", [1, 10])
def test_parts_of_a_warm_up_tune_step_sizes_as_one_warm_up_does(part):
    sizes = []
    for steps in (60, part):
        hybrid, state, rngs = hybrids("swaps", "HMC")
        for _ in range(60 // steps):
            hybrid, state, _ = hybrid.warm_up(state, rngs, steps)
        sizes.append(hybrid.dynamics.to_arrays())
        used = hybrid.dynamics.summary()
        assert used["time_step_fs"] == sizes[-1]["step"]["mean"]
        assert used["volume_step"] == sizes[-1]["volume"]["mean"]
    assert sizes[0] == sizes[1]


def test_rungs_tune_their_steps_and_learn_once_for_all(monkeypatch):
    taught = []

    def counted(self, state, rngs, _taught=HybridMD._taught):
        taught.append(self.ensemble.temperature)
        return _taught(self, state, rngs)

    monkeypatch.setattr(HybridMD, "_taught", counted)
    here = system("swaps")
    hybrid = HybridMD(SurrogateChain(here.model, here.ensemble, sweeps=3), HMC(1.0, 3), 1)
    ladder = Tempering(hybrid, temperatures=[1000.0, 1200.0, 1400.0], move_rungs=False)
    rngs = sampler.spawn_generators(1, 3)
    state = ladder.init(np.repeat(here.states[:1], 3, axis=0), rngs)
    ladder, state, _ = ladder.warm_up(state, rngs, 120)
    assert taught == [1400.0]
    for kernel in ladder.kernels:
        found = kernel.summary()
        assert found["kernel"]["surrogate"] == "fitted to gradients"
        assert found["positions"]["time_step_fs"] > 8.0  # 3 where every part began anew
        assert 0.55 < found["positions"]["acceptance"] < 0.9
    again = hybrid.carried_over(here.ensemble.with_temperature(900.0))
    assert not again._learnt  # there was nothing to carry


@pytest.mark.parametrize("kernel", ["informed", "surrogate"])
def test_a_replica_does_not_depend_on_which_others_run_beside_it(kernel):
    hybrid, state, rngs = hybrids(kernel, "HMC")
    hybrid, state, _ = hybrid.warm_up(state, rngs, 3)
    begun = [sampler.generator_state(rng) for rng in rngs]
    together = (hybrid.step(state, [sampler.restore_generator(one) for one in begun]))[0]
    for r in (0, 2):
        one = HybridState(*(part[r : r + 1] for part in state))
        alone, _ = hybrid.step(one, [sampler.restore_generator(begun[r])])
        for whole, part in zip(together, alone, strict=True):
            np.testing.assert_array_equal(whole[r : r + 1], part)


# ---- runs --------------------------------------------------------------------------------------


def test_a_run_stores_positions_cells_and_the_pressure():
    hybrid, state, _ = hybrids("informed", "HMC")
    run = sample(hybrid, state.occupations, n_steps=4, thin=2, warmup=3, seed=2)
    points = run.samples
    assert points.positions.dims == ("draw", "chain", "atom", "xyz")
    assert points.cell.dims == ("draw", "chain", "vector", "xyz")
    assert float(points.pressure) == 0.5
    assert float(points.temperature) == TEMPERATURE
    energy = hybrid.hamiltonian.forces_at(
        points.occupation.values[-1], points.positions.values[-1], points.cell.values[-1]
    )[0]
    np.testing.assert_allclose(points.energy.values[-1], energy, atol=1e-10)
    found = run.attrs["warm_up"]["parameters"]
    assert found["swaps"] == "a swap leaves positions in place"
    assert found["positions"]["dynamics"] == "HMC, exact"
    assert 0 <= found["positions"]["acceptance"] <= 1
    other = replace(hybrid, swap_displacements=True)
    assert other.summary()["swaps"].startswith("a swap exchanges the displacements")
    assert (points.gradient_calls.values >= 2 * 5).all()  # a force call counts as a gradient


@pytest.mark.slow
def test_rungs_exchange_positions_with_occupations(record_property):
    """Two temperatures from their exact laws: the marginal of the colder one stays as it is."""
    here, n = system("swaps"), 150
    hybrid = HybridMD(RandomSwap(here.model, here.ensemble), replace(MOVES, n_steps=2), 1)
    ladder = Tempering(hybrid, temperatures=[TEMPERATURE, 1.5 * TEMPERATURE], move_rungs=False)
    _, cold = exact_start(here, n, 5)
    _, warm = exact_start(here, n, 6, temperature=1.5 * TEMPERATURE)
    rngs = sampler.spawn_generators(5, 2 * n)
    state = ladder.init(np.repeat(cold.occupations, 2, axis=0), rngs)
    pairs = zip(cold, warm, strict=True)
    rows = [np.stack(pair, axis=1).reshape(2 * n, *pair[0].shape[1:]) for pair in pairs]
    state = state._replace(**dict(zip(HybridState._fields, rows, strict=True)))
    for _ in range(3):
        state, _ = ladder.step(state, rngs)
    exchanged = (state.walker[::2] == 1).mean()
    p = law_of_ends(here, state.occupations[::2])
    energy = here.model.forces_at(state.occupations, state.positions, state.cells)[0]
    np.testing.assert_allclose(state.energy, energy, atol=1e-10)
    print(f"ladder: p {p:.3g}, exchanged {exchanged:.2f}")
    record_property("p", p)
    assert 0.1 < exchanged < 0.9
    assert p > 1e-4


def test_annealing_cools_positions_too():
    hybrid, state, rngs = hybrids("swaps", "HMC")
    kernel = Annealing(hybrid, 100.0, 60, hold=2)
    start = kernel.init(state.occupations, rngs)
    after, block = sampler.draw_block(kernel, start, rngs, 60)
    assert block["positions"].shape == (60, 4, 6, 3)
    energy = hybrid.hamiltonian.forces_at(after.occupations, after.positions, after.cells)[0]
    np.testing.assert_allclose(after.energy, energy, atol=1e-10)
    assert block["energy"][-10:].mean() < block["energy"][10:20].mean() - 0.3


def test_positions_may_move_alone():
    hybrid, state, rngs = hybrids("swaps", "Langevin")
    alone = replace(hybrid, occupation_steps=0)
    after, info = alone.step(state, rngs)
    np.testing.assert_array_equal(after.occupations, state.occupations)
    assert (after.positions != state.positions).any(axis=(1, 2)).all()
    assert (info.sites == -1).all()
    assert info.accepted.all()
    pure = alone.init(np.zeros_like(state.occupations), rngs)  # nothing there could be exchanged
    moved, _ = alone.step(pure, rngs)
    assert (moved.positions != pure.positions).any(axis=(1, 2)).all()
    with pytest.raises(InputError, match="holds one species per sublattice"):
        hybrid.init(np.zeros_like(state.occupations), rngs)
    with pytest.raises(InputError, match=r"shape \(4,\) for 4 generators"):
        alone.init(np.zeros(4, dtype=int), rngs)


def test_the_ensemble_is_that_of_the_occupations_with_a_pressure():
    hybrid, state, _ = hybrids("swaps", "HMC")
    ensemble = hybrid.ensemble
    assert isinstance(ensemble, WithPositions)
    assert ensemble.coordinates() == {"temperature": TEMPERATURE, "pressure": 0.5}
    volume = np.abs(np.linalg.det(state.cells))
    inner = hybrid.kernel.ensemble
    expected = -BETA * (state.energy + 0.5 * units.GPa * volume)
    log = ensemble.log_density(state.energy, state.occupations, volume)
    np.testing.assert_allclose(log, expected)
    np.testing.assert_allclose(
        ensemble.log_density(state.energy, state.occupations), -BETA * state.energy
    )
    hotter = hybrid.rebind(ensemble=replace(ensemble.with_temperature(1500.0), pressure=1.5))
    assert hotter.ensemble == WithPositions(inner.with_temperature(1500.0), 1.5)
    assert hotter.crystal.temperature == 1500.0
    assert hybrid.rebind(ensemble=inner.with_temperature(900.0)).ensemble.pressure == 0.5
    assert hybrid.carried_over(ensemble.with_temperature(800.0)).kernel.ensemble.temperature == 800
    moved, there = hybrid.refresh(state, Counting(state_lattice(hybrid), SPRINGS))
    np.testing.assert_allclose(there.energy, moved.hamiltonian.forces_at(*there[:1], *there[3:])[0])
    with pytest.raises(InputError, match="Langevin keeps the cell"):
        hybrids("swaps", "Langevin")[0].rebind(ensemble=ensemble)
    loose = VarianceConstrained(inner.lattice, TEMPERATURE, {"s0": {"Sc": -1.0}}, 20.0)
    assert WithPositions(loose).coordinates()["kappa"] == 20.0
    assert WithPositions(loose).free_sites.all()


def state_lattice(hybrid):
    return hybrid.hamiltonian.lattice


def test_what_cannot_be_sampled_is_refused_with_the_reason():
    here = system("swaps")
    kernel = RandomSwap(here.model, here.ensemble)

    class WithForces(ToyCrystal):
        def energy_forces_stress(self, occupations):
            n = len(occupations)
            places, cells = (np.repeat(a[None], n, axis=0) for a in (self.positions, self.cell))
            return self.forces_at(occupations, places, cells)

    relaxed = Relaxed(WithForces(here.model.lattice, SPRINGS), fmax=0.1)
    pairs = PairHamiltonian(here.model.lattice, [])
    single = ToyCrystal(here.model.lattice, SPRINGS)
    single.dtype = "float32"

    class NoViews:
        lattice, forces_at = here.model.lattice, here.model.forces_at
        energy, energy_and_gradient = here.model.energy, here.model.energy_and_gradient

    class Flat:
        lattice = here.model.lattice

        def log_density(self, energy, occupations, volume=None):
            return np.zeros(len(energy))

    for make, message in (
        (lambda: HybridMD(RandomSwap(relaxed, here.ensemble), MOVES), "cannot be both relaxed and"),
        (lambda: HybridMD(RandomSwap(pairs, here.ensemble), MOVES), "PairHamiltonian has no"),
        (lambda: HybridMD(RandomSwap(single, here.ensemble), MOVES), "HMC needs energies in"),
        (lambda: HybridMD(RandomSwap(NoViews(), here.ensemble), MOVES), r"has no at\("),
        (lambda: HybridMD(RandomSwap(here.model, Flat()), MOVES), "Flat has no temperature"),
        (lambda: HybridMD(kernel, NPTBerendsen), "NPTBerendsen samples no ensemble"),
        (lambda: HybridMD(kernel, "berendsen"), "berendsen samples no ensemble"),
        (lambda: HybridMD(kernel, "verlet"), "dynamics is 'verlet'; give an object of"),
        (lambda: HybridMD(kernel, MOVES, -1), "occupation_steps is -1"),
        (
            lambda: HybridMD(kernel, Langevin(masses={"O": 16.0, "Tb": 180.0})),
            "masses name 'Tb', which is not in the lattice; use one of O, Sc, Ta",
        ),
        (
            lambda: HybridMD(Tempering(kernel, temperatures=[900.0, 1000.0]), MOVES),
            "Tempering is a ladder",
        ),
        (
            lambda: HybridMD(
                SurrogateChain(here.model, here.ensemble), MOVES, swap_displacements=True
            ),
            "a surrogate belongs to one set of positions",
        ),
        (
            lambda: HybridMD(
                Mixture([(SurrogateChain(here.model, here.ensemble), 1)]), MOVES,
                swap_displacements=True,
            ),
            "a surrogate belongs to one set of positions",
        ),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            make()
    HybridMD(RandomSwap(single, here.ensemble), Langevin())  # inexact anyway


@pytest.mark.slow
def test_the_bundled_potential_moves_with_a_surrogate():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.03, size=(2, 1, 1))
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    kernel = SurrogateChain(mace, Canonical(lattice, 4000.0))
    hybrid = HybridMD(kernel, HMC(step=3.0, n_steps=4, pressure=0.0), occupation_steps=2)
    start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    run = sample(hybrid, start, n_steps=3, n_replicas=2, warmup=4, seed=1)
    points = run.samples
    energy = mace.forces_at(
        points.occupation.values[-1], points.positions.values[-1], points.cell.values[-1]
    )[0]
    np.testing.assert_array_equal(points.energy.values[-1], energy)
    assert run.attrs["warm_up"]["parameters"]["kernel"]["surrogate"] != "none"
    assert (points.gradient_calls == 4 + 1 + 1 + 1).all()  # trajectory, volume, site field
    assert points.acceptance.mean() > 0.3


@pytest.mark.slow
def test_the_example_runs(capsys):
    main = runpy.run_path(str(EXAMPLE))["main"]
    main(["--temperatures", "1200", "--blocks", "4", "--chains", "1"])
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert float(row[0]) == 1200.0
    assert 3.8 < float(row[1]) < 4.1  # Å
