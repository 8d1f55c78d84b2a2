"""A million draws analysed in bounded memory: peak and time, beside ten and a hundred times fewer.

Run as ``python benchmarks/streaming.py [DRAWS]`` (250,000 draws of each of four chains by default);
figures go to ``benchmarks/results/streaming.json``. A pair Hamiltonian on 512 sites is sampled by
the campaign's own engine into run directories, in a temporary folder that is removed. Then a
process of its own opens each run and analyses it, as ``alchemc analyze`` does: compositions,
energy, heat capacity, three orders with their cumulants, four Warren–Cowley shells. Its peak is the
high-water mark of its resident memory (VmHWM) above what it was after the analysis of a run of 20
draws, which has everything imported. "whole" is the same with all samples loaded first. Then
500 draws are exported as 2,560 atoms each and read back as a trajectory of another program. All on
one thread.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

import alchemc.potentials
from alchemc import PairHamiltonian, campaign
from alchemc.analysis import read_trajectory
from alchemc.campaign.export import export_run

RESULT = Path(__file__).parent / "results" / "streaming.json"
SITES, CHAINS = 512, 4
CAMPAIGN = """
[structure]
prototype = "perovskite"
A = "Sr"
B = ["Sc", "Ta"]
X = "O"
a = 4.0
supercell = [8, 8, 8]
[sublattices.B]
composition = {{ Sc = 0.5, Ta = 0.5 }}
[potential]
kind = "pairs"
[ensemble]
temperatures = [2500]
[sampler]
kind = "random-swap"
[run]
chains = 4
draws = {draws}
thin = 128
warmup = 100000
seed = 1
"""
CHILD = """
import json, resource, sys, time
from pathlib import Path
from alchemc.analysis import analyze_run
from alchemc.campaign import open_run

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

analyze_run(open_run(sys.argv[1]))
before, start = peak(), time.perf_counter()
run = open_run(sys.argv[2])
if sys.argv[3] == "whole":
    for point in run.points:
        point.load()
results = analyze_run(run)
seconds = time.perf_counter() - start
point = results["points"][0]
series = 3 + len(point["orders"]) + len(point["warren_cowley"])
print(json.dumps({
    "draws": point["n_draws"] * point["n_chains"],
    "seconds": round(seconds, 2),
    "processor_seconds": round(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 2),
    "baseline_MiB": round(before, 1),
    "peak_above_baseline_MiB": round(peak() - before, 1),
    "scalar_series_MiB": round(series * 8 * point["n_draws"] * point["n_chains"] / 2**20, 1),
    "energy": [point["energy"][k] for k in ("mean", "error", "ess")],
    "rock-salt": [point["orders"]["rock-salt"][k] for k in ("mean", "error", "ess")],
    "numbers": results["points"],
}))
"""


class Facts(NamedTuple):
    """What a campaign records of a potential."""

    name: str
    sha256: str
    dtype: str


class Pairs(PairHamiltonian):
    """Nearest-neighbour pairs, registered as a potential for the campaign."""

    def __init__(self, lattice, **_):
        super().__init__(lattice, [0.03 * np.eye(2)])
        self.model_info = Facts("pairs", "0" * 64, "float64")


def make(path, draws):
    """Sample a run into a directory; its seconds and its size on disk."""
    start = time.perf_counter()
    config = campaign.parse_config(CAMPAIGN.format(draws=draws))
    campaign.start_run(config, path)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {
        "sampling_seconds": round(time.perf_counter() - start, 1),
        "disk_MiB": round(size / 2**20, 1),
    }


def analysed(tiny, path, how):
    command = [sys.executable, "-P", "-c", CHILD, str(tiny), str(path), how]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def foreign(path, folder, frames=500):
    """Milliseconds per frame of 2,560 atoms to read back what was exported."""
    run = campaign.open_run(path)
    every = run.points[0].sizes["draw"] // frames or 1
    rows = {}
    for suffix in ("traj", "extxyz", "dc"):
        file = folder / f"frames.{suffix}"
        count = export_run(run, file, chain=0, every=every)
        start = time.perf_counter()
        back = read_trajectory(file, run.lattice).points[0]
        seconds = time.perf_counter() - start
        expected = run.points[0]["occupation"].isel(chain=0, draw=slice(None, None, every))
        if not (back["occupation"].values[:, 0] == expected.values).all():
            raise SystemExit(f"{suffix}: other occupations")
        rows[suffix] = {"frames": count, "ms_per_frame": round(1e3 * seconds / count, 3)}
    return rows


def main():
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 250_000
    alchemc.potentials.POTENTIALS = {"pairs": Pairs}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny"
        make(tiny, 20)
        for draws in (most // 100, most // 10, most):
            path = Path(folder) / str(draws)
            row = {"sites": SITES, "chains": CHAINS, **make(path, draws)}
            row["occupations_MiB"] = round(draws * CHAINS * SITES / 2**20, 1)
            streamed = analysed(tiny, path, "streamed")
            whole = analysed(tiny, path, "whole")
            if streamed.pop("numbers") != whole.pop("numbers"):
                raise SystemExit("streamed and whole give different numbers")
            row |= streamed
            row["whole"] = {k: whole[k] for k in ("seconds", "peak_above_baseline_MiB")}
            rows.append(row)
            print(json.dumps(row, indent=1), flush=True)
        read = foreign(Path(folder) / str(most // 10), Path(folder))
    machine = {"processor": platform.processor() or platform.machine(), "threads": 1}
    machine |= {"python": platform.python_version(), "numpy": np.__version__}
    RESULT.write_text(
        json.dumps({"rows": rows, "foreign": read, "machine": machine}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
