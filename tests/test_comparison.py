"""Comparison of kernels: counts, costs, effective samples, table, figure and bad input."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from alchemc import Canonical, GibbsWithGradients, PathAuxiliary, RandomSwap, sampler
from alchemc.errors import InputError
from alchemc.sampler import Comparison, compare
from alchemc.sampler._comparison_layout import with_error
from alchemc.sampler._efficiency import ess_with_error
from alchemc.sampler.comparison import relative_costs
from alchemc.statistics import smallest_ess
from toys import RandomHamiltonian, chain_lattice

LATTICE = chain_lattice((("Sc", "Ta"), 8))
START = np.array([0, 1] * 4, dtype=np.int8)


class Counting(RandomHamiltonian):
    """Counts the replicas that it evaluates."""

    def __init__(self, *args):
        super().__init__(*args)
        self.energies = self.gradients = 0

    def energy(self, occupations):
        self.energies += len(occupations)
        return super().energy_and_gradient(occupations)[0]

    def energy_and_gradient(self, occupations):
        self.gradients += len(occupations)
        return super().energy_and_gradient(occupations)


class WithHessian(RandomHamiltonian):
    def hessian_product(self, lam, direction):
        return (self.pair @ direction.ravel()).reshape(lam.shape)


def order(occupations):
    """Staggered order; the chain's sites alternate."""
    return (2.0 * occupations - 1.0) @ np.tile([1.0, -1.0], 4)


def kernels(hamiltonian=None, temperature=3000.0):
    hamiltonian = hamiltonian or RandomHamiltonian(LATTICE, 1, 0.1)
    ensemble = Canonical(LATTICE, temperature)
    return {
        "swaps": RandomSwap(hamiltonian, ensemble),
        "informed": GibbsWithGradients(hamiltonian, ensemble),
        "paths": PathAuxiliary(hamiltonian, ensemble),
    }


@pytest.fixture(scope="module")
def comparison():
    return compare(
        kernels(), START, n_steps={"swaps": 6000, "informed": 3000, "paths": 1500}, n_replicas=4,
        warmup={"swaps": 10, "informed": 0, "paths": 50}, gradient_cost=2.0, seed=3,
        observables={"order": lambda o: order(o) ** 2},
    )  # fmt: skip


def test_counts_are_the_evaluations_that_the_model_saw():
    for name in ("swaps", "informed", "paths"):
        model = Counting(LATTICE, 1, 0.1)
        chosen = {name: kernels(model)[name]}
        found = compare(chosen, START, n_steps=60, n_replicas=3, warmup=20, gradient_cost=2.5)
        (row,) = found.rows
        assert row.sampling.energy_calls + row.warm_up.energy_calls == model.energies
        assert row.sampling.gradient_calls + row.warm_up.gradient_calls == model.gradients
        for part in (row.sampling, row.warm_up):
            assert part.cost == part.energy_calls + 2.5 * part.gradient_calls
        assert row.warm_up_steps == 20
        assert row.n_steps == 60


def test_figures_of_merit_follow_from_the_samples():
    chosen = {"swaps": kernels()["swaps"]}
    found = compare(
        chosen, START, n_steps=800, n_replicas=4, thin=2, warmup=30, seed=5,
        observables={"order": order},
    )  # fmt: skip
    run = sampler.sample(
        chosen["swaps"], START, n_steps=800, n_replicas=4, thin=2, warmup=30, seed=5
    )
    (row,) = found.rows
    energies = run.samples.energy.values
    series = order(run.samples.occupation.values.reshape(-1, 8)).reshape(400, 4)
    assert row.observables["energy"].ess == smallest_ess(energies)
    assert row.observables["energy"].mean == pytest.approx(energies.mean())
    assert row.observables["order"].tau == pytest.approx(2 * series.size / smallest_ess(series))
    assert row.ess == min(smallest_ess(energies), smallest_ess(series))
    assert row.observables[row.slowest].ess == row.ess
    assert row.cost_per_sample() == 3200 / row.ess
    assert row.cost_per_sample(warm_up=True) == (3200 + 120 + 4) / row.ess
    assert row.samples_per_second() == row.ess / row.sampling.seconds
    assert row.samples_per_second(warm_up=True) < row.samples_per_second()


