"""Broken variants of alchemical free energies that the tests must reject; each breaks one rule."""

from __future__ import annotations

import dataclasses
import math
from unittest import mock

import numpy as np

from alchemc.analysis import SolidFreeEnergy, SubstitutionFreeEnergy, VacancyFormation
from alchemc.ensembles import Biases, GibbsLambda
from alchemc.ensembles.alchemical import (
    CompactMap,
    LambdaDynamics,
    SoftmaxMap,
    Switching,
    WindowSampling,
    _hops,
)
from alchemc.ensembles.alchemical.flattening import Flattening
from alchemc.ensembles.alchemical.integrators import LambdaIntegrator


class CentreForgotten(SolidFreeEnergy):
    """Leaves out what releasing the centre adds."""

    @property
    def terms(self):
        return super().terms | {"centre released": 0.0}


class JacobianForgotten(SolidFreeEnergy):
    """Takes δ(Σu/n) for the condition on a unit normal."""

    @property
    def terms(self):
        return super().terms | {"centre held": 0.0}


class MassesTwice(SubstitutionFreeEnergy):
    """Counts the masses twice, as if the path had known half of them."""

    @property
    def terms(self):
        terms = super().terms
        return terms | {"masses": 2.0 * terms["masses"]}


class GhostKept(VacancyFormation):
    """Leaves the ghost's free energy in."""

    @property
    def terms(self):
        return super().terms | {"ghost taken away": 0.0}


class GhostUnnormalised(VacancyFormation):
    """Takes exp(−κu²/2k_BT) for a normalised density."""

    @property
    def terms(self):
        return super().terms | {"momenta": 0.0}


def reverse_measured_forward(works):
    """Counts the work of the reversed protocol against its own direction."""
    return dataclasses.replace(works, reverse=-works.reverse)


def temperature_counted_twice(record):
    """Divides by 2 k_BT where k_BT is meant."""
    return dataclasses.replace(record, temperature=2.0 * record.temperature)


def counted_as_independent(series):
    """Takes every draw of a chain as independent of the last."""
    return 1.0


class FlattensTheWrongWay(Flattening):
    """Lowers the bias of the states that were visited."""

    def after(self, probabilities, weights):
        mirrored = 2.0 / self.usable.sum(axis=1, keepdims=True) - probabilities
        return super().after(mirrored, weights)


class DrawsWithoutTheBias(GibbsLambda):
    """Draws states from the conditional of the plain ensemble."""

    @property
    def _hops(self):
        return dataclasses.replace(super()._hops, biases=Biases(self.groups))


class AcceptsEveryOtherState(GibbsLambda):
    """Draws another state than the present one and always goes there."""

    def step(self, state, rngs):
        def eager(probabilities, current, uniforms, *, metropolised):
            certain = np.column_stack([uniforms[:, 0], np.full(len(uniforms), -1.0)])
            return plain(probabilities, current, certain, metropolised=metropolised)

        plain = _hops.drawn
        with mock.patch.object(_hops, "drawn", eager):
            return super().step(state, rngs)


class LearnsInProduction(GibbsLambda):
    """Goes on flattening while samples count."""

    def step(self, state, rngs):
        flat = dataclasses.replace(self, flatten=True)
        learning = getattr(self, "_learning", None) or flat._guessed(state)[0]
        state, info, _, _, hop = learning._advance(state, rngs)
        object.__setattr__(self, "_learning", learning._flatter(hop, state))
        return state, info


class TakesTheBiasOffTheWrongWay(GibbsLambda):
    """Stores weights times exp(−βB), where exp(+βB) takes the bias off."""

    def observe(self, state):
        found = super().observe(state)
        more = np.stack(
            [
                self._hops._bias_of_states(group, state.states)
                for group in range(self.groups.n_groups)
            ],
            axis=1,
        )
        found["state_log_weight"] = found["state_log_weight"] - 2.0 * self.ensemble.beta * more
        return found


def counted_as_vertices(log_weights, states):
    """Adds the weights of states between species to those of the species nearest to them."""
    merged = np.full((*log_weights.shape[:-1], states.n_vertices), -np.inf)
    for state, species in enumerate(states.nearest):
        merged[..., species] = np.logaddexp(merged[..., species], log_weights[..., state])
    return merged


class WorkOfWrongSign(Switching):
    """Counts what the system does in place of what is done on it."""

    def _step(self, way, state, rngs):
        ended, work, heat = super()._step(way, state, rngs)
        return ended, -work, heat


class WorkAfterTheMove(Switching):
    """Takes the change of U at the configuration after the move in place of the one before."""

    def _step(self, way, state, rngs):
        ended, _, heat = super()._step(way, state, rngs)
        here, there = self._protocols[way][state.step : state.step + 2]
        return ended, self.path.energy(there, ended) - self.path.energy(here, ended), heat


class ReverseNotReversed(Switching):
    """Goes back by 1 − s(t), which is the reversed protocol of symmetric schedules alone."""

    @property
    def _protocols(self):
        return self.couplings, 1.0 - self.couplings


class ReverseFromWhereItStands(Switching):
    """Starts the reverse protocol without equilibration at its own end."""

    def _equilibrated(self, state, rngs):
        after = super()._equilibrated(state, rngs)
        return after._replace(ends=(after.ends[0], state.ends[1]))


class UnequilibratedWindows(WindowSampling):
    """Draws at once where the chains of the window before stand."""

    def _equilibrated(self, state, rngs):
        return super()._equilibrated(state._replace(step=self.equilibration - 1), rngs)

    def _moved(self, state, rngs):
        after, report = super()._moved(state, rngs)
        return after._replace(structures=state.structures), report


class SlopesOfTheNextWindow(WindowSampling):
    """Moves the chains of every window at the place of the next."""

    def _moved(self, state, rngs):
        shifted = dataclasses.replace(self, couplings=[*self.places[1:-1], 1.0 - 1e-5, 1.0])
        return WindowSampling._moved(shifted, state, rngs)


class DensityWithoutJacobian(CompactMap):
    """Gives the density in ln(λ_k/λ_m) for that in λ."""

    def density(self, weights):
        return super().density(weights) * weights.prod(axis=-1)


class UniformDensity(CompactMap):
    """Takes λ to be uniform on the simplex at zero potential."""

    def density(self, weights):
        return np.full(weights.shape[:-1], float(math.factorial(weights.shape[-1] - 1)))


class MeasureWithoutJacobian(SoftmaxMap):
    """Takes the Gamma density of exp θ for the density of θ."""

    def log_measure(self, theta):
        return super().log_measure(theta) - theta

    def log_measure_slopes(self, theta):
        return super().log_measure_slopes(theta) - 1.0


class Unadjusted(LambdaIntegrator):
    """Accepts every move, so that the time step biases what λ does."""

    def _settled(self, here, there, chance, uniforms):
        return super()._settled(here, there, np.ones_like(chance), uniforms)


class UnnormalisedNear(LambdaDynamics):
    """Leaves the normaliser Z_x of k(θ|x) out of the acceptance."""

    def _log_k(self, theta, allowed, states):
        log_z = np.broadcast_to(self.hand_over.log_z, (len(states), *self.hand_over.log_z.shape))
        own = np.take_along_axis(log_z, states[:, :, None], axis=2)[:, :, 0]
        return super()._log_k(theta, allowed, states) + own.sum(axis=1)
