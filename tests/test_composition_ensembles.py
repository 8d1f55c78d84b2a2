"""Ensembles whose composition fluctuates: chains, closed forms and free energies by enumeration.

The laws that chains are held against are written out by hand (``composition_toys.law_by_hand``), so
that a wrong weight is refused as well as a wrong kernel: 11 exact distributions, each refused at
p < 1e-4, and 29 z-scores bounded by 4.5, all with fixed seeds; a new set of seeds would raise an
alarm in one run out of 700. Power: the same tests refuse every mutant at p < 1e-6.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.data import atomic_numbers
from scipy.special import gammaln
from scipy.stats import chi2

import composition_toys
from alchemc import (
    ClusterExpansion,
    Lattice,
    PairHamiltonian,
    SemiGrandCanonical,
    VarianceConstrained,
    builders,
    sample,
    sampler,
    statistics,
)
from alchemc.sampler import (
    Mixture,
    PathAuxiliary,
    RandomFlip,
    SurrogateChain,
    TableExchange,
)
from composition_toys import Constrained, constrained, law_by_hand
from mutants import (
    WalksOneWay,
    kappa_of_the_cell,
    phi_not_halved,
    square_of_the_other_sign,
    wrong_sign_of_mu,
    wrong_sign_of_mu_at_fixed_charge,
)
from toys import (
    RandomHamiltonian,
    TabulatedHamiltonian,
    any_occupations,
    bundled_table,
    chain_lattice,
    couplings_between,
    pair_energies,
    quadratic_part,
)

pytestmark = pytest.mark.filterwarnings("ignore:sublattice .* exchanges species of different")


def ends_against(kernel, states, p, index, *, draws=4_000, steps=4, seed=0):
    """p-value of the ends of chains that start in the exact law ``p`` of ``states``."""
    starts = np.random.default_rng([seed, 1]).choice(len(p), size=draws, p=p)
    rngs = sampler.spawn_generators(seed, draws)
    state = kernel.init(states[starts], rngs)
    state, _ = sampler.draw_block(kernel, state, rngs, 1, steps)
    observed = np.bincount(index(state.occupations), minlength=len(p))
    rare = p * draws < 10
    found = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(p[~rare], p[rare].sum()) * draws
    found, expected = found[expected > 0], expected[expected > 0]
    return float(chi2.sf(((found - expected) ** 2 / expected).sum(), len(found) - 1))


def against_hand(kernel, system, **options):
    """p-value of a kernel on a system's table against the law written out by hand."""
    p = law_by_hand(system.ensemble, system.table)
    return ends_against(kernel, system.table.states, p, system.table.index, **options)


def flips(hamiltonian, ensemble):
    return RandomFlip(hamiltonian, ensemble)


def exchanges(hamiltonian, ensemble):
    return TableExchange(hamiltonian, ensemble)


# ---- weights ---------------------------------------------------------------------------------

