"""Configurations for the bundled potential: compositions, cell shapes, orderings, positions."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.data import atomic_numbers
from ase.geometry import minkowski_reduce

__all__ = [
    "Configuration",
    "development_cases",
    "held_out",
    "ordering_classes",
    "perovskite_cell",
    "rocksalt_cell",
    "sample_groups",
    "swap_set",
]

CHARGE = {
    "Mg": 2, "Al": 3, "Ca": 2, "Sc": 3, "Ti": 4, "Sr": 2, "Zr": 4,
    "Nb": 5, "Ba": 2, "La": 3, "Ta": 5, "W": 6, "Pb": 2, "O": -2,
}  # fmt: skip
# Ionic radii in Å (Shannon 1976, Acta Cryst. A32, 751): twelvefold A and sixfold B.
RADIUS_A = {"Ca": 1.34, "Sr": 1.44, "Ba": 1.61, "La": 1.36, "Pb": 1.49}
RADIUS_B = {
    "Mg": 0.72, "Al": 0.535, "Ca": 1.00, "Sc": 0.745, "Ti": 0.605, "Sr": 1.18, "Zr": 0.72,
    "Nb": 0.64, "Ba": 1.35, "Ta": 0.64, "W": 0.60,
}  # fmt: skip
ROCKSALT_CATIONS = ("Mg", "Ca", "Sr", "Ba")
PEROVSKITE_UNITS = (4, 6, 8, 9, 10, 12, 16)
ROCKSALT_UNITS = (8, 12, 16, 24, 27, 32)


@dataclass
class Configuration:
    """One structure with its group (same cell and counts, another ordering) and its origin."""

    atoms: Atoms
    group: int
    kind: str
    labels: dict[str, Any] = field(default_factory=dict)


def held_out() -> dict[str, Any]:
    """Return the held-out compositions, shapes and seeds, fixed before training."""
    text = resources.files(__package__).joinpath("held_out.json").read_text(encoding="utf-8")
    return json.loads(text)


def hermite_normal_forms(index: int) -> list[np.ndarray]:
    """Return all 3×3 Hermite normal forms of determinant ``index``."""
    forms: list[np.ndarray] = []
    for a in range(1, index + 1):
        if index % a:
            continue
        for c in range(1, index // a + 1):
            if (index // a) % c:
                continue
            f = index // (a * c)
            forms.extend(
                np.array([[a, 0, 0], [b, c, 0], [d, e, f]])
                for b, d, e in itertools.product(range(a), range(a), range(c))
            )
    return forms


_SHAPES: dict[tuple[str, int], list[np.ndarray]] = {}


def compact_shapes(primitive: np.ndarray, units: int, key: str) -> list[np.ndarray]:
    """Return the forms of ``units`` primitive cells that are not needles or plates.

    Kept are those whose shortest translation is at least 0.8 of the best one's.
    """
    if (key, units) not in _SHAPES:
        forms, lengths = [], []
        for form in hermite_normal_forms(units):
            reduced, operation = minkowski_reduce(form @ primitive)
            forms.append(operation @ form)
            lengths.append(np.linalg.norm(reduced, axis=1).min())
        best = max(lengths)
        _SHAPES[key, units] = [
            f for f, d in zip(forms, lengths, strict=True) if d >= 0.8 * best - 1e-9
        ]
    return _SHAPES[key, units]


def perovskite_parameter(a_site: list[str], b_site: list[str]) -> float:
    """Estimate the cubic lattice parameter in Å, linear in the ionic radii (good to 2 %)."""
    r_a = np.mean([RADIUS_A[s] for s in a_site])
    r_b = np.mean([RADIUS_B[s] for s in b_site])
    return float(3.050 + 1.403 * r_b + 0.2825 * (r_a - 1.40))


def perovskite_cell(
    a_site: list[str], b_site: list[str], shape: np.ndarray, a: float | None = None
) -> Atoms:
    """Ideal ABO3 supercell; ``a_site`` and ``b_site`` list a species per formula unit."""
    a = a or perovskite_parameter(a_site, b_site)
    primitive = Atoms(
        "SrTiO3",
        scaled_positions=[
            (0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5),
        ],
        cell=np.eye(3) * a,
        pbc=True,
    )  # fmt: skip
    return _decorate(make_supercell(primitive, shape), {"Sr": a_site, "Ti": b_site})


def rocksalt_parameter(cations: list[str]) -> float:
    """Lattice parameter in Å, linear between the oxides' own."""
    own = {"Mg": 4.21, "Ca": 4.81, "Sr": 5.16, "Ba": 5.54}
    return float(np.mean([own[s] for s in cations]))


