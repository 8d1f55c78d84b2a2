"""Concentration waves: V(q) against closed forms, dense matrices and finite differences.

Nothing is statistical but the slopes of rescaling, which are exact for pair models.
"""

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import kB

from alchemc import AlchemicalMACE, ClusterExpansion, Lattice, PairHamiltonian, Sublattice, builders
from alchemc.analysis import concentration_waves, ordering_amplitude
from alchemc.analysis.plots import plot_waves
from alchemc.errors import InputError
from toys import couplings_between

HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
OFF_GRID = np.array([[0.13, 0.21, 0.4], [0.05, 0.3, 0.5], [0.37, 0.11, 0.02]])
ON_GRID = np.array([[0.5, 0.5, 0.5], [0, 0.5, 0.5], [0, 0, 0.5], [0.25, 0.25, 0], [0, 0, 0]])
EVERYWHERE = np.concatenate([ON_GRID, OFF_GRID])


def cubic(size=4, species=("Sc", "Ta")):
    return builders.perovskite("Sr", species, "O", a=4.0, size=(size,) * 3)


def contrast(table):
    """∂²/∂x∂y of a table of pair energies, [rows − 1, columns − 1]."""
    return table[1:, 1:] - table[1:, :1] - table[:1, 1:] + table[:1, :1]


def simple_cubic(q, shells):
    """Closed form of V(q) with V of the first three shells, q in reciprocal cells."""
    x, y, z = 2 * np.pi * np.asarray(q).T
    cx, cy, cz = np.cos(x), np.cos(y), np.cos(z)
    forms = [
        2 * (cx + cy + cz),
        4 * (cx * cy + cy * cz + cz * cx),
        8 * cx * cy * cz,
    ]
    return sum(v * form for v, form in zip(shells, forms, strict=False))


def assert_closed_form(waves, shells):
    assert np.allclose(waves.at(EVERYWHERE)[:, 0, 0], simple_cubic(EVERYWHERE, shells), atol=1e-12)


class Curved:
    """A pair model between whose vertices every site bends: same energies, another Hessian."""

    def __init__(self, inner, curvature):
        self.inner, self.lattice, self.curvature = inner, inner.lattice, curvature

    def hessian_product(self, lam, direction):
        return self.inner.hessian_product(lam, direction) + self.curvature * direction

    def energy(self, occupations):
        return self.inner.energy(occupations)


@pytest.mark.parametrize("shells", [(0.04,), (0.04, -0.03, 0.01)])
def test_v_of_a_simple_cubic_pair_model_is_its_sum_of_cosines(shells):
    lattice = cubic(8 if len(shells) > 1 else 4)
    tables = [0.25 * v * np.array([[1, -1], [-1, 1]]) for v in shells]
    waves = concentration_waves(PairHamiltonian(lattice, tables), HALF)
    assert waves.decayed
    assert_closed_form(waves, shells)


def test_a_self_term_is_no_interaction_and_is_seen_when_left_in():
    lattice = cubic()
    pair = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    waves = concentration_waves(Curved(pair, 0.3), HALF)
    assert_closed_form(waves, (0.04,))
    kept = waves.couplings.values.copy()
    kept[0, waves.couplings.crystal.first[0]] = 2 * 0.3  # D_i D_i of the curvature
    mutant = type(waves)(waves.couplings.with_values(kept), waves.waves)
    with pytest.raises(AssertionError):
        assert_closed_form(mutant, (0.04,))


def assert_as_of_vertices(waves, lattice, energies, states):
    """V(q) against the pair part of the energies of all 2^8 arrangements, 16 Cov(E, |x_q|²)/N.

    With independent sites at ½, Cov(x_i x_j, E) is V_ij/16 for i ≠ j, and a self term has none: it
    is the slope by β of ⟨|x_q|²⟩ at infinite temperature, exactly.
    """
    x = states - 0.5
    q = ON_GRID[[0, 1, 2, 4]]
    amplitude = np.abs(x @ np.exp(-2j * np.pi * (cells(lattice) @ q.T))) ** 2
    covariance = ((energies - energies.mean())[:, None] * amplitude).mean(axis=0)
    exact = 16 * covariance / lattice.n_sites
    assert np.abs(waves.at(q)[:, 0, 0] - exact).max() < 0.05 * np.abs(exact).max()


