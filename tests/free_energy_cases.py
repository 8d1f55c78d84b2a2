"""Runs drawn from their exact distributions, and the free energies that they must give."""

from __future__ import annotations

from functools import cache

import numpy as np
from ase.units import kB
from scipy.special import gammaln, logsumexp

from alchemc.analysis.stability.observations import Observations, SampledPoint
from alchemc.records import Run, point_dataset
from analysis_cases import sticky_chains
from toys import RandomHamiltonian, bundled_table, chain_lattice


@cache
def toy_cell(name: str):
    """Lattice, all states and their energies (eV) of an enumerated cell."""
    if name == "bundled":
        table = bundled_table(0.0)
        return table.lattice, np.asarray(table.states), np.asarray(table.energies)
    groups = {
        "binary": [(("Ti", "Zr"), 8)],
        "ternary": [(("Ti", "Zr", "Sn"), 6)],
        "two sublattices": [(("Sr", "Ba"), 3), (("Ti", "Zr"), 4)],
    }[name]
    model = RandomHamiltonian(chain_lattice(*groups), seed=5, cubic=0.05)
    states = model.lattice.enumerate()
    return model.lattice, states, model.energy(states)


def drawn_run(lattice, states, energies, ensembles, *, n_draws=300, stay=0.5, seed=1):
    """A run whose chains are stationary in the ensembles' own densities."""
    rng, points = np.random.default_rng(seed), []
    for ensemble in ensembles:
        log = ensemble.log_density(energies, states)
        p = np.exp(log - logsumexp(log))
        chosen = sticky_chains(p, n_draws, 4, stay, rng)
        arrays = {"occupation": states[chosen], "energy": energies[chosen]}
        points.append(point_dataset(arrays, ensemble.coordinates()))
    return Run(tuple(points), lattice)


def exact_free_energies(free, lattice, states, energies):
    """F in eV per site for the temperatures and compositions of ``free``, by enumeration."""
    kept = np.concatenate([
        row * lattice.n_species_max + np.arange(len(s.species))
        for row, s in enumerate(lattice.sublattices.values())
    ])  # fmt: skip
    counts = lattice.counts(states).reshape(len(states), -1)[:, kept]
    found = np.empty(free.free_energy.shape)
    for c, wanted in enumerate(free.compositions):
        mine = energies[(counts == wanted).all(axis=1)]
        for t, beta in enumerate(free.beta):
            found[t, c] = -logsumexp(-beta * mine) / beta / lattice.n_sites
    return found


def regular_solution(n_sites, omega, temperatures, points, *, n_draws=200, seed=1, quartic=0.0):
    """Draws of E = ω N x(1 − x) [1 + q (1 − 2x)²], whatever the arrangement, in any ensemble.

    ``points`` are coordinates besides the temperature.
    """
    k, rng, found = np.arange(n_sites + 1), np.random.default_rng(seed), []
    x = k / n_sites
    energy = omega * n_sites * x * (1 - x) * (1 + quartic * (1 - 2 * x) ** 2)
    ways = gammaln(n_sites + 1.0) - gammaln(k + 1.0) - gammaln(n_sites - k + 1.0)
    for t in temperatures:
        for scalars in points:
            log = ways - energy / (kB * t) + scalars.get("mu_B_Ta", 0.0) * k / (kB * t)
            if "phi_B_Ta" in scalars:
                log = log - scalars["kappa"] * n_sites * (x + scalars["phi_B_Ta"] / 2) ** 2
            p = np.exp(log - logsumexp(log))
            drawn = rng.choice(n_sites + 1, size=(n_draws, 4), p=p)
            counts = np.stack([n_sites - drawn, drawn], axis=-1)
            found.append(SampledPoint({"temperature": t, **scalars}, energy[drawn], counts))
    return Observations((("B", "Sc"), ("B", "Ta")), {"B": n_sites}, tuple(found))
