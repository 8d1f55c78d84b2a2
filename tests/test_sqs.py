"""Special quasirandom structures against icet, closed forms and enumeration."""

import json
import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icet import ClusterSpace
from icet.tools.structure_generation import _get_sqs_cluster_vector

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import (
    generate_sqs,
    measured_sqs,
    ordering_amplitude,
    warren_cowley,
)
from alchemc.analysis.sqs import generation
from alchemc.analysis.sqs.clusters import Clusters, default_cutoffs
from alchemc.errors import InputError
from analysis_cases import HALF, ordered, perovskite

THIRDS = {"B": {"Sc": 0.5, "Ta": 0.25, "Nb": 0.25}}
SHARED = {"A": {"Pb": 0.5, "Sc": 0.5}, "B": {"Sc": 0.25, "Ta": 0.25, "X": 0.5}}


def three_species(*size: int) -> Lattice:
    return perovskite(*size, species=("Sc", "Ta", "Nb"))


def shared_species(*size: int) -> Lattice:
    """Two sublattices that both may hold Sc, the second vacancies, too."""
    atoms = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=size).atoms
    return Lattice(
        atoms, {"A": Sublattice("Pb", ("Pb", "Sc")), "B": Sublattice("Sc", ("Sc", "Ta", "X"))}
    )


def icet_space(lattice: Lattice, cutoffs) -> ClusterSpace:
    symbols = [[s] for s in lattice.atoms.get_chemical_symbols()]
    for site, atom in enumerate(lattice.sites):
        symbols[atom] = list(lattice.species_of(site))
    return ClusterSpace(lattice.atoms, list(cutoffs), symbols)


def unlabelled(lattice: Lattice, composition, cutoffs):
    """icet's cluster space of the real species, and the composition by its letters."""
    space = icet_space(lattice, cutoffs)
    by_species = {frozenset(shares): shares for shares in composition.values()}
    active = space.get_sublattices(lattice.atoms).active_sublattices
    return space, {s.symbol: by_species[frozenset(s.chemical_symbols)] for s in active}


def icet_vectors(lattice: Lattice, occupations, cutoffs) -> np.ndarray:
    """Cluster vectors by icet alone, from structures and the species allowed on every atom."""
    space = icet_space(lattice, cutoffs)
    return np.array([space.get_cluster_vector(lattice.to_atoms(row)) for row in occupations])


@pytest.mark.parametrize(
    ("lattice", "composition"),
    [(perovskite(2, 2, 2), HALF), (perovskite(4, 4, 2), HALF), (three_species(2, 2, 3), THIRDS)],
    ids=["enumerated", "annealed", "three species"],
)
def test_the_cluster_vectors_are_icets_and_differ_from_the_target_by_what_is_reported(
    lattice, composition
):
    found = generate_sqs(lattice, composition, n=2, steps=500)
    vectors = icet_vectors(lattice, found.occupations, found.cutoffs)
    assert found.vectors == pytest.approx(vectors[:, 1:], abs=1e-12)
    assert found.mismatch == pytest.approx(
        np.abs(vectors[:, 1:] - found.target).sum(axis=1), abs=1e-12
    )
    counts = np.array(list(lattice.composition_counts(composition).values()))
    assert (lattice.counts(found.occupations) == counts).all()


@pytest.mark.parametrize(
    ("lattice", "composition"),
    [(perovskite(2, 2, 2), HALF), (three_species(2, 2, 2), THIRDS)],
    ids=["binary", "three species"],
)
def test_the_target_is_that_of_icet(lattice, composition):
    clusters = Clusters(lattice)
    theirs = _get_sqs_cluster_vector(clusters.space, clusters.icet_concentrations(composition))
    assert clusters.random_vector(composition) == pytest.approx(theirs[1:], abs=1e-12)


def test_the_target_is_the_mean_over_all_arrangements_of_every_composition():
    """Sites are independent there, weighed by the product of the fractions of their species."""
    lattice, share = perovskite(3, 1, 1), {"Sc": 0.3, "Ta": 0.7}
    clusters = Clusters(lattice, (4.1,))
    states = lattice.enumerate()
    weights = np.prod(np.where(states == 0, share["Sc"], share["Ta"]), axis=1)
    # Images of a site are not independent of it: only the pair along the row is.
    rows = np.array([np.where(state == 0, -1.0, 1.0) for state in states])
    along = sum(rows[:, i] * rows[:, (i + 1) % 3] for i in range(3)) / 3
    assert clusters.random_vector({"B": share})[-1] == pytest.approx(weights @ along, abs=1e-12)


