"""Enumerated systems whose composition fluctuates under a constraint, and their laws by hand.

Energies are those of random toys or of the bundled potential; temperatures are chosen so that each
law spreads over a third of the states.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from functools import cache
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from scipy.optimize import brentq

from alchemc import ChargeNeutral, Lattice, SemiGrandCanonical, Sublattice, VarianceConstrained
from alchemc.potentials import PairExpansion, taylor_expansion
from alchemc.protocols import Ensemble
from toys import (
    RandomHamiltonian,
    TabulatedHamiltonian,
    bundled_table,
    chain_lattice,
    quadratic_part,
    scaled,
    toy,
)

LAWS = ("variance-constrained", "charge-neutral", "fixed–free")
NAMES = ("bundled MACE", "vacancies", "two sublattices", "not quadratic")


class Constrained(NamedTuple):
    """All states with weight, the ensemble, and the toy's model (None for the potential)."""

    table: TabulatedHamiltonian
    ensemble: Ensemble
    model: RandomHamiltonian | None


# Sites by sublattice with charges, how far from quadratic, and the fixed sublattice's species.
FIXED_FREE = {
    "vacancies": ([(("Ti", "Zr"), 3, (4, 4)), (("Sr", "Ba", "X"), 4, (2, 2, 0))], 0.1, [0, 0, 1]),
    "two sublattices": (
        [(("Sr", "La"), 4, (2, 3)), (("Ti", "Al", "Mg"), 3, (4, 3, 2))], 0.1, [0, 0, 1, 1],
    ),
    "not quadratic": ([(("Sr", "Ba"), 4, (2, 2)), (("Ti", "Zr"), 4, (4, 4))], 0.3, [0, 0, 0, 1]),
}  # fmt: skip
# The same, and the charge of the sites.
NEUTRAL = {
    "vacancies": ([(("Sr", "La", "X"), 6, (2, 3, 0))], 0.1, 12),
    "not quadratic": ([(("Al", "Ti", "Nb"), 5, (3, 4, 5))], 0.3, 20),
}


def a_and_b_with_oxygen() -> Lattice:
    """Five sites of K⁺ and Sr²⁺, four of Sc³⁺ and Nb⁵⁺, and thirteen O²⁻ around them."""
    symbols = ["K"] * 5 + ["Sc"] * 4 + ["O"] * 13
    positions = np.zeros((22, 3))
    positions[:, 0] = 3.0 * np.arange(22)
    atoms = Atoms(symbols, positions=positions, cell=[66.0, 9.0, 9.0], pbc=True)
    sublattices = {
        "A": Sublattice("K", ("K", "Sr"), (1, 2)),
        "B": Sublattice("Sc", ("Sc", "Nb"), (3, 5)),
    }
    return Lattice(atoms, sublattices, spectator_charges={"O": -2})


def halves(table: TabulatedHamiltonian, charges: tuple[int, int] | None = (3, 5)):
    """Return the table with the first and the last four sites for two sublattices."""
    (whole,) = table.lattice.sublattices.values()
    sites = table.lattice.sites
    parted = copy.copy(table)
    parted.lattice = Lattice(
        table.lattice.atoms,
        {
            name: Sublattice([int(i) for i in part], whole.species, charges)
            for name, part in (("near", sites[:4]), ("far", sites[4:]))
        },
    )
    return parted


def exact_law(ensemble: Ensemble, table: TabulatedHamiltonian) -> np.ndarray:
    """Probabilities of the table's states by the ensemble's own log density."""
    log = ensemble.log_density(table.energies, table.states)
    p = np.exp(log - log.max())
    return p / p.sum()


def spread(table: TabulatedHamiltonian, make) -> Ensemble:
    """``make(temperature)`` at the temperature where it spreads over a third of the states."""

    def excess(log_t):
        p = exact_law(make(float(np.exp(log_t))), table)
        return -(p * np.log(np.maximum(p, 1e-300))).sum() - np.log(len(p) / 3)

    return make(float(np.exp(brentq(excess, np.log(10.0), np.log(1e7), xtol=1e-6))))


def slope_of(table: TabulatedHamiltonian) -> float:
    """Mean energy in eV of one site more with the second species."""
    return float(np.polyfit(table.states.sum(axis=1), table.energies, 1)[0])


@cache
def constrained(law: str, name: str) -> Constrained:
    """One of the systems ``NAMES`` under one of ``LAWS``."""
    with warnings.catch_warnings(action="ignore"):  # charges fluctuate in some
        if law == "variance-constrained":
            return _variance_constrained(name)
        return _neutral(name) if law == "charge-neutral" else _fixed_free(name)


