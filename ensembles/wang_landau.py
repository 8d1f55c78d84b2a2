"""Wang–Landau sampling: the number of states of every energy, and with it every temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..compositions import Composition
from ..density_of_states import DensityOfStates
from ..errors import ConvergenceError, InputError
from ..potentials._wang_landau import Bins, run_flat_histogram
from ..potentials.lattice_hamiltonian import LatticeHamiltonian
from ..streams import spawn_generators
from ..sublattice import is_number, is_whole, shown
from ._energy_grid import Grid, Space, annealed_energies, make_grid
from ._windows import Repeat, Window, split

__all__ = ["WangLandau"]

ANNEALED = 8  # chains that look for the range of energies
RANDOM_STATES = 20_000  # that say which share of all states lies in a given range
LEAST_SEARCH, MOST_SEARCH = 10_000_000, 1_000_000_000  # steps for a state in every window
MOST_ROUND, LEAST_ROUND, SWEEPS_PER_ROUND = 1_000_000, 100_000, 100

Observable = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class WangLandau:
    """Number of states g(E) of a lattice Hamiltonian, by walks with the weight 1/g(E).

    States of fixed counts are joined by swaps of unlike species (``move="swap"``), those of every
    composition by flips of single sites (``move="flip"``; a chemical potential enters as an energy
    of single sites of the Hamiltonian). Both proposals are symmetric, so that a move is accepted
    with probability min(1, g(E)/g(E′)); each step adds ln f to ln g where it ends, first in rounds
    of flat histograms and then by 1/t (F. Wang and D. P. Landau, Phys. Rev. Lett. 86, 2050 (2001),
    doi:10.1103/PhysRevLett.86.2050; R. E. Belardinelli and V. D. Pereyra, Phys. Rev. E 75, 046701
    (2007), doi:10.1103/PhysRevE.75.046701). The range of energies may be split into windows that
    overlap, whose walkers change places (T. Vogel, Y. W. Li, T. Wüst and D. P. Landau, Phys. Rev.
    Lett. 110, 210603 (2013), doi:10.1103/PhysRevLett.110.210603).

    Parameters
    ----------
    hamiltonian
        A lattice Hamiltonian (`PairHamiltonian`, `ClusterExpansion`, `PairExpansion`); its
        ``threads`` run walkers side by side, without a say in the result.
    move
        ``"swap"`` or ``"flip"``.
    composition
        For swaps: fractions by sublattice and species, or an occupation [n_sites] that has them.
    bin_width
        Width of the bins in eV. By default the step of which all energies are multiples, where
        there is one: bins are then levels, without any error of their own.
    energy_range
        Lowest and highest energy in eV. By default as far as short cooling chains come, and beyond
        where walkers find more. States outside are left out: averages are refused at temperatures
        that need them.
    n_windows, overlap
        Windows of the range, and the fraction of one that it shares with the next, above 0 and
        below 1. Neighbours must share states that moves within each window reach.
    n_walkers
        Walkers per window, whose ln g is averaged between rounds.
    flatness
        Least visits of a bin over the mean before ln f is halved, between 0 and 1. Rounds are a
        prelude to 1/t here, and flatter ones make it longer, not better.
    final
        ln f at which a window is done: 1/final steps per bin and walker.
    most_steps
        Steps per walker after which a run ends without having converged.

    Raises
    ------
    InputError
        If a setting cannot be used.

    Examples
    --------
    The 4×4 Ising model; two states have its lowest energy, −32 J:

    >>> import numpy as np
    >>> from ase import Atoms
    >>> from alchemc import Lattice, PairHamiltonian, Sublattice, WangLandau
    >>> square = Atoms("Sc", cell=[3.0, 3.0, 30.0], pbc=True).repeat((4, 4, 1))
    >>> lattice = Lattice(square, {"s": Sublattice("Sc", ("Sc", "Ta"))})
    >>> ising = PairHamiltonian(lattice, [0.01 * np.array([[-1, 1], [1, -1]])])
    >>> dos = WangLandau(ising, "flip", final=1e-5).run(seed=1)
    >>> dos.energies[:3].round(6), bool(abs(dos.ln_g[0] - np.log(2)) < 0.2)
    (array([-0.32, -0.24, -0.2 ]), True)
    """

    hamiltonian: LatticeHamiltonian
    move: str
    composition: Composition | np.ndarray | None = None
    bin_width: float | None = None
    energy_range: tuple[float, float] | None = None
    n_windows: int = 1
    overlap: float = 0.5
    n_walkers: int = 1
    flatness: float = 0.5
    final: float = 1e-6
    most_steps: int = 10_000_000_000

    def __post_init__(self) -> None:
        if not isinstance(self.hamiltonian, LatticeHamiltonian):
            raise InputError(
                f"hamiltonian is a {type(self.hamiltonian).__name__}; give a lattice Hamiltonian, "
                "such as PairHamiltonian or ClusterExpansion, whose walks are compiled"
            )
        if self.move not in ("swap", "flip"):
            raise InputError(f"move is {shown(self.move)}; give 'swap' or 'flip'")
        if (self.composition is None) == (self.move == "swap"):
            raise InputError(
                "swaps need a composition to keep, such as {'B': {'Sc': 0.5, 'Ta': 0.5}}"
                if self.composition is None else
                "flips visit every composition: leave composition out, or use move='swap'"
            )  # fmt: skip
        for name, least in (("n_windows", 1), ("n_walkers", 1), ("most_steps", 1)):
            if not is_whole(getattr(self, name), least=least):
                raise InputError(f"{name} is {shown(getattr(self, name))}; give a whole number ≥ 1")
        for name in ("overlap", "flatness", "final"):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < 1:
                raise InputError(f"{name} is {shown(value)}; give a number between 0 and 1")
        if self.bin_width is not None and not (is_number(self.bin_width) and self.bin_width > 0):
            raise InputError(f"bin_width is {shown(self.bin_width)}; give eV, above 0")
        self._checked_range()
        _ = self.space

    @property
    def space(self) -> Space:
        """The states that are counted."""
        lattice = self.hamiltonian.lattice
        if self.composition is None:
            return Space(lattice, None)
        if isinstance(self.composition, Mapping):
            return Space(lattice, lattice.composition_counts(self.composition))
        counts = lattice.counts(np.asarray(self.composition))
        if counts.ndim != 2:
            raise InputError("composition holds several occupations; give one, [n_sites]")
        sizes = [len(s.species) for s in lattice.sublattices.values()]
        rows = zip(lattice.names, counts.tolist(), sizes, strict=True)
        return Space(lattice, {name: tuple(row[:m]) for name, row, m in rows})

    def run(
        self,
        seed: int,
        *,
        n_repeats: int = 4,
        observables: Mapping[str, Observable] | None = None,
        n_draws: int = 2000,
        thin: int | None = None,
    ) -> DensityOfStates:
        """Sample the density of states in independent repeats.

        The result depends on the seed and the settings alone, not on threads: walkers advance in
        rounds of fixed length, and change places between rounds in a fixed order.

        Parameters
        ----------
        seed
            A whole number, 0 or above.
        n_repeats
            Independent estimates, whose scatter gives the errors; with one there are none.
        observables
            By name, functions of occupations [n, n_sites] that return [n]. Their mean over the
            states of every level is sampled after ln g has been frozen, and so are available at
            every temperature.
        n_draws, thin
            States drawn for the observables per walker and repeat, and steps from one to the next,
            10 per site by default.

        Returns
        -------
        ln g of every level and repeat, normalised to the number of states.

        Raises
        ------
        InputError
            If a number cannot be used, no width is given and the energies have no common step, or
            no random state lies in ``energy_range``.
        ConvergenceError
            If no state was found in a window, or windows do not meet.
        """
        for name, value in (
            ("n_repeats", n_repeats),
            ("n_draws", n_draws),
            ("thin", 1 if thin is None else thin),
        ):
            if not is_whole(value, least=1):
                raise InputError(f"{name} is {shown(value)}; give a whole number, 1 or more")
        slots = self.n_windows * self.n_walkers
        rngs = iter(spawn_generators(seed, ANNEALED + n_repeats * (slots + 1)))
        scouts = [next(rngs) for _ in range(ANNEALED)]
        space = self.space
        met = annealed_energies(self.hamiltonian, space, scouts)
        grid = make_grid(met, self.bin_width, self._checked_range())
        repeats, shares = [], []
        for _ in range(n_repeats):
            rng = next(rngs)
            own = [next(rngs) for _ in range(slots)]
            share, start = self._random_start(grid, space, rng)
            shares.append(share)
            repeats.append(self._repeat(grid, start, rng, own))
        self._refine(repeats)
        means = self._observe(repeats, observables or {}, n_draws, thin)
        return self._result(grid, repeats, np.array(shares), means)

    # ---- parts -----------------------------------------------------------------------------

    def _checked_range(self) -> tuple[float, float] | None:
        if self.energy_range is None:
            return None
        ends = np.shape(self.energy_range) == (2,) and all(map(is_number, self.energy_range))
        low, high = self.energy_range if ends else (0.0, 0.0)
        if not low < high:
            raise InputError(
                f"energy_range is {shown(self.energy_range)}; give the lowest and the highest "
                "energy in eV"
            )
        return float(low), float(high)

    @property
    def _round(self) -> int:
        """Steps of a walker between two exchanges."""
        steps = SWEEPS_PER_ROUND * self.hamiltonian.lattice.n_sites
        return min(max(steps, LEAST_ROUND), MOST_ROUND)

    def _random_start(
        self, grid: Grid, space: Space, rng: np.random.Generator
    ) -> tuple[float, np.ndarray]:
        """Share of all states that lies in the range, and one of them."""
        states = space.random(rng, RANDOM_STATES if grid.given else 100)
        bins = grid.bins_of(self.hamiltonian.energy(states))
        inside = (bins >= 0) & (bins < grid.n_bins)
        if not inside.any():
            low, high = grid.lower, grid.lower + grid.n_bins * grid.width
            raise InputError(
                f"none of {len(states)} random states lies between {low:.6g} and {high:.6g} eV, so "
                "that the number of states could not be normalised: widen energy_range up to the "
                "energies of random states"
            )
        return float(inside.mean()) if grid.given else 1.0, states[inside.argmax()]

    def _windows(self, grid: Grid) -> list[slice]:
        """Bins of every window: the energies that were met are split, the rest goes to the ends."""
        first, last = grid.known
        n_bins = last + 1 - first
        parts = split(n_bins, self.n_windows, self.overlap)
        if min(s.stop - s.start for s in parts) < 2 or any(
            low.stop <= high.start for low, high in pairwise(parts)
        ):
            raise InputError(
                f"{n_bins} bins are too few for {self.n_windows} windows with the overlap "
                f"{self.overlap:g}: take fewer windows"
            )
        starts = [0, *(first + s.start for s in parts[1:])]
        stops = [*(first + s.stop for s in parts[:-1]), grid.n_bins]
        return [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]

    def _repeat(
        self,
        grid: Grid,
        start: np.ndarray,
        rng: np.random.Generator,
        rngs: list[np.random.Generator],
    ) -> Repeat:
        """Make a repeat with all walkers in their windows; ``rng`` is for what they share."""
        windows = self._windows(grid)
        found = self._states_in(windows, grid, start, rng)
        rows = [state for state in found for _ in range(self.n_walkers)]
        return Repeat(
            grid,
            [Window(w, self.flatness, np.full(w.stop - w.start, -np.inf)) for w in windows],
            np.array([occupation for occupation, _ in rows]),
            np.array([energy for _, energy in rows]),
            rngs,
            rng,
        )

    def _states_in(
        self, windows: list[slice], grid: Grid, start: np.ndarray, rng: np.random.Generator
    ) -> list[tuple[np.ndarray, float]]:
        """Occupation and energy in every window, met by a walk over all bins with a coarse ln g."""
        bins = Bins.of(grid.lower, grid.width, np.full(grid.n_bins, -np.inf), 1.0)
        occupations, energies = start[None], self.hamiltonian.energy(start[None])
        found: dict[int, tuple[np.ndarray, float]] = {}
        thin, n_draws = max(25, len(start) // 4), 200
        search = min(max(LEAST_SEARCH, 2_000 * grid.n_bins**2), MOST_SEARCH)
        for _ in range(search // (thin * n_draws) + 1):
            here = grid.bins_of(energies)
            for w, window in enumerate(windows):
                inside = np.flatnonzero((here >= window.start) & (here < window.stop))
                if w not in found and len(inside):
                    found[w] = occupations[inside[0]], float(energies[inside[0]])
            if len(found) == len(windows):
                return [found[w] for w in range(len(windows))]
            kept, after = run_flat_histogram(
                self.hamiltonian, occupations[-1:], energies[-1:], [rng], [bins],
                move=self.move, n_draws=n_draws, thin=thin,
            )  # fmt: skip
            occupations, energies = kept[:, 0], after[:, 0]
        w = next(w for w in range(len(windows)) if w not in found)
        low, high = grid.lower + grid.width * np.array([windows[w].start, windows[w].stop])
        raise ConvergenceError(
            f"no state was found in window {w}, from {low:.6g} to {high:.6g} eV: take fewer "
            "windows, or an energy_range without it"
        )

    def _refine(self, repeats: list[Repeat]) -> None:
        """Advance all repeats round by round until each is done, or has made the most steps."""
        active = list(repeats)
        for _ in range(-(-self.most_steps // self._round)):
            every = [r.walker_bins() for r in active]
            self._advance(active, every, 1, self._round)
            for repeat, bins in zip(active, every, strict=True):
                repeat.merge(bins, self._round)
                repeat.exchange()
            active = [r for r in active if not r.finished(self.final)]
            if not active:
                break

    def _advance(
        self, repeats: list[Repeat], bins: list[list[Bins]], n_draws: int, thin: int
    ) -> np.ndarray:
        """Let all walkers of all repeats walk; occupations [n_draws, walkers, n_sites]."""
        kept, energies = run_flat_histogram(
            self.hamiltonian,
            np.concatenate([r.occupations for r in repeats]),
            np.concatenate([r.energies for r in repeats]),
            [rng for r in repeats for rng in r.rngs],
            [b for of in bins for b in of],
            move=self.move, n_draws=n_draws, thin=thin,
        )  # fmt: skip
        fresh, _ = self.hamiltonian.rederived(kept[-1], energies[-1])
        grid = repeats[0].grid
        if grid.off_grid(fresh):
            raise InputError(
                f"an energy is not a multiple of {grid.width:.6g} eV from the others, as those "
                "seen first were: give bin_width"
            )
        rows = len(repeats[0].energies)
        for n, repeat in enumerate(repeats):
            part = slice(n * rows, (n + 1) * rows)
            repeat.occupations, repeat.energies = kept[-1, part].copy(), fresh[part]
        return kept

    def _observe(
        self,
        repeats: list[Repeat],
        observables: Mapping[str, Observable],
        n_draws: int,
        thin: int | None,
    ) -> dict[str, np.ndarray]:
        """Means of the observables over the states of every bin, [n_repeats, n_bins]."""
        if not observables:
            return {}
        grid = repeats[0].grid
        shape = (len(repeats), grid.n_bins)
        numbers, sums = np.zeros(shape), {name: np.zeros(shape) for name in observables}
        for kept in self._frozen_draws(
            repeats, n_draws, thin or 10 * self.hamiltonian.lattice.n_sites
        ):
            for r, states in enumerate(np.split(kept, len(repeats), axis=1)):
                flat = states.reshape(-1, states.shape[-1])
                bins = np.clip(grid.bins_of(self.hamiltonian.energy(flat)), 0, grid.n_bins - 1)
                numbers[r] += np.bincount(bins, minlength=grid.n_bins)
                for name, observable in observables.items():
                    values = _observed(name, observable, flat)
                    sums[name][r] += np.bincount(bins, values, minlength=grid.n_bins)
        with np.errstate(invalid="ignore"):
            return {name: total / numbers for name, total in sums.items()}

    def _frozen_draws(self, repeats: list[Repeat], n_draws: int, thin: int) -> Iterator[np.ndarray]:
        """Draws of a walk whose ln g changes no more, in blocks [n, walkers, n_sites]."""
        at_once = max(1, self._round // thin)
        for first in range(0, n_draws, at_once):
            every = [r.walker_bins(frozen=True) for r in repeats]
            yield self._advance(repeats, every, min(at_once, n_draws - first), thin)
            for repeat in repeats:
                repeat.exchange()

    def _result(
        self, grid: Grid, repeats: list[Repeat], shares: np.ndarray, means: dict[str, np.ndarray]
    ) -> DensityOfStates:
        ln_g = np.array([r.ln_g() for r in repeats])
        top = ln_g.max(axis=1)
        totals = top + np.log(np.exp(ln_g - top[:, None]).sum(axis=1))
        ln_g += (self.space.ln_states + np.log(shares) - totals)[:, None]
        seen = np.isfinite(ln_g)
        ln_g[~seen] = np.nan
        levels = seen.any(axis=0)
        met = np.flatnonzero(levels)
        between = np.zeros(grid.n_bins, dtype=bool)
        between[min(met[0], grid.known[0]) : max(met[-1], grid.known[1]) + 1] = True
        energies = grid.centres if grid.levels else _mean_energies(grid, repeats)
        outside = np.sum([_refused(r) for r in repeats], axis=0)
        return DensityOfStates(
            energies=energies[levels],
            repeats=ln_g[:, levels],
            n_sites=self.hamiltonian.lattice.n_sites,
            bin_width=grid.width,
            exact_levels=grid.levels,
            unvisited=grid.centres[between & ~levels],
            means={name: values[:, levels] for name, values in means.items()},
            cut=(bool(outside[0]), bool(outside[1])),
            converged=all(r.finished(self.final) for r in repeats) and bool(seen[:, levels].all()),
            attrs=self._attrs(repeats),
        )

    def _attrs(self, repeats: list[Repeat]) -> dict[str, Any]:
        """Say what the run did, in plain numbers: by window, over all repeats."""
        windows = list(zip(*(r.windows for r in repeats), strict=True))
        tried = sum(r.tried for r in repeats)
        return {
            "move": self.move,
            "final_ln_f": [max(w.ln_f for w in of) for of in windows],
            "steps_per_walker": [max(w.steps for w in of) for of in windows],
            "exchange_rates": (sum(r.exchanged for r in repeats) / np.maximum(tried, 1)).tolist(),
            "n_walkers": self.n_walkers,
        }


def _observed(name: str, observable: Observable, occupations: np.ndarray) -> np.ndarray:
    values = np.asarray(observable(occupations), dtype=np.float64)
    if values.shape != (len(occupations),) or not np.isfinite(values).all():
        raise InputError(
            f"observable {name!r} returned shape {values.shape} or numbers that are not finite: "
            f"expected one finite number per occupation, [{len(occupations)}]"
        )
    return values


def _mean_energies(grid: Grid, repeats: list[Repeat]) -> np.ndarray:
    """Mean energy of the states met in every bin, its centre where there were none."""
    visits, sums = np.zeros(grid.n_bins), np.zeros(grid.n_bins)
    for repeat in repeats:
        for window in repeat.windows:
            visits[window.bins] += window.visits
            sums[window.bins] += window.sums
    return np.where(visits > 0, sums / np.maximum(visits, 1), grid.centres)


def _refused(repeat: Repeat) -> np.ndarray:
    """Count the moves refused below and above the whole range."""
    return np.array([repeat.windows[0].outside[0], repeat.windows[-1].outside[1]])
