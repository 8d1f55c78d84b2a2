"""alchemc: statistical sampling of order and disorder in crystals.

The public names are loaded when they are first used, so that importing the package is instant.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AlchemcError": "alchemc.errors",
    "AlchemicalCHGNet": "alchemc.potentials",
    "AlchemicalMACE": "alchemc.potentials",
    "Annealing": "alchemc.ensembles",
    "Canonical": "alchemc.ensembles",
    "ChargeNeutral": "alchemc.ensembles",
    "ClusterExpansion": "alchemc.potentials",
    "DensityOfStates": "alchemc.density_of_states",
    "DiscreteLangevin": "alchemc.sampler",
    "GibbsWithGradients": "alchemc.sampler",
    "HybridMD": "alchemc.ensembles",
    "LambdaDynamics": "alchemc.ensembles",
    "Lattice": "alchemc.lattice",
    "Mixture": "alchemc.sampler",
    "PairHamiltonian": "alchemc.potentials",
    "PathAuxiliary": "alchemc.sampler",
    "RandomFlip": "alchemc.sampler",
    "RandomSwap": "alchemc.sampler",
    "Relaxed": "alchemc.potentials",
    "Run": "alchemc.records",
    "SemiGrandCanonical": "alchemc.ensembles",
    "Sublattice": "alchemc.lattice",
    "SurrogateChain": "alchemc.sampler",
    "TableExchange": "alchemc.sampler",
    "Tempering": "alchemc.ensembles",
    "VarianceConstrained": "alchemc.ensembles",
    "WangLandau": "alchemc.ensembles",
    "open_run": "alchemc.campaign",
    "sample": "alchemc.sampler",
    "warm_up": "alchemc.sampler",
}
_SUBPACKAGES = ("analysis", "builders", "campaign", "ensembles", "potentials", "sampler")

__all__ = ["__version__", *_HOME, *_SUBPACKAGES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"alchemc.{name}")
    raise AttributeError(f"module 'alchemc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
