"""Ensembles: weights, their gradients, what names their points, and what they refuse."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from ase import units

from alchemc import (
    Canonical,
    ChargeNeutral,
    SemiGrandCanonical,
    Sublattice,
    VarianceConstrained,
    builders,
    sampler,
)
from alchemc.errors import InputError
from alchemc.sampler import (
    DiscreteLangevin,
    GibbsWithGradients,
    PathAuxiliary,
    RandomFlip,
    RandomSwap,
    SurrogateChain,
    TableExchange,
)
from composition_toys import LAWS, NAMES, a_and_b_with_oxygen, constrained, exact_law, law_by_hand
from toys import RandomHamiltonian, any_occupations, chain_lattice

pytestmark = pytest.mark.filterwarnings("ignore:sublattice .* exchanges species of different")
TOYS = [name for name in NAMES if name != "bundled MACE"]


@pytest.fixture
def lattice():
    return chain_lattice((("Sc", "Ta"), 4))


def two_sublattices():
    """A with two species on three sites, B with three on five."""
    return chain_lattice((("Sr", "Ba"), 3), (("Ti", "Zr", "X"), 5))


def ensembles():
    """One of each kind, by name, with all that can be set."""
    lattice = two_sublattices()
    neutral = a_and_b_with_oxygen()
    phi = {"s0": {"Sr": -0.6}, "s1": {"Ti": -0.5, "Zr": -0.7}}
    return {
        "canonical": Canonical(lattice, 700.0),
        "semi-grand": SemiGrandCanonical(lattice, 700.0, {"s1": {"Zr": 0.1}}),
        "semi-grand, one fixed": SemiGrandCanonical(lattice, 700.0, {"s1": {"Zr": 0.1}}, ("s0",)),
        "variance-constrained": VarianceConstrained(lattice, 700.0, phi, {"s0": 20.0, "s1": 9.0}),
        "variance-constrained, one fixed": VarianceConstrained(
            lattice, 700.0, {"s0": {"Sr": -0.6}}, 20, fixed=["s1"]
        ),
        "charge-neutral": ChargeNeutral(neutral, 700.0, {"A": {"Sr": 0.1}}),
        "charge-neutral, one fixed": ChargeNeutral(neutral, 700.0, {"B": {"Nb": 0.1}}, 24, ("A",)),
    }


ENSEMBLES = ensembles()
every_ensemble = pytest.mark.parametrize("name", ENSEMBLES)


# ---- weights ---------------------------------------------------------------------------------


def test_log_density_is_minus_beta_times_the_energy(lattice):
    ensemble = Canonical(lattice, 1000.0)
    energy = np.array([0.0, 0.25])
    expected = -energy / (units.kB * 1000.0)
    np.testing.assert_allclose(ensemble.log_density(energy, np.zeros((2, 4), np.int8)), expected)


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("law", LAWS)
def test_the_weights_are_the_formulas(law, name):
    system = constrained(law, name)
    p = exact_law(system.ensemble, system.table)
    np.testing.assert_allclose(p, law_by_hand(system.ensemble, system.table), atol=1e-14)
    assert (p > 0).all()


def test_the_variance_constrained_weight_of_one_state_by_hand():
    lattice = two_sublattices()
    phi = {"s0": {"Sr": -0.6}, "s1": {"Ti": -0.5, "Zr": -0.7}}
    ensemble = VarianceConstrained(lattice, 700.0, phi, {"s0": 20.0, "s1": 9.0})
    state = np.array([[0, 1, 1, 0, 0, 1, 2, 2]])  # c(Sr) = 1/3; c(Ti) = 2/5, c(Zr) = 1/5
    by_hand = -0.3 / (units.kB * 700.0)
    by_hand -= 20.0 * 3 * (1 / 3 - 0.3) ** 2
    by_hand -= 9.0 * 5 * ((0.4 - 0.25) ** 2 + (0.2 - 0.35) ** 2)
    assert ensemble.log_density(np.array([0.3]), state)[0] == pytest.approx(by_hand, rel=1e-12)


def test_the_arrays_for_compiled_code_give_the_same_weight():
    ensemble = ENSEMBLES["variance-constrained"]
    states = any_occupations(ensemble.lattice, 20, seed=1)
    counts = ensemble.lattice.counts(states)
    terms = (ensemble.stiffness * counts**2 - ensemble.potentials * counts).sum(axis=(1, 2))
    difference = ensemble.log_density(np.zeros(20), states) + ensemble.beta * terms
    np.testing.assert_allclose(difference, difference[0], atol=1e-12)


def test_the_log_density_gradient_is_that_of_the_log_density(lattice):
    hamiltonian = RandomHamiltonian(lattice, seed=1, cubic=0.1)
    ensemble = Canonical(lattice, 700.0)
    weights = np.random.default_rng(2).random((1, 8))
    _, slope = hamiltonian._evaluate(weights[0])
    numeric = np.empty(8)
    for p in range(8):
        step = np.zeros(8)
        step[p] = 1e-5
        change = (
            hamiltonian._evaluate(weights[0] + step)[0]
            - hamiltonian._evaluate(weights[0] - step)[0]
        )
        numeric[p] = ensemble.log_density(np.array([change]), None)[0] / 2e-5
    gradient = ensemble.log_density_gradient(slope.reshape(1, 4, 2), None)
    np.testing.assert_allclose(gradient.ravel(), numeric, rtol=1e-6, atol=1e-6)


def test_the_variance_constrained_gradient_is_that_of_continuous_weights():
    """Differences of −κN Σ(Σ_i λ_ik/N + φ/2)² at an occupation, by hand."""
    ensemble = ENSEMBLES["variance-constrained"]
    lattice = ensemble.lattice
    states = any_occupations(lattice, 3, seed=4)
    zero = np.zeros((3, lattice.n_sites, lattice.n_species_max))
    slopes = ensemble.log_density_gradient(zero, states)
    parts = {"s0": (slice(0, 3), 20.0, [-0.6]), "s1": (slice(3, 8), 9.0, [-0.5, -0.7])}

    def logarithm(lam):
        total = 0.0
        for sites, kappa, phi in parts.values():
            fractions = lam[sites].mean(axis=0)
            n = sites.stop - sites.start
            total -= kappa * n * sum((c + f / 2) ** 2 for c, f in zip(fractions, phi, strict=False))
        return total

    for state, slope in zip(states, slopes, strict=True):
        lam = lattice.weights(state)
        for site, species in np.argwhere(lattice.allowed):
            step = np.zeros_like(lam)
            step[site, species] = 1e-4
            numeric = (logarithm(lam + step) - logarithm(lam - step)) / 2e-4
            assert slope[site, species] == pytest.approx(numeric, abs=1e-8)
    assert (slopes[:, ~np.asarray(lattice.allowed)] == 0).all()


def test_a_larger_chemical_potential_makes_a_species_more_frequent():
    lattice = two_sublattices()
    few, many = np.array([[0] * 3 + [0] * 5]), np.array([[0] * 3 + [1] * 5])
    ensemble = SemiGrandCanonical(lattice, 700.0, {"s1": {"Zr": 0.1}})
    zero = np.zeros(1)
    assert ensemble.log_density(zero, many) > ensemble.log_density(zero, few)


# ---- points, copies ----------------------------------------------------------------------------


@every_ensemble
def test_ensembles_can_be_compared_hashed_and_copied(name):
    ensemble, again = ENSEMBLES[name], ensembles()[name]
    with warnings.catch_warnings(action="error"):
        twins = [again, pickle.loads(pickle.dumps(ensemble)), copy.deepcopy(ensemble)]  # noqa: S301
        twins.append(ensemble.with_temperature(700.0))
        hotter = ensemble.with_temperature(900.0)
    for twin in twins:
        assert twin == ensemble
        assert hash(twin) == hash(ensemble)
        assert twin.coordinates() == ensemble.coordinates()
        np.testing.assert_array_equal(twin.free_sites, ensemble.free_sites)
    assert hotter != ensemble
    assert (hotter.temperature, hotter.fixed) == (900.0, ensemble.fixed)
    assert hotter.beta == pytest.approx(ensemble.beta * 7 / 9)
    others = [other for key, other in ENSEMBLES.items() if key != name]
    assert all(other != ensemble for other in others)


def test_points_are_named_by_what_is_set():
    named = {name: ensemble.coordinates() for name, ensemble in ENSEMBLES.items()}
    assert named == {
        "canonical": {"temperature": 700.0},
        "semi-grand": {
            "temperature": 700.0, "mu_s0_Sr": 0.0, "mu_s0_Ba": 0.0, "mu_s1_Ti": 0.0,
            "mu_s1_Zr": 0.1, "mu_s1_X": 0.0,
        },
        "semi-grand, one fixed": {
            "temperature": 700.0, "mu_s1_Ti": 0.0, "mu_s1_Zr": 0.1, "mu_s1_X": 0.0,
        },
        "variance-constrained": {
            "temperature": 700.0, "phi_s0_Sr": -0.6, "phi_s1_Ti": -0.5, "phi_s1_Zr": -0.7,
            "kappa_s0": 20.0, "kappa_s1": 9.0,
        },
        "variance-constrained, one fixed": {
            "temperature": 700.0, "phi_s0_Sr": -0.6, "kappa": 20.0,
        },
        "charge-neutral": {
            "temperature": 700.0, "mu_A_K": 0.0, "mu_A_Sr": 0.1, "mu_B_Sc": 0.0, "mu_B_Nb": 0.0,
        },
        "charge-neutral, one fixed": {"temperature": 700.0, "mu_B_Sc": 0.0, "mu_B_Nb": 0.1},
    }  # fmt: skip


def test_free_sites_are_those_of_the_sublattices_that_are_not_fixed():
    free = {name: np.flatnonzero(one.free_sites).tolist() for name, one in ENSEMBLES.items()}
    assert free == {
        "canonical": [],
        "semi-grand": list(range(8)),
        "semi-grand, one fixed": [3, 4, 5, 6, 7],
        "variance-constrained": list(range(8)),
        "variance-constrained, one fixed": [0, 1, 2],
        "charge-neutral": [],
        "charge-neutral, one fixed": [],
    }


def test_what_an_ensemble_was_given_cannot_be_changed():
    ensemble = ENSEMBLES["variance-constrained"]
    for changed in (ensemble.phi["s0"], ensemble.kappa):
        with pytest.raises(TypeError):
            changed["Sr"] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        ENSEMBLES["semi-grand"].free_sites[0] = False


def test_with_one_sublattice_its_name_may_be_left_out(lattice):
    short = VarianceConstrained(lattice, 300.0, {"Sc": -1.0}, 100)
    assert short == VarianceConstrained(lattice, 300.0, {"s0": {"Sc": -1.0}}, {"s0": 100.0})


def test_the_slope_of_the_free_energy_needs_counts_of_all_sites():
    ensemble = ENSEMBLES["variance-constrained, one fixed"]
    counts = ensemble.lattice.counts(any_occupations(ensemble.lattice, 6, seed=1))
    slopes = ensemble.free_energy_derivative(counts.reshape(2, 3, 2, 3))
    assert slopes.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(
        slopes.reshape(6, 2, 3)[:, 0, 0], -2 * 20.0 * (counts[:, 0, 0] / 3 - 0.3)
    )
    assert (slopes[..., 0, 1] == 0).all()
    assert np.isnan(slopes[..., 0, 2]).all()
    assert np.isnan(slopes[..., 1, :]).all()  # fixed
    for bad in (counts / 3.0, counts[:, 0]):
        with pytest.raises(InputError, match=r"do not add up to \[3\.0, 5\.0\] sites: give 2 × 3"):
            ensemble.free_energy_derivative(bad)


# ---- charges -----------------------------------------------------------------------------------


def test_the_charge_that_is_kept_is_given_or_the_spectators_or_that_of_an_occupation():
    lattice, mu = a_and_b_with_oxygen(), {"A": {"Sr": 0.1}}
    neutral = ChargeNeutral(lattice, 500.0, mu)
    assert neutral.charge == 26.0
    assert ChargeNeutral(lattice, 500.0, mu, 20).charge == 20.0
    occupation = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1])  # 5 K, 3 Sc, 1 Nb
    like = ChargeNeutral.like(lattice, 500.0, mu, occupation)
    assert like.charge == 19.0
    np.testing.assert_allclose(neutral.total_charge(occupation[None]), [19.0])
    assert np.isneginf(neutral.log_density(np.zeros(1), occupation[None]))
    assert np.isfinite(like.log_density(np.zeros(1), occupation[None]))
    bare = chain_lattice((("Sr", "La", "X"), 3, (2, 3, 0)))
    assert ChargeNeutral(bare, 500.0, {}, 6).charge == 6.0
    with pytest.raises(InputError, match=r"give one, \[n_sites\]"):
        ChargeNeutral.like(lattice, 500.0, mu, occupation[None])


def test_thirds_of_a_charge_add_up():
    lattice = chain_lattice((("Fe", "Ti", "X"), 6, (8 / 3, 4.0, 0.0)))
    ensemble = ChargeNeutral(lattice, 500.0, {}, 8.0)
    three_fe, two_ti = np.array([[0, 0, 0, 2, 2, 2]]), np.array([[1, 1, 2, 2, 2, 2]])
    for state in (three_fe, two_ti):
        assert np.isfinite(ensemble.log_density(np.zeros(1), state)[0])


BAD_CHARGES = {
    "no charges": (
        lambda: ChargeNeutral(two_sublattices(), 300.0, {}),
        "no charges to keep: give charges to its sublattices, or use SemiGrandCanonical",
    ),
    "no spectator charges": (
        lambda: ChargeNeutral(
            builders.perovskite(
                "Pb", ("Sc", "Ta"), "O", a=4.0, charges={"Sc": 3, "Ta": 5}
            ), 300.0, {},
        ),
        r"not known: give the lattice spectator_charges, give charge, .*ChargeNeutral\.like",
    ),
    "all alike": (
        lambda: ChargeNeutral(chain_lattice((("Ti", "Zr"), 4, (4, 4))), 300.0, {}),
        "no free sublattice holds species of different charge.*use SemiGrandCanonical",
    ),
    "out of reach": (
        lambda: ChargeNeutral(a_and_b_with_oxygen(), 300.0, {}, 40.0),
        r"no occupation has the charge \+40: the sites carry \+17 to \+30",
    ),
    "a word": (
        lambda: ChargeNeutral(a_and_b_with_oxygen(), 300.0, {}, "neutral"),
        "charge is 'neutral'; give a finite number in e",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CHARGES)
def test_charges_that_cannot_be_kept_are_refused_in_one_line(name):
    build, message = BAD_CHARGES[name]
    with pytest.raises(InputError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


def test_only_what_fluctuates_is_warned_of():
    lattice = chain_lattice((("Sr", "La"), 3, (2, 3)), (("Ti", "Zr"), 2, (4, 4)))
    phi = {"s0": {"Sr": -1.0}, "s1": {"Ti": -1.0}}
    for build in (
        lambda: SemiGrandCanonical(lattice, 300.0, {}),
        lambda: VarianceConstrained(lattice, 300.0, phi, 10.0),
    ):
        with pytest.warns(UserWarning, match=r"sublattice s0 .* charge \(Sr \+2, La \+3\)") as seen:
            build()
        assert [one.filename for one in seen] == [__file__]
    with warnings.catch_warnings(action="error"):
        SemiGrandCanonical(lattice, 300.0, {}, fixed=("s0",))
        VarianceConstrained(lattice, 300.0, {"s1": {"Ti": -1.0}}, 10.0, fixed=("s0",))
        ChargeNeutral(lattice, 300.0, {}, 15.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sublattice("Ti", ("Sr", "X"), (2,)), "a vacancy 'X' included"),
        (lambda: Sublattice("Ti", ("Sr", "X"), {"Sr": 2}), "the vacancy 'X' .*explicitly"),
        (lambda: Sublattice("Fe", ("Fe", "Fe"), (2, 3)), "cannot tell two charge states"),
        (lambda: Sublattice("Fe", ("Fe2+", "Fe3+")), "two charge states of one element cannot"),
    ],
)
def test_charges_that_mean_nothing_to_a_potential_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


# ---- kernels and ensembles -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RandomSwap, TableExchange, GibbsWithGradients])
def test_a_start_of_another_charge_is_refused_in_one_line(kind):
    system = constrained("charge-neutral", "two sublattices")
    kernel = kind(system.model, system.ensemble)
    starts = system.table.states[:3].copy()
    starts[1] = [0, 0, 0, 0, 1, 0, 0, 0, 1]
    message = r"replica 1 starts where ChargeNeutral has no weight: .*\+20, and \+26 is kept"
    with pytest.raises(InputError, match=message) as error:
        kernel.init(starts, sampler.spawn_generators(1, 3))
    assert "\n" not in str(error.value)


class Upper:
    """A user's ensemble with weight where the energy is above 0 only, and nothing optional."""

    def __init__(self, canonical):
        self.canonical, self.lattice = canonical, canonical.lattice

    def log_density(self, energy, occupations, volume=None):
        return np.where(energy > 0, self.canonical.log_density(energy, occupations), -np.inf)

    def log_density_gradient(self, gradient, occupations):
        return self.canonical.log_density_gradient(gradient, occupations)


