"""The recipe of the bundled potential: structures, teacher's motion, training, evaluation."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from alchemc.potentials.training import label, parallel
from alchemc.potentials.training import structures as st
from alchemc.potentials.training.dataset import load_configurations, save_configurations
from alchemc.potentials.training.evaluate import swap_metrics
from alchemc.potentials.training.teacher import langevin, relax


class Springs:
    """Every atom tied to its site: energy k/2 Σ|u|² plus a constant."""

    def __init__(self, reference, k=2.0):
        self.reference, self.k = reference, k

    def __call__(self, structures):
        results = []
        for atoms in structures:
            u = atoms.positions - self.reference
            energy = 0.5 * self.k * (u**2).sum() - 1.0
            results.append({"energy": energy, "forces": -self.k * u, "stress": np.zeros((3, 3))})
        return results


@pytest.mark.parametrize(("index", "number"), [(1, 1), (2, 7), (3, 13), (4, 35), (8, 155)])
def test_hermite_normal_forms_are_all_there(index, number):
    forms = st.hermite_normal_forms(index)
    assert len(forms) == number
    assert {round(np.linalg.det(f)) for f in forms} == {index}


def test_the_two_by_two_by_two_cell_has_six_orderings_of_known_number():
    classes = st.ordering_classes("Pb", ["Sc", "Ta"])
    assert sorted(n for _, n in classes) == [2, 6, 6, 8, 24, 24]
    rock_salt = classes[0][0]
    assert classes[0][1] == 2
    scandium = rock_salt[rock_salt.numbers == 21]
    assert scandium.get_all_distances(mic=True)[0, 1:].min() > 1.4 * rock_salt.cell[0, 0] / 2 - 1e-6


def test_no_training_configuration_is_held_out():
    spec = st.held_out()
    for c in st.sample_groups(150, seed=3):
        symbols = c.atoms.get_chemical_symbols()
        cations = [s for s in symbols if s != "O"]
        if c.kind == "perovskite":
            assert len(cations) // 2 not in spec["perovskite_formula_units"]
            assert not st.is_held_out(cations[0::2], cations[1::2])
        if c.kind == "rocksalt":
            assert len(cations) not in spec["rocksalt_formula_units"]


def test_labelling_for_training_writes_nothing_held_out(tmp_path, monkeypatch):
    """What lies in the data folder is trained on, so no file of the held-out list may be there."""

    class Flat:
        def __init__(self, *_, **__):
            pass

        def __call__(self, structures):
            return [
                {"energy": 0.0, "forces": np.full((len(a), 3), 0.1), "stress": np.zeros((3, 3))}
                for a in structures
            ]

    monkeypatch.setattr(label, "Teacher", Flat)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    label._worker(
        {
            "index": 0, "seed": 5, "out": str(tmp_path), "device": "cpu", "seconds": np.inf,
            "static_groups": 3, "relaxations": 2, "dynamics": 2, "dynamics_steps": 20,
        }
    )  # fmt: skip
    files = sorted(tmp_path.glob("*.npz"))
    assert {f.stem for f in files} == {"static-00", "relaxation-00", "dynamics-00"}
    assert {c.labels["origin"] for c in load_configurations(files)} == {
        "static",
        "relaxation",
        "dynamics",
    }


def test_what_other_processes_run_is_not_in_the_main_module():
    """A spawned process cannot import functions of ``__main__``."""
    for function in (parallel._distributed, parallel._explore):
        assert not function.__module__.endswith("__main__")
        assert getattr(parallel, function.__qualname__) is function


def test_configurations_are_charge_balanced_and_groups_share_cell_and_counts():
    configurations = st.sample_groups(60, seed=4)
    for c in configurations:
        charge = sum(st.CHARGE[s] for s in c.atoms.get_chemical_symbols())
        assert charge == 0 or c.kind == "spinel"
    for group in {c.group for c in configurations}:
        members = [c.atoms for c in configurations if c.group == group]
        assert len({a.get_chemical_formula() for a in members}) == 1
        assert all(np.array_equal(a.cell.array, members[0].cell.array) for a in members)
        assert all(np.array_equal(a.positions, members[0].positions) for a in members)


def test_the_same_seed_gives_the_same_configurations():
    first, second = st.sample_groups(5, seed=9), st.sample_groups(5, seed=9)
    assert all(
        np.array_equal(a.atoms.positions, b.atoms.positions)
        and np.array_equal(a.atoms.numbers, b.atoms.numbers)
        for a, b in zip(first, second, strict=True)
    )


def test_swap_sets_hold_pairs_that_differ_by_one_unlike_swap():
    base = st.perovskite_cell(["Sr"] * 8, ["Ti"] * 4 + ["Zr"] * 4, 2 * np.eye(3, dtype=int))
    sites = np.flatnonzero(np.isin(base.numbers, (22, 40)))
    structures = st.swap_set(base, sites, 10, 0.05, seed=1)
    for before, after in zip(structures[::2], structures[1::2], strict=True):
        changed = np.flatnonzero(before.numbers != after.numbers)
        assert len(changed) == 2
        assert set(changed) <= set(sites)
        assert np.array_equal(before.positions, after.positions)


def test_relaxation_ends_at_the_minimum():
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    start = atoms.copy()
    start.positions += np.random.default_rng(0).normal(scale=0.1, size=start.positions.shape)
    moved, energy, force = relax(Springs(atoms.positions), [start], fmax=1e-4, steps=500)
    assert force[0] < 1e-4
    assert energy[0] == pytest.approx(-1.0, abs=1e-7)
    assert np.abs(moved[0].positions - atoms.positions).max() < 1e-4


def test_langevin_dynamics_has_the_temperature_asked_for():
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    springs, energies = Springs(atoms.positions, k=4.0), []

    def record(step, _index, _atoms, labels):
        if step > 300:
            energies.append(labels["energy"] + 1.0)

    rng = np.random.default_rng(5)
    langevin(springs, [atoms] * 8, np.full(8, 900.0), rng, steps=1500, record=record)
    expected = 1.5 * len(atoms) * units.kB * 900.0
    assert np.mean(energies) == pytest.approx(expected, rel=0.05)


def test_swap_metrics_recover_slope_and_ordering_error():
    rng = np.random.default_rng(2)
    teacher = rng.normal(size=400)
    metrics = swap_metrics(teacher, 0.9 * teacher + 5.0, 40)
    assert metrics["slope"] == pytest.approx(0.9)
    assert metrics["mae_over_spread"] == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.15)
    assert metrics["ordering"] == pytest.approx(0.1 / 40 * 1e3, rel=0.1)


def labelled(n_groups=4):
    configurations = st.sample_groups(n_groups, seed=6)
    rng = np.random.default_rng(0)
    for c in configurations:
        c.labels = {
            "energy": -7.0 * len(c.atoms) + rng.normal(),
            "forces": rng.normal(size=c.atoms.positions.shape),
            "stress": np.eye(3) * 0.01,
            "origin": "static",
        }
    return configurations


def test_labelled_configurations_survive_storage(tmp_path):
    before = labelled()
    save_configurations(tmp_path / "data.npz", before)
    after = load_configurations([tmp_path / "data.npz"])
    for a, b in zip(before, after, strict=True):
        assert np.array_equal(a.atoms.numbers, b.atoms.numbers)
        assert a.labels["energy"] == b.labels["energy"]
        assert a.group == b.group
        assert np.allclose(a.atoms.positions, b.atoms.positions, atol=1e-5)


@pytest.mark.slow
def test_a_trained_model_is_the_stock_model_and_can_be_published(tmp_path):
    from alchemc.potentials._mace import import_mace
    from alchemc.potentials.training.publish import publish
    from alchemc.potentials.training.train import Hyperparameters, train

    save_configurations(tmp_path / "data.npz", labelled(8))
    hyper = Hyperparameters(channels=4, correlation=2, atoms_per_batch=60)
    train([tmp_path / "data.npz"], tmp_path / "out", hyper, steps=6, report_every=3)
    publish(tmp_path / "out", tmp_path / "model", hyper, {})

    from alchemc.potentials.storage import load_stored
    from alchemc.potentials.training.evaluate import Student

    import_mace()
    from mace.calculators import MACECalculator

    model, document = load_stored(tmp_path / "model")
    low, high = document["card"]["domain"]["energy"]
    assert -2 < low < high < 2
    calculator = MACECalculator(models=[model], device="cpu", default_dtype="float64")
    student = Student(tmp_path / "model")
    for c in labelled(2):
        atoms = Atoms(c.atoms)
        (result,) = student([atoms])
        atoms.calc = calculator
        assert result["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        assert np.abs(result["forces"] - atoms.get_forces()).max() < 1e-5


@pytest.mark.slow
def test_the_teacher_gives_forces_that_are_its_energys_derivative():
    pytest.importorskip("chgnet")
    from alchemc.potentials.training.teacher import Teacher

    atoms = st.perovskite_cell(["Sr"], ["Ti"], np.eye(3, dtype=int))
    atoms.positions += np.random.default_rng(1).normal(scale=0.05, size=atoms.positions.shape)
    teacher = Teacher()
    (labels,) = teacher([atoms])
    moved = [atoms.copy(), atoms.copy()]
    moved[0].positions[1, 2] += 0.01
    moved[1].positions[1, 2] -= 0.01
    plus, minus = (r["energy"] for r in teacher(moved))
    assert labels["forces"][1, 2] == pytest.approx(-(plus - minus) / 0.02, abs=0.02)