def test_sublattices_that_share_species_keep_their_own_targets():
    """icet itself takes one fraction per species, whatever the sublattice, and misses the pair."""
    lattice = shared_species(2, 2, 2)
    clusters = Clusters(lattice, (4.1,))
    target = dict(
        zip([c.label for c in clusters.clusters], clusters.random_vector(SHARED), strict=True)
    )
    found = measured_sqs(lattice, lattice.random(SHARED, np.random.default_rng(0), 2000), (4.1,))
    means = dict(zip(target, found.vectors.mean(axis=0), strict=True))
    for label in ("site A", "site B", "site B (1)"):  # fixed by the composition
        assert means[label] == pytest.approx(target[label], abs=1e-12)
    pair = next(label for label in target if label.startswith("pair A–B"))
    assert means[pair] == pytest.approx(target[pair], abs=5 * 0.01)
    theirs = _get_sqs_cluster_vector(*unlabelled(lattice, SHARED, (4.1,)))
    ours = np.concatenate([[1.0], clusters.random_vector(SHARED)])
    assert np.abs(theirs - ours).max() > 0.1


@cache
def sqs_of_64_sites():
    return generate_sqs(perovskite(4, 4, 4), HALF)


def test_matched_shells_have_no_warren_cowley_order():
    found = sqs_of_64_sites()
    lattice = found.lattice
    alpha = warren_cowley(lattice, found.occupations, n_shells=4)["mean"].sel(pair="B: Sc–Ta")
    matched = found.matched_shells.min()
    assert matched >= 3
    assert alpha.to_numpy()[:matched] == pytest.approx(0.0, abs=1e-9)


def test_matched_shells_have_no_order_among_three_species():
    lattice = three_species(4, 4, 2)
    found = generate_sqs(lattice, THIRDS, cutoffs=(4.1,), n=1)
    assert found.matched_shells.tolist() == [1]
    alpha = warren_cowley(lattice, found.occupations, n_shells=1)["mean"]
    assert alpha.to_numpy() == pytest.approx(0.0, abs=1e-9)


def test_enumeration_finds_the_best_of_all_and_annealing_none_better(monkeypatch):
    lattice = perovskite(2, 2, 3)
    best = generate_sqs(lattice, HALF, n=50)
    every = measured_sqs(lattice, lattice.enumerate(HALF), best.cutoffs)
    assert best.method == "enumeration"
    assert best.objective == pytest.approx(every.objective.min(), abs=1e-9)
    monkeypatch.setattr(generation, "MOST_ENUMERATED", 1)
    annealed = generate_sqs(lattice, HALF, n=3)
    assert annealed.method == "annealing"
    assert (annealed.objective >= best.objective[0] - 1e-9).all()
    assert annealed.objective.min() == pytest.approx(best.objective[0], abs=1e-9)


def test_enumerated_structures_are_not_related_by_symmetry():
    lattice = perovskite(2, 2, 4)
    found = generate_sqs(lattice, HALF, (5.8,), n=8)
    permutations = lattice.symmetry_permutations()
    forms = {np.unique(row[permutations], axis=0)[0].tobytes() for row in found.occupations}
    assert len(forms) == len(found) == 8
    # All arrangements of the 2×2×2 cell whose first two shells match are one and the same.
    assert len(generate_sqs(perovskite(2, 2, 2), HALF, (5.8,), n=8)) == 1


@pytest.mark.parametrize("size", [(2, 2, 3), (4, 4, 2)], ids=["enumerated", "annealed"])
def test_the_seed_governs_and_no_global_generator_is_touched(size):
    lattice = perovskite(*size)
    before, legacy = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, again, other = (
        generate_sqs(lattice, HALF, (5.8,), n=3, seed=seed, steps=300) for seed in (5, 5, 6)
    )
    assert (first.occupations == again.occupations).all()
    assert (first.occupations != other.occupations).any()
    assert random.getstate() == before
    assert np.random.get_state()[1].tolist() == legacy  # noqa: NPY002