def rocksalt_cell(cations: list[str], shape: np.ndarray, a: float | None = None) -> Atoms:
    """Ideal MO supercell of the fcc primitive cell; one cation per formula unit."""
    a = a or rocksalt_parameter(cations)
    cell = np.array([(0, 1, 1), (1, 0, 1), (1, 1, 0)]) * a / 2
    primitive = Atoms("MgO", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=cell, pbc=True)
    return _decorate(make_supercell(primitive, shape), {"Mg": cations})


def spinel_cell(cations: list[str], a: float) -> Atoms:
    """Ideal M3O4 primitive cell (two formula units): cations on 8a then on 16d."""
    from ase.spacegroup import crystal  # noqa: PLC0415

    atoms = crystal(
        ("Mg", "Al", "O"),
        [(1 / 8, 1 / 8, 1 / 8), (1 / 2, 1 / 2, 1 / 2), (0.262, 0.262, 0.262)],
        spacegroup=227,
        setting=2,
        cellpar=[a, a, a, 90, 90, 90],
        primitive_cell=True,
    )
    symbols = np.array(atoms.get_chemical_symbols())
    sites = np.concatenate([np.flatnonzero(symbols == "Mg"), np.flatnonzero(symbols == "Al")])
    symbols[sites] = cations
    return Atoms(symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)


def _decorate(atoms: Atoms, species: dict[str, list[str]]) -> Atoms:
    symbols = np.array(atoms.get_chemical_symbols(), dtype="U2")
    for placeholder, new in species.items():
        symbols[np.array(atoms.get_chemical_symbols()) == placeholder] = new
    return Atoms(symbols.tolist(), positions=atoms.positions, cell=atoms.cell, pbc=True)


def is_held_out(a_site: list[str], b_site: list[str]) -> bool:
    """Say whether a perovskite has one of the held-out compositions (equal B counts)."""
    for case in held_out()["perovskites"].values():
        counts = {b_site.count(s) for s in case["b_site"]}
        same = set(a_site) == set(case["a_site"]) and set(b_site) == set(case["b_site"])
        if same and len(counts) == 1:
            return True
    return False


_B_SETS = [
    ("Sc", "Ta"), ("Sc", "Nb"), ("Al", "Ta"), ("Al", "Nb"), ("Mg", "W"), ("Ca", "W"),
    ("Mg", "Ta"), ("Mg", "Nb"), ("Sc", "W"), ("Al", "W"), ("Ti", "Zr"), ("Mg", "Ti", "W"),
    ("Sc", "Ta", "Ti"), ("Sc", "Nb", "Ti"), ("Sc", "Ta", "Nb"), ("Al", "Sc", "Ta"),
    ("Sc", "Ta", "Zr"), ("Mg", "Nb", "Ti"), ("Mg", "W", "Zr"), ("Al", "Sc", "Nb"),
    ("Mg", "Ca", "W"), ("Mg", "Sc", "Ta", "W"), ("Al", "Sc", "Ta", "Nb"), ("Ca", "Ta"),
    ("Sr", "W"), ("Mg", "Sc", "Nb", "Ti"),
]  # fmt: skip
_LA_B_SETS = [
    ("Mg", "Ti"), ("Mg", "Zr"), ("Ca", "Zr"), ("Ca", "Ti"), ("Al", "Sc"), ("Mg", "Ti", "Al"),
    ("Mg", "Ti", "Zr"), ("Mg", "Ti", "Sc"), ("Mg", "Ta"), ("Mg", "Nb"), ("Mg", "W"),
    ("Mg", "Ca", "Ti"), ("Al",), ("Sc",), ("Mg", "Sc", "Zr"),
]  # fmt: skip


