"""Second derivatives of sums over clusters of sites, which are multilinear in the weights λ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from string import ascii_letters

import numpy as np

from ..errors import InputError
from ..lattice import Lattice
from ..tiling import Tiling
from .interactions import Interaction

__all__ = ["Multilinear"]


class Multilinear:
    """What a sum over clusters of sites knows beyond occupations: its Hessian in λ."""

    lattice: Lattice
    tiling: Tiling
    interactions: tuple[Interaction, ...]

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
