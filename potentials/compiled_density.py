"""Compiled walks that weigh states by 1/g(E): flips and swaps of Wang–Landau sampling.

Arguments and their order are those of ``compiled``; then come the energy, the generator, and the
bins of a window: its lower edge, bins per eV, ln g, visits and summed energies of every bin, and by
how much a visit raises ln g.
"""

# mypy: ignore-errors
# Types are numba's: it infers them from the arrays, and mypy does not know its rules.

from __future__ import annotations

import math

import numpy as np

from .compilation import compiled, inlined
from .compiled import change, choose_pair, kind_of, place, sort_members

__all__ = ["flat_flip_block", "flat_swap_block"]

ONE = np.uint64(1)


@inlined
def first_bin(position, n_bins):
    """Bin of the state to start from; the caller sees to it that rounding alone leads outside."""
    return min(max(np.int64(position), 0), n_bins - 1)


@inlined
def step_to(there, here, ln_g, outside, rng):
    """Bin to move to, or −1 to stay: min(1, g(E)/g(E′)), and never out of the window."""
    if there < 0.0:
        outside[0] += 1
        return -1
    if there >= len(ln_g):
        outside[1] += 1
        return -1
    bin_there = np.int64(there)
    ratio = ln_g[here] - ln_g[bin_there]
    if ratio < 0.0 and rng.random() >= math.exp(ratio):
        return -1
    if ln_g[bin_there] == -np.inf:  # seen for the first time: as many states as where it came from
        ln_g[bin_there] = ln_g[here]
    return bin_there


@compiled
def flat_flip_block(
    star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single, levels, shift,
    n_kinds, field, home, edge, image_row, image_bounds, images, padded, near, bits,
    energy, rng, lower, per_ev, ln_g, visits, sums, increment, outside, flippable, species,
    kept, energies, thin,
):  # fmt: skip
    """Flip one site to another species, both drawn uniformly; keep every ``thin``-th state.

    ``flippable`` lists the positions to draw from, ``species`` [n_kinds] how many each may hold.
    ``outside`` [2] counts moves refused because they led below or above the window. Kept are
    occupations [n_draws, n_sites] and energies [n_draws].
    """
    n_sites = len(flippable)
    here = first_bin((energy - lower) * per_ev, len(ln_g))
    for draw in range(len(energies)):
        for _ in range(thin):
            at = flippable[np.uint64(rng.random() * n_sites)]
            old = np.uint64(padded[at])
            m = species[kind_of(n_kinds, at)]
            new = ONE - old
            if m != 2:
                new = np.uint64(rng.random() * (m - 1.0))
                if new >= old:
                    new += ONE
            difference = change(
                star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single,
                levels, shift, n_kinds, field, padded, near, bits, at, old, new,
            )  # fmt: skip
            there = step_to((energy + difference - lower) * per_ev, here, ln_g, outside, rng)
            if there >= 0:
                place(edge, image_row, image_bounds, images, padded, at, new)
                energy += difference
                here = there
            ln_g[here] += increment
            visits[here] += 1
            sums[here] += energy
        for n in range(len(home)):
            kept[draw, n] = padded[home[n]]
        energies[draw] = energy


@compiled
def flat_swap_block(
    star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single, levels, shift,
    n_kinds, field, home, edge, image_row, image_bounds, images, padded, near, bits,
    energy, rng, lower, per_ev, ln_g, visits, sums, increment, outside, pairs, bounds, first_group,
    members, cursor, kept, energies, thin,
):  # fmt: skip
    """Swap unlike species, drawn uniformly from all unlike pairs, whose number is fixed.

    ``pairs``, ``bounds``, ``first_group``, ``members`` and ``cursor`` are those of
    ``compiled.swap_block``, the rest that of ``flat_flip_block``.
    """
    here = first_bin((energy - lower) * per_ev, len(ln_g))
    sort_members(home, padded, bounds, first_group, members, cursor)
    for draw in range(len(energies)):
        for _ in range(thin):
            p = choose_pair(pairs, rng)
            a, b = pairs[p, 0], pairs[p, 1]
            at = bounds[a] + np.uint64(rng.random() * (bounds[a + ONE] - bounds[a]))
            to = bounds[b] + np.uint64(rng.random() * (bounds[b + ONE] - bounds[b]))
            i, j = members[at], members[to]
            old, new = np.uint64(padded[i]), np.uint64(padded[j])
            difference = change(
                star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single,
                levels, shift, n_kinds, field, padded, near, bits, i, old, new,
            )  # fmt: skip
            place(edge, image_row, image_bounds, images, padded, i, new)
            difference += change(
                star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single,
                levels, shift, n_kinds, field, padded, near, bits, j, new, old,
            )  # fmt: skip
            there = step_to((energy + difference - lower) * per_ev, here, ln_g, outside, rng)
            if there >= 0:
                place(edge, image_row, image_bounds, images, padded, j, old)
                members[at], members[to] = j, i
                energy += difference
                here = there
            else:
                place(edge, image_row, image_bounds, images, padded, i, old)
            ln_g[here] += increment
            visits[here] += 1
            sums[here] += energy
        for n in range(len(home)):
            kept[draw, n] = padded[home[n]]
        energies[draw] = energy
