"""Trajectories of other programs: the same numbers as the stored run, or a refusal in one line."""

import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import analyze_run, read_trajectory, warren_cowley
from alchemc.analysis.frames import FrameReader, half_the_shortest_distance
from alchemc.campaign import write_report
from alchemc.campaign.export import export_run
from alchemc.cli import main
from alchemc.errors import InputError
from alchemc.records import Run, point_dataset
from analysis_cases import HALF, exact_run, perovskite
from campaign_tools import TOY

CANONICAL = {"ensemble": {"kind": "canonical"}}


def codes(results):
    return [caveat["code"] for caveat in results["caveats"]]


def same_samples(found, expected):
    assert len(found.points) == len(expected.points)
    for ours, theirs in zip(found.points, expected.points, strict=True):
        assert float(ours.temperature) == float(theirs.temperature)
        for name in ("occupation", "energy"):
            np.testing.assert_array_equal(ours[name].values, theirs[name].values)


def frames_of(lattice, occupations, energies=None, rng=None):
    """Structures in any order of their atoms, the energies on calculators."""
    frames = []
    for index, occupation in enumerate(occupations):
        atoms = lattice.to_atoms(occupation)
        if rng is not None:
            atoms = atoms[rng.permutation(len(atoms))]
        if energies is not None:
            atoms.calc = SinglePointCalculator(atoms, energy=float(energies[index]))
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def swept():
    run, _, _ = exact_run((1500.0, 3000.0), n_draws=80, config=CANONICAL)
    return run, analyze_run(run)


# ---- round trips


@pytest.mark.parametrize("suffix", ["extxyz", "traj"])
def test_an_exported_run_comes_back_with_the_same_numbers(swept, suffix, tmp_path):
    run, expected = swept
    path = tmp_path / f"run.{suffix}"
    export_run(run, path)
    found = read_trajectory(path, run.lattice)
    same_samples(found, run)
    results = analyze_run(found)
    for ours, theirs in zip(results["points"], expected["points"], strict=True):
        for key in ("energy", "heat_capacity", "orders", "binder", "warren_cowley", "converged"):
            assert ours[key] == theirs[key]
    assert results["transition"]["bracket"] == expected["transition"]["bracket"]
    assert found.attrs["trajectory"]["ensemble"] == "canonical"


def test_exported_containers_are_chains_of_one_point(swept, tmp_path):
    run, _ = swept
    paths = [tmp_path / f"chain-{k}.dc" for k in range(4)]
    for k, path in enumerate(paths):
        export_run(run, path, point=0, chain=k)
    found = read_trajectory(paths, run.lattice)
    same_samples(found, Run(run.points[:1], run.lattice))


def test_files_of_several_temperatures_are_points(swept, tmp_path):
    run, _ = swept
    for k in range(2):
        export_run(run, tmp_path / f"{k}.traj", point=k, chain=0)
    found = read_trajectory([tmp_path / "0.traj", tmp_path / "1.traj"], run.lattice)
    assert [float(p.temperature) for p in found.points] == [1500.0, 3000.0]
    given = read_trajectory(
        [tmp_path / "0.traj", tmp_path / "1.traj"], run.lattice, temperature=(700.0, 700.0)
    )
    assert [dict(p.sizes)["chain"] for p in given.points] == [2]


def test_one_temperature_is_not_given_to_draws_of_several(swept, tmp_path):
    run, _ = swept
    export_run(run, tmp_path / "run.traj")
    with pytest.raises(InputError, match="one temperature for all of them would merge points"):
        read_trajectory(tmp_path / "run.traj", run.lattice, temperature=5.0)


