"""Free energies of vertices from continuous λ: against enumeration and closed forms.

Statistical tests have fixed seeds and compare in units of the reported error. Every single z must
stay below 4; the standard deviation of z over repeats must lie within 0.75 to 1.3, which honest
errors miss with a probability below 1 %.
"""

from __future__ import annotations

import numpy as np
import pytest

from alchemc import Canonical, PairHamiltonian, SemiGrandCanonical, VarianceConstrained, builders
from alchemc.analysis import state_free_energies
from alchemc.ensembles import (
    CompactMap,
    Groups,
    LambdaIntegrator,
    LambdaTrajectory,
    SoftmaxMap,
    lambda_profile,
    vertex_log_weights,
)
from alchemc.errors import InputError
from lambda_cases import binary, pair_model, two_sublattices
from test_lambda_trajectory import MixedSprings, springs
from toy_crystal import ring

T = 4000.0


def substitution():
    """Four sites that turn together, one of two kinds."""
    model = binary((2, 2, 1))
    ensemble = SemiGrandCanonical(model.lattice, T, {"Zr": -0.3})
    return LambdaTrajectory(model, ensemble, groups=Groups.whole(model.lattice)), 2


def three_species():
    """One group of three species beside single sites of another sublattice."""
    model = two_sublattices()
    groups = Groups.of(model.lattice, {"A": [0, 1], "first": [2], "second": [3]})
    ensemble = SemiGrandCanonical(model.lattice, T, {"A": {"Sr": 0.1}})
    return LambdaTrajectory(model, ensemble, groups=groups, simplex=SoftmaxMap()), 12


def kept_composition():
    """Two Zr on four sites, each with a λ of its own."""
    model = binary((2, 2, 1))
    return LambdaTrajectory(model, Canonical(model.lattice, T)), 6


def stiff_composition():
    """A composition held by a quadratic term."""
    model = binary((2, 1, 1))
    ensemble = VarianceConstrained(model.lattice, T, phi={"B": {"Ti": -1.0}}, kappa=2.0)
    return LambdaTrajectory(model, ensemble), 4


def flattened():
    """Biases of three species, one of which is held back by them."""
    lattice = builders.perovskite(("Sr", "Ba", "La"), "Ti", "O", a=4.0, size=(2, 1, 1))
    model = pair_model(lattice, 0.02)
    plain = LambdaTrajectory(
        model, SemiGrandCanonical(lattice, T, {"La": 0.5}), groups=Groups.whole(lattice)
    )
    return plain.flattened(np.zeros(2, int), n_updates=100, n_replicas=12, seed=3), 3


CASES = [substitution, three_species, kept_composition, stiff_composition, flattened]


def exact(trajectory, found):
    """−k_BT ln of the weights of the vertices at fixed positions, relative to the first."""
    ensemble, groups = trajectory.ensemble, trajectory.groups
    start = np.zeros(trajectory.hamiltonian.lattice.n_sites, dtype=int)
    states = groups.occupations(found["vertex_state"].values, start)
    energies = trajectory.hamiltonian.energy(states)
    log = ensemble.log_density(energies, states)
    return -(log - log[0]) / ensemble.beta


def run(trajectory, *, n_draws, n_replicas, seed):
    start = np.zeros(trajectory.hamiltonian.lattice.n_sites, dtype=int)
    if isinstance(trajectory.ensemble, Canonical):
        start[::2] = 1
    return trajectory.run(
        start, n_draws=n_draws, n_replicas=n_replicas, warmup=40, seed=seed, vertices=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_vertices_have_their_enumerated_free_energies_and_errors_are_honest(case, record_property):
    trajectory, n_vertices = case()
    found = run(trajectory, n_draws=100, n_replicas=200, seed=1)
    truth = exact(trajectory, found)
    assert len(truth) == n_vertices
    for power in (1.0, 8.0, None):
        free = state_free_energies(vertex_log_weights(found, power), T)
        z = (free.free_energies - truth)[1:] / free.errors[1:]
        record_property(f"z {power}", z.tolist())
        assert np.abs(z).max() < 4.0
    repeats = []
    for part in range(50):
        chains = found.isel(chain=slice(4 * part, 4 * part + 4))
        free = state_free_energies(vertex_log_weights(chains), T)
        repeats.append((free.free_energies - truth)[1:] / free.errors[1:])
    spread = float(np.std(repeats, axis=0).mean())
    record_property("sd of z", spread)
    assert 0.75 < spread < 1.3


def largest_z(found, truth):
    free = state_free_energies(vertex_log_weights(found, 4.0), T)
    return np.abs((free.free_energies - truth)[1:] / free.errors[1:]).max()


def test_without_the_bias_the_potential_or_the_measure_vertices_have_other_free_energies():
    biased, _ = flattened()
    found = run(biased, n_draws=100, n_replicas=60, seed=2)
    truth = exact(biased, found)
    assert largest_z(found, truth) < 4.0
    broken = found.assign(potential=found["potential"] - found["bias"])
    assert largest_z(broken, truth) > 10.0
    kept, _ = kept_composition()
    found = run(kept, n_draws=100, n_replicas=60, seed=2)
    truth = exact(kept, found)
    assert largest_z(found, truth) < 4.0
    energy_alone = found.assign(potential=0.0 * found["potential"])
    assert largest_z(energy_alone, truth) > 10.0


def test_the_measure_of_kept_counts_enters_where_one_species_is_rarer(record_property):
    # Of unlike groups, the measure of what is kept favours vertices that have few companions.
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(4, 1, 1))
    model = pair_model(lattice, 0.03)
    groups = Groups.of(lattice, {"pair": [0, 1], "one": [2], "other": [3]})
    trajectory = LambdaTrajectory(model, Canonical(lattice, T), groups=groups)
    found = trajectory.run(
        np.array([0, 0, 1, 1]), n_draws=150, n_replicas=80, warmup=40, seed=4, vertices=True
    )
    truth = exact(trajectory, found)
    assert len(truth) == 2  # Zr on the pair, or on the two others
    z = largest_z(found, truth)
    record_property("z", z)
    assert z < 4.0


