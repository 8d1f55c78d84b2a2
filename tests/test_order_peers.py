"""Order measures beside icet's observers, and of files that other programs wrote."""

import itertools

import numpy as np
import pytest
from ase.io import read, write
from hypothesis import given, settings
from hypothesis import strategies as st

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import (
    anion_environments,
    domains,
    inversion_degree,
    ordering_amplitude,
    ordering_vector,
    site_order,
    structure_factor,
    warren_cowley,
)
from alchemc.errors import InputError
from analysis_cases import HALF, cells, ordered, perovskite

# ---- Warren–Cowley parameters by mchammer


def icet_space(lattice, cutoff):
    from icet import ClusterSpace

    symbols = [[s] for s in lattice.atoms.get_chemical_symbols()]
    for n, site in enumerate(lattice.sites):
        symbols[site] = list(lattice.species_of(n))
    return ClusterSpace(lattice.atoms, [cutoff], symbols)


def arrangements(lattice):
    rng = np.random.default_rng(4)
    three = {"B": {"Sc": 0.5, "Ta": 0.25, "Nb": 0.25}}
    x = cells(lattice)[:, 0]
    split = np.where(cells(lattice).sum(axis=1) % 2, 0, 1 + (cells(lattice)[:, 2] >= 2))
    return {
        "random": lattice.random(three, rng),
        "ordered": split,
        "phase-separated": np.array([0, 0, 1, 2])[x],
    }


@pytest.mark.parametrize("kind", ["random", "ordered", "phase-separated"])
def test_mchammer_gives_the_same_short_range_order_for_three_species(kind):
    from mchammer.observers import ShortRangeOrderObserver

    lattice = perovskite(4, 4, 4, species=("Sc", "Ta", "Nb"))
    occupation = arrangements(lattice)[kind]
    observer = ShortRangeOrderObserver(icet_space(lattice, 7.0), lattice.atoms, radius=7.0)
    theirs = observer.get_observable(lattice.to_atoms(occupation))
    ours = warren_cowley(lattice, occupation, n_shells=3)["mean"]
    for a, b in itertools.combinations(("Sc", "Ta", "Nb"), 2):
        first, second = sorted((a, b))
        for shell in (1, 2, 3):
            value = float(ours.sel(pair=f"B: {a}–{b}", shell=shell))
            assert value == pytest.approx(theirs[f"sro_{first}_{second}_{shell}"], abs=1e-12)


def test_mchammer_gives_the_same_short_range_order_between_sublattices():
    from mchammer.observers import ShortRangeOrderObserver

    lattice = builders.perovskite(("Sr", "Ba"), ("Sc", "Ta"), "O", a=4.0, size=(3, 3, 4))
    composition = {"A": {"Sr": 0.25, "Ba": 0.75}, "B": {"Sc": 0.5, "Ta": 0.5}}
    occupation = lattice.random(composition, np.random.default_rng(2))
    observer = ShortRangeOrderObserver(icet_space(lattice, 4.1), lattice.atoms, radius=4.1)
    theirs = observer.get_observable(lattice.to_atoms(occupation))
    ours = warren_cowley(lattice, occupation, n_shells=1)["mean"]
    names = {
        frozenset(key.split("_")[1:3]): value for key, value in theirs.items() if value is not None
    }
    for pair in ("A: Sr–Ba", "B: Sc–Ta", "A, B: Sr–Sc", "A, B: Ba–Ta", "A, B: Sr–Ta"):
        key = frozenset(pair.split(": ")[1].split("–"))
        assert float(ours.sel(pair=pair)[0]) == pytest.approx(names[key], abs=1e-12), pair


def test_the_amplitude_is_mchammers_structure_factor():
    from mchammer.observers import StructureFactorObserver

    lattice = perovskite(4, 4, 4)
    occupation = lattice.random(HALF, np.random.default_rng(3))
    atoms = lattice.to_atoms(occupation)
    q = 2 * np.pi / 4.0 * np.array([(0.5, 0.5, 0.5), (0.25, 0.25, 0)])
    observer = StructureFactorObserver(atoms, q, [("Sc", "Sc")])
    theirs = observer.get_observable(atoms)
    # S_ScSc = |Σ_Sc e|²/N_Sc, and ψ_Sc = Σ_Sc e/N; both species have the same |ψ|, 1/4 if perfect
    amplitude = float(ordering_amplitude(lattice, occupation, "rock-salt")["mean"])
    assert amplitude == pytest.approx(4 * theirs["sfo_Sc_Sc_q0"] * 32 / 64**2, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), arm=st.tuples(*[st.integers(0, 3)] * 3))
