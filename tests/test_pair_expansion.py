"""Expansions in the species: against the potential's own derivatives, and on other cells.

No test here is statistical.
"""

from __future__ import annotations

import pickle
from functools import cache

import numpy as np
import pytest

from alchemc import AlchemicalMACE, Lattice, Sublattice, builders
from alchemc.errors import InputError
from alchemc.potentials import PairExpansion, taylor_expansion
from toys import RandomHamiltonian, any_occupations, chain_lattice, quadratic_part

LATTICES = {
    "binary": lambda size: builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=size),
    "vacancies": lambda size: builders.perovskite("Sr", ("Al", "Sc", "X"), "O", a=3.98, size=size),
    "two sublattices": lambda size: builders.perovskite(
        ("Sr", "Ca"), ("Al", "Ti", "Zr"), "O", a=4.0, size=size
    ),
    "spinel": lambda size: builders.spinel(("Mg", "Al"), "O", a=8.08, size=size),
}
COMPOSITIONS = {
    "binary": {"B": {"Sc": 0.5, "Ta": 0.5}},
    "vacancies": {"B": {"Al": 0.5, "Sc": 0.25, "X": 0.25}},
    "two sublattices": {
        "A": {"Sr": 0.5, "Ca": 0.5},
        "B": {"Al": 0.25, "Ti": 0.25, "Zr": 0.5},
    },
    "spinel": {"cation": {"Mg": 1 / 3, "Al": 2 / 3}},
}
SMALL = {"spinel": (1, 1, 1)}
every_lattice = pytest.mark.parametrize("name", LATTICES)


@cache
def potential(name, size=None, displacement=0.0):
    lattice = LATTICES[name](size or SMALL.get(name, (2, 2, 2)))
    positions = lattice.displaced_positions(displacement, seed=1) if displacement else None
    return AlchemicalMACE(lattice, "bundled", device="cpu", positions=positions)


@cache
def expansion(name, size=None, displacement=0.0):
    model = potential(name, size, displacement)
    return taylor_expansion(model, model.lattice.mean_weights(COMPOSITIONS[name]))


def mixed(model, lam):
    return model.mixed_energy(lam, forces=False, stress=False)


@every_lattice
def test_the_expansion_is_the_gradient_and_the_hessian_at_the_mean_composition(name):
    model, surrogate = potential(name), expansion(name)
    lattice = model.lattice
    states = any_occupations(lattice, 4, seed=2)
    point = mixed(model, surrogate.mean)
    for state, energy in zip(states, surrogate.energy(states), strict=True):
        step = lattice.weights(state) - surrogate.mean
        second = (step * model.hessian_product(surrogate.mean, step)).sum()
        expected = point.energy + (point.gradient * step).sum() + second / 2
        assert energy == pytest.approx(expected, abs=2e-5)


@every_lattice
def test_the_expansion_agrees_with_finite_differences_of_the_energy(name):
    model, surrogate = potential(name), expansion(name)
    states = any_occupations(model.lattice, 2, seed=3)
    middle, h = mixed(model, surrogate.mean).energy, 1e-2
    for state, energy in zip(states, surrogate.energy(states), strict=True):
        step = model.lattice.weights(state) - surrogate.mean
        up, down = (mixed(model, surrogate.mean + s * step).energy for s in (h, -h))
        first, second = (up - down) / (2 * h), (up - 2 * middle + down) / h**2
        spread = abs(energy - middle)
        assert energy == pytest.approx(middle + first + second / 2, abs=2e-3 * spread + 1e-4)


@pytest.mark.parametrize(("name", "least"), [("binary", 0.999), ("spinel", 0.995)])
def test_the_expansion_predicts_energies_of_arrangements(name, least):
    model, surrogate = potential(name), expansion(name)
    states = model.lattice.random(COMPOSITIONS[name], np.random.default_rng(1), 8)
    assert np.corrcoef(model.energy(states), surrogate.energy(states))[0, 1] > least


