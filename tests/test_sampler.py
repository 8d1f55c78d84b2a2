"""Every public kernel obeys one protocol; streams, blocks, warm-up and whole runs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alchemc import Canonical, sampler
from alchemc.errors import InputError, ModelError
from alchemc.protocols import Hamiltonian, Kernel
from alchemc.sampler import (
    DiscreteLangevin,
    GibbsWithGradients,
    Mixture,
    PathAuxiliary,
    RandomFlip,
    RandomSwap,
    SurrogateChain,
    TableExchange,
)
from toys import RandomHamiltonian, chain_lattice, shuffled

N_REPLICAS = 5


def barker(hamiltonian, ensemble):
    return GibbsWithGradients(hamiltonian, ensemble, balancing="barker")


def mixture(hamiltonian, ensemble):
    return Mixture(
        [
            (RandomSwap(hamiltonian, ensemble), 1),
            (GibbsWithGradients(hamiltonian, ensemble), 2),
            (barker(hamiltonian, ensemble), 1),
        ]
    )


BUILDERS = {
    "RandomSwap": RandomSwap,
    "GibbsWithGradients": GibbsWithGradients,
    "GibbsWithGradients, Barker": barker,
    "Mixture": mixture,
    "PathAuxiliary": PathAuxiliary,
    "DiscreteLangevin": DiscreteLangevin,
}
every_kernel = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


@pytest.fixture
def lattice():
    return chain_lattice((("Al", "Sc", "Ta"), 7), (("Sr", "La"), 4))


@pytest.fixture
def hamiltonian(lattice):
    return RandomHamiltonian(lattice, seed=1, cubic=0.1)


@pytest.fixture
def ensemble(lattice):
    return Canonical(lattice, 2500.0)


@pytest.fixture
def starts(lattice):
    return shuffled(lattice, [0, 0, 1, 1, 1, 2, 2, 0, 0, 1, 1], N_REPLICAS, seed=1)


def advance(kernel, starts, n_steps, seed=3, first=0):
    """States and infos of ``n_steps`` steps, without the start."""
    rngs = sampler.spawn_generators(seed, len(starts), first)
    state = kernel.init(starts, rngs)
    history = []
    for _ in range(n_steps):
        state, info = kernel.step(state, rngs)
        history.append((state, info))
    return history


def test_the_public_kernels_are_the_ones_tested_here():
    # RandomFlip and TableExchange need a composition that fluctuates, SurrogateChain a surrogate:
    # they have files of their own, and test_every_kernel.py.
    others = {RandomFlip, TableExchange, SurrogateChain}
    assert set(sampler.KERNELS.values()) - others == {
        RandomSwap,
        GibbsWithGradients,
        PathAuxiliary,
        DiscreteLangevin,
        Mixture,
    }


@every_kernel
def test_a_kernel_obeys_the_protocol(build, hamiltonian, ensemble, starts):
    assert isinstance(hamiltonian, Hamiltonian)
    kernel = build(hamiltonian, ensemble)
    assert isinstance(kernel, Kernel)
    n_sites, n_species = hamiltonian.lattice.n_sites, hamiltonian.lattice.n_species_max
    rngs = sampler.spawn_generators(3, N_REPLICAS)
    start = kernel.init(starts, rngs)
    for state, info in [(start, None), *advance(kernel, starts, 20)]:
        assert state.occupations.shape == (N_REPLICAS, n_sites)
        assert state.occupations.dtype == np.int8
        assert state.energy.shape == (N_REPLICAS,)
        assert state.energy.dtype == np.float64
        assert state.gradient.shape == (N_REPLICAS, n_sites, n_species)
        np.testing.assert_array_equal(state.energy, hamiltonian.energy(state.occupations))
        known = ~np.isnan(state.gradient).any(axis=(1, 2))
        _, gradient = hamiltonian.energy_and_gradient(state.occupations)
        np.testing.assert_array_equal(state.gradient[known], gradient[known])
        if info is not None:
            assert all(len(field) == N_REPLICAS for field in info)
            assert info.accepted.dtype == bool
            assert ((info.acceptance_probability >= 0) & (info.acceptance_probability <= 1)).all()
            assert info.sites.shape == info.species.shape
            assert info.sites.dtype == np.int64
            width = {PathAuxiliary: 6, DiscreteLangevin: 10}.get(type(kernel), 2)
            assert info.sites.shape[1] == width
            moving = info.sites[:, 0] >= 0  # many moves at once may come to none
            assert moving.all() or isinstance(kernel, PathAuxiliary | DiscreteLangevin)
            assert np.isfinite(info.log_density_change[moving]).all()
            assert (info.energy_calls + info.gradient_calls >= 1)[moving].all()


@every_kernel
def test_a_step_leaves_its_state_and_the_starts_as_they_were(build, hamiltonian, ensemble, starts):
    kernel = build(hamiltonian, ensemble)
    original = starts.copy()
    rngs = sampler.spawn_generators(3, N_REPLICAS)
    state = kernel.init(starts, rngs)
    before = [field.copy() for field in state]
    for _ in range(5):
        kernel.step(state, rngs)
    for field, kept in zip(state, before, strict=True):
        np.testing.assert_array_equal(field, kept)
    np.testing.assert_array_equal(starts, original)


@every_kernel
def test_a_kernel_cannot_be_changed(build, hamiltonian, ensemble):
    kernel = build(hamiltonian, ensemble)
    with pytest.raises(AttributeError):
        kernel.hamiltonian = None


@every_kernel
def test_a_chain_does_not_depend_on_which_others_run_beside_it(
    build, hamiltonian, ensemble, starts
):
    kernel = build(hamiltonian, ensemble)
    together = advance(kernel, starts, 60)
    for chains in (slice(0, 1), slice(2, 3), slice(1, 4)):
        apart = advance(kernel, starts[chains], 60, first=chains.start)
        for (state, info), (state_apart, info_apart) in zip(together, apart, strict=True):
            for field, field_apart in zip(
                (*state, *info), (*state_apart, *info_apart), strict=True
            ):
                np.testing.assert_array_equal(field[chains], field_apart)


@every_kernel
def test_equal_seeds_give_equal_chains_and_other_seeds_others(build, hamiltonian, ensemble, starts):
    kernel = build(hamiltonian, ensemble)
    first, again, other = (advance(kernel, starts, 30, seed=s)[-1][0] for s in (3, 3, 4))
    np.testing.assert_array_equal(first.occupations, again.occupations)
    np.testing.assert_array_equal(first.energy, again.energy)
    assert (first.occupations != other.occupations).any()


@every_kernel
def test_the_reported_move_is_the_one_made(build, hamiltonian, ensemble, starts):
    kernel = build(hamiltonian, ensemble)
    before = starts
    for state, info in advance(kernel, starts, 30):
        proposed = before.copy()
        replica, column = np.nonzero(info.sites >= 0)
        proposed[replica, info.sites[replica, column]] = info.species[replica, column]
        expected = np.where(info.accepted[:, None], proposed, before)
        np.testing.assert_array_equal(state.occupations, expected)
        exact = -ensemble.beta * (hamiltonian.energy(proposed) - hamiltonian.energy(before))
        exact[info.sites[:, 0] < 0] = np.nan
        np.testing.assert_allclose(info.log_density_change, exact, atol=1e-9)
        before = state.occupations


@every_kernel
def test_refreshing_binds_the_kernel_to_the_moved_model(build, hamiltonian, ensemble, starts):
    kernel = build(hamiltonian, ensemble)
    state = kernel.init(starts, sampler.spawn_generators(3, N_REPLICAS))
    moved = RandomHamiltonian(hamiltonian.lattice, seed=2)
    bound, refreshed = kernel.refresh(state, moved)
    assert bound.hamiltonian is moved
    assert kernel.hamiltonian is hamiltonian
    np.testing.assert_array_equal(refreshed.occupations, state.occupations)
    np.testing.assert_array_equal(refreshed.energy, moved.energy(state.occupations))


@every_kernel
def test_rebinding_changes_the_ensemble_and_keeps_the_rest(build, hamiltonian, ensemble, starts):
    kernel = build(hamiltonian, ensemble)
    cooler = kernel.rebind(ensemble=ensemble.with_temperature(500.0))
    assert cooler.ensemble.temperature == 500.0
    assert cooler.hamiltonian is hamiltonian
    assert type(cooler) is type(kernel)
    direct = build(hamiltonian, ensemble.with_temperature(500.0))
    a, b = (advance(k, starts, 20)[-1][0] for k in (cooler, direct))
    np.testing.assert_array_equal(a.occupations, b.occupations)


@every_kernel
def test_a_kernel_goes_to_and_from_plain_arrays(build, hamiltonian, ensemble, starts):
    kernel = build(hamiltonian, ensemble)
    stored = json.loads(json.dumps(kernel.to_arrays()))
    a, b = (advance(k, starts, 20)[-1][0] for k in (kernel, kernel.with_arrays(stored)))
    np.testing.assert_array_equal(a.occupations, b.occupations)


@every_kernel
@pytest.mark.parametrize(
    "case",
    [
        (lambda s: s[0], r"\[n_replicas, n_sites\]"),
        (lambda s: s[:, :-1], "sites|shape"),
        (lambda s: s + 3, "species"),
        (lambda s: s[:2], "generators for 2"),
        (np.zeros_like, "one species per sublattice"),
    ],
)
def test_unusable_starts_are_refused_in_one_line(build, hamiltonian, ensemble, starts, case):
    spoil, message = case
    kernel = build(hamiltonian, ensemble)
    with pytest.raises(InputError, match=message) as error:
        kernel.init(spoil(starts), sampler.spawn_generators(1, N_REPLICAS))
    assert "\n" not in str(error.value)


@every_kernel
def test_an_energy_that_is_not_finite_stops_the_chain(build, hamiltonian, ensemble, starts):
    class Broken(RandomHamiltonian):
        def energy_and_gradient(self, occupations):
            energy, gradient = super().energy_and_gradient(occupations)
            return np.full_like(energy, np.nan), gradient

    kernel = build(Broken(hamiltonian.lattice, seed=1), ensemble)
    with pytest.raises(ModelError, match="nan"):
        kernel.init(starts, sampler.spawn_generators(1, N_REPLICAS))


@every_kernel
def test_an_ensemble_of_another_lattice_is_refused(build, hamiltonian, starts):
    other = Canonical(chain_lattice((("Sc", "Ta"), 4)), 300.0)
    with pytest.raises(InputError, match="lattice"):
        build(hamiltonian, other).init(starts, sampler.spawn_generators(1, N_REPLICAS))


class Counting(RandomHamiltonian):
    """Counts evaluated replicas."""

    def __init__(self, lattice):
        super().__init__(lattice, seed=1)
        self.energies = self.gradients = 0

    def energy(self, occupations):
        self.energies += len(occupations)
        return RandomHamiltonian.energy_and_gradient(self, occupations)[0]

    def energy_and_gradient(self, occupations):
        self.gradients += len(occupations)
        return super().energy_and_gradient(occupations)


@every_kernel
def test_every_evaluation_is_counted(build, lattice, ensemble, starts):
    hamiltonian = Counting(lattice)
    kernel = build(hamiltonian, ensemble)
    rngs = sampler.spawn_generators(3, N_REPLICAS)
    state = kernel.init(starts, rngs)
    hamiltonian.energies = hamiltonian.gradients = 0
    _, block = sampler.draw_block(kernel, state, rngs, 20, thin=3)
    assert block["energy_calls"].sum() == hamiltonian.energies
    assert block["gradient_calls"].sum() == hamiltonian.gradients


def test_informed_swaps_take_one_gradient_per_step_and_no_energy(lattice, ensemble, starts):
    hamiltonian = Counting(lattice)
    kernel = GibbsWithGradients(hamiltonian, ensemble)
    for _, info in advance(kernel, starts, 20):
        assert (info.gradient_calls == 1).all()
    assert hamiltonian.gradients == 21 * N_REPLICAS
    assert hamiltonian.energies == 0


def test_the_estimate_is_exact_where_the_energy_is_linear(lattice, ensemble, starts):
    hamiltonian = RandomHamiltonian(lattice, seed=1)
    hamiltonian.pair[:] = 0.0
    for _, info in advance(GibbsWithGradients(hamiltonian, ensemble), starts, 10):
        np.testing.assert_allclose(info.estimated_change, info.log_density_change, atol=1e-9)


def test_a_mixture_picks_its_kernels_as_often_as_their_weights_say(hamiltonian, ensemble, starts):
    """1,500 picks with p = 0.75, a bound of 5 standard errors: a false alarm in 10⁶ seeds."""
    kernel = Mixture(
        [(RandomSwap(hamiltonian, ensemble), 1), (GibbsWithGradients(hamiltonian, ensemble), 3)]
    )
    informed = [np.isfinite(info.estimated_change) for _, info in advance(kernel, starts, 300)]
    assert np.mean(informed) == pytest.approx(0.75, abs=5 * np.sqrt(0.75 * 0.25 / 1_500))


def test_mixtures_that_cannot_be_are_refused(hamiltonian, ensemble):
    plain = RandomSwap(hamiltonian, ensemble)
    with pytest.raises(InputError, match="no kernels"):
        Mixture([])
    for weight in (0, -1.0, float("nan"), "2"):
        with pytest.raises(InputError, match="weight"):
            Mixture([(plain, weight)])
    with pytest.raises(InputError, match="another energy model or ensemble"):
        Mixture([(plain, 1), (plain.rebind(ensemble=ensemble.with_temperature(3.0)), 1)])


def test_an_unknown_balancing_is_refused(hamiltonian, ensemble):
    with pytest.raises(InputError, match="'exp'"):
        GibbsWithGradients(hamiltonian, ensemble, balancing="exp")