def test_every_commensurate_wave_equals_a_plain_sum(seed, arm):
    lattice = perovskite(4, 2, 3)
    occupation = lattice.random(HALF, np.random.default_rng(seed))
    q = np.array(arm) / (4, 2, 3)
    phases = np.exp(-2j * np.pi * cells(lattice) @ q)
    found = structure_factor(lattice, occupation, tuple(q), {"Sc": 0.0, "Ta": 1.0})
    expected = abs((occupation * phases).sum()) ** 2 / 24
    assert float(found["mean"][0]) == pytest.approx(expected, abs=1e-10)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), arm=st.tuples(*[st.integers(0, 3)] * 3))
def test_amplitudes_of_every_commensurate_wave_are_plain_sums_over_its_arms(seed, arm):
    lattice = perovskite(4, 2, 3)
    q = np.array(arm) / (4, 2, 3)
    if np.abs(q - np.rint(q)).max() < 1e-9:
        return
    wave = ordering_vector(lattice, tuple(q))
    pair = lattice.random(HALF, np.random.default_rng(seed), 2)
    phases = np.exp(-2j * np.pi * cells(lattice) @ wave.arms.T)
    plain = (np.abs((pair - 0.5) @ phases) ** 2).sum(axis=1)
    first, second = (float(ordering_amplitude(lattice, o, tuple(q))["mean"]) for o in pair)
    assert first * plain[1] == pytest.approx(second * plain[0], abs=1e-9)
    assert 0 <= first <= len(wave.arms) + 1e-9


@settings(max_examples=25, deadline=None)
@given(q=st.tuples(*[st.floats(0.02, 0.48)] * 3))
def test_waves_that_do_not_fit_are_refused_by_both_measures(q):
    turns = np.array(q) * 2
    lattice = perovskite(2, 2, 2)
    if np.abs(turns - np.rint(turns)).max() < 2e-3:
        return
    for measure in (ordering_amplitude, structure_factor):
        with pytest.raises(InputError, match=r"does not fit this cell .* nearest vectors"):
            measure(lattice, np.zeros(8, int), q)


# ---- structures from elsewhere


def measures(lattice, occupation):
    """Every measure of order as one array."""
    named = [
        float(ordering_amplitude(lattice, occupation, q)["mean"]) for q in ("rock-salt", "layered")
    ]
    q = [(0.5, 0.5, 0.5), (0.5, 0, 0), (1, 0.5, 0)]
    return np.concatenate(
        [
            named,
            warren_cowley(lattice, occupation)["mean"].to_numpy().ravel(),
            structure_factor(lattice, occupation, q, "neutron")["mean"].to_numpy(),
            site_order(lattice, occupation)["mean"].to_numpy(),
            anion_environments(lattice, occupation)["mean"].to_numpy(),
            domains(lattice, occupation)["mean"].to_numpy(),
        ]
    )


def partly_ordered(lattice):
    occupation = ordered(lattice, "rock-salt").copy()
    rng = np.random.default_rng(5)
    a, b = (rng.choice(np.flatnonzero(occupation == k), 8, replace=False) for k in (0, 1))
    occupation[a], occupation[b] = 1, 0
    return occupation


@pytest.mark.parametrize("kind", ["ordered", "disordered", "displaced"])
def test_a_cif_gives_the_numbers_of_the_stored_occupation(kind, tmp_path):
    lattice = perovskite(4, 4, 4)
    occupation = {
        "ordered": ordered(lattice, "rock-salt"),
        "disordered": lattice.random(HALF, np.random.default_rng(1)),
        "displaced": partly_ordered(lattice),
    }[kind]
    positions = lattice.displaced_positions(0.15, 2) if kind == "displaced" else None
    atoms = lattice.to_atoms(occupation, positions)
    shuffled = atoms[np.random.default_rng(3).permutation(len(atoms))]
    shuffled.positions += np.random.default_rng(4).integers(-1, 2, (len(atoms), 3)) * 16.0
    write(tmp_path / "there.cif", shuffled)
    back = lattice.from_atoms(read(tmp_path / "there.cif"))
    assert (back == occupation).all()
    assert np.array_equal(measures(lattice, back), measures(lattice, occupation), equal_nan=True)