def test_v_of_the_bundled_model_is_that_of_its_vertices_and_the_self_term_is_not():
    lattice = cubic(2)
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    states = lattice.enumerate()
    energies = mace.energy(states)
    waves = concentration_waves(mace, HALF)
    assert_as_of_vertices(waves, lattice, energies, states)
    first = waves.couplings.crystal.first[0]
    direction = np.zeros((8, 2))
    direction[first] = [-1.0, 1.0]
    response = mace.hessian_product(lattice.mean_weights(HALF), direction)[first]
    kept = waves.couplings.values.copy()
    kept[0, first] = response[1] - response[0]
    mutant = type(waves)(waves.couplings.with_values(kept), waves.waves)
    with pytest.raises(AssertionError):
        assert_as_of_vertices(mutant, lattice, energies, states)


def test_v_of_an_fcc_pair_model_is_its_closed_form():
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.5, size=(4, 4, 4))
    first, second = 0.03, -0.02
    tables = [0.25 * v * np.array([[1, -1], [-1, 1]]) for v in (first, second)]
    half = {"cation": {"Mg": 0.5, "Ca": 0.5}}
    waves = concentration_waves(PairHamiltonian(lattice, tables), half)
    q = np.concatenate([EVERYWHERE, [[0, 0, 1], [0.5, 0, 1]]])
    c, c2 = np.cos(np.pi * q), np.cos(2 * np.pi * q)
    expected = 4 * first * (c[:, 0] * c[:, 1] + c[:, 1] * c[:, 2] + c[:, 2] * c[:, 0])
    expected += 2 * second * c2.sum(axis=1)
    assert np.allclose(waves.at(q)[:, 0, 0], expected, atol=1e-12)
    # Antiferromagnetic neighbours, second ones alike: the 001 star, layers of an L1_0 order.
    assert waves.leading.q == (0.0, 0.0, 1.0)
    assert len(waves.leading.star.arms) == 3


def test_three_species_make_a_matrix_of_closed_forms():
    lattice = cubic(4, ("Sc", "Ta", "Ti"))
    rng = np.random.default_rng(3)
    table = rng.normal(size=(3, 3))
    table = 0.02 * (table + table.T)
    mean = {"B": {"Sc": 0.25, "Ta": 0.25, "Ti": 0.5}}
    waves = concentration_waves(PairHamiltonian(lattice, [table]), mean)
    expected = simple_cubic(EVERYWHERE, (1.0,))[:, None, None] * contrast(table)
    assert np.allclose(waves.at(EVERYWHERE), expected, atol=1e-12)
    c = np.array([0.25, 0.5])
    root = np.linalg.cholesky(np.diag(c) - np.outer(c, c))
    lowest = min(np.linalg.eigvalsh(root.T @ v @ root)[0] for v in expected[:5])
    assert waves.leading.energy == pytest.approx(lowest)


def two_sublattices(size):
    lattice = builders.perovskite(("Sr", "La"), ("Al", "Ti", "Ta"), "O", a=4.0, size=size)
    couplings = {
        ("A", "A"): couplings_between(lattice, "A", "A", 1, 1),
        ("A", "B"): couplings_between(lattice, "A", "B", 1, 2),
        ("B", "B"): couplings_between(lattice, "B", "B", 1, 3),
    }
    mean = {"A": {"Sr": 0.5, "La": 0.5}, "B": {"Al": 0.25, "Ti": 0.25, "Ta": 0.5}}
    return lattice, couplings, mean


def test_two_sublattices_make_a_matrix_of_closed_forms():
    lattice, couplings, mean = two_sublattices((4, 4, 4))
    waves = concentration_waves(PairHamiltonian(lattice, couplings), mean)
    assert [(c.sublattice, c.species) for c in waves.couplings.contrasts] == [
        ("A", "La"),
        ("B", "Ti"),
        ("B", "Ta"),
    ]
    form = simple_cubic(EVERYWHERE, (1.0,))[:, None, None]
    between = 8 * np.cos(np.pi * EVERYWHERE).prod(axis=1)[:, None, None]
    found = waves.at(EVERYWHERE)
    assert np.allclose(found[:, :1, :1], form * contrast(couplings["A", "A"][0]), atol=1e-12)
    assert np.allclose(found[:, 1:, 1:], form * contrast(couplings["B", "B"][0]), atol=1e-12)
    assert np.allclose(found[:, :1, 1:], between * contrast(couplings["A", "B"][0]), atol=1e-12)
    assert np.allclose(found, found.conj().transpose(0, 2, 1))