def test_the_site_field_carries_displacements():
    model, surrogate = potential("binary", None, 0.06), expansion("binary", None, 0.06)
    states = model.lattice.random(COMPOSITIONS["binary"], np.random.default_rng(1), 8)
    slopes = mixed(model, surrogate.mean).gradient
    # At λ̄ = ½ a site's own curvature is the same for both species.
    field = surrogate.onsite[:, 1] - surrogate.onsite[:, 0]
    np.testing.assert_allclose(field, slopes[:, 1] - slopes[:, 0], atol=1e-9)
    assert np.ptp(field) > 0.1
    exact = model.energy(states)
    found = [np.corrcoef(exact, s.energy(states))[0, 1] for s in (surrogate, expansion("binary"))]
    assert found[0] > 0.99 > found[1]


# ---- other cells ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "large", "small"),
    [
        ("binary", (4, 4, 4), (2, 2, 2)),
        ("two sublattices", (4, 2, 2), (2, 2, 1)),
        ("spinel", (2, 1, 1), (1, 1, 1)),
    ],
)
def test_in_a_smaller_cell_images_are_folded_exactly(name, large, small):
    ours = potential(name, small)
    expected = expansion(name, small)
    states = any_occupations(ours.lattice, 10, seed=4)
    found = expansion(name, large).on(ours.lattice)
    spread = np.ptp(expected.energy(states))
    np.testing.assert_allclose(found.energy(states), expected.energy(states), atol=1e-3 * spread)


def test_in_a_larger_cell_only_what_lies_beyond_the_small_one_is_missing():
    size = (6, 5, 4)
    moved = expansion("binary", (4, 4, 4)).on(LATTICES["binary"](size))
    expected = expansion("binary", size)
    states = moved.lattice.random(COMPOSITIONS["binary"], np.random.default_rng(1), 10)
    exact, found = expected.energy(states), moved.energy(states)
    assert np.abs(found - exact).max() < 1e-3 * exact.std()


def test_an_expansion_goes_to_another_cell_of_the_same_crystal_only():
    found = expansion("binary")
    with pytest.raises(InputError, match="whole number of the primitive cell"):
        found.on(builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.1, size=(2, 2, 2)))
    with pytest.raises(InputError, match=r"site 0 may hold Ta, Sc where the expansion has Sc, Ta"):
        found.on(builders.perovskite("Sr", ("Ta", "Sc"), "O", a=3.98, size=(2, 2, 2)))
    toy = quadratic_part(RandomHamiltonian(chain_lattice((("Sc", "Ta"), 4)), seed=1))
    with pytest.raises(InputError, match=r"differ one by one .* make one for the other cell"):
        toy.on(toy.lattice)


# ---- expansions by themselves --------------------------------------------------------------


