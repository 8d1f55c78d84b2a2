"""Leading concentration waves against explicit orderings, and their temperatures against sampling.

``python benchmarks/concentration_waves.py [PART …]`` with the parts

- perovskites-bundled, perovskites-chgnet: double perovskites A2BB'O6. The leading wave of the
  2×2×2 cell beside the energies of the six orderings of that cell, all at ideal positions, at the
  lattice constant where the mean pressure of the six is zero. A wave *agrees* if it carries the
  largest part of |ψ_q|² of the lowest of the six.
- a-sites-bundled: the same for A sites that hold two species of one charge, (A,A')TiO3 and
  (A,A')ZrO3: small energies and more than one leading vector.
- one-to-two: Ba(Mg⅓Nb⅔)O3 and relatives in 3×3×3 cells.
- temperatures, temperatures-chgnet: rescaled mean-field temperatures beside sampled ones (Binder
  crossings), the latter from CHGNet's own Hessian.
- relaxed: (Mg,Ca)O with atoms that follow.

Merged into ``benchmarks/results/concentration_waves.json`` as they come. One thread.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts threads that would wait busily

import argparse
import json
import time
from pathlib import Path

import numpy as np
from ase.units import kB

from alchemc import AlchemicalCHGNet, AlchemicalMACE, PairHamiltonian, Relaxed, analysis, builders
from alchemc.potentials import check_domain

FOLDER = Path(__file__).parent / "results"
RESULT = FOLDER / "concentration_waves.json"
HALF = 0.5
CRITICAL = 0.2216546
"""K_c of the simple cubic Ising model (Ferrenberg, Xu and Landau 2018,
doi:10.1103/PhysRevE.97.043301: 0.221654626)."""

PAIRS = ["Mg W", "Sc Ta", "Sc Nb", "Al Ta", "Al Nb", "Ti Zr"]
BUNDLED = [f"{a} {pair}" for pair in PAIRS for a in ("Ca", "Sr", "Ba", "Pb")]
BUNDLED += ["La Mg Ti", "La Mg Zr"]
CHGNET = [
    *("Sr Mg W", "Ba Mg W", "Ca Mg W", "Pb Mg W", "Sr Zn W", "Ba Zn W", "Ba Ca W", "Sr Ca W"),
    *("Sr Sc Ta", "Ba Sc Ta", "Pb Sc Ta", "Pb Sc Nb", "Sr Al Ta", "Sr Al Nb", "Ba In Ta"),
    *("Ba In Nb", "Ba Y Ta", "Ba Y Nb", "Sr Ga Ta", "Sr Mg Mo", "Ba Mg Te", "La Mg Ti"),
    *("La Zn Ti", "Sr Ti Zr", "Ba Ti Zr", "Sr Fe Mo", "Sr Cr Ta", "La Ni Mn"),
]
A_SITES = [
    f"{pair} {b}" for b in ("Ti", "Zr")
    for pair in ("Ca+Sr", "Ca+Ba", "Sr+Ba", "Ca+Pb", "Sr+Pb", "Ba+Pb")
]  # fmt: skip
RADII = {
    "Mg": 0.72, "W": 0.60, "Sc": 0.745, "Ta": 0.64, "Nb": 0.64, "Al": 0.535, "Ti": 0.605,
    "Zr": 0.72, "Zn": 0.74, "Ca": 1.0, "In": 0.8, "Y": 0.9, "Ga": 0.62, "Mo": 0.59, "Te": 0.56,
    "Fe": 0.645, "Cr": 0.615, "Ni": 0.69, "Mn": 0.53,
}  # fmt: skip
"""Å, sixfold coordination (Shannon 1976, doi:10.1107/S0567739476001551): where the search for the
lattice constant starts; the result does not depend on them."""


def merge(part, content):
    stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    stored[part] = content
    RESULT.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


def model_of(name, lattice, **where):
    if name == "bundled":
        return AlchemicalMACE(lattice, "bundled", device="cpu", **where)
    return AlchemicalCHGNet(lattice, device="cpu", dtype="float64", **where)


# ---- six orderings of double perovskites ----------------------------------------------------


def half(lattice):
    return {n: dict.fromkeys(s.species, HALF) for n, s in lattice.sublattices.items()}


def classes(lattice):
    """One of every class of the 70 half-and-half arrangements, and its size."""
    states = lattice.enumerate(half(lattice))
    permutations = lattice.symmetry_permutations()
    seen, found = set(), []
    for state in states:
        orbit = {tuple(image) for s in (state, 1 - state) for image in s[permutations].tolist()}
        if tuple(state.tolist()) not in seen:
            seen |= orbit
            found.append((state, len(orbit)))
    return found


def weights_by_star(lattice, state):
    """Parts of Σ|ψ_q|² by named star; they add up to one at half and half."""
    return {
        name: float(analysis.ordering_amplitude(lattice, state[None], name)["mean"])
        for name in analysis.NAMED_ORDERS
    }


def lattice_of(a_site, b_site, a):
    return builders.perovskite(a_site, b_site, "O", a=a, size=(2, 2, 2))


def sites_of(text):
    """Species of the A and the B sites: "Sr Mg W" mixes B sites, "Ca+Ba Ti" A sites."""
    first, *rest = text.split()
    return tuple(first.split("+")) if "+" in first else first, tuple(rest) if rest[1:] else rest[0]


def formula(a_site, b_site):
    parts = ["".join(s) if isinstance(s, tuple) else f"{s}2" for s in (a_site, b_site)]
    return "".join(parts) + "O6"


def constant_of(name, a_site, b_site, states):
    """Lattice constant in Å at which the mean pressure of arrangements is zero, by secants."""
    a = 2 * (np.mean([RADII[b] for b in np.atleast_1d(b_site)]) + 1.36)
    history = []
    for _ in range(6):
        lattice = lattice_of(a_site, b_site, a)
        stress = model_of(name, lattice).energy_forces_stress(states)[2]
        history.append((a, float(np.trace(stress, axis1=1, axis2=2).mean() / 3)))
        if abs(history[-1][1]) < 5e-4:
            break
        if len(history) == 1:
            slope = 3 * 1.0 / a  # of a bulk modulus of 1 eV/Å³
        else:
            (a0, p0), (a1, p1) = history[-2:]
            slope = (p1 - p0) / (a1 - a0)
        a += float(np.clip(-history[-1][1] / slope, -0.15, 0.15))
    return float(a), history


def perovskite(name, text):
    a_site, b_site = sites_of(text)
    begin = time.perf_counter()
    lattice = lattice_of(a_site, b_site, 4.0)
    six = classes(lattice)
    states = np.array([state for state, _ in six])
    a, history = constant_of(name, a_site, b_site, states)
    lattice = lattice_of(a_site, b_site, a)
    model = model_of(name, lattice)
    exact = model.energy(states)
    exact -= exact.min()
    start = time.perf_counter()
    waves = analysis.concentration_waves(model, half(lattice))
    seconds = time.perf_counter() - start
    predicted = waves.couplings.energies(states)
    rescaled = waves.rescaled(model)
    lowest = int(np.argmin(exact))
    parts = [weights_by_star(lattice, state) for state in states]
    ordered = [wave for wave in waves.waves if not wave.star.uniform]
    heaviest = max(parts[lowest], key=parts[lowest].get)
    return {
        "compound": formula(a_site, b_site),
        "a_A": a,
        "pressure_eV_per_A3": history[-1][1],
        "inside_domain": bool(check_domain(model, states).inside),
        "waves": {wave.name: wave.energy for wave in waves.waves},
        "leading": waves.leading.name,
        "leading_at_fixed_composition": ordered[0].name,
        "gap_eV": ordered[1].energy - ordered[0].energy,
        "orderings": [
            {
                "size": size,
                "energy_eV": float(e),
                "energy_of_V_eV": float(v),
                "parts": p,
            }
            for (_, size), e, v, p in zip(six, exact, predicted, parts, strict=True)
        ],
        "lowest": parts[lowest],
        "runner_up_ordering_eV": float(np.sort(exact)[1]),
        "agrees": heaviest == ordered[0].name,
        "lowest_by_V_is_lowest": int(np.argmin(predicted)) == lowest,
        "slope": rescaled.rescaling.slope,
        "slope_error": rescaled.rescaling.error,
        "correlation": rescaled.rescaling.correlation,
        "seconds_waves": seconds,
        "seconds": time.perf_counter() - begin,
    }


def perovskites(name, compounds, part="perovskites"):
    rows = []
    for text in compounds:
        row = perovskite(name, text)
        rows.append(row)
        agreed = sum(r["agrees"] for r in rows)
        content = {"rows": rows, "agree": agreed, "of": len(rows)}
        content["leading_is_unmixing"] = sum(r["leading"] == "unmixing" for r in rows)
        content["lowest_by_V_is_lowest"] = sum(r["lowest_by_V_is_lowest"] for r in rows)
        merge(f"{part}-{name}", content)
        print(
            f"{row['compound']:12s} a {row['a_A']:.3f} leading {row['leading']:10s} "
            f"({row['leading_at_fixed_composition']}) lowest {row['lowest']} "
            f"agrees {row['agrees']} slope {row['slope']:.3f} r {row['correlation']:.3f} "
            f"{row['seconds']:.0f} s",
            flush=True,
        )


# ---- other compositions, temperatures, relaxation -------------------------------------------


def one_to_two():
    rows = []
    for a_site, b, other, a in (("Ba", "Mg", "Nb", 4.09), ("Ba", "Mg", "Ta", 4.09),
                                ("Sr", "Mg", "Ta", 3.98)):  # fmt: skip
        lattice = builders.perovskite(a_site, (b, other), "O", a=a, size=(3, 3, 3))
        model = model_of("bundled", lattice)
        mean = {"B": {b: 1 / 3, other: 2 / 3}}
        begin = time.perf_counter()
        waves = analysis.concentration_waves(model, mean).rescaled(model)
        seconds = time.perf_counter() - begin
        layers = np.round(lattice.atoms.positions[lattice.sites].sum(axis=1) / a - 1.5)
        ordered = (layers % 3 != 0).astype(np.int8)  # one layer of three along 111
        random = lattice.random(mean, np.random.default_rng(1), 40)
        energies = model.energy(random)
        rows.append(
            {
                "compound": f"{a_site}3{b}{other}2O9",
                "a_A": a,
                "waves": [{"name": w.name, "q": w.q, "energy_eV": w.energy} for w in waves.waves],
                "slope": waves.rescaling.slope,
                "correlation": waves.rescaling.correlation,
                "ordered_below_lowest_of_40_random_eV": float(
                    energies.min() - model.energy(ordered[None])[0]
                ),
                "seconds": seconds,
            }
        )
        print(rows[-1], flush=True)
        merge("one-to-two", rows)


def temperatures():
    """Mean field beside what was sampled on the same landscape (4×4×4 cells for V)."""
    rows = []
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=(4, 4, 4))
    ising = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    rows.append(
        temperature_row(
            "nearest-neighbour rock-salt Ising, J = 10 meV", ising, 0.01 / (CRITICAL * kB), 0.0,
            "exact up to 1e-7: J/(k_B K_c), K_c = 0.2216546",
        )
    )  # fmt: skip
    stored = json.loads((FOLDER / "samplers.json").read_text())
    crossing = binder_crossing(stored)
    rows.append(
        temperature_row(
            "Pb(Sc,Ta)O3, bundled, a = 4.08 Å", model_of("bundled", lattice), *crossing,
            "Binder crossing of 4³ and 6³ sites (samplers.json)",
        )
    )  # fmt: skip
    stored = json.loads((FOLDER / "transitions.json").read_text())
    for other in ("Nb", "Ta"):
        row = stored[f"Pb(Sc,{other})O3, ideal"]
        lattice = builders.perovskite("Pb", ("Sc", other), "O", a=row["a_A"], size=(6, 6, 6))
        spins = np.array([[1.0, -1.0], [-1.0, 1.0]])
        pairs = PairHamiltonian(lattice, [j * spins for j in row["couplings_eV"]])
        rows.append(
            temperature_row(
                f"Pb(Sc,{other})O3, pair model of four shells fitted to CHGNet 0.3.0", pairs,
                row["T_od_K"]["6/8"], row["error_sampling_K"]["6/8"],
                "Binder crossing of 6³ and 8³ sites of the same pair model (transitions.json)",
            )
        )  # fmt: skip
    merge("temperatures", rows)


def temperatures_chgnet():
    """Compare V of CHGNet itself with what was sampled with pair models fitted to its energies."""
    rows = []
    stored = json.loads((FOLDER / "transitions.json").read_text())
    for other in ("Nb", "Ta"):
        row = stored[f"Pb(Sc,{other})O3, ideal"]
        lattice = builders.perovskite("Pb", ("Sc", other), "O", a=row["a_A"], size=(4, 4, 4))
        error = float(np.hypot(row["error_sampling_K"]["6/8"], row["error_fit_K"]))
        rows.append(
            temperature_row(
                f"Pb(Sc,{other})O3, CHGNet 0.3.0, a = {row['a_A']} Å",
                model_of("chgnet", lattice), row["T_od_K"]["6/8"], error,
                "Binder crossing of 6³ and 8³ sites, pair model fitted to energies "
                "(transitions.json)",
            )
        )  # fmt: skip
        merge("temperatures-chgnet", rows)


def binder_crossing(stored):
    """T_od of the bundled potential's Pb(Sc,Ta)O3 with its error, in K."""
    found = stored["transition"]
    return found["t_od"], found["error"]


