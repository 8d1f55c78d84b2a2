"""The table of exchanges that keep charges and other integer constraints, and draws from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..sublattice import is_whole, suggestion
from ._moves import Rows, graver_basis
from ._swaps import Swap, choose

__all__ = ["Constraint", "ExchangeTable", "constraint_matrix"]

Constraint = Mapping[str, Mapping[str, int]]
"""What each species of a sublattice counts for: whole numbers, 0 where nothing is given."""

LARGEST_DENOMINATOR = 12
LARGEST_COEFFICIENT = 1_000


def constraint_matrix(lattice: Lattice, constraints: Sequence[Constraint]) -> np.ndarray:
    """Constraints on the counts, int64 [n_rows, n_sublattices · n_species_max].

    Charges come first, where the lattice has them, shifted and scaled to small whole numbers; the
    sizes of the sublattices are left out.

    Raises
    ------
    InputError
        If there are neither charges nor constraints, charges differ by no simple fractions, or a
        constraint names what is not there or gives no whole numbers.
    """
    if isinstance(constraints, str | Mapping) or not isinstance(constraints, Sequence):
        raise InputError(
            f"constraints are {constraints!r}; give a list of mappings such as "
            "[{'A': {'La': 1}, 'B': {'Al': -1}}]"
        )
    rows = [] if lattice.charges is None else [_charge_row(lattice)]
    rows += [_constraint_row(lattice, constraint) for constraint in constraints]
    if not rows:
        raise InputError(
            "the lattice has no charges and no constraints are given, so there is nothing to "
            "keep: give charges to its sublattices, or use RandomFlip"
        )
    return np.array(rows, dtype=np.int64)


def _charge_row(lattice: Lattice) -> np.ndarray:
    """Charges relative to the first species of each sublattice: its size is kept in any case."""
    exact: dict[tuple[int, int], Fraction] = {}
    for s, (name, sublattice) in enumerate(lattice.sublattices.items()):
        first, *others = sublattice.charges or (0.0,)
        for k, charge in enumerate(others, start=1):
            exact[s, k] = Fraction(charge - first).limit_denominator(LARGEST_DENOMINATOR)
            if abs(float(exact[s, k]) - (charge - first)) > 1e-9:
                raise InputError(
                    f"the charges of {sublattice.species[0]!r} and {sublattice.species[k]!r} on "
                    f"{name!r}, {first:g} and {charge:g}, differ by no fraction with a denominator "
                    f"up to {LARGEST_DENOMINATOR}: give whole numbers, or write 8/3 for 2.667"
                )
    scale = math.lcm(*(q.denominator for q in exact.values()))
    whole = {where: int(q * scale) for where, q in exact.items()}
    common = math.gcd(*whole.values()) or 1
    if max(map(abs, whole.values()), default=0) > LARGEST_COEFFICIENT * common:
        raise InputError(
            f"the charges differ by multiples of {Fraction(common, scale)} e only, too fine for "
            "few sites to balance: give charges with a larger common unit"
        )
    return _row(lattice, {where: charge // common for where, charge in whole.items()})


def _constraint_row(lattice: Lattice, constraint: Constraint) -> np.ndarray:
    if not isinstance(constraint, Mapping):
        raise InputError(
            f"the constraint {constraint!r} is no mapping; give one such as {{'A': {{'La': 1}}}}"
        )
    values: dict[tuple[int, int], int] = {}
    for name, numbers in constraint.items():
        if name not in lattice.names:
            raise InputError(
                f"a constraint names the sublattice {name!r}; {suggestion(name, lattice.names)}"
            )
        species = lattice.sublattices[name].species
        if not isinstance(numbers, Mapping):
            raise InputError(
                f"a constraint on {name!r} is {numbers!r}; give a whole number by species"
            )
        for symbol, value in numbers.items():
            if symbol not in species:
                raise InputError(
                    f"a constraint names {symbol!r} on {name!r}; {suggestion(symbol, species)}"
                )
            if not is_whole(value, -LARGEST_COEFFICIENT) or value > LARGEST_COEFFICIENT:
                raise InputError(
                    f"a constraint counts {symbol!r} on {name!r} as {value!r}; give a whole "
                    f"number from −{LARGEST_COEFFICIENT} to {LARGEST_COEFFICIENT}"
                )
            values[lattice.names.index(name), species.index(symbol)] = int(value)
    if not any(values.values()):
        raise InputError(
            f"the constraint {dict(constraint)!r} counts nothing: give a species a number but 0"
        )
    return _row(lattice, values)


def _row(lattice: Lattice, values: Mapping[tuple[int, int], int]) -> np.ndarray:
    """Lay whole numbers by sublattice and species out over the columns."""
    row = np.zeros((len(lattice.names), lattice.n_species_max), dtype=np.int64)
    for where, value in values.items():
        row[where] = value
    return row.ravel()


class ExchangeTable:
    """Exchanges of several sites at once: the vectors of a Graver basis that fit into the cell.

    ``vectors`` int64 [n_moves, n_columns] say how the counts change; columns are sublattices times
    species, as in ``lattice.counts(…).reshape(n_replicas, -1)``. ``parts`` are the columns of each
    sublattice, ``width`` the most sites that one exchange changes.
    """

    def __init__(self, lattice: Lattice, matrix: np.ndarray) -> None:
        n_species = lattice.n_species_max
        sizes = np.array([len(s.sites) for s in lattice.sublattices.values()])
        self.parts = [
            s * n_species + np.arange(len(sublattice.species))
            for s, sublattice in enumerate(lattice.sublattices.values())
        ]
        self.vectors = _vectors(matrix, self.parts, sizes)
        if not len(self.vectors):
            raise InputError(
                "the constraints leave no species count free, so only swaps are possible: use "
                "RandomSwap, allow more species, or drop a constraint"
            )
        self._lattice = lattice
        self._site_offset = np.asarray(lattice.sublattice_of_site) * n_species
        self._log_factorial = np.array([math.lgamma(n + 1.0) for n in range(lattice.n_sites + 1)])
        self._lost, self._gained = (_slots(sign * self.vectors) for sign in (-1, 1))
        self.width = self._lost.shape[1]

    def describe(self) -> list[str]:
        """Write every exchange in words, such as ``"A: La -> Sr, B: 2 Al -> Ti + Zr"``."""
        return [
            ", ".join(
                f"{name}: {_listed(-change, s.species)} -> {_listed(change, s.species)}"
                for (name, s), part in zip(
                    self._lattice.sublattices.items(), self.parts, strict=True
                )
                if (change := vector[part]).any()
            )
            for vector in self.vectors
        ]

    def counts(self, occupations: np.ndarray) -> np.ndarray:
        """Species counts by column, int64 [n_replicas, n_columns]."""
        return self._lattice.counts(occupations).reshape(len(occupations), -1)

    def draw(self, occupations: np.ndarray, uniforms: np.ndarray) -> tuple[Swap, np.ndarray]:
        """Draw an exchange, its sites and their species from ``uniforms`` [n, 1 + 2 · width].

        Returns
        -------
        exchange
            Sites and species, −1 where there are not sites enough; its log probability is left 0.
        vectors
            How it changes the counts, [n_replicas, n_columns]; 0 where it is impossible.
        """
        move = (uniforms[:, 0] * len(self.vectors)).astype(np.int64)
        lost, gained, vectors = self._lost[move], self._gained[move], self.vectors[move]
        possible = (self.counts(occupations) + vectors >= 0).all(axis=1)
        used = possible[:, None] & (lost >= 0)
        sites = self._choose_sites(occupations, lost, uniforms[:, 1 : 1 + self.width])
        columns = self._shuffle(gained, uniforms[:, 1 + self.width :])
        species = (columns % self._lattice.n_species_max).astype(np.int8)
        exchange = Swap(
            np.where(used, sites, -1), np.where(used, species, np.int8(-1)), np.zeros(len(move))
        )
        return exchange, np.where(possible[:, None], vectors, 0)

    def log_ways(self, counts: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Log number of ways to carry exchanges out at ``counts``, both [n_replicas, n_columns].

        Per sublattice, Π_a C(n_a, L_a) choices of the L_a sites that lose a and (Σ_a L_a)!/Π_b G_b!
        distinct arrangements of the G_b species they gain.
        """
        lost, gained = np.maximum(-vectors, 0), np.maximum(vectors, 0)
        log_f = self._log_factorial
        choices = (log_f[counts] - log_f[lost] - log_f[counts - lost]).sum(axis=1)
        together = np.stack([lost[:, part].sum(axis=1) for part in self.parts], axis=1)
        arrangements = log_f[together].sum(axis=1) - log_f[gained].sum(axis=1)
        return np.asarray(choices + arrangements)

    def _choose_sites(
        self, occupations: np.ndarray, lost: np.ndarray, uniforms: np.ndarray
    ) -> np.ndarray:
        """Draw a site that holds each lost species, none of them twice, [n_replicas, width]."""
        column = self._site_offset + occupations
        taken = np.zeros(occupations.shape, dtype=bool)
        rows = np.arange(len(occupations))
        sites = np.empty(lost.shape, dtype=np.int64)
        for slot in range(lost.shape[1]):
            holders = (column == lost[:, slot, None]) & ~taken
            sites[:, slot] = choose(holders.astype(np.float64), uniforms[:, slot])
            taken[rows, sites[:, slot]] |= lost[:, slot] >= 0
        return sites

    def _shuffle(self, gained: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """Arrange the gained species at random within each sublattice; slots stay grouped by it."""
        group = np.where(gained >= 0, gained // self._lattice.n_species_max, len(self.parts))
        order = np.lexsort((uniforms, group), axis=1)
        return np.take_along_axis(gained, order, axis=1)


def _vectors(matrix: np.ndarray, parts: list[np.ndarray], sizes: np.ndarray) -> np.ndarray:
    """Vectors of the Graver basis that fit into sublattices of these ``sizes``, by column."""
    columns = np.concatenate([part for part in parts if len(part) > 1] or [np.zeros(0, int)])
    if not len(columns):
        return np.zeros((0, matrix.shape[1]), dtype=np.int64)
    keep_sizes = np.array([np.isin(columns, part) for part in parts if len(part) > 1], dtype=int)
    rows: Rows = tuple(map(tuple, np.concatenate([keep_sizes, matrix[:, columns]]).tolist()))
    basis = graver_basis(rows)
    vectors = np.zeros((len(basis), matrix.shape[1]), dtype=np.int64)
    vectors[:, columns] = basis
    moved = np.stack([np.maximum(vectors[:, part], 0).sum(axis=1) for part in parts], axis=1)
    return vectors[(moved <= sizes).all(axis=1)]


def _slots(vectors: np.ndarray) -> np.ndarray:
    """List the columns of the positive entries, each as often as it counts, padded with −1."""
    listed = [np.repeat(np.arange(len(v)), np.maximum(v, 0)) for v in vectors]
    slots = np.full((len(vectors), max(map(len, listed))), -1, dtype=np.int64)
    for row, columns in zip(slots, listed, strict=True):
        row[: len(columns)] = columns
    return slots


def _listed(change: np.ndarray, species: tuple[str, ...]) -> str:
    """Species with a positive change, such as ``"2 Al + Ti"``."""
    terms = [(int(n), symbol) for n, symbol in zip(change, species, strict=True) if n > 0]
    return " + ".join(symbol if n == 1 else f"{n} {symbol}" for n, symbol in terms)
