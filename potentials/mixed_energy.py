"""What an energy model gives at continuous λ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["MixedEnergy"]


class MixedEnergy(NamedTuple):
    """Energy at continuous λ and its derivatives.

    ``energy`` in eV; ``gradient`` ∂E/∂λ [n_sites, n_species_max] in eV; ``forces`` [n_atoms, 3] in
    eV/Å on the atoms of ``lattice.atoms`` (all species of a site share its position); ``stress``
    [3, 3] in eV/Å³ with ASE's sign, (1/V) ∂E/∂strain. What was not asked for is None.
    """

    energy: float
    gradient: np.ndarray
    forces: np.ndarray | None
    stress: np.ndarray | None