def temperature_row(name, model, sampled, error, source):
    begin = time.perf_counter()
    mean = half(model.lattice)
    waves = analysis.concentration_waves(model, mean).rescaled(model)
    reason = waves.no_temperature()
    kelvin = -waves.leading.energy / kB
    row = {
        "system": name,
        "leading": waves.leading.name,
        "lambda_eV": waves.leading.energy,
        "slope": waves.rescaling.slope,
        "slope_error": waves.rescaling.error,
        "correlation": waves.rescaling.correlation,
        "mean_field_K": kelvin * waves.rescaling.slope,
        "mean_field_error_K": kelvin * waves.rescaling.error,
        "given": not reason,  # else the number above is for the record only
        "label": reason or waves.temperature().label,
        "sampled_K": sampled,
        "sampled_error_K": error,
        "sampled_by": source,
        "ratio": kelvin * waves.rescaling.slope / sampled,
        "share_at_edge": waves.couplings.edge_share,
        "seconds": time.perf_counter() - begin,
    }
    print(row, flush=True)
    return row


def relaxed():
    """(Mg,Ca)O in 2×2×2 conventional cells: V at ideal positions and with atoms that follow."""
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.5, size=(2, 2, 2))
    model = model_of("bundled", lattice)
    mean = {"cation": {"Mg": HALF, "Ca": HALF}}
    content = {}
    for name, energies in (("ideal", model), ("relaxed", Relaxed(model, fmax=0.005))):
        begin = time.perf_counter()
        waves = analysis.concentration_waves(model, mean, relaxed=name == "relaxed")
        seconds = time.perf_counter() - begin
        waves = waves.rescaled(energies, 12)
        content[name] = waves.to_dict() | {"seconds": seconds}
        print(waves.statement, flush=True)
    merge("relaxed", content)


PARTS = {
    "perovskites-bundled": lambda: perovskites("bundled", BUNDLED),
    "perovskites-chgnet": lambda: perovskites("chgnet", CHGNET),
    "a-sites-bundled": lambda: perovskites("bundled", A_SITES, "a-sites"),
    "one-to-two": one_to_two,
    "temperatures": temperatures,
    "temperatures-chgnet": temperatures_chgnet,
    "relaxed": relaxed,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    for part in parser.parse_args().parts or PARTS:
        begin = time.perf_counter()
        PARTS[part]()
        print(f"{part}: {time.perf_counter() - begin:.0f} s", flush=True)