WEIGHTS = {
    "κ without N": ("variance-constrained", "vacancies", kappa_of_the_cell),
    "φ for φ/2": ("variance-constrained", "vacancies", phi_not_halved),
    "the square with the other sign": (
        "variance-constrained", "vacancies", square_of_the_other_sign,
    ),
    "κ without N, bundled MACE": ("variance-constrained", "bundled MACE", kappa_of_the_cell),
    "μ with the wrong sign, one sublattice fixed": ("fixed–free", "vacancies", wrong_sign_of_mu),
    "μ with the wrong sign at a fixed charge": (
        "charge-neutral", "two sublattices", wrong_sign_of_mu_at_fixed_charge,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_wrong_weight_is_rejected_and_the_right_one_is_not(name, record_property):
    law, toy, spoil = WEIGHTS[name]
    system = constrained(law, toy)
    build = exchanges if law == "charge-neutral" else flips
    right = against_hand(build(system.table, system.ensemble), system, steps=8)
    wrong = against_hand(build(system.table, spoil(system.ensemble)), system, steps=8)
    record_property("p", right)
    print(f"{name}: p = {right:.2g}, broken {wrong:.2g}")
    assert right > 1e-4
    assert wrong < 1e-6


def test_only_neutral_states_appear_and_all_of_them_do():
    system = constrained("charge-neutral", "two sublattices")  # others are a KeyError
    table, lattice = system.table, system.table.lattice
    assert system.ensemble.charge == 26.0  # thirteen O²⁻
    kernel = TableExchange(table, system.ensemble.with_temperature(1e6))
    assert kernel.moves == [
        "A: 2 K -> 2 Sr, B: Nb -> Sc",
        "A: 2 Sr -> 2 K, B: Sc -> Nb",
    ]
    assert kernel.connected(table.states[0])
    rngs = sampler.spawn_generators(1, 100)
    state = kernel.init(np.tile(table.states[0], (100, 1)), rngs)
    _, block = sampler.draw_block(kernel, state, rngs, 60)
    visited = {int(i) for draw in block["occupation"] for i in table.index(draw)}
    assert len(visited) == len(table.states) == 51
    charges = np.asarray(lattice.charges)[np.arange(9), table.states].sum(axis=1)
    np.testing.assert_array_equal(charges, 26.0)


# ---- surrogate chains with two kinds of move -----------------------------------------------------


def test_flips_and_swaps_in_a_row_are_a_palindrome(record_property):
    """Four states, inner chains of a few steps, and a surrogate of twice the size."""
    lattice = chain_lattice((("Sr", "Ba"), 2), (("Ti", "Zr"), 1))
    model = RandomHamiltonian(lattice, seed=1, cubic=0.1)
    states = lattice.enumerate()
    table = TabulatedHamiltonian(model, states[states[:, :2].sum(axis=1) == 1])
    ensemble = SemiGrandCanonical(lattice, 2000.0, {"s1": {"Zr": 0.05}}, fixed=("s0",))
    system = Constrained(table, ensemble, model)
    right, wrong = (
        against_hand(
            kind(table, ensemble, quadratic_part(model, 2.0), sweeps=1),
            system,
            draws=2_500,
            steps=8,
        )
        for kind in (SurrogateChain, WalksOneWay)
    )
    record_property("p", right)
    print(f"palindrome: p = {right:.2g}, one way {wrong:.2g}")
    assert right > 1e-4
    assert wrong < 1e-6


@pytest.mark.parametrize(
    ("law", "n_draws"),
    [("fixed–free", 400), ("charge-neutral", 120), ("variance-constrained", 400)],
)
def test_a_surrogate_is_learnt_and_every_state_is_reached(law, n_draws):
    system = constrained(law, "vacancies")
    table = system.table
    kernel = SurrogateChain(table, system.ensemble.with_temperature(100_000.0))
    rngs = sampler.spawn_generators(1, 8)
    state = kernel.init(np.tile(table.states[:1], (8, 1)), rngs)
    kernel, state, report = sampler.warm_up(kernel, state, rngs, 12)
    assert report.parameters["fallback"] is None
    _, block = sampler.draw_block(dataclasses.replace(kernel, sweeps=4), state, rngs, n_draws)
    visited = {int(i) for draw in block["occupation"] for i in table.index(draw)}
    assert len(visited) == len(table.states)


@pytest.mark.filterwarnings("ignore:the surrogate misses")
@pytest.mark.parametrize(
    ("law", "kinds"),
    [
        ("fixed–free", [PathAuxiliary, PathAuxiliary]),
        ("charge-neutral", [PathAuxiliary, TableExchange]),
    ],
)
def test_where_no_surrogate_serves_both_kinds_of_move_go_on_without(law, kinds):
    system = constrained(law, "vacancies")
    table = system.table.among(system.table.states)
    table.energies = np.random.default_rng(1).normal(size=len(table.states))
    table.gradients = np.random.default_rng(2).normal(size=table.gradients.shape)
    kernel = SurrogateChain(table, system.ensemble.with_temperature(3000.0), sweeps=10)
    rngs = sampler.spawn_generators(1, 4)
    state = kernel.init(table.states[::20][:4], rngs)
    kernel, state, _ = sampler.warm_up(kernel, state, rngs, 60)
    assert isinstance(kernel.fallback, Mixture)
    assert [type(part) for part in kernel.fallback.kernels] == kinds
    assert (
        system.ensemble.with_temperature(9e3)
        == kernel.rebind(ensemble=system.ensemble.with_temperature(9e3)).fallback.ensemble
    )
    stored = SurrogateChain(table, kernel.ensemble, sweeps=10).with_arrays(kernel.to_arrays())
    begun = [sampler.generator_state(rng) for rng in rngs]
    blocks = [
        sampler.draw_block(k, state, [sampler.restore_generator(one) for one in begun], 10)[1]
        for k in (kernel, stored)
    ]
    np.testing.assert_array_equal(blocks[0]["occupation"], blocks[1]["occupation"])


# ---- compiled flips ----------------------------------------------------------------------------


def pairs_on_two_sublattices():
    """Couplings of three and two species, the energies of all states, and an index of these."""
    lattice = builders.perovskite(("Sr", "Ba", "X"), ("Ti", "Zr"), "O", a=4.0, size=(2, 1, 2))
    couplings = {
        ("A", "A"): couplings_between(lattice, "A", "A", 2, 1),
        ("A", "B"): couplings_between(lattice, "A", "B", 1, 2),
    }
    states = lattice.enumerate()
    keys = 3 ** np.arange(lattice.n_sites)
    order = np.argsort(states @ keys)
    hamiltonian = PairHamiltonian(lattice, couplings, threads=1)

    def index(x):
        return order[np.searchsorted((states @ keys)[order], x.astype(int) @ keys)]

    return hamiltonian, states, pair_energies(lattice, couplings, states), index


COMPILED = {
    "variance-constrained": lambda lattice: VarianceConstrained(
        lattice, 1500.0, {"A": {"Sr": -0.5, "Ba": -0.9}, "B": {"Ti": -1.2}}, {"A": 2.0, "B": 3.0}
    ),
    "variance-constrained, A fixed": lambda lattice: VarianceConstrained(
        lattice, 1500.0, {"B": {"Ti": -1.2}}, 3.0, fixed=("A",)
    ),
    "semi-grand, B fixed": lambda lattice: SemiGrandCanonical(
        lattice, 1500.0, {"A": {"Ba": 0.1}}, fixed=("B",)
    ),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_flips_follow_the_law_by_hand(name, record_property):
    hamiltonian, states, energies, index = pairs_on_two_sublattices()
    lattice = hamiltonian.lattice
    ensemble = COMPILED[name](lattice)
    p = law_by_hand(ensemble, TableOf(lattice, states, energies))
    if ensemble.fixed:  # those with the counts of one state
        counts = lattice.counts(states)[:, lattice.names.index(ensemble.fixed[0])]
        kept = (counts == counts[200]).all(axis=1)
        p = np.where(kept, p, 0.0) / p[kept].sum()

    def compiled(law, draws):
        kernel = RandomFlip(hamiltonian, law)
        rngs = sampler.spawn_generators(1, 1)
        assert kernel.compiled_block(kernel.init(states[:1], rngs), rngs, 1, 1) is not None
        return ends_against(kernel, states, p, index, draws=draws, steps=30)

    right = compiled(ensemble, 10_000)
    spoils = [wrong_sign_of_mu]
    if isinstance(ensemble, VarianceConstrained):
        spoils = [kappa_of_the_cell, phi_not_halved, square_of_the_other_sign]
    wrong = [compiled(spoil(ensemble), 2_000) for spoil in spoils]
    record_property("p", right)
    print(f"compiled, {name}: p = {right:.2g}, broken {', '.join(f'{w:.2g}' for w in wrong)}")
    assert right > 1e-4
    assert max(wrong) < 1e-6


class TableOf:
    """Lattice, states and energies, as ``law_by_hand`` reads them."""

    def __init__(self, lattice, states, energies):
        self.lattice, self.states, self.energies = lattice, states, energies


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_flips_keep_fixed_sites_and_energies_and_go_on_without_a_seam(name):
    hamiltonian, *_ = pairs_on_two_sublattices()
    ensemble = COMPILED[name](hamiltonian.lattice)
    kernel = RandomFlip(hamiltonian, ensemble)
    starts = any_occupations(hamiltonian.lattice, 3, seed=1)
    rngs, others = (sampler.spawn_generators(3, 3) for _ in range(2))
    _, whole = sampler.draw_block(kernel, kernel.init(starts, rngs), rngs, 40, 3)
    fixed = ~np.asarray(ensemble.free_sites)
    changed = whole["occupation"] != starts
    assert not changed[:, :, fixed].any()
    assert changed[:, :, ~fixed].any(axis=(0, 1)).all()
    fresh = [hamiltonian.energy(o.astype(np.int8)) for o in whole["occupation"]]
    np.testing.assert_allclose(whole["energy"], fresh, rtol=0, atol=1e-12)
    state, first = sampler.draw_block(kernel, kernel.init(starts, others), others, 15, 3)
    _, second = sampler.draw_block(kernel, state, others, 25, 3)
    for part in whole:
        np.testing.assert_array_equal(whole[part], np.concatenate([first[part], second[part]]))


def test_compiled_flips_in_a_region_count_the_whole_sublattice(record_property):
    hamiltonian, states, energies, index = pairs_on_two_sublattices()
    lattice = hamiltonian.lattice
    ensemble = COMPILED["variance-constrained"](lattice)
    p = law_by_hand(ensemble, TableOf(lattice, states, energies))
    sites = np.array([0, 3, 5])

    class InARegion(RandomFlip):
        def compiled_block(self, state, rngs, n_draws, thin, sites=sites):
            kernel = RandomFlip(self.hamiltonian, self.ensemble)
            parts = np.tile(sites, (len(rngs), 1))
            return kernel.compiled_block(state, rngs, n_draws, thin, sites=parts)

    kernel = InARegion(hamiltonian, ensemble)
    found = ends_against(kernel, states, p, index, draws=10_000, steps=10)
    record_property("p", found)
    assert found > 1e-4


# ---- closed forms ------------------------------------------------------------------------------


def z_scores(counts, exact, record_property, label):
    """Mean counts [n_draws, n_chains, …] in units of their reported errors."""
    found = [statistics.summary(series) for series in np.moveaxis(counts, (0, 1), (-2, -1))]
    z = np.array([(one.mean - x) / one.error for one, x in zip(found, exact, strict=True)])
    record_property("z", z.round(2).tolist())
    print(f"{label}: z = {z.round(2).tolist()}")
    return z


def counts_of(run, sublattice):
    """Counts of the species of a sublattice in a run, [n_draws, n_chains, n_species]."""
    occupations = run.samples["occupation"].values
    flat = occupations.reshape(-1, occupations.shape[-1]).astype(np.int8)
    counts = run.lattice.counts(flat)[:, sublattice]
    return counts.reshape(*occupations.shape[:2], -1)


def compositions(n, m):
    """All counts of m species on n sites, and the logarithm of their numbers of arrangements."""
    grid = np.meshgrid(*[np.arange(n + 1)] * (m - 1), indexing="ij")
    first = np.stack(grid, axis=-1).reshape(-1, m - 1)
    counts = np.column_stack([first, n - first.sum(axis=1)])
    counts = counts[counts[:, -1] >= 0]
    return counts, gammaln(n + 1) - gammaln(counts + 1).sum(axis=1)


def ideal(species=("Al", "Sc", "Ta")):
    """An ideal mixture of three species on 216 B sites, two on as many A sites."""
    lattice = builders.perovskite(("Sr", "La"), species, "O", a=4.0, size=(6, 6, 6))
    return PairHamiltonian(lattice, {}, threads=1)


@pytest.mark.parametrize("fixed", [(), ("A",)], ids=["nothing fixed", "A fixed"])
def test_an_ideal_mixture_has_the_composition_of_its_chemical_potentials(fixed, record_property):
    free = ideal()
    mu = {"B": {"Al": -0.05, "Ta": 0.12}} | ({} if fixed else {"A": {"La": 0.1}})
    ensemble = SemiGrandCanonical(free.lattice, 900.0, mu, fixed)
    start = free.lattice.random(
        {"A": {"Sr": 0.5, "La": 0.5}, "B": {"Al": 1.0}}, np.random.default_rng(1), 4
    )
    run = sample(RandomFlip(free, ensemble), start, n_steps=800_000, thin=2000, warmup=8000, seed=4)
    for s, name in enumerate(free.lattice.names):
        counts = counts_of(run, s)[:, :, : len(free.lattice.sublattices[name].species)]
        if name in fixed:
            assert (counts == 108).all()
            continue
        species = free.lattice.sublattices[name].species
        weights = np.exp([ensemble.beta * mu[name].get(k, 0.0) for k in species])
        exact = 216 * weights / weights.sum()
        assert np.abs(z_scores(counts, exact, record_property, f"ideal {name}")).max() < 4.5


@pytest.mark.parametrize("spoil", [None, kappa_of_the_cell, phi_not_halved])
def test_an_ideal_mixture_has_the_composition_of_its_constraint(spoil, record_property):
    free = ideal()
    phi = {"A": {"Sr": -1.5}, "B": {"Al": -0.4, "Sc": -1.0}}
    kappa = {"A": 2.0, "B": 5.0}
    ensemble = VarianceConstrained(free.lattice, 900.0, phi, kappa)
    kernel = RandomFlip(free, ensemble if spoil is None else spoil(ensemble))
    start = np.zeros((4, free.lattice.n_sites), int)
    run = sample(kernel, start, n_steps=400_000, thin=1000, warmup=8000, seed=4)
    for s, m in ((0, 2), (1, 3)):
        name = free.lattice.names[s]
        counts, log = compositions(216, m)
        for k, f in enumerate(phi[name].values()):
            log = log - kappa[name] * 216 * (counts[:, k] / 216 + f / 2) ** 2
        p = np.exp(log - log.max())
        exact = (p / p.sum()) @ counts
        z = z_scores(
            counts_of(run, s)[:, :, :m],
            exact,
            record_property,
            f"constrained {name}, {spoil and spoil.__name__}",
        )
        assert (np.abs(z).max() < 4.5) if spoil is None else (np.abs(z).max() > 20)


# ---- mchammer ----------------------------------------------------------------------------------


def test_two_species_have_the_weight_of_mchammer(monkeypatch):
    """The potential difference by which mchammer accepts a flip is −k_BT Δf, flip by flip."""
    from icet import ClusterExpansion as IcetExpansion
    from icet import ClusterSpace
    from mchammer.calculators import ClusterExpansionCalculator
    from mchammer.ensembles import VCSGCEnsemble

    primitive = bulk("Ag", "fcc", a=4.1)
    space = ClusterSpace(primitive, [4.2], ["Ag", "Pd"])
    expansion = IcetExpansion(space, [0.0, 0.1, -0.05, 0.02][: len(space)])
    atoms = primitive.repeat(2)
    lattice = Lattice.from_icet_species(atoms, [["Ag", "Pd"]] * len(atoms))
    energies = ClusterExpansion.from_icet(expansion, lattice, threads=1)
    ours = VarianceConstrained(lattice, 800.0, {"Ag": -0.9}, 40.0)
    theirs = VCSGCEnsemble(
        atoms, ClusterExpansionCalculator(atoms, expansion), 800.0, {"Ag": -0.9}, 40.0,
        random_seed=1,
    )  # fmt: skip
    differences = []

    def walk(difference):
        differences.append(difference)
        return len(differences) % 3 != 0

    monkeypatch.setattr(theirs, "_acceptance_condition", walk)
    proposals, update = [], theirs.configuration.get_flip_state
    monkeypatch.setattr(
        theirs.configuration,
        "get_flip_state",
        lambda *args: proposals.append(update(*args)) or proposals[-1],
    )
    for _ in range(300):
        before = lattice.from_atoms(theirs.structure)[None]
        theirs._do_trial_step()
        site, number = proposals[-1]
        after = before.copy()
        after[0, lattice.sites.tolist().index(site)] = int(number == atomic_numbers["Pd"])
        change = np.subtract(*(ours.log_density(energies.energy(x), x)[0] for x in (after, before)))
        assert -ours.beta * differences[-1] == pytest.approx(change, rel=1e-9, abs=1e-9)
    assert len(set(np.round(differences, 6))) > 20
    slope = ours.free_energy_derivative(lattice.counts(lattice.from_atoms(theirs.structure)))
    data = theirs._get_ensemble_data()
    assert data["free_energy_derivative_Ag"] * ours.beta == pytest.approx(slope[0, 0])


# ---- free energies -----------------------------------------------------------------------------


def ring(n, ratio):
    """βF(n_A) of a ring of n sites where neighbours A and B cost k_BT ln(1/ratio)."""
    free = np.zeros(n + 1)
    for a in range(1, n):
        m = np.arange(1, min(a, n - a) + 1)  # clusters of A
        log = lambda x, y: gammaln(x + 1) - gammaln(y + 1) - gammaln(x - y + 1)  # noqa: E731
        ways = np.log(n / m) + log(a - 1, m - 1) + log(n - a - 1, m - 1) + 2 * m * np.log(ratio)
        free[a] = -(ways.max() + math.log(np.exp(ways - ways.max()).sum()))
    return free


@pytest.mark.parametrize("ratio", [1.0, 0.3, 2.0])
def test_the_slope_of_the_free_energy_follows_from_the_composition(ratio):
    """On a ring of n sites, whose F is known, for weights of every composition; error ∝ 1/n."""
    errors = {}
    for n in (100, 400):
        lattice = chain_lattice((("Mg", "Ca"), n))
        free, a = ring(n, ratio), np.arange(n + 1)
        for kappa in (5.0, 100.0):
            for centre in (0.2, 0.5, 0.7):
                ensemble = VarianceConstrained(lattice, 700.0, {"Mg": -2 * centre}, kappa)
                log = -free - kappa * n * (a / n - centre) ** 2
                p = np.exp(log - log.max())
                mean = float(p @ a / p.sum())
                counts = np.array([[mean, n - mean]])
                ((slope, none),) = ensemble.free_energy_derivative(counts)
                exact = np.interp(mean, a[:-1] + 0.5, np.diff(free))  # ∂βF/∂N = ∂(βF/N)/∂c
                errors.setdefault(n, []).append(abs(slope - exact))
                assert none == 0.0
                assert slope == pytest.approx(exact, abs=6.0 / n)
    assert np.mean(errors[400]) < 0.4 * np.mean(errors[100])


def enumerated_free_energies(table, beta):
    """βF of every number of the second species, from all states."""
    numbers = table.states.sum(axis=1)
    logs = -beta * (table.energies - table.energies.min())
    return np.array([-np.log(np.exp(logs[numbers == n]).sum()) for n in range(9)])


def knots_of(table, beta, kind, n_knots=33):
    """Ensembles along a path from no Ta to all Ta, and its parameter."""
    lattice, kappa, temperature = table.lattice, 8.0, 1.0 / (units.kB * beta)
    slope = composition_toys.slope_of(table)
    if kind == "semi-grand":
        x = np.linspace(slope - 12.0 / beta, slope + 12.0 / beta, n_knots)
        return x, [SemiGrandCanonical(lattice, temperature, {"Ta": mu}) for mu in x]
    centre = -1.0 + beta * slope / kappa
    x = np.linspace(centre - 2.1, centre + 2.1, n_knots)
    return x, [VarianceConstrained(lattice, temperature, {"Sc": phi}, kappa) for phi in x]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["semi-grand", "variance-constrained"])
def test_thermodynamic_integration_gives_the_free_energies_of_enumeration(kind, record_property):
    """∂ ln Z/∂μ = β⟨N⟩ and ∂ ln Z/∂φ = −κ⟨N_1⟩ − κNφ/2; P(n) at the ends gives F(n) − F(0)."""
    table, beta = bundled_table(0.0), 1.0 / (units.kB * 7000.0)
    exact = enumerated_free_energies(table, beta)
    x, ensembles = knots_of(table, beta, kind)
    numbers = []
    for knot, ensemble in enumerate(ensembles):
        kernel = RandomFlip(table, ensemble)
        p = composition_toys.exact_law(ensemble, table)
        starts = np.random.default_rng(knot).choice(len(p), size=48, p=p)
        rngs = sampler.spawn_generators(knot, 48)
        state = kernel.init(table.states[starts], rngs)
        _, block = sampler.draw_block(kernel, state, rngs, 100, 3)
        numbers.append(block["occupation"].sum(axis=2))
    mean = [statistics.summary(n.astype(float)) for n in numbers]
    means, errors = np.array([(m.mean, m.error) for m in mean]).T
    if kind == "semi-grand":
        slopes, slope_errors = beta * means, beta * errors
        log_weight = lambda knot, n: beta * x[knot] * n  # noqa: E731
    else:
        kappa = ensembles[0].kappa
        slopes, slope_errors = -kappa * (8 - means + 4 * x), kappa * errors
        log_weight = lambda knot, n: -kappa * 8 * (1 - n / 8 + x[knot] / 2) ** 2  # noqa: E731
    z = []
    for n in range(1, 9):
        # ln P(n) = −βF(n) + ln weight(n) − ln Z, at the knot where n is most frequent, and at the
        # first one for n = 0; Simpson's rule brings ln Z from one to the other.
        end = int(np.argmax([(numbers[k] == n).mean() for k in range(len(x))]))
        rule = simpson_weights(x, end)
        found = log_weight(end, n) - log_weight(0, 0) - float(rule @ slopes)
        error = float(rule**2 @ slope_errors**2)
        for knot, number, sign in ((0, 0, 1.0), (end, n, -1.0)):
            share = statistics.summary((numbers[knot] == number).astype(float))
            found += sign * math.log(share.mean)
            error += (share.error / share.mean) ** 2
        z.append((found - (exact[n] - exact[0])) / math.sqrt(error))
        print(f"{kind}, {n} Ta: βΔF = {found:.3f} ± {math.sqrt(error):.3f}, {z[-1]:+.2f} errors")
    record_property("z", np.round(z, 2).tolist())
    assert np.abs(z).max() < 4.5


def simpson_weights(x, end):
    """Weights of the knots 0 … end in the integral over x, even spacing; zero at the others."""
    weights = np.zeros(len(x))
    first = 0
    if end % 2:  # three eighths of the first three intervals, or one trapezoid
        first = 3 if end >= 3 else 1
        rule = np.array([3, 9, 9, 3]) / 8 if end >= 3 else np.array([1, 1]) / 2
        weights[: first + 1] += rule
    for k in range(first, end, 2):
        weights[k : k + 3] += np.array([1, 4, 1]) / 3
    return weights * (x[1] - x[0])
