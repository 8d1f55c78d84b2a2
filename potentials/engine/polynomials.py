"""MACE's symmetric contraction as nested polynomials with one set of coefficients per element."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from .._mace import MaceModule

__all__ = ["Polynomials", "read_contraction"]

_HIGHEST = 3


class Polynomials(NamedTuple):
    """Out_o = Σ A_i (w + Σ A_j (w + Σ A_k w)) over the rows of three tables.

    ``first`` int32 [n, 5]: component of the result, i, index of w or −1, bounds in ``second``;
    ``second`` [n, 4]: j, index of w or −1, bounds in ``third``; ``third`` [n, 2]: k, index of w.
    ``weights`` [n_elements, n_weights, C]; ``n_out`` components come out.
    """

    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    weights: np.ndarray
    n_out: int


def read_contraction(product: MaceModule, elements: np.ndarray) -> Polynomials | None:
    """Polynomials of a product block for some elements; None where its order is above three.

    Monomials that differ by the order of their factors are one, so of the 4,096 products of three
    among the sixteen components of ℓ ≤ 3 the 77 that enter an invariant remain.
    """
    terms: list[tuple[int, tuple[int, ...], np.ndarray]] = []
    start = 0
    for block in product.symmetric_contractions.contractions:
        if block.correlation > _HIGHEST:
            return None
        if product.use_agnostic_product:
            elements = np.zeros_like(elements)
        n_out = 1
        for order in range(1, block.correlation + 1):
            basis = block.U_tensors(order).detach().cpu().double().numpy()
            if basis.ndim == order + 1:
                basis = basis[None]
            n_out = len(basis)
            weights = _weights_of(block, order)
            if weights.size == 0:  # a parameter that is there in name only
                continue
            weights = weights[elements]
            for o in range(n_out):
                for factors, coefficients in _monomials(basis[o]).items():
                    values = np.einsum("p,epc->ec", coefficients, weights)
                    terms.append((start + o, factors, values))
        start += n_out
    return _nested(terms, start)


def _weights_of(block: MaceModule, order: int) -> np.ndarray:
    if order == block.correlation:
        found = block.weights_max
    else:
        found = block.weights[block.correlation - order - 1]
    return np.asarray(found.detach().cpu().double().numpy())


def _monomials(basis: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """Coefficients [n_paths] of every product of components, whatever the order of factors."""
    found: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.zeros(basis.shape[-1]))
    for place in np.argwhere(np.any(basis != 0.0, axis=-1)):
        found[tuple(sorted(int(n) for n in place))] += basis[tuple(place)]
    return found


def _nested(terms: list[tuple[int, tuple[int, ...], np.ndarray]], n_out: int) -> Polynomials:
    tree: dict[tuple[int, ...], dict[str, object]] = {}
    weights: list[np.ndarray] = []
    leaf: dict[tuple[int, ...], int] = {}
    for o, factors, values in terms:
        leaf[(o, *factors)] = len(weights)
        weights.append(values)
        for depth in range(2, len(factors) + 2):
            tree.setdefault((o, *factors)[:depth], {})
    paths = sorted(tree)
    children: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
    for path in paths:
        children[path[:-1]].append(path)
    first: list[tuple[int, ...]] = []
    second: list[tuple[int, ...]] = []
    third: list[tuple[int, ...]] = []
    for path in (p for p in paths if len(p) == 2):
        begin = len(second)
        for child in children[path]:
            start = len(third)
            third += [(grand[-1], leaf[grand]) for grand in children[child]]
            second.append((child[-1], leaf.get(child, -1), start, len(third)))
        first.append((*path, leaf.get(path, -1), begin, len(second)))
    return Polynomials(
        np.array(first, dtype=np.int32).reshape(-1, 5),
        np.array(second, dtype=np.int32).reshape(-1, 4),
        np.array(third, dtype=np.int32).reshape(-1, 2),
        np.ascontiguousarray(np.moveaxis(np.array(weights), 0, 1)),
        n_out,
    )
