"""Second-order correction of the first-order estimate: constants and short-ranged pair terms.

The energy along a swap of i (which holds a) and j (which holds b) is nearly quadratic in λ, with
ΔE = g_ib − g_ia + g_ja − g_jb + C_ab + Σ_n m_n(i, j) W_n,ab: C_ab is half the curvature of the two
sites by themselves, W_n,ab is minus their mixed derivative at the distance of shell n, and m_n
counts the images of j in shell n around i. Along a flip from a to k, ΔE = g_ik − g_ia + C_ak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..lattice import Lattice
from ..protocols import Ensemble, Info
from ._swaps import log_sum_exp, species_pairs

__all__ = ["FlipTerms", "NearTerms", "PairCorrection", "SwapTerms", "energy_slopes"]

CONSTANT_WIDTH = 1.0  # eV: how large constants and pair terms are expected to be,
PAIR_WIDTH = 0.1
NOISE = 0.05  # and what is left over once they are known: worth so many moves of data.
NOISE_MOVES = 10
ROUNDS = 4
_LOST_DIGITS = 1e-2
_BLOCK_ELEMENTS = 1 << 20


def energy_slopes(ensemble: Ensemble, n_replicas: int) -> np.ndarray:
    """Slope of the log density in the energy, −β for a canonical ensemble, [n_replicas].

    It is read off ``log_density_gradient``, which is affine in the gradient with that slope, and
    must not depend on the occupation.
    """
    lattice = ensemble.lattice
    occupations = np.zeros((n_replicas, lattice.n_sites), dtype=np.int8)
    unit = np.ones((n_replicas, lattice.n_sites, lattice.n_species_max))
    at_one = ensemble.log_density_gradient(unit, occupations)
    at_zero = ensemble.log_density_gradient(np.zeros_like(unit), occupations)
    return np.asarray(at_one[:, 0, 0] - at_zero[:, 0, 0])


class _Neighbours(NamedTuple):
    """Near sites j ≠ i of every site i, each once, however many images of it are near.

    ``sites`` and ``kinds`` int64 [n_sites, most neighbours]; ``images`` int64 [n_kinds, n_shells],
    how many images each kind has in every shell. Kind 0 has none; with the site itself it pads.
    """

    sites: np.ndarray
    kinds: np.ndarray
    images: np.ndarray

    def kind(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Kind of the pairs of sites i and j, [n]; 0 where they are not near."""
        return np.where(self.sites[i] == j[:, None], self.kinds[i], 0).max(axis=1, initial=0)


def _find_neighbours(lattice: Lattice, n_shells: int) -> _Neighbours:
    """Neighbours within their own sublattice, in the ``n_shells`` nearest shells."""
    n_sites = lattice.n_sites
    found = [np.empty((0, 3), dtype=np.int64)]
    for name in lattice.names:
        if len(lattice.sublattices[name].species) > 1:
            for n, shell in enumerate(lattice.shells(n_shells, name)):
                i, j = shell.pairs[shell.pairs[:, 0] != shell.pairs[:, 1]].T
                found.append(np.stack([i, j, np.full_like(i, n)], axis=1))
    i, j, n = np.concatenate(found).T
    pairs, which = np.unique(i * n_sites + j, return_inverse=True)
    images = np.zeros((len(pairs), n_shells), dtype=np.int64)
    np.add.at(images, (which, n), 1)
    kinds, kind = np.unique(images, axis=0, return_inverse=True)
    home, near = np.divmod(pairs, n_sites)
    place = np.arange(len(home)) - np.searchsorted(home, home)
    width = int(place.max(initial=-1)) + 1
    table = np.tile(np.arange(n_sites)[:, None], (1, width))
    kind_table = np.zeros_like(table)
    table[home, place] = near
    kind_table[home, place] = 1 + kind.ravel()
    none = np.zeros((1, n_shells), dtype=np.int64)
    return _Neighbours(table, kind_table, np.concatenate([none, kinds]))


