"""Harmonic vibrations of ordered and disordered double perovskites, bundled potential, 40 atoms.

``python benchmarks/vibrations.py``; writes ``benchmarks/results/vibrations.json``. One thread, some
ten minutes. Sr2ScTaO6 has one minimum for each arrangement; Pb2ScTaO6 has many, and soft modes.

- classes: the six half-and-half arrangements of the 2×2×2 cell, each relaxed (lowest of four
  minima, fixed cell): energy, vibrational free energy, slowest mode, errors of the force constants.
- halves: temperature at which half of the weight is rock salt, from the energies alone, and with
  vibrations, classical and quantum.
- shift: the same by `vibrational_shift`, from rock salt and draws of all other arrangements (each
  with the vibrations of its class) at the temperature found from energies alone.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import units
from scipy.optimize import brentq
from scipy.special import logsumexp

from alchemc import AlchemicalMACE, Relaxed, builders
from alchemc.analysis import harmonic_free_energy, vibrational_shift

RESULT = Path(__file__).parent / "results" / "vibrations.json"
HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}
SYSTEMS = {"Sr2ScTaO6": ("Sr", 3.98), "Pb2ScTaO6": ("Pb", 4.09)}
TEMPERATURES = [300.0, 1000.0, 1770.0, 2300.0]
DRAWS = 1000


def half_temperature(degeneracy, free_energy):
    """T at which class 0 has half of the weight; ``free_energy(T)`` [n] in eV."""

    def log_odds(t):
        logs = np.log(degeneracy) - free_energy(t) / (units.kB * t)
        return logs[0] - logsumexp(logs[1:])

    return float(brentq(log_odds, 100.0, 20_000.0))


def among(found, rows):
    """Return vibrations of some of the structures, as independent draws."""
    kept = {
        key: getattr(found, key)[rows]
        for key in ("occupations", "energies", "quanta", "residual_forces", "residual_energies",
                    "asymmetry", "drift")
    }  # fmt: skip
    return replace(found, draws=1, chains=len(rows), **kept)


def study(spectator, a, keep):
    lattice = builders.perovskite(spectator, ("Sc", "Ta"), "O", a=a, size=(2, 2, 2))
    model = AlchemicalMACE(lattice, "bundled", device="cpu")
    states = lattice.enumerate(HALF)
    levels, first, of, count = np.unique(
        np.round(model.energy(states), 4),
        return_index=True, return_inverse=True, return_counts=True,
    )  # fmt: skip
    landscape = Relaxed(model, fmax=0.002, references=4)
    begin = time.perf_counter()
    found = harmonic_free_energy(landscape, states[first], TEMPERATURES, imaginary="report")
    seconds = time.perf_counter() - begin
    stored = {
        "a_A": a, "seconds": seconds, "degeneracy": count.tolist(),
        "ideal_eV": (levels - levels[0]).tolist(), "classes": found.to_dict(),
    }  # fmt: skip
    keep(stored)
    print(found.table(), found.frequencies[:, :3], flush=True)
    energy = found.energies - found.energies[0]
    stored["relaxed_eV"] = energy.tolist()
    static = half_temperature(count, lambda _: energy)
    stored["halves"] = {"static": static}
    for statistics in ("classical", "quantum"):
        stored["halves"][statistics] = half_temperature(
            count, lambda t, s=statistics: energy + found.vibrational(t, s)
        )
    print(stored["halves"], flush=True)
    weights = np.where(of == 0, 0.0, np.exp(-energy[of] / (units.kB * static)))
    weights /= weights.sum()
    stored["latent_heat_eV"] = float(weights @ energy[of])
    drawn = of[np.random.default_rng(7).choice(len(states), size=DRAWS, p=weights)]
    ordered, disordered = among(found, np.array([0])), among(found, drawn)
    stored["drawn_of_class"] = np.bincount(drawn, minlength=len(levels)).tolist()
    keep(stored)
    shift = vibrational_shift(ordered, disordered, static, stored["latent_heat_eV"])
    stored["shift"] = shift.to_dict()
    print(shift.statement, flush=True)
    keep(stored)


def main():
    stored = {}
    for name, (spectator, a) in SYSTEMS.items():

        def keep(found, name=name):
            stored[name] = found
            RESULT.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")

        study(spectator, a, keep)


if __name__ == "__main__":
    main()
