"""Lattice Hamiltonians: speed beside icet and smol, and their figures against exact results.

Run as ``python benchmarks/lattice.py [compilation] [speed] [threads] [ising] [binder]`` (all by
default); every part writes its figures into ``benchmarks/results/lattice.json``. Peers run in the
same process and alternate with alchemc; times are processor times of one thread, so that a busy
machine changes ratios little. smol is left out, and named so, where it is not installed.
"""

import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import numpy as np
from ase import Atoms, units

from alchemc import ClusterExpansion, Lattice, PairHamiltonian, Sublattice, analysis, builders
from alchemc.sampler import spawn_generators
from alchemc.statistics import summary

RESULT = Path(__file__).parent / "results" / "lattice.json"
FIGURE = Path(__file__).parent.parent / "docs" / "images" / "binder.png"
CUTOFFS = [9.0, 6.0]
ISING = np.array([[1.0, -1.0], [-1.0, 1.0]])
K_C = 0.2216546  # Ferrenberg and Landau, Phys. Rev. B 44, 5081 (1991)
U_STAR = 0.46548  # Ferrenberg, Xu and Landau, Phys. Rev. E 97, 043301 (2018)


def lattice_of(size):
    return builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(size,) * 3)


# ---- speed -----------------------------------------------------------------------------------


def expansion():
    """Nine parameters: pairs to 9 Å and triplets to 6 Å on the B sites of a perovskite."""
    from icet import ClusterExpansion as IcetExpansion
    from icet import ClusterSpace

    primitive = lattice_of(1).atoms
    symbols = [[s] if s in ("Sr", "O") else ["Sc", "Ta"] for s in primitive.get_chemical_symbols()]
    space = ClusterSpace(primitive, CUTOFFS, symbols)
    parameters = 0.002 * np.random.default_rng(1).normal(size=len(space))
    parameters[:2] = 0.0
    return IcetExpansion(space, parameters)


def timed(function):
    begin = time.process_time()
    function()
    return time.process_time() - begin


class Ours:
    """Swaps and flips of alchemc on one thread."""

    def __init__(self, ce, lattice, occupation):
        self.hamiltonian = ClusterExpansion.from_icet(ce, lattice, threads=1)
        self.occupation = occupation[None]
        self.energy = self.hamiltonian.energy(self.occupation)
        self.rngs = spawn_generators(1, 1)

    def swaps(self, n, beta):
        block = self.hamiltonian.run_swaps(
            self.occupation, self.energy, self.rngs, beta=beta, n_draws=1, thin=n
        )
        self.keep(block)
        return int(block.accepted[0, 0])

    def flips(self, n, beta):
        block = self.hamiltonian.run_flips(
            self.occupation, self.energy, self.rngs, beta=beta,
            potentials=np.zeros((1, 2)), n_draws=1, thin=n,
        )  # fmt: skip
        self.keep(block)
        return int(block.accepted[0, 0])

    def keep(self, block):
        self.occupation = block.occupation[0].astype(np.int8)
        self.energy = block.energy[0]


class Icet:
    """The same in mchammer, data written as seldom as it allows."""

    def __init__(self, ce, lattice, occupation, temperature):
        from mchammer.calculators import ClusterExpansionCalculator
        from mchammer.ensembles import CanonicalEnsemble, SemiGrandCanonicalEnsemble

        atoms = lattice.to_atoms(occupation)
        rare = {"ensemble_data_write_interval": 10**9, "trajectory_write_interval": 10**9}
        rare |= {"temperature": temperature, "random_seed": 1}
        self.canonical = CanonicalEnsemble(atoms, ClusterExpansionCalculator(atoms, ce), **rare)
        self.grand = SemiGrandCanonicalEnsemble(
            atoms, ClusterExpansionCalculator(atoms, ce),
            chemical_potentials={"Sc": 0.0, "Ta": 0.0}, **rare,
        )  # fmt: skip

    def swaps(self, n):
        self.canonical.run(n)

    def flips(self, n):
        self.grand.run(n)


