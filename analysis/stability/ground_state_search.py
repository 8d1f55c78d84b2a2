"""Ground states: energies of every small arrangement, and the lower hull over composition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from ase import Atoms

from ...compositions import Composition
from ...errors import InputError
from ...lattice import Lattice
from ...protocols import Hamiltonian
from ...sublattice import is_number, is_whole
from ..estimates import as_chains, blocks_of_draws
from ..layout import few
from ..wording import counted
from .common_cells import in_common_cells
from .enumeration import Orderings, enumerate_orderings, primitive_lattice
from .hull import Hull, lower_hull
from .order_names import order_name, symmetry_of

__all__ = ["Arrangement", "GroundStates", "ground_states"]

BATCH = 64
TOLERANCE = 1e-5  # eV per site


class Arrangement(NamedTuple):
    """One enumerated arrangement.

    ``formula`` of the sites of its cell; ``order``: name in use, empty where there is none;
    ``variants``: how many distinct arrangements of the infinite crystal its symmetry makes of it;
    energies in eV per site, ``formation_energy_per_site`` from the end members,
    ``above_hull_per_site`` from the mixture it falls apart into, and ``depth_per_site``, for
    corners of the hull: how far below the best mixture of all other compositions it lies (None for
    what is no corner, or an end member).
    """

    formula: str
    order: str
    space_group: str
    n_cells: int
    variants: int
    composition: dict[str, float]
    energy_per_site: float
    formation_energy_per_site: float
    above_hull_per_site: float
    depth_per_site: float | None
    ground_state: bool


class _Row(NamedTuple):
    lattice: Lattice
    n_cells: int
    occupation: np.ndarray


@dataclass(frozen=True, eq=False)
class GroundStates:
    """Energies of enumerated arrangements and their hull, from `ground_states`.

    All arrays lead with the arrangements, small cells first. ``labels`` [d] name the composition
    variables, ``composition`` [n, d]; ``energy_per_site``, ``formation_energy_per_site`` and
    ``above_hull_per_site`` [n] in eV per site that holds more than one species; ``hull`` over
    ``composition``. ``failures`` are arrangements without an energy, which are left out.
    """

    parent: Lattice
    sizes: tuple[int, ...]
    labels: tuple[str, ...]
    composition: np.ndarray
    energy_per_site: np.ndarray
    formation_energy_per_site: np.ndarray
    hull: Hull
    failures: int
    tolerance: float
    _rows: list[_Row] = field(repr=False)
    _known: dict[int, Arrangement] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def above_hull_per_site(self) -> np.ndarray:
        """Energy over the hull in eV per site, [n]: what falling apart would gain."""
        return self.hull.above

    @cached_property
    def indices(self) -> np.ndarray:
        """Ground states: arrangements on the hull within the tolerance, by composition.

        Where several of one composition are that low, all are listed.
        """
        found = np.flatnonzero(self.hull.above <= self.tolerance)
        keys = (self.hull.above[found], *self.composition[found].T[::-1])
        return np.asarray(found[np.lexsort(keys)])

    def occupation(self, index: int) -> tuple[Lattice, np.ndarray]:
        """Cell of an arrangement and its occupation [n_sites]."""
        row = self._rows[index]
        return row.lattice, row.occupation

    def atoms(self, index: int) -> Atoms:
        """Structure of an arrangement at the positions of the parent; vacancies are left out."""
        lattice, occupation = self.occupation(index)
        return lattice.to_atoms(occupation)

    def arrangement(self, index: int) -> Arrangement:
        """Names and numbers of an arrangement."""
        if index not in self._known:
            self._known[index] = self._arrangement(index)
        return self._known[index]

    def _arrangement(self, index: int) -> Arrangement:
        lattice, n_cells, occupation = self._rows[index]
        symmetry = symmetry_of(lattice, occupation)
        # An operation of the parent that is none of the arrangement leads to another variant.
        variants = self._parent_operations * n_cells / symmetry.operations
        return Arrangement(
            _formula(lattice, occupation),
            order_name(lattice, occupation),
            symmetry.symbol,
            n_cells,
            round(variants),
            dict(zip(self.labels, self.composition[index].tolist(), strict=True)),
            float(self.energy_per_site[index]),
            float(self.formation_energy_per_site[index]),
            float(self.hull.above[index]),
            self.depths.get(index),
            bool(self.hull.above[index] <= self.tolerance),
        )

    @cached_property
    def _parent_operations(self) -> int:
        return symmetry_of(self.parent).operations

    @cached_property
    def depths(self) -> dict[int, float]:
        """How far corners of the hull lie below that of all other compositions, eV per site.

        By index of the corner; end members, which have nothing to be compared with, are left out.
        """
        found = {}
        for corner in self.hull.vertices.tolist():
            x = self.composition[corner]
            others = np.abs(self.composition - x).max(axis=1, initial=0.0) > 1e-9
            if others.any() and not self._is_end[corner]:
                rest = lower_hull(self.composition[others], self.energy_per_site[others])
                found[corner] = float(rest.energy_at(x)[0] - self.energy_per_site[corner])
        return found

    def rows(self, only_ground_states: bool = False) -> list[dict[str, Any]]:
        """One flat row per arrangement, for tables and CSV."""
        chosen = self.indices if only_ground_states else range(len(self))
        found = []
        for index in chosen:
            row = self.arrangement(int(index))._asdict()
            found.append({"index": int(index)} | row.pop("composition") | row)
        return found

    def table(self) -> xr.Dataset:
        """Numbers of all arrangements, over ``arrangement`` and ``variable``."""
        over = ("arrangement",)
        units = {"units": "eV per site"}
        return xr.Dataset(
            {
                "composition": (("arrangement", "variable"), self.composition),
                "n_cells": (over, np.array([row.n_cells for row in self._rows])),
                "energy_per_site": (over, self.energy_per_site, units),
                "formation_energy_per_site": (over, self.formation_energy_per_site, units),
                "above_hull_per_site": (over, self.hull.above, units),
                "ground_state": (over, self.hull.above <= self.tolerance),
            },
            coords={"variable": list(self.labels)},
        )

    def below_hull(
        self,
        lattice: Lattice,
        occupations: xr.DataArray | np.ndarray,
        energies: xr.DataArray | np.ndarray,
    ) -> float:
        """How far samples get below the hull, in eV per site: positive where they do.

        A run that finds less energy than the hull has at its composition shows that the cells
        enumerated were too small (or that energies are of another landscape).

        Parameters
        ----------
        lattice
            The run's, a supercell of the same parent.
        occupations
            [draw, chain, n_sites] or fewer axes.
        energies
            Totals in eV of the same draws, [draw, chain] or fewer axes.

        Raises
        ------
        InputError
            If shapes disagree, an energy is not finite, sublattices differ, or a composition lies
            outside those enumerated.
        """
        chains = as_chains(lattice, occupations)
        if isinstance(energies, xr.DataArray):
            order = [name for name in ("draw", "chain") if name in energies.dims]
            energies = energies.transpose(*order).to_numpy()
        energies = np.asarray(energies, dtype=float).reshape(-1)
        if not np.isfinite(energies).all():
            raise InputError("energies hold NaN or infinity; leave those draws out")
        if len(energies) != chains.shape[0] * chains.shape[1]:
            raise InputError(
                f"{len(energies)} energies do not fit occupations of {chains.shape[:2]} draws and "
                "chains: give one energy for each"
            )
        if _species(lattice) != _species(self.parent):
            raise InputError(
                f"sublattices {_species(lattice)} are not the enumerated ones, "
                f"{_species(self.parent)}: give a supercell of the same crystal"
            )
        deepest, n_chains = -np.inf, chains.shape[1]
        for block, rows in blocks_of_draws(lattice, chains):
            own = energies[block.start * n_chains : block.stop * n_chains] / lattice.n_sites
            x, where = np.unique(_compositions(lattice, rows), axis=0, return_inverse=True)
            hull = self.hull.energy_at(x)
            if np.isnan(hull).any():
                outside = x[np.isnan(hull)][0].round(6).tolist()
                raise InputError(
                    f"composition {outside} lies outside those that were enumerated: enumerate "
                    "with other compositions"
                )
            deepest = max(deepest, float((hull[where.ravel()] - own).max()))
        return deepest

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the statement, ground states, and the best five above the hull."""
        off = [i for i in np.argsort(self.hull.above, kind="stable") if i not in set(self.indices)]
        return {
            "statement": self.statement,
            "sizes": list(self.sizes),
            "n_arrangements": len(self),
            "failures": self.failures,
            "variables": list(self.labels),
            "ground_states": [
                {"index": int(i)} | self.arrangement(int(i))._asdict() for i in self.indices
            ],
            "next": [{"index": int(i)} | self.arrangement(int(i))._asdict() for i in off[:5]],
        }

    @property
    def statement(self) -> str:
        """What was found, in sentences with numbers and caveats."""
        between = [i for i, depth in self.depths.items() if depth > self.tolerance]
        said = (
            f"{counted(len(self), 'arrangement')} in cells of up to "
            f"{counted(max(self.sizes), 'primitive cell')} {'was' if len(self) == 1 else 'were'} "
            "compared."
        )
        if not self.labels or np.ptp(self.composition, axis=0).max(initial=0.0) < 1e-9:
            said += self._about_one_composition()
        elif self._is_end.all():
            said += " All are end members: give larger sizes to see what lies between."
        elif not between:
            lowest = int(np.argmin(np.where(self._is_end, np.inf, self.formation_energy_per_site)))
            least = 1000 * float(self.formation_energy_per_site[lowest])
            said += (
                " None between the end members is lower than their mixture by more than "
                f"{1000 * self.tolerance:g} meV per site"
            )
            said += ", so at low temperature the crystal unmixes" if least > 0 else ""
            said += (
                f"; the formation energy of the lowest, {self._called(lowest)}, is {least:.1f} meV "
                "per site."
            )
        else:
            found = [
                f"{self._called(i)} ({1000 * self.formation_energy_per_site[i]:.1f}, "
                f"{1000 * self.depths[i]:.1f})"
                for i in between
            ]
            said += (
                " Between the end members the hull has the corners (meV per site: formation "
                f"energy, and depth below the best mixture of other compositions) {few(found)}."
            )
        if self.failures:
            said += f" {self.failures} more had no energy and are left out: the hull may lack them."
        return said + " A larger cell may lie lower still."

    def _about_one_composition(self) -> str:
        order = np.argsort(self.energy_per_site, kind="stable").tolist()
        said = f" All have one composition; the lowest is {self._called(order[0])}"
        if len(order) > len(self.indices):
            runner = order[len(self.indices)]
            gap = 1000 * self.hull.above[runner]
            said += f", the next {self._called(runner)}, {gap:.1f} meV per site higher"
        return said + "."

    @cached_property
    def _is_end(self) -> np.ndarray:
        """Whether an arrangement has an extreme composition, bool [n]."""
        return _extreme(self.composition)

    def _called(self, index: int) -> str:
        """Name of an arrangement, and of others of its composition that are as low."""
        same = np.abs(self.composition - self.composition[index]).max(axis=1, initial=0.0) < 1e-9
        close = np.abs(self.energy_per_site - self.energy_per_site[index]) <= self.tolerance
        alike = [index, *(i for i in np.flatnonzero(same & close).tolist() if i != index)]
        ones = [self.arrangement(i) for i in alike]
        return few([f"{one.order or one.space_group} {one.formula}" for one in ones], " or ", 3)


