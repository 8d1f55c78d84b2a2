"""Quasirandom structures beside ensembles that are known exactly.

The toy is the 2×2×3 net with energies of like pairs, all 924 arrangements of which are counted,
sampled by chains of a known distribution. z-scores are in the reported errors; with the seeds
fixed, a bound of 4 on one has a false-alarm probability of 6e-5 for another seed, and those on sums
of squares are the 1e-4 quantiles of χ².
"""

import dataclasses
import math

import numpy as np
import pytest
from ase.units import kB
from scipy.optimize import brentq
from scipy.stats import chi2

from alchemc import Lattice, Sublattice
from alchemc.analysis import (
    compare_sqs,
    generate_sqs,
    ordering_series,
    warren_cowley_series,
)
from alchemc.analysis.sqs import representative
from alchemc.analysis.sqs.measures import Series
from alchemc.records import Run, point_dataset
from analysis_cases import boltzmann, ordered, perovskite, sticky_chains
from sqs_toys import LIKE, UNLIKE, Table, Toy, WithForces, compared, structures, toy
from toys import RandomHamiltonian, TabulatedHamiltonian

TEMPERATURES = (900.0, 1400.0, 2200.0, 4000.0)


def test_biases_scatter_about_the_exact_ones_by_their_errors(record_property):
    """Of the energy and of α in the first shell, at four temperatures, 6 seeds."""
    exact, sqs = toy(UNLIKE), structures(UNLIKE)
    scores = {"energy": [], "warren-cowley": []}
    own = {"energy": exact.energies / 12}
    table = warren_cowley_series(exact.lattice, exact.states, 2).sel(pair="B: Sc–Ta")
    for seed in range(6):
        found = compared(exact, exact.run(TEMPERATURES, n_draws=200, seed=seed), sqs)
        for kind, list_of in scores.items():
            row = found.quantity(kind)
            values = own.get(kind, table.to_numpy()[0, :, 0])
            for point in row.points:
                bias = row.mean - exact.mean(point.temperature, values)
                list_of.append((point.bias - bias) / point.bias_error)
    for kind, found in scores.items():
        total = float(np.sum(np.square(found)))
        record_property(f"z {kind}", f"{total:.1f} of {len(found)}")
        low, high = chi2.ppf([1e-4, 1 - 1e-4], len(found))
        assert low < total < high, (kind, total)


def test_the_representative_temperature_is_the_exact_one_within_its_error(record_property):
    """Where like species attract one another the random cell lies above the SQS: there is one."""
    exact, sqs = toy(LIKE), structures(LIKE)
    level = float(exact.model.energy(sqs.occupations).mean()) / 12
    true = brentq(lambda t: exact.mean(t) - level, 1e3, 1e6)
    scores = []
    for seed in range(8):
        run = exact.run((true / 1.4, true * 1.3), n_draws=400, seed=seed)
        row = compared(exact, run, sqs, n_shells=0).quantity("energy")
        (found,) = row.representative
        assert found.between == (pytest.approx(true / 1.4), pytest.approx(true * 1.3))
        assert found.resolved
        scores.append((found.temperature - true) / found.error)
    record_property("z", f"{np.sum(np.square(scores)):.1f} of 8")
    # The error holds a share for the interpolation: squares may be smaller than χ² has them.
    assert 0.5 < np.sum(np.square(scores)) < chi2.ppf(1 - 1e-4, 8)
    assert found.interpolation < found.error
    assert found.error < 0.25 * true


def test_a_temperature_above_all_sampled_ones_is_interpolated_to_random_order(record_property):
    exact, sqs = toy(LIKE), structures(LIKE)
    level = float(exact.model.energy(sqs.occupations).mean()) / 12
    true = brentq(lambda t: exact.mean(t) - level, 1e3, 1e6)
    run = exact.run((true / 3, true / 1.6), n_draws=2000, seed=3)
    found = compared(exact, run, sqs)
    (crossing,) = found.quantity("energy").representative
    z = (crossing.temperature - true) / crossing.error
    record_property("z", z)
    assert abs(z) < 4
    assert crossing.between == (pytest.approx(true / 1.6), math.inf)
    assert "random order" in found.statement


