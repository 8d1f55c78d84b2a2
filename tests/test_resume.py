"""A run that was killed, anywhere, goes on to the samples of an uninterrupted one, bit for bit."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import alchemc.potentials
from alchemc import campaign
from alchemc.campaign import checkpoint, engine, events, files
from alchemc.campaign.directory import RunDirectory
from alchemc.campaign.report import report_page
from alchemc.errors import StoredRunError
from campaign_tools import (
    SCAN,
    TOY,
    assert_same_samples,
    go_on,
    run_block_by_block,
    samples_of,
    start_child,
    toy_campaign,
    wait_for,
)
from mace_families import random_model
from toy_potential import ToyPotential

OPERATIONS = ("write", "append", "fsync", "rename", "make_directory", "remove")


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"toy": ToyPotential}, raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # SIGKILL leaves the page cache; keep it fast


@pytest.fixture
def uninterrupted(tmp_path):
    """Samples of the campaign run in one go."""

    def run(config):
        assert campaign.start_run(config, tmp_path / "uninterrupted")
        return samples_of(tmp_path / "uninterrupted")

    return run


def kill_at(target: int, moment: str) -> None:
    """Arm this process: SIGKILL before, in the middle of or after the target-th operation."""
    counter = itertools.count()

    def armed(operation):
        def run(*arguments):
            here = next(counter) == target
            if here and moment == "middle":
                path, data = arguments
                operation(path, data[: len(data) // 2])
            elif not (here and moment == "before"):
                operation(*arguments)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)

        return run

    for name in OPERATIONS:
        setattr(files, name, armed(getattr(files, name)))


def moments(operations: list[str]) -> list[tuple[int, str]]:
    """Every moment at which a process can die: after an operation is before the next."""
    found = []
    for target, operation in enumerate(operations):
        found.append((target, "before"))
        if operation in {"write", "append"}:
            found.append((target, "middle"))
    return [*found, (len(operations) - 1, "after")]


def operations_of(monkeypatch, action) -> list[str]:
    """Names of the file operations that an action makes, in order."""
    names = []
    with monkeypatch.context() as patch:
        for name in OPERATIONS:
            original = getattr(files, name)

            def noted(*arguments, original=original, name=name):
                names.append(name)
                original(*arguments)

            patch.setattr(files, name, noted)
        action()
    return names


@pytest.mark.slow
@pytest.mark.timeout(1800)  # half a minute alone, more on a busy machine
def test_a_kill_around_every_file_operation_loses_nothing(tmp_path, monkeypatch, uninterrupted):
    config = toy_campaign(draws=3, warmup=2)
    monkeypatch.setattr("alchemc.campaign.runs.commit_interval", lambda _: 2)
    expected = uninterrupted(config)
    operations = operations_of(
        monkeypatch,
        lambda: campaign.start_run(config, tmp_path / "counted", checkpoint_seconds=0),
    )
    assert {"write", "append", "fsync", "rename", "make_directory", "remove"} == set(operations)
    for target, moment in moments(operations):
        path = tmp_path / f"{target}-{moment}"

        def interrupted(path=path, target=target, moment=moment):
            kill_at(target, moment)
            campaign.start_run(config, path, checkpoint_seconds=0)

        assert wait_for(start_child(interrupted)) == -signal.SIGKILL
        assert go_on(path, config)
        assert_same_samples(path, expected)
        shutil.rmtree(path)
    print(f"{len(operations)} file operations, {len(moments(operations))} kills survived")


@pytest.mark.slow
@pytest.mark.parametrize(("text", "most"), [(TOY, 20), (SCAN, 8)], ids=["sweep", "scan"])
def test_kills_at_random_moments_lose_nothing(tmp_path, monkeypatch, uninterrupted, text, most):
    config = toy_campaign(text, draws=60, thin=4, warmup=240)
    expected = uninterrupted(config)
    monkeypatch.setenv("TOY_DELAY", "0.0005")
    rng = np.random.default_rng(2024)
    kills, runs, phases = 0, 0, set()
    while kills < most:
        path = tmp_path / f"run{runs}"
        process = start_child(lambda path=path: go_on(path, config, checkpoint_seconds=0.02))
        time.sleep(rng.uniform(0.02, 0.4))
        os.kill(process, signal.SIGKILL)
        if wait_for(process) == 0:  # it was faster: on to the next run
            assert_same_samples(path, expected)
            runs += 1
            continue
        kills += 1
        if path.exists():
            phases.add(checkpoint.load_progress(path / "checkpoint").phase)
    monkeypatch.setenv("TOY_DELAY", "0")
    assert go_on(path, config)
    assert_same_samples(path, expected)
    assert text is not TOY or {"warmup", "sampling"} <= phases  # few kills may miss one
    print(f"{kills} kills over {runs + 1} runs survived")


def test_a_stop_on_request_keeps_draws_that_fill_no_chunk(tmp_path, uninterrupted):
    config = toy_campaign()
    expected = uninterrupted(config)
    path = tmp_path / "stopped"
    asked = itertools.count()
    finished = campaign.start_run(config, path, should_stop=lambda: next(asked) >= 9)
    assert not finished
    last = checkpoint.load(path / "checkpoint")
    assert last.phase == "sampling"
    assert len(last.arrays["pending.energy"]) > 0
    assert campaign.resume_run(path)
    assert_same_samples(path, expected)


def test_stopping_at_every_block_changes_nothing(tmp_path, uninterrupted):
    config = toy_campaign(draws=7)
    expected = uninterrupted(config)
    path = tmp_path / "stopped"

    assert run_block_by_block(config, path) > 15
    assert_same_samples(path, expected)


class DriftingPotential(ToyPotential):
    """Running energies whose derivation from scratch changes them, most at the second commit."""

    calls = 0

    def rederived(self, occupations, energies):
        type(self).calls += 1
        most = 3.0 if self.calls == 2 else self.calls / 1000
        drift = np.full(len(energies), most * 1e-10)
        return energies + 1e-9 * np.abs(energies), drift


SURROGATES = {
    "surrogate": {"kind": "surrogate", "kernels": None},
    "mixture": {
        "kind": "mixture",
        "kernels": [{"kind": "surrogate"}, {"kind": "path-auxiliary", "weight": 2.0}],
    },
}


@pytest.mark.parametrize("kind", SURROGATES)
def test_a_surrogate_that_is_stopped_while_it_learns_goes_on_bit_for_bit(
    tmp_path, uninterrupted, kind
):
    config = campaign.parse_config(TOY)
    plain = config.model_dump(mode="json", exclude_none=True)
    plain["sampler"] = {k: v for k, v in SURROGATES[kind].items() if v is not None}
    plain["run"] |= {"draws": 6, "warmup": 12}
    config = type(config).model_validate(plain)
    expected = uninterrupted(config)
    path = tmp_path / "stopped"

    run_block_by_block(config, path)
    assert_same_samples(path, expected)
    logged = events.read(RunDirectory(path).events)
    warmed = [event["sampler"] for event in logged if event["event"] == "warmed up"]
    assert len(warmed) == 2
    if kind == "surrogate":
        assert all(0.0 < found["expected_acceptance"] <= 1.0 for found in warmed)
        run = campaign.open_run(path)
        assert run.attrs["learnt"] == dict(enumerate(warmed))
        page = report_page(run)
        assert "What the sampler learnt in warm-up" in page
        assert "fitted to gradients" in page


def test_running_energies_are_derived_anew_at_commits_and_the_drift_is_logged(
    tmp_path, monkeypatch, uninterrupted
):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"toy": DriftingPotential})
    monkeypatch.setattr(DriftingPotential, "calls", 0)
    config = toy_campaign()
    expected = uninterrupted(config)
    logged = events.read(RunDirectory(tmp_path / "uninterrupted").events)
    done = [event for event in logged if event["event"] == "point done"]
    commits = -(-25 // engine.commit_interval(25))
    assert DriftingPotential.calls == 2 * commits
    assert [event["drift"] for event in done] == [3e-10, pytest.approx(2e-13 * commits)]
    DriftingPotential.calls = 0
    path = tmp_path / "stopped"

    run_block_by_block(config, path)
    assert_same_samples(path, expected)
    logged = events.read(RunDirectory(path).events)
    again = [event for event in logged if event["event"] == "point done"]
    assert [event["drift"] for event in again] == [event["drift"] for event in done]


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(tmp_path, uninterrupted):
    config = toy_campaign()
    expected = uninterrupted(config)
    for damage in (b"", b"{", b"\x00" * 100):
        for suffix in (".json", ".npz"):
            path = tmp_path / f"damaged{len(damage)}{suffix}"
            asked = itertools.count()
            campaign.start_run(config, path, should_stop=lambda asked=asked: next(asked) >= 16)
            newest = max((path / "checkpoint").glob(f"*{suffix}"))
            newest.write_bytes(damage)
            assert campaign.resume_run(path)
            assert_same_samples(path, expected)


def test_two_damaged_checkpoints_are_one_clear_error(tmp_path):
    path = tmp_path / "run"
    campaign.start_run(toy_campaign(), path)
    for file in (path / "checkpoint").glob("*.json"):
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(StoredRunError, match="no intact checkpoint"):
        campaign.resume_run(path)
    with pytest.raises(StoredRunError, match="no intact checkpoint"):
        campaign.open_run(path)


def test_tuned_parameters_of_a_kernel_are_restored(tmp_path):
    nested = {"0": {"radius": 3, "weights": np.arange(3.0)}, "1": {}}
    scalars, arrays = engine._split(nested)
    stored = checkpoint.Checkpoint(
        point=0,
        phase="sampling",
        warmup_steps=5,
        committed=(0,),
        ended_by=(),
        generators=(),
        kernel=scalars,
        arrays=arrays,
    )
    checkpoint.save(tmp_path, stored)
    restored = engine._joined(checkpoint.load(tmp_path))
    assert restored["0"]["radius"] == 3
    np.testing.assert_array_equal(restored["0"]["weights"], np.arange(3.0))
    assert restored["1"] == {}


def test_chains_are_the_same_however_many_run_beside_them(tmp_path):
    """Without a warm-up, in which kernels learn from all chains."""
    campaign.start_run(toy_campaign(chains=1, warmup=0), tmp_path / "one")
    campaign.start_run(toy_campaign(chains=3, warmup=0), tmp_path / "three")
    (alone, *_), (among, *_) = samples_of(tmp_path / "one"), samples_of(tmp_path / "three")
    np.testing.assert_array_equal(alone["occupation"][:, 0], among["occupation"][:, 0])


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    path = tmp_path / "run"
    campaign.start_run(toy_campaign(draws=5), path)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}
    assert campaign.resume_run(path)
    del before[path / "lock"]
    assert all(file.stat().st_mtime_ns == when for file, when in before.items())


@pytest.mark.slow
def test_a_mace_run_killed_in_another_process_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.delattr(alchemc.potentials, "POTENTIALS")
    alchemc.potentials.save_mace(random_model("plain"), tmp_path / "model", {"name": "tiny"})
    text = TOY.replace('kind = "toy"\nmodel = "0.02"', 'kind = "mace"\nmodel = "model"')
    (tmp_path / "mace.toml").write_text(text.replace("draws = 25", "draws = 6"))
    config = campaign.load_config(tmp_path / "mace.toml")
    campaign.start_run(config, tmp_path / "whole", tmp_path)
    command = [sys.executable, "-m", "alchemc.cli"]
    process = subprocess.Popen([*command, "run", "mace.toml", "-o", "run"], cwd=tmp_path)
    while process.poll() is None and not (tmp_path / "run/samples.zarr/point-000").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert campaign.describe(tmp_path / "run").state in {"stopped", "finished"}
    resumed = subprocess.run([*command, "resume", "run"], cwd=tmp_path, check=False)
    assert resumed.returncode in {0, 3}
    assert_same_samples(tmp_path / "run", samples_of(tmp_path / "whole"))
    energies = campaign.open_run(tmp_path / "run").hamiltonian()
    point = campaign.open_run(tmp_path / "whole").points[0]
    np.testing.assert_allclose(
        energies.energy(point["occupation"].values[-1].astype(np.int8)),
        point["energy"].values[-1],
        atol=1e-10,
    )