def test_a_cif_as_pymatgen_writes_it_gives_the_same_numbers(tmp_path):
    """One line per atom with its own label, P 1, fractions of six digits, no order of species."""
    lattice = perovskite(4, 2, 4)
    occupation = lattice.random(HALF, np.random.default_rng(8))
    atoms = lattice.to_atoms(occupation)
    atoms = atoms[np.argsort(atoms.get_chemical_symbols(), kind="stable")]
    rows = [
        f"  {s}  {s}{n}  1  {x:.8f}  {y:.8f}  {z:.8f}  1"
        for n, (s, (x, y, z)) in enumerate(
            zip(atoms.symbols, atoms.get_scaled_positions(), strict=True)
        )
    ]
    a, b, c = atoms.cell.lengths()
    header = f"""# generated
data_SrScTaO
_symmetry_space_group_name_H-M   'P 1'
_cell_length_a   {a:.8f}
_cell_length_b   {b:.8f}
_cell_length_c   {c:.8f}
_cell_angle_alpha   90.00000000
_cell_angle_beta   90.00000000
_cell_angle_gamma   90.00000000
_symmetry_Int_Tables_number   1
loop_
 _symmetry_equiv_pos_site_id
 _symmetry_equiv_pos_as_xyz
  1  'x, y, z'
loop_
 _atom_site_type_symbol
 _atom_site_label
 _atom_site_symmetry_multiplicity
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
"""
    (tmp_path / "peer.cif").write_text(header + "\n".join(rows) + "\n")
    back = lattice.from_atoms(read(tmp_path / "peer.cif"))
    assert (back == occupation).all()
    assert np.array_equal(measures(lattice, back), measures(lattice, occupation), equal_nan=True)


def test_an_origin_that_is_shifted_by_a_cell_changes_no_measure(tmp_path):
    lattice = perovskite(4, 4, 4)
    occupation = partly_ordered(lattice)
    atoms = lattice.to_atoms(occupation)
    atoms.positions += (4.0, 8.0, -4.0)
    atoms.wrap()
    write(tmp_path / "shifted.cif", atoms)
    back = lattice.from_atoms(read(tmp_path / "shifted.cif"))
    assert (back != occupation).any()
    expected, found = measures(lattice, occupation), measures(lattice, back)
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_another_origin_is_refused_rather_than_read_wrongly():
    lattice = perovskite(2, 2, 2)
    atoms = lattice.to_atoms(ordered(lattice, "rock-salt"))
    atoms.positions += 2.0  # the B site at the corner, as other programs have it
    with pytest.raises(InputError, match=r"same origin|where it may not|stands at"):
        lattice.from_atoms(atoms)
    moved = lattice.atoms.copy()
    moved.positions += 2.0
    own = Lattice(moved, {"B": Sublattice("Sc", ("Sc", "Ta"))})
    occupation = own.from_atoms(atoms)
    assert float(ordering_amplitude(own, occupation, "rock-salt")["mean"]) == pytest.approx(1.0)


def test_a_spinel_from_a_cif_has_the_inversion_of_the_stored_one(tmp_path):
    lattice = builders.spinel(("Mg", "Al"), "O", a=8.08)
    occupation = lattice.random({"cation": {"Mg": 1 / 3, "Al": 2 / 3}}, np.random.default_rng(6))
    atoms = lattice.to_atoms(occupation, lattice.displaced_positions(0.1, 1))
    write(tmp_path / "spinel.cif", atoms[np.random.default_rng(7).permutation(56)])
    back = lattice.from_atoms(read(tmp_path / "spinel.cif"))
    expected = float(inversion_degree(lattice, occupation)["mean"])
    assert float(inversion_degree(lattice, back)["mean"]) == expected
