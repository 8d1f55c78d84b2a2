"""Continuous λ in time: Langevin trajectories between the species, flattened on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import units

from ...errors import InputError
from ...protocols import Generators
from ...streams import spawn_generators
from ...sublattice import is_number, is_whole, shown
from ..dynamics.step_size import StepSize
from ._terms import Spread, features, terms
from .arrangements import Arrangements, kept_by
from .biases import Biases
from .groups import Groups
from .hand_over import HandOver
from .integrators import LambdaIntegrator
from .maps import CompactMap, SimplexMap
from .masses import curvature_masses
from .mixed import MixedModel
from .moving_atoms import MovingAtoms
from .surface import Measure, Potential, Surface, plain_measure
from .vertex_weights import Corners, vertex_states

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["LambdaTrajectory"]

FIRST_STEP = 0.3
REFERENCE_DRAWS = 20_000


class _Tuning(NamedTuple):
    """Time step that a warm-up came to, and its evaluations of all replicas."""

    size: float
    calls: int


class _Place(NamedTuple):
    """θ of replicas, and their positions in Å where they move."""

    theta: np.ndarray
    occupations: np.ndarray
    positions: np.ndarray | None = None
    cells: np.ndarray | None = None


@dataclass(frozen=True)
class LambdaTrajectory:
    r"""Langevin dynamics of the λ of groups of sites, at fixed positions or with moving atoms.

    The weight over θ is

    .. math:: \exp(−β[E(λ(θ)) − Σ_k μ_k N_k(λ) + Σ_k q_k N_k(λ)^2 + B(λ)])\, m(θ),

    μ and q those of the ensemble, B the biases, and m the measure of the map. Of what the ensemble
    keeps (species counts), λ keeps near: m is multiplied by the probability that vertices drawn by
    λ have the right totals (`HandOver`). A trajectory shows what lies between vertices, and
    flattens it; free energies of the vertices themselves follow from it by `vertex_log_weights`.
    Many sites by themselves are for `LambdaDynamics`, which samples vertices.

    ``adjusted`` trajectories accept or refuse every move and have this weight exactly. Unadjusted
    ones are Langevin dynamics in the splitting OBABO (Bussi and Parrinello 2007,
    doi:10.1103/PhysRevE.75.056707), continuous in time and biased by the time step, of the order of
    its square. Velocities are drawn anew at every stored draw.

    Parameters
    ----------
    hamiltonian
        Energy model with ``mixed_energy``.
    ensemble
        One that has a temperature, as for `LambdaDynamics`.
    groups
        Sites that share a λ; each site by itself if not given.
    simplex
        `CompactMap` or `SoftmaxMap`.
    integrator
        ``"underdamped"`` or ``"overdamped"``, and steps per draw.
    adjusted
        Whether moves may be refused.
    step
        Time step, in units in which the free coordinates swing about once in 2π; tuned in warm-up
        if not given, and halved where nothing is refused.
    biases
        Added to E; of the same groups.
    mixing
        ``"sites"`` or ``"paper"``.
    positions
        Whether atoms move too, in a fixed cell; the weight is then that of E(λ, R).
    fix_centre
        With positions, whether the mean displacement of the atoms is held at zero.

    Raises
    ------
    InputError
        As for `LambdaDynamics`.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import PairHamiltonian, SemiGrandCanonical, builders
    >>> from alchemc.ensembles.alchemical import Groups, LambdaTrajectory
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    >>> unlike_bonds = PairHamiltonian(lattice, [np.array([[0.0, -0.01], [-0.01, 0.0]])])
    >>> one = LambdaTrajectory(unlike_bonds, SemiGrandCanonical(lattice, 1000.0, {"Zr": 0.0}),
    ...                        groups=Groups.whole(lattice))
    >>> found = one.run(np.zeros(8, int), n_draws=20, n_replicas=2, warmup=20, seed=1)
    >>> found["lambda"].dims, found.slope.units
    (('draw', 'chain', 'group', 'species'), 'eV')
    """

    hamiltonian: Any
    ensemble: Any
    groups: Groups | None = None
    simplex: SimplexMap = field(default_factory=CompactMap)
    integrator: LambdaIntegrator = field(default_factory=LambdaIntegrator)
    adjusted: bool = True
    step: float | None = None
    biases: Biases | None = None
    mixing: str = "sites"
    positions: bool = False
    fix_centre: bool = True

    def __post_init__(self) -> None:
        groups = Groups.each_site(self.hamiltonian.lattice) if self.groups is None else self.groups
        object.__setattr__(self, "groups", groups)
        if not isinstance(self.simplex, SimplexMap):
            raise InputError(
                f"simplex is {self.simplex!r}; give CompactMap() or SoftmaxMap(), with its numbers"
            )
        if not isinstance(self.integrator, LambdaIntegrator):
            raise InputError(f"integrator is {self.integrator!r}; give a LambdaIntegrator")
        if self.integrator.kind == "hmc" and not self.adjusted:
            raise InputError(
                "unadjusted dynamics are Langevin dynamics: give LambdaIntegrator of kind "
                '"underdamped" or "overdamped"'
            )
        if self.step is not None and (not is_number(self.step) or self.step <= 0):
            raise InputError(f"step is {shown(self.step)}; give a number above 0")
        if self.biases is not None and self.biases.groups != groups:
            raise InputError("the biases are of other groups: make them of those given here")
        _ = self._potential, self._arrangements, self._atoms  # refuse now what they refuse

    # ---- what it is made of ----------------------------------------------------------------

    @cached_property
    def _model(self) -> MixedModel:
        assert self.groups is not None  # noqa: S101  (__post_init__)
        return MixedModel(self.hamiltonian, self.groups, self.mixing)

    @cached_property
    def _potential(self) -> Potential:
        return Potential(self._model, self.ensemble, self.biases)

    @cached_property
    def _atoms(self) -> MovingAtoms | None:
        if not self.positions:
            return None
        return MovingAtoms(self.hamiltonian, self.ensemble.temperature, self.fix_centre)

    @cached_property
    def _arrangements(self) -> Arrangements:
        assert self.groups is not None  # noqa: S101  (__post_init__)
        return Arrangements(self.groups, kept_by(self.ensemble, self.groups))

    def _of(self, place: _Place) -> Surface:
        """U of every replica, whose totals stay."""
        occupations = place.occupations
        totals = self._arrangements.totals(self._model.groups.states(occupations))
        allowed = self._model.groups.allowed
        everywhere = np.broadcast_to(allowed, (len(occupations), *allowed.shape))
        measure: Measure = plain_measure(self.simplex, allowed)
        if self._arrangements.blocks:
            hand_over = HandOver(self.simplex, self._arrangements, np.ones(allowed.shape))

            def measure(theta: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                here = [total[rows] for total in totals]
                return hand_over.measure(theta, everywhere[rows], here)

        return Surface(
            self._potential, self.simplex, measure, occupations, everywhere, cells=place.cells
        )

    # ---- runs ------------------------------------------------------------------------------

    def run(
        self,
        occupations: np.ndarray,
        *,
        n_draws: int,
        n_replicas: int = 1,
        warmup: int = 0,
        seed: int = 0,
        vertices: bool = False,
    ) -> xr.Dataset:
        """Run trajectories that start near the vertex of an occupation.

        Parameters
        ----------
        occupations
            [n_sites]; what the sites in no group keep, and what is kept of the others.
        n_draws
            Stored points per chain, ``integrator.n_steps`` steps apart.
        n_replicas
            Chains.
        warmup
            Draws before, in which the step is tuned.
        seed
            Chain c draws from child c of its SeedSequence.
        vertices
            Whether the energies of all vertices are stored with every draw, for
            `vertex_log_weights`. It takes one more energy per vertex and draw where atoms move, and
            one per vertex where they do not.

        Returns
        -------
        Dataset with dims (draw, chain, group, species): ``lambda``; ``slope`` ∂E/∂λ in eV;
        ``energy`` E(λ) of the model, ``potential`` U(λ) + B(λ) with the ensemble's terms and the
        bias, and ``bias``, all in eV, [draw, chain]; ``log_measure_ratio``, ln of m over the
        measure of the trajectory, zero unless counts are kept; species that a group may not hold
        are NaN; ``positions`` in Å where they move. With ``vertices``, ``vertex_potential`` U(x) in
        eV, [draw, chain, vertex], and ``vertex_state`` [vertex, group]. Attributes: temperature
        (K), map and its number, step, acceptance of the moves, ``adjusted``; evaluations with
        slopes of the draws and of the warm-up, and ``energy_calls`` of vertices.

        Raises
        ------
        InputError
            If a number cannot be used, or there are more than 64 vertices.
        """
        for name, value, least in (("n_draws", n_draws, 1), ("warmup", warmup, 0)):
            if not is_whole(value, least=least):
                raise InputError(f"{name} is {shown(value)}; give a whole number, {least} or more")
        rngs = spawn_generators(seed, n_replicas)
        place = self._start(occupations, rngs)
        corners = self._corners(place) if vertices else None
        masses = self._masses()
        tuned, place = self._tuned(place, masses, rngs, warmup)
        surface = self._of(place)
        stored: dict[str, list[np.ndarray]] = {}
        chances = []
        for _ in range(n_draws):
            place, chance = self._moved(surface, place, masses, tuned.size, rngs)
            chances.append(chance.mean())
            self._store(stored, place)
            if corners is not None:
                stored.setdefault("vertex_potential", []).append(corners.potential(place))
        attributes = {
            "temperature": 1.0 / (units.kB * self._potential.beta),
            "map": self.simplex.name,
            "map_number": float(getattr(self.simplex, "c", getattr(self.simplex, "a", np.nan))),
            "step": tuned.size,
            "acceptance": float(np.mean(chances)),
            "adjusted": int(self.adjusted),
            "kept": int(bool(self._arrangements.blocks)),
            "gradient_calls": int(surface.calls.sum()) + n_draws * n_replicas,
            "warm_up_gradient_calls": tuned.calls,
            "energy_calls": 0 if corners is None else corners.calls,
        }
        found = self._dataset({n: np.array(v) for n, v in stored.items()}, attributes)
        if corners is not None:
            found["vertex_state"] = ("vertex", "group"), corners.states
        return found

    def flattened(
        self, occupations: np.ndarray, *, n_updates: int, n_replicas: int = 8, seed: int = 0
    ) -> LambdaTrajectory:
        r"""Learn biases under which λ is distributed as at zero potential; frozen in what returns.

        The coefficients of the linear, quadratic and end-point terms of every group go by
        k_BT C⁻¹(f̄_t − f̄)/t^0.7, with the mean f̄_t of their features over the replicas at update t
        and f̄ and C their mean and covariance at zero potential: where it comes to rest, all means
        agree (stochastic approximation: Robbins and Monro 1951, doi:10.1214/aoms/1177729586; the
        convex functional behind it: Valsson and Parrinello 2014,
        doi:10.1103/PhysRevLett.113.090601).

        Parameters
        ----------
        occupations, n_replicas, seed
            As for ``run``.
        n_updates
            One after every draw.
        """
        groups = self._model.groups
        rngs = spawn_generators(seed, n_replicas)
        place, masses = self._start(occupations, rngs), self._masses()
        tuned, place = self._tuned(place, masses, rngs, min(n_updates, 50))
        spreads = self._references(place)
        kT = 1.0 / self._potential.beta
        biases = mean = self.biases or Biases(groups)
        current = replace(self, biases=biases)
        for update in range(1, n_updates + 1):
            surface = current._of(place)  # noqa: SLF001
            place, _ = current._moved(  # noqa: SLF001
                surface, place, masses, tuned.size, rngs
            )
            seen = features(self.simplex.weights(place.theta, groups.allowed)).mean(axis=0)
            excess = np.array(
                [spread.excess(one) for spread, one in zip(spreads, seen, strict=True)]
            )
            changed = terms(groups, kT * update**-0.7 * excess)
            biases = biases.plus(**changed)
            current = replace(current, biases=biases)
            late = update - n_updates // 2
            mean = biases if late <= 0 else _towards(mean, biases, 1.0 / (late + 1))
        return replace(self, biases=mean)

    def _references(self, place: _Place) -> list[Spread]:
        """Mean and covariance of the features of every group at zero potential."""
        allowed = self._model.groups.allowed
        rng = np.random.Generator(np.random.PCG64(0))
        theta = np.where(
            allowed, self.simplex.draw_measure((REFERENCE_DRAWS, *allowed.shape), rng), 0.0
        )
        if self._arrangements.blocks:  # of as many draws, those that what is kept would leave
            alike = place._replace(occupations=np.tile(place.occupations[:1], (len(theta), 1)))
            chances = np.exp(-self._log_measure_ratio(theta, alike.occupations))
            theta = theta[rng.random(len(theta)) * chances.max() < chances]
        seen = features(self.simplex.weights(theta, allowed))
        return [Spread.of(seen[:, group]) for group in range(len(allowed))]

    # ---- parts of a run --------------------------------------------------------------------

    def _start(self, occupations: np.ndarray, rngs: Generators) -> _Place:
        """θ near the vertex that the groups hold."""
        checked = np.array(self.hamiltonian.lattice.check(occupations), dtype=np.int8)
        if checked.ndim != 1:
            raise InputError(f"the occupation has shape {checked.shape}: give one, [n_sites]")
        starts = np.tile(checked, (len(rngs), 1))
        groups = self._model.groups
        hand_over = HandOver(self.simplex, self._arrangements, np.ones(groups.allowed.shape))
        allowed = np.broadcast_to(groups.allowed, (len(rngs), *groups.allowed.shape))
        theta = hand_over.draw_theta(groups.states(starts), allowed, rngs)
        if self._atoms is None:
            return _Place(theta, starts)
        return _Place(theta, starts, *self._atoms.start(len(rngs)))

    def _corners(self, place: _Place) -> Corners:
        """Return the vertices whose energies are wanted."""
        groups = self._model.groups
        start = place.occupations[0]
        states = vertex_states(groups, self._arrangements, groups.states(start))
        return Corners(
            self.hamiltonian, self.ensemble, self._atoms,
            states=states, groups=groups, start=start,
        )  # fmt: skip

    def _masses(self) -> np.ndarray:
        groups = self._model.groups
        found, _ = curvature_masses(self.hamiltonian, groups, self.simplex, self._potential.beta)
        own = found[groups.allowed]
        return own if self._atoms is None else np.concatenate([own, self._atoms.masses])

    def _tuned(
        self, place: _Place, masses: np.ndarray, rngs: Generators, n: int
    ) -> tuple[_Tuning, _Place]:
        """Time step, and where its tuning came to."""
        step = StepSize.at(FIRST_STEP if self.step is None else self.step)
        surface, adjusted = self._of(place), replace(self, adjusted=True)
        for _ in range(n):
            place, chance = adjusted._moved(  # noqa: SLF001
                surface, place, masses, step.size, rngs
            )
            if self.step is None:
                step = step.after(float(chance.mean()), self.integrator.target)
        size = step.settled().size
        if not self.adjusted and self.step is None:
            size *= 0.5
        return _Tuning(size, int(surface.calls.sum())), place

    def _moved(
        self,
        surface: Surface,
        place: _Place,
        masses: np.ndarray,
        size: float,
        rngs: Sequence[np.random.Generator],
    ) -> tuple[_Place, np.ndarray]:
        """One stretch of the trajectory of every replica."""
        project = {} if self._atoms is None else {"project": self._atoms.projected}
        _, end, chance = self.integrator.run(
            surface, surface.flat(place.theta, place.positions), masses, size, rngs,
            adjusted=self.adjusted, **project,
        )  # fmt: skip
        there = surface.positions(end.place)
        return place._replace(theta=surface.theta(end.place), positions=there), chance

    def _store(self, stored: dict[str, list[np.ndarray]], place: _Place) -> None:
        groups = self._model.groups
        weights = self.simplex.weights(place.theta, groups.allowed)
        energy, slope, _ = self._model.evaluate_all(
            weights, place.occupations, place.positions, place.cells
        )
        bias = np.zeros(len(energy)) if self.biases is None else self.biases.energy(weights)
        composition = self._potential.composition(weights, place.occupations)
        found = {
            "lambda": np.where(groups.allowed, weights, np.nan),
            "slope": np.where(groups.allowed, slope, np.nan),
            "energy": energy,
            "bias": bias,
            "potential": energy + composition + bias,
            "log_measure_ratio": self._log_measure_ratio(place.theta, place.occupations),
        }
        if place.positions is not None:
            found["positions"] = place.positions
        for name, values in found.items():
            stored.setdefault(name, []).append(values)

    def _log_measure_ratio(self, theta: np.ndarray, occupations: np.ndarray) -> np.ndarray:
        """Return ln m/m̃ [n] of the map's measure and that of the trajectory."""
        if not self._arrangements.blocks:
            return np.zeros(len(theta))
        allowed, rows = self._model.groups.allowed, np.arange(len(theta))
        kept = self._of(_Place(theta, occupations)).measure
        plain = plain_measure(self.simplex, allowed)
        return np.asarray(plain(theta, rows)[0] - kept(theta, rows)[0])

    def _dataset(self, arrays: dict[str, np.ndarray], attributes: dict[str, Any]) -> xr.Dataset:
        import xarray as xr  # noqa: PLC0415  (slow to import)

        what = {
            "lambda": ("weight of the species in the group", "1"),
            "slope": ("∂E/∂λ", "eV"),
            "energy": ("energy of the model at λ", "eV"),
            "bias": ("energy of the bias at λ", "eV"),
            "potential": ("energy at λ with the terms of the ensemble and the bias", "eV"),
            "log_measure_ratio": ("ln of the map's measure over the trajectory's", "1"),
            "vertex_potential": ("energy at a vertex with the terms of the ensemble", "eV"),
            "positions": ("positions of the atoms", "Å"),
        }
        dims = ("draw", "chain", "group", "species")
        own = {
            "positions": ("draw", "chain", "atom", "xyz"),
            "vertex_potential": ("draw", "chain", "vertex"),
        }
        variables = {
            name: (
                own.get(name, dims)[: values.ndim],
                values,
                {"long_name": what[name][0], "units": what[name][1]},
            )
            for name, values in arrays.items()
        }
        return xr.Dataset(
            variables, coords={"group": list(self._model.groups.names)}, attrs=attributes
        )


def _towards(mean: Biases, biases: Biases, share: float) -> Biases:
    """Return the running mean of biases."""
    one, other = mean.to_arrays(), biases.to_arrays()
    return biases.with_arrays({n: one[n] + share * (other[n] - one[n]) for n in one})
