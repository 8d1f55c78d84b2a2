"""How positions move at a fixed occupation: hybrid Monte Carlo and molecular dynamics."""

from .hmc import HMC
from .langevin import Langevin
from .npt import NPT

__all__ = ["HMC", "NPT", "Langevin"]
