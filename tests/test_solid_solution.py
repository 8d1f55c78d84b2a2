"""Solid solutions along x: closed forms, derivatives, and averages over arrangements.

Two tests are statistical: z-scores of fitted bowing parameters and of averages, whose standard
deviation lies within the stated bounds with a probability of 99.99 % (seeds are fixed).
"""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import spglib
from ase.build import bulk

from alchemc import (
    AlchemicalCHGNet,
    AlchemicalMACE,
    Lattice,
    PairHamiltonian,
    Relaxed,
    Sublattice,
    builders,
)
from alchemc.analysis import (
    SolidSolution,
    lattice_parameters,
    mean_crystal,
    sampled_lattice_parameters,
)
from alchemc.analysis.plots import plot_solid_solution
from alchemc.analysis.solid_solution.geometry import conventional
from alchemc.analysis.solid_solution.results import Ends, Series
from alchemc.errors import ConvergenceError, InputError, ModelError
from solution_toys import SPECIES, BowedCrystal, Cubes

EXAMPLE = Path(__file__).parents[1] / "examples" / "solid_solution.py"
X = np.linspace(0, 1, 5)
RULES = ("sites", "paper")
TITANATE = {"B": {"Ti": 0.6, "Zr": 0.4}}


def perovskite(size=1, a=4.0):
    return builders.perovskite("Sr", ("Ti", "Zr"), "O", a=a, size=size)


@pytest.fixture(scope="module")
def mace():
    return AlchemicalMACE(perovskite(), "bundled", device="cpu")


def composed(x):
    return {"B": dict(zip(SPECIES, x, strict=False))}


# ---- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_a_crystal_of_known_bowing_is_found_by_both_rules(size, cell):
    model = BowedCrystal(size=size)
    if cell == "full":  # the toy has no stiffness against a change of shape
        model = Stiffened(size=size)
    found = lattice_parameters(model, X, mixings=RULES, cell=cell)
    for rule in RULES:
        series = found.of(rule)
        x = np.stack([1 - X, X], axis=1)
        exact = [model.closed(one, rule) for one in x]
        for name, values in (
            ("lattice_parameter", series.lattice_parameter),
            ("volume", size * series.volume_per_site),
            ("energy", size * series.energy_per_site),
            ("bulk_modulus", series.bulk_modulus),
        ):
            assert values == pytest.approx([one[name][0] for one in exact], rel=3e-5), name
        v = 60 + 10 * X + model.bowing[rule] * X * (1 - X)
        deviation = np.cbrt(v) - (1 - X) * np.cbrt(60) - X * np.cbrt(70)
        assert found.deviation(rule)[0] == pytest.approx(deviation, abs=1e-5)
        assert found.mixing_energy(rule)[0] == pytest.approx(0.1 * X * (1 - X), abs=1e-7)
        fit = np.linalg.lstsq((X * (1 - X))[:, None], deviation, rcond=None)[0][0]
        bowing = found.bowing(rule)
        assert bowing.value == pytest.approx(fit, abs=1e-5)
        assert bowing.error == 0
        assert bowing.misfit == pytest.approx(np.abs(deviation - fit * X * (1 - X)).max(), abs=1e-5)


class Stiffened(BowedCrystal):
    """The toy, stiff against changes of shape: ½ c Σ_ij (C_ij − δ_ij tr C/3)², C = FᵀF."""

    def mixed_energy(self, lam, forces=True, stress=True, mixing="sites"):
        found = super().mixed_energy(lam, forces, stress, mixing)
        F = np.linalg.solve(self.lattice.atoms.cell.array, self.cell)
        C = F.T @ F
        shape = C - np.eye(3) * np.trace(C) / 3
        found.energy += 200.0 * (shape**2).sum()
        by_strain = 800.0 * F.T @ F @ shape
        found.stress = found.stress + by_strain / abs(np.linalg.det(self.cell))
        return found


