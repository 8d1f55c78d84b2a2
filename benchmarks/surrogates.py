"""Surrogates on the bundled MACE: what derivatives give, what energies add, and regional moves.

Run as ``python benchmarks/surrogates.py [errors] [regions]``.

``errors``   the Taylor expansion alone, an expansion fitted without it, and both together, on ideal
             and displaced positions: errors on random and on equilibrium states in units of k_BT,
             acceptance, and evaluations spent before sampling starts
``regions``  moves of regions and of the whole cell at 12×12×12, against 6×6×6

System: Pb(Sc,Ta)O3 perovskite, a = 4.08 Å, float64, one thread. Results are merged into
``benchmarks/results/surrogates.json``.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from alchemc import AlchemicalMACE, Canonical, Lattice, SurrogateChain, builders
from alchemc.potentials import PairExpansion, taylor_expansion
from alchemc.sampler import sample, spawn_generators, warm_up
from alchemc.sampler.comparison import relative_costs
from alchemc.statistics import effective_sample_size

RESULT = Path(__file__).parent / "results" / "surrogates.json"
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
CHAINS = 4


class OnlyEnergies:
    """An energy model with the three methods of the protocol and no more."""

    def __init__(self, model: AlchemicalMACE) -> None:
        self.model, self.lattice = model, model.lattice

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        return self.model.energy(occupations)

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.model.energy_and_gradient(occupations)

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        return self.model.energy_change(occupations, sites, species)


class _Forces(Calculator):
    """ASE's view of the model at one occupation."""

    implemented_properties = ("energy", "forces")

    def __init__(self, model: AlchemicalMACE, occupation: np.ndarray) -> None:
        super().__init__()
        self.model, self.occupation = model, occupation

    def calculate(
        self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        bound = self.model.at(atoms.positions)
        energy, forces, _ = bound.energy_forces_stress(self.occupation[None])
        self.results = {"energy": energy[0], "forces": forces[0]}


def lattice_of(size: int) -> Lattice:
    return builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=(size,) * 3)


def snapshot(model: AlchemicalMACE, temperature: float, seed: int = 1) -> np.ndarray:
    """Positions after 0.4 ps of Langevin dynamics of a random ordering, from ideal ones."""
    rng = np.random.default_rng(seed)
    occupation = model.lattice.random(HALF, rng)
    atoms = model.lattice.to_atoms(occupation)
    atoms.calc = _Forces(model, occupation)
    thermalize_momenta(atoms, temperature_K=2 * temperature, rng=rng)
    dynamics = Langevin(
        atoms, 2.0 * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=rng,
        fixcm=False,
    )  # fmt: skip
    dynamics.run(200)
    return np.asarray(atoms.positions)


def store(*path: str, value: Any) -> None:
    document = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    inner = document
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


def errors(options: argparse.Namespace) -> None:
    lattice = lattice_of(options.size)
    ideal = AlchemicalMACE(lattice, "bundled")
    cases = {"ideal": ideal, "rattled by 0.06 Å": ideal.at(lattice.displaced_positions(0.06, 1))}
    for temperature in options.dynamics:
        name = f"molecular dynamics at {temperature:g} K"
        cases[name] = ideal.at(snapshot(ideal, temperature))
    costs = relative_costs(ideal, lattice.random(HALF, np.random.default_rng(1)), hessian=True)
    store("errors", "cost of a gradient, of a Hessian product", value=list(costs[:2]))
    print(f"a gradient costs {costs[0]:.1f} energies, a Hessian product {costs[1]:.1f}")
    for name, model in cases.items():
        shift = model.positions - lattice.atoms.positions
        rms = float(np.sqrt((shift**2).sum(axis=1).mean()))
        rows = _errors_at(model, options.temperature, costs[:2])
        store("errors", name, value={"displacement": rms, "rows": rows})
        print(f"\n{name}: displacement {rms:.2f} Å (root mean square), {options.temperature:g} K")
        print(f"{'':28s} random  equil.  acc.  cost/eff.sample  before")
        for row in rows:
            print(
                f"{row['surrogate']:28s} {row['random']:5.2f}  {row['equilibrium']:5.2f}  "
                f"{row['acceptance']:.2f}  {row['energies_per_effective_sample']:8.2f}"
                f"{row['cost_before']:16.0f}",
                flush=True,
            )


def _errors_at(
    model: AlchemicalMACE, temperature: float, costs: tuple[float, float]
) -> list[dict[str, Any]]:
    """Rows of one set of positions."""
    lattice, kT = model.lattice, units.kB * temperature
    ensemble = Canonical(lattice, temperature)
    starts = lattice.random(HALF, np.random.default_rng(2), CHAINS)
    both = _learnt(SurrogateChain(model, ensemble), starts)
    equilibrium = sample(both[0], both[1], n_steps=40, seed=7).samples.occupation.values[10:]
    states = {
        "random": lattice.random(HALF, np.random.default_rng(3), 48),
        "equilibrium": equilibrium.reshape(-1, lattice.n_sites)[::2].astype(np.int8),
    }
    exact = {which: model.energy(some) for which, some in states.items()}
    mean = lattice.mean_weights(HALF)
    taylor = taylor_expansion(model, mean)
    uniform = both[0].summary()["hessian_products"] > 0
    kernels = {
        "Taylor expansion alone": (
            SurrogateChain(model, ensemble, surrogate=taylor, sweeps=both[0].sweeps),
            {"gradients": 1, "hessian_products": 1 if uniform else 2, "energies": 0},
        ),
        "fitted expansion alone": _without_taylor(model, ensemble, starts),
        "both": (both[0], both[0].summary()),
    }
    rows = []
    for label, (kernel, spent) in kernels.items():
        run = sample(kernel, both[1], n_steps=100, seed=8)
        error = {
            which: float(np.std(exact[which] - kernel.surrogate.energy(some)) / kT)
            for which, some in states.items()
        }
        ess = effective_sample_size(run.samples.energy.values)
        before = (
            spent["energies"] + costs[0] * spent["gradients"] + costs[1] * spent["hessian_products"]
        )
        rows.append(
            {
                "surrogate": label,
                **error,
                "acceptance": float(run.samples.acceptance.mean()),
                "energies_per_effective_sample": float(run.samples.energy_calls.sum()) / ess,
                "cost_before": float(before),
                "spent": {k: spent[k] for k in ("energies", "gradients", "hessian_products")},
            }
        )
    return rows