def test_an_ensemble_of_the_user_s_own_needs_no_optional_attribute(lattice):
    model = RandomHamiltonian(lattice, seed=1)
    states = lattice.enumerate()
    high, low = (states[f(model.energy(states))][None] for f in (np.argmax, np.argmin))
    ensemble, rngs = Upper(Canonical(lattice, 3000.0)), sampler.spawn_generators(1, 1)
    for build in (
        lambda: RandomFlip(model, ensemble),
        lambda: GibbsWithGradients(model, ensemble),
        lambda: GibbsWithGradients(model, ensemble, move="flip"),
        lambda: DiscreteLangevin(model, ensemble, move="flip"),
    ):
        kernel = build()
        state = kernel.init(high, rngs)
        for _ in range(20):
            state, _ = kernel.step(state, rngs)
            assert (state.energy > 0).all()
        with pytest.raises(InputError, match="Upper has no weight: start from an occupation"):
            kernel.init(low, rngs)


@pytest.mark.parametrize("kind", [RandomFlip, GibbsWithGradients, PathAuxiliary, SurrogateChain])
def test_single_flips_are_refused_where_they_would_break_a_constraint(kind):
    system = constrained("charge-neutral", "two sublattices")
    options = {} if kind is RandomFlip else {"move": "flip"}
    with pytest.raises(InputError, match=r"a single flip .* ChargeNeutral keeps: use TableExch"):
        kind(system.model, system.ensemble, **options)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", [GibbsWithGradients, PathAuxiliary, DiscreteLangevin])
