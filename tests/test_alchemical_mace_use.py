"""AlchemicalMACE as a pure function, its views, its loading, and what it refuses."""

import copy
import functools
import hashlib
import os
import subprocess
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from alchemc import Lattice, Sublattice, builders
from alchemc.errors import InputError, ModelError
from alchemc.potentials import AlchemicalMACE, ModelInfo, list_models, load_mace, save_mace
from alchemc.potentials._mace import import_mace
from alchemc.potentials.memory import Memory
from alchemc.protocols import Hamiltonian
from mace_families import random_model

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def perovskite():
    return builders.perovskite("Sr", ("Sc", "Ta", "X"), "O", a=4.0, size=(2, 2, 1))


@functools.cache
def shared_hamiltonian():
    return hamiltonian_of()


def hamiltonian_of(family="plain", **options):
    lattice = perovskite()
    positions = lattice.displaced_positions(0.05, seed=2)
    model = random_model(family)
    return AlchemicalMACE(lattice, model, device="cpu", positions=positions, **options)


def some_occupations(n, seed=0):
    return np.random.default_rng(seed).integers(0, 3, size=(n, 4)).astype(np.int8)


# ---- a pure function -------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["plain", "non-linear, agnostic product"])
def test_energy_and_gradient_do_not_depend_on_batch_threads_or_history(family):
    import torch

    occupations = some_occupations(6)
    fresh = hamiltonian_of(family)
    first_energy = [fresh.at(fresh.positions).energy(o) for o in occupations]
    first_gradient = [fresh.at(fresh.positions).energy_and_gradient(o)[1] for o in occupations]
    used = hamiltonian_of(family)
    threads = torch.get_num_threads()
    try:
        for setting in (1, 2, 3):
            torch.set_num_threads(setting)
            order = np.random.default_rng(setting).permutation(6)
            used.mixed_energy(fresh.lattice.weights(occupations[0]))
            np.testing.assert_array_equal(
                used.energy(occupations[order]), np.array(first_energy)[order]
            )
            _, gradient = used.energy_and_gradient(occupations[order])
            np.testing.assert_array_equal(gradient, np.array(first_gradient)[order])
            assert torch.get_num_threads() == setting
    finally:
        torch.set_num_threads(threads)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_alchemical_mace_use import hamiltonian_of, some_occupations
