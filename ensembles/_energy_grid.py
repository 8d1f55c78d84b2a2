"""Which energies there are: their range, the step between levels, and random states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..compositions import number_of_states, random_occupations
from ..errors import InputError
from ..lattice import Lattice
from ..potentials.interactions import Interaction
from ..potentials.lattice_hamiltonian import LatticeHamiltonian

__all__ = ["Grid", "Space", "annealed_energies", "common_step", "make_grid"]

MOST_LEVELS = 10_000
MARGIN = 0.05  # of the range, at both ends, where no range is given
ROUNDING = 1e-9  # of the largest energy
COOLING = np.geomspace(0.05, 30.0, 40)  # β times the typical change of the energy in one move


class Space(NamedTuple):
    """The states that are counted: those of fixed ``counts``, or of every composition (None)."""

    lattice: Lattice
    counts: dict[str, tuple[int, ...]] | None

    @property
    def move(self) -> str:
        """What leads from state to state."""
        return "flip" if self.counts is None else "swap"

    @property
    def ln_states(self) -> float:
        """Logarithm of how many states there are."""
        return math.log(number_of_states(self.lattice.sublattices, self.counts))

    def random(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Independent states, all equally likely, int8 [n, n_sites]."""
        if self.counts is not None:
            return random_occupations(self.counts, rng, n)
        sizes = np.asarray(self.lattice.allowed).sum(axis=1)
        return (rng.random((n, self.lattice.n_sites)) * sizes).astype(np.int8)


class Grid(NamedTuple):
    """Bins of the energy: ``n_bins`` from ``lower`` (eV) on, each ``width`` (eV) wide.

    ``levels`` says that every state lies in the middle of its bin; ``known`` are the first and the
    last bin that states have been met in; ``given`` that the range was asked for.
    """

    lower: float
    width: float
    n_bins: int
    levels: bool
    known: tuple[int, int]
    given: bool

    @property
    def centres(self) -> np.ndarray:
        """Middle of every bin in eV, float64 [n_bins]."""
        return self.lower + (np.arange(self.n_bins) + 0.5) * self.width

    def bins_of(self, energies: np.ndarray) -> np.ndarray:
        """Bin of each energy; below 0 or from ``n_bins`` on outside the range."""
        return np.floor((np.asarray(energies) - self.lower) / self.width).astype(np.int64)

    def off_grid(self, energies: np.ndarray) -> bool:
        """Whether there are levels, and one of the energies is none of them."""
        position = (np.asarray(energies) - self.lower) / self.width - 0.5
        return self.levels and bool((np.abs(position - np.round(position)) > 0.01).any())


def make_grid(
    energies: np.ndarray,
    bin_width: float | None,
    energy_range: tuple[float, float] | None,
) -> Grid:
    """Bins for the energies that were met.

    Raises
    ------
    InputError
        If no step is common to the energies and no width is given, or the bins are too many.
    """
    low, high = float(energies.min()), float(energies.max())
    step = common_step(energies) if bin_width is None else bin_width
    if step is None:
        raise InputError(
            f"the energies from {low:.6g} to {high:.6g} eV are no multiples of one step: give "
            f"bin_width, such as {(high - low) / 200:.1g} eV (below k_BT at the temperatures asked "
            "for)"
        )
    places = (energies - low) / step
    levels = bool((np.abs(places - np.round(places)) < 0.01).all())
    given = energy_range is not None
    first, last = energy_range if energy_range is not None else (low, high)
    if levels:
        start, end = np.ceil((first - low) / step - 0.01), np.floor((last - low) / step + 0.01)
        lower, n_bins = low + (start - 0.5) * step, int(end - start) + 1
    else:  # no energy that was met or asked for lies on an edge, where rounding would decide
        lower = first - (1e-6 if given else 0.5) * step
        n_bins = int(np.ceil((last - lower) / step + 1e-6))
    if not given:
        more = max(2, int(MARGIN * n_bins))
        lower, n_bins = lower - more * step, n_bins + 2 * more
    if not 2 <= n_bins <= MOST_LEVELS:
        raise InputError(
            f"energies from {first:.6g} to {last:.6g} eV make {n_bins} bins of {step:.3g} eV: "
            f"choose bin_width or energy_range for 2 to {MOST_LEVELS}"
        )
    grid = Grid(lower, step, n_bins, levels, (0, n_bins - 1), given)
    met = grid.bins_of(energies)
    met = met[(met >= 0) & (met < n_bins)]
    known = (int(met.min()), int(met.max())) if len(met) else (0, n_bins - 1)
    return grid._replace(known=known)


