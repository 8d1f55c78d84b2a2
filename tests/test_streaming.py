"""Trajectories larger than memory, damage found while reading, and runs that are still going on."""

import csv
import io
import json
import os
import shutil
import signal
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from scipy.sparse import csr_array

from alchemc import analysis, campaign
from alchemc.analysis import analyze_run, estimates, warren_cowley_series
from alchemc.analysis.estimates import LazyChains, as_chains, blocks_of_draws
from alchemc.analysis.order import short_range
from alchemc.campaign import tables
from alchemc.campaign.export import export_run
from alchemc.campaign.samples import SampleWriter, open_point
from alchemc.campaign.stored_arrays import StoredArray
from alchemc.cli import main
from alchemc.commands import watching
from alchemc.errors import InputError, StoredRunError
from alchemc.records import Run, point_dataset
from analysis_cases import HALF, exact_run, perovskite
from campaign_tools import SCAN, TOY, start_child, toy_campaign, wait_for
from toy_potential import ToyPotential

CHUNK = 250


@pytest.fixture(autouse=True)
def toy_kind(monkeypatch):
    monkeypatch.setattr("alchemc.potentials.POTENTIALS", {"toy": ToyPotential}, raising=False)


def stored(lattice, path, n_draws, n_chains=2, seed=0, **coordinates):
    """A point of random draws written as a campaign writes them, and opened."""
    rng = np.random.default_rng(seed)
    where = {"temperature": 900.0, **coordinates}
    sizes = {"draw": n_draws, "chain": n_chains, "site": lattice.n_sites}
    writer = SampleWriter(path / "samples.zarr", (where,), sizes, CHUNK)
    for first in range(0, n_draws, CHUNK):
        shape = (min(CHUNK, n_draws - first), n_chains)
        held = lattice.random(HALF, rng, shape[0] * shape[1]).astype(np.uint8)
        block = {
            "occupation": held.reshape(*shape, -1),
            "energy": rng.normal(size=shape),
            "acceptance": rng.random(shape),
            "energy_calls": np.ones(shape, int),
            "gradient_calls": np.zeros(shape, int),
        }
        writer.append(0, first, block)
    return open_point(path / "samples.zarr", 0, n_draws)


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """2,000 draws of two chains on 1,000 sites: 4 MB of occupations."""
    lattice = perovskite(10, 10, 10)
    point = stored(lattice, tmp_path_factory.mktemp("long"), 2000)
    return Run((point,), lattice)


# ---- bounded memory