def exact_node(exact: Toy, temperature: float, sign: float = 1.0) -> representative.Node:
    """Node without any noise, of all arrangements by weight."""
    beta = 0.0 if math.isinf(temperature) else 1.0 / (kB * temperature)
    weights = np.exp(-beta * (exact.energies - exact.energies.min()))
    weights /= weights.sum()
    values, away = exact.energies / 12, exact.energies - weights @ exact.energies
    zero = np.zeros((1, 1))
    return representative.Node(
        beta, weights @ values, -sign * (weights @ (values * away)),
        weights @ ((values - weights @ values) * away**2), zero, zero, converged=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "bracket", [(0.4, 2.5), (0.5, math.inf)], ids=["within", "to random order"]
)
def test_interpolation_is_as_good_as_it_says_and_slopes_of_the_wrong_sign_are_seen(bracket):
    exact, sqs = toy(LIKE), structures(LIKE)
    level = float(exact.model.energy(sqs.occupations).mean()) / 12
    true = brentq(lambda t: exact.mean(t) - level, 1e3, 1e6)
    off = []
    for sign in (1.0, -1.0):
        nodes = [exact_node(exact, true * part, sign) for part in reversed(bracket)]
        (found,) = representative.crossings(nodes, level)
        off.append(abs(found.temperature - true))
        if sign > 0:
            assert found.error == pytest.approx(found.interpolation)
            assert off[0] < 1.5 * found.interpolation + 1e-6 * true
            assert off[0] < 0.02 * true
    assert off[1] > 5 * off[0]


def test_without_energies_of_random_arrangements_nothing_is_said_of_hotter_ones():
    """Errors of a stored run alone: interpolation ends at the hottest temperature."""
    exact, sqs = toy(LIKE), structures(LIKE)
    run = exact.run((1500.0, 3000.0))
    found = compare_sqs(run, sqs, n_shells=1, orders=())
    row = found.quantity("warren-cowley")
    assert not row.reaches_random
    assert row.within is None
    assert "nor of any" not in found.statement


def test_where_the_bias_is_small_is_the_exact_temperature(record_property):
    exact, sqs = toy(UNLIKE), structures(UNLIKE)
    level = float(exact.model.energy(sqs.occupations).mean()) / 12
    random = float(exact.energies.mean()) / 12
    tolerance = 1.5 * (level - random)  # more than random arrangements are away already
    true = brentq(lambda t: level - exact.mean(t) - tolerance, 1e3, 1e7)
    run = exact.run((true / 3, true / 1.5, true * 1.5, true * 3), n_draws=2000, seed=5)
    row = compared(exact, run, sqs, tolerance=tolerance).quantity("energy")
    z = (row.within.temperature - true) / row.within.error
    record_property("z", z)
    assert abs(z) < 4
    assert not row.representative
    small = compared(exact, run, sqs, tolerance=0.5 * (level - random))
    assert small.quantity("energy").within is None
    assert "exceeds" in small.statement


def test_an_sqs_that_is_the_random_mean_is_representative_of_no_finite_temperature():
    """All arrangements together as the SQS: their mean is that at infinite temperature."""
    exact = toy(UNLIKE, 2, 2, 2)
    found = compared(exact, exact.run((2000.0, 4000.0)), exact.states)
    row = found.quantity("energy")
    assert not any(crossing.resolved for crossing in row.representative)
    assert row.mean == pytest.approx(row.random_mean, abs=1e-12)
    assert "no temperature in the range sampled" in found.statement
    assert row.random_error == 0.0
    assert found.random_exact


def test_random_arrangements_are_those_of_the_cell(record_property):
    exact = toy(UNLIKE)
    found = compared(exact, exact.run((3000.0,)), structures(UNLIKE), n_random=500)
    assert not found.random_exact
    row = found.quantity("energy")
    z = (row.random_mean - exact.energies.mean() / 12) / row.random_error
    record_property("z", z)
    assert abs(z) < 4
    # Exact where all are counted; to first order in 1/T the ensemble is random above this.
    every = compared(exact, exact.run((3000.0,)), structures(UNLIKE), n_random=1000)
    limit, error = every.random_limit
    assert error == 0.0
    assert limit == pytest.approx(exact.energies.var() / (12 * kB * 0.005), rel=1e-9)