def assert_derivatives_are_closed(model, mixing):
    x = np.array([0.2, 0.5, 0.3])
    names = ("volume", "lattice_parameter", "energy", "bulk_modulus")
    found = mean_crystal(model, composed(x), gradients=names, mixing=mixing)
    for name, (value, slope) in model.closed(x, mixing).items():
        assert found.value(name) == pytest.approx(value, rel=1e-4)
        gathered = found.gradients[name].sum(axis=0)  # both sites hold the same λ
        contrast = slope - slope[0]
        rel = 5e-3 if name == "bulk_modulus" else 1e-3  # second differences of what is relaxed
        assert gathered - gathered[0] == pytest.approx(contrast, rel=rel), name


@pytest.mark.parametrize("mixing", RULES)
def test_derivatives_by_composition_are_those_of_the_closed_form(mixing):
    assert_derivatives_are_closed(BowedCrystal(3, size=2), mixing)


@pytest.mark.parametrize("broken", ["atoms that stay", "one-sided", "other rule"])
def test_derivatives_of_a_broken_response_are_seen_to_be_wrong(broken, monkeypatch):
    model = BowedCrystal(3, size=2)
    if broken == "atoms that stay":
        model = Rigid(3, size=2)
    elif broken == "other rule":
        monkeypatch.setattr(model, "bowing", {"sites": -2.0, "paper": 3.0})
        monkeypatch.setattr(model, "closed", BowedCrystal(3, size=2).closed)
    else:
        home = "alchemc.analysis.solid_solution.mean_crystal._derivatives"
        monkeypatch.setattr(home, one_sided)
    with pytest.raises(AssertionError):
        assert_derivatives_are_closed(model, "sites")


class Rigid(BowedCrystal):
    """The toy whose atom feels no force."""

    def mixed_energy(self, lam, forces=True, stress=True, mixing="sites"):
        found = super().mixed_energy(lam, forces, stress, mixing)
        found.forces[:] = 0.0
        return found


def one_sided(points, values):
    """First derivative from one side, no second."""
    step = points[2].pressure - points[1].pressure
    return (values[2] - values[1]) / step, 0.0 * values[1]


# ---- real energies -------------------------------------------------------------------------------


def test_pure_crystals_agree_between_the_rules_and_with_the_relaxed_landscape(mace):
    found = lattice_parameters(mace, [0, 1], mixings=RULES)
    relaxed = Relaxed(mace, cell="isotropic", displacement=0.0, fmax=1e-5)
    minima = relaxed.relaxed(np.array([[0], [1]]))
    for rule in RULES:
        series = found.of(rule)
        assert series.lattice_parameter == pytest.approx(minima.cells[:, 0, 0], abs=2e-6)
        assert series.energy_per_site == pytest.approx(minima.energies, abs=1e-9)


def test_the_rules_differ_in_between_and_both_bow(mace):
    found = lattice_parameters(mace, [0, 0.5, 1], mixings=RULES)
    a = [found.of(rule).lattice_parameter[1] for rule in RULES]
    assert 1e-4 < abs(a[0] - a[1]) < 0.01
    assert all(abs(found.deviation(rule)[0][1]) > 0.005 for rule in RULES)
    assert "Rule sites differs from rule paper" in found.statement


def test_a_supercell_has_the_same_mean_crystal(mace):
    large = AlchemicalMACE(perovskite((2, 1, 1)), "bundled", device="cpu")
    one, two = (mean_crystal(m, TITANATE) for m in (mace, large))
    assert two.energy == pytest.approx(2 * one.energy, abs=1e-7)
    assert two.lattice_parameter == pytest.approx(one.lattice_parameter, abs=1e-6)
    assert two.bulk_modulus == pytest.approx(one.bulk_modulus, rel=1e-4)


