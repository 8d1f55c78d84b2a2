"""Scattering amplitudes of samples: sums over atoms, kept as means over stretches of draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from ase.data import chemical_symbols

from ...errors import InputError
from ...lattice import VACANCY, Lattice
from ...sublattice import is_number
from ..estimates import as_chains, blocks_of_draws, sites_of
from .moving import MovingAtoms
from .scattering_tables import FORM_FACTORS, LARGEST_S, NEUTRON_LENGTHS, form_factor
from .wave_vectors import WaveVectors

__all__ = ["Sample", "scattering_weights"]

MOST_NUMBERS = 20_000_000
"""A series [draw, chain, quantity] of more numbers is kept as means over stretches of draws."""

NUMBERS_AT_ONCE = 4_000_000
LEAST_BINS = 128

Weights = str | Mapping[str, float]
UNITS = {"x-ray": "electrons²", "atomic-number": "electrons²", "neutron": "fm²"}


def scattering_weights(weights: Weights, species: Sequence[str], lengths: np.ndarray) -> np.ndarray:
    """Form factors or lengths, float64 [n_species, n_q]; a vacancy scatters nothing.

    Parameters
    ----------
    weights
        "x-ray" (form factors of neutral atoms in electrons, International Tables C), "neutron"
        (bound coherent scattering lengths in fm, Sears 1992), "atomic-number" (the form factor at
        q = 0 for all q), or numbers by species.
    species
        Symbols.
    lengths
        |q| in 1/Å, [n_q].

    Raises
    ------
    InputError
        If a species is not in the table or the mapping, or q is beyond the table's range.

    Examples
    --------
    >>> scattering_weights("neutron", ["Sc", "Ta", "X"], np.zeros(1)).ravel().tolist()
    [12.29, 6.91, 0.0]
    """
    table = np.zeros((len(species), len(lengths)))
    for row, symbol in zip(table, species, strict=True):
        if symbol != VACANCY:
            row[:] = _weight(weights, symbol, lengths)
    return table


def _weight(weights: Weights, symbol: str, lengths: np.ndarray) -> np.ndarray | float:
    if isinstance(weights, Mapping):
        value = weights.get(symbol)
        if not is_number(value):
            raise InputError(
                f"weights give {value!r} for {symbol}; give a number for every species that "
                "scatters, such as {'Sc': 12.29, 'Ta': 6.91}"
            )
        return float(value)  # type: ignore[arg-type]
    if weights == "atomic-number":
        return float(chemical_symbols.index(symbol))
    if not isinstance(weights, str) or weights not in UNITS:
        raise InputError(
            f"weights = {weights!r} are unknown; give 'x-ray', 'neutron', 'atomic-number' or a "
            "mapping from species to number"
        )
    if symbol not in (NEUTRON_LENGTHS if weights == "neutron" else FORM_FACTORS):
        raise InputError(
            f"the table of weights {weights!r} lacks {symbol}; give a mapping with its number"
        )
    if weights == "neutron":
        return NEUTRON_LENGTHS[symbol]
    if lengths.max(initial=0.0) > 4 * np.pi * LARGEST_S * (1 + 1e-9):
        raise InputError(
            f"|q| = {lengths.max():.4g} 1/Å is beyond the form factors, which end at "
            f"{4 * np.pi * LARGEST_S:.4g} 1/Å (sin θ/λ = 2); give a smaller q"
        )
    return form_factor(symbol, lengths)


class _Bins(NamedTuple):
    """Stretches of draws of equal length, as nearly as the number of draws allows."""

    of_draw: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, n_draws: int, numbers_per_draw: int) -> _Bins:
        most = max(LEAST_BINS, MOST_NUMBERS // max(1, numbers_per_draw))
        number = min(n_draws, most)
        of_draw = np.arange(n_draws, dtype=np.int64) * number // n_draws
        return cls(of_draw, np.bincount(of_draw))


class Sample:
    """Amplitudes ``ρ_k(q) = Σ_{atoms of species k} exp(−2πi h·s)`` of every configuration.

    Parameters
    ----------
    lattice
        The lattice.
    occupations
        Any shape that `as_chains` takes.
    vectors
        Wave vectors that fit the cell.
    sublattices
        Whose sites scatter.
    spectators
        Whether the spectators do too.
    positions, cells
        Positions of all atoms in Å: [n_atoms, 3] once for all, or [draw, chain, n_atoms, 3] of
        every configuration, with the cells [draw, chain, 3, 3] where those vary. The lattice's
        reference unless given.

    Attributes
    ----------
    species
        Symbols of all that scatters, vacancies left out.
    counts
        Mean number of every species by sublattice, {name: {symbol: number}}.
    """

    def __init__(
        self,
        lattice: Lattice,
        occupations: xr.DataArray | np.ndarray,
        vectors: WaveVectors,
        sublattices: Sequence[str],
        *,
        spectators: bool = False,
        positions: xr.DataArray | np.ndarray | None = None,
        cells: xr.DataArray | np.ndarray | None = None,
    ) -> None:
        self.lattice, self.vectors = lattice, vectors
        self.names = list(sublattices)
        self.chains = as_chains(lattice, occupations)
        self.sites = np.concatenate([sites_of(lattice, name) for name in self.names])
        self.spectators = np.asarray(lattice.spectators if spectators else [], dtype=np.int64)
        self.species = self._all_species()
        self._label = self._labels()
        self._moving = MovingAtoms(lattice, self.shape, positions, cells)
        self._held = np.zeros((len(self.names), lattice.n_species_max))

    @property
    def n_sites(self) -> int:
        """Number of sites that intensities are divided by."""
        return len(self.sites)

    @property
    def shape(self) -> tuple[int, int]:
        """Draws and chains."""
        return self.chains.shape[0], self.chains.shape[1]

    @property
    def counts(self) -> dict[str, dict[str, float]]:
        """Mean number of every species by sublattice; known once the sample has been read."""
        return {
            name: dict(zip(self.lattice.sublattices[name].species, row.tolist(), strict=False))
            for name, row in zip(self.names, self._held, strict=True)
        }

    def _all_species(self) -> list[str]:
        found: dict[str, None] = {}
        for name in self.names:
            found.update(dict.fromkeys(self.lattice.sublattices[name].species))
        numbers = self.lattice.atoms.numbers[self.spectators]
        found.update(dict.fromkeys(chemical_symbols[z] for z in np.unique(numbers)))
        return [symbol for symbol in found if symbol != VACANCY]

    def _labels(self) -> np.ndarray:
        """Index into ``species`` of every (site, species), −1 for a vacancy."""
        rank = {symbol: k for k, symbol in enumerate(self.species)}
        table = np.full((len(self.sites), self.lattice.n_species_max), -1, dtype=np.int64)
        for row, site in zip(table, self.sites.tolist(), strict=True):
            allowed = self.lattice.species_of(site)
            row[: len(allowed)] = [rank.get(symbol, -1) for symbol in allowed]
        return table

    def _phases_of(self, draws: slice, atoms: np.ndarray) -> np.ndarray:
        """exp(−2πi h·s), complex [..., n_atoms, n_q]; of every draw and chain where atoms move."""
        where, cells = self._moving.read(draws)
        scaled = where[..., atoms, :] @ np.linalg.inv(cells)
        return np.asarray(np.exp(-2j * np.pi * (scaled @ self.vectors.indices.T)))

    def amplitudes(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Draws [n] and amplitudes of all chains there, complex [n, n_chains, n_species, n_q]."""
        atoms = np.concatenate([self.lattice.sites[self.sites], self.spectators])
        fixed = None if self._moving.moving else self._phases_of(slice(0, 1), atoms)
        n_chains, n_q = self.chains.shape[1], len(self.vectors.q)
        width = len(self.species) if fixed is not None else len(atoms)
        step = max(1, NUMBERS_AT_ONCE // (n_chains * width * n_q))
        n_draws = self.shape[0]
        self._held[:] = 0.0
        for block, flat in blocks_of_draws(self.lattice, self.chains):
            self._count(flat, n_draws * n_chains)
            held = flat[:, self.sites].reshape(-1, n_chains, len(self.sites))
            for start in range(0, len(held), step):
                draws = np.arange(block.start + start, min(block.start + start + step, block.stop))
                part = held[start : start + step]
                rows = slice(int(draws[0]), int(draws[-1]) + 1)
                phases = self._phases_of(rows, atoms) if fixed is None else fixed
                yield draws, self._summed(part, phases)

    def _summed(self, held: np.ndarray, phases: np.ndarray) -> np.ndarray:
        """ρ of configurations [n, n_chains, n_sites]."""
        n, n_chains, n_sites = held.shape
        kinds = self._label[np.arange(n_sites), held]
        result = np.zeros((n, n_chains, len(self.species), phases.shape[-1]), dtype=complex)
        of_sites, of_others = phases[..., :n_sites, :], phases[..., n_sites:, :]
        spectators = self.lattice.atoms.symbols[self.spectators]
        for k, symbol in enumerate(self.species):
            here = (kinds == k).astype(float)
            if phases.ndim == 2:
                result[:, :, k] = here @ of_sites
            else:
                result[:, :, k] = np.einsum("nci,nciq->ncq", here, of_sites)
            same = np.array([s == symbol for s in spectators], dtype=float)
            if same.any():
                result[:, :, k] += np.einsum("i,...iq->...q", same, of_others)
        return result

    def _count(self, flat: np.ndarray, total: int) -> None:
        width = self._held.shape[1]
        for s, name in enumerate(self.names):
            held = flat[:, sites_of(self.lattice, name)]
            self._held[s] += np.bincount(held.ravel(), minlength=width) / total

    def totals(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """F = Σ_k f_k ρ_k and |F|², each [bin, chain, n_q], means over stretches of draws.

        Every draw is a stretch of its own unless the series would be too large to hold.
        """
        n_draws, n_chains = self.shape
        n_q = len(self.vectors.q)
        bins = _Bins.of(n_draws, n_chains * n_q)
        field = np.zeros((len(bins.sizes), n_chains, n_q), dtype=complex)
        power = np.zeros(field.shape)
        for draws, rho in self.amplitudes():
            amplitude = np.einsum("nckq,kq->ncq", rho, weights)
            np.add.at(field, bins.of_draw[draws], amplitude)
            np.add.at(power, bins.of_draw[draws], np.abs(amplitude) ** 2)
        share = bins.sizes[:, None, None]
        return field / share, power / share

    def products(self, pairs: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        """Re ρ_a ρ_b* [bin, chain, n_pairs, n_q] and ρ_k [bin, chain, n_species, n_q]."""
        n_draws, n_chains = self.shape
        n_q = len(self.vectors.q)
        bins = _Bins.of(n_draws, n_chains * n_q * max(len(pairs), len(self.species)))
        lead = (len(bins.sizes), n_chains)
        product = np.zeros((*lead, len(pairs), n_q))
        field = np.zeros((*lead, len(self.species), n_q), dtype=complex)
        first, second = (np.array([pair[i] for pair in pairs]) for i in (0, 1))
        for draws, rho in self.amplitudes():
            both = (rho[:, :, first] * rho[:, :, second].conj()).real
            np.add.at(product, bins.of_draw[draws], both)
            np.add.at(field, bins.of_draw[draws], rho)
        share = bins.sizes[:, None, None, None]
        return product / share, field / share
