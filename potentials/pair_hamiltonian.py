"""Pair models: couplings by shell and pair of species, with energies of single sites."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..sublattice import is_number, shown
from ..tiling import Tiling, find_tiling
from .interactions import Interaction
from .lattice_hamiltonian import LatticeHamiltonian

__all__ = ["PairHamiltonian"]

Couplings = Sequence[np.ndarray | Mapping[tuple[str, str], float]]


class PairHamiltonian(LatticeHamiltonian):
    """E = E0 + Σ_i e_i[σ_i] + Σ_shells Σ_pairs V_shell[σ_i, σ_j], each pair counted once.

    A pair at the distance of a shell counts as often as it occurs in the periodic crystal: in a
    small cell once for every image.

    Parameters
    ----------
    lattice
        Sites and species.
    couplings
        One entry per neighbour shell, nearest first: V in eV as an array [n_species, n_species] in
        the order of the sublattice's species (symmetric), or as a mapping
        ``{("Sc", "Ta"): -0.1}`` of species pairs, in which pairs left out have no energy. With
        several sublattices, a mapping from pairs of their names to such lists; between different
        sublattices the array's rows are the first one's species and need not be symmetric.
    onsite
        Energies in eV of single species, ``{"B": {"Sc": 0.1}}`` for all sites of a sublattice, or
        an array [n_sites, n_species_max] for every site by itself.
    constant
        Energy E0 of the cell in eV.
    threads
        Threads over which replicas are spread; by default the processor's.

    Raises
    ------
    InputError
        If couplings have the wrong shape, are not finite or not symmetric, or name unknown species
        or sublattices.

    Examples
    --------
    The Ising antiferromagnet on the B sites of a perovskite, J = 10 meV:

    >>> import numpy as np
    >>> from alchemc import PairHamiltonian, builders
    >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=(4, 4, 4))
    >>> hamiltonian = PairHamiltonian(lattice, [0.01 * np.array([[1, -1], [-1, 1]])])
    >>> parity = np.indices((4, 4, 4)).sum(axis=0).ravel() % 2
    >>> round(float(hamiltonian.energy(parity)), 6)  # 192 bonds, all unlike
    -1.92
    """

    def __init__(
        self,
        lattice: Lattice,
        couplings: Couplings | Mapping[tuple[str, str], Couplings],
        *,
        onsite: np.ndarray | Mapping[str, Mapping[str, float]] | None = None,
        constant: float = 0.0,
        threads: int | None = None,
    ) -> None:
        tiling = find_tiling(lattice)
        sublattice_of_kind = _sublattices_of_kinds(lattice, tiling)
        interactions: list[Interaction] = []
        for (one, other), shells in _by_sublattices(lattice, couplings).items():
            tables = [_table(lattice, one, other, n, shell) for n, shell in enumerate(shells)]
            found = _shell_pairs(tiling, sublattice_of_kind, one, other, len(tables))
            interactions += [
                Interaction((a, b), np.array([(0, 0, 0), cell]), tables[shell])
                for shell, a, b, cell in found
            ]
        field = None
        if isinstance(onsite, Mapping):
            interactions += _onsite(lattice, sublattice_of_kind, onsite)
        elif onsite is not None:
            field = onsite
        super().__init__(
            lattice, tiling, interactions, constant=constant, field=field, threads=threads
        )


def _sublattices_of_kinds(lattice: Lattice, tiling: Tiling) -> list[str]:
    return [lattice.names[int(lattice.sublattice_of_site[n])] for n in tiling.first_sites]


def _by_sublattices(
    lattice: Lattice, couplings: Couplings | Mapping[tuple[str, str], Couplings]
) -> Mapping[tuple[str, str], Couplings]:
    if not isinstance(couplings, Mapping):
        if not isinstance(couplings, Sequence | np.ndarray) or isinstance(couplings, str):
            raise InputError(
                f"couplings are {shown(couplings)}; give a list with one entry per neighbour shell"
            )
        if len(lattice.names) > 1:
            names = ", ".join(lattice.names)
            raise InputError(
                f"couplings need the names of two sublattices here (there are {names}): give "
                f"{{('{lattice.names[0]}', '{lattice.names[1]}'): [...]}}"
            )
        return {(lattice.names[0], lattice.names[0]): couplings}
    for pair in couplings:
        if not isinstance(pair, tuple) or len(pair) != 2 or set(pair) - set(lattice.names):
            raise InputError(
                f"couplings of {pair!r}: give pairs of sublattices out of "
                f"{', '.join(lattice.names)}"
            )
        if pair[0] != pair[1] and pair[::-1] in couplings:
            raise InputError(f"couplings of {pair} are given twice; leave out {pair[::-1]}")
    return couplings


def _table(
    lattice: Lattice,
    one: str,
    other: str,
    shell: int,
    given: np.ndarray | Mapping[tuple[str, str], float],
) -> np.ndarray:
    rows, columns = (lattice.sublattices[name].species for name in (one, other))
    where = f"couplings of shell {shell} ({one}–{other})"
    table = np.zeros((len(rows), len(columns)))
    if isinstance(given, Mapping):
        for pair, value in given.items():
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise InputError(f"{where}: {pair!r} is no pair of species; give ('Sc', 'Ta')")
            a, b = pair
            if a not in rows or b not in columns:
                raise InputError(
                    f"{where}: no pair {a}–{b}; species are {', '.join(rows)} and "
                    f"{', '.join(columns)}"
                )
            if not is_number(value):
                raise InputError(f"{where}: {a}–{b} is {shown(value)}; give a finite number in eV")
            if one == other and given.get((b, a), value) != value:
                raise InputError(
                    f"{where}: {a}–{b} is {value} but {b}–{a} is {given[b, a]}; give the pair once"
                )
            table[rows.index(a), columns.index(b)] = value
            if one == other:
                table[rows.index(b), columns.index(a)] = value
        return table
    try:
        values = np.array(given, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{where} are {shown(given)}; give numbers in eV") from None
    if values.shape != table.shape:
        raise InputError(
            f"{where} have shape {values.shape}; give one row per species of {one} and one column "
            f"per species of {other}, {table.shape}"
        )
    if not np.isfinite(values).all():
        a, b = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"{where}: {rows[a]}–{columns[b]} is {values[a, b]}; give a finite number in eV"
        )
    if one == other and not np.allclose(values, values.T, rtol=0, atol=1e-12):
        a, b = np.argwhere(values != values.T)[0]
        raise InputError(
            f"{where} are not symmetric: {rows[a]}–{rows[b]} is {values[a, b]} but "
            f"{rows[b]}–{rows[a]} is {values[b, a]}; give a pair one energy, whichever comes first"
        )
    return values


def _onsite(
    lattice: Lattice, sublattice_of_kind: list[str], onsite: Mapping[str, Mapping[str, float]]
) -> list[Interaction]:
    interactions = []
    for name, energies in onsite.items():
        if name not in lattice.names:
            raise InputError(
                f"onsite: no sublattice {name!r}; there are {', '.join(lattice.names)}"
            )
        species = lattice.sublattices[name].species
        if not isinstance(energies, Mapping):
            raise InputError(
                f"onsite energies of {name} are {shown(energies)}; give eV by species, such as "
                f"{{'{name}': {{'{species[0]}': 0.1}}}}"
            )
        table = np.zeros(len(species))
        for symbol, value in energies.items():
            if symbol not in species:
                raise InputError(
                    f"onsite: no species {symbol!r} on {name}; it holds {', '.join(species)}"
                )
            if not is_number(value):
                raise InputError(
                    f"onsite: {symbol} on {name} is {shown(value)}; give a finite number in eV"
                )
            table[species.index(symbol)] = value
        interactions += [
            Interaction((kind,), np.zeros((1, 3), dtype=np.int64), table)
            for kind, of in enumerate(sublattice_of_kind)
            if of == name
        ]
    return interactions


def _shell_pairs(
    tiling: Tiling, sublattice_of_kind: list[str], one: str, other: str, n_shells: int
) -> list[tuple[int, int, int, np.ndarray]]:
    """Return (shell, kind, kind, cell) of every pair once, for the nearest shells."""
    if n_shells == 0:
        return []
    centres = [k for k, of in enumerate(sublattice_of_kind) if of == one]
    others = [k for k, of in enumerate(sublattice_of_kind) if of == other]
    volume = abs(np.linalg.det(tiling.primitive)) / len(others)
    cutoff = 1.5 * np.cbrt(volume * (n_shells + 1))
    while True:
        reach = np.ceil(cutoff * np.linalg.norm(np.linalg.inv(tiling.primitive), axis=0)).astype(
            int
        )
        cells = np.array(list(itertools.product(*(range(-r - 1, r + 2) for r in reach))))
        pairs = []
        for a, b in itertools.product(centres, others):
            apart = tiling.basis[b] - tiling.basis[a]
            nearest = cells - np.round(apart @ np.linalg.inv(tiling.primitive)).astype(int)
            distance = np.linalg.norm(apart + nearest @ tiling.primitive, axis=1)
            near = np.flatnonzero((distance < cutoff) & (distance > 1e-6))
            pairs += [(float(distance[n]), a, b, tuple(nearest[n].tolist())) for n in near]
        pairs.sort()
        steps = np.diff([p[0] for p in pairs], prepend=pairs[0][0] if pairs else 0.0)
        label = np.cumsum(steps > 1e-3)
        if len(label) and label[-1] >= n_shells:
            break
        cutoff *= 1.3
    return [
        (int(shell), a, b, np.array(cell))
        for shell, (_, a, b, cell) in zip(label, pairs, strict=True)
        if shell < n_shells and (one != other or (a, b, cell) <= (b, a, tuple(-x for x in cell)))
    ]