def test_the_waves_of_a_small_cell_are_the_eigenvectors_of_its_whole_matrix():
    lattice, couplings, mean = two_sublattices((2, 2, 3))
    model = PairHamiltonian(lattice, couplings)
    waves = concentration_waves(model, mean)
    weights = lattice.mean_weights(mean)
    moves = [
        (i, k)
        for i in range(lattice.n_sites)
        for k in range(1, 3)
        if np.asarray(lattice.allowed)[i, k]
    ]
    start = np.zeros(lattice.n_sites, dtype=np.int8)

    def energy(*changes):
        state = start.copy()
        for site, species in changes:
            state[site] = species
        return float(model.energy(state))

    alone = [energy(move) for move in moves]
    v, c = np.zeros((len(moves),) * 2), np.zeros((len(moves),) * 2)
    for a, (i, k) in enumerate(moves):
        for b, (j, m) in enumerate(moves):
            if i != j:
                v[a, b] = energy((i, k), (j, m)) - alone[a] - alone[b] + energy()
            else:
                c[a, b] = weights[i, k] * ((k == m) - weights[i, m])
    values, vectors = np.linalg.eigh(c)
    root = vectors * np.sqrt(values)
    dense = np.linalg.eigvalsh(root.T @ v @ root)
    found = []
    for wave in waves.waves:
        bands = waves.at(wave.star.arms)
        small = waves._root
        found += np.linalg.eigvalsh(small.T @ bands @ small).ravel().tolist()
    assert np.allclose(np.sort(found), dense, atol=1e-12)


def test_hessian_products_of_a_cluster_expansion_are_those_of_its_multilinear_energy():
    icet = pytest.importorskip("icet")
    space = icet.ClusterSpace(bulk("MgO", "rocksalt", a=4.2), [4.3, 3.1], [["Mg", "Ca"], ["O"]])
    rng = np.random.default_rng(1)
    expansion = icet.ClusterExpansion(space, 0.1 * rng.normal(size=len(space)))
    atoms = bulk("MgO", "rocksalt", a=4.2).repeat((2, 2, 2))
    lattice = Lattice.from_icet_species(atoms, [["Mg", "Ca"], ["O"]] * 8)
    model = ClusterExpansion.from_icet(expansion, lattice)
    states = lattice.enumerate()
    energies, one_hot = model.energy(states), lattice.weights(states)
    lam = rng.dirichlet((2, 2), lattice.n_sites)
    direction = rng.normal(size=lam.shape)
    direction -= direction.mean(axis=1, keepdims=True)  # one species gains what another loses
    weights = np.einsum("nsk,sk->ns", one_hot, lam)
    expected = np.zeros_like(lam)
    for i, j in product(range(lattice.n_sites), repeat=2):
        if i != j:
            rest = np.delete(weights, (i, j), axis=1).prod(axis=1)
            along = np.einsum("nk,k->n", one_hot[:, j], direction[j])
            expected[i] += np.einsum("n,n,n,nk->k", energies, rest, along, one_hot[:, i])
    found = model.hessian_product(lam, direction)
    assert np.allclose(found[:, 1] - found[:, 0], expected[:, 1] - expected[:, 0], atol=1e-12)


def test_for_two_species_the_temperature_is_minus_c_times_one_minus_c_times_v():
    lattice = cubic()
    model = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    for c in (0.5, 0.25, 0.125):
        waves = concentration_waves(model, {"B": {"Sc": 1 - c, "Ta": c}})
        assert waves.leading.energy == pytest.approx(-c * (1 - c) * 6 * 0.04)
        rescaled = waves.rescaled(model, 8)
        assert rescaled.temperature().kelvin == pytest.approx(c * (1 - c) * 0.24 / kB)
    # Mean field against the exact T_c of the antiferromagnet, J/K_c: too high by a third.
    exact = 0.01 / (0.2216546 * kB)
    ratio = concentration_waves(model, HALF).rescaled(model).temperature().kelvin / exact
    assert ratio == pytest.approx(6 * 0.2216546, abs=1e-9)


