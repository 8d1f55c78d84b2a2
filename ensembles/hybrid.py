"""Occupations and positions together: blocks of one at a fixed other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..protocols import Ensemble, Generators, Hamiltonian, Info, Kernel, State
from ..sublattice import is_whole, shown
from ..tuning import STEPS_PER_TUNING, learn, summary_of
from ._hybrid_records import HybridInfo, HybridState, step_info, together
from ._states import check_plain, check_single
from .dynamics import HMC, NPT, Langevin
from .dynamics.crystal import Crystal, Dynamics, Report, Structures
from .dynamics.views import CarryingView, PositionView
from .with_positions import WithPositions, occupations_of

__all__ = ["HybridInfo", "HybridMD", "HybridState"]

LEARNING_STEPS = 60  # of a kernel that learns in a warm-up of its own
THERMAL_STEPS = 20  # before them
ALL_EXCHANGES = "a swap exchanges the displacements from the sites' references"
NO_EXCHANGE = "a swap leaves positions in place"


@dataclass(frozen=True)
class HybridMD:
    r"""Alternate occupation blocks at fixed positions with position blocks at a fixed occupation.

    Weight (`WithPositions`): that of the kernel's ensemble with the energy E(σ, R) of occupation σ
    and positions R, and with a pressure exp(−βPV); of a canonical ensemble exp(−β[E(σ, R) + PV]).

    One step is ``occupation_steps`` steps of the kernel and one block of the dynamics. Every
    replica has positions of its own, so the kernel is refreshed for each: a surrogate follows them
    as a function of the positions alone. With `HMC` the chain is exact; `Langevin` and `NPT` are
    inexact by their time step, which `time_step_bias` measures.

    A swap leaves positions in place or, with ``swap_displacements``, exchanges the displacements of
    the two sites from their references; both keep volumes, so the acceptance is that of the
    energies. (A surrogate belongs to positions in place.) A vacancy keeps a ghost, whose
    displacement u has the normalised density ρ(u) (`dynamics.crystal.Crystal`). So an atom that is
    created appears where the ghost was, one that is removed leaves a ghost behind where it was, and

    .. math:: α_\text{create} = \min\Big(1, \frac{e^{−β(ΔE − Δμ)}}{ρ(u)}\Big), \qquad
              α_\text{remove} = \min\big(1, e^{−β(ΔE − Δμ)} ρ(u)\big)

    for proposals that are as likely both ways; in the kernel −k_BT ln ρ(u) of vacant sites is part
    of the energy. Ghosts are drawn anew after every block. Masses follow the species; they enter no
    weight, since momenta are drawn anew and the de Broglie terms are left out.

    Costs per step and replica, in calls of the model: one energy (and what the kernel needs besides
    to follow the positions: for a `SurrogateChain` one gradient), those of the kernel's steps, and
    the force calls of the dynamics.

    Parameters
    ----------
    kernel
        Kernel for occupations, with an energy model of positions and an ensemble that has a
        temperature.
    dynamics
        `HMC`, `Langevin` or `NPT`.
    occupation_steps
        Steps of the kernel in a block; 0 moves positions alone.
    swap_displacements
        Whether atoms that are exchanged take their displacements with them.
    fix_centre
        Whether the mean displacement of the atoms that are never vacant is held at zero. For energy
        models that change when the crystal is moved as a whole, give False.
    ghost_width
        Standard deviation in Å of every component of a ghost's displacement.

    Raises
    ------
    InputError
        If the energy model is relaxed (positions cannot be both relaxed and sampled), has no forces
        or, with HMC, is not evaluated in double precision; if the dynamics is none of the three
        (Berendsen's barostat has no ensemble); if displacements are to be exchanged with a
        surrogate; or if a number cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import AlchemicalMACE, Canonical, RandomSwap, builders, ensembles, sample
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98, size=(2, 1, 1))
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> swaps = RandomSwap(mace, Canonical(lattice, temperature=1500.0))
    >>> kernel = ensembles.HybridMD(swaps, ensembles.HMC(step=2.0, n_steps=3, pressure=0.0),
    ...                             occupation_steps=1)
    >>> run = sample(kernel, np.array([0, 1]), n_steps=2, n_replicas=2, warmup=2, seed=1)
    >>> run.samples.positions.dims, run.samples.cell.shape, float(run.samples.pressure)
    (('draw', 'chain', 'atom', 'xyz'), (2, 2, 3, 3), 0.0)
    """

    kernel: Kernel
    dynamics: Dynamics
    occupation_steps: int = 10
    swap_displacements: bool = False
    fix_centre: bool = True
    ghost_width: float = 0.1
    _learnt: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_dynamics(self.dynamics)
        if not is_whole(self.occupation_steps, least=0):
            raise InputError(
                f"occupation_steps is {shown(self.occupation_steps)}; give a whole number, 0 or "
                "more"
            )
        check_single(self.kernel, "make it from a HybridMD of one rung")
        check_plain(self.kernel, "give the dynamics to it itself, or a kernel that moves none")
        self.crystal.check_masses(self.dynamics.masses)  # it refuses models without forces, too
        if self.occupation_steps and not hasattr(self.hamiltonian, "at"):
            raise InputError(
                f"{type(self.hamiltonian).__name__} has no at(positions, cell), which occupations "
                "at moving positions need: give an energy model such as AlchemicalMACE"
            )
        precision = str(getattr(self.hamiltonian, "dtype", "float64"))
        if self.dynamics.exact and "float64" not in precision:
            raise InputError(
                f"HMC needs energies in double precision, not in {precision}: "
                'build the energy model with dtype="float64", or use Langevin'
            )
        if self.swap_displacements and _has(self.kernel, "surrogate"):
            raise InputError(
                "a surrogate belongs to one set of positions, which exchanged displacements "
                "change: leave out swap_displacements, or use kernels without a surrogate"
            )
        if self.swap_displacements and _has(self.kernel, "hand_over"):
            raise InputError(
                "a trajectory of λ belongs to one set of positions, which exchanged displacements "
                "change: leave out swap_displacements, or use kernels that swap"
            )

    # ---- what is sampled -------------------------------------------------------------------

    @property
    def hamiltonian(self) -> Hamiltonian:
        """The energy model, at the positions that chains start from."""
        return self.kernel.hamiltonian

    @property
    def ensemble(self) -> WithPositions:
        """The target density over occupations and positions."""
        return WithPositions(self.kernel.ensemble, self.dynamics.pressure)

    @property
    def state_type(self) -> type[HybridState]:
        """NamedTuple that its states are."""
        return HybridState

    @property
    def crystal(self) -> Crystal:
        """What moves."""
        return Crystal(
            self.hamiltonian, self.ensemble.temperature, self.fix_centre, self.ghost_width
        )

    def init(self, occupations: np.ndarray, rngs: Generators) -> HybridState:
        """State of chains at ``occupations`` [n_replicas, n_sites].

        Positions and cell are those that the energy model is bound to, the lattice's where it
        names none. Two evaluations per replica, one where positions move alone.

        Raises
        ------
        InputError
            If the occupations do not fit, or the kernel cannot start from them.
        """
        checked = self._checked(occupations, rngs)
        atoms, model, n = self.hamiltonian.lattice.atoms, self.hamiltonian, len(rngs)
        cells = np.tile(np.array(getattr(model, "cell", atoms.cell.array), dtype=float), (n, 1, 1))
        positions = np.tile(
            np.array(getattr(model, "positions", atoms.positions), dtype=float), (n, 1, 1)
        )
        crystal = self.crystal
        return self._state(crystal, checked, crystal.recentred(positions, cells), cells)

    def _checked(self, occupations: np.ndarray, rngs: Generators) -> np.ndarray:
        """Return a valid copy of the starts, of any composition where positions move alone."""
        if self.occupation_steps:
            return self.kernel.init(occupations, rngs).occupations
        checked = np.array(self.hamiltonian.lattice.check(occupations), dtype=np.int8)
        if checked.ndim != 2 or len(checked) != len(rngs):
            raise InputError(
                f"occupations have shape {checked.shape} for {len(rngs)} generators: expected "
                "[n_replicas, n_sites] and one generator per replica"
            )
        return checked

    def _state(
        self, crystal: Crystal, occupations: np.ndarray, positions: np.ndarray, cells: np.ndarray
    ) -> HybridState:
        """State with its energies evaluated."""
        energy, _ = crystal.known(occupations, positions, cells)
        return HybridState(occupations, energy, self._unknown(occupations), positions, cells)

    def _unknown(self, occupations: np.ndarray) -> np.ndarray:
        return np.full((*occupations.shape, self.hamiltonian.lattice.n_species_max), np.nan)

    def observe(self, state: HybridState) -> dict[str, np.ndarray]:
        """Positions [n_replicas, n_atoms, 3] and cells [n_replicas, 3, 3] to be stored."""
        return {"positions": state.positions, "cell": state.cells}

    # ---- steps -----------------------------------------------------------------------------

    def step(self, state: HybridState, rngs: Generators) -> tuple[HybridState, HybridInfo]:
        """One occupation block and one position block in every replica."""
        state, info, _, _ = self._advance(state, rngs)
        return state, info

    def _advance(
        self, state: HybridState, rngs: Generators
    ) -> tuple[HybridState, HybridInfo, list[Info], Report]:
        """One step; also every step of the kernel and the report of the dynamics."""
        crystal = self.crystal
        moved, infos, calls = self._occupation_blocks(crystal, state, rngs)
        structures = Structures(moved.occupations, moved.positions, moved.cells, moved.energy)
        structures, report = self.dynamics.run(crystal, structures, rngs)
        structures = crystal.with_new_ghosts(structures, rngs)
        after = HybridState(
            structures.occupations, structures.energy, self._unknown(structures.occupations),
            structures.positions, structures.cells,
        )  # fmt: skip
        return after, step_info(infos, calls, report), infos, report

    def _occupation_blocks(
        self, crystal: Crystal, state: HybridState, rngs: Generators
    ) -> tuple[HybridState, list[Info], np.ndarray]:
        """Run every replica's block; infos of all replicas by step, and calls [n, 2] to follow."""
        if not self.occupation_steps:
            return state, [], np.zeros((len(rngs), 2), dtype=np.int64)
        blocks = [
            self._occupation_block(crystal, HybridState(*(part[r] for part in state)), rng)
            for r, rng in enumerate(rngs)
        ]
        occupations, positions, energies, infos, calls = zip(*blocks, strict=True)
        after = state._replace(
            occupations=np.array(occupations), positions=np.array(positions),
            energy=np.array(energies),
        )  # fmt: skip
        return after, [together(one) for one in zip(*infos, strict=True)], np.array(calls)

    def _occupation_block(
        self, crystal: Crystal, one: HybridState, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, float, list[Info], tuple[int, int]]:
        """Run one replica's block: what it came to, what it did, and calls to follow positions."""
        positions, cell = one.positions, one.cells
        view = self._view(crystal, positions, cell, one.occupations)
        kernel, state = self._followed(one, view)
        calls = (view.energy_calls, view.gradient_calls)
        infos = []
        for _ in range(self.occupation_steps):
            before = state.occupations[0]
            state, info = kernel.step(state, [rng])
            infos.append(info)
            if isinstance(view, CarryingView) and (state.occupations[0] != before).any():
                positions = view.positions_of(state.occupations[0])
                view = self._view(crystal, positions, cell, state.occupations[0])
                kernel = kernel.rebind(hamiltonian=view)
        occupation = state.occupations[0]
        energy = float(state.energy[0] - view.ghost_energy(occupation[None])[0])
        return occupation, positions, energy, infos, calls

    def _followed(self, one: HybridState, view: PositionView) -> tuple[Kernel, State]:
        """Kernel and state of one replica at its positions, from those it was tuned at."""
        start = State(one.occupations[None], one.energy[None], one.gradient[None])
        return self.kernel.refresh(start, view)

    def _view(
        self, crystal: Crystal, positions: np.ndarray, cell: np.ndarray, occupation: np.ndarray
    ) -> PositionView:
        if self.swap_displacements:
            return CarryingView(crystal, positions, cell, occupation)
        return PositionView(crystal, positions, cell)

    # ---- warm-up ---------------------------------------------------------------------------

    def warm_up(
        self, state: HybridState, rngs: Generators, n: int
    ) -> tuple[HybridMD, HybridState, list[HybridInfo]]:
        """Run ``n`` steps that tune the kernel and the dynamics; both are frozen in what returns.

        A kernel that learns in a warm-up of its own, as a surrogate does, learns where positions
        are thermal: after half of the steps, 20 at most, that move positions alone, it takes 60
        steps of its own at the positions of the first replica, from all replicas' occupations.
        Those steps move nothing but are counted in the calls.
        """
        hybrid, infos, since = replace(self, dynamics=self.dynamics.resumed()), [], []
        learns = not self._learnt and self.occupation_steps and hasattr(self.kernel, "warm_up")
        alone = min(n // 2, THERMAL_STEPS) if learns else 0
        for step in range(1, n + 1):
            extra = np.zeros((len(rngs), 2), dtype=np.int64)
            if learns and step == alone + 1:
                hybrid, extra = hybrid._taught(state, rngs)  # noqa: SLF001
            here = hybrid if step > alone else replace(hybrid, occupation_steps=0)
            state, info, moves, report = here._advance(state, rngs)  # noqa: SLF001
            infos.append(
                info._replace(
                    energy_calls=info.energy_calls + extra[:, 0],
                    gradient_calls=info.gradient_calls + extra[:, 1],
                )
            )
            since += moves
            kernel, due = hybrid.kernel, len(since) >= STEPS_PER_TUNING or step == n
            if hasattr(kernel, "tuned") and since and due:
                kernel, since = kernel.tuned(since), []
            hybrid = replace(hybrid, kernel=kernel, dynamics=hybrid.dynamics.tuned(report))
        return replace(hybrid, dynamics=hybrid.dynamics.settled()), state, infos

    def _taught(self, state: HybridState, rngs: Generators) -> tuple[HybridMD, np.ndarray]:
        """Kernel taught at the first replica's positions, and the calls, [n_replicas, 2]."""
        view = PositionView(self.crystal, state.positions[0], state.cells[0])
        # A refreshed kernel knows that what it learnt elsewhere belongs to other positions.
        bound, start = self.kernel.refresh(State(*state[:3]), view)
        calls = np.zeros((len(rngs), 2), dtype=np.int64)
        calls[0] = view.energy_calls, view.gradient_calls
        kernel, _, infos = learn(bound, start, rngs, LEARNING_STEPS)
        for info in infos:
            calls += np.stack([info.energy_calls, info.gradient_calls], axis=1)
        kernel = kernel.rebind(hamiltonian=self.hamiltonian)
        return replace(self, kernel=kernel, _learnt=True), calls

    def summary(self) -> dict[str, Any]:
        """Return what the warm-up found and what was chosen, in plain numbers and words."""
        kernel = summary_of(self.kernel)
        return {
            "kernel": kernel,
            "positions": self.dynamics.summary(),
            "occupation_steps": self.occupation_steps,
            "swaps": ALL_EXCHANGES if self.swap_displacements else NO_EXCHANGE,
            "fix_centre": self.fix_centre,
            "ghost_width_A": self.ghost_width if self.crystal.has_vacancies else None,
            "hessian_products": int(kernel.get("hessian_products", 0)),
        }

    # ---- other models, ensembles and stores ------------------------------------------------

    def rebind(
        self, *, hamiltonian: Hamiltonian | None = None, ensemble: Ensemble | None = None
    ) -> HybridMD:
        """Return the kernel, tuned parameters kept, for another energy model or target.

        A target that is a `WithPositions` brings its pressure; another keeps the present one.
        """
        occupations = None if ensemble is None else occupations_of(ensemble)
        kernel = self.kernel.rebind(hamiltonian=hamiltonian, ensemble=occupations)
        return replace(self, kernel=kernel, dynamics=self._dynamics_for(ensemble))

    def carried_over(self, ensemble: Ensemble) -> HybridMD:
        """Return the kernel for another point of a campaign, with what it learnt.

        A kernel that learnt in a warm-up of its own, at thermal positions, does not learn again.
        """
        if self._learnt or not hasattr(self.kernel, "carried_over"):
            return self.rebind(ensemble=ensemble)
        kernel = self.kernel.carried_over(occupations_of(ensemble))
        return replace(self, kernel=kernel, dynamics=self._dynamics_for(ensemble))

    def _dynamics_for(self, ensemble: Ensemble | None) -> Dynamics:
        if not isinstance(ensemble, WithPositions):
            return self.dynamics
        return self.dynamics.with_pressure(ensemble.pressure)

    def refresh(self, state: HybridState, hamiltonian: Hamiltonian) -> tuple[HybridMD, HybridState]:
        """Return the kernel bound to ``hamiltonian``, and its state with energies of that model."""
        hybrid = self.rebind(hamiltonian=hamiltonian)
        return hybrid, hybrid._state(  # noqa: SLF001
            hybrid.crystal, state.occupations, state.positions, state.cells
        )

    def to_arrays(self) -> dict[str, Any]:
        """Tuned parameters of kernel and dynamics."""
        return {
            "kernel": self.kernel.to_arrays(),
            "dynamics": self.dynamics.to_arrays(),
            "learnt": self._learnt,
        }

    def with_arrays(self, arrays: Mapping[str, Any]) -> HybridMD:
        """Return the kernel with what ``to_arrays`` gave."""
        return replace(
            self,
            kernel=self.kernel.with_arrays(arrays["kernel"]),
            dynamics=self.dynamics.with_arrays(arrays["dynamics"]),
            _learnt=bool(arrays["learnt"]),
        )


def _check_dynamics(dynamics: Any) -> None:
    if isinstance(dynamics, HMC | Langevin | NPT):
        return
    name = (
        dynamics
        if isinstance(dynamics, str)
        else getattr(dynamics, "__name__", type(dynamics).__name__)
    )
    if "berendsen" in name.lower():
        raise InputError(
            f"{name} samples no ensemble (it damps the fluctuations of temperature and volume): "
            "use NPT, or HMC with a pressure"
        )
    raise InputError(
        f"dynamics is {shown(name)}; give an object of alchemc.ensembles, such as HMC(step=1.0), "
        "Langevin() or NPT(pressure=0.0)"
    )


def _has(kernel: Any, name: str) -> bool:
    """Whether a kernel, or one that it is made of, has an attribute."""
    return hasattr(kernel, name) or any(_has(k, name) for k in getattr(kernel, "kernels", ()))