def common_step(energies: np.ndarray) -> float | None:
    """Largest step of which all differences of the energies are multiples; None if there is none.

    Examples
    --------
    >>> round(common_step(np.array([-0.8, -0.2, 0.0, 0.6])), 9)
    0.2
    >>> common_step(np.array([0.0, 1.0, 1.4142, 1.7320508, 2.2360679]) * 1.1) is None
    True
    """
    tolerance = ROUNDING * max(np.abs(energies).max(), np.ptp(energies))
    ordered = np.sort(energies)
    gaps = np.diff(ordered)
    gaps = gaps[gaps > tolerance]
    if not len(gaps):
        return None
    gaps = gaps[np.unique(np.round(gaps / tolerance), return_index=True)[1]]
    step = gaps[0]
    for gap in gaps[1:]:
        step = _common_divisor(gap, step, 100 * tolerance)
    places = np.round((ordered - ordered[0]) / step)
    if places[-1] >= MOST_LEVELS:
        return None
    return float((ordered - ordered[0]) @ places / (places @ places))


def _common_divisor(a: float, b: float, tolerance: float) -> float:
    """Return Euclid's greatest common divisor of two lengths known to a tolerance."""
    while b > tolerance:
        rest = a % b
        a, b = b, min(rest, b - rest)
    return a


def annealed_energies(
    hamiltonian: LatticeHamiltonian, space: Space, rngs: Sequence[np.random.Generator]
) -> np.ndarray:
    """Energies met in cooling chains, half of them downwards in energy and half upwards, in eV.

    Raises
    ------
    InputError
        If no move changes the energy.
    """
    starts = np.concatenate([space.random(rng, 1) for rng in rngs])
    half = len(rngs) // 2
    upwards = _negative(hamiltonian)
    return np.concatenate(
        [
            _cooled(hamiltonian, space, starts[:half], rngs[:half]),
            -_cooled(upwards, space, starts[half:], rngs[half:]),
        ]
    )


def _cooled(
    hamiltonian: LatticeHamiltonian,
    space: Space,
    occupations: np.ndarray,
    rngs: Sequence[np.random.Generator],
) -> np.ndarray:
    energies, sweep = hamiltonian.energy(occupations), space.lattice.n_sites
    potentials = np.zeros((len(space.lattice.names), space.lattice.n_species_max))

    def block(beta: float, n_draws: int, thin: int) -> np.ndarray:
        nonlocal occupations, energies
        if space.counts is None:
            drawn = hamiltonian.run_flips(
                occupations, energies, rngs,
                beta=beta, potentials=potentials, n_draws=n_draws, thin=thin,
            )  # fmt: skip
        else:
            drawn = hamiltonian.run_swaps(
                occupations, energies, rngs, beta=beta, n_draws=n_draws, thin=thin
            )
        occupations = drawn.occupation[-1].astype(np.int8)
        energies, _ = hamiltonian.rederived(occupations, drawn.energy[-1])
        return np.asarray(drawn.energy).ravel()

    hot = block(0.0, 200, 1).reshape(200, -1)
    changes = np.abs(np.diff(hot, axis=0))
    scale = changes.mean() / max((changes > 0).mean(), 1e-300)
    if scale <= ROUNDING * np.abs(hot).max():
        raise InputError("no move changes the energy: there is one level, and nothing to sample")
    return np.concatenate([hot.ravel(), *(block(x / scale, 20, 10 * sweep) for x in COOLING)])


def _negative(hamiltonian: LatticeHamiltonian) -> LatticeHamiltonian:
    """Return the Hamiltonian of the opposite energies, which cooling leads to the highest one."""
    tables = hamiltonian.tables
    interactions = [Interaction(i.kinds, i.cells, -i.table) for i in hamiltonian.interactions]
    return LatticeHamiltonian(
        hamiltonian.lattice,
        hamiltonian.tiling,
        interactions,
        constant=-hamiltonian.constant,
        field=-tables.field[tables.home] if len(tables.field) else None,
        threads=hamiltonian.threads,
    )