def test_no_temperature_without_energies():
    lattice = cubic(4)
    model = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    waves = concentration_waves(model, HALF)
    with pytest.raises(InputError, match=r"rescaled\(hamiltonian\)"):
        waves.temperature()
    assert waves.to_dict()["temperature"] is None
    assert "No temperature" in waves.statement
    with pytest.raises(InputError, match="8 or more"):
        waves.rescaled(model, 7)
    with pytest.raises(InputError, match="another"):
        waves.rescaled(PairHamiltonian(cubic(2), [np.eye(2)]))
    stable = next(wave for wave in waves.waves if wave.energy > 0)
    with pytest.raises(InputError, match="stable against"):
        waves.rescaled(model).temperature(stable)


def test_a_slope_corrects_the_size_of_v():
    lattice = cubic(4)
    model = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    double = PairHamiltonian(lattice, [0.02 * np.array([[1, -1], [-1, 1]])])
    waves = concentration_waves(model, HALF).rescaled(double)
    assert waves.rescaling.slope == pytest.approx(2.0)
    assert waves.rescaling.correlation == pytest.approx(1.0)
    assert waves.temperature().kelvin == pytest.approx(2 * 0.25 * 0.24 / kB)
    assert waves.temperature().label == "ideal positions, mean field"
    hot = PairHamiltonian(lattice, [0.1 * np.array([[1, -1], [-1, 1]])])
    label = concentration_waves(hot, HALF).rescaled(hot).temperature().label
    assert label == "ideal positions, mean field, above melting"


def test_no_temperature_from_a_cell_that_interactions_reach_across():
    lattice = cubic(2)
    model = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    waves = concentration_waves(model, HALF).rescaled(model)
    assert waves.leading.name == "rock-salt"
    with pytest.raises(InputError, match=r"100% of their largest .* larger supercell"):
        waves.temperature()


def test_energies_of_v_are_those_of_arrangements_but_for_a_constant():
    lattice, couplings, mean = two_sublattices((2, 2, 2))
    model = PairHamiltonian(lattice, couplings)
    states = lattice.random(mean, np.random.default_rng(1), 12)
    difference = model.energy(states) - concentration_waves(model, mean).couplings.energies(states)
    assert np.ptp(difference) < 1e-12


@pytest.mark.parametrize(
    ("shells", "name"),
    [
        ((0.04,), "rock-salt"),
        ((-0.04,), "unmixing"),
        ((-0.01, 0.04), "layered"),
        ((0.01, 0.04, -0.06), "columnar"),
    ],
)
def test_orders_have_their_names(shells, name):
    values = {q: simple_cubic(q, shells) for q in product((0, 0.5), repeat=3)}
    tables = [0.25 * v * np.array([[1, -1], [-1, 1]]) for v in shells]
    lattice = cubic(4)
    waves = concentration_waves(PairHamiltonian(lattice, tables), HALF)
    by_name = {wave.name: wave for wave in waves.waves}
    assert set(by_name) >= {"rock-salt", "layered", "columnar", "unmixing"}
    lowest = min(("unmixing", "layered", "columnar", "rock-salt"), key=lambda n: by_name[n].energy)
    assert by_name[lowest].energy == pytest.approx(0.25 * min(values.values()))
    assert lowest == name
    if name != "unmixing":  # its q is one that ordering_amplitude takes
        wave = by_name[name]
        state = (np.cos(2 * np.pi * (cells(lattice) @ np.array(wave.q))) < 0).astype(np.int8)
        found = ordering_amplitude(lattice, state[None], wave.q)
        assert float(found["mean"]) == pytest.approx(1.0)


def cells(lattice):
    return np.round(lattice.atoms.positions[lattice.sites] / 4.0 - 0.5)


def test_what_is_no_named_order_is_its_vector():
    lattice = cubic(4)
    chain = Lattice(lattice.atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))})
    # First neighbours alike, neighbours at 2a unlike: period four.
    shells = (-0.04, 0.0, 0.0, 0.05)
    tables = [0.25 * v * np.array([[1, -1], [-1, 1]]) for v in shells]
    waves = concentration_waves(PairHamiltonian(chain, tables), HALF)
    assert waves.leading.name.startswith("q = (")
    assert 0.25 in np.abs(waves.leading.q)


