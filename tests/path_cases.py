"""Paths whose free energies are known: enumerated lattices and harmonic crystals."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from ase import units

from alchemc import Canonical, RandomSwap, SemiGrandCanonical
from alchemc.ensembles.alchemical import AlchemicalPath, Groups, MixturePath, Switching
from alchemc.ensembles.alchemical.paths import unmoved
from exact_positions import LATTICE, NONE, OCCUPATION, STIFF, TEMPERATURE
from toy_crystal import Springs, ToyCrystal
from toys import RandomHamiltonian, arrangements, chain_lattice

SEEN = 50
"""Repeats that the spread of z is judged by."""


class DenseHamiltonian(RandomHamiltonian):
    """A random Hamiltonian of all replicas at once, with energies between species."""

    def energy(self, occupations):
        return self.mixed_energies(self.lattice.weights(occupations))[0]

    def energy_and_gradient(self, occupations):
        return self.mixed_energies(self.lattice.weights(occupations))

    def mixed_energies(self, lam):
        flat = np.asarray(lam).reshape(len(lam), -1)
        coupled = (self.pair * flat[:, None, :]).sum(axis=2)
        wave = (self.wave * flat).sum(axis=1)
        energy = (flat * (self.linear + 0.5 * coupled)).sum(axis=1) + self.cubic * wave**3
        gradient = self.linear + coupled + 3.0 * self.cubic * (wave**2)[:, None] * self.wave
        shape = (len(flat), self.lattice.n_sites, self.lattice.n_species_max)
        return energy, gradient.reshape(shape) * np.asarray(self.lattice.allowed)

    def mixed_energy(self, lam, forces=False, stress=False, mixing="sites"):
        energy, gradient = self.mixed_energies(np.asarray(lam)[None])
        return _Mixed(float(energy[0]), gradient[0])


class _Mixed(NamedTuple):
    energy: float
    gradient: np.ndarray
    forces: np.ndarray | None = None
    stress: None = None


class Case(NamedTuple):
    """A path, a kernel for what moves, a start, and the exact difference of free energies in eV."""

    path: AlchemicalPath | MixturePath
    kernel: RandomSwap
    temperature: float
    start: np.ndarray
    exact: float
    states: np.ndarray


def switching_of(case, kind=Switching, **options):
    defaults = {"n_steps": 5, "equilibration": 60, "warmup": 0}
    return kind(case.path, case.temperature, kernel=case.kernel, **(defaults | options))


LATTICES = {
    "composition": (
        [(("Sc", "Ta"), 6)], {"one": [0]}, {"one": "Sc"}, {"one": "Ta"}, [(0, 1, 1, 0, 1)]
    ),
    "three species": (
        [(("Sr", "La", "X"), 6)], {"two": [1, 4]}, "Sr", "X", [(0, 1, 2, 1)]
    ),
    "two sublattices": (
        [(("Sr", "La"), 4), (("Al", "Sc", "Ta"), 4)],
        {"a": [0], "b": [5]}, {"a": "Sr", "b": "Ta"}, {"a": "La", "b": "Al"},
        [(0, 0, 1), (0, 1, 2)],
    ),
}  # fmt: skip


def free_energy(energies, temperature, log_weights=0.0):
    """−k_BT ln Σ w exp(−βE)."""
    kT = units.kB * temperature
    exponent = log_weights - energies / kT
    return -kT * (exponent.max() + np.log(np.exp(exponent - exponent.max()).sum()))


@cache
def lattice_case(name, mixing="sites", cubic=0.2, temperature=2000.0):
    """Species change on some sites while swaps move those of the others."""
    groups, members, initial, final, held = LATTICES[name]
    lattice = chain_lattice(*groups)
    model = DenseHamiltonian(lattice, seed=1, cubic=cubic)
    path = AlchemicalPath(model, Groups.of(lattice, members), initial, final, mixing)
    states = path.extended(arrangements(*held))
    ends = [
        free_energy(model.energy(path.groups.occupations(s, states)), temperature)
        for s in path._states
    ]
    kernel = RandomSwap(path.model(0.0), Canonical(path.movable, temperature))
    return Case(path, kernel, temperature, states[0], ends[1] - ends[0], states)


class Scaled:
    """A share of another model's energies."""

    def __init__(self, model, share):
        self.lattice, self.model, self.share = model.lattice, model, share

    def energy(self, occupations):
        return self.share * self.model.energy(occupations)


@cache
def deepening_case(depth):
    """From equally likely arrangements to a landscape whose β E spreads by ``depth`` over them.

    Fluctuations of ∂U/∂s fall along the path, as the system finds the low states.
    """
    lattice = chain_lattice((("Sc", "Ta"), 8))
    model = DenseHamiltonian(lattice, seed=1)
    states = arrangements((0, 0, 0, 0, 1, 1, 1, 1))
    energies = model.energy(states)
    temperature = float(energies.std() / (units.kB * depth))
    path = MixturePath(Scaled(model, 0.0), model)
    exact = free_energy(energies, temperature) - free_energy(0.0 * energies, temperature)
    kernel = RandomSwap(path.model(0.0), Canonical(lattice, temperature))
    return Case(path, kernel, temperature, states[0], exact, states)


