"""Rock-salt order of Pb(Sc,Ta)O3 with positions sampled: two routes to one temperature.

``python benchmarks/sampled_positions.py [PART …] [--model bundled|chgnet] [--keep FOLDER]``; merged
into ``benchmarks/results/sampled_positions.json``. One thread, 2×2×2 cells of 40 atoms, whose 70
half-and-half arrangements fall into six classes. T½ is where half of the weight is rock-salt; in so
small a cell it stands for the ordering temperature, and the same measure is taken everywhere.

- classes: energies of the six on ideal positions and relaxed (lowest of 12 minima), fixed cell and
  zero pressure, and T½ from them.
- direct, direct-free: route 1, replica exchange of `HybridMD` (swaps, HMC), at a fixed cell and at
  zero pressure.
- harmonic: relaxed energies plus ½ k_BT ln det of the force constants at the lowest minimum.
- vibrations: route 2. Free energy of every class at one temperature from that of a harmonic crystal
  about its mean positions (Frenkel and Ladd 1984, doi:10.1063/1.448024; force constants: the mean
  over thermal draws), by HMC between the two and MBAR; and rock salt's share there, to be compared
  with route 1 at that temperature.
- reweight: CHGNet's energies of route 1's draws: the share of the draws that is effective, and rock
  salt's share and T½ for CHGNet, refused where fewer than 5 % are.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
import time
from pathlib import Path

import numpy as np
from ase import units
from pymbar import MBAR
from scipy.optimize import brentq
from scipy.special import logsumexp

from alchemc import (
    AlchemicalCHGNet,
    AlchemicalMACE,
    Canonical,
    HybridMD,
    RandomSwap,
    Relaxed,
    Tempering,
    analysis,
    builders,
    sample,
)
from alchemc.ensembles import HMC
from alchemc.ensembles.dynamics.crystal import Crystal, Structures
from alchemc.errors import ConvergenceError
from alchemc.sampler import spawn_generators
from alchemc.statistics import autocorrelation_time, rhat, standard_error, summary

RESULT = Path(__file__).parent / "results" / "sampled_positions.json"
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
CONSTANT = {"bundled": 4.09, "chgnet": 4.08}  # Å
TEMPERATURE = {"bundled": 2300.0, "chgnet": 1500.0}  # K, of route 2
LADDER = [1500.0, 1750.0, 2000.0, 2300.0]  # at 2,800 K it melts at this volume, too
LADDER_FREE = [750.0, 850.0, 950.0, 1080.0]  # this crystal melts at zero pressure, soon at 1,200 K
COUPLINGS = [0.08, 0.3, 0.65, 1.0]  # of the potential, beside 0, which is drawn exactly
HESSIANS = 10  # of which the reference of a class is the mean


def crystal_of(name):
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=CONSTANT[name], size=(2, 2, 2))
    if name == "bundled":
        return lattice, AlchemicalMACE(lattice, "bundled", device="cpu")
    return lattice, AlchemicalCHGNet(lattice, dtype="float64", device="cpu")


def classes_of(lattice, ideal):
    """List arrangements [70, 8], their classes (0: rock salt), one of each, and degeneracies."""
    states = lattice.enumerate(HALF)
    energy = ideal.energy(states)
    order = np.argsort(energy, kind="stable")
    levels, first, of, n = np.unique(
        np.round(energy[order], 4), return_index=True, return_inverse=True, return_counts=True
    )
    label = np.empty(len(states), dtype=int)
    label[order] = of
    return states, label, states[order][first], n, levels


class Labels:
    """Classes of occupations, by what they are."""

    def __init__(self, states, label):
        self.known = {
            row.tobytes(): k for row, k in zip(states.astype(np.int8), label, strict=True)
        }

    def __call__(self, occupations):
        flat = np.ascontiguousarray(occupations, dtype=np.int8).reshape(-1, occupations.shape[-1])
        found = [self.known[row.tobytes()] for row in flat]
        return np.array(found).reshape(occupations.shape[:-1])


def half_temperature(free_energy, degeneracy, low=100.0, high=20_000.0):
    """T½ where ``free_energy(T)`` [n_classes] in eV: ln of rock salt's weight over the others'."""

    def log_odds(t):
        logs = np.log(degeneracy) - free_energy(t) / (units.kB * t)
        return logs[0] - logsumexp(logs[1:])

    return float(brentq(log_odds, low, high)) if log_odds(low) * log_odds(high) < 0 else np.nan


def constant(value):
    return lambda _: value


# ---- energies of the classes -----------------------------------------------------------------


def classes(name):
    lattice, model = crystal_of(name)
    _, _, representatives, degeneracy, levels = classes_of(lattice, model)
    found = {"degeneracy": degeneracy.tolist(), "ideal_eV": (levels - levels[0]).tolist()}
    found["ideal_T_half"] = half_temperature(constant(levels - levels[0]), degeneracy)
    n = 12 if name == "bundled" else 3
    for cell in (False, "isotropic"):
        relaxed = Relaxed(model, fmax=0.01, cell=cell, references=n)
        minimum = relaxed.relaxed(representatives)
        energy = minimum.energies
        key = "relaxed" if cell is False else "relaxed_free"
        found[f"{key}_eV"] = (energy - energy[0]).tolist()
        found[f"{key}_T_half"] = half_temperature(constant(energy - energy[0]), degeneracy)
        volumes = np.abs(np.linalg.det(minimum.cells))
        found[f"{key}_a_A"] = (np.cbrt(volumes) / 2).tolist()
        found[f"{key}_force_calls"] = int(np.sum(minimum.force_calls))
        print(key, found, flush=True)
    return found


# ---- route 1 ---------------------------------------------------------------------------------


def direct(name, keep, pressure=None, draws=240, warmup=40, chains=3):
    lattice, model = crystal_of(name)
    states, label, representatives, degeneracy, _ = classes_of(lattice, model)
    classify = Labels(states, label)
    kernel = HybridMD(
        RandomSwap(model, Canonical(lattice, LADDER[0])),
        HMC(step=6.0, n_steps=8, pressure=pressure),
        occupation_steps=120,
    )
    rungs = LADDER if pressure is None else LADDER_FREE
    ladder = Tempering(kernel, temperatures=rungs, move_rungs=False)
    starts = np.stack([representatives[k % len(representatives)] for k in range(chains)])
    begin = time.perf_counter()
    run = sample(ladder, starts, n_steps=draws, warmup=warmup, seed=11)
    found = {"seconds": time.perf_counter() - begin, "rungs": []}
    for point in run.points:
        kind = "V" if pressure is None else "P"
        np.savez_compressed(
            keep / f"direct-{name}-{kind}-{float(point.temperature):.0f}.npz",
            **{key: point[key].values for key in ("occupation", "positions", "cell", "energy")
               if key in point},
        )  # fmt: skip
    trips = analysis.round_trips(run)
    found["round_trips"], found["exchange_rates"] = trips.total, trips.exchange_rates.tolist()
    logits = []
    for point in run.points:
        of = classify(point.occupation.values)
        t, ordered = float(point.temperature), (of == 0).astype(float)
        changed = (point.occupation.values[1:] != point.occupation.values[:-1]).any(axis=2)
        cells = point.cell.values if "cell" in point else lattice.atoms.cell.array
        displaced = np.linalg.norm(
            point.positions.values - kernel.crystal.references(cells), axis=-1
        )
        # The solid's average: no atom half a cell away from its site.
        solid = displaced.max(axis=-1) < 0.5 * CONSTANT[name]
        if not solid.any():
            continue
        among = float(ordered[solid].mean())
        share = summary(solid / solid.mean() * (ordered - among))._replace(mean=among)
        row = {
            "temperature": t,
            "rock_salt": share.mean, "error": share.error, "ess": share.ess, "rhat": share.rhat,
            "solid": float(solid.mean()),
            "shares": [float((of[solid] == k).mean()) for k in range(len(degeneracy))],
            "energy": float(point.energy.mean()),
            "energy_error": standard_error(point.energy.values),
            "swaps_accepted": float(point.acceptance.mean()),
            "draws_that_changed": float(changed.mean()),
            "rms_displacement_A": float(np.sqrt((displaced**2).mean())),
            "largest_displacement_A": float(displaced.max()),
            "energy_calls": int(point.energy_calls.sum()),
            "gradient_calls": int(point.gradient_calls.sum()),
        }  # fmt: skip
        if pressure is not None:
            a = np.cbrt(np.abs(np.linalg.det(point.cell.values))) / 2
            row |= {"a_A": float(a.mean()), "a_error": standard_error(a)}
        found["rungs"].append(row)
        print(row, flush=True)
        logits += log_odds(t, share)
    found["T_half"], found["T_half_error"] = crossing(logits)
    print(found["T_half"], found["T_half_error"], trips, flush=True)
    return found


def log_odds(t, share):
    """(β, ln-odds, its error) of a share, in a list that is empty where it has no error."""
    variance = share.mean * (1 - share.mean)
    if not (variance > 0 and share.error > 0):
        return []
    odds = np.log(share.mean / (1 - share.mean))
    return [(1 / (units.kB * t), odds, share.error / variance)]


def crossing(rows):
    """T where a weighted line in β through ln-odds [n, (β, value, error)] is 0, and its error."""
    if len(rows) < 2:
        return None, None
    beta, value, error = np.array(rows).T
    rng = np.random.default_rng(0)
    centre, found = beta.mean(), []
    for k in range(400):
        noisy = value + (error * rng.standard_normal(len(error)) if k else 0.0)
        line = np.polyfit(beta - centre, noisy, 1, w=1 / error)
        found.append(1 / (units.kB * (centre - line[1] / line[0])))
    return float(found[0]), spread(found[1:])


def spread(values):
    """Half of what lies between the 16th and the 84th percentile."""
    low, high = np.nanpercentile(values, [16, 84])
    return float(high - low) / 2


# ---- route 2 ---------------------------------------------------------------------------------


class Tethered:
    """(1 − λ) times a harmonic crystal about given places, plus λ times a potential."""

    def __init__(self, model, places, stiffness, coupling):
        self.model, self.places, self.stiffness, self.coupling = model, places, stiffness, coupling
        self.lattice = model.lattice

    def forces_at(self, occupations, positions, cells):
        energy, forces, stress = self.model.forces_at(occupations, positions, cells)
        held, pull = harmonic_energy(self.stiffness, positions - self.places)
        weight = self.coupling
        return weight * energy + (1 - weight) * held, weight * forces + (1 - weight) * pull, stress


def harmonic_energy(stiffness, away):
    """Energies [...] and forces of displacements [..., atoms, 3] under force constants."""
    flat = away.reshape(*away.shape[:-2], -1)
    pull = -flat @ stiffness
    return -0.5 * (flat * pull).sum(axis=-1), pull.reshape(away.shape)


def hessian_at(model, occupation, places, cell, step=0.01):
    """Force constants in eV/Å² by central differences, and the force calls that they took."""
    size = places.size
    moves = step * np.eye(size).reshape(size, -1, 3)
    forces = [
        model.forces_at(np.repeat(occupation[None], len(part), axis=0), part,
                        np.repeat(cell[None], len(part), axis=0))[1]
        for part in np.array_split(np.concatenate([places + moves, places - moves]), 24)
    ]  # fmt: skip
    forces = np.concatenate(forces).reshape(2, size, size)
    found = (forces[1] - forces[0]) / (2 * step)
    return 0.5 * (found + found.T), 2 * size


def held_centre(n_atoms):
    """Orthonormal basis [3n, 3n − 3] of displacements whose mean is zero."""
    shifts = np.tile(np.eye(3), (n_atoms, 1)) / np.sqrt(n_atoms)
    return np.linalg.svd(shifts, full_matrices=True)[0][:, 3:]


def reference_of(model, occupation, draws, cell, basis):
    """Mean force constants of some draws, none softer than 0.5 eV/Å², in the basis; calls."""
    picked = draws.reshape(-1, *draws.shape[2:])
    picked = picked[:: max(1, len(picked) // HESSIANS)][:HESSIANS]
    found = [hessian_at(model, occupation, places, cell) for places in picked]
    values, vectors = np.linalg.eigh(basis.T @ np.mean([h for h, _ in found], axis=0) @ basis)
    values = np.maximum(values, 0.5)
    return values, basis @ vectors, sum(n for _, n in found)


def trajectories(crystal, occupation, cell, start, draws, warmup, seed, pressure=None, chains=2):
    """HMC at one occupation: positions [draws, chains, …], cells, energies and force calls."""
    rngs = spawn_generators(seed, chains)
    dynamics = HMC(step=6.0, n_steps=8, pressure=pressure)
    cells = np.repeat(cell[None], chains, axis=0)
    positions = crystal.recentred(np.repeat(start[None], chains, axis=0), cells)
    occupations = np.repeat(occupation[None], chains, axis=0).astype(np.int8)
    energy, _ = crystal.known(occupations, positions, cells)
    structures, calls = Structures(occupations, positions, cells, energy), 0
    kept = []
    for step in range(warmup + draws):
        structures, report = dynamics.run(crystal, structures, rngs)
        calls += int(report.force_calls.sum())
        if step < warmup:
            dynamics = dynamics.tuned(report)
        if step == warmup - 1:
            dynamics = dynamics.settled()
        if step >= warmup:
            kept.append((structures.positions, structures.cells, structures.energy))
    return *(np.array(part) for part in zip(*kept, strict=True)), calls


def vibrations(name, keep, warmup=40):
    draws = 120 if name == "bundled" else 60
    lattice, model = crystal_of(name)
    _, _, representatives, degeneracy, levels = classes_of(lattice, model)
    t = TEMPERATURE[name]
    thermal, cell, begin, calls = units.kB * t, lattice.atoms.cell.array, time.perf_counter(), 0
    crystal, basis = Crystal(model, t), held_centre(len(lattice.atoms))
    found, rng = {"temperature": t, "classes": []}, np.random.default_rng(5)
    for k, occupation in enumerate(representatives):
        start = lattice.atoms.positions
        end, _, energy, used = trajectories(
            crystal, occupation, cell, start, draws, warmup, 100 + k
        )
        calls += used
        places = end.mean(axis=(0, 1))
        values, vectors, used = reference_of(model, occupation, end, cell, basis)
        calls += used
        stiffness = (vectors * values) @ vectors.T
        amplitudes = np.sqrt(thermal / values) * rng.standard_normal((2 * draws, len(values)))
        free = places + (amplitudes @ vectors.T).reshape(-1, *places.shape)
        many = np.repeat(occupation[None], len(free), axis=0)
        potential, _, _ = model.forces_at(many, free, np.repeat(cell[None], len(free), axis=0))
        calls += len(free)
        pairs = [(potential, harmonic_energy(stiffness, free - places)[0])]
        for n, coupling in enumerate(COUPLINGS):
            positions, own = end, energy
            if coupling < 1.0:
                tied = Tethered(model, places, stiffness, coupling)
                positions, _, own, used = trajectories(
                    Crystal(tied, t), occupation, cell, places, draws, warmup, 1000 * k + n
                )
                calls += used
            held = harmonic_energy(stiffness, positions - places)[0]
            potential = (own - (1 - coupling) * held) / coupling
            every = max(1, round(autocorrelation_time(potential - held)))
            pairs.append((potential[::every].ravel(), held[::every].ravel()))
        at = np.array([0.0, *COUPLINGS])
        u, e = (np.concatenate([p[i] for p in pairs]) for i in (0, 1))
        known = np.isfinite(u)  # a draw of springs may bring atoms where there is no energy
        counts = np.array([np.isfinite(p[0]).sum() for p in pairs])
        offset = u[known].min()
        matrix = (at[:, None] * (u[known] - offset) + (1 - at[:, None]) * e[known]) / thermal
        mbar = MBAR(matrix, counts)
        result, overlap = mbar.compute_free_energy_differences(), mbar.compute_overlap()["matrix"]
        reference = 0.5 * thermal * np.log(values / (2 * np.pi * thermal)).sum()
        row = {
            "free_energy_eV": float(reference + thermal * result["Delta_f"][0, -1] + offset),
            "error_eV": float(thermal * result["dDelta_f"][0, -1]),
            "reference_eV": float(reference), "softest_eV_per_A2": float(values.min()),
            "mean_energy_eV": float(energy.mean()),
            "mean_energy_error_eV": standard_error(energy), "rhat": rhat(energy),
            "smallest_overlap_of_neighbours": float(
                min(overlap[i, i + 1] for i in range(len(at) - 1))
            ),
            "effective_draws": counts.tolist(),
            "draws_without_energy": int((~known).sum()),
            "farthest_from_site_A": float(np.linalg.norm(end - start, axis=-1).max()),
        }  # fmt: skip
        found["classes"].append(row)
        print(k, row, flush=True)
        np.savez_compressed(
            keep / f"class-{name}-{k}.npz",
            occupation=occupation, positions=end, energy=energy,
        )  # fmt: skip
    f = np.array([row["free_energy_eV"] for row in found["classes"]])
    found["free_energy_over_rock_salt_eV"] = (f - f[0]).tolist()
    found["ideal_over_rock_salt_eV"] = (levels - levels[0]).tolist()
    found["rock_salt"], found["rock_salt_16_84"] = rock_salt_share(found["classes"], degeneracy, t)
    found["force_calls"], found["seconds"] = calls, time.perf_counter() - begin
    print(found["rock_salt"], found["rock_salt_16_84"], calls, flush=True)
    return found


def rock_salt_share(rows, degeneracy, t):
    """Rock salt's share of the weight from free energies of all classes, and its 68 % interval."""
    free, error = (np.array([row[key] for row in rows]) for key in ("free_energy_eV", "error_eV"))
    noise = np.random.default_rng(1).standard_normal((2000, len(free)))
    drawn = np.concatenate([free[None], free + error * noise])
    logs = np.log(degeneracy) - drawn / (units.kB * t)
    shares = np.exp(logs[:, 0] - logsumexp(logs, axis=1))
    return float(shares[0]), np.percentile(shares[1:], [16, 84]).tolist()