def test_orders_between_the_sites_of_a_primitive_cell_are_named_by_their_pattern():
    """A crystal without translations, whose B sites form a simple cubic net all the same."""
    lattice = cubic(2)
    atoms = lattice.atoms.copy()
    rng = np.random.default_rng(1)
    atoms.positions[lattice.spectators] += 0.05 * rng.normal(size=(len(lattice.spectators), 3))
    tilted = Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta"))})
    waves = concentration_waves(
        PairHamiltonian(tilted, [0.01 * np.array([[1, -1], [-1, 1]])]), HALF
    )
    assert len(waves.waves) == 1
    assert len(waves.leading.energies) == 8
    assert waves.leading.name == "rock-salt"
    assert waves.leading.energy == pytest.approx(-0.06)


def test_at_q_zero_only_neutral_changes_are_compared():
    species, charges = ("Sc", "Ta"), {"Sc": 3, "Ta": 5}
    lattice = builders.perovskite("Sr", species, "O", a=4.0, size=(2, 2, 2), charges=charges)
    clustering = PairHamiltonian(lattice, [-0.01 * np.array([[1, -1], [-1, 1]])])
    waves = concentration_waves(clustering, HALF)
    assert "unmixing" not in {wave.name for wave in waves.waves}
    assert "charge neutral" in waves.left_out
    free = concentration_waves(PairHamiltonian(cubic(2), [np.array([[-1, 1], [1, -1.0]])]), HALF)
    assert free.leading.name == "unmixing"


def test_two_charged_sublattices_may_unmix_together():
    lattice = builders.perovskite(
        ("Sr", "La"), ("Ti", "Al"), "O", a=3.9, size=(2, 2, 2),
        charges={"Sr": 2, "La": 3, "Ti": 4, "Al": 3},
    )  # fmt: skip
    pull = PairHamiltonian(lattice, {("A", "B"): [np.array([[0.0, 0.0], [0.0, -0.1]])]})
    mean = {"A": {"Sr": 0.5, "La": 0.5}, "B": {"Ti": 0.5, "Al": 0.5}}
    waves = concentration_waves(pull, mean)
    assert waves.leading.name == "unmixing"
    amplitudes = {row["species"]: row["amplitude"] for row in waves.polarisation()}
    assert amplitudes["La"] == pytest.approx(amplitudes["Al"])  # La with Al, Sr with Ti
    assert waves.leading.energy == pytest.approx(-0.25 * 8 * 0.1)


def test_a_model_without_second_derivatives_is_refused_with_a_remedy():
    class Plain:
        lattice = cubic(2)

    with pytest.raises(InputError, match="hessian_product"):
        concentration_waves(Plain(), HALF)


def test_displaced_atoms_are_refused():
    lattice = cubic(2)
    model = PairHamiltonian(lattice, [0.01 * np.eye(2)])

    class Displaced:
        def __init__(self):
            self.lattice = lattice

        def hessian_product(self, lam, direction):
            found = model.hessian_product(lam, direction)
            found[0] *= 1.1
            return found

    with pytest.raises(InputError, match=r"at\(lattice.atoms.positions\)"):
        concentration_waves(Displaced(), HALF)


@pytest.mark.parametrize(
    ("mean", "match"),
    [
        (np.full((8, 2), 0.4), "add up to 1"),
        (np.full((8, 3), 1 / 3), "shape"),
        (np.array([[0.5, 0.5]] * 7 + [[0.25, 0.75]]), "same by translation"),
        ({"B": {"Sc": 1.0}}, "one species"),
        ("half", "neither"),
    ],
)
def test_compositions_that_cannot_be_used_are_refused(mean, match):
    model = PairHamiltonian(cubic(2), [np.eye(2)])
    with pytest.raises(InputError, match=match):
        concentration_waves(model, mean)


def test_a_spinel_has_its_composition_class_by_class():
    lattice = builders.spinel(("Mg", "Al"), "O", a=8.1)
    model = PairHamiltonian(lattice, [0.02 * np.array([[1, -1], [-1, 1]])] * 3)
    mean = np.where((lattice.classes == 0)[:, None], [0.75, 0.25], [0.125, 0.875])
    waves = concentration_waves(model, mean).rescaled(model)
    assert waves.rescaling.slope == pytest.approx(1.0)
    c = waves.couplings.mean[waves.couplings.crystal.first]
    assert sorted(c[:, 0].tolist()) == [0.125] * 4 + [0.75] * 2
    assert {row["sublattice"] for row in waves.polarisation()} == {"cation"}


