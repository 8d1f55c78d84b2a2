"""A list of discrete states of λ that every group may be in: the species, and λ in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from ...errors import InputError
from ...sites import read_only
from ...sublattice import is_number, is_whole, shown
from .groups import Groups

__all__ = ["DiscreteStates"]


@dataclass(frozen=True)
class DiscreteStates:
    """States of λ: first the species of a group, in their order, then those in between.

    Parameters
    ----------
    groups
        Sites that share a λ.
    between
        Shares of the second of two species, in (0, 1), at which there are states between them: a
        whole number asks for so many at equal distances.

    Raises
    ------
    InputError
        If a share is none, or a group may be vacant and there are states in between.

    Examples
    --------
    >>> from alchemc import builders
    >>> from alchemc.ensembles.alchemical import Groups
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> states = DiscreteStates(Groups.whole(lattice), between=1)
    >>> states.table.tolist(), states.names
    ([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], ('0', '1', '0-1 0.5'))
    """

    groups: Groups
    between: int | Sequence[float] = ()

    def __post_init__(self) -> None:
        shares = self.between
        if is_whole(shares, least=0):
            shares = [n / (shares + 1) for n in range(1, shares + 1)]  # type: ignore[operator]
        if isinstance(shares, str) or not isinstance(shares, Sequence):
            raise InputError(
                f"states in between are {shown(self.between)}; give their number, or their shares "
                "of the second species, such as (0.25, 0.5, 0.75)"
            )
        for share in shares:
            if not is_number(share) or not 0.0 < share < 1.0:
                raise InputError(
                    f"a state in between has the share {shown(share)}; give numbers between 0 and "
                    "1 (the species themselves are states in any case)"
                )
        if len(set(shares)) < len(shares):
            raise InputError(f"shares {shown(tuple(shares))} hold one twice: give each once")
        object.__setattr__(self, "between", tuple(sorted(float(share) for share in shares)))
        lattice = self.groups.lattice
        if shares and (lattice.atomic_numbers[self.groups.sites] == 0).any():
            raise InputError(
                "a group that may be vacant has no states in between here: leave them out, or "
                "switch the vacancy along a path"
            )

    @property
    def n_vertices(self) -> int:
        """Species that the list begins with, those that some groups may not hold included."""
        return int(self.groups.allowed.shape[1])

    @cached_property
    def _edges(self) -> list[tuple[int, int, float]]:
        """Both species of every state in between, and the share of the second."""
        pairs = combinations(range(self.n_vertices), 2)
        return [(k, m, x) for k, m in pairs for x in self.between]  # type: ignore[union-attr]

    @cached_property
    def table(self) -> np.ndarray:
        """λ of the states, [n_states, n_species_max]."""
        unit = np.eye(self.n_vertices)
        rows = [(1.0 - x) * unit[k] + x * unit[m] for k, m, x in self._edges]
        return read_only(np.array([*unit, *rows]))

    @cached_property
    def usable(self) -> np.ndarray:
        """Whether a group may be in a state, bool [n_groups, n_states]."""
        allowed = self.groups.allowed
        return read_only(np.array([(self.table[:, ~row] == 0.0).all(axis=1) for row in allowed]))

    @cached_property
    def nearest(self) -> np.ndarray:
        """Species of the larger share, int64 [n_states]: what an occupation shows of a state."""
        return read_only(self.table.argmax(axis=1))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Indices of the species, and for a state in between the share of the second."""
        return (
            *(str(k) for k in range(self.n_vertices)),
            *(f"{k}-{m} {x:g}" for k, m, x in self._edges),
        )

    def interior(self, states: np.ndarray) -> np.ndarray:
        """Whether any group is in between, bool [...], of states [..., n_groups]."""
        return np.asarray(np.any(np.asarray(states) >= self.n_vertices, axis=-1))

    def weights(self, states: np.ndarray) -> np.ndarray:
        """λ of states [..., n_groups]: [..., n_groups, n_species_max]."""
        return self.table[np.asarray(states, dtype=np.int64)]

    def occupations(self, states: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """Occupations int8 that show every group's state, or the species nearest to it."""
        return self.groups.occupations(self.nearest[states], occupations)
