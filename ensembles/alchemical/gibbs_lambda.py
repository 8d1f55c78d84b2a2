"""Discrete states of λ drawn from their conditional, between blocks of moving positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...errors import InputError, ModelError
from ...protocols import Ensemble, Generators, Hamiltonian, Info, Kernel
from ...sublattice import is_whole, shown
from ...tuning import STEPS_PER_TUNING, summary_of
from .._states import check_single
from ..canonical import Canonical
from ..charge_neutral import ChargeNeutral
from ..dynamics import HMC, Langevin
from ..dynamics.crystal import Dynamics, Report, Structures
from ..semi_grand import SemiGrandCanonical
from ..with_positions import WithPositions
from ._gibbs_records import GibbsState, Hop, gibbs_info
from ._hops import Hops
from ._lambda_crystal import LambdaCrystal
from ._state_energies import Here, beside_groups
from .biases import Biases
from .discrete import DiscreteStates
from .flattening import Flattening
from .groups import Groups
from .mixed import MixedModel
from .with_biases import WithBiases, unbiased

__all__ = ["GibbsLambda", "GibbsState"]


@dataclass(frozen=True)
class GibbsLambda:
    r"""Draw the species of groups of sites from their conditional; move positions in between.

    Every group is in one of a list of states of λ: its species and, with ``between``, points on the
    edges between two species, so that hops stay likely where positions move. The weight of states
    s, positions R and the species σ on sites in no group is that of the ensemble, with the model's
    energy at λ(s) and a bias,

    .. math:: p(s, R, σ) ∝ \exp\big(−β [E(λ(s), σ, R) + B(s) − μ·λ(s)]\big) .

    One step is ``occupation_steps`` steps of ``kernel`` on the sites in no group, a block of the
    dynamics at the present λ, and for one group after the other a draw of its state from

    .. math:: p(s_g | R, σ, s_{h≠g}) ,

    all states evaluated (Gibbs sampling; expanded ensembles: Lyubartsev et al. 1992,
    doi:10.1063/1.462133), or with ``metropolised`` a draw that avoids the present state (Liu 1996,
    doi:10.1093/biomet/83.3.681). With `HMC` or without positions the chain is exact.

    The biases are learnt in warm-up (`Flattening`), so that all states are visited alike, and then
    frozen. They belong to the density that is sampled, so averages over the draws are averages in
    ``ensemble``, the biased one; `analysis.state_free_energies` takes the bias off.

    A canonical ensemble has the weight exp(−βE) whatever the groups hold: free energies of states
    are those of compositions, at fixed counts on the sites in no group if ``kernel`` swaps these.

    Stored with every draw are ``lambda_state`` [group], ``state_log_weight`` [group, state],
    ``bias_energy`` in eV, and what moves. At λ between species ``occupation`` shows the species of
    the larger share: no draw of any composition, to be left out by ``lambda_state``.

    Costs per step and replica, in calls of the model: for every group one energy per state that it
    is not in (one at λ for those between species); those of the kernel and the dynamics.

    Parameters
    ----------
    hamiltonian
        Energy model; with ``between`` one that has ``mixed_energy``.
    ensemble
        Target density that has a temperature; with ``between`` canonical or semi-grand.
    groups
        Sites that share a λ.
    between
        States between every two species: their number, or their shares of the second one.
    dynamics
        `HMC` or `Langevin` (inexact by its time step); None leaves positions where they are.
    kernel
        Kernel for the sites in no group, in the same ensemble; None leaves them as they are.
        Its moves of groups are refused.
    occupation_steps
        Steps of that kernel in a block.
    biases
        To start from; by default opposed to the energies of the states at the start.
    flatten
        Whether the warm-up flattens; if not, ``biases`` stay as they are given.
    couplings
        Whether pairs of groups are flattened, too: a bias term for every pair of species on them.
    metropolised
        Whether draws avoid the present state.
    mixing
        Rule by which species mix on a site: ``"sites"`` or ``"paper"``.
    fix_centre, ghost_width
        As in `HybridMD`.

    Raises
    ------
    InputError
        If groups, model, ensemble or kernel do not belong to one lattice or one another, or an
        argument cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import Canonical, PairHamiltonian, analysis, builders, sample
    >>> from alchemc.ensembles import GibbsLambda
    >>> from alchemc.ensembles.alchemical import Groups
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> model = PairHamiltonian(lattice, [np.array([[0.0, 0.01], [0.01, -0.02]])])
    >>> kernel = GibbsLambda(model, Canonical(lattice, 600.0), Groups.of(lattice, {"one": [0]}))
    >>> run = sample(kernel, np.zeros(8, int), n_steps=50, n_replicas=2, warmup=20, seed=1)
    >>> found = analysis.state_free_energies(run.samples.state_log_weight[:, :, 0], 600.0)
    >>> found.free_energies.round(6).tolist()  # six bonds that were ideal
    [0.0, 0.06]
    """

    hamiltonian: Any
    ensemble: Any
    groups: Groups
    between: int | Sequence[float] = ()
    dynamics: Dynamics | None = None
    kernel: Kernel | None = None
    occupation_steps: int = 10
    biases: Biases | None = None
    flatten: bool = True
    couplings: bool = False
    metropolised: bool = False
    mixing: str = "sites"
    fix_centre: bool = True
    ghost_width: float = 0.1
    _flattening: Flattening | None = field(default=None, repr=False, compare=False)

    own_biases: ClassVar[bool] = True
    """What it samples is not the ensemble's density alone; ladders refuse it."""

    def __post_init__(self) -> None:
        if not isinstance(self.groups, Groups):
            raise InputError(f"groups is a {type(self.groups).__name__}; give Groups")
        plain = unbiased(self.ensemble)
        if not hasattr(plain, "temperature"):
            raise InputError(f"{type(plain).__name__} has no temperature: give an ensemble of one")
        if not self.hamiltonian.lattice == plain.lattice == self.groups.lattice:
            raise InputError(
                "energy model, ensemble and groups have different lattices: build all from one"
            )
        biases = Biases(self.groups) if self.biases is None else self.biases
        if biases.groups != self.groups:
            raise InputError("the biases are those of other groups: make them from these groups")
        if isinstance(plain, ChargeNeutral):
            raise InputError(
                "ChargeNeutral keeps the charge, which a hop of one group changes: use Canonical "
                "or SemiGrandCanonical"
            )
        self._check_between(plain)
        self._check_kernel(plain)
        target: Any = WithBiases(plain, biases)
        if self.dynamics is not None:
            _check_dynamics(self.dynamics, self.hamiltonian)
            target = WithPositions(target, self.dynamics.pressure)
        object.__setattr__(self, "ensemble", target)
        if self.dynamics is not None:
            self.crystal.check_masses(self.dynamics.masses)  # it refuses models without forces, too

    def _check_between(self, plain: Any) -> None:
        if len(self.states.table) == self.states.n_vertices:
            return
        MixedModel(self.hamiltonian, self.groups, self.mixing)
        if not isinstance(plain, Canonical | SemiGrandCanonical):
            raise InputError(
                f"{type(plain).__name__} has no weight between species: leave out between, or use "
                "Canonical or SemiGrandCanonical"
            )

    def _check_kernel(self, plain: Any) -> None:
        if self.kernel is None:
            return
        if not is_whole(self.occupation_steps, least=1):
            raise InputError(
                f"occupation_steps is {shown(self.occupation_steps)}; give a whole number, 1 or "
                "more"
            )
        check_single(self.kernel, "give a kernel of one rung")
        name = type(self.kernel).__name__
        if hasattr(self.kernel, "warm_up"):
            raise InputError(
                f"{name} learns in a warm-up of its own, of an energy without held groups: give a "
                "kernel such as RandomSwap or GibbsWithGradients"
            )
        if unbiased(self.kernel.ensemble) != plain:
            raise InputError(f"{name} samples another ensemble: build it from the one given here")
        if (self.groups.group_of_site >= 0).all():
            raise InputError(f"every site is in a group, none is left to {name}: leave it out")

    # ---- what is sampled -------------------------------------------------------------------

    @cached_property
    def states(self) -> DiscreteStates:
        """The discrete states of λ."""
        return DiscreteStates(self.groups, self.between)

    @property
    def present_biases(self) -> Biases:
        """Biases in use: of the production, once warmed up."""
        return Biases(self.groups) if self.biases is None else self.biases

    @property
    def state_type(self) -> type[GibbsState]:
        """NamedTuple that its states are."""
        return GibbsState

    @property
    def crystal(self) -> LambdaCrystal:
        """What moves."""
        return LambdaCrystal(
            self.hamiltonian, self.ensemble.temperature, self.fix_centre, self.ghost_width,
            self.states, self.mixing,
        )  # fmt: skip

    def init(self, occupations: np.ndarray, rngs: Generators) -> GibbsState:
        """State of chains at ``occupations`` [n_replicas, n_sites], every group at a species.

        Positions and cell are those that the energy model is bound to, the lattice's where it
        names none. One evaluation per replica.

        Raises
        ------
        InputError
            If the occupations do not fit, the sites of a group hold different species, or starts
            differ in what the ensemble keeps on the others.
        ModelError
            If a start has no finite energy.
        """
        lattice, n = self.hamiltonian.lattice, len(rngs)
        held = np.array(lattice.check(occupations), dtype=np.int8)
        if held.ndim != 2 or len(held) != n:
            raise InputError(
                f"occupations have shape {held.shape} for {n} generators: expected "
                "[n_replicas, n_sites] and one generator per replica"
            )
        n_atoms = 0 if self.dynamics is None else len(lattice.atoms)
        positions, cells = np.zeros((n, n_atoms, 3)), np.zeros((n, 3 if n_atoms else 0, 3))
        if self.dynamics is not None:
            crystal = self.crystal
            cells += np.asarray(getattr(self.hamiltonian, "cell", lattice.atoms.cell.array))
            positions += np.asarray(getattr(self.hamiltonian, "positions", lattice.atoms.positions))
            positions = crystal.recentred(positions, cells)
        self._check_rest(held)
        states = self.groups.states(held)
        start = GibbsState(
            held, np.zeros(n), np.full((*held.shape, lattice.n_species_max), np.nan), positions,
            cells, states, np.full((*states.shape, len(self.states.table)), np.nan),
        )  # fmt: skip
        energy = self._here(start).energies(np.arange(n), states, held)
        if not np.isfinite(energy).all():
            raise ModelError(
                f"replica {np.argmin(np.isfinite(energy))} has no finite energy where it starts: "
                "start from other positions or another occupation"
            )
        return start._replace(energy=energy)

    def _check_rest(self, occupations: np.ndarray) -> None:
        """Refuse starts whose sites in no group differ in counts that the ensemble keeps."""
        lattice, rest = self.hamiltonian.lattice, self.groups.group_of_site < 0
        for name in getattr(unbiased(self.ensemble), "fixed", ()):
            here = np.zeros(lattice.n_sites, dtype=bool)
            here[lattice.site_slice(name)] = True
            held = np.sort(occupations[:, here & rest], axis=1)
            other = np.flatnonzero((held != held[:1]).any(axis=1))
            if len(other):
                raise InputError(
                    f"start {other[0]} holds other species than start 0 on the sites of {name!r} "
                    "in no group, whose counts are kept: chains of one run share them"
                )

    def observe(self, state: GibbsState) -> dict[str, np.ndarray]:
        """States of the groups, their weights and the bias, and what moves, to be stored."""
        weights = self.states.weights(state.states)
        found = {
            "lambda_state": state.states,
            "state_log_weight": state.log_weights,
            "bias_energy": self.present_biases.energy(weights),
        }
        if self.dynamics is None:
            return found
        return found | {"positions": state.positions, "cell": state.cells}

    # ---- steps -----------------------------------------------------------------------------

    def step(self, state: GibbsState, rngs: Generators) -> tuple[GibbsState, Info]:
        """One block of the kernel, one of the dynamics, and one hop of every group."""
        state, info, _, _, _ = self._advance(state, rngs)
        return state, info

    def _advance(
        self, state: GibbsState, rngs: Generators
    ) -> tuple[GibbsState, Info, list[Info], Report | None, Hop]:
        """One step; also the kernel's steps, the report of the dynamics and the hops."""
        before, calls = state, np.zeros((len(rngs), 2), dtype=np.int64)
        infos: list[Info] = []
        if self.kernel is not None:
            here, steps = self._here(state), self.occupation_steps
            state, infos = beside_groups(self.kernel, here, state, steps, rngs)
            calls += here.calls
        report = None
        if self.dynamics is not None:
            state, report = self._moved(self.dynamics, state, rngs)
            calls[:, 1] += report.force_calls
        state, hop = self._hops(self._here(state), state, rngs)
        calls[:, 0] += hop.energy_calls
        calls[:, 1] += hop.gradient_calls
        return state, gibbs_info(before, state, hop, calls), infos, report, hop

    def _here(self, state: GibbsState) -> Here:
        moving = None
        if self.dynamics is not None:
            moving = (self.crystal, state.positions, state.cells)
        return Here(self.hamiltonian, self.states, self.mixing, moving, len(state.energy))

    def _moved(
        self, dynamics: Dynamics, state: GibbsState, rngs: Generators
    ) -> tuple[GibbsState, Report]:
        """Positions after one block at the present λ."""
        crystal = self.crystal
        joined = crystal.joined(state.occupations, state.states)
        structures = Structures(joined, state.positions, state.cells, state.energy)
        structures, report = dynamics.run(crystal, structures, rngs)
        structures = crystal.with_new_ghosts(structures, rngs)
        after = state._replace(
            positions=structures.positions, cells=structures.cells, energy=structures.energy
        )
        return after, report

    @property
    def _hops(self) -> Hops:
        biases = self.present_biases
        return Hops(self.states, unbiased(self.ensemble), biases, self.metropolised)

    # ---- warm-up ---------------------------------------------------------------------------

    def warm_up(
        self, state: GibbsState, rngs: Generators, n: int
    ) -> tuple[GibbsLambda, GibbsState, list[Info]]:
        """Run ``n`` steps that learn the biases and tune kernel and dynamics; all are frozen then.

        Without biases to start from, the first are opposed to the energies of the states at the
        start, averaged over the replicas: one more scan of the groups.
        """
        gibbs, extra = self, np.zeros((len(rngs), 2), dtype=np.int64)
        infos: list[Info] = []
        since: list[Info] = []
        if n and self.flatten and self._flattening is None:
            gibbs, extra = self._guessed(state)
        if gibbs.dynamics is not None:
            gibbs = replace(gibbs, dynamics=gibbs.dynamics.resumed())
        for step in range(1, n + 1):
            state, info, moves, report, hop = gibbs._advance(state, rngs)  # noqa: SLF001
            infos.append(
                info._replace(
                    energy_calls=info.energy_calls + extra[:, 0],
                    gradient_calls=info.gradient_calls + extra[:, 1],
                )
            )
            extra, since = np.zeros_like(extra), since + moves
            if gibbs.dynamics is not None and report is not None:
                gibbs = replace(gibbs, dynamics=gibbs.dynamics.tuned(report))
            due = len(since) >= STEPS_PER_TUNING or step == n
            if due and since and hasattr(gibbs.kernel, "tuned"):
                gibbs, since = replace(gibbs, kernel=gibbs.kernel.tuned(since)), []  # type: ignore[union-attr]
            gibbs = gibbs._flatter(hop, state)  # noqa: SLF001
        if gibbs.dynamics is not None:
            gibbs = replace(gibbs, dynamics=gibbs.dynamics.settled())
        return gibbs, state, infos

    def _guessed(self, state: GibbsState) -> tuple[GibbsLambda, np.ndarray]:
        """Kernel at the start of the flattening, and the calls [n, 2] that this took."""
        flattening, here = self._first_flattening, self._here(state)
        if self.biases is None:
            flattening = flattening.started(self._hops.energies_of_states(here, state))
        return replace(self, biases=flattening.biases, _flattening=flattening), here.calls

    @property
    def _first_flattening(self) -> Flattening:
        """Flattening before its first step."""
        return Flattening(
            self.present_biases, self.states.table, self.states.usable, self.ensemble.temperature,
            self.couplings,
        )  # fmt: skip

    def _flatter(self, hop: Hop, state: GibbsState) -> GibbsLambda:
        """Kernel with biases after one more step of the warm-up."""
        if not self.flatten or self._flattening is None:
            return self
        weights = self.states.weights(state.states)
        flattening = self._flattening.after(hop.probabilities, weights)
        return replace(self, biases=flattening.biases, _flattening=flattening)

    def summary(self) -> dict[str, Any]:
        """Return what the warm-up found and what was chosen, in plain numbers and words."""
        flattening = self._flattening
        return {
            "groups": list(self.groups.names),
            "states": list(self.states.names),
            "hops": "metropolised Gibbs" if self.metropolised else "Gibbs",
            "biases_eV": {n: v.tolist() for n, v in self.present_biases.to_arrays().items()},
            "flattening_steps": 0 if flattening is None else flattening.steps,
            "flattening_gain": None if flattening is None else flattening.gain,
            "positions": None if self.dynamics is None else self.dynamics.summary(),
            "kernel": None if self.kernel is None else summary_of(self.kernel),
        }

    # ---- other models, ensembles and stores ------------------------------------------------

    def rebind(
        self, *, hamiltonian: Hamiltonian | None = None, ensemble: Ensemble | None = None
    ) -> GibbsLambda:
        """Return the kernel, tuned parameters kept, for another energy model or target.

        Biases of its own are kept where the target has some; a `WithPositions` brings its pressure.
        """
        target = self.ensemble if ensemble is None else ensemble
        plain = unbiased(target)
        kernel, dynamics = self.kernel, self.dynamics
        if kernel is not None:
            kernel = kernel.rebind(hamiltonian=hamiltonian, ensemble=plain)
        if dynamics is not None and isinstance(target, WithPositions):
            dynamics = dynamics.with_pressure(target.pressure)
        model = self.hamiltonian if hamiltonian is None else hamiltonian
        return replace(self, hamiltonian=model, ensemble=plain, kernel=kernel, dynamics=dynamics)

    def carried_over(self, ensemble: Ensemble) -> GibbsLambda:
        """Return the kernel for another point of a campaign: it flattens on from its biases."""
        return replace(self.rebind(ensemble=ensemble), _flattening=None)

    def refresh(
        self, state: GibbsState, hamiltonian: Hamiltonian
    ) -> tuple[GibbsLambda, GibbsState]:
        """Return the kernel bound to ``hamiltonian``, and its state with energies of that model."""
        gibbs = self.rebind(hamiltonian=hamiltonian)
        rows = np.arange(len(state.energy))
        here = gibbs._here(state)  # noqa: SLF001
        return gibbs, state._replace(energy=here.energies(rows, state.states, state.occupations))

    def rederived(self, state: GibbsState) -> tuple[GibbsState, float]:
        """Return the state with energies from scratch, and their largest drift in eV per site.

        The model's own ``rederived`` knows occupations alone, not λ between species.
        """
        method = getattr(self.hamiltonian, "rederived", None)
        if method is None:
            return state, 0.0
        between, energy = self.states.interior(state.states), state.energy.copy()
        if between.any():
            rows = np.flatnonzero(between)
            held = state.states[rows], state.occupations[rows]
            energy[rows] = self._here(state).energies(rows, *held)
        drift = np.abs(energy - state.energy) / self.hamiltonian.lattice.n_sites
        if not between.all():
            whole = ~between
            energy[whole], drift[whole] = method(state.occupations[whole], energy[whole])
        return state._replace(energy=energy), float(drift.max())

    def to_arrays(self) -> dict[str, Any]:
        """Biases, how far the flattening has come, and what was tuned."""
        return {
            "biases": {} if self.biases is None else self.biases.to_arrays(),
            "flattening": {} if self._flattening is None else self._flattening.to_arrays(),
            "kernel": {} if self.kernel is None else self.kernel.to_arrays(),
            "dynamics": {} if self.dynamics is None else self.dynamics.to_arrays(),
        }

    def with_arrays(self, arrays: Mapping[str, Any]) -> GibbsLambda:
        """Return the kernel with what ``to_arrays`` gave."""
        biases, flattening = None, None  # without any, a warm-up begins with a guess
        if arrays["biases"]:
            biases = self.present_biases.with_arrays(arrays["biases"])
        if arrays["flattening"]:
            flattening = self._first_flattening.with_arrays(arrays["flattening"])
        return replace(
            self,
            biases=biases,
            kernel=None if self.kernel is None else self.kernel.with_arrays(arrays["kernel"]),
            dynamics=None
            if self.dynamics is None
            else self.dynamics.with_arrays(arrays["dynamics"]),
            _flattening=flattening,
        )


def _check_dynamics(dynamics: Any, hamiltonian: Any) -> None:
    if not isinstance(dynamics, HMC | Langevin):
        name = getattr(dynamics, "__name__", type(dynamics).__name__)
        raise InputError(f"dynamics is {name}; give HMC(step=1.0), Langevin() or None")
    if not hasattr(hamiltonian, "at"):
        raise InputError(
            f"{type(hamiltonian).__name__} has no at(positions, cell), which hops at moving "
            "positions need: give an energy model such as AlchemicalMACE, or no dynamics"
        )
    if dynamics.exact and "float64" not in str(getattr(hamiltonian, "dtype", "float64")):
        raise InputError(
            'HMC needs energies in double precision: build the energy model with dtype="float64"'
        )