def test_several_sublattices_keep_their_counts():
    lattice = shared_species(2, 2, 4)
    found = generate_sqs(lattice, SHARED, (4.1,), n=2, steps=1500)
    assert lattice.counts(found.occupations)[0].tolist() == [[8, 8, 0], [4, 4, 8]]
    assert (lattice.counts(found.occupations) == lattice.counts(found.occupations[0])).all()
    start = measured_sqs(lattice, lattice.random(SHARED, np.random.default_rng(0), 50), (4.1,))
    assert found.mismatch.max() < start.mismatch.mean()


def test_a_sublattice_of_one_species_is_left_as_it_is():
    lattice = shared_species(2, 2, 2)
    pure = {"A": {"Pb": 1.0, "Sc": 0.0}, "B": {"Sc": 0.5, "Ta": 0.5, "X": 0.0}}
    found = generate_sqs(lattice, pure, (4.1,))
    assert lattice.counts(found.occupations)[0].tolist() == [[8, 0, 0], [4, 4, 0]]


def test_another_target_gives_quasi_ordered_structures():
    lattice = perovskite(2, 2, 2)
    rock_salt = measured_sqs(lattice, ordered(lattice, "rock-salt"))
    found = generate_sqs(lattice, HALF, target=rock_salt.vectors[0])
    assert found.mismatch.tolist() == pytest.approx([0.0], abs=1e-12)
    assert float(ordering_amplitude(lattice, found.occupations)["mean"]) == pytest.approx(1.0)


def test_an_ordered_structure_is_told_from_an_sqs():
    lattice = perovskite(4, 4, 4)
    layered = measured_sqs(lattice, ordered(lattice, "layered"))
    made = sqs_of_64_sites()
    assert layered.matched_shells.tolist() == [0]
    assert made.matched_shells.min() >= 3
    assert layered.mismatch[0] > 10 * made.mismatch[0]
    assert "as given" in layered.statement


def test_the_default_cutoffs_hold_four_shells_of_pairs_and_two_of_triplets():
    lattice = perovskite(4, 4, 4)
    pairs, triplets = default_cutoffs(lattice)
    found = measured_sqs(lattice, ordered(lattice, "layered"))
    assert found.n_shells == 4
    assert {c.order for c in found.clusters} == {1, 2, 3}
    assert (pairs, triplets) == pytest.approx((8.01, 4 * 2**0.5 + 0.01))


def test_plain_data_holds_everything():
    found = generate_sqs(perovskite(2, 2, 2), HALF)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["occupations"] == found.occupations.tolist()
    assert len(plain["clusters"]) == len(plain["target"]) == found.vectors.shape[1]
    assert plain["structures"][0]["matched_shells"] == 2
    assert "2 of 4 pair shells" in plain["statement"]
    assert found.atoms()[0].get_chemical_formula() == "O24Sc4Sr8Ta4"


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_occupations_return_from_icets_structures(data):
    lattice = shared_species(2, 2, 1)
    sizes = np.asarray(lattice.allowed).sum(axis=1)
    occupation = np.array([data.draw(st.integers(0, int(n) - 1)) for n in sizes], dtype=np.int8)
    clusters = Clusters(lattice, (4.1,))
    assert (clusters.occupation(clusters.atoms(occupation)) == occupation).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"composition": {"B": {"Sc": 0.4, "Ta": 0.6}}}, "no whole number of the 8 sites"),
        ({"composition": {"B": {"Sc": 1.0, "Ta": 0.0}}}, "one arrangement"),
        ({"n": 0}, "n is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"cutoffs": ()}, "cutoffs are"),
        ({"cutoffs": (5.0, "far")}, "cutoffs are"),
        ({"cutoffs": (1.0,)}, "no two sites are within"),
        ({"target": np.zeros(3)}, "target has shape"),
    ],
)
def test_what_cannot_be_made_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        generate_sqs(perovskite(2, 2, 2), **({"composition": HALF} | options))


def test_arrangements_of_several_compositions_are_refused():
    lattice = perovskite(2, 2, 2)
    with pytest.raises(InputError, match="differ in composition"):
        measured_sqs(lattice, lattice.enumerate()[:5])
