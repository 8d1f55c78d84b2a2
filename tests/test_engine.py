"""The compiled engine: equal to the modules of mace-torch, and to itself whatever came before."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import signal
import time

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemc import AlchemicalMACE, Lattice, Sublattice, builders
from alchemc.errors import InputError, ModelError
from alchemc.potentials.engine import engine as engine_module
from alchemc.potentials.engine import geometry as geometry_module
from alchemc.potentials.engine import states as states_module
from alchemc.potentials.engine.states import States
from alchemc.potentials.memory import Memory
from mace_families import FAMILIES, random_model


@pytest.fixture(autouse=True)
def without_content_hash(monkeypatch):
    """Naming a module by its content rebuilds it, which takes longer than most tests here."""
    monkeypatch.setattr("alchemc.potentials.storage.content_sha256", lambda model: "0" * 64)


COVERED = [name for name in FAMILIES if not name.startswith(("non-linear", "attention"))]
UNCOVERED = [name for name in FAMILIES if name not in COVERED]
SPECIES = ("Sc", "Ta", "Nb", "X")


@functools.cache
def lattice(size=(2, 2, 1), species=SPECIES):
    return builders.perovskite("Sr", species, "O", a=3.95, size=size)


@functools.cache
def long_lattice():
    """A cell much longer than a change reaches, with a model of r_max 3 Å: 60 atoms in a row."""
    return builders.perovskite("Sr", ("Sc", "Ta", "X"), "O", a=3.95, size=(1, 1, 12))


@functools.cache
def potential(family="plain", where="ideal", engine="compiled", dtype="float64", **options):
    cell = lattice() if where != "long" else long_lattice()
    model = random_model(family, r_max=3.0 if where == "long" else 4.5)
    head = "omat" if family == "non-linear, two heads, ZBL" else None
    found = AlchemicalMACE(
        cell, model, engine=engine, device="cpu", dtype=dtype, memory=0, head=head, **options
    )
    if where == "displaced":
        found = found.at(cell.displaced_positions(0.05, seed=3))
    return found


def occupations_of(hamiltonian, n, seed=0):
    rng = np.random.default_rng(seed)
    sites = hamiltonian.lattice
    return rng.integers(0, sites.n_species_max, size=(n, sites.n_sites)).astype(np.int8)


def both(family, where, dtype="float64"):
    return potential(family, where, "compiled", dtype), potential(family, where, "torch", dtype)


@pytest.fixture
def compact(monkeypatch):
    """Tables of first-layer messages even in cells that are too small for them to pay."""
    monkeypatch.setattr(geometry_module.Geometry, "compact", True)


# ---- equal to mace-torch --------------------------------------------------------------------


@pytest.mark.parametrize("where", ["ideal", "displaced"])
@pytest.mark.parametrize("family", COVERED)
def test_energy_and_gradient_are_those_of_the_models_own_modules(family, where):
    ours, torchs = both(family, where)
    occupations = occupations_of(ours, 3)
    energy, gradient = ours.energy_and_gradient(occupations)
    expected, slopes = torchs.energy_and_gradient(occupations)
    np.testing.assert_allclose(energy, expected, rtol=0, atol=5e-12)
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=2e-12)
    assert np.array_equal(ours.energy(occupations), energy)


@pytest.mark.parametrize("family", COVERED)
def test_the_table_of_first_layer_messages_changes_rounding_alone(family, compact):
    _, torchs = both(family, "ideal")
    ours = torchs.at(torchs.positions)
    ours._parameters = potential(family, "ideal")._parameters
    occupations = occupations_of(ours, 2)
    energy, gradient = ours.energy_and_gradient(occupations)
    assert ours._states.engine._first is not None
    expected, slopes = torchs.energy_and_gradient(occupations)
    np.testing.assert_allclose(energy, expected, rtol=0, atol=5e-12)
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=2e-12)


@pytest.mark.parametrize("family", ["plain", "density, Agnesi, vectors, ZBL"])
def test_single_precision_is_single_precision(family):
    ours, exact = potential(family, dtype="float32"), potential(family)
    occupations = occupations_of(ours, 2)
    energy, gradient = ours.energy_and_gradient(occupations)
    expected, slopes = exact.energy_and_gradient(occupations)
    assert 0 < np.abs(energy - expected).max() < 1e-4
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-4)
    assert energy.dtype == np.float64


@pytest.mark.parametrize("family", UNCOVERED)
def test_what_is_not_covered_is_left_to_torch(family):
    with pytest.raises(
        ModelError, match=r'compiled engine does not cover .* set engine to "torch"'
    ):
        potential(family)
    assert potential(family, engine="auto").engine == "torch"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "numba"}, "engine is 'numba'; give one of auto, compiled, torch"),
        ({"threads": 0}, "threads is 0; give a whole number, 1 or more"),
        ({"threads": 1.5}, "threads is 1.5"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AlchemicalMACE(lattice(), random_model("plain"), device="cpu", **options)


@pytest.mark.parametrize("family", COVERED)
def test_radial_weights_made_when_needed_change_nothing(family, monkeypatch):
    """As in cells whose tables would not fit; and local updates leave no trace there either."""
    stored = potential(family, "displaced")
    occupations = occupations_of(stored, 2)
    expected = stored.energy_and_gradient(occupations)
    with monkeypatch.context() as patch:
        patch.setattr(
            "alchemc.potentials.alchemical_mace.Engine",
            functools.partial(engine_module.Engine, tables=0),
        )
        made = stored.at(stored.positions)
        found = made.energy_and_gradient(occupations)
        assert not made._states.engine.radial.stored
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-12)
    engine, states = made._states.engine, made._states
    first, second = (states._present(one) for one in occupations)
    features = engine.features(first)
    changed = np.flatnonzero(first != second).astype(np.int32)
    engine.update(features, second[changed], engine.reach(changed))
    assert engine.energy(features) == found[0][1]


# ---- equal to itself ------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 5, 4096])
def test_no_bit_depends_on_the_chunks(chunk, monkeypatch):
    for family, where in [("plain", "displaced"), ("density, Agnesi, vectors, ZBL", "ideal")]:
        hamiltonian = potential(family, where)
        occupations = occupations_of(hamiltonian, 2)
        energy, gradient = hamiltonian.energy_and_gradient(occupations)
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, "CHUNK", chunk)
            again = hamiltonian.energy_and_gradient(occupations)
        assert np.array_equal(energy, again[0])
        assert np.array_equal(gradient, again[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_bit_depends_on_the_number_of_threads(dtype, monkeypatch):
    monkeypatch.setattr(engine_module, "CHUNK", 4)
    one, many = potential(dtype=dtype), potential(dtype=dtype, threads=3)
    occupations = occupations_of(one, 3)
    for ours, theirs in zip(
        one.energy_and_gradient(occupations), many.energy_and_gradient(occupations), strict=True
    ):
        assert np.array_equal(ours, theirs)


@settings(max_examples=25, deadline=None)
@given(
    changes=st.lists(
        st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2)), min_size=1, max_size=3),
        min_size=1,
        max_size=12,
    ),
    family=st.sampled_from(["plain", "density, Agnesi, vectors, ZBL"]),
)
def test_local_updates_leave_no_trace(changes, family):
    """After any history the energy is, bit for bit, that of an evaluation from nothing."""
    hamiltonian = potential(family, "long")
    start = occupations_of(hamiltonian, 1)[0]
    occupation = start.copy()
    hamiltonian.energy(occupation)
    for change in changes:
        occupation = occupation.copy()
        for site, species in change:
            occupation[site] = species
        walked = hamiltonian.energy(occupation)
        states = hamiltonian._states
        fresh = states.engine.energy(states.engine.features(states._present(occupation)))
        assert walked == fresh
        if len(change) == 2:  # refused: go back
            occupation = start.copy()
            hamiltonian.energy(occupation)


def test_a_change_is_computed_only_where_it_reaches(monkeypatch):
    hamiltonian = potential("plain", "long")
    occupation = np.zeros(hamiltonian.lattice.n_sites, dtype=np.int8)
    hamiltonian.energy(occupation)
    engine, rows = hamiltonian._states.engine, []
    each = engine.each
    monkeypatch.setattr(
        engine, "each", lambda part, work: rows.append(len(part)) or each(part, work)
    )
    changed = occupation.copy()
    changed[3] = 1
    hamiltonian.energy(changed)
    one, two = (len(some) for some in engine.reach(hamiltonian.lattice.sites[3:4])[1:])
    assert rows == [one, two]
    assert one < two < len(hamiltonian.lattice.atoms) / 2
    rows.clear()
    hamiltonian.energy(occupation)  # as after a refusal: what was there is put back
    assert rows == []


def test_reach_is_r_max_per_layer():
    hamiltonian = potential("plain", "long")
    hamiltonian.energy(occupations_of(hamiltonian, 1))
    engine, atoms = hamiltonian._states.engine, hamiltonian.lattice.atoms
    site = hamiltonian.lattice.sites[5]
    distances = atoms.get_distances(site, np.arange(len(atoms)), mic=True)
    reached = engine.reach(np.array([site]))
    assert set(reached[1]) == {site, *np.flatnonzero(distances < 3.0)}
    assert max(distances[reached[2]]) < 6.0
    assert np.array_equal(reached[0], [site])


def test_changes_of_energy_are_exact_and_drift_is_none():
    """A thousand accepted and refused changes add up to the energy at the end, to rounding."""
    hamiltonian = potential("plain", "long")
    rng = np.random.default_rng(2)
    occupation = occupations_of(hamiltonian, 1)
    energy = hamiltonian.energy(occupation)[0]
    for _ in range(1000):
        sites = rng.choice(hamiltonian.lattice.n_sites, size=(1, 2), replace=False)
        species = rng.integers(0, 3, size=(1, 2))
        change = hamiltonian.energy_change(occupation, sites, species)[0]
        if rng.random() < 0.5:
            occupation[0, sites[0]] = species[0]
            energy += change
    torchs = AlchemicalMACE(
        long_lattice(), random_model("plain", r_max=3.0), engine="torch", device="cpu"
    )
    assert abs(energy - hamiltonian.energy(occupation)[0]) < 1e-10
    assert abs(energy - torchs.energy(occupation)[0]) < 1e-10


def test_features_are_kept_within_their_memory():
    hamiltonian = potential("plain", "long")
    occupations = occupations_of(hamiltonian, 6, seed=8)
    hamiltonian.energy(occupations[:1])
    engine = hamiltonian._states.engine
    size = engine.features(hamiltonian._states._present(occupations[0])).nbytes
    states = States(engine, hamiltonian.lattice, hamiltonian._nodes, memory=2 * size)
    energies = [states.energy(one) for one in occupations]
    assert 1 <= len(states._kept) <= 2
    assert energies == [states.energy(one) for one in occupations]
    changed = occupations.copy()
    changed[:, 4] = (changed[:, 4] + 1) % 3
    for pair in zip(occupations, changed, strict=True):  # the way back from a change counts too
        assert states.energy(pair[0]) != states.energy(pair[1])
        assert len(states._kept) == 1


def test_not_more_occupations_are_kept_than_are_quickly_searched(monkeypatch):
    monkeypatch.setattr(states_module, "_MOST", 3)
    hamiltonian = potential("plain", "long").at(long_lattice().atoms.positions)
    hamiltonian.energy(occupations_of(hamiltonian, 6, seed=8))
    assert len(hamiltonian._states._kept) == 3


def test_chains_of_several_threads_share_one_model():
    from concurrent.futures import ThreadPoolExecutor

    hamiltonian = potential("plain", "long")
    occupations = occupations_of(hamiltonian, 24, seed=4)
    alone = [hamiltonian.energy(one) for one in occupations]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(hamiltonian.energy, occupations)) == alone


# ---- what could be wrong without a sign -----------------------------------------------------


@pytest.mark.parametrize("tabled", [False, True])
@pytest.mark.parametrize("family", ["plain", "density, Agnesi, vectors, ZBL"])
@pytest.mark.parametrize("empty", ["Sr", "O"])
def test_sites_that_are_always_vacant_send_nothing(empty, family, tabled, monkeypatch):
    """They have no species, so no rows in the tables: at the end of the atoms and before it."""
    monkeypatch.setattr(geometry_module.Geometry, "compact", tabled)
    atoms = lattice().atoms.copy()
    sublattices = {"E": Sublattice(empty, ("X",)), "B": Sublattice("Sc", ("Sc", "Ta", "X"))}
    sites = Lattice(atoms, sublattices)
    occupation = np.zeros((1, sites.n_sites), dtype=np.int8)
    ours, torchs = (
        AlchemicalMACE(sites, random_model(family), engine=engine, device="cpu")
        for engine in ("compiled", "torch")
    )
    energy, gradient = ours.energy_and_gradient(occupation)
    expected, slopes = torchs.energy_and_gradient(occupation)
    np.testing.assert_allclose(energy, expected, rtol=0, atol=5e-12)
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=2e-12)
    assert (ours._states.engine._first is not None) == tabled


@pytest.mark.parametrize("family", ["plain", "density, Agnesi, vectors, ZBL"])
def test_atoms_whose_neighbours_are_all_vacant_are_alone(family):
    atoms = Atoms("ScO", positions=[(0, 0, 0), (3, 0, 0)], cell=[6.0] * 3, pbc=True)
    sublattices = {"B": Sublattice("Sc", ("Sc", "Ta")), "O": Sublattice("O", ("X",))}
    occupations = np.array([[0, 0], [1, 0]], dtype=np.int8)
    ours, torchs = (
        AlchemicalMACE(Lattice(atoms, sublattices), random_model(family), engine=e, device="cpu")
        for e in ("compiled", "torch")
    )
    np.testing.assert_allclose(
        ours.energy(occupations), torchs.energy(occupations), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e6])
def test_what_whole_numbers_do_not_hold_is_an_error(value, monkeypatch):
    hamiltonian = potential("plain", "long").at(long_lattice().atoms.positions)
    occupations = occupations_of(hamiltonian, 2)
    expected = hamiltonian.energy(occupations)
    engine = hamiltonian._states.engine
    hamiltonian._states._kept.clear()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "node_energies", lambda *given: np.full(len(given[1]), value))
        with pytest.raises(ModelError, match=f"the model's energy is {value} eV at one atom"):
            hamiltonian.energy(occupations)
    assert np.array_equal(hamiltonian.energy(occupations), expected)


def test_energies_of_any_size_are_added_up(monkeypatch):
    hamiltonian = potential("plain", "long").at(long_lattice().atoms.positions)
    occupations = np.zeros((1, long_lattice().n_sites), dtype=np.int8)
    hamiltonian.energy(occupations)
    engine = hamiltonian._states.engine
    monkeypatch.setattr(engine, "node_energies", lambda *given: np.full(len(given[1]), -1e6))
    features = engine.features(hamiltonian._states._present(occupations[0]))
    alone = features.counts @ engine.parameters.isolated
    assert engine.energy(features) == alone - 1e6 * len(long_lattice().atoms)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelError])
def test_an_interrupted_update_is_forgotten(error, layer, monkeypatch):
    hamiltonian = potential("plain", "long").at(long_lattice().atoms.positions)
    occupations = np.zeros((3, hamiltonian.lattice.n_sites), dtype=np.int8)
    occupations[1, 7] = occupations[2, 3] = 1
    expected = hamiltonian.energy(occupations)
    engine, rows = hamiltonian._states.engine, []
    each = engine.each

    def interrupted(part, work):
        rows.append(part)
        if len(rows) == layer + 1:
            raise error
        each(part, work)

    hamiltonian.energy(occupations[:2])
    with monkeypatch.context() as patch:
        patch.setattr(engine, "each", interrupted)
        with pytest.raises(error):
            hamiltonian.energy(occupations[2])
    assert np.array_equal(hamiltonian.energy(occupations), expected)


def through_pickle(hamiltonian):
    return pickle.loads(pickle.dumps(hamiltonian))  # noqa: S301


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
def test_a_hamiltonian_that_has_been_used_can_be_copied(copied):
    hamiltonian = potential("plain", "long", threads=2).at(long_lattice().atoms.positions)
    occupations = occupations_of(hamiltonian, 2)
    expected = hamiltonian.energy(occupations)
    assert np.array_equal(copied(hamiltonian).energy(occupations), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(engine_module, "CHUNK", 4)
    hamiltonian = potential("plain", "long", threads=2).at(long_lattice().atoms.positions)
    occupations = occupations_of(hamiltonian, 2)
    hamiltonian.energy(occupations)
    hamiltonian._states.engine.each(np.arange(8), lambda _: time.sleep(0.1))  # starts both
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # else it would wait for ever
        try:
            hamiltonian.energy((occupations + 1) % 3)
        except BaseException:  # else the child would run the other tests too
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_that_find_the_same_energy_count_it_once():
    memory, occupation = Memory(2000), np.zeros((1, 3), dtype=np.int8)
    memory.recall("energy", occupation, lambda _: [1.0])
    once = memory.used
    memory = Memory(2000)

    def evaluate(rows):  # another thread is quicker
        memory.recall("energy", rows, lambda _: [1.0])
        return [1.0]

    memory.recall("energy", occupation, evaluate)
    assert memory.used == once


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_no_replicas_have_no_energies(engine):
    hamiltonian = potential(engine=engine)
    none = np.zeros((0, hamiltonian.lattice.n_sites), dtype=np.int8)
    assert hamiltonian.energy(none).shape == (0,)
    assert hamiltonian.energy_and_gradient(none)[1].shape == (0, *hamiltonian.lattice.allowed.shape)


# ---- replicas as one graph ------------------------------------------------------------------


@pytest.mark.parametrize("family", ["plain", "density, Agnesi, vectors, ZBL", "attention"])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_replicas_side_by_side_are_replicas_alone(family, size, monkeypatch):
    """As on a GPU, whose batches are sized to its memory; the last batch is padded."""
    hamiltonian = potential(family, "displaced", "torch")
    occupations = occupations_of(hamiltonian, 7)
    occupations[3] = 3  # all sites empty
    alone = hamiltonian.energy_and_gradient(occupations)
    asked = []
    monkeypatch.setattr(
        hamiltonian._batch_sizes, "of", lambda kind, evaluate: asked.append(kind) or size
    )
    together = hamiltonian.energy_and_gradient(occupations)
    np.testing.assert_allclose(together[0], alone[0], rtol=0, atol=1e-11)
    np.testing.assert_allclose(together[1], alone[1], rtol=0, atol=1e-11)
    np.testing.assert_allclose(hamiltonian.energy(occupations), alone[0], rtol=0, atol=1e-11)
    assert asked == ["gradient", "energy"]


@pytest.mark.parametrize("size", [1, 4, 6])
def test_batches_hold_every_row_once_and_pad_to_few_layouts(size):
    from alchemc.potentials.batches import batches

    for n in range(12):
        rows = np.arange(2 * n).reshape(n, 2)
        parts = list(batches(rows, size))
        kept = [part[:count] for part, count in parts]
        assert np.array_equal(np.concatenate([np.zeros((0, 2)), *kept]), rows)
        assert {len(part) for part, _ in parts} <= {1, 2, 4, size}
        assert all(count <= len(part) < 2 * count for part, count in parts)


@pytest.mark.gpu
def test_a_gpu_gives_the_energies_of_the_cpu():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    ours = potential("plain", "displaced")
    theirs = AlchemicalMACE(lattice(), random_model("plain"), device="cuda", memory=0)
    theirs = theirs.at(ours.positions)
    occupations = occupations_of(ours, 9)
    energy, gradient = theirs.energy_and_gradient(occupations)
    expected, slopes = ours.energy_and_gradient(occupations)
    np.testing.assert_allclose(energy, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-9)
    assert np.array_equal(theirs.energy(occupations[:2]), theirs.energy(occupations)[:2])


# ---- the tests above can fail ---------------------------------------------------------------


class ShortReach(engine_module.Engine):
    """Believes that a change reaches as far as one layer in every layer."""

    def reach(self, changed):
        first, one, *rest = super().reach(changed)
        return [first, one, *(one for _ in rest)]


class NoNeighbours(engine_module.Engine):
    """Recomputes the changed sites alone in the first layer."""

    def reach(self, changed):
        first, _, *rest = super().reach(changed)
        return [first, first, *rest]


@pytest.mark.parametrize("broken", [ShortReach, NoNeighbours])
def test_too_short_a_reach_is_noticed(broken, monkeypatch):
    hamiltonian = potential("plain", "long")
    occupation = occupations_of(hamiltonian, 1)[0]
    changed = occupation.copy()
    changed[3] = (changed[3] + 1) % 2
    expected = hamiltonian.energy(changed)
    monkeypatch.setattr("alchemc.potentials.alchemical_mace.Engine", broken)
    wrong = hamiltonian.at(hamiltonian.positions)
    wrong.energy(occupation)
    assert wrong.energy(changed) != expected
