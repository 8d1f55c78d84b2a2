"""Ordering temperatures of Pb(Sc,Ta)O3 and Pb(Sc,Nb)O3 with CHGNet, ideal and relaxed positions.

Run as ``python benchmarks/transitions.py Ta|Nb ideal|relaxed``; merged into
``benchmarks/results/transitions.json``. One thread, a = 4.08 Å, fixed cell.

1. All classes of the 70 half-and-half arrangements of 2×2×2, several members of each.
2. A pair model E ≈ E0 + Σ_shells J_s φ_s, φ_s = Σ_pairs σ_i σ_j, fitted to those and to energies
   of 4×4×4 arrangements: random ones and equilibrium ones of the model so far.
3. The pair model sampled at 4³, 6³ and 8³: where Binder cumulants of rock-salt order cross.
4. About 50 further 4×4×4 energies of states drawn at that temperature from the model: the slope of
   energies against the model's and their scatter; reweighting, with its effective number of states;
   the acceptance of delayed acceptance; and the temperature from the model fitted to everything.

The error is that of refitted models (bootstrap over the energies) and of the sampling, together.
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

from alchemc import AlchemicalCHGNet, Canonical, PairHamiltonian, RandomSwap, Relaxed, builders
from alchemc.sampler import sample

RESULT = Path(__file__).parent / "results" / "transitions.json"
LATTICE_CONSTANT = 4.08
EXPERIMENT = {"Ta": 1770.0, "Nb": 1480.0}  # K, of the ordered to the disordered cation arrangement
SHELLS = 4
FMAX = 0.01
HALF = 0.5
SPIN = np.array([[1.0, -1.0], [-1.0, 1.0]])
BUDGET = {"ideal": {"learn": 60, "check": 60}, "relaxed": {"learn": 24, "check": 34}}


# ---- energies -------------------------------------------------------------------------------


class Energies:
    """Energies of one landscape, counted, timed and kept in a file as they come."""

    def __init__(self, species: str, landscape: str, folder: Path) -> None:
        self.species, self.landscape = species, landscape
        self.path = folder / f"{species}-{landscape}.jsonl"
        self.known = {}
        self.models = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                row = json.loads(line)
                self.known[(row["size"], row["occupation"])] = row
        self.seconds = sum(row["seconds"] for row in self.known.values())
        self.calls = sum(row["calls"] for row in self.known.values())

    def lattice(self, size):
        return builders.perovskite(
            "Pb", ("Sc", self.species), "O", a=LATTICE_CONSTANT, size=(size,) * 3
        )

    def __call__(self, size, occupations):
        """Energies in eV, NaN where a relaxation did not converge."""
        found = []
        for occupation in occupations:
            key = (size, "".join(map(str, occupation.tolist())))
            if key not in self.known:
                self.known[key] = self._evaluate(size, occupation, key[1])
            energy = self.known[key]["energy"]
            found.append(np.nan if energy is None else energy)
        return np.array(found)

    def _evaluate(self, size, occupation, name):
        if size not in self.models:
            chgnet = AlchemicalCHGNet(self.lattice(size), device="cpu")
            relaxed = Relaxed(chgnet, fmax=FMAX) if self.landscape == "relaxed" else chgnet
            self.models[size] = relaxed
        model, begin = self.models[size], time.perf_counter()
        if self.landscape == "relaxed":
            minimum = model.relaxed(occupation)
            energy, calls = float(minimum.energies), int(minimum.force_calls)
        else:
            energy, calls = float(model.energy(occupation)), 1
        row = {
            "size": size, "occupation": name, "calls": calls,
            "energy": energy if np.isfinite(energy) else None,
            "seconds": time.perf_counter() - begin,
        }  # fmt: skip
        self.seconds += row["seconds"]
        self.calls += calls
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row


# ---- the pair model -------------------------------------------------------------------------


def features(lattice, occupations):
    """φ_s of every shell, [n, SHELLS]: like pairs less unlike pairs, images counted."""
    spins = 1.0 - 2.0 * np.atleast_2d(occupations)
    columns = []
    for shell in lattice.shells(SHELLS):
        i, j = shell.pairs.T
        columns.append(0.5 * (spins[:, i] * spins[:, j]).sum(axis=1))
    return np.array(columns).T


def design(rows, lattices):
    """Matrix and energies of a fit, every row per site of its cell."""
    matrix, target = [], []
    for size, occupation, energy in rows:
        phi = features(lattices[size], occupation)[0]
        matrix.append(np.concatenate([[1.0], phi / size**3]))
        target.append(energy / size**3)
    return np.array(matrix), np.array(target)


def fit(rows, lattices, weights=None):
    """Energy per site and couplings J_s in eV by least squares, weighted by the cell's size."""
    matrix, target = design(rows, lattices)
    scale = np.array([row[0] ** 1.5 for row in rows])  # errors grow with the root of the volume
    if weights is not None:
        scale = scale * np.sqrt(weights)
    penalty = 1e-4 * np.diag([0.0, *([1.0] * SHELLS)])
    solution = np.linalg.lstsq(
        np.vstack([matrix * scale[:, None], penalty]),
        np.concatenate([target * scale, np.zeros(SHELLS + 1)]),
        rcond=None,
    )[0]
    sizes = np.array([row[0] for row in rows])
    return solution, np.column_stack([sizes, sizes**3 * (target - matrix @ solution)])