class Smol:
    """The same expansion's clusters in smol, with parameters of the same size."""

    def __init__(self, lattice, size, occupation, temperature):
        from pymatgen.core import Structure
        from smol.cofe import ClusterExpansion as SmolExpansion
        from smol.cofe import ClusterSubspace
        from smol.moca import Ensemble, Sampler

        half = {"Sc": 0.5, "Ta": 0.5}
        primitive = lattice_of(1).atoms
        species = [s if s in ("Sr", "O") else half for s in primitive.get_chemical_symbols()]
        structure = Structure(primitive.cell.array, species, primitive.get_scaled_positions())
        space = ClusterSubspace.from_cutoffs(
            structure, {2: CUTOFFS[0], 3: CUTOFFS[1]}, basis="sinusoid"
        )
        parameters = 0.002 * np.random.default_rng(1).normal(size=space.num_corr_functions)
        ensemble = Ensemble.from_cluster_expansion(
            SmolExpansion(space, parameters), size * np.eye(3, dtype=int)
        )
        self.sampler = Sampler.from_ensemble(
            ensemble, step_type="swap", temperature=temperature, seeds=[1]
        )
        atoms = lattice.to_atoms(occupation)
        symbols, places = atoms.get_chemical_symbols(), atoms.get_scaled_positions()
        given = Structure(atoms.cell.array, symbols, places)
        self.start = ensemble.processor.occupancy_from_structure(given)

    def swaps(self, n):
        self.sampler.run(n, self.start, thin_by=n)


def speed(sizes=(8, 16, 32, 64), repeats=5):
    temperature, ce, rows = 1000.0, expansion(), []
    beta = 1 / (units.kB * temperature)
    for size in sizes:
        lattice = lattice_of(size)
        start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(2))
        made = {}
        setup = {"alchemc": timed(lambda: made.update(ours=Ours(ce, lattice, start)))}
        ours = made["ours"]
        ours.swaps(1000, beta), ours.flips(1000, beta)  # the first call compiles
        peers = {}
        if size <= 32:
            setup["icet"] = timed(lambda: peers.update(icet=Icet(ce, lattice, start, temperature)))
        if size <= 16 and installed("smol"):
            made_smol = lambda: peers.update(smol=Smol(lattice, size, start, temperature))
            setup["smol"] = timed(made_smol)
        accepted = ours.swaps(200_000, beta) / 200_000
        ours.flips(2000, beta)
        n, few = 1_000_000, 2000 if size > 16 else 10_000
        times = {"swap": [], "flip": []} | {f"{p} swap": [] for p in peers}
        if "icet" in peers:
            times["icet flip"] = []
            peers["icet"].swaps(200), peers["icet"].flips(200)
        if "smol" in peers:
            peers["smol"].swaps(200)
        grand = Ours(ce, lattice, start)
        for _ in range(repeats):
            times["swap"].append(timed(lambda: ours.swaps(n, beta)) / n)
            times["flip"].append(timed(lambda: grand.flips(n, beta)) / n)
            for name, peer in peers.items():
                times[f"{name} swap"].append(timed(lambda: peer.swaps(few)) / few)
                if name == "icet":
                    times["icet flip"].append(timed(lambda: peer.flips(few)) / few)
        ns = {key: 1e9 * statistics.median(value) for key, value in times.items()}
        row = {"size": size, "sites": size**3, "setup_s": setup, "ns": ns, "accepted": accepted}
        row["bytes_per_site"] = ours.hamiltonian.bytes_per_site
        for name in peers:
            row[f"swaps_over_{name}"] = ns[f"{name} swap"] / ns["swap"]
        if "icet" in peers:
            row["flips_over_icet"] = ns["icet flip"] / ns["flip"]
        rows.append(row)
        print(f"{size}³: " + ", ".join(f"{k} {v:,.0f} ns" for k, v in ns.items()), flush=True)
        print("     set-up " + ", ".join(f"{k} {v:.2f} s" for k, v in setup.items()), flush=True)
        print("     ratios " + ", ".join(
            f"{k} {v:.0f}" for k, v in row.items() if "_over_" in k), flush=True)  # fmt: skip
    return {"rows": rows, "smol": installed("smol"), "growth": growth(rows)}


def growth(rows):
    first, last = rows[0]["ns"], rows[-1]["ns"]
    return {kind: last[kind] / first[kind] for kind in ("swap", "flip")}


