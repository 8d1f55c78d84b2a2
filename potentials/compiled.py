"""Compiled kernels over occupations: totals, gradients, changes and whole Monte Carlo blocks.

Everything that numba compiles for lattice Hamiltonians is in this file, so that its hash names the
cache (see ``compilation``). Arguments are the arrays of ``interactions.Tables``, one by one and in
its order: taking them out of a tuple costs more than a swap. ``padded`` is an occupation with its
margin of images. Indices are unsigned, which spares the test for negative ones.
"""

# mypy: ignore-errors
# Types are numba's: it infers them from the arrays, and mypy does not know its rules.

from __future__ import annotations

import math

import numpy as np

from .compilation import compiled, inlined, popcount

__all__ = ["apply_move", "fill", "flip_block", "local_energies", "swap_block", "total_energy"]

NONE, ONE, FOUR, SIX = np.uint64(0), np.uint64(1), np.uint64(4), np.uint64(6)
SIXTY_THREE, SIXTY_FOUR, ALL = np.uint64(63), np.uint64(64), np.uint64(2**64 - 1)
# Columns of groups and of parts.
OTHERS, FIRST, COUNT, CODES, START, STRIDES = range(6)
EXPLICIT, ROWS, N_ROWS, STRENGTH, N_CODES, LAST = range(6)


@compiled
def fill(home, edge, image_row, image_bounds, images, occupation, padded):
    """Write an occupation [n_sites] and its images into ``padded``."""
    for n in range(len(home)):
        place(edge, image_row, image_bounds, images, padded, home[n], occupation[n])


@inlined
def place(edge, image_row, image_bounds, images, padded, at, species):
    """Set the site at a position in ``padded``, and its images."""
    padded[at] = species
    if edge[at]:
        row = image_row[at]
        for image in range(image_bounds[row], image_bounds[row + ONE]):
            padded[images[image]] = species


@inlined
def kind_of(n_kinds, at):
    """Kind of the site at a position in the padded array."""
    return np.uint64(at) % n_kinds if n_kinds != ONE else NONE


@inlined
def code_of(groups, offsets, padded, corner, g, e):
    """Code of the other sites of cluster ``e`` of a group."""
    others = groups[g, OTHERS]
    first = groups[g, FIRST] + e * others
    code = np.uint64(0)
    for n in range(others):
        code += np.uint64(padded[corner + offsets[first + n]]) * groups[g, STRIDES + n]
    return code


@inlined
def change(
    star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single, levels, shift,
    n_kinds, field, padded, near, bits, at, old, new,
):  # fmt: skip
    """Energy of the site at ``at`` holding ``new`` less that of it holding ``old``, in eV.

    ``near`` uint8 [most neighbours] and ``bits`` uint64 [levels, words] are scratch.
    """
    kind = kind_of(n_kinds, at)
    corner = np.uint64(at) - kind - shift
    first, end = star_of_kind[kind], star_of_kind[kind + ONE]
    words = np.uint64(bits.shape[1])
    energy = single[kind, new] - single[kind, old]
    if len(field):
        energy += field[at, new] - field[at, old]
    # One word of bits stays in a register, and rows by their number of explicit sites: this takes
    # a fifth less time than the general form below, which it would otherwise be.
    if levels[kind] == ONE and words == ONE:
        word = NONE
        for e in range(end - first):
            word |= np.uint64(padded[corner + star[first + e]]) << np.uint64(e)
        total = 0.0
        for p in range(part_of_kind[kind], part_of_kind[kind + ONE]):
            count = NONE
            row, stop = np.uint64(parts[p, ROWS]), np.uint64(parts[p, ROWS] + parts[p, N_ROWS])
            if parts[p, EXPLICIT] == 0:
                count = popcount(word & masks[row, 0])
            elif parts[p, EXPLICIT] == 1:
                while row < stop:
                    alive = NONE - ((word >> explicit[row, 0]) & ONE)
                    count += popcount(word & masks[row, 0] & alive)
                    row += ONE
            else:
                while row < stop:
                    alive = word
                    for q in range(parts[p, EXPLICIT]):
                        alive &= NONE - ((word >> explicit[row, q]) & ONE)
                    count += popcount(alive & masks[row, 0])
                    row += ONE
            top = parts[p, STRENGTH] + FOUR * parts[p, N_CODES] - ONE
            total += np.float64(np.int64(count)) * strengths[top]
        return energy + (np.float64(new) - np.float64(old)) * total
    if levels[kind] == ONE:
        for w in range(words):
            begin = first + SIXTY_FOUR * w
            word = np.uint64(0)
            for e in range(begin, min(end, begin + SIXTY_FOUR)):
                word |= np.uint64(padded[corner + star[e]]) << (e - begin)
            bits[0, w] = word
        total = 0.0
        for p in range(part_of_kind[kind], part_of_kind[kind + ONE]):
            count = np.uint64(0)
            for row in range(parts[p, ROWS], parts[p, ROWS] + parts[p, N_ROWS]):
                alive = ALL
                for q in range(parts[p, EXPLICIT]):
                    j = explicit[row, q]
                    alive &= NONE - ((bits[0, j >> SIX] >> (j & SIXTY_THREE)) & ONE)
                for w in range(words):
                    count += popcount(bits[0, w] & masks[row, w] & alive)
            # The last entry of the table: all sites on their second species.
            top = parts[p, STRENGTH] + FOUR * parts[p, N_CODES] - ONE
            total += np.float64(np.int64(count)) * strengths[top]
        return energy + (np.float64(new) - np.float64(old)) * total
    for t in range(levels[kind]):
        for w in range(words):
            bits[t, w] = NONE
    for e in range(first, end):
        species = padded[corner + star[e]]
        near[e - first] = species
        if species:
            bits[species - 1, (e - first) >> SIX] |= ONE << ((e - first) & SIXTY_THREE)
    columns = np.uint64(explicit.shape[1]) >> ONE
    for p in range(part_of_kind[kind], part_of_kind[kind + ONE]):
        last = parts[p, LAST]
        block = parts[p, N_CODES] * last
        before, after = parts[p, STRENGTH] + old * block, parts[p, STRENGTH] + new * block
        for row in range(parts[p, ROWS], parts[p, ROWS] + parts[p, N_ROWS]):
            code = NONE
            for q in range(parts[p, EXPLICIT]):
                code += np.uint64(near[explicit[row, q]]) * explicit[row, columns + q]
            for t in range(ONE, last):
                count = np.uint64(0)
                for w in range(words):
                    count += popcount(bits[t - ONE, w] & masks[row, w])
                entry = code * last + t
                energy += np.float64(np.int64(count)) * (
                    strengths[after + entry] - strengths[before + entry]
                )
    return energy


