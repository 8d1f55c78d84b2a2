"""MACE as a function of occupations and of continuous λ, with its alchemical gradient.

One graph node per (site, allowed species) and per spectator; the message from node (j, l) is
weighted by λ_jl, its sender's weight, and E(λ) = Σ_ik λ_ik [E0_k + ε_ik].
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..errors import InputError, ModelError
from ..lattice import Lattice
from ..structures import parse_cell
from ..sublattice import is_whole
from ._mace import fixed_execution
from .bound_graph import BoundGraph
from .coverage import head_index
from .graph import nodes_of
from .loading import ModelInfo, load_mace
from .memory import Memory
from .network import Network

__all__ = ["AlchemicalMACE", "MixedEnergy"]

_DTYPES = ("float32", "float64")
_MIXINGS = ("sites", "paper")
_MEMORY = 2**26


class MixedEnergy(NamedTuple):
    """Energy at continuous λ and its derivatives.

    ``energy`` in eV; ``gradient`` ∂E/∂λ [n_sites, n_species_max] in eV; ``forces`` [n_atoms, 3] in
    eV/Å on the atoms of ``lattice.atoms`` (all species of a site share its position); ``stress``
    [3, 3] in eV/Å³ with ASE's sign, (1/V) ∂E/∂strain. What was not asked for is None.
    """

    energy: float
    gradient: np.ndarray
    forces: np.ndarray | None
    stress: np.ndarray | None


class AlchemicalMACE:
    """A MACE potential over the occupations of a lattice, at fixed positions.

    At an occupation the energy is the stock model's to rounding. Between occupations it is
    E(λ) = Σ_ik λ_ik [E0_k + ε_ik], where every message carries the weight λ of its sender
    (Nam, Peng and Gómez-Bombarelli, Nat. Commun. 16, 4350 (2025), with all edges between sites
    kept). All geometry is computed once per set of positions.

    Parameters
    ----------
    lattice
        Sites, species and reference positions.
    model
        ``"bundled"``, a directory written by ``save_mace``, a ``.model`` file of mace-torch (needs
        ``trust``), the name of a MACE-MP foundation model, or a module of mace-torch.
    device
        ``"cpu"``, ``"cuda"``, …; ``"auto"`` takes a GPU where there is one.
    dtype
        ``"float64"`` or ``"float32"``; sums over atoms are in float64 either way.
    trust
        Allow a pickled file, whose content can run code.
    head
        Readout head of a multi-head model.
    positions, cell
        [n_atoms, 3] and [3, 3] in Å; those of ``lattice.atoms`` by default.
    memory
        Bytes kept of the energies and gradients of occupations seen before, the least recently
        used dropped first; 0 evaluates every time.

    Raises
    ------
    ModelError
        If the model cannot be loaded, is not covered, or does not know a species.
    InputError
        If the lattice is none, or positions, cell, dtype, device or memory make no sense.

    Notes
    -----
    Replicas are evaluated one after another on one thread, so the energy of an occupation does
    not depend on batch, threads or history, and remembering one changes no result. A vacancy has
    no node: its energy is 0 and so is its entry of the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.95, size=(2, 2, 2))
    >>> hamiltonian = AlchemicalMACE(lattice, model="bundled", device="cpu")
    >>> occupations = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1), 3)
    >>> energy, gradient = hamiltonian.energy_and_gradient(occupations)
    >>> energy.shape, gradient.shape
    ((3,), (3, 8, 2))
    >>> hamiltonian.mixed_energy(lattice.mean_weights({"B": {"Sc": 0.5, "Ta": 0.5}})).stress.shape
    (3, 3)
    """

    def __init__(
        self,
        lattice: Lattice,
        model: str | Path | torch.nn.Module = "bundled",
        *,
        device: str = "auto",
        dtype: str = "float64",
        trust: bool = False,
        head: str | None = None,
        positions: np.ndarray | None = None,
        cell: np.ndarray | None = None,
        memory: int = _MEMORY,
    ) -> None:
        if not isinstance(lattice, Lattice):
            raise InputError(f"lattice is a {type(lattice).__name__}; give a Lattice")
        if not is_whole(memory, least=0):
            raise InputError(f"memory is {memory!r} bytes; give a whole number, 0 or more")
        if dtype not in _DTYPES:
            raise InputError(f"dtype is {dtype!r}; give one of {', '.join(_DTYPES)}")
        module, info = load_mace(model, trust=trust)
        chosen = head_index(module, head)
        nodes = nodes_of(lattice, module.atomic_numbers.cpu().numpy())
        where = _device(device)
        frozen = _frozen_copy(module).to(device=where, dtype=getattr(torch, dtype))
        self.lattice = lattice
        self.model_info: ModelInfo = dataclasses.replace(info, dtype=dtype)
        self.device, self.dtype = str(where), dtype
        self._network = Network(frozen, chosen)
        self._nodes = nodes
        self._memory = Memory(memory)
        self._bind(
            lattice.atoms.positions if positions is None else positions,
            lattice.atoms.cell.array if cell is None else cell,
        )

    def __repr__(self) -> str:
        return f"AlchemicalMACE({self.lattice!r}, {self.model_info.name}, {self.dtype})"

    def _bind(self, positions: np.ndarray, cell: np.ndarray) -> None:
        self.positions = _array(positions, (len(self.lattice.atoms), 3), "positions")
        self.cell = parse_cell(_array(cell, (3, 3), "cell"))
        self.cell.flags.writeable = False
        self._graph = BoundGraph(
            self._network,
            self._nodes,
            self.positions,
            self.cell,
            pbc=self.lattice.atoms.pbc,
            r_max=self.model_info.r_max,
        )
        self._memory = Memory(self._memory.size)

    def at(self, positions: np.ndarray, cell: np.ndarray | None = None) -> AlchemicalMACE:
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
        energies = np.array(
            [self._memory.recall("energy", replica, self._energy) for replica in replicas]
        )
        return energies.reshape(occupations.shape[:-1])

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n_replicas] and gradients ∂E/∂λ [n_replicas, n_sites, n_species_max] in eV.

        Entries of species that a site may not hold, and of vacancies, are zero.
        """
        occupations = self.lattice.check(occupations)
        replicas = np.atleast_2d(occupations)
        results = [self._memory.recall("gradient", o, self._with_gradient) for o in replicas]
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
        Two energies per replica, less those that are remembered.
        """
        occupations = np.atleast_2d(self.lattice.check(occupations))
        changed = self.lattice.check(_changed(occupations, sites, species))
        return self.energy(changed) - self.energy(occupations)

    def energy_forces_stress(
        self, occupations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies [n_replicas] in eV, forces [n_replicas, n_atoms, 3] in eV/Å and stress.

        Forces are on the atoms of ``lattice.atoms`` (zero on vacancies); stress is
        [n_replicas, 3, 3] in eV/Å³ with ASE's sign.
        """
        occupations = self.lattice.check(occupations)
        weights = self.lattice.weights(np.atleast_2d(occupations))
        with self._execution():
            results = [self._graph.with_positions(self._nodes.weights(lam)) for lam in weights]
        lead = occupations.shape[:-1]
        energy = np.array([_finite(result.energy) for result in results])
        forces = np.array([result.forces for result in results])
        stress = np.array([result.stress for result in results])
        return (
            energy.reshape(lead),
            forces.reshape((*lead, *self.positions.shape)),
            stress.reshape((*lead, 3, 3)),
        )

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
            ``"sites"``: messages weighted by their sender, all edges kept. ``"paper"``: two or
            more whole worlds that share the spectators, for one composition of all sites; edges
            between sites join like species only, with weight one, and only messages to spectators
            are weighted. Both agree where every site holds the same species.

        Raises
        ------
        InputError
            If ``lam`` has the wrong shape, is not finite, is not zero for a species that is not
            allowed, or differs between sites with ``mixing="paper"``.
        """
        lam = self._checked(lam)
        if mixing not in _MIXINGS:
            raise InputError(f"mixing is {mixing!r}; give one of {', '.join(_MIXINGS)}")
        if mixing == "paper":
            self._check_one_composition(lam)
        return self._mixed(lam, forces=forces, stress=stress, mixing=mixing)

    def hessian_product(self, lam: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """∂²E/∂λ² · direction in eV, [n_sites, n_species_max] like ``lam`` and ``direction``.

        Exact, by differentiating the gradient along ``direction``, over all edges between all
        species: some eight energies of an occupation (bundled model, 40 to 1,080 atoms).
        """
        lam, direction = self._checked(lam), self._checked(direction, "direction")
        with self._execution():
            product = self._graph.hessian_product(
                self._nodes.weights(lam), self._direction(direction)
            )
        _finite(float(product.sum()), "Hessian product")
        return self._nodes.spread(product, lam.shape)

    # ---- parts -----------------------------------------------------------------------------

    def _execution(self) -> AbstractContextManager[None]:
        return fixed_execution(on_gpu=self.device != "cpu")

    def _energy(self, occupation: np.ndarray) -> float:
        weights = self._nodes.weights(self.lattice.weights(occupation))
        with self._execution():
            return _finite(self._graph.energy(weights))

    def _with_gradient(self, occupation: np.ndarray) -> tuple[float, np.ndarray]:
        lam = self.lattice.weights(occupation)
        found = self._mixed(lam, forces=False, stress=False)
        return found.energy, found.gradient

    def _mixed(
        self, lam: np.ndarray, *, forces: bool, stress: bool, mixing: str = "sites"
    ) -> MixedEnergy:
        weights = self._nodes.weights(lam)
        with self._execution():
            if forces or stress:
                found = self._graph.with_positions(weights, gradient=True, mixing=mixing)
            else:
                found = self._graph.with_gradient(weights, mixing=mixing)
        return MixedEnergy(
            energy=_finite(found.energy),
            gradient=self._nodes.spread(found.gradient, lam.shape),
            forces=found.forces if forces else None,
            stress=found.stress if stress else None,
        )

    def _checked(self, lam: np.ndarray, name: str = "lam") -> np.ndarray:
        shape = self.lattice.allowed.shape
        lam = _array(lam, shape, name)
        if np.any(lam[~self.lattice.allowed] != 0.0):
            site, species = np.argwhere(~self.lattice.allowed & (lam != 0.0))[0]
            raise InputError(
                f"{name}[{site}, {species}] is {lam[site, species]} but site {site} has no such "
                "species; set it to zero"
            )
        return lam

    def _direction(self, direction: np.ndarray) -> np.ndarray:
        return np.where(self._nodes.alchemical, self._nodes.weights(direction), 0.0)

    def _check_one_composition(self, lam: np.ndarray) -> None:
        if len(self.lattice.names) > 1 or np.any(lam != lam[:1]):
            raise InputError(
                'mixing="paper" needs one sublattice and the same lam on all its sites; '
                'use mixing="sites"'
            )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        raise InputError(f'device {name!r} is not available; use "auto" or "cpu"') from error
    return device


def _frozen_copy(module: torch.nn.Module) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # e3nn's compiled parts go through deprecated calls
        return copy.deepcopy(module).requires_grad_(False).eval()


def _array(values: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
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


def _changed(occupations: np.ndarray, sites: np.ndarray, species: np.ndarray) -> np.ndarray:
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


def _finite(value: float, what: str = "energy") -> float:
    if not np.isfinite(value):
        raise ModelError(f"the model's {what} is {value}; check the positions, the cell and λ")
    return value