def ground_states(
    parent: Lattice,
    build: Callable[[Lattice], Hamiltonian],
    sizes: Sequence[int] | range = range(1, 5),
    composition: Composition | None = None,
    *,
    neutral: bool = False,
    multiple: int = 1,
    tolerance: float = TOLERANCE,
) -> GroundStates:
    r"""Ground states of a crystal by enumeration: every arrangement in small cells, and their hull.

    With x the fractions of species, e the energy per site and e_k that of the end members, the
    formation energy is

    .. math:: Δe = e − \sum_k w_k(x) e_k,

    w_k the shares of the end members that make up x. Where several sets of end members could (more
    than one sublattice), the one of least energy is taken. A ground state is an arrangement that
    no mixture of others, of the same composition together, is below: a corner of the lower convex
    hull (or a point on it).

    Parameters
    ----------
    parent
        The crystal, in its primitive cell or any other.
    build
        From the lattice of a cell to its energy model: ``lambda lattice: AlchemicalMACE(lattice)``
        at ideal positions, ``Relaxed(AlchemicalMACE(lattice))`` for the relaxed landscape. It is
        called once for each shape of cell.
    sizes
        Numbers of primitive cells.
    composition
        Fractions by sublattice and species; every composition by default.
    neutral
        Whether to keep only neutral arrangements; the lattice needs charges then.
    multiple
        Every arrangement is evaluated in the smallest cell that is also a supercell of m × m × m
        primitive cells. For relaxed landscapes: with 2, octahedra of a perovskite can tilt in every
        cell in the ways that are usual, and not only in those cells where a tilt happens to fit.
    tolerance
        Energies over the hull, in eV per site, at which an arrangement counts as a ground state.

    Returns
    -------
    GroundStates
        Arrangements without an energy (relaxations that failed) are counted and left out.

    Raises
    ------
    InputError
        As `enumerate_orderings`, and if no arrangement has an energy, an end member has none, or
        ``multiple`` or ``tolerance`` cannot be used.

    Notes
    -----
    End members are the arrangements of extreme composition: pure ones, or the richest and poorest
    where only some compositions are enumerated.

    Examples
    --------
    Unlike nearest neighbours on a simple cubic net make rock salt:

    >>> import numpy as np
    >>> from alchemc import PairHamiltonian, builders
    >>> parent = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0)
    >>> unlike = 0.01 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> found = ground_states(parent, lambda lattice: PairHamiltonian(lattice, [unlike]), (1, 2))
    >>> [(row["formula"], row["order"]) for row in found.rows(only_ground_states=True)]
    [('Sc', ''), ('ScTa', 'rock-salt'), ('Ta', '')]
    """
    if not is_number(tolerance) or tolerance < 0:
        raise InputError(f"tolerance is {tolerance!r}; give an energy in eV per site of 0 or more")
    if not is_whole(multiple, least=1):
        raise InputError(f"multiple is {multiple!r}; give a whole number of 1 or more")
    if all(len(species) < 2 for species in _species(parent).values()):
        raise InputError(
            f"{parent!r} has one arrangement only; give a sublattice of two or more species"
        )
    parent = primitive_lattice(parent)
    groups = enumerate_orderings(parent, sizes, composition, neutral=neutral)
    rows = [_Row(o.lattice, o.n_cells, row) for o in groups for row in o.occupations]
    larger = [in_common_cells(o, parent, int(multiple)) for o in groups]
    energy = np.concatenate([_energies(build(o.lattice), o) for o in larger])
    x = np.concatenate([_compositions(o.lattice, o.occupations) for o in groups])
    known = np.isfinite(energy)
    ends = _extreme(x)
    _check_ends(x, known, ends)
    kept = np.flatnonzero(known)
    x, energy, ends = x[kept], energy[kept], ends[kept]
    hull = lower_hull(x, energy)
    reference = lower_hull(x[ends], energy[ends])
    return GroundStates(
        parent, tuple(sorted({o.n_cells for o in groups})), _labels(parent), x, energy,
        energy - reference.energy_at(x), hull, int((~known).sum()), float(tolerance),
        [rows[i] for i in kept],
    )  # fmt: skip


