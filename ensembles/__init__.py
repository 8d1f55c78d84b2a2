"""What is sampled: target densities over occupations."""

from .canonical import Canonical
from .semi_grand import SemiGrandCanonical

__all__ = ["Canonical", "SemiGrandCanonical"]
