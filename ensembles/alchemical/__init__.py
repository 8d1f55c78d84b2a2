"""Composition as a dynamical variable: λ of sites and groups, and free energies along it."""

from .alchemical_path import AlchemicalPath
from .biases import Biases
from .groups import Groups
from .mixed import MixedModel
from .paths import MixturePath

__all__ = ["AlchemicalPath", "Biases", "Groups", "MixedModel", "MixturePath"]
