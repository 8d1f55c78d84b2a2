"""Energy models over occupations: alchemical machine-learning potentials, lattice Hamiltonians.

The public names are loaded when they are first used; torch and mace come with them.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "AlchemicalCHGNet": "alchemical_chgnet",
    "AlchemicalMACE": "alchemical_mace",
    "ClusterExpansion": "cluster_expansion",
    "Domain": "domain",
    "DomainCheck": "domain",
    "LatticeHamiltonian": "lattice_hamiltonian",
    "ModelEntry": "catalogue",
    "ModelInfo": "loading",
    "OccupationCalculator": "calculator",
    "PairExpansion": "pair_expansion",
    "PairHamiltonian": "pair_hamiltonian",
    "Relaxed": "relaxed",
    "check_domain": "domain",
    "choose_placement": "placement",
    "domain_of": "domain",
    "list_models": "catalogue",
    "load_mace": "loading",
    "save_mace": "storage",
    "taylor_expansion": "response",
}

__all__ = ["POTENTIALS", *_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name == "POTENTIALS":
        return {
            "chgnet": __getattr__("AlchemicalCHGNet"),
            "mace": __getattr__("AlchemicalMACE"),
        }
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
