"""Bond-valence sums of the atoms and the global instability index, draw by draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list

from ...errors import InputError
from ...lattice import VACANCY, Lattice
from ..estimates import LazyChains, as_chains, blocks_of_draws, describe
from ..wording import with_error
from .bond_valence_table import OXYGEN_R0, USUAL_B
from .moving import MovingAtoms
from .statements import doubt
from .stretches import Stretches

__all__ = ["bond_valence_sums"]

NUMBERS_AT_ONCE = 8_000_000
Parameters = Mapping[tuple[str, str], tuple[float, float]]


class _Kind(NamedTuple):
    """A species and its charge: on a sublattice (its name), or a spectator (an empty name)."""

    symbol: str
    charge: float
    sublattice: str

    @property
    def label(self) -> str:
        return f"{self.sublattice}: {self.symbol}" if self.sublattice else self.symbol


def bond_valence_sums(
    lattice: Lattice,
    occupations: xr.DataArray | np.ndarray,
    positions: xr.DataArray | np.ndarray | None = None,
    cells: xr.DataArray | np.ndarray | None = None,
    *,
    parameters: Parameters | None = None,
    cutoff: float = 3.5,
) -> xr.Dataset:
    r"""Bond-valence sums of every kind of atom, and the global instability index, with errors.

    ``V_i = Σ_j exp((R_0 − r_ij)/b)`` over the atoms j of opposite charge within the cutoff (I. D.
    Brown and D. Altermatt, Acta Cryst. B 41, 244 (1985), doi:10.1107/S0108768185002063). In an
    unstrained structure V is close to the size of the atom's charge; the index is
    ``GII = √(mean (V_i − |q_i|)²)`` over all charged atoms (A. Salinas-Sanchez, J. L.
    Garcia-Muñoz, J. Rodriguez-Carvajal, R. Saez-Puche and J. L. Martinez, J. Solid State Chem. 100,
    201 (1992)); structures above about 0.2 e are rare.

    Parameters
    ----------
    lattice
        A lattice with charges of its species and spectators.
    occupations
        Shape [draw, chain, n_sites], [n_replicas, n_sites] or [n_sites].
    positions, cells
        Positions in Å, [n_atoms, 3] for all or [draw, chain, n_atoms, 3], and cells
        [draw, chain, 3, 3] where they vary; the reference's unless given. Sums at ideal positions
        tell of sizes that do not fit, not of what atoms make of them.
    parameters
        (R₀, b) in Å by (cation, anion), used before the table, which has bonds to oxygen.
    cutoff
        In Å, at the reference positions. Bonds beyond 3.5 Å are weaker than some 0.04 e each.

    Returns
    -------
    Dataset over ``kind`` ("B: Sc" on a sublattice, "O" for a spectator; ``sums`` are means over the
    atoms of that kind) with ``mean``, ``error``, ``ess``, ``rhat``, ``converged``, ``charge``,
    ``spread`` (the mean standard deviation between atoms of the kind within one configuration),
    the scalars ``instability`` and ``instability_error`` (e), and ``of_atom`` with
    ``of_atom_error`` over (atom), the mean sums position by position, a vacancy's being 0. A kind
    that is absent from a draw is NaN.

    Raises
    ------
    InputError
        If charges are missing, or a pair of ions has no parameters.

    Examples
    --------
    >>> from alchemc import builders
    >>> lattice = builders.perovskite(
    ...     "Sr", ("Ti", "Zr"), "O", a=3.905, size=(2, 2, 2),
    ...     charges={"Ti": 4, "Zr": 4}, spectator_charges={"Sr": 2, "O": -2})
    >>> table = bond_valence_sums(lattice, np.zeros(8, int))
    >>> table["mean"].sel(kind=["B: Ti", "Sr"]).values.round(2).tolist()
    [4.14, 2.11]
    """
    if not 0 < cutoff < np.inf:
        raise InputError(f"cutoff = {cutoff} is no distance; give one in Å above 0")
    kinds, of_spectator, of_site = _kinds(lattice)
    r0, softness = _table(kinds, parameters or {})
    bonds = _Bonds(lattice, cutoff)
    chains = as_chains(lattice, occupations)
    n_draws, n_chains = chains.shape[:2]
    atoms = MovingAtoms(lattice, (n_draws, n_chains), positions, cells)
    sums = np.full((n_draws, n_chains, len(kinds)), np.nan)
    spread = np.full_like(sums, np.nan)
    index = np.empty((n_draws, n_chains))
    of_atom = Stretches(n_draws, n_chains, (len(lattice.atoms),))
    charges = np.array([kind.charge for kind in kinds] + [0.0])
    for block, flat in _blocks(lattice, chains, bonds.n):
        kind = np.full((len(flat), len(lattice.atoms)), len(kinds))
        kind[:, lattice.spectators] = of_spectator
        kind[:, lattice.sites] = of_site[np.arange(lattice.n_sites), flat]
        valence = bonds.sums(kind, r0, softness, *atoms.read(block))
        of_atom.add(block, valence)
        off = np.where(charges[kind] != 0, (valence - np.abs(charges[kind])) ** 2, 0.0)
        charged = (charges[kind] != 0).sum(axis=1)
        index[block] = np.sqrt(off.sum(axis=1) / np.maximum(charged, 1)).reshape(-1, n_chains)
        means, deviations = _by_kind(valence, kind, len(kinds))
        sums[block] = means.reshape(-1, n_chains, len(kinds))
        spread[block] = deviations.reshape(-1, n_chains, len(kinds))
    coords = {
        "kind": [kind.label for kind in kinds],
        "charge": ("kind", [kind.charge for kind in kinds], {"units": "e"}),
    }
    attrs = {"long_name": "bond-valence sum", "units": "e", "cutoff": cutoff}
    result = describe(
        xr.DataArray(sums, dims=("draw", "chain", "kind"), coords=coords, attrs=attrs)
    )
    result["spread"] = ("kind", _nan_mean(spread), {"units": "e"})
    whole = describe(xr.DataArray(index, dims=("draw", "chain")))
    result["instability"] = whole["mean"].assign_attrs(units="e")
    result["instability_error"] = whole["error"].assign_attrs(units="e")
    result["instability_converged"] = whole["converged"]
    of_atoms = of_atom.estimates()
    result["of_atom"], result["of_atom_error"] = (("atom", x, {"units": "e"}) for x in of_atoms)
    found = with_error(float(whole["mean"]), float(whole["error"]), " e")
    ideal = "" if atoms.moving else " All configurations have the same positions."
    result.attrs["statement"] = f"The global instability index is {found}.{ideal}{doubt(whole)}"
    return result


def _nan_mean(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1, values.shape[-1])
    known = np.isfinite(flat)
    number = known.sum(axis=0)
    total = np.where(known, flat, 0.0).sum(axis=0)
    return np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)


def _by_kind(valence: np.ndarray, kind: np.ndarray, n_kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the atoms of every kind, [n, n_kinds]."""
    means = np.full((len(valence), n_kinds), np.nan)
    deviations = np.full_like(means, np.nan)
    for k in range(n_kinds):
        here = kind == k
        number = here.sum(axis=1)
        some = number > 0
        total = np.where(here, valence, 0.0).sum(axis=1)
        mean = np.divide(total, number, out=np.full(len(number), np.nan), where=some)
        square = np.where(here, (valence - np.nan_to_num(mean)[:, None]) ** 2, 0.0).sum(axis=1)
        means[:, k] = mean
        deviations[some, k] = np.sqrt(square[some] / number[some])
    return means, deviations