def test_a_thinned_trajectory_is_the_thinned_run(swept, tmp_path):
    run, _ = swept
    export_run(run, tmp_path / "run.traj")
    found = read_trajectory(tmp_path / "run.traj", run.lattice, start=7, every=3)
    expected = [point.isel(draw=slice(7, None, 3)) for point in run.points]
    same_samples(found, Run(tuple(expected), run.lattice))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shift=st.tuples(*[st.integers(-2, 2)] * 3),
    amplitude=st.floats(0.0, 0.45),
    strain=st.floats(-0.1, 0.1),
)
def test_shuffled_wrapped_displaced_strained_and_turned_frames_are_read(
    seed, shift, amplitude, strain
):
    rng = np.random.default_rng(seed)
    lattice = builders.rocksalt(("Mg", "Ca", "X"), "O", a=4.4)
    occupations = rng.integers(0, 3, size=(3, lattice.n_sites))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    half = half_the_shortest_distance(lattice)
    frames = []
    for atoms in frames_of(lattice, occupations, rng=rng):
        away = rng.normal(size=(len(atoms), 3))
        away *= amplitude * half / np.maximum(np.linalg.norm(away, axis=1), 1e-9)[:, None]
        atoms.positions += away + np.array(shift) @ lattice.atoms.cell.array
        if seed % 2:
            atoms.wrap()
        atoms.set_cell((1.0 + strain) * lattice.atoms.cell.array @ turn, scale_atoms=True)
        frames.append(atoms)
    found = read_trajectory(frames, lattice)
    np.testing.assert_array_equal(found.points[0].occupation.values[:, 0], occupations)


def test_a_translation_of_the_crystal_leaves_its_order():
    lattice = perovskite(4, 4, 4)
    draws = lattice.random(HALF, np.random.default_rng(3), 4)
    frames = frames_of(lattice, draws)
    for atoms in frames:
        atoms.positions += np.array([4.0, 8.0, -4.0])  # whole cells of the prototype
    found = read_trajectory(frames, lattice).points[0].occupation
    assert (found.values[:, 0] != draws).any()
    one, other = (warren_cowley(lattice, x)["mean"] for x in (found.values[:, 0], draws))
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_positions_are_kept_in_the_order_of_the_reference(monkeypatch):
    lattice = Lattice(
        bulk("Cu", cubic=True, a=4.0).repeat(2), {"M": Sublattice("Cu", ("Cu", "Au", "X"))}
    )
    rng = np.random.default_rng(0)
    draws = rng.integers(0, 3, size=(6, 32))
    moved = rng.normal(scale=0.1, size=(6, 32, 3))
    frames = []
    for occupation, away in zip(draws, moved, strict=True):
        atoms = lattice.to_atoms(occupation, lattice.atoms.positions + away)
        atoms.wrap()
        frames.append(atoms[rng.permutation(len(atoms))])
    for spool in (1 << 25, 200):
        monkeypatch.setattr("alchemc.analysis.trajectory_draws.SPOOL_BYTES", spool)
        (point,) = read_trajectory(frames, lattice, positions=True).points
        assert point["positions"].dims == ("draw", "chain", "atom", "xyz")
        expected = np.where((draws == 2)[..., None], 0.0, moved) + lattice.atoms.positions
        np.testing.assert_allclose(point["positions"].values[:, 0], expected, atol=1e-10)
        assert (point["cell"].values == lattice.atoms.cell.array).all()
    assert "positions" not in read_trajectory(frames, lattice).points[0]


def test_vacancies_are_absent_or_written_as_x():
    lattice = Lattice(bulk("Cu", cubic=True, a=4.0), {"M": Sublattice("Cu", ("Cu", "Au", "X"))})
    absent = Atoms("CuAu", [[0, 0, 0], [0, 2, 2]], cell=lattice.atoms.cell, pbc=True)
    written = absent + Atoms("X2", [[2, 0, 2], [2, 2, 0]])
    found = read_trajectory([absent, written], lattice).points[0].occupation.values[:, 0]
    assert found.tolist() == [[0, 1, 2, 2]] * 2


def test_a_trajectory_larger_than_its_spool_is_mapped_and_the_same(monkeypatch):
    monkeypatch.setattr("alchemc.analysis.trajectory_draws.SPOOL_BYTES", 100)
    lattice = perovskite(2, 2, 2)
    draws = lattice.random(HALF, np.random.default_rng(0), 60)
    sources = [frames_of(lattice, part) for part in (draws[:40], draws[40:])]
    run = read_trajectory(sources, lattice, temperature=900.0)
    (point,) = run.points
    assert isinstance(point.occupation.values.base, np.memmap)
    np.testing.assert_array_equal(point.occupation.values[:, 0], draws[:20])
    np.testing.assert_array_equal(point.occupation.values[:, 1], draws[40:])
    assert "cut to the shortest" in run.attrs["trajectory"]["notes"][0]
    assert "trajectory" in codes(analyze_run(run, shells=1))


