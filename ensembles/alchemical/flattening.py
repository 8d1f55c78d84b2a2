"""Biases that make all discrete states of λ equally likely, learnt while they are sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import units

from ._terms import Spread, coupled, features, terms
from .biases import Biases
from .groups import Groups

__all__ = ["Flattening"]

_FLAT = 0.5
_REMEMBERED = 10.0  # times the number of states, in steps


@dataclass(frozen=True, eq=False)
class Flattening:
    r"""Biases on their way to uniform visits of the states of every group, and of pairs of groups.

    After step t the bias gains, for every group, the sum over its features f (linear, quadratic and
    end-point terms; of pairs of groups the products of linear ones) with the coefficients

    .. math:: k_BT\, γ_t\, C^{-1} (\bar f_t − \bar f), \qquad γ_t = \max(γ, \min(1/S, 1/t)),

    where :math:`\bar f_t` is the mean of the features over the replicas, each weighed by the
    conditional probabilities of its states, and :math:`\bar f` and C are their mean and covariance
    if all S states are equally likely. So the mean of every feature comes to rest where it is that
    of a uniform distribution: at the minimum of a convex functional of the bias (Valsson and
    Parrinello 2014, doi:10.1103/PhysRevLett.113.090601). Where every state has a term of its own,
    C⁻¹(f − f̄) of state k is its indicator divided by 1/S, and the update is that of self-adjusted
    mixture sampling (Tan 2017, doi:10.1080/10618600.2015.1113975). γ starts at 1/S, a change of
    about k_BT where a chain stands still, and is halved whenever every state of every group has had
    half its share since the last time (of long waits the latest part); below 1/t it no longer
    counts (Belardinelli and Pereyra 2007, doi:10.1103/PhysRevE.75.046701).

    Parameters
    ----------
    biases
        To start from.
    table
        λ of the states, [n_states, n_species_max].
    usable
        States that a group may be in, bool [n_groups, n_states].
    temperature
        K.
    couplings
        Whether pairs of groups are flattened, too.
    steps, gain, since, visits
        t; γ; steps that count towards halving γ, and what every state has had in them,
        [n_groups, n_states].
    """

    biases: Biases
    table: np.ndarray
    usable: np.ndarray
    temperature: float
    couplings: bool = False
    steps: int = 0
    gain: float = 0.0
    since: float = 0.0
    visits: np.ndarray | None = None
    _spreads: tuple[list[Spread], list[Spread]] = field(default=((), ()), repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self._spreads[0]:  # else they came along with `replace`
            values = features(self.table)
            own = [Spread.of(values[usable]) for usable in self.usable]
            linear = [Spread.of(self.table[usable]) for usable in self.usable]
            object.__setattr__(self, "_spreads", (own, linear))

    @property
    def groups(self) -> Groups:
        """Sites that share a λ."""
        return self.biases.groups

    @property
    def largest_gain(self) -> float:
        """1/S, with S the most states of a group."""
        return float(1.0 / self.usable.sum(axis=1).max())

    # ---- updates ---------------------------------------------------------------------------

    def started(self, energies: np.ndarray) -> Flattening:
        """Return the flattening with a bias against the energies of the states, as a first guess.

        Parameters
        ----------
        energies
            eV, of every group's states, [n_groups, n_states]; what is not usable does not matter.
        """
        values = features(self.table)
        coefficients = np.zeros((len(self.usable), values.shape[1]))
        for group, usable in enumerate(self.usable):
            centred = energies[group, usable] - energies[group, usable].mean()
            varying = values[usable] - values[usable].mean(axis=0)
            coefficients[group] = -np.linalg.lstsq(varying, centred, rcond=1e-6)[0]
        return replace(self, biases=self.biases.plus(**terms(self.groups, coefficients)))

    def after(self, probabilities: np.ndarray, weights: np.ndarray) -> Flattening:
        """Return the flattening after one more step.

        Parameters
        ----------
        probabilities
            Of every group's states where they were drawn, [n_replicas, n_groups, n_states].
        weights
            λ that the step ended at, [n_replicas, n_groups, n_species_max].
        """
        steps = self.steps + 1
        late = min(self.largest_gain, 1.0 / steps)
        gain = self.gain or self.largest_gain
        shares = probabilities.mean(axis=0)
        added = self._states_update(shares, max(gain, late))
        if self.couplings and self.groups.n_groups > 1:
            rate = max(gain / (self.groups.n_groups - 1), late)
            kT = units.kB * self.temperature
            for name, values in coupled(self.groups, self._spreads[1], weights).items():
                added[name] = added.get(name, 0.0) + kT * rate * values
        visits = shares if self.visits is None else self.visits + shares
        since = self.since + 1.0
        expected = since / self.usable.sum(axis=1, keepdims=True)
        if (np.where(self.usable, visits, np.inf) >= _FLAT * expected).all():
            gain, visits, since = 0.5 * gain, np.zeros_like(visits), 0.0
        elif since * self.largest_gain >= _REMEMBERED:  # what was visited long ago tells nothing
            visits, since = 0.5 * visits, 0.5 * since
        return replace(
            self, biases=self.biases.plus(**added), steps=steps, gain=gain, since=since,
            visits=visits,
        )  # fmt: skip

    def _states_update(self, shares: np.ndarray, rate: float) -> dict[str, np.ndarray]:
        """Terms of single groups."""
        values = features(self.table)
        excess = [
            own.excess(part @ values) for own, part in zip(self._spreads[0], shares, strict=True)
        ]
        return terms(self.groups, units.kB * self.temperature * rate * np.array(excess))

    # ---- stores ----------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, Any]:
        """Biases and how far the flattening has come, as plain arrays and numbers."""
        found = {"biases": self.biases.to_arrays(), "steps": self.steps, "gain": self.gain}
        visits = np.zeros(self.usable.shape) if self.visits is None else self.visits
        return found | {"since": self.since, "visits": visits}

    def with_arrays(self, arrays: Mapping[str, Any]) -> Flattening:
        """Return the flattening with what ``to_arrays`` gave."""
        return replace(
            self,
            biases=self.biases.with_arrays(arrays["biases"]),
            steps=int(arrays["steps"]),
            gain=float(arrays["gain"]),
            since=float(arrays["since"]),
            visits=np.asarray(arrays["visits"]),
        )