def harmonic(name, step=0.005):
    lattice, model = crystal_of(name)
    _, _, representatives, degeneracy, _ = classes_of(lattice, model)
    n = 12 if name == "bundled" else 3
    relaxed = Relaxed(model, fmax=0.002, references=n)
    minimum = relaxed.relaxed(representatives)
    cell, size = lattice.atoms.cell.array, 3 * len(lattice.atoms)
    found = {"half_log_det": [], "lowest_eigenvalue_eV_per_A2": [], "energy_eV": []}
    for k, occupation in enumerate(representatives):
        hessian, _ = hessian_at(model, occupation, minimum.positions[k], cell, step)
        values = np.linalg.eigvalsh(hessian)
        values = np.delete(values, np.argsort(np.abs(values))[:3])  # the crystal as a whole
        found["lowest_eigenvalue_eV_per_A2"].append(float(values.min()))
        found["half_log_det"].append(float(0.5 * np.log(np.abs(values)).sum()))
        found["energy_eV"].append(float(minimum.energies[k]))
        print(k, values[:4], found["half_log_det"][-1], minimum.energies[k], flush=True)
    energy, half = np.array(found["energy_eV"]), np.array(found["half_log_det"])
    t = TEMPERATURE[name]
    free = energy - energy[0] + units.kB * t * (half - half[0])
    found["temperature"], found["free_energy_over_rock_salt_eV"] = t, free.tolist()
    found["T_half"] = half_temperature(
        lambda t: energy - energy[0] + units.kB * t * (half - half[0]), degeneracy, 200.0, 6000.0
    )
    found["force_calls"] = int(np.sum(minimum.force_calls)) + 2 * size * len(representatives)
    print(found["T_half"], flush=True)
    return found


