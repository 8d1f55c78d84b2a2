"""Enumerated ground states against counting formulas, closed forms and linear programs."""

import itertools
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from ase.build import bulk
from scipy.optimize import linprog

from alchemc import AlchemicalMACE, Lattice, PairHamiltonian, Sublattice, builders
from alchemc.analysis import enumerate_orderings, ground_states
from alchemc.analysis.stability import ground_state_search
from alchemc.analysis.stability.common_cells import in_common_cells
from alchemc.analysis.stability.enumeration import primitive_lattice
from alchemc.analysis.stability.order_names import order_name, symmetry_of
from alchemc.errors import InputError
from toys import bundled_table

EXAMPLE = Path(__file__).parents[1] / "examples" / "ground_states.py"
UNLIKE = 0.01 * np.array([[1.0, -1.0], [-1.0, 1.0]])  # eV, J σσ


def perovskite(species=("Sc", "Ta"), size=1, a="Sr", **charges):
    return builders.perovskite(a, species, "O", a=4.0, size=size, **charges)


def face_centred(species=("Cu", "Au")):
    return Lattice(bulk("Cu"), {"metal": Sublattice("Cu", species)})


def numbers(found):
    """Arrangements by size."""
    sizes = sorted({o.n_cells for o in found})
    return [sum(len(o.occupations) for o in found if o.n_cells == n) for n in sizes]


def pairs(*tables):
    return lambda lattice: PairHamiltonian(lattice, list(tables))


class Given:
    """An energy model from a function of lattice and occupation."""

    def __init__(self, lattice, energy):
        self.lattice, self._energy = lattice, energy

    def energy(self, occupations):
        return np.array([self._energy(self.lattice, row) for row in occupations])


# ---- what is enumerated


def test_the_numbers_of_face_centred_binaries_are_the_published_ones():
    """Hart and Forcade 2008: superstructures of two atom types with cells of 2, 3, 4, … sites."""
    found = enumerate_orderings(face_centred(), range(2, 9))
    assert numbers(found) == [2, 6, 19, 28, 80, 104, 390]
    assert [len([o for o in found if o.n_cells == n]) for n in (2, 3, 4)] == [2, 3, 7]


def sublattices(index):
    """Number of sublattices of index n of a three-dimensional lattice."""
    divisors = [d for d in range(1, index + 1) if index % d == 0]
    return sum(d * sum(e for e in range(1, d + 1) if d % e == 0) for d in divisors)