BROKEN = {
    "atoms taken in their own order": (FrameReader, "_look_up", lambda _, p: np.arange(len(p))),
    "species taken for their neighbours in the list": (
        FrameReader,
        "species",
        lambda self, n: (n[:, self._lattice.sites] == self._lattice.atomic_numbers[:, 0]) * 1,
    ),
    "places kept from the frame before": (
        FrameReader,
        "_look_up",
        lambda self, p: self._where if self._where is not None else LOOK_UP(self, p),
    ),
}
LOOK_UP = FrameReader._look_up


@pytest.mark.parametrize("fault", [None, *BROKEN])
def test_a_reader_that_is_broken_is_seen_by_shuffled_frames(fault, monkeypatch):
    lattice = perovskite(2, 2, 2)
    rng = np.random.default_rng(0)
    draws = lattice.random(HALF, rng, 5)
    frames = []
    for atoms in frames_of(lattice, draws):  # only sites change places: no spectator gives it away
        order = np.arange(len(atoms))
        order[lattice.sites] = rng.permutation(lattice.sites)
        frames.append(atoms[order])
    if fault is not None:
        monkeypatch.setattr(*BROKEN[fault])
    run = read_trajectory(frames, lattice)
    same = (run.points[0].occupation.values[:, 0] == draws).all()
    assert same == (fault is None)


# ---- mchammer


@pytest.fixture(scope="module")
def mchammer_run(tmp_path_factory):
    """A semi-grand run of mchammer's with a cluster expansion, its file and its lattice."""
    from icet import ClusterExpansion, ClusterSpace
    from mchammer.calculators import ClusterExpansionCalculator
    from mchammer.ensembles import SemiGrandCanonicalEnsemble

    primitive = bulk("Au", a=4.0)
    space = ClusterSpace(primitive, cutoffs=[3.0], chemical_symbols=["Ag", "Au"])
    expansion = ClusterExpansion(space, [0.0, 0.02, -0.01])
    structure = primitive.repeat(3)
    path = tmp_path_factory.mktemp("mchammer") / "run.dc"
    calculator = ClusterExpansionCalculator(structure, expansion)
    ensemble = SemiGrandCanonicalEnsemble(
        structure, calculator, 900.0, {"Ag": 0.0, "Au": 0.1}, dc_filename=str(path), random_seed=4
    )
    ensemble.run(27 * 200)
    lattice = Lattice(structure, {"metal": Sublattice("Au", ("Ag", "Au"))})
    return ensemble.data_container, path, lattice, calculator


@pytest.mark.parametrize("kind", ["object", "file"])
def test_an_mchammer_run_has_its_draws_energies_and_coordinates(mchammer_run, kind):
    container, path, lattice, calculator = mchammer_run
    run = read_trajectory(container if kind == "object" else path, lattice)
    (point,) = run.points
    energies, frames = container.get("potential", "trajectory")
    assert float(point.temperature) == 900.0
    assert float(point["mu_metal_Au"]) == 0.1
    assert run.attrs["trajectory"]["ensemble"] == "semi-grand"
    np.testing.assert_array_equal(point.energy.values[:, 0], energies)
    held = [lattice.from_atoms(atoms) for atoms in frames]
    np.testing.assert_array_equal(point.occupation.values[:, 0], held)
    total = calculator.calculate_total(occupations=frames[-1].numbers)
    assert energies[-1] == pytest.approx(total)  # of the supercell, not per atom


def test_a_semi_grand_run_of_mchammers_is_analysed_as_one(mchammer_run):
    _, path, lattice, _ = mchammer_run
    results = analyze_run(read_trajectory(path, lattice, start=10))
    (point,) = results["points"]
    assert point["heat_capacity"] is None
    assert set(point["fractions"]) == {"fraction of Au on metal"}
    assert results["layout"]["free"] == ["metal"]
    json.dumps(results, allow_nan=False)


def test_uneven_steps_of_a_container_are_told(mchammer_run):
    from mchammer import DataContainer

    container, _, lattice, _ = mchammer_run
    uneven = DataContainer(container.structure, {"temperature": 900.0})
    for step in (0, 10, 30):
        numbers = container.structure.numbers.tolist()
        uneven.append(step, {"potential": 0.0, "occupations": numbers})
    run = read_trajectory(uneven, lattice)
    assert "10 to 20 trial steps apart" in run.attrs["trajectory"]["notes"][0]
    assert run.attrs["trajectory"]["ensemble"] == "unknown"