energy, gradient = hamiltonian_of({family!r}).energy_and_gradient(some_occupations(2))
print(energy.tobytes().hex(), gradient.tobytes().hex())
"""


@pytest.mark.slow
def test_another_process_with_other_threads_gives_the_same_bits():
    found = set()
    for threads in ("1", "2"):
        script = SCRIPT.format(tests=str(Path(__file__).parent), family="plain")
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout.splitlines()[-1])
    assert len(found) == 1


@pytest.mark.parametrize("memory", [0, 2000, 2**26])
def test_results_do_not_depend_on_what_is_remembered(memory):
    occupations, sites, species = some_occupations(3), np.array([[0], [1], [2]]), [[1], [2], [0]]
    species = np.array(species)
    used, fresh = hamiltonian_of(memory=memory), hamiltonian_of(memory=0)
    for _ in range(2):
        used.energy(occupations)
        used.energy_and_gradient(some_occupations(5, seed=9))
        np.testing.assert_array_equal(
            fresh.energy_change(occupations, sites, species),
            used.energy_change(occupations, sites, species),
        )
        for expected, found in zip(
            fresh.energy_and_gradient(occupations),
            used.energy_and_gradient(occupations),
            strict=True,
        ):
            np.testing.assert_array_equal(found, expected)


def test_a_remembered_gradient_is_not_shared_with_the_caller():
    hamiltonian, occupations = hamiltonian_of(), some_occupations(1)
    _, gradient = hamiltonian.energy_and_gradient(occupations)
    expected = gradient.copy()
    gradient[:] = 0.0
    np.testing.assert_array_equal(hamiltonian.energy_and_gradient(occupations)[1], expected)


def test_nothing_is_remembered_across_positions():
    hamiltonian, occupations = hamiltonian_of(), some_occupations(1)
    before = hamiltonian.energy(occupations)
    moved = hamiltonian.at(hamiltonian.lattice.displaced_positions(0.05, seed=3))
    assert moved.energy(occupations) != before
    assert hamiltonian.energy(occupations) == before


def test_memory_stays_within_its_size_and_drops_the_oldest():
    memory = Memory(1000)
    occupations = np.eye(5, dtype=np.int8)
    for occupation in occupations:
        memory.recall("energy", occupation[None], lambda _: [1.0])
    assert memory.used <= 1000
    assert 0 < len(memory) < 5
    assert memory.recall("energy", occupations[4:], lambda _: [2.0]) == [1.0]
    assert memory.recall("energy", occupations[:1], lambda _: [2.0]) == [2.0]


@pytest.mark.parametrize("memory", [-1, 1.5, True, "all", None])
def test_a_memory_of_no_number_of_bytes_is_refused(memory):
    with pytest.raises(InputError, match=f"memory is {memory!r} bytes"):
        hamiltonian_of(memory=memory)


def test_evaluating_leaves_torch_and_the_environment_alone(monkeypatch):
    import torch

    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.get_rng_state())
    hamiltonian = hamiltonian_of()
    hamiltonian.energy_and_gradient(some_occupations(1))
    hamiltonian.energy_forces_stress(some_occupations(1))
    assert torch.get_default_dtype() == before[0] == torch.float32
    assert torch.get_num_threads() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert not torch.are_deterministic_algorithms_enabled()
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ


def test_importing_mace_keeps_a_users_own_setting(monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0")
    import_mace()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "0"


def test_the_module_given_is_not_changed():
    model = copy.deepcopy(random_model("plain")).requires_grad_(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    AlchemicalMACE(perovskite(), model, device="cpu", dtype="float32").energy(some_occupations(1))
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert (value == before[name]).all()
    assert all(parameter.requires_grad for parameter in model.parameters())


# ---- the interface ---------------------------------------------------------------------------


def test_it_is_a_hamiltonian_and_keeps_the_leading_axes():
    hamiltonian = shared_hamiltonian()
    assert isinstance(hamiltonian, Hamiltonian)
    occupations = some_occupations(2)
    energy, gradient = hamiltonian.energy_and_gradient(occupations)
    assert energy.shape == (2,)
    assert gradient.shape == (2, 4, 3)
    single_energy, single_gradient = hamiltonian.energy_and_gradient(occupations[0])
    assert single_energy.shape == ()
    np.testing.assert_array_equal(single_gradient, gradient[0])
    assert hamiltonian.energy(occupations[0]) == hamiltonian.energy(occupations)[0]
    assert not gradient[..., 2].any()  # a vacancy has no energy of its own


def test_a_view_at_other_positions_leaves_the_original_as_it_was():
    hamiltonian = shared_hamiltonian()
    occupation = some_occupations(1)[0]
    before = hamiltonian.energy(occupation)
    moved = hamiltonian.at(hamiltonian.positions * 1.01, hamiltonian.cell * 1.01)
    fresh = hamiltonian.at(hamiltonian.positions * 1.01, hamiltonian.cell * 1.01)
    assert moved.energy(occupation) == fresh.energy(occupation) != before
    assert hamiltonian.energy(occupation) == before
    with pytest.raises(ValueError, match="read-only"):
        hamiltonian.positions[0, 0] = 1.0


def test_a_crystal_without_neighbours_has_the_energy_of_its_atoms():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=40.0)
    model = random_model("without scale and shift")
    hamiltonian = AlchemicalMACE(lattice, model, device="cpu")
    energy, gradient = hamiltonian.energy_and_gradient(np.array([[0], [1]], dtype=np.int8))
    assert np.isfinite(energy).all()
    # alone, the flip energy field is the energy difference itself
    flip = gradient[0, 0, 1] - gradient[0, 0, 0]
    assert energy[1] - energy[0] == pytest.approx(flip, abs=1e-10)


def test_where_every_site_is_vacant_nothing_is_left():
    atoms = Atoms("Sc", cell=[4.0] * 3, pbc=True)
    lattice = Lattice(atoms, {"B": Sublattice("Sc", ("Sc", "Ta", "X"))})
    hamiltonian = AlchemicalMACE(lattice, random_model("plain"), device="cpu")
    empty = np.array([[2]], dtype=np.int8)
    assert hamiltonian.energy(empty) == hamiltonian.energy_and_gradient(empty)[0] == 0.0
    energy, forces, stress = hamiltonian.energy_forces_stress(empty)
    assert energy == 0.0
    assert forces.shape == (1, 1, 3)
    assert not forces.any()
    assert not stress.any()
    only_vacancies = Lattice(atoms, {"B": Sublattice("Sc", ("X",))})
    with pytest.raises(InputError, match="vacancies alone"):
        AlchemicalMACE(only_vacancies, random_model("plain"), device="cpu")


# ---- loading ---------------------------------------------------------------------------------


def test_a_stored_model_gives_the_energies_of_the_module(tmp_path):
    sha256 = save_mace(random_model("plain"), tmp_path / "mine", {"name": "mine", "licence": "MIT"})
    for path in (str(tmp_path / "mine"), tmp_path / "mine" / "model.json"):
        stored = AlchemicalMACE(perovskite(), path, device="cpu")
        assert stored.model_info == ModelInfo(
            name="mine",
            kind="stored",
            sha256=sha256,
            elements=("O", "Mg", "Ca", "Sc", "Sr", "Nb", "Ta"),
            r_max=4.5,
            dtype="float64",
            licence="MIT",
            heads=("Default",),
        )
    direct = AlchemicalMACE(perovskite(), random_model("plain"), device="cpu")
    occupations = some_occupations(2)
    np.testing.assert_array_equal(stored.energy(occupations), direct.energy(occupations))
    assert direct.model_info.sha256 == sha256


def pickled(tmp_path):
    import torch

    path = tmp_path / "stock.model"
    torch.save(random_model("plain"), path)
    return path


def test_a_pickled_model_needs_trust(tmp_path):
    path = pickled(tmp_path)
    with pytest.raises(ModelError, match="set trust = true"):
        load_mace(path)
    trusted = AlchemicalMACE(perovskite(), path, trust=True, device="cpu")
    assert trusted.model_info.kind == "file"
    assert trusted.model_info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    direct = AlchemicalMACE(perovskite(), random_model("plain"), device="cpu")
    assert trusted.energy(some_occupations(1)) == direct.energy(some_occupations(1))


@pytest.mark.parametrize("content", [b"no model at all", b""])
def test_a_file_that_is_no_model_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "broken.model"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as a mace-torch model") as caught:
        load_mace(path, trust=True)
    assert "\n" not in str(caught.value)


def test_a_pickle_of_something_else_is_refused(tmp_path):
    import torch

    torch.save({"a": 1}, tmp_path / "other.model")
    with pytest.raises(ModelError, match="holds a dict, not a model"):
        load_mace(tmp_path / "other.model", trust=True)


def test_a_foundation_model_out_of_reach_says_what_to_do(monkeypatch):
    foundations = import_mace("mace.calculators.foundations_models")

    def fail(name):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(foundations, "download_mace_mp_checkpoint", fail)
    with pytest.raises(ModelError, match=r"cannot be downloaded.*fetch https.*trust") as caught:
        load_mace("medium-mpa-0")
    assert "\n" not in str(caught.value)


def test_a_foundation_model_at_hand_is_listed_and_loaded_by_name(monkeypatch, tmp_path):
    foundations = import_mace("mace.calculators.foundations_models")
    path = pickled(tmp_path)
    cached = tmp_path / "macempa0mediummodel"
    path.rename(cached)
    monkeypatch.setattr(foundations, "get_cache_dir", lambda: str(tmp_path))
    monkeypatch.setattr(foundations, "local_model_path", str(tmp_path / "none"))
    entry = next(entry for entry in list_models() if entry.name == "medium-mpa-0")
    assert entry.at_hand
    loaded = load_mace("medium-mpa-0")
    assert loaded.info.kind == "foundation"
    assert loaded.info.sha256 == entry.sha256 == hashlib.sha256(cached.read_bytes()).hexdigest()


def test_listing_names_the_bundled_model_and_the_foundation_models():
    entries = {entry.name: entry for entry in list_models()}
    assert entries["bundled"].kind == "bundled"
    assert entries["mh-1"].kind == "foundation"


@pytest.mark.parametrize("model", ["no-such-model", "some/missing/dir", 3])
def test_an_unknown_model_is_refused(model):
    with pytest.raises(ModelError, match=r"known name|give a name"):
        load_mace(model)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, alchemc.potentials; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- refusals --------------------------------------------------------------------------------


def altered(change, family="plain"):
    model = copy.deepcopy(random_model(family))
    change(model)
    return model


def add_joint_embedding(model):
    model.joint_embedding = model.node_embedding


def add_unknown_part(model):
    model.long_range = copy.deepcopy(model.node_embedding)


def replace_interaction(model):
    class OwnInteraction(type(model.interactions[1])):
        pass

    model.interactions[1].__class__ = OwnInteraction


def replace_readout(model):
    model.readouts[0] = model.node_embedding


def enable_cuequivariance(model):
    class Enabled:
        enabled = True

    model.products[0].cueq_config = Enabled()


def fuse_convolutions(model):
    model.interactions[0].conv_fusion = True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_joint_embedding, "joint embeddings"),
        (add_unknown_part, "long_range"),
        (replace_interaction, "OwnInteraction"),
        (replace_readout, "LinearNodeEmbeddingBlock"),
        (enable_cuequivariance, "cuEquivariance"),
        (fuse_convolutions, "fused"),
    ],
)
def test_a_model_with_anything_not_covered_is_refused(change, message):
    with pytest.raises(ModelError, match=message) as caught:
        AlchemicalMACE(perovskite(), altered(change), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_model_of_another_class_is_refused():
    import torch

    with pytest.raises(ModelError, match="class Linear"):
        AlchemicalMACE(perovskite(), torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="lattice is a Atoms; give a Lattice"):
        AlchemicalMACE(perovskite().atoms, random_model("plain"))


def test_a_head_must_be_named_where_the_choice_is_open():
    with pytest.raises(ModelError, match=r"heads matpes, omat and none was named; set head"):
        hamiltonian_of("non-linear, two heads, ZBL")
    with pytest.raises(ModelError, match="there is no head 'pbe'"):
        hamiltonian_of("non-linear, two heads, ZBL", head="pbe")
    default = hamiltonian_of("plain, two heads, ZBL, Gaussian")
    named = hamiltonian_of("plain, two heads, ZBL, Gaussian", head="Default")
    assert default.energy(some_occupations(1)) == named.energy(some_occupations(1))


def test_a_species_the_model_does_not_know_is_named():
    lattice = builders.perovskite("Sr", ("Sc", "W"), "O", a=4.0)
    with pytest.raises(ModelError, match=r"does not know the element W; it knows O Mg Ca.*other"):
        AlchemicalMACE(lattice, random_model("plain"))
    lattice = builders.perovskite("Ba", ("Sc", "W"), "O", a=4.0)
    with pytest.raises(ModelError, match="the elements Ba W; it"):
        AlchemicalMACE(lattice, random_model("plain"))


def nan_positions():
    positions = perovskite().atoms.positions.copy()
    positions[3, 1] = np.nan
    return positions


def overlapping_positions():
    positions = perovskite().atoms.positions.copy()
    positions[1] = positions[0]
    return positions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"positions": np.zeros((3, 3))}, "positions has shape"),
        ({"positions": nan_positions()}, r"positions\[3, 1\] is nan"),
        ({"positions": overlapping_positions()}, "Å apart"),
        ({"cell": "cubic"}, "cell is no array"),
        ({"cell": np.diag([8.0, 8.0, 1e-9])}, "has no volume"),
        ({"positions": perovskite().atoms.positions + 0j}, "positions is no array"),
        ({"device": None}, "device None"),
        ({"device": "meta"}, "device 'meta'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message) as caught:
        AlchemicalMACE(perovskite(), random_model("plain"), **{"device": "cpu", **options})
    assert "\n" not in str(caught.value)


def test_bad_arguments_are_refused():
    hamiltonian = shared_hamiltonian()
    lattice = hamiltonian.lattice
    lam = lattice.mean_weights({"B": {"Sc": 0.5, "Ta": 0.25, "X": 0.25}})
    occupations = some_occupations(2)
    with pytest.raises(InputError, match="lam has shape"):
        hamiltonian.mixed_energy(lam[:2])
    with pytest.raises(InputError, match=r"lam\[0, 0\] is inf"):
        hamiltonian.mixed_energy(np.full_like(lam, np.inf))
    with pytest.raises(InputError, match="mixing is 'other'"):
        hamiltonian.mixed_energy(lam, mixing="other")
    with pytest.raises(InputError, match="the same lam"):
        hamiltonian.mixed_energy(lattice.weights(occupations[0]), mixing="paper")
    with pytest.raises(InputError, match=r"both must be \[2, m\]"):
        hamiltonian.energy_change(occupations, np.array([[0]]), np.array([[0]]))
    for sites, species, message in (
        ([[0.0], [0.0]], [[0], [0]], "sites holds float64"),
        ([[0], [0]], [[1.7], [0.0]], "species holds float64"),
        ([[True], [False]], [[0], [0]], "sites holds bool"),
        ([[0], [0]], [[256], [0]], "site 0 of replica 0 holds species index 256"),
        ([[0], [0]], [[0], [-1]], "site 0 of replica 1 holds species index -1"),
        ([[[0]], [[0]]], [[[0]], [[0]]], r"both must be \[2, m\]"),
    ):
        with pytest.raises(InputError, match=message):
            hamiltonian.energy_change(occupations, np.array(sites), np.array(species))
    with pytest.raises(InputError, match=r"direction\[0, 0\] is nan"):
        hamiltonian.hessian_product(lam, np.full_like(lam, np.nan))
    with pytest.raises(InputError, match="sites must lie in"):
        hamiltonian.energy_change(occupations, np.array([[4], [0]]), np.array([[0], [0]]))
    with pytest.raises(InputError):
        hamiltonian.energy(np.full((1, 4), 3, dtype=np.int8))


def test_what_is_not_finite_is_never_returned():
    hamiltonian = shared_hamiltonian()
    lam = hamiltonian.lattice.mean_weights({"B": {"Sc": 0.5, "Ta": 0.25, "X": 0.25}})
    with pytest.raises(ModelError, match="energy is nan"):
        hamiltonian.mixed_energy(1e300 * lam)
    with pytest.raises(ModelError, match="Hessian product is nan"):
        hamiltonian.hessian_product(1e300 * lam, lam)
    broken = altered(lambda model: model.scale_shift.shift.fill_(np.inf))
    broken = AlchemicalMACE(perovskite(), broken, device="cpu")
    with pytest.raises(ModelError, match="energy is inf"):
        broken.energy_forces_stress(some_occupations(1))


def test_lam_of_a_species_that_is_not_allowed_is_refused():
    lattice = builders.perovskite(("Sr", "Ca"), ("Sc", "Ta", "X"), "O", a=4.0)
    hamiltonian = AlchemicalMACE(lattice, random_model("plain"), device="cpu")
    lam = np.full(lattice.allowed.shape, 1 / 3)
    with pytest.raises(InputError, match=r"lam\[0, 2\].*set it to zero"):
        hamiltonian.mixed_energy(lam)
