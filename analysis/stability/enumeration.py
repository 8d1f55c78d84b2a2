"""Every arrangement of the species of a crystal in small cells, once up to symmetry, by icet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import comb, prod
from typing import NamedTuple

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from ...compositions import Composition
from ...errors import InputError
from ...lattice import Lattice, Sublattice

__all__ = ["Orderings", "enumerate_orderings", "primitive_lattice"]

SYMPREC = 1e-3  # Å, as for lattices
MOST_LABELINGS = 2**21
"""More arrangements of one cell than this are refused: icet looks at each of them."""


class Orderings(NamedTuple):
    """Arrangements in cells of one shape.

    ``lattice``: the cell, of ``n_cells`` primitive cells of the parent; ``occupations`` int8
    [n, n_sites].
    """

    lattice: Lattice
    n_cells: int
    occupations: np.ndarray


def primitive_lattice(lattice: Lattice) -> Lattice:
    """Smallest cell by which a lattice repeats, all species of a sublattice alike.

    Sublattices, charges and nominal composition carry over. A lattice that is its own primitive
    cell is returned as it is.

    Raises
    ------
    InputError
        If spglib finds no cell.

    Examples
    --------
    >>> from alchemc import builders
    >>> primitive_lattice(builders.rocksalt(("Mg", "Ca"), "O", a=4.5, size=(2, 2, 2)))
    Lattice(2 atoms, cation: 1 × (Mg, Ca))
    """
    atoms, kinds = lattice.atoms, _kinds(lattice)
    crystal = (atoms.cell.array.tolist(), atoms.get_scaled_positions().tolist(), kinds.tolist())
    try:
        found = spglib.standardize_cell(crystal, to_primitive=True, no_idealize=True,
                                        symprec=SYMPREC)  # fmt: skip
    except spglib.SpglibError:  # raised or returned as None, by spglib's setting
        found = None
    if found is None:
        raise InputError(
            "spglib finds no primitive cell of the lattice; check its reference for atoms that are "
            "too close"
        )
    cell, scaled, labels = found
    if len(labels) == len(atoms):
        return lattice
    # Kinds are atomic numbers of spectators, and numbers that these leave free for sublattices.
    smaller = Atoms(labels, scaled_positions=scaled, cell=cell, pbc=True)
    return _lattice_of(lattice, smaller, lattice.composition)


def enumerate_orderings(
    parent: Lattice,
    sizes: Sequence[int] | range = range(1, 5),
    composition: Composition | None = None,
    *,
    neutral: bool = False,
) -> list[Orderings]:
    """Every arrangement in cells of some sizes, once up to the symmetry of the crystal.

    By icet (Ångqvist et al., Adv. Theory Simul. 2, 1900015 (2019), doi:10.1002/adts.201900015)
    after Hart and Forcade (Phys. Rev. B 77, 224115 (2008), doi:10.1103/PhysRevB.77.224115; several
    sites per cell: 80, 014120 (2009), doi:10.1103/PhysRevB.80.014120). An arrangement that a
    smaller cell holds is not listed again under the larger one.

    Parameters
    ----------
    parent
        The crystal: its primitive cell, or any cell that it is found from.
    sizes
        Numbers of primitive cells.
    composition
        Fractions by sublattice and species, for all sublattices; every composition by default.
    neutral
        Whether to keep only arrangements whose charges add up to zero.

    Returns
    -------
    list of Orderings
        One for each shape of cell, small cells first.

    Raises
    ------
    InputError
        If sizes are no positive numbers, charges that are asked for are missing, arrangements are
        too many, or none fits the composition or is neutral.

    Examples
    --------
    >>> from alchemc import builders
    >>> parent = builders.rocksalt(("Mg", "Ca"), "O", a=4.5)
    >>> found = enumerate_orderings(parent, range(1, 5))
    >>> [sum(len(o.occupations) for o in found if o.n_cells == n) for n in range(1, 5)]
    [2, 2, 6, 19]
    """
    sizes = _checked_sizes(sizes)
    parent = primitive_lattice(parent)
    if neutral and (parent.charges is None or parent.spectator_charge is None):
        raise InputError(
            "neutral=True needs charges: give every sublattice charges and the lattice "
            "spectator_charges"
        )
    fractions = None if composition is None else _fractions(parent, composition)
    fitting = [n for n in sizes if fractions is None or _is_whole(parent, fractions, n)]
    for n in fitting:
        _check_number(parent, fractions, n)
    found = [o for n in fitting for o in _orderings(parent, n, fractions, neutral)]
    if not found:
        wanted = "neutral arrangement" if neutral else f"arrangement of {dict(composition or {})}"
        raise InputError(
            f"cells of {', '.join(map(str, sizes))} primitive cells of {parent!r} hold no {wanted}:"
            " give other sizes"
        )
    return found


def _orderings(
    parent: Lattice, n_cells: int, fractions: dict[str, np.ndarray] | None, neutral: bool
) -> Iterator[Orderings]:
    for _, group in groupby(_derivatives(parent, n_cells, fractions), _shape):
        alike = list(group)
        lattice = _supercell(parent, alike[0], n_cells)
        numbers = np.array([atoms.numbers[lattice.sites] for atoms in alike])
        rows = lattice.atomic_numbers[None] == numbers[:, :, None]
        occupations = rows.argmax(axis=2).astype(np.int8)
        keep = np.ones(len(occupations), dtype=bool)
        if fractions is not None:
            counts = lattice.counts(occupations)
            for name, row in fractions.items():
                wanted = row * len(lattice.sublattices[name].sites)
                held = counts[:, lattice.names.index(name), : len(row)]
                keep &= (np.abs(held - wanted) < 0.5).all(axis=1)
        if neutral:
            keep &= np.abs(_charge(lattice, occupations)) < 1e-6
        if keep.any():
            yield Orderings(lattice, n_cells, occupations[keep])


def _derivatives(
    parent: Lattice, n_cells: int, fractions: dict[str, np.ndarray] | None
) -> Iterator[Atoms]:
    """Structures of one size from icet, whose symmetry sees one element for every sublattice."""
    from icet.tools import enumerate_structures  # noqa: PLC0415  (slow to import)

    atoms = Atoms(
        _kinds(parent), positions=parent.atoms.positions, cell=parent.atoms.cell, pbc=True
    )
    allowed = [[symbol] for symbol in parent.atoms.get_chemical_symbols()]
    for site, index in enumerate(parent.sites.tolist()):
        allowed[index] = list(parent.species_of(site))
    restrictions = {}
    held = [species for entry in allowed for species in set(entry)]
    for name, row in (fractions or {}).items():
        sublattice = parent.sublattices[name]
        share = len(sublattice.sites) / len(atoms)
        for species, x in zip(sublattice.species, row, strict=True):
            if held.count(species) == len(sublattice.sites):  # nowhere else
                restrictions[species] = (x * share - 1e-6, x * share + 1e-6)
    yield from enumerate_structures(
        atoms, [n_cells], allowed, concentration_restrictions=restrictions or None,
        symprec=SYMPREC,
    )  # fmt: skip


def _shape(atoms: Atoms) -> bytes:
    return np.round(atoms.cell.array, 6).tobytes() + np.round(atoms.positions, 6).tobytes()


def _supercell(parent: Lattice, atoms: Atoms, n_cells: int) -> Lattice:
    """Lattice of a derivative structure: icet lists the parent's atoms cell by cell."""
    n = len(parent.atoms)
    shifts = (atoms.positions.reshape(n_cells, n, 3) - parent.atoms.positions) @ np.linalg.inv(
        parent.atoms.cell.array
    )
    if np.abs(shifts - np.round(shifts)).max() > 1e-3:
        raise InputError("icet lists the atoms of an enumerated cell in an order that is not known")
    return _lattice_of(parent, Atoms(
        np.tile(_kinds(parent), n_cells), positions=atoms.positions, cell=atoms.cell, pbc=True
    ))  # fmt: skip