@pytest.mark.parametrize("n_species", [2, 3])
@pytest.mark.parametrize("make", [face_centred, perovskite])
def test_the_variants_of_all_arrangements_are_all_periodic_colourings(make, n_species):
    """Colourings of period n: k^n for every sublattice of index n, less those of a smaller period.

    With N(n) sublattices, k^n N(n) = Σ_{d | n} A(d) N(n/d).
    """
    parent = make(("Sc", "Ta", "Nb")[:n_species])
    operations, total = symmetry_of(parent).operations, {}
    for o in enumerate_orderings(parent, range(1, 7 if n_species == 2 else 4)):
        variants = [operations * o.n_cells / symmetry_of(o.lattice, row).operations
                    for row in o.occupations]  # fmt: skip
        assert variants == np.round(variants).tolist()
        total[o.n_cells] = total.get(o.n_cells, 0) + sum(variants)
    exact = {}
    for n in total:
        smaller = sum(exact[d] * sublattices(n // d) for d in exact if n % d == 0)
        exact[n] = n_species**n * sublattices(n) - smaller
    assert total == exact


def test_an_order_counted_twice_or_left_out_would_show():
    parent = perovskite()
    variants = [48 * 2 / symmetry_of(o.lattice, o.occupations[0]).operations
                for o in enumerate_orderings(parent, [2])]  # fmt: skip
    assert sum(variants) == 2**2 * 7 - 2 * 7 == 14
    assert all(sum(variants) - v != 14 for v in variants)


def test_the_half_and_half_arrangements_of_eight_cells_are_six():
    found = {}
    for o in enumerate_orderings(perovskite(), (2, 4, 8), {"B": {"Sc": 0.5, "Ta": 0.5}}):
        fits = np.linalg.solve(o.lattice.atoms.cell.array, 8.0 * np.eye(3))
        if np.abs(fits - np.round(fits)).max() < 1e-6:
            for row in o.occupations:
                variants = 48 * o.n_cells / symmetry_of(o.lattice, row).operations
                found[o.n_cells, order_name(o.lattice, row), variants] = True
    assert sorted(found) == [
        (2, "columnar", 6), (2, "layered", 6), (2, "rock-salt", 2), (8, "", 8), (8, "", 24),
    ]  # fmt: skip
    assert 6 + 6 + 2 + 8 + 24 + 24 == 70  # two of 24


def test_any_cell_of_the_parent_gives_the_same_arrangements():
    composition = {"B": {"Sc": 0.5, "Ta": 0.5}}
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    straight = perovskite()
    atoms = straight.atoms.copy()
    atoms.set_cell(atoms.cell.array @ turn, scale_atoms=True)
    turned = Lattice(atoms, {"B": Sublattice((1,), ("Sc", "Ta"))})
    assert straight.sites.tolist() == [1]
    expected = numbers(enumerate_orderings(straight, range(1, 5), composition))
    for parent in (perovskite(size=2), turned):
        assert numbers(enumerate_orderings(parent, range(1, 5), composition)) == expected
    assert primitive_lattice(straight) is straight


def test_an_element_that_is_spectator_and_species_is_told_apart():
    plain = enumerate_orderings(perovskite(("Sc", "Ta")), range(1, 5))
    clash = enumerate_orderings(perovskite(("Al", "La"), a="La"), range(1, 5))
    assert numbers(clash) == numbers(plain)
    assert all(o.lattice.to_atoms(o.occupations[0]).symbols.count("La") >= o.n_cells for o in clash)


def test_neutral_arrangements_are_neutral_and_the_others_are_not_listed():
    lattice = builders.perovskite(
        ("Sr", "La"), ("Ti", "Al"), "O", a=3.9,
        charges={"Sr": 2, "La": 3, "Ti": 4, "Al": 3}, spectator_charges={"O": -2},
    )  # fmt: skip
    every = enumerate_orderings(lattice, (1, 2))
    neutral = enumerate_orderings(lattice, (1, 2), neutral=True)
    kept = 0
    for o in every:
        counts = o.lattice.counts(o.occupations)
        kept += int((counts[:, 0, 1] == counts[:, 1, 1]).sum())  # as many La as Al
    assert sum(numbers(neutral)) == kept < sum(numbers(every))


def test_vacancies_are_enumerated_and_named():
    lattice = builders.fluorite(
        ("Zr", "Y"), ("O", "X"), a=5.15, charges={"Zr": 4, "Y": 3, "O": -2, "X": 0}
    )
    found = ground_states(lattice, lambda c: Given(c, lambda c, row: 0.1 * row.sum()), (1, 2),
                          neutral=True)  # fmt: skip
    assert {row["formula"] for row in found.rows()} == {"ZrO2", "Y2O3X"}
    assert "X" not in found.atoms(len(found) - 1).get_chemical_symbols()


# ---- closed forms


def test_unlike_neighbours_on_a_cubic_net_make_rock_salt():
    found = ground_states(perovskite(), pairs(UNLIKE))
    rows = {row["order"]: row for row in found.rows(only_ground_states=True)}
    assert rows["rock-salt"]["formation_energy_per_site"] == pytest.approx(-6 * 0.01)
    assert rows["rock-salt"]["variants"] == 2
    # Isolated minority atoms break six bonds each: on the line from the pure crystal to rock salt.
    assert rows["rock-salt"]["depth_per_site"] == pytest.approx(0.02)
    corners = found.composition[found.hull.vertices, 0].tolist()
    assert [x for x in corners if found.depths.get(found.hull.vertices[corners.index(x)], 0) > 1e-9
            ] == [0.5]  # fmt: skip
    assert "rock-salt ScTa" in found.statement


def test_unlike_neighbours_on_a_face_centred_net_make_degenerate_orders():
    found = ground_states(face_centred(), pairs(UNLIKE))
    rows = found.rows(only_ground_states=True)
    by_order = {r["order"]: 1000 * r["formation_energy_per_site"] for r in rows if r["order"]}
    assert by_order == pytest.approx({"L1_0": -80.0, "L1_2": -60.0, "D0_22": -60.0})
    assert {r["variants"] for r in rows if r["order"] == "L1_2"} == {4}
    assert "L1_0" in found.statement


def test_like_neighbours_unmix():
    found = ground_states(perovskite(), pairs(-UNLIKE))
    assert found.indices.tolist() == [0, 1]
    assert "unmixes" in found.statement
    # The best cell of four separates in layers: two unlike bonds in four sites.
    lowest = np.delete(found.formation_energy_per_site, [0, 1]).min()
    assert lowest == pytest.approx(0.01)


def test_an_ideal_mixture_has_no_formation_energy():
    found = ground_states(
        perovskite(), lambda c: Given(c, lambda c, row: -3.0 * len(row) + row.sum())
    )
    assert np.abs(found.formation_energy_per_site).max() < 1e-12
    assert found.depths == pytest.approx(dict.fromkeys(found.depths, 0.0), abs=1e-12)
    assert "lower than their mixture" in found.statement
    assert "unmixes" not in found.statement


# ---- hulls and brute force


def mixture(x, energy, at):
    """Lowest energy of a mixture of points of composition ``at``, by linear programming."""
    rows = np.vstack([x.T, np.ones(len(x))])
    return linprog(energy, A_eq=rows, b_eq=np.append(at, 1.0), bounds=(0, 1)).fun


def check_hull(found):
    x, energy = found.composition, found.energy_per_site
    exact = np.array([e - mixture(x, energy, at) for at, e in zip(x, energy, strict=True)])
    assert found.above_hull_per_site == pytest.approx(exact, abs=1e-9)
    for corner, depth in found.depths.items():
        others = np.abs(x - x[corner]).max(axis=1) > 1e-9
        exact = mixture(x[others], energy[others], x[corner]) - energy[corner]
        assert depth == pytest.approx(exact, abs=1e-9)


def random_couplings(n_species, n_shells, seed):
    rng = np.random.default_rng(seed)
    tables = 0.02 * rng.normal(size=(n_shells, n_species, n_species))
    return [t + t.T for t in tables]


@pytest.mark.parametrize(("n_species", "sizes"), [(2, range(1, 6)), (3, range(1, 4))])
def test_hull_distances_and_depths_are_those_of_a_linear_program(n_species, sizes):
    parent = perovskite(("Sc", "Ta", "Nb")[:n_species])
    found = ground_states(parent, pairs(*random_couplings(n_species, 2, 3)), sizes)
    check_hull(found)
    ends = (found.composition % 1 == 0).all(axis=1)
    assert found.formation_energy_per_site[ends] == pytest.approx(0.0, abs=1e-12)


def test_energies_per_cell_instead_of_per_site_are_seen(monkeypatch):
    per_site = ground_state_search._energies
    monkeypatch.setattr(
        ground_state_search, "_energies", lambda h, o: per_site(h, o) * o.lattice.n_sites
    )
    with pytest.raises((AssertionError, KeyError)):
        test_unlike_neighbours_on_a_cubic_net_make_rock_salt()


def test_two_sublattices_have_a_hull_over_two_fractions():
    parent = builders.perovskite(("Sr", "La"), ("Ti", "Al"), "O", a=3.9)
    found = ground_states(
        parent, lambda c: Given(c, lambda c, row: 0.3 * (row[: len(row) // 2].mean() - 0.4) ** 2
                                - 0.2 * row.mean() ** 2), (1, 2))  # fmt: skip
    assert found.labels == ("La on A", "Al on B")
    check_hull(found)


def test_no_arrangement_of_a_supercell_is_lower_than_its_enumerated_hull():
    parent = perovskite()
    tables = random_couplings(2, 3, 5)
    found = ground_states(parent, pairs(*tables), (1, 2, 4, 8))
    lattice = perovskite(size=2)
    states = lattice.enumerate()
    energies = PairHamiltonian(lattice, tables).energy(states)
    assert abs(found.below_hull(lattice, states, energies)) < 1e-12  # the end members touch it
    labelled = [
        xr.DataArray(values.reshape(4, 64, *values.shape[1:]), dims=("draw", "chain", *rest))
        for values, rest in ((states, ("site",)), (energies, ()))
    ]
    turned = labelled[1].transpose("chain", "draw")
    assert abs(found.below_hull(lattice, labelled[0], turned)) < 1e-12
    # Enumerated in too small cells, or with energies of another landscape, it is noticed.
    small = ground_states(parent, pairs(*tables), [1])
    deepest = max(mixed - e / 8 for e, s in zip(energies, states, strict=True)
                  for mixed in [np.interp(s.mean(), [0, 1], small.energy_per_site)])  # fmt: skip
    assert deepest > 0.001
    assert small.below_hull(lattice, states, energies) == pytest.approx(deepest)


@pytest.mark.slow
def test_the_bundled_model_gives_the_six_levels_of_the_supercell():
    table = bundled_table(0.0, 4)
    levels, counts = np.unique(np.round(table.energies / 8, 7), return_counts=True)
    parent = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98)
    operations, found = symmetry_of(parent).operations, {}
    for o in enumerate_orderings(parent, (2, 4, 8), {"B": {"Sc": 0.5, "Ta": 0.5}}):
        fits = np.linalg.solve(o.lattice.atoms.cell.array, 7.96 * np.eye(3))
        if np.abs(fits - np.round(fits)).max() < 1e-6:
            energies = AlchemicalMACE(o.lattice, "bundled", device="cpu").energy(o.occupations)
            for e, row in zip(energies / o.lattice.n_sites, o.occupations, strict=True):
                variants = operations * o.n_cells / symmetry_of(o.lattice, row).operations
                found[e] = (variants, order_name(o.lattice, row))
    assert sorted(found) == pytest.approx(levels, abs=1e-6)
    assert [found[e][0] for e in sorted(found)] == counts.tolist()
    assert found[min(found)][1] == "rock-salt"


@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_cells_that_a_multiple_fits_hold_the_same_arrangement(multiple):
    tables, parent = random_couplings(2, 2, 9), perovskite()
    small = ground_states(parent, pairs(*tables))
    shapes = []

    def build(lattice):
        shapes.append(lattice)
        return PairHamiltonian(lattice, tables)

    large = ground_states(parent, build, multiple=multiple)
    assert large.energy_per_site == pytest.approx(small.energy_per_site, abs=1e-12)
    for lattice in shapes:
        rows = lattice.atoms.cell.array / 4.0  # in primitive vectors
        assert np.abs(rows / multiple - np.round(rows / multiple)).max() < 1e-9


def test_the_common_cell_is_the_smallest():
    for o in enumerate_orderings(perovskite(), range(1, 6)):
        common = in_common_cells(o, perovskite(), 2)
        own = np.rint(o.lattice.atoms.cell.array / 4.0).astype(int)
        # Vectors of the cell modulo 2 that vanish: the index of 2Z³ ∩ L in L, by counting.
        whole = np.array(list(itertools.product(range(2), repeat=3))) @ own
        assert common.n_cells == o.n_cells * 8 // (whole % 2 == 0).all(axis=1).sum()


# ---- one composition, failures, refusals


def test_one_composition_has_an_order_of_energies_and_no_mixture():
    found = ground_states(perovskite(), pairs(UNLIKE), (2, 4), {"B": {"Sc": 0.5, "Ta": 0.5}})
    assert [found.arrangement(i).order for i in found.indices] == ["rock-salt"]
    assert "the lowest is rock-salt ScTa" in found.statement
    assert found.formation_energy_per_site == pytest.approx(found.above_hull_per_site)


def test_arrangements_without_an_energy_are_counted_and_left_out():
    def energy(lattice, row):
        return np.inf if len(row) == 4 and row.sum() == 2 else -float(row[0] != row[-1])

    found = ground_states(perovskite(), lambda c: Given(c, energy))
    assert found.failures == 6
    assert len(found) == 2 + 3 + 6 + 24 - 6
    assert "6 more had no energy" in found.statement
    for broken in (lambda c, row: np.inf, lambda c, row: np.inf if len(row) == 1 else 0.0):
        with pytest.raises(InputError, match="energy"):
            ground_states(perovskite(), lambda c, e=broken: Given(c, e), (1, 2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sizes": [0]}, "whole numbers"),
        ({"sizes": []}, "whole numbers"),
        ({"sizes": [2.5]}, "whole numbers"),
        ({"sizes": [24]}, "too many to enumerate"),
        ({"sizes": [3], "composition": {"B": {"Sc": 0.5, "Ta": 0.5}}}, "give other sizes"),
        ({"sizes": [1], "neutral": True}, "needs charges"),
        ({"sizes": [1], "tolerance": -1.0}, "tolerance"),
        ({"sizes": [1], "multiple": 0}, "multiple"),
    ],
)
def test_what_cannot_be_enumerated_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        ground_states(perovskite(), pairs(UNLIKE), **arguments)


def test_samples_of_another_crystal_or_composition_are_refused():
    found = ground_states(perovskite(), pairs(UNLIKE), (2,), {"B": {"Sc": 0.5, "Ta": 0.5}})
    lattice = perovskite(size=2)
    with pytest.raises(InputError, match="outside those"):
        found.below_hull(lattice, np.zeros(8, int), np.zeros(1))
    with pytest.raises(InputError, match="one energy for each"):
        found.below_hull(lattice, np.zeros(8, int), np.zeros(2))
    with pytest.raises(InputError, match="same crystal"):
        found.below_hull(perovskite(("Ti", "Zr")), np.zeros(1, int), np.zeros(1))


def test_results_are_plain_data_tables_and_structures():
    found = ground_states(
        face_centred(("Cu", "Au", "Ag")), pairs(random_couplings(3, 1, 1)[0]), range(1, 4)
    )
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["statement"] == found.statement
    assert len(said["ground_states"]) == len(found.indices)
    table = found.table()
    assert table.sizes["arrangement"] == len(found) == len(found.rows()) == 30
    for index in found.indices[:4]:
        lattice, occupation = found.occupation(index)
        assert lattice.from_atoms(found.atoms(index)).tolist() == occupation.tolist()


def test_the_figure_shows_every_arrangement_and_the_hull():
    from alchemc.analysis.plots import plot_ground_states

    found = ground_states(perovskite(), pairs(UNLIKE))
    figure = plot_ground_states(found)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Fraction of Ta on B"
    assert "meV per site" in axes.get_ylabel()
    drawn = sum(len(line.get_xdata()) for line in axes.get_lines())
    assert drawn >= len(found)
    ternary = ground_states(perovskite(("Sc", "Ta", "Nb")), pairs(random_couplings(3, 1, 2)[0]),
                            range(1, 4))  # fmt: skip
    assert len(plot_ground_states(ternary).axes) == 2  # with a scale of colours
    four = ground_states(perovskite(("Sc", "Ta", "Nb", "Zr")), pairs(random_couplings(4, 1, 2)[0]),
                         (1, 2))  # fmt: skip
    with pytest.raises(InputError, match="one or two"):
        plot_ground_states(four)
    with pytest.raises(InputError, match="give the result itself"):
        plot_ground_states(found.to_dict())


def test_every_order_of_two_sites_is_named_on_a_cubic_net():
    found = enumerate_orderings(perovskite(), [2])
    named = [order_name(o.lattice, row) for o in found for row in o.occupations]
    assert sorted(named) == ["columnar", "layered", "rock-salt"]


@pytest.mark.slow
def test_the_example_ranks_the_orders_with_and_without_vibrations(tmp_path, capsys):
    picture = tmp_path / "hull.svg"
    runpy.run_path(str(EXAMPLE))["main"](["--cells", "2", "--figure", str(picture)])
    said, *orders = capsys.readouterr().out.strip().splitlines()
    assert "rock-salt ScTa" in said
    assert [line.split()[0] for line in orders] == ["rock-salt", "columnar", "layered"]
    assert all("0 imaginary modes" in line for line in orders)
    assert "<svg" in picture.read_text()