def test_atoms_that_move_are_integrated_over(record_property):
    lattice = ring((("Sc", "Ta"), 1), (("O",), 1))
    ensemble = SemiGrandCanonical(lattice, 800.0, {"Ta": 0.1})
    found = LambdaTrajectory(
        MixedSprings(lattice, springs()), ensemble, positions=True, fix_centre=False,
        integrator=LambdaIntegrator("hmc", 8),
    ).run(np.array([0]), n_draws=120, n_replicas=40, warmup=60, seed=3, vertices=True)  # fmt: skip
    free = state_free_energies(vertex_log_weights(found), 800.0)
    truth = -0.1 - 1.5 / ensemble.beta * np.log(2.0 / 5.0)
    z = (free.free_energies[1] - truth) / free.errors[1]
    record_property("z", float(z))
    assert abs(z) < 4.0
    assert found.attrs["energy_calls"] == 120 * 40 * 2


def test_energies_of_vertices_at_fixed_positions_are_evaluated_once():
    found = run(substitution()[0], n_draws=3, n_replicas=2, seed=0)
    assert found.attrs["energy_calls"] == 2
    assert found["vertex_potential"].shape == (3, 2, 2)
    assert found.attrs["warm_up_gradient_calls"] > found.attrs["gradient_calls"]


def test_a_profile_leaves_out_what_the_map_does_not_reach(record_property):
    lattice = builders.perovskite(("Sr", "Ba", "La"), "Ti", "O", a=4.0, size=(1, 1, 1))
    flat = LambdaTrajectory(
        PairHamiltonian(lattice, []), SemiGrandCanonical(lattice, T, {}), simplex=CompactMap(c=1.0)
    )
    found = flat.run(np.zeros(1, int), n_draws=150, n_replicas=100, warmup=30, seed=5)
    profile = lambda_profile(found, n_bins=12)
    value, error = profile.free_energy.values, profile.error.values
    known = np.isfinite(value)
    # The largest λ of three species is e²/(2 + e²) = 0.787.
    assert known.tolist() == 10 * [True] + 2 * [False]
    z = value[known] / error[known]
    record_property("z", z.tolist())
    assert np.abs(z).max() < 4.0


def test_a_map_of_ones_own_has_to_be_given_to_a_profile():
    class Own(CompactMap):
        name = "own"

    trajectory, _ = substitution()
    model, ensemble, groups = trajectory.hamiltonian, trajectory.ensemble, trajectory.groups
    found = LambdaTrajectory(model, ensemble, groups=groups, simplex=Own()).run(
        np.zeros(4, int), n_draws=20, n_replicas=2, seed=0
    )
    with pytest.raises(InputError, match=r"map is 'own'.*give it as simplex="):
        lambda_profile(found)
    assert lambda_profile(found, simplex=Own()).sizes["bin"] == 20
    with pytest.raises(InputError, match="give the map of the trajectory"):
        lambda_profile(found, simplex=CompactMap)


def test_flattening_at_kept_counts_comes_to_rest_where_they_leave_lambda():
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 1))
    free = LambdaTrajectory(PairHamiltonian(lattice, []), Canonical(lattice, T))
    # One Zr on four sites: the mean λ of a site is not a half, and no bias is needed.
    start = np.array([0, 0, 0, 1])
    flat = free.flattened(start, n_updates=150, n_replicas=40, seed=6)
    kT = T * 8.617e-5
    linear = flat.biases.to_arrays()["linear"][:, 1] - flat.biases.to_arrays()["linear"][:, 0]
    assert np.abs(linear).max() < 0.5 * kT


def test_too_many_vertices_odd_powers_and_runs_without_vertices_are_refused():
    model = binary((2, 2, 2))
    trajectory = LambdaTrajectory(model, SemiGrandCanonical(model.lattice, T, {}))
    with pytest.raises(InputError, match=r"8 groups have 256 vertices.*64 at most"):
        trajectory.run(np.zeros(8, int), n_draws=2, vertices=True)
    found = trajectory.run(np.zeros(8, int), n_draws=2)
    with pytest.raises(InputError, match="run it with vertices=True"):
        vertex_log_weights(found)
    found = run(substitution()[0], n_draws=2, n_replicas=1, seed=0)
    for power in (0.5, "4", np.nan, 1e6):
        with pytest.raises(InputError, match=r"power is .*; give a number from 1 to 1000"):
            vertex_log_weights(found, power)
