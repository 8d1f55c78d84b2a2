"""What alchemical machine-learning potentials share: occupations in, energies and gradients out.

A subclass says how a batch of occupations and one λ are evaluated at the bound positions;
checking, remembering, binding to other positions and the shapes of the results are said here.
"""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from typing import Self

import numpy as np
import torch

from ..errors import InputError, ModelError
from ..lattice import Lattice
from ..structures import parse_cell
from ..sublattice import is_whole
from .loading import ModelInfo
from .memory import Memory
from .mixed_energy import MixedEnergy

__all__ = ["MEMORY", "AlchemicalPotential", "MixedEnergy", "finite"]

_DTYPES = ("float32", "float64")
MEMORY = 2**26


class AlchemicalPotential(ABC):
    """An energy model of positions and continuous species weights λ, bound to fixed positions.

    What it remembers of an occupation it has evaluated is what it would find again.

    Parameters
    ----------
    lattice
        Sites, species and reference positions.
    device, dtype
        Where and in which precision the model is evaluated.
    memory
        Bytes kept of the energies and gradients of occupations seen before.
    """

    lattice: Lattice
    model_info: ModelInfo
    positions: np.ndarray
    cell: np.ndarray

    def __init__(self, lattice: Lattice, *, device: str, dtype: str, memory: int) -> None:
        if not isinstance(lattice, Lattice):
            raise InputError(f"lattice is a {type(lattice).__name__}; give a Lattice")
        if not is_whole(memory, least=0):
            raise InputError(f"memory is {memory!r} bytes; give a whole number, 0 or more")
        if dtype not in _DTYPES:
            raise InputError(f"dtype is {dtype!r}; give one of {', '.join(_DTYPES)}")
        self.lattice = lattice
        self.device, self.dtype = str(find_device(device)), dtype
        self._memory = Memory(memory)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.lattice!r}, {self.model_info.name}, {self.dtype})"

    # ---- what a subclass says --------------------------------------------------------------

    @abstractmethod
    def _rebuild(self) -> None:
        """Prepare everything that depends on ``positions`` and ``cell``, just set."""

    @abstractmethod
    def _energies(self, occupations: np.ndarray) -> np.ndarray:
        """Energies [n] of occupations [n, n_sites], none of which is remembered."""

    @abstractmethod
    def _gradients(self, occupations: np.ndarray) -> list[tuple[float, np.ndarray]]:
        """Energy and ∂E/∂λ [n_sites, n_species_max] of every occupation."""

    @abstractmethod
    def _forces(self, occupations: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
        """Energy, forces [n_atoms, 3] and stress [3, 3] of every occupation."""

    def _forces_at(
        self, occupation: np.ndarray, positions: np.ndarray, cell: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy, forces and stress of one occupation at other positions."""
        return self.at(positions, cell)._forces(occupation[None])[0]  # noqa: SLF001

    @abstractmethod
    def _mixed(self, lam: np.ndarray, *, forces: bool, stress: bool, mixing: str) -> MixedEnergy:
        """Energy at checked λ and its derivatives."""

    @abstractmethod
    def _hessian_product(self, lam: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """∂²E/∂λ² · direction at checked arguments."""

    _MIXINGS: tuple[str, ...] = ("sites",)

    # ---- positions -------------------------------------------------------------------------

    def _bind(self, positions: np.ndarray | None, cell: np.ndarray | None) -> None:
        atoms = self.lattice.atoms
        positions = atoms.positions if positions is None else positions
        cell = atoms.cell.array if cell is None else cell
        self.positions = checked_array(positions, (len(atoms), 3), "positions")
        self.cell = parse_cell(checked_array(cell, (3, 3), "cell"))
        self.cell.flags.writeable = False
        self._memory = Memory(self._memory.size)
        self._rebuild()

    def at(self, positions: np.ndarray, cell: np.ndarray | None = None) -> Self:
        """Bind the same model to other positions (Å) and, if given, another cell."""
        view = copy.copy(self)
        view._bind(positions, self.cell if cell is None else cell)  # noqa: SLF001
        return view

    # ---- occupations -----------------------------------------------------------------------

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """Total energies in eV, [n_replicas], of occupations [n_replicas, n_sites].

        Costs one forward pass over the atoms that are there, unless remembered. A single
        occupation [n_sites] gives a number without axes.
        """
        occupations = self.lattice.check(occupations)
        replicas = np.atleast_2d(occupations)
        found: list[float] = self._memory.recall("energy", replicas, self._energies)
        return np.array(found, dtype=np.float64).reshape(occupations.shape[:-1])

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n_replicas] and gradients ∂E/∂λ [n_replicas, n_sites, n_species_max] in eV.

        Entries of species that a site may not hold, and of vacancies, are zero.
        """
        occupations = self.lattice.check(occupations)
        replicas = np.atleast_2d(occupations)
        results = self._memory.recall("gradient", replicas, self._gradients)
        energies = np.array([energy for energy, _ in results])
        gradients = np.array([gradient for _, gradient in results])
        lead = occupations.shape[:-1]
        return energies.reshape(lead), gradients.reshape(lead + self.lattice.allowed.shape)

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """Exact ΔE in eV, [n_replicas], of setting ``sites`` to ``species``.

        Parameters
        ----------
        occupations
            [n_replicas, n_sites].
        sites, species
            [n_replicas, m]; −1 in ``sites`` pads.

        Notes
        -----
        Two energies per replica, less those that are remembered, and less what the change leaves
        alone where the potential keeps the features of occupations.
        """
        occupations = np.atleast_2d(self.lattice.check(occupations))
        changed = self.lattice.check(with_changes(occupations, sites, species))
        before = self.energy(occupations)  # first, so that the change starts from there
        return self.energy(changed) - before

    def energy_forces_stress(
        self, occupations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies [n_replicas] in eV, forces [n_replicas, n_atoms, 3] in eV/Å and stress.

        Forces are on the atoms of ``lattice.atoms`` (zero on vacancies); stress is
        [n_replicas, 3, 3] in eV/Å³ with ASE's sign.
        """
        occupations = self.lattice.check(occupations)
        results = self._forces(np.atleast_2d(occupations))
        lead = occupations.shape[:-1]
        energy = np.array([finite(energy) for energy, _, _ in results])
        forces = np.array([forces for _, forces, _ in results])
        stress = np.array([stress for _, _, stress in results])
        return (
            energy.reshape(lead),
            forces.reshape((*lead, *self.positions.shape)),
            stress.reshape((*lead, 3, 3)),
        )

    def forces_at(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies [n], forces [n, n_atoms, 3] and stress [n, 3, 3], each at its own positions.

        For structures that move: nothing is kept. NaN where the model has no finite energy (atoms
        on top of one another, say), so that one structure does not stop the others.

        Parameters
        ----------
        occupations
            [n, n_sites].
        positions, cells
            [n, n_atoms, 3] and [n, 3, 3] in Å.
        """
        occupations = np.atleast_2d(self.lattice.check(occupations))
        n, n_atoms = len(occupations), len(self.lattice.atoms)
        positions = checked_array(positions, (n, n_atoms, 3), "positions")
        cells = checked_array(cells, (n, 3, 3), "cells")
        energies = np.full(n, np.nan)
        forces, stress = np.full(positions.shape, np.nan), np.full(cells.shape, np.nan)
        for row in range(n):
            with contextlib.suppress(InputError, ModelError):
                found = self._forces_at(occupations[row], positions[row], cells[row])
                energies[row], forces[row], stress[row] = found
        return energies, forces, stress

    # ---- continuous λ ----------------------------------------------------------------------

    def mixed_energy(
        self,
        lam: np.ndarray,
        forces: bool = True,
        stress: bool = True,
        mixing: str = "sites",
    ) -> MixedEnergy:
        """Energy at continuous λ with ∂E/∂λ, forces and stress.

        Parameters
        ----------
        lam
            [n_sites, n_species_max]; zero where a species is not allowed. The entries of a site
            need not sum to one: each is a variable of its own.
        forces, stress
            Leave them out where they are not needed: then all geometry is reused.
        mixing
            ``"sites"``: messages weighted by their sender, all edges kept. ``"paper"`` (MACE
            only): two or more whole worlds that share the spectators, for one composition of all
            sites; edges between sites join like species only, with weight one, and only messages
            to spectators are weighted. Both agree where every site holds the same species.

        Raises
        ------
        InputError
            If ``lam`` has the wrong shape, is not finite, is not zero for a species that is not
            allowed, or differs between sites with ``mixing="paper"``.
        """
        lam = self._checked(lam)
        if mixing not in self._MIXINGS:
            known = " or ".join(map(repr, self._MIXINGS))
            raise InputError(f"mixing is {mixing!r}; {type(self).__name__} knows {known}")
        if mixing == "paper":
            self._check_one_composition(lam)
        return self._mixed(lam, forces=forces, stress=stress, mixing=mixing)

    def hessian_product(self, lam: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """∂²E/∂λ² · direction in eV, [n_sites, n_species_max] like ``lam`` and ``direction``.

        Exact, by differentiating the gradient along ``direction``, over all edges between all
        species: some eight energies of an occupation (bundled model, 40 to 1,080 atoms).
        """
        lam, direction = self._checked(lam), self._checked(direction, "direction")
        return self._hessian_product(lam, direction)

    # ---- checks ----------------------------------------------------------------------------

    def _checked(self, lam: np.ndarray, name: str = "lam") -> np.ndarray:
        shape = self.lattice.allowed.shape
        lam = checked_array(lam, shape, name)
        if np.any(lam[~self.lattice.allowed] != 0.0):
            site, species = np.argwhere(~self.lattice.allowed & (lam != 0.0))[0]
            raise InputError(
                f"{name}[{site}, {species}] is {lam[site, species]} but site {site} has no such "
                "species; set it to zero"
            )
        return lam

    def _check_one_composition(self, lam: np.ndarray) -> None:
        if len(self.lattice.names) > 1 or np.any(lam != lam[:1]):
            raise InputError(
                'mixing="paper" needs one sublattice and the same lam on all its sites; '
                'use mixing="sites"'
            )


def find_device(name: str) -> torch.device:
    """Device of that name; ``"auto"`` takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        raise InputError(f'device {name!r} is not available; use "auto" or "cpu"') from error
    return device


def checked_array(values: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Read-only copy in float64, refused unless finite and of that shape."""
    try:
        found = np.array(values).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no array of numbers of shape {shape}") from error
    if found.shape != shape:
        raise InputError(f"{name} has shape {found.shape}; {shape} was expected")
    if not np.isfinite(found).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise InputError(f"{name}{list(where)} is {found[where]}; give finite numbers")
    found.flags.writeable = False
    return found


def with_changes(occupations: np.ndarray, sites: np.ndarray, species: np.ndarray) -> np.ndarray:
    """Occupations int64 [n_replicas, n_sites] with ``sites`` set to ``species``, −1 skipped."""
    sites, species = np.atleast_2d(sites), np.atleast_2d(species)
    for name, values in (("sites", sites), ("species", species)):
        if values.dtype.kind not in "iu":
            raise InputError(f"{name} holds {values.dtype} values; give whole numbers")
    n_replicas, n_sites = occupations.shape
    if sites.ndim != 2 or sites.shape != species.shape or len(sites) != n_replicas:
        raise InputError(
            f"sites has shape {sites.shape} and species {species.shape}; "
            f"both must be [{n_replicas}, m]"
        )
    if sites.size and (sites.min() < -1 or sites.max() >= n_sites):
        raise InputError(f"sites must lie in 0…{n_sites - 1}, or be −1 for padding")
    changed = occupations.astype(np.int64)  # int8 would wrap a species that is out of range
    replica, column = np.nonzero(sites >= 0)
    changed[replica, sites[replica, column]] = species[replica, column]
    return changed


def finite(value: float, what: str = "energy") -> float:
    """``value``, or an error where it is not finite."""
    if not np.isfinite(value):
        raise ModelError(f"the model's {what} is {value}; check the positions, the cell and λ")
    return value
