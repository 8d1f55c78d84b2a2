"""Special quasirandom structures of a lattice, made by icet."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from ...compositions import Composition
from ...errors import InputError
from ...lattice import Lattice
from ...sublattice import is_whole, shown
from .clusters import Clusters
from .structures import MATCHED, SpecialQuasirandom, described, fractions_of, objectives

__all__ = ["generate_sqs", "n_arrangements"]

MOST_ENUMERATED = 20_000
STEPS_PER_SITE = 100
LEAST_STEPS = 3000


def generate_sqs(
    lattice: Lattice,
    composition: Composition | None = None,
    cutoffs: Sequence[float] | None = None,
    n: int = 1,
    seed: int = 0,
    *,
    steps: int | None = None,
    target: np.ndarray | None = None,
) -> SpecialQuasirandom:
    """Make special quasirandom structures in the cell of a lattice, by icet.

    An SQS has the correlations of the infinite random alloy as nearly as its cell can hold them
    (A. Zunger et al., Phys. Rev. Lett. 65, 353 (1990), doi:10.1103/PhysRevLett.65.353). Where the
    cell has no more than 20,000 arrangements all are compared and the best are taken; else icet's
    simulated annealing runs once per structure, each with a seed of its own.

    Parameters
    ----------
    lattice
        The supercell; symmetry and distances are those of its reference positions.
    composition
        Fractions by sublattice and species; the lattice's nominal one by default.
    cutoffs
        Largest distance in Å of two sites of a pair, of a triplet, and so on. By default four
        shells of pairs and two of triplets.
    n
        How many. Enumeration gives structures that symmetry does not relate, so there are fewer
        where the cell has no more of equal quality.
    seed
        Governs every draw; icet's use of Python's global generator leaves that as it was.
    steps
        Trial steps of one annealing; by default 100 per site, at least 3000.
    target
        Cluster vector to match instead of the random alloy's, [n_clusters], such as the mean of a
        sampled ensemble: the result is then a quasi-ordered structure.

    Returns
    -------
    The structures with their deviations.

    Raises
    ------
    InputError
        If a fraction is no whole number of sites, there is nothing to arrange, or an argument
        cannot be used.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=(2, 2, 4))
    >>> found = generate_sqs(lattice, {"B": {"Sc": 0.5, "Ta": 0.5}}, cutoffs=(5.8,), n=2)
    >>> found.method, found.matched_shells.tolist(), found.mismatch.round(9).tolist()
    ('enumeration', [2, 2], [0.0, 0.0])
    """
    for name, value, least in (("n", n, 1), ("seed", seed, 0)):
        if not is_whole(value, least=least):
            raise InputError(f"{name} is {shown(value)}; give a whole number of at least {least}")
    if steps is not None and not is_whole(steps, least=1):
        raise InputError(f"steps is {shown(steps)}; give a whole number of at least 1")
    counts = lattice.composition_counts(composition)
    ways = n_arrangements(counts)
    if ways < 2:
        raise InputError(
            f"the composition {shown(counts)} has one arrangement: an SQS needs two species on a "
            "sublattice"
        )
    clusters = Clusters(lattice, cutoffs)
    fractions = fractions_of(lattice, counts)
    aim = clusters.random_vector(fractions) if target is None else _target(target, clusters)
    rng = np.random.Generator(np.random.PCG64(seed))
    if ways <= MOST_ENUMERATED:
        chosen = _enumerated(clusters, fractions, aim, n, rng)
        method = "enumeration"
    else:
        most = max(LEAST_STEPS, STEPS_PER_SITE * lattice.n_sites) if steps is None else steps
        chosen = _annealed(clusters, fractions, aim, n, rng, int(most))
        method = "annealing"
    return described(clusters, chosen, aim, method, seed)


def n_arrangements(counts: Mapping[str, Sequence[int]]) -> int:
    """How many arrangements a composition has, from the counts of the species by sublattice.

    Examples
    --------
    >>> n_arrangements({"A": (1, 1), "B": (4, 4)})
    140
    """
    return math.prod(
        math.factorial(sum(row)) // math.prod(math.factorial(k) for k in row)
        for row in counts.values()
    )


def _target(target: np.ndarray, clusters: Clusters) -> np.ndarray:
    vector = np.asarray(target, dtype=float)
    if vector.shape != (len(clusters.clusters),) or not np.isfinite(vector).all():
        raise InputError(
            f"target has shape {vector.shape}; give {len(clusters.clusters)} finite numbers, one "
            "per cluster"
        )
    return vector


def _enumerated(
    clusters: Clusters,
    composition: Mapping[str, Mapping[str, float]],
    target: np.ndarray,
    n: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Up to n of the best arrangements, no two of them related by symmetry, in random order."""
    lattice = clusters.lattice
    states = lattice.enumerate(composition)
    scores = objectives(clusters, clusters.vectors(states), target)
    best = states[scores <= scores.min() + MATCHED]
    permutations = _permutations(lattice)
    forms = [np.unique(state[permutations], axis=0)[0] for state in best]  # lowest of its orbit
    _, orbit = np.unique(forms, axis=0, return_inverse=True)
    chosen: dict[int, int] = {}
    for k in rng.permutation(len(best)).tolist():
        chosen.setdefault(int(orbit.ravel()[k]), k)
    return best[list(chosen.values())[:n]]


def _permutations(lattice: Lattice) -> np.ndarray:
    try:
        return lattice.symmetry_permutations()
    except InputError:  # too many to list
        return np.arange(lattice.n_sites)[None]


def _annealed(  # noqa: PLR0917
    clusters: Clusters,
    composition: Mapping[str, Mapping[str, float]],
    target: np.ndarray,
    n: int,
    rng: np.random.Generator,
    steps: int,
) -> np.ndarray:
    from icet.tools.structure_generation import (  # noqa: PLC0415  (slow to import)
        generate_target_structure_from_supercells,
    )

    seeds = rng.integers(0, 2**31, size=n).tolist()
    aim = np.concatenate([[1.0], target])
    found = []
    with _global_generator_kept():
        for seed in seeds:
            atoms = generate_target_structure_from_supercells(
                clusters.space,
                [clusters.lattice.atoms.copy()],
                clusters.icet_concentrations(composition),
                aim,
                n_steps=steps,
                random_seed=seed,
            )
            found.append(clusters.occupation(atoms))
    return np.array(found, dtype=np.int8)


@contextmanager
def _global_generator_kept() -> Iterator[None]:
    """Give Python's global generator, which mchammer seeds, back as it was."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