def test_the_bulk_modulus_is_that_of_energies_over_volume(mace):
    found = mean_crystal(mace, TITANATE)
    lam = mace.lattice.mean_weights(TITANATE)
    scales = np.linspace(-0.006, 0.006, 7)
    energies, volumes = [], []
    for scale in scales:
        cell = (1 + scale) * found.cell
        fractional = np.linalg.solve(found.cell.T, found.positions.T).T
        energies.append(mace.at(fractional @ cell, cell).mixed_energy(lam).energy)
        volumes.append(np.linalg.det(cell))
    fit = np.polynomial.Polynomial.fit(volumes, energies, 4)
    exact = found.volume * fit.deriv(2)(found.volume) / 0.006241509
    assert found.bulk_modulus == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize(
    ("mixing", "names"),
    [
        ("sites", ("lattice_parameter", "c", "volume", "energy", "bulk_modulus")),
        ("paper", ("c", "volume")),
    ],
)
def test_derivatives_are_those_of_finite_differences_in_a_tetragonal_crystal(mixing, names):
    """Layers of Sr and Ba make a ≠ c; the atoms between them and the shape of the cell follow."""
    atoms = perovskite((1, 1, 2)).atoms.copy()
    atoms.symbols[0] = "Ba"
    lattice = Lattice(atoms, {"B": Sublattice("Ti", ("Ti", "Zr"))})
    model = AlchemicalMACE(lattice, "bundled", device="cpu")

    def at(x, gradients=()):
        composition = {"B": {"Ti": 1 - x, "Zr": x}}
        return mean_crystal(model, composition, gradients=gradients, mixing=mixing, cell="full")

    found, step = at(0.4, names), 0.02
    low, high = at(0.4 - step), at(0.4 + step)
    assert abs(found.c - 2 * found.lattice_parameter) > 1e-3
    for name in names:
        exact = (high.value(name) - low.value(name)) / (2 * step)
        slope = float((found.gradients[name] @ [-1.0, 1.0]).sum())
        assert slope == pytest.approx(exact, rel=0.02 if name == "bulk_modulus" else 1e-3), name


def test_layers_along_c_are_one_conventional_cell():
    atoms = perovskite((1, 1, 2)).atoms.copy()
    atoms.symbols[0] = "Ba"
    found = conventional(Lattice(atoms, {"B": Sublattice("Ti", ("Ti", "Zr"))}))
    assert found.alike == (0, 1)
    assert found.lengths(atoms.cell.array) == pytest.approx([4, 4, 8])


@pytest.mark.parametrize("size", [1, (2, 1, 1), (2, 2, 2)])
def test_lengths_are_those_of_the_conventional_cell_in_any_supercell(size):
    cells = {
        4.0: perovskite(size),
        5.4: builders.fluorite(("Ce", "Zr"), "O", a=5.4, size=size),
        4.3: builders.rocksalt(("Mg", "Ca"), "O", a=4.3, size=size),
    }
    for a, lattice in cells.items():
        found, cell = conventional(lattice), 1.01 * lattice.atoms.cell.array
        assert found.lengths(cell) == pytest.approx(3 * [1.01 * a])
    wurtzite = bulk("AlN", "wurtzite", a=3.1, c=5.0).repeat(size)
    found = conventional(Lattice(wurtzite, {"cation": Sublattice("Al", ("Al", "Sc"))}))
    assert found.lengths(wurtzite.cell.array) == pytest.approx([3.1, 3.1, 5.0])
    assert found.value("lattice_parameter", wurtzite.cell.array) == pytest.approx(3.1)


@pytest.mark.parametrize("quantity", ["lattice_parameter", "c", "volume"])
def test_strain_derivatives_of_lengths_and_volume_are_right(quantity):
    atoms = bulk("AlN", "wurtzite", a=3.1, c=5.0)
    found = conventional(Lattice(atoms, {"cation": Sublattice("Al", ("Al", "Sc"))}))
    rng = np.random.default_rng(2)
    cell = atoms.cell.array @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3)))
    strain = rng.normal(size=(3, 3))
    strain = 0.5 * (strain + strain.T)
    moved = [found.value(quantity, cell @ (np.eye(3) + h * strain)) for h in (-1e-5, 1e-5)]
    slope = (found.by_strain(quantity, cell) * strain).sum()
    assert slope == pytest.approx((moved[1] - moved[0]) / 2e-5, rel=1e-6)