@compiled
def apply_move(
    star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single, levels, shift,
    n_kinds, field, home, edge, image_row, image_bounds, images, padded, near, bits, move,
):  # fmt: skip
    """Set sites to species, rows of ``move`` [m, 2], and return the change of the energy in eV."""
    energy = 0.0
    for row in range(len(move)):
        if move[row, 0] >= 0:
            at = home[move[row, 0]]
            new = np.uint64(move[row, 1])
            old = np.uint64(padded[at])
            energy += change(
                star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single,
                levels, shift, n_kinds, field, padded, near, bits, at, old, new,
            )  # fmt: skip
            place(edge, image_row, image_bounds, images, padded, at, new)
    return energy


@compiled
def local_energies(
    groups, group_of_kind, offsets, values, onsite, shift, n_kinds, field, home, species, padded,
    gradient,
):  # fmt: skip
    """∂E/∂λ of every site and species it may hold into ``gradient`` [n_sites, n_species_max]."""
    for n in range(len(home)):
        kind = kind_of(n_kinds, home[n])
        corner = np.uint64(home[n]) - kind - shift
        m = species[kind]
        for k in range(m):
            gradient[n, k] = onsite[kind, k]
            if len(field):
                gradient[n, k] += field[home[n], k]
        for g in range(group_of_kind[kind], group_of_kind[kind + 1]):
            codes, start = groups[g, CODES], groups[g, START]
            for e in range(groups[g, COUNT]):
                code = code_of(groups, offsets, padded, corner, g, e)
                for k in range(m):
                    gradient[n, k] += values[start + k * codes + code]


@compiled
def total_energy(
    groups, group_of_kind, offsets, values, onsite, shift, n_kinds, field, home, padded
):
    """Energy of the cell in eV without the constant: every cluster shared among its sites."""
    energy, lost = 0.0, 0.0
    for n in range(len(home)):
        kind = kind_of(n_kinds, home[n])
        corner = np.uint64(home[n]) - kind - shift
        own = np.uint64(padded[home[n]])
        part = onsite[kind, own]
        if len(field):
            part += field[home[n], own]
        for g in range(group_of_kind[kind], group_of_kind[kind + 1]):
            codes = groups[g, CODES]
            row = groups[g, START] + own * codes
            inner = 0.0
            for e in range(groups[g, COUNT]):
                inner += values[row + code_of(groups, offsets, padded, corner, g, e)]
            part += inner / (groups[g, OTHERS] + 1.0)
        # Compensated (Kahan): the sum over a million sites keeps its last digits.
        term = part - lost
        fresh = energy + term
        lost = (fresh - energy) - term
        energy = fresh
    return energy


@inlined
def sort_members(home, padded, bounds, first_group, members, cursor):
    """List the positions of all sites group by group, in the order of the sites."""
    for g in range(len(cursor)):
        cursor[g] = bounds[g]
    for n in range(len(home)):
        group = first_group[n] + np.uint64(padded[home[n]])
        members[cursor[group]] = home[n]
        cursor[group] += ONE


