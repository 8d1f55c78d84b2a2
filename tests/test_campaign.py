"""Campaign files, run directories and readers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tomli_w
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import alchemc
import alchemc.potentials
from alchemc import analysis, campaign, statistics
from alchemc.campaign import build, checkpoint, config, display, events, lock, starter
from alchemc.campaign.engine import Progress, commit_interval
from alchemc.campaign.precision import PrecisionMonitor
from alchemc.errors import InputError, StoredRunError
from campaign_tools import TOY, samples_of, start_child, toy_campaign, wait_for
from toy_potential import ToyPotential

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"toy": ToyPotential}, raising=False)
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def run_path(tmp_path):
    campaign.start_run(toy_campaign(), tmp_path / "run")
    return tmp_path / "run"


# ---- campaign files --------------------------------------------------------------------------


def test_the_orders_of_a_campaign_are_those_of_the_analysis():
    assert set(get_args(config.Order)) == set(analysis.NAMED_ORDERS)


def test_the_kinds_of_a_campaign_are_those_that_exist():
    from alchemc import builders, sampler

    kinds = config.Sampler.model_fields["kind"].annotation
    assert set(get_args(kinds)) == set(sampler.KERNELS)
    assert set(config.PROTOTYPE_KEYS) == set(builders.PROTOTYPES)


CAMPAIGNS = sorted(p for p in EXAMPLES.glob("*.toml") if "[ensemble]" in p.read_text("utf-8"))


@pytest.mark.parametrize("file", CAMPAIGNS, ids=lambda path: path.name)
def test_examples_are_valid_and_their_crystals_can_be_built(file):
    found = campaign.load_config(file)
    crystal = build.build_crystal(found, file.parent)
    resolved = build.resolve(found, crystal.lattice, file.parent, seed=1)
    assert resolved.run.seed is not None


def test_the_starter_campaign_explains_every_key():
    found = campaign.parse_config(starter.STARTER)
    for section in ("structure", "potential", "ensemble", "sampler", "run", "analysis"):
        given = getattr(found, section).model_fields_set | {
            key for key in type(getattr(found, section)).model_fields if key in starter.STARTER
        }
        assert {"prototype", "kind", "draws", "orders"} & given
    build.build_crystal(found, Path())


def test_defaults_are_written_out(tmp_path):
    text = TOY.replace("thin = 2\nwarmup = 7\nseed = 11\n", "")
    campaign.start_run(campaign.parse_config(text), tmp_path / "run")
    run = campaign.open_run(tmp_path / "run").config["run"]
    assert run["thin"] == 8
    assert run["warmup"] == 40
    assert run["seed"] >= 0
    again = campaign.parse_config(text.replace("[run]", f"[run]\nseed = {run['seed']}"))
    campaign.start_run(again, tmp_path / "again")
    for ours, theirs in zip(
        samples_of(tmp_path / "run"), samples_of(tmp_path / "again"), strict=True
    ):
        np.testing.assert_array_equal(ours["occupation"], theirs["occupation"])


def test_two_runs_without_a_seed_differ(tmp_path):
    seeds = set()
    for name in ("one", "two"):
        text = TOY.replace("seed = 11\n", "").replace("draws = 25", "draws = 2")
        campaign.start_run(campaign.parse_config(text), tmp_path / name)
        seeds.add(campaign.describe(tmp_path / name).seed)
    assert len(seeds) == 2


def test_several_sublattices_and_a_sublattice_order(tmp_path):
    text = TOY.replace('A = "Sr"', 'A = ["Sr", "Ba"]').replace(
        "[potential]", "[sublattices.A]\ncomposition = { Sr = 0.5, Ba = 0.5 }\n[potential]"
    )
    text = text.replace("seed = 11", 'seed = 11\nprecision = { "B rock-salt" = 1e-6 }')
    campaign.start_run(campaign.parse_config(text), tmp_path / "run")
    run = campaign.open_run(tmp_path / "run")
    assert run.lattice.names == ("A", "B")
    counts = run.lattice.counts(run.points[0]["occupation"].values[-1].astype(np.int8))
    assert (counts == 4).all()


def test_one_species_with_two_charges_in_a_prototype_is_refused(tmp_path):
    text = TOY.replace('A = "Sr"', 'A = ["Sr", "Sc"]').replace(
        "[sublattices.B]",
        "[sublattices.A]\ncomposition = { Sr = 0.5, Sc = 0.5 }\ncharges = { Sr = 2, Sc = 2 }\n"
        "[sublattices.B]\ncharges = { Sc = 3, Ta = 5 }",
    )
    with pytest.raises(InputError, match=r"sublattices.B.charges.Sc = 3 .* 2 elsewhere"):
        campaign.start_run(campaign.parse_config(text), tmp_path / "run")


def test_a_cif_with_partial_occupancies_needs_no_sublattices(tmp_path):
    cif = """data_x
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Sr1 Sr 0 0 0 1
Sc1 Sc 0.5 0.5 0.5 0.5
Ta1 Ta 0.5 0.5 0.5 0.5
O1 O 0.5 0.5 0 1
O2 O 0.5 0 0.5 1
O3 O 0 0.5 0.5 1
"""
    (tmp_path / "cell.cif").write_text(cif)
    head, _, rest = TOY.partition("[structure]")
    rest = rest.partition("[potential]")[2]
    text = f'{head}[structure]\nfile = "cell.cif"\nsupercell = [2, 2, 2]\n[potential]{rest}'
    campaign.start_run(campaign.parse_config(text), tmp_path / "run", tmp_path)
    (name,) = campaign.open_run(tmp_path / "run").lattice.names
    stored = campaign.open_run(tmp_path / "run").config["sublattices"][name]
    assert stored["composition"] == {"Sc": 0.5, "Ta": 0.5}


def test_a_prototype_takes_no_sites_and_a_file_needs_them(tmp_path):
    text = TOY.replace("[sublattices.B]", '[sublattices.B]\nsites = "Ti"')
    with pytest.raises(InputError, match="brings its own sites"):
        campaign.start_run(campaign.parse_config(text), tmp_path / "run")


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from(["draws", "thin", "chains", "warmup", "seed", "drawz"]),
        st.one_of(st.integers(-3, 9), st.floats(), st.text(max_size=3), st.booleans()),
        max_size=4,
    )
)
def test_any_run_section_is_taken_or_refused_in_one_line(section):
    head, _, rest = TOY.partition("[run]")
    tail = rest.partition("[analysis]")[2]
    text = f"{head}{tomli_w.dumps({'run': section})}\n[analysis]{tail}"
    found, message = None, ""
    try:
        found = campaign.parse_config(text)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    if found is not None:
        assert found.run.model_dump(include=set(section)) == section


# ---- run directories -------------------------------------------------------------------------


def test_plain_xarray_reads_a_run(run_path):
    stored = xr.open_zarr(run_path / "samples.zarr", group="point-001", consolidated=False)
    assert stored["occupation"].dims == ("draw", "chain", "site")
    assert stored["occupation"].dtype == np.uint8
    assert float(stored["temperature"]) == 1000.0
    assert "temperature" in stored.coords
    assert stored.attrs["committed_draws"] == 25
    assert stored["energy"].attrs["units"] == "eV"


def test_nothing_of_a_run_is_pickled(run_path):
    for file in run_path.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not data.startswith(b"\x80\x04")
            assert b"numpy.core.multiarray" not in data
    with np.load(max((run_path / "checkpoint").glob("*.npz")), allow_pickle=False) as archive:
        assert set(archive.files) == {
            "state.occupations",
            "state.energy",
            "state.gradient",
            "drift",
        }


def test_two_generations_of_checkpoints_are_kept(run_path):
    assert len(list((run_path / "checkpoint").glob("*.json"))) == 2
    assert len(list((run_path / "checkpoint").glob("*.npz"))) == 2


def test_only_committed_draws_are_shown_while_a_run_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "run"
    asked = itertools.count()
    seen = []

    def look():
        if path.exists():
            point = campaign.describe(path).points[0]
            seen.append(point.committed)
            if point.committed:
                assert campaign.open_run(path).points[0].sizes["draw"] == point.committed
            assert campaign.describe(path).state == "running"
        return next(asked) > 14

    campaign.start_run(toy_campaign(), path, should_stop=look)
    assert set(seen) == {0, 3, 6, 9}
    assert campaign.describe(path).state == "stopped"


def test_a_run_without_draws_says_so(tmp_path):
    campaign.start_run(toy_campaign(), tmp_path / "run", should_stop=lambda: True)
    with pytest.raises(StoredRunError, match="no committed draws yet"):
        campaign.open_run(tmp_path / "run")
    assert campaign.describe(tmp_path / "run").points[0].state == "warm-up, step 0"


def test_the_sweep_falls_and_each_temperature_starts_from_the_last(tmp_path):
    config = toy_campaign(draws=1, thin=1, warmup=0)
    config = config.model_copy(
        update={"ensemble": config.ensemble.model_copy(update={"temperatures": [900.0, 1e-3]})}
    )
    campaign.start_run(config, tmp_path / "run")
    hot, cold = campaign.open_run(tmp_path / "run").points
    moved = (hot["occupation"].values[-1] != cold["occupation"].values[0]).sum(axis=-1)
    assert (moved <= 2).all()  # one swap at most


def test_a_stored_run_rebuilds_its_energy_model(run_path):
    run = alchemc.open_run(run_path)
    point = run.points[0]
    energies = run.hamiltonian().energy(point["occupation"].values[7].astype(np.int8))
    np.testing.assert_array_equal(energies, point["energy"].values[7])


def test_displaced_positions_are_stored_and_used(tmp_path):
    text = TOY.replace("supercell = [2, 2, 2]", "supercell = [2, 2, 2]\ndisplacement = 0.1")
    campaign.start_run(campaign.parse_config(text), tmp_path / "run")
    stored = json.loads((tmp_path / "run/structure.json").read_text())
    run = campaign.open_run(tmp_path / "run")
    expected = run.lattice.displaced_positions(0.1, 0)
    np.testing.assert_array_equal(np.array(stored["positions"]), expected)


def test_changed_versions_are_told_and_logged(tmp_path, monkeypatch):
    path = tmp_path / "run"
    campaign.start_run(toy_campaign(), path, should_stop=lambda: True)
    file = path / "run.toml"
    file.write_text(file.read_text().replace('alchemc = "', 'alchemc = "0.0.0-'))
    warnings = []
    assert campaign.resume_run(path, warn=warnings.append)
    assert len(warnings) == 1
    assert "alchemc: 0.0.0-" in warnings[0]
    assert any(
        "changes" in event and event["changes"] for event in events.read(path / "events.jsonl")
    )


def test_events_survive_a_line_cut_short(tmp_path):
    path = tmp_path / "events.jsonl"
    events.log(path, "started", seed=1)
    path.write_bytes(path.read_bytes() + b'{"time": "2024')
    events.log(path, "resumed")
    path.write_bytes(path.read_bytes() + b"17\n")
    assert [event["event"] for event in events.read(path)] == ["started", "resumed"]
    assert events.read(tmp_path / "none.jsonl") == []


def test_one_writer_at_a_time_across_processes(tmp_path):
    with lock.run_lock(tmp_path):
        assert lock.is_locked(tmp_path)

        def second():
            with (
                pytest.raises(StoredRunError, match="being written by process"),
                lock.run_lock(tmp_path),
            ):
                pass

        assert wait_for(start_child(second)) == 0
    assert not lock.is_locked(tmp_path)
    with lock.run_lock(tmp_path):
        pass


def test_a_digest_guards_every_byte_of_a_checkpoint(tmp_path):
    first = checkpoint.Checkpoint(0, "warmup", 3, (0,), (), ({"a": 1},), arrays={"x": np.ones(3)})
    stored = checkpoint.save(tmp_path, first)
    second = checkpoint.save(tmp_path, stored)
    assert second.generation == 2
    file = tmp_path / "00000002.json"
    file.write_text(file.read_text().replace('"warmup_steps": 3', '"warmup_steps": 4'))
    found = checkpoint.load(tmp_path)
    assert (found.generation, found.warmup_steps) == (1, 3)
    assert checkpoint.load_progress(tmp_path).generation == 1


# ---- precision -------------------------------------------------------------------------------


def hot(**run):
    found = toy_campaign(**run)
    ensemble = found.ensemble.model_copy(update={"temperatures": [20000.0]})
    return found.model_copy(update={"ensemble": ensemble})


def test_a_temperature_ends_once_its_quantities_are_precise_enough(tmp_path):
    found = hot(draws=600, thin=4, precision={"energy": 0.02, "rock-salt": 0.05})
    campaign.start_run(found, tmp_path / "run")
    run = campaign.open_run(tmp_path / "run")
    assert run.attrs["ended_by"] == ["precision"]
    draws = run.points[0].sizes["draw"]
    assert draws < 600
    assert draws % commit_interval(600) == 0
    result = statistics.summary(run.points[0]["energy"].values)
    assert result.converged
    assert result.error <= 0.02
    before = run.points[0]["energy"].values[: draws - commit_interval(600)]
    order = analysis.ordering_series(run.lattice, run.points[0]["occupation"], "rock-salt")
    early = [
        statistics.summary(before),
        statistics.summary(order.values[: len(before)]),
    ]
    assert any(
        not r.converged or r.error > goal for r, goal in zip(early, (0.02, 0.05), strict=True)
    )
    whole = xr.open_zarr(tmp_path / "run/samples.zarr", group="point-000", consolidated=False)
    assert (whole["occupation"].values[draws:] == 255).all()


def test_the_decision_on_precision_survives_a_stop(tmp_path):
    found = hot(draws=600, thin=4, precision={"energy": 0.02, "rock-salt": 0.05})
    campaign.start_run(found, tmp_path / "whole")
    asked = itertools.count()
    campaign.start_run(found, tmp_path / "run", should_stop=lambda: next(asked) > 100)
    while not campaign.resume_run(tmp_path / "run", should_stop=lambda: next(asked) % 37 == 0):
        pass
    (whole,), (pieces,) = samples_of(tmp_path / "whole"), samples_of(tmp_path / "run")
    assert len(whole["energy"]) == len(pieces["energy"])
    np.testing.assert_array_equal(whole["occupation"], pieces["occupation"])


def test_the_precision_of_an_order_that_cannot_be_is_refused_before_anything_runs(tmp_path):
    text = TOY.replace('A = "Sr"', 'A = ["Sr", "Ba"]').replace(
        "[potential]", "[sublattices.A]\ncomposition = { Sr = 1.0, Ba = 0.0 }\n[potential]"
    )
    text = text.replace("seed = 11", 'seed = 11\nprecision = { "A rock-salt" = 0.1 }')
    with pytest.raises(InputError, match=r"run.precision: 'A rock-salt' .* one species"):
        campaign.start_run(campaign.parse_config(text), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_constant_series_are_never_precise_enough():
    monitor = PrecisionMonitor(None, {"energy": 1.0})
    monitor.add({"energy": np.zeros((200, 4))})
    assert not monitor.reached()
    assert not PrecisionMonitor(None, {}).reached()


# ---- displays --------------------------------------------------------------------------------


def progress(**changes) -> Progress:
    values = {
        "point": 1,
        "n_points": 3,
        "label": "1500 K",
        "phase": "sampling",
        "done": 60,
        "total": 100,
        "draws": 30,
        "acceptance": 0.5,
        "energies": np.random.default_rng(1).normal(size=(30, 2)),
    }
    return Progress(**values | changes)


def test_plain_lines_tell_the_end_of_every_temperature():
    lines = []
    with display.progress_lines(lines.append) as show:
        show(progress())
        show(progress(done=100, draws=50))
        show(progress(done=100, draws=50, phase="done"))
    assert len(lines) == 1
    assert lines[0].startswith("1500 K (2/3) done, 100% of its steps, 50 draws")
    assert "ESS" in lines[0]
    assert "steps/s" in lines[0]


def test_a_temperature_that_ends_early_has_its_line_too(tmp_path):
    lines = []
    with display.progress_lines(lines.append) as show:
        campaign.start_run(
            hot(draws=600, thin=4, precision={"energy": 0.1}), tmp_path / "run", progress=show
        )
    (point,) = campaign.open_run(tmp_path / "run").points
    assert point.sizes["draw"] < 600
    assert len(lines) == 1
    assert lines[0].startswith("20000 K (1/1) done, ")
    assert f" {point.sizes['draw']} draws" in lines[0]


def test_steps_that_an_early_end_spared_do_not_count_as_rate(monkeypatch):
    clock = iter([0.0, 10.0, 20.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    rate = display._Rate()
    rate(progress(point=0, done=20))
    assert rate(progress(point=0, done=30)) == 1.0
    assert rate(progress(point=1, done=10)) == 1.0


def test_numbers_of_a_display_are_never_in_powers_of_ten():
    assert [display._number(x) for x in (999.7, 1234.5, 0.25, np.nan)] == [
        "1,000",
        "1,234",
        "0.25",
        "–",
    ]


def test_a_warm_up_of_no_steps_has_no_acceptance(tmp_path):
    campaign.start_run(toy_campaign(draws=2, warmup=0), tmp_path / "run")
    logged = events.read(tmp_path / "run/events.jsonl")
    warm = [event["acceptance"] for event in logged if event["event"] == "warmed up"]
    assert warm == [None, None]


def test_a_display_that_fails_is_not_called_a_full_disk(tmp_path):
    def closed(_):
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        campaign.start_run(toy_campaign(), tmp_path / "run", progress=closed)
    assert campaign.resume_run(tmp_path / "run")


def test_the_bar_shows_rate_acceptance_ess_and_time_left():
    from rich.console import Console

    console = Console(force_terminal=True, width=120, record=True)
    with display.progress_bar(console) as show:
        for done in range(0, 100, 10):
            show(progress(done=done))
    text = console.export_text()
    for part in ("1500 K (2/3)", "steps/s", "acceptance 0.5", "ESS", "%"):
        assert part in text


def test_the_campaign_package_is_imported_without_its_parts():
    code = (
        "import sys, alchemc.campaign as c; dir(c); "
        "print(sorted({'zarr', 'xarray', 'torch', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = campaign.nothing
