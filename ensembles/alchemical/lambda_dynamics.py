"""λ-dynamics between vertices: a proposal in which all sites move at once, and which is exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...protocols import Ensemble, Generators, Hamiltonian, Info, State
from ...sublattice import is_whole, shown
from .._hybrid_records import HybridState
from ..dynamics.step_size import StepSize
from ..with_positions import WithPositions, occupations_of
from ._lambda_steps import Moved, changes_between, checked_start, sharpness_of
from ._trials import Setting, Trials
from .arrangements import Arrangements, kept_by
from .biases import Biases
from .groups import Groups
from .hand_over import HandOver
from .integrators import LambdaIntegrator, Phase
from .maps import CompactMap, SimplexMap
from .masses import curvature_masses
from .mixed import MixedModel
from .moving_atoms import MovingAtoms
from .surface import Potential, Surface

__all__ = ["LambdaDynamics"]

FIRST_STEP = 0.3
TRIALS = ((1.0, 1), (1.0, 2), (1.0, 4), (1.0, 16), (1.0, 64), (0.5, 1), (2.0, 1))
"""Factors of κ and divisors of the groups at once that are tried one after the other."""


class Proposal(NamedTuple):
    """What a step is accepted by, all of n replicas: phases, states and the energy at the end."""

    begin: Phase
    end: Phase
    before: np.ndarray
    after: np.ndarray
    allowed: np.ndarray
    totals: list[np.ndarray]


@dataclass(frozen=True)
class LambdaDynamics:
    r"""Carry the λ of sites, or of groups of sites, from one vertex to another.

    Weight: that of the ensemble over occupations x; the λ in between are means to a proposal. One
    step draws θ ~ k(θ|x) near the vertex, follows Metropolised dynamics that are reversible
    (`LambdaIntegrator`) for

    .. math:: ρ(θ) = \exp(−β[E(λ(θ)) − Σ_k μ_k N_k(λ) + B(λ)])\, Z(θ),

    draws a vertex y ~ s(y|θ′) and takes it with

    .. math:: α = \min\Big(1, \frac{π(y)\, k(θ′|y)\, ρ(θ)\, s(x|θ)}
                                   {π(x)\, k(θ|x)\, ρ(θ′)\, s(y|θ′)}\Big).

    k, s and Z are those of `HandOver`; all of them are densities of the coordinates θ of the map,
    so that no density of λ enters. What the ensemble keeps (counts of species, the charge), s keeps
    by being conditioned on it, with its exact normaliser. α is exact for any map, biases, masses
    and step; they decide how often it is large. How near k comes to the vertex (κ of the species,
    its ``sharpness``), the time step and the masses are tuned in warm-up: κ by how many sites are
    changed per step, the step by the acceptance of the moves, masses by the curvature.

    Costs per step and replica: ``n_steps`` + 1 energies between species with their slopes, and one
    energy of an occupation where it changed.

    With ``positions``, the atoms move with λ in the same trajectory, at the energy E(λ, R), and the
    weight is that of the ensemble over occupations and positions (`WithPositions`) in a fixed cell.
    α then has E(y, R′) and E(x, R) in π, and is needed also where y = x.

    Parameters
    ----------
    hamiltonian
        Energy model with ``mixed_energy``.
    ensemble
        `SemiGrandCanonical`, `Canonical`, `VarianceConstrained`, `ChargeNeutral`, or one of the
        user's own that has a temperature and keeps no more than the counts it names in ``fixed``.
    groups
        Sites that change together; each site by itself if not given. Others keep their species.
    simplex
        `CompactMap` or `SoftmaxMap`.
    integrator
        How λ moves.
    at_once
        Groups, drawn at random in every step, that move while the others keep their species; tuned
        if not given.
    sharpness
        κ, one number, or by sublattice and species, ``{"B": {"Sc": 2.0, "Ta": 1.0}}``; tuned if not
        given.
    biases
        Added to E between the vertices; of the same groups.
    mixing
        Rule by which species mix: ``"sites"`` or ``"paper"``.
    positions
        Whether atoms move too.
    fix_centre
        With positions, whether the mean displacement of the atoms is held at zero.

    Raises
    ------
    InputError
        If the energy model has no energies between species, the ensemble has no temperature or
        keeps what is not known here, biases are of other groups, or a number cannot be used; with
        positions also if the model has no forces or a site may be vacant.

    Notes
    -----
    λ-dynamics: Kong and Brooks 1996, doi:10.1063/1.472109; the map: `CompactMap`.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import PairHamiltonian, SemiGrandCanonical, builders, sample
    >>> from alchemc.ensembles import LambdaDynamics
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> unlike_bonds = PairHamiltonian(lattice, [np.array([[0.0, -0.01], [-0.01, 0.0]])])
    >>> kernel = LambdaDynamics(unlike_bonds, SemiGrandCanonical(lattice, 1000.0, {"Zr": 0.0}))
    >>> run = sample(kernel, np.zeros(8, int), n_steps=50, n_replicas=4, warmup=50, seed=1)
    >>> run.samples.occupation.shape, bool(run.samples.acceptance.mean() > 0.2)
    ((50, 4, 8), True)
    """

    hamiltonian: Hamiltonian
    ensemble: Any
    groups: Groups | None = None
    simplex: SimplexMap = field(default_factory=CompactMap)
    integrator: LambdaIntegrator = field(default_factory=LambdaIntegrator)
    at_once: int | None = None
    sharpness: float | Mapping[str, Mapping[str, float]] | None = None
    biases: Biases | None = None
    mixing: str = "sites"
    positions: bool = False
    fix_centre: bool = True
    _kappa: np.ndarray | None = field(default=None, repr=False, compare=False)
    _moving: int = field(default=0, repr=False, compare=False)
    _masses: np.ndarray | None = field(default=None, repr=False, compare=False)
    _step: StepSize = field(default=StepSize.at(FIRST_STEP), repr=False, compare=False)
    _products: int = field(default=0, repr=False, compare=False)
    _trials: Trials | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        groups = Groups.each_site(self.hamiltonian.lattice) if self.groups is None else self.groups
        object.__setattr__(self, "groups", groups)
        if not isinstance(self.simplex, SimplexMap):
            raise InputError(
                f"simplex is {self.simplex!r}; give CompactMap() or SoftmaxMap(), with its numbers"
            )
        if not isinstance(self.integrator, LambdaIntegrator):
            raise InputError(f"integrator is {self.integrator!r}; give a LambdaIntegrator")
        if self.biases is not None and self.biases.groups != groups:
            raise InputError("the biases are of other groups: make them of those of the kernel")
        if self.positions and not isinstance(self.ensemble, WithPositions):
            object.__setattr__(self, "ensemble", WithPositions(self.ensemble))
        if not self.positions and isinstance(self.ensemble, WithPositions):
            raise InputError("the ensemble has positions, which stand still: give positions=True")
        given = sharpness_of(groups, self.sharpness)
        if self._kappa is None or self.sharpness is not None:
            object.__setattr__(self, "_kappa", given)
        if self.at_once is not None and not is_whole(self.at_once, least=1):
            raise InputError(f"at_once is {shown(self.at_once)}; give a whole number, 1 or more")
        if not self._moving or self.at_once is not None:
            moving = min(self.at_once or groups.n_groups, groups.n_groups)
            object.__setattr__(self, "_moving", moving)
        _ = self.hand_over, self.potential  # refuse now what they refuse
        if self.atoms is not None:
            self.atoms.check(self.ensemble)

    # ---- what it is made of ----------------------------------------------------------------

    @cached_property
    def model(self) -> MixedModel:
        """Energies between species."""
        assert self.groups is not None  # noqa: S101  (__post_init__)
        return MixedModel(self.hamiltonian, self.groups, self.mixing)

    @cached_property
    def potential(self) -> Potential:
        """What the ensemble's weight becomes at λ."""
        return Potential(self.model, occupations_of(self.ensemble), self.biases)

    @cached_property
    def hand_over(self) -> HandOver:
        """Densities between vertices and λ."""
        assert self.groups is not None  # noqa: S101  (__post_init__)
        assert self._kappa is not None  # noqa: S101
        kept = kept_by(occupations_of(self.ensemble), self.groups)
        return HandOver(self.simplex, Arrangements(self.groups, kept), self._kappa)

    @cached_property
    def atoms(self) -> MovingAtoms | None:
        """What moves beside λ."""
        if not self.positions:
            return None
        return MovingAtoms(self.hamiltonian, self.ensemble.temperature, self.fix_centre)

    @property
    def state_type(self) -> type[Any]:
        """NamedTuple that its states are."""
        return HybridState if self.positions else State

    # ---- states ----------------------------------------------------------------------------

    def init(self, occupations: np.ndarray, rngs: Generators) -> Any:
        """State of chains at ``occupations`` [n_replicas, n_sites]; one energy per replica.

        Positions, where they move, are those that the energy model is bound to.

        Raises
        ------
        InputError
            If the occupations do not fit, the sites of a group hold different species, or the
            ensemble gives a start no weight.
        """
        start = checked_start(self.hamiltonian, self.hand_over, occupations, rngs)
        if self.atoms is None:
            state: Any = self._state(start, self.hamiltonian.energy(start))
        else:
            positions, cells = self.atoms.start(len(start))
            state = self._state(start, self.atoms.known(start, positions, cells), positions, cells)
        weight = self.ensemble.log_density(state.energy, start)
        if not (weight > -np.inf).all():
            replica = int(np.argmin(weight > -np.inf))
            say = getattr(self.ensemble, "why_impossible", lambda _: None)
            why = say(start[replica]) or "start from an occupation that meets its constraints"
            raise InputError(
                f"replica {replica} starts where {type(self.ensemble).__name__} has no weight: "
                f"{why}"
            )
        return state

    def _state(self, occupations: np.ndarray, energy: np.ndarray, *where: np.ndarray) -> Any:
        shape = (*occupations.shape, self.hamiltonian.lattice.n_species_max)
        return self.state_type(
            occupations, np.asarray(energy, dtype=np.float64), np.full(shape, np.nan), *where
        )

    def observe(self, state: Any) -> dict[str, np.ndarray]:
        """Positions and cells to be stored, where they move."""
        return {"positions": state.positions, "cell": state.cells} if self.positions else {}

    # ---- steps -----------------------------------------------------------------------------

    def step(self, state: Any, rngs: Generators) -> tuple[Any, Info]:
        """One trajectory of λ from vertex to vertex, accepted or refused."""
        state, info, _ = self._advance(state, rngs)
        return state, info

    def _advance(self, state: Any, rngs: Generators) -> tuple[Any, Info, float]:
        """One step; also the mean acceptance of the moves in between."""
        groups, hand_over = self.model.groups, self.hand_over
        before = groups.states(state.occupations)
        totals = hand_over.arrangements.totals(before)
        allowed = hand_over.moving(before, self._moving, rngs)
        surface = self._surface(state, allowed, totals)
        theta = hand_over.draw_theta(before, allowed, rngs)
        begin, end, chances = self._travel(surface, theta, state, rngs)
        after = hand_over.draw_states(surface.theta(end.place), allowed, totals, rngs)
        occupations = groups.occupations(after, state.occupations)
        changed = (occupations != state.occupations).any(axis=1)
        moved = self._evaluated(state, occupations, changed, surface.positions(end.place))
        change = self.ensemble.log_density(moved.energy, occupations) - self.ensemble.log_density(
            state.energy, state.occupations
        )
        proposal = Proposal(begin, end, before, after, allowed, totals)
        movable = changed | self.positions
        chance = np.where(movable, self._chance(surface, proposal, change), 0.0)
        accepted = np.array([rng.random() for rng in rngs]) < chance
        info = changes_between(state.occupations, occupations)._replace(
            accepted=accepted,
            acceptance_probability=chance,
            log_density_change=np.where(movable, change, np.nan),
            energy_calls=movable.astype(np.int64),
            gradient_calls=surface.calls,
        )
        return self._settled(state, moved, accepted), info, float(chances.mean())

    def _surface(self, state: Any, allowed: np.ndarray, totals: list[np.ndarray]) -> Surface:
        """U of every replica, whose totals stay."""

        def measure(theta: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            here = [total[rows] for total in totals]
            return self.hand_over.measure(theta, allowed[rows], here)

        cells = state.cells if self.positions else None
        return Surface(
            self.potential, self.simplex, measure, state.occupations, allowed, cells=cells
        )

    def _travel(
        self, surface: Surface, theta: np.ndarray, state: Any, rngs: Generators
    ) -> tuple[Phase, Phase, np.ndarray]:
        """Run the dynamics from θ, and from the positions where they move."""
        masses = self.masses[self.model.groups.allowed]
        size = self._step.size
        if self.atoms is None:
            return self.integrator.run(surface, surface.flat(theta), masses, size, rngs)
        return self.integrator.run(
            surface, surface.flat(theta, state.positions),
            np.concatenate([masses, self.atoms.masses]), size, rngs, project=self.atoms.projected,
        )  # fmt: skip

    def _evaluated(
        self, state: Any, occupations: np.ndarray, changed: np.ndarray, positions: Any
    ) -> Moved:
        """Energies of the proposed vertices; those that are where they were keep theirs."""
        if self.atoms is not None:
            energy = self.atoms.energies(occupations, positions, state.cells)
            return Moved(occupations, energy, positions)
        energy = state.energy.copy()
        if changed.any():
            energy[changed] = self.hamiltonian.energy(occupations[changed])
        return Moved(occupations, energy, None)

    def _chance(self, surface: Surface, proposal: Proposal, change: np.ndarray) -> np.ndarray:
        """Return α, [n], from the change of ln π."""
        begin, end, before, after, allowed, totals = proposal
        old, new = surface.theta(begin.place), surface.theta(end.place)
        log_alpha = (
            change
            + self._log_k(new, allowed, after) - self._log_k(old, allowed, before)
            + self._log_s(old, allowed, before, totals)
            - self._log_s(new, allowed, after, totals)
            + self._log_rho(begin) - self._log_rho(end)
        )  # fmt: skip
        possible = np.isfinite(log_alpha)
        return np.where(possible, np.exp(np.minimum(0.0, np.where(possible, log_alpha, 0.0))), 0.0)

    def _log_k(self, theta: np.ndarray, allowed: np.ndarray, states: np.ndarray) -> np.ndarray:
        return self.hand_over.log_k(theta, allowed, states)

    def _log_s(
        self,
        theta: np.ndarray,
        allowed: np.ndarray,
        states: np.ndarray,
        totals: list[np.ndarray],
    ) -> np.ndarray:
        return self.hand_over.log_s(theta, allowed, states, totals)

    def _log_rho(self, phase: Phase) -> np.ndarray:
        return -phase.value

    def _settled(self, state: Any, moved: Moved, accepted: np.ndarray) -> Any:
        occupations = np.where(accepted[:, None], moved.occupations, state.occupations)
        energy = np.where(accepted, moved.energy, state.energy)
        if moved.positions is None:
            return self._state(occupations, energy)
        positions = np.where(accepted[:, None, None], moved.positions, state.positions)
        return self._state(occupations, energy, positions, state.cells)

    # ---- warm-up ---------------------------------------------------------------------------

    @property
    def masses(self) -> np.ndarray:
        """Masses of θ, [n_groups, n_species_max]; one before the warm-up."""
        return np.ones(self.model.groups.allowed.shape) if self._masses is None else self._masses

    def warm_up(
        self, state: Any, rngs: Generators, n: int
    ) -> tuple[LambdaDynamics, Any, list[Info]]:
        """Run ``n`` steps that tune κ, step and masses; all are frozen in what returns.

        Several parts do as one of their length: `Trials` goes on where it was.
        """
        kernel, infos = self, []
        if kernel._masses is None and n:
            masses, products = curvature_masses(
                self.hamiltonian, self.model.groups, self.simplex, self.potential.beta
            )
            kernel = replace(kernel, _masses=masses, _products=products)
        trials = self._trials
        if trials is None:
            start = Setting(np.asarray(self._kappa), self._moving, self._step.resumed())
            trials = Trials(self._plan, (start,))
        for _ in range(n):
            kernel = kernel._set_to(trials.present)  # noqa: SLF001
            state, info, chance = kernel._advance(state, rngs)  # noqa: SLF001
            infos.append(info)
            trials = trials.after(chance, _sites_changed(info), self.integrator.target)
        best = trials.best._replace(step=trials.best.step.settled())
        return replace(kernel._set_to(best), _trials=trials), state, infos  # noqa: SLF001

    def _set_to(self, setting: Setting) -> LambdaDynamics:
        return replace(self, _kappa=setting.kappa, _moving=setting.moving, _step=setting.step)

    @property
    def _plan(self) -> tuple[tuple[float, int], ...]:
        """Factors of κ and divisors of the groups at once to be tried."""
        groups = self.model.groups.n_groups if self.at_once is None else 1
        return tuple(
            (factor, divisor)
            for factor, divisor in TRIALS
            if (factor == 1.0 or self.sharpness is None) and (divisor == 1 or groups >= 2 * divisor)
        )

    def summary(self) -> dict[str, Any]:
        """Return what the warm-up found, in plain numbers and words."""
        return {
            "map": self.simplex.name,
            "integrator": self.integrator.kind,
            "n_steps": self.integrator.n_steps,
            "step": self._step.size,
            "acceptance_of_moves": self._step.acceptance if self._step.count else None,
            "groups_at_once": self._moving,
            "sharpness": np.asarray(self._kappa).tolist(),
            "masses": self.masses.tolist(),
            "hessian_products": self._products,
        }

    # ---- other models, ensembles and stores ------------------------------------------------

    def rebind(
        self, *, hamiltonian: Hamiltonian | None = None, ensemble: Ensemble | None = None
    ) -> LambdaDynamics:
        """Return the kernel, tuned parameters kept, for another energy model or target."""
        return replace(
            self,
            hamiltonian=self.hamiltonian if hamiltonian is None else hamiltonian,
            ensemble=self.ensemble if ensemble is None else ensemble,
        )

    def refresh(self, state: Any, hamiltonian: Hamiltonian) -> tuple[LambdaDynamics, Any]:
        """Return the kernel bound to ``hamiltonian`` and its state with energies of that model."""
        kernel = self.rebind(hamiltonian=hamiltonian)
        if kernel.atoms is None:
            return kernel, self._state(state.occupations, hamiltonian.energy(state.occupations))
        energy = kernel.atoms.known(state.occupations, state.positions, state.cells)
        return kernel, self._state(state.occupations, energy, state.positions, state.cells)

    def to_arrays(self) -> dict[str, Any]:
        """Return κ, masses and step, and how the step came about."""
        found: dict[str, Any] = {
            "sharpness": np.array(self._kappa),
            "groups_at_once": self._moving,
            "step": self._step.to_arrays(),
            "hessian_products": self._products,
        }
        found["trials"] = {} if self._trials is None else self._trials.to_arrays()
        return found if self._masses is None else found | {"masses": np.array(self._masses)}

    def with_arrays(self, arrays: Mapping[str, Any]) -> LambdaDynamics:
        """Return the kernel with what ``to_arrays`` gave."""
        masses, trials = arrays.get("masses"), arrays.get("trials")
        return replace(
            self,
            _kappa=np.array(arrays["sharpness"], dtype=float),
            _moving=int(arrays["groups_at_once"]),
            _masses=None if masses is None else np.array(masses, dtype=float),
            _step=StepSize.from_arrays(arrays["step"]),
            _products=int(arrays["hessian_products"]),
            _trials=Trials.from_arrays(self._plan, trials) if trials else None,
        )


def _sites_changed(info: Info) -> float:
    """Mean number of sites that a step changed where it was accepted."""
    return float(((info.sites >= 0).sum(axis=1) * info.accepted).mean())