def test_kernels_have_streams_of_their_own_and_agree(comparison):
    """Three exact kernels, two observables: |z| of six pairs above 4.5 once in 2 × 10⁴ seeds."""
    means = [row.observables["energy"].mean for row in comparison.rows]
    assert len(set(means)) == 3
    assert 0 < comparison.largest_z() < 4.5
    twice = {"one": kernels()["swaps"], "two": kernels()["swaps"]}
    one, two = compare(twice, START, n_steps=50, n_replicas=2).rows
    assert one.observables["energy"].mean != two.observables["energy"].mean


def test_a_kernel_that_samples_something_else_is_seen(comparison):
    rows = list(comparison.rows)
    energy = rows[1].observables["energy"]
    wrong = {"energy": energy._replace(mean=energy.mean + 9.0 * energy.error)}
    rows[1] = dataclasses.replace(rows[1], observables=wrong)
    found = dataclasses.replace(comparison, rows=tuple(rows))
    assert found.largest_z() > 4
    assert "|z|" in found.table()
    assert "(energy" in found.table()


def test_the_error_of_the_effective_samples_is_their_scatter():
    """60 experiments; the ratio of the mean square error to the scatter has a spread of about 25 %,
    so that the bounds are four of them: a false alarm once in 10⁴."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(60):
        x = rng.normal(size=(600, 4))
        for t in range(1, len(x)):
            x[t] = 0.7 * x[t - 1] + np.sqrt(0.51) * x[t]
        found.append(ess_with_error([x]))
    ess, error = np.array(found).T
    assert 0.5 < np.sqrt((error**2).mean()) / np.log(ess).std() < 2.0
    assert np.isnan(ess_with_error([x[:, :1]])[1])


def test_table_is_aligned_and_fits_the_page(comparison):
    lines = comparison.table().splitlines()
    assert max(map(len, lines)) <= 100
    head, rule, *rows = lines[:5]
    assert head.split()[:2] == ["kernel", "accepted"]
    assert set(rule) == {"-"}
    assert len({len(line) for line in (head, *rows)}) == 1
    for row, line in zip(comparison.rows, rows, strict=True):
        assert line.startswith(row.name)
        assert str(row.sampling.gradient_calls) in line
        assert with_error(row.cost_per_sample(), row.cost_per_sample() * row.ess_error) in line
    text = " ".join(lines)
    assert "a gradient counts 2.00 (given)" in text
    assert "of 6 comparisons" in text
    assert "not converged" not in text


def test_long_names_are_cut_and_what_did_not_converge_is_marked():
    names = ["n" * 70, "m" * 70]
    chosen = dict(zip(names, kernels().values(), strict=False))
    found = compare(chosen, START, n_steps=20, n_replicas=2, observables={"o" * 60: order})
    table = found.table()
    assert max(map(len, table.splitlines())) <= 100
    assert "… *" in table
    assert "not converged" in table
    assert "(measured)" in table


def test_costs_that_were_not_given_are_timed_where_they_are_needed():
    found = compare(kernels(), START, n_steps=20, n_replicas=2)
    assert found.measured == ("gradient",)
    assert 0 < found.gradient_cost < 100
    alone = compare({"swaps": kernels()["swaps"]}, START, n_steps=20, n_replicas=2)
    assert alone.gradient_cost is None
    assert alone.measured == ()


def test_hessian_products_of_a_warm_up_count_at_their_cost():
    hamiltonian = WithHessian(LATTICE, 1, 0.1)
    run = sampler.sample(kernels(hamiltonian)["swaps"], START, n_steps=100, n_replicas=2, warmup=5)
    run.attrs["warm_up"] |= {"hessian_products": 3, "gradient_calls": 2}
    found = Comparison.from_runs({"s": run}, gradient_cost=2.0, hessian_cost=7.0)
    assert found.rows[0].warm_up.cost == 10 + 2 + 2 * 2.0 + 3 * 7.0
    assert "a Hessian product counts 7.00 (given)" in found.table()
    gradient, hessian, seconds = relative_costs(hamiltonian, START, hessian=True)
    assert min(gradient, hessian, seconds) > 0
    unknown = Comparison.from_runs({"s": run}, gradient_cost=2.0)
    assert np.isnan(unknown.rows[0].warm_up.cost)
    assert "–" in unknown.table()
    unknown.plot()


def test_timing_uses_a_view_that_remembers_nothing():
    class Bound(RandomHamiltonian):
        positions, cell, views = np.zeros((8, 3)), np.eye(3), 0

        def at(self, positions, cell):
            assert positions is self.positions
            type(self).views += 1
            return self

    relative_costs(Bound(LATTICE, 1), START)
    assert Bound.views == 1


def test_a_comparison_survives_json(comparison):
    text = json.dumps(comparison.to_dict(), allow_nan=False)
    again = Comparison.from_dict(json.loads(text))
    assert again == comparison
    assert again.table() == comparison.table()


def test_what_is_unknown_survives_json_too():
    found = compare(kernels(), START, n_steps=3, n_replicas=1, gradient_cost=2.0)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["rows"][0]["ess"] is None
    again = Comparison.from_dict(plain)
    assert again.to_dict() == plain
    assert np.isnan(again.largest_z())
    assert "|z|" not in again.table()
    again.plot()


def test_the_figure_shows_every_kernel_with_and_without_warm_up(comparison, tmp_path):
    figure = comparison.plot(tmp_path / "costs.png")
    assert (tmp_path / "costs.png").stat().st_size > 5000
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel().startswith("Energies per effective sample")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["swaps", "informed", "paths"]
    without, with_warm_up = (container.lines[0].get_xdata() for container in axes.containers)
    np.testing.assert_allclose(without, [row.cost_per_sample() for row in comparison.rows])
    assert (with_warm_up > without).all()


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.93, 0.21, "1.9(2)"), (1.93, 0.14, "1.93(14)"), (543.2, 31.0, "540(30)"),
        (-21432.12345, 0.0042, "-21432.123(4)"), (5.0, 7.0, "5(7)"), (0.0, 0.2, "0.0(2)"),
        (2.5e7, 3e5, "2.50(3)e7"), (1e-7, 2e-8, "1.0(2)e-7"), (3.14159, np.nan, "3.14(?)"),
        (np.nan, 1.0, "–"), (0.0, 0.0, "0.00"),
    ],
)  # fmt: skip
def test_numbers_are_written_with_the_error_of_their_last_digits(value, error, text):
    assert with_error(value, error) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernels": {}}, "none"),
        ({"n_steps": {"swaps": 5}}, "no entry for 'informed'"),
        ({"thin": {"swaps": 1, "typo": 1}}, "'typo'"),
        ({"n_steps": 0}, "n_steps"),
        ({"observables": {"energy": order}}, "another name"),
        ({"observables": {"order": 3}}, "function of occupations"),
        ({"observables": {"order": lambda o: o}}, "one real number"),
        ({"observables": {"order": lambda o: np.full(len(o), np.nan)}}, "finite"),
        ({"gradient_cost": 0.0}, "gradient_cost"),
        ({"hessian_cost": np.inf}, "hessian_cost"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(arguments, message):
    usual = {"kernels": kernels(), "n_steps": 8, "n_replicas": 2, "gradient_cost": 2.0}
    with pytest.raises(InputError, match=message) as error:
        compare(occupations=START, **(usual | arguments))
    assert "\n" not in str(error.value)


def test_kernels_of_other_systems_are_refused():
    other = RandomHamiltonian(chain_lattice((("Sc", "Ta"), 6)), 1)
    elsewhere = RandomSwap(other, Canonical(other.lattice, 3000.0))
    with pytest.raises(InputError, match="another lattice"):
        compare(kernels() | {"x": elsewhere}, START, n_steps=5, n_replicas=2)
    hotter = kernels(temperature=4000.0)["swaps"]
    with pytest.raises(InputError, match="another ensemble"):
        compare(kernels() | {"x": hotter}, START, n_steps=5, n_replicas=2)


def test_runs_without_warm_up_or_seconds_are_refused():
    run = sampler.sample(kernels()["swaps"], START, n_steps=10)
    bare = dataclasses.replace(run, attrs={"warm_up": run.attrs["warm_up"]})
    with pytest.raises(InputError, match="seconds"):
        Comparison.from_runs({"bare": bare})
    with pytest.raises(InputError, match="at least one"):
        Comparison.from_runs({})