@cache
def flipping_case(temperature=2000.0):
    """Two Hamiltonians in turn while the composition fluctuates: the semi-grand potential."""
    from alchemc import RandomFlip

    lattice = chain_lattice((("Ti", "Zr"), 6))
    path = MixturePath(DenseHamiltonian(lattice, 1), DenseHamiltonian(lattice, 2, cubic=0.3))
    ensemble = SemiGrandCanonical(lattice, temperature, {"s0": {"Zr": 0.1}})
    states = lattice.enumerate()
    zero = ensemble.log_density(np.zeros(len(states)), states)
    ends = [free_energy(m.energy(states), temperature, zero) for m in (path.initial, path.final)]
    kernel = RandomFlip(path.model(0.0), ensemble)
    return Case(path, kernel, temperature, states[3], ends[1] - ends[0], states)


def mean_works(case, protocols, kernel_steps=1):
    """Mean works in eV of protocols [n + 1] each, by the master equation of random swaps."""
    kT, path = units.kB * case.temperature, case.path
    unlike = (case.states[:, None] != case.states).sum(axis=2)

    def energies(s):
        return path.energy(s, unmoved(case.states))

    def moves(s):
        u = energies(s)
        rates = np.where(unlike == 2, np.minimum(1.0, np.exp((u[:, None] - u) / kT)), 0.0)
        rates /= (unlike == 2).sum(axis=1)[0]  # unlike pairs, as many in every state
        np.fill_diagonal(rates, 1.0 - rates.sum(axis=1))
        return np.linalg.matrix_power(rates, kernel_steps)

    found = []
    for protocol in protocols:
        u = energies(protocol[0])
        p = np.exp(-(u - u.min()) / kT)
        p, work = p / p.sum(), 0.0
        for here, there in pairwise(protocol):
            work += float(p @ (energies(there) - energies(here)))
            p = p @ moves(there)
        found.append(work)
    return np.array(found)


SOFT = Springs(
    tether=np.array([1.0, 0.8, 1.5, 0.0]),
    offset=np.array([0.05, 0.0, 0.1, 0.0]),
    bond=np.array([[0.5, 1, 1, 0], [1, 0.5, 2, 0], [1, 2, 2, 0], [0, 0, 0, 0]]),
    misfit=NONE,
    pair=NONE,
)


def stiffening(held):
    """Path from soft springs to stiff ones, and its exact ΔF in eV, the centre held or not."""
    models = ToyCrystal(LATTICE, SOFT), ToyCrystal(LATTICE, STIFF)
    frame = np.ones(len(LATTICE.atoms), dtype=bool) if held else None
    log_z = [model.gaussian(OCCUPATION[0], TEMPERATURE, frame)[0] for model in models]
    return MixturePath(*models), -units.kB * TEMPERATURE * (log_z[1] - log_z[0])


class MixingCrystal(ToyCrystal):
    """The crystal on springs with forces between species."""

    def mixed_energy(self, lam, forces=False, stress=False, mixing="sites"):
        found = self._mixed(lam)
        pushes = self._pushes(lam) if forces else None
        return _Mixed(found.energy, found.gradient, pushes)

    def _pushes(self, lam):
        s, lattice, kinds = self.springs, self.lattice, len(self.symbols) + 1
        weights = np.eye(kinds)[self._kinds]
        weights[lattice.sites] = 0.0
        for k in range(lattice.n_species_max):
            np.add.at(weights, (lattice.sites, self._kind_of[:, k]), lam[:, k])
        u = self.positions - self._fractional @ self.cell
        pushes = -(weights @ s.tether)[:, None] * u + (weights @ (s.tether * s.offset))[:, None]
        i, j = self.bonds.T
        both = weights[i, :, None] * weights[j, None, :] * s.bond
        pull = both.sum(axis=(1, 2))[:, None] * (u[j] - u[i])
        pull -= (both * s.misfit).sum(axis=(1, 2))[:, None] * self.direction
        np.add.at(pushes, i, pull)
        np.add.at(pushes, j, -pull)
        return pushes


def oscillators(ratio):
    """Path that makes every spring of 6 atoms ``ratio`` times as stiff, and ΔF, the centre held."""

    def springs(stiffness):
        return Springs(np.full(4, stiffness), np.zeros(4), NONE, NONE, NONE)

    soft, stiff = (ToyCrystal(LATTICE, springs(2.0 * r)) for r in (1.0, ratio))
    return MixturePath(soft, stiff), 7.5 * units.kB * TEMPERATURE * np.log(ratio)
