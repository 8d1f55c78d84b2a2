"""Systems whose free energies of λ states are known exactly, for the tests of Gibbs λ."""

from __future__ import annotations

import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
from ase import units
from scipy.special import logsumexp

from alchemc import Canonical, PairHamiltonian, SemiGrandCanonical
from alchemc.ensembles import Biases
from alchemc.ensembles.alchemical import Groups
from alchemc.ensembles.alchemical.discrete import DiscreteStates
from toy_crystal import Springs, ToyCrystal, ring
from toys import (
    RandomHamiltonian,
    TabulatedHamiltonian,
    arrangements,
    chain_lattice,
    square_lattice,
)


class Case(NamedTuple):
    """An energy model, an ensemble, groups, and all occupations that there are."""

    model: object
    ensemble: object
    groups: Groups
    occupations: np.ndarray

    def exact(self, states):
        """Free energies in eV of joint states [n, n_groups] of species."""
        log = self.ensemble.log_density(self.model.energy(self.occupations), self.occupations)
        held = self.occupations[:, [members[0] for members in self.groups.members]]
        whole = (self.groups.occupations(held, self.occupations) == self.occupations).all(axis=1)
        kT = units.kB * self.ensemble.temperature
        return np.array([-kT * logsumexp(log[whole & (held == row).all(axis=1)]) for row in states])


@cache
def case(name):
    """One of the enumerated systems; energies differ by some k_BT."""
    if name == "composition":  # two sites change, the others keep three of each species
        lattice = chain_lattice((("Sc", "Ta"), 8))
        model, ensemble = RandomHamiltonian(lattice, 3), Canonical(lattice, 1500.0)
        others = arrangements((0, 0, 0, 1, 1, 1))
        states = np.concatenate([np.insert(others, 0, [[k], [k]], axis=1) for k in (0, 1)])
        groups = Groups.of(lattice, {"pair": [0, 1]})
    elif name == "two species":
        lattice = chain_lattice((("Sc", "Ta"), 7))
        model, ensemble = RandomHamiltonian(lattice, 6), free(lattice, {"s0": {"Ta": 0.1}})
        groups, states = Groups.of(lattice, {"pair": [0, 1]}), lattice.enumerate()
    elif name == "three species":
        lattice = chain_lattice((("Sr", "La", "Ba"), 5))
        model, ensemble = RandomHamiltonian(lattice, 4), free(lattice, {"s0": {"La": 0.1}})
        groups, states = Groups.of(lattice, {"one": [2]}), lattice.enumerate()
    else:
        lattice = chain_lattice((("Sr", "La"), 3), (("Ti", "Al", "Mg"), 3))
        model, ensemble = RandomHamiltonian(lattice, 5), free(lattice, {"s1": {"Mg": -0.1}})
        states = lattice.enumerate()
        groups = Groups.of(lattice, {"a": [0, 1], "b": [4]})
    return Case(TabulatedHamiltonian(model, states), ensemble, groups, states)


def free(lattice, mu, temperature=1500.0):
    """Semi-grand ensemble, without the warning about charges."""
    with warnings.catch_warnings(action="ignore"):
        return SemiGrandCanonical(lattice, temperature, mu)


class Between(NamedTuple):
    """A lattice with states between species, and its exact law over all of them."""

    model: PairHamiltonian
    ensemble: SemiGrandCanonical
    groups: Groups
    states: DiscreteStates
    joint: np.ndarray
    others: np.ndarray
    log_weights: np.ndarray


