"""A run stored by an earlier version opens in every later one."""

import shutil
from pathlib import Path

import pytest

import alchemc
from alchemc import analysis
from alchemc.campaign import open_run

STORED = Path(__file__).parent / "data" / "run-0.1"


@pytest.fixture
def run(tmp_path):
    shutil.copytree(STORED, tmp_path / "run")
    return open_run(tmp_path / "run")


def test_samples_of_the_stored_run_are_what_they_were(run):
    assert [float(p.temperature) for p in run.points] == [20000.0, 12000.0]
    last = [float(p.energy.values[-1, -1]) for p in run.points]
    assert last == [-343.29392754834345, -344.66051474009896]
    assert all(p.occupation.shape == (8, 2, 8) for p in run.points)
    assert all((p.occupation.values.sum(axis=2) == 4).all() for p in run.points)


def test_the_stored_run_can_be_analysed(run):
    results = analysis.analyze_run(run, orders=["rock-salt"], shells=1)
    assert len(results["points"]) == 2


def test_the_lattice_of_the_stored_run_is_that_of_its_campaign(run):
    lattice = alchemc.builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    assert run.lattice.n_sites == lattice.n_sites
    assert list(run.lattice.sites) == list(lattice.sites)
