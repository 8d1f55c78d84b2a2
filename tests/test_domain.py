"""The out-of-domain guard: what counts as outside, for models with and without stated bounds."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json

import numpy as np
import pytest
from ase.data import chemical_symbols

from alchemc import AlchemicalMACE, PairHamiltonian, builders
from alchemc.errors import InputError, ModelError
from alchemc.potentials import Domain, check_domain, domain_of, load_mace
from alchemc.potentials.domain import DEVIATION, FORCE, reference_energies


def bundled(a=4.0, size=(2, 2, 1), **options):
    lattice = builders.perovskite("Sr", ("Sc", "Ta", "X"), "O", a=a, size=size)
    return AlchemicalMACE(lattice, "bundled", device="cpu", **options)


class Given:
    """Energies and forces as they are given, for the bounds alone."""

    def __init__(self, energies, forces=None, domain=None):
        self.lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 1, 1))
        self._energies = np.asarray(energies, dtype=float)
        if domain is not None:
            self.model_info = type("Info", (), {"domain": domain})()
        if forces is not None:
            self.energy_forces_stress = lambda occupations: (
                self._energies,
                np.asarray(forces, dtype=float)[:, None, None] * np.ones((1, 10, 3)),
                np.zeros((len(occupations), 3, 3)),
            )

    def energy(self, occupations):
        return self._energies[: len(occupations)]


MIXED = np.array([[0, 1], [1, 0], [0, 1]])


def test_the_bundled_model_states_the_bounds_of_its_training():
    path = importlib.resources.files("alchemc.potentials") / "models" / "bundled" / "model.json"
    card = json.loads(path.read_text(encoding="utf-8"))["card"]
    domain = domain_of(bundled())
    assert domain.energy == tuple(card["domain"]["energy"])
    assert set(domain.references) == set(card["elements"])
    assert domain.force == 15.0


def test_references_are_those_of_the_bundled_model_itself():
    module = load_mace("bundled").module
    stated = domain_of(bundled()).references
    energies = module.atomic_energies_fn.atomic_energies.ravel().tolist()
    for z, energy in zip(module.atomic_numbers.tolist(), energies, strict=True):
        assert stated[chemical_symbols[z]] == pytest.approx(energy, abs=6e-4)


@pytest.mark.parametrize("a", [3.8, 4.2])
def test_what_the_bundled_model_was_made_for_is_inside(a):
    occupations = np.array([[0, 1, 0, 1], [0, 0, 1, 1]])
    positions = bundled(a).lattice.displaced_positions(0.05, seed=2)
    check = check_domain(bundled(a, positions=positions), occupations)
    assert check.inside
    assert np.isfinite(check.force).all()


def test_a_dense_cell_is_outside_by_energy_and_forces():
    positions = bundled(3.2).lattice.displaced_positions(0.05, seed=2)
    check = check_domain(bundled(3.2, positions=positions), np.array([[0, 1, 0, 1]]))
    assert not check.inside
    assert check.energy_outside.all()
    assert check.force_outside.all()


def test_a_vacancy_has_no_reference_and_is_no_atom():
    hamiltonian = bundled()
    references = reference_energies(
        domain_of(hamiltonian), hamiltonian.lattice, np.array([[0, 1, 0, 1], [2, 1, 0, 1]])
    )
    assert references[1] - references[0] == pytest.approx(-domain_of(hamiltonian).references["Sc"])


def test_without_stated_bounds_energies_are_compared_with_each_other():
    inside = check_domain(Given([0.0, 9.9 * DEVIATION, 0.1]), MIXED)  # 10 atoms
    assert inside.inside
    assert np.isnan(inside.force).all()
    outside = check_domain(Given([0.0, 10.5 * DEVIATION, 0.1]), MIXED)
    np.testing.assert_array_equal(outside.energy_outside, [False, True, False])
    other_atoms = check_domain(Given([0.0, 999.0, 0.1]), np.array([[0, 1], [1, 1], [1, 0]]))
    assert other_atoms.inside


def test_forces_beyond_the_bound_are_outside_and_so_is_what_is_no_number():
    check = check_domain(Given([0.0] * 3, forces=[1.0, -1.01 * FORCE, np.nan]), MIXED)
    np.testing.assert_array_equal(check.force_outside, [False, True, True])
    assert not check.inside
    assert check_domain(Given([0.0] * 3, forces=[999.0] * 3), MIXED, forces=False).inside


def test_a_card_may_bound_forces_alone():
    domain = domain_of(Given([0.0], domain={"force": 7.0}))
    assert domain == dataclasses.replace(Domain(), force=7.0, source="the model's card")


def test_a_card_without_a_reference_is_one_clear_line():
    card = {"energy": [-1.0, 1.0], "references": {"Sr": -1.0, "O": -2.0, "Sc": -3.0}}
    with pytest.raises(ModelError, match="no reference for Ta; give one"):
        check_domain(Given([0.0] * 3, domain=card), MIXED)


def test_a_lattice_hamiltonian_has_no_forces_to_check():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    pairs = PairHamiltonian(lattice, [{("Sc", "Ta"): -0.01}])
    check = check_domain(pairs, np.arange(8) % 2)
    assert check.inside
    assert check.domain.source.startswith("general")


def test_no_occupation_is_refused():
    with pytest.raises(InputError, match="no occupation"):
        check_domain(bundled(), np.empty((0, 4), dtype=int))