def test_chgnet_has_mean_crystals_and_refuses_the_rule_it_lacks():
    pytest.importorskip("chgnet")
    atoms = bulk("CeO2", "fluorite", a=5.4)
    lattice = Lattice(atoms, {"cation": Sublattice("Ce", ("Ce", "Zr"))})
    model = AlchemicalCHGNet(lattice, device="cpu")
    found = mean_crystal(model, {"cation": {"Ce": 0.5, "Zr": 0.5}}, fmax=1e-4)
    assert 5.15 < found.lattice_parameter < 5.47
    assert found.lengths == pytest.approx(3 * [found.lattice_parameter])
    with pytest.raises(ModelError, match="'paper'; AlchemicalCHGNet knows 'sites'") as caught:
        lattice_parameters(model, [0, 1], mixings=["paper"])
    assert "\n" not in str(caught.value)


# ---- averages over arrangements ------------------------------------------------------------------


def test_averages_over_arrangements_and_their_errors_are_those_of_the_sample():
    landscape = Cubes()
    found = sampled_lattice_parameters(landscape, [0, 0.5, 1], configurations=12, seed=3)
    series = found.of("arrangements")
    rng = np.random.Generator(np.random.PCG64(3))
    landscape.lattice.random({"B": {"Ti": 1.0}}, rng, 12)
    states = landscape.lattice.random({"B": {"Ti": 0.5, "Zr": 0.5}}, rng, 12)
    lengths = landscape.length(states)
    assert series.lattice_parameter == pytest.approx([4.0, lengths.mean(), 4.2])
    expected = [0, lengths.std(ddof=1) / np.sqrt(12), 0]
    assert series.lattice_parameter_error == pytest.approx(expected, abs=1e-12)
    assert series.arrangements.tolist() == [1, 12, 1]
    assert np.isnan(series.bulk_modulus).all()


def test_errors_of_averages_are_honest(record_property):
    """z of the mean of 20 random arrangements against all of them, over 200 repeats."""
    landscape = Cubes(8)
    half = {"B": {"Ti": 0.5, "Zr": 0.5}}
    exact = landscape.length(landscape.lattice.enumerate(half)).mean()
    z = []
    for seed in range(200):
        one = sampled_lattice_parameters(landscape, [0, 0.5, 1], configurations=20, seed=seed)
        series = one.of("arrangements")
        z.append((series.lattice_parameter[1] - exact) / series.lattice_parameter_error[1])
    record_property("z", float(np.std(z)))
    assert 0.86 < np.std(z) < 1.27  # Student's t of 19 degrees of freedom has 1.06
    assert abs(np.mean(z)) < 0.3


def test_bowing_has_the_error_that_the_averages_leave(record_property):
    rng = np.random.default_rng(5)
    line = 4 + 0.2 * X + 0.05 * X * (1 - X)
    errors = np.array([0.0, 0.002, 0.001, 0.003, 0.0])
    z = []
    for _ in range(400):
        a = line + errors * rng.normal(size=5)
        series = Series("arrangements", X, np.tile(a, (3, 1)).T, a, a**3, -a, np.full(5, np.nan))
        object.__setattr__(series, "lattice_parameter_error", errors)
        bowing = SolidSolution(perovskite(), ENDS, "full", (series,)).bowing("arrangements")
        z.append((bowing.value - 0.05) / bowing.error)
    record_property("z", float(np.std(z)))
    assert 0.86 < np.std(z) < 1.14
    assert abs(np.mean(z)) < 0.2


ENDS = Ends({"B": {"Ti": 1.0, "Zr": 0.0}}, {"B": {"Ti": 0.0, "Zr": 1.0}})


