"""What a surrogate chain learns in warm-up: the data, the fits, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..lattice import Lattice
from ..potentials.pair_expansion import PairExpansion, coordinates, expansion_energies
from ..potentials.response import (
    Features,
    expansion_about,
    fit_response,
    is_uniform,
    onsite_energies,
    reduced,
)
from ..protocols import Hamiltonian
from ..tiling import find_tiling

__all__ = [
    "Lessons",
    "Quality",
    "begin",
    "energy_correction",
    "field_at_mean",
    "with_field",
    "with_response",
]

LATEST = 48  # energies kept from one temperature to the next
MOST_PRODUCTS = 24
GRADIENTS_ALIKE = 4  # gradients to fit where sites of a kind are alike, and where they are not
GRADIENTS_APART = 12
ALIKE = 1e-3  # share of the gradients' squares that may be left where sites are alike
_NO_FIELD, _FIELD_DAMPING, _UNKNOWN_FIELD_DAMPING = 1e4, 1.0, 0.05
_RIDGES = tuple(np.logspace(-6, 3, 19))
_GROWTH = 1.4  # by which the data must grow before the next fit


@dataclass(frozen=True)
class Quality:
    """What left-out energies say of a surrogate.

    ``error`` in eV: root mean square of E − S, its mean taken off, on energies left out of the fit;
    ``acceptance``: expected of moves of the whole cell; ``residuals`` [n] in eV, of the states that
    are typical for the chain.
    """

    error: float = float("nan")
    acceptance: float = float("nan")
    residuals: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Lessons:
    """Evaluations of the energy model and what was made of them; plain arrays throughout.

    ``states`` int8 [n, n_sites] with ``energies`` [n]; ``points`` int8 [k, n_sites] with ``slopes``
    [k, n_sites, r], ∂E/∂x in eV; ``mean`` λ̄; ``known_field`` [n_sites, r], ∂E/∂x at λ̄;
    ``wanted``: gradients still to be evaluated; ``base``: arrays of the expansion that derivatives
    gave; ``fitted_to``, ``measured_at``: number of energies at the last fit and when the inner
    chain was last measured; ``hessian_products`` and ``gradient_calls`` so far.
    """

    mean: np.ndarray
    states: np.ndarray
    energies: np.ndarray
    points: np.ndarray
    slopes: np.ndarray
    known_field: np.ndarray
    alike: bool
    wanted: int
    base: Mapping[str, Any] | None = None
    fitted_to: int = 0
    measured_at: int = 0
    hessian_products: int = 0
    gradient_calls: int = 0

    @property
    def wants_gradients(self) -> bool:
        """Whether proposals are to be evaluated with their gradients."""
        return self.wanted > 0

    @property
    def is_due(self) -> bool:
        """Whether enough was seen since the last fit for another."""
        return len(self.energies) >= max(_GROWTH * self.fitted_to, self.fitted_to + 2)

    def with_energies(self, states: np.ndarray, energies: np.ndarray) -> Lessons:
        """Take in evaluated states."""
        return replace(
            self,
            states=np.concatenate([self.states, states.astype(np.int8)]),
            energies=np.concatenate([self.energies, energies]),
        )

    def with_gradients(
        self, lattice: Lattice, states: np.ndarray, gradients: np.ndarray
    ) -> Lessons:
        """Take in gradients [n, n_sites, n_species_max]."""
        new = np.array([reduced(lattice, g) for g in gradients]).reshape(-1, *self.slopes.shape[1:])
        return replace(
            self,
            points=np.concatenate([self.points, states.astype(np.int8)]),
            slopes=np.concatenate([self.slopes, new]),
            wanted=max(0, self.wanted - len(states)),
            gradient_calls=self.gradient_calls + len(states),
        )

    def latest(self) -> Lessons:
        """Return the lessons with the latest energies only, to be fitted to anew."""
        return replace(
            self, states=self.states[-LATEST:], energies=self.energies[-LATEST:], fitted_to=0,
            measured_at=0,
        )  # fmt: skip

    def to_arrays(self) -> dict[str, Any]:
        """Plain arrays and numbers of everything."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "base"}
        base = self.base or {}
        return plain | {f"base_{name}": value for name, value in base.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Lessons:
        """Make the lessons again that ``to_arrays`` took apart."""
        given = {k.removeprefix("base_"): v for k, v in arrays.items() if k.startswith("base_")}
        plain = {k: v for k, v in arrays.items() if not k.startswith("base_")}
        return cls(**plain, base=given or None)


def begin(hamiltonian: Hamiltonian, occupations: np.ndarray, energies: np.ndarray) -> Lessons:
    """First lessons from the chains' starts, whose energies are known.

    Where the model has Hessian products and sites of a kind are alike, its Taylor expansion at the
    mean composition of the starts; else the field at that composition, if it can be had, and the
    gradients at the starts.
    """
    lattice = hamiltonian.lattice
    counts = lattice.counts(occupations).sum(axis=0).astype(float)
    fractions = counts / counts.sum(axis=1, keepdims=True)
    mean = fractions[np.asarray(lattice.sublattice_of_site)]
    rank = lattice.n_species_max - 1
    lessons = Lessons(
        mean=mean,
        states=np.array(occupations, dtype=np.int8),
        energies=np.array(energies, dtype=float),
        points=np.zeros((0, lattice.n_sites), dtype=np.int8),
        slopes=np.zeros((0, lattice.n_sites, rank)),
        known_field=np.zeros((lattice.n_sites, rank)),
        alike=False,
        wanted=GRADIENTS_APART,
    )
    if hasattr(hamiltonian, "mixed_energy"):
        point = hamiltonian.mixed_energy(mean, forces=False, stress=False)
        slopes = reduced(lattice, point.gradient)
        products = _number_of_products(lattice)
        # Where every site is of a kind of its own, gradients at states tell more for less.
        alike = is_uniform(find_tiling(lattice), slopes) and products <= MOST_PRODUCTS
        lessons = replace(lessons, known_field=slopes, alike=alike, gradient_calls=1)
        if alike and hasattr(hamiltonian, "hessian_product"):
            base = expansion_about(hamiltonian, mean, point).to_arrays()
            return replace(lessons, base=base, wanted=0, hessian_products=products)
    wanted = GRADIENTS_ALIKE if lessons.alike else GRADIENTS_APART
    lessons = replace(lessons, wanted=max(wanted, len(occupations)))
    _, gradients = hamiltonian.energy_and_gradient(occupations)
    return with_response(lessons.with_gradients(lattice, occupations, gradients), lattice)


@lru_cache(maxsize=2)
def _features(lattice: Lattice) -> Features:
    """Shared parameters of a lattice, listed once for all fits."""
    return Features.of(lattice, find_tiling(lattice))


def _number_of_products(lattice: Lattice) -> int:
    tiling = find_tiling(lattice)
    return int((np.asarray(lattice.allowed)[tiling.first_sites].sum(axis=1) - 1).sum())


def with_response(lessons: Lessons, lattice: Lattice) -> Lessons:
    """Fit the base to the gradients."""
    features = _features(lattice)
    x = coordinates(lattice, lessons.mean, lessons.points)
    points = list(zip(x, lessons.slopes, strict=True))
    known = bool(lessons.known_field.any())
    # All sites of a kind are taken to be alike where that explains what was seen.
    found = fit_response(features, points, lessons.known_field, damping=_NO_FIELD)
    if not lessons.alike and (known or found.unexplained > ALIKE):
        damping = _FIELD_DAMPING if known else _UNKNOWN_FIELD_DAMPING
        found = fit_response(
            features, points, lessons.known_field, damping=damping, single_pairs=True
        )
    # A gradient's own-species part is curvature, which no arrangement of whole atoms feels.
    slopes = found.field + features.field(found.shared)
    own = np.zeros((*slopes.shape, slopes.shape[1]))
    base = {
        "mean": lessons.mean,
        "constant": float(lessons.energies.mean()),
        "onsite": onsite_energies(lattice, lessons.mean, slopes, own),
        "couplings": features.couplings(found.shared),
        "pairs": found.pairs,
        "deviations": found.deviations,
    }
    return replace(lessons, base=base)


def energy_correction(
    lessons: Lessons, lattice: Lattice, log_density: Callable[[np.ndarray], np.ndarray]
) -> tuple[PairExpansion, Quality]:
    r"""Correct the base by the energies, with a ridge whose strength left-out energies choose.

    S = S₀ + c + s (S₀ − ⟨S₀⟩) + Σ_t θ_t φ_t, with the shared terms φ. States far from those that
    the chain visits now weigh less. ``log_density`` maps energies to log densities.
    """
    base = lessons.base
    assert base is not None  # noqa: S101  (begun)
    features = _features(lattice)
    x = coordinates(lattice, lessons.mean, lessons.states)
    start = expansion_energies(lattice, base, lessons.states)
    columns = np.column_stack([start - start.mean(), features.energies(x)])
    weights = _typical(lessons.energies)
    fit = _ridge(columns, lessons.energies - start, weights)
    scale = 1.0 + fit.parameters[0]
    shift = fit.intercept - fit.parameters[0] * start.mean()
    theta = fit.parameters[1:]
    corrected = PairExpansion(
        lattice,
        mean=lessons.mean,
        constant=scale * base["constant"] + shift,
        onsite=scale * base["onsite"]
        + onsite_energies(lattice, lessons.mean, features.field(theta), features.own(theta)),
        couplings=scale * base["couplings"] + features.couplings(theta),
        pairs=base["pairs"],
        deviations=scale * base["deviations"],
    )
    lessons_seen = fit.residuals[weights > 0.5]
    return corrected, _quality(lessons_seen, log_density)


def field_at_mean(hamiltonian: Any, mean: np.ndarray) -> np.ndarray:
    """∂E/∂x at the mean composition, [n_sites, r] in eV: a function of the positions alone."""
    found = hamiltonian.mixed_energy(mean, forces=False, stress=False)
    return reduced(hamiltonian.lattice, found.gradient)


def with_field(surrogate: PairExpansion, change: np.ndarray) -> PairExpansion:
    """Return the expansion with the field of every site changed, [n_sites, r] in eV."""
    lattice = surrogate.lattice
    own = np.zeros((*change.shape, change.shape[1]))
    arrays = surrogate.to_arrays()
    arrays["onsite"] = surrogate.onsite + onsite_energies(lattice, surrogate.mean, change, own)
    return PairExpansion(lattice, **arrays)


def _typical(energies: np.ndarray) -> np.ndarray:
    """Weight of every energy: one near those of the later half, less farther away."""
    recent = energies[len(energies) // 2 :]
    width = max(float(recent.std()), 1e-3 * abs(float(np.ptp(energies))), 1e-9)
    z = (energies - recent.mean()) / width
    return np.asarray(1.0 / (1.0 + (z / 4.0) ** 4))


@dataclass(frozen=True)
class _Fit:
    """Ridge solution; ``residuals`` of every row as a fit without it would leave them."""

    intercept: float
    parameters: np.ndarray
    residuals: np.ndarray


def _ridge(columns: np.ndarray, target: np.ndarray, weights: np.ndarray) -> _Fit:
    """Ridge regression with a free intercept; its strength by leaving out one row at a time."""
    share = weights / weights.sum()
    centre, level = share @ columns, float(share @ target)
    spread = np.sqrt(share @ (columns - centre) ** 2)
    usable = spread > 1e-9 * max(1.0, float(spread.max(initial=0.0)))
    scaled = np.where(usable, (columns - centre) / np.where(usable, spread, 1.0), 0.0)
    root = np.sqrt(weights)
    a, b = scaled * root[:, None], (target - level) * root
    u, singular, vt = np.linalg.svd(a, full_matrices=False)
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for ridge in _RIDGES:
        shrink = singular**2 / (singular**2 + ridge * len(target))
        lever = np.minimum((u**2 * shrink).sum(axis=1) + weights / weights.sum(), 0.999)
        left_out = (b - u @ (shrink * (u.T @ b))) / (1.0 - lever)
        score = float((left_out**2).sum())
        if best is None or score < best[0]:
            inverse = singular / (singular**2 + ridge * len(target))
            best = (score, vt.T @ (inverse * (u.T @ b)), left_out / root)
    assert best is not None  # noqa: S101
    parameters = np.where(usable, best[1] / np.where(usable, spread, 1.0), 0.0)
    return _Fit(level - float(parameters @ centre), parameters, best[2])


def _quality(residuals: np.ndarray, log_density: Callable[[np.ndarray], np.ndarray]) -> Quality:
    """Say how large left-out errors are, and which acceptance of moves of the cell they allow."""
    if len(residuals) < 2:
        return Quality()
    errors = residuals - residuals.mean()
    f = log_density(errors)
    # Proposals follow S, but the chain stands where E lets it: states weigh w = exp(f), and the
    # acceptance is the mean of min(w, w') over pairs of proposals, divided by that of w.
    weights = np.exp(f - f.max())
    both = np.minimum(weights[:, None], weights)[~np.eye(len(f), dtype=bool)]
    # A few dozen states hold none of the rare ones that weigh most; normal errors of the width of
    # most of them have the acceptance erfc(σ/2).
    width = 1.4826 * float(np.median(np.abs(f - np.median(f))))
    expected = min(both.mean() / weights.mean(), math.erfc(width / 2.0))
    return Quality(float(np.sqrt((errors**2).mean())), float(expected), errors)