def _balanced_counts(
    species: tuple[str, ...], units: int, charge: int, rng: np.random.Generator
) -> list[str] | None:
    """Draw counts of all ``species`` on ``units`` sites with the wanted total charge."""
    options = [
        (*c, units - sum(c))
        for c in itertools.product(range(1, units), repeat=len(species) - 1)
        if sum(c) < units
        and sum(n * CHARGE[s] for n, s in zip((*c, units - sum(c)), species, strict=True)) == charge
    ]
    if not options:
        return None
    counts = options[rng.integers(len(options))]
    return [s for s, n in zip(species, counts, strict=True) for _ in range(n)]


def _draw_a_site(units: int, rng: np.random.Generator) -> list[str]:
    """One or two species, weighted towards Sr, Ba, Pb and La."""
    names = np.array(["Sr", "Ba", "Pb", "Ca", "La"])
    p = np.array([0.22, 0.2, 0.24, 0.1, 0.24])
    n_species = 1 if rng.random() < 0.7 else 2
    chosen = rng.choice(names, size=n_species, replace=False, p=p)
    split = units if n_species == 1 else int(rng.integers(1, units))
    return [str(chosen[0])] * split + [str(chosen[-1])] * (units - split)


def _draw_perovskite(rng: np.random.Generator) -> tuple[list[str], list[str], np.ndarray]:
    while True:
        units = int(rng.choice(PEROVSKITE_UNITS, p=[0.08, 0.1, 0.34, 0.06, 0.16, 0.14, 0.12]))
        a_site = _draw_a_site(units, rng)
        pure_la = set(a_site) == {"La"}
        sets = _LA_B_SETS if pure_la else _B_SETS
        if "La" in a_site and not pure_la:
            sets = _B_SETS + _LA_B_SETS
        b_set = sets[rng.integers(len(sets))]
        charge = 6 * units - sum(CHARGE[s] for s in a_site)
        if len(b_set) == 1:
            b_site = [b_set[0]] * units if CHARGE[b_set[0]] * units == charge else None
        else:
            b_site = _balanced_counts(b_set, units, charge, rng)
        if b_site is None or is_held_out(a_site, b_site):
            continue
        primitive = np.eye(3)
        shapes = compact_shapes(primitive, units, "cubic")
        shape = shapes[rng.integers(len(shapes))]
        if units == 8 and rng.random() < 0.5:
            shape = 2 * np.eye(3, dtype=int)
        return a_site, b_site, shape


def _draw_rocksalt(rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    units = int(rng.choice(ROCKSALT_UNITS))
    n_species = 2 if rng.random() < 0.8 else int(rng.choice([1, 3]))
    p = np.array([0.4, 0.4, 0.12, 0.08])
    chosen = [str(s) for s in rng.choice(ROCKSALT_CATIONS, size=n_species, replace=False, p=p)]
    if n_species == 2 and rng.random() < 0.5:
        chosen = ["Mg", "Ca"]
    cuts = np.sort(rng.integers(1, units, size=len(chosen) - 1))
    counts = np.diff([0, *cuts, units])
    cations = [s for s, n in zip(chosen, counts, strict=True) for _ in range(int(n))]
    primitive = np.array([(0, 1, 1), (1, 0, 1), (1, 1, 0)]) / 2
    shapes = compact_shapes(primitive, units, "fcc")
    return cations, shapes[rng.integers(len(shapes))]


_SPINELS = [
    (["Mg"] * 2 + ["Al"] * 4, 8.1), (["Mg"] * 4 + ["Ti"] * 2, 8.45), (["Mg"] * 2 + ["Sc"] * 4, 8.6),
    (["Mg"] * 2 + ["Al"] * 3 + ["Sc"], 8.25), (["Mg"] * 3 + ["Al"] * 2 + ["Ti"], 8.3),
]  # fmt: skip


def _strained(atoms: Atoms, amplitude: float, volume: float, rng: np.random.Generator) -> Atoms:
    """Scale by ``volume`` (linear) and shear by up to ``amplitude`` in every component."""
    strain = rng.uniform(-amplitude, amplitude, size=(3, 3))
    strain = (strain + strain.T) / 2
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array @ (volume * (np.eye(3) + strain)), scale_atoms=True)
    return strained


def _ordering_groups(
    base: Atoms, groups: list[np.ndarray], rng: np.random.Generator, size: int
) -> list[Atoms]:
    """Return ``size`` structures that differ by permutations within each group of sites."""
    result = []
    for _ in range(size):
        numbers = base.numbers.copy()
        for sites in groups:
            numbers[sites] = rng.permutation(numbers[sites])
        copy = base.copy()
        copy.numbers = numbers
        result.append(copy)
    return result