def test_occupations_of_a_run_give_errors_by_their_autocorrelation():
    landscape = Cubes()
    rng = np.random.default_rng(1)
    half = {"B": {"Ti": 0.5, "Zr": 0.5}}
    few = landscape.lattice.random(half, rng, 4 * 50)
    slow = np.repeat(few.reshape(50, 4, -1), 8, axis=0)  # every draw eight times in a row
    ends = {0.0: np.zeros((1, 6), int), 1.0: np.ones((1, 6), int)}
    found = [
        sampled_lattice_parameters(landscape, [0, 0.5, 1], configurations={0.5: one, **ends})
        for one in (few.reshape(50, 4, -1), slow)
    ]
    fast, correlated = (one.of("arrangements") for one in found)
    assert fast.lattice_parameter[1] == pytest.approx(correlated.lattice_parameter[1])
    ratio = correlated.lattice_parameter_error[1] / fast.lattice_parameter_error[1]
    assert 0.6 < ratio < 1.6  # taken for independent they would give 0.35


def test_arrangements_without_a_minimum_are_left_out_and_told():
    whole = Cubes()
    half = {"B": {"Ti": 0.5, "Zr": 0.5}}
    states = whole.lattice.enumerate(half)
    ends = {0.0: np.zeros((1, 6), int), 1.0: np.ones((1, 6), int)}
    given = {0.5: states, **ends}
    landscape = Cubes(failing=states[:3])
    found = sampled_lattice_parameters(landscape, [0, 0.5, 1], configurations=given)
    series = found.of("arrangements")
    assert series.lattice_parameter[1] == pytest.approx(whole.length(states[3:]).mean())
    assert series.failures.tolist() == [0, 3, 0]
    assert "no-minimum" in [caveat.code for caveat in found.caveats]
    with pytest.raises(ConvergenceError, match=r"none of 20 arrangements at x = 0\.5"):
        sampled_lattice_parameters(Cubes(failing=states), [0, 0.5, 1], configurations=given)


def test_one_arrangement_among_others_has_no_error():
    """Nothing scatters in a pure crystal; of a chain that is stuck nothing is known."""
    landscape = Cubes()
    stuck = np.tile([0, 0, 0, 1, 1, 1], (40, 2, 1))
    given = {0.0: np.zeros((1, 6), int), 0.5: stuck, 1.0: np.ones((1, 6), int)}
    found = sampled_lattice_parameters(landscape, [0, 0.5, 1], configurations=given)
    errors = found.of("arrangements").lattice_parameter_error
    assert errors[[0, 2]].tolist() == [0.0, 0.0]
    assert np.isnan(errors[1])
    assert "(error unknown)" in found.statement


def test_mean_crystals_stand_beside_averages_of_a_small_cell(mace):
    lattice = perovskite((2, 1, 1), a=4.05)
    relaxed = Relaxed(
        AlchemicalMACE(lattice, "bundled", device="cpu"), cell="full", fmax=1e-3, displacement=0.0
    )
    averages = sampled_lattice_parameters(relaxed, [0, 0.5, 1], configurations=2)
    found = lattice_parameters(mace, [0, 0.5, 1], mixings=RULES).beside(averages)
    assert found.rules == ("sites", "paper", "arrangements")
    first, last = found.of("sites"), found.of("arrangements")
    assert last.lattice_parameter[[0, 2]] == pytest.approx(
        first.lattice_parameter[[0, 2]], abs=1e-4
    )
    assert 1e-3 < abs(first.lattice_parameter[1] - last.lattice_parameter[1]) < 0.05
    table = found.dataset
    assert table.lattice_parameter.shape == (3, 3)
    assert float(table.vegard_deviation.sel(rule="paper", x=0.5)) == found.deviation("paper")[0][1]
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["statement"] == found.statement
    assert [row["rule"] for row in plain["series"]] == list(found.rules)
    assert plain["series"][2]["bulk_modulus_GPa"] == [None, None, None]
    axes = plot_solid_solution(found).axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["Vegard", "mean crystal, sites", "mean crystal, paper", "arrangements"]
    assert axes.get_xlabel() == "x (Ti to Zr on B)"
    for quantity in ("deviation", "mixing_energy"):
        assert plot_solid_solution(found, quantity=quantity).axes[0].get_ylabel()


