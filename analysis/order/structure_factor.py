"""Structure factors: intensities, their Bragg and diffuse parts, and those of species pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import xarray as xr

from ...errors import InputError
from ...lattice import VACANCY, Lattice
from ..estimates import describe
from ..wording import with_error
from .amplitudes import UNITS, Sample, Weights, scattering_weights
from .statements import doubt
from .wave_vectors import WaveVectors, chosen_sublattices, wave_vectors

__all__ = ["partial_structure_factors", "structure_factor"]

SAME_PHASE = 1e-3
MOST_PHASES = 10_000_000
"""Vectors are taken in parts of so many phases of atoms, 160 MB; each part reads the samples."""


def structure_factor(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    q: Any = "rock-salt",
    weights: Weights = "x-ray",
    *,
    sublattices: str | Sequence[str] | None = None,
    spectators: bool = False,
    positions: xr.DataArray | np.ndarray | None = None,
    cells: xr.DataArray | np.ndarray | None = None,
) -> xr.Dataset:
    r"""Scattered intensity per site, ``S(q) = ⟨|Σ_i f_i(q) exp(−iq·r_i)|²⟩/N``, with errors.

    The sum runs over the N sites of the sublattices, and the spectators if asked for; a vacancy
    scatters nothing, and N counts vacant sites too. Only vectors that fit the cell have a meaning
    in a periodic crystal; others are refused.

    **Bragg and diffuse.** A translation of the parent crystal multiplies the amplitude F by a
    phase, so that in an ensemble that visits all translated copies ⟨F⟩ vanishes unless q is a
    reciprocal vector of the parent crystal. The Bragg part is ``|⟨F⟩|²/N`` there and zero
    elsewhere, the diffuse part is the rest: superlattice peaks of an ordered crystal count as
    diffuse here and grow with N, which is how to tell them. (A reference with displaced atoms has
    no translations: then ``|⟨F⟩|²/N`` is called Bragg at every q.) The Laue monotonic unit is what
    an infinite random alloy scatters at every q, ``Σ_s (N_s/N) [Σ_k c_k f_k² − (Σ_k c_k f_k)²]``
    over the sublattices s (M. von Laue, Ann. Phys. 56, 497 (1918)); for two species c(1 − c)(f_1 −
    f_2)².

    Parameters
    ----------
    lattice
        The lattice.
    occupations
        Shape [draw, chain, n_sites] (errors from the chains' autocorrelation), [n_replicas,
        n_sites] (independent replicas) or [n_sites] (no error).
    q
        A vector or several [n, 3] in units of the reciprocal cell of the parent (the pseudo-cubic
        cell of a simple cubic net of sites, else the crystal's conventional cell), or the name of
        an order, for its arms; see `ordering_vector`.
    weights
        "x-ray", "neutron", "atomic-number", or numbers by species; see `scattering_weights`.
    sublattices
        A name or names; all unless given.
    spectators
        Whether the other atoms scatter too.
    positions, cells
        Positions [n_atoms, 3] in Å in place of the reference's, or those stored with every draw
        [draw, chain, n_atoms, 3], with the cells [draw, chain, 3, 3] where they vary; q then keeps
        its indices in the moving cell.

    Returns
    -------
    Dataset over ``q`` with ``mean``, ``error``, ``ess``, ``rhat``, ``converged`` of the intensity,
    ``bragg``, ``diffuse`` and ``diffuse_error`` in the same units (electrons², fm², or those of
    the weights squared), ``laue`` (the unit), ``diffuse_laue`` and ``diffuse_laue_error`` (in it),
    ``random`` (the diffuse part of random arrangements of this cell), ``fundamental``, and the
    coordinates ``h``, ``k``, ``l`` and ``length`` (1/Å, with 2π).

    Raises
    ------
    InputError
        If q does not fit the cell (the nearest that do are listed), or a weight is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    >>> cells = np.floor(lattice.atoms.get_scaled_positions()[lattice.sites] * 2).astype(int)
    >>> rock_salt = cells.sum(axis=1) % 2
    >>> result = structure_factor(lattice, rock_salt, (0.5, 0.5, 0.5), "atomic-number")
    >>> float(result["mean"][0]), float(result["laue"][0])  # N (52/2)², and (52/2)²
    (5408.0, 676.0)
    """
    names = chosen_sublattices(lattice, sublattices)
    vectors = wave_vectors(lattice, q, names)
    atoms: dict[str, Any] = {"spectators": spectators, "positions": positions, "cells": cells}
    n_scatterers = len(lattice.atoms) if spectators else lattice.n_sites
    parts = [
        _intensities(Sample(lattice, occupations, part, names, **atoms), weights)
        for part in vectors.parts(max(1, MOST_PHASES // n_scatterers))
    ]
    result = parts[0] if len(parts) == 1 else xr.concat(parts, "q", combine_attrs="override")
    result.attrs["statement"] = _statement(result)
    return result


def _intensities(sample: Sample, weights: Weights) -> xr.Dataset:
    vectors, n_sites = sample.vectors, sample.n_sites
    factors = scattering_weights(weights, sample.species, vectors.lengths)
    field, power = sample.totals(factors)
    fundamental = _fundamental(sample.lattice, vectors)
    mean_field = np.where(fundamental, _mean(field, sample), 0.0)
    cross = 2.0 * (field * mean_field.conj()).real
    rest = np.maximum(power - cross + np.abs(mean_field) ** 2, 0.0) / n_sites
    rest[rest < 1e-12 * power.max() / n_sites] = 0.0
    units = UNITS.get(weights, "weights²") if isinstance(weights, str) else "weights²"
    coords = _coordinates(vectors)
    dims = ("draw", "chain", "q")
    attrs = {
        "long_name": "scattered intensity per site",
        "units": units,
        "weights": weights if isinstance(weights, str) else "given",
        "sublattices": list(sample.names),
    }
    result = describe(xr.DataArray(power / n_sites, dims=dims, coords=coords, attrs=attrs))
    diffuse = describe(xr.DataArray(rest, dims=dims, coords=coords))
    laue, random = _random_alloy(sample, factors)
    result["bragg"] = ("q", np.abs(mean_field) ** 2 / n_sites, {"units": units})
    result["diffuse"] = diffuse["mean"].assign_attrs(units=units)
    result["diffuse_error"] = diffuse["error"].assign_attrs(units=units)
    result["diffuse_converged"] = diffuse["converged"]
    result["laue"] = ("q", laue, {"units": units, "long_name": "Laue monotonic unit"})
    with np.errstate(divide="ignore", invalid="ignore"):
        result["diffuse_laue"] = ("q", diffuse["mean"].to_numpy() / laue, {"units": "1"})
        result["diffuse_laue_error"] = ("q", diffuse["error"].to_numpy() / laue, {"units": "1"})
    result["random"] = ("q", random, {"units": units})
    result["fundamental"] = ("q", fundamental)
    return result


def _statement(table: xr.Dataset) -> str:
    """Tell the strongest point that is no reciprocal vector of the parent crystal."""
    values = np.where(table["fundamental"], -np.inf, table["diffuse_laue"])
    if not np.isfinite(values).any():
        return "All of these are reciprocal vectors of the parent crystal, or nothing contrasts."
    row = table.isel(q=int(np.nanargmax(values)))
    found = with_error(float(row["diffuse_laue"]), float(row["diffuse_laue_error"]))
    return (
        f"Of the points that are no reciprocal vectors of the parent crystal, {row['q'].item()} "
        f"scatters most: {found} Laue units. Short-range order has there what does not depend on "
        f"the cell; a superlattice peak grows with the number of sites.{doubt(row)}"
    )


def _mean(field: np.ndarray, sample: Sample) -> np.ndarray:
    """Mean over all draws and chains; the stretches differ in length by one draw at most."""
    n_bins, n_draws = len(field), sample.shape[0]
    sizes = np.bincount(np.arange(n_draws, dtype=np.int64) * n_bins // n_draws)
    return np.asarray(np.average(field.mean(axis=1), axis=0, weights=sizes))


def _coordinates(vectors: WaveVectors) -> dict[str, Any]:
    h, k, m = vectors.q.T
    return {
        "q": vectors.labels,
        "h": ("q", h, {"units": "reciprocal cell of the parent"}),
        "k": ("q", k, {"units": "reciprocal cell of the parent"}),
        "l": ("q", m, {"units": "reciprocal cell of the parent"}),
        "length": ("q", vectors.lengths, {"units": "1/Å"}),
    }


def _fundamental(lattice: Lattice, vectors: WaveVectors) -> np.ndarray:
    """Whether q is a reciprocal vector of the parent: one phase on every translation class."""
    scaled = lattice.atoms.cell.scaled_positions(lattice.atoms.positions[lattice.sites])
    phases = np.exp(-2j * np.pi * (scaled @ vectors.indices.T))
    _, first = np.unique(lattice.translation_classes, return_index=True)
    reference = phases[first[lattice.translation_classes]]
    return np.asarray(np.abs(phases - reference).max(axis=0) < SAME_PHASE)


def _random_alloy(sample: Sample, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Laue unit, and the diffuse intensity per site of random arrangements of this cell, [n_q].

    At fixed counts the covariance of two of N_s sites is −variance/(N_s − 1), so that a sublattice
    gives ``variance (N_s² − |Σ_i e_i|²)/(N_s − 1)``.
    """
    lattice, vectors = sample.lattice, sample.vectors
    rank = {symbol: k for k, symbol in enumerate(sample.species)}
    scaled = lattice.atoms.cell.scaled_positions(lattice.atoms.positions[lattice.sites])
    laue, random = np.zeros(len(vectors.q)), np.zeros(len(vectors.q))
    for name, counts in sample.counts.items():
        sites = np.flatnonzero(lattice.sublattice_of_site == lattice.names.index(name))
        n = len(sites)
        zero = np.zeros(len(vectors.q))
        values = np.array([zero if s == VACANCY else factors[rank[s]] for s in counts])
        shares = np.array(list(counts.values())) / n
        variance = shares @ values**2 - (shares @ values) ** 2
        total = np.abs(np.exp(-2j * np.pi * (scaled[sites] @ vectors.indices.T)).sum(axis=0)) ** 2
        laue += n * variance
        random += variance * (n**2 - total) / max(n - 1, 1)
    return laue / sample.n_sites, random / sample.n_sites


# ---- partials


def partial_structure_factors(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    q: Any = "rock-salt",
    normalisation: str = "number",
    *,
    sublattices: str | Sequence[str] | None = None,
    spectators: bool = False,
    positions: xr.DataArray | np.ndarray | None = None,
    cells: xr.DataArray | np.ndarray | None = None,
) -> xr.Dataset:
    r"""Structure factors of species pairs, ``S_ab(q) = Re⟨ρ_a ρ_b*⟩/N``, with errors.

    With ``ρ_a(q) = Σ_{i holds a} exp(−iq·r_i)``; they give every intensity,
    ``S(q) = Σ_a Σ_b f_a f_b S_ab(q)``, where a pair a ≠ b is counted twice. Normalisations, with c
    the number of atoms of a species divided by N:

    - "number": S_ab as above. mchammer's ``StructureFactorObserver`` divides by ``Σ_i f_i²`` in
      place of N and counts unlike pairs twice: with form factors of one, on one sublattice without
      vacancies, it gives S_aa and 2 S_ab.
    - "ashcroft-langreth": ``S_ab/√(c_a c_b)`` (N. W. Ashcroft and D. C. Langreth, Phys. Rev. 159,
      500 (1967), doi:10.1103/PhysRev.159.500).
    - "faber-ziman": ``1 + (S_ab − c_a δ_ab)/(c_a c_b)`` (T. E. Faber and J. M. Ziman, Philos. Mag.
      11, 153 (1965), doi:10.1080/14786436508211931).
    - "concentration": ``Re⟨Δρ_a Δρ_b*⟩/N`` with Δρ = ρ − ⟨ρ⟩ at the reciprocal vectors of the
      parent crystal and ρ elsewhere. For two species on one sublattice and no vacancies all of them
      are ± the concentration–concentration one of A. B. Bhatia and D. E. Thornton (Phys. Rev. B 2,
      3004 (1970), doi:10.1103/PhysRevB.2.3004), which is c(1 − c) in a random alloy.

    Parameters
    ----------
    lattice, occupations, q, sublattices, spectators, positions, cells
        As for `structure_factor`.
    normalisation
        One of those above.

    Returns
    -------
    Dataset over (pair, q) with ``mean``, ``error``, ``ess``, ``rhat``, ``converged``, and the
    coordinates ``species_a``, ``species_b`` besides those of `structure_factor`. Pairs with a
    species that never occurs are NaN where its concentration is divided by.

    Raises
    ------
    InputError
        As for `structure_factor`, and for an unknown normalisation.
    """
    if normalisation not in _NORMALISATIONS:
        raise InputError(
            f"normalisation {normalisation!r} is unknown; give one of {', '.join(_NORMALISATIONS)}"
        )
    names = chosen_sublattices(lattice, sublattices)
    vectors = wave_vectors(lattice, q, names)
    sample = Sample(
        lattice, occupations, vectors, names,
        spectators=spectators, positions=positions, cells=cells,
    )  # fmt: skip
    pairs = list(combinations_with_replacement(range(len(sample.species)), 2))
    products, field = sample.products(pairs)
    if normalisation == "concentration":
        mean = np.where(_fundamental(lattice, vectors), _mean(field, sample), 0.0)
        for p, (a, b) in enumerate(pairs):
            products[:, :, p] -= (field[:, :, a] * mean[b].conj()).real
            products[:, :, p] -= (mean[a] * field[:, :, b].conj()).real
            products[:, :, p] += (mean[a] * mean[b].conj()).real
    series = products / sample.n_sites
    shares = _shares(sample)
    for p, (a, b) in enumerate(pairs):
        scale = shares[a] * shares[b]
        with np.errstate(divide="ignore", invalid="ignore"):
            if normalisation == "ashcroft-langreth":
                series[:, :, p] /= np.sqrt(scale)
            elif normalisation == "faber-ziman":
                series[:, :, p] = 1.0 + (series[:, :, p] - shares[a] * (a == b)) / scale
    species = [(sample.species[a], sample.species[b]) for a, b in pairs]
    coords = {
        "pair": [f"{a}–{b}" for a, b in species],
        "species_a": ("pair", [a for a, _ in species]),
        "species_b": ("pair", [b for _, b in species]),
        **_coordinates(vectors),
    }
    attrs = {"long_name": f"partial structure factor ({normalisation})", "units": "1"}
    return describe(
        xr.DataArray(series, dims=("draw", "chain", "pair", "q"), coords=coords, attrs=attrs)
    )


_NORMALISATIONS = ("number", "ashcroft-langreth", "faber-ziman", "concentration")


def _shares(sample: Sample) -> np.ndarray:
    """Atoms of every species per site, spectators included, [n_species]."""
    held = np.zeros(len(sample.species))
    symbols = list(sample.lattice.atoms.symbols[sample.spectators])
    for k, symbol in enumerate(sample.species):
        on_sites = sum(counts.get(symbol, 0.0) for counts in sample.counts.values())
        held[k] = on_sites + symbols.count(symbol)
    return held / sample.n_sites