def _learnt(kernel: SurrogateChain, starts: np.ndarray) -> tuple[SurrogateChain, np.ndarray]:
    rngs = spawn_generators(5, CHAINS)
    tuned, state, _ = warm_up(kernel, kernel.init(starts, rngs), rngs, 25)
    return tuned, state.occupations


def _without_taylor(
    model: AlchemicalMACE, ensemble: Canonical, starts: np.ndarray
) -> tuple[SurrogateChain, dict[str, Any]]:
    tuned, _ = _learnt(SurrogateChain(OnlyEnergies(model), ensemble), starts)
    return replace(tuned, hamiltonian=model), tuned.summary()


def regions(options: argparse.Namespace) -> None:
    small = AlchemicalMACE(lattice_of(6), "bundled", memory=0)
    ensemble = Canonical(small.lattice, options.temperature)
    starts = small.lattice.random(HALF, np.random.default_rng(2), CHAINS)
    learnt, after = _learnt(SurrogateChain(small, ensemble), starts)
    print("learnt at 6x6x6:", json.dumps(learnt.summary()))
    store("regions", "learnt", value=learnt.summary())
    store("regions", "temperature", value=options.temperature)
    expansion = learnt.surrogate
    if not isinstance(expansion, PairExpansion):
        raise SystemExit("no surrogate was learnt at 6x6x6")
    print("cell   sites that move   acc.   s/accepted   steps/sweep   tau (sweeps)   E per eff. s.")
    rows = {6: (None, 54, 27), 12: (None, 432, 216)}
    for size, some in ((size, rows[size]) for size in options.cells):
        model = small if size == 6 else AlchemicalMACE(lattice_of(size), "bundled", memory=0)
        lattice, start = model.lattice, after
        if size != 6:
            start = lattice.random(HALF, np.random.default_rng(3), CHAINS)
        surrogate = expansion.on(lattice)
        for region in some:
            kernel = SurrogateChain(
                model, Canonical(lattice, options.temperature), surrogate=surrogate,
                sweeps=learnt.sweeps, region=region,
            )  # fmt: skip
            row, start = _region_row(kernel, start, options)
            store("regions", f"{size}", str(region or "all"), value=row)
            print(
                f"{size:3d}^3 {region or lattice.n_sites:12d} {row['acceptance']:11.2f} "
                f"{row['seconds_per_accepted']:10.2f} {row['steps_per_sweep']:12.1f} "
                f"{row['tau_sweeps']:13.2f} {row['energies_per_effective_sample']:13.1f}",
                flush=True,
            )


def _region_row(
    kernel: SurrogateChain, start: np.ndarray, options: argparse.Namespace
) -> tuple[dict[str, Any], np.ndarray]:
    """Run for the time given, of which a fifth is dropped."""
    n_sites = kernel.hamiltonian.lattice.n_sites
    rngs = spawn_generators(11, CHAINS)
    state = kernel.init(start, rngs)
    energies, accepted, calls = [], 0, 0
    begin, cpu = time.monotonic(), time.process_time()
    while time.monotonic() - begin < options.seconds:
        state, info = kernel.step(state, rngs)
        energies.append(state.energy)
        accepted += int((info.accepted & (info.energy_calls > 0)).sum())
        calls += int(info.energy_calls.sum())
    cpu = time.process_time() - cpu
    series = np.array(energies)[len(energies) // 5 :]
    ess = effective_sample_size(series)
    moved = kernel.region or n_sites
    return {
        "sites": moved,
        "steps": len(energies),
        "acceptance": accepted / max(1, calls),
        "seconds_per_accepted": cpu / max(1, accepted),
        "steps_per_sweep": n_sites / moved,
        "effective_samples": float(ess),
        "tau_sweeps": series.size / ess * moved / n_sites,
        "effective_samples_per_sweep": float(ess) / (series.size * moved / n_sites),
        "energies_per_effective_sample": series.size / float(ess),
    }, state.occupations


PARTS = {"errors": errors, "regions": regions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--size", type=int, default=4, help="cells along each axis, for errors")
    parser.add_argument("--temperature", type=float, default=4400.0, help="K")
    parser.add_argument(
        "--dynamics", type=float, nargs="*", default=[300.0, 1500.0], help="K, of the snapshots"
    )
    parser.add_argument("--cells", type=int, nargs="*", choices=(6, 12), default=(6, 12))
    parser.add_argument("--seconds", type=float, default=120.0, help="per row of regions")
    options = parser.parse_args()
    for part in options.parts:
        PARTS[part](options)


if __name__ == "__main__":
    main()
