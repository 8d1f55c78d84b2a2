"""Composition as a dynamical variable: λ of sites and groups, and free energies along it."""

from .biases import Biases
from .groups import Groups
from .mixed import MixedModel

__all__ = ["Biases", "Groups", "MixedModel"]
