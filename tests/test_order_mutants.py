"""The checks of the order measures see broken variants of what they check."""

import dataclasses

import numpy as np
import pytest

import test_order_domains as of_domains
import test_order_environments as of_environments
import test_order_scattering as of_scattering
import test_order_sites as of_sites
from alchemc.analysis.order import (
    amplitudes,
    anions,
    bond_valences,
    domains,
    inversion,
    registered,
    structure_factor,
)


def turned_forwards(self, flat, which):
    """Reads the permutation in place of its inverse."""
    return np.take_along_axis(flat, self.permutations[which], axis=1)


def nothing_is_bragg(lattice, vectors):
    return np.zeros(len(vectors.q), dtype=bool)


def everything_is_bragg(lattice, vectors):
    return np.ones(len(vectors.q), dtype=bool)


def vacancies_scatter(weights, species, lengths, plain=amplitudes.scattering_weights):
    """Gives the last species what a vacancy has not: the labels of vacancies are not left out."""
    return plain(weights, species, lengths) + 1.0


def one_end_only(self, kind, r0, softness, where, cells):  # noqa: PLR0917
    step = where[..., self.j, :] - where[..., self.i, :] + self._shifts @ cells
    distance = np.linalg.norm(step, axis=-1).reshape(-1, self.n)
    ends = kind[:, self.i], kind[:, self.j]
    valence = np.exp((r0[ends] - distance) / softness[ends])
    row = np.arange(len(kind))[:, None] * kind.shape[1]
    flat = (row + self.i).ravel()
    return np.bincount(flat, valence.ravel(), minlength=kind.size).reshape(kind.shape)


def independent_neighbours(self, counts):
    """Draws neighbours with replacement."""
    c = counts / counts.sum()
    return np.array([c[0] ** 2, 2 * c[0] * c[1], c[1] ** 2])


def bonds_inside_the_cell(self, lattice, plain=domains._Finder._set_bonds):
    """Leaves out the bonds that cross the cell's boundary."""
    plain(self, lattice)
    where = lattice.atoms.positions[lattice.sites[self.sites]]
    step = where[self.bonds[:, 1]] - where[self.bonds[:, 0]]
    self.bonds = self.bonds[np.linalg.norm(step, axis=1) < 1.1 * self.length]


def six_neighbours_are_four(lattice, sublattice):
    return ~inversion_of(lattice, sublattice)


def first_variant(self, flat, plain=registered._Measure.registered):
    """Takes the reference itself for the best variant of every draw."""
    return flat[:, self.sites], np.ones(len(flat))


def no_exclusion_of_the_mean(self, pairs, plain=amplitudes.Sample.products):
    products, field = plain(self, pairs)
    return products, 0 * field


inversion_of = inversion.tetrahedral_sites


@dataclasses.dataclass
class Broken:
    place: object
    name: str
    variant: object
    check: object


CASES = {
    "permutation for its inverse": Broken(
        registered.Variants,
        "registered",
        turned_forwards,
        of_sites.test_three_species_in_planes_are_found_in_any_phase_and_direction,
    ),
    "no registration": Broken(
        registered._Measure,
        "registered",
        first_variant,
        of_sites.test_without_registration_the_same_chains_show_no_order,
    ),
    "random value of the reference alone": Broken(
        registered._Measure,
        "registered",
        first_variant,
        lambda: of_sites.test_the_random_value_is_that_of_the_best_of_all_variants(lambda *_: None),
    ),
    "no Bragg part": Broken(
        structure_factor,
        "_fundamental",
        nothing_is_bragg,
        of_scattering.test_a_composition_that_fluctuates_is_diffuse_at_reciprocal_vectors_too,
    ),
    "superlattice points as Bragg": Broken(
        structure_factor,
        "_fundamental",
        everything_is_bragg,
        lambda: of_scattering.test_perfect_order_scatters_into_its_superlattice_points_alone(
            "rock-salt", (0.5, 0.5, 0.5)
        ),
    ),
    "mean left in the partials": Broken(
        amplitudes.Sample,
        "products",
        no_exclusion_of_the_mean,
        of_scattering.test_normalised_partials_have_their_closed_forms_in_a_random_alloy,
    ),
    "weights with a constant": Broken(
        structure_factor,
        "scattering_weights",
        vacancies_scatter,
        lambda: of_scattering.test_a_random_alloy_of_three_species_and_vacancies_has_the_laue_unit(
            lambda *_: None
        ),
    ),
    "valence at one end": Broken(
        bond_valences._Bonds,
        "sums",
        one_end_only,
        of_environments.test_valences_are_shared_equally_by_both_ends,
    ),
    "neighbours with replacement": Broken(
        anions._Counter,
        "random",
        independent_neighbours,
        of_environments.test_the_random_value_is_the_mean_over_all_arrangements,
    ),
    "no periodic images": Broken(
        domains._Finder,
        "_set_bonds",
        bonds_inside_the_cell,
        of_domains.test_a_domain_may_reach_through_the_cell_s_boundary,
    ),
    "octahedra for tetrahedra": Broken(
        inversion,
        "tetrahedral_sites",
        six_neighbours_are_four,
        lambda: of_sites.test_inversion_counts_the_cations_that_changed_places(1),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_variant_is_seen(case, monkeypatch):
    broken = CASES[case]
    broken.check()  # the check holds as things are
    monkeypatch.setattr(broken.place, broken.name, broken.variant)
    with pytest.raises(AssertionError):
        broken.check()