def traced_peak(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_peak_of_an_analysis_does_not_grow_with_the_draws(long_run):
    analyze_run(long_run, shells=2)  # imports
    (point,) = long_run.points
    short = Run((point.isel(draw=slice(0, 500)),), long_run.lattice)
    few, many = (traced_peak(lambda r=r: analyze_run(r, shells=2)) for r in (short, long_run))
    series = 8 * 1500 * 2 * (6 + 3 + 12 + 30)  # what is kept of 1,500 more draws, and FFTs of it
    assert many - few < series
    assert many < few + 0.5 * point["occupation"].size


def test_loading_the_whole_is_seen_by_the_same_check(long_run):
    (point,) = long_run.points
    few, many = (
        traced_peak(lambda n=n: point["occupation"].isel(draw=slice(0, n)).to_numpy())
        for n in (500, 2000)
    )
    assert many - few > 0.5 * point["occupation"].size


@pytest.mark.parametrize("measure", ["warren_cowley", "ordering_amplitude"])
def test_order_measures_of_a_stored_point_are_bounded_too(long_run, measure):
    function = getattr(analysis, measure)
    function(long_run.lattice, long_run.points[0]["occupation"].isel(draw=slice(0, 2)))
    peak = traced_peak(lambda: function(long_run.lattice, long_run.points[0]["occupation"]))
    once = traced_peak(
        lambda: function(long_run.lattice, long_run.points[0]["occupation"].isel(draw=slice(500)))
    )
    assert peak < once + 0.5 * long_run.points[0]["occupation"].size


def test_an_export_reads_a_few_draws_at_a_time(tmp_path):
    lattice = perovskite(8, 8, 8)
    point = stored(lattice, tmp_path, 1000, 1)

    def export(n):
        run = Run((point.isel(draw=slice(0, n)),), lattice)
        assert export_run(run, tmp_path / f"{n}.traj", every=n // 2) == 2

    export(500)
    peaks = [traced_peak(lambda n=n: export(n)) for n in (250, 1000)]
    assert peaks[1] < peaks[0] + 0.3 * point["occupation"].size


def test_every_chunk_is_read_once(long_run, monkeypatch):
    reads = []
    before = LazyChains.__getitem__

    def counted(self, key):
        reads.append((key.start, key.stop))
        return before(self, key)

    monkeypatch.setattr(LazyChains, "__getitem__", counted)
    analyze_run(long_run, shells=1)
    assert all(start % CHUNK == 0 for start, _ in reads)
    assert [start for start, _ in reads[1:]] == [stop for _, stop in reads[:-1]]


# ---- the same numbers


@pytest.mark.parametrize("sizes", [(4096, 1 << 20), (7, 1 << 20), (4096, 3000)])
def test_streamed_results_are_those_of_samples_in_memory(long_run, sizes, monkeypatch):
    whole = Run((long_run.points[0].isel(draw=slice(0, 600)).load(),), long_run.lattice)
    expected = analyze_run(whole, shells=2)
    monkeypatch.setattr(estimates, "CONFIGURATIONS_PER_BLOCK", sizes[0])
    monkeypatch.setattr(estimates, "SITES_PER_BLOCK", sizes[1])
    part = Run((long_run.points[0].isel(draw=slice(0, 600)),), long_run.lattice)
    assert analyze_run(part, shells=2) == expected


def test_a_lazy_array_is_read_as_the_array_that_it_stands_for(tmp_path):
    lattice = perovskite(2, 2, 2)
    lazy = stored(lattice, tmp_path, 600, 3)["occupation"]
    plain = lazy.to_numpy()
    for given in (lazy, lazy.transpose("site", "draw", "chain")):
        chains = as_chains(lattice, given)
        assert chains.shape == (600, 3, 8)
        np.testing.assert_array_equal(np.asarray(chains), plain)
        np.testing.assert_array_equal(chains[-1], plain[-1])
        np.testing.assert_array_equal(chains[5, 2], plain[5, 2])
        np.testing.assert_array_equal(chains[3:9, 1, 4:], plain[3:9, 1, 4:])
        read = np.concatenate([flat for _, flat in blocks_of_draws(lattice, chains)])
        np.testing.assert_array_equal(read, plain.reshape(-1, 8))
    alone = as_chains(lattice, lazy.isel(chain=1))
    assert alone.shape == (600, 1, 8)
    np.testing.assert_array_equal(alone[:, 0], plain[:, 1])


def test_labelled_occupations_of_other_dimensions_are_refused():
    lattice = perovskite(2, 2, 2)
    for dims in (("draw", "chain", "atom"), ("point", "draw", "site")):
        with pytest.raises(InputError, match=r"have the dimensions"):
            as_chains(lattice, xr.DataArray(np.zeros((2, 2, 8), int), dims=dims))


def test_compositions_and_charges_come_from_the_same_pass(tmp_path):
    lattice = perovskite(2, 2, 2)
    rng = np.random.default_rng(1)
    points = []
    for mu, share in ((-0.1, 0.2), (0.1, 0.8)):
        occupation = (rng.random((400, 2, 8)) < share).astype(np.uint8)
        arrays = {"occupation": occupation, "energy": rng.normal(size=(400, 2))}
        points.append(point_dataset(arrays, {"temperature": 900.0, "mu_B_Ta": mu}))
    results = analyze_run(Run(tuple(points), lattice))
    for point, dataset in zip(results["points"], points, strict=True):
        exact = dataset["occupation"].mean()
        assert point["composition"]["B"]["Ta"]["mean"] == pytest.approx(float(exact), abs=1e-12)


def plain_alpha(lattice, flat, shell, pair):
    """α of a species pair by a plain sum over the pairs of a shell, [n]."""
    i, j = lattice.shells(shell)[-1].pairs.T
    found = ((flat[:, i] == pair[0]) & (flat[:, j] == pair[1])).mean(axis=1)
    return 1.0 - found / ((flat == pair[0]).mean(axis=1) * (flat == pair[1]).mean(axis=1))


@pytest.fixture(scope="module")
def crowded():
    """Three species on a net whose 78th shell has 144 sites, beyond what a byte can hold."""
    lattice = perovskite(2, 2, 2, species=("Sc", "Ta", "Nb"))
    fractions = {"B": {"Sc": 0.5, "Ta": 0.25, "Nb": 0.25}}
    flat = lattice.random(fractions, np.random.default_rng(0), 50)
    shell = next(k for k, s in enumerate(lattice.shells(90), 1) if s.multiplicity > 127)
    return lattice, flat, shell


PAIRS = {"B: Sc–Sc": (0, 0), "B: Sc–Nb": (0, 2), "B: Nb–Nb": (2, 2)}


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_are_counted_exactly_however_many_neighbours_there_are(crowded, pair):
    lattice, flat, shell = crowded
    series = warren_cowley_series(lattice, flat, shell).sel(pair=pair).to_numpy()[0]
    for s in (1, 2, shell):
        exact = plain_alpha(lattice, flat, s, PAIRS[pair])
        np.testing.assert_allclose(series[:, s - 1], exact, atol=1e-12)


def test_sums_of_neighbours_in_too_small_a_type_are_seen_to_fail(crowded, monkeypatch):
    lattice, flat, shell = crowded

    def in_bytes(i, j, size):
        return csr_array((np.ones(len(i), np.int8), (i, j)), shape=size)

    monkeypatch.setattr(short_range, "_counted", in_bytes)
    series = warren_cowley_series(lattice, flat, shell).sel(pair="B: Sc–Sc").to_numpy()[0]
    exact = plain_alpha(lattice, flat, shell, (0, 0))
    assert np.abs(series[:, shell - 1] - exact).max() > 1e-3


# ---- damage


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alchemc.potentials.POTENTIALS", {"toy": ToyPotential}, raising=False)
        campaign.start_run(toy_campaign(), path)
    return path


@pytest.mark.parametrize("variable", ["occupation/c.2.0.0", "energy/c.2.0"])
@pytest.mark.parametrize("command", ["analyze", "export"])
def test_a_chunk_that_cannot_be_read_is_one_line_that_names_it(
    toy_run, tmp_path, variable, command, capsys
):
    shutil.copytree(toy_run, tmp_path / "run")
    chunk = tmp_path / "run" / "samples.zarr" / "point-000" / variable
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with pytest.raises(StoredRunError, match=rf"{variable.partition('/')[0]} cannot be read"):
        analyze_run(campaign.open_run(tmp_path / "run"))
    more = [str(tmp_path / "out.traj")] if command == "export" else []
    assert main([command, str(tmp_path / "run"), *more]) == 2
    complaint = capsys.readouterr().err
    assert "damaged" in complaint
    assert complaint.count("\n") == 1
    assert not (tmp_path / "out.traj").exists()


def test_scalar_series_are_kept_and_occupations_are_not(toy_run, monkeypatch):
    point = campaign.open_run(toy_run).points[0]
    reads = []
    before = StoredArray._read
    monkeypatch.setattr(
        StoredArray, "_read", lambda s, key: reads.append(s._where.name) or before(s, key)
    )
    for _ in range(2):
        point["energy"].to_numpy()
        point["occupation"].to_numpy()
    assert sorted(reads) == ["energy", "occupation", "occupation"]
    copy = point.copy(deep=True)
    copy["occupation"][0, 0] = 0
    assert (point["occupation"][0, 0] != 0).any()


# ---- a run in progress


def slow_run(path, text=TOY, **run):
    """A process that samples for some seconds, once its first draws are committed."""

    def sample():
        import alchemc.potentials

        class Slow(ToyPotential):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, **options)
                self._delay = 0.002

        alchemc.potentials.POTENTIALS = {"toy": Slow}
        campaign.start_run(toy_campaign(text, **run), path)

    child = start_child(sample)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(StoredRunError):
            campaign.open_run(path)
            return child
        time.sleep(0.02)
    raise AssertionError("no draws")


@pytest.mark.parametrize("text", [TOY, SCAN])
def test_a_run_in_progress_is_analysed_by_what_is_committed(tmp_path, text, capsys):
    child = slow_run(tmp_path / "run", text, draws=30)
    seen = []
    while campaign.describe(tmp_path / "run").state == "running" and len(seen) < 200:
        code = main(["analyze", str(tmp_path / "run"), "--json"])
        assert code in {0, 3}
        results = json.loads(capsys.readouterr().out)
        seen.append(sum(point["n_draws"] for point in results["points"]))
        if campaign.describe(tmp_path / "run").state == "running":
            assert "unfinished" in [c["code"] for c in results["caveats"]] or seen[-1] == 60
    assert wait_for(child) == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert campaign.open_run(tmp_path / "run").attrs["finished"]


def test_a_run_is_watched_in_lines_until_it_ends(tmp_path, capsys):
    child = slow_run(tmp_path / "run", draws=40)
    code = main(["analyze", str(tmp_path / "run"), "--watch", "0.05"])
    out = capsys.readouterr().out
    assert wait_for(child) == 0
    assert code in {0, 3}
    lines = [line for line in out.splitlines() if "K: " in line]
    assert lines[0].startswith("1000 K: ") or lines[0].startswith("2000 K: ")
    assert all("/40 draws, E = " in line and "R-hat" in line for line in lines)
    counts = [line for line in lines if line.startswith("2000 K")]
    assert len(counts) == len(set(counts))
    assert "(eV/site)" in out  # and then the table


def test_a_status_is_watched_until_the_run_ends(tmp_path, capsys):
    child = slow_run(tmp_path / "run", draws=30)
    assert main(["status", str(tmp_path / "run"), "--watch", "0.05"]) == 0
    out = capsys.readouterr().out
    assert wait_for(child) == 0
    assert "/60 draws; running" in out
    assert "finished; 2 chains" in out.splitlines()[-1]


def test_a_terminal_shows_the_table_in_place(tmp_path, monkeypatch):
    from rich.console import Console

    console = Console(force_terminal=True, width=120, file=(tmp_path / "screen").open("w"))
    monkeypatch.setattr(watching, "terminal", lambda: console)
    child = slow_run(tmp_path / "run", draws=30)
    main(["analyze", str(tmp_path / "run"), "--watch", "0.05"])
    console.file.close()
    assert wait_for(child) == 0
    screen = (tmp_path / "screen").read_text()
    assert "rock-salt" in screen
    assert "running; 2 chains" in screen


def test_watching_a_finished_run_is_analysing_it(toy_run, capsys):
    plain = main(["analyze", str(toy_run)]), capsys.readouterr().out
    watched = main(["analyze", str(toy_run), "--watch", "5"]), capsys.readouterr().out
    assert watched == plain


@pytest.mark.parametrize("command", ["analyze", "status"])
def test_ctrl_c_ends_watching_with_a_line_and_leaves_the_run_alone(
    command, tmp_path, monkeypatch, capsys
):
    child = slow_run(tmp_path / "run", draws=20_000)
    looks = iter([None, None])

    def sleep(_):
        if next(looks, KeyboardInterrupt) is KeyboardInterrupt:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=sleep))
    assert main([command, str(tmp_path / "run"), "--watch", "0.05"]) == 130
    assert capsys.readouterr().err == "alchemc: stopped watching; the run goes on\n"
    assert campaign.describe(tmp_path / "run").state == "running"
    os.kill(child, signal.SIGKILL)
    wait_for(child)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "run", "--watch", "0"], "give seconds above 0"),
        (["analyze", "run", "--watch", "-1"], "give seconds above 0"),
        (["status", "run", "--watch", "nan"], "give seconds above 0"),
        (["analyze", "run", "--watch", "1", "--json"], "exclude each other"),
        (["status", "run", "--watch", "1", "--json"], "exclude each other"),
        (["analyze", "none", "--watch", "1"], "no run directory none"),
    ],
)
def test_bad_input_of_watching_is_one_line(toy_run, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(Path(toy_run).parent)
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1


# ---- complete output for machines


def test_csv_and_json_hold_every_number_of_the_table():
    run, _, _ = exact_run((1500.0, 3000.0), n_draws=150)
    results = json.loads(json.dumps(analyze_run(run)))
    rows = list(csv.DictReader(io.StringIO(tables.results_csv(results))))
    for point in results["points"]:
        mine = {r["quantity"]: r for r in rows if float(r["temperature_K"]) == point["temperature"]}
        shown = {"energy_eV_per_site": point["energy"], "acceptance": point["acceptance"]}
        shown |= {"heat_capacity_kB_per_site": point["heat_capacity"]}
        shown |= {f"order {name}": number for name, number in point["orders"].items()}
        for name, number in shown.items():
            for key in ("mean", "error", "ess", "rhat"):
                assert float(mine[name][key]) == number[key]
        cells = tables._cells(results, point)
        decisive = mine["decisive"]
        assert cells["ESS"] == f"{int(float(decisive['ess'])):,}"
        assert cells["R-hat"] == f"{float(decisive['rhat']):.3f}"
        assert (decisive["converged"] == "True") == point["converged"]
        assert len(cells) == len(shown) + 4  # with the temperature, ESS, R-hat and the verdict
