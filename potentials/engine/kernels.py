"""Compiled loops of the MACE engine. Channels come last and are contiguous in every array.

Every result is a sum over one row's own numbers in one fixed order, so a row comes out bit for bit
the same whichever rows are computed beside it, in whatever chunk and by whatever thread.
"""

# mypy: disallow_untyped_defs=False

from __future__ import annotations

import math

from ..compilation import compiled_fused

__all__ = [
    "add_pairs",
    "add_table",
    "contract",
    "contract_backward",
    "densities",
    "gather_backward",
    "message",
    "mix",
    "read_out",
    "read_out_backward",
    "receivers_of",
]


@compiled_fused
def message(
    position, local, n_rows, bounds, sender, place, first_row, n_species, dependent, present,
    radial, angular, paths, features, scratch, out,
):  # fmt: skip
    """Σ over edges of radial × angular × sender's features, [n_rows, n_mid, C].

    ``paths`` [n, 3]: path, component of the sender and of the message, sorted; ``angular``
    [n_places, n]: their coefficients; ``radial`` [rows, n_paths × C].
    """
    channels = features.shape[2]
    n_terms = paths.shape[0]
    for r in range(n_rows):
        for m in range(out.shape[1]):
            for c in range(channels):
                out[r, m, c] = 0
        p = position[r]
        for e in range(bounds[p], bounds[p + 1]):
            j = sender[e]
            held = present[j]
            if held < 0:
                continue
            g = place[e]
            row = first_row[g]
            if dependent:
                row += held * n_species[p] + local[r]
            before = -1
            component = -1
            for t in range(n_terms):
                path = paths[t, 0]
                if path != before or paths[t, 1] != component:
                    before = path
                    component = paths[t, 1]
                    for c in range(channels):
                        scratch[c] = radial[row, path * channels + c] * features[j, component, c]
                weight = angular[g, t]
                m = paths[t, 2]
                for c in range(channels):
                    out[r, m, c] += weight * scratch[c]


@compiled_fused
def gather_backward(
    position, local, n_rows, bounds, edges, receiver, place, first_row, n_species, dependent,
    present, radial, angular, paths, adjoint, scratch, out,
):  # fmt: skip
    """Transpose of :func:`message`: what receivers' adjoints say of a sender, [n_rows, n, C].

    ``bounds`` and ``edges`` list the edges by sender; ``adjoint`` is by position.
    """
    channels = adjoint.shape[2]
    n_terms = paths.shape[0]
    for r in range(n_rows):
        for m in range(out.shape[1]):
            for c in range(channels):
                out[r, m, c] = 0
        p = position[r]
        for index in range(bounds[p], bounds[p + 1]):
            e = edges[index]
            i = receiver[e]
            held = present[i]
            if held < 0:
                continue
            g = place[e]
            row = first_row[g]
            if dependent:
                row += local[r] * n_species[i] + held
            t = 0
            while t < n_terms:
                path = paths[t, 0]
                component = paths[t, 1]
                for c in range(channels):
                    scratch[c] = 0
                while t < n_terms and paths[t, 0] == path and paths[t, 1] == component:
                    weight = angular[g, t]
                    m = paths[t, 2]
                    for c in range(channels):
                        scratch[c] += weight * adjoint[i, m, c]
                    t += 1
                for c in range(channels):
                    out[r, component, c] += radial[row, path * channels + c] * scratch[c]


@compiled_fused
def add_table(
    position, local, n_rows, bounds, sender, place, first_row, n_species, dependent, present,
    environment, base, table, out,
):  # fmt: skip
    """Add up a position's spectators and one table row per occupied site around it.

    ``environment`` [n_positions]: first row in ``base``, one more per species of the receiver
    where that matters; ``table`` [rows, n_mid × C].
    """
    width = base.shape[1]
    for r in range(n_rows):
        p = position[r]
        own = environment[p]
        if dependent:
            own += local[r]
        for c in range(width):
            out[r, c] = base[own, c]
        for e in range(bounds[p], bounds[p + 1]):
            held = present[sender[e]]
            if held < 0:
                continue
            row = first_row[place[e]]
            if dependent:
                row += held * n_species[p] + local[r]
            else:
                row += held
            for c in range(width):
                out[r, c] += table[row, c]


