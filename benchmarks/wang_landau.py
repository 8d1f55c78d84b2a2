"""Wang–Landau sampling: against exact numbers of states, in speed, and at a first-order transition.

Run as ``python benchmarks/wang_landau.py [speed] [ising] [potts]`` (all by default); every part
writes its figures into ``benchmarks/results/wang_landau.json``. Peers run in the same process and
alternate with alchemc; times are processor times of one thread, so that a busy machine changes
ratios little.
"""

import json
import math
import os
import platform
import statistics
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numba
import numpy as np
from ase import Atoms
from ase.units import kB

from alchemc import Lattice, PairHamiltonian, Sublattice, WangLandau, analysis
from alchemc.potentials._wang_landau import Bins, run_flat_histogram
from alchemc.sampler import spawn_generators

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from exact_ising import ising_ln_g

RESULT = Path(__file__).parent / "results" / "wang_landau.json"
ISING = -np.array([[1.0, -1.0], [-1.0, 1.0]])  # J = 1 eV
TEN = ("Al", "Sc", "Ta", "Nb", "Ti", "Zr", "Mg", "Ca", "Sr", "Ba")


def square(side, species=("Sc", "Ta")):
    atoms = Atoms(species[0], cell=[1.0, 1.0, 10.0], pbc=True).repeat((side, side, 1))
    return Lattice(atoms, {"s": Sublattice(species[0], species)})


def timed(function):
    begin = time.process_time()
    function()
    return time.process_time() - begin


# ---- speed -----------------------------------------------------------------------------------


class Ours:
    """One walker over the whole range of the energy."""

    def __init__(self, side):
        self.hamiltonian = PairHamiltonian(square(side), [ISING], threads=1)
        self.occupation = np.random.default_rng(1).integers(0, 2, (1, side**2)).astype(np.int8)
        self.energy = self.hamiltonian.energy(self.occupation)
        self.bins = Bins.of(-2.0 * side**2 - 2, 4.0, np.full(side**2 + 1, -np.inf), 1.0)
        self.rngs = spawn_generators(1, 1)

    def run(self, n):
        kept, energies = run_flat_histogram(
            self.hamiltonian, self.occupation, self.energy, self.rngs, [self.bins], move="flip",
            n_draws=1, thin=n,
        )  # fmt: skip
        self.occupation, self.energy = kept[0], energies[0]


@numba.njit(nogil=True)
def plain_block(spins, state, rng, ln_g, visits, ln_f, steps):
    """Run the same algorithm written for the square Ising model and nothing else."""
    side = len(spins)
    here = state[0]
    for _ in range(steps):
        i, j = int(rng.random() * side), int(rng.random() * side)
        around = (
            spins[(i + 1) % side, j] + spins[(i - 1) % side, j]
            + spins[i, (j + 1) % side] + spins[i, (j - 1) % side]
        )  # fmt: skip
        there = here + (spins[i, j] * around) // 2
        ratio = ln_g[here] - ln_g[there]
        if ratio >= 0.0 or rng.random() < math.exp(ratio):
            spins[i, j] = -spins[i, j]
            here = there
        ln_g[here] += ln_f
        visits[here] += 1
    state[0] = here