def _perovskite_orderings(
    atoms: Atoms, units: int, rng: np.random.Generator, size: int
) -> list[Atoms]:
    """Random orderings; in some the most ordered alternation is put in as one member."""
    base_sites = np.flatnonzero(atoms.numbers != 8)
    a_mask = np.zeros(len(atoms), bool)
    a_mask[base_sites] = np.arange(len(base_sites)) % 2 == 0  # make_supercell repeats A, B, O3
    groups = [np.flatnonzero(a_mask), np.setdiff1d(base_sites, np.flatnonzero(a_mask))]
    orderings = _ordering_groups(atoms, groups, rng, size)
    if rng.random() < 0.6 and units % 2 == 0:
        ordered = _plane_order(orderings[0], groups[1], rng)
        if ordered is not None:
            orderings[0] = ordered
    return orderings


def _plane_order(atoms: Atoms, sites: np.ndarray, rng: np.random.Generator) -> Atoms | None:
    """Sort the species of ``sites`` along a commensurate plane wave (rock salt favoured)."""
    inverse = np.linalg.inv(atoms.cell.array).T
    scale = abs(atoms.cell.volume / len(sites)) ** (1 / 3)
    waves = [(0.5, 0.5, 0.5)] * 3 + [(0.5, 0, 0), (0.5, 0.5, 0), (0, 0.5, 0.5), (0, 0, 0.5)]
    q = np.array(waves[rng.integers(len(waves))]) / scale
    index = atoms.cell.array @ q
    if not np.allclose(index, np.round(index), atol=1e-2):
        return None
    q = np.round(index) @ inverse
    phase = np.cos(2 * np.pi * atoms.positions[sites] @ q + 1e-3)
    ordered = atoms.copy()
    order = np.argsort(phase + 1e-3 * rng.random(len(sites)))
    species = np.sort(atoms.numbers[sites])
    numbers = atoms.numbers.copy()
    numbers[sites[order]] = species if rng.random() < 0.5 else species[::-1]
    ordered.numbers = numbers
    return ordered