# ---- kinds and parameters


def _kinds(lattice: Lattice) -> tuple[list[_Kind], np.ndarray, np.ndarray]:
    """Kinds of ions, that of every spectator, and of every (site, species); vacancies last."""
    numbers = lattice.atoms.numbers[lattice.spectators]
    symbols = [chemical_symbols[z] for z in np.unique(numbers).tolist()]
    known = lattice.spectator_charges
    if symbols and known is None:
        raise InputError(
            f"bond valences need the charges of {', '.join(symbols)}; give the lattice "
            "spectator_charges"
        )
    kinds = [_Kind(s, float(known[s]) if known else 0.0, "") for s in symbols]
    rank = {s: k for k, s in enumerate(symbols)}
    of_spectator = np.array([rank[chemical_symbols[z]] for z in numbers.tolist()], dtype=np.int64)
    rows = {}
    for name, sublattice in lattice.sublattices.items():
        if sublattice.charges is None:
            raise InputError(
                f"bond valences need the charges of {', '.join(sublattice.species)} on "
                f"{name!r}; give its Sublattice charges"
            )
        row = np.full(lattice.n_species_max, -1)
        for k, (symbol, charge) in enumerate(
            zip(sublattice.species, sublattice.charges, strict=True)
        ):
            if symbol != VACANCY:
                row[k] = len(kinds)
                kinds.append(_Kind(symbol, float(charge), name))
        rows[name] = row
    table = np.array([rows[name] for name in lattice.names])
    table[table < 0] = len(kinds)
    return kinds, of_spectator, table[lattice.sublattice_of_site]


