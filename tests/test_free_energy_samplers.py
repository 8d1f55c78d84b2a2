"""Free energies from what the samplers store, by every route, against enumeration.

Bounds on |z| are 4.5 at fixed seeds: a false alarm in 1e-5 for each.
"""

import warnings

import numpy as np
import pytest

from alchemc import (
    Canonical,
    PairHamiltonian,
    RandomFlip,
    RandomSwap,
    SemiGrandCanonical,
    Tempering,
    VarianceConstrained,
    WangLandau,
    sample,
)
from alchemc.analysis import free_energy, observations, wang_landau_free_energy
from alchemc.analysis.plots import (
    plot_fraction_distribution,
    plot_mixing,
    plot_phase_diagram,
)
from alchemc.analysis.stability.free_energies import error_of
from alchemc.errors import InputError
from analysis_cases import perovskite
from free_energy_cases import exact_free_energies


@pytest.fixture(scope="module")
def cell():
    """Lattice, Hamiltonian, all states and their energies."""
    lattice = perovskite(2, 2, 2)
    model = PairHamiltonian(lattice, [{("Sc", "Ta"): -0.05, ("Ta", "Ta"): 0.01}])
    states = lattice.enumerate()
    return lattice, model, states, model.energy(states)


def starts(lattice, n_second, n=4):
    rng = np.random.default_rng(7)
    return lattice.random({"B": {"Sc": 1 - n_second / 8, "Ta": n_second / 8}}, rng, n)


def largest_z(free, cell):
    lattice, _, states, energies = cell
    error = error_of(free.replicates["free_energy"])
    apart = free.free_energy - exact_free_energies(free, lattice, states, energies)
    known = (error > 1e-12) & ~(free.effective < 10)
    assert known.any()
    return float(np.abs(apart[known] / error[known]).max())


def flipped(cell, ensemble, seed):
    lattice, model, _, _ = cell
    options = {"n_steps": 16000, "thin": 8, "warmup": 400, "seed": seed}
    return sample(RandomFlip(model, ensemble), starts(lattice, 4), **options)


def test_semi_grand_and_constrained_runs_agree_alone_and_together(cell, record_property):
    lattice = cell[0]
    with warnings.catch_warnings(action="ignore"):  # the charge fluctuates
        semi = [
            flipped(cell, SemiGrandCanonical(lattice, t, {"B": {"Ta": mu}}), n)
            for n, (t, mu) in enumerate(
                (t, mu) for t in (900.0, 1300.0) for mu in (-0.4, -0.15, 0.05, 0.3)
            )
        ]
        held = [
            flipped(cell, VarianceConstrained(lattice, 1100.0, {"B": {"Sc": phi}}, 4.0), 20 + n)
            for n, phi in enumerate(np.arange(-2.1, 0.3, 0.4))
        ]
    for name, runs in (("semi-grand", semi), ("constrained", held), ("both", semi + held)):
        z = largest_z(free_energy(runs), cell)
        record_property(f"z {name}", z)
        assert z < 4.5


def test_a_ladder_is_hung_on_random_arrangements(cell, record_property):
    lattice, model, _, _ = cell
    rungs = [Canonical(lattice, t) for t in (700.0, 1200.0, 2500.0, 8000.0)]
    ladder = Tempering(RandomSwap(model, rungs[0]), rungs, steps=8)
    runs = [sample(ladder, starts(lattice, n), n_steps=1500, warmup=100, seed=n) for n in (3, 4)]
    free = free_energy(runs, anchor=model)
    z = largest_z(free, cell)
    record_property("z", z)
    assert z < 4.5
    with pytest.raises(InputError, match="another lattice"):
        free_energy(runs, anchor=PairHamiltonian(perovskite(4, 2, 2), [{("Sc", "Ta"): -0.05}]))


def test_wang_landau_is_absolute(cell, record_property):
    lattice, model, _, _ = cell
    pairs = []
    for n in (2, 4):
        composition = {"B": {"Sc": 1 - n / 8, "Ta": n / 8}}
        density = WangLandau(model, "swap", composition).run(seed=n, n_repeats=8)
        pairs.append((composition, density))
    free = wang_landau_free_energy(lattice, pairs, [800.0, 1600.0])
    error = error_of(free.replicates["free_energy"])
    apart = free.free_energy - exact_free_energies(free, *cell[:1], *cell[2:])
    record_property("z", (apart / np.maximum(error, 1e-12)).tolist())
    assert (np.abs(apart) < 8 * error + 1e-9).all()  # the error is that of a few repeats


def test_blocks_of_a_run_are_read_one_after_the_other(cell):
    lattice = cell[0]
    with warnings.catch_warnings(action="ignore"):
        run = flipped(cell, SemiGrandCanonical(lattice, 1300.0, {"B": {"Ta": 0.0}}), 3)
    whole = observations(run)
    point = run.points[0]
    parts = [
        observations(type(run)((point.isel(draw=part),), lattice))
        for part in (slice(0, 700), slice(700, None))
    ]
    joined = parts[0].followed_by(parts[1])
    np.testing.assert_array_equal(joined.points[0].energy, whole.points[0].energy)
    np.testing.assert_array_equal(joined.points[0].counts, whole.points[0].counts)
    counts = lattice.counts(point.occupation.values.reshape(-1, 8)).reshape(-1, 4, 2)
    np.testing.assert_array_equal(whole.points[0].counts, counts)
    with pytest.raises(InputError, match="blocks of one run"):
        parts[0].followed_by(parts[1] + parts[1])


def test_figures_are_drawn_of_free_energies_and_diagrams():
    from alchemc.analysis import phase_diagram
    from test_phase_diagram import constrained

    diagram = phase_diagram(constrained((900.0, 1150.0), n_draws=60), resamples=20)
    axes = plot_phase_diagram(diagram).axes[0]
    assert axes.get_xlabel() == "Fraction of Ta on B"
    assert {text.get_text() for text in axes.get_legend().get_texts()} >= {"binodal", "spinodal"}
    labels = plot_mixing(diagram.free).axes[0].get_legend().get_texts()
    assert [text.get_text() for text in labels] == ["900 K", "1,150 K"]
    figure = plot_fraction_distribution(diagram.free, [900.0])
    assert len(figure.axes[0].lines) == 3  # the distribution and the means of two peaks
    hot = phase_diagram(constrained((1900.0,), n_draws=60), resamples=20)
    with pytest.raises(InputError, match="no boundary to draw"):
        plot_phase_diagram(hot)