@inlined
def choose_pair(pairs, rng):
    """Pair of groups by the cumulative numbers of unlike pairs in the last column."""
    last = len(pairs) - 1
    p = 0
    if last > 0:
        threshold = rng.random() * pairs[last, 2]
        while p < last and threshold >= pairs[p, 2]:
            p += 1
    return p


@compiled
def swap_block(
    star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single, levels, shift,
    n_kinds, field, home, edge, image_row, image_bounds, images, padded, near, bits,
    energy, rng, beta, pairs, bounds, first_group, members, cursor, kept, energies, accepted, thin,
    listed,
):  # fmt: skip
    """Metropolis swaps of unlike species; keeps every ``thin``-th state.

    ``pairs`` [n_pairs, 3]: the two groups of sites (by sublattice and species) and the cumulative
    number of pairs. ``bounds`` says where each group begins in ``members``, the positions of all
    groups' sites; a site's group is ``first_group`` plus its species. Swapped sites change place in
    the list, so that groups keep their sizes; every draw starts from the list in the order of the
    sites, so that it depends on the occupation and the generator alone; the first one goes on with
    ``members`` as they are where ``listed``. ``cursor`` is scratch. Kept are occupations
    [n_draws, n_sites], energies and numbers of accepted moves [n_draws].
    """
    for draw in range(len(energies)):
        if draw > 0 or not listed:
            sort_members(home, padded, bounds, first_group, members, cursor)
        number = 0
        for _ in range(thin):
            p = choose_pair(pairs, rng)
            a, b = pairs[p, 0], pairs[p, 1]
            at = bounds[a] + np.uint64(rng.random() * (bounds[a + 1] - bounds[a]))
            to = bounds[b] + np.uint64(rng.random() * (bounds[b + 1] - bounds[b]))
            threshold = rng.random()
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
            if difference <= 0.0 or threshold < math.exp(-beta * difference):
                place(edge, image_row, image_bounds, images, padded, j, old)
                members[at], members[to] = j, i
                energy += difference
                number += 1
            else:
                place(edge, image_row, image_bounds, images, padded, i, old)
        for n in range(len(home)):
            kept[draw, n] = padded[home[n]]
        energies[draw] = energy
        accepted[draw] = number


@compiled
def flip_block(
    star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single, levels, shift,
    n_kinds, field, home, edge, image_row, image_bounds, images, padded, near, bits,
    energy, rng, beta, flippable, species, potential, group, stiffness, counts, kept, energies,
    accepted, thin,
):  # fmt: skip
    """Metropolis flips of one site to another species; keeps every ``thin``-th state.

    ``flippable`` lists the positions to draw from. The weight is exp(−β[E − Σ μ]) with
    ``potential`` μ [n_kinds, n_species_max] in eV. Where ``group`` is given, it is the sublattice
    of each of them, ``potential`` has one row per sublattice, and the weight is
    exp(−β[E − Σ_k μ_k n_k + Σ_k q_k n_k²]) with ``stiffness`` q [n_sublattices, n_species_max] in
    eV and ``counts`` n of that shape, which follow the flips. Kept are occupations
    [n_draws, n_sites], energies E and numbers of accepted moves [n_draws].
    """
    n_sites = len(flippable)
    for draw in range(len(energies)):
        number = 0
        for _ in range(thin):
            index = np.uint64(rng.random() * n_sites)
            at = flippable[index]
            kind = kind_of(n_kinds, at)
            old = np.uint64(padded[at])
            m = species[kind]
            new = ONE - old
            if m != 2:
                new = np.uint64(rng.random() * (m - 1.0))
                if new >= old:
                    new += ONE
            threshold = rng.random()
            difference = change(
                star, star_of_kind, parts, part_of_kind, explicit, masks, strengths, single,
                levels, shift, n_kinds, field, padded, near, bits, at, old, new,
            )  # fmt: skip
            # Compiled once without a group and once with: what is not asked for costs nothing.
            if group is None:
                work = difference - (potential[kind, new] - potential[kind, old])
            else:
                row = group[index]
                work = difference - (potential[row, new] - potential[row, old])
                work += stiffness[row, new] * (2.0 * counts[row, new] + 1.0)
                work -= stiffness[row, old] * (2.0 * counts[row, old] - 1.0)
            if work <= 0.0 or threshold < math.exp(-beta * work):
                place(edge, image_row, image_bounds, images, padded, at, new)
                energy += difference
                number += 1
                if group is not None:
                    counts[row, new] += 1.0
                    counts[row, old] -= 1.0
        for n in range(len(home)):
            kept[draw, n] = padded[home[n]]
        energies[draw] = energy
        accepted[draw] = number
