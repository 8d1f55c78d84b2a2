"""Eigenwaves of the interactions at every wave vector that fits the cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import InputError
from .couplings import Couplings
from .stars import Star, fitting_stars, order_name

__all__ = ["Wave", "covariance_root", "solve", "weighted"]

LIKE_ENERGIES = 1e-6  # of the largest


class Wave(NamedTuple):
    """The lowest wave of one star.

    ``q`` in units of the reciprocal wave cell, one arm of ``star``; ``energy`` λ_min(C^½ V C^½) in
    eV, negative where the disordered crystal is unstable to it at low temperature; ``energies``,
    all eigenvalues there; ``amplitudes`` complex [n_kinds, n_species_max], by how much the fraction
    of every species changes on every kind of site, largest one 1: site i of kind a changes by
    Re(A_a exp(−2πi q·r_i)). ``degenerate`` counts equal eigenvalues, any mixture of which is one.
    """

    name: str
    q: tuple[float, float, float]
    star: Star
    energy: float
    energies: np.ndarray
    amplitudes: np.ndarray
    degenerate: int


def solve(couplings: Couplings) -> tuple[tuple[Wave, ...], str]:
    """Lowest wave of every star, the most unstable first, and what was left out at q = 0."""
    root, neutral = covariance_root(couplings), _charge_vector(couplings)
    waves, left_out = [], ""
    for star in fitting_stars(couplings.lattice, couplings.crystal):
        basis = root
        if star.uniform and neutral is not None:
            basis = root @ _orthogonal_to(root.T @ neutral)
            text = "At q = 0 only changes that keep the charge neutral are compared" + (
                "." if basis.shape[1] else ", and there is none."
            )
            left_out = text if basis.shape[1] < root.shape[1] else left_out
        if basis.shape[1]:
            waves.append(_wave(couplings, star, basis))
    if not waves:
        raise InputError(
            "no wave fits this cell but a change of composition; give a larger supercell"
        )
    waves.sort(key=lambda wave: wave.energy)
    return tuple(waves), left_out


def _wave(couplings: Couplings, star: Star, root: np.ndarray) -> Wave:
    values, vectors = np.linalg.eigh(weighted(couplings.fourier(star.cartesian), root))
    arm = int(np.argmin(values[:, 0].round(9)))
    like = values[arm] < values[arm, 0] + LIKE_ENERGIES * max(np.abs(values[arm]).max(), 1e-12)
    changes = root @ vectors[arm][:, 0]
    amplitudes = np.zeros((len(couplings.crystal.first), couplings.lattice.n_species_max), complex)
    for change, contrast in zip(changes, couplings.contrasts, strict=True):
        amplitudes[contrast.kind, contrast.number] += change
        amplitudes[contrast.kind, 0] -= change
    largest = amplitudes.ravel()[np.argmax(np.abs(amplitudes).round(9))]
    amplitudes /= largest if largest else 1.0
    pattern = _pattern(couplings, star.cartesian[arm], amplitudes)
    name = order_name(couplings.lattice, pattern, star)
    q = tuple(float(x) for x in star.arms[arm])
    return Wave(name, q, star, float(values[arm, 0]), values[arm], amplitudes, int(like.sum()))  # type: ignore[arg-type]


def _pattern(couplings: Couplings, q: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Change of every site's fractions, [n_sites, n_species_max]."""
    lattice = couplings.lattice
    phases = np.exp(-2j * np.pi * (lattice.atoms.positions[lattice.sites] @ q))
    waves = amplitudes[couplings.crystal.kinds] * phases[:, None]
    real = waves.real
    return real if np.abs(real).max() > 0.1 * np.abs(waves).max() else waves.imag


def weighted(v: np.ndarray, root: np.ndarray) -> np.ndarray:
    """C^½ V C^½ without the directions that no species can take, [..., n, n]."""
    return np.asarray(root.T @ v @ root)


def covariance_root(couplings: Couplings) -> np.ndarray:
    """Columns [n_contrasts, n] with root rootᵀ = C, C_kl = c_k δ_kl − c_k c_l on a kind of site.

    Species that are not there have no column.
    """
    n = len(couplings.contrasts)
    covariance = np.zeros((n, n))
    for a, one in enumerate(couplings.contrasts):
        c = couplings.mean[couplings.crystal.first[one.kind]]
        for b, other in enumerate(couplings.contrasts):
            if one.kind == other.kind:
                same = c[one.number] if one.number == other.number else 0.0
                covariance[a, b] = same - c[one.number] * c[other.number]
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-12
    if not kept.any():
        raise InputError("every site holds one species, so there is no wave; give a mixture")
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def _charge_vector(couplings: Couplings) -> np.ndarray | None:
    """Charge that every contrast moves, in e; None where a sublattice has no charges."""
    charges = []
    for contrast in couplings.contrasts:
        of = couplings.lattice.sublattices[contrast.sublattice].charges
        if of is None:
            return None
        charges.append(of[contrast.number] - of[0])
    return np.array(charges)


def _orthogonal_to(vector: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span what is orthogonal to a vector; all where it is zero."""
    if np.abs(vector).max() < 1e-12:
        return np.eye(len(vector))
    return np.asarray(np.linalg.svd(vector[None])[2][1:].T)
