"""Free energies of discrete states of λ, from the weights that were stored while they were drawn.

A run of `GibbsLambda` stores, of every state of a group, the logarithm of its conditional
probability with the bias taken off; averages of the weights themselves are what is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import units

from ...errors import InputError
from ...statistics import MIN_ESS, RHAT_LIMIT, Summary, summary
from ...sublattice import is_number, is_whole, shown

__all__ = ["StateFreeEnergies", "state_free_energies"]

UNKNOWN = Summary(0.0, float("nan"), float("nan"), float("nan"), False)


@dataclass(frozen=True, eq=False)
class StateFreeEnergies:
    """Free energies of states, relative to one of them.

    ``states`` [n, n_groups]: what every group is in; ``free_energies`` [n] in eV per cell, +inf
    where a state was never possible; ``errors`` [n] in eV, one standard error (0 of the reference
    itself, NaN where it is unknown); ``ess`` and ``rhat`` [n], of the difference to the reference;
    ``shares`` [n] of the weight with the bias taken off; ``constant`` [n], whether the difference
    was the same in all of 100 draws or more, as where nothing else moves: it has no error then;
    ``reference``, index of the state that all are relative to; ``temperature`` in K.
    """

    states: np.ndarray
    free_energies: np.ndarray
    errors: np.ndarray
    ess: np.ndarray
    rhat: np.ndarray
    shares: np.ndarray
    constant: np.ndarray
    reference: int
    temperature: float

    @property
    def converged(self) -> np.ndarray:
        """Whether R-hat is below 1.01 and there are 100 effective samples, bool [n].

        A constant difference has nothing to converge.
        """
        found = self.constant | ((self.rhat < RHAT_LIMIT) & (self.ess >= MIN_ESS))
        found[self.reference] = True
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, and a statement in words."""
        finite = np.isfinite(self.free_energies)
        known = finite & np.isfinite(self.errors)
        doubtful = int((~self.converged & finite).sum())
        known[self.reference] = False
        constant = int(self.constant.sum())
        unknown = "none" if constant == finite.sum() - 1 else "unknown"
        largest = f"{self.errors[known].max():.2g} eV" if known.any() else unknown
        statement = (
            f"Free energies of {int(finite.sum())} states of λ at {self.temperature:g} K, relative "
            f"to state {self.states[self.reference].tolist()}: largest error {largest}"
        )
        if constant:
            statement += f"; {constant} the same in all draws, without an error"
        if doubtful:
            statement += f"; {doubtful} did not converge"
        return {
            "statement": statement + ".",
            "temperature_K": self.temperature,
            "reference": self.reference,
            "states": self.states.tolist(),
            "free_energies_eV": [float(f) if np.isfinite(f) else None for f in self.free_energies],
            "errors_eV": [float(e) if np.isfinite(e) else None for e in self.errors],
            "constant": self.constant.tolist(),
            "converged": self.converged.tolist(),
        }


def state_free_energies(
    log_weights: np.ndarray,
    temperature: float,
    *,
    lambda_state: np.ndarray | None = None,
    n_species: int | None = None,
    reference: int = 0,
) -> StateFreeEnergies:
    r"""Free energies of the states of one group, or of the joint states of several.

    .. math:: F_s − F_r = −k_BT \ln \frac{\sum_n w_{ns}}{\sum_n w_{nr}}, \qquad
              w_{ns} = p(s | x_n)\, e^{βB(s)}

    with p(s|x) the conditional probability by which the state was drawn and B the bias, both known
    for *every* state and draw n; so a draw tells of all states, not of the one that it is in alone
    (a histogram would put an indicator in the place of p). It is the estimate that MBAR makes of
    one expanded ensemble with its normalisation known. Of several groups, the states of all but
    the last one come from the histogram.

    Errors come from the series

    .. math:: y_n = w_{ns}/\bar w_s − w_{nr}/\bar w_r

    to first order, with its own autocorrelation (`alchemc.statistics.summary`).

    Parameters
    ----------
    log_weights
        ``state_log_weight`` of a run: [draw, chain, state] of one group; or
        [draw, chain, group, state] with ``lambda_state`` for the joint states of all groups.
    temperature
        K.
    lambda_state
        ``lambda_state`` of the run, [draw, chain, group].
    n_species
        How many states, from the first on, are species: the others are left out.
    reference
        Index of the state that all are relative to.

    Raises
    ------
    InputError
        If a shape does not fit, the temperature, the number of species or the reference is none,
        or a draw has no weight.

    Examples
    --------
    >>> weights = np.log(np.random.default_rng(1).dirichlet([20, 10], size=(500, 4)))
    >>> found = state_free_energies(weights, 1160.4518)  # k_BT = 0.1 eV
    >>> bool(abs(found.free_energies[1] - 0.1 * np.log(2.0)) < 4 * found.errors[1] < 0.01)
    True
    """
    weights = np.asarray(log_weights, dtype=np.float64)
    if not is_number(temperature) or temperature <= 0:
        raise InputError(f"temperature is {shown(temperature)}; give kelvin above 0")
    if weights.ndim not in (3, 4) or not weights.size:
        raise InputError(
            f"log_weights have shape {weights.shape}: give those of one group, "
            "[draw, chain, state], or of all, [draw, chain, group, state], with lambda_state"
        )
    if n_species is not None and not 1 <= _whole("n_species", n_species) <= weights.shape[-1]:
        raise InputError(f"n_species is {n_species}; give 1 to {weights.shape[-1]}, the states")
    if weights.ndim == 4:
        states, weights = _joint(weights, lambda_state, n_species)
    elif lambda_state is None:
        weights = weights[:, :, :n_species]
        states = np.arange(weights.shape[2])[:, None]
    else:
        raise InputError(
            "lambda_state belongs to the joint states of all groups, whose log_weights are "
            "[draw, chain, group, state]: give those, or leave it out for one group"
        )
    if np.isnan(weights).any() or (weights == np.inf).any():
        raise InputError("log_weights hold NaN or infinity: leave out draws without a hop")
    if _whole("reference", reference) >= len(states):
        raise InputError(f"reference is {reference}; give 0 to {len(states) - 1}, a state's index")
    if not (weights[:, :, reference] > -np.inf).any():
        raise InputError(f"state {reference} has no weight: choose another reference")
    return _estimated(states, weights, float(temperature), reference)