def installed(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None


# ---- threads ---------------------------------------------------------------------------------


def chains(n_chains, threads, steps, size=16):
    lattice = lattice_of(size)
    rngs = spawn_generators(1, n_chains)
    start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, rngs[0], n_chains)
    hamiltonian = ClusterExpansion.from_icet(expansion(), lattice, threads=threads)
    energy = hamiltonian.energy(start)
    run = lambda n: hamiltonian.run_swaps(start, energy, rngs, beta=10.0, n_draws=1, thin=n)
    run(1000)
    return lambda: run(steps)


def worker(steps, connection):
    run = chains(1, 1, steps)
    connection.send("ready")
    while connection.recv():
        run()
        connection.send("done")


def threads(steps=5_000_000, repeats=7):
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(2):
        here, there = context.Pipe()
        process = context.Process(target=worker, args=(steps, there), daemon=True)
        process.start()
        here.recv()
        pipes.append(here)
        processes.append(process)
    together = chains(2, 2, steps)
    ratios = []
    for _ in range(repeats):
        begin = time.perf_counter()
        together()
        threaded = time.perf_counter() - begin
        begin = time.perf_counter()
        for pipe in pipes:
            pipe.send(True)
        for pipe in pipes:
            pipe.recv()
        ratios.append((time.perf_counter() - begin) / threaded)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(False)
        process.join()
    print(f"two threads run at {100 * statistics.median(ratios):.0f} % of two processes")
    return {"threads_over_processes": statistics.median(ratios), "all": ratios}


# ---- the square lattice ----------------------------------------------------------------------


def square_lattice(size):
    atoms = Atoms("Sc", cell=[1.0, 1.0, 4.0], pbc=True).repeat((size, size, 1))
    return Lattice(atoms, {"site": Sublattice("Sc", ("Sc", "Ta"))})


def kaufman(size, k):
    """Energy and heat capacity per site (J, k_B) of the square Ising ferromagnet at K = J/k_BT.

    From the exact partition function (Kaufman, Phys. Rev. 76, 1232 (1949)) by differences in
    forty digits.
    """
    import mpmath as mp

    mp.mp.dps = 40

    def log_z(x):
        n = size
        angle = lambda r: mp.pi * r / n
        c = mp.cosh(2 * x) / mp.tanh(2 * x)
        gamma = [2 * x + mp.log(mp.tanh(x))]
        gamma += [mp.acosh(c - mp.cos(angle(r))) for r in range(1, 2 * n)]
        products = [
            mp.fprod(2 * mp.cosh(n * gamma[2 * r + 1] / 2) for r in range(n)),
            mp.fprod(2 * mp.sinh(n * gamma[2 * r + 1] / 2) for r in range(n)),
            mp.fprod(2 * mp.cosh(n * gamma[2 * r] / 2) for r in range(n)),
            mp.fprod(2 * mp.sinh(n * gamma[2 * r] / 2) for r in range(n)),
        ]
        return n * n * mp.log(2 * mp.sinh(2 * x)) / 2 - mp.log(2) + mp.log(mp.fsum(products))

    h = mp.mpf(10) ** -10
    below, here, above = (log_z(mp.mpf(k) + d) for d in (-h, 0, h))
    energy = -(above - below) / (2 * h) / size**2
    capacity = mp.mpf(k) ** 2 * (above - 2 * here + below) / h**2 / size**2
    return float(energy), float(capacity)


