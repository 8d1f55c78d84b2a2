"""What the Metropolis–Hastings kernels share: checked starts, evaluation and acceptance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import InputError, ModelError
from ..protocols import Ensemble, Generators, Hamiltonian, Info, State
from ._composition import keeps_counts
from ._swaps import Swap

__all__ = [
    "Evaluation",
    "check_start",
    "check_weight",
    "draw_uniforms",
    "evaluate",
    "evaluate_where",
    "settle",
    "with_gradient",
]

Evaluation = tuple[np.ndarray, np.ndarray]
"""Energies [n_replicas] and gradients [n_replicas, n_sites, n_species_max]; NaN where unknown."""


def check_start(
    hamiltonian: Hamiltonian, ensemble: Ensemble, occupations: np.ndarray, rngs: Generators
) -> np.ndarray:
    """Return a valid copy of the starting occupations, int8 [n_replicas, n_sites].

    Raises
    ------
    InputError
        If the shape or a species is wrong, if there are not as many generators as replicas, or if
        a canonical chain has nothing to exchange.
    """
    if ensemble.lattice != hamiltonian.lattice:
        raise InputError(
            "the ensemble's lattice differs from the energy model's: build both from one Lattice"
        )
    if np.ndim(occupations) != 2:
        raise InputError(
            f"occupations have shape {np.shape(occupations)}: expected [n_replicas, n_sites] "
            "(add an axis for a single replica)"
        )
    checked = np.array(hamiltonian.lattice.check(occupations), dtype=np.int8)
    if len(rngs) != len(checked):
        raise InputError(
            f"{len(rngs)} generators for {len(checked)} replicas: give one per replica "
            "(spawn_generators)"
        )
    if keeps_counts(ensemble):
        species_present = (hamiltonian.lattice.counts(checked) > 0).sum(axis=-1)
        stuck = np.flatnonzero((species_present <= 1).all(axis=-1))
        if len(stuck):
            raise InputError(
                f"replica {stuck[0]} holds one species per sublattice, so there is nothing to "
                "exchange: start from a mixed composition"
            )
    return checked


def check_weight(ensemble: Ensemble, energy: np.ndarray, occupations: np.ndarray) -> None:
    """Refuse starts that the ensemble gives no weight, from which every move would be accepted.

    An ensemble may say more of the reason by ``why_impossible(occupation) -> str | None``.

    Raises
    ------
    InputError
        If a log density is −inf or not a number.
    """
    impossible = np.flatnonzero(~(ensemble.log_density(energy, occupations) > -np.inf))
    if len(impossible):
        replica = int(impossible[0])
        say = getattr(ensemble, "why_impossible", lambda _: None)
        why = say(occupations[replica]) or "start from an occupation that meets its constraints"
        raise InputError(
            f"replica {replica} starts where {type(ensemble).__name__} has no weight: {why}"
        )


def draw_uniforms(rngs: Generators, n: int) -> np.ndarray:
    """``n`` uniform numbers in [0, 1) of each replica's own generator, [n_replicas, n]."""
    return np.array([rng.random(n) for rng in rngs]).reshape(len(rngs), n)


def evaluate(
    hamiltonian: Hamiltonian, occupations: np.ndarray, gradient: bool, *, proposed: bool = False
) -> Evaluation:
    """Energies and, on request, gradients; ModelError where one is not finite.

    A proposed occupation may have the energy +inf, where the model has found none (a relaxation
    that failed): its log density is −inf, so it is refused. Its gradient is taken as zero, for the
    probability of a move back from there to be a number.
    """
    shape = (*occupations.shape, hamiltonian.lattice.n_species_max)
    if gradient:
        energy, slopes = hamiltonian.energy_and_gradient(occupations)
        slopes = np.asarray(slopes, dtype=np.float64)
    else:
        energy, slopes = hamiltonian.energy(occupations), np.full(shape, np.nan)
    energy = np.asarray(energy, dtype=np.float64)
    failed = energy == np.inf
    if failed.any() and not proposed:
        raise ModelError(
            f"the energy model found no energy for the occupation of replica {failed.argmax()} "
            "(its relaxation failed, say): start from another occupation, or ease its settings"
        )
    known = np.isfinite(energy) | failed
    if gradient:
        slopes = np.where(failed[:, None, None], 0.0, slopes)
        known &= np.isfinite(slopes).all(axis=(1, 2))
    if not known.all():
        raise ModelError(
            f"the energy model gave {energy[~known][0]} eV or a gradient that is not finite: "
            "check the positions (overlapping atoms?) and the model"
        )
    return energy, slopes


def evaluate_where(
    mask: np.ndarray,
    hamiltonian: Hamiltonian,
    occupations: np.ndarray,
    gradient: bool,
    otherwise: Evaluation,
    *,
    proposed: bool = True,
) -> Evaluation:
    """Evaluate the replicas in ``mask`` alone; the rest keep the numbers in ``otherwise``."""
    if mask.all():
        return evaluate(hamiltonian, occupations, gradient, proposed=proposed)
    energy, slopes = otherwise[0].copy(), otherwise[1].copy()
    if mask.any():
        found = evaluate(hamiltonian, occupations[mask], gradient, proposed=proposed)
        energy[mask], slopes[mask] = found
    return energy, slopes


def with_gradient(hamiltonian: Hamiltonian, state: State) -> tuple[State, np.ndarray]:
    """State with the gradients that were unknown, and which replicas they were evaluated for."""
    unknown = np.isnan(state.gradient).any(axis=(1, 2))
    known = evaluate_where(
        unknown, hamiltonian, state.occupations, True, (state.energy, state.gradient),
        proposed=False,
    )  # fmt: skip
    return State(state.occupations, *known), unknown


def settle(
    state: State,
    proposed: State,
    swap: Swap,
    *,
    log_density: Callable[[np.ndarray, np.ndarray], np.ndarray],
    log_hastings: np.ndarray,
    uniforms: np.ndarray,
) -> tuple[State, Info]:
    """Accept or refuse each replica's proposal.

    α = min(1, exp(f(y) − f(x)) q(x|y)/q(y|x)), with f = ``log_density``(energy, occupations) and
    the logarithm of the ratio of proposal probabilities in ``log_hastings``. The estimate and the
    numbers of calls in the Info are left for the kernel to fill in.
    """
    movable = swap.sites[:, 0] >= 0
    change = log_density(proposed.energy, proposed.occupations) - log_density(
        state.energy, state.occupations
    )
    probability = np.where(movable, np.exp(np.minimum(0.0, change + log_hastings)), 0.0)
    accepted = movable & (uniforms < probability)
    rows = accepted[:, None]
    settled = State(
        np.where(rows, proposed.occupations, state.occupations),
        np.where(accepted, proposed.energy, state.energy),
        np.where(rows[:, :, None], proposed.gradient, state.gradient),
    )
    held = np.take_along_axis(state.occupations, np.maximum(swap.sites, 0), axis=1)
    none = np.zeros(len(movable), dtype=np.int64)
    info = Info(
        accepted=accepted,
        acceptance_probability=probability,
        sites=swap.sites,
        species=swap.species,
        held=np.where(swap.sites >= 0, held, -1).astype(np.int8),
        log_density_change=np.where(movable, change, np.nan),
        estimated_change=np.full(len(movable), np.nan),
        energy_calls=none,
        gradient_calls=none,
    )
    return settled, info