def test_crystals_of_another_symmetry_are_told():
    a = np.array([4.0, 4.2])
    other = a - 0.05
    rows = [
        Series(rule, np.array([0.0, 1.0]), np.tile(v, (3, 1)).T, v, v**3, -v, v)
        for rule, v in (("sites", a), ("arrangements", other))
    ]
    found = SolidSolution(perovskite(), ENDS, "full", tuple(rows))
    assert "other-phase" in [caveat.code for caveat in found.caveats]
    same = SolidSolution(perovskite(), ENDS, "full", (rows[0],))
    assert "other-phase" not in [caveat.code for caveat in same.caveats]


def test_series_that_part_where_the_end_is_a_mixture_are_no_other_crystals():
    a = np.array([4.0, 4.2])
    rows = [
        Series(rule, np.array([0.0, 1.0]), np.tile(v, (3, 1)).T, v, v**3, -v, v)
        for rule, v in (("sites", a), ("arrangements", a - [0.0, 0.02]))
    ]
    half = ENDS._replace(end={"B": {"Ti": 0.5, "Zr": 0.5}})
    for ends, told in ((ENDS, True), (half, False)):
        found = SolidSolution(perovskite(), ends, "full", tuple(rows))
        assert ("other-phase" in [caveat.code for caveat in found.caveats]) is told


