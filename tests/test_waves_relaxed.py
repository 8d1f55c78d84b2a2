"""Concentration waves with atoms that follow: springs whose V_rel(q) is a closed form.

Nothing here is statistical.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms

from alchemc import AlchemicalMACE, Lattice, PairHamiltonian, Sublattice, builders
from alchemc.analysis import concentration_waves
from alchemc.analysis.waves.couplings import alchemical_couplings
from alchemc.errors import InputError

A = 3.0
MEAN = {"s": {"Sc": 0.5, "Ta": 0.5}}
Q = np.array([[0.5, 0.5, 0.5], [0, 0.5, 0.5], [0, 0, 0.5], [0, 0, 0.25], [0.25, 0.25, 0.5]])


class Springs:
    """Sites of a simple cubic net joined by springs whose length depends on what they hold.

    E = Σ_bonds ½k(d_∥ − s(x_i + x_j))² + ½t d_⊥² + J x_i x_j, d the displacement of j from i and
    x = λ_1: along the bond a large species pushes its neighbours away. Exactly quadratic.
    """

    def __init__(self, size=4, *, stiff=5.0, bend=1.0, misfit=0.1, pair=0.05, displacement=None):
        atoms = Atoms("Sc", cell=[A] * 3, pbc=True).repeat(size)
        self.lattice = Lattice(atoms, {"s": Sublattice("Sc", ("Sc", "Ta"))})
        self.constants = (size, stiff, bend, misfit, pair)
        n = len(atoms)
        index = np.arange(n).reshape((size,) * 3)
        self.bonds = [(index.ravel(), np.roll(index, -1, axis).ravel()) for axis in range(3)]
        self.positions = np.array(atoms.positions)
        self.u = np.zeros((n, 3)) if displacement is None else displacement

    def at(self, positions, cell=None):
        size, stiff, bend, misfit, pair = self.constants
        moved = positions - self.lattice.atoms.positions
        return Springs(size, stiff=stiff, bend=bend, misfit=misfit, pair=pair, displacement=moved)

    def parts(self, x, u):
        _, stiff, bend, misfit, pair = self.constants
        energy, slope, force = 0.0, np.zeros_like(x), np.zeros_like(u)
        for axis, (i, j) in enumerate(self.bonds):
            d = u[j] - u[i]
            stretch = d[:, axis] - misfit * (x[i] + x[j])
            across = d.copy()
            across[:, axis] = 0.0
            energy += 0.5 * stiff * (stretch**2).sum() + 0.5 * bend * (across**2).sum()
            energy += pair * (x[i] * x[j]).sum()
            pull = bend * across
            pull[:, axis] = stiff * stretch
            np.add.at(force, i, pull)
            np.add.at(force, j, -pull)
            for one, other in ((i, j), (j, i)):
                np.add.at(slope, one, -stiff * misfit * stretch + pair * x[other])
        return energy, slope, force

    def mixed_energy(self, lam, forces=True, stress=True):
        energy, slope, force = self.parts(lam[:, 1], self.u)
        gradient = np.stack([np.zeros_like(slope), slope], axis=1)
        return SimpleNamespace(energy=energy, gradient=gradient, forces=force, stress=None)

    def hessian_product(self, lam, direction):
        base = self.mixed_energy(lam).gradient
        return self.mixed_energy(lam + direction).gradient - base  # exact: it is quadratic

    def energy(self, occupations):
        states = np.atleast_2d(occupations)
        return np.array([self.parts(s.astype(float), self.u)[0] for s in states])

    def relaxed(self, occupations):
        """Energies at the minimum over all displacements, by a dense linear solve."""
        n = self.u.size
        zero = np.zeros(len(self.u))
        units = np.eye(n).reshape(n, *self.u.shape)
        matrix = -np.array([self.parts(zero, unit)[2].ravel() for unit in units])
        found = []
        for state in np.atleast_2d(occupations).astype(float):
            force = self.parts(state, 0 * self.u)[2].ravel()
            u = np.linalg.lstsq(matrix, force, rcond=1e-10)[0].reshape(self.u.shape)
            found.append(self.parts(state, u)[0])
        return np.array(found)


class Minima:
    """The relaxed landscape of springs, as an energy model."""

    def __init__(self, springs):
        self.hamiltonian, self.lattice, self.fmax = springs, springs.lattice, 0.01

    def energy(self, occupations):
        return self.hamiltonian.relaxed(occupations)


def followed(q, model):
    """B†K⁻¹B of the springs."""
    _, stiff, bend, misfit, _ = model.constants
    s, c = np.sin(2 * np.pi * q), np.cos(2 * np.pi * q)
    total = np.zeros(len(q))
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        k = 2 * stiff * (1 - c[:, axis]) + 2 * bend * (1 - c[:, others]).sum(axis=1)
        push = (2 * stiff * misfit * s[:, axis]) ** 2
        total += np.divide(push, k, out=np.zeros(len(q)), where=push > 1e-20)
    return total


def closed_form(q, model, *, self_term=True):
    size, stiff, _, misfit, pair = model.constants
    grid = np.stack(np.meshgrid(*[np.arange(size) / size] * 3), axis=-1).reshape(-1, 3)
    own = followed(grid, model).mean() if self_term else 0.0
    fixed = 2 * (pair + stiff * misfit**2) * np.cos(2 * np.pi * q).sum(axis=1)
    return fixed - (followed(q, model) - own)


@pytest.mark.parametrize("misfit", [0.05, 0.1, 0.2])
def test_relaxed_v_of_springs_is_its_closed_form(misfit):
    model = Springs(misfit=misfit)
    waves = concentration_waves(model, MEAN, relaxed=True)
    assert np.allclose(waves.at(Q)[:, 0, 0], closed_form(Q, model), atol=1e-9)
    mutant = closed_form(Q, model, self_term=False)  # what a site feels of its own distortion
    with pytest.raises(AssertionError):
        assert np.allclose(waves.at(Q)[:, 0, 0], mutant, atol=1e-4)
    assert waves.at([0, 0, 0])[0, 0].real == pytest.approx(closed_form(0 * Q, model)[0])


def test_energies_of_relaxed_v_are_those_of_exact_minima():
    model = Springs()
    states = model.lattice.random(MEAN, np.random.default_rng(2), 10)
    waves = concentration_waves(model, MEAN, relaxed=True)
    difference = model.relaxed(states) - waves.couplings.energies(states)
    assert np.ptp(difference) < 1e-8
    fixed = model.relaxed(states) - alchemical_couplings(model, MEAN).energies(states)
    assert np.ptp(fixed) > 0.05  # what V at fixed positions leaves out
    rescaled = waves.rescaled(Minima(model))
    assert rescaled.rescaling.slope == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(InputError, match="larger supercell"):  # elastic interactions reach far
        rescaled.temperature()
    assert "relaxed positions (harmonic), fixed cell" in rescaled.statement


def test_relaxation_can_change_the_leading_wave():
    model = Springs(pair=-0.17, misfit=0.2, bend=0.2)
    fixed, relaxed = (concentration_waves(model, MEAN, relaxed=r) for r in (False, True))
    assert fixed.leading.name == "rock-salt"
    assert relaxed.leading.name != "rock-salt"


def test_energies_of_the_other_landscape_are_refused():
    model = Springs()
    with pytest.raises(InputError, match="inside"):
        concentration_waves(model, MEAN).rescaled(Minima(model))
    with pytest.raises(InputError, match="wrapped in Relaxed"):
        concentration_waves(model, MEAN, relaxed=True).rescaled(model)


def test_soft_modes_are_refused_by_their_vector_and_frequency():
    with pytest.raises(InputError, match=r"not positive at q = \(.*i THz.*relaxed=False"):
        concentration_waves(Springs(bend=-0.5), MEAN, relaxed=True)


@pytest.mark.slow
def test_a_perovskite_that_tilts_is_refused_and_a_rocksalt_is_not():
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 2, 2))
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    with pytest.raises(InputError, match="distorts by itself"):
        concentration_waves(mace, {"B": {"Sc": 0.5, "Ta": 0.5}}, relaxed=True)
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.5, size=(2, 2, 2))
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    half = {"cation": {"Mg": 0.5, "Ca": 0.5}}
    fixed, relaxed = (concentration_waves(mace, half, relaxed=r) for r in (False, True))
    assert fixed.leading.name == relaxed.leading.name == "q = (1/2 1/2 1/2)"
    assert relaxed.leading.energy < 1.5 * fixed.leading.energy < 0


def test_models_without_positions_and_steps_that_are_none_are_refused():
    model = Springs()
    pairs = PairHamiltonian(model.lattice, [np.eye(2)])
    with pytest.raises(InputError, match="no positions"):
        concentration_waves(pairs, MEAN, relaxed=True)
    with pytest.raises(InputError, match="step"):
        concentration_waves(model, MEAN, relaxed=True, step=-1.0)