def test_as_many_structures_and_draws_reach_the_tolerance_as_are_said_to(record_property):
    """Brute force: means of so many structures, and of so many independent draws, 20,000 times."""
    exact, temperature, tolerance = toy(UNLIKE), 60_000.0, 0.003
    rng, mean = np.random.default_rng(8), exact.mean(temperature)
    population = mean + 0.0015 + 0.008 * rng.normal(size=5000)  # eV per site: bias and scatter
    run = exact.run((temperature,), n_draws=4000, stay=0.0, seed=2)
    row = compared(exact, run, structures(UNLIKE), tolerance=tolerance).quantity("energy")
    some = population[:1000]
    row = dataclasses.replace(row, values=some, mean=some.mean(), scatter=some.std(ddof=1))
    point = dataclasses.replace(row.points[0], bias=row.mean - mean, bias_error=0.0)
    budget = row.budget(point)

    def rms(values, n, weights=None):
        chosen = rng.choice(values, size=(20_000, n), p=weights)
        return float(np.sqrt(((chosen.mean(axis=1) - mean) ** 2).mean()))

    share = rms(population, budget.sqs) / tolerance
    fewer = rms(population, budget.sqs - 2) / tolerance
    record_property("z", f"{budget.sqs}: {share:.3f} of the tolerance, two fewer {fewer:.3f}")
    assert budget.sqs > 5
    assert 0.95 < share < 1.03 < fewer
    weights = boltzmann(exact.energies, temperature)
    drawn = rms(exact.energies / 12, budget.draws, weights)
    assert drawn == pytest.approx(tolerance, rel=0.05)
    one = rms(population, 1)
    assert budget.error_of_one == pytest.approx(one, rel=0.05)
    assert budget.draws_for_one == pytest.approx((point.spread / one) ** 2, rel=0.1)


def test_a_bias_above_the_tolerance_is_not_averaged_away():
    exact = toy(UNLIKE)
    found = compared(exact, exact.run((1500.0,)), structures(UNLIKE))
    row = found.quantity("energy")
    budget = row.budget(row.points[0])
    assert budget.sqs is None
    assert budget.sqs_for_run is None
    assert budget.draws > 0
    assert "no number of SQS is enough" in found.statement


def test_the_number_of_stored_draws_grows_with_the_memory_of_the_chain():
    exact = toy(UNLIKE)
    quick, slow = (
        compared(exact, exact.run((1500.0,), n_draws=3000, stay=stay), structures(UNLIKE))
        for stay in (0.0, 0.8)
    )
    one, other = (f.quantity("energy") for f in (quick, slow))
    # τ = (1 + stay)/(1 − stay)
    assert one.points[0].autocorrelation == pytest.approx(1.0, abs=0.25)
    assert other.points[0].autocorrelation == pytest.approx(9.0, rel=0.25)
    assert other.budget(other.points[0]).stored_draws > 5 * one.budget(one.points[0]).stored_draws


def test_an_ordered_structure_passed_as_an_sqs_is_told():
    exact = toy(UNLIKE, 2, 2, 2)
    order = ordered(exact.lattice, "rock-salt")
    found = compared(exact, exact.run((1500.0, 3000.0)), order, orders=("rock-salt",))
    assert found.structures.matched_shells.tolist() == [0]
    row = found.quantity("warren-cowley")
    assert row.mean == pytest.approx(-1.0)
    assert row.points[0].bias < -20 * row.points[0].bias_error
    assert found.quantity("energy").points[0].bias < 0
    assert found.quantity("order").mean == pytest.approx(1.0)
    assert "One SQS has no scatter" in found.statement


def test_structural_quantities_are_those_of_the_order_measures():
    exact = toy(UNLIKE)
    run = exact.run((1500.0,), n_draws=40)
    found = compared(exact, run, structures(UNLIKE), orders=("columnar",))
    occupation = run.points[0]["occupation"]
    alpha = warren_cowley_series(exact.lattice, occupation, 2).sel(pair="B: Sc–Ta")
    for shell in (1, 2):
        row = found.quantity("warren-cowley", f"B: Sc–Ta shell {shell}")
        assert row.points[0].ensemble.mean == pytest.approx(float(alpha.sel(shell=shell).mean()))
        # For two species in equal parts, pair correlations are α itself.
        pair = [q for q in found.quantities if q.quantity.name.startswith("pair")][shell - 1]
        assert pair.points[0].ensemble.mean == pytest.approx(row.points[0].ensemble.mean)
    order = ordering_series(exact.lattice, occupation, "columnar")
    assert found.quantity("order").points[0].ensemble.mean == pytest.approx(float(order.mean()))