def _lattice_of(model: Lattice, atoms: Atoms, composition: Composition | None = None) -> Lattice:
    """Lattice of atoms whose numbers are the kinds of ``model``, with its sublattices."""
    found = atoms.copy()
    sublattices = {}
    for name, kind in _sublattice_kinds(model).items():
        species, charges = model.sublattices[name].species, model.sublattices[name].charges
        sites = np.flatnonzero(atoms.numbers == kind)
        sublattices[name] = Sublattice(tuple(sites.tolist()), species, charges)
        found.numbers[sites] = atomic_numbers[species[0]]
    return Lattice(found, sublattices, model.spectator_charges, composition=composition)


def _kinds(lattice: Lattice) -> np.ndarray:
    """Atomic number of every spectator, and for sites one that no spectator has."""
    kinds = lattice.atoms.numbers.copy()
    for name, kind in _sublattice_kinds(lattice).items():
        kinds[lattice.sites[lattice.site_slice(name)]] = kind
    return kinds


def _sublattice_kinds(lattice: Lattice) -> dict[str, int]:
    taken = set(lattice.atoms.numbers[lattice.spectators].tolist())
    free = (z for z in range(1, len(chemical_symbols)) if z not in taken)
    return dict(zip(lattice.names, free, strict=False))


def _charge(lattice: Lattice, occupations: np.ndarray) -> np.ndarray:
    assert lattice.charges is not None  # noqa: S101  (checked before)
    assert lattice.spectator_charge is not None  # noqa: S101
    held = lattice.charges[np.arange(lattice.n_sites), occupations]
    return np.asarray(held.sum(axis=1) + lattice.spectator_charge)


def _checked_sizes(sizes: Sequence[int] | range) -> list[int]:
    given = list(sizes) if isinstance(sizes, Iterable) else [sizes]
    whole = [isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0 for n in given]
    if not given or not all(whole):
        raise InputError(
            f"sizes are {sizes!r}; give whole numbers of primitive cells such as range(1, 5)"
        )
    return sorted({int(n) for n in given})


def _fractions(parent: Lattice, composition: Composition) -> dict[str, np.ndarray]:
    weights = parent.mean_weights(composition)
    return {
        name: weights[parent.site_slice(name)][0, : len(parent.sublattices[name].species)]
        for name in parent.names
    }


def _is_whole(parent: Lattice, fractions: dict[str, np.ndarray], n_cells: int) -> bool:
    counts = [row * len(parent.sublattices[k].sites) * n_cells for k, row in fractions.items()]
    return all(np.abs(row - np.round(row)).max() < 1e-6 for row in counts)


def _check_number(parent: Lattice, fractions: dict[str, np.ndarray] | None, n_cells: int) -> None:
    """Refuse cells with too many arrangements before icet starts on them."""
    number = 1
    for name, sublattice in parent.sublattices.items():
        n = len(sublattice.sites) * n_cells
        if fractions is None:
            number *= len(sublattice.species) ** n
        else:
            counts = np.round(fractions[name] * n).astype(int).tolist()
            number *= prod(comb(sum(counts[k:]), counts[k]) for k in range(len(counts)))
    if number > MOST_LABELINGS:
        raise InputError(
            f"cells of {n_cells} primitive cells of {parent!r} have {number:.3g} arrangements, "
            f"too many to enumerate (at most {MOST_LABELINGS}): give smaller sizes"
            + ("" if fractions is not None else " or a composition")
        )