def test_two_sublattices_go_together_along_a_line():
    lattice = builders.perovskite(("Sr", "La"), ("Ti", "Al"), "O", a=3.9)
    model = AlchemicalMACE(lattice, "bundled", device="cpu")
    start = {"A": {"Sr": 1.0}, "B": {"Ti": 1.0}}
    end = {"A": {"La": 1.0}, "B": {"Al": 1.0}}
    found = lattice_parameters(model, [0, 0.5, 1], start=start, end=end)
    assert found.ends.text() == "Sr to La on A, Ti to Al on B"
    assert found.ends.n_mixed(lattice) == 2
    pure = mean_crystal(model, end)
    assert found.of("sites").lattice_parameter[2] == pytest.approx(pure.lattice_parameter, abs=1e-6)
    with pytest.raises(ModelError, match=r"paper.*one sublattice"):
        lattice_parameters(model, [0, 0.5, 1], start=start, end=end, mixings=["paper"])


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"x": [0, 0.5]}, "needs 0 and 1"),
        ({"x": [0, 1, 1.2]}, "numbers from 0 to 1"),
        ({"x": [0, 1], "mixings": []}, "name each rule once"),
        ({"x": [0, 1], "mixings": ["sites", "sites"]}, "name each rule once"),
        ({"x": [0, 1], "cell": "fixed"}, '"isotropic" or "full"'),
        ({"x": [0, 1], "fmax": 0}, "fmax is 0"),
        ({"x": [0, 1], "max_steps": 0}, "max_steps is 0"),
        ({"x": [0, 1], "start": {"B": {"Ti": 1}}}, "give both start and end"),
        ({"x": [0, 1], "start": {"B": {"Ti": 1}}, "end": {"B": {"Ti": 1}}}, "same composition"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(options, words):
    x = options.pop("x")
    with pytest.raises(InputError, match=words) as caught:
        lattice_parameters(BowedCrystal(), x, **options)
    assert "\n" not in str(caught.value)


def test_models_without_positions_and_fixed_cells_are_refused():
    lattice = perovskite((2, 2, 2))
    pair = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    with pytest.raises(InputError, match="no mean crystal to relax"):
        lattice_parameters(pair)
    with pytest.raises(InputError, match="does not relax"):
        sampled_lattice_parameters(pair)
    fixed = Cubes()
    fixed.cell = "fixed"
    with pytest.raises(InputError, match="fixed cell"):
        sampled_lattice_parameters(fixed)
    given = {0.0: np.zeros((1, 6), int), 1.0: np.zeros((1, 6), int)}
    with pytest.raises(InputError, match="has another composition"):
        sampled_lattice_parameters(Cubes(), [0, 1], configurations=given)
    del given[1.0]
    with pytest.raises(InputError, match="no entry for x = 1"):
        sampled_lattice_parameters(Cubes(), [0, 1], configurations=given)
    with pytest.raises(InputError, match="2 or more"):
        sampled_lattice_parameters(Cubes(), [0, 1], configurations=1)
    with pytest.raises(InputError, match="start and end"):
        lattice_parameters(BowedCrystal(3))
    with pytest.raises(InputError, match="no property is called 'lattice'"):
        mean_crystal(BowedCrystal(), TITANATE, gradients=["lattice"])
    with pytest.raises(ConvergenceError, match="not relaxed after 2 steps"):
        mean_crystal(BowedCrystal(), TITANATE, max_steps=2)


def test_results_that_cannot_be_compared_are_refused(mace):
    found = lattice_parameters(BowedCrystal(), [0, 1])
    with pytest.raises(InputError, match="both results have a series 'sites'"):
        found.beside(found)
    back = lattice_parameters(BowedCrystal(), [0, 1], start={"B": {"Zr": 1}}, end={"B": {"Ti": 1}})
    with pytest.raises(InputError, match="same start and end"):
        found.beside(back)
    with pytest.raises(InputError, match="no series is called 'papper'"):
        found.of("papper")
    with pytest.raises(InputError, match="a point between"):
        found.bowing("sites")
    with pytest.raises(InputError, match="no quantity is called"):
        plot_solid_solution(found, quantity="deviations")


@pytest.mark.parametrize("error", [3e-10, np.nan])
def test_equivalent_and_too_few_arrangements_make_plain_numbers(error):
    x, one = np.array([0.0, 0.5, 1.0]), np.ones(3)
    series = Series(
        rule="arrangements", x=x, lengths=np.full((3, 3), 4.0),
        lattice_parameter=np.array([4.0, 4.0612345678, 4.1]), volume_per_site=64.0 * one,
        energy_per_site=-one, bulk_modulus=np.nan * one,
        lattice_parameter_error=np.array([0.0, error, 0.0]),
        arrangements=np.array([1, 2, 1]),
    )  # fmt: skip
    ends = Ends({"B": {"Ti": 1.0, "Zr": 0.0}}, {"B": {"Ti": 0.0, "Zr": 1.0}})
    found = SolidSolution(BowedCrystal().lattice, ends, "full", (series,))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["series"][0]["bowing_A"]["value"] == pytest.approx(4 * 0.0112345678)
    if error > 0:
        assert "0.0112 Å (error below 0.0001 Å) from Vegard's line" in told["statement"]
    else:
        assert told["series"][0]["bowing_A"]["error"] is None
        assert "error unknown" in told["statement"]


def test_a_crystal_that_spglib_fails_on_keeps_its_own_cell(monkeypatch):
    def fails(*args, **options):
        raise spglib.SpglibError("no symmetry")

    monkeypatch.setattr(spglib, "get_symmetry_dataset", fails)
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.31)
    found = conventional.__wrapped__(lattice)
    assert found.lengths(lattice.atoms.cell.array) == pytest.approx(lattice.atoms.cell.lengths())
    assert found.alike == (0,)


def test_the_example_finds_the_composition_for_a_substrate(capsys):
    runpy.run_path(str(EXAMPLE))["main"](["--size", "2", "1", "1", "--arrangements", "2"])
    averages, search = capsys.readouterr().out.strip().splitlines()
    assert "Rule sites differs from rule paper" in averages
    assert "has lattice parameter 4.0500 Å" in search