def test_informed_kernels_move_what_the_ensemble_leaves_free(kind, law):
    system = constrained(law, "two sublattices")
    kernel = kind(system.table, system.ensemble)
    rngs = sampler.spawn_generators(1, 8)
    state = kernel.init(system.table.states[:8], rngs)
    lattice, free = system.table.lattice, np.asarray(system.ensemble.free_sites)
    composed = False
    for _ in range(40):
        after, info = kernel.step(state, rngs)
        if free.any():
            assert free[info.sites[info.sites >= 0]].all()
        before = lattice.counts(state.occupations)
        composed |= bool((lattice.counts(after.occupations) != before).any())
        state = after
    assert composed == bool(free.any())


def test_exchanges_leave_the_counts_of_fixed_sublattices_alone():
    charges = {"K": 1, "Sr": 2, "La": 3, "Sc": 3, "Ti": 4, "Nb": 5}
    lattice = builders.perovskite(
        ("K", "Sr", "La"), ("Sc", "Ti", "Nb"), "O", a=4.0, size=(2, 2, 2), charges=charges,
        spectator_charges={"O": -2},
    )  # fmt: skip
    model = RandomHamiltonian(lattice, seed=1)
    every = TableExchange(model, ChargeNeutral(lattice, 900.0, {}))
    some = TableExchange(model, ChargeNeutral(lattice, 900.0, {}, fixed=("A",)))
    assert len(every.moves) > 2
    assert some.moves == ["B: Sc + Nb -> 2 Ti", "B: 2 Ti -> Sc + Nb"]
    assert some.connected(np.repeat([1, 1], 8))
    with pytest.raises(InputError, match="exchanges change the composition, which the canonical"):
        TableExchange(model, Canonical(lattice, 900.0))


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, -5.0, float("nan"), float("inf"), True, "300", None])
def test_an_unusable_temperature_is_named_in_one_line(lattice, temperature):
    for build in (
        lambda: Canonical(lattice, temperature),
        lambda: VarianceConstrained(lattice, temperature, {"Sc": -1.0}, 10.0),
        lambda: ChargeNeutral(a_and_b_with_oxygen(), temperature, {}),
    ):
        with pytest.raises(InputError, match="temperature") as error:
            build()
        assert repr(temperature) in str(error.value)
        assert "\n" not in str(error.value)


