"""What tuning makes of the pair correction: right where the energy is quadratic, and kept."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from alchemc import Canonical, PairHamiltonian, SemiGrandCanonical, builders, sampler
from alchemc.sampler import GibbsWithGradients, PathAuxiliary, warm_up
from toys import shuffled

balancings = pytest.mark.parametrize("balancing", ["sqrt", "barker"])


def perovskite(species, size):
    return builders.perovskite("Sr", species, "O", a=4.0, size=size)


class Curved:
    """Pairs whose gradient also holds Σ κ_k λ_ik(1 − λ_ik), which is zero at every vertex."""

    def __init__(self, pairs, kappa):
        self.pairs, self.lattice = pairs, pairs.lattice
        self.kappa = np.where(self.lattice.allowed, kappa, 0.0)

    def energy(self, occupations):
        return self.pairs.energy(occupations)

    def energy_change(self, occupations, sites, species):
        return self.pairs.energy_change(occupations, sites, species)

    def energy_and_gradient(self, occupations):
        energy, gradient = self.pairs.energy_and_gradient(occupations)
        return energy, gradient + self.kappa * (1.0 - 2.0 * self.lattice.weights(occupations))


KAPPA = -np.array([0.3, 0.1, 0.5])
SHELL_ENERGIES = 0.15 * np.array(
    [
        [[1.0, -0.5, 0.2], [-0.5, -1.0, 0.7], [0.2, 0.7, 0.4]],
        [[-0.3, 0.1, 0.2], [0.1, 0.4, -0.1], [0.2, -0.1, 0.1]],
    ]
)


@cache
def curved():
    lattice = perovskite(("Al", "Sc", "Ta"), (4, 4, 4))
    return Curved(PairHamiltonian(lattice, list(SHELL_ENERGIES), threads=1), KAPPA)


def tuned(kernel, n=300, n_replicas=4):
    lattice = kernel.hamiltonian.lattice
    counts = np.arange(lattice.n_sites) % lattice.n_species_max
    rngs = sampler.spawn_generators(7, n_replicas)
    state = kernel.init(shuffled(lattice, counts, n_replicas, seed=1), rngs)
    return (*warm_up(kernel, state, rngs, n), rngs)


def followed(kernel, state, rngs, n=100):
    """Estimated and exact changes of n further steps, and their mean acceptance probability."""
    infos = []
    for _ in range(n):
        state, info = kernel.step(state, rngs)
        infos.append(info)
    estimated, exact, alpha = (
        np.concatenate([getattr(info, name) for info in infos])
        for name in ("estimated_change", "log_density_change", "acceptance_probability")
    )
    return estimated, exact, alpha.mean()


@balancings
def test_tuning_finds_the_constants_and_pair_terms_of_a_pair_model(balancing):
    hamiltonian = curved()
    ensemble = Canonical(hamiltonian.lattice, 1500.0)
    kernel, state, report, rngs = tuned(GibbsWithGradients(hamiltonian, ensemble, balancing))
    found = np.array(kernel.to_arrays()["correction"])
    pairs = [(0, 1), (0, 2), (1, 2)]
    constants = [-2.0 * (KAPPA[a] + KAPPA[b]) for a, b in pairs]
    near = [[2 * v[a, b] - v[a, a] - v[b, b] for v in SHELL_ENERGIES] + [0.0] for a, b in pairs]
    np.testing.assert_allclose(found[:3], constants, atol=2e-4)
    np.testing.assert_allclose(found[3:].reshape(3, 3), near, atol=2e-4)
    named = report.parameters["correction"]
    assert list(named) == ["B Al–Sc", "B Al–Ta", "B Sc–Ta"]
    assert named["B Sc–Ta"] == [found[2], *found[9:]]
    estimated, exact, acceptance = followed(kernel, state, rngs)
    np.testing.assert_allclose(estimated, exact, atol=5e-4 * ensemble.beta)
    assert np.corrcoef(estimated, exact)[0, 1] > 0.99999
    plain = GibbsWithGradients(hamiltonian, ensemble, balancing, shells=None)
    estimated, exact, uncorrected = followed(plain, state, rngs)
    assert np.corrcoef(estimated, exact)[0, 1] < 0.9
    assert acceptance > max(0.88, uncorrected + 0.02)


def test_tuning_finds_the_constants_of_flips_between_two_species():
    lattice = perovskite(("Sc", "Ta"), (3, 3, 3))
    pairs = PairHamiltonian(lattice, [SHELL_ENERGIES[0][:2, :2]], threads=1)
    hamiltonian = Curved(pairs, KAPPA[:2])
    ensemble = SemiGrandCanonical(lattice, 2000.0, {"B": {"Ta": 0.1}})
    kernel, state, _, rngs = tuned(GibbsWithGradients(hamiltonian, ensemble))
    expected = np.full(2, -KAPPA[:2].sum())
    np.testing.assert_allclose(kernel.to_arrays()["correction"], expected, atol=1e-4)
    assert list(kernel.summary()["correction"]) == ["B Sc→Ta", "B Ta→Sc"]
    estimated, exact, _ = followed(kernel, state, rngs)
    np.testing.assert_allclose(estimated, exact, atol=1e-3)
    assert np.ptp(exact) > 1.0


def test_tuning_finds_the_constants_of_flips_among_three_species():
    hamiltonian = curved()
    ensemble = SemiGrandCanonical(hamiltonian.lattice, 3000.0, {})
    kernel, state, _, rngs = tuned(GibbsWithGradients(hamiltonian, ensemble))
    constants = [-(KAPPA[a] + KAPPA[b]) for a, b in [(0, 1), (0, 2), (1, 2)]]
    np.testing.assert_allclose(kernel.to_arrays()["correction"], constants * 2, atol=3e-4)
    estimated, exact, _ = followed(kernel, state, rngs)
    np.testing.assert_allclose(estimated, exact, atol=3e-3)


class Twofold:
    """exp(−2βE) at fixed composition, by an ensemble without a temperature."""

    def __init__(self, canonical):
        self.canonical, self.lattice = canonical, canonical.lattice

    def log_density(self, energy, occupations, volume=None):
        return self.canonical.log_density(2.0 * energy, occupations)

    def log_density_gradient(self, gradient, occupations):
        return self.canonical.log_density_gradient(2.0 * gradient, occupations)


def test_the_correction_follows_the_ensemble_and_its_temperature():
    hamiltonian = curved()
    hot = Canonical(hamiltonian.lattice, 3000.0)
    kernel, state, _, rngs = tuned(GibbsWithGradients(hamiltonian, hot))
    for ensemble in (hot.with_temperature(1500.0), Twofold(hot)):
        moved = kernel.rebind(ensemble=ensemble)
        assert moved.to_arrays() == kernel.to_arrays()
        estimated, exact, _ = followed(moved, state, rngs, 30)
        np.testing.assert_allclose(estimated, exact, atol=1e-2)
        assert np.abs(exact).max() > 1.0


def test_later_tuning_refines_what_earlier_tuning_found():
    hamiltonian = curved()
    kernel = GibbsWithGradients(hamiltonian, Canonical(hamiltonian.lattice, 3000.0))
    few, state, _, rngs = tuned(kernel, n=1)
    parameters = np.array(few.to_arrays()["correction"])
    assert few.to_arrays()["moves"] == 4
    assert 1.0 < np.abs(parameters).max() < 2.0
    seen = np.array(few.to_arrays()["moments"]).any(axis=0)
    assert not parameters[~seen].any()
    more, *_ = warm_up(few, state, rngs, 50)
    assert more.to_arrays()["moves"] == 4 + 200


def test_a_correction_is_left_out_where_it_is_not_wanted():
    hamiltonian = curved()
    ensemble = Canonical(hamiltonian.lattice, 3000.0)
    kernel, *_ = tuned(GibbsWithGradients(hamiltonian, ensemble, shells=None), n=25)
    assert kernel.to_arrays() == kernel.summary() == {}
    assert kernel.with_arrays({}) is kernel
    paths = PathAuxiliary(hamiltonian, ensemble)
    assert "correction" not in paths.to_arrays()