def sample_groups(n_groups: int, seed: int, first_group: int = 0) -> list[Configuration]:
    """Draw groups of configurations: one cell, composition and displacement, 2–5 orderings.

    A third of the groups stay at ideal positions, the rest are rattled by 0.02–0.15 Å; two
    thirds are strained and sheared by up to 5 % (8 % in volume for rock salt).
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, first_group]))
    configurations = []
    for group in range(first_group, first_group + n_groups):
        draw = rng.random()
        size = int(rng.integers(2, 6))
        if draw < 0.78:
            a_site, b_site, shape = _draw_perovskite(rng)
            base = perovskite_cell(a_site, b_site, shape)
            orderings = _perovskite_orderings(base, len(b_site), rng, size)
            kind, low, high = "perovskite", 0.955, 1.05
        elif draw < 0.95:
            cations, shape = _draw_rocksalt(rng)
            base = rocksalt_cell(cations, shape)
            orderings = _ordering_groups(base, [np.flatnonzero(base.numbers != 8)], rng, size)
            kind, low, high = "rocksalt", 0.93, 1.08
        else:
            cations, a = _SPINELS[rng.integers(len(_SPINELS))]
            base = spinel_cell(list(cations), a)
            orderings = _ordering_groups(base, [np.flatnonzero(base.numbers != 8)], rng, size)
            kind, low, high = "spinel", 0.96, 1.04
        shear = 0.0 if rng.random() < 0.35 else 0.05
        frame = _strained(base, shear, rng.uniform(low, high), rng)
        amplitude = 0.0 if rng.random() < 0.33 else rng.uniform(0.02, 0.15)
        displacement = rng.normal(scale=1.0, size=frame.positions.shape) * amplitude
        for ordering in orderings:
            ordering.set_cell(frame.cell)
            ordering.positions = frame.positions + displacement
            configurations.append(Configuration(ordering, group, kind))
    return configurations


def swap_set(base: Atoms, sites: np.ndarray, n_swaps: int, rattle: float, seed: int) -> list[Atoms]:
    """Return ``2 n_swaps`` structures: random orderings, each followed by one unlike swap.

    Half of the pairs stay on the positions of ``base``, half share one displacement of standard
    deviation ``rattle`` (Å) per component.
    """
    rng = np.random.default_rng(seed)
    displacement = rng.normal(scale=rattle, size=base.positions.shape)
    structures = []
    for n in range(n_swaps):
        first = _ordering_groups(base, [sites], rng, 1)[0]
        if n % 2:
            first.positions = first.positions + displacement
        i = int(rng.choice(sites))
        j = int(rng.choice(sites[first.numbers[sites] != first.numbers[i]]))
        second = first.copy()
        numbers = first.numbers.copy()
        numbers[[i, j]] = numbers[[j, i]]
        second.numbers = numbers
        structures += [first, second]
    return structures


def ordering_classes(a_site: str, b_site: list[str]) -> list[tuple[Atoms, int]]:
    """Return the six inequivalent 1:1 orderings of the ideal 2×2×2 cell and how many of each.

    The first is rock salt. Classes are found by the sorted distances between like cations.
    """
    base = perovskite_cell([a_site] * 8, [b_site[0]] * 8, 2 * np.eye(3, dtype=int),
                           perovskite_parameter([a_site] * 8, b_site * 4))  # fmt: skip
    sites = np.flatnonzero(base.numbers == atomic_numbers[b_site[0]])
    distance = base[sites].get_all_distances(mic=True)
    classes: dict[tuple[Any, ...], list[Any]] = {}
    for chosen in itertools.combinations(range(8), 4):
        rest = [i for i in range(8) if i not in chosen]
        spectra = [
            tuple(sorted(np.round(distance[np.ix_(s, s)][np.triu_indices(4, 1)], 2)))
            for s in (list(chosen), rest)
        ]
        atoms = base.copy()
        numbers = atoms.numbers.copy()
        numbers[sites[list(chosen)]] = atomic_numbers[b_site[1]]
        atoms.numbers = numbers
        entry = classes.setdefault(tuple(sorted(spectra)), [atoms, 0])
        entry[1] += 1
    ordered = sorted(classes.items(), key=lambda item: -min(item[0][0]))
    return [(atoms, count) for _, (atoms, count) in ordered]


def development_cases(which: str) -> list[tuple[str, str, list[Atoms]]]:
    """Swap sets (name, kind, structures) of the ``"development"`` or ``"held-out"`` list."""
    spec = held_out()
    cases: list[tuple[str, str, list[Atoms]]] = []
    if which == "development":
        compounds, units = (
            spec["development"]["perovskites"],
            spec["development"]["perovskite_formula_units"],
        )
        seeds = dict.fromkeys(units, spec["development"]["seed"])
    else:
        compounds, units = spec["perovskites"], spec["perovskite_formula_units"]
        seeds = {14: spec["seeds"]["70-atom"], 18: spec["seeds"]["90-atom"]}
    for n, (name, case) in itertools.product(units, compounds.items()):
        half = n // 2
        b_site = [case["b_site"][0]] * half + [case["b_site"][1]] * (n - half)
        shapes = compact_shapes(np.eye(3), n, "cubic")
        shape = shapes[seeds[n] % len(shapes)]
        base = perovskite_cell(case["a_site"] * n, b_site, shape)
        cations = np.flatnonzero(base.numbers != 8)
        sites = cations[1::2]
        cases.append((f"{name}-{5 * n}", "perovskite", swap_set(
            base, sites, spec["swaps_per_cell"], spec["rattle"], seeds[n])))  # fmt: skip
    if which == "held-out":
        for n in spec["rocksalt_formula_units"]:
            seed = spec["seeds"][f"rocksalt-{n}"]
            shapes = compact_shapes(np.array([(0, 1, 1), (1, 0, 1), (1, 1, 0)]) / 2, n, "fcc")
            for fraction in spec["rocksalt"]["MgO-CaO"]["fractions"]:
                n_ca = round(n * fraction)
                base = rocksalt_cell(
                    ["Ca"] * n_ca + ["Mg"] * (n - n_ca), shapes[seed % len(shapes)]
                )
                sites = np.flatnonzero(base.numbers != 8)
                cases.append((f"MgO-CaO-{2 * n}-{fraction}", "rocksalt", swap_set(
                    base, sites, spec["swaps_per_cell"], spec["rattle"], seed)))  # fmt: skip
    return cases
