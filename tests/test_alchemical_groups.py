"""Groups of sites that share one λ, and energies between species; nothing here is statistical."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from alchemc import AlchemicalMACE, ClusterExpansion, PairHamiltonian, builders
from alchemc.ensembles.alchemical import Groups, MixedModel
from alchemc.errors import InputError
from toys import RandomHamiltonian, chain_lattice, couplings_between


def two_sublattices():
    return builders.perovskite(("Sr", "Ba", "La"), ("Ti", "Zr"), "O", a=4.0, size=(2, 1, 1))


def pair_model(lattice, n_shells=2):
    couplings = {
        (a, b): couplings_between(lattice, a, b, n_shells, seed=3)
        for a, b in itertools.combinations_with_replacement(lattice.names, 2)
    }
    field = 0.1 * np.random.default_rng(4).normal(size=np.asarray(lattice.allowed).shape)
    return PairHamiltonian(lattice, couplings, onsite=field, constant=0.7)


def random_weights(lattice, rng, n=None):
    shape = np.asarray(lattice.allowed).shape
    drawn = rng.exponential(size=shape if n is None else (n, *shape)) * np.asarray(lattice.allowed)
    return drawn / drawn.sum(axis=-1, keepdims=True)


# ---- groups ----------------------------------------------------------------------------------


def test_each_site_is_a_group_unless_it_has_one_species():
    lattice = chain_lattice((("Sc", "Ta"), 3), (("O",), 2), (("Sr", "Ba", "La"), 1))
    groups = Groups.each_site(lattice)
    assert groups.members == ((0,), (1,), (2,), (5,))
    assert groups.n_species.tolist() == [2, 2, 2, 3]
    assert Groups.each_site(lattice, "s2").names == ("site 5",)


def test_lam_puts_groups_between_species_and_leaves_other_sites_at_their_vertex():
    lattice = chain_lattice((("Sr", "Ba", "La"), 4))
    groups = Groups.of(lattice, {"a": [3, 1], "b": [0]})
    weights = np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    lam = groups.lam(weights, np.array([0, 0, 2, 0]))
    assert lam.tolist() == [[0, 1, 0], [0.2, 0.3, 0.5], [0, 0, 1], [0.2, 0.3, 0.5]]
    batch = groups.lam(np.stack([weights, weights]), np.array([0, 0, 2, 0]))
    assert np.array_equal(batch, [lam, lam])


def test_gather_sums_over_members():
    lattice = chain_lattice((("Sr", "Ba", "La"), 4))
    groups = Groups.of(lattice, {"a": [3, 1], "b": [0]})
    gradient = np.arange(24.0).reshape(2, 4, 3)
    expected = np.stack([gradient[:, 1] + gradient[:, 3], gradient[:, 0]], axis=1)
    assert np.array_equal(groups.gather(gradient), expected)


def test_states_and_occupations_are_inverse():
    lattice = chain_lattice((("Sr", "Ba", "La"), 4))
    groups = Groups.of(lattice, {"a": [3, 1], "b": [0]})
    states = np.array(list(itertools.product(range(3), range(3))))
    occupations = groups.occupations(states, np.array([0, 0, 2, 0]))
    assert np.array_equal(groups.states(occupations), states)
    assert (occupations[:, 2] == 2).all()
    assert np.array_equal(
        groups.lam(groups.vertices(states), occupations), lattice.weights(occupations)
    )


def test_members_that_differ_are_refused_with_their_group():
    groups = Groups.whole(chain_lattice((("Sc", "Ta"), 3)))
    with pytest.raises(InputError, match="group 's0' hold different species"):
        groups.states(np.array([[0, 0, 1]]))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "no group"),
        ({"a": []}, "has no sites"),
        ({"a": [0, 1], "b": [1]}, "site 1 is in group 'b' and once more"),
        ({"a": [0, 0]}, "site 0"),
        ({"a": [99]}, "site 99 does not exist"),
        ({"a": [1, 2]}, "several sublattices"),
        ({"a": [4]}, "one species"),
    ],
)
def test_groups_that_make_no_sense_are_refused(groups, message):
    lattice = chain_lattice((("Sc", "Ta"), 2), (("Sr", "Ba"), 2), (("O",), 1))
    with pytest.raises(InputError, match=message):
        Groups.of(lattice, groups)


# ---- energies between species ------------------------------------------------------------------


@pytest.mark.parametrize("size", [(2, 1, 1), (1, 1, 1)], ids=["two cells", "own images"])
def test_a_lattice_energy_at_any_lambda_is_the_mean_over_independent_sites(size):
    lattice = builders.perovskite(("Sr", "Ba", "La"), ("Ti", "Zr"), "O", a=4.0, size=size)
    model = pair_model(lattice)
    states = lattice.enumerate()
    lam = random_weights(lattice, np.random.default_rng(1))
    chance = np.prod(lam[np.arange(lattice.n_sites), states.astype(int)], axis=1)
    found = model.mixed_energy(lam)
    assert found.energy == pytest.approx(float(chance @ model.energy(states)), abs=1e-12)


def test_a_lattice_energy_at_a_vertex_is_that_of_the_occupation_with_its_gradient():
    lattice = two_sublattices()
    model = pair_model(lattice)
    states = lattice.enumerate()[::5]
    energies, gradients = model.mixed_energies(lattice.weights(states))
    expected = model.energy_and_gradient(states)
    assert np.abs(energies - expected[0]).max() < 1e-12
    assert np.abs(gradients - expected[1]).max() < 1e-12


def test_a_cluster_expansion_with_triplets_mixes_too():
    from ase.build import bulk
    from icet import ClusterExpansion as IcetExpansion
    from icet import ClusterSpace

    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3, size=(2, 1, 1))
    space = ClusterSpace(bulk("MgO", "rocksalt", a=4.3), [5.0, 4.0], [["Mg", "Ca"], ["O"]])
    parameters = 0.05 * np.random.default_rng(0).normal(size=len(space))
    model = ClusterExpansion.from_icet(IcetExpansion(space, parameters), lattice)
    states = lattice.enumerate()
    lam = random_weights(lattice, np.random.default_rng(2))
    chance = np.prod(lam[np.arange(lattice.n_sites), states.astype(int)], axis=1)
    assert model.mixed_energy(lam).energy == pytest.approx(float(chance @ model.energy(states)))


def test_the_gradient_at_any_lambda_is_the_slope_of_the_energy():
    lattice = two_sublattices()
    model = pair_model(lattice)
    rng = np.random.default_rng(5)
    lam = random_weights(lattice, rng)
    direction = rng.normal(size=lam.shape) * np.asarray(lattice.allowed)
    ends = [model.mixed_energy(lam + s * 1e-5 * direction).energy for s in (1, -1)]
    slope = float((model.mixed_energy(lam).gradient * direction).sum())
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)
    ahead, behind = (model.mixed_energy(lam + s * 1e-4 * direction).gradient for s in (1, -1))
    curvature = model.hessian_product(lam, direction)
    assert np.abs((ahead - behind) / 2e-4 - curvature).max() < 1e-8


def test_energies_of_replicas_do_not_depend_on_their_company():
    lattice = builders.perovskite(("Sr", "Ba", "La"), ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 1))
    model = pair_model(lattice)
    lam = random_weights(lattice, np.random.default_rng(6), n=17)
    together = model.mixed_energies(lam)
    for row in range(17):
        alone = model.mixed_energies(lam[row : row + 1])
        assert alone[0][0] == together[0][row]
        assert np.array_equal(alone[1][0], together[1][row])


def test_large_cells_whose_clusters_are_not_remembered_have_the_same_energies(monkeypatch):
    lattice = two_sublattices()
    lam = random_weights(lattice, np.random.default_rng(6), n=3)
    expected = pair_model(lattice).mixed_energies(lam)
    monkeypatch.setattr("alchemc.potentials.multilinear._MOST_REMEMBERED", 0)
    found = pair_model(lattice).mixed_energies(lam)
    assert np.allclose(found[0], expected[0], atol=1e-12)
    assert np.allclose(found[1], expected[1], atol=1e-12)


def test_a_mixed_model_gathers_slopes_of_groups_and_counts_its_calls():
    lattice = two_sublattices()
    groups = Groups.of(lattice, {"A": [0, 1], "B": [2]})
    model = MixedModel(pair_model(lattice), groups)
    weights = np.array([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    occupation = np.zeros(4, int)
    energy, slopes, forces = model.evaluate(weights, occupation)
    assert forces is None
    for g, k in [(0, 2), (1, 1)]:
        up, down = (weights + s * 1e-6 * np.eye(2)[g][:, None] * np.eye(3)[k] for s in (1, -1))
        difference = model.evaluate(up, occupation)[0] - model.evaluate(down, occupation)[0]
        assert slopes[g, k] == pytest.approx(difference / 2e-6, abs=1e-8)
    both = model.evaluate_all(np.stack([weights] * 3), np.stack([occupation] * 3))
    assert both[0].tolist() == [energy] * 3
    assert model.calls == 8


def test_mace_at_a_vertex_has_the_energy_of_the_occupation():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 1, 1))
    model = MixedModel(AlchemicalMACE(lattice, "bundled", device="cpu"), Groups.each_site(lattice))
    states = np.array([[0, 1], [1, 1]])
    occupations = np.zeros((2, 2), int)
    exact = model.vertex_energy(states, occupations)
    found, _, _ = model.evaluate_all(model.groups.vertices(states), occupations)
    assert np.abs(found - exact).max() < 1e-8
    moved = lattice.displaced_positions(0.05, 1)
    energy, _, forces = model.evaluate(
        model.groups.vertices(states[0]), states[0], moved, lattice.atoms.cell.array, forces=True
    )
    there = model.hamiltonian.at(moved).energy_forces_stress(states[0])
    assert energy == pytest.approx(float(there[0]), abs=1e-8)
    assert np.abs(forces - there[1]).max() < 1e-8


def test_both_mixing_rules_agree_at_end_members_and_differ_between():
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 1, 1))
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    ours, paper = (MixedModel(mace, Groups.whole(lattice), rule) for rule in ("sites", "paper"))
    at = lambda model, x: model.evaluate(np.array([[1 - x, x]]), np.zeros(2, int))[0]  # noqa: E731
    assert at(ours, 0.0) == pytest.approx(at(paper, 0.0), abs=1e-8)
    assert at(ours, 1.0) == pytest.approx(at(paper, 1.0), abs=1e-8)
    assert abs(at(ours, 0.5) - at(paper, 0.5)) > 1e-3


def test_an_energy_model_of_occupations_alone_is_refused():
    lattice = chain_lattice((("Sc", "Ta"), 3))
    with pytest.raises(InputError, match="RandomHamiltonian has no mixed_energy"):
        MixedModel(RandomHamiltonian(lattice, 1), Groups.each_site(lattice))
    other = chain_lattice((("Sc", "Ta"), 4))
    with pytest.raises(InputError, match="lattice differs"):
        MixedModel(PairHamiltonian(lattice, []), Groups.each_site(other))
    with pytest.raises(InputError, match="mixing"):
        MixedModel(PairHamiltonian(lattice, []), Groups.each_site(lattice), "whole")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forces": True}, "no forces"),
        ({"mixing": "paper"}, "mixing is 'paper'"),
        ({"lam": np.ones((4, 2))}, "has shape"),
        ({"lam": np.ones((4, 3))}, "not zero for a species"),
    ],
)
def test_a_lattice_energy_refuses_what_it_has_not(change, message):
    lattice = two_sublattices()
    arguments = {"lam": lattice.weights(np.zeros(4, int))} | change
    with pytest.raises(InputError, match=message):
        pair_model(lattice).mixed_energy(**arguments)
