"""Small parts of a step of λ-dynamics: its start, what it changed, and its κ by species."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...protocols import Generators, Hamiltonian, Info
from ...sublattice import is_number, shown, suggestion
from .groups import Groups
from .hand_over import HandOver

__all__ = ["Moved", "changes_between", "checked_start", "sharpness_of"]


class Moved(NamedTuple):
    """Where replicas would go: occupations, energies [n] in eV, and positions if they move."""

    occupations: np.ndarray
    energy: np.ndarray
    positions: np.ndarray | None


def checked_start(
    hamiltonian: Hamiltonian, hand_over: HandOver, occupations: np.ndarray, rngs: Generators
) -> np.ndarray:
    """Return a valid copy of the starts, int8 [n_replicas, n_sites].

    Raises
    ------
    InputError
        If shapes do not fit, members of a group differ, or what is kept leaves nothing to change.
    """
    checked = np.array(hamiltonian.lattice.check(occupations), dtype=np.int8)
    if checked.ndim != 2 or len(checked) != len(rngs):
        raise InputError(
            f"occupations have shape {checked.shape} for {len(rngs)} generators: expected "
            "[n_replicas, n_sites] and one generator per replica"
        )
    arrangements = hand_over.arrangements
    stuck = arrangements.alone(arrangements.groups.states(checked))
    if stuck.any():
        raise InputError(
            f"replica {int(stuck.argmax())} starts from the only arrangement of what the ensemble "
            "keeps, the composition or the charge: start from a mixed composition"
        )
    return checked


def changes_between(before: np.ndarray, after: np.ndarray) -> Info:
    """Info of a proposal, its sites padded with −1; the rest is for the kernel to fill in."""
    n = len(before)
    unlike = before != after
    width = max(1, int(unlike.sum(axis=1).max(initial=0)))
    sites = np.full((n, width), -1, dtype=np.int64)
    species = np.full((n, width), -1, dtype=np.int8)
    held = np.full((n, width), -1, dtype=np.int8)
    for row in range(n):
        here = np.flatnonzero(unlike[row])
        sites[row, : len(here)] = here
        species[row, : len(here)] = after[row, here]
        held[row, : len(here)] = before[row, here]
    unknown, none = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
    return Info(
        np.zeros(n, dtype=bool), np.zeros(n), sites, species, held, unknown, unknown, none, none
    )


def sharpness_of(groups: Groups, given: Any) -> np.ndarray:
    """κ of every species of every group, [n_groups, n_species_max].

    Raises
    ------
    InputError
        If a κ is no number of at least zero, or a name is not known.
    """
    kappa = np.ones(groups.allowed.shape)
    if isinstance(given, Mapping):
        lattice = groups.lattice
        for name, values in given.items():
            if name not in lattice.names or not isinstance(values, Mapping):
                raise InputError(
                    f"sharpness names {shown(name)}; give numbers by sublattice and species, "
                    f"{suggestion(name, lattice.names)}"
                )
            species = lattice.sublattices[name].species
            for symbol, value in values.items():
                if symbol not in species:
                    raise InputError(
                        f"sharpness of {name} names {shown(symbol)}; {suggestion(symbol, species)}"
                    )
                here = groups.sublattice_of_group == lattice.names.index(name)
                kappa[here, species.index(symbol)] = _checked(value)
    elif given is not None:
        kappa[:] = _checked(given)
    return kappa


def _checked(value: Any) -> float:
    if not is_number(value) or value < 0:
        raise InputError(f"sharpness is {shown(value)}; give a number of at least 0, such as 2.0")
    return float(value)