@cache
def between_case():
    """Two groups of a 2 × 2 square lattice with three species between, one site beside them."""
    lattice = square_lattice(2)
    shells = np.array([[[0.05, -0.02], [-0.02, 0.11]], [[0.0, 0.03], [0.03, -0.02]]])
    model = PairHamiltonian(lattice, list(shells))
    ensemble = free(lattice, {"s": {"Ta": 0.2}}, 900.0)
    groups = Groups.of(lattice, {"a": [0, 3], "b": [1]})
    states = DiscreteStates(groups, (0.25, 0.6))
    joint = np.indices((4, 4)).reshape(2, -1).T
    joint, others = np.repeat(joint, 2, axis=0), np.tile([0, 1], len(joint))
    occupations = np.zeros((len(joint), 4), dtype=int)
    occupations[:, 2] = others
    lam = groups.lam(states.weights(joint), occupations)
    energy = np.array([model.mixed_energy(one).energy for one in lam])
    log = -ensemble.beta * (energy - 0.2 * lam[:, :, 1].sum(axis=1))
    return Between(model, ensemble, groups, states, joint, others, log)


def random_state_biases(groups, seed, size=0.1):
    """Linear terms and couplings."""
    rng = np.random.default_rng(seed)
    allowed = groups.allowed
    coupling = size * rng.normal(size=(*allowed.shape, *allowed.shape))
    coupling *= allowed[:, :, None, None] & allowed
    coupling *= ~np.eye(len(allowed), dtype=bool)[:, None, :, None]
    return Biases(
        groups,
        linear=size * rng.normal(size=allowed.shape) * allowed,
        coupling=(coupling + coupling.transpose(2, 3, 0, 1)) / 2,
    )


class MixedCrystal(ToyCrystal):
    """A toy crystal with forces between species, by its own mixing rule."""

    def mixed_energy(self, lam, forces=False, stress=False):
        found = self._mixed(lam)
        return found._replace(forces=self._mixed_forces(lam)) if forces else found

    def _mixed(self, lam):
        found = super()._mixed(lam)
        return MixedWithForces(found.energy, found.gradient, None)

    def _mixed_forces(self, lam):
        s, lattice = self.springs, self.lattice
        weights = np.eye(len(self.symbols) + 1)[self._kinds]
        weights[lattice.sites] = 0.0
        for k in range(lattice.n_species_max):
            np.add.at(weights, (lattice.sites, self._kind_of[:, k]), lam[:, k])
        u = self.positions - self._fractional @ self.cell
        pulls = s.tether * (u[:, None, :] - s.offset[:, None]).transpose(0, 2, 1)
        forces = -(weights[:, None, :] * pulls).sum(axis=2)
        i, j = self.bonds.T
        stretch = (u[j] - u[i])[:, None, None] - s.misfit[None, :, :, None] * self.direction
        both = weights[i][:, :, None] * weights[j][:, None, :] * s.bond
        tension = (both[..., None] * stretch).sum(axis=(1, 2))
        np.add.at(forces, i, tension)
        np.add.at(forces, j, -tension)
        return forces


class MixedWithForces(NamedTuple):
    energy: float
    gradient: np.ndarray
    forces: np.ndarray | None


def soft_crystal(vacancies=False):
    """Four atoms, of which one changes its stiffness and its size with its species, or vanishes."""
    species = ("Mg", "X") if vacancies else ("Mg", "Ca")
    lattice = ring((species, 1), (("O",), 3))
    bond = np.array([[3.0, 3.0, 5.0, 0.0], [3.0, 3.0, 2.0, 0.0], [5.0, 2.0, 4.0, 0.0], [0.0] * 4])
    misfit = np.zeros((4, 4))
    misfit[0, 2] = misfit[2, 0] = 0.05
    pair = np.zeros((4, 4))
    pair[0, 2] = pair[2, 0] = 0.03
    kinds = np.array([1, 2, 3] if vacancies else [0, 1, 2, 3])  # of Ca, Mg, O and vacancies
    square = np.ix_(kinds, kinds)
    springs = Springs(
        tether=np.array([4.0, 1.5, 3.0, 0.0])[kinds], offset=np.zeros(len(kinds)),
        bond=bond[square], misfit=misfit[square], pair=pair[square],
    )  # fmt: skip
    return MixedCrystal(lattice, springs)
