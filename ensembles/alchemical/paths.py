"""Paths between two energy models: families U_s of energies of the same configurations.

Free energies along them are what switching and equilibrium windows measure.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, Protocol, Self

import numpy as np

from ...errors import InputError
from ...lattice import Lattice
from ...potentials.calculator import check_positional
from ...sublattice import is_number, shown
from ..dynamics.crystal import Crystal, Structures
from ._coupled import CoupledModel, PathCrystal
from ._ends import Ends, Found, Places
from ._recall import Calls, Model

__all__ = ["Found", "MixturePath", "Path", "PathBase", "Places", "unmoved"]


class Path(Protocol):
    r"""A family of energies U_s(x) of configurations x, 0 ≤ s ≤ 1.

    Configurations are `Structures`; where positions do not move, theirs have no atoms
    (``unmoved``), and energies are those at the positions that the energy models are bound to.
    ``calls`` counts the evaluations of energy models, one per replica and model.
    """

    linear: bool
    label: str

    @property
    def lattice(self) -> Lattice:
        """Sites and species that occupations refer to."""
        ...

    @property
    def hamiltonian(self) -> Any:
        """An energy model of the path, for the positions and the cell that it is bound to."""
        ...

    @property
    def movable(self) -> Lattice:
        """Lattice of the sites whose occupation the path leaves alone: a kernel may move it."""
        ...

    @property
    def movable_sites(self) -> np.ndarray:
        """Indices of these sites in ``lattice``."""
        ...

    @property
    def calls(self) -> int:
        """Evaluations so far."""
        ...

    def prepared(self, occupations: np.ndarray) -> np.ndarray:
        """Check occupations; int8 [n, n_sites], what the path changes being as at its start."""
        ...

    def energy(self, s: float, structures: Structures) -> np.ndarray:
        """U_s [n] in eV; +inf where there is none."""
        ...

    def slope(self, s: float, structures: Structures) -> np.ndarray:
        """∂U_s/∂s [n] in eV."""
        ...

    def energies(self, couplings: np.ndarray, structures: Structures) -> np.ndarray:
        """U of every configuration at every coupling [l], [n, l] in eV."""
        ...

    def model(self, s: float) -> CoupledModel:
        """U_s as an energy model of the movable occupations."""
        ...

    def crystal(self, s: float, temperature: float, fix_centre: bool = True) -> Crystal:
        """U_s as what atoms move on."""
        ...


def unmoved(occupations: np.ndarray) -> Structures:
    """Make configurations whose positions do not move: those of the energy models are meant."""
    n = len(occupations)
    return Structures(occupations, np.empty((n, 0, 3)), np.empty((n, 0, 3)), np.full(n, np.nan))


def places_of(structures: Structures) -> Places:
    """Positions and cells of configurations, None where they do not move."""
    if not structures.positions.shape[1]:
        return None
    return structures.positions, structures.cells


def check_coupling(s: object) -> float:
    """Refuse a place that is not on the path."""
    if not is_number(s) or not 0.0 <= float(s) <= 1.0:  # type: ignore[arg-type]
        raise InputError(f"s is {shown(s)}; give a place on the path, 0 to 1")
    return float(s)  # type: ignore[arg-type]


class PathBase(ABC):
    """What paths share: all but how U_s is found at one s.

    A path of one's own sets ``linear`` and ``label`` and says ``hamiltonian``, ``found``,
    ``energy_and_gradient`` and ``at``.
    """

    linear: bool
    label: str

    def __init__(self, label: str) -> None:
        self.label = label
        self._calls = Calls()

    # ---- what a path says ------------------------------------------------------------------

    @property
    @abstractmethod
    def hamiltonian(self) -> Any:
        """An energy model of the path, for its lattice, positions and cell."""

    @abstractmethod
    def found(
        self,
        s: float,
        occupations: np.ndarray,
        places: Places,
        *,
        forces: bool = False,
        slope: bool = False,
    ) -> Found:
        """U_s of replicas, and what else is wanted."""

    @abstractmethod
    def energy_and_gradient(
        self, s: float, occupations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """U_s [n] and ∂U_s/∂λ [n, n_sites, n_species_max] in eV at the bound positions."""

    @abstractmethod
    def at(self, positions: np.ndarray, cell: np.ndarray) -> Self:
        """Bind the same path to other positions (Å); evaluations are counted in one place."""

    def check_moving(self) -> None:
        """Refuse to move positions on energies that cannot.

        Raises
        ------
        InputError
            With the reason.
        """
        check_positional(self.hamiltonian)

    # ---- what follows ----------------------------------------------------------------------

    @property
    def lattice(self) -> Lattice:
        """Sites and species that occupations refer to."""
        return self.hamiltonian.lattice

    @property
    def movable_sites(self) -> np.ndarray:
        """Sites whose occupation a kernel may move, int64."""
        return np.arange(self.lattice.n_sites)

    @property
    def movable(self) -> Lattice:
        """Lattice of the sites whose occupation a kernel may move."""
        return self.lattice

    @property
    def calls(self) -> int:
        """Evaluations of energy models so far, by this path and its views."""
        return self._calls.number

    def prepared(self, occupations: np.ndarray) -> np.ndarray:
        """Check occupations; int8 [n, n_sites], one replica for a single one [n_sites]."""
        checked = np.array(self.lattice.check(occupations), dtype=np.int8)
        return np.atleast_2d(checked)

    def extended(self, occupations: np.ndarray) -> np.ndarray:
        """Occupations of all sites from those of the movable ones."""
        return np.asarray(occupations)

    def energy(self, s: float, structures: Structures) -> np.ndarray:
        """U_s [n] in eV; +inf where there is none."""
        return self.found(check_coupling(s), structures.occupations, places_of(structures)).energy

    def slope(self, s: float, structures: Structures) -> np.ndarray:
        """∂U_s/∂s [n] in eV."""
        s, places = check_coupling(s), places_of(structures)
        found = self.found(s, structures.occupations, places, slope=True)
        assert found.slope is not None  # noqa: S101  (asked for)
        return found.slope

    def energies(self, couplings: np.ndarray, structures: Structures) -> np.ndarray:
        """U of every configuration at every coupling [l], [n, l] in eV."""
        occupations, places = structures.occupations, places_of(structures)
        columns = [self.found(check_coupling(s), occupations, places).energy for s in couplings]
        return np.stack(columns, axis=1)

    def model(self, s: float) -> CoupledModel:
        """U_s as an energy model of the movable occupations, at the bound positions."""
        return CoupledModel(self, check_coupling(s))

    def crystal(self, s: float, temperature: float, fix_centre: bool = True) -> PathCrystal:
        """U_s as what atoms move on.

        Parameters
        ----------
        s
            Place on the path.
        temperature
            Kelvin.
        fix_centre
            Whether the mean displacement of the atoms that are never vacant is held at zero.

        Raises
        ------
        InputError
            If an energy model has no forces.
        """
        self.check_moving()
        return PathCrystal(
            self.hamiltonian, temperature, fix_centre, path=self, s=check_coupling(s)
        )


class MixturePath(PathBase):
    r"""Linear interpolation between two energy models of the same atoms.

    .. math:: U_s(x) = (1 − s) U_0(x) + s U_1(x), \qquad ∂U_s/∂s = U_1(x) − U_0(x)

    Energies at all s follow from two numbers per configuration, so that windows and schedules cost
    no further evaluations. At either end, one model is evaluated where no slope is asked for; in
    between, both.

    Parameters
    ----------
    initial, final
        Energy models of one lattice: U_0 and U_1.
    label
        What leads to what; the models' names by default.

    Raises
    ------
    InputError
        If one is no energy model, or the models' lattices differ.

    Examples
    --------
    >>> from alchemc import PairHamiltonian, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> weak, strong = (
    ...     PairHamiltonian(lattice, [np.array([[0.0, -j], [-j, 0.0]])]) for j in (0.01, 0.03)
    ... )
    >>> path = MixturePath(weak, strong)
    >>> checkerboard = unmoved(np.array([[0, 1, 1, 0, 1, 0, 0, 1]]))
    >>> path.energies(np.array([0.0, 0.5, 1.0]), checkerboard).round(6).tolist(), path.calls
    ([[-0.24, -0.48, -0.72]], 2)
    """

    linear = True

    def __init__(self, initial: Any, final: Any, label: str | None = None) -> None:
        for name, one in (("initial", initial), ("final", final)):
            if not hasattr(one, "lattice"):
                raise InputError(f"{name} is {shown(one)}; give an energy model")
        if initial.lattice != final.lattice:
            raise InputError(
                "the two energy models have different lattices: build both on one Lattice"
            )
        super().__init__(label or f"{type(initial).__name__} → {type(final).__name__}")
        self.initial, self.final = initial, final
        self._ends = Ends(Model(initial, self._calls), Model(final, self._calls))

    def __repr__(self) -> str:
        return f"MixturePath({self.label})"

    @property
    def hamiltonian(self) -> Any:
        """The final energy model."""
        return self.final

    def at(self, positions: np.ndarray, cell: np.ndarray) -> Self:
        """Bind both models to other positions (Å); evaluations are counted in one place."""
        view, ends = copy.copy(self), self._ends.at(positions, cell)
        view._ends = ends  # noqa: SLF001
        view.initial, view.final = (end.hamiltonian for end in ends)
        return view

    def check_moving(self) -> None:
        """Refuse models without forces."""
        check_positional(self.initial)
        check_positional(self.final)

    def found(
        self,
        s: float,
        occupations: np.ndarray,
        places: Places,
        *,
        forces: bool = False,
        slope: bool = False,
    ) -> Found:
        """U_s of replicas, and what else is wanted."""
        return self._ends.found(s, occupations, places, forces=forces, slope=slope)

    def energies(self, couplings: np.ndarray, structures: Structures) -> np.ndarray:
        """U of every configuration at every coupling [l], [n, l] in eV: two evaluations each."""
        couplings = np.array([check_coupling(s) for s in couplings])
        return self._ends.energies(couplings, structures.occupations, places_of(structures))

    def energy_and_gradient(
        self, s: float, occupations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """U_s [n] and ∂U_s/∂λ [n, n_sites, n_species_max] in eV at the bound positions."""
        return self._ends.energy_and_gradient(s, occupations)