class NearTerms(NamedTuple):
    """Pair terms of some replicas, as changes of their log density.

    ``values`` float64 [n_replicas, n_pairs, n_kinds], by pair of species (in the order of
    ``species_pairs``) and kind of neighbour; ``pair_of`` [n_sublattices, n_species, n_species].
    """

    values: np.ndarray
    neighbours: _Neighbours
    pair_of: np.ndarray
    sublattice: np.ndarray

    def of_swaps(self, sites: np.ndarray, species: np.ndarray) -> np.ndarray:
        """Pair term of one swap per replica, [n_replicas]; any number where sites are −1."""
        pair = self.pair_of[self.sublattice[sites[:, 0]], species[:, 0], species[:, 1]]
        kind = self.neighbours.kind(sites[:, 0], sites[:, 1])
        return np.asarray(self.values[np.arange(len(sites)), pair, kind])

    def added_to_rows(self, rows: np.ndarray, held: np.ndarray, sites: np.ndarray) -> np.ndarray:
        """Add the pair terms of sites i [n_replicas, m] to ``rows`` [n_replicas, m, n_sites]."""
        replicas = np.arange(len(rows))[:, None, None]
        near = self.neighbours.sites[sites]
        own = held[replicas[:, :, 0], sites][:, :, None]
        pair = self.pair_of[self.sublattice[sites][:, :, None], own, held[replicas, near]]
        rows = rows.copy()
        rows[replicas, np.arange(sites.shape[1])[None, :, None], near] += self.values[
            replicas, pair, self.neighbours.kinds[sites]
        ]
        return rows

    def log_row_sums(self, pair: int, sites: np.ndarray, log_partners: np.ndarray) -> np.ndarray:
        """Return log Σ_j u_j exp(W_ij/2) of given sites i, [n_replicas, len(sites)].

        ``log_partners`` [n_replicas, n_sites] holds log u_j, −inf where j is no partner. The sum
        over all j is shared and the near j are put right, O(n_sites · neighbours); a row in which
        that cancels more than two digits is summed term by term.
        """
        far = log_sum_exp(log_partners)[:, None]
        if not self.values[:, pair].any():
            return np.repeat(far, len(sites), axis=1)
        # np.take leaves the neighbours last in memory, which sums over them need (see _swaps).
        shift = 0.5 * np.take(self.values[:, pair], self.neighbours.kinds[sites], axis=1)
        near = np.take(log_partners, self.neighbours.sites[sites], axis=1)
        peak = np.maximum(far, (near + shift).max(axis=2, initial=-np.inf))
        peak = np.where(np.isfinite(peak), peak, 0.0)
        change = np.exp(near + shift - peak[:, :, None]) - np.exp(near - peak[:, :, None])
        total = np.exp(far - peak) + change.sum(axis=2)
        lost = np.isfinite(far) & (total < _LOST_DIGITS)
        with np.errstate(divide="ignore"):
            log_sums = np.log(np.where(lost, 1.0, np.maximum(total, 0.0))) + peak
        replicas, rows = np.nonzero(lost)
        block = max(1, _BLOCK_ELEMENTS // log_partners.shape[1])
        for start in range(0, len(rows), block):
            r, m = replicas[start : start + block], rows[start : start + block]
            weights = log_partners[r]
            weights[np.arange(len(r))[:, None], self.neighbours.sites[sites[m]]] += shift[r, m]
            log_sums[r, m] = log_sum_exp(weights)
        return np.asarray(log_sums)


class SwapTerms:
    """Columns of the correction of swaps: C per unordered species pair, W per pair and shell."""

    n_changes = 2

    def __init__(self, lattice: Lattice, n_shells: int) -> None:
        self.lattice, self.n_shells = lattice, n_shells
        self._sublattice = np.asarray(lattice.sublattice_of_site)
        self._pairs = species_pairs(lattice)
        n_species = lattice.n_species_max
        self._pair_of = np.zeros((len(lattice.names), n_species, n_species), dtype=np.int64)
        for index, (s, a, b) in enumerate(self._pairs):
            self._pair_of[s, a, b] = self._pair_of[s, b, a] = index
        self._neighbours = _find_neighbours(lattice, n_shells) if n_shells else None
        n_pairs = len(self._pairs)
        self.widths = np.repeat([CONSTANT_WIDTH, PAIR_WIDTH], [n_pairs, n_pairs * n_shells])

    def columns(self, sites: np.ndarray, species: np.ndarray, held: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Columns [n, n_columns] of swaps [n, 2]: what the sites held is what they exchange."""
        n_pairs, rows = len(self._pairs), np.arange(len(sites))
        pair = self._pair_of[self._sublattice[sites[:, 0]], species[:, 0], species[:, 1]]
        columns = np.zeros((len(sites), len(self.widths)))
        columns[rows, pair] = 1.0
        if self._neighbours is not None:
            images = self._neighbours.images[self._neighbours.kind(*sites.T)]
            shells = columns[:, n_pairs:].reshape(len(sites), n_pairs, self.n_shells)
            shells[rows, pair] = images
        return columns

    def curvature(self, parameters: np.ndarray) -> np.ndarray:
        """Half of C, the share of each site, by [sublattice, species held, species to be]."""
        shared = np.zeros(self._pair_of.shape)
        s, a, b = self._pairs.T
        shared[s, a, b] = shared[s, b, a] = 0.5 * parameters[: len(self._pairs)]
        return shared

    def labelled(self, parameters: np.ndarray) -> dict[str, list[float]]:
        """C and the W of all shells, by sublattice and pair of species."""
        pairs = parameters[len(self._pairs) :].reshape(len(self._pairs), self.n_shells)
        return {
            _label(self.lattice, pair, "–"): [float(parameters[index]), *pairs[index].tolist()]
            for index, pair in enumerate(self._pairs)
        }

    def near(self, parameters: np.ndarray, slopes: np.ndarray) -> NearTerms | None:
        """Pair terms of replicas with those slopes; None if there are none."""
        pairs = parameters[len(self._pairs) :].reshape(len(self._pairs), self.n_shells)
        if self._neighbours is None or not pairs.any():
            return None
        energies = (self._neighbours.images[None] * pairs[:, None, :]).sum(axis=2)
        values = slopes[:, None, None] * energies
        return NearTerms(values, self._neighbours, self._pair_of, self._sublattice)


class FlipTerms:
    """Columns of the correction of flips: C per ordered species pair of every sublattice."""

    n_changes = 1
    n_shells = 0

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self._sublattice = np.asarray(lattice.sublattice_of_site)
        unordered = species_pairs(lattice)
        self._pairs = np.concatenate([unordered, unordered[:, [0, 2, 1]]])
        n_species = lattice.n_species_max
        self._pair_of = np.zeros((len(lattice.names), n_species, n_species), dtype=np.int64)
        self._pair_of[tuple(self._pairs.T)] = np.arange(len(self._pairs))
        self.widths = np.full(len(self._pairs), CONSTANT_WIDTH)

    def columns(self, sites: np.ndarray, species: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Columns [n, n_columns] of flips [n, 1]."""
        columns = np.zeros((len(sites), len(self.widths)))
        pair = self._pair_of[self._sublattice[sites[:, 0]], held[:, 0], species[:, 0]]
        columns[np.arange(len(sites)), pair] = 1.0
        return columns

    def curvature(self, parameters: np.ndarray) -> np.ndarray:
        """C by [sublattice, species held, species to be]."""
        table = np.zeros(self._pair_of.shape)
        table[tuple(self._pairs.T)] = parameters
        return table

    def labelled(self, parameters: np.ndarray) -> dict[str, list[float]]:
        """C by sublattice, species held and species to be."""
        return {
            _label(self.lattice, pair, "→"): [float(parameters[index])]
            for index, pair in enumerate(self._pairs)
        }

    def near(self, parameters: np.ndarray, slopes: np.ndarray) -> None:  # noqa: ARG002
        """Return None: a flip has no partner."""
        return


@dataclass(frozen=True, eq=False)
class PairCorrection:
    """Fitted parameters in eV and the normal equations of all moves they were fitted to.

    ``moments`` = XᵀX, ``products`` = Xᵀy and ``squares`` = yᵀy, with X the columns of the moves and
    y what the first-order estimate misses, in eV.
    """

    terms: SwapTerms | FlipTerms
    parameters: np.ndarray
    moments: np.ndarray
    products: np.ndarray
    squares: float = 0.0
    moves: int = 0

    @classmethod
    def none(cls, terms: SwapTerms | FlipTerms) -> PairCorrection:
        """Correction that corrects nothing yet."""
        n = len(terms.widths)
        return cls(terms, np.zeros(n), np.zeros((n, n)), np.zeros(n))

    def suits(self, lattice: Lattice, flips: bool, n_shells: int) -> bool:
        """Whether this is a correction of such moves on such a lattice."""
        alike = isinstance(self.terms, FlipTerms) == flips and self.terms.n_shells == n_shells
        return alike and self.terms.lattice == lattice

    def field_shift(self, occupations: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Shift of the flip field by the constants, [n_replicas, n_sites, n_species_max]."""
        table = self.terms.curvature(self.parameters)
        sublattice = np.asarray(self.terms.lattice.sublattice_of_site)
        return slopes[:, None, None] * table[sublattice[None, :], occupations]

    def near(self, slopes: np.ndarray) -> NearTerms | None:
        """Pair terms of replicas with those slopes; None if there are none."""
        return self.terms.near(self.parameters, slopes)

    def refined(self, infos: Sequence[Info], ensemble: Ensemble) -> PairCorrection:
        """Correction fitted to the moves that it was used in as well as to those before them."""
        fits = [self._missed(info, energy_slopes(ensemble, len(info.accepted))) for info in infos]
        columns = np.concatenate([np.empty((0, len(self.parameters))), *(c for c, _ in fits)])
        missed = np.concatenate([np.empty(0), *(m for _, m in fits)])
        moments = self.moments + columns.T @ columns
        products = self.products + (columns * missed[:, None]).sum(axis=0)
        squares = self.squares + float((missed**2).sum())
        moves = self.moves + len(missed)
        parameters = _ridge(moments, products, squares, moves, self.terms.widths)
        return PairCorrection(self.terms, parameters, moments, products, squares, moves)

    def _missed(self, info: Info, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns of the moves proposed, and what first order missed of each, in eV."""
        n = self.terms.n_changes
        moved = (info.sites >= 0).sum(axis=1) == n
        known = np.isfinite(info.log_density_change) & np.isfinite(info.estimated_change)
        rows = np.flatnonzero(moved & known & (slopes != 0))
        columns = self.terms.columns(
            info.sites[rows, :n], info.species[rows, :n], info.held[rows, :n]
        )
        change = info.log_density_change[rows] - info.estimated_change[rows]
        return columns, change / slopes[rows] + (columns * self.parameters).sum(axis=1)

    def summary(self) -> dict[str, Any]:
        """Parameters in eV, C first and then W by shell, and the moves they were fitted to."""
        return {"correction": self.terms.labelled(self.parameters), "moves": self.moves}

    def to_arrays(self) -> dict[str, Any]:
        """Parameters and normal equations as lists and numbers."""
        return {
            "correction": self.parameters.tolist(),
            "moments": self.moments.tolist(),
            "products": self.products.tolist(),
            "squares": self.squares,
            "moves": self.moves,
        }

    def with_arrays(self, arrays: Mapping[str, Any]) -> PairCorrection:
        """Return the correction that ``to_arrays`` gave."""
        n = len(self.terms.widths)
        return replace(
            self,
            parameters=np.array(arrays["correction"], dtype=np.float64).reshape(n),
            moments=np.array(arrays["moments"], dtype=np.float64).reshape(n, n),
            products=np.array(arrays["products"], dtype=np.float64).reshape(n),
            squares=float(arrays["squares"]),
            moves=int(arrays["moves"]),
        )


def _label(lattice: Lattice, pair: np.ndarray, joint: str) -> str:
    """Name of a pair of species, (sublattice, a, b)."""
    name = lattice.names[pair[0]]
    species = lattice.sublattices[name].species
    return f"{name} {species[pair[1]]}{joint}{species[pair[2]]}"


def _ridge(
    moments: np.ndarray, products: np.ndarray, squares: float, moves: int, widths: np.ndarray
) -> np.ndarray:
    """Ridge regression: the ridge is the variance left over ÷ the expected width squared.

    The variance is that of the fit itself, to which ten moves off by 0.05 eV are added, found in a
    few rounds. A parameter without data stays 0.
    """
    variance = NOISE**2
    for _ in range(ROUNDS):
        ridge = np.diag(variance / widths**2)
        parameters = np.linalg.solve(moments + ridge, products)
        explained = 2.0 * products - (moments * parameters).sum(axis=1)
        left_over = max(0.0, squares - float((explained * parameters).sum()))
        variance = (left_over + NOISE_MOVES * NOISE**2) / (moves + NOISE_MOVES)
    return parameters