@compiled_fused
def densities(
    position, local, n_rows, bounds, sender, place, first_row, n_species, dependent, present,
    values, out,
):  # fmt: skip
    """Σ over edges of one number per edge and pair of species, float64 [n_rows]."""
    for r in range(n_rows):
        p = position[r]
        total = 0.0
        for e in range(bounds[p], bounds[p + 1]):
            held = present[sender[e]]
            if held < 0:
                continue
            row = first_row[place[e]]
            if dependent:
                row += held * n_species[p] + local[r]
            total += values[row]
        out[r] = total


@compiled_fused
def add_pairs(
    position, local, n_rows, bounds, edges, receiver, place, first_row, n_species, dependent,
    present, values, adjoint, out,
):  # fmt: skip
    """Add Σ over a sender's edges of a number per edge × the receiver's adjoint, [n_rows]."""
    for r in range(n_rows):
        p = position[r]
        total = 0.0
        for index in range(bounds[p], bounds[p + 1]):
            e = edges[index]
            i = receiver[e]
            held = present[i]
            if held < 0:
                continue
            row = first_row[place[e]]
            if dependent:
                row += local[r] * n_species[i] + held
            total += values[row] * adjoint[i]
        out[r] += total


@compiled_fused
def mix(given, element, n_rows, matrices, entries, out):
    """Mix channels: out[r, o] = Σ given[r, i] @ matrices[element[r], w] over entries (i, o, w).

    ``entries`` are sorted by o; components of ``out`` that no entry names become zero.
    """
    n_in = given.shape[2]
    n_out = out.shape[2]
    for r in range(n_rows):
        for m in range(out.shape[1]):
            for c in range(n_out):
                out[r, m, c] = 0
    for t in range(entries.shape[0]):
        i, o, w = entries[t, 0], entries[t, 1], entries[t, 2]
        r = 0
        while r < n_rows:
            e = element[r]
            if (
                r + 3 < n_rows
                and element[r + 1] == e
                and element[r + 2] == e
                and (element[r + 3] == e)
            ):
                for k in range(n_in):
                    a0 = given[r, i, k]
                    a1 = given[r + 1, i, k]
                    a2 = given[r + 2, i, k]
                    a3 = given[r + 3, i, k]
                    for c in range(n_out):
                        b = matrices[e, w, k, c]
                        out[r, o, c] += a0 * b
                        out[r + 1, o, c] += a1 * b
                        out[r + 2, o, c] += a2 * b
                        out[r + 3, o, c] += a3 * b
                r += 4
            else:
                for k in range(n_in):
                    a0 = given[r, i, k]
                    for c in range(n_out):
                        out[r, o, c] += a0 * matrices[e, w, k, c]
                r += 1


@compiled_fused
def contract(given, element, n_rows, first, second, third, weights, inner, outer, out):
    """Symmetric contraction as nested polynomials, [n_rows, n_out, C].

    Rows of ``first``: component of the result, of the input, weight or −1, bounds in ``second``;
    of ``second``: component, weight or −1, bounds in ``third``; of ``third``: component, weight.
    """
    channels = given.shape[2]
    for r in range(n_rows):
        e = element[r]
        for m in range(out.shape[1]):
            for c in range(channels):
                out[r, m, c] = 0
        for t in range(first.shape[0]):
            o, i, w = first[t, 0], first[t, 1], first[t, 2]
            if w >= 0:
                for c in range(channels):
                    outer[c] = weights[e, w, c]
            else:
                for c in range(channels):
                    outer[c] = 0
            for s in range(first[t, 3], first[t, 4]):
                j, w = second[s, 0], second[s, 1]
                if w >= 0:
                    for c in range(channels):
                        inner[c] = weights[e, w, c]
                else:
                    for c in range(channels):
                        inner[c] = 0
                for u in range(second[s, 2], second[s, 3]):
                    k, w = third[u, 0], third[u, 1]
                    for c in range(channels):
                        inner[c] += weights[e, w, c] * given[r, k, c]
                for c in range(channels):
                    outer[c] += inner[c] * given[r, j, c]
            for c in range(channels):
                out[r, o, c] += outer[c] * given[r, i, c]


