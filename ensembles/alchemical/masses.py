"""Fictitious masses of free coordinates from the curvature of the energy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .groups import Groups
from .maps import SimplexMap

__all__ = ["curvature_masses"]


def curvature_masses(
    hamiltonian: Any, groups: Groups, simplex: SimplexMap, beta: float
) -> tuple[np.ndarray, int]:
    r"""Masses of θ with which all coordinates swing about as fast, and the Hessian products spent.

    With λ between the species in equal parts, h_gk the spread of the gradient within a group and
    H_gk = ∂²E/∂λ_gk², both averaged over the groups of a sublattice, the energy has a curvature of
    about (v′/4)²|H| + (v′²/10) h in θ; the measure's is 1:

    .. math:: m_{gk} = 1 + β \big[ \tfrac{1}{16} v′^2 |H_{gk}| + \tfrac{1}{10} v′^2 h_{gk} \big].

    H comes from Hessian products with random signs on the groups of a sublattice, one product per
    sublattice and species (Hutchinson 1990, doi:10.1080/03610919008812866). Models without them
    are taken to have none. Masses change no average.

    Parameters
    ----------
    hamiltonian
        With ``mixed_energy``, and ``hessian_product`` if it has it.
    groups
        Sites that share a λ.
    simplex
        Map, for its steepest v′.
    beta
        1/eV.

    Returns
    -------
    masses, hessian_products
        [n_groups, n_species_max], and their number.
    """
    allowed = groups.allowed
    middle = allowed / allowed.sum(axis=1, keepdims=True)
    lam = groups.lam(middle, np.zeros(groups.lattice.n_sites, dtype=np.int64))
    gradient = groups.gather(hamiltonian.mixed_energy(lam, forces=False, stress=False).gradient)
    mean = (middle * gradient).sum(axis=1, keepdims=True)
    slopes = np.where(allowed, np.abs(gradient - mean), 0.0)
    curvatures, products = np.zeros(allowed.shape), 0
    signs = np.random.Generator(np.random.PCG64(0)).choice([-1.0, 1.0], size=groups.n_groups)
    spread = np.zeros(allowed.shape)
    for n in np.unique(groups.sublattice_of_group):
        here = np.flatnonzero(groups.sublattice_of_group == n)
        spread[here] = slopes[here].mean(axis=0)
        if not hasattr(hamiltonian, "hessian_product"):
            continue
        for k in np.flatnonzero(allowed[here[0]]):
            direction = np.zeros(allowed.shape)
            direction[here, k] = signs[here]
            vacant = groups.lam(direction, np.zeros(groups.lattice.n_sites, dtype=np.int64))
            vacant[groups.group_of_site < 0] = 0.0
            product = groups.gather(hamiltonian.hessian_product(lam, vacant))
            products += 1
            curvatures[here, k] = np.abs((signs[here] * product[here, k]).mean())
    steepest = simplex.steepest**2
    return 1.0 + beta * steepest * (curvatures / 16.0 + spread / 10.0), products
