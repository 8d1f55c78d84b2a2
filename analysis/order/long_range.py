"""Long-range order: amplitudes of concentration waves, normalised by what is possible."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import xarray as xr

from ...lattice import Lattice
from ..estimates import as_chains, blocks_of_draws, describe, sites_of
from .commensurate import OrderingVector, ordering_vector

__all__ = ["ordering_amplitude", "ordering_series"]

MAX_SPECIES_TO_PERMUTE = 7
DIRECTIONS = 720


def ordering_amplitude(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    q: str | tuple[float, float, float] = "rock-salt",
    sublattice: str | None = None,
) -> xr.Dataset:
    r"""Squared amplitude of an ordering wave, summed over its star, with errors.

    With ``ψ_qk = (1/N) Σ_i (σ_ik − c_k) exp(−2πi q·r_i)`` for species k on the N sites of the
    sublattice, the result is ``Σ_{arms q} Σ_k |ψ_qk|² / M``, where M is the largest value that one
    arm can take at the composition of the sample. So perfect order is 1, at any composition: for
    two species 50:50, M = 1/2 (1/4 for each). M is exact for two species, and for any number of
    them if the wave is ±1 on all sites, as the named ones are; otherwise it is an upper bound. The
    sum exceeds 1 only if several arms are fully ordered at once, possible off 50:50.

    A random arrangement has on average the value stored as ``random``, not zero.

    Parameters
    ----------
    lattice
        The lattice; waves refer to its reference positions.
    occupations
        Shape [draw, chain, n_sites] (errors from the chains' autocorrelation), [n_replicas,
        n_sites] (independent replicas) or [n_sites] (no error).
    q
        "rock-salt", "layered", "columnar", or a vector; see `ordering_vector`.
    sublattice
        Its name; may be left out if the lattice has only one.

    Returns
    -------
    Dataset with the scalars ``mean``, ``error``, ``ess``, ``rhat``, ``converged`` and ``random``.

    Raises
    ------
    InputError
        If q does not fit the cell (the nearest that do are listed) or is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> cells = np.floor(lattice.atoms.get_scaled_positions()[lattice.sites] * 2).astype(int)
    >>> rock_salt = cells.sum(axis=1) % 2
    >>> float(ordering_amplitude(lattice, rock_salt, "rock-salt")["mean"])
    1.0
    >>> float(ordering_amplitude(lattice, rock_salt, "layered")["mean"])
    0.0
    """
    wave = ordering_vector(lattice, q, sublattice)
    chains = as_chains(lattice, occupations)
    result = describe(_series(lattice, chains, wave))
    result["random"] = _random_value(lattice, chains, wave)
    return result


def ordering_series(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    q: str | tuple[float, float, float] = "rock-salt",
    sublattice: str | None = None,
) -> xr.DataArray:
    """Squared ordering amplitude of every sample; see `ordering_amplitude` for the definition.

    Parameters
    ----------
    lattice, occupations, q, sublattice
        As for `ordering_amplitude`.

    Returns
    -------
    Array over (draw, chain).
    """
    wave = ordering_vector(lattice, q, sublattice)
    return _series(lattice, as_chains(lattice, occupations), wave)


def _series(lattice: Lattice, chains: np.ndarray, wave: OrderingVector) -> xr.DataArray:
    sites, n_species = _of_sublattice(lattice, wave)
    values = np.empty(chains.shape[:2])
    for block, flat in blocks_of_draws(lattice, chains):
        power, counts = _power(flat[:, sites], wave.phases, n_species)
        kinds, which = np.unique(counts, axis=0, return_inverse=True)
        largest = np.array([_largest_power(wave.phases, row) for row in kinds])[which.ravel()]
        ratio = np.full(len(flat), np.nan)
        np.divide(power, largest, out=ratio, where=largest > 0)
        values[block] = ratio.reshape(-1, chains.shape[1])
    attrs = {
        "long_name": f"squared {wave.name} amplitude",
        "units": "1",
        "sublattice": wave.sublattice,
        "arms": wave.arms.tolist(),
        "complete_star": int(wave.complete),
        "normalisation": "1 for the most ordered single arm at this composition",
    }
    return xr.DataArray(values, dims=("draw", "chain"), attrs=attrs)


def _of_sublattice(lattice: Lattice, wave: OrderingVector) -> tuple[np.ndarray, int]:
    return sites_of(lattice, wave.sublattice), len(lattice.sublattices[wave.sublattice].species)


def _power(flat: np.ndarray, phases: np.ndarray, n_species: int) -> tuple[np.ndarray, np.ndarray]:
    """Σ_arms Σ_k |ψ_qk|² [n], and the counts of every species [n, n_species]."""
    n_sites = flat.shape[1]
    power = np.zeros(len(flat))
    counts = np.empty((len(flat), n_species), dtype=np.int64)
    offset = phases.sum(axis=1)
    for k in range(n_species):
        held = (flat == k).astype(float)
        counts[:, k] = held.sum(axis=1)
        psi = (held @ phases.T - counts[:, k, None] / n_sites * offset) / n_sites
        power += (np.abs(psi) ** 2).sum(axis=1)
    return power, counts


def _random_value(lattice: Lattice, chains: np.ndarray, wave: OrderingVector) -> float:
    """Mean over all arrangements with the counts of the first sample.

    At fixed counts the covariance of two sites is ``−c(1 − c)/(N − 1)``, so that
    ``⟨|ψ_qk|²⟩ = c_k (1 − c_k) (1 − |Σ_i e_i / N|²)/(N − 1)``.
    """
    sites, n_species = _of_sublattice(lattice, wave)
    n_sites = len(sites)
    counts = np.bincount(np.asarray(chains[0, 0])[sites], minlength=n_species)
    largest = _largest_power(wave.phases, counts)
    if n_sites < 2 or largest == 0:
        return float("nan")
    spread = (counts / n_sites * (1 - counts / n_sites)).sum() / (n_sites - 1)
    open_share = 1.0 - np.abs(wave.phases.mean(axis=1)) ** 2
    return float(spread * open_share.sum() / largest)


# ---- the normalisation


def _largest_power(phases: np.ndarray, counts: np.ndarray) -> float:
    """Largest Σ_k |ψ_qk|² of one arm among arrangements with these counts."""
    if np.abs(phases.imag).max() == 0 and len(counts) <= MAX_SPECIES_TO_PERMUTE:
        return max(_largest_real(arm.real, counts) for arm in phases)
    return max(sum(_largest_of_species(arm, n) for n in counts) for arm in phases)


def _largest_real(arm: np.ndarray, counts: np.ndarray) -> float:
    """Exact for phases ±1: a convex function is largest where at most one species is split."""
    n_sites = len(arm)
    room = int((arm > 0).sum())
    best = 0.0
    for order in permutations(range(len(counts))):
        up, left = np.zeros(len(counts)), room
        for k in order:
            up[k] = min(counts[k], left)
            left -= int(up[k])
        psi = (2 * up - counts - counts / n_sites * arm.sum()) / n_sites
        best = max(best, float((psi**2).sum()))
    return best


def _largest_of_species(arm: np.ndarray, count: int) -> float:
    """|ψ_k|² of one species alone, put on the sites whose phases point one way."""
    directions = np.exp(1j * (2 * np.pi * (np.arange(DIRECTIONS) + 0.3) / DIRECTIONS))
    projections = (arm[None, :] * directions[:, None].conj()).real
    chosen = np.argsort(-projections, axis=1, kind="stable")[:, :count]
    psi = (arm[chosen].sum(axis=1) - count * arm.mean()) / len(arm)
    return float((np.abs(psi) ** 2).max())