def test_an_array_of_weights_is_the_composition_it_says():
    model = PairHamiltonian(cubic(2), [np.eye(2)])
    waves = concentration_waves(model, np.tile([0.25, 0.75], (8, 1)))
    assert waves.to_dict()["composition"]["B"]["Ta"] == pytest.approx(0.75)
    assert waves.leading.energy == pytest.approx(-6 * 2 * 3 / 16)


def test_a_cell_that_is_too_small_says_so_on_paths_and_in_caveats():
    tables = [0.25 * np.array([[1, -1], [-1, 1]])]
    small = concentration_waves(PairHamiltonian(cubic(2), tables), HALF)
    large = concentration_waves(PairHamiltonian(cubic(4), tables), HALF)
    assert not small.decayed
    assert "range" in {c.code for c in small.caveats}
    assert "range" not in {c.code for c in large.caveats}
    assert not small.along(n_points=12).attrs["trusted"]
    line = large.along([(0, 0, 0), (0.5, 0.5, 0.5)], n_points=41)
    assert line.attrs["trusted"]
    assert np.allclose(line.energy[:, 0], 0.25 * simple_cubic(line.q, (1.0,)))
    assert line.fits.sum() == 3  # 0, ¼¼¼ and ½½½
    line = large.along(n_points=17)  # whatever the number of points, it stops where q fits
    quarter = np.abs(line.q.to_numpy() - [0, 0.25, 0]).max(axis=1) < 1e-9
    assert line.fits.to_numpy()[quarter].all()
    assert quarter.any()
    assert line.attrs["corners"][0][0] == "Γ"
    assert len(np.unique(line.piece)) == 2
    with pytest.raises(InputError, match="nowhere"):
        large.along([(0, 0, 0), (0, 0, 0)])
    with pytest.raises(InputError, match="special points"):
        large.along("GQ7")


def test_oblong_cells_give_the_arms_that_fit():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 1, 4))
    waves = concentration_waves(PairHamiltonian(lattice, [0.01 * np.eye(2)]), HALF)
    assert sum(len(wave.star.arms) for wave in waves.waves) == 8
    assert {wave.name for wave in waves.waves} >= {"unmixing", "layered", "columnar"}


def test_vacancies_and_lattices_without_spectators_have_waves():
    atoms = Atoms("Cu", cell=[3.0] * 3, pbc=True).repeat(4)
    lattice = Lattice(atoms, {"s": Sublattice("Cu", ("Cu", "X"))})
    model = PairHamiltonian(lattice, [{("Cu", "Cu"): 0.05}])
    waves = concentration_waves(model, {"s": {"Cu": 0.5, "X": 0.5}})
    assert waves.leading.name == "rock-salt"
    assert waves.leading.energy == pytest.approx(-0.25 * 6 * 0.05)


def test_sites_of_one_species_are_spectators_in_all_but_name():
    plain = cubic(2)
    strontium = [a.index for a in plain.atoms if a.symbol == "Sr"]
    parts = {"A": Sublattice(tuple(strontium), ("Sr",)), **plain.sublattices}
    tables = {("B", "B"): [0.01 * np.eye(2)]}
    model = PairHamiltonian(Lattice(plain.atoms, parts), tables)
    waves = concentration_waves(model, HALF | {"A": {"Sr": 1.0}}).rescaled(model)
    alone = concentration_waves(PairHamiltonian(plain, [0.01 * np.eye(2)]), HALF)
    assert waves.leading.name == f"{alone.leading.name} on B"
    assert np.allclose([w.energy for w in waves.waves], [w.energy for w in alone.waves])
    assert waves.couplings.edge_share == pytest.approx(alone.couplings.edge_share)


def test_results_are_plain_data_and_drawn():
    import json

    model = PairHamiltonian(cubic(4), [0.01 * np.array([[1, -1], [-1, 1]])])
    waves = concentration_waves(model, HALF).rescaled(model)
    content = json.loads(json.dumps(waves.to_dict(), allow_nan=False))
    assert content["waves"][0]["name"] == "rock-salt"
    assert content["temperature"]["label"] == "ideal positions, mean field"
    figure = plot_waves(waves)
    assert figure.axes[0].get_ylabel().endswith("(eV)")
    with pytest.raises(InputError, match="give the result itself"):
        plot_waves(content)
    labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert "Γ" in labels