def _variance_constrained(name: str) -> Constrained:
    if name == "bundled MACE":
        table, kappa = bundled_table(0.06), 3.0
        beta_slope = slope_of(table) / units.kB / kappa  # φ takes the mean slope off
        make = lambda t: VarianceConstrained(  # noqa: E731
            table.lattice, t, {"Sc": -1.0 + beta_slope / t}, kappa
        )
        return Constrained(table, spread(table, make), None)
    model, table, _ = toy("semi-grand", name)
    lattice = table.lattice
    phi = {
        n: dict.fromkeys(s.species[:-1], -0.3 - 1.0 / len(s.species))
        for n, s in lattice.sublattices.items()
    }
    kappa = {n: 2.0 + s for s, n in enumerate(lattice.names)}
    if len(kappa) == 1:
        (kappa,) = kappa.values()
    make = lambda t: VarianceConstrained(lattice, t, phi, kappa)  # noqa: E731
    return Constrained(table, spread(table, make), model)


def _neutral(name: str) -> Constrained:
    if name == "bundled MACE":
        model, table = None, halves(bundled_table(0.06, 4))
        lattice, mu = table.lattice, {"near": {"Ta": 0.1}}
        make = lambda t: ChargeNeutral.like(lattice, t, mu, table.states[0])  # noqa: E731
        return Constrained(table, spread(table, make), model)
    if name == "two sublattices":
        lattice, cubic, charge = a_and_b_with_oxygen(), 0.1, None
    else:
        groups, cubic, charge = NEUTRAL[name]
        lattice = chain_lattice(*groups)
    model = RandomHamiltonian(lattice, seed=3, cubic=cubic)
    mu = {n: {s.species[1]: 0.1} for n, s in lattice.sublattices.items()}
    make = lambda t: ChargeNeutral(lattice, t, mu, charge)  # noqa: E731
    total = np.take_along_axis(
        np.asarray(lattice.charges)[None], lattice.enumerate()[:, :, None].astype(int), axis=2
    ).sum(axis=(1, 2))
    states = lattice.enumerate()[total == (26 if charge is None else charge)]
    table = TabulatedHamiltonian(model, states)
    return Constrained(table, spread(table, make), model)


def _fixed_free(name: str) -> Constrained:
    if name == "bundled MACE":
        model, table = None, halves(bundled_table(0.06), None)
        lattice, first = table.lattice, [0, 0, 1, 1]
        mu = {"far": {"Ta": slope_of(table)}}
    else:
        groups, cubic, first = FIXED_FREE[name]
        lattice = chain_lattice(*groups)
        model = RandomHamiltonian(lattice, seed=3, cubic=cubic)
        table = TabulatedHamiltonian(model, lattice.enumerate())
        mu = {"s1": {lattice.sublattices["s1"].species[-1]: 0.1}}
    kept, free = lattice.names
    counts = lattice.counts(table.states)[:, 0]
    wanted = np.bincount(first, minlength=lattice.n_species_max)
    table = table.among(table.states[(counts == wanted).all(axis=1)])
    make = lambda t: SemiGrandCanonical(lattice, t, mu, fixed=(kept,))  # noqa: E731
    if name == "not quadratic":
        phi = {free: {lattice.sublattices[free].species[0]: -0.8}}
        make = lambda t: VarianceConstrained(lattice, t, phi, 3.0, fixed=(kept,))  # noqa: E731
    return Constrained(table, spread(table, make), model)


@cache
def surrogate_for(law: str, name: str) -> PairExpansion:
    """Surrogate of a system with 0.6 of the size it needs."""
    system = constrained(law, name)
    if system.model is not None:
        return quadratic_part(system.model, 0.6)
    halfway = np.full((system.table.lattice.n_sites, 2), 0.5)
    return scaled(taylor_expansion(system.table, halfway), 0.6)


def law_by_hand(ensemble: Ensemble, table: TabulatedHamiltonian) -> np.ndarray:
    """Probabilities of the table's states from the formulas of the docstrings, species by species.

    Only what the ensemble was given is read: temperature, μ, φ, κ, charge and fixed sublattices.
    """
    lattice = table.lattice
    beta = 1.0 / (units.kB * ensemble.temperature)
    logs = []
    for state, energy in zip(table.states, table.energies, strict=True):
        log, charge, first = -beta * energy, 0.0, 0
        for name, sublattice in lattice.sublattices.items():
            held = [sublattice.species[k] for k in state[first : first + len(sublattice.sites)]]
            first += len(sublattice.sites)
            counts, n = Counter(held), len(held)
            if hasattr(ensemble, "charge"):
                q = dict(zip(sublattice.species, sublattice.charges, strict=True))
                charge += sum(q[symbol] for symbol in held)
            if name in ensemble.fixed:
                continue
            if hasattr(ensemble, "phi"):
                kappa = ensemble.kappa if np.isscalar(ensemble.kappa) else ensemble.kappa[name]
                for symbol in sublattice.species[:-1]:
                    fraction = counts[symbol] / n
                    log -= kappa * n * (fraction + ensemble.phi[name][symbol] / 2) ** 2
            else:
                mu = ensemble.chemical_potentials[name]
                log += beta * sum(mu[symbol] for symbol in held)
        if hasattr(ensemble, "charge") and abs(charge - ensemble.charge) > 1e-6:
            log = -np.inf
        logs.append(log)
    p = np.exp(np.array(logs) - max(logs))
    return p / p.sum()
