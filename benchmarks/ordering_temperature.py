"""Ordering temperatures by the automatic finite-size analysis, where they are known and where not.

``python benchmarks/ordering_temperature.py [SYSTEM …] [--folder F] [--sizes L …] [--figures]``,
merged into ``benchmarks/results/ordering_temperature.json``. One thread. What is sampled lies in
the folder as scalar series, one file per size; sizes that have one are not sampled again.

rock-salt  nearest-neighbour repulsion on the B sites of a perovskite, flips at equal chemical
           potentials: the three-dimensional Ising model, K_c = 0.2216546, U* = 0.46548
potts      ten species on the square lattice that prefer their like, flips: first order, at
           k_BT/J = 1/ln(1 + √10)
fcc        a face-centred cubic net with repelling nearest and attracting next neighbours, at the
           field where one site of four orders (L1_2): first order, not known exactly
demo       Pb(Sc,Ta)O3 at 50:50, swaps, by the expansion of the bundled potential that a surrogate
           chain learns at 64 sites and 5,000 K
mace       the same by the bundled potential itself, surrogate chains (two sizes)
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from ase import Atoms
from ase.units import kB
from matplotlib.figure import Figure

from alchemc import (
    AlchemicalMACE,
    Canonical,
    Lattice,
    PairHamiltonian,
    RandomFlip,
    RandomSwap,
    SemiGrandCanonical,
    Sublattice,
    SurrogateChain,
    analysis,
    builders,
    sample,
)
from alchemc.analysis import plots
from alchemc.analysis.stability.multi_histogram import MultiHistogram
from alchemc.analysis.stability.transition_series import TransitionSeries, merged, transition_series
from alchemc.sampler import spawn_generators, warm_up

RESULT = Path(__file__).parent / "results" / "ordering_temperature.json"
SPIN = np.array([[1.0, -1.0], [-1.0, 1.0]])
J = 0.02  # eV
IMAGES = Path(__file__).parent.parent / "docs" / "images"
K_C, NU, OMEGA, U_STAR = 0.2216546, 0.629971, 0.82966, 0.46548
TEN = ("Al", "Sc", "Ta", "Nb", "Ti", "Zr", "Mg", "Ca", "Sr", "Ba")
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
CHAINS = 4


class Plan(NamedTuple):
    """Temperatures (K), and how long a size is sampled at each: a draw per ``thin`` sweeps.

    For the potential itself, per ``thin`` steps of the surrogate chain.
    """

    temperatures: np.ndarray
    draws: int
    thin: int


# ---- systems --------------------------------------------------------------------------------


class RockSalt:
    """Nearest-neighbour antiferromagnet on a simple cubic net."""

    sizes = (6, 8, 12, 16, 24)
    order = "rock-salt"
    options: ClassVar = {"universality": "3D Ising"}
    exact = J / (kB * K_C)
    budget: ClassVar = {
        6: (4000, 20),
        8: (4000, 25),
        12: (4000, 30),
        16: (3000, 30),
        24: (1500, 20),
    }

    def plan(self, size):
        x = np.array([-2.5, -1.5, -0.7, 0.0, 0.8, 1.8])  # t L^{1/ν}
        return Plan(self.exact * (1.0 + x * size ** (-1.0 / NU)), *self.budget[size])

    def kernel(self, size, temperature):
        lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(size,) * 3)
        model = PairHamiltonian(lattice, [J * SPIN], threads=1)
        return RandomFlip(model, SemiGrandCanonical(lattice, temperature, {"Ta": 0.0}))

    def starts(self, lattice, rng):
        size = round(lattice.n_sites ** (1 / 3))
        ordered = np.indices((size,) * 3).sum(axis=0).ravel() % 2
        return np.array([ordered, 1 - ordered, *lattice.random(HALF, rng, CHAINS - 2)])


def magnetisation(lattice, occupations):
    """Squared order parameter of a Potts model: 1 for one species, 0 on average for all alike."""
    q = lattice.n_species_max
    shares = np.stack([(occupations == k).mean(axis=1) for k in range(q)])
    return (q * (shares**2).sum(axis=0) - 1.0) / (q - 1.0)


class Potts:
    """Ten species on a square lattice."""

    sizes = (8, 12, 16)
    order = staticmethod(magnetisation)
    options: ClassVar = {}
    exact = J / (kB * np.log(1.0 + np.sqrt(10.0)))
    budget: ClassVar = {8: (4000, 60), 12: (4000, 120), 16: (4000, 150)}

    def plan(self, size):
        s = np.array([-1.0, 1.0, 2.0, 3.0, 5.0])
        return Plan(self.exact * (1.0 + s / size**2), *self.budget[size])

    def kernel(self, size, temperature):
        atoms = Atoms(TEN[0], cell=[3.0, 3.0, 30.0], pbc=True).repeat((size, size, 1))
        lattice = Lattice(atoms, {"s": Sublattice(TEN[0], TEN)})
        model = PairHamiltonian(lattice, [-J * np.eye(10)], threads=1)
        ensemble = SemiGrandCanonical(lattice, temperature, dict.fromkeys(TEN, 0.0))
        return RandomFlip(model, ensemble)

    def starts(self, lattice, rng):
        pure = np.repeat(rng.integers(10, size=(CHAINS // 2, 1)), lattice.n_sites, axis=1)
        return np.concatenate([pure, rng.integers(10, size=pure.shape)]).astype(np.int8)


class FaceCentred:
    """Nearest-neighbour antiferromagnet on a face-centred cubic net in a field.

    In units of J the field is 8, half-way between where L1_0 and where the pure crystal would be
    stable; next neighbours that prefer their like (−J/2) make boundaries cost energy.
    """

    sizes = (4, 6, 8, 10)
    order = (1, 0, 0)
    options: ClassVar = {}
    exact = None
    field = 8.0
    budget: ClassVar = {4: (4000, 20), 6: (4000, 25), 8: (4000, 30), 10: (3000, 30)}

    def plan(self, size):
        s = np.array([-6.0, -2.0, 0.0, 2.0, 6.0])
        return Plan(1022.0 * (1.0 + s / size**3), *self.budget[size])

    def kernel(self, size, temperature):
        lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.5, size=(size,) * 3)
        model = PairHamiltonian(lattice, [J * SPIN, -0.5 * J * SPIN], threads=1)
        ensemble = SemiGrandCanonical(lattice, temperature, {"Ca": 2.0 * self.field * J})
        return RandomFlip(model, ensemble)

    def starts(self, lattice, rng):
        size = round((lattice.n_sites / 4) ** (1 / 3))
        places = lattice.atoms.get_scaled_positions()[lattice.sites] * size
        corners = np.abs(places - np.round(places)).max(axis=1) < 1e-6
        quarter = {"cation": {"Mg": 0.25, "Ca": 0.75}}
        return np.array([1 - corners, 1 - corners, *lattice.random(quarter, rng, CHAINS - 2)])


class Demo:
    """Pb(Sc,Ta)O3 by the expansion that a surrogate chain of the bundled potential learns."""

    sizes = (4, 6, 8)
    order = "rock-salt"
    options: ClassVar = {"universality": "3D Ising"}
    exact = None
    budget: ClassVar = {4: (2000, 20), 6: (3000, 20), 8: (3000, 20)}

    def __init__(self):
        self._learnt = None

    def plan(self, size):
        x = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0])
        return Plan(4850.0 * (1.0 + x * size ** (-1.0 / NU)), *self.budget[size])

    def kernel(self, size, temperature):
        if self._learnt is None:
            self._learnt = self._learn()
        lattice = self._lattice(size)
        return RandomSwap(self._learnt.on(lattice), Canonical(lattice, temperature))

    def starts(self, lattice, rng):
        return lattice.random(HALF, rng, CHAINS)

    def _lattice(self, size):
        return builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(size,) * 3)

    def _learn(self):
        lattice = self._lattice(4)
        potential = AlchemicalMACE(lattice, "bundled", device="cpu")
        kernel = SurrogateChain(potential, Canonical(lattice, 5000.0))
        rngs = spawn_generators(3, CHAINS)
        state = kernel.init(np.stack([lattice.random(HALF, rng) for rng in rngs]), rngs)
        kernel, _, told = warm_up(kernel, state, rngs, 40)
        print("error of the expansion in k_BT:", told.parameters["held_out_error_kT"], flush=True)
        return kernel.surrogate


class Mace(Demo):
    """The same with the potential itself; a step is one of its energies."""

    sizes = (4, 6)
    budget: ClassVar = {4: (320, 1), 6: (320, 1)}

    def kernel(self, size, temperature):
        lattice = self._lattice(size)
        potential = AlchemicalMACE(lattice, "bundled", device="cpu")
        return SurrogateChain(potential, Canonical(lattice, temperature))


SYSTEMS = {
    "rock-salt": RockSalt, "potts": Potts, "fcc": FaceCentred, "demo": Demo, "mace": Mace,
}  # fmt: skip


# ---- sampling and storage -------------------------------------------------------------------


def sampled(name, system, size, folder):
    """Series of one size: from the folder, or sampled and put there."""
    path = folder / f"{name}-{size}.npz"
    if not path.exists():
        begin = time.process_time()
        parts = []
        plan = system.plan(size)
        for n, temperature in enumerate(plan.temperatures):
            kernel = system.kernel(size, float(temperature))
            lattice = kernel.hamiltonian.lattice
            sweep = plan.thin * (1 if name == "mace" else lattice.n_sites)
            starts = system.starts(lattice, np.random.default_rng([size, n]))
            run = sample(
                kernel, starts, n_steps=plan.draws * sweep, thin=sweep,
                warmup=plan.draws * sweep // 8, seed=1000 * size + n,
            )  # fmt: skip
            parts.append(transition_series(run, system.order))
        (series,) = merged(parts)
        store(path, series, time.process_time() - begin)
    return load(path)


def store(path, series, seconds):
    np.savez(
        path, n_sites=series.n_sites, cell=series.cell, temperatures=series.temperatures,
        energies=np.array(series.energies), orders=np.array(series.orders), seconds=seconds,
        kind=json.dumps(dict(series.kind)),
    )  # fmt: skip


def load(path):
    with np.load(path) as data:
        kind = {k: tuple(v) if isinstance(v, list) else v
                for k, v in json.loads(str(data["kind"])).items()}  # fmt: skip
        series = TransitionSeries(
            n_sites=int(data["n_sites"]), cell=data["cell"],
            temperatures=tuple(data["temperatures"].tolist()), energies=tuple(data["energies"]),
            orders=tuple(data["orders"]), kind=kind,
        )  # fmt: skip
        return series, float(data["seconds"])


# ---- analysis -------------------------------------------------------------------------------


def analysed(name, system, series, seconds):
    """Say what the automatic analysis finds, beside the exact temperature where there is one."""
    begin = time.process_time()
    found = analysis.ordering_temperature(series, **system.options)
    result = {
        "sampling_seconds": dict(zip(map(str, system.sizes), seconds, strict=False)),
        "analysis_seconds": time.process_time() - begin,
        "sweeps_per_chain": {
            str(size): draws * thin for size, (draws, thin) in system.budget.items()
        },
        "chains": CHAINS,
        "options": system.options,
    }
    result |= compared(found, system.exact)
    if system.options:
        fitted = analysis.ordering_temperature(series)
        result["exponents_fitted"] = compared(fitted, system.exact)
    if name == "rock-salt":
        result["cumulants_at_K_c"] = cumulants(series, system.exact)
    return result


def compared(found, exact):
    told = found.to_dict()
    if exact is None:
        return {"found": told}
    return {
        "exact_K": exact,
        "deviation_percent": 100.0 * (found.temperature / exact - 1.0),
        "error_percent": 100.0 * found.error / exact,
        "z": (found.temperature - exact) / found.error,
        "found": told,
    }


def cumulants(series, temperature):
    """U of every size at the exact temperature, and extrapolated in L^(−ω) by least squares."""
    rng = np.random.default_rng(1)
    columns = [MultiHistogram.of(one, rng).curves([temperature]).cumulant[0] for one in series]
    errors = np.array([column[1:].std() for column in columns])
    x = np.array([one.n_sites ** (-OMEGA / 3.0) for one in series])
    design = np.stack([np.ones(len(x)), x], axis=1) / errors[:, None]
    values = np.array([column[0] for column in columns])
    best = np.linalg.lstsq(design, values / errors, rcond=None)[0]
    error = float(np.sqrt(np.linalg.inv(design.T @ design)[0, 0]))
    return {
        "sizes": [round(one.n_sites ** (1 / 3)) for one in series],
        "U": values.tolist(),
        "errors": errors.tolist(),
        "extrapolated": float(best[0]),
        "error": error,
        "exact": U_STAR,
        "z": (float(best[0]) - U_STAR) / error,
    }


def draw(name, series, system):
    """Cumulants and finite-size extrapolation, for the documents."""
    found = analysis.ordering_temperature(series, **system.options)
    second = plots.plot_cumulants if found.verdict == "continuous" else plots.plot_barriers
    figure = Figure(figsize=(7.0, 2.7), layout="constrained")
    for axes, plot in zip(figure.subplots(1, 2), (second, plots.plot_finite_size), strict=True):
        plot(found, axes)
    figure.savefig(IMAGES / f"ordering-{name}.png", dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", help=", ".join(SYSTEMS))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="*")
    parser.add_argument("--figures", action="store_true", help="draw those of the documents")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ordering-temperature-"))
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.systems or SYSTEMS:
        system = SYSTEMS[name]()
        series, seconds = [], []
        for size in options.sizes or system.sizes:
            one, spent = sampled(name, system, size, folder)
            series.append(one)
            seconds.append(spent)
            print(f"{name}, {size}: {spent:.0f} s", flush=True)
        result = analysed(name, system, series, seconds)
        print(result["found"]["statement"], flush=True)
        if options.figures:
            draw(name, series, system)
        known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        RESULT.write_text(json.dumps(known | {name: result}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