def constrained_by(phi, kappa=10.0, fixed=()):
    return lambda: VarianceConstrained(two_sublattices(), 300.0, phi, kappa, fixed)


PHI = {"s0": {"Sr": -1.0}, "s1": {"Ti": -0.5, "Zr": -0.5}}
BAD = {
    "φ is no mapping": (constrained_by(-1.0), "phi are -1.0; give numbers by sublattice"),
    "no φ": (constrained_by({}), r"phi lacks Sr on s0; give φ .* \(Sr\), −2 times the fraction"),
    "a φ too few": (constrained_by(PHI | {"s1": {"Ti": -1}}), r"phi lacks Zr on s1.*\(Ti, Zr\)"),
    "the last species": (
        constrained_by(PHI | {"s0": {"Ba": -1.0}}),
        "phi names Ba on s0, but the last species of s0",
    ),
    "a fixed sublattice's φ": (
        constrained_by(PHI, 10.0, ("s0",)), "phi names Sr on s0, but s0 is fixed or",
    ),
    "φ not a number": (
        constrained_by(PHI | {"s0": {"Sr": "low"}}), "the φ of Sr on s0 is 'low'; give a finite",
    ),
    "another species": (
        constrained_by(PHI | {"s0": {"Ca": -1.0}}), "phi: s0 holds Sr, Ba, not 'Ca'",
    ),
    "another sublattice": (constrained_by(PHI | {"C": {}}), "no sublattice 'C'; there are s0, s1"),
    "κ of zero": (constrained_by(PHI, 0.0), "kappa of s0 is 0.0; give a finite number above 0"),
    "κ below zero": (constrained_by(PHI, {"s0": 1.0, "s1": -2}), "kappa of s1 is -2; give a"),
    "κ missing": (constrained_by(PHI, {"s0": 1.0}), "kappa of s1 is None; give a finite number"),
    "κ no number": (constrained_by(PHI, "stiff"), "kappa of s0 is 'stiff'"),
    "κ of a fixed one": (
        constrained_by({"s0": {"Sr": -1.0}}, {"s0": 1.0, "s1": 1.0}, ("s1",)),
        "kappa names 's1', which is no sublattice with a φ",
    ),
    "nothing to constrain": (
        lambda: VarianceConstrained(chain_lattice((("Sr",), 3)), 300.0, {}, 1.0),
        "no sublattice holds two species.*use Canonical",
    ),
    "fixed is a word": (
        lambda: SemiGrandCanonical(two_sublattices(), 300.0, {}, fixed="s0"),
        r"fixed is 's0'; give names of sublattices, such as \('A',\)",
    ),
    "fixed is unknown": (
        lambda: SemiGrandCanonical(two_sublattices(), 300.0, {}, fixed=("S0",)),
        "fixed names the sublattice 'S0'; use one of s0, s1",
    ),
    "all fixed": (
        lambda: SemiGrandCanonical(two_sublattices(), 300.0, {}, fixed=("s1", "s0")),
        r"every sublattice of two species or more \(s1, s0\).*use Canonical",
    ),
    "μ of a fixed one": (
        lambda: SemiGrandCanonical(two_sublattices(), 300.0, {"s0": {"Sr": 0.1}}, fixed=("s0",)),
        "chemical_potentials name the sublattice 's0', whose counts are fixed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_in_one_line(name):
    build, message = BAD[name]
    with pytest.raises(InputError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


def test_with_temperature_changes_the_temperature_alone(lattice):
    ensemble = Canonical(lattice, 300)
    hotter = ensemble.with_temperature(600.0)
    assert (ensemble.temperature, hotter.temperature) == (300.0, 600.0)
    assert hotter.lattice is lattice
    assert hotter.beta == pytest.approx(ensemble.beta / 2)