def _energies(hamiltonian: Hamiltonian, orderings: Orderings) -> np.ndarray:
    """Energies per site, [n]."""
    parts = [
        hamiltonian.energy(orderings.occupations[start : start + BATCH])
        for start in range(0, len(orderings.occupations), BATCH)
    ]
    return np.concatenate(parts) / orderings.lattice.n_sites


def _check_ends(x: np.ndarray, known: np.ndarray, ends: np.ndarray) -> None:
    if not known.any():
        raise InputError(
            f"none of {len(known)} arrangements has an energy: relax with larger fmax or max_steps"
        )
    for corner in np.unique(x[ends], axis=0):
        if not known[(np.abs(x - corner) < 1e-9).all(axis=1)].any():
            raise InputError(
                f"the end member at composition {corner.tolist()} has no energy, so nothing has a "
                "formation energy: relax it with another reference, larger fmax or max_steps"
            )


def _formula(lattice: Lattice, occupation: np.ndarray) -> str:
    counts = lattice.counts(occupation)
    return "".join(
        f"{symbol}{n if n > 1 else ''}"
        for species, row in zip(_species(lattice).values(), counts.tolist(), strict=True)
        for symbol, n in zip(species, row, strict=False)
        if n
    )


def _species(lattice: Lattice) -> dict[str, tuple[str, ...]]:
    return {name: sublattice.species for name, sublattice in lattice.sublattices.items()}


def _labels(lattice: Lattice) -> tuple[str, ...]:
    """Names of the fractions that are free: all species of a sublattice but the first."""
    return tuple(f"{s} on {name}" for name, row in _species(lattice).items() for s in row[1:])


def _compositions(lattice: Lattice, occupations: np.ndarray) -> np.ndarray:
    """Free fractions, [n, d]."""
    counts = lattice.counts(occupations)
    columns = [
        counts[:, k, 1 : len(sublattice.species)] / len(sublattice.sites)
        for k, sublattice in enumerate(lattice.sublattices.values())
    ]
    return np.concatenate(columns, axis=1)


def _extreme(x: np.ndarray) -> np.ndarray:
    """Whether a composition is a corner of those present, bool [n].

    The hull of −|x − centre|² (a cap over the compositions' convex hull) has all corners of that,
    and only those, as its corners.
    """
    centre = 0.5 * (x.min(axis=0) + x.max(axis=0))
    distinct, of = np.unique(np.round(x, 9), axis=0, return_inverse=True)
    corners = lower_hull(distinct, -((distinct - centre) ** 2).sum(axis=1)).vertices
    return np.isin(of.ravel(), corners)