def model(lattice, solution):
    couplings = [float(j) * SPIN for j in solution[1:]]
    return PairHamiltonian(lattice, couplings, constant=float(solution[0]) * lattice.n_sites)


# ---- sampling the pair model ----------------------------------------------------------------


def rock_salt(size):
    return 1.0 - 2.0 * (np.indices((size,) * 3).sum(axis=0).ravel() % 2)


def moments(lattice, size, solution, temperature, draws, seed):
    """⟨m²⟩ and ⟨m⁴⟩ per chain [8, 2] at one temperature, and the last occupations."""
    hamiltonian = model(lattice, solution)
    kernel = RandomSwap(hamiltonian, Canonical(lattice, temperature))
    rng = np.random.default_rng(seed)
    starts = np.array([(rock_salt(size) > 0).astype(np.int8)] * 8)
    starts[4:] = rng.permuted(starts[4:], axis=1)
    thin = 4 * size**3
    run = sample(
        kernel, starts, n_steps=draws * thin, thin=thin, warmup=draws * thin // 4, seed=seed
    )
    occupations = run.samples["occupation"].to_numpy()
    order = ((1.0 - 2.0 * occupations) @ rock_salt(size)) / size**3
    squares = (order**2).mean(axis=0), (order**4).mean(axis=0)
    return np.stack(squares, axis=1), occupations


def binder(values):
    return 1.0 - values[:, 1].mean() / (3.0 * values[:, 0].mean() ** 2)


def crossing(lattices, solution, guess, draws, seed, sizes=(4, 6)):
    """Temperature at which the Binder cumulants of two sizes cross, and its error."""
    grid = guess * np.linspace(0.94, 1.06, 7)
    small, large = (
        np.array(
            [binders(lattices[s], s, solution, t, draws, seed + n) for n, t in enumerate(grid)]
        )
        for s in sizes
    )
    # Straight lines in the logarithm of T, close to the crossing: values [7, 1 + resamples].
    x = np.log(grid / guess)
    slopes = np.polyfit(x, (large - small), 2)
    found = []
    for a, b, c in slopes.T:
        roots = np.roots([a, b, c])
        real = roots[np.abs(roots.imag) < 1e-9].real
        found.append(guess * np.exp(real[np.argmin(np.abs(real))]) if len(real) else np.nan)
    return found[0], float(np.nanstd(found[1:]))


def binders(lattice, size, solution, temperature, draws, seed):
    """Binder cumulant, first of all chains and then of resampled ones."""
    values, _ = moments(lattice, size, solution, temperature, draws, seed)
    rng = np.random.default_rng(seed)
    picks = [np.arange(8), *(rng.integers(8, size=8) for _ in range(50))]
    return np.array([binder(values[pick]) for pick in picks])


def settled(lattices, solution, guess, draws, seed, sizes=(4, 6)):
    """Repeat the crossing until the grid is centred on it; a rough value will do."""
    for n in range(8):
        value, error = crossing(lattices, solution, guess, draws, seed + 100 * n, sizes)
        if np.isfinite(value) and abs(value / guess - 1.0) < 0.03:
            return value, error
        guess = value if np.isfinite(value) and 0.5 < value / guess < 2.0 else 0.9 * guess
    return value, error


