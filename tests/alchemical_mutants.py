"""Broken variants of alchemical free energies that the tests must reject; each breaks one rule."""

from __future__ import annotations

import dataclasses

from alchemc.analysis import SolidFreeEnergy, SubstitutionFreeEnergy, VacancyFormation


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
