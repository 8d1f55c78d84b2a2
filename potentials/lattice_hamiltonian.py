"""Energies that are sums over clusters of sites: exact, compiled, and local."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError, ModelError
from ..lattice import Lattice
from ..sublattice import is_number, is_whole, shown
from ..tiling import Tiling
from ._lattice_checks import checked_field, checked_move, checked_sites, species_by_kind
from .interactions import Interaction, Tables, build_tables
from .multilinear import Multilinear

__all__ = ["LatticeBlock", "LatticeHamiltonian"]

MOST_DRIFT = 1e-8  # eV per site
# Steps in compiled code between two returns to the interpreter, which sees Ctrl-C only there:
# a tenth of a second for a few dozen neighbours, seconds for thousands of clusters.
STEPS_BETWEEN_LOOKS = 1_000_000


_Out = tuple[np.ndarray, np.ndarray, np.ndarray]
# Runs on from an energy, fills its output and makes so many steps per draw; true inside a draw.
_Part = Callable[[float, _Out, int, bool], None]


class LatticeBlock(NamedTuple):
    """Draws of a compiled block.

    ``occupation`` uint8 [n_draws, n_replicas, n_sites]; ``energy`` (eV) and ``accepted`` (moves
    since the draw before) [n_draws, n_replicas].
    """

    occupation: np.ndarray
    energy: np.ndarray
    accepted: np.ndarray


class LatticeHamiltonian(Multilinear):
    """Energy as a constant, a term per site, and a table per cluster of sites.

    E(λ) = E0 + Σ_i Σ_k λ_ik e_ik + Σ_clusters Σ_{k…} λ_ik λ_jl … T[k, l, …], multilinear in λ.

    Couplings are stored once per kind of cluster, as steps in a padded array, so that memory and
    time to set up are those of the sites alone and a swap costs the same in any cell. Whole blocks
    of Monte Carlo steps run in compiled code without the interpreter's lock.

    Parameters
    ----------
    lattice
        Sites and species.
    tiling
        How the sites repeat.
    interactions
        The clusters of one primitive cell.
    constant
        Energy E0 of the cell in eV.
    field
        Energies of every single site and species in eV, [n_sites, n_species_max], if they are not
        alike in all primitive cells.
    threads
        Threads over which replicas are spread; by default the processor's. Results do not depend
        on it.
    """

    _executor: ThreadPoolExecutor
    _threads_of: int | None = None

    def __init__(
        self,
        lattice: Lattice,
        tiling: Tiling,
        interactions: Iterable[Interaction],
        *,
        constant: float = 0.0,
        field: np.ndarray | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None and not is_whole(threads, least=1):
            raise InputError(f"threads is {shown(threads)}; give a whole number, 1 or more")
        if not is_number(constant):
            raise InputError(f"constant is {shown(constant)}; give a finite energy in eV")
        self.lattice = lattice
        self.tiling = tiling
        self.interactions = tuple(interactions)
        self.constant = float(constant)
        self.threads = threads or _processors()
        allowed = np.asarray(lattice.allowed)
        n_species = species_by_kind(lattice, tiling)
        if field is not None:
            field = checked_field(field, allowed)
        self.tables: Tables = build_tables(self.interactions, tiling, n_species, field)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.lattice!r}, {len(self.interactions)} clusters)"

    @property
    def bytes_per_site(self) -> float:
        """Memory per site in bytes: tables of the sites and one replica's padded occupation."""
        return self.tables.bytes_per_site

    # ---- occupations -----------------------------------------------------------------------

    def energy(self, occupations: np.ndarray) -> np.ndarray:
        """Total energies in eV, [n_replicas], of occupations [n_replicas, n_sites]."""
        occupations = self.lattice.check(occupations)
        replicas = np.atleast_2d(occupations).astype(np.int8, copy=False)
        energies = self._spread(self._total, list(replicas))
        return (self.constant + np.array(energies)).reshape(occupations.shape[:-1])

    def energy_and_gradient(self, occupations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [n_replicas] and gradients ∂E/∂λ [n_replicas, n_sites, n_species_max] in eV."""
        occupations = self.lattice.check(occupations)
        replicas = np.atleast_2d(occupations).astype(np.int8, copy=False)
        gradient = np.zeros((*replicas.shape, self.lattice.n_species_max))
        results = self._spread(self._slopes, list(zip(replicas, gradient, strict=True)))
        energies = self.constant + np.array(results)
        lead = occupations.shape[:-1]
        return energies.reshape(lead), gradient.reshape(lead + gradient.shape[1:])

    def energy_change(
        self, occupations: np.ndarray, sites: np.ndarray, species: np.ndarray
    ) -> np.ndarray:
        """Exact ΔE in eV, [n_replicas], of setting ``sites`` to ``species`` [n_replicas, m].

        −1 in ``sites`` pads. The cost is that of the clusters of the changed sites, beside one
        copy of the occupation.
        """
        from .compiled import apply_move  # noqa: PLC0415

        occupations = np.atleast_2d(self.lattice.check(occupations))
        sites, species = checked_move(self.lattice, occupations, sites, species)
        moves = np.stack([sites, species], axis=-1).astype(np.int64)
        t = self.tables
        changes = [
            apply_move(*t.gas, *t.frame, self._padded(occupation), *t.scratch(), move)
            for occupation, move in zip(occupations, moves, strict=True)
        ]
        return np.array(changes)

    # ---- whole blocks ----------------------------------------------------------------------

    def run_swaps(
        self,
        occupations: np.ndarray,
        energies: np.ndarray,
        rngs: Sequence[np.random.Generator],
        *,
        beta: float,
        n_draws: int,
        thin: int,
        sites: np.ndarray | None = None,
    ) -> LatticeBlock:
        """Run Metropolis swaps of unlike species, drawn uniformly from all unlike pairs.

        Parameters
        ----------
        occupations
            int8 [n_replicas, n_sites]; left as they are.
        energies
            Their energies in eV, [n_replicas], carried on by the exact changes.
        rngs
            One generator per replica; advanced.
        beta
            1/(k_B T) in 1/eV.
        n_draws, thin
            States to keep, and steps from one to the next.
        sites
            Sites that may change, [n_replicas, m], all by default. A replica that has no unlike
            species on its sites stays as it is.

        Raises
        ------
        InputError
            If an occupation is none of the lattice's, a replica has no generator or energy of its
            own, a number cannot be used, or there is nothing to swap.
        """
        from .compiled import swap_block  # noqa: PLC0415

        occupations = self._checked_block(
            occupations, energies, rngs, beta=beta, n_draws=n_draws, thin=thin
        )
        first_group = np.asarray(self.lattice.sublattice_of_site).astype(np.uint64)
        first_group *= np.uint64(self.lattice.n_species_max)
        parts = checked_sites(sites, occupations.shape)

        def start(replica: int) -> _Part:
            occupation = occupations[replica].astype(np.int8)
            part = parts[replica]
            pairs, bounds = self._groups(occupation, part)
            if not len(pairs):
                if sites is not None:
                    return _still(occupation[part])
                raise InputError(
                    f"replica {replica} holds one species per sublattice, so there is nothing to "
                    "exchange: start from a mixed composition"
                )
            t, padded = self.tables, self._padded(occupation)
            home, group = t.home[part], first_group[part]
            scratch, members = t.scratch(), np.empty_like(home)

            def run(energy: float, out: _Out, steps: int, inside: bool) -> None:
                swap_block(
                    *t.gas, home, *t.frame[1:], padded, *scratch, energy, rngs[replica],
                    float(beta), pairs, bounds, group, members, np.empty_like(bounds[:-1]), *out,
                    steps, inside,
                )  # fmt: skip

            return run

        block = self._block(start, energies, n_draws, thin, parts.shape[1])
        return block if sites is None else _whole(block, occupations, parts)

    def run_flips(
        self,
        occupations: np.ndarray,
        energies: np.ndarray,
        rngs: Sequence[np.random.Generator],
        *,
        beta: float,
        potentials: np.ndarray,
        n_draws: int,
        thin: int,
        sites: np.ndarray | None = None,
        stiffness: np.ndarray | None = None,
        free: np.ndarray | None = None,
    ) -> LatticeBlock:
        """Run Metropolis flips of single sites for the weight exp(−β[E − Σ_k μ_k N_k]).

        With ``stiffness`` q it is exp(−β[E − Σ_k μ_k N_k + Σ_k q_k N_k²]). N_k counts a species
        on its sublattice, all of whose sites count, whichever may change.

        Parameters
        ----------
        potentials
            Chemical potential μ of every sublattice's species in eV, [n_sublattices,
            n_species_max].
        stiffness
            q in eV, of the same shape; None for no such term.
        free
            Sites that may be flipped, bool [n_sites], all by default.
        occupations, energies, rngs, beta, n_draws, thin, sites
            As for ``run_swaps``.

        Raises
        ------
        InputError
            As for ``run_swaps``, or if, without a stiffness, free sites of one kind differ in their
            chemical potentials.
        """
        from .compiled import flip_block  # noqa: PLC0415

        occupations = self._checked_block(
            occupations, energies, rngs, beta=beta, n_draws=n_draws, thin=thin
        )
        several = np.asarray(self.lattice.allowed).sum(axis=1) > 1
        free = several if free is None else several & _checked_free(self.lattice, free)
        table, squares = _by_species(self.lattice, potentials, "potentials"), None
        if stiffness is None:
            table = self._potentials_by_kind(table, free)
        else:
            squares = _by_species(self.lattice, stiffness, "stiffness")
        group_of_site = np.asarray(self.lattice.sublattice_of_site).astype(np.uint64)
        parts = checked_sites(sites, occupations.shape)

        def start(replica: int) -> _Part:
            part = parts[replica]
            t, padded = self.tables, self._padded(occupations[replica].astype(np.int8))
            home, chosen, scratch = t.home[part], part[free[part]], t.scratch()
            if not len(chosen):
                return _still(occupations[replica, part])
            flippable, group, counts = t.home[chosen], None, None
            if squares is not None:
                group = group_of_site[chosen]
                counts = self.lattice.counts(occupations[replica]).astype(np.float64)

            def run(energy: float, out: _Out, steps: int, inside: bool) -> None:  # noqa: ARG001
                flip_block(
                    *t.gas, home, *t.frame[1:], padded, *scratch, energy, rngs[replica],
                    float(beta), flippable, t.species, table, group, squares, counts, *out, steps,
                )  # fmt: skip

            return run

        block = self._block(start, energies, n_draws, thin, parts.shape[1])
        return block if sites is None else _whole(block, occupations, parts)

    def rederived(
        self, occupations: np.ndarray, energies: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies from scratch, and by how much running ones have drifted, eV per site.

        Raises
        ------
        ModelError
            If a drift exceeds 1e-8 eV per site.
        """
        fresh = self.energy(occupations)
        drift = np.abs(fresh - energies) / self.lattice.n_sites
        if not (drift <= MOST_DRIFT).all():
            raise ModelError(
                f"the running energy has drifted by {drift.max():.2g} eV per site from the energy "
                f"from scratch (allowed: {MOST_DRIFT:g}); couplings this large cannot be summed in "
                "float64: check their unit (eV)"
            )
        return fresh, drift

    # ---- parts -----------------------------------------------------------------------------

    def _padded(self, occupation: np.ndarray) -> np.ndarray:
        from .compiled import fill  # noqa: PLC0415

        padded = np.empty(self.tables.padded_length, dtype=np.int8)
        fill(*self.tables.frame, occupation, padded)
        return padded

    def _total(self, occupation: np.ndarray) -> float:
        return self._total_of(self._padded(occupation))

    def _total_of(self, padded: np.ndarray) -> float:
        from .compiled import total_energy  # noqa: PLC0415

        t = self.tables
        return float(total_energy(*t.clusters, t.home, padded))

    def _slopes(self, job: tuple[np.ndarray, np.ndarray]) -> float:
        from .compiled import local_energies  # noqa: PLC0415

        occupation, gradient = job
        padded, t = self._padded(occupation), self.tables
        local_energies(*t.clusters, t.home, t.species, padded, gradient)
        return self._total_of(padded)

    @property
    def _pool(self) -> ThreadPoolExecutor:
        # A forked process inherits the pool without its threads, and would wait for ever.
        if self._threads_of != os.getpid():
            self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="alchemc")
            self._threads_of = os.getpid()
        return self._executor

    def _spread(self, function: Any, jobs: Sequence[Any]) -> list[Any]:
        if len(jobs) == 1 or self.threads == 1:
            return [function(job) for job in jobs]
        return list(self._pool.map(function, jobs))

    def _checked_block(
        self,
        occupations: np.ndarray,
        energies: np.ndarray,
        rngs: Sequence[np.random.Generator],
        *,
        beta: float,
        n_draws: int,
        thin: int,
    ) -> np.ndarray:
        """Refuse what compiled code, which checks no index, would take for memory of its own."""
        occupations = np.atleast_2d(self.lattice.check(occupations))
        n_replicas = len(occupations)
        if np.shape(energies) != (n_replicas,) or len(rngs) != n_replicas:
            raise InputError(
                f"there are {n_replicas} occupations, energies of shape {np.shape(energies)} and "
                f"{len(rngs)} generators; give one energy and one generator per occupation"
            )
        if len({id(rng.bit_generator) for rng in rngs}) < n_replicas:
            raise InputError(
                "two replicas share a generator, which threads would advance at once: give each "
                "its own, as sampler.spawn_generators does"
            )
        if not is_number(beta) or beta < 0:
            raise InputError(f"beta is {shown(beta)}; give a finite number in 1/eV, 0 or more")
        for name, value in (("n_draws", n_draws), ("thin", thin)):
            if not is_whole(value, least=1):
                raise InputError(f"{name} is {shown(value)}; give a whole number, 1 or more")
        return occupations

    def _block(
        self,
        start: Callable[[int], _Part],
        energies: np.ndarray,
        n_draws: int,
        thin: int,
        n_sites: int,
    ) -> LatticeBlock:
        """Run every replica's block part by part, so that Ctrl-C stops all of them soon."""
        n_replicas = len(energies)
        kept = np.empty((n_replicas, n_draws, n_sites), dtype=np.int8)
        after = np.empty((n_replicas, n_draws))
        accepted = np.zeros((n_replicas, n_draws), dtype=np.int64)
        stop = threading.Event()

        def run(replica: int) -> None:
            part, energy = start(replica), float(energies[replica])
            for draws, done, steps in _parts(n_draws, thin, n_sites):
                if stop.is_set():
                    return
                moves = np.empty(draws.stop - draws.start, dtype=np.int64)
                out = (kept[replica, draws], after[replica, draws], moves)
                part(energy, out, steps, done > 0)
                accepted[replica, draws] += moves
                energy = float(after[replica, draws.stop - 1])

        try:
            self._spread(run, range(n_replicas))
        except BaseException:
            stop.set()
            raise
        return LatticeBlock(kept.transpose(1, 0, 2).view(np.uint8), after.T, accepted.T)

    def _potentials_by_kind(self, potentials: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Chemical potentials of every kind of site, [n_kinds, n_species_max], by free ones."""
        every = potentials[np.asarray(self.lattice.sublattice_of_site)]
        kinds = self.tiling.kinds
        first = np.array([np.flatnonzero((kinds == k) & free)[:1].sum() for k in np.unique(kinds)])
        by_kind = np.ascontiguousarray(every[first])
        differing = np.flatnonzero((every != by_kind[kinds]).any(axis=1) & free)
        if len(differing):
            site = int(differing[0])
            one, other = (
                self.lattice.names[int(self.lattice.sublattice_of_site[n])]
                for n in (first[self.tiling.kinds[site]], site)
            )
            raise InputError(
                f"sublattices {one} and {other} differ in their chemical potentials but are the "
                "same site of the primitive cell: give them the same, or use a primitive cell that "
                "tells them apart"
            )
        return by_kind

    def _groups(self, occupation: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of groups (sublattice, species) that can swap, cumulatively; bounds of groups."""
        most = self.lattice.n_species_max
        group = (np.asarray(self.lattice.sublattice_of_site) * most + occupation)[part]
        counts = np.bincount(group, minlength=len(self.lattice.names) * most)
        bounds = np.concatenate([[0], np.cumsum(counts)])
        rows, total = [], 0
        for s in range(len(self.lattice.names)):
            for b in range(s * most, (s + 1) * most):
                for a in range(s * most, b):
                    if counts[a] and counts[b]:
                        total += int(counts[a]) * int(counts[b])
                        rows.append((a, b, total))
        return np.array(rows, dtype=np.uint64).reshape(-1, 3), bounds.astype(np.uint64)

    def __getstate__(self) -> dict[str, Any]:
        threads = {"_executor", "_threads_of"}
        return {name: value for name, value in self.__dict__.items() if name not in threads}


def _parts(n_draws: int, thin: int, n_sites: int) -> Iterator[tuple[slice, int, int]]:
    """Parts of a block: the draws, steps of the first draw that were done before, steps to do.

    Several whole draws, or a piece of one; neither changes what is drawn.
    """
    several = max(1, STEPS_BETWEEN_LOOKS // (thin + n_sites))  # a draw reads every site
    for first in range(0, n_draws, several):
        draws = slice(first, min(first + several, n_draws))
        piece = min(thin, STEPS_BETWEEN_LOOKS)
        for done in range(0, thin, piece):
            yield draws, done, min(piece, thin - done)


def _checked_free(lattice: Lattice, free: np.ndarray) -> np.ndarray:
    """Sites that may be flipped, bool [n_sites]."""
    mask = np.asarray(free)
    if mask.dtype != bool or mask.shape != (lattice.n_sites,):
        raise InputError(
            f"free has shape {mask.shape} and type {mask.dtype}; give one bool per site, "
            f"[{lattice.n_sites}]"
        )
    return mask


def _by_species(lattice: Lattice, values: np.ndarray, name: str) -> np.ndarray:
    """Numbers by sublattice and species, float64 [n_sublattices, n_species_max]."""
    table = np.asarray(values, dtype=np.float64)
    shape = (len(lattice.names), lattice.n_species_max)
    if table.shape != shape or not np.isfinite(table).all():
        raise InputError(
            f"{name} have shape {table.shape} or are not finite; give numbers in eV by sublattice "
            f"and species, {shape}"
        )
    return np.ascontiguousarray(table)


def _still(occupation: np.ndarray) -> _Part:
    """Make a block in which nothing moves."""

    def run(energy: float, out: _Out, steps: int, inside: bool) -> None:  # noqa: ARG001
        kept, energies, accepted = out
        kept[:], energies[:], accepted[:] = occupation, energy, 0

    return run


def _whole(block: LatticeBlock, occupations: np.ndarray, parts: np.ndarray) -> LatticeBlock:
    """Put the sites that could change back among those that could not."""
    whole = np.repeat(occupations[None].astype(np.uint8), len(block.energy), axis=0)
    whole[:, np.arange(len(parts))[:, None], parts] = block.occupation
    return block._replace(occupation=whole)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
