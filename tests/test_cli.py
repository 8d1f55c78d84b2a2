"""The command line: what it prints, its exit codes, and one clear line for every bad input."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import alchemc.potentials
from alchemc import campaign
from alchemc.campaign import files, lock
from alchemc.cli import main
from campaign_tools import TOY, assert_same_samples, samples_of
from mace_families import random_model
from toy_potential import ToyPotential

CLI = [sys.executable, str(Path(__file__).with_name("toy_potential.py"))]
COMMANDS = ("init", "run", "resume", "status", "analyze", "report", "export", "models", "doctor")


@pytest.fixture(autouse=True)
def _toy(monkeypatch, tmp_path):
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", {"toy": ToyPotential}, raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here; keep it fast
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bad(capsys):
    """Run a command that must fail with exit code 2 and one line; return the line."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        code = main(list(arguments))
        captured = capsys.readouterr()
        assert code == 2, captured
        assert captured.err.startswith("alchemc: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith("\n")
        assert "Traceback" not in captured.err + captured.out
        return captured.err.strip()

    return run


def write(text: str, name: str = "campaign.toml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def stored(directory: str = "run", text: str = TOY) -> Path:
    """A small finished run."""
    campaign.start_run(campaign.parse_config(text.replace("draws = 25", "draws = 6")), directory)
    return Path(directory)


def with_line(old: str, new: str) -> str:
    assert old in TOY
    return TOY.replace(old, new)


@pytest.fixture
def whole(tmp_path):
    """Samples of the toy campaign run without a stop."""
    campaign.start_run(campaign.parse_config(TOY), tmp_path / "whole")
    return samples_of(tmp_path / "whole")


# ---- speed and help --------------------------------------------------------------------------


def test_help_comes_in_under_half_a_second():
    command = [sys.executable, "-m", "alchemc.cli", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = []
    for _ in range(5):
        before = os.times()
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        used = after.children_user - before.children_user
        seconds.append(used + after.children_system - before.children_system)
    assert min(seconds) < 0.5  # processor time: other programs on the machine do not count


def test_help_lists_the_commands_and_imports_nothing_slow():
    code = (
        "import sys; from alchemc.cli import main; main(['--help']); "
        "slow = {'torch', 'mace', 'xarray', 'zarr', 'scipy', 'ase', 'pydantic', 'numpy', 'icet'}; "
        "print('SLOW', sorted(slow & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert "SLOW []" in output
    assert all(f" {command} " in output for command in COMMANDS)


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"alchemc {alchemc.__version__}\n"


def test_wrong_use_of_the_command_line_is_one_line(bad):
    assert "'CAMPAIGN'" in bad("run")
    assert "Did you mean 'run'" in bad("rnu")
    assert "--outptu" in bad("run", "x.toml", "--outptu", "y")


# ---- campaign files --------------------------------------------------------------------------

BAD_CAMPAIGNS = {
    "misspelt key": ("draws = 25", "drwas = 25", ["run.drwas", "did you mean 'draws'"]),
    "key of another section": ('title = "toy"', "chains = 3", ["'chains'", "belongs in [run]"]),
    "unknown section": ("[sampler]", "[smapler]", ["smapler", "did you mean 'sampler'"]),
    "not TOML": ("[run]", "[run", ["not valid TOML", "line"]),
    "text for a number": ("draws = 25", 'draws = "many"', ["'many'", "whole number"]),
    "number for text": ('A = "Sr"', "A = 38", ["structure.A = 38", "a symbol"]),
    "fraction of a draw": ("draws = 25", "draws = 2.5", ["2.5", "whole number"]),
    "no chains": ("chains = 2", "chains = 0", ["run.chains = 0", "at least 1"]),
    "a model that cannot relax": (
        'kind = "toy"',
        'kind = "toy"\nrelax = true',
        ["ToyPotential", "cannot be relaxed", "AlchemicalMACE"],
    ),
    "no way to relax": ('kind = "toy"', 'kind = "toy"\nrelax = 3', ["potential.relax", "a table"]),
    "misspelt key of a relaxation": (
        'kind = "toy"',
        'kind = "toy"\nrelax = { fmx = 0.1 }',
        ["potential.relax.fmx", "did you mean 'fmax'"],
    ),
    "no such cell": (
        'kind = "toy"',
        'kind = "toy"\nrelax = { cell = "isotropc" }',
        ["potential.relax.cell = 'isotropc'", "false", "did you mean 'isotropic'"],
    ),
    "no such dtype": ('kind = "toy"', 'kind = "toy"\ndtype = "float16"', ["float16", "'float32'"]),
    "a head for CHGNet": ('kind = "toy"', 'kind = "chgnet"\nhead = "a"', ["'head' belongs to"]),
    "trust for CHGNet": ('kind = "toy"', 'kind = "chgnet"\ntrust = true', ["'trust' belongs to"]),
    "precision of nothing": ("seed = 11", "precision = { enrgy = 1 }", ["enrgy", "'energy'"]),
    "negative temperature": ("[1000, 2000]", "[-5]", ["temperatures[0] = -5", "above 0"]),
    "no temperatures": ("[1000, 2000]", "[]", ["temperatures = []", "1 or more"]),
    "infinite temperature": ("[1000, 2000]", "[inf]", ["inf", "finite"]),
    "unknown potential": ('kind = "toy"', 'kind = "toi"', ["'toi'", "did you mean 'toy'"]),
    "unknown sampler": ('kind = "mixture"', 'kind = "mixtrue"', ["mixtrue", "'mixture'"]),
    "unknown species": ('"Ta"]', '"Tz"]', ["'Tz'", "not a chemical symbol"]),
    "species missing from composition": ("Ta = 0.5", "Nb = 0.5", ["'Nb'", "Sc"]),
    "no whole number of sites": (
        "Sc = 0.5, Ta = 0.5",
        "Sc = 0.3, Ta = 0.7",
        ["Sc 0.3", "8 sites", "nearest possible"],
    ),
    "composition beyond one": ("Sc = 0.5", "Sc = 0.7", ["1.2", "add up to 1"]),
    "no such sublattice": ("[sublattices.B]", "[sublattices.b]", ["sublattices.b", "B"]),
    "no composition": ("composition = { Sc = 0.5, Ta = 0.5 }", "", ["composition", "'B'"]),
    "impossible lattice constant": ("a = 3.98", "a = -1", ["structure.a = -1", "above 0"]),
    "overlapping atoms": ("a = 3.98", "a = 0.4", ["Å apart"]),
    "no lattice constant": ("a = 3.98\n", "", ["perovskite needs 'a'"]),
    "unknown prototype": ('"perovskite"', '"perovskit"', ["did you mean 'perovskite'"]),
    "order that does not fit": (
        "seed = 11",
        'seed = 11\nprecision = { "A rock-salt" = 0.1 }',
        ["run.precision", "'A'"],
    ),
}


@pytest.mark.parametrize("mistake", BAD_CAMPAIGNS)
def test_a_bad_campaign_is_refused_before_anything_is_written(mistake, bad):
    old, new, expected = BAD_CAMPAIGNS[mistake]
    line = bad("run", write(with_line(old, new)), "--output", "run")
    for part in expected:
        assert part in line
    assert not Path("run").exists()


@pytest.mark.slow
def test_a_species_the_model_does_not_know_is_one_line(bad, monkeypatch):
    monkeypatch.delattr(alchemc.potentials, "POTENTIALS")
    alchemc.potentials.save_mace(random_model("plain"), "model")
    text = TOY.replace("Ta", "Pu").replace('kind = "toy"\nmodel = "0.02"', 'model = "model"')
    line = bad("run", write(text), "--output", "run")
    assert "Pu" in line
    assert not Path("run").exists()
    line = bad("run", write(text.replace('"model"', '"modle"')), "--output", "run")
    assert "'modle'" in line
    assert "alchemc models" in line


def structure_campaign(file: str, sites: str = "Ti") -> str:
    head, _, rest = TOY.partition("[structure]")
    _, _, rest = rest.partition("[sublattices.B]")
    section = f'[sublattices.B]\nsites = "{sites}"\nspecies = ["Sc", "Ta"]'
    return f'{head}[structure]\nfile = "{file}"\nsupercell = [2, 2, 2]\n{section}{rest}'


XYZ = """5
Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"
Sr 0 0 0
Ti {x} 2 2
O {o} 0 2
O 0 2 2
O 2 2 0
"""

BAD_STRUCTURES = {
    "missing file": (None, "none.xyz", "Ti", ["none.xyz", "does not exist"]),
    "malformed file": ("5\nnonsense\nSr x", "bad.xyz", "Ti", ["bad.xyz", "ASE can read"]),
    "NaN": (XYZ.format(x="nan", o=2), "nan.xyz", "Ti", ["atom 1 (Ti)", "nan", "finite"]),
    "overlap": (
        XYZ.format(x=0.1, o=2).replace("0.1 2 2", "0.1 0 0"),
        "near.xyz",
        "Ti",
        ["Å apart"],
    ),
    "absent element": (XYZ.format(x=2, o=2), "s.xyz", "Zr", ["'Zr'", "Sr"]),
}


@pytest.mark.parametrize("mistake", BAD_STRUCTURES)
def test_a_bad_structure_file_is_one_line(mistake, bad):
    content, name, sites, expected = BAD_STRUCTURES[mistake]
    if content is not None:
        write(content, name)
    line = bad("run", write(structure_campaign(name, sites)), "--output", "run")
    for part in expected:
        assert part in line
    assert not Path("run").exists()


def test_a_structure_file_is_found_beside_its_campaign():
    Path("sub").mkdir()
    write(XYZ.format(x=2, o=2), "sub/cell.xyz")
    file = write(structure_campaign("cell.xyz"), "sub/c.toml")
    assert main(["run", file, "-o", "run", "--quiet"]) in {0, 3}
    assert campaign.open_run("run").lattice.n_sites == 8


def test_a_missing_campaign_file_is_one_line(bad):
    assert "alchemc init none.toml" in bad("run", "none.toml")
    Path("folder").mkdir()
    assert "folder" in bad("run", "folder")
    Path("binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in bad("run", "binary.toml")


# ---- run directories -------------------------------------------------------------------------


def test_an_existing_run_is_never_overwritten(bad):
    directory = stored()
    before = samples_of(directory)
    line = bad("run", write(TOY), "--output", str(directory))
    assert "alchemc resume run" in line
    assert_same_samples(directory, before)
    Path("other").mkdir()
    Path("other/mine.txt").write_text("precious")
    assert "not overwritten" in bad("run", write(TOY), "--output", "other")
    assert Path("other/mine.txt").read_text() == "precious"


def test_the_current_directory_cannot_become_a_run(bad):
    Path("empty").mkdir()
    os.chdir("empty")
    Path("../campaign.toml").write_text(TOY)
    assert "name a directory" in bad("run", "../campaign.toml", "--output", ".")
    assert not list(Path().iterdir())


def test_an_empty_directory_may_be_used():
    Path("run").mkdir()
    assert main(["run", write(TOY), "--output", "run", "--quiet"]) in {0, 3}


READERS = ("resume", "status", "analyze", "report")


@pytest.mark.parametrize("command", READERS)
def test_a_missing_run_directory_is_one_line(command, bad):
    assert "no run directory none" in bad(command, "none")
    Path("empty").mkdir()
    assert "is no run directory" in bad(command, "empty")


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


DAMAGE = {
    "run.toml cut": lambda run: cut(run / "run.toml"),
    "structure cut": lambda run: cut(run / "structure.json"),
    "structure gone": lambda run: (run / "structure.json").unlink(),
    "checkpoints gone": lambda run: shutil.rmtree(run / "checkpoint"),
    "checkpoints cut": lambda run: [cut(f) for f in (run / "checkpoint").iterdir()],
    "samples gone": lambda run: shutil.rmtree(run / "samples.zarr"),
    "a temperature gone": lambda run: shutil.rmtree(run / "samples.zarr/point-001"),
    "a variable gone": lambda run: shutil.rmtree(run / "samples.zarr/point-000/energy"),
    "a chunk gone": lambda run: (run / "samples.zarr/point-000/occupation/c.1.0.0").unlink(),
    "a chunk empty": lambda run: (run / "samples.zarr/point-000/energy/c.1.0").write_bytes(b""),
    "a chunk cut": lambda run: cut(run / "samples.zarr/point-000/energy/c.1.0"),
    "metadata cut": lambda run: cut(run / "samples.zarr/point-000/energy/zarr.json"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_directory_is_one_line(damage, bad):
    directory = stored()
    DAMAGE[damage](directory)
    line = bad("analyze", str(directory))
    assert "run" in line
    assert any(word in line for word in ("damaged", "no intact checkpoint", "no run directory"))


def test_a_run_directory_of_another_format_is_one_line(bad):
    directory = stored()
    file = directory / "run.toml"
    file.write_text(file.read_text().replace("format = 1", "format = 99"))
    assert "format 99" in bad("status", str(directory))


def test_a_run_that_another_process_writes_is_left_alone(bad):
    directory = stored()
    with lock.run_lock(directory):
        assert "is being written by process" in bad("resume", str(directory))
        assert campaign.describe(directory).state == "running"
    assert campaign.describe(directory).state == "finished"


def test_a_lock_of_a_dead_process_is_no_obstacle():
    directory = stored()
    (directory / "lock").write_text("process 1 on a machine long gone\n")
    assert main(["resume", str(directory)]) in {0, 3}


def test_another_potential_than_the_run_was_started_with_is_refused(bad):
    asked = iter(range(100))
    campaign.start_run(campaign.parse_config(TOY), "run", should_stop=lambda: next(asked) > 8)
    file = Path("run/run.toml")
    file.write_text(file.read_text().replace('model = "0.02"', 'model = "0.03"'))
    assert "is not the one run was started with" in bad("resume", "run")


# ---- disk full, Ctrl-C -----------------------------------------------------------------------


def fail_from(write_number: int):
    """A ``files.write`` that finds the disk full from the given call on."""
    original, left = files.write, [write_number]

    def full(path: Path, data: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            original(path, data[: len(data) // 2])
            path.unlink()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        original(path, data)

    return full


@pytest.mark.parametrize("write_number", [0, 3, 30, 60, 90, 120, 150])
def test_a_full_disk_is_one_line_and_loses_nothing(write_number, bad, monkeypatch, whole):
    config = write(TOY)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write", fail_from(write_number))
        line = bad("run", config, "-o", "run")
    assert "No space left on device" in line
    if not Path("run").exists():
        assert "nothing was started" in line
        assert campaign.start_run(campaign.parse_config(TOY), "run")
    else:
        assert "alchemc resume run" in line
        committed = campaign.describe("run").points
        assert campaign.resume_run("run")
        for after, before in zip(campaign.describe("run").points, committed, strict=True):
            assert after.committed >= before.committed
    assert_same_samples(Path("run"), whole)


def test_a_disk_that_fills_up_with_the_report_is_one_line(bad, monkeypatch):
    stored()
    monkeypatch.setattr(files, "write", fail_from(0))
    assert "No space left on device" in bad("report", "run")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_checkpoints_and_says_how_to_go_on(number, code, whole):
    config = write(TOY)
    process = subprocess.Popen(
        [*CLI, "run", config, "-o", "run"],
        env={**os.environ, "TOY_DELAY": "0.05"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    events = Path("run/events.jsonl")
    while not events.exists() or "warmed" not in events.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].endswith("continue with `alchemc resume run`")
    assert campaign.describe("run").state == "stopped"
    assert campaign.resume_run("run")
    assert_same_samples(Path("run"), whole)


# ---- the usual way through -------------------------------------------------------------------

LONGER = TOY.replace("draws = 25", "draws = 400").replace("[1000, 2000]", "[4000, 8000]")


@pytest.mark.slow
def test_a_converged_run_ends_with_a_report_and_code_0(capsys):
    assert main(["run", write(LONGER), "-o", "runs/toy"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.rstrip().endswith("report: runs/toy/report.html")
    assert "8000 K (1/2)" in output.out
    assert Path("runs/toy/report.html").stat().st_size > 1000

    assert main(["analyze", "runs/toy", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [point["temperature"] for point in results["points"]] == [4000.0, 8000.0]

    assert main(["analyze", "runs/toy", "--csv"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split(",")[:2] == ["temperature_K", "quantity"]
    assert rows[1].startswith("4000.0,energy_eV_per_site,")

    assert main(["status", "runs/toy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "finished"
    assert main(["status", "runs/toy"]) == 0
    assert "400/400" in capsys.readouterr().out

    assert main(["report", "runs/toy", "-o", "mine.html"]) == 0
    assert Path("mine.html").exists()


def test_a_report_goes_into_an_html_file_and_nowhere_else(bad):
    directory = stored()
    before = samples_of(directory)
    for target in ("run", "run/run.toml", "folder.html"):
        Path("folder.html").mkdir(exist_ok=True)
        assert ".html" in bad("report", "run", "--output", target)
    assert "no directory" in bad("report", "run", "--output", "none/report.html")
    assert_same_samples(directory, before)
    assert not list(Path().glob(".*"))


def test_one_form_of_output_is_asked_for_at_a_time(bad):
    stored()
    assert "--json" in bad("analyze", "run", "--json", "--csv")


def test_titles_with_brackets_are_printed_as_they_are(capsys):
    text = with_line('title = "toy"', 'title = "Pb[Sc]O3 [red]"')
    assert main(["run", write(text), "-o", "run", "--quiet"]) == 3
    assert "Pb[Sc]O3 [red]" in capsys.readouterr().out
    assert main(["status", "run"]) == 0
    assert "Pb[Sc]O3 [red]" in capsys.readouterr().out


def test_analyze_says_what_an_unfinished_run_is_worth(capsys):
    asked = iter(range(1000))
    campaign.start_run(campaign.parse_config(TOY), "run", should_stop=lambda: next(asked) > 30)
    assert main(["analyze", "run"]) == 3
    output = capsys.readouterr().out
    assert "The run is not finished" in output
    assert "ordering temperature" not in output  # one temperature so far


def test_analyze_prints_what_the_sweep_says_of_the_ordering_temperature(capsys):
    directory = stored()
    main(["analyze", str(directory)])
    from alchemc.analysis import analyze_run

    text = analyze_run(campaign.open_run(directory))["transition"]["text"]
    assert text in " ".join(capsys.readouterr().out.split())  # it may be folded


@pytest.mark.parametrize("width", [80, 120, 160])
def test_numbers_are_never_folded_at_the_edge_of_the_terminal(width):
    import io

    from rich.console import Console

    from alchemc.campaign.tables import result_tables

    number = {"mean": -41.30686, "error": 0.0008, "ess": 1704.0, "rhat": 1.001, "converged": True}
    point = {
        "temperature": 20000.0,
        "energy": number,
        "heat_capacity": {**number, "mean": 0.02141, "error": 0.00085},
        "acceptance": number,
        "orders": {
            "rock-salt": number,
            "layered": {**number, "ess": 12.7, "rhat": 1.4},
            "columnar": number,
        },
        "converged": True,
    }
    console = Console(file=io.StringIO(), width=width)
    for table in result_tables({"points": [point]}, console):
        console.print(table)
    printed = console.file.getvalue()
    assert printed.count("-41.30686(80)") == 4
    assert max(map(len, printed.splitlines())) <= width
    assert printed.count("20000") == (1 if width > 100 else 2)
    assert "   12  1.400" in printed  # of layered, the worst: that is what the verdict rests on


def test_fractions_have_a_table_of_their_own_where_the_terminal_is_narrow():
    import io

    from rich.console import Console

    from alchemc.campaign.tables import result_tables

    number = {"mean": 0.730686, "error": 0.0008, "ess": 1704.0, "rhat": 1.001, "converged": True}
    places = ("K on A", "Na on A", "Nb on B", "Ti on B")
    point = {
        "temperature": 2000.0, "value": -0.25, "direction": "down", "curve": 0, "converged": True,
        "energy": {**number, "mean": -41.30686}, "heat_capacity": None, "acceptance": number,
        "orders": {}, "fractions": {f"fraction of {place}": number for place in places},
    }  # fmt: skip
    results = {"points": [point], "layout": {"axis": "mu_A_K", "title": "μ(K) on A (eV)"}}
    for width, n_tables in ((80, 2), (160, 1)):
        console = Console(file=io.StringIO(), width=width)
        found = result_tables(results, console)
        assert len(found) == n_tables
        console.print(*found)
        printed = console.file.getvalue()
        assert printed.count("0.73069(80)") == 4
        assert printed.count("-41.30686(80)") == 1
        assert printed.count("-0.25") == n_tables


def test_a_second_ctrl_c_does_not_claim_that_every_draw_is_safe(monkeypatch, capsys):
    start = campaign.start_run

    def broken_off(config, directory, folder, **_):
        start(config, directory, folder, should_stop=lambda: True)
        raise KeyboardInterrupt

    monkeypatch.setattr("alchemc.campaign.runs.start_run", broken_off)
    assert main(["run", write(TOY), "-o", "run"]) == 130
    error = capsys.readouterr().err
    assert "all draws so far are safe" not in error
    assert error.rstrip().endswith("continue with `alchemc resume run`")


def test_ctrl_c_is_told_in_a_line_by_every_command(monkeypatch, capsys):
    def broken_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("alchemc.campaign.runs.open_run", broken_off)
    Path("run").mkdir()
    Path("run/run.toml").touch()
    for command in (["analyze", "run"], ["report", "run"], ["export", "run", "x.gif"]):
        assert main(command) == 130
        error = capsys.readouterr().err
        assert error == "alchemc: interrupted; nothing that was committed is lost\n"


def test_too_few_draws_give_code_3_and_say_where(capsys):
    assert main(["run", write(TOY), "-o", "run", "--quiet"]) == 3
    assert "not converged: 2000 K, 1000 K" in capsys.readouterr().err
    assert main(["analyze", "run"]) == 3


def test_precision_that_is_not_reached_gives_code_3(capsys):
    text = LONGER.replace("seed = 11", "seed = 11\nprecision = { energy = 1e-9 }")
    assert main(["run", write(text.replace("[4000, 8000]", "[8000]")), "-o", "run"]) == 3
    error = capsys.readouterr().err
    assert "precision asked for (energy 1e-09 eV per cell) was not reached at 8,000 K" in error
    assert "not converged" not in error
    assert "Precision not reached." in Path("run/report.html").read_text()


def test_the_run_directory_is_named_after_the_campaign_by_default():
    assert main(["run", write(TOY, "mine.toml"), "--quiet"]) == 3
    assert campaign.describe("runs/mine").state == "finished"


def test_init_writes_a_campaign_that_is_valid_and_never_overwrites(bad, capsys):
    assert main(["init", "new.toml"]) == 0
    assert "alchemc run new.toml" in capsys.readouterr().out
    config = campaign.load_config(Path("new.toml"))
    assert config.run.draws == 200
    assert "not overwritten" in bad("init", "new.toml")
    assert "cannot write" in bad("init", "no/such/folder.toml")


def test_models_and_doctor_report_without_a_traceback(capsys):
    assert main(["models"]) == 0
    assert "bundled" in capsys.readouterr().out
    assert main(["doctor"]) in {0, 2}
    output = capsys.readouterr().out
    assert "versions: python" in output
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is not set" in output
    assert "ok      CHGNet (optional): " in output


def test_an_internal_error_is_one_line_unless_debugging(monkeypatch, capsys):
    def broken(_):
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("alchemc.campaign.runs.describe", broken)
    assert main(["status", "run"]) == 1
    error = capsys.readouterr().err
    assert "internal error, ZeroDivisionError: surprise" in error
    assert error.count("\n") == 1
    with pytest.raises(ZeroDivisionError):
        main(["status", "run", "--debug"])


# ---- exports ---------------------------------------------------------------------------------


def test_exports_hold_the_structures_and_energies(capsys):
    from ase.io import read

    directory = stored()
    run = campaign.open_run(directory)
    point = run.points[1]
    for name in ("all.extxyz", "all.traj"):
        assert main(["export", str(directory), name, "--temperature", "1000", "--chain", "1"]) == 0
        frames = read(name, ":")
        assert len(frames) == 6
        for draw, frame in enumerate(frames):
            assert frame.get_potential_energy() == pytest.approx(
                float(point["energy"][draw, 1]), abs=1e-8
            )
            found = run.lattice.from_atoms(frame)
            np.testing.assert_array_equal(found, point["occupation"][draw, 1])
    assert main(["export", str(directory), "few.xyz", "--every", "4"]) == 0
    assert len(read("few.xyz", ":", format="extxyz")) == 2 * 2 * 2


def test_an_icet_container_holds_energies_and_occupations():
    from mchammer import DataContainer

    directory = stored()
    run = campaign.open_run(directory)
    assert main(["export", "run", "run.dc", "--temperature", "2000", "--chain", "0"]) == 0
    container = DataContainer.read("run.dc")
    np.testing.assert_allclose(container.get("potential"), run.points[0]["energy"].values[:, 0])
    np.testing.assert_array_equal(container.get("mctrial"), 2 * np.arange(1, 7))
    frame = container.get("trajectory")[3]
    expected = run.points[0]["occupation"].values[3, 0].astype(np.int8)
    np.testing.assert_array_equal(run.lattice.from_atoms(frame), expected)


def test_exports_refuse_what_they_cannot_write(bad):
    stored()
    Path("mine.xyz").write_text("precious")
    assert "not overwritten" in bad("export", "run", "mine.xyz")
    assert "format" in bad("export", "run", "mine.docx")
    assert "'vasp' is not known" in bad("export", "run", "x.xyz", "--format", "vasp")
    assert "2000, 1000 K" in bad("export", "run", "x.xyz", "--temperature", "7")
    assert "chains 0 to 1" in bad("export", "run", "x.xyz", "--chain", "2")
    assert "one temperature" in bad("export", "run", "x.dc")
    assert "one chain" in bad("export", "run", "x.dc", "--temperature", "1000")
    assert not Path("x.xyz").exists()
    assert Path("mine.xyz").read_text() == "precious"