def ising(size=32, draws=4000, sweeps=20, n_chains=4):
    rows = []
    lattice = square_lattice(size)
    hamiltonian = PairHamiltonian(lattice, [-ISING])  # J = 1 eV
    for n, t in enumerate((2.0, 2.2, 2.2691853, 2.35, 2.6)):
        rngs = spawn_generators(10 + n, n_chains)
        start = np.stack([rng.integers(2, size=size**2) for rng in rngs]).astype(np.int8)
        if t < 2.2691853:
            start[:] = 0  # stripes of a quench would outlive the warm-up
        options = {"beta": 1 / t, "potentials": np.zeros((1, 2))}
        block = hamiltonian.run_flips(
            start, hamiltonian.energy(start), rngs, n_draws=1, thin=size**2 * draws, **options
        )
        block = hamiltonian.run_flips(
            block.occupation[0].astype(np.int8), block.energy[0], rngs, n_draws=draws,
            thin=size**2 * sweeps, **options,
        )  # fmt: skip
        _, drift = hamiltonian.rederived(block.occupation[-1].astype(np.int8), block.energy[-1])
        temperature = t / units.kB
        energy = summary(block.energy / size**2)
        total = analysis.heat_capacity(block.energy, temperature)
        unit = units.kB * size**2
        value, error = total.mean / unit, total.error / unit
        e, c = kaufman(size, 1 / t)
        row = {
            "temperature": t, "energy": energy.mean, "energy_error": energy.error,
            "energy_exact": e, "z_energy": (energy.mean - e) / energy.error, "capacity": value,
            "capacity_error": error, "capacity_exact": c, "z_capacity": (value - c) / error,
            "effective_samples": energy.ess, "drift": float(drift.max()),
        }  # fmt: skip
        rows.append(row)
        print(
            f"T = {t:.4f}: E {energy.mean:.5f} ± {energy.error:.5f} (exact {e:.5f}, z "
            f"{row['z_energy']:+.1f}), C {value:.4f} ± {error:.4f} (exact {c:.4f}, z "
            f"{row['z_capacity']:+.1f})",
            flush=True,
        )
    return {"size": size, "rows": rows}


# ---- rock salt on the simple cubic lattice ---------------------------------------------------