def located(lattices, solution, guess, draws, seed, sizes=(4, 6)):
    """Temperature at which the cumulant of the larger cell falls below the smaller one's.

    The grid moves until it holds the change of sign; straight lines between its points.
    """
    for n in range(12):
        grid = guess * np.linspace(0.92, 1.08, 9)
        small, large = (
            np.array(
                [
                    binders(lattices[s], s, solution, t, draws, seed + 100 * n + k)
                    for k, t in enumerate(grid)
                ]
            )
            for s in sizes
        )
        difference = large - small
        found = np.array([falls(grid, column) for column in difference.T])
        if np.isfinite(found[0]):
            return float(found[0]), float(np.nanstd(found[1:]))
        guess *= 1.1 if difference[:, 0].mean() > 0 else 0.9
    raise SystemExit(f"no crossing found near {guess:.0f} K")


def falls(grid, difference):
    """Where a difference that is positive below and negative above changes sign, else NaN."""
    below = np.flatnonzero((difference[:-1] > 0) & (difference[1:] <= 0))
    if not len(below):
        return np.nan
    k = below[-1]
    share = difference[k] / (difference[k] - difference[k + 1])
    return grid[k] + share * (grid[k + 1] - grid[k])


def first_guess(solution):
    """Rock salt in mean field, times what fluctuations leave: (1/6)/0.2217 of the Ising model."""
    signs = np.array([-1.0, 1.0, -1.0, 1.0])
    counts = np.array([6.0, 12.0, 8.0, 6.0])
    field = -(signs * counts) @ solution[1:]
    return abs(float(field)) / units.kB * 0.752


# ---- the run --------------------------------------------------------------------------------


