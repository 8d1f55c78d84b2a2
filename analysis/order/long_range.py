"""Long-range order: amplitudes of concentration waves, normalised by what is possible."""

from __future__ import annotations

from functools import cached_property
from itertools import permutations

import numpy as np
import xarray as xr

from ...lattice import Lattice
from ..estimates import as_chains, describe, measured, sites_of
from .commensurate import OrderingVector, ordering_vector

__all__ = ["OrderMeter", "ordering_amplitude", "ordering_series"]

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
    meter = OrderMeter(lattice, ordering_vector(lattice, q, sublattice))
    result = describe(meter.labelled(measured(lattice, occupations, {"order": meter})["order"]))
    result["random"] = meter.random(np.asarray(as_chains(lattice, occupations)[0, 0]))
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
    meter = OrderMeter(lattice, ordering_vector(lattice, q, sublattice))
    return meter.labelled(measured(lattice, occupations, {"order": meter})["order"])


class OrderMeter:
    """Measures the squared amplitude of a wave in occupations [n, n_sites], as [n].

    Parameters
    ----------
    lattice
        The lattice.
    wave
        What `ordering_vector` found.
    """

    def __init__(self, lattice: Lattice, wave: OrderingVector) -> None:
        self._wave = wave
        self._sites = sites_of(lattice, wave.sublattice)
        self._n_species = len(lattice.sublattices[wave.sublattice].species)
        self._largest: dict[tuple[int, ...], float] = {}
        # Sums of ±1 are exact in single precision up to 2²⁴ sites.
        real = np.abs(wave.phases.imag).max() == 0
        parts = [wave.phases.real] if real else [wave.phases.real, wave.phases.imag]
        self._real = real and self._n_species <= MAX_SPECIES_TO_PERMUTE
        self._parts = np.concatenate(parts).T.astype(np.float32 if real else np.float64)

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        """Return the amplitude of every configuration; NaN where there is one species."""
        power, counts = self._power(flat[:, self._sites])
        kinds, which = np.unique(counts, axis=0, return_inverse=True)
        largest = np.array([self._most(row) for row in kinds])[which.ravel()]
        ratio = np.full(len(flat), np.nan)
        np.divide(power, largest, out=ratio, where=largest > 0)
        return ratio

    def labelled(self, values: np.ndarray) -> xr.DataArray:
        """Label what was measured, [draw, chain]."""
        wave = self._wave
        attrs = {
            "long_name": f"squared {wave.name} amplitude",
            "units": "1",
            "sublattice": wave.sublattice,
            "arms": wave.arms.tolist(),
            "complete_star": int(wave.complete),
            "normalisation": "1 for the most ordered single arm at this composition",
        }
        return xr.DataArray(values, dims=("draw", "chain"), attrs=attrs)

    def random(self, occupation: np.ndarray) -> float:
        """Mean over all arrangements with the counts of one occupation [n_sites].

        At fixed counts the covariance of two sites is ``−c(1 − c)/(N − 1)``, so that
        ``⟨|ψ_qk|²⟩ = c_k (1 − c_k) (1 − |Σ_i e_i / N|²)/(N − 1)``.
        """
        n_sites = len(self._sites)
        counts = np.bincount(occupation[self._sites], minlength=self._n_species)
        largest = self._most(counts)
        if n_sites < 2 or largest == 0:
            return float("nan")
        spread = (counts / n_sites * (1 - counts / n_sites)).sum() / (n_sites - 1)
        open_share = 1.0 - np.abs(self._wave.phases.mean(axis=1)) ** 2
        return float(spread * open_share.sum() / largest)

    def _power(self, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ_arms Σ_k |ψ_qk|² [n], and the counts of every species [n, n_species]."""
        n_sites = held.shape[1]
        power = np.zeros(len(held))
        counts = np.empty((len(held), self._n_species), dtype=np.int64)
        offset = self._parts.sum(axis=0, dtype=np.float64)
        for k in range(self._n_species):
            of_species = held == k
            counts[:, k] = of_species.sum(axis=1)
            sums = (of_species.astype(self._parts.dtype) @ self._parts).astype(np.float64)
            psi = (sums - counts[:, k, None] / n_sites * offset) / n_sites
            power += (psi**2).sum(axis=1)
        return power, counts

    def _most(self, counts: np.ndarray) -> float:
        """Largest Σ_k |ψ_qk|² of one arm among arrangements with these counts."""
        key = tuple(counts.tolist())
        if key not in self._largest:
            arms = self._wave.phases
            self._largest[key] = (
                max(_largest_real(arm.real, counts) for arm in arms)
                if self._real
                else float(self._of_species[:, counts].sum(axis=1).max())
            )
        return self._largest[key]

    @cached_property
    def _of_species(self) -> np.ndarray:
        """Largest |ψ_k|² of every arm for every count of a species, [arm, n_sites + 1]."""
        return np.array([_largest_of_species(arm) for arm in self._wave.phases])


# ---- the normalisation


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


def _largest_of_species(arm: np.ndarray) -> np.ndarray:
    """|ψ_k|² of one species alone for every count [n_sites + 1], on sites whose phases agree.

    In each direction the sites that point most that way come first.
    """
    directions = np.exp(1j * (2 * np.pi * (np.arange(DIRECTIONS) + 0.3) / DIRECTIONS))
    projections = (arm[None, :] * directions[:, None].conj()).real
    chosen = arm[np.argsort(-projections, axis=1, kind="stable")]
    sums = np.concatenate([np.zeros((DIRECTIONS, 1)), np.cumsum(chosen, axis=1)], axis=1)
    psi = (sums - np.arange(len(arm) + 1) * arm.mean()) / len(arm)
    return np.asarray((np.abs(psi) ** 2).max(axis=0))