def test_the_cluster_vectors_of_the_structures_differ_from_the_ensembles_by_the_rms():
    exact = toy(UNLIKE)
    found = compared(exact, exact.run((1500.0,), n_draws=2000), structures(UNLIKE))
    clusters = [row for row in found.quantities if row.quantity.kind == "cluster"]
    true = []
    for row in clusters:
        shell = 1 + [c.quantity.name for c in clusters].index(row.quantity.name)
        alpha = warren_cowley_series(exact.lattice, exact.states, shell)
        values = alpha.sel(pair="B: Sc–Ta", shell=shell).to_numpy()[0]
        true.append(row.mean - exact.mean(1500.0, values))
    ((deviation, error),) = found.cluster_deviation()
    assert abs(deviation - np.sqrt(np.mean(np.square(true)))) < 4 * error


def test_forces_and_relaxed_energies_are_those_of_some_draws():
    exact = toy(UNLIKE)
    model = WithForces(exact.lattice, UNLIKE)
    other = Table(exact.lattice, 2 * UNLIKE)
    run = exact.run((1500.0, 3000.0), n_draws=300)
    found = compared(
        exact, run, structures(UNLIKE), model, relaxed=other, n_evaluated=200, n_random=500
    )
    energy, relaxed = found.quantity("energy"), found.quantity("relaxed energy")
    assert relaxed.values == pytest.approx(2 * energy.values)
    force = found.quantity("force")
    index = np.arange(exact.lattice.n_sites)
    assert force.values == pytest.approx(1 + structures(UNLIKE).occupations @ index)
    for row, scale in ((relaxed, 2.0), (force, None)):
        for point, whole in zip(row.points, energy.points, strict=True):
            assert point.ensemble.converged == whole.ensemble.converged
            assert 50 < point.n_draws <= 250
            if scale:
                away = point.ensemble.mean - scale * exact.mean(point.temperature)
            else:
                weights = boltzmann(exact.energies, point.temperature)
                away = point.ensemble.mean - weights @ (1.0 + exact.states @ index)
            assert abs(away) < 4 * point.ensemble.error
            assert whole.n_draws == 1200


def test_three_species_on_one_sublattice_and_a_second_sublattice():
    atoms = perovskite(3, 2, 1).atoms
    lattice = Lattice(
        atoms, {"A": Sublattice("Sr", ("Sr", "La")), "B": Sublattice("Sc", ("Sc", "Ta", "Nb"))}
    )
    composition = {"A": {"Sr": 0.5, "La": 0.5}, "B": dict.fromkeys(("Sc", "Ta", "Nb"), 1 / 3)}
    states = lattice.enumerate(composition)
    model = TabulatedHamiltonian(RandomHamiltonian(lattice, seed=4), states)
    weights = boltzmann(model.energies, 3000.0)
    chosen = sticky_chains(weights, 800, 4, 0.3, np.random.default_rng(2))
    arrays = {"occupation": states[chosen], "energy": model.energies[chosen]}
    run = Run((point_dataset(arrays, {"temperature": 3000.0}),), lattice)
    sqs = generate_sqs(lattice, composition, (4.1,), n=3)
    found = compare_sqs(run, sqs, model, n_shells=1, orders=(), n_random=2000)
    assert found.random_exact
    names = {q.quantity.name for q in found.quantities if q.quantity.kind == "warren-cowley"}
    assert {"A: Sr–La shell 1", "B: Sc–Nb shell 1", "A, B: La–Nb shell 1"} <= names
    assert not any(name.startswith("B: Ta–Ta") for name in names)
    table = warren_cowley_series(lattice, states, 1)
    for row in found.quantities:
        if row.quantity.kind != "warren-cowley":
            continue
        pair = row.quantity.name.removesuffix(" shell 1")
        values = table.isel(shell=0).sel(pair=pair).to_numpy()[0]
        point = row.points[0]
        assert abs(point.ensemble.mean - weights @ values) < 4.5 * point.ensemble.error
        assert row.random_mean == pytest.approx(values.mean(), abs=1e-12)
    energy = found.quantity("energy")
    assert energy.random_mean == pytest.approx(model.energies.mean() / lattice.n_sites)


def test_points_of_one_temperature_are_chains_of_one_ensemble():
    exact = toy(UNLIKE)
    there, back = exact.run((1500.0,), seed=1), exact.run((1500.0,), n_draws=500, seed=2)
    both = Run((*there.points, *back.points), exact.lattice)
    row = compared(exact, both, structures(UNLIKE)).quantity("energy")
    (point,) = row.points
    assert point.n_draws == 500 * 8
    z = (point.ensemble.mean - exact.mean(1500.0)) / point.ensemble.error
    assert abs(z) < 4


