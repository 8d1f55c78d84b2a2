"""Compositions whose mean crystal has wanted properties, by descent along exact gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...compositions import Composition
from ...errors import ConvergenceError, InputError
from ...sublattice import is_number, is_whole, shown, suggestion
from .mean_crystal import PROPERTIES, UNITS, MeanCrystal, Settings, evaluate
from .simplex import GroupSpace, group_space

__all__ = ["OptimisedComposition", "optimise_composition"]

SCALES = {"lattice_parameter": 0.01, "c": 0.01, "volume": 1.0, "energy": 0.01, "bulk_modulus": 1.0}
"""By which deviations from targets are made comparable, in the properties' own units."""

STILL = 1e-6  # of a fraction: no step of a descent is worth more relaxations
SUFFICIENT = 1e-4
SHORTEST = 1e-3  # of a step that is shortened again and again


@dataclass(frozen=True)
class OptimisedComposition:
    """What `optimise_composition` found.

    ``composition`` holds fractions by group and species, ``crystal`` the relaxed mean crystal,
    ``values`` its properties by name of the target and ``targets`` what was wanted; ``reached``
    tells whether all are met to the tolerance; ``path`` is the descent: for every accepted point
    the composition, the objective and the properties. ``calls`` counts evaluations of the model.
    """

    composition: Mapping[str, Mapping[str, float]]
    crystal: MeanCrystal
    targets: Mapping[str, float]
    values: Mapping[str, float]
    reached: bool
    path: tuple[dict[str, Any], ...]
    calls: int

    @property
    def statement(self) -> str:
        """What was found, in sentences that can be quoted."""
        fractions = _told(self.composition)
        parts = [
            f"{_word(name)} {_number(name, self.values[name])} (target {_number(name, target)})"
            for name, target in self.targets.items()
        ]
        text = (
            f"The mean crystal of {fractions} (rule {self.crystal.mixing}) has {', '.join(parts)}"
            f", found in {len(self.path) - 1} steps and {self.calls} evaluations."
        )
        if not self.reached:
            text += " The targets cannot be met together: this is the compromise that the weights "
            text += "ask for."
        return text

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "statement": self.statement,
            "composition": {name: dict(part) for name, part in self.composition.items()},
            "mixing": self.crystal.mixing,
            "relaxed": self.crystal.cell_kind,
            "targets": dict(self.targets),
            "values": dict(self.values),
            "units": {name: UNITS[name] for name in self.targets},
            "reached": self.reached,
            "path": list(self.path),
            "calls": self.calls,
        }