def test_a_container_without_structures_is_refused(mchammer_run):
    from mchammer import DataContainer

    container, _, lattice, _ = mchammer_run
    empty = DataContainer(container.structure, {"temperature": 900.0})
    empty.append(0, {"potential": 0.0})
    with pytest.raises(InputError, match="trajectory_write_interval"):
        read_trajectory(empty, lattice)


def test_nothing_that_a_container_has_pickled_is_run(mchammer_run, tmp_path):
    _, path, lattice, _ = mchammer_run

    class Mischief:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    rows = np.empty(1, dtype=object)
    rows[0] = Mischief()
    content = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    with zipfile.ZipFile(content, "w") as archive, archive.open("arr_0.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(pickle.dumps(rows))
    bad = tmp_path / "bad.dc"
    with tarfile.open(path) as source, tarfile.open(bad, "w") as target:
        for name in ("atoms", "reference_data"):
            target.addfile(source.getmember(name), source.extractfile(name))
        member = tarfile.TarInfo("runtime_data")
        member.size = len(content.getvalue())
        target.addfile(member, io.BytesIO(content.getvalue()))
    with pytest.raises(InputError, match="no plain data"):
        read_trajectory(bad, lattice)
    assert not (tmp_path / "made").exists()


# ---- what a trajectory does not say


def test_an_unknown_ensemble_has_no_heat_capacity_and_says_so():
    run, _, _ = exact_run((1500.0,), n_draws=400)
    point = run.points[0]
    frames = frames_of(run.lattice, point.occupation.values[:, 0], point.energy.values[:, 0])
    results = analyze_run(read_trajectory(frames, run.lattice, temperature=1500.0))
    assert results["points"][0]["heat_capacity"] is None
    assert "ensemble-unknown" in codes(results)
    told = read_trajectory(frames, run.lattice, temperature=1500.0, ensemble="canonical")
    results = analyze_run(told)
    assert results["points"][0]["heat_capacity"]["mean"] > 0
    assert "ensemble-unknown" not in codes(results)


def test_without_energies_the_orders_are_measured_and_decide():
    lattice = perovskite(2, 2, 2)
    draws = lattice.random(HALF, np.random.default_rng(0), 600).reshape(2, 300, 8)
    run = read_trajectory([frames_of(lattice, d) for d in draws], lattice, temperature=900.0)
    results = analyze_run(run)
    (point,) = results["points"]
    assert point["converged"]
    assert point["energy"]["mean"] is None
    assert "hold no energies" in point["energy"]["why"]
    assert "no-energies" in codes(results)


def test_energies_may_be_given_or_named():
    lattice = perovskite(2, 2, 2)
    frames = frames_of(lattice, lattice.random(HALF, np.random.default_rng(0), 3))
    for number, atoms in enumerate(frames):
        atoms.info["toten"] = float(number)
    for energies in ("toten", [0.0, 1.0, 2.0], np.arange(3)):
        found = read_trajectory(frames, lattice, energies=energies)
        assert found.points[0].energy.values[:, 0].tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(InputError, match=r"frame 0 of trajectory 0 has no entry 'e'.*toten"):
        read_trajectory(frames, lattice, energies="e")
    for wrong in ([0.0], np.zeros(4)):
        with pytest.raises(InputError, match="energies were given for 3 frames"):
            read_trajectory(frames, lattice, energies=wrong)
    frames[1].info["energy"] = 0.0
    with pytest.raises(InputError, match="draw 0 of chain 0 has no energy while others have"):
        read_trajectory(frames, lattice)


def test_a_beginning_that_is_not_equilibrated_is_told_with_its_length():
    run, _, _ = exact_run((1500.0,), n_draws=400, config=CANONICAL)
    point = run.points[0]
    energies = point.energy.values[:, 0].copy()
    energies[:120] += np.linspace(3.0, 0.5, 120)
    frames = frames_of(run.lattice, point.occupation.values[:, 0], energies)
    read = {"temperature": 1500.0, "ensemble": "canonical"}
    results = analyze_run(read_trajectory(frames, run.lattice, **read))
    (text,) = [c["text"] for c in results["caveats"] if c["code"] == "burn-in"]
    start = int(text.partition("start = ")[2].rstrip("."))
    assert 100 <= start < 160
    assert "burn-in" not in codes(
        analyze_run(read_trajectory(frames, run.lattice, start=start, **read))
    )


def test_too_few_draws_and_unmixed_chains_are_no_result():
    lattice = perovskite(2, 2, 2)
    rng = np.random.default_rng(0)
    few = read_trajectory(
        frames_of(lattice, lattice.random(HALF, rng, 3)), lattice, temperature=900.0
    )
    point = analyze_run(few)["points"][0]
    assert not point["converged"]
    assert "of at least 100" in point["orders"]["rock-salt"]["why"] or "too few" in str(point)
    states = lattice.enumerate(HALF)
    sources = [frames_of(lattice, states[rng.integers(0, n, 200)]) for n in (5, 70)]
    stuck = analyze_run(read_trajectory(sources, lattice, temperature=900.0))
    assert not stuck["points"][0]["converged"]
    text = next(c["text"] for c in stuck["caveats"] if c["code"] == "unconverged")
    assert "R-hat" in text


def test_a_report_of_a_trajectory_can_be_written(swept, tmp_path):
    run, _ = swept
    export_run(run, tmp_path / "run.traj")
    found = read_trajectory(tmp_path / "run.traj", run.lattice)
    write_report(found, tmp_path / "report.html")
    assert "rock-salt" in (tmp_path / "report.html").read_text()


# ---- refusals


def spoiled(change):
    lattice = perovskite(2, 2, 2)
    frames = frames_of(lattice, lattice.random(HALF, np.random.default_rng(0), 3))
    frames[2] = change(frames[2]) or frames[2]
    return lattice, frames


def put(old, symbol):
    def change(atoms):
        atoms.symbols[np.flatnonzero(np.isin(atoms.symbols, old))[0]] = symbol

    return change


def move(atoms):
    atoms.positions[3] += 1.2


def stretch(atoms):
    atoms.set_cell(1.5 * atoms.cell.array)


WRONG = {
    "an element that may not be there": (
        put(["Sc", "Ta"], "Nb"),
        "Nb where the lattice has a site for Sc",
    ),
    "another spectator": (put(["Sr"], "Ba"), "Ba where the lattice has a fixed Sr"),
    "an atom astray": (move, "more than"),
    "another cell": (stretch, "cell"),
    "an atom too few": (lambda a: a[[*range(3), *range(4, 40)]], "no atom where"),
    "an atom too many": (lambda a: a + Atoms("O", [[0.3, 0.2, 0.1]]), "both nearest"),
    "no structure": (lambda _: "frame", "is a str"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_frame_of_another_lattice_is_named_with_what_differs(what):
    change, message = WRONG[what]
    lattice, frames = spoiled(change)
    with pytest.raises(InputError, match=f"^frame 2 of trajectory 0.*{message}") as caught:
        read_trajectory(frames, lattice)
    assert "\n" not in str(caught.value)


def test_the_wrong_lattice_is_refused_for_a_file_and_a_container(mchammer_run, tmp_path):
    lattice = perovskite(2, 2, 2)
    other = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 2))
    write(tmp_path / "run.extxyz", frames_of(other, np.zeros((2, 8), int)))
    with pytest.raises(InputError, match=r"^frame 0 of run.extxyz: .*Ti where the lattice has"):
        read_trajectory(tmp_path / "run.extxyz", lattice)
    with pytest.raises(InputError, match=r"^frame 0 of run.dc: the structure's cell"):
        read_trajectory(mchammer_run[1], lattice)


def test_a_canonical_trajectory_keeps_its_composition():
    lattice = perovskite(2, 2, 2)
    frames = frames_of(lattice, np.eye(8, dtype=int)[:, ::-1].cumsum(axis=0))
    with pytest.raises(InputError, match=r"draw 1 of chain 0 has .6, 2.*keeps its composition"):
        read_trajectory(frames, lattice, temperature=900.0, ensemble="canonical")
    run = read_trajectory(frames, lattice, temperature=900.0)
    assert run.attrs["trajectory"]["open"] == ["B"]
    results = analyze_run(run)
    assert results["layout"]["free"] == ["B"]
    assert results["points"][0]["orders"] == {}


def test_what_is_said_of_a_trajectory_must_fit_it(tmp_path):
    lattice = perovskite(2, 2, 2)
    frames = frames_of(lattice, lattice.random(HALF, np.random.default_rng(0), 3))
    for arguments, message in (
        ({"ensemble": "microcanonical"}, "'microcanonical' is not known"),
        ({"temperature": -3.0}, "not positive"),
        ({"temperature": (1.0, 2.0)}, "2 temperatures were given for 1 sources"),
        ({"start": 3}, "no draws are left of 3 frames"),
        ({"every": 0}, "every = 0"),
        ({"tolerance": 0.0}, "tolerance"),
    ):
        with pytest.raises(InputError, match=message):
            read_trajectory(frames, lattice, **arguments)
    with pytest.raises(InputError, match="no trajectory is given"):
        read_trajectory([], lattice)
    with pytest.raises(InputError, match="int is no trajectory"):
        read_trajectory(3, lattice)
    with pytest.raises(InputError, match=r"'none.xyz' does not exist"):
        read_trajectory("none.xyz", lattice)
    (tmp_path / "bad.extxyz").write_text("3\nnothing\nPb\n")
    with pytest.raises(InputError, match=r"frame 0 of bad.extxyz cannot be read by ASE"):
        read_trajectory(tmp_path / "bad.extxyz", lattice)
    for number, atoms in enumerate(frames):
        atoms.info["temperature"] = 900.0 + number
    with pytest.raises(
        InputError, match=r"frame 1 of trajectory 0 is at 901.0 K.*give temperature"
    ):
        read_trajectory(frames, lattice)
    assert float(read_trajectory(frames, lattice, temperature=900).points[0].temperature) == 900.0
    with pytest.raises(InputError, match="no temperature"):
        analyze_run(read_trajectory([a.copy() for a in frames_of(lattice, [[0] * 8])], lattice))


def test_sources_of_different_ensembles_are_refused(swept, mchammer_run, tmp_path):
    run, _ = swept
    export_run(run, tmp_path / "run.traj", point=0, chain=0)
    with pytest.raises(InputError, match="says canonical"):
        read_trajectory(tmp_path / "run.traj", run.lattice, ensemble="semi-grand")


# ---- the command line


@pytest.fixture
def exported(swept, tmp_path, monkeypatch):
    run, expected = swept
    monkeypatch.chdir(tmp_path)
    export_run(run, tmp_path / "run.extxyz")
    (tmp_path / "campaign.toml").write_text(TOY.replace("3.98", "4.0"))
    return expected


def test_a_file_is_analysed_with_the_lattice_of_a_campaign(exported, capsys):
    arguments = ["analyze", "run.extxyz", "--lattice", "campaign.toml", "--json"]
    assert main(arguments) in {0, 3}
    found = json.loads(capsys.readouterr().out)
    for ours, theirs in zip(found["points"], exported["points"], strict=True):
        assert ours["energy"] == theirs["energy"]
        assert ours["warren_cowley"] == theirs["warren_cowley"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run.extxyz"], "give --lattice"),
        (["run.extxyz", "--lattice", "none.toml"], "none.toml"),
        (["none.xyz", "--lattice", "campaign.toml"], "does not exist"),
        (["run.extxyz", "--lattice", "campaign.toml", "--watch", "1"], "leave --lattice out"),
        (["run.extxyz", "--lattice", "campaign.toml", "--csv", "--json"], "exclude each other"),
        (["run.extxyz", "--lattice", "campaign.toml", "--start", "1000"], "no draws are left"),
        (["run.extxyz", "--lattice", "campaign.toml", "--ensemble", "nve"], "'nve' is not known"),
        (["folder", "--temperature", "900"], "for trajectory files"),
        (["folder", "other"], "no run directory folder"),
    ],
)
def test_bad_input_of_a_trajectory_is_one_line(exported, arguments, message, capsys):
    assert main(["analyze", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1


def test_a_file_without_a_temperature_asks_for_it(exported, tmp_path, capsys):
    lattice = perovskite(2, 2, 2)
    write("plain.extxyz", frames_of(lattice, lattice.random(HALF, np.random.default_rng(0), 9)))
    assert main(["analyze", "plain.extxyz", "--lattice", "campaign.toml"]) == 2
    assert "give --temperature" in capsys.readouterr().err
    code = main(["analyze", "plain.extxyz", "--lattice", "campaign.toml", "--temperature", "900"])
    captured = capsys.readouterr()
    assert code == 3
    assert "does not say in which ensemble" in captured.out


def test_points_may_be_put_together_from_arrays_of_another_program():
    lattice = perovskite(2, 2, 2)
    occupation = lattice.random(HALF, np.random.default_rng(0), 40).reshape(20, 2, 8)
    arrays = {"occupation": occupation, "energy": np.zeros((20, 2))}
    run = Run((point_dataset(arrays, {"temperature": 900.0}),), lattice)
    assert analyze_run(run)["points"][0]["n_draws"] == 20