def classes(energies, members):
    """Energies of the classes of half-and-half arrangements at 2×2×2."""
    lattice = energies.lattice(2)
    states = np.array(
        [[n >> k & 1 for k in range(8)] for n in range(256) if bin(n).count("1") == 4],
        dtype=np.int8,
    )
    permutations = lattice.symmetry_permutations()
    labels = {}
    for state in states:
        images = {tuple(one) for one in state[permutations].tolist()}
        images |= {tuple(1 - s for s in one) for one in images}
        labels.setdefault(min(images), []).append(state)
    table, rows = [], []
    for group in labels.values():
        chosen = np.array(group)[:: max(1, len(group) // members)][:members]
        found = energies(2, chosen)
        rows += [(2, o, e) for o, e in zip(chosen, found, strict=True) if np.isfinite(e)]
        table.append(
            {
                "states": len(group),
                "phi": features(lattice, chosen[0])[0].tolist(),
                "energy_per_formula_eV": float(np.nanmean(found)) / 4,
                "spread_per_cell_eV": float(np.nanstd(found)),
            }
        )
    lowest = min(row["energy_per_formula_eV"] for row in table)
    for row in table:
        row["above_lowest_eV"] = row["energy_per_formula_eV"] - lowest
    return sorted(table, key=lambda row: row["above_lowest_eV"]), rows


def equilibrium(lattices, solution, temperature, n, seed):
    """States of 4×4×4 far apart in chains of the pair model."""
    _, occupations = moments(lattices[4], 4, solution, temperature, 400, seed)
    flat = occupations[len(occupations) // 4 :].reshape(-1, occupations.shape[-1])
    pick = np.linspace(0, len(flat) - 1, n).astype(int)
    return flat[pick]


def run(species, landscape, folder):
    begin = time.perf_counter()
    energies = Energies(species, landscape, folder)
    budget = BUDGET[landscape]
    lattices = {size: energies.lattice(size) for size in (2, 4, 6, 8)}
    table, rows = classes(energies, members=4)
    say(species, landscape, "classes", json.dumps(table))
    solution, _ = fit(rows, lattices)
    n = budget["learn"] // 3
    rng = np.random.default_rng(11)
    batches = [lattices[4].random({"B": {"Sc": HALF, species: HALF}}, rng, n)]
    for round_, scale in enumerate((1.3, 1.0)):
        states = batches.pop()
        rows += pairs(4, states, energies(4, states))
        solution, _ = fit(rows, lattices)
        guess = first_guess(solution)
        say(species, landscape, "couplings meV", np.round(1e3 * solution[1:], 2), "guess", guess)
        batches.append(equilibrium(lattices, solution, scale * guess, n, seed=20 + round_))
    states = batches.pop()
    rows += pairs(4, states, energies(4, states))
    solution, _ = fit(rows, lattices)
    t_model, _ = settled(lattices, solution, first_guess(solution), 600, seed=40)
    say(species, landscape, "model before the check orders at", t_model)
    states = equilibrium(lattices, solution, t_model, budget["check"], seed=60)
    exact = energies(4, states)
    check = corrected(lattices[4], solution, t_model, states, exact)
    say(species, landscape, "check", json.dumps(check))
    rows += pairs(4, states, exact)
    final, residuals = fit(rows, lattices)
    t_od, sampling = located(lattices, final, t_model, 2500, seed=80, sizes=(4, 6))
    t_large, sampling_large = located(lattices, final, t_od, 2500, seed=90, sizes=(6, 8))
    refits = bootstrap(rows, lattices, t_od)
    result = {
        "system": f"Pb(Sc,{species})O3", "landscape": landscape, "model": "CHGNet 0.3.0",
        "a_A": LATTICE_CONSTANT, "fmax": FMAX if landscape == "relaxed" else None,
        "classes": table, "couplings_eV": final[1:].tolist(),
        "residual_4x4x4_eV": float(np.std(residuals[residuals[:, 0] == 4, 1])),
        "residual_2x2x2_eV": float(np.std(residuals[residuals[:, 0] == 2, 1])),
        "check": check,
        "T_od_K": {"4/6": t_od, "6/8": t_large},
        "error_sampling_K": {"4/6": sampling, "6/8": sampling_large},
        "error_fit_K": float(np.std(refits)),
        "experiment_K": EXPERIMENT[species],
        "energies": {str(s): sum(1 for key in energies.known if key[0] == s) for s in (2, 4)},
        "failed": sum(1 for row in energies.known.values() if row["energy"] is None),
        "mlip_calls": energies.calls, "mlip_minutes": energies.seconds / 60,
        "minutes": (time.perf_counter() - begin) / 60,
    }  # fmt: skip
    say(json.dumps(result, indent=1))
    merge(f"Pb(Sc,{species})O3, {landscape}", result)


def pairs(size, states, energies):
    return [(size, o, e) for o, e in zip(states, energies, strict=True) if np.isfinite(e)]


def corrected(lattice, solution, temperature, states, exact):
    """Say what the energies of the model's own states say of it."""
    keep = np.isfinite(exact)
    states, exact = states[keep], exact[keep]
    estimate = model(lattice, solution).energy(states)
    beta = 1.0 / (units.kB * temperature)
    slope, _ = np.polyfit(estimate, exact, 1)
    error = exact - estimate
    weights = np.exp(-beta * (error - error.min()))
    weights /= weights.sum()
    order = ((1.0 - 2.0 * states) @ rock_salt(4) / 64) ** 2
    change = beta * (error[1:] - error[:-1])
    return {
        "temperature_K": temperature,
        "slope": float(slope),
        "correlation": float(np.corrcoef(estimate, exact)[0, 1]),
        "scatter_kT": float(beta * np.std(error)),
        "effective_states": float(1.0 / (weights**2).sum()),
        "states": len(states),
        "m2_model": float(order.mean()),
        "m2_model_error": float(order.std() / np.sqrt(len(order))),
        "m2_reweighted": float(weights @ order),
        "m2_first_order": float(order.mean() - beta * np.cov(order, error)[0, 1]),
        "delayed_acceptance": float(np.minimum(1.0, np.exp(-change)).mean()),
    }


def bootstrap(rows, lattices, t_od, n=8):
    """Ordering temperatures of models fitted to resampled energies."""
    rng = np.random.default_rng(5)
    found = []
    for k in range(n):
        weights = rng.multinomial(len(rows), np.full(len(rows), 1.0 / len(rows)))
        solution, _ = fit(rows, lattices, weights.astype(float))
        found.append(located(lattices, solution, t_od, 600, seed=200 + 1000 * k)[0])
    return found


def say(*words):
    print(time.strftime("%H:%M:%S"), *words, flush=True)


def merge(key, value):
    RESULT.parent.mkdir(exist_ok=True)
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found[key] = value
    RESULT.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("species", choices=sorted(EXPERIMENT))
    parser.add_argument("landscape", choices=sorted(BUDGET))
    parser.add_argument("--energies", type=Path, default=Path("runs/transitions"))
    options = parser.parse_args()
    options.energies.mkdir(parents=True, exist_ok=True)
    run(options.species, options.landscape, options.energies)


if __name__ == "__main__":
    main()