@compiled_fused
def contract_backward(
    given, element, n_rows, first, second, third, weights, inner, outer, chain, adjoint, out
):
    """Transpose of :func:`contract` at ``given``: ∂/∂given of Σ adjoint × result."""
    channels = given.shape[2]
    for r in range(n_rows):
        e = element[r]
        for m in range(out.shape[1]):
            for c in range(channels):
                out[r, m, c] = 0
        for t in range(first.shape[0]):
            o, i, w = first[t, 0], first[t, 1], first[t, 2]
            if w >= 0:
                for c in range(channels):
                    outer[c] = weights[e, w, c]
            else:
                for c in range(channels):
                    outer[c] = 0
            for s in range(first[t, 3], first[t, 4]):
                j, w = second[s, 0], second[s, 1]
                if w >= 0:
                    for c in range(channels):
                        inner[c] = weights[e, w, c]
                else:
                    for c in range(channels):
                        inner[c] = 0
                for c in range(channels):
                    chain[c] = adjoint[r, o, c] * given[r, i, c]
                for u in range(second[s, 2], second[s, 3]):
                    k, w = third[u, 0], third[u, 1]
                    for c in range(channels):
                        inner[c] += weights[e, w, c] * given[r, k, c]
                        out[r, k, c] += weights[e, w, c] * chain[c] * given[r, j, c]
                for c in range(channels):
                    outer[c] += inner[c] * given[r, j, c]
                    out[r, j, c] += inner[c] * chain[c]
            for c in range(channels):
                out[r, i, c] += outer[c] * adjoint[r, o, c]


@compiled_fused
def read_out(features, n_rows, into, gate, constant, hidden, out):
    """Add a layer's site energies, float64 [n_rows].

    ``into`` [C, H] and ``hidden`` [H]; ``gate`` 0: none (then H = 1), 1: silu, 2: tanh, times
    ``constant``.
    """
    for r in range(n_rows):
        total = 0.0
        for n in range(into.shape[1]):
            x = 0.0
            for c in range(into.shape[0]):
                x += features[r, 0, c] * into[c, n]
            if gate == 1:
                x = constant * x / (1.0 + math.exp(-x))
            elif gate == 2:
                x = constant * math.tanh(x)
            total += x * hidden[n]
        out[r] += total


@compiled_fused
def read_out_backward(features, n_rows, into, gate, constant, hidden, scale, out):
    """Add scale × ∂(site energy)/∂features to the scalars of ``out`` [n_rows, n, C]."""
    for r in range(n_rows):
        for n in range(into.shape[1]):
            x = 0.0
            for c in range(into.shape[0]):
                x += features[r, 0, c] * into[c, n]
            slope = 1.0
            if gate == 1:
                s = 1.0 / (1.0 + math.exp(-x))
                slope = constant * s * (1.0 + x * (1.0 - s))
            elif gate == 2:
                slope = constant * (1.0 - math.tanh(x) ** 2)
            slope *= hidden[n] * scale
            for c in range(into.shape[0]):
                out[r, 0, c] += slope * into[c, n]


@compiled_fused
def receivers_of(given, n_given, bounds, edges, receiver, stamp, mark, out):
    """Positions in ``given`` and all that receive from one of them; returns their number."""
    found = 0
    for n in range(n_given):
        p = given[n]
        if stamp[p] != mark:
            stamp[p] = mark
            out[found] = p
            found += 1
    for n in range(n_given):
        p = given[n]
        for index in range(bounds[p], bounds[p + 1]):
            i = receiver[edges[index]]
            if stamp[i] != mark:
                stamp[i] = mark
                out[found] = i
                found += 1
    return found