def _table(kinds: list[_Kind], parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """R₀ and b by kinds of the ends, [n_kinds + 1, n_kinds + 1]; R₀ is −inf without a bond."""
    n = len(kinds) + 1
    r0, softness = np.full((n, n), -np.inf), np.full((n, n), USUAL_B)
    missing: dict[str, None] = {}
    for a, cation in enumerate(kinds):
        for b, anion in enumerate(kinds):
            if not cation.charge > 0 > anion.charge:
                continue
            value = _parameters(cation, anion, parameters)
            if value is None:
                missing[f"{cation.symbol} ({cation.charge:+g}) with {anion.symbol}"] = None
                continue
            r0[a, b] = r0[b, a] = value[0]
            softness[a, b] = softness[b, a] = value[1]
    if missing:
        raise InputError(
            f"no bond-valence parameters for {', '.join(missing)}; give "
            "parameters={('cation', 'anion'): (R0, b)} in Å, or other charges"
        )
    return r0, softness


def _parameters(cation: _Kind, anion: _Kind, parameters: Parameters) -> tuple[float, float] | None:
    given: Any = parameters.get((cation.symbol, anion.symbol))
    if given is not None:
        values = np.asarray(given, dtype=float)
        if values.shape != (2,) or not np.isfinite(values).all() or values[1] <= 0:
            raise InputError(
                f"the parameters of {cation.symbol} and {anion.symbol} are {given!r}; give R0 and "
                "a positive b in Å"
            )
        return float(values[0]), float(values[1])
    charge = round(cation.charge)
    if anion.symbol != "O" or charge != cation.charge or (cation.symbol, charge) not in OXYGEN_R0:
        return None
    return OXYGEN_R0[cation.symbol, charge], USUAL_B


# ---- geometry


class _Bonds:
    """Pairs of atoms within the cutoff, each once, with the image that the second lies in."""

    def __init__(self, lattice: Lattice, cutoff: float) -> None:
        i, j, shifts = neighbor_list("ijS", lattice.atoms, float(cutoff))
        once = (i < j) | ((i == j) & (shifts @ np.array([10**6, 10**3, 1]) > 0))
        self.i, self.j, self._shifts = i[once], j[once], shifts[once].astype(float)

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.i)

    def sums(
        self,
        kind: np.ndarray,
        r0: np.ndarray,
        softness: np.ndarray,
        where: np.ndarray,
        cells: np.ndarray,
    ) -> np.ndarray:
        """V of all atoms, [n, n_atoms]."""
        step = where[..., self.j, :] - where[..., self.i, :] + self._shifts @ cells
        distance = np.linalg.norm(step, axis=-1).reshape(-1, self.n)
        ends = kind[:, self.i], kind[:, self.j]
        valence = np.exp((r0[ends] - distance) / softness[ends])
        result = np.zeros(kind.shape)
        row = np.arange(len(kind))[:, None] * kind.shape[1]
        for end in (self.i, self.j):
            flat = (row + end).ravel()
            result += np.bincount(flat, valence.ravel(), minlength=kind.size).reshape(kind.shape)
        return result


def _blocks(
    lattice: Lattice, chains: np.ndarray | LazyChains, n_bonds: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Draws and their occupations, as many as the bonds leave room for."""
    n_chains = chains.shape[1]
    step = max(1, NUMBERS_AT_ONCE // max(1, n_bonds * n_chains))
    for block, flat in blocks_of_draws(lattice, chains):
        for start in range(block.start, block.stop, step):
            draws = slice(start, min(start + step, block.stop))
            first, last = (n - block.start for n in (draws.start, draws.stop))
            yield draws, flat[first * n_chains : last * n_chains]