def optimise_composition(
    hamiltonian: Any,
    targets: Mapping[str, float],
    *,
    weights: Mapping[str, float] | None = None,
    start: Composition | None = None,
    groups: Mapping[str, Any] | Any = None,
    fixed: Mapping[str, Mapping[str, float]] | None = None,
    mixing: str = "sites",
    cell: str = "isotropic",
    tolerance: float = 0.01,
    max_steps: int = 50,
    fmax: float = 1e-5,
    pressure_step: float = 1.0,
) -> OptimisedComposition:
    r"""Find the composition whose mean crystal has given properties.

    Least squares over the fractions λ of groups of sites, on the product of their simplices,

    .. math:: L(λ) = \tfrac12 \sum_t w_t \left(\frac{q_t(λ) - t}{s_t}\right)^2,

    with the units s of 0.01 Å, 1 Å³, 0.01 eV and 1 GPa, by the spectral projected gradient (E. G.
    Birgin, J. M. Martínez and M. Raydan, SIAM J. Optim. 10, 1196 (2000),
    doi:10.1137/S1052623497330963; here with a monotone line search): a step along −∇L, as long as
    the last one's curvature suggests, is projected on the simplices, so that a species can vanish
    in finitely many steps (an exponentiated gradient only tends to zero). ∇L follows by the chain
    rule from the derivatives of `mean_crystal`. Where more species than targets are free, many
    compositions do; it is one near the start.

    Parameters
    ----------
    hamiltonian
        Energy model with ``mixed_energy`` and ``at``.
    targets
        By property: ``"lattice_parameter"`` and ``"c"`` of the conventional cell in Å,
        ``"volume"`` in Å³ and ``"energy"`` in eV of the lattice's cell, ``"bulk_modulus"`` in GPa.
    weights
        w by property, 1 by default.
    start
        Composition by sublattice; equal parts by default.
    groups
        Sites by name that share their λ (or ``Groups``); one group per sublattice by default.
        Sites of no group keep the composition of the start.
    fixed
        Fractions to be held, by group and species: ``{"B": {"Nb": 0.1}}``.
    mixing, cell, fmax, pressure_step
        As for `mean_crystal`.
    tolerance
        Deviation from every target, in the units above, at which the search ends.
    max_steps
        Steps after which it is given up.

    Raises
    ------
    InputError
        If an argument cannot be used, or a single target is out of reach: the message names the
        nearest value. Several targets that exclude one another end in a compromise.
    ConvergenceError
        If the search or a relaxation does not converge.

    Notes
    -----
    Composition optimisation with an alchemical MACE is that of Nam, Peng and Gómez-Bombarelli, Nat.
    Commun. 16, 4350 (2025), who descend by exponentiated gradients. What is found is a minimum near
    the start; with several species and properties that are not monotonic there may be others.

    Examples
    --------
    >>> from alchemc import AlchemicalMACE, builders
    >>> lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0)
    >>> mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    >>> found = optimise_composition(mace, {"lattice_parameter": 4.05})
    >>> found.reached, round(found.crystal.lattice_parameter, 3)
    (True, 4.05)
    """
    settings = Settings(mixing, cell, fmax, pressure_step).checked(hamiltonian)
    wanted = _checked_targets(targets)
    factors = _factors(wanted, weights)
    if not is_number(tolerance) or tolerance <= 0:
        raise InputError(f"tolerance is {shown(tolerance)}; give a number above 0")
    if not is_whole(max_steps, least=1):
        raise InputError(f"max_steps is {shown(max_steps)}; give a whole number of 1 or more")
    space, first = group_space(hamiltonian.lattice, groups, start, fixed)
    descent = _Descent(hamiltonian, space, settings, wanted, factors)
    descent.run(first, float(tolerance), int(max_steps))
    return descent.result(float(tolerance))