def test_correlated_rungs_are_not_counted_as_independent():
    """Two temperatures whose draws are the very same numbers: errors add, they do not cancel."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(500, 4))
    rungs = [
        representative.node(beta, Series(values, noise), converged=True)
        for beta, values in ((1.0, noise), (2.0, noise))
    ]
    random = np.random.default_rng(1)
    same = representative._noise(rungs, random)[:, :, 0].mean(axis=1)
    opposite = rungs[1]._replace(deviation=-rungs[1].deviation)
    none = representative._noise([rungs[0], opposite], random)[:, :, 0].mean(axis=1)
    assert same.std() == pytest.approx(1 / np.sqrt(2000), rel=0.15)
    assert none.std() < 0.05 * same.std()


def test_errors_of_temperatures_from_few_effective_samples_are_not_too_small(record_property):
    """100 repeats of 7 effective samples at either temperature, whose slopes are as uncertain.

    A linear error had 14 of 77 z beyond 2 and their rms at 1.44; with 3.5 expected, more than 12
    have a probability of 1e-4.
    """
    exact = toy(LIKE)
    level = float(exact.model.energy(structures(LIKE).occupations).mean()) / 12
    true = brentq(lambda t: exact.mean(t) - level, 1e3, 1e6)
    every = Series(exact.energies[None] / 12, exact.energies[None])
    random = representative.node(0.0, every, converged=True, exact=True)
    scores, unknown = [], 0
    for seed in range(100):
        run = exact.run((true * 1.3, true / 1.4), n_draws=20, stay=0.85, seed=seed)
        nodes = [random]
        for point in run.points:
            energy = point["energy"].to_numpy()
            beta = 1.0 / (kB * float(point["temperature"]))
            nodes.append(representative.node(beta, Series(energy / 12, energy), converged=False))
        found = representative.crossings(nodes, level)
        unknown += sum(math.isinf(one.error) for one in found)
        scores += [(one.temperature - true) / one.error for one in found[-1:]]
    scores = np.array(scores)
    beyond, rms = int((np.abs(scores) > 2).sum()), float(np.sqrt((scores**2).mean()))
    record_property("z", f"rms {rms:.2f} of {len(scores)}, {beyond} beyond 2, {unknown} unknown")
    assert len(scores) > 60
    assert beyond <= 12
    assert 0.5 < rms < 1.4


def test_too_few_effective_samples_give_a_temperature_without_an_error():
    exact, sqs = toy(LIKE), structures(LIKE)
    level = float(exact.model.energy(sqs.occupations).mean()) / 12
    true = brentq(lambda t: exact.mean(t) - level, 1e3, 1e6)
    run = exact.run((true / 1.4, true * 1.3), n_draws=4, n_chains=1, stay=0.0, seed=3)
    found = compared(exact, run, sqs, n_shells=0)
    (one,) = found.quantity("energy").representative
    assert math.isinf(one.error)
    assert not one.resolved
    assert "too few for an error" in found.statement
    assert found.to_dict()["quantities"][0]["representative"][0]["error"] is None


def test_chains_that_do_not_mix_are_flagged_everywhere():
    exact = toy(UNLIKE)
    run = exact.run((1500.0, 3000.0, 6000.0))
    low = int(np.argmin(exact.energies))
    stuck = run.points[0].copy(deep=True)
    stuck["occupation"].values[:, 0] = exact.states[low]
    stuck["energy"].values[:, 0] = exact.energies[low]
    found = compared(exact, Run((stuck, *run.points[1:]), exact.lattice), structures(UNLIKE))
    verdicts = [point.ensemble.converged for point in found.quantity("energy").points]
    assert verdicts == [False, True, True]
    assert not found.converged
    assert "did not converge at 1,500 K" in found.statement
    plain = found.to_dict()["quantities"][0]["points"]
    assert "R-hat" in plain[0]["why"]
    assert "why" not in plain[1]
    # An interpolation that rests on such a point says so.
    level = exact.mean(2000.0)
    crossing = representative.crossings(
        [representative.node(1.0, Series(np.full((4, 1), level - 1), np.zeros((4, 1))), False),
         representative.node(2.0, Series(np.full((4, 1), level + 1), np.zeros((4, 1))), True)],
        level,
    )  # fmt: skip
    assert not crossing[0].converged