# ---- another potential -----------------------------------------------------------------------


def reweight(keep, most=720):
    lattice, model = crystal_of("bundled")
    states, label, *_ = classes_of(lattice, model)
    classify = Labels(states, label)
    chgnet = AlchemicalCHGNet(lattice, dtype="float64", device="cpu")
    found, cell, logits = {"rungs": []}, lattice.atoms.cell.array, []
    for path in sorted(keep.glob("direct-bundled-V-*.npz")):
        stored, t = np.load(path), float(path.stem.split("-")[-1])
        every = -(-stored["energy"].size // most)
        own = stored["energy"][::every]
        occupations = stored["occupation"][::every].astype(np.int8)
        n_atoms = len(lattice.atoms)
        pairs = zip(
            occupations.reshape(-1, lattice.n_sites),
            stored["positions"][::every].reshape(-1, n_atoms, 3),
            strict=True,
        )
        other = [chgnet.forces_at(o[None], p[None], cell[None])[0][0] for o, p in pairs]
        difference = np.reshape(other, own.shape) - own
        log_weights = -difference / (units.kB * t)
        row = {
            "temperature": t, "draws": own.size,
            "spread_of_difference_eV": float(difference.std()),
            "effective_fraction": analysis.effective_fraction(log_weights),
        }  # fmt: skip
        try:
            share = analysis.reweighted((classify(occupations) == 0).astype(float), log_weights)
        except ConvergenceError as refused:
            row["refused"] = str(refused)
        else:
            row |= {"rock_salt": share.mean, "error": share.error, "rhat": share.rhat}
            logits += log_odds(t, share)
        found["rungs"].append(row)
        print(row, flush=True)
    found["T_half"], found["T_half_error"] = crossing(logits)
    found["energy_calls_of_chgnet"] = sum(row["draws"] for row in found["rungs"])
    print(found["T_half"], found["T_half_error"], flush=True)
    return found


PARTS = {
    "classes": lambda name, _: classes(name),
    "direct": direct,
    "direct-free": lambda name, keep: direct(name, keep, 0.0, 100),
    "harmonic": lambda name, _: harmonic(name),
    "vibrations": vibrations,
    "reweight": lambda _, keep: reweight(keep),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    known = [[], *PARTS]
    parser.add_argument("parts", nargs="*", choices=known, default=[], help="all, some two hours")
    parser.add_argument("--model", choices=[*CONSTANT], default="bundled")
    parser.add_argument("--keep", type=Path, default=Path("runs/sampled_positions"), help="draws")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    for part in options.parts or PARTS:
        found = PARTS[part](options.model, options.keep)
        stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        stored.setdefault(options.model, {})[part] = found
        RESULT.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
