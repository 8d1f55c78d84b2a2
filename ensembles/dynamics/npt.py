"""Molecular dynamics at constant pressure, by ASE's integrators of Martyna, Tobias and Klein."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from ase import units

from ...errors import InputError, ModelError
from ...potentials.calculator import OccupationCalculator
from ...protocols import Generators
from ...sublattice import is_number, is_whole, shown
from .crystal import Crystal, Masses, Report, Structures, check_masses
from .langevin import dynamics_report
from .volume import CELLS, check_pressure, symmetric, symmetric_normals

__all__ = ["NPT"]


@dataclass(frozen=True)
class NPT:
    r"""Dynamics of positions and cell; weight exp(−β[E(σ, R) + PV]) up to a time-step bias.

    ASE's ``IsotropicMTKNPT`` and ``MTKNPT`` (Martyna, Tobias and Klein 1994, doi:10.1063/1.467468),
    with a chain of three thermostats. The velocities of atoms and cell and the momenta of the
    thermostats are drawn anew from their equilibrium distributions at the beginning of every block,
    which leaves the ensemble as it is; started at rest, as ASE starts them, short blocks would hold
    the volume too still. All n atoms count in V^n: the centre moves, and is brought back after the
    block where it is to be held.

    The cell has no thermostat besides: ASE's (3.26 to 3.29) takes a full cell for 9 degrees of
    freedom, where its symmetric momenta have 6, and makes it too hot. Blocks are inexact by their
    time step: `time_step_bias` measures by how much. The cell swings with a period of about
    ``barostat_time``, or less in small cells, which the time step must resolve, too.

    ``n_steps`` + 1 force calls per block, one replica after the other.

    Parameters
    ----------
    time_step
        fs.
    pressure
        GPa.
    n_steps
        Time steps per block.
    cell
        ``"isotropic"`` or ``"full"``: what of the cell moves.
    thermostat_time, barostat_time
        fs; time scales of the thermostats and of the cell. By default 100 time steps and 300.
    masses
        ``"species"``: those of the elements (they follow the species when occupations change);
        ``"equal"``; or amu by element, the others ASE's.

    Raises
    ------
    InputError
        If a number or a name cannot be used.

    Examples
    --------
    >>> NPT(time_step=1.0, pressure=2.0, cell="full").pressure
    2.0
    """

    time_step: float = 1.0
    pressure: float = 0.0
    n_steps: int = 50
    cell: str = "isotropic"
    thermostat_time: float | None = None
    barostat_time: float | None = None
    masses: Masses = "species"

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, steps in (("time_step", 0), ("thermostat_time", 100), ("barostat_time", 300)):
            value = getattr(self, name)
            if value is None and steps:
                value = steps * self.time_step
            if not is_number(value) or value <= 0:
                raise InputError(f"{name} is {shown(value)}; give fs above 0")
            object.__setattr__(self, name, float(value))
        if self.pressure is None:
            raise InputError("pressure is None, which Langevin is for: give GPa")
        check_pressure(self.pressure)
        if not is_whole(self.n_steps, least=1):
            raise InputError(f"n_steps is {shown(self.n_steps)}; give a whole number, 1 or more")
        if self.cell not in CELLS:
            raise InputError(f"cell is {shown(self.cell)}; give one of {', '.join(CELLS)}")
        object.__setattr__(self, "masses", check_masses(self.masses))

    def run(
        self, crystal: Crystal, structures: Structures, rngs: Generators
    ) -> tuple[Structures, Report]:
        """``n_steps`` time steps in every replica.

        Raises
        ------
        ModelError
            If a structure has no finite energy: the time step is too long.
        """
        masses = crystal.masses(structures.occupations, self.masses)
        rows = [
            self._block(crystal, Structures(*(part[r] for part in structures)), masses[r], rng)
            for r, rng in enumerate(rngs)
        ]
        ended = Structures(*(np.array(part) for part in zip(*rows, strict=True)))
        positions, cells = ended.positions, ended.cells
        if self.cell == "full":
            turned = symmetric(crystal.lattice.atoms.cell.array, cells)
            positions, cells = positions @ np.linalg.solve(cells, turned), turned
        ended = ended._replace(positions=crystal.recentred(positions, cells), cells=cells)
        return ended, dynamics_report(len(rngs), self.n_steps + 1)

    def _block(
        self, crystal: Crystal, structure: Structures, masses: np.ndarray, rng: np.random.Generator
    ) -> Structures:
        """Run one replica."""
        atoms = crystal.lattice.to_atoms(
            structure.occupations, structure.positions, structure.cells
        )
        there = np.isfinite(masses)
        atoms.set_masses(masses[there])
        normals = rng.standard_normal((len(masses), 3))[there]
        atoms.set_velocities(np.sqrt(crystal.kT / masses[there])[:, None] * normals)
        atoms.calc = OccupationCalculator(crystal.hamiltonian, structure.occupations)
        dynamics = self._integrator(atoms, crystal, rng)
        with np.errstate(over="raise", invalid="raise"):
            try:
                dynamics.run(self.n_steps)
            except (FloatingPointError, np.linalg.LinAlgError) as error:
                raise ModelError(
                    f"the dynamics went astray ({error}): take a shorter time step"
                ) from None
        positions = structure.positions.copy()
        positions[there] = atoms.positions
        cell, energy = atoms.cell.array.copy(), np.array(atoms.get_potential_energy())
        return Structures(structure.occupations, positions, cell, energy)

    def _integrator(self, atoms: Any, crystal: Crystal, rng: np.random.Generator) -> Any:
        """ASE's integrator with its momenta drawn from their equilibrium distributions."""
        from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT  # noqa: PLC0415  (slow)

        assert self.thermostat_time is not None  # noqa: S101  (__post_init__)
        assert self.barostat_time is not None  # noqa: S101
        kind: Any = IsotropicMTKNPT if self.cell == "isotropic" else MTKNPT
        dynamics = kind(
            atoms,
            timestep=self.time_step * units.fs,
            temperature_K=crystal.temperature,
            pressure_au=self.pressure * units.GPa,
            tdamp=self.thermostat_time * units.fs,
            pdamp=self.barostat_time * units.fs,
        )
        thermostat, barostat, kT = dynamics._thermostat, dynamics._barostat, crystal.kT  # noqa: SLF001
        barostat._R[:] = np.inf  # its thermostat never moves  # noqa: SLF001
        drawn = np.sqrt(barostat.W * kT)
        if self.cell == "full":
            dynamics._p_g = drawn * symmetric_normals(rng)  # noqa: SLF001
        else:
            dynamics._p_eps = drawn * float(rng.standard_normal())  # noqa: SLF001
        inertia = thermostat._Q  # noqa: SLF001
        thermostat._p_eta[:] = np.sqrt(inertia * kT) * rng.standard_normal(len(inertia))  # noqa: SLF001
        return dynamics

    # ---- tuning and stores -----------------------------------------------------------------

    def resumed(self) -> NPT:
        """Return the dynamics: there is nothing to tune."""
        return self

    def tuned(self, report: Report) -> NPT:  # noqa: ARG002
        """Return the dynamics: there is nothing to tune."""
        return self

    def settled(self) -> NPT:
        """Return the dynamics."""
        return self

    def with_pressure(self, pressure: float | None) -> NPT:
        """Return the dynamics at another pressure in GPa."""
        if pressure is None:
            raise InputError("NPT needs a pressure: use Langevin or HMC for a fixed cell")
        return replace(self, pressure=pressure)

    def summary(self) -> dict[str, Any]:
        """Say what it is, in plain numbers and words."""
        return {
            "dynamics": "NPT (Martyna, Tobias, Klein), inexact by its time step",
            "time_step_fs": self.time_step,
            "n_steps": self.n_steps,
            "pressure_GPa": self.pressure,
            "cell": self.cell,
            "thermostat_time_fs": self.thermostat_time,
            "barostat_time_fs": self.barostat_time,
            "masses": self.masses if isinstance(self.masses, str) else dict(self.masses),
        }

    def to_arrays(self) -> dict[str, Any]:
        """Return the tuned numbers: none."""
        return {}

    def with_arrays(self, arrays: Mapping[str, Any]) -> NPT:  # noqa: ARG002
        """Return the dynamics: there is nothing to tune."""
        return self
