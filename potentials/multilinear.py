"""Sums over clusters of sites at continuous weights λ, in which they are multilinear."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from string import ascii_letters

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..tiling import Tiling
from .interactions import Interaction, Tables
from .mixed_energy import MixedEnergy

__all__ = ["Multilinear"]

_MOST_REMEMBERED = 2_000_000  # numbers in tables, one for every cluster of the cell


class Multilinear:
    """What a sum over clusters of sites knows beyond occupations: energies and slopes at any λ."""

    lattice: Lattice
    tiling: Tiling
    interactions: tuple[Interaction, ...]
    constant: float
    tables: Tables

    def mixed_energy(
        self, lam: np.ndarray, forces: bool = False, stress: bool = False, mixing: str = "sites"
    ) -> MixedEnergy:
        """Energy at continuous λ with ∂E/∂λ: the multilinear form itself.

        It is the mean energy of sites that are occupied independently with probabilities λ.

        Parameters
        ----------
        lam
            [n_sites, n_species_max]; zero where a species is not allowed.
        forces, stress
            There are none on a lattice.
        mixing
            ``"sites"``, the one rule there is.

        Raises
        ------
        InputError
            If the shape is another, a number is not finite or not zero where it must be, or more is
            asked for than a lattice has.
        """
        if forces or stress:
            raise InputError(
                "a sum over clusters has no forces and no stress: leave them out, or use an energy "
                "model of positions"
            )
        if mixing != "sites":
            raise InputError(f'mixing is {mixing!r}; a sum over clusters has "sites" only')
        energies, gradients = self.mixed_energies(np.asarray(lam)[None])
        return MixedEnergy(float(energies[0]), gradients[0], None, None)

    def mixed_energies(self, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n] in eV and ∂E/∂λ [n, n_sites, n_species_max] at λ of n replicas.

        Each is the same number whichever others stand beside it.

        Raises
        ------
        InputError
            If a shape is another, or a number is not finite or not zero where it must be.
        """
        allowed = np.asarray(self.lattice.allowed)
        lam = np.asarray(lam, dtype=np.float64)
        if lam.shape[1:] != allowed.shape or not np.isfinite(lam).all():
            raise InputError(
                f"lam has shape {lam.shape[1:]}; finite numbers of shape {allowed.shape} were "
                "expected"
            )
        if np.any(lam[:, ~allowed] != 0.0):
            raise InputError("lam is not zero for a species that its site may not hold")
        energies = np.full(len(lam), self.constant)
        gradients = np.zeros(lam.shape)
        if len(self.tables.field):
            field = np.asarray(self.tables.field)[self.tables.home]
            gradients += np.where(allowed, field, 0.0)
            energies += (gradients * lam).reshape(len(lam), -1).sum(axis=1)
        for table, sites in self._terms():
            parts = [
                lam[:, column, :size] for column, size in zip(sites.T, table.shape[1:], strict=True)
            ]
            for u in range(len(parts)):
                slope = _contracted(table, parts, u)
                _add_rows(gradients[:, :, : table.shape[1 + u]], sites[:, u], slope)
                if u == 0:
                    energies += (slope * parts[0]).reshape(len(lam), -1).sum(axis=1)
        return energies, gradients

    def _terms(self) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Tables [n_clusters or 1, ...] with sites [n_clusters, n], remembered if not too many."""
        entries = sum(c.table.size for c in self.interactions) * math.prod(self.tiling.shape)
        if entries <= _MOST_REMEMBERED:
            return self._stacked
        return ((table[None], sites) for table, sites in self._clusters())

    @cached_property
    def _stacked(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tables [n_clusters, ...] of one shape with their sites [n_clusters, n]."""
        found: dict[tuple[int, ...], list[tuple[np.ndarray, np.ndarray]]] = {}
        for table, sites in self._clusters():
            repeated = np.broadcast_to(table, (len(sites), *table.shape))
            found.setdefault(table.shape, []).append((repeated, sites))
        return [
            (np.concatenate([t for t, _ in parts]), np.concatenate([s for _, s in parts]))
            for parts in found.values()
        ]

    def hessian_product(self, lam: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """∂²E/∂λ² · direction in eV, [n_sites, n_species_max] like ``lam`` and ``direction``.

        A cluster in which a site meets its own image counts that site once, as it does for
        occupations, so that no site has a second derivative by itself.

        Raises
        ------
        InputError
            If a shape is not [n_sites, n_species_max] or a number is not finite.
        """
        shape = np.asarray(self.lattice.allowed).shape
        for name, values in (("lam", lam), ("direction", direction)):
            if np.shape(values) != shape or not np.isfinite(values).all():
                raise InputError(
                    f"{name} has shape {np.shape(values)}; finite numbers of shape {shape} were "
                    "expected"
                )
        product = np.zeros(shape)
        for table, sites in self._clusters():
            letters = ascii_letters[: table.ndim]
            for u, v in itertools.permutations(range(table.ndim), 2):
                operands, terms = [table], [letters]
                for w in range(table.ndim):
                    if w != u:
                        source = direction if w == v else lam
                        operands.append(source[sites[:, w], : table.shape[w]])
                        terms.append("Z" + letters[w])
                found = np.einsum(f"{','.join(terms)}->Z{letters[u]}", *operands)
                np.add.at(product[:, : table.shape[u]], sites[:, u], found)
        return product

    def _clusters(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Tables with the sites [n_clusters, n] they hold for, every site once in a cluster."""
        cells = np.array(list(itertools.product(*map(range, self.tiling.shape))))
        for cluster in self.interactions:
            places = [
                self.tiling.sites_at(cells + step, np.full(len(cells), kind))
                for step, kind in zip(cluster.cells, cluster.kinds, strict=True)
            ]
            sites = np.stack(places, axis=1)
            # Position of the first equal site, for every site of the cluster: alike in most cells.
            first = (sites[:, :, None] == sites[:, None, :]).argmax(axis=2)
            for pattern in np.unique(first, axis=0):
                here = sites[(first == pattern).all(axis=1)]
                kept = np.unique(pattern)
                source = "".join(ascii_letters[n] for n in pattern)
                target = "".join(ascii_letters[n] for n in kept)
                yield np.einsum(f"{source}->{target}", cluster.table), here[:, kept]


def _contracted(table: np.ndarray, parts: list[np.ndarray], u: int) -> np.ndarray:
    """Σ over all axes but u of T Π λ, [n, n_clusters, species of u].

    By products and sums along the last axis, whose rounding does not depend on the other rows.
    """
    order = [0, 1 + u, *(1 + w for w in range(len(parts)) if w != u)]
    found = np.ascontiguousarray(table.transpose(order))[None]
    for w in reversed([w for w in range(len(parts)) if w != u]):
        weights = parts[w].reshape(*parts[w].shape[:2], *(1,) * (found.ndim - 3), -1)
        found = (found * weights).sum(axis=-1)
    return np.broadcast_to(found, parts[u].shape)


def _add_rows(total: np.ndarray, sites: np.ndarray, values: np.ndarray) -> None:
    """Add values [n, n_clusters, k] to the rows of total [n, n_sites, k] that the sites name."""
    order = np.argsort(sites, kind="stable")
    there, starts = np.unique(sites[order], return_index=True)
    total[:, there] += np.add.reduceat(values[:, order], starts, axis=1)
