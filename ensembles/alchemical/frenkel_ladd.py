"""Paths from a harmonic crystal of a held centre to an energy model: absolute free energies."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...potentials.calculator import forces_at
from ...streams import spawn_generators
from ...sublattice import is_number, is_whole, shown
from ..dynamics import HMC
from ..dynamics.crystal import Crystal, Structures
from ._coupled import CoupledModel, PathCrystal
from .einstein import EinsteinCrystal, HarmonicCrystal, check_temperature, spring_constants
from .paths import MixturePath

__all__ = [
    "FrenkelLaddPath",
    "ThermalPositions",
    "mean_force_constants",
    "reference_path",
    "thermal_positions",
]

REFERENCES = ("einstein", "harmonic")
_BATCH = 32


class FrenkelLaddPath(MixturePath):
    r"""From a reference crystal to the energy model of the same crystal.

    .. math:: U_s = (1 − s) U_\text{reference} + s U

    (D. Frenkel and A. J. C. Ladd 1984, doi:10.1063/1.448024; driven in finite time R. Freitas,
    M. Asta and M. de Koning 2016, doi:10.1016/j.commatsci.2015.10.050.) The centre has to be held
    all along, as it is by default; ``analysis.SolidFreeEnergy`` releases it. ``calls`` counts the
    energy model alone.

    Parameters
    ----------
    reference
        `EinsteinCrystal` or `HarmonicCrystal`.
    hamiltonian
        Energy model of positions, of the same lattice.
    label
        What leads to what.

    Raises
    ------
    InputError
        If the reference is none, or the lattices differ.

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> path = FrenkelLaddPath(EinsteinCrystal(lattice, np.zeros(4, dtype=int), 4.0), mace)
    >>> path.label
    'EinsteinCrystal → AlchemicalMACE'
    """

    def __init__(
        self,
        reference: EinsteinCrystal | HarmonicCrystal,
        hamiltonian: Any,
        label: str | None = None,
    ) -> None:
        if not isinstance(reference, EinsteinCrystal | HarmonicCrystal):
            raise InputError(
                f"reference is a {type(reference).__name__}; give an EinsteinCrystal or a "
                "HarmonicCrystal"
            )
        self._closed_form = _Counted(reference)
        label = label or f"{type(reference).__name__} → {type(hamiltonian).__name__}"
        super().__init__(self._closed_form, hamiltonian, label)
        self.reference, self.preparation = reference, 0

    @property
    def calls(self) -> int:
        """Evaluations of the energy model so far, and those that its reference took."""
        return super().calls - self._closed_form.rows + self.preparation

    def prepared(self, occupations: np.ndarray) -> np.ndarray:
        """Check occupations; int8 [n, n_sites].

        Raises
        ------
        InputError
            If one is not the reference's: it would be the free energy of another crystal.
        """
        rows = super().prepared(occupations)
        if (rows != self.reference.occupation).any():
            raise InputError(
                f"an occupation is not that of the reference ({_first_unlike(self, rows)}): start "
                "from path.reference.occupation, or make a reference for the other"
            )
        return rows

    def model(self, s: float) -> CoupledModel:  # noqa: ARG002  (as every path has it)
        """Refuse: a reference knows one occupation.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            "occupations stand still between a crystal and its reference: leave the kernel out"
        )

    def crystal(self, s: float, temperature: float, fix_centre: bool = True) -> PathCrystal:
        """U_s as what atoms move on, its centre held.

        Raises
        ------
        InputError
            If the centre is not to be held, or an energy model has no forces.
        """
        if not fix_centre:
            raise InputError(
                "fix_centre is False: without springs the crystal would drift as a whole; leave "
                "the centre held, SolidFreeEnergy releases it"
            )
        return super().crystal(s, temperature)

    def starts(self, temperature: float, n: int, seed: int) -> Structures:
        """Independent draws of the reference's own equilibrium, to start from at s = 0.

        Parameters
        ----------
        temperature
            In K.
        n
            How many.
        seed
            Of their random numbers.
        """
        reference = self.reference
        positions = reference.draw(temperature, spawn_generators(seed, n))
        cells = np.repeat(reference.cell[None], n, axis=0)
        occupations = np.repeat(reference.occupation[None], n, axis=0)
        return Structures(occupations, positions, cells, np.full(n, np.nan))


def _first_unlike(path: FrenkelLaddPath, rows: np.ndarray) -> str:
    """Say where an occupation differs first."""
    wanted = path.reference.occupation
    row, site = np.argwhere(rows != wanted)[0]
    species = path.lattice.species_of(int(site))
    return f"site {site} holds {species[rows[row, site]]} in place of {species[wanted[site]]}"