def rock_salt_series(size, k, sweeps, draws, n_chains, seed):
    """Energies (J) and staggered magnetisations per site, [draws, chains]."""
    lattice = lattice_of(size)
    cells = np.round(lattice.atoms.positions[lattice.sites] / 4.0 - 0.25).astype(int)
    sign = 1.0 - 2.0 * (cells.sum(axis=1) % 2)
    hamiltonian = PairHamiltonian(lattice, [ISING])
    rngs = spawn_generators(seed, n_chains)
    state = np.stack([rng.integers(2, size=size**3) for rng in rngs]).astype(np.int8)
    energy = hamiltonian.energy(state)
    run = lambda n, thin: hamiltonian.run_flips(
        state, energy, rngs, beta=k, potentials=np.zeros((1, 2)), n_draws=n, thin=thin
    )
    energies, orders = [], []
    block = run(1, size**3 * 20 * size**2 // 4)
    for first in range(0, draws, 100):
        state, energy = block.occupation[-1].astype(np.int8), block.energy[-1]
        energy, _ = hamiltonian.rederived(state, energy)
        block = run(min(100, draws - first), size**3 * sweeps)
        energies.append(block.energy.copy())
        orders.append((2.0 * block.occupation - 1.0) @ sign / size**3)
    return np.concatenate(energies), np.concatenate(orders)


def binder_curve(energies, orders, k, grid):
    """Binder cumulant on a grid of K, from a series at ``k`` by reweighting; arrays any shape."""
    e = (energies - energies.mean()).ravel()
    m2 = (orders**2).ravel()
    values = []
    for x in grid:
        weight = np.exp(-(x - k) * e)
        weight /= weight.sum()
        values.append(1 - (weight @ m2**2) / (3 * (weight @ m2) ** 2))
    return np.array(values)


def crossing(grid, small, large):
    """K at which the cumulant of the larger size overtakes that of the smaller one."""
    difference = large - small
    slope, offset = np.polyfit(grid, difference, 1)
    return -offset / slope


def binder(sizes=(8, 12, 16, 24, 32), sweeps_of=None, draws=3000, n_chains=4, blocks=40):
    k, grid = K_C, K_C + np.linspace(-1e-3, 1e-3, 21)
    sweeps_of = sweeps_of or {8: 20, 12: 30, 16: 40, 24: 60, 32: 60}
    curves, resampled = {}, {}
    rng = np.random.default_rng(5)
    for size in sizes:
        begin = time.perf_counter()
        e, m = rock_salt_series(size, k, sweeps_of[size], draws, n_chains, 100 + size)
        curves[size] = binder_curve(e, m, k, grid)
        # Errors from resampling blocks of every chain, longer than the memory of the chain.
        pieces_e, pieces_m = (
            np.stack(np.array_split(a.T.ravel(), n_chains * blocks // 4)) for a in (e, m)
        )
        resampled[size] = np.stack([
            binder_curve(pieces_e[pick], pieces_m[pick], k, grid)
            for pick in rng.integers(len(pieces_e), size=(200, len(pieces_e)))
        ])  # fmt: skip
        print(
            f"L = {size}: U(K_c) = {curves[size][10]:.4f} ± {resampled[size][:, 10].std():.4f}, "
            f"{time.perf_counter() - begin:.0f} s", flush=True,
        )  # fmt: skip
    rows = []
    for small, large in ((8, 16), (12, 24), (16, 32)):
        if small in curves and large in curves:
            value = crossing(grid, curves[small], curves[large])
            samples = [
                crossing(grid, a, b)
                for a, b in zip(resampled[small], resampled[large], strict=True)
            ]
            rows.append({"pair": [small, large], "k": value, "error": float(np.std(samples))})
            print(f"crossing {small}/{large}: K = {value:.6f} ± {np.std(samples):.6f}", flush=True)
    weight = np.array([1 / row["error"] ** 2 for row in rows])
    mean = float(weight @ [row["k"] for row in rows] / weight.sum())
    error = float(weight.sum() ** -0.5)
    print(f"K_c = {mean:.6f} ± {error:.6f}, off by {mean - K_C:+.6f}")
    result = {
        "grid": grid.tolist(), "crossings": rows, "k_c": mean, "error": error,
        "curves": {str(s): c.tolist() for s, c in curves.items()},
        "errors": {str(s): r.std(axis=0).tolist() for s, r in resampled.items()},
        "sweeps": {str(s): sweeps_of[s] * draws * n_chains for s in sizes},
    }  # fmt: skip
    draw_binder(result)
    return result


def draw_binder(result):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    shown = 1e4 * (np.array(result["grid"]) - K_C)
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(result["curves"])))
    for (size, curve), colour in zip(result["curves"].items(), colours, strict=True):
        values, error = np.array(curve), np.array(result["errors"][size])
        axes.plot(shown, values, color=colour, label=f"L = {size}")
        axes.fill_between(shown, values - error, values + error, color=colour, alpha=0.2, lw=0)
    axes.axvline(0.0, color="0.4", ls=":", lw=1)
    axes.axhline(U_STAR, color="0.4", ls=":", lw=1)
    axes.annotate("K$_c$ = 0.2216546, U* = 0.46548", (0.0, U_STAR), (8, -14),
                  textcoords="offset points", fontsize=9, color="0.3")  # fmt: skip
    axes.set(
        xlabel="(K − K$_c$) × 10$^4$,  K = J / k$_B$T", ylabel="Binder cumulant of rock-salt order"
    )
    axes.legend(frameon=False)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=150)
    plt.close(figure)


COLD = """
import time, numpy as np
from alchemc import Canonical, PairHamiltonian, RandomSwap, builders, sample
lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(4, 4, 4))
hamiltonian = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
begin = time.perf_counter()
kernel = RandomSwap(hamiltonian, Canonical(lattice, 1000.0))
sample(kernel, np.arange(64) % 2, n_steps=640, thin=64)
print(time.perf_counter() - begin)
"""


def compilation():
    """Seconds of a first short run with an empty cache of compiled kernels, and with a full one."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ALCHEMC_CACHE": folder}
        command = [sys.executable, "-c", COLD]
        seconds = [
            float(subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            ).stdout)
            for _ in range(2)
        ]  # fmt: skip
    print(f"first run {seconds[0]:.1f} s with an empty cache, {seconds[1]:.1f} s with a full one")
    return {"empty_cache_s": seconds[0], "full_cache_s": seconds[1]}


PARTS = {
    "compilation": compilation,
    "speed": speed,
    "threads": threads,
    "ising": ising,
    "binder": binder,
}


def main():
    warnings.simplefilter("ignore")
    RESULT.parent.mkdir(exist_ok=True)
    document = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    import numba

    document["machine"] = platform.machine()
    document["numba"] = numba.__version__
    for name in sys.argv[1:] or PARTS:
        document[name] = PARTS[name]()
        RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
