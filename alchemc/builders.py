"""Prototype structures as lattices: perovskite, rock salt, spinel and fluorite.

A position given as one symbol is a spectator; one given as several species is a sublattice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from .errors import InputError
from .lattice import Lattice, Sublattice
from .sublattice import VACANCY, check_symbol, is_number, shown, suggestion

__all__ = ["PROTOTYPES", "fluorite", "perovskite", "rocksalt", "spinel"]

Species = str | Sequence[str]

_FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def perovskite(
    A: Species,
    B: Species,
    X: Species,
    a: float,
    size: int | Sequence[int] = (1, 1, 1),
    *,
    charges: Mapping[str, float] | None = None,
    spectator_charges: Mapping[str, float] | None = None,
) -> Lattice:
    """Cubic perovskite ABX₃, space group Pm-3m, five atoms per cell.

    Parameters
    ----------
    A, B, X
        A symbol (spectator) or several species, which make a sublattice "A", "B" or "X". A lies
        at the corners, B at the centre and X at the face centres.
    a
        Lattice constant in Å.
    size
        Number of unit cells along each axis.
    charges
        Charge of each species on the sublattices in e; a vacancy "X" needs one too.
    spectator_charges
        Charge of each spectator element in e.

    Raises
    ------
    InputError
        For a lattice constant that is not a positive length, unknown species or missing charges.

    Examples
    --------
    >>> perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=(4, 4, 4))
    Lattice(320 atoms, B: 64 × (Sc, Ta))
    """
    half = 0.5
    faces = [[half, half, 0], [half, 0, half], [0, half, half]]
    groups = {
        "A": (A, [[0, 0, 0]]),
        "B": (B, [[half, half, half]]),
        "X": (X, faces),
    }
    return _build(groups, a, size, charges, spectator_charges)


def rocksalt(
    cations: Species,
    anion: Species,
    a: float,
    size: int | Sequence[int] = (1, 1, 1),
    *,
    charges: Mapping[str, float] | None = None,
    spectator_charges: Mapping[str, float] | None = None,
) -> Lattice:
    """Rock salt, space group Fm-3m, eight atoms per conventional cubic cell.

    Parameters
    ----------
    cations, anion
        A symbol (spectator) or several species, which make a sublattice "cation" or "anion".
    a
        Lattice constant of the conventional cell in Å.
    size
        Number of conventional cells along each axis.
    charges, spectator_charges
        As for ``perovskite``.

    Examples
    --------
    >>> rocksalt(("Mg", "Ca"), "O", a=4.5, size=(2, 2, 2))
    Lattice(64 atoms, cation: 32 × (Mg, Ca))
    """
    groups = {"cation": (cations, _FCC), "anion": (anion, _FCC + np.array([0.5, 0, 0]))}
    return _build(groups, a, size, charges, spectator_charges)


def spinel(
    cations: Species,
    anion: Species,
    a: float,
    u: float = 0.2625,
    size: int | Sequence[int] = (1, 1, 1),
    *,
    charges: Mapping[str, float] | None = None,
    spectator_charges: Mapping[str, float] | None = None,
) -> Lattice:
    """Spinel, space group Fd-3m, 56 atoms per conventional cubic cell.

    The eight tetrahedral (8a) and sixteen octahedral (16d) cations are one sublattice
    "cation", so that sampling can move the inversion; ``Lattice.classes`` tells them apart.

    Parameters
    ----------
    cations, anion
        Several species for the cations, and a symbol (spectator) or several species, which make
        a sublattice "anion".
    a
        Lattice constant of the conventional cell in Å.
    u
        Anion parameter with the origin at the inversion centre (-3m): anions on 32e (u, u, u).
        0.25 is cubic close packing, 0.2625 makes the two cation–anion distances equal. With the
        origin at -43m values are larger by 1/8; above 0.32 they are refused as such.
    size
        Number of conventional cells along each axis.
    charges, spectator_charges
        As for ``perovskite``.

    Raises
    ------
    InputError
        As for ``perovskite``, and for ``u`` outside 0.2 to 0.32.

    Examples
    --------
    >>> lattice = spinel(("Mg", "Al"), "O", a=8.08)
    >>> lattice
    Lattice(56 atoms, cation: 24 × (Mg, Al))
    >>> np.bincount(lattice.classes).tolist()
    [8, 16]
    """
    if not is_number(u) or not 0.2 <= u <= 0.32:
        raise InputError(
            f"the anion parameter u is {shown(u)}; give 0.2 to 0.32 with the origin at the "
            "inversion centre (subtract 0.125 from a value with the origin at -43m, such as 0.3875)"
        )
    tetrahedral = _translated([[1 / 8] * 3, [7 / 8] * 3])
    octahedral = _translated(
        [[1 / 2, 1 / 2, 1 / 2], [1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 2, 1 / 4], [1 / 4, 1 / 4, 1 / 2]]
    )
    v = 1 / 4 - u
    anions = [[u, u, u], [u, v, v], [v, u, v], [v, v, u]]
    groups = {
        "cation": (cations, np.concatenate([tetrahedral, octahedral])),
        "anion": (anion, _translated(anions + [[-x for x in row] for row in anions])),
    }
    return _build(groups, a, size, charges, spectator_charges)


def fluorite(
    cations: Species,
    anion: Species,
    a: float,
    size: int | Sequence[int] = (1, 1, 1),
    *,
    charges: Mapping[str, float] | None = None,
    spectator_charges: Mapping[str, float] | None = None,
) -> Lattice:
    """Fluorite MX₂, space group Fm-3m, twelve atoms per conventional cubic cell.

    Parameters
    ----------
    cations, anion
        A symbol (spectator) or several species, which make a sublattice "cation" or "anion".
    a
        Lattice constant of the conventional cell in Å.
    size
        Number of conventional cells along each axis.
    charges, spectator_charges
        As for ``perovskite``.

    Examples
    --------
    >>> fluorite(("Zr", "Y"), ("O", "X"), a=5.15, charges={"Zr": 4, "Y": 3, "O": -2, "X": 0})
    Lattice(12 atoms, cation: 4 × (Zr, Y); anion: 8 × (O, X))
    """
    anions = np.concatenate([_FCC + 0.25, _FCC + 0.75])
    groups = {"cation": (cations, _FCC), "anion": (anion, anions)}
    return _build(groups, a, size, charges, spectator_charges)


PROTOTYPES: dict[str, Callable[..., Lattice]] = {
    "perovskite": perovskite,
    "rocksalt": rocksalt,
    "spinel": spinel,
    "fluorite": fluorite,
}
"""Builders by the name that ``[structure] prototype`` uses."""


def _translated(points: Any) -> np.ndarray:
    """Points and their face-centring translations, inside the cell."""
    return ((np.array(points)[:, None] + _FCC) % 1.0).reshape(-1, 3)


def _build(
    groups: Mapping[str, tuple[Species, Any]],
    a: float,
    size: int | Sequence[int],
    charges: Mapping[str, float] | None,
    spectator_charges: Mapping[str, float] | None,
) -> Lattice:
    if not is_number(a) or a <= 0:
        raise InputError(f"the lattice constant a is {shown(a)}; give a positive length in Å")
    _check_charges(groups, charges)
    symbols: list[str] = []
    points: list[np.ndarray] = []
    sublattices = {}
    for name, (species, scaled) in groups.items():
        if isinstance(species, str):
            symbol = check_symbol(species, name)
        elif not isinstance(species, Sequence):
            raise InputError(f"{name} is {shown(species)}; give a symbol or a tuple of species")
        else:
            sites = range(len(symbols), len(symbols) + len(scaled))
            allowed = tuple(species)
            sublattices[name] = Sublattice(tuple(sites), allowed, _charges_of(allowed, charges))
            symbol = next((s for s in allowed if s != VACANCY), VACANCY)
        symbols += [symbol] * len(scaled)
        points.append(np.asarray(scaled, dtype=np.float64))
    if not sublattices:
        given = ", ".join(f"{name} {shown(species)}" for name, (species, _) in groups.items())
        raise InputError(
            f"no position holds several species ({given}); give one a tuple of species"
        )
    atoms = Atoms(symbols, scaled_positions=np.concatenate(points) % 1.0, cell=[a] * 3, pbc=True)
    return Lattice(atoms, sublattices, spectator_charges).repeat(size)


def _check_charges(groups: Mapping[str, tuple[Species, Any]], charges: Any) -> None:
    if charges is None:
        return
    if not isinstance(charges, Mapping):
        raise InputError(f"charges is {shown(charges)}; give a mapping from species to charge")
    known = {s for species, _ in groups.values() if not isinstance(species, str) for s in species}
    for symbol in charges:
        if symbol not in known:
            raise InputError(
                f"charges names {symbol!r}, which is on no sublattice; {suggestion(symbol, known)} "
                "(fixed elements belong in spectator_charges)"
            )


def _charges_of(species: tuple[str, ...], charges: Mapping[str, float] | None) -> Any:
    if charges is None:
        return None
    return {symbol: charges[symbol] for symbol in species if symbol in charges}