class _Counted:
    """A reference crystal that counts the structures it was asked about."""

    def __init__(self, crystal: EinsteinCrystal | HarmonicCrystal) -> None:
        self.crystal, self.lattice, self.rows = crystal, crystal.lattice, 0

    def forces_at(
        self, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.rows += len(positions)
        return self.crystal.forces_at(occupations, positions, cells)


class ThermalPositions(NamedTuple):
    """Draws of positions at one occupation, the centre held.

    ``occupation`` int8 [n_sites], ``cell`` [3, 3] in Å, ``positions`` [draw, chain, n_atoms, 3] in
    Å, ``energy`` [draw, chain] in eV, ``dynamics`` with what warm-up tuned, ``calls``: evaluations
    that it took.
    """

    occupation: np.ndarray
    cell: np.ndarray
    positions: np.ndarray
    energy: np.ndarray
    dynamics: Any
    calls: int

    def last(self) -> Structures:
        """Last draw of every chain, to start from."""
        n = self.positions.shape[1]
        rows, cells = (np.repeat(one[None], n, axis=0) for one in (self.occupation, self.cell))
        return Structures(rows, self.positions[-1], cells, self.energy[-1])


def thermal_positions(
    hamiltonian: Any,
    occupation: np.ndarray,
    temperature: float,
    *,
    dynamics: Any = None,
    n_draws: int = 100,
    warmup: int = 50,
    n_replicas: int = 2,
    seed: int = 0,
    positions: np.ndarray | None = None,
) -> ThermalPositions:
    """Draw positions of a crystal at a fixed occupation and cell, its centre held.

    Parameters
    ----------
    hamiltonian
        Energy model of positions.
    occupation
        Integers [n_sites].
    temperature
        In K.
    dynamics
        What moves them; HMC of ten steps by default.
    n_draws, warmup, n_replicas
        Blocks of the dynamics that are kept, and before them such as are not, of every chain.
    seed
        Of the random numbers.
    positions
        Where to start, [n_atoms, 3] in Å; by default the lattice's.

    Raises
    ------
    InputError
        If a number is out of range, or the energy model has no forces.

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> found = thermal_positions(mace, np.zeros(4, dtype=int), 600.0, n_draws=5, warmup=5)
    >>> found.positions.shape, found.calls
    ((5, 2, 8, 3), 220)
    """
    for name, value in (("n_draws", n_draws), ("n_replicas", n_replicas)):
        if not is_whole(value, least=1):
            raise InputError(f"{name} is {shown(value)}; give a whole number, 1 or more")
    if not is_whole(warmup, least=0):
        raise InputError(f"warmup is {shown(warmup)}; give a whole number, 0 or more")
    check_temperature(temperature)
    crystal = Crystal(hamiltonian, temperature)
    lattice, rngs = crystal.lattice, spawn_generators(seed, n_replicas)
    if np.ndim(occupation) != 1:
        raise InputError(f"occupation has shape {np.shape(occupation)}: give one, [n_sites]")
    dynamics = HMC() if dynamics is None else dynamics
    start = lattice.atoms.positions if positions is None else np.asarray(positions, dtype=float)
    if start.shape != lattice.atoms.positions.shape or not np.isfinite(start).all():
        raise InputError(
            f"positions have shape {start.shape}: give a finite one in Å for each of the "
            f"{len(lattice.atoms)} atoms"
        )
    cells = np.repeat(lattice.atoms.cell.array[None], n_replicas, axis=0)
    places = crystal.recentred(np.repeat(start[None], n_replicas, axis=0), cells)
    rows = np.repeat(np.asarray(lattice.check(occupation), np.int8)[None], n_replicas, axis=0)
    structures = Structures(rows, places, cells, np.full(n_replicas, np.nan))
    kept, calls = [], 0
    for step in range(warmup + n_draws):
        structures, report = dynamics.run(crystal, structures, rngs)
        calls += int(report.force_calls.sum())
        if step < warmup:
            dynamics = dynamics.tuned(report)
        if step == warmup - 1:
            dynamics = dynamics.settled()
        if step >= warmup:
            kept.append((structures.positions, structures.energy))
    positions, energy = (np.array(part) for part in zip(*kept, strict=True))
    return ThermalPositions(rows[0], cells[0], positions, energy, dynamics, calls)


def mean_force_constants(
    hamiltonian: Any, occupation: np.ndarray, positions: np.ndarray, step: float = 0.01
) -> np.ndarray:
    r"""Force constants by central differences, their mean over structures, [3 n, 3 n] in eV/Å².

    .. math:: K_{ij} = -\frac{F_j(R + h e_i) - F_j(R - h e_i)}{2h}

    of the n atoms that are there. Over a few thermal draws the mean is stable where the force
    constants of a single structure of a soft crystal are not. 6 n force calls for each structure.

    Parameters
    ----------
    hamiltonian
        Energy model of positions.
    occupation
        Integers [n_sites].
    positions
        [n_structures, n_atoms, 3] in Å, in the lattice's cell.
    step
        h in Å.

    Raises
    ------
    InputError
        If the step is none, or there are no finite forces near the positions.
    """
    if not is_number(step) or step <= 0:
        raise InputError(f"step is {shown(step)}; give Å above 0")
    lattice = hamiltonian.lattice
    there = np.flatnonzero(EinsteinCrystal(lattice, occupation, 1.0).there)
    size, found = 3 * len(there), []
    for places in positions:
        moves = np.zeros((size, *places.shape))
        moves[np.arange(size), np.repeat(there, 3), np.tile(np.arange(3), len(there))] = step
        moved = np.concatenate([places + moves, places - moves])
        parts = []
        for part in np.array_split(moved, -(-len(moved) // _BATCH)):
            rows = np.repeat(np.asarray(occupation, dtype=np.int8)[None], len(part), axis=0)
            cells = np.repeat(lattice.atoms.cell.array[None], len(part), axis=0)
            parts.append(forces_at(hamiltonian, rows, part, cells)[1][:, there])
        forces = np.concatenate(parts).reshape(2, size, size)
        found.append((forces[1] - forces[0]) / (2.0 * step))
    matrix = np.mean(found, axis=0)
    if not np.isfinite(matrix).all():
        raise InputError(f"there are no finite forces {step} Å from the positions: give others")
    return 0.5 * (matrix + matrix.T)


def reference_path(
    hamiltonian: Any,
    occupation: np.ndarray,
    thermal: ThermalPositions,
    temperature: float,
    *,
    kind: str = "einstein",
    hessians: int = 4,
    softest: float = 0.5,
) -> FrenkelLaddPath:
    """Path from the reference crystal that thermal draws suggest.

    Parameters
    ----------
    hamiltonian
        Energy model of positions.
    occupation
        Integers [n_sites].
    thermal
        Draws of its positions (`thermal_positions`); the reference stands about their mean.
    temperature
        In K.
    kind
        ``"einstein"``: springs by element that reach as far as its atoms do; ``"harmonic"``: force
        constants, the mean over some of the draws, of which less has to be switched.
    hessians
        Of how many draws force constants are the mean, 6 n force calls each (counted by the path).
    softest
        eV/Å²; softer modes of a harmonic reference are stiffened to it.

    Raises
    ------
    InputError
        If the kind is none, or the draws are too few or of another occupation.

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.3)
    >>> mace, mgo = AlchemicalMACE(lattice, "bundled", device="cpu"), np.zeros(4, dtype=int)
    >>> thermal = thermal_positions(mace, mgo, 600.0, n_draws=10, warmup=5)
    >>> path = reference_path(mace, mgo, thermal, 600.0)
    >>> path.starts(600.0, 3, seed=1).positions.shape
    (3, 8, 3)
    """
    if kind not in REFERENCES:
        raise InputError(f"kind is {shown(kind)}; give one of {', '.join(REFERENCES)}")
    if not np.array_equal(occupation, thermal.occupation):
        raise InputError("the draws are of another occupation: draw positions of this one")
    lattice = hamiltonian.lattice
    springs, places = spring_constants(lattice, occupation, thermal.positions, temperature)
    if kind == "einstein":
        return FrenkelLaddPath(EinsteinCrystal(lattice, occupation, springs, places), hamiltonian)
    if not is_whole(hessians, least=1):
        raise InputError(f"hessians is {shown(hessians)}; give a whole number, 1 or more")
    draws = thermal.positions.reshape(-1, *places.shape)
    picked = draws[np.linspace(0, len(draws) - 1, min(hessians, len(draws))).astype(int)]
    matrix = mean_force_constants(hamiltonian, occupation, picked)
    crystal = HarmonicCrystal(lattice, occupation, matrix, places, softest=softest)
    path = FrenkelLaddPath(crystal, hamiltonian)
    path.preparation = 2 * len(matrix) * len(picked)
    return path
