"""What moves at a fixed place on a path: occupations by a kernel, positions by a dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError, ModelError
from ...protocols import Generators, Kernel, State
from ...sublattice import is_number, is_whole, shown
from .._states import check_plain, check_single
from ..dynamics import HMC, Langevin
from ..dynamics.crystal import Dynamics, Report, Structures
from .paths import unmoved

__all__ = ["Moves", "joined"]

_TOLERANCE = 1e-9  # K


@dataclass(frozen=True)
class Moves:
    """Moves that leave exp(−βU_s) of a path invariant, at any s.

    One move is ``kernel_steps`` steps of the kernel and one block of the dynamics. Run backwards,
    the block comes first: each is its own reversal, so that the sequence is reversed as a whole. A
    block with a pressure is a trajectory, a volume move and another trajectory, which reads the
    same both ways.

    Parameters
    ----------
    path
        The path.
    temperature
        Kelvin.
    dynamics
        `HMC` or `Langevin`; None where positions stand still.
    kernel
        Kernel made on ``path.model(s)`` at any s; None where occupations stand still.
    kernel_steps
        Steps of the kernel in a move.
    fix_centre
        Whether the mean displacement of the atoms that are never vacant is held at zero.

    Raises
    ------
    InputError
        If nothing moves, or a part does not fit the path.
    """

    path: Any
    temperature: float
    dynamics: Dynamics | None = None
    kernel: Kernel | None = None
    kernel_steps: int = 1
    fix_centre: bool = True

    def __post_init__(self) -> None:
        if not all(hasattr(self.path, name) for name in ("energy", "slope", "model", "prepared")):
            raise InputError(
                f"path is a {type(self.path).__name__}; give an AlchemicalPath or a MixturePath"
            )
        if not is_number(self.temperature) or self.temperature <= 0:
            raise InputError(f"temperature is {shown(self.temperature)}; give kelvin above 0")
        if self.dynamics is None and self.kernel is None:
            raise InputError(
                "nothing moves: give a dynamics for positions, such as HMC(), a kernel for "
                "occupations made on path.model(0.0), or both"
            )
        if not is_whole(self.kernel_steps, least=1):
            raise InputError(
                f"kernel_steps is {shown(self.kernel_steps)}; give a whole number, 1 or more"
            )
        if self.dynamics is not None:
            self._check_dynamics(self.dynamics)
        if self.kernel is not None:
            self._check_kernel(self.kernel)

    def _check_dynamics(self, dynamics: Any) -> None:
        if not isinstance(dynamics, HMC | Langevin):
            name = getattr(dynamics, "__name__", type(dynamics).__name__)
            raise InputError(
                f"dynamics is {shown(name)}; give HMC(…), with a pressure if the cell is to move, "
                "or Langevin(…)"
            )
        crystal = self.path.crystal(0.0, self.temperature, self.fix_centre)
        crystal.check_masses(dynamics.masses)
        precision = str(getattr(self.path.hamiltonian, "dtype", "float64"))
        if dynamics.exact and "float64" not in precision:
            raise InputError(
                f"HMC needs energies in double precision, not in {precision}: "
                'build the energy model with dtype="float64", or use Langevin'
            )
        if self.kernel is not None and (self.path.lattice.atomic_numbers == 0).any():
            raise InputError(
                "occupations and positions do not move together where sites may be vacant: leave "
                "the kernel or the dynamics out"
            )

    def _check_kernel(self, kernel: Any) -> None:
        check_single(kernel, "give the kernel of one of its rungs")
        check_plain(kernel, "give the kernel that it is made of, and the dynamics apart")
        if kernel.hamiltonian.lattice != self.path.movable:
            raise InputError(
                "the kernel's lattice is not that of the occupations that may move: make it on "
                "path.model(0.0), with an ensemble on path.movable"
            )
        temperature = getattr(kernel.ensemble, "temperature", None)
        if temperature is None or abs(temperature - self.temperature) > _TOLERANCE:
            raise InputError(
                f"the kernel's ensemble has the temperature {shown(temperature)}, the path "
                f"{self.temperature:g} K: give both the same"
            )

    # ---- configurations --------------------------------------------------------------------

    def starts(self, given: Any, n_chains: int) -> Structures:
        """Make configurations of ``n_chains`` chains; their energies are not known yet.

        Parameters
        ----------
        given
            Occupations [n_sites] or [n_chains, n_sites], at the positions that the energy model is
            bound to, or `Structures` of one or ``n_chains`` replicas.
        n_chains
            Number of chains.
        """
        if not is_whole(n_chains, least=1):
            raise InputError(f"n_chains is {shown(n_chains)}; give a whole number, 1 or more")
        places = None
        if isinstance(given, Structures):
            if self.dynamics is None and given.positions.shape[1]:
                raise InputError(
                    "positions stand still without a dynamics: bind the energy model to them by "
                    "path.at(positions, cell), or give occupations alone"
                )
            places = _tiled(given.positions, n_chains), _tiled(given.cells, n_chains)
            given = given.occupations
        occupations = _tiled(self.path.prepared(given), n_chains)
        if self.dynamics is None:
            return unmoved(occupations)
        positions, cells = self._default_places(n_chains) if places is None else places
        n_atoms = len(self.path.lattice.atoms)
        if positions.shape != (n_chains, n_atoms, 3) or cells.shape != (n_chains, 3, 3):
            raise InputError(
                f"positions have shape {positions.shape} and cells {cells.shape}: expected "
                f"{(n_chains, n_atoms, 3)} and {(n_chains, 3, 3)}"
            )
        crystal = self.path.crystal(0.0, self.temperature, self.fix_centre)
        positions = crystal.recentred(positions, cells)
        return Structures(occupations, positions, cells, np.full(n_chains, np.nan))

    def _default_places(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        model, atoms = self.path.hamiltonian, self.path.lattice.atoms
        positions = np.array(getattr(model, "positions", atoms.positions), dtype=np.float64)
        cell = np.array(getattr(model, "cell", atoms.cell.array), dtype=np.float64)
        return np.repeat(positions[None], n, axis=0), np.repeat(cell[None], n, axis=0)

    def placed(self, s: float, structures: Structures) -> Structures:
        """Return the same configurations with their energies at another s.

        Where positions move, forces are found with them: the move that follows needs them first.

        Raises
        ------
        ModelError
            If one has no finite energy there.
        """
        if self.dynamics is None:
            energy = self.path.energy(s, structures)
        else:
            energy, _ = self._crystal(s).evaluate(*structures[:3])
        if not np.isfinite(energy).all():
            remedy = " (overlapping atoms?): take a shorter time step or more steps"
            if self.dynamics is None:
                remedy = ": an occupation has to be possible all along the path; take another"
            raise ModelError(
                f"chain {np.argmin(np.isfinite(energy))} has no finite energy at s = {s:.4g}"
                + remedy
            )
        return structures._replace(energy=energy)

    # ---- moves -----------------------------------------------------------------------------

    def __call__(
        self,
        s: float,
        structures: Structures,
        rngs: Generators,
        *,
        dynamics: Dynamics | None = None,
        backwards: bool = False,
    ) -> tuple[Structures, Report | None]:
        """Move every replica once at s; the report is that of the dynamics, None without one.

        Parameters
        ----------
        s
            Place on the path, at which the energies of ``structures`` are known.
        structures
            Configurations.
        rngs
            One generator per replica.
        dynamics
            In place of the own one, as it has been tuned.
        backwards
            Whether the dynamics comes before the kernel.
        """
        dynamics, report = dynamics or self.dynamics, None
        if self.kernel is not None and not backwards:
            structures = self._occupations(self.kernel, s, structures, rngs)
        if dynamics is not None:
            crystal = self._crystal(s)
            structures, report = dynamics.run(crystal, structures, rngs)
            if dynamics.pressure is not None:
                structures, _ = dynamics.with_pressure(None).run(crystal, structures, rngs)
        if self.kernel is not None and backwards:
            structures = self._occupations(self.kernel, s, structures, rngs)
        return structures, report

    def _crystal(self, s: float) -> Any:
        return self.path.crystal(s, self.temperature, self.fix_centre)

    def _occupations(
        self, kernel: Kernel, s: float, structures: Structures, rngs: Generators
    ) -> Structures:
        """Take the steps of the kernel: all replicas at once, or each at its own positions."""
        sites, model = self.path.movable_sites, self.path.model(s)
        held = structures.occupations[:, sites]
        shape = (*held.shape, self.path.movable.n_species_max)
        state = State(held, structures.energy, np.full(shape, np.nan))
        if self.dynamics is None:
            moved = [self._steps(kernel.rebind(hamiltonian=model), state, rngs)]
        else:  # what a kernel knows of its energy model has to follow the positions
            moved = [
                self._steps(
                    *kernel.refresh(
                        State(*(part[row : row + 1] for part in state)),
                        model.at(structures.positions[row], structures.cells[row]),
                    ),
                    [rng],
                )
                for row, rng in enumerate(rngs)
            ]
        occupations = structures.occupations.copy()
        occupations[:, sites] = np.concatenate([one.occupations for one in moved])
        energy = np.concatenate([one.energy for one in moved])
        return structures._replace(occupations=occupations, energy=energy)

    def _steps(self, kernel: Kernel, state: State, rngs: Generators) -> State:
        for _ in range(self.kernel_steps):
            state, _ = kernel.step(state, rngs)
        return state


def joined(reports: list[Report | None]) -> Report | None:
    """Put the reports of several groups of replicas into one."""
    known = [report for report in reports if report is not None]
    if not known:
        return None
    return Report(*(np.concatenate(part) for part in zip(*known, strict=True)))


def _tiled(values: np.ndarray, n: int) -> np.ndarray:
    """Rows for ``n`` chains, from one for all or one for each."""
    if len(values) not in (1, n):
        raise InputError(f"{len(values)} starts for {n} chains: give one for all, or one for each")
    return np.repeat(values, n, axis=0) if len(values) < n else np.array(values)