def random_expansion(lattice, seed=1):
    """Couplings that agree from both ends, by translation and pair by pair, and their matrix."""
    rng = np.random.default_rng(seed)
    n, rank = lattice.n_sites, lattice.n_species_max - 1
    home = np.arange(n)
    matrix = np.zeros((n, n, rank, rank))
    for step in range(1, n // 2 + 1):  # a ring of sites
        coupling = rng.normal(size=(rank, rank))
        if 2 * step == n:
            coupling = coupling + coupling.T
        matrix[home, (home + step) % n] = coupling
        matrix[(home + step) % n, home] = coupling.T
    pairs = np.array([(0, 1), (3, 2), (4, 0)])
    deviations = rng.normal(size=(3, rank, rank))
    arrays = {
        "mean": np.full((n, rank + 1), 1 / (rank + 1)),
        "constant": 0.3,
        "onsite": rng.normal(size=(n, rank + 1)),
        "couplings": matrix[:1],
    }
    whole = matrix.copy()
    for (i, j), change in zip(pairs, deviations, strict=True):
        whole[i, j] += change
        whole[j, i] += change.T
    return arrays, matrix, arrays | {"pairs": pairs, "deviations": deviations}, whole


@pytest.mark.parametrize("species", [("Sc", "Ta"), ("Sr", "Ba", "X")])
def test_energies_are_those_of_the_formula(species):
    lattice = chain_lattice((species, 6))
    by_translation, matrix, one_by_one, whole = random_expansion(lattice)
    states = any_occupations(lattice, 20, seed=5)
    x = lattice.weights(states)[..., 1:] - by_translation["mean"][:, 1:]
    onsite = by_translation["onsite"]
    alone = 0.3 + np.take_along_axis(onsite[None], states[..., None].astype(int), 2).sum((1, 2))
    for arrays, couplings in ((by_translation, matrix), (one_by_one, whole)):
        expected = alone + 0.5 * np.einsum("nip,ijpq,njq->n", x, couplings, x)
        made = PairExpansion(lattice, **arrays)
        np.testing.assert_allclose(made.energy(states), expected, atol=1e-6)
        copied = pickle.loads(pickle.dumps(made))  # noqa: S301
        for again in (PairExpansion(lattice, **made.to_arrays()), copied):
            np.testing.assert_array_equal(again.energy(states), made.energy(states))


def test_the_leading_wave_is_the_pattern_that_couplings_drive_towards():
    lattice = chain_lattice((("Sc", "Ta"), 6))
    couplings = np.zeros((1, 6, 1, 1))
    couplings[0, [1, 5]] = 1.0  # unlike neighbours are favoured
    zero = np.zeros((6, 2))
    made = PairExpansion(lattice, mean=zero, constant=0.0, onsite=zero, couplings=couplings)
    (wave,) = made.leading_waves()
    np.testing.assert_allclose(np.abs(wave), 6**-0.5, atol=1e-12)
    assert (wave[1:] * wave[:-1] < 0).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mean", np.zeros((6, 3)), r"mean has shape \(6, 3\); \(6, 2\) was expected"),
        ("onsite", np.zeros(6), r"onsite has shape \(6,\); \(6, 2\) was expected"),
        ("couplings", np.zeros((6, 6, 1, 1)), r"couplings has shape .* was expected"),
        ("deviations", np.zeros((2, 1, 1)), r"deviations has shape .* was expected"),
        ("onsite", np.full((6, 2), np.nan), r"onsite holds numbers that are not finite"),
        ("constant", np.inf, r"constant is inf; give a finite energy in eV"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(name, value, message):
    lattice = chain_lattice((("Sc", "Ta"), 6))
    arrays, *_ = random_expansion(lattice)
    with pytest.raises(InputError, match=message) as refusal:
        PairExpansion(lattice, **(arrays | {name: value}))
    assert "\n" not in str(refusal.value)


def test_pairs_of_sites_that_are_not_there_are_refused():
    lattice = chain_lattice((("Sc", "Ta"), 6))
    arrays, *_ = random_expansion(lattice)
    for pair in ([0, 6], [-1, 2], [3, 3]):
        with pytest.raises(InputError, match=r"pairs .* 0 to 5"):
            PairExpansion(lattice, **arrays, pairs=np.array([pair]), deviations=np.ones((1, 1, 1)))


def test_displaced_sites_of_a_large_cell_are_refused_with_a_way_out():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(17, 17, 17))
    atoms = lattice.atoms.copy()
    atoms.positions = lattice.displaced_positions(0.06, seed=1)
    displaced = Lattice(atoms, {"B": Sublattice(lattice.sites.tolist(), ("Sc", "Ta"))})
    with pytest.raises(InputError, match="build the lattice from undisplaced atoms"):
        PairExpansion(
            displaced, mean=np.zeros((4913, 2)), constant=0.0, onsite=np.zeros((4913, 2)),
            couplings=np.zeros((1, 1, 1, 1)),
        )  # fmt: skip


def test_a_model_without_second_derivatives_is_refused():
    model = RandomHamiltonian(chain_lattice((("Sc", "Ta"), 6)), seed=1)
    with pytest.raises(InputError, match=r"RandomHamiltonian has no hessian_product .*Surrog"):
        taylor_expansion(model)