def _whole(name: str, value: Any) -> int:
    if not is_whole(value, least=0):
        raise InputError(f"{name} is {shown(value)}; give a whole number, 0 or more")
    return int(value)


def _joint(
    log_weights: np.ndarray, lambda_state: np.ndarray | None, n_species: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Joint states [m, group] that were met, and their log weights [draw, chain, m]."""
    if log_weights.shape[2] == 1:
        kept = slice(None, n_species)
        return np.arange(log_weights.shape[3])[kept, None], log_weights[:, :, 0, kept]
    held = None if lambda_state is None else np.asarray(lambda_state)
    if held is None or held.shape != log_weights.shape[:3]:
        raise InputError(
            "the joint states of several groups need lambda_state, of shape "
            f"{log_weights.shape[:3]}"
        )
    last = log_weights[:, :, -1, :n_species]
    others, index = np.unique(
        held[:, :, :-1].reshape(-1, held.shape[2] - 1), axis=0, return_inverse=True
    )
    index = index.reshape(held.shape[:2])
    if n_species is not None:
        species = np.flatnonzero((others < n_species).all(axis=1))
    else:
        species = np.arange(len(others))
    states = [[*others[o].tolist(), k] for o in species for k in range(last.shape[2])]
    weights = np.full((*held.shape[:2], len(species), last.shape[2]), -np.inf)
    for place, other in enumerate(species):
        here = index == other
        weights[here, place] = last[here]
    return np.array(states, dtype=np.int64), weights.reshape(*held.shape[:2], -1)


def _estimated(
    states: np.ndarray, log_weights: np.ndarray, temperature: float, reference: int
) -> StateFreeEnergies:
    """Ratios of mean weights, and their errors."""
    kT = units.kB * temperature
    largest = log_weights.max(axis=(0, 1))
    possible = largest > -np.inf
    scaled = np.exp(log_weights - np.where(possible, largest, 0.0))
    means = scaled.mean(axis=(0, 1))
    with np.errstate(divide="ignore"):
        log_means = np.log(means) + np.where(possible, largest, 0.0)
    shares = np.exp(log_means - log_means.max())
    n, constant = len(states), np.zeros(len(states), dtype=bool)
    errors, ess, rhats = np.full((3, n), np.nan)
    errors[reference] = 0.0
    anchor = scaled[:, :, reference] / means[reference]
    for state in np.flatnonzero(possible):
        if state != reference:
            series = scaled[:, :, state] / means[state] - anchor
            still = np.abs(series).max() <= 1e-12
            constant[state] = still and series.size >= MIN_ESS
            found = UNKNOWN if still else summary(series)
            errors[state], ess[state], rhats[state] = kT * found.error, found.ess, found.rhat
    return StateFreeEnergies(
        states=states,
        free_energies=kT * (log_means[reference] - log_means),
        errors=errors,
        ess=ess,
        rhat=rhats,
        shares=shares / shares.sum(),
        constant=constant,
        reference=reference,
        temperature=temperature,
    )
