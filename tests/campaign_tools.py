"""What the campaign tests share: a small campaign with the toy potential, and child processes."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alchemc import campaign
from alchemc.records import VARIABLES

TOY = """
title = "toy"
[structure]
prototype = "perovskite"
A = "Sr"
B = ["Sc", "Ta"]
X = "O"
a = 3.98
supercell = [2, 2, 2]
[sublattices.B]
composition = { Sc = 0.5, Ta = 0.5 }
[potential]
kind = "toy"
model = "0.02"
[ensemble]
temperatures = [1000, 2000]
[sampler]
kind = "mixture"
kernels = [{ kind = "random-swap" }, { kind = "gibbs-with-gradients", weight = 2 }]
[run]
chains = 2
draws = 25
thin = 2
warmup = 7
seed = 11
[analysis]
shells = 1
"""


SCAN = """
title = "toy scan"
[structure]
prototype = "perovskite"
A = "Sr"
B = ["Ti", "Zr"]
X = "O"
a = 3.98
supercell = [2, 2, 2]
[potential]
kind = "toy"
model = "-0.02"
[ensemble]
kind = "semi-grand"
temperatures = [3000]
chemical_potentials = { B = { Zr = [0.05, -0.05] } }
[sampler]
kind = "random-flip"
[run]
chains = 2
draws = 25
thin = 2
warmup = 7
seed = 11
[analysis]
shells = 1
"""


def toy_campaign(text: str = TOY, **run: object) -> campaign.Config:
    """The toy campaign, or another, with other values in [run]."""
    config = campaign.parse_config(text)
    return config.model_copy(update={"run": config.run.model_copy(update=run)})


def samples_of(path: Path) -> list[dict[str, np.ndarray]]:
    """All variables of all points of a stored run, in memory."""
    run = campaign.open_run(path)
    return [{name: point[name].values for name in VARIABLES} for point in run.points]


def assert_same_samples(path: Path, expected: list[dict[str, np.ndarray]]) -> None:
    """Bit for bit, and with nothing left unwritten."""
    found = samples_of(path)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for name, values in theirs.items():
            assert ours[name].dtype == values.dtype
            assert ours[name].tobytes() == values.tobytes(), name
        assert ours["occupation"].max() < 2


def start_child(action: Callable[[], object]) -> int:
    """Run a function in a forked process and return its id."""
    process = os.fork()
    if process == 0:
        code = 70
        try:
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return process


def wait_for(process: int) -> int:
    """Exit code of a child; minus the signal's number if one ended it."""
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, -signal.SIGKILL}, f"the child failed with {code}"
    return code


def run_block_by_block(config, path):
    """Run a campaign that is stopped after every block, and say how many rounds it took."""

    def after_one_block():
        asked = itertools.count()
        return lambda: next(asked) >= 1

    rounds = 1
    finished = campaign.start_run(config, path, should_stop=after_one_block())
    while not finished:
        finished = campaign.resume_run(path, should_stop=after_one_block())
        rounds += 1
    return rounds


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def browse(path, tmp_path, *options):
    command = [
        CHROMIUM,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path / 'profile'}",
        *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND"),
        *("--virtual-time-budget=6000", "--dump-dom", *options),
        path.as_uri(),
    ]
    environment = {**os.environ, "HOME": str(tmp_path)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env=environment
    )


def go_on(path: Path, config: campaign.Config, **options: object) -> bool:
    """Resume what is there, or start it where the kill came before there was anything."""
    if path.exists():
        return campaign.resume_run(path, **options)
    return campaign.start_run(config, path, **options)