class _Descent:
    """The search itself; what was found last is where the next relaxation starts."""

    def __init__(
        self,
        hamiltonian: Any,
        space: GroupSpace,
        settings: Settings,
        targets: dict[str, float],
        factors: np.ndarray,
    ) -> None:
        self._hamiltonian, self._space, self._settings = hamiltonian, space, settings
        self._targets, self._factors = targets, factors
        self._scales = np.array([SCALES[name] for name in targets])
        self.calls = 0
        self.path: list[dict[str, Any]] = []
        self._weights = np.array([])
        self._crystal: MeanCrystal | None = None

    def run(self, first: np.ndarray, tolerance: float, max_steps: int) -> None:
        weights = first
        value, gradient, jacobian = self._evaluate(weights)
        self._accept(weights, value)
        length = self._first_length(gradient, jacobian)
        for _ in range(max_steps):
            if self._met(tolerance):
                return
            step = self._space.projected(weights - length * gradient) - weights
            if np.abs(step).max() < STILL:
                return
            along = float((gradient * step).sum())
            part = 1.0
            while True:
                trial = self._space.projected(weights + part * step)
                found = self._evaluate(trial)
                if found[0] <= value + SUFFICIENT * part * along:
                    break
                # The minimum of the parabola through both values and the slope.
                bend = found[0] - value - part * along
                part = float(np.clip(-0.5 * along * part**2 / bend, 0.1 * part, 0.5 * part))
                if part < SHORTEST:
                    return
            moved, turned = trial - weights, self._space.tangent(found[1] - gradient)
            weights, (value, gradient, jacobian) = trial, found
            self._accept(weights, value)
            curvature = float((moved * turned).sum())
            square = float((moved**2).sum())
            length = square / curvature if curvature > 0 else self._first_length(gradient, jacobian)
        if not self._met(tolerance):
            raise ConvergenceError(
                f"no composition was settled on after {max_steps} steps (last: "
                f"{_told(self._space.named(weights))}): raise max_steps, or start nearer"
            )

    def result(self, tolerance: float) -> OptimisedComposition:
        crystal = self._crystal
        assert crystal is not None  # noqa: S101
        composition, values = self._space.named(self._weights), self._values(crystal)
        reached = self._met(tolerance)
        if not reached and len(self._targets) == 1:
            ((name, target),) = self._targets.items()
            raise InputError(
                f"a {_word(name)} of {_number(name, target)} is out of reach: the nearest found is "
                f"{_number(name, values[name])}, at {_told(composition)}; change the target, the "
                "species or the start"
            )
        return OptimisedComposition(
            composition, crystal, self._targets, values, reached, tuple(self.path), self.calls
        )

    def _evaluate(self, weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Objective, its gradient along the simplices and the scaled Jacobian of the properties."""
        lam = self._space.lam(weights)
        crystal = evaluate(
            self._hamiltonian, lam, self._settings, list(self._targets), self._crystal
        )
        self.calls += crystal.calls
        self._tried = crystal
        slopes = [self._space.gathered(crystal.gradients[name]) for name in self._targets]
        jacobian = np.array(
            [self._space.tangent(s) / scale for s, scale in zip(slopes, self._scales, strict=True)]
        )
        misses = self._misses(crystal)
        gradient = np.einsum("t,t,tgk->gk", self._factors, misses, jacobian)
        return 0.5 * float((self._factors * misses**2).sum()), gradient, jacobian

    def _accept(self, weights: np.ndarray, value: float) -> None:
        self._weights, self._crystal = weights, self._tried
        row = {"composition": self._space.named(weights), "objective": value}
        self.path.append(row | {"values": self._values(self._tried)})

    def _first_length(self, gradient: np.ndarray, jacobian: np.ndarray) -> float:
        """Length of a step to the minimum along −∇L were the properties linear (Gauss–Newton)."""
        change = np.einsum("tgk,gk->t", jacobian, gradient)
        curvature = float((self._factors * change**2).sum())
        return float((gradient**2).sum()) / curvature if curvature > 0 else 1.0

    def _misses(self, crystal: MeanCrystal) -> np.ndarray:
        values = np.array(list(self._values(crystal).values()))
        return np.asarray((values - np.array(list(self._targets.values()))) / self._scales)

    def _values(self, crystal: MeanCrystal) -> dict[str, float]:
        return {name: crystal.value(name) for name in self._targets}

    def _met(self, tolerance: float) -> bool:
        assert self._crystal is not None  # noqa: S101
        return bool((np.abs(self._misses(self._crystal)) <= tolerance).all())


def _checked_targets(targets: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(targets, Mapping) or not targets:
        raise InputError(
            f"targets is {shown(targets)}; give values by property such as "
            "{'lattice_parameter': 4.0}"
        )
    for name, value in targets.items():
        if name not in PROPERTIES:
            raise InputError(f"no property is called {name!r}; {suggestion(name, PROPERTIES)}")
        if not is_number(value) or (name != "energy" and value <= 0):
            raise InputError(f"the target of {name} is {shown(value)}; give a number above 0")
    return {name: float(value) for name, value in targets.items()}


def _factors(targets: Mapping[str, float], weights: Mapping[str, float] | None) -> np.ndarray:
    for name, value in (weights or {}).items():
        if name not in targets:
            raise InputError(f"weights names {name!r}, which is no target; leave it out")
        if not is_number(value) or value <= 0:
            raise InputError(f"the weight of {name} is {shown(value)}; give a number above 0")
    return np.array([float((weights or {}).get(name, 1.0)) for name in targets])


def _word(name: str) -> str:
    return {"c": "lattice parameter c"}.get(name, name.replace("_", " "))


def _number(name: str, value: float) -> str:
    digits = {"volume": 2, "bulk_modulus": 2}.get(name, 4)
    return f"{value:.{digits}f} {UNITS[name]}"


def _told(composition: Mapping[str, Mapping[str, float]]) -> str:
    """Fractions in words: "Ti 0.25, Zr 0.75 on B"."""
    return "; ".join(
        ", ".join(f"{s} {c:.4g}" for s, c in part.items()) + f" on {name}"
        for name, part in composition.items()
    )
