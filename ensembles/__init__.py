"""What is sampled: target densities over occupations."""

from .annealing import Annealing, Lowest, lowest
from .canonical import Canonical
from .charge_neutral import ChargeNeutral
from .semi_grand import SemiGrandCanonical
from .tempering import Tempering
from .variance_constrained import VarianceConstrained
from .wang_landau import WangLandau

__all__ = [
    "Annealing",
    "Canonical",
    "ChargeNeutral",
    "Lowest",
    "SemiGrandCanonical",
    "Tempering",
    "VarianceConstrained",
    "WangLandau",
    "lowest",
]