class Plain:
    """A loop in numba that knows that the lattice is square and has two species."""

    def __init__(self, side):
        self.spins = np.random.default_rng(1).choice(np.array([-1, 1]), (side, side))
        bonds = (self.spins * (np.roll(self.spins, 1, 0) + np.roll(self.spins, 1, 1))).sum()
        self.state = np.array([(2 * side**2 - bonds) // 4])
        self.ln_g, self.visits = np.zeros(side**2 + 1), np.zeros(side**2 + 1, dtype=np.int64)
        (self.rng,) = spawn_generators(1, 1)

    def run(self, n):
        plain_block(self.spins, self.state, self.rng, self.ln_g, self.visits, 1.0, n)


class Icet:
    """mchammer's ensemble on the same model, data written as seldom as it allows."""

    def __init__(self, side):
        from icet import ClusterExpansion, ClusterSpace
        from mchammer.calculators import ClusterExpansionCalculator
        from mchammer.ensembles import WangLandauEnsemble

        primitive = Atoms("Sc", cell=[1.0, 1.0, 10.0], pbc=True)
        space = ClusterSpace(primitive, cutoffs=[1.1], chemical_symbols=["Sc", "Ta"])
        atoms = primitive.repeat((side, side, 1))
        atoms.symbols[::2] = "Ta"
        self.ensemble = WangLandauEnsemble(
            structure=atoms,
            calculator=ClusterExpansionCalculator(atoms, ClusterExpansion(space, [0, 0, 2])),
            energy_spacing=4.0,
            trial_move="flip",
            ensemble_data_write_interval=10**9,
            trajectory_write_interval=10**9,
            random_seed=1,
        )

    def run(self, n):
        self.ensemble.run(n)


def speed(side=16, repeats=7):
    runs = {"alchemc": (Ours(side), 10_000_000), "plain": (Plain(side), 10_000_000)}
    runs["icet"] = (Icet(side), 20_000)
    for run, _ in runs.values():
        run.run(2000)  # compiles
    for name in ("alchemc", "plain"):
        runs[name][0].run(2_000_000)
    times = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (run, n) in runs.items():
            times[name].append(timed(lambda: run.run(n)) / n)
    ns = {name: 1e9 * statistics.median(values) for name, values in times.items()}
    figures = {
        "side": side,
        "ns_per_step": ns,
        "all_ns": {name: [1e9 * t for t in values] for name, values in times.items()},
        "million_steps_per_second": {name: 1e3 / value for name, value in ns.items()},
        "over_icet": ns["icet"] / ns["alchemc"],
        "over_plain": ns["plain"] / ns["alchemc"],
    }
    print(", ".join(f"{k} {v:,.1f} ns per step" for k, v in ns.items()))
    print(f"× icet {figures['over_icet']:,.0f}, × plain loop {figures['over_plain']:.2f}")
    return figures


# ---- the square Ising model ------------------------------------------------------------------


def exact_averages(energies, ln_g, kelvin, n_sites):
    beta = 1 / (kB * kelvin)
    log = ln_g - beta[:, None] * energies
    p = np.exp(log - np.logaddexp.reduce(log, axis=1)[:, None])
    mean = p @ energies
    capacity = beta**2 * (p * (energies - mean[:, None]) ** 2).sum(axis=1) / n_sites
    return mean, capacity


def one_density(side, seed, **settings):
    energies, exact = ising_ln_g(side)
    sampler = WangLandau(PairHamiltonian(square(side), [ISING], threads=1), "flip", **settings)
    begin = time.process_time()
    density = sampler.run(seed, n_repeats=4)
    seconds = time.process_time() - begin
    np.testing.assert_allclose(density.energies, energies)
    kelvin = np.array([2.0, 2.2, 2.269185, 2.35, 2.6, 4.0]) / kB
    found = density.averages(kelvin)
    mean, capacity = exact_averages(energies, exact, kelvin, side**2)
    z_energy = (found.energy.values - mean) / found.energy_error.values
    z_capacity = (found.heat_capacity.values - capacity) / found.heat_capacity_error.values
    return {
        "seed": seed,
        "deviation": float(np.abs(density.ln_g - exact).max()),
        "deviation_of_repeats": np.abs(density.repeats - exact).max(axis=1).tolist(),
        "rms_z_of_ln_g": float(
            np.sqrt(np.mean(((density.ln_g - exact) / density.ln_g_error) ** 2))
        ),
        "reported_error": float(density.ln_g_error.max()),
        "seconds": seconds,
        "z_energy": z_energy.tolist(),
        "z_capacity": z_capacity.tolist(),
        "energy_error_at_tc_per_site": float(found.energy_error[2]) / side**2,
        "capacity_error_at_tc": float(found.heat_capacity_error[2]),
        "exchange_rates": density.attrs["exchange_rates"],
    }


def ising(seeds=range(1, 7)):
    parts = []
    for side, settings in (
        (8, {}), (8, {"n_windows": 3}), (16, {}), (16, {"n_windows": 3}),
    ):  # fmt: skip
        rows = [one_density(side, seed, final=1e-6, **settings) for seed in seeds]
        z = np.array([r["z_energy"] + r["z_capacity"] for r in rows])
        parts.append(
            {
                "side": side,
                "settings": settings,
                "rows": rows,
                "rms_z": float(np.sqrt((z**2).mean())),
            }
        )
        each = [d for r in rows for d in r["deviation_of_repeats"]]
        print(
            f"L = {side} {settings}: largest deviation per seed "
            f"{[round(r['deviation'], 3) for r in rows]}; single repeats up to {max(each):.3f}, "
            f"median {statistics.median(each):.3f}; rms z {parts[-1]['rms_z']:.2f} (t with 3 "
            f"degrees of freedom: 1.73); {statistics.median(r['seconds'] for r in rows):.0f} s",
            flush=True,
        )
    return parts


# ---- a first-order transition ----------------------------------------------------------------


def potts(sides=(8, 12, 16), q=10):
    """Ten-state Potts model: the temperature of equal weight, and a barrier that grows.

    ⟨E⟩ jumps at β_c = ln(1 + √q) by 0.6961 per site (R. J. Baxter, J. Phys. C 6, L445 (1973),
    doi:10.1088/0022-3719/6/23/005). There the q ordered phases together weigh q times as much as
    the disordered one (Borgs and Kotecký 1990), so both sides weigh the same at
    β_c − ln q/(N × 0.6961), up to terms that fall exponentially with the side.
    """
    beta_c, jump = math.log(1 + math.sqrt(q)), 0.6961
    rows = []
    for side in sides:
        hamiltonian = PairHamiltonian(square(side, TEN[:q]), [-np.eye(q)], threads=1)
        begin = time.process_time()
        density = WangLandau(hamiltonian, "flip", final=1e-5).run(1)
        seconds = time.process_time() - begin
        found = analysis.coexistence(density, smoothing=4.0)
        t, error = kB * found.temperature, kB * found.errors["temperature"]
        expected = 1 / (beta_c - math.log(q) / (side**2 * jump))
        rows.append(
            {
                "side": side, "temperature": t, "error": error, "expected": expected,
                "barrier": found.barrier, "barrier_error": found.errors["barrier"],
                "jump_per_site": found.latent_heat / side**2, "seconds": seconds,
                "ln_g_of_lowest": float(density.ln_g[0]), "ln_q": math.log(q),
            }
        )  # fmt: skip
        print(
            f"Potts {q}, L = {side}: k_BT = {t:.4f} ± {error:.4f} (expected {expected:.4f}), "
            f"barrier {found.barrier:.2f} ± {found.errors['barrier']:.2f} k_BT, jump "
            f"{rows[-1]['jump_per_site']:.3f} per site, {seconds:.0f} s",
            flush=True,
        )
    return rows


PARTS = {"speed": speed, "ising": ising, "potts": potts}


def main():
    chosen = sys.argv[1:] or list(PARTS)
    figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in chosen:
        figures[name] = PARTS[name]()
        figures["machine"] = {
            "processor": platform.processor() or platform.machine(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "numba": numba.__version__,
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
