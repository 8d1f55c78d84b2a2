"""Wang–Landau sampling against exact numbers of states.

Errors are the scatter of R repeats, so a z-score follows Student's t with R − 1 degrees of freedom
and is refused where its two-sided p-value is below 1e-6: the largest of a few hundred z-scores
gives a false alarm once in 10⁴ runs of changed seeds. Bounds on ln g are those that the method has
to meet; broken walks must exceed them. Seeds are fixed.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase.units import kB
from scipy.stats import chisquare
from scipy.stats import t as student

from alchemc import PairHamiltonian, WangLandau, builders
from alchemc.ensembles import _energy_grid, _windows, wang_landau
from alchemc.errors import ConvergenceError, InputError
from alchemc.potentials import PairExpansion, compiled_density
from exact_ising import ising_counts, ising_ln_g
from toys import RandomHamiltonian, chain_lattice, square_lattice

EXAMPLE = Path(__file__).parents[1] / "examples" / "wang_landau.py"
ISING = -np.array([[1.0, -1.0], [-1.0, 1.0]])  # J = 1 eV
CRITICAL = 2.269185
SMALLEST_P = 1e-6


def ising(side, threads=1):
    return PairHamiltonian(square_lattice(side), [ISING], threads=threads)


@cache
def sampled_ising(side, seed, final, n_repeats, n_windows=1):
    sampler = WangLandau(ising(side), "flip", final=final, n_windows=n_windows)
    return sampler.run(seed, n_repeats=n_repeats)


def deviations(dos, energies, exact):
    """Largest |ln g − exact| of the mean of the repeats, and of every repeat."""
    np.testing.assert_allclose(dos.energies, energies, atol=1e-6)
    return np.abs(dos.ln_g - exact).max(), np.abs(dos.repeats - exact).max(axis=1)


def two_sided(z, n_repeats):
    return 2 * student.sf(np.abs(z), n_repeats - 1)


def averages_of(energies, ln_g, kelvin, n_sites):
    """Exact averages by name, each [n_temperatures]."""
    beta = 1 / (kB * np.atleast_1d(kelvin))
    log = ln_g - beta[:, None] * energies
    ln_z = np.logaddexp.reduce(log, axis=1)
    p = np.exp(log - ln_z[:, None])
    mean = p @ energies
    variance = (p * (energies - mean[:, None]) ** 2).sum(axis=1)
    return {
        "energy": mean,
        "heat_capacity": beta**2 * variance / n_sites,
        "entropy": (ln_z + beta * mean) / n_sites,
        "free_energy": -ln_z / beta,
    }


def check_averages(dos, exact, kelvin, record_property):
    found = dos.averages(kelvin)
    for name, values in exact.items():
        z = (found[name].values - values) / found[f"{name}_error"].values
        record_property("z", {name: z.round(2).tolist()})
        print(name, "z:", z.round(2).tolist())
        assert two_sided(z, len(dos.repeats)).min() > SMALLEST_P, name


# ---- the square Ising model ------------------------------------------------------------------


def test_the_exact_numbers_of_states_are_those_of_enumeration():
    counts = ising_counts(4)
    energies = ising(4).energy(square_lattice(4).enumerate())
    assert np.bincount(np.rint((energies + 32) / 4).astype(int)).tolist() == list(counts)
    for side in (8, 16):
        counts = ising_counts(side)
        assert sum(counts) == 2 ** (side**2)
        assert counts == counts[::-1]  # J and −J on an even square
        assert counts[:4] == (2, 0, 2 * side**2, 4 * side**2)


@pytest.mark.slow
def test_ising_at_8_is_within_a_twentieth(record_property):
    mean, each = deviations(sampled_ising(8, 1, 2e-6, 4), *ising_ln_g(8))
    record_property("deviation", mean)
    print(f"L = 8: largest deviation {mean:.3f}; of single repeats {each.round(3).tolist()}")
    assert mean <= 0.05


@pytest.mark.slow
def test_ising_at_16_is_within_a_fifth(record_property):
    dos = sampled_ising(16, 1, 3e-6, 2)
    mean, each = deviations(dos, *ising_ln_g(16))
    record_property("deviation", mean)
    print(f"L = 16: largest deviation {mean:.3f}; of single repeats {each.round(3).tolist()}")
    assert mean <= 0.2
    assert dos.converged
    np.testing.assert_allclose(dos.unvisited, [-508, 508])  # no state has one spin's worth of bonds


def test_averages_of_ising_agree_within_their_errors(record_property):
    dos = sampled_ising(8, 2, 2e-5, 8)
    kelvin = np.array([1.5, 2.0, CRITICAL, 2.5, 4.0, 20.0]) / kB
    exact = averages_of(*ising_ln_g(8), kelvin, 64)
    check_averages(dos, exact, kelvin, record_property)
    at_tc = dos.averages(CRITICAL / kB)
    assert float(at_tc.energy_error) < 0.02 * 64


def test_windows_and_several_walkers_give_the_same(record_property):
    sampler = WangLandau(ising(8), "flip", final=3e-5, n_windows=3, n_walkers=2)
    dos = sampler.run(5, n_repeats=4)
    mean, _ = deviations(dos, *ising_ln_g(8))
    record_property("deviation", mean)
    assert mean < 0.15
    assert all(rate > 0.05 for rate in dos.attrs["exchange_rates"])
    kelvin = np.array([2.0, CRITICAL, 3.0]) / kB
    check_averages(dos, averages_of(*ising_ln_g(8), kelvin, 64), kelvin, record_property)


def test_the_result_depends_on_the_seed_and_not_on_threads(monkeypatch):
    monkeypatch.setattr(wang_landau, "LEAST_ROUND", 5000)
    settings = {"final": 1e-3, "n_windows": 2, "n_walkers": 2}
    magnetisation = {"m": lambda states: np.abs(states.mean(axis=1) - 0.5)}
    runs = [
        WangLandau(ising(4, threads), "flip", **settings).run(
            seed, n_repeats=n, observables=magnetisation, n_draws=50
        )
        for threads, seed, n in ((1, 3, 2), (3, 3, 2), (1, 4, 2), (1, 3, 3))
    ]
    np.testing.assert_array_equal(runs[0].repeats, runs[1].repeats)
    np.testing.assert_array_equal(runs[0].means["m"], runs[1].means["m"])
    np.testing.assert_array_equal(runs[0].repeats, runs[3].repeats[:2])  # repeats stand alone
    assert (runs[0].repeats != runs[2].repeats).any()


# ---- other state spaces ----------------------------------------------------------------------

THREE = {"A": {"Sr": 1 / 2, "La": 1 / 3, "X": 1 / 6}}


def three_species():
    lattice = builders.perovskite(("Sr", "La", "X"), "Ti", "O", a=4.0, size=(3, 2, 2))
    first = [[0.03, -0.01, 0.02], [-0.01, 0.0, -0.04], [0.02, -0.04, 0.05]]
    return PairHamiltonian(lattice, [np.array(first)], threads=1)


def enumerated(hamiltonian, composition=None):
    states = hamiltonian.lattice.enumerate(composition)
    return states, hamiltonian.energy(states)


def levels_of(energies):
    levels, counts = np.unique(energies.round(6), return_counts=True)
    return levels, np.log(counts)


@cache
def sampled_three_species():
    hamiltonian = three_species()
    vacancies = {"contacts": lambda states: contacts(hamiltonian.lattice, states)}
    sampler = WangLandau(hamiltonian, "swap", THREE, final=4e-5)
    return sampler.run(3, n_repeats=6, observables=vacancies, n_draws=400)


def contacts(lattice, states):
    """Pairs of vacancies on neighbouring sites."""
    vacant = states == 2
    i, j = lattice.shells(1)[0].pairs.T
    return (vacant[:, i] & vacant[:, j]).sum(axis=1) / 2


def test_three_species_with_vacancies_at_a_fixed_composition(record_property):
    hamiltonian = three_species()
    _, energies = enumerated(hamiltonian, THREE)
    levels, exact = levels_of(energies)
    dos = sampled_three_species()
    mean, _ = deviations(dos, levels, exact)
    z = (dos.ln_g - exact) / dos.ln_g_error
    record_property("z", z.round(2).tolist())
    print(f"three species: largest deviation {mean:.3f}, z {z.round(1).tolist()}")
    assert mean < 0.05
    assert two_sided(z, 6).min() > SMALLEST_P
    kelvin = [200.0, 500.0, 1000.0, 5000.0]
    check_averages(dos, averages_of(levels, exact, kelvin, 12), kelvin, record_property)


def test_an_observable_has_its_mean_at_every_level_and_temperature(record_property):
    hamiltonian = three_species()
    states, energies = enumerated(hamiltonian, THREE)
    values, dos = contacts(hamiltonian.lattice, states), sampled_three_species()
    kelvin = np.array([200.0, 500.0, 1000.0])
    weights = np.exp(-(energies - energies.min()) / (kB * kelvin[:, None]))
    exact = weights @ values / weights.sum(axis=1)
    check_averages(dos, {"contacts": exact}, kelvin, record_property)


@pytest.mark.parametrize(
    ("move", "composition"),
    [
        ("flip", None),
        ("swap", {"A": {"Sr": 0.5, "La": 0.5}, "B": {"Al": 0.5, "Sc": 0.25, "X": 0.25}}),
    ],
)
def test_several_sublattices(move, composition, record_property):
    lattice = builders.perovskite(("Sr", "La"), ("Al", "Sc", "X"), "O", a=4.0, size=(2, 2, 1))
    between = [np.array([[0.02, -0.03, 0.0], [0.01, 0.04, -0.01]])]
    within = [0.01 * np.array([[1, -1, 0], [-1, 2, 1], [0, 1, -2]])]
    hamiltonian = PairHamiltonian(
        lattice,
        {("A", "B"): between, ("B", "B"): within},
        onsite={"B": {"X": 0.05}},  # a chemical potential of −0.05 eV
        threads=1,
    )
    _, energies = enumerated(hamiltonian, composition)
    levels, exact = levels_of(energies)
    dos = WangLandau(hamiltonian, move, composition, final=3e-5).run(2, n_repeats=6)
    mean, _ = deviations(dos, levels, exact)
    z = (dos.ln_g - exact) / dos.ln_g_error
    record_property("z", z.round(2).tolist())
    assert mean < 0.2
    assert two_sided(z, 6).min() > SMALLEST_P
    kelvin = [300.0, 1000.0]
    check_averages(dos, averages_of(levels, exact, kelvin, 8), kelvin, record_property)


def ordering_with_displacements():
    """Rock-salt order with a field on every site and couplings that differ pair by pair."""
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(4, 2, 2))
    rng = np.random.default_rng(1)
    pairs = np.unique(np.sort(lattice.shells(1)[0].pairs, axis=1), axis=0)
    return PairExpansion(
        lattice,
        mean=np.full((16, 2), 0.5),
        constant=-1.0,
        onsite=0.02 * rng.normal(size=(16, 2)),
        couplings=np.zeros((1, 16, 1, 1)),
        pairs=pairs,
        deviations=0.2 + 0.02 * rng.normal(size=(len(pairs), 1, 1)),
        threads=1,
    )


HALF = {"B": {"Sc": 0.5, "Ta": 0.5}}


def test_continuous_energies_in_bins(record_property):
    hamiltonian = ordering_with_displacements()
    _, energies = enumerated(hamiltonian, HALF)
    dos = WangLandau(hamiltonian, "swap", HALF, bin_width=0.02, final=3e-5).run(4, n_repeats=6)
    assert not dos.exact_levels
    # The lowest energy, which cooling finds, lies in the middle of its bin.
    bins = np.floor((energies - energies.min()) / 0.02 + 0.5).astype(int)
    kept, where, counts = np.unique(bins, return_inverse=True, return_counts=True)
    means = np.bincount(where, energies) / counts
    assert len(kept) == len(dos.energies)
    np.testing.assert_allclose(dos.energies, means, atol=5e-4)
    mean = np.abs(dos.ln_g - np.log(counts)).max()
    z = (dos.ln_g - np.log(counts)) / dos.ln_g_error
    record_property("z", z.round(2).tolist())
    print(f"bins: largest deviation {mean:.3f}, z {z.round(1).tolist()}")
    assert mean < 0.1
    assert two_sided(z, 6).min() > SMALLEST_P
    kelvin = np.array([1000.0, 2000.0])
    exact = averages_of(energies, np.zeros(len(energies)), kelvin, 16)
    found = dos.averages(kelvin)
    np.testing.assert_allclose(found.energy, exact["energy"], atol=3e-3)
    np.testing.assert_allclose(found.free_energy, exact["free_energy"], atol=3e-3)


def test_a_given_range_is_cut_and_says_so():
    energies, exact = ising_ln_g(4)
    sampler = WangLandau(ising(4), "flip", energy_range=(-32.0, 0.0), final=1e-4)
    dos = sampler.run(1, n_repeats=4)
    kept = energies <= 0
    np.testing.assert_allclose(dos.energies, energies[kept])
    assert np.abs(dos.ln_g - exact[kept]).max() < 0.15  # still absolute
    assert dos.cut == (False, True)
    kelvin = 1.5 / kB
    found = dos.averages(kelvin)
    np.testing.assert_allclose(found.energy, averages_of(energies, exact, kelvin, 16)["energy"],
                               atol=0.2)  # fmt: skip
    with pytest.raises(InputError, match=r"highest level of the range, 0 eV.*widen energy_range"):
        dos.averages(10.0 / kB)


def test_a_run_that_ends_too_early_says_that_it_has_not_converged():
    dos = WangLandau(ising(4), "flip", most_steps=300_000).run(1, n_repeats=2)
    assert not dos.converged
    assert dos.attrs["steps_per_walker"] == [300_000]


@pytest.mark.slow
def test_the_example_runs(capsys):
    example = runpy.run_path(str(EXAMPLE))
    example["main"](["--size", "2", "--final", "1e-3"])
    printed = capsys.readouterr().out
    assert "6 bins" in printed
    assert "ln g of the lowest: 0.6" in printed or "ln g of the lowest: 0.7" in printed  # ln 2


# ---- broken walks ----------------------------------------------------------------------------


def mutated(monkeypatch, tmp_path, kernel, changes):
    """Let a kernel run with lines of its source changed."""
    source = Path(compiled_density.__file__).read_text("utf-8")
    for old, new in changes.items():
        assert old in source
        source = source.replace(old, new)
    path = tmp_path / "mutated_density.py"
    path.write_text(source, encoding="utf-8")
    name = "alchemc.potentials.mutated_density"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(compiled_density, kernel, getattr(module, kernel))


def test_flips_that_draw_a_species_first_are_refused(monkeypatch, tmp_path, record_property):
    """q(x→y) = 1/n_a, q(y→x) = 1/(n_b + 1): without their ratio g is wrong."""
    draw = "            at = flippable[np.uint64(rng.random() * n_sites)]\n"
    by_species = draw + (
        "            wanted = rng.random() < 0.5\n"
        "            for _try in range(60):\n"
        "                if (padded[at] == 0) == wanted:\n"
        "                    break\n"
        "                at = flippable[np.uint64(rng.random() * n_sites)]\n"
    )
    mutated(monkeypatch, tmp_path, "flat_flip_block", {draw: by_species})
    energies, exact = ising_ln_g(4)
    dos = WangLandau(ising(4), "flip", final=3e-5).run(1, n_repeats=6)
    mean, _ = deviations(dos, energies, exact)
    z = (dos.ln_g - exact) / dos.ln_g_error
    record_property("p", two_sided(z, 6).min())
    print(f"species first: largest deviation {mean:.2f}, p {two_sided(z, 6).min():.1e}")
    assert mean > 0.5
    assert two_sided(z, 6).min() < SMALLEST_P


def test_the_correct_flips_pass_where_the_broken_ones_do_not():
    energies, exact = ising_ln_g(4)
    dos = WangLandau(ising(4), "flip", final=3e-5).run(1, n_repeats=6)
    mean, _ = deviations(dos, energies, exact)
    assert mean < 0.1
    assert two_sided((dos.ln_g - exact) / dos.ln_g_error, 6).min() > SMALLEST_P


def test_swaps_that_prefer_some_sites_are_refused(monkeypatch, tmp_path, record_property):
    """The first site is drawn again where its place is even, and the way back is left as it was."""
    draw = "            at = bounds[a] + np.uint64(rng.random() * (bounds[a + ONE] - bounds[a]))\n"
    again = draw + "            if members[at] & ONE == NONE:\n    " + draw
    source = "ONE = np.uint64(1)\n"
    mutated(
        monkeypatch, tmp_path, "flat_swap_block",
        {draw: again, source: source + "NONE = np.uint64(0)\n"},
    )  # fmt: skip
    _, energies = enumerated(three_species(), THREE)
    levels, exact = levels_of(energies)
    dos = WangLandau(three_species(), "swap", THREE, final=5e-5).run(3, n_repeats=10)
    mean, _ = deviations(dos, levels, exact)
    z = (dos.ln_g - exact) / dos.ln_g_error
    record_property("p", two_sided(z, 10).min())
    print(f"sites preferred: largest deviation {mean:.2f}, p {two_sided(z, 10).min():.1e}")
    assert mean > 0.2
    assert two_sided(z, 10).min() < SMALLEST_P


def test_halving_without_end_stands_still_above_the_bound(monkeypatch, record_property):
    """Without 1/t the error saturates: at an ln f a hundred times as small it is above the bound.

    The walks of ``test_ising_at_8_is_within_a_twentieth`` keep to it.
    """

    def halve(window):
        visits = window.visits[window.seen]
        if window.steps and visits.min() >= window.flatness * visits.mean():
            window.ln_f /= 2
            window._count_anew()

    monkeypatch.setattr(_windows.Window, "refine", halve)
    monkeypatch.setattr(
        _windows.Repeat, "finished", lambda self, final: self.windows[0].ln_f <= final
    )
    dos = WangLandau(ising(8), "flip", final=2e-8).run(1, n_repeats=4)
    mean, each = deviations(dos, *ising_ln_g(8))
    record_property("deviation", mean)
    print(f"only halved: largest deviation {mean:.3f}; of single repeats {each.round(3).tolist()}")
    assert mean > 0.05


# ---- exchanges -------------------------------------------------------------------------------


class WithoutWeights(_windows.Repeat):
    """Accepts every exchange within the windows."""

    def log_ratio(self, w, here, there):
        return 0.0 if np.isfinite(super().log_ratio(w, here, there)) else -np.inf


class WeightsOfOneWindow(_windows.Repeat):
    """Leaves the ln g of the upper window out of the acceptance."""

    def log_ratio(self, w, here, there):
        if super().log_ratio(w, here, there) == -np.inf:
            return -np.inf
        x, y = self.grid.bins_of(self.energies[[here, there]])
        return float(self.windows[w].ln_g[x] - self.windows[w].ln_g[y])


class WithoutRangeCheck(_windows.Repeat):
    """Lets walkers change places wherever they are."""

    def log_ratio(self, w, here, there):
        return 0.0


N_PAIRS = 40_000


def exchanged(kind, seed=1):
    """χ² p-values of both windows' histograms after one exchange, and the walkers outside.

    Walkers start from the exact law of their window, whose weights are not those of 1/g; the law
    must stay. Energies are all that an exchange looks at.
    """
    rng = np.random.default_rng(seed)
    grid = _energy_grid.Grid(-0.5, 1.0, 9, True, (0, 8), False)
    parts = (slice(0, 6), slice(3, 9))
    ln_g = 0.5 * rng.normal(size=9)
    windows = [_windows.Window(s, 0.8, 0.7 * rng.normal(size=6)) for s in parts]
    laws = [np.exp(ln_g[w.bins] - w.ln_g) for w in windows]
    laws = [p / p.sum() for p in laws]
    bins = [s.start + rng.choice(6, size=N_PAIRS, p=p) for s, p in zip(parts, laws, strict=True)]
    energies = np.concatenate(bins).astype(float)
    repeat = kind(grid, windows, np.zeros((len(energies), 1), np.int8), energies, [], rng)
    repeat.exchange()
    after = np.split(repeat.energies.astype(int), 2)
    outside = sum(
        int(((e < s.start) | (e >= s.stop)).sum()) for e, s in zip(after, parts, strict=True)
    )
    p_values = [
        float(chisquare(np.bincount(e - s.start, minlength=6), N_PAIRS * p, sum_check=False).pvalue)
        for e, s, p in zip(after, parts, laws, strict=True)
        if not outside
    ]
    return p_values, outside, repeat.exchanged[0] / N_PAIRS


def test_exchanges_keep_the_law_of_either_window(record_property):
    p_values, outside, rate = exchanged(_windows.Repeat)
    record_property("p", p_values)
    print("p of the exchange:", p_values, "rate", rate)
    assert outside == 0
    assert 0.05 < rate < 0.95
    assert min(p_values) > 1e-4


@pytest.mark.parametrize("kind", [WithoutWeights, WeightsOfOneWindow])
def test_exchanges_with_wrong_weights_are_refused(kind, record_property):
    p_values, outside, _ = exchanged(kind)
    record_property("p", p_values)
    print(kind.__name__, "p:", p_values)
    assert outside == 0
    assert min(p_values) < SMALLEST_P


def test_exchanges_without_the_range_check_leave_the_windows(monkeypatch):
    assert exchanged(WithoutRangeCheck)[1] > 0
    monkeypatch.setattr(wang_landau, "Repeat", WithoutRangeCheck)
    with pytest.raises(InputError, match="outside its window"):
        WangLandau(ising(4), "flip", n_windows=2, final=1e-3).run(1)


# ---- what is refused, and what is not found ---------------------------------------------------


def pairs(**settings):
    return {"hamiltonian": three_species(), "move": "swap", "composition": THREE} | settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hamiltonian": RandomHamiltonian(chain_lattice((("Sc", "Ta"), 4)), 1)}, "RandomHamil"),
        ({"move": "jump"}, "move is 'jump'"),
        ({"move": ["flip"]}, r"move is \['flip'\]"),
        ({"composition": None}, "swaps need a composition"),
        ({"move": "flip"}, "leave composition out"),
        ({"n_windows": 0}, "n_windows is 0"),
        ({"n_walkers": 1.5}, "n_walkers is 1.5"),
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"flatness": 0}, "flatness is 0"),
        ({"final": 2}, "final is 2"),
        ({"bin_width": -0.1}, "bin_width is -0.1"),
        ({"energy_range": (1.0, 0.0)}, "energy_range is"),
        ({"energy_range": 3}, "energy_range is 3"),
        ({"composition": {"A": {"Sr": 0.51, "La": 0.49}}}, "no whole number"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        WangLandau(**pairs(**settings))


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({}, {"n_repeats": 0}, "n_repeats is 0"),
        ({}, {"thin": 0}, "thin is 0"),
        ({"bin_width": 1e-6}, {}, "bins of 1e-06 eV"),
        ({"n_windows": 60}, {}, "take fewer windows"),
        ({"energy_range": (5.0, 6.0)}, {}, "none of 20000 random states"),
        ({"most_steps": 1}, {"observables": {"bad": lambda s: s}}, "observable 'bad'"),
        ({"hamiltonian": ordering_with_displacements(), "composition": HALF}, {}, "give bin_width"),
        ({"hamiltonian": ordering_with_displacements(), "composition": {"B": {"Sc": 1.0}}}, {},
         "nothing to exchange"),
        ({"hamiltonian": PairHamiltonian(three_species().lattice, [])}, {}, "one level"),
    ],
)  # fmt: skip
def test_runs_that_cannot_be_made_are_refused(settings, options, message):
    with pytest.raises(InputError, match=message):
        WangLandau(**pairs(**settings)).run(1, **options)


def test_windows_that_do_not_meet_are_refused():
    low, high = np.array([0.0, 1.0, -np.inf]), np.array([-np.inf, 2.0, 3.0])
    with pytest.raises(ConvergenceError, match="take fewer windows"):
        _windows.joined([(0, low), (2, high)], 5)


def test_a_window_without_a_state_is_refused(monkeypatch):
    met = np.array([-300.0, -32.0, -24.0, -20.0, 32.0])
    monkeypatch.setattr(wang_landau, "annealed_energies", lambda *_: met)
    monkeypatch.setattr(wang_landau, "LEAST_SEARCH", 1)
    with pytest.raises(ConvergenceError, match="no state was found in window 0, from -31"):
        WangLandau(ising(4), "flip", n_windows=4, overlap=0.2).run(1)


def test_a_level_that_cooling_met_and_no_walker_reached_is_reported(monkeypatch):
    met = np.array([-40.0, -36.0, -32.0, 0.0, 4.0, 32.0])
    monkeypatch.setattr(wang_landau, "annealed_energies", lambda *_: met)
    dos = WangLandau(ising(4), "flip", final=1e-3).run(1, n_repeats=2)
    np.testing.assert_allclose(dos.unvisited, [-40, -36, -28, 28])
    np.testing.assert_allclose(dos.energies, ising_ln_g(4)[0])


def test_an_energy_between_the_levels_is_noticed(monkeypatch):
    met = np.array([-32.0, -24.0, 0.0, 8.0, 32.0])
    monkeypatch.setattr(wang_landau, "annealed_energies", lambda *_: met)
    with pytest.raises(InputError, match="not a multiple of 8 eV"):
        WangLandau(ising(4), "flip", final=1e-3).run(1)


@pytest.mark.parametrize(
    ("energies", "step"),
    [
        ([0.0, 0.04, 0.1, 0.3], 0.02),
        (-1.0 + 0.003 * np.array([0, 5, 7, 100, 9000]), 0.003),
        ([1.0, 2.0 + 1e-13, 4.0], 1.0),
        (np.random.default_rng(1).random(50), None),
        ([0.0, 1e-5, 1.0], None),  # a hundred thousand levels
        ([2.0, 2.0], None),
    ],
)
def test_a_common_step_of_energies_is_found(energies, step):
    found = _energy_grid.common_step(np.array(energies))
    assert (found is None) if step is None else found == pytest.approx(step, rel=1e-9)
