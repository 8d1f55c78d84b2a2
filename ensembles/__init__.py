"""What is sampled: target densities over occupations."""

from .canonical import Canonical
from .charge_neutral import ChargeNeutral
from .semi_grand import SemiGrandCanonical
from .variance_constrained import VarianceConstrained
from .wang_landau import WangLandau

__all__ = [
    "Canonical",
    "ChargeNeutral",
    "SemiGrandCanonical",
    "VarianceConstrained",
    "WangLandau",
]
